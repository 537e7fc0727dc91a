"""The mistake bank of lab 11: what learners get wrong, what they read, and other right versions."""

import hashlib
import hmac
import ipaddress
import math
import re
from collections import Counter, defaultdict
from itertools import groupby, pairwise

import torch

from autograder.bank import Bank, call, drill
from glassbox import drills_privacy, privacy
from glassbox.bank import made
from glassbox.drills_privacy import seal, unseal
from glassbox.privacy import interval
from glassbox.telecom.personal import (
    CARDS,
    CHECK_CHARACTERS,
    COUNTRIES,
    MOBILE,
    PII,
    PRIORITY,
    Span,
)

bank = Bank("lab11_privacy")


def span(start, end, kind):
    """A span as a probe holds it."""
    return made(Span, start, end, kind)


# --- luhn_valid ------------------------------------------------------------------------------

bank.probe("luhn_valid", *map(call, ("18", "81", "59", "042", "79927398713", "79927398710", "1234",
                                     "4242424242424242", "0", "7", "", "4 2", "4242-4242", "¹8",
                                     "١٨", "18\n", "x")))  # fmt: skip


def _luhn(digits, first=1, nine=True, keep="0123456789"):
    """Luhn's sum modulo 10 is 0; the digit at `first` from the right is the first to be doubled."""
    total = 0
    for place, digit in enumerate(digits[::-1]):
        value = int(digit)
        if place % 2 == first:
            value = 2 * value - (9 if nine and value > 4 else 0)
        total += value
    return total % 10 == 0


def _clean(digits):
    return digits != "" and all(c in "0123456789" for c in digits)


@bank.wrong("luhn_valid", "You double from the left: right for an even number of digits only.")
def doubled_from_the_left(digits):
    total = 0
    for place, digit in enumerate(digits):
        value = int(digit) * (2 - place % 2) if _clean(digits) else 0
        total += value - 9 * (value > 9)
    return _clean(digits) and total % 10 == 0


@bank.wrong("luhn_valid", "You double the last digit, the third-last and so on; it is the others.")
def last_digit_doubled(digits):
    return _clean(digits) and _luhn(digits, first=0)


@bank.wrong("luhn_valid", "Nothing is taken off where doubling gives more than 9.")
def no_nine_taken_off(digits):
    return _clean(digits) and _luhn(digits, nine=False)


@bank.wrong("luhn_valid", "You add all digits and double none.")
def nothing_doubled(digits):
    return _clean(digits) and sum(map(int, digits)) % 10 == 0


@bank.wrong("luhn_valid", "The empty text is no number: False.")
def empty_is_valid(digits):
    return digits == "" or (_clean(digits) and _luhn(digits))


@bank.wrong("luhn_valid", "Separators are not allowed here; you take them out first.")
def separators_dropped(digits):
    kept = re.sub("[ .-]", "", digits)
    return _clean(kept) and _luhn(kept)


@bank.wrong("luhn_valid", "Other characters are not skipped: a text that holds one is False.")
def others_dropped(digits):
    kept = re.sub("[^0-9]", "", digits)
    return kept != "" and _luhn(kept)


@bank.wrong("luhn_valid", "isdigit() also says yes to ¹ and to digits of other scripts.")
def any_digit(digits):
    return digits.isdigit() and _luhn(digits)


@bank.wrong("luhn_valid", "The check raises an error for a text that is no number; it is False.")
def raises_for_letters(digits):
    return _luhn(digits)


@bank.wrong(
    "luhn_valid", "You look for a sum that ends with the check digit; with it, it ends on 0."
)
def compared_with_the_digit(digits):
    return _clean(digits) and _sum_without_last(digits) % 10 == int(digits[-1])


def _sum_without_last(digits):
    return sum(int("0246813579"[int(d)]) if i % 2 == 0 else int(d)
               for i, d in enumerate(digits[-2::-1]))  # fmt: skip


@bank.right("luhn_valid")
def by_complement(digits):
    return _clean(digits) and -_sum_without_last(digits) % 10 == int(digits[-1])


@bank.right("luhn_valid")
def by_slices(digits):
    if not digits or set(digits) - set("0123456789"):
        return False
    doubled = "".join(str(2 * int(d)) for d in digits[-2::-2])
    return sum(map(int, digits[::-2])) % 10 == -sum(map(int, doubled)) % 10


# --- find_pii --------------------------------------------------------------------------------

PROBES = {
    "email": [
        "Write to anna.b+sim2@care.example.org.", "q@example.org LIAM@EXAMPLE.COM",
        "y_usuf-x%ext@a-b.example.net", "ติดต่อnok@example.orgได้เลย", "root@localhost",
        "radio-lib@2.41.0", "447700900123@ims.example.net", "Dr.@example.org",
    ],
    "phone": [
        "Call +44 7700 900123.", "+447700900123", "07700900123", "07700 900123",
        "0044 7700 900123", "+33 (0)6 39 98 01 23", "06.39.98.01.23", "030/23125123",
        "(020) 7946 0123", "+1 (415) 555-0123", "212-555-0123", "(415)555-0123", "0800 11 11",
        "03.03.2026 07:15", "0.20.7946.0123", "4155550123", "INC-07700900123", "0123456789012",
    ],
    "ip": [
        "Host 192.0.2.7.", "255.255.255.255", "192.0.2.256", "999.999.999.999", "1.2.3.4.5",
        "v1.2.3.4", "192.0.2.7:443", "192.0.2.0/24", "192.0.02.7", "2001:db8::7",
        "2001:0DB8:0:0:1:2:3:4", "2001:db8::", "It was 2001:db8::7: no answer", "12:30:45",
        "02:00:5e:10:00:a1", "core::session", "2001:db8:1:2:3:4:5:6:7", "2001:db8::1::2",
    ],
    "imsi": [
        "001011234567890", "001 01 1234567890", "262-01-1234567890", "001012345678902",
        "705011234567890", "00101123456789", "0010112345678901", "SUB-001011234567890",
    ],
    "imei": [
        "004400123456780", "00-440012-345678-0", "00 440012 345678 0", "004400123456781",
        "00-440012-345678-1", "0044001234567801", "001012345678902",
    ],
    "msisdn": [
        "447700900123", "33639980123", "491713920012", "+447700900123", "44770090012",
        "4477009001234", "571234567890", "#447700900123",
    ],
    "iccid": [
        "8999901234567890124", "8999 9012 3456 7890 124", "89999012345678901234",
        "8999901234567890125", "8999 9012 3456 7890 125", "899990123456789011",
    ],
    "card": [
        "4242424242424242", "4242 4242 4242 4242", "5105-1051-0510-5100", "378282246310005",
        "3782 822463 10005", "2223003122003222", "3530111333300000", "4242424242424243",
        "9999999999999995", "4242424242424242426", "#4242424242424242",
    ],
    "national_id": [
        "131052-930V", "131052A930V", "131052+930V.", "131052-930T", "131052-9303", "131352-9309",
        "321052-9304", "131052B930V", "131052-930v", "131052930V", "X131052-930V",
    ],
}  # fmt: skip
WHOLE = [
    "447700900123@example.net", "a@example.org 192.0.2.7 b@example.org",
    "001012345678902 001012345678901", "378282246310005, 004400123456780",
    "192.0.2.7@example.org, 192.0.2.7", "nothing here, v1.2.3", "",
]  # fmt: skip
bank.probe(
    "find_pii",
    *(drill(drills_privacy.of_kind, kind, texts) for kind, texts in PROBES.items()),
    drill(drills_privacy.everything, WHOLE),
)
BEFORE, AFTER = (r"(?<![\w#+])(?<![^\W_][./-])", r"(?![\w])(?![./:-][^\W_])")
PORT = r"(?!\w)(?![./-][^\W_])(?!:[^\W\d_])"
LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
OCTET = r"(?:25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
GROUPED = {  # groups with the same sign between them
    "imsi": (r"\d{15}", r"\d{3}(?P<i>[ -])\d{2}(?P=i)\d{10}"),
    "imei": (r"\d{15}", r"\d{2}(?P<e>[ -])\d{6}(?P=e)\d{6}(?P=e)\d"),
    "iccid": (r"\d{19,20}", r"\d{4}(?P<s>[ -])\d{4}(?P=s)\d{4}(?P=s)\d{4}(?P=s)\d{3,4}"),
    "card": (r"\d{15,16}", r"\d{4}(?P<c>[ -])(?:\d{4}(?P=c)\d{4}(?P=c)\d{4}|\d{6}(?P=c)\d{5})"),
}  # fmt: skip


def _bare(value):
    return value.replace(" ", "").replace("-", "")


def _checked(value):
    return _luhn(_bare(value))


def _is_ip(value):
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True


def _is_card(value):
    number = _bare(value)
    return _checked(value) and any(
        len(number) == n and low <= number[: len(low)] <= high for low, high, n in CARDS
    )


def _is_phone(value, least=2, few=(9, 10), many=(12, 11)):
    far = value.startswith(("+", "00"))
    value = value.replace("(0)", " ")
    value = value[2:] if value.startswith("00") else value
    groups = re.findall(r"\d+", value)
    n, inner = len("".join(groups)), groups[2:] if far else groups
    return few[not far] <= n <= many[not far] and all(len(g) >= least for g in inner)


def _is_code(value, signs="-+A", check=True, dates=True):
    day, month = int(value[:2]), int(value[2:4])
    rest = int(value[:6] + value[-4:-1]) % 31
    return (value[6] in signs and (not check or CHECK_CHARACTERS[rest] == value[-1])
            and (not dates or (0 < day < 32 and 0 < month < 13)))  # fmt: skip


