"""The only writer of a class's marks: nbgrader's gradebook, the result files, results.csv.

For one submission, in this order: rows in the gradebook, all scores in one commit, the marked copy
in `classroom/autograded`, and last, by rename, `classroom/results/LAB/STUDENT.json`. A run that is
killed anywhere in between does that submission again and arrives at the same state. A submission
whose key (its bytes, our notebook, glassbox, the engine, the course secret) has a result is done.
Marks given by hand are never touched, late penalties follow nbgrader's plugin. Nothing is graded
here.
"""

import contextlib
import copy
import csv
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import secrets
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import nbformat
from nbformat import NotebookNode
from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
from nbgrader.preprocessors import (
    AssignLatePenalties,
    ClearSolutions,
    ComputeChecksums,
    LockCells,
    SaveCells,
)
from nbgrader.utils import parse_utc
from sqlalchemy.exc import OperationalError, SAWarning

from autograder.course import Course, CourseError, course_secret, nbgrader_config
from autograder.feedback import marked_copy
from autograder.intake import Merged, Submission
from autograder.lab import Lab
from autograder.runner import ENGINE, CellResult, QuestionResult, Result, package_folder

COLUMNS = ("student", "lab", "question", "points", "max_points", "status", "message")
PATIENCE = (0.2, 1.0, 3.0, 10.0)  # seconds between tries when the gradebook is locked
T = TypeVar("T")


@dataclass(frozen=True)
class Change:
    """A mark that became another one although nothing new was handed in."""

    student: str
    lab: str
    question: str
    points_before: float
    points: float
    max_points: float
    status_before: str
    status: str


