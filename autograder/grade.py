"""Grade a class: submissions to workers, results to a sink, progress to the terminal.

Workers read, merge and run; this process alone writes. Each result is recorded as it arrives, so a
run may be stopped or killed at any moment and begun again. Workers are the processes of a `pool`,
or those of a dask cluster (`dask_pool`); results go to the `ledger`, or to the files of a `shard`.
How a submission is run is the business of `runner`.
"""

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from nbformat import NotebookNode
from tqdm import tqdm

from autograder import intake, sandbox
from autograder.course import Course, CourseError, course_secret
from autograder.intake import Merged, Submission
from autograder.lab import Lab, read_lab
from autograder.ledger import Change, Ledger, job_key, lab_key
from autograder.pool import Done, Job, Labs, local_pool
from autograder.runner import Result
from autograder.shard import Shard, Shelf


class Sink(Protocol):
    """Where results go: to the gradebook or to files."""

    def done(self, submission: Submission, key: str) -> bool:
        """Whether this very submission has its result."""

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str) -> None:  # fmt: skip
        """Keep one result."""


@dataclass(frozen=True)
class Options:
    """How to grade: what was handed in and where, who, and by which workers."""

    folder: Path | None = None  # default: classroom/submitted
    workers: int | None = None  # default: one per core
    student: str | None = None  # default: all
    force: bool = False  # grade again what has a result
    unsafe: bool = False  # run student code where it cannot be isolated
    dask: str | None = None  # a scheduler's address; default: processes here


@dataclass
class Summary:
    """What a run of `grade` did."""

    graded: int = 0
    kept: int = 0  # had a result already
    ungraded: list[str] = field(default_factory=list)
    waiting: int = 0  # written answers
    table: Path | None = None
    changes: list[Change] = field(default_factory=list)  # marks, where nothing new was handed in
    changes_table: Path | None = None
    left: list[str] = field(default_factory=list)  # students that a regrade must leave alone
    refused: list[str] = field(default_factory=list)  # result files, in a merge
    tier: str = sandbox.TIER  # how student code was isolated

    def add(self, result: Result) -> None:
        """Count a result that was kept just now."""
        self.graded += 1
        if result.ungraded:
            self.ungraded.append(f"{result.student}/{result.lab}")
        elif result.tier == sandbox.NONE:
            self.tier = sandbox.NONE


def grade(course: Course, names: list[str], folder: Path | None = None, **how: object) -> Summary:
    """Grade every submission of these labs that has no result yet; for `how` see Options.

    SandboxError where student code cannot be isolated, unless `unsafe` allows that.
    """
    options = Options(folder, **how)
    labs, found = _find(course, names, options)
    summary = Summary()
    with Ledger(course) as ledger, ledger.alone():
        used = [labs[name][0] for name in sorted({s.lab for s in found})]
        for lab in used:
            ledger.prepare(lab)
        try:
            _fill(course, ledger, labs, found, options, summary)
        finally:
            summary.table = ledger.write_table()
            summary.changes, summary.changes_table = ledger.changes, ledger.write_changes()
        summary.waiting = sum(map(ledger.waiting, used))
    return summary


def grade_shard(course: Course, names: list[str], shard: Shard, out: Path,
                folder: Path | None = None, **how: object) -> Summary:  # fmt: skip
    """Grade one part of a class into result files below `out`, for `merge`."""
    options = Options(folder, **how)
    labs, found = _find(course, names, options)
    out.mkdir(parents=True, exist_ok=True)
    summary, mine = Summary(), [s for s in found if shard.has(s)]
    _fill(course, Shelf(out, course_secret(course)), labs, mine, options, summary)
    return summary


