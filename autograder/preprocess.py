"""Let nbgrader's own `autograde`, typed or clicked in formgrader, give exactly our marks.

The settings in `course` point nbgrader here. Per submission it calls, in this order:

1. `judge`, before it writes anything: read, merge and run, with the result kept in memory;
2. `Placeholder`, which hands it our release in place of the student's file. So nbgrader never
   parses what a student wrote, and a broken, renamed or doubled notebook stops no run;
3. `JudgeGrades`, which enters the result through the ledger and returns the marked copy. It stands
   for Execute and SaveAutoGrades; late penalties are the ledger's business too.

nbgrader copies whatever lies beside a notebook and follows links; that is removed again. It skips a
student whose folder's name holds `*`, `?` or brackets, and passes over what has an `autograded/`
folder unless it is forced: `autograder grade` does neither.
"""

import atexit
import shutil
import time
from pathlib import Path
from typing import Any

from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor

from autograder import intake, sandbox
from autograder.course import Course, CourseError, course_secret, find_course
from autograder.intake import Merged, Submission
from autograder.lab import Lab, read_lab
from autograder.ledger import Ledger, job_key, lab_key
from autograder.pool import Aside, Labs
from autograder.runner import Result

Judged = tuple[Lab, NotebookNode, Submission, Merged, Result, str]
_judged: dict[tuple[str, str], Judged | Exception] = {}
_asides: dict[tuple[bytes, str], Aside] = {}  # one at most
_next_table: dict[Course, float] = {}  # when a class's results.csv may be written again


def judge(assignment: str, student: str, notebooks: list[str]) -> None:
    """nbgrader's hook before a submission: grade it, and name it as nbgrader expects it.

    nbgrader swallows errors here; they are kept and raised where it does not.
    """
    if not notebooks:
        return
    folder = Path(notebooks[0]).parent
    who = (folder.parent.name, folder.name)
    try:
        _judged[who] = _grade(find_course(folder), *who)
    except Exception as error:
        _judged[who] = error
    notebooks[:] = [str(folder / f"{folder.name}.ipynb")]


def _grade(course: Course, student: str, name: str) -> Judged:
    """Read, merge and run one submission; nothing but the assignment is written."""
    sandbox.require()
    lab = read_lab(course, name)
    release = intake.read_release(course, lab)
    with Ledger(course) as ledger:
        ledger.prepare(lab)
    home = course.classroom / "submitted" / student
    found = [s for s in intake.find(home.parent, [name], student) if s.student == student
             and (s.path is None or s.path.is_relative_to(home))]  # fmt: skip
    if not found:
        raise CourseError(
            f"The folder {student!r} is no student's id. Rename it to letters, digits and any of "
            "._-+@, or type: autograder grade"
        )
    ours, secret = lab_key(lab), course_secret(course)
    merged, result = _aside({name: (lab, release)}, secret, ours).work(found[0])
    return lab, release, found[0], merged, result, job_key(ours, found[0], secret)


def _aside(labs: Labs, secret: str, key: bytes) -> Aside:
    """The process for the lab at hand; formgrader runs for days, and the lab may change."""
    if (key, secret) not in _asides:
        _end()
        _asides[key, secret] = Aside(labs, secret)
    return _asides[key, secret]


def _end() -> None:
    while _asides:
        _asides.popitem()[1].close()


class Placeholder(NotebookExporter):
    """Reads our release where nbgrader would read a student's notebook."""

    def from_filename(self, filename: str, resources: Any = None, **how: Any) -> Any:
        """What nbgrader takes for the submission."""
        course, path = find_course(), Path(filename)  # nbgrader has made it the current folder
        if path.is_relative_to(course.classroom / "submitted"):
            filename = str(course.release(path.parent.name))
        return super().from_filename(filename, resources, **how)


class JudgeGrades(NbGraderPreprocessor):
    """Puts our marks into the gradebook and our marked copy in the place of the notebook."""

    def preprocess(self, nb: NotebookNode, resources: Any) -> tuple[NotebookNode, Any]:
        """Enter one submission; what `judge` found wrong is nbgrader's error for this student."""
        who = (resources["nbgrader"]["student"], resources["nbgrader"]["assignment"])
        course = find_course()
        judged = _judged.pop(who, None) or _grade(course, *who)
        with Ledger(course) as ledger:
            if isinstance(judged, Exception):
                _forget(ledger, who)
                raise judged
            ledger.record(*judged)
            _table(course, ledger)
            if judged[4].ungraded:
                _forget(ledger, who)
                raise RuntimeError(f"{who[0]} is not graded, by a fault of the grader: "
                                   f"{'; '.join(judged[4].findings)}")  # fmt: skip
            _tidy(course.classroom / "autograded" / who[0] / who[1])
            return ledger.marked(*who), resources


def _forget(ledger: Ledger, who: tuple[str, str]) -> None:
    """nbgrader has made a row for this submission; without marks it would read as a zero."""
    student, name = who
    submission = ledger.book.find_submission(name, student)
    if all(g.auto_score is None and g.manual_score is None
           for n in submission.notebooks for g in n.grades):  # fmt: skip
        ledger.book.remove_submission(name, student)


def _tidy(folder: Path) -> None:
    """Only our copy and nbgrader's time stamp belong there."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name not in (f"{folder.name}.ipynb", "timestamp.txt"):
            path.unlink()


def _table(course: Course, ledger: Ledger) -> None:
    """Write results.csv, but spend at most a tenth of the time on that in a large class."""
    begun = time.monotonic()
    if begun >= _next_table.get(course, 0.0):
        ledger.write_table()
        _next_table[course] = begun + 10 * (time.monotonic() - begun)


@atexit.register
def _finish() -> None:
    _end()
    for course in _next_table:
        with Ledger(course) as ledger:
            ledger.write_table()
