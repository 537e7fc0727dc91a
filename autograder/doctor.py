"""Say what this machine can do and what is missing, one line each, with what to type.

What grading relies on is tried, not looked up: a process for student code is started in the sandbox
and attempts what it must not be able to do, its limits are run into, one lab is graded both ways.
It installs and changes nothing. Only a missing part that grading needs makes it fail.
"""

import contextlib
import io
import json
import os
import platform
import re
import shutil
import socket
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from autograder import sandbox
from autograder.course import Course, nbgrader_config
from autograder.host import Host, package_folder

NEEDED = ("nbgrader", "jupyter_client", "ipykernel", "jupytext", "nbformat", "torch", "safetensors")
TOOLS = {  # program -> (what for, what to type)
    "chromium": ("tests of the site", "apt-get install chromium"),
    "node": ("tests of the explorers", "apt-get install nodejs"),
}
DISTANT = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "lustre", "gpfs", "beegfs", "ceph",
           "glusterfs", "afs", "fuse.sshfs", "fuse.rclone")  # fmt: skip
SWITCHES = [  # file below /proc/sys, the value that forbids user namespaces, what to type
    ("kernel/unprivileged_userns_clone", "0", "sudo sysctl -w kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "sudo sysctl -w user.max_user_namespaces=15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"),
]  # fmt: skip

# In a student's process: each line attempts what must fail.
PROBES = """
import ctypes, json, os, socket, sys

def tried(action):
    try:
        return action() is not False
    except BaseException:
        return False

def read(path):
    return open(path).read()

def write(path):
    open(path, "w").close()
    os.remove(path)

def join(kind, address):
    socket.socket(*kind).connect(address)

libc = ctypes.CDLL(None)
print(json.dumps({
    "reach the network": tried(lambda: join((socket.AF_INET, socket.SOCK_STREAM),
                                            ("127.0.0.1", PORT))),
    "send a datagram": tried(lambda: join((socket.AF_INET, socket.SOCK_DGRAM), ("127.0.0.1", 9))),
    "reach a socket of this machine": tried(lambda: join((socket.AF_UNIX,), MARK)),
    "read a file of the teacher's": tried(lambda: read(CANARY)),
    "see the solutions": tried(lambda: os.listdir(SOLUTIONS)),
    "see the environment": tried(lambda: os.environ["DOCTOR"]),
    "write beside the interpreter": tried(lambda: write(sys.prefix + "/canary")),
    "write to the course package": tried(lambda: write(PACKAGE + "/canary")),
    "signal the grader": tried(lambda: os.kill(CALLER, 0)),
    "trace its parent": tried(lambda: libc.ptrace(16, os.getppid(), 0, 0) >= 0),
    "make a namespace": tried(lambda: libc.unshare(0x10000000) == 0),
    "become root": tried(lambda: os.setuid(0)),
}))
"""
LIMITS = {  # what is limited, and code that must fail for it
    "memory": "x = bytearray(1 << 40)",
    "file size": "open('big', 'wb').write(bytes(65 << 20))",
    "processes": (
        "import os, time\n"
        "for _ in range(400):\n"
        "    if os.fork() == 0:\n"
        "        time.sleep(20)\n"
        "        os._exit(0)"
    ),
    "processor time": "while True: pass",
}


@dataclass
class Finding:
    """One line: is it there, is it needed, what to type."""

    ok: bool
    needed: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        sign = "ok     " if self.ok else "MISSING" if self.needed else "note   "
        return f"{sign} {self.text}" + (f"; type: {self.fix}" if self.fix and not self.ok else "")


def doctor(course: Course) -> list[Finding]:
    """All findings, in the order in which a teacher would repair them."""
    found = [_python(), *_packages(course), _alembic(course), *_gradebook(course), _disk(course)]
    tier = sandbox.available()
    found += [_user(tier), *_sandbox(tier)]
    if tier:
        found += _tried(course, tier)
    found.append(_agreement(course, tier or sandbox.NONE))
    return [*found, *_tools()]


# --- software --------------------------------------------------------------------------------


def _python() -> Finding:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    text = f"Python {platform.python_version()} (3.11 to 3.13)"
    return Finding(fits, True, text, "python3.12 -m venv .venv")


def _packages(course: Course) -> Iterator[Finding]:
    """What is installed against requirements.txt and the lock; a wrong version is not fatal."""
    pins, lock = (_pins(course.root / f"{name}.txt") for name in ("requirements", "constraints"))
    fix = "pip install -r requirements.txt -c constraints.txt"
    same = 0
    for name, pinned in (dict.fromkeys(NEEDED, "") | lock | pins).items():
        try:
            have = version(name)
        except PackageNotFoundError:
            if name in NEEDED or name in pins:
                yield Finding(False, name in NEEDED, f"{name} is not installed", fix)
            continue
        if pinned and have.split("+")[0] != pinned.split("+")[0]:
            yield Finding(False, False, f"{name} {have} (pinned {pinned})", fix)
        else:
            same += 1
    yield Finding(same > 0, True, f"{same} packages as the course pins them", fix)


def _pins(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return dict(re.findall(r"^([A-Za-z][\w.-]*)==(\S+)", text, re.MULTILINE))


def _tools() -> Iterator[Finding]:
    for program, (use, fix) in TOOLS.items():
        yield Finding(shutil.which(program) is not None, False, f"{program}, for {use}", fix)


# --- the class's data ------------------------------------------------------------------------


def _alembic(course: Course) -> Finding:
    nbgrader_config(course)  # puts the interpreter's folder on PATH, as grading does
    return Finding(shutil.which("alembic") is not None, True, "alembic, for a new gradebook",
                   "pip install alembic")  # fmt: skip


def _gradebook(course: Course) -> Iterator[Finding]:
    path = course.classroom / "gradebook.db"
    try:
        course.classroom.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with contextlib.closing(sqlite3.connect(path, timeout=1)) as db:
                db.execute("BEGIN IMMEDIATE")
                db.rollback()
        with tempfile.TemporaryFile(dir=course.classroom):
            ok, why = True, ""
    except (OSError, sqlite3.Error) as error:
        ok, why = False, f" ({error})"
    yield Finding(ok, True, f"gradebook {path} can be written{why}", f"chmod u+rwx {path.parent}")
    kind = file_system(path.parent)
    text = f"gradebook on a local disk ({kind})"
    if kind in DISTANT:
        text = (f"the gradebook lies on a network disk ({kind}), where locks of SQLite may fail; "
                "keep the course on a local disk, or grade in one place at a time")  # fmt: skip
    yield Finding(kind not in DISTANT, False, text)


def file_system(path: Path, mounts: Path = Path("/proc/self/mounts")) -> str:
    """The kind of file system that holds a path; "unknown" where that is not told."""
    real, best = path.resolve(), ("", "unknown")
    lines = mounts.read_text(encoding="utf-8").splitlines() if mounts.exists() else []
    for _, place, kind, *_ in (line.split() for line in lines):
        place = place.replace("\\040", " ")
        if real.is_relative_to(place) and len(place) >= len(best[0]):
            best = (place, kind)
    return best[1]


def _disk(course: Course) -> Finding:
    free = shutil.disk_usage(course.root).free / 1e9
    return Finding(free > 1, True, f"{free:.0f} GB of free disk space (1 needed)", "df -h")


# --- isolation -------------------------------------------------------------------------------


def _user(tier: str) -> Finding:
    if os.geteuid() != 0:
        return Finding(True, False, f"grading runs as user {os.geteuid()}, not as root")
    if tier:
        return Finding(True, False, "grading runs as root; student code gives up root's rights")
    return Finding(False, False, "grading runs as root: code that is not isolated could do "
                   "anything to this machine", "su - SOMEONE, then autograder grade")  # fmt: skip


def _sandbox(tier: str) -> Iterator[Finding]:
    """The tier; why not the better one; what to type for it."""
    best = sandbox.why_not(sandbox.TIER)
    if tier:
        yield Finding(True, True, f"student code is isolated by {tier}")
        yield Finding(True, True, f"its process can read {sys.prefix} and run this Python")
    if tier == sandbox.LANDLOCK:
        yield Finding(False, False, f"bubblewrap would isolate better: {best}", namespaces())
    if not tier:
        yield Finding(False, True, f"no isolation: {best}", namespaces())
        yield Finding(False, True, f"nor by landlock: {sandbox.why_not(sandbox.LANDLOCK)}")
        closed = closed_folder(Path(sys.executable))
        if closed:
            text = f"this Python lies below {closed}, which other users may not enter"
            yield Finding(False, True, f"{text}; use one below /usr or /opt", f"chmod o+x {closed}")


def namespaces(system: Path = Path("/proc/sys")) -> str:
    """What to type where a switch of the kernel forbids user namespaces; "" if none does."""
    for name, bad, fix in SWITCHES:
        with contextlib.suppress(OSError):
            if (system / name).read_text().strip() == bad:
                return fix
    return ""


def closed_folder(python: Path) -> Path | None:
    """The first folder on the way to this interpreter that only its owner may enter."""
    ways = [p for start in (python.absolute(), python.resolve()) for p in reversed(start.parents)]
    return next((p for p in ways if p.exists() and not p.stat().st_mode & 0o001), None)


def _tried(course: Course, tier: str) -> Iterator[Finding]:
    """What a process for student code can do, and what stops it."""
    os.environ["DOCTOR"] = "1"  # which it must not see
    try:
        host = Host(tier)
    except Exception as error:
        yield Finding(False, True, "a process for student code does not start "
                      f"({type(error).__name__}: {error})", "autograder audit")  # fmt: skip
        return
    finally:
        del os.environ["DOCTOR"]
    with contextlib.closing(host):
        yield _probes(course, host)
        yield from _limits(host)


def _inside(host: Host, source: str, seconds: float = 30.0) -> dict[str, Any]:
    """What a cell printed and how it failed, run as a student's; processor time is limited."""
    from autograder.judge import Student

    reply, _ = Student(host.spawn(seconds)).ask("exec", source=source, name="a probe")
    return reply


def _probes(course: Course, host: Host) -> Finding:
    """What student code could do that it must not: nothing."""
    mark = f"\0doctor-{os.getpid()}"
    with (tempfile.NamedTemporaryFile("w", dir=course.classroom) as canary,
          socket.create_server(("127.0.0.1", 0)) as server,
          socket.socket(socket.AF_UNIX) as local):  # fmt: skip
        local.bind(mark)
        local.listen()
        os.chmod(canary.name, 0o644)
        known = {"PORT": server.getsockname()[1], "MARK": mark, "CANARY": canary.name,
                 "SOLUTIONS": str(course.solutions), "PACKAGE": str(package_folder()),
                 "CALLER": os.getpid()}  # fmt: skip
        head = "".join(f"{name} = {value!r}\n" for name, value in known.items())
        printed = _inside(host, head + PROBES)["printed"]
    seen = json.loads(printed.strip().splitlines()[-1])
    able = [name for name, done in seen.items() if done]
    if able:
        return Finding(False, True, f"student code can {', '.join(able)}: do not grade here")
    if host.threads != 1:
        return Finding(False, True, f"the warm process has {host.threads} threads; forks of it "
                       "may hang", "export OMP_NUM_THREADS=1")  # fmt: skip
    return Finding(True, True, f"{len(seen)} attempts of student code to break out are blocked")


def _limits(host: Host) -> Iterator[Finding]:
    """Each limit, run into."""
    for what, source in LIMITS.items():
        seconds = 1.0 if what == "processor time" else 30.0
        failed = _attempt(lambda code=source, s=seconds: _inside(host, code, s)["failed"])
        text = f"the limit on {what} holds" if failed else f"student code has no limit on {what}"
        yield Finding(bool(failed), True, text)


def _attempt(action: Callable[[], Any]) -> Any:
    """What an action gave; what it raised, if its process was killed."""
    try:
        return action()
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        return error


# --- one lab, both ways ----------------------------------------------------------------------


def _agreement(course: Course, tier: str) -> Finding:
    """The first lab's solution: its tests pass here in this process and judged alike."""
    from autograder import intake, runner
    from autograder.lab import namespace, read_lab

    names = course.all_labs()
    if not names:
        return Finding(False, False, "no lab to try: solutions/ is empty")
    try:
        lab = read_lab(course, names[0])
        release = intake.read_release(course, lab)
        here = {}
        with contextlib.redirect_stdout(io.StringIO()):
            space = namespace(lab)
            for question in (q for q in lab.questions if q.kind != "manual"):
                failed = _attempt(lambda q=question: exec(lab.cell(q.id).source, space))
                here[question.id] = "fail" if failed else "pass"
        merged = intake.merge(lab, release, lab.notebook, "doctor")
        result = runner.run(lab, merged, tier=tier)
        runner.close()
    except Exception as error:
        return Finding(False, True, f"{names[0]} could not be graded ({type(error).__name__}: "
                       f"{error})", f"autograder build {names[0]}")  # fmt: skip
    judged = {key: c.status for q in result.questions for key, c in q.cells.items()}
    other = [key for key in here if here[key] != judged.get(key)]
    bad = sorted({*other, *(key for key in here if here[key] != "pass")})
    if bad:
        notes = "; ".join(result.findings[-1:])
        return Finding(False, True, f"{names[0]}: our solution fails {', '.join(bad[:3])} {notes}",
                       f"autograder audit {names[0]}")  # fmt: skip
    return Finding(True, True, f"{names[0]}: our solution passes its {len(here)} tests, judged as "
                   "in a notebook")  # fmt: skip
