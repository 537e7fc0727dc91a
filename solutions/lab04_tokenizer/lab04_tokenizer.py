# %% [markdown]
# # Lab 4: a tokenizer
#
# A model sees numbers, a customer writes text. In this lab you write what stands between them: a
# byte-level BPE like GPT-2's, its training, its encoder and its decoder. Two shorter exercises show
# how WordPiece and Unigram choose otherwise, and the last one measures who pays for an English
# vocabulary.
#
# **{points}, about 2 ½ hours.** The chapter behind it is
# [From text to ids](../../book/ch03_tokens.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - Arguments are never changed.
# - The **ids**: byte `b` has id `b`, the token of merge `i` has id `256 + i`, the special token `j`
#   has id `256 + len(merges) + j`. Counting begins at 0.
# - Later functions may call earlier ones, and you may add helpers of your own in any blank.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from itertools import pairwise, product
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import regex
import tiktoken
import torch

import glassbox
from glassbox import check

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab04_tokenizer")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# GPT-2 cuts a text into **pieces** before it counts anything: a word with the space before it, a
# number, a run of signs, a run of white space. The pattern is below. `\p{L}` is a letter of any
# script, `\p{N}` a digit of any script. Python's `re` does not know them, the package `regex` does.
#
# `random_text` draws what customers send: several scripts, emoji, combining marks, control
# characters. `oracle` builds OpenAI's tokenizer, `tiktoken`, from merges of *yours*. `same`
# compares answers that are long and says where they first differ.

# %% nbgrader={"locked": "given"}
GPT2_PATTERN = (r"'s|'t|'re|'ve|'m|'ll|'d"  # English endings, after an apostrophe
                r"| ?\p{L}+"  # letters, with one space before them
                r"| ?\p{N}+"  # digits, likewise
                r"| ?[^\s\p{L}\p{N}]+"  # anything else that is not white space, likewise
                r"|\s+(?!\S)|\s+")  # white space; its last one is left for the next piece

POOLS = ["the link is down ", "it's we'll DON'T 'd ", "0123456789", "Störung größer ",
         "Привет, связь ", "ลูกค้าไม่มีสัญญาณ", "नमस्ते नेटवर्क ", "网络故障", "½٣² ",
         "👩‍🔧📶🇹🇭👍🏽", "e\u0301a\u0308\u200d", "_-—…//::<|>",
         "\t\n\r \u00a0\u3000", "\x00\x1c\x7f\u0085"]


def random_text(gen: torch.Generator, n_runs: int) -> str:
    """Runs of one to six characters, each from one of the pools."""
    def pick(n: int) -> int:
        return torch.randint(n, (), generator=gen).item()

    pools = [POOLS[pick(len(POOLS))] for _ in range(n_runs)]
    return "".join(pool[pick(len(pool))] for pool in pools for _ in range(1 + pick(6)))


def oracle(merges: list[tuple[bytes, bytes]], special_tokens: tuple[str, ...] = ()
           ) -> Callable[[str], list[int]]:
    """The encoder of tiktoken with the same pattern, the same merges and the same ids."""
    ranks = {bytes([b]): b for b in range(256)}
    ranks |= {a + b: 256 + i for i, (a, b) in enumerate(merges)}
    special = {token: len(ranks) + j for j, token in enumerate(special_tokens)}
    theirs = tiktoken.Encoding("yours", pat_str=GPT2_PATTERN, mergeable_ranks=ranks,
                               special_tokens=special)
    return lambda text: theirs.encode(text, allowed_special="all")


def same(case: str, got: object, want: list | dict, why: str = "") -> None:
    """Compare two long lists or dicts; say where they first differ."""
    if isinstance(want, dict):
        if not isinstance(got, dict):
            raise check.CheckFailed(case, f"got {got!r:.70}, expected a dict", why)
        for key in sorted(want.keys() | got.keys(), key=str):
            if key not in got or key not in want:
                there = "is missing" if key in want else "should not be there"
                raise check.CheckFailed(case, f"the key {key!r} {there}", why)
            if got[key] != want[key]:
                seen = f"{key!r} has {got[key]!r:.60}, expected {want[key]!r:.60}"
                raise check.CheckFailed(case, seen, why)
        return
    if not isinstance(got, list):
        raise check.CheckFailed(case, f"got {got!r:.70}, expected a list", why)
    if got == want:
        return
    if len(got) + len(want) <= 16:
        raise check.CheckFailed(case, f"got {got!r:.160}, expected {want!r:.160}", why)
    at = next((i for i, (a, b) in enumerate(zip(got, want)) if a != b), min(len(got), len(want)))
    shown = [repr(x[at])[:60] if at < len(x) else "nothing" for x in (got, want)]
    seen = f"{len(got)} items, expected {len(want)}; item {at} is {shown[0]}, expected {shown[1]}"
    raise check.CheckFailed(case, seen, why)


# %% [markdown]
# ## 1. Pieces ({points:pre_tokenize}, 10 min)
#
# Should `down`, `down.` and `down!` be three tokens? Then the vocabulary would fill up with words
# and their punctuation. So a text is first cut into pieces, and no token ever crosses a cut.
#
# By hand: `The link's down.` has five pieces, `The`, ` link`, `'s`, ` down`, `.`. The space belongs
# to the word that *follows*. Put side by side, the pieces are the text again: nothing is dropped.
#
# **Common mistake:** `text.split()`. It drops the white space, and no decoder can bring it back.
#
# <details><summary>Hint 1</summary>
#
# Every piece is a match of the pattern, and the next search begins where the match has ended.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `re` stops at `\p`. The package `regex` has the same functions and knows `\p{L}`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Which function of the package gives *all* matches as a list of strings? It is one call.
#
# </details>

# %% nbgrader={"solution": "pre_tokenize"}
def pre_tokenize(text: str) -> list[str]:
    r"""The pieces of a text: the successive matches of GPT-2's pattern.

    The pattern, in one line, is GPT2_PATTERN:
    's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
    Joined, the pieces are the text; "" has none.
    "a  b", with two spaces, has three: "a", " ", " b".
    """
    ### BEGIN SOLUTION
    return regex.findall(GPT2_PATTERN, text)
    ### END SOLUTION


# %% nbgrader={"test": "pre_tokenize_visible", "points": 3}
with check.question("pre_tokenize_visible", pre_tokenize) as f:
    same("The link's down.", f("The link's down."), ["The", " link", "'s", " down", "."],
         why="a space belongs to the word that follows it.")
    same("error E404!!", f("error E404!!"), ["error", " E", "404", "!!"],
         why="letters, digits and signs are three kinds.")
    same("two spaces", f("a  b"), ["a", " ", " b"], why="the last space is left for the word.")
    same("white space at the end", f("ok \n\n"), ["ok", " \n\n"], why="no word follows.")
    same("10000 and DON'T", f("10000 DON'T"), ["10000", " DON", "'", "T"],
         why="digits are not grouped; the endings are lower case.")
    same("the empty text", f(""), [])

