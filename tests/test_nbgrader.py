"""nbgrader's own autograde, typed or clicked in formgrader, gives exactly our marks."""

import csv
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path

import nbformat
import pytest
from conftest import NAME, RIGHT, answered, code, empty_gradebook, gone, hand_in, make_course

from autograder import serve
from autograder.course import Course
from autograder.grade import grade
from autograder.intake import read_release
from autograder.lab import read_lab
from autograder.ledger import Ledger
from autograder.sample import write_class

ROOT = Path(__file__).parents[1]
ENV = os.environ | {"PYTHONPATH": str(ROOT), "JUPYTER_CONFIG_DIR": "/nowhere"}
LATE = """
from nbgrader.plugins import BasePlugin


class PointPerDay(BasePlugin):
    def late_submission_penalty(self, student_id, score, total_seconds_late):
        return 1 + total_seconds_late // 86400


c.AssignLatePenalties.plugin_class = PointPerDay
"""


def own_settings(course: Course, more: str = "") -> None:
    """The nbgrader_config.py of this project, with a teacher's own lines."""
    text = (ROOT / "nbgrader_config.py").read_text() + more
    (course.root / "nbgrader_config.py").write_text(text)


def autograde(course: Course, *more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "nbgrader", "autograde", NAME, *more], env=ENV,
                          cwd=course.root, capture_output=True, text=True)  # fmt: skip


def state(course: Course) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]], object]:
    """Grades, comments and marked copies of a class."""
    copies = {}
    for path in (course.classroom / "autograded").rglob("*.ipynb"):
        copies[path.parts[-3]] = nbformat.read(path, 4).cells
    with Ledger(course) as ledger:
        notebooks = [(s.student.id, n) for s in ledger.book.assignment_submissions(NAME)
                     for n in s.notebooks]  # fmt: skip
        grades = [(who, g.name, g.auto_score, g.manual_score, g.needs_manual_grade)
                  for who, n in notebooks for g in n.grades]  # fmt: skip
        comments = [(who, c.name, c.auto_comment, c.manual_comment)
                    for who, n in notebooks for c in n.comments]  # fmt: skip
    return sorted(grades), sorted(comments), copies


