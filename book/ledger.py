"""Write two pages from their data files: the fact ledger and the syllabus.

`facts.yml` becomes `facts.md`, one section per sentence with a label `fact-F03` that chapters can
refer to. `crosswalk.csv` becomes `crosswalk.md`: every topic of the notes with the section that
teaches it. Both pages are committed; a test compares them with a fresh run. This module checks
nothing: what must hold of the data is said by tests/test_facts.py and tests/test_crosswalk.py.

    python book/ledger.py
"""

import csv
from collections import Counter
from pathlib import Path
from typing import Any

import yaml

BOOK = Path(__file__).parent
# Chapters whose topics all have a place.
DONE = (
    "front", "ch01_architecture", "ch02_counting", "ch03_pretraining", "ch04_sft",
    "ch05_preference", "ch06_data",
)  # fmt: skip
CHAPTERS = {
    "front": "Front matter",
    "ch01_architecture": "1 Architecture",
    "ch02_counting": "2 Counting",
    "ch03_pretraining": "3 Pretraining",
    "ch04_sft": "4 Fine-tuning",
    "ch05_preference": "5 Preferences",
    "ch06_data": "6 Data",
    "ch07_generation": "7 Generation",
    "ch08_serving": "8 Serving",
    "ch09_telecom": "9 Telecom",
    "back": "Back matter",
}
CHECKED = {
    "computed": "recomputed",
    "opened": "source opened",
    "unverified": "not verified yet",
}
WRITTEN = "<!-- Written by book/ledger.py from {source}; edit that file and run it again. -->\n\n"


def facts() -> dict[str, Any]:
    """The ledger as it stands in the data file."""
    return yaml.safe_load((BOOK / "facts.yml").read_text(encoding="utf-8"))


def topics() -> list[dict[str, str]]:
    """The rows of the crosswalk."""
    with (BOOK / "crosswalk.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def plain(text: str) -> str:
    """Text in which Markdown sees no marks of its own."""
    return "".join(f"\\{char}" if char in "<>*_|[]$`" else char for char in text)


def _source(source: dict[str, Any]) -> str:
    seen = "" if source.get("opened") else " (not opened)"
    return f"[{plain(source['name'])}]({source['url']}){seen}"


def _entry(entry: dict[str, Any]) -> str:
    how = ", ".join(CHECKED[word] for word in entry["checked"])
    lines = [
        f"(fact-{entry['id']})=\n### {entry['id']}\n",
        f"**The notes say** ({entry['notes']}): {plain(entry['claim'])}\n",
        f"**Right is:** {plain(entry['right'])}\n",
    ]
    where = f"Module {entry['module']}"
    where += f", {{ref}}`{entry['see']}`" if "see" in entry else ""
    sources = "; ".join(map(_source, entry["sources"]))
    lines.append(f"*{how.capitalize()}.* {where}." + (f" Sources: {sources}." if sources else ""))
    return "\n".join(lines) + "\n"


def facts_page() -> str:
    """The ledger as a page."""
    ledger = facts()
    entries = ledger["entries"]
    count = Counter(word for entry in entries for word in entry["checked"])
    text = (
        WRITTEN.format(source="facts.yml")
        + f"""(sec-facts)=
# Fact ledger

The course grew from five sets of notes on language models, called A to E here. This page lists
{len(entries)} sentences in them that are wrong, dated or half true, with what is right. Each entry
says how it was checked; {{ref}}`four questions <sec-claims>` help you to do the same elsewhere.

| mark | meaning | entries |
|---|---|---|
| recomputed | by a cell, a lab or arithmetic | {count["computed"]} |
| source opened | the passage was read, in a stored copy of the source | {count["opened"]} |
| not verified yet | no source was opened: check before you quote it | {count["unverified"]} |

An entry can have two marks. A source with "not opened" behind it is named for further reading.
Facts as of {ledger["as_of"]}; entries on products and prices age fastest.

(sec-facts-list)=
## The entries

"""
    )
    return text + "\n".join(map(_entry, entries))


def _row(row: dict[str, str]) -> str:
    place = f"{{ref}}`{row['label']}`" if row["label"] else "–"
    note = plain(row["note"]) if row["note"] else ""
    return f"| {row['id']} | {plain(row['topic'])} | {place} | {note} |"


def crosswalk_page() -> str:
    """The topics of the finished chapters as tables, the others as numbers."""
    rows = topics()
    text = (
        WRITTEN.format(source="crosswalk.csv")
        + f"""(sec-crosswalk)=
# Syllabus: from the notes to the pages

The five sets of notes hold {len(rows)} topics. For each topic of a finished chapter this page names
the section that teaches it, and says where it was corrected or merged. It serves a teacher who
knows the notes, and it is our promise that nothing was lost.

(sec-crosswalk-state)=
## State

| chapter | topics | placed |
|---|---|---|
"""
    )
    for slug, title in CHAPTERS.items():
        own = [row for row in rows if row["chapter"] == slug]
        placed = sum(bool(row["label"]) for row in own)
        text += f"| {title} | {len(own)} | {placed} |\n"
    for slug in DONE:
        text += f"\n(sec-crosswalk-{slug.replace('_', '-')})=\n## {CHAPTERS[slug]}\n\n"
        text += "| id | topic | taught in | note |\n|---|---|---|---|\n"
        text += "\n".join(_row(row) for row in rows if row["chapter"] == slug) + "\n"
    return text


def main() -> None:
    """Write both pages."""
    (BOOK / "facts.md").write_text(facts_page(), encoding="utf-8")
    (BOOK / "crosswalk.md").write_text(crosswalk_page(), encoding="utf-8")


if __name__ == "__main__":
    main()
