"""Every row of the corpus gets exactly what it must get, and nothing else happens.

The whole corpus and an honest student beside each row are graded once, by two workers, as a class
is. Files with secret words lie where student code might look for them; somebody listens on ports
that it must not reach.
"""

import csv
import json
import os
import re
import secrets
import shutil
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from bs4 import BeautifulSoup
from conftest import empty_gradebook, gone
from corpus.archives import ARCHIVES, STRANGE_NAMES, tarred, zipped
from corpus.paper import HONEST, LAB, Link, Paper, Row, Scene
from corpus.rows import ROWS
from nbgrader.api import Gradebook
from test_feedback import active

from autograder import intake, runner, sandbox
from autograder.build import build
from autograder.collect import collect
from autograder.course import Course
from autograder.feedback import feedback
from autograder.grade import grade
from autograder.lab import read_lab

ROOT = Path(__file__).parents[1]
CORPUS = Path(__file__).parent / "corpus" / "course"
FULL = {"attn": 3.0, "count": 2.0}
SECRETS = ("solution-canary-93c2d4", "hidden-canary-5a1e07", HONEST, "SQLite format")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("corpus"),
    pytest.mark.skipif(bool(sandbox.why_not()) and os.environ.get("CI") != "true",
                       reason=f"no sandbox on this machine: {sandbox.why_not()}"),
]  # fmt: skip


@dataclass
class Class:
    """The graded class and what was seen on the machine meanwhile."""

    course: Course
    names: dict[str, str]  # row, or row + ".honest" -> student
    results: dict[str, dict[str, Any]]  # by student
    canaries: dict[Path, bytes]
    word: str  # in all canaries
    heard: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def of(self, key: str) -> dict[str, Any]:
        return self.results[self.names[key]]

    def copy_of(self, key: str) -> str:
        """The marked copy, which is all that a student gets to see."""
        name = self.names[key]
        return (self.course.classroom / "autograded" / name / LAB / f"{LAB}.ipynb").read_text()


@pytest.fixture(scope="module")
def litter() -> Iterator[list[Path]]:
    """Files outside of the test's folder, which go whatever happens."""
    paths: list[Path] = []
    yield paths
    for path in paths:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def graded(tmp_path_factory: pytest.TempPathFactory, litter: list[Path]) -> Class:
    root = tmp_path_factory.mktemp("corpus")
    shutil.copytree(CORPUS, root, dirs_exist_ok=True)
    (root / "labs").mkdir()
    course, word = Course(root), f"word-{secrets.token_hex(8)}"
    build(course, [LAB])
    empty_gradebook(course)
    scene, canaries, ears = _scene(course, word)
    litter += [p for p in canaries if not p.is_relative_to(root)]
    folders = _hand_in(course, scene)
    found = intake.find(course.classroom / "submitted", [LAB])
    names = {folders[f]: s.student for f, s in zip(sorted(folders), found, strict=True)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(root / "home"))
        patch.setenv("SECRET_TOKEN", word)
        patch.setattr(runner, "run", partial(runner.run, timeout=4))
        before = {p.pid for p in psutil.Process().children(recursive=True)}
        grade(course, [LAB], workers=2)
        children = psutil.Process().children(recursive=True)
    left = [str(p) for p in children if p.pid not in before] + _named(scene.mark)
    results = {s: _result(course, s) for s in names.values()}
    return Class(course, names, results, canaries, word, _heard(ears), left)


