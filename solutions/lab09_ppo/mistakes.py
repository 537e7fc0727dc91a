"""The mistake bank of lab 9: what learners get wrong, what they read, and other right versions."""

import json
import math
import re

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.bank import Bank, call, drill
from glassbox import drills_ppo as drills

bank = Bank("lab09_ppo")
gen = torch.Generator().manual_seed(90)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def mask(*rows: str) -> Tensor:
    """A mask from rows of "1" and "."."""
    return torch.tensor([[letter == "1" for letter in row] for row in rows])


FULL = mask("11111", "11111", "11111")
PADDED = mask("11111", "111..", "11...")
LATE = mask(".111.", "..111", "1....")
HOLED = mask(".111.", ".....", "1....")


def outside(x: Tensor, real: Tensor, value: float) -> Tensor:
    """x with another value where real is False."""
    return x.masked_fill(~real, value)


def zero(x: Tensor, real: Tensor) -> Tensor:
    return x.masked_fill(~real, 0.0)


def real_mean(x: Tensor, real: Tensor) -> Tensor:
    """The mean of the real tokens, 0 if there is none."""
    return zero(x, real).sum() / real.sum().clamp(min=1)


# --- token_kl --------------------------------------------------------------------------------

_p, _q = rand(3, 5) - 2, rand(3, 5) - 2
_lost = -math.inf
bank.probe("token_kl", call(_p, _q, FULL, "k1"), call(_p, _q, FULL, "k3"), call(_p, _q, FULL),
           call(outside(_p, LATE, 5.0), outside(_q, LATE, 1.0), LATE, "k1"),
           call(outside(_p, LATE, 5.0), outside(_q, LATE, 1.0), LATE, "k3"),
           call(outside(_p, LATE, _lost), outside(_q, LATE, _lost), LATE, "k1"),
           call(outside(_p, LATE, _lost), outside(_q, LATE, _lost), LATE, "k3"),
           drill(drills.with_gradients, outside(_p, LATE, _lost), outside(_q, LATE, _lost), LATE,
                 "k3"),
           drill(drills.refusal, _p, _q, FULL, "k2"))  # fmt: skip


def _kl(logp, ref_logp, real, kind, k1=lambda d: d, k3=lambda d: torch.exp(-d) + d - 1):
    if kind not in ("k1", "k3"):
        raise ValueError(kind)
    d = zero(logp, real) - zero(ref_logp, real)
    return (k1 if kind == "k1" else k3)(d)


@bank.wrong(
    "token_kl",
    "k1 has the wrong sign: it is the policy's log-probability less the reference's.",
)
def k1_negative(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, kind, k1=lambda d: -d)


@bank.wrong(
    "token_kl",
    "k3 has policy and reference exchanged: it needs q/p, the reference over the policy. Yours is "
    "never negative either, but its mean is another number.",
)
def k3_exchanged(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, kind, k3=lambda d: torch.exp(d) - d - 1)


@bank.wrong("token_kl", "Policy and reference are exchanged in both kinds.")
def both_exchanged(logp, ref_logp, mask, kind="k3"):
    return _kl(ref_logp, logp, mask, kind)


@bank.wrong("token_kl", "k3 lacks its -1: where both agree it must be 0.")
def k3_without_one(logp, ref_logp, mask, kind="k3"):
    return zero(_kl(logp, ref_logp, mask, kind, k3=lambda d: torch.exp(-d) + d), mask)


@bank.wrong(
    "token_kl",
    "Your k3 is half of the squared difference. That is k2, good for small differences only.",
)
def k2_for_k3(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, kind, k3=lambda d: d.square() / 2)


@bank.wrong(
    "token_kl",
    "Each term is weighed with the policy's probability; the drawing of the tokens does that "
    "already.",
)
def weighed(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, kind) * zero(logp, mask).exp() * mask


@bank.wrong("token_kl", "k1 is given for k3: a single token's KL is negative.")
def always_k1(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, "k1" if kind == "k3" else kind)


@bank.wrong("token_kl", "The default kind is k1; it should be k3.")
def default_k1(logp, ref_logp, mask, kind="k1"):
    return _kl(logp, ref_logp, mask, kind)


@bank.wrong("token_kl", "Prompt and padding are not cleared: where mask is False the result is 0.")
def not_masked(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, torch.ones_like(mask), kind)


@bank.wrong(
    "token_kl",
    "-inf at padding gives NaN: you multiply by the mask, and 0 · NaN is NaN. Clear with "
    "masked_fill or where.",
)
def multiplied_by_mask(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, torch.ones_like(mask), kind) * mask


@bank.wrong(
    "token_kl",
    "-inf at padding gives a gradient of NaN: clear before you compute, not only afterwards.",
)
def cleared_afterwards(logp, ref_logp, mask, kind="k3"):
    return zero(_kl(logp, ref_logp, torch.ones_like(mask), kind), mask)


@bank.wrong("token_kl", "An unknown kind raises nothing; it should raise ValueError.")
def any_kind(logp, ref_logp, mask, kind="k3"):
    return _kl(logp, ref_logp, mask, kind if kind == "k1" else "k3")


@bank.right("token_kl")
def k3_with_where(logp, ref_logp, mask, kind="k3"):
    none = torch.zeros((), dtype=logp.dtype)
    p, q = torch.where(mask, logp, none), torch.where(mask, ref_logp, none)
    if kind == "k1":
        return p - q
    if kind == "k3":
        return torch.expm1(q - p) - (q - p)
    raise ValueError(f"no kind {kind}")


@bank.right("token_kl")
def kl_of_chosen(logp, ref_logp, mask, kind="k3"):
    if kind not in {"k1", "k3"}:
        raise ValueError("unknown")
    d = logp[mask] - ref_logp[mask]
    if kind == "k3":
        d = (-d).exp() - 1 + d
    return torch.zeros_like(logp).masked_scatter(mask, d)


# --- shaped_rewards --------------------------------------------------------------------------

_score, _kls = rand(3) * 3, rand(3, 5)
bank.probe("shaped_rewards", call(_score, _kls, 0.5, FULL), call(_score, _kls, 0.5, PADDED),
           call(_score, _kls, 0.5, LATE), call(_score, _kls, 0.5, HOLED),
           call(_score, outside(_kls, LATE, math.inf), 0.5, LATE))  # fmt: skip


def _last(real):
    """Where the last real token of each row is."""
    left = real.flip(1).cumsum(1).flip(1)
    return real & (left == 1)


@bank.wrong(
    "shaped_rewards",
    "You pay the policy for drifting: the KL is added where it should be subtracted.",
)
def kl_added(score, kl, beta, mask):
    return zero(beta * kl, mask) + score[:, None] * _last(mask)


@bank.wrong(
    "shaped_rewards",
    "The score stands in the last column, padding or not: short answers never see their reward.",
)
def score_in_last_column(score, kl, beta, mask):
    rewards = zero(-beta * kl, mask)
    rewards[:, -1] += score
    return rewards


@bank.wrong(
    "shaped_rewards",
    "The place of the score is the number of real tokens less one; with a prompt before the "
    "answer that is too early.",
)
def score_by_count(score, kl, beta, mask):
    rewards = zero(-beta * kl, mask)
    place = (mask.sum(1) - 1).clamp(min=0)
    rewards[torch.arange(len(score)), place] += score * mask.any(1)
    return rewards


@bank.wrong(
    "shaped_rewards",
    "Every token gets the whole score; it belongs to the last real token.",
)
def score_everywhere(score, kl, beta, mask):
    return zero(score[:, None] - beta * kl, mask)


@bank.wrong(
    "shaped_rewards",
    "The score is spread over the tokens; it belongs to the last real token.",
)
def score_spread(score, kl, beta, mask):
    return zero(score[:, None] / mask.sum(1, keepdim=True).clamp(min=1) - beta * kl, mask)


@bank.wrong(
    "shaped_rewards",
    "The score stands on the first real token; the answer is judged when it is there.",
)
def score_first(score, kl, beta, mask):
    return zero(-beta * kl, mask) + score[:, None] * (mask & (mask.cumsum(1) == 1))


@bank.wrong("shaped_rewards", "The last real token gets the score and pays no KL; it does both.")
def score_for_kl(score, kl, beta, mask):
    return torch.where(_last(mask), score[:, None], zero(-beta * kl, mask))


@bank.wrong("shaped_rewards", "beta multiplies the score too; it is the price of the KL alone.")
def beta_on_score(score, kl, beta, mask):
    return beta * (score[:, None] * _last(mask) - zero(kl, mask))


@bank.wrong("shaped_rewards", "The KL is not multiplied by beta.")
def without_beta(score, kl, beta, mask):
    return score[:, None] * _last(mask) - zero(kl, mask)


@bank.wrong("shaped_rewards", "The whole KL is paid at the end; each token pays its own.")
def kl_at_the_end(score, kl, beta, mask):
    return (score - beta * zero(kl, mask).sum(1))[:, None] * _last(mask)


