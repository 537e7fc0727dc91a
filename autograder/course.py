"""Where things are in a course, and the one nbgrader configuration that all verbs share.

A course is a folder with `solutions/labNN_slug/labNN_slug.py`. Built labs go to `labs/`, a class's
data to `classroom/`. nbgrader's own paths point into `_build/` for what is built and into
`classroom/` for what a class hands in, so that nbgrader never sees the folder of solutions (it
would copy every other file in it into the release).
"""

import os
import re
import secrets
import sys
from dataclasses import dataclass
from pathlib import Path

from traitlets.config import Config, PyFileConfigLoader

SECRET = "GLASSBOX_COURSE_SECRET"


class CourseError(Exception):
    """Something in the course or in the command is wrong; the text says what to do."""


@dataclass(frozen=True)
class Course:
    """The folders of a course below `root`."""

    root: Path

    @property
    def solutions(self) -> Path:
        """The teacher's sources: the only edited files of a lab."""
        return self.root / "solutions"

    @property
    def labs(self) -> Path:
        """The released notebooks, committed."""
        return self.root / "labs"

    @property
    def classroom(self) -> Path:
        """Submissions, gradebook, results, feedback; never committed."""
        return self.root / "classroom"

    def source(self, lab: str) -> Path:
        """The percent source of a lab."""
        return self.solutions / lab / f"{lab}.py"

    def release(self, lab: str) -> Path:
        """The released notebook of a lab."""
        return self.labs / lab / f"{lab}.ipynb"

    def all_labs(self) -> list[str]:
        """Every lab that has a source, in order."""
        return sorted(p.parent.name for p in self.solutions.glob("lab*/lab*.py")
                      if p.stem == p.parent.name)  # fmt: skip

    def pick(self, names: list[str]) -> list[str]:
        """The labs asked for, all if none is named. A unique beginning is enough: `lab01`."""
        known = self.all_labs()
        if not known:
            raise CourseError(f"No labs in {self.solutions}. Run this in the folder of the course.")
        picked = []
        for name in names:
            fits = [lab for lab in known if lab == name] or [
                lab for lab in known if lab.startswith(name.rstrip("/"))
            ]
            if len(fits) != 1:
                raise CourseError(f"{name!r} is no lab of this course: {', '.join(known)}.")
            picked += fits
        return picked or known


def find_course(start: Path | None = None) -> Course:
    """The course that holds `start` (default: the current folder)."""
    here = (start or Path.cwd()).resolve()
    for folder in (here, *here.parents):
        if (folder / "solutions").is_dir() and (folder / "labs").is_dir():
            return Course(folder)
    raise CourseError(f"{here} is not inside a course: no folders 'solutions' and 'labs' above it.")


def course_secret(course: Course) -> str:
    """What seeds the random inputs of tests. Made at first use, the same for a class ever after.

    The variable GLASSBOX_COURSE_SECRET goes before the file, for shards on other machines.
    """
    if os.environ.get(SECRET, "").strip():
        return os.environ[SECRET].strip()
    path = course.classroom / "secret"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f".secret.{secrets.token_hex(4)}")
        draft.touch(0o600)
        draft.write_text(secrets.token_hex(32) + "\n")
        try:
            os.link(draft, path)  # of several shards that begin at once, the first one makes it
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    if not re.fullmatch(r"[0-9a-f]{64}", text):
        raise CourseError(f"{path} is damaged: it holds 64 digits. Put back the one that graded "
                          "this class, or delete it and grade again.")  # fmt: skip
    return text


def nbgrader_config(course: Course) -> Config:
    """The course's settings with those that a teacher added to its `nbgrader_config.py`."""
    config, file = course_config(course), course.root / "nbgrader_config.py"
    if file.exists():
        config.merge(PyFileConfigLoader(file.name, path=str(course.root)).load_config())
    return config


def course_config(course: Course) -> Config:
    """The settings of every nbgrader call; `nbgrader_config.py` hands them to its programs."""
    bin_folder = str(Path(sys.executable).parent)  # nbgrader starts `alembic` by its bare name
    if bin_folder not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = bin_folder + os.pathsep + os.environ.get("PATH", "")
    (course.classroom / "exchange").mkdir(parents=True, exist_ok=True)
    c = Config()
    c.CourseDirectory.root = str(course.root)
    c.CourseDirectory.source_directory = "_build/labs/source"
    c.CourseDirectory.release_directory = "_build/labs/release"
    for step in ("submitted", "autograded", "feedback", "solution", "source_with_tests"):
        c.CourseDirectory[f"{step}_directory"] = f"classroom/{step}"
    c.CourseDirectory.db_url = f"sqlite:///{course.classroom}/gradebook.db"
    c.CourseDirectory.ignore = [".ipynb_checkpoints", "*.pyc", "__pycache__", "feedback", "*.py"]
    c.Exchange.root = str(course.classroom / "exchange")
    c.ClearSolutions.code_stub = {"python": "raise NotImplementedError"}
    c.ClearSolutions.text_stub = "*Write your answer here.*"
    # autograding, by whatever program: `preprocess` judges, nbgrader runs and scores nothing
    c.Autograde.pre_convert_hook = "autograder.preprocess.judge"
    c.Autograde.exporter_class = "autograder.preprocess.Placeholder"
    c.Autograde.sanitize_preprocessors = []
    c.Autograde.autograde_preprocessors = [
        "autograder.preprocess.JudgeGrades",
        "nbgrader.preprocessors.CheckCellMetadata",
    ]
    return c
