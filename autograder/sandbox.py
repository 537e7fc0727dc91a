"""Run a command where it can harm nothing: bubblewrap with its own namespaces and almost no files.

Inside there is the operating system's `/usr`, this Python with its packages, what the caller binds,
an empty `/tmp` of 64 MB, and nothing else: no network, no other process, no home, no environment
but what is given. Started by root, the command runs as a user without rights; started by a user, as
that user in a namespace of its own. `LIMITS` is a line of Python that caps memory, processes and
file sizes; the command has to run it first.

It does not judge, and it does not know Jupyter. A machine that cannot isolate is refused
(`SandboxError` says what to type), not silently worked around.
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from autograder.course import CourseError

TIER, NONE = "bubblewrap", "none"
NOBODY = 65534
HOME = "/tmp/home"
TMP_BYTES = 64 << 20
MEMORY, PROCESSES, FILE_BYTES, OPEN_FILES = 8 << 30, 256, 64 << 20, 256

# The user is given up here, inside: bubblewrap itself needs root's rights to bind root's files.
LIMITS = f"""
import os, resource
for what, most in (("AS", {MEMORY}), ("FSIZE", {FILE_BYTES}), ("NOFILE", {OPEN_FILES}),
                   ("CORE", 0), ("NPROC", {PROCESSES})):
    resource.setrlimit(getattr(resource, "RLIMIT_" + what), (most, most))
if os.getuid() == 0:
    os.setgroups([]); os.setgid({NOBODY}); os.setuid({NOBODY})
os.umask(0o077)
"""


class SandboxError(CourseError):
    """This machine cannot isolate a student's code; the text says what to type."""


def command(argv: list[str], readable: Iterable[Path | tuple[Path, str]] = (),
            writable: Iterable[Path] = (), env: dict[str, str] | None = None,
            ) -> list[str]:  # fmt: skip
    """The command line that runs `argv` inside, in the empty folder HOME.

    Folders keep their paths; a pair (folder, name) in `readable` is shown as HOME/name.
    """
    line = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]  # fmt: skip
    if os.geteuid() == 0:
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for scratch in ("/tmp", "/dev/shm"):
        line += ["--size", str(TMP_BYTES), "--perms", "1777", "--tmpfs", scratch]
    line += ["--perms", "0777", "--dir", HOME]
    bound = [("--ro-bind", p, p) for p in _system()]
    for item in readable:
        folder, at = (item[0], Path(HOME, item[1])) if isinstance(item, tuple) else (item, item)
        bound.append(("--ro-bind", folder, at))
    bound += [("--bind", p, p) for p in writable]
    made = {Path("/"), Path("/tmp"), Path(HOME), *_system()}
    for folder in sorted({parent for _, _, at in bound for parent in at.parents} - made):
        line += ["--perms", "0755", "--dir", str(folder)]  # else only root could enter it
    for how, folder, at in bound:
        line += [how, str(folder), str(at)]
    line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    for name, value in (env or {}).items():
        line += ["--setenv", name, value]
    return [*line, "--", *argv]


def _system() -> list[Path]:
    """What a Python process needs of this machine: libraries, the interpreter, its packages."""
    wanted = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")]
    prefixes = {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib")}
    folders = [p for p in wanted if p.exists()]
    return folders + [Path(p) for p in sorted(prefixes) if not p.startswith("/usr/")
                      and p != "/usr"]  # fmt: skip


@functools.cache
def available() -> str:
    """The tier that works here: "bubblewrap", or "" with the reason in `why_not`."""
    return "" if why_not() else TIER


@functools.cache
def why_not() -> str:
    """Why this machine cannot isolate, and what to type; "" if it can. Tried, not guessed."""
    if not sys.platform.startswith("linux"):
        return "isolation works on Linux only; grade in a Linux machine, container or WSL"
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed; type: sudo apt install bubblewrap"
    test = [sys.executable, "-c", LIMITS + "print(os.getuid(), len(os.listdir('/proc')) > 0)"]
    try:
        done = subprocess.run(command(test), capture_output=True, text=True, timeout=30,
                              check=False)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"bubblewrap does not start ({type(error).__name__})"
    if done.returncode == 0:
        return ""
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"bubblewrap does not work here ({said}). {_advice(said)}"


def _advice(said: str) -> str:
    if "namespace" in said or "uid map" in said or "Operation not permitted" in said:
        return (
            "User namespaces are not allowed. Ubuntu 24.04: sudo sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0 (or give bwrap an AppArmor profile). "
            "In a container: allow user namespaces, or grade outside of it"
        )
    if "No such file" in said or "Permission denied" in said:
        return "This Python lies where other users cannot read it; use one under /usr or /opt"
    return "See the message above"


def require(unsafe: bool = False) -> str:
    """The tier to use. SandboxError where there is none and `unsafe` does not allow that."""
    reason = why_not()
    if not reason:
        return TIER
    if unsafe:
        return NONE
    raise SandboxError(
        f"Student code would not be isolated: {reason}.\n"
        "For submissions that you trust as your own: autograder grade --unsafe-no-sandbox"
    )
