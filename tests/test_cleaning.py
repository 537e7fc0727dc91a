"""glassbox.cleaning: each function against a small oracle, the stream against a kill, the peers."""

import importlib.util
import json
import os
import random
import re
import runpy
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import regex

from glassbox.cleaning import (
    bpe,
    contamination,
    duplicates,
    hashing,
    libraries,
    mixtures,
    pipeline,
    quality,
    rules,
    stream,
    text,
)
from glassbox.telecom.defects import planted

ROOT = Path(__file__).parents[1]
ODD = ["", " ", "Hello, wörld_1  a b", "... ", "ผมชื่อ abc İstanbul x", "\ud800 lone", "a\nb\u2028c"]


@pytest.fixture(scope="module")
def corpus():
    return planted("tests of cleaning", 200)


@pytest.fixture(scope="module")
def texts(corpus) -> list[str]:
    return [row["text"] for row in corpus.rows]


@pytest.fixture(scope="module")
def groups(corpus) -> list[int]:
    """The planted groups, each named by its first row."""
    number = {row["id"]: i for i, row in enumerate(corpus.rows)}
    truth = list(range(len(number)))
    for cluster in corpus.clusters:
        for own in cluster:
            truth[number[own]] = min(number[other] for other in cluster)
    return truth


# --- hashing, duplicates -------------------------------------------------------------------------


def words_of(document: str) -> list[str]:
    return re.findall(r"\w+", document.lower())


def shingles_of(document: str, n: int) -> set[tuple[str, ...]]:
    words = words_of(document)
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def test_words_are_those_of_re_and_equal_where_they_are_equal(texts: list[str]) -> None:
    some = [*texts[:50], *ODD]
    hashes, bounds = hashing.words(some)
    assert np.diff(bounds).tolist() == [len(words_of(document)) for document in some]
    meant = [word for document in some for word in words_of(document)]
    number = dict(zip(meant, hashes.tolist(), strict=True))
    assert [number[word] for word in meant] == hashes.tolist()
    assert len(set(number.values())) == len(number)


@pytest.mark.parametrize("n", [1, 2, 5])
def test_grams_are_sets_of_n_words_or_one_of_all(texts: list[str], n: int) -> None:
    some = [*texts[:30], *ODD, "one", "one two"]
    hashes, bounds = hashing.grams(some, n)
    for i, document in enumerate(some):
        own = hashes[bounds[i] : bounds[i + 1]]
        assert len(own) == max(1, len(words_of(document)) - n + 1)
        assert len(set(own.tolist())) == len(shingles_of(document, n))
        alone = hashing.grams([document], n).hashes
        assert np.array_equal(alone, own)  # neither neighbours nor place matter


def test_jaccard_is_exact_and_minhash_estimates_it(texts: list[str]) -> None:
    kept, table = duplicates.sketches(texts), duplicates.signatures(texts)
    left, right = np.divmod(np.arange(0, len(texts) ** 2, 37), len(texts))
    sets = [shingles_of(document, 5) for document in texts]
    true = np.array([len(sets[a] & sets[b]) / len(sets[a] | sets[b])
                     for a, b in zip(left, right, strict=True)])  # fmt: skip
    assert np.allclose(duplicates.jaccard(kept, left, right), true)
    guess = (table[left] == table[right]).mean(1)
    assert np.abs(guess - true).max() < 4 / np.sqrt(128)
    assert abs((guess - true).mean()) < 0.01


def test_bands_follow_the_s_curve() -> None:
    chance = np.random.default_rng(0)
    a = chance.integers(1 << 32, size=(4000, 32), dtype=np.uint32)
    b = np.where(chance.random(a.shape) < 0.7, a, a + np.uint32(1))
    met = (duplicates.band_keys(a, 8) == duplicates.band_keys(b, 8)).any(1).mean()
    assert abs(met - (1 - (1 - 0.7**4) ** 8)) < 0.03


def test_planted_groups_are_found(texts: list[str], groups: list[int]) -> None:
    found = duplicates.duplicates(texts, bands=32)
    assert found == groups
    assert libraries.agreement(duplicates.duplicates(texts), groups)["f1"] > 0.95
    order = random.Random(1).sample(range(len(texts)), len(texts))
    other = duplicates.duplicates((texts[i] for i in order), bands=32)  # a stream, another order
    assert {frozenset(np.flatnonzero(np.array(found) == g)) for g in found} == {
        frozenset(order[i] for i in np.flatnonzero(np.array(other) == g)) for g in other
    }


