"""What lab 11 rests on: libraries, the definitions' sentences, each point of the contracts."""

import json
import re
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import pytest
import torch

from autograder.bank import read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import check, drills_privacy, privacy
from glassbox.telecom import personal as definitions
from glassbox.telecom.personal import HARD, PII, Span, personal, value

COURSE = Course(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab11_privacy")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


def found(space: dict[str, Any], text: str) -> list[str]:
    """What the solution finds in a text, as `kind value`."""
    return [f"{kind} {text[start:end]}" for start, end, kind in space["find_pii"](text)]


# --- the finder ----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", ["a hidden seed", "another", "and a third"])
def test_every_kind_is_found_on_hidden_seeds(space: dict[str, Any], seed: str) -> None:
    rows = [personal(seed, number) for number in range(300)]
    table = privacy.score([space["find_pii"](text) for text, _ in rows], [true for _, true in rows])
    assert all(table[kind]["n"] >= 60 for kind in PII)
    assert min(table[kind]["f1"] for kind in PII) >= 0.95
    marks = drills_privacy.Marks(space["find_pii"], seed, 300)
    assert all(marks.f1(kind) == pytest.approx(table[kind]["f1"]) for kind in PII)


def test_the_reference_finds_the_same(space: dict[str, Any]) -> None:
    draw = Random(1)
    texts = [text for pairs in drills_privacy.PAIRS.values() for text, *_ in pairs]
    texts += [HARD[kind](draw.random) for kind in PII for _ in range(60)]
    texts += [
        f"{value(a, draw.random)}{draw.choice([', ', '; ', ' und ', '?'])}{HARD[b](draw.random)}"
        for a in PII
        for b in PII
        for _ in range(4)
    ]
    for text in texts:
        assert space["find_pii"](text) == privacy.find(text), text


def test_the_pairs_of_the_lab_are_those_of_the_reference() -> None:
    for kind, pairs in drills_privacy.PAIRS.items():
        for text, want, why in pairs:
            assert drills_privacy.values(privacy.find(text), text, kind) == want, text
            assert why
        assert any(not want for _, want, _ in pairs)
        assert any(want for _, want, _ in pairs)


def test_a_finder_with_one_kind_has_the_points_of_that_kind(
    lab: Lab, space: dict[str, Any]
) -> None:
    def only_email(text: str) -> list[Span]:
        return [Span(*place, "email") for place in space["find_email"](text)]

    for question, share in (("visible", 2 / 18), ("hidden", 1 / 12)):
        name = f"find_pii_{question}"
        with pytest.raises(check.CheckFailed):
            exec(lab.cell(name).source, space | {"find_pii": only_email})
        assert check.share(name) == pytest.approx(share)


def test_unwritten_finders_cost_nothing_but_their_kind(space: dict[str, Any]) -> None:
    def unwritten(text: str) -> list:
        raise NotImplementedError

    def one(text: str):
        yield 0, 1

    assert space["written"]({"a": unwritten, "b": one}, "x") == {"b": [(0, 1)]}
    with pytest.raises(NotImplementedError):
        space["written"]({"a": unwritten}, "x")


@pytest.mark.parametrize("given", [None, 0, [(1, 2)], [Span("0", 1, "ip")], {(0, 1, "ip")}])
def test_what_is_no_list_of_spans_is_told(given: Any) -> None:
    with pytest.raises(check.CheckFailed, match="expected"):
        drills_privacy.Marks(lambda text: given, "x", 3)


# --- the definitions, sentence by sentence -------------------------------------------------------


def test_the_edges(space: dict[str, Any]) -> None:
    host = "192.0.2.7"
    for before in ("a", "7", "_", "#", "+", "x.", "7/", "x-"):
        assert found(space, before + host) == [], before
    for after in ("a", "_", ".x", "/7", "-x", ":x"):
        assert found(space, host + after) == [], after
    for before, after in ((".", "."), ("-", "- "), ("/", "/"), ("ข", "ข"), ("é", "é"), ("(", ")")):
        assert found(space, before + host + after) == [f"ip {host}"], before


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("447700900123@example.net", ["email 447700900123@example.net"]),
        ("001012345678902", ["imsi 001012345678902"]),  # a right check digit by chance
        ("378282246310005", ["card 378282246310005"]),  # it would pass as an IMEI
        ("192.0.2.7:443", ["ip 192.0.2.7"]),
        ("2001:db8::7:", ["ip 2001:db8::7"]),
        ("+44 (0)20 7946 0123", ["phone +44 (0)20 7946 0123"]),
        ("8944 4242 4242 4242 4242", ["card 4242 4242 4242 4242"]),
        ("001 01-1234567890", []),  # one joint throughout
        ("131052-930v", []),
    ],
)
def test_single_sentences_of_the_definitions(
    space: dict[str, Any], text: str, want: list[str]
) -> None:
    assert found(space, text) == want


