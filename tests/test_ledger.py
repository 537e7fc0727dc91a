"""Marks in the gradebook and in the files: written once, whole, and safe to open."""

import csv
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import NAME, RIGHT, answered, empty_gradebook, hand_in
from nbformat import NotebookNode
from nbgrader.api import Grade, Gradebook

from autograder import grade as grading
from autograder import pool, runner
from autograder.course import Course, CourseError, course_secret
from autograder.export import export
from autograder.grade import grade
from autograder.intake import Submission, find, read_release, take
from autograder.lab import Lab, read_lab
from autograder.ledger import Ledger, job_key, lab_key, package_key
from autograder.runner import ungraded


def table(course: Course, name: str = "results.csv") -> list[dict[str, str]]:
    with (course.classroom / "results" / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def scores(course: Course) -> dict[str, tuple[float, float]]:
    with Ledger(course) as ledger:
        return {s.student.id: (s.score, s.max_score)
                for s in ledger.book.assignment_submissions(NAME)}  # fmt: skip


def submission_of(course: Course, student: str) -> Submission:
    (found,) = find(course.classroom / "submitted", [NAME], student)
    return found


def enter_by_hand(course: Course, student: str, cell: str, points: float) -> None:
    with Ledger(course) as ledger:
        mark = ledger.book.find_grade(cell, NAME, NAME, student)
        mark.manual_score, mark.needs_manual_grade = points, False
        ledger.book.db.commit()


def test_the_gradebook_holds_the_marks(classroom: Course) -> None:
    found = scores(classroom)
    assert found.pop("ada") == (5, 7)
    assert found.pop("bob") == (3, 7)
    assert found.pop("mallory") == (5, 7)
    assert set(found.values()) == {(0, 7)}
    assert len(found) == 3


def test_results_csv(classroom: Course) -> None:
    rows = {(r["student"], r["question"]): r for r in table(classroom)}
    assert len(rows) == 6 * 2
    row = rows["bob", "count"]
    assert (row["points"], row["max_points"], row["status"]) == ("0", "2", "fail")
    assert row["message"] == "three words: got {}"
    assert rows["eve", "double"]["status"] == "malformed"
    assert rows["dave", "double"]["status"] == "not_attempted"
    assert not any(r["question"] == "reflection" for r in rows.values())


def test_no_cell_is_a_formula(classroom: Course) -> None:
    export(classroom, [NAME])
    for name in ("results.csv", "marks.csv"):
        cells = [c for row in table(classroom, name) for c in row.values()]
        assert not [c for c in cells if c.startswith(("=", "+", "-", "@", "\t"))]


def test_a_formula_as_message_is_quoted(tmp_path: Path) -> None:
    from autograder.ledger import write_csv

    write_csv(tmp_path / "x.csv", [["=1+1", "-2", "@x", "\tx", 'a "b", c\nd', -1.0, "plain"]])
    raw = (tmp_path / "x.csv").read_bytes()
    assert raw.endswith(b"\r\n")
    with (tmp_path / "x.csv").open(newline="") as file:
        (row,) = csv.reader(file)
    assert row == ["'=1+1", "'-2", "'@x", "'\tx", 'a "b", c\nd', "-1", "plain"]


def test_who_must_be_looked_at(classroom: Course) -> None:
    with Ledger(classroom) as ledger:

        def grade_of(student: str, cell: str) -> Grade:
            return ledger.book.find_grade(cell, NAME, NAME, student)

        def comment_of(student: str, cell: str) -> str | None:
            return ledger.book.find_comment(cell, NAME, NAME, student).comment

        assert grade_of("ada", "reflection").needs_manual_grade
        assert grade_of("ada", "reflection").auto_score is None
        assert not grade_of("ada", "double_visible").needs_manual_grade
        assert not grade_of("dave", "reflection").needs_manual_grade
        assert grade_of("eve", "double_visible").needs_manual_grade
        assert comment_of("dave", "double") == "No response."
        assert comment_of("ada", "double") is None
        assert ledger.waiting(read_lab(classroom, NAME)) == 3  # ada, eve, mallory


def test_a_bad_timestamp_is_put_aside(classroom: Course) -> None:
    folder = classroom.classroom / "submitted" / "bob" / NAME
    assert not (folder / "timestamp.txt").exists()
    assert (folder / "timestamp.unreadable").read_text() == "not a time"


def test_the_hidden_tests_are_in_the_gradebook_and_nowhere_a_student_looks(
    classroom: Course,
) -> None:
    with Ledger(classroom) as ledger:
        cells = ledger.book.find_notebook(NAME, NAME).source_cells
        assert any("-1234" in c.source for c in cells)
    for path in (classroom.classroom / "autograded").rglob("*.ipynb"):
        text = path.read_text()
        assert "-1234" not in text
        assert "hidden-input" not in text
        assert "BEGIN" not in text


def test_export_has_a_row_per_student_and_a_column_per_question(classroom: Course) -> None:
    export(classroom, [NAME])
    rows = {r["student"]: r for r in table(classroom, "marks.csv")}
    assert list(rows["ada"]) == ["student", "lab", "total", "max", "waiting", "double", "count",
                                 "reflection"]  # fmt: skip
    assert list(rows["ada"].values())[2:] == ["5", "7", "1", "3", "2", ""]
    assert list(rows["dave"].values())[2:] == ["0", "7", "0", "0", "0", "0"]


def test_only_what_changed_is_run_again(own_class: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = []
    real = grading._pool
    monkeypatch.setattr(grading, "_pool", lambda *a: runs.append(len(a[1])) or real(*a))
    before = table(own_class)
    assert grade(own_class, [NAME]).kept == 6
    assert table(own_class) == before
    release = read_release(own_class, read_lab(own_class, NAME))
    hand_in(own_class.classroom / "submitted", "bob", answered(release, RIGHT))
    again = grade(own_class, [NAME], workers=1)
    assert (again.graded, again.kept) == (1, 5)
    assert scores(own_class)["bob"] == (5, 7)
    forced = grade(own_class, [NAME], workers=1, student="ada", force=True)
    assert (forced.graded, forced.kept) == (1, 0)
    assert runs == [1, 1]


def test_what_graded_code_meets_of_glassbox_is_in_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fixed module or other weights make old results old, in folders below it too."""
    files = [tmp_path / n for n in ("check.py", "telecom/facts.py", "weights/base.safetensors")]
    for file in (*files, tmp_path / "weights/README.md"):
        file.parent.mkdir(exist_ok=True)
        file.write_text("1")
    monkeypatch.setattr("autograder.ledger.package_folder", lambda: tmp_path)
    keys = [package_key()]
    for file in files:
        file.write_text("2")
        keys.append(package_key())
    assert len(set(keys)) == 4
    (tmp_path / "weights/README.md").write_text("2")
    assert package_key() == keys[-1]


def test_a_mark_given_by_hand_survives_a_regrade(own_class: Course) -> None:
    enter_by_hand(own_class, "ada", "reflection", 2)
    enter_by_hand(own_class, "ada", "count_hidden", 0.5)
    assert scores(own_class)["ada"] == (6.5, 7)
    grade(own_class, [NAME], workers=1, student="ada", force=True)
    assert scores(own_class)["ada"] == (6.5, 7)
    export(own_class, [NAME])
    row = next(r for r in table(own_class, "marks.csv") if r["student"] == "ada")
    assert (row["count"], row["reflection"]) == ("1.5", "2")


def test_a_lost_gradebook_is_filled_again(own_class: Course) -> None:
    empty_gradebook(own_class)
    assert grade(own_class, [NAME], workers=1, student="bob").graded == 1
    assert scores(own_class) == {"bob": (3, 7)}


def test_ungraded_is_loud_and_no_zero(own_class: Course) -> None:
    """It has rows without points, leaves the gradebook alone, and is tried in the next run."""
    lab = read_lab(own_class, NAME)
    release, submission = read_release(own_class, lab), submission_of(own_class, "ada")
    key = job_key(lab_key(lab), submission, course_secret(own_class))
    with Ledger(own_class) as ledger:
        assert ledger.done(submission, key)
        merged = take(lab, release, submission)
        ledger.record(lab, release, submission, merged, ungraded(lab, "ada"), key)
        ledger.write_table()
        assert not ledger.done(submission, key)
    rows = [r for r in table(own_class) if r["student"] == "ada"]
    assert [(r["points"], r["status"]) for r in rows] == [("", "ungraded")] * 2
    assert scores(own_class)["ada"] == (5, 7)


def test_a_job_that_kills_its_workers_is_ungraded_and_costs_nobody_else(
    own_class: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = pool.work

    def work(lab: Lab, release: NotebookNode, submission: Submission, secret: str) -> object:
        if submission.student == "bob":
            os.kill(os.getpid(), signal.SIGKILL)
        return real(lab, release, submission, secret)

    monkeypatch.setattr(pool, "work", work)  # forked workers have it too
    summary = grade(own_class, [NAME], workers=2, force=True)
    assert (summary.graded, summary.ungraded) == (6, [f"bob/{NAME}"])
    assert scores(own_class)["bob"] == (3, 7)
    stored = json.loads((own_class.classroom / "results" / NAME / "bob.json").read_text())
    assert stored["findings"] == ["the grading process died 3 times"]


def test_a_locked_gradebook_is_waited_for(
    own_class: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another program holds the gradebook for longer than SQLite waits by itself."""
    lock = sqlite3.connect(own_class.classroom / "gradebook.db", check_same_thread=False)
    lab = read_lab(own_class, NAME)
    release, submission = read_release(own_class, lab), submission_of(own_class, "ada")
    merged, result = take(lab, release, submission), ungraded(lab, "ada")
    for question in result.questions:
        for cell in question.cells.values():
            question.status = cell.status = "pass"
            cell.points = cell.max_points
    empty_gradebook(own_class)
    with Ledger(own_class) as ledger:
        ledger.prepare(lab)
        ledger.book.db.connection().exec_driver_sql("PRAGMA busy_timeout = 50")
        lock.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(1.0, lock.rollback)
        timer.start()
        ledger.record(lab, release, submission, merged, result, "key")
        timer.join()
    assert scores(own_class) == {"ada": (5, 7)}


def test_changed_cells_after_grading_are_refused_in_words(own_class: Course) -> None:
    course = own_class
    source = course.source(NAME)
    text = source.read_text().replace(
        '"double_hidden", "points": 1', '"double_hidden", "points": 4'
    )
    source.write_text(text)
    with Ledger(course) as ledger:  # other points are fine
        ledger.prepare(read_lab(course, NAME))
    source.write_text(text.replace('"setup"', '"beginning"'))
    with Ledger(course) as ledger, pytest.raises(CourseError, match="other graded cells"):
        ledger.prepare(read_lab(course, NAME))


def test_killed_and_run_again_gives_the_same_marks(own_class: Course) -> None:
    """kill -9 of the whole run in the middle; the second run does the rest, and only the rest."""
    before, marks = table(own_class), scores(own_class)
    shutil.rmtree(own_class.classroom / "results")
    shutil.rmtree(own_class.classroom / "autograded")
    empty_gradebook(own_class)
    command = [sys.executable, "-m", "autograder", "grade", NAME, "--workers", "1"]
    scratch = own_class.root / "tmp"
    scratch.mkdir()
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "TMPDIR": str(scratch)}
    first = subprocess.Popen(command, cwd=own_class.root, env=env, stderr=subprocess.DEVNULL)
    results = own_class.classroom / "results" / NAME
    for _ in range(1200):
        time.sleep(0.05)
        if len(list(results.glob("[!.]*.json"))) >= 2:
            break
    first.send_signal(signal.SIGKILL)
    first.wait()
    kept = len(list(results.glob("[!.]*.json")))
    assert 2 <= kept < 6
    for _ in range(50):  # workers notice that the run is gone, and clean up after themselves
        time.sleep(0.1)
        if not list(scratch.glob("grade-*")):
            break
    assert not list(scratch.glob("grade-*"))
    done = subprocess.run(command, cwd=own_class.root, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{6 - kept} graded now, {kept} had their result" in done.stdout
    assert (table(own_class), scores(own_class)) == (before, marks)


def test_stock_nbgrader_reads_the_gradebook(classroom: Course) -> None:
    with Gradebook(f"sqlite:///{classroom.classroom}/gradebook.db") as book:
        assert book.average_assignment_score(NAME) == pytest.approx(13 / 6)
        assert {s.id for s in book.students} >= {"ada", "bob", "dave", "eve", "mallory"}


def test_result_files_are_whole_and_complete(classroom: Course) -> None:
    stored = json.loads((classroom.classroom / "results" / NAME / "bob.json").read_text())
    assert stored["engine"] == runner.ENGINE
    assert stored["questions"][1]["cells"]["count_visible"]["status"] == "fail"
    assert not list((classroom.classroom / "results").rglob("*.part"))
    (odd,) = (classroom.classroom / "results" / NAME).glob("[!a-z]*.json")
    odd = json.loads(odd.read_text())
    assert "is graded as" in odd["findings"][0]
