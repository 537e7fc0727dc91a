"""Reference of the redaction explorer: `glassbox.privacy` on generated texts, near misses and odd
ones. Also writes its data, `glassbox/explorers/redaction.json`: samples with the true spans.

    python tests/golden/redaction.py
"""

import hashlib
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import explore, privacy
from glassbox.telecom import personal

DATA = Path(__file__).parents[2] / "glassbox" / "explorers" / "redaction.json"
SAMPLES = (  # ‹kind:value›: what is personal; the last two hold what no form tells
    "Good morning. Please check ‹national_id:121236-956J›, then close the case. Call "
    "‹phone:+49-30-23125044›. Line 999.999.999.999 is dead. The device is "
    "‹imei:00-447745-300859-7›, its radio 1.2.3.182.5.",
    "The old one was 4012 8888 8888 1882; please delete it. Registered: "
    "[‹card:371449635398431›]. Customer (known as ‹email:d.elena-office@example.com›) asks "
    "for a call back, case 359197787569924.",
    "หน้าจอแสดง $ 46,650.00 ข้อมูลของฉันคือ 3714-496353-98437 ค่ะ ติดต่อ‹phone:(020) 7946 "
    "0692›ได้เลยครับ กรุณาจด ‹msisdn:33639984641› ไว้ด้วยค่ะ",
    "Auf der Rückseite steht ‹imsi:001 01 0899230071›! Es geht um #38238. Bitte notieren Sie "
    "#3530111333300000. Stimmt ‹phone:0033 6 39 98 90 97› noch? Der Kunde "
    "(‹ip:198.51.100.239›) bittet um Rückruf.",
    "amf 132 REG [192.0.2.383] no answer; auth: user=‹msisdn:33639988686›, result=ok; "
    'row="192.0.2.52-rc1"; id=‹imsi:001-01-9621003483›; '
    "peer=‹email:447700900076@mail.example.org›; value=‹phone:212.555.0110›",
    "Est-ce que ‹national_id:181218-976D› est encore valable ? L'écran affiche « 01.03.2026 "
    "07:18 ». Mes coordonnées : ‹iccid:8999951055543331969›. Veuillez noter 221014A924T. Le "
    "client (‹ip:203.0.113.221›) attend un appel.",
    "¡Ya le di #447700900618! Mis datos son ‹msisdn:491713920062›, gracias. En la pantalla "
    "aparece ‹phone:02079460265›. Por favor, anote 4000-0000-0000-0008. ¿Es correcto "
    "‹card:4000-0000-0000-9995›?",
    "I gave ‹phone:(030) 23125-639› to your colleague! The old one was INC-447700900723; "
    "please delete it. Is 2001:db8:1:2:3:4:5:6:19ef still right, or "
    "‹ip:2001:db8:0:0:2da0::1›?",
    "Please check ‹iccid:8999-9992-6237-8421-667›, then close the case. We found 10.1.33.7.2 "
    "in the export, AS64550 and 8b329a73. You can reach me at ‹phone:+44 7700 900123›.",
    "You pay 19.99 EUR since 2026-11-25. The order is 701226083997192, the parcel "
    "8999900000000000123.",
    "I am ‹name:Alma Quist›, ‹street:12 Mill Lane›. Call ‹phone:020 7946 0123›, not "
    "020-7946-0, or write to ‹email:q@example.net›.",
    "Agent: Thank you, ‹name:Mr Sen›. Plan 2.5.0 costs 19.99 EUR; it is for "
    "‹msisdn:447700900900› and the SIM ‹iccid:89999876483083432647›.",
)
RULELESS = {"name", "street"}
LONGEST = 260
ODD = [
    "", "  ", "@", "a@b", "a@b.cc", "..a@b.cc", "a..b@c.de", "x@y.z9", "x@y.zz.", "(x@y.zz)",
    "x@-y.zz", "mail:x_@y-y.zz,+z@y.zz", "1.2.3.4", "1.2.3.4:80", "1.2.3.4:ab", "1.2.3.4/24",
    "1.2.3.4.5", "v1.2.3.4", "256.1.1.1", "01.1.1.1", "::", "::1", "1::", "1:2:3:4:5:6:7:8",
    "1:2:3:4:5:6:7::", "1:2:3:4:5:6:7:8:9", "1::2::3", "peer 2001:db8::1: down",
    "peer 2001:db8::: down", "fe80::12345", "g::1", "12:30:15", "+44 7700 900123",
    "+44 7700 900123 12", "+44 (0) 20 7946 0123", "+44 (20) 7946 0123", "+1 (4) 155550123",
    "00 44 20 7946 0123", "00/44/20/7946/0123", "0044", "020 7946 0 123", "(020) 7946 0123",
    "((020)7946 0123", "(020 7946 0123)", "Tel.(020) 7946 0123", "020.7946.0123.",
    "020.7946.0123.a", "212 555 0123", "112 555 0123", "(212)555-0123", "(212) 555 0123 9",
    "2125550123", "+447700900123@example.org", "447700900123@example.org", "001010123456789",
    "001 01 0123456789", "001-01-0123456789", "001 01-0123456789", "42424242 42424242",
    "4242 4242 4242 4242", "4242-4242 4242 4242", "a4242424242424242", "3782 822463 10005",
    "378282246310005", "00 44 123456 78901 2", "131052-308T", "131052-308t", "131052A308T",
    "131052-308T.", "131052-308Tx", "321052-308T", "#131052-308T", "447700900123",
    "447700900123.5", "447700900123. Yes", "_447700900123", "โทร020 7946 0123ค่ะ",
    "ติดต่อ 447700900123ๆ", "é020 7946 0123é", "++44 7700 900123", "+0044 7700 900123",
    "020 7946 0123 and 07700 900123", "07700 900123 020 7946 0123", "07700900123/07700900124",
]  # fmt: skip


