"""Recognise known mistakes by their answers on a fixed probe.

`probes/labNN_slug.npz` holds, for each exercise, a probe (a list of calls) and the answers that
known wrong solutions give to it: numbers, no code and no right answer. `Fingerprints.diagnose`
makes the calls with the learner's function and names a mistake only if the answers are those of
that mistake and of no other. A mistake is compared on the first calls, as many as tell it
apart, so that a second slip in a more special call does not hide it. The teacher's
`autograder build` writes the file with `pack`; it holds arrays, and names of makers in this package
for what is no array, so that reading it can run nothing else (no pickle).
"""

import hashlib
import importlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

PROBES = Path(__file__).parent / "probes"
TOLERANCE = 1e-4  # relative to the largest entry: the same mistake written in another way


@dataclass(frozen=True)
class Made:
    """A value of a probe that is made anew for each call: a config, a function, a module.

    `maker` is "module:name" in this package. A module becomes float64 and gets the weights `state`.
    """

    maker: str
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    state: dict[str, Tensor] | None = None


def made(maker: Callable, *args: object, state: dict[str, Tensor] | None = None,
         **kwargs: object) -> Made:  # fmt: skip
    """`maker(*args, **kwargs)` as a value of a probe; `maker` is defined in glassbox."""
    return Made(f"{maker.__module__}:{maker.__qualname__}", list(args), kwargs, state)


def clone(value: Any) -> Any:
    """Clone every tensor inside nested tuples, lists and dicts; leave everything else."""
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, tuple | list):
        return _like(value, map(clone, value))
    if isinstance(value, dict):
        return {k: clone(v) for k, v in value.items()}
    return value


def _like(value: Any, items: Iterable[Any]) -> Any:
    """A tuple or list of the type of `value`; a named tuple takes its items one by one."""
    return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def answer(function: Callable, case: dict[str, Any]) -> list[np.ndarray]:
    """What `function` gives for one case of a probe, as a list of float64 arrays.

    A case holds `args` and `kwargs`; for a class also `init` (constructor keywords) and `state`
    (weights to load). With `via`, a drill of this package is called with the function and the
    arguments, and what it reports is the answer. A raised exception is an answer too: its name. So
    is an argument that the call has changed: its number, or the weights of a module after the call.
    Random numbers are drawn from seed 0.
    """
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        modules: list[nn.Module] = []
        given = _make(clone(case), modules)
        earlier = [_weights(m) for m in modules]
        if "via" in given:
            function = _drill(given["via"], function)
        torch.manual_seed(0)
        try:
            if "init" in given:
                function = _module(function, given["init"], given["state"])
            got = function(*given["args"], **given["kwargs"])
        except NotImplementedError:
            raise
        except Exception as error:
            return [np.array(f"raised {type(error).__name__}")]
        later = [_weights(m) for m in modules]
    parts = _parts(got)
    for now, then in zip(later, earlier, strict=True):
        parts += [] if all(map(torch.equal, now, then)) else now
    changed = [i for i, (before, after) in enumerate(zip(case["args"], given["args"], strict=True))
               if differs(before, after)]  # fmt: skip
    return [_array(part) for part in parts] + [np.array(f"changed argument {i}") for i in changed]


def _make(value: Any, modules: list[nn.Module]) -> Any:
    """The value with every `Made` in it made; modules among them are listed in `modules`."""
    if isinstance(value, Made):
        maker = _ours(value.maker)
        args, kwargs = _make(clone([value.args, value.kwargs]), modules)
        if isinstance(maker, type) and issubclass(maker, nn.Module):
            modules.append(_module(_there(maker), kwargs, value.state, *args))
            return modules[-1]
        return maker(*args, **kwargs)
    if isinstance(value, tuple | list):
        return _like(value, [_make(v, modules) for v in value])
    if isinstance(value, dict):
        return {k: _make(v, modules) for k, v in value.items()}
    return value


def _ours(name: str) -> Callable:
    """What `module:name` stands for; ValueError outside of this package."""
    place, name = name.split(":")
    if place.split(".")[0] != __package__:
        raise ValueError(f"A probe is made by glassbox only, not by {place}:{name}.")
    return getattr(importlib.import_module(place), name)


def _drill(name: str, function: Callable) -> Callable:
    """A drill with the function in its hands, to be run where the learner's code runs."""
    from glassbox import check  # which imports this module

    return partial(check.there, _ours(name), function)


def _there(maker: type[nn.Module]) -> Callable[..., nn.Module]:
    """The class, to be constructed where the learner's code runs."""
    from glassbox import check  # which imports this module

    return partial(check.there, maker)


