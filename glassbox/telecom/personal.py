"""Texts with personal data of nine kinds whose places are known, and what each kind looks like.

The kinds are told apart by their form alone: no word before a number decides what it is. Digits are
0-9, letters A-Z and a-z; "groups of" numbers are joined by one space or one hyphen throughout.

- `email`: `name@domain`. The name has letters, digits and `. _ % + -`, begins and ends with a
  letter or digit (or `_`), and has no two dots in a row; the domain is two or more labels of
  letters, digits and inner hyphens joined by dots, and the last label is at least two letters.
- `ip`: an IPv4 address, four numbers of 0-255 without leading zeros, joined by dots; or an IPv6
  address, eight groups of 1-4 hexadecimal digits joined by colons, where one run of zero groups may
  be written `::`. It is the whole run of hexadecimal digits and colons, less a single colon at its
  end. A port (`:443`) is no part of it; a network (`192.0.2.0/24`) is no address.
- `imsi`, a subscriber in the network: 15 digits, the first three in `COUNTRIES`; bare, or in groups
  of 3-2-10. It has no check digit.
- `imei`, a device: 15 digits, the last of them the Luhn digit; bare, or in groups of 2-6-6-1.
- `msisdn`, a subscriber's number as networks store it: bare digits without a plus, a beginning and
  a length as in `MOBILE`.
- `iccid`, a SIM card: 19 or 20 digits that begin with 89, the last of them the Luhn digit; bare, or
  in groups of four (of 19 digits the last group has three).
- `card`, a payment card: a beginning and a length as in `CARDS`, the last digit the Luhn digit;
  bare, or in groups of 4-4-4-4, if it has 15 digits of 4-6-5.
- `national_id`, the Finnish personal identity code: day, month, year (DDMMYY, day 01-31, month
  01-12), a sign `-`, `+` or `A`, three digits, and the check character: DDMMYY and the three digits
  as one number, modulo 31, counted in `CHECK_CHARACTERS`. 11 characters, capitals only.
- `phone`, a number as people dial it. International: `+` or `00`, then 9-12 digits, the first not
  0, and an inserted `(0)` does not count. National: 10 or 11 digits, the first a 0, the second not
  (`020 7946 0123`). North American: ten digits in groups of 3-3-4, the first not 0 or 1, never
  bare. The digits are bare or in groups; between groups stands one space, `-`, `.` or `/`. The
  first group of a national or American number, or that after the country code, may be in round
  brackets, with or without a space beside them. Groups have two digits or more; only a country code
  and the group after it may have one.

**Edges.** A value stands free. Before it is no letter, digit, `_`, `#` or `+`, and no `.`, `-` or
`/` that follows a letter or digit; after it is no letter, digit or `_`, and no `.`, `-`, `/` or `:`
that comes before a letter or digit (only an IPv4 address may have `:` and a port after it). So
`1.2.3.4.5`, `INC-447700900123` and `#0123` hold nothing, and the full stop of a sentence is never
part of a value. Thai letters may touch a value: they are no A-Z.

**Overlap.** Of two values that overlap the longer counts, of equally long ones the kind that stands
first in `PRIORITY`: `447700900123@ims.example.net` is an e-mail address, 15 digits that begin with
001 are an IMSI even if the last happens to be a Luhn digit.

Every value made here is nobody's: example.org and its siblings (RFC 2606), 192.0.2.0/24,
198.51.100.0/24, 203.0.113.0/24 (RFC 5737) and 2001:db8::/32 (RFC 3849), numbers that Ofcom, the
Bundesnetzagentur, Arcep and the North American plan keep for films, the test network 001 and the
private 999 (E.212), test devices 0044, the test cards of payment services, SIM cards of the
unassigned country code 999, and identity codes with 900-999, which are given to no one for good.
Names and addresses of streets are personal too; rules cannot find them, and none are planted.
"""

import re
from collections.abc import Callable, Sequence
from random import Random
from typing import NamedTuple