# %% nbgrader={"test": "pre_tokenize_hidden", "points": 2}
# Hidden checks: contractions, other scripts and digits, white space of all kinds, random texts.
### BEGIN HIDDEN TESTS
with check.question("pre_tokenize_hidden", pre_tokenize) as f:
    gen = check.generator()
    for text, pieces in (
        ("we'll they're I'd", ["we", "'ll", " they", "'re", " I", "'d"]),
        ("größer Москва ไม่", ["größer", " Москва", " ไม", "่"]),
        ("x² ½ ٣٤", ["x", "²", " ½", " ٣٤"]),
        ("a\n\n b\tc", ["a", "\n\n", " b", "\t", "c"]),
        ("fiber_optic — 5G", ["fiber", "_", "optic", " —", " 5", "G"]),
        (" lead  ", [" lead", "  "]),
        ("''s", ["''", "s"])):
        same(repr(text), f(text), pieces)
    for case in range(1, 41):
        text = random_text(gen, 12)
        got = f(text)
        same(f"random text {case}", got, regex.findall(GPT2_PATTERN, text))
        check.equal(f"random text {case}, joined", "".join(got), text, why="nothing is dropped.")
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Count the pairs ({points:pair_counts}, 10 min)
#
# BPE asks one question again and again: which two neighbours occur together most often? A word that
# occurs 500 times need not be looked at 500 times. So the training text becomes a table: each
# different word as a tuple of ids, and how often it occurs.
#
# By hand: the word (1, 2, 3) five times and (2, 3) twice. The pair (1, 2) occurs 5 times, the pair
# (2, 3) 5 + 2 = 7 times.
#
# **Common mistake:** counting each word once. Then a rare word weighs as much as "the".
#
# <details><summary>Hint 1</summary>
#
# A word of `n` ids has `n - 1` pairs of neighbours, also where they overlap.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `zip(word, word[1:])` or `itertools.pairwise(word)` walk over the neighbours.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Begin with an empty `Counter`; for each pair of each word add the word's count.
#
# </details>

# %% nbgrader={"solution": "pair_counts"}
def pair_counts(words: dict[tuple[int, ...], int]) -> dict[tuple[int, int], int]:
    """How often each pair of neighbouring ids occurs in all words together.

    `words` maps a word, a tuple of ids, to how often it occurs (at least once). A pair counts at
    every place where it stands, also where places overlap: (7, 7, 7) holds (7, 7) twice.
    Only pairs that occur have a key. A Counter is a dict as well.
    """
    ### BEGIN SOLUTION
    counts: Counter[tuple[int, int]] = Counter()
    for word, n in words.items():
        for pair in pairwise(word):
            counts[pair] += n
    return counts
    ### END SOLUTION


# %% nbgrader={"test": "pair_counts_visible", "points": 6}
with check.question("pair_counts_visible", pair_counts) as f:
    same("(1, 2, 3) once", f({(1, 2, 3): 1}), {(1, 2): 1, (2, 3): 1}, why="two neighbours each.")
    same("(1, 2, 3) five times, (2, 3) twice", f({(1, 2, 3): 5, (2, 3): 2}),
         {(1, 2): 5, (2, 3): 7}, why="each word counts as often as it occurs.")
    same("(7, 7, 7) once", f({(7, 7, 7): 1}), {(7, 7): 2}, why="at place 0 and at place 1.")
    same("(1, 2, 1, 2) once", f({(1, 2, 1, 2): 1}), {(1, 2): 2, (2, 1): 1},
         why="(1, 2) and (2, 1) are two pairs.")
    same("a word of one id", f({(5,): 3}), {}, why="it has no neighbours.")

# %% nbgrader={"test": "pair_counts_hidden", "points": 4}
# Hidden checks: random words with repeated pairs, no words at all, ids above 255.
### BEGIN HIDDEN TESTS
with check.question("pair_counts_hidden", pair_counts) as f:
    gen = check.generator()
    same("no words", f({}), {})
    same("(300, 300, 300, 300) twice", f({(300,) * 4: 2}), {(300, 300): 6})
    for n_ids in (2, 3, 5, 300):
        words = {}
        for n in (1, 1, 2, 4, 7, 12):
            word = tuple(torch.randint(n_ids, (n,), generator=gen).tolist())
            words[word] = words.get(word, 0) + int(torch.randint(1, 90, (), generator=gen))
        want = {}
        for word, n in words.items():
            for i in range(len(word) - 1):
                want[word[i], word[i + 1]] = want.get((word[i], word[i + 1]), 0) + n
        same(f"random words of {n_ids} ids", f(words), want)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Merge a pair ({points:merge_pair}, 10 min)
#
# The pair that has won becomes one token, everywhere. The pass goes from left to right, and an id
# that has been used up is gone: in `aaa` the first two are merged, the third stays alone.
#
# By hand: [97, 97, 97] with the pair (97, 97) and the new id 256 becomes [256, 97].
#
# **Common mistake:** merging at every place that `pair_counts` counted. Those places overlap, and
# three letters cannot be two tokens of two letters each.
#
# <details><summary>Hint 1</summary>
#
# Walk over the ids with an index. At each place there are two cases: the pair stands here or not.
#
# </details>
# <details><summary>Hint 2</summary>
#
# In the one case the index moves on by two, in the other by one. A `while` loop can do that; a
# `for` loop needs a mark that the next id is used up already.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Fill a new list. The last id has no right neighbour: check that before you look at it, or compare
# slices, which may be short.
#
# </details>

# %% nbgrader={"solution": "merge_pair"}
def merge_pair(ids: list[int], pair: tuple[int, int], new_id: int) -> list[int]:
    """A new list in which each occurrence of the pair has become `new_id`.

    One pass from left to right; an id takes part in one merge at most. What the pass has written
    is not looked at again, even if `new_id` is one of the ids of the pair.
    [5, 5, 5, 5] with (5, 5) and 5 is [5, 5].
    """
    ### BEGIN SOLUTION
    merged, used_up = [], False
    for here, right in zip(ids, [*ids[1:], None]):
        found = not used_up and (here, right) == pair
        if not used_up:
            merged.append(new_id if found else here)
        used_up = found
    return merged
    ### END SOLUTION


# %% nbgrader={"test": "merge_pair_visible", "points": 6}
with check.question("merge_pair_visible", merge_pair) as f:
    same("the pair twice", f([1, 2, 3, 1, 2], (1, 2), 9), [9, 3, 9])
    same("aaa", f([97, 97, 97], (97, 97), 256), [256, 97],
         why="the first two are one token, the third stays.")
    same("the other order", f([2, 1, 2, 2], (1, 2), 9), [2, 9, 2], why="(2, 1) is another pair.")
    same("not there", f([3, 1], (1, 2), 9), [3, 1])
    same("nothing", f([], (1, 2), 9), [])
    same("an id of the pair as new id", f([5, 5, 5, 5], (5, 5), 5), [5, 5], why="one pass.")
    check.unchanged("ids", f, [1, 2, 1, 2], (1, 2), 9, why="give a new list.")

