"""Bring the result files of shards into the gradebook.

files → `read` → Sheet → the ledger, in order of lab and student. A file comes from elsewhere, so
nothing is believed that our own lab can say: its cells, its points and their limits. It must have
been made for the submission that lies here, with this lab, this glassbox and this engine. A file
that is refused costs only its own student, and what the ledger holds already stays. Whoever can
write the files can still write any mark up to the maximum: keep them where students cannot.
"""

import re
from collections import defaultdict
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_origin

from nbformat import NotebookNode

from autograder import intake
from autograder.course import Course, CourseError, course_secret
from autograder.grade import Summary
from autograder.intake import Cell, Merged, Submission, role_of
from autograder.lab import Lab, grade_id_of, read_lab
from autograder.ledger import Ledger, job_key, lab_key, secret_key
from autograder.runner import ENGINE, CellResult, QuestionResult, Result
from autograder.shard import Refused, load

STATUSES = {"pass", "partial", "fail", "error", "timeout", "oom", "killed", "malformed", "missing",
            "not_attempted", "ungraded"}  # fmt: skip
Marks = list[tuple[str, str, str, str, float]]  # exercise, its status, cell, its status, points


@dataclass
class Ours:
    """What a file is compared with: a lab of ours and what was handed in for it."""

    lab: Lab
    release: NotebookNode
    key: bytes
    secret: str
    handed_in: dict[str, Submission]


@dataclass
class Sheet:
    """A result file, read and found good."""

    key: str
    submission: Submission
    merged: Merged
    result: Result

    @property
    def marks(self) -> Marks:
        """What two runs of one submission must agree on; times and addresses in texts may vary."""
        return _marks(asdict(self.result)["questions"])


def merge(course: Course, folders: list[Path], submissions: Path | None = None,
          force: bool = False) -> Summary:  # fmt: skip
    """Enter the results of all files below `folders`; `force` replaces marks that differ."""
    found = _find(folders)
    ours = _ours(course, {lab for lab, _ in found}, submissions)
    summary, used = Summary(), set()
    with Ledger(course) as ledger, ledger.alone():
        before = {(s["lab"], s["student"]): _marks(s["questions"]) for s in ledger.stored() if s}
        try:
            for who, paths in sorted(found.items()):
                sheet = _choose(paths, ours.get(who[0]), summary.refused)
                if sheet is None:
                    continue
                mine = ours[who[0]]
                if who[0] not in used:
                    ledger.prepare(mine.lab)
                    used.add(who[0])
                again = force and not sheet.result.ungraded
                if not again and ledger.done(sheet.submission, sheet.key):
                    _compare(sheet, before[who], paths[0], summary)
                    continue
                ledger.record(mine.lab, mine.release, sheet.submission, sheet.merged, sheet.result,
                              sheet.key)  # fmt: skip
                summary.add(sheet.result)
        finally:
            summary.table = ledger.write_table()
        summary.waiting = sum(ledger.waiting(ours[name].lab) for name in used)
    return summary


def _compare(sheet: Sheet, before: Marks, path: Path, summary: Summary) -> None:
    """A result that the ledger has already: the same again, or a matter for the teacher."""
    if sheet.result.ungraded or sheet.marks == before:
        summary.kept += 1
    else:
        summary.refused.append(f"{path}: its marks differ from those in the gradebook; "
                               "merge --force replaces them")  # fmt: skip


def _find(folders: list[Path]) -> dict[tuple[str, str], list[Path]]:
    """The files by lab and student; a folder may hold one shard or several."""
    found = defaultdict(list)
    for folder in folders:
        if not folder.is_dir():
            raise CourseError(f"{folder} is no folder; name those that grade --shard wrote.")
        for path in sorted(folder.resolve().rglob("*.json")):
            if path not in found[path.parent.name, path.stem]:
                found[path.parent.name, path.stem].append(path)
    if not found:
        raise CourseError("No result files there; they are DIR/LAB/STUDENT.json.")
    return found


def _ours(course: Course, names: set[str], submissions: Path | None) -> dict[str, Ours]:
    folder = submissions or course.classroom / "submitted"
    ours = {}
    for name in sorted(names & set(course.all_labs())):
        lab = read_lab(course, name)
        here = intake.find(folder, [name]) if submissions or folder.is_dir() else []
        ours[name] = Ours(lab, intake.read_release(course, lab), lab_key(lab),
                          course_secret(course), {s.student: s for s in here})  # fmt: skip
    return ours


def _choose(paths: list[Path], ours: Ours | None, refused: list[str]) -> Sheet | None:
    """The one good result of a submission; several must agree, or none is taken."""
    good: dict[Path, Sheet] = {}
    for path in paths:
        try:
            good[path] = read(path, ours)
        except Refused as error:
            refused.append(f"{path}: {error}")
    sure = {path: s for path, s in good.items() if not s.result.ungraded} or good
    if len({(s.key, *s.marks) for s in sure.values()}) > 1:
        refused.append(f"{' and '.join(map(str, sure))}: their results differ, so none is used")
        return None
    return next(iter(sure.values()), None)


