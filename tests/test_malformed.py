"""Notebooks that nobody wrote: whatever a file holds, intake answers, soon and in writing.

Each example is a file made by Hypothesis. With CI set the examples are the same in every run.
"""

import copy
import json
import os
import time
from dataclasses import asdict
from typing import Any

import nbformat
import pytest
from conftest import COUNT, NAME, RIGHT, answered
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from nbformat import NotebookNode

from autograder import intake
from autograder.intake import MAX_FINDINGS, Merged, Submission, take
from autograder.lab import Lab

SECONDS = 3.0  # of CPU for one file; an ordinary one takes 0.01
FEW = settings(max_examples=60, deadline=None, derandomize=bool(os.environ.get("CI")),
               suppress_health_check=[HealthCheck.too_slow])  # fmt: skip
HUGE, DEEP = '"HUGE"', '"DEEP"'  # json.dumps could not write these

Grade = Any  # a function from bytes to Merged


@pytest.fixture(scope="module")
def graded(lab: Lab, release: NotebookNode, tmp_path_factory: pytest.TempPathFactory) -> Grade:
    path = tmp_path_factory.mktemp("malformed") / f"{NAME}.ipynb"

    def grade(data: bytes) -> Merged:
        path.write_bytes(data)
        begun = time.process_time()
        merged = take(lab, release, Submission("eve", NAME, path))
        assert time.process_time() - begun < SECONDS
        return checked(merged, lab)

    return grade


def checked(merged: Merged, lab: Lab) -> Merged:
    """What holds for every file: a result that can be written, with our tests or a reason."""
    plain = {k: sorted(v) if isinstance(v, set) else v for k, v in asdict(merged).items()}
    json.dumps(plain, ensure_ascii=False, allow_nan=False).encode()
    assert len(merged.findings) <= MAX_FINDINGS
    assert merged.flags == [f for f in intake.FLAGS if f in merged.flags]
    keys = [c.id for c in merged.cells]
    assert len(set(keys)) == len(keys)
    assert bool(merged.malformed) != bool(keys)
    if keys:
        tests = [(c.id, c.source) for c in merged.cells if c.role == "test"]
        assert tests == [(q.id, lab.cell(q.id).source) for q in lab.questions if q.kind != "manual"]
        assert not merged.missing & (merged.untouched | merged.unsure)
    return merged


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
    | st.sampled_from([HUGE[1:-1], "count", "double", "setup", "code", "\ud800", "\0", "a\r\nb"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.sampled_from(["nbgrader", "grade_id", "id", "source", "cell_type", "x"]),
                      inner, max_size=4),
    max_leaves=12,
)  # fmt: skip
FILES = st.dictionaries(
    st.sampled_from(["nbformat", "nbformat_minor", "cells", "worksheets", "metadata", "x"]),
    VALUES | st.sampled_from([3, 4]) | st.lists(st.dictionaries(st.just("cells"), VALUES)),
)


def written(value: object) -> bytes:
    text = json.dumps(value)
    text = text.replace(HUGE, "-" + "9" * 5000)
    return text.replace(DEEP, '{"a":' * 3000 + "1" + "}" * 3000).encode()


@FEW
@given(data=st.binary(max_size=200) | VALUES.map(written) | FILES.map(written))
def test_any_bytes(graded: Grade, data: bytes) -> None:
    graded(data)


@FEW
@given(draw=st.data())
def test_bytes_of_a_notebook_changed(graded: Grade, release: NotebookNode,
                                     draw: st.DataObject) -> None:  # fmt: skip
    data = bytearray(nbformat.writes(answered(release, RIGHT)).encode())
    for _ in range(draw.draw(st.integers(1, 5))):
        at = draw.draw(st.integers(0, len(data) - 1))
        data[at] = draw.draw(st.integers(0, 255) | st.sampled_from(b'"{}[],:\\0\n'))
    graded(bytes(data[: draw.draw(st.none() | st.integers(0, len(data)))]))


FIELDS = st.sampled_from(["cell_type", "metadata", "source", "id", "outputs", "execution_count"])
# A grade id of another cell is another question: here an untouched cell keeps the only one.
HARMLESS = VALUES.filter(lambda v: '"count"' not in json.dumps(v))


