"""Run a student's cells and answer the judge's questions about what they define.

One `Desk` per process: it executes cells as a notebook would, without a kernel, and serves requests
until the judge hangs up: call a function, construct an object, read an attribute, give gradients.
Whatever student code does in here can only change the values that it returns.
"""

import ast
import asyncio
import base64
import contextlib
import importlib
import inspect
import io
import linecache
import random
import socket
import sys
import traceback
import types
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from IPython.core.inputtransformer2 import TransformerManager
from torch import Tensor, nn

from .wire import Packer, Tensors, Unfit, Unpacker, receive, send

MAX_OUTPUT, MAX_PNG, MAX_PNGS, MAX_TEXT = 64_000, 2_000_000, 4, 4_000


class Desk:
    """The student's namespace, the objects that the judge knows, and the requests about them."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock, self.current = sock, 0
        self.space: dict[str, Any] = {"__name__": "__main__", "__builtins__": __builtins__}
        main = types.ModuleType("__main__")
        main.__dict__.update(self.space)
        self.space = main.__dict__
        sys.modules["__main__"] = main
        self.magics = Magics(self.space)
        self.space["get_ipython"] = lambda: self.magics
        self.marks: dict[str, dict[str, Any]] = {}  # question -> the names at its place
        self.objects: dict[int, Any] = {}
        self.numbers: dict[int, int] = {}  # id of an object -> its number
        self.graphs: dict[int, tuple[list[Tensor], list[Tensor]]] = {}  # call -> outputs, leaves

    def serve(self) -> None:
        """Answer until the judge hangs up."""
        while True:
            message, tensors = receive(self.sock)
            self.current = message["id"]
            packer = Packer(self._export)
            try:
                reply = getattr(self, f"_do_{message['op']}")(message, tensors, packer)
            except BaseException as error:
                packer, reply = Packer(self._export), {"error": describe(error)}
            try:
                send(self.sock, {"id": message["id"]} | reply, packer.tensors)
            except Unfit as error:
                send(self.sock, {"id": message["id"], "error": describe(error)}, {})

    # --- what the judge may ask ---

    def _do_exec(self, message: dict, _: Tensors, packer: Packer) -> dict:
        """Run a cell; say what it printed and drew, and how it ended."""
        printed, error = Printed(), None
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
            try:
                run_cell(message["source"], message["name"], self.space, self.magics)
            except BaseException as caught:
                error = describe(caught)
        pictures = [torch.frombuffer(bytearray(p), dtype=torch.uint8) for p in _figures()]
        return {"printed": printed.text, "pictures": packer.pack(pictures), "failed": error}

    def _do_mark(self, message: dict, *_: Any) -> dict:
        """Remember what all names stand for now."""
        self.marks[message["name"]] = dict(self.space)
        return {}

    def _do_begin(self, message: dict, _: Tensors, packer: Packer) -> dict:
        """Begin a question: names as they were at its mark, old objects dropped, fresh randomness.

        The values of names are given; those that do not exist are left out.
        """
        marked = self.marks.get(message["question"])
        if marked is not None:  # in the same dictionary, which is every function's globals
            self.space.clear()
            self.space.update(marked)
        sys.settrace(None)  # left on by a cell, it would make all that follows slow
        sys.setprofile(None)
        seed(message["seed"])
        self.objects.clear()
        self.numbers.clear()
        self.graphs.clear()
        found = {n: self.space[n] for n in message["names"] if n in self.space}
        return {"values": {name: packer.pack(value) for name, value in found.items()}}

    def _do_call(self, message: dict, tensors: Tensors, packer: Packer) -> dict:
        """Call an object or its method; changed arguments go back with the answer."""
        unpacker = Unpacker(tensors, self._resolve)
        args, kwargs = unpacker.unpack(message["args"]), unpacker.unpack(message["kwargs"])
        target = self._target(message["target"])
        if message.get("method"):
            target = getattr(target, message["method"])
        before = {key: t.detach().clone() for key, t in unpacker.made.items()}
        if message.get("seed") is not None:
            torch.default_generator.manual_seed(message["seed"])
        with torch.set_grad_enabled(message["grad"]), contextlib.redirect_stdout(Printed()):
            result = target(*args, **kwargs)
        reply = {"value": packer.pack(result)}
        tracked = [t for t in packer.sources.values() if t.requires_grad]
        if tracked:
            self.graphs[message["id"]] = (tracked, unpacker.leaves)
        changed = [k for k, t in unpacker.made.items()
                   if t.shape == before[k].shape and not _same(t.detach(), before[k])]  # fmt: skip
        reply["changed"] = {key: packer.pack(unpacker.made[key].detach()) for key in changed}
        reply["lists"] = {str(i): packer.pack(new) for i, old, new
                          in zip(range(len(args)), message["args"], args, strict=True)
                          if isinstance(old, list) and _differs(old, new)}  # fmt: skip
        return reply

    def _do_attribute(self, message: dict, _: Tensors, packer: Packer) -> dict:
        return {"value": packer.pack(getattr(self.objects[message["target"]], message["name"]))}

    def _do_parameters(self, message: dict, _: Tensors, packer: Packer) -> dict:
        """Names, values and gradients of a module's parameters."""
        module = self.objects[message["target"]]
        return {"value": [[name, packer.pack(p), packer.pack(p.grad)]
                          for name, p in module.named_parameters()]}  # fmt: skip

    def _do_backward(self, message: dict, tensors: Tensors, packer: Packer) -> dict:
        """Backpropagate through an earlier call; the gradients of its tensor arguments."""
        outputs, leaves = self.graphs[message["call"]]
        grads = Unpacker(tensors, self._resolve).unpack(message["grads"])
        pairs = [(o, g) for o, g in zip(outputs, grads, strict=True) if g is not None]
        for leaf in leaves:
            leaf.grad = None
        torch.autograd.backward(*map(list, zip(*pairs, strict=True)), retain_graph=True)
        return {"value": packer.pack([leaf.grad for leaf in leaves])}

    # --- objects ---

    def _export(self, value: Any) -> Any:
        if isinstance(value, torch.Generator):
            raise Unfit("a random generator")
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects) + 1
            self.objects[number] = value
        kind = "object"
        if isinstance(value, nn.Module):
            kind = "module"
        elif isinstance(value, type):
            kind = "class"
        elif callable(value):
            kind = "function"
        name = getattr(value, "__name__", None) if kind != "object" else None
        return {"$handle": number, "kind": kind, "name": str(name or type(value).__name__)[:80]}

    def _resolve(self, tag: str, data: dict[str, Any]) -> Any:
        if tag == "$handle":
            return self.objects[data["$handle"]]
        if tag == "$callback":
            return self._callback(data["$callback"])
        if tag == "$generator":
            state = base64.b64decode(data["$generator"])
            generator = torch.Generator()
            generator.set_state(torch.frombuffer(bytearray(state), dtype=torch.uint8))
            return generator
        if tag == "$data":
            name, fields = data["$data"]
            plain = Unpacker({}, self._resolve).unpack(fields)
            return self._target(name)(**plain)
        raise Unfit(tag)

    def _target(self, name: int | str) -> Any:
        """An object by number, a student's name, or `module:name` of an installed package."""
        if isinstance(name, int):
            return self.objects[name]
        module, _, rest = name.rpartition(":")
        target: Any = importlib.import_module(module) if module else self.space[rest.split(".")[0]]
        for part in rest.split(".")[0 if module else 1 :]:
            target = getattr(target, part)
        return target

    def _callback(self, number: int) -> Callable:
        """A function of the judge's: values go there and come back, gradients do not."""

        def callback(*args: Any, **kwargs: Any) -> Any:
            packer = Packer(self._export)
            packed = {"args": packer.pack(list(args)), "kwargs": packer.pack(kwargs)}
            message = {"id": self.current, "callback": number} | packed
            send(self.sock, message, packer.tensors)
            answer, tensors = receive(self.sock)
            if "raised" in answer:
                raise RuntimeError(answer["raised"])
            return Unpacker(tensors, self._resolve).unpack(answer["value"])

        return callback


