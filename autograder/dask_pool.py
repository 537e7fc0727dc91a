"""Run jobs on the workers of a dask cluster; needs the extra `dask`.

The same generator as `pool.local_pool`. A worker gets the labs and the course secret once, by a
plugin that workers which join later get too, and per job the bytes of one hand-in. It gives back
the text of a result file (`shard`), which is read with `merge`'s distrust: made for this hand-in,
by the same engine, glassbox and lab, with points in their limits. No worker sees the gradebook,
another hand-in's result or a path of this machine. A killed worker costs nothing: dask gives its
job to another, and a result that died with it is made again. A few jobs more than there are
workers are under way at a time, so that memory does not grow with the class.

Whoever can talk to the scheduler can run code on the workers and read hidden tests there; keep it
to yourself (a private network, or dask's TLS).
"""

import contextlib
import json
import logging
import secrets
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from dataclasses import replace
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

from tqdm import tqdm

from autograder import sandbox
from autograder.course import CourseError
from autograder.intake import Submission
from autograder.ledger import job_key, lab_key, package_key
from autograder.merge import Ours, check
from autograder.pool import ATTEMPTS, Aside, Done, Job, Labs, lost
from autograder.runner import ENGINE
from autograder.shard import Refused, parse, sheet

try:
    from distributed import Client, Future, Worker, WorkerPlugin, get_worker
    from distributed.scheduler import KilledWorker
except ImportError:
    raise CourseError(
        "--dask needs the package distributed, here and on the workers; type: "
        "pip install '.[dask]' -c constraints.txt"
    ) from None

CONNECT, WORKERS = 15, 60  # seconds to wait for the scheduler, and for the first worker
GONE = "The dask scheduler has gone. What is graded is kept; start it again and run this again."
LOST = (OSError, TimeoutError, CancelledError)  # what dask raises without its scheduler
_one_at_a_time = threading.Lock()  # in a worker, whatever its number of threads


def dask_pool(labs: Labs, jobs: list[Job], address: str, secret: str,
              unsafe: bool) -> Iterator[Done]:  # fmt: skip
    """Yield what the workers of the cluster at `address` make of the jobs."""
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said here
    client = _connect(address)
    try:
        _check_workers(client, unsafe)
        bench = Bench(labs, secret, unsafe)
        client.register_plugin(bench)
        try:
            yield from _run(client, bench, jobs)
        finally:
            _tidy(client, lambda: client.unregister_worker_plugin(bench.name))
    finally:
        client.close(timeout=5)


def _connect(address: str) -> "Client":
    try:
        if address.endswith(".json"):  # read here: the client would wait for it without end
            address = json.loads(Path(address).read_text(encoding="utf-8"))["address"]
        return Client(address, timeout=CONNECT, set_as_default=False)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise CourseError(
            f"No dask scheduler answers at {address} ({type(error).__name__}). Give the address "
            "that `dask scheduler` prints, e.g. tcp://10.0.0.5:8786, or its --scheduler-file."
        ) from None


def _check_workers(client: "Client", unsafe: bool) -> None:
    """CourseError if there is no worker, or one that would grade otherwise than this machine."""
    try:
        client.wait_for_workers(1, timeout=WORKERS)
    except TimeoutError:
        raise CourseError(f"The dask cluster has no worker, even after {WORKERS} s; start some: "
                          "dask worker ADDRESS --nthreads 1") from None  # fmt: skip
    try:
        told = client.run(about, on_error="return")
    except Exception as error:  # whatever their Python says where autograder is missing
        told = {"a worker": error}
    ours = about()
    for where, theirs in sorted(told.items()):
        if isinstance(theirs, BaseException):
            raise CourseError(f"{where} cannot grade: {type(theirs).__name__}: {theirs}. Workers "
                              "need this machine's environment and checkout.")  # fmt: skip
        for what in ("engine", "glassbox"):
            if theirs[what] != ours[what]:
                raise CourseError(f"{where} has another version of {what}: {theirs[what][:12]}, "
                                  f"here {ours[what][:12]}. Use one checkout.")  # fmt: skip
        if theirs["why_not"] and not unsafe:
            raise CourseError(f"{where} would not isolate student code: {theirs['why_not']}.")


def about() -> dict[str, str]:
    """What must be the same on every worker, and whether it can isolate."""
    return {"engine": ENGINE, "glassbox": package_key(), "why_not": sandbox.why_not()}


