"""The rules of Gopher and C4 as a table, and the funnel that counts what each stage removes.

`judge(text)` answers for every rule by itself: a text that fails one is still judged by the others.
Words are what white space separates; lines are those that are not blank; paragraphs are separated
by blank lines. A limit itself passes. A share of nothing is 0. The repetition rules are Gopher's
second table; what counts as repeated is what has stood before, so a first occurrence is never
counted. English stop words make the rules unfair to other languages, which chapter 6 shows.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

Row = dict[str, str]
STOP_WORDS = frozenset("the be to of and that have with".split())
BULLETS = ("•", "-")
POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies",
            "use cookies")  # fmt: skip
GOPHER, REPEATS = "Rae et al. 2021, section A.1", "Rae et al. 2021, table A1"
C4 = "Raffel et al. 2020, section 2.2"


class Rule(NamedTuple):
    """A named measure of a text, what it may be, and who set that limit."""

    name: str
    low: float
    high: float
    source: str
    measures: str


NONE = float("inf")
RULES: dict[str, Rule] = {
    rule.name: rule
    for rule in (
        Rule("length", 50, 100_000, GOPHER, "number of words"),
        Rule("word_length", 3, 10, GOPHER, "mean number of characters of a word"),
        Rule("hash", 0, 0.1, GOPHER, "hash signs per word"),
        Rule("ellipsis", 0, 0.1, GOPHER, "ellipses per word"),
        Rule("bullet_lines", 0, 0.9, GOPHER, "share of lines that begin with a bullet"),
        Rule("ellipsis_lines", 0, 0.3, GOPHER, "share of lines that end with an ellipsis"),
        Rule("letters", 0.8, 1, GOPHER, "share of words with at least one letter"),
        Rule("stop_words", 2, 8, GOPHER, "how many of eight English stop words occur"),
        Rule("repeated_lines", 0, 0.30, REPEATS, "share of lines that stood before"),
        Rule("repeated_paragraphs", 0, 0.30, REPEATS, "share of paragraphs that stood before"),
        Rule("repeated_line_characters", 0, 0.20, REPEATS, "their share of all characters"),
        Rule("repeated_paragraph_characters", 0, 0.20, REPEATS, "their share of all characters"),
        *(
            Rule(f"top_{n}_gram", 0, high, REPEATS, f"characters in the commonest {n} words")
            for n, high in ((2, 0.20), (3, 0.18), (4, 0.16))
        ),
        *(
            Rule(f"repeated_{n}_grams", 0, high, REPEATS, f"characters in {n} words seen before")
            for n, high in zip(range(5, 11), (0.15, 0.14, 0.13, 0.12, 0.11, 0.10), strict=True)
        ),
        Rule("sentences", 3, NONE, C4, "sentences in the lines that C4 keeps"),
        Rule("braces", 0, 0, C4, "curly brackets"),
        Rule("placeholder", 0, 0, C4, "the words lorem ipsum"),
        Rule("listed", 0, 0, C4, "words of a list of bad words"),
    )
}
"""All rules. Where prints of C4's paper and its code (c4_utils.py of tensorflow_datasets) exchange
two numbers, these are the code's: 3 sentences in a page, 5 words in a line."""
QUALITY = tuple(name for name, rule in RULES.items() if rule.source == GOPHER)
REPETITION = tuple(name for name, rule in RULES.items() if rule.source == REPEATS)


def values(text: str, listed: Collection[str] = ()) -> dict[str, float]:
    """What each rule measures in a text."""
    words, lines = text.split(), [line.strip() for line in text.splitlines() if line.strip()]
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    low = re.findall(r"\w+", text.lower())
    found = {
        "length": len(words),
        "word_length": _share(sum(map(len, words)), len(words)),
        "hash": _share(text.count("#"), len(words)),
        "ellipsis": _share(text.count("...") + text.count("…"), len(words)),
        "bullet_lines": _share(sum(line.startswith(BULLETS) for line in lines), len(lines)),
        "ellipsis_lines": _share(sum(line.endswith(("...", "…")) for line in lines), len(lines)),
        "letters": _share(sum(any(map(str.isalpha, word)) for word in words), len(words)),
        "stop_words": len(STOP_WORDS & set(low)),
        "sentences": sum(map(sentences, (line for line, why in c4_lines(text) if not why))),
        "braces": text.count("{") + text.count("}"),
        "placeholder": text.lower().count("lorem ipsum"),
        "listed": sum(word in listed for word in low),
    }
    for name, parts in (("line", lines), ("paragraph", paragraphs)):
        again = _seen_before(parts)
        found[f"repeated_{name}s"] = _share(sum(again), len(parts))
        sizes = list(map(len, parts))
        repeated = sum(size for size, twice in zip(sizes, again, strict=True) if twice)
        found[f"repeated_{name}_characters"] = _share(repeated, sum(sizes))
    found |= {f"top_{n}_gram": _top(words, n) for n in (2, 3, 4)}
    found |= {f"repeated_{n}_grams": _covered(words, n) for n in range(5, 11)}
    return {name: float(found[name]) for name in RULES}


