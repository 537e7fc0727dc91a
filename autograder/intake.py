"""Find what students handed in and merge each file into our own notebook.

files → `find` → Submission → `take` (read, merge) → Merged. Of a student's file only the text of
answers and of the student's own cells is believed; order, locked cells, points and tests are ours.
Answers are recognised by grade id, else cell id, else unchanged text, else the name of the function
they define. Each repair becomes a finding; a file that cannot be read becomes a Merged that says
so. Nothing is executed here, no link is followed, and no student's file makes this module raise.
"""

import json
import re
import unicodedata
import warnings
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat import NotebookNode

from autograder.course import Course, CourseError
from autograder.lab import Lab, grade_id_of

MAX_BYTES, MAX_CELLS, MAX_CELL, MAX_FINDINGS = 64_000_000, 5_000, 256_000, 100


@dataclass(frozen=True)
class Submission:
    """One lab of one student; `path` is None where the folder holds no notebook."""

    student: str
    lab: str
    path: Path | None
    findings: tuple[str, ...] = ()


@dataclass
class Cell:
    """A cell of the merged notebook.

    `role` is given, demo, answer, manual, extra or test. `source` is what runs, `shown` what a
    student may see: they differ in hidden tests.
    """

    role: str
    id: str
    kind: str  # code or markdown
    source: str
    shown: str


@dataclass
class Merged:
    """Our notebook with a student's answers, or the reason why the file could not be read."""

    student: str
    lab: str
    cells: list[Cell] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)  # answers that were not found
    untouched: set[str] = field(default_factory=set)  # answers that equal the release
    findings: list[str] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)  # short codes for the teacher: duplicate, …
    malformed: str = ""


class Malformed(Exception):
    """A file that is no notebook; the text tells a student what is wrong with it."""


# --- finding ---------------------------------------------------------------------------------


def find(folder: Path, labs: list[str], student: str | None = None) -> list[Submission]:
    """All submissions `folder/STUDENT/LAB/LAB.ipynb`, one per student and lab."""
    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder; put submissions in {folder}/STUDENT/LAB/.")
    found, names = [], set()
    for home in sorted(folder.iterdir()):
        if home.is_symlink() or not home.is_dir() or home.name.startswith("."):
            continue
        name, notes = _slug(home.name, names)
        names.add(name.casefold())
        if student in (None, name, home.name):
            found += [_pick(name, lab, home / lab, notes) for lab in labs if _real(home / lab)]
    return found


def _real(folder: Path) -> bool:
    return folder.is_dir() and not folder.is_symlink()


def _slug(name: str, taken: set[str]) -> tuple[str, list[str]]:
    """A student's id that no glob, shell or database trips over; names that clash get a number."""
    plain = unicodedata.normalize("NFC", name)
    plain = re.sub(r"[^\w.@+-]+", "_", plain)[:64].lstrip("-.") or "student"
    slug, number = plain, 2
    while slug.casefold() in taken:
        slug, number = f"{plain}-{number}", number + 1
    return slug, [] if slug == name else [f"folder {name!r} is graded as {slug!r}"]


def _pick(student: str, lab: str, folder: Path, notes: list[str]) -> Submission:
    """The notebook in a student's folder: by its name, with or without '(1)'; the newest wins."""
    files = [p for p in folder.glob("*.ipynb") if p.is_file() and not p.is_symlink()]
    named = [p for p in files if lab.casefold() in p.stem.casefold()]
    fits = sorted(named or files, key=lambda p: (p.stat().st_mtime, p.name))
    if not fits:
        return Submission(student, lab, None, tuple(notes))
    path = fits[-1]
    if path.name != f"{lab}.ipynb":
        notes = [*notes, f"the file is called {path.name!r}"]
    if len(fits) > 1:
        notes = [*notes, f"{len(fits)} notebooks; the newest, {path.name!r}, is graded"]
    return Submission(student, lab, path, tuple(notes))


# --- reading ---------------------------------------------------------------------------------


def read_release(course: Course, lab: Lab) -> NotebookNode:
    """The released notebook of a lab; CourseError if it is not the one that the source gives."""
    path = course.release(lab.name)
    try:
        release = nbformat.read(path, as_version=4)
    except (OSError, ValueError):
        raise CourseError(f"{path} cannot be read; type: autograder build {lab.name}") from None
    if [c["id"] for c in release.cells] != [c["id"] for c in lab.notebook.cells]:
        raise CourseError(f"{path} is older than its source; type: autograder build {lab.name}")
    return release


