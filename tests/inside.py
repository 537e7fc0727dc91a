"""Started by test_sandbox: play a student in a tier of the sandbox and print what could be done."""

import os
import sys

from autograder.host import Host
from autograder.judge import Student

PROBES = """
import ctypes, json, os, socket, subprocess, sys, time
marker = "plays a student"

def tried(action):
    try:
        return f"did it: {action()!r}"
    except BaseException as error:
        return type(error).__name__

def fill(path, size):
    with open(path, "wb") as file:
        file.write(bytes(size))

def refused(result):
    if result >= 0:
        return result
    raise OSError(ctypes.get_errno())

def forks():
    made = 0
    try:
        while made < 2000:
            if os.fork() == 0:
                time.sleep(60)
                os._exit(0)
            made += 1
    except OSError:
        return made

libc = ctypes.CDLL(None, use_errno=True)
seen = {
    "solutions": tried(lambda: os.listdir(ROOT + "/solutions")),
    "home of the caller": tried(lambda: os.listdir("/root/.ssh")),
    "passwd": tried(lambda: open("/etc/passwd").read()),
    "network": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
    "udp": tried(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("10.0.0.1", 9))),
    "abstract socket": tried(lambda: socket.socket(socket.AF_UNIX).connect("\\0" + MARK)),
    "environment of process 1": tried(lambda: open("/proc/1/environ").read()),
    "environment of the parent": tried(lambda: open(f"/proc/{os.getppid()}/environ").read()),
    "kill the caller": tried(lambda: os.kill(CALLER, 9)),
    "trace the parent": tried(lambda: refused(libc.ptrace(16, os.getppid(), 0, 0))),
    "write to the interpreter": tried(lambda: open(sys.prefix + "/canary", "w")),
    "write to the root": tried(lambda: open("/canary", "w")),
    "write to /dev": tried(lambda: open("/dev/canary", "w")),
    "become root": tried(lambda: os.setuid(0)),
    "a new user namespace": tried(lambda: refused(libc.unshare(0x10000000))),
    "mount": tried(lambda: refused(libc.mount(b"x", b"/tmp", b"tmpfs", 0, None))),
    "a large file": tried(lambda: fill("x", 100 << 20)),
    "memory": tried(lambda: len(bytearray(20 << 30))),
    "core dump": tried(lambda: __import__("resource").setrlimit(4, (1 << 20, 1 << 20))),
    "import autograder": tried(lambda: __import__("autograder.lab")),
    "secret": tried(lambda: os.environ["SECRET"]),
    "fill the disk": tried(lambda: [fill(f"/tmp/{i}", 40 << 20) for i in range(4)]),
    "forks": forks(),
}
print(json.dumps(seen))
"""  # fmt: skip


def main() -> None:
    """Start, ask, print."""
    tier, port = sys.argv[1:]
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    head = f"ROOT, PORT, CALLER, MARK = {root!r}, {port}, {os.getpid()}, 'x'\n"
    host = Host(tier)
    student = Student(host.spawn(60))
    reply, _ = student.ask("exec", source=head + PROBES, name="probes")
    print(reply["printed"], reply["failed"] or "", file=sys.stderr)
    print(reply["printed"].strip().splitlines()[-1])
    host.stop()
    host.close()


if __name__ == "__main__":
    main()
