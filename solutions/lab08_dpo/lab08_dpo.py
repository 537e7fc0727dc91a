# %% [markdown]
# # Lab 8: reward models and DPO
#
# Two answers are right, and people prefer one of them. In this lab you turn such comparisons into
# numbers: first into a score for each answer, then into a **reward model**, and then, by **DPO**,
# straight into the weights of an assistant. At the end the course's assistant, which is polite to
# three customers in ten, is polite to most of them, and you can say what that cost.
#
# **{points}, about 3 hours.** The chapter behind it is
# [Preference optimisation](../../book/ch05_preference.md).
#
# What you will do, as one picture.
#
# ```text
#   people compare answers                 1 cohen_kappa        do they agree?
#        │                                 2 fit_bradley_terry  a score for each answer
#        │
#        ├──▶ a reward model               3 reward_loss        the better one scores higher
#        │                                 4 RewardModel        a number for a text
#        │                                 5 length_bias        what it likes by mistake
#        │
#        └──▶ DPO, without one             6 sequence_logp      how likely is an answer?
#                                          7 implicit_reward    ... beside the reference
#                                          8 dpo_loss           9 ipo_loss
#                                          10 dpo_step          one update
#                                          11 margin_report     what has really moved
# ```
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Five rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input, unless the docstring says otherwise. Where
#   the signature says `float`, it is a plain Python number.
# - Arguments are never changed, unless the docstring says so.
# - In a mask, `True` means "counts" or "real". Logarithms are natural: log 2 is 0.693.
# - Later functions may use your earlier ones.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
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
from glassbox import check, drills_dpo
from glassbox.models import GPT
from glassbox.parts import GPTConfig

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab08_dpo")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## 1. Do they agree? ({points:cohen_kappa}, 8 min)
#
# Preferences come from people, and people differ. Before anything is trained on their judgements,
# ask two of them the same questions. The share of equal answers, $p_o$, flatters: two people who
# toss coins agree in half of the cases. **Cohen's kappa** takes off what chance would give,
#
# $$\kappa = \frac{p_o - p_e}{1 - p_e}, \qquad p_e = \sum_k a_k b_k$$
#
# where $a_k$ is how often the first one uses label $k$, as a share, and $b_k$ how often the second
# one does.
#
# By hand, "which of two answers is better", ten times:
#
# | | second: left | second: right | |
# |--|--|--|--|
# | first: left | 4 | 2 | 6 |
# | first: right | 1 | 3 | 4 |
# | | 5 | 5 | 10 |
#
# $p_o$ = 0.7, $p_e$ = 0.6 · 0.5 + 0.4 · 0.5 = 0.5, and $\kappa$ = 0.2 / 0.5 = 0.4.
#
# **Common mistake:** taking $p_e$ = 1/2 because there are two labels. If both say "left" in nine of
# ten cases, chance alone gives 0.82.
#
# <details><summary>Hint 1</summary>
#
# Comparing two tensors gives truth values; their mean is $p_o$.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.cat([a, b]).unique()` has every label once. `(a == k)` is where the first one said k.
#
# </details>
# <details><summary>Hint 3</summary>
#
# When both of them only ever say one and the same thing, $p_e$ is 1 and the formula 0/0. Look for
# that case first.
#
# </details>

# %% nbgrader={"solution": "cohen_kappa"}
def cohen_kappa(a: Tensor, b: Tensor) -> float:
    """Agreement of two annotators beyond chance: (p_o - p_e) / (1 - p_e).

    a and b (N,) hold a whole number for each of N >= 1 items, the label that each annotator gave;
    any whole numbers may be labels. p_o is the share of items with equal labels, p_e the sum over
    labels of (share of a with this label) times (share of b with it). If both give one and the
    same label to all items, p_e is 1, nothing can be told from chance, and the result is 0.
    """
    ### BEGIN SOLUTION
    labels = torch.cat([a, b]).unique()
    observed = (a == b).double().mean()
    shares = [(x[:, None] == labels).double().mean(0) for x in (a, b)]  # (K,) each
    by_chance = (shares[0] * shares[1]).sum()
    if len(labels) == 1:
        return 0.0
    return ((observed - by_chance) / (1 - by_chance)).item()
    ### END SOLUTION


# %% nbgrader={"test": "cohen_kappa_visible", "points": 3}
with check.question("cohen_kappa_visible", cohen_kappa) as f:
    first = torch.tensor([0] * 6 + [1] * 4)
    second = torch.tensor([0] * 4 + [1] * 2 + [0] * 1 + [1] * 3)
    check.close("the table above", f(first, second), 0.4, why="(0.7 - 0.5) / (1 - 0.5).")
    check.close("with itself", f(first, first), 1.0, why="they agree in all items.")
    check.close("always the opposite", f(torch.tensor([0, 1]), torch.tensor([1, 0])), -1.0,
                why="0 observed, 1/2 by chance: less than chance is negative.")
    three = torch.tensor([2, 2, 7, -1]), torch.tensor([2, 7, 7, 7])
    check.close("three labels", f(*three), 3 / 11,
                why="p_o 1/2; p_e 1/2 · 1/4 + 1/4 · 3/4 + 1/4 · 0 = 5/16.")
    check.equal("one item, unequal", f(torch.tensor([4]), torch.tensor([9])), 0.0,
                why="p_o 0, p_e 0; a plain number.")
    check.close("one label, always", f(torch.tensor([3, 3]), torch.tensor([3, 3])), 0.0, scale=1.0,
                why="p_e is 1: nothing can be told from chance.")

