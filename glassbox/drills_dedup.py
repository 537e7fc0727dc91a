"""Drive a learner's data functions where they live, and make the texts that lab 10 tries them on.

As `glassbox.drills`: tests of lab 10 and probes of its mistake bank call these with the learner's
function in hand. Sets become sorted lists, so that answers can be compared and stored; a function
that a learner's function returns is called here. `another_hash` shows what a new process would
show. No right answer is here: texts are built by what was put into them, pairs are planted.
"""

import builtins
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from glassbox.check import CheckFailed
from glassbox.telecom.defects import Planted, planted

NAMES = ("length", "word_length", "hash", "ellipsis", "bullet_lines", "ellipsis_lines", "letters",
         "stop_words")  # fmt: skip
PLAIN_WORDS = ("signal", "router", "tower", "cable", "invoice", "roaming", "packet", "modem",
               "antenna", "voucher", "relay", "socket", "tariff", "uplink", "number", "repair",
               "sector", "handset", "outage", "switch")  # fmt: skip


# --- what a call gives, as plain lists -----------------------------------------------------------


def sorted_result(function: Callable, *args: Any, n: int = -1) -> list[Any]:
    """The name of the result's type, and its items in order; argument number n becomes a set."""
    given = [set(a) if i == n else a for i, a in enumerate(args)]
    got = function(*given)
    if not isinstance(got, set | frozenset | list | tuple):
        return [type(got).__name__, repr(got)]
    return [type(got).__name__, sorted(map(_plain, got), key=repr)]


def _plain(value: Any) -> Any:
    if isinstance(value, Tensor):
        return f"tensor {value.tolist()}"
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def with_set(function: Callable, text: str, items: list[str]) -> Any:
    """`function(text, set(items))`."""
    return function(text, set(items))


def at_the_top(gopher_rules: Callable, seed: int) -> list[Any]:
    """What the rules say of texts of 100,000 words and of one more."""
    pairs = edges(torch.Generator().manual_seed(seed))
    found = [gopher_rules(text) for _, *both in pairs for text in both if len(text) > 100_000]
    return [rules[name] for rules in found for name in sorted(rules)]


# --- MinHash -------------------------------------------------------------------------------------


class Ordered(set):
    """A set that is read in the order in which it was given."""

    def __init__(self, items: Sequence[str]) -> None:
        super().__init__(items)
        self.items = list(dict.fromkeys(items))

    def __iter__(self) -> Iterator[str]:
        return iter(self.items)


@contextmanager
def another_hash(function: Callable) -> Iterator[None]:
    """Python's `hash` as a new process has it: other numbers, for code beside `function` only."""
    import sys  # only this drill looks at who calls

    true, home = builtins.hash, getattr(function, "__globals__", None)

    def changed(value: Any) -> int:
        theirs = sys._getframe(1).f_globals is home
        return true(("another process", true(value))) if theirs else true(value)

    builtins.hash = changed
    try:
        yield
    finally:
        builtins.hash = true


def signatures_again(minhash: Callable, items: list[str], n_hashes: int, seed: int) -> list[Any]:
    """One set's signature, then: in another process, read backwards, after other random draws."""
    found = [minhash(set(items), n_hashes, seed)]
    with another_hash(minhash):
        found.append(minhash(set(items), n_hashes, seed))
    found.append(minhash(Ordered(items[::-1]), n_hashes, seed))
    found.append(minhash(Ordered(sorted(items)), n_hashes, seed))
    torch.rand(7)
    random.random()
    torch.manual_seed(torch.seed() % 1000)
    found.append(minhash(set(items), n_hashes, seed))
    return found


def overlapping(n: int, share: float, tag: str = "") -> tuple[list[str], list[str]]:
    """Two lists of together n strings of which this share stands in both."""
    both = round(n * share)
    alone = (n - both) // 2
    words = [f"{tag}{PLAIN_WORDS[i % 20]} {i}" for i in range(both + 2 * alone)]
    return words[: both + alone], words[:both] + words[both + alone :]


