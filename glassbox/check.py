"""Check a learner's function and say in one sentence what is wrong.

A test cell of a lab opens `with check.question("attention_visible", attention) as f:` and calls
`f`, the learner's function on copies of its arguments. The checks inside (`close`, `shape`,
`equal`, `that`, `unchanged`, `gradient`, `raises`) raise `CheckFailed`, which Jupyter prints as one
line. When one fails, the function is tried on the lab's fixed probe and the answer is compared with
the stored answers of known wrong solutions (`glassbox.bank`); only a match with exactly one of them
is named.

Deliberately not here: right answers (nothing in this package holds one), points that count (the
`autograder` decides) and anything that reads a clock.
"""

import hashlib
import html
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor

from glassbox import bank

__all__ = [
    "CheckFailed", "catalogue", "close", "equal", "generator", "gradient", "mistakes", "part",
    "question", "raises", "shape", "start", "summary", "that", "there", "unchanged",
]  # fmt: skip


class CheckFailed(AssertionError):
    """A check did not hold. `str()` is the whole message; notebooks print it as one line.

    `name` is the case that was tried, `seen` what came out, `why` the reason of the check.
    """

    def __init__(self, name: str, seen: str = "", why: str = "", mistake: str = "") -> None:
        self.name, self.seen, self.why, self.mistake = name, seen, why, mistake
        text = f"{name}: {seen}" if seen else name
        text += f" — {why}" if why else ""
        super().__init__(text + (f"\n  → {mistake}" if mistake else ""))

    def _render_traceback_(self) -> list[str]:  # IPython's hook: one line instead of a traceback
        return [f"✗ {self}"]


@dataclass
class Part:
    """A part of a question: what it is worth and how it failed, if it did."""

    title: str
    points: float
    error: Exception | None = None


class _Session:
    """The lab at hand and the outcome of each of its questions so far."""

    def __init__(self) -> None:
        self.bank: bank.Fingerprints | None = None
        self.question: str = ""
        self.outcomes: dict[str, tuple[str, str]] = {}  # question -> (status, message)
        self.parts: dict[str, list[Part]] = {}  # question -> its parts so far
        self.call: Callable | None = None  # while judged: how to call what is elsewhere


_session = _Session()


def start(lab: str) -> None:
    """Begin a lab: load its list of questions and its mistake bank, forget earlier outcomes.

    Raises FileNotFoundError naming the labs that exist when `lab` is none of them.
    """
    _session.bank = bank.load(lab)
    _session.outcomes = {}


def grading() -> bool:
    """Whether a grader runs this notebook (environment variable GLASSBOX_GRADING is set)."""
    return bool(os.environ.get("GLASSBOX_GRADING"))


# --- questions -------------------------------------------------------------------------------


class question:
    """A graded test cell: `with check.question("attention_visible", attention) as f:`.

    Gives `f`, the function called on copies of its tensors. A stub that still raises
    NotImplementedError is reported as "not attempted" and stops nothing. A failed check is
    completed with the name of the mistake where exactly one known mistake fits.
    """

    def __init__(self, name: str, function: Callable | None = None) -> None:
        self.name, self.function = name, function

    def __enter__(self) -> Callable | None:
        _session.question = self.name
        _session.parts[self.name] = []
        return _on_copies(self.function) if self.function is not None else None

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> bool:
        _session.question = ""
        if error is None:
            error = next((p.error for p in _session.parts[self.name] if p.error), None)
        if error is None:
            self._record("pass")
            print(f"✓ {self.name}{self._points()}")
            return False
        if isinstance(error, NotImplementedError) and not error.args:  # torch's own carry a text
            self._record("not attempted")
            if not grading():
                _show_not_attempted(self.name)
            return not grading()
        if isinstance(error, CheckFailed):
            self._fail(error)
        self._record("error", f"{type(error).__name__}: {error}")
        if kind is None:  # it was kept by a part
            raise error
        return False

    def _fail(self, error: CheckFailed) -> None:
        seen = "" if grading() and self.name.endswith("_hidden") else error.seen
        self._record("fail", str(CheckFailed(error.name, seen, error.why, error.mistake)))
        mistake = error.mistake or (self._diagnosis() or "")
        told = CheckFailed(error.name, seen, error.why, mistake)
        self._record("fail", str(told))
        raise told from None

    def _diagnosis(self) -> str | None:
        exercise = self.name.rsplit("_", 1)[0]
        if self.function is None or _session.bank is None:
            return None
        return _session.bank.diagnose(exercise, self.function)

    def _points(self) -> str:
        points = _session.bank.points(self.name) if _session.bank else None
        return f" ({points:g} points)" if points is not None else ""

    def _record(self, status: str, message: str = "") -> None:
        _session.outcomes[self.name] = (status, message)


