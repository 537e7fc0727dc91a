"""How a class did in a lab: one page for the teacher, made from the files that grading left.

`classroom/results/LAB/*.json` → counts → `classroom/report/LAB.html`: the distribution of marks,
what each exercise earned, the mistakes that the checks could name, what grading had to repair or
found odd, and from the marked copies the pairs of students whose answers are unusually close. The
page is a single file without script or request, its figures are SVG written here, and every text in
it is escaped, since answers and messages are written by students. Names of students stand only in
the folded parts. Marks given by hand are in the gradebook, not in here.
"""

import json
import os
import re
from collections import Counter
from html import escape
from pathlib import Path
from statistics import mean, median
from typing import Any

from autograder import similarity
from autograder.course import Course, CourseError
from autograder.lab import read_lab
from autograder.similarity import Answers, Likeness, Pair

Stored = list[dict[str, Any]]  # the result files of a lab
STATUSES = ("pass", "partial", "fail", "error", "timeout", "killed", "oom",
            "not_attempted", "missing", "malformed")  # fmt: skip
FLAGS = {
    "duplicate": "a cell of the lab stands twice; the first one counts",
    "recovered": "ids were lost; answers were recognised by their text or by what they define",
    "oversize": "something too large was left out",
    "forbidden_call": "an answer calls what it should write itself; no points are lost: look at it",
    "dropped": "files beside the notebook, or links, were left out",
    "twins": "two folders have names that differ in capitals or accents only",
    "several": "several notebooks; the newest was graded",
    "renamed": "the file has another name than the lab",
}
LIKENESS = "<h2>Likeness of answers</h2>"
MOST_SHOWN = 20_000  # characters of an answer


def report(course: Course, names: list[str]) -> list[Path]:
    """Write a page for each of these labs; for all that have results if none is named."""
    labs = course.pick(names)
    found = {lab: _read(course.classroom / "results" / lab) for lab in labs}
    empty = [lab for lab, stored in found.items() if not stored]
    if empty and (names or len(empty) == len(labs)):
        raise CourseError(f"{', '.join(empty)}: no submission is graded; type: autograder grade")
    pages = []
    for lab, stored in found.items():
        if stored:
            pages.append(course.classroom / "report" / f"{lab}.html")
            _write(pages[-1], page(lab, stored, _likeness(course, lab)))
    return pages


def _read(folder: Path) -> Stored:
    stored = []
    for path in sorted(folder.glob("*.json")):
        try:
            stored.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            raise CourseError(f"{path} is not a result file; delete it and grade again.") from None
    return stored


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, path)


def page(lab: str, stored: Stored, likeness: str = "") -> str:
    """The page of a lab as HTML. What is ungraded is said, and is in no number."""
    graded = [s for s in stored if not s["ungraded"]]
    parts = [_summary(stored, graded)]
    if graded:
        parts += [_distribution(graded), _exercises(graded), _mistakes(graded), likeness]
    body = "\n".join([*parts, _flags(stored), _notes(stored)])
    return PAGE.format(title=escape(lab), style=STYLE, body=body)


# --- parts of the page -----------------------------------------------------------------------


