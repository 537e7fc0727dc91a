"""Pairs of students whose answers are closer to each other than is usual in their class.

answers → tokens → runs of ten tokens → what two students share. Comments, layout, docstrings,
numbers and the names that a student chose are not in the tokens, so renaming hides nothing. Runs
that stand in the release, in our solution or in the mistake bank are nobody's own and do not count,
and a run counts the less, the more of the class have it. Written answers are compared by their
words. A pair is told if most of the shorter one's own text stands in the other; who has little text
of their own gets no verdict.

It is a hint to look. It cannot know who wrote first, whether two were allowed to work together, or
whether both read the same page; it decides nothing and lowers no mark. copydetect, the nearest
library, was read and left: its hashes differ from run to run, its removal of common code also takes
other code where a run repeats, and it compares every pair of a class in Python.
"""

import ast
import builtins
import itertools
import json
import keyword
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from autograder.course import Course
from autograder.intake import read_release, role_of
from autograder.lab import Lab

RUN = {"code": 10, "markdown": 5}  # tokens of a run
LEAST, CLOSE = 30.0, 0.5  # own runs for a verdict; the share of them that two have in common
MOST_TOKENS, MOST_PAIRS, SMALLEST_CLASS, BLOCK = 5_000, 20, 3, 4_096
TOKEN = re.compile(  # a text that is not closed ends with its line or with everything
    r"""(?P<skip>\#[^\n]*+|\\\n|[^\S\n]++) | (?P<line>\n)
    | (?P<text>[rbfuRBFU]{0,2}+(?:
        \"{3}(?:[^\\"]|\\.|"(?!""))*+(?:\"{3})? | '{3}(?:[^\\']|\\.|'(?!''))*+(?:'{3})?
        | "(?:[^\\"\n]|\\.)*+"? | '(?:[^\\'\n]|\\.)*+'? ))
    | (?P<number>\d[\w.]*+|\.\d\w*+) | (?P<name>[^\W\d]\w*+)
    | (?P<sign>\*\*=?|//=?|->|:=|[-+*/%@&|^<>=!]=|<<|>>|.)""",
    re.VERBOSE | re.DOTALL,
)
WORDS = {"self", *keyword.kwlist, *dir(builtins)}  # not a student's own
Answers = dict[str, dict[str, str]]  # student -> question -> text
Token = tuple[str, int, int]  # what it is, where it begins and ends


@dataclass
class Common:
    """What every student starts from: kinds of the answers, texts and names that are nobody's."""

    kinds: dict[str, str]  # question -> code or markdown
    texts: dict[str, list[str]]  # question -> versions that may be shared
    names: set[str] = field(default_factory=set)  # of imported things: a student cannot choose them


@dataclass
class Pair:
    """Two students, the share of the shorter one's own text that they have in common, and where."""

    first: str
    second: str
    share: float
    questions: dict[str, tuple[set[int], set[int]]]  # question -> shared lines of both


@dataclass
class Likeness:
    """What was found: pairs, the closest first; the usual share; students without a verdict."""

    pairs: list[Pair]
    usual: float
    judged: int
    short: list[str]
    left_out: int = 0  # pairs beyond the first MOST_PAIRS


# --- tokens ----------------------------------------------------------------------------------


def tokens(text: str, kind: str, names: set[str]) -> list[Token]:
    """The tokens of an answer with what a student can change freely made equal."""
    if kind != "code":
        words = re.finditer(r"\w+", text)
        return [(w[0].casefold(), w.start(), w.end()) for w in itertools.islice(words, MOST_TOKENS)]
    known = names | WORDS
    found: list[Token] = []
    last, owner = "\n", ""  # the word before, the one before that
    for match in itertools.islice(TOKEN.finditer(text), 4 * MOST_TOKENS):
        what, word = match.lastgroup, match[0]
        if what == "skip":
            continue
        if what == "name" and word not in known and (last != "." or owner == "self"):
            token = "n"
        else:
            token = {"text": "s", "number": "0"}.get(what, word)
        if what != "line" and not (what == "text" and last == "\n"):  # no docstrings
            found.append((token, match.start(), match.end()))
        last, owner = word, last
    return found[:MOST_TOKENS]


def runs(question: str, text: str, common: "Common") -> tuple[list[Token], list[int]]:
    """The tokens of an answer and, for each place where one begins, a digest of a run of them."""
    kind = common.kinds[question]
    found = tokens(text, kind, common.names)
    words, length = [t[0] for t in found], RUN[kind]
    return found, [hash((question, *words[i : i + length]))
                   for i in range(len(words) - length + 1)]  # fmt: skip


# --- comparing -------------------------------------------------------------------------------


