"""Run one merged submission and say what each of its questions earned.

The seam of grading: `run(lab, merged) -> Result`, plain data in and out, no database, no files. A
worker keeps one warm process (`autograder.host`) for the lab at hand. For each submission it forks
a judge (`autograder.judge`), which plays the cells and tells what each test saw; here that becomes
statuses, points and messages. The judge has a process of its own so that no value of a student's
can reach the next submission through us.
"""

import builtins
import contextlib
import json
import os
import re
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from multiprocessing.util import Finalize
from typing import Any

from autograder import sandbox
from autograder.child import cells as desk
from autograder.child import isolate
from autograder.host import SETTINGS, Host, memory_for, package_folder
from autograder.intake import Cell, Merged
from autograder.judge import Fault, Outcome, Plan, Session, plan
from autograder.lab import Lab, Question
from glassbox import bank

__all__ = ["CellResult", "QuestionResult", "Result", "close", "package_folder", "run", "ungraded"]

ENGINE = "judge-1"
MAX_MESSAGE = 2_000
NO_FAULT = "This could not be graded; it is not your fault."
JUDGE_MEMORY = 8 << 30
SLACK = 60.0  # seconds that a judge may take beyond the time of its submission

_host: Host | None = None  # this process's warm process
_plans: dict[int, tuple[Lab, Plan]] = {}  # by the lab's identity; holding it keeps that its own


@dataclass
class CellResult:
    """What one test cell gave. `message` is for the student, `teacher_detail` never is."""

    points: float
    max_points: float
    status: str
    message: str = ""
    teacher_detail: str = ""


@dataclass
class QuestionResult:
    """An exercise: its visible and hidden test cells together."""

    question: str
    points: float
    max_points: float
    status: str
    message: str
    cells: dict[str, CellResult]


@dataclass
class Result:
    """Everything that grading found out about one submission."""

    student: str
    lab: str
    questions: list[QuestionResult] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # of the submission, see intake
    outputs: dict[str, list[dict[str, Any]]] = field(default_factory=dict)  # of student cells
    seconds: float = 0.0
    tier: str = sandbox.NONE  # how student code was isolated
    times: dict[str, float] = field(default_factory=dict)  # seconds of cells, of tests, of all

    @property
    def ungraded(self) -> bool:
        """Whether a fault of ours left a question without a mark."""
        return any(q.status == "ungraded" for q in self.questions)


def run(lab: Lab, merged: Merged, timeout: float = 30.0, total: float = 600.0,
        tier: str = "", secret: str = "") -> Result:  # fmt: skip
    """Grade a submission: `timeout` seconds a cell, `total` for all. Never raises.

    `tier` says how to isolate; by default as well as this machine can, and whether that is good
    enough is the business of `grade`. `secret` seeds the tests' random inputs. A fault of ours is
    retried once; then the questions are `ungraded`, which is no mark at all.
    """
    tier = tier or sandbox.available() or sandbox.NONE
    begun = time.monotonic()
    cells: dict[str, CellResult] | None = None
    if merged.malformed:
        cells = _everywhere(lab, "malformed", merged.malformed)
    elif {q.exercise for q in lab.questions if q.kind != "manual"} <= merged.missing:
        cells = _everywhere(lab, "missing", "No answer was found.")
    result = Result(merged.student, lab.name, findings=list(merged.findings),
                    flags=list(merged.flags), tier=tier)  # fmt: skip
    for attempt in (1, 2) if cells is None else ():
        try:
            told = _judged(lab, merged, timeout, total, tier, secret)
            cells = {key: CellResult(**cell) for key, cell in told["cells"].items()}
            result.outputs, result.times = told["outputs"], told["times"]
            break
        except (Exception, Fault) as error:  # whatever it is, it is not the student's
            close()
            text = f"grading itself failed: {type(error).__name__}: {error}"
            result.findings.append(f"attempt {attempt}: {text}")
    cells = _everywhere(lab, "ungraded", NO_FAULT) if cells is None else cells
    result.questions = [_combine(lab, exercise, cells) for exercise in lab.exercises]
    result.seconds = round(time.monotonic() - begun, 3)
    return result


def close() -> None:
    """End this process's warm process; the next `run` starts another."""
    global _host
    if _host is not None:
        _host.close()
        _host = None


