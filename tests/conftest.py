"""A tiny course for the tests of grading: lab90_fixture, 5 automatic points and 2 by hand.

`double` is worth 2 + 1 points, `count` 1 + 1. No torch in its cells, so that a kernel starts in
half a second. Builders of student files are functions here; each test says what its student did.
"""

import copy
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from nbgrader.api import Gradebook

from autograder.build import build
from autograder.course import Course
from autograder.grade import grade
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


@pytest.fixture(scope="session", autouse=True)
def _saved_models_go_elsewhere(tmp_path_factory: pytest.TempPathFactory) -> None:
    os.environ["GLASSBOX_HOME"] = str(tmp_path_factory.mktemp("home"))


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


@functools.cache
def _empty_gradebook() -> bytes:
    """Making one starts a program; the tests do it once."""
    with tempfile.TemporaryDirectory() as folder:
        Gradebook(f"sqlite:///{folder}/gradebook.db").close()
        return (Path(folder) / "gradebook.db").read_bytes()


def empty_gradebook(course: Course) -> None:
    course.classroom.mkdir(parents=True, exist_ok=True)
    (course.classroom / "gradebook.db").write_bytes(_empty_gradebook())


@pytest.fixture
def own_class(classroom: Course, tmp_path: Path) -> Course:
    """A copy of the graded class that a test may change."""
    shutil.copytree(classroom.root, tmp_path / "own", dirs_exist_ok=True)
    return Course(tmp_path / "own")


@pytest.fixture(scope="session")
def classroom(tmp_path_factory: pytest.TempPathFactory) -> Course:
    """A class of six, graded once by two workers; tests may read it and must not change it."""
    course = make_course(tmp_path_factory.mktemp("class"))
    empty_gradebook(course)
    release, folder = read_release(course, read_lab(course, NAME)), course.classroom / "submitted"
    hand_in(folder, "ada", answered(release, RIGHT | {"reflection": "It depends, I think."}))
    hand_in(folder, "bob", answered(release, RIGHT | {"count": WRONG}))
    hand_in(folder, "dave", release)
    hand_in(folder, "eve", b'{"nbformat": 4, "cells": [')
    hand_in(folder, "mallory", hostile(release))
    hand_in(folder, '=1+1, "x"', answered(release, {"double": FORMULA}))
    (folder / "bob" / NAME / "timestamp.txt").write_text("not a time")
    grade(course, [NAME], workers=2)
    return course


FORMULA = "def double(x):\n    raise ValueError('=HYPERLINK(\"http://evil\")')\n"
PAYLOADS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "$<img src=x onerror=alert(2)>$",
    "$$\n<svg onload=alert(3)>\n$$", "[a](javascript:alert(4))", "[b](  JaVaScRiPt:alert(5))",
    "[c](&#106;avascript:alert(6))", "[d][e]\n\n[e]: javascript:alert(7)",
    "[f](data:text/html;base64,PHNjcmlwdD4=)", "![g](http://spy.example/x.png)",
    "![h](attachment:gone.png)", "<javascript:alert(8)>", "`<script>alert(9)</script>`",
    "```html\n<script>alert(10)</script>\n```", "```mermaid\nclick A 'javascript:alert(11)'\n```",
    "~~~ mermaid\nx\n~~~", "# head\" onmouseover=\"alert(12)", "<a href='x' onclick='y'>z</a>",
    "\\begin{x}<script>alert(13)</script>\\end{x}", "[i](http://ok.example \"t\" onclick=\"a)",
    "<!--<script>-->", "<details open ontoggle=alert(14)>", "|a|\n|-|\n|<script>x</script>|",
    "[j](http://ok.example/?q=\"onmouseover=alert(15))", "<http://x.example/onload=alert>",
]  # fmt: skip


def hostile(release: NotebookNode) -> NotebookNode:
    """Right answers, and active content wherever a student can put text."""
    text = "\n\n".join(PAYLOADS)
    notebook = answered(release, RIGHT | {"reflection": text})
    show = "from IPython.display import HTML, Javascript\nprint('<script>alert(0)</script>')\n"
    notebook.cells += [
        nbformat.v4.new_markdown_cell(text),
        nbformat.v4.new_raw_cell(text, metadata={"raw_mimetype": "text/html"}),
        code(show + "display(HTML('<script>alert(1)</script>'), Javascript('alert(2)'))"),
        code("# <script>alert(3)</script>\nraise ValueError('<img src=x onerror=alert(4)>')"),
        code(
            "import gc\nprint([x for x in gc.get_objects() if isinstance(x, str) "
            "and 'hidden-' + 'input' in x])"
        ),
    ]
    notebook.cells[-1].metadata["name"] = "<script>"
    notebook.metadata["title"] = "</title><script>alert(5)</script>"
    return notebook


def alive(text: str) -> list[str]:
    """Command lines of processes that hold `text`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [line] if text in line else []
    return found


def gone(text: str) -> bool:
    """Whether no process holds `text` in its command line, within five seconds."""
    for _ in range(50):
        if not alive(text):
            return True
        time.sleep(0.1)
    return False
