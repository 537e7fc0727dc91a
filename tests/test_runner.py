"""What each kind of notebook earns. Names in brackets are rows of the corpus of hard cases."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from conftest import COUNT, RIGHT, WRONG, answered, cell_of, code, gone, marks
from nbformat import NotebookNode

from autograder import runner
from autograder.child import cells
from autograder.intake import Merged, merge
from autograder.judge import Outcome
from autograder.lab import Lab, Question
from autograder.runner import Result, run, verdict

FULL = {"double": (3, "pass"), "count": (2, "pass")}


def only(status: str, points: float = 0) -> dict[str, tuple[float, str]]:
    """Full marks for `double`, this for `count`."""
    return {"double": (3, "pass"), "count": (points, status)}


def count_is(body: str) -> Callable[[NotebookNode], NotebookNode]:
    return lambda release: answered(release, RIGHT | {"count": body})


def with_cell(source: str, before: str = "count", **answers: str) -> Callable:
    def make(release: NotebookNode) -> NotebookNode:
        notebook = answered(release, RIGHT | answers)
        notebook.cells.insert(notebook.cells.index(cell_of(notebook, before)), code(source))
        return notebook

    return make


def without(*grade_ids: str, **answers: str) -> Callable:
    def make(release: NotebookNode) -> NotebookNode:
        notebook = answered(release, RIGHT | answers)
        for grade_id in grade_ids:
            notebook.cells.remove(cell_of(notebook, grade_id))
        return notebook

    return make


def twice(grade_id: str) -> Callable:
    def make(release: NotebookNode) -> NotebookNode:
        notebook = answered(release, RIGHT)
        place = notebook.cells.index(cell_of(notebook, grade_id))
        notebook.cells.insert(place, copy.deepcopy(notebook.cells[place]))
        return notebook

    return make


def stripped(release: NotebookNode) -> NotebookNode:
    notebook = answered(release, RIGHT)
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell["id"] = {}, f"n{number}"
    return notebook


def test_first(release: NotebookNode) -> NotebookNode:
    notebook = answered(release, RIGHT)
    test = cell_of(notebook, "count_visible")
    notebook.cells.remove(test)
    notebook.cells.insert(0, test)
    return notebook


test_first.__test__ = False


def other_kernel(release: NotebookNode) -> NotebookNode:
    notebook = answered(release, RIGHT)
    notebook.metadata = {"kernelspec": {"name": "julia-1.9", "display_name": "J"}}
    return notebook


def old_format(release: NotebookNode) -> NotebookNode:
    old = nbformat.convert(answered(release, RIGHT), 3)
    return nbformat.reads(json.dumps(old), as_version=4)


NO_IMPORT = "def count(words):\n    from {} import {}\n    return {{}}\n"
CASES: dict[str, tuple[Callable, dict]] = {
    "perfect": (lambda release: answered(release, RIGHT), FULL),
    "untouched [dave]": (copy.deepcopy, {"double": (0, "not_attempted"),
                                         "count": (0, "not_attempted")}),
    "wrong": (count_is(WRONG), only("fail")),
    "right on the visible inputs only": (
        count_is("def count(words):\n    return {'a': 2, 'b': 1}\n"), only("partial", 1)),
    "warns [erin]": (count_is("import warnings\n" + COUNT.replace(
        "    return", "    warnings.warn('hm')\n    return")), FULL),
    "tqdm [frank]": (count_is("from tqdm import tqdm\n" + COUNT.replace(
        "in words}", "in tqdm(words)}")), FULL),
    "test pasted [g5]": (twice("count_visible"), FULL),
    "answer pasted [g6]": (twice("count"), FULL),
    "metadata lost [g8]": (stripped, FULL),
    "unknown kernel [g9]": (other_kernel, FULL),
    "test above its answer [g11]": (test_first, FULL),
    "test deleted [g4]": (without("count_visible", count=WRONG), only("fail")),
    "answer deleted": (without("count"), only("missing")),
    "format 3 [g15]": (old_format, FULL),
    "magics and shell [h14]": (with_cell("%matplotlib inline\n!echo hello\n%%time\n1"), FULL),
    "timed answer [h14]": (count_is("%%time\n" + COUNT), FULL),
    "input [h15]": (with_cell("name = input('who? ')"), FULL),
    "extra cell does not compile [h16]": (with_cell("def broken(:"), FULL),
    "helper in a cell of its own [h17]": (with_cell(
        "def helper(words, w):\n    return words.count(w)",
        count="def count(words):\n    return {w: helper(words, w) for w in words}"), FULL),
    "answer in another cell": (with_cell(COUNT, "count_visible", count="# see below"), FULL),
    "answer does not compile": (count_is("def count(words):\n    return ["), only("error")),
    "answer raises": (count_is("def count(words):\n    return words + 1"), only("error")),
    "os._exit": (count_is("def count(words):\n    import os\n    os._exit(0)"), only("killed")),
    "segfault [g2]": (count_is("def count(words):\n    import ctypes\n    ctypes.string_at(0)"),
                      only("killed")),
    "os._exit in a cell [f8]": (with_cell("import os\nos._exit(1)"), FULL),
    "exit() in a cell": (with_cell("exit()"), FULL),
    "sys.exit [g3]": (count_is("def count(words):\n    import sys\n    sys.exit(0)"),
                      only("error")),
    "endless [f1]": (count_is("def count(words):\n    while True:\n        pass"),
                     only("timeout")),
    "endless and deaf [f2]": (count_is(
        "def count(words):\n    while True:\n        try:\n            while True:\n"
        "                pass\n        except BaseException:\n            pass"), only("timeout")),
    "endless cell [f8]": (with_cell("while True:\n    pass"), FULL),
    "much memory": (count_is("def count(words):\n    return bytearray(1 << 40)"), only("oom")),
    "much output [f3]": (count_is(COUNT.replace("    return", "    print('x' * 20_000_000)\n"
                                                              "    return")), FULL),
    "replaced answer": (count_is(COUNT + "print('x')"), FULL),
    "autograder cannot be imported [h18]": (
        count_is(NO_IMPORT.format("autograder.lab", "read_lab")), only("error")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_marks(graded: Callable, release: NotebookNode, case: str) -> None:
    make, expected = CASES[case]
    result, _ = graded(make(release), timeout=1.5 if "endless" in case else 10)
    assert marks(result) == expected
    lost = [q for q in result.questions if q.status != "pass"]
    assert all(q.message for q in lost)
    assert all(0 <= q.points <= q.max_points for q in result.questions)


def test_messages_and_what_stays_hidden(graded: Callable, release: NotebookNode) -> None:
    """A hidden input reaches the teacher's detail, never the student's message or output."""
    body = "def count(words):\n    if 'a' in words:\n        return {'a': 2, 'b': 1}\n"
    body += "    print('seen', words)\n    raise ValueError(words)\n"
    result, _ = graded(answered(release, RIGHT | {"count": body}))
    question = result.questions[1]
    assert question.status == "partial"
    assert question.message == "Your code raised ValueError."
    hidden = question.cells["count_hidden"]
    assert "ValueError" in hidden.teacher_detail
    assert "hidden-input" not in json.dumps(result.outputs)


def test_the_message_of_a_failed_check_and_of_an_error(
    graded: Callable, release: NotebookNode
) -> None:
    result, _ = graded(answered(release, {"double": "def double(x):\n    return y",
                                          "count": WRONG}))  # fmt: skip
    assert [q.message for q in result.questions] == [
        "Your code raised NameError: name 'y' is not defined", "three words: got {}"]  # fmt: skip


def test_a_syntax_error_names_the_line(graded: Callable, release: NotebookNode) -> None:
    result, _ = graded(answered(release, RIGHT | {"count": "def count(words):\n    return ]"}))
    assert result.questions[1].message == "Your code raised SyntaxError: unmatched ']' (line 2)"


def test_each_deadly_function_costs_itself_only(graded: Callable, release: NotebookNode) -> None:
    result, _ = graded(answered(release, RIGHT | {"double": DEADLY.format("double", "x")}))
    assert marks(result) == {"double": (0, "killed"), "count": (2, "pass")}
    both = {"double": DEADLY.format("double", "x"), "count": DEADLY.format("count", "words")}
    result, _ = graded(answered(release, both))
    assert marks(result) == {"double": (0, "killed"), "count": (0, "killed")}


DEADLY = "def {}({}):\n    import os\n    os._exit(1)"


def test_a_notebook_that_dies_in_every_cell_is_given_up(
    graded: Callable, release: NotebookNode
) -> None:
    notebook = answered(release, RIGHT)
    for _ in range(12):
        notebook.cells.insert(2, code("import os\nos._exit(1)"))
    result, _ = graded(notebook)
    assert marks(result)["count"] == (0, "killed")
    assert "too often" in result.questions[-1].message


def test_output_is_kept_but_cut(graded: Callable, release: NotebookNode) -> None:
    notebook = with_cell("print('y' * 1_000_000)")(release)
    result, merged = graded(notebook)
    extra = next(c.id for c in merged.cells if c.role == "extra")
    assert len(result.outputs[extra][0]["text"]) == cells.MAX_OUTPUT


def test_the_process_is_bare(graded: Callable, release: NotebookNode,
                            monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setenv("SECRET_TOKEN", "hush")
    look = ("import os, json\nprint(json.dumps([os.listdir(), 'SECRET_TOKEN' in os.environ, "
            "os.environ['GLASSBOX_GRADING'], os.environ['OMP_NUM_THREADS'], "
            "os.environ['HF_HUB_OFFLINE'], os.environ['MPLBACKEND']]))")  # fmt: skip
    result, merged = graded(with_cell(look)(release))
    extra = next(c.id for c in merged.cells if c.role == "extra")
    seen = json.loads(result.outputs[extra][0]["text"])
    assert seen == [[], False, "1", "1", "1", "agg"]


def test_no_process_for_what_cannot_be_read(lab: Lab, release: NotebookNode,
                                           monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    monkeypatch.setattr(runner, "Host", None)
    runner.close()
    result = run(lab, Merged("eve", lab.name, malformed="no notebook"))
    assert marks(result) == {"double": (0, "malformed"), "count": (0, "malformed")}
    empty = merge(lab, release, nbformat.v4.new_notebook(), "eve")
    assert marks(run(lab, empty)) == {"double": (0, "missing"), "count": (0, "missing")}


def failing(times: int) -> Callable:
    real, calls = runner.Host, []

    def make(*args: object) -> runner.Host:
        calls.append(args)
        if len(calls) <= times:
            raise RuntimeError("no process today")
        return real(*args)

    return make


@pytest.mark.parametrize(("times", "status"), [(1, "pass"), (2, "ungraded")])
def test_a_fault_of_ours_is_tried_again_and_then_no_mark(
    graded: Callable, release: NotebookNode, monkeypatch: pytest.MonkeyPatch, times: int,
    status: str,
) -> None:  # fmt: skip
    runner.close()
    monkeypatch.setattr(runner, "Host", failing(times))
    result, _ = graded(answered(release, RIGHT))
    assert {q.status for q in result.questions} == {status}
    assert result.ungraded == (status == "ungraded")
    assert "no process today" in result.findings[-1]


def test_a_broken_setup_cell_is_our_fault(lab: Lab, release: NotebookNode) -> None:
    broken = copy.deepcopy(lab)
    broken.cell("setup").source = "import no_such_package"
    result: Result = run(broken, merge(broken, release, answered(release, RIGHT), "ada"))
    assert result.ungraded
    assert "no_such_package" in result.findings[0]


def test_the_whole_notebook_has_a_deadline(lab: Lab, release: NotebookNode) -> None:
    merged = merge(lab, release, with_cell("import time\ntime.sleep(3)")(release), "ada")
    result = run(lab, merged, timeout=10, total=2)
    assert marks(result)["count"] == (0, "timeout")


def test_no_temporary_folder_or_process_stays(graded: Callable, release: NotebookNode,
                                             tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    runner.close()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    graded(answered(release, RIGHT))
    runner.close()
    assert not list(tmp_path.iterdir())
    assert gone(str(tmp_path))


@pytest.mark.parametrize(("outcome", "kind", "expected"), [
    (Outcome("error", "CheckFailed", "case: off by one", theirs=False), "hidden",
     ("fail", "case: off by one")),
    (Outcome("error", "CheckFailed", "full marks"), "visible",
     ("error", "Your code raised CheckFailed: full marks")),
    (Outcome("error", "AssertionError", "x != 7", theirs=False), "hidden",
     ("fail", "An assertion does not hold.")),
    (Outcome("error", "TypeError", "cannot unpack", theirs=False), "visible",
     ("error", "The check cannot use what your code returned (TypeError: cannot unpack).")),
    (Outcome("error", "RuntimeError", "DefaultCPUAllocator: can't allocate memory: you tried"),
     "visible", ("oom", "Your code asked for more memory than there is.")),
    (Outcome("error", "NotImplementedError", ""), "visible",
     ("error", "Your code called a function that is not written yet.")),
    (Outcome("error", "NotImplementedError", "no kernel for complex"), "visible",
     ("error", "Your code raised NotImplementedError: no kernel for complex")),
])  # fmt: skip
def test_verdict(outcome: Outcome, kind: str, expected: tuple[str, str]) -> None:
    assert verdict(Question("f_x", "f", kind, 1), outcome, "def f(): ...", 30) == expected
