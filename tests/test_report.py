"""The page about a class: right numbers, inert text, nothing fetched."""

import json
import random
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from conftest import NAME, PAYLOADS

from autograder.course import Course, CourseError
from autograder.report import likeness, mistake, page, report
from autograder.similarity import Likeness, Pair

HALF = "double of 3: got 3, expected 6 — twice.\n  → You left out the factor."
OTHER = "three words: got {}\n  → Nothing is counted."


def question(name: str, points: float, status: str = "pass", message: str = "") -> dict[str, Any]:
    return {"question": name, "points": points, "max_points": 4, "status": status,
            "message": message, "cells": {}}  # fmt: skip


def stored(student: str, *questions: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"student": student, "lab": NAME, "questions": list(questions), "findings": [],
            "ungraded": False, "tier": "bubblewrap"} | more  # fmt: skip


CLASS = [
    stored("ada", question("double", 4), question("count", 4)),
    stored("bob", question("double", 0, "fail", HALF), question("count", 0, "fail", OTHER)),
    stored("cid", question("double", 0, "fail", HALF), question("count", 2, "partial", "odd")),
    stored("dan", question("double", 0, "oom"), question("count", 0, "not_attempted"),
           tier="none", findings=["double: stands twice"]),
    stored("eve", question("double", 0, "ungraded", HALF), question("count", 0, "ungraded"),
           ungraded=True, findings=["attempt 1: grading itself failed"]),
]  # fmt: skip


def soup_of(submissions: list[dict[str, Any]]) -> BeautifulSoup:
    return BeautifulSoup(page(NAME, submissions), "html.parser")


def rows_of(soup: BeautifulSoup, title: str) -> list[list[str]]:
    heading = next(h for h in soup.find_all("h2") if h.text == title)
    table = heading.find_next("table")
    return [[" ".join(x.text.split()) for x in tr.find_all(["th", "td"])]
            for tr in table.tbody.find_all("tr")]  # fmt: skip


def test_numbers_of_the_class() -> None:
    facts = soup_of(CLASS).dl
    found = {x.dt.text: x.dd.text for x in facts.find_all("div")}
    assert found == {"submissions": "5", "median": "1", "mean": "2.5", "of automatic points": "8",
                     "isolation": "4 bubblewrap, 1 none"}  # fmt: skip


def test_the_distribution_counts_every_graded_submission() -> None:
    figure = soup_of(CLASS).figure.svg
    assert figure["aria-label"] == figure.title.text
    assert "0 to 10 %: 2; 20 to 30 %: 1; 90 to 100 %: 1." in figure["aria-label"]
    heights = [float(r["height"]) for r in figure.find_all("rect")]
    assert heights == [110, 55, 55]


def test_exercises_with_shares_and_statuses() -> None:
    soup = soup_of(CLASS)
    (double, count) = rows_of(soup, "Exercises")
    assert double[0] == "double"
    assert double[1].endswith("25%")
    assert double[2] == "1 pass, 2 fail, 1 out of memory"
    assert count[1].endswith("38%")
    assert count[2] == "1 pass, 1 partial, 1 fail, 1 not attempted"
    meter = soup.select_one(".meter svg")
    assert meter["aria-label"] == meter.title.text == "double: 25% of the points earned"


def test_the_hardest_exercises_are_named() -> None:
    assert "Hardest: double (25%), count (38%)." in soup_of(CLASS).text
    assert "All points were earned by all." in soup_of(CLASS[:1]).text


def test_what_ran_without_isolation_is_a_warning() -> None:
    (lost, unsafe) = soup_of(CLASS).select(".warning")
    assert "1 ungraded" in lost.text
    assert "1 graded without isolation" in unsafe.text
    assert not soup_of(CLASS[:3]).select(".warning")


def test_flags_are_counted_and_explained_and_named_in_the_notes() -> None:
    flags = {"ada": ["duplicate", "renamed"], "bob": ["duplicate", "duplicate"], "cid": ["new_one"]}
    soup = soup_of([s | {"flags": flags.get(s["student"], [])} for s in CLASS])
    rows = rows_of(soup, "Flags")
    assert [row[:2] for row in rows] == [["2", "duplicate"], ["1", "new_one"], ["1", "renamed"]]
    assert rows[0][2] == "a cell of the lab stands twice; the first one counts"
    notes = rows_of(soup, "Repairs and notes")
    assert ["ada", "flag: renamed"] in notes
    assert notes.count(["bob", "flag: duplicate"]) == 1
    assert "Flags" not in soup_of(CLASS).text


