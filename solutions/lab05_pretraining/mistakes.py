"""The mistake bank of lab 5: what learners get wrong, what they read, and other right versions."""

import math
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.bank import Bank, call, drill
from glassbox import drills

bank = Bank("lab05_pretraining")
gen = torch.Generator().manual_seed(50)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def ints(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=gen)


# --- clm_batch -------------------------------------------------------------------------------

bank.probe("clm_batch", drill(drills.window_facts, 40, 5),
           drill(drills.own_randomness, torch.arange(1000), 4, 8))  # fmt: skip


def _windows(ids, batch, n_tokens, generator, ahead=1, n_starts=None, rows=None):
    n = len(ids) - n_tokens if n_starts is None else n_starts
    starts = torch.randint(n, (rows or batch, 1), generator=generator).expand(batch, 1)
    at = starts + torch.arange(n_tokens)
    return ids[at], ids[at + ahead]


@bank.wrong(
    "clm_batch",
    "The targets are the inputs themselves: your model learns to copy the current token.",
)
def targets_not_moved(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator, ahead=0)


@bank.wrong("clm_batch", "The targets are moved by two: your model predicts the token after next.")
def targets_moved_twice(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator, 2, max(len(ids) - n_tokens - 1, 1))


@bank.wrong(
    "clm_batch", "The last window is never drawn: N tokens have N - T windows with targets."
)
def last_window_unreachable(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator, n_starts=len(ids) - n_tokens - 1)


@bank.wrong("clm_batch", "A window may begin where its last target is beyond the text.")
def one_window_too_many(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator, n_starts=len(ids) - n_tokens + 1)


@bank.wrong("clm_batch", "All rows of a batch are the same window; draw a start for each row.")
def one_start_for_all(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator, rows=1)


@bank.wrong("clm_batch", "Windows begin at multiples of T only; every start is equally likely.")
def starts_at_multiples(ids, batch, n_tokens, generator):
    n = (len(ids) - 1) // n_tokens
    at = torch.randint(n, (batch, 1), generator=generator) * n_tokens + torch.arange(n_tokens)
    return ids[at], ids[at + 1]


@bank.wrong("clm_batch", "The generator is not used: two runs with one seed get different batches.")
def generator_ignored_clm(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, None)


@bank.wrong("clm_batch", "You seed the generator in each call, so that all batches are the same.")
def seeded_in_each_call(ids, batch, n_tokens, generator):
    return _windows(ids, batch, n_tokens, generator.manual_seed(0))


@bank.right("clm_batch")
def windows_in_a_loop(ids, batch, n_tokens, generator):
    rows = []
    for _ in range(batch):
        start = int(torch.randint(0, len(ids) - n_tokens, (), generator=generator))
        rows.append(ids[start : start + n_tokens + 1])
    both = torch.stack(rows)
    return both[:, :-1], both[:, 1:]


@bank.right("clm_batch")
def windows_unfolded(ids, batch, n_tokens, generator):
    table = ids.unfold(0, n_tokens + 1, 1)
    chosen = (torch.rand(batch, generator=generator, dtype=torch.float64) * len(table)).long()
    return table[chosen][:, :n_tokens].clone(), table[chosen][:, 1:].clone()


# --- mlm_mask --------------------------------------------------------------------------------

_ids = ints(9, 12, 12)
bank.probe("mlm_mask", drill(drills.mask_shares, 0.15), drill(drills.mask_shares, 1.0),
           drill(drills.mask_shares, 0.15, special=True),
           drill(drills.own_randomness, _ids, 9, 9, _ids < 2, 0.5))  # fmt: skip


class _Mlm:
    """BERT's masking with everything that can go wrong as an argument."""

    def __init__(self, generator, rate):
        self.generator, self.rate = generator, rate

    def chosen(self, ids, special):
        return (torch.rand(ids.shape, generator=self.generator) < self.rate) & ~special

    def changed(self, ids, chosen, mask_id, vocab_size, mask=0.8, other=0.1):
        fate = torch.rand(ids.shape, generator=self.generator)
        drawn = torch.randint(vocab_size, ids.shape, generator=self.generator)
        new = ids.clone()
        new[chosen & (fate < mask)] = mask_id
        here = chosen & (fate >= mask) & (fate < mask + other)
        new[here] = drawn[here]
        return new, chosen & (fate >= mask + other)


