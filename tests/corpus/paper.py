"""What the rows of the corpus are written with: a student's notebook in the making, and the table.

`Paper` fills in answers and adds cells, `row` puts a function that does so into `ROWS`. What a row
must get is said where it stands, in `corpus.rows`; nothing is graded here.
"""

import copy
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field

import nbformat
from nbformat import NotebookNode

LAB = "lab91_corpus"
HEADS = {"attn": "def attn(q, k, v):\n", "count": "def count(sizes, bias=True):\n"}
RIGHT = {
    "attn": "scores = q @ k.mT / math.sqrt(q.shape[-1])\nreturn scores.softmax(-1) @ v",
    "count": "return sum((a + bool(bias)) * b for a, b in zip(sizes, sizes[1:]))",
}
WRONG = {"attn": "return q * 0", "count": "return 0"}
HONEST = "honest-canary-31b2"  # stands in every honest notebook, and may be read nowhere else


@dataclass(frozen=True)
class Scene:
    """What an attacker knows of the machine: files worth reading, a port where someone listens."""

    release: NotebookNode
    places: list[str]
    port: int
    mark: str  # the name that an attacker's processes give themselves


@dataclass(frozen=True)
class Link:
    """A symbolic link to be made in the student's folder."""

    target: str


Content = NotebookNode | bytes | Link
Handin = NotebookNode | bytes | dict[str, Content] | None


class Paper:
    """A student's notebook in the making."""

    def __init__(self, scene: Scene, answers: str) -> None:
        self.scene, self.notebook = scene, copy.deepcopy(scene.release)
        for name, letter in zip(HEADS, answers, strict=True):
            if letter in "GW":
                self.answer(name, (RIGHT if letter == "G" else WRONG)[name])

    def cell(self, grade_id: str) -> NotebookNode:
        return next(c for c in self.notebook.cells
                    if c.metadata.get("nbgrader", {}).get("grade_id") == grade_id)  # fmt: skip

    def answer(self, name: str, body: str) -> None:
        """Make `body` the answer; the function's head stands already."""
        self.cell(name).source = HEADS[name] + textwrap.indent(textwrap.dedent(body), "    ")

    def attn(self, body: str) -> None:
        self.answer("attn", body)

    def count(self, body: str) -> None:
        self.answer("count", body)

    def add(self, source: str, before: str = "attn") -> None:
        """A cell of the student's own, before the first answer unless said otherwise."""
        place = self.notebook.cells.index(self.cell(before)) if before else len(self.notebook.cells)
        self.notebook.cells.insert(place, nbformat.v4.new_code_cell(textwrap.dedent(source)))

    def attack(self, source: str = "", before: str = "attn") -> None:
        """A cell that knows PLACES, PORT and MARK, and can give its process that name."""
        scene = self.scene
        known = f"PLACES, PORT, MARK = {scene.places!r}, {scene.port}, {scene.mark!r}\n"
        self.add(known + TOOLS + textwrap.dedent(source), before)

    def index(self, grade_id: str) -> int:
        return self.notebook.cells.index(self.cell(grade_id))


@dataclass(frozen=True)
class Row:
    """A submission and what it must get."""

    id: str
    answers: str
    points: tuple[float, float]
    status: str
    flag: str | None
    make: Callable[[Paper], Handin]
    folder: str = ""
    says: str = ""  # must stand in what the student's cells print: the attack did run
    silent: tuple[str, ...] = field(default=())  # must stand in nothing that a student sees

    def files(self, scene: Scene) -> dict[str, Content]:
        """What the student hands in, by file name."""
        paper = Paper(scene, self.answers)
        made = self.make(paper)
        if isinstance(made, dict):
            return made
        return {f"{LAB}.ipynb": paper.notebook if made is None else made}


ROWS: dict[str, Row] = {}


def row(key: str, answers: str, points: tuple[float, float], status: str = "",
        flag: str | None = None, folder: str = "", says: str = "",
        silent: tuple[str, ...] = ()) -> Callable:  # fmt: skip
    """Put the decorated function into the table."""

    def keep(make: Callable[[Paper], Handin]) -> Callable[[Paper], Handin]:
        assert key not in ROWS, key
        ROWS[key] = Row(key, answers, points, status, flag, make, folder or key, says, silent)
        return make

    return keep


TOOLS = """
import ctypes, glob, os, signal, socket, sys, threading, time

def mark():
    ctypes.CDLL(None).prctl(15, MARK.encode())

def peek(path):
    try:
        with open(path, "rb") as file:
            return repr(file.read(50_000))
    except OSError as error:
        return type(error).__name__

def daemon(work):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            mark()
            for sig in set(signal.valid_signals()) - {signal.SIGKILL, signal.SIGSTOP}:
                try:
                    signal.signal(sig, signal.SIG_IGN)
                except (OSError, ValueError):
                    pass
            work()
        os._exit(0)
"""
