"""The stages of a pipeline over the course's planted corpus, in the order of chapter 6.

    report = funnel(corpus.rows, standard(corpus.test_items), corpus.truth)

Each stage names the defects that it should find, so its precision and recall can be counted. The
limits were chosen on the class's corpus, seed 0. No stage here sees a wrong fact, an old tariff or
a wrong label: those need tables, not text alone. An imbalance is mended by drawing (`mixtures`).
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import cache

from glassbox import privacy
from glassbox.cleaning.contamination import contaminated
from glassbox.cleaning.duplicates import duplicates
from glassbox.cleaning.quality import Quality
from glassbox.cleaning.rules import QUALITY, REPETITION, Row, Stage, judge
from glassbox.cleaning.text import has_markup, languages, page_text, repaired
from glassbox.telecom.defects import planted
from glassbox.telecom.strays import ABUSE

OFTEN = 5  # a line that begins or ends more documents than this is no part of them
LIMITS = {"length": (20.0, 100_000.0)}  # our calls and logs are short, and documents all the same
SPEAKER = re.compile(r"(Customer|Agent): ")


def standard(test_items: Sequence[str] = (), listed: Collection[str] = ABUSE) -> list[Stage]:
    """Ten stages; the rows need the keys id, text and kind. The first call trains a classifier."""
    return [
        Stage("html", _each(lambda text: page_text(text) if has_markup(text) else text), ("html",)),
        Stage("encoding", _each(repaired), ("mojibake",)),
        Stage("boilerplate", without_banners, ("boilerplate",)),
        Stage("rules", passing_rules, ("spam",)),
        Stage("classifier", _kept(lambda texts: classifier()(texts) > 0.5), ("spam",)),
        Stage("truncated", without_ends_missing, ("truncated",)),
        Stage("listed words", _kept(lambda texts: [not _named(t, listed) for t in texts]),
              ("toxic",)),
        Stage("duplicates", without_copies, ("exact_duplicate", "near_duplicate")),
        Stage("contamination", _kept(lambda texts: ~contaminated(texts, test_items)),
              ("contamination",)),
        Stage("personal data", _each(privacy.redacted), ("personal_data",)),
    ]  # fmt: skip


def without_banners(rows: list[Row]) -> list[Row]:
    """Without first and last lines that are the first or last ones of many documents; no turns."""
    texts = [row["text"].split("\n") for row in rows]
    ends = Counter(line for lines in texts for line in {*lines[:5], *lines[-8:]})
    often = {line for line, n in ends.items() if n > OFTEN and not SPEAKER.match(line)}
    for lines in texts:
        while len(lines) > 1 and lines[0] in often:
            del lines[0]
        while len(lines) > 1 and lines[-1] in often:
            del lines[-1]
    return [{**row, "text": "\n".join(lines)} for row, lines in zip(rows, texts, strict=True)]


def passing_rules(rows: list[Row]) -> list[Row]:
    """Those that pass Gopher's rules; logs and other languages than English are not asked."""
    found = languages([row["text"] for row in rows])
    return [
        row for row, language in zip(rows, found, strict=True)
        if language != "en" or row["kind"] == "syslog"
        or all(judge(row["text"], (*QUALITY, *REPETITION), limits=LIMITS).values())
    ]  # fmt: skip


@cache
def classifier() -> Quality:
    """Spam against everything else, learned on another corpus than any that it will meet."""
    corpus = planted("classifier", 1000)
    bad = corpus.truth["spam"]
    texts = {row["id"]: row["text"] for row in corpus.rows}
    return Quality([t for i, t in texts.items() if i not in bad], [texts[i] for i in sorted(bad)])


def without_ends_missing(rows: list[Row]) -> list[Row]:
    """Without those that end, without a mark, in what is no word elsewhere in the corpus."""
    words = [re.findall(r"\w+", row["text"]) for row in rows]
    seen = Counter(word for found in words for word in set(found))
    return [
        row for row, found in zip(rows, words, strict=True)
        if not (found and row["text"].endswith(found[-1]) and seen[found[-1]] == 1
                and found[-1].isalpha())
    ]  # fmt: skip


def without_copies(rows: list[Row]) -> list[Row]:
    """The first of each group of near duplicates."""
    ids = duplicates([row["text"] for row in rows], n_hashes=128, bands=32)
    return [row for i, row in enumerate(rows) if ids[i] == i]


def _named(text: str, listed: Collection[str]) -> bool:
    return not set(listed).isdisjoint(re.findall(r"\w+", text.lower()))


def _each(change: Callable[[str], str]) -> Callable[[list[Row]], list[Row]]:
    """A stage that changes texts one by one."""
    return lambda rows: [{**row, "text": change(row["text"])} for row in rows]


def _kept(good: Callable[[list[str]], Sequence[bool]]) -> Callable[[list[Row]], list[Row]]:
    """A stage that keeps the rows whose texts are good."""

    def run(rows: list[Row]) -> list[Row]:
        verdicts = good([row["text"] for row in rows])
        return [row for row, yes in zip(rows, verdicts, strict=True) if yes]

    return run