PII: tuple[str, ...] = (
    "email", "phone", "ip", "imsi", "imei", "msisdn", "iccid", "card", "national_id",
)  # fmt: skip
PRIORITY: tuple[str, ...] = (
    "email", "ip", "national_id", "iccid", "card", "imsi", "imei", "msisdn", "phone",
)  # fmt: skip
"""Which kind counts if two values of the same length overlap: the first."""
COUNTRIES: tuple[str, ...] = ("001", "999", "208", "214", "234", "262", "310", "520")
"""Mobile country codes: test, private, France, Spain, Britain, Germany, United States, Thailand."""
MOBILE: dict[str, int] = {"447": 12, "336": 11, "337": 11, "4917": 12}
"""How a mobile number begins in international form, and how many digits it has in all."""
CARDS: tuple[tuple[str, str, int], ...] = (
    ("4", "4", 16), ("51", "55", 16), ("2221", "2720", 16), ("6011", "6011", 16), ("65", "65", 16),
    ("3528", "3589", 16), ("34", "34", 15), ("37", "37", 15),
)  # fmt: skip
"""The lowest and the highest beginning of a card number, and its digits: Visa, Mastercard (two
rows), Discover (two), JCB, American Express (two)."""
CHECK_CHARACTERS = "0123456789ABCDEFHJKLMNPRSTUVWXY"
Draw = Callable[[], float]


class Span(NamedTuple):
    """A value of personal data in a text: text[start:end]. `end` is exclusive."""

    start: int
    end: int
    kind: str  # one of PII


# --- values ------------------------------------------------------------------------------------


def luhn_digit(digits: str) -> str:
    """The digit that, written behind `digits`, makes the number pass the Luhn check."""
    doubled = [int(d) for d in digits[-1::-2]]
    total = sum(2 * d - 9 * (d > 4) for d in doubled) + sum(int(d) for d in digits[-2::-2])
    return str(-total % 10)


def check_character(date: str, number: str) -> str:
    """The last character of an identity code: DDMMYY and NNN as one number, modulo 31."""
    return CHECK_CHARACTERS[int(date + number) % 31]


FIRST = (
    "anna",
    "ben",
    "carla",
    "d.elena",
    "farid",
    "grace",
    "hugo.m",
    "ines_k",
    "jonas",
    "Kavya",
    "LIAM",
    "maria-rosa",
    "nok",
    "omar99",
    "p.riya",
    "q",
    "somchai.t",
    "wanda",
    "y_usuf",
)
MORE = ("", "", "", "+bills", "+sim2", ".ng", "_home", "1984", "-office", "%ext")
DOMAINS = (
    "example.org", "example.com", "example.net", "mail.example.org", "care.northline.example",
    "EXAMPLE.COM", "a-b.example.net", "uni.example", "ims.mnc001.mcc001.example",
)  # fmt: skip
NETWORKS = ("192.0.2", "198.51.100", "203.0.113")
TEST_CARDS = (
    "4242424242424242", "4012888888881881", "4111111111111111", "4000056655665556",
    "4000000000000002", "4000000000009995", "4000002760003184", "4000000000003220",
    "5555555555554444", "5105105105105100", "5200828282828210", "2223003122003222",
    "6011111111111117", "6011000990139424", "3530111333300000", "3566002020360505",
    "378282246310005", "371449635398431", "378734493671000",
)  # fmt: skip
PHONES = (  # N: any digit
    "+44 7700 900NNN", "07700 900NNN", "+447700900NNN", "07700900NNN", "0044 7700 900NNN",
    "+44-7700-900NNN", "(07700) 900NNN", "020 7946 0NNN", "(020) 7946 0NNN", "+44 (0)20 7946 0NNN",
    "+44 20 7946 0NNN", "02079460NNN", "0161-496-0NNN", "+44.161.496.0NNN", "01632 960NNN",
    "030 23125NNN", "030/23125NNN", "+49 30 23125 NNN", "(030) 23125-NNN", "+49 (0)30 23125NNN",
    "+49-30-23125NNN", "0049 30 23125NNN", "0171 39200NN", "+49 171 39200NN",
    "06 39 98 NN NN", "06.39.98.NN.NN", "+33 6 39 98 NN NN", "+33 (0)6 39 98 NN NN", "063998NNNN",
    "0033 6 39 98 NN NN", "01 99 00 NN NN", "01-99-00-NN-NN", "+33199 00NNNN",
    "(212) 555-01NN", "212-555-01NN", "212.555.01NN", "+1 212 555 01NN", "+1 (415) 555-01NN",
    "+1-415-555-01NN", "+1415 55501NN", "415 555 01NN", "(415)555-01NN",
)  # fmt: skip


