"""Reading a lab's source: the short forms, stable ids, and a clear word for every malformed one."""

from pathlib import Path

import pytest

from autograder.course import Course, CourseError
from autograder.lab import Lab, grade_id_of, namespace, read_lab

GOOD = """# %% [markdown]
# # A lab, {points}

# %% nbgrader={"locked": "setup"}
ANSWER = 42

# %% [markdown]
# ## One ({points:one}, 5 min)

# %% nbgrader={"solution": "one"}
def one():
    ### BEGIN SOLUTION
    return ANSWER - 41
    ### END SOLUTION

# %% nbgrader={"test": "one_visible", "points": 3}
assert one() == 1, "one"

# %% nbgrader={"test": "one_hidden", "points": 2}
# Hidden checks: again.
### BEGIN HIDDEN TESTS
assert one() * 2 == 2, "two"
### END HIDDEN TESTS

# %% [markdown] nbgrader={"manual": "think", "points": 5}
# ### BEGIN SOLUTION
# Because.
# ### END SOLUTION

# %% tags=["demo"]
raise RuntimeError("a demo is not part of the lab's namespace")
"""


def lab_of(folder: Path, text: str) -> Lab:
    source = folder / "solutions" / "lab50_x"
    source.mkdir(parents=True, exist_ok=True)
    (source / "lab50_x.py").write_text(text)
    return read_lab(Course(folder), "lab50_x")


def test_short_forms_become_nbgrader_metadata(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, GOOD)
    meta = lab.cell("one_hidden").metadata["nbgrader"]
    assert meta == {
        "grade": True, "grade_id": "one_hidden", "locked": True, "points": 2,
        "schema_version": 3, "solution": False, "task": False,
    }  # fmt: skip
    assert lab.cell("one").metadata["nbgrader"]["solution"]
    assert lab.cell("think").metadata["nbgrader"]["grade"]
    assert [(q.id, q.exercise, q.kind) for q in lab.questions] == [
        ("one_visible", "one", "visible"), ("one_hidden", "one", "hidden"),
        ("think", "think", "manual"),
    ]  # fmt: skip
    assert lab.exercises == ["one"]
    assert lab.max_points("one") == 5


def test_forbidden_calls_are_kept_for_us_alone(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, GOOD.replace('"one"}', '"one", "calls_forbidden": ["sum", "max"]}', 1))
    assert lab.forbidden == {"one": ["sum", "max"]}
    assert "forbidden" not in str(lab.notebook)
    assert lab.cell("one").metadata == lab_of(tmp_path, GOOD).cell("one").metadata


def test_points_in_texts_are_filled_in(tmp_path: Path) -> None:
    texts = [c.source for c in lab_of(tmp_path, GOOD).notebook.cells]
    assert texts[0] == "# A lab, 10 points"
    assert texts[2] == "## One (5 points, 5 min)"


def test_ids_are_stable_and_unique(tmp_path: Path) -> None:
    ids = [c["id"] for c in lab_of(tmp_path, GOOD).notebook.cells]
    assert ids == [c["id"] for c in lab_of(tmp_path, GOOD).notebook.cells]
    assert len(set(ids)) == len(ids)
    twice = GOOD + "\n# %%\nx = 1\n\n# %%\nx = 1\n"
    ids = [c["id"] for c in lab_of(tmp_path, twice).notebook.cells]
    assert len(set(ids)) == len(ids)
    graded = [c for c in lab_of(tmp_path, GOOD).notebook.cells if grade_id_of(c)]
    assert all(c["id"] == grade_id_of(c) for c in graded)


def test_namespace_runs_all_but_tests_and_demos(tmp_path: Path) -> None:
    space = namespace(lab_of(tmp_path, GOOD))
    assert space["one"]() == 1


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (', "points": 3}', "}", r"lab50_x.py:16: one_visible has no points; write"),
        ('"points": 3', '"points": 0', "one_visible has no points"),
        ('"test": "one_hidden"', '"test": "one_visible"', r"the id 'one_visible' stands twice"),
        ("    ### END SOLUTION\n", "", r":10: BEGIN SOLUTION is never closed"),
        ("### END HIDDEN TESTS\n", "", r":19: BEGIN HIDDEN TESTS is never closed"),
        ("    ### BEGIN SOLUTION\n", "", r"END SOLUTION without a BEGIN"),
        ('"solution": "one"', '"solution": "two"', "tests one, but no cell is"),
        ('"test": "one_hidden"', '"test": "one_secret"', "NAME_visible or NAME_hidden"),
        ('"test": "one_visible"', '"exam": "one_visible"', "expected one of solution"),
        ('"solution": "one"', '"solution": "one two"', "no valid id"),
        ("# Hidden checks: again.\n", "", "begin with a comment that stays visible"),
        ('# %% nbgrader={"solution": "one"}', "# %%", "a SOLUTION block in a cell that is no"),
        ('"one"}', '"one", "calls_forbidden": ["torch.sum"]}', "a list of plain names"),
        ('"one"}', '"one", "calls_forbidden": "sum"}', "a list of plain names"),
        ('"locked": "setup"', '"locked": "setup", "calls_forbidden": ["sum"]', "expected one of"),
        ("{points:one}", "{points:won}", "no question won"),
        (
            "# %% [markdown]\n# # A lab",
            "x = 1\n# %% [markdown]\n# # A lab",
            "before the first cell",
        ),
        ("### BEGIN HIDDEN TESTS\n", "", "END HIDDEN TESTS without a BEGIN"),
        (
            "    ### BEGIN SOLUTION\n    return ANSWER - 41\n    ### END SOLUTION\n",
            "    return 1\n",
            "one has no blank",
        ),
    ],
)
def test_a_malformed_source_is_refused_with_its_place(
    tmp_path: Path, old: str, new: str, words: str
) -> None:
    assert old in GOOD
    with pytest.raises(CourseError, match=words):
        lab_of(tmp_path, GOOD.replace(old, new, 1))
