"""The page about a class: right numbers, inert text, nothing fetched."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from bs4 import BeautifulSoup
from conftest import NAME, PAYLOADS

from autograder.course import Course, CourseError
from autograder.report import mistake, page, report

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
    soup = soup_of(CLASS)
    soup.details.extract()
    assert not {"ada", "bob", "cid", "dan", "eve"} & set(re.findall(r"\w+", soup.text))


def test_text_by_students_is_inert() -> None:
    text = " ".join(PAYLOADS).replace("\n", " ") + ' ]]> </svg></title>" onload="x'
    bad = question(text, 0, "fail", f"got {text}\n  → {text}") | {"status": "fail"}
    odd = question(text, 0, f"<script>{text}")
    html = page(text, [stored(text, bad, odd, findings=[text], tier=text)])
    soup = BeautifulSoup(html, "html.parser")
    allowed = (
        "html head meta title style body main h1 h2 dl div dt dd figure figcaption svg rect path "
        "text table thead tbody tr th td code wbr span details summary p"
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