def ungraded(lab: Lab, student: str) -> Result:
    """The result of a submission whose worker died twice."""
    cells = _everywhere(lab, "ungraded", NO_FAULT)
    questions = [_combine(lab, exercise, cells) for exercise in lab.exercises]
    return Result(student, lab.name, questions, ["the grading process died twice"])


def _everywhere(lab: Lab, status: str, message: str) -> dict[str, CellResult]:
    return {q.id: CellResult(0.0, q.points, status, message)
            for q in lab.questions if q.kind != "manual"}  # fmt: skip


def _combine(lab: Lab, exercise: str, cells: dict[str, CellResult]) -> QuestionResult:
    """One row for an exercise: its first cell that did not pass speaks for it."""
    own = {q.id: cells[q.id] for q in lab.questions
           if q.exercise == exercise and q.kind != "manual"}  # fmt: skip
    points, most = sum(c.points for c in own.values()), sum(c.max_points for c in own.values())
    bad = [c for c in own.values() if c.status != "pass"]
    ungraded = any(c.status == "ungraded" for c in bad)
    status = "ungraded" if ungraded else bad[0].status if bad else "pass"
    if bad and points > 0 and not ungraded:
        status = "partial"
    return QuestionResult(exercise, points, most, status, bad[0].message if bad else "", own)


# --- the judge's process ---------------------------------------------------------------------


def _judged(lab: Lab, merged: Merged, timeout: float, total: float, tier: str,
            secret: str) -> dict[str, Any]:  # fmt: skip
    """Play a submission in a fork of this process; Fault if it does not come back."""
    if id(lab) not in _plans:
        _plans.clear()
        _plans[id(lab)] = (lab, plan(lab))
        with contextlib.suppress(FileNotFoundError):
            bank.load(lab.name).questions  # noqa: B018 - read here, every fork has it
    read = _plans[id(lab)][1]
    host = _warm(lab, read.modules, tier)
    return _apart(lambda: _play(lab, read, merged, host, timeout, total, secret), total + SLACK)


def _warm(lab: Lab, modules: tuple[str, ...], tier: str) -> Host:
    """The warm process that fits this lab; the one of another lab is ended."""
    global _host
    data = lab.path.parent / "data"
    key = (tier, modules, data if data.is_dir() else None, memory_for(modules))
    if _host is None or _host.key != key or _host.owner != os.getpid():
        close()
        for module in modules:  # the judge's side needs them too, and is forked from here
            desk.warm(module)
        isolate.ready_to_fork()
        _host = Host(*key)
        Finalize(None, close, exitpriority=10)  # when this process ends, a worker's too
    return _host