def test_the_lab_says_what_the_definitions_say(lab: Lab) -> None:
    """Both describe the nine kinds in words of their own; the numbers in them must be the same."""
    told = " ".join(lab.cell("find_pii").source.split())
    written = " ".join(definitions.__doc__.split())
    for words in ("9-12 digits", "10 or 11 digits", "3-3-4", "3-2-10", "2-6-6-1", "4-4-4-4",
                  "4-6-5", "19 or 20 digits", "15 digits"):  # fmt: skip
        assert words in told, words
        assert words in written, words
    assert "Divided by 31" in told
    assert "modulo 31" in written
    for table in ("COUNTRIES", "MOBILE", "CARDS", "CHECK_CHARACTERS", "PRIORITY"):
        assert table in told
    for kind in PII:
        assert f"def find_{kind}(" in told


def test_values_of_the_table_are_what_it_says(lab: Lab) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (.*?) \| (.*?) \|$", cell_with(lab, "## 2. Nine"), re.MULTILINE
    )
    assert [kind for kind, *_ in rows] == list(PII)
    for kind, such, other in rows:
        for text in re.findall("`(.*?)`", such):
            assert [s.kind for s in privacy.find(text)] == [kind], text
        for text in re.findall("`(.*?)`", other):
            assert privacy.find(text) == [], text


# --- check digits --------------------------------------------------------------------------------


def test_luhn_is_the_library_s(space: dict[str, Any]) -> None:
    luhn = pytest.importorskip("stdnum.luhn")
    draw = Random(0)
    for _ in range(500):
        digits = "".join(draw.choices("0123456789", k=draw.randint(1, 24)))
        assert space["luhn_valid"](digits) == luhn.is_valid(digits), digits
        right = digits + luhn.calc_check_digit(digits)
        assert space["luhn_valid"](right)
    assert space["luhn_valid"]("") is False
    assert space["luhn_valid"]("4242 4242 4242 4242") is False


def test_codes_and_devices_are_the_library_s(space: dict[str, Any]) -> None:
    pytest.importorskip("stdnum")
    from stdnum import imei
    from stdnum.fi import hetu

    draw = Random(0)
    for _ in range(100):
        assert imei.is_valid(value("imei", draw.random))
        assert hetu.is_valid(value("national_id", draw.random), allow_temporary=True)


# --- the contracts, point by point ---------------------------------------------------------------


def test_redact(space: dict[str, Any]) -> None:
    redact = space["redact"]
    touching = [Span(0, 2, "ip"), Span(2, 4, "card")]
    assert redact("abcd", touching) == redact("abcd", touching[::-1]) == "[IP][CARD]"
    linked = [Span(0, 2, "ip"), Span(3, 5, "card"), Span(1, 4, "imei")]
    assert redact("abcdef", linked) == "[IP]f"
    assert redact("abc", [Span(0, 1, "ip"), Span(0, 3, "email")]) == "[EMAIL]"


def test_names_and_the_way_back(space: dict[str, Any]) -> None:
    key, text = b"k", "a@example.org, 192.0.2.7, a@example.org"
    spans = space["find_pii"](text)
    named, vault = space["pseudonymize"](text, spans, key)
    assert re.fullmatch(r"(\[EMAIL_[0-9a-f]{12}\]), \[IP_[0-9a-f]{12}\], \1", named)
    assert len(vault) == 2
    assert space["find_pii"](named) == []
    assert space["reidentify"](named, vault, key) == text
    with pytest.raises(ValueError, match="not the key"):
        space["reidentify"](named, vault, b"x")
    assert space["reidentify"](named, {}, b"x") == named


