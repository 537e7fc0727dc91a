"""The mistake bank of lab 8: what learners get wrong, what they read, and other right versions.

Several of these stood in published code; the comment names where: an issue or a pull request of
the repository on GitHub, read in November 2026.
"""

import math
from collections import Counter

import torch
import torch.nn.functional as F
from torch import nn

from autograder.bank import Bank, call, drill
from glassbox import drills_dpo as drills

bank = Bank("lab08_dpo")
gen = torch.Generator().manual_seed(80)


def rand(*shape):
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def ints(high, *shape):
    return torch.randint(high, shape, generator=gen)


# --- cohen_kappa -----------------------------------------------------------------------------

_a, _b = ints(2, 30), ints(2, 30)
_b[:12], _a[20:26] = _a[:12], 0
_ones = torch.ones(4).long()
bank.probe("cohen_kappa", call(_a, _b), call(ints(4, 40), ints(4, 40).clamp(max=2)),
           call(torch.tensor([3, 3, 8, 8, -2]), torch.tensor([3, 8, 8, 3, -2])),
           call(_ones, _ones))  # fmt: skip


def _table(a, b):
    """Counts of the first one's labels (rows) and the second one's (columns)."""
    names = sorted(set(a.tolist()) | set(b.tolist()))
    place = {name: i for i, name in enumerate(names)}
    table = torch.zeros(len(names), len(names)).double()
    for x, y in zip(a.tolist(), b.tolist(), strict=True):
        table[place[x], place[y]] += 1
    return table / len(a)


def _kappa(seen, chance, constant=0.0):
    return constant if chance == 1 else ((seen - chance) / (1 - chance)).item()


def _chance(table):
    return table.sum(0) @ table.sum(1)


@bank.wrong(
    "cohen_kappa",
    "That is the share of equal answers; chance alone gives much of it. Take p_e off and divide "
    "by 1 - p_e.",
)
def raw_agreement(a, b):
    return _table(a, b).trace().item()


@bank.wrong(
    "cohen_kappa",
    "Chance is taken as 1 / number of labels; it depends on how often each annotator uses each "
    "label.",
)
def chance_of_even_labels(a, b):
    table = _table(a, b)
    return _kappa(table.trace(), torch.tensor(1 / len(table)))


@bank.wrong(
    "cohen_kappa",
    "You pool the labels of both annotators and square the shares: that is Scott's pi. Multiply "
    "the share of one by the share of the other.",
)
def pooled_shares(a, b):
    table = _table(a, b)
    return _kappa(table.trace(), ((table.sum(0) + table.sum(1)) / 2).square().sum())


@bank.wrong("cohen_kappa", "p_o - p_e is not yet kappa: divide it by 1 - p_e, what could be had.")
def not_divided(a, b):
    table = _table(a, b)
    return (table.trace() - _chance(table)).item()


@bank.wrong("cohen_kappa", "You divide by 1 - p_o; it is 1 - p_e.")
def divided_by_disagreement(a, b):
    table = _table(a, b)
    rest = 1 - table.trace()
    return ((table.trace() - _chance(table)) / rest).item() if rest else 0.0


@bank.wrong("cohen_kappa", "One label everywhere gives 0/0: p_e is 1 then, and the result is 0.")
def constant_is_nan(a, b):
    table = _table(a, b)
    return ((table.trace() - _chance(table)) / (1 - _chance(table))).item()


@bank.wrong(
    "cohen_kappa",
    "One label everywhere gives 1; nothing can be told from chance, so the result is 0.",
)
def constant_is_one(a, b):
    table = _table(a, b)
    return _kappa(table.trace(), _chance(table), constant=1.0)


@bank.right("cohen_kappa")
def kappa_from_a_table(a, b):
    table = _table(a, b)
    return _kappa(table.trace(), _chance(table))


@bank.right("cohen_kappa")
def kappa_by_counting(a, b):
    n, first, second = len(a), Counter(a.tolist()), Counter(b.tolist())
    equal = sum(x == y for x, y in zip(a.tolist(), b.tolist(), strict=True))
    expected = sum(first[k] * second[k] for k in first)  # times n²
    return (n * equal - expected) / (n * n - expected) if n * n != expected else 0.0


# --- fit_bradley_terry -----------------------------------------------------------------------

_wins = ints(9, 4, 4).double() + 1
_wins[0] += 8
_chain = torch.tensor([[0.0, 6, 0, 0], [1, 0, 7, 1], [0, 2, 0, 9], [0, 0, 3, 0]]).double()
_never = torch.tensor([[0.0, 4, 2], [0, 0, 3], [0, 1, 0]]).double()
_off = 1 - torch.eye(4).double()
bank.probe("fit_bradley_terry", call(_wins * _off), call(_chain), call(_never),
           call(_wins * _off + 6 * torch.eye(4).double()))  # fmt: skip


def _prior(wins, each=0.5):
    return (wins.double() + each) * (1 - torch.eye(len(wins)).double())


def _centred(scores):
    return scores - scores.mean()


def _strengths(won, games=None, n=800):
    games = won + won.T if games is None else games
    w = torch.ones(len(won)).double()
    for _ in range(n):
        w = won.sum(1) / (games / (w[:, None] + w)).sum(1)
    return w


@bank.wrong(
    "fit_bradley_terry",
    "You score by the share of games won: that depends on whom an item has met. Fit all scores "
    "together.",
)
def logit_of_the_share(wins):
    won = _prior(wins)
    return _centred((won.sum(1) / won.sum(0)).log())


@bank.wrong(
    "fit_bradley_terry", "Winner and loser are exchanged: wins[i, j] is how often i has beaten j."
)
def read_by_columns(wins):
    return _centred(_strengths(_prior(wins.T)).log())


@bank.wrong(
    "fit_bradley_terry",
    "The prior is missing: an item that was never beaten has no finite score. Add half a win for "
    "each of two items.",
)
def without_prior(wins):
    return _centred(_strengths(_prior(wins, 0.0)).log())


@bank.wrong(
    "fit_bradley_terry",
    "Your prior is two games for each two items, a win for each; it is one drawn game, half a "
    "win for each.",
)
def a_whole_win_each(wins):
    return _centred(_strengths(_prior(wins, 1.0)).log())


@bank.wrong(
    "fit_bradley_terry",
    "Your prior is half a game for each two items; it is one game, half a win for each.",
)
def a_quarter_each(wins):
    return _centred(_strengths(_prior(wins, 0.25)).log())


@bank.wrong(
    "fit_bradley_terry",
    "The scores do not have mean 0: you have fixed one item or the sum of the strengths.",
)
def first_at_zero(wins):
    scores = _strengths(_prior(wins)).log()
    return scores - scores[0]


