"""The sandbox blocks what it must block, tried from the inside; without it grading refuses."""

import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import NAME, RIGHT, alive, answered, code, gone, hand_in, make_course

from autograder import cli, runner, sandbox
from autograder.course import Course
from autograder.intake import Submission, read_release, take
from autograder.lab import read_lab

ROOT = Path(__file__).parents[1]
isolated = pytest.mark.skipif(
    bool(sandbox.why_not()) and os.environ.get("CI") != "true",
    reason=f"no sandbox on this machine: {sandbox.why_not()}",
)

PROBES = """
import json, os, socket, subprocess, sys, time

def tried(action):
    try:
        return f"did it: {action()!r}"
    except BaseException as error:
        return type(error).__name__

def fill(path, size):
    with open(path, "wb") as file:
        file.write(bytes(size))

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

seen = {
    "solutions": tried(lambda: os.listdir(ROOT + "/solutions")),
    "home of the caller": tried(lambda: os.listdir(os.path.expanduser("~root"))),
    "passwd": tried(lambda: open("/etc/passwd").read()),
    "network": tried(lambda: socket.create_connection(("127.0.0.1", PORT), 2)),
    "udp": tried(lambda: socket.socket(type=socket.SOCK_DGRAM).sendto(b"x", ("10.0.0.1", 9))),
    "other processes": tried(lambda: [p for p in map(int, filter(str.isdigit, os.listdir("/proc")))
                                      if p > 9]),
    "kill the caller": tried(lambda: os.kill(CALLER, 9)),
    "write to the interpreter": tried(lambda: open(sys.prefix + "/canary", "w")),
    "write to the root": tried(lambda: open("/canary", "w")),
    "write to /dev": tried(lambda: open("/dev/canary", "w")),
    "become root": tried(lambda: os.setuid(0)),
    "mount": tried(lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/tmp"], check=True)),
    "fill the disk": tried(lambda: [fill(f"/tmp/{i}", 40 << 20) for i in range(4)]),
    "a large file": tried(lambda: fill("/dev/shm/x", 100 << 20)),
    "memory": tried(lambda: len(bytearray(20 << 30))),
    "secrets": "SECRET" in str(os.environ),
    "forks": forks(),
}
print(json.dumps(seen))
"""  # fmt: skip


def from_inside(argv: list[str], **changes: object) -> dict[str, object]:
    """Run the probes in the sandbox; `argv` is the interpreter."""
    server = socket.create_server(("127.0.0.1", 0))  # there, and yet not to be reached
    head = f"ROOT = {str(ROOT)!r}\nPORT = {server.getsockname()[1]}\nCALLER = {os.getpid()}\n"
    line = sandbox.command([*argv, "-c", sandbox.LIMITS + head + PROBES], env={"PATH": "/usr/bin"})
    prefix = list(changes.pop("prefix", []))
    done = subprocess.run([*prefix, *line], capture_output=True, text=True, timeout=60, check=False,
                          env={**os.environ, "SECRET": "1"})  # fmt: skip
    server.close()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def expect_harmless(seen: dict[str, object]) -> None:
    made, secrets = seen.pop("forks"), seen.pop("secrets")
    others = seen.pop("other processes")
    assert [k for k, v in seen.items() if str(v).startswith("did it")] == []
    assert others == "did it: []"
    assert secrets is False
    assert made < sandbox.PROCESSES


@isolated
def test_nothing_outside_can_be_read_written_or_reached() -> None:
    expect_harmless(from_inside([sys.executable]))


@isolated
def test_nothing_is_left_running() -> None:
    from_inside([sys.executable])
    assert gone("kill the caller"), alive("kill the caller")


@isolated
@pytest.mark.skipif(os.geteuid() != 0, reason="changes its user")
def test_it_holds_for_a_user_without_rights_too(monkeypatch: pytest.MonkeyPatch) -> None:
    python = Path("/usr/bin/python3")
    if not python.exists() or not shutil.which("setpriv"):
        pytest.skip("needs the system's python3 and setpriv")
    monkeypatch.setattr(os, "geteuid", lambda: 12345)
    folders = [Path(p) for p in ("/usr", "/lib", "/lib64", "/bin") if Path(p).exists()]
    monkeypatch.setattr(sandbox, "_system", lambda: folders)
    user = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
    expect_harmless(from_inside([str(python)], prefix=user))