# %% nbgrader={"test": "merge_pair_hidden", "points": 4}
# Hidden checks: random ids, runs of equal ids, the pair at both ends, a new id that is in use.
### BEGIN HIDDEN TESTS
with check.question("merge_pair_hidden", merge_pair) as f:
    gen = check.generator()
    for n in range(1, 8):
        same(f"{n} times the same id", f([4] * n, (4, 4), 7), [7] * (n // 2) + [4] * (n % 2))
    same("at both ends", f([1, 2, 0, 1, 2], (1, 2), 300), [300, 0, 300])
    for case in range(12):
        ids = torch.randint(3, (20,), generator=gen).tolist()
        a, b = torch.randint(3, (2,), generator=gen).tolist()
        for new_id in (a, b, 300):
            text = "".join(map(chr, ids)).replace(chr(a) + chr(b), chr(new_id))
            want = list(map(ord, text))
            same(f"random ids {case}, new id {new_id}", f(ids, (a, b), new_id), want)
        check.unchanged(f"random ids {case}, unchanged", f, ids, (a, b), 300)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Train ({points:train_bpe}, 35 min)
#
# Training repeats two steps: find the pair that occurs most often, merge it in all words. Each
# round adds one token. It begins with the 256 bytes, so that no text is ever unknown.
#
# By hand, `ab ab ab abc`. The pieces are `ab` once, ` ab` twice, ` abc` once.
#
# 1. `a b` stands four times, `␣ a` three times, `b c` once. Merge `a b`, id 256.
# 2. `␣ ab` stands three times, `ab c` once. Merge `␣ ab`, id 257.
# 3. `␣ab c` stands once. Merge it as well, id 258. Then every piece is one token: no pair is left.
#
# What if two pairs occur equally often? Some rule must decide, or two machines learn two
# tokenizers. Ours: the **smallest pair**, compared by its two ids.
#
# **Special tokens** mark what is no text, such as the end of a turn. They are cut out before the
# pieces are made, they are counted in `vocab_size`, and they get the last ids.
#
# **Common mistake:** breaking ties by what `max` meets first. That is the order of the text.
#
# <details><summary>Hint 1</summary>
#
# Begin with a table for `pair_counts`: each piece as a tuple of its UTF-8 bytes, and how often it
# occurs. A `Counter` over the pieces does it. How many merges may there be at most?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Of all pairs you want the largest count and then the smallest ids. `min` with a `key` that gives a
# tuple does both at once, if one entry of the tuple has a minus sign.
#
# </details>
# <details><summary>Hint 3</summary>
#
# To cut at special tokens: `regex.split` at an alternation of the escaped tokens. Alternatives are
# tried in their order, so put longer ones first. Each round makes a new table with `merge_pair`.
#
# </details>

# %% nbgrader={"solution": "train_bpe"}
def train_bpe(
    text: str, vocab_size: int, special_tokens: tuple[str, ...] = ()
) -> tuple[dict[int, bytes], list[tuple[bytes, bytes]]]:
    """Learn a byte-level BPE: (vocabulary from id to bytes, merges in the order learned).

    Special tokens are cut out of the text first and are never counted; where several fit at one
    place, the longest does. What stands between them is cut by pre_tokenize, each stretch alone,
    and no merge crosses pieces. Each round merges the pair that occurs most often; among equals
    the smallest pair, compared by ids. It goes on while a pair occurs at all, even once, and ends
    early when none is left.
    The vocabulary holds the 256 bytes, the merges and the special tokens, with the ids stated at
    the top of the lab, and at most `vocab_size` entries; ValueError if `vocab_size` is less than
    256 + len(special_tokens). A lone surrogate in the text is a UnicodeEncodeError, as in
    str.encode.
    """
    ### BEGIN SOLUTION
    if vocab_size < 256 + len(special_tokens):
        raise ValueError(f"vocab_size {vocab_size} has no room for bytes and special tokens")
    at = "|".join(map(regex.escape, sorted(special_tokens, key=len, reverse=True)))
    parts = regex.split(at, text) if special_tokens else [text]
    words = Counter(tuple(piece.encode()) for part in parts for piece in pre_tokenize(part))
    vocab, merges = {b: bytes([b]) for b in range(256)}, []
    while len(vocab) + len(special_tokens) < vocab_size and (counts := pair_counts(words)):
        best = min(counts, key=lambda pair: (-counts[pair], pair))
        merges.append((vocab[best[0]], vocab[best[1]]))
        words = {tuple(merge_pair(list(w), best, len(vocab))): n for w, n in words.items()}
        vocab[len(vocab)] = b"".join(merges[-1])
    return vocab | {len(vocab) + j: s.encode() for j, s in enumerate(special_tokens)}, merges
    ### END SOLUTION


# %% nbgrader={"test": "train_bpe_visible", "points": 15}
with check.question("train_bpe_visible", train_bpe) as f:
    with check.part("merges in order", 8):
        vocab, merges = f("ab ab ab abc", 258)
        same("ab ab ab abc, two merges", merges, [(b"a", b"b"), (b" ", b"ab")],
             why="a b four times, then the space before it three times.")
        same("its vocabulary", vocab,
             {b: bytes([b]) for b in range(256)} | {256: b"ab", 257: b" ab"})
        vocab, merges = f("ab ab ab abc", 400)
        same("ab ab ab abc, until none is left", merges,
             [(b"a", b"b"), (b" ", b"ab"), (b" ab", b"c")],
             why="a pair that occurs once is merged, too.")
        same("ef.ef.ef.xyxy", f("ef.ef.ef.xyxy", 257)[1], [(b"e", b"f")],
             why="e f stands three times, x y twice.")
        same("aaa", f("aaa", 258)[1], [(b"a", b"a"), (b"aa", b"a")],
             why="after the first merge it is aa, a.")
    with check.part("ties and bytes", 4):
        same("cd ab, every pair once", f("cd ab", 259)[1],
             [(b" ", b"a"), (b"c", b"d"), (b" a", b"b")],
             why="(32, 97) comes first, and (99, 100) before (256, 98): ids are compared.")
        same("é", f("é", 300)[1], [(b"\xc3", b"\xa9")], why="é has two bytes, 195 and 169.")
    with check.part("special tokens and sizes", 3):
        vocab, merges = f("ab<|end|>ab<|end|><|end|><|end|>abc", 258, ("<|end|>",))
        same("two merges are too many", merges, [(b"a", b"b")],
             why="258 entries: 256 bytes, one special token, one merge.")
        same("its ids 256 and 257", [vocab.get(256), vocab.get(257)], [b"ab", b"<|end|>"])
        check.raises("vocab_size 256 with a special token", ValueError, f, "ab", 256, ("<|end|>",))

# %% nbgrader={"test": "train_bpe_hidden", "points": 10}
# Hidden checks: random texts in order, ties, several special tokens, early ends, no merges at all.
### BEGIN HIDDEN TESTS
with check.question("train_bpe_hidden", train_bpe) as f:
    gen = check.generator()

    def learned(parts, n_merges):
        """Merges and tokens of given stretches, by a list of lists."""
        rows = [list(p.encode()) for part in parts for p in regex.findall(GPT2_PATTERN, part)]
        names, merges = [bytes([b]) for b in range(256)], []
        while len(merges) < n_merges:
            seen = Counter(pair for row in rows for pair in pairwise(row))
            if not seen:
                break
            most = max(seen.values())
            a, b = min(pair for pair, n in seen.items() if n == most)
            for row in rows:
                i = 0
                while i < len(row) - 1:
                    if (row[i], row[i + 1]) == (a, b):
                        row[i : i + 2] = [len(names)]
                    i += 1
            merges.append((names[a], names[b]))
            names.append(names[a] + names[b])
        return names, merges

    def agrees(case, text, parts, vocab_size, special=()):
        names, merges = learned(parts, vocab_size - 256 - len(special))
        vocab, got = f(text, vocab_size, special)
        same(f"{case}, merges", got, merges)
        want = dict(enumerate([*names, *(s.encode() for s in special)]))
        same(f"{case}, vocabulary", vocab, want)

    with check.part("random texts", 4):
        for case in range(4):
            text = random_text(gen, 60)
            agrees(f"random text {case}", text, [text], 300)
        words = torch.randint(97, 100, (40, 5), generator=gen).tolist()
        text = " ".join("".join(map(chr, word)) for word in words)
        agrees("words of a, b, c", text, [text], 290)
    with check.part("ties and the end", 2):
        agrees("every pair once", "zy xw vu", ["zy xw vu"], 300)
        agrees("runs", "aaaaaaa aaaa", ["aaaaaaa aaaa"], 300)
        agrees("no text", "", [""], 300)
    with check.part("special tokens", 3):
        ends = ("<|end|>", "<|end|>xy", "(.*)")
        text = "ab<|end|>xyab (.*)ab<|end|>abc <|end|><|end|>"
        agrees("special tokens", text, ["ab", "ab ", "ab", "abc ", "", ""], 262, ends)
        agrees("special tokens, until none is left", text, ["ab", "ab ", "ab", "abc "], 400, ends)
        agrees("no special tokens given", text, [text], 270)
    with check.part("sizes", 1):
        agrees("no merges", "abab", ["abab"], 257, ("<|end|>",))
        check.raises("vocab_size 255", ValueError, f, "abab", 255)
        check.raises("a lone surrogate", UnicodeError, f, "ab\ud800", 260)
### END HIDDEN TESTS

# %% [markdown]
# Now train on half a megabyte of telecom dialogues, tickets and logs. Before you run it: how many
# of the first thirty tokens begin with a space? What will the longest token be?

# %% tags=["demo"]
import time

from glassbox import telecom

corpus = telecom.corpus(500_000)
my_vocab, my_merges = {}, []
try:
    start = time.perf_counter()
    my_vocab, my_merges = train_bpe(corpus, 1024, ("<|end|>",))
    print(f"{len(my_merges)} merges in {time.perf_counter() - start:.1f} s")
    first = [(a + b).decode(errors="replace") for a, b in my_merges[:30]]
    print("The first:  ", " ".join(repr(token) for token in first))
    longest = sorted(my_vocab.values(), key=len)[-8:]
    print("The longest:", " ".join(repr(token.decode(errors="replace")) for token in longest))
except NotImplementedError:
    print("Write pre_tokenize, pair_counts, merge_pair and train_bpe; then run this cell again.")

# %% [markdown]
# ## 5. Encode ({points:encode}, 30 min)
#
# A text that the training never saw must come out as it would have come out in training. So
# encoding **replays the merges in the order in which they were learned**, inside of each piece.
#
# By hand, with the merges `n e`, `e t`, `ne t`, `␣ net` (ids 256 to 259). In `net` two merges would
# fit at first, `n e` and `e t`. The earlier one wins: `ne t`, then `net`, id 258. The text
# `net et` is [258, 32, 257]: `␣` and `et` were never merged.
#
# **Common mistake:** taking the pair that is frequent in *this* text, or the longest token that
# fits. Both give tokens, and other ones than the model was trained on.
#
# <details><summary>Hint 1</summary>
#
# Solve it for one piece without special tokens: a list of single bytes, and a table that gives each
# pair of byte strings its rank, the place in `merges`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Again and again: among the neighbours that have a rank take the lowest; merge there; stop when
# none has one. Or go through the merges in order and merge each wherever it stands.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `regex.split` keeps what it splits at if the pattern stands in parentheses. So every second part
# is a special token: it has its id already, and the others go through `pre_tokenize`.
#
# </details>

# %% nbgrader={"solution": "encode", "calls_forbidden": ["tiktoken", "oracle"]}
def encode(
    text: str, merges: list[tuple[bytes, bytes]], special_tokens: tuple[str, ...] = ()
) -> list[int]:
    """The ids of a text.

    Special tokens are found first, from left to right; where several fit at one place, the longest
    does. Each becomes one id. What stands between them is cut by pre_tokenize, each stretch alone,
    and each piece begins as its UTF-8 bytes; the merges are then replayed in their order. A merge
    joins two neighbours whose bytes are its two entries; no merge crosses pieces.
    No two merges give the same bytes. A text that looks like a special token which is not given is
    plain text. "" has no ids. A lone surrogate is a UnicodeEncodeError, as in str.encode.
    """
    ### BEGIN SOLUTION
    ids = {bytes([b]): b for b in range(256)} | {a + b: 256 + i for i, (a, b) in enumerate(merges)}
    joined, found = {(ids.get(a), ids.get(b)): ids[a + b] for a, b in merges}, []
    special = {token: len(ids) + j for j, token in enumerate(special_tokens)}
    at = "|".join(map(regex.escape, sorted(special, key=len, reverse=True)))
    for part in regex.split(f"({at})", text) if special else [text]:
        found += [special[part]] if part in special else []
        for piece in [] if part in special else pre_tokenize(part):
            row, first = list(piece.encode()), lambda pair: joined.get(pair, math.inf)
            for _ in row[1:]:  # at most so many merges
                best = min(pairwise(row), key=first, default=None)
                row = merge_pair(row, best, joined[best]) if best in joined else row
            found += row
    return found
    ### END SOLUTION


# %% nbgrader={"test": "encode_visible", "points": 12}
with check.question("encode_visible", encode) as f:
    net = [(b"n", b"e"), (b"e", b"t"), (b"ne", b"t"), (b" ", b"net")]  # ids 256 to 259
    with check.part("merges", 8):
        same("net et", f("net et", net), [258, 32, 257], why="in net, n e was learned before e t.")
        same("et et net", f("et et net", net), [257, 32, 257, 259],
             why="how often a pair stands in this text is of no account.")
        same("enet.", f("enet.", net), [101, 258, 46])
        same("abc", f("abc", [(b"b", b"c"), (b"a", b"b")]), [97, 256],
             why="b c was learned before a b.")
        same("ooo", f("ooo", [(b"o", b"o")]), [256, 111], why="from left to right.")
        same("a t, twice", f("a t a t", [(b"a", b" "), (b" ", b"t")]), [97, 256 + 1, 32, 97, 257],
             why="the pieces are a, ␣t, ␣a, ␣t: a merge never crosses them.")
        same("no merges, é and 📶", f("é📶", []), [195, 169, 240, 159, 147, 182],
             why="UTF-8 bytes are their own ids.")
        same("the empty text", f("", net), [])
    with check.part("special tokens", 4):
        same("net<|end|>net", f("net<|end|>net", net, ("<|end|>",)), [258, 260, 258],
             why="one id, right after the merges.")
        same("not given", f("<|end|>", []), list(b"<|end|>"), why="then it is plain text.")
        same("two of them", f("<|b|><|a|>", net, ("<|a|>", "<|b|>")), [261, 260])

# %% nbgrader={"test": "encode_hidden", "points": 8}
# Hidden checks: random Unicode against tiktoken, runs, special tokens that begin alike, surrogates.
### BEGIN HIDDEN TESTS
with check.question("encode_hidden", encode) as f:
    gen = check.generator()

    def learned(text, n_merges):
        rows = [[bytes([b]) for b in p.encode()] for p in regex.findall(GPT2_PATTERN, text)]
        merges = []
        while len(merges) < n_merges:
            seen = Counter(pair for row in rows for pair in pairwise(row))
            if not seen:
                break
            a, b = max(seen, key=lambda pair: (seen[pair], pair))
            merges.append((a, b))
            for row in rows:
                i = 0
                while i < len(row) - 1:
                    if (row[i], row[i + 1]) == (a, b):
                        row[i : i + 2] = [a + b]
                    i += 1
        return merges

    often = 12 * "the link is down, we'll call; "
    merges = learned(f"{random_text(gen, 60)} {often} {''.join(POOLS)}", 120)
    with check.part("random texts", 5):
        for n in (120, 30):
            theirs = oracle(merges[:n])
            for case in range(12):
                text = random_text(gen, 25)
                same(f"random text {case}, {n} merges", f(text, merges[:n]), theirs(text))
        for text in ("aaaaa aaaaaa", "the link is down, we'll call", "  \n\n  x  ", "hellllo"):
            runs = learned("aaaa aaaa aaaaaaa hello hell lll aaa", 14)
            same(repr(text), f(text, runs), oracle(runs)(text))
    with check.part("special tokens", 2):
        special = ("<|end|>", "<|user|>", "(.*)")
        theirs = oracle(merges, special)
        for case in range(4):
            text = "".join(special[i] + random_text(gen, 4) for i in (0, 1, 2, 0, 0, 2))
            same(f"random text {case} with special tokens", f(text, merges, special), theirs(text))
        alike = ("<|end|>", "<|end|>+", "<|")
        n = 256 + len(merges)
        same("special tokens that begin alike", f("<|end|>+<|<|end|>x<|", merges, alike),
             [n + 1, n + 2, n, 120, n + 2], why="the longest that fits.")
        same("special tokens alone", f("<|end|><|end|>", [], alike), [256, 256])
    with check.part("surrogates", 1):
        check.raises("a lone surrogate", UnicodeError, f, "ab\ud800", merges)
### END HIDDEN TESTS

# %% [markdown]
# Move the slider: the sentence is cut with the first merges of *your* training only. At which
# number of merges is `␣error` one token? Below it, `tiktoken` is fed with your merges and must
# agree.

# %% tags=["demo"]
from ipywidgets import IntSlider, interact

sentence = "Customer: The connection is gone again, error E221. ไม่มีสัญญาณ"


def shown(token: bytes) -> str:
    """A token as text; as hex where it cuts a character."""
    text = token.decode(errors="replace")
    return token.hex() if "\ufffd" in text else text


def show_tokens(n_merges: int) -> None:
    """The sentence cut by the first merges, a bar between tokens."""
    names = [bytes([b]) for b in range(256)] + [a + b for a, b in my_merges[:n_merges]]
    tokens = [shown(names[i]) for i in encode(sentence, my_merges[:n_merges])]
    print(f"{n_merges} merges, {len(tokens)} tokens:", "|".join(tokens))


try:
    n = len(my_merges)
    interact(show_tokens, n_merges=IntSlider(n, 0, n, continuous_update=False))
    theirs, differing = oracle(my_merges, ("<|end|>",)), 0
    texts = [*telecom.corpus(20_000, seed=1).split("\n\n"), random_text(check.generator(), 30)]
    for text in texts:
        marked = text + "<|end|>"
        differing += encode(marked, my_merges, ("<|end|>",)) != theirs(marked)
    print(f"{len(texts)} texts that the training has not seen; {differing} differ from tiktoken.")
except NotImplementedError:
    print("Write encode first; then run this cell again.")

# %% [markdown]
# ## 6. Decode ({points:decode}, 10 min)
#
# Back from ids to text. Each id stands for bytes; put together they are UTF-8. A character may be
# spread over several tokens: `é` is two bytes, `📶` four. A model may also stop in the middle of
# one.
#
# By hand: [195, 169] is `é`. [195] alone is half of it and becomes `�`, U+FFFD; nothing breaks.
#
# **Common mistake:** decoding each token by itself. Each half of a character is then no character.
#
# <details><summary>Hint 1</summary>
#
# Which comes first: joining, or turning bytes into text?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `b"".join(…)` joins byte strings.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `bytes.decode` has an argument `errors`. Its default raises; which other value puts in a mark?
#
# </details>

# %% nbgrader={"solution": "decode"}
def decode(ids: list[int], vocab: dict[int, bytes]) -> str:
    """The text of a list of ids.

    The bytes of all ids together, read as UTF-8. What is not UTF-8 becomes U+FFFD, as in
    bytes.decode with errors="replace"; it raises nothing. No ids are "".
    An id that `vocab` does not hold is a KeyError.
    """
    ### BEGIN SOLUTION
    return b"".join(vocab[i] for i in ids).decode("utf-8", errors="replace")
    ### END SOLUTION


# %% nbgrader={"test": "decode_visible", "points": 6}
with check.question("decode_visible", decode) as f:
    vocab_net = {b: bytes([b]) for b in range(256)}
    vocab_net |= {256: b"net", 257: b"<|end|>", 258: b"\x93\xb6"}
    check.equal("net net", f([256, 32, 256], vocab_net), "net net")
    check.equal("é", f([195, 169], vocab_net), "é", why="two tokens, one character.")
    check.equal("📶 in three tokens", f([240, 159, 258], vocab_net), "📶",
                why="240, 159 and the two bytes of token 258.")
    check.equal("half of é", f([110, 195], vocab_net), "n\ufffd", why="half a character: one mark.")
    check.equal("a special token", f([110, 257], vocab_net), "n<|end|>")
    check.equal("no ids", f([], vocab_net), "")

# %% nbgrader={"test": "decode_hidden", "points": 4}
# Hidden checks: random Unicode cut anywhere, bytes that are no UTF-8, unknown ids, other ids.
### BEGIN HIDDEN TESTS
with check.question("decode_hidden", decode) as f:
    gen = check.generator()
    for case in range(12):
        text = random_text(gen, 8)
        data = text.encode()
        cuts = torch.randint(len(data) + 1, (9,), generator=gen).sort().values.tolist()
        tokens = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])]
        words = {1000 + i: token for i, token in enumerate(tokens)}
        check.equal(f"random text {case}, cut anywhere", f(list(words), words), text)
        noise = bytes(torch.randint(256, (9,), generator=gen).tolist())
        check.equal(f"noise {case}", f(list(range(9)), {i: noise[i : i + 1] for i in range(9)}),
                    noise.decode(errors="replace"), why="no exception, whatever the bytes.")
    check.raises("an unknown id", KeyError, f, [0, 7], {0: b"a"})