class Ledger:
    """The marks of a class. Open it once per run, in one process."""

    def __init__(self, course: Course) -> None:
        self.course, self.config = course, nbgrader_config(course)
        self.results = course.classroom / "results"
        self.results.mkdir(parents=True, exist_ok=True)
        self.changes: list[Change] = []
        self.keys: dict[str, dict[str, str]] = {}  # lab -> its question_keys, read once
        warnings.filterwarnings("ignore", "Object of type .* not in session", SAWarning)
        logging.getLogger("tornado.application").setLevel(logging.CRITICAL)  # nbgrader's tracebacks
        self.url = self.config.CourseDirectory.db_url
        _create(self.url)
        self.book = self._patiently(lambda: Gradebook(self.url))

    def __enter__(self) -> "Ledger":
        return self

    def __exit__(self, *_: object) -> None:
        self.book.close()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only run that grades this class; the lock goes with the process that holds it."""
        with (self.course.classroom / ".grading").open("w") as file:
            try:
                fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # not handed down to workers
            except OSError:
                raise CourseError("This class is being graded by another run of autograder; "
                                  "wait for its end.") from None  # fmt: skip
            yield

    def prepare(self, lab: Lab) -> None:
        """Make the assignment and its cells known to the gradebook, as nbgrader would."""
        self._patiently(lambda: self._prepare(lab))

    def _prepare(self, lab: Lab) -> None:
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
        return self._known(submission)

    def graded(self, submission: Submission, key: str) -> bool:
        """Whether this very submission has marks, by whatever version of ours."""
        stored = self._stored(self._file(submission.lab, submission.student))
        return _same_file(stored, key) and not stored["ungraded"] and self._known(submission)

    def _known(self, submission: Submission) -> bool:
        who = (submission.lab, submission.student)
        try:
            self._patiently(lambda: self.book.find_submission(*who))
        except MissingEntry:
            return False
        return self._copy_path(*who).exists()

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str, only: str | None = None) -> None:  # fmt: skip
        """Enter one graded submission; what could not be graded leaves the gradebook alone.

        With `only` the marks of that question are replaced and all others kept.
        """
        before = self._stored(self._file(lab.name, result.student))
        if lab.name not in self.keys:
            self.keys[lab.name] = question_keys(lab, course_secret(self.course))
        digests = self.keys[lab.name]
        if only is not None:
            result = _with_one(before, result, only)
            old = before.get("digests", {})
            current = all(old.get(q) == digests[q] for q in digests if q != only)
            digests = old | {only: digests[only]}
            key = key if current else before["key"]
        if not result.ungraded:
            self._patiently(lambda: self._enter(lab, submission, merged, result, only))
            notebook = marked_copy(lab, release, merged, result)
            text = json.dumps(notebook, ensure_ascii=False)
            write_whole(self._copy_path(lab.name, result.student), text + "\n")
        stored = {"key": key, "engine": ENGINE, "digests": digests, "ungraded": result.ungraded}
        stored |= asdict(result)
        del stored["outputs"]
        text = json.dumps(stored, ensure_ascii=False)
        write_whole(self._file(lab.name, result.student), text + "\n")
        if _same_file(before, key):
            self.changes += changes(before, stored)

    def _enter(self, lab: Lab, submission: Submission, merged: Merged, result: Result,
               only: str | None) -> None:  # fmt: skip
        with self._as_a_whole():
            self.book.update_or_create_student(result.student)
            who = (lab.name, result.student)
            self.book.update_or_create_submission(*who, timestamp=_timestamp(submission))
            notebook = self.book.find_submission_notebook(lab.name, *who)
            self._fill_in(lab, notebook, merged, result, only)

    @contextlib.contextmanager
    def _as_a_whole(self) -> Iterator[None]:
        """One transaction around methods of nbgrader's that would commit each for itself."""
        db = self.book.db
        db.commit = db.flush
        try:
            with db.no_autoflush:
                yield
        finally:
            del db.commit
        db.commit()

    def _fill_in(self, lab: Lab, notebook: Any, merged: Merged, result: Result,
                 only: str | None) -> None:  # fmt: skip
        """Scores and comments of one submitted notebook."""
        len(notebook.notebook.grade_cells)  # read together here, else one by one below
        cells = {key: c for q in result.questions for key, c in q.cells.items()}
        mine = {key for q in result.questions if q.question == only for key in q.cells}
        unsure = {q.id for q in lab.questions if q.exercise in merged.unsure}
        for grade in notebook.grades:
            if only is not None and grade.name not in mine:
                continue
            cell, review = cells.get(grade.name), bool(merged.malformed)
            if cell is not None:
                review = review or grade.name in unsure
                grade.auto_score = min(max(cell.points, 0.0), cell.max_points)
            else:  # an answer that a person reads
                blank = grade.name in merged.untouched or bool(merged.malformed)
                grade.auto_score, review = (0.0, review) if blank else (None, True)
            grade.needs_manual_grade = review or grade.manual_score is not None
        for comment in notebook.comments:
            silent = "No response." if comment.name in merged.untouched else None
            lost = "No answer cell was found." if comment.name in merged.missing else None
            comment.auto_comment = lost or silent
        notebook.late_submission_penalty = self._penalty(notebook)

    def _penalty(self, notebook: Any) -> float | None:
        """What nbgrader's plugin takes off, from nothing to the whole score, for a late hand-in."""
        late = notebook.assignment.total_seconds_late
        if late <= 0:
            return None
        plugin = AssignLatePenalties(config=self.config).plugin_class(config=self.config)
        given = [g.auto_score if g.manual_score is None else g.manual_score
                 for g in notebook.grades]  # fmt: skip
        score = sum(x or 0.0 for x in [*given, *(g.extra_credit for g in notebook.grades)])
        off = plugin.late_submission_penalty(notebook.student.id, score, late)
        return None if off is None else min(max(off, 0.0), score)

    def _patiently(self, action: Callable[[], T]) -> T:
        for pause in (*PATIENCE, None):
            try:
                return action()
            except (OperationalError, InvalidEntry) as error:
                if hasattr(self, "book"):
                    self.book.db.rollback()
                if "disk is full" in str(error):
                    raise OSError(errno.ENOSPC, "the gradebook cannot grow") from None
                if "locked" not in str(error):
                    raise
                if pause is None:
                    raise CourseError(
                        "The gradebook is locked by another program (a server, a backup, an open "
                        "database browser). What is graded is kept; end that program and run this "
                        "again."
                    ) from None
                time.sleep(pause)
        raise AssertionError

    def waiting(self, lab: Lab) -> int:
        """How many written answers of a lab wait for a person."""
        return self._patiently(lambda: self._waiting(lab))

    def _waiting(self, lab: Lab) -> int:
        written = {q.id for q in lab.questions if q.kind == "manual"}
        return sum(
            grade.needs_manual_grade and grade.name in written
            for submission in self.book.assignment_submissions(lab.name)
            for notebook in submission.notebooks
            for grade in notebook.grades
        )

    def would_change(self, result: Result, question: str) -> Iterator[Change]:
        """What `record` with `only` would change."""
        mine = [asdict(q) for q in result.questions if q.question == question]
        after = {"student": result.student, "lab": result.lab, "questions": mine}
        return changes(self._stored(self._file(result.lab, result.student)), after)

    # --- files ---

    def marked(self, student: str, lab: str) -> NotebookNode:
        """The marked copy of a submission."""
        return nbformat.read(self._copy_path(lab, student), as_version=4)

    def write_changes(self) -> Path | None:
        """Write the marks that changed in this run, if any, beside the results."""
        if not self.changes:
            return None
        now = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        path = self.results / f"changes-{now}.csv"
        head = list(Change.__dataclass_fields__)
        write_csv(path, [head, *(asdict(c).values() for c in self.changes)])
        return path

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