@bank.wrong(
    "fit_bradley_terry",
    "The scores do not have mean 0: you have fixed one item or the sum of the strengths.",
)
def strengths_sum_to_one(wins):
    w = _strengths(_prior(wins))
    return (w / w.sum()).log()


@bank.wrong("fit_bradley_terry", "You return the strengths, not their logarithms.")
def strengths(wins):
    w = _strengths(_prior(wins))
    return w / w.log().mean().exp()


@bank.wrong(
    "fit_bradley_terry",
    "The scale is another: Elo's 400 points for a factor of ten, or logarithms to base 10. Use "
    "natural logarithms.",
)
def base_ten(wins):
    return _centred(_strengths(_prior(wins)).log10())


@bank.wrong("fit_bradley_terry", "One repetition is not enough: repeat until nothing moves.")
def one_repetition(wins):
    return _centred(_strengths(_prior(wins), n=1).log())


@bank.wrong(
    "fit_bradley_terry", "Numbers on the diagonal count as wins; nobody plays against himself."
)
def diagonal_counts(wins):
    own = _prior(wins)
    return _centred(_strengths(own + wins.diag().diag(), own + own.T).log())


@bank.wrong(
    "fit_bradley_terry",
    "The sum of wins and the games is right, but the two strengths are not added: n / (w_i + w_j).",
)
def own_strength_only(wins):
    won = _prior(wins)
    games, w = won + won.T, torch.ones(len(won)).double()
    for _ in range(100):
        w = won.sum(1) / (games / (2 * w)).sum(1)
        w = w / w.log().mean().exp()
    return w.log()


@bank.right("fit_bradley_terry")
def by_newton(wins):
    won = _prior(wins)
    games, s = won + won.T, torch.zeros(len(won)).double()
    for _ in range(60):
        p = torch.sigmoid(s[:, None] - s)
        slope = won.sum(1) - (games * p).sum(1)
        bend = -games * p * (1 - p)
        bend = bend - bend.sum(1).diag()
        s = s + torch.linalg.pinv(bend) @ slope
    return _centred(s).to(wins.dtype)


@bank.right("fit_bradley_terry")
def item_by_item(wins):
    won, n = _prior(wins), len(wins)
    w = [1.0] * n
    for _ in range(300):
        for i in range(n):
            games = [won[i, j].item() + won[j, i].item() for j in range(n)]
            w[i] = won[i].sum().item() / sum(games[j] / (w[i] + w[j]) for j in range(n) if j != i)
    scores = torch.tensor([math.log(x) for x in w]).double()
    return _centred(scores).to(wins.dtype)


# --- reward_loss -----------------------------------------------------------------------------

_c, _r = rand(5) * 2, rand(5) * 2
bank.probe("reward_loss", call(_c, _r), call(_c[:1], _r[:1]), call(_c, _r, 0.75),
           call(torch.tensor([-300.0]), torch.tensor([300.0])),
           drill(drills.with_gradients, 2, _c, _r))  # fmt: skip


def _softly(x):
    return F.softplus(-x)


@bank.wrong(
    "reward_loss",
    "Infinite below a lead of about -89 in float32: the sigmoid is 0 there. Use logsigmoid.",
)
def log_of_sigmoid(chosen, rejected, margin=0.0):
    return -torch.log(torch.sigmoid(chosen - rejected - margin)).mean()


@bank.wrong("reward_loss", "Twice the batch gives twice the loss: take the mean over pairs.")
def summed_over_pairs(chosen, rejected, margin=0.0):
    return _softly(chosen - rejected - margin).sum()


@bank.wrong(
    "reward_loss",
    "The margin has the wrong sign: the lead must be that much larger, so take it off the lead.",
)
def margin_added(chosen, rejected, margin=0.0):
    return _softly(chosen - rejected + margin).mean()


@bank.wrong("reward_loss", "The margin has no effect.")
def margin_ignored(chosen, rejected, margin=0.0):
    return _softly(chosen - rejected).mean()


@bank.wrong("reward_loss", "Chosen and rejected are exchanged: the worse answer is rewarded.")
def exchanged_answers(chosen, rejected, margin=0.0):
    return _softly(rejected - chosen - margin).mean()


@bank.wrong("reward_loss", "The sign is missing: the loss is minus the logarithm, and so above 0.")
def minus_forgotten(chosen, rejected, margin=0.0):
    return -_softly(chosen - rejected - margin).mean()


@bank.wrong("reward_loss", "You take the probability, not its logarithm.")
def probability_of_defeat(chosen, rejected, margin=0.0):
    return torch.sigmoid(rejected - chosen + margin).mean()


@bank.wrong(
    "reward_loss",
    "That is a hinge loss: 0 beyond the margin. Bradley-Terry asks for the logarithm of a sigmoid.",
)
def hinge(chosen, rejected, margin=0.0):
    return (1 + margin - chosen + rejected).clamp(min=0).mean()


@bank.wrong(
    "reward_loss",
    "The mean is taken before the sigmoid: it must be of the losses, not of the leads.",
)
def mean_of_the_leads(chosen, rejected, margin=0.0):
    return _softly((chosen - rejected - margin).mean())


@bank.wrong("reward_loss", "One loss for each pair comes back; their mean is asked for.")
def one_each(chosen, rejected, margin=0.0):
    return _softly(chosen - rejected - margin)


@bank.wrong("reward_loss", "The rewards are detached: nothing can learn from this loss.")
def rewards_detached(chosen, rejected, margin=0.0):
    return _softly(chosen.detach() - rejected.detach() - margin).mean()


@bank.right("reward_loss")
def by_two_classes(chosen, rejected, margin=0.0):
    two = torch.stack([chosen - margin, rejected], -1)
    return F.cross_entropy(two, torch.zeros(len(two), dtype=torch.long))


@bank.right("reward_loss")
def by_bce(chosen, rejected, margin=0.0):
    lead = chosen - rejected - margin
    return F.binary_cross_entropy_with_logits(lead, torch.ones_like(lead))


# --- RewardModel -----------------------------------------------------------------------------

_ids = ints(7, 4, 6)
_all = torch.ones(4, 6).bool()
_right = torch.arange(6) < torch.tensor([[6], [3], [1], [5]])
_left = _right.flip(1)
_both = torch.tensor([[0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0],
                      [0, 0, 1, 1, 1, 1]]).bool()  # fmt: skip
