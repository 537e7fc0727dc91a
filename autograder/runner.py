"""Run one merged submission and say what each of its questions earned.

The seam of grading: `run(lab, merged) -> Result`, plain data in and out, no database, no files. A
fresh Jupyter kernel in an empty folder runs the student's cells and our tests in the order of our
notebook. A cell that hangs is interrupted, then killed; after a killed kernel a new one replays the
student's cells (not the tests) and goes on, three times at most. Output is cut while it is read.

The kernel runs in a sandbox: no network, no files but its own, limits (`autograder.sandbox`).

Not here: a judge apart. Student code shares its kernel with the tests, so it can read them and
forge a pass; it cannot reach other submissions, the gradebook or the solutions. An engine that
keeps the tests in a process of their own will take this module's place behind the same function.
"""

import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any

from jupyter_client.manager import KernelManager

from autograder import sandbox
from autograder.intake import Cell, Merged
from autograder.lab import Lab, Question

ENGINE = "kernel-2"
MAX_OUTPUT, MAX_PNG, MAX_PNGS, MAX_MESSAGE = 64_000, 2_000_000, 4, 2_000
NO_FAULT = "This could not be graded; it is not your fault."
MAX_RESTARTS, GRACE = 3, 5.0
KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
# no history: it is a file that would show one student's code to the next
KERNEL_ARGUMENTS = ("-f", "{connection_file}", "--HistoryManager.enabled=0")
SETTINGS = {
    "GLASSBOX_GRADING": "1", "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg",
    "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0",
}  # fmt: skip
MEMORY_CAP = (  # the limit that holds without a sandbox too
    "import resource; "
    f"resource.setrlimit(resource.RLIMIT_AS, ({sandbox.MEMORY}, {sandbox.MEMORY}))\n"
)
LAUNCH = (
    "import sys; sys.modules.update(autograder=None); "  # none of a student's business
    "from ipykernel.kernelapp import launch_new_instance; launch_new_instance()"
)


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

    @property
    def ungraded(self) -> bool:
        """Whether a fault of ours left a question without a mark."""
        return any(q.status == "ungraded" for q in self.questions)


class Fault(Exception):
    """Something of ours does not work: the run is tried again and then left ungraded."""


@dataclass
class Outcome:
    """What happened to one executed cell: ok, error, timeout or killed."""

    status: str
    name: str = ""
    text: str = ""
    detail: str = ""
    outputs: list[dict[str, Any]] = field(default_factory=list)


def run(lab: Lab, merged: Merged, timeout: float = 30.0, total: float = 600.0,
        tier: str = "") -> Result:  # fmt: skip
    """Grade a submission: `timeout` seconds a cell, `total` for all. Never raises.

    `tier` says how to isolate; by default as well as this machine can, and whether that is good
    enough is the business of `grade`. A fault of ours is retried once; then the questions are
    `ungraded`, which is no mark at all.
    """
    tier = tier or sandbox.available() or sandbox.NONE
    begun = time.monotonic()
    if merged.malformed:
        cells = _everywhere(lab, "malformed", merged.malformed)
    elif {q.exercise for q in lab.questions if q.kind != "manual"} <= merged.missing:
        cells = _everywhere(lab, "missing", "No answer was found.")
    else:
        cells = None
    result = Result(merged.student, lab.name, findings=list(merged.findings),
                    flags=list(merged.flags), tier=tier)  # fmt: skip
    for attempt in (1, 2) if cells is None else ():
        try:
            with _Session(lab, merged, timeout, begun + total, tier) as session:
                cells, result.outputs = session.grade(), session.outputs
            break
        except Exception as error:  # whatever it is, it is not the student's
            text = f"grading itself failed: {type(error).__name__}: {error}"
            result.findings.append(f"attempt {attempt}: {text}")
    cells = _everywhere(lab, "ungraded", NO_FAULT) if cells is None else cells
    result.questions = [_combine(lab, exercise, cells) for exercise in lab.exercises]
    result.seconds = round(time.monotonic() - begun, 3)
    return result


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