@bank.wrong("shaped_rewards", "Prompt and padding pay a KL: where mask is False the reward is 0.")
def padding_pays(score, kl, beta, mask):
    return -beta * kl + score[:, None] * _last(mask)


@bank.wrong(
    "shaped_rewards",
    "A KL of inf at padding gives NaN: you multiply by the mask. Clear with masked_fill or where.",
)
def masked_by_product(score, kl, beta, mask):
    return -beta * kl * mask + score[:, None] * _last(mask)


@bank.wrong("shaped_rewards", "A row without tokens still gets its score; it is lost.")
def score_of_empty_row(score, kl, beta, mask):
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    rewards = zero(-beta * kl, mask)
    rewards[torch.arange(len(score)), last] += score
    return rewards


@bank.right("shaped_rewards")
def rows_in_a_loop(score, kl, beta, mask):
    rewards = torch.zeros_like(kl)
    for b in range(len(kl)):
        places = mask[b].nonzero().flatten()
        if len(places):
            rewards[b, places] = -beta * kl[b, places]
            rewards[b, places[-1]] += score[b]
    return rewards


@bank.right("shaped_rewards")
def next_is_not_real(score, kl, beta, mask):
    following = F.pad(mask[:, 1:], (0, 1), value=False)
    return torch.where(mask, torch.where(following, 0.0, score[:, None]) - beta * kl, 0.0)


# --- gae -------------------------------------------------------------------------------------

_r, _v = rand(3, 5), rand(3, 5)
bank.probe(
    "gae",
    call(_r, _v, FULL, 0.9, 0.7),
    call(_r, _v, FULL, 1.0, 1.0),
    call(_r, _v, PADDED, 0.9, 0.7),
    call(_r, _v, LATE, 0.9, 0.7),
    call(outside(_r, LATE, math.inf), outside(_v, LATE, math.inf), LATE, 0.9, 0.7),
    call(_r, _v, HOLED, 0.9, 0.7),
    drill(drills.with_gradients, _r, _v, FULL, 0.9, 0.7),
)


def _gae(rewards, values, real, gamma, lam, detach=True, delta=None, decay=None, bootstrap=0.0):
    """Right unless told otherwise; `delta(r, V, next V)` and `decay` can be replaced."""
    if detach:
        rewards, values = rewards.detach(), values.detach()
    rewards, values = zero(rewards, real), zero(values, real)
    delta = delta or (lambda r, v, after: r + gamma * after - v)
    decay = gamma * lam if decay is None else decay
    columns, carried = [], torch.zeros_like(values[:, 0])
    after = carried + bootstrap
    for t in range(values.shape[1] - 1, -1, -1):
        carried = (delta(rewards[:, t], values[:, t], after) + decay * carried) * real[:, t]
        columns.append(carried)
        after = values[:, t]
    advantages = torch.stack(columns[::-1], 1)
    return advantages, advantages + values


@bank.wrong(
    "gae",
    "Value of padding leaks into the last real token: after it nothing is expected, so there "
    "the next value is 0.",
)
def past_the_end(rewards, values, mask, gamma, lam):
    rewards, values = rewards.detach(), values.detach()
    carried, out = torch.zeros_like(values[:, 0]), torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        after = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        carried = torch.where(mask[:, t], rewards[:, t] + gamma * after - values[:, t]
                              + gamma * lam * carried, 0.0)  # fmt: skip
        out[:, t] = carried
    return out, zero(out + values, mask)


@bank.wrong(
    "gae",
    "Advantages must be accumulated from the end; yours run forward, so tokens are praised for "
    "what came before them.",
)
def forward(rewards, values, mask, gamma, lam):
    rewards, values = zero(rewards.detach(), mask), zero(values.detach(), mask)
    after = F.pad(values[:, 1:], (0, 1))
    delta = zero(rewards + gamma * after - values, mask)
    carried, out = torch.zeros_like(delta[:, 0]), torch.zeros_like(delta)
    for t in range(delta.shape[1]):
        carried = torch.where(mask[:, t], delta[:, t] + gamma * lam * carried, 0.0)
        out[:, t] = carried
    return out, out + values


@bank.wrong("gae", "Your returns are the advantages; returns are advantages plus values.")
def returns_are_advantages(rewards, values, mask, gamma, lam):
    advantages, _ = _gae(rewards, values, mask, gamma, lam)
    return advantages, advantages.clone()


@bank.wrong(
    "gae",
    "Your returns are the sums of rewards; with lambda below 1 they are advantages plus values.",
)
def returns_are_sums(rewards, values, mask, gamma, lam):
    advantages, _ = _gae(rewards, values, mask, gamma, lam)
    return advantages, _gae(rewards, values * 0, mask, gamma, 1.0)[0]


@bank.wrong("gae", "Advantages fade by lambda alone; they fade by gamma · lambda.")
def fades_by_lambda(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, decay=lam)


@bank.wrong("gae", "Advantages fade by gamma alone, as if lambda were 1.")
def fades_by_gamma(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, decay=gamma)


@bank.wrong("gae", "The next value is not discounted: delta is r + gamma · V(next) - V.")
def next_not_discounted(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, delta=lambda r, v, after: r + after - v)


@bank.wrong("gae", "delta has the next value only; the token's own value must be subtracted.")
def own_value_missing(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, delta=lambda r, v, after: r + gamma * after)


@bank.wrong(
    "gae",
    "Only one step is looked at, as if lambda were 0; the next advantage is missing.",
)
def one_step(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, 0.0)


@bank.wrong("gae", "Own and next value are exchanged in delta.")
def values_exchanged(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, delta=lambda r, v, after: r + gamma * v - after)


@bank.wrong("gae", "Prompt and padding have advantages: where mask is False both results are 0.")
def not_cleared(rewards, values, mask, gamma, lam):
    rewards, values = zero(rewards.detach(), mask), zero(values.detach(), mask)
    carried, out = torch.zeros_like(values[:, 0]), torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        after = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        carried = rewards[:, t] + gamma * after - values[:, t] + gamma * lam * carried
        out[:, t] = carried
    return out, out + values


@bank.wrong(
    "gae",
    "inf at padding spoils the results: you multiply by the mask. Clear with masked_fill or where.",
)
def products_with_mask(rewards, values, mask, gamma, lam):
    rewards, values = rewards.detach() * mask, values.detach() * mask
    carried, out = torch.zeros_like(values[:, 0]), torch.zeros_like(values)
    for t in reversed(range(values.shape[1])):
        after = values[:, t + 1] if t + 1 < values.shape[1] else 0.0
        delta = rewards[:, t] + gamma * after - values[:, t]
        out[:, t] = carried = (delta + gamma * lam * carried) * mask[:, t]
    return out, out + values


@bank.wrong(
    "gae",
    "The value network receives the policy's gradient: advantages and returns are targets, "
    "detach them.",
)
def not_detached(rewards, values, mask, gamma, lam):
    return _gae(rewards, values, mask, gamma, lam, detach=False)


@bank.right("gae")
def as_a_double_sum(rewards, values, mask, gamma, lam):
    r, v = zero(rewards, mask).detach(), zero(values, mask).detach()
    delta = (r + gamma * F.pad(v[:, 1:], (0, 1)) - v) * mask
    T = r.shape[1]
    j = torch.arange(T, dtype=r.dtype)
    ahead = j[None] - j[:, None]
    weights = torch.where(ahead >= 0, (gamma * lam) ** ahead.clamp(min=0), 0.0)
    advantages = (delta @ weights.T.to(r.dtype)) * mask
    return advantages, advantages + v


@bank.right("gae")
def row_by_row(rewards, values, mask, gamma, lam):
    with torch.no_grad():
        advantages, returns = torch.zeros_like(rewards), torch.zeros_like(rewards)
        for b in range(len(rewards)):
            following, carried = 0.0, 0.0
            for t in reversed(mask[b].nonzero().flatten().tolist()):
                carried = rewards[b, t] + gamma * following - values[b, t] + gamma * lam * carried
                following = values[b, t]
                advantages[b, t], returns[b, t] = carried, carried + following
    return advantages, returns


bank.equivalent("gae", "0.0  =>  1.0", "Rewards of padding, which the mask makes 0.")
bank.equivalent("gae", "0.0  =>  -1.0", "Rewards of padding, which the mask makes 0.")
bank.equivalent("gae", "0  =>  -1", "Any column has the shape of one.")


# --- whiten ----------------------------------------------------------------------------------

_x = rand(3, 5) * 3 + 2
bank.probe("whiten", call(_x, FULL), call(_x, FULL, False), call(_x, PADDED), call(_x, LATE, False),
           call(outside(_x, LATE, math.inf), LATE), call(_x, mask("1....", ".....", ".....")),
           call(_x * 1e-4, FULL), call(_x, FULL & False))  # fmt: skip


