"""The mistake bank: wrong and right versions of each exercise, kept in `solutions/LAB/mistakes.py`.

    bank = Bank("lab01_attention")
    bank.probe("attention", call(q, k, v), call(q, k, v, mask))

    @bank.wrong("attention", "Your columns sum to 1; rows should.")
    def softmax_over_queries(q, k, v, mask=None): ...

    @bank.right("attention")
    def with_einsum(q, k, v, mask=None): ...

It feeds the audit (do the tests tell wrong from right?), the fingerprints that learners' checks use
to name a mistake, the chapter's table of common mistakes and the teacher's class report.
"""

import importlib.util
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from autograder.course import Course, CourseError
from autograder.lab import Lab, cut
from glassbox import bank as fingerprints

Answer = list[np.ndarray]


def call(*args: object, **kwargs: object) -> dict[str, Any]:
    """One call of a probe."""
    return {"args": list(args), "kwargs": kwargs}


def drill(runner: Callable, *args: object, **kwargs: object) -> dict[str, Any]:
    """One call of a probe through `runner`, a function of glassbox that reports on the exercise.

    For what no single call shows: `runner(function, *args)` calls the function as often as it takes
    and gives plain values, a statistic of random draws or what has become of an argument.
    """
    return {"via": f"{runner.__module__}:{runner.__qualname__}", **call(*args, **kwargs)}


def module(init: dict[str, Any], state: dict[str, Any], *args: object, **kwargs: object) -> dict:
    """One call of a probe for a class: construct with `init`, load `state`, call forward."""
    return {"init": init, "state": state, **call(*args, **kwargs)}


@dataclass(frozen=True)
class Version:
    """One way to write an exercise; `diagnosis` is what a learner reads, empty if it is right."""

    name: str
    make: Callable
    diagnosis: str = ""


@dataclass
class Entry:
    """What the bank holds for one exercise."""

    cases: list[dict[str, Any]] = field(default_factory=list)
    wrong: list[Version] = field(default_factory=list)
    right: list[Version] = field(default_factory=list)
    equivalent: dict[str, str] = field(default_factory=dict)  # mutant -> why it is right


class Bank:
    """The versions of all exercises of a lab."""

    def __init__(self, lab: str) -> None:
        self.lab = lab
        self.entries: dict[str, Entry] = {}

    def __getitem__(self, exercise: str) -> Entry:
        return self.entries.setdefault(exercise, Entry())

    def probe(self, exercise: str, *cases: dict[str, Any]) -> None:
        """Set the calls by which mistakes in this exercise are recognised."""
        self[exercise].cases = list(cases)

    def wrong(self, exercise: str, diagnosis: str) -> Callable[[Callable], Callable]:
        """Register the decorated function or class as a mistake, with the words for it."""
        return self._add(self[exercise].wrong, exercise, diagnosis)

    def right(self, exercise: str) -> Callable[[Callable], Callable]:
        """Register the decorated function or class as another right version."""
        return self._add(self[exercise].right, exercise, "")

    def equivalent(self, exercise: str, mutant: str, reason: str) -> None:
        """Declare that a generic mutant of the audit does not change what the docstring asks."""
        self[exercise].equivalent[mutant] = reason

    def _add(
        self, versions: list[Version], exercise: str, text: str
    ) -> Callable[[Callable], Callable]:
        def keep(make: Callable) -> Callable:
            if any(v.name == make.__name__ for v in self[exercise].wrong + self[exercise].right):
                raise CourseError(
                    f"{self.lab}: {exercise} has two versions called {make.__name__}."
                )
            versions.append(Version(make.__name__, make, text))
            return make

        return keep


