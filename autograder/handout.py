"""Pack what a class is given: labs, the learner's package, the built book. Never an answer.

It is also the copy for reading offline: unpacked anywhere, `README.html` opens by a double click.
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
DOOR = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Glass Box</title>
<link rel="icon" href="book/_static/favicon.svg">
<style>
  :root { color-scheme: light dark; }
  body { font: 1.15rem/1.6 Charter, Georgia, serif; margin: 3rem auto; max-width: 38rem;
         padding: 0 1.2rem; }
  h1 { line-height: 1.2; }
  a { color: light-dark(#0b6075, #76c8da); }
  .open { border: 2px solid; border-radius: 8px; display: inline-block; font-size: 1.3rem;
          padding: 0.6rem 1.2rem; text-decoration: none; }
  code { overflow-wrap: anywhere; }
</style>
</head>
<body>
<h1>Glass Box</h1>
<p>How a large language model works, how it is trained, and what a telecom engineer has to know to
decide about one.</p>
<p><a class="open" href="book/book/intro.html">Open the book</a></p>
<p>The book needs no network and no installation: search, formulas, quizzes and everything that can
be moved work from this folder, also from a USB stick. What you have read is remembered by your
browser alone.</p>
<h2>The labs</h2>
<p>They are notebooks in the folder <code>labs</code> and need Python with some packages, which are
installed once, with a network: <a href="README.md">README.md</a> has the three lines to type.</p>
</body>
</html>
"""
SKIPPED = {".ipynb_checkpoints", "__pycache__", "run_record.json", "my_audit"}


def handout(course: Course) -> Path:
    """Write `_build/glassbox-student-VERSION.zip` and give its path."""
    book = course.root / "_build" / "html"
    if not (book / "index.html").exists():
        raise CourseError("The book is not built; run `make book` first.")
    files = {"README.md": START.encode(), "README.html": DOOR.encode()}
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
