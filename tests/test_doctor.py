"""The doctor on machines where something is missing: what it says, and what it tells to type."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import NAME
from test_sandbox import OPEN, USER, isolated

from autograder import doctor, sandbox
from autograder.course import Course
from autograder.doctor import Finding

ROOT = Path(__file__).parents[1]
REFUSED = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow "
    "non-privileged user namespaces. On e.g. debian this can be enabled with "
    "'sysctl kernel.unprivileged_userns_clone=1'."
)


@pytest.fixture
def fresh() -> Iterator[None]:
    """What was found out about this machine is forgotten, before and after."""
    known = (sandbox.available, sandbox.why_not)
    for found in known:
        found.cache_clear()
    yield
    for found in known:
        found.cache_clear()


def about_isolation() -> str:
    tier = sandbox.available()
    return "\n".join(map(str, [doctor._user(tier), *doctor._sandbox(tier)]))


def elsewhere(monkeypatch: pytest.MonkeyPatch, folder: Path, bwrap: str = "") -> None:
    """A machine whose programs are those of `folder`."""
    folder.mkdir()
    if bwrap:
        (folder / "bwrap").write_text(f"#!/bin/sh\n{bwrap}\n")
        (folder / "bwrap").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))


@pytest.mark.usefixtures("fresh")
def test_without_bubblewrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, tmp_path / "bin")
    said = about_isolation()
    assert "bubblewrap is not installed; type: sudo apt install bubblewrap" in said
    assert "isolated by bubblewrap" not in said


@pytest.mark.usefixtures("fresh")
def test_without_user_namespaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere(monkeypatch, tmp_path / "bin", f'echo "{REFUSED}" >&2; exit 1')
    said = about_isolation()
    assert "bwrap does not work here (bwrap: No permissions to create new namespace" in said
    assert "User namespaces are not allowed" in said
    assert "isolated by bubblewrap" not in said


@pytest.mark.usefixtures("fresh")
def test_where_nothing_isolates_it_fails_with_both_reasons(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(monkeypatch, tmp_path / "bin")
    monkeypatch.setattr("autograder.child.isolate.landlock_version", lambda: 0)
    found = list(doctor._sandbox(sandbox.available()))
    assert [f.ok for f in found[:2]] == [False, False]
    assert all(f.needed for f in found)
    assert "sudo apt install bubblewrap" in str(found[0])
    assert "landlock is version none here" in str(found[1])


@pytest.mark.parametrize(("switch", "value", "fix"), [
    ("kernel/unprivileged_userns_clone", "0", "kernel.unprivileged_userns_clone=1"),
    ("user/max_user_namespaces", "0", "user.max_user_namespaces=15000"),
    ("kernel/apparmor_restrict_unprivileged_userns", "1",
     "kernel.apparmor_restrict_unprivileged_userns=0"),
    ("kernel/unprivileged_userns_clone", "1", ""),
])  # fmt: skip
def test_the_switch_that_forbids_namespaces_is_found(
    tmp_path: Path, switch: str, value: str, fix: str
) -> None:
    (tmp_path / switch).parent.mkdir()
    (tmp_path / switch).write_text(f"{value}\n")
    said = doctor.namespaces(tmp_path)
    assert said == (f"sudo sysctl -w {fix}" if fix else "")


def test_an_interpreter_under_a_closed_home(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "bin").mkdir(parents=True)
    (home / "bin" / "python").symlink_to("/usr/bin/env")
    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path("/") and folder.stat().st_uid == os.getuid() and folder != Path("/tmp"):
            folder.chmod(0o755)
    assert doctor.closed_folder(home / "bin" / "python") is None
    home.chmod(0o700)
    assert doctor.closed_folder(home / "bin" / "python") == home


@pytest.mark.usefixtures("fresh")
def test_a_closed_home_is_told_with_what_to_type(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "home").mkdir(mode=0o700)
    (tmp_path / "home" / "python").symlink_to(Path(sys.executable).resolve())
    elsewhere(monkeypatch, tmp_path / "bin", "echo 'bwrap: execvp: Permission denied' >&2; exit 1")
    monkeypatch.setattr(sys, "executable", str(tmp_path / "home" / "python"))
    monkeypatch.setattr("autograder.child.isolate.landlock_version", lambda: 0)
    said = about_isolation()
    closed = doctor.closed_folder(tmp_path / "home" / "python")
    assert f"this Python lies below {closed}, which other users may not enter" in said
    assert f"type: chmod o+x {closed}" in said


@isolated
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="takes root")
@pytest.mark.parametrize(("who", "words"), [
    ([], "grading runs as root; student code gives up root's rights"),
    (USER, "grading runs as user 12345, not as root"),
])  # fmt: skip
def test_as_root_and_as_a_user(who: list[str], words: str) -> None:
    code = (
        "import sys; sys.path.append('tests'); from test_doctor import *; print(about_isolation())"
    )
    prefix = [*OPEN, *who] if who else []
    done = subprocess.run([*prefix, sys.executable, "-c", code], capture_output=True, text=True,
                          cwd=ROOT, env=os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
                          timeout=600, check=False)  # fmt: skip
    assert words in done.stdout, done.stderr
    assert "ok      student code is isolated by bubblewrap" in done.stdout


def test_as_root_without_isolation_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    said = str(doctor._user(""))
    assert "as root: code that is not isolated could do anything" in said
    assert "type: su - " in said


# --- what is tried ---------------------------------------------------------------------------


@isolated
def test_attempts_are_blocked_and_limits_hold(course: Course) -> None:
    course.classroom.mkdir(exist_ok=True)
    first, *limits = doctor._tried(course, sandbox.available())
    assert [str(f) for f in (first, *limits) if not f.ok] == []
    assert "12 attempts of student code to break out are blocked" in str(first)
    assert [f.text for f in limits] == [f"the limit on {what} holds" for what in doctor.LIMITS]


def test_what_is_open_is_named(course: Course) -> None:
    course.classroom.mkdir(exist_ok=True)
    said = str(next(doctor._tried(course, sandbox.NONE)))
    assert said.startswith("MISSING student code can reach the network")
    for able in ("see the solutions", "read a file of the teacher's", "signal the grader"):
        assert able in said
    assert not (Path(sys.prefix) / "canary").exists()


def test_a_limit_that_does_not_fire_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_inside", lambda *_, **__: {"failed": None})
    found = list(doctor._limits(None))
    assert {f.ok for f in found} == {False}
    assert found[0].text == "student code has no limit on memory"


def test_a_process_that_does_not_start_is_missing(
    course: Course, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "Host", None)
    (found,) = doctor._tried(course, "bubblewrap")
    assert (found.ok, found.needed) == (False, True)
    assert "does not start (TypeError" in found.text


def test_a_lab_is_graded_both_ways(own_class: Course) -> None:
    tier = sandbox.available() or sandbox.NONE
    found = doctor._agreement(own_class, tier)
    assert found.ok, found
    assert "lab90_fixture: our solution passes its 4 tests, judged as in a notebook" in found.text
    source = own_class.source(NAME)
    source.write_text(source.read_text().replace("return x + x + 0", "return x + 1"))
    found = doctor._agreement(own_class, tier)
    assert "our solution fails double_hidden, double_visible" in found.text
    own_class.release(NAME).unlink()
    found = doctor._agreement(own_class, tier)
    assert "could not be graded (CourseError" in found.text
    assert str(found).endswith("type: autograder build lab90_fixture")


# --- software and data -----------------------------------------------------------------------


def test_versions_against_the_pins_and_the_lock(tmp_path: Path) -> None:
    course = Course(tmp_path)
    (tmp_path / "requirements.txt").write_text("nbgrader==0.1\nno-such-thing==2\n")
    (tmp_path / "constraints.txt").write_text("numpy==0.2\nnot-installed-and-not-needed==1\n")
    lines = [str(f) for f in doctor._packages(course)]
    fix = "type: pip install -r requirements.txt -c constraints.txt"
    assert any(x.startswith("note    nbgrader") and f"(pinned 0.1); {fix}" in x for x in lines)
    assert any(x.startswith("note    numpy") and "(pinned 0.2)" in x for x in lines)
    assert f"note    no-such-thing is not installed; {fix}" in lines
    assert "not-installed-and" not in "".join(lines)


def test_alembic_that_is_missing(
    course: Course, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    said = str(doctor._alembic(course))
    assert said == "MISSING alembic, for a new gradebook; type: pip install alembic"


def test_a_gradebook_on_a_network_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = tmp_path / "mounts"
    mounts.write_text(f"root / ext4 rw 0 0\nserver:/x {tmp_path}/a\\040class nfs4 rw 0 0\n")
    assert doctor.file_system(tmp_path / "a class" / "gradebook.db", mounts) == "nfs4"
    assert doctor.file_system(tmp_path / "another", mounts) == "ext4"
    assert doctor.file_system(tmp_path, tmp_path / "none") == "unknown"
    monkeypatch.setattr(doctor, "file_system", lambda _: "nfs4")
    _, found = doctor._gradebook(Course(tmp_path))
    assert "lies on a network disk (nfs4), where locks of SQLite may fail" in str(found)
    assert not found.needed


def test_a_gradebook_that_is_no_database_or_cannot_be_written(tmp_path: Path) -> None:
    course = Course(tmp_path)
    assert next(doctor._gradebook(course)).ok
    (course.classroom / "gradebook.db").write_text("not a database, and long enough to be read" * 9)
    found = next(doctor._gradebook(course))
    assert (found.ok, found.needed) == (False, True)
    assert "file is not a database" in found.text
    shutil.rmtree(course.classroom)
    course.classroom.write_text("a file")
    assert not next(doctor._gradebook(course)).ok


def test_all_findings_come_in_order(own_class: Course, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_tried", lambda *_: [])
    monkeypatch.setattr(doctor, "_agreement", lambda *_: Finding(True, True, "_agreement"))
    texts = [f.text for f in doctor.doctor(own_class)]
    assert texts[0].startswith("Python 3.")
    assert texts.index("_agreement") == len(texts) - 3
