"""Say what this machine can do and what is missing, one line each, with what to type.

It looks and tries small things (can the gradebook be written, does a process start); it installs
and changes nothing. Only a missing part that grading needs makes it fail.
"""

import os
import platform
import re
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from autograder import sandbox
from autograder.course import Course, nbgrader_config

NEEDED = ("nbgrader", "jupyter_client", "ipykernel", "jupytext", "nbformat", "torch")
TOOLS = {  # program -> (what for, what to type)
    "chromium": ("tests of the site", "apt-get install chromium"),
    "node": ("tests of the explorers", "apt-get install nodejs"),
}


@dataclass
class Finding:
    """One line: is it there, is it needed, what to type."""

    ok: bool
    needed: bool
    text: str
    fix: str = ""

    def __str__(self) -> str:
        sign = "ok     " if self.ok else "MISSING" if self.needed else "absent "
        return f"{sign} {self.text}" + (f"; type: {self.fix}" if self.fix and not self.ok else "")


def doctor(course: Course) -> list[Finding]:
    """All findings, in the order in which a teacher would repair them."""
    return [_python(), *_packages(course), _alembic(course), _gradebook(course), _process(),
            _sandbox(), *_tools(), _disk(course)]  # fmt: skip


def _python() -> Finding:
    fits = (3, 11) <= sys.version_info[:2] <= (3, 13)
    text = f"Python {platform.python_version()} (3.11 to 3.13)"
    return Finding(fits, True, text, "python3.12 -m venv .venv")


def _packages(course: Course) -> Iterator[Finding]:
    """Pins of requirements.txt against what is installed; a wrong version is told, not fatal."""
    path = course.root / "requirements.txt"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    pins = dict(re.findall(r"^([A-Za-z][\w.-]*)==(\S+)", text, re.MULTILINE))
    fix = "pip install -r requirements.txt"
    for name in dict.fromkeys([*NEEDED, *pins]):
        try:
            have = version(name)
        except PackageNotFoundError:
            yield Finding(False, name in NEEDED, f"{name} is not installed", fix)
            continue
        pinned = pins.get(name, have)
        same = have.split("+")[0] == pinned.split("+")[0]
        yield Finding(same, False, f"{name} {have}" + ("" if same else f" (pinned {pinned})"), fix)


def _sandbox() -> Finding:
    reason = sandbox.why_not()
    text = f"student code is isolated by {sandbox.TIER}"
    return Finding(not reason, True, text if not reason else f"no isolation: {reason}")


def _alembic(course: Course) -> Finding:
    nbgrader_config(course)  # puts the interpreter's folder on PATH, as grading does
    return Finding(shutil.which("alembic") is not None, True, "alembic, for a new gradebook",
                   "pip install alembic")  # fmt: skip


def _gradebook(course: Course) -> Finding:
    path = course.classroom / "gradebook.db"
    try:
        course.classroom.mkdir(parents=True, exist_ok=True)
        if path.exists():
            with sqlite3.connect(path, timeout=1) as db:
                db.execute("BEGIN IMMEDIATE")
                db.rollback()
        ok, why = os.access(course.classroom, os.W_OK), ""
    except (OSError, sqlite3.Error) as error:
        ok, why = False, f" ({error})"
    return Finding(ok, True, f"gradebook {path} can be written{why}", f"chmod u+rwx {path.parent}")


def _process() -> Finding:
    from autograder.host import Host
    from autograder.judge import Student

    try:
        host = Host(sandbox.available() or sandbox.NONE)
        reply, _ = Student(host.spawn(30)).ask("exec", source="1 + 1", name="a cell")
        ok, why = reply["printed"] == "2\n", ""
        host.stop()
        host.close()
    except Exception as error:
        ok, why = False, f" ({type(error).__name__}: {error})"
    return Finding(ok, True, f"a process for student code starts and runs a cell{why}",
                   "pip install -r requirements.txt")  # fmt: skip


def _tools() -> Iterator[Finding]:
    for program, (use, fix) in TOOLS.items():
        yield Finding(shutil.which(program) is not None, False, f"{program}, for {use}", fix)


def _disk(course: Course) -> Finding:
    free = shutil.disk_usage(course.root).free / 1e9
    return Finding(free > 1, True, f"{free:.0f} GB of free disk space (1 needed)", "df -h")
