"""Find what students handed in and merge each file into our own notebook.

files → `find` → Submission → `take` (read, merge) → Merged. Of a student's file only the text of
answers and of the student's own cells is believed; order, locked cells, points and tests are ours.
An answer is recognised by grade id, else cell id, else unchanged text, else the function that it
defines, else its likeness to the release; where two cells are as likely it is `unsure`. Each repair
becomes a finding, and a short flag where a teacher may want to look; a file that cannot be read
becomes a Merged that says so. Nothing is executed here, no link is followed, no other file beside
the notebook is used, and no student's file makes this module raise.
"""

import hashlib
import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nbformat
from nbformat import NotebookNode
from rapidfuzz import fuzz

from autograder import forbidden
from autograder.course import Course, CourseError
from autograder.lab import Lab, grade_id_of

MAX_BYTES, MAX_CELLS, MAX_CELL, MAX_FINDINGS = 64_000_000, 5_000, 256_000, 100
MAX_DEPTH, MAX_PARTS = 100, 5_000_000  # of the JSON: nesting; values, roughly
LIKE, MAX_LIKE, MAX_COMPARED = 60, 20_000, 10**10  # percent; characters; products of lengths

# In the order in which they are shown. A finding says more about each.
FLAGS = ("duplicate", "recovered", "oversize", "dropped", "several", "twins", "forbidden_call",
         "renamed")  # fmt: skip
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)  # browsers append endings
DEFINES = re.compile(r"(?:async[ \t]++)?(?:def|class)[ \t]++(\w+)")
# What may lie beside a notebook without a word, beside hidden files. None of it is used here.
BESIDE = {"timestamp.txt", "timestamp.unreadable", "attempts", "data", "run_record.json",
          "__pycache__"}  # fmt: skip


@dataclass(frozen=True)
class Submission:
    """One lab of one student; `path` is None where the folder holds no notebook."""

    student: str
    lab: str
    path: Path | None
    findings: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()


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
    flags: list[str] = field(default_factory=list)  # of FLAGS, each once, in that order
    malformed: str = ""
    unsure: set[str] = field(default_factory=set)  # answers for which several cells could stand

    def note(self, text: str, flag: str = "") -> None:
        """Add a finding, and a flag if it is one that a teacher may want to look at."""
        self.findings.append(text)
        if flag:
            self.flag(flag)

    def flag(self, *flags: str) -> None:
        """Add flags, keeping their order."""
        self.flags = [f for f in FLAGS if f in {*self.flags, *flags}]


class Malformed(Exception):
    """A file that is no notebook; the text tells a student what is wrong with it."""


# --- finding ---------------------------------------------------------------------------------


def find(folder: Path, labs: list[str], student: str | None = None) -> list[Submission]:
    """All submissions `folder/STUDENT/LAB/LAB.ipynb`, one per student and lab."""
    if not folder.is_dir():
        raise CourseError(f"{folder} is no folder; put submissions in {folder}/STUDENT/LAB/.")
    homes = [p for p in sorted(folder.iterdir()) if p.is_dir() and p.name != ".ipynb_checkpoints"]
    names = slugs(p.name for p in homes)
    twins = _twins(names)
    found = []
    for home in homes:
        slug, notes, flags = names[home.name], [], []
        if slug != home.name:
            notes.append(f"folder {home.name!r} is graded as {slug!r}")
        if home.name in twins:
            notes.append(f"folder {home.name!a} differs from {twins[home.name]!a} only in case or "
                         "in how accents are written: one person or two?")  # fmt: skip
            flags.append("twins")
        if student in (None, slug, home.name):
            found += [_pick(slug, home / lab, notes, flags) for lab in labs
                      if os.path.lexists(home / lab)]  # fmt: skip
    return found