PHONE = (
    r"(?:\((?:0[1-9]\d*|[2-9]\d\d)\)[ ./-]?|0[1-9]\d*[ ./-]?)\d+(?:[ ./-]\d+)*"
    r"|(?:\+|00[ ./-]?)[1-9]\d*[ ./-]?(?:\(\d+\)[ ./-]?)?\d+(?:[ ./-]\d+)*"
)
AMERICAN = r"(?:\([2-9]\d\d\)[ ./-]?|[2-9]\d\d[ ./-])\d{3}[ ./-]\d{4}"
RULES = {
    "email": [(rf"\w(?:[\w%+-]|\.(?!\.))*(?<=\w)@(?:{LABEL}\.)+[a-zA-Z]{{2,}}", None)],
    "phone": [(AMERICAN, None), (PHONE, _is_phone)],
    "ip": [(rf"{OCTET}(?:\.{OCTET}){{3}}", None, PORT),
           (r"(?<!:)[\da-fA-F:]*(?:[\da-fA-F]|::)", _is_ip)],
    "imsi": [(p, lambda v: v.startswith(COUNTRIES)) for p in GROUPED["imsi"]],
    "imei": [(p, _checked) for p in GROUPED["imei"]],
    "msisdn": [(rf"{low}\d{{{n - len(low)}}}", None) for low, n in MOBILE.items()],
    "iccid": [(p, lambda v: v.startswith("89") and _checked(v)) for p in GROUPED["iccid"]],
    "card": [(p, _is_card) for p in GROUPED["card"]],
    "national_id": [(r"\d{6}[-+A-Z]\d{3}[\dA-Z]", _is_code)],
}  # fmt: skip
"""By kind: pattern, what must hold of the value, the edge after it if it is another one."""


def _spans(text, rules=RULES, before=BEFORE, after=AFTER, flags=re.ASCII):
    """All that the rules find, kinds in the order of PRIORITY."""
    found = []
    for kind in PRIORITY:
        for pattern, holds, *edge in rules.get(kind, ()):
            ends = edge[0] if edge and after == AFTER else after
            for match in re.finditer(f"{before}(?:{pattern}){ends}", text, flags):
                if match[0] and (holds is None or holds(match[0])):
                    found.append(Span(*match.span(), kind))
    return found


def _alone(spans, key=lambda s: s.start - s.end):
    """Those that overlap none that comes before it by `key`; in the order of their starts."""
    kept = []
    for one in sorted(spans, key=key):
        if not any(one.start < other.end and other.start < one.end for other in kept):
            kept.append(one)
    return sorted(kept)


def _with(text, **changed):
    """What is found with some kinds by other rules."""
    return _alone(_spans(text, RULES | changed))


def _edge(**changed):
    """A finder with other edges."""
    return lambda text: _alone(_spans(text, **changed))


@bank.right("find_pii")
def by_named_groups(text):
    return _with(text)


@bank.right("find_pii")
def the_reference(text):
    return privacy.find(text)


@bank.wrong("find_pii", "Letters of Thai become part of an address: without re.ASCII \\w takes "
            "every script.")  # fmt: skip
def all_scripts(text):
    email = [(r"[\w.%+-]+@(?:[\w-]+\.)+[a-zA-Z]{2,}(?!\w)", None)]
    others = _spans(text, {k: v for k, v in RULES.items() if k != "email"})
    loose = _spans(text, {"email": email}, before=r"(?<![\w.%+-])", after="", flags=0)
    return _alone([s for s in loose if text[s.end - 1].isascii()] + others)


@bank.wrong("find_pii", "\\b is no edge here: in Python's Unicode mode a value that touches a Thai "
            "letter is lost, and behind a hyphen one too many is found.")  # fmt: skip
def word_edges(text):
    return _alone(_spans(text, before=r"(?:\b|(?=[+(]))", after=r"\b", flags=0))


@bank.wrong("find_pii", "The name of an address may hold + and %; you stop at them.")
def no_plus_in_names(text):
    name = r"(?<![+%])\w(?:[\w-]|\.(?!\.))*(?<=\w)"
    return _with(text, email=[(rf"{name}@(?:{LABEL}\.)+[a-zA-Z]{{2,}}", None)])


@bank.wrong("find_pii", "The full stop after an e-mail address belongs to the sentence.")
def full_stop_in_the_address(text):
    longer = [(r"[^\s<>\"]+@[^\s<>\"]+\.[^\s<>\"]+", None)]
    rest = {k: v for k, v in RULES.items() if k != "email"}
    return _alone(_spans(text, {"email": longer}, before=r"(?<!\S)", after="") + _spans(text, rest))


@bank.wrong("find_pii", "A domain has two parts or more: root@localhost is no address.")
def one_label(text):
    name = r"\w(?:[\w%+-]|\.(?!\.))*(?<=\w)"
    return _with(text, email=[(rf"{name}@(?:{LABEL}\.)*[a-zA-Z][a-zA-Z-]*(?:\d+)?", None)])


@bank.wrong("find_pii", "The last part of a domain is letters only: lib@2.41.0 is a version.")
def any_domain(text):
    name = r"\w(?:[\w%+-]|\.(?!\.))*(?<=\w)"
    return _with(text, email=[(rf"{name}@(?:{LABEL}\.)+[a-zA-Z\d]+", None)])


@bank.wrong("find_pii", "Addresses are also written in capitals.")
def small_letters_only(text):
    return _with(text, email=[(r"[a-z0-9_](?:[a-z0-9_%+-]|\.(?!\.))*(?<=\w)@(?:[a-z0-9](?:[a-z0-9-]*"
                               r"[a-z0-9])?\.)+[a-z]{2,}", None)])  # fmt: skip


@bank.wrong("find_pii", "Right for +44 7700 900123 and the like; the other forms of phone numbers "
            "are missed.")  # fmt: skip
def one_phone_format(text):
    return _with(text, phone=[(r"\+\d{1,3}(?: \d{2,})+", _is_phone)])


@bank.wrong("find_pii", "Only numbers with + are found; 00 and a single 0 begin numbers, too.")
def only_with_plus(text):
    return _with(
        text, phone=[(r"\+[1-9]\d*[ ./-]?(?:\(\d+\)[ ./-]?)?\d+(?:[ ./-]\d+)*", _is_phone)]
    )


@bank.wrong("find_pii", "A phone number in groups of 3-3-4 needs neither 0 nor plus before it.")
def no_american_numbers(text):
    return _with(text, phone=[(PHONE, lambda v: _is_phone(v) and not re.fullmatch(AMERICAN, v))])


@bank.wrong(
    "find_pii", "The (0) of +33 (0)6 is not dialled and does not count as a digit or group."
)
def zero_in_brackets_counted(text):
    def holds(value):
        return "(0)" not in value and _is_phone(value)

    return _with(text, phone=[RULES["phone"][0], (PHONE, holds)])


@bank.wrong("find_pii", "Numbers in brackets are missed: (020) 7946 0123.")
def no_brackets(text):
    plain = r"0[1-9]\d*(?:[ ./-]\d+)*|(?:\+|00[ ./-]?)[1-9]\d*[ ./-]?\d+(?:[ ./-]\d+)*"
    american = r"[2-9]\d\d[ ./-]\d{3}[ ./-]\d{4}"
    return _with(text, phone=[(american, None), (plain, _is_phone)])


@bank.wrong("find_pii", "You do not count the digits of a phone number: 0800 11 11 has 8, too few.")
def phones_of_any_length(text):
    def holds(value):
        return _is_phone(value, few=(5, 5), many=(99, 99))

    return _with(text, phone=[RULES["phone"][0], (PHONE, holds)])


@bank.wrong("find_pii", "A group of one digit in a phone number: 0.20.7946.0123 is none.")
def groups_of_one(text):
    loose = PHONE.replace("0[1-9]", "0[ ./-]?[1-9]")
    return _with(text, phone=[RULES["phone"][0], (loose, lambda v: _is_phone(v, least=1))])


@bank.wrong("find_pii", "An American number is never bare: ten digits alone are no phone number.")
def bare_american(text):
    return _with(text, phone=[(r"[2-9]\d{9}", None), *RULES["phone"]])


@bank.wrong("find_pii", "999.999.999.999 is not an address: each number is 255 or less.")
def any_octets(text):
    loose = (r"(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}", None, PORT)
    return _with(text, ip=[loose, RULES["ip"][1]])


@bank.wrong("find_pii", "An address has no leading zeros: 192.0.02.7 is none.")
def leading_zeros(text):
    octet = r"(?:25[0-5]|2[0-4]\d|[01]?\d?\d)"
    return _with(text, ip=[(rf"{octet}(?:\.{octet}){{3}}", None, PORT), RULES["ip"][1]])


@bank.wrong("find_pii", "Part of a longer number: 1.2.3.4.5 is a version, 192.0.2.0/24 a network.")
def part_of_a_longer_number(text):
    return _alone(_spans(text, before=r"(?<![\w#+])", after=r"(?!\w)"))


@bank.wrong("find_pii", "IPv6 addresses are missed.")
def no_ipv6(text):
    return _with(text, ip=RULES["ip"][:1])


@bank.wrong("find_pii", "IPv6 addresses with :: are missed.")
def no_short_ipv6(text):
    return _with(text, ip=[RULES["ip"][0], (r"[\da-fA-F]{1,4}(?::[\da-fA-F]{1,4}){7}", None)])