def pick(options: Sequence[str], draw: Draw) -> str:
    """One of the options."""
    return options[int(draw() * len(options))]


def digits(n: int, draw: Draw) -> str:
    """n digits, the first maybe a zero."""
    return "".join(str(int(draw() * 10)) for _ in range(n))


def grouped(number: str, sizes: Sequence[int], joint: str) -> str:
    """The number in groups of these sizes."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return joint.join(number[end - size : end] for end, size in zip(ends, sizes, strict=True))


def _spaced(number: str, sizes: Sequence[int], draw: Draw) -> str:
    """Mostly bare, else in groups."""
    return pick((number, number, grouped(number, sizes, " "), grouped(number, sizes, "-")), draw)


def _email(draw: Draw) -> str:
    if draw() < 0.08:
        return f"447700900{digits(3, draw)}@{pick(DOMAINS, draw)}"
    return f"{pick(FIRST, draw)}{pick(MORE, draw)}@{pick(DOMAINS, draw)}"


def _phone(draw: Draw) -> str:
    return re.sub("N", lambda _: digits(1, draw), pick(PHONES, draw))


def _ip(draw: Draw) -> str:
    if draw() < 0.55:
        return f"{pick(NETWORKS, draw)}.{int(draw() * 256)}"
    tail = [f"{int(draw() * 65536):x}" for _ in range(6)]
    forms = (
        ":".join(["2001", "db8", *tail]),
        ":".join(["2001", "0db8", *(part.zfill(4) for part in tail)]),
        f"2001:db8::{tail[0]}", f"2001:db8:{tail[0]}::{tail[1]}:{tail[2]}",
        f"2001:DB8:{tail[0].upper()}:{tail[1].upper()}::{tail[2].upper()}", "2001:db8::",
        f"2001:db8:0:0:{tail[0]}::1",
    )  # fmt: skip
    return pick(forms, draw)


def _imsi(draw: Draw) -> str:
    number = pick(("00101", "00101", "99970"), draw) + digits(10, draw)
    return _spaced(number, (3, 2, 10), draw)


def _imei(draw: Draw) -> str:
    number = "0044" + digits(10, draw)
    return _spaced(number + luhn_digit(number), (2, 6, 6, 1), draw)


def _msisdn(draw: Draw) -> str:
    return pick((f"447700900{digits(3, draw)}", f"3363998{digits(4, draw)}",
                 f"4917139200{digits(2, draw)}"), draw)  # fmt: skip


def _iccid(draw: Draw) -> str:
    number = "89999" + digits(13 + int(draw() * 2), draw)
    number += luhn_digit(number)
    return _spaced(number, (4, 4, 4, 4, len(number) - 16), draw)


def _card(draw: Draw) -> str:
    number = pick(TEST_CARDS, draw)
    return _spaced(number, (4, 4, 4, 4) if len(number) == 16 else (4, 6, 5), draw)


def _national_id(draw: Draw) -> str:
    sign = pick("---AA+", draw)
    year = int(draw() * (20 if sign == "A" else 100))  # A: born from 2000 on
    date = f"{1 + int(draw() * 28):02d}{1 + int(draw() * 12):02d}{year:02d}"
    number = "9" + digits(2, draw)
    return f"{date}{sign}{number}{check_character(date, number)}"


_VALUES: dict[str, Callable[[Draw], str]] = {
    "email": _email, "phone": _phone, "ip": _ip, "imsi": _imsi, "imei": _imei, "msisdn": _msisdn,
    "iccid": _iccid, "card": _card, "national_id": _national_id,
}  # fmt: skip


def value(kind: str, draw: Draw) -> str:
    """A value of a kind in one of its forms; `draw` gives numbers in [0, 1), as random.random."""
    return _VALUES[kind](draw)


# --- near misses -------------------------------------------------------------------------------


def _wrong(number: str, draw: Draw) -> str:
    """The number with another last digit, so that the Luhn check fails."""
    return number[:-1] + str((int(number[-1]) + 1 + int(draw() * 9)) % 10)


def _no_email(draw: Draw) -> str:
    return pick(
        (
            "@northline_care",
            "root@localhost",
            f"radio-lib@2.{int(draw() * 90)}.0",
            "noc@core-7",
            "anna@@example.org",
            "ben at example.org",
            "5@2.50",
        ),
        draw,
    )


def _no_phone(draw: Draw) -> str:
    n = digits(3, draw)
    return pick((f"555-0{n}", f"0{1 + int(draw() * 9)}.0{1 + int(draw() * 9)}.2026", "0800 11 11",
                 f"INC-07700900{n}", f"#02079460{n}", f"020-7946-0{n}-A", f"T07700900{n}",
                 f"0{1 + int(draw() * 9)}.03.2026 07:{10 + int(draw() * 50)}", f"0.20.7946.0{n}",
                 f"07700900{n}_{n}", f"0123456789{n}"), draw)  # fmt: skip


def _no_ip(draw: Draw) -> str:
    a, b = int(draw() * 256), f"{int(draw() * 65536):x}"
    return pick((f"1.2.3.{a}.5", "999.999.999.999", f"192.0.2.{256 + a}", f"v1.{a % 40}.3.4",
                 "192.0.2.0/24", "2001:db8::/32", f"02:00:5e:10:00:{a:02x}", f"10.{a}.1",
                 f"12:30:{10 + a % 50}", f"192.0.02.{a}", f"2001:db8::{b}::2", "core::session",
                 f"2001:db8:1:2:3:4:5:6:{b}", f"2001:db8:1:2:3:{b}", f"192.0.2.{a}-rc1",
                 f"2001:db8::{b}0000"), draw)  # fmt: skip


def _no_imsi(draw: Draw) -> str:
    odd = "70" + digits(12, draw)
    return pick(
        (
            _wrong(odd + luhn_digit(odd), draw),
            "99970" + digits(9, draw),
            "00101" + digits(11, draw),
            "#00101" + digits(10, draw),
            "00101" + digits(10, draw) + "F",
            "SUB-00101" + digits(10, draw),
        ),
        draw,
    )


def _no_imei(draw: Draw) -> str:
    body = pick(("35", "0044", "86"), draw)
    body += digits(14 - len(body), draw)
    number = _wrong(body + luhn_digit(body), draw)
    other = "35" + number[2:]
    other = _wrong(other[:-1] + luhn_digit(other[:-1]), draw)
    return pick((number, number, grouped(other, (2, 6, 6, 1), "-"), "35" + digits(12, draw),
                 body + luhn_digit(body) + "07"), draw)  # fmt: skip


def _no_msisdn(draw: Draw) -> str:
    n = digits(3, draw)
    return pick(
        (
            f"5{n}7009001{n[:2]}",
            f"44770090{n}",
            f"4477009001{n}",
            f"#447700900{n}",
            f"INC-447700900{n}",
            f"L447700900{n}",
            f"443998{n}{n}",
        ),
        draw,
    )


def _no_iccid(draw: Draw) -> str:
    while True:  # no group that begins with 0, as that might be a phone number
        body = "89999" + digits(13, draw)
        number = _wrong(body + luhn_digit(body), draw)
        parts = grouped(number, (4, 4, 4, 4, 3), " ")
        if " 0" not in parts:
            short = body[:17] + luhn_digit(body[:17])
            return pick((number, number, parts, short, body + "00" + luhn_digit(body + "00")), draw)


def _no_card(draw: Draw) -> str:
    safe = [card for card in TEST_CARDS if not re.match(r"....00[1-9]", card)]  # no 0031 2200 ...
    number = _wrong(pick(safe, draw), draw)
    sizes = (4, 4, 4, 4) if len(number) == 16 else (4, 6, 5)
    odd = "99" + digits(13, draw)
    return pick((_spaced(number, sizes, draw), _spaced(number, sizes, draw), odd + luhn_digit(odd),
                 f"#{pick(TEST_CARDS, draw)}", "42424242424242424"), draw)  # fmt: skip


def _no_national_id(draw: Draw) -> str:
    date = f"{10 + int(draw() * 19)}{1 + int(draw() * 12):02d}{digits(2, draw)}"
    number = "9" + digits(2, draw)
    right = check_character(date, number)
    wrong = pick(tuple(c for c in CHECK_CHARACTERS[10:] if c != right), draw)
    late = date[:2] + "13" + date[4:]
    return pick((f"{date}-{number}{wrong}", f"{date}A{number}{wrong}", f"{date}-{number}",
                 f"{late}-{number}{check_character(late, number)}", f"X{date}-{number}{right}",
                 f"{date}B{number}{right}", f"{date}-{number}{right}2"), draw)  # fmt: skip


HARD: dict[str, Callable[[Draw], str]] = {
    "email": _no_email, "phone": _no_phone, "ip": _no_ip, "imsi": _no_imsi, "imei": _no_imei,
    "msisdn": _no_msisdn, "iccid": _no_iccid, "card": _no_card, "national_id": _no_national_id,
}  # fmt: skip
"""By kind: a maker of near misses, which hold no personal data of any kind."""


def harmless(draw: Draw) -> str:
    """A number, code or name that is no personal data: a price, a date, a ticket, a hash."""
    n, m = int(draw() * 90) + 10, int(draw() * 9) + 1
    hashed = "".join(pick("0123456789abcdef", draw) for _ in range(40))
    return pick((f"{n}.99 EUR", f"1.{n}9,00 €", f"$ {n},{m}50.00", f"AS645{n}", f"AS 6551{m}",
                 f"2026-1{m % 3}-{n % 18 + 10}", f"{m}/{n % 28 + 1}/2026", f"{n % 24}:{n % 50 + 9}",
                 f"T{n}{m}0", f"INC-2026{n}{m}-00{n}", f"#{n}{m}{n}", f"v{m}.{n}.0-rc{m}", hashed,
                 f"E{m}0{m}", f"{n} GB", f"cell 2{n}-{m}", "*#06#", f"3.{m} GHz", f"{n} %",
                 f"2026-11-{n % 18 + 10}T0{m}:{n % 50 + 10}:00Z", "3GPP TS 23.003", f"+{m} dB",
                 f"{hashed[:8]}-{hashed[8:12]}-{hashed[12:16]}-{hashed[16:20]}-{hashed[20:32]}"),
                draw)  # fmt: skip


# --- texts -------------------------------------------------------------------------------------

_LINES: dict[str, tuple[str, ...]] = {  # {} is a value: the word before it is no rule
    "en": (
        "You can reach me at {}.", "Please write {} into the ticket.", "It is {}, I think.",
        "My details: {}.", "{} is what the display shows.", "The old one was {}; please delete it.",
        "We found \"{}\" in the export.", "Customer (known as {}) asks for a call back.",
        "Is {} still right?", "Please check {}, then close the case.", "For the record: {}",
        "Send it to the contact <{}>.", "Line {} has no service since Monday.",
        "I gave {} to your colleague!", "Nobody answers under {}...", "Registered: [{}].",
    ),
    "de": (
        "Bitte notieren Sie {}.", "Meine Angaben lauten {}, vielen Dank.", "Es geht um {}.",
        "Unter {} erreichen Sie mich nicht mehr.", "Auf der Rückseite steht {}!",
        "Der Kunde ({}) bittet um Rückruf.", "Stimmt {} noch?",
    ),
    "es": (
        "Por favor, anote {}.", "Mis datos son {}, gracias.", "¿Es correcto {}?",
        "En la pantalla aparece {}.", "El cliente ({}) espera una llamada.", "¡Ya le di {}!",
    ),
    "fr": (
        "Veuillez noter {}.", "Mes coordonnées : {}.", "L'écran affiche « {} ».",
        "Le client ({}) attend un appel.", "Est-ce que {} est encore valable ?",
    ),
    "th": (
        "กรุณาจด {} ไว้ด้วยค่ะ", "ข้อมูลของฉันคือ {} ค่ะ", "ติดต่อ{}ได้เลยครับ", "ลูกค้า ({}) รอสายกลับ",
        "หมายเลขคือ{}นะคะ", "หน้าจอแสดง {}",
    ),
    "log": (
        "crm 134 EXPORT [row=\"{}\"] sent", "amf 132 REG [{}] no answer", "value={};state=active",
        "audit 133 SEEN {}", "auth: user={}, result=ok", "trace id={} cause=17",
        "{\"value\": \"{}\", \"known\": true}", "probe 131 LOST peer={}",
    ),
}  # fmt: skip
_FILLERS: dict[str, tuple[str, ...]] = {  # without a number: what stands around
    "en": ("Thank you.", "The line is quiet now.", "I have restarted the modem.", "Good morning."),
    "de": ("Vielen Dank.", "Das Internet geht wieder.", "Guten Tag."),
    "es": ("Muchas gracias.", "La conexión es lenta.", "Buenos días."),
    "fr": ("Merci beaucoup.", "La ligne est coupée.", "Bonjour."),
    "th": ("ขอบคุณค่ะ", "อินเทอร์เน็ตช้ามาก", "สวัสดีครับ"),
    "log": ("core 134 UP link stable", "core 134 TICK no change"),
}  # fmt: skip
_MIXED = ("en", "en 2", "en 3", "en 4", "log", "de", "es", "th", "fr", "en 5")  # of ten texts
_VALUES_PER_TEXT = (2, 1, 3, 0, 2, 4, 2, 1, 3, 2)  # twenty in ten texts
LANGUAGES: tuple[str, ...] = tuple(_LINES)
"""What the sentences are written in; "log" is a system's log."""


