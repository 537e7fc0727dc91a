"""The trusted side of grading: our test cells, run on stand-ins for what a student has defined.

A `Session` plays one merged submission: the student's cells go to their own closed-in process
(`autograder.host`), our test cells run here, in a namespace of our given cells, `glassbox.check`
and a `Remote` for each name that the student owns. A `Remote` is called like the function, class or
object behind it; values travel (`autograder.child.wire`), gradients too, and what comes back is
compared by our code in our process. Nothing that the student's process says about itself counts.

A crash, a hang or an unreadable answer costs the question at hand: a fresh process gets the
student's cells again, and the next question goes on. A test that ends so is tried once more, in
that fresh process, if something else may have been the cause: what an earlier question left behind
(threads, memory), or, where the process was killed, the machine.
"""

import ast
import base64
import builtins
import contextlib
import dataclasses
import hashlib
import hmac
import io
import os
import re
import secrets
import signal
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from types import CodeType
from typing import Any

import torch
from torch import Tensor

from autograder.child import cells as desk
from autograder.child.wire import Closed, Malformed, Packer, Tensors, Unpacker, receive, send
from autograder.host import Guest, Host
from autograder.intake import Cell, Merged
from autograder.lab import Lab
from glassbox import check

EXTRA_PROCESSES = 3  # beyond one for each exercise; twice as many, as things are tried twice
# the last is what the first call of backward imports
ALWAYS = ("IPython", "numpy.random", "torch", "torch.fx.experimental.symbolic_shapes")
ENDED = ("timeout", "killed", "oom", "malformed")


class Fault(BaseException):
    """Something of ours does not work: the run is tried again and then left ungraded.

    Not an Exception: no test may catch it and blame the student.
    """


class Late(BaseException):
    """The time of a cell is over. Not an Exception: neither test nor check may catch it."""


@dataclass
class Outcome:
    """What happened to one executed cell: ok, error, timeout, killed, oom or malformed."""

    status: str
    name: str = ""
    text: str = ""
    detail: str = ""
    theirs: bool = True  # the error was raised by student code, not by a check on its values
    share: float = 0.0  # of the points, where some parts of a question hold
    outputs: list[dict[str, Any]] = field(default_factory=list)


# --- stand-ins -------------------------------------------------------------------------------


class StudentError(Exception):
    """Mixed into every exception that student code raised; its text is the student's."""

    trace = ""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else ""


class Remote:
    """A function, class or object of the student's, used as if it were here."""

    def __init__(self, student: "Student", number: int, kind: str, name: str) -> None:
        self._student, self._number, self._kind, self._name = student, number, kind, name

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call what stands behind this."""
        __tracebackhide__ = True
        return self._student.call(self._number, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return self._student.attribute(self._number, name)

    def __iter__(self) -> Iterator[Any]:
        inner = self._student.call(self._number, (), {}, "__iter__")
        with contextlib.suppress(StopIteration):
            while True:
                yield self._student.call(inner._number, (), {}, "__next__")

    def __next__(self) -> Any:
        return self._student.call(self._number, (), {}, "__next__")

    def __len__(self) -> int:
        return int(self._student.call(self._number, (), {}, "__len__"))

    def __getitem__(self, key: Any) -> Any:
        return self._student.call(self._number, (key,), {}, "__getitem__")

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"<{self._name}>"


class RemoteModule(Remote):
    """An `nn.Module` of the student's: parameters come with their gradients."""

    def named_parameters(self) -> Iterator[tuple[str, Tensor]]:
        """Names and parameters; `.grad` is what backpropagation has left so far."""
        for name, value, grad in self._student.parameters(self._number):
            value.grad = grad
            yield name, value

    def parameters(self) -> Iterator[Tensor]:
        """The parameters alone."""
        return (value for _, value in self.named_parameters())