def _weights(module: nn.Module) -> list[Tensor]:
    """All weights of a module in one row, and how many numbers are its own (shared ones once)."""
    values = torch.cat([v.flatten().double() for v in module.state_dict().values()])
    return [values, torch.tensor(sum(p.numel() for p in module.parameters()))]


def _module(
    kind: Callable[..., nn.Module],
    init: dict[str, Any],
    state: dict[str, Tensor] | None,
    *args: Any,
) -> nn.Module:
    module = kind(*args, **init).double()
    if state is not None:
        module.load_state_dict(state)
    return module.eval()


def _parts(got: Any) -> list[Any]:
    """An answer as a row: the items of a tuple or list; the keys of a dict and its values."""
    if isinstance(got, dict):
        keys = sorted(got, key=str)
        return [" ".join(map(str, keys)), *(got[key] for key in keys)]
    return [*got] if isinstance(got, tuple | list) else [got]


def _array(value: object) -> np.ndarray:
    if isinstance(value, Tensor):
        return value.detach().double().numpy()
    if isinstance(value, bool | int | float):
        return np.array(float(value))
    if isinstance(value, str | bytes):
        return np.array(repr(value))
    leaves = list(_leaves(value))
    if leaves and all(isinstance(x, bool | int | float) for x in leaves):
        return np.array(leaves, dtype=float)
    if leaves and all(isinstance(x, bool | int | str | bytes) for x in leaves):
        return np.array(hashlib.sha256(repr(_in_order(value)).encode()).hexdigest())
    return np.array(f"{type(value).__name__}")


def _leaves(value: Any) -> Iterator[Any]:
    """What stands in a container inside of an answer, however deep; dicts in the order of keys."""
    if isinstance(value, dict):
        value = [value[key] for key in sorted(value, key=str)]
    if isinstance(value, list | tuple):
        for item in value:
            yield from _leaves(item)
    else:
        yield value


def _in_order(value: Any) -> Any:
    """The same with lists for tuples, and for dicts their items in the order of keys."""
    if isinstance(value, dict):
        return [[_in_order(key), _in_order(value[key])] for key in sorted(value, key=str)]
    return [_in_order(v) for v in value] if isinstance(value, list | tuple) else value


def differs(before: object, after: object) -> bool:
    """Whether a call has changed an argument of its own: a tensor, or a list of plain values."""
    if isinstance(before, Tensor):
        return not torch.equal(before, after)
    if not isinstance(before, list):
        return False
    plain = all(isinstance(x, int | float | str | bytes | tuple) for x in before)
    return plain and before != after


def same(a: list[np.ndarray], b: list[np.ndarray], tolerance: float = TOLERANCE) -> bool:
    """Whether two answers agree up to `tolerance` of the largest finite entry."""
    return len(a) == len(b) and all(_same(x, y, tolerance) for x, y in zip(a, b, strict=True))


def _same(x: np.ndarray, y: np.ndarray, tolerance: float) -> bool:
    if x.dtype.kind != y.dtype.kind or x.shape != y.shape:
        return False
    if x.dtype.kind == "U":
        return bool(x == y)
    finite = y[np.isfinite(y)]
    scale = float(np.abs(finite).max()) if finite.size else 1.0
    return bool(np.allclose(x, y, rtol=0.0, atol=tolerance * scale, equal_nan=True))