def _marks(questions: list[dict[str, Any]]) -> Marks:
    return [(q["question"], q["status"], key, c["status"], c["points"])
            for q in questions for key, c in q["cells"].items()]  # fmt: skip


# --- one file --------------------------------------------------------------------------------


def read(path: Path, ours: Ours | None) -> Sheet:
    """Read `LAB/STUDENT.json`; Refused if it is broken or belongs to something else than ours."""
    student, name = path.stem, path.parent.name
    if ours is None:
        raise Refused(f"{name} is no lab of this course")
    return check(load(path), ours, student)


def check(stored: dict[str, Any], ours: Ours, student: str) -> Sheet:
    """The result of a student as our own lab allows it; Refused if it is not of our making."""
    name = ours.lab.name
    if stored["engine"] != ENGINE:
        raise Refused(f"made by engine {stored['engine'][:40]!r}; this one is {ENGINE!r}")
    if stored["lab_key"] != ours.key.hex():
        raise Refused(f"made with another version of {name} or of glassbox")
    if stored["secret"] != secret_key(ours.secret):
        raise Refused("made with another course secret; copy classroom/secret from here to where "
                      "shards are graded, and grade that one again")  # fmt: skip
    if (stored["result"]["student"], stored["result"]["lab"]) != (student, name):
        raise Refused("the student and lab in it are not those of its name")
    if not re.fullmatch(r"[\w@+][\w.@+-]{0,79}", student):
        raise Refused("its name is no student's id")
    submission = ours.handed_in.get(student)
    if submission and job_key(ours.key, submission, ours.secret) != stored["key"]:
        raise Refused("made for another version of what was handed in; grade that shard again")
    submission = submission or Submission(student, name, None, tuple(stored["submission"]))
    result, merged = _result(stored["result"], ours.lab), _merged(stored["merged"], student, name)
    _check_cells(merged, result, ours.release)
    return Sheet(stored["key"], submission, merged, result)


def _result(stored: dict[str, Any], lab: Lab) -> Result:
    """The result with our points: each cell's between 0 and its maximum, and their sums."""
    if [q["question"] for q in stored["questions"]] != lab.exercises:
        raise Refused("its questions are not those of the lab")
    questions = []
    for q in stored["questions"]:
        most = {o.id: o.points for o in lab.questions
                if o.exercise == q["question"] and o.kind != "manual"}  # fmt: skip
        statuses = {c["status"] for c in q["cells"].values()}
        known = statuses | {q["status"]} <= STATUSES
        unsure = ("ungraded" in statuses) != (q["status"] == "ungraded")
        if list(q["cells"]) != list(most) or not known or unsure:
            raise Refused(f"its results of {q['question']} are not possible in this lab")
        cells = {key: CellResult(**c | {"points": min(max(c["points"], 0.0), most[key]),
                                        "max_points": most[key]})
                 for key, c in q["cells"].items()}  # fmt: skip
        points = sum(c.points for c in cells.values())
        questions.append(QuestionResult(q["question"], points, sum(most.values()), q["status"],
                                        q["message"], cells))  # fmt: skip
    if not all(_harmless(o) for outputs in stored["outputs"].values() for o in outputs):
        raise Refused("it holds output that grading never makes")
    return Result(**stored | {"questions": questions})


def _harmless(output: dict[str, Any]) -> bool:
    """Plain text or a PNG, as the runner keeps them: anything else may be active content."""
    match output:
        case {"output_type": "stream", "name": "stdout", "text": str()}:
            return len(output) == 3
        case {"output_type": "display_data", "metadata": {**meta},
              "data": {"image/png": str(), **more}}:  # fmt: skip
            return len(output) == 3 and not meta and not more
    return False


def _merged(stored: dict[str, Any], student: str, lab: str) -> Merged:
    names = {f.name for f in fields(Merged) if get_origin(f.type) is set}
    cells = [Cell(**c, source="") for c in stored["cells"]]
    sets = {name: set(stored[name]) for name in names}
    return Merged(**stored | sets | {"cells": cells, "student": student, "lab": lab})


def _check_cells(merged: Merged, result: Result, release: NotebookNode) -> None:
    """Every cell of ours stands in it once, as what it is; the marked copy counts on that."""
    if not merged.cells and (merged.malformed or result.ungraded):
        return
    ours, keys = {c["id"]: c for c in release.cells}, [c.id for c in merged.cells]
    for cell in merged.cells:
        mine = ours.get(cell.id)
        free = re.fullmatch(r"extra\d+", cell.id) if mine is None else grade_id_of(mine) is None
        right = mine is not None and cell.role == role_of(mine)
        if not (right or (free and cell.role == "extra")) or cell.kind not in ("code", "markdown"):
            raise Refused(f"it holds a cell {cell.id[:40]!r} that does not belong there")
    if len(set(keys)) != len(keys) or not ours.keys() <= set(keys):
        raise Refused("its cells are not those of the lab")
