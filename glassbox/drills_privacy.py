"""A lock for a vault, marks for a finder, and what a function did to its rows (lab 11).

As `glassbox.drills`: the tests of lab 11 and the probes of its mistake bank call these, some with
the learner's function in hand. `seal` and `unseal` are given to learners. They show what a vault
needs (a key, a way to notice a wrong one) and are no cipher for real data: take the library
`cryptography` for that. No answer is here.
"""

import hashlib
import hmac
import re
from collections import Counter
from collections.abc import Callable, Sequence
from copy import deepcopy
from random import Random
from typing import Any

import torch
from torch import Tensor

from glassbox import check, privacy_libraries
from glassbox.check import CheckFailed, Table
from glassbox.telecom.personal import LANGUAGES, PII, Span, personal, sentence, value

TAG = 16  # bytes


def seal(value: str, key: bytes) -> str:
    """The value under lock, in hex digits; the same value and key give the same ones."""
    data = value.encode()
    tag = hmac.digest(key, b"seal" + data, "sha256")[:TAG]
    return (tag + _mixed(data, key, tag)).hex()


def unseal(sealed: str, key: bytes) -> str:
    """What was sealed; ValueError if the key is another one or the text was changed."""
    raw = bytes.fromhex(sealed)
    tag, data = raw[:TAG], _mixed(raw[TAG:], key, raw[:TAG])
    if not hmac.compare_digest(tag, hmac.digest(key, b"seal" + data, "sha256")[:TAG]):
        raise ValueError("This is not the key that the value was sealed with.")
    return data.decode()


def _mixed(data: bytes, key: bytes, tag: bytes) -> bytes:
    """The bytes with a stream of bytes made from key and tag; twice gives them back."""
    stream = hashlib.shake_256(len(key).to_bytes(8, "big") + key + tag).digest(len(data))
    return bytes(a ^ b for a, b in zip(data, stream, strict=True))


# --- rows ------------------------------------------------------------------------------------


def with_rows(function: Callable, rows: list[dict], *args: Any) -> list[Any]:
    """What a function of rows gives, and whether the rows are afterwards as they were before."""
    function = getattr(function, "__wrapped__", function)  # on these rows, not on copies
    given = deepcopy(rows)
    got = function(given, *args)
    return [got, given == rows]


def round_trip(reidentify: Callable, text: str, secrets: dict[str, str], key: bytes,
               other: bytes | None = None) -> str:  # fmt: skip
    """What `reidentify` makes of a text with names of a vault that is sealed here.

    `secrets` maps names to values; `other` is the key that is handed over in place of `key`.
    """
    vault = {name: seal(value, key) for name, value in secrets.items()}
    return reidentify(text, vault, key if other is None else other)


# --- a finder ----------------------------------------------------------------------------------

