"""The only writer of a class's marks: nbgrader's gradebook, the result files, results.csv.

For one submission, in this order: rows in the gradebook, all scores in one commit, the marked copy
in `classroom/autograded`, and last, by rename, `classroom/results/LAB/STUDENT.json`. A run that is
killed anywhere in between does that submission again and arrives at the same state. A submission
whose key (its bytes, our notebook, glassbox, the engine) has a result is done. Marks given by hand
are never touched. Nothing is graded here.
"""

import copy
import csv
import hashlib
import json
import logging
import os
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
from nbgrader.preprocessors import ClearSolutions, ComputeChecksums, LockCells, SaveCells
from nbgrader.utils import parse_utc
from sqlalchemy.exc import OperationalError, SAWarning

from autograder.course import Course, CourseError, nbgrader_config
from autograder.feedback import marked_copy
from autograder.intake import Merged, Submission
from autograder.lab import Lab
from autograder.runner import ENGINE, Result, package_folder

COLUMNS = ("student", "lab", "question", "points", "max_points", "status", "message")
PATIENCE = (0.2, 1.0, 3.0, 10.0)  # seconds between tries when the gradebook is locked


class Ledger:
    """The marks of a class. Open it once per run, in one process."""

    def __init__(self, course: Course) -> None:
        self.course, self.config = course, nbgrader_config(course)
        self.results = course.classroom / "results"
        self.results.mkdir(parents=True, exist_ok=True)
        warnings.filterwarnings("ignore", "Object of type .* not in session", SAWarning)
        logging.getLogger("tornado.application").setLevel(logging.CRITICAL)  # nbgrader's tracebacks
        self.url = self.config.CourseDirectory.db_url
        self.book = Gradebook(self.url)

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.book.close()

    def prepare(self, lab: Lab) -> None:
        """Make the assignment and its cells known to the gradebook, as nbgrader would."""
        source = self.course.root / "_build/labs/source" / lab.name / f"{lab.name}.ipynb"
        if not source.exists():  # formgrader lists the assignments that it finds there
            write_whole(source, nbformat.writes(lab.notebook))
        self.book.update_or_create_assignment(lab.name)
        names = {"notebook": lab.name, "assignment": lab.name, "db_url": self.url}
        notebook, resources = copy.deepcopy(lab.notebook), {"nbgrader": names}
        try:
            for step in (LockCells, ClearSolutions, ComputeChecksums, SaveCells):
                notebook, resources = step(config=self.config).preprocess(notebook, resources)
        except RuntimeError:
            raise CourseError(
                f"{lab.name} has other graded cells than when its first submission was graded. "
                "Give the changed lab a new name, or undo the change."
            ) from None
        self.book.db.expire_all()

    def done(self, submission: Submission, key: str) -> bool:
        """Whether this very submission has its marks already."""
        stored = self._stored(self._file(submission.lab, submission.student))
        if stored.get("key") != key or stored.get("ungraded", True):
            return False
        try:
            self.book.find_submission(submission.lab, submission.student)
        except MissingEntry:
            return False
        return self._copy_path(submission.lab, submission.student).exists()

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str) -> None:  # fmt: skip
        """Enter one graded submission; what could not be graded leaves the gradebook alone."""
        if not result.ungraded:
            self._patiently(lambda: self._enter(lab, submission, merged, result))
            notebook = marked_copy(lab, release, merged, result)
            write_whole(self._copy_path(lab.name, result.student), nbformat.writes(notebook) + "\n")
        stored = {"key": key, "engine": ENGINE, "ungraded": result.ungraded} | asdict(result)
        del stored["outputs"]
        text = json.dumps(stored, indent=1, ensure_ascii=False)
        write_whole(self._file(lab.name, result.student), text + "\n")

    def _enter(self, lab: Lab, submission: Submission, merged: Merged, result: Result) -> None:
        who = (lab.name, result.student)
        self.book.update_or_create_student(result.student)
        self.book.update_or_create_submission(*who, timestamp=_timestamp(submission))
        notebook = self.book.find_submission_notebook(lab.name, *who)
        cells = {key: c for q in result.questions for key, c in q.cells.items()}
        for grade in notebook.grades:
            cell, review = cells.get(grade.name), bool(merged.malformed)
            if cell is not None:
                grade.auto_score = min(max(cell.points, 0.0), cell.max_points)
            else:  # an answer that a person reads
                blank = grade.name in merged.untouched or bool(merged.malformed)
                grade.auto_score, review = (0.0, review) if blank else (None, True)
            grade.needs_manual_grade = review or grade.manual_score is not None
        for comment in notebook.comments:
            silent = "No response." if comment.name in merged.untouched else None
            lost = "No answer cell was found." if comment.name in merged.missing else None
            comment.auto_comment = lost or silent
        self.book.db.commit()

    def _patiently(self, action: Callable[[], None]) -> None:
        for pause in (*PATIENCE, None):
            try:
                return action()
            except (OperationalError, InvalidEntry) as error:
                self.book.db.rollback()
                if "locked" not in str(error):
                    raise
                if pause is None:
                    raise CourseError("The gradebook is locked by another program.") from None
                time.sleep(pause)

    def waiting(self, lab: Lab) -> int:
        """How many written answers of a lab wait for a person."""
        written = {q.id for q in lab.questions if q.kind == "manual"}
        return sum(
            grade.needs_manual_grade and grade.name in written
            for submission in self.book.assignment_submissions(lab.name)
            for notebook in submission.notebooks
            for grade in notebook.grades
        )

    # --- files ---

    def write_table(self) -> Path:
        """Write results.csv: one row per student, lab and automatic exercise."""
        path = self.results / "results.csv"
        write_csv(path, [COLUMNS, *(row for stored in self.stored() for row in _rows(stored))])
        return path

    def stored(self, labs: list[str] | None = None) -> Iterator[dict[str, Any]]:
        """The result files, in order of lab and student."""
        for path in sorted(self.results.glob("*/*.json")):
            if labs is None or path.parent.name in labs:
                yield self._stored(path)

    def _stored(self, path: Path) -> dict[str, Any]:
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}

    def _file(self, lab: str, student: str) -> Path:
        return self.results / lab / f"{student}.json"

    def _copy_path(self, lab: str, student: str) -> Path:
        return self.course.classroom / "autograded" / student / lab / f"{lab}.ipynb"


