"""A corpus with planted defects and the truth about each of them.

`planted(seed, n)` makes n rows and says which of them hold which of fourteen defects; a seed that a
student does not know makes a corpus nobody has seen. Twelve defects belong to a document, two to
the corpus. What each one is, and therefore what counts as found:

- `exact_duplicate`: byte for byte the text of an earlier row.
- `near_duplicate`: an earlier row with a few words changed: of their word 5-shingles (lower case,
  `\\w+`) the two share at least 0.75 (Jaccard). Rows of different groups share at most 0.5, as they
  stand and cleaned, so no threshold between is a matter of taste. Copies are made of sound rows.
- `mojibake`: UTF-8 read as Windows-1252 or Latin-1, once or twice. Nothing is lost.
- `html`: a whole page with markup, style and script, or a text with tags and entities left in it.
- `boilerplate`: blocks of `BANNERS` before and after the text: menus, cookies, disclaimers.
- `spam`: text made by a machine for being found or clicked; nothing in it is worth keeping.
- `truncated`: the text ends within a word; what followed is gone.
- `personal_data`: values of the nine kinds of `personal`, each with its span. Sound rows hold
  none of them, but near misses.
- `wrong_fact`: a cause, title, repair time or region that contradicts the tables of `facts`.
- `stale_tariff`: a plan or price of `OLD_PLANS`, with a date of that time.
- `wrong_intent`: a dialogue with the label of another intent.
- `toxic`: a turn or line that insults somebody, with a word of `ABUSE`.
- `imbalance`: one intent has far more dialogues than any other; the truth holds all of them.
- `contamination`: the text holds a test item, word for word. Items that no row was given share no
  13 words in a row with any row.

A row has at most one defect, but the flooded intent and copies of each other are counted apart.
`planted_stream` makes the same sort of rows without end and without memory, for a million of them:
there the gap between groups is not checked, and holds because every text is two documents long.
"""

import html
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from html.entities import codepoint2name
from itertools import chain, count
from random import Random

from glassbox.telecom.dialogue import TOPICS
from glassbox.telecom.facts import (
    ERROR_WORDS,
    ERRORS,
    NAMES,
    PLANS,
    SERVICE_LEVELS,
    SITES,
    duration,
)
from glassbox.telecom.grammar import Writer
from glassbox.telecom.personal import Span, personal
from glassbox.telecom.strays import (
    ABUSE,
    BANNERS,
    DAYS,
    FOREIGN,
    HARMLESS_RULES,
    ITEM_RULES,
    MONTHS,
    NAMED,
    OLD_PLANS,
    PAGE_RULES,
    PAGES,
    SPAM_FORMS,
    SPAM_RULES,
    TARIFF_RULES,
    TOXIC_RULES,
)
from glassbox.telecom.stream import MAKERS

DEFECTS: tuple[str, ...] = (
    "exact_duplicate", "near_duplicate", "mojibake", "html", "boilerplate", "spam", "truncated",
    "personal_data", "wrong_fact", "stale_tariff", "wrong_intent", "toxic",
)  # fmt: skip
"""What may be wrong with a document."""
CORPUS_DEFECTS: tuple[str, ...] = ("imbalance", "contamination")
"""What may be wrong with a corpus."""
SHARES: dict[str, float] = {
    "exact_duplicate": 0.05, "near_duplicate": 0.07, "mojibake": 0.03, "html": 0.05,
    "boilerplate": 0.04, "spam": 0.05, "truncated": 0.03, "personal_data": 0.05,
    "wrong_fact": 0.03, "stale_tariff": 0.03, "wrong_intent": 0.03, "toxic": 0.03,
    "imbalance": 0.05, "contamination": 0.02,
}  # fmt: skip
"""Which share of a corpus has which defect, if nothing else is asked for."""
LANGUAGES: tuple[str, ...] = ("en", "de", "es", "fr", "th")
"""What rows are written in; English mixed with another one is "en+de", "en+hi" and so on."""
SOURCES: dict[str, tuple[str, ...]] = {
    "dialogue": ("call transcripts", "chat archive"), "ticket": ("ticket system",),
    "policy": ("intranet",), "spec": ("document store",), "syslog": ("log server",),
    "web": ("crawl of our site", "crawl of forums", "letters and e-mails"),
}  # fmt: skip
"""Where a kind of row comes from."""
NEAR, FAR = 0.75, 0.5  # Jaccard: at least within a group, at most between groups
WINDOW = 1000  # a copy in a stream is at most so far from its original
TESTS, LEAKED = 30, 12  # items of the test, and how many of them may be planted
COMMON = {  # kind or language of a sound row: its weight
    "dialogue": 38, "ticket": 13, "policy": 8, "spec": 7, "syslog": 8, "web": 10, "de": 4, "es": 4,
    "fr": 4, "th": 4,
}  # fmt: skip
Draw = Callable[[], float]
Row = dict[str, str]


