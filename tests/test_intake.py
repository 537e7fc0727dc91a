"""Finding, reading and merging what students hand in. No kernel runs here."""

import copy
import json
import os
from pathlib import Path

import nbformat
import pytest
from conftest import COUNT, DOUBLE, NAME, RIGHT, answered, cell_of, code, hand_in
from nbformat import NotebookNode

from autograder import intake
from autograder.course import CourseError
from autograder.intake import Merged, find, merge, read, take
from autograder.lab import Lab


def text_of(merged: Merged, key: str) -> str:
    return next(c.source for c in merged.cells if c.id == key)


def order(merged: Merged) -> list[str]:
    return [c.id for c in merged.cells if c.kind == "code"]


# --- find ------------------------------------------------------------------------------------


def test_find_gives_each_student_once(tmp_path: Path) -> None:
    hand_in(tmp_path, "bob", b"{}")
    hand_in(tmp_path, "ada", b"{}")
    (tmp_path / ".ipynb_checkpoints").mkdir()
    assert [s.student for s in find(tmp_path, [NAME])] == ["ada", "bob"]
    assert [s.student for s in find(tmp_path, [NAME], "bob")] == ["bob"]


def test_the_newest_of_several_files_is_graded_and_told(tmp_path: Path) -> None:
    old = hand_in(tmp_path, "ada", b"{}")
    new = hand_in(tmp_path, "ada", b"{}", f"{NAME} (1).ipynb")
    os.utime(old, (1, 1))
    (found,) = find(tmp_path, [NAME])
    assert found.path == new
    assert "2 notebooks; the newest" in found.findings[1]


@pytest.mark.parametrize(
    "name",
    [f"{NAME} (1).ipynb", f"{NAME}-copy.ipynb", f"Copy of {NAME}.ipynb", "Untitled.ipynb"],
)
def test_renamed_files_are_found(tmp_path: Path, name: str) -> None:
    hand_in(tmp_path, "ada", b"{}", name)
    (found,) = find(tmp_path, [NAME])
    assert found.path.name == name
    assert name in found.findings[0]


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ipynb"
    secret.write_text("{}")
    for student in ("file", "folder"):
        (tmp_path / "in" / student).mkdir(parents=True)
    (tmp_path / "in" / "file" / NAME).mkdir()
    (tmp_path / "in" / "file" / NAME / f"{NAME}.ipynb").symlink_to(secret)
    (tmp_path / "in" / "folder" / NAME).symlink_to(tmp_path)
    (tmp_path / "in" / "student").symlink_to(tmp_path)
    assert [(s.student, s.path) for s in find(tmp_path / "in", [NAME])] == [("file", None)]


def test_odd_folder_names_become_safe_and_distinct(tmp_path: Path) -> None:
    for name in ("[4] x", "-rf", "_4_ x", "Ada", "ada", "é" * 90):
        hand_in(tmp_path, name, b"{}")
    found = find(tmp_path, [NAME])
    names = [s.student for s in found]
    assert len({n.casefold() for n in names}) == len(names) == 6
    assert all(n[0] not in "-." and len(n) <= 70 and "[" not in n for n in names)
    assert any("'[4] x' is graded as" in f for s in found for f in s.findings)


def test_a_missing_folder_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="is no folder"):
        find(tmp_path / "nowhere", [NAME])


# --- read ------------------------------------------------------------------------------------

BROKEN = {
    "empty": b"",
    "cut off": b'{"nbformat": 4, "cells": [',
    "not UTF-8": b'{"nbformat": 4, "x": "\xff\xfe"}',
    "deep list": b"[" * 200_000,
    "deep metadata": b'{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": '
                     + b'{"a": ' * 3000 + b"1" + b"}" * 3001,
    "a list": b"[1, 2]",
    "no notebook": b'{"cells": []}',
    "cells are text": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": "hello"}',
    "cell without source": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}',
    "future format": b'{"nbformat": 99, "nbformat_minor": 0, "metadata": {}, "cells": []}',
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_malformed_never_an_exception(
    tmp_path: Path, lab: Lab, release: NotebookNode, case: str
) -> None:
    hand_in(tmp_path, "eve", BROKEN[case])
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert merged.malformed
    assert merged.student == "eve"