def test_duplicates_are_transitive_verified_and_know_small_cases() -> None:
    words = [f"w{i}" for i in range(60)]
    a = " ".join(words)
    b = " ".join([*words[:56], "x", "y", "z", "q"])
    c = " ".join([*words[4:56], "x", "y", "z", "q", "r", "s", "t", "u"])
    assert len(shingles_of(a, 5) & shingles_of(c, 5)) / len(
        shingles_of(a, 5) | shingles_of(c, 5)) < 0.8  # fmt: skip
    assert duplicates.duplicates([a, b, c, "other"], threshold=0.8, bands=64) == [0, 0, 0, 3]
    assert duplicates.duplicates([a, b], threshold=0.95, bands=64) == [0, 1]
    assert duplicates.duplicates(["", "one", "", "One!", "two"]) == [0, 1, 0, 1, 4]
    assert duplicates.duplicates([]) == []
    with pytest.raises(ValueError, match="do not divide"):
        duplicates.duplicates([a], n_hashes=100, bands=16)


def test_blocks_and_other_processes_change_nothing(texts: list[str], monkeypatch) -> None:
    alone = duplicates.sketches(texts)
    monkeypatch.setattr(duplicates, "BLOCK", 5000)
    for other in (duplicates.sketches(texts), duplicates.sketches(texts, workers=2)):
        assert all(np.array_equal(x, y) for x, y in zip(alone, other, strict=True))
    stated = duplicates.memory(alone.bounds[-1] / len(texts)) * len(texts)
    held = sum(part.nbytes for part in alone) + 8 * len(texts)
    assert held == pytest.approx(stated, rel=0.01)


def test_a_bucket_of_equal_keys_costs_little() -> None:
    same = ["the same text again and again and again"] * 3000
    assert set(duplicates.duplicates(same)) == {0}


# --- text ----------------------------------------------------------------------------------------


def test_pages_give_their_text(corpus) -> None:
    for own in corpus.truth["html"]:
        page = next(row["text"] for row in corpus.rows if row["id"] == own)
        assert text.has_markup(page)
        assert " ".join(corpus.clean[own].split()) in " ".join(text.page_text(page).split())
    page = "<h1>A &amp; B</h1><script>if (a<b) {}</script><p>1 < 2<br>AT&T</p><!-- no -->"
    assert text.page_text(page) == "A & B\n1 < 2\nAT&T"
    assert text.page_text("plain text\nstays") == "plain text\nstays"


def test_mojibake_is_undone_and_right_text_stays(corpus) -> None:
    for row in corpus.rows:
        if row["id"] in corpus.truth["mojibake"]:
            assert text.is_broken(row["text"])
            assert text.repaired(row["text"]) == corpus.clean[row["id"]]
        else:
            assert text.repaired(row["text"]) == row["text"]
    assert text.repaired("CafÃƒÂ©") == "Café"


def test_languages_are_told_apart(corpus) -> None:
    broken = corpus.truth["mojibake"] | corpus.truth["spam"] | corpus.truth["html"]
    rows = [row for row in corpus.rows if row["id"] not in broken]
    found = text.languages([row["text"] for row in rows])
    right = [row["language"].split("+")[0] for row in rows]
    assert sum(a == b for a, b in zip(found, right, strict=True)) >= 0.99 * len(rows)
    table = text.language_table(["Wo ist mein Router?", "", "12"])
    assert np.allclose(table.sum(1), 1)
    assert np.allclose(table[1:], 0.2)
    assert text.languages(["Wo ist mein Router?", "12", ""]) == ["de", "", ""]


# --- rules ---------------------------------------------------------------------------------------

GOOD = (
    "The engineer opened case 12 and looked at every radio unit of that mast before noon. "
    "Nobody had seen a storm of alarms like this one, which ended when power came back. "
    "Her report names two causes, explains both of them with measurements, and proposes that "
    "spare batteries be tested each spring. We agreed to do so, and to write down how long "
    "they last."
)


def test_a_good_text_passes_every_rule() -> None:
    assert all(rules.judge(GOOD, rules.RULES).values()), rules.judge(GOOD, rules.RULES)


def numbered(n: int, form: str = "w{}") -> str:
    return " ".join(form.format(i) for i in range(n))