PAIRS: dict[str, tuple[tuple[str, list[str], str], ...]] = {  # text, its values, the reason
    "email": (
        ("(anna@example.org)", ["anna@example.org"], "the plainest form, in brackets."),
        ("Write to anna@example.org.", ["anna@example.org"], "before the dot of the sentence."),
        ("anna.b+sim2@care.example.org", ["anna.b+sim2@care.example.org"],
         "names may hold . and +, domains more than two parts."),
        ("<q@example.org>, LIAM@EXAMPLE.COM", ["q@example.org", "LIAM@EXAMPLE.COM"],
         "one character is a name; capitals are letters."),
        ("y_usuf-x%ext@a-b.example.net", ["y_usuf-x%ext@a-b.example.net"],
         "names may hold _ % + -, domains a hyphen."),
        ("ติดต่อnok@example.orgได้เลย", ["nok@example.org"],
         "Thai letters touch it, and are no part."),
        ("root@localhost, noc@core-7", [], "a domain has two parts or more."),
        ("radio-lib@2.41.0 costs 5@2.50", [], "the last part is letters only."),
        ("Dr.@example.org, anna@@example.org, @care", [], "a name ends with a letter, digit or _."),
        ("447700900123@ims.example.net", ["447700900123@ims.example.net"],
         "the longer value counts, not the number in it."),
    ),
    "phone": (
        ("Call +44 7700 900123.", ["+44 7700 900123"], "international, 12 digits."),
        ("+447700900123", ["+447700900123"], "without groups."),
        ("07700900123 or 07700 900123", ["07700900123", "07700 900123"],
         "national: a 0, and 10 or 11 digits in all."),
        ("0044 7700 900123", ["0044 7700 900123"], "00 stands for the plus."),
        ("+33 (0)6 39 98 01 23", ["+33 (0)6 39 98 01 23"],
         "an inserted (0) does not count, and belongs to the value."),
        ("06.39.98.01.23, 030/23125123", ["06.39.98.01.23", "030/23125123"],
         "groups are joined by one space, dot, slash or hyphen."),
        ("(020) 7946 0123, +1 (415) 555-0123", ["(020) 7946 0123", "+1 (415) 555-0123"],
         "a bracket belongs to the value."),
        ("212-555-0123 and (415)555-0123", ["212-555-0123", "(415)555-0123"],
         "groups of 3-3-4, without a 0 before them."),
        ("Dial 0800 11 11 on 03.03.2026 at 07:15.", [], "8 digits are too few."),
        ("0.20.7946.0123", [], "its first group has one digit."),
        ("020 7946 0 123, 020 7 9460123, +44 20 7 9460123", [], "each has a group of one digit."),
        ("+44 7 700900123", ["+44 7 700900123"],
         "the group after a country code may have one digit."),
        ("+44 7700 900 and 0207946012", ["+44 7700 900", "0207946012"],
         "9 digits with a country code, 10 without."),
        ("00491713920012345, 020794601234", [], "15 digits after the 00, 12 after none."),
        ("+44 7700 90", [], "8 digits are too few."),
        ("4155550123", [], "an American number is never bare."),
        ("INC-07700900123, #07700900123", [], "neither stands free."),
    ),
    "ip": (
        ("Host 192.0.2.7 and 0.0.0.0, 255.255.255.255.",
         ["192.0.2.7", "0.0.0.0", "255.255.255.255"], "each number is 0 to 255."),
        ("192.0.2.7:443", ["192.0.2.7"], "a port may follow, and is no part of it."),
        ("192.0.2.256 and 999.999.999.999", [], "no number is above 255."),
        ("release 1.2.3.4.5 and v1.2.3.4", [], "each is part of a version."),
        ("192.0.2.0/24", [], "a network is no address."),
        ("192.0.02.7", [], "no leading zeros."),
        ("2001:0DB8:0:0:1:2:3:4", ["2001:0DB8:0:0:1:2:3:4"], "eight groups: IPv6."),
        ("2001:db8::7", ["2001:db8::7"], "IPv6, its zeros written as two colons."),
        ("2001:db8::, said the log", ["2001:db8::"], "it may end with two colons."),
        ("It was 2001:db8::7: no answer", ["2001:db8::7"], "a single colon at its end is no part."),
        ("12:30:45, 02:00:5e:10:00:a1, core::session", [], "a time, a MAC address, a name."),
        ("2001:db8:1:2:3:4:5:6:7", [], "nine groups, and the whole run counts."),
        ("2001:db8::1::2", [], "one run of zeros may be short, not two."),
    ),
    "imsi": (
        ("001011234567890", ["001011234567890"], "15 digits, 001 is in COUNTRIES."),
        ("001 01 1234567890, 262-01-1234567890", ["001 01 1234567890", "262-01-1234567890"],
         "in groups of 3-2-10."),
        ("001012345678901 001012345678902", ["001012345678901", "001012345678902"],
         "a check digit that holds by chance changes nothing."),
        ("705011234567890", [], "705 is not in COUNTRIES."),
        ("00101123456789, 0010112345678901", [], "14 and 16 digits."),
        ("SUB-001011234567890, 001011234567890F", [], "neither stands free."),
    ),
    "imei": (
        ("004400123456780", ["004400123456780"], "15 digits, and the check digit holds."),
        ("00-440012-345678-0, 00 440012 345678 0", ["00-440012-345678-0", "00 440012 345678 0"],
         "in groups of 2-6-6-1."),
        ("004400123456781", [], "the check digit is wrong."),
        ("00-440012-345678-1", [], "the check digit is wrong."),
        ("0044001234567801", [], "16 digits."),
    ),
    "msisdn": (
        ("447700900123;33639980123", ["447700900123", "33639980123"],
         "a beginning and a length of MOBILE."),
        ("491713920012", ["491713920012"], "4917 and 12 digits in all."),
        ("+447700900123", [], "with a plus it is a phone number."),
        ("44770090012, 4477009001234", [], "11 and 13 digits; 447 has 12."),
        ("571234567890", [], "57 is not in MOBILE."),
        ("#447700900123, INC-447700900123", [], "neither stands free."),
    ),
    "iccid": (
        ("8999901234567890124", ["8999901234567890124"], "19 digits, 89, check digit."),
        ("8999 9012 3456 7890 124 or 89999012345678901234",
         ["8999 9012 3456 7890 124", "89999012345678901234"], "in groups of four; 20 digits."),
        ("8999901234567890125", [], "the check digit is wrong."),
        ("8999 9012 3456 7890 125", [], "the check digit is wrong."),
        ("899990123456789011", [], "18 digits."),
    ),
    "card": (
        ("4242424242424242", ["4242424242424242"], "16 digits, check digit."),
        ("4242 4242 4242 4242, 5105-1051-0510-5100",
         ["4242 4242 4242 4242", "5105-1051-0510-5100"], "in groups of four."),
        ("378282246310005, 3782 822463 10005", ["378282246310005", "3782 822463 10005"],
         "a row of CARDS has 15 digits."),
        ("2223003122003222, 3530111333300000", ["2223003122003222", "3530111333300000"],
         "beginnings from 2221 to 2720 and from 3528 to 3589."),
        ("4242424242424243", [], "the check digit is wrong."),
        ("9999999999999995", [], "no card begins with 9."),
        ("4242424242424242426 42424242424242", [], "19 and 14 digits."),
        ("#4242424242424242", [], "it does not stand free."),
    ),
    "national_id": (
        ("131052-930V", ["131052-930V"], "131052930 leaves 28, and CHECK_CHARACTERS[28] is V."),
        ("131052A930V; 131052+930V.", ["131052A930V", "131052+930V"], "A and + are signs, too."),
        ("131052-930T, 131052-9303", [], "the check character is wrong."),
        ("010152-930V, 310152-9307, 311252-9303", ["010152-930V", "310152-9307", "311252-9303"],
         "days from 01 to 31, months from 01 to 12."),
        ("131352-9309 and 321052-9304", [], "there is no month 13, no day 32."),
        ("120052-9305 and 001252-9303", [], "there is no month 00, no day 00."),
        ("131052B930V, 131052-930v, 131052930V", [], "- + A only; a capital; a sign."),
        ("X131052-930V, 131052-930V2", [], "neither stands free."),
    ),
}  # fmt: skip


