"""Marks out of the gradebook, one row per student and lab, as CSV.

Marks given by hand count as soon as they are in the gradebook; `waiting` tells how many answers of
the row still lack one. Formats of learning platforms (Canvas, Moodle) are not written yet.
"""

from pathlib import Path
from typing import Any

from autograder.course import Course, CourseError
from autograder.ledger import Ledger, write_csv


def export(course: Course, labs: list[str], form: str = "csv") -> Path:
    """Write `classroom/results/marks.csv`: a row per student and lab, a column per question."""
    if form != "csv":
        raise CourseError(f"--format {form} is not available yet; use --format csv.")
    if not (course.classroom / "gradebook.db").exists():
        raise CourseError("There is no gradebook yet; type: autograder grade")
    with Ledger(course) as ledger:
        graded = {a.name for a in ledger.book.assignments} & set(labs)
        rows = [_row(s) for lab in sorted(graded) for s in ledger.book.assignment_submissions(lab)]
    questions = list(dict.fromkeys(name for row in rows for name in row["questions"]))
    head = ["student", "lab", "total", "max", "waiting", *questions]
    table = [[*(row[k] for k in head[:5]), *(row["questions"].get(q, "") for q in questions)]
             for row in sorted(rows, key=lambda r: (r["student"], r["lab"]))]  # fmt: skip
    path = course.classroom / "results" / "marks.csv"
    write_csv(path, [head, *table])
    return path


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
