"""What lab 10 rests on: libraries beside it, contracts, planted corpora, five seeds, the stream."""

import contextlib
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from autograder.bank import read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import check, drills_dedup, preference
from glassbox.telecom.defects import DEFECTS, planted

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab10_dedup"


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab10_dedup")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    with contextlib.redirect_stdout(io.StringIO()):
        return namespace(lab)


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "five_seeds.json").read_text())


@pytest.fixture(scope="module")
def five() -> Any:
    """The script of the five seeds, as a module."""
    spec = importlib.util.spec_from_file_location("five_seeds_10", FOLDER / "five_seeds.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def piped(five: Any) -> dict[str, Any]:
    """The names of the lab, with its pipeline and what trains on its result."""
    return five.definitions()


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


# --- libraries ---------------------------------------------------------------------------------


def test_minhash_estimates_as_datasketch_does(space: dict[str, Any]) -> None:
    datasketch = pytest.importorskip("datasketch")
    errors: dict[str, list[float]] = {"ours": [], "theirs": []}
    for k, share in enumerate((0.1, 0.3, 0.5, 0.7, 0.9)):
        a, b = map(set, drills_dedup.overlapping(200, share, f"{k} "))
        true = len(a & b) / len(a | b)
        ours = [space["minhash"](some, 256, k) for some in (a, b)]
        errors["ours"].append((ours[0] == ours[1]).double().mean().item() - true)
        theirs = [datasketch.MinHash(256, seed=k + 1) for _ in range(2)]
        for sketch, some in zip(theirs, (a, b), strict=True):
            sketch.update_batch([item.encode() for item in some])
        errors["theirs"].append(theirs[0].jaccard(theirs[1]) - true)
    for some in errors.values():
        assert max(map(abs, some)) < 4 / 16


def test_the_rules_are_datatrove_s_where_they_coincide(space: dict[str, Any]) -> None:
    """Every pair of texts around a limit, and what datatrove's filter says of the same words."""
    pytest.importorskip("datatrove")
    from datatrove.data import Document
    from datatrove.pipeline.filters import gopher_quality_filter as theirs

    class Words:  # by white space, as in the lab; datatrove would cut at punctuation
        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

    answers = {
        "gopher_short_doc": "length", "gopher_long_doc": "length",
        "gopher_below_avg_threshold": "word_length", "gopher_above_avg_threshold": "word_length",
        "gopher_too_many_hashes": "hash", "gopher_too_many_ellipsis": "ellipsis",
        "gopher_too_many_bullets": "bullet_lines",
        "gopher_too_many_end_ellipsis": "ellipsis_lines",
        "gopher_below_alpha_threshold": "letters", "gopher_enough_stop_words": "stop_words",
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(theirs, "split_into_words", lambda text, _: Words().word_tokenize(text))
        judge = theirs.GopherQualityFilter()
        for rule, inside, outside in drills_dedup.edges(seeded(4), top=False):
            if rule == "stop_words":
                continue  # datatrove compares words as they stand, case and comma included
            inside, outside = (t.replace("\n \n", "\n") for t in (inside, outside))  # no blank ones
            verdict = judge.filter(Document(text=outside, id="0"))
            assert verdict is not True
            assert answers[verdict[1]] == rule, (rule, verdict)
            assert [n for n, fine in space["gopher_rules"](outside).items() if not fine] == [rule]
            assert judge.filter(Document(text=inside, id="0")) is True
            assert all(space["gopher_rules"](inside).values())


@pytest.mark.parametrize("seed", ["a", "b", "c"])
def test_groups_of_copies_are_the_planted_ones(space: dict[str, Any], seed: str) -> None:
    corpus = planted(f"never seen {seed}", 400)
    place = {row["id"]: i for i, row in enumerate(corpus.rows)}
    ids = space["dedup"]([row["text"] for row in corpus.rows], 0.65, bands=32)
    groups = [{place[i] for i in some} for some in corpus.clusters]
    assert drills_dedup.pair_scores(ids, groups)[2] >= 0.95


# --- contracts ---------------------------------------------------------------------------------


def test_signatures_are_the_same_in_another_process(space: dict[str, Any], lab: Lab) -> None:
    ours = space["minhash"]({"a b", "c d", "é"}, 9, 5).tolist()
    code = (
        "import hashlib, torch\nfrom torch import Tensor\nNOTHING = 0\n"
        + lab.cell("minhash").source
    )
    code += "\nprint(minhash({'a b', 'c d', 'é'}, 9, 5).tolist())"
    for salt in ("1", "2"):
        out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True,
                             check=True, env=os.environ | {"PYTHONHASHSEED": salt})  # fmt: skip
        assert json.loads(out.stdout) == ours


def test_a_salted_hash_is_seen_without_a_new_process() -> None:
    known = read_bank(COURSE, read_lab(COURSE, "lab10_dedup"))["minhash"]
    salted = next(v.make for v in known.wrong if v.name == "with_pythons_hash")
    for function, same in ((salted, False), (known.right[0].make, True)):
        once, elsewhere, *_ = drills_dedup.signatures_again(function, ["a", "b", "c"], 8, 1)
        assert torch.equal(once, elsewhere) is same


def test_what_a_text_without_anything_gives(space: dict[str, Any]) -> None:
    assert space["extract_text"]("") == ""
    scores = space["language_scores"]("", space["PROFILES"])
    assert set(scores.values()) == {1 / len(scores)}
    assert [n for n, fine in space["gopher_rules"]("").items() if fine] == [
        "hash", "ellipsis", "bullet_lines", "ellipsis_lines"]  # fmt: skip
    assert space["c4_filter"]("", set()) is None
    assert space["drop_repeated_lines"]([], 1) == []
    assert space["shingles"]("", 3) == set()
    assert space["minhash"](set(), 2, 0).tolist() == [2**63 - 1] * 2
    assert space["lsh_candidates"](torch.zeros(1, 4).long(), 2) == set()
    assert space["dedup"]([], 0.5) == []
    assert space["train_quality_classifier"](["a"], ["b", "b c"])("") == 0.5
    assert space["contamination"]([], ["a b c"], 2) == [0.0]


def test_texts_that_break_rules_say_which(space: dict[str, Any]) -> None:
    for seed in range(3):
        for text, broken in drills_dedup.spoiled(seeded(seed)):
            found = [n for n, fine in space["gopher_rules"](text).items() if not fine]
            assert sorted(found) == sorted(broken)


def test_helpers_are_those_of_the_planted_truth(space: dict[str, Any]) -> None:
    """Words and shingles of the lab are what the corpus counts its duplicates by."""
    from glassbox.telecom import defects

    texts = [row["text"] for row in space["CLASS"].rows[:12]]
    for a, b in pairwise(texts):
        ours = space["jaccard"](space["shingles"](a, 5), space["shingles"](b, 5))
        assert ours == pytest.approx(defects.jaccard(a, b))


# --- the pipeline and what it is worth ---------------------------------------------------------


def test_the_pipeline_finds_what_was_planted(piped: dict[str, Any]) -> None:
    corpus = planted("never seen", 600)
    cleaned, touched = piped["pipeline"](corpus)
    found = piped["report"](corpus, touched)
    assert set(found) <= {*DEFECTS, "contamination"}
    for defect in ("html", "mojibake", "spam", "toxic", "exact_duplicate", "near_duplicate",
                   "contamination"):  # fmt: skip
        precision, recall = found[defect]
        assert recall >= 0.85, defect
        assert precision >= 0.6, defect
    sound = {row["id"] for row in drills_dedup.sound(corpus)}
    assert len(sound & cleaned.keys()) >= 0.95 * len(sound)


def test_clean_text_wins_in_five_of_five_seeds(runs: list[dict[str, Any]]) -> None:
    assert [run["seed"] for run in runs] == list(range(5))
    gaps = [run["raw"] - run["clean"] for run in runs]
    assert min(gaps) > 0
    assert preference.mean_interval(gaps)[1] > 0


def test_one_seed_again(piped: dict[str, Any], runs: list[dict[str, Any]]) -> None:
    torch.set_num_threads(1)
    found = piped["before_and_after"](1)
    assert found["left"] == runs[1]["left"]
    assert found["raw"] == pytest.approx(runs[1]["raw"], abs=0.1)  # another processor
    assert found["raw"] > found["clean"]


def test_the_notebook_prints_what_was_recorded(
    lab: Lab, runs: list[dict[str, Any]], capsys: pytest.CaptureFixture
) -> None:
    names: dict[str, Any] = {"runs": []}
    exec(cell_with(lab, "RECORDED = {"), names)
    assert names["RECORDED"] == {key: [run[key] for run in runs] for key in ("raw", "clean")}
    assert "95 % interval" in capsys.readouterr().out


# --- the large cell ----------------------------------------------------------------------------


def test_many_documents_go_through_the_stages(
    lab: Lab, piped: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:  # fmt: skip
    """The cell for M and L on the CPU, with 300 documents."""
    monkeypatch.chdir(tmp_path)
    source = cell_with(lab, "def seconds_per_document")
    source = source.replace("scale.choose(200, 50_000, 1_000_000)", "300")
    source = source.replace("range(200)", "range(9)")
    exec(source, piped | {"scale": replace(piped["scale"], name="M")})
    record = json.loads((tmp_path / "run_record.json").read_text())
    stages = record["results"]["stages"]
    assert [line["stage"] for line in stages] == [
        "markup", "encoding", "rules", "classifier", "word list", "duplicates"]  # fmt: skip
    assert 150 < record["results"]["kept"] < 280
    assert stages[-1]["dropped"] > 20
    assert "ms a document" in capsys.readouterr().out


# --- messages ----------------------------------------------------------------------------------


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "This text fails two rules; you report one", "The rule speaks of words",
        "A limit itself is judged wrongly", "Your signatures change with every process",
        "LSH proposes; Jaccard decides", "0.5 and 0.9 give the same groups",
        "a = b and b = c, but a and c are apart", "Other order, other groups",
        "inside of another word", "0.5 became 0.25", "everything overlaps",
        "Jaccard counts each shingle once",
    ):  # fmt: skip
        assert words in told, words


def test_diagnoses_are_found_from_the_answers(space: dict[str, Any]) -> None:
    check.start("lab10_dedup")

    def short_is_nothing(text: str, n: int) -> set[str]:
        words = re.findall(r"\w+", text.lower())
        return {" ".join(words[i : i + n]) for i in range(len(words) - n + 1)}

    with pytest.raises(check.CheckFailed, match="fewer than n words has no shingle"):
        check.mistakes("lab10_dedup.shingles", short_is_nothing)
    check.mistakes("lab10_dedup.shingles", space["shingles"])