@bank.wrong("find_pii", "The port is no part of an address.")
def port_in_the_span(text):
    return _with(text, ip=[(rf"{OCTET}(?:\.{OCTET}){{3}}(?::\d+)?", None), RULES["ip"][1]])


@bank.wrong("find_pii", "An address with a port, 192.0.2.7:443, is missed.")
def port_forbids(text):
    return _with(text, ip=[(rf"{OCTET}(?:\.{OCTET}){{3}}", None), RULES["ip"][1]])


@bank.wrong("find_pii", "A time or a MAC address is no IPv6 address: it has eight groups, unless :: "
            "stands for some.")  # fmt: skip
def anything_with_colons(text):
    colons = r"(?<!:)[\da-fA-F]{1,4}(?:::?[\da-fA-F]{1,4}){2,7}(?:::)?|[\da-fA-F:]+::[\da-fA-F]*"
    return _with(text, ip=[RULES["ip"][0], (colons, None)])


@bank.wrong(
    "find_pii", "Fifteen digits are not yet an IMSI: it begins with a country of the table."
)
def any_imsi(text):
    rest = _with(text, imsi=[])
    more = _spans(text, {"imsi": [(p, lambda v: not _checked(v) or v.startswith(COUNTRIES))
                                  for p in GROUPED["imsi"]]})  # fmt: skip
    return _alone([s for s in more if not any(s.start < r.end and r.start < s.end and
                                              r.kind == "imei" for r in rest)]
                  + [r for r in rest if not any(r[:2] == m[:2] for m in more)])  # fmt: skip


@bank.wrong(
    "find_pii", "An IMSI begins with a country code and has no check digit; you ask for one."
)
def imsi_with_check_digit(text):
    return _with(text, imsi=[(p, lambda v: v.startswith(COUNTRIES) and _checked(v))
                             for p in GROUPED["imsi"]])  # fmt: skip


@bank.wrong("find_pii", "An IMSI is also written in groups of 3-2-10.")
def imsi_bare_only(text):
    return _with(text, imsi=RULES["imsi"][:1])


@bank.wrong(
    "find_pii", "A 15-digit ticket number is not an IMEI: you do not look at the check digit."
)
def imei_without_check(text):
    return _with(text, imei=[(p, None) for p in GROUPED["imei"]])


@bank.wrong("find_pii", "An IMEI is also written in groups of 2-6-6-1.")
def imei_bare_only(text):
    return _with(text, imei=RULES["imei"][:1])


@bank.wrong("find_pii", "An IMEI has 15 digits; you also take 16 or 14.")
def imei_of_other_lengths(text):
    rules = [*RULES["imei"], (r"\d{14}", None), (r"\d{16}", lambda v: _luhn(v[:15]))]
    return _with(text, imei=rules)


@bank.wrong("find_pii", "Any run of 10 to 15 digits is an MSISDN for you; look at MOBILE.")
def any_msisdn(text):
    return _with(text, msisdn=[(r"[1-9]\d{9,14}", None)])


@bank.wrong("find_pii", "The beginnings of MOBILE have their own lengths; you take any.")
def msisdn_of_any_length(text):
    return _with(text, msisdn=[(rf"(?:{'|'.join(MOBILE)})\d+", lambda v: 9 < len(v) < 15)])


@bank.wrong("find_pii", "A number with a plus is a phone number, not an MSISDN.")
def msisdn_with_plus(text):
    return _with(text, phone=[(PHONE, lambda v: _is_phone(v) and not re.fullmatch(r"\+447\d{9}", v)),
                              RULES["phone"][0]],
                 msisdn=[(r"\+?447\d{9}", None), *RULES["msisdn"][1:]])  # fmt: skip


@bank.wrong("find_pii", "19 digits that begin with 89 are not yet an ICCID: the last one is a check "
            "digit.")  # fmt: skip
def iccid_without_check(text):
    return _with(text, iccid=[(p, lambda v: v.startswith("89")) for p in GROUPED["iccid"]])


@bank.wrong("find_pii", "ICCIDs of 20 digits are missed.")
def iccid_of_19(text):
    return _with(text, iccid=[(p, lambda v: v.startswith("89") and len(_bare(v)) == 19 and _checked(v))
                              for p in GROUPED["iccid"]])  # fmt: skip


@bank.wrong("find_pii", "An ICCID is also written in groups of four.")
def iccid_bare_only(text):
    return _with(text, iccid=RULES["iccid"][:1])


@bank.wrong("find_pii", "Sixteen digits are not yet a card: the last one is a check digit.")
def card_without_check(text):
    def holds(value):
        number = _bare(value)
        return any(len(number) == n and low <= number[: len(low)] <= high for low, high, n in CARDS)

    return _with(text, card=[(p, holds) for p in GROUPED["card"]])


@bank.wrong("find_pii", "No card begins so: a right check digit is not enough, look at CARDS.")
def any_card(text):
    def holds(value):
        return _checked(value) and not (len(_bare(value)) == 15 and value[0] != "3")

    return _with(text, card=[(p, holds) for p in GROUPED["card"]])


@bank.wrong("find_pii", "Cards of 15 digits are missed.")
def card_of_16(text):
    return _with(text, card=[(p, lambda v: len(_bare(v)) == 16 and _is_card(v))
                             for p in GROUPED["card"]])  # fmt: skip


@bank.wrong("find_pii", "Cards are also written in groups.")
def card_bare_only(text):
    return _with(text, card=RULES["card"][:1])


@bank.wrong("find_pii", "Visa, Mastercard 51-55 and American Express only: CARDS has more rows.")
def card_from_the_web(text):
    def holds(value):
        return _is_card(value) and re.match("4|5[1-5]|3[47]|6011|65", value)

    return _with(text, card=[(p, holds) for p in GROUPED["card"]])


@bank.wrong("find_pii", "The check character of the identity code is not compared.")
def code_without_check(text):
    return _with(
        text, national_id=[(r"\d{6}[-+A]\d{3}[\dA-Y]", lambda v: _is_code(v, check=False))]
    )


@bank.wrong("find_pii", "Only the hyphen is a sign for you; + and A stand there, too.")
def one_sign(text):
    return _with(text, national_id=[(r"\d{6}-\d{3}[\dA-Y]", _is_code)])


@bank.wrong("find_pii", "There is no month 13 and no day 32.")
def code_without_date(text):
    return _with(
        text, national_id=[(r"\d{6}[-+A]\d{3}[\dA-Y]", lambda v: _is_code(v, dates=False))]
    )


@bank.wrong("find_pii", "Date and number are one number of nine digits; you take the three alone.")
def check_of_three_digits(text):
    def holds(value):
        return CHECK_CHARACTERS[int(value[7:10]) % 31] == value[10]

    return _with(text, national_id=[(r"\d{6}[-+A]\d{3}[\dA-Y]", holds)])


@bank.wrong("find_pii", "The # before a number is an edge as well: #447700900123 is the number of a "
            "ticket.")  # fmt: skip
def hash_allowed(text):
    return _alone(_spans(text, before=BEFORE.replace("#", "")))


@bank.wrong("find_pii", "The end of a span is exclusive; yours is the last character.")
def end_inclusive(text):
    return [Span(s.start, s.end - 1, s.kind) for s in _with(text)]


@bank.wrong("find_pii", "Spans lie over one another; of two that overlap only one counts.")
def overlaps_kept(text):
    return sorted(_spans(text))


@bank.wrong(
    "find_pii",
    "The longer value counts: 447700900123@example.net is an address, not a number in one.",
)
def priority_before_length(text):
    return _alone(_spans(text), key=lambda s: (s.kind == "email", PRIORITY.index(s.kind), s.start))


@bank.wrong(
    "find_pii", "Of two equally long values the wrong kind wins: the first of PRIORITY counts."
)
def alphabet_for_priority(text):
    return _alone(_spans(text), key=lambda s: (s.start - s.end, s.kind == "imsi", s.kind == "card"))


@bank.wrong("find_pii", "The spans stand in the order of the kinds, not of their starts.")
def by_kind(text):
    return sorted(_with(text), key=lambda s: PII.index(s.kind))


@bank.wrong("find_pii", "The kinds are written in small letters, as in PII.")
def capitals(text):
    return [Span(s.start, s.end, s.kind.upper()) for s in _with(text)]


@bank.wrong("find_pii", "You give the first value of each kind and stop.")
def first_of_each(text):
    first = {}
    for one in _with(text):
        first.setdefault(one.kind, one)
    return list(first.values())


# --- redact ----------------------------------------------------------------------------------

TEXT = "To ana@example.org, 10.0.0.7."
bank.probe(
    "redact",
    call(TEXT, [span(3, 18, "email")]),
    call(TEXT, [span(3, 18, "email"), span(20, 28, "ip")]),
    call(TEXT, [span(20, 28, "ip"), span(3, 18, "email")]),
    call(TEXT, []),
    call("0123456789", [span(2, 5, "ip"), span(5, 7, "card")]),
    call("0123456789", [span(1, 9, "email"), span(3, 5, "ip")]),
    call("0123456789", [span(2, 5, "phone"), span(4, 8, "imei")]),
    call("0123456789", [span(0, 4, "ip"), span(6, 9, "imei"), span(3, 7, "imsi")]),
    call("0123456789", [span(2, 5, "ip"), span(2, 8, "email")]),
    call("10.0.0.7 and 10.0.0.7", [span(13, 21, "ip")]),
)


