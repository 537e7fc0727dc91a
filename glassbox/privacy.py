"""Find personal data in text, hide it, and measure what hiding leaves: the reference of chapter 6.

`find` reads a text as addresses and as runs of digit groups, and asks of each stretch of a run
which kind it is (`glassbox.telecom.personal` says what makes each of the nine). `redacted` and
`Pseudonyms` hide what was found, `score` and `interval` say how well it was found, `smallest_group`
and `coarsened` look at tables, `mixing`, `coverage` and `gap` at who is in the data. Rules only:
names of people and streets need a trained model, and no rule knows whether a number is in use.
"""

import hashlib
import hmac
import ipaddress
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from glassbox.telecom.personal import (
    CARDS,
    CHECK_CHARACTERS,
    COUNTRIES,
    MOBILE,
    PII,
    PRIORITY,
    Span,
)

LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
DIGITS = frozenset("0123456789")
STUCK = LETTERS | DIGITS | frozenset("_")
RANK = {kind: i for i, kind in enumerate(PRIORITY)}


# --- finding -------------------------------------------------------------------------------------


def find(text: str) -> list[Span]:
    """The values of personal data in a text, in order of their start, none over another.

    Definitions, edges and what overlaps: see `glassbox.telecom.personal`.
    """
    wide = f"  {text}  "  # so that each place has two neighbours on either side
    found = [*_mails(wide), *_hosts(wide), *_codes(wide), *_numbers(wide)]
    found.sort(key=lambda span: (span.start - span.end, RANK[span.kind], span.start))
    taken = bytearray(len(wide))
    kept = []
    for start, end, kind in found:
        if not any(taken[start:end]):
            taken[start:end] = b"x" * (end - start)
            kept.append(Span(start - 2, end - 2, kind))
    return sorted(kept)


def _free(wide: str, start: int, end: int, port: bool = False) -> bool:
    """Whether the stretch is a value of its own and no part of something longer."""
    far, near, next_, last = wide[start - 2], wide[start - 1], wide[end], wide[end + 1]
    if near in STUCK or near in "#+" or (near in "-./" and far in LETTERS | DIGITS):
        return False
    if port and next_ == ":" and last in DIGITS:
        return True
    return next_ not in STUCK and not (next_ in "-./:" and last in LETTERS | DIGITS)


def _mails(wide: str) -> Iterable[Span]:
    """E-mail addresses: from each @ outwards as far as the characters allow."""
    for at in (match.start() for match in re.finditer("@", wide)):
        start, end = at, at + 1
        while wide[start - 1] in STUCK or wide[start - 1] in ".%+-":
            start -= 1
        while wide[end] in LETTERS | DIGITS or wide[end] in ".-":
            end += 1
        name, domain = wide[start:at], wide[at + 1 : end]
        name, domain = name.lstrip(".%+-"), domain.split("..")[0].rstrip(".-")
        labels = domain.split(".")
        fit = name and name[-1] in STUCK and ".." not in name and len(labels) > 1
        fit = fit and all(label.strip("-") == label != "" for label in labels)
        start, end = at - len(name), at + 1 + len(domain)
        if fit and len(labels[-1]) > 1 and set(labels[-1]) <= LETTERS and _free(wide, start, end):
            yield Span(start, end, "email")


def _hosts(wide: str) -> Iterable[Span]:
    """IPv4 and IPv6 addresses: the longest run of their characters must be one as a whole."""
    for run in re.finditer(r"[0-9]+(?:\.[0-9]+)+", wide):
        parts = run[0].split(".")
        if len(parts) == 4 and all(str(int(p)) == p and int(p) < 256 for p in parts):
            if _free(wide, *run.span(), port=True):
                yield Span(*run.span(), "ip")
    for run in re.finditer(r"[0-9A-Fa-f]*:[0-9A-Fa-f:]+", wide):
        address = run[0] if run[0].endswith("::") else run[0].removesuffix(":")
        start, end = run.start(), run.start() + len(address)
        if address.count(":") > 1 and _free(wide, start, end):
            try:
                ipaddress.IPv6Address(address)
            except ValueError:
                continue
            yield Span(start, end, "ip")


def _codes(wide: str) -> Iterable[Span]:
    """Identity codes."""
    for run in re.finditer(r"([0-9]{6})[-+A]([0-9]{3})([0-9A-Y])", wide):
        date, number, last = run.groups()
        day, month = int(date[:2]), int(date[2:4])
        right = CHECK_CHARACTERS[int(date + number) % len(CHECK_CHARACTERS)] == last
        if right and 1 <= day <= 31 and 1 <= month <= 12 and _free(wide, *run.span()):
            yield Span(*run.span(), "national_id")