class _Call(torch.autograd.Function):
    """A call in the student's process as a node of our graph; backward goes back there."""

    @staticmethod
    def forward(ctx: Any, student: "Student", call: int, outputs: list[Tensor], _: Tensor,
                *leaves: Tensor) -> tuple[Tensor, ...]:  # fmt: skip
        """Nothing to compute: the outputs are there."""
        ctx.student, ctx.call = student, call
        ctx.set_materialize_grads(False)
        return tuple(outputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Any, ...]:
        """The gradients of the leaves, as the student's process computes them."""
        return (None, None, None, None, *ctx.student.backward(ctx.call, grads))


class _Answer(Unpacker):
    """The result of a call, in which tensors of the graph have been replaced by its nodes."""

    def __init__(self, tensors: Tensors, resolve: Callable, nodes: Tensors) -> None:
        super().__init__(tensors, resolve)
        self.nodes = nodes

    def _tensor(self, form: dict[str, Any]) -> Tensor:
        node = self.nodes.get(form["$tensor"])
        return super()._tensor(form) if node is None else node


class Student:
    """The judge's end of the line to a student's process."""

    def __init__(self, guest: Guest) -> None:
        self.sock = guest.sock
        self.callbacks: list[Callable] = []
        self.seed: int | None = None  # set by torch.manual_seed, sent with the next call

    def ask(self, op: str, packer: Packer | None = None, **fields: Any) -> tuple[dict, Tensors]:
        """One request and its answer; raises what student code raised."""
        number = secrets.randbits(53)
        tensors = packer.tensors if packer else {}
        send(self.sock, {"id": number, "op": op} | fields, tensors)
        while True:
            reply, tensors = receive(self.sock)
            if reply.get("id") != number:
                raise Malformed("an answer to another question")
            if "callback" not in reply:
                break
            self._called_back(reply, tensors)
        if "error" in reply:
            if op in ("exec", "mark"):  # a cell that fails is no error of the request
                raise Malformed("an error in place of an answer that cannot be one")
            raise _exception(reply["error"], ends=fields.get("method") == "__next__")
        return reply, tensors

    def call(self, target: int | str, args: tuple, kwargs: dict[str, Any],
             method: str = "") -> Any:  # fmt: skip
        """Call an object of the student's; what the call changes in `args` is changed here too."""
        packer = Packer(self._export, strides=True)
        packed = [packer.pack(a) for a in args], {k: packer.pack(v) for k, v in kwargs.items()}
        grad, seed, self.seed = torch.is_grad_enabled(), self.seed, None
        reply, tensors = self.ask("call", packer, target=target, method=method, args=packed[0],
                                  kwargs=packed[1], grad=grad, seed=seed)  # fmt: skip
        self._restore(reply, tensors, packer, args)
        nodes: Tensors = {}
        keys = sorted(_tracked(reply.get("value")), key=lambda key: int(key[1:])) if grad else []
        if keys:
            plain = Unpacker(tensors, self._resolve)
            outputs = [plain.unpack(form | {"grad": False})
                       for form in map(_tracked(reply["value"]).get, keys)]  # fmt: skip
            leaves = [t for t in packer.sources.values() if t.requires_grad]
            anchor = torch.zeros((), requires_grad=True)  # parameters may be the only leaves
            made = _Call.apply(self, reply["id"], outputs, anchor, *leaves)
            nodes = dict(zip(keys, made, strict=True))
        return _Answer(tensors, self._resolve, nodes).unpack(reply.get("value"))

    def backward(self, call: int, grads: tuple[Tensor | None, ...]) -> list[Tensor | None]:
        """Gradients of the tensors that an earlier call was given."""
        packer = Packer(self._export)
        reply, tensors = self.ask("backward", packer, call=call, grads=packer.pack(list(grads)))
        return Unpacker(tensors, self._resolve).unpack(reply.get("value"))

    def attribute(self, target: int, name: str) -> Any:
        """An attribute of an object of the student's."""
        reply, tensors = self.ask("attribute", target=target, name=name)
        return Unpacker(tensors, self._resolve).unpack(reply.get("value"))

    def parameters(self, target: int) -> list[Any]:
        """Name, value and gradient of each parameter of a module."""
        reply, tensors = self.ask("parameters", target=target)
        return Unpacker(tensors, self._resolve).unpack(reply.get("value"))

    def begin(self, question: str, seed: int, names: list[str]) -> dict[str, Any]:
        """Begin a question: fresh randomness, and what names stand for, where they exist."""
        self.callbacks.clear()
        reply, tensors = self.ask("begin", question=question, seed=seed, names=names)
        values = Unpacker(tensors, self._resolve).unpack(reply.get("values"))
        if not isinstance(values, dict) or not values.keys() <= set(names):
            raise Malformed("names that nobody asked for")  # they would stand before ours
        return values

    def _restore(self, reply: dict, tensors: Tensors, packer: Packer, args: tuple) -> None:
        """Do to our arguments what the call did to its copies of them."""
        try:
            for key, form in reply.get("changed", {}).items():
                with torch.no_grad():
                    packer.sources[key].copy_(Unpacker(tensors, self._resolve).unpack(form))
            for index, form in reply.get("lists", {}).items():
                args[int(index)][:] = Unpacker(tensors, self._resolve).unpack(form)
        except (LookupError, ValueError, TypeError, RuntimeError, AttributeError) as error:
            raise Malformed(f"{type(error).__name__} in changed arguments") from None

    def _export(self, value: Any) -> Any:
        """How objects of ours travel: stand-ins go home, functions are called back."""
        if isinstance(value, Remote):
            return {"$handle": value._number}
        if isinstance(value, torch.Generator):
            state = base64.b64encode(value.get_state().numpy().tobytes()).decode()
            torch.rand(8, generator=value)  # it has been used, as it would be in one process
            return {"$generator": state}
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
            packer = Packer(self._export)
            packed = packer.pack(fields)
            if packer.tensors:
                raise Fault("A test hands over a dataclass with tensors; that cannot travel.")
            return {"$data": [check.address(type(value)), packed]}
        if isinstance(value, type):
            raise Fault(f"A test hands over the class {value.__name__}; use check.there.")
        if isinstance(value, torch.nn.Module) or not callable(value):
            raise Fault(f"A test hands over a {type(value).__name__}, which cannot travel; "
                        "build it with check.there.")  # fmt: skip
        self.callbacks.append(value)
        return {"$callback": len(self.callbacks) - 1}

    def _resolve(self, tag: str, data: dict[str, Any]) -> Any:
        if tag != "$handle" or not isinstance(data[tag], int):
            raise Malformed(f"{tag} in a value")
        kind, name = str(data.get("kind")), str(data.get("name"))[:80]
        stand_in = RemoteModule if kind == "module" else Remote
        return stand_in(self, data[tag], kind, name)

    def _called_back(self, message: dict, tensors: Tensors) -> None:
        """Student code calls a function that a test has handed to it."""
        if message["callback"] not in range(len(self.callbacks)):
            raise Malformed("a call of a function that nobody handed over")
        unpacker, packer = Unpacker(tensors, self._resolve), Packer(self._export, strides=True)
        args, kwargs = unpacker.unpack(message.get("args")), unpacker.unpack(message.get("kwargs"))
        try:
            with torch.no_grad():
                result = self.callbacks[message["callback"]](*args, **kwargs)
            answer = {"value": packer.pack(result)}
        except Exception as error:
            packer, answer = Packer(self._export), {"raised": f"{type(error).__name__}: {error}"}
        send(self.sock, answer, packer.tensors)