def sentence(content: str, draw: Draw, language: str = "en") -> tuple[str, int]:
    """A sentence or line that holds `content`, and where in it the content begins."""
    before, _, after = pick(_LINES[language], draw).replace("{}", "\0", 1).partition("\0")
    return before + content + after, len(before)


def _order(kinds: Sequence[str], seed: int | str, number: int) -> str:
    """Item `number` of an endless series in which each run of len(kinds) has every kind once."""
    block, place = divmod(number, len(kinds))
    draw = Random(f"order {kinds[0]} {seed} {block}").random
    return sorted(kinds, key=lambda _: draw())[place]


def personal(seed: int | str, number: int) -> tuple[str, list[Span]]:
    """Text `number` (0, 1, ...) of a seed with 0-4 values, and where they stand.

    The spans are in order of their start and do not overlap; everything else in the text is no
    personal data in the sense of the definitions above. Every text also holds a near miss or a
    harmless number or two. Any ten texts in a row that begin at a multiple of ten hold 20 values,
    and the kinds take turns, so 150 texts hold 33 or 34 of each. The same arguments give the same
    text in every process.
    """
    draw = Random(f"personal {seed} {number}").random
    language = _order(_MIXED, seed, number).split()[0]
    tens, place = divmod(number, 10)
    first = 20 * tens + sum(_VALUES_PER_TEXT[:place])
    pieces: list[tuple[str, int, str]] = []  # text, where its value begins, its kind
    for i in range(first, first + _VALUES_PER_TEXT[place]):
        kind = _order(PII, seed, i)
        content = value(kind, draw)
        pieces.append((*sentence(content, draw, language), f"{kind} {len(content)}"))
    miss = HARD[_order(tuple(HARD), f"miss {seed}", number)](draw)
    others = [sentence(miss, draw, language)[0]]
    if draw() < 0.6:
        others.append(sentence(harmless(draw), draw, language)[0])
    if draw() < 0.6:
        others.append(pick(_FILLERS[language], draw))
    pieces += [(other, 0, "") for other in others]
    pieces = sorted(pieces, key=lambda _: draw())
    return _joined(pieces, language, draw)


def _joined(
    pieces: Sequence[tuple[str, int, str]], language: str, draw: Draw
) -> tuple[str, list[Span]]:
    """The pieces as one text: lines, turns of a dialogue, or running text."""
    turns = language != "log" and draw() < 0.3
    joint = "\n" if turns or language in ("log", "th") else pick((" ", " ", "\n"), draw)
    text, spans = "", []
    for i, (piece, at, told) in enumerate(pieces):
        text += ("\n" if text[-1:].isalnum() else joint) if i else ""
        text += ("Customer: ", "Agent: ")[i % 2] if turns else ""
        if told:
            kind, length = told.split()
            start = len(text) + at
            spans.append(Span(start, start + int(length), kind))
        text += piece
    return text, spans