class _Group(NamedTuple):
    """Digits without a gap, and the characters between them and the group before."""

    start: int
    end: int
    digits: str
    gap: str


JOINTS = frozenset((" ", "-", ".", "/", "(", " (", ")", ") "))
PLAIN = frozenset((" ", "-", ".", "/"))
LONGEST = 20  # digits of the longest kind


def _numbers(wide: str) -> Iterable[Span]:
    """Everything that is digits in groups: each stretch of each run of groups is tried."""
    runs: list[list[_Group]] = []
    for match in re.finditer("[0-9]+", wide):
        gap = wide[runs[-1][-1].end : match.start()] if runs else ""
        group = _Group(match.start(), match.end(), match[0], gap)
        if gap in JOINTS:
            runs[-1].append(group)
        else:
            runs.append([group])
    for run in runs:
        if sum(len(group.digits) for group in run) > 8:
            yield from _stretches(wide, run)


def _stretches(wide: str, run: list[_Group]) -> Iterable[Span]:
    for i in range(len(run)):
        digits = ""
        for j in range(i, len(run)):
            digits += run[j].digits
            if len(digits) > LONGEST:
                break
            if len(digits) < 9:
                continue
            groups, end = run[i : j + 1], run[j].end
            kind = _kind(digits, [len(g.digits) for g in groups], {g.gap for g in groups[1:]})
            if kind and _free(wide, run[i].start, end):
                yield Span(run[i].start, end, kind)
            start = _phone(wide, groups)
            if start and _free(wide, start, end):
                yield Span(start, end, "phone")


def luhn(digits: str) -> bool:
    """Whether the last digit checks the others: every second from the right counts double."""
    if not digits or not DIGITS.issuperset(digits):
        return False
    total = sum(int("0246813579"[int(digit)]) for digit in digits[-2::-2])  # digits of 2 d, added
    return (total + sum(map(int, digits[::-2]))) % 10 == 0


LAYOUTS: dict[str, tuple[tuple[int, ...], ...]] = {
    "iccid": ((4, 4, 4, 4, 3), (4, 4, 4, 4, 4)), "card": ((4, 4, 4, 4), (4, 6, 5)),
    "imsi": ((3, 2, 10),), "imei": ((2, 6, 6, 1),), "msisdn": (),
}  # fmt: skip
"""The groups in which a kind may be written, if not bare."""


def _kind(digits: str, sizes: Sequence[int], gaps: set[str]) -> str | None:
    """What these digits in groups are, if not a phone number; the first of several in PRIORITY."""
    for kind in sorted(LAYOUTS, key=RANK.__getitem__):
        plain = len(sizes) == 1 or (tuple(sizes) in LAYOUTS[kind] and gaps in ({" "}, {"-"}))
        if plain and _TESTS[kind](digits):
            return kind
    return None


def _is_card(digits: str) -> bool:
    issued = (low <= digits[: len(low)] <= high and len(digits) == n for low, high, n in CARDS)
    return any(issued) and luhn(digits)


_TESTS: dict[str, Callable[[str], bool]] = {
    "iccid": lambda d: len(d) in (19, 20) and d.startswith("89") and luhn(d),
    "card": _is_card,
    "imsi": lambda d: len(d) == 15 and d.startswith(COUNTRIES),
    "imei": lambda d: len(d) == 15 and luhn(d),
    "msisdn": lambda d: any(d.startswith(low) and len(d) == n for low, n in MOBILE.items()),
}


def _phone(wide: str, groups: list[_Group]) -> int | None:
    """Where the phone number that ends with these groups begins, or None if there is none."""
    start, digits, gaps = groups[0].start, [g.digits for g in groups], [g.gap for g in groups[1:]]
    plus = wide[start - 1] == "+"
    abroad = plus or digits[0].startswith("00")
    if abroad and not plus:  # 0044 ..., or 00 44 ... with a group of its own
        digits[0] = digits[0][2:]
        if not digits[0]:
            if gaps[0] not in PLAIN:
                return None
            digits, gaps = digits[1:], gaps[1:]
    inside = 1 if abroad else 0  # the group that may be in brackets
    opened = gaps[:1] in ([" ("], ["("]) if abroad else wide[start - 1] == "("
    if opened and gaps[inside : inside + 1] in ([")"], [") "]):
        gaps = gaps[inside + 1 :]
        start -= not abroad
        if abroad and digits[1] == "0":  # the (0) of +44 (0)20
            digits = [digits[0], *digits[2:]]
    if not PLAIN.issuperset(gaps):
        return None
    sizes, number = [len(group) for group in digits], "".join(digits)
    if abroad:
        fit = 9 <= len(number) <= 12 and number[0] != "0" and min(sizes[2:], default=2) > 1
        return start - plus if fit else None
    national = number[0] == "0" != number[1] and len(number) in (10, 11) and min(sizes) > 1
    american = sizes == [3, 3, 4] and number[0] not in "01"
    return start if national or american else None