def read_bank(course: Course, lab: Lab) -> Bank:
    """Import `solutions/LAB/mistakes.py` and give its `bank`; CourseError where it is thin."""
    path = course.solutions / lab.name / "mistakes.py"
    if not path.exists():
        raise CourseError(f"{path} is missing: every lab has a mistake bank (see CONTRIBUTING.md).")
    spec = importlib.util.spec_from_file_location(f"mistakes_of_{lab.name}", path)
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    bank: Bank = loaded.bank
    if bank.lab != lab.name:
        raise CourseError(f"{path}: Bank({bank.lab!r}) should be Bank({lab.name!r}).")
    unknown = set(bank.entries) - set(lab.exercises)
    if unknown:
        raise CourseError(f"{path}: {', '.join(sorted(unknown))}: no such exercise in the lab.")
    for exercise in lab.exercises:
        entry, least = bank[exercise], 5 if lab.max_points(exercise) >= 10 else 3
        if len(entry.wrong) < least or len(entry.right) < 2 or not entry.cases:
            raise CourseError(
                f"{path}: {exercise} needs a probe, {least} wrong and 2 right versions; "
                f"it has {len(entry.cases)} cases, {len(entry.wrong)} and {len(entry.right)}."
            )
    return bank


def pack_fingerprints(lab: Lab, bank: Bank, only: str = "") -> dict[str, Any]:
    """The arrays of `glassbox/probes/LAB.npz`: questions, probes, answers of the mistakes.

    With `only` those of one exercise: a bank's answers take seconds.
    """
    questions = [
        {"id": q.id, "exercise": q.exercise, "kind": q.kind, "points": q.points}
        for q in lab.questions
    ]
    exercises = {e: (bank[e].cases, _answers(bank[e])) for e in lab.exercises if only in ("", e)}
    return fingerprints.pack(lab.name, questions, exercises)


def _answers(entry: Entry) -> dict[str, tuple[str, list[Answer], list[int]]]:
    """The diagnosis, the answers and the telling cases of each mistake of an exercise."""
    right = [fingerprints.answer(entry.right[0].make, c) for c in entry.cases]
    wrong = {v.name: [fingerprints.answer(v.make, c) for c in entry.cases] for v in entry.wrong}
    words = {v.name: v.diagnosis for v in entry.wrong}
    return {
        name: (words[name], answers, _telling(answers, [right] + [
            other for n, other in wrong.items() if words[n] != words[name]]))
        for name, answers in wrong.items()
    }  # fmt: skip


def _telling(answers: list[Answer], others: list[list[Answer]]) -> list[int]:
    """The first cases, as few as tell these answers from the right ones and all other mistakes'.

    Every earlier case counts, not only the one that differs: a function that is wrong in a plain
    case for another reason must not be told about a special one. "Differ" means by ten times the
    tolerance with which answers are recognised. Where no case differs the mistake is never named.
    """

    def first_difference(other: list[Answer]) -> int:
        loose = 10 * fingerprints.TOLERANCE
        pairs = enumerate(zip(answers, other, strict=True))
        return next((i for i, (a, b) in pairs if not fingerprints.same(a, b, loose)), len(answers))

    last = max(map(first_difference, others))
    return list(range(last + 1)) if last < len(answers) else []


# Every program of the field has such lines: they give nothing away.
EVERYDAY = re.compile(
    r"for \w+ in range\(\d+\):|torch\.manual_seed\(\d+\)|data = text\.encode\(\)|return \w+|"
    r"\w+\.((zero_grad|step|backward)\(\)|load_state_dict\(\w+\))"
)


def solution_lines(lab: Lab) -> set[str]:
    """Lines that stand only in solutions or hidden tests, white space folded, comments cut.

    `EVERYDAY` ones are left out, and lines of less than twelve characters (`return x`).
    """
    secret: set[str] = set()
    public: set[str] = set()
    for cell in lab.notebook.cells:
        outside, solution = cut(cell.source, "SOLUTION")
        outside, hidden = cut(outside, "HIDDEN TESTS")
        public |= set(map(fold, outside.splitlines()))
        secret |= set(map(fold, [*solution.splitlines(), *hidden.splitlines()]))
    return {line for line in secret - public if len(line) >= 12 and not EVERYDAY.fullmatch(line)}


def fold(line: str) -> str:
    """A line of code with white space folded and its trailing comment cut."""
    return " ".join(line.split("  #")[0].split())