def slugs(names: Iterable[str]) -> dict[str, str]:
    """An id for each student's name that no glob, shell or database trips over; all distinct.

    A name that is fine stays. Of names that become equal, each changed one gets a digest of itself,
    which, unlike a number, does not depend on who else is there.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for name in sorted(set(names), key=lambda n: (n != n.lower(), n)):
        groups[_key(_slug(name))].append(name)
    given = {}
    for group in groups.values():
        fine = [n for n in group if _slug(n) == n] or (group if len(group) == 1 else [])
        given |= {n: _slug(n) for n in fine[:1]}
    taken = {_key(slug) for slug in given.values()}
    for name in (n for group in groups.values() for n in group if n not in given):
        digest = hashlib.sha256(name.encode(errors="backslashreplace")).hexdigest()
        for length in range(4, 65):
            given[name] = f"{_slug(name)}-{digest[:length]}"
            if _key(given[name]) not in taken:
                break
        taken.add(_key(given[name]))
    return given


def _slug(name: str) -> str:
    plain = unicodedata.normalize("NFC", name)
    return re.sub(r"[^\w.@+-]+", "_", plain)[:64].lstrip("-.") or "student"


def _key(name: str) -> str:
    """Equal for names that some file system takes for one."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _twins(names: Iterable[str]) -> dict[str, str]:
    groups: dict[str, list[str]] = defaultdict(list)
    for name in names:
        groups[_key(name)].append(name)
    return {n: next(o for o in g if o != n) for g in groups.values() if g[1:] for n in g}


def _pick(student: str, folder: Path, notes: list[str], flags: list[str]) -> Submission:
    """The notebook in a student's folder: by its name, with or without '(1)'; the newest wins."""
    lab = folder.name
    notes, flags = list(notes), list(flags)
    if folder.parent.is_symlink() or folder.is_symlink() or not folder.is_dir():
        notes.append(f"{folder.parent.name!r}/{lab} is a link or no folder; it is not read")
        return Submission(student, lab, None, tuple(notes), (*flags, "dropped"))
    entries = sorted(folder.iterdir())
    fits = notebooks(entries, lab)
    if fits and fits[-1].name != f"{lab}.ipynb":
        notes.append(f"the file is called {fits[-1].name!r}")
        flags.append("renamed")
    if len(fits) > 1:
        notes.append(f"{len(fits)} notebooks; the newest, {fits[-1].name!r}, is graded")
        flags.append("several")
    beside = [repr(p.name) + (" (a link)" if p.is_symlink() else "") for p in entries
              if p not in fits and (p.is_symlink() or not _quiet(p.name))]  # fmt: skip
    if beside:
        notes.append(f"not used: {_some(beside)}")
        flags.append("dropped")
    return Submission(student, lab, fits[-1] if fits else None, tuple(notes), tuple(flags))


def notebooks(entries: Iterable[Path], lab: str) -> list[Path]:
    """Those files that can be this lab's notebook, the newest last."""
    files = [p for p in entries if NOTEBOOK.search(p.name) and not _quiet(p.name)
             and p.is_file() and not p.is_symlink()]  # fmt: skip
    named = [p for p in files if lab.casefold() in p.name.casefold()]
    return sorted(named or files, key=lambda p: (p.stat().st_mtime, p.name))


def _quiet(name: str) -> bool:
    return name in BESIDE or name.startswith((".", "~"))


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if names[3:] else "")


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
    """The cells of a student's notebook, formats 3 and 4; Malformed if it is none.

    nbformat would refuse a whole file for one odd cell. Here an odd cell is left out (its number is
    in `unreadable`), and of a good one nothing is kept but its type, text and ids.
    """
    with path.open("rb") as file:
        data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise Malformed(f"The file is larger than {MAX_BYTES // 1_000_000} MB.")
    try:
        raw = _raw_cells(_parse(data))
    except Malformed:
        raise
    except Exception as error:  # a hostile file may raise whatever the parsers happen to raise
        reason = f" ({type(error).__name__})"
        if isinstance(error, json.JSONDecodeError):
            reason = ": it is not complete JSON. Save it again, then hand it in again"
        raise Malformed(f"The file cannot be read as a notebook{reason}.") from None
    if len(raw) > MAX_CELLS:
        raise Malformed(f"The notebook has {len(raw)} cells; at most {MAX_CELLS} are read.")
    cells = [_cell(value) for value in raw]
    if raw and not any(cells):
        raise Malformed("The file cannot be read as a notebook: none of its cells has a text.")
    notebook = NotebookNode(cells=[c for c in cells if c])
    notebook["unreadable"] = [i for i, c in enumerate(cells, 1) if not c]
    return notebook