### END HIDDEN TESTS

# %% tags=["demo"]
try:
    for text in ("The modem's light is red.", "👩‍🔧 kommt um 14:30 Uhr", "ไม่มีสัญญาณ"):
        ids = encode(text, my_merges, ("<|end|>",))
        print(f"{len(ids):3} ids, back again: {decode(ids, my_vocab) == text}; "
              f"without the last id: {decode(ids[:-1], my_vocab)}")
except NotImplementedError:
    print("Write decode first; then run this cell again.")

# %% [markdown]
# ## 7. WordPiece's choice ({points:wordpiece_score}, 5 min)
#
# BERT's tokenizer also merges pairs, but it asks another question: does the pair occur more often
# than its parts would lead us to expect? The score divides the count of the pair by the product of
# the counts of its parts.
#
# By hand: a pair that stands 20 times, its parts 40 and 50 times: 20 / (40 · 50) = 0.01. A pair
# that stands 5 times and whose parts stand *nowhere else*: 5 / (5 · 5) = 0.2. BPE merges the first,
# WordPiece the second.
#
# **Common mistake:** dividing by the sum of the counts. A common part then hardly counts against
# the pair.
#
# <details><summary>Hint 1</summary>
#
# A high count of a part *lowers* the score.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Ask for a count that would not surprise: it grows with both counts.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The formula stands in the worked example. Mind the parentheses.
#
# </details>