# --- hiding --------------------------------------------------------------------------------------


def redacted(text: str, spans: Iterable[Span] | None = None, token: str = "[{}]") -> str:
    """The text with each value replaced by its kind in capitals, as `[EMAIL]`.

    Without `spans` those that `find` finds. Spans may come in any order; of two that overlap, the
    one that begins first hides both.
    """
    return _rewritten(text, spans, lambda kind, _: token.format(kind.upper()))


def _rewritten(text: str, spans: Iterable[Span] | None, name: Callable[[str, str], str]) -> str:
    """The text with name(kind, value) in place of each value."""
    pieces, done = [], 0
    for start, end, kind in sorted(find(text) if spans is None else spans):
        if start >= done:
            pieces += [text[done:start], name(kind, text[start:end])]
        done = max(done, end)
    return "".join(pieces) + text[done:]


class WrongKeyError(ValueError):
    """The key at hand did not make these pseudonyms."""


def plain(kind: str, value: str, home: str = "44") -> str:
    """One way to write a value: a mail address in small letters, a phone number as +44 and so on.

    `home` is the country code that a national number lacks. Digits stand without gaps.
    """
    if kind == "ip":
        return str(ipaddress.ip_address(value))
    if kind in ("email", "national_id"):
        return value.lower() if kind == "email" else value
    digits = re.sub("[^0-9]", "", value.replace("(0)", ""))
    if kind != "phone":
        return digits
    abroad = value.startswith("+") or digits.startswith("00")
    return "+" + (digits.removeprefix("00") if abroad else home + digits.removeprefix("0"))


class Pseudonyms:
    """Names in place of values, the same for the same value, and the way back for who has the key.

    A name is the kind and 16 hexadecimal digits of an HMAC (SHA-256) of the value. Without the key
    nobody can try out all phone numbers; with it and the `vault` (name -> value) the text comes
    back. So these texts are still personal data for whoever holds both. `form(kind, value)` may
    bring the ways to write a value into one, as `plain` does; then `show` gives back that form.
    """

    NAME = re.compile("<(" + "|".join(PII) + "):([0-9a-f]{16})>")

    def __init__(
        self,
        key: bytes,
        vault: Mapping[str, str] | None = None,
        form: Callable[[str, str], str] = lambda _, value: value,
    ) -> None:
        if not key:
            raise ValueError("an empty key protects nothing; take os.urandom(32).")
        self.key, self.vault, self.form = key, dict(vault or {}), form

    def name(self, kind: str, value: str) -> str:
        """The name of a value: `<email:5f1c...>`."""
        told = f"{kind}\0{self.form(kind, value)}".encode()
        mark = hmac.new(self.key, told, hashlib.sha256).hexdigest()
        return f"<{kind}:{mark[:16]}>"

    def hide(self, text: str, spans: Iterable[Span] | None = None) -> str:
        """The text with names, whose values go into the vault. Without `spans` those of `find`."""

        def stored(kind: str, value: str) -> str:
            name = self.name(kind, value)
            self.vault[name] = self.form(kind, value)
            return name

        return _rewritten(text, spans, stored)

    def show(self, text: str) -> str:
        """The text with its values again; names that the vault does not know stay.

        Raises WrongKeyError if a name in the vault was made with another key.
        """

        def value(match: re.Match[str]) -> str:
            if match[0] not in self.vault:
                return match[0]
            told = self.vault[match[0]]
            if not hmac.compare_digest(self.name(match[1], told), match[0]):
                raise WrongKeyError(f"{match[0]} was made with another key.")
            return told

        return self.NAME.sub(value, text)


# --- scores --------------------------------------------------------------------------------------