def _white(x, real, shift_mean, mean=None, variance=None, root=True):
    some = x[real]
    n = max(1, len(some))
    mean = some.sum() / n if mean is None else mean
    variance = (some - some.sum() / n).square().sum() / n if variance is None else variance
    size = (variance + 1e-8).sqrt() if root else variance + 1e-8
    return zero((x - mean) / size + (0.0 if shift_mean else mean), real)


@bank.wrong(
    "whiten",
    "The mean depends on how much you padded: only real tokens count, in mean and variance.",
)
def over_padding(x, mask, shift_mean=True):
    return zero(_white(x, torch.ones_like(mask), shift_mean), mask)


@bank.wrong("whiten", "Padding counts as 0 in mean and variance; only real tokens count.")
def over_zeros(x, mask, shift_mean=True):
    return zero(_white(zero(x, mask), torch.ones_like(mask), shift_mean), mask)


@bank.wrong(
    "whiten",
    "Each row has a mean and a variance of its own; they are those of the whole batch.",
)
def by_rows(x, mask, shift_mean=True):
    return torch.cat([_white(x[b : b + 1], mask[b : b + 1], shift_mean) for b in range(len(x))])


@bank.wrong(
    "whiten",
    "The variance has n - 1 in its denominator; here it has n, so that one token is possible.",
)
def unbiased(x, mask, shift_mean=True):
    n = max(1, int(mask.sum()))
    variance = (x[mask] - x[mask].sum() / n).square().sum() / max(1, n - 1)
    return _white(x, mask, shift_mean, variance=variance)


@bank.wrong("whiten", "You divide by the variance; divide by its root.")
def by_variance(x, mask, shift_mean=True):
    return _white(x, mask, shift_mean, root=False)


@bank.wrong("whiten", "With shift_mean False the mean is taken away all the same.")
def always_shifted(x, mask, shift_mean=True):
    return _white(x, mask, True)


@bank.wrong(
    "whiten",
    "With shift_mean False you divide x as it is, so the mean is scaled too; it should stay as "
    "it was.",
)
def scaled_mean(x, mask, shift_mean=True):
    if shift_mean:
        return _white(x, mask, True)
    return _white(x, mask, True, mean=0.0)


@bank.wrong("whiten", "You take the mean away and do not divide.")
def only_shifted(x, mask, shift_mean=True):
    return _white(x, mask, shift_mean, variance=torch.ones(()).to(x))


@bank.wrong("whiten", "1e-8 is added to the root; it belongs under it.")
def eps_outside(x, mask, shift_mean=True):
    n = max(1, int(mask.sum()))
    mean = x[mask].sum() / n
    size = ((x[mask] - mean).square().sum() / n).sqrt() + 1e-8
    return zero((x - mean) / size + (0.0 if shift_mean else mean), mask)


@bank.wrong("whiten", "One token gives NaN: its variance is 0, and 1e-8 is missing under the root.")
def without_eps(x, mask, shift_mean=True):
    n = max(1, int(mask.sum()))
    mean = x[mask].sum() / n
    size = ((x[mask] - mean).square().sum() / n).sqrt()
    return zero((x - mean) / size + (0.0 if shift_mean else mean), mask)


@bank.wrong("whiten", "Prompt and padding are not cleared: where mask is False the result is 0.")
def padding_kept(x, mask, shift_mean=True):
    some = x[mask]
    mean = some.sum() / max(1, len(some))
    variance = (some - mean).square().sum() / max(1, len(some))
    return (x - mean) / (variance + 1e-8).sqrt() + (0.0 if shift_mean else mean)


@bank.right("whiten")
def with_scatter(x, mask, shift_mean=True):
    if not mask.any():
        return torch.zeros_like(x)
    variance, mean = torch.var_mean(x[mask], correction=0)
    z = (x[mask] - mean) / torch.sqrt(variance + 1e-8)
    return torch.zeros_like(x).masked_scatter(mask, z if shift_mean else z + mean)


@bank.right("whiten")
def with_sums(x, mask, shift_mean=True):
    y, n = torch.where(mask, x, 0.0), mask.sum().clamp(min=1)
    mean = y.sum() / n
    d = torch.where(mask, y - mean, 0.0)
    z = d / ((d * d).sum() / n + 1e-8) ** 0.5
    return z if shift_mean else torch.where(mask, z + mean, 0.0)


bank.equivalent("whiten", "some - mean  =>  mean - some", "It is squared.")


# --- ppo_policy_loss -------------------------------------------------------------------------

_old = rand(3, 5) - 2
_new = _old + torch.linspace(-0.8, 0.8, 15).double()[torch.randperm(15, generator=gen)].view(3, 5)
_A = rand(3, 5)
bank.probe("ppo_policy_loss", call(_new, _old, _A, FULL, 0.2), call(_new, _old, _A, FULL, 5.0),
           call(outside(_new, LATE, 1.0), _old, outside(_A, LATE, 9.0), LATE, 0.2),
           drill(drills.with_gradients, _new, _old, _A, FULL, 0.2),
           drill(drills.with_gradients, outside(_new, LATE, _lost), outside(_old, LATE, _lost), _A,
                 LATE, 0.2),
           call(_new, _old, _A, FULL & False, 0.2))  # fmt: skip


def _policy(logp, old_logp, advantages, real, clip, choose=torch.minimum, edge=None, sign=-1,
            share=None, kl=None, mean=None, detach=True):  # fmt: skip
    """Right unless told otherwise."""
    old, gain = old_logp, advantages
    if detach:
        old, gain = old.detach(), gain.detach()
    keep = mean or (lambda x: x[real].sum() / max(1, len(x[real])))
    gap = zero(logp, real) - zero(old, real)
    ratio, gain = gap.exp(), zero(gain, real)
    low, high = edge or (1 - clip, 1 + clip)
    loss = sign * keep(choose(ratio * gain, ratio.clamp(low, high) * gain))
    still, gap = ratio.detach(), gap.detach()
    far = share(still, gain.detach()) if share else (still - 1).abs() > clip
    return loss, keep(far.to(logp.dtype)), keep(kl(still, gap) if kl else still - 1 - gap)


@bank.wrong("ppo_policy_loss", "Bad moves are not limited: min and max are swapped.")
def maximum(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, choose=torch.maximum)


@bank.wrong(
    "ppo_policy_loss",
    "The loss has the wrong sign: a loss is made smaller, so it is minus what is to grow.",
)
def sign_missing(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, sign=1)


@bank.wrong("ppo_policy_loss", "Nothing is clipped: the loss is -r A for every token.")
def not_clipped(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, choose=lambda a, b: a)


@bank.wrong(
    "ppo_policy_loss",
    "The clipped ratio is always taken. A step the wrong way then has no gradient that leads back.",
)
def always_clipped(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, choose=lambda a, b: b)


@bank.wrong(
    "ppo_policy_loss",
    "The minimum is taken of the two ratios, before the advantage; its sign decides which of "
    "the products is smaller.",
)
def minimum_of_ratios(logp, old_logp, advantages, mask, clip):
    r = (zero(logp, mask) - zero(old_logp.detach(), mask)).exp()
    kept = torch.minimum(r, r.clamp(1 - clip, 1 + clip)) * zero(advantages.detach(), mask)
    _, share, kl = _policy(logp, old_logp, advantages, mask, clip)
    return -real_mean(kept, mask), share, kl


@bank.wrong(
    "ppo_policy_loss",
    "The ratio is upside down: new over old, so the old log-probability is subtracted.",
)
def ratio_upside_down(logp, old_logp, advantages, mask, clip):
    old = old_logp.detach()
    loss, share, kl = _policy(2 * old - logp, old, advantages, mask, clip)
    return loss, share, kl


@bank.wrong(
    "ppo_policy_loss",
    "The ratio is a quotient of log-probabilities; it is the exponential of their difference.",
)
def quotient_of_logs(logp, old_logp, advantages, mask, clip):
    r = torch.where(mask, logp / old_logp.detach(), torch.ones_like(logp)).clamp(min=1e-3)
    return _policy(r.log(), torch.zeros_like(r), advantages, mask, clip)


@bank.wrong(
    "ppo_policy_loss",
    "The ratio is a difference of log-probabilities without its exponential.",
)
def without_exponential(logp, old_logp, advantages, mask, clip):
    gap = zero(logp, mask) - zero(old_logp.detach(), mask)
    gain = zero(advantages.detach(), mask)
    kept = torch.minimum(gap * gain, gap.clamp(1 - clip, 1 + clip) * gain)
    _, share, kl = _policy(logp, old_logp, advantages, mask, clip)
    return -real_mean(kept, mask), share, kl


@bank.wrong("ppo_policy_loss", "The ratio is clipped to ±clip around 0; it is 1 ± clip.")
def clipped_around_zero(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, edge=(-clip, clip))


