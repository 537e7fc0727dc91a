"""Run jobs in processes of this machine, one submission at a time in each.

`local_pool` is a generator: jobs in, `(job, merged, result)` out as they are done, in any order.
`Aside` is a single such process for programs that have threads (a dask worker, formgrader) and so
must not fork. Processes read, merge and run; they open no gradebook and write no file. One that
dies costs only time: its job is given to another, and after `ATTEMPTS` of them it is `lost`, which
is no mark. When a pool is closed, by Ctrl-C or an error, what is running is thrown away and nothing
stays behind. `dask_pool` is the same generator for other machines.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess

from nbformat import NotebookNode

from autograder import intake, runner
from autograder.intake import Merged, Submission
from autograder.lab import Lab
from autograder.runner import Result

ATTEMPTS = 3
GRACE = 10  # seconds for a process to clean up after itself
DIED = f"the grading process died {ATTEMPTS} times"

Job = tuple[Submission, str]  # and its key
Done = tuple[Job, Merged, Result]
Labs = dict[str, tuple[Lab, NotebookNode]]  # lab and release by name

_ending = threading.Event()  # in a worker


def work(lab: Lab, release: NotebookNode, submission: Submission,
         secret: str) -> tuple[Merged, Result]:  # fmt: skip
    """What every process does with a job: read, merge, run."""
    merged = intake.take(lab, release, submission)
    return merged, runner.run(lab, merged, secret=secret)


def lost(lab: Lab, submission: Submission, why: str) -> tuple[Merged, Result]:
    """What is said of a submission that nothing could grade."""
    result = replace(runner.ungraded(lab, submission.student), findings=[why])
    return Merged(submission.student, submission.lab), result


# --- a pool ----------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: BaseProcess
    pipe: Connection
    core: int | None
    job: Job | None = None
    attempt: int = 0

    def give(self, job: Job, attempt: int) -> None:
        self.job, self.attempt = job, attempt
        try:
            self.pipe.send(job[0])
        except OSError:  # it died while it was idle; the pool will see that
            pass

    def end(self) -> None:
        """Let it clean up after itself, but not for ever."""
        self.process.terminate()
        self.process.join(GRACE)
        self.process.kill()
        self.process.join()
        self.pipe.close()


def local_pool(labs: Labs, jobs: list[Job], workers: int, secret: str) -> Iterator[Done]:
    """Yield what up to `workers` processes make of the jobs."""
    waiting = deque((job, 1) for job in jobs)
    crew: list[_Worker] = []
    try:
        while waiting or any(w.job for w in crew):
            idle = [w for w in crew if w.job is None]
            while waiting and (idle or len(crew) < workers):
                worker = idle.pop() if idle else _start(labs, secret, _free_core(crew, workers))
                crew += [] if worker in crew else [worker]
                worker.give(*waiting.popleft())
            for worker in _ready(crew):
                job, worker.job = worker.job, None
                reply = _reply(worker.pipe)
                if reply is not None:
                    if waiting:  # it goes on while this one is written down
                        worker.give(*waiting.popleft())
                    yield job, *reply
                    continue
                crew.remove(worker)
                worker.end()
                if worker.attempt < ATTEMPTS:
                    waiting.append((job, worker.attempt + 1))
                else:
                    yield job, *lost(labs[job[0].lab][0], job[0], DIED)
    finally:
        for worker in crew:
            worker.process.terminate()
        for worker in crew:
            worker.end()


def _free_core(crew: list[_Worker], workers: int) -> int | None:
    """A core for a worker alone, if there are enough.

    A judge and the student's process take turns: on one core neither has to be woken on another,
    which would take as long as a call that is judged.
    """
    cores = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    return min(cores - {w.core for w in crew}) if len(cores) >= workers else None


def _start(labs: Labs, secret: str, core: int | None) -> _Worker:
    # A forked worker has everything imported; this process has no thread that could suffer.
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, labs, secret, os.getpid(), core))
    process.start()
    theirs.close()  # so that its end is the end of the pipe
    return _Worker(process, ours, core)


def _ready(crew: list[_Worker]) -> list[_Worker]:
    """Wait for workers that have something to say, or died."""
    busy = [w for w in crew if w.job]
    ready = wait([w.pipe for w in busy] + [w.process.sentinel for w in busy])
    return [w for w in busy if w.pipe in ready or w.process.sentinel in ready]


def _reply(pipe: Connection) -> tuple[Merged, Result] | None:
    """What a worker says, None if it has died."""
    try:
        return pipe.recv() if pipe.poll() else None
    except (EOFError, OSError):
        return None


def _serve(pipe: Connection, labs: Labs, secret: str, parent: int,
           core: int | None = None) -> None:  # fmt: skip
    """In a worker: Ctrl-C is the parent's business; end when told to, or when it has gone."""
    if core is not None:
        os.sched_setaffinity(0, {core})
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, _end)
    sys.unraisablehook = _swallowed

    def follow() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE)
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    try:
        while not _ending.is_set():
            submission = pipe.recv()
            pipe.send(work(*labs[submission.lab], submission, secret))
    except (EOFError, BrokenPipeError):
        pass
    finally:
        runner.close()


def _end(*_: object) -> None:
    """Leave by an exception, which lets processes and folders be cleaned up; once is enough.

    Where it is swallowed (imports do, and what Python runs around a fork), the job at hand is the
    last one.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _ending.set()
    sys.exit(1)


def _swallowed(what: "sys.UnraisableHookArgs") -> None:
    """Say what Python could not raise, unless it is the exit that `_end` asks for."""
    if not (_ending.is_set() and isinstance(what.exc_value, SystemExit)):
        sys.__unraisablehook__(what)


# --- one process aside -------------------------------------------------------------------------


class Aside:
    """One worker, started afresh by its own command line; not to be used by two threads at once."""

    def __init__(self, labs: Labs, secret: str) -> None:
        self.labs, self.secret = labs, secret
        self.process: subprocess.Popen | None = None

    def work(self, submission: Submission) -> tuple[Merged, Result]:
        """The same as the function `work`, in that process."""
        for _ in range(ATTEMPTS):
            try:
                pipe = self._pipe()
                pipe.send(submission)
                return pipe.recv()
            except (EOFError, OSError):
                self.close()
        return lost(self.labs[submission.lab][0], submission, DIED)

    def _pipe(self) -> Connection:
        if self.process is None:
            self.pipe, theirs = multiprocessing.Pipe()
            with theirs:
                self.process = subprocess.Popen(
                    [sys.executable, "-m", "autograder.pool", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)  # fmt: skip
            self.pipe.send((self.labs, self.secret, os.getpid()))
        return self.pipe

    def close(self) -> None:
        """End the process; the next `work` starts another."""
        if self.process is not None:
            self.pipe.close()
            self.process.terminate()
            try:
                self.process.wait(GRACE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None


def _main(argument: str) -> None:
    from autograder import pool  # not __main__: what comes through the pipe belongs to that module

    pipe = Connection(int(argument))
    pool._serve(pipe, *pipe.recv())


if __name__ == "__main__":
    _main(sys.argv[1])