def warm(name: str) -> None:
    """Import `module` or `module:name`, if it is there; what needs it will say if it is not."""
    module, _, attribute = name.partition(":")
    with contextlib.suppress(ImportError):
        found = importlib.import_module(module)
        if attribute:
            getattr(found, attribute, None)


def seed(number: int) -> None:
    """Seed Python, numpy and torch's CPU; torch.manual_seed would note the call for each GPU."""
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)


def parse(source: str, name: str = "<cell>") -> ast.Module:
    """A cell's tree; magics and `!commands` are translated where it is not plain Python."""
    try:
        return ast.parse(source, name)
    except (SyntaxError, ValueError):
        return ast.parse(TransformerManager().transform_cell(source), name)


def describe(error: BaseException) -> dict[str, Any]:
    """An exception as data: its name, the names that it inherits, its text, where it was raised."""
    try:
        text = str(error)[:MAX_TEXT]
    except BaseException:
        text = ""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "cells.py" not in f.filename]
    trace = "".join(traceback.format_list(frames[-20:]))[-MAX_TEXT:]
    bases = [c.__name__ for c in type(error).__mro__ if c is not object]
    return {"name": type(error).__name__, "bases": bases, "text": text, "trace": trace}


def _same(a: Tensor, b: Tensor) -> bool:
    if torch.equal(a, b):
        return True
    return a.is_floating_point() and bool(((a == b) | (a.isnan() & b.isnan())).all())