ANSWERS = {
    name: {"double": f"def double(x):\n    # {name} <b>\n    return x + x"} for name in "abc"
}
PAIR = Pair("a", "b", 0.876, {"double": ({2}, {0, 2})})


def test_close_pairs_are_shown_side_by_side_as_a_hint() -> None:
    soup = BeautifulSoup(likeness(Likeness([PAIR], 0.07, 9, ["x"], 4), ANSWERS), "html.parser")
    said = soup.text
    assert "The usual pair of students has 7% in common" in said
    assert "No verdict on 1 student: too little text" in said
    assert "a reason to look and to ask, and proves nothing" in said
    assert soup.details.summary.text == "1 pair, the closest of 5, with names of students"
    assert soup.details.details.summary.text == "a and b: 88% in common, in 1 answer"
    one, two = soup.select(".pair > div")
    assert (one.p.text, one.pre.text) == ("a", ANSWERS["a"]["double"])
    assert [m.text for m in two.find_all("mark")] == ["def double(x):", "    return x + x"]
    assert soup.b is None


def test_nothing_is_said_where_nothing_can_be() -> None:
    assert "No pair is unusually close." in likeness(Likeness([], 0.07, 9, []), ANSWERS)
    few = likeness(Likeness([], 0.0, 2, ["x", "y"]), ANSWERS)
    assert "Too few answers to compare. No verdict on 2 students" in few
    assert "%" not in few


def test_copied_answers_of_a_graded_class_are_on_its_page(own_class: Course) -> None:
    for path in (own_class.classroom / "autograded").glob(f"*/{NAME}/{NAME}.ipynb"):
        student, notebook = path.parents[1].name, json.loads(path.read_text())
        cell = next(c for c in notebook["cells"] if c["id"] == "double")
        cell["source"] = text_of("ada" if student == "dave" else student)
        path.write_text(json.dumps(notebook))
    (path,) = report(own_class, [])
    soup = BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")
    shown = [d.summary.text for d in soup.select("details details")]
    assert shown == ["ada and dave: 100% in common, in 1 answer"]
    own_class.release(NAME).write_text("edited")
    (path,) = report(own_class, [])
    assert "The answers were not compared: " in path.read_text(encoding="utf-8")


def text_of(student: str) -> str:
    """Code that no two of the class share."""
    draw = random.Random(student)
    parts = ["x", "(x, x)", "[x]", "x.y", "x[0]", "not x", "len(x)", "{x: x}"]
    lines = (f"    x = {draw.choice(parts)} {draw.choice('+-*/%@')} {draw.choice(parts)}\n"
             for _ in range(20))  # fmt: skip
    return "def double(x):\n" + "".join(lines)


def test_named_mistakes_the_most_frequent_first() -> None:
    soup = soup_of(CLASS)
    assert rows_of(soup, "Named mistakes") == [
        ["2", "double", "You left out the factor."], ["1", "count", "Nothing is counted."],
    ]  # fmt: skip
    assert "3 of 4 failed answers show a mistake that has a name." in soup.text


@pytest.mark.parametrize(("message", "name"), [
    (HALF, "You left out the factor."), ("got 1, expected 2", ""), ("", ""),
    ("one → two is no name", ""), ("a\n  → b\n  → c", "c"),
])  # fmt: skip
def test_the_name_in_a_message(message: str, name: str) -> None:
    assert mistake(message) == name


def test_notes_and_what_is_ungraded() -> None:
    soup = soup_of(CLASS)
    assert "1 ungraded, by a fault of the grader" in soup.select_one(".warning").text
    assert "3 notes on 2 submissions" in soup.details.summary.text
    assert rows_of(soup, "Repairs and notes") == [
        ["dan", "double: stands twice"], ["eve", "ungraded"],
        ["eve", "attempt 1: grading itself failed"],
    ]  # fmt: skip
    calm = soup_of(CLASS[:1])
    assert calm.select_one(".warning") is None
    assert calm.text.rstrip().endswith("None.")