def _summary(stored: Stored, graded: Stored) -> str:
    tiers = Counter(s.get("tier", "unknown") for s in stored)
    facts = [("submissions", f"{len(stored)}")]
    if graded:
        totals = [_total(s, "points") for s in graded]
        facts += [("median", f"{median(totals):.3g}"), ("mean", f"{mean(totals):.3g}"),
                  ("of automatic points", f"{_total(graded[0], 'max_points'):g}")]  # fmt: skip
    facts.append(("isolation", ", ".join(f"{n} {tier}" for tier, n in tiers.most_common())))
    items = "".join(f"<div><dt>{k}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    lost, open_ = len(stored) - len(graded), tiers["none"]
    warnings = [
        f'<p class="warning"><strong>{lost} ungraded</strong>, by a fault of the grader: they are '
        "in no number below, and names are at the end. Type: autograder grade</p>"
    ] * bool(lost) + [
        f'<p class="warning"><strong>{open_} graded without isolation</strong>: the code could do '
        "what the person can who graded it. Type: autograder doctor</p>"
    ] * bool(open_)
    return "\n".join([f"<dl>{items}</dl>", *warnings])


def _total(submission: dict[str, Any], key: str) -> float:
    return sum(q[key] for q in submission["questions"])


def _distribution(graded: Stored) -> str:
    """A histogram in ten bins of the share of points; full marks are in the last."""
    bins = [0] * 10
    for s in graded:
        bins[min(int(10 * _share(s["questions"])), 9)] += 1
    top = max(bins)
    bars = "".join(_bar(i, n, top) for i, n in enumerate(bins))
    ticks = "".join(f'<text x="{10 + 30 * i}" y="150">{10 * i} %</text>' for i in (0, 5, 10))
    told = "; ".join(f"{10 * i} to {10 * i + 10} %: {n}" for i, n in enumerate(bins) if n)
    label = f"Submissions by share of points. {told}."
    return (
        "<h2>Distribution of marks</h2>\n<figure>"
        f'<svg viewBox="-10 0 342 156" role="img" aria-label="{label}"><title>{label}</title>'
        f'{bars}<path d="M10 134.5H310" class="axis"/>{ticks}</svg>\n'
        "<figcaption>Submissions by the share of automatic points; answers read by a person "
        "are not in it.</figcaption></figure>"
    )


def _bar(i: int, n: int, top: int) -> str:
    if not n:
        return ""
    height = 110 * n / top
    return (f'<rect x="{12 + 30 * i}" y="{134 - height:.1f}" width="26" height="{height:.1f}"/>'
            f'<text x="{25 + 30 * i}" y="{129 - height:.1f}">{n}</text>')  # fmt: skip


def _share(questions: list[dict[str, Any]]) -> float:
    """Points earned of all that could be."""
    most = sum(q["max_points"] for q in questions)
    return sum(q["points"] for q in questions) / most if most else 0.0


def _exercises(graded: Stored) -> str:
    exercises: dict[str, list[dict[str, Any]]] = {}
    for question in (q for s in graded for q in s["questions"]):
        exercises.setdefault(question["question"], []).append(question)
    rows = []
    for name, answers in exercises.items():
        counts = Counter(q["status"] for q in answers)
        told = ", ".join(f"{n}\N{NO-BREAK SPACE}{_words(status)}"
                         for status, n in sorted(counts.items(), key=_order))  # fmt: skip
        rows.append((_code(name), _meter(name, _share(answers)), escape(told)))
    hard = sorted((share, name) for name, x in exercises.items() if (share := _share(x)) < 1)[:3]
    told = ", ".join(f"{_code(name)} ({share:.0%})" for share, name in hard)
    first = f"<p>Hardest: {told}.</p>\n" if hard else "<p>All points were earned by all.</p>\n"
    table = _table(("Exercise", "Points earned", "Answers"), rows)
    return f"<h2>Exercises</h2>\n{first}{table}"


def _order(item: tuple[str, int]) -> tuple[int, str]:
    return (STATUSES.index(item[0]) if item[0] in STATUSES else len(STATUSES), item[0])


def _words(status: str) -> str:
    return "out of memory" if status == "oom" else status.replace("_", " ")


def _meter(name: str, share: float) -> str:
    label = escape(f"{name}: {share:.0%} of the points earned")
    return (
        f'<span class="meter"><svg viewBox="0 0 100 12" preserveAspectRatio="none" role="img" '
        f'aria-label="{label}"><title>{label}</title><rect width="100" height="12" class="rest"/>'
        f'<rect width="{100 * share:.1f}" height="12"/></svg> {share:.0%}</span>'
    )


def _mistakes(graded: Stored) -> str:
    """The mistakes that a check could name, the most frequent first."""
    failed = [q for s in graded for q in s["questions"] if q["status"] in ("fail", "partial")]
    named = Counter((q["question"], text) for q in failed if (text := mistake(q["message"])))
    known = f"{named.total()} of {len(failed)} failed answers show a mistake that has a name."
    ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    rows = [(f"{n}", _code(question), escape(text)) for (question, text), n in ordered]
    table = _table(("Times", "Exercise", "Mistake"), rows) if rows else ""
    return f"<h2>Named mistakes</h2>\n<p>{known}</p>\n{table}"


def mistake(message: str) -> str:
    """The name of a mistake at the end of a check's message, or nothing."""
    named = re.findall(r"^  → (.+)", message, re.MULTILINE)
    return named[-1].strip() if named else ""


def _flags(stored: Stored) -> str:
    """How often grading found something odd; whose it is stands in the notes."""
    counts = Counter(flag for s in stored for flag in set(s.get("flags", [])))
    if not counts:
        return ""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    rows = [(f"{n}", _code(flag), escape(FLAGS.get(flag, "see the notes below")))
            for flag, n in ordered]  # fmt: skip
    return "<h2>Flags</h2>\n" + _table(("Submissions", "Flag", "What it means"), rows)


def _notes(stored: Stored) -> str:
    rows = []
    for s in stored:
        notes = (["ungraded"] if s["ungraded"] else []) + s["findings"]
        notes += [f"flag: {flag}" for flag in dict.fromkeys(s.get("flags", []))]
        rows += [(escape(s["student"]), escape(note)) for note in notes]
    if not rows:
        return "<h2>Repairs and notes</h2>\n<p>None.</p>"
    who = len({student for student, _ in rows})
    text = f"{_number(len(rows), 'note')} on {_number(who, 'submission')}, with names of students"
    table = _table(("Student", "Note"), rows)
    return f"<h2>Repairs and notes</h2>\n<details><summary>{text}</summary>\n{table}\n</details>"


def _number(n: int, thing: str) -> str:
    return f"{n} {thing}{'' if n == 1 else 's'}"


# --- likeness --------------------------------------------------------------------------------


def _likeness(course: Course, name: str) -> str:
    """Pairs of students whose answers are close; nothing where there are no marked copies."""
    if not any((course.classroom / "autograded").glob(f"*/{name}/{name}.ipynb")):
        return ""
    try:
        common = similarity.read_common(course, read_lab(course, name))
    except CourseError as error:
        return f"{LIKENESS}\n<p>The answers were not compared: {escape(str(error))}</p>"
    answers = similarity.read_answers(course, name, common)
    return likeness(similarity.compare(answers, common), answers)


def likeness(found: Likeness, answers: Answers) -> str:
    """What `similarity` found, in words of a hint, with the answers side by side."""
    short = len(found.short)
    silent = (f"No verdict on {_number(short, 'student')}: too little text that is neither given, "
              "nor in the mistake bank, nor common in the class.") if short else ""  # fmt: skip
    if found.judged < similarity.SMALLEST_CLASS:
        return f"{LIKENESS}\n<p>Too few answers to compare. {silent}</p>"
    said = (f"The usual pair of students has {found.usual:.0%} in common of what is their own. "
            f"{silent}")  # fmt: skip
    if not found.pairs:
        return f"{LIKENESS}\n<p>{said} No pair is unusually close.</p>"
    more = f", the closest of {len(found.pairs) + found.left_out}" if found.left_out else ""
    pairs = "\n".join(_pair(pair, answers) for pair in found.pairs)
    return (
        f"{LIKENESS}\n<p>{said}</p>\n<p>The pairs below are far closer. That is a reason to look "
        "and to ask, and proves nothing: two may have been allowed to work together, or have read "
        "the same page. Lines that both share are marked.</p>\n<details><summary>"
        f"{_number(len(found.pairs), 'pair')}{more}, with names of students</summary>\n"
        f"{pairs}\n</details>"
    )


def _pair(pair: Pair, answers: Answers) -> str:
    names = f"{escape(pair.first)} and {escape(pair.second)}"
    parts = [f"<details><summary>{names}: {pair.share:.0%} in common, in "
             f"{_number(len(pair.questions), 'answer')}</summary>"]  # fmt: skip
    for question, lines in pair.questions.items():
        parts.append(f'<h3>{_code(question)}</h3>\n<div class="pair">')
        for student, marked in zip((pair.first, pair.second), lines, strict=True):
            text = _marked(answers[student][question], marked)
            parts.append(f"<div><p>{escape(student)}</p><pre>{text}</pre></div>")
        parts.append("</div>")
    return "\n".join([*parts, "</details>"])


def _marked(text: str, lines: set[int]) -> str:
    shown = (escape(line) for line in text[:MOST_SHOWN].split("\n"))
    return "\n".join(f"<mark>{x}</mark>" if i in lines else x for i, x in enumerate(shown))


# --- HTML ------------------------------------------------------------------------------------


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table of cells that are HTML already; the first of a row is its heading."""
    titles = "".join(f'<th scope="col">{x}</th>' for x in head)
    lines = (f'<tr><th scope="row">{first}</th>' + "".join(f"<td>{x}</td>" for x in rest) + "</tr>"
             for first, *rest in rows)  # fmt: skip
    body = "\n".join(lines)
    return f"<table>\n<thead><tr>{titles}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def _code(name: str) -> str:
    """A name in code, which may be broken after an underscore or before a capital."""
    pieces = re.split(r"(?<=_)|(?<=[a-z])(?=[A-Z])", name)
    return f"<code>{'<wbr>'.join(map(escape, pieces))}</code>"


STYLE = """
:root { color-scheme: light dark; --text: #1f2933; --soft: #4a5764; --line: #d5dce0;
  --ground: #ffffff; --bar: #0b6075; --rest: #e3eaed; --warn: #fdf0dc; }
@media (prefers-color-scheme: dark) { :root { --text: #d7dee4; --soft: #a7b2bc; --line: #44525e;
  --ground: #14191e; --bar: #6ec6d9; --rest: #2b353e; --warn: #3a2a10; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 46rem; background: var(--ground);
  color: var(--text); font: 1rem/1.5 system-ui, sans-serif; overflow-wrap: break-word; }
h1, h2 { line-height: 1.2; }
h1 { margin: 0.5rem 0 1rem; font-size: 1.6rem; }
h2 { margin: 2.2rem 0 0.6rem; font-size: 1.2rem; }
dl { display: flex; flex-wrap: wrap; gap: 0.6rem 1.8rem; margin: 0; }
dt, figcaption { color: var(--soft); font-size: 0.875rem; }
dd { margin: 0; font-size: 1.2rem; font-weight: 600; }
figure { margin: 0; max-width: 34rem; }
svg { display: block; width: 100%; fill: var(--bar); }
svg text { fill: var(--text); font-size: 12px; text-anchor: middle; }
.axis { stroke: var(--soft); }
.rest { fill: var(--rest); }
.meter { display: flex; align-items: center; gap: 0.5rem; white-space: nowrap; }
.meter svg { width: clamp(3rem, 20vw, 10rem); height: 0.8rem; flex: none; }
td { overflow-wrap: anywhere; }
td code { overflow-wrap: normal; }
td:last-child { padding-right: 0; }
h3 { margin: 1rem 0 0.3rem; font-size: 1rem; }
details details { margin: 0.6rem 0 0.6rem 1rem; }
.pair { display: grid; gap: 0 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(18rem, 100%), 1fr)); }
.pair p { margin: 0; color: var(--soft); font-size: 0.875rem; }
pre { margin: 0.2rem 0 0.8rem; white-space: pre-wrap; overflow-wrap: anywhere;
  font-size: 0.8125rem; }
mark { background: var(--warn); color: inherit; font-weight: 600; }
.warning { padding: 0.6rem 0.8rem; background: var(--warn); }
table { width: 100%; border-collapse: collapse; font-size: 0.9375rem; }
th, td { padding: 0.4rem 0.6rem 0.4rem 0; border-bottom: 1px solid var(--line);
  text-align: left; vertical-align: top; font-weight: 400; }
thead th { color: var(--soft); font-size: 0.875rem; }
code { font-size: 0.875em; }
summary { cursor: pointer; }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{title}: the class</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""
