"""Build the released labs from their sources: solutions out, hidden tests out, leaks refused.

source (percent) → `_build/labs/source` → nbgrader's generate_assignment → `_build/labs/release` →
leak check → `labs/LAB/LAB.ipynb`, and the mistake bank → `glassbox/probes/LAB.npz`. Two builds give
the same bytes. Learners' data files lie in `solutions/LAB/data/` and are copied as they are. The
workshop's pages `book/activityN_slug.md` become notebooks in `labs/activities/` for the room.
"""

import html
import json
import logging
import re
import shutil
from pathlib import Path

import jupytext
import nbformat
import numpy as np
from nbgrader.apps import NbGraderAPI

from autograder.bank import fold, pack_fingerprints, read_bank, solution_lines
from autograder.course import Course, CourseError, nbgrader_config
from autograder.lab import Lab, read_lab
from autograder.lint import lint
from glassbox import bank as fingerprints

MARKERS = ("BEGIN SOLUTION", "BEGIN HIDDEN TESTS")
TEXT = {".py", ".md", ".txt", ".ipynb", ".html", ".json", ".csv", ".rst", ".js", ".toml", ""}


def build(course: Course, names: list[str], check: bool = False) -> list[str]:
    """Build the labs; with `check` change nothing and give the paths that would change."""
    changed = []
    for name in names:
        lab = read_lab(course, name)
        lint(lab)
        released = _release(course, lab)
        changed += _install(released, course.labs / name, check)
        changed += _fingerprints(course, lab, check)
    return changed + _activities(course, check)


def _activities(course: Course, check: bool) -> list[str]:
    """The activities' pages as notebooks: no outputs, cells named by place, labels of MyST gone."""
    changed = []
    for page in sorted((course.root / "book").glob("activity*.md")):
        notebook = jupytext.read(page)
        notebook.metadata = {"kernelspec": notebook.metadata["kernelspec"]}
        for number, cell in enumerate(notebook.cells):
            cell.id, cell.metadata = f"{page.stem}-{number}", {}
            if cell.cell_type == "markdown":
                cell.source = re.sub(r"^\([\w-]+\)=\n", "", cell.source, flags=re.M)
        target = course.labs / "activities" / f"{page.stem}.ipynb"
        new = nbformat.writes(notebook) + "\n"
        if not target.exists() or target.read_text(encoding="utf-8") != new:
            changed.append(str(target))
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(new, encoding="utf-8")
    return changed


def _release(course: Course, lab: Lab) -> Path:
    """Generate the release of one lab in `_build/labs/release`, refuse it if an answer shows."""
    scratch = course.root / "_build" / "labs"
    source, release = scratch / "source" / lab.name, scratch / "release" / lab.name
    for folder in (source, release):
        shutil.rmtree(folder, ignore_errors=True)
    source.mkdir(parents=True)
    nbformat.write(lab.notebook, source / f"{lab.name}.ipynb")
    data = course.solutions / lab.name / "data"
    if data.is_dir():
        shutil.copytree(data, source / "data")
    config = nbgrader_config(course)
    config.GenerateAssignment.no_database = True  # a reader's build needs no gradebook
    config.SaveCells.enabled = False
    logger = logging.getLogger(f"autograder.build.{lab.name}")
    logger.propagate = False  # the API returns what nbgrader had to say
    api = NbGraderAPI(config=config, log=logger)
    result = api.generate_assignment(lab.name, force=True)
    if not result["success"]:
        raise CourseError(
            f"nbgrader could not release {lab.name}:\n"
            f"{result.get('error', '')}{result.get('log', '')}"
        )
    found = leaks(lab, release)
    if found:
        raise CourseError("The release would show answers; nothing was written:\n" +
                          "\n".join(found))  # fmt: skip
    return release


def leaks(lab: Lab, folder: Path) -> list[str]:
    """Every place below `folder` where an answer, a hidden test or a source file of `lab` shows.

    Works on released labs, on a built site (tags stripped) and on an unpacked student archive.
    """
    secret = solution_lines(lab)
    found = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        if path.name in ("mistakes.py", f"{lab.name}.py"):
            found.append(f"{path}: a teacher's file.")
        if path.suffix not in TEXT:
            continue
        for number, line in enumerate(_lines(path), 1):
            marker = next((m for m in MARKERS if m in line), None)
            if marker or fold(line) in secret:
                found.append(f"{path}:{number}: {marker or 'line of a solution'}: {line.strip()}")
    return found


def _lines(path: Path) -> list[str]:
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix == ".ipynb":
        try:
            cells = json.loads(text)["cells"]
        except (ValueError, KeyError):
            return text.splitlines()
        return "\n".join("".join(c["source"]) for c in cells).splitlines()
    if path.suffix == ".html":
        text = html.unescape(re.sub(r"<[^>]+>", "", text))
    return text.splitlines()


def _install(released: Path, target: Path, check: bool) -> list[str]:
    """Copy the release to `labs/` where its bytes differ; give what differs."""
    new = {p.relative_to(released): p.read_bytes() for p in released.rglob("*") if p.is_file()}
    old = {p.relative_to(target): p.read_bytes() for p in target.rglob("*")
           if p.is_file() and ".ipynb_checkpoints" not in p.parts}  # fmt: skip
    differing = sorted(p for p in new.keys() | old.keys() if new.get(p) != old.get(p))
    for path in () if check else differing:
        file = target / path
        if path in new:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(new[path])
        else:
            file.unlink()
    return [str(target / path) for path in differing]


def _fingerprints(course: Course, lab: Lab, check: bool) -> list[str]:
    """Write the probe file if it says something new.

    Answers that differ in the last digits only (another processor) leave the file as it is.
    """
    arrays = pack_fingerprints(lab, read_bank(course, lab))
    path = course.root / "glassbox" / "probes" / f"{lab.name}.npz"
    if path.exists():
        with np.load(path, allow_pickle=False) as file:
            old = dict(file)
        if old.keys() == arrays.keys() and all(
            fingerprints.same([arrays[k]], [old[k]], 1e-9) for k in arrays
        ):
            return []
    if not check:
        path.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(path, **arrays)
    return [str(path)]
