"""Finding, reading and merging what students hand in. No kernel runs here."""

import copy
import json
import os
from dataclasses import replace
from pathlib import Path

import nbformat
import pytest
from conftest import COUNT, DOUBLE, NAME, RIGHT, WRONG, answered, cell_of, code, hand_in
from nbformat import NotebookNode

from autograder import intake
from autograder.course import CourseError
from autograder.intake import Merged, find, merge, read, slugs, take
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
    assert set(found.flags) == {"several", "renamed"}


@pytest.mark.parametrize(
    "name",
    [f"{NAME} (1).ipynb", f"{NAME}-copy.ipynb", f"Copy of {NAME}.ipynb", "Untitled.ipynb",
     f"{NAME}.ipynb.txt", f"{NAME.upper()}.IPYNB"],
)  # fmt: skip
def test_renamed_files_are_found(tmp_path: Path, name: str) -> None:
    hand_in(tmp_path, "ada", b"{}", name)
    (found,) = find(tmp_path, [NAME])
    assert found.path.name == name
    assert name in found.findings[0]
    assert found.flags == ("renamed",)


def test_links_are_not_followed(tmp_path: Path) -> None:
    secret = tmp_path / "secret.ipynb"
    secret.write_text("{}")
    for student in ("file", "folder"):
        (tmp_path / "in" / student).mkdir(parents=True)
    (tmp_path / "in" / "file" / NAME).mkdir()
    (tmp_path / "in" / "file" / NAME / f"{NAME}.ipynb").symlink_to(secret)
    (tmp_path / "in" / "folder" / NAME).symlink_to(tmp_path)
    (tmp_path / "in" / "student").symlink_to(tmp_path)
    found = find(tmp_path / "in", [NAME])
    assert [(s.student, s.path) for s in found] == [("file", None), ("folder", None)]
    assert all(s.flags == ("dropped",) for s in found)


def test_odd_folder_names_become_safe_and_distinct(tmp_path: Path) -> None:
    for name in ("[4] x", "-rf", "_4_ x", "Ada", "ada", "é" * 90):
        hand_in(tmp_path, name, b"{}")
    found = find(tmp_path, [NAME])
    names = [s.student for s in found]
    assert len({n.casefold() for n in names}) == len(names) == 6
    assert all(n[0] not in "-." and len(n) <= 70 and "[" not in n for n in names)
    assert any("'[4] x' is graded as" in f for s in found for f in s.findings)


def test_a_name_does_not_depend_on_who_else_is_there() -> None:
    for names in (["a b", "a?b"], ["a?b", "a b", "a_b"], ["A", "a b", "a?b"]):
        assert slugs(names)["a b"].startswith("a_b-")
        assert slugs(names)["a b"] == slugs(["a b", "a?b"])["a b"]
    assert slugs(["a b"]) == {"a b": "a_b"}
    assert slugs(["[4] x", "_4_x"])["_4_x"] == "_4_x"
    assert slugs(["..", "-rf", "\udcff"]) == {"..": "student", "-rf": "rf", "\udcff": "_"}


def test_twins_are_flagged(tmp_path: Path) -> None:
    for name in ("Ada", "ada", "Jos\u00e9", "Jose\u0301", "bob"):
        hand_in(tmp_path, name, b"{}")
    found = find(tmp_path, [NAME])
    assert [s.flags for s in found if s.student == "bob"] == [()]
    assert [s.flags for s in found if s.student != "bob"] == [("twins",)] * 4
    assert len({s.student.casefold() for s in found}) == 5
    assert any("differs from 'Jose\\u0301' only in" in f for s in found for f in s.findings)


def test_what_lies_beside_the_notebook_is_not_used_and_told(
    tmp_path: Path, lab: Lab, release: NotebookNode
) -> None:
    path = hand_in(tmp_path, "eve", answered(release, RIGHT))
    for name in ("timestamp.txt", ".DS_Store", "run_record.json"):
        path.with_name(name).write_text("")
    (submission,) = find(tmp_path, [NAME])
    assert not submission.findings
    assert not submission.flags
    path.with_name("torch.py").write_text("raise SystemExit")
    path.with_name("x.ipynb").symlink_to("/etc/passwd")
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert submission.path == path
    assert merged.findings == ["not used: 'torch.py', 'x.ipynb' (a link)"]
    assert merged.flags == ["dropped"]