def _run(client: "Client", bench: "Bench", jobs: list[Job]) -> Iterator[Done]:
    """Keep the workers busy until all jobs are done."""
    ours = {name: Ours(lab, release, lab_key(lab), bench.secret, {})
            for name, (lab, release) in bench.labs.items()}  # fmt: skip
    waiting = deque((job, 1) for job in jobs)
    under_way: dict[str, tuple[Future, Job, int]] = {}
    finished: SimpleQueue[Future] = SimpleQueue()
    try:
        while waiting or under_way:
            room = 2 * _threads(client) + 2 - len(under_way)
            for _ in range(min(room, len(waiting))):
                job, attempt = waiting.popleft()
                future = client.submit(_job, bench.name, *_parcel(job[0]), pure=False)
                under_way[future.key] = (future, job, attempt)
                future.add_done_callback(finished.put)
            try:
                future = finished.get(timeout=WORKERS)
            except Empty:
                if not _threads(client):
                    tqdm.write("No dask worker is left; waiting. Ctrl-C keeps what is done.",
                               file=sys.stderr)  # fmt: skip
                continue
            _, job, attempt = under_way.pop(future.key)
            done = _receive(future, job, ours[job[0].lab])
            if isinstance(done, str) and attempt < ATTEMPTS:
                waiting.append((job, attempt + 1))
            elif isinstance(done, str):
                yield job, *lost(bench.labs[job[0].lab][0], job[0], done)
            else:
                yield done
    finally:
        running = [future for future, _, _ in under_way.values()]
        _tidy(client, lambda: client.cancel(running, force=True))


def _parcel(submission: Submission) -> tuple[Submission, bytes | None]:
    """A hand-in as it travels: its bytes, and no path but the file's name."""
    if submission.path is None:
        return submission, None
    return replace(submission, path=Path(submission.path.name)), submission.path.read_bytes()


def _threads(client: "Client") -> int:
    try:
        return sum(client.nthreads().values())
    except LOST:
        raise CourseError(GONE) from None


def _tidy(client: "Client", do: Callable[[], object]) -> None:
    """Clean up on the cluster, if it is still there."""
    if client.status == "running":
        with contextlib.suppress(*LOST):
            do()


def _receive(future: "Future", job: Job, ours: Ours) -> Done | str:
    """The result of a job, or why there is none. CourseError if the scheduler is lost."""
    if future.status == "lost":
        return "the dask worker that held its result died"
    if future.status == "cancelled":
        raise CourseError(GONE)
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            return "the dask workers that graded it died"
        return f"a dask worker failed: {type(error).__name__}: {error}"
    try:
        found = check(parse(future.result()), ours, job[0].student)
    except LOST:
        raise CourseError(GONE) from None
    except Refused as error:
        return f"the result of a dask worker {error}"
    if found.key != job[1]:
        return "the result of a dask worker is of another hand-in"
    return job, found.merged, found.result


# --- in a worker -----------------------------------------------------------------------------


class Bench(WorkerPlugin):
    """What a worker needs for all jobs of a run: labs with their data files, and the secret."""

    def __init__(self, labs: Labs, secret: str, unsafe: bool) -> None:
        self.name = f"autograder-{secrets.token_hex(8)}"
        self.labs, self.secret, self.unsafe = labs, secret, unsafe
        self.data = {name: _files(lab.path.parent / "data") for name, (lab, _) in labs.items()}

    def __getstate__(self) -> dict[str, Any]:
        labs = {name: (replace(lab, path=Path(f"{name}.py")), release)
                for name, (lab, release) in self.labs.items()}  # fmt: skip
        return self.__dict__ | {"labs": labs}

    def setup(self, worker: "Worker") -> None:
        """Unpack the data files into a folder of the worker's own."""
        self.folder = tempfile.TemporaryDirectory(prefix="labs-")
        for name, (lab, _) in self.labs.items():
            lab.path = Path(self.folder.name, name, f"{name}.py")
            for file, content in self.data[name].items():
                path = lab.path.parent / "data" / file
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        self.aside = Aside(self.labs, self.secret)  # a dask worker has threads and must not fork

    def teardown(self, worker: "Worker") -> None:
        """Leave nothing behind."""
        self.aside.close()
        self.folder.cleanup()


def _files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def _job(name: str, submission: Submission, content: bytes | None) -> str:
    """Grade one hand-in; give the text of its result file."""
    bench = get_worker().plugins[name]
    sandbox.require(bench.unsafe)
    lab, _ = bench.labs[submission.lab]
    with _one_at_a_time, tempfile.TemporaryDirectory(prefix="job-") as folder:
        if content is not None:
            submission = replace(submission, path=Path(folder, submission.path.name))
            submission.path.write_bytes(content)
        key = job_key(lab_key(lab), submission, bench.secret)
        merged, result = bench.aside.work(submission)
    return json.dumps(sheet(lab, submission, merged, result, key, bench.secret))