@bank.wrong("ppo_policy_loss", "The advantage is left out of the clipped term.")
def advantage_missing(logp, old_logp, advantages, mask, clip):
    gap = zero(logp, mask) - zero(old_logp.detach(), mask)
    ratio, gain = gap.exp(), zero(advantages.detach(), mask)
    kept = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip))
    _, share, kl = _policy(logp, old_logp, advantages, mask, clip)
    return -real_mean(kept, mask), share, kl


@bank.wrong(
    "ppo_policy_loss",
    "The ratio is 1 with gradient 0: the policy's own log-probabilities are detached, and "
    "nothing learns.",
)
def policy_detached(logp, old_logp, advantages, mask, clip):
    return _policy(logp.detach(), old_logp, advantages, mask, clip)


@bank.wrong(
    "ppo_policy_loss",
    "A gradient reaches old log-probabilities or advantages; both are constants. Through the "
    "advantages the value network would receive the policy's gradient.",
)
def constants_not_detached(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, detach=False)


@bank.wrong(
    "ppo_policy_loss",
    "The share counts only tokens that the clip holds, by the sign of the advantage; it counts "
    "all with |r - 1| > clip.",
)
def share_of_held(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip,
                   share=lambda r, a: ((r - 1) * a.sign()) > clip)  # fmt: skip


@bank.wrong(
    "ppo_policy_loss",
    "The share counts only ratios above 1 + clip; those below 1 - clip count too.",
)
def share_of_grown(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, share=lambda r, a: r > 1 + clip)


@bank.wrong(
    "ppo_policy_loss",
    "The share is that of tokens inside of the clip; it counts those beyond.",
)
def share_inside(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip,
                   share=lambda r, a: (r - 1).abs() <= clip)  # fmt: skip


@bank.wrong(
    "ppo_policy_loss",
    "The KL is the mean of -ln r; asked is r - 1 - ln r, which is never negative.",
)
def kl_is_k1(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, kl=lambda r, gap: -gap)


@bank.wrong(
    "ppo_policy_loss",
    "The KL has its direction exchanged: the tokens were drawn by the old policy, so it is r - "
    "1 - ln r.",
)
def kl_exchanged(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, kl=lambda r, gap: 1 / r - 1 + gap)


@bank.wrong(
    "ppo_policy_loss",
    "You divide by all places, padding too; divide by the number of real tokens.",
)
def mean_over_padding(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, mean=lambda x: zero(x, mask).mean())


@bank.wrong("ppo_policy_loss", "You add up the tokens; the loss and both numbers are means.")
def sums(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, mean=lambda x: zero(x, mask).sum())


@bank.wrong(
    "ppo_policy_loss",
    "You take the mean of each answer first; here all tokens of the batch count alike.",
)
def mean_of_answers(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, mean=lambda x: (
        zero(x, mask).sum(1) / mask.sum(1).clamp(min=1)).mean())  # fmt: skip


@bank.wrong(
    "ppo_policy_loss",
    "Padding gives a ratio of 0/0: you compute it everywhere and multiply by the mask. Take the"
    " real tokens first.",
)
def ratio_of_padding(logp, old_logp, advantages, mask, clip):
    gap = logp - old_logp.detach()
    ratio, gain, n = gap.exp(), advantages.detach(), mask.sum().clamp(min=1)
    kept = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    still = ratio.detach()
    return (-(kept * mask).sum() / n, (((still - 1).abs() > clip) * mask).sum().to(logp.dtype) / n,
            ((still - 1 - gap.detach()) * mask).sum() / n)  # fmt: skip


@bank.wrong(
    "ppo_policy_loss",
    "Without a real token the mean is NaN; all three results are 0 then.",
)
def nan_without_tokens(logp, old_logp, advantages, mask, clip):
    return _policy(logp, old_logp, advantages, mask, clip, mean=lambda x: x[mask].mean())


@bank.right("ppo_policy_loss")
def larger_of_two_losses(logp, old_logp, advantages, mask, clip):
    n = mask.sum().clamp(min=1)
    gap = torch.where(mask, logp, 0.0) - torch.where(mask, old_logp, 0.0).detach()
    a, r = torch.where(mask, advantages, 0.0).detach(), gap.exp()
    worse = torch.maximum(-a * r, -a * torch.clamp(r, 1 - clip, 1 + clip))
    with torch.no_grad():
        beyond = ((r < 1 - clip) | (r > 1 + clip)) & mask
        made = torch.expm1(gap) - gap
    return worse.sum() / n, beyond.sum().to(logp.dtype) / n, made.sum() / n


@bank.right("ppo_policy_loss")
def by_cases(logp, old_logp, advantages, mask, clip):
    if not mask.any():
        none = logp.new_zeros(())
        return none, none.clone(), none.clone()
    a = advantages[mask].detach()
    r = torch.exp(logp[mask] - old_logp[mask].detach())
    edge = 1 + clip * a.sign()
    held = torch.where(a > 0, r > edge, r < edge)
    loss = -(torch.where(held, edge, r) * a).mean()
    q = r.detach()
    return loss, ((q - 1).abs() > clip).to(q.dtype).mean(), (q - 1 - q.log()).mean()


bank.equivalent(
    "ppo_policy_loss",
    "torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)  =>  "
    "torch.minimum(ratio.clamp(1 - clip, 1 + clip) * gain, ratio * gain)",
    "The smaller of two numbers in either order.",
)
bank.equivalent("ppo_policy_loss", "max(1, len(change))  =>  max(len(change), 1)",
                "The larger of two numbers in either order.")  # fmt: skip


# --- ppo_value_loss --------------------------------------------------------------------------

_was = rand(3, 5)
_now, _target = _was + rand(3, 5), rand(3, 5)
_near = _now + 0.3 * rand(3, 5)  # returns that the values have reached: clipped ones are worse
bank.probe("ppo_value_loss", call(_now, _was, _near, FULL, 0.3),
           call(_now, _was, _target, FULL, 0.3), call(_now, _was, _target, FULL, 9.0),
           call(_now, _was, _target, LATE, 0.3),
           drill(drills.with_gradients, _now, _was, _target, FULL, 0.3),
           call(outside(_now, LATE, math.inf), outside(_was, LATE, math.inf), _target, LATE, 0.3),
           call(_now, _was, _target, FULL & False, 0.3))  # fmt: skip


def _value(values, old_values, returns, real, clip, choose=torch.maximum, near=None, half=0.5,
           mean=None, size=torch.square, detach=True):  # fmt: skip
    if detach:
        old_values, returns = old_values.detach(), returns.detach()
    v, old, y = zero(values, real), zero(old_values, real), zero(returns, real)
    clipped = near(v, old, y) if near else old + (v - old).clamp(-clip, clip)
    worse = choose(size(v - y), size(clipped - y))
    return half * (mean(worse) if mean else worse[real].sum() / max(1, len(worse[real])))


@bank.wrong(
    "ppo_value_loss",
    "Clipping hides large errors: you take the minimum, it should be the maximum.",
)
def minimum_of_errors(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, choose=torch.minimum)


@bank.wrong(
    "ppo_value_loss",
    "Only the clipped value is used; the loss takes the larger of both errors.",
)
def clipped_only(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, choose=lambda a, b: b)


@bank.wrong("ppo_value_loss", "Nothing is clipped: it is the plain squared error.")
def plain_error(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, choose=lambda a, b: a)


@bank.wrong("ppo_value_loss", "The half is missing: exactly twice the loss.")
def half_missing(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, half=1.0)


@bank.wrong(
    "ppo_value_loss",
    "The value itself is clipped to ±clip; its distance from the old value is.",
)
def clipped_to_clip(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip,
                  near=lambda v, old, y: v.clamp(-clip, clip))  # fmt: skip


@bank.wrong(
    "ppo_value_loss",
    "The clip is used as a factor, as for a ratio; values move by a difference.",
)
def clip_as_a_factor(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip,
                  near=lambda v, old, y: old * (1 + v - old).clamp(1 - clip, 1 + clip))  # fmt: skip


@bank.wrong("ppo_value_loss", "You take absolute errors; they are squared.")
def absolute(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, size=torch.abs)


@bank.wrong("ppo_value_loss", "The two errors are added; the larger one counts.")
def both_errors(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, choose=torch.add)


@bank.wrong(
    "ppo_value_loss",
    "You divide by all places, padding too; divide by the number of real tokens.",
)
def all_places(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, mean=lambda x: zero(x, mask).mean())


@bank.wrong("ppo_value_loss", "You add up the tokens; the loss is a mean.")
def summed(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, mean=lambda x: zero(x, mask).sum())


@bank.wrong("ppo_value_loss", "The maximum is taken of the two means; it is taken token by token.")
def maximum_of_means(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip,
                  choose=lambda a, b: torch.maximum(real_mean(a, mask), real_mean(b, mask)).expand(
                      a.shape))  # fmt: skip


@bank.wrong(
    "ppo_value_loss",
    "A gradient reaches the returns or the old values; both are constants.",
)
def targets_not_detached(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, detach=False)