class part:
    """A share of a question's points: `with check.part("gradient", 2):` inside of a question.

    A part that fails costs its own points and lets the others be tried. The points of all parts
    add up to those of the question; a check outside of any part decides the whole question.
    """

    def __init__(self, title: str, points: float) -> None:
        self.part = Part(title, points)

    def __enter__(self) -> None:
        _session.parts[_session.question].append(self.part)

    def __exit__(self, kind: type | None, error: BaseException | None, _: object) -> bool:
        unwritten = isinstance(error, NotImplementedError) and not error.args
        if not isinstance(error, Exception) or unwritten:
            return False
        if isinstance(error, CheckFailed):
            title = f"{self.part.title}: {error.name}"
            error = CheckFailed(title, error.seen, error.why, error.mistake)
        self.part.error = error
        return True


def share(name: str) -> float:
    """How much of a failed question's points its parts have earned, from 0 to 1."""
    parts = _session.parts.get(name, [])
    if not any(p.error for p in parts):  # then a check outside of the parts has failed
        return 0.0
    return sum(p.points for p in parts if p.error is None) / sum(p.points for p in parts)


def forget(name: str) -> None:
    """Drop what is known of a question: its test is about to run anew."""
    _session.outcomes.pop(name, None)
    _session.parts.pop(name, None)


def failure(name: str) -> str:
    """The message of a question that has failed, "" if it has not."""
    status, message = _session.outcomes.get(name, ("", ""))
    return message if status == "fail" else ""


