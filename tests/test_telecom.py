"""The course's corpus: the same bytes everywhere, true to its tables, resumable to the byte."""

import errno
import hashlib
import json
import random
import re
import shutil
import sys
import tracemalloc
import unicodedata
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import islice, pairwise
from pathlib import Path

import pytest

from glassbox import telecom
from glassbox.telecom import dialogue, facts, grammar, loaders, prose, reports, stream

# sha256 of corpus(100_000, seed=0, kinds=[kind]); a change here changes every lab that trains.
GOLDEN = {
    "dialogue": "e6c75d6d55d8ebf407a5cdf3f75898d990ff54577c8e72e80930b344d03d458e",
    "ticket": "8120d26adc80d2ff182be445b1025e49ba3c1de85f010dc8864552a2c9f76945",
    "syslog": "2ec04ea2525602333cb4d646662137196f0103d713f123922fe06fd870541434",
    "policy": "75ffedde677781033ba17ec0e7f5f87acdd8925e22a5db0c84c7fc05bca44fb8",
    "spec": "7b6305bceb3ecdb4c226606daa59c1f9f8db33975033172316ed45130bbcf8c9",
}  # fmt: skip


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def texts() -> dict[str, list[str]]:
    """A thousand documents of each kind."""
    return {kind: list(islice(telecom.documents(5, [kind]), 1000)) for kind in telecom.KINDS}


@pytest.mark.parametrize("kind", telecom.KINDS)
def test_bytes_are_the_same_on_every_machine(kind: str) -> None:
    assert _sha(telecom.corpus(100_000, 0, [kind])) == GOLDEN[kind]


def test_documents_are_made_alone_in_a_stream_and_dealt_out() -> None:
    stream = list(islice(telecom.documents(3), 60))
    assert [telecom.document(3, number) for number in range(60)] == stream
    assert list(islice(telecom.documents(3, start=17), 5)) == stream[17:22]
    dealt = [list(islice(telecom.documents(3, start=i, step=3), 20)) for i in range(3)]
    assert [text for group in zip(*dealt, strict=True) for text in group] == stream
    assert telecom.record(3, 4).text == stream[4]


def test_seeds_and_numbers_give_different_texts() -> None:
    few = {telecom.document(seed, number) for seed in range(20) for number in range(20)}
    assert len(few) == 400


def test_corpus_holds_whole_documents_and_never_more_than_asked() -> None:
    for n_bytes in (2_000, 10_000, 33_333):
        text = telecom.corpus(n_bytes, 1)
        parts = text.split("\n\n")
        assert parts == list(islice(telecom.documents(1), len(parts)))
        longer = f"{text}\n\n{telecom.document(1, len(parts))}"
        assert len(text.encode()) <= n_bytes < len(longer.encode())


@pytest.mark.parametrize("kind", telecom.KINDS)
def test_text_is_clean(kind: str, texts: dict[str, list[str]]) -> None:
    for text in texts[kind]:
        assert 60 < len(text) < 6000
        assert not re.search(r"[{}|^]|%s|\n\n|  | $|\. \.|\?\.|\.\.", text, re.M), text
        assert text == text.strip() == unicodedata.normalize("NFC", text)


def test_kinds_and_topics_all_occur() -> None:
    found = Counter((r.kind, r.topic) for r in (telecom.record(0, n) for n in range(4000)))
    assert {kind for kind, _ in found} == set(telecom.KINDS)
    assert {topic for kind, topic in found if kind == "dialogue"} == set(dialogue.TOPICS)
    assert {topic for kind, topic in found if kind == "syslog"} == set(reports.STORIES)
    assert {topic for kind, topic in found if kind == "policy"} == set(prose.POLICIES)
    assert {topic for kind, topic in found if kind == "spec"} == set(prose.SPECS)


def test_some_dialogues_switch_the_language() -> None:
    records = [telecom.record(0, number, ["dialogue"]) for number in range(3000)]
    count = Counter(record.language for record in records)
    assert set(count) == set(dialogue.LANGUAGES)
    assert 0.80 < count["en"] / 3000 < 0.90
    thai = [record for record in records if re.search("[\u0e00-\u0e7f]", record.text)]
    assert {record.language for record in thai} == {"th"}
    assert all("Agent:" in record.text and "Customer:" in record.text for record in records)


def test_turns_alternate() -> None:
    for number in range(2000):
        text = telecom.document(8, number, ["dialogue"])
        speakers = [line.split(": ")[0] for line in text.split("\n")]
        assert set(speakers) == {"Customer", "Agent"}
        assert all(a != b for a, b in pairwise(speakers)), text


