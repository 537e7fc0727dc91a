"""Audit a lab's tests: do they tell right from wrong, and do the messages name the right mistake?

Each version of the mistake bank is put in place of the solution and the lab's own test cells are
run on it, in this process, with several seeds. Beside the named mistakes go generic mutants of the
solution: constants, zeros, NaN, the input returned, and one change of the syntax tree at a time. A
mutant that no test rejects is listed; it is either a hole in the tests or, where the bank says so
with a reason, no change of what the docstring asks.

Then the solution, the bank's versions and the plainest mutants are graded a second time as a
submission would be, by the judge (`autograder.runner`): both ways must give the same verdict and
name the same mistake.

The quick form, for the whole course at once, takes every third of the mutants made by a change of
syntax, and has every third of the wrong versions judged.
"""

import ast
import contextlib
import copy
import inspect
import io
import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from autograder import runner, sandbox
from autograder.bank import Entry, Version, pack_fingerprints, read_bank
from autograder.course import Course, CourseError
from autograder.intake import Cell, Merged, role_of
from autograder.lab import Lab, namespace, read_lab
from glassbox import bank as fingerprints
from glassbox import check

SEEDS = ("1", "2", "3")
QUICK = 3  # the quick form takes one of so many
SECONDS = 20  # for one version; a mutant that loops for ever counts as rejected


@dataclass
class Verdict:
    """What the tests and the mistake bank said of one version of an exercise."""

    name: str
    visible: str = ""  # the message of the failed check, "" if the visible test passed
    hidden: str = ""
    named: str | None = None
    judged: list[str] | None = None  # messages of the tests that failed when judged; None: not run

    @property
    def rejected(self) -> bool:
        """Whether visible or hidden tests failed."""
        return bool(self.visible or self.hidden)


@dataclass
class Exercise:
    """The audit of one exercise."""

    name: str
    points: float
    wrong: list[Verdict] = field(default_factory=list)
    right: list[Verdict] = field(default_factory=list)
    mutants: list[Verdict] = field(default_factory=list)
    diagnoses: dict[str, str] = field(default_factory=dict)  # wrong version -> its words
    equivalent: dict[str, str] = field(default_factory=dict)

    @property
    def survivors(self) -> list[str]:
        """Mutants that no test rejects and that the bank does not declare right."""
        return [m.name for m in self.mutants if not m.rejected and m.name not in self.equivalent]

    @property
    def stale(self) -> list[str]:
        """Mutants declared right that are rejected or do not exist any more."""
        alive = {m.name for m in self.mutants if not m.rejected}
        return [name for name in self.equivalent if name not in alive]

    def faults(self) -> list[str]:
        """What keeps this exercise from being trusted, in sentences."""
        found = [f"wrong version {v.name} is accepted" for v in self.wrong if not v.rejected]
        found += [f"right version {v.name} is rejected: {v.visible or v.hidden}"
                  for v in self.right if v.rejected]  # fmt: skip
        found += [f"right version {v.name} is told: {v.named}" for v in self.right if v.named]
        found += [f"wrong version {v.name} is told: {v.named}" for v in self.wrong
                  if v.named and v.named != self.diagnoses[v.name]]  # fmt: skip
        found += [f"{v.name}: {what}" for v in self.wrong + self.right + self.mutants
                  for what in _disagreement(v)]  # fmt: skip
        return found + [f"declared equivalent, but gone or rejected: {m}" for m in self.stale]


def _disagreement(verdict: Verdict) -> list[str]:
    """How the judged verdict differs from the one in this process."""
    if verdict.judged is None:
        return []
    if bool(verdict.judged) != verdict.rejected:
        said = "; ".join(verdict.judged) or "it passes"
        return [f"judged otherwise: {said} (here: {verdict.visible or verdict.hidden or 'passes'})"]
    failed = [m for m in (verdict.visible, verdict.hidden) if "\n  → " in m]
    if failed and not any("→" in m for m in verdict.judged):
        return [f"its mistake is not named when judged: {'; '.join(verdict.judged)}"]
    return []