def _parse(data: bytes) -> dict[str, Any]:
    if not data.strip():
        raise Malformed("The file cannot be read as a notebook: it is empty.")
    if sum(map(data.count, (b",", b"[", b"{"))) > MAX_PARTS:
        raise Malformed("The file holds too many values to be a notebook.")
    text = data.decode(json.detect_encoding(data))
    raw = json.loads(text, parse_int=lambda digits: int(digits) if len(digits) < 20 else 0)
    if not isinstance(raw, dict) or "nbformat" not in raw:
        raise Malformed("The file is no Jupyter notebook.")
    level = [raw]
    for _ in range(MAX_DEPTH):
        level = [v for x in level for v in (x.values() if isinstance(x, dict) else x)
                 if isinstance(v, dict | list)]  # fmt: skip
        if not level:
            return raw
    raise Malformed(f"The file is nested more than {MAX_DEPTH} levels deep.")


def _raw_cells(raw: dict[str, Any]) -> list[Any]:
    form = raw["nbformat"]
    if isinstance(form, int) and not 1 <= form <= 4:
        raise Malformed("The notebook has a format that is not known here; save it as format 4.")
    if isinstance(form, int) and form < 4:
        sheets = raw.get("worksheets")
        return [cell for sheet in (sheets if isinstance(sheets, list) else [])
                if isinstance(sheet, dict) and isinstance(sheet.get("cells"), list)
                for cell in sheet["cells"]]  # fmt: skip
    if not isinstance(raw.get("cells"), list):
        raise Malformed("The notebook has no list of cells.")
    return raw["cells"]


def _cell(raw: Any) -> NotebookNode | None:
    """A cell with what is needed of it, or None if it has no text."""
    if not isinstance(raw, dict):
        return None
    source = raw.get("source", raw.get("input"))  # `input` in format 3
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        ended = any(line.endswith("\n") for line in source[:-1])
        source = ("" if ended else "\n").join(source)
    if not isinstance(source, str):
        return None
    meta = raw.get("metadata") if isinstance(raw.get("metadata"), dict) else {}
    marks = meta.get("nbgrader") if isinstance(meta.get("nbgrader"), dict) else {}
    kept = {"nbgrader": {"grade_id": marks.get("grade_id")}, "id": meta.get("id")}
    kept = {k: v for k, v in kept.items() if isinstance(v, str | dict)}
    form = raw.get("cell_type")
    kind = form if form in ("code", "markdown") else "markdown" if form == "heading" else "raw"
    return NotebookNode(cell_type=kind, source=_text(source), id=raw.get("id"), metadata=kept)


def _text(source: str) -> str:
    """The text as a file can hold it: no half characters, no NUL, one kind of line end."""
    if "\0" in source or not source.isascii():
        source = source.replace("\0", "\ufffd").encode("utf-16", "surrogatepass")
        source = source.decode("utf-16", "replace")
    return source.replace("\r\n", "\n").replace("\r", "\n")


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
    merged.flag(*submission.flags)
    findings = list(dict.fromkeys([*submission.findings, *merged.findings]))
    if len(findings) > MAX_FINDINGS:
        more = len(findings) - MAX_FINDINGS + 1
        findings[MAX_FINDINGS - 1 :] = [f"and {more} more notes"]
    merged.findings = findings
    return merged


# --- merging ---------------------------------------------------------------------------------


def merge(lab: Lab, release: NotebookNode, theirs: NotebookNode, student: str) -> Merged:
    """Put a student's answers and own cells into our notebook."""
    merged = Merged(student, lab.name)
    for number in theirs.get("unreadable", []):
        merged.note(f"cell {number} cannot be read; it is left out", "dropped")
    match = _Match({c["id"]: c for c in release.cells}, theirs.cells, merged)
    extras = match.extras()
    merged.cells += extras[None]
    for ours in lab.notebook.cells:
        merged.cells.append(_place(ours, match, merged))
        merged.cells += extras[ours["id"]]
    _look_for_calls(lab, merged)
    return merged


