"""A class graded in parts and merged: the same marks as in one run, and no file is believed."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import NAME, RIGHT, answered, empty_gradebook, hand_in

from autograder import cli
from autograder.course import Course, CourseError
from autograder.intake import Submission, read_release
from autograder.lab import read_lab
from autograder.merge import merge
from autograder.shard import FORMAT, Shard

ENV = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
STUDENTS = {"ada", "bob", "dave", "eve", "mallory", "_1+1_x_"}
PARTS = ("1/3", "2/3", "3/3")


def shelf(course: Course) -> Path:
    return course.classroom / "shards"


def empty(course: Course) -> None:
    """Forget all marks of a class, but not what was handed in."""
    for name in ("results", "autograded"):
        shutil.rmtree(course.classroom / name, ignore_errors=True)
    empty_gradebook(course)


def state(course: Course) -> tuple[bytes, dict[str, str], list[tuple[Any, ...]]]:
    """results.csv, the marked copies and the marks in the gradebook."""
    from autograder.ledger import Ledger

    home = course.classroom / "autograded"
    copies = {str(p.relative_to(home)): p.read_text() for p in home.rglob("*.ipynb")}
    with Ledger(course) as ledger:
        marks = [(s.student.id, s.timestamp, g.name, g.auto_score, g.manual_score,
                  g.needs_manual_grade)
                 for s in ledger.book.assignment_submissions(NAME)
                 for n in s.notebooks for g in n.grades]  # fmt: skip
    return (course.classroom / "results" / "results.csv").read_bytes(), copies, sorted(marks)


@pytest.fixture(scope="module")
def parts(classroom: Course, tmp_path_factory: pytest.TempPathFactory) -> Course:
    """The class of six, graded in three shards by the command line, not merged."""
    root = tmp_path_factory.mktemp("parts")
    shutil.copytree(classroom.root, root, dirs_exist_ok=True)
    course = Course(root)
    empty(course)
    (course.classroom / "gradebook.db").unlink()
    before = Path.cwd()
    os.chdir(root)
    try:
        for part in PARTS:
            assert cli.main(["grade", "--shard", part, "--workers", "2"]) == 0
    finally:
        os.chdir(before)
    assert not (course.classroom / "gradebook.db").exists()
    assert not (course.classroom / "results").exists()
    empty_gradebook(course)
    return course


@pytest.fixture
def own(parts: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Course:
    """A copy of the graded parts that a test may change, and the current folder."""
    shutil.copytree(parts.root, tmp_path / "own")
    monkeypatch.chdir(tmp_path / "own")
    return Course(tmp_path / "own")


def file_of(course: Course, student: str) -> Path:
    (path,) = shelf(course).glob(f"*/{NAME}/{student}.json")
    return path


def test_each_submission_is_in_one_part() -> None:
    everyone = [Submission(f"s{i}", lab, None) for i in range(200) for lab in ("lab01", "lab02")]
    for count in (1, 2, 7):
        shards = [Shard(i, count) for i in range(1, count + 1)]
        assert all(sum(s.has(one) for s in shards) == 1 for one in everyone)
    sizes = [sum(Shard(i, 4).has(one) for one in everyone) for i in range(1, 5)]
    assert min(sizes) > 70
    assert Shard(1, 5).has(Submission("ada", "lab01_attention", None))  # on every machine
    assert Shard(4, 5).has(Submission("Zoë", "lab01_attention", None))


@pytest.mark.parametrize("text", ["0/3", "4/3", "1", "a/b", "1/0", "-1/3", "1/3/5", "1/3\n", ""])
def test_a_shard_is_written_i_of_n(text: str) -> None:
    with pytest.raises(CourseError, match="write i/n"):
        Shard.parse(text)


def test_three_parts_and_a_merge_are_one_run(classroom: Course, own: Course) -> None:
    """results.csv byte for byte, the marked copies and the gradebook."""
    assert {p.stem for p in shelf(own).rglob("*.json")} == STUDENTS
    done = merge(own, [shelf(own)])
    assert (done.graded, done.kept, done.refused, done.waiting) == (6, 0, [], 3)
    assert state(own) == state(classroom)


def test_merged_twice_changes_nothing(own: Course, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [str(shelf(own) / f"{i}-of-3") for i in (3, 1, 2)]
    assert cli.main(["merge", *folders]) == 0
    assert "6 entered now, 0 had their result" in capsys.readouterr().out
    before = state(own)
    assert cli.main(["merge", *folders, str(shelf(own))]) == 0
    out = capsys.readouterr().out
    assert "0 entered now, 6 had their result" in out
    assert "3 written answers wait" in out
    assert state(own) == before
    assert merge(own, [shelf(own)], force=True).graded == 6
    assert state(own) == before


def test_a_later_run_has_nothing_to_do(own: Course, capsys: pytest.CaptureFixture[str]) -> None:
    merge(own, [shelf(own)])
    assert cli.main(["grade"]) == 0
    assert "0 graded now, 6 had their result" in capsys.readouterr().out


def test_no_hidden_test_is_in_the_files(own: Course) -> None:
    for path in shelf(own).rglob("*.json"):
        cells = json.dumps(json.loads(path.read_text())["merged"])
        assert "-1234" not in cells
        assert "HIDDEN" not in cells


def test_only_what_changed_is_run_again(own: Course, capsys: pytest.CaptureFixture[str]) -> None:
    """A new hand-in and a broken file; until then the old result is refused by the merge."""
    lab = read_lab(own, NAME)
    hand_in(own.classroom / "submitted", "bob", answered(read_release(own, lab), RIGHT))
    assert cli.main(["merge", str(shelf(own))]) == 1
    err = capsys.readouterr().err
    assert "bob.json: made for another version of what was handed in" in err
    file_of(own, "dave").write_text("{")
    graded = 0
    for part in PARTS:
        assert cli.main(["grade", "--shard", part, "--workers", "1"]) == 0
        graded += int(capsys.readouterr().out.split(": ")[1].split()[0])
    assert graded == 2
    assert merge(own, [shelf(own)]).graded == 1


def change(path: Path, do: Callable[[dict[str, Any]], object]) -> None:
    stored = json.loads(path.read_text())
    do(stored)
    path.write_text(json.dumps(stored))


def first_cell(stored: dict[str, Any]) -> dict[str, Any]:
    return next(iter(stored["result"]["questions"][1]["cells"].values()))


BAD = {
    "extra key": (lambda s: s.update(more=1), "has not the form"),
    "extra key inside": (lambda s: first_cell(s).update(bonus=9), "has not the form"),
    "missing key": (lambda s: s.pop("key"), "has not the form"),
    "wrong type": (lambda s: first_cell(s).update(points=True), "has not the form"),
    "no number": (lambda s: first_cell(s).update(points=float("nan")), "cannot be read"),
    "half a letter": (lambda s: first_cell(s).update(message="\ud800"), "cannot be read"),
    "format": (lambda s: s.update(format=FORMAT + 1), "another format"),
    "engine": (lambda s: s.update(engine="kernel-0"), "made by engine 'kernel-0'"),
    "secret": (lambda s: s.update(secret="0" * 32), "copy classroom/secret from here"),
    "lab": (lambda s: s.update(lab_key="0" * 64), f"another version of {NAME}"),
    "key": (lambda s: s.update(key="0" * 64), "another version of what was handed in"),
    "other student": (lambda s: s["result"].update(student="ada"), "not those of its name"),
    "status": (lambda s: first_cell(s).update(status="great"), "not possible"),
    "half ungraded": (lambda s: first_cell(s).update(status="ungraded"), "not possible"),
    "question": (lambda s: s["result"]["questions"].pop(), "questions are not those"),
    "cell": (lambda s: s["result"]["questions"][1]["cells"].popitem(), "not possible"),
    "output": (lambda s: s["result"]["outputs"].update(count=[
        {"output_type": "display_data", "metadata": {}, "data": {"text/html": "<script>"}}
    ]), "output that grading never makes"),
    "foreign cell": (lambda s: s["merged"]["cells"][0].update(id="x"), "does not belong"),
    "cell left out": (lambda s: s["merged"]["cells"].pop(), "cells are not those"),
    "cell twice": (lambda s: s["merged"]["cells"].append(s["merged"]["cells"][0]), "not those"),
}  # fmt: skip


def test_bad_files_are_refused_by_name_and_cost_nobody_else(
    classroom: Course, own: Course, capsys: pytest.CaptureFixture[str]
) -> None:
    path = file_of(own, "bob")
    good = path.read_text()
    merge(own, [shelf(own)])
    before = state(own)
    assert before == state(classroom)
    for name, (do, text) in BAD.items():
        path.write_text(good)
        change(path, do)
        done = merge(own, [shelf(own)])
        (line,) = done.refused
        assert line.startswith(str(path)), name
        assert text in line, (name, line)
        assert done.kept == 5
    for raw in (b"", b"{", b"[]", b"\xff\xfe", b"[" * 100_000, good[:-100].encode()):
        path.write_bytes(raw)
        assert len(merge(own, [shelf(own)]).refused) == 1, raw[:9]
    assert cli.main(["merge", str(shelf(own))]) == 1
    assert f"REFUSED {path}: " in capsys.readouterr().err
    assert state(own) == before


def test_files_of_no_lab_or_with_a_strange_name(own: Course) -> None:
    for student, name in (("ada", "lab77_other"), ("-x", NAME), ("a b", NAME), ("=1", NAME)):
        odd = shelf(own) / "more" / name / f"{student}.json"
        odd.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file_of(own, "ada"), odd)
        change(odd, lambda s, who=student: s["result"].update(student=who))
        (line,) = merge(own, [odd.parents[1]]).refused
        assert "no lab of this course" in line or "no student's id" in line
        odd.unlink()


def test_points_stay_between_nothing_and_the_maximum(own: Course) -> None:
    def lift(stored: dict[str, Any]) -> None:
        for q in stored["result"]["questions"]:
            q["points"] = q["max_points"] = 1000
            for cell in q["cells"].values():
                cell["points"] = cell["max_points"] = 1e300 if q["question"] == "double" else -5

    change(file_of(own, "bob"), lift)
    assert not merge(own, [shelf(own)]).refused
    table, _, marks = state(own)
    rows = [line for line in table.decode().splitlines() if line.startswith("bob,")]
    assert [r.split(",")[2:5] for r in rows] == [["double", "3", "3"], ["count", "0", "2"]]
    assert sum(m[3] or 0 for m in marks if m[0] == "bob") == 3


def fail(stored: dict[str, Any]) -> None:
    stored["result"]["questions"][1]["status"] = first_cell(stored)["status"] = "ungraded"


def test_overlapping_parts_must_agree(own: Course) -> None:
    path = file_of(own, "bob")
    twin = shelf(own) / "again" / NAME / "bob.json"
    twin.parent.mkdir(parents=True)
    shutil.copy(path, twin)
    change(twin, lambda s: s["result"].update(seconds=99))
    assert not merge(own, [shelf(own)]).refused
    empty(own)
    change(twin, lambda s: first_cell(s).update(points=0.5))
    done = merge(own, [shelf(own)])
    (line,) = done.refused
    assert str(path) in line
    assert str(twin) in line
    assert done.graded == 5
    assert b"bob" not in state(own)[0]
    change(twin, fail)  # there, not here
    assert (merge(own, [shelf(own)]).graded, b"bob" in state(own)[0]) == (1, True)
    path.unlink()
    assert merge(own, [shelf(own)]).kept == 6


def test_other_marks_than_in_the_gradebook_are_a_matter_for_the_teacher(own: Course) -> None:
    merge(own, [shelf(own)])
    before = state(own)
    change(file_of(own, "bob"), lambda s: first_cell(s).update(points=0.5, status="partial"))
    (line,) = merge(own, [shelf(own)]).refused
    assert "differ from those in the gradebook" in line
    assert state(own) == before
    assert not merge(own, [shelf(own)], force=True).refused
    assert state(own)[2] != before[2]


def test_without_the_hand_ins_the_files_suffice(classroom: Course, own: Course) -> None:
    shutil.rmtree(own.classroom / "submitted")
    assert merge(own, [shelf(own)]).graded == 6
    assert state(own) == state(classroom)


def test_ungraded_is_loud(own: Course, capsys: pytest.CaptureFixture[str],
                          monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("autograder.runner.Host", None)  # no process can be started
    command = ["grade", "--shard", "1/1", "--out", "out", "--student", "ada", "--workers", "1"]
    assert cli.main(command) == 1
    assert f"UNGRADED ada/{NAME}" in capsys.readouterr().err
    assert cli.main(["merge", "out"]) == 1
    assert f"UNGRADED ada/{NAME}" in capsys.readouterr().err
    monkeypatch.undo()
    monkeypatch.chdir(own.root)
    assert cli.main(command) == 0  # tried again
    assert merge(own, [Path("out")]).graded == 1


@pytest.mark.parametrize(("arguments", "text"), [
    (["grade", "--shard", "4/3"], "write i/n"),
    (["grade", "--out", "x"], "--out is for --shard"),
    (["merge", "nowhere"], "is no folder"),
    (["merge", "labs"], "No result files"),
])  # fmt: skip
def test_mistakes_in_the_command(own: Course, capsys: pytest.CaptureFixture[str],
                                 arguments: list[str], text: str) -> None:  # fmt: skip
    assert cli.main(arguments) == 2
    assert text in capsys.readouterr().err


def test_an_empty_part_is_fine(own: Course, capsys: pytest.CaptureFixture[str]) -> None:
    hit = next(i for i in range(1, 1000) if Shard(i, 999).has(Submission("ada", NAME, None)))
    other = hit % 999 + 1
    assert cli.main(["grade", "--student", "ada", "--shard", f"{other}/999"]) == 0
    assert "0 graded now" in capsys.readouterr().out


def test_killed_between_and_run_again(classroom: Course, own: Course) -> None:
    """kill -9 of a shard, and of a merge; what is done is kept, what follows is the same."""
    shutil.rmtree(shelf(own))
    command = [sys.executable, "-m", "autograder", "grade", "--shard", "1/1", "--out", "out",
               "--workers", "1"]  # fmt: skip
    kept = kill_when(own, command, own.root / "out" / NAME, 2)
    assert 2 <= kept < 6
    done = subprocess.run(command, cwd=own.root, env=ENV, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{6 - kept} graded now, {kept} had their result" in done.stdout
    merging = [sys.executable, "-m", "autograder", "merge", "out"]
    kill_when(own, merging, own.classroom / "results" / NAME, 1)
    assert not merge(own, [own.root / "out"]).refused
    assert state(own) == state(classroom)


def kill_when(course: Course, command: list[str], folder: Path, files: int) -> int:
    """Start, kill when so many files are there, and say how many there are then."""
    run = subprocess.Popen(command, cwd=course.root, env=ENV, stderr=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL)  # fmt: skip
    for _ in range(4000):
        if len(list(folder.glob("*.json"))) >= files or run.poll() is not None:
            break
        time.sleep(0.01)
    run.send_signal(signal.SIGKILL)
    run.wait()
    return len(list(folder.glob("*.json")))
