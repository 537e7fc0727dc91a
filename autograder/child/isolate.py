"""Close a process in: namespaces of its own, limits, no privileges, a filter on system calls.

`bubblewrap` has already taken away network, files and other processes from the warm process. What
stands here keeps one student from the next: `enter_namespaces` gives a private /tmp and a process
tree that dies as one; `limit` caps it; `filter_calls` refuses the system calls that could undo all
this. `landlock` stands in for bubblewrap where namespaces are forbidden. Linux on x86-64 and
aarch64 only, by ctypes: there is nothing to install.
"""

import ctypes
import gc
import os
import platform
import resource
import struct
import sys
from pathlib import Path

LIBC = ctypes.CDLL(None, use_errno=True)
NEWNS, NEWUSER, NEWPID, NEWIPC, NEWUTS = 0x20000, 0x10000000, 0x20000000, 0x8000000, 0x4000000
NOSUID, NODEV, BIND, RECURSIVE = 2, 4, 4096, 16384
PARENT_DEATH, DUMPABLE, SECCOMP, BOUNDING_DROP, SUBREAPER, NO_NEW_PRIVS = 1, 4, 22, 24, 36, 38
INSIDE = 1000  # the user that a student's process is, inside
MEMORY, PROCESSES, FILE_BYTES, OPEN_FILES, TMP_BYTES = 4 << 30, 64, 64 << 20, 256, 64 << 20

EPERM, ENOSYS = 1, 38
NUMBERS = {  # of the system calls that are refused
    "x86_64": {
        "ptrace": 101, "unshare": 272, "setns": 308, "mount": 165, "umount2": 166, "chroot": 161,
        "pivot_root": 155, "bpf": 321, "keyctl": 250, "add_key": 248, "request_key": 249,
        "perf_event_open": 298, "userfaultfd": 323, "process_vm_readv": 310,
        "process_vm_writev": 311, "kexec_load": 246, "kexec_file_load": 320, "init_module": 175,
        "finit_module": 313, "delete_module": 176, "swapon": 167, "reboot": 169,
        "name_to_handle_at": 303, "open_by_handle_at": 304, "clone": 56, "socket": 41,
    },
    "aarch64": {
        "ptrace": 117, "unshare": 97, "setns": 268, "mount": 40, "umount2": 39, "chroot": 51,
        "pivot_root": 41, "bpf": 280, "keyctl": 219, "add_key": 217, "request_key": 218,
        "perf_event_open": 241, "userfaultfd": 282, "process_vm_readv": 270,
        "process_vm_writev": 271, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105,
        "finit_module": 273, "delete_module": 106, "swapon": 224, "reboot": 142,
        "name_to_handle_at": 264, "open_by_handle_at": 265, "clone": 220, "socket": 198,
    },
}  # fmt: skip
NEWER = {  # the same numbers on every machine
    "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427, "open_tree": 428,
    "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
}  # fmt: skip
CLONE3 = 435
AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
COLLAPSE, HUGE = 25, 2 << 20  # advice on memory, since Linux 6.1; size of a huge page
UNIX = 1  # the only family of sockets: no network, on any tier


class NoIsolation(Exception):
    """A step failed; the text says which. The process must not run student code."""


def _do(result: int, what: str) -> int:
    if result < 0:
        raise NoIsolation(f"{what}: {os.strerror(ctypes.get_errno())}")
    return result


def prctl(option: int, value: int = 0) -> None:
    """One setting of this process."""
    _do(LIBC.prctl(option, value, 0, 0, 0), f"prctl {option}")


def enter_namespaces() -> None:
    """A user, mounts and (for children) processes of its own, with an empty private /tmp."""
    uid, gid = os.getuid(), os.getgid()
    prctl(DUMPABLE, 1)  # else /proc/self belongs to root
    _do(LIBC.unshare(NEWUSER), "user namespace")
    Path("/proc/self/setgroups").write_text("deny")
    Path("/proc/self/uid_map").write_text(f"{INSIDE} {uid} 1")
    Path("/proc/self/gid_map").write_text(f"{INSIDE} {gid} 1")
    _do(LIBC.unshare(NEWNS | NEWPID | NEWIPC | NEWUTS), "namespaces")
    options = f"size={TMP_BYTES},nr_inodes=10000,mode=1777".encode()
    kept = {p: os.open(p, os.O_PATH) for p in {sys.prefix, sys.base_prefix} if _in_tmp(p)}
    for folder in (b"/tmp", b"/dev/shm"):
        _do(LIBC.mount(b"tmpfs", folder, b"tmpfs", NOSUID | NODEV, options), folder.decode())
    for path, opened in kept.items():  # this Python, where it lies below /tmp
        os.makedirs(path, mode=0o755)
        source = f"/proc/self/fd/{opened}".encode()
        _do(LIBC.mount(source, path.encode(), None, BIND | RECURSIVE, None), path)
        os.close(opened)


def _in_tmp(path: str) -> bool:
    return Path(path).is_relative_to("/tmp")