def signature_facts(minhash: Callable, n_hashes: int = 128) -> list[Any]:
    """What can be seen of a MinHash whose construction is free, in truth values and names.

    Type, dtype and shape; the same again, in another process, in another order; whether the seed
    matters; how the estimate of shares 0, 0.3, 0.6 and 1 errs, -1 below, 0 near, 1 above, and
    whether no place was equal.
    """
    items = overlapping(40, 0.5)[0]
    found = signatures_again(minhash, items, n_hashes, 3)
    if not all(isinstance(x, Tensor) for x in found):
        return [type(found[0]).__name__]
    facts: list[Any] = [str(found[0].dtype), list(found[0].shape)]
    facts += [float(torch.equal(found[0], again)) for again in found[1:]]
    facts.append(float(not torch.equal(found[0], minhash(set(items), n_hashes, 4))))
    for share in (0.0, 0.3, 0.6, 1.0):
        estimates = []
        for seed in range(6):
            one, two = overlapping(60, share, f"{seed} ")
            signs = [minhash(set(some), n_hashes, seed) for some in (one, two)]
            estimates.append((signs[0] == signs[1]).double().mean().item())
        gap = sum(estimates) / 6 - share
        facts += [float(gap > 0.12) - float(gap < -0.12), float(sum(estimates) == 0)]
    return facts


def empty_signature(minhash: Callable, n_hashes: int) -> list[Any]:
    """The signature of the empty set, as texts, since its numbers are large."""
    found = minhash(set(), n_hashes, 1)
    return [str(found.dtype), str(found.tolist())]


# --- a classifier --------------------------------------------------------------------------------


def probabilities(train: Callable, good: list[str], bad: list[str], texts: list[str]) -> list[Any]:
    """Train, and ask for each text."""
    judge = train(list(good), list(bad))
    return [judge(text) for text in texts]


def plain_numbers(probabilities: Sequence[Any]) -> None:
    """CheckFailed at the first probability that is no plain number, such as a tensor."""
    for value in probabilities:
        if type(value) not in (int, float):
            raise CheckFailed("a probability", f"got {value!r:.60}", "a plain number is expected.")