def _tracked(value: Any) -> dict[str, dict]:
    """The forms of tensors that carry a gradient, by their keys."""
    if isinstance(value, list):
        return {k: form for v in value for k, form in _tracked(v).items()}
    if not isinstance(value, dict):
        return {}
    if isinstance(value.get("$tensor"), str):
        numbered = re.fullmatch(r"t\d{1,6}", value["$tensor"])
        return {value["$tensor"]: value} if value.get("grad") is True and numbered else {}
    return {k: form for v in value.values() for k, form in _tracked(v).items()}


def _exception(described: Any, ends: bool = False) -> Exception:
    """What student code raised, as an exception of the nearest built-in kind.

    StopIteration keeps its meaning only where it `ends` an iteration: elsewhere it would end a loop
    of our tests before its checks.
    """
    if not isinstance(described, dict) or not isinstance(described.get("bases"), list):
        described = {"bases": [], "name": "Error"}
    kinds = [getattr(builtins, str(n), None) for n in described["bases"][:50]]
    name = re.sub(r"\W", "", str(described.get("name")))[:80] or "Error"
    text = str(described.get("text", ""))[: desk.MAX_TEXT]
    for base in (*(k for k in kinds if isinstance(k, type)), Exception):
        if issubclass(base, Exception) and (ends or not issubclass(base, StopIteration)):
            with contextlib.suppress(TypeError):  # a kind that takes other arguments than a text
                error = type(name, (StudentError, base), {})(*[text] if text else [])
                break
    error.trace = str(described.get("trace", ""))[: desk.MAX_TEXT]
    return error