def test_a_class_that_is_ungraded_altogether() -> None:
    soup = soup_of(CLASS[-1:])
    assert [h.text for h in soup.find_all("h2")] == ["Repairs and notes"]
    assert "1 ungraded" in soup.text


def test_students_are_named_in_the_folded_part_only() -> None:
    more = likeness(Likeness([Pair("ada", "bob", 1.0, {"double": ({0}, {0})})], 0.0, 5, ["cid"]),
                    {"ada": {"double": "x"}, "bob": {"double": "x"}})  # fmt: skip
    soup = BeautifulSoup(page(NAME, CLASS, more), "html.parser")
    for folded in soup.select("details"):
        folded.extract()
    assert not {"ada", "bob", "cid", "dan", "eve"} & set(re.findall(r"\w+", soup.text))


def test_text_by_students_is_inert() -> None:
    text = " ".join(PAYLOADS).replace("\n", " ") + ' ]]> </svg></title>" onload="x'
    bad = question(text, 0, "fail", f"got {text}\n  → {text}") | {"status": "fail"}
    odd = question(text, 0, f"<script>{text}")
    pair = Pair(text, text + "2", 1.0, {text: ({0}, {0})})
    close = likeness(
        Likeness([pair], 0.1, 9, [text]), {text: {text: text}, text + "2": {text: text}}
    )
    html = page(text, [stored(text, bad, odd, findings=[text], flags=[text], tier=text)], close)
    soup = BeautifulSoup(html, "html.parser")
    allowed = (
        "html head meta title style body main h1 h2 dl div dt dd figure figcaption svg rect path "
        "text table thead tbody tr th td code wbr span details summary p h3 pre mark strong"
    )
    assert {tag.name for tag in soup.find_all(True)} <= set(allowed.split())
    assert not [a for tag in soup.find_all(True) for a in tag.attrs
                if a.startswith("on") or a in ("href", "src")]  # fmt: skip
    assert "<script" not in html


def test_the_page_is_whole_and_fetches_nothing(classroom: Course) -> None:
    (path,) = report(classroom, [])
    assert path == classroom.classroom / "report" / f"{NAME}.html"
    html = path.read_text(encoding="utf-8")
    assert "default-src 'none'" in html
    assert not re.search(r"https?:|url\(|@import|<script|<link|src=|href=", html)
    soup = BeautifulSoup(html, "html.parser")
    assert all(th["scope"] in ("col", "row") for th in soup.find_all("th"))
    for figure in soup.find_all("svg"):
        assert figure["role"] == "img"
        assert figure["aria-label"] == figure.title.text
        ET.fromstring(str(figure))
    assert "prefers-color-scheme: dark" in html
    assert "=1+1" in soup.details.text  # "is graded as"
    assert report(classroom, [NAME]) == [path]
    assert path.read_text(encoding="utf-8") == html


def course_with(root: Path, **labs: list[dict[str, Any]]) -> Course:
    course = Course(root)
    for lab, submissions in labs.items():
        course.source(lab).parent.mkdir(parents=True)
        course.source(lab).touch()
        for i, submission in enumerate(submissions):
            path = course.classroom / "results" / lab / f"{i}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(submission), encoding="utf-8")
    return course


def test_a_lab_without_submissions(tmp_path: Path) -> None:
    course = course_with(tmp_path, lab01_a=CLASS, lab02_b=[])
    assert [p.name for p in report(course, [])] == ["lab01_a.html"]
    with pytest.raises(CourseError, match="lab02_b: no submission is graded; type: autograder gr"):
        report(course, ["lab01", "lab02"])


def test_no_results_at_all_or_a_broken_file(tmp_path: Path) -> None:
    course = course_with(tmp_path, lab01_a=[])
    with pytest.raises(CourseError, match="lab01_a: no submission is graded"):
        report(course, [])
    (course.classroom / "results" / "lab01_a").mkdir(parents=True)
    (course.classroom / "results" / "lab01_a" / "x.json").write_text("{")
    with pytest.raises(CourseError, match="is not a result file"):
        report(course, [])
