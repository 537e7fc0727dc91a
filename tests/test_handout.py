"""The archive for students: what they need is in it, what they must not see is not."""

import shutil
import tomllib
import zipfile
from pathlib import Path

import pytest
from conftest import NAME, make_course

from autograder.course import Course, CourseError
from autograder.handout import handout

ROOT = Path(__file__).parents[1]


@pytest.fixture
def packed(tmp_path: Path) -> Course:
    """The fixture course with a book of one page and the files of the real course around it."""
    course = make_course(tmp_path)
    for name in ("requirements.txt", "constraints.txt", "LICENSE", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path / name)
    for name in ("__init__.py", "check.py"):
        shutil.copy(ROOT / "glassbox" / name, tmp_path / "glassbox" / name)
    book = tmp_path / "_build" / "html"
    book.mkdir(parents=True, exist_ok=True)
    (book / "index.html").write_text("<p>a page</p>")
    return course


def names(archive: Path) -> set[str]:
    with zipfile.ZipFile(archive) as file:
        return {name.removeprefix("glassbox-course/") for name in file.namelist()}


def test_the_archive_holds_what_a_learner_needs(packed: Course) -> None:
    found = names(handout(packed))
    assert {
        "README.html", "README.md", "requirements.txt", "constraints.txt", "pyproject.toml",
        "LICENSE", "book/index.html", f"labs/{NAME}/{NAME}.ipynb", "glassbox/check.py",
        f"glassbox/probes/{NAME}.npz",
    } <= found  # fmt: skip
    assert not [n for n in found if "solutions" in n or "autograder" in n or "mistakes" in n]


def test_the_learners_project_file_installs_glassbox_alone(packed: Course) -> None:
    with zipfile.ZipFile(handout(packed)) as file:
        project = tomllib.loads(file.read("glassbox-course/pyproject.toml").decode())
    assert "scripts" not in project["project"]
    assert project["project"]["name"] == "glassbox-llm"


def test_two_archives_are_equal(packed: Course) -> None:
    first = handout(packed).read_bytes()
    assert handout(packed).read_bytes() == first


def test_an_answer_on_a_page_stops_the_archive(packed: Course) -> None:
    page = packed.root / "_build" / "html" / "index.html"
    page.write_text("<pre>    return x + x + 0</pre>")
    with pytest.raises(CourseError, match=r"index.html:1: line of a solution"):
        handout(packed)
    assert not list((packed.root / "_build").glob("*.zip"))


def test_without_a_book_it_says_what_to_do(packed: Course) -> None:
    shutil.rmtree(packed.root / "_build" / "html")
    with pytest.raises(CourseError, match="run `make book` first"):
        handout(packed)
