"""The built site in a real browser: tests/browser/site.mjs drives it, this file reads its report.

Needs chromium, node and `npm ci`. Where one is absent the tests are skipped with one line that says
which; under CI=true that is a failure, so that the checks cannot vanish unnoticed.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")

pytestmark = pytest.mark.xdist_group("browser")  # one run of the browser serves all tests


def missing() -> str:
    if not (SITE / "book" / "intro.html").is_file():
        return "the site is not built: run make book"
    if not Path(CHROMIUM).is_file():
        return f"no browser at {CHROMIUM}: install chromium, or set CHROMIUM to its path"
    if not shutil.which("node"):
        return "node is not installed"
    if not (ROOT / "node_modules" / "playwright-core").is_dir():
        return "no playwright-core: run npm ci"
    return ""


@pytest.fixture(scope="module")
def report() -> dict[str, dict]:
    if reason := missing():
        if os.environ.get("CI") == "true":
            pytest.fail(f"browser tests must run in CI: {reason}")
        pytest.skip(reason)
    program = ROOT / "tests" / "browser" / "site.mjs"
    done = subprocess.run(
        ["node", str(program)], capture_output=True, text=True, cwd=ROOT, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("outside", id="no request leaves the site"),
        pytest.param("console", id="no error in the console"),
        pytest.param("axe", id="no accessibility violation, light and dark"),
        pytest.param("sideways", id="no sideways scroll at 375 px"),
        pytest.param("quiz", id="each quiz option shows its own explanation"),
        pytest.param("tips", id="tips open by keyboard and close by Escape"),
        pytest.param("print", id="the print view has content"),
    ],
)
def test_pages(report: dict[str, dict], kind: str) -> None:
    wrong = [f"{page}: {finding}" for page, found in report.items() for finding in found[kind]]
    assert not wrong, "\n" + "\n".join(wrong)


@pytest.mark.slow
def test_the_browser_saw_what_it_tested(report: dict[str, dict]) -> None:
    """A selector that finds nothing must not pass for a page that is well."""
    assert len(report) >= 9
    assert sum(found["quiz_options"] for found in report.values()) >= 6
    tips = [found for found in report.values() if found["has_tips"]]
    assert not tips or sum(found["tips_seen"] for found in tips) >= 2