def plain(spans: Any) -> list[tuple[int, int, str]]:
    """What a finder gave as plain tuples; CheckFailed if it is no list of spans."""
    if not isinstance(spans, list):
        hint = "; is a return missing?" if spans is None else "."
        raise CheckFailed("find_pii", f"got {spans!r:.60}", f"expected a list of Span{hint}")
    for span in spans:
        fits = isinstance(span, tuple) and [type(x) for x in span] == [int, int, str]
        if not fits:
            raise CheckFailed("find_pii", f"got {span!r:.60} in the list",
                              "expected Span(start, end, kind).")  # fmt: skip
    return [tuple(span) for span in spans]


def values(spans: Any, text: str, kind: str) -> list[str]:
    """The pieces of a text that spans of one kind cover."""
    return [text[start:end] for start, end, k in plain(spans) if k == kind]


class Marks:
    """How well a finder does on the first n texts of a seed, kind by kind."""

    def __init__(self, find_pii: Callable[[str], list[Span]], seed: str, n: int) -> None:
        self.rows = [
            (text, set(map(tuple, true)), set(plain(find_pii(text))))
            for text, true in (personal(seed, number) for number in range(n))
        ]

    def differences(self, kind: str) -> list[tuple[str, set, set, set]]:
        """For each text: the values found exactly, spans that are none, values missed.

        A span within a value of another kind is not held against this one: that value is missed
        there, and a finder that is not written yet should cost its own kind alone.
        """
        made = []
        for text, true, got in self.rows:
            own, found = ({s for s in some if s[2] == kind} for some in (true, got))
            others = [s for s in true if s[2] != kind]
            none = {s for s in found - own
                    if not any(s[0] < o[1] and o[0] < s[1] for o in others)}  # fmt: skip
            made.append((text, found & own, none, own - found))
        return made

    def counts(self, kind: str) -> tuple[int, int, int]:
        """How many values are found exactly, how many spans are none, how many values missed."""
        hits, extra, missed = zip(*(map(len, d[1:]) for d in self.differences(kind)), strict=True)
        return sum(hits), sum(extra), sum(missed)

    def f1(self, kind: str) -> float:
        """Twice the values found, over all spans and all values; 0 if there is none of either."""
        hits, extra, missed = self.counts(kind)
        return 2 * hits / max(2 * hits + extra + missed, 1)

    def examples(self, kind: str) -> tuple[str, str]:
        """A value that was missed and a span that is none, with some text around; "" if none."""
        found = ["", ""]
        for text, _, none, missed in self.differences(kind):
            for i, more in enumerate((missed, none)):
                for start, end, _ in sorted(more):
                    if not found[i]:
                        around = text[max(0, start - 8) : start], text[end : end + 8]
                        found[i] = f"{around[0]}»{text[start:end]}«{around[1]}".replace("\n", " ")
        return found[0], found[1]

    def say(self, kind: str, example: bool = True) -> str:
        """The marks of a kind in a sentence."""
        hits, extra, missed = self.counts(kind)
        told = f"F1 of {kind} is {self.f1(kind):.3f} in {len(self.rows)} texts, at least 0.95 is "
        told += f"asked: {hits} found, {missed} missed, {extra} that are none"
        for words, text in zip(("missed", "none"), self.examples(kind), strict=True):
            told += f"; {words}: {text}" if text and example else ""
        return told + "."

    def judge(self, kind: str, example: bool = True) -> None:
        """CheckFailed unless F1 of a kind is 0.95 or more."""
        check.that(self.f1(kind) >= 0.95, self.say(kind, example))


