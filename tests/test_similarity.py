"""Likeness of answers: copies are found however they are dressed, what all have is not likeness."""

import random
import re
import time
from pathlib import Path

import pytest
from conftest import NAME

from autograder.course import Course
from autograder.lab import read_lab
from autograder.similarity import Common, compare, read_answers, read_common, runs, tokens

ROOT = Path(__file__).parents[1]
CODE = Common({"f": "code"}, {"f": ["def f(x):\n    raise NotImplementedError\n"]}, {"torch"})
LONG = '''def f(rows):
    """What the lab asks for."""
    total, seen = 0, []
    for row in sorted(rows, key=len):
        if row and row[0] not in seen:
            seen.append(row[0])
            total += sum(value * 2 for value in row if value > 3)
        elif len(row) == 1:
            total -= 1
    return {"total": total, "seen": torch.tensor(seen).softmax(-1)}
'''


def other(number: int) -> str:
    """Code of the same length that shares little with any other."""
    draw = random.Random(number)
    parts = [
        "x",
        "len(x)",
        "sum(x)",
        "x[0]",
        "(x, x)",
        "[y for y in x]",
        "not x",
        "x ** 2",
        "{x: 1}",
    ]
    lines = [f"    {draw.choice('abc')} {draw.choice(['=', '+=', '-='])} {draw.choice(parts)}"
             f" {draw.choice('+-*/%@')} {draw.choice(parts)}" for _ in range(14)]  # fmt: skip
    return "def f(x):\n" + "\n".join(lines) + "\n    return a\n"


def class_of(**texts: str) -> dict[str, dict[str, str]]:
    others = {f"s{i}": other(i) for i in range(6)}
    return {name: {"f": text} for name, text in (others | texts).items()}


def pairs(answers: dict[str, dict[str, str]], common: Common = CODE) -> list[tuple[str, str]]:
    return [(p.first, p.second) for p in compare(answers, common).pairs]


def dressed(text: str) -> str:
    """Other names, other layout, comments, no docstring, other constants."""
    text = re.sub(r'    """.*"""\n', "", text)
    for name in ("rows", "row", "total", "seen", "value"):
        text = re.sub(rf"\b{name}\b(?!\")", f"my_{name}", text)
    text = text.replace("    ", "        ").replace(" * 2", "*7").replace("\n", "  # mine\n\n")
    return "# written by me alone\n" + text


def test_strangers_are_not_alike() -> None:
    found = compare(class_of(ada=LONG), CODE)
    assert found.pairs == []
    assert found.judged == 7
    assert found.usual < 0.2


@pytest.mark.parametrize("copy", [LONG, dressed(LONG)], ids=["as it is", "dressed up"])
def test_a_copy_is_found_and_shown(copy: str) -> None:
    found = compare(class_of(ada=LONG, bob=copy), CODE)
    assert [(p.first, p.second) for p in found.pairs] == [("ada", "bob")]
    assert found.pairs[0].share > 0.95
    ours, theirs = found.pairs[0].questions["f"]
    assert {LONG.splitlines()[i].strip() for i in ours} >= {"total -= 1", "seen.append(row[0])"}
    assert {"total -= 1", "my_total -= 1  # mine"} & {copy.splitlines()[i].strip() for i in theirs}


def test_a_copy_in_a_longer_answer_is_found() -> None:
    assert pairs(class_of(ada=LONG, bob=LONG + other(77))) == [("ada", "bob")]


def test_what_the_lab_gives_or_knows_is_nobodys_own() -> None:
    known = Common(CODE.kinds, {"f": [*CODE.texts["f"], LONG]}, CODE.names)
    found = compare(class_of(ada=LONG, bob=dressed(LONG)), known)
    assert found.pairs == []
    assert found.short == ["ada", "bob"]


def test_what_most_of_a_class_writes_is_no_likeness() -> None:
    everyone = {f"s{i}": {"f": LONG + other(i)} for i in range(8)}
    assert pairs(everyone) == []


def test_a_ring_is_found_as_pairs() -> None:
    ring = pairs(class_of(ada=LONG, bob=dressed(LONG), cid=LONG.replace("total", "t"),
                          **{f"t{i}": other(100 + i) for i in range(14)}))  # fmt: skip
    assert ring == [("ada", "bob"), ("ada", "cid"), ("bob", "cid")] or len(ring) == 3