# --- one submission --------------------------------------------------------------------------


class _Session:
    """The cells of one submission on their way through one kernel after another."""

    def __init__(self, lab: Lab, merged: Merged, timeout: float, deadline: float,
                 tier: str) -> None:  # fmt: skip
        self.lab, self.merged, self.timeout, self.deadline = lab, merged, timeout, deadline
        self.tier = tier
        self.folder = tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True)
        self.kernel: Kernel | None = None
        self.restarts = -1  # the first start is none
        self.played: list[Cell] = []  # what a new kernel must see first
        self.outcomes: dict[str, Outcome] = {}
        self.outputs: dict[str, list[dict[str, Any]]] = {}

    def __enter__(self) -> "_Session":
        return self

    def __exit__(self, *_: object) -> None:
        if self.kernel:
            self.kernel.close()
        self.folder.cleanup()

    def grade(self) -> dict[str, CellResult]:
        """Run everything in order; one result per test cell."""
        questions = {q.id: q for q in self.lab.questions if q.kind != "manual"}
        results, theirs = {}, False
        for cell in self.merged.cells:
            if cell.role == "test":
                results[cell.id] = self._test(questions[cell.id], cell)
            elif cell.kind == "code" and cell.role != "demo" and cell.source.strip():
                theirs = theirs or cell.role != "given"
                outcome = self.outcomes[cell.id] = self._execute(cell)
                if outcome.status != "ok" and not theirs:
                    raise Fault(f"our cell {cell.id} gave {outcome.name}: {outcome.text}")
                if cell.role != "given":
                    self.outputs[cell.id] = outcome.outputs
        return results

    def _test(self, question: Question, cell: Cell) -> CellResult:
        if question.exercise in self.merged.missing:
            return CellResult(0.0, question.points, "missing", "No answer was found.")
        outcome = self._execute(cell)
        answer = next(c for c in self.merged.cells if c.id == question.exercise)
        status, message = judge(question, outcome, answer.source, self.timeout)
        before = self.outcomes.get(answer.id, Outcome("ok"))
        if before.status != "ok" and status in ("error", "not_attempted"):
            status, message = judge(question, before, "", self.timeout, visible=True)
        points = question.points if status == "pass" else 0.0
        return CellResult(points, question.points, status, message[:MAX_MESSAGE], outcome.detail)

    def _execute(self, cell: Cell) -> Outcome:
        left = self.deadline - time.monotonic()
        if left <= 0:
            return Outcome("timeout", "Total", "The notebook as a whole ran too long.")
        while self.kernel is None:
            if self.restarts >= MAX_RESTARTS:
                return Outcome("killed", text="Your code ended its process too often.")
            self.restarts += 1
            data = self.lab.path.parent / "data"
            self.kernel = Kernel(Path(self.folder.name), self._seed(), data, self.tier)
            self._replay()
        outcome = self.kernel.execute(cell.source, min(self.timeout, left))
        if self.kernel.dead:
            self._bury()
        elif cell.role != "test" and outcome.status != "timeout":
            self.played.append(cell)
        return outcome

    def _replay(self) -> None:
        for cell in list(self.played):
            self.kernel.execute(cell.source, self.timeout)
            if self.kernel.dead:
                self.played.remove(cell)
                return self._bury()

    def _bury(self) -> None:
        self.kernel.close()
        self.kernel = None

    def _seed(self) -> str:
        """Randomness of the tests: secret as the hidden tests are, the same in every run."""
        tests = "\n".join(self.lab.cell(q.id).source for q in self.lab.questions)
        return hashlib.sha256(tests.encode()).hexdigest()


def package_folder() -> Path:
    """Where glassbox lies. Importing it to find out would cost every worker an import of torch."""
    return Path(importlib.util.find_spec("glassbox").origin).parent