@bank.wrong(
    "ppo_value_loss",
    "inf or NaN at padding spoils the loss: you multiply by the mask. Take the real tokens first.",
)
def product_with_mask(values, old_values, returns, mask, clip):
    old, y = old_values.detach(), returns.detach()
    near = old + (values - old).clamp(-clip, clip)
    worse = torch.maximum((values - y) ** 2, (near - y) ** 2)
    return 0.5 * (worse * mask).sum() / mask.sum().clamp(min=1)


@bank.wrong("ppo_value_loss", "Without a real token the mean is NaN; the loss is 0 then.")
def nan_if_empty(values, old_values, returns, mask, clip):
    return _value(values, old_values, returns, mask, clip, mean=lambda x: x[mask].mean())


@bank.right("ppo_value_loss")
def with_bounds(values, old_values, returns, mask, clip):
    v, old, y = (torch.where(mask, x, 0.0) for x in (values, old_values.detach(), returns.detach()))
    near = torch.minimum(torch.maximum(v, old - clip), old + clip)
    worse = torch.stack([v - y, near - y]).abs().amax(0)
    return (worse**2).sum() / (2 * mask.sum().clamp(min=1))


@bank.right("ppo_value_loss")
def with_mse(values, old_values, returns, mask, clip):
    if not mask.any():
        return values.new_zeros(())
    v, old, y = values[mask], old_values[mask].detach(), returns[mask].detach()
    near = torch.clamp(v, min=old - clip, max=old + clip)
    losses = [F.mse_loss(x, y, reduction="none") for x in (v, near)]
    return torch.max(*losses).mean() / 2


bank.equivalent(
    "ppo_value_loss",
    "torch.maximum((new - target).square(), (near - target).square())  =>  "
    "torch.maximum((near - target).square(), (new - target).square())",
    "The larger of two numbers in either order.",
)
bank.equivalent("ppo_value_loss", "max(1, len(worse))  =>  max(len(worse), 1)",
                "The larger of two numbers in either order.")  # fmt: skip
bank.equivalent("ppo_value_loss", "new - target  =>  target - new", "It is squared.")
bank.equivalent("ppo_value_loss", "near - target  =>  target - near", "It is squared.")


# --- entropy ---------------------------------------------------------------------------------

_logits = rand(3, 5, 4) * 2
_banned = _logits.masked_fill(torch.arange(4) == 2, _lost)
bank.probe("entropy", call(_logits, FULL), call(_logits, LATE), call(_banned, FULL),
           call(_logits.masked_fill(~LATE[..., None], _lost), LATE),
           drill(drills.with_gradients, _banned, FULL), call(_logits * 500, FULL),
           call(_logits, FULL & False))  # fmt: skip


def _choices(logits, base=1.0):
    """The entropy of each row of (n, V)."""
    logp = logits.log_softmax(-1)
    return -(logp.exp() * logp.clamp(min=-1e30)).sum(-1) / base


def _mean_entropy(logits, real, of=_choices):
    found = of(logits[real])
    return found.sum() / max(1, len(logits[real]))


@bank.wrong("entropy", "The entropy has the wrong sign; it is never negative.")
def entropy_negative(logits, mask):
    return -_mean_entropy(logits, mask)


@bank.wrong("entropy", "The entropy is in bits; it is asked in nats, with the natural logarithm.")
def entropy_in_bits(logits, mask):
    return _mean_entropy(logits, mask) / math.log(2)


@bank.wrong("entropy", "You take the mean over the V choices; they are added up.")
def mean_over_choices(logits, mask):
    return _mean_entropy(logits, mask) / logits.shape[-1]


@bank.wrong("entropy", "You add up the tokens; the result is their mean.")
def sum_over_tokens(logits, mask):
    return _choices(logits[mask]).sum()


@bank.wrong("entropy", "The probabilities are missing: each term is p · ln p, not ln p.")
def without_probabilities(logits, mask):
    return _mean_entropy(logits, mask, lambda x: -x.log_softmax(-1).clamp(min=-1e30).sum(-1))


@bank.wrong("entropy", "You use the logits as log-probabilities; softmax comes first.")
def logits_as_logp(logits, mask):
    return _mean_entropy(logits, mask, lambda x: -(x.softmax(-1) * x.clamp(min=-1e30)).sum(-1))


@bank.wrong("entropy", "Prompt and padding are counted; only real tokens are.")
def all_tokens(logits, mask):
    return _choices(logits).mean()


@bank.wrong(
    "entropy",
    "You divide by all places, padding too; divide by the number of real tokens.",
)
def all_places_counted(logits, mask):
    return _choices(logits[mask]).sum() / mask.numel()


@bank.wrong("entropy", "An impossible choice gives 0 · (-inf) = NaN; it must count 0.")
def zero_times_infinity(logits, mask):
    p = logits[mask].softmax(-1)
    return -(p * p.log()).sum() / max(1, len(p))


@bank.wrong(
    "entropy",
    "The result is finite with -inf, but its gradient is not: avoid the infinity, do not repair"
    " the NaN.",
)
def repaired(logits, mask):
    p = logits[mask].softmax(-1)
    return -(p * p.log()).nan_to_num().sum() / max(1, len(p))


@bank.wrong("entropy", "Without a real token the mean is NaN; the result is 0 then.")
def entropy_of_nothing(logits, mask):
    return _choices(logits[mask]).mean()


@bank.right("entropy")
def with_categorical(logits, mask):
    if not mask.any():
        return logits.new_zeros(())
    some = torch.distributions.Categorical(logits=logits[mask], validate_args=False)
    return some.entropy().mean()


@bank.right("entropy")
def normaliser_less_mean_logit(logits, mask):
    x = logits[mask]
    allowed = x > -math.inf
    p = x.softmax(-1)
    each = x.logsumexp(-1) - (p * torch.where(allowed, x, 0.0)).sum(-1)
    return each.sum() / mask.sum().clamp(min=1)


bank.equivalent("entropy", "-1  =>  +1", "Of (n, V) the last axis is axis 1.")
bank.equivalent("entropy", "max(1, len(logp))  =>  max(len(logp), 1)",
                "The larger of two numbers in either order.")  # fmt: skip


# --- group_advantages ------------------------------------------------------------------------

_groups = torch.stack([rand(6), rand(6) * 10 + 50, rand(6) * 0.1])
_shares = torch.tensor([[1.0, 0, 0, 1, 1, 0], [1, 1, 1, 1, 1, 0], [1, 1, 1, 1, 1, 1]]).double()
bank.probe("group_advantages", call(_groups), call(_groups, False), call(_groups, True, 0.5),
           call(_shares), call(_shares[2:], True, 0.0), call(torch.full((1, 3), 0.1), True, 0.0),
           call(_groups[:, :1]))  # fmt: skip


def _advantages(rewards, normalize, eps, mean=None, size=None, tied=True):
    gap = rewards - (rewards.mean(1, keepdim=True) if mean is None else mean)
    if normalize:
        spread = (gap.square().sum(1, keepdim=True) / max(1, rewards.shape[1] - 1)).sqrt()
        gap = gap / (spread + eps if size is None else size(spread))
    same = (rewards == rewards[:, :1]).all(1, keepdim=True)
    return gap.masked_fill(same, 0.0) if tied else gap


@bank.wrong(
    "group_advantages",
    "Hard prompts get negative advantages whatever the answer: mean and deviation are those of "
    "the batch, not of the group.",
)
def over_the_batch(rewards, normalize=True, eps=1e-6):
    gap = rewards - rewards.mean()
    return gap / (rewards.std() + eps) if normalize else gap


@bank.wrong("group_advantages", "The mean is that of the batch; each group has its own.")
def batch_mean(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, normalize, eps, mean=rewards.mean())


@bank.wrong(
    "group_advantages",
    "The deviation is that of the batch; each group is divided by its own.",
)
def batch_deviation(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, normalize, eps, size=lambda s: rewards.std() + eps)


@bank.wrong("group_advantages", "Mean and deviation run over the prompts; a group is a row.")
def columns_for_groups(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards.T, normalize, eps).T


@bank.wrong("group_advantages", "The deviation has G in its denominator; it has G - 1.")
def biased(rewards, normalize=True, eps=1e-6):
    G = rewards.shape[1]
    return _advantages(rewards, normalize, eps, size=lambda s: s * ((G - 1) / G) ** 0.5 + eps)


@bank.wrong("group_advantages", "You divide by the variance; divide by the standard deviation.")
def variance_for_deviation(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, normalize, eps, size=lambda s: s**2 + eps)


@bank.wrong("group_advantages", "eps stands under the root; it is added to the standard deviation.")
def eps_under_the_root(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, normalize, eps, size=lambda s: (s**2 + eps).sqrt())


@bank.wrong("group_advantages", "eps is not used: it is added to the standard deviation.")
def eps_ignored(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, normalize, eps, size=lambda s: s.clamp(min=1e-9))