def _on_copies(function: Callable) -> Callable:
    """The function on clones of its tensors, so that no call can spoil the next one's input."""
    if isinstance(function, type):  # a class: its constructor takes no tensors in our labs
        return function

    @wraps(function)
    def on_copies(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True  # an error in the function is shown without this frame
        return function(*bank.clone(args), **bank.clone(kwargs))

    return on_copies


class _NotAttempted:
    """Shown in place of an error. Its plain text "0" is the score that stock nbgrader reads."""

    def __init__(self, name: str) -> None:
        self.text = f"– {name}: not attempted yet (the stub still raises NotImplementedError)"

    def __repr__(self) -> str:
        return self.text

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        style = "color:var(--jp-content-font-color2, #5f6368)"
        return {"text/plain": "0", "text/html": f'<span style="{style}">{self.text}</span>'}


def _show_not_attempted(name: str) -> None:
    # As a *result*, not as print: a test cell without an error and without a result would be
    # given full marks by a plain `nbgrader autograde`.
    sys.displayhook(_NotAttempted(name))


# --- checks ----------------------------------------------------------------------------------


def that(condition: object, message: str) -> None:
    """Fail with `message` unless `condition` (a bool or a one-element tensor) holds.

    Anything else fails: an object of the learner's may call itself true.
    """
    if not isinstance(condition, bool | Tensor | np.bool_) or not bool(condition):
        raise CheckFailed(message)


def equal(name: str, got: object, expected: object, *, why: str = "") -> None:
    """Exact equality of plain values (numbers, strings, tuples, lists, None), types included."""
    if type(got) is not type(expected) or got != expected:
        raise CheckFailed(name, f"got {_plain(got)}, expected {_plain(expected)}", why)


def shape(name: str, got: object, expected: Iterable[int], *, why: str = "") -> None:
    """The shape of a tensor, e.g. `check.shape("weights", w, (B, H, T, S))`."""
    _require_tensor(name, got, why)
    if tuple(got.shape) != tuple(expected):
        seen = f"got shape {_shape(got)}, expected {_shape(torch.empty(tuple(expected)))}"
        raise CheckFailed(name, seen, why)


def close(
    name: str,
    got: object,
    expected: Tensor | float | bool | list,
    *,
    why: str = "",
    rel: float = 1e-4,
    scale: float | None = None,
) -> None:
    """`got` equals `expected` up to a tolerance relative to the size of what is expected.

    An entry may be off by `rel` times itself plus a tenth of `rel` times `scale`; `scale` is the
    largest expected magnitude unless given. Booleans and integers must be equal. Type, shape and
    (where `expected` is a tensor) dtype and device come first; nothing is broadcast. NaN fails;
    an infinity must stand where one is expected. An expected answer that is 0 everywhere needs
    `scale`, the size of the numbers that should have cancelled (ValueError otherwise).
    """
    want = expected if isinstance(expected, Tensor) else _as_tensor(expected)
    if want.is_floating_point() and want.isnan().any():
        raise ValueError(f"check.close({name!r}): the expected answer holds NaN.")
    if isinstance(got, bool | int | float) and not isinstance(expected, list | Tensor):
        got = _as_tensor(got)
    _require_tensor(name, got, why)
    _compare_form(name, got, want, isinstance(expected, Tensor), why)
    got, want = got.detach().cpu(), want.detach().cpu()
    wrong = _wrong(name, got, want, rel, scale) if want.is_floating_point() else got != want
    if wrong.any():
        raise CheckFailed(name, _difference(got, want, wrong), why)


def _wrong(name: str, got: Tensor, want: Tensor, rel: float, scale: float | None) -> Tensor:
    """Where two float tensors of one shape differ by more than the tolerance of `close`."""
    got, want = got.double(), want.double()
    finite = want.isfinite()
    if scale is None:
        scale = want[finite].abs().max().item() if finite.any() else 1.0
        if scale == 0.0:
            raise ValueError(f"check.close({name!r}): all zeros expected; give scale=.")
    # <= is False for NaN, so that a NaN is never within the tolerance
    near = (got - want).abs() <= rel * (want.abs() + 0.1 * scale)
    return ~torch.where(finite, near, got == want)


def unchanged(name: str, function: Callable, *args: object, why: str = "") -> None:
    """Call `function(*args)` and fail if the call has changed an argument, a tensor or a list."""
    function = getattr(function, "__wrapped__", function)  # on these arguments, not on copies
    given = bank.clone(args)
    function(*given)
    for number, (before, after) in enumerate(zip(args, given, strict=True), start=1):
        if bank.differs(before, after):
            raise CheckFailed(name, f"argument {number} was changed by the call", why)


def gradient(
    name: str, function: Callable[..., Tensor], *inputs: Tensor, why: str = "", rel: float = 1e-3
) -> None:
    """Backpropagation through `function` agrees with finite differences.

    `inputs` are float64 tensors. The output is projected on a fixed random direction; along three
    random directions, in which all inputs move, the derivative is compared with the two-sided
    quotient; if one differs, input by input. A function that detaches or goes through numpy fails.
    """
    gen = torch.Generator().manual_seed(0)
    leaves = [x.clone().requires_grad_() for x in inputs]
    out = function(*leaves)
    if not isinstance(out, Tensor) or not out.requires_grad:
        raise CheckFailed(name, "the result carries no gradient", why)
    weight = torch.randn(out.shape, generator=gen, dtype=out.dtype)
    grads = torch.autograd.grad((out * weight).sum(), leaves, allow_unused=True)
    together = range(len(inputs))
    for moving in [together] * 3:
        differs = _slopes_differ(function, inputs, grads, weight, moving, gen, rel)
        if not differs:
            continue
        for number in together:
            alone = _slopes_differ(function, inputs, grads, weight, [number], gen, rel)
            if alone:
                raise CheckFailed(name, f"the gradient of argument {number + 1} {alone}", why)
        raise CheckFailed(name, f"the gradient of the arguments together {differs}", why)


def _slopes_differ(function: Callable, inputs: Sequence[Tensor], grads: Sequence[Tensor | None],
                   weight: Tensor, moving: Iterable[int], gen: torch.Generator,
                   rel: float) -> str:  # fmt: skip
    """How gradients disagree with a difference quotient along a random direction, or nothing."""
    steps = {i: torch.randn(inputs[i].shape, generator=gen, dtype=inputs[i].dtype) for i in moving}
    moved = [[x + sign * 1e-6 * steps[i] if i in steps else x for i, x in enumerate(inputs)]
             for sign in (1, -1)]  # fmt: skip
    with torch.no_grad():
        up, down = (float((function(*args) * weight).sum()) for args in moved)
    slope = (up - down) / 2e-6
    parts = [0.0 if grads[i] is None else float((grads[i] * d).sum()) for i, d in steps.items()]
    got, least = sum(parts), min(map(abs, parts))  # as strict as the flattest input asks
    if abs(got - slope) <= rel * (least + float(weight.norm()) * 1e-2):
        return ""
    return f"gives {got:.4g} along a direction in which the result changes by {slope:.4g}"


def raises(name: str, kind: type[Exception], function: Callable, *args: Any, why: str = "") -> None:
    """Calling `function(*args)` raises `kind`."""
    try:
        function(*args)
    except NotImplementedError:
        raise
    except kind:
        return
    except Exception as error:
        seen = f"raised {type(error).__name__}, expected {kind.__name__}"
        raise CheckFailed(name, seen, why) from None
    raise CheckFailed(name, f"nothing was raised, expected {kind.__name__}", why)


def mistakes(key: str, function: Callable) -> None:
    """Fail with the name of the mistake if `function` makes a known one; say nothing otherwise.

    `key` is "lab01_attention.attention": the lab and the exercise.
    """
    lab, exercise = key.split(".")
    found = bank.load(lab).diagnose(exercise, function)
    if found:
        raise CheckFailed(exercise, mistake=found)


def generator(seed: int = 0, per_student: bool = False) -> torch.Generator:
    """Seeded randomness for a test: fixed in a notebook, set by the grader while grading.

    The seed depends on the question, on `seed` and on the environment variable GLASSBOX_SEED, so
    that constants copied from a visible run are worth nothing in a graded one; with
    `per_student=True` on the student as well (GLASSBOX_STUDENT).
    """
    text = f"{os.environ.get('GLASSBOX_SEED', '')}/{_session.question}/{seed}"
    text += f"/{os.environ.get('GLASSBOX_STUDENT', '')}" if per_student else ""
    digest = hashlib.sha256(text.encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))