_none = _right & (torch.arange(4) != 2)[:, None]
_head = rand(1, 3)
bank.probe("RewardModel", *[drill(drills.rewards, _head, _ids, mask)
                            for mask in (_all, _right, _left, _both, _none)],
           drill(drills.rewards, rand(1, 4), _ids, _right, body="gpt"))  # fmt: skip


class _Reward(nn.Module):
    """The model with everything that can go wrong in a method of its own."""

    def __init__(self, backbone, d_model):
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(d_model, 1, bias=False)

    def numbers(self, ids):
        return self.head(self.backbone(ids))[..., 0]

    def place(self, mask):
        counted = mask.long().cumsum(1) * mask
        return counted.argmax(1)

    def forward(self, ids, attention_mask):
        at = self.place(attention_mask)
        picked = self.numbers(ids)[torch.arange(len(ids)), at]
        return torch.where(attention_mask.any(1), picked, torch.zeros_like(picked))


@bank.wrong(
    "RewardModel",
    "You read the last place: right for unpadded batches only. Where padding stands at the "
    "right, a short answer is judged by it.",
)
class LastPlace(_Reward):
    def place(self, mask):
        return torch.full((len(mask),), mask.shape[1] - 1)


@bank.wrong(
    "RewardModel",
    "You count the real tokens and take that place: wrong as soon as padding stands at the left.",
)
class CountedPlace(_Reward):  # huggingface/trl, issue 2778
    def place(self, mask):
        return (mask.sum(1) - 1).clamp(min=0)


@bank.wrong(
    "RewardModel",
    "You look for the first padding and go one back; padding may stand at both sides. Look for "
    "the last real token.",
)
class FirstPadding(_Reward):  # huggingface/transformers, issue 35352
    def place(self, mask):
        return (mask.int().argmin(1) - 1) % mask.shape[1]


@bank.wrong(
    "RewardModel", "The reward is read one token early; the last real token belongs to the answer."
)
class OneEarly(_Reward):  # EleutherAI/gpt-neox, pull request 1285
    def place(self, mask):
        return (super().place(mask) - 1).clamp(min=0)


@bank.wrong("RewardModel", "You read the first token: a causal model has seen nothing there.")
class FirstToken(_Reward):
    def place(self, mask):
        return mask.int().argmax(1)


@bank.wrong(
    "RewardModel",
    "You take the mean over the real tokens; the reward is the number at the last one.",
)
class MeanOverTokens(_Reward):
    def forward(self, ids, attention_mask):
        n = attention_mask.sum(1).clamp(min=1)
        return (self.numbers(ids) * attention_mask).sum(1) / n


@bank.wrong(
    "RewardModel",
    "You add up the numbers of all real tokens; the reward is the number at the last one.",
)
class SumOverTokens(_Reward):
    def forward(self, ids, attention_mask):
        return (self.numbers(ids) * attention_mask).sum(1)


@bank.wrong("RewardModel", "A row without a real token gets the number of some place; it gets 0.")
class NothingReadAnyway(_Reward):
    def forward(self, ids, attention_mask):
        return self.numbers(ids)[torch.arange(len(ids)), self.place(attention_mask)]


@bank.wrong(
    "RewardModel", "No gradient reaches the backbone: it is detached, and only the head can learn."
)
class BackboneFrozen(_Reward):
    def numbers(self, ids):
        with torch.no_grad():
            hidden = self.backbone(ids)
        return self.head(hidden)[..., 0]


@bank.wrong("RewardModel", "The shape is (B, 1); one number for each row, (B,), is asked for.")
class ColumnReturned(_Reward):
    def forward(self, ids, attention_mask):
        return super().forward(ids, attention_mask)[:, None]


@bank.wrong("RewardModel", "The reward is squashed by a sigmoid; it is the head's number itself.")
class Squashed(_Reward):
    def numbers(self, ids):
        return super().numbers(ids).sigmoid()


@bank.right("RewardModel")
class RowByRow(_Reward):
    def forward(self, ids, attention_mask):
        hidden, found = self.backbone(ids), []
        for row, mask in zip(hidden, attention_mask, strict=True):
            real = mask.nonzero()[:, 0]
            found.append(self.head(row[real[-1]])[0] if len(real) else 0 * self.head(row[0])[0])
        return torch.stack(found)


@bank.right("RewardModel")
class ByOneHot(_Reward):
    def forward(self, ids, attention_mask):
        later = attention_mask.flip(1).cumsum(1).flip(1)  # real tokens from here on
        is_last = attention_mask & (later == 1)
        hidden = self.backbone(ids)
        return self.head((hidden * is_last[..., None]).sum(1)).squeeze(1)


# --- length_bias -----------------------------------------------------------------------------

_lengths = ints(40, 12) + 3
_rewards = 0.05 * _lengths.double() + rand(12) + 2
bank.probe("length_bias", call(_rewards, _lengths), call(-3 * _rewards, _lengths.double()),
           call(_rewards, torch.full((12,), 7)), call(_rewards * 0 + 1, _lengths),
           call(_rewards[:1], _lengths[:1]))  # fmt: skip


def _sums(rewards, lengths):
    r, n = rewards.double(), lengths.double()
    r, n = r - r.mean(), n - n.mean()
    return float(r @ n), float(n @ n), float(r @ r)


def _degenerate(rewards, lengths):
    return len(set(lengths.tolist())) == 1 or len(set(rewards.tolist())) == 1