def compare(answers: Answers, common: Common) -> Likeness:
    """Compare every student with every other."""
    free = {run for q, texts in common.texts.items() for text in texts
            for run in runs(q, text, common)[1]}  # fmt: skip
    own = {student: [run for q, text in sorted(texts.items())
                     for run in dict.fromkeys(runs(q, text, common)[1]) if run not in free]
           for student, texts in sorted(answers.items())}  # fmt: skip
    held = Counter(run for mine in own.values() for run in mine)
    weight = {run: _weight(n, len(own)) for run, n in held.items()}
    sizes = {student: sum(weight[run] for run in mine) for student, mine in own.items()}
    long = [student for student in own if sizes[student] >= LEAST]
    short = [student for student in own if sizes[student] < LEAST]
    likeness = Likeness([], 0.0, len(long), short)
    if len(long) < SMALLEST_CLASS:
        return likeness
    size = np.array([sizes[student] for student in long])
    together = _together([own[s] for s in long], weight)
    shares = together / np.minimum.outer(size, size)
    first, second = np.triu_indices(len(long), 1)
    likeness.usual = float(np.median(shares[first, second]))
    limit = max(CLOSE, (1 + likeness.usual) / 2)
    told = (shares >= limit) & (together >= LEAST)
    close = [(a, b) for a, b in zip(first, second, strict=True) if told[a, b]]
    close.sort(key=lambda pair: -shares[pair])
    likeness.left_out = max(len(close) - MOST_PAIRS, 0)
    for a, b in close[:MOST_PAIRS]:
        both = set(own[long[a]]) & set(own[long[b]])
        where = _where(answers[long[a]], answers[long[b]], both, common)
        likeness.pairs.append(Pair(long[a], long[b], min(float(shares[a, b]), 1.0), where))
    return likeness


def _weight(held: int, students: int) -> float:
    """What a run counts: 1 if two students have it or one alone, 0 if all have it."""
    return 1.0 if held < 3 else math.log(students / held) / math.log(students / 2)


def _together(own: list[list[int]], weight: dict[int, float]) -> np.ndarray:
    """The weight that each pair shares; in blocks, so that memory does not grow with the texts."""
    holders: dict[int, list[int]] = {}
    for student, mine in enumerate(own):
        for run in mine:
            holders.setdefault(run, []).append(student)
    shared = [(run, who) for run, who in holders.items() if len(who) > 1]
    together = np.zeros((len(own), len(own)))
    for start in range(0, len(shared), BLOCK):
        part = shared[start : start + BLOCK]
        block = np.zeros((len(part), len(own)), dtype=np.float32)
        for row, (run, who) in enumerate(part):
            block[row, who] = weight[run] ** 0.5
        together += block.T @ block
    return together


def _where(one: dict[str, str], two: dict[str, str], both: set[int],
           common: Common) -> dict[str, tuple[set[int], set[int]]]:  # fmt: skip
    """For each answer that shares something, the lines that do, counted from 0."""
    found = {q: (_lines(q, one[q], both, common), _lines(q, two[q], both, common))
             for q in common.kinds if q in one and q in two}  # fmt: skip
    return {q: lines for q, lines in found.items() if lines[0] and lines[1]}


def _lines(question: str, text: str, both: set[int], common: Common) -> set[int]:
    """Lines that hold the middle of a shared run."""
    found, digests = runs(question, text, common)
    length = RUN[common.kinds[question]]
    places = [found[i + length // 2][1] for i, run in enumerate(digests) if run in both]
    return {text.count("\n", 0, place) for place in places}


# --- what is compared ------------------------------------------------------------------------


def read_common(course: Course, lab: Lab) -> Common:
    """The texts of a lab that all may share; the mistake bank is read, not run."""
    release = {c["id"]: c.source for c in read_release(course, lab).cells}
    kinds, texts = {}, {}
    for cell in lab.notebook.cells:
        if role_of(cell) in ("answer", "manual"):
            kinds[cell["id"]] = cell.cell_type
            texts[cell["id"]] = [release[cell["id"]], cell.source]
    bank = course.solutions / lab.name / "mistakes.py"
    for question, text in _versions(bank.read_text(encoding="utf-8") if bank.exists() else ""):
        for known in [question] if question else [q for q in kinds if kinds[q] == "code"]:
            texts.get(known, []).append(text)
    return Common(kinds, texts, _imported("\n".join(release.values())))


def _versions(source: str) -> Iterator[tuple[str, str]]:
    """Each version of a bank with its exercise; the bank's helpers with "", for they serve all."""
    for node in ast.parse(source).body:
        if not isinstance(node, ast.FunctionDef | ast.ClassDef):
            continue
        names = [d.args[0] for d in node.decorator_list if isinstance(d, ast.Call) and d.args]
        names = [n.value for n in names if isinstance(n, ast.Constant)]
        for question in names or [""]:
            yield question, ast.get_source_segment(source, node) or ""


def _imported(source: str) -> set[str]:
    """Names that a student's code gets from imports of ours."""
    lines = re.findall(r"^\s*(?:from\s+[\w.]+\s+)?import\s+(.+)", source, re.MULTILINE)
    return {name for line in lines for name in re.findall(r"\w+", line)} - {"as"}


def read_answers(course: Course, lab: str, common: Common) -> Answers:
    """The answers in the marked copies of a lab, as they were handed in."""
    answers: Answers = {}
    for path in sorted((course.classroom / "autograded").glob(f"*/{lab}/{lab}.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        answers[path.parent.parent.name] = {
            c["id"]: "".join(c["source"]) for c in cells if c.get("id") in common.kinds
        }
    return answers