def lab_key(lab: Lab) -> bytes:
    """A digest of everything of ours that decides a result."""
    package = package_folder()
    parts = [ENGINE.encode(), nbformat.writes(lab.notebook).encode()]
    parts += [p.read_bytes() for p in sorted(package.glob("*.py"))]
    parts += [p.read_bytes() for p in package.glob(f"probes/{lab.name}.npz")]
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def job_key(ours: bytes, submission: Submission) -> str:
    """A digest of ours and theirs; with an equal one there is no need for a second run."""
    digest = hashlib.sha256(ours + repr(submission.findings).encode())
    if submission.path is not None:
        digest.update(submission.path.read_bytes())
    return digest.hexdigest()


def write_csv(path: Path, rows: list[Any]) -> None:
    """RFC 4180, UTF-8; texts that a spreadsheet would take for a formula get a quote in front."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    with draft.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([_plain(value) for value in row] for row in rows)
    os.replace(draft, path)


def _plain(value: object) -> object:
    if isinstance(value, float):
        return f"{value:g}"
    text = isinstance(value, str) and value != "-"  # a lone dash is Moodle's "no mark"
    return f"'{value}" if text and value[:1] in tuple("=+-@\t\r") else value


def _rows(stored: dict[str, Any]) -> Iterator[tuple[Any, ...]]:
    for q in stored.get("questions", []):
        points = "" if q["status"] == "ungraded" else q["points"]
        yield (stored["student"], stored["lab"], q["question"], points, q["max_points"],
               q["status"], q["message"])  # fmt: skip


def write_whole(path: Path, text: str, mark: str = "") -> None:
    """Write a file so that it is there whole or not at all; writers at once need a mark each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{mark}part")
    with draft.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(draft, path)


def _timestamp(submission: Submission) -> Any:
    """The collected time, which formgrader compares; a file that would stop it is put aside."""
    path = submission.path.with_name("timestamp.txt") if submission.path else None
    if path is None or not (path.is_symlink() or path.exists()):
        return None
    try:
        if path.is_symlink() or path.stat().st_size > 100:
            raise ValueError
        return parse_utc(path.read_text(encoding="utf-8").strip())
    except (ValueError, OverflowError):
        path.rename(path.with_name("timestamp.unreadable"))
        return None