@pytest.mark.parametrize("text", ["", "def f(x):\n    return x.sum(-1)\n", "def f(x:\n  '''"])
def test_short_answers_get_no_verdict(text: str) -> None:
    found = compare(class_of(ada=text, bob=text), CODE)
    assert found.pairs == []
    assert found.short == ["ada", "bob"]


def test_a_class_of_two_gets_no_verdict() -> None:
    found = compare({"ada": {"f": LONG}, "bob": {"f": LONG}}, CODE)
    assert found.pairs == []
    assert found.judged < 3


def test_written_answers_are_compared_by_their_words() -> None:
    essays = Common({"essay": "markdown"}, {"essay": ["*Write your answer here.*"]})
    draw = random.Random(0)
    words = [f"word{i}" for i in range(400)]
    answers = {f"s{i}": {"essay": " ".join(draw.choices(words, k=90))} for i in range(6)}
    answers["zoe"] = {"essay": answers["s2"]["essay"].upper().replace(" ", ", ")}
    assert pairs(answers, essays) == [("s2", "zoe")]


def test_only_answers_to_the_same_question_are_compared() -> None:
    two = Common({"f": "code", "g": "code"}, {"f": [], "g": []})
    answers = {f"s{i}": {"f": other(i), "g": other(50 + i)} for i in range(4)}
    answers |= {"ada": {"f": LONG, "g": ""}, "bob": {"f": "", "g": LONG}}
    assert pairs(answers, two) == []


def test_a_students_names_and_numbers_are_no_tokens() -> None:
    one = tokens("y = self.left @ F.softmax(x1, dim=-1)  # why", "code", {"F"})
    assert [t[0] for t in one] == "n = self . n @ F . softmax ( n , n = - 0 )".split()
    assert [t[0] for t in tokens("a.b.c(1.5e-3, 'x')", "code", set())][2:5:2] == ["b", "c"]


HOSTILE = [
    '"""' + "a" * 250_000, "'\\" * 120_000, '"' * 250_000, "((" * 120_000, "\n" * 250_000,
    "''' \"\"\"" * 30_000, "0" * 250_000, "é#" * 120_000, "\0" * 250_000, "f" * 250_000,
    "rb" * 120_000, "'''" + "\\" * 240_000, "'\\''" * 60_000,
]  # fmt: skip


def test_hostile_text_takes_no_time() -> None:
    begun = time.process_time()
    for text in HOSTILE:
        runs("f", text, CODE)
    assert time.process_time() - begun < 5


def test_a_large_class_is_compared_in_seconds() -> None:
    draw = random.Random(5)
    kinds = {f"q{i}": "code" for i in range(12)}
    pool = [other(i) for i in range(400)]
    answers = {f"s{i:03}": {q: draw.choice(pool) for q in kinds} for i in range(150)}
    answers["zoe"] = {q: dressed(text) for q, text in answers["s007"].items()}
    begun = time.process_time()
    found = compare(answers, Common(kinds, {q: [] for q in kinds}))
    assert (found.pairs[0].first, found.pairs[0].second) == ("s007", "zoe")
    assert found.left_out == 0
    assert time.process_time() - begun < 15


def test_what_is_read_from_a_course(classroom: Course) -> None:
    common = read_common(classroom, read_lab(classroom, NAME))
    assert common.kinds == {"double": "code", "count": "code", "reflection": "markdown"}
    assert any("return x + x + 0" in text for text in common.texts["double"])  # our solution
    answers = read_answers(classroom, NAME, common)
    assert "words.count(w)" in answers["ada"]["count"]
    assert answers["eve"]["double"] == answers["dave"]["double"]  # malformed: the release
    assert {"ada", "bob", "dave", "eve"} <= set(compare(answers, common).short)


def test_versions_of_the_mistake_bank_are_known() -> None:
    course = Course(ROOT)
    common = read_common(course, read_lab(course, "lab01_attention"))
    bank = (ROOT / "solutions" / "lab01_attention" / "mistakes.py").read_text()
    assert bank.count('@bank.right("attention")') >= 2
    versions = [t for t in common.texts["attention"] if t.startswith("def ")]
    assert len(versions) > bank.count('@bank.right("attention")')
    assert {"torch", "F", "nn", "math"} <= common.names
    everyone = {f"s{i}": {"attention": text} for i, text in enumerate(versions)}
    assert compare(everyone, common).judged == 0