def role_of(cell: NotebookNode) -> str:
    """What a cell of our notebook is for: given, demo, answer, manual or test."""
    meta = cell.metadata.get("nbgrader", {})
    if meta.get("solution"):
        return "manual" if meta.get("grade") else "answer"
    if meta.get("grade"):
        return "test"
    return "demo" if "demo" in cell.metadata.get("tags", []) else "given"


class _Match:
    """Which of a student's cells (by position) stands for which of ours (by id).

    `claims` has the one that counts for each of ours, `copies` the others that repeat it, `shared`
    the answers that stand in the cell of another answer.
    """

    def __init__(self, released: dict[str, NotebookNode], cells: list[NotebookNode],
                 merged: Merged) -> None:  # fmt: skip
        self.released, self.cells, self.merged = released, cells, merged
        self.order = {key: n for n, key in enumerate(released)}
        self.graded = {grade_id_of(c): key for key, c in released.items() if grade_id_of(c)}
        self.claims: dict[str, int] = {}
        self.copies: dict[int, str] = {}
        self.shared: dict[str, str] = {}
        self.big = {i for i, c in enumerate(cells) if len(c.source) > MAX_CELL}
        for i in sorted(self.big):
            merged.note(f"cell {i + 1} holds {len(cells[i].source)} characters; it is left out",
                        "oversize")  # fmt: skip
        self._recognise()
        self._by_likeness()
        self._by_place()
        self._find_shared()

    def _recognise(self) -> None:
        by_text, by_name = defaultdict(list), defaultdict(list)
        for key, cell in self.released.items():
            if cell.source.strip():
                by_text[_fold(cell.source)].append(key)
            for name in _names(cell.source) if role_of(cell) == "answer" else ():
                by_name[name].append(key)
        most = 2 * max(map(len, by_text), default=0) + 1000  # white space at line ends is allowed
        ways: list[tuple[str, Callable[[NotebookNode], list[str]]]] = [
            ("", lambda c: [self.graded.get(_grade_id(c), "")]),
            ("by its cell id", lambda c: [_cell_id(c) or ""]),
            ("by its text", lambda c: by_text.get(_fold(c.source), []) if len(c.source) < most
                                      else []),
            ("by the function it defines", lambda c: [k for n in _names(c.source)
                                                      for k in by_name.get(n, [])
                                                      if c.cell_type != "markdown"]),
        ]  # fmt: skip
        known: dict[str, list[tuple[str, int]]] = {k: [] for k in self.released}
        seen = set(self.big)
        for how, keys in ways:
            for i, cell in enumerate(self.cells):
                fits = [k for k in keys(cell) if k in self.released] if i not in seen else []
                if how == "by its cell id":  # any cell may bear any id: no rival to a grade id
                    fits = [k for k in fits if not any(w == "" for w, _ in known[k])]
                if fits:
                    key = next((k for k in fits if not known[k]), fits[0])
                    known[key].append((how, i))
                    seen.add(i)
        hows = {key: self._choose(key, places) for key, places in known.items() if places}
        for how, _ in ways[1:]:
            self._recovered(how, [k for k in self.released if hows.get(k) == how])

    def _choose(self, key: str, places: list[tuple[str, int]]) -> str:
        """The cell that counts: the first, but for stubs that were left as they were."""
        answer = role_of(self.released[key]) in ("answer", "manual")
        how, chosen = next((p for p in places if answer and not self._same(key, p[1])), places[0])
        self.claims[key] = chosen
        self.copies |= {i: key for _, i in places if i != chosen}
        if answer and len(places) > 1:
            times = "twice" if len(places) == 2 else f"{len(places)} times"
            first = chosen == min(i for _, i in places)
            which = "the first" if first else f"cell {chosen + 1}"
            self.merged.note(f"{key}: stands {times}; {which} is the answer", "duplicate")
        return how

    def _recovered(self, how: str, keys: list[str]) -> None:
        keys = [k for k in keys if grade_id_of(self.released[k])]
        if keys:
            self.merged.note(f"recognised {how}: {_some(keys)}", "recovered")

    def _by_likeness(self) -> None:
        """Cells of which only the text is left, and that was changed: as like as can be."""
        lost = {k: _fold(c.source) for k, c in self.released.items()
                if c.cell_type == "code" and k not in self.claims}  # fmt: skip
        likes: dict[str, list[int]] = defaultdict(list)
        spent = 0
        for i in self._free() if lost else ():
            if self.cells[i].cell_type == "markdown" or len(self.cells[i].source) > MAX_LIKE:
                continue
            text = _fold(self.cells[i].source)
            spent += len(text) * sum(map(len, lost.values()))
            if spent > MAX_COMPARED:
                self.merged.note("too many cells without metadata to compare them all")
                break
            likeness = {k: fuzz.ratio(text, t, score_cutoff=LIKE) for k, t in lost.items()}
            best = max(likeness, key=likeness.get)
            if likeness[best] >= LIKE:
                likes[best].append(i)
        sure = [k for k, fits in likes.items()
                if len({_fold(self.cells[i].source) for i in fits}) == 1]  # fmt: skip
        for key, fits in likes.items():
            if key in sure:
                self._choose(key, [("", i) for i in fits])
            elif role_of(self.released[key]) == "answer":
                self._unsure(key, fits)
        self._recovered("by its likeness", sure)

    def _by_place(self) -> None:
        """A written answer without metadata: the only new text where the answer should stand."""
        order = list(self.released)
        for key, ours in self.released.items():
            if role_of(ours) != "manual" or key in self.claims:
                continue
            before = max((self.claims[k] for k in order[: self.order[key]] if k in self.claims),
                         default=-1)  # fmt: skip
            after = min((self.claims[k] for k in order[self.order[key] :] if k in self.claims),
                        default=len(self.cells))  # fmt: skip
            new = [i for i in self._free() if before < i < after
                   and self.cells[i].cell_type == ours.cell_type]  # fmt: skip
            if len(new) == 1:
                self.claims[key] = new[0]
                self.merged.note(f"{key}: recognised by its place", "recovered")
            elif new:
                self._unsure(key, new)

    def _unsure(self, key: str, fits: list[int]) -> None:
        where = _some([str(i + 1) for i in fits])
        self.merged.unsure.add(key)
        self.merged.note(f"{key}: several cells could be the answer: {where}")

    def _find_shared(self) -> None:
        """An answer whose cell was joined to that of another one."""
        holders = {name: key for key, i in sorted(self.claims.items(), key=lambda x: -x[1])
                   if role_of(self.released[key]) == "answer"
                   for name in _names(self.cells[i].source)}  # fmt: skip
        for key, ours in self.released.items():
            names = _names(ours.source) if role_of(ours) == "answer" else []
            if key not in self.claims and names and names[0] in holders:
                self.shared[key] = holders[names[0]]
                self.merged.unsure.discard(key)
                self.merged.note(f"{key}: stands in the cell of {self.shared[key]}", "recovered")

    def extras(self) -> dict[str | None, list[Cell]]:
        """The student's own cells, each listed under the known cell that precedes it."""
        extras: dict[str | None, list[Cell]] = defaultdict(list)
        known, ignored = {i: key for key, i in self.claims.items()}, set()
        anchor = None
        for i, cell in enumerate(self.cells):
            if i in known:
                anchor = known[i]
                continue
            copied, place = self.copies.get(i), anchor
            if i in self.big or not cell.source.strip():
                continue
            if copied and role_of(self.released[copied]) in ("answer", "manual"):
                if self._same(copied, i):
                    continue  # a stub beside its answer would undo it
                if self.claims[copied] < i and self.order[copied] > self.order.get(anchor, -1):
                    place = copied  # as in "run all", after what it repeats
            elif copied and grade_id_of(self.released[copied]):
                ignored.add(copied)
                continue
            extras[place].append(Cell("extra", f"extra{i + 1}", _kind(cell), cell.source,
                                      cell.source))  # fmt: skip
        for key in (k for k in self.released if k in ignored):
            self.merged.note(f"{key}: a copy of this cell is ignored", "duplicate")
        return extras

    def _free(self) -> list[int]:
        taken = {*self.claims.values(), *self.copies, *self.big}
        return [i for i, c in enumerate(self.cells) if i not in taken and c.source.strip()]

    def _same(self, key: str, i: int) -> bool:
        return _fold(self.cells[i].source) == _fold(self.released[key].source)