def _areas(spans, touching=False):
    """Start, end and kind of each area of spans that overlap."""
    areas = []
    for one in sorted(spans, key=lambda s: (s.start, -s.end)):
        if areas and (one.start < areas[-1][1] or (touching and one.start == areas[-1][1])):
            areas[-1] = (areas[-1][0], max(areas[-1][1], one.end), areas[-1][2])
        else:
            areas.append((one.start, one.end, one.kind))
    return areas


def _replaced(text, areas, token=lambda start, end, kind: f"[{kind.upper()}]"):
    pieces, at = [], 0
    for start, end, kind in areas:
        pieces += [text[at:start], token(start, end, kind)]
        at = end
    return "".join([*pieces, text[at:]])


@bank.wrong("redact", "A replacement moves later spans: replace from the end.")
def replaced_from_the_front(text, spans):
    for start, end, kind in _areas(spans):
        text = text[:start] + f"[{kind.upper()}]" + text[end:]
    return text


@bank.wrong("redact", "You replace in the order of the list; the spans come in any order.")
def in_the_order_of_the_list(text, spans):
    for one in reversed(spans):
        text = text[: one.start] + f"[{one.kind.upper()}]" + text[one.end :]
    return text


@bank.wrong("redact", "Spans that overlap become one token; you replace each by itself.")
def each_by_itself(text, spans):
    for one in sorted(spans, key=lambda s: s.start, reverse=True):
        text = text[: one.start] + f"[{one.kind.upper()}]" + text[one.end :]
    return text


@bank.wrong("redact", "An area ends where the last of its spans ends; you let the first decide, and a "
            "piece of a value stays.")  # fmt: skip
def end_of_the_first(text, spans):
    kept = []
    for one in sorted(spans, key=lambda s: (s.start, -s.end)):
        if not kept or one.start >= kept[-1][1]:
            kept.append(tuple(one))
    return _replaced(text, kept)


@bank.wrong("redact", "Spans that only touch are two values and two tokens.")
def touching_united(text, spans):
    return _replaced(text, _areas(spans, touching=True))


@bank.wrong("redact", "The kind is written in capitals: [EMAIL].")
def small_kind(text, spans):
    return _replaced(text, _areas(spans), lambda start, end, kind: f"[{kind}]")


@bank.wrong("redact", "Every kind gets the same token; name the kind.")
def one_token(text, spans):
    return _replaced(text, _areas(spans), lambda *_: "[REDACTED]")


@bank.wrong("redact", "A token of stars as long as the value tells its length; write the kind.")
def stars(text, spans):
    return _replaced(text, _areas(spans), lambda start, end, _: "*" * (end - start))


@bank.wrong("redact", "The values are cut out, and nothing stands in their place.")
def cut_out(text, spans):
    return _replaced(text, _areas(spans), lambda *_: "")


@bank.wrong("redact", "The end of a span is exclusive; you take one character more.")
def one_too_many(text, spans):
    return _replaced(text, [(a, b + 1, kind) for a, b, kind in _areas(spans)])


@bank.wrong("redact", "You replace the value wherever it stands, not only where a span is.")
def value_everywhere(text, spans):
    for start, end, kind in _areas(spans)[::-1]:
        text = text.replace(text[start:end], f"[{kind.upper()}]")
    return text


@bank.wrong(
    "redact", "The kind of an area is that of the span that starts first; you take the last."
)
def kind_of_the_last(text, spans):
    areas = []
    for one in sorted(spans, key=lambda s: (s.start, -s.end)):
        if areas and one.start < areas[-1][1]:
            areas[-1] = (areas[-1][0], max(areas[-1][1], one.end), one.kind)
        else:
            areas.append(tuple(one))
    return _replaced(text, areas)


@bank.right("redact")
def from_pieces(text, spans):
    return _replaced(text, _areas(spans))


@bank.right("redact")
def by_characters(text, spans):
    inner = {i for s in spans for i in range(s.start + 1, s.end)}
    starts = {}
    for s in sorted(spans, key=lambda s: s.end):
        starts[s.start] = s.kind
    out = []
    for i, character in enumerate(text):
        if i not in inner:
            out.append(f"[{starts[i].upper()}]" if i in starts else character)
    return "".join(out)


# --- pseudonymize ----------------------------------------------------------------------------

MAIL, HOST = span(3, 18, "email"), span(20, 28, "ip")
bank.probe(
    "pseudonymize",
    call(TEXT, [MAIL], b"key"),
    call(TEXT, [MAIL], b"another key"),
    call(TEXT, [span(3, 18, "login")], b"key"),
    call(TEXT, [], b"key"),
    call("ข ana@example.org", [span(2, 17, "national_id")], b"\x00\xff"),
    call(TEXT, [MAIL, HOST], b"key"),
    call(TEXT, [HOST, MAIL], b"key"),
    call("10.0.0.7 10.0.0.7 10.0.0.77", [span(0, 8, "ip"), span(9, 17, "ip")], b"key"),
    call("10.0.0.7and@x.de", [span(0, 8, "ip"), span(8, 16, "email")], b"key"),
)


def _digest(kind, value, key):
    return hmac.new(key, f"{kind}:{value}".encode(), hashlib.sha256).hexdigest()[:12]


def _named(text, spans, key, digest=_digest, name="[{}_{}]", entry=seal):
    """The text with names, from the end, and the vault."""
    vault = {}
    for one in sorted(spans, key=lambda s: s.start, reverse=True):
        value = text[one.start : one.end]
        new = name.format(one.kind.upper(), digest(one.kind, value, key))
        vault[new] = entry(value, key)
        text = text[: one.start] + new + text[one.end :]
    return text, vault


@bank.wrong("pseudonymize", "An unkeyed hash: a list of all phone numbers undoes it in minutes.")
def plain_hash(text, spans, key):
    return _named(text, spans, key, lambda kind, value, _:
                  hashlib.sha256(f"{kind}:{value}".encode()).hexdigest()[:12])  # fmt: skip


@bank.wrong("pseudonymize", "Key and value are hashed side by side; HMAC is more than that.")
def key_before_the_value(text, spans, key):
    return _named(text, spans, key, lambda kind, value, key:
                  hashlib.sha256(key + f"{kind}:{value}".encode()).hexdigest()[:12])  # fmt: skip


@bank.wrong("pseudonymize", "The kind is not hashed: the same value as another kind has the same "
            "digits.")  # fmt: skip
def without_the_kind(text, spans, key):
    return _named(text, spans, key, lambda kind, value, key:
                  hmac.digest(key, value.encode(), "sha256").hex()[:12])  # fmt: skip


@bank.wrong("pseudonymize", "The kind is hashed as it stands in the span; you hash its capitals.")
def kind_in_capitals(text, spans, key):
    return _named(text, spans, key, lambda kind, value, key: _digest(kind.upper(), value, key))


@bank.wrong("pseudonymize", "Numbers in the order of their appearance: the same customer has another "
            "name in the next text.")  # fmt: skip
def counted(text, spans, key):
    names = {}
    for one in sorted(spans, key=lambda s: s.start):
        names.setdefault((one.kind, text[one.start : one.end]), len(names) + 1)
    return _named(text, spans, key, lambda kind, value, _: names[kind, value])


@bank.wrong("pseudonymize", "A new name per occurrence: the same customer became two.")
def name_per_occurrence(text, spans, key):
    numbers = iter(range(100))
    return _named(text, spans, key, lambda kind, value, key:
                  _digest(kind, f"{value}{next(numbers)}", key))  # fmt: skip


@bank.wrong("pseudonymize", "The name has 12 hex digits; yours has another number of them.")
def long_names(text, spans, key):
    return _named(text, spans, key, lambda kind, value, key: hmac.digest(
        key, f"{kind}:{value}".encode(), "sha256").hex()[:16])  # fmt: skip


@bank.wrong("pseudonymize", "The kind is missing in the name.")
def kind_lost(text, spans, key):
    return _named(text, spans, key, name="[{1}]")


@bank.wrong("pseudonymize", "The name stands in brackets: [KIND_h].")
def without_brackets(text, spans, key):
    return _named(text, spans, key, name="{}_{}")


@bank.wrong("pseudonymize", "The originals stand in your vault for everybody to read; seal them.")
def open_vault(text, spans, key):
    return _named(text, spans, key, entry=lambda value, _: value)


@bank.wrong("pseudonymize", "The vault maps names to sealed values; yours is the other way round.")
def vault_turned(text, spans, key):
    text, vault = _named(text, spans, key)
    return text, {sealed: name for name, sealed in vault.items()}


@bank.wrong(
    "pseudonymize", "The vault maps values to names: so it holds the originals as its keys."
)
def values_as_keys(text, spans, key):
    new, vault = _named(text, spans, key, entry=lambda value, _: value)
    return new, {value: name for name, value in vault.items()}


@bank.wrong("pseudonymize", "A name that is longer than its value moves the later spans: replace from "
            "the end.")  # fmt: skip
def names_from_the_front(text, spans, key):
    vault = {}
    for start, end, kind in sorted(spans):
        value = text[start:end]
        name = f"[{kind.upper()}_{_digest(kind, value, key)}]"
        vault[name] = seal(value, key)
        text = text[:start] + name + text[end:]
    return text, vault


@bank.wrong("pseudonymize", "You take the spans in the order of the list; they come in any order.")
def names_in_the_order_of_the_list(text, spans, key):
    vault = {}
    for start, end, kind in reversed(spans):
        value = text[start:end]
        name = f"[{kind.upper()}_{_digest(kind, value, key)}]"
        vault[name] = seal(value, key)
        text = text[:start] + name + text[end:]
    return text, vault


