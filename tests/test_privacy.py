"""The finder of personal data by hand and on fresh seeds; redaction, pseudonyms, tables, shares."""

import sys
from itertools import islice
from random import Random

import pytest

from glassbox import privacy_libraries
from glassbox.privacy import (
    Pseudonyms,
    WrongKeyError,
    coarsened,
    coverage,
    crowds,
    find,
    gap,
    interval,
    luhn,
    mixing,
    plain,
    redacted,
    score,
    smallest_group,
    switching,
    utility,
)
from glassbox.telecom import documents
from glassbox.telecom.personal import (
    HARD,
    LANGUAGES,
    PII,
    Span,
    harmless,
    personal,
    sentence,
    value,
)


def told(text: str) -> list[tuple[str, str]]:
    return [(kind, text[start:end]) for start, end, kind in find(text)]


# --- finding -------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["fresh", 7, 1234567])
def test_the_finder_is_right_on_fresh_texts(seed):
    texts = [personal(seed, number) for number in range(1000)]
    table = score([find(text) for text, _ in texts], [spans for _, spans in texts])
    for kind in PII:
        assert table[kind]["n"] > 200
        assert table[kind]["f1"] >= 0.99, (kind, table[kind])


def test_the_corpus_holds_the_values_it_was_given_and_no_others():
    allowed = ("+44 7700 900", "00101", "192.0.2.", "198.51.100.", "203.0.113.", "2001:db8",
               "policy@northline.example.net")  # fmt: skip
    found = [text for document in islice(documents(5), 400) for _, text in told(document)]
    assert len(found) > 200
    assert [text for text in found if not text.startswith(allowed)] == []


@pytest.mark.parametrize("kind", PII)
def test_a_value_is_found_as_a_whole_and_a_near_miss_is_not(kind):
    draw = Random(f"alone {kind}").random
    for _ in range(120):
        text = value(kind, draw)
        assert told(text) == [(kind, text)]
        assert told(f"({text})") == [(kind, text)]
        assert told(f"ที่{text}ครับ") == [(kind, text)]
        assert told(f"x{text}") != [(kind, text)]
        assert told(f"{text}_") != [(kind, text)] or kind == "email"
        text = HARD[kind](draw)
        assert told(text) == []
    for language in LANGUAGES:
        assert told(sentence(HARD[kind](draw), draw, language)[0]) == []


def test_harmless_numbers_are_harmless():
    draw = Random(3).random
    assert [told(text) for text in (harmless(draw) for _ in range(800)) if told(text)] == []


CASES: dict[str, list[tuple[str, str]]] = {
    "": [],
    "Call 020 7946 0123.": [("phone", "020 7946 0123")],
    "(020) 7946 0123": [("phone", "(020) 7946 0123")],
    "(020 7946 0123)": [("phone", "020 7946 0123")],
    "+44 (0)20 7946 0123": [("phone", "+44 (0)20 7946 0123")],
    "00 44 20 7946 0123": [("phone", "00 44 20 7946 0123")],
    "0044-20-7946-0123": [("phone", "0044-20-7946-0123")],
    "+33 (0)6 39 98 12 34": [("phone", "+33 (0)6 39 98 12 34")],
    "+1 (212) 555-0123": [("phone", "+1 (212) 555-0123")],
    "212 555 0123": [("phone", "212 555 0123")],
    "2125550123": [],  # American numbers are never bare
    "112-555-0123": [],
    "+0 212 555 0123": [("phone", "212 555 0123")],
    "+0212 555 0123": [],
    "+44 20 7": [],
    "+44 20 7946 0123 456": [("phone", "+44 20 7946 0123")],  # 12 digits are the most
    "0 20 7946 0123": [],  # a group of one
    "020  7946 0123": [],  # two spaces
    "020-7946-0123-A": [],
    "020-7946-0123- but": [("phone", "020-7946-0123")],
    "03.04.2026 07:15": [],
    "447700900123": [("msisdn", "447700900123")],
    "+447700900123": [("phone", "+447700900123")],
    "447700900123@ims.example.net": [("email", "447700900123@ims.example.net")],
    "#447700900123": [],
    "INC-447700900123": [],
    "001010123456785": [("imsi", "001010123456785")],  # passes the Luhn check too
    "001-01-0123456789": [("imsi", "001-01-0123456789")],
    "001-01 1123456789": [],  # two kinds of gap
    "490154203237518": [("imei", "490154203237518")],
    "49-015420-323751-8": [("imei", "49-015420-323751-8")],
    "490154203237519": [],
    "378282246310005": [("card", "378282246310005")],  # 15 digits, a card before a device
    "4242 4242 4242 4242 12/28": [("card", "4242 4242 4242 4242")],
    "4242 4242 4242 4241": [],
    "4000 0027 6000 3184": [("card", "4000 0027 6000 3184")],  # 0027 6000 3184 is shorter
    "8999912345678901233": [("iccid", "8999912345678901233")],
    "8999912345678901230": [],
    "131052-308T": [("national_id", "131052-308T")],
    "131052-308U": [],
    "131052-308t": [],
    "133052-308T": [],
    "010203-9045": [("phone", "010203-9045")],  # not the check character: ten digits from 0
    "192.0.2.1": [("ip", "192.0.2.1")],
    "192.0.2.1:8080": [("ip", "192.0.2.1")],
    "192.0.2.1/24": [],
    "http://192.0.2.1/x": [],  # a slash before a letter
    "192.0.2.01": [],
    "192.0.2.256": [],
    "1.2.3.4.5": [],
    "v1.2.3.4": [],
    "1.2.3.4, 1.2.3.5.": [("ip", "1.2.3.4"), ("ip", "1.2.3.5")],
    "[2001:db8::1]:443": [("ip", "2001:db8::1")],
    "2001:db8::1: no answer": [("ip", "2001:db8::1")],
    "2001:db8::/32": [],
    "2001:db8::1::2": [],
    "2001:db8:1:2:3:4:5:6:7": [],
    "02:00:5e:10:00:1a": [],
    "peer:2001:db8::1": [],
    "a.b+c@x-y.example": [("email", "a.b+c@x-y.example")],
    "<anna@example.org>.": [("email", "anna@example.org")],
    "anna@example": [],
    "a..b@example.org": [],
    "anna@example.org2": [],
    "anna@@example.org": [],
    "anna@example.org, ben@example.org": [("email", "anna@example.org"),
                                          ("email", "ben@example.org")],
}  # fmt: skip