def _place(ours: NotebookNode, match: _Match, merged: Merged) -> Cell:
    """The cell that stands in the merged notebook where `ours` stands in our own."""
    role, key, kind = role_of(ours), ours["id"], ours.cell_type
    released = match.released[key]
    theirs = match.cells[match.claims[key]] if key in match.claims else None
    same = theirs is not None and match._same(key, match.claims[key])
    if role in ("answer", "manual"):
        return _answer(role, ours, theirs, same, match, merged)
    locked = grade_id_of(ours) is not None
    if locked and theirs is None:
        merged.note(f"{key}: was deleted; restored")
    elif locked and not same:
        merged.note(f"{key}: was changed; ours is used")
    elif theirs is not None and not same:  # an open cell is the learner's to change
        return Cell("extra", key, _kind(theirs), theirs.source, theirs.source)
    return Cell(role, key, kind, ours.source, released.source)


def _answer(role: str, ours: NotebookNode, theirs: NotebookNode | None, same: bool, match: _Match,
            merged: Merged) -> Cell:  # fmt: skip
    key, kind = ours["id"], ours.cell_type
    if theirs is not None:
        text = theirs.source
        if theirs.cell_type != kind:
            merged.note(f"{key}: was a {theirs.cell_type} cell; read as {kind}")
        if same:
            merged.untouched.add(key)
    elif key in match.shared:
        holder = match.shared[key]
        late = match.order[holder] > match.order[key]  # needed here already: then it runs twice
        text = match.cells[match.claims[holder]].source if late else f"# in the cell of {holder}"
    else:
        text = match.released[key].source
        if key not in merged.unsure:
            merged.missing.add(key)
            merged.note(f"{key}: no answer cell found")
    return Cell(role, key, kind, text, text)