@dataclass(frozen=True)
class Planted:
    """Rows and the truth about them; ids are those of the rows, "d00000" and so on in their order.

    A row has id, text, kind (dialogue, ticket, policy, spec, syslog or web), source, language, date
    (ISO) and intent, which only dialogues have.
    """

    rows: list[Row]
    truth: dict[str, set[str]]  # defect -> ids
    clusters: list[set[str]]  # ids of each group of exact and near duplicates
    spans: dict[str, list[Span]]  # id -> personal data
    clean: dict[str, str]  # id -> the text as it was: mojibake, html, boilerplate, truncated, PII
    test_items: list[str]
    leaked: dict[int, set[str]] = field(default_factory=dict)  # test item -> ids that hold it
    intents: dict[str, str] = field(default_factory=dict)  # id -> the right label of a wrong one


@dataclass
class _Piece:
    """A row that is being made, and what is known about it."""

    row: Row
    defect: str = ""
    clean: str = ""
    spans: list[Span] = field(default_factory=list)
    item: int = -1
    intent: str = ""  # the right one
    group: int = -1

    @property
    def text(self) -> str:
        return self.row["text"]


# --- chance ------------------------------------------------------------------------------------


def _drawer(*parts: object) -> Draw:
    """Random numbers for these words and numbers, the same in every process."""
    return Random(int.from_bytes(sha256(repr(parts).encode()).digest()[:8])).random


def _pick(options: Sequence, draw: Draw):
    return options[int(draw() * len(options))]


def _weighted(weights: Mapping[str, float], draw: Draw) -> str:
    left = draw() * sum(weights.values())
    for name, weight in weights.items():  # noqa: B007
        left -= weight
        if left < 0:
            break
    return name


def _mixed(items: Sequence, draw: Draw) -> list:
    """The items in another order."""
    return [item for _, _, item in sorted((draw(), i, item) for i, item in enumerate(items))]


# --- sound texts -------------------------------------------------------------------------------

HOSTS = {"192.0.2": "lab", "198.51.100": "east", "203.0.113": "west"}


def _impersonal(text: str) -> str:
    """Without the numbers and addresses that the generator puts into calls, tickets and logs."""
    if "+44 7700 900" in text:
        text = text.replace("+44 7700 900", "L")
    if "imsi=" in text:
        text = text.replace('imsi="0010100000', 'user="u')
    if "2001:db8:" in text:
        text = re.sub(r"2001:db8:(\w+)::(\w+)", r"six-\1-\2", text)
    for network, name in HOSTS.items():
        if network in text:
            text = text.replace(network + ".0/24", name).replace(network + ".", name + "-")
    return text.replace("policy@northline.example.net", "the policy desk")


def _facts(draw: Draw) -> dict[str, str]:
    """What the pages of a crawl speak about."""
    site = int(draw() * len(SITES))
    other = SITES[(site + 1 + int(draw() * (len(SITES) - 1))) % len(SITES)]
    first, step, plan = int(draw() * len(NAMES)), 1 + int(draw() * 11), _pick(PLANS, draw)
    names = [NAMES[(first + i * step) % len(NAMES)] for i in range(3)]
    month = int(draw() * 12)
    return {
        **NAMED, **_pick(ERROR_WORDS, draw), "site": SITES[site].name, "plan": plan.name,
        "price": str(plan.price), "region": SITES[site].region, "site2": other.name,
        "site_code": SITES[site].code, "name": names[0], "name2": names[1], "name3": names[2],
        "month": MONTHS[month], "month2": MONTHS[(month + 2) % 12],
        "day": _pick(DAYS, draw), "day2": _pick(DAYS, draw),
    }  # fmt: skip


def _body(kind: str, draw: Draw, topic: str = "") -> tuple[str, str, str]:
    """Topic, language and text; for a kind, a language, or "spam"."""
    if kind == "dialogue":  # its first two draws choose the topic
        topic = topic or _pick(TOPICS, draw)
        first = (0.99, (TOPICS.index(topic) + 0.5) / len(TOPICS))
        return MAKERS[kind](chain(first, iter(draw, None)).__next__)
    if kind in MAKERS:
        return MAKERS[kind](draw)
    if kind in FOREIGN:
        return "", kind, Writer(FOREIGN[kind], _facts(draw), draw)("letter")
    if kind == "spam":
        return "", "en", Writer(SPAM_RULES, {}, draw)(_pick(SPAM_FORMS, draw))
    return "", "en", Writer(PAGE_RULES, _facts(draw), draw)(_pick(PAGES, draw))


