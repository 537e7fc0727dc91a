"""Read a lab's percent source and say, with file and line, what is malformed in it.

A graded cell is declared on its cell line, in one of four short forms:

    # %% nbgrader={"solution": "attention"}                        the learner fills the blank
    # %% nbgrader={"test": "attention_visible", "points": 9}       checks (or attention_hidden)
    # %% [markdown] nbgrader={"manual": "reflection", "points": 5} an answer graded by hand
    # %% nbgrader={"locked": "setup"}                              given code, restored when graded

A solution may add `"calls_forbidden": ["softmax"]`: whoever uses such a name is flagged for the
teacher, without loss of points; the released notebook does not say so.

`read_lab` expands them to nbgrader's metadata (schema 3), gives every cell a stable id and fills in
`{points:attention}` in headings. It executes nothing.
"""

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jupytext
from nbformat import NotebookNode

from autograder.course import Course, CourseError

BLOCKS = {"SOLUTION": "solution", "HIDDEN TESTS": "test"}
FORMS = ("solution", "test", "manual", "locked")


@dataclass(frozen=True)
class Question:
    """One graded cell: its id, the exercise it belongs to and what it is worth."""

    id: str
    exercise: str
    kind: str  # visible, hidden or manual
    points: float


@dataclass
class Lab:
    """A parsed lab: `notebook` with full metadata and solutions, and its graded cells."""

    name: str
    path: Path
    notebook: NotebookNode
    questions: list[Question] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)  # cell id -> its cell line in the source
    forbidden: dict[str, list[str]] = field(default_factory=dict)  # exercise -> names not to call

    @property
    def exercises(self) -> list[str]:
        """The exercises that tests grade, in order."""
        return list(dict.fromkeys(q.exercise for q in self.questions if q.kind != "manual"))

    def cell(self, grade_id: str) -> NotebookNode:
        """The cell with this grade id."""
        return next(c for c in self.notebook.cells if grade_id_of(c) == grade_id)

    def max_points(self, exercise: str) -> float:
        """Visible, hidden and manual points of an exercise together."""
        return sum(q.points for q in self.questions if q.exercise == exercise)