def there(factory: Callable, *args: Any, **kwargs: Any) -> Any:
    """`factory(*args, **kwargs)`, built where the learner's code runs.

    A test that hands an object (a small model, say) to the learner's function builds it with this:
    in a notebook it is a plain call; while grading the object lives in the student's process.
    """
    if _session.call is None:
        return factory(*args, **kwargs)
    return _session.call(address(factory), args, kwargs)


@contextmanager
def elsewhere(call: Callable[[str, tuple, dict[str, Any]], Any]) -> Iterator[None]:
    """For a grader: until the end, `there` builds by `call(address, args, kwargs)`."""
    _session.call = call
    try:
        yield
    finally:
        _session.call = None


def address(factory: Callable) -> str:
    """How a class or function is found in another process: by its module, or in the notebook."""
    installed = factory.__module__.partition(".")[0] in ("glassbox", "torch")
    return f"{factory.__module__ if installed else ''}:{factory.__qualname__}"


# --- tables ----------------------------------------------------------------------------------


class Table:
    """A small table: HTML in notebooks and the book, aligned text elsewhere.

    `like this` is set as code.
    """

    def __init__(self, head: list[str], rows: list[list[str]], foot: str = "") -> None:
        self.head, self.rows, self.foot = head, rows, foot

    def __repr__(self) -> str:
        lines = [self.head, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.head))]
        text = ["  ".join(c.ljust(w) for c, w in zip(x, widths, strict=True)).rstrip()
                for x in lines]  # fmt: skip
        return "\n".join([*text, self.foot] if self.foot else text)

    def _repr_html_(self) -> str:
        left = 'style="text-align:left; vertical-align:top"'
        head = "".join(f'<th scope="col" {left}>{_marked(c)}</th>' for c in self.head)
        rows = ("".join(f"<td {left}>{_marked(c)}</td>" for c in row) for row in self.rows)
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        foot = f"<p>{_marked(self.foot)}</p>" if self.foot else ""
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{foot}"


