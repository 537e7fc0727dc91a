"""A tiny course for the tests of grading: lab90_fixture, 5 automatic points and 2 by hand.

`double` is worth 2 + 1 points, `count` 1 + 1. No torch in its cells, so that a kernel starts in
half a second. Builders of student files are functions here; each test says what its student did.
"""

import copy
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode

from autograder.build import build
from autograder.course import Course
from autograder.intake import Merged, merge, read_release
from autograder.lab import Lab, read_lab
from autograder.runner import Result, run

NAME = "lab90_fixture"
FIXTURE = Path(__file__).parent / "fixtures" / "course"
DOUBLE = "def double(x):\n    return 2 * x\n"
COUNT = "def count(words):\n    return {w: words.count(w) for w in words}\n"
WRONG = "def count(words):\n    return {}\n"
RIGHT = {"double": DOUBLE, "count": COUNT}


def make_course(root: Path) -> Course:
    """A built copy of the fixture course below `root`."""
    source = root / "solutions" / NAME
    source.mkdir(parents=True)
    (root / "labs").mkdir()
    for file in (FIXTURE / "solutions" / NAME).iterdir():
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    course = Course(root)
    build(course, [NAME])
    return course


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    return make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(scope="session")
def lab(course: Course) -> Lab:
    return read_lab(course, NAME)


@pytest.fixture(scope="session")
def release(course: Course, lab: Lab) -> NotebookNode:
    return read_release(course, lab)


def cell_of(notebook: NotebookNode, grade_id: str) -> NotebookNode:
    return next(c for c in notebook.cells
                if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)  # fmt: skip


def answered(release: NotebookNode, answers: dict[str, str]) -> NotebookNode:
    """The released notebook with these answers filled in."""
    notebook = copy.deepcopy(release)
    for grade_id, text in answers.items():
        cell_of(notebook, grade_id).source = text
    return notebook


def code(source: str) -> NotebookNode:
    return nbformat.v4.new_code_cell(source)


def hand_in(folder: Path, student: str, notebook: NotebookNode | bytes,
            name: str = f"{NAME}.ipynb") -> Path:  # fmt: skip
    """Write a student's file where `autograder grade` looks for it."""
    path = folder / student / NAME / name
    path.parent.mkdir(parents=True, exist_ok=True)
    data = notebook if isinstance(notebook, bytes) else nbformat.writes(notebook).encode()
    path.write_bytes(data)
    return path


@pytest.fixture
def graded(lab: Lab, release: NotebookNode) -> Callable[..., tuple[Result, Merged]]:
    """Merge and run a student's notebook."""

    def grade(notebook: NotebookNode, timeout: float = 5.0) -> tuple[Result, Merged]:
        merged = merge(lab, release, notebook, "someone")
        return run(lab, merged, timeout=timeout), merged

    return grade


def marks(result: Result) -> dict[str, tuple[float, str]]:
    return {q.question: (q.points, q.status) for q in result.questions}