def limit(memory: int, seconds: int) -> None:
    """Cap memory (beyond what is mapped already), processes, files and processor time."""
    for what, most in (
        ("AS", mapped() + memory), ("NPROC", PROCESSES), ("FSIZE", FILE_BYTES),
        ("NOFILE", OPEN_FILES), ("CORE", 0), ("CPU", seconds),
    ):  # fmt: skip
        resource.setrlimit(getattr(resource, f"RLIMIT_{what}"), (most, most))


def mapped() -> int:
    """Bytes of address space that this process has already."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def ready_to_fork() -> None:
    """Tidy memory before many forks: nothing for the collector to touch, and huge pages.

    A fork of this process then copies a table of hundreds of entries, not of 60,000. A kernel
    that cannot do so refuses, and nothing else changes.
    """
    gc.collect()
    gc.freeze()
    if sys.platform != "linux":
        return
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, rights, _, _, inode, *name = line.split()
        if rights == "rw-p" and inode == "0" and name in ([], ["[heap]"]):
            begin, end = (int(x, 16) // HUGE * HUGE for x in span.split("-"))
            begin += HUGE
            if begin < end:
                LIBC.madvise(ctypes.c_void_p(begin), ctypes.c_size_t(end - begin), COLLAPSE)


def drop_privileges() -> None:
    """Give up every capability, for good."""
    for capability in range(64):
        LIBC.prctl(BOUNDING_DROP, capability, 0, 0, 0)  # beyond the kernel's last one: an error
    header, nothing = struct.pack("<II", 0x20080522, 0), bytes(24)
    _do(LIBC.capset(header, nothing), "capset")
    prctl(NO_NEW_PRIVS, 1)


def filter_calls() -> None:
    """Refuse system calls that reach beyond this process; needs NO_NEW_PRIVS."""
    machine = platform.machine()
    if machine not in NUMBERS:
        raise NoIsolation(f"no filter of system calls for {machine}")
    program = _program(machine)
    buffer = ctypes.create_string_buffer(program, len(program))

    class Program(ctypes.Structure):
        _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]

    filled = Program(len(program) // 8, ctypes.addressof(buffer))
    _do(LIBC.prctl(SECCOMP, 2, ctypes.byref(filled), 0, 0), "seccomp")


def _program(machine: str) -> bytes:
    """The filter in the kernel's small language: (operation, jump if true, if false, constant)."""
    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    allow, kill, refuse = 0x7FFF0000, 0x80000000, 0x00050000
    numbers = NUMBERS[machine] | NEWER
    code = [(load, 0, 0, 4), (equal, 1, 0, AUDIT[machine]), (give, 0, 0, kill), (load, 0, 0, 0)]
    if machine == "x86_64":  # the second table of calls, under other numbers
        code += [(at_least, 0, 1, 0x40000000), (give, 0, 0, refuse | ENOSYS)]
    code += [(equal, 0, 1, CLONE3), (give, 0, 0, refuse | ENOSYS)]  # EPERM would break threads
    for name, number in numbers.items():
        if name == "clone":  # threads and processes, but no new namespaces
            code += [(equal, 0, 4, number), (load, 0, 0, 16), (any_bit, 0, 1, 0x7E020080),
                     (give, 0, 0, refuse | EPERM), (give, 0, 0, allow)]  # fmt: skip
        elif name == "socket":
            code += [(equal, 0, 4, number), (load, 0, 0, 16), (equal, 1, 0, UNIX),
                     (give, 0, 0, refuse | EPERM), (give, 0, 0, allow)]  # fmt: skip
        else:
            code += [(equal, 0, 1, number), (give, 0, 0, refuse | EPERM)]
    code.append((give, 0, 0, allow))
    return b"".join(struct.pack("<HBBI", *line) for line in code)


# --- landlock --------------------------------------------------------------------------------

CREATE, ADD, RESTRICT = 444, 445, 446
READ = 0b1101  # execute, read a file, read a folder
WRITE = 0b111_1111_1111_1111  # and write, remove, make, refer, truncate
ALL, TCP, SCOPES = 0b1111_1111_1111_1111, 0b11, 0b11


def landlock_version() -> int:
    """The kernel's version of landlock, 0 where there is none; 6 and above keep signals in."""
    return max(LIBC.syscall(CREATE, None, ctypes.c_size_t(0), 1), 0)


def landlock(readable: list[str], writable: list[str]) -> None:
    """From here on: these folders, no TCP, no signals to processes outside. Children inherit it."""
    rules = struct.pack("<QQQ", ALL, TCP, SCOPES)
    handle = _do(LIBC.syscall(CREATE, rules, ctypes.c_size_t(len(rules)), 0), "landlock")
    for folders, rights in ((readable, READ), (writable, WRITE)):
        for folder in folders:
            opened = os.open(folder, os.O_PATH | os.O_CLOEXEC)
            allowed = rights if os.path.isdir(folder) else rights & 0b100_0000_0000_0111
            rule = struct.pack("<Qi", allowed, opened)
            _do(LIBC.syscall(ADD, handle, 1, rule, 0), f"landlock {folder}")
            os.close(opened)
    prctl(NO_NEW_PRIVS, 1)
    _do(LIBC.syscall(RESTRICT, handle, 0), "landlock")
    os.close(handle)
