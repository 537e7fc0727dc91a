"""A small made-up class, for trying the grader: the files that its students would hand in.

Right and wrong answers come from the lab's mistake bank, so that every lab has its sample class
without further work. Names are first names of people in computing; nobody real handed in anything.
"""

import ast
import copy
import inspect
import json
from collections.abc import Callable
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.bank import Bank, Entry, Version, read_bank
from autograder.course import Course, CourseError
from autograder.intake import read_release
from autograder.lab import Lab, grade_id_of, read_lab

STUDENTS = {"ada", "grace", "alan", "edsger", "dave", "emil", "hedy"}
ESSAY = "My answer in one sentence: it depends on what the model has seen."


def write_class(course: Course, name: str, folder: Path) -> list[str]:
    """Write `folder/STUDENT/LAB/…` for each student of the class; give their names.

    CourseError if other students have handed in there: a real class is not mixed with this one.
    """
    real = {p.name for p in folder.iterdir() if p.is_dir()} - STUDENTS if folder.is_dir() else ()
    if real:
        raise CourseError(
            f"{folder} holds the work of {', '.join(sorted(real)[:3])} …: a real class. "
            "The made-up class is not put among it; use --submissions DIR for another place."
        )
    lab = read_lab(course, name)
    release, bank = read_release(course, lab), read_bank(course, lab)
    right = {e: _solution(lab, e) for e in lab.exercises}
    other = {e: other_way(bank[e], e) for e in lab.exercises}
    perfect = _answered(release, lab, right)
    notebooks: dict[str, NotebookNode | str] = {
        "ada": perfect,
        "grace": _answered(release, lab, other),
        "alan": _answered(release, lab, right | mistaken(lab, bank, first=0)),
        "edsger": _answered(release, lab, right | mistaken(lab, bank, first=2)),
        "dave": release,
        "emil": json.dumps(perfect)[:-100],
        "hedy": _colab(perfect, lab),
    }
    for student, notebook in notebooks.items():
        file = f"{name} (1).ipynb" if student == "hedy" else f"{name}.ipynb"
        path = folder / student / name / file
        path.parent.mkdir(parents=True, exist_ok=True)
        text = notebook if isinstance(notebook, str) else nbformat.writes(notebook)
        path.write_text(text, encoding="utf-8")
    return list(notebooks)


def mistaken(lab: Lab, bank: Bank, first: int) -> dict[str, str]:
    """The first two mistakes of the bank in two exercises, counted from `first`, going round."""
    names = [lab.exercises[(first + i) % len(lab.exercises)] for i in range(2)]
    return {e: _written(bank[e].wrong, e)[i] for i, e in enumerate(names)}


def other_way(entry: Entry, exercise: str) -> str:
    """The source of a right version that is not the lab's own solution."""
    return _written(entry.right, exercise)[0]


def _written(versions: list[Version], exercise: str) -> list[str]:
    """The sources of those that the bank defines by name."""
    return [text for v in versions if (text := version_source(v.make, exercise))]


def version_source(make: Callable, exercise: str) -> str:
    """A version of the bank as a student would have written it, with the helpers that it calls.

    Empty if the bank makes it in another way than by a definition of that name.
    """
    module = ast.parse(Path(inspect.getsourcefile(make)).read_text(encoding="utf-8"))
    defined = {name: node for node in module.body for name in _defines(node)}
    wanted, queue = set(), [make.__name__]
    while queue:
        name = queue.pop()
        if name in defined and name not in wanted:
            wanted.add(name)
            queue += [n.id for n in ast.walk(_bare(defined[name])) if isinstance(n, ast.Name)]
    nodes = dict.fromkeys(node for node in module.body if wanted & set(_defines(node)))
    source = "\n\n\n".join(ast.unparse(_bare(node)) for node in nodes)
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if getattr(node, "name", None) == make.__name__:
            node.name = exercise
        elif getattr(node, "id", None) == make.__name__:
            node.id = exercise
    return ast.unparse(tree)


def _defines(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [(alias.asname or alias.name).split(".")[0] for alias in node.names]
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)]


def _bare(node: ast.stmt) -> ast.stmt:
    """The definition without its decorators, which belong to the bank."""
    node = copy.copy(node)
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        node.decorator_list = []
    return node


def _solution(lab: Lab, exercise: str) -> str:
    lines = lab.cell(exercise).source.splitlines()
    return "\n".join(x for x in lines if "BEGIN SOLUTION" not in x and "END SOLUTION" not in x)


def _answered(release: NotebookNode, lab: Lab, answers: dict[str, str]) -> NotebookNode:
    notebook = copy.deepcopy(release)
    written = {q.id: ESSAY for q in lab.questions if q.kind == "manual"}
    for cell in notebook.cells:
        cell.source = (answers | written).get(grade_id_of(cell), cell.source)
    return notebook


def _colab(perfect: NotebookNode, lab: Lab) -> NotebookNode:
    """All metadata and ids lost, one answer pasted twice, one visible test deleted."""
    notebook = copy.deepcopy(perfect)
    first, last = lab.exercises[0], f"{lab.exercises[-1]}_visible"
    place = next(i for i, c in enumerate(notebook.cells) if grade_id_of(c) == first)
    notebook.cells.insert(place + 1, copy.deepcopy(notebook.cells[place]))
    notebook.cells = [c for c in notebook.cells if grade_id_of(c) != last]
    for number, cell in enumerate(notebook.cells):
        cell.metadata, cell["id"] = {}, f"colab-{number}"
    notebook.metadata = {"colab": {"provenance": []}}
    return notebook