CASES = {
    "length": (numbered(49), numbered(50)),
    "word_length": (numbered(10, "abcdefghij{}"), numbered(10, "abcdefghi{}")),
    "hash": ("# # a b c d e f g h i j k l m n o", "# " + numbered(9)),
    "ellipsis": ("a... b... " + numbered(8), "a... " + numbered(9)),
    "bullet_lines": ("\n".join(["- a"] * 10), "\n".join([*["- a"] * 9, "b"])),
    "ellipsis_lines": ("a...\n" * 4 + "b\n" * 6, "a…\n" * 3 + "b\n" * 7),
    "letters": ("1 2 3 4 5 6 7 8 a b", "1 2 a b c d e f g h"),
    "stop_words": ("the the the", "The (of)"),
    "repeated_lines": ("a\na\nb\na\nc", "a\na\na\nb\nc\nd\ne\nf\ng\nh\ni"),
    "repeated_paragraphs": ("a\n\na\n\na", "a\n\nb\n\nc\n\na"),
    "repeated_line_characters": ("aaaaaaaa\naaaaaaaa\nb", "a\na\nbbbbbbbbbb"),
    "repeated_paragraph_characters": ("aaaaaa\n\naaaaaa\n\nb", "a\n\na\n\nbbbbbbbbb"),
    "top_2_gram": ("a b a b c", "a b " + numbered(20) + " a b"),
    "top_3_gram": ("a b c a b c d", numbered(20)),
    "top_4_gram": ("a b c d a b c d e", numbered(20)),
    **{f"repeated_{n}_grams": (f"{numbered(n)} {numbered(n)}", f"{numbered(n)} {numbered(n - 1)}")
       for n in range(5, 11)},
    "sentences": ("One two three four five. Six.", "One two three four five. Six. Seven."),
    "braces": ("a { b", "a ( b"),
    "placeholder": ("Lorem Ipsum", "lorem and ipsum"),
    "listed": ("you SCUM!", "the scumble"),
}  # fmt: skip


@pytest.mark.parametrize("name", rules.RULES)
def test_each_rule_fires_on_its_case_and_not_at_its_limit(name: str) -> None:
    bad, good = CASES[name]
    assert not rules.judge(bad, [name], {"scum"})[name], rules.values(bad)[name]
    assert rules.judge(good, [name], {"scum"})[name], rules.values(good)[name]


def test_rules_are_judged_each_by_itself_and_limits_can_be_set() -> None:
    verdict = rules.judge("# 1 2 3")
    assert [name for name in rules.QUALITY if not verdict[name]] == [
        "length", "word_length", "hash", "letters", "stop_words"]  # fmt: skip
    assert not rules.judge(numbered(20), ["length"])["length"]
    assert rules.judge(numbered(20), ["length"], limits={"length": (5, 99)})["length"]
    assert set(rules.values("")) == set(rules.RULES)
    assert set(rules.values("").values()) == {0.0}


def test_c4_keeps_lines_and_names_what_a_page_fails() -> None:
    page = ("Home\nThis line has five words.\nEnable JavaScript to see this page.\nToo short.\n"
            "Our site uses cookies for everything.\nIt ends without a mark here\n"
            'She said: "we will see."\nAnd it goes on and on...')  # fmt: skip
    assert [why for _, why in rules.c4_lines(page)] == [
        "end", "", "javascript", "short", "policy", "end", "", "end"]  # fmt: skip
    kept, failed = rules.c4(page)
    assert kept == 'This line has five words.\nShe said: "we will see."'
    assert failed == ["sentences"]