def test_a_vault_opens_with_its_key_alone() -> None:
    for text in ("", "a", "ข" * 90):
        sealed = drills_privacy.seal(text, b"k")
        assert drills_privacy.unseal(sealed, b"k") == text
        for other in (b"", b"K", b"kk"):
            with pytest.raises(ValueError, match="not the key"):
                drills_privacy.unseal(sealed, other)
    changed = ("0" if sealed[-1] != "0" else "1").join([sealed[:-1], ""])
    with pytest.raises(ValueError, match="not the key"):
        drills_privacy.unseal(changed, b"k")


def test_tables(space: dict[str, Any]) -> None:
    rows = [{"a": x, "n": i} for i, x in enumerate("xyxyxz")]
    assert space["k_anonymity"]([], ("a",)) == 0
    assert space["k_anonymity"](rows, ("a",)) == 1
    kept = space["suppress_to_k"](rows, ("a",), 2)
    assert [row["n"] for row in kept] == [0, 1, 2, 3, 4]
    assert space["k_anonymity"](kept, ("a",)) == 2
    for name, rest in (("k_anonymity", ()), ("suppress_to_k", (2,))):
        with pytest.raises(KeyError):
            space[name](rows, ("b",), *rest)
    random = [{"a": Random(i).random() > 0.5, "b": str(i % 3)} for i in range(50)]
    assert space["k_anonymity"](random, ("a", "b")) == privacy.smallest_group(random, ("a", "b"))


def test_shares(space: dict[str, Any]) -> None:
    lost = space["utility_loss"]({"a": 0.5, "b": 0.0, "c": 1.0}, {"a": 0.75, "b": 1.0, "d": 1.0})
    assert lost == {"a": -0.5, "b": 0.0, "c": 1.0}
    labels = ["en", "de", "und", "en", "th"]
    assert space["code_switch_index"](labels) == privacy.mixing(labels, "und") == 0.5
    assert space["code_switch_index"]([]) == space["code_switch_index"](["und"]) == 0.0
    rows = [{"x": "a"}] * 3 + [{"x": "b"}]
    assert space["coverage_report"](rows, "x", {"a": 0.5, "c": 0.5, "b": 0.0}) == {
        "a": 1.5, "c": 0.0,
    }  # fmt: skip


def test_a_gap_is_the_reference_s_and_its_interval_covers(space: dict[str, Any]) -> None:
    gen = torch.Generator().manual_seed(0)
    inside = 0
    for _ in range(200):
        group = torch.arange(2).repeat(60)
        correct = torch.rand(120, generator=gen) < torch.tensor([0.9, 0.6]).repeat(60)
        told = space["group_gap"](correct, group)
        order = privacy.gap(correct.tolist(), [str(g) for g in group.tolist()])
        shares = [share for share, *_ in order.values()]
        assert told["gap"] == pytest.approx(shares[0] - shares[-1])
        inside += told["low"] <= 0.3 <= told["high"]
    assert inside >= 180  # 190 are expected, with a deviation of 3


def test_a_small_group_is_told_and_not_ranked(space: dict[str, Any]) -> None:
    told = space["group_gap"](*drills_privacy.answers((0, 30, 40), (1, 20, 40), (2, 0, 29)))
    assert (told["worst"], told["small"]) == (1.0, 1.0)
    assert all(type(x) is float for x in told.values())


def test_a_card_refuses_what_it_should(space: dict[str, Any]) -> None:
    facts = dict.fromkeys(space["REQUIRED"], "x")
    row = {"text": "é", "language": "fr", "source": "crm", "date": "2025-01-01"}
    assert space["data_card"]([row], facts)["bytes"] == 2
    for bad in ({"limits": " "}, {"bytes": "2"}):
        with pytest.raises(ValueError, match="Missing"):
            space["data_card"]([row], facts | bad)


def test_right_functions_pass_with_any_seed(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_bank(COURSE, lab)
    for exercise in lab.exercises:
        versions = [space[exercise], *(v.make for v in known[exercise].right)]
        for seed in range(2 if exercise == "find_pii" else 5):
            monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
            for version in versions:
                exec(lab.cell(f"{exercise}_hidden").source, space | {exercise: version})


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "999.999.999.999 is not an address", "1.2.3.4.5 is a version",
        "the other forms of phone numbers are missed", "A 15-digit ticket number is not an IMEI",
        "An IMSI begins with a country code and has no check digit", "replace from the end",
        "a list of all phone numbers undoes it in minutes", "the same customer became two",
        "only the quasi-identifiers count", "A gap on a few people is noise",
        "The gap is a ratio in your report",
    ):  # fmt: skip
        assert words.lower() in told.lower(), words


