"""Marks out of the gradebook as CSV: all of them, or a file that Canvas or Moodle can import.

`csv` has a row per student and lab and a column per question; marks given by hand count as soon as
they are in the gradebook, and `waiting` tells how many answers of the row still lack one. `canvas`
and `moodle` have a column per lab and a row per student who has a mark in one of them, since an
import leaves students alone who are not in its file. Unless asked otherwise, a total that still
waits for a person is no mark.

Canvas (its `gradebook_importer.rb`, `process_gradebook_upload.js` and exported files): the columns
Student to Section come first and in this order; a student is found by ID, SIS User ID, SIS Login
ID, then name; the row "Points Possible" sets the maximum of a new assignment, which a column with
an unknown title becomes. An empty cell clears a mark that stands in Canvas; its confirmation page
shows old and new.
Moodle (docs.moodle.org "Grade import" and its `load_data.php`): UTF-8, comma; the teacher maps
`username` to username and each lab to a grade item or a new one; a name that Moodle does not know
stops the whole import. No mark is "-", as in Moodle's own export: in a new item an empty cell would
become 0. In an item that exists, "-" clears a mark that stands there.
All this was read, not tried: no file has been imported into a live Canvas or Moodle.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from autograder.course import Course, CourseError
from autograder.ledger import Ledger, write_csv

Table = list[list[Any]]
CANVAS = ("Student", "ID", "SIS User ID", "SIS Login ID", "Section")
FILES = {"csv": "marks.csv", "canvas": "marks_canvas.csv", "moodle": "marks_moodle.csv"}


@dataclass
class Exported:
    """The file, and what the person who imports it should know."""

    path: Path
    left_out: int = 0  # totals that wait for a person
    absent: int = 0  # students without any mark, who have no row
    no_mark: int = 0  # cells without a mark in the rows that are there
    form: str = "csv"

    @property
    def notes(self) -> list[str]:
        """Sentences for the person who imports the file."""
        said = []
        if self.left_out:
            said.append(
                f"{self.left_out} totals wait for a person and are left empty; read the answers "
                "(autograder serve), or add --include-waiting for the totals so far."
            )
        if self.absent:
            said.append(f"{self.absent} students without a mark have no row: an import changes "
                        "nothing of theirs.")  # fmt: skip
        if self.no_mark:
            where = "Canvas" if self.form == "canvas" else "Moodle"
            said.append(
                f"{self.no_mark} cells hold no mark; an import clears what stands there in "
                f"{where}. To keep it, export lab by lab: autograder export LAB --format "
                f"{self.form}"
            )
        return said


def export(
    course: Course, labs: list[str], form: str = "csv", include_waiting: bool = False
) -> Exported:
    """Write the marks of these labs to `classroom/results`; `include_waiting` for totals so far."""
    if not (course.classroom / "gradebook.db").exists():
        raise CourseError("There is no gradebook yet; type: autograder grade")
    with Ledger(course) as ledger:
        graded = sorted({a.name for a in ledger.book.assignments} & set(labs))
        rows = [_row(s) for lab in graded for s in ledger.book.assignment_submissions(lab)]
        students = sorted(s.id for s in ledger.book.students)
        most = [ledger.book.find_assignment(lab).max_score for lab in graded]
    if not rows:
        raise CourseError(f"{', '.join(labs)}: nothing is graded yet; type: autograder grade")
    done = Exported(course.classroom / "results" / FILES[form], form=form)
    if form == "csv":
        table = _questions(rows)
    else:
        done.left_out = 0 if include_waiting else sum(row["waiting"] > 0 for row in rows)
        totals = _totals(rows, students, graded, include_waiting)
        known = {name: marks for name, marks in totals.items() if any(m != "" for m in marks)}
        done.absent = len(totals) - len(known)
        done.no_mark = sum(marks.count("") for marks in known.values())
        table = _canvas(known, graded, most) if form == "canvas" else _moodle(known, graded)
    write_csv(done.path, table)
    return done


def _questions(rows: list[dict[str, Any]]) -> Table:
    questions = list(dict.fromkeys(name for row in rows for name in row["questions"]))
    head = ["student", "lab", "total", "max", "waiting"]
    return [[*head, *questions]] + [
        [*(row[k] for k in head), *(row["questions"].get(q, "") for q in questions)]
        for row in sorted(rows, key=lambda r: (r["student"], r["lab"]))
    ]


def _totals(
    rows: list[dict[str, Any]], students: list[str], labs: list[str], include_waiting: bool
) -> dict[str, list[float | str]]:
    """Per student a total or an empty cell for each lab."""
    found = {(r["student"], r["lab"]): r["total"] for r in rows
             if include_waiting or not r["waiting"]}  # fmt: skip
    return {name: [found.get((name, lab), "") for lab in labs] for name in students}


def _canvas(totals: dict[str, list[float | str]], labs: list[str], most: list[float]) -> Table:
    head = [[*CANVAS, *labs], ["    Points Possible", "", "", "", "", *most]]
    return head + [[name, "", "", name, "", *marks] for name, marks in totals.items()]


def _moodle(totals: dict[str, list[float | str]], labs: list[str]) -> Table:
    return [["username", *labs]] + [
        [name, *("-" if mark == "" else mark for mark in marks)] for name, marks in totals.items()
    ]


def _row(submission: Any) -> dict[str, Any]:
    """Points per question: visible and hidden cells of an exercise are one question."""
    questions: dict[str, float | str] = {}
    waiting = 0
    for grade in (g for notebook in submission.notebooks for g in notebook.grades):
        name = grade.name.removesuffix("_visible").removesuffix("_hidden")
        written = name == grade.name
        waiting += written and grade.needs_manual_grade
        unread = written and grade.auto_score is None and grade.manual_score is None
        questions[name] = "" if unread else questions.get(name, 0.0) + grade.score
    return {"student": submission.student.id, "lab": submission.name, "total": submission.score,
            "max": submission.max_score, "waiting": waiting, "questions": questions}  # fmt: skip