def spans(text: str) -> list[list]:
    return [list(span) for span in privacy.find(text)]


def compact() -> dict[str, Any]:
    """The samples without marks, their spans beside them; the rules find all that rules can."""
    samples = []
    for marked in SAMPLES:
        text, true = "", []
        for piece in re.split("[‹›]", marked):
            kind, colon, value = piece.partition(":")
            is_marked = bool(colon) and kind in {*personal.PII, *RULELESS}
            if is_marked:
                true.append([len(text), len(text) + len(value), kind])
            text += value if is_marked else piece
        assert spans(text) == [span for span in true if span[2] not in RULELESS], text
        samples.append({"text": text, "spans": true})
    return {"samples": samples}


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, (
        "run python tests/golden/redaction.py"
    )
    options = explore.about("redaction")["options"]
    assert options["sample"]["max"] == len(data["samples"])
    assert options["text"]["default"] == data["samples"][0]["text"]
    assert max(len(sample["text"]) for sample in data["samples"]) <= LONGEST
    assert {span[2] for sample in data["samples"] for span in sample["spans"]} > set(personal.PII)

    draw = random.Random("near misses").random
    misses = [personal.HARD[kind](draw) for kind in personal.PII for _ in range(12)]
    texts = [personal.personal("golden", number)[0] for number in range(160)]
    for text in (*texts, *ODD, *misses, *(sample["text"] for sample in data["samples"])):
        yield "find", [text], spans(text)
    for text in texts[:12]:
        yield "redacted", [text, spans(text)], privacy.redacted(text)
    names = privacy.Pseudonyms(b"key 1"), privacy.Pseudonyms("schlüssel".encode() * 5)
    for kind, value in (("email", "a@b.cc"), ("phone", "+44 7700 900123"), ("ip", "ü" * 60)):
        for made, key in zip(names, ("key 1", "schlüssel" * 5), strict=True):
            yield "pseudonym", [key, kind, value], made.name(kind, value)
    for n in (0, 1, 55, 56, 63, 64, 119, 120, 200):
        told = bytes(i * 7 % 256 for i in range(n))
        yield "sha256", [list(told)], list(hashlib.sha256(told).digest())
    for digits in ("", "0", "79927398713", "79927398710", "4242424242424242", "12a", "٤٢"):
        yield "luhn", [digits], privacy.luhn(digits)
    for kind in personal.PII:
        value = personal.value(kind, draw)
        groups = kind not in ("email", "ip")
        yield "kindOf", [value], kind if groups else None
        if ":" in value or groups:
            yield "isIpv4", [value], False
    for value in ("1.2.3.4", "256.1.1.1", "1.2.3", "01.2.3.4", "0.0.0.0"):
        yield "isIpv4", [value], bool(privacy.find(value))
    for value in ("2001:db8::1", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1::2::3", "::", "g::"):
        yield "isIpv6", [value], bool(privacy.find(value))
    found = [[0, 3, "ip"], [5, 9, "imei"]]
    yield "compared", [found, [[0, 3, "ip"], [5, 8, "imei"]]], {
        "right": [[0, 3, "ip"]], "extra": [[5, 9, "imei"]], "missed": [[5, 8, "imei"]],
    }  # fmt: skip
    true = [sample["spans"] for sample in data["samples"]]
    table = [privacy.find(sample["text"]) for sample in data["samples"]]
    hits = sum(len({tuple(t) for t in ts} & set(fs)) for ts, fs in zip(true, table, strict=True))
    called, there = (sum(map(len, lists)) for lists in (table, true))
    yield "total", ["right"], {"right": hits, "extra": called - hits, "missed": there - hits}
    for text, rules, expected in (  # what each mistake finds, by hand
        ("radio v1.2.3.4.5", "edges", [[7, 14, "ip"]]),
        ("INC-447700900123", "edges", [[4, 16, "msisdn"]]),
        ("at 999.999.999.999", "octets", [[3, 18, "ip"]]),
        ("IMEI 490154203237519", "checks", [[5, 20, "imei"]]),
        ("131052-308A", "checks", [[0, 11, "national_id"]]),
        ("+44 7700 900123, 020 7946 0123", "phones", [[0, 15, "phone"]]),
    ):
        yield "find", [text, rules], expected
        assert spans(text) != expected


if __name__ == "__main__":
    text = json.dumps(compact(), ensure_ascii=False).replace("}, {", "},\n{")
    DATA.write_text(text + "\n", encoding="utf-8")
    print(DATA.name)
