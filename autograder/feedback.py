"""What a student gets back: a marked copy of the notebook, and the page made from it.

`marked_copy` is built from the release, the student's answers and the results; hidden tests are not
in it. Formgrader and nbgrader's feedback template read it from `classroom/autograded`, so all text
by students is made inert here: nbconvert would pass their HTML through. `feedback` renders the
copies with scores and comments from the gradebook into `classroom/feedback`.
"""

import logging
import re
import textwrap
from pathlib import Path

import nbformat
from nbformat import NotebookNode
from nbgrader.apps import NbGraderAPI

from autograder.course import Course, nbgrader_config
from autograder.intake import Cell, Merged
from autograder.lab import Lab, cut, grade_id_of
from autograder.runner import CellResult, Result

MAX_TEXT = 20_000  # characters of a markdown cell
SAFE_FENCE = r"(?:python|py|text|bash|json|latex)?[ \t]*$"


def marked_copy(lab: Lab, release: NotebookNode, merged: Merged, result: Result) -> NotebookNode:
    """Release cells, the student's answers and cells, and a result under each test cell."""
    cells = {key: c for q in result.questions for key, c in q.cells.items()}
    secret = hidden_lines(lab)
    notebook = NotebookNode(release)
    ours = {c["id"]: NotebookNode(c) for c in release.cells}  # the release itself stays as it is
    notebook.cells = list(ours.values())
    if not merged.malformed:
        notebook.cells = [_copy(c, ours, result, secret) for c in merged.cells]
    for cell in notebook.cells:
        if grade_id_of(cell) in cells:
            cell.outputs = [_stream(_verdict(cells[grade_id_of(cell)]))]
    notes = [*([merged.malformed] if merged.malformed else []), *merged.findings]
    if notes:
        text = "**Notes from grading**\n\n" + "\n".join(f"- {neutral(note)}" for note in notes)
        notebook.cells.insert(0, nbformat.v4.new_markdown_cell(text, id="notes"))
    return notebook


def _copy(cell: Cell, ours: dict[str, NotebookNode], result: Result, secret: set[str]
          ) -> NotebookNode:  # fmt: skip
    if cell.role in ("given", "demo", "test"):
        return ours[cell.id]
    text = cell.shown if cell.kind == "code" else neutral(cell.shown)
    if cell.role == "extra":
        make = nbformat.v4.new_code_cell if cell.kind == "code" else nbformat.v4.new_markdown_cell
        out = make(text, id=cell.id)
    else:
        out = ours[cell.id]
        out.source = text
    if cell.kind == "code":
        outputs = map(nbformat.from_dict, result.outputs.get(cell.id, []))
        out.outputs = [o for o in outputs if not _leaks(o.get("text", ""), secret)]
    return out


def hidden_lines(lab: Lab) -> set[str]:
    """The telling lines of the hidden tests, to be kept out of what students printed."""
    inside = (cut(c.source, "HIDDEN TESTS")[1] for c in lab.notebook.cells)
    return {line.strip() for text in inside for line in text.splitlines() if len(line.strip()) > 11}


def _leaks(text: str, secret: set[str]) -> bool:
    return any(line in text or repr(line)[1:-1] in text for line in secret)


def _verdict(cell: CellResult) -> str:
    sign = "✓" if cell.status == "pass" else "✗"
    head = f"{sign} {cell.points:g} of {cell.max_points:g} points ({cell.status})"
    lines = [head, *cell.message.splitlines()]  # the page does not break long lines itself
    return "\n".join(textwrap.fill(x, 100, subsequent_indent="  ") for x in lines) + "\n"


def _stream(text: str) -> NotebookNode:
    return NotebookNode(output_type="stream", name="stdout", text=text)


def neutral(text: str) -> str:
    """A student's markdown without active content.

    A `<` that could open a tag, in text, code or math alike, gets a space after it; links and
    images point to http(s) or nowhere; fenced code carries no exotic language (mermaid is run).
    Very long text is cut: the renderer needs minutes for some.
    """
    text = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "\n\n(cut here)"
    text = re.sub(r"<(?=[A-Za-z!/?])", "< ", text)
    text = re.sub(r"\]\((?!\s*https?://)", "] (", text)
    text = re.sub(r"!(?=\[)", "", text)  # a picture elsewhere would tell who reads, and when
    text = re.sub(r"\]:(?!\s*https?://)", "] :", text)
    return re.sub(rf"(?m)([`~]{{3,}})[ \t]*(?!{SAFE_FENCE})([^`\n]*)$", r"\1", text)


# --- pages -----------------------------------------------------------------------------------


def feedback(
    course: Course, labs: list[str], student: str | None = None
) -> tuple[list[Path], dict[str, str]]:
    """Render `classroom/feedback/STUDENT/LAB/LAB.html`; give the pages, and what failed and why.

    One notebook that cannot be rendered costs only its own page.
    """
    api = NbGraderAPI(config=nbgrader_config(course), log=_quiet())
    written, failed = [], {}
    for lab in labs:
        for path in sorted((course.classroom / "autograded").glob(f"*/{lab}/{lab}.ipynb")):
            name = path.parent.parent.name
            if student not in (None, name):
                continue
            page = course.classroom / "feedback" / name / lab / f"{lab}.html"
            page.unlink(missing_ok=True)
            result = api.generate_feedback(lab, name, force=True)
            if page.exists():
                written.append(page)
            else:
                failed[f"{name}/{lab}"] = result.get("error") or result.get("log", "")
    return written, failed


def _quiet() -> logging.Logger:
    """A logger that keeps nbgrader's progress off the terminal; its API returns it anyway."""
    logger = logging.getLogger("autograder.nbgrader")
    logger.propagate = False
    return logger
