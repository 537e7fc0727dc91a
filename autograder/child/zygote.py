"""The warm process: imports once what submissions import, then forks a process for each of them.

It lives inside the sandbox and holds no secret. Over an inherited socket it is told `spawn` (with
the socket on which the judge will speak to the student's process) and `stop`; it answers each with
one message. While a process runs it watches the memory of all that it has started.

Started as `python -m child.zygote FD TIER MODULE…`, by `autograder.host` alone.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import sys
import threading
import time
import traceback
from pathlib import Path

from . import cells, isolate
from .wire import Closed, Malformed

NOBODY = 65534
WATCH, GRACE = 0.25, 1.0  # seconds between two looks at the memory; for a process to end
ENDED = {9: "its process was killed", 11: "its process crashed (segmentation fault)"}


class Zygote:
    """The loop of the warm process: one student's process at a time."""

    def __init__(self, control: socket.socket, tier: str, data: str, memory: int) -> None:
        self.control, self.tier, self.data, self.memory = control, tier, data, memory
        self.pid = 0  # of the process that is running, or of its init
        self.why = ""

    def run(self) -> None:
        """Serve until the other side hangs up."""
        while True:
            ready, _, _ = select.select([self.control], [], [], WATCH if self.pid else None)
            if not ready:
                self._watch()
                continue
            text, fds, _, _ = socket.recv_fds(self.control, 4096, 1)
            if not text:
                return self._end()
            message = json.loads(text)
            if message["do"] == "spawn":
                self._tell(self._spawn(fds[0], message["seconds"]))
            else:
                self._tell({"why": self._end(message["died"])})

    def _tell(self, message: dict) -> None:
        self.control.send(json.dumps(message).encode())

    def _spawn(self, fd: int, seconds: int) -> dict:
        self._end()
        self.why = ""
        start = _behind_init if self.tier == "bubblewrap" else _directly
        try:
            self.pid = start(lambda: self._student(fd, seconds))
        except (OSError, isolate.NoIsolation) as error:
            return {"error": f"{type(error).__name__}: {error}"}
        finally:
            os.close(fd)
        return {"pid": self.pid}

    def _student(self, fd: int, seconds: int) -> None:
        """In the new process: close it in, then serve the judge. Never returns."""
        code = 1
        try:
            sock = socket.socket(fileno=fd)
            _close_all_but(fd)
            _prepare_home(self.tier, self.data)
            isolate.limit(self.memory, seconds)
            if self.tier == "bubblewrap":
                isolate.drop_privileges()
            else:
                isolate.prctl(isolate.NO_NEW_PRIVS, 1)
            if self.tier == "landlock":
                isolate.landlock(["/"], ["/"])  # nested: signals end at this process's children
            if self.tier != "none":
                isolate.filter_calls()
            cells.seed(0)
            cells.Desk(sock).serve()
        except (Closed, Malformed):
            code = 0
        except BaseException:
            with contextlib.suppress(BaseException):
                Path("error").write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def _watch(self) -> None:
        """Notice the end of the process, and end it if all together take too much memory."""
        if _memory() > 2 * self.memory:
            self.why = "oom"
            self._kill()

    def _kill(self, gone: bool = False) -> None:
        if not gone:
            os.kill(self.pid, signal.SIGKILL)
        if self.tier == "landlock":  # no tree that dies as one: all that this one may signal
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(-1, signal.SIGKILL)
        elif self.tier == "none":
            _sweep()

    def _end(self, died: bool = False) -> str:
        """Kill and reap what runs; say how it ended by itself, if it did."""
        if not self.pid:
            return ""
        done, status = os.waitpid(self.pid, os.WNOHANG)
        end = time.monotonic() + GRACE
        while died and not done and time.monotonic() < end:  # it has hung up, it is on its way
            time.sleep(0.005)
            done, status = os.waitpid(self.pid, os.WNOHANG)
        if done:
            code = os.waitstatus_to_exitcode(status)
            number = -code if code < 0 else code - 128 if code > 128 else 0
            self.why = self.why or ENDED.get(number, "")
        self._kill(gone=bool(done))
        if not done:
            os.waitpid(self.pid, 0)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, 0)[0]:  # what it left behind
                pass
        self.pid = 0
        if self.tier != "bubblewrap":
            _empty(Path.home())
        return self.why