def _scene(course: Course, word: str) -> tuple[Scene, dict[Path, bytes], list[socket.socket]]:
    """Put canaries on the machine, and open ports."""
    key = word[-8:]
    places = [course.root / "home/.ssh/id", course.root / "solutions/keys.txt",
              course.root / "classroom/exchange/other.txt", Path(f"/tmp/canary-{key}"),
              Path(f"/dev/shm/canary-{key}"), Path(sys.prefix) / f"canary-{key}"]  # fmt: skip
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("libraries may be read" if place.is_relative_to(sys.prefix) else word)
        place.chmod(0o666)  # nothing but the sandbox protects it
    canaries = {p: p.read_bytes() for p in [*places, *course.solutions.rglob("*.py")]}
    release = intake.read_release(course, read_lab(course, LAB))
    tcp = socket.create_server(("127.0.0.1", 0))
    port = tcp.getsockname()[1]
    udp = socket.socket(type=socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", port))
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(f"\0canary{port}")
    unix.listen()
    honest = course.classroom / "submitted" / "a1.honest" / LAB / f"{LAB}.ipynb"
    known = [*places, course.source(LAB), course.classroom / "gradebook.db", honest,
             ROOT / "solutions/lab01_attention/mistakes.py"]  # fmt: skip
    scene = Scene(release, list(map(str, known)), port, f"left{key}")
    return scene, canaries, [tcp, udp, unix]


def _hand_in(course: Course, scene: Scene) -> dict[str, str]:
    """Write all submissions, an honest one after each row; give the row of each folder."""
    folders = {}
    for row in ROWS.values():
        honest = Paper(scene, "GG")
        honest.add(f"# {HONEST}")
        for folder, key, files in (
            (row.folder, row.id, row.files(scene)),
            (f"{row.id}.honest", f"{row.id}.honest", {f"{LAB}.ipynb": honest.notebook}),
        ):
            home = course.classroom / "submitted" / folder / LAB
            home.mkdir(parents=True)
            folders[folder] = key
            for number, (name, content) in enumerate(files.items()):
                if isinstance(content, Link):
                    (home / name).symlink_to(content.target)
                    continue
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                (home / name).write_bytes(data)
                os.utime(home / name, (number, number))  # the last is the newest
    return folders


def _result(course: Course, student: str) -> dict[str, Any]:
    return json.loads((course.classroom / "results" / LAB / f"{student}.json").read_text())


def _named(mark: str) -> list[str]:
    """Processes that carry the attackers' mark in their name or command line."""
    if gone(mark):
        names = {p.parent.name: p.read_text() for p in Path("/proc").glob("[0-9]*/comm")}
        return [f"{pid} {name}" for pid, name in names.items() if mark in name]
    return [mark]


def _heard(ears: list[socket.socket]) -> list[str]:
    """Which of the listening sockets somebody spoke to."""
    heard = []
    for ear in ears:
        ear.setblocking(False)
        try:
            heard.append(str(ear.recvfrom(99) if ear.type == socket.SOCK_DGRAM else ear.accept()))
        except BlockingIOError:
            pass
        ear.close()
    return heard


def points(result: dict[str, Any]) -> dict[str, float]:
    return {q["question"]: q["points"] for q in result["questions"]}


@pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
def test_a_row_gets_what_it_must_get(graded: Class, row: Row) -> None:
    result = graded.of(row.id)
    lost = {q["question"]: q["status"] for q in result["questions"]
            if q["points"] < FULL[q["question"]]}  # fmt: skip
    if row.answers in ("W-", "-W"):
        lost.pop("count" if row.answers == "W-" else "attn")
    assert tuple(points(result).values()) == row.points, (lost, result["findings"])
    assert set(lost.values()) <= set(row.status.split("|"))
    assert result["flags"] == (row.flag.split("+") if row.flag else [])
    assert all(q["message"] for q in result["questions"] if q["question"] in lost)
    seen = graded.copy_of(row.id)
    assert row.says in seen
    assert [x for x in ("WROTE", "FOUND") if x in _printed(seen)] == []
    told = "".join(q["message"] for q in result["questions"])
    assert [x for x in row.silent if x in _printed(seen) or x in told] == []


def _printed(copy: str) -> str:
    """All outputs of a marked copy."""
    return "".join(_texts(copy))


def _texts(copy: str) -> list[str]:
    return ["".join(o.get("text", "")) for c in json.loads(copy)["cells"]
            for o in c.get("outputs", [])]  # fmt: skip


def test_every_honest_student_keeps_full_marks(graded: Class) -> None:
    honest = [graded.of(f"{key}.honest") for key in ROWS]
    assert [h["student"] for h in honest if points(h) != FULL or h["flags"]] == []


def test_nothing_secret_was_read(graded: Class) -> None:
    for key in ROWS:
        assert graded.word not in json.dumps(graded.of(key)), key
        seen = _printed(graded.copy_of(key))
        told = "".join(q["message"] for q in graded.of(key)["questions"])
        assert [s for s in (graded.word, *SECRETS) if s in seen + told] == [], key


def test_nothing_outside_was_changed(graded: Class) -> None:
    assert {p: p.read_bytes() for p in graded.canaries} == graded.canaries
    for folder in {p.parent for p in graded.canaries}:
        assert not [p for p in folder.iterdir() if p.is_symlink() and p.name == "link"]
    for key in ROWS:
        home = graded.course.classroom / "submitted" / f"{key}.honest" / LAB
        assert [p.name for p in home.iterdir()] == [f"{LAB}.ipynb"]
        assert HONEST in (home / f"{LAB}.ipynb").read_text()


def test_nobody_was_spoken_to_and_nothing_is_left_running(graded: Class) -> None:
    assert graded.heard == []
    assert graded.left == []


def test_the_teachers_log_has_the_hidden_inputs(graded: Class) -> None:
    cells = graded.of("e3")["questions"][1]["cells"]
    assert "7919" in cells["count_hidden"]["teacher_detail"]


def test_output_is_bounded(graded: Class) -> None:
    for key in ROWS:
        assert len(json.dumps(graded.of(key))) < 1 << 20, key
        assert max(map(len, _texts(graded.copy_of(key))), default=0) <= 65_000, key


def test_gradebook_and_table_say_the_same(graded: Class) -> None:
    results = graded.results
    with Gradebook(f"sqlite:///{graded.course.classroom}/gradebook.db") as book:
        scores = {s.student.id: s.score for s in book.assignment_submissions(LAB)}
        waiting = {s.student.id for s in book.assignment_submissions(LAB) if s.needs_manual_grade}
    assert scores == {s: sum(points(r).values()) for s, r in results.items()}
    broken = {
        graded.names[k] for k, row in ROWS.items() if row.status == "malformed" and k[0] in "gh"
    }  # the file, not a frame
    assert waiting == broken
    with (graded.course.classroom / "results/results.csv").open(newline="") as file:
        head, *lines = csv.reader(file)
    assert {len(line) for line in lines} == {len(head)}
    assert not [x for line in lines for x in line if re.match(r"[=+@\t\r]|-\D", x)]
    assert len(lines) == 2 * len(results)


def test_what_students_get_back_is_inert(graded: Class) -> None:
    pages = {}
    for key in ("h3", "h3.honest", "e3-text", "h3-surrogate"):
        written, failed = feedback(graded.course, [LAB], graded.names[key])
        assert not failed
        pages[key] = BeautifulSoup(written[0].read_text(), "html.parser")
    ours = active(pages.pop("h3.honest"))
    for page in pages.values():
        assert active(page) <= ours


# --- archives --------------------------------------------------------------------------------


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if not p.is_dir()}


