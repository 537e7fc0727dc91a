"""Activity 3: a room's audit is judged by counts, and the page gets from bad tools to good ones."""

import os
from pathlib import Path

import jupytext
import pytest

from glassbox.telecom import DEFECTS
from glassbox.worksheets import DOCUMENTS, RECOMMENDATIONS, activity_3, audited, data_report

PAGE = Path(__file__).parents[1] / "book" / "activity3_data.md"
REASONS = dict.fromkeys(
    ("html", "stale_tariff", "toxic"), "there are eight of them, all in a crawl"
)


def line(table: object, kind: str) -> str:
    return next(line for line in repr(table).splitlines() if line.startswith(kind))


def test_the_truth_has_full_points() -> None:
    corpus = audited()
    assert len(corpus.rows) == DOCUMENTS
    assert all(len(corpus.truth[kind]) == 8 for kind in DEFECTS)
    told = repr(activity_3(corpus.truth, REASONS))
    assert "12.0 of 12 points" in told
    assert told.count("full point\n") == 12
    assert "✗" not in told
    assert "–" not in told


def test_points_fall_with_precision_and_recall() -> None:
    corpus = audited()
    sound = [row["id"] for row in corpus.rows
             if not any(row["id"] in some for some in corpus.truth.values())]  # fmt: skip
    spam = sorted(corpus.truth["spam"])
    half = activity_3({"spam": spam[:4]}, {})
    assert "0.7 of a point: 4 of 8 were missed" in line(half, "spam")  # 0.5 / 0.7
    loud = activity_3({"spam": spam + sound[:8]}, {})
    assert "0.6 of a point: 8 of 16 have another defect or none" in line(loud, "spam")
    enough = activity_3({"spam": spam[:6] + sound[:1]}, {})
    assert "full point" in line(enough, "spam")
    assert "nothing found, 8 are there" in line(activity_3({"spam": []}, {}), "spam")
    assert "not looked for yet" in line(activity_3({}, {}), "spam")
    assert "0.0 of 12" in repr(activity_3({}, {}))


def test_all_ids_under_every_kind_pay_little() -> None:
    every = [row["id"] for row in audited().rows]
    told = repr(activity_3(dict.fromkeys(DEFECTS, every), REASONS))
    assert "0.6 of 12 points" in told


@pytest.mark.parametrize(
    ("reasons", "words"),
    [
        ({}, "0 chosen; choose three"),
        ({"hmtl": "one two three four five"}, "'hmtl' is none of RECOMMENDATIONS"),
        ({"html": "too short"}, "html: give a reason of at least five words"),
        ({"spam": "one two three four five"}, "spam: you found no document that needs it"),
        ({"html": "one two three four five"}, "html: it follows from 8 documents"),
    ],
)
def test_recommendations_follow_from_findings(reasons: dict[str, str], words: str) -> None:
    assert words in repr(activity_3({"html": audited().truth["html"]}, reasons))


def test_strange_answers_get_words() -> None:
    told = repr(activity_3({"html": {"x1"}, "sham": set()}, {}))
    assert "1 of your ids are none of these documents" in told
    assert "No such kind: 'sham'." in told


def test_a_name_gives_a_set_of_ones_own() -> None:
    own = audited("ann")
    assert own.rows != audited().rows
    assert "12.0 of 12" in repr(activity_3(own.truth, REASONS, "ann"))
    assert "12.0 of 12" not in repr(activity_3(own.truth, REASONS))


def test_the_report_has_the_rooms_numbers(tmp_path: Path) -> None:
    findings = {"html": sorted(audited().truth["html"]), "spam": ["d00001", "nobody"]}
    text = data_report(findings, {"html": "because I say so"}, tmp_path / "r.md")
    assert (tmp_path / "r.md").read_text() == text
    assert "Audited: 200 documents" in text
    assert "| html | 8 | 4.0% |" in text
    assert "| spam | 1 | 0.5% |" in text
    assert f"1. **{RECOMMENDATIONS['html']}** because I say so" in text
    assert set(RECOMMENDATIONS) == set(DEFECTS)


def test_the_page_begins_badly_and_can_be_set_right(tmp_path: Path) -> None:
    """The text says that six settings are bad; set well, all twelve kinds have full points."""
    code = [cell.source for cell in jupytext.read(PAGE).cells if cell.cell_type == "code"]
    here = Path.cwd()
    os.chdir(tmp_path)
    try:
        page: dict = {}
        exec("\n".join(code), page)
        assert (tmp_path / "my_audit" / "report.md").read_text() == page["report"]
    finally:
        os.chdir(here)
    start = repr(activity_3(page["findings"], {}))
    assert start.count("full point\n") == 6
    assert len(page["SETTINGS"]) == 6
    well = {"similar": 0.65, "seen": 6, "good": 0.5, "old": 2022, "whole_words": True,
            "ends": ("dialogue", "ticket", "policy", "web")}  # fmt: skip
    for name, value in well.items():  # each setting matters by itself
        page["SETTINGS"][name] = value
    found = {kind: sorted(tool()) for kind, tool in page["TOOLS"].items()}
    assert repr(activity_3(found, {})).count("full point\n") == 12
