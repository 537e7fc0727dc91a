"""What lab 4 rests on: tiktoken and a naive trainer agree with it; its contract; its messages."""

import contextlib
import io
import random
import subprocess
import sys
import time
import unicodedata
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import nbformat
import pytest
import regex
import tiktoken

from autograder import forbidden
from autograder.bank import read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import bank, check, telecom

COURSE = Course(Path(__file__).parents[1])
Merges = list[tuple[bytes, bytes]]


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab04_tokenizer")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


@pytest.fixture(scope="module")
def trained(space: dict[str, Any]) -> tuple[dict[int, bytes], Merges]:
    """500 merges of telecom text and of the sentences in six languages."""
    text = telecom.corpus(40_000) + SIX
    return space["train_bpe"](text, 757, ("<|end|>",))


def naive(text: str, n_merges: int) -> Merges:
    """The merges of a text, everything counted anew in each round and no word stored twice."""
    rows = [list(piece.encode()) for piece in regex.findall(GPT2, text)]
    names, merges = [bytes([b]) for b in range(256)], []
    while len(merges) < n_merges:
        counts = Counter(pair for row in rows for pair in pairwise(row))
        if not counts:
            break
        best = sorted(counts, key=lambda pair: (-counts[pair], *pair))[0]
        for row in rows:
            at = 0
            while at < len(row) - 1:
                if (row[at], row[at + 1]) == best:
                    row[at : at + 2] = [len(names)]
                at += 1
        merges.append((names[best[0]], names[best[1]]))
        names.append(names[best[0]] + names[best[1]])
    return merges


SIX = "\n".join(sentence for rows in telecom.parallel().values() for sentence in rows)
GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
BLOCKS = [
    (0x00, 0x7F), (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0x17F), (0x300, 0x36F), (0x400, 0x45F),
    (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE5B), (0x1100, 0x11FF), (0x2000, 0x206F),
    (0x2190, 0x23FF), (0x3040, 0x30FF), (0x4E00, 0x4FFF), (0xFE00, 0xFE0F), (0x1D400, 0x1D4FF),
    (0x1F1E6, 0x1F1FF), (0x1F300, 0x1F64F), (0x20000, 0x200FF), (0xE0020, 0xE007F),
]  # fmt: skip


def strings(n: int, words: list[str]) -> list[str]:
    """Random texts: scripts, emoji, combining marks, controls, and words of the corpus."""
    draw = random.Random(4)
    blocks = [[c for c in map(chr, range(low, high + 1)) if unicodedata.category(c) != "Cn"]
              for low, high in BLOCKS]  # fmt: skip

    def run() -> str:
        if draw.random() < 0.4:
            return draw.choice(words)
        return "".join(draw.choices(draw.choice(blocks), k=draw.randint(1, 5)))

    return ["".join(run() for _ in range(draw.randint(1, 8))) for _ in range(n)]


# --- against other implementations ----------------------------------------------------------------


def test_ten_thousand_random_strings_come_out_as_from_tiktoken(
    space: dict[str, Any], trained: tuple[dict[int, bytes], Merges]
) -> None:
    vocab, merges = trained
    ranks = {token: i for i, token in vocab.items() if i < 256 + len(merges)}
    theirs = tiktoken.Encoding("ours", pat_str=GPT2, mergeable_ranks=ranks,
                               special_tokens={"<|end|>": 256 + len(merges)})  # fmt: skip
    words = [" connection", "<|end|>", "the modem's", "\n\n", "ไม่มีสัญญาณ", "सिग्नल", "E221", "größer"]
    texts = strings(10_000, words)
    assert len(set(texts)) > 8_000
    for text in texts:
        got = space["encode"](text, merges, ("<|end|>",))
        assert got == theirs.encode(text, allowed_special="all"), repr(text)
        assert space["decode"](got, vocab) == text


def test_merges_are_those_of_a_naive_trainer(space: dict[str, Any]) -> None:
    text = telecom.corpus(6_000) + SIX
    vocab, merges = space["train_bpe"](text, 556)
    assert merges == naive(text, 300)
    assert list(vocab) == list(range(556))
    short = "aaaa aaaaaaa zy xw abab"
    assert space["train_bpe"](short, 400)[1] == naive(short, 400)


def test_no_two_merges_give_the_same_bytes(trained: tuple[dict[int, bytes], Merges]) -> None:
    assert len(set(trained[0].values())) == len(trained[0]) == 757


# --- the contract --------------------------------------------------------------------------------