def regrade(course: Course, name: str, question: str, folder: Path | None = None,
            check: bool = False, **how: object) -> Summary:  # fmt: skip
    """Grade one exercise of a lab again after its tests were mended; all other marks stay.

    Only hand-ins that have marks are touched, and only if they are the ones that were graded. With
    `check` nothing is written and `changes` are those that would be.
    """
    options = Options(folder, **how)
    labs, found = _find(course, [name], options)
    lab = labs[name][0]
    if question not in lab.exercises:
        raise CourseError(f"{name} has no exercise {question!r} with tests; it has "
                          f"{', '.join(lab.exercises)}.")  # fmt: skip
    summary = Summary()
    with Ledger(course) as ledger, ledger.alone():
        sink = _One(ledger, question, check)
        if not check:
            ledger.prepare(lab)
        key = lab_key(lab), course_secret(course)
        mine = [s for s in found if ledger.graded(s, job_key(key[0], s, key[1]))]
        summary.left = [s.student for s in found if s not in mine]
        try:
            _fill(course, sink, labs, mine, replace(options, force=True), summary)
        finally:
            summary.changes = sink.changes if check else ledger.changes
            if not check:
                summary.table, summary.changes_table = ledger.write_table(), ledger.write_changes()
    return summary


@dataclass
class _One:
    """A sink for one exercise: the ledger, or a list of what would change."""

    ledger: Ledger
    question: str
    check: bool
    changes: list[Change] = field(default_factory=list)

    def done(self, submission: Submission, key: str) -> bool:
        return False

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str) -> None:  # fmt: skip
        (mark,) = (q for q in result.questions if q.question == self.question)
        if self.check:
            self.changes += self.ledger.would_change(result, self.question)
        elif mark.status != "ungraded":
            self.ledger.record(lab, release, submission, merged, result, key, self.question)


def _find(course: Course, names: list[str], options: Options) -> tuple[Labs, list[Submission]]:
    """The labs and what was handed in for them."""
    labs = {}
    for name in names:
        lab = read_lab(course, name)
        labs[name] = (lab, intake.read_release(course, lab))
    folder = options.folder or course.classroom / "submitted"
    found = intake.find(folder, names, options.student)
    if not found:
        raise CourseError(
            f"No submissions found; they are looked for in {folder}/STUDENT/LAB/LAB.ipynb."
        )
    return labs, found


def _fill(course: Course, sink: Sink, labs: Labs, found: list[Submission], options: Options,
          summary: Summary) -> None:  # fmt: skip
    """Put into the sink what it does not have."""
    secret = course_secret(course)
    ours = {name: lab_key(labs[name][0]) for name in {s.lab for s in found}}
    jobs = [(s, job_key(ours[s.lab], s, secret)) for s in found]
    if not options.force:
        todo = [(s, key) for s, key in jobs if not sink.done(s, key)]
        summary.kept, jobs = len(jobs) - len(todo), todo
    if not jobs:
        return
    tqdm.monitor_interval = 0  # a thread, which a fork must not meet
    with (
        closing(_pool(labs, jobs, options, secret)) as pool,
        tqdm(total=len(jobs), unit="submission", desc="grading") as bar,
    ):
        for (submission, key), merged, result in pool:
            sink.record(*labs[submission.lab], submission, merged, result, key)
            summary.add(result)
            bar.update()


def _pool(labs: Labs, jobs: list[Job], options: Options, secret: str) -> Iterator[Done]:
    """The workers that were asked for."""
    if options.dask:
        from autograder.dask_pool import dask_pool

        return dask_pool(labs, jobs, options.dask, secret, options.unsafe)
    sandbox.require(options.unsafe)  # asked once; forked workers know the answer
    return local_pool(labs, jobs, options.workers or os.cpu_count() or 1, secret)


def overview(course: Course, names: list[str]) -> list[list[str]]:
    """Rows of the table that `grade` prints: student, lab, points, statuses, findings."""
    rows = [["student", "lab", "points", "questions", "notes"]]
    with Ledger(course) as ledger:
        for stored in ledger.stored(names):
            questions = stored.get("questions", [])
            points, most = (sum(q[k] for q in questions) for k in ("points", "max_points"))
            counts = Counter(q["status"] for q in questions)
            statuses = ", ".join(f"{n} {status}" for status, n in counts.most_common())
            score = "-" if stored.get("ungraded") else f"{points:g}/{most:g}"
            flags, findings = stored.get("flags", []), stored.get("findings", [])
            more = f" (+{len(findings) - 1})" if findings[1:] else ""
            notes = " ".join([*(f"[{flag}]" for flag in flags), *findings[:1]]) + more
            rows.append([stored["student"], stored["lab"], score, statuses, notes])
    return rows