def test_prices_and_volumes_are_those_of_the_table(texts: dict[str, list[str]]) -> None:
    names = "|".join(sorted((plan.name for plan in telecom.PLANS), key=len, reverse=True))
    found = [m for text in texts["dialogue"] + texts["policy"]
             for m in re.findall(rf"\b({names}) (?:costs|is) (\d+) euros", text)]  # fmt: skip
    assert len(found) > 300
    assert {(name, int(euros)) for name, euros in found} <= {
        (p.name, p.price) for p in telecom.PLANS
    }
    for text in texts["dialogue"] + texts["policy"]:
        for name, data in re.findall(rf"({names}) costs \d+ euros a month with ([^.]+)\.", text):
            assert data == facts.volume(facts.plan(name))


def test_codes_and_service_levels_are_those_of_the_tables(texts: dict[str, list[str]]) -> None:
    for text in (text for kind in telecom.KINDS for text in texts[kind]):
        for code in re.findall(r"\bE\d{3}\b", text):
            facts.error(code)
        for code, cause in re.findall(r"\b(E\d{3}) (?:means|tells us) that ([^.]+)\.", text):
            assert cause in facts.error(code).cause or "prepaid" in cause
        for level, repair in re.findall(
            r"\b(P[1-4])\b[^.\n]*? (?:repaired|repair due) (?:with)?in (\d+ hours)", text
        ):
            assert repair == f"{facts.service_level(level).repair_hours} hours", text


def test_log_lines_have_the_form_of_rfc_5424(texts: dict[str, list[str]]) -> None:
    form = re.compile(
        r"<\d{1,3}>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \S+ \S+ \d+ [A-Z0-9]+ (-|\[[^]]+\]) \S.*"
    )
    for text in texts["syslog"]:
        lines = text.split("\n")
        assert all(form.fullmatch(line) for line in lines), text
        times = [line.split(" ")[1] for line in lines]
        assert times == sorted(times)


def test_no_text_holds_an_address_or_number_outside_the_example_ranges(
    texts: dict[str, list[str]],
) -> None:
    text = "\n".join(text for kind in telecom.KINDS for text in texts[kind])
    addresses = re.findall(r"\b\d+\.\d+\.\d+\.\d+\b", text)
    assert len(addresses) > 500
    assert all(a.startswith(("192.0.2.", "198.51.100.", "203.0.113.")) for a in addresses)
    assert set(re.findall(r"\+\d\d \d+ \d{3}", text)) == {"+44 7700 900"}
    assert set(re.findall(r"\b\d{15}\b", text)) == set(re.findall(r"\b0010100000\d{5}\b", text))
    assert all(
        host.endswith("northline.example.net") for host in re.findall(r"[\w.]+\.net\b", text)
    )


def test_text_is_varied() -> None:
    text = telecom.corpus(2_000_000, 2)
    documents = text.split("\n\n")
    assert len(set(documents)) > 0.995 * len(documents)
    assert len(set(re.findall(r"[^\W\d_]+", text.lower()))) > 1400
    assert 3 < len(text.encode()) / len(zlib.compress(text.encode(), 6)) < 9


def test_tables_agree_with_each_other() -> None:
    assert len(telecom.ERRORS) == 20
    assert len(telecom.PLANS) == 12
    for table, key in ((telecom.ERRORS, "code"), (telecom.ERRORS, "cause"), (telecom.PLANS, "name"),
                       (telecom.SITES, "code"), (telecom.SITES, "name"), (telecom.TEAMS, "name"),
                       (telecom.SERVICE_LEVELS, "severity"), (telecom.PLANS, "price")):  # fmt: skip
        assert len({getattr(entry, key) for entry in table}) == len(table), key
    assert {e.team for e in telecom.ERRORS} <= {team.name for team in telecom.TEAMS}
    with pytest.raises(KeyError):
        facts.error("E999")


ROOTS = {
    dialogue: [f"talk_{topic}" for topic in dialogue.TOPICS],
    reports: ["form", *reports.STORIES, "imsi", "ip6"],
    prose: [*prose.POLICIES, *prose.SPECS],
}