def judge_pairs(find_pii: Callable[[str], list[Span]], kind: str) -> None:
    """CheckFailed at the first of the PAIRS of a kind with other values than it should have."""
    for text, want, why in PAIRS[kind]:
        check.equal(f"in {text!r}", values(find_pii(text), text, kind), want, why=why)


def progress(find_pii: Callable[[str], list[Span]], seed: str = "mine", n: int = 200) -> Table:
    """The marks of all kinds on n texts, with a value that was missed and a span that is none."""
    marks = Marks(find_pii, seed, n)
    rows = []
    for kind in PII:
        hits, extra, missed = marks.counts(kind)
        rows.append([kind, f"{marks.f1(kind):.2f}", str(hits), str(missed), str(extra),
                     *marks.examples(kind)])  # fmt: skip
    return Table(["kind", "F1", "found", "missed", "none", "missed: such as", "none: such as"],
                 rows, f"The » and « mark the span, in texts of the seed {seed!r}.")  # fmt: skip


def of_kind(find_pii: Callable[[str], list[Span]], kind: str, texts: list[str]) -> list[Any]:
    """The spans of one kind, written in whatever case, in each of some texts, for a probe."""
    return [[list(span) for span in find_pii(text) if span[2].lower() == kind] for text in texts]


def everything(find_pii: Callable[[str], list[Span]], texts: list[str]) -> list[Any]:
    """The spans of all kinds in each of some texts, for a probe."""
    return [list(map(list, map(tuple, find_pii(text)))) for text in texts]


