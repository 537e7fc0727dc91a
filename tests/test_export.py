"""Marks for Canvas and Moodle: the right cells, empty where a mark is not final, safe to open."""

import csv
from pathlib import Path

import pytest
from conftest import NAME, empty_gradebook

from autograder.course import Course, CourseError
from autograder.export import Exported, export
from autograder.ledger import Ledger

ODD = '=1+1, "x"'  # by formgrader; intake would rename such a student


def lines(done: Exported) -> list[list[str]]:
    with done.path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_canvas(classroom: Course) -> None:
    done = export(classroom, [NAME], "canvas")
    head, points, *students = lines(done)
    assert done.path.name == "marks_canvas.csv"
    assert head == ["Student", "ID", "SIS User ID", "SIS Login ID", "Section", NAME]
    assert points == ["    Points Possible", "", "", "", "", "7"]
    assert ["bob", "", "", "bob", "", "3"] in students
    assert all(row[0] == row[3] for row in students)
    assert len(students) == 3


def test_moodle(classroom: Course) -> None:
    done = export(classroom, [NAME], "moodle")
    head, *students = lines(done)
    assert done.path.name == "marks_moodle.csv"
    assert head == ["username", NAME]
    assert ["bob", "3"] in students
    assert len(students) == 3


@pytest.mark.parametrize("form", ["canvas", "moodle"])
def test_what_waits_for_a_person_is_left_empty(classroom: Course, form: str) -> None:
    done = export(classroom, [NAME], form)
    marks = {row[0]: row[-1] for row in lines(done)}
    assert marks["bob"] == "3"
    assert not {"ada", "eve", "mallory"} & set(marks)  # an import must not clear what they have
    assert (done.left_out, done.absent, done.no_mark) == (3, 3, 0)
    assert done.notes[0].startswith("3 totals wait for a person and are left empty; read the answ")
    assert done.notes[1].startswith("3 students without a mark have no row: an import changes noth")
    done = export(classroom, [NAME], form, include_waiting=True)
    marks = {row[0]: row[-1] for row in lines(done)}
    assert (marks["ada"], marks["eve"], marks["mallory"], marks["bob"]) == ("5", "0", "5", "3")
    assert done.notes == []


@pytest.mark.parametrize("form", ["canvas", "moodle"])
def test_names_are_no_formulas_and_the_file_is_rfc_4180(own_class: Course, form: str) -> None:
    with Ledger(own_class) as ledger:
        ledger.book.add_student(ODD)
        ledger.book.add_submission(NAME, ODD)
    done = export(own_class, [NAME], form, include_waiting=True)
    cells = [cell for row in lines(done) for cell in row]
    assert f"'{ODD}" in cells
    assert not [c for c in cells if c.startswith(("=", "+", "-", "@", "\t"))]
    raw = done.path.read_bytes()
    assert b'"\'=1+1, ""x"""' in raw
    assert raw.count(b"\r\n") == raw.count(b"\n") == len(lines(done))


@pytest.mark.parametrize("form", ["canvas", "moodle"])
def test_who_handed_in_nothing_has_no_row(own_class: Course, form: str) -> None:
    with Ledger(own_class) as ledger:
        ledger.book.add_student("zoë")
    done = export(own_class, [NAME], form)
    assert "zoë" not in {row[0] for row in lines(done)}
    assert done.absent == 4


@pytest.mark.parametrize(("form", "none"), [("canvas", ""), ("moodle", "-")])
def test_a_column_for_each_lab_that_is_graded(own_class: Course, form: str, none: str) -> None:
    with Ledger(own_class) as ledger:
        ledger.book.add_assignment("lab91_second")
        ledger.book.add_submission("lab91_second", "bob")
    labs = [NAME, "lab91_second", "lab92_never"]
    done = export(own_class, labs, form)
    head, *students = lines(done)
    assert head[-2:] == [NAME, "lab91_second"]
    marks = {row[0]: row[-2:] for row in students}
    assert marks["bob"] == ["3", "0"]
    assert marks["dave"] == ["0", none]
    assert done.no_mark == 2
    assert done.notes[-1].startswith("2 cells hold no mark; an import clears what stands there in ")
    assert f"export LAB --format {form}" in done.notes[-1]


@pytest.mark.parametrize("form", ["csv", "canvas", "moodle"])
def test_nothing_to_export(tmp_path: Path, form: str) -> None:
    course = Course(tmp_path)
    with pytest.raises(CourseError, match="no gradebook yet"):
        export(course, [NAME], form)
    empty_gradebook(course)
    with pytest.raises(CourseError, match=f"{NAME}: nothing is graded yet"):
        export(course, [NAME], form)