def _apart(work: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """What `work` gives, in a process of its own that ends with this one."""
    reading, writing = os.pipe()
    # a worker that is told to end raises; not so in the middle of a fork, where it would be lost
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(reading)
        _fork_begins(parent)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        try:
            told = work()
        except BaseException as error:
            told = {"fault": f"{type(error).__name__}: {error}"}
        try:
            with os.fdopen(writing, "w", encoding="utf-8", errors="replace") as file:
                json.dump(told, file, ensure_ascii=False)  # half letters are replaced
        finally:
            os._exit(0)
    try:
        os.close(writing)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        told = json.loads(_read_all(reading, seconds) or '{"fault": "the judge died"}')
    finally:
        os.close(reading)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    if "fault" in told:
        raise Fault(told["fault"])
    return told


def _fork_begins(parent: int) -> None:
    """Make a fork a process of its own: signals, limits, settings."""
    if sys.platform == "linux":
        isolate.prctl(isolate.PARENT_DEATH, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_AS, (isolate.mapped() + JUDGE_MEMORY,) * 2)
    os.environ.update(SETTINGS)


def _read_all(fd: int, seconds: float) -> bytes:
    """Everything until the end; Fault if it does not come in time."""
    data, end = bytearray(), time.monotonic() + seconds
    while True:
        ready, _, _ = select.select([fd], [], [], max(end - time.monotonic(), 0.0))
        if not ready:
            raise Fault(f"the judge took longer than {seconds:g} s")
        part = os.read(fd, 1 << 20)
        if not part:
            return bytes(data)
        data += part


def _play(lab: Lab, read: Plan, merged: Merged, host: Host, timeout: float, total: float,
          secret: str) -> dict[str, Any]:  # fmt: skip
    """In the judge's process: every cell in order, one result per test cell."""
    begun = time.monotonic()
    questions = {q.id: q for q in lab.questions if q.kind != "manual"}
    cells: dict[str, CellResult] = {}
    outputs: dict[str, list[dict[str, Any]]] = {}
    session = Session(lab, read, merged, host, timeout, begun + total, secret)
    hidden = []
    try:
        for cell in merged.cells:
            if cell.role == "test" and questions[cell.id].kind == "hidden":
                session.mark(cell)
                hidden.append(cell)
            elif cell.role == "test":
                cells[cell.id] = _grade(session, questions[cell.id], cell, timeout)
            elif (outcome := session.run(cell)) is not None and cell.role != "given":
                outputs[cell.id] = outcome.outputs
        for cell in hidden:
            cells[cell.id] = _grade(session, questions[cell.id], cell, timeout)
    finally:
        session.close()
    times = session.seconds | {"judge": time.monotonic() - begun}
    told = {q.id: asdict(cells[q.id]) for q in lab.questions if q.id in cells}
    return {"cells": told, "outputs": outputs,
            "times": {key: round(value, 4) for key, value in times.items()}}  # fmt: skip


def _grade(session: Session, question: Question, cell: Cell, timeout: float) -> CellResult:
    if question.exercise in session.merged.missing:
        return CellResult(0.0, question.points, "missing", "No answer was found.")
    if question.exercise in session.merged.unsure:
        return CellResult(0.0, question.points, "malformed", UNSURE)
    outcome = session.test(cell)
    answer = next(c for c in session.merged.cells if c.id == question.exercise)
    status, message = verdict(question, outcome, answer.source, timeout)
    before = session.outcomes.get(answer.id, Outcome("ok"))
    if before.status != "ok" and status in ("error", "not_attempted"):
        status, message = verdict(question, before, "", timeout, visible=True)
    points = round(question.points * outcome.share, 6)
    if status == "pass":
        points = question.points
    elif 0 < points < question.points:
        status = "partial"
    else:
        points = 0.0
    return CellResult(points, question.points, status, message[:MAX_MESSAGE], outcome.detail)


UNSURE = "Two cells could be the answer to this; a person will have a look."


def verdict(question: Question, outcome: Outcome, answer: str, timeout: float,
            visible: bool = False) -> tuple[str, str]:  # fmt: skip
    """Status and message of a test cell.

    An error inside a hidden test is told without its text, which may carry hidden inputs; so may
    the name of an exception that Python does not know.
    """
    visible = visible or question.kind == "visible"
    name, text = outcome.name, outcome.text.strip()
    if outcome.status == "ok":
        return "pass", ""
    if outcome.status == "timeout":
        return "timeout", text or f"Your code ran longer than {timeout:g} s and was stopped."
    if outcome.status == "killed":
        return "killed", text or "Your code ended the Python process (an exit or a crash)."
    if outcome.status == "malformed":
        return "malformed", "Your code's process sent an answer that cannot be read."
    if outcome.status == "oom" or name == "MemoryError" or "can't allocate memory" in text:
        return "oom", "Your code asked for more memory than there is."
    if not outcome.theirs and name == "CheckFailed":
        return "fail", text
    if not outcome.theirs and name == "AssertionError":
        return "fail", text if visible and text else "An assertion does not hold."
    if name == "NotImplementedError" and not text:
        if "raise NotImplementedError" in answer:
            return "not_attempted", "Not attempted: the answer still raises NotImplementedError."
        return "error", "Your code called a function that is not written yet."
    first = text.splitlines()[0] if text and visible else ""
    first = re.sub(r"\((?:\S+\.py|<[^>]*>|cell \S+), line (\d+)\)", r"(line \1)", first)
    if not visible and not hasattr(builtins, name):
        name = "an error of its own"
    raised = f"{name}: {first}" if first else name
    if not outcome.theirs and name != "NameError":
        return "error", f"The check cannot use what your code returned ({raised})."
    return "error", f"Your code raised {raised}" + ("" if first else ".")