@pytest.mark.parametrize("name", ARCHIVES)
def test_nothing_is_taken_from_a_harmful_archive_and_the_next_is(tmp_path: Path,
                                                                 name: str) -> None:  # fmt: skip
    bad, good, into = (tmp_path / "a/b/c" / x for x in ("bad.zip", "good.zip", "into"))
    good.parent.mkdir(parents=True)
    bad.write_bytes(ARCHIVES[name]())
    good.write_bytes(zipped(f"ada/{LAB}.ipynb"))
    done = collect(Course(CORPUS), [bad, good], into=into)
    assert done.taken == 1
    assert len(done.refused) + done.lost == 1
    taken = {f"a/b/c/into/ada/{LAB}/{name}" for name in (f"{LAB}.ipynb", "timestamp.txt")}
    assert files(tmp_path) == {"a/b/c/bad.zip", "a/b/c/good.zip"} | taken


def test_every_name_in_an_archive_becomes_a_folder_of_its_own(tmp_path: Path) -> None:
    archive = tmp_path / "class.tar"
    archive.write_bytes(tarred(*(f"{name}/{LAB}.ipynb" for name in STRANGE_NAMES)))
    done = collect(Course(CORPUS), [archive], into=tmp_path / "into")
    assert done.taken == len(STRANGE_NAMES) + 1  # and bob
    names = [p.name for p in (tmp_path / "into").iterdir()]
    assert len({n.casefold() for n in names}) == len(STRANGE_NAMES) + 1
    assert all(len(n) <= 80 and n[0] not in "-." and n.isprintable() for n in names)