@bank.wrong(
    "pseudonymize", "replace() also hits values that no span covers, or parts of longer ones."
)
def name_everywhere(text, spans, key):
    vault = {}
    for value, kind in [(text[s.start : s.end], s.kind) for s in spans]:
        name = f"[{kind.upper()}_{_digest(kind, value, key)}]"
        vault[name] = seal(value, key)
        text = text.replace(value, name)
    return text, vault


@bank.wrong("pseudonymize", "You return the text alone; the vault belongs to it.")
def text_alone(text, spans, key):
    return _named(text, spans, key)[0]


@bank.right("pseudonymize")
def with_hmac_new(text, spans, key):
    return _named(text, spans, key)


@bank.right("pseudonymize")
def forwards(text, spans, key):
    pieces, at, vault = [], 0, {}
    for start, end, kind in sorted(spans):
        value = text[start:end]
        mac = hmac.new(key, digestmod="sha256")
        mac.update(kind.encode() + b":" + value.encode())
        name = "[" + kind.upper() + "_" + mac.hexdigest()[:12] + "]"
        pieces += [text[at:start], name]
        vault.setdefault(name, seal(value, key))
        at = end
    return "".join(pieces) + text[at:], vault


# --- reidentify ------------------------------------------------------------------------------

VAULT = {"[IP_0a]": "10.0.0.7", "[EMAIL_1f]": "ana@example.org"}
bank.probe(
    "reidentify",
    drill(drills_privacy.round_trip, "From [IP_0a].", VAULT, b"k"),
    drill(drills_privacy.round_trip, "[IP_0a][EMAIL_1f] [IP_0a], [IP_0b].", VAULT, b"k"),
    drill(drills_privacy.round_trip, "nothing here, [IP_0b]", VAULT, b"k"),
    drill(drills_privacy.round_trip, "From [IP_0a].", {}, b"k"),
    drill(drills_privacy.round_trip, "From [IP_0a].", VAULT, b"k", b"x"),
    drill(drills_privacy.round_trip, "[A_1], [B_1]", {"[A_1]": "see [B_1]", "[B_1]": "z"}, b"k"),
    drill(drills_privacy.round_trip, "[B_1]", {"[A_1]": "y", "[B_1]": "see [A_1]"}, b"k"),
    drill(drills_privacy.round_trip, "[A_1].", {"[A_1]": r"\1 \g<0> $"}, b"k"),
    drill(drills_privacy.round_trip, "[K.1*a] [Kx1*a]", {"[K.1*a]": "v"}, b"k"),
)


@bank.wrong("reidentify", "One replace after the other: a value that looks like a name is replaced, "
            "too.")  # fmt: skip
def one_after_the_other(text, vault, key):
    for name, sealed in vault.items():
        if name in text:
            text = text.replace(name, unseal(sealed, key))
    return text


@bank.wrong("reidentify", "The error of a wrong key is caught; let it out.")
def error_swallowed(text, vault, key):
    def value(match):
        try:
            return unseal(vault[match[0]], key)
        except ValueError:
            return match[0]

    return re.sub("|".join(map(re.escape, vault)), value, text) if vault else text


@bank.wrong("reidentify", "You put the sealed text in; unseal it.")
def still_sealed(text, vault, key):
    if not vault:
        return text
    return re.sub("|".join(map(re.escape, vault)), lambda m: unseal(vault[m[0]], key) and vault[m[0]],
                  text)  # fmt: skip


@bank.wrong("reidentify", "Only the first place of a name is replaced; it may stand there twice.")
def first_place_only(text, vault, key):
    for name, sealed in vault.items():
        if name in text:
            text = text.replace(name, unseal(sealed, key), 1)
    return text


@bank.wrong("reidentify", "Names in brackets that the vault does not have must stay.")
def unknown_names_fail(text, vault, key):
    return re.sub(r"\[\w+\]", lambda m: unseal(vault[m[0]], key), text)


@bank.wrong("reidentify", "A name with a dot or star is not taken literally; use re.escape.")
def names_as_patterns(text, vault, key):
    def value(match):
        found = vault.get(match[0])
        return match[0] if found is None else unseal(found, key)

    names = "|".join(name.replace("[", r"\[").replace("]", r"\]") for name in vault)
    return re.sub(names, value, text) if vault else text


@bank.wrong("reidentify", "With an empty vault the pattern is empty and matches everywhere.")
def empty_pattern(text, vault, key):
    return re.sub("|".join(map(re.escape, vault)), lambda m: unseal(vault[m[0]], key), text)


@bank.wrong(
    "reidentify", "A value goes in as it is; re.sub reads backslashes in a text of its own."
)
def backslashes_read(text, vault, key):
    for name, sealed in vault.items():
        if name in text:
            text = re.sub(re.escape(name), unseal(sealed, key), text)
    return text


@bank.right("reidentify")
def split_and_join(text, vault, key):
    if not vault:
        return text
    pieces = re.split("(" + "|".join(map(re.escape, vault)) + ")", text)
    return "".join(unseal(vault[p], key) if p in vault else p for p in pieces)


@bank.right("reidentify")
def walk(text, vault, key):
    out, at = "", 0
    while at < len(text):
        name = next((n for n in vault if text.startswith(n, at)), None)
        out += text[at] if name is None else unseal(vault[name], key)
        at += 1 if name is None else len(name)
    return out


# --- k_anonymity -----------------------------------------------------------------------------


def _table(*sites, plan="S"):
    return [{"ticket": n, "plan": plan, "site": site} for n, site in enumerate(sites)]


FIVE = _table("north", "south", "north", "south", "north")
TWO = [
    {"a": a, "b": b, "c": c}
    for a, b, c in (
        (0, 0, 5), (0, 1, 5), (1, 0, 6), (0, 0, 7), (1, 0, 5), (0, 1, 5), (1, 1, 6), (0, 0, 6),
    )
]  # fmt: skip
ALIKE = [{"a": "1", "b": "23"}, {"a": "12", "b": "3"}, {"a": "1", "b": "23"}]
bank.probe(
    "k_anonymity",
    call(FIVE, ("site",)),
    call(FIVE, ("plan", "site")),
    call(TWO, ("a", "b")),
    call(FIVE, ("ticket",)),
    call([], ("plan",)),
    call(FIVE, ()),
    call(FIVE, ("plan", "age")),
    call(ALIKE, ("a", "b")),
    call([*ALIKE, {"a": "1"}], ("a", "b")),
)


def _sizes(rows, quasi):
    sizes = defaultdict(int)
    for row in rows:
        sizes[tuple([row[field] for field in quasi])] += 1
    return sizes


@bank.wrong("k_anonymity", "k over all columns: only the quasi-identifiers count.")
def all_columns(rows, quasi):
    [row[field] for row in rows for field in quasi]
    return min(_sizes(rows, list(rows[0])).values()) if rows else 0


@bank.wrong("k_anonymity", "Each field by itself: people are singled out by fields together.")
def field_by_field(rows, quasi):
    if not rows or not quasi:
        return len(rows)
    return min(min(_sizes(rows, (field,)).values()) for field in quasi)


@bank.wrong("k_anonymity", "You give the largest group; the smallest decides.")
def largest_group(rows, quasi):
    return max(_sizes(rows, quasi).values(), default=0)


@bank.wrong("k_anonymity", "You count the groups; how large is the smallest?")
def number_of_groups(rows, quasi):
    return len(_sizes(rows, quasi))


@bank.wrong("k_anonymity", "The mean size hides the smallest group.")
def mean_size(rows, quasi):
    sizes = _sizes(rows, quasi)
    return len(rows) // len(sizes) if sizes else 0


@bank.wrong("k_anonymity", "An empty table gives 0.")
def empty_fails(rows, quasi):
    return min(_sizes(rows, quasi).values())


@bank.wrong("k_anonymity", "A missing field must raise KeyError; you read it as None.")
def missing_is_none(rows, quasi):
    return min(Counter(tuple(map(row.get, quasi)) for row in rows).values(), default=0)


@bank.wrong("k_anonymity", "Joined as one text, 1 and 23 are the same group as 12 and 3.")
def joined_values(rows, quasi):
    return min(Counter("".join(str(row[f]) for f in quasi) for row in rows).values(), default=0)


@bank.wrong("k_anonymity", "Only neighbours are grouped: groupby needs sorted rows.")
def neighbours(rows, quasi):
    runs = groupby(rows, key=lambda row: tuple(row[field] for field in quasi))
    return min((len(list(run)) for _, run in runs), default=0)


@bank.right("k_anonymity")
def with_a_dict(rows, quasi):
    return min(_sizes(rows, quasi).values(), default=0)


@bank.right("k_anonymity")
def by_comparison(rows, quasi):
    groups = [[row[field] for field in quasi] for row in rows]
    return min(map(groups.count, groups)) if groups else 0


# --- suppress_to_k ---------------------------------------------------------------------------

SIX = _table("north", "south", "north", "south", "north", "west")
bank.probe(
    "suppress_to_k",
    call(SIX, ("site",), 3),
    call(SIX, ("site",), 2),
    call(SIX, ("plan",), 6),
    call(TWO, ("a", "b"), 2),
    call(TWO, ("a", "b"), 3),
    call(SIX, ("site",), 1),
    call(SIX, ("plan",), 7),
    call([{"a": 1}] * 3 + [{"a": 2}], ("a",), 2),
    call(SIX, ("age",), 2),
    drill(drills_privacy.with_rows, SIX, ("site",), 3),
)


def _of(row, quasi):
    return tuple(row[field] for field in quasi)


