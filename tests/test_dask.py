"""A class graded on a dask cluster: the marks of a plain run, whatever happens to its workers."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from conftest import NAME, empty_gradebook, gone, hand_in
from distributed import Client, Future, LocalCluster

from autograder import cli, dask_pool, ledger, pool
from autograder.course import Course, CourseError
from autograder.dask_pool import Bench
from autograder.grade import grade
from autograder.intake import Submission, read_release
from autograder.lab import read_lab
from autograder.merge import Ours

pytestmark = pytest.mark.xdist_group("dask")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """A scheduler and two worker processes, as on other machines: they inherit no module."""
    os.environ["PYTHONPATH"] = str(ROOT)
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None,
                      host="127.0.0.1", memory_limit=0, death_timeout=600) as cluster:  # fmt: skip
        yield cluster


@pytest.fixture
def fresh(classroom: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """What the class of six handed in, not graded; the current folder."""
    shutil.copytree(classroom.root, tmp_path / "own")
    course = Course(tmp_path / "own")
    for name in ("results", "autograded"):
        shutil.rmtree(course.classroom / name)
    empty_gradebook(course)
    monkeypatch.chdir(course.root)
    return course


def marks(course: Course) -> tuple[bytes, dict[str, str], list[tuple[object, ...]]]:
    """results.csv, the marked copies and what the gradebook holds."""
    home = course.classroom / "autograded"
    copies = {str(p.relative_to(home)): p.read_text() for p in home.rglob("*.ipynb")}
    with ledger.Ledger(course) as book:
        rows = [(s.student.id, g.name, g.auto_score, g.needs_manual_grade)
                for s in book.book.assignment_submissions(NAME)
                for n in s.notebooks for g in n.grades]  # fmt: skip
    return (course.classroom / "results" / "results.csv").read_bytes(), copies, sorted(rows)


def test_a_cluster_gives_the_marks_of_a_plain_run(
    classroom: Course, fresh: Course, cluster: LocalCluster, capsys: pytest.CaptureFixture[str]
) -> None:
    """results.csv byte for byte; two shards and a merge do the same in test_shard."""
    assert cli.main(["grade", "--dask", cluster.scheduler_address]) == 0
    assert "6 graded now, 0 had their result" in capsys.readouterr().out
    assert marks(fresh) == marks(classroom)
    assert cli.main(["grade", "--dask", cluster.scheduler_address]) == 0
    assert "0 graded now, 6 had their result" in capsys.readouterr().out
    with Client(cluster.scheduler_address) as client:  # nothing of ours stays there
        found = client.run(lambda dask_worker: [n for n in dask_worker.plugins if "grader" in n])
    assert list(found.values()) == [[], []]
    assert gone("autograder.pool")


def test_a_killed_worker_costs_nothing(
    classroom: Course, fresh: Course, cluster: LocalCluster
) -> None:
    """kill -9 of one of the two, when the first result is there."""
    killed = []

    def kill() -> None:
        with Client(cluster.scheduler_address) as client:
            while not list((fresh.classroom / "results" / NAME).glob("[!.]*.json")):
                time.sleep(0.01)
            killed.extend(client.run(os.getpid).values())
            os.kill(killed[0], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    summary = grade(fresh, [NAME], dask=cluster.scheduler_address)
    killer.join(30)
    assert len(killed) == 2
    assert (summary.graded, summary.ungraded) == (6, [])
    assert marks(fresh) == marks(classroom)


def test_a_result_that_dies_with_its_worker_is_made_again(
    classroom: Course, fresh: Course, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """kill -9 between the end of a job and the reading of its result."""
    receive, killed = dask_pool._receive, []

    def receive_late(future: Future, job: pool.Job, ours: Ours) -> pool.Done | str:
        if not killed:
            with Client(cluster.scheduler_address) as client:
                (holder,) = client.who_has(future)[future.key]
                killed.append(client.run(os.getpid, workers=[holder])[holder])
            os.kill(killed[0], signal.SIGKILL)
            while future.status == "finished":
                time.sleep(0.01)
        return receive(future, job, ours)

    monkeypatch.setattr(dask_pool, "_receive", receive_late)
    summary = grade(fresh, [NAME], dask=cluster.scheduler_address)
    assert (summary.graded, summary.ungraded) == (6, [])
    assert marks(fresh) == marks(classroom)


def test_a_job_that_no_worker_survives_is_ungraded(
    fresh: Course, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dask_pool, "_job", _fail)
    summary = grade(fresh, [NAME], student="bob", dask=cluster.scheduler_address)
    assert summary.ungraded == [f"bob/{NAME}"]
    stored = (fresh.classroom / "results" / NAME / "bob.json").read_text()
    assert "a dask worker failed: ZeroDivisionError" in stored


def _fail(*_: object) -> str:
    raise ZeroDivisionError


def test_a_result_is_not_believed(
    fresh: Course, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Text that is no result file, of more hand-ins than are under way at once; then the result of
    another hand-in.
    """
    for i in range(9):
        hand_in(fresh.root / "in", f"s{i}", b"")
    monkeypatch.setattr(dask_pool, "_job", lambda *_: "{}")
    summary = grade(fresh, [NAME], fresh.root / "in", dask=cluster.scheduler_address)
    assert (summary.graded, len(summary.ungraded)) == (9, 9)
    monkeypatch.undo()
    monkeypatch.setattr(dask_pool, "_parcel", lambda submission: (submission, b"{}"))
    summary = grade(fresh, [NAME], student="bob", dask=cluster.scheduler_address)
    stored = (fresh.classroom / "results" / NAME / "bob.json").read_text()
    assert "is of another hand-in" in stored


