"""Nothing of the notes is lost: each topic of a finished chapter has a section that exists."""

import importlib.util
import re
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).parents[1] / "book"
# How many topics the notes hold for each chapter; a row that disappears is noticed here.
TOPICS = {
    "front": 23, "ch01_architecture": 94, "ch02_counting": 59, "ch03_pretraining": 84,
    "ch04_sft": 28, "ch05_preference": 30, "ch06_data": 77, "ch07_generation": 55,
    "ch08_serving": 44, "ch09_telecom": 50, "back": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def ledger() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ledger", BOOK / "ledger.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def topics(ledger: ModuleType) -> list[dict[str, str]]:
    return ledger.topics()


def labels() -> set[str]:
    return {
        label
        for path in BOOK.glob("*.md")
        for label in re.findall(r"^\(([\w-]+)\)=$", path.read_text(), re.M)
    }


def test_every_topic_is_listed_once(topics: list[dict[str, str]]) -> None:
    assert [row["id"] for row in topics] == [f"T{n:03}" for n in range(1, 553)]
    assert Counter(row["chapter"] for row in topics) == TOPICS
    assert all(row["topic"] for row in topics)


def test_topics_of_finished_chapters_have_a_place(
    ledger: ModuleType, topics: list[dict[str, str]]
) -> None:
    lost = [row["id"] for row in topics if row["chapter"] in ledger.DONE and not row["label"]]
    assert not lost


def test_no_label_is_dead(topics: list[dict[str, str]]) -> None:
    there = labels()
    dead = {row["id"]: row["label"] for row in topics if row["label"] and row["label"] not in there}
    assert not dead


def test_a_corrected_topic_names_an_entry_of_the_ledger(
    ledger: ModuleType, topics: list[dict[str, str]]
) -> None:
    known = {entry["id"] for entry in ledger.facts()["entries"]}
    for row in topics:
        named = set(re.findall(r"\bF\d\d[a-z]?\b", row["note"]))
        assert named <= known, row
        assert not row["note"] or row["label"], f"{row['id']} has a note and no place"


def test_a_fact_check_of_the_notes_is_not_forgotten(
    ledger: ModuleType, topics: list[dict[str, str]]
) -> None:
    """A topic that the list itself marks as wrong must say what became of it."""
    for row in topics:
        if row["chapter"] in ledger.DONE and re.search(r"\bF\d\d", row["topic"]):
            assert re.search(r"\bF\d\d|measured", row["note"]), row


def test_the_page_is_made_from_the_data(ledger: ModuleType) -> None:
    built = ledger.crosswalk_page()
    assert (BOOK / "crosswalk.md").read_text() == built, "run python book/ledger.py"
