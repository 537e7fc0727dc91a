"""The fact ledger: every entry says what is right and how it is known, and the page shows it."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

BOOK = Path(__file__).parents[1] / "book"


@pytest.fixture(scope="module")
def ledger() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ledger", BOOK / "ledger.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def entries(ledger: ModuleType) -> list[dict]:
    return ledger.facts()["entries"]


def test_the_page_is_made_from_the_data(ledger: ModuleType) -> None:
    built = ledger.facts_page()
    assert (BOOK / "facts.md").read_text() == built, "run python book/ledger.py"


def test_no_number_of_the_ledger_is_missing(entries: list[dict]) -> None:
    ids = [entry["id"] for entry in entries]
    assert len(ids) == len(set(ids))
    assert {i for i in ids if i[-1].isdigit()} == {f"F{n:02}" for n in range(49)}


def test_every_entry_is_complete(entries: list[dict]) -> None:
    for entry in entries:
        assert entry["claim"].strip(), entry["id"]
        assert entry["right"].strip(), entry["id"]
        assert set(entry["notes"].split(", ")) <= set("ABCDE"), entry["id"]
        assert 1 <= entry["module"] <= 9, entry["id"]
        for source in entry["sources"]:
            assert source["name"], entry["id"]
            assert source["url"].startswith("https://"), entry["id"]


def test_a_mark_says_what_was_done(ledger: ModuleType, entries: list[dict]) -> None:
    for entry in entries:
        marks, opened = set(entry["checked"]), [s for s in entry["sources"] if s.get("opened")]
        assert marks, entry["id"]
        assert marks <= set(ledger.CHECKED), entry["id"]
        assert ("opened" in marks) == bool(opened), f"{entry['id']}: mark and sources disagree"
        assert "unverified" not in marks or marks == {"unverified"}, entry["id"]


def test_entries_of_written_modules_point_to_their_section(entries: list[dict]) -> None:
    pages = "\n".join(path.read_text() for path in BOOK.glob("*.md"))
    labels = set(re.findall(r"^\(([\w-]+)\)=$", pages, re.M))
    for entry in entries:
        written = entry["module"] in (1, 2, 3, 4, 5, 6)
        assert not written or "see" in entry, f"{entry['id']} names no section"
        assert entry.get("see") in labels | {None}, f"{entry['id']}: dead label {entry['see']}"


def test_marks_of_markdown_in_a_claim_stay_text(ledger: ModuleType) -> None:
    assert ledger.plain("a <X> b*c*") == r"a \<X\> b\*c\*"
