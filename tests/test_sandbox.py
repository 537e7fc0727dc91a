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
# A machine as seen from a container that forbids namespaces, or by a user: the same files, but this
# Python no longer below a folder that only root may enter.
OPEN = ["bwrap", "--dev-bind", "/", "/", "--perms", "0755", "--tmpfs", "/root"]
for folder in {Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()}:
    if folder.is_relative_to("/root"):
        for parent in [p for p in reversed(folder.parents) if p.is_relative_to("/root/")][1:]:
            OPEN += ["--perms", "0755", "--dir", str(parent)]
        OPEN += ["--ro-bind", str(folder), str(folder)]
USER = ["setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups"]
WAYS = {  # how the grader runs -> the tier that it should use, what starts it
    "as it is": ("bubblewrap", []),
    "as a user": ("bubblewrap", [*OPEN, *USER]),
    "in a container": ("landlock", OPEN),
    "as a user in a container": ("landlock", [*OPEN, *USER]),
    "with Python below /tmp": (
        "bubblewrap",
        ["bwrap", "--dev-bind", "/", "/", "--ro-bind", sys.prefix, "/tmp/glassbox-python"],
    ),
}


def from_inside(way: str) -> dict[str, object]:
    """What the probes saw in a student's process."""
    tier, prefix = WAYS[way]
    if prefix and (os.geteuid() != 0 or not shutil.which("setpriv")):
        pytest.skip("plays another machine or user, which takes root and setpriv")
    server = socket.create_server(("127.0.0.1", 0))  # there, and yet not to be reached
    python = Path(prefix[-1] if "below" in way else sys.prefix, "bin/python")
    line = [*prefix, str(python), str(ROOT / "tests/inside.py"), tier,
            str(server.getsockname()[1])]  # fmt: skip
    done = subprocess.run(line, capture_output=True, text=True, timeout=120, check=False, cwd="/",
                          env={**os.environ, "SECRET": "1", "PYTHONPATH": str(ROOT),
                               "TMPDIR": "/tmp"})  # fmt: skip
    server.close()
    if "below" in way:
        Path(prefix[-1]).rmdir()  # bubblewrap has made it
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@isolated
@pytest.mark.parametrize("way", WAYS)
def test_nothing_outside_can_be_read_written_or_reached(way: str) -> None:
    seen = from_inside(way)
    made = seen.pop("forks")
    assert [k for k, v in seen.items() if str(v).startswith("did it")] == []
    assert made < 300
    assert gone("plays a student"), alive("plays a student")


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
    monkeypatch.setattr(sandbox, "why_not", lambda tier="": reason)
    sandbox.available.cache_clear()
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