def _base(kind: str, draw: Draw, topic: str = "") -> _Piece:
    """A sound row of this kind or language (or a spam page)."""
    topic, language, text = _body(kind, draw, topic)
    text = _impersonal(text)
    kind = kind if kind in MAKERS else "web"
    dated = re.search(r"\d{4}-\d{2}-\d{2}", text)
    drawn = f"{2023 + int(draw() * 3)}-{1 + int(draw() * 12):02d}-{1 + int(draw() * 28):02d}"
    mixed = kind == "dialogue" and language != "en"
    row = {"id": "", "text": text, "kind": kind, "source": _pick(SOURCES[kind], draw),
           "language": f"en+{language}" if mixed else language,
           "date": dated[0] if dated else drawn,
           "intent": topic if kind == "dialogue" else ""}  # fmt: skip
    return _Piece(row, intent=row["intent"])


def _sound(draw: Draw) -> _Piece:
    """A sound row as they come, now and then with something that looks like a defect."""
    piece = _base(_weighted(COMMON, draw), draw)
    text, chance = piece.text, draw()
    if piece.row["kind"] in ("syslog", "spec"):
        return piece
    if chance < 0.08:
        text = _with_line(text, Writer(HARMLESS_RULES, {}, draw)("line"), draw)
    elif chance < 0.18:
        text = _typeset(text, draw)
    elif chance < 0.26:
        text = _with_line(text, _harmless_numbers(draw), draw)
    elif chance < 0.32 and "euro" not in text and "EUR" not in text:
        plan = _pick(PLANS, draw)
        text = _with_line(text, _tariff(plan.name, plan.price, int(piece.row["date"][:4]), draw),
                          draw)  # fmt: skip
    elif chance < 0.34 and not any(plan.name in text for plan in PLANS):
        piece.row["date"] = f"{2019 + int(draw() * 4)}{piece.row['date'][4:]}"
    piece.row["text"] = text
    return piece


def _with_line(text: str, line: str, draw: Draw) -> str:
    """The text with one more line, which is a turn where the text is a dialogue."""
    lines = text.split("\n")
    place = 1 + int(draw() * len(lines))
    speaker = re.match(r"(Customer|Agent): ", lines[place - 1])
    if speaker and ": " not in line[:11]:
        line = speaker[0] + line
    return "\n".join([*lines[:place], line, *lines[place:]])


QUOTES = "\u201c\u201d\u2019"


def _typeset(text: str, draw: Draw) -> str:
    """With typographic quotes, dashes and the euro sign: no ASCII, and nothing wrong."""
    text = re.sub(r'"([^"\n]*)"', f"{QUOTES[0]}\\1{QUOTES[1]}", text.replace("'", QUOTES[2]))
    text = text.replace(" euros", " \N{EURO SIGN}").replace(" EUR", " \N{EURO SIGN}")
    parts = text.split(", ")
    joints = [" \N{EN DASH} " if draw() < 0.4 else ", " for _ in parts[1:]]
    return parts[0] + "".join(map("".join, zip(joints, parts[1:], strict=True)))


BARE = 3  # of ten texts of `personal` this one has no value


def _harmless_numbers(draw: Draw) -> str:
    """A line of `personal` that holds no value, but near misses."""
    lines = (personal("harmless", 10 * number + BARE) for number in count(int(draw() * 1e5)))
    return next(line for line, spans in lines if not spans and line.isascii())


def _tariff(name: str, price: int, year: int, draw: Draw) -> str:
    facts = {"plan": name, "price": str(price), "year": str(year), "month": _pick(MONTHS, draw),
             "day_number": str(1 + int(draw() * 28))}  # fmt: skip
    return Writer(TARIFF_RULES, facts, draw)("line")


# --- defects, one after the other: a piece, or None if the text drawn does not suit --------------


def _mojibake(draw: Draw) -> _Piece | None:
    kind = _pick(("de", "es", "fr", "th", "dialogue", "web", "policy"), draw)
    piece = _base(kind, draw)
    if kind in MAKERS or kind == "web":
        piece.row["text"] = _typeset(piece.text, draw)
    piece.clean = piece.text
    if sum(not letter.isascii() for letter in piece.clean) < 3:
        return None
    latin = kind != "th" and draw() < 0.3
    times = 2 if kind != "th" and draw() < 0.25 else 1
    for _ in range(times):
        piece.row["text"] = _misread(piece.text, latin)
    return piece


