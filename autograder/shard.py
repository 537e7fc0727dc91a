"""Share a class out among machines: which submission is whose, and the files that come back.

`Shard` picks by a hash of student and lab, which is the same on every machine and in every class.
`Shelf` stands where the ledger does in a plain run and writes one `DIR/LAB/STUDENT.json` for each
submission; `load` reads one. No gradebook is opened here, and our own cells, hidden tests among
them, are named in the files without their text. What a file may claim is the business of `merge`.
"""

import builtins
import hashlib
import json
import re
import secrets
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from nbformat import NotebookNode

from autograder.course import CourseError
from autograder.intake import Merged, Submission
from autograder.lab import Lab
from autograder.ledger import lab_key, secret_key, write_whole
from autograder.runner import ENGINE, Result

FORMAT = 3


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
    secret: str  # the course's

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
        """Write everything that `merge` needs."""
        stored = sheet(lab, submission, merged, result, key, self.secret)
        text = json.dumps(stored, indent=1) + "\n"
        write_whole(self._file(lab.name, result.student), text, secrets.token_hex(4))

    def _file(self, lab: str, student: str) -> Path:
        return self.folder / lab / f"{student}.json"


def sheet(lab: Lab, submission: Submission, merged: Merged, result: Result, key: str,
          secret: str) -> dict[str, Any]:  # fmt: skip
    """A result as JSON data; of our own cells it has the names, and of the secret a digest."""
    told = asdict(merged)
    for cell in told["cells"]:
        del cell["source"]
        if cell["role"] not in ("answer", "manual", "extra"):
            cell["shown"] = ""
    told |= {name: sorted(x) for name, x in told.items() if isinstance(x, set)}
    return {
        "format": FORMAT, "engine": ENGINE, "lab_key": lab_key(lab).hex(),
        "secret": secret_key(secret), "key": key, "submission": list(submission.findings),
        "result": asdict(result), "merged": told,
    }  # fmt: skip


def load(path: Path) -> dict[str, Any]:
    """The data of a result file; Refused unless it has exactly the form of one."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise Refused(f"cannot be read ({type(error).__name__})") from None


def parse(text: bytes | str) -> dict[str, Any]:
    """The data of a result; Refused unless it has exactly the form of one."""
    try:
        stored = json.loads(text)
        json.dumps(stored, allow_nan=False, ensure_ascii=False).encode()  # no NaN, no half letters
    except (ValueError, RecursionError) as error:
        raise Refused(f"cannot be read ({type(error).__name__})") from None
    if isinstance(stored, dict) and stored.get("format", FORMAT) != FORMAT:
        raise Refused("has another format; grade and merge with one version of autograder")
    if not _fits(stored, SHAPE):
        raise Refused("has not the form of a result file")
    return stored


def _shape(kind: Any) -> Any:
    """The form of a dataclass or other type as JSON: {str: s} any names, [s] any number."""
    if is_dataclass(kind):
        return {name: _shape(hint) for name, hint in get_type_hints(kind).items()}
    inner = [_shape(a) for a in get_args(kind)]
    match get_origin(kind):
        case None:
            return kind
        case builtins.dict if kind == dict[str, Any]:
            return dict
        case builtins.dict:
            return {str: inner[1]}
    return inner[:1]


SHAPE = {
    "format": int, "engine": str, "lab_key": str, "secret": str, "key": str, "submission": [str],
    "result": _shape(Result), "merged": _shape(Merged),
}  # fmt: skip
del SHAPE["merged"]["cells"][0]["source"]


def _fits(value: object, shape: Any) -> bool:
    """Whether JSON data have a shape; an int may stand for a float."""
    if isinstance(shape, list):
        return isinstance(value, list) and all(_fits(v, shape[0]) for v in value)
    if isinstance(shape, dict):
        if not isinstance(value, dict):
            return False
        if str in shape:
            return all(_fits(v, shape[str]) for v in value.values())
        return value.keys() == shape.keys() and all(_fits(value[k], shape[k]) for k in shape)
    return type(value) in ((float, int) if shape is float else (shape,))