def audit(course: Course, name: str, workers: int | None = None,
          judged: bool = True, quick: bool = False) -> list[Exercise]:  # fmt: skip
    """Audit one lab, exercises side by side in child processes."""
    exercises = read_lab(course, name).exercises
    if judged:
        sandbox.require()
    with ProcessPoolExecutor(workers or os.cpu_count()) as pool:
        jobs = [pool.submit(_audit_exercise, course, name, e, judged, quick) for e in exercises]
        return [job.result() for job in jobs]


def _audit_exercise(
    course: Course, name: str, exercise: str, judged: bool, quick: bool = False
) -> Exercise:
    torch.set_num_threads(1)
    step = QUICK if quick else 1
    lab = read_lab(course, name)
    bank = read_bank(course, lab)
    with contextlib.redirect_stdout(io.StringIO()):
        space = namespace(lab)
    known = fingerprints.Fingerprints(pack_fingerprints(lab, bank, exercise))
    result = Exercise(exercise, lab.max_points(exercise))
    entry = bank[exercise]
    mutants = list(_mutants(lab, entry, space, exercise))
    plain, changed = [[m for m in mutants if (m.name in PLAIN) == way] for way in (True, False)]
    mutants = plain + changed[::step]
    tried = {m.name for m in mutants} if quick else entry.equivalent
    result.equivalent = {m: why for m, why in entry.equivalent.items() if m in tried}
    result.diagnoses = {v.name: v.diagnosis for v in entry.wrong}
    solution = Version("the solution", space[exercise])

    def judge(version: Version, once: bool = False) -> Verdict:
        return _judge(lab, known, space, exercise, version, once)

    result.right = [judge(v) for v in (solution, *entry.right)]
    result.wrong = [judge(v) for v in entry.wrong]
    result.mutants = [judge(v, once=True) for v in mutants]
    if judged:
        second = _Judged(course, lab, exercise)
        for verdict in result.right + result.wrong[::step]:
            verdict.judged = second.messages(second.version(verdict.name))
        for verdict in result.mutants:
            if verdict.name in PLAIN:
                verdict.judged = second.messages(second.mutant(verdict.name))
    return result


def _judge(
    lab: Lab,
    known: fingerprints.Fingerprints,
    space: dict[str, Any],
    exercise: str,
    version: Version,
    once: bool,
) -> Verdict:
    """Run the exercise's test cells on a version, each with one seed after the other until it
    rejects it; with `once` until any of them does."""
    verdict = Verdict(version.name)
    for seed in SEEDS:
        if once and verdict.rejected:
            break
        os.environ["GLASSBOX_SEED"] = seed
        for q in lab.questions:
            if q.exercise == exercise and not getattr(verdict, q.kind):
                message = _run(lab.cell(q.id).source, {**space, exercise: version.make})
                setattr(verdict, q.kind, message)
    with _deadline():
        verdict.named = known.diagnose(exercise, version.make)
    return verdict


def _run(source: str, space: dict[str, Any]) -> str:
    """The message of the error that a test cell raises, "" if it passes."""
    try:
        with contextlib.redirect_stdout(io.StringIO()), _deadline():
            exec(compile(source, "test cell", "exec"), space)
    except ValueError as error:
        if str(error).startswith("check."):
            raise CourseError(f"A test is wrong itself: {error}") from error
        return f"ValueError: {error}"
    except Exception as error:
        return str(error) or type(error).__name__
    return ""


@contextlib.contextmanager
def _deadline() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"longer than {SECONDS} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)


# --- as a submission -------------------------------------------------------------------------

# What stands for `autograder.bank` where a bank is read as a student's code: it only remembers.
STAND_IN = """
import sys, types
_kept = {}
class _Bank:
    def __init__(self, lab): pass
    def __getattr__(self, how):
        def method(exercise, *_, **__):
            def keep(make):
                _kept[exercise, make.__name__] = make
                return make
            return keep
        return method
_module = types.ModuleType("autograder.bank")
def _any(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return lambda *_, **__: None
_module.__getattr__ = _any
_module.Bank = _Bank
sys.modules["autograder"] = types.ModuleType("autograder")
sys.modules["autograder.bank"] = _module
"""