# --- our namespace ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """What a lab's own text says about how it is judged; made once per lab."""

    owned: frozenset[str]  # names that students own
    ours: frozenset[str]  # ids of our given cells that use none of them
    modules: tuple[str, ...]  # what our cells import: worth importing before processes are forked
    digest: str  # of the tests
    tests: dict[str, tuple[CodeType, list[str]]]  # by their source: code, names used of a student's


def plan(lab: Lab) -> Plan:
    """Read a lab's cells.

    Solution cells define the first names that students own; a given cell that uses one runs on the
    student's side only, and what it defines is the student's too.
    """
    owned: set[str] = set()
    ours, modules = [], set(ALWAYS)
    for cell in lab.notebook.cells:
        if cell.cell_type != "code":
            continue
        meta = cell.metadata.get("nbgrader", {})
        tree = desk.parse(cell.source)
        modules |= _imported(tree)
        if "optim" in cell.source:
            modules.add("torch._dynamo")  # which every optimizer imports, in a second or two
        used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)}
        if meta.get("grade"):
            continue
        if meta.get("solution") or used & owned:
            owned |= _bound(tree)
        elif "demo" not in cell.metadata.get("tags", []):
            ours.append(cell["id"])
    tests = "\n".join(lab.cell(q.id).source for q in lab.questions)
    digest = hashlib.sha256(tests.encode()).hexdigest()
    sources = {q.id: lab.cell(q.id).source for q in lab.questions if q.kind != "manual"}
    tests = {source: test_code(source, f"{lab.name}:{name}", owned)
             for name, source in sources.items()}  # fmt: skip
    return Plan(frozenset(owned), frozenset(ours), tuple(sorted(modules)), digest, tests)


def test_code(source: str, name: str, owned: Collection[str]) -> tuple[CodeType, list[str]]:
    """A test cell ready to run, and the students' names that it uses."""
    tree = ast.parse(source)
    used = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} & set(owned)
    return compile(tree, name, "exec"), sorted(used)


def _bound(tree: ast.Module) -> set[str]:
    """Names that a cell binds at its top level."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif not isinstance(node, ast.Import | ast.ImportFrom):
            names |= {n.id for n in ast.walk(node)
                      if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}  # fmt: skip
    return names


def _imported(tree: ast.Module) -> set[str]:
    """Modules, and `module:name` where a name is imported: some modules load a name when asked."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {f"{node.module}:{alias.name}" for alias in node.names if alias.name != "*"}
    return names


def trusted(lab: Lab, ours: frozenset[str]) -> dict[str, Any]:
    """Our given cells' variables."""
    space: dict[str, Any] = {"__name__": lab.name}
    with contextlib.redirect_stdout(io.StringIO()):
        for cell in lab.notebook.cells:
            if cell["id"] in ours:
                exec(compile(cell.source, f"{lab.name}:{cell['id']}", "exec"), space)
    return space


def question_seed(secret: str, lab: Lab, digest: str, question: str) -> str:
    """Randomness of a question's inputs: fixed for a course and its tests, unknown to students."""
    text = f"{lab.name}/{digest}/{question}"
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


# --- one submission --------------------------------------------------------------------------