def judge(question: Question, outcome: Outcome, answer: str, timeout: float,
          visible: bool = False) -> tuple[str, str]:  # fmt: skip
    """Status and message of a test cell.

    An error inside a hidden test is named without its text, which may carry hidden inputs.
    """
    visible = visible or question.kind == "visible"
    name, text = outcome.name, outcome.text.strip()
    if outcome.status == "ok":
        return "pass", ""
    if outcome.status == "timeout":
        return "timeout", text or f"Your code ran longer than {timeout:g} s and was stopped."
    if outcome.status == "killed":
        return "killed", text or "Your code ended the Python process (an exit or a crash)."
    if name == "CheckFailed":
        return "fail", text
    if name == "AssertionError":
        return "fail", text if visible and text else "An assertion does not hold."
    if name == "NotImplementedError" and not text:
        if "raise NotImplementedError" in answer:
            return "not_attempted", "Not attempted: the answer still raises NotImplementedError."
        return "error", "Your code called a function that is not written yet."
    if name == "MemoryError" or "can't allocate memory" in text:
        return "oom", "Your code asked for more memory than there is."
    first = text.splitlines()[0] if text and visible else ""
    first = re.sub(r"\((?:\S+\.py|<[^>]*>), line (\d+)\)", r"(line \1)", first)
    return "error", f"Your code raised {name}: {first}" if first else f"Your code raised {name}."


# --- one kernel ------------------------------------------------------------------------------