# --- groups, tickets, languages ----------------------------------------------------------------


def answers(*groups: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    """Answers of groups given as (number, how many right, of how many), group after group."""
    correct = [i < right for _, right, of in groups for i in range(of)]
    group = [number for number, _, of in groups for _ in range(of)]
    return torch.tensor(correct, dtype=torch.bool), torch.tensor(group, dtype=torch.int64)


def by_language(find_pii: Callable[[str], list[Span]], kinds: Sequence[str], n: int = 100,
                seed: str = "languages") -> tuple[Tensor, Tensor]:  # fmt: skip
    """Whether the value in each of n sentences of each of LANGUAGES is found exactly, and alone."""
    draw, correct, group = Random(seed).random, [], []
    for number, language in enumerate(LANGUAGES):
        for i in range(n):
            kind = kinds[i % len(kinds)]
            content = value(kind, draw)
            text, start = sentence(content, draw, language)
            correct.append(plain(find_pii(text)) == [(start, start + len(content), kind)])
            group.append(number)
    return torch.tensor(correct), torch.tensor(group)


def tickets(n: int, customers: int, seed: str = "tickets") -> list[str]:
    """Short tickets; each holds one value, by which one of the customers can be known."""
    draw = Random(seed).random
    known: list[str] = []
    while len(known) < customers:  # in one piece, so that `uses` can count it
        known += [v for v in [value(PII[len(known) % len(PII)], draw)] if " " not in v]
    complaints = ("No signal at home.", "The invoice is wrong.", "I want to change the plan.")
    return [f"{sentence(known[int(draw() * customers)], draw)[0]} {complaints[int(draw() * 3)]}"
            for _ in range(n)]  # fmt: skip


def uses(texts: list[str], raw: list[str]) -> dict[str, float]:
    """What one can do with tickets: four measures, more is better.

    tickets: how many there are; words: how many of those in `raw` are left; regulars: values or
    names that stand in two tickets or more; call back: tickets left as in `raw`.
    """
    same = sum((Counter(a.split()) & Counter(b.split())).total()
               for a, b in zip(texts, raw, strict=True))  # fmt: skip
    marks = Counter(word.strip('.,;!?()[]<>"') for text in texts for word in set(text.split()))
    regulars = sum(n > 1 for word, n in marks.items() if re.search(r"@|\d.*\d.*\d", word))
    return {"tickets": len(texts), "words": same, "regulars": regulars,
            "call back": sum(a == b for a, b in zip(texts, raw, strict=True))}  # fmt: skip


def scripts(text: str) -> list[str]:
    """A label for each word: "th" or "latin" by its letters, "und" if it has none of these."""
    return ["th" if re.search("[\u0e01-\u0e2e]", word) else
            "latin" if re.search("[A-Za-z]", word) else "und"
            for word in text.split()]  # fmt: skip


# --- libraries ---------------------------------------------------------------------------------


def beside(find_pii: Callable[[str], list[Span]], seed: str = "libraries", n: int = 200) -> Table:
    """The marks of a finder beside those of libraries; ImportError says what to install."""
    finders = {
        "yours": find_pii,
        "libraries": privacy_libraries.find,
        "phonenumbers, all that is possible": lambda text: privacy_libraries.phones(text, False),
    }
    rows = []
    for name, finder in finders.items():
        marks = Marks(finder, seed, n)
        for kind in PII if "possible" not in name else ("phone",):
            hits, extra, missed = marks.counts(kind)
            rows.append([name, kind, f"{marks.f1(kind):.2f}", str(hits), str(missed), str(extra),
                         *marks.examples(kind)])  # fmt: skip
    rows.sort(key=lambda row: PII.index(row[1]))
    head = ["who", "kind", "F1", "found", "missed", "none", "missed: such as", "none: such as"]
    return Table(head, rows, f"In {n} texts.")