class Session:
    """The cells of one submission on their way: theirs to their process, ours here."""

    def __init__(self, lab: Lab, plan: Plan, merged: Merged, host: Host, timeout: float,
                 deadline: float, secret: str = "") -> None:  # fmt: skip
        self.lab, self.plan, self.merged, self.host = lab, plan, merged, host
        self.timeout, self.deadline, self.secret = timeout, deadline, secret
        self.trusted = trusted(lab, plan.ours)
        self.student: Student | None = None
        self.guest: Guest | None = None
        self.processes, self.theirs = 0, False
        self.judged = 0  # tests that this process has seen
        self.played: list[Cell] = []  # what a new process must see first
        self.outcomes: dict[str, Outcome] = {}
        self.ended: dict[str, Outcome] = {}  # exercise -> how a test of it ended its process
        self.seconds = {"theirs": 0.0, "tests": 0.0}

    def run(self, cell: Cell) -> Outcome | None:
        """Run one of the student's cells, or a given one, on their side; None if there is nothing.

        Fault if a cell of ours fails before any of theirs has run.
        """
        if cell.kind != "code" or cell.role == "demo" or not cell.source.strip():
            return None
        self.theirs = self.theirs or cell.role != "given"
        outcome = self.outcomes[cell.id] = self._settled(lambda: self._exec(cell))
        if outcome.status in ("ok", "error"):
            self.played.append(cell)
        if outcome.status != "ok" and not self.theirs:
            raise Fault(f"our cell {cell.id} gave {outcome.name}: {outcome.text}")
        return outcome

    def close(self) -> None:
        """Hang up and end the student's process."""
        if self.guest:
            self.guest.close()
            self.guest = None
            self.host.stop()

    def mark(self, cell: Cell) -> None:
        """Remember what names stand for at this place, where a hidden test belongs.

        Hidden tests run when all cells have run: nothing that a student sees comes after them, so
        that hidden inputs cannot be kept and printed.
        """
        if self._settled(lambda: self._mark(cell)).status == "ok":
            self.played.append(cell)

    def test(self, cell: Cell) -> Outcome:
        """Run one of our test cells against the student's functions, as they are or were marked."""
        exercise = cell.id.rpartition("_")[0]
        if exercise in self.ended:  # its visible test never came back
            return self.ended[exercise]
        outcome = self._settled(lambda: self._judge(cell))
        self.judged += 1
        if outcome.status in ENDED:
            failed = check.failure(cell.id)
            if failed:  # it ended when the check had failed already and its mistake was looked up
                return Outcome("error", "CheckFailed", failed, theirs=False)
            self.ended[exercise] = outcome
        return outcome

    # --- inside ---

    def _settled(self, action: Callable[[], Outcome]) -> Outcome:
        """Do it; once more in a fresh process if it ends badly and may not be the cause itself."""
        worn = self.judged > 0
        outcome = self._within(action)
        if outcome.status == "killed" or (outcome.status in ENDED and worn):
            outcome = self._within(action)
        return outcome

    def _within(self, action: Callable[[], Outcome]) -> Outcome:
        """Do it with a live process and within its time; a process that fails is buried."""
        left = self.deadline - time.monotonic()
        if left <= 0:
            return Outcome("timeout", text="The notebook as a whole ran too long.")
        if not self._alive():
            return Outcome("killed", text="Your code ended its process too often.")
        try:
            with _alarm(min(self.timeout, left)):
                return action()
        except Late:
            self._bury()
            return Outcome("timeout")
        except Closed:
            why = self._bury(died=True)
            return Outcome("oom" if why == "oom" else "killed", detail=why)
        except Malformed as error:
            self._bury()
            return Outcome("malformed", detail=str(error))

    def _alive(self) -> bool:
        """A process that has seen the student's cells so far; False if there were too many."""
        while self.student is None:
            if self.processes > 2 * (len(self.lab.exercises) + EXTRA_PROCESSES):
                return False
            self.processes += 1
            self.guest = self.host.spawn(2 * self.timeout * (1 + len(self.merged.cells)))
            self.student = Student(self.guest)
            for cell in list(self.played):
                try:
                    with _alarm(self.timeout):
                        (self._mark if cell.role == "test" else self._exec)(cell)
                except (Late, Closed, Malformed) as error:
                    self.played.remove(cell)
                    self._bury(died=isinstance(error, Closed))
                    break
        return True

    def _bury(self, died: bool = False) -> str:
        self.student, self.judged = None, 0
        if self.guest:
            self.guest.close()
            self.guest = None
        return self.host.stop(died)

    def _mark(self, cell: Cell) -> Outcome:
        self.student.ask("mark", name=cell.id)
        return Outcome("ok")

    def _exec(self, cell: Cell) -> Outcome:
        begun = time.monotonic()
        reply, tensors = self.student.ask("exec", source=cell.source, name=f"cell {cell.id}")
        self.seconds["theirs"] += time.monotonic() - begun
        outputs, failed = _outputs(reply, tensors), reply.get("failed")
        if failed is None:
            return Outcome("ok", outputs=outputs)
        error = _exception(failed)
        name, text = type(error).__name__, str(error)
        trace = f"{name}: {text}\n"
        outputs = [{"output_type": "stream", "name": "stdout", "text": trace}, *outputs]
        return Outcome("error", name, text, (trace + error.trace)[: desk.MAX_OUTPUT],
                       outputs=outputs)  # fmt: skip

    def _judge(self, cell: Cell) -> Outcome:
        begun = time.monotonic()
        code, used = self.plan.tests[cell.source]
        student = self.student
        check.forget(cell.id)
        seed = question_seed(self.secret, self.lab, self.plan.digest, cell.id)
        os.environ["GLASSBOX_SEED"] = seed
        os.environ["GLASSBOX_STUDENT"] = self.merged.student
        desk.seed(int(seed[8:16], 16))
        try:
            space = self.trusted | student.begin(cell.id, int(seed[:8], 16), used)
            with (contextlib.redirect_stdout(io.StringIO()), _seeds_carried(student),
                  check.elsewhere(student.call)):  # fmt: skip
                exec(code, space)
        except check.CheckFailed as failed:
            return Outcome("error", "CheckFailed", str(failed), theirs=False,
                           share=check.share(cell.id))  # fmt: skip
        except Exception as error:
            theirs = isinstance(error, StudentError)
            name, text = type(error).__name__, str(error)
            detail = f"{name}: {text}\n" + (error.trace if theirs else _our_trace(error))
            return Outcome("error", name, text, detail[: desk.MAX_OUTPUT], theirs,
                           check.share(cell.id))  # fmt: skip
        finally:
            self.seconds["tests"] += time.monotonic() - begun
        return Outcome("ok", share=1.0)


