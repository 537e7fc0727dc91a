"""Test cells that would be unfair, unrepeatable or mute are refused with file and line."""

from pathlib import Path

import pytest
from test_lab_source import GOOD, lab_of

from autograder.course import Course, CourseError
from autograder.lint import lint

ROOT = Path(__file__).parents[1]
CHECK = 'assert one() == 1, "one"'


def test_a_fair_test_passes(tmp_path: Path) -> None:
    lint(lab_of(tmp_path, GOOD))


@pytest.mark.parametrize(
    ("test", "words"),
    [
        ("assert one() == 1", "assert without a message"),
        ("x = 1\nassert torch.allclose(one(), x), 'no'", "use check.close"),
        ("check.that(isinstance(one(), int), 'no')", "ask for values, not for types"),
        ("check.that(time.time() - start < 1, 'slow')", "must not depend on the clock"),
        ("x = torch.randn(3)", "unseeded; pass generator"),
        ("x = random.random()", "generator=check.generator"),
        ("x = np.random.normal(3)", "generator=check.generator"),
        ("try:\n    one()\nexcept Exception:\n    pass", "catches every error"),
        ("try:\n    one()\nexcept:\n    pass", "catches every error"),
        ("x = inspect.getsource(one)", "not how it is written"),
        ("print(one())", "a check speaks when it fails"),
        ("import math", "import in the lab's first cell"),
        ("exec('x = 1')", "no code made from text"),
        ("%timeit one()", "no magics in tests"),
    ],
)
def test_a_bad_test_is_refused(tmp_path: Path, test: str, words: str) -> None:
    lab = lab_of(tmp_path, GOOD.replace(CHECK, test))
    with pytest.raises(CourseError, match=words):
        lint(lab)


def test_the_line_is_that_of_the_source(tmp_path: Path) -> None:
    text = GOOD.replace(CHECK, f"{CHECK}\nprint(1)")
    with pytest.raises(CourseError) as caught:
        lint(lab_of(tmp_path, text))
    number = int(str(caught.value).split("lab50_x.py:")[1].split(":")[0])
    assert text.splitlines()[number - 1] == "print(1)"


def test_seeded_randomness_is_fair(tmp_path: Path) -> None:
    for test in (
        "x = torch.randn(3, generator=check.generator())",
        "torch.manual_seed(0)\nx = torch.randn(3)",
    ):
        lint(lab_of(tmp_path, GOOD.replace(CHECK, test)))


def test_the_labs_of_the_course_are_fair() -> None:
    from autograder.lab import read_lab

    course = Course(ROOT)
    for name in course.all_labs():
        lint(read_lab(course, name))