@bank.wrong("suppress_to_k", "A group of k is large enough; you ask for more.")
def more_than_k(rows, quasi, k):
    sizes = _sizes(rows, quasi)
    return [row for row in rows if sizes[_of(row, quasi)] > k]


@bank.wrong(
    "suppress_to_k", "You keep k rows of a group; a group that is large enough loses nothing."
)
def only_k_rows(rows, quasi, k):
    sizes, seen, kept = _sizes(rows, quasi), Counter(), []
    for row in rows:
        seen[_of(row, quasi)] += 1
        if sizes[_of(row, quasi)] >= k >= seen[_of(row, quasi)]:
            kept.append(row)
    return kept


@bank.wrong("suppress_to_k", "The rows come group by group; keep the order of the table.")
def group_by_group(rows, quasi, k):
    groups = defaultdict(list)
    for row in rows:
        groups[_of(row, quasi)].append(row)
    return [row for group in groups.values() if len(group) >= k for row in group]


@bank.wrong("suppress_to_k", "Groups over all columns: only the quasi-identifiers count.")
def groups_of_all_columns(rows, quasi, k):
    sizes = _sizes(rows, list(rows[0]))
    return [row for row in rows if _of(row, quasi) and sizes[_of(row, list(rows[0]))] >= k]


@bank.wrong("suppress_to_k", "You return the rows that have to go.")
def the_dropped_ones(rows, quasi, k):
    sizes = _sizes(rows, quasi)
    return [row for row in rows if sizes[_of(row, quasi)] < k]


@bank.wrong("suppress_to_k", "Equal rows are different people; you keep one of them.")
def equal_rows_once(rows, quasi, k):
    sizes, kept = _sizes(rows, quasi), []
    for row in rows:
        if sizes[_of(row, quasi)] >= k and row not in kept:
            kept.append(row)
    return kept


@bank.wrong("suppress_to_k", "Removing from the list that you walk through skips rows, and changes "
            "the caller's list.")  # fmt: skip
def removed_while_walking(rows, quasi, k):
    sizes = _sizes(rows, quasi)
    for row in rows:
        if sizes[_of(row, quasi)] < k:
            rows.remove(row)
    return rows


@bank.wrong("suppress_to_k", "All or nothing: one small group empties your table.")
def all_or_nothing(rows, quasi, k):
    return rows if min(_sizes(rows, quasi).values(), default=0) >= k else []


@bank.wrong("suppress_to_k", "The kept rows must keep all their fields; yours have the "
            "quasi-identifiers only.")  # fmt: skip
def quasi_fields_only(rows, quasi, k):
    sizes = _sizes(rows, quasi)
    return [{f: row[f] for f in quasi} for row in rows if sizes[_of(row, quasi)] >= k]


@bank.wrong("suppress_to_k", "Small groups are grouped as neighbours only; they may lie apart.")
def neighbouring_groups(rows, quasi, k):
    runs = [list(run) for _, run in groupby(rows, key=lambda row: _of(row, quasi))]
    return [row for run in runs if len(run) >= k for row in run]


@bank.right("suppress_to_k")
def with_sizes(rows, quasi, k):
    sizes = _sizes(rows, quasi)
    return [row for row in rows if sizes[_of(row, quasi)] >= k]


@bank.right("suppress_to_k")
def by_counting_again(rows, quasi, k):
    groups = [_of(row, quasi) for row in rows]
    return [row for row, group in zip(rows, groups, strict=True) if groups.count(group) >= k]


# --- utility_loss ----------------------------------------------------------------------------

bank.probe(
    "utility_loss",
    call({"accuracy": 0.5}, {"accuracy": 0.375}),
    call({"a": 2.0, "b": 0.25}, {"b": 0.5, "a": 2.0}),
    call({"a": 0.5, "b": 0.8}, {"b": 0.8}),
    call({"b": 0.8}, {"b": 0.8, "new": 1.0}),
    call({"a": 0.0, "b": 0.0}, {"a": 0.5}),
    call({}, {"a": 1.0}),
)


def _lost(before, after, change, names=None):
    return {m: change(before[m], after.get(m, 0.0)) for m in (before if names is None else names)}


@bank.wrong("utility_loss", "The difference, not the share of what was there.")
def difference(before, after):
    return _lost(before, after, lambda b, a: b - a if b else 0.0)


@bank.wrong("utility_loss", "You give the share that is left; which share is lost?")
def share_left(before, after):
    return _lost(before, after, lambda b, a: a / b if b else 0.0)


@bank.wrong("utility_loss", "A loss is positive; the sign is turned round.")
def sign_turned(before, after):
    return _lost(before, after, lambda b, a: (a - b) / b if b else 0.0)


@bank.wrong("utility_loss", "Divided by what is left, not by what was there.")
def by_what_is_left(before, after):
    return _lost(before, after, lambda b, a: ((b - a) / a if a else 1.0) if b else 0.0)


@bank.wrong("utility_loss", "A gain is a negative loss; you cut it off at 0.")
def no_gains(before, after):
    return _lost(before, after, lambda b, a: max(0.0, (b - a) / b) if b else 0.0)


@bank.wrong("utility_loss", "A measure that is missing afterwards is lost, 1.0; you leave it out.")
def missing_left_out(before, after):
    return _lost(before, after, lambda b, a: (b - a) / b if b else 0.0,
                 [m for m in before if m in after])  # fmt: skip


@bank.wrong(
    "utility_loss", "A measure that is missing afterwards raises an error; it is lost, 1.0."
)
def missing_fails(before, after):
    return {m: (b - after[m]) / b if b else 0.0 for m, b in before.items()}


@bank.wrong("utility_loss", "A measure that was 0 divides by zero; it gives 0.0.")
def zero_fails(before, after):
    return _lost(before, after, lambda b, a: (b - a) / b)


@bank.wrong("utility_loss", "In per cent; a share is asked for.")
def in_per_cent(before, after):
    return _lost(before, after, lambda b, a: 100 * (b - a) / b if b else 0.0)


@bank.wrong("utility_loss", "The absolute value makes a gain look like a loss.")
def absolute(before, after):
    return _lost(before, after, lambda b, a: abs(b - a) / b if b else 0.0)


@bank.right("utility_loss")
def one_minus_ratio(before, after):
    return _lost(before, after, lambda b, a: 1 - a / b if b > 0 else 0.0)


@bank.right("utility_loss")
def in_a_loop(before, after):
    found = {}
    for name in before:
        found[name] = 0.0
        if before[name] != 0:
            left = after[name] if name in after else 0.0
            found[name] = (before[name] - left) / before[name]
    return found


# --- code_switch_index -----------------------------------------------------------------------

bank.probe(
    "code_switch_index",
    call(["en", "en", "en", "de"]),
    call(["en", "de", "en", "de"]),
    call(["es", "en", "de", "en", "en"]),
    call(["th", "th", "th"]),
    call(["und", "en", "und", "en", "und", "en", "de", "und"]),
    call(["und", "en", "und", "und"]),
    call(["und", "und"]),
    call([]),
)


def _known(languages):
    return [label for label in languages if label != "und"]


def _mixing(words, total=None):
    most = max((words.count(label) for label in set(words)), default=0)
    return 1 - most / (total or len(words)) if words else 0.0


@bank.wrong("code_switch_index", "Unknown words are counted as a language.")
def unknown_is_a_language(languages):
    return _mixing(languages)


@bank.wrong("code_switch_index", "Unknown words do not count at all; you divide by all words.")
def divided_by_all(languages):
    return _mixing(_known(languages), len(languages))


@bank.wrong("code_switch_index", "The share of the commonest language; the index is 1 minus that.")
def share_of_the_commonest(languages):
    return 1 - _mixing(_known(languages)) if _known(languages) else 0.0


@bank.wrong(
    "code_switch_index", "You count how often the language changes; the index looks at words."
)
def switches(languages):
    known = _known(languages)
    pairs = list(pairwise(known))
    return sum(a != b for a, b in pairs) / len(pairs) if pairs else 0.0


@bank.wrong("code_switch_index", "In per cent; a share from 0 to 1 is asked for.")
def mixing_in_per_cent(languages):
    return 100 * _mixing(_known(languages))


@bank.wrong(
    "code_switch_index", "You measure against the first word's language, not the commonest."
)
def against_the_first(languages):
    known = _known(languages)
    return 1 - known.count(known[0]) / len(known) if known else 0.0


@bank.wrong(
    "code_switch_index", "You measure against English; the commonest language may be another."
)
def against_english(languages):
    known = _known(languages)
    return 1 - known.count("en") / len(known) if known else 0.0


@bank.wrong("code_switch_index", "Without a known word the index is 0.0; you raise an error.")
def nothing_known_fails(languages):
    known = _known(languages)
    return 1 - max(map(known.count, known)) / len(known)


@bank.wrong("code_switch_index", "You divide the number of languages by the number of words.")
def languages_per_word(languages):
    known = _known(languages)
    return (len(set(known)) - 1) / len(known) if known else 0.0


@bank.right("code_switch_index")
def by_the_others(languages):
    known = _known(languages)
    return _mixing(known)


@bank.right("code_switch_index")
def with_tensors(languages):
    known = [label for label in languages if label != "und"]
    if not known:
        return 0.0
    names = sorted(set(known))
    counts = torch.bincount(torch.tensor([names.index(label) for label in known]))
    return (counts.sum() - counts.max()).item() / len(known)


# --- coverage_report -------------------------------------------------------------------------