def trained_twice(train: Callable, good: list[str], bad: list[str], texts: list[str]) -> list[Any]:
    """Answers of a classifier before and after another one was trained the other way round."""
    first = train(list(good), list(bad))
    before = [first(text) for text in texts]
    train(list(bad), list(good))
    return [before, [first(text) for text in texts]]


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The share of pairs (one of each) in which the good one is above; a tie counts one half."""
    a, b = (torch.tensor(list(x), dtype=torch.float64) for x in (good, bad))
    above = (a[:, None] > b).double() + 0.5 * (a[:, None] == b).double()
    return above.mean().item()


def classifier_facts(train: Callable, good: list[str], bad: list[str], held_good: list[str],
                     held_bad: list[str]) -> list[Any]:  # fmt: skip
    """What a classifier does, in numbers that do not depend on how it was made.

    Its AUC on held-out texts: 1 from 0.9 on, -1 up to 0.1, else 0; whether all answers are numbers
    from 0 to 1; whether the first nine words of a text tell something; whether both kinds lie on
    their side of one half with one list five times the other; the answer to the empty text, then
    too; whether a text of words never met is 0.5; whether a single word is decided for good, and a
    word that both kinds have; whether a second training spoils the first; a long text.
    """
    texts = [*held_good, *held_bad]
    facts: list[Any] = []
    p = probabilities(train, good, bad, texts)
    if not all(isinstance(x, int | float) for x in p):
        return [type(p[0]).__name__]
    found = auc(p[: len(held_good)], p[len(held_good) :])
    facts.append(float(found >= 0.9) - float(found <= 0.1))
    facts.append(float(all(0 <= x <= 1 for x in p)))
    short = probabilities(train, good, bad, [" ".join(text.split()[:9]) for text in texts])
    facts.append(float(auc(short[: len(held_good)], short[len(held_good) :]) >= 0.7))
    few = good[: max(2, len(bad) // 5)]
    p = probabilities(train, few, bad, texts)
    sides = [sum(x > 0.5 for x in p[: len(held_good)]) / len(held_good),
             sum(x < 0.5 for x in p[len(held_good) :]) / len(held_bad)]  # fmt: skip
    facts.append(float(min(sides) >= 0.8))
    facts += [round(x, 3) for x in probabilities(train, good, bad, ["", " \n"])]
    facts += [round(x, 3) for x in probabilities(train, few, bad, [""])]
    facts.append(float(abs(probabilities(train, few, bad, ["qqq xxz vvk"])[0] - 0.5) < 1e-6))
    word = probabilities(train, ["plainly"], ["crazily"], ["plainly", "crazily"])
    facts.append(float(1 > word[0] > 0.5 > word[1] > 0))
    often = probabilities(train, ["up plainly", "up"], ["up crazily", "down"], ["up"])[0]
    facts.append(float(0 < often < 1))
    before, after = trained_twice(train, good, bad, texts[:5])
    facts.append(float(before == after))
    long = probabilities(train, good, bad, [" ".join(held_good * 20)])[0]
    return [*facts, float(0.5 < long <= 1)]


# --- texts on both sides of a limit --------------------------------------------------------------


def _drawn(gen: torch.Generator, n: int) -> list[str]:
    return [PLAIN_WORDS[i] for i in torch.randint(len(PLAIN_WORDS), (n,), generator=gen).tolist()]


def _letters(gen: torch.Generator, n: int) -> str:
    return "".join(chr(97 + i) for i in torch.randint(26, (n,), generator=gen).tolist())


def _lines(words: list[str], n: int = 10) -> list[list[str]]:
    return [words[i : i + n] for i in range(0, len(words), n)]


def _text(lines: list[list[str]]) -> str:
    return "\n".join(" ".join(line) for line in lines)


def page(gen: torch.Generator, n: int = 100) -> list[list[str]]:
    """Lines of ten words that no rule has anything against (from n = 50 words on)."""
    words = _drawn(gen, n)
    words[3], words[7] = "the", "of"
    return _lines(words)


def edges(gen: torch.Generator, top: bool = True) -> list[tuple[str, str, str]]:
    """Pairs of texts around each limit of Gopher's rules: name, just inside, just outside.

    Both texts of a pair differ in one word or one mark, and the second breaks this rule alone.
    `top`: also the pair of 100,000 words.
    """
    found = [_length(gen, 50, -1), _short_words(gen), _long_words(gen)]
    found += [_length(gen, 100_000, 1)] if top else []
    found += [_marks(gen, "hash", ("#",)), _marks(gen, "ellipsis", ("…", "..."))]
    found += [_starts(gen), _ends(gen), _numbers(gen), _stop_words(gen)]
    return found


def _length(gen: torch.Generator, n: int, step: int) -> tuple[str, str, str]:
    inside = page(gen, 1000) * (n // 1000) if n >= 1000 else page(gen, n)
    last = inside[-1][:-1] if step < 0 else [*inside[-1], "modem"]
    return "length", _text(inside), _text([*inside[:-1], last])


def _short_words(gen: torch.Generator) -> tuple[str, str, str]:
    words = [_letters(gen, 3) for _ in range(60)]
    words[5], words[20], words[21] = "the", "have", "ox"  # a mean of three letters
    other = [*words[:21], "x", *words[22:]]
    return "word_length", _text(_lines(words)), _text(_lines(other))


def _long_words(gen: torch.Generator) -> tuple[str, str, str]:
    words = [_letters(gen, 10) for _ in range(60)]
    words[5], words[6] = "the", _letters(gen, 17)
    words[20], words[21] = "have", _letters(gen, 16)  # a mean of ten letters
    other = [*words[:21], words[21] + "x", *words[22:]]
    return "word_length", _text(_lines(words)), _text(_lines(other))


def _marks(gen: torch.Generator, rule: str, marks: tuple[str, ...]) -> tuple[str, str, str]:
    """100 words, and 10 or 11 marks in the middle of lines."""
    lines = page(gen)
    for i, line in enumerate(lines):
        mark = marks[i % len(marks)]
        line[5] = mark + line[5] if rule == "hash" else line[5] + mark
    more = [list(line) for line in lines]
    more[4][2] = marks[0] + more[4][2] if rule == "hash" else more[4][2] + marks[0]
    return rule, _text(lines), _text(more)


def _starts(gen: torch.Generator) -> tuple[str, str, str]:
    lines = page(gen)
    free = int(torch.randint(1, 10, (), generator=gen))
    for i, line in enumerate(lines):
        if i != free:
            line[0] = ("• ", "- ", "  - ")[i % 3] + line[0]
    more = [list(line) for line in lines]
    more[free][0] = "- " + more[free][0]
    return "bullet_lines", *("\n \n".join(" ".join(x) for x in some) for some in (lines, more))


def _ends(gen: torch.Generator) -> tuple[str, str, str]:
    lines = page(gen)
    for i, mark in ((1, "..."), (4, "…"), (8, "...  ")):
        lines[i][-1] += mark
    more = [list(line) for line in lines]
    more[6][-1] += "…"
    return "ellipsis_lines", _text(lines), _text(more)


def _numbers(gen: torch.Generator) -> tuple[str, str, str]:
    """100 words, of which 20 or 21 have no letter; others have letters and digits or marks."""
    lines = page(gen)
    for line in lines:
        line[4], line[6], line[1] = "4711", "+49-30", line[1] + "7,"
    more = [list(line) for line in lines]
    more[3][2] = "2026:"
    return "letters", _text(lines), _text(more)


def _stop_words(gen: torch.Generator) -> tuple[str, str, str]:
    """Two different stop words, one as "With,"; then the same one twice beside lookalikes."""
    lines = page(gen)
    lines[0][7], lines[2][3], lines[5][5], lines[6][1] = "the", "With,", "other", "beans"
    more = [list(line) for line in lines]
    more[2][3] = "The,"
    return "stop_words", _text(lines), _text(more)


def spoiled(gen: torch.Generator) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Texts that break several of Gopher's rules at once, or barely none, and which."""
    lines = page(gen)
    yield "\n\n \n".join("  ".join(line) for line in lines), ()
    yield _text(lines[1:5]), ("length", "stop_words")
    yield "mast", ("length", "stop_words")
    yield "- " + " ".join(word for line in lines for word in line), ("bullet_lines",)
    yield "", ("length", "word_length", "letters", "stop_words")
    dotted = [["•", *line[1:-1], line[-1] + "…"] for line in lines]
    yield _text(dotted), ("bullet_lines", "ellipsis_lines")
    yield _text([[f"#{word}" for word in line] for line in dotted]), (
        "hash", "ellipsis_lines",
    )  # fmt: skip
    digits = [["7"] * 9 + ["the"] for _ in lines]
    yield _text(digits), ("word_length", "letters", "stop_words")
    yield _text([["......", "To", "be"] for _ in lines]), ("length", "ellipsis", "letters")
    yield _text([[_letters(gen, 12) for _ in range(8)] for _ in range(8)]), (
        "word_length", "stop_words",
    )  # fmt: skip
    yield "...\n" + "\n".join(["that\twith"] * 30), ()