# %% nbgrader={"solution": "wordpiece_score"}
def wordpiece_score(pair_count: int, first_count: int, second_count: int) -> float:
    """The score of a pair in WordPiece: its count over the product of the counts of its parts.

    All counts are at least 1. A pair whose parts stand nowhere else, once each, has score 1.
    """
    ### BEGIN SOLUTION
    return pair_count / (first_count * second_count)
    ### END SOLUTION


# %% nbgrader={"test": "wordpiece_score_visible", "points": 3}
with check.question("wordpiece_score_visible", wordpiece_score) as f:
    check.close("20 of 40 and 50", f(20, 40, 50), 0.01, why="20 / 2000.")
    check.close("5 of 5 and 5", f(5, 5, 5), 0.2, why="5 / 25: more telling than the pair above.")
    check.close("1 of 1 and 1", f(1, 1, 1), 1.0)
    check.that(f(5, 5, 5) > f(20, 40, 50), "the rarer pair should win: its parts never part.")

# %% nbgrader={"test": "wordpiece_score_hidden", "points": 2}
# Hidden checks: random counts, both parts alike in effect, the choice in a table.
### BEGIN HIDDEN TESTS
with check.question("wordpiece_score_hidden", wordpiece_score) as f:
    gen = check.generator()
    for _ in range(5):
        a, b = torch.randint(2, 900, (2,), generator=gen).tolist()
        n = 1 + int(torch.randint(min(a, b), (), generator=gen))
        check.close(f"{n} of {a} and {b}", f(n, a, b), n / a / b)
        check.close(f"{n} of {b} and {a}", f(n, b, a), n / a / b, why="the parts may be exchanged.")
    table = {"e r": (900, 4000, 3000), "q u": (60, 60, 2000), "t h": (1500, 5000, 1700)}
    best = max(table, key=lambda pair: f(*table[pair]))
    check.equal("the choice in a table", best, "q u", why="BPE would choose t h.")