def mutate(draw: st.DataObject, raw: dict[str, Any]) -> None:
    """One change to the cells, but for the text and the metadata of `count`."""
    cells = raw["cells"]
    mine = next(c for c in cells if is_count(c))
    others = [i for i, c in enumerate(cells) if c is not mine]
    place = st.integers(0, len(cells) - 1)
    other = draw.draw(st.sampled_from(others))
    match draw.draw(st.sampled_from(["drop", "swap", "copy", "field", "replace", "insert", "lose",
                                     "top"])):  # fmt: skip
        case "drop" if len(others) > 1:
            del cells[other]
        case "swap":
            i, j = draw.draw(place), draw.draw(place)
            cells[i], cells[j] = cells[j], cells[i]
        case "copy":
            cells.insert(draw.draw(place), copy.deepcopy(cells[draw.draw(place)]))
        case "field" if isinstance(cells[other], dict):
            cells[other][draw.draw(FIELDS)] = draw.draw(HARMLESS)
        case "replace":
            cells[other] = draw.draw(HARMLESS)
        case "insert":
            text = draw.draw(st.text(max_size=30) | st.just(COUNT.replace("words", "w")))
            cells.insert(draw.draw(place), {"cell_type": "code", "source": text})
        case "lose" if isinstance(cells[other], dict):
            cells[other].pop("metadata", None)
            mine.update(id=draw.draw(VALUES), outputs=draw.draw(VALUES))
        case "top":
            raw[draw.draw(st.sampled_from(["metadata", "nbformat_minor", "x"]))] = draw.draw(VALUES)


def is_count(cell: Any) -> bool:
    """The cell that nobody touches, or a copy of it."""
    return isinstance(cell, dict) and cell.get("source") == COUNT and "metadata" in cell


@FEW
@given(draw=st.data())
def test_what_a_mutation_did_not_touch_is_graded(graded: Grade, release: NotebookNode,
                                                 draw: st.DataObject) -> None:  # fmt: skip
    raw = json.loads(json.dumps(answered(release, RIGHT)))
    for _ in range(draw.draw(st.integers(1, 8))):
        mutate(draw, raw)
    merged = graded(written(raw))
    assert not merged.malformed
    assert next(c.source for c in merged.cells if c.id == "count") == COUNT
    assert not {"count"} & (merged.missing | merged.untouched | merged.unsure)


@FEW
@given(draw=st.data())
def test_without_metadata_nothing_breaks(graded: Grade, release: NotebookNode,
                                         draw: st.DataObject) -> None:  # fmt: skip
    raw = json.loads(json.dumps(answered(release, RIGHT)))
    for cell in raw["cells"]:
        cell.update(metadata={}, id=None)
    for _ in range(draw.draw(st.integers(0, 6))):
        text = draw.draw(st.sampled_from([c["source"] for c in raw["cells"]]))
        at = draw.draw(st.integers(0, len(text)))
        text = text[:at] + draw.draw(st.sampled_from(["", "\n", "\0", "x", "def count(w): pass\n"]))
        cells = raw["cells"]
        cells.insert(draw.draw(st.integers(0, len(cells))), {"cell_type": "code", "source": text})
    graded(written(raw))


@pytest.mark.parametrize("place", ["metadata", "outputs", "x"])
def test_deep_nesting_anywhere(graded: Grade, release: NotebookNode, place: str) -> None:
    raw = json.loads(json.dumps(answered(release, RIGHT)))
    raw["cells"][3][place] = DEEP[1:-1]
    assert graded(written(raw)).malformed


def test_a_huge_number_costs_nothing(graded: Grade, release: NotebookNode) -> None:
    raw = json.loads(json.dumps(answered(release, RIGHT)))
    raw["cells"][3]["execution_count"] = raw["metadata"]["x"] = HUGE[1:-1]
    assert not graded(written(raw)).findings


def heavy(source: str, count: int) -> list[dict[str, Any]]:
    return [{"cell_type": "code", "metadata": {}, "source": source.replace("N", str(i))}
            for i in range(count)]  # fmt: skip


WORK = {
    "many like an answer": heavy(COUNT.replace("count", "coNt") * 4, 4900),
    "many long ones": heavy("x = N\n" * 800, 4900),
    "copies": heavy(COUNT, 4900),
    "imports": heavy("import solutions, x\n" * 10_000 + "N", 80),
    "spaces": heavy("import" + " " * 120_000 + "N\ndef" + " " * 120_000, 60),
    "long lines": heavy("import " + "a," * 120_000 + "N", 60),
    "blanks": heavy(" " * 250_000 + "N" + "\n" * 5000, 60),
}


@pytest.mark.slow
@pytest.mark.parametrize("case", WORK)
def test_the_largest_notebooks_end_soon(graded: Grade, release: NotebookNode, case: str) -> None:
    raw = json.loads(json.dumps(answered(release, RIGHT)))
    raw["cells"] += WORK[case]
    merged = graded(json.dumps(raw).encode())
    assert not merged.missing
    for cell in raw["cells"]:
        cell["metadata"], cell["id"] = {}, None
    graded(json.dumps(raw).encode())