# --- what decides a result ---------------------------------------------------------------------


def lab_key(lab: Lab) -> bytes:
    """A digest of everything of ours that decides a result, but for the course secret."""
    return _digest(nbformat.writes(lab.notebook).encode(), *_around(lab))


def question_keys(lab: Lab, secret: str) -> dict[str, str]:
    """For each exercise a digest of what decides its marks: all but the tests of the others."""
    tests = {q.id: q for q in lab.questions if q.kind != "manual"}
    common = [json.dumps([c["id"], c.cell_type, c.source, c.metadata]).encode()
              for c in lab.notebook.cells if c["id"] not in tests]  # fmt: skip
    shared = _digest(secret_key(secret).encode(), *common, *_around(lab))
    return {name: _digest(shared, *(f"{q.id} {q.points} {lab.cell(q.id).source}".encode()
                                    for q in tests.values() if q.exercise == name)).hex()
            for name in lab.exercises}  # fmt: skip


def package_key() -> str:
    """A digest of what graded code meets of glassbox: its modules and its weights."""
    kinds = ("**/*.py", "weights/*.json", "weights/*.safetensors")
    files = sorted(p for kind in kinds for p in package_folder().glob(kind))
    return _digest(*(p.read_bytes() for p in files)).hex()


def _around(lab: Lab) -> list[bytes]:
    """The engine, glassbox, the lab's data files and the calls that it forbids."""
    files = [*package_folder().glob(f"probes/{lab.name}.npz")]
    files += sorted(p for p in (lab.path.parent / "data").rglob("*") if p.is_file())
    read = [x for p in files for x in (p.name.encode(), p.read_bytes())]
    return [ENGINE.encode(), package_key().encode(), json.dumps(lab.forbidden).encode(), *read]


def _digest(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in parts)).digest()


def secret_key(secret: str) -> str:
    """A digest by which two secrets can be told apart."""
    return hashlib.sha256(b"glassbox course secret " + secret.encode()).hexdigest()[:32]


def job_key(ours: bytes, submission: Submission, secret: str) -> str:
    """Digests of ours and of theirs; with an equal key there is no need for a second run."""
    theirs = hashlib.sha256(repr(submission.findings).encode())
    if submission.path is not None:
        theirs.update(submission.path.read_bytes())
    return f"{_digest(ours, secret_key(secret).encode()).hex()[:32]}-{theirs.hexdigest()[:32]}"


def _same_file(stored: dict[str, Any], key: str) -> bool:
    """Whether a stored result and a key are of the same hand-in."""
    return stored.get("key", "").partition("-")[2] == key.partition("-")[2] != ""


def _with_one(before: dict[str, Any], result: Result, question: str) -> Result:
    """The stored result with this question's marks as they are now."""
    fresh = {q.question: q for q in result.questions}
    questions = [
        fresh[q["question"]]
        if q["question"] == question
        else QuestionResult(**q | {"cells": {k: CellResult(**c) for k, c in q["cells"].items()}})
        for q in before["questions"]
    ]
    return replace(result, questions=questions)


def changes(before: dict[str, Any], after: dict[str, Any]) -> Iterator[Change]:
    """The marks that differ in two stored results of one hand-in; what was ungraded has none."""
    old = {q["question"]: q for q in before["questions"]}
    for q in after["questions"]:
        was = old.get(q["question"], q)
        if (was["points"], was["status"]) != (q["points"], q["status"]) and "ungraded" not in (
            was["status"], q["status"],
        ):  # fmt: skip
            yield Change(after["student"], after["lab"], q["question"], was["points"], q["points"],
                         q["max_points"], was["status"], q["status"])  # fmt: skip


# --- files -------------------------------------------------------------------------------------


def write_csv(path: Path, rows: list[Any]) -> None:
    """RFC 4180, UTF-8; texts that a spreadsheet would take for a formula get a quote in front."""
    text = io.StringIO()
    csv.writer(text).writerows([_plain(value) for value in row] for row in rows)
    write_whole(path, text.getvalue())


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
    try:
        with draft.open("w", encoding="utf-8", newline="") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    except OSError:  # a full disk
        draft.unlink(missing_ok=True)
        raise


def _create(url: str) -> None:
    """Make a gradebook whole: nbgrader's own way leaves half of one when it is interrupted."""
    path = Path(url.removeprefix("sqlite:///"))
    if not url.startswith("sqlite:///") or path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        Gradebook(f"sqlite:///{draft}").close()
        os.link(draft, path)
    except FileExistsError:  # another program was faster
        pass
    finally:
        draft.unlink(missing_ok=True)


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