def test_a_missing_folder_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(CourseError, match="is no folder"):
        find(tmp_path / "nowhere", [NAME])


# --- read ------------------------------------------------------------------------------------

BROKEN = {
    "empty": b"",
    "cut off": b'{"nbformat": 4, "cells": [',
    "not UTF-8": b'{"nbformat": 4, "x": "\xff\xfe"}',
    "deep list": b"[" * 200_000,
    "deep but not for Python 3.12": b'{"nbformat": 4, "cells": [], "metadata": '
                                    + b"[" * 150 + b"]" * 150 + b"}",
    "many values": b'{"nbformat": 4, "cells": [' + b"[]," * 3_000_000 + b"[]]}",
    "deep metadata": b'{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": '
                     + b'{"a": ' * 3000 + b"1" + b"}" * 3001,
    "a list": b"[1, 2]",
    "no notebook": b'{"cells": []}',
    "cells are text": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": "hello"}',
    "cell without source": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [{}]}',
    "endless version": b'{"nbformat": 4' + b"0" * 10_000 + b', "cells": []}',
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
    assert not merged.cells


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


def test_format_3_without_cells_has_no_answers(
    tmp_path: Path, lab: Lab, release: NotebookNode
) -> None:
    for number, data in enumerate((b'{"nbformat": 3}', b'{"nbformat": 3, "worksheets": [7]}')):
        hand_in(tmp_path, f"ada{number}", data)
    for submission in find(tmp_path, [NAME]):
        merged = take(lab, release, submission)
        assert not merged.malformed
        assert merged.missing == {"double", "count", "reflection"}


def test_an_odd_cell_costs_itself_alone(tmp_path: Path, lab: Lab, release: NotebookNode) -> None:
    raw = json.loads(nbformat.writes(answered(release, RIGHT)))
    cells: list[object] = raw["cells"]
    cells[0], cells[2]["metadata"], cells[4]["cell_type"] = {"source": 7}, ["?"], 5
    cells[5]["execution_count"], raw["metadata"] = -(10**30), "none"
    cells.insert(3, None)
    hand_in(tmp_path, "ada", json.dumps(raw).encode())
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert not merged.missing - {"reflection"}
    assert text_of(merged, "count").rstrip() == COUNT.rstrip()
    assert "cell 4 cannot be read; it is left out" in merged.findings


def test_half_characters_and_nul_become_writable(
    tmp_path: Path, lab: Lab, release: NotebookNode
) -> None:
    text = r"x = '\ud83d \ude00 \u0000 \ud83d\ude00'"
    raw = nbformat.writes(answered(release, RIGHT | {"double": "PLACE"})).replace("PLACE", text)
    hand_in(tmp_path, "ada", raw.encode())
    (submission,) = find(tmp_path, [NAME])
    answer = text_of(take(lab, release, submission), "double")
    assert answer == "x = '\ufffd \ufffd \ufffd \U0001f600'"


def test_utf_16_is_read(tmp_path: Path, release: NotebookNode) -> None:
    path = hand_in(tmp_path, "ada", nbformat.writes(release).encode("utf-16"))
    assert len(read(path).cells) == len(release.cells)


def test_a_comment_of_30_mb_costs_nothing_else(
    tmp_path: Path, lab: Lab, release: NotebookNode
) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.insert(1, code("#" * 30_000_000))
    hand_in(tmp_path, "ada", theirs)
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert merged.flags == ["oversize"]
    assert not merged.missing
    assert sum(len(c.source) for c in merged.cells) < 10_000


