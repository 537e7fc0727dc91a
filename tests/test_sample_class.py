"""The made-up class of every lab gets the marks that it must get."""

import contextlib
import io
from pathlib import Path

import nbformat
import pytest
from conftest import NAME, make_course

from autograder.bank import read_bank
from autograder.course import Course
from autograder.grade import grade, overview
from autograder.lab import read_lab
from autograder.ledger import Ledger
from autograder.sample import mistaken, other_way, version_source, write_class

ROOT = Path(__file__).parents[1]


def marks(course: Course, lab: str) -> dict[str, dict[str, float]]:
    """Points of each student's questions."""
    with Ledger(course) as ledger:
        return {s["student"]: {q["question"]: q["points"] for q in s["questions"]}
                for s in ledger.stored([lab])}  # fmt: skip


def lost(points: dict[str, float], full: dict[str, float]) -> dict[str, float]:
    return {q: full[q] - points[q] for q in full if points[q] != full[q]}


def test_the_fixture_class(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    write_class(course, NAME, course.classroom / "submitted")
    grade(course, [NAME])
    assert {s: sum(q.values()) for s, q in marks(course, NAME).items()} == {
        # alan squares the number, and counts each word as often as there are words, which the
        # hidden test of seven equal words lets pass (1 point). edsger's two exercises, counted on
        # from the third, are the same two.
        "ada": 5, "grace": 5, "alan": 1, "edsger": 1, "dave": 0, "emil": 0, "hedy": 5,
    }  # fmt: skip


@pytest.mark.slow
def test_the_class_of_lab_1(tmp_path: Path) -> None:
    for name in ("solutions", "labs"):
        (tmp_path / name).symlink_to(ROOT / name)
    course, lab = Course(tmp_path), "lab01_attention"
    write_class(course, lab, course.classroom / "submitted")
    summary = grade(course, [lab])
    assert (summary.graded, summary.ungraded, summary.waiting) == (7, [], 6)
    got = marks(course, lab)
    full = got["ada"]
    assert sum(full.values()) == 95
    assert got["grace"] == full
    assert lost(got["hedy"], full) == {}
    # The multi-head layer calls the learner's own functions: with attention or the heads wrong,
    # its numbers are wrong too. Parts of a test that hold earn their points.
    assert lost(got["alan"], full) == {"causal_mask": 5, "attention": 13, "MultiHeadAttention": 13}
    assert lost(got["edsger"], full) == {"split_heads": 5, "merge_heads": 5,
                                         "MultiHeadAttention": 14}  # fmt: skip
    assert set(got["dave"].values()) == set(got["emil"].values()) == {0}
    text = (course.classroom / "results" / "results.csv").read_text()
    assert "You divided the scores by D" in text  # the mistake has its name
    hedy = nbformat.read(course.classroom / "autograded" / "hedy" / lab / f"{lab}.ipynb", 4)
    assert "recognised by the function it defines" in hedy.cells[0].source
    readme = [line.split() for line in (ROOT / "README.md").read_text().splitlines()]
    for row in overview(course, [lab]):
        assert " ".join(row).split() in readme, f"README quotes another table: {row}"


def test_versions_bring_their_helpers_and_lose_their_decorators() -> None:
    course = Course(ROOT)
    lab = read_lab(course, "lab01_attention")
    bank = read_bank(course, lab)
    for exercise in lab.exercises:
        for version in [*bank[exercise].wrong, *bank[exercise].right]:
            source = version_source(version.make, exercise)
            assert "@bank" not in source
            assert f"def {exercise}(" in source or f"class {exercise}(" in source
            compile(source, version.name, "exec")


@pytest.mark.parametrize("name", Course(ROOT).all_labs())
def test_the_other_way_is_right_in_every_lab(name: str) -> None:
    """The answers of a student of the class, in a notebook of her own."""
    lab = read_lab(Course(ROOT), name)
    bank, space = read_bank(Course(ROOT), lab), {"__name__": "__main__"}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in lab.notebook.cells:
            if cell.cell_type == "code" and "demo" not in cell.metadata.get("tags", []):
                theirs = cell.id in lab.exercises
                source = other_way(bank[cell.id], cell.id) if theirs else cell.source
                exec(compile(source, cell.id, "exec"), space)
    mistaken(lab, bank, 0), mistaken(lab, bank, 2)


def test_two_students_make_two_mistakes_each() -> None:
    course = Course(ROOT)
    lab = read_lab(course, "lab01_attention")
    bank = read_bank(course, lab)
    first, second = mistaken(lab, bank, 0), mistaken(lab, bank, 2)
    assert len(first) == len(second) == 2
    assert not set(first) & set(second)