@pytest.mark.parametrize("text", CASES)
def test_by_hand(text):
    assert told(text) == CASES[text]


def test_the_luhn_check():
    assert luhn("79927398713")
    assert not luhn("79927398710")
    assert not luhn("")
    assert not luhn("7992 7398713")


# --- libraries -----------------------------------------------------------------------------------


def test_libraries_find_the_plain_cases():
    pytest.importorskip("phonenumbers")
    pytest.importorskip("stdnum")
    text = "anna@example.org called +44 20 7946 0123 from 192.0.2.1 with 490154203237518."
    assert privacy_libraries.find(text) == find(text)
    assert told("131052-308T") == [("national_id", "131052-308T")]
    assert privacy_libraries.numbers("131052-308T") == [Span(0, 11, "national_id")]
    assert privacy_libraries.phones("on 03.04.2026", valid=False)  # a date as a phone number


def test_a_missing_library_is_said_calmly(monkeypatch):
    monkeypatch.setitem(sys.modules, "phonenumbers", None)
    with pytest.raises(ImportError, match="pip install phonenumbers"):
        privacy_libraries.phones("07700 900123")


# --- hiding --------------------------------------------------------------------------------------


def test_redaction_says_the_kind_and_leaves_the_rest():
    text = "Anna, anna@example.org, called from 020 7946 0123."
    assert redacted(text) == "Anna, [EMAIL], called from [PHONE]."
    assert redacted(text, [Span(0, 4, "email")], "<{}>") == "<EMAIL>" + text[4:]
    assert redacted(text, []) == text


def test_spans_may_come_in_any_order_touch_and_overlap():
    spans = [Span(4, 6, "ip"), Span(0, 2, "card"), Span(2, 4, "imei"), Span(3, 4, "phone")]
    assert redacted("aabbccdd", spans) == "[CARD][IMEI][IP]dd"
    assert redacted("abcdef", [Span(0, 4, "ip"), Span(2, 5, "card")]) == "[IP]f"


def test_pseudonyms_come_back_with_the_key_and_vault_only():
    texts = [text for text, _ in (personal("hide", number) for number in range(60))]
    names = Pseudonyms(b"one key")
    hidden = [names.hide(text) for text in texts]
    assert [find(text) for text in hidden] == [[]] * 60
    assert [names.show(text) for text in hidden] == texts
    assert [Pseudonyms(b"one key", names.vault).show(text) for text in hidden] == texts
    assert [Pseudonyms(b"one key").show(text) for text in hidden] == hidden  # an empty vault
    with pytest.raises(WrongKeyError, match="another key"):
        Pseudonyms(b"two key", names.vault).show(hidden[0])


def test_the_same_value_has_the_same_name_and_another_key_another():
    text, ours, theirs = "A 192.0.2.1, B 192.0.2.1, C 192.0.2.2", Pseudonyms(b"a"), Pseudonyms(b"b")
    names = Pseudonyms.NAME.findall(ours.hide(text))
    assert len(names) == 3
    assert names[0] == names[1] != names[2]
    assert not set(names) & set(Pseudonyms.NAME.findall(theirs.hide(text)))
    assert ours.name("ip", "1") != ours.name("card", "1")
    with pytest.raises(ValueError, match="empty key"):
        Pseudonyms(b"")