def test_the_funnel_counts_what_each_stage_finds(corpus) -> None:
    report = rules.funnel(corpus.rows, pipeline.standard(corpus.test_items), corpus.truth)
    by_name = {line["stage"]: line for line in report}
    assert [line["documents"] for line in report] == sorted(
        (line["documents"] for line in report), reverse=True)  # fmt: skip
    for name in ("encoding", "listed words", "duplicates", "contamination", "personal data"):
        assert by_name[name]["precision"] > 0.95, by_name[name]
        assert by_name[name]["recall"] > 0.95, by_name[name]
    assert by_name["html"]["recall"] == 1
    assert by_name["classifier"]["precision"] > 0.9
    assert by_name["rules"]["precision"] < 1  # chapter 6 says why
    dropped = rules.Stage("half", lambda rows: rows[: len(rows) // 2])
    assert rules.funnel(corpus.rows, [dropped])[1] == {
        "stage": "half", "documents": 100, "dropped": 100, "changed": 0, "precision": None,
        "recall": None, "bytes": sum(len(r["text"].encode()) for r in corpus.rows[:100]),
    }  # fmt: skip


# --- quality, mixtures, contamination ------------------------------------------------------------


def test_the_classifier_separates_and_is_undecided_about_nothing(corpus) -> None:
    classify = pipeline.classifier()
    bad = corpus.truth["spam"]
    found = {row["id"]: p for row, p in zip(
        corpus.rows, classify([row["text"] for row in corpus.rows]), strict=True)}  # fmt: skip
    assert all(0 <= p <= 1 for p in found.values())
    good_scores = [p for own, p in found.items() if own not in bad]
    assert quality.auc(good_scores, [found[own] for own in bad]) > 0.97
    assert classify(["", "?!"]).tolist() == [0.5, 0.5]
    assert quality.auc([1, 2], [1, 0]) == pytest.approx(0.875)


def test_shares_and_epochs() -> None:
    counts = {"a": 100.0, "b": 1.0, "c": 0.0}
    assert mixtures.shares(counts, 1) == pytest.approx({"a": 100 / 101, "b": 1 / 101, "c": 0})
    assert mixtures.shares(counts, 0.5) == pytest.approx({"a": 10 / 11, "b": 1 / 11, "c": 0})
    assert mixtures.shares(counts, 0) == {"a": 0.5, "b": 0.5, "c": 0}
    assert mixtures.shares({"a": 1e300, "b": 1e-300}, 2) == {"a": 1, "b": 0}
    half = mixtures.shares(counts, 0)
    assert mixtures.epochs(counts, half, 10) == {"a": 0.05, "b": 5, "c": 0}
    with pytest.raises(ValueError, match="positive"):
        mixtures.shares({"a": 0}, 1)


def test_contamination_is_a_share_of_the_items_n_grams() -> None:
    item = "A B c d e f"
    train = ["x a b c, d y", "nothing of it", ""]
    assert contamination.overlap(train, [item, "a b", "", "c d y"], 3).tolist() == [0.5, 0, 0, 1]
    assert contamination.overlap([], [item], 3).tolist() == [0]
    assert contamination.contaminated(train, [item, "a b"], 3).tolist() == [True, False, False]
    assert contamination.contaminated(train, [item], 3, 0.6).tolist() == [False] * 3
    assert contamination.contaminated(train, [], 3).tolist() == [False] * 3


def test_planted_test_items_are_found(corpus, texts: list[str]) -> None:
    found = contamination.contaminated(texts, corpus.test_items)
    ids = {row["id"] for row, yes in zip(corpus.rows, found, strict=True) if yes}
    assert ids == corpus.truth["contamination"]
    shares = contamination.overlap(texts, corpus.test_items)
    assert {i for i, share in enumerate(shares) if share == 1} == set(corpus.leaked)
    assert all(share in (0, 1) for share in shares)


# --- merges --------------------------------------------------------------------------------------


def slow_merges(counts: Counter[str], n: int) -> list[tuple[bytes, bytes]]:
    """All pairs counted anew for every merge; ids are letters, so that merging is `replace`."""
    table = {"".join(map(chr, piece.encode())): times for piece, times in counts.items()}
    tokens, merges = [bytes([b]) for b in range(256)], []
    for _ in range(n):
        found: Counter[tuple[str, str]] = Counter()
        for piece, times in table.items():
            for pair in pairwise(piece):
                found[pair] += times
        a, b = min(found, key=lambda pair: (-found[pair], pair))
        table = {piece.replace(a + b, chr(len(tokens))): n for piece, n in table.items()}
        merges.append((tokens[ord(a)], tokens[ord(b)]))
        tokens.append(b"".join(merges[-1]))
    return merges


def test_merges_are_those_of_the_slow_loop(texts: list[str]) -> None:
    some = [
        *texts[:12],
        "aaaa aaa  aa",
        "x\n y \n\n z ",
        "  lead",
        "trail  ",
        "\u00a0 a \u3000b",
        "",
    ]
    counts: Counter[str] = Counter()
    for document in some:
        counts.update(regex.findall(bpe.GPT2, document))
    assert bpe.pieces(some) == counts
    assert bpe.learn(some, 256 + 120) == slow_merges(counts, 120)
    assert bpe.learn(["aaa"], 300) == [(b"a", b"a"), (b"aa", b"a")]
    assert bpe.learn([], 300) == []


# --- the stream ----------------------------------------------------------------------------------

PROGRAM = """
import json, os, sys, time
from glassbox.cleaning import stream
from glassbox.cleaning.duplicates import signatures

ROWS = [{"id": str(i), "text": " ".join(f"w{(i // 3 * 7 + j) % 101}" for j in range(1 + i % 30))}
        for i in range(400)]

def upper(text): return text.upper()
def rules(text): return {"long": len(text) > 8, "other": True}
def slow(text):
    if pause: time.sleep(0.002)
    return True
def sketch(text): return signatures([text], 2, 32)[0]

pause = len(sys.argv) > 3
stream.run(ROWS, [("upper", upper), ("rules", rules), ("slow", slow)], sys.argv[1],
           int(sys.argv[2]), 16, signature=sketch, bands=16, progress=False)
"""


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def begin(program: Path, folder: Path, workers: int, *more: str) -> subprocess.Popen:
    command = [sys.executable, str(program), str(folder), str(workers), *more]
    return subprocess.Popen(
        command, stderr=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)}
    )