def grade_id_of(cell: NotebookNode) -> str | None:
    """The nbgrader id of a cell, or None."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def read_lab(course: Course, name: str) -> Lab:
    """Parse `solutions/NAME/NAME.py`; CourseError with file and line where it is malformed."""
    path = course.source(name)
    text = path.read_text(encoding="utf-8")
    lines = [n for n, line in enumerate(text.splitlines(), 1) if line.startswith("# %%")]
    notebook = jupytext.reads(text, fmt="py:percent")
    if len(lines) != len(notebook.cells):
        raise CourseError(f"{path}:1: text before the first cell; begin the file with '# %%'.")
    lab = Lab(name, path, notebook)
    for cell, line in zip(notebook.cells, lines, strict=True):
        _expand(lab, cell, f"{path}:{line}")
    _check_exercises(lab)
    _fill_points(lab)
    _identify(notebook)
    lab.lines = {c["id"]: line for c, line in zip(notebook.cells, lines, strict=True)}
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    return lab


def _expand(lab: Lab, cell: NotebookNode, where: str) -> None:
    short: dict[str, Any] = cell.metadata.get("nbgrader", {})
    tags = cell.metadata.get("tags")
    cell.metadata = {"tags": tags} if tags else {}
    _check_blocks(cell, where)
    if not short:
        for block, form in BLOCKS.items():
            if f"BEGIN {block}" in cell.source:
                raise CourseError(
                    f"{where}: a {block} block in a cell that is no {form} cell; "
                    f'write nbgrader={{"{form}": "NAME"}} on its cell line.'
                )
        return
    form = next((f for f in FORMS if f in short), None)
    more = {"points", "calls_forbidden"} if form == "solution" else {"points"}
    if form is None or set(short) - {form} - more:
        raise CourseError(f"{where}: nbgrader={short}; expected one of {', '.join(FORMS)} and, "
                          "for test and manual, points; for solution, calls_forbidden."
                          )  # fmt: skip
    grade_id = short[form]
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,63}", str(grade_id)):
        raise CourseError(f"{where}: {grade_id!r} is no valid id; use a name like attention.")
    if any(grade_id_of(c) == grade_id for c in lab.notebook.cells if c is not cell):
        raise CourseError(f"{where}: the id {grade_id!r} stands twice; every cell needs its own.")
    graded = form in ("test", "manual")
    points = short.get("points")
    if graded and not (isinstance(points, int | float) and points > 0):
        raise CourseError(f'{where}: {grade_id} has no points; write "points": 3 on its cell line.')
    if form == "solution" and cell.cell_type == "code" and "BEGIN SOLUTION" not in cell.source:
        raise CourseError(f"{where}: {grade_id} has no blank; put ### BEGIN SOLUTION and "
                          "### END SOLUTION around what the learner writes.")  # fmt: skip
    if "calls_forbidden" in short:
        lab.forbidden[grade_id] = _forbidden(short["calls_forbidden"], where)
    cell.metadata["nbgrader"] = {
        "grade": graded, "grade_id": grade_id, "locked": form in ("test", "locked"),
        "schema_version": 3, "solution": form in ("solution", "manual"), "task": False,
    } | ({"points": points} if graded else {})  # fmt: skip
    if form == "test":
        lab.questions.append(_question(grade_id, points, where))
        cell.metadata["tags"] = ["raises-exception"]  # JupyterLab's Run All goes on after it
    elif form == "manual":
        lab.questions.append(Question(grade_id, grade_id, "manual", points))


def _forbidden(names: Any, where: str) -> list[str]:
    """Names without their module: the call is found however the module was imported."""
    fits = isinstance(names, list) and names
    if not fits or not all(isinstance(n, str) and n.isidentifier() for n in names):
        raise CourseError(f"{where}: calls_forbidden={names!r}; write a list of plain names, "
                          'like ["softmax"].')  # fmt: skip
    return names


def _question(grade_id: str, points: float, where: str) -> Question:
    exercise, _, kind = grade_id.rpartition("_")
    if kind not in ("visible", "hidden") or not exercise:
        raise CourseError(f"{where}: a test cell is called NAME_visible or NAME_hidden, "
                          f"not {grade_id}.")  # fmt: skip
    return Question(grade_id, exercise, kind, points)


def _check_blocks(cell: NotebookNode, where: str) -> None:
    for block in BLOCKS:
        opened = False
        for offset, line in enumerate(cell.source.splitlines(), 1):
            place = f"{where} (line {offset} of the cell)"
            if f"BEGIN {block}" in line:
                if opened:
                    raise CourseError(f"{place}: BEGIN {block} inside another one.")
                opened = True
            elif f"END {block}" in line:
                if not opened:
                    raise CourseError(f"{place}: END {block} without a BEGIN {block}.")
                opened = False
        if opened:
            raise CourseError(f"{where}: BEGIN {block} is never closed; add ### END {block}.")


def _check_exercises(lab: Lab) -> None:
    solved = {grade_id_of(c) for c in lab.notebook.cells
              if c.metadata.get("nbgrader", {}).get("solution")}  # fmt: skip
    for q in lab.questions:
        where = f"{lab.path}: {q.id}"
        if q.kind != "manual" and q.exercise not in solved:
            raise CourseError(f'{where} tests {q.exercise}, but no cell is '
                              f'nbgrader={{"solution": "{q.exercise}"}}.')  # fmt: skip
        hidden = "BEGIN HIDDEN TESTS" in lab.cell(q.id).source
        if hidden != (q.kind == "hidden"):
            raise CourseError(f"{where} must {'not ' * (q.kind != 'hidden')}hold a HIDDEN TESTS "
                              "block: its name says so.")  # fmt: skip
        if hidden and not cut(lab.cell(q.id).source, "HIDDEN TESTS")[0].lstrip().startswith("#"):
            raise CourseError(f"{where}: begin with a comment that stays visible and says what "
                              "kind of input is tried.")  # fmt: skip


def _fill_points(lab: Lab) -> None:
    def text(match: re.Match[str]) -> str:
        points = lab.max_points(match[1])
        if not points:
            raise CourseError(f"{lab.path}: {match[0]} in a text, but no question {match[1]}.")
        return f"{points:g} points"

    for cell in lab.notebook.cells:
        if cell.cell_type == "markdown":
            cell.source = re.sub(r"\{points:(\w+)\}", text, cell.source)
            cell.source = cell.source.replace(
                "{points}", f"{sum(q.points for q in lab.questions):g} points"
            )


def _identify(notebook: NotebookNode) -> None:
    """Ids that survive a rebuild: the grade id, else a hash of the source."""
    seen: dict[str, int] = {}
    for cell in notebook.cells:
        base = grade_id_of(cell) or "c" + hashlib.sha1(cell.source.encode()).hexdigest()[:8]
        seen[base] = seen.get(base, 0) + 1
        cell["id"] = base if seen[base] == 1 else f"{base}-{seen[base]}"


def cut(source: str, block: str) -> tuple[str, str]:
    """Split a cell's text into what stands outside and inside of its BEGIN/END blocks."""
    outside, inside, within = [], [], False
    for line in source.splitlines():
        if f"BEGIN {block}" in line:
            within = True
        elif f"END {block}" in line:
            within = False
        else:
            (inside if within else outside).append(line)
    return "\n".join(outside), "\n".join(inside)


def namespace(lab: Lab) -> dict[str, Any]:
    """Run the lab's code cells but for tests and cells tagged `demo`; give their variables."""
    space: dict[str, Any] = {"__name__": lab.name}
    for cell in lab.notebook.cells:
        tests = cell.metadata.get("nbgrader", {}).get("grade")
        if cell.cell_type == "code" and not tests and "demo" not in cell.metadata.get("tags", []):
            exec(compile(cell.source, f"{lab.name}:{cell['id']}", "exec"), space)
    return space