@pytest.mark.parametrize("maker", [
    dialogue.dialogue, reports.ticket, reports.syslog, prose.policy, prose.spec,
], ids=lambda maker: maker.__name__)  # fmt: skip
def test_every_slot_has_a_filling_and_every_rule_is_reached(
    maker: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = sys.modules[maker.__module__]
    used: list[tuple[grammar.Rules, set[str]]] = []

    def spy(given, facts, draw):
        say = grammar.Writer(given, facts, draw)
        used.append((given, set(facts)))
        return say

    monkeypatch.setattr(home, "Writer", spy)
    for seed in range(200):  # all languages
        maker(random.Random(seed).random)
    for given, facts_ in used:
        tables = {name for name, (_, power) in given.items() if power == 1}
        reached, open_ = set(), [root for root in ROOTS[home] if root in given]
        assert open_
        while open_:
            name = open_.pop()
            reached.add(name)
            slots = {slot.removeprefix("^") for _, slots in given[name][0] for slot in slots}
            assert slots <= facts_ | set(given), slots - facts_ - set(given)
            open_ += slots - reached - facts_
        shared = {"ip6", "imsi", "user", "ip"} if home is reports else set()
        assert set(given) - reached - tables <= shared
        assert facts_ & set(given) <= shared


def test_rules_are_read_and_drawn_as_described() -> None:
    made = grammar.rules("a\n    x {b}|{^b}\n        {3-4}%\n    -\nb\n    beta\n", c=["1", "2"])
    say = grammar.Writer(made, {"d": "fact"}, iter([0.0, 0.0, 0.0, 0.9, 0.99, 0.9]).__next__)
    assert say("a") == "x beta\nBeta 4%"
    assert say("a") == ""
    assert say("c") == "2"
    assert say("^d") == "Fact"


@pytest.mark.parametrize(("bad", "says"), [
    ({"seed": -1}, "seed is -1"), ({"seed": 1.5}, "seed is 1.5"), ({"seed": True}, "seed is True"),
    ({"kinds": ["poem"]}, "give a list"), ({"kinds": []}, "give a list"),
    ({"kinds": "dialogue"}, "give a list"), ({"n_bytes": 20}, "the first document alone has"),
])  # fmt: skip
def test_wrong_arguments_are_told_and_leave_no_file(bad: dict, says: str, tmp_path: Path) -> None:
    given = {"n_bytes": 10_000, **bad}
    with pytest.raises(ValueError, match=says):
        telecom.corpus(**given)
    with pytest.raises(ValueError, match=says):
        telecom.write(tmp_path / "a.txt", **given)
    if "n_bytes" not in bad:
        with pytest.raises(ValueError, match=says):
            telecom.documents(**bad)
    with pytest.raises(ValueError, match="number is -2"):
        telecom.document(0, -2)
    assert not list(tmp_path.iterdir())


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "BLOCK", 5_000)