def web_lines(gen: torch.Generator) -> list[tuple[str, bool]]:
    """Lines of a page in some order, and whether C4's line rules keep them; many are kept."""
    found = []
    for line in page(gen, 120):
        words = line[: 5 + int(torch.randint(5, (), generator=gen))]
        end = (".", "!", "?", '."', "?”")[int(torch.randint(5, (), generator=gen))]
        found += [(" " * (len(words) % 3) + " ".join(words) + end + " " * (len(words) % 2), True)]
    go = page(gen, 120)
    cut = [" ".join(line[:7]) for line in go]
    found += [
        (cut[0], False),
        (f"{cut[1]}...", False),
        (f"{cut[2]},", False),
        (f"{cut[3]}…", False),
    ]
    found += [
        (" ".join(go[4][:4]) + ".", False),
        ("", False),
        ("   ", False),
        (f"{cut[5]}:", False),
    ]
    for phrase in ("JavaScript", "terms of use", "Cookie Policy", "uses cookies", "privacy policy"):
        found.append((f"{cut[6]} {phrase} {cut[7]}.", False))
    found.append((f"{cut[8]} cookies and terms, useful ones.", True))
    return [found[i] for i in torch.randperm(len(found), generator=gen).tolist()]


# --- texts of the planted corpus -----------------------------------------------------------------


def corpus(gen: torch.Generator, n: int, shares: Mapping[str, float] | None = None) -> Planted:
    """A planted corpus of its own for each state of the generator."""
    return planted(str(int(torch.randint(2**40, (), generator=gen))), n, shares)


def sound(found: Planted) -> list[dict[str, str]]:
    """The rows of a corpus in which nothing was planted that spoils the text as such."""
    spoilt = set().union(*(found.truth[name] for name in (
        "exact_duplicate", "near_duplicate", "mojibake", "html", "boilerplate", "spam", "truncated",
        "toxic", "contamination")))  # fmt: skip
    return [row for row in found.rows if row["id"] not in spoilt]


def languages(gen: torch.Generator, n: int) -> list[tuple[str, str]]:
    """Up to n sound documents of each language, with its name."""
    rows: dict[str, list[str]] = {}
    for row in sound(corpus(gen, 400)):
        rows.setdefault(row["language"], []).append(row["text"])
    return [(name, text) for name in sorted(rows) if len(name) == 2 for text in rows[name][:n]]


def copies(gen: torch.Generator, n: int = 240) -> tuple[list[str], list[set[int]]]:
    """Texts with exact and near duplicates, and the groups of them by position."""
    found = corpus(gen, n)
    place = {row["id"]: i for i, row in enumerate(found.rows)}
    return [row["text"] for row in found.rows], [{place[i] for i in c} for c in found.clusters]


def good_and_bad(gen: torch.Generator, n: int = 240) -> tuple[list[str], ...]:
    """Sound English texts and machine-made ones: examples of both, then others of both."""
    found = corpus(gen, n, {"spam": 0.4})
    good = [row["text"] for row in sound(found) if row["language"] == "en"]
    bad = [row["text"] for row in found.rows if row["id"] in found.truth["spam"]]
    most = n * 5 // 24
    return good[::2][:most], bad[::2][:most], good[1::2][:50], bad[1::2][:50]


