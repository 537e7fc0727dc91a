"""Where student code runs: a sandbox that shows almost nothing, or a refusal to grade.

Two tiers. `bubblewrap` gives the warm process namespaces of its own: the operating system's `/usr`,
this Python with its packages, what the caller binds, an empty `/tmp`, and nothing else: no network,
no other process, no home, no environment but what is given. `landlock` is for containers in which
namespaces are forbidden: the same folders and no network, but one process table, and a folder on
disk instead of a private /tmp. What a process does further to close itself in is in
`autograder.child.isolate`; started by root, both give up root's rights.

It does not judge. A machine that can do neither is refused (`SandboxError` says what to type), not
silently worked around; the tier is written into each result.
"""

import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable
from pathlib import Path

from autograder.child import isolate
from autograder.course import CourseError

TIER, LANDLOCK, NONE = "bubblewrap", "landlock", "none"
NOBODY = 65534
CHILD = Path(__file__).parent / "child"
HOME, SHOWN = "/tmp/home", "/lab"
LEAST_LANDLOCK = 6  # the first that keeps signals in: Linux 6.12

# What a student's process does before it runs anything, tried at once.
PROBE = """
import os, sys
from child import isolate
if os.getuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
if sys.argv[1] == "bubblewrap":
    isolate.enter_namespaces()
    if os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.wait()[1]))
    isolate.limit(1 << 32, 10)
    isolate.drop_privileges()
else:
    isolate.landlock(["/"], ["/dev/null"])
isolate.filter_calls()
import colorsys, safetensors  # Python and its packages are still to be seen
print("closed in")
"""


class SandboxError(CourseError):
    """This machine cannot isolate a student's code; the text says what to type."""


def command(argv: list[str], readable: Iterable[Path | tuple[Path, str]] = (),
            writable: Iterable[Path] = (), env: dict[str, str] | None = None,
            ) -> list[str]:  # fmt: skip
    """The command line that runs `argv` inside, in the empty folder HOME.

    Folders keep their paths; a pair (folder, name) in `readable` is shown as SHOWN/name.
    """
    line = ["bwrap", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts",
            "--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]  # fmt: skip
    if os.geteuid() == 0:
        line += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        line += ["--unshare-user", "--uid", str(NOBODY), "--gid", str(NOBODY)]
    line += ["--proc", "/proc", "--dev", "/dev"]
    for scratch in ("/tmp", "/dev/shm"):
        line += ["--size", str(isolate.TMP_BYTES), "--perms", "1777", "--tmpfs", scratch]
    line += ["--perms", "0777", "--dir", HOME]
    bound = [("--ro-bind", p, p) for p in system_folders()]
    for item in readable:
        folder, at = (item[0], Path(SHOWN, item[1])) if isinstance(item, tuple) else (item, item)
        bound.append(("--ro-bind", folder, at))
    bound += [("--bind", p, p) for p in writable]
    made = {Path("/"), Path("/tmp"), Path(HOME), *system_folders()}
    for folder in sorted({parent for _, _, at in bound for parent in at.parents} - made):
        line += ["--perms", "0755", "--dir", str(folder)]  # else only root could enter it
    for how, folder, at in bound:
        line += [how, str(folder), str(at)]
    line += ["--remount-ro", "/dev", "--remount-ro", "/", "--chdir", HOME]
    for name, value in (env or {}).items():
        line += ["--setenv", name, value]
    return [*line, "--", *argv]


def system_folders() -> list[Path]:
    """What a Python process needs of this machine: libraries, the interpreter, its packages."""
    wanted = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache")]
    prefixes = {sys.prefix, sys.base_prefix, sysconfig.get_path("purelib")}
    folders = [p for p in wanted if p.exists()]
    return folders + [Path(p) for p in sorted(prefixes) if not p.startswith("/usr/")
                      and p != "/usr"]  # fmt: skip


@functools.cache
def available() -> str:
    """The best tier that works here; "" if none does, with the reasons in `why_not`."""
    return next((tier for tier in (TIER, LANDLOCK) if not why_not(tier)), "")


@functools.cache
def why_not(tier: str = TIER) -> str:
    """Why this machine cannot isolate in this way, and what to type; "" if it can. Tried."""
    if not sys.platform.startswith("linux"):
        return "isolation works on Linux only; grade in a Linux machine, container or WSL"
    if tier == LANDLOCK:
        version = isolate.landlock_version()
        if version < LEAST_LANDLOCK:
            return (f"landlock is version {version or 'none'} here, {LEAST_LANDLOCK} is needed; "
                    "use Linux 6.12 or newer")  # fmt: skip
        if os.geteuid() == 0 and not _open_to_all():
            return (f"{sys.prefix} lies below a folder that only root may enter; use a Python "
                    "below /usr or /opt, or grade as a user of your own")  # fmt: skip
        return _tried([sys.executable, "-c", PROBE, tier], {"PYTHONPATH": str(CHILD.parent)})
    if shutil.which("bwrap") is None:
        return "bubblewrap is not installed; type: sudo apt install bubblewrap"
    argv = [sys.executable, "-c", PROBE, tier]
    return _tried(command(argv, [(CHILD, "child")], env={"PYTHONPATH": SHOWN}), None)


def _tried(line: list[str], env: dict[str, str] | None) -> str:
    try:
        done = subprocess.run(line, capture_output=True, text=True, timeout=30, check=False,
                              env=env)  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{line[0]} does not start ({type(error).__name__})"
    if done.returncode == 0 and "closed in" in done.stdout:
        return ""
    said = (done.stderr.strip().splitlines() or ["no message"])[-1]
    return f"{Path(line[0]).name} does not work here ({said}). {_advice(said)}"


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


def _open_to_all() -> bool:
    """Whether a user without rights can reach this Python and its packages."""
    folders = {Path(sys.prefix), Path(sys.base_prefix), Path(sysconfig.get_path("purelib"))}
    return all(p.stat().st_mode & 0o001 for folder in folders
               for p in (folder.resolve(), *folder.resolve().parents))  # fmt: skip


def require(unsafe: bool = False) -> str:
    """The tier to use. SandboxError where there is none and `unsafe` does not allow that."""
    tier = available()
    if tier or unsafe:
        return tier or NONE
    raise SandboxError(
        f"Student code would not be isolated: {why_not(TIER)}.\n"
        f"The second way does not work either: {why_not(LANDLOCK)}.\n"
        "For submissions that you trust as your own: autograder grade --unsafe-no-sandbox"
    )
