"""Reference of the filter funnel: its stages on the texts themselves, by glassbox.cleaning.

Also writes its data, `glassbox/explorers/funnel.json`: what each rule measures in the documents of
a small planted corpus, as it stands and mended. Run it after a change of corpus or rules.

    python tests/golden/funnel.py
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from glassbox import explore, privacy
from glassbox.cleaning.contamination import contaminated
from glassbox.cleaning.pipeline import classifier, standard
from glassbox.cleaning.rules import Row, Stage, funnel, values
from glassbox.cleaning.text import languages
from glassbox.telecom.defects import Planted, planted
from glassbox.telecom.strays import ABUSE

DATA = Path(__file__).parents[2] / "glassbox" / "explorers" / "funnel.json"
SEED, SIZE, SNIPPET = "explorer", 240, 56
FIELDS = ("bytes", "words", "letters", "stop", "english", "score", "mark", "cut", "listed",
          "overlap", "personal", "redacted")  # fmt: skip
LEFT_OUT = ("imbalance",)  # no document is wrong because there are many of its kind
AIMS = {
    "repair": ("html", "mojibake", "boilerplate"), "rules": ("spam",), "classifier": ("spam",),
    "ends": ("truncated",), "list": ("toxic",),
    "duplicates": ("exact_duplicate", "near_duplicate"), "overlap": ("contamination",),
    "redact": ("personal_data",),
}  # fmt: skip
START = {"length": 50, "letters": 0.8, "stop": 2, "english": False, "score": 0.5, "ends": "cut",
         "same": 0.7, "off": []}  # fmt: skip


@cache
def corpus() -> Planted:
    return planted(SEED, SIZE)


def mended(rows: list[Row]) -> list[Row]:
    """Rows as the first three stages of the course's pipeline leave them."""
    for stage in standard()[:3]:
        assert stage.aims[0] in AIMS["repair"]
        rows = stage.run(rows)
    return rows


def shingles(text: str) -> set[tuple[str, ...]]:
    found = re.findall(r"\w+", text.lower())
    return {tuple(found[i : i + 5]) for i in range(max(len(found) - 4, 1))}


@cache
def alike(texts: tuple[str, ...]) -> list[tuple[int, int, float]]:
    """All pairs with their Jaccard, from 0.3 up."""
    sets = [shingles(text) for text in texts]
    pairs = []
    for i, j in itertools.combinations(range(len(sets)), 2):
        shared = len(sets[i] & sets[j])
        if shared and (share := shared / len(sets[i] | sets[j])) >= 0.3:
            pairs.append((i, j, share))
    return pairs


def overlaps(text: str, items: Sequence[str]) -> float:
    """The largest share of an item's 13-grams that the text holds."""

    def grams(told: str) -> list[tuple[str, ...]]:
        found = re.findall(r"\w+", told.lower())
        return list(zip(*(found[k:] for k in range(13)), strict=False))

    held = set(grams(text))
    usable = [grams(item) for item in items if len(re.findall(r"\w+", item)) >= 13]
    return max(sum(gram in held for gram in each) / len(each) for each in usable)


def cut_words(rows: Sequence[Row]) -> set[str]:
    """Ids of rows that end, without a mark, in what is a word in no other row."""
    words = [re.findall(r"\w+", row["text"]) for row in rows]
    seen = Counter(word for found in words for word in set(found))
    return {
        row["id"] for row, found in zip(rows, words, strict=True)
        if found and row["text"].endswith(found[-1]) and found[-1].isalpha()
        and seen[found[-1]] == 1
    }  # fmt: skip


def features(rows: Sequence[Row], items: Sequence[str]) -> list[list]:
    texts, cut = [row["text"] for row in rows], cut_words(rows)
    told = zip(rows, languages(texts), classifier()(texts), strict=True)
    table = []
    for row, language, score in told:
        text, measured = row["text"], values(row["text"], ABUSE)
        asked = language == "en" and row["kind"] != "syslog"
        table.append([
            len(text.encode()), int(measured["length"]), round(measured["letters"], 4),
            int(measured["stop_words"]), int(asked), round(float(score), 3),
            int(text.endswith((".", "!", "?", '"'))), int(row["id"] in cut),
            int(measured["listed"] > 0), round(overlaps(text, items), 3),
            len(privacy.find(text)), len(privacy.redacted(text).encode()),
        ])  # fmt: skip
    return table


def wrong(one: Planted) -> dict[str, list[str]]:
    """Defect -> ids, in the order of the rows."""
    return {name: sorted(ids) for name, ids in one.truth.items() if name not in LEFT_OUT}


def compact() -> dict[str, Any]:
    one, truth = corpus(), wrong(corpus())
    after = mended(one.rows)
    raw, clean = features(one.rows, one.test_items), features(after, one.test_items)
    documents = []
    changed = [row["text"] != new["text"] for row, new in zip(one.rows, after, strict=True)]
    for row, before, now, new in zip(one.rows, raw, clean, changed, strict=True):
        told = {"text": " ".join(row["text"].split())[:SNIPPET], "kind": row["kind"],
                "language": row["language"],
                "defects": [i for i, ids in enumerate(truth.values()) if row["id"] in ids],
                "raw": before}  # fmt: skip
        told |= {} if before == now else {"mended": now}
        documents.append(told | ({"changed": 1} if new else {}))
    pairs = {
        name: [[i, j, round(share, 3)] for i, j, share in alike(tuple(r["text"] for r in rows))]
        for name, rows in (("raw", one.rows), ("mended", after))
    }
    return {"fields": list(FIELDS), "defects": list(truth), "pairs": pairs, "rows": documents}