def _misread(text: str, latin: bool) -> str:
    """The bytes of UTF-8, read as Latin-1, or as Windows-1252 where that has a letter for them."""
    data = text.encode()
    if latin:
        return data.decode("latin-1")
    return "".join(bytes([b]).decode("cp1252", "ignore") or chr(b) for b in data)


def _html(draw: Draw) -> _Piece | None:
    piece = _base(_pick(("web", "web", "web", "policy", "ticket", "dialogue", "de", "es"), draw),
                  draw)  # fmt: skip
    piece.clean = piece.text
    make = _page if draw() < 0.6 else _residue
    piece.row["text"] = make(piece.clean, piece.row["language"][:2], draw)
    return piece


STYLES = (
    "body {{ margin: 0; font: {0}px sans-serif }} .c{1} {{ color: #{2} }}",
    "#m{1} > li {{ float: left; width: {0}% }} h1 {{ color: #{2} }}",
    "@media (max-width: {1}px) {{ main {{ padding: {0}px }} }}",
)
SCRIPTS = (
    "var n{1} = {0}; if (n{1} < {2} && !window.seen) {{ track('page', n{1}); }}",
    "document.querySelector('.c{1}').onclick = () => {{ open('/p/{2}'); }};",
    'window.layer = window.layer || []; layer.push({{"id": {2}, "v": "{0}"}});',
)
LINKS = ("Plans", "Phones", "Fibre", "Help", "Shops", "My account", "Business", "News", "Contact")


def _page(text: str, language: str, draw: Draw) -> str:
    """A whole page around the text: its first line is the heading, each further one a block."""
    first, *rest = [_escaped(line, draw) for line in text.split("\n")]
    numbers = [int(draw() * 90) + 10, int(draw() * 900) + 100, int(draw() * 900) + 100]
    style, script = (_pick(some, draw).format(*numbers) for some in (STYLES, SCRIPTS))
    links = "".join(f'<li><a href="/{link.lower().replace(" ", "-")}">{link}</a></li>'
                    for link in _mixed(LINKS, draw)[: int(draw() * 5)])  # fmt: skip
    form = int(draw() * 4)
    if form == 0:
        body = "\n".join(f"<p>{line}</p>" for line in rest)
    elif form == 1:
        body = "<div>" + "</div>\n<div>".join(rest) + "</div>"
    elif form == 2:
        body = "<ul>\n" + "\n".join(f"<li>{line}" for line in rest) + "\n</ul>"
    else:
        cells = "</td></tr>\n<tr><td>".join(rest)
        body = (f"<table class=\"c{numbers[1]}\"><tr><td><table>\n<tr><td>{cells}</td></tr>\n"
                "</table></td></tr></table>")  # fmt: skip
    navigation = f"<nav><ul>{links}</ul></nav>\n" if links else ""
    return (
        f'<!DOCTYPE html>\n<html lang="{language}">\n<head><meta charset="utf-8">\n'
        f"<title>{first}</title>\n<style>{style}</style>\n<script>{script}</script>\n</head>\n"
        f"<body>\n{navigation}<!-- block {numbers[2]} -->\n<main><h1>{first}</h1>\n{body}\n</main>"
        f"\n</body>\n</html>"
    )


def _escaped(line: str, draw: Draw) -> str:
    """With entities, by name or number, for what HTML asks for and for some other letters."""
    line = html.escape(line, quote=draw() < 0.5)
    named = draw() < 0.5
    return "".join(
        letter if letter.isascii() or draw() < 0.4
        else f"&{codepoint2name[ord(letter)]};" if named and ord(letter) in codepoint2name
        else f"&#{ord(letter)};" for letter in line
    )  # fmt: skip


RESIDUE = ("<b>{0}</b>", "{0}&nbsp;", "<br>{0}", "<br/>{0}", "{0}</p>", "<p>{0}", "<i>{0}</i>",
           '<a href="/t/{1}">{0}</a>', "</div>{0}", '<span class="s{1}">{0}</span>')  # fmt: skip


def _residue(text: str, language: str, draw: Draw) -> str:
    """The text with some tags and entities that a poor extraction left."""
    words = html.escape(text, quote=False).split(" ")
    for _ in range(4 + int(draw() * 5)):
        place = int(draw() * len(words))
        words[place] = _pick(RESIDUE, draw).format(words[place], int(draw() * 900))
    return " ".join(words)


def _boilerplate(draw: Draw) -> _Piece | None:
    piece = _base(_pick(("web", "web", "policy", "ticket", "dialogue", "de"), draw), draw)
    piece.clean = piece.text
    blocks = _mixed(BANNERS, draw)[: 2 + int(draw() * 3)]
    before = 1 if draw() < 0.7 else 2
    lines = [line for block in blocks[:before] for line in block]
    lines += [piece.clean, *(line for block in blocks[before:] for line in block)]
    piece.row["text"] = "\n".join(lines)
    return piece