def _differs(packed: list, now: Any) -> bool:
    """Whether a list argument of plain values is another one after the call."""
    try:
        again = Packer(_plain_only).pack(now)
    except Unfit:
        return False
    return not _has_tensor(packed) and packed != again


def _plain_only(value: Any) -> Any:
    raise Unfit("not plain")


def _has_tensor(data: Any) -> bool:
    if isinstance(data, dict):
        return "$tensor" in data or any(map(_has_tensor, data.values()))
    return isinstance(data, list) and any(map(_has_tensor, data))


# --- cells -----------------------------------------------------------------------------------


class Printed(io.TextIOBase):
    """A stream that keeps the beginning of what is written and forgets the rest at once."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self.room = MAX_OUTPUT

    def write(self, text: str) -> int:
        """Keep as much as there is room for."""
        if self.room > 0:
            self.parts.append(text[: self.room])
            self.room -= len(text)
        return len(text)

    def writable(self) -> bool:
        """Yes."""
        return True

    @property
    def text(self) -> str:
        """What was kept."""
        return "".join(self.parts)


class Magics:
    """What stands for IPython in a cell: timing magics run their body, the others do nothing."""

    def __init__(self, space: dict[str, Any]) -> None:
        self.space, self.user_ns = space, space

    def run_line_magic(self, name: str, line: str, *_: Any, **__: Any) -> None:
        """`%time f()` and `%timeit f()` run once; everything else is skipped."""
        if name in ("time", "timeit"):
            run_cell(line, f"%{name}", self.space, self)

    def run_cell_magic(self, name: str, line: str, cell: str) -> None:
        """`%%time`, `%%timeit` and `%%capture` run the cell; `%%writefile` writes it."""
        if name in ("time", "timeit", "capture"):
            run_cell(cell, f"%%{name}", self.space, self)
        elif name in ("writefile", "file"):
            with open(line.split()[-1], "a" if "-a" in line.split() else "w") as file:
                file.write(cell)

    def system(self, *_: Any) -> None:
        """`!command` does nothing here."""

    def getoutput(self, *_: Any, **__: Any) -> list[str]:
        """`x = !command` gives no lines."""
        return []

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def run_cell(source: str, name: str, space: dict[str, Any], magics: Magics) -> None:
    """Run a cell as a notebook does: magics, top-level await, the last expression is shown."""
    tree = parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    # tracebacks and inspect.getsource find the cell's text here
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    _execute(tree, name, "exec", space)
    if last is not None:
        value = _execute(ast.Expression(last.value), name, "eval", space)
        if value is not None and not source.rstrip().endswith(";"):
            print(repr(value))


def _execute(tree: ast.AST, name: str, mode: str, space: dict[str, Any]) -> Any:
    code = compile(tree, name, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        return asyncio.run(eval(code, space))
    return eval(code, space) if mode == "eval" else exec(code, space)


def _figures() -> list[bytes]:
    """The open figures of matplotlib as PNG, a few and small ones only; all are closed."""
    pyplot = sys.modules.get("matplotlib.pyplot")
    if pyplot is None:
        return []
    found = []
    try:
        for number in pyplot.get_fignums()[:MAX_PNGS]:
            file = io.BytesIO()
            pyplot.figure(number).savefig(file, format="png", dpi=80)
            if file.tell() <= MAX_PNG:
                found.append(file.getvalue())
        pyplot.close("all")
    except Exception:  # a figure that cannot be drawn is no fault of an answer
        pass
    return found
