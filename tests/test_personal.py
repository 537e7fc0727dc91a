"""Texts with personal data: the same everywhere, nobody's, varied, true to their definitions."""

import hashlib
import ipaddress
import re
from collections import Counter
from random import Random

import pytest

from glassbox.telecom.personal import (
    HARD,
    LANGUAGES,
    PII,
    PRIORITY,
    TEST_CARDS,
    check_character,
    harmless,
    luhn_digit,
    personal,
    sentence,
    value,
)

TEXTS = [personal("tests", number) for number in range(450)]


def values(kind: str, n: int = 400) -> list[str]:
    draw = Random(kind).random
    return [value(kind, draw) for _ in range(n)]


def bare(text: str) -> str:
    return re.sub("[^0-9]", "", text)


def test_the_texts_are_the_same_in_every_process():
    told = repr([personal(0, number) for number in range(40)])
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "d7fd7c38f60f5c08"
    assert personal(0, 3) != personal(1, 3)
    assert personal("0", 3) == personal(0, 3)


def test_spans_are_in_order_apart_and_hold_no_white_space_at_their_edges():
    for text, spans in TEXTS:
        places = [place for span in spans for place in span[:2]]
        assert places == sorted(places)
        assert len({*places}) == len(places)
        assert len(spans) <= 4
        for start, end, kind in spans:
            assert 0 <= start < end <= len(text)
            assert text[start:end] == text[start:end].strip()
            assert kind in PII


@pytest.mark.parametrize("first", [0, 137, 300])
def test_each_kind_has_its_share_in_any_150_texts(first):
    some = TEXTS[first : first + 150]
    counts = Counter(span.kind for _, spans in some for span in spans)
    assert all(counts[kind] >= 30 for kind in PII)
    assert {len(spans) for _, spans in some} == {0, 1, 2, 3, 4}


def test_priority_names_each_kind_once():
    assert sorted(PRIORITY) == sorted(PII) == sorted(HARD)


def test_the_check_digits_are_those_of_the_textbook():
    assert luhn_digit("7992739871") == "3"  # the example of many textbooks
    assert luhn_digit("49015420323751") == "8"  # the example IMEI
    assert check_character("131052", "308") == "T"  # the example of the Finnish authority


def test_the_check_digits_agree_with_a_library():
    luhn = pytest.importorskip("stdnum.luhn")
    hetu = pytest.importorskip("stdnum.fi.hetu")
    for kind in ("imei", "iccid", "card"):
        assert all(luhn.is_valid(bare(text)) for text in values(kind))
    assert all(hetu.is_valid(text, allow_temporary=True) for text in values("national_id"))


def test_phone_numbers_are_possible_ones():
    phonenumbers = pytest.importorskip("phonenumbers")
    for text in values("phone"):
        region = "US" if re.match(r"\(?[2-9]", text) else "FR" if text[:2] == "06" else "GB"
        region = "DE" if re.match(r"\(?03|0171", text) else "FR" if text[:4] == "01 9" else region
        number = phonenumbers.parse(text, region)
        assert phonenumbers.is_possible_number(number), text


NOBODY: dict[str, str] = {
    "email": r".+@(.+\.)?(?i:example(\.(org|com|net))?)",
    "phone": r"\+?(44|0|0044)0?(7700900|2079460|1614960|1632960)\d{3}|(49|0|0049)0?(3023125\d{3}|"
    r"17139200\d\d)|(33|0|0033)0?(63998|19900)\d{4}|1?(212|415)55501\d\d",
    "imsi": r"(00101|99970)\d{10}", "imei": r"0044\d{11}", "iccid": r"89999\d{14,15}",
    "msisdn": r"447700900\d{3}|3363998\d{4}|4917139200\d\d",
    "national_id": r"\d{6}.9\d\d.",
}  # fmt: skip


@pytest.mark.parametrize("kind", NOBODY)
def test_every_value_is_from_a_range_kept_for_examples(kind):
    for text in values(kind):
        told = text if kind in ("email", "national_id") else bare(text)
        assert re.fullmatch(NOBODY[kind], told), text


def test_addresses_and_cards_are_those_of_documents_and_tests():
    nets = [ipaddress.ip_network(net) for net in
            ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")]  # fmt: skip
    for text in values("ip"):
        assert any(ipaddress.ip_address(text) in net for net in nets)
    assert {bare(text) for text in values("card")} == set(TEST_CARDS)


@pytest.mark.parametrize(("kind", "least"), [
    ("phone", 35), ("ip", 8), ("email", 15), ("imsi", 3), ("imei", 3), ("iccid", 6), ("card", 5),
    ("msisdn", 2), ("national_id", 5),
])  # fmt: skip
def test_values_come_in_many_forms(kind, least):
    forms = {re.sub("[0-9]+", lambda run: f"{len(run[0])}", text) for text in values(kind, 800)}
    assert len(forms) >= least


def test_values_stand_at_all_kinds_of_places():
    around = Counter()
    for text, spans in TEXTS:
        for start, end, _ in spans:
            around.update(("before " + text[start - 1] if start else "first",
                           "after " + text[end] if end < len(text) else "last"))  # fmt: skip
    for place in ("first", "last", 'before "', "before (", "before =", "after )", "after ,",
                  "after .", "after ?", "after \n"):  # fmt: skip
        assert around[place], place
    assert sum(n for place, n in around.items() if place[-1] > "฀") > 20  # Thai letters touch


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_sentence_says_where_its_content_is(language):
    draw = Random(5).random
    for _ in range(50):
        text, at = sentence("X7X", draw, language)
        assert text[at : at + 3] == "X7X"
        assert text.count("X7X") == 1


def test_near_misses_are_no_values_of_their_kind():
    luhn = {"imei": 15, "iccid": 19}
    draw = Random(8).random
    for kind, length in luhn.items():
        for text in (HARD[kind](draw) for _ in range(300)):
            number = bare(text)
            assert len(number) != length or luhn_digit(number[:-1]) != number[-1], text
    assert len({harmless(draw) for _ in range(300)}) > 150