EIGHT = [{"language": x, "id": i} for i, x in enumerate(["en"] * 6 + ["de"] * 2)]
bank.probe(
    "coverage_report",
    call(EIGHT, "language", {"en": 0.5, "de": 0.5}),
    call(EIGHT, "language", {"en": 0.25, "de": 0.75}),
    call(EIGHT, "language", {"en": 0.75, "th": 0.25}),
    call(EIGHT, "language", {"de": 1.0, "en": 0.0}),
    call([], "language", {"en": 0.5, "de": 0.5}),
    call(EIGHT, "region", {"north": 1.0}),
    call([*EIGHT, {"id": 9}], "language", {"en": 1.0}),
)


def _covered(rows, field, reference, change=lambda share, want: share / want, counts=None):
    if counts is None:
        counts = Counter(row[field] for row in rows)
    return {g: change(counts[g] / len(rows) if rows else 0.0, want)
            for g, want in reference.items() if want}  # fmt: skip


@bank.wrong("coverage_report", "The share of the rows; divide it by the reference share.")
def shares_only(rows, field, reference):
    return _covered(rows, field, reference, lambda share, want: share)


@bank.wrong("coverage_report", "Reference divided by data: the ratio is upside down.")
def upside_down(rows, field, reference):
    return _covered(rows, field, reference, lambda share, want: want / share if share else 0.0)


@bank.wrong("coverage_report", "The difference of the shares; a ratio is asked for.")
def difference_of_shares(rows, field, reference):
    return _covered(rows, field, reference, lambda share, want: share - want)


@bank.wrong("coverage_report", "Counts divided by reference shares; take shares of the rows first.")
def counts_over_shares(rows, field, reference):
    return _covered(rows, field, reference, lambda share, want: share * len(rows) / want)


@bank.wrong("coverage_report", "A group without rows is missing in your report; it gives 0.0.")
def only_groups_of_the_data(rows, field, reference):
    seen = {row[field] for row in rows}
    return {g: x for g, x in _covered(rows, field, reference).items() if g in seen}


@bank.wrong(
    "coverage_report", "Rows of other groups count as rows; you leave them out of the total."
)
def others_left_out(rows, field, reference):
    return _covered([row for row in rows if row[field] in reference], field, reference)


@bank.wrong("coverage_report", "Groups that the reference does not name have no entry.")
def other_groups_reported(rows, field, reference):
    more = dict.fromkeys((row[field] for row in rows if row[field] not in reference), math.inf)
    return _covered(rows, field, reference) | more


@bank.wrong("coverage_report", "A reference share of 0 divides by zero; the group has no entry.")
def share_zero_fails(rows, field, reference):
    counts = Counter(row[field] for row in rows)
    return {g: counts[g] / max(len(rows), 1) / want for g, want in reference.items()}


@bank.wrong("coverage_report", "A reference share of 0 gets an entry; it should have none.")
def share_zero_is_zero(rows, field, reference):
    counts = Counter(row[field] for row in rows)
    return {g: counts[g] / max(len(rows), 1) / want if want else 0.0
            for g, want in reference.items()}  # fmt: skip


@bank.wrong("coverage_report", "An empty table gives 0.0 for each group; you raise an error.")
def empty_table_fails(rows, field, reference):
    counts = Counter(row[field] for row in rows)
    return {g: counts[g] / len(rows) / want for g, want in reference.items() if want}


@bank.wrong("coverage_report", "A row without the field must raise KeyError; you read None.")
def no_field_is_none(rows, field, reference):
    return _covered(rows, field, reference, counts=Counter(row.get(field) for row in rows))


@bank.wrong(
    "coverage_report", "The share of a group is capped at 1; too many rows are worth knowing."
)
def capped_at_one(rows, field, reference):
    return _covered(rows, field, reference, lambda share, want: min(1.0, share / want))


@bank.right("coverage_report")
def with_list_count(rows, field, reference):
    groups = [row[field] for row in rows]
    return {g: groups.count(g) / (len(groups) * share) if groups else 0.0
            for g, share in reference.items() if share != 0}  # fmt: skip


@bank.right("coverage_report")
def in_steps(rows, field, reference):
    report = {g: 0.0 for g, share in reference.items() if share}
    for row in rows:
        if row[field] in report:
            report[row[field]] += 1 / len(rows)
    return {g: x / reference[g] for g, x in report.items()}


# --- group_gap -------------------------------------------------------------------------------


def _answers(*groups):
    return list(drills_privacy.answers(*groups))


bank.probe(
    "group_gap",
    call(*_answers((0, 45, 50), (1, 40, 50), (3, 30, 50))),
    call(*_answers((0, 20, 40), (5, 70, 80))),
    call(*_answers((2, 36, 48), (0, 45, 50), (1, 0, 29), (7, 4, 4))),
    call(*_answers((5, 30, 30), (2, 0, 30))),
    call(*_answers((4, 40, 80), (1, 30, 40), (3, 20, 40), (2, 60, 80))),
    call(*_answers((4, 20, 40))),
    call(*_answers((0, 20, 40), (1, 1, 9))),
)
NONE = {"gap": 0.0, "low": 0.0, "high": 0.0, "best": -1.0, "worst": -1.0}


def _gap(correct, group, least=30, change=lambda p, q: p - q, limits=None, ties=(1, -1)):
    """The report; `limits` makes low and high from the (k, n) of the two groups."""
    sizes, right = Counter(group.tolist()), Counter(group[correct].tolist())
    ranked = {g: right[g] / n for g, n in sizes.items() if n >= least}
    small = {"small": float(len(sizes) - len(ranked))}
    if len(ranked) < 2:
        return NONE | small
    best = max(ranked, key=lambda g: (ranked[g], -ties[0] * g))
    worst = min(ranked, key=lambda g: (ranked[g], ties[1] * g))
    p, q = (right[best], sizes[best]), (right[worst], sizes[worst])
    low, high = (limits or _newcombe)(p, q)
    return {"gap": change(p[0] / p[1], q[0] / q[1]), "low": low, "high": high,
            "best": float(best), "worst": float(worst)} | small  # fmt: skip


def _newcombe(p, q):
    (a, b), (c, d), x, y = interval(*p), interval(*q), p[0] / p[1], q[0] / q[1]
    return (x - y - ((x - a) ** 2 + (d - y) ** 2) ** 0.5,
            x - y + ((b - x) ** 2 + (y - c) ** 2) ** 0.5)  # fmt: skip


@bank.wrong("group_gap", "A gap on a few people is noise: groups below 30 are not ranked.")
def small_groups_ranked(correct, group):
    found, small = _gap(correct, group, least=1), _gap(correct, group)["small"]
    return found | {"small": small}


@bank.wrong("group_gap", "Thirty rows are enough; you ask for more.")
def more_than_thirty(correct, group):
    return _gap(correct, group, least=31)


@bank.wrong(
    "group_gap", "The gap is a ratio in your report: with 0 in the worst group it has none."
)
def ratio(correct, group):
    return _gap(correct, group, change=lambda p, q: p / q)


@bank.wrong("group_gap", "Worst minus best: the sign of the gap is turned round.")
def worst_minus_best(correct, group):
    return _gap(correct, group, change=lambda p, q: q - p)


@bank.wrong("group_gap", "The two intervals are subtracted end from end; that is too wide.")
def ends_subtracted(correct, group):
    def limits(p, q):
        (a, b), (c, d) = interval(*p), interval(*q)
        return a - d, b - c

    return _gap(correct, group, limits=limits)


@bank.wrong("group_gap", "The normal approximation √(p·(1-p)/n): it says ±0 where all are right.")
def wald(correct, group):
    def limits(p, q):
        x, y = p[0] / p[1], q[0] / q[1]
        half = 1.959964 * math.sqrt(x * (1 - x) / p[1] + y * (1 - y) / q[1])
        return x - y - half, x - y + half

    return _gap(correct, group, limits=limits)


@bank.wrong("group_gap", "In low you take the wrong ends: it needs best's low and worst's high.")
def ends_exchanged(correct, group):
    def limits(p, q):
        low, high = _newcombe(p, q)
        gap = p[0] / p[1] - q[0] / q[1]
        return 2 * gap - high, 2 * gap - low

    return _gap(correct, group, limits=limits)


@bank.wrong("group_gap", "low and high are those of the best group; the gap has its own interval.")
def interval_of_the_best(correct, group):
    return _gap(correct, group, limits=lambda p, q: interval(*p))


@bank.wrong("group_gap", "best and worst are exchanged.")
def exchanged(correct, group):
    found = _gap(correct, group)
    return found | {"best": found["worst"], "worst": found["best"]}


@bank.wrong("group_gap", "best and worst are the groups' numbers, not their accuracies.")
def accuracies(correct, group):
    found = _gap(correct, group)
    if found["best"] < 0:
        return found
    of = {x: correct[group == int(found[x])].double().mean().item() for x in ("best", "worst")}
    return found | of


@bank.wrong("group_gap", "small counts groups; you count their rows.")
def small_rows(correct, group):
    sizes = Counter(group.tolist()).values()
    return _gap(correct, group) | {"small": float(sum(n for n in sizes if n < 30))}


@bank.wrong("group_gap", "small is always 0 in your report; how many groups have 1 to 29 rows?")
def small_not_counted(correct, group):
    return _gap(correct, group) | {"small": 0.0}


@bank.wrong("group_gap", "Groups of equal accuracy: best is the lowest number, worst the highest.")
def other_ties(correct, group):
    return _gap(correct, group, ties=(-1, 1))


