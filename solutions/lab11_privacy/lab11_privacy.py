# %% [markdown]
# # Lab 11: privacy and fairness
#
# A customer's ticket holds a phone number, an address, the number of a SIM. Before it may train a
# model, somebody has to find all of that, take it out or put another name in its place, and say
# what the text has lost by it. In this lab you write the finder for nine kinds of personal data,
# what replaces them, and the numbers of an audit: how far a table hides its people, whom a data set
# leaves out, for whom a model works worse. At the end you audit a corpus and sign its data card.
#
# **{points}, about 2 hours and a half.** The chapter behind it is
# [Data quality](../../book/ch06_data.md), above all
# [Privacy](../../book/ch06_privacy.md) and [Fairness](../../book/ch06_fairness.md).
#
# What you will do, as one picture.
#
# ```text
#   a text ──▶ 2 find_pii ──▶ spans ──┬──▶ 3 redact         [EMAIL], for good
#                ▲                    └──▶ 4 pseudonymize   [EMAIL_3f62…], with a vault
#          1 luhn_valid                    5 reidentify     back, with the key
#
#   a table ─▶ 6 k_anonymity ─▶ 7 suppress_to_k             8 utility_loss  what did it cost?
#
#   a corpus ▶ 9 code_switch_index  10 coverage_report  11 group_gap ──▶ 12 data_card
# ```
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - Places in a text count characters, from 0, and the end of a span is exclusive:
#   `text[span.start:span.end]` is the value.
# - Arguments are never changed. Where the signature says `float`, `int` or `bool`, the result is a
#   plain Python value.
# - Later functions may use your earlier ones.
#
# All values in this lab are invented or stand in ranges that are kept free for tests, so that no
# number here belongs to anybody.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import hmac
import re
from collections import Counter
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

import glassbox
from glassbox import check, drills_privacy
from glassbox.drills_privacy import seal, unseal
from glassbox.privacy import interval
from glassbox.telecom.personal import PII, Span, personal

scale = glassbox.pick_scale(needs_gpu=False)  # S: what is graded; M and L: many texts
check.start("lab11_privacy")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# A `Span` is a named tuple of `start`, `end` and `kind`. The tables below belong to function 2:
# which countries begin an IMSI, how mobile numbers and cards begin, which characters the
# identity code counts in, which kind counts if two overlap. `written` calls those of your finders
# that are written. `REQUIRED` belongs to function 12.

# %% nbgrader={"locked": "tables"}
import ipaddress

from glassbox.telecom.personal import CARDS, CHECK_CHARACTERS, COUNTRIES, MOBILE, PRIORITY

Places = Iterator[tuple[int, int]]  # starts and ends
REQUIRED = ("name", "version", "licence", "purpose", "personal_data", "limits", "contact")


def written(finders: dict[str, Callable[[str], Places]], text: str) -> dict[str, list]:
    """What each finder that is written finds in a text; NotImplementedError if none is."""
    found = {}
    for kind, finder in finders.items():
        try:
            found[kind] = list(finder(text))
        except NotImplementedError:
            continue
    if len(found) == 0:
        raise NotImplementedError
    return found


print("countries     ", *COUNTRIES)
print("mobile numbers", MOBILE)
print("cards          beginnings from, to; digits:", *CARDS)
print("characters    ", CHECK_CHARACTERS)
print("priority      ", *PRIORITY)
print("on a data card", *REQUIRED)

# %% [markdown]
# ## 1. A check digit ({points:luhn_valid}, 8 min)
#
# Most long numbers carry a digit that is computed from the others, so that a slip of the finger is
# noticed. Payment cards, phones' serial numbers (IMEI) and SIM cards (ICCID) use the same one,
# Luhn's. For us it is a gift: of all numbers of the right length only one in ten passes, so nine in
# ten order numbers are not mistaken for a card.
#
# By hand, with 1 8: **from the right**, every second digit is doubled, and 9 is taken off where
# that gives more than 9. The 8 stays, the 1 becomes 2; together 10, divisible by 10, so it holds.
# With 8 1: the 1 stays, the 8 becomes 16 − 9 = 7; together 8, so it does not.
#
# **Common mistake:** doubling from the left. With an even number of digits that is right by chance,
# and cards have 16. An IMEI has 15.
#
# <details><summary>Hint 1</summary>
#
# Turn the text around first: then the places with odd numbers, 1, 3, 5, …, are doubled.
#
# </details>
# <details><summary>Hint 2</summary>
#
# "Only the digits 0 to 9" is a question for `re.fullmatch`. The text's own `isdigit` also says yes
# to ² and to the digits of other scripts.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `for place, digit in enumerate(reversed(digits))` counts from the right; `place % 2` is 1 where a
# digit is doubled.
#
# </details>

# %% nbgrader={"solution": "luhn_valid"}
def luhn_valid(digits: str) -> bool:
    """Whether the last digit is Luhn's check digit of the others.

    From the right, the second, fourth, ... digit is doubled, and 9 is taken off where that gives
    more than 9. The sum of all must be divisible by 10. Only the digits 0 to 9 are allowed: with
    a separator, a space, another character or a digit of another script the answer is False, and
    so it is for the empty text. "18" holds, "81" does not.
    """
    ### BEGIN SOLUTION
    if not re.fullmatch("[0-9]+", digits):
        return False
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 * (value > 9)
    return total % 10 == 0
    ### END SOLUTION


# %% nbgrader={"test": "luhn_valid_visible", "points": 3}
with check.question("luhn_valid_visible", luhn_valid) as f:
    check.equal("18", f("18"), True, why="8 + 2·1 = 10.")
    check.equal("81", f("81"), False, why="1 + (16 − 9) = 8.")
    check.equal("59", f("59"), True, why="9 + (10 − 9) = 10.")
    check.equal("042", f("042"), True, why="2 + 2·4 + 0 = 10; from the right the 4 is doubled.")
    check.equal("79927398713", f("79927398713"), True, why="the sum is 70.")
    check.equal("79927398710", f("79927398710"), False, why="the sum is 67.")
    for text in ("", "4 2", "0-42", "18\n", "a", "¹8"):
        check.equal(f"{text!r}", f(text), False, why="only the digits 0 to 9, and at least one.")

