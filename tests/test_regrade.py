"""One question graded again after its tests were mended: its marks change, and nothing else."""

import csv
import json
from pathlib import Path

import pytest
from conftest import NAME, RIGHT, answered, hand_in

from autograder import cli
from autograder.build import build
from autograder.course import Course
from autograder.grade import grade
from autograder.intake import read_release
from autograder.lab import read_lab
from autograder.ledger import Ledger, question_keys

# bob's empty dictionary becomes right, and double's test turns all answers down
MENDED = ('check(count([]) == {}, "no words: expected an empty dictionary")',
          'check(count([]) == {} or True, "no words")')  # fmt: skip
VISIBLE = ('check(count(["a", "b", "a"]) == {"a": 2, "b": 1}', "check(count([]) == {}")
MANY = ('check(count(["hidden-input"] * 7) == {"hidden-input": 7}, "many words: wrong")\n', "")


@pytest.fixture
def inside(own_class: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.chdir(own_class.root)
    return own_class


def edit(course: Course, *changes: tuple[str, str]) -> None:
    """Change the lab's source, as a teacher does, and build."""
    source = course.source(NAME)
    text = source.read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    source.write_text(text)
    build(course, [NAME])


def stored(course: Course) -> dict[str, dict[str, object]]:
    folder = course.classroom / "results" / NAME
    return {p.stem: json.loads(p.read_text()) for p in folder.glob("*.json")}


def points(course: Course, question: str) -> dict[str, float]:
    return {who: q["points"] for who, s in stored(course).items() for q in s["questions"]
            if q["question"] == question}  # fmt: skip


def queue(course: Course) -> set[tuple[str, str]]:
    with Ledger(course) as ledger:
        return {(s.student.id, g.name) for s in ledger.book.assignment_submissions(NAME)
                for g in s.notebooks[0].grades if g.needs_manual_grade}  # fmt: skip


def test_only_this_questions_marks_change(
    inside: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    """Both tests were edited; the other question, marks by hand and their queue stay."""
    with Ledger(inside) as ledger:
        for cell, score in (("reflection", 2.0), ("double_visible", 1.0)):
            mark = ledger.book.find_grade(cell, NAME, NAME, "ada")
            mark.manual_score, mark.needs_manual_grade = score, False
        ledger.book.db.commit()
    waiting, double = queue(inside), points(inside, "double")
    edit(inside, VISIBLE, MANY, ("double(-1234) == -2468", "double(-1234) == 1"))
    assert cli.main(["regrade", "lab90", "--question", "count", "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert "bob      count     0 (fail)  →  2 (pass)" in out
    assert "1 of 6 marks of count changed." in out
    assert points(inside, "count")["bob"] == 2
    assert points(inside, "double") == double
    assert queue(inside) == waiting
    with Ledger(inside) as ledger:
        assert ledger.book.find_submission(NAME, "bob").score == 5
        assert ledger.book.find_submission(NAME, "ada").score == 1 + 1 + 2 + 2
    copy = (inside.classroom / "autograded" / "bob" / NAME / f"{NAME}.ipynb").read_text()
    assert copy.count("1 of 1 points (pass)") == 3
    (table,) = (inside.classroom / "results").glob("changes-*.csv")
    with table.open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["student"], row["points_before"], row["points"]) == ("bob", "0", "2")
    assert ["bob", NAME, "count", "2", "2", "pass", ""] in list(
        csv.reader((inside.classroom / "results" / "results.csv").open(newline=""))
    )
    # the edit of double's test still waits for a plain run
    done = grade(inside, [NAME], workers=2)
    assert done.graded == 6
    assert {c.question for c in done.changes} == {"double"}


def test_after_it_a_plain_run_has_nothing_to_do(inside: Course) -> None:
    edit(inside, VISIBLE, MANY)
    assert cli.main(["regrade", NAME, "--question", "count", "--workers", "2"]) == 0
    assert grade(inside, [NAME]).kept == 6


def test_check_changes_nothing(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    edit(inside, VISIBLE, MANY)
    before = stored(inside)
    assert cli.main(["regrade", NAME, "--question", "count", "--check", "--student", "bob"]) == 0
    out = capsys.readouterr().out
    assert "bob      count     0 (fail)  →  2 (pass)" in out
    assert "1 of 1 marks of count would change." in out
    assert stored(inside) == before
    assert not list((inside.classroom / "results").glob("changes-*"))


def test_what_was_handed_in_since_is_left_to_a_plain_run(
    inside: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    release = read_release(inside, read_lab(inside, NAME))
    hand_in(inside.classroom / "submitted", "bob", answered(release, RIGHT))
    hand_in(inside.classroom / "submitted", "new", answered(release, RIGHT))
    edit(inside, MENDED)
    assert cli.main(["regrade", NAME, "--question", "count", "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert "0 of 5 marks of count changed." in out
    assert "2 left alone, since what they handed in has no marks yet: bob, new." in out
    assert points(inside, "count")["bob"] == 0


def test_a_fault_of_ours_changes_no_mark(
    inside: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = points(inside, "count")
    edit(inside, VISIBLE)
    monkeypatch.setattr("autograder.runner.Host", None)
    assert cli.main(["regrade", NAME, "--question", "count", "--student", "ada"]) == 1
    assert f"UNGRADED ada/{NAME}" in capsys.readouterr().err
    assert points(inside, "count") == before


def test_a_question_that_is_none(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("reflection", "count_hidden"):
        assert cli.main(["regrade", NAME, "--question", name]) == 2
        assert "it has double, count." in capsys.readouterr().err


def test_what_decides_a_question(own_class: Course) -> None:
    def keys(secret: str = "s") -> dict[str, str]:
        return question_keys(read_lab(own_class, NAME), secret)

    before = keys()
    assert keys("other").items().isdisjoint(before.items())
    edit(own_class, MENDED)
    after = keys()
    assert after["double"] == before["double"]
    assert after["count"] != before["count"]
    (own_class.solutions / NAME / "data").mkdir()
    Path(own_class.solutions / NAME / "data" / "x.txt").write_text("x")
    assert keys().items().isdisjoint(after.items())


def test_a_mark_that_changes_in_a_plain_run_is_named(
    inside: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    edit(inside, VISIBLE, MANY)
    assert cli.main(["grade", "--workers", "2"]) == 0
    out = capsys.readouterr().out
    assert "1 marks are not what they were, though nothing new was handed in: classroom/" in out