class Kernel:
    """A Python kernel of its own: isolated, no history, little environment, capped memory."""

    def __init__(self, folder: Path, seed: str, data: Path, tier: str) -> None:
        self.dead = False
        for old in (*folder.glob("socket*"), *folder.glob("kernel.json")):  # of an earlier kernel
            old.unlink()
        self.manager = KernelManager(transport="ipc", ip=str(folder / "socket"),
                                     connection_file=str(folder / "kernel.json"))  # fmt: skip
        self.manager.write_connection_file()
        start = self._isolated if tier == sandbox.TIER else self._bare
        start(folder, data, SETTINGS | {"GLASSBOX_SEED": seed})
        self.client = self.manager.blocking_client()
        self.client.start_channels()
        try:
            self.client.wait_for_ready(timeout=60)
        except BaseException:
            self.close()
            raise

    def _isolated(self, folder: Path, data: Path, env: dict[str, str]) -> None:
        """Start in the sandbox, which shows glassbox, the lab's data and the sockets' folder."""
        if os.geteuid() == 0:  # the kernel has no rights, and must make its sockets in there
            for path in (folder, *folder.rglob("*")):
                os.chown(path, sandbox.NOBODY, sandbox.NOBODY)
        env = env | _kept() | {"HOME": "/tmp", "PYTHONPATH": str(package_folder().parent)}
        shown = [package_folder(), *([(data, "data")] if data.is_dir() else [])]
        self.manager.kernel_spec.argv = sandbox.command(
            [sys.executable, "-c", sandbox.LIMITS + LAUNCH, *KERNEL_ARGUMENTS], shown, [folder], env
        )
        self.manager.kernel_spec.interrupt_mode = "message"  # a signal would end bubblewrap
        self._start(folder, {"PATH": os.environ.get("PATH", "")})

    def _bare(self, folder: Path, data: Path, env: dict[str, str]) -> None:
        """Start without a sandbox, in an empty folder, with glassbox but not what lies beside."""
        home, package = folder / "home", folder / "package"
        if not home.exists():
            home.mkdir()
            package.mkdir()
            (package / "glassbox").symlink_to(package_folder())
            if data.is_dir():
                shutil.copytree(data, home / "data")
        kept = {k: os.environ[k] for k in ("PATH", "HOME") if k in os.environ}
        env = env | _kept() | kept | {"PYTHONPATH": str(package), "IPYTHONDIR": str(home / ".ipy")}
        self.manager.kernel_spec.argv = [sys.executable, "-c", MEMORY_CAP + LAUNCH,
                                         *KERNEL_ARGUMENTS]  # fmt: skip
        self._start(home, env)

    def _start(self, cwd: Path, env: dict[str, str]) -> None:
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.manager.start_kernel(cwd=str(cwd), env=env, **quiet)

    def execute(self, source: str, timeout: float) -> Outcome:
        """Run a cell; afterwards `dead` says whether the kernel is gone."""
        seen = _Output()
        key = self.client.execute(source, store_history=False, stop_on_error=False,
                                  allow_stdin=False)  # fmt: skip
        reply = self._wait(key, timeout, seen)
        late = reply is None and not self.dead
        if late:
            self.manager.interrupt_kernel()
            self.dead = self._wait(key, GRACE, seen) is None
        if late:
            return Outcome("timeout", detail=seen.text, outputs=seen.kept())
        if self.dead:
            return Outcome("killed", detail=seen.text, outputs=seen.kept())
        if any(p.get("source") == "ask_exit" for p in reply.get("payload", [])):
            self.dead = True  # exit() in a cell: the kernel goes a moment later
            return Outcome("killed", detail=seen.text, outputs=seen.kept())
        if reply["status"] == "ok":
            return Outcome("ok", outputs=seen.kept())
        name, text = str(reply.get("ename", "Error")), str(reply.get("evalue", ""))
        trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(reply.get("traceback", [])))
        seen.add_text(f"{name}: {text}\n")
        return Outcome("error", name, text, (seen.text + trace)[:MAX_OUTPUT], seen.kept())

    def _wait(self, key: str, timeout: float, seen: "_Output") -> dict[str, Any] | None:
        """The reply to request `key`, None if it does not come in time or the kernel dies."""
        end, reply, idle = time.monotonic() + timeout, None, False
        while time.monotonic() < end and not (reply and idle):
            if not idle:
                try:
                    message = self.client.get_iopub_msg(timeout=0.1)
                    if message["parent_header"].get("msg_id") == key:
                        idle = message["content"].get("execution_state") == "idle"
                        seen.add(message)
                    continue
                except Empty:
                    pass
            try:
                message = self.client.get_shell_msg(timeout=0.1 if idle else 0)
                if message["parent_header"].get("msg_id") == key:
                    reply, end = message["content"], min(end, time.monotonic() + GRACE)
            except Empty:
                if not self.manager.is_alive():
                    self.dead = True
                    return None
        return reply

    def close(self) -> None:
        """Kill the kernel and forget it; harmless if it is gone."""
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)


def _kept() -> dict[str, str]:
    return {k: os.environ[k] for k in KEPT if k in os.environ}


class _Output:
    """What a cell printed and drew, cut while it arrives: plain text and a few PNG."""

    def __init__(self) -> None:
        self.text, self.images = "", []

    def add(self, message: dict[str, Any]) -> None:
        kind, content = message["header"]["msg_type"], message["content"]
        if kind == "stream":
            self.add_text(str(content.get("text", "")))
        elif kind in ("execute_result", "display_data"):
            data = content.get("data", {})
            image = data.get("image/png")
            if isinstance(image, str) and len(image) < MAX_PNG and len(self.images) < MAX_PNGS:
                self.images.append(image)
            elif image is None:
                self.add_text(str(data.get("text/plain", "")) + "\n")

    def add_text(self, text: str) -> None:
        room = MAX_OUTPUT - len(self.text)
        self.text += text if len(text) <= room else text[: max(room, 0)]

    def kept(self) -> list[dict[str, Any]]:
        """The output as notebook outputs."""
        text = [{"output_type": "stream", "name": "stdout", "text": self.text}] if self.text else []
        return text + [
            {"output_type": "display_data", "data": {"image/png": x}, "metadata": {}}
            for x in self.images
        ]