def rejecting(lab: Lab, space: dict[str, Any], exercise: str, version: Any) -> str:
    """The message of the first test of the lab that rejects a version; "" if none does."""
    for kind in ("visible", "hidden"):
        source = lab.cell(f"{exercise}_{kind}").source
        try:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(source, {**space, exercise: version})
        except Exception as error:
            return f"{type(error).__name__}: {error}"
    return ""


def breaks(right: Any, when: Any, other: Any) -> Any:
    """The right answer but where `when` says so."""
    return lambda *args: other(*args) if when(*args) else right(*args)


def test_each_point_of_the_docstrings_is_checked(lab: Lab, space: dict[str, Any]) -> None:
    pieces, train, encode = space["pre_tokenize"], space["train_bpe"], space["encode"]
    decode, split = space["decode"], space["unigram_best_split"]
    surrogate = {
        "train_bpe": lambda text, size, special=(): train(
            text.encode("utf-8", "replace").decode(), size, special
        ),
        "encode": lambda text, merges, special=(): encode(
            text.encode("utf-8", "replace").decode(), merges, special
        ),
    }
    points = [
        ("pre_tokenize", breaks(pieces, lambda t: t == "", lambda t: [""])),
        ("pair_counts", lambda words: {**space["pair_counts"](words), (0, 999): 0}),
        ("merge_pair", breaks(space["merge_pair"], lambda i, p, n: n in p, lambda i, p, n: i)),
        ("train_bpe", breaks(train, lambda t, v, s=(): v < 256 + len(s), lambda *_: ({}, []))),
        ("train_bpe", surrogate["train_bpe"]),
        ("encode", surrogate["encode"]),
        ("encode", breaks(encode, lambda t, *_: t == "", lambda *_: [0])),
        ("encode", lambda text, merges, special=(): encode(text, merges, special or ("<|end|>",))),
        ("decode", breaks(decode, lambda ids, v: not ids, lambda *_: "\ufffd")),
        ("unigram_best_split", breaks(split, lambda w, p: not w, lambda w, p: [""])),
        ("unigram_best_split", breaks(split, lambda w, p: len(w) > 60, lambda w, p: [w])),
    ]
    for number, (exercise, version) in enumerate(points):
        assert rejecting(lab, space, exercise, version), f"{number}: {exercise}"


def test_the_kind_of_dict_and_its_order_are_left_open(lab: Lab, space: dict[str, Any]) -> None:
    def backwards(vocab: dict[int, bytes], merges: Merges) -> tuple[dict[int, bytes], Merges]:
        return dict(reversed(vocab.items())), merges

    plain = {
        "pair_counts": lambda words: dict(space["pair_counts"](words)),
        "train_bpe": lambda *args: backwards(*space["train_bpe"](*args)),
    }
    for exercise, version in plain.items():
        assert rejecting(lab, space, exercise, version) == "", exercise


@pytest.mark.parametrize("answer", [None, 0, float("nan"), "", [], {}, ([], []), (None, None)])
def test_what_is_no_answer_is_said_in_words(
    lab: Lab, space: dict[str, Any], answer: object
) -> None:
    for exercise in lab.exercises:
        told = rejecting(lab, space, exercise, lambda *_, answer=answer: answer)
        if answer in ([], {}) or isinstance(answer, tuple):
            assert told, exercise
        elif exercise != "train_bpe":  # which is unpacked: an error of Python's says it
            assert told.startswith("CheckFailed: "), (exercise, told)


def test_tests_hold_for_other_seeds(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(6):
        monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
        for exercise in lab.exercises:
            told = rejecting(lab, space, exercise, space[exercise])
            assert told == "", (seed, exercise, told)


def test_a_slow_and_honest_trainer_passes_in_time(lab: Lab, space: dict[str, Any]) -> None:
    versions = {v.name: v.make for v in read_bank(COURSE, lab)["train_bpe"].right}
    start = time.process_time()
    assert rejecting(lab, space, "train_bpe", versions["by_counting_anew"]) == ""
    assert time.process_time() - start < 5


def test_calls_of_the_oracle_are_flagged(lab: Lab) -> None:
    names = lab.forbidden["encode"]
    assert forbidden.used(lab.cell("encode").source, [], names) == []
    answer = "def encode(text, merges, special_tokens=()):\n    return oracle(merges)(text)\n"
    assert forbidden.used(answer, [], names) == ["oracle"]


# --- what learners read --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("exercise", "slip", "words"),
    [
        ("pre_tokenize", lambda text: text.split(), "The white space is gone"),
        ("merge_pair", lambda ids, pair, new: ids, "got [1, 2, 3, 1, 2], expected [9, 3, 9]"),
        ("decode", lambda ids, v: "".join(v[i].decode(errors="replace") for i in ids),
         "two replacement marks"),
        ("token_tax", lambda texts, encode: {}, "a dict of en, th"),
    ],
)  # fmt: skip
def test_a_typical_slip_is_named(
    lab: Lab, space: dict[str, Any], exercise: str, slip: Any, words: str
) -> None:
    check.start(lab.name)
    assert words in rejecting(lab, space, exercise, slip)