def test_the_ways_to_write_a_value_may_share_a_name():
    ways = ["07700 900123", "+44 7700 900123", "0044-7700-900123", "+44 (0)7700 900123"]
    assert {plain("phone", way) for way in ways} == {"+447700900123"}
    assert plain("phone", "030 23125123", home="49") == "+493023125123"
    assert plain("ip", "2001:0DB8:0:0:0:0:0:1") == "2001:db8::1"
    assert plain("email", "Anna@EXAMPLE.org") == "anna@example.org"
    assert plain("card", "4242-4242-4242-4242") == "4" + "2424" * 3 + "242"
    assert plain("national_id", "131052-308T") == "131052-308T"
    strict, mild = Pseudonyms(b"k"), Pseudonyms(b"k", form=plain)
    assert len({strict.name("phone", way) for way in ways}) == 4
    assert len({mild.name("phone", way) for way in ways}) == 1
    assert mild.show(mild.hide(ways[0])) == "+447700900123"


# --- scores, tables, shares ----------------------------------------------------------------------


def test_scores_by_hand():
    true = [[Span(0, 4, "ip"), Span(5, 9, "card")], []]
    found = [[Span(0, 4, "ip"), Span(5, 8, "card")], [Span(0, 1, "ip")]]
    table = score(found, true)
    assert table["ip"] == {"precision": 0.5, "recall": 1.0, "f1": pytest.approx(2 / 3), "n": 1}
    assert table["card"]["f1"] == 0.0  # the end is one off
    assert table["email"] == {"precision": 1.0, "recall": 1.0, "f1": 1.0, "n": 0}
    assert table["all"]["precision"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="longer"):
        score(found[:1], true)


def test_the_interval_is_wilsons():
    assert interval(5, 10) == pytest.approx((0.23659, 0.76341), abs=1e-5)
    assert interval(0, 10) == pytest.approx((0.0, 0.27754), abs=1e-5)
    assert interval(10, 10)[1] == 1.0
    assert interval(0, 0) == (0.0, 1.0)


def test_utility_is_what_is_left():
    left = utility({"accuracy": 0.8, "links": 10.0, "none": 0.0}, {"accuracy": 0.6})
    assert left["accuracy"] == pytest.approx(0.75)
    assert left["links"] == 0.0
    assert left["none"] != left["none"]


ROWS = [{"born": year, "site": site, "bill": str(i)}
        for i, (year, site) in enumerate((("1984", "N1"), ("1984", "N1"), ("1985", "N1"),
                                          ("1991", "N2"), ("1992", "N2")))]  # fmt: skip


def test_groups_of_equal_rows():
    assert smallest_group(ROWS, ("born", "site")) == 1
    assert smallest_group(ROWS, ("site",)) == 2
    assert smallest_group(ROWS, ()) == 5
    assert smallest_group([], ("site",)) == 0
    assert crowds(ROWS, ("site",)) == {("N1",): 3, ("N2",): 2}
    with pytest.raises(KeyError):
        smallest_group(ROWS, ("town",))


def test_coarser_rows_have_larger_groups():
    coarse = coarsened(ROWS, {"born": lambda year: year[:3] + "0s"})
    assert [row["born"] for row in coarse] == ["1980s"] * 3 + ["1990s"] * 2
    assert smallest_group(coarse, ("born", "site")) == 2
    assert ROWS[0]["born"] == "1984"


def test_mixing_and_switching():
    assert mixing(["en", "en", "es", "en"]) == 0.25
    assert mixing(["en", "", "", "es"]) == 0.5
    assert mixing(["", ""]) == mixing([]) == switching([]) == switching(["en"]) == 0.0
    assert switching(["en", "es", "", "es", "en"]) == pytest.approx(2 / 3)


def test_coverage_is_relative_to_the_people():
    rows = [{"language": "en"}] * 90 + [{"language": "th"}] * 10
    told = coverage(rows, "language", {"en": 0.6, "th": 0.3, "hi": 0.1, "none": 0.0})
    assert [round(told[group][0], 2) for group in ("en", "th", "hi")] == [1.5, 0.33, 0.0]
    assert told["th"][2] < 1 < told["en"][1]
    assert "none" not in told


def test_gaps_leave_small_groups_out():
    right = [True] * 90 + [False] * 10 + [True] * 25 + [False] * 25 + [True] * 4
    table = gap(right, ["en"] * 100 + ["th"] * 50 + ["hi"] * 4)
    assert list(table) == ["en", "th"]
    assert table["en"][0] == 0.9
    assert table["th"] == (0.5, *interval(25, 50), 50)