def score(
    found: Sequence[Iterable[Span]], true: Sequence[Iterable[Span]]
) -> dict[str, dict[str, float]]:
    """Precision, recall and F1 of exact spans by kind and under "all", and n, the true ones.

    `found` and `true` hold the spans of the same texts in the same order. A share of nothing is 1:
    no value found has precision 1, no value there has recall 1.
    """
    hits, called, there = Counter[str](), Counter[str](), Counter[str]()
    for ours, theirs in zip(found, true, strict=True):
        ours, theirs = {Span(*span) for span in ours}, {Span(*span) for span in theirs}
        for counter, spans in ((hits, ours & theirs), (called, ours), (there, theirs)):
            counter.update(kind for span in spans for kind in (span.kind, "all"))
    table = {}
    for kind in (*PII, "all"):
        precision, recall = (hits[kind] / of[kind] if of[kind] else 1.0 for of in (called, there))
        total = called[kind] + there[kind]
        f1 = 2 * hits[kind] / total if total else 1.0
        table[kind] = {"precision": precision, "recall": recall, "f1": f1, "n": there[kind]}
    return table


def interval(k: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Where a share lies of which k of n were seen, with 95 % confidence (Wilson); n 0: (0, 1)."""
    if n == 0:
        return 0.0, 1.0
    centre, width = k + z * z / 2, z * math.sqrt(k * (n - k) / n + z * z / 4)
    low, high = (centre - width) / (n + z * z), (centre + width) / (n + z * z)
    return max(0.0, low), min(1.0, high)


def utility(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """By measure, which share of its value is left: after / before (nan where before was 0)."""
    return {m: after.get(m, 0.0) / b if b else math.nan for m, b in before.items()}


# --- tables --------------------------------------------------------------------------------------


def crowds(rows: Iterable[Mapping[str, str]], quasi: Sequence[str]) -> Counter[tuple[str, ...]]:
    """How many rows share each combination of the quasi-identifiers."""
    return Counter(tuple(row[field] for field in quasi) for row in rows)


def smallest_group(rows: Iterable[Mapping[str, str]], quasi: Sequence[str]) -> int:
    """The k of k-anonymity: rows in the smallest group of equal quasi-identifiers; 0 if no rows."""
    return min(crowds(rows, quasi).values(), default=0)


def coarsened(
    rows: Iterable[Mapping[str, str]], rules: Mapping[str, Callable[[str], str]]
) -> list[dict[str, str]]:
    """Copies of the rows with rule(value) in the fields that have a rule: 1984 -> 1980s."""
    return [
        {field: rules[field](told) if field in rules else told for field, told in row.items()}
        for row in rows
    ]


# --- who is in the data --------------------------------------------------------------------------


def mixing(languages: Sequence[str], unknown: str = "") -> float:
    """The code-mixing index: the share of words that are not in the commonest language.

    0 for one language, 1 - 1/L if L languages have equally many words. Words whose language is
    `unknown` (names, numbers) do not count; 0 if none is left.
    """
    counts = Counter(languages)
    del counts[unknown]
    return 1 - max(counts.values()) / counts.total() if counts else 0.0


def switching(languages: Sequence[str], unknown: str = "") -> float:
    """The share of places between two words where the language changes; unknown words left out."""
    known = [language for language in languages if language != unknown]
    return float(np.mean([a != b for a, b in pairwise(known)])) if len(known) > 1 else 0.0


def coverage(
    rows: Iterable[Mapping[str, str]], field: str, population: Mapping[str, float]
) -> dict[str, tuple[float, float, float]]:
    """By group of the population: its share of the rows over its share of the people, and interval.

    1 means as many as there should be, 0 that nobody is there. The interval is Wilson's of the
    share, divided by the same share of the people. Groups without people are left out.
    """
    told = Counter(row[field] for row in rows)
    n = told.total()
    return {
        group: tuple(x / share for x in (told[group] / n if n else 0.0, *interval(told[group], n)))
        for group, share in population.items()
        if share > 0
    }


def gap(
    right: Sequence[bool], group: Sequence[str], least: int = 30
) -> dict[str, tuple[float, float, float, int]]:
    """By group: accuracy, its interval, and the number of answers; best group first.

    Groups with fewer than `least` answers are left out: their rank would be noise.
    """
    right_, group_ = np.asarray(right, float), np.asarray(group)
    names, index = np.unique(group_, return_inverse=True)
    n, hits = np.bincount(index, minlength=len(names)), np.bincount(index, right_, len(names))
    told = [
        (name, (k / m, *interval(k, m), m))
        for name, k, m in zip(names.tolist(), hits.tolist(), n.tolist(), strict=True)
        if m >= least
    ]
    return dict(sorted(told, key=lambda item: -item[1][0]))