# %% nbgrader={"test": "luhn_valid_hidden", "points": 2}
# Hidden checks: 300 random texts of 1 to 24 digits; one digit changed; other characters.
### BEGIN HIDDEN TESTS
with check.question("luhn_valid_hidden", luhn_valid) as f:
    gen = check.generator()
    for case in range(300):
        n = torch.randint(1, 25, (), generator=gen).item()
        back = torch.randint(10, (n,), generator=gen).tolist()  # the last digit first
        rest = sum(back[2::2]) + sum([0, 2, 4, 6, 8, 1, 3, 5, 7, 9][d] for d in back[1::2])
        back[0] = (-rest) % 10 if case % 2 else back[0]
        digits = "".join(map(str, reversed(back)))
        check.equal(digits, f(digits), (back[0] + rest) % 10 == 0)
        if case % 2:
            back[n // 2] = (back[n // 2] + 1) % 10
            changed = "".join(map(str, reversed(back)))
            check.equal(changed, f(changed), False, why="one digit was changed.")
    for text in (" 18", "18 ", "1.8", "+18", "-18", "1８", "١٨", "0x12", "²6", "１８"):
        check.equal(f"{text!r}", f(text), False, why="only the digits 0 to 9.")
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Nine kinds of personal data ({points:find_pii}, 60 min)
#
# What is personal in a telecom text? Names and streets need a trained model. The rest has a form:
# an address, a phone number, the numbers of device and SIM. A pattern finds it, and then the work
# begins, because everything in a network has a form: versions, prices, ticket numbers, dates.
# Nobody minds a finder that misses nothing and also hides every version number, until somebody
# reads the texts. So your finder is marked by **F1** for each kind: precision and recall count
# alike.
#
# | kind | such as | and not |
# |--|--|--|
# | `email` | `anna.b+sim2@care.example.org` | `root@localhost`, `anna@@example.org` |
# | `phone` | `+44 (0)20 7946 0123`, `07700 900123`, `212-555-0123` | `0800 11 11`, `03.03.2026` |
# | `ip` | `192.0.2.7`, `2001:db8::7` | `1.2.3.4.5`, `192.0.2.300`, `192.0.2.0/24`, `12:30:45` |
# | `imsi` | `001011234567890`, a subscriber in the network | 15 digits of another country |
# | `imei` | `00-440012-345678-0`, a device | 15 digits with a wrong check digit |
# | `msisdn` | `447700900123`, a subscriber's number in a table | `44770090012`, `#447700900123` |
# | `iccid` | `8999 9012 3456 7890 124`, a SIM card | 19 digits with a wrong check digit |
# | `card` | `4242 4242 4242 4242`, `378282246310005` | 16 digits with a wrong check digit |
# | `national_id` | `131052-930V`, Finland's identity code | `131052-930T` |
#
# The kinds are told apart by their form alone; the words beside a number decide nothing. Three of
# them look alike, and are not: an **IMSI** begins with a country code and has no check digit, an
# **IMEI** has a check digit and no country code, an **MSISDN** is a phone number as databases store
# it, bare and without its plus.
#
# You write eleven short functions in one cell. `places` is given: it looks for a pattern with your
# edges around it, and asks `holds` about each match. In its patterns `\d` is 0 to 9 and `\w` is
# A to Z, a to z, 0 to 9 and `_`, since `re.ASCII` is set. A kind that you leave out costs its own
# points, no others.
#
# **Common mistake:** `\b` for the edges. It lets `INC-447700900123` and `1.2.3.4.5` through, and in
# Thai, which is written without spaces, it forbids every value that touches a letter.
#
# <details><summary>Hint 1</summary>
#
# The edges: `(?<!…)` looks back and `(?!…)` looks ahead; neither takes a character. Two of each in
# a row must both hold. A look back has a fixed width: `(?<![0-9A-Za-z][./-])` has two.
#
# What overlaps: sort all that was found by length, the longest first, and within a length by
# `PRIORITY.index(kind)`. Keep each span that does not overlap one kept before.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Let the pattern say the form, and plain Python the rest: `holds` may count, compare and compute.
# Groups joined by one sign throughout are `\d{2}([ -])\d{6}\1\d{6}\1\d`: `\1` is what the bracket
# has found. `re.sub(r"\D", "", value)` leaves the digits. `ipaddress.IPv4Address` and
# `ipaddress.IPv6Address` raise `ipaddress.AddressValueError` for what is no address.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The phone number is the hardest: three patterns joined by `|`, with `+` or `00`, with one 0, in
# groups of 3-3-4. Let them be generous (`\d+` for a group), and let `holds` count: take `(0)` and
# the leading 00 off, then `re.findall(r"\d+", …)` gives the groups.
#
# </details>

# %% nbgrader={"solution": "find_pii", "calls_forbidden": ["privacy"]}
def edges() -> tuple[str, str]:
    """Two patterns without width: what must hold before a value and after it.

    Before it stands no letter (A-Z, a-z), digit, `_`, `#` or `+`, and no `.`, `/` or `-` that
    itself follows a letter or digit. After it stands no letter, digit or `_`, and no `.`, `/`,
    `-` or `:` that is itself followed by a letter or digit. Letters of other scripts may touch.
    """
    ### BEGIN SOLUTION
    before = r"(?<![0-9A-Za-z_#+])(?<![0-9A-Za-z][./-])"
    after = r"(?![0-9A-Za-z_])(?![./:-][0-9A-Za-z])"
    return before, after
    ### END SOLUTION


def places(
    pattern: str, text: str, holds: Callable[[str], object] = bool, after: str = ""
) -> Places:
    """Where a pattern stands free and `holds(value)` is true; `after` replaces the edge behind."""
    before, behind = edges()
    whole = re.compile(f"{before}(?:{pattern}){after or behind}", re.ASCII)
    at = 0
    while match := whole.search(text, at):
        at = match.start() + 1  # a value may begin inside of what is none
        if holds(match[0]):
            yield match.span()
            at = max(at, match.end())


def find_email(text: str) -> Places:
    """name@domain.

    The name consists of letters, digits and `. _ % + -`, its first and last character is a letter,
    digit or `_`, and no two dots stand side by side. The domain is two or more parts joined by
    dots. A part has letters, digits and hyphens and neither begins nor ends with a hyphen; the
    last part is letters only, at least two.
    """
    ### BEGIN SOLUTION
    name = r"\w(?:(?:[\w%+-]|\.(?!\.))*\w)?"
    part = r"[0-9A-Za-z](?:[0-9A-Za-z-]*[0-9A-Za-z])?"
    yield from places(rf"{name}@(?:{part}\.)+[A-Za-z]{{2,}}", text)
    ### END SOLUTION


def find_phone(text: str) -> Places:
    """A number as people dial it, of one of three forms, in groups of digits or in one.

    International: `+` or `00`, then 9-12 digits, the first not 0; an inserted `(0)` does not count.
    National: 10 or 11 digits, the first 0, the second not. American: ten digits in groups of 3-3-4,
    the first not 0 or 1, never bare. Between two groups stands one space, `.`, `/` or `-`. One
    group may be in round brackets, with or without a space beside them: the first one, or after
    a country code the one that follows it. A group has two digits or more; only a country code
    and the group after it may have one.
    """
    ### BEGIN SOLUTION
    sep = "[ ./-]"
    american = rf"(?:\([2-9]\d\d\){sep}?|[2-9]\d\d{sep})\d{{3}}{sep}\d{{4}}"
    national = rf"(?:\(0[1-9]\d*\){sep}?|0[1-9]\d*{sep}?)\d+(?:{sep}\d+)*"
    abroad = rf"(?:\+|00{sep}?)[1-9]\d*{sep}?(?:\(\d+\){sep}?)?\d+(?:{sep}\d+)*"

    def holds(value: str) -> bool:
        groups = re.findall(r"\d+", re.sub(r"\(0\)|^00", " ", value))
        n, far = sum(map(len, groups)), value[0] == "+" or value[:2] == "00"
        short = min(map(len, groups[2 * far :]), default=2)
        return short > 1 and (9 <= n <= 12 if far else n in (10, 11))

    yield from places(f"{american}|{national}|{abroad}", text, holds)
    ### END SOLUTION


def find_ip(text: str) -> Places:
    """An IPv4 or an IPv6 address.

    IPv4: four numbers from 0 to 255 without leading zeros, joined by dots. `:` and a port may
    follow it, which are no part of it. IPv6: eight groups of 1-4 hexadecimal digits joined by
    colons; one run of groups that are 0 may be written `::`. It is the whole run of hexadecimal
    digits and colons, less a single colon at its end.
    """
    ### BEGIN SOLUTION
    def holds(value: str) -> bool:
        kind = ipaddress.IPv6Address if ":" in value else ipaddress.IPv4Address
        try:
            return bool(str(kind(value)))
        except ipaddress.AddressValueError:
            return False

    end = r"(?!\w)(?![./-][0-9A-Za-z])(?!:[A-Za-z])"
    yield from places(r"\d+(?:\.\d+){3}", text, holds, after=end)
    yield from places(r"(?<!:)[0-9A-Fa-f:]*(?:[0-9A-Fa-f]|::)", text, holds)
    ### END SOLUTION


def find_imsi(text: str) -> Places:
    """15 digits, the first three one of COUNTRIES; in one, or in groups of 3-2-10.

    Groups, here and in all that follow, are joined by one space or by one hyphen throughout.
    """
    ### BEGIN SOLUTION
    yield from places(r"\d{15}|\d{3}([ -])\d\d\1\d{10}", text, lambda v: v[:3] in COUNTRIES)
    ### END SOLUTION


def find_imei(text: str) -> Places:
    """15 digits that pass the Luhn check; in one, or in groups of 2-6-6-1."""
    ### BEGIN SOLUTION
    pattern = r"\d{15}|\d\d([ -])\d{6}\1\d{6}\1\d"
    yield from places(pattern, text, lambda v: luhn_valid(re.sub(r"\D", "", v)))
    ### END SOLUTION


def find_msisdn(text: str) -> Places:
    """Digits in one, without a plus, with a beginning and as many digits in all as in MOBILE."""
    ### BEGIN SOLUTION
    for start, n in MOBILE.items():
        yield from places(rf"{start}\d{{{n - len(start)}}}", text)
    ### END SOLUTION


def find_iccid(text: str) -> Places:
    """19 or 20 digits that begin with 89 and pass the Luhn check.

    In one, or in groups of four (of 19 digits the last group has three).
    """
    ### BEGIN SOLUTION
    pattern = r"89\d{17,18}|89\d\d([ -])\d{4}\1\d{4}\1\d{4}\1\d{3,4}"
    yield from places(pattern, text, lambda v: luhn_valid(re.sub(r"\D", "", v)))
    ### END SOLUTION


def find_card(text: str) -> Places:
    """15 or 16 digits that pass the Luhn check, with a beginning and a length of a row of CARDS.

    A row (low, high, n): n digits, of which the first lie between low and high, these included.
    16 digits in one or in groups of 4-4-4-4, 15 digits in one or in groups of 4-6-5.
    """
    ### BEGIN SOLUTION
    def holds(value: str) -> bool:
        number = re.sub(r"\D", "", value)
        rows = [row for row in CARDS if row[2] == len(number)]
        known = any(int(low) <= int(number[: len(low)]) <= int(high) for low, high, _ in rows)
        return known and luhn_valid(number)

    grouped = r"\d{4}([ -])(?:\d{4}\1\d{4}\1\d{4}|\d{6}\1\d{5})"
    yield from places(rf"\d{{15,16}}|{grouped}", text, holds)
    ### END SOLUTION


def find_national_id(text: str) -> Places:
    """Six digits DDMMYY, one of `-`, `+`, `A`, three digits, and a check character: 11 in all.

    The day is 01-31, the month 01-12. DDMMYY and the three digits are read as one number of nine
    digits. Divided by 31 it leaves a remainder r; the check character is CHECK_CHARACTERS[r].
    """
    ### BEGIN SOLUTION
    def holds(value: str) -> bool:
        day, month, nine = int(value[:2]), int(value[2:4]), int(value[:6] + value[7:10])
        return 1 <= day <= 31 and 1 <= month <= 12 and CHECK_CHARACTERS[nine % 31] == value[10]

    yield from places(r"\d{6}[-+A]\d{3}[0-9A-Z]", text, holds)
    ### END SOLUTION


FINDERS = {"email": find_email, "phone": find_phone, "ip": find_ip, "imsi": find_imsi,
           "imei": find_imei, "msisdn": find_msisdn, "iccid": find_iccid, "card": find_card,
           "national_id": find_national_id}  # fmt: skip


def find_pii(text: str) -> list[Span]:
    """All personal data in a text, in the order of their starts, none over another.

    A list of Span(start, end, kind); end is exclusive, kind is one of the nine names above. Of two
    that overlap the longer one counts, of equally long ones the kind that comes first in
    PRIORITY; what loses against one that counts is no span. Every value by itself: no other
    characters, no full stop. `written(FINDERS, text)` gives {kind: [(start, end), ...]}.
    """
    ### BEGIN SOLUTION
    spans = [Span(*place, kind) for kind, some in written(FINDERS, text).items() for place in some]
    winners = []
    for new in sorted(spans, key=lambda s: (s.start - s.end, PRIORITY.index(s.kind))):
        if all(new.end <= old.start or old.end <= new.start for old in winners):
            winners.append(new)
    return sorted(winners)
    ### END SOLUTION


# %% [markdown]
# How far is it? 200 texts from a seed of your choice, with known values. The last two columns show
# a value that your finder missed and one that it made up; the words beside them are to help you,
# the finder may not use them.

# %% tags=["demo"]
from IPython.display import display

SEED = "mine"
try:
    display(drills_privacy.progress(find_pii, SEED))
except NotImplementedError:
    print("Write edges, one of the nine finders and find_pii first.")

# %% nbgrader={"test": "find_pii_visible", "points": 18}
with check.question("find_pii_visible", find_pii) as f:
    seed = torch.randint(10**6, (), generator=check.generator()).item()
    marks = drills_privacy.Marks(f, f"visible {seed}", 120)
    with check.part("email", 2):
        drills_privacy.judge_pairs(f, "email")
        marks.judge("email")
    with check.part("phone", 2):
        drills_privacy.judge_pairs(f, "phone")
        marks.judge("phone")
    with check.part("ip", 2):
        drills_privacy.judge_pairs(f, "ip")
        marks.judge("ip")
    with check.part("imsi", 2):
        drills_privacy.judge_pairs(f, "imsi")
        marks.judge("imsi")
    with check.part("imei", 2):
        drills_privacy.judge_pairs(f, "imei")
        marks.judge("imei")
    with check.part("msisdn", 2):
        drills_privacy.judge_pairs(f, "msisdn")
        marks.judge("msisdn")
    with check.part("iccid", 2):
        drills_privacy.judge_pairs(f, "iccid")
        marks.judge("iccid")
    with check.part("card", 2):
        drills_privacy.judge_pairs(f, "card")
        marks.judge("card")
    with check.part("national_id", 2):
        drills_privacy.judge_pairs(f, "national_id")
        marks.judge("national_id")

# %% nbgrader={"test": "find_pii_hidden", "points": 12}
# Hidden checks: F1 of each kind on 200 generated texts; edges; overlaps and the order of the spans.
### BEGIN HIDDEN TESTS
with check.question("find_pii_hidden", find_pii) as f:
    seed = torch.randint(10**9, (), generator=check.generator()).item()
    marks = drills_privacy.Marks(f, f"hidden {seed}", 200)
    with check.part("email", 1):
        marks.judge("email", example=False)
    with check.part("phone", 1):
        marks.judge("phone", example=False)
    with check.part("ip", 1):
        marks.judge("ip", example=False)
    with check.part("imsi", 1):
        marks.judge("imsi", example=False)
    with check.part("imei", 1):
        marks.judge("imei", example=False)
    with check.part("msisdn", 1):
        marks.judge("msisdn", example=False)
    with check.part("iccid", 1):
        marks.judge("iccid", example=False)
    with check.part("card", 1):
        marks.judge("card", example=False)
    with check.part("national_id", 1):
        marks.judge("national_id", example=False)
    with check.part("edges", 1):
        for value in ("192.0.2.7", "447700900123", "2001:db8::7", "131052-930V", "999701234567890"):
            for before, after, free in (
                ("กข", "กข", True), ("«", "».", True), ("é", "ß", True), (", ", ": ", True),
                ("=", ";", True), ("-", "-", True), ("a-", "", False), ("#", "", False),
                ("", "_", False), ("", "/2", False), ("x/", "", False), ("", "-a", False)):
                text = before + value + after
                check.equal(text, drills_privacy.plain(f(text)) != [], free,
                            why="a value stands free." if free else "it is part of something.")
    with check.part("overlaps and order", 2):
        for text, want in (
            ("447700900123@example.net", [(0, 24, "email")]),
            ("001012345678902 001012345678901", [(0, 15, "imsi"), (16, 31, "imsi")]),
            ("378282246310005, 004400123456780", [(0, 15, "card"), (17, 32, "imei")]),
            ("a@example.org 192.0.2.7 b@example.org 192.0.2.8",
             [(0, 13, "email"), (14, 23, "ip"), (24, 37, "email"), (38, 47, "ip")]),
            ("192.0.2.7@example.org, 192.0.2.7", [(0, 21, "email"), (23, 32, "ip")]),
            ("2001:db8::(020) 7946 0123", [(0, 10, "ip"), (10, 25, "phone")]),
            ("2001:db8:1:2222::(020) 7946 0123", [(0, 17, "ip"), (17, 32, "phone")]),
            ("nothing here, v1.2.3", []), ("", [])):
            check.equal(text, drills_privacy.plain(f(text)), want,
                        why="the longer one counts, then PRIORITY; in the order of their starts.")
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Redaction ({points:redact}, 8 min)
#
# The plainest cure: the value goes, the name of its kind stays. A model can still learn that a
# customer leaves an address at that place of a letter; which one is gone for good.
#
# By hand: in "ab12cd34" the spans 2 to 4 and 6 to 8, both of kind `ip`, give "ab[IP]cd[IP]".
#
# **Common mistake:** replacing from the front. "[IP]" has four characters and the value had two, so
# all later spans now point two characters too far to the left. Start at the end, or build the
# result anew.
#
# <details><summary>Hint 1</summary>
#
# Sort the spans first. Nobody promised an order.
#
# </details>
# <details><summary>Hint 2</summary>
#
# First unite what overlaps: go through the sorted spans and compare each start with the end of the
# last area. Then replace.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `sorted(spans, key=lambda s: (s.start, -s.end))` puts the span first that gives an area its kind.
#
# </details>

# %% nbgrader={"solution": "redact"}
def redact(text: str, spans: list[Span]) -> str:
    """The text with each span replaced by its kind in capitals and brackets: `[EMAIL]`.

    Spans come in any order and may be nested, overlap or stand there twice. Spans that share a
    character become one token, also where a third one links them: the area from the first start
    to the last end, with the kind of the span that starts first, and of those the longest.
    Spans that only touch (the end of one is the start of the next) give two tokens. A kind may
    be any text. Every span holds at least one character; all else stays as it is.
    """
    ### BEGIN SOLUTION
    areas = []
    for span in sorted(spans, key=lambda s: (s.start, -s.end)):
        if areas and span.start < areas[-1][1]:
            areas[-1][1] = max(areas[-1][1], span.end)
        else:
            areas.append([span.start, span.end, f"[{span.kind.upper()}]"])
    for start, end, token in reversed(areas):
        text = text[:start] + token + text[end:]
    return text
    ### END SOLUTION


# %% nbgrader={"test": "redact_visible", "points": 3}
with check.question("redact_visible", redact) as f:
    text, mail, host = "To ana@example.org, 10.0.0.7.", Span(3, 18, "email"), Span(20, 28, "ip")
    check.equal("one span", f(text, [mail]), "To [EMAIL], 10.0.0.7.")
    for spans in ([mail, host], [host, mail]):
        check.equal("two spans", f(text, spans), "To [EMAIL], [IP].",
                    why="the first token is shorter than its value, the second span stays true.")
    check.equal("touching", f("0123456789", [Span(2, 5, "ip"), Span(5, 7, "card")]),
                "01[IP][CARD]789", why="they share no character.")
    check.equal("overlapping", f("0123456789", [Span(4, 8, "imei"), Span(2, 5, "phone")]),
                "01[PHONE]89", why="one area from 2 to 8; the phone starts first.")
    check.equal("nested", f("0123456789", [Span(1, 9, "email"), Span(3, 5, "ip")]), "0[EMAIL]9",
                why="one area, from the first start to the last end.")
    check.equal("no spans", f(text, []), text)

# %% nbgrader={"test": "redact_hidden", "points": 2}
# Hidden checks: random spans, in any order, overlapping, nested and linked; other alphabets.
### BEGIN HIDDEN TESTS
with check.question("redact_hidden", redact) as f:
    gen = check.generator()
    for start in range(60):
        text = "aé[ข😀]7 "[start % 8 :] + "".join("xyzü. 9ก"[i] for i in torch.randint(
            8, (30,), generator=gen).tolist())
        n = torch.randint(1, 7, (), generator=gen).item()
        ends = {tuple(sorted(torch.randperm(len(text) + 1, generator=gen)[:2].tolist()))
                for _ in range(n)}
        spans = [Span(a, min(b, a + 9), f"Kind_{a}{b % 7}") for a, b in sorted(ends)]
        spans = list({s[:2]: s for s in spans}.values())
        joined = {i for s in spans for i in range(s.start, s.end - 1)}  # i is one with i + 1
        want, i = "", 0
        while i < len(text):
            if first := [s for s in spans if s.start == i]:
                want += f"[{max(first, key=lambda s: s.end).kind.upper()}]"
                while i in joined:
                    i += 1
            else:
                want += text[i]
            i += 1
        mixed = [spans[i] for i in torch.randperm(len(spans), generator=gen).tolist()]
        case = f"{text!r}, {[tuple(s) for s in mixed]}"
        check.equal(case, f(text, mixed + mixed[:1]), want)
    check.unchanged("the spans after the call", f, "abcdef", [Span(4, 6, "ip"), Span(0, 2, "ip")])
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Pseudonyms ({points:pseudonymize}, 20 min)
#
# After redaction nobody can tell whether two tickets come from one customer. A **pseudonym** keeps
# that: each value gets a name, the same value the same name in every text. The name must not tell
# the value, and there lies the trap. A plain hash looks as safe as one can wish. But there are few
# phone numbers: hash all of them, and a table gives every customer back. So the name is made
# **with a key** that does not travel with the data: HMAC, a hash that needs one.
#
# Who has key and **vault** can go back, for instance to answer a customer who asks what is stored
# about them. The vault must be worth nothing without the key. So it holds each value sealed, by two
# functions that are given.
#
# - `seal(value, key)` gives a text of hex digits.
# - `unseal(sealed, key)` gives the value back; with another key it raises `ValueError`.
#
# They show the idea. For real data take the library `cryptography`.
#
# Pseudonyms are not anonymous. Whoever has key and vault can undo them, so in their hands the text
# stays personal data (GDPR, recital 26). Whoever has neither still sees which tickets belong
# together.
#
# By hand: `hmac.digest(b"key", b"email:ana@example.org", "sha256").hex()` begins with
# `93789b8a05d6`. So the name is `[EMAIL_93789b8a05d6]`.
#
# <details><summary>Hint 1</summary>
#
# `f"{kind}:{value}".encode()` is what is hashed. `.hex()[:12]` are the digits.
#
# </details>
# <details><summary>Hint 2</summary>
#
# From the end to the start, as in `redact`. Here no two spans overlap.
#
# </details>
# <details><summary>Hint 3</summary>
#
# For each span: the value, its name, the vault's entry `vault[name] = seal(value, key)`, the new
# text. A value that comes twice writes the same entry twice.
#
# </details>

# %% nbgrader={"solution": "pseudonymize"}
def pseudonymize(text: str, spans: list[Span], key: bytes) -> tuple[str, dict[str, str]]:
    """The text with each value replaced by a name, and the vault: {name: sealed value}.

    The name is `[KIND_h]`: the kind in capitals and the first 12 hex digits h of the
    HMAC-SHA-256, under `key`, of "kind:value" in UTF-8 (the kind as it stands in the span, the
    value with the characters as they stand in the text). So equal values of a kind have
    one name in all texts, and another key gives other names.
    Spans come in any order and do not overlap; they may touch. Only what a span covers is
    replaced. The vault has one entry per name, sealed by seal(value, key). No spans: the text
    and an empty vault.
    """
    ### BEGIN SOLUTION
    vault = {}
    for start, end, kind in sorted(spans, reverse=True):
        original = text[start:end]
        digest = hmac.digest(key, f"{kind}:{original}".encode(), "sha256").hex()
        name = f"[{kind.upper()}_{digest[:12]}]"
        text, vault[name] = text[:start] + name + text[end:], seal(original, key)
    return text, vault
    ### END SOLUTION


# %% nbgrader={"test": "pseudonymize_visible", "points": 6}
with check.question("pseudonymize_visible", pseudonymize) as f:
    text, mail, host = "To ana@example.org, 10.0.0.7.", Span(3, 18, "email"), Span(20, 28, "ip")
    with check.part("names", 2):
        got, vault = f(text, [mail], b"key")
        check.equal("one span", got, "To [EMAIL_93789b8a05d6], 10.0.0.7.",
                    why="12 hex digits of the HMAC of 'email:ana@example.org' under b'key'.")
        other, _ = f(text, [mail], b"another key")
        check.equal("another key", other, "To [EMAIL_e5e209dd3330], 10.0.0.7.")
        as_ip, _ = f(text, [Span(3, 18, "login")], b"key")
        check.that(got[10:22] not in as_ip, "the same value as another kind has another name.")
    with check.part("places", 2):
        ip = "[IP_8f9efea4b1a7]"
        two = [f(text, spans, b"key")[0] for spans in ([mail, host], [host, mail])]
        check.equal("two spans, both orders", two, 2 * [got.replace("10.0.0.7", ip)],
                    why="the first name is longer than its value; spans come in any order.")
        twice = "10.0.0.7 10.0.0.7 10.0.0.77"
        check.equal("the same value twice", f(twice, [Span(0, 8, "ip"), Span(9, 17, "ip")], b"key")
                    [0], f"{ip} {ip} 10.0.0.77", why="only what a span covers is replaced.")
    with check.part("vault", 2):
        check.equal("its names", list(vault), ["[EMAIL_93789b8a05d6]"])
        check.equal("the value, unsealed", [unseal(s, b"key") for s in vault.values()],
                    ["ana@example.org"], why="the vault holds seal(value, key).")
        check.equal("no spans", f(text, [], b"key"), (text, {}))

# %% nbgrader={"test": "pseudonymize_hidden", "points": 4}
# Hidden checks: random values in random order, touching ones, two texts, many values, two keys.
### BEGIN HIDDEN TESTS
with check.question("pseudonymize_hidden", pseudonymize) as f:
    gen = check.generator()
    key = bytes(torch.randint(256, (20,), generator=gen).tolist())
    def named(kind, value, key):
        mac = hmac.new(key, (kind + ":" + value).encode("utf-8"), "sha256").hexdigest()
        return "[" + kind.upper() + "_" + mac[:12] + "]"
    with check.part("names and places", 2):
        for _ in range(20):
            values = [f"é{i}@ข.example" for i in torch.randint(6, (7,), generator=gen).tolist()]
            kinds = [PII[i] for i in torch.randint(3, (7,), generator=gen).tolist()]
            gaps = ["", " and ", "😀", "é1@ข.example0", "[IP]", "", "."]
            text, want, spans = "", "", []
            for kind, value, gap in zip(kinds, values, gaps):
                spans.append(Span(len(text), len(text) + len(value), kind))
                text, want = text + value + gap, want + named(kind, value, key) + gap
            spans = [spans[i] for i in torch.randperm(7, generator=gen).tolist()]
            got, vault = f(text, spans, key)
            check.equal(f"{text!r}, spans in random order", got, want)
            check.equal("names in the vault", set(vault), {named(k, v, key)
                                                           for k, v in zip(kinds, values)})
    with check.part("the vault tells nothing without the key", 1):
        check.that(not any(v in name + sealed for v in values for name, sealed in vault.items()),
                   "an original stands in the vault.")
        check.equal("the same vault under another key",
                    len(set(f(text, spans, b"other")[1].values()) & set(vault.values())), 0)
    with check.part("values back", 1):
        back = {name: unseal(sealed, key) for name, sealed in vault.items()}
        check.equal("unsealed", back, {named(k, v, key): v for k, v in zip(kinds, values)})
        check.unchanged("the spans after the call", f, text, spans, key)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. The way back ({points:reidentify}, 8 min)
#
# By hand: the vault holds `{"[IP_0a]": seal("10.0.0.7", key)}`. "From [IP_0a], not [IP_0b]."
# becomes "From 10.0.0.7, not [IP_0b]."
#
# **Common mistake:** one `replace` after the other. What was put back for the first name may
# itself contain the second one, and then it is replaced as well. Rare, until somebody does it on
# purpose.
#
# <details><summary>Hint 1</summary>
#
# `re.sub(pattern, function, text)` calls the function with each match and goes on behind it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A pattern of all names is `"|".join(map(re.escape, vault))`. Without a name it matches
# everywhere: see to the empty vault first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In the function `match[0]` is the name. `unseal` raises the error for the wrong key; let it.
#
# </details>

# %% nbgrader={"solution": "reidentify"}
def reidentify(text: str, vault: dict[str, str], key: bytes) -> str:
    """The text with each name that the vault has replaced by its value, wherever it stands.

    In one pass: what was put back is not searched again. Names that the vault does not have
    stay, names that the text does not have change nothing. With another key than the one the
    values were sealed with, a name in the text raises the ValueError of unseal. No name of
    the vault is the beginning of another one.
    """
    ### BEGIN SOLUTION
    if not vault:
        return text
    names = "|".join(map(re.escape, vault))
    return re.sub(names, lambda match: unseal(vault[match[0]], key), text)
    ### END SOLUTION


# %% nbgrader={"test": "reidentify_visible", "points": 3}
with check.question("reidentify_visible", reidentify) as f:
    vault = {"[IP_0a]": seal("10.0.0.7", b"k"), "[EMAIL_1f]": seal("ana@example.org", b"k")}
    check.equal("one name", f("From [IP_0a], not [IP_0b].", vault, b"k"),
                "From 10.0.0.7, not [IP_0b].", why="the vault does not have [IP_0b].")
    check.equal("two names, one twice", f("[IP_0a][EMAIL_1f] [IP_0a]", vault, b"k"),
                "10.0.0.7ana@example.org 10.0.0.7")
    check.equal("no vault", f("From [IP_0a].", {}, b"k"), "From [IP_0a].")
    check.raises("another key", ValueError, f, "From [IP_0a].", vault, b"x",
                 why="unseal notices it; do not catch the error.")

# %% nbgrader={"test": "reidentify_hidden", "points": 2}
# Hidden checks: values that look like names or hold special characters; wrong keys.
### BEGIN HIDDEN TESTS
with check.question("reidentify_hidden", reidentify) as f:
    for first, second in (("[A_1]", "[B_1]"), ("[B_1]", "[A_1]")):
        vault = {first: seal(f"see {second}", b"k"), second: seal(r"\1 \g<0> $", b"k")}
        check.equal("a value that holds the other name", f(f"{first}, {second}.", vault, b"k"),
                    rf"see {second}, \1 \g<0> $.", why="what was put back is not searched again.")
    gen = check.generator()
    values = {f"[K.{i}*_{i % 3}a]": f"ข{i}[K.{(i + 1) % 9}*_{(i + 1) % 3}a]é" for i in range(9)}
    vault = {name: seal(value, b"secret") for name, value in values.items()}
    for _ in range(10):
        names = [list(values)[i] for i in torch.randint(9, (6,), generator=gen).tolist()]
        got = f(" and ".join([*names, "[K.1+_1a]", "[]"]), vault, b"secret")
        check.equal("random names", got, " and ".join([*map(values.get, names), "[K.1+_1a]", "[]"]))
    for key in (b"", b"Secret", b"secret "):
        check.raises(f"key {key}", ValueError, f, f"{names[0]} {names[1]}", vault, key)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Hidden in a group ({points:k_anonymity}, 8 min)
#
# A table without names can still name people. Date of birth, postcode and sex are known to
# neighbours, and together they single out most of us: 87 % of the people in the United States by
# Sweeney's estimate (2000), 63 % by Golle's (2006). Such fields are **quasi-identifiers**. A table
# is *k*-anonymous if everybody in it shares their quasi-identifiers with at least k − 1 others.
#
# By hand, with quasi-identifiers `plan` and `site`: three rows (S, north), two rows (S, south). The
# groups have 3 and 2 members, so k is 2.
#
# **Common mistake:** counting over all columns. The number of a ticket is unique, so every table
# with tickets would have k = 1.
#
# <details><summary>Hint 1</summary>
#
# The values of a row in the fields of `quasi`, as a tuple, are the name of its group.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `Counter` counts groups. `row[field]` raises the `KeyError` that is asked for; `row.get` would
# hide it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `min(..., default=0)` knows what the minimum of nothing is.
#
# </details>

# %% nbgrader={"solution": "k_anonymity"}
def k_anonymity(rows: list[dict], quasi: tuple[str, ...]) -> int:
    """The size of the smallest group of rows that agree in all fields of `quasi`.

    An empty table gives 0. Without quasi-identifiers all rows are one group. A row in which one
    of the fields is missing raises KeyError. Other fields do not count. Values are texts or
    numbers; they agree if they are equal.
    """
    ### BEGIN SOLUTION
    groups = Counter(tuple(row[field] for field in quasi) for row in rows)
    return min(groups.values(), default=0)
    ### END SOLUTION


# %% nbgrader={"test": "k_anonymity_visible", "points": 3}
with check.question("k_anonymity_visible", k_anonymity) as f:
    rows = [{"ticket": n, "plan": plan, "site": site} for n, (plan, site) in enumerate(
        [("S", "north"), ("S", "south"), ("S", "north"), ("S", "south"), ("S", "north")])]
    check.equal("plan and site", f(rows, ("plan", "site")), 2, why="three in north, two in south.")
    check.equal("plan", f(rows, ("plan",)), 5, why="all five have the plan S.")
    check.equal("ticket", f(rows, ("ticket",)), 1, why="every ticket has its own number.")
    check.equal("nothing is known", f(rows, ()), 5, why="one group of five.")
    pairs = [{"plan": pair[0], "site": pair[1]} for pair in "Sn Sn Ss Ss Mn Mn Mn Ms".split()]
    check.equal("three n of M, one s", f(pairs, ("plan", "site")), 1, why="M and s together are "
                "rare, M alone and s alone are not.")
    check.equal("an empty table", f([], ("plan",)), 0)
    check.raises("no such field", KeyError, f, rows, ("plan", "age"))

# %% nbgrader={"test": "k_anonymity_hidden", "points": 2}
# Hidden checks: random tables, values that run together as text, a field that one row lacks.
### BEGIN HIDDEN TESTS
with check.question("k_anonymity_hidden", k_anonymity) as f:
    gen = check.generator()
    for _ in range(12):
        n = torch.randint(20, 90, (), generator=gen).item()
        table = torch.randint(2, (n, 4), generator=gen)
        rows = [dict(zip("abcd", values)) | {"id": i} for i, values in enumerate(table.tolist())]
        for quasi, columns in ((("a",), [0]), (("c", "a"), [0, 2]), (tuple("abcd"), [0, 1, 2, 3])):
            _, sizes = table[:, columns].unique(dim=0, return_counts=True)
            check.equal(f"{n} rows, {quasi}", f(rows, quasi), sizes.min().item())
    alike = [{"a": "1", "b": "23"}, {"a": "12", "b": "3"}, {"a": "1", "b": "23"}]
    check.equal("1 and 23, 12 and 3", f(alike, ("a", "b")), 1)
    check.equal("1 and '1'", f([{"a": 1}, {"a": "1"}], ("a",)), 1)
    check.raises("one row without the field", KeyError, f, [*alike, {"a": "1"}], ("a", "b"))
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Suppression ({points:suppress_to_k}, 8 min)
#
# If the smallest group is too small, rows have to go, or fields have to become coarser (an age
# band for an age). Here rows go. Whole groups do: dropping one row of a group of two would leave
# somebody quite alone.
#
# By hand, the table above with k = 3: the two rows of the south go, the three of the north stay.
#
# **Common mistake:** keeping k rows of every group. A group that is large enough loses nothing.
#
# <details><summary>Hint 1</summary>
#
# Two passes: count the groups, then keep the rows whose group is large enough.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A list comprehension over `rows` keeps their order by itself. Do not remove from the list that you
# walk through.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A small inner function `group(row)` serves both passes.
#
# </details>

# %% nbgrader={"solution": "suppress_to_k"}
def suppress_to_k(rows: list[dict], quasi: tuple[str, ...], k: int) -> list[dict]:
    """The rows whose group has at least k members, in their order; as few as possible are dropped.

    Groups are those of k_anonymity, so the result has k_anonymity of at least k, or is empty.
    A row is kept as it is, with all its fields, or dropped. A missing field raises KeyError.
    The list `rows` stays as it was.
    """
    ### BEGIN SOLUTION
    def group(row: dict) -> tuple:
        return tuple(row[field] for field in quasi)

    sizes = Counter(map(group, rows))
    return [row for row in rows if sizes[group(row)] >= k]
    ### END SOLUTION


# %% nbgrader={"test": "suppress_to_k_visible", "points": 3}
with check.question("suppress_to_k_visible", suppress_to_k) as f:
    rows = [{"ticket": n, "plan": "S", "site": site} for n, site in enumerate(
        ["north", "south", "north", "south", "north", "west"])]
    def kept(*args):
        return [row["ticket"] for row in f(rows, *args)]
    check.equal("site, k = 3", kept(("site",), 3), [0, 2, 4], why="only north has three rows.")
    check.equal("site, k = 2", kept(("site",), 2), [0, 1, 2, 3, 4], why="in the order of the rows.")
    check.equal("site, k = 1", f(rows, ("site",), 1), rows, why="all groups have one row.")
    check.equal("plan, k = 6", f(rows, ("plan",), 6), rows, why="one group of six.")
    check.equal("plan, k = 7", f(rows, ("plan",), 7), [], why="no group is large enough.")
    check.raises("no such field", KeyError, f, rows, ("age",), 2)

# %% nbgrader={"test": "suppress_to_k_hidden", "points": 2}
# Hidden checks: random tables, equal rows, the list that was handed over.
### BEGIN HIDDEN TESTS
with check.question("suppress_to_k_hidden", suppress_to_k) as f:
    gen = check.generator()
    for case in range(10):
        n, k = torch.randint(20, 60, (), generator=gen).item(), 2 + case
        table = torch.randint(3, (n, 3), generator=gen)
        rows = [dict(zip("abc", values)) for values in table.tolist()]
        same = (table[:, None, :2] == table[None, :, :2]).all(-1).sum(1).tolist()
        want = [row for row, size in zip(rows, same) if size >= k]
        check.equal(f"{n} rows, k = {k}", f(rows, ("a", "b"), k), want)
        check.equal("the rows afterwards", drills_privacy.with_rows(f, rows, ("b", "a"), k),
                    [want, True], why="the list that was handed over stays as it was.")
### END HIDDEN TESTS

# %% [markdown]
# ## 8. What did it cost? ({points:utility_loss}, 6 min)
#
# Protection that destroys the data is easy: delete everything. So each step is measured twice, how
# much it hides and how much use is left. Use is what you need the data for, as numbers where more
# is better: the accuracy of a classifier trained on it, the share of texts that still parse.
#
# By hand: accuracy 0.80 before and 0.60 after is a loss of 0.20 / 0.80 = 0.25.
#
# **Common mistake:** reporting the difference. A fall from 0.10 to 0.05 is not smaller than one
# from 0.90 to 0.80; half is gone.
#
# <details><summary>Hint 1</summary>
#
# Go through `before`: only its measures are in the result.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A measure that is missing afterwards behaves like one that fell to 0.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `after.get(name, 0.0)`, and a condition for the measures that were 0.
#
# </details>

# %% nbgrader={"solution": "utility_loss"}
def utility_loss(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """For each measure of `before`: which share of it is lost, (before − after) / before.

    Measures are at least 0 and more is better. 0.0: nothing is lost, 1.0: all; a gain is
    negative. A measure that `after` lacks is lost: 1.0. A measure that was 0 before gives 0.0,
    whatever came after. Measures that only `after` has are left out. Values are floats.
    """
    ### BEGIN SOLUTION
    return {name: (value - after.get(name, 0.0)) / value if value else 0.0
            for name, value in before.items()}
    ### END SOLUTION


# %% nbgrader={"test": "utility_loss_visible", "points": 3}
with check.question("utility_loss_visible", utility_loss) as f:
    check.equal("0.5 becomes 0.375", f({"accuracy": 0.5}, {"accuracy": 0.375}), {"accuracy": 0.25},
                why="an eighth of a half is a quarter.")
    check.equal("two measures", f({"a": 2.0, "b": 0.25}, {"b": 0.5, "a": 2.0}),
                {"a": 0.0, "b": -1.0}, why="nothing lost; twice as much is a gain of 1.")
    check.equal("not measured any more", f({"a": 0.5}, {}), {"a": 1.0}, why="it is lost.")
    check.equal("was 0", f({"a": 0.0, "b": 0.0}, {"a": 0.5}), {"a": 0.0, "b": 0.0},
                why="nothing could be lost.")
    check.equal("only afterwards", f({}, {"a": 1.0}), {})

# %% nbgrader={"test": "utility_loss_hidden", "points": 2}
# Hidden checks: random measures, some of them 0, missing or new.
### BEGIN HIDDEN TESTS
with check.question("utility_loss_hidden", utility_loss) as f:
    gen = check.generator()
    for _ in range(10):
        old, new = torch.randint(1, 400, (2, 8), generator=gen, dtype=torch.float64) / 16
        before, after = ({f"m{i}": x for i, x in enumerate(v.tolist())} for v in (old, new))
        before["m6"], before["m7"] = 0.0, 0.0
        del after["m5"], after["m6"]
        got = f(before, after | {"new": 3.0})
        check.equal("names", sorted(got), [f"m{i}" for i in range(8)])
        want = [*((1 - new / old).tolist()[:5]), 1.0, 0.0, 0.0]
        check.close("losses", torch.tensor([got[f"m{i}"] for i in range(8)], dtype=torch.float64),
                    torch.tensor(want, dtype=torch.float64))
### END HIDDEN TESTS

# %% [markdown]
# ## 9. Two languages in a sentence ({points:code_switch_index}, 6 min)
#
# "Mein Handy is broken since gestern." Customers mix languages, and filters that ask for *the*
# language of a text throw such customers out. To see them one has to measure them. The
# **code-mixing index** (Das and Gambäck, 2014) asks what share of the words is not in the
# language that has most of them; they print it in per cent, we as a share.
#
# By hand: de de en en de en gives 1 − 3/6 = 0.5, en en en de gives 1 − 3/4 = 0.25. Names and
# numbers have no language (`und`, undetermined): they count neither above nor below.
#
# **Common mistake:** counting the switches. "en de en de" and "en en de de" have the same index: it
# measures how much is mixed, not how often.
#
# <details><summary>Hint 1</summary>
#
# Leave `und` out first, then count.
#
# </details>
# <details><summary>Hint 2</summary>
#
# After that nothing may be left. There is no largest of nothing.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `max(counts.values())` and `counts.total()`.
#
# </details>

# %% nbgrader={"solution": "code_switch_index"}
def code_switch_index(languages: list[str]) -> float:
    """1 minus the share of the most frequent language, of the words whose language is known.

    One label per word; "und" says that it is not known, and such a word does not count at all.
    All other labels are languages. No known word: 0.0. One language: 0.0. The order of the
    words does not matter. A share from 0 to 1, not per cent.
    """
    ### BEGIN SOLUTION
    known = Counter(languages)
    known.pop("und", None)
    return 1 - known.most_common(1)[0][1] / known.total() if known else 0.0
    ### END SOLUTION


# %% nbgrader={"test": "code_switch_index_visible", "points": 3}
with check.question("code_switch_index_visible", code_switch_index) as f:
    check.equal("one language", f(["th", "th", "th"]), 0.0)
    check.equal("en en en de", f(["en", "en", "en", "de"]), 0.25, why="1 − 3/4.")
    check.equal("en de en de", f(["en", "de", "en", "de"]), 0.5, why="1 − 2/4, not 3 switches.")
    check.equal("three languages", f(["es", "en", "de", "en"]), 0.5, why="1 − 2/4.")
    check.equal("with unknown words", f(["und", "en", "und", "en", "und", "en", "de", "und"]), 0.25,
                why="the four unknown words do not count.")
    check.equal("no known word", [f(["und", "und"]), f([])], [0.0, 0.0])

# %% nbgrader={"test": "code_switch_index_hidden", "points": 2}
# Hidden checks: random labels, all orders alike, unknown words added.
### BEGIN HIDDEN TESTS
with check.question("code_switch_index_hidden", code_switch_index) as f:
    gen, names = check.generator(), ["en", "de", "fr", "th", "un"]
    for case in range(30):
        n = torch.randint(1, 40, (), generator=gen).item()
        ids = torch.randint(1 + case % 5, (n,), generator=gen)
        minor = n - torch.bincount(ids).max().item()
        labels = [names[i] for i in ids.tolist()]
        check.close(f"{labels}", f(labels), minor / n, scale=1.0)
        mixed = [*labels, *["und"] * (2 * n)]
        mixed = [mixed[i] for i in torch.randperm(3 * n, generator=gen).tolist()]
        check.close("shuffled, with unknown words", f(mixed), minor / n, scale=1.0)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. Whom do we leave out? ({points:coverage_report}, 6 min)
#
# A data set has its own ideas of who the customers are: those who write, in the languages that the
# crawler found. Compare it with a **reference**, the shares that should be there: customers by
# language, by region, by age band. A ratio of 1 is fair, 0.2 means that a group has a fifth of the
# rows that it should have.
#
# By hand: eight of ten rows are English, two German; the customers are English and German half and
# half. English 0.8 / 0.5 = 1.6, German 0.2 / 0.5 = 0.4.
#
# **Common mistake:** going through the groups of the data. The group that is missing there is the
# one that the report is for.
#
# <details><summary>Hint 1</summary>
#
# The loop goes over `reference`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A `Counter` says 0 for what it has not seen.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Two divisions can fail: by the number of rows, and by a share of 0.
#
# </details>

# %% nbgrader={"solution": "coverage_report"}
def coverage_report(rows: list[dict], field: str, reference: dict[str, float]) -> dict[str, float]:
    """For each group of `reference`: its share of the rows divided by its reference share.

    The group of a row is row[field]; a row without the field raises KeyError. A group without
    rows gives 0.0, and so do all groups of an empty table. Rows of groups that the reference
    does not name have no entry, but count as rows. Groups with a reference share of 0 have
    no entry either. The shares of `reference` are taken as they are.
    """
    ### BEGIN SOLUTION
    counts = Counter(row[field] for row in rows)
    return {group: counts[group] / max(len(rows), 1) / share
            for group, share in reference.items() if share > 0}
    ### END SOLUTION


# %% nbgrader={"test": "coverage_report_visible", "points": 3}
with check.question("coverage_report_visible", coverage_report) as f:
    rows = [{"language": x, "id": i} for i, x in enumerate(["en"] * 6 + ["de"] * 2)]
    check.equal("half and half", f(rows, "language", {"en": 0.5, "de": 0.5}),
                {"en": 1.5, "de": 0.5}, why="0.75 / 0.5 and 0.25 / 0.5.")
    check.equal("a missing group", f(rows, "language", {"en": 0.75, "th": 0.25}),
                {"en": 1.0, "th": 0.0}, why="no row is Thai; German rows count as rows.")
    check.equal("a share of 0", f(rows, "language", {"de": 1.0, "en": 0.0}), {"de": 0.25},
                why="English has no entry, since nothing can be divided by 0.")
    check.equal("an empty table", f([], "language", {"en": 0.5, "de": 0.5}), {"en": 0.0, "de": 0.0})
    check.raises("no such field", KeyError, f, rows, "region", {"north": 1.0})

# %% nbgrader={"test": "coverage_report_hidden", "points": 2}
# Hidden checks: random tables, groups outside of the reference, groups without rows.
### BEGIN HIDDEN TESTS
with check.question("coverage_report_hidden", coverage_report) as f:
    gen = check.generator()
    for case in range(12):
        n = torch.randint(2, 60, (), generator=gen).item() if case else 1
        ids = torch.randint(6 if case else 1, (n,), generator=gen)
        rows = [{"region": f"r{i}", "language": "en"} for i in ids.tolist()]
        shares = torch.randint(1, 9, (8,), generator=gen, dtype=torch.float64) / 16
        shares[1 + case % 5] = 0
        named = {f"r{i}": x for i, x in enumerate(shares.tolist()) if i != 5}
        want = {g: (ids == int(g[1:])).double().mean().item() / x for g, x in named.items() if x}
        got = f(rows, "region", named)
        check.equal("groups", sorted(got), sorted(want))
        check.close("ratios", torch.tensor([got[g] for g in want], dtype=torch.float64),
                    torch.tensor(list(want.values()), dtype=torch.float64), scale=1.0)
    check.raises("one row without the field", KeyError, f, [*rows, {"language": "en"}], "region",
                 named)
### END HIDDEN TESTS

# %% [markdown]
# ## 11. For whom does it work worse? ({points:group_gap}, 20 min)
#
# A model that is right for nine customers in ten may be right for six in ten of those who write
# Thai. The **gap** between the best and the worst group says so, if the groups are large enough.
# With four answers, all right or half wrong is chance; among twenty such groups one will look
# terrible. So groups below 30 rows are reported as too small and are not ranked, and the gap
# comes with an interval.
#
# `interval(k, n)` is given: **Wilson's** 95 % interval of a share, k right of n. For the difference
# of two shares $p$ (the best group's, with interval $l_p, u_p$) and $q$ (the worst one's, with
# $l_q, u_q$), Newcombe (1998) puts both intervals together:
#
# $$\text{low} = p - q - \sqrt{(p - l_p)^2 + (u_q - q)^2}, \qquad
#   \text{high} = p - q + \sqrt{(u_p - p)^2 + (q - l_q)^2}.$$
#
# By hand: 45 of 50 right against 30 of 50. `interval` gives 0.786 to 0.957 and 0.462 to 0.724. The
# gap is 0.9 − 0.6 = 0.3; low = 0.3 − √(0.114² + 0.124²) = 0.132, high = 0.3 + √(0.057² + 0.138²)
# = 0.449. (The pair was picked as the extreme one of several groups, so the interval is a little
# too friendly. With many groups, take a stricter one.)
#
# **Common mistake:** the gap as a ratio. With 0 right in the worst group it divides by zero; and
# leaving that group out hides the very group that matters.
#
# <details><summary>Hint 1</summary>
#
# `group.unique()` is sorted. For each number, `correct[group == number]` are its answers.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Keep share, low and high of each ranked group in a dict: `(k / n, *interval(k, n))`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `math.hypot(a, b)` is √(a² + b²). Of equal shares `max` takes the first; to get the last for the
# worst group, walk backwards: `reversed`.
#
# </details>

# %% nbgrader={"solution": "group_gap"}
def group_gap(correct: Tensor, group: Tensor) -> dict[str, float]:
    """The gap in accuracy between the best and the worst group of at least 30 rows.

    (N,) bool, whether an answer is right, and (N,) int64, a group's number from 0 up -> a dict
    of floats. gap: best share right minus worst. low, high: its 95 % interval by Newcombe's
    formula from `interval`. best, worst: the numbers of these groups; of equally good ones best
    is the lowest number, of equally bad ones worst is the highest. small: how many groups have
    1 to 29 rows; they are never best or worst. With fewer than two groups to rank there is no
    gap: gap, low and high are 0.0, best and worst −1.0. 45 and 30 right of 50 each: 0.3, from
    0.132 to 0.449.
    """
    found = {"gap": 0.0, "low": 0.0, "high": 0.0, "best": -1.0, "worst": -1.0, "small": 0.0}
    ### BEGIN SOLUTION
    shares = {}
    for g in group.unique().tolist():
        k, n = int(correct[group == g].sum()), int((group == g).sum())
        found["small"] += n < 30
        if n >= 30:
            shares[g] = (k / n, *interval(k, n))
    if len(shares) > 1:
        best = max(shares, key=lambda g: shares[g][0])
        worst = min(reversed(shares), key=lambda g: shares[g][0])
        (p, p_low, p_high), (q, q_low, q_high) = shares[best], shares[worst]
        found |= {"best": float(best), "worst": float(worst), "gap": p - q,
                  "low": p - q - math.hypot(p - p_low, q_high - q),
                  "high": p - q + math.hypot(p_high - p, q - q_low)}
    ### END SOLUTION
    return found


# %% nbgrader={"test": "group_gap_visible", "points": 6}
with check.question("group_gap_visible", group_gap) as f:
    answers = drills_privacy.answers  # (number, right, of) of each group -> correct, group
    with check.part("gap and interval", 3):
        got = f(*answers((0, 45, 50), (1, 40, 50), (3, 30, 50)))
        check.equal("keys", sorted(got), ["best", "gap", "high", "low", "small", "worst"])
        check.close("gap of 0.9, 0.8 and 0.6", got["gap"], 0.3)
        check.equal("best and worst", (got["best"], got["worst"]), (0.0, 3.0))
        check.close("low", got["low"], 0.131891, why="0.3 − √(0.114² + 0.124²).")
        check.close("high", got["high"], 0.449299, why="0.3 + √(0.057² + 0.138²).")
    with check.part("small groups", 2):
        got = f(*answers((0, 36, 48), (1, 0, 29), (2, 45, 50), (7, 4, 4)))
        check.close("groups of 48, 29, 50 and 4", got["gap"], 0.15, why="29 and 4 are too few.")
        check.equal("small", got["small"], 2.0, why="two groups have fewer than 30 rows.")
        got = f(*answers((5, 30, 30), (2, 0, 30)))
        check.equal("30 of 30 and 0 of 30", (got["gap"], got["best"], got["small"]),
                    (1.0, 5.0, 0.0), why="30 rows are enough.")
    with check.part("nothing to rank", 1):
        nothing = {"best": -1.0, "gap": 0.0, "high": 0.0, "low": 0.0, "worst": -1.0}
        for groups, small in (([(4, 20, 40)], 0.0), ([(0, 20, 40), (1, 1, 9)], 1.0)):
            check.equal(f"groups {groups}", f(*answers(*groups)), nothing | {"small": small})

# %% nbgrader={"test": "group_gap_hidden", "points": 4}
# Hidden checks: random groups in random order, numbers with holes, ties, no rows.
### BEGIN HIDDEN TESTS
with check.question("group_gap_hidden", group_gap) as f:
    gen = check.generator()
    with check.part("random groups", 2):
        for case in range(15):
            sizes = torch.randint(20, 90, (6,), generator=gen).tolist()
            sizes[0], sizes[1] = 30 + case, 29
            right = [torch.randint(n + 1, (), generator=gen).item() for n in sizes]
            names = torch.randperm(40, generator=gen)[:6].tolist()
            correct, group = drills_privacy.answers(*zip(names, right, sizes))
            order = torch.randperm(len(group), generator=gen)
            table = sorted((k / n, -g, k, n) for g, k, n in zip(names, right, sizes) if n > 29)
            q, p = table[0], table[-1]
            got = f(correct[order], group[order])
            check.close("gap", got["gap"], p[0] - q[0], scale=1.0)
            check.equal("small", got["small"], float(6 - len(table)))
            if len(table) > 1:
                check.equal("best, worst", (got["best"], got["worst"]), (-1.0 * p[1], -1.0 * q[1]))
                (a, b), (c, d) = interval(*p[2:]), interval(*q[2:])
                away = ((p[0] - a) ** 2 + (d - q[0]) ** 2, (b - p[0]) ** 2 + (q[0] - c) ** 2)
                check.close("low", got["low"], p[0] - q[0] - away[0] ** 0.5, scale=1.0)
                check.close("high", got["high"], p[0] - q[0] + away[1] ** 0.5, scale=1.0)
    with check.part("a planted gap", 1):
        correct = torch.rand(3000, generator=gen) < torch.tensor([0.9, 0.5, 0.8]).repeat(1000)
        got = f(correct, torch.tensor([2, 11, 5]).repeat(1000))
        check.that(abs(got["gap"] - 0.4) < 0.1 and got["low"] > 0.3 and got["high"] < 0.5,
                   f"0.9 and 0.5 were planted, the gap is {got['gap']:.3f}.")
        check.that(got["low"] < got["gap"] < got["high"], "the gap lies in its interval.")
    with check.part("ties and no rows", 1):
        got = f(*drills_privacy.answers((8, 40, 80), (1, 30, 40), (3, 20, 40), (2, 60, 80)))
        check.equal("two best, two worst", (got["best"], got["worst"]), (1.0, 8.0))
        got = f(*drills_privacy.answers((6, 40, 80), (1, 20, 40)))
        check.equal("all alike", (got["best"], got["worst"], got["gap"]), (1.0, 6.0, 0.0))
        got = f(torch.zeros(0, dtype=torch.bool), torch.zeros(0, dtype=torch.int64))
        check.equal("no rows", (got["small"], got["best"], got["high"]), (0.0, -1.0, 0.0))
### END HIDDEN TESTS

# %% [markdown]
# ## 12. A data card ({points:data_card}, 12 min)
#
# A data set without a card is a file that somebody found. The card says what it is for, who may use
# it, what was done about personal data, where its limits are, and whom to ask. Those are **facts**:
# a person has to state them. How many documents it has, in which languages and from which time, are
# **counts**: nobody should type them, because typed numbers are those of an earlier version.
#
# By hand: two documents, "ab" and "é", have 4 bytes, since é takes two in UTF-8.
#
# **Common mistake:** letting what was typed win over what was counted. Refuse it instead.
#
# <details><summary>Hint 1</summary>
#
# Build the dict of counts first. Its keys are the names that no fact may have.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `dict(Counter(row["language"] for row in rows))`; `min(dates, default="")`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Two reasons for `ValueError`: a name of `REQUIRED` whose fact is missing or blank
# (`facts.get(name, "").strip()`), and a fact that is named like a count. At the end
# `{**facts, **counts}`.
#
# </details>

# %% nbgrader={"solution": "data_card"}
def data_card(rows: list[dict], facts: dict[str, str]) -> dict:
    """All facts as they are, and what is counted in the rows, in one dict.

    A row has text, language, source and date (ISO, as "2025-03-09"). Counted: documents; bytes,
    the UTF-8 length of all texts; languages and sources, each a dict of how many documents; from
    and to, the earliest and the latest date, "" without rows; duplicates, how many documents
    have the very text of an earlier one. Numbers are ints.
    ValueError if a fact of REQUIRED is missing or blank (empty or white space), or if a fact has
    the name of a count.
    """
    ### BEGIN SOLUTION
    dates, texts = [row["date"] for row in rows], [row["text"] for row in rows]
    counts = {"documents": len(rows), "bytes": sum(len(text.encode()) for text in texts),
              "duplicates": len(texts) - len(set(texts)),
              "from": min(dates, default=""), "to": max(dates, default="")}
    counts |= {f"{x}s": dict(Counter(row[x] for row in rows)) for x in ("language", "source")}
    missing = [name for name in REQUIRED if not facts.get(name, "").strip()]
    typed = set(counts) & set(facts)
    if missing or typed:
        raise ValueError(f"Missing: {missing}; not to be typed: {typed}.")
    return {**facts, **counts}
    ### END SOLUTION


# %% nbgrader={"test": "data_card_visible", "points": 6}
with check.question("data_card_visible", data_card) as f:
    facts = {name: f"the {name}" for name in REQUIRED}
    rows = [{"text": text, "language": language, "source": "crm", "date": date}
            for text, language, date in (("ab", "en", "2025-03-09"), ("é", "fr", "2024-12-31"),
                                         ("ab", "en", "2025-01-01"))]
    with check.part("counts", 3):
        card = f(rows, facts)
        for name, want, why in (
            ("documents", 3, "three rows."), ("bytes", 6, "2 + 2 + 2: é has two bytes."),
            ("languages", {"en": 2, "fr": 1}, "documents, not shares."),
            ("sources", {"crm": 3}, "documents, not names alone."),
            ("from", "2024-12-31", "the earliest date, wherever it stands."),
            ("to", "2025-03-09", "the latest date."), ("duplicates", 1, "the third repeats one.")):
            check.equal(name, card.get(name), want, why=why)
    with check.part("facts", 1):
        card = f(rows, facts | {"thanks": "the night shift"})
        check.equal("all facts", {k: card.get(k) for k in [*facts, "thanks"]},
                    facts | {"thanks": "the night shift"}, why="further facts stay.")
    with check.part("refused", 2):
        for name in REQUIRED:
            rest = {k: v for k, v in facts.items() if k != name}
            check.raises(f"without {name}", ValueError, f, rows, rest)
            check.raises(f"{name} is blank", ValueError, f, rows, facts | {name: " "})
        check.raises("documents as a fact", ValueError, f, rows, facts | {"documents": "3"},
                     why="what is counted is not typed.")

# %% nbgrader={"test": "data_card_hidden", "points": 4}
# Hidden checks: random rows; no rows; every count as a fact; the arguments afterwards.
### BEGIN HIDDEN TESTS
with check.question("data_card_hidden", data_card) as f:
    gen, facts = check.generator(), {name: name[:2] for name in REQUIRED}
    names = ["documents", "bytes", "languages", "sources", "from", "to", "duplicates"]
    with check.part("counts", 2):
        for case in range(8):
            table = torch.randint(5, (3 + 4 * case, 4), generator=gen).tolist()
            rows = [{"text": "aé😀ข"[:a], "language": "xyzuv"[b], "source": f"s{c}", "id": "7",
                     "date": f"20{20 + d}-0{1 + a}-1{b}"} for a, b, c, d in table]
            card, want = f(rows, facts), dict.fromkeys(names, 0) | {"languages": {}, "sources": {}}
            dates, seen = sorted(row["date"] for row in rows), set()
            want |= {"documents": len(table), "from": dates[0], "to": dates[-1]}
            for (a, _, _, _), row in zip(table, rows):
                want["bytes"] += [0, 1, 3, 7, 10][a]
                want["duplicates"] += row["text"] in seen
                seen |= {row["text"]}
                for key in ("language", "source"):
                    want[key + "s"][row[key]] = want[key + "s"].get(row[key], 0) + 1
            check.equal(f"{len(rows)} rows", {name: card.get(name) for name in names}, want)
    with check.part("no rows", 1):
        card = f([], facts | {"notes": ""})
        check.equal("no rows", card, facts | {"notes": "", "documents": 0, "bytes": 0, "from": "",
                                              "to": "", "languages": {}, "sources": {},
                                              "duplicates": 0})
    with check.part("refused, unchanged", 1):
        for count in names:
            check.raises(f"{count} as a fact", ValueError, f, rows, facts | {count: "1"})
        check.raises("a tab for a fact", ValueError, f, rows, facts | {"limits": "\t\n"})
        _, same = drills_privacy.with_rows(f, rows, facts)
        check.that(same, "the rows were changed.")
        check.equal("the facts afterwards", facts, {name: name[:2] for name in REQUIRED})
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Beside the libraries
#
# No points from here on; everything below runs on *your* functions. Two libraries are in wide use:
# `phonenumbers`, Google's tables of the world's numbering plans, and `python-stdnum`, the check
# digits and formats of a few hundred kinds of numbers. `glassbox.privacy_libraries` puts them
# together with Python's `ipaddress`: a finder made of well-kept parts. In the last line
# `phonenumbers` is asked for all that is *possible*, not only for what the plans know.
#
# Before you look: they know far more countries than you. Where will they be worse?

# %% tags=["demo"]
try:
    display(drills_privacy.beside(find_pii))
except NotImplementedError:
    print("Write find_pii first.")
except ImportError as error:
    print(error)

# %% [markdown]
# A library answers the question that it was made for. `phonenumbers` knows which numbers are in
# use, so it turns down some of ours, which stand in ranges that nobody is given; asked for all that
# is possible, it calls hundreds of other numbers telephones. `python-stdnum` checks a number that
# you hand to it. Where the number begins, whether `#` stands before it, and which of two kinds a
# number is that passes both checks, is left to you: a card of 15 digits is taken for a device.
#
# ## Does your finder work for everybody?
#
# A tool of the audit can be unfair itself. Below are 100 sentences in each of five languages and in
# a system's log, each with one value. Your `group_gap` looks at your finder, and at one with a
# widespread slip: `\b` for the edges, in Python's Unicode mode. Before you look: who is left out?

# %% tags=["demo"]
from glassbox.telecom.personal import LANGUAGES


def with_word_edges(text: str) -> list[Span]:
    """A finder of e-mail and IPv4 addresses with the edges that one finds on the web."""
    patterns = {"email": r"\b[\w.%+-]+@[\w.-]+\.[A-Za-z]{2,}\b", "ip": r"\b\d+\.\d+\.\d+\.\d+\b"}
    return sorted(Span(*m.span(), kind) for kind, pattern in patterns.items()
                  for m in re.finditer(pattern, text))


def who(found: dict[str, float]) -> str:
    """A gap in words."""
    if found["best"] < 0:
        return "no two groups to compare"
    best, worst = LANGUAGES[int(found["best"])], LANGUAGES[int(found["worst"])]
    return (f"gap {found['gap']:.2f} ({found['low']:.2f} to {found['high']:.2f}), best {best}, "
            f"worst {worst}")


try:
    for name, finder in (("yours", find_pii), ("with \\b", with_word_edges)):
        print(f"{name:<8}", who(group_gap(*drills_privacy.by_language(finder, ("email", "ip")))))
except NotImplementedError:
    print("Write find_pii and group_gap first.")

# %% [markdown]
# ## What hiding costs
#
# 200 tickets of 80 customers. Four things one may want to know of them: how many customers wrote
# more than once, how many tickets there are, how many words are left as they were, and whom to call
# back. Which of them do you lose by redaction, which by pseudonyms, and which by nothing?

# %% tags=["demo"]
try:
    tickets = drills_privacy.tickets(200, customers=80)
    spans = [find_pii(text) for text in tickets]
    key = b"of this notebook only; take os.urandom(32) for real data"
    named = [pseudonymize(text, some, key) for text, some in zip(tickets, spans)]
    versions = {"as they came": tickets, "redacted": [redact(*x) for x in zip(tickets, spans)],
                "pseudonyms": [text for text, _ in named],
                "and back": [reidentify(text, vault, key) for text, vault in named]}
    uses = {name: drills_privacy.uses(texts, tickets) for name, texts in versions.items()}
    for name, found in uses.items():
        lost = utility_loss(uses["as they came"], found)
        print(f"{name:<13}", ", ".join(f"{x} lost {share:4.0%}" for x, share in lost.items()))
    print(f"\n{tickets[0]}\n{named[0][0]}\n{versions['redacted'][0]}")
except NotImplementedError:
    print("Write find_pii, redact, pseudonymize, reidentify and utility_loss first.")

# %% [markdown]
# ## The audit
#
# The course's corpus with planted defects, 600 documents: what does it hold that is personal, how
# far does it hide people, whom does it leave out, in which state would you hand it on? The truth
# about it is known, so your audit can be audited. The card at its end is yours to fill in: change
# `purpose`, `limits` and `personal_data` until you would sign it. A licence is a question for
# the people who own the texts; these are generated, and yours.

# %% tags=["demo"]
import json

from glassbox.telecom.defects import planted

data = planted(0)
rows = data.rows
customers = {"en": 0.6, "de": 0.1, "es": 0.05, "fr": 0.05, "th": 0.15, "en+th": 0.03, "en+hi": 0.02}
try:
    # 1. personal data
    spans = [find_pii(row["text"]) for row in rows]
    kinds = Counter(span.kind for some in spans for span in some)
    right = sum(set(some) == set(data.spans.get(row["id"], [])) for row, some in zip(rows, spans))
    print(f"{kinds.total()} values in {sum(map(bool, spans))} documents:", dict(kinds))
    print(f"exactly as planted in {right} of {len(rows)} documents")
    clean = [row | {"text": redact(row["text"], some)} for row, some in zip(rows, spans)]

    # 2. a table without texts can name people, too
    table = [row | {"year": row["date"][:4], "month": row["date"][:7]} for row in clean]
    for quasi in (("language",), ("language", "source"), ("language", "source", "year"),
                  ("language", "source", "month")):
        kept = suppress_to_k(table, quasi, 5)
        print(f"k of {', '.join(quasi)}: {k_anonymity(table, quasi)}; for k = 5 "
              f"{len(table) - len(kept)} rows go")

    # 3. who is there, and who mixes languages
    report = coverage_report(clean, "language", customers)
    print("coverage", {name: round(ratio, 2) for name, ratio in report.items()})
    mixed = [code_switch_index(drills_privacy.scripts(row["text"])) for row in clean]
    top = max(range(len(rows)), key=mixed.__getitem__)
    print(f"Thai and Latin words mixed in {sum(x > 0.2 for x in mixed)} documents; most: "
          f"{clean[top]['text'][:70]!r}")

    # 4. the card
    card = data_card(clean, {
        "name": "Northline texts, planted", "version": "0.1 of seed 0", "licence": "generated; MIT",
        "purpose": "to practise audits", "contact": "you",
        "personal_data": f"{kinds.total()} values of {len(kinds)} kinds redacted by rules; names "
                         "of people and streets are still there",
        "limits": "duplicates, boilerplate, spam and stale prices are still in it (lab 10)",
    })
    print(json.dumps(card, indent=1, ensure_ascii=False))
except NotImplementedError:
    print("Write all functions above; the audit uses every one.")

# %% [markdown]
# Two things that no function above can tell you. Redaction took the values and left the story:
# "the only dentist in Ferry Gate" needs no number to be known. And *k* protects against being
# singled out, not against being told: if all five in a group owe money, everybody in it does.
#
# ## Scale: a million texts
#
# A finder that is right on 200 texts meets other texts in a million. At scale M or L this cell runs
# your `find_pii` and `redact` over a million generated texts on all cores, in chunks, so that no
# more than a few thousand are in memory; at S it estimates how long that would take. It has no use
# for a GPU: start the notebook with the environment variable `GLASSBOX_SCALE` set to M, and with
# `GLASSBOX_TEXTS` for another number. `run_record.json` keeps what was measured.

# %% tags=["demo"]
import multiprocessing
import os
import time

CHUNK = 2_000
n_texts = int(os.environ.get("GLASSBOX_TEXTS") or 1_000_000)
cores = os.cpu_count() or 1


def stress(first: int) -> Counter:
    """One chunk: how many values were found, made up and missed, by kind; characters read, kept."""
    told = Counter()
    for number in range(first, min(first + CHUNK, n_texts)):
        text, true = personal("stress", number)
        found = find_pii(text)
        true, got = set(true), set(map(tuple, found))
        for name, spans in (("found", got & true), ("made up", got - true), ("missed", true - got)):
            told.update(f"{name} {kind}" for _, _, kind in spans)
        told.update({"texts": 1, "characters": len(text), "left": len(redact(text, found))})
    return told


try:
    begun = time.process_time()
    for number in range(300):
        text, _ = personal("estimate", number)
        redact(text, find_pii(text))
    each = (time.process_time() - begun) / 300
    print(f"{n_texts:,} texts: about {n_texts * each / 60:.0f} minutes of one core, "
          f"{n_texts * each / 60 / cores:.0f} on {cores}")
    if scale.name != "S" and "fork" in multiprocessing.get_all_start_methods():
        from tqdm.auto import tqdm

        begun, total = time.perf_counter(), Counter()
        with multiprocessing.get_context("fork").Pool(cores) as pool:
            chunks = range(0, n_texts, CHUNK)
            for told in tqdm(pool.imap_unordered(stress, chunks), total=len(chunks)):
                total += told
        seconds = time.perf_counter() - begun
        for kind in PII:
            hits, extra, missed = (total[f"{x} {kind}"] for x in ("found", "made up", "missed"))
            print(f"{kind:<12} F1 {2 * hits / max(2 * hits + extra + missed, 1):.6f}, "
                  f"{missed} missed, {extra} made up")
        print(f"{total['texts'] / seconds:,.0f} texts a second")
        result = {"seconds": seconds, "cores": cores} | dict(total)
        print("Written to", scale.record("lab11_privacy", result))
except NotImplementedError:
    print("Write find_pii and redact first.")