@contextlib.contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Raise Late after so many seconds."""

    def late(*_: object) -> None:
        raise Late

    signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.5)  # again, if something swallowed it
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def _seeds_carried(student: Student) -> Iterator[None]:
    """What a test seeds with torch.manual_seed is seeded on the student's side as well."""
    original = torch.manual_seed

    def manual_seed(seed: int) -> torch.Generator:
        student.seed = int(seed)
        return torch.default_generator.manual_seed(student.seed)

    torch.manual_seed = manual_seed
    try:
        yield
    finally:
        torch.manual_seed = original


def _our_trace(error: Exception) -> str:
    import traceback

    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return "".join(traceback.format_list(frames))


def _outputs(reply: dict, tensors: Tensors) -> list[dict[str, Any]]:
    """What a cell printed and drew, as notebook outputs, within bounds."""
    text = str(reply.get("printed", ""))[: desk.MAX_OUTPUT]
    outputs = [{"output_type": "stream", "name": "stdout", "text": text}] if text else []
    for picture in [t for t in tensors.values() if t.dtype == torch.uint8][: desk.MAX_PNGS]:
        data = picture.numpy().tobytes()
        if data.startswith(b"\x89PNG\r\n\x1a\n") and len(data) <= desk.MAX_PNG:
            png = base64.b64encode(data).decode()
            outputs.append({"output_type": "display_data", "data": {"image/png": png},
                            "metadata": {}})  # fmt: skip
    return outputs