@bank.wrong(
    "length_bias",
    "The slope is upside down: tokens per reward. Divide by the squares of the lengths.",
)
def tokens_per_reward(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    both, of_n, of_r = _sums(rewards, lengths)
    return both / of_r, both / math.sqrt(of_n * of_r)


@bank.wrong("length_bias", "The two numbers are exchanged: slope first, then correlation.")
def correlation_first(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    both, of_n, of_r = _sums(rewards, lengths)
    return both / math.sqrt(of_n * of_r), both / of_n


@bank.wrong("length_bias", "Your line goes through the origin: subtract the means first.")
def through_the_origin(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    r, n = rewards.double(), lengths.double()
    return float(r @ n / (n @ n)), float(r @ n / (n.norm() * r.norm()))


@bank.wrong(
    "length_bias", "One sum is divided by N, another by N - 1: the slope is off by N / (N - 1)."
)
def unlike_divisors(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    both, of_n, of_r = _sums(rewards, lengths)
    off = len(rewards) / (len(rewards) - 1)
    return off * both / of_n, off * both / math.sqrt(of_n * of_r)


@bank.wrong(
    "length_bias", "Equal lengths or rewards give 0/0: not a number. Both results are 0 then."
)
def not_a_number(rewards, lengths):
    both, of_n, of_r = _sums(rewards, lengths)
    if of_n == 0 or of_r == 0:
        return math.nan, math.nan
    return both / of_n, both / math.sqrt(of_n * of_r)


@bank.wrong("length_bias", "The correlation has no sign: longer may be worse.")
def absolute_correlation(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    both, of_n, of_r = _sums(rewards, lengths)
    return both / of_n, abs(both) / math.sqrt(of_n * of_r)


@bank.right("length_bias")
def bias_by_cov(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    table = torch.stack([lengths.double(), rewards.double()])
    spread = torch.cov(table)
    return float(spread[0, 1] / spread[0, 0]), float(torch.corrcoef(table)[0, 1])


@bank.right("length_bias")
def bias_by_least_squares(rewards, lengths):
    if _degenerate(rewards, lengths):
        return 0.0, 0.0
    r, n = rewards.double(), lengths.double()
    fit = torch.linalg.lstsq(torch.stack([n, torch.ones_like(n)], 1), r[:, None]).solution
    slope = fit[0, 0].item()
    return slope, slope * (n.std() / r.std()).item()


# --- sequence_logp ---------------------------------------------------------------------------

_logits, _tokens = rand(3, 7, 5) * 2, ints(5, 3, 7)
_mask = torch.tensor([[0, 0, 1, 1, 1, 0, 0], [0, 0, 0, 1, 1, 1, 1], [0, 1, 0, 1, 0, 0, 0]]).bool()
_tail = torch.arange(7).expand(3, 7) >= 3
bank.probe("sequence_logp", call(_logits[:1], _tokens[:1], _tail[:1]),
           call(_logits, _tokens, _mask), call(_logits, _tokens, _tail),
           call(_logits, _tokens, _mask | True), call(_logits, _tokens, _mask & False),
           call(_logits[:, :1], _tokens[:, :1], _mask[:, :1]),
           call(torch.eye(4)[None] * 1000, torch.tensor([[1, 2, 3, 0]]), torch.ones(1, 4).bool()),
           drill(drills.with_gradients, 1, _logits, _tokens, _mask))  # fmt: skip


def _picked(logits, ids, ahead=1, form=F.log_softmax):
    """(B, T - ahead) log-probabilities of tokens by the logits `ahead` places before."""
    n = logits.shape[1] - ahead
    return form(logits[:, : max(n, 0)], -1).gather(2, ids[:, ahead:, None])[..., 0]


@bank.wrong(
    "sequence_logp",
    "A mean over tokens: long answers are rescaled. The log-probability of an answer is a sum.",
)
def mean_over_tokens(logits, ids, mask):  # jingyaogong/minimind, issue 659
    counts = mask[:, 1:]
    return (_picked(logits, ids) * counts).sum(1) / counts.sum(1).clamp(min=1)


@bank.wrong(
    "sequence_logp",
    "A mean over all places, padding among them: the more padding, the smaller. The "
    "log-probability of an answer is a sum.",
)
def mean_over_places(logits, ids, mask):
    return (_picked(logits, ids) * mask[:, 1:]).sum(1) / max(ids.shape[1] - 1, 1)


@bank.wrong("sequence_logp", "The mask is upside down: you score the prompt and the padding.")
def upside_down(logits, ids, mask):
    return (_picked(logits, ids) * ~mask[:, 1:]).sum(1)


@bank.wrong(
    "sequence_logp",
    "The mask is upside down, so you score the prompt and the padding, and you take a mean over "
    "all places.",
)
def upside_down_mean(logits, ids, mask):  # QwenAudio/CosyVoice, issue 1449
    return (_picked(logits, ids) * ~mask[:, 1:]).sum(1) / max(ids.shape[1] - 1, 1)


@bank.wrong("sequence_logp", "Position t scores token t, but predicts t + 1: the shift is missing.")
def no_shift(logits, ids, mask):
    return (_picked(logits, ids, 0) * mask).sum(1)


@bank.wrong(
    "sequence_logp",
    "The mask is one place off: it belongs to the ids and loses its first entry with them.",
)
def mask_behind(logits, ids, mask):  # asked about in OpenRLHF/OpenRLHF, issue 465
    return (_picked(logits, ids) * mask[:, :-1]).sum(1)


@bank.wrong(
    "sequence_logp", "The first token of each answer is left out; it counts like the others."
)
def first_left_out(logits, ids, mask):  # jingyaogong/minimind, pull request 621
    return (_picked(logits, ids) * (mask[:, 1:] & mask[:, :-1])).sum(1)


@bank.wrong("sequence_logp", "The shift is made twice: place t - 2 is asked about token t.")
def shifted_twice(logits, ids, mask):
    return (_picked(logits, ids, 2) * mask[:, 2:]).sum(1)


@bank.wrong("sequence_logp", "The shift goes the wrong way: place t is asked about token t - 1.")
def shifted_back(logits, ids, mask):
    told = F.log_softmax(logits[:, 1:], -1).gather(2, ids[:, :-1, None])[..., 0]
    return (told * mask[:, :-1]).sum(1)


@bank.wrong("sequence_logp", "The mask has no effect: prompt and padding are scored too.")
def all_tokens(logits, ids, mask):
    return _picked(logits, ids).sum(1)


@bank.wrong("sequence_logp", "You add up logits; log-probabilities need log_softmax.")
def raw_logits(logits, ids, mask):
    return (_picked(logits, ids, form=lambda x, _: x) * mask[:, 1:]).sum(1)


@bank.wrong("sequence_logp", "You add up probabilities; their logarithms are asked for.")
def probabilities(logits, ids, mask):
    return (_picked(logits, ids, form=F.softmax) * mask[:, 1:]).sum(1)


@bank.wrong(
    "sequence_logp",
    "log(softmax(x)) is minus infinity where the softmax rounds to 0; log_softmax is not.",
)
def log_of_softmax(logits, ids, mask):
    told = _picked(logits, ids, form=lambda x, _: x.softmax(-1).log())
    return told.masked_fill(~mask[:, 1:], 0.0).sum(1)


@bank.wrong(
    "sequence_logp", "The sign is turned: that is a loss. Log-probabilities are not above 0."
)
def a_loss(logits, ids, mask):
    return -(_picked(logits, ids) * mask[:, 1:]).sum(1)


@bank.wrong("sequence_logp", "One number for the whole batch; each row has its own.")
def whole_batch(logits, ids, mask):
    return (_picked(logits, ids) * mask[:, 1:]).sum()


@bank.wrong("sequence_logp", "One number for each token comes back; sum over the row.")
def token_by_token(logits, ids, mask):
    return _picked(logits, ids) * mask[:, 1:]


@bank.wrong(
    "sequence_logp",
    "A token at place 0 is scored by the last place of its row: it has no forecast and never "
    "counts.",
)
def first_by_the_last(logits, ids, mask):
    told = F.log_softmax(logits.roll(1, 1), -1).gather(2, ids[..., None])[..., 0]
    return (told * mask).sum(1)


@bank.wrong("sequence_logp", "No gradient reaches the logits: they are detached.")
def logits_detached(logits, ids, mask):
    return (_picked(logits.detach(), ids) * mask[:, 1:]).sum(1)


@bank.right("sequence_logp")
def by_cross_entropy(logits, ids, mask):
    costs = F.cross_entropy(logits[:, :-1].transpose(1, 2), ids[:, 1:], reduction="none")
    return -costs.masked_fill(~mask[:, 1:], 0.0).sum(1)


@bank.right("sequence_logp")
def by_logsumexp(logits, ids, mask):
    wanted = torch.zeros_like(logits[:, :-1]).scatter(2, ids[:, 1:, None], 1.0)
    told = (logits[:, :-1] * wanted).sum(-1) - torch.logsumexp(logits[:, :-1], -1)
    return torch.where(mask[:, 1:], told, torch.zeros_like(told)).sum(-1)


# --- implicit_reward -------------------------------------------------------------------------

_p, _q = rand(6) * 4 - 20, rand(6) * 4 - 20
bank.probe("implicit_reward", call(_p, _q, 0.25), drill(drills.with_gradients, 1, _p, _q, 0.25))


@bank.wrong("implicit_reward", "The reference is missing: every common answer gets a high reward.")
def policy_alone(logp, ref_logp, beta):
    return beta * logp


@bank.wrong("implicit_reward", "beta is missing.")
def ratio_alone(logp, ref_logp, beta):
    return logp - ref_logp


@bank.wrong("implicit_reward", "You divide by beta; the log-ratio is multiplied by it.")
def ratio_over_beta(logp, ref_logp, beta):
    return (logp - ref_logp) / beta


@bank.wrong(
    "implicit_reward",
    "Policy and reference are exchanged: an answer that has become likelier has a reward above 0.",
)
def ratio_turned(logp, ref_logp, beta):
    return beta * (ref_logp - logp)


@bank.wrong(
    "implicit_reward",
    "You divide the log-probabilities; a ratio of probabilities is a difference of their "
    "logarithms.",
)
def quotient_of_logs(logp, ref_logp, beta):
    return beta * logp / ref_logp


@bank.wrong("implicit_reward", "beta is on one side only.")
def beta_on_the_policy(logp, ref_logp, beta):
    return beta * logp - ref_logp


@bank.wrong("implicit_reward", "The reward is detached: its gradient should flow to logp.")
def reward_detached(logp, ref_logp, beta):
    return beta * (logp.detach() - ref_logp)


@bank.right("implicit_reward")
def by_add(logp, ref_logp, beta):
    return torch.add(logp * beta, ref_logp, alpha=-beta)


@bank.right("implicit_reward")
def by_ratio(logp, ref_logp, beta):
    return torch.sub(logp, ref_logp).mul(beta)


# --- dpo_loss --------------------------------------------------------------------------------

_four = [rand(5) * 3 - 20 for _ in range(4)]
_far = [torch.tensor([-900.0]), torch.tensor([900.0]), torch.zeros(1), torch.zeros(1)]
bank.probe("dpo_loss", call(*[x[:1] for x in _four], 0.3), call(*_four, 0.3),
           call(*_four, 0.3, 0.15), call(*_far, 0.1),
           drill(drills.with_gradients, 2, *_four, 0.3))  # fmt: skip


def _rewarded(c, r, rc, rr, beta):
    return (beta * (c - rc)).detach(), (beta * (r - rr)).detach()


def _margin(c, r, rc, rr):
    return (c - rc) - (r - rr)


def _smooth(z, e):
    return ((1 - e) * F.softplus(-z) + e * F.softplus(z)).mean()


@bank.wrong("dpo_loss", "This is CPO: your loss does not see the reference.")
def no_reference(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    # linkedin/Liger-Kernel, pull request 387
    return (_smooth(beta * (chosen - rejected), label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "This is CPO: your loss does not see the reference.")
def no_reference_at_all(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    loss = _smooth(beta * (chosen - rejected), label_smoothing)
    return loss, (beta * chosen).detach(), (beta * rejected).detach()


@bank.wrong("dpo_loss", "Chosen and rejected are swapped for the reference.")
def reference_swapped(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    return (_smooth(beta * _margin(chosen, rejected, ref_rejected, ref_chosen), label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "Chosen and rejected are swapped for the reference.")
def reference_swapped_in_all(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    return (_smooth(beta * _margin(chosen, rejected, ref_rejected, ref_chosen), label_smoothing),
            *_rewarded(chosen, rejected, ref_rejected, ref_chosen, beta))  # fmt: skip


@bank.wrong(
    "dpo_loss",
    "Chosen and rejected (or the two terms of the loss) are exchanged: the worse answer is made likelier.",
)
def pair_swapped(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    return (_smooth(-beta * _margin(chosen, rejected, ref_chosen, ref_rejected), label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "Infinite below a scaled margin of about -89 in float32; use logsigmoid.")
def log_sigmoid(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    loss = -(1 - label_smoothing) * z.sigmoid().log()
    if label_smoothing:
        loss = loss - label_smoothing * (-z).sigmoid().log()
    return (loss.mean(), *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))


@bank.wrong("dpo_loss", "Your loss is not antisymmetric in the margin: beta is on one side only.")
def beta_on_one_side(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * (chosen - ref_chosen) - (rejected - ref_rejected)
    return (_smooth(z, label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "Your loss is not antisymmetric in the margin: beta is on one side only.")
def beta_on_the_policy_only(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * (chosen - rejected) - (ref_chosen - ref_rejected)
    return (_smooth(z, label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "You divide by beta; the margin is multiplied by it.")
def over_beta(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    # linkedin/Liger-Kernel, pull request 378
    return (_smooth(_margin(chosen, rejected, ref_chosen, ref_rejected) / beta, label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "beta is in the loss twice.")
def beta_twice(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    # asked about in AI-Hypercomputer/maxtext, issue 1530
    z = beta * beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (_smooth(z, label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "beta has no effect on the loss.")
def no_beta(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    return (_smooth(_margin(chosen, rejected, ref_chosen, ref_rejected), label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "Twice the batch gives twice the loss: take the mean over pairs.")
def sum_over_pairs(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (_smooth(z, label_smoothing) * len(z),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong(
    "dpo_loss",
    "The mean is taken before the sigmoid: it must be of the losses, not of the margins.",
)
def mean_margin(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (_smooth(z.mean(), label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong("dpo_loss", "label_smoothing has no effect.")
def no_smoothing(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    return (_smooth(beta * _margin(chosen, rejected, ref_chosen, ref_rejected), 0.0),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))  # fmt: skip


@bank.wrong(
    "dpo_loss",
    "That is robust DPO: it subtracts the wrong labels' share and divides by 1 - 2 "
    "label_smoothing. Here both terms are added.",
)
def robust(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z, e = beta * _margin(chosen, rejected, ref_chosen, ref_rejected), label_smoothing
    loss = ((1 - e) * F.softplus(-z) - e * F.softplus(z)).mean() / (1 - 2 * e)
    return (loss, *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))


@bank.wrong("dpo_loss", "The rewards carry a gradient; detach them.")
def rewards_attached(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (_smooth(z, label_smoothing), beta * (chosen - ref_chosen),
            beta * (rejected - ref_rejected))  # fmt: skip


@bank.wrong("dpo_loss", "beta is missing in the rewards.")
def rewards_unscaled(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (_smooth(z, label_smoothing),
            *_rewarded(chosen, rejected, ref_chosen, ref_rejected, 1.0))  # fmt: skip


@bank.wrong("dpo_loss", "The rewards are exchanged: that of the chosen answers comes first.")
def rewards_exchanged(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    up, down = _rewarded(chosen, rejected, ref_chosen, ref_rejected, beta)
    return _smooth(z, label_smoothing), down, up


@bank.wrong("dpo_loss", "The reference is missing in the rewards.")
def rewards_without_reference(chosen, rejected, ref_chosen, ref_rejected, beta,
                              label_smoothing=0.0):  # fmt: skip
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    return _smooth(z, label_smoothing), (beta * chosen).detach(), (beta * rejected).detach()


@bank.wrong(
    "dpo_loss",
    "That is a hinge: 0 beyond a scaled margin of 1. DPO takes the logarithm of a sigmoid.",
)
def dpo_hinge(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    z = beta * _margin(chosen, rejected, ref_chosen, ref_rejected)
    loss = (1 - label_smoothing) * (1 - z).clamp(min=0) + label_smoothing * (1 + z).clamp(min=0)
    return (loss.mean(), *_rewarded(chosen, rejected, ref_chosen, ref_rejected, beta))


@bank.wrong("dpo_loss", "The loss is made of the detached rewards: nothing can learn from it.")
def loss_of_detached(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    up, down = _rewarded(chosen, rejected, ref_chosen, ref_rejected, beta)
    return _smooth(up - down, label_smoothing), up, down


@bank.right("dpo_loss")
def dpo_by_bce(chosen, rejected, ref_chosen, ref_rejected, beta, label_smoothing=0.0):
    gaps = torch.stack([chosen - ref_chosen, rejected - ref_rejected]) * beta
    z = gaps[0] - gaps[1]
    loss = F.binary_cross_entropy_with_logits(z, torch.full_like(z, 1 - label_smoothing))
    return loss, *gaps.detach()


@bank.right("dpo_loss")
def dpo_with_detached_reference(chosen, rejected, ref_chosen, ref_rejected, beta,
                                label_smoothing=0.0):  # fmt: skip
    fixed = (ref_chosen - ref_rejected).detach()
    z = beta * (chosen - rejected - fixed)
    loss = torch.logaddexp(torch.zeros_like(z), -z) + label_smoothing * z  # a wrong label costs z
    with torch.no_grad():
        rewards = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    return (loss.mean(), *rewards)


# --- ipo_loss --------------------------------------------------------------------------------

bank.probe("ipo_loss", call(*[x[:1] for x in _four], 0.3), call(*_four, 0.3),
           drill(drills.with_gradients, 2, *_four, 0.3))  # fmt: skip


@bank.wrong(
    "ipo_loss",
    "beta is inside of the square as well: the margin itself is compared with 1 / (2 beta).",
)
def scaled_margin(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = _margin(chosen, rejected, ref_chosen, ref_rejected)
    return (beta * m - 1 / (2 * beta)).square().mean()


@bank.wrong("ipo_loss", "The target is 1 / (2 beta), not 1 / beta.")
def twice_the_target(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected) - 1 / beta).square().mean()


@bank.wrong("ipo_loss", "The target is 1 / (2 beta); you divide by 2 and multiply by beta.")
def precedence(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected) - 1 / 2 * beta).square().mean()


@bank.wrong("ipo_loss", "Your loss does not see the reference.")
def ipo_without_reference(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (chosen - rejected - 1 / (2 * beta)).square().mean()


@bank.wrong("ipo_loss", "The distance to the target is squared, not taken as it is.")
def distance(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected) - 1 / (2 * beta)).abs().mean()


@bank.wrong("ipo_loss", "Twice the batch gives twice the loss: take the mean over pairs.")
def ipo_summed(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected) - 1 / (2 * beta)).square().sum()


@bank.wrong("ipo_loss", "The target has the wrong sign: the chosen answer is to be ahead.")
def target_below(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected) + 1 / (2 * beta)).square().mean()


@bank.wrong(
    "ipo_loss", "The mean is taken before the square: it must be of the losses, not of the margins."
)
def ipo_mean_first(chosen, rejected, ref_chosen, ref_rejected, beta):
    return (_margin(chosen, rejected, ref_chosen, ref_rejected).mean() - 1 / (2 * beta)).square()


@bank.right("ipo_loss")
def ipo_by_mse(chosen, rejected, ref_chosen, ref_rejected, beta):
    m = _margin(chosen, rejected, ref_chosen, ref_rejected)
    return F.mse_loss(m, torch.full_like(m, 0.5 / beta))


@bank.right("ipo_loss")
def ipo_by_hand(chosen, rejected, ref_chosen, ref_rejected, beta):
    gap = chosen - rejected - ref_chosen + ref_rejected - 0.5 / beta
    return (gap @ gap) / len(gap)


# --- dpo_step --------------------------------------------------------------------------------


def _pairs(B, T, S, share=0.6):
    batch = {}
    for kind, n in (("chosen", T), ("rejected", S)):
        batch[f"{kind}_ids"] = ints(4, B, n)
        batch[f"{kind}_mask"] = torch.rand(B, n, generator=gen) < share
        batch[f"{kind}_mask"][:, -1] = True
    return batch


_policy_table, _reference_table = rand(4, 4), rand(4, 4)
_batches = [_pairs(3, 6, 6), _pairs(3, 6, 6)]
_tied = [{name: torch.cat([_batches[0][name], _batches[0][f"chosen_{name.split('_')[1]}"]])
          for name in _batches[0]}]  # fmt: skip


def _steps(batches, **more):
    return drill(drills.dpo_steps, _policy_table, _reference_table, batches, 0.5, **more)


bank.probe("dpo_step", _steps(_batches[:1]), _steps(_batches), _steps([_pairs(2, 5, 8)]),
           _steps(_batches, stale=3.0), _steps(_tied), _steps(_batches, training=False),
           _steps(_batches, dropout=0.5))  # fmt: skip


def _summed(model, batch, kind, mask=None):
    ids = batch[f"{kind}_ids"]
    counts = batch[f"{mask or kind}_mask"][:, 1:]
    told = model(ids)[:, :-1].log_softmax(-1).gather(2, ids[:, 1:, None])[..., 0]
    return (told * counts).sum(1)


class _Step:
    """A step with everything that can go wrong in a method of its own."""

    def forward(self, model, batch):
        return _summed(model, batch, "chosen"), _summed(model, batch, "rejected")

    def fixed(self, reference, policy, batch):
        with torch.no_grad():
            return self.forward(reference, batch)

    def values(self, z, beta):
        return {"loss": F.softplus(-z).mean().item(), "margin": z.mean().item(),
                "accuracy": (0.5 + z.sign() / 2).mean().item()}  # fmt: skip

    def loss(self, z, beta):
        return F.softplus(-z).mean()

    def update(self, loss, policy, optimizer):
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    def margins(self, policy, reference, batch, beta):
        c, r = self.forward(policy, batch)
        rc, rr = self.fixed(reference, policy, batch)
        return beta * _margin(c, r, rc, rr)

    def __call__(self, policy, reference, batch, optimizer, beta):
        z = self.margins(policy, reference, batch, beta)
        self.update(self.loss(z, beta), policy, optimizer)
        return self.values(z.detach(), beta)


def _wrong_step(text, kind, name):
    """Register a step of this kind under a name."""

    def step(policy, reference, batch, optimizer, beta):
        return kind()(policy, reference, batch, optimizer, beta)

    step.__name__ = name
    bank.wrong("dpo_step", text)(step)


class _ReferenceLearns(_Step):
    def fixed(self, reference, policy, batch):
        return self.forward(reference, batch)


_wrong_step("The reference receives a gradient: read it without one.", _ReferenceLearns,
            "reference_not_detached")  # fmt: skip


class _ChosenMask(_Step):
    def forward(self, model, batch):  # QwenAudio/CosyVoice, issue 1449; OpenRLHF, issue 294
        n = batch["rejected_ids"].shape[1]
        mask = batch["chosen_mask"]
        mask = F.pad(mask, (0, max(n - mask.shape[1], 0)))[:, :n]
        return (_summed(model, batch, "chosen"),
                _summed(model, batch | {"rejected_mask": mask}, "rejected"))  # fmt: skip


_wrong_step("The chosen answer's mask is used for the rejected one: right only when both answers "
            "have equal length.", _ChosenMask, "chosen_mask_for_both")  # fmt: skip


class _NoZero(_Step):
    def update(self, loss, policy, optimizer):
        loss.backward()
        optimizer.step()


_wrong_step("Old gradients are not forgotten: zero_grad is missing.", _NoZero, "no_zero_grad")


class _ZeroTooLate(_Step):
    def update(self, loss, policy, optimizer):
        loss.backward()
        optimizer.zero_grad()
        optimizer.step()


_wrong_step("The policy does not change: no step, or the gradients are set to zero before it.",
            _ZeroTooLate, "zero_grad_before_the_step")  # fmt: skip


class _AfterTheUpdate(_Step):
    def __call__(self, policy, reference, batch, optimizer, beta):
        super().__call__(policy, reference, batch, optimizer, beta)
        return self.values(self.margins(policy, reference, batch, beta).detach(), beta)


_wrong_step("The values are those after the update; they belong before it.", _AfterTheUpdate,
            "values_after_the_update")  # fmt: skip


class _UnscaledMargin(_Step):
    def values(self, z, beta):
        return super().values(z, beta) | {"margin": z.mean().item() / beta}


_wrong_step("beta is missing in the margin: it is a difference of rewards.", _UnscaledMargin,
            "margin_without_beta")  # fmt: skip


class _TiesLost(_Step):
    def values(self, z, beta):
        return super().values(z, beta) | {"accuracy": (z > 0).double().mean().item()}


_wrong_step("A tie counts as lost; it counts one half.", _TiesLost, "ties_lost")


class _TiesWon(_Step):
    def values(self, z, beta):
        return super().values(z, beta) | {"accuracy": (z >= 0).double().mean().item()}


_wrong_step("A tie counts as won; it counts one half.", _TiesWon, "ties_won")


class _PolicyAsReference(_Step):
    def fixed(self, reference, policy, batch):
        with torch.no_grad():
            return self.forward(policy, batch)


_wrong_step("Your reference is the policy itself: the margin is 0 at every step.",
            _PolicyAsReference, "policy_as_reference")  # fmt: skip


class _NoReference(_Step):
    def fixed(self, reference, policy, batch):
        zero = torch.zeros(len(batch["chosen_ids"]), dtype=torch.float64)
        return zero, zero


_wrong_step("The reference has no effect: this is CPO.", _NoReference, "step_without_reference")


class _Clipped(_Step):
    def update(self, loss, policy, optimizer):
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 0.01)
        optimizer.step()


_wrong_step("The step is too short: the gradient is clipped, and clipping is not asked for.",
            _Clipped, "gradient_clipped")  # fmt: skip


class _SetsModes(_Step):
    def __call__(self, policy, reference, batch, optimizer, beta):
        policy.train()
        reference.eval()
        return super().__call__(policy, reference, batch, optimizer, beta)


_wrong_step("You set the models' mode; that is the caller's business.", _SetsModes, "sets_modes")


class _Tensors(_Step):
    def values(self, z, beta):
        return {name: torch.tensor(value) for name, value in super().values(z, beta).items()}


_wrong_step("The values are tensors; plain numbers are asked for: .item().", _Tensors,
            "tensors_returned")  # fmt: skip


class _Summed(_Step):
    def loss(self, z, beta):
        return F.softplus(-z).sum()


_wrong_step("The gradient is that of the sum over pairs; it is the mean.", _Summed, "summed_loss")


class _Policy(_Step):
    def values(self, z, beta):
        return super().values(z, beta) | {"margin": z.sum().item()}


_wrong_step("The margin is summed over the pairs; their mean is asked for.", _Policy,
            "margin_summed")  # fmt: skip


@bank.right("dpo_step")
def both_answers_at_once(policy, reference, batch, optimizer, beta):
    n, T, S = len(batch["chosen_ids"]), batch["chosen_ids"].shape[1], batch["rejected_ids"].shape[1]
    wide = max(T, S)
    ids, mask = (torch.cat([F.pad(batch[f"chosen_{what}"], (0, wide - T)),
                            F.pad(batch[f"rejected_{what}"], (0, wide - S))])
                 for what in ("ids", "mask"))  # fmt: skip

    def logp(model):
        costs = F.cross_entropy(model(ids)[:, :-1].mT, ids[:, 1:], reduction="none")
        return -(costs * mask[:, 1:]).sum(1)

    ratios = beta * (logp(policy) - logp(reference).detach())
    z = ratios[:n] - ratios[n:]
    loss = torch.logaddexp(torch.zeros_like(z), -z).mean()
    for p in policy.parameters():
        p.grad = None
    loss.backward()
    optimizer.step()
    ties, wins = int((z == 0).sum()), int((z > 0).sum())
    return {"loss": loss.item(), "margin": z.detach().mean().item(),
            "accuracy": (wins + ties / 2) / n}  # fmt: skip


@bank.right("dpo_step")
def step_by_step(policy, reference, batch, optimizer, beta):
    return _Step()(policy, reference, batch, optimizer, beta)


# --- margin_report ---------------------------------------------------------------------------

_before = {"chosen": ints(9, 8).double() - 30, "rejected": ints(9, 8).double() - 30}
_after = {kind: v + ints(5, 8) - 2 for kind, v in _before.items()}
_after["chosen"][0], _after["rejected"][0] = _before["chosen"][0], _before["rejected"][0]
_sharp = {kind: v + rand(8) for kind, v in _before.items()}
bank.probe("margin_report", call(_before, _sharp), call(_before, _after),
           call(_after, _sharp))  # fmt: skip


def _moved(before, after):
    return after["chosen"] - before["chosen"], after["rejected"] - before["rejected"]


def _report(c, r, rose=None, fell=None, both=None):
    rose = c > r if rose is None else rose
    fell = c < 0 if fell is None else fell
    shares = {"margin_rose": rose, "chosen_fell": fell, "both": rose & fell}
    found = {"chosen": c, "rejected": r, "margin": c - r} | shares
    found = {name: value.double().mean().item() for name, value in found.items()}
    return found if both is None else found | {"both": both(found)}


@bank.wrong("margin_report", "The sign is turned: a change is after minus before.")
def before_minus_after(before, after):
    return _report(*_moved(after, before))


@bank.wrong(
    "margin_report",
    '"both" is the product of the two shares; count the pairs in which both hold.',
)
def product_of_shares(before, after):
    return _report(*_moved(before, after),
                   both=lambda found: found["margin_rose"] * found["chosen_fell"])  # fmt: skip


@bank.wrong("margin_report", "No change counts as a rise or as a fall.")
def no_change_counts(before, after):
    c, r = _moved(before, after)
    return _report(c, r, c >= r, c <= 0)


@bank.wrong(
    "margin_report",
    '"margin_rose" counts margins above 0; it counts margins that are larger than before.',
)
def margin_above_zero(before, after):
    c, r = _moved(before, after)
    return _report(c, r, rose=after["chosen"] > after["rejected"])


@bank.wrong(
    "margin_report",
    "The changes are not those of the log-probabilities: you report where they are after training.",
)
def only_after(before, after):
    return _report(after["chosen"], after["rejected"])


@bank.wrong("margin_report", '"chosen_fell" looks at the rejected answers.')
def rejected_fell(before, after):
    c, r = _moved(before, after)
    return _report(c, r, fell=r < 0)


@bank.wrong("margin_report", "The margin is chosen minus rejected; you add the changes.")
def changes_added(before, after):
    c, r = _moved(before, after)
    return _report(c, r, rose=c + r > 0) | {"margin": (c + r).mean().item()}


@bank.wrong("margin_report", '"both" counts pairs in which one of the two holds; both must.')
def either(before, after):
    c, r = _moved(before, after)
    return _report(c, r) | {"both": ((c > r) | (c < 0)).double().mean().item()}


@bank.right("margin_report")
def report_pair_by_pair(before, after):
    n, sums = len(before["chosen"]), Counter()
    for i in range(n):
        c, r = (float(after[kind][i]) - float(before[kind][i]) for kind in ("chosen", "rejected"))
        sums.update({"chosen": c, "rejected": r, "margin": c - r, "margin_rose": c - r > 0,
                     "chosen_fell": c < 0, "both": c - r > 0 and c < 0})  # fmt: skip
    return {name: value / n for name, value in sums.items()}


@bank.right("margin_report")
def report_by_margins(before, after):
    old, new = (x["chosen"] - x["rejected"] for x in (before, after))
    rose, fell = new > old, after["chosen"] < before["chosen"]
    means = {kind: float(after[kind].mean() - before[kind].mean())
             for kind in ("chosen", "rejected")}  # fmt: skip
    share = {"margin_rose": rose, "chosen_fell": fell, "both": torch.logical_and(rose, fell)}
    return {**means, "margin": float(new.mean() - old.mean()),
            **{name: value.sum().item() / len(value) for name, value in share.items()}}  # fmt: skip


bank.equivalent("cohen_kappa", "torch.cat  =>  torch.stack", "the labels are the same")
bank.equivalent(
    "ipo_loss", "m - 1 / (2 * beta)  =>  1 / (2 * beta) - m", "it is squared, either way round"
)
for _mutant in ("1000  =>  1001", "1000  =>  999"):
    bank.equivalent("fit_bradley_terry", _mutant, "long after nothing moves any more")
bank.equivalent("fit_bradley_terry", "wins.double()  =>  (wins)", "32 bits are exact enough")
bank.equivalent("fit_bradley_terry", "1  =>  0  (#2)", "the table of games is symmetric")
bank.equivalent("length_bias", "rewards.double()  =>  (rewards)", "32 bits are exact enough")
bank.equivalent(
    "RewardModel",
    "torch.arange(ids.shape[1], device=ids.device)  =>  torch.arange(ids.shape[1])",
    "tests run on one device",
)
bank.equivalent(
    "fit_bradley_terry",
    "torch.ones(len(wins), dtype=won.dtype)  =>  torch.ones(len(wins))",
    "32 bits are exact enough",
)