@bank.wrong("group_advantages", "The mean is not subtracted.")
def mean_not_subtracted(rewards, normalize=True, eps=1e-6):
    gap = rewards - rewards.mean(1, keepdim=True)
    spread = (gap.square().sum(1, keepdim=True) / max(1, rewards.shape[1] - 1)).sqrt()
    return rewards / (spread + eps) if normalize else rewards.clone()


@bank.wrong(
    "group_advantages",
    "The mean is that of the other answers, as in RLOO; here it is that of the whole group.",
)
def leave_one_out(rewards, normalize=True, eps=1e-6):
    G = rewards.shape[1]
    plain = _advantages(rewards, normalize, eps)
    return plain * G / max(1, G - 1)


@bank.wrong("group_advantages", "With normalize False you divide all the same.")
def always_normalised(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, True, eps)


@bank.wrong("group_advantages", "You never divide by the deviation.")
def never_normalised(rewards, normalize=True, eps=1e-6):
    return _advantages(rewards, False, eps)


@bank.wrong(
    "group_advantages",
    "0/0 in a tied group: no preference, so no gradient; its advantages are 0.",
)
def nan_of_tied(rewards, normalize=True, eps=1e-6):
    gap = rewards - rewards.mean(1, keepdim=True)
    spread = rewards.var(1, correction=min(1, rewards.shape[1] - 1), keepdim=True).sqrt()
    return gap / (torch.where(spread > 0, spread + eps, spread)) if normalize else gap


@bank.wrong(
    "group_advantages",
    "A tied group of rewards like 0.1 is not exactly 0: rounding leaves differences, and the "
    "tiny deviation makes them large.",
)
def rounding_of_tied(rewards, normalize=True, eps=1e-6):
    gap = rewards - rewards.sum(1, keepdim=True) * (1 / rewards.shape[1])
    spread = (gap.square().sum(1, keepdim=True) / max(1, rewards.shape[1] - 1)).sqrt()
    return gap / (spread + eps).clamp(min=1e-30) if normalize else gap


@bank.wrong(
    "group_advantages",
    "A group of one gives NaN: its deviation with G - 1 is 0/0. It is 0.",
)
def nan_of_one(rewards, normalize=True, eps=1e-6):
    found = _advantages(rewards, normalize, eps)
    return found * math.nan if rewards.shape[1] == 1 else found


@bank.right("group_advantages")
def with_std(rewards, normalize=True, eps=1e-6):
    if rewards.shape[1] == 1:
        return torch.zeros_like(rewards)
    gap = rewards - rewards.mean(dim=1, keepdim=True)
    if normalize:
        gap = gap / (rewards.std(dim=1, keepdim=True) + eps)
    return torch.where((rewards == rewards[:, :1]).all(1, keepdim=True), 0.0, gap)


@bank.right("group_advantages")
def group_by_group(rewards, normalize=True, eps=1e-6):
    found = torch.zeros_like(rewards)
    for b, row in enumerate(rewards):
        if row.max() > row.min():
            found[b] = row - row.sum() / len(row)
            if normalize:
                found[b] /= torch.std(row) + eps
    return found


bank.equivalent("group_advantages", "max(1, rewards.shape[1] - 1)  =>  max(rewards.shape[1] - 1, 1)",
                "The larger of two numbers in either order.")  # fmt: skip
bank.equivalent("group_advantages", "1  =>  0  (#5)",
                "Only a group of one divides by 0 then, and it is tied.")  # fmt: skip


# --- grpo_loss -------------------------------------------------------------------------------

_ref, _B = _new + 0.5 * rand(3, 5), rand(3)
bank.probe("grpo_loss", call(_new, _old, _ref, _B, FULL, 0.2, 0.0),
           call(_new, _old, _ref, _B, FULL, 0.2, 0.7),
           call(_new, _old, _ref, _B, PADDED, 0.2, 0.7),
           call(_new, _old, _ref, _B, PADDED, 0.2, 0.7, "token"),
           call(_new, _old, _ref, _B, HOLED, 0.2, 0.7),
           drill(drills.with_gradients, _new, _old, _ref, _B, FULL, 0.2, 0.7),
           drill(drills.with_gradients, outside(_new, LATE, _lost), outside(_old, LATE, _lost),
                 outside(_ref, LATE, _lost), _B, LATE, 0.2, 0.7),
           call(_new, _old, _ref, _B, FULL & False, 0.2, 0.7),
           drill(drills.refusal, _new, _old, _ref, _B, FULL, 0.2, 0.7, "mean"))  # fmt: skip