class Catalogue(Table):
    """A table whose first column is a heading to unfold: one line for each exercise."""

    def _repr_html_(self) -> str:
        parts = []
        for name, rows in groupby(self.rows, key=lambda row: row[0]):
            items = [f"<li>{_marked(row[1])}</li>" for row in rows]
            summary = f"{_marked(name)}: {len(items)} known mistakes"
            parts.append(
                f"<details><summary>{summary}</summary><ul>{''.join(items)}</ul></details>"
            )
        return "".join(parts)


def _marked(text: str) -> str:
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text))


def summary() -> Table:
    """What passes, what fails, what is not attempted, and the points so far.

    Hidden checks run when the lab is graded; their points are listed apart.
    """
    if _session.bank is None:
        raise RuntimeError("No lab has begun. Run the first cell (check.start) and try again.")
    rows, so_far = [], 0.0
    points = {"visible": 0.0, "hidden": 0.0, "manual": 0.0}
    for q in _session.bank.questions:
        points[q["kind"]] += q["points"]
        if q["kind"] == "visible":
            status, message = _session.outcomes.get(q["id"], ("not run", ""))
            earned = q["points"] if status == "pass" else 0.0
            so_far += earned
            of = f"{earned:g} / {q['points']:g}"
            rows.append([q["exercise"], status, of, message.split("\n")[0]])
    foot = (
        f"{so_far:g} of {points['visible']:g} points so far. "
        f"Hidden checks decide {points['hidden']:g} more when the lab is graded."
    )
    foot += f" {points['manual']:g} are given by hand." if points["manual"] else ""
    return Table(["exercise", "status", "points", "message"], rows, foot)


def catalogue(lab: str) -> Catalogue:
    """The common mistakes of a lab, exercise by exercise, in the words that its checks use."""
    rows = [[f"`{exercise}`", text] for exercise, text in bank.load(lab).diagnoses()]
    return Catalogue(["function", "what the check says"], rows)


# --- wording ---------------------------------------------------------------------------------


def _require_tensor(name: str, got: object, why: str) -> None:
    if not isinstance(got, Tensor):
        hint = "; is a return missing?" if got is None else ""
        raise CheckFailed(name, f"got {_plain(got)}, expected a tensor{hint}", why)


def _compare_form(name: str, got: Tensor, want: Tensor, strict: bool, why: str) -> None:
    if got.shape != want.shape:
        raise CheckFailed(name, f"got shape {_shape(got)}, expected {_shape(want)}", why)
    differs = got.dtype != want.dtype if strict else _is_bool(got) != _is_bool(want)
    if differs:
        wanted = _dtype(want) if strict or _is_bool(want) else "numbers"
        raise CheckFailed(name, f"got dtype {_dtype(got)}, expected {wanted}", why)
    if strict and got.device != want.device:
        raise CheckFailed(name, f"got a tensor on {got.device}, expected {want.device}", why)


def _is_bool(x: Tensor) -> bool:
    return x.dtype == torch.bool


def _dtype(x: Tensor) -> str:
    return str(x.dtype).removeprefix("torch.")


def _as_tensor(value: bool | float | list) -> Tensor:
    """A number or nested list as float64, truth values as bool."""
    first = value
    while isinstance(first, list) and first:
        first = first[0]
    return torch.tensor(value, dtype=torch.bool if isinstance(first, bool) else torch.float64)


def _difference(got: Tensor, want: Tensor, wrong: Tensor) -> str:
    """Both answers if they are short, else the first place where they differ, and how many do."""
    if want.numel() <= 6:
        return f"got {_values(got)}, expected {_values(want)}"
    place = wrong.nonzero()[0].tolist()
    count = f"{int(wrong.sum())} of {want.numel()} values differ"
    at = tuple(place)
    return f"got {_number(got[at])} at {place}, expected {_number(want[at])} ({count})"


def _values(x: Tensor) -> str:
    if x.dim() == 0:
        return _number(x)
    return "[" + ", ".join(_values(row) for row in x) + "]"


def _number(x: Tensor) -> str:
    value = x.item()
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _shape(x: Tensor) -> str:
    return "(" + ", ".join(map(str, x.shape)) + ("," if x.dim() == 1 else "") + ")"


def _plain(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{type(value).__name__} {text[:60]}…"