def wait_for(path: Path) -> None:
    for _ in range(3000):
        if path.exists():
            return
        time.sleep(0.01)
    raise AssertionError(f"{path} did not appear")


def run_here(program: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(program), str(folder), "1"])
    runpy.run_path(str(program))


def test_a_stream_goes_on_after_every_kind_of_end(tmp_path: Path, monkeypatch) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    run_here(program, whole, monkeypatch)
    for at, end in ((5, signal.SIGKILL), (13, signal.SIGINT)):
        process = begin(program, broken, 2, "pause")
        wait_for(broken / "chunks" / f"{at:08d}.json")
        process.send_signal(end)
        assert process.wait(timeout=30) != 0
        assert not (broken / "run_record.json").exists()
    (broken / "chunks" / "00000001.jsonl").unlink()  # as if the kill had come between two files
    (broken / "chunks" / "00000001.json").unlink()
    (broken / "chunks" / "00000020.jsonl.part").write_text("half a li")
    run_here(program, broken, monkeypatch)
    assert files_of(broken) == files_of(whole)
    record = json.loads((whole / "run_record.json").read_text())
    rows = list(stream.kept(whole))
    assert record["rows"] == 400
    assert record["kept"] == len(rows) == len({row["id"] for row in rows})
    assert record["stages"][-1]["dropped"] > 0


def test_a_stream_takes_what_learners_write(tmp_path: Path) -> None:
    rows = [{"id": str(i), "text": f"text {i}"} for i in range(10)]
    stages = [("even", lambda t: int(t[-1]) % 2 == 0), ("none", lambda t: None if "4" in t else t),
              ("rules", lambda t: {"a": True, "b": "6" not in t}),
              ("new", lambda t: t + "!")]  # fmt: skip
    record = stream.run(iter(rows), stages, tmp_path / "a", chunk=3, progress=False)
    assert [row["text"] for row in stream.kept(tmp_path / "a")] == ["text 0!", "text 2!", "text 8!"]
    assert [line["documents"] for line in record["stages"]] == [5, 4, 3, 3]
    assert [line["changed"] for line in record["stages"]] == [0, 0, 0, 3]
    assert record["stages"][-1]["bytes"] == 21
    started = []
    source = lambda start: started.append(start) or rows[start:]  # noqa: E731
    again = stream.run(source, stages, tmp_path / "a", chunk=3, progress=False)
    assert again == record
    assert started == [0, 12]  # a look at the first row, and whether there are more


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_draws_no_more_rows_than_it_can_hold(tmp_path: Path, workers: int) -> None:
    ahead = []

    def source():
        for i in range(120):
            ahead.append(i - 3 * len(list(tmp_path.glob("chunks/*.json"))))
            yield {"id": str(i), "text": "x"}

    stages = [("slow", lambda t: time.sleep(0.001) or True)]
    record = stream.run(source(), stages, tmp_path, workers, chunk=3, progress=False)
    assert record["kept"] == 120
    assert max(ahead) <= 3 * (2 * workers + 1)