# %% nbgrader={"test": "cohen_kappa_hidden", "points": 2}
# Hidden checks: random labels of several numbers and rates, annotators exchanged, labels renamed.
### BEGIN HIDDEN TESTS
with check.question("cohen_kappa_hidden", cohen_kappa) as f:
    gen = check.generator()
    for n, n_labels, share in ((40, 2, 0.8), (200, 5, 0.3), (7, 3, 0.5), (1000, 2, 0.0)):
        a = torch.randint(n_labels, (n,), generator=gen).square()
        other = torch.randint(n_labels, (n,), generator=gen).square()
        other[: n // 3] = 0  # the second one has a favourite
        b = torch.where(torch.rand(n, generator=gen) < share, a, other)
        a[0], b[0], b[1] = 0, 1, 0
        counts = {}
        for x, y in zip(a.tolist(), b.tolist()):
            counts[x, y] = counts.get((x, y), 0) + 1
        rows, columns = {}, {}
        for (x, y), count in counts.items():
            rows[x], columns[y] = rows.get(x, 0) + count, columns.get(y, 0) + count
        seen = sum(count for (x, y), count in counts.items() if x == y) / n
        chance = sum(rows[k] * columns.get(k, 0) for k in rows) / n**2
        want, case = (seen - chance) / (1 - chance), f"{n} items, {n_labels} labels"
        check.close(case, f(a, b), want, scale=1.0)
        check.close(f"{case}, exchanged", f(b, a), want, scale=1.0)
        check.close(f"{case}, renamed", f(5 - 3 * a, 5 - 3 * b), want, scale=1.0,
                    why="a label is a name, not a size.")
    check.unchanged("labels", f, a, b)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Scores from comparisons ({points:fit_bradley_terry}, 20 min)
#
# Comparisons are pairs; we want one number for each answer. **Bradley and Terry** (1952) assume
# that every answer has a score $s$ and that
#
# $$P(i \text{ beats } j) = \sigma(s_i - s_j), \qquad \sigma(x) = \frac{1}{1 + e^{-x}}$$
#
# A lead of ln 7 = 1.95 wins in 7 of 8 cases. Only differences matter, so we let the scores have
# mean 0. The best scores are those under which the observed wins are likeliest.
#
# One thing spoils this: an answer that is **never beaten**. Its likeliest score is infinite. So we
# add a little experience from outside, a *prior*: each two answers have met once more and the game
# was drawn, half a win for each.
#
# By hand: answer 0 has beaten answer 1 three times and never lost. With the prior that is 3.5 to
# 0.5, or 7 to 1, and the scores are ±(ln 7)/2 = ±0.973.
#
# To find the scores, let $w_i = e^{s_i}$. Then $P(i \text{ beats } j) = w_i / (w_i + w_j)$. At the
# maximum each answer has won as often as the model expects, $W_i = \sum_j n_{ij} \frac{w_i}{w_i +
# w_j}$, where $W_i$ are all wins of $i$ and $n_{ij}$ all games between $i$ and $j$. Solve this for
# the $w_i$ in front and you have a rule to repeat (Zermelo 1929):
#
# $$w_i \leftarrow \frac{W_i}{\sum_j \frac{n_{ij}}{w_i + w_j}}$$
#
# **Common mistake:** taking the share of games won as the score. It depends on whom an answer has
# met: to win half of the games against the best is more than to win half against the worst.
#
# <details><summary>Hint 1</summary>
#
# First the prior: add 0.5 everywhere. `games = won + won.T`. The diagonal may be set to 0; left in
# both tables it cancels, in only one of them it does not.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Begin with `w` = 1 for all. `w[:, None] + w` is an (N, N) table of sums.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A thousand repetitions cost nothing here. Compute in float64. Divide `w` by its geometric mean now
# and then, or subtract the mean of the logarithms at the end.
#
# </details>

# %% nbgrader={"solution": "fit_bradley_terry"}
def fit_bradley_terry(wins: Tensor) -> Tensor:
    """Scores of N items from a table of comparisons, with mean 0.

    wins (N, N), float32 or float64, N >= 2: wins[i, j] is how often i has beaten j, any number
    from 0 up; the diagonal is ignored -> (N,), of the dtype of wins. The scores make the wins
    likeliest under P(i beats j) = sigmoid(s_i - s_j), after a prior: for each two items one more
    game that was drawn, half a win for each. The scale is that of natural logarithms. The scores
    are checked to 0.01.
    """
    ### BEGIN SOLUTION
    won = wins.double() + 0.5  # the diagonal does no harm: against himself everybody is even
    games = won + won.T
    w = torch.ones(len(wins), dtype=won.dtype)
    for _ in range(1000):
        w[:] = won.sum(1) / (games / (w[:, None] + w)).sum(1)
    scores = w.log()
    return (scores - scores.mean()).to(wins.dtype)
    ### END SOLUTION


# %% nbgrader={"test": "fit_bradley_terry_visible", "points": 6}
with check.question("fit_bradley_terry_visible", fit_bradley_terry) as f:
    half = math.log(7) / 2
    check.close("3 wins, no defeat", f(torch.tensor([[0.0, 3.0], [0.0, 0.0]])), [half, -half],
                rel=0.02, scale=5.0, why="with the prior 3.5 to 0.5: 7 to 1, and a lead of ln 7.")
    check.close("the other way round", f(torch.tensor([[0.0, 0.0], [3.0, 0.0]])), [-half, half],
                rel=0.02, scale=5.0, why="wins[i, j]: row i has beaten column j.")
    check.close("numbers on the diagonal", f(torch.tensor([[9.0, 3.0], [0.0, 5.0]])),
                [half, -half], rel=0.02, scale=5.0, why="nobody plays against himself.")
    circle = torch.tensor([[0.0, 5, 0], [0, 0, 5], [5, 0, 0]])
    check.close("a circle", f(circle), [0.0, 0.0, 0.0], rel=0.02, scale=5.0,
                why="each has won five times and lost five times.")
    ladder = torch.tensor([[0.0, 14.5, 17.5], [4.5, 0, 14.5], [1.5, 4.5, 0]])
    check.close("3 : 1 from step to step", f(ladder), [math.log(3), 0.0, -math.log(3)], rel=0.02,
                scale=5.0, why="with the prior 15 : 5, 15 : 5 and 18 : 2 = 3² : 1.")

# %% nbgrader={"test": "fit_bradley_terry_hidden", "points": 4}
# Hidden checks: planted scores and many games, then few games judged by what a maximum must
# fulfil, unequal numbers of games, items renumbered, dtype.
### BEGIN HIDDEN TESTS
with check.question("fit_bradley_terry_hidden", fit_bradley_terry) as f:
    gen = check.generator()
    with check.part("planted scores", 2):
        for n, spread in ((2, 2.0), (5, 1.0), (8, 1.5)):
            s = torch.rand(n, generator=gen, dtype=torch.float64) * 2 * spread - spread
            s[0] = spread
            s = s - s.mean()
            games = 2e3 * (1 + torch.rand(n, n, generator=gen, dtype=torch.float64))
            games = games.triu(1) + games.triu(1).T  # unequal numbers of games
            got = f(games * (s[:, None] - s).sigmoid())
            check.close(f"{n} items", got, s, rel=0.02, scale=5.0)
            check.close(f"{n} items, sum of the scores", got.sum(), 0.0, scale=10.0, rel=0.1)
    with check.part("few games", 2):
        for n, most, dtype in ((3, 2, torch.float64), (6, 12, torch.float64),
                               (4, 1, torch.float32)):
            wins = torch.randint(most + 1, (n, n), generator=gen).to(dtype)
            wins[0, 1:], wins[1:, 0] = most, 0  # the first is never beaten
            got = f(wins)
            check.close(f"{n} items, dtype", got * 0, torch.zeros(n, dtype=dtype), scale=1.0)
            s = got.double()
            own = (wins.double() + 0.5).fill_diagonal_(0)
            expected = ((own + own.T) * (s[:, None] - s).sigmoid()).fill_diagonal_(0)
            check.close(f"{n} items, expected wins", expected.sum(1), own.sum(1), rel=0.05,
                        why="at the maximum each item wins as often as expected, prior included.")
            check.close(f"{n} items, sum", s.sum(), 0.0, scale=10.0, rel=0.1)
            order = torch.randperm(n, generator=gen)
            check.close(f"{n} items, renumbered", f(wins[order][:, order]), got[order], rel=0.02,
                        scale=10.0)
        check.unchanged("wins", f, wins)
### END HIDDEN TESTS

# %% [markdown]
# Six answers, two groups of annotators. Half of the people like short answers and half like polite
# ones; each judges every pair 40 times, with the noise of the model above. The cell shows each
# group's scores by *your* fit, the scores of both pooled, and how far a member of one group agrees
# with a member of the other. Before you run it: will the pooled order be anybody's order?

# %% tags=["demo"]
answers = ["short", "short, polite", "long", "long, polite", "rude", "long, rude"]
tastes = {"likes it short": torch.tensor([2.0, 1.0, 0.0, -0.5, 0.5, -3.0]),
          "likes it polite": torch.tensor([0.0, 1.5, 0.5, 2.0, -2.0, -2.0])}


def judged(taste: Tensor, n_times: int, seed: int) -> Tensor:
    """(n_times, N, N): whether the row's answer was preferred to the column's, i < j only."""
    p = (taste[:, None] - taste).sigmoid().expand(n_times, -1, -1)
    return torch.bernoulli(p, generator=torch.Generator().manual_seed(seed))


def table_of(votes: Tensor) -> Tensor:
    """(N, N) wins of single votes on the pairs above the diagonal."""
    upper = torch.ones_like(votes[0]).triu(1)
    return (votes * upper).sum(0) + ((1 - votes) * upper).sum(0).T


try:
    votes = {name: judged(taste, 40, seed) for seed, (name, taste) in enumerate(tastes.items())}
    fits = {name: fit_bradley_terry(table_of(v)) for name, v in votes.items()}
    fits["pooled"] = fit_bradley_terry(sum(table_of(v) for v in votes.values()))
    print(f"{'':<16}" + "".join(f"{name:>17}" for name in fits))
    for i, name in enumerate(answers):
        print(f"{name:<16}" + "".join(f"{fits[kind][i].item():>17.2f}" for kind in fits))
    above = torch.ones(6, 6).triu(1).bool()
    people = {name: v[:, above] for name, v in votes.items()}
    short, polite = people.values()
    for what, a, b in (("two who like it short", short[:20], short[20:]),
                       ("one of each group", short[:20], polite[:20])):
        print(f"kappa of {what}: {cohen_kappa(a.flatten().long(), b.flatten().long()):.2f}")
except NotImplementedError:
    print("Write cohen_kappa and fit_bradley_terry first; then run this cell again.")

# %% [markdown]
# ## 3. A loss for a reward ({points:reward_loss}, 12 min)
#
# A score for each of six answers says nothing about the seventh. A **reward model** reads any
# answer and gives it a score $r$. It is trained on the same assumption: the chosen answer beats the
# rejected one with probability $\sigma(r_c - r_r)$, and the loss is how much the comparison
# surprises,
#
# $$\ell = -\ln \sigma(r_c - r_r - m)$$
#
# The *margin* $m$ is 0 in the plain form. Llama 2's reward model had a larger one for pairs where
# people were sure: then it is not enough to be above.
#
# By hand: a lead of 2 costs $-\ln \sigma(2)$ = ln(1 + e⁻²) = 0.127. A tie costs ln 2 = 0.693. A
# deficit of 2 costs 2.127: exactly 2 more than a lead of 2.
#
# **Common mistake:** `torch.sigmoid(x).log()`. At a lead of −100 the sigmoid is 0 in 32 bits, and
# its logarithm infinite. `F.logsigmoid` computes both at once and gives −100.
#
# <details><summary>Hint 1</summary>
#
# One difference for each pair, then one function, then one mean.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With a margin, the lead must be that much larger: take it off the lead.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.logsigmoid(...)`, a minus, `.mean()`. Or `F.softplus` of the negative lead.
#
# </details>

# %% nbgrader={"solution": "reward_loss"}
def reward_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """Mean over pairs of -log sigmoid(chosen - rejected - margin).

    chosen (B,), rejected (B,), the rewards of the better and of the worse answer -> scalar.
    Finite for rewards of any finite size, with a gradient for both. A tie without margin costs
    log 2 = 0.693.
    """
    ### BEGIN SOLUTION
    lead = chosen - rejected - margin
    return -F.logsigmoid(lead).mean()
    ### END SOLUTION


# %% nbgrader={"test": "reward_loss_visible", "points": 6}
with check.question("reward_loss_visible", reward_loss) as f:
    zero, two = torch.tensor([0.0]), torch.tensor([2.0])
    check.close("a tie", f(two, two), math.log(2), why="-log sigmoid(0).")
    check.close("a lead of 2", f(two, zero), 0.126928, why="log(1 + exp(-2)).")
    check.close("a deficit of 2", f(zero, two), 2.126928, why="2 more than a lead of 2.")
    check.close("a lead of 2, margin 2", f(two, zero, margin=2.0), math.log(2),
                why="the lead is just what was asked for.")
    check.close("both pairs", f(torch.tensor([2.0, 0.0]), torch.tensor([0.0, 2.0])), 1.126928,
                why="the mean of 0.127 and 2.127.")
    check.close("a deficit of 1000", f(zero - 500, zero + 500), 1000.0,
                why="the logarithm of the sigmoid is -1000; the sigmoid itself is 0 in float32.")

# %% nbgrader={"test": "reward_loss_hidden", "points": 4}
# Hidden checks: random rewards and margins, one pair, the batch twice, a shift of both rewards,
# gradients, very large rewards, float64.
### BEGIN HIDDEN TESTS
with check.question("reward_loss_hidden", reward_loss) as f:
    gen = check.generator()
    with check.part("values", 2):
        for B, margin in ((1, 0.0), (5, 1.5), (32, 0.25)):
            c, r = torch.randn(2, B, generator=gen, dtype=torch.float64) * 3
            loss, case = f(c, r, margin), f"B {B}, margin {margin:g}"
            check.close(case, loss, (1 + (r - c + margin).exp()).log().mean())
            check.close(f"{case}, both rewards +7", f(c + 7, r + 7, margin), loss,
                        why="only the lead counts.")
            check.close(f"{case}, the batch twice", f(c.repeat(2), r.repeat(2), margin), loss,
                        why="the loss is a mean over pairs.")
            check.close(f"{case}, exchanged without margin", f(c, r) - f(r, c), (r - c).mean(),
                        scale=1.0)
    with check.part("gradients and size", 2):
        check.gradient("gradient", f, c, r)
        c, r = c.clone().requires_grad_(), r.clone().requires_grad_()
        f(c, r, 0.5).backward()
        slope = -((r - c + 0.5).detach().sigmoid()) / len(c)
        check.close("gradient of chosen", c.grad, slope, why="-sigmoid(-lead) / B.")
        check.close("gradient of rejected", r.grad, -slope)
        big = torch.tensor([1e3, -1e3])
        check.close("leads of 2000 and -2000", f(big, -big), torch.tensor(1000.0),
                    why="0 and 2000, finite.")
        check.unchanged("rewards", f, big, -big)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. A number for a text ({points:RewardModel}, 18 min)
#
# The body of a reward model is a language model without its head. It gives a vector for each token;
# a single linear map turns a vector into a number. Which token's number is the reward? The body is
# causal: only the **last** token has seen the whole answer.
#
# In a batch, texts are filled up to one length. So the last token is not the last *place*, and
# which place it is depends on the row:
#
# | attention_mask | reward is read at place |
# |--|--|
# | `T T T` | 2 |
# | `T T F`, padding at the right | 1 |
# | `F T T`, padding at the left | 2 |
#
# The map has no bias: it would add the same to every reward, and only differences count.
#
# **Common mistake:** reading the last place. Right for unpadded batches only; in others a short
# answer is judged by its padding. **Another:** looking for the first padding id. Where the padding
# id is also the end of a turn (a common setting), that is the middle of the dialogue; a large
# library did this until 2025.
#
# <details><summary>Hint 1</summary>
#
# `self.backbone(ids)` gives (B, T, C), `self.head` of it (B, T, 1).
#
# </details>
# <details><summary>Hint 2</summary>
#
# Number the places 0, 1, ..., T − 1. Multiplied by the mask, the largest number of a row is the
# place of its last True.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `rewards.gather(1, places[:, None])` picks one of each row. A row without any True picks place 0,
# and must give 0 in the end: `attention_mask.any(1)` tells.
#
# </details>

# %% nbgrader={"solution": "RewardModel"}
class RewardModel(nn.Module):
    """One number for each text, read at its last real token.

    `backbone(ids)` gives a vector for each token, (B, T) -> (B, T, d_model). The constructor is
    given: the backbone, and a linear map `head` without bias.
    """

    def __init__(self, backbone: nn.Module, d_model: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(d_model, 1, bias=False)

    def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
        """The head's number at the last real token of each row.

        ids (B, T), attention_mask (B, T) bool, True at real tokens -> (B,), with the dtype of the
        parameters. Padding may stand at the right, at the left or at both sides; the last real
        token is the last True of a row. The backbone is called once, with ids and nothing else. A
        row without a real token gets 0. Gradients flow to the head and into the backbone.
        """
        ### BEGIN SOLUTION
        rewards = self.head(self.backbone(ids)).squeeze(-1)  # (B, T)
        numbers = torch.arange(ids.shape[1], device=ids.device)
        last = (attention_mask * numbers).amax(1)  # (B,)
        read = rewards.gather(1, last[:, None]).squeeze(1)
        return read * attention_mask.any(1)
        ### END SOLUTION


# %% nbgrader={"test": "RewardModel_visible", "points": 6}
with check.question("RewardModel_visible", RewardModel) as f:
    model = f(check.there(nn.Embedding, 5, 2), 2)  # the vector of token i is (i, 10 i)
    vectors = torch.arange(5.0)[:, None] * torch.tensor([1.0, 10.0])
    model.load_state_dict({"backbone.weight": vectors, "head.weight": torch.tensor([[1.0, 0.5]])})
    ids = torch.tensor([[1, 2, 3]])  # the head gives 6, 12, 18
    with check.part("which token", 4):
        for row, want, why in (([True, True, True], 18.0, "token 3: 3 + 30 / 2."),
                               ([True, True, False], 12.0, "the last real token is token 2."),
                               ([False, True, True], 18.0, "padding at the left: still token 3."),
                               ([True, False, False], 6.0, "one token, token 1.")):
            seen = "".join("T" if real else "F" for real in row)
            check.close(f"mask {seen}", model(ids, torch.tensor([row])), [want], why=why)
    with check.part("rows of a batch", 2):
        masks = torch.tensor([[True, True, False], [False, False, False], [False, True, True]])
        check.close("three rows", model(ids.repeat(3, 1), masks), [12.0, 0.0, 18.0],
                    why="each row by its own mask; without a real token the reward is 0.")

# %% nbgrader={"test": "RewardModel_hidden", "points": 4}
# Hidden checks: random rows and a GPT as backbone, what stands in padding, gradients of head and
# backbone, float64.
### BEGIN HIDDEN TESTS
with check.question("RewardModel_hidden", RewardModel) as f:
    gen = check.generator()

    def made(B, T, C, V):  # a model, its backbone's twin, its head, a batch, last places, any real
        config = GPTConfig(n_layers=1, n_heads=2, context_len=9, tied=False, d_model=C,
                           vocab_size=V)
        twin = drills_dpo.Body(GPT(config)).double()
        w = {name: torch.randn(v.shape, generator=gen, dtype=torch.float64)
             for name, v in twin.state_dict().items()}
        twin.load_state_dict(w)
        model = f(check.there(drills_dpo.Body, check.there(GPT, config)), C).double()
        head = torch.randn(1, C, generator=gen, dtype=torch.float64)
        model.load_state_dict({f"backbone.{n}": v for n, v in w.items()} | {"head.weight": head})
        ids, mask = torch.randint(V, (B, T), generator=gen), torch.zeros(B, T).bool()
        for b in range(B):
            start = int(torch.randint(T, (), generator=gen))
            mask[b, start : start + int(torch.randint(T - start + 1, (), generator=gen))] = True
        mask[0, T // 2] = True
        ends = [max([t for t in range(T) if row[t]], default=0) for row in mask.tolist()]
        hidden = twin(ids)[torch.arange(B), torch.tensor(ends)]
        return model, twin, head, ids, mask, ends, hidden * mask.any(1)[:, None]

    with check.part("random rows", 2):
        for sizes in ((4, 9, 8, 6), (1, 1, 4, 3), (3, 5, 2, 7)):
            model, _, head, ids, mask, ends, hidden = made(*sizes)
            want, case = (hidden @ head[0]).detach(), "B {}, T {}, width {}".format(*sizes[:3])
            check.close(case, model(ids, mask), want, scale=1.0)
            for b, end in enumerate(ends):
                ids[b, end + 1 :] = 0
            check.close(f"{case}, other tokens behind the last", model(ids, mask), want, scale=1.0,
                        why="what comes after plays no part.")
    with check.part("gradients", 2):
        model, twin, head, ids, mask, ends, hidden = made(5, 6, 4, 7)
        weight = torch.arange(1.0, 6.0).double()
        (model(ids, mask) * weight).sum().backward()
        ((hidden @ head[0]) * weight).sum().backward()
        grads = {name: p.grad for name, p in model.named_parameters()}
        check.that(grads["head.weight"] is not None, "no gradient reaches the head.")
        check.close("gradient of head", grads["head.weight"], (weight @ hidden).detach()[None],
                    scale=1.0)
        check.that(grads["backbone.model.token.weight"] is not None,
                   "no gradient reaches the backbone.")
        wanted = {n: p.grad for n, p in twin.named_parameters() if p.grad is not None}
        for name, grad in wanted.items():
            check.close(f"gradient of {name}", grads[f"backbone.{name}"], grad, scale=1.0)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. What the reward likes by mistake ({points:length_bias}, 10 min)
#
# People prefer complete answers, and complete answers are longer. A reward model cannot tell the
# two apart, so it may learn that *long is good*; whatever is trained on it then learns to ramble.
# The first thing to do with a reward model is to draw its rewards against the lengths and to ask
# for two numbers: the slope of the least-squares line, in reward per token, and the correlation.
#
# $$\text{slope} = \frac{\sum (l - \bar l)(r - \bar r)}{\sum (l - \bar l)^2}, \qquad
# \text{correlation} = \frac{\sum (l - \bar l)(r - \bar r)}
# {\sqrt{\sum (l - \bar l)^2 \; \sum (r - \bar r)^2}}$$
#
# By hand: rewards 1, 2, 3, 4 for lengths 10, 20, 20, 30. The deviations are −10, 0, 0, 10 and −1.5,
# −0.5, 0.5, 1.5. Slope 30/200 = 0.15 a token; correlation $30/\sqrt{200 \cdot 5}$ = 0.949.
#
# **Common mistake:** the slope the other way round, tokens per reward.
#
# <details><summary>Hint 1</summary>
#
# Subtract the means; three sums are all you need.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Lengths are often whole numbers: `.double()` first.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Lengths that are all equal have a sum of squares of 0; so have rewards. Ask before you divide.
#
# </details>

# %% nbgrader={"solution": "length_bias"}
def length_bias(rewards: Tensor, lengths: Tensor) -> tuple[float, float]:
    """The slope of the least-squares line of rewards over lengths, and their correlation.

    rewards (N,) float, lengths (N,) float or whole numbers, N >= 1. The slope is in reward per
    unit of length, the correlation is Pearson's. If all lengths are equal, or N is 1, both are 0.
    If all rewards are equal, both are 0 as well.
    """
    ### BEGIN SOLUTION
    r, n = rewards.double(), lengths.double()
    r, n = r - r.mean(), n - n.mean()
    both, of_n, of_r = (r * n).sum(), n.square().sum(), r.square().sum()
    if of_n == 0 or of_r == 0:
        return 0.0, 0.0
    return (both / of_n).item(), (both / (of_n * of_r).sqrt()).item()
    ### END SOLUTION


# %% nbgrader={"test": "length_bias_visible", "points": 3}
with check.question("length_bias_visible", length_bias) as f:
    slope, correlation = f(torch.tensor([1.0, 2, 3, 4]), torch.tensor([10, 20, 20, 30]))
    check.close("four answers, slope", slope, 0.15, why="30 / 200, in reward per token.")
    check.close("four answers, correlation", correlation, 0.948683, why="30 / sqrt(200 · 5).")
    check.that("tensor" not in f"{slope!r} {correlation!r}",
               f"got {slope!r} and {correlation!r}; plain numbers are asked for.")
    slope, correlation = f(torch.tensor([2.0, 0.0]), torch.tensor([0, 4]))
    check.close("longer is worse, slope", slope, -0.5)
    check.close("longer is worse, correlation", correlation, -1.0)
    for case, r, n in (("equal lengths", [1.0, 5.0], [7, 7]), ("one answer", [3.0], [7]),
                       ("equal rewards", [2.0, 2.0], [3, 9])):
        slope, correlation = f(torch.tensor(r), torch.tensor(n))
        check.close(f"{case}, slope", slope, 0.0, scale=1.0, why="there is nothing to tell: 0.")
        check.close(f"{case}, correlation", correlation, 0.0, scale=1.0)

# %% nbgrader={"test": "length_bias_hidden", "points": 2}
# Hidden checks: planted slopes with and without noise, rewards shifted and stretched, dtypes.
### BEGIN HIDDEN TESTS
with check.question("length_bias_hidden", length_bias) as f:
    gen = check.generator()
    for n, planted, noise, dtype in ((3, 0.5, 0.0, torch.float64), (50, -0.02, 0.3, torch.float64),
                                     (400, 0.01, 1.0, torch.float32)):
        lengths = torch.randperm(5 * n, generator=gen)[:n] + 5
        r = planted * lengths + noise * torch.randn(n, generator=gen)
        r, case = (r + 3).to(dtype), f"{n} answers, planted slope {planted:g}"
        slope, correlation = f(r, lengths)
        table = torch.stack([r.double(), lengths.double()])
        spread = table.cov()
        check.close(f"{case}, slope", slope, (spread[0, 1] / spread[1, 1]).item(), rel=1e-3)
        check.close(f"{case}, correlation", correlation, table.corrcoef()[0, 1].item(), rel=1e-3)
        slope, again = f(10 - 4 * r, lengths.to(dtype))
        check.close(f"{case}, rewards turned over, slope", slope,
                    (-4 * spread[0, 1] / spread[1, 1]).item(), rel=1e-3)
        check.close(f"{case}, rewards turned over, correlation", again,
                    -table.corrcoef()[0, 1].item(), rel=1e-3)
    check.unchanged("rewards and lengths", f, r, lengths)
### END HIDDEN TESTS

# %% [markdown]
# A reward model of your own. The data are pairs of answers to customers' questions: the chosen one
# is polite, and both have the facts. The body is the course's fine-tuned assistant. After some
# steps of training: how often does the model score the better answer of a *new* question higher,
# and what does it think of an answer that is long without being polite?

# %% tags=["demo"]
from glassbox import assistant, preference
from glassbox.telecom.questions import POLITE, fact, questions
from glassbox.tokenizer import tokenizer

pad_id = tokenizer().pad_id


def scores_of(model: nn.Module, asked: list, texts: list[str]) -> Tensor:
    """The rewards of answers to questions."""
    ids, _ = preference.answer_batch(asked, texts)
    with torch.no_grad():
        return model(ids, ids != pad_id)


def train_reward(seed: int, steps: int = 30, lr: float = 3e-4) -> nn.Module:
    """A reward model on the assistant's body, trained on pairs by your loss."""
    torch.manual_seed(seed)
    body = drills_dpo.Body(assistant.tuned())
    model = RewardModel(body, body.model.config.d_model)
    some, gen = preference.pairs(seed), torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0.0)
    for _ in range(steps):
        picked = [some[i] for i in torch.randint(len(some), (16,), generator=gen).tolist()]
        batch = preference.pair_batch(picked)
        up, down = (model(batch[f"{kind}_ids"], batch[f"{kind}_ids"] != pad_id)
                    for kind in ("chosen", "rejected"))
        optimizer.zero_grad()
        reward_loss(up, down).backward()
        optimizer.step()
    return model.eval()


asked = questions(seed=0).pairs  # 96 questions that no model here was trained on
plain = [fact(q.kind, q.key) for q in asked]
polite = [POLITE + text for text in plain]
long = [f"{text} {text}" for text in plain]  # everything twice
try:
    judge = train_reward(seed=0)
    by_kind = {name: scores_of(judge, asked, texts) for name, texts in
               (("plain", plain), ("polite", polite), ("plain, twice", long))}
    for name, r in by_kind.items():
        print(f"{name:<13} mean reward {r.mean():6.2f}")
    print(f"polite above plain in {(by_kind['polite'] > by_kind['plain']).double().mean():.0%} of "
          f"the questions, twice above once in "
          f"{(by_kind['plain, twice'] > by_kind['plain']).double().mean():.0%}")
    lengths = torch.tensor([len(tokenizer().encode(text)) for text in plain + polite])
    slope, correlation = length_bias(torch.cat([by_kind["plain"], by_kind["polite"]]), lengths)
    print(f"over plain and polite answers: {slope:+.3f} a token, correlation {correlation:.2f}")
    slope, correlation = length_bias(by_kind["plain"], lengths[: len(plain)])
    print(f"among plain answers alone:     {slope:+.3f} a token, correlation {correlation:.2f}")
except NotImplementedError:
    print("Write reward_loss, RewardModel and length_bias first; then run this cell again.")

# %% [markdown]
# The model has learned the manners: in five seeds the polite answer scored above the plain one
# for all of the new questions. It has learned something else with them. Chosen answers were
# longer than most rejected ones, and nobody told it which of the two was meant: an answer that
# says everything twice scored above the same answer said once for 97 to 100 % of the questions.
# Whatever is trained on this reward will find that out. That is measured here; that large reward
# models like length too is cited in the chapter.
#
# ## 6. How likely is an answer? ({points:sequence_logp}, 25 min)
#
# DPO needs no reward model. It needs one number from a language model: how likely it is to give a
# certain answer to a certain question. That is a product over the tokens of the answer, or a sum of
# logarithms,
#
# $$\ln \pi(y \mid x) = \sum_{t \,\in\, \text{answer}} \ln p(y_t \mid \text{all before } t)$$
#
# Two places to go wrong. The logits at place $t$ are a forecast of token $t + 1$; so token $t$ is
# scored by the logits at $t - 1$. And the question, the markers and the padding are not what the
# model answered: a mask says which tokens are.
#
# By hand, a vocabulary of 4. The rows of probabilities that the logits stand for:
#
# | place | id | counts | its forecast for ids 0, 1, 2, 3 |
# |--|--|--|--|
# | 0 | 3 | no | 1/2, 1/4, 1/8, 1/8 |
# | 1 | 0 | no | 1/8, **1/2**, 1/4, 1/8 |
# | 2 | 1 | yes | 1/8, 1/8, **1/4**, 1/2 |
# | 3 | 2 | yes | 1/4, 1/4, 1/4, 1/4 |
#
# Id 1 at place 2 was forecast with 1/2 at place 1, id 2 at place 3 with 1/4 at place 2. The answer
# has probability 1/8, and its logarithm is −2.079. Of the last row nothing is used.
#
# **Common mistake:** the *mean* over tokens. It says how likely a token is on average; DPO is
# derived for whole answers. A speech model's published DPO code had the mean, the mask upside down
# and the chosen answer's mask on the rejected one, all in two lines, and it trained.
#
# <details><summary>Hint 1</summary>
#
# Drop the last row of logits and the first id: then row and token belong together. Drop the first
# entry of the mask too.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `log_softmax(-1)` gives logarithms of probabilities, `.gather(-1, index)` picks one of each row.
# `index` needs as many dimensions as the logits: `ids[..., None]`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# What the mask leaves out must become 0 before you sum: times the mask, or `masked_fill` with its
# opposite.
#
# </details>

# %% nbgrader={"solution": "sequence_logp"}
def sequence_logp(logits: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """Log-probability of the tokens that count, summed over each row.

    logits (B, T, V) of a causal model for ids (B, T), mask (B, T) bool -> (B,), the dtype of
    logits. mask[b, t] says whether the token ids[b, t] counts; nothing is shifted in the mask. Its
    log-probability comes from the logits at place t - 1. A token at place 0 has no forecast and
    never counts, whatever the mask says. A row in which nothing counts gives 0; T may be 1. ids
    that do not count are some ids 0 ... V - 1 and have no influence. Gradients flow to logits, and
    logits of any finite size give a finite result.
    """
    ### BEGIN SOLUTION
    logp = logits[:, :-1].log_softmax(-1)  # place t forecasts token t + 1
    told = logp.gather(-1, ids[:, 1:, None]).squeeze(-1)  # (B, T - 1)
    return (told * mask[:, 1:]).sum(1)
    ### END SOLUTION


# %% nbgrader={"test": "sequence_logp_visible", "points": 9}
with check.question("sequence_logp_visible", sequence_logp) as f:
    p = torch.tensor([[4.0, 2, 1, 1], [1, 4, 2, 1], [1, 1, 2, 4], [2, 2, 2, 2]]) / 8
    logits, ids = p.log()[None], torch.tensor([[3, 0, 1, 2]])
    with check.part("by hand", 5):
        mask = torch.tensor([[False, False, True, True]])
        check.close("the table above", f(logits, ids, mask), [math.log(1 / 8)],
                    why="1/2 from place 1 and 1/4 from place 2, multiplied.")
        check.close("the last token alone", f(logits, ids, mask & (torch.arange(4) == 3)),
                    [math.log(1 / 4)], why="id 2 was forecast at place 2.")
        check.close("all tokens", f(logits, ids, mask | True), [math.log(1 / 16)],
                    why="1/2 · 1/2 · 1/4; the first token has no forecast.")
        check.close("nothing counts", f(logits, ids, mask & False), [0.0], scale=1.0)
    with check.part("rows of a batch", 2):
        three = torch.tensor([[False, True, True, True], [False, True, False, False],
                              [False, False, True, False]])
        check.close("uniform forecasts", f(torch.zeros(3, 4, 4), ids.expand(3, 4), three),
                    [-3 * math.log(4), -math.log(4), -math.log(4)],
                    why="each of n tokens costs log 4; a sum, not a mean.")
    with check.part("size and gradient", 2):
        tall, others = torch.eye(4)[None] * 1000, torch.tensor([[3, 0, 2, 1]])
        check.close("logits of 1000 and 0", f(tall, others, mask), [-2000.0],
                    why="two tokens that were forecast 1000 below the favourite.")
        x = logits.clone().requires_grad_()
        f(x, ids, mask).sum().backward()
        check.close("gradient at place 1", x.grad[0, 1], [-1 / 8, 1 / 2, -1 / 4, -1 / 8],
                    why="1 at the token that came, minus the probabilities.")
        check.close("gradient at places 0 and 3", x.grad[0, [0, 3]].abs().sum(), 0.0, scale=1.0,
                    why="nothing that counts is forecast there.")

# %% nbgrader={"test": "sequence_logp_hidden", "points": 6}
# Hidden checks: random rows and masks of several shapes, views with gaps, what must have no
# influence, a mask that begins at place 0, one token, gradients, float64.
### BEGIN HIDDEN TESTS
with check.question("sequence_logp_hidden", sequence_logp) as f:
    gen = check.generator()
    with check.part("random rows", 3):
        for B, T, V, dtype in ((3, 7, 5, torch.float64), (1, 2, 2, torch.float32),
                               (4, 1, 3, torch.float64), (2, 12, 30, torch.float32)):
            logits = (3 * torch.randn(T, B, V, generator=gen, dtype=dtype)).transpose(0, 1)
            ids = torch.randint(V, (B, T), generator=gen)
            mask = torch.rand(B, T, generator=gen) < 0.6
            mask[0], mask[-1, 0] = True, True
            want = []
            for b in range(B):
                total = torch.zeros((), dtype=torch.float64)
                for t in range(1, T):
                    row = logits[b, t - 1].double()
                    total += (row[ids[b, t]] - row.logsumexp(0)) * mask[b, t]
                want.append(total)
            case = f"B {B}, T {T}, V {V}"
            check.close(case, f(logits, ids, mask), torch.stack(want).to(dtype), scale=1.0)
    with check.part("no influence", 2):
        logits = torch.randn(3, 9, 6, generator=gen)
        ids, mask = torch.randint(6, (3, 9), generator=gen), torch.zeros(3, 9).bool()
        mask[0, 2:5], mask[1, 4:], mask[2, 6] = True, True, True
        want, used = f(logits, ids, mask), mask.roll(-1, 1)
        other = torch.randn(3, 9, 6, generator=gen)
        changed = torch.where(used[..., None], logits, other)
        check.close("other forecasts elsewhere", f(changed, ids, mask), want, scale=1.0)
        unlike = torch.where(mask, ids, (ids + 1) % 6)
        check.close("other ids elsewhere", f(logits, unlike, mask), want, scale=1.0)
        wider = F.pad(logits, (0, 0, 0, 4)), F.pad(ids, (0, 4)), F.pad(mask, (0, 4))
        check.close("four places of padding", f(*wider), want, scale=1.0)
        check.close("logits +5", f(logits + 5, ids, mask), want, scale=1.0)
    with check.part("gradient", 1):
        x = torch.randn(2, 5, 4, generator=gen, dtype=torch.float64)
        ids, mask = ids[:2, :5] % 4, torch.rand(2, 5, generator=gen) < 0.7
        mask[:, 3] = True
        check.gradient("gradient of logits", lambda given: f(given, ids, mask), x)
        big = torch.randn(1, 4, 5, generator=gen) * 1e4
        check.that(f(big, ids[:1, :4], mask[:1, :4]).isfinite().all(),
                   "logits of size 10,000 give a result that is not finite.")
        check.unchanged("logits, ids and mask", f, big, ids[:1, :4], mask[:1, :4])
### END HIDDEN TESTS

# %% [markdown]
# ## 7. A reward that is hidden in a model ({points:implicit_reward}, 5 min)
#
# Suppose a model $\pi$ is the best possible one for some reward $r$ when it must not go far from a
# reference model $\pi_\text{ref}$ (the chapter derives what that means). Then the reward can be
# read from the two models, up to a number that depends on the question alone:
#
# $$r(x, y) = \beta \left( \ln \pi(y \mid x) - \ln \pi_\text{ref}(y \mid x) \right)
# + \text{const}(x)$$
#
# So a policy *is* a reward model. $\beta$ is the price of drifting away; the constant drops out
# as soon as two answers to one question are compared.
#
# By hand: $\ln \pi$ = −4, $\ln \pi_\text{ref}$ = −6, $\beta$ = 0.1. The policy likes the answer
# more than the reference did; its reward is 0.2.
#
# **Common mistake:** taking $\beta \ln \pi$ alone. Then every common answer has a high reward,
# before anything was trained.
#
# <details><summary>Hint 1</summary>
#
# It is the formula above without the constant.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The policy's number comes first; a policy that is equal to the reference gives 0.
#
# </details>
# <details><summary>Hint 3</summary>
#
# One subtraction and one product; the gradient goes through by itself.
#
# </details>

# %% nbgrader={"solution": "implicit_reward"}
def implicit_reward(logp: Tensor, ref_logp: Tensor, beta: float) -> Tensor:
    """beta times the log-ratio of policy and reference, for each answer.

    logp (B,), ref_logp (B,), log-probabilities of the same answers under policy and reference ->
    (B,). 0 where both agree. The gradient flows to logp; nothing is detached here.
    """
    ### BEGIN SOLUTION
    return beta * (logp - ref_logp)
    ### END SOLUTION


# %% nbgrader={"test": "implicit_reward_visible", "points": 3}
with check.question("implicit_reward_visible", implicit_reward) as f:
    a, b = torch.tensor([-4.0, -6.0, -5.0]), torch.tensor([-6.0, -4.0, -5.0])
    check.close("beta 0.1", f(a, b, 0.1), [0.2, -0.2, 0.0],
                why="0.1 times 2, -2 and 0: more likely than before is a reward above 0.")
    check.close("beta 2", f(a[:1], b[:1], 2.0), [4.0])

# %% nbgrader={"test": "implicit_reward_hidden", "points": 2}
# Hidden checks: random values, policy equal to the reference, gradient, float64.
### BEGIN HIDDEN TESTS
with check.question("implicit_reward_hidden", implicit_reward) as f:
    gen = check.generator()
    for B, beta, dtype in ((1, 0.5, torch.float64), (9, 0.1, torch.float32)):
        a, b = torch.randn(2, B, generator=gen, dtype=dtype) * 10 - 40
        check.close(f"B {B}", f(a, b, beta), (a.double() * beta - b.double() * beta).to(dtype),
                    scale=1.0)
        check.close(f"B {B}, policy = reference", f(a, a, beta), torch.zeros_like(a), scale=1.0)
    x = torch.randn(4, generator=gen, dtype=torch.float64)
    check.gradient("gradient of logp", lambda given: f(given, x, 0.3), x + 1)
    check.unchanged("arguments", f, a, b, 0.1)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. The DPO loss ({points:dpo_loss}, 30 min)
#
# Put the hidden reward into the loss of a reward model, and the constant cancels: what is left
# trains the policy itself (Rafailov et al. 2023). For a pair, let the **margin** be
#
# $$m = \left( \ln \pi(y_c) - \ln \pi_\text{ref}(y_c) \right)
# - \left( \ln \pi(y_r) - \ln \pi_\text{ref}(y_r) \right), \qquad
# \ell = -\ln \sigma(\beta m)$$
#
# Four log-probabilities, two differences, one difference of these. The reference is the model as it
# was before training.
#
# By hand: while policy and reference agree, $m$ = 0 and $\ell$ = ln 2 = 0.693, whatever the answers
# are. If your first loss is another number, something is wrong. With $m$ = 2 and $\beta$ = 0.5,
# $\ell = -\ln \sigma(1)$ = 0.313. The gradient in $m$ is $-\beta \, \sigma(-\beta m)$: largest
# where the pair is on the wrong side, and gone where it is won.
#
# **Label smoothing.** Annotators err. If a share $\varepsilon$ of the labels is wrong, the expected
# loss is
#
# $$\ell_\varepsilon = -(1 - \varepsilon) \ln \sigma(\beta m) - \varepsilon \ln \sigma(-\beta m)$$
#
# ("conservative DPO", Mitchell 2023). It no longer falls for ever: it is lowest where
# $\sigma(\beta m) = 1 - \varepsilon$.
#
# Beside the loss the function gives the two hidden rewards. They are for looking at, not for
# training: **detached**, without a gradient.
#
# **Common mistake:** no reference. The loss falls, the answers change, and nothing holds the model
# near what it was. The first draft of DPO in a well-known library was like this, and divided by β
# besides.
#
# <details><summary>Hint 1</summary>
#
# Write the policy's and the reference's log-ratios with names of their own before you subtract
# anything from anything.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.logsigmoid(z)` and `F.logsigmoid(-z)` are the two logarithms, safe for any size.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The rewards are `implicit_reward` of the chosen and of the rejected answers, with `.detach()`. For
# `beta * m` you need them with their gradient.
#
# </details>

# %% nbgrader={"solution": "dpo_loss"}
def dpo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float,
    label_smoothing: float = 0.0,
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean DPO loss over a batch of pairs, and the hidden rewards of both answers.

    Four times (B,): log-probabilities, summed over each answer, of the chosen and the rejected one
    under the policy and under the reference -> loss (a scalar), rewards of chosen (B,), rewards of
    rejected (B,). With m = (chosen - ref_chosen) - (rejected - ref_rejected), a pair costs
    -(1 - label_smoothing) · log sigmoid(beta · m) - label_smoothing · log sigmoid(-beta · m). A
    reward is beta · (log-probability under the policy - under the reference), detached. The loss
    has a gradient for chosen and rejected, and is finite for log-probabilities of any finite size.
    Whether the loss passes a gradient on to the reference's numbers is open.
    """
    ### BEGIN SOLUTION
    up, down = beta * (chosen - ref_chosen), beta * (rejected - ref_rejected)
    right, wrong = F.logsigmoid(up - down), F.logsigmoid(down - up)  # (B,)
    loss = -((1 - label_smoothing) * right + label_smoothing * wrong).mean()
    return loss, up.detach(), down.detach()
    ### END SOLUTION


# %% nbgrader={"test": "dpo_loss_visible", "points": 12}
with check.question("dpo_loss_visible", dpo_loss) as f:
    a, b = torch.tensor([-4.0, -6.0]), torch.tensor([-5.0, -9.0])
    with check.part("loss", 5):
        check.close("policy = reference", f(a, b, a, b, 0.1)[0], math.log(2),
                    why="the margin is 0, so each pair costs log 2, whatever beta is.")
        check.close("margin 2, beta 0.5", f(a[:1] + 2, b[:1], a[:1], b[:1], 0.5)[0], 0.313262,
                    why="-log sigmoid(0.5 · 2).")
        check.close("margin 2, from the rejected one", f(a[:1], b[:1] - 2, a[:1], b[:1], 0.5)[0],
                    0.313262, why="to make the worse answer less likely counts as much.")
        check.close("margin -2, beta 0.5", f(a[:1] - 2, b[:1], a[:1], b[:1], 0.5)[0], 1.313262,
                    why="beta · 2 more than at margin 2.")
        check.close("margins 2 and -2", f(torch.tensor([-2.0, -8.0]), b, a, b, 0.5)[0], 0.813262,
                    why="the mean of 0.313 and 1.313.")
    with check.part("rewards", 3):
        _, up, down = f(a + torch.tensor([2.0, -1.0]), b - 3, a, b, 0.5)
        check.close("rewards of chosen", up, [1.0, -0.5], why="0.5 times 2 and -1.")
        check.close("rewards of rejected", down, [-1.5, -1.5], why="0.5 times -3.")
    with check.part("label smoothing", 2):
        check.close("margin 2, beta 0.5, 0.1", f(a[:1] + 2, b[:1], a[:1], b[:1], 0.5, 0.1)[0],
                    0.413262, why="0.9 · 0.313 + 0.1 · 1.313.")
        check.close("policy = reference, 0.1", f(a, b, a, b, 0.5, label_smoothing=0.1)[0],
                    math.log(2), why="both logarithms are the same.")
    with check.part("size and gradient", 2):
        check.close("margin -4000", f(a[:1] - 4000, b[:1], a[:1], b[:1], 0.1)[0], 400.0,
                    why="finite; sigmoid(-400) itself is 0 in float32.")
        x, y = a.clone().requires_grad_(), b.clone().requires_grad_()
        f(x, y, a, b, 0.1)[0].backward()
        check.close("gradient of chosen", x.grad, [-0.025, -0.025],
                    why="-beta · sigmoid(0), over two pairs.")
        check.close("gradient of rejected", y.grad, [0.025, 0.025])

# %% nbgrader={"test": "dpo_loss_hidden", "points": 8}
# Hidden checks: random log-probabilities, invariance, antisymmetry, smoothing, batch size, the
# gradient in closed form, hopeless pairs, what is detached, float64.
### BEGIN HIDDEN TESTS
with check.question("dpo_loss_hidden", dpo_loss) as f:
    gen = check.generator()
    with check.part("values", 3):
        for B, beta, smoothing, dtype in (
            (1, 0.1, 0.0, torch.float64), (7, 0.5, 0.2, torch.float64),
            (16, 1.5, 0.0, torch.float32),
        ):
            c, r, rc, rr = torch.randn(4, B, generator=gen, dtype=dtype) * 3 - 20
            loss, up, down = f(c, r, rc, rr, beta, smoothing)
            z = beta * (c + rr - r - rc).double()
            cost = (1 - smoothing) * (1 + (-z).exp()).log() + smoothing * (1 + z.exp()).log()
            case = f"B {B}, beta {beta:g}, smoothing {smoothing:g}"
            check.close(case, loss, cost.mean().to(dtype))
            check.close(f"{case}, rewards of chosen", up, beta * (c - rc), scale=1.0)
            check.close(f"{case}, rewards of rejected", down, beta * (r - rr), scale=1.0)
    with check.part("invariance", 2):
        c, r, rc, rr = torch.randn(4, 8, generator=gen, dtype=torch.float64) * 5 - 20
        loss = f(c, r, rc, rr, 0.3)[0]
        check.close("chosen and its reference both +7", f(c + 7, r, rc + 7, rr, 0.3)[0], loss,
                    why="only the gap between policy and reference counts.")
        check.close("rejected and its reference both -7", f(c, r - 7, rc, rr - 7, 0.3)[0], loss)
        check.close("both answers of the policy +3", f(c + 3, r + 3, rc, rr, 0.3)[0], loss,
                    why="a factor that depends on the question alone drops out.")
        check.close("the batch twice", f(*(x.repeat(2) for x in (c, r, rc, rr)), 0.3)[0], loss,
                    why="the loss is a mean over pairs.")
        m = (c - rc) - (r - rr)
        check.close("loss(m) - loss(-m)", loss - f(r, c, rr, rc, 0.3)[0], -0.3 * m.mean(),
                    scale=1.0, why="chosen and rejected exchanged.")
        smooth = f(c, r, rc, rr, 0.3, 0.25)[0]
        check.close("smoothing 0.25", smooth - loss, 0.25 * 0.3 * m.mean(), scale=1.0,
                    why="a wrong label costs beta · m more.")
    with check.part("gradient", 2):
        check.gradient("gradient", lambda x, y: f(x, y, rc, rr, 0.3, 0.1)[0], c, r)
        x, y = c.clone().requires_grad_(), r.clone().requires_grad_()
        loss, up, down = f(x, y, rc, rr, 0.3)
        loss.backward()
        slope = -0.3 * (-0.3 * m).sigmoid() / 8
        check.close("gradient of chosen", x.grad, slope, why="-beta · sigmoid(-beta · m) / B.")
        check.close("gradient of rejected", y.grad, -slope)
        check.that(not up.requires_grad and not down.requires_grad,
                   "the rewards carry a gradient; detach them.")
    with check.part("size", 1):
        far = torch.tensor([4000.0, -4000.0])
        loss = f(far, -far, far * 0, far * 0, 0.1)[0]
        check.close("margins of 8000 and -8000", loss, torch.tensor(400.0), why="0 and 800.")
        loss = f(far, -far, far * 0, far * 0, 0.1, 0.5)[0]
        check.close("the same with smoothing 0.5", loss, torch.tensor(400.0))
        check.unchanged("arguments", f, far, -far, far * 2, far, 0.1)
### END HIDDEN TESTS

# %% [markdown]
# What does β do? The next cell draws *your* loss over the margin. Before you move the slider: with
# β = 0.1, how many nats of margin does a pair need until its push is down to a tenth of what it was
# at the start?

# %% tags=["demo"]
import matplotlib.pyplot as plt


def plot_dpo(beta: float = 0.1, smoothing: float = 0.0) -> plt.Axes:
    """Loss and push (the gradient's size) of one pair over its margin."""
    m = torch.linspace(-40, 40, 161)
    zero = torch.zeros(1)
    losses, pushes = [], []
    for value in m:
        x = value.reshape(1).clone().requires_grad_()
        loss, _, _ = dpo_loss(x, zero, zero, zero, beta, smoothing)
        loss.backward()
        losses.append(loss.item())
        pushes.append(-x.grad.item() / beta)
    left, right = plt.figure(figsize=(6, 2.4), layout="constrained").subplots(1, 2)
    left.plot(m, losses)
    left.axhline(math.log(2), color="0.6", linestyle=":")
    left.set(xlabel="margin m, nats", ylabel="loss", ylim=(-0.2, 5))
    right.plot(m, pushes)
    right.set(xlabel="margin m, nats", ylabel="push, in units of β", ylim=(-0.6, 1.1))
    plt.show()
    return left


try:
    plot_dpo()
    from ipywidgets import FloatSlider, interact

    interact(plot_dpo, beta=FloatSlider(0.1, min=0.02, max=1.0, step=0.02, continuous_update=False),
             smoothing=FloatSlider(0.0, min=0.0, max=0.4, step=0.05, continuous_update=False))
except NotImplementedError:
    print("Write dpo_loss first; then run this cell again.")

# %% [markdown]
# ## 9. A target in place of a push ({points:ipo_loss}, 8 min)
#
# DPO's loss never stops falling. If a pair is always judged the same way, and most pairs are judged
# once, the best margin is infinite: the rejected answer should get probability 0. **IPO** (Azar et
# al. 2023) asks for a finite margin instead,
#
# $$\ell = \left( m - \frac{1}{2\beta} \right)^2$$
#
# By hand: $\beta$ = 0.1 asks for a margin of 5 nats. A margin of 3 costs 4, and so does one of 7.
#
# Here log-probabilities are summed over the answer, as in the paper. TRL divides each log-ratio by
# the length of its answer first; the two are different losses under one name.
#
# **Common mistake:** $\beta$ inside of the square as well, $(\beta m - 1/(2\beta))^2$.
#
# <details><summary>Hint 1</summary>
#
# The margin is that of `dpo_loss`, without β.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A large β is a short leash here too: a small margin to reach.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `.square().mean()`
#
# </details>

# %% nbgrader={"solution": "ipo_loss"}
def ipo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor, beta: float
) -> Tensor:
    """Mean over pairs of (m - 1 / (2 beta))², m the margin of dpo_loss.

    Four times (B,), log-probabilities summed over each answer (no division by lengths) -> scalar.
    m = (chosen - ref_chosen) - (rejected - ref_rejected). 0 where every margin is 1 / (2 beta).
    The loss has a gradient for chosen and rejected.
    """
    ### BEGIN SOLUTION
    m = (chosen - ref_chosen) - (rejected - ref_rejected)
    return (m - 1 / (2 * beta)).square().mean()
    ### END SOLUTION


# %% nbgrader={"test": "ipo_loss_visible", "points": 3}
with check.question("ipo_loss_visible", ipo_loss) as f:
    a, b = torch.tensor([-4.0]), torch.tensor([-9.0])
    check.close("margin 5, beta 0.1", f(a + 5, b, a, b, 0.1), 0.0, scale=1.0,
                why="1 / (2 · 0.1) is 5: there.")
    check.close("margin 3, beta 0.1", f(a, b - 3, a, b, 0.1), 4.0, why="2 short, squared.")
    check.close("margin 7, beta 0.1", f(a + 7, b, a, b, 0.1), 4.0, why="2 too far, squared.")
    check.close("policy = reference, beta 0.25", f(a, b, a, b, 0.25), 4.0)
    check.close("margins 3 and 5", f(torch.tensor([-1.0, 1.0]), b.repeat(2), a.repeat(2),
                                     b.repeat(2), 0.1), 2.0, why="the mean of 4 and 0.")

# %% nbgrader={"test": "ipo_loss_hidden", "points": 2}
# Hidden checks: random values, shifts of both models, batch size, gradient, float64.
### BEGIN HIDDEN TESTS
with check.question("ipo_loss_hidden", ipo_loss) as f:
    gen = check.generator()
    for B, beta, dtype in ((1, 0.5, torch.float64), (6, 0.05, torch.float32)):
        c, r, rc, rr = torch.randn(4, B, generator=gen, dtype=dtype) * 4 - 30
        loss, case = f(c, r, rc, rr, beta), f"B {B}, beta {beta:g}"
        gap = (c + rr - r - rc).double() - 0.5 / beta
        check.close(case, loss, (gap * gap).mean().to(dtype), rel=1e-3)
        check.close(f"{case}, chosen and its reference +7", f(c + 7, r, rc + 7, rr, beta), loss,
                    rel=1e-3)
        check.close(f"{case}, the batch twice", f(*(x.repeat(2) for x in (c, r, rc, rr)), beta),
                    loss)
    c, r, rc, rr = torch.randn(4, 5, generator=gen, dtype=torch.float64)
    check.gradient("gradient", lambda x, y: f(x, y, rc, rr, 0.4), c, r)
    check.unchanged("arguments", f, c, r, rc, rr, 0.4)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. A step ({points:dpo_step}, 20 min)
#
# Everything together: two models, two answers, four forward passes, one update. The policy learns;
# the reference is read **without a gradient** and must come out as it went in.
#
# Print three numbers at each step, all from *before* the update: the loss; the mean reward margin,
# $\beta m$; and the **accuracy**, the share of pairs with a margin above 0. At the first step they
# are 0.693, 0 and (ties count one half) 0.5.
#
# By hand: two tokens, both models say 1/2 to everything. Chosen is id 1 after id 0, rejected id 0
# after id 0. The loss is ln 2. With $\beta$ = 1 the gradient in the margin is −1/2, and a step of
# size 1 raises the logit of id 1 by 1/2 and lowers that of id 0 by 1/2.
#
# **Common mistake:** the mask of the chosen answer used for the rejected one. Right only when both
# have equal length and place.
#
# <details><summary>Hint 1</summary>
#
# The same three steps for each of model and answer: logits, then `sequence_logp` with the ids and
# the mask of this answer. A small function inside, or a loop, saves you three copies.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `with torch.no_grad():` around the reference. `zero_grad`, `backward`, `step` for the policy.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `dpo_loss` gives the rewards of both answers: their difference is the margin with β. For ties:
# `(1 + margins.sign()) / 2` is 1, ½ or 0. Give plain numbers: `.item()`.
#
# </details>

# %% nbgrader={"solution": "dpo_step"}
def dpo_step(
    policy: nn.Module, reference: nn.Module, batch: dict[str, Tensor], optimizer: Optimizer,
    beta: float,
) -> dict[str, float]:
    """One update of the policy on a batch of pairs; "loss", "margin" and "accuracy" before it.

    policy(ids) and reference(ids) give logits (B, T, V). batch has "chosen_ids" and "chosen_mask"
    (B, T), "rejected_ids" and "rejected_mask" (B, S), masks as in sequence_logp. The loss is
    dpo_loss without smoothing. "margin" is the mean over pairs of the chosen reward minus the
    rejected reward (so beta is in it); "accuracy" is the share of pairs in which it is above 0, a
    tie counting one half. All three are of this batch, from before the update, and plain numbers.
    Gradients that the policy had before are forgotten; the optimizer steps once, without clipping.
    The reference is not changed and gets no gradient, even if its parameters could have one. The
    mode of both models (train or eval) is the caller's business.
    """
    ### BEGIN SOLUTION
    def both(model: nn.Module) -> list[Tensor]:
        return [sequence_logp(model(batch[f"{kind}_ids"]), batch[f"{kind}_ids"],
                              batch[f"{kind}_mask"]) for kind in ("chosen", "rejected")]

    with torch.no_grad():
        before = both(reference)
    loss, up, down = dpo_loss(*both(policy), *before, beta)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    told = {"loss": loss, "margin": (up - down).mean(),
            "accuracy": ((up - down).sign() + 1).mean() / 2}
    return {key: number.item() for key, number in told.items()}
    ### END SOLUTION


# %% nbgrader={"test": "dpo_step_visible", "points": 6}
with check.question("dpo_step_visible", dpo_step):
    def steps(chosen, rejected, n=1, beta=1.0, **more):  # two tokens, SGD with rate 1
        def row(ids):  # the last token is the answer
            return torch.tensor([ids]), torch.arange(len(ids))[None] == len(ids) - 1

        batch = dict(zip(("chosen_ids", "chosen_mask"), row(chosen)))
        batch |= dict(zip(("rejected_ids", "rejected_mask"), row(rejected)))
        return check.there(drills_dpo.dpo_steps, dpo_step, torch.zeros(2, 2), torch.zeros(2, 2),
                           [batch] * n, beta, **more)

    keys, kinds, values, table, bias, changed, reached, kept = steps([0, 1], [0, 0], n=2)
    check.equal("keys of what is returned", keys, "accuracy loss margin")
    check.equal("types of the values", kinds, "float", why="plain numbers.")
    check.close("first step: accuracy, loss, margin", values[0], [0.5, math.log(2), 0.0], scale=1.0,
                why="policy and reference agree: margin 0, a tie.")
    check.close("second step", values[1], [1.0, 0.126928, 2.0],
                why="table and bias have moved by 1/2 each way: the margin is 2.")
    check.close("after one step", steps([0, 1], [0, 0])[3], [[-0.5, 0.5], [0.0, 0.0]], scale=1.0,
                why="the gradient in the margin is -1/2; up for id 1, down for id 0.")
    check.close("old gradients of 7", steps([0, 1], [0, 0], stale=7.0)[3],
                [[-0.5, 0.5], [0.0, 0.0]], scale=1.0, why="gradients from before are forgotten.")
    check.close("second step, beta 0.5", steps([0, 1], [0, 0], n=2, beta=0.5)[2][1],
                [1.0, 0.474077, 0.5], why="the first step is half as long; the margin is 0.5 · 1.")
    check.that(not changed, "the reference was changed by the step.")
    check.that(not reached, "the reference receives a gradient.")
    check.that(kept, "the mode of a model was changed; that is the caller's business.")
    check.close("answers of unlike places", steps([0, 0, 1], [0, 0])[3], [[-0.5, 0.5], [0.0, 0.0]],
                scale=1.0, why="each answer is read with its own mask.")

# %% nbgrader={"test": "dpo_step_hidden", "points": 4}
# Hidden checks: random tables and pairs computed again, unequal lengths, several steps, modes, a
# small GPT whose margin grows in 50 steps.
### BEGIN HIDDEN TESTS
with check.question("dpo_step_hidden", dpo_step):
    gen = check.generator()
    with check.part("three steps", 2):
        for B, T, S, beta in ((4, 7, 7, 0.5), (2, 5, 9, 0.1), (1, 8, 3, 1.5)):
            start, frozen = torch.randn(2, 5, 5, generator=gen, dtype=torch.float64)
            table, bias = start.clone().requires_grad_(), torch.zeros(5).double().requires_grad_()
            runs, want = [], []
            for _ in range(3):
                batch = {}
                for kind, n in (("chosen", T), ("rejected", S)):
                    batch[f"{kind}_ids"] = torch.randint(5, (B, n), generator=gen)
                    batch[f"{kind}_mask"] = torch.rand(B, n, generator=gen) < 0.6
                    batch[f"{kind}_mask"][:, -1] = True
                runs.append(batch)
                sums = []
                for kind in ("chosen", "rejected"):
                    ids, mask = batch[f"{kind}_ids"], batch[f"{kind}_mask"][:, 1:]
                    ratios = [F.log_softmax(rows, -1)[ids[:, :-1], ids[:, 1:]]
                              for rows in (table + bias, frozen)]
                    sums.append(((ratios[0] - ratios[1]) * mask).sum(1))
                m = beta * (sums[0] - sums[1])
                loss = (1 + (-m).exp()).log().mean()
                want.append([(1 + m.sign()).mean().item() / 2, loss.item(), m.mean().item()])
                grads = torch.autograd.grad(loss, [table, bias])
                table.data -= 0.7 * grads[0]
                bias.data -= 0.7 * grads[1]
            _, _, values, got, moved, changed, reached, _ = check.there(
                drills_dpo.dpo_steps, dpo_step, start, frozen, runs, beta, 0.7)
            case = f"{B} pairs of {T} and {S} tokens, beta {beta:g}"
            check.close(f"{case}, accuracy, loss, margin", values, want, rel=1e-3)
            check.close(f"{case}, table after three steps", got, table.detach(), scale=1.0)
            check.close(f"{case}, bias after three steps", moved, bias.detach(), scale=1.0)
            check.that(not changed and not reached, f"{case}: the reference is touched.")
    with check.part("modes and ties", 1):
        for training in (True, False):
            out = check.there(drills_dpo.dpo_steps, dpo_step, start, frozen, runs[:1], 0.5,
                              training=training, dropout=1.0)
            check.that(out[7], "a model's mode was changed; that is the caller's business.")
            if training:
                check.close("dropout 1: accuracy, loss, margin", out[2], [[0.5, math.log(2), 0.0]],
                            scale=1.0, why="all logits are 0 in both models.")
        pair = {"chosen_ids": torch.tensor([[0, 1], [1, 1]]),
                "rejected_ids": torch.tensor([[0, 0], [1, 1]])}
        for kind in ("chosen", "rejected"):
            pair[f"{kind}_mask"] = torch.tensor([[False, True], [False, True]])
        ahead = torch.tensor([[0.0, 2.0], [0.0, 0.0]])
        values = check.there(drills_dpo.dpo_steps, dpo_step, ahead, torch.zeros(2, 2), [pair],
                             0.5)[2]
        check.close("a won pair and a tie: accuracy, loss, margin", values,
                    [[0.75, 0.503205, 0.5]], why="a tie counts one half.")
    with check.part("a small GPT", 1):
        ids = torch.randint(11, (8, 10), generator=gen)
        other = torch.cat([ids[:, :4], (ids[:, 4:] + 1) % 11], 1)
        mask = (torch.arange(10) >= 4).expand(8, 10)
        batch = {"chosen_ids": ids, "chosen_mask": mask, "rejected_ids": other,
                 "rejected_mask": mask}
        losses, margins, accuracies = check.there(drills_dpo.dpo_run, dpo_step, [batch] * 50, 0.1,
                                                  1e-2)
        check.close("first loss", losses[0], math.log(2), rel=1e-3)
        check.that(margins[-1] > 1 and accuracies[-1] == 1,
                   f"after 50 steps on 8 pairs the margin is {margins[-1]:.3g} and the accuracy "
                   f"{accuracies[-1]:.3g}; above 1 and 1 are expected.")
### END HIDDEN TESTS

# %% [markdown]
# ## 11. What has really moved ({points:margin_report}, 10 min)
#
# "DPO makes the preferred answer more likely" is written in many places, and it is not what the
# loss says. The loss wants a larger **margin**. That is also had when both answers become less
# likely and the rejected one loses more (Pal et al. 2024, Razin et al. 2024). So report both sides
# apart, before and after.
#
# By hand, two pairs:
#
# | | chosen | rejected | margin |
# |--|--|--|--|
# | pair 0 | −10 → −11 | −12 → −15 | 2 → 4: rose by 2 |
# | pair 1 | −20 → −19.5 | −25 → −25 | 5 → 5.5: rose by 0.5 |
#
# The margin rose in both pairs, the chosen answer fell in one of two, and in one of two both
# happened.
#
# **Common mistake:** comparing means of margins only: a table with one line, and the fall is not
# in it.
#
# <details><summary>Hint 1</summary>
#
# Two tensors of changes, after minus before, one for each answer.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The change of the margin is the difference of the two changes.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A share is the mean of truth values: `(x > 0).double().mean().item()`. "Both" is `&`.
#
# </details>

# %% nbgrader={"solution": "margin_report"}
def margin_report(before: dict[str, Tensor], after: dict[str, Tensor]) -> dict[str, float]:
    """How log-probabilities of pairs have moved: means of the changes, and shares of pairs.

    before and after have "chosen" and "rejected" (B,), log-probabilities of the same pairs under
    the model before and after training. A change is after minus before; the margin of a pair is
    chosen minus rejected, without beta. The result: "chosen", "rejected" and "margin" are mean
    changes; "margin_rose" is the share of pairs whose margin is larger than before, "chosen_fell"
    the share whose chosen answer is less likely than before, "both" the share in which both hold.
    No change is neither a rise nor a fall. Plain numbers; shares from 0 to 1.
    """
    ### BEGIN SOLUTION
    chosen, rejected = (after[kind] - before[kind] for kind in ("chosen", "rejected"))
    margin = chosen - rejected
    rose, fell = margin > 0, chosen < 0
    found = {"chosen": chosen, "rejected": rejected, "margin": margin, "margin_rose": rose,
             "chosen_fell": fell, "both": rose & fell}
    return {name: value.double().mean().item() for name, value in found.items()}
    ### END SOLUTION


# %% nbgrader={"test": "margin_report_visible", "points": 3}
with check.question("margin_report_visible", margin_report) as f:
    before = {"chosen": torch.tensor([-10.0, -20.0]), "rejected": torch.tensor([-12.0, -25.0])}
    after = {"chosen": torch.tensor([-11.0, -19.5]), "rejected": torch.tensor([-15.0, -25.0])}
    report = f(before, after)
    check.equal("keys", sorted(report),
                ["both", "chosen", "chosen_fell", "margin", "margin_rose", "rejected"])
    for name, want, why in (("chosen", -0.25, "the mean of -1 and +0.5."),
                            ("rejected", -1.5, "the mean of -3 and 0."),
                            ("margin", 1.25, "the mean of +2 and +0.5."),
                            ("margin_rose", 1.0, "in both pairs."),
                            ("chosen_fell", 0.5, "in pair 0."), ("both", 0.5, "in pair 0.")):
        check.equal(name, report[name], want, why=why)
    still = f(before, before)
    for name in ("margin_rose", "chosen_fell", "both"):
        check.close(f"nothing moved, {name}", still[name], 0.0, scale=1.0,
                    why="no change is neither a rise nor a fall.")

# %% nbgrader={"test": "margin_report_hidden", "points": 2}
# Hidden checks: random changes of both signs and of none, one pair, before and after exchanged.
### BEGIN HIDDEN TESTS
with check.question("margin_report_hidden", margin_report) as f:
    gen = check.generator()
    for B in (1, 6, 60):
        steps_of = torch.randint(-2, 3, (2, B), generator=gen).double()  # ties are likely
        begin = {kind: torch.randint(-40, -5, (B,), generator=gen).double()
                 for kind in ("chosen", "rejected")}
        end = {kind: begin[kind] + move for kind, move in zip(begin, steps_of)}
        tally = [0, 0, 0]
        for up, down in steps_of.T.tolist():
            tally = [n + now for n, now in zip(tally, (up > down, up < 0, up > down and up < 0))]
        report = f(begin, end)
        for name, n in zip(("margin_rose", "chosen_fell", "both"), tally):
            check.close(f"{B} pairs, {name}", report[name], n / B, scale=1.0)
        for name, want in (("chosen", steps_of[0]), ("rejected", steps_of[1]),
                           ("margin", steps_of[0] - steps_of[1])):
            check.close(f"{B} pairs, {name}", report[name], want.mean().item(), scale=1.0)
            check.close(f"{B} pairs, {name}, backwards", f(end, begin)[name], -want.mean().item(),
                        scale=1.0)
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Train the assistant's manners
#
# No points from here on; everything below runs on *your* functions. The course's assistant has been
# fine-tuned on customers' questions. It knows the facts, and it opens with "Thank you for asking."
# in about three answers of ten. Each pair to learn from has a polite, complete answer as the chosen
# one; rejected is the same without the opening, with a rude one, or with half of the facts.
#
# What is measured, on 96 questions that are in no pair, with answers drawn at temperature 1:
#
# - **polite** and **right**, as shares of the answers, before and after;
# - **win rate**: how often the new model's answer beats the old model's (polite and right beats
#   right, right beats wrong, a tie counts one half); 0.5 is no gain;
# - **KL**: how far the policy has moved from the reference, in nats per answer. It is what the gain
#   has been paid with.
#
# Before you run it: 40 steps of 16 pairs. How polite will it be, and how much will it forget?

# %% tags=["demo"]
from tqdm.auto import tqdm

STEPS, RATE, BETA, ROWS = 40, 5e-5, 0.1, 16
FAR = {"steps": 25, "rate": 1e-3}  # for later: steps that are too large
SEEDS = (0,)  # give it more, and wait: ten to twenty seconds each


def run_dpo(seed: int, steps: int = STEPS, rate: float = RATE) -> tuple[GPT, list[dict]]:
    """The assistant after DPO by your step, and what the steps said."""
    policy, reference = assistant.tuned(), assistant.tuned()
    with tqdm(total=steps) as bar:
        log = preference.dpo(policy, reference, preference.pairs(seed), steps, rate, ROWS, BETA,
                             seed=seed, step=dpo_step, on_step=lambda *_: bar.update())
    return policy, log


def measured(policy: GPT, seed: int) -> dict[str, float]:
    """What has become of the assistant, on questions of this seed that are in no pair."""
    asked, old = questions(seed).pairs, assistant.tuned()
    gen = torch.Generator().manual_seed(seed)
    before, after = (preference.manners(m, asked, gen, samples=2) for m in (old, policy))
    return {"polite before": before["polite"], "polite after": after["polite"],
            "right before": before["right"], "right after": after["right"],
            "win rate": preference.win_rate(policy, old, asked, gen),
            "KL": preference.drift(policy, old, asked, gen)}


policy, runs = None, []
try:
    for seed in SEEDS:
        policy, log = run_dpo(seed)
        runs.append(measured(policy, seed))
        print(f"seed {seed}: loss {log[0]['loss']:.3f} -> {log[-1]['loss']:.3f}, margin "
              f"{log[-1]['margin']:.2f}, accuracy {log[-1]['accuracy']:.2f}; "
              + ", ".join(f"{name} {value:.2f}" for name, value in runs[-1].items()))
except NotImplementedError:
    policy = None
    print("Write sequence_logp, dpo_loss and dpo_step first; then run this cell again.")

# %% [markdown]
# One run is one draw of luck. Here are five seeds that had no part in choosing the settings. They
# were recorded with the cells of this lab and the course's functions; the assistant at the start is
# the same in all of them, and a seed draws the pairs, their order and the answers that are
# measured. (Its fine-tuning was that of seed 0, so it has met some of the other seeds' questions
# before, though never in a pair. That flatters "right" a little, before and after alike.) The
# intervals are those of the mean.
#
# In each of the five, politeness rose by 0.38 or more, the win rate was 0.67 to 0.81, and the
# policy stayed within 1.7 nats of the reference. Right answers were 0.96 to 0.98 before and 0.90
# to 0.95 after: the manners were not quite free. All this is measured here, with a rule in the
# place of people. What people think of such a model, nobody has asked.

# %% tags=["demo"]
RECORDED = {
    "polite before": [0.344, 0.37, 0.318, 0.333, 0.323],
    "polite after": [0.839, 0.833, 0.823, 0.719, 0.88],
    "right before": [0.958, 0.974, 0.958, 0.958, 0.984],
    "right after": [0.953, 0.927, 0.901, 0.943, 0.943],
    "win rate": [0.745, 0.724, 0.667, 0.698, 0.807],
    "KL": [0.662, 0.948, 1.613, 0.572, 0.743],
}


def interval(name: str, values: list[float]) -> None:
    """Print the mean of a few runs and its 95 % interval (Student's t)."""
    mean, low, high = preference.mean_interval(values)
    print(f"{name:<22} {mean:6.3f}   95 % interval {low:6.3f} to {high:6.3f}   "
          f"smallest {min(values):6.3f}")


def gains(table: dict[str, list[float]]) -> None:
    """Gains and prices of several runs."""
    for name in ("polite", "right"):
        pairs_of = zip(table[f"{name} before"], table[f"{name} after"])
        interval(f"{name}, gain", [after - before for before, after in pairs_of])
    for name in ("win rate", "right after", "KL"):
        interval(name, table[name])


print("Five fresh seeds, recorded:")
gains(RECORDED)
if len(runs) > 1:
    print("\nYours:")
    gains({name: [run[name] for run in runs] for name in runs[0]})

# %% [markdown]
# ## What has moved, and what happens if you go on
#
# Your `margin_report` on held-out pairs, polite against plain, for two runs: the one above, and one
# that goes too far, with 25 steps at twenty times the rate. Before you look: in the second run the
# loss is nearly 0 and all pairs are won. Is the chosen answer then likelier than before?

# %% tags=["demo"]
def pair_logp(model: GPT, asked: list) -> dict[str, Tensor]:
    """Log-probabilities of the polite and of the plain answer to each question."""
    found = {}
    for kind, opening in (("chosen", POLITE), ("rejected", "")):
        ids, mask = preference.answer_batch(asked, [opening + fact(q.kind, q.key) for q in asked])
        with torch.no_grad():
            found[kind] = sequence_logp(model(ids), ids, mask)
    return found


try:
    if policy is not None:
        asked = questions(SEEDS[-1]).pairs
        start = pair_logp(assistant.tuned(), asked)
        too_far, log = run_dpo(SEEDS[-1], **FAR)
        print(f"too far: loss {log[-1]['loss']:.4f}, accuracy {log[-1]['accuracy']:.2f}")
        for name, model in (("above", policy), ("too far", too_far)):
            gen = torch.Generator().manual_seed(1)
            right = preference.manners(model, asked, gen)["right"]
            report = margin_report(start, pair_logp(model, asked))
            print(f"{name:<9} " + ", ".join(f"{key} {value:+.2f}" if key in start or
                                            key == "margin" else f"{key} {value:.0%}"
                                            for key, value in report.items())
                  + f"; right answers {right:.0%}")
except NotImplementedError:
    print("Write sequence_logp, dpo_step and margin_report first.")

# %% [markdown]
# In the five seeds, the chosen answer became likelier in the run above, by 0.78 to 1.03 nats in
# the mean, and the rejected one less likely, by 1.44 to 2.66. In the run that went too far the
# margin grew by 65 to 127 nats, the loss fell to 0.015 or less, all pairs were won, and the
# chosen answer became **less** likely in every pair, by 9 to 47 nats in the mean. The
# rejected answer fell further, and the loss sees nothing but that. What became likelier instead
# is neither of the two: of the sampled answers a share of 0.00 to 0.01 was right.
#
# So DPO does not promise that the preferred answer becomes likelier. It promises a larger margin
# over the reference. That is measured here on a model of half a million weights; Pal et al.
# (2024) and Razin et al. (2024) report it of large ones.
#
# ## Talk to it
#
# In a terminal, `python -m glassbox.chat lab08_dpo` talks to the model, too. It knows error codes
# like E413 and the plans of the operator, and nothing else.

# %% tags=["demo"]
from IPython.display import display

from glassbox import chat, checkpoints

if policy is not None:
    file = checkpoints.save(policy, "lab08_dpo", lab="lab08_dpo", steps=STEPS, beta=BETA)
    print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB\n")
    gen = torch.Generator().manual_seed(2)
    for model, name in ((assistant.tuned(), "before"), (policy, "after")):
        some = questions(0).pairs[:4]
        dialogues = [[{"role": "user", "content": q.text}] for q in some]
        for question, (text, _) in zip(some, preference.sampled(model, dialogues, gen)):
            print(f"{name:<7} {question.text}  {text}")
    display(chat.widget(policy, temperature=1.0))

# %% [markdown]
# ## The same in TRL
#
# TRL is the library that most people use for DPO. Given the same log-probabilities its losses are
# yours. Its IPO divides each log-ratio by the answer's length, so the last line differs unless all
# answers have one token. The cell needs `pip install trl`; nothing that is graded does.

# %% tags=["demo"]
from glassbox import huggingface

if absent := huggingface.missing("transformers", "trl"):
    print(absent)
else:
    try:
        gen = torch.Generator().manual_seed(0)
        four = (torch.randn(4, 6, generator=gen, dtype=torch.float64) * 3 - 20).unbind(0)
        lengths = torch.randint(5, 30, (2, 6), generator=gen).unbind(0)
        for name, ours, theirs in (
            ("DPO", dpo_loss(*four, 0.1)[0], huggingface.dpo_loss(*four, 0.1)),
            ("reward, margin 1", reward_loss(*four[:2], 1.0),
             huggingface.reward_loss(*four[:2], 1.0)),
            ("IPO, sums", ipo_loss(*four, 0.1), huggingface.ipo_loss(*four, 0.1)),
            ("IPO, TRL's own", ipo_loss(*four, 0.1),
             huggingface.ipo_loss(*four, 0.1, lengths=lengths)),
        ):
            print(f"{name:<17} yours {ours.item():10.6f}, TRL's {theirs.item():10.6f}, difference "
                  f"{(ours - theirs).abs().item():.1e}")
    except NotImplementedError:
        print("Write reward_loss, dpo_loss and ipo_loss first.")
    except ImportError as error:
        print(error)

# %% [markdown]
# ## Scale: real models
#
# On a GPU this cell runs by itself; on a CPU it prints what it would need. M takes SmolLM2 with 135
# million parameters, teaches it to answer first, and then tunes its manners with your `dpo_step`:
# the model and a frozen copy. L takes TinyLlama with 1.1 billion parameters and puts LoRA on it.
# Then the reference costs nothing: it is the same model with the adapter switched off.
#
# How polite a model is, is measured without sampling: the log-odds of the polite against the plain
# answer are the difference of your `sequence_logp` of both.
#
# A model that is on your disk already is taken from there: give its folder in the environment
# variable `GLASSBOX_MODEL`. L trains on a public preference set instead of manners if
# `GLASSBOX_PREFERENCES` names one, on the Hugging Face Hub or on your disk, such as
# `trl-lib/ultrafeedback_binarized`. `run_record.json` keeps what was measured.
#
# Before you look: DPO has two models in memory. Does it need twice the memory of fine-tuning?

# %% tags=["demo"]
import copy
import os
import time
from dataclasses import replace

from glassbox import counting
from glassbox.telecom.questions import grade, messages

small = counting.Model("SmolLM2-135M", "llama", 30, 576, 9, 49152, 8192, n_kv_heads=3, d_ff=1536,
                       tied=True)
tiny = counting.Model("TinyLlama 1.1B", "llama", 22, 2048, 32, 32000, 2048, n_kv_heads=4, d_ff=5632,
                      tied=False)
large = scale.name == "L"
shape = tiny if large else small
source = os.environ.get("GLASSBOX_MODEL") or ("TinyLlama/TinyLlama_v1.1" if large else
                                              "HuggingFaceTB/SmolLM2-135M")
public = os.environ.get("GLASSBOX_PREFERENCES") if large else None
MAPS = ("query", "key", "value", "out", "gate", "up", "down")
width, rank, sft_steps, dpo_steps = 96, 16, 200, 60


def states(model: counting.Model, n_adapter: int = 0) -> tuple[float, float]:
    """Bytes before activations for fine-tuning and for DPO; with an adapter only it is trained."""
    n = counting.count(model)["total"]
    if n_adapter:
        return 4 * n + 16 * n_adapter, 4 * n + 16 * n_adapter  # the reference is the same model
    return 16 * n, 20 * n  # weight, gradient, two moments; and a frozen copy


def needed(model: counting.Model, n_adapter: int = 0) -> float:
    """The same for DPO with the activations and logits of chosen and rejected rows."""
    return (states(model, n_adapter)[1] + 20 * ROWS * width * model.vocab_size
            + 4 * counting.activations(model, ROWS, width, flash=True))


class Logits(nn.Module):
    """A library's model with ids in and logits out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        return self.model(input_ids=ids).logits


def answered(asked: list, opening: str) -> list:
    """Questions as dialogues in which the right answer opens like this."""
    return [messages(replace(q, answer=opening + fact(q.kind, q.key))) for q in asked]


def batch_of(rows: list, device: object) -> tuple[Tensor, Tensor]:
    """Rows of the library as ids and mask (B, T), padded at the right."""
    n = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([[*ids, *[0] * (n - len(ids))] for ids, _ in rows], device=device)
    return ids, torch.tensor([[*m, *[0] * (n - len(m))] for _, m in rows], device=device) == 1


def sides_of(asked: list, tokens: object) -> dict[str, list]:
    """The rows of the polite and of the plain answers."""
    return {kind: huggingface.rows(answered(asked, opening), tokens)
            for kind, opening in (("chosen", POLITE), ("rejected", ""))}


def now(model: nn.Module, tokens: object, asked: list, when: str) -> dict[str, float]:
    """How likely a polite opening is, and how many of the likeliest answers are right."""
    logp = {}
    for kind, rows in sides_of(asked, tokens).items():
        with torch.no_grad():
            logp[kind] = torch.cat([
                sequence_logp(model(input_ids=ids).logits.float(), ids, mask)
                for ids, mask in (batch_of(rows[i : i + ROWS], model.device)
                                  for i in range(0, len(rows), ROWS))])
    said = huggingface.replies(model, tokens, [messages(q)[:-1] for q in asked])
    right = [grade(q, text.strip(), ended).right for q, (text, ended) in zip(asked, said)]
    return {f"polite {when}": (logp["chosen"] - logp["rejected"]).sigmoid().mean().item(),
            f"right {when}": sum(right) / len(right)}


def own_dpo(model: nn.Module, tokens: object, asked: list) -> list[dict[str, float]]:
    """DPO of the whole model by your step; what each step said."""
    policy, sides = Logits(model), sides_of(asked, tokens)
    reference = copy.deepcopy(policy)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=5e-6, weight_decay=0.0)
    gen, told = torch.Generator().manual_seed(0), []
    for _ in range(dpo_steps):
        picked = torch.randint(len(asked), (ROWS,), generator=gen).tolist()
        batch = {}
        for kind, rows in sides.items():
            ids, mask = batch_of([rows[i] for i in picked], model.device)
            batch |= {f"{kind}_ids": ids, f"{kind}_mask": mask}
        told.append(dpo_step(policy, reference, batch, optimizer, BETA))
    return told


def with_library_model() -> dict[str, float]:
    """Answers first, manners then; what was measured."""
    model, tokens = huggingface.load(source)
    data, trained = questions(0), model
    if not public:
        dialogues = [d for n in range(10) for d in answered(data.train, POLITE if n < 3 else "")]
        if large:
            model = huggingface.lora(model, "all-linear", rank, 2.0 * rank)
        huggingface.train_sft(model, huggingface.rows(dialogues, tokens), ROWS, steps=sft_steps,
                              lr=2e-4 if large else 1e-4, warm_up=10, shuffle=True)
        model = model.merge_and_unload() if large else model  # what the next adapter stands on
    found = now(model, tokens, data.pairs, "before")
    if large:
        trained = huggingface.lora(model, "all-linear", rank, 2.0 * rank)
    begun = time.perf_counter()
    if large:
        some = huggingface.preference_pairs(public, n=ROWS * dpo_steps) if public else (
            preference.pairs(0))
        told = huggingface.train_dpo(trained, some, tokens, rows_per_step=ROWS, lr=5e-5,
                                     steps=dpo_steps, warm_up=5, beta=BETA, shuffle=True)
    else:
        told = own_dpo(model, tokens, data.train)
    found |= {"seconds": time.perf_counter() - begun, "first loss": told[0]["loss"],
              "loss": told[-1]["loss"], "margin": told[-1]["margin"]}
    return found | now(trained, tokens, data.pairs, "after")


for model in (small, tiny, counting.MODELS["Llama-3 8B"]):
    (full, pair_of), n = states(model), counting.lora(model, rank, MAPS)
    print(f"{model.name:<15} before activations: fine-tuning {full / 1e9:6.1f} GB, DPO "
          f"{pair_of / 1e9:6.1f} GB, DPO with LoRA {states(model, n)[1] / 1e9:5.1f} GB")
if scale.name != "S":
    n = counting.lora(shape, rank, MAPS) if large else 0
    scale.announce(f"{shape.name}, DPO on {ROWS} pairs of {width} tokens", needed(shape, n))
    try:
        result = with_library_model()
        print(*(f"{name:>14} {value:,.4g}" for name, value in result.items()), sep="\n")
        print("Written to", scale.record("lab08_dpo", {"model": source} | result))
    except (ImportError, FileNotFoundError) as error:
        print(error)
    except NotImplementedError:
        print("Write sequence_logp, dpo_loss and dpo_step first.")