def test_3000_cells_of_ones_own_are_kept(tmp_path: Path, lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells[1:1] = [code(f"x{i} = {i}") for i in range(3000)]
    hand_in(tmp_path, "ada", theirs)
    (submission,) = find(tmp_path, [NAME])
    merged = take(lab, release, submission)
    assert len([c for c in merged.cells if c.role == "extra"]) == 3000
    assert not merged.findings


def test_findings_end_somewhere(tmp_path: Path, lab: Lab, release: NotebookNode) -> None:
    raw = json.loads(nbformat.writes(release))
    raw["cells"] += [None] * 400
    hand_in(tmp_path, "ada", json.dumps(raw).encode())
    (submission,) = find(tmp_path, [NAME])
    findings = take(lab, release, submission).findings
    assert len(findings) == 100
    assert findings[-1] == "and 301 more notes"


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
    assert merged.flags == ["duplicate"]


def test_a_stub_never_stands_in_for_its_answer(lab: Lab, release: NotebookNode) -> None:
    stub = cell_of(release, "count")
    for before, after in ([stub.source, COUNT], [COUNT, stub.source]):
        theirs = answered(release, RIGHT | {"count": before})
        copied = copy.deepcopy(cell_of(theirs, "count"))
        copied.source = after
        theirs.cells.insert(theirs.cells.index(cell_of(theirs, "count")) + 1, copied)
        merged = merge(lab, release, theirs, "ada")
        assert text_of(merged, "count") == COUNT
        assert not merged.untouched & {"double", "count"}
        assert stub.source not in [c.source for c in merged.cells]
        assert merged.flags == ["duplicate"]


def test_an_answer_in_a_cell_of_its_own_counts(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, {"double": DOUBLE})
    theirs.cells.insert(theirs.cells.index(cell_of(theirs, "count")) + 1, code(COUNT))
    merged = merge(lab, release, theirs, "ada")
    assert text_of(merged, "count") == COUNT
    assert merged.untouched == {"reflection"}


def test_a_copy_runs_after_what_it_repeats(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    first = copy.deepcopy(cell_of(theirs, "count"))
    first.source = "# an old attempt\n" + COUNT
    theirs.cells.insert(0, first)
    merged = merge(lab, release, theirs, "ada")
    sources = [c.source for c in merged.cells]
    assert sources.index(first.source) < sources.index(COUNT) < order_of(merged, "count_visible")


def order_of(merged: Merged, key: str) -> int:
    return [c.id for c in merged.cells].index(key)


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
    assert merged.flags == ["recovered"]


CHANGED = """def my_count(words):
    \"\"\"How often each word stands in a list. ["a", "b", "a"] -> {"a": 2, "b": 1}.\"\"\"
    return {}
"""


def test_what_is_like_the_release_is_recovered(lab: Lab, release: NotebookNode) -> None:
    merged = merge(lab, release, strip(answered(release, RIGHT | {"count": CHANGED})), "ada")
    assert text_of(merged, "count") == CHANGED
    assert "recognised by its likeness: count" in merged.findings
    assert not merged.unsure
    far = merge(lab, release, strip(answered(release, RIGHT | {"count": "x = 1"})), "ada")
    assert far.missing == {"count"}


def test_two_cells_as_like_are_for_a_person(lab: Lab, release: NotebookNode) -> None:
    theirs = strip(answered(release, RIGHT | {"count": CHANGED}))
    theirs.cells.append(code(CHANGED.replace("{}", "None")))
    merged = merge(lab, release, theirs, "ada")
    assert merged.unsure == {"count"}
    assert not merged.missing
    assert any(f.startswith("count: several cells could be the answer: ") for f in merged.findings)
    assert [c.source for c in merged.cells].count(CHANGED) == 1  # they still run, in place
    theirs.cells[-1].source = CHANGED  # the same once more is a copy
    assert text_of(merge(lab, release, theirs, "ada"), "count") == CHANGED


def test_two_written_texts_are_for_a_person(lab: Lab, release: NotebookNode) -> None:
    theirs = strip(answered(release, RIGHT | {"reflection": "One thing."}))
    theirs.cells.append(nbformat.v4.new_markdown_cell("Another."))
    assert merge(lab, release, theirs, "ada").unsure == {"reflection"}


@pytest.mark.parametrize("home", ["double", "count"])
def test_two_answers_in_one_cell_both_count(lab: Lab, release: NotebookNode, home: str) -> None:
    other = {"double": "count", "count": "double"}[home]
    theirs = answered(release, RIGHT | {home: DOUBLE + COUNT})
    theirs.cells.remove(cell_of(theirs, other))
    merged = merge(lab, release, theirs, "ada")
    assert not merged.missing
    for key in ("double", "count"):
        before = [c.source for c in merged.cells[: order_of(merged, f"{key}_visible")]]
        assert any(f"def {key}" in text for text in before)
        assert "raise NotImplementedError" not in text_of(merged, key)
    assert f"{other}: stands in the cell of {home}" in merged.findings


def test_a_note_that_shows_code_is_no_answer(lab: Lab, release: NotebookNode) -> None:
    theirs = strip(answered(release, RIGHT))
    theirs.cells.insert(1, nbformat.v4.new_markdown_cell("```\n" + WRONG + "```"))
    assert text_of(merge(lab, release, theirs, "ada"), "count") == COUNT


def test_many_cells_are_compared_within_bounds(
    lab: Lab, release: NotebookNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(intake, "MAX_COMPARED", 10)
    theirs = strip(answered(release, RIGHT | {"count": "x = 1"}))
    merged = merge(lab, release, theirs, "eve")
    assert "too many cells without metadata to compare them all" in merged.findings


def test_ids_alone_are_enough(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT | {"count": "count = lambda words: {}"})
    for cell in theirs.cells:
        cell.metadata = {"id": cell.pop("id")}  # where Colab keeps it
    merged = merge(lab, release, theirs, "hedy")
    assert text_of(merged, "count") == "count = lambda words: {}"
    assert any("by its cell id" in f for f in merged.findings)


def test_a_cell_of_ones_own_may_bear_any_id(lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT)
    for number, name in enumerate(("count", "count_hidden", "setup", "../../x", "")):
        theirs.cells.insert(1, code(f"x = {number}"))
        theirs.cells[1]["id"] = name
    merged = merge(lab, release, theirs, "eve")
    assert [c.source for c in merged.cells if c.role == "extra"] == [f"x = {n}" for n in "43210"]
    assert not merged.findings


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


# --- forbidden calls ---------------------------------------------------------------------------


@pytest.fixture
def strict(lab: Lab) -> Lab:
    return replace(lab, forbidden={"count": ["Counter"]})


def test_a_forbidden_call_is_flagged(strict: Lab, release: NotebookNode) -> None:
    text = "import collections\ndef count(words):\n    return collections.Counter(words)\n"
    merged = merge(strict, release, answered(release, RIGHT | {"count": text}), "eve")
    assert merged.flags == ["forbidden_call"]
    assert merged.findings == ["count: uses Counter, which this exercise does not allow"]
    assert text_of(merged, "count") == text
    free = merge(strict, release, answered(release, RIGHT | {"double": text}), "eve")
    assert "forbidden_call" not in free.flags


def test_a_forbidden_call_through_a_helper_is_flagged(strict: Lab, release: NotebookNode) -> None:
    helper = code("from collections import Counter as C\ndef helper(x):\n    return C(x)")
    for text, flags in (("helper(words)", ["forbidden_call"]), ("{}", [])):
        theirs = answered(release, RIGHT | {"count": f"def count(words):\n    return {text}\n"})
        theirs.cells.insert(1, helper)
        assert merge(strict, release, theirs, "eve").flags == flags


@pytest.mark.parametrize("text", [
    "import solutions", "from solutions.lab90 import x", "import os, autograder.judge as j",
    "x = __import__('solutions')", "importlib.import_module('autograder')",
])  # fmt: skip
def test_imports_of_ours_are_flagged(lab: Lab, release: NotebookNode, text: str) -> None:
    theirs = answered(release, RIGHT)
    theirs.cells.insert(1, code(f"try:\n    {text}\nexcept ImportError:\n    pass"))
    assert merge(lab, release, theirs, "eve").flags == ["forbidden_call"]
    theirs.cells[1].source = f"# {text}"
    if "import_" not in text:
        assert not merge(lab, release, theirs, "eve").flags


def test_flags_stand_in_one_order(tmp_path: Path, lab: Lab, release: NotebookNode) -> None:
    theirs = answered(release, RIGHT | {"double": DOUBLE + "import solutions"})
    again = copy.deepcopy(cell_of(theirs, "double_visible"))
    again["id"] = "again"
    theirs.cells += [code("#" * 300_000), code("#" * 300_000), again]
    path = hand_in(tmp_path, "ada", theirs, "x.ipynb")
    path.with_name("torch.py").touch()
    (submission,) = find(tmp_path, [NAME])
    flags = take(lab, release, submission).flags
    assert flags == ["duplicate", "oversize", "dropped", "forbidden_call", "renamed"]