def test_a_stream_says_what_is_wrong(tmp_path: Path) -> None:
    rows = [{"id": f"r{i}", "text": "x"} for i in range(4)]
    with pytest.raises(stream.StageError, match=r"'bad' failed on row 'r0': ZeroDivisionError"):
        stream.run(rows, [("bad", lambda t: 1 / 0)], tmp_path / "a", progress=False)
    with pytest.raises(stream.StageError, match=r"'bad' gave int for row 'r0'"):
        stream.run(rows, [("bad", lambda t: 3)], tmp_path / "b", workers=2, progress=False)
    stream.run(rows, [("ok", lambda t: True)], tmp_path / "c", chunk=2, progress=False)
    with pytest.raises(ValueError, match="other stages"):
        stream.run(rows, [("ok", lambda t: t == "x")], tmp_path / "c", chunk=2, progress=False)
    with pytest.raises(ValueError, match="other rows"):
        stream.run(rows[1:], [("ok", lambda t: True)], tmp_path / "c", chunk=2, progress=False)
    stream.run(rows[:3], [("ok", lambda t: True)], tmp_path / "d", chunk=2, progress=False)
    with pytest.raises(ValueError, match="fewer rows"):
        stream.run(
            [*rows, *rows], [("ok", lambda t: True)], tmp_path / "d", chunk=2, progress=False
        )


@pytest.mark.skipif(not importlib.util.find_spec("datasets"), reason="datasets is not installed")
def test_a_stream_takes_datasets_plain_and_streaming(tmp_path: Path) -> None:
    datasets = importlib.import_module("datasets")
    plain = datasets.Dataset.from_list([{"id": str(i), "text": f"t{i}"} for i in range(7)])
    for name, rows in (("plain", plain), ("streaming", plain.to_iterable_dataset())):
        record = stream.run(rows, [("ok", lambda t: t != "t3")], tmp_path / name, chunk=2,
                            progress=False)  # fmt: skip
        assert (record["rows"], record["kept"]) == (7, 6)


# --- libraries -----------------------------------------------------------------------------------


def needs(name: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(not importlib.util.find_spec(name), reason=f"{name} is not installed")


@needs("datasketch")
def test_datasketch_finds_the_same_groups(texts: list[str], groups: list[int]) -> None:
    found = libraries.datasketch_groups(texts, params=(32, 4), verify=True)
    assert libraries.agreement(found, groups)["f1"] > 0.98
    assert libraries.agreement(libraries.datasketch_groups(texts), groups)["precision"] > 0.95


@needs("rensa")
def test_rensa_finds_the_same_groups(texts: list[str], groups: list[int]) -> None:
    found = libraries.rensa_groups(texts, bands=32, batch=64)
    assert libraries.agreement(found, groups)["f1"] > 0.98


@needs("py3langid")
def test_py3langid_agrees_with_our_languages(corpus) -> None:
    rows = [row for row in corpus.rows if row["id"] not in corpus.truth["spam"]]
    some = [row["text"] for row in rows[::3]]
    same = [a == b for a, b in zip(libraries.py3langid_languages(some), text.languages(some),
                                   strict=True)]  # fmt: skip
    assert sum(same) >= 0.95 * len(same)


@needs("datatrove")
def test_datatrove_judges_as_our_rules_do(texts: list[str]) -> None:
    for document, (passed, rule) in zip(texts, libraries.datatrove_gopher(texts), strict=True):
        verdict = rules.judge(document)
        if rule == "gopher_enough_stop_words":  # datatrove counts "the", but not "The" or "the,"
            verdict["stop_words"] = False
        measured = rules.values(document)
        near = [name for name in rules.REPETITION  # it counts spaces too, so limits are a bit apart
                if abs(measured[name] / rules.RULES[name].high - 1) < 0.15]  # fmt: skip
        assert near or passed == all(verdict.values()), (rule, document)
    assert libraries.datatrove_gopher([""]) == [(False, "empty")]


@needs("bs4")
def test_beautiful_soup_reads_the_same_pages(corpus) -> None:
    for row in corpus.rows:
        if row["id"] in corpus.truth["html"]:
            ours, soup = text.page_text(row["text"]), libraries.soup_text(row["text"])
            assert "".join(ours.split()) == "".join(soup.split())


def test_a_missing_library_is_named_calmly(monkeypatch) -> None:
    monkeypatch.setattr(libraries, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"needs rensa.*\. Type: pip install rensa==0\.5\.0$"):
        libraries.rensa_groups(["a"])


def test_pins_are_those_of_the_project() -> None:
    pinned = (ROOT / "constraints.txt").read_text() + "datatrove==0.10.1\n"
    assert all(f"{pin}\n" in pinned for pin in libraries.PINS.values())


def test_agreement_counts_pairs() -> None:
    found = libraries.agreement([0, 0, 0, 3], [0, 0, 2, 2])
    assert found == pytest.approx({"precision": 1 / 3, "recall": 0.5, "f1": 0.4})
    assert libraries.agreement([0, 1], [0, 1]) == {"precision": 1, "recall": 1, "f1": 0}
