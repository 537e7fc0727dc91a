"""The built site in a real browser: the programs of tests/browser drive it, this file reads what
they report. site.mjs visits every page; reader.mjs does what a reader does, in the archive that
`make offline` makes, unpacked elsewhere and opened as files.
"""

import zipfile
from pathlib import Path

import pytest
from browser import ROOT, drive, missing

from autograder.course import find_course
from autograder.handout import handout

pytestmark = pytest.mark.xdist_group("browser")  # one run of the browser serves all tests


@pytest.fixture(scope="module")
def report() -> dict[str, dict]:
    return drive("site.mjs")


@pytest.fixture(scope="module")
def offline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archive that is handed out, unpacked where nothing else of the course is."""
    if not missing():
        folder = tmp_path_factory.mktemp("stick")
        with zipfile.ZipFile(handout(find_course(ROOT))) as archive:
            archive.extractall(folder)
        return folder / "glassbox-course"
    return Path()


@pytest.fixture(scope="module")
def reader(offline: Path) -> dict[str, dict]:
    return drive("reader.mjs", str(offline / "book"))


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


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("outside", id="nothing is asked of a network"),
        pytest.param("console", id="no error in the console"),
        pytest.param("search", id="search shows passages and leads to them"),
        pytest.param("math", id="formulas are set"),
        pytest.param("quiz", id="a right answer is remembered"),
        pytest.param("progress", id="sections are ticked by hand and by reading"),
        pytest.param("clear", id="progress can be cleared"),
        pytest.param("no script", id="without JavaScript there are answers and no ticks"),
        pytest.param("explorers", id="explorers move"),
        pytest.param("late mathjax", id="a quiz waits for a late MathJax"),
        pytest.param("not found", id="the 404 page works at any address"),
        pytest.param("axe", id="search, 404 and progress are accessible, light and dark"),
        pytest.param("sideways", id="they fit 375 px"),
    ],
)
def test_reading_offline(reader: dict[str, dict], kind: str) -> None:
    assert reader["found"][kind] == []


@pytest.mark.slow
def test_the_reader_saw_what_it_tested(reader: dict[str, dict], offline: Path) -> None:
    assert reader["seen"]["passages"] >= 4
    pages = [p for p in (offline / "book").rglob("*.html") if 'class="ex-box"' in p.read_text()]
    assert (reader["seen"]["explorers"] > 0) == bool(pages)


@pytest.mark.slow
def test_the_archive_opens_by_a_double_click(offline: Path) -> None:
    if reason := missing():
        pytest.skip(reason)
    door = (offline / "README.html").read_text(encoding="utf-8")
    assert 'href="book/book/intro.html"' in door
    assert (offline / "book" / "book" / "intro.html").is_file()
    assert "://" not in door
