"""What may befall a run: kill -9 at any instant, a full disk, a locked gradebook.

Afterwards the class has the marks of one clean run, each once, and no process is left behind.
"""

import contextlib
import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from conftest import NAME, empty_gradebook, gone

from autograder import cli, ledger, sandbox
from autograder.course import Course
from autograder.grade import grade

ROOT = Path(__file__).parents[1]
ENV = os.environ | {"PYTHONPATH": str(ROOT)}
KILLS = 10  # for each of two seeds

# Forks a run of `grade` for each number of workers on stdin, so that imports are paid once; says
# the run's pid.
RUNS = """
import os, sys
from pathlib import Path
from autograder import export, feedback, runner
from autograder.course import Course
from autograder.grade import grade
course, name = Course(Path(sys.argv[1])), sys.argv[2]
for line in sys.stdin:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        try:
            grade(course, [name], workers=int(line))
            os._exit(0)
        finally:
            os._exit(1)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)  # 0: it came to its end
"""


@pytest.fixture
def fresh(classroom: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """What the class of six handed in, not graded; the current folder."""
    shutil.copytree(classroom.root, tmp_path / "own")
    course = Course(tmp_path / "own")
    forget(course)
    monkeypatch.chdir(course.root)
    return course


def forget(course: Course) -> None:
    for name in ("results", "autograded"):
        shutil.rmtree(course.classroom / name, ignore_errors=True)
    empty_gradebook(course)


def dump(course: Course) -> tuple[object, ...]:
    """results.csv, the marked copies and every row of the gradebook that a mark depends on."""
    home = course.classroom / "autograded"
    copies = {str(p.relative_to(home)): p.read_text() for p in home.rglob("*.ipynb")}
    results = {p.name: marks(p) for p in (course.classroom / "results").rglob("*.json")}
    with ledger.Ledger(course) as book:
        submissions = book.book.assignment_submissions(NAME)
        grades = [(s.student.id, g.name, g.auto_score, g.manual_score, g.needs_manual_grade)
                  for s in submissions for n in s.notebooks for g in n.grades]  # fmt: skip
        comments = [(s.student.id, c.name, c.auto_comment)
                    for s in submissions for n in s.notebooks for c in n.comments]  # fmt: skip
        cells = [(c.name, c.max_score)
                 for c in book.book.find_notebook(NAME, NAME).grade_cells]  # fmt: skip
    table = (course.classroom / "results" / "results.csv").read_bytes()
    return table, copies, results, sorted(grades), sorted(comments), sorted(cells)


def marks(path: Path) -> object:
    stored = json.loads(path.read_text())
    told = [x for x in stored["findings"] if not x.startswith("attempt ")]  # a killed process
    kept = {k: stored[k] for k in ("key", "digests", "questions", "ungraded")}
    return kept | {"findings": told}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 11])
