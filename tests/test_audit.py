"""The audit finds what it is there to find: weak tests, unfair tests, wrong names."""

import contextlib
import io
import json
from pathlib import Path

import pytest
from conftest import NAME, make_course

from autograder import audit
from autograder.audit import _changed_trees
from autograder.course import Course


def edited(folder: Path, *, lab: tuple[str, str] = ("", ""), bank: str = "") -> Course:
    """The fixture course with one change in its lab and something added to its mistake bank."""
    course = make_course(folder)
    source = course.source(NAME)
    assert lab[0] in source.read_text()
    source.write_text(source.read_text().replace(*lab, 1) if lab[0] else source.read_text())
    mistakes = source.parent / "mistakes.py"
    mistakes.write_text(mistakes.read_text() + bank)
    return course


def found(course: Course) -> tuple[int, str]:
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        code = audit.main(course, [NAME])
    return code, out.getvalue()


def test_a_hole_in_the_tests_is_reported(tmp_path: Path) -> None:
    bank = """
@bank.wrong("double", "Only negative numbers are doubled.")
def right_where_negative(x):
    return 2 * x if x < 0 else 0
"""
    weak = edited(tmp_path, lab=("check(double(3) == 6,", "check(True,"), bank=bank)
    code, text = found(weak)
    assert code == 1
    assert "double: wrong version right_where_negative is accepted" in text


def test_an_unfair_test_is_reported(tmp_path: Path) -> None:
    unfair = edited(
        tmp_path, bank='\n@bank.right("double")\ndef as_float(x):\n    return 2.5 * x\n'
    )
    code, text = found(unfair)
    assert code == 1
    assert "double: right version as_float is rejected" in text


def test_a_mistake_that_the_probe_cannot_tell_from_right_is_never_named(tmp_path: Path) -> None:
    course = edited(
        tmp_path,
        bank='\n@bank.wrong("double", "Large numbers become 0.")\n'
        "def saturates(x):\n    return 2 * x if abs(x) < 1000 else 0\n",
    )
    exercise = audit.audit(course, NAME)[0]
    verdict = next(v for v in exercise.wrong if v.name == "saturates")
    assert verdict.rejected
    assert verdict.named is None
    assert not [v for v in exercise.right if v.named]


def test_wrong_names_are_reported() -> None:
    exercise = audit.Exercise("f", 5, diagnoses={"a": "It is a."})
    exercise.wrong = [audit.Verdict("a", visible="failed", named="It is b.")]
    exercise.right = [audit.Verdict("good", named="It is a.")]
    assert exercise.faults() == [
        "right version good is told: It is a.",
        "wrong version a is told: It is b.",
    ]


def test_a_stale_declaration_is_reported(tmp_path: Path) -> None:
    course = edited(tmp_path, bank='\nbank.equivalent("double", "a  =>  b", "no reason")\n')
    code, text = found(course)
    assert code == 1
    assert "declared equivalent, but gone or rejected: a  =>  b" in text


def test_the_report_as_json(course: Course, capsys: pytest.CaptureFixture) -> None:
    audit.main(course, [NAME], as_json=True)
    report = json.loads(capsys.readouterr().out)
    assert {e["name"] for e in report["labs"][NAME]} == {"double", "count"}
    assert isinstance(report["faults"], list)


def test_mutants_stay_inside_of_the_blank_and_differ() -> None:
    source = (
        "def f(x, n=3):\n    y = x + 1\n    ### BEGIN SOLUTION\n    if n > 2 and x:\n"
        "        return (x - n) * 2\n    return g(x, n, key=1).to(x)\n    ### END SOLUTION\n"
    )
    names = [name for name, _ in _changed_trees(source)]
    assert len(names) == len(set(names))
    assert "x - n  =>  x + n" in names
    assert "x - n  =>  n - x" in names
    assert "n > 2  =>  n >= 2" in names
    assert "2  =>  3" in names
    assert "n > 2 and x  =>  n > 2 or x" in names
    assert "g(x, n, key=1)  =>  g(x, n)" in names
    assert "g(x, n, key=1)  =>  g(n, x, key=1)" in names
    assert any(name.startswith("g(x, n, key=1).to(x)  =>  ") for name in names)
    assert not any(name.startswith(("x + 1", "3  =>")) for name in names)


def test_the_quick_form_tries_all_mistakes_and_a_third_of_the_rest(tmp_path: Path) -> None:
    course = edited(tmp_path)
    quick, full = audit.audit(course, NAME, quick=True), audit.audit(course, NAME)
    for some, every in zip(quick, full, strict=True):
        assert [v.name for v in some.wrong] == [v.name for v in every.wrong]
        assert [v.name for v in some.right] == [v.name for v in every.right]
        mutants = {v.name for v in every.mutants}
        assert {v.name for v in some.mutants} >= mutants & set(audit.PLAIN)
        assert {v.name for v in some.mutants} < mutants
        assert all(v.judged is not None for v in some.right)
        assert 0 < sum(v.judged is not None for v in some.wrong) < len(some.wrong)
        assert not some.faults()