### END HIDDEN TESTS

# %% [markdown]
# On your corpus, the first choices of both. What do the pairs that WordPiece likes have in common?
# BERT's trainer starts with letters that are common enough; here a pair of letters must stand fifty
# times.

# %% tags=["demo"]
try:
    words = Counter(tuple(piece.encode()) for piece in pre_tokenize(corpus))
    pairs, singles = Counter(pair_counts(words)), Counter()
    for word, n in words.items():
        for i in word:
            singles[i] += n
    common = [pair for pair, n in pairs.items() if n >= 50 and bytes(pair).isalpha()]
    score = {p: wordpiece_score(pairs[p], singles[p[0]], singles[p[1]]) for p in common}
    print("BPE:      ", [bytes(pair) for pair, _ in pairs.most_common(8)])
    print("WordPiece:", [bytes(pair) for pair in sorted(score, key=score.get)[:-9:-1]])
except NotImplementedError:
    print("Write wordpiece_score first; then run this cell again.")

# %% [markdown]
# ## 8. Unigram's best split ({points:unigram_best_split}, 20 min)
#
# A Unigram tokenizer has no merges. It has a probability for each token, and a word is cut so that
# the **product of the probabilities** is largest, that is, the sum of their logarithms.
#
# By hand, with log-probabilities un −1, lock −2, unlock −4, u −3, n −3. For `unlock` there are
# three splits: `unlock` −4, `un lock` −3, `u n lock` −8. The best is `un lock`.
#
# A word of `n` characters has 2ⁿ⁻¹ splits, for 30 characters over 500 million. There is no need to
# try them: the best split of the first 20 characters does not depend on what follows.
#
# **Common mistake:** taking the longest token that fits, again and again. It may be improbable, and
# it may leave a rest that no token covers.
#
# <details><summary>Hint 1</summary>
#
# Let `best[j]` be the best sum for the first `j` characters. What is `best[0]`? How does `best[j]`
# follow from earlier ones?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The last token of a split of the first `j` characters is `word[i:j]` for some `i < j`. Try all
# `i`, and remember the best.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Keep pairs of a sum and a list of tokens, and skip an `i` that no split reaches. At the end the
# pair of the whole word is either there or not.
#
# </details>

# %% nbgrader={"solution": "unigram_best_split"}
def unigram_best_split(word: str, log_probs: dict[str, float]) -> list[str]:
    """The split of a word into tokens of `log_probs` whose sum of log-probabilities is largest.

    Joined, the tokens are the word. A token may be used several times. The empty word is [].
    ValueError if no split exists. Of equally good splits any one will do.
    Words of 200 characters take no more than a moment: not all splits can be tried.
    """
    ### BEGIN SOLUTION
    best: dict[int, tuple[float, list[str]]] = {0: (0.0, [])}
    for j in range(1, len(word) + 1):
        ends = [(best[i][0] + log_probs[word[i:j]], [*best[i][1], word[i:j]])
                for i in range(j) if i in best and word[i:j] in log_probs]
        if ends:
            best[j] = max(ends)
    if len(word) not in best:
        raise ValueError(f"no split of {word!r} into known tokens")
    return best[len(word)][1]
    ### END SOLUTION