def _look_for_calls(lab: Lab, merged: Merged) -> None:
    """Flag what an exercise does not allow, and imports of what a learner does not have."""
    theirs = [c for c in merged.cells if c.role in ("answer", "extra") and c.kind == "code"]
    helpers = [c.source for c in theirs if c.role == "extra"]
    for cell in theirs:
        names = lab.forbidden.get(cell.id, []) if cell.role == "answer" else []
        for name in forbidden.used(cell.source, helpers, names) if names else ():
            merged.note(f"{cell.id}: uses {name}, which this exercise does not allow",
                        "forbidden_call")  # fmt: skip
        if package := forbidden.imports_ours(cell.source):
            merged.note(f"{cell.id}: imports {package}, which is not for learners",
                        "forbidden_call")  # fmt: skip


def _kind(cell: NotebookNode) -> str:
    return "code" if cell.cell_type == "code" else "markdown"


def _fold(source: str) -> str:
    """A cell's text without trailing white space, so that an editor's touch is no change."""
    return "\n".join(line.rstrip() for line in source.strip().splitlines())


def _names(source: str) -> list[str]:
    """Names of the functions and classes defined at the top level, even if it does not compile."""
    lines = (line for line in source.split("\n") if line.startswith(("def", "class", "async")))
    return [found[1] for line in lines if (found := DEFINES.match(line))]


def _grade_id(cell: NotebookNode) -> str | None:
    meta = cell.metadata.get("nbgrader") if isinstance(cell.metadata, dict) else None
    name = meta.get("grade_id") if isinstance(meta, dict) else None
    return name if isinstance(name, str) else None


def _cell_id(cell: NotebookNode) -> str | None:
    """The cell's id; Colab keeps it in the metadata."""
    names = [cell.get("id"), cell.metadata.get("id") if isinstance(cell.metadata, dict) else None]
    return next((n for n in reversed(names) if isinstance(n, str)), None)