@bank.wrong(
    "mlm_mask",
    "Labels are -100 only at special tokens: the model is rewarded for copying visible tokens.",
)
def labels_everywhere(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    new, _ = do.changed(ids, do.chosen(ids, special), mask_id, vocab_size)
    return new, ids.masked_fill(special, -100)


@bank.wrong("mlm_mask", "You always put the mask. 80/10/10: also random and unchanged tokens.")
def mask_always(ids, mask_id, vocab_size, special, rate, generator):
    chosen = _Mlm(generator, rate).chosen(ids, special)
    return ids.masked_fill(chosen, mask_id), ids.masked_fill(~chosen, -100)


@bank.wrong("mlm_mask", "Special tokens are chosen like all others; they are left alone.")
def special_ignored(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special & False)
    return do.changed(ids, chosen, mask_id, vocab_size)[0], ids.masked_fill(~chosen, -100)


@bank.wrong("mlm_mask", "Only special tokens are chosen: True in `special` means 'leave alone'.")
def special_turned(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, ~special)
    return do.changed(ids, chosen, mask_id, vocab_size)[0], ids.masked_fill(~chosen, -100)


@bank.wrong(
    "mlm_mask",
    "The labels are read from the changed inputs: the model is asked for the "
    "mask. They hold the original ids.",
)
def labels_from_inputs(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    new, _ = do.changed(ids, chosen, mask_id, vocab_size)
    return new, new.masked_fill(~chosen, -100)


@bank.wrong(
    "mlm_mask", "The 10 % that stay have no label; all chosen tokens are asked for, these too."
)
def unchanged_not_asked(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    new, stay = do.changed(ids, chosen, mask_id, vocab_size)
    return new, ids.masked_fill(~chosen | stay, -100)


@bank.wrong(
    "mlm_mask",
    "Only a tenth of the unmasked ones is random, 2 % of the chosen tokens; "
    "10 % of the chosen are random.",
)
def tenth_of_the_rest(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    new, _ = do.changed(ids, chosen, mask_id, vocab_size, 0.8, 0.02)
    return new, ids.masked_fill(~chosen, -100)


@bank.wrong(
    "mlm_mask",
    "None of the chosen tokens stays as it is: 80 % masked, 20 % random. It is 80/10/10.",
)
def never_unchanged(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    new, _ = do.changed(ids, chosen, mask_id, vocab_size, 0.8, 0.2)
    return new, ids.masked_fill(~chosen, -100)


@bank.wrong("mlm_mask", "Labels that do not count are -100; 0 is a token.")
def zero_labels(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    return do.changed(ids, chosen, mask_id, vocab_size)[0], ids * chosen


@bank.wrong("mlm_mask", "You change the caller's ids in place.")
def ids_changed_in_place(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    labels = ids.masked_fill(~chosen, -100)
    return ids.copy_(do.changed(ids, chosen, mask_id, vocab_size)[0]), labels


@bank.wrong("mlm_mask", "All rows are masked at the same places; draw for each token of the batch.")
def same_places_in_all_rows(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    new, _ = do.changed(ids[:1], torch.ones_like(ids[:1]).bool(), mask_id, vocab_size)
    chosen = (torch.rand(ids.shape[1], generator=generator) < rate) & ~special
    return torch.where(chosen, new, ids), ids.masked_fill(~chosen, -100)


@bank.wrong("mlm_mask", "One random id stands for all: draw an id for each place.")
def one_random_id(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(generator, rate)
    chosen = do.chosen(ids, special)
    fate = torch.rand(ids.shape, generator=generator)
    new = ids.masked_fill(chosen & (fate < 0.8), mask_id)
    drawn = torch.randint(vocab_size, (), generator=generator)
    return torch.where(chosen & (fate >= 0.9), drawn, new), ids.masked_fill(~chosen, -100)


@bank.wrong("mlm_mask", "The generator is not used everywhere: draws come from torch's global one.")
def generator_ignored_mlm(ids, mask_id, vocab_size, special, rate, generator):
    do = _Mlm(None, rate)
    chosen = do.chosen(ids, special)
    return do.changed(ids, chosen, mask_id, vocab_size)[0], ids.masked_fill(~chosen, -100)


@bank.right("mlm_mask")
def mask_by_bernoulli(ids, mask_id, vocab_size, special, rate, generator):
    p = torch.full(ids.shape, float(rate)).masked_fill(special, 0.0)
    chosen = torch.bernoulli(p, generator=generator).bool()
    masked = torch.bernoulli(torch.full(ids.shape, 0.8), generator=generator).bool() & chosen
    half = torch.bernoulli(torch.full(ids.shape, 0.5), generator=generator).bool()
    other = half & chosen & ~masked
    new, labels = ids.clone(), ids.clone()
    labels[~chosen] = -100
    new[masked] = mask_id
    new[other] = torch.randint(vocab_size, (int(other.sum()),), generator=generator).to(ids.dtype)
    return new, labels


@bank.right("mlm_mask")
def mask_by_tenths(ids, mask_id, vocab_size, special, rate, generator):
    chosen = (torch.rand(ids.shape, generator=generator) >= 1 - rate) & ~special
    tenth = torch.randint(10, ids.shape, generator=generator)
    other = torch.randint(vocab_size, ids.shape, generator=generator)
    new = torch.where(tenth < 2, torch.where(tenth == 0, other, ids), torch.full_like(ids, mask_id))
    return torch.where(chosen, new, ids), torch.where(chosen, ids, torch.full_like(ids, -100))


for _old, _new in (("fate < 0.8", "fate <= 0.8"), ("fate >= 0.9", "fate > 0.9")):
    bank.equivalent("mlm_mask", f"{_old}  =>  {_new}", "a draw meets the limit once in 2²⁴")
bank.equivalent("mlm_mask",
                "torch.rand(ids.shape, generator=generator) < rate  =>  "
                "torch.rand(ids.shape, generator=generator) <= rate",
                "a draw meets the rate once in 2²⁴")  # fmt: skip

# --- span_corrupt ----------------------------------------------------------------------------

bank.probe("span_corrupt", drill(drills.span_facts, 100, 0.15, 3.0),
           drill(drills.span_facts, 40, 0.5, 1.0), drill(drills.span_facts, 2, 0.1, 3.0),
           drill(drills.span_facts, 1, 0.15, 3.0),
           drill(drills.own_randomness, list(range(40)), 0.3, 3.0, list(range(100, 140)),
                 99))  # fmt: skip


def _parts(total, n, generator):
    cuts = (torch.randperm(total - 1, generator=generator)[: n - 1] + 1).sort().values.tolist()
    return [b - a for a, b in pairwise([0, *cuts, total])]


def _pieces(ids, rate, mean_length, generator, parts=_parts):
    """(kept, dropped) pieces in order; [] for a text of 0 or 1 tokens."""
    n = len(ids)
    if n < 2:
        return []
    go = min(max(round(n * rate), 1), n - 1)
    k = min(max(round(go / mean_length), 1), go, n - go)
    rounds, at = [], 0
    for kept, dropped in zip(parts(n - go, k, generator), parts(go, k, generator), strict=True):
        rounds.append((ids[at : at + kept], ids[at + kept : at + kept + dropped]))
        at += kept + dropped
    return rounds


def _write(ids, rounds, sentinels, eos_id):
    source, target = [] if rounds else list(ids), []
    for mark, (kept, dropped) in zip(sentinels, rounds, strict=False):
        source += [*kept, mark]
        target += [mark, *dropped]
    return source, [*target, sentinels[len(rounds)], eos_id]


@bank.wrong(
    "span_corrupt",
    "The last sentinel is missing: the target does not say where the last span ends.",
)
def last_sentinel_missing(ids, rate, mean_length, sentinels, eos_id, generator):
    source, target = _write(ids, _pieces(ids, rate, mean_length, generator), sentinels, eos_id)
    return source, [*target[:-2], eos_id]


@bank.wrong("span_corrupt", "The target has no EOS at its end.")
def no_eos(ids, rate, mean_length, sentinels, eos_id, generator):
    source, target = _write(ids, _pieces(ids, rate, mean_length, generator), sentinels, eos_id)
    return source, target[:-1]


@bank.wrong("span_corrupt", "The source ends with EOS; only the target does.")
def eos_in_the_source(ids, rate, mean_length, sentinels, eos_id, generator):
    source, target = _write(ids, _pieces(ids, rate, mean_length, generator), sentinels, eos_id)
    return [*source, eos_id], target


@bank.wrong("span_corrupt", "Each dropped token has a sentinel of its own; a span has one.")
def sentinel_for_each_token(ids, rate, mean_length, sentinels, eos_id, generator):
    source, target, used = [], [], 0
    for kept, dropped in _pieces(ids, rate, mean_length, generator):
        source += kept
        for i in dropped:
            source.append(sentinels[used])
            target += [sentinels[used], i]
            used += 1
    return source or list(ids), [*target, sentinels[used], eos_id]


@bank.wrong(
    "span_corrupt", "All spans have the same sentinel; the target cannot say which is which."
)
def one_sentinel(ids, rate, mean_length, sentinels, eos_id, generator):
    rounds = _pieces(ids, rate, mean_length, generator)
    return _write(ids, rounds, [sentinels[0]] * (len(rounds) + 1), eos_id)


@bank.wrong(
    "span_corrupt",
    "The source does not show where tokens are gone: a sentinel stands in for each span.",
)
def source_without_sentinels(ids, rate, mean_length, sentinels, eos_id, generator):
    rounds = _pieces(ids, rate, mean_length, generator)
    _, target = _write(ids, rounds, sentinels, eos_id)
    return [i for kept, _ in rounds for i in kept] or list(ids), target


@bank.wrong("span_corrupt", "The target is the whole text; it holds the dropped spans alone.")
def target_is_the_text(ids, rate, mean_length, sentinels, eos_id, generator):
    source, _ = _write(ids, _pieces(ids, rate, mean_length, generator), sentinels, eos_id)
    return source, [*ids, eos_id]


@bank.wrong("span_corrupt", "Every span has one token; mean_length has no effect.")
def mean_length_ignored(ids, rate, mean_length, sentinels, eos_id, generator):
    return _write(ids, _pieces(ids, rate, 1.0, generator), sentinels, eos_id)


@bank.wrong("span_corrupt", "The text begins with a dropped piece; a kept one comes first.")
def begins_with_a_span(ids, rate, mean_length, sentinels, eos_id, generator):
    backward = _pieces(list(ids)[::-1], rate, mean_length, generator)[::-1]
    source, target = [] if backward else list(ids), []
    for mark, (kept, dropped) in zip(sentinels, backward, strict=False):
        source += [mark, *kept[::-1]]
        target += [mark, *dropped[::-1]]
    return source, [*target, sentinels[len(backward)], eos_id]


@bank.wrong("span_corrupt", "Nothing is random: the same text is cut in the same way each time.")
def lengths_fixed(ids, rate, mean_length, sentinels, eos_id, generator):
    def even(total, n, _):
        return [total // n + (i < total % n) for i in range(n)]

    return _write(ids, _pieces(ids, rate, mean_length, generator, even), sentinels, eos_id)


@bank.wrong(
    "span_corrupt",
    "Each token is dropped or kept by itself: spans touch or have a length "
    "that mean_length does not set.",
)
def token_by_token(ids, rate, mean_length, sentinels, eos_id, generator):
    gone = (torch.rand(len(ids), generator=generator) < rate).tolist()
    source, target, used = [], [], 0
    for i, go in zip(ids, gone, strict=True):
        if go:
            source.append(sentinels[used])
            target += [sentinels[used], i]
            used += 1
        else:
            source.append(i)
    return source, [*target, sentinels[used], eos_id]


@bank.wrong("span_corrupt", "In short texts nothing is dropped: at least one token goes.")
def nothing_dropped_in_short_texts(ids, rate, mean_length, sentinels, eos_id, generator):
    rounds = _pieces(ids, rate, mean_length, generator) if round(len(ids) * rate) else []
    return _write(ids, rounds, sentinels, eos_id)


@bank.wrong("span_corrupt", "The generator is not used: draws come from torch's global one.")
def generator_ignored_spans(ids, rate, mean_length, sentinels, eos_id, generator):
    return _write(ids, _pieces(ids, rate, mean_length, None), sentinels, eos_id)


@bank.right("span_corrupt")
def spans_by_pieces(ids, rate, mean_length, sentinels, eos_id, generator):
    return _write(ids, _pieces(ids, rate, mean_length, generator), sentinels, eos_id)


@bank.right("span_corrupt")
def spans_by_a_mask(ids, rate, mean_length, sentinels, eos_id, generator):
    """Lengths by dealing one token after another to random pieces."""

    def deal(total, n):
        sizes = [1] * n
        for _ in range(total - n):
            sizes[int(torch.randint(n, (), generator=generator))] += 1
        return sizes

    n = len(ids)
    if n < 2:
        return list(ids), [sentinels[0], eos_id]
    go = max(1, min(round(rate * n), n - 1))
    k = max(1, min(round(go / mean_length), go, n - go))
    gone = [g for a, b in zip(deal(n - go, k), deal(go, k), strict=True)
            for g in [False] * a + [True] * b]  # fmt: skip
    source, target, used, before = [], [], 0, False
    for token, g in zip(ids, gone, strict=True):
        if g and not before:
            source.append(sentinels[used])
            target.append(sentinels[used])
            used += 1
        (target if g else source).append(token)
        before = g
    return source, [*target, sentinels[used], eos_id]


_go, _k = "max(round(n * rate), 1)", "max(round(go / mean_length), 1)"
for _old, _new in (
    ("max(round(n * rate), 1)", "max(1, round(n * rate))"),
    ("max(round(go / mean_length), 1)", "max(1, round(go / mean_length))"),
    (f"min({_go}, n - 1)", f"min(n - 1, {_go})"),
    (f"min({_k}, go, n - go)", f"min(go, {_k}, n - go)"),
):
    bank.equivalent("span_corrupt", f"{_old}  =>  {_new}", "the order is free")

# --- prefix_lm_mask --------------------------------------------------------------------------

bank.probe("prefix_lm_mask", call(5, 2), call(4, 0), call(3, 3))


def _causal(T):
    return torch.ones(T, T, dtype=torch.bool).tril()


@bank.wrong(
    "prefix_lm_mask",
    "The prefix is causal: its tokens do not see those of the prefix that come later.",
)
def prefix_causal(n_tokens, n_prefix):
    return _causal(n_tokens)


@bank.wrong(
    "prefix_lm_mask",
    "The prefix sees the text that is to be predicted: you opened rows where columns are meant.",
)
def prefix_sees_everything(n_tokens, n_prefix):
    mask = _causal(n_tokens)
    mask[:n_prefix] = True
    return mask


@bank.wrong("prefix_lm_mask", "The prefix is one token too long.")
def prefix_too_long(n_tokens, n_prefix):
    mask = _causal(n_tokens)
    mask[:, : n_prefix + 1] = True
    return mask


@bank.wrong("prefix_lm_mask", "The mask is turned round: True means 'may attend'.")
def mask_turned(n_tokens, n_prefix):
    mask = _causal(n_tokens)
    mask[:, :n_prefix] = True
    return ~mask


@bank.wrong("prefix_lm_mask", "Rows and columns are exchanged: rows are queries.")
def transposed(n_tokens, n_prefix):
    mask = _causal(n_tokens)
    mask[:, :n_prefix] = True
    return mask.T.contiguous()


@bank.wrong("prefix_lm_mask", "After the prefix a token does not see itself.")
def diagonal_hidden(n_tokens, n_prefix):
    mask = _causal(n_tokens).tril(-1)
    mask[:, :n_prefix] = True
    return mask


@bank.wrong(
    "prefix_lm_mask",
    "Only the prefix is seen: later tokens see themselves and what is between, too.",
)
def prefix_alone(n_tokens, n_prefix):
    mask = torch.zeros(n_tokens, n_tokens, dtype=torch.bool)
    mask[:, :n_prefix] = True
    return mask


@bank.right("prefix_lm_mask")
def prefix_by_broadcast(n_tokens, n_prefix):
    at = torch.arange(n_tokens)
    return (at[None] <= at[:, None]) | (at[None] < n_prefix)


@bank.right("prefix_lm_mask")
def prefix_block(n_tokens, n_prefix):
    mask = _causal(n_tokens)
    mask[:n_prefix, :n_prefix] = True
    return mask


# --- info_nce --------------------------------------------------------------------------------

bank.probe("info_nce", call(rand(4, 3), rand(4, 3), 0.5), call(rand(3, 5), rand(3, 5), 2.0))


def _scores(a, b, temperature):
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT / temperature


def _own(scores, **more):
    return F.cross_entropy(scores, torch.arange(len(scores)), **more)


@bank.wrong("info_nce", "Half of the symmetric loss: each a finds its b, no b its a.")
def one_direction(a, b, temperature):
    return _own(_scores(a, b, temperature))


@bank.wrong("info_nce", "Half of the symmetric loss: each b finds its a, no a its b.")
def other_direction(a, b, temperature):
    return _own(_scores(a, b, temperature).mT)


@bank.wrong("info_nce", "The two directions are added; their mean is asked for.")
def sum_of_directions(a, b, temperature):
    s = _scores(a, b, temperature)
    return _own(s) + _own(s.mT)


@bank.wrong("info_nce", "Scores are dot products; they are cosines: long vectors win otherwise.")
def not_normalised(a, b, temperature):
    s = a @ b.mT / temperature
    return (_own(s) + _own(s.mT)) / 2


@bank.wrong("info_nce", "You multiply by the temperature; scores are divided by it.")
def temperature_multiplied(a, b, temperature):
    s = _scores(a, b, 1 / temperature)
    return (_own(s) + _own(s.mT)) / 2


@bank.wrong("info_nce", "The temperature has no effect.")
def temperature_ignored(a, b, temperature):
    s = _scores(a, b, 1.0)
    return (_own(s) + _own(s.mT)) / 2


@bank.wrong("info_nce", "Losses are summed over the batch; each direction is a mean.")
def summed_over_the_batch(a, b, temperature):
    s = _scores(a, b, temperature)
    return (_own(s, reduction="sum") + _own(s.mT, reduction="sum")) / 2


@bank.wrong("info_nce", "You normalise columns; each row is a vector.")
def columns_normalised(a, b, temperature):
    s = F.normalize(a, dim=0) @ F.normalize(b, dim=0).mT / temperature
    return (_own(s) + _own(s.mT)) / 2


@bank.right("info_nce")
def nce_by_log_softmax(a, b, temperature):
    s = _scores(a, b, temperature)
    return -(s.log_softmax(0).diag() + s.log_softmax(1).diag()).mean() / 2


@bank.right("info_nce")
def nce_by_cosine(a, b, temperature):
    s = F.cosine_similarity(a[:, None], b[None], dim=-1) / temperature
    both = s.logsumexp(0) + s.logsumexp(1)
    return (both / 2 - s.diagonal()).mean()


bank.equivalent("info_nce",
                "torch.arange(len(a), device=a.device)  =>  torch.arange(len(a))",
                "the same on the CPU, where labs are graded")  # fmt: skip

# --- pack ------------------------------------------------------------------------------------

_documents = [[1, 2, 3, 4, 5], [6], [7, 8, 9], [10, 11, 12]]
bank.probe("pack", drill(drills.pack_facts, _documents, 4, 0),
           drill(drills.pack_facts, [[1, 2], [], [3, 4, 5, 6, 7, 8]], 4, 9),
           drill(drills.pack_facts, [[1, 0, 2], [3, 4]], 5, 0))  # fmt: skip


def _stream(documents, eos_id):
    ids = [i for d in documents for i in [*d, eos_id]]
    return ids, [k for k, d in enumerate(documents) for _ in range(len(d) + 1)]


def _rows(ids, segments, context_len, eos_id, padding=-1):
    missing = -len(ids) % context_len
    ids, segments = ids + [eos_id] * missing, segments + [padding] * missing
    return (torch.tensor(ids).long().view(-1, context_len),
            torch.tensor(segments).long().view(-1, context_len))  # fmt: skip


@bank.wrong("pack", "All tokens of a row have one segment: token 1 of document 2 sees document 1.")
def one_segment(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    return _rows(ids, [0] * len(segments), context_len, eos_id)


@bank.wrong("pack", "No end token between documents: the model cannot tell where one ends.")
def no_end_tokens(documents, context_len, eos_id):
    ids = [i for d in documents for i in d]
    segments = [k for k, d in enumerate(documents) for _ in d]
    return _rows(ids, segments, context_len, eos_id)


@bank.wrong("pack", "The end token belongs to the next document; it ends its own.")
def end_token_to_the_next(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    return _rows(ids, [k + (i == eos_id) for i, k in zip(ids, segments, strict=True)],
                 context_len, eos_id)  # fmt: skip


@bank.wrong("pack", "The end token comes before each document; it comes after it.")
def end_token_first(documents, context_len, eos_id):
    ids = [i for d in documents for i in [eos_id, *d]]
    return _rows(ids, _stream(documents, eos_id)[1], context_len, eos_id)


@bank.wrong("pack", "The incomplete last row is dropped: its tokens are lost.")
def last_row_dropped(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    n = len(ids) // context_len * context_len
    return _rows(ids[:n], segments[:n], context_len, eos_id)


@bank.wrong("pack", "Padding carries the segment of the last document; it is -1.")
def padding_without_a_mark(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    return _rows(ids, segments, context_len, eos_id, padding=segments[-1])


@bank.wrong("pack", "Each document begins a row of its own: that is padding, not packing.")
def a_row_for_each_document(documents, context_len, eos_id):
    rows = [_rows([*d, eos_id], [k] * (len(d) + 1), context_len, eos_id)
            for k, d in enumerate(documents)]  # fmt: skip
    return tuple(torch.cat(part) for part in zip(*rows, strict=True))


@bank.wrong("pack", "A row that is full is followed by one row of padding too many.")
def a_row_too_many(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    missing = context_len - len(ids) % context_len
    return _rows(ids + [eos_id] * missing, segments + [-1] * missing, context_len, eos_id)


@bank.wrong("pack", "Documents are cut off at a row's end; a long one goes on in the next row.")
def long_documents_cut(documents, context_len, eos_id):
    short = [d[: context_len - 1] for d in documents]
    return _rows(*_stream(short, eos_id), context_len, eos_id)


@bank.wrong(
    "pack",
    "Segments are counted by end tokens, so a text that holds one itself is torn; count documents.",
)
def segments_by_end_tokens(documents, context_len, eos_id):
    ids, _ = _stream(documents, eos_id)
    ended, segments = 0, []
    for i in ids:
        segments.append(ended)
        ended += i == eos_id
    return _rows(ids, segments, context_len, eos_id)


@bank.wrong("pack", "All tokens of a row have one segment: token 1 of document 2 sees document 1.")
def segments_are_rows(documents, context_len, eos_id):
    ids, _ = _stream(documents, eos_id)
    return _rows(ids, [i // context_len for i in range(len(ids))], context_len, eos_id)


@bank.right("pack")
def pack_row_by_row(documents, context_len, eos_id):
    ids, segments = _stream(documents, eos_id)
    rows, marks = [], []
    for start in range(0, len(ids), context_len):
        row, mark = ids[start : start + context_len], segments[start : start + context_len]
        more = context_len - len(row)
        rows.append(row + [eos_id] * more)
        marks.append([m - min(mark) for m in mark] + [-1] * more)  # counted from 0 in each row
    return torch.tensor(rows), torch.tensor(marks)


@bank.right("pack")
def pack_with_tensors(documents, context_len, eos_id):
    sizes = torch.tensor([len(d) + 1 for d in documents])
    n = int(sizes.sum())
    n_rows = math.ceil(n / context_len)
    ids = torch.full((n_rows * context_len,), eos_id)
    segments = torch.full_like(ids, -1)
    ids[:n] = torch.tensor([i for d in documents for i in (*d, eos_id)])
    segments[:n] = torch.arange(len(documents)).repeat_interleave(sizes) * 3 + 5
    return ids.reshape(n_rows, context_len), segments.reshape(n_rows, context_len)


# --- lm_loss ---------------------------------------------------------------------------------

_targets = ints(5, 2, 4)
_targets[0, 1] = _targets[1, 3] = -100
bank.probe("lm_loss", call(rand(2, 4, 5), _targets.clamp(min=0)), call(rand(2, 4, 5), _targets),
           call(rand(1, 3, 5), torch.full((1, 3), -100)))  # fmt: skip


def _loss(logits, targets, **more):
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), **more)


@bank.wrong("lm_loss", "The loss is the mean; the sum is asked for.")
def mean_in_place_of_sum(logits, targets):
    return _loss(logits, targets), int((targets != -100).sum())


@bank.wrong("lm_loss", "You move the targets once more: the model predicts the token after next.")
def shifted_inside(logits, targets):
    ahead = targets[:, 1:]
    return _loss(logits[:, :-1], ahead, reduction="sum"), int((ahead != -100).sum())


@bank.wrong("lm_loss", "The count includes targets of -100.")
def all_counted(logits, targets):
    return _loss(logits, targets, reduction="sum"), targets.numel()


@bank.wrong("lm_loss", "The count is the number of rows; it is the number of targets.")
def rows_counted(logits, targets):
    return _loss(logits, targets, reduction="sum"), len(targets)


@bank.wrong("lm_loss", "Targets of -100 are scored as if they were token 0.")
def ignored_scored(logits, targets):
    return _loss(logits, targets.clamp(min=0), reduction="sum"), int((targets != -100).sum())


@bank.wrong("lm_loss", "The loss is in bits; nats are asked for.")
def loss_in_bits(logits, targets):
    return _loss(logits, targets, reduction="sum") / math.log(2), int((targets != -100).sum())


@bank.wrong("lm_loss", "A softmax before cross_entropy: it takes logits and does that itself.")
def softmax_twice(logits, targets):
    return _loss(logits.softmax(-1), targets, reduction="sum"), int((targets != -100).sum())


@bank.wrong(
    "lm_loss", "Logits are reshaped where they should be transposed: positions and classes mix."
)
def reshaped(logits, targets):
    B, T, V = logits.shape
    loss = F.cross_entropy(logits.reshape(B, V, T), targets, reduction="sum")
    return loss, int((targets != -100).sum())


@bank.right("lm_loss")
def loss_by_gather(logits, targets):
    counts = targets != -100
    p = logits.log_softmax(-1).gather(-1, targets.clamp(min=0).unsqueeze(-1)).squeeze(-1)
    return -(p * counts).sum(), counts.sum().item()


@bank.right("lm_loss")
def loss_with_classes_second(logits, targets):
    loss = F.cross_entropy(logits.transpose(1, 2), targets, ignore_index=-100, reduction="none")
    return loss.sum(), targets.numel() - int((targets == -100).sum())


# --- adamw_step ------------------------------------------------------------------------------

_w = [rand(3), rand(2, 2)]
_g = [[rand(3), rand(2, 2)] for _ in range(4)]
_small = [[1e-8 * g for g in now] for now in _g]
bank.probe("adamw_step", drill(drills.adamw_path, _w, _g, 0.1, weight_decay=0.0),
           drill(drills.adamw_path, _w, _g, 0.1, (0.9, 0.95), 1e-8, 0.5),
           drill(drills.adamw_path, [1e-3 * w for w in _w], _small, 1e-3, weight_decay=0.0),
           drill(drills.adamw_gradient, _w[0], _g[0][0]))  # fmt: skip


class _AdamW:
    """AdamW in pieces; a mistake is a piece that is another one."""

    def __call__(self, param, grad, state, lr, betas, eps, weight_decay):
        with torch.no_grad():
            grad = self.gradient(grad, param, weight_decay)
            state["t"] = state.get("t", self.first) + 1
            for key, beta, value in zip("mv", self.order(betas), (grad, self.square(grad)),
                                        strict=True):  # fmt: skip
                state[key] = beta * state.get(key, torch.zeros_like(grad)) + (1 - beta) * value
            self.move(param, state, lr, self.order(betas), eps, weight_decay)

    first = 0

    def order(self, betas):
        return betas

    def gradient(self, grad, param, weight_decay):
        return grad

    def square(self, grad):
        return grad * grad

    def move(self, param, state, lr, betas, eps, weight_decay):
        param -= lr * weight_decay * param
        param -= lr * self.step(state["m"], state["v"], state["t"], betas, eps)

    def step(self, m, v, t, betas, eps):
        return m / (1 - betas[0] ** t) / ((v / (1 - betas[1] ** t)).sqrt() + eps)


def adam(name: str, diagnosis: str = ""):
    """Register a subclass of _AdamW as a version called `name`."""

    def keep(kind):
        made = kind()

        def version(param, grad, state, lr, betas, eps, weight_decay):
            return made(param, grad, state, lr, betas, eps, weight_decay)

        version.__name__ = name
        register = bank.wrong("adamw_step", diagnosis) if diagnosis else bank.right("adamw_step")
        register(version)
        return kind

    return keep


@adam(
    "bias_correction_missing",
    "Bias correction is missing: first steps are about 3 times too large, with the usual betas.",
)
class NoCorrection(_AdamW):
    def step(self, m, v, t, betas, eps):
        return m / (v.sqrt() + eps)


@adam("correction_of_m_alone", "The bias of v is not corrected: first steps are far too large.")
class OnlyM(_AdamW):
    def step(self, m, v, t, betas, eps):
        return m / (1 - betas[0] ** t) / (v.sqrt() + eps)


@adam("correction_of_v_alone", "The bias of m is not corrected: first steps are far too small.")
class OnlyV(_AdamW):
    def step(self, m, v, t, betas, eps):
        return m / ((v / (1 - betas[1] ** t)).sqrt() + eps)


@adam(
    "eps_inside_the_root",
    "eps is inside the root. That matters when gradients are near 1e-8: your steps are too small.",
)
class EpsInside(_AdamW):
    def step(self, m, v, t, betas, eps):
        return m / (1 - betas[0] ** t) / (v / (1 - betas[1] ** t) + eps).sqrt()


@adam(
    "eps_before_the_correction",
    "eps is added to √v before the correction; torch adds it after. "
    "It matters when gradients are tiny.",
)
class EpsFirst(_AdamW):
    def step(self, m, v, t, betas, eps):
        return m / (1 - betas[0] ** t) / ((v.sqrt() + eps) / (1 - betas[1] ** t) ** 0.5)


@adam(
    "decay_through_the_gradient",
    "The decay is added to the gradient: that is Adam with L2, not AdamW.",
)
class WithL2(_AdamW):
    def gradient(self, grad, param, weight_decay):
        return grad + weight_decay * param

    def move(self, param, state, lr, betas, eps, weight_decay):
        param -= lr * self.step(state["m"], state["v"], state["t"], betas, eps)


@adam("no_decay", "The weights do not decay.")
class NoDecay(_AdamW):
    def move(self, param, state, lr, betas, eps, weight_decay):
        param -= lr * self.step(state["m"], state["v"], state["t"], betas, eps)


@adam("decay_without_the_rate", "The decay is not multiplied by the learning rate.")
class DecayWithoutRate(_AdamW):
    def move(self, param, state, lr, betas, eps, weight_decay):
        super().move(param, state, lr, betas, eps, weight_decay / lr)


@adam(
    "decay_after_the_step",
    "The decay comes after the step and shrinks the step as well; in torch it comes first.",
)
class DecayLast(_AdamW):
    def move(self, param, state, lr, betas, eps, weight_decay):
        param -= lr * self.step(state["m"], state["v"], state["t"], betas, eps)
        param *= 1 - lr * weight_decay


@adam("betas_exchanged", "The betas are exchanged: the first is for m, the second for v.")
class BetasExchanged(_AdamW):
    def order(self, betas):
        return betas[::-1]


@adam("steps_counted_from_zero", "In the first step t is 0, and 1 - β⁰ is 0; t counts from 1.")
class FromZero(_AdamW):
    first = -1


@adam("t_stays_one", "t is 1 in every step: the correction never fades.")
class StaysOne(_AdamW):
    def step(self, m, v, t, betas, eps):
        return super().step(m, v, 1, betas, eps)


@adam(
    "v_without_the_square", "v is the mean of |g|, not of its square; its root has the wrong size."
)
class Absolute(_AdamW):
    def square(self, grad):
        return grad.abs()


@adam("uphill", "The step goes uphill: it is subtracted.")
class Uphill(_AdamW):
    def step(self, m, v, t, betas, eps):
        return -super().step(m, v, t, betas, eps)


@bank.wrong(
    "adamw_step",
    "The state is lost after each call: you bind the name to a new dict; "
    "write into the one you are given.",
)
def state_lost(param, grad, state, lr, betas, eps, weight_decay):
    _AdamW()(param, grad, {}, lr, betas, eps, weight_decay)


@bank.wrong("adamw_step", "The parameter is not changed: a new tensor is computed and forgotten.")
def param_not_changed(param, grad, state, lr, betas, eps, weight_decay):
    param = param.detach().clone()
    _AdamW()(param, grad, state, lr, betas, eps, weight_decay)
    return param


@bank.wrong("adamw_step", "The gradient is changed in place; the caller's must stay as it is.")
def gradient_changed(param, grad, state, lr, betas, eps, weight_decay):
    _AdamW()(param, grad, state, lr, betas, eps, weight_decay)
    grad.mul_(1 - betas[0])


@adam("adam_in_pieces")
class RightAdamW(_AdamW):
    pass


@bank.right("adamw_step")
def adam_as_in_torch(param, grad, state, lr, betas, eps, weight_decay):
    if not state:
        state.update(step=0, exp_avg=torch.zeros_like(grad), exp_avg_sq=torch.zeros_like(grad))
    state["step"] += 1
    state["exp_avg"].lerp_(grad, 1 - betas[0])
    state["exp_avg_sq"].mul_(betas[1]).addcmul_(grad, grad, value=1 - betas[1])
    first, second = (1 - beta ** state["step"] for beta in betas)
    data = param.data
    data.mul_(1 - lr * weight_decay)
    root = (state["exp_avg_sq"].sqrt() / second**0.5).add_(eps)
    data.addcdiv_(state["exp_avg"], root, value=-lr / first)


# --- lr_at -----------------------------------------------------------------------------------

bank.probe("lr_at", *[call(step, 2.0, 4, 12, 0.2) for step in (2, 4, 7, 12)],
           call(0, 2.0, 4, 12, 0.2), call(17, 2.0, 4, 12, 0.2), call(0, 2.0, 0, 8, 0.0))  # fmt: skip


def _cosine(done, peak, floor):
    return floor + (peak - floor) * (1 + math.cos(math.pi * done)) / 2


def _schedule(step, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    return _cosine(min((step - warmup) / (total - warmup), 1), peak, floor)


@bank.wrong(
    "lr_at", "Off by one: step 0 has rate 0 only if warm-up says so, and step 1 is the second."
)
def counted_from_one(step, peak, warmup, total, floor):
    return _schedule(step + 1, peak, warmup, total, floor)


@bank.wrong("lr_at", "The rate falls to 0; it falls to the floor.")
def floor_ignored(step, peak, warmup, total, floor):
    return _schedule(step, peak, warmup, total, 0.0)


@bank.wrong(
    "lr_at",
    "The rate falls to 0 and is then cut at the floor; the cosine itself ends at the floor.",
)
def cut_at_the_floor(step, peak, warmup, total, floor):
    rate = _schedule(step, peak, warmup, total, 0.0)
    return rate if step < warmup else max(rate, floor)


@bank.wrong(
    "lr_at", "The cosine begins at step 0, not at the end of the warm-up: the rate jumps there."
)
def cosine_from_step_zero(step, peak, warmup, total, floor):
    return peak * step / warmup if step < warmup else _cosine(min(step / total, 1), peak, floor)


@bank.wrong("lr_at", "After the end the rate rises again: a cosine is periodic. The floor stays.")
def rises_again(step, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    return _cosine((step - warmup) / (total - warmup), peak, floor)


@bank.wrong("lr_at", "The rate falls on a straight line; half a cosine is asked for.")
def straight_line(step, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    return peak + (floor - peak) * min((step - warmup) / (total - warmup), 1)


@bank.wrong(
    "lr_at", "A quarter of a cosine: it falls steeply at the end; half a cosine is flat there."
)
def quarter_cosine(step, peak, warmup, total, floor):
    if step < warmup:
        return peak * step / warmup
    done = min((step - warmup) / (total - warmup), 1)
    return floor + (peak - floor) * math.cos(math.pi / 2 * done)


@bank.wrong("lr_at", "There is no warm-up.")
def no_warmup(step, peak, warmup, total, floor):
    return _cosine(min(max(step - warmup, 0) / (total - warmup), 1), peak, floor)


@bank.wrong("lr_at", "The warm-up begins at the floor; it begins at 0.")
def warmup_from_the_floor(step, peak, warmup, total, floor):
    if step < warmup:
        return floor + (peak - floor) * step / warmup
    return _schedule(step, peak, warmup, total, floor)


@bank.right("lr_at")
def schedule_by_cases(step, peak, warmup, total, floor):
    if step >= total:
        return floor
    if warmup and step <= warmup:
        return step / warmup * peak
    return _cosine((step - warmup) / (total - warmup), peak, floor)


@bank.right("lr_at")
def schedule_by_a_square(step, peak, warmup, total, floor):
    rising = 1.0 if warmup == 0 else min(step / warmup, 1.0)
    done = min(max(step - warmup, 0) / (total - warmup), 1.0)
    share = math.cos(math.pi * done / 2) ** 2
    return rising * (share * peak + (1 - share) * floor)


bank.equivalent(
    "lr_at",
    "min((step - warmup) / (total - warmup), 1)  =>  min(1, (step - warmup) / (total - warmup))",
    "the order is free",
)

# --- clip_gradients --------------------------------------------------------------------------

_long = [rand(3), None, rand(2, 2)]
bank.probe("clip_gradients", drill(drills.clipped, [torch.tensor([3.0]), torch.tensor([4.0])], 2.0),
           drill(drills.clipped, [torch.tensor([0.3]), torch.tensor([0.4])], 2.0),
           drill(drills.clipped, _long, 0.1), drill(drills.clipped, [None], 1.0))  # fmt: skip


def _norm(parameters):
    return math.sqrt(sum(p.grad.square().sum().item() for p in parameters if p.grad is not None))


def _scale(parameters, factor):
    for p in parameters:
        if p.grad is not None:
            p.grad.mul_(factor)


@bank.wrong(
    "clip_gradients",
    "Small gradients are stretched to max_norm. Below the limit the gradient must not change.",
)
def always_rescaled(parameters, max_norm):
    norm = _norm(parameters)
    _scale(parameters, max_norm / (norm + 1e-6))
    return norm


@bank.wrong(
    "clip_gradients",
    "Each parameter is clipped for itself; the limit is on the norm of all gradients together.",
)
def clipped_one_by_one(parameters, max_norm):
    total = _norm(parameters)
    for p in parameters:
        _scale([p], min(1.0, max_norm / (_norm([p]) + 1e-6)))
    return total


@bank.wrong(
    "clip_gradients",
    "Entries are cut at max_norm; that changes the direction. All are multiplied by one factor.",
)
def clipped_by_value(parameters, max_norm):
    norm = _norm(parameters)
    for p in parameters:
        if p.grad is not None:
            p.grad.clamp_(-max_norm, max_norm)
    return norm


@bank.wrong("clip_gradients", "The root is missing: you compare the sum of squares.")
def root_missing(parameters, max_norm):
    norm = _norm(parameters) ** 2
    _scale(parameters, min(1.0, max_norm / (norm + 1e-6)))
    return norm


@bank.wrong(
    "clip_gradients",
    "The norms of the parameters are added; their squares are, and then the root is taken.",
)
def norms_added(parameters, max_norm):
    norm = float(sum(_norm([p]) for p in parameters))
    _scale(parameters, min(1.0, max_norm / (norm + 1e-6)))
    return norm


@bank.wrong("clip_gradients", "You return the norm after clipping; the one before is asked for.")
def norm_after(parameters, max_norm):
    _scale(parameters, min(1.0, max_norm / (_norm(parameters) + 1e-6)))
    return _norm(parameters)


@bank.wrong("clip_gradients", "The result is a tensor; a float is asked for.")
def norm_as_a_tensor(parameters, max_norm):
    norm = _norm(parameters)
    _scale(parameters, min(1.0, max_norm / (norm + 1e-6)))
    return torch.tensor(norm)


@bank.wrong("clip_gradients", "Nothing is clipped: the norm is returned and the gradients stay.")
def nothing_clipped(parameters, max_norm):
    return _norm(parameters)


@bank.wrong("clip_gradients", "You scale the parameters themselves; it is their gradients.")
def parameters_scaled(parameters, max_norm):
    norm = _norm(parameters)
    for p in parameters:
        p.data.mul_(min(1.0, max_norm / (norm + 1e-6)))
    return norm


@bank.wrong("clip_gradients", "A parameter without a gradient (None) ends in an error.")
def none_not_expected(parameters, max_norm):
    norm = math.sqrt(sum(p.grad.square().sum().item() for p in parameters))
    _scale(parameters, min(1.0, max_norm / (norm + 1e-6)))
    return norm


@bank.right("clip_gradients")
def clip_with_torch(parameters, max_norm):
    return float(nn.utils.clip_grad_norm_(parameters, max_norm))


@bank.right("clip_gradients")
def clip_by_one_long_vector(parameters, max_norm):
    kept = [p for p in parameters if p.grad is not None]
    if not kept:
        return 0.0
    norm = torch.cat([p.grad.flatten().double() for p in kept]).norm().item()
    if norm + 1e-6 > max_norm:
        for p in kept:
            p.grad = p.grad * (max_norm / (norm + 1e-6))
    return norm


bank.equivalent(
    "clip_gradients",
    "min(1.0, max_norm / (norm + 1e-06))  =>  min(max_norm / (norm + 1e-06), 1.0)",
    "the order is free",
)
bank.equivalent(
    "clip_gradients",
    "g.square().sum().item()  =>  (g.square().sum())",
    "math.sqrt takes a tensor of one number, too",
)

# --- train_step ------------------------------------------------------------------------------


def _piece(rows, share=0.0):
    x, y = ints(4, rows, 5), ints(4, rows, 5)
    return x, y.masked_fill(torch.rand(rows, 5, generator=gen) < share, -100)


_table = rand(4, 4)
_even = [[_piece(2)], [_piece(2)]]
_several = [[_piece(2), _piece(2)], [_piece(2), _piece(2)]]
_uneven = [[_piece(1, 0.5), _piece(3)], [_piece(3, 0.6), _piece(1)]]
bank.probe("train_step", drill(drills.train_steps, _table, _even, 100.0),
           drill(drills.train_steps, _table, _several, 100.0),
           drill(drills.train_steps, _table, _uneven, 100.0),
           drill(drills.train_steps, _table, _several, 0.05),
           drill(drills.train_steps, _table, _even, 100.0, stale=3.0),
           drill(drills.train_steps, _table, _even, 100.0, dropout=1.0),
           drill(drills.train_steps, _table, _even, 100.0, training=False, dropout=1.0))  # fmt: skip


def _summed(model, x, y):
    return F.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="sum")


def _counted(*batches):
    return sum(int((y != -100).sum()) for _, y in batches)


def _accumulate(model, batches, divide=None):
    """Backward through all micro-batches; the mean loss per target."""
    n, total = divide or _counted(*batches), 0.0
    for x, y in batches:
        loss = _summed(model, x, y) / n
        loss.backward()
        total += loss.item()
    return total


@bank.wrong(
    "train_step",
    "The mean of the micro-batches' means: short micro-batches weigh too much. "
    "Divide by the number of all targets.",
)
def mean_of_means(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = _summed(model, x, y) / max(_counted((x, y)), 1) / len(micro_batches)
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


@bank.wrong(
    "train_step",
    "The micro-batches' means are added up: with k micro-batches gradient and "
    "loss are k times too large.",
)
def sum_of_means(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    total = 0.0
    for x, y in micro_batches:
        loss = _summed(model, x, y) / max(_counted((x, y)), 1)
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


@bank.wrong("train_step", "The gradient is that of the summed loss; it is the mean per target.")
def gradient_of_the_sum(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    total = _accumulate(model, micro_batches, divide=1)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total / _counted(*micro_batches)


@bank.wrong("train_step", "Old gradients are not forgotten: zero_grad is missing.")
def no_zero_grad(model, optimizer, micro_batches, max_norm):
    loss = _accumulate(model, micro_batches)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss


@bank.wrong(
    "train_step", "Gradients are set to zero before each micro-batch: only the last one counts."
)
def zero_grad_in_the_loop(model, optimizer, micro_batches, max_norm):
    n, total = _counted(*micro_batches), 0.0
    for x, y in micro_batches:
        optimizer.zero_grad()
        loss = _summed(model, x, y) / n
        loss.backward()
        total += loss.item()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


@bank.wrong("train_step", "The optimizer steps after each micro-batch; it steps once, at the end.")
def step_in_the_loop(model, optimizer, micro_batches, max_norm):
    n, total = _counted(*micro_batches), 0.0
    for x, y in micro_batches:
        optimizer.zero_grad()
        loss = _summed(model, x, y) / n
        loss.backward()
        total += loss.item()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        optimizer.step()
    return total


@bank.wrong(
    "train_step",
    "The gradient is not clipped: the call is missing, or it comes before backward, when there is "
    "nothing to clip yet.",
)
def not_clipped(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    loss = _accumulate(model, micro_batches)
    optimizer.step()
    return loss


@bank.wrong(
    "train_step",
    "The gradient is not clipped: the call is missing, or it comes before backward, when there is "
    "nothing to clip yet.",
)
def clipped_before_backward(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    loss = _accumulate(model, micro_batches)
    optimizer.step()
    return loss


@bank.wrong("train_step", "You clip after each micro-batch; the limit is on the whole gradient.")
def clipped_in_the_loop(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    n, total = _counted(*micro_batches), 0.0
    for x, y in micro_batches:
        loss = _summed(model, x, y) / n
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
        total += loss.item()
    optimizer.step()
    return total


@bank.wrong("train_step", "The optimizer never steps.")
def no_step(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    loss = _accumulate(model, micro_batches)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    return loss


@bank.wrong("train_step", "The loss is that of the last micro-batch alone.")
def last_loss_returned(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    _accumulate(model, micro_batches)
    with torch.no_grad():
        last = _summed(model, *micro_batches[-1]).item() / max(_counted(micro_batches[-1]), 1)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return last


@bank.wrong("train_step", "The loss is computed after the update; the one before it is asked for.")
def loss_after_the_update(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    _accumulate(model, micro_batches)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    with torch.no_grad():
        total = sum(_summed(model, x, y).item() for x, y in micro_batches)
    return total / _counted(*micro_batches)


@bank.wrong("train_step", "The loss is a tensor, which keeps its graph in memory; return a float.")
def loss_as_a_tensor(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    n = _counted(*micro_batches)
    total = sum(_summed(model, x, y) for x, y in micro_batches) / n
    total.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return total


@bank.wrong(
    "train_step",
    "You set the model to train mode, so dropout stays on and two evaluations differ; the mode "
    "is the caller's business.",
)
def mode_set(model, optimizer, micro_batches, max_norm):
    model.train()
    return train_with_torch(model, optimizer, micro_batches, max_norm)


@bank.wrong("train_step", "You set the model to eval mode: dropout is off while training.")
def eval_mode(model, optimizer, micro_batches, max_norm):
    model.eval()
    return train_with_torch(model, optimizer, micro_batches, max_norm)


@bank.right("train_step")
def train_with_torch(model, optimizer, micro_batches, max_norm):
    optimizer.zero_grad()
    loss = _accumulate(model, micro_batches)
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss


@bank.right("train_step")
def train_dividing_at_the_end(model, optimizer, micro_batches, max_norm):
    for p in model.parameters():
        p.grad = None
    n, total = 0, 0.0
    for x, y in micro_batches:
        loss = F.cross_entropy(model(x).mT, y, reduction="sum")
        loss.backward()
        n, total = n + (y != -100).sum().item(), total + float(loss.detach())
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    for g in grads:
        g.div_(n)
    norm = torch.stack([g.norm() for g in grads]).norm().item()
    for g in grads:
        g.mul_(min(1, max_norm / (norm + 1e-6)))
    optimizer.step()
    return total / n


# --- perplexity and bits per byte ------------------------------------------------------------

bank.probe("perplexity", call(6.0, 4), call(0.5, 1), call(0.0, 3))
bank.probe("bits_per_byte", call(6.0, 4), call(0.5, 1))


@bank.wrong("perplexity", "2 to the power of nats: exp of nats, or 2 to the bits; not mixed.")
def perplexity_in_base_two(loss_sum, n_targets):
    return 2 ** (loss_sum / n_targets)


@bank.wrong("perplexity", "You take exp of the sum; it is exp of the mean.")
def exp_of_the_sum(loss_sum, n_targets):
    return math.exp(loss_sum)


@bank.wrong("perplexity", "That is the mean loss; perplexity is its exp.")
def no_exp(loss_sum, n_targets):
    return loss_sum / n_targets


@bank.wrong("perplexity", "exp of minus the loss is the mean probability; perplexity is 1 over it.")
def probability(loss_sum, n_targets):
    return math.exp(-loss_sum / n_targets)


@bank.wrong("perplexity", "You divide after exp; the mean comes first.")
def divided_after_exp(loss_sum, n_targets):
    return math.exp(loss_sum) / n_targets


@bank.right("perplexity")
def perplexity_by_power(loss_sum, n_targets):
    return math.e ** (loss_sum / n_targets)


@bank.right("perplexity")
def perplexity_by_bits(loss_sum, n_targets):
    return 2 ** (loss_sum / math.log(2) / n_targets)


@bank.wrong("bits_per_byte", "These are nats per byte; a bit is ln 2 nats.")
def nats_per_byte(loss_sum, n_bytes):
    return loss_sum / n_bytes


@bank.wrong("bits_per_byte", "You multiply by ln 2; nats are divided by it.")
def multiplied_by_ln_2(loss_sum, n_bytes):
    return loss_sum * math.log(2) / n_bytes


@bank.wrong("bits_per_byte", "You divide by 8 as well: these are bits per bit of text.")
def bits_per_bit(loss_sum, n_bytes):
    return loss_sum / math.log(2) / n_bytes / 8


@bank.wrong("bits_per_byte", "That is a perplexity per byte; bits are its logarithm.")
def perplexity_per_byte(loss_sum, n_bytes):
    return math.exp(loss_sum / n_bytes)


@bank.wrong("bits_per_byte", "These are the bits of the whole text; divide by its bytes.")
def bits_of_the_text(loss_sum, n_bytes):
    return loss_sum / math.log(2)


@bank.right("bits_per_byte")
def bits_by_log2_of_e(loss_sum, n_bytes):
    return loss_sum * math.log2(math.e) / n_bytes


@bank.right("bits_per_byte")
def bits_of_the_perplexity(loss_sum, n_bytes):
    return math.log2(math.exp(loss_sum / n_bytes))


# --- checkpoints -----------------------------------------------------------------------------

bank.probe("save_checkpoint", drill(drills.saved, 3, 5))
bank.probe("load_checkpoint", drill(drills.loaded, 3, 5), drill(drills.loaded, 3, 5, 4))


def _state(model, optimizer, step, generator):
    return {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step,
            "generator": generator.get_state()}  # fmt: skip


def _without(key):
    return lambda *parts: {k: v for k, v in _state(*parts).items() if k != key}


@bank.wrong(
    "save_checkpoint", "The generator's state is not saved: after resume the data order differs."
)
def generator_not_saved(path, model, optimizer, step, generator):
    torch.save(_without("generator")(model, optimizer, step, generator), path)


@bank.wrong("save_checkpoint", "The optimizer is not saved: its means begin at 0 again.")
def optimizer_not_saved(path, model, optimizer, step, generator):
    torch.save(_without("optimizer")(model, optimizer, step, generator), path)


@bank.wrong(
    "save_checkpoint", "Only the weights are saved: optimizer, step and generator are lost."
)
def only_the_model(path, model, optimizer, step, generator):
    torch.save({"model": model.state_dict()}, path)


@bank.wrong("save_checkpoint", "The step is not saved: the schedule begins anew.")
def step_not_saved(path, model, optimizer, step, generator):
    torch.save(_without("step")(model, optimizer, step, generator), path)


@bank.wrong(
    "save_checkpoint",
    "The generator's first state is saved (its seed), not where it is "
    "now: after resume the batches of step 0 come again.",
)
def seed_saved(path, model, optimizer, step, generator):
    fresh = torch.Generator().manual_seed(generator.initial_seed())
    torch.save(_state(model, optimizer, step, fresh), path)


@bank.wrong("save_checkpoint", "The step is one too high: it is saved as it is given.")
def step_plus_one(path, model, optimizer, step, generator):
    torch.save(_state(model, optimizer, step + 1, generator), path)


@bank.wrong("save_checkpoint", "A file that is there already is kept; it must be replaced.")
def not_overwritten(path, model, optimizer, step, generator):
    if not Path(path).exists():
        torch.save(_state(model, optimizer, step, generator), path)


@bank.right("save_checkpoint")
def saved_through_a_second_file(path, model, optimizer, step, generator):
    beside = Path(path).with_suffix(".new")
    torch.save(_state(model, optimizer, step, generator), beside)
    beside.replace(path)


@bank.right("save_checkpoint")
def saved_to_an_open_file(path, model, optimizer, step, generator):
    with open(path, "wb") as file:
        torch.save(_state(model, optimizer, int(step), generator), file)


@bank.wrong("load_checkpoint", "The generator is not set: after resume the data order differs.")
def generator_not_set(path, model, optimizer, generator):
    held = torch.load(path)
    model.load_state_dict(held["model"])
    optimizer.load_state_dict(held["optimizer"])
    return held["step"]


@bank.wrong(
    "load_checkpoint",
    "The optimizer is not loaded: its means and its rate are those of the run before.",
)
def optimizer_not_loaded(path, model, optimizer, generator):
    held = torch.load(path)
    model.load_state_dict(held["model"])
    generator.set_state(held["generator"])
    return held["step"]


@bank.wrong("load_checkpoint", "The weights are not loaded.")
def model_not_loaded(path, model, optimizer, generator):
    held = torch.load(path)
    optimizer.load_state_dict(held["optimizer"])
    generator.set_state(held["generator"])
    return held["step"]


@bank.wrong("load_checkpoint", "Only the weights are loaded.")
def only_the_weights(path, model, optimizer, generator):
    held = torch.load(path)
    model.load_state_dict(held["model"])
    return held["step"]


@bank.wrong(
    "load_checkpoint",
    "The optimizer keeps its own learning rate; the saved one is part of the state.",
)
def own_rate_kept(path, model, optimizer, generator):
    rates = [group["lr"] for group in optimizer.param_groups]
    step = everything_loaded(path, model, optimizer, generator)
    for group, rate in zip(optimizer.param_groups, rates, strict=True):
        group["lr"] = rate
    return step


@bank.wrong("load_checkpoint", "The step is one too high: it is returned as it was saved.")
def next_step_returned(path, model, optimizer, generator):
    return everything_loaded(path, model, optimizer, generator) + 1


@bank.wrong("load_checkpoint", "Nothing is returned; the step is asked for.")
def nothing_returned(path, model, optimizer, generator):
    everything_loaded(path, model, optimizer, generator)


@bank.right("load_checkpoint")
def everything_loaded(path, model, optimizer, generator):
    held = torch.load(path, map_location="cpu", weights_only=True)
    for part, name in ((model, "model"), (optimizer, "optimizer")):
        part.load_state_dict(held[name])
    generator.set_state(held["generator"])
    return int(held["step"])


@bank.right("load_checkpoint")
def loaded_with_copies(path, model, optimizer, generator):
    with open(path, "rb") as file:
        held = torch.load(file)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            value.copy_(held["model"][name])
    optimizer.load_state_dict(held["optimizer"])
    generator.set_state(held["generator"].clone())
    return held["step"]


# --- all_reduce_mean -------------------------------------------------------------------------

bank.probe("all_reduce_mean",
           call([[rand(2), rand(2, 2)], [rand(2), rand(2, 2)]], [1.0, 3.0]),
           call([[rand(3)], [rand(3)], [rand(3)]], [2.0, 0.0, 5.0]))  # fmt: skip


def _weighted(grads, weights):
    columns = zip(*grads, strict=True)
    return [sum(w * g for w, g in zip(weights, c, strict=True)) for c in columns]


@bank.wrong("all_reduce_mean", "You divide by the number of workers; it is the sum of the weights.")
def divided_by_workers(grads, weights):
    return [g / len(grads) for g in _weighted(grads, weights)]


@bank.wrong("all_reduce_mean", "The weighted gradients are added and not divided.")
def not_divided(grads, weights):
    return _weighted(grads, weights)


@bank.wrong("all_reduce_mean", "The plain mean of the workers: the weights have no effect.")
def weights_ignored(grads, weights):
    return [torch.stack(c).mean(0) for c in zip(*grads, strict=True)]


@bank.wrong("all_reduce_mean", "The sum of the workers: the weights have no effect.")
def summed_only(grads, weights):
    return [torch.stack(c).sum(0) for c in zip(*grads, strict=True)]


@bank.wrong(
    "all_reduce_mean", "The result is one list per worker; it is one gradient for each parameter."
)
def a_list_for_each_worker(grads, weights):
    mean = [g / sum(weights) for g in _weighted(grads, weights)]
    return [mean for _ in grads]


@bank.wrong("all_reduce_mean", "You divide by the weight where you should multiply.")
def divided_by_the_weight(grads, weights):
    columns = zip(*grads, strict=True)
    return [sum(g / w for w, g in zip(weights, c, strict=True)) / sum(weights) for c in columns]


@bank.right("all_reduce_mean")
def reduced_by_stack(grads, weights):
    shares = torch.tensor(weights, dtype=torch.float64)
    shares = shares / shares.sum()
    return [torch.einsum("w,w...->...", shares.to(c[0].dtype), torch.stack(c))
            for c in zip(*grads, strict=True)]  # fmt: skip


@bank.right("all_reduce_mean")
def reduced_in_a_ring(grads, weights):
    totals = [torch.zeros_like(g) for g in grads[0]]
    for worker, weight in zip(grads, weights, strict=True):
        for total, g in zip(totals, worker, strict=True):
            total += weight / sum(weights) * g
    return totals


bank.equivalent(
    "all_reduce_mean", "zip(weights, column)  =>  zip(column, weights)", "a product has no order"
)
for _exercise in ("adamw_step", "save_checkpoint"):
    for _what in ("0", "NaN", "1"):
        bank.equivalent(_exercise, f"returns {_what}", "there is nothing to return")
bank.equivalent("adamw_step", "returns its input", "there is nothing to return")