def test_diagnoses_are_found_from_the_answers(space: dict[str, Any]) -> None:
    check.start("lab11_privacy")

    def wrong(text: str) -> list[Span]:
        return [Span(start, end - 1, kind) for start, end, kind in space["find_pii"](text)]

    with pytest.raises(check.CheckFailed, match="yours is the last character"):
        check.mistakes("lab11_privacy.find_pii", wrong)


# --- what is not graded --------------------------------------------------------------------------


def test_the_finder_with_word_edges_is_unfair(lab: Lab, space: dict[str, Any]) -> None:
    names = dict(space)
    exec(cell_with(lab, "def with_word_edges("), names)
    gap = space["group_gap"]
    ours = gap(*drills_privacy.by_language(space["find_pii"], ("email", "ip")))
    theirs = gap(*drills_privacy.by_language(names["with_word_edges"], ("email", "ip")))
    assert ours["gap"] == 0
    assert theirs["low"] > 0.1
    assert definitions.LANGUAGES[int(theirs["worst"])] == "th"


def test_what_hiding_costs(lab: Lab, space: dict[str, Any], capsys: pytest.CaptureFixture) -> None:
    names = dict(space)
    exec(cell_with(lab, "tickets = drills_privacy.tickets("), names)
    lost = {name: space["utility_loss"](names["uses"]["as they came"], found)
            for name, found in names["uses"].items()}  # fmt: skip
    assert lost["redacted"]["regulars"] == 1
    assert lost["pseudonyms"]["regulars"] == 0
    assert lost["pseudonyms"]["call back"] == 1
    assert not any(lost["and back"].values())
    assert names["uses"]["as they came"]["regulars"] > 20


def test_the_audit_ends_in_a_card(
    lab: Lab, space: dict[str, Any], capsys: pytest.CaptureFixture
) -> None:
    names = dict(space)
    exec(cell_with(lab, "from glassbox.telecom.defects import planted"), names)
    said = capsys.readouterr().out
    right, rows = map(int, re.search(r"exactly as planted in (\d+) of (\d+)", said).groups())
    assert rows == 600
    assert right >= 0.99 * rows
    card = json.loads(said[said.index("{\n") :])
    assert card["documents"] == 600
    assert card["duplicates"] == len(names["data"].truth["exact_duplicate"])
    assert not any(space["find_pii"](row["text"]) for row in names["clean"])


def test_libraries_stand_beside(space: dict[str, Any]) -> None:
    pytest.importorskip("phonenumbers")
    pytest.importorskip("stdnum")
    table = drills_privacy.beside(space["find_pii"], n=60)
    f1 = {(who, kind): float(mark) for who, kind, mark, *_ in table.rows}
    assert all(f1["yours", kind] > 0.95 for kind in PII)
    extra = {(row[0], row[1]): row[5:] for row in table.rows}
    assert int(extra["phonenumbers, all that is possible", "phone"][0]) > 60  # one a text
    assert f1["phonenumbers, all that is possible", "phone"] < f1["libraries", "phone"] < 0.95


def test_the_stress_test_counts_every_text(
    lab: Lab, space: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLASSBOX_TEXTS", "700")
    names = space | {"scale": replace(space["scale"], name="M"), "__name__": "__main__"}
    cell = cell_with(lab, "CHUNK = 2_000").replace("CHUNK = 2_000", "CHUNK = 300")
    defined, run = cell.split("\ntry:\n")
    exec(defined, names)  # in a notebook's __main__, where other processes find it
    monkeypatch.setattr(sys.modules["__main__"], "stress", names["stress"], raising=False)
    exec(f"try:\n{run}", names)
    record = json.loads((tmp_path / "run_record.json").read_text())["results"]
    true = Counter(span.kind for number in range(700) for span in personal("stress", number)[1])
    assert record["texts"] == 700
    assert all(record[f"found {kind}"] + record.get(f"missed {kind}", 0) == true[kind]
               for kind in PII)  # fmt: skip
    assert record["left"] < record["characters"]