def test_workers_get_bytes_and_labs_and_no_path_of_ours(fresh: Course) -> None:
    lab = read_lab(fresh, NAME)
    data = lab.path.parent / "data" / "words" / "a.txt"
    data.parent.mkdir(parents=True)
    data.write_text("one two")
    bench = Bench({NAME: (lab, read_release(fresh, lab))}, "secret", False)
    sent = bench.__getstate__()
    path = fresh.classroom / "submitted" / "ada" / NAME / f"{NAME}.ipynb"
    parcel = dask_pool._parcel(Submission("ada", NAME, path))
    assert str(fresh.root) not in repr((sent, parcel))
    assert parcel[1] == path.read_bytes()
    there = Bench.__new__(Bench)
    there.__dict__.update(sent)
    there.setup(None)
    arrived, _ = there.labs[NAME]
    assert (arrived.path.parent / "data" / "words" / "a.txt").read_text() == "one two"
    assert ledger.lab_key(arrived) == ledger.lab_key(lab)
    there.teardown(None)


@pytest.mark.parametrize("what", ["engine", "glassbox"])
def test_a_worker_of_another_version_is_refused(
    fresh: Course, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], what: str,
) -> None:  # fmt: skip
    other = dask_pool.about() | {what: "another"}
    monkeypatch.setattr(dask_pool, "about", lambda: other)  # sent by its source, so theirs is so
    real = dask_pool._check_workers
    monkeypatch.setattr(
        dask_pool,
        "_check_workers",
        lambda *a: (
            monkeypatch.setattr(Client, "run", lambda *_, **__: {"tcp://w:1": _about}),
            real(*a),
        ),
    )
    _about = {"engine": pool.runner.ENGINE, "glassbox": ledger.package_key(), "why_not": ""}
    assert cli.main(["grade", "--dask", cluster.scheduler_address]) == 2
    assert f"tcp://w:1 has another version of {what}" in capsys.readouterr().err


def test_a_worker_that_cannot_isolate_is_refused(
    fresh: Course, cluster: LocalCluster, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    told = dask_pool.about() | {"why_not": "bubblewrap is not installed"}
    monkeypatch.setattr(Client, "run", lambda *_, **__: {"tcp://w:1": told})
    assert cli.main(["grade", "--dask", cluster.scheduler_address]) == 2
    assert "would not isolate student code: bubblewrap" in capsys.readouterr().err


def test_without_the_extra_it_says_what_to_install(fresh: Course) -> None:
    program = "import sys; sys.modules['distributed'] = None; from autograder import cli; " \
        "sys.exit(cli.main(['grade', '--dask', 'tcp://127.0.0.1:1']))"  # fmt: skip
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True,
                          env=os.environ | {"PYTHONPATH": str(ROOT)})  # fmt: skip
    assert done.returncode == 2
    assert "pip install '.[dask]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_scheduler_and_no_worker_are_errors_in_words(
    fresh: Course, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        free = s.getsockname()[1]
    monkeypatch.setattr(dask_pool, "CONNECT", 1)
    monkeypatch.setattr(dask_pool, "WORKERS", 1)
    for address in (f"tcp://127.0.0.1:{free}", "nonsense://x", "no-such-file.json"):
        assert cli.main(["grade", "--dask", address]) == 2
        assert f"No dask scheduler answers at {address}" in capsys.readouterr().err
    with LocalCluster(n_workers=0, dashboard_address=None, host="127.0.0.1") as empty:
        with pytest.raises(CourseError, match="has no worker"):
            grade(fresh, [NAME], dask=empty.scheduler_address)
    assert cli.main(["grade", "--dask", "x", "--shard", "1/2"]) == 2
    assert cli.main(["grade", "--dask", "x", "--workers", "2"]) == 2


def test_a_scheduler_that_dies_is_an_error_in_words(fresh: Course) -> None:
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1",
               "--port", "0", "--no-dashboard", "--scheduler-file", "scheduler.json"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = os.environ | {"PYTHONPATH": str(ROOT), "DASK_DISTRIBUTED__COMM__TIMEOUTS__CONNECT": "2"}
    scheduler = subprocess.Popen(command, env=env, cwd=fresh.root, **quiet)
    command = [sys.executable, "-m", "distributed.cli.dask_worker", "--nthreads", "1",
               "--no-dashboard", "--scheduler-file", "scheduler.json"]  # fmt: skip
    worker = subprocess.Popen(command, env=env, cwd=fresh.root, **quiet)
    results = fresh.classroom / "results" / NAME
    run = None
    try:
        while not (fresh.root / "scheduler.json").exists():
            time.sleep(0.1)
        run = subprocess.Popen([sys.executable, "-m", "autograder", "grade", "--dask",
                                "scheduler.json"], env=env, cwd=fresh.root, text=True,
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)  # fmt: skip
        while not list(results.glob("[!.]*.json")) and run.poll() is None:
            time.sleep(0.01)
        scheduler.kill()
        _, err = run.communicate(timeout=600)
        assert "The dask scheduler has gone" in err
        assert run.returncode == 2
    finally:
        for process in filter(None, (scheduler, worker, run)):
            for child in psutil.Process(process.pid).children(recursive=True) \
                    if process.poll() is None else []:  # fmt: skip
                child.kill()
            process.kill()
            process.wait()
    assert 1 <= len(list(results.glob("[!.]*.json"))) < 6
    assert grade(fresh, [NAME], workers=2).ungraded == []