def test_too_large_and_too_many(
    tmp_path: Path, release: NotebookNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hand_in(tmp_path, "eve", release)
    monkeypatch.setattr(intake, "MAX_CELLS", 3)
    with pytest.raises(intake.Malformed, match="at most 3"):
        read(path)
    monkeypatch.setattr(intake, "MAX_BYTES", 10)
    with pytest.raises(intake.Malformed, match="larger"):
        read(path)


def test_a_byte_order_mark_is_harmless(tmp_path: Path, release: NotebookNode) -> None:
    path = hand_in(tmp_path, "ada", b"\xef\xbb\xbf" + nbformat.writes(release).encode())
    assert len(read(path).cells) == len(release.cells)


def test_format_3_is_upgraded(tmp_path: Path, lab: Lab, release: NotebookNode) -> None:
    old = nbformat.convert(answered(release, RIGHT), 3)
    hand_in(tmp_path, "ada", json.dumps(old).encode())
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert not merged.malformed
    assert not merged.missing
    assert text_of(merged, "double") == DOUBLE.rstrip() or text_of(merged, "double") == DOUBLE


# --- merge -----------------------------------------------------------------------------------


def test_an_untouched_release_changes_nothing(lab: Lab, release: NotebookNode) -> None:
    merged = merge(lab, release, copy.deepcopy(release), "dave")
    assert [c.id for c in merged.cells] == [c["id"] for c in lab.notebook.cells]
    assert merged.untouched == {"double", "count", "reflection"}
    assert not merged.findings
    assert "NotImplementedError" in text_of(merged, "double")


def test_tests_points_and_locked_cells_are_ours(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT | {"double_visible": "pass", "setup": "check = print"})
    cell_of(theirs, "count_visible").metadata.nbgrader.update(grade=False, solution=True, points=99)
    cell_of(theirs, "count_hidden").cell_type = "markdown"
    merged = merge(lab, release, theirs, "eve")
    for key in ("setup", "double_visible", "count_visible", "count_hidden"):
        assert text_of(merged, key) == lab.cell(key).source
    assert "-1234" in text_of(merged, "double_hidden")
    shown = next(c for c in merged.cells if c.id == "double_hidden").shown
    assert "-1234" not in shown
    assert "double_visible: was changed; ours is used" in merged.findings


def test_deleted_and_moved_tests_stand_where_they_belong(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.remove(cell_of(theirs, "double_visible"))
    moved = cell_of(theirs, "count_visible")
    theirs.cells.remove(moved)
    theirs.cells.insert(0, moved)
    merged = merge(lab, release, theirs, "eve")
    assert order(merged) == order(merge(lab, release, release, "dave"))
    assert "double_visible: was deleted; restored" in merged.findings


def test_copies_first_answer_wins_later_ones_stay_in_place(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    place = theirs.cells.index(cell_of(theirs, "count"))
    second = copy.deepcopy(theirs.cells[place])
    second["id"], second.source = "pasted", "# second\n" + COUNT
    theirs.cells.insert(place + 1, second)
    test = copy.deepcopy(cell_of(theirs, "double_visible"))
    test["id"] = "pasted-test"
    theirs.cells.insert(1, test)
    merged = merge(lab, release, theirs, "ada")
    assert text_of(merged, "count") == COUNT
    at = order(merged).index("count")
    assert order(merged)[at + 1].startswith("extra")
    assert "count: stands twice; the first is the answer" in merged.findings
    assert "double_visible: a copy of this cell is ignored" in merged.findings


def strip(notebook: NotebookNode) -> NotebookNode:
    """What Colab and some editors leave: sources, no metadata, new ids."""
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell["id"] = {}, f"new-{number}"
    return notebook


def test_lost_metadata_is_recovered(lab: Lab, release: NotebookNode) -> None:
    theirs = strip(answered(release, RIGHT | {"reflection": "It depends."}))
    merged = merge(lab, release, theirs, "hedy")
    assert not merged.missing
    assert not merged.untouched
    assert order(merged) == order(merge(lab, release, release, "dave"))
    assert [text_of(merged, k) for k in ("double", "count", "reflection")] == [
        DOUBLE, COUNT, "It depends."]  # fmt: skip
    assert any("by the function it defines: double, count" in f for f in merged.findings)
    assert any("by its place" in f for f in merged.findings)


def test_ids_alone_are_enough(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT | {"count": "count = lambda words: {}"})
    for cell in theirs.cells:
        cell.metadata = {"id": cell.pop("id")}  # where Colab keeps it
    merged = merge(lab, release, theirs, "hedy")
    assert text_of(merged, "count") == "count = lambda words: {}"
    assert any("by its cell id" in f for f in merged.findings)


def test_own_cells_stay_behind_what_they_followed(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.insert(0, code("first = 1"))
    theirs.cells.insert(theirs.cells.index(cell_of(theirs, "count")), code("helper = 2"))
    merged = merge(lab, release, theirs, "ada")
    sources = [c.source for c in merged.cells if c.kind == "code"]
    assert sources[0] == "first = 1"
    assert sources.index("helper = 2") == sources.index(COUNT) - 1
    assert not merged.findings


def test_open_cells_belong_to_the_learner(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    demo = next(c for c in theirs.cells if "demo" in c.metadata.get("tags", []))
    demo.source = "print(double(2))"
    merged = merge(lab, release, theirs, "ada")
    cell = next(c for c in merged.cells if c.id == demo["id"])
    assert (cell.role, cell.source) == ("extra", "print(double(2))")


def test_an_answer_that_is_gone_is_missing(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.remove(cell_of(theirs, "count"))
    merged = merge(lab, release, theirs, "ada")
    assert merged.missing == {"count"}


def test_an_answer_that_is_no_code_cell_is_read_as_one(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    cell_of(theirs, "count").cell_type = "raw"
    merged = merge(lab, release, theirs, "ada")
    assert text_of(merged, "count") == COUNT
    assert "count: was a raw cell; read as code" in merged.findings


def test_a_huge_cell_is_left_out(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.insert(1, code("#" * 300_000))
    merged = merge(lab, release, theirs, "ada")
    assert "300000 characters; it is left out" in merged.findings[0]
    assert len(merged.cells) == len(lab.notebook.cells)


def test_odd_metadata_does_no_harm(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells[0].metadata["nbgrader"] = ["list"]
    theirs.cells[2].metadata["nbgrader"] = {"grade_id": {"a": 1}}
    theirs.cells[4].metadata["nbgrader"] = {"grade_id": "nobody"}
    assert not merge(lab, release, theirs, "ada").missing