def judge(
    text: str, rules: Iterable[str] = (*QUALITY, *REPETITION), listed: Collection[str] = (),
    limits: Mapping[str, tuple[float, float]] | None = None,
) -> dict[str, bool]:  # fmt: skip
    """Rule -> whether the text passes it, each by itself; `limits` takes the place of the table's.

    A corpus of short dialogues wants `limits={"length": (5, 100_000)}`.
    """
    measured, allowed = values(text, listed), limits or {}
    bounds = {name: allowed.get(name, RULES[name][1:3]) for name in rules}
    return {name: low <= measured[name] <= high for name, (low, high) in bounds.items()}


def c4_lines(text: str) -> list[tuple[str, str]]:
    """Each line with why C4 would drop it: "" if it stays, else one word.

    "end": no . ? ! or " at the end, or an ellipsis; "short": under 5 words; "javascript"; "policy".
    """

    def fault(line: str) -> str:
        if line.endswith("...") or not line.endswith((".", "!", "?", '"')):
            return "end"
        if len(line.split()) < 5:
            return "short"
        if "javascript" in line.lower():
            return "javascript"
        return "policy" if any(phrase in line.lower() for phrase in POLICIES) else ""

    return [(line.strip(), fault(line.strip())) for line in text.splitlines()]


def c4(text: str, listed: Collection[str] = ()) -> tuple[str, list[str]]:
    """The lines that C4 keeps, and the names of its page rules that the text fails."""
    verdict = judge(text, ("sentences", "braces", "placeholder", "listed"), listed)
    kept = "\n".join(line for line, why in c4_lines(text) if not why)
    return kept, [name for name, passed in verdict.items() if not passed]


def sentences(text: str) -> int:
    """How many sentences end in a text: a mark, perhaps a quotation mark, then white space."""
    return len(re.findall(r"[.!?]+[\"”’')]*(?=\s|$)", text))


# --- the funnel ----------------------------------------------------------------------------------


class Stage(NamedTuple):
    """A step of a pipeline: rows in, rows out, fewer or changed; `aims` names what it should find.

    A row keeps its id. What a stage drops or changes is held against the defects of `aims`.
    """

    name: str
    run: Callable[[list[Row]], list[Row]]
    aims: tuple[str, ...] = ()


def funnel(
    rows: Sequence[Row], stages: Iterable[Stage], truth: Mapping[str, Collection[str]] | None = None
) -> list[dict[str, float | str | None]]:
    """What is left after each stage, and how well the stage found what it aims at.

    A list of {stage, documents, bytes, dropped, changed, precision, recall}, the raw rows first.
    Precision: the share of touched rows that have a defect aimed at. Recall: the share of rows with
    such a defect, among those that reached the stage, that were touched. None where it is 0 / 0 or
    no truth is given.
    """
    before, report = list(rows), [_counts("raw", list(rows), 0, 0)]
    for stage in stages:
        after = stage.run(list(before))
        texts = {row["id"]: row["text"] for row in after}
        dropped = {row["id"] for row in before} - texts.keys()
        changed = {row["id"] for row in before if texts.get(row["id"], row["text"]) != row["text"]}
        line = _counts(stage.name, after, len(dropped), len(changed))
        if truth is not None and stage.aims:
            meant = set().union(*(truth.get(name, ()) for name in stage.aims))
            meant &= {row["id"] for row in before}
            found = dropped | changed
            right = len(found & meant)
            line["precision"] = right / len(found) if found else None
            line["recall"] = right / len(meant) if meant else None
        report.append(line)
        before = after
    return report


def _counts(
    name: str, rows: list[Row], dropped: int, changed: int
) -> dict[str, float | str | None]:
    """A line of the funnel, without precision and recall."""
    size = sum(len(row["text"].encode("utf-8", "surrogatepass")) for row in rows)
    return {"stage": name, "documents": len(rows), "bytes": size, "dropped": dropped,
            "changed": changed, "precision": None, "recall": None}  # fmt: skip


# --- measures ------------------------------------------------------------------------------------


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _seen_before(items: Sequence) -> list[bool]:
    """For each item whether it stood before."""
    seen: set = set()
    return [item in seen or bool(seen.add(item)) for item in items]


def _grams(words: list[str], n: int) -> list[tuple[str, ...]]:
    return list(zip(*(words[k:] for k in range(n)), strict=False))


def _top(words: list[str], n: int) -> float:
    """Characters in all places of the commonest n words, as a share; 0 if none occurs twice."""
    counts = Counter(_grams(words, n))
    if not counts or max(counts.values()) < 2:
        return 0.0
    most = max(count * sum(map(len, gram)) for gram, count in counts.items()
               if count == max(counts.values()))  # fmt: skip
    return min(1.0, _share(most, sum(map(len, words))))


def _covered(words: list[str], n: int) -> float:
    """Characters of words inside some n words that stood before, each once, as a share."""
    inside = [False] * len(words)
    for i, again in enumerate(_seen_before(_grams(words, n))):
        if again:
            inside[i : i + n] = [True] * n
    repeated = sum(len(word) for word, marked in zip(words, inside, strict=True) if marked)
    return _share(repeated, sum(map(len, words)))