def test_long_answers_say_where_they_differ(space: dict[str, Any]) -> None:
    with pytest.raises(check.CheckFailed, match="item 11 is 0, expected 11"):
        space["same"]("case", [*range(11), *[0] * 9], list(range(20)))
    with pytest.raises(check.CheckFailed, match="19 items, expected 20; item 19 is nothing"):
        space["same"]("case", list(range(19)), list(range(20)))
    with pytest.raises(check.CheckFailed, match=r"the key 3 is missing"):
        space["same"]("case", {1: 2}, {1: 2, 3: 4})
    with pytest.raises(check.CheckFailed, match=r"1 has 5, expected 2"):
        space["same"]("case", {1: 5}, {1: 2})
    space["same"]("case", Counter({1: 2}), {1: 2})


def test_probes_hold_bytes_and_dicts_with_any_keys() -> None:
    cases = [{"args": [{(1, 2): b"\x00\xff", 3: "x"}, [(b"a", b"b")]], "kwargs": {}}]
    arrays = bank.pack("lab", [], {"f": (cases, {})})
    assert bank.Fingerprints(arrays).cases("f") == cases


def test_answers_inside_of_answers_are_told_apart() -> None:
    def answer(value: object) -> list:
        return bank.answer(lambda: value, {"args": [], "kwargs": {}})

    assert not bank.same(answer(([b"a"], {1: b"b"})), answer(([b"a"], {1: b"c"})))
    assert bank.same(answer(({2: b"c", 1: b"b"},)), answer(({1: b"b", 2: b"c"},)))
    assert not bank.same(answer({"a": {"x": 1.0}}), answer({"a": {"x": 2.0}}))
    assert bank.same(answer({"a": {"x": 1.0, "y": 2}}), answer({"a": {"y": 2, "x": 1.0 + 1e-9}}))


def test_a_list_changed_in_place_is_noticed() -> None:
    with pytest.raises(check.CheckFailed, match="argument 1 was changed"):
        check.unchanged("ids", lambda ids: ids.append(1), [1, 2])
    check.unchanged("ids", lambda ids: [*ids, 1], [1, 2])


# --- whole notebooks -----------------------------------------------------------------------------


def script(path: Path, cells: list[Any]) -> Path:
    """The code cells one after the other, each failed check printed in place of a traceback."""
    lines = ["import contextlib, IPython, traceback", "space = {'__name__': 'lab'}",
             "import matplotlib; matplotlib.use('Agg')"]  # fmt: skip
    for cell in cells:
        if cell.cell_type == "code":
            tested = "raises-exception" in cell.metadata.get("tags", [])
            lines += ["try:", f"    exec({cell.source!r}, space)",
                      f"except {'Exception' if tested else 'ZeroDivisionError'} as error:",
                      "    print(type(error).__name__, error)"]  # fmt: skip
    path.write_text("\n".join(lines))
    return path


def run(path: Path) -> str:
    done = subprocess.run([sys.executable, path.name], cwd=path.parent, capture_output=True,
                          text=True, timeout=600)  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_released_notebook_runs_to_its_end_unsolved(tmp_path: Path) -> None:
    released = nbformat.read(COURSE.labs / "lab04_tokenizer" / "lab04_tokenizer.ipynb", 4)
    told = run(script(tmp_path / "stub.py", released.cells))
    assert "CheckFailed" not in told
    assert told.count("not attempted yet") == 9, told
    assert told.count("run this cell again") == 7, told
    assert "NameError" not in told


@pytest.mark.slow
def test_the_solved_notebook_takes_less_than_a_minute(lab: Lab, tmp_path: Path) -> None:
    path = script(tmp_path / "solved.py", lab.notebook.cells)
    path.write_text(path.read_text() + "\nimport time; print('seconds', time.process_time())")
    told = run(path)
    assert told.count("✓") >= 18, told
    assert "0 differ from tiktoken" in told
    assert "back again: False" not in told
    assert "1,024 entries" in told
    assert float(told.split("seconds ")[-1]) < 60
