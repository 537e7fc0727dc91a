"""Pack what a class is given: labs, the learner's package, the built book. Never an answer.

The archive is refused if a solution, a hidden test, a mistake bank or a teacher's file would be in
it. Two runs over the same files give the same bytes.
"""

import re
import tempfile
import zipfile
from pathlib import Path

from autograder.build import leaks
from autograder.course import Course, CourseError
from autograder.lab import read_lab
from glassbox import __version__

START = """# Glass Box

1. Open `book/index.html` in a browser: the course, it needs no network.
2. For the labs you need Python 3.11, 3.12 or 3.13. In this folder, once:

       python3 -m venv .venv
       .venv/bin/pip install -r requirements.txt -c constraints.txt .

   (Windows: `py -m venv .venv` and `.venv\\Scripts\\pip` in place of `.venv/bin/pip`.)
3. `.venv/bin/jupyter lab labs`, open a lab, run its first cell.
4. Hand in the notebook under the name that it has.
"""
SKIPPED = {".ipynb_checkpoints", "__pycache__", "run_record.json"}


def handout(course: Course) -> Path:
    """Write `_build/glassbox-student-VERSION.zip` and give its path."""
    book = course.root / "_build" / "html"
    if not (book / "index.html").exists():
        raise CourseError("The book is not built; run `make book` first.")
    files = {"README.md": START.encode()}
    files["pyproject.toml"] = _learners_pyproject(course.root / "pyproject.toml").encode()
    for name in ("requirements.txt", "constraints.txt", "LICENSE"):
        files[name] = (course.root / name).read_bytes()
    for prefix, folder in (("labs", course.labs), ("glassbox", course.root / "glassbox"),
                           ("book", book)):  # fmt: skip
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not SKIPPED & set(path.parts):
                files[f"{prefix}/{path.relative_to(folder).as_posix()}"] = path.read_bytes()
    target = course.root / "_build" / f"glassbox-student-{__version__}.zip"
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(files):
            archive.writestr(zipfile.ZipInfo(f"glassbox-course/{name}"), files[name],
                             zipfile.ZIP_DEFLATED)  # fmt: skip
    _refuse_leaks(course, target)
    return target


def _learners_pyproject(path: Path) -> str:
    """The project file without the teacher's command."""
    return re.sub(r"\[project\.scripts\]\n(?:.+\n)+", "", path.read_text(encoding="utf-8"))


def _refuse_leaks(course: Course, archive: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
        found = [f for lab in course.all_labs() for f in leaks(read_lab(course, lab), Path(folder))]
        found += [str(p) for p in Path(folder).rglob("*") if p.name in ("solutions", "autograder")]
    if found:
        archive.unlink()
        raise CourseError("The archive would show answers and was removed:\n" + "\n".join(found))