class Fingerprints:
    """The probe file of one lab: its questions, its probes and the answers of its mistakes.

    Made from the file's arrays, or from its path: then it is read when it is first needed.
    """

    def __init__(self, arrays: Mapping[str, np.ndarray] | Path) -> None:
        self._given = arrays

    @cached_property
    def _arrays(self) -> Mapping[str, np.ndarray]:
        if not isinstance(self._given, Path):
            return self._given
        # its arrays are read when they are asked for: most runs ask for none
        return np.load(io.BytesIO(self._given.read_bytes()), allow_pickle=False)

    @cached_property
    def _index(self) -> dict[str, Any]:
        return json.loads(str(self._arrays["index"]))

    @property
    def lab(self) -> str:
        """The lab's name."""
        return self._index["lab"]

    @property
    def questions(self) -> list[dict[str, Any]]:
        """The lab's graded cells: id, points and what else `pack` was given."""
        return self._index["questions"]

    def points(self, question: str) -> float | None:
        """The points of a graded cell, or None if the lab has no such cell."""
        return next((q["points"] for q in self.questions if q["id"] == question), None)

    def cases(self, exercise: str) -> list[dict[str, Any]]:
        """The probe of an exercise: a list of calls."""
        return [self._decode(case) for case in self._index["exercises"][exercise]["cases"]]

    def diagnoses(self) -> Iterator[tuple[str, str]]:
        """Each (exercise, diagnosis), in the order of the lab, equal texts once."""
        for exercise, entry in self._index["exercises"].items():
            for text in dict.fromkeys(m["diagnosis"] for m in entry["mistakes"]):
                yield exercise, text

    def diagnose(self, exercise: str, function: Callable) -> str | None:
        """The mistake that `function` makes, or None if none fits.

        A function may make two mistakes; probes go from plain calls to special ones, and the
        mistake that shows first is told first.
        """
        entry = self._index["exercises"].get(exercise)
        if entry is None:
            return None
        try:
            with redirect_stdout(io.StringIO()):  # what the function prints was printed once
                answers = [answer(function, case) for case in self.cases(exercise)]
        except NotImplementedError:
            return None
        fits = {
            m["diagnosis"]
            for m in entry["mistakes"]
            if m["telling"]
            and all(same(answers[i], self._stored(m["key"], i, n)) for i, n in m["telling"])
        }
        return fits.pop() if len(fits) == 1 else None

    def _stored(self, key: str, case: int, parts: int) -> list[np.ndarray]:
        return [self._arrays[f"{key}/{case}/{part}"] for part in range(parts)]

    def _decode(self, value: Any) -> Any:
        if isinstance(value, dict) and "$tensor" in value:
            return torch.from_numpy(self._arrays[value["$tensor"]].copy())
        if isinstance(value, dict) and "$made" in value:
            return Made(value["$made"], *self._decode(value["with"]))
        if isinstance(value, dict) and "$tuple" in value:
            return tuple(self._decode(value["$tuple"]))
        if isinstance(value, dict) and "$bytes" in value:
            return bytes.fromhex(value["$bytes"])
        if isinstance(value, dict) and "$dict" in value:
            return dict(self._decode(pair) for pair in value["$dict"])
        if isinstance(value, dict):
            return {k: self._decode(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._decode(v) for v in value]
        return value


def load(lab: str) -> Fingerprints:
    """The probe file of a lab; FileNotFoundError if no lab has that name."""
    path = PROBES / f"{lab}.npz"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in PROBES.glob("*.npz"))) or "none"
        raise FileNotFoundError(f"No lab is called {lab!r}. This glassbox knows: {known}.")
    return _at(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=4)
def _at(path: Path, _: int) -> Fingerprints:
    return Fingerprints(path)


def pack(
    lab: str,
    questions: list[dict[str, Any]],
    exercises: dict[str, tuple[list[dict[str, Any]], dict[str, tuple[str, list, list[int]]]]],
) -> dict[str, np.ndarray]:
    """The arrays of a probe file.

    `exercises` maps a name to its cases and its mistakes; a mistake's name maps to its diagnosis,
    its answers (one list of arrays per case) and the numbers of the cases that tell it apart.
    """
    arrays: dict[str, np.ndarray] = {}
    index: dict[str, Any] = {"lab": lab, "questions": questions, "exercises": {}}
    for exercise, (cases, wrong) in exercises.items():
        encoded = [_encode(case, f"{exercise}/probe{i}", arrays) for i, case in enumerate(cases)]
        listed = []
        for number, (diagnosis, answers, telling) in enumerate(wrong.values()):
            key = f"{exercise}/{number}"  # numbers, not names: the file need not tell them
            for i in telling:
                for j, part in enumerate(answers[i]):
                    arrays[f"{key}/{i}/{j}"] = part
            told = [(i, len(answers[i])) for i in telling]
            listed.append({"key": key, "diagnosis": diagnosis, "telling": told})
        index["exercises"][exercise] = {"cases": encoded, "mistakes": listed}
    arrays["index"] = np.array(json.dumps(index, ensure_ascii=False))
    return arrays


def _encode(value: Any, key: str, arrays: dict[str, np.ndarray]) -> Any:
    if isinstance(value, Tensor):
        arrays[key] = value.numpy()
        return {"$tensor": key}
    if isinstance(value, Made):
        parts = [value.args, value.kwargs, value.state]
        return {"$made": value.maker, "with": _encode(parts, key, arrays)}
    if isinstance(value, tuple):
        return {"$tuple": _encode(list(value), key, arrays)}
    if isinstance(value, bytes):
        return {"$bytes": value.hex()}
    if isinstance(value, dict) and not all(isinstance(k, str) for k in value):
        return {"$dict": [_encode([k, v], f"{key}/{i}", arrays)
                          for i, (k, v) in enumerate(value.items())]}  # fmt: skip
    if isinstance(value, dict):
        return {k: _encode(v, f"{key}/{k}", arrays) for k, v in value.items()}
    if isinstance(value, list):
        return [_encode(v, f"{key}/{i}", arrays) for i, v in enumerate(value)]
    return value