def table(course: Course) -> list[list[str]]:
    with (course.classroom / "results" / "results.csv").open(newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def twins(tmp_path_factory: pytest.TempPathFactory) -> tuple[Course, Course]:
    """A made-up class graded by us, and the same graded by nbgrader."""
    ours, theirs = (make_course(tmp_path_factory.mktemp(n)) for n in ("ours", "theirs"))
    for course in (ours, theirs):
        folder = course.classroom / "submitted"
        write_class(course, NAME, folder)
        release = read_release(course, read_lab(course, NAME))
        twice = answered(release, RIGHT)
        again = nbformat.from_dict(twice.cells[3])  # stock nbgrader stops the whole class
        again["id"] = "again"
        twice.cells.append(again)
        hand_in(folder, "twice", twice)
        slow = answered(release, {"double": RIGHT["double"]})
        slow.cells.append(code("import os\nos._exit(3)"))
        hand_in(folder, "slow", slow)
        own_settings(course)
        elsewhere = course.root / "elsewhere.txt"
        elsewhere.write_text("not for a student")
        (folder / "ada" / NAME / "notes.txt").symlink_to(elsewhere)
    (ours.classroom / "secret").write_text("0" * 64)
    shutil.copy(ours.classroom / "secret", theirs.classroom / "secret")
    grade(ours, [NAME], workers=2)
    odd = theirs.classroom / "submitted" / "no id" / NAME
    shutil.copytree(theirs.classroom / "submitted" / "ada" / NAME, odd, symlinks=True)
    done = autograde(theirs)
    assert done.returncode == 1, done.stderr  # because of "no id" alone
    assert "folder 'no id' is no student's id. Rename it" in done.stderr
    assert done.stderr.count("There was an error processing assignment '") == 1
    assert gone("autograder.pool")
    return ours, theirs


def test_typed_autograde_gives_our_marks_comments_and_queue(twins: tuple[Course, Course]) -> None:
    """Broken, renamed and doubled notebooks among them; results.csv too."""
    ours, theirs = map(state, twins)
    assert ours[0] == theirs[0]
    assert ours[1] == theirs[1]
    assert ours[2] == theirs[2]
    assert table(twins[0]) == table(twins[1])
    assert "No response." in {c[2] for c in theirs[1]}
    assert any(g[4] for g in theirs[0])
    assert len({g[0] for g in theirs[0]}) == 9


def test_nothing_of_ours_or_of_others_lies_beside_the_marked_copy(
    twins: tuple[Course, Course],
) -> None:
    home = twins[1].classroom / "autograded"
    assert {p.name for p in home.rglob("*") if p.is_file()} == {f"{NAME}.ipynb"}
    text = "".join(p.read_text() for p in home.rglob("*.ipynb"))
    assert "HIDDEN" not in text
    assert "-1234" not in text
    assert not list((home / "no id").glob("*"))


def test_our_run_after_nbgraders_has_nothing_to_do(twins: tuple[Course, Course]) -> None:
    shutil.rmtree(twins[1].classroom / "submitted" / "no id", ignore_errors=True)
    assert grade(twins[1], [NAME]).kept == 9


@pytest.fixture
def own(twins: tuple[Course, Course], tmp_path: Path) -> Course:
    """A copy of the class that a test may change."""
    shutil.copytree(twins[0].root, tmp_path / "own", symlinks=True)
    return Course(tmp_path / "own")


def test_marks_by_hand_survive_and_wait_for_a_second_look(own: Course) -> None:
    with Ledger(own) as ledger:
        mark = ledger.book.find_grade("reflection", NAME, NAME, "ada")
        mark.manual_score, mark.needs_manual_grade = 1.5, False
        ledger.book.db.commit()
    done = autograde(own, "--student", "ada", "--force")
    assert done.returncode == 0, done.stderr
    with Ledger(own) as ledger:
        mark = ledger.book.find_grade("reflection", NAME, NAME, "ada")
        assert (mark.manual_score, mark.needs_manual_grade) == (1.5, True)
        assert ledger.book.find_submission(NAME, "ada").score == 6.5


def test_a_teachers_late_penalty_counts_in_both_ways(own: Course) -> None:
    own_settings(own, LATE)
    due = datetime(2026, 3, 1)
    with Ledger(own) as ledger:
        ledger.book.update_or_create_assignment(NAME, duedate=due)
    for student, late in (("ada", timedelta(hours=30)), ("grace", timedelta(days=99)),
                          ("hedy", -timedelta(hours=1))):  # fmt: skip
        stamp = own.classroom / "submitted" / student / NAME / "timestamp.txt"
        stamp.write_text(str(due + late) + " UTC")

    def penalties() -> dict[str, float | None]:
        with Ledger(own) as ledger:
            return {s.student.id: s.notebooks[0].late_submission_penalty
                    for s in ledger.book.assignment_submissions(NAME)}  # fmt: skip

    grade(own, [NAME], workers=1, force=True)
    ours = penalties()
    assert (ours["ada"], ours["grace"], ours["hedy"], ours["dave"]) == (2, 5, None, None)
    with Ledger(own) as ledger:
        for submission in ledger.book.assignment_submissions(NAME):
            submission.notebooks[0].late_submission_penalty = None
        ledger.book.db.commit()
    done = autograde(own, "--force")
    assert done.returncode == 0, done.stderr
    assert penalties() == ours


def test_without_isolation_nbgrader_grades_nothing(own: Course) -> None:
    env = ENV | {"PATH": ""}
    done = subprocess.run([sys.executable, "-m", "nbgrader", "autograde", NAME, "--force"], env=env,
                          cwd=own.root, capture_output=True, text=True)  # fmt: skip
    if "would not be isolated" not in done.stderr:
        pytest.skip("another tier isolates here")
    assert done.returncode == 1


# --- formgrader --------------------------------------------------------------------------------


@pytest.fixture
def formgrader(own: Course) -> Iterator[Callable[..., object]]:
    """A real server, as `autograder serve` starts it; gives a function that asks it."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = subprocess.Popen(serve.command(port, "t0ken"), cwd=own.root, env=ENV,
                              stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(path: str, data: object = None, method: str = "GET") -> object:
        for _ in range(600):
            try:
                request = urllib.request.Request(
                    f"http://127.0.0.1:{port}/formgrader{path}", method=method,
                    data=None if data is None else json.dumps(data).encode(),
                    headers={"Authorization": "token t0ken"},
                )  # fmt: skip
                return urllib.request.urlopen(request, timeout=300).read().decode()
            except urllib.error.HTTPError:
                raise
            except (ConnectionError, urllib.error.URLError):
                time.sleep(0.25)
        raise TimeoutError

    try:
        yield ask
    finally:
        server.terminate()
        server.wait(30)


def test_the_button_in_formgrader(own: Course, formgrader: Callable[..., str]) -> None:
    """Autograde over HTTP for a class that has no marks; then marks by hand, then again."""
    ours = state(own)
    for name in ("results", "autograded"):
        shutil.rmtree(own.classroom / name)
    empty_gradebook(own)
    with Ledger(own) as ledger:  # formgrader lists what is released or graded
        ledger.prepare(read_lab(own, NAME))
    for student in sorted({g[0] for g in ours[0]}):
        told = json.loads(formgrader(f"/api/submission/{NAME}/{student}/autograde", {}, "POST"))
        assert told["success"], told
    assert state(own)[:2] == ours[:2]
    assert len(table(own)) == 1 + 2 * 9
    shown = {s["student"]: s for s in json.loads(formgrader(f"/api/submissions/{NAME}"))}
    assert (shown["ada"]["score"], shown["ada"]["max_score"]) == (5, 7)
    assert shown["ada"]["autograded"]
    assert shown["ada"]["needs_manual_grade"]  # the written answer
    assert not shown["dave"]["needs_manual_grade"]
    notebooks = json.loads(formgrader(f"/api/submitted_notebooks/{NAME}/{NAME}"))
    ada = next(n["id"] for n in notebooks if n["student"] == "ada")
    grades = json.loads(formgrader(f"/api/grades?submission_id={ada}"))
    mark = next(g for g in grades if g["name"] == "reflection")
    assert mark["needs_manual_grade"]
    formgrader(f"/api/grade/{mark['id']}", {"manual_score": 1, "extra_credit": None}, "PUT")
    told = json.loads(formgrader(f"/api/submission/{NAME}/ada/autograde", {}, "POST"))
    assert told["success"], told
    with Ledger(own) as ledger:
        assert ledger.book.find_submission(NAME, "ada").score == 6