# --- starting a process ----------------------------------------------------------------------


def _directly(student) -> int:
    pid = os.fork()
    if pid == 0:
        os.setsid()
        student()
    return pid


def _behind_init(student) -> int:
    """In namespaces of its own, behind a first process whose death ends everything in them."""
    reading, writing = os.pipe()
    first = os.fork()
    if first == 0:
        try:
            isolate.enter_namespaces()
            init = os.fork()
            if init == 0:
                _be_init(student)
            os.write(writing, str(init).encode())
        except BaseException as error:
            os.write(writing, f"!{error}".encode())
        finally:
            os._exit(0)
    os.close(writing)
    said = os.read(reading, 4096).decode()
    os.close(reading)
    os.waitpid(first, 0)
    if not said or said.startswith("!"):
        raise isolate.NoIsolation(said[1:] or "the first process died")
    return int(said)


def _be_init(student) -> None:
    """Process 1 of the new tree: start the student's, reap orphans, end with its exit code."""
    os.setsid()
    pid = os.fork()
    if pid == 0:
        student()
    _close_all_but(-1)
    isolate.prctl(isolate.DUMPABLE, 0)
    while True:
        done, status = os.wait()
        if done == pid:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _close_all_but(fd: int) -> None:
    """Close every file but one, and point the standard streams nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    low = 3
    for keep in sorted({fd} - {-1}):
        os.closerange(low, keep)
        low = keep + 1
    os.closerange(low, 65536)


def _prepare_home(tier: str, data: str) -> None:
    """An empty folder to work in, with the lab's data in it."""
    home = Path.home()
    home.mkdir(mode=0o700, exist_ok=True)
    os.chdir(home)
    if data and not Path("data").is_symlink():
        Path("data").symlink_to(data)


# --- memory and leftovers --------------------------------------------------------------------


def _others() -> list[int]:
    """The processes that this one has started, with all of theirs, oldest last."""
    parents: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                stat = Path(entry.path, "stat").read_text().rpartition(")")[2].split()
                parents.setdefault(int(stat[1]), []).append(int(entry.name))
    found, queue = [], [os.getpid()]
    while queue:
        own = parents.get(queue.pop(), [])
        found += own
        queue += own
    return found


def _memory() -> int:
    """Bytes that they hold together, shared pages counted once where that can be seen."""
    total = 0
    for pid in _others():
        with contextlib.suppress(OSError, ValueError, IndexError):
            text = Path(f"/proc/{pid}/smaps_rollup").read_text()
            total += 1024 * int(text.split("\nPss:")[1].split()[0])
    return total


def _sweep() -> None:
    """Kill them all; stopped first, so that none can start another meanwhile."""
    seen: set[int] = set()
    while new := set(_others()) - seen:
        seen |= new
        for pid in new:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGSTOP)
    for pid in seen:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _empty(folder: Path) -> None:
    for entry in os.scandir(folder) if folder.is_dir() else ():
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                os.unlink(entry.path)


# --- start -----------------------------------------------------------------------------------


def main() -> None:
    """Close in, import, say so, serve."""
    fd, tier, data, gigabytes, rights, *modules = sys.argv[1:]
    control = socket.socket(fileno=int(fd))
    control.set_inheritable(False)
    readable, writable = json.loads(rights)
    try:
        if os.getuid() == 0 and tier != "none":
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        os.umask(0o077)
        if tier == "landlock":
            isolate.landlock(readable, writable)
        isolate.prctl(isolate.SUBREAPER, 1)
        for module in modules:
            cells.warm(module)
        sys.modules["autograder"] = None  # none of a student's business
    except BaseException as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
        return
    isolate.ready_to_fork()
    control.send(json.dumps({"ready": True, "threads": threading.active_count()}).encode())
    Zygote(control, tier, data, int(float(gigabytes) * (1 << 30))).run()


if __name__ == "__main__":
    main()