class _Judged:
    """One exercise of a lab, handed in in many versions and graded by the judge."""

    def __init__(self, course: Course, lab: Lab, exercise: str) -> None:
        self.lab, self.exercise = lab, exercise
        self.bank = (course.solutions / lab.name / "mistakes.py").read_text(encoding="utf-8")

    def version(self, name: str) -> str:
        """Source that defines the exercise as a version of the bank does."""
        if name == "the solution":
            return self.lab.cell(self.exercise).source
        return (f"{STAND_IN}\nexec(compile({self.bank!r}, 'bank', 'exec'), "
                f"{{'__name__': 'mistakes'}})\n"
                f"{self.exercise} = _kept[{self.exercise!r}, {name!r}]\n")  # fmt: skip

    def mutant(self, name: str) -> str:
        """Source that defines the exercise with its answer changed."""
        helpers = [inspect.getsource(f) for f in (_wrapped, _each, *PLAIN.values())]
        head = "import inspect\nimport torch\nfrom typing import Any\n"
        head += "from collections.abc import Callable\n"
        change = PLAIN[name].__name__
        given = "got, args" if PLAIN[name] is _input_returned else "got"
        return "\n".join([
            head + "from torch import Tensor, nn", *helpers, self.lab.cell(self.exercise).source,
            f"{self.exercise} = _wrapped({self.exercise}, lambda got, args: {change}({given}))",
        ])  # fmt: skip

    def messages(self, source: str) -> list[str]:
        """The messages of the tests that do not pass; CourseError if it cannot be graded."""
        cells = []
        for cell in self.lab.notebook.cells:
            role = role_of(cell)
            if cell.cell_type == "code" and role != "demo":
                text = source if cell["id"] == self.exercise else cell.source
                cells.append(Cell(role, cell["id"], "code", text, ""))
        others = {e for e in self.lab.exercises if e != self.exercise}
        result = runner.run(self.lab, Merged("audit", self.lab.name, cells, missing=others),
                            timeout=SECONDS)  # fmt: skip
        if result.ungraded:
            raise CourseError(f"{self.lab.name}: {self.exercise}: {'; '.join(result.findings)}")
        tested = next(q for q in result.questions if q.question == self.exercise)
        return [c.message for c in tested.cells.values() if c.points < c.max_points]


# --- generic mutants -------------------------------------------------------------------------


def _mutants(lab: Lab, entry: Entry, space: dict[str, Any], exercise: str) -> Iterator[Version]:
    solution = space[exercise]
    for name, change in PLAIN.items():
        if change is not _input_returned:
            yield Version(name, _wrapped(solution, lambda got, _, change=change: change(got)))
        elif any(isinstance(a, Tensor) for case in entry.cases for a in case["args"]):
            yield Version(name, _wrapped(solution, change))
    for name, tree in _changed_trees(lab.cell(exercise).source):
        changed = dict(space)
        try:
            exec(compile(tree, name, "exec"), changed)
        except Exception:  # a mutant that does not even define the function is no test of tests
            continue
        yield Version(name, changed[exercise])


