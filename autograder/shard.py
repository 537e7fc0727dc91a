"""Share a class out among machines: which submission is whose, and the files that come back.

`Shard` picks by a hash of student and lab, which is the same on every machine and in every class.
`Shelf` stands where the ledger does in a plain run and writes one `DIR/LAB/STUDENT.json` for each
submission; `load` reads one. No gradebook is opened here, and our own cells, hidden tests among
them, are named in the files without their text. What a file may claim is the business of `merge`.
"""

import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nbformat import NotebookNode

from autograder.course import CourseError
from autograder.intake import Merged, Submission
from autograder.lab import Lab
from autograder.ledger import lab_key, write_whole
from autograder.runner import ENGINE, Result

FORMAT = 2
CELL = {"points": float, "max_points": float, "status": str, "message": str, "teacher_detail": str}
SHAPE = {
    "format": int, "engine": str, "lab_key": str, "key": str, "submission": [str],
    "result": {
        "student": str, "lab": str, "findings": [str], "flags": [str], "seconds": float,
        "tier": str,
        "questions": [{"question": str, "points": float, "max_points": float, "status": str,
                       "message": str, "cells": {str: CELL}}],
        "outputs": {str: [dict]},
    },
    "merged": {"cells": [{"role": str, "id": str, "kind": str, "shown": str}], "missing": [str],
               "untouched": [str], "findings": [str], "flags": [str], "malformed": str},
}  # fmt: skip


class Refused(Exception):
    """A result file that cannot be used; the text says why."""


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count`, counted from 1."""

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "Shard":
        """Read `i/n`."""
        parts = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
        shard = cls(*map(int, parts.groups())) if parts else cls(0, 0)
        if not 1 <= shard.index <= shard.count:
            raise CourseError(f"--shard {text}: write i/n with 1 <= i <= n, e.g. 3/16.")
        return shard

    def has(self, submission: Submission) -> bool:
        """Whether this part grades that submission."""
        digest = hashlib.sha256(f"{submission.student}/{submission.lab}".encode()).digest()
        return int.from_bytes(digest[:8], "big") % self.count == self.index - 1


@dataclass
class Shelf:
    """Where a shard puts its results; resumes as the ledger does."""

    folder: Path

    def done(self, submission: Submission, key: str) -> bool:
        """Whether this very submission has its result file already."""
        try:
            stored = load(self._file(submission.lab, submission.student))
        except Refused:
            return False
        unsure = any(q["status"] == "ungraded" for q in stored["result"]["questions"])
        return stored["key"] == key and not unsure

    def record(self, lab: Lab, release: NotebookNode, submission: Submission, merged: Merged,
               result: Result, key: str) -> None:  # fmt: skip
        """Write everything that `merge` needs; of our own cells it has the text itself."""
        cells = [{"role": c.role, "id": c.id, "kind": c.kind,
                  "shown": c.shown if c.role in ("answer", "manual", "extra") else ""}
                 for c in merged.cells]  # fmt: skip
        text = json.dumps({
            "format": FORMAT, "engine": ENGINE, "lab_key": lab_key(lab).hex(), "key": key,
            "submission": list(submission.findings), "result": asdict(result),
            "merged": {"cells": cells, "missing": sorted(merged.missing),
                       "untouched": sorted(merged.untouched), "findings": merged.findings,
                       "flags": merged.flags, "malformed": merged.malformed},
        }, indent=1)  # fmt: skip
        write_whole(self._file(lab.name, result.student), text + "\n", secrets.token_hex(4))

    def _file(self, lab: str, student: str) -> Path:
        return self.folder / lab / f"{student}.json"


def load(path: Path) -> dict[str, Any]:
    """The data of a result file; Refused unless it has exactly the form of one."""
    try:
        stored = json.loads(path.read_bytes())
        json.dumps(stored, allow_nan=False, ensure_ascii=False).encode()  # no NaN, no half letters
    except (OSError, ValueError, RecursionError) as error:
        raise Refused(f"cannot be read ({type(error).__name__})") from None
    if isinstance(stored, dict) and stored.get("format", FORMAT) != FORMAT:
        raise Refused("has another format; grade and merge with one version of autograder")
    if not _fits(stored, SHAPE):
        raise Refused("has not the form of a result file")
    return stored


def _fits(value: object, shape: Any) -> bool:
    """Whether JSON data have a shape: {str: s} any names, [s] any number, float an int too."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(v, shape[0]) for v in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(_fits(v, shape[str]) for v in value.values())
        return value.keys() == shape.keys() and all(_fits(value[k], shape[k]) for k in shape)
    return type(value) in ((float, int) if shape is float else (shape,))