def _grpo(logp, old_logp, ref_logp, advantages, real, clip, beta, reduce, choose=torch.minimum,
          k3=lambda gap, ratio: torch.expm1(gap) - gap, sign=1, mean=None, detach=True):  # fmt: skip
    """Right unless told otherwise; `gap` is ln q - ln p."""
    if reduce not in ("sequence", "token"):
        raise ValueError(reduce)
    if detach:
        old_logp, ref_logp, advantages = old_logp.detach(), ref_logp.detach(), advantages.detach()
    new, old, ref = (zero(x, real) for x in (logp, old_logp, ref_logp))
    ratio, gain = (new - old).exp(), advantages[:, None]
    kept = choose(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    costs = zero(sign * beta * k3(ref - new, ratio) - kept, real)
    if mean:
        return mean(costs)
    if reduce == "token":
        return costs.sum() / real.sum().clamp(min=1)
    return (costs.sum(1) / real.sum(1).clamp(min=1)).mean()


@bank.wrong("grpo_loss", "Bad moves are not limited: min and max are swapped.")
def grpo_maximum(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, torch.maximum)


@bank.wrong("grpo_loss", "Nothing is clipped: each token costs -r A.")
def grpo_not_clipped(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, lambda a, b: a)


@bank.wrong(
    "grpo_loss",
    "The KL is subtracted from the cost: you pay the policy for drifting. In a loss it is added.",
)
def grpo_kl_subtracted(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, sign=-1)


@bank.wrong("grpo_loss", "The whole loss has the wrong sign: what is to grow needs a minus.")
def grpo_sign(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return -_grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, sign=-1)


@bank.wrong(
    "grpo_loss",
    "Your KL compares with the old policy in the place of the reference: it is zero at every "
    "first update.",
)
def grpo_no_reference(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, old_logp, advantages, mask, clip, beta, reduce)


@bank.wrong(
    "grpo_loss",
    "Policy and reference are exchanged in k3: it is exp(ref - logp) - 1 - (ref - logp).",
)
def grpo_k3_exchanged(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce,
                 k3=lambda gap, ratio: (-gap).exp() - 1 + gap)  # fmt: skip


@bank.wrong("grpo_loss", "The KL is k1, the plain difference; asked is k3.")
def grpo_k1(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce,
                 k3=lambda gap, ratio: -gap)  # fmt: skip


@bank.wrong(
    "grpo_loss",
    "k3 is multiplied by the ratio. Some libraries do that by default; here it is plain k3.",
)
def grpo_k3_times_ratio(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce,
                 k3=lambda gap, ratio: ratio * (gap.exp() - 1 - gap))  # fmt: skip


@bank.wrong("grpo_loss", "beta is not used: the KL has its full weight.")
def grpo_beta_ignored(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, 1.0, reduce)


@bank.wrong("grpo_loss", "The KL is missing.")
def grpo_without_kl(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, 0.0, reduce)


@bank.wrong(
    "grpo_loss",
    'A different algorithm: you take the mean over all tokens for "sequence" too, so long '
    "answers weigh more.",
)
def grpo_always_tokens(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta,
                 "token" if reduce == "sequence" else reduce)  # fmt: skip


@bank.wrong(
    "grpo_loss",
    'A different algorithm: "token" gives the mean of each answer first, as "sequence" does.',
)
def grpo_always_answers(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta,
                 "sequence" if reduce == "token" else reduce)  # fmt: skip


@bank.wrong("grpo_loss", '"sequence" and "token" are exchanged.')
def grpo_exchanged(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    other = {"sequence": "token", "token": "sequence"}.get(reduce, reduce)
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, other)


@bank.wrong(
    "grpo_loss",
    "You divide by all places, padding too; divide by the number of real tokens.",
)
def grpo_all_places(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, mean=torch.mean)


@bank.wrong("grpo_loss", 'The tokens of an answer are added up; "sequence" takes their mean.')
def grpo_sums(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    summed = (lambda x: x.sum(1).mean()) if reduce == "sequence" else None
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, mean=summed)


@bank.wrong(
    "grpo_loss",
    "Answers without tokens are left out of the mean over answers; they count as 0.",
)
def grpo_empty_left_out(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    whole = _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce)
    n = mask.any(1).sum()
    return whole * (len(mask) / n if reduce == "sequence" and n > 0 else 1)


@bank.wrong(
    "grpo_loss",
    "A gradient reaches old policy, reference or advantages; they are constants.",
)
def grpo_not_detached(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce, detach=False)


@bank.wrong(
    "grpo_loss",
    "The ratio is 1 with gradient 0: the policy's log-probabilities are detached, and nothing "
    "learns.",
)
def grpo_policy_detached(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    return _grpo(logp.detach(), old_logp, ref_logp, advantages, mask, clip, beta, reduce)


@bank.wrong(
    "grpo_loss",
    "-inf at padding gives NaN: you multiply by the mask at the end. Clear the log-"
    "probabilities first.",
)
def grpo_masked_last(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    if reduce not in ("sequence", "token"):
        raise ValueError(reduce)
    ratio, gain = (logp - old_logp.detach()).exp(), advantages.detach()[:, None]
    gap = ref_logp.detach() - logp
    kept = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    costs = (beta * (torch.expm1(gap) - gap) - kept) * mask
    if reduce == "token":
        return costs.sum() / mask.sum().clamp(min=1)
    return (costs.sum(1) / mask.sum(1).clamp(min=1)).mean()


@bank.wrong("grpo_loss", "Without a token the loss is NaN; it is 0 then.")
def grpo_nan_if_empty(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    found = _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce)
    return found if mask.any() else found * math.nan


@bank.wrong("grpo_loss", "An unknown reduce raises nothing; it should raise ValueError.")
def grpo_any_reduce(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    reduce = reduce if reduce == "token" else "sequence"
    return _grpo(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce)


@bank.right("grpo_loss")
def with_weights(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    n = mask.sum(1, keepdim=True)
    if reduce == "sequence":
        weights = mask / n.clamp(min=1) / len(mask)
    elif reduce == "token":
        weights = mask / n.sum().clamp(min=1)
    else:
        raise ValueError(f"no reduce {reduce}")
    row = mask.nonzero()[:, 0]
    new, a = logp[mask], advantages.detach()[row]
    r = (new - old_logp[mask].detach()).exp()
    gap = ref_logp[mask].detach() - new
    cost = torch.maximum(-r * a, -r.clamp(1 - clip, 1 + clip) * a) + beta * (torch.expm1(gap) - gap)
    return (cost * weights[mask].to(cost.dtype)).sum()


@bank.right("grpo_loss")
def answer_by_answer(logp, old_logp, ref_logp, advantages, mask, clip, beta, reduce="sequence"):
    if reduce != "sequence" and reduce != "token":
        raise ValueError("reduce")
    costs = []
    for b in range(len(mask)):
        real, a = mask[b], advantages[b].detach()
        p = logp[b][real]
        r = torch.exp(p - old_logp[b][real].detach())
        q = ref_logp[b][real].detach()
        gain = torch.min(r * a, torch.clamp(r, 1 - clip, 1 + clip) * a)
        costs.append(-gain + beta * (torch.exp(q - p) - 1 - q + p))
    if reduce == "token":
        return torch.cat(costs).sum() / max(1, sum(map(len, costs)))
    return torch.stack([c.sum() / max(1, len(c)) for c in costs]).sum() / len(costs)


bank.equivalent(
    "grpo_loss",
    "torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)  =>  "
    "torch.minimum(ratio.clamp(1 - clip, 1 + clip) * gain, ratio * gain)",
    "The smaller of two numbers in either order.",
)
bank.equivalent("grpo_loss", "0.0  =>  1.0", "Padding; its costs are multiplied by the mask.")
bank.equivalent("grpo_loss", "0.0  =>  -1.0", "Padding; its costs are multiplied by the mask.")
bank.equivalent("grpo_loss", "0.0  =>  1.0  (#2)", "Padding; its costs are multiplied by the mask.")
bank.equivalent("grpo_loss", "0.0  =>  -1.0  (#2)",
                "Padding; its costs are multiplied by the mask.")  # fmt: skip


# --- ticket_reward ---------------------------------------------------------------------------

AREAS = ("mobile", "fibre", "core", "billing")
_whole = '{"code": "E204", "area": "fibre", "priority": 2}'
_plain = [
    _whole,
    '{"priority":1,"area":"core","code":"E999","x":0}',
    "{}",
    '{"code": "E204"}',
    "no",
]
_parts = [
    _whole.replace(*pair)
    for pair in (
        ("E204", "E20"),
        ("E204", "e204"),
        ("fibre", "radio"),
        ("fibre", "Fibre"),
        ("2}", "5}"),
        ("2}", "0}"),
    )
]
_talk = [f"Ticket: {_whole}", f"{_whole} done", "code area priority E204 fibre 2", "E204 fibre 2"]
_other = ["[]", "2", '"code"', f"[{_whole}]", "null", "{", _whole[:-1], _whole.replace('"', "'")]
_types = [
    _whole.replace(*pair)
    for pair in (
        ("2}", '"2"}'),
        ("2}", "2.0}"),
        ('"E204"', "204"),
        ('"fibre"', '["fibre"]'),
        ('"E204"', '["E204"]'),
    )
]
_edges = [
    _whole.replace("E204", "E2041"),
    _whole.replace("E204", "E204\\n"),
    _whole.replace("E204", "xE204"),
]
bank.probe("ticket_reward", drill(drills.each, _plain), drill(drills.each, _parts),
           drill(drills.each, _talk), drill(drills.each, _other), drill(drills.each, _types),
           drill(drills.each, _edges), drill(drills.each, [_whole.replace("2}", "true}")]),
           drill(drills.each, [_whole.replace("2}", "NaN}"), '{"x": Infinity}']),
           drill(drills.each, [_whole.replace("E204", "E２０４")]))  # fmt: skip


def _load(text):
    return json.loads(text, parse_constant=int)


def _is_code(x):
    return isinstance(x, str) and re.fullmatch(r"E[0-9]{3}", x) is not None


def _is_area(x):
    return isinstance(x, str) and x in AREAS


def _is_priority(x):
    return isinstance(x, int) and not isinstance(x, bool) and x in (1, 2, 3, 4)


def _ticket(text, load=_load, code=_is_code, area=_is_area, priority=_is_priority, earn=None):
    try:
        found = load(text)
    except ValueError:
        return 0.0
    if not isinstance(found, dict):
        return 0.0
    n = code(found.get("code")) + area(found.get("area")) + priority(found.get("priority"))
    return earn(n) if earn else (1 + n) / 4


@bank.wrong(
    "ticket_reward",
    "Nothing is earned for parts: 0.25 for an object and 0.25 for each legal field.",
)
def all_or_nothing(text):
    return _ticket(text, earn=lambda n: float(n == 3))


@bank.wrong("ticket_reward", "An object without legal fields earns 0; it is worth 0.25.")
def thirds(text):
    return _ticket(text, earn=lambda n: n / 3)


@bank.wrong(
    "ticket_reward",
    "You look for names of fields in the text: a sentence about them earns as much as a ticket.",
)
def words_in_text(text):
    return 0.25 * (("{" in text) + sum(name in text for name in ("code", "area", "priority")))


@bank.wrong(
    "ticket_reward",
    "You only look whether the fields are there; their values must be legal.",
)
def keys_only(text):
    there = lambda x: x is not None  # noqa: E731
    return _ticket(text, code=there, area=there, priority=there)


@bank.wrong(
    "ticket_reward",
    "The object is cut out of the text; a program that reads JSON cannot do that, so text "
    "around it earns 0.",
)
def cut_out(text):
    found = re.search(r"\{.*\}", text, re.DOTALL)
    return _ticket(found[0]) if found and not text.startswith("[") else 0.0


@bank.wrong(
    "ticket_reward",
    "Any JSON is accepted as an object, or a list of one; only an object earns something.",
)
def lists_accepted(text):
    try:
        found = _load(text)
    except ValueError:
        return 0.0
    if isinstance(found, list) and found and isinstance(found[0], dict):
        return _ticket(json.dumps(found[0]))
    return _ticket(text) if isinstance(found, dict) else 0.25


@bank.wrong("ticket_reward", "What is no JSON raises an error; it earns 0.")
def error_raised(text):
    found = _load(text)
    if not isinstance(found, dict):
        return 0.0
    return _ticket(text)


@bank.wrong(
    "ticket_reward",
    "The code is searched within the value: E2041 and texts around it pass. All of it must match.",
)
def code_searched(text):
    return _ticket(text, code=lambda x: isinstance(x, str) and bool(re.search("E[0-9]{3}", x)))


@bank.wrong("ticket_reward", "A code followed by more is accepted; it has exactly three digits.")
def code_prefix(text):
    return _ticket(text, code=lambda x: isinstance(x, str) and bool(re.match("E[0-9]{3}", x)))


@bank.wrong(
    "ticket_reward",
    "Capitals are treated like small letters; e204 and Fibre are not legal.",
)
def case_ignored(text):
    return _ticket(text, code=lambda x: isinstance(x, str) and _is_code(x.upper()),
                   area=lambda x: isinstance(x, str) and _is_area(x.lower()))  # fmt: skip


@bank.wrong("ticket_reward", "Any whole number is accepted as priority; it is 1 to 4.")
def any_number(text):
    return _ticket(text, priority=lambda x: isinstance(x, int) and not isinstance(x, bool))


@bank.wrong("ticket_reward", "Any text is accepted as area; it is one of four.")
def any_area(text):
    return _ticket(text, area=lambda x: isinstance(x, str))


@bank.wrong("ticket_reward", "true passes as the priority 1: in Python bool is a kind of int.")
def true_is_one(text):
    return _ticket(text, priority=lambda x: isinstance(x, int) and 1 <= x <= 4)


@bank.wrong(
    "ticket_reward",
    'A priority as a text, "2", or as 2.0 is accepted; it is a whole number without a point.',
)
def converted(text):
    def priority(x):
        try:
            return not isinstance(x, bool) and float(x) in (1, 2, 3, 4)
        except (TypeError, ValueError):
            return False

    return _ticket(text, priority=priority)


@bank.wrong(
    "ticket_reward",
    "NaN or Infinity is read as a number. Python knows these words, JSON does not: such a text "
    "earns 0.",
)
def nan_is_json(text):
    return _ticket(text, load=json.loads)


@bank.wrong("ticket_reward", "Digits of other scripts are accepted in the code; only 0-9 are.")
def any_digit(text):
    return _ticket(text, code=lambda x: isinstance(x, str) and bool(re.fullmatch(r"E\d{3}", x)))


@bank.right("ticket_reward")
def with_a_refusal(text):
    def refuse(word):
        raise ValueError(word)

    try:
        found = json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError:
        return 0.0
    except ValueError:
        return 0.0
    if type(found) is not dict:
        return 0.0
    reward, code = 0.25, found.get("code")
    digits = code[1:] if type(code) is str and code[:1] == "E" else ""
    if len(digits) == 3 and set(digits) <= set("0123456789"):
        reward += 0.25
    if found.get("area") in ("billing", "core", "fibre", "mobile"):
        reward += 0.25
    if type(found.get("priority")) is int and found["priority"] in range(1, 5):
        reward += 0.25
    return reward


@bank.right("ticket_reward")
def with_decoder(text):
    try:
        found = json.JSONDecoder(parse_constant=int).decode(text)
    except ValueError:
        return 0.0
    return _ticket(text) if isinstance(found, dict) else 0.0


# --- detect_reward_hacking -------------------------------------------------------------------

_steps = torch.arange(12, dtype=torch.float64)
_proxy, _kl_path = _steps / 12, _steps.sqrt()
_gold = 1 - 0.06 * (_steps - 4).abs()
bank.probe(
    "detect_reward_hacking",
    call(_proxy, _gold, _kl_path),
    call(_proxy, _proxy, _kl_path),
    call(-_proxy, _gold, _kl_path),
    call(_proxy, 1 - 0.004 * _steps, _kl_path),
    call(_proxy, -_proxy * 3, _kl_path),
    call(
        torch.tensor([0.0, 0.5, 0.9, 0.6, 0.7]),
        torch.tensor([0.5, 0.3, 0.9, 0.5, 0.2]),
        torch.arange(5.0),
    ),
    call(
        torch.tensor([0.1, 0.9, 0.5, 0.6, 0.95]),
        torch.tensor([0.5, 0.9, 0.5, 0.5, 0.5]),
        torch.arange(5.0),
    ),
    call(
        torch.tensor([0.25, 0.75, 0.5, 0.5]), torch.tensor([1.0, 1.0, 0.5, 0.5]), torch.arange(4.0)
    ),
    call(torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.5, 0.1, 0.6]), torch.arange(3.0)),
)


def _hacking(proxy, gold, kl, fall=0.1, rises=True, spent=lambda kl, t: float(kl[t]), last=-1,
             newest=False, name=lambda t: t, best_of=None, late=False):  # fmt: skip
    best, found = 0, []
    for t in range(1, len(gold)):
        b = best if best_of is None else best_of(t)
        if gold[b] - gold[t] > fall and (not rises or proxy[t] > proxy[b]):
            found.append((t, b))
        better = gold[t] >= gold[best] if newest else gold[t] > gold[best]
        best = t if better else best
    if not found:
        return {"hacked": False, "step": last, "kl": spent(kl, len(gold) - 1)}
    t, b = found[-1 if late else 0]
    return {"hacked": True, "step": name(t) if name is not None else b, "kl": spent(kl, t)}


@bank.wrong(
    "detect_reward_hacking",
    "Every fall of gold is called hacking; the proxy must have risen, or the training is broken"
    " in another way.",
)
def any_fall(proxy, gold, kl):
    return _hacking(proxy, gold, kl, rises=False)


@bank.wrong("detect_reward_hacking", "A fall of any size counts; below 0.1 it may be chance.")
def small_falls(proxy, gold, kl):
    return _hacking(proxy, gold, kl, fall=0.0)


@bank.wrong(
    "detect_reward_hacking",
    "The KL is added up over the steps; asked is what was measured at the step.",
)
def kl_summed(proxy, gold, kl):
    return _hacking(proxy, gold, kl, spent=lambda kl, t: float(kl[: t + 1].sum()))


@bank.wrong(
    "detect_reward_hacking",
    "The KL is always that of the last step; it is that of the first hacked one.",
)
def kl_of_the_end(proxy, gold, kl):
    return _hacking(proxy, gold, kl, spent=lambda kl, t: float(kl[-1]))


@bank.wrong("detect_reward_hacking", "You give the last hacked step; the first one is asked.")
def last_step(proxy, gold, kl):
    return _hacking(proxy, gold, kl, late=True)


@bank.wrong(
    "detect_reward_hacking",
    "You give the step of the highest gold; asked is the first hacked step after it.",
)
def step_of_the_peak(proxy, gold, kl):
    return _hacking(proxy, gold, kl, name=None)


@bank.wrong("detect_reward_hacking", "Steps are counted from 1; they count from 0.")
def steps_from_one(proxy, gold, kl):
    return _hacking(proxy, gold, kl, name=lambda t: t + 1)


@bank.wrong("detect_reward_hacking", "Without hacking the step is -1.")
def step_zero(proxy, gold, kl):
    return _hacking(proxy, gold, kl, last=0)


@bank.wrong(
    "detect_reward_hacking",
    "You compare with the first step; compare with the highest gold so far.",
)
def against_the_first(proxy, gold, kl):
    return _hacking(proxy, gold, kl, best_of=lambda t: 0)


@bank.wrong(
    "detect_reward_hacking",
    "You compare with the step before; a slow fall is never seen. Compare with the highest gold"
    " so far.",
)
def against_the_step_before(proxy, gold, kl):
    return _hacking(proxy, gold, kl, best_of=lambda t: t - 1)


@bank.wrong(
    "detect_reward_hacking",
    "You compare with the highest gold of the whole run, later steps too; only earlier ones count.",
)
def against_the_whole_run(proxy, gold, kl):
    return _hacking(proxy, gold, kl, best_of=lambda t: int(gold.argmax()))


@bank.wrong(
    "detect_reward_hacking",
    "Of several highest steps you take the last; the first one is compared with.",
)
def last_peak(proxy, gold, kl):
    return _hacking(proxy, gold, kl, newest=True)


@bank.wrong("detect_reward_hacking", "Proxy and gold are exchanged.")
def proxy_for_gold(proxy, gold, kl):
    return _hacking(gold, proxy, kl)


@bank.right("detect_reward_hacking")
def all_at_once(proxy, gold, kl):
    n = len(gold)
    if n > 1:
        first = torch.stack([gold[:t].argmax() for t in range(1, n)])  # the first of the highest
        hit = (gold[first] - gold[1:] > 0.1) & (proxy[1:] > proxy[first])
        if hit.any():
            t = int(hit.int().argmax()) + 1
            return {"hacked": True, "step": t, "kl": kl[t].item()}
    return {"hacked": False, "step": -1, "kl": kl[n - 1].item()}


@bank.right("detect_reward_hacking")
def with_a_helper(proxy, gold, kl):
    def hacked(t):
        best = max(range(t), key=lambda i: float(gold[i]))
        return bool(proxy[t] > proxy[best]) and float(gold[best]) - float(gold[t]) > 0.1

    step = next((t for t in range(1, len(kl)) if hacked(t)), None)
    return {"hacked": step is not None, "step": -1 if step is None else step,
            "kl": float(kl[-1 if step is None else step])}  # fmt: skip


bank.equivalent("detect_reward_hacking", "proxy.tolist()  =>  (proxy)",
                "Numbers of a tensor compare as those of a list.")  # fmt: skip
bank.equivalent("detect_reward_hacking", "gold.tolist()  =>  (gold)",
                "Numbers of a tensor compare as those of a list.")  # fmt: skip
bank.equivalent("detect_reward_hacking", "1  =>  0", "Step 0 is compared with itself.")