def stages(state: dict[str, Any]) -> list[Stage]:
    """The stages of a state as functions of rows, on their texts."""
    start = corpus().rows if "repair" in state["off"] else mended(corpus().rows)
    cut = cut_words(start)

    def kept(good: Callable[[Row], bool]) -> Callable[[list[Row]], list[Row]]:
        return lambda rows: [row for row in rows if good(row)]

    def passes(row: Row) -> bool:
        measured = values(row["text"])
        asked = languages([row["text"]])[0] == "en" and row["kind"] != "syslog"
        stop = measured["stop_words"] >= state["stop"] or (state["english"] and not asked)
        long = measured["length"] >= state["length"]
        return long and measured["letters"] >= state["letters"] and stop

    def firsts(rows: list[Row]) -> list[Row]:
        first = list(range(len(rows)))
        for i, j, share in alike(tuple(row["text"] for row in rows)):
            if share >= state["same"]:
                low, high = sorted((first[i], first[j]))
                first = [low if k == high else k for k in first]
        return [row for i, row in enumerate(rows) if first[i] == i]

    def unseen(rows: list[Row]) -> list[Row]:
        marks = contaminated([row["text"] for row in rows], corpus().test_items)
        return [row for row, mark in zip(rows, marks, strict=True) if not mark]

    ends = {
        "cut": lambda row: row["id"] not in cut,
        "mark": lambda row: row["text"].endswith((".", "!", "?", '"')),
    }
    run = {
        "repair": mended,
        "rules": kept(passes),
        "classifier": kept(lambda row: classifier()([row["text"]])[0] >= state["score"]),
        "ends": kept(ends[state["ends"]]),
        "list": kept(lambda row: not values(row["text"], ABUSE)["listed"]),
        "duplicates": firsts,
        "overlap": unseen,
        "redact": lambda rows: [
            {**row, "text": privacy.redacted(row["text"])} for row in rows
        ],
    }  # fmt: skip
    return [Stage(name, run[name], AIMS[name]) for name in run if name not in state["off"]]


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, "run python tests/golden/funnel.py"
    options = explore.about("funnel")["options"]
    assert {key: options[key]["default"] for key in START} == START
    assert list(options["at"]["choices"]) == list(AIMS)
    tried = [
        {}, {"english": True, "length": 20}, {"off": list(AIMS)}, {"off": ["repair"]},
        {"ends": "mark"}, {"same": 1}, {"same": 0.45}, {"score": 0.95, "stop": 4, "letters": 0.9},
        {"off": ["rules", "ends"], "score": 0.3}, {"off": ["repair", "redact"], "ends": "mark"},
    ]  # fmt: skip
    rows, truth = corpus().rows, wrong(corpus())
    sound = {row["id"] for row in rows} - set().union(*truth.values())
    for more in tried:
        state = START | more
        report = funnel(rows, stages(state), truth)
        yield "run", [state], report
        last, changed = rows, {}
        for stage in stages(state):
            before, last = last, stage.run(list(last))
            texts = {row["id"]: row["text"] for row in last}
            changed[stage.name] = {
                row["id"] for row in before if texts.get(row["id"], row["text"]) != row["text"]
            }
        kept = {row["id"] for row in last}
        mended_by = {name: stage for stage in ("repair", "redact") for name in AIMS[stage]}
        counts = {}
        for name, ids in truth.items():
            cured = changed.get(mended_by.get(name, ""), set())
            counts[name] = [sum(i not in kept or i in cured for i in ids), len(ids)]
        yield "gone", [state], counts
        groups = {
            "all": sound,
            "foreign": {r["id"] for r in rows if r["language"] != "en" and r["kind"] != "dialogue"},
            "logs": {row["id"] for row in rows if row["kind"] == "syslog"},
        }
        yield (
            "lost",
            [state],
            {name: [len((ids & sound) - kept), len(ids & sound)] for name, ids in groups.items()},
        )
    yield (
        "firsts",
        [[0, 1, 2, 3, 5], [[0, 1, 0.8], [1, 2, 0.9], [3, 4, 1.0], [3, 5, 0.7]], 0.7],
        [0, 3],
    )
    yield "firsts", [[1, 2, 5], [[0, 1, 0.8], [0, 2, 0.9]], 0.5], [1, 2, 5]
    bare = {"words": 20, "letters": 0.8, "stop": 2, "english": 0, "score": 0.5, "mark": 0, "cut": 0,
            "listed": 0, "overlap": 0.5}  # fmt: skip
    for stage, more, expected in (
        ("rules", {}, False), ("rules", {"length": 20}, True),
        ("rules", {"length": 20, "stop": 3}, False),
        ("rules", {"length": 20, "stop": 3, "english": True}, True), ("classifier", {}, True),
        ("ends", {}, True), ("ends", {"ends": "mark"}, False), ("list", {}, True),
        ("overlap", {}, False),
    ):  # fmt: skip
        yield "passes", [stage, bare, START | more], expected


if __name__ == "__main__":
    text = json.dumps(compact(), ensure_ascii=False, separators=(",", ":"))
    DATA.write_text(text.replace('},{"text', '},\n{"text') + "\n", encoding="utf-8")
    print(DATA.name, DATA.stat().st_size)