# --- a submission ----------------------------------------------------------------------------

HOSTILE = """
import os, glob
found = []
for pattern in PLACES:
    for path in glob.glob(pattern):
        try:
            with open(path, "r+b") as file:
                file.write(b"canary")
            found.append(path)
        except OSError:
            pass
print("FOUND", found, os.environ.get("SECRET"))
"""


@isolated
def test_a_hostile_submission_reaches_no_other_and_honest_marks_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    course = make_course(tmp_path)
    lab = read_lab(course, NAME)
    release = read_release(course, lab)
    folder = course.classroom / "submitted"
    honest = hand_in(folder, "ada", answered(release, RIGHT))
    book = course.classroom / "gradebook.db"
    book.write_bytes(b"")
    notebook = answered(release, RIGHT)
    places = [f"{tmp_path}/**", f"{tmp_path}/*/*", str(honest), str(book), f"{ROOT}/solutions/*/*",
              "/etc/*", "/tmp/*/*", f"{sys.prefix}/*"]  # fmt: skip
    notebook.cells.insert(1, code(f"PLACES = {places!r}\n{HOSTILE}"))
    path = hand_in(folder, "mallory", notebook)
    before = honest.read_bytes()
    result = runner.run(lab, take(lab, release, Submission("mallory", NAME, path)))
    assert result.tier == sandbox.TIER
    assert [q.status for q in result.questions] == ["pass", "pass"]
    printed = str(result.outputs)
    assert "FOUND" in printed
    assert str(tmp_path) not in printed.split("FOUND")[1].replace(str(path), "")
    assert honest.read_bytes() == before
    assert book.read_bytes() == b""


@isolated
def test_a_labs_data_can_be_read_but_not_changed(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    data = course.solutions / NAME / "data"
    data.mkdir()
    (data / "words.txt").write_text("seven words")
    lab = read_lab(course, NAME)
    release = read_release(course, lab)
    notebook = answered(release, RIGHT)
    notebook.cells.insert(1, code("print(open('data/words.txt').read())\nopen('mine', 'w')"))
    notebook.cells.insert(2, code("open('data/words.txt', 'w')"))
    path = hand_in(course.classroom / "submitted", "ada", notebook)
    result = runner.run(lab, take(lab, release, Submission("ada", NAME, path)))
    assert "seven words" in str(result.outputs)
    assert "Read-only file system" in str(result.outputs)
    assert (data / "words.txt").read_text() == "seven words"
    assert [q.status for q in result.questions] == ["pass", "pass"]


# --- refusing --------------------------------------------------------------------------------


def test_without_a_sandbox_grading_refuses_and_says_what_to_type(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    own = make_course(tmp_path)
    release = read_release(own, read_lab(own, NAME))
    hand_in(own.classroom / "submitted", "ada", answered(release, RIGHT))
    monkeypatch.chdir(tmp_path)
    reason = "bubblewrap is not installed; type: sudo apt install bubblewrap"
    monkeypatch.setattr(sandbox, "why_not", lambda: reason)
    assert cli.main(["grade"]) == 2
    told = capsys.readouterr().err
    assert "sudo apt install bubblewrap" in told
    assert "--unsafe-no-sandbox" in told
    assert not list((own.classroom / "results").glob("*/*.json"))
    sandbox.available.cache_clear()
    assert cli.main(["grade", "--unsafe-no-sandbox", "--workers", "1"]) == 0
    assert "NOT isolated" in capsys.readouterr().err
    stored = json.loads((own.classroom / "results" / NAME / "ada.json").read_text())
    assert stored["tier"] == "none"
    sandbox.available.cache_clear()


def test_a_missing_bubblewrap_is_told_with_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    sandbox.why_not.cache_clear()
    try:
        assert "type: sudo apt install bubblewrap" in sandbox.why_not()
    finally:
        sandbox.why_not.cache_clear()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ("bwrap: setting up uid map: Permission denied", "User namespaces are not allowed"),
        ("bwrap: No permissions to create new namespace", "User namespaces are not allowed"),
        ("bwrap: execvp /home/a/python: Permission denied", "where other users cannot read it"),
    ],
)
def test_what_bubblewrap_says_becomes_advice(said: str, words: str) -> None:
    assert words in sandbox._advice(said)