def _spam(draw: Draw) -> _Piece | None:
    piece = _base("spam", draw)
    if draw() < 0.3:
        piece.row["text"] += "\n" + _base("spam", draw).text
    return piece


def _truncated(draw: Draw) -> _Piece | None:
    kind = _pick(("dialogue", "dialogue", "dialogue", "web", "policy", "ticket"), draw)
    piece = _base(kind, draw)
    piece.clean = text = piece.text
    inside = [i for i in range(len(text) * 2 // 5, len(text) * 4 // 5)
              if text[i - 2 : i + 2].isalpha() and text[i - 2 : i + 2].islower()]  # fmt: skip
    if not inside:
        return None
    piece.row["text"] = text[: _pick(inside, draw)]
    return piece if len(piece.text.split()) >= 25 else None


def _personal_data(draw: Draw) -> _Piece | None:
    piece = _base(_pick(("dialogue", "dialogue", "ticket", "ticket", "web", "policy"), draw), draw)
    piece.clean = text = piece.text
    lines = (personal("planted", number) for number in count(int(draw() * 1e6)))
    line, spans = next((line, spans) for line, spans in lines if spans and line.isascii())
    cuts = [i for i, letter in enumerate(text) if letter == "\n"] + [len(text)]
    cut = _pick(cuts, draw)
    piece.row["text"] = f"{text[:cut]}\n{line}{text[cut:]}"
    piece.spans = [Span(s.start + cut + 1, s.end + cut + 1, s.kind) for s in spans]
    return piece


def _wrong_fact(draw: Draw) -> _Piece | None:
    piece = _base(_pick(("dialogue", "ticket", "policy", "web"), draw), draw)
    piece.clean = text = piece.text
    for change in _mixed((_other_cause, _other_title, _other_repair, _other_region), draw):
        if (changed := change(text, draw)) not in ("", text):
            piece.row["text"] = changed
            return piece
    return None


def _swapped(text: str, right: str, wrong: str) -> str:
    """Each `right` becomes `wrong`, with a capital where it had one."""
    capital = right[:1].upper() + right[1:]
    return text.replace(right, wrong).replace(capital, wrong[:1].upper() + wrong[1:])


def _named_once(text: str) -> dict[str, str]:
    """The entry of the one error code that the text names; of none or several: nothing."""
    codes = set(re.findall(r"\bE\d{3}\b", text))
    found = [words for words in ERROR_WORDS if words["code"] in codes]
    return found[0] if len(codes) == 1 and found else {}


def _other_cause(text: str, draw: Draw) -> str:
    right = _named_once(text)
    others = [e.cause for e in ERRORS if right and e.cause != right["cause"]]
    return _swapped(text, right["cause"], _pick(others, draw)) if right else ""


def _other_title(text: str, draw: Draw) -> str:
    right = _named_once(text)
    if not right or not re.search(rf"{right['code']}[,:]? \(?{right['title']}", text):
        return ""
    others = [e.title for e in ERRORS if e.title != right["title"]]
    return _swapped(text, right["title"], _pick(others, draw))


REPAIR = re.compile(r"(\brepair\w*(?: is| are)?(?: due)? (?:in|within) )(\d+ (?:hours|minutes))")


def _other_repair(text: str, draw: Draw) -> str:
    levels = set(re.findall(r"\bP[1-4]\b", text))
    found = REPAIR.findall(text)
    right = {duration(60 * s.repair_hours) for s in SERVICE_LEVELS if s.severity in levels}
    if len(levels) != 1 or not found or any(hours not in right for _, hours in found):
        return ""
    others = [duration(60 * s.repair_hours) for s in SERVICE_LEVELS if s.severity not in levels]
    wrong = _pick(others, draw)
    return REPAIR.sub(lambda match: match[1] + wrong, text)


def _other_region(text: str, draw: Draw) -> str:
    for site in SITES:
        right = f"{site.code} {site.name}, region {site.region}"
        if right in text:
            others = [r for r in ("North", "East", "South", "West") if r != site.region]
            return text.replace(right, right.replace(f"region {site.region}",
                                                     f"region {_pick(others, draw)}"))  # fmt: skip
    return ""


def _stale_tariff(draw: Draw) -> _Piece | None:
    piece = _base("dialogue" if draw() < 0.5 else "web", draw)  # the others have dates of their own
    text = piece.text
    if "euro" in text or "EUR" in text:
        return None
    old = _pick(OLD_PLANS, draw)
    year = min(old.until, 2019 + int(draw() * 4))
    piece.row["date"] = f"{year}{piece.row['date'][4:]}"
    piece.row["text"] = _with_line(text, _tariff(old.name, old.price, year, draw), draw)
    return piece


def _wrong_intent(draw: Draw) -> _Piece | None:
    piece = _base("dialogue", draw)
    piece.row["intent"] = _pick([t for t in TOPICS if t != piece.intent], draw)
    return piece


def _toxic(draw: Draw) -> _Piece | None:
    piece = _base("dialogue" if draw() < 0.75 else "web", draw)
    turn = Writer(TOXIC_RULES, NAMED, draw)("turn")
    if piece.row["kind"] == "dialogue":
        turn = f"Customer: {turn}"
    piece.row["text"] = _with_line(piece.text, turn, draw)
    return piece


def _contamination(draw: Draw, items: Sequence[str]) -> _Piece | None:
    piece = _base(_pick(("web", "ticket", "policy", "dialogue"), draw), draw)
    piece.item = int(draw() * min(LEAKED, len(items)))
    piece.row["text"] = _with_line(piece.text, items[piece.item], draw)
    return piece


MAKE: dict[str, Callable[[Draw], _Piece | None]] = {
    "": _sound, "mojibake": _mojibake, "html": _html, "boilerplate": _boilerplate, "spam": _spam,
    "truncated": _truncated, "personal_data": _personal_data, "wrong_fact": _wrong_fact,
    "stale_tariff": _stale_tariff, "wrong_intent": _wrong_intent, "toxic": _toxic,
}  # fmt: skip


# --- copies ------------------------------------------------------------------------------------


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _grams(text: str, n: int = 5) -> set[tuple[str, ...]]:
    """All runs of n words; the whole text if it is shorter."""
    words = _words(text)
    return set(zip(*(words[i:] for i in range(n)), strict=False)) or {tuple(words)}


def jaccard(a: str, b: str) -> float:
    """Of the word 5-shingles that two texts have, the share that both have."""
    return _alike(_grams(a), _grams(b))


def _alike(a: set, b: set) -> float:
    both = len(a & b)
    return both / (len(a) + len(b) - both)


def _edited(text: str, draw: Draw) -> str:
    """The text with one to four small changes, and still as near as `NEAR` says."""
    grams = _grams(text)
    while True:
        changed = text
        for _ in range(1 + int(draw() * 4)):
            attempt = _pick(EDITS, draw)(changed, draw)
            if attempt != changed and _alike(_grams(attempt), grams) >= NEAR:
                changed = attempt
        if _words(changed) != _words(text):
            return changed


def _new_time(text: str, draw: Draw) -> str:
    times = re.findall(r"\b\d{2}:\d{2}\b", text)
    new = f"{int(draw() * 24):02d}:{int(draw() * 60):02d}"
    return text.replace(_pick(times, draw), new) if times else text


def _new_ticket(text: str, draw: Draw) -> str:
    return re.sub(r"\bT\d{4}\b", f"T{int(draw() * 10000):04d}", text)


def _new_name(text: str, draw: Draw) -> str:
    present = [name for name in NAMES if re.search(rf"\b{name}\b", text)]
    return re.sub(rf"\b{_pick(present, draw)}\b", _pick(NAMES, draw), text) if present else text


def _frame(text: str, draw: Draw) -> str:
    """One more line at one end."""
    day = f"{1 + int(draw() * 28)} {_pick(MONTHS, draw)}"
    line = _pick((f"Forwarded by {_pick(NAMES, draw)}, {day}.", f"Copy {1 + int(draw() * 9)}.",
                  f"Printed on {day}.", "Sent from my phone.", f"Imported on {day}.",
                  f"Page {1 + int(draw() * 9)} of {10 + int(draw() * 9)}."), draw)  # fmt: skip
    return f"{text}\n{line}" if draw() < 0.5 else f"{line}\n{text}"


def _without_end(text: str, draw: Draw) -> str:
    """Without the first or the last line."""
    lines = text.split("\n")
    return "\n".join(lines[1:] if draw() < 0.5 else lines[:-1]) if len(lines) > 3 else text


def _typing_error(text: str, draw: Draw) -> str:
    """Two letters of a word of small letters change places."""
    found = [m for m in re.finditer(r"\b[a-z]{5,}\b", text) if m[0] not in ABUSE]
    if len(found) == 0:
        return text
    at = _pick(found, draw).start() + 1 + int(draw() * 3)
    return text[:at] + text[at + 1] + text[at] + text[at + 2 :]


def _other_word(text: str, draw: Draw) -> str:
    old, new = _pick((("Please", "Kindly"), ("Hello", "Hi"), ("phone", "mobile phone"),
                      ("cannot", "can not"), ("minutes", "min"), ("Thank you", "Many thanks"),
                      ("will", "shall"), ("customer", "client"), (" and ", " as well as ")),
                     draw)  # fmt: skip
    return text.replace(old, new, 1)


EDITS = (_new_time, _new_ticket, _new_name, _frame, _without_end, _typing_error, _other_word)


class _Gap:
    """All texts so far, and how near a new one comes to those of other groups."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.groups: list[int] = []
        self.places: dict[tuple, list[int]] = defaultdict(list)

    def near(self, grams: set, group: int) -> bool:
        """Whether a text of another group shares more than `FAR` with this one."""
        both = Counter(chain.from_iterable(self.places[g] for g in grams if g in self.places))
        return any(
            shared > FAR * (len(grams) + self.sizes[i] - shared) and self.groups[i] != group
            for i, shared in both.items()
        )

    def add(self, piece: _Piece) -> bool:
        """Take a piece in, with its clean text, unless it comes too near to another group."""
        group = piece.group if piece.group >= 0 else len(self.sizes)
        forms = [_grams(text) for text in {piece.text, piece.clean or piece.text}]
        if any(self.near(grams, group) for grams in forms):
            return False
        piece.group = group
        for grams in forms:
            for gram in grams:
                self.places[gram].append(len(self.sizes))
            self.sizes.append(len(grams))
            self.groups.append(group)
        return True


# --- the corpus --------------------------------------------------------------------------------


def planted(
    seed: int | str = 0, n: int = 600, shares: Mapping[str, float] | None = None, student: str = ""
) -> Planted:
    """n rows with defects, and the truth; the same arguments give the same in every process.

    `shares` says which share of the rows has which defect (at least one row if it is above 0); what
    it leaves out is absent. Without it, `SHARES` holds: `{**SHARES, "spam": 0.2}` changes one.
    `student` makes a corpus of one's own. Raises ValueError if n is below 20, a name is unknown or
    the shares leave fewer than a tenth of the rows sound.
    """
    shares = SHARES if shares is None else shares
    unknown = set(shares) - {*DEFECTS, *CORPUS_DEFECTS}
    if unknown or n < 20 or min(shares.values(), default=0) < 0 or sum(shares.values()) > 0.9:
        raise ValueError(f"n is {n} and shares are {dict(shares)}; n is at least 20, the names are "
                         "those of SHARES, and shares add up to 0.9 at most.")  # fmt: skip
    counts = {name: max(1, int(share * n + 0.5)) for name, share in shares.items() if share > 0}
    tag = (seed, student)
    items = _items(tag)
    pieces = _originals(tag, n, counts, items)
    draw = _drawer(*tag, "order")
    return _told(_mixed(pieces, draw), items)


def _items(tag: tuple) -> list[str]:
    """Test items that share no 13 words in a row."""
    items: list[str] = []
    seen: set = set()
    for number in count():
        draw = _drawer(*tag, "item", number)
        item = Writer(ITEM_RULES, _facts(draw), draw)("item")
        if not seen & (grams := _grams(item, 13)):
            items.append(item)
            seen |= grams
        if len(items) == TESTS:
            return items


def _originals(tag: tuple, n: int, counts: Mapping[str, int], items: Sequence[str]) -> list[_Piece]:
    """All rows: those with a defect first, then sound ones, then copies of these."""
    copies = [name for name in ("exact_duplicate", "near_duplicate")
              for _ in range(counts.get(name, 0))]  # fmt: skip
    flooded = _pick(TOPICS, _drawer(*tag, "flooded"))
    makers = dict(MAKE) | {
        "contamination": lambda draw: _contamination(draw, items),
        "imbalance": lambda draw: _base("dialogue", draw, flooded),
    }
    tasks = [name for name in makers for _ in range(counts.get(name, 0))]
    tasks += [""] * (n - len(tasks) - len(copies))
    gap, pieces, in_items = _Gap(), [], set().union(*(_grams(item, 13) for item in items))
    for number, name in enumerate(tasks):
        for attempt in count():
            piece = makers[name](_drawer(*tag, name, number, attempt))
            if piece is None or (name != "contamination" and in_items & _grams(piece.text, 13)):
                continue
            piece.defect = name
            if gap.add(piece):
                break
        pieces.append(piece)
    if "imbalance" in counts:
        for piece in pieces:
            if not piece.defect and piece.intent == flooded:
                piece.defect = "imbalance"
    return pieces + _copies(tag, copies, pieces, gap)


def _copies(tag: tuple, kinds: Sequence[str], pieces: Sequence[_Piece], gap: _Gap) -> list[_Piece]:
    """Copies of sound rows; a third of them goes to a group that has one already."""
    draw = _drawer(*tag, "copies")
    free = _mixed([p for p in pieces if p.defect in ("", "imbalance")], draw)
    used: list[list[_Piece]] = []
    made = []
    for number, kind in enumerate(_mixed(kinds, draw)):
        if not used or (draw() < 0.67 and len(used) < len(free)):
            used.append([free[len(used)]])
        group = _pick(used, draw) if draw() < 0.33 else used[-1]
        for attempt in count():
            own = _drawer(*tag, "copy", number, attempt)
            source = _pick(group, own)
            text = source.text if kind == "exact_duplicate" else _edited(source.text, own)
            row = source.row | {"text": text, "source": _pick(SOURCES[source.row["kind"]], own)}
            copy = _Piece(row, "copy " + source.defect.removeprefix("copy "), intent=source.intent,
                          group=source.group)  # fmt: skip
            if text in [p.text for p in group] and kind != "exact_duplicate":
                continue
            if gap.add(copy):
                break
        group.append(copy)
        made.append(copy)
    return made


def _told(pieces: Sequence[_Piece], items: Sequence[str]) -> Planted:
    """Rows in their order with ids, and the truth in terms of them."""
    found = Planted([], {name: set() for name in (*DEFECTS, *CORPUS_DEFECTS)}, [], {}, {},
                    list(items))  # fmt: skip
    groups: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for number, piece in enumerate(pieces):
        own = f"d{number:05d}"
        found.rows.append(piece.row | {"id": own})
        earlier = groups[piece.group]
        if earlier:
            same = any(text == piece.text for _, text in earlier)
            found.truth["exact_duplicate" if same else "near_duplicate"].add(own)
        earlier.append((own, piece.text))
        defect = piece.defect.removeprefix("copy ").strip()
        if defect and defect != "copy":
            found.truth[defect].add(own)
        if piece.clean and defect != "wrong_fact":
            found.clean[own] = piece.clean
        if piece.spans:
            found.spans[own] = piece.spans
        if piece.item >= 0:
            found.leaked.setdefault(piece.item, set()).add(own)
        if defect == "wrong_intent":
            found.intents[own] = piece.intent
    found.clusters.extend({own for own, _ in group} for group in groups.values() if len(group) > 1)
    return found


# --- a stream ----------------------------------------------------------------------------------

COPIES = 0.16  # share of copies in a stream; half of them exact
STREAMED = {  # defect of a row that is no copy: its weight
    "": 76, "mojibake": 2, "html": 4, "boilerplate": 3, "spam": 4, "truncated": 2,
    "personal_data": 3, "wrong_fact": 2, "stale_tariff": 2, "wrong_intent": 1, "toxic": 1,
}  # fmt: skip


def planted_stream(seed: int | str, n: int, start: int = 0) -> Iterator[dict]:
    """Rows start, ..., n - 1 of a seed, each made from its number alone; memory stays as it is.

    Besides the keys of a row, `cluster` is the number of the row that this one is a copy of (or its
    own), and `defects` names its defects, joined by commas. A copy follows its original within
    `WINDOW` rows.
    """
    for number in range(start, n):
        yield _streamed(seed, number)


def _origin(seed: int | str, number: int) -> tuple[int, Draw]:
    """The row that a row is a copy of, or its own number; and the random numbers that follow."""
    draw = _drawer(seed, "stream", number)
    if draw() < COPIES and number:
        return number - 1 - int(draw() * min(number, WINDOW - 1)), draw
    return number, draw


def _streamed(seed: int | str, number: int) -> dict:
    origin, draw = _origin(seed, number)
    root = origin
    while (further := _origin(seed, root)[0]) != root:
        root = further
    piece = _streamed_piece(_drawer(seed, "row", root))
    defects = [piece.defect] if piece.defect else []
    if root != number:
        exact = piece.defect or draw() < 0.5
        defects.append("exact_duplicate" if exact else "near_duplicate")
        piece.row["text"] = piece.text if exact else _edited(piece.text, draw)
    return piece.row | {"id": f"s{number:08d}", "cluster": root, "defects": ",".join(defects)}


def _streamed_piece(draw: Draw) -> _Piece:
    """A row that is no copy: a document with its defect, and a second sound one after it."""
    name = _weighted(STREAMED, draw)
    piece = None
    while piece is None:
        piece = MAKE[name](draw)
    piece.defect = name
    if name == "spam":
        piece.row["text"] += "\n" + _base("spam", draw).text
    elif not piece.text.startswith("<!"):
        second = _base("ticket" if draw() < 0.6 else "syslog", draw).text
        both = (second, piece.text) if name == "truncated" else (piece.text, second)
        piece.row["text"] = "\n".join(both)
    return piece
