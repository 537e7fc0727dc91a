"""Refuse test cells that would be unfair, unrepeatable or easy to fool, with file and line.

A test must give the same verdict on every machine and in every run, say what it saw, and not ask
for more than values. `lint` reads the syntax tree of each test cell; it executes nothing and does
not know whether the tests are *strong*: that is the audit's business.
"""

import ast
from collections.abc import Iterator

from autograder.course import CourseError
from autograder.lab import Lab

FORBIDDEN = {
    "isinstance": "ask for values, not for types; check.close compares dtype and shape",
    "type": "ask for values, not for types; check.close compares dtype and shape",
    "eval": "tests run no code made from text",
    "exec": "tests run no code made from text",
    "open": "tests read no files",
    "input": "nobody answers while grading",
    "print": "a check speaks when it fails; output of tests is not shown",
}
MODULES = {
    "time": "a verdict must not depend on the clock",
    "inspect": "grade what a function does, not how it is written",
    "random": "use generator=check.generator(), which the grader seeds",
    "os": "tests ask nothing of the machine",
    "subprocess": "tests ask nothing of the machine",
}
DOTTED = {
    "torch.allclose": "use check.close: it says what it saw, and its tolerance is relative",
    "torch.equal": "use check.close or check.unchanged, which say what they saw",
    "np.allclose": "use check.close: it says what it saw, and its tolerance is relative",
    "np.random": "use generator=check.generator(), which the grader seeds",
    "torch.compile": "compiling takes longer than a test may",
    "torch.optim": "a judged module's parameters are copies; let the learner's code make the step",
    "copy.deepcopy": "what is judged lives in another process; build a second one",
}
RANDOM = {"rand", "randn", "randint", "randperm", "normal", "bernoulli", "multinomial"}


def lint(lab: Lab) -> None:
    """Raise CourseError that lists every fault in the lab's test cells."""
    found = []
    for q in lab.questions:
        if q.kind == "manual":
            continue
        cell = lab.cell(q.id)
        try:
            tree = ast.parse(cell.source)
        except SyntaxError as error:
            found.append(_place(lab, q.id, error.lineno or 1) + f"{error.msg} (no magics in tests)")
            continue
        parts = _parts(tree)
        if parts and abs(sum(parts) - q.points) > 1e-9:
            found.append(_place(lab, q.id, 1) + f"its parts are worth {sum(parts):g} points, "
                         f"the cell {q.points:g}")  # fmt: skip
        seeded = "manual_seed" in cell.source
        found += [_place(lab, q.id, line) + text for line, text in _faults(tree, seeded)]
    if found:
        raise CourseError("\n".join(found))


def _parts(tree: ast.Module) -> list[float]:
    """The points of every `check.part("title", points)` in a test cell."""
    calls = [n for n in ast.walk(tree)
             if isinstance(n, ast.Call) and _dotted(n.func) == "check.part"]  # fmt: skip
    return [float(ast.literal_eval(call.args[1])) for call in calls]


def _place(lab: Lab, cell: str, line: int) -> str:
    return f"{lab.path}:{lab.lines[cell] + line}: {cell}: "


def _faults(tree: ast.Module, seeded: bool) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Assert) and node.msg is None:
            yield line, "assert without a message; use check, which says what it saw"
        elif isinstance(node, ast.ExceptHandler) and _broad(node):
            yield line, "catches every error; use check.raises with the one you expect"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield line, "imports; import in the lab's first cell, which the learner sees"
        elif isinstance(node, ast.Call):
            yield from ((line, text) for text in _call_faults(node, seeded))


def _call_faults(call: ast.Call, seeded: bool) -> Iterator[str]:
    name = _dotted(call.func)
    head, last = name.split(".")[0], name.split(".")[-1]
    if name in FORBIDDEN:
        yield f"{name}(): {FORBIDDEN[name]}"
    if head in MODULES and "." in name:
        yield f"{name}(): {MODULES[head]}"
    for prefix, reason in DOTTED.items():
        if name == prefix or name.startswith(prefix + "."):
            yield f"{name}(): {reason}"
    keywords = {k.arg for k in call.keywords}
    if head == "torch" and last in RANDOM and not seeded and "generator" not in keywords:
        yield f"{name}(): unseeded; pass generator=check.generator()"


def _broad(handler: ast.ExceptHandler) -> bool:
    return handler.type is None or _dotted(handler.type) in ("Exception", "BaseException")


def _dotted(node: ast.AST) -> str:
    """`torch.nn.init.normal_` as text; "" for anything but names joined by dots."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        owner = _dotted(node.value)
        return f"{owner}.{node.attr}" if owner else ""
    return ""