@bank.wrong("group_gap", "With one group to rank there is no gap: best and worst are -1.")
def one_group_is_best(correct, group):
    found = _gap(correct, group)
    sizes = Counter(group.tolist())
    large = [g for g, n in sizes.items() if n >= 30]
    return found | ({"best": float(large[0]), "worst": float(large[0])} if len(large) == 1 else {})


@bank.right("group_gap")
def with_counters(correct, group):
    return _gap(correct, group)


@bank.right("group_gap")
def with_unique(correct, group):
    numbers, index, sizes = group.unique(return_inverse=True, return_counts=True)
    right = torch.zeros(len(numbers)).index_add(0, index, correct.float())
    large = sizes >= 30
    small = {"small": float((~large).sum())}
    if large.sum() < 2:
        return NONE | small
    k, n, names = right[large].tolist(), sizes[large].tolist(), numbers[large].tolist()
    order = sorted(range(len(k)), key=lambda i: (k[i] / n[i], -names[i]))
    i, j = order[-1], order[0]
    low, high = _newcombe((k[i], n[i]), (k[j], n[j]))
    return {"best": float(names[i]), "worst": float(names[j]), "low": low, "high": high,
            "gap": k[i] / n[i] - k[j] / n[j]} | small  # fmt: skip


# --- data_card -------------------------------------------------------------------------------

REQUIRED = ("name", "version", "licence", "purpose", "personal_data", "limits", "contact")
FACTS = {name: f"the {name}" for name in REQUIRED}
ROWS = [{"text": text, "language": language, "source": "crm", "date": date}
        for text, language, date in (("ab", "en", "2025-03-09"), ("é", "fr", "2024-12-31"),
                                     ("ab", "en", "2025-01-01"), ("ab", "en", "2025-03-01"))]  # fmt: skip
bank.probe(
    "data_card",
    call(ROWS[:1], FACTS),
    call(ROWS, FACTS),
    call(ROWS[:3], FACTS | {"thanks": "the night shift"}),
    call([], FACTS),
    *(call(ROWS, {k: v for k, v in FACTS.items() if k != name}) for name in REQUIRED),
    call(ROWS, FACTS | {"limits": ""}),
    call(ROWS, FACTS | {"limits": " "}),
    call(ROWS, FACTS | {"documents": "3"}),
    call(ROWS, FACTS | {"to": "2030-01-01"}),
)
COUNTED = ("documents", "bytes", "duplicates", "languages", "sources", "from", "to")


def _counts(rows):
    texts, dates = [row["text"] for row in rows], sorted(row["date"] for row in rows)
    return {
        "documents": len(rows),
        "bytes": len("".join(texts).encode()),
        "languages": dict(Counter(row["language"] for row in rows)),
        "sources": dict(Counter(row["source"] for row in rows)),
        "from": dates[0] if dates else "",
        "to": dates[-1] if dates else "",
        "duplicates": sum(text in texts[:i] for i, text in enumerate(texts)),
    }


def _refuse(facts, required=REQUIRED, blank=True, counted=COUNTED):
    for name in required:
        if name not in facts or (blank and not facts[name].strip()):
            raise ValueError(f"{name} is missing.")
    if any(name in facts for name in counted):
        raise ValueError("A count is no fact.")


def _card(rows, facts, **changed):
    _refuse(facts)
    return dict(facts) | _counts(rows) | changed


@bank.wrong("data_card", "bytes counts characters; é has two bytes in UTF-8.")
def characters(rows, facts):
    return _card(rows, facts, bytes=sum(len(row["text"]) for row in rows))


@bank.wrong("data_card", "The first and the last row need not be the earliest and the latest.")
def first_and_last_row(rows, facts):
    ends = [rows[0]["date"], rows[-1]["date"]] if rows else ["", ""]
    return _card(rows, facts, **{"from": ends[0], "to": ends[1]})


@bank.wrong("data_card", "from and to are exchanged.")
def dates_exchanged(rows, facts):
    card = _card(rows, facts)
    return card | {"from": card["to"], "to": card["from"]}


@bank.wrong("data_card", "languages and sources are counts per name; you give the names only.")
def names_only(rows, facts):
    card = _card(rows, facts)
    return card | {key: sorted(card[key]) for key in ("languages", "sources")}


@bank.wrong("data_card", "languages and sources are counts; you give shares.")
def shares_of_documents(rows, facts):
    card = _card(rows, facts)
    return card | {key: {k: n / len(rows) for k, n in card[key].items()}
                   for key in ("languages", "sources")}  # fmt: skip


@bank.wrong("data_card", "You count how many languages and sources there are; count the documents of "
            "each.")  # fmt: skip
def number_of_languages(rows, facts):
    card = _card(rows, facts)
    return card | {key: len(card[key]) for key in ("languages", "sources")}


@bank.wrong("data_card", "duplicates counts repetitions: the first of several equal texts is none.")
def all_equal_texts(rows, facts):
    texts = [row["text"] for row in rows]
    return _card(rows, facts, duplicates=sum(texts.count(text) > 1 for text in texts))


@bank.wrong("data_card", "duplicates counts documents; you count the texts that are repeated.")
def repeated_texts(rows, facts):
    counts = Counter(row["text"] for row in rows)
    return _card(rows, facts, duplicates=sum(n > 1 for n in counts.values()))


@bank.wrong("data_card", "duplicates is the number of different texts in your card.")
def different_texts(rows, facts):
    return _card(rows, facts, duplicates=len({row["text"] for row in rows}))


@bank.wrong("data_card", "Further facts are lost; all facts stay.")
def required_facts_only(rows, facts):
    _refuse(facts)
    return {name: facts[name] for name in REQUIRED} | _counts(rows)


@bank.wrong("data_card", "The facts are missing in the card.")
def counts_only(rows, facts):
    _refuse(facts)
    return _counts(rows)


@bank.wrong("data_card", "A required fact that is missing must raise ValueError.")
def missing_accepted(rows, facts):
    _refuse(facts, required=[name for name in REQUIRED if name in facts])
    return dict(facts) | _counts(rows)


@bank.wrong("data_card", "A fact of white space is as good as none: ValueError.")
def blank_accepted(rows, facts):
    _refuse(facts, blank=False)
    return dict(facts) | _counts(rows)


@bank.wrong("data_card", "A fact with the name of a count must raise ValueError; typed numbers are "
            "those of an earlier version.")  # fmt: skip
def counts_may_be_typed(rows, facts):
    _refuse(facts, counted=())
    return _counts(rows) | dict(facts)


@bank.wrong(
    "data_card", "A fact with the name of a count is overwritten silently; raise ValueError."
)
def typed_counts_overwritten(rows, facts):
    _refuse(facts, counted=())
    return dict(facts) | _counts(rows)


@bank.wrong(
    "data_card", "A missing fact raises KeyError in your function; ValueError is asked for."
)
def other_error(rows, facts):
    for name in REQUIRED:
        if not facts[name].strip():
            raise ValueError(name)
    _refuse(facts)
    return dict(facts) | _counts(rows)


@bank.wrong(
    "data_card", "No rows is an error in your function; the card of an empty set has zeros."
)
def no_rows_fail(rows, facts):
    return _card(rows, facts, **{"from": min(row["date"] for row in rows)})


@bank.right("data_card")
def counts_then_facts(rows, facts):
    return _card(rows, facts)


@bank.right("data_card")
def in_one_pass(rows, facts):
    _refuse(facts)
    card, seen = {**facts, "documents": 0, "bytes": 0, "duplicates": 0, "from": "", "to": "",
                  "languages": {}, "sources": {}}, set()  # fmt: skip
    for row in rows:
        card["documents"] += 1
        card["bytes"] += len(bytes(row["text"], "utf-8"))
        card["duplicates"] += row["text"] in seen
        seen.add(row["text"])
        card["from"] = min(card["from"] or row["date"], row["date"])
        card["to"] = max(card["to"], row["date"])
        for key in ("language", "source"):
            card[f"{key}s"][row[key]] = card[f"{key}s"].get(row[key], 0) + 1
    return card


# --- mutants that change nothing -------------------------------------------------------------

SIGN = "a sum of negative numbers is divisible by 10 if that of the positive ones is"
SQUARE = "the square of a difference has no sign"
ORDER = "the order of two arguments does not matter here"
for exercise, mutant, reason in (
    ("luhn_valid", "value - 9 * (value > 9)  =>  9 * (value > 9) - value", SIGN),
    ("find_pii", "2  =>  3", "any length above 1 stands for the groups that are not there"),
    ("redact", "max(areas[-1][1], span.end)  =>  max(span.end, areas[-1][1])", ORDER),
    ("code_switch_index", "0  =>  -1", "most_common(1) has one entry"),
    ("code_switch_index", "1  =>  2  (#3)", "its first entry is the same"),
    ("coverage_report", "max(len(rows), 1)  =>  max(1, len(rows))", ORDER),
    ("group_gap", "group.unique().tolist()  =>  (group.unique())", "tensors count as numbers"),
    (
        "group_gap",
        "math.hypot(p - p_low, q_high - q)  =>  math.hypot(q_high - q, p - p_low)",
        ORDER,
    ),
    (
        "group_gap",
        "math.hypot(p_high - p, q - q_low)  =>  math.hypot(q - q_low, p_high - p)",
        ORDER,
    ),
    ("group_gap", "p - p_low  =>  p_low - p", SQUARE),
    ("group_gap", "q_high - q  =>  q - q_high", SQUARE),
    ("group_gap", "p_high - p  =>  p - p_high", SQUARE),
    ("group_gap", "q - q_low  =>  q_low - q", SQUARE),
):
    bank.equivalent(exercise, mutant, reason)
