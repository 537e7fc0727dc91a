"""The grader's end of the warm process: start it in the sandbox, ask it for processes, end them.

A `Host` belongs to one worker and to what the lab at hand needs (modules to import, a folder of
data). `spawn` gives a `Guest`: a fresh process for one submission and the socket to speak to it.
This module sends no test and no secret; what is said over the socket is the business of `judge`.
"""

import json
import os
import re
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from autograder import sandbox
from autograder.child import isolate

START = 120.0  # seconds that imports may take on a slow disk
KEPT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
SETTINGS = {
    "GLASSBOX_GRADING": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1", "NUMEXPR_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "MPLBACKEND": "agg",
    "TOKENIZERS_PARALLELISM": "false", "PYTHONHASHSEED": "0", "ARROW_DEFAULT_MEMORY_POOL": "system",
    "PYTHONDONTWRITEBYTECODE": "1",
}  # fmt: skip


class HostFault(Exception):
    """The warm process does not do what it should: a fault of ours or of the machine."""


@dataclass
class Guest:
    """A student's process: the socket to it."""

    sock: socket.socket

    def close(self) -> None:
        """Hang up."""
        self.sock.close()


class Host:
    """One warm process in its sandbox."""

    def __init__(self, tier: str, modules: tuple[str, ...] = (), data: Path | None = None,
                 memory: float = 4.0) -> None:  # fmt: skip
        self.key = (tier, modules, data, memory)
        self.tier, self.owner = tier, os.getpid()
        self.folder: tempfile.TemporaryDirectory | None = None  # where there is no private /tmp
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        start = {"bubblewrap": self._isolated, "landlock": self._landlocked}.get(tier, self._bare)
        try:
            with theirs:
                line, env = start(theirs.fileno(), modules, data, memory)
                self.process = subprocess.Popen(
                    line, env=env, pass_fds=[theirs.fileno()], cwd="/", stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
            said = self._hear(START)
        except BaseException:
            self.close()
            raise
        if "error" in said:
            self.close()
            raise HostFault(f"the warm process did not start: {said['error']}")
        self.threads: int = said["threads"]

    def spawn(self, seconds: float) -> Guest:
        """A fresh process, which may use `seconds` of processor time; ends the one before."""
        ours, theirs = socket.socketpair()
        with theirs:
            message = json.dumps({"do": "spawn", "seconds": int(seconds) + 1}).encode()
            try:
                socket.send_fds(self.control, [message], [theirs.fileno()])
            except OSError as error:
                raise HostFault(f"the warm process has gone ({error})") from None
        said = self._hear(30.0)
        if "error" in said:
            ours.close()
            raise HostFault(said["error"])
        return Guest(ours)

    def stop(self, died: bool = False) -> str:
        """End the process that runs, with all of its own; how it `died` if it did by itself."""
        try:
            self.control.send(json.dumps({"do": "stop", "died": died}).encode())
        except OSError as error:
            raise HostFault(f"the warm process has gone ({error})") from None
        return self._hear(30.0)["why"]

    def close(self) -> None:
        """End everything; harmless if it has ended."""
        self.control.close()
        if os.getpid() != self.owner:  # in a fork the warm process is not ours to end
            return
        process = getattr(self, "process", None)
        if process:
            process.kill()
            process.wait()
        if self.folder:
            self.folder.cleanup()

    def _hear(self, seconds: float) -> dict:
        self.control.settimeout(seconds)
        try:
            text = self.control.recv(65536)
        except OSError as error:
            raise HostFault(f"the warm process is silent ({type(error).__name__})") from None
        if not text:
            raise HostFault("the warm process ended")
        return json.loads(text)

    # --- how it is started, tier by tier ---

    def _isolated(self, fd: int, modules: tuple[str, ...], data: Path | None,
                  memory: float) -> tuple[list[str], dict[str, str]]:  # fmt: skip
        # not at their own paths: below /tmp they would vanish behind the student's /tmp
        shown: list = [(package_folder(), "glassbox"), (sandbox.CHILD, "child")]
        inside = ""
        if data is not None and data.is_dir():
            shown.append((data, "data"))
            inside = f"{sandbox.SHOWN}/data"
        env = SETTINGS | _kept() | {
            "HOME": sandbox.HOME, "PYTHONPATH": sandbox.SHOWN}  # fmt: skip
        argv = _argv(fd, "bubblewrap", inside, memory, [], [], modules)
        return sandbox.command(argv, shown, env=env), {"PATH": os.environ.get("PATH", "")}

    def _landlocked(self, fd: int, modules: tuple[str, ...], data: Path | None,
                    memory: float) -> tuple[list[str], dict[str, str]]:  # fmt: skip
        home, packages = self._stage()
        folder = str(data) if data is not None and data.is_dir() else ""
        readable = [str(p) for p in sandbox.system_folders()]
        readable += [
            str(packages),
            str(sandbox.CHILD),
            str(package_folder()),
            *([folder] if folder else []),
        ]
        readable += [p for p in ("/proc", "/etc/localtime") if os.path.exists(p)]
        writable = [str(home), "/dev/null"]
        readable += [p for p in ("/dev/urandom", "/dev/zero") if os.path.exists(p)]
        if os.geteuid() == 0:  # the process gives up root's rights, and this is its folder
            os.chmod(self.folder.name, 0o711)
            os.chown(home, sandbox.NOBODY, sandbox.NOBODY)
        return _argv(fd, "landlock", folder, memory, readable, writable, modules), _env(
            home, packages
        )

    def _bare(self, fd: int, modules: tuple[str, ...], data: Path | None,
              memory: float) -> tuple[list[str], dict[str, str]]:  # fmt: skip
        home, packages = self._stage()
        folder = str(data) if data is not None and data.is_dir() else ""
        return _argv(fd, "none", folder, memory, [], [], modules), _env(home, packages)

    def _stage(self) -> tuple[Path, Path]:
        """An empty home, and a folder in which `child` and `glassbox` stand alone."""
        self.folder = tempfile.TemporaryDirectory(prefix="grade-", ignore_cleanup_errors=True)
        home, packages = Path(self.folder.name, "home"), Path(self.folder.name, "packages")
        home.mkdir(exist_ok=True)
        packages.mkdir(exist_ok=True)
        (packages / "child").symlink_to(sandbox.CHILD)
        (packages / "glassbox").symlink_to(package_folder())
        return home, packages


def memory_for(modules: tuple[str, ...]) -> float:
    """GiB of address space that a process may add to what is mapped: more for the large stack."""
    large = {"transformers", "trl", "peft", "datasets"}
    used = {re.split(r"[.:]", name)[0] for name in modules}
    return (2 if large & used else 1) * isolate.MEMORY / (1 << 30)


def package_folder() -> Path:
    """Where glassbox lies. Importing it to find out would cost every caller an import of torch."""
    import importlib.util

    return Path(importlib.util.find_spec("glassbox").origin).parent


def _argv(fd: int, tier: str, data: str, memory: float, readable: list[str], writable: list[str],
          modules: tuple[str, ...]) -> list[str]:  # fmt: skip
    rights = json.dumps([readable, writable])
    return [sys.executable, "-m", "child.zygote", str(fd), tier, data, str(memory), rights,
            *modules]  # fmt: skip


def _env(home: Path, packages: Path) -> dict[str, str]:
    more = {"HOME": str(home), "PYTHONPATH": str(packages), "TMPDIR": str(home),
            "PATH": os.environ.get("PATH", "")}  # fmt: skip
    return SETTINGS | _kept() | more


def _kept() -> dict[str, str]:
    return {k: os.environ[k] for k in KEPT if k in os.environ}
