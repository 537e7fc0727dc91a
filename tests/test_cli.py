"""The command line: what it prints, how it exits, what it does not import."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from conftest import NAME, RIGHT, answered, code, hand_in, make_course

from autograder import cli
from autograder.course import Course
from autograder.doctor import Finding
from autograder.intake import read_release
from autograder.lab import read_lab

ROOT = Path(__file__).parents[1]
ENV = os.environ | {"PYTHONPATH": str(ROOT)}


@pytest.fixture
def inside(own_class: Course, monkeypatch: pytest.MonkeyPatch) -> Course:
    monkeypatch.chdir(own_class.root)
    return own_class


HELP = """
import sys
from autograder import cli
try:
    cli.main(["--help"])
except SystemExit:
    pass
print(sorted({"torch", "nbgrader", "jupytext", "numpy"} & set(sys.modules)))
"""


def test_help_imports_nothing_heavy() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], env=ENV, capture_output=True, text=True)
    for verb in ("build", "grade", "feedback", "export", "report", "audit", "doctor", "serve"):
        assert verb in done.stdout
    assert done.stdout.endswith("[]\n"), done.stdout


def test_outside_a_course_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert cli.main(["grade"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("autograder: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(("arguments", "text"), [
    (["grade", "lab77"], "is no lab of this course"),
    (["grade", "--submissions", "nowhere"], "is no folder"),
    (["grade", "--workers", "0"], "at least 1"),
    (["grade", "--student", "nobody"], "No submissions found"),
    (["report", "lab77"], "is no lab of this course"),
])  # fmt: skip
def test_mistakes_in_the_command(inside: Course, capsys: pytest.CaptureFixture[str],
                                 arguments: list[str], text: str) -> None:  # fmt: skip
    assert cli.main(arguments) == 2
    assert text in capsys.readouterr().err


def test_grade_prints_the_class(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["grade", "lab90"]) == 0
    out = capsys.readouterr().out
    assert "ada      lab90_fixture  5/5     2 pass" in out
    assert "0 graded now, 6 had their result" in out
    assert "3 written answers wait for you" in out


def test_ungraded_is_exit_code_1(inside: Course, capsys: pytest.CaptureFixture[str],
                                 monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr("autograder.runner.Host", None)  # no process can be started
    assert cli.main(["grade", "--student", "ada", "--force", "--workers", "1"]) == 1
    captured = capsys.readouterr()
    assert f"UNGRADED ada/{NAME}" in captured.err
    assert "2 ungraded" in captured.out


def test_feedback_and_export(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["feedback", "--student", "bob"]) == 0
    assert cli.main(["export"]) == 0
    out = capsys.readouterr().out
    assert "1 pages in" in out
    assert "marks.csv" in out
    assert "wait" not in out
    assert cli.main(["export", "--format", "moodle"]) == 0
    assert "3 totals wait for a person and are left empty" in capsys.readouterr().out
    assert cli.main(["export", "--format", "canvas", "--include-waiting"]) == 0
    assert capsys.readouterr().out == "Marks: classroom/results/marks_canvas.csv\n"


def test_report(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["report"]) == 0
    assert capsys.readouterr().out == f"The class: classroom/report/{NAME}.html\n"


def test_build_check(inside: Course, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["build", "--check"]) == 0
    inside.release(NAME).write_text("edited")
    assert cli.main(["build", "--check"]) == 1
    assert "differs: " in capsys.readouterr().out
    assert cli.main(["grade"]) == 2
    assert cli.main(["build"]) == 0


def test_audit_is_handed_on(inside: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    monkeypatch.setattr("autograder.audit.main", lambda *a: calls.append(a[1:]) or 7)
    assert cli.main(["audit", "--json"]) == 7
    assert cli.main(["audit", "--quick"]) == 7
    assert calls == [([NAME], True, False), ([NAME], False, True)]


def test_doctor_fails_only_where_something_needed_is_missing(
    inside: Course, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [Finding(True, True, "a"), Finding(False, False, "b", "c")]
    monkeypatch.setattr("autograder.doctor.doctor", lambda course: found)
    assert cli.main(["doctor"]) == 0
    assert capsys.readouterr().out == "ok      a\nnote    b; type: c\n"
    found.append(Finding(False, True, "d", "e"))
    assert cli.main(["doctor"]) == 1
    assert capsys.readouterr().out.endswith("MISSING d; type: e\n")


def listen() -> None:
    """Heed Ctrl-C, also where the tests run in the background and do not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c_keeps_what_is_done_and_leaves_nothing_running(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    release, folder = read_release(course, read_lab(course, NAME)), tmp_path / "in"
    hand_in(folder, "ada", answered(release, RIGHT))
    slow = answered(release, RIGHT)
    slow.cells.insert(0, code("import time\ntime.sleep(25)"))
    hand_in(folder, "slow", slow)
    command = [sys.executable, "-m", "autograder", "grade", "--submissions", str(folder)]
    (tmp_path / "tmp").mkdir()
    run = subprocess.Popen([*command, "--workers", "2"], cwd=course.root, text=True,
                           env=ENV | {"TMPDIR": str(tmp_path / "tmp")}, stderr=subprocess.PIPE,
                           start_new_session=True, preexec_fn=listen)  # fmt: skip
    ada = course.classroom / "results" / NAME / "ada.json"
    for _ in range(400):
        time.sleep(0.1)
        if ada.exists():
            break
    crew = psutil.Process(run.pid).children(recursive=True)  # the other one sleeps in one of them
    assert crew
    os.killpg(run.pid, signal.SIGINT)  # as a terminal does
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert "stopped; what is done is kept" in err
    assert "Traceback" not in err, err
    assert "ada" in (course.classroom / "results" / "results.csv").read_text()
    _, left = psutil.wait_procs(crew, timeout=60)
    assert not left, "a process of the run is still there"
    assert not list((tmp_path / "tmp").glob("grade-*"))