def leaks(gen: torch.Generator, n: int = 120) -> tuple[list[str], list[str], list[str]]:
    """Documents, the test items that stand in one of them, and those that stand in none."""
    found = corpus(gen, n)
    documents = [row["text"] for row in found.rows]
    inside = [any(item in text for text in documents) for item in found.test_items]
    return documents, *([item for item, there in zip(found.test_items, inside, strict=True)
                         if there == kind] for kind in (True, False))  # fmt: skip


# --- comparisons that say more than "not equal" --------------------------------------------------


def same_rules(case: str, got: object, broken: Sequence[str] = (), why: str = "") -> None:
    """A dict of truth values in which exactly the rules of `broken` are False."""
    if not isinstance(got, dict) or set(got) != set(NAMES):
        seen = sorted(map(str, got)) if isinstance(got, dict) else got
        raise CheckFailed(case, f"got {seen!r:.90}", f"a dict with the keys {', '.join(NAMES)}.")
    for name in NAMES:
        if not isinstance(got[name], bool):
            raise CheckFailed(f"{case}, {name}", f"got {got[name]!r:.40}", "True or False.")
    said = [name for name in NAMES if not got[name]]
    if set(said) != set(broken):
        listed = ", ".join(broken) or "none"
        raise CheckFailed(case, f"broken are: {', '.join(said) or 'none'}; expected: {listed}", why)


def same_numbers(case: str, got: object, want: Sequence[float], why: str = "",
                 rel: float = 1e-6) -> None:  # fmt: skip
    """A list of plain numbers that are near these."""
    if not isinstance(got, list) or not all(type(x) in (int, float) for x in got):
        raise CheckFailed(case, f"got {got!r:.70}", "a list of plain numbers is expected.")
    if len(got) != len(want) or not all(abs(a - b) <= rel for a, b in zip(got, want, strict=True)):
        said, right = ([f"{x:.4g}" for x in some][:8] for some in (got, want))
        raise CheckFailed(case, f"got {', '.join(said)}; expected {', '.join(right)}", why)


def same_shares(case: str, got: object, want: Mapping[str, float], why: str = "") -> None:
    """A dict with these keys whose values are near these numbers."""
    if not isinstance(got, dict) or set(got) != set(want):
        seen = sorted(map(str, got)) if isinstance(got, dict) else got
        raise CheckFailed(case, f"got {seen!r:.90}", f"a dict with the keys {', '.join(want)}.")
    same_numbers(case, [got[name] for name in want], list(want.values()), why)


def same_set(case: str, got: object, want: set, why: str = "") -> None:
    """A set with these items; tells how many are missing and too many, and one of each."""
    if not isinstance(got, set):
        raise CheckFailed(case, f"got {type(got).__name__} {got!r:.60}", "a set is expected.")
    said = []
    for words, items in (("missing", want - got), ("too many", got - want)):
        if items:
            said.append(f"{len(items)} {words}, such as {min(items, key=repr)!r}")
    if said:
        raise CheckFailed(case, "; ".join(said), why)


def same_groups(case: str, got: object, want: Sequence[int], why: str = "") -> None:
    """A list of cluster ids; tells whether documents are wrongly together, apart or misnamed."""
    if not isinstance(got, list) or len(got) != len(want):
        seen = f"{len(got)} ids" if isinstance(got, list) else f"{got!r:.60}"
        raise CheckFailed(case, f"got {seen}", f"a list of {len(want)} ids, one for each document.")
    for j in range(len(want)):
        for i in range(j):
            if (got[i] == got[j]) != (want[i] == want[j]):
                how = "together" if got[i] == got[j] else "apart"
                raise CheckFailed(case, f"documents {i} and {j} are {how}", why)
    if list(got) != list(want):
        raise CheckFailed(
            case,
            f"got {list(got)!r:.60}, expected {list(want)!r:.60}",
            "the groups are right; an id is the position of the first of them.",
        )


def pair_scores(got: Sequence[int], clusters: Sequence[set[int]]) -> tuple[float, float, float]:
    """Precision, recall and F1 of the pairs that ids put together, on planted clusters."""
    true = {(i, j) for some in clusters for i in some for j in some if i < j}
    groups: dict[int, list[int]] = {}
    for place, name in enumerate(got):
        groups.setdefault(name, []).append(place)
    said = {(i, j) for some in groups.values() for i in some for j in some if i < j}
    hits = len(true & said)
    precision, recall = hits / max(len(said), 1), hits / max(len(true), 1)
    return precision, recall, 2 * hits / max(len(said) + len(true), 1)