# %% nbgrader={"test": "unigram_best_split_visible", "points": 6}
with check.question("unigram_best_split_visible", unigram_best_split) as f:
    lock = {"un": -1.0, "lock": -2.0, "unlock": -4.0, "u": -3.0, "n": -3.0}
    same("unlock", f("unlock", lock), ["un", "lock"], why="-1 - 2 = -3; as one token it is -4.")
    same("unlock, whole", f("unlock", lock | {"unlock": -2.5}), ["unlock"], why="-2.5 beats -3.")
    same("many short ones", f("aaaa", {"a": -1.0, "aaaa": -9.0, "aa": -3.0}), ["a", "a", "a", "a"],
         why="-4 beats -6 and -9: the sum counts, not how many there are.")
    same("aab", f("aab", {"a": -5.0, "aa": -1.0, "ab": -2.0}), ["a", "ab"],
         why="after aa, nothing covers the b.")
    same("the empty word", f("", lock), [])
    check.raises("lot", ValueError, f, "lot", lock, why="no token covers it.")

# %% nbgrader={"test": "unigram_best_split_hidden", "points": 4}
# Hidden checks: random tables against all splits, long words, words that cannot be split.
### BEGIN HIDDEN TESTS
with check.question("unigram_best_split_hidden", unigram_best_split) as f:
    gen = check.generator()

    def total(case, word, table):
        got = f(word, table)
        if "".join(got) != word or not all(token in table for token in got):
            raise check.CheckFailed(case, f"got {got!r:.70}", "known tokens, joined the word.")
        return sum(table[token] for token in got)

    with check.part("against all splits", 3):
        tokens = ["".join(t) for n in (1, 2, 3, 4) for t in product("ab", repeat=n)]
        for case in range(12):
            odds = (-0.2 - 9 * torch.rand(len(tokens), generator=gen)).tolist()
            kept = torch.rand(len(tokens), generator=gen).tolist()
            table = {t: p for t, p, keep in zip(tokens, odds, kept) if keep < 0.6}
            word = "".join("ab"[i] for i in torch.randint(2, (9,), generator=gen).tolist())
            sums = []
            for cuts in product((False, True), repeat=8):
                at = [0, *(i + 1 for i in range(8) if cuts[i]), 9]
                split = [word[a:b] for a, b in pairwise(at)]
                if all(token in table for token in split):
                    sums.append(sum(table[token] for token in split))
            name = f"random table {case}, {word}"
            if sums:
                check.close(name, total(name, word, table), max(sums), why="the best of all.")
            else:
                check.raises(name, ValueError, f, word, table)
    with check.part("long words", 1):
        word = "ab" * 100
        table = {"a": -2.0, "b": -2.0, "ab": -3.5, "ba": -1.0, "aba": -4.75}
        check.close("ab, a hundred times", total("ab, a hundred times", word, table), -103.0,
                    why="a, ba 99 times, b.")
        check.raises("and a c", ValueError, f, word + "c", table)
### END HIDDEN TESTS

# %% [markdown]
# A table from your corpus: each word's share as its probability, and single letters so that any
# word can be split. Try words of your own.

# %% tags=["demo"]
try:
    shares = Counter(piece.strip() for piece in pre_tokenize(corpus) if piece.strip().isalpha())
    shares.update(letter for word in list(shares) for letter in word)
    n_all = sum(shares.values())
    log_probs = {token: math.log(n / n_all) for token, n in shares.items()}
    for word in ("network", "reconnected", "notimeleft", "modemlight"):
        print(word, "->", unigram_best_split(word, log_probs))
except NotImplementedError:
    print("Write unigram_best_split first; then run this cell again.")

# %% [markdown]
# ## 9. The token tax ({points:token_tax}, 10 min)
#
# Prices, limits and waiting times are counted in tokens. Two customers who say the same thing in
# two languages do not send the same number of tokens. The tax of a language is the ratio of its
# tokens to those of English, for the *same* sentences.
#
# By hand, with one token per byte: `the link is down` has 16 tokens and 4 words, `สายหลุด` 21
# tokens, and `split()` finds one word, because Thai puts no spaces between words. Its ratio is
# 21 / 16 = 1.3125.
#
# **Common mistake:** comparing tokens per word. What a word is differs from language to language,
# and so does the number of words; only the ratio compares the same message.
#
# <details><summary>Hint 1</summary>
#
# For each language you need three sums over its sentences: tokens, words, bytes.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Bytes are `len(sentence.encode())`; `len(sentence)` counts characters.
#
# </details>
# <details><summary>Hint 3</summary>
#
# First make a dict of the sums of tokens; then each language can look up `"en"`.
#
# </details>

# %% nbgrader={"solution": "token_tax"}
def token_tax(
    texts: dict[str, list[str]], encode: Callable[[str], list[int]]
) -> dict[str, dict[str, float]]:
    """What each language pays: `tokens_per_word`, `bytes_per_token` and `ratio`, by language.

    `texts` holds the same sentences in several languages; "en" is among them. Each sentence is
    encoded alone. Words are what sentence.split() gives, bytes are those of UTF-8. All three are
    ratios of sums over the sentences of a language; `ratio` is tokens over the tokens of "en", so
    English has 1. No sum is 0.
    """
    ### BEGIN SOLUTION
    def total(sentences: list[str], size: Callable[[str], int]) -> int:
        return sum(map(size, sentences))

    tokens = {name: total(s, lambda x: len(encode(x))) for name, s in texts.items()}
    return {name: {"tokens_per_word": tokens[name] / total(s, lambda x: len(x.split())),
                   "bytes_per_token": total(s, lambda x: len(x.encode())) / tokens[name],
                   "ratio": tokens[name] / tokens["en"]} for name, s in texts.items()}
    ### END SOLUTION


# %% nbgrader={"locked": "compare_tax"}
def same_tax(
    case: str, got: object, want: dict[str, tuple[float, float, float]], why: str = ""
) -> None:
    """Compare a table of token_tax; the expected numbers are in the order of the docstring."""
    keys = ("tokens_per_word", "bytes_per_token", "ratio")
    if not isinstance(got, dict) or set(got) != set(want):
        raise check.CheckFailed(case, f"got {got!r:.70}", f"a dict of {', '.join(want)}.")
    for language, numbers in want.items():
        row = got[language]
        if not isinstance(row, dict) or set(row) != set(keys):
            raise check.CheckFailed(f"{case}, {language}", f"got {row!r:.70}",
                                    f"a dict of {', '.join(keys)}.")
        for key, number in zip(keys, numbers):
            check.close(f"{case}, {language}, {key}", row[key], float(number), why=why)


