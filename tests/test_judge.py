"""Tests on stand-ins: what a learner's function does seen from the judge's process."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook

from autograder import runner
from autograder.child.wire import Closed
from autograder.host import Host
from autograder.intake import Cell, Merged
from autograder.judge import Fault, Session, Student, plan, question_seed
from autograder.lab import Lab, Question

SETUP = """
from dataclasses import dataclass
import torch
from torch import nn
from glassbox import check
from glassbox.check import CheckFailed

@dataclass
class Config:
    width: int

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.layer = nn.Linear(width, 1)

    def forward(self, x):
        return self.layer(x)
"""


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    process = Host("bubblewrap", ("torch", "IPython", "glassbox.check"))
    yield process
    process.close()


@pytest.fixture
def judged(host: Host, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list]:
    """Outcomes of test cells for a student's source; one cell, or two for `f_hidden` as well."""
    monkeypatch.setenv("GLASSBOX_GRADING", "1")

    def play(source: str, *tests: str, timeout: float = 20, secret: str = "",
             later: str = "") -> list:  # fmt: skip
        names = ["f_visible", "f_hidden"][: len(tests)]
        cells = [("setup", SETUP), ("f", source), *zip(names, tests, strict=True)]
        notebook = new_notebook(cells=[new_code_cell(text, id=key) for key, text in cells])
        notebook.cells[0].metadata["nbgrader"] = {"grade_id": "setup"}
        notebook.cells[1].metadata["nbgrader"] = {"grade_id": "f", "solution": True}
        for cell in notebook.cells[2:]:
            cell.metadata["nbgrader"] = {"grade_id": cell["id"], "grade": True}
        lab = Lab("lab90_judge", Path("lab90_judge.py"), notebook,
                  [Question(n, "f", n[2:], 4) for n in names])  # fmt: skip
        roles = {"setup": "given", "f": "answer"}
        merged = Merged("ada", lab.name, [Cell(roles.get(k, "test"), k, "code", t, "")
                                          for k, t in cells])  # fmt: skip
        session = Session(lab, plan(lab), merged, host, timeout, 1e12, secret)
        try:
            for cell in merged.cells[:2]:
                session.run(cell)
            outcomes = [session.test(cell) for cell in merged.cells[2:3]]
            for cell in merged.cells[3:]:
                session.mark(cell)
            session.run(Cell("extra", "later", "code", later, ""))
            return outcomes + [session.test(cell) for cell in merged.cells[3:]]
        finally:
            session.close()

    return play