def read(path: Path) -> NotebookNode:
    """A student's notebook, upgraded to format 4; Malformed if it is none."""
    if path.stat().st_size > MAX_BYTES:
        raise Malformed(f"The file is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        text = path.read_bytes().decode("utf-8-sig")
        raw = json.loads(text)
        if not isinstance(raw, dict) or "nbformat" not in raw:
            raise Malformed("The file is no Jupyter notebook.")
        with warnings.catch_warnings(action="ignore"):
            notebook = nbformat.reads(text, as_version=4)
        cells = [c for c in notebook.cells if isinstance(c.source, str) and c.cell_type]
    except Malformed:
        raise
    except Exception as error:  # a hostile file may raise whatever the parsers happen to raise
        reason = f" ({type(error).__name__})"
        if isinstance(error, json.JSONDecodeError):
            reason = ": it is not complete JSON. Save it again, then hand it in again"
        if path.stat().st_size == 0:
            reason = ": it is empty"
        raise Malformed(f"The file cannot be read as a notebook{reason}.") from None
    if len(cells) > MAX_CELLS:
        raise Malformed(f"The notebook has {len(cells)} cells; at most {MAX_CELLS} are read.")
    notebook.cells = cells
    return notebook


def take(lab: Lab, release: NotebookNode, submission: Submission) -> Merged:
    """Read and merge one submission. Never raises: a bad file gives a malformed result."""
    try:
        if submission.path is None:
            merged = merge(lab, release, nbformat.v4.new_notebook(), submission.student)
            merged.findings = ["no notebook in the folder"]
        else:
            merged = merge(lab, release, read(submission.path), submission.student)
    except Malformed as error:
        merged = Merged(submission.student, lab.name, malformed=str(error))
    except Exception as error:
        text = f"The notebook's cells cannot be read ({type(error).__name__})."
        merged = Merged(submission.student, lab.name, malformed=text)
    merged.findings = [*submission.findings, *merged.findings][:MAX_FINDINGS]
    return merged


# --- merging ---------------------------------------------------------------------------------


def merge(lab: Lab, release: NotebookNode, theirs: NotebookNode, student: str) -> Merged:
    """Put a student's answers and own cells into our notebook."""
    merged = Merged(student, lab.name)
    released = {c["id"]: c for c in release.cells}
    claims = _claim(released, theirs.cells, merged.findings)
    texts = {key: theirs.cells[i] for key, i in claims.items()}
    extras = _extras(released, theirs.cells, claims, merged.findings)
    merged.cells += extras[None]
    for ours in lab.notebook.cells:
        merged.cells.append(_place(ours, released[ours["id"]], texts.get(ours["id"]), merged))
        merged.cells += extras[ours["id"]]
    return merged


def role_of(cell: NotebookNode) -> str:
    """What a cell of our notebook is for: given, demo, answer, manual or test."""
    meta = cell.metadata.get("nbgrader", {})
    if meta.get("solution"):
        return "manual" if meta.get("grade") else "answer"
    if meta.get("grade"):
        return "test"
    return "demo" if "demo" in cell.metadata.get("tags", []) else "given"


def _place(ours: NotebookNode, released: NotebookNode, theirs: NotebookNode | None,
           merged: Merged) -> Cell:  # fmt: skip
    """The cell that stands in the merged notebook where `ours` stands in our own."""
    role, key, kind = role_of(ours), ours["id"], ours.cell_type
    same = theirs is not None and _fold(theirs.source) == _fold(released.source)
    if role in ("answer", "manual"):
        text = released.source if theirs is None else theirs.source
        if theirs is None:
            merged.missing.add(key)
            merged.findings.append(f"{key}: no answer cell found")
        elif theirs.cell_type != kind:
            merged.findings.append(f"{key}: was a {theirs.cell_type} cell; read as {kind}")
        if same:
            merged.untouched.add(key)
        return Cell(role, key, kind, text, text)
    locked = grade_id_of(ours) is not None
    if locked and theirs is None:
        merged.findings.append(f"{key}: was deleted; restored")
    elif locked and not same:
        merged.findings.append(f"{key}: was changed; ours is used")
    elif theirs is not None and not same:  # an open cell is the learner's to change
        return Cell("extra", key, _kind(theirs), theirs.source, theirs.source)
    return Cell(role, key, kind, ours.source, released.source)


def _claim(released: dict[str, NotebookNode], cells: list[NotebookNode],
           findings: list[str]) -> dict[str, int]:  # fmt: skip
    """Which of the student's cells (by position) stands for which of ours (by id)."""
    claims: dict[str, int] = {}
    by_text = {_fold(c.source): key for key, c in released.items() if c.source.strip()}
    graded, by_name = _index(released)
    ways = [
        ("", lambda cell: [graded.get(_grade_id(cell))]),
        ("by its cell id", lambda cell: [_cell_id(cell)]),
        ("by its text", lambda cell: [by_text.get(_fold(cell.source))]),
        ("by the function it defines", lambda cell: [by_name.get(n) for n in _names(cell.source)]),
    ]
    for how, keys in ways:
        found = []
        for i, cell in enumerate(cells):
            free = i not in claims.values() and len(cell.source) <= MAX_CELL
            key = next((k for k in keys(cell) if k in released and k not in claims), None)
            if free and key is not None and not (how and graded.get(_grade_id(cell))):
                claims[key] = i
                found += [key] if how and grade_id_of(released[key]) else []
        if found:
            some = ", ".join(found[:3]) + (f" and {len(found) - 3} more" if found[3:] else "")
            findings.append(f"recognised {how}: {some}")
    _claim_written(released, cells, claims, findings)
    return claims


def _claim_written(released: dict[str, NotebookNode], cells: list[NotebookNode],
                   claims: dict[str, int], findings: list[str]) -> None:  # fmt: skip
    """A written answer without metadata: the only new text where the answer should stand."""
    order = list(released)
    for key, ours in released.items():
        if role_of(ours) != "manual" or key in claims:
            continue
        before = max((claims[k] for k in order[: order.index(key)] if k in claims), default=-1)
        after = min((claims[k] for k in order[order.index(key) :] if k in claims),
                    default=len(cells))  # fmt: skip
        new = [i for i in range(before + 1, after)
               if cells[i].cell_type == ours.cell_type and cells[i].source.strip()]  # fmt: skip
        if len(new) == 1:
            claims[key] = new[0]
            findings.append(f"{key}: recognised by its place")


def _extras(released: dict[str, NotebookNode], cells: list[NotebookNode], claims: dict[str, int],
            findings: list[str]) -> dict[str | None, list[Cell]]:  # fmt: skip
    """The student's own cells, each listed under the known cell that precedes it."""
    extras: dict[str | None, list[Cell]] = defaultdict(list)
    known = {i: key for key, i in claims.items()}
    graded, by_name = _index(released)
    anchor = None
    for i, cell in enumerate(cells):
        if i in known:
            anchor = known[i]
            continue
        copied = graded.get(_grade_id(cell))
        if copied and role_of(released[copied]) not in ("answer", "manual"):
            findings.append(f"{copied}: a copy of this cell is ignored")
        elif len(cell.source) > MAX_CELL:
            findings.append(f"cell {i + 1} holds {len(cell.source)} characters; it is left out")
        elif cell.source.strip():
            again = copied or next((by_name[n] for n in _names(cell.source) if n in by_name), None)
            if again:
                findings.append(f"{again}: stands twice; the first is the answer")
            extras[anchor].append(Cell("extra", f"extra{i + 1}", _kind(cell), cell.source,
                                       cell.source))  # fmt: skip
    return extras


def _index(released: dict[str, NotebookNode]) -> tuple[dict[str, str], dict[str, str]]:
    """Ids of our cells by grade id, and of the answers by the names that they define."""
    graded = {grade_id_of(c): key for key, c in released.items() if grade_id_of(c)}
    by_name = {name: key for key, c in released.items() if role_of(c) == "answer"
               for name in _names(c.source)}  # fmt: skip
    return graded, by_name


def _kind(cell: NotebookNode) -> str:
    return "code" if cell.cell_type == "code" else "markdown"


def _fold(source: str) -> str:
    """A cell's text without trailing white space, so that an editor's touch is no change."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _names(source: str) -> list[str]:
    """Names of the functions and classes defined at the top level, even if it does not compile."""
    return re.findall(r"^(?:async\s+)?(?:def|class)\s+(\w+)", source, re.MULTILINE)


def _grade_id(cell: NotebookNode) -> str | None:
    meta = cell.metadata.get("nbgrader") if isinstance(cell.metadata, dict) else None
    name = meta.get("grade_id") if isinstance(meta, dict) else None
    return name if isinstance(name, str) else None


def _cell_id(cell: NotebookNode) -> str | None:
    """The cell's id; Colab keeps it in the metadata."""
    names = [cell.get("id"), cell.metadata.get("id") if isinstance(cell.metadata, dict) else None]
    return next((n for n in reversed(names) if isinstance(n, str)), None)