def _interrupt(path: Path, n_bytes: int, pieces: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write until `pieces` blocks are done, then break as Ctrl-C does."""
    whole = stream._pieces

    def broken(*args, **kwargs):
        for i, piece in enumerate(whole(*args, **kwargs)):
            if i == pieces:
                raise KeyboardInterrupt
            yield piece

    with monkeypatch.context() as patch:
        patch.setattr(stream, "_pieces", broken)
        with pytest.raises(KeyboardInterrupt):
            telecom.write(path, n_bytes, progress=False)


def test_written_file_is_the_corpus(small_blocks: None, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("older")
    for kinds in (telecom.KINDS, ["syslog"]):
        n = telecom.write(path, 60_000, 4, kinds, progress=False)
        assert path.read_bytes() == telecom.corpus(60_000, 4, kinds).encode()
        assert n == path.stat().st_size
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_goes_on_from_any_cut(
    small_blocks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part, journal = (tmp_path / f"a.txt{end}" for end in ("", ".part", ".journal"))
    whole = telecom.corpus(100_000).encode()
    cuts = random.Random(0)
    for round_ in range(25):
        _interrupt(path, 100_000, cuts.randrange(1, 15), monkeypatch)
        assert not path.exists()
        assert whole.startswith(part.read_bytes())
        for file in (part, journal)[: round_ % 3]:
            file.write_bytes(file.read_bytes()[: cuts.randrange(file.stat().st_size + 1)])
        assert telecom.write(path, 100_000, progress=False) == len(whole)
        assert path.read_bytes() == whole
        path.unlink()
    assert not list(tmp_path.iterdir())


def test_going_on_makes_nothing_twice(
    small_blocks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.txt"
    _interrupt(path, 100_000, 12, monkeypatch)
    made: list[int] = []
    record = stream._record
    monkeypatch.setattr(stream, "_record", lambda s, n, k: made.append(n) or record(s, n, k))
    telecom.write(path, 100_000, progress=False)
    assert max(made) > 120
    assert len(made) < 120


def test_a_damaged_or_foreign_part_is_not_used(
    small_blocks: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, part, journal = (tmp_path / f"a.txt{end}" for end in ("", ".part", ".journal"))
    whole = telecom.corpus(50_000).encode()
    for place in (0, 7_000, 22_000):
        _interrupt(path, 50_000, 5, monkeypatch)
        data = bytearray(part.read_bytes())
        data[place] ^= 1
        part.write_bytes(data)
        telecom.write(path, 50_000, progress=False)
        assert path.read_bytes() == whole
    _interrupt(path, 50_000, 5, monkeypatch)  # of seed 0; another seed, then a smaller size
    telecom.write(path, 50_000, seed=9, progress=False)
    assert path.read_bytes() == telecom.corpus(50_000, 9).encode()
    _interrupt(path, 50_000, 7, monkeypatch)
    telecom.write(path, 20_000, progress=False)
    assert path.read_bytes() == telecom.corpus(20_000).encode()
    _interrupt(path, 50_000, 5, monkeypatch)
    journal.write_bytes(b"\xff\x00\n1 2\n")
    telecom.write(path, 50_000, progress=False)
    assert path.read_bytes() == whole


def test_a_full_disk_is_told_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(stream.shutil, "disk_usage", lambda _: usage._replace(free=10_000))
    with pytest.raises(OSError, match="choose another folder or a smaller n_bytes") as told:
        telecom.write(tmp_path / "a.txt", 50_000)
    assert told.value.errno == errno.ENOSPC
    assert not list(tmp_path.iterdir())


def test_memory_of_a_write_does_not_grow_with_its_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BLOCK", 50_000)
    peaks = []
    for n_bytes in (200_000, 1_000_000):
        tracemalloc.start()
        telecom.write(tmp_path / "a.txt", n_bytes, progress=False)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0] + 50_000
    assert peaks[1] < 1_000_000


def test_parallel_sentences_are_aligned_and_in_their_scripts() -> None:
    found = telecom.parallel()
    assert list(found) == ["en", "de", "es", "ru", "hi", "th"]
    scripts = {"ru": "CYRILLIC", "hi": "DEVANAGARI", "th": "THAI"}
    for language, sentences in found.items():
        assert len(sentences) == len(set(sentences)) == 20
        for sentence, english in zip(sentences, found["en"], strict=True):
            assert sentence == unicodedata.normalize("NFC", sentence).strip()
            assert ("?" in sentence) == ("?" in english) or language == "th"
            letters = [unicodedata.name(c) for c in sentence if c.isalpha() and c not in "SIM"]
            assert all(scripts.get(language, "LATIN") in name for name in letters), sentence
    found["en"].clear()
    assert len(telecom.parallel()["en"]) == 20


def test_local_files_give_their_texts(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    texts = list(islice(telecom.documents(6), 40))
    path = tmp_path / "corpus.txt"
    telecom.write(path, 100_000, 6, progress=False)
    assert list(islice(telecom.local(path), 40)) == texts
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({"text": t, "n": 1}) + "\n" for t in texts)
    )
    assert list(telecom.local(tmp_path / "a.jsonl")) == texts
    parquet.write_table(pyarrow.table({"text": [*texts, "", " \n"]}), tmp_path / "a.parquet")
    assert list(telecom.local(tmp_path / "a.parquet")) == texts


def test_local_says_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="There is no file"):
        telecom.local(tmp_path / "none.txt")
    (tmp_path / "a.csv").write_text("text\nhello\n")
    with pytest.raises(ValueError, match=r"does not end in one of \.txt, \.jsonl, \.parquet"):
        telecom.local(tmp_path / "a.csv")
    (tmp_path / "a.jsonl").write_text('{"body": "hello"}\n')
    with pytest.raises(ValueError, match="no column named text"):
        telecom.local(tmp_path / "a.jsonl")


def test_public_sets_are_streamed_with_their_names(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(*args, **kwargs):
        asked.append((*args, kwargs))
        return [{"text": "one"}, {"text": ""}, {"text": "two"}]

    monkeypatch.setattr(loaders, "_library", lambda: load_dataset)
    for name in loaders.PUBLIC:
        assert list(telecom.public(name)) == ["one", "two"]
    options = {"split": "train", "streaming": True}
    assert asked == [("HuggingFaceFW/fineweb-edu", "sample-10BT", options),
                     ("roneneldan/TinyStories", None, options),
                     ("Salesforce/wikitext", "wikitext-103-raw-v1", options)]  # fmt: skip


def test_public_sets_say_what_to_do_offline(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args, **kwargs):
        raise ConnectionError("no route")

    monkeypatch.setattr(loaders, "_library", lambda: load_dataset)
    with pytest.raises(ConnectionError, match=r"documents\(\), which works offline"):
        telecom.public("tinystories")
    with pytest.raises(ValueError, match="the names are fineweb-edu, tinystories, wikitext"):
        telecom.public("the-pile")
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match="pip install datasets"):
        telecom.public("tinystories")
