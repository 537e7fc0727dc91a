# %% [markdown]
# # Lab 5: pretrain
#
# Raw text becomes a base model in four steps: cut batches with the right targets, measure the
# loss, turn gradients into better weights, and do it again without losing anything when a machine
# fails. In this lab you write each step, then train a small model on telecom dialogues in half a
# minute, and talk to it.
#
# **{points}, about 3 1/2 hours.** The chapter behind it is
# [Pretraining](../../book/ch03_pretraining.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Five rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input. Where the signature says `float` or `int`,
#   it is a plain Python number.
# - Arguments are never changed, unless the docstring says so.
# - A target that does not count is −100. In a mask, `True` means "may attend".
# - Where there is a `generator`, it is the only source of randomness. The same state gives the same
#   answer, and the next call goes on where this one stopped.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer

import glassbox
from glassbox import check, drills, telecom

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab05_pretraining")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# Some functions are judged by what they do over many calls: an optimizer, a checkpoint, a random
# mask. `glassbox.drills` makes such calls and reports numbers; you may read it, it holds no
# answers. The two helpers below are ours as well. A share among random draws is never exact, so
# `share_is` allows five standard deviations: a right function fails once in two million draws.

# %% nbgrader={"locked": "helpers"}
def share_is(name: str, hits: Tensor, expected: float, why: str = "") -> None:
    """The share of True among independent draws is the expected one, within five sigma."""
    n, share = hits.numel(), hits.double().mean().item()
    allowed = 5 * math.sqrt(expected * (1 - expected) / n)
    if not abs(share - expected) <= allowed:
        seen = f"{share:.1%} of {n:,}, expected {expected:.1%} (± {allowed:.1%})"
        raise check.CheckFailed(name, seen, why)


def random_parts(total: int, n: int, generator: torch.Generator) -> list[int]:
    """Cut `total` at random into n whole numbers of at least 1: (7, 3) may give [2, 4, 1]."""
    cuts = (torch.randperm(total - 1, generator=generator)[: n - 1] + 1).sort().values.tolist()
    return [b - a for a, b in pairwise([0, *cuts, total])]


# %% [markdown]
# ## 1. Causal batches ({points:clm_batch}, 10 min)
#
# A causal language model learns from raw text without labels: the text itself says what comes next.
# Take a window of tokens, and as targets the same window moved on by one. A window of `T` tokens
# holds `T` exercises, and the model does them all in one pass.
#
# By hand: from `10 11 12 13 14` with `T` = 4 the input is `10 11 12 13` and the targets are
# `11 12 13 14`. With five tokens that is the only window; six tokens would have two.
#
# **Common mistake:** a target that is not moved, or moved twice, once here and once in the loss.
# The first model learns to copy and its loss falls to 0. The second predicts the token after next,
# and nothing but its answers tells you.
#
# <details><summary>Hint 1</summary>
#
# How many windows of `T` inputs *and* their targets fit into `N` tokens? That is how many starts
# there are to draw from.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.randint(n, (batch, 1), generator=generator)` draws a column of starts from 0 to n − 1.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A column of starts plus `torch.arange(n_tokens)` is a table of places, (B, T). Index `ids` with
# it, and with it plus 1.
#
# </details>