HOLDS = {
    "a value": ("def f(x):\n    return x + 1", "assert f(2) == 3, 'no'"),
    "keywords": ("def f(*, a, b=2):\n    return a * b", "assert f(a=3) == 6, 'no'"),
    "a tensor that is not contiguous": (
        "def f(x):\n    return x.is_contiguous(), x.T.contiguous()",
        "x = torch.arange(6.).view(2, 3).T\ncontiguous, y = f(x)\n"
        "assert not contiguous, 'layout lost'\ncheck.close('y', y, x.T)"),
    "a change in place comes back": (
        "def f(x):\n    x += 1", "x = torch.zeros(2)\nf(x)\ncheck.close('x', x, [1.0, 1.0])"),
    "a list changed in place comes back": (
        "def f(x):\n    x.sort()", "x = [3, 1]\nf(x)\nassert x == [1, 3], 'no'"),
    "a gradient": (
        "def f(x, s):\n    return (x ** 2).sum() * s",
        "x = torch.tensor([1., 3.], requires_grad=True)\nf(x, 0.5).backward()\n"
        "check.close('x', x.grad, [1.0, 3.0])"),
    "two outputs, one without a gradient": (
        "def f(x):\n    return x * 2, x.argmax()",
        "x = torch.tensor([1., 3.], requires_grad=True)\ny, i = f(x)\n"
        "assert not i.requires_grad, 'no'\ny.sum().backward()\n"
        "check.close('x', x.grad, [2.0, 2.0])"),
    "the same tensor twice": (
        "def f(x, y):\n    return (x * y).sum()",
        "x = torch.tensor([3.], requires_grad=True)\nf(x, x).backward()\n"
        "check.close('x', x.grad, [6.0])"),
    "finite differences": (
        "def f(q, k):\n    return (q @ k.mT).softmax(-1)",
        "q, k = torch.randn(2, 3, 4, dtype=torch.float64, generator=check.generator())\n"
        "check.gradient('gradient', f, q, k)"),
    "no gradient in no_grad": (
        "def f(x):\n    return x * 2",
        "x = torch.ones(2, requires_grad=True)\nwith torch.no_grad():\n    y = f(x)\n"
        "assert not y.requires_grad, 'no'"),
    "a class with weights": (
        "class f(nn.Module):\n    def __init__(self, width):\n        super().__init__()\n"
        "        self.w = nn.Parameter(torch.zeros(width))\n"
        "    def forward(self, x):\n        return (self.w * x).sum()",
        "m = f(2)\nm.load_state_dict({'w': torch.tensor([1., 2.])})\n"
        "check.close('forward', m(torch.ones(2)), 3.0)\nm(torch.ones(2)).backward()\n"
        "grads = {n: p.grad for n, p in m.named_parameters()}\n"
        "check.close('grad', grads['w'], [1.0, 1.0])\nm.double()\n"
        "assert m.w.dtype == torch.float64, 'no'"),
    "an object with methods, attributes, items": (
        "class f:\n    def __init__(self, words):\n        self.words = words\n"
        "    def __len__(self):\n        return len(self.words)\n"
        "    def __getitem__(self, i):\n        return self.words[i]\n"
        "    def encode(self, text):\n        return [self.words.index(w) for w in text.split()]",
        "t = f(['a', 'b'])\nassert (len(t), t[1], t.words) == (2, 'b', ['a', 'b']), 'no'\n"
        "assert t.encode('b a') == [1, 0], 'no'"),
    "a generator is iterated as far as asked": (
        "def f():\n    n = 0\n    while True:\n        yield n\n        n += 1",
        "from_it = iter(f())\nassert [next(from_it) for _ in range(3)] == [0, 1, 2], 'no'"),
    "a function of the test is called back": (
        "def f(score, xs):\n    return max(xs, key=score)",
        "assert f(lambda x: -x, [3, 1, 2]) == 1, 'no'"),
    "a dataclass of a given cell": (
        "def f(config):\n    return config.width", "assert f(Config(width=7)) == 7, 'no'"),
    "an object built over there": (
        "def f(net, x):\n    with torch.no_grad():\n        net.layer.weight.zero_()\n"
        "    return net(x)",
        "net = check.there(Net, 3)\ny = f(net, torch.ones(1, 3))\n"
        "check.close('y', y[0], net.state_dict()['layer.bias'])"),
    "a layer of torch built over there": (
        "def f(layer, x):\n    return layer(x)",
        "layer = check.there(nn.Linear, 2, 2, bias=False)\nmine = nn.Linear(2, 2, bias=False)\n"
        "mine.load_state_dict(layer.state_dict())\nx = torch.ones(1, 2)\n"
        "check.close('y', f(layer, x), mine(x).detach())"),
    "a random generator": (
        "def f(g):\n    return torch.rand(2, generator=g)",
        "check.close('draw', f(torch.Generator().manual_seed(3)),\n"
        "            torch.rand(2, generator=torch.Generator().manual_seed(3)))"),
    "torch.manual_seed": (
        "def f():\n    return torch.rand(2)",
        "torch.manual_seed(4)\na = f()\ntorch.manual_seed(4)\nb = f()\nc = f()\n"
        "check.close('same seed', a, b)\nassert not torch.equal(b, c), 'no'"),
    "an exception of the right kind": (
        "def f(x):\n    raise KeyError(x)", "check.raises('key', LookupError, f, 'a')"),
    "a helper in the answer's cell": (
        "def twice(x):\n    return 2 * x\ndef f(x):\n    return twice(x)",
        "assert f(2) == 4, 'no'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOLDS)
def test_what_holds_in_a_notebook_holds_when_judged(judged: Callable, name: str) -> None:
    source, test = HOLDS[name]
    (outcome,) = judged(source, test)
    assert outcome.status == "ok", outcome


FAILS = {
    "changed arguments": (
        "def f(x):\n    x *= 2\n    return x",
        "check.unchanged('inputs', f, torch.ones(2))", "CheckFailed"),
    "a detached result": (
        "def f(x):\n    return x.detach() * 2",
        "check.gradient('g', f, torch.ones(2, dtype=torch.float64))", "CheckFailed"),
    "a wrong backward": (
        "class Wrong(torch.autograd.Function):\n    @staticmethod\n"
        "    def forward(ctx, x):\n        return x * 2\n    @staticmethod\n"
        "    def backward(ctx, g):\n        return g * 3\nf = Wrong.apply",
        "check.gradient('g', f, torch.ones(2, dtype=torch.float64))", "CheckFailed"),
    "nothing returned": ("def f(x):\n    pass", "check.close('y', f(1), 1.0)", "CheckFailed"),
    "an object instead of a tensor": (
        "class Y:\n    def __eq__(self, o):\n        return True\ndef f(x):\n    return Y()",
        "check.close('y', f(1), torch.ones(1))", "CheckFailed"),
    "an int that equals everything": (
        "class Always(int):\n    def __eq__(self, o):\n        return True\n"
        "def f(x):\n    return Always(0)", "check.equal('y', f(1), 848)", "CheckFailed"),
    "a patched comparison": (
        "torch.allclose = torch.equal = lambda *a, **k: True\ncheck.close = print\n"
        "def f(x):\n    return x", "check.close('y', f(torch.ones(1)), [2.0])", "CheckFailed"),
    "a forged verdict": (
        "def f(x):\n    raise CheckFailed('full marks')", "f(1)", "CheckFailed"),
    "a name that is not there": ("g = 1", "f(1)", "NameError"),
    "an exception of a kind of its own": (
        "class Mine(Exception):\n    pass\ndef f(x):\n    raise Mine('hm')", "f(1)", "Mine"),
    "an exit": ("def f(x):\n    raise SystemExit(0)", "f(1)", "SystemExit"),
    "a decoding error": ("def f(x):\n    return b'\\xff'.decode()", "f(1)", "UnicodeDecodeError"),
    "a result that cannot travel": ("def f(x):\n    return 'x' * (1 << 22)", "f(1)", "Unfit"),
}  # fmt: skip


@pytest.mark.parametrize("name", FAILS)
def test_what_fails_is_seen_from_outside(judged: Callable, name: str) -> None:
    source, test, raised = FAILS[name]
    (outcome,) = judged(source, test)
    assert (outcome.status, outcome.name) == ("error", raised)
    assert outcome.theirs == (name in ("a forged verdict", "an exception of a kind of its own",
                                       "an exit", "a decoding error",
                                       "a result that cannot travel"))  # fmt: skip


def test_a_process_that_ends_while_a_mistake_is_looked_up_keeps_the_message(
    judged: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    from glassbox import check

    class Bank:
        def diagnose(self, exercise: str, function: Callable) -> None:
            function(-1)

        def points(self, name: str) -> None:
            return None

    monkeypatch.setattr(check._session, "bank", Bank())
    source = "import os\ndef f(x):\n    return x if x > 0 else os._exit(1)"
    test = "with check.question('{}', f) as g:\n    check.close('y', g(1), 2.0)"
    first, second = judged(source, test.format("f_visible"), test.format("f_hidden"))
    assert (first.name, first.text) == ("CheckFailed", "y: got 1, expected 2")
    assert second.name == "CheckFailed"


PARTS = """
with check.question("f_visible", f) as g:
    with check.part("ones", 1):
        check.close("f(1)", g(1), 1.0)
    with check.part("twos", 3):
        check.close("f(2)", g(2), 2.0)
"""


WORN = """
calls = []
def f(x):
    calls.append(x)
    if len(calls) > 1:
        {}
    return x
"""


@pytest.mark.parametrize("end", ["while True: pass", "import os; os._exit(1)"])
def test_what_an_earlier_question_left_behind_costs_that_question_alone(
    judged: Callable, end: str
) -> None:
    """The second test in a process ends badly; alone in a fresh one it holds."""
    tests = ["assert f(2) == 2, 'no'", "assert f(3) == 3, 'no'"]
    outcomes = judged(WORN.format(end), *tests, timeout=4)
    assert [o.status for o in outcomes] == ["ok", "ok"]


def test_a_test_that_ends_badly_in_a_fresh_process_as_well_is_lost(judged: Callable) -> None:
    outcomes = judged("def f(x):\n    while x: pass", "f(0)", "f(1)", timeout=4)
    assert [o.status for o in outcomes] == ["ok", "timeout"], outcomes


def test_a_process_killed_from_outside_costs_nothing(judged: Callable) -> None:
    """Whoever kills a process once: the machine short of memory, an administrator."""
    once = ("import builtins\ntries = builtins.__dict__.setdefault('tries', [])\n"
            "tries.append(1)\nassert f(len(tries)) == 2, 'no'\n"
            "del builtins.tries")  # fmt: skip
    source = "import os\ndef f(n):\n    if n == 1: os.kill(os.getpid(), 9)\n    return n"
    assert [o.status for o in judged(source, once)] == ["ok"]


def test_hidden_tests_see_names_as_they_were_at_their_place(judged: Callable) -> None:
    """Hidden tests run last, and a later cell may bind the same names."""
    source = "def twice(x):\n    return 2 * x\ndef f(x):\n    return twice(x)"
    visible, hidden = judged(source, "assert f(2) == 4, 'no'", "assert f(3) == 6, 'no'",
                             later="def twice(x):\n    return 'other'\ndel f")  # fmt: skip
    assert (visible.status, hidden.status) == ("ok", "ok")


def test_a_test_that_hands_over_what_cannot_travel_is_our_fault(judged: Callable) -> None:
    with pytest.raises(Fault, match=r"check\.there"):
        judged("def f(m):\n    return m", "f(nn.Linear(1, 1))")


def test_no_exception_of_a_students_ends_our_loops(judged: Callable) -> None:
    source = "def f(x):\n    raise StopIteration"
    (outcome,) = judged(source, "for y in map(f, [1, 2]):\n    check.equal('y', y, 3)")
    assert (outcome.status, outcome.name) == ("error", "StopIteration")


def test_an_object_that_calls_itself_true_is_not(judged: Callable) -> None:
    source = "class Y:\n    def all(self):\n        return self\ndef f():\n    return Y()"
    (outcome,) = judged(source, "check.that(f().all(), 'not all')")
    assert (outcome.name, outcome.text) == ("CheckFailed", "not all")


@pytest.mark.parametrize(("body", "share", "message"), [
    ("x", 1.0, ""), ("1", 0.25, "twos: f(2): got 1, expected 2"),
    ("2", 0.75, "ones: f(1): got 2, expected 1"), ("0", 0.0, "ones: f(1): got 0, expected 1"),
])  # fmt: skip
def test_parts_earn_their_own_points(judged: Callable, body: str, share: float,
                                     message: str) -> None:  # fmt: skip
    (outcome,) = judged(f"def f(x):\n    return {body}", PARTS)
    assert (outcome.share, outcome.text) == (share, message)


def test_a_part_that_raises_costs_itself(judged: Callable) -> None:
    (outcome,) = judged("def f(x):\n    return {1: 1}[x]", PARTS)
    assert (outcome.share, outcome.name) == (0.25, "KeyError")
    (outcome,) = judged("def f(x):\n    raise NotImplementedError", PARTS)
    assert (outcome.share, outcome.name) == (0.0, "NotImplementedError")


def test_a_check_outside_of_the_parts_decides_all(judged: Callable) -> None:
    extra = PARTS + "    check.that(g(3) == 3, 'three')\n"
    (outcome,) = judged("def f(x):\n    return min(x, 2)", extra)
    assert (outcome.share, outcome.text) == (0.0, "three")


def test_inputs_depend_on_the_secret_and_repeat(judged: Callable) -> None:
    source = "def f(x):\n    raise ValueError(x.tolist())"
    test = "f(torch.rand(2, generator=check.generator()))"
    texts = [judged(source, test, secret=s)[0].text for s in ("a", "a", "b")]
    assert texts[0] == texts[1] != texts[2]


def test_seeds_differ_between_questions() -> None:
    lab = Lab("lab90", Path("x"), new_notebook())
    assert question_seed("s", lab, "d", "f") != question_seed("s", lab, "d", "g")


def test_one_student_finds_nothing_of_another(judged: Callable) -> None:
    """Files, shared memory, modules and threads end with a process."""
    leave = ("import os, sys, threading, time\nopen('left', 'w').write('x')\n"
             "open('/tmp/left', 'w').write('x')\nopen('/dev/shm/left', 'w').write('x')\n"
             "if os.fork() == 0:\n    os.setsid()\n    time.sleep(60)\n    os._exit(0)\n"
             "import glassbox.check as c\nc.left = True\ndef f(x):\n    return x")  # fmt: skip
    look = ("import os\nimport glassbox.check as c\nfound = [os.listdir('.'), os.listdir('/tmp'), "
            "os.listdir('/dev/shm'), hasattr(c, 'left'), len([p for p in os.listdir('/proc') "
            "if p.isdigit()])]\ndef f(x):\n    return found")  # fmt: skip
    (outcome,) = judged(leave, "assert f(1) == 1, 'no'")
    assert outcome.status == "ok"
    (outcome,) = judged(look, "raise ValueError(repr(f(1)))")
    home, tmp, shm, patched, processes = eval(outcome.text)
    here = Path(sys.prefix)  # a checkout below /tmp stays visible, for Python's sake
    kept = set(here.relative_to("/tmp").parts[:1]) if here.is_relative_to("/tmp") else set()
    assert (home, set(tmp) - kept, shm, patched) == ([], {"home"}, [], False)
    assert processes <= 5  # bubblewrap, the warm process, this one and its init


def test_many_processes_together_are_held_to_the_memory() -> None:
    """Each is within its own limit; together they are not."""
    host = Host("bubblewrap", ("torch",), memory=0.25)
    student = Student(host.spawn(60))
    source = ("import os, time\nfor _ in range(12):\n    if os.fork() == 0:\n"
              "        kept = b'x' * (100 << 20)\n        time.sleep(60)\n"
              "        os._exit(0)\ntime.sleep(30)")  # fmt: skip
    try:
        with pytest.raises(Closed):
            student.ask("exec", source=source, name="a cell")
        assert host.stop(died=True) == "oom"
    finally:
        host.close()


def test_a_lab_is_read_once(host: Host) -> None:
    lab = Lab("lab90", Path("x"), new_notebook(cells=[new_code_cell("import torch, math as m")]))
    read = plan(lab)
    assert {"torch", "math"} <= set(read.modules)
    assert read.owned == frozenset()
    assert runner.ENGINE
