"""Programs that drive the built site in a real browser, and `drive`, which runs them.

They need chromium, node and `npm ci`. Where one is absent the tests are skipped with one line that
says which; under CI=true that is a failure, so that the checks cannot vanish unnoticed.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "_build" / "html"
CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")


def missing(needs_site: bool = True) -> str:
    """What is absent here, as one line; nothing if the programs can run."""
    if needs_site and not (SITE / "book" / "intro.html").is_file():
        return "the site is not built: run make book"
    if not Path(CHROMIUM).is_file():
        return f"no browser at {CHROMIUM}: install chromium, or set CHROMIUM to its path"
    if not shutil.which("node"):
        return "node is not installed"
    if not (ROOT / "node_modules" / "playwright-core").is_dir():
        return "no playwright-core: run npm ci"
    return ""


def drive(program: str, *arguments: str, needs_site: bool = True) -> dict[str, dict]:
    """Run a program of this folder and give what it reports."""
    if reason := missing(needs_site):
        if os.environ.get("CI") == "true":
            pytest.fail(f"browser tests must run in CI: {reason}")
        pytest.skip(reason)
    command = ["node", str(Path(__file__).parent / program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1500)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)