# %% nbgrader={"solution": "clm_batch"}
def clm_batch(
    ids: Tensor, batch: int, n_tokens: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Random windows of a text, and for each token the one that follows it.

    ids (N,) -> inputs (B, T), targets (B, T), of the dtype of ids. Each row is a window of T
    neighbours in ids; its targets are the same window one place further on. Starts are
    drawn each by itself, and every window that fits is equally likely. N is at least T + 1;
    at T + 1 there is one window.
    """
    ### BEGIN SOLUTION
    starts = torch.randint(len(ids) - n_tokens, (batch, 1), generator=generator)
    at = starts + torch.arange(n_tokens)  # (B, T)
    return ids[at], ids[at + 1]
    ### END SOLUTION


# %% nbgrader={"test": "clm_batch_visible", "points": 3}
with check.question("clm_batch_visible", clm_batch) as f:
    gen = torch.Generator().manual_seed(1)
    x, y = f(torch.arange(20), 2000, 3, gen)
    check.close("2,000 windows of 0 ... 19", x, x[:, :1] + torch.arange(3), why="neighbours.")
    check.close("their targets", y, x + 1, why="one place further on.")
    check.equal("first and last start", [x[:, 0].min().item(), x[:, 0].max().item()], [0, 16],
                why="3 inputs and the last target are 4 tokens; 20 tokens hold 17 such windows.")
    x, y = f(torch.arange(10, 15), 3, 4, gen)
    check.close("5 ids, 4 tokens, inputs", x, torch.tensor([[10, 11, 12, 13]] * 3),
                why="only one window has all its targets.")
    check.close("5 ids, 4 tokens, targets", y, torch.tensor([[11, 12, 13, 14]] * 3),
                why="the token after each input.")

# %% nbgrader={"test": "clm_batch_hidden", "points": 2}
# Hidden checks: how often each start is drawn, other ids and dtypes, generators used again.
### BEGIN HIDDEN TESTS
with check.question("clm_batch_hidden", clm_batch) as f:
    gen = check.generator()
    starts = f(torch.arange(12), 20_000, 2, gen)[0][:, 0]
    for start in range(10):
        share_is(f"2 tokens of 12, start {start}", starts == start, 0.1,
                 "every window is equally likely.")
    for N, B, T in ((50, 7, 5), (9, 1, 1), (33, 4, 32), (40, 1, 12)):
        ids = torch.randperm(500, generator=gen)[:N].to(torch.int32 if B == 7 else torch.int64)
        x, y = f(ids, B, T, gen)
        case = f"{N} ids, batch {B}, {T} tokens"
        check.shape(case, x, (B, T))
        place = {value: i for i, value in enumerate(ids.tolist())}
        where = torch.tensor([[place.get(v, -1) for v in row] for row in x.tolist()])
        check.close(f"{case}, neighbours", where, where[:, :1] + torch.arange(T))
        check.close(f"{case}, targets", y, ids[where + 1])
    ids = torch.randperm(5000, generator=gen)
    a = f(ids, 4, 8, torch.Generator().manual_seed(5))[0]
    torch.manual_seed(77)
    check.close("the same generator state", f(ids, 4, 8, torch.Generator().manual_seed(5))[0], a,
                why="the generator is the only randomness.")
    (first, _), (second, _) = check.there(drills.repeat, clm_batch, 2, ids, 4, 8, gen)
    check.that((first != second).any(), "two calls with one generator gave the same windows.")
    check.unchanged("ids", f, ids, 4, 8, gen)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Masked batches ({points:mlm_mask}, 20 min)
#
# BERT learns by filling blanks. Of the tokens in a batch, 15 % are **chosen**: the model has to
# predict these and nothing else. What stands in a chosen place is decided by a second draw: in 80 %
# the mask token, in 10 % a random token, in 10 % the token itself, unchanged.
#
# Why not always the mask? Because the mask never occurs when the model is used. If a visible token
# may be wrong, and may be asked for, the model has to keep a good idea of every token.
#
# By hand, for 1,000 tokens: 150 are chosen; of these 120 read `[MASK]`, 15 a random token and 15
# what they were. 150 labels count, 850 are −100. Of all tokens 1.5 % are random: the text stays
# readable.
#
# **Common mistake:** a label wherever there is no padding. Then 85 % of the labels ask for a token
# that is in plain sight, and the model is paid for copying.
#
# <details><summary>Hint 1</summary>
#
# Two draws for each place: is it chosen, and what becomes of it?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.rand(ids.shape, generator=generator) < rate` is True with probability `rate`. The labels
# are `ids` where chosen; `masked_fill` writes −100 elsewhere.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Let `fate` be a second draw from 0 to 1. Below 0.8: the mask. From 0.9 on: an id from
# `torch.randint(vocab_size, ids.shape, generator=generator)`. `torch.where(condition, a, b)`.
#
# </details>

# %% nbgrader={"solution": "mlm_mask"}
def mlm_mask(
    ids: Tensor, mask_id: int, vocab_size: int, special: Tensor, rate: float,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """Inputs and labels for masked language modelling, as in BERT.

    ids (B, T), special (B, T) bool -> inputs (B, T), labels (B, T). Each position that is not
    special is chosen with probability rate, independently of all others. Labels: the id where
    chosen, -100 elsewhere. Inputs: of the chosen positions, each by itself, 80 % become mask_id,
    10 % an id drawn uniformly from 0 ... vocab_size - 1, and 10 % stay. The rest stays too.
    """
    ### BEGIN SOLUTION
    chosen = (torch.rand(ids.shape, generator=generator) < rate) & ~special
    fate = torch.rand(ids.shape, generator=generator)
    other = torch.randint(vocab_size, ids.shape, generator=generator)
    inputs = torch.where(chosen & (fate < 0.8), mask_id, ids)
    inputs = torch.where(chosen & (fate >= 0.9), other, inputs)
    return inputs, ids.masked_fill(~chosen, -100)
    ### END SOLUTION


# %% nbgrader={"test": "mlm_mask_visible", "points": 6}
with check.question("mlm_mask_visible", mlm_mask) as f:
    ids, special = torch.tensor([[1, 5, 6, 2]]), torch.tensor([[True, False, False, True]])
    new, labels = f(ids, 103, 100, special, 0.0, torch.Generator().manual_seed(1))
    check.close("rate 0, inputs", new, ids, why="nothing is chosen.")
    check.close("rate 0, labels", labels, torch.full((1, 4), -100), why="nothing is asked.")
    new, labels = f(ids, 103, 100, special, 1.0, torch.Generator().manual_seed(2))
    check.close("rate 1, labels", labels, torch.tensor([[-100, 5, 6, -100]]),
                why="all but the special tokens are asked for; the label is the original.")
    check.close("rate 1, special tokens", new[special], ids[special], why="left alone.")
    ids = torch.full((200, 500), 7)  # 100,000 times the same token
    new, labels = f(ids, 103, 100, ids < 0, 0.15, torch.Generator().manual_seed(3))
    chosen = labels != -100
    share_is("rate 0.15, labels", chosen, 0.15, "15 % of the tokens are chosen.")
    check.close("rate 0.15, not chosen", new[~chosen], ids[~chosen], why="they stay.")
    share_is("chosen, masked", new[chosen] == 103, 0.8, "80 % of the chosen ones.")
    share_is("chosen, unchanged", new[chosen] == 7, 0.1 + 0.1 / 100,
             "10 % stay, and 1 in 100 random ids is the old one.")

# %% nbgrader={"test": "mlm_mask_hidden", "points": 4}
# Hidden checks: which ids come at random, independence, special tokens, generators used again.
### BEGIN HIDDEN TESTS
with check.question("mlm_mask_hidden", mlm_mask) as f:
    gen = check.generator()
    ids = torch.full((200, 400), 3)
    new, labels = f(ids, 4, 5, ids < 0, 0.5, gen)
    chosen = labels != -100
    for token, share in enumerate((0.02, 0.02, 0.02, 0.12, 0.82)):  # the mask is id 4 of 0 ... 4
        share_is(f"5 ids, the mask among them, id {token}", new[chosen] == token, share,
                 "random ids come from the whole vocabulary.")
    for dim, what in ((1, "row"), (0, "column")):  # of Bernoulli draws: variance n p (1 - p)
        spread, n = chosen.double().sum(dim).var().item(), chosen.shape[dim]
        low, high = (n / 4 * (1 + sign * 5 * math.sqrt(2 / chosen.shape[1 - dim]))
                     for sign in (-1, 1))
        check.that(low <= spread <= high,
                   f"the number of chosen tokens in a {what} varies with variance {spread:.4g}, "
                   f"expected {n / 4:g}: each position is drawn by itself.")
    masked = (new == 4)[:, 1:][chosen[:, 1:] & chosen[:, :-1] & (new == 4)[:, :-1]]
    share_is("masked after a masked neighbour", masked, 0.82, "each by itself.")
    for B, T in ((1, 1), (3, 50), (40, 7)):
        ids = torch.randint(9, (B, T), generator=gen)
        special = torch.rand(B, T, generator=gen) < 0.3
        new, labels = f(ids, 9, 9, special, 0.6, gen)
        chosen, case = labels != -100, f"B {B}, T {T}"
        check.close(f"{case}, labels", labels, ids.masked_fill(~chosen, -100))
        check.that(not (chosen & special).any(), f"{case}: a special token has a label.")
        check.close(f"{case}, not chosen", new.masked_fill(chosen, 0), ids.masked_fill(chosen, 0))
    ids = torch.randint(9, (30, 30), generator=gen)
    new, labels = f(ids, 9, 9, ids < 3, 0.15, torch.Generator().manual_seed(5))
    torch.manual_seed(77)
    again = f(ids, 9, 9, ids < 3, 0.15, torch.Generator().manual_seed(5))
    check.close("the same generator state, inputs", again[0], new)
    check.close("the same generator state, labels", again[1], labels)
    pair = check.there(drills.repeat, mlm_mask, 2, ids, 9, 9, ids < 3, 0.5, gen)
    check.that((pair[0][1] != pair[1][1]).any(), "two calls with one generator chose the same.")
    check.unchanged("ids and special", f, ids, 9, 9, ids < 3, 0.5, gen)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Span corruption ({points:span_corrupt}, 25 min)
#
# T5 drops whole spans. The source has one **sentinel** where a span was; the target says, sentinel
# by sentinel, what was there. The target is short, so the decoder does little work for 15 % of the
# tokens.
#
# By hand, *thank you for inviting me to your party last week*, with two spans dropped:
#
# | | |
# |--|--|
# | source | thank you `<0>` me to your party `<1>` |
# | target | `<0>` for inviting `<1>` last week `<2>` `</s>` |
#
# The last sentinel, `<2>`, says where the last span ends. Many drawings leave it out; then the
# model never learns to stop a span.
#
# The text is cut into pieces that are kept and dropped in turn, beginning with a kept one. The
# given `random_parts` draws the lengths.
#
# **Common mistake:** a new draw for each token. That gives spans of length 1 that touch, and a
# source in which two sentinels stand side by side.
#
# <details><summary>Hint 1</summary>
#
# First three numbers: how many tokens go, how many spans they form, how many tokens stay. Then the
# lengths: as many kept pieces as dropped ones.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Walk through the text with a place `at`. In each round append the kept piece and a sentinel to the
# source, and the same sentinel and the dropped piece to the target.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `zip(sentinels, random_parts(stay, k, generator), random_parts(go, k, generator))` runs over the
# rounds. After the loop the target lacks two ids.
#
# </details>

# %% nbgrader={"solution": "span_corrupt"}
def span_corrupt(
    ids: list[int], rate: float, mean_length: float, sentinels: list[int], eos_id: int,
    generator: torch.Generator,
) -> tuple[list[int], list[int]]:
    """Source and target of T5's span corruption.

    With n = len(ids), n * rate tokens are dropped, rounded, at least 1 and at most n - 1. They
    form k spans: dropped / mean_length, rounded, at least 1, and no more than there are dropped
    tokens or kept ones. Kept and dropped pieces alternate, k of each, none of them empty, a
    kept one first; their lengths are random.
    Source: each dropped piece is replaced by the next sentinel; no EOS. Target: for each span its
    sentinel and its tokens, then the next sentinel and eos_id. sentinels holds more than k ids.
    A text of 0 or 1 tokens is kept whole: its target is the first sentinel and eos_id.
    Rounding is Python's round().
    """
    ### BEGIN SOLUTION
    n, at, source, target = len(ids), 0, [], []
    go = min(max(round(n * rate), 1), n - 1)
    if go < 1:
        return list(ids), [sentinels[0], eos_id]
    k = min(max(round(go / mean_length), 1), go, n - go)
    lengths = random_parts(n - go, k, generator), random_parts(go, k, generator)
    for mark, kept, dropped in zip(sentinels, *lengths):
        source += [*ids[at : at + kept], mark]
        target += [mark, *ids[at + kept : at + kept + dropped]]
        at += kept + dropped
    return source, [*target, sentinels[k], eos_id]
    ### END SOLUTION


# %% nbgrader={"test": "span_corrupt_visible", "points": 6}
with check.question("span_corrupt_visible", span_corrupt) as f:
    gen, marks = torch.Generator().manual_seed(1), [90, 91, 92, 93]
    check.equal("2 tokens, half of them", f([5, 6], 0.5, 1.0, marks, 99, gen),
                ([5, 90], [90, 6, 91, 99]), why="the first piece is kept; 91 ends the span.")
    check.equal("4 tokens, half of them, spans of 1", f([5, 6, 7, 8], 0.5, 1.0, marks, 99, gen),
                ([5, 90, 7, 91], [90, 6, 91, 8, 92, 99]), why="pieces of 1 token alternate.")
    check.equal("1 token", f([5], 0.5, 3.0, marks, 99, gen), ([5], [90, 99]), why="kept whole.")
    ids, marks = list(range(100)), list(range(200, 240))
    source, target = f(ids, 0.15, 3.0, list(marks), 99, gen)
    check.equal("100 tokens, length of source", len(source), 90, why="85 kept and 5 sentinels.")
    check.equal("length of target", len(target), 22, why="15 dropped, 5 + 1 sentinels, EOS.")
    check.equal("sentinels", [[i for i in part if i >= 200] for part in (source, target)],
                [marks[:5], marks[:6]], why="in order; the target ends with the next one.")
    check.equal("the end", target[-2:], [205, 99], why="the next sentinel and EOS.")
    pieces, now = {}, None
    for i in target[:-2]:
        now = i if i >= 200 else now
        pieces.setdefault(now, []).extend([] if i >= 200 else [i])
    rebuilt = [j for i in source for j in pieces.get(i, [i])]
    check.equal("source with the spans put back", rebuilt, ids, why="the text is complete.")

# %% nbgrader={"test": "span_corrupt_hidden", "points": 4}
# Hidden checks: the text put back for many lengths and rates, which tokens are dropped, short
# texts.
### BEGIN HIDDEN TESTS
with check.question("span_corrupt_hidden", span_corrupt) as f:
    gen = check.generator()
    for n, rate, mean in ((50, 0.15, 3.0), (7, 0.15, 3.0), (2, 0.9, 3.0), (30, 0.9, 3.0),
                          (64, 0.5, 1.0), (21, 0.5, 1.0), (10, 0.01, 3.0), (3, 1.0, 2.0),
                          (25, 0.3, 2.5), (200, 0.15, 3.0), (30, 0.1, 5.0)):
        ids = torch.randint(80, (n,), generator=gen).tolist()
        marks = torch.randperm(900, generator=gen).add(100).tolist()
        source, target = f(ids, rate, mean, list(marks), 99, gen)
        go = min(max(round(n * rate), 1), n - 1)
        k, case = min(max(round(go / mean), 1), go, n - go), f"n {n}, rate {rate}, mean {mean:g}"
        used = [[i for i in part if i > 99] for part in (source, target)]
        check.equal(f"{case}, sentinels", used,
                    [marks[:k], marks[: k + 1]], why=f"{go} dropped tokens in {k} spans.")
        check.equal(f"{case}, the end", target[-2:], [marks[k], 99])
        check.equal(f"{case}, source", [len(source), source.count(99)], [n - go + k, 0])
        kept = [i for i, s in enumerate(source) if s > 99]
        check.that(source[0] < 100 and all(b - a > 1 for a, b in pairwise(kept)),
                   f"{case}: two spans touch, or the text begins with one.")
        pieces, now = {m: [] for m in marks[:k]}, None
        for i in target[:-2]:
            now = i if i > 99 else now
            pieces.get(now, []).extend([] if i > 99 else [i])
        check.that(all(pieces.values()), f"{case}: a span is empty.")
        check.equal(f"{case}, put back", [j for i in source for j in pieces.get(i, [i])], ids)
    marks = list(range(100, 140))
    draws = check.there(drills.repeat, span_corrupt, 300, list(range(40)), 0.3, 3.0, marks, 99, gen)
    dropped = {i for _, target in draws for i in target if i < 40}
    check.that(len(dropped) > 30, f"in 300 draws only {len(dropped)} of 40 tokens were ever "
               "dropped; lengths are random.")
    firsts = {source.index(100) for source, _ in draws}
    check.that(len(firsts) > 3, "the first span always begins at nearly the same place.")
    for ids in ([], [8]):
        check.equal(f"{len(ids)} tokens", f(ids, 0.15, 3.0, marks, 99, gen), (ids, [100, 99]))
    a = f(list(range(40)), 0.3, 3.0, marks, 99, torch.Generator().manual_seed(5))
    torch.manual_seed(77)
    check.equal("the same generator state",
                f(list(range(40)), 0.3, 3.0, marks, 99, torch.Generator().manual_seed(5)), a)
    ids = list(range(40))
    span_corrupt(ids, 0.3, 3.0, marks, 99, gen)
    check.equal("ids and sentinels after a call", [ids, marks],
                [list(range(40)), list(range(100, 140))], why="arguments are not changed.")
### END HIDDEN TESTS

# %% [markdown]
# ## 4. A prefix that sees itself ({points:prefix_lm_mask}, 8 min)
#
# A causal model reads even a question from left to right. A **prefix LM** reads the prefix in both
# directions, as an encoder does, and writes the rest causally. One mask makes the difference; the
# model stays as it is.
#
# By hand, 4 tokens with a prefix of 2 (`1` = may attend, a row for each query):
#
# $$\begin{matrix}1&1&0&0\\1&1&0&0\\1&1&1&0\\1&1&1&1\end{matrix}$$
#
# Token 0 sees token 1, which a causal mask would hide. That is all: the rows below row 1 are causal
# anyway.
#
# **Common mistake:** a mask in which the rest sees the prefix and the prefix stays causal. That is
# the causal mask again.
#
# <details><summary>Hint 1</summary>
#
# Begin with the causal mask. Which entries change?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Everybody may see all of the prefix: whole columns become True.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.ones(T, T, dtype=torch.bool).tril()`, then one assignment to a slice.
#
# </details>

# %% nbgrader={"solution": "prefix_lm_mask"}
def prefix_lm_mask(n_tokens: int, n_prefix: int) -> Tensor:
    """The attention mask of a prefix LM.

    -> (T, T) bool, rows are queries, True means "may attend". The first n_prefix tokens see each
    other, all of them; every later token sees the prefix, itself and what is before it.
    n_prefix runs from 0 (causal) to n_tokens (everything sees everything).
    """
    ### BEGIN SOLUTION
    mask = torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()
    mask[:, :n_prefix] = True
    return mask
    ### END SOLUTION


# %% nbgrader={"test": "prefix_lm_mask_visible", "points": 3}
with check.question("prefix_lm_mask_visible", prefix_lm_mask) as f:
    want = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]).bool()
    check.close("4 tokens, prefix 2", f(4, 2), want, why="token 0 sees token 1 and no further.")
    check.close("prefix 0", f(3, 0), torch.ones(3, 3).bool().tril(), why="causal.")
    check.close("prefix 3 of 3", f(3, 3), torch.ones(3, 3).bool(), why="all see all.")

# %% nbgrader={"test": "prefix_lm_mask_hidden", "points": 2}
# Hidden checks: all sizes up to 9, entry by entry.
### BEGIN HIDDEN TESTS
with check.question("prefix_lm_mask_hidden", prefix_lm_mask) as f:
    for T in range(1, 10):
        for P in range(T + 1):
            want = [[j <= i or j < P for j in range(T)] for i in range(T)]
            check.close(f"{T} tokens, prefix {P}", f(T, P), torch.tensor(want))
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Contrast ({points:info_nce}, 10 min)
#
# CLIP learns from pairs, an image and its caption, without any label. In a batch of `B` pairs each
# image must find its caption among all `B`, and each caption its image. Both are classifications
# with `B` classes, and the right class is the pair's own number.
#
# The score of a pair is the cosine of the two vectors, divided by a temperature. With a low
# temperature the nearest wrong pairs count most.
#
# By hand: if all vectors are equal, every score is the same and the loss is $\ln B$. For two pairs
# at right angles and temperature 1, a row of scores is (1, 0), so the loss is
# $\ln(1 + e^{-1}) = 0.3133$.
#
# **Common mistake:** only one direction. Half of the loss is missing, and captions that attract
# every image are not punished.
#
# <details><summary>Hint 1</summary>
#
# `F.normalize` makes the length of each row 1. Then all cosines are one matrix product.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Row i of the score matrix is a classification whose answer is i. What are its columns?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.cross_entropy(scores, torch.arange(B))` is one direction. Transpose for the other; take the
# mean of both.
#
# </details>

# %% nbgrader={"solution": "info_nce"}
def info_nce(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    """The symmetric contrastive loss of B pairs, as in CLIP.

    a (B, C), b (B, C) -> scalar; row i of a belongs to row i of b. Scores are cosines divided by
    the temperature. The loss is the mean of two cross-entropies, each a mean over the batch:
    each row of a finds its b among all b, and each row of b its a among all a.
    Rows are not 0. If all rows are equal the loss is ln B.
    """
    ### BEGIN SOLUTION
    scores = F.normalize(a) @ F.normalize(b).T / temperature  # (B, B)
    own = torch.arange(len(a), device=a.device)
    return (F.cross_entropy(scores, own) + F.cross_entropy(scores.T, own)) / 2
    ### END SOLUTION


# %% nbgrader={"test": "info_nce_visible", "points": 3}
with check.question("info_nce_visible", info_nce) as f:
    equal = torch.ones(3, 2)
    check.close("three equal pairs", f(equal, equal, 0.5), math.log(3), why="ln 3: a blind guess.")
    a, b = torch.tensor([[1.0, 0.0], [0.0, 1.0]]), torch.tensor([[5.0, 0.0], [0.0, 0.1]])
    check.close("two pairs at right angles", f(a, b, 1.0), 0.31326,
                why="ln(1 + 1/e): scores 1 and 0, whatever the lengths.")
    check.close("temperature 0.5", f(a, b, 0.5), 0.12693, why="ln(1 + 1/e²): scores 2 and 0.")
    b = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    check.close("both b like the first a", f(a, b, 1.0), 0.75320, rel=1e-3,
                why="a to b: ln 2 twice; b to a: 0.3133 and 1.3133. The mean of all four.")

# %% nbgrader={"test": "info_nce_hidden", "points": 2}
# Hidden checks: random pairs against their definition, longer vectors, low temperature, gradients.
### BEGIN HIDDEN TESTS
with check.question("info_nce_hidden", info_nce) as f:
    gen = check.generator()
    for B, C, t in ((5, 3, 0.07), (1, 4, 1.0), (9, 2, 0.5), (4, 16, 2.0)):
        a, b = torch.randn(2, B, C, generator=gen, dtype=torch.float64).unbind(0)
        s = (a / a.norm(dim=1, keepdim=True)) @ (b / b.norm(dim=1, keepdim=True)).mT / t
        want = -(s.log_softmax(1).diag() + s.log_softmax(0).diag()).mean() / 2
        check.close(f"B {B}, C {C}, temperature {t}", f(a, b, t), want, scale=1.0)
        grown = f(a * 7, b * torch.rand(B, 1, generator=gen).double().add(0.1), t)
        check.close(f"B {B}, C {C}, other lengths", grown, want, scale=1.0,
                    why="a longer vector is no better match.")
    cold = f(a, a, 1e-4)
    check.that(cold.isfinite().all(), f"temperature 0.0001 gives {cold.item()}, not finite.")
    check.gradient("gradient", lambda x, y: f(x, y, 0.3), a, b)
    check.unchanged("inputs", f, a, b, 0.3)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Packing ({points:pack}, 20 min)
#
# Documents have all lengths; a batch is a rectangle. Filling short rows with padding wastes a large
# part of the work. **Packing** joins the documents, with an end token after each, and cuts the
# stream into rows. Now a row may hold several documents, and attention would let the second read
# the first. So each token carries the number of its **segment**, and attention is allowed only
# within one.
#
# By hand, documents `1 2 3`, `4 5` and `6`, rows of 4, end token 0:
#
# | row | ids | segments |
# |--|--|--|
# | 0 | `1 2 3 0` | `a a a a` |
# | 1 | `4 5 0 6` | `b b b c` |
# | 2 | `0 0 0 0` | `c − − −` |
#
# The end token belongs to the document that it ends. In the last row, document `c` has its end
# token alone, and the rest is padding, segment −1. However many documents there are, at most one
# row has padding; a rectangle with one document a row would pad each to the length of the longest.
#
# **Common mistake:** one segment for everything. Nothing fails, the loss looks fine, and token 1 of
# document 2 sees document 1.
#
# <details><summary>Hint 1</summary>
#
# Build two flat lists side by side, one with ids and one with segment numbers. Cut at the end.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `-n % T` is how many are missing from n to the next multiple of T.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `enumerate(documents)` gives each document a number. `torch.tensor(flat).view(-1, T)` cuts a list
# into rows.
#
# </details>

# %% nbgrader={"solution": "pack"}
def pack(
    documents: list[list[int]], context_len: int, eos_id: int
) -> tuple[Tensor, Tensor]:
    """Documents joined to a stream and cut into rows, with a segment for each token.

    -> ids (N, T) int64, segments (N, T) int64, T = context_len. The stream is all documents in
    order, each followed by eos_id, which belongs to its document; a document that does not fit
    goes on in the next row. No more rows than needed. The rest of the last row is eos_id with
    segment -1. In a row, tokens of one document have equal segments and tokens of two documents
    different ones; apart from that, segments are any numbers from 0 on.
    There is at least one document; a document may be empty.
    """
    ### BEGIN SOLUTION
    ids, segments = [], []
    for number, document in enumerate(documents):
        ids += [*document, eos_id]
        segments += [number] * (len(document) + 1)
    missing = -len(ids) % context_len
    ids, segments = ids + [eos_id] * missing, segments + [-1] * missing
    return torch.tensor(ids).view(-1, context_len), torch.tensor(segments).view(-1, context_len)
    ### END SOLUTION


# %% nbgrader={"test": "pack_visible", "points": 6}
with check.question("pack_visible", pack) as f:
    ids, segments = f([[1, 2, 3], [4, 5], [6]], 4, 0)
    check.close("three documents, rows of 4", ids,
                torch.tensor([[1, 2, 3, 0], [4, 5, 0, 6], [0, 0, 0, 0]]),
                why="each document and its end token; the last row is filled with end tokens.")
    check.shape("segments", segments, (3, 4))
    check.close("padding", segments == -1, [[False] * 4, [False] * 4, [False, True, True, True]],
                why="document 6 ends at the first place of row 2; what follows is padding, -1.")
    same = segments[:, :, None] == segments[:, None]  # (N, T, T): may see each other
    want = torch.tensor([[1, 1, 1, 0], [1, 1, 1, 0], [1, 1, 1, 0], [0, 0, 0, 1]]).bool()
    check.close("row 0, who may see whom", same[0], torch.ones(4, 4).bool(), why="one document.")
    check.close("row 1, who may see whom", same[1], want,
                why="4 5 and their end token see each other; 6 sees itself alone.")
    ids, segments = f([[1, 2, 3], [4, 5, 6]], 4, 9)
    check.close("two documents that fill two rows", ids, torch.tensor([[1, 2, 3, 9], [4, 5, 6, 9]]),
                why="no padding where none is needed.")

# %% nbgrader={"test": "pack_hidden", "points": 4}
# Hidden checks: random documents, long and empty ones, the end token inside of a text, attention.
### BEGIN HIDDEN TESTS
with check.question("pack_hidden", pack) as f:
    gen = check.generator()
    for n_documents, T in ((5, 6), (1, 4), (30, 16), (7, 1), (4, 64), (12, 5)):
        sizes = torch.randint(15, (n_documents,), generator=gen).tolist()
        documents = [torch.randint(1, 50, (n,), generator=gen).tolist() for n in sizes]
        documents[0] = documents[0] * 3 + [50]  # an end token of its own: segments say what ends
        ids, segments = f([list(d) for d in documents], T, 50)
        stream = [i for d in documents for i in [*d, 50]]
        owner = [k for k, d in enumerate(documents) for _ in range(len(d) + 1)]
        missing, case = -len(stream) % T, f"{n_documents} documents, rows of {T}"
        check.close(f"{case}, ids", ids, torch.tensor(stream + [50] * missing).view(-1, T))
        check.shape(f"{case}, segments", segments, ids.shape)
        owner = torch.tensor(owner + [-1] * missing).view(-1, T)
        check.close(f"{case}, padding", segments == -1, owner == -1)
        check.close(f"{case}, who may see whom", segments[:, :, None] == segments[:, None],
                    owner[:, :, None] == owner[:, None])
        check.that((segments >= -1).all(), f"{case}: a segment is {segments.min().item()}.")
    documents = [[3, 4, 5], [6, 7], [8]]
    ids, segments = f(documents, 10, 0)
    check.equal("documents after a call", documents, [[3, 4, 5], [6, 7], [8]])
    x = torch.randn(10, 1, 8, generator=gen)[ids]  # (1, 10, 1, 8): a vector for each token
    x = x.transpose(1, 2)
    mask = (segments[:, :, None] == segments[:, None]).tril()[:, None]
    packed = F.scaled_dot_product_attention(x, x, x, mask)
    alone = F.scaled_dot_product_attention(*[x[:, :, 4:7]] * 3, is_causal=True)
    check.close("attention, document 2 as if alone", packed[:, :, 4:7], alone,
                why="no weight goes to another document.")
### END HIDDEN TESTS

# %% [markdown]
# ## 7. The loss ({points:lm_loss}, 10 min)
#
# The loss of a token is minus the log of the probability that the model gave it. Report the **sum**
# and the **count**, not the mean: sums can be added over micro-batches and machines, and one
# division at the end is right. Means of unequal parts cannot be averaged.
#
# By hand: logits (0, 0) give each of two tokens one half, so a target costs ln 2 = 0.693. Two
# targets, one of them −100: the sum is 0.693, the count 1.
#
# **Common mistake:** a shift in here as well. The batch has moved the targets already.
#
# <details><summary>Hint 1</summary>
#
# `F.cross_entropy` ignores targets of −100 by itself.
#
# </details>
# <details><summary>Hint 2</summary>
#
# It wants classes in the second place: flatten to (B·T, V) and (B·T).
#
# </details>
# <details><summary>Hint 3</summary>
#
# `reduction="sum"`. The count is a sum of truth values; `int` makes it a plain number.
#
# </details>

# %% nbgrader={"solution": "lm_loss"}
def lm_loss(logits: Tensor, targets: Tensor) -> tuple[Tensor, int]:
    """Summed cross-entropy in nats, and how many targets count.

    logits (B, T, V), targets (B, T) -> scalar, int. logits[:, t] are for targets[:, t]: nothing is
    shifted here. Targets of -100 do not count. If none counts, the sum is 0, and its
    gradient too.
    """
    ### BEGIN SOLUTION
    loss_sum = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")
    return loss_sum, int((targets != -100).sum())
    ### END SOLUTION


# %% nbgrader={"test": "lm_loss_visible", "points": 3}
with check.question("lm_loss_visible", lm_loss) as f:
    loss_sum, count = f(torch.zeros(1, 3, 2), torch.tensor([[1, 0, -100]]))
    check.close("three targets, one ignored, sum", loss_sum, 2 * math.log(2), why="ln 2 twice.")
    check.equal("count", count, 2, why="-100 does not count.")
    logits = torch.tensor([[[math.log(3), 0.0], [0.0, math.log(3)]]])  # p: (3/4, 1/4), (1/4, 3/4)
    check.close("targets 0 and 1", f(logits, torch.tensor([[0, 1]]))[0], 2 * math.log(4 / 3),
                why="both targets have probability 3/4; position t is for target t.")
    loss_sum, count = f(logits, torch.full((1, 2), -100))
    check.close("nothing counts, sum", loss_sum, 0.0, scale=1.0, why="0, not NaN.")
    check.equal("nothing counts, count", count, 0)

# %% nbgrader={"test": "lm_loss_hidden", "points": 2}
# Hidden checks: random logits, large ones, views with gaps, gradients.
### BEGIN HIDDEN TESTS
with check.question("lm_loss_hidden", lm_loss) as f:
    gen = check.generator()
    for B, T, V in ((2, 5, 7), (1, 1, 3), (4, 3, 50)):
        logits = torch.randn(B, V, T, generator=gen, dtype=torch.float64).mT * 3  # not contiguous
        targets = torch.randint(V, (B, T), generator=gen)
        hidden = torch.rand(B, T, generator=gen) < 0.4
        picked = logits.log_softmax(-1).gather(-1, targets[..., None])[..., 0]
        loss_sum, count = f(logits, targets.masked_fill(hidden, -100))
        check.close(f"B {B}, T {T}, V {V}, sum", loss_sum, -(picked * ~hidden).sum(), scale=1.0)
        check.equal(f"B {B}, T {T}, V {V}, count", count, int((~hidden).sum()))
    large = torch.tensor([[[10_000.0, 0.0, -10_000.0]]])
    check.close("logits of 10,000", f(large, torch.tensor([[2]]))[0], 20_000.0)
    check.gradient("gradient", lambda x: f(x, targets[:2])[0],
                   torch.randn(2, 3, 50, generator=gen).double())
    blank = torch.randn(1, 4, 5, generator=gen).requires_grad_()
    f(blank, torch.full((1, 4), -100))[0].backward()
    check.close("nothing counts, gradient", blank.grad, torch.zeros(1, 4, 5), scale=1.0)
    check.unchanged("inputs", f, logits, targets)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. AdamW ({points:adamw_step}, 30 min)
#
# SGD takes the same step size for every weight. Adam keeps two running means for each one, of the
# gradient (`m`) and of its square (`v`), and divides: $m / \sqrt{v}$ is near ±1 where gradients
# agree and near 0 where they cancel. So each weight moves by about the learning rate.
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g \qquad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2
# \qquad \hat m = \frac{m}{1-\beta_1^t} \qquad \hat v = \frac{v}{1-\beta_2^t}$$
#
# $$w \leftarrow w - \eta\lambda w, \qquad w \leftarrow w - \eta\, \frac{\hat m}{\sqrt{\hat v} +
# \varepsilon}$$
#
# Both means begin at 0, so they are too small at first; the division by $1-\beta^t$ (with `t` = 1
# in the first step) corrects that. The **W** is the decay $\eta\lambda w$: it acts on the weight
# itself. Put into the gradient, as in plain L2, it would be divided by $\sqrt{v}$ as well, and
# weights with large gradients would hardly decay.
#
# By hand, $w$ = 1, $g$ = 4, $\eta$ = 0.1, no decay: $m$ = 0.4, $v$ = 0.016 with the usual betas
# (0.9, 0.999). Corrected: 4 and 16. The step is 0.1 · 4/4 = 0.1, and $w$ becomes 0.9. A gradient of
# 400 gives 0.9, too.
#
# **Common mistake:** no correction. Then the first step is 0.1 · 0.4/√0.016, three times too large.
#
# <details><summary>Hint 1</summary>
#
# The dict `state` is yours: it is `{}` in the first call, and what you put in comes back in the
# next. You need three entries.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `state.get("m", 0)` is 0 in the first call. Change `param` with methods that end in `_`, inside
# `with torch.no_grad():`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `param.mul_(1 - lr * weight_decay)`, then `param.sub_(...)`. The epsilon is added after the root.
#
# </details>

# %% nbgrader={"solution": "adamw_step", "calls_forbidden": ["AdamW", "adamw", "Adam"]}
def adamw_step(
    param: Tensor, grad: Tensor, state: dict, lr: float, betas: tuple[float, float], eps: float,
    weight_decay: float,
) -> None:
    """One step of AdamW: changes param in place, and state.

    param and grad have one shape; param may require a gradient, the change is not recorded.
    state is {} in the first call for a parameter and is handed in again in the next one; its
    keys are yours. grad is not changed. As in torch: the decay lr * weight_decay * param is
    taken off before the step, and eps is added after the root. With a constant gradient and no
    decay each entry moves by lr in every step.
    """
    ### BEGIN SOLUTION
    with torch.no_grad():
        t = state["t"] = state.get("t", 0) + 1
        m = state["m"] = betas[0] * state.get("m", 0) + (1 - betas[0]) * grad
        v = state["v"] = betas[1] * state.get("v", 0) + (1 - betas[1]) * grad**2
        param.mul_(1 - lr * weight_decay)
        root = (v / (1 - betas[1] ** t)).sqrt() + eps
        param.sub_(lr * m / (1 - betas[0] ** t) / root)
    ### END SOLUTION


# %% nbgrader={"test": "adamw_step_visible", "points": 9}
with check.question("adamw_step_visible", adamw_step):
    def path(*grads, start=1.0, **settings):  # the values after each step, lr 0.1
        given = [[torch.tensor([g])] for g in grads]
        return check.there(drills.adamw_path, adamw_step, [torch.tensor([start])], given, 0.1,
                           **settings)[0].flatten()

    check.close("one step, gradient 4", path(4.0, weight_decay=0.0), [0.9],
                why="corrected: m 4, v 16. The step is 0.1 · 4/4.")
    check.close("three steps, gradient -0.02", path(*[-0.02] * 3, weight_decay=0.0),
                [1.1, 1.2, 1.3], why="m/√v is -1 each time: 0.1 up, however small the gradient.")
    check.close("gradients 1 and -1", path(1.0, -1.0, weight_decay=0.0), [0.9, 0.9 + 0.1 / 19],
                rel=1e-5, why="m: 0.1, then -0.01; corrected -0.01/0.19. v: 1 both times.")
    check.close("decay 0.5, gradient 0", path(0.0, start=10.0, weight_decay=0.5), [9.5],
                why="10 - 0.1 · 0.5 · 10: the decay needs no gradient.")
    check.close("decay 0.5, gradient 3", path(3.0, start=10.0, weight_decay=0.5), [9.4],
                why="decay to 9.5, then a step of 0.1.")
    check.close("gradient 1e-8, like eps", path(1e-8, weight_decay=0.0), [0.95], rel=1e-5,
                why="eps 1e-8 is added after the root: 1e-8 / (1e-8 + 1e-8).")

# %% nbgrader={"test": "adamw_step_hidden", "points": 6}
# Hidden checks: 200 steps beside torch.optim.AdamW: other betas, large decay, tiny gradients.
### BEGIN HIDDEN TESTS
with check.question("adamw_step_hidden", adamw_step):
    gen = check.generator()
    cases = [("usual", 1.0, 1e-2, (0.9, 0.999), 1e-8, 0.01),
             ("decay 5", 1.0, 1e-2, (0.9, 0.95), 1e-8, 5.0),
             ("gradients near 1e-8", 1e-8, 1e-2, (0.9, 0.999), 1e-8, 0.0),
             ("large eps", 1e-3, 1e-1, (0.8, 0.9), 1e-3, 0.1),
             ("betas 0", 1.0, 1e-3, (0.0, 0.0), 1e-8, 0.1)]
    for name, size, lr, betas, eps, decay in cases:
        starts = [torch.randn(shape, generator=gen, dtype=torch.float64)
                  for shape in ((3, 4), (), (5,))]
        grads = [[size * torch.randn(w.shape, generator=gen).double() for w in starts]
                 for _ in range(200)]
        for step in range(50, 100):  # a parameter may get no gradient for a while
            grads[step][2] = grads[step][2] * 0
        got = check.there(drills.adamw_path, adamw_step, starts, grads, lr, betas, eps, decay)
        want = drills.torch_adamw(starts, grads, lr, betas, eps, decay)
        for w, theirs, ours in zip(starts, want, got):
            case = f"{name}, a parameter of shape {tuple(w.shape)}"
            check.close(f"{case}, after 1 step", ours[0], theirs[0], rel=1e-5, scale=1.0)
            check.close(f"{case}, all 200 steps", ours, theirs, rel=1e-5, scale=1.0)
    w, g = torch.randn(2, 6, generator=gen).unbind(0)
    _, after = check.there(drills.adamw_gradient, adamw_step, w, g)
    check.close("the gradient after two steps", after, g, why="it is not changed.")
### END HIDDEN TESTS

# %% [markdown]
# ## 9. The schedule ({points:lr_at}, 8 min)
#
# In the first steps Adam's means rest on a handful of batches, and a full step can throw the
# weights far away. So the rate rises from 0 (**warm-up**), then falls along half a cosine: long
# near the peak, long near the floor, quick between.
#
# By hand, peak 1, warm-up 10, total 110, floor 0.1: step 0 has rate 0, step 5 has 0.5, step 10 has
# 1. Step 60 is half of the way down, (1 + 0.1)/2 = 0.55. From step 110 on it is 0.1.
#
# **Common mistake:** counting from 1. Step 0 is the first step that is taken, and its rate is
# `lr_at(0, ...)`, 0 with a warm-up and the peak without one.
#
# <details><summary>Hint 1</summary>
#
# Three cases: before `warmup`, from `total` on, between.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Between, let `done` run from 0 at `warmup` to 1 at `total`. `cos(π · done)` runs from 1 to −1.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `(1 + cos(π · done)) / 2` runs from 1 to 0; stretch it to run from peak to floor.
#
# </details>

# %% nbgrader={"solution": "lr_at"}
def lr_at(step: int, peak: float, warmup: int, total: int, floor: float) -> float:
    """The learning rate of a step, counted from 0: linear warm-up, then a cosine.

    Before warmup: peak * step / warmup. From warmup to total: half a cosine from peak to floor.
    From total on: floor. warmup may be 0 (step 0 has the peak) and is smaller than total.
    """
    ### BEGIN SOLUTION
    if step < warmup:
        return peak * step / warmup
    done = min((step - warmup) / (total - warmup), 1)
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2
    ### END SOLUTION


# %% nbgrader={"test": "lr_at_visible", "points": 3}
with check.question("lr_at_visible", lr_at) as f:
    for step, want, why in (
        (0, 0.0, "the warm-up begins at 0."), (5, 0.5, "half of the warm-up."),
        (10, 1.0, "the peak."), (60, 0.55, "half of the way down, (1 + 0.1)/2."),
        (35, 0.86820, "a quarter: 0.1 + 0.9 · (1 + cos 45°)/2."), (110, 0.1, "the floor."),
        (500, 0.1, "the floor stays."),
    ):
        check.close(f"step {step}", f(step, 1.0, 10, 110, 0.1), want, why=why, scale=1.0)
    check.close("no warm-up, step 0", f(0, 3.0, 0, 4, 0.0), 3.0, why="the peak at once.")

# %% nbgrader={"test": "lr_at_hidden", "points": 2}
# Hidden checks: every step of random schedules, without warm-up too, and beyond the end.
### BEGIN HIDDEN TESTS
with check.question("lr_at_hidden", lr_at) as f:
    gen = check.generator()
    for case in range(6):
        warmup, length = (torch.randint(1, 30, (), generator=gen).item() for _ in range(2))
        warmup, total = (0 if case == 0 else warmup), warmup + length + 1
        peak, part = (torch.rand((), generator=gen).item() for _ in range(2))
        floor = 0.0 if case == 1 else part * peak
        for step in range(total + 5):
            up, down = step / max(warmup, 1), (step - warmup) / (total - warmup)
            want = (peak * up if step < warmup else floor if step >= total else
                    peak * math.cos(down * math.pi / 2) ** 2
                    + floor * math.sin(down * math.pi / 2) ** 2)
            check.close(f"step {step} of {total}, warm-up {warmup}",
                        f(step, peak, warmup, total, floor), want, scale=peak)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. Clipping ({points:clip_gradients}, 10 min)
#
# One strange batch can have a gradient a hundred times longer than usual. Clipping keeps its
# direction and cuts its length. The length is that of **all** gradients together, as one long
# vector; so their ratio stays.
#
# By hand: two parameters with gradients (3) and (4). The norm is 5. With a limit of 1 both are
# multiplied by 1/5 and become 0.6 and 0.8. With a limit of 10 nothing happens.
#
# **Common mistake:** dividing by the norm always. Then small gradients grow, and at the end of
# training, where they should be small, each step is as long as any other.
#
# <details><summary>Hint 1</summary>
#
# The square of the norm is the sum of the squares of all entries of all gradients.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A parameter that was not used has `grad` None. Leave it out.
#
# </details>
# <details><summary>Hint 3</summary>
#
# One factor for all, `min(1.0, max_norm / (norm + 1e-6))`; `p.grad.mul_(factor)` changes in place.
#
# </details>

# %% nbgrader={"solution": "clip_gradients", "calls_forbidden": ["clip_grad_norm_"]}
def clip_gradients(parameters: list[Tensor], max_norm: float) -> float:
    """Scale all gradients down, in place, so that their common norm is at most max_norm.

    Changes `.grad` of each parameter. Returns the norm before: the root of the sum of squares of
    all entries of all gradients, a float. All are multiplied by min(1, max_norm / (norm + 1e-6)),
    as torch does, so that gradients below the limit stay as they are. A parameter whose grad is
    None is left out; without any gradient the norm is 0.0.
    """
    ### BEGIN SOLUTION
    grads = [p.grad for p in parameters if p.grad is not None]
    norm = math.sqrt(sum(g.square().sum().item() for g in grads))
    for g in grads:
        g.mul_(min(1.0, max_norm / (norm + 1e-6)))
    return norm
    ### END SOLUTION


# %% nbgrader={"test": "clip_gradients_visible", "points": 3}
with check.question("clip_gradients_visible", clip_gradients):
    def clip(grads, max_norm):  # the norm, its type, and the gradients after it
        grads = [None if g is None else torch.tensor(g) for g in grads]
        norm, kind, _, *after = check.there(drills.clipped, clip_gradients, grads, max_norm)
        check.equal("what is returned", kind, "float", why="a plain number.")
        return norm, after

    norm, after = clip([[3.0], [4.0]], 1.0)
    check.close("gradients 3 and 4", norm, 5.0, why="√(9 + 16): all gradients are one vector.")
    check.close("clipped to 1", torch.cat(after), [0.6, 0.8], why="both times 1/5.")
    norm, after = clip([[3.0], [4.0]], 10.0)
    check.close("limit 10", torch.cat(after), [3.0, 4.0], why="5 is below the limit.")
    norm, after = clip([[0.0, 6.0], None, [8.0]], 5.0)
    check.close("no gradient at one parameter", norm, 10.0, why="None is left out.")
    check.close("clipped to 5", torch.cat([after[0], after[2]]), [0.0, 3.0, 4.0])

# %% nbgrader={"test": "clip_gradients_hidden", "points": 2}
# Hidden checks: many shapes beside torch, gradients below the limit, tiny ones, none at all.
### BEGIN HIDDEN TESTS
with check.question("clip_gradients_hidden", clip_gradients):
    gen = check.generator()
    for size, limit in ((1.0, 1.0), (100.0, 0.3), (1e-3, 1.0), (3e-6, 2e-6), (1.0, 0.01)):
        grads = [size * torch.randn(shape, generator=gen, dtype=torch.float64)
                 for shape in ((3, 4), (7,), (), (2, 2, 2))]
        norm, _, moved, *after = check.there(drills.clipped, clip_gradients, grads, limit)
        want, case = torch.cat([g.flatten() for g in grads]), f"gradients of size {size:g}"
        length = want.norm().item()
        check.close(f"{case}, norm", norm, length)
        check.close(f"{case}, limit {limit:g}", torch.cat([g.flatten() for g in after]),
                    want * min(1.0, limit / (length + 1e-6)))
        check.that(not moved, f"{case}: the parameters themselves have changed.")
    norm, kind, _, *_ = check.there(drills.clipped, clip_gradients, [None, None], 1.0)
    check.equal("no gradients", [norm, kind], [0.0, "float"])
### END HIDDEN TESTS

# %% [markdown]
# ## 11. A training step ({points:train_step}, 20 min)
#
# A batch of half a million tokens fits on no GPU. **Accumulation** cuts it into micro-batches: run
# each forward and backward, let the gradients add up, and step once. The result must be that of the
# one large batch. That is where the sum and the count of exercise 7 pay off: documents are masked
# and padded, so micro-batches have unequal numbers of targets, and each *token* must weigh the
# same.
#
# By hand: micro-batch 1 has one target with loss 3, micro-batch 2 has three with loss 1 each. The
# mean per token is (3 + 1 + 1 + 1)/4 = 1.5. The mean of the means is (3 + 1)/2 = 2.
#
# **Common mistake:** exactly that, mean of means. Short micro-batches weigh too much; a widely used
# training library did it until 2024.
#
# <details><summary>Hint 1</summary>
#
# Six steps in this order: forget old gradients, count all targets, backward for each micro-batch,
# clip, step, return.
#
# </details>
# <details><summary>Hint 2</summary>
#
# To divide by the number of all targets you have to know it before the first backward. The targets
# are all there: count them first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `(loss_sum / n).backward()` for each micro-batch; add up `loss_sum.item()`, which is a plain
# number and lets go of the graph. Clip after the loop, not inside.
#
# </details>

# %% nbgrader={"solution": "train_step"}
def train_step(
    model: nn.Module, optimizer: Optimizer, micro_batches: list[tuple[Tensor, Tensor]],
    max_norm: float,
) -> float:
    """One update of the model from several micro-batches; the mean loss per target before it.

    model(inputs) gives logits (B, T, V); each micro-batch is inputs (B, T), targets (B, T), and
    targets of -100 do not count. The gradient is that of the mean loss over all targets that
    count in all micro-batches together, of which there is at least one; a micro-batch may have
    none. Gradients that were there before are forgotten. The gradient is clipped to max_norm, then
    the optimizer steps once. The model's mode (train or eval) is the caller's business.
    Your lm_loss and clip_gradients may be used; torch's functions serve as well.
    """
    ### BEGIN SOLUTION
    optimizer.zero_grad()
    n = sum(int((targets != -100).sum()) for _, targets in micro_batches)
    total = 0.0
    for inputs, targets in micro_batches:
        loss_sum, _ = lm_loss(model(inputs), targets)
        (loss_sum / n).backward()
        total += loss_sum.item()
    clip_gradients(list(model.parameters()), max_norm)
    optimizer.step()
    return total / n
    ### END SOLUTION


# %% nbgrader={"test": "train_step_visible", "points": 6}
with check.question("train_step_visible", train_step):
    def steps(*batches, max_norm=100.0, **more):  # 2 tokens, all logits 0, SGD with rate 1
        given = [(torch.tensor([x]), torch.tensor([y])) for x, y in batches]
        return check.there(drills.train_steps, train_step, torch.zeros(2, 2), [given], max_norm,
                           **more)

    losses, table, bias, _, kind = steps(([0], [1]))
    check.equal("what is returned", kind, "float", why="a number; a tensor would keep its graph.")
    check.close("one target, loss", losses, [math.log(2)], why="before the update.")
    check.close("one target, weights", table, [[-0.5, 0.5], [0.0, 0.0]], scale=1.0,
                why="the gradient is p minus the truth, (1/2, -1/2); the rate is 1.")
    same = [[-0.25, 0.25], [0.25, -0.25]]
    check.close("one micro-batch of two targets", steps(([0, 1], [1, 0]))[1], same,
                why="each target has half of the weight.")
    check.close("two micro-batches of one", steps(([0], [1]), ([1], [0]))[1], same,
                why="the same two targets, the same update.")
    uneven = steps(([0, 0, 0], [1, -100, -100]), ([1, 1, 1], [0, 0, 0]))[1]
    check.close("micro-batches of one and three targets", uneven,
                [[-0.125, 0.125], [0.375, -0.375]], why="1/4 for each of four targets.")
    check.close("clipped to 0.1", steps(([0], [1]), max_norm=0.1)[1], [[-0.05, 0.05], [0.0, 0.0]],
                why="table and bias have gradients of length 1 together; a tenth of it is left.")
    check.close("two micro-batches, clipped to 0.1", steps(([0], [1]), ([1], [0]), max_norm=0.1)[1],
                [[-0.05, 0.05], [0.05, -0.05]],
                why="in the bias they cancel; the sum of both is clipped, from 0.5 to 0.1.")
    check.close("old gradients of 7", steps(([0], [1]), stale=7.0)[1], [[-0.5, 0.5], [0.0, 0.0]],
                why="gradients from before are forgotten.")

# %% nbgrader={"test": "train_step_hidden", "points": 4}
# Hidden checks: uneven micro-batches beside one batch, modes; the micro model learns one batch by
# heart and then dialogues; the loss is computed again from its weights.
### BEGIN HIDDEN TESTS
with check.question("train_step_hidden", train_step):
    gen = check.generator()
    with check.part("micro-batches", 1):
        table = torch.randn(5, 5, generator=gen, dtype=torch.float64)
        for sizes, limit in (((3, 3), 100.0), ((1, 5, 2), 100.0), ((4,), 0.05), ((2, 6), 0.02)):
            runs, model = [], drills.Bigram(5).double()
            model.table.weight.data.copy_(table)
            want = []
            for _ in range(3):  # steps
                x = torch.randint(5, (sum(sizes), 7), generator=gen)
                y = torch.randint(5, x.shape, generator=gen)
                y[torch.rand(x.shape, generator=gen) < 0.5] = -100
                y[0] = -100 if len(sizes) == 3 else y[0]  # a micro-batch without a target
                runs.append(list(zip(x.split(sizes), y.split(sizes))))
                loss = F.cross_entropy(model(x).flatten(0, 1), y.flatten())
                grads = torch.autograd.grad(loss, list(model.parameters()))
                norm = torch.cat([g.flatten() for g in grads]).norm()
                for p, g in zip(model.parameters(), grads):
                    p.data -= 0.5 * g * min(1.0, limit / (norm.item() + 1e-6))
                want.append(loss.item())
            case = f"micro-batches of {', '.join(map(str, sizes))} rows, limit {limit:g}"
            losses, weights, bias, _, _ = check.there(
                drills.train_steps, train_step, table, runs, limit, 0.5)
            check.close(f"{case}, losses of three steps", losses, want)
            check.close(f"{case}, weights", weights, model.table.weight.detach(), scale=0.5)
            check.close(f"{case}, biases", bias, model.bias.detach(), scale=0.5)
    with check.part("mode", 1):
        x, y = torch.randint(5, (2, 4, 9), generator=gen).unbind(0)
        for training in (True, False):
            losses, _, _, kept, _ = check.there(
                drills.train_steps, train_step, table, [[(x, y)]], 1.0, training=training,
                dropout=1.0)
            check.that(kept, "the model's mode was changed; that is the caller's business.")
            want = math.log(5) if training else F.cross_entropy(table[x].mT, y).item()
            check.close(f"dropout 1, training {training}, loss", losses, [want], rel=1e-3)
    with check.part("one batch by heart", 1):
        x, y = torch.randint(256, (2, 4, 16), generator=gen).unbind(0)
        y[3, 2:] = -100
        pieces = [(x[:1], y[:1]), (x[1:], y[1:])]
        losses, weights = check.there(drills.train_micro, train_step, [pieces] * 120)
        check.close("loss at the start", losses[0], math.log(256), rel=0.1,
                    why="first logits are small: a guess among 256.")
        loss = drills.micro_loss(weights, x, y)
        check.that(loss < 0.05, f"after 120 steps on one batch its loss is {loss:.3g}; "
                   "below 0.05 is expected.")
    with check.part("dialogues", 1):
        letters = torch.tensor(list(telecom.corpus(200_000, seed=7, kinds=("dialogue",)).encode()))
        runs = []
        for _ in range(60):
            at = torch.randint(len(letters) - 20_000, (16, 1), generator=gen) + torch.arange(65)
            runs.append([(letters[at[:8, :-1]], letters[at[:8, 1:]]),
                         (letters[at[8:, :-1]], letters[at[8:, 1:]])])
        losses, weights = check.there(drills.train_micro, train_step, runs)
        held_out = letters[-20_000:].unfold(0, 65, 64)
        loss = drills.micro_loss(weights, held_out[:, :-1], held_out[:, 1:])
        check.that(loss < 2.8, f"after 60 steps of 1,024 bytes the loss on other dialogues is "
                   f"{loss:.3g} nats a byte; below 2.8 is expected.")
### END HIDDEN TESTS

# %% [markdown]
# ## 12. Perplexity ({points:perplexity}, 5 min)
#
# A loss of 2.3 nats says little. **Perplexity** turns it into a number of choices: a model that is
# as unsure as a fair die with 10 sides has perplexity 10.
#
# By hand: 100 targets with a summed loss of 230.26 nats have a mean of 2.3026, and exp(2.3026) =
# 10.
#
# **Common mistake:** 2 to the power of nats. The base must fit the unit: e for nats, 2 for bits.
#
# <details><summary>Hint 1</summary>
#
# First the mean loss.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The loss is a natural logarithm. What undoes it?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `math.exp`.
#
# </details>

# %% nbgrader={"solution": "perplexity"}
def perplexity(loss_sum: float, n_targets: int) -> float:
    """The perplexity of a text: exp of the mean loss.

    loss_sum is in nats, summed over n_targets >= 1 tokens. A model that gives each target the
    probability 1/10 has perplexity 10.
    """
    ### BEGIN SOLUTION
    return math.exp(loss_sum / n_targets)
    ### END SOLUTION


# %% nbgrader={"test": "perplexity_visible", "points": 1.5}
with check.question("perplexity_visible", perplexity) as f:
    check.close("100 targets at 1/10", f(100 * math.log(10), 100), 10.0, why="10 equal choices.")
    check.close("one target at 1/2", f(math.log(2), 1), 2.0, why="2 equal choices.")
    check.close("loss 0", f(0.0, 7), 1.0, why="nothing left to choose.")

# %% nbgrader={"test": "perplexity_hidden", "points": 1}
# Hidden checks: random losses; two halves of a text, and the whole.
### BEGIN HIDDEN TESTS
with check.question("perplexity_hidden", perplexity) as f:
    gen = check.generator()
    for n in (1, 17, 1000):
        p = torch.rand(n, generator=gen, dtype=torch.float64) * 0.9 + 0.05
        want = (1 / p).log().mean().exp().item()  # the geometric mean of 1/p
        check.close(f"{n} targets", f(-p.log().sum().item(), n), want)
        check.close(f"{n} targets, the text twice", f(-2 * p.log().sum().item(), 2 * n), want)
### END HIDDEN TESTS

# %% [markdown]
# ## 13. Bits per byte ({points:bits_per_byte}, 5 min)
#
# Perplexity is per token, so it can be compared only between models with the same tokenizer. A
# tokenizer with long tokens has fewer and harder choices. **Bits per byte** divides by what no
# tokenizer can change: the length of the text in bytes.
#
# By hand: a text of 1,000 bytes. Model A cuts it into 250 tokens at 2.773 nats each, model B into
# 500 at 1.386. Their perplexities are 16 and 4. Both sum up to 693.1 nats = 1,000 bits: one bit per
# byte, and neither is better.
#
# **Common mistake:** nats per byte. A bit is ln 2 = 0.693 nats.
#
# <details><summary>Hint 1</summary>
#
# How many bits are 693.1 nats?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The number of tokens is not needed.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Divide by `math.log(2)` and by the bytes.
#
# </details>

# %% nbgrader={"solution": "bits_per_byte"}
def bits_per_byte(loss_sum: float, n_bytes: int) -> float:
    """How many bits a model needs for each byte of a text.

    loss_sum is in nats, summed over all tokens of the text, whose UTF-8 form has n_bytes >= 1
    bytes. A model that gives each of 256 bytes the same probability needs 8.
    """
    ### BEGIN SOLUTION
    return loss_sum / math.log(2) / n_bytes
    ### END SOLUTION


# %% nbgrader={"test": "bits_per_byte_visible", "points": 1.5}
with check.question("bits_per_byte_visible", bits_per_byte) as f:
    check.close("10 bytes, each 1 of 256", f(10 * math.log(256), 10), 8.0, why="2⁸ = 256.")
    check.close("250 tokens of 2.7726 nats, 1,000 bytes", f(250 * math.log(16), 1000), 1.0,
                why="4 bits a token, 4 bytes a token.")
    check.close("500 tokens of 1.3863 nats, 1,000 bytes", f(500 * math.log(4), 1000), 1.0,
                why="2 bits a token, 2 bytes a token: the tokenizer cancels.")

# %% nbgrader={"test": "bits_per_byte_hidden", "points": 1}
# Hidden checks: random losses and lengths.
### BEGIN HIDDEN TESTS
with check.question("bits_per_byte_hidden", bits_per_byte) as f:
    gen = check.generator()
    for n_bytes in (1, 9, 5000):
        bits = torch.rand(n_bytes, generator=gen, dtype=torch.float64) * 8
        nats = -(0.5**bits).log().sum().item()
        check.close(f"{n_bytes} bytes", f(nats, n_bytes), bits.mean().item())
        check.close(f"{n_bytes} bytes, the text twice", f(2 * nats, 2 * n_bytes),
                    bits.mean().item())
### END HIDDEN TESTS

# %% [markdown]
# ## 14. Save a run ({points:save_checkpoint}, 8 min)
#
# Llama 3's run on 16,384 GPUs broke off 419 times without warning in 54 days, once in three hours
# (arXiv 2407.21783, section 3.3.4). A run survives because its state is on disk: not the weights
# alone, but all that the next step depends on.
#
# - the weights;
# - the optimizer: two running means for each weight, and the learning rate;
# - the step, which the schedule needs;
# - the state of the generator that draws the batches.
#
# By hand: how large is a checkpoint of the micro model? 124,672 weights and two means for each, 4
# bytes apiece, are 1.5 MB. The weights alone would be a third.
#
# **Common mistake:** no generator. The run goes on, with the batches of step 0 again; nobody
# notices.
#
# <details><summary>Hint 1</summary>
#
# Models and optimizers have `state_dict()`, generators have `get_state()`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# One dict with the four keys of the docstring.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.save(contents, path)` writes, and overwrites.
#
# </details>

# %% nbgrader={"solution": "save_checkpoint"}
def save_checkpoint(
    path: str, model: nn.Module, optimizer: Optimizer, step: int, generator: torch.Generator
) -> None:
    """Write all that a run needs to go on as if nothing had happened.

    The file is what torch.save makes of a dict with the keys "model" (the model's state dict),
    "optimizer" (the optimizer's), "step" (an int) and "generator" (the generator's state). A file
    that is there already is replaced. The run itself is not changed.
    """
    ### BEGIN SOLUTION
    contents = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
                "generator": generator.get_state()}
    torch.save(contents, path)
    ### END SOLUTION


# %% nbgrader={"test": "save_checkpoint_visible", "points": 1.5}
with check.question("save_checkpoint_visible", save_checkpoint):
    keys, *parts = check.there(drills.saved, save_checkpoint, 1, 4)
    check.equal("keys of the file", keys, "generator model optimizer step")
    want = drills.run_straight(1, 4)
    for what, got, expected in zip(("weights", "moments", "learning rate", "next draw"),
                                   parts, want):
        check.close(f"after 4 steps, {what}", got, expected, why="as in the run that was saved.")
    check.equal("step", parts[4], 4)

# %% nbgrader={"test": "save_checkpoint_hidden", "points": 1}
# Hidden checks: other runs; the run after saving; files in the folder.
### BEGIN HIDDEN TESTS
with check.question("save_checkpoint_hidden", save_checkpoint):
    for seed in torch.randint(1000, (2,), generator=check.generator()).tolist():
        keys, *parts = check.there(drills.saved, save_checkpoint, seed, 7)
        check.equal("keys of the file", keys, "generator model optimizer step")
        for what, got, expected in zip(("weights", "moments", "learning rate", "next draw"),
                                       parts, drills.run_straight(seed, 7)):
            check.close(f"after 7 steps, {what}", got, expected)
        check.equal("step, run left alone, files in the folder", parts[4:], [7, True, 1])
### END HIDDEN TESTS

# %% [markdown]
# ## 15. Resume it ({points:load_checkpoint}, 8 min)
#
# The other half. The test of a checkpoint is not that it loads; it is that ten steps, a crash and
# ten more give the same bits as twenty steps.
#
# By hand: a run with learning rate 0.1 is saved. You begin again, and your script makes its
# optimizer with 0.3. After loading, the rate is 0.1: it is part of the optimizer's state.
#
# **Common mistake:** loading the weights only. AdamW's means begin at 0 again, and the loss jumps.
#
# <details><summary>Hint 1</summary>
#
# `torch.load(path)` gives back the dict.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `load_state_dict` is the other end of `state_dict`, `set_state` of `get_state`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Three lines that load, one that returns. Nothing is assigned: the objects themselves change.
#
# </details>

# %% nbgrader={"solution": "load_checkpoint"}
def load_checkpoint(
    path: str, model: nn.Module, optimizer: Optimizer, generator: torch.Generator
) -> int:
    """Bring model, optimizer and generator to the state in a file; return its step.

    The file is one that save_checkpoint writes, with the keys "model", "optimizer", "step" and
    "generator". All three objects are changed in place, the learning rate of the optimizer too.
    """
    ### BEGIN SOLUTION
    contents = torch.load(path)
    model.load_state_dict(contents["model"])
    optimizer.load_state_dict(contents["optimizer"])
    generator.set_state(contents["generator"])
    return contents["step"]
    ### END SOLUTION


# %% nbgrader={"test": "load_checkpoint_visible", "points": 1.5}
with check.question("load_checkpoint_visible", load_checkpoint):
    step, *parts = check.there(drills.loaded, load_checkpoint, 1, 10)
    check.equal("the step of a run saved after 10", step, 10)
    for what, got, expected in zip(("weights", "moments", "learning rate", "next draw"),
                                   parts, drills.run_straight(1, 10)):
        check.close(f"after loading, {what}", got, expected, why="as in the run that was saved.")

# %% nbgrader={"test": "load_checkpoint_hidden", "points": 1}
# Hidden checks: 10 steps, a file, and 10 steps more, beside 20 steps without a break, bit by bit.
### BEGIN HIDDEN TESTS
with check.question("load_checkpoint_hidden", load_checkpoint):
    for seed in torch.randint(1000, (2,), generator=check.generator()).tolist():
        step, *parts = check.there(drills.loaded, load_checkpoint, seed, 10, 10)
        check.equal("step", step, 10)
        straight = check.there(drills.run_straight, seed, 20)
        for what, got, exact, ours in zip(("weights", "moments", "learning rate", "next draw"),
                                          parts, straight, drills.run_straight(seed, 20)):
            check.close(f"10 + 10 steps, {what}", got, ours)
            check.close(f"10 + 10 steps, {what}, bit by bit", got, exact, rel=0.0,
                        why="the same bits as 20 steps.")
### END HIDDEN TESTS

# %% [markdown]
# ## 16. Many workers ({points:all_reduce_mean}, 10 min)
#
# In **data parallelism** each worker has a copy of the model and its own part of the batch. After
# backward the gradients are averaged over the workers, so that all copies take the same step. Real
# machines do that with an *all-reduce*; here the workers are a list.
#
# If the parts are unequal, so are the weights: each worker's gradient is a mean over *its* targets,
# and counts as often as it has targets.
#
# By hand: worker 1 has gradient 3 from one target, worker 2 has gradient 1 from three. The mean per
# target is (1·3 + 3·1)/4 = 1.5. It is the sum of exercise 11 in another place.
#
# **Common mistake:** dividing by the number of workers.
#
# <details><summary>Hint 1</summary>
#
# The lists are ordered by worker first. You need, for each parameter, its gradient on each worker.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `zip(*grads)` turns rows into columns: one tuple of gradients for each parameter.
#
# </details>
# <details><summary>Hint 3</summary>
#
# For each column: the sum of `w * g`, divided by the sum of the weights.
#
# </details>

# %% nbgrader={"solution": "all_reduce_mean"}
def all_reduce_mean(grads: list[list[Tensor]], weights: list[float]) -> list[Tensor]:
    """The weighted mean of the workers' gradients, parameter by parameter.

    grads[worker][parameter], one weight for each worker -> one gradient for each parameter. The
    sum of weight times gradient is divided by the sum of the weights, which is positive. A
    weight may be 0 (a worker without targets) as long as not all are.
    """
    ### BEGIN SOLUTION
    total = sum(weights)
    return [sum(w * g for w, g in zip(weights, column)) / total for column in zip(*grads)]
    ### END SOLUTION


# %% nbgrader={"test": "all_reduce_mean_visible", "points": 3}
with check.question("all_reduce_mean_visible", all_reduce_mean) as f:
    one = [torch.tensor([3.0]), torch.tensor([[0.0, 4.0]])]
    three = [torch.ones(1), torch.ones(1, 2)]
    got = f([one, three], [1.0, 3.0])
    check.equal("two workers, two parameters, length of the list", len(got), 2)
    check.close("weights 1 and 3, first parameter", got[0], [1.5], why="(1·3 + 3·1)/4.")
    check.close("second parameter", got[1], [[0.75, 1.75]], why="(0 + 3)/4 and (4 + 3)/4.")
    check.close("weights 2 and 2", f([one, three], [2.0, 2.0])[0], [2.0], why="the plain mean.")
    check.close("weights 0 and 5", f([one, three], [0.0, 5.0])[0], [1.0],
                why="a worker without targets has no say.")

# %% nbgrader={"test": "all_reduce_mean_hidden", "points": 2}
# Hidden checks: a model trained on uneven shards beside one device; one worker; arguments.
### BEGIN HIDDEN TESTS
with check.question("all_reduce_mean_hidden", all_reduce_mean) as f:
    gen = check.generator()
    model = drills.Bigram(6).double()
    for sizes in ((4, 4), (1, 2, 5), (7,), (3, 0, 2, 2)):
        x, y = torch.randint(6, (2, sum(sizes), 5), generator=gen).unbind(0)
        y = y.masked_fill(torch.rand(y.shape, generator=gen) < 0.4, -100)
        table = torch.randn(6, 6, generator=gen, dtype=torch.float64)
        model.table.weight.data.copy_(table)
        parameters, grads, counts = list(model.parameters()), [], []
        for inputs, targets in [*zip(x.split(sizes), y.split(sizes)), (x, y)]:  # last: one device
            n = int((targets != -100).sum())
            loss = F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten(),
                                   reduction="sum") / max(n, 1)
            grads.append(list(torch.autograd.grad(loss, parameters)))
            counts.append(float(n))
        got = f(grads[:-1], counts[:-1])
        for want, mean in zip(grads[-1], got):
            check.close(f"shards of {', '.join(map(str, sizes))} rows", mean, want,
                        why="the same as one device with the whole batch.")
    a, b = torch.randn(2, 3, generator=gen), torch.randn(2, 3, generator=gen)
    kept = [a.clone(), b.clone()]
    all_reduce_mean([[a], [b]], [1.0, 2.0])
    check.close("gradients after the call", torch.stack([a, b]), torch.stack(kept),
                why="arguments are not changed.")
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Train a base model
#
# No points from here on; everything below runs on *your* functions. `LabAdamW` puts your
# `adamw_step` behind torch's interface, and lets matrices decay but not norms and biases.
#
# The model has 124,672 parameters and reads bytes. The text is 3 MB of telephone calls with an
# invented operator. 320 steps of 4,096 tokens are 1.3 million predictions, about half a minute.
#
# Before you run it, predict three numbers: the loss at step 0 (all 256 bytes are equally likely),
# the loss of a model that knows only how frequent each letter is, and the last one.

# %% tags=["demo"]
from tqdm.auto import tqdm

from glassbox.models import GPT, MICRO


class LabAdamW(Optimizer):
    """Your adamw_step for all parameters of a model."""

    def __init__(self, parameters, lr=0.0, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        super().__init__(parameters, {"lr": lr, "betas": betas, "eps": eps, "decay": weight_decay})

    def step(self) -> None:
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    adamw_step(p, p.grad, self.state[p], group["lr"], group["betas"],
                               group["eps"], group["decay"] if p.ndim > 1 else 0.0)


text = telecom.corpus(3_000_000, kinds=("dialogue",))
letters = torch.tensor(list(text.encode()))
train_ids, held_out = letters[:-60_000], letters[-60_000:]
frequency = letters.bincount(minlength=256) / len(letters)
letter_loss = -(frequency * frequency.log().nan_to_num(neginf=0)).sum().item()


def new_run(seed: int) -> tuple[GPT, Optimizer, torch.Generator]:
    """A fresh micro model, its optimizer and the generator of its batches."""
    torch.manual_seed(seed)
    model = GPT(MICRO)
    with torch.no_grad():  # GPT-2's first weights suit its width of 768; here the width is 64
        for p in model.parameters():
            p.mul_(math.sqrt(768 / 64) if p.ndim > 1 else 1)
    return model, LabAdamW(model.parameters()), torch.Generator().manual_seed(seed)


def run_steps(model: GPT, optimizer: Optimizer, generator: torch.Generator, steps: range,
              rows: int = 16, total: int = 320, peak: float = 1e-2) -> list[float]:
    """Train for some steps, each of two micro-batches of rows x 128 tokens; the losses."""
    losses = []
    for step in tqdm(steps, disable=len(steps) < 100):
        for group in optimizer.param_groups:
            group["lr"] = lr_at(step, peak, 20, total, peak / 10)
        batches = [clm_batch(train_ids, rows, 128, generator) for _ in range(2)]
        losses.append(train_step(model, optimizer, batches, 1.0))
    return losses


@torch.no_grad()
def evaluate(model: GPT, ids: Tensor) -> tuple[float, int]:
    """Summed loss and number of targets of a text, in windows; without dropout."""
    model.eval()
    total, count = 0.0, 0
    for rows in ids.unfold(0, 129, 128).split(64):
        loss_sum, n = lm_loss(model(rows[:, :-1]), rows[:, 1:])
        total, count = total + loss_sum.item(), count + n
    model.train()
    return total, count


base, losses = None, []
try:
    model, optimizer, generator = new_run(0)
    losses = run_steps(model, optimizer, generator, range(320))
    loss_sum, n_targets = evaluate(model, held_out)
    base = model
    print(f"step 0: {losses[0]:.3f} nats a byte (ln 256 = {math.log(256):.3f})")
    print(f"letter frequencies alone: {letter_loss:.3f}")
    print(f"step 319: {losses[-1]:.3f}")
    print(f"calls it has not seen: {loss_sum / n_targets:.3f}, "
          f"perplexity {perplexity(loss_sum, n_targets):.2f}")
except NotImplementedError:
    print("Write clm_batch, lm_loss, adamw_step, lr_at, clip_gradients and train_step first.")

# %% [markdown]
# The threshold of this lab is a loss below 1.0 on calls the model has not seen, after these 320
# steps. Runs from five seeds ended between 0.55 and 0.59. Where does your curve bend, and why is it
# flat before? Compare with the curves of the chapter.

# %% tags=["demo"]
import matplotlib.pyplot as plt

plt.style.use(Path(glassbox.__file__).parent / "style.mplstyle")
if losses:
    axes = plt.figure(figsize=(6, 2.6), layout="constrained").gca()
    axes.plot(losses)
    for height, name in ((math.log(256), "256 equal choices"), (letter_loss, "letter frequencies"),
                         (1.0, "threshold")):
        axes.axhline(height, linewidth=0.8, linestyle="--", color="0.5")
        axes.text(318, height, name, ha="right", va="bottom", fontsize=8)
    axes.set(xlabel="step", ylabel="loss, nats per byte", ylim=(0, 6.2))
    plt.show()

# %% [markdown]
# ## Talk to it
#
# A base model completes. Give it the beginning of a call, and it goes on. Give it a question that
# no call begins with, and it does not answer *you*: it goes on writing calls.

# %% tags=["demo"]
def complete(prompt: str, n_new: int = 160, temperature: float = 0.7) -> str:
    """The prompt and what the model writes after it."""
    ids = torch.tensor([list(prompt.encode())])
    gen = torch.Generator().manual_seed(1)
    written = base.generate(ids, n_new, temperature, generator=gen)[0].tolist()
    return bytes(written).decode(errors="replace")


if base is not None:
    for prompt in ("Customer: Hello. My modem has", "Agent: Good morning, this is",
                   "What is the capital of France?", "Please summarise this call in one line:"):
        print(complete(prompt).replace(prompt, f"[{prompt}]", 1), "\n" + "-" * 60)

# %% [markdown]
# ## Break it off and go on
#
# Ten steps, a file, a new process, ten more steps: the same bits as twenty steps. Comment out one
# of the lines of your `load_checkpoint` and watch which of the three numbers changes.

# %% tags=["demo"]
try:
    straight = new_run(3)
    whole = run_steps(*straight, range(20), rows=2)
    first = new_run(3)
    run_steps(*first, range(10), rows=2)
    save_checkpoint("lab05_run.pt", first[0], first[1], 10, first[2])
    second = new_run(99)  # other weights, other batches
    step = load_checkpoint("lab05_run.pt", *second)
    rest = run_steps(*second, range(step, 20), rows=2)
    same = all(map(torch.equal, straight[0].state_dict().values(),
                   second[0].state_dict().values()))
    print(f"file: {Path('lab05_run.pt').stat().st_size / 1e6:.2f} MB, for "
          f"{sum(p.numel() for p in first[0].parameters()):,} parameters")
    print(f"losses of steps 10 to 19 equal: {rest == whole[10:]}; all weights equal: {same}")
except NotImplementedError:
    print("Write save_checkpoint, load_checkpoint and what training needs first.")
finally:
    Path("lab05_run.pt").unlink(missing_ok=True)

# %% [markdown]
# ## Four workers that are one
#
# Four copies of the model, four uneven shards of one batch, one all-reduce. The update is that of a
# single device up to rounding.

# %% tags=["demo"]
def shard_gradient(model: GPT, inputs: Tensor, targets: Tensor) -> tuple[list[Tensor], int]:
    """What one worker computes: the gradient of the mean over its targets, and their number."""
    loss_sum, n = lm_loss(model(inputs), targets)
    return list(torch.autograd.grad(loss_sum / n, list(model.parameters()))), n


try:
    torch.manual_seed(0)
    model = GPT(MICRO)
    inputs, targets = clm_batch(train_ids, 16, 64, torch.Generator().manual_seed(0))
    targets = targets.masked_fill(torch.rand(targets.shape) < 0.3, -100)
    shards = [shard_gradient(model, x, y)
              for x, y in zip(inputs.split([1, 2, 5, 8]), targets.split([1, 2, 5, 8]))]
    mean = all_reduce_mean([g for g, _ in shards], [float(n) for _, n in shards])
    alone, n = shard_gradient(model, inputs, targets)
    off = max((a - b).abs().max().item() for a, b in zip(mean, alone))
    size = max(b.abs().max().item() for b in alone)
    print(f"targets per worker: {[n for _, n in shards]}, together {n}")
    print(f"largest difference {off:.1e}, largest entry of the gradient {size:.1e}")
except NotImplementedError:
    print("Write clm_batch, lm_loss and all_reduce_mean first.")

# %% [markdown]
# ## Bits per byte
#
# A language model is a compressor: what it finds likely needs few bits. `lzma` has the same 3 MB to
# look back on; what the held-out calls add to its file is its bits per byte. It may copy any
# stretch of the 3 MB, while your model sees 128 bytes and has 124,672 numbers. Which one do you
# expect to win on calls that follow a script? The last row is what the model's weights would add to
# the file.

# %% tags=["demo"]
import lzma

if base is not None:
    n_bytes = len(held_out)
    before, after = (len(lzma.compress(bytes(ids.tolist()), preset=4))
                     for ids in (train_ids, letters))
    loss_sum, n_targets = evaluate(base, held_out)
    try:
        ours = bits_per_byte(loss_sum * n_bytes / n_targets, n_bytes)
        uniform = bits_per_byte(n_bytes * math.log(256), n_bytes)
        print(f"no model           {uniform:.2f} bits per byte")
        print(f"letter frequencies {bits_per_byte(n_bytes * letter_loss, n_bytes):.2f}")
        print(f"lzma               {8 * (after - before) / n_bytes:.2f}")
        print(f"your model         {ours:.2f}")
        n_weights = sum(p.numel() for p in base.parameters())
        print(f"its weights, 16 bits each, over the 3 MB: {16 * n_weights / len(train_ids):.2f}")
    except NotImplementedError:
        print("Write bits_per_byte first.")

# %% [markdown]
# ## Scale: the same functions, a hundred and a thousand times larger
#
# On a GPU this cell runs by itself; on a CPU it prints what it would need. M is a model of 14
# million parameters for a quarter of an hour on 16 GB, through your `clm_batch` and `train_step`.
# L has the shape of GPT-2 small, 124 million parameters, in steps of half a million tokens, for up
# to two hours on 40 GB. It goes through the course's own trainer, `glassbox.training`, which does
# what you wrote and saves checkpoints while it runs: start the cell again and it goes on. Both
# read all kinds of the course's documents as bytes; L's other 50,001 rows stay unused, the work is
# the same.
#
# What matters is not tokens per second but **MFU**, the share of the GPU's peak that the model's
# own arithmetic uses. The known figure to compare with is nanoGPT's: 600,000 steps of 491,520
# tokens in about 4 days on 8 A100. `run_record.json` keeps what you measured.
#
# Before you run it: how many days would L need for nanoGPT's 295 billion tokens on your GPU?

# %% tags=["demo"]
import time

from glassbox import counting
from glassbox.models import GPT2_SMALL
from glassbox.parts import GPTConfig

if scale.name != "S":
    from glassbox import training

large = scale.name == "L"
config = GPT2_SMALL if large else GPTConfig(
    n_layers=8, d_model=384, n_heads=6, vocab_size=256, context_len=512)
rows, n_micro, n_steps = (32, 15, 1500) if large else (64, 1, 1000)  # half a million tokens a step
limit = 15 * 60  # seconds, for M
peak = next((g.peak for name, g in counting.GPUS.items()
             if name.split("-")[0] in scale.hardware), None)

shape = counting.Model("this run", "gpt2", config.n_layers, config.d_model, config.n_heads,
                       config.vocab_size, config.context_len)
n_weights = counting.count(shape)["total"]
step_tokens = rows * n_micro * config.context_len
# weights, gradients and two moments in 32 bits; logits with their gradient in 32 bits
n_bytes = (16 * n_weights + counting.activations(shape, rows, config.context_len, flash=True)
           + 10 * rows * config.context_len * config.vocab_size)
known = counting.MODELS["GPT-2 small"]
per_token = counting.flops(counting.count(known)["total"], 1, known)
published = counting.utilisation(600_000 * 491_520 * per_token, 8 * 4 * 24,
                                 counting.GPUS["A100-40"].peak)


def medium() -> dict[str, float]:
    """M: your functions, on a GPU; what was measured."""
    every = torch.tensor(list(telecom.corpus(60_000_000).encode()), dtype=torch.uint8)
    ids, rest = every[:-500_000], every[-500_000:].long()
    half = torch.cuda.is_bf16_supported(including_emulation=False)
    torch.manual_seed(0)
    model, gen = GPT(config).to(scale.device), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    begun, losses, at = time.perf_counter(), [], []
    for step in (bar := tqdm(range(n_steps))):
        optimizer.param_groups[0]["lr"] = lr_at(step, 1e-3, 50, n_steps, 1e-4)
        batches = [tuple(t.long().to(scale.device) for t in clm_batch(
            ids, rows, config.context_len, gen)) for _ in range(n_micro)]
        with torch.autocast(scale.device, torch.bfloat16, enabled=half):
            losses.append(train_step(model, optimizer, batches, 1.0))
        at.append(time.perf_counter())
        bar.set_postfix(loss=f"{losses[-1]:.3f}")
        if at[-1] - begun > limit:
            break
    model.eval()
    loss_sum, n_targets = 0.0, 0
    with torch.no_grad(), torch.autocast(scale.device, torch.bfloat16, enabled=half):
        for window in rest.unfold(0, config.context_len + 1, config.context_len).split(16):
            part, n = lm_loss(model(window[:, :-1].to(scale.device)).float(),
                              window[:, 1:].to(scale.device))
            loss_sum, n_targets = loss_sum + part.item(), n_targets + n
    seconds = sorted(b - a for a, b in pairwise(at))[len(at) // 2 - 1]  # the median step
    work = counting.flops(n_weights, step_tokens, shape)
    return {"parameters": n_weights, "tokens": len(losses) * step_tokens, "loss": losses[-1],
            "bits_per_byte": bits_per_byte(loss_sum, n_targets),
            "tokens_per_second": step_tokens / seconds,
            "mfu": counting.utilisation(work, seconds / 3600, peak or training.matmul_ceiling(
                scale.device, torch.bfloat16 if half else torch.float32))}


def gpt2_small() -> dict[str, float]:
    """L: the course's trainer, which resumes from its folder; what was measured."""
    ids = torch.frombuffer(bytearray(telecom.corpus(300_000_000).encode()), dtype=torch.uint8)
    torch.manual_seed(0)
    settings = training.Settings(steps=n_steps, rate=6e-4, warm_up=50, accumulation=n_micro,
                                 precision="bf16", compile=True, save_every=100, peak=peak,
                                 folder="lab05_large")
    found = training.train(GPT(config).to(scale.device),
                           training.crops(ids, rows * n_micro, config.context_len), settings)
    kept = ("tokens", "loss", "bits_per_byte", "tokens_per_second", "mfu")
    return {"parameters": n_weights} | {name: found[name] for name in kept}


if scale.name == "S":
    print(f"M would train {n_weights:,} parameters on {n_steps * step_tokens / 1e6:.0f} million "
          f"tokens and needs about {n_bytes / 1e9:.1f} GB of GPU memory.")
    print(f"nanoGPT's MFU, from its published days: {published:.0%}")
else:
    scale.announce(f"{n_weights:,} parameters, {rows} x {config.context_len} tokens", n_bytes)
    try:
        measured = gpt2_small() if large else medium()
        print(*(f"{name:>22} {value:,.4g}" for name, value in measured.items()), sep="\n")
        print(f"MFU {measured['mfu']:.0%}; nanoGPT on 8 A100, from its published days: "
              f"{published:.0%}")
        print("Written to", scale.record("lab05_pretraining", measured))
    except NotImplementedError:
        print("Write the functions of the training run and bits_per_byte first.")