def _wrapped(solution: Callable, change: Callable[[Any, Any], Any]) -> Callable:
    """The solution with its answer changed: of the function, or of a module's forward."""
    if isinstance(solution, type) and issubclass(solution, nn.Module):
        forward = solution.forward

        def changed(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            return change(forward(self, *args, **kwargs), args)

        return type(solution.__name__, (solution,), {"forward": changed})
    return lambda *args, **kwargs: change(solution(*args, **kwargs), args)


def _each(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, bool | int | float):
        return change(torch.tensor(value)).item()
    if isinstance(value, tuple | list | set):
        return type(value)(_each(v, change) for v in value)
    if isinstance(value, dict):
        return {key: _each(v, change) for key, v in value.items()}
    if inspect.isfunction(value):
        return lambda *args: _each(value(*args), change)
    return type(value)() if isinstance(value, str | bytes) else value


def _zeros(value: Any) -> Any:
    return _each(value, lambda x: x * 0 if x.dtype != torch.bool else torch.zeros_like(x))


def _nans(value: Any) -> Any:
    return _each(value, lambda x: x * torch.nan if x.is_floating_point() else torch.zeros_like(x))


def _ones(value: Any) -> Any:
    return _each(value, lambda x: torch.ones_like(x))


def _input_returned(value: Any, args: tuple[Any, ...]) -> Any:
    first = next(a for a in args if isinstance(a, Tensor))
    return _each(value, lambda _: first)


PLAIN = {"returns 0": _zeros, "returns NaN": _nans, "returns 1": _ones,
         "returns its input": _input_returned}  # fmt: skip
SWAPS: dict[type[ast.AST], list[type[ast.AST]]] = {
    ast.Add: [ast.Sub], ast.Sub: [ast.Add], ast.Mult: [ast.Div, ast.Add], ast.Div: [ast.Mult],
    ast.FloorDiv: [ast.Mult], ast.MatMult: [ast.Mult], ast.Pow: [ast.Mult], ast.Mod: [ast.Mult],
    ast.Lt: [ast.LtE, ast.Gt], ast.LtE: [ast.Lt, ast.GtE], ast.Gt: [ast.GtE, ast.Lt],
    ast.GtE: [ast.Gt, ast.LtE], ast.Eq: [ast.NotEq], ast.NotEq: [ast.Eq], ast.Is: [ast.IsNot],
    ast.IsNot: [ast.Is], ast.In: [ast.NotIn], ast.NotIn: [ast.In], ast.And: [ast.Or],
    ast.Or: [ast.And],
}  # fmt: skip


def _changed_trees(source: str) -> Iterator[tuple[str, ast.Module]]:
    """Copies of the tree with one change each, inside of the solution blocks only."""
    inside = _solution_lines(source)
    tree = ast.parse(source)
    seen: dict[str, int] = {}
    for number, node in enumerate(ast.walk(tree)):
        if getattr(node, "lineno", 0) not in inside:
            continue
        for change in _changes(node):
            other = copy.deepcopy(tree)
            twin = next(n for i, n in enumerate(ast.walk(other)) if i == number)
            before = ast.unparse(twin)
            change(twin)
            after = ast.unparse(twin).replace("(lambda same: same)", "")
            if before == after or len(before) + len(after) > 400:
                continue
            name = f"{before}  =>  {after}"
            seen[name] = seen.get(name, 0) + 1
            if seen[name] > 1:
                name += f"  (#{seen[name]})"
            yield name, ast.fix_missing_locations(other)


def _solution_lines(source: str) -> set[int]:
    lines, inside = set(), False
    for number, line in enumerate(source.splitlines(), 1):
        inside = (inside or "BEGIN SOLUTION" in line) and "END SOLUTION" not in line
        if inside:
            lines.add(number)
    return lines


NAMES = {"sin": "cos", "cos": "sin", "mean": "sum", "sum": "mean", "relu": "gelu", "gelu": "relu",
         "cat": "stack", "stack": "cat", "sqrt": "square", "rsqrt": "sqrt",
         "square": "abs"}  # fmt: skip
MODULES = {"torch", "F", "math", "nn", "self"}


def _changes(node: ast.AST) -> Iterator[Callable[[Any], None]]:
    """The single changes that apply to a node, each a function that changes its twin in place."""
    if isinstance(node, ast.BinOp):
        for swap in SWAPS.get(type(node.op), []):
            yield lambda n, s=swap: setattr(n, "op", s())
        if isinstance(node.op, ast.Sub | ast.Div | ast.MatMult | ast.FloorDiv | ast.Pow):
            yield lambda n: _exchange(n, "left", "right")
    elif isinstance(node, ast.Compare):
        for swap in SWAPS.get(type(node.ops[0]), []):
            yield lambda n, s=swap: n.ops.__setitem__(0, s())
    elif isinstance(node, ast.BoolOp):
        for swap in SWAPS[type(node.op)]:
            yield lambda n, s=swap: setattr(n, "op", s())
    elif isinstance(node, ast.UnaryOp):
        yield lambda n: setattr(n, "op", ast.UAdd() if isinstance(n.op, ast.USub) else ast.Not())
    elif isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield lambda n: setattr(n, "value", not n.value)
    elif isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        for step in (1, -1):
            yield lambda n, d=step: setattr(n, "value", n.value + d)
    elif isinstance(node, ast.IfExp):
        yield lambda n: _exchange(n, "body", "orelse")
    elif isinstance(node, ast.Attribute) and node.attr in NAMES:
        yield lambda n: setattr(n, "attr", NAMES[n.attr])
    elif isinstance(node, ast.Call):
        yield from _call_changes(node)


def _call_changes(node: ast.Call) -> Iterator[Callable[[Any], None]]:
    """Drop a keyword argument; exchange the first two arguments; leave a method call out."""
    for i in range(len(node.keywords)):
        yield lambda n, i=i: n.keywords.pop(i)
    if len(node.args) > 1:
        yield lambda n: n.args.__setitem__(slice(0, 2), n.args[1::-1])
    owner = node.func.value if isinstance(node.func, ast.Attribute) else None
    if owner is not None and not (isinstance(owner, ast.Name) and owner.id in MODULES):
        # `x.to(dtype)` becomes `(x)`: a call of the identity, since a node keeps its type
        same = ast.parse("(lambda same: same)", mode="eval").body
        yield lambda n: n.__dict__.update(func=same, args=[n.func.value], keywords=[])


def _exchange(node: ast.AST, one: str, other: str) -> None:
    first, second = getattr(node, one), getattr(node, other)
    setattr(node, one, second)
    setattr(node, other, first)


# --- report ----------------------------------------------------------------------------------

LEAST_KILLED, LEAST_NAMED, LEAST_VISIBLE = 0.95, 0.90, 0.70


def faults(lab: str, exercises: list[Exercise]) -> list[str]:
    """Everything that must be mended before the lab may be released."""
    found = [f"{e.name}: {fault}" for e in exercises for fault in e.faults()]
    wrong = [v for e in exercises for v in e.wrong]
    shares = {
        "generic mutants are rejected": (_killed(exercises), LEAST_KILLED),
        "named mistakes are named correctly": (_named(exercises) / len(wrong), LEAST_NAMED),
        "named mistakes are rejected by visible tests alone": (
            sum(bool(v.visible) for v in wrong) / len(wrong), LEAST_VISIBLE),
    }  # fmt: skip
    return found + [f"{lab}: {share:.1%} of {what}; {least:.0%} is the least."
                    for what, (share, least) in shares.items() if share < least]  # fmt: skip


def _named(exercises: list[Exercise]) -> int:
    return sum(v.named == e.diagnoses[v.name] for e in exercises for v in e.wrong)


def _killed(exercises: list[Exercise]) -> float:
    asked = sum(len(e.mutants) - len(e.equivalent) for e in exercises)
    return 1 - sum(len(e.survivors) for e in exercises) / asked


def table(lab: str, exercises: list[Exercise]) -> str:
    """The audit as text: a line per exercise, a line of totals, survivors and declared mutants."""
    head = ["exercise", "mistakes", "visible", "+hidden", "named", "right", "mutants", "survive"]
    rows = [
        [e.name, str(len(e.wrong)), str(sum(bool(v.visible) for v in e.wrong)),
         str(sum(v.rejected for v in e.wrong)),
         str(sum(v.named == e.diagnoses[v.name] for v in e.wrong)),
         f"{sum(not v.rejected for v in e.right)}/{len(e.right)}",
         str(len(e.mutants) - len(e.equivalent)), str(len(e.survivors))]
        for e in exercises
    ]  # fmt: skip
    total = ["all"] + [
        f"{sum(int(r[i].split('/')[0]) for r in rows)}"
        + (f"/{sum(int(r[i].split('/')[1]) for r in rows)}" if "/" in rows[0][i] else "")
        for i in range(1, len(head))
    ]
    text = [f"{lab}: {_killed(exercises):.1%} of the generic mutants rejected", ""]
    text.append(repr(check.Table(head, [*rows, total])))
    for e in exercises:
        text += [f"  survivor of {e.name}: {m}" for m in e.survivors]
        text += [f"  equivalent in {e.name}: {m} ({why})" for m, why in e.equivalent.items()]
    return "\n".join(text)


def main(course: Course, labs: list[str], as_json: bool = False, quick: bool = False) -> int:
    """Audit labs, print tables (or JSON), return 1 if anything is to be mended."""
    bad: list[str] = []
    report = {}
    for lab in labs:
        exercises = audit(course, lab, quick=quick)
        bad += faults(lab, exercises)
        report[lab] = [asdict(e) | {"survivors": e.survivors} for e in exercises]
        if not as_json:
            print(table(lab, exercises) + "\n")
    if as_json:
        print(json.dumps({"labs": report, "faults": bad}, indent=1))
    else:
        print("\n".join(["To be mended:", *bad]) if bad else "Nothing to be mended.")
    sys.stdout.flush()
    return 1 if bad else 0