def test_killed_at_random_instants_and_resumed(
    classroom: Course, fresh: Course, tmp_path: Path, seed: int
) -> None:
    """Runs are killed as a whole or in one of their processes; each goes on from the last."""
    clean, scratch = dump(classroom), tmp_path / "tmp"
    scratch.mkdir()
    chance = random.Random(seed)
    starter = subprocess.Popen(
        [sys.executable, "-c", RUNS, str(fresh.root), NAME], env=ENV | {"TMPDIR": str(scratch)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # fmt: skip

    def start() -> int:
        starter.stdin.write(f"{chance.choice((1, 1, 2))}\n")
        starter.stdin.flush()
        return int(starter.stdout.readline())

    begun = time.monotonic()
    start()
    assert starter.stdout.readline() == "0\n"
    assert dump(fresh) == clean
    whole = time.monotonic() - begun
    forget(fresh)
    killed = 0
    while killed < KILLS:
        pid = start()
        killed += kill(pid, chance.uniform(0, whole), chance)
        if starter.stdout.readline() == "0\n":  # it lost a worker, or nothing
            assert dump(fresh) == clean
            forget(fresh)
    start()
    assert starter.stdout.readline() == "0\n"
    assert dump(fresh) == clean
    starter.stdin.close()
    starter.wait()
    assert gone(str(scratch)), "a process is still running"
    assert not list((fresh.classroom / "results").rglob("*part"))


def kill(pid: int, instant: float, chance: random.Random) -> int:
    """kill -9 of a run, or of one of the processes below it, at an instant; how many were hit."""
    try:
        run = psutil.Process(pid)
        with contextlib.suppress(psutil.TimeoutExpired):
            run.wait(instant)
            return 0
        below = run.children(recursive=True)
        victim = run if chance.random() < 0.6 or not below else chance.choice(below)
        victim.kill()
    except psutil.NoSuchProcess:
        return 0
    return 1


FULL = """
import os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_faults import forget
from autograder import cli
from autograder.course import Course
course, ballast = Course(Path.cwd()), Path("classroom/ballast")
forget(course)
cli.main(["grade", "--workers", "1", "--student", "ada"])
for room in map(int, sys.argv[1].split()):
    free = os.statvfs("classroom").f_bavail * os.statvfs("classroom").f_frsize
    ballast.write_bytes(b"x" * (free - room))
    print("full:", cli.main(["grade", "--workers", "1"]))
    for folder in ("results", "autograded"):
        for path in (course.classroom / folder).rglob("*"):
            assert not path.name.endswith("part"), path
            assert not path.is_file() or path.stat().st_size, path
    ballast.unlink()
print("free:", cli.main(["grade", "--workers", "1"]))
"""


@pytest.mark.skipif(sandbox.available() != "bubblewrap", reason="no bubblewrap")
def test_a_full_disk_is_an_error_in_words_and_loses_nothing(
    classroom: Course, fresh: Course
) -> None:
    """The class lies in a file system of 3 MB, of which 4 kB are left, then 45 kB, then all."""
    mount = ["bwrap", "--dev-bind", "/", "/", "--size", "3000000", "--tmpfs",
             str(fresh.classroom), "--bind", str(fresh.classroom / "submitted"),
             str(fresh.classroom / "submitted")]  # fmt: skip
    mount += ["--cap-add", "ALL"] * (os.geteuid() == 0)
    kept = fresh.root / "kept"
    shell = f'"$@" && cp -r classroom/. {kept}'
    done = subprocess.run(
        [*mount, "--", "sh", "-c", shell, "sh", sys.executable, "-c", FULL, "4000 45000",
         str(ROOT / "tests")], cwd=fresh.root, env=ENV, capture_output=True, text=True)  # fmt: skip
    assert done.stdout.count("full: 2") == 2, done.stderr
    assert "the disk is full. What is done is kept; make room" in done.stderr
    assert "free: 0" in done.stdout
    assert "Traceback" not in done.stderr
    shutil.rmtree(fresh.classroom)
    kept.rename(fresh.classroom)
    assert without_keys(dump(fresh)) == without_keys(dump(classroom))


FORKED = """
import os, signal, sys
from autograder import pool
signal.signal(signal.SIGTERM, pool._end)
sys.unraisablehook = pool._swallowed
os.register_at_fork(after_in_parent=lambda: os.kill(os.getpid(), signal.SIGTERM))
if not (child := os.fork()):
    os._exit(0)
os.waitpid(child, 0)
print(pool._ending.is_set())
"""


def test_a_worker_told_to_end_in_the_middle_of_a_fork_remembers_and_prints_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKED], env=ENV, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


def without_keys(state: tuple[object, ...]) -> tuple[object, ...]:
    """A class in a new file system has a secret of its own."""
    results = {n: {k: v for k, v in r.items() if k not in ("key", "digests")}
               for n, r in state[2].items()}  # fmt: skip
    return (*state[:2], results, *state[3:])


def locked(course: Course) -> sqlite3.Connection:
    """The gradebook, held by another program as a database browser does while it writes."""
    other = sqlite3.connect(course.classroom / "gradebook.db", check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    return other


def test_a_gradebook_that_is_locked_for_some_seconds_is_waited_for(
    classroom: Course, fresh: Course
) -> None:
    other = locked(fresh)
    timer = threading.Timer(7, other.rollback)  # SQLite itself waits for five
    timer.start()
    done = subprocess.run([sys.executable, "-m", "autograder", "grade"], env=ENV, cwd=fresh.root,
                          capture_output=True, text=True)  # fmt: skip
    timer.join()
    assert done.returncode == 0, done.stderr
    assert dump(fresh) == dump(classroom)


def test_a_gradebook_that_stays_locked_is_an_error_in_words(
    classroom: Course, fresh: Course, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """Locked from the beginning, and locked in the middle; what is graded by then is kept."""
    monkeypatch.setattr(ledger, "PATIENCE", ())
    other = locked(fresh)
    assert cli.main(["grade", "--student", "ada"]) == 2
    other.rollback()
    assert "The gradebook is locked by another program" in capsys.readouterr().err
    real, calls = ledger.Ledger.record, []

    def record(self: ledger.Ledger, *args: object) -> None:
        calls.append(args)
        if len(calls) == 3:
            other.execute("BEGIN EXCLUSIVE")
        real(self, *args)

    monkeypatch.setattr(ledger.Ledger, "record", record)
    assert cli.main(["grade", "--workers", "2"]) == 2
    assert "What is graded is kept" in capsys.readouterr().err
    other.rollback()
    monkeypatch.undo()
    monkeypatch.chdir(fresh.root)
    again = grade(fresh, [NAME], workers=2)
    assert (again.graded, again.kept) == (4, 2)
    assert dump(fresh) == dump(classroom)


HOLD = """
import time
from pathlib import Path
from autograder.course import Course
from autograder.ledger import Ledger
with Ledger(Course(Path.cwd())) as ledger, ledger.alone():
    print("held", flush=True)
    time.sleep(60)
"""


def test_two_runs_at_once_do_not_mix(fresh: Course, capsys: pytest.CaptureFixture[str]) -> None:
    """And the lock goes with the run that held it, however that ends."""
    holder = subprocess.Popen([sys.executable, "-c", HOLD], env=ENV, cwd=fresh.root, text=True,
                              stdout=subprocess.PIPE)  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    assert cli.main(["grade"]) == 2
    assert "is being graded by another run" in capsys.readouterr().err
    holder.kill()
    holder.wait()
    assert cli.main(["grade", "--student", "dave"]) == 0