# %% nbgrader={"test": "token_tax_visible", "points": 3}
with check.question("token_tax_visible", token_tax) as f:
    two = {"en": ["the link is down"], "th": ["สายหลุด"]}
    same_tax("a token per byte", f(two, lambda text: list(text.encode())),
             {"en": (4, 1, 1), "th": (21, 1, 21 / 16)}, why="16 bytes in 4 words; 21 bytes in one.")
    same_tax("a token per character", f(two, lambda text: [ord(c) for c in text]),
             {"en": (4, 1, 1), "th": (7, 3, 7 / 16)}, why="7 characters of 3 bytes each.")
    four = {"de": ["ja", "die Leitung ist tot"], "en": ["yes", "the line is dead"]}
    same_tax("two sentences, a token per word",
             f(four, lambda text: [len(word) for word in text.split()]),
             {"de": (1, 21 / 5, 1), "en": (1, 19 / 5, 1)}, why="5 words each; 21 and 19 bytes.")
    same_tax("two sentences, a token per byte", f(four, lambda text: list(text.encode())),
             {"de": (21 / 5, 1, 21 / 19), "en": (19 / 5, 1, 1)}, why="sums first, then the ratio.")

# %% nbgrader={"test": "token_tax_hidden", "points": 2}
# Hidden checks: random sentences in five scripts, English anywhere, tokens that cross words.
### BEGIN HIDDEN TESTS
with check.question("token_tax_hidden", token_tax) as f:
    gen = check.generator()
    order = ["ru", "en", "hi", "zh", "th"]
    for size in (1, 3, 4):
        names = [order[i] for i in torch.randperm(5, generator=gen)]
        texts = {name: [random_text(gen, n) + " ok" for n in (2, 9, 5)] for name in names}

        def cut(text, size=size):
            return [len(text.encode()[i : i + size]) for i in range(0, len(text.encode()), size)]

        sums = {name: [sum(len(g(s)) for s in rows) for g in (cut, str.split, str.encode)]
                for name, rows in texts.items()}
        same_tax(f"a token for {size} bytes", f(texts, cut),
                 {name: (t / w, b / t, t / sums["en"][0]) for name, (t, w, b) in sums.items()})
### END HIDDEN TESTS

# %% [markdown]
# The same twenty sentences of a hotline in six languages, cut by *your* tokenizer. It has learned
# from text that is mostly English. Before you run it: put the languages in order.

# %% tags=["demo"]
try:
    pieces: dict[str, list[int]] = {}

    def encode_fast(text: str) -> list[int]:
        """Your encode, once for each different piece."""
        for piece in pre_tokenize(text):
            if piece not in pieces:
                pieces[piece] = encode(piece, my_merges)
        return [i for piece in pre_tokenize(text) for i in pieces[piece]]

    tax = token_tax(telecom.parallel(), encode_fast)
    by_ratio = sorted(tax, key=lambda name: tax[name]["ratio"])
    heads = ["language", "tokens per word", "bytes per token", "ratio to English"]
    rows = [[name, *(f"{x:.2f}" for x in tax[name].values())] for name in by_ratio]
    print(check.Table(heads, rows))
except NotImplementedError:
    print("Write token_tax first; then run this cell again.")

# %% [markdown]
# Read the last column as money: a call centre that pays by the token pays that many times as much
# for the same sentence. Two things add up. A letter of Thai or Hindi is three bytes, and an English
# corpus has taught few merges for them. Train on `corpus` with the Thai sentences repeated, and
# look again.

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Scale: how large should the vocabulary be?
#
# No points here. Fewer tokens per text is not yet better: with a larger vocabulary each token is
# harder to guess. **Bits per byte** counts both. The cell cuts the text with the first merges of
# one training, gives each token a probability from the token before it, and adds up the bits on
# text that it has not seen. (The model is the plainest there is: counts of pairs of tokens, mixed
# with counts of single ones. A GPT comes in lab 5.)
#
# S has half a megabyte and up to 1,024 entries, M 8 MB and 8,192, L 64 MB and 32,768. All of it
# runs on the CPU. Your `train_bpe` counts everything anew in each round, so the cell first measures
# a few rounds and says how long the whole will take. If that is too long: after a merge only the
# words that held the pair have changed, and only their pairs need a new count.
#
# Before you run it: do bits per byte go on falling? What stops the training before it has reached
# its size?

# %% tags=["demo"]
n_bytes, vocab_size = scale.choose((500_000, 1024), (8_000_000, 8192), (64_000_000, 32_768))
patience = scale.choose(300, 900, 7200)  # seconds


def expected_seconds(text: str, n_entries: int) -> float:
    """How long training will take, from a few rounds."""
    seconds = []
    for n in (4, 20):
        start = time.perf_counter()
        train_bpe(text, 256 + n)
        seconds.append(time.perf_counter() - start)
    return seconds[0] + (n_entries - 256) * max(seconds[1] - seconds[0], 0) / 16


def bits(train: list[int], test: list[int], n_entries: int) -> float:
    """Bits that the ids of `test` cost when each is guessed from the one before it."""
    ones, twos = Counter(train), Counter(pairwise(train))
    follow = Counter(a for a, _ in twos)  # how many different ids come after each
    cost = 0.0
    for a, b in pairwise(test):
        alone = (ones[b] + 1) / (len(train) + n_entries)
        cost -= math.log2((twos[a, b] + follow[a] * alone) / (ones[a] + follow[a])
                          if a in ones else alone)
    return cost


def cut_with(n_merges: int, learned: list[tuple[bytes, bytes]], *texts: str) -> list[list[int]]:
    """The ids of texts, each different piece encoded once."""
    known: dict[str, list[int]] = {}
    cut = []
    for text in texts:
        pieces = pre_tokenize(text)
        known |= {p: encode(p, learned[:n_merges]) for p in set(pieces) - known.keys()}
        cut.append([i for p in pieces for i in known[p]])
    return cut


rows = []
try:
    train_text, test_text = telecom.corpus(n_bytes), telecom.corpus(n_bytes // 5, seed=1)
    scale.announce(f"Counting {len(set(pre_tokenize(train_text))):,} different pieces of "
                   f"{n_bytes / 1e6:g} MB", 60 * n_bytes)  # what the ids take, as Python numbers
    wait = expected_seconds(train_text, vocab_size)
    print(f"Training with {vocab_size:,} entries will take about {wait:.0f} s.")
    if wait > patience:
        print(f"That is more than {patience} s: make train_bpe faster, or vocab_size smaller.")
    else:
        start = time.perf_counter()
        _, learned = train_bpe(train_text, vocab_size)
        print(f"{len(learned):,} merges in {time.perf_counter() - start:.0f} s.")
        sizes = [2**k for k in range(8, 16) if 2**k < 256 + len(learned)] + [256 + len(learned)]
        for size in sizes:
            train_ids, test_ids = cut_with(size - 256, learned, train_text, test_text)
            n_test = len(test_text.encode())
            rows.append({"vocab_size": size, "bytes_per_token": n_test / len(test_ids),
                         "bits_per_byte": bits(train_ids, test_ids, size) / n_test})
except NotImplementedError:
    print("Write train_bpe and encode first; then run this cell again.")

for row in rows:
    print(f"{row['vocab_size']:6,} entries: {row['bytes_per_token']:.2f} bytes per token, "
          f"{row['bits_per_byte']:.3f} bits per byte")
if rows and scale.name != "S":
    print("Written to", scale.record("lab04_tokenizer", {"n_bytes": n_bytes, "rows": rows}))
