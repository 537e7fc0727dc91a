"""Grade a class: submissions to worker processes, results to a sink, progress to the terminal.

Workers read, merge and run; this process alone writes. Each result is recorded as it arrives, so a
run may be stopped or killed at any moment and begun again. How a submission is run is the
business of `runner`, where results go that of the sink: `ledger`, or `shard` for part of a class.
"""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from nbformat import NotebookNode
from tqdm import tqdm

from autograder import intake, runner, sandbox
from autograder.course import Course, CourseError
from autograder.intake import Merged, Submission
from autograder.lab import Lab, read_lab
from autograder.ledger import Ledger, job_key, lab_key
from autograder.runner import Result
from autograder.shard import Shard, Shelf

Job = tuple[Submission, str]  # and its key
Done = tuple[Job, Merged | None, Result | None]
Labs = dict[str, tuple[Lab, NotebookNode]]  # lab and release by name

_labs: Labs = {}  # in a worker


class Sink(Protocol):
    """Where results go: to the gradebook or to files."""

    def done(self, submission: Submission, key: str) -> bool:
        """Whether this very submission has its result."""

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str) -> None:  # fmt: skip
        """Keep one result."""


@dataclass
class Summary:
    """What a run of `grade` did."""

    graded: int = 0
    kept: int = 0  # had a result already
    ungraded: list[str] = field(default_factory=list)
    waiting: int = 0  # written answers
    table: Path | None = None
    refused: list[str] = field(default_factory=list)  # result files, in a merge
    tier: str = sandbox.TIER  # how student code was isolated

    def add(self, result: Result) -> None:
        """Count a result that was kept just now."""
        self.graded += 1
        if result.ungraded:
            self.ungraded.append(f"{result.student}/{result.lab}")


def grade(course: Course, names: list[str], folder: Path | None = None, workers: int | None = None,
          student: str | None = None, force: bool = False,
          unsafe: bool = False) -> Summary:  # fmt: skip
    """Grade every submission of these labs that has no result yet; `force` grades all again.

    SandboxError where student code cannot be isolated, unless `unsafe` allows that.
    """
    labs, found = _find(course, names, folder, student)
    summary = Summary()
    with Ledger(course) as ledger:
        used = [labs[name][0] for name in sorted({s.lab for s in found})]
        for lab in used:
            ledger.prepare(lab)
        try:
            _fill(ledger, labs, found, workers, force, unsafe, summary)
        finally:
            summary.table = ledger.write_table()
        summary.waiting = sum(map(ledger.waiting, used))
    return summary


def grade_shard(course: Course, names: list[str], shard: Shard, out: Path,
                folder: Path | None = None, workers: int | None = None, student: str | None = None,
                force: bool = False, unsafe: bool = False) -> Summary:  # fmt: skip
    """Grade one part of a class into result files below `out`, for `merge`."""
    labs, found = _find(course, names, folder, student)
    out.mkdir(parents=True, exist_ok=True)
    summary, mine = Summary(), [s for s in found if shard.has(s)]
    _fill(Shelf(out), labs, mine, workers, force, unsafe, summary)
    return summary


def _find(course: Course, names: list[str], folder: Path | None,
          student: str | None) -> tuple[Labs, list[Submission]]:  # fmt: skip
    """The labs and what was handed in for them."""
    labs = {}
    for name in names:
        lab = read_lab(course, name)
        labs[name] = (lab, intake.read_release(course, lab))
    folder = folder or course.classroom / "submitted"
    found = intake.find(folder, names, student)
    if not found:
        raise CourseError(
            f"No submissions found; they are looked for in {folder}/STUDENT/LAB/LAB.ipynb."
        )
    return labs, found


def _fill(sink: Sink, labs: Labs, found: list[Submission], workers: int | None, force: bool,
          unsafe: bool, summary: Summary) -> None:  # fmt: skip
    """Put into the sink what it does not have."""
    ours = {name: lab_key(labs[name][0]) for name in {s.lab for s in found}}
    jobs = [(s, job_key(ours[s.lab], s)) for s in found]
    if not force:
        todo = [(s, key) for s, key in jobs if not sink.done(s, key)]
        summary.kept, jobs = len(jobs) - len(todo), todo
    if jobs:
        summary.tier = sandbox.require(unsafe)  # asked once; forked workers know the answer
    _run_all(labs, jobs, workers or os.cpu_count() or 1, sink, summary)


def _run_all(labs: Labs, jobs: list[Job], workers: int, sink: Sink,
             summary: Summary) -> None:  # fmt: skip
    """Run jobs in a pool and record what comes back; one retry for those that a pool lost."""
    tqdm.monitor_interval = 0  # a thread, which a fork must not meet
    with tqdm(total=len(jobs), unit="submission", desc="grading", disable=not jobs) as bar:
        for last in (False, True):
            lost = []
            for (submission, key), merged, result in _pool(labs, jobs, workers):
                if result is None and not last:
                    lost.append((submission, key))
                    continue
                merged = merged or Merged(submission.student, submission.lab)
                result = result or runner.ungraded(labs[submission.lab][0], submission.student)
                sink.record(*labs[submission.lab], submission, merged, result, key)
                summary.add(result)
                bar.update()
            jobs, workers = lost, 1
            if not lost:
                return


def _pool(labs: Labs, jobs: list[Job], workers: int) -> Iterator[Done]:  # fmt: skip
    """Yield (job, merged, result) as they are done; (job, None, None) where a worker died."""
    if not jobs:
        return
    # Forked workers have everything imported; this process has no threads yet that could suffer.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    pool = ProcessPoolExecutor(min(workers, len(jobs)), context, _begin, (labs, os.getpid()))
    try:
        futures: dict[Future, Job] = {pool.submit(_job, j[0]): j for j in jobs}
        for future in as_completed(futures):
            try:
                yield futures[future], *future.result()
            except BrokenProcessPool:
                yield futures[future], None, None
        pool.shutdown()
    except BaseException:  # Ctrl-C too: what is running is thrown away, what is recorded stays
        for process in multiprocessing.active_children():
            process.terminate()
        pool.shutdown(cancel_futures=True)
        raise


def _begin(labs: Labs, parent: int) -> None:
    """In a new worker: remember the labs; Ctrl-C is the parent's; end when the parent has gone."""
    _labs.update(labs)
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


def _end(*_: object) -> None:
    """Leave by an exception, which lets kernel and folder be cleaned up; once is enough."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def _job(submission: Submission) -> tuple[Merged, Result]:
    lab, release = _labs[submission.lab]
    try:
        merged = intake.take(lab, release, submission)
        return merged, runner.run(lab, merged)
    except SystemExit:  # kernel and folder are gone by now; the pool would go on to the next
        os._exit(1)


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
            findings = stored.get("findings", [])
            notes = findings[0] + (f" (+{len(findings) - 1})" if findings[1:] else "") \
                if findings else ""  # fmt: skip
            rows.append([stored["student"], stored["lab"], score, statuses, notes])
    return rows
