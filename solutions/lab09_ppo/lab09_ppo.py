# %% [markdown]
# # Lab 9: PPO and GRPO
#
# DPO learned from pairs that somebody had compared. Here nobody compares: the model answers, a
# program says what the answer was worth, and the model makes good answers likelier. You write the
# parts of **PPO**, with a value network and a price for leaving the reference, and of **GRPO**,
# where other answers to the same question take the place of the value network. At the end both
# teach an assistant to be polite and still right, and a third run shows what happens when the
# program can be fooled. Your own function has to notice it.
#
# **{points}, about 3 1/2 hours.** The chapter behind it is
# [Preference optimisation](../../book/ch05_preference.md), above all its pages on
# [PPO](../../book/ch05_ppo.md), [advantages](../../book/ch05_advantages.md) and
# [GRPO](../../book/ch05_grpo.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input. Where the signature says `float`, it is a
#   plain Python number. Arguments are never changed.
# - `mask` (B, T) is True on the tokens of the answers. In a row they stand side by side; before
#   them may be a prompt, after them padding. A row may have none. The last True of a row is its
#   **last real token**.
# - What stands at the other places has no influence, not even −inf or NaN: results there are 0,
#   their gradients too, and no mean counts them.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import json
import math
import re
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
from torch import Tensor

import glassbox
from glassbox import check, drills_ppo

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab09_ppo")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## 1. How far from the reference? ({points:token_kl}, 10 min)
#
# The reward will never say all that we want. So the policy also pays for every step away from the
# **reference**, the model it began as. The distance is the Kullback-Leibler divergence, and the
# policy's own samples estimate it: a token that the policy drew with probability $p$, where the
# reference gives it $q$, says
#
# $$k_1 = \ln \frac pq, \qquad k_3 = \frac qp - 1 + \ln \frac pq$$
#
# Averaged over what the policy draws, both are the KL divergence: the part $q/p - 1$ has mean 0.
# But $k_1$ of a single token can be negative, and $k_3$ cannot (Schulman 2020). A reward takes
# $k_1$; a loss, as in GRPO, takes $k_3$.
#
# By hand: $p$ = 1/2 and $q$ = 1/4 give $k_1$ = ln 2 = 0.693 and $k_3$ = 1/2 − 1 + 0.693 = 0.193.
# The other way round, $k_1$ = −0.693 and $k_3$ = 2 − 1 − 0.693 = 0.307.
#
# **Common mistake:** $e^{\ln p - \ln q}$ in the place of $q/p$. The result is never negative
# either, and its mean is another number.
#
# <details><summary>Hint 1</summary>
#
# Padding may hold −inf in both, and −inf − (−inf) is NaN. Clear it before you subtract.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x.masked_fill(~mask, 0.0)` is x with 0 where mask is False. If both have 0 there, what do $k_1$
# and $k_3$ give?
#
# </details>
# <details><summary>Hint 3</summary>
#
# Both are functions of one difference d, the log-probability under the policy minus that under the
# reference. Write $q/p$ with it.
#
# </details>

# %% nbgrader={"solution": "token_kl"}
def token_kl(logp: Tensor, ref_logp: Tensor, mask: Tensor, kind: str = "k3") -> Tensor:
    """What each token says of the KL divergence from policy to reference, in nats.

    Three times (B, T) -> (B, T): log-probabilities of the tokens that the policy drew, under the
    policy and under the reference. With p and q for the probabilities: "k1" is ln(p/q), "k3" is
    q/p - 1 + ln(p/q). Any other kind raises ValueError. Gradients flow to logp and to ref_logp.
    Where both agree both kinds are 0.
    """
    ### BEGIN SOLUTION
    if kind != "k1" and kind != "k3":
        raise ValueError(f"kind must be k1 or k3, not {kind!r}")
    gap = logp.masked_fill(~mask, 0.0) - ref_logp.masked_fill(~mask, 0.0)  # ln p - ln q
    return gap if kind == "k1" else (-gap).exp() - 1 + gap
    ### END SOLUTION


# %% nbgrader={"test": "token_kl_visible", "points": 3}
with check.question("token_kl_visible", token_kl) as f:
    p, q = torch.tensor([[0.5, 0.25, 0.3]]).log(), torch.tensor([[0.25, 0.5, 0.3]]).log()
    real = torch.tensor([[True, True, True]])
    check.close("k1", f(p, q, real, "k1"), [[0.693147, -0.693147, 0.0]],
                why="ln(p/q): twice as likely, half as likely, equally likely.")
    check.close("k3", f(p, q, real, "k3"), [[0.193147, 0.306853, 0.0]],
                why="q/p - 1 + ln(p/q): 0.5 - 1 + 0.693, 2 - 1 - 0.693, 0.")
    check.close("no kind", f(p, q, real), [[0.193147, 0.306853, 0.0]], why="k3 is the default.")
    middle, lost = torch.tensor([[False, True, False]]), torch.tensor([[-math.inf, 0, -math.inf]])
    check.close("-inf around one token", f(p + lost, q + lost, middle, "k1"),
                [[0.0, -0.693147, 0.0]], why="0 where mask is False.")
    check.raises('kind "k2"', ValueError, f, p, q, real, "k2")

# %% nbgrader={"test": "token_kl_hidden", "points": 2}
# Hidden checks: random values, the mean over all tokens, the sign, NaN at padding, gradients.
### BEGIN HIDDEN TESTS
with check.question("token_kl_hidden", token_kl) as f:
    gen = check.generator()
    for B, T in ((4, 7), (1, 1), (3, 12)):
        a, b = torch.randn(2, B, T, generator=gen, dtype=torch.float64).mul(2).unbind(0)
        mask = drills_ppo.spans(B, T, gen)
        bad = a.masked_fill(~mask, math.nan), b.masked_fill(~mask, -math.inf)
        k1, k3 = f(*bad, mask, "k1"), f(*bad, mask, "k3")
        want = (a - b).where(mask, torch.zeros(()).double())
        check.close(f"B {B}, T {T}, k1", k1, want, scale=1.0)
        want = ((b - a).exp() + a - b - 1).where(mask, torch.zeros(()).double())
        check.close(f"B {B}, T {T}, k3", k3, want, scale=1.0)
        check.that((k3 >= -1e-9).all(), f"B {B}, T {T}: a k3 is {k3.min().item():.3g}; it is "
                   "never negative.")
    p, q = torch.randn(2, 1, 50, generator=gen, dtype=torch.float64).log_softmax(-1).unbind(0)
    every, kl = torch.ones(1, 50).bool(), (p.exp() * (p - q)).sum()
    for kind in ("k1", "k3"):  # each token weighed by how often the policy draws it
        check.close(f"{kind}, mean over the policy's draws", (p.exp() * f(p, q, every, kind)).sum(),
                    kl, why="the KL divergence.")
        check.gradient(f"{kind}, gradient", lambda x, y, k=kind: f(x, y, every, k), p, q)
        lost = torch.full((1, 2), -math.inf).requires_grad_()
        f(lost, lost.detach(), torch.tensor([[False, False]]), kind).sum().backward()
        check.close(f"{kind}, gradient at padding", lost.grad, torch.zeros(1, 2), scale=1.0)
    check.unchanged("arguments", f, p, q, every)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. What each token earns ({points:shaped_rewards}, 15 min)
#
# One number judges a whole answer; the policy chooses token by token. PPO makes a reward for each
# token of two parts: every token pays $\beta$ times its KL, and the **last real token** also gets
# the score, since only then the answer was there to be judged.
#
# By hand, an answer of two tokens with KL 1 and 2, score 4 and $\beta$ = 0.5: the first token
# earns −0.5, the last 4 − 1 = 3. Together they are 4 − 0.5 · 3 = 2.5, the score less what the whole
# answer pays.
#
# **Common mistake:** the score in the last column. That is right for the longest answer of the
# batch; all others have padding there and never see their reward.
#
# <details><summary>Hint 1</summary>
#
# Two steps: what every real token pays, then one more term in one place of each row.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A sum from the right, `mask.flip(1).cumsum(1).flip(1)`, says at each token how many real ones
# are left. How many are left at the last one?
#
# </details>
# <details><summary>Hint 3</summary>
#
# True counts as 1, so a (B, T) bool times `score[:, None]` has the score in the right places. A
# row without tokens then gets nothing by itself.
#
# </details>

# %% nbgrader={"solution": "shaped_rewards"}
def shaped_rewards(score: Tensor, kl: Tensor, beta: float, mask: Tensor) -> Tensor:
    """The reward of each token: -beta · kl, and at the last real token of a row its score as well.

    score (B,), kl (B, T), mask (B, T) -> (B, T). The sum of a row is its score minus beta times
    its summed kl; a row without tokens is 0, and its score is lost.
    """
    ### BEGIN SOLUTION
    rewards = (-beta * kl).masked_fill(~mask, 0.0)
    remaining = mask.flip(1).cumsum(1).flip(1)  # real tokens from here on
    return rewards + score[:, None] * (mask & (remaining == 1))
    ### END SOLUTION


# %% nbgrader={"test": "shaped_rewards_visible", "points": 6}
with check.question("shaped_rewards_visible", shaped_rewards) as f:
    real = torch.tensor([[True, True, False, False]])
    kl = torch.tensor([[1.0, 2.0, 9.0, 9.0]])
    got = f(torch.tensor([4.0]), kl, 0.5, real)
    check.close("two tokens, then padding", got, [[-0.5, 3.0, 0.0, 0.0]],
                why="-0.5 · 1; 4 - 0.5 · 2; padding has no reward.")
    check.close("beta 0", f(torch.tensor([4.0]), kl, 0.0, real), [[0.0, 4.0, 0.0, 0.0]],
                why="the score alone, on the last real token.")
    real = torch.tensor([[False, True, True, False], [True, True, True, True],
                         [False, False, False, False]])
    kl = torch.tensor([[math.inf, 1.0, -2.0, math.inf], [1.0, 0.0, 0.0, 3.0], [5.0] * 4])
    got = f(torch.tensor([2.0, -1.0, 7.0]), kl, 1.0, real)
    check.close("a prompt before the answer", got[0], [0.0, -1.0, 4.0, 0.0],
                why="the mask begins late; a negative KL is earned: 2 + 2.")
    check.close("a row without padding", got[1], [-1.0, 0.0, 0.0, -4.0], why="-1 - 3 at the end.")
    check.close("a row without tokens", got[2] + 1, [1.0] * 4, why="0 everywhere.")

# %% nbgrader={"test": "shaped_rewards_hidden", "points": 4}
# Hidden checks: random rows token by token, sums, NaN at padding.
### BEGIN HIDDEN TESTS
with check.question("shaped_rewards_hidden", shaped_rewards) as f:
    gen = check.generator()
    for B, T, beta in ((5, 8, 0.1), (1, 1, 0.7), (3, 15, 2.0), (6, 3, 0.0)):
        score = torch.randn(B, generator=gen, dtype=torch.float64) * 3
        kl = torch.randn(B, T, generator=gen, dtype=torch.float64)
        mask, case = drills_ppo.spans(B, T, gen), f"B {B}, T {T}, beta {beta:g}"
        got = f(score, kl.masked_fill(~mask, math.nan), beta, mask)
        want = torch.zeros(B, T).double()
        for row in range(B):
            places = mask[row].nonzero().flatten().tolist()
            for t in places:
                want[row, t] = score[row] * (t == places[-1]) - beta * kl[row, t]
        check.close(case, got, want, scale=1.0)
        total = (score - beta * kl.where(mask, 0 * kl).sum(1)).where(mask.any(1), 0 * score)
        check.close(f"{case}, sums", got.sum(1), total, scale=1.0,
                    why="the score less what all tokens of the answer pay.")
    check.unchanged("arguments", f, score, kl, 0.5, mask)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Who earned it? ({points:gae}, 35 min)
#
# The score comes at the end, after thirty tokens. Which of them were good? A **value network**
# foresees at each token what is still to come, $V_t$ before token $t$ is chosen. The token was
# better than expected by
#
# $$\delta_t = r_t + \gamma V_{t+1} - V_t$$
#
# That is precise if the values are right. If they are not, it is safer to look further and use what
# really came. Generalised advantage estimation (Schulman et al. 2016) mixes all distances:
#
# $$A_t = \delta_t + \gamma\lambda\, A_{t+1} = \sum_{k \ge 0} (\gamma\lambda)^k\, \delta_{t+k}$$
#
# With $\lambda$ = 0 only the next value counts. With $\lambda$ = 1 the values cancel, and $A_t$ is
# the sum of what really came, minus $V_t$. The value network learns from $A_t + V_t$, the
# **return**.
#
# By hand, rewards (0, 0, 1), values (0.5, 0.5, 0.5), $\gamma$ = 1. After the last token nothing
# comes, so there the next value is 0: $\delta$ = (0, 0, 0.5). $\lambda$ = 0 praises the last token
# alone, (0, 0, 0.5); $\lambda$ = 1 all three, (0.5, 0.5, 0.5).
#
# **Common mistake:** the value of the padding as the last $V_{t+1}$. A number that nobody trained
# then decides about the last token, and through the sum about all of them.
#
# <details><summary>Hint 1</summary>
#
# Go from the last column to the first and keep two columns: the advantage and the value of the
# token after this one. Both are 0 at first.
#
# </details>
# <details><summary>Hint 2</summary>
#
# If you clear rewards and values outside of the answers first, a token at the end of an answer
# finds 0 behind it, whether padding follows or nothing.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `for t in reversed(range(T))`: delta, then the advantage, set to 0 where `mask[:, t]` is False.
# Both results are targets, so begin with `detach()`.
#
# </details>

# %% nbgrader={"solution": "gae"}
def gae(
    rewards: Tensor, values: Tensor, mask: Tensor, gamma: float, lam: float
) -> tuple[Tensor, Tensor]:
    """Advantages by generalised advantage estimation, and the returns that the values should be.

    Three times (B, T) -> advantages (B, T), returns (B, T). values[:, t] is what is expected
    before token t is chosen. After the last real token of a row nothing is expected: the value is
    0 there. Returns are advantages plus values. Both are targets: no gradient flows from them into
    rewards or values. gamma and lam lie between 0 and 1, ends included.
    """
    ### BEGIN SOLUTION
    rewards = rewards.detach().masked_fill(~mask, 0.0)
    values = values.detach().masked_fill(~mask, 0.0)
    advantages = torch.zeros_like(rewards)
    after = ahead = torch.zeros_like(rewards[:, 0])  # advantage and value of the token after t
    for t in reversed(range(rewards.shape[1])):
        delta = rewards[:, t] + gamma * ahead - values[:, t]
        after = (delta + gamma * lam * after) * mask[:, t]
        advantages[:, t], ahead = after, values[:, t]
    return advantages, advantages + values
    ### END SOLUTION


# %% nbgrader={"test": "gae_visible", "points": 12}
with check.question("gae_visible", gae) as f:
    real = torch.ones(1, 3).bool()
    rewards, values = torch.tensor([[0.0, 0.0, 1.0]]), torch.tensor([[0.5, 0.5, 0.5]])
    check.close("lam 0", f(rewards, values, real, 1.0, 0.0)[0], [[0.0, 0.0, 0.5]],
                why="each token is compared with the next value, the last one with the score.")
    check.close("lam 1", f(rewards, values, real, 1.0, 1.0)[0], [[0.5, 0.5, 0.5]],
                why="what really came, 1, minus 0.5.")
    rewards, values = torch.tensor([[1.0, 0.0, 8.0]]), torch.tensor([[1.0, 2.0, 4.0]])
    advantages, returns = f(rewards, values, real, 0.5, 0.5)
    check.close("gamma and lam 0.5, advantages", advantages, [[1.25, 1.0, 4.0]],
                why="delta is (1, 0, 4), and a quarter of the next advantage is added.")
    check.close("gamma and lam 0.5, returns", returns, [[2.25, 3.0, 8.0]],
                why="advantages plus values.")
    real = torch.tensor([[False, True, True, True, False]])
    around = F.pad(rewards, (1, 1), value=7.0), F.pad(values, (1, 1), value=100.0)
    advantages, returns = f(*around, real, 0.5, 0.5)
    check.close("with a prompt and padding", advantages, [[0.0, 1.25, 1.0, 4.0, 0.0]],
                why="the values of prompt and padding have no influence; the results there are 0.")
    check.close("its returns", returns, [[0.0, 2.25, 3.0, 8.0, 0.0]], why="0 outside as well.")
    learning = values.clone().requires_grad_()
    got = f(rewards, learning, torch.ones(1, 3).bool(), 0.5, 0.5)
    check.that(not got[0].requires_grad and not got[1].requires_grad,
               "a gradient flows through the targets into the values; detach them.")

# %% nbgrader={"test": "gae_hidden", "points": 8}
# Hidden checks: random rows against the double sum, both ends of lambda and gamma, NaN at padding,
# rows one by one.
### BEGIN HIDDEN TESTS
with check.question("gae_hidden", gae) as f:
    gen = check.generator()
    with check.part("double sum", 4):
        for B, T, gamma, lam in ((4, 9, 0.9, 0.8), (1, 1, 0.5, 0.5), (3, 20, 1.0, 0.95),
                                 (5, 6, 0.7, 1.0), (6, 4, 0.3, 0.0), (3, 5, 0.0, 0.9)):
            r, v = torch.randn(2, B, T, generator=gen, dtype=torch.float64).unbind(0)
            mask, case = drills_ppo.spans(B, T, gen), f"B {B}, T {T}, gamma {gamma}, lam {lam}"
            want = torch.zeros(B, T).double()
            for row in range(B):
                places = mask[row].nonzero().flatten().tolist()
                for i in places:
                    for k in range(i, places[-1] + 1):
                        following = v[row, k + 1] if k < places[-1] else 0.0
                        delta = r[row, k] + gamma * following - v[row, k]
                        want[row, i] += (gamma * lam) ** (k - i) * delta
            bad = r.masked_fill(~mask, math.nan), v.masked_fill(~mask, math.inf)
            got = f(*bad, mask, gamma, lam)
            check.close(f"{case}, advantages", got[0], want, scale=1.0)
            check.close(f"{case}, returns", got[1], (want + v).where(mask, 0 * v), scale=1.0)
    with check.part("both ends of lambda", 2):
        r, v = torch.randn(2, 3, 7, generator=gen, dtype=torch.float64).unbind(0)
        every = torch.ones(3, 7).bool()
        came = r.flip(1).cumsum(1).flip(1)
        check.close("lam 1, gamma 1, returns", f(r, v, every, 1.0, 1.0)[1], came, scale=1.0,
                    why="the sum of all rewards from here on, whatever the values.")
        following = torch.cat([v[:, 1:], torch.zeros(3, 1).double()], 1)
        check.close("lam 0, returns", f(r, v, every, 0.6, 0.0)[1], r + 0.6 * following, scale=1.0,
                    why="the reward and the next value.")
    with check.part("rows and targets", 2):
        mask = drills_ppo.spans(4, 7, gen)
        r, v = torch.randn(2, 4, 7, generator=gen).unbind(0)
        whole = f(r, v, mask, 0.9, 0.9)
        for row in range(4):
            alone = f(r[row : row + 1], v[row : row + 1], mask[row : row + 1], 0.9, 0.9)
            check.close(f"row {row} alone", alone[0], whole[0][row : row + 1], scale=1.0)
        x = r.clone().requires_grad_()
        check.that(not f(x, v, mask, 0.9, 0.9)[0].requires_grad,
                   "a gradient flows from the advantages into the rewards.")
        check.unchanged("arguments", f, r, v, mask, 0.9, 0.9)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Advantages of one size ({points:whiten}, 10 min)
#
# A reward of 0 to 1 and one of 0 to 100 ask for the same behaviour, and should move the policy as
# far. So the advantages of a batch are brought to mean 0 and variance 1: **whitened**. In PPO the
# mean goes, so that about half of the tokens are praised; rewards are sometimes scaled and keep
# their mean, because its sign says something.
#
# By hand, two tokens with 2 and 6: mean 4, variance 4, whitened −1 and 1. With the mean kept: 3
# and 5.
#
# **Common mistake:** `x.mean()` over all places. Then the mean depends on how much you padded.
#
# <details><summary>Hint 1</summary>
#
# `x[mask]` is a vector of the real values, whatever their rows.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Scale first: difference from the mean, divided by a root. Then, if asked, add the mean again.
# Clear what is not real at the very end.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.rsqrt` is one over the root. One real value has variance 0: that is what 1e-8 is for.
# Without any real value the mean is NaN, and what you clear at the end is everything.
#
# </details>

# %% nbgrader={"solution": "whiten"}
def whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    """x brought to mean 0 and variance 1 over all real tokens of the batch.

    (B, T), (B, T) -> (B, T). The variance is the mean squared difference from the mean (not
    n - 1); differences are divided by the root of variance + 1e-8. With shift_mean False the mean
    is added again afterwards, so it stays as it was. One real token gives 0 (or itself).
    """
    ### BEGIN SOLUTION
    some = x[mask]  # (n,)
    mean = some.mean()
    variance = (some - mean).square().mean()
    scaled = (x - mean) * torch.rsqrt(variance + 1e-8)
    return (scaled if shift_mean else scaled + mean).masked_fill(~mask, 0.0)
    ### END SOLUTION


# %% nbgrader={"test": "whiten_visible", "points": 3}
with check.question("whiten_visible", whiten) as f:
    x, real = torch.tensor([[2.0, 6.0, 100.0]]), torch.tensor([[True, True, False]])
    check.close("2 and 6", f(x, real), [[-1.0, 1.0, 0.0]],
                why="mean 4, variance 4; padding is not counted and gives 0.")
    check.close("the mean kept", f(x, real, False), [[3.0, 5.0, 0.0]], why="4 ± 1.")
    one = torch.tensor([[True, False, False], [False, False, False]])
    x = torch.tensor([[7.0, 1.0, 2.0], [3.0, 4.0, 5.0]])
    check.close("one token", f(x, one), torch.zeros(2, 3), scale=1.0, why="its own mean.")
    check.close("one token, the mean kept", f(x, one, False),
                [[7.0, 0.0, 0.0], [0.0, 0.0, 0.0]], why="the mean is 7.")
    x = torch.tensor([[0.0, 3.0], [0.0, 1.0]])
    check.close("two rows", f(x, x > -1), [[-0.816497, 1.632993], [-0.816497, 0.0]],
                why="one mean, 1, and one variance, 1.5, for the whole batch.")

# %% nbgrader={"test": "whiten_hidden", "points": 2}
# Hidden checks: random values, mean and variance, tiny values, NaN at padding, no token at all.
### BEGIN HIDDEN TESTS
with check.question("whiten_hidden", whiten) as f:
    gen = check.generator()
    for B, T in ((4, 6), (1, 9), (7, 2)):
        x = torch.randn(B, T, generator=gen, dtype=torch.float64) * 5 + 3
        mask = drills_ppo.spans(B, T, gen)
        mask[0] = True
        bad = x.masked_fill(~mask, math.nan)
        real, case = x[mask], f"B {B}, T {T}"
        got, kept = f(bad, mask), f(bad, mask, False)
        want = (x - real.mean()) / (real.var(correction=0) + 1e-8).sqrt()
        check.close(case, got, want.where(mask, 0 * x), scale=1.0)
        check.close(f"{case}, variance", got[mask].var(correction=0), 1.0)
        check.close(f"{case}, mean kept", kept[mask].mean(), real.mean().item(), scale=1.0)
        check.close(f"{case}, kept and shifted", kept[mask] - got[mask],
                    real.mean().expand(len(real)), scale=1.0)
    small, two = torch.tensor([[1e-4, -1e-4]]).double(), torch.ones(1, 2).bool()
    check.close("variance 1e-8", f(small, two), torch.tensor([[0.5, -0.5]]).double().mul(2**0.5),
                why="1e-4 divided by the root of 1e-8 + 1e-8.")
    check.close("no token", f(small, ~two), torch.zeros(1, 2).double(), scale=1.0)
    check.unchanged("arguments", f, x, mask)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. A step, but not too far ({points:ppo_policy_loss}, 30 min)
#
# The answers were drawn by the policy as it was: the **old** policy. After one update the policy is
# another one, and sampling anew is what costs time. The **ratio** $r$ of the two probabilities of a
# token corrects for that: on average $r A$ over old answers is what $A$ would be over new ones. But
# the correction fails when the two are far apart. PPO (Schulman et al. 2017) takes away the reason
# to go there:
#
# $$\text{loss} = -\operatorname{mean} \min\big(r A,\ \operatorname{clip}(r, 1-c, 1+c)\, A\big)$$
#
# By hand, with $c$ = 0.2, four tokens:
#
# | ratio | advantage | $rA$ | clipped | minimum | gradient |
# |--|--|--|--|--|--|
# | 1.5 | 1 | 1.5 | 1.2 | 1.2 | none: likelier by 50 % is enough |
# | 1.5 | −1 | −1.5 | −1.2 | −1.5 | yes: a bad token has become likelier |
# | 0.5 | 1 | 0.5 | 0.8 | 0.5 | yes: a good token has become rarer |
# | 0.5 | −1 | −0.5 | −0.8 | −0.8 | none: rarer by half is enough |
#
# So the clip switches a token off only after a step in the direction that its advantage asked for.
# A step the wrong way always has a gradient that leads back.
#
# Two numbers tell how the update goes: the share of tokens beyond the clip, and how far the new
# policy is from the old one, by $k_3$ = $r - 1 - \ln r$ (the tokens were drawn by the old policy).
#
# **Common mistake:** the maximum in the place of the minimum. Then bad moves are not limited, and
# nothing leads back.
#
# <details><summary>Hint 1</summary>
#
# `x[mask]` of each tensor leaves one vector of real tokens, and the padding cannot disturb any
# more. Every result is then a mean over that vector.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The ratio is the exponential of a difference of log-probabilities. `torch.minimum` and `clamp`
# do the rest; backward through both is right as it is.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Old log-probabilities and advantages are constants: detach them. The two numbers to watch are
# computed from the detached ratio. Divide sums by `max(1, n)`, for a batch without tokens.
#
# </details>

# %% nbgrader={"solution": "ppo_policy_loss"}
def ppo_policy_loss(
    logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor, clip: float
) -> tuple[Tensor, Tensor, Tensor]:
    """PPO's clipped loss of the policy, the share of tokens beyond the clip, and the KL made.

    Four times (B, T) -> three scalars, all means over the real tokens of the batch (0 if there is
    none). With the ratio r = exp(logp - old_logp) and the advantage A: the loss is the mean of
    -min(r A, clip(r, 1 - clip, 1 + clip) A); the share counts tokens with |r - 1| > clip; the KL
    from old to new policy is the mean of r - 1 - ln r. Of the loss a gradient flows to logp alone;
    the other two carry none.
    """
    ### BEGIN SOLUTION
    old, gain = old_logp[mask].detach(), advantages[mask].detach()
    change = logp[mask] - old  # (n,)
    ratio, n = change.exp(), max(1, len(change))
    kept = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    fixed = ratio.detach() - 1
    beyond = (fixed.abs() > clip).to(logp.dtype)
    return -kept.sum() / n, beyond.sum() / n, (fixed - change.detach()).sum() / n
    ### END SOLUTION


# %% nbgrader={"test": "ppo_policy_loss_visible", "points": 9}
with check.question("ppo_policy_loss_visible", ppo_policy_loss) as f:
    one, old = torch.ones(1, 1).bool(), torch.tensor([[-2.0]])
    for r, A, want, slope, told in (
        (1.5, 1.0, -1.2, 0.0, "grown enough: 1.2 counts"),
        (1.5, -1.0, 1.5, 1.5, "a bad token has grown: all of it counts"),
        (0.5, 1.0, -0.5, -0.5, "a good token has shrunk: all of it counts"),
        (0.5, -1.0, 0.8, 0.0, "shrunk enough: 0.8 counts"),
    ):
        now, case = (old + math.log(r)).requires_grad_(), f"ratio {r}, advantage {A:g}"
        loss = f(now, old, torch.tensor([[A]]), one, 0.2)[0]
        check.close(case, loss, want, why=told + ".")
        check.that(loss.requires_grad, f"{case}: the loss carries no gradient.")
        loss.backward()
        check.close(f"{case}, gradient", now.grad, [[slope]], scale=1.0,
                    why="0 where the clip holds, else -r A.")
    ratio, signs = torch.tensor([1.5, 1.5, 0.5, 0.5]), torch.tensor([1.0, -1.0, 1.0, -1.0])
    real = torch.tensor([[True, True, False], [True, True, False]])
    new = F.pad(ratio.log().view(2, 2), (0, 1), value=-math.inf)
    before = torch.tensor([[0.0, 0.0, -math.inf]] * 2)
    loss, share, kl = f(new, before, F.pad(signs.view(2, 2), (0, 1), value=9.0), real, 0.2)
    check.close("all four, loss", loss, 0.15, why="(-1.2 + 1.5 - 0.5 + 0.8) / 4, padding apart.")
    check.close("all four, share", share, 1.0, why="all ratios are further from 1 than 0.2.")
    check.close("all four, KL", kl, 0.143841, why="0.0945 and 0.1931, twice each: r - 1 - ln r.")

# %% nbgrader={"test": "ppo_policy_loss_hidden", "points": 6}
# Hidden checks: random tokens one by one, where the gradient is 0, constants, NaN at padding, no
# token at all.
### BEGIN HIDDEN TESTS
with check.question("ppo_policy_loss_hidden", ppo_policy_loss) as f:
    gen = check.generator()
    with check.part("values and gradient", 4):
        for B, T, clip in ((4, 6, 0.2), (1, 1, 0.1), (3, 11, 0.3), (8, 5, 0.05)):
            old, step, A = torch.randn(3, B, T, generator=gen, dtype=torch.float64).unbind(0)
            mask, case = drills_ppo.spans(B, T, gen), f"B {B}, T {T}, clip {clip}"
            real, n = mask.nonzero().tolist(), max(1, int(mask.sum()))
            new = (old + 0.4 * step).masked_fill(~mask, -math.inf).requires_grad_()
            loss, share, kl = f(new, old.masked_fill(~mask, -math.inf),
                                A.masked_fill(~mask, math.nan), mask, clip)
            want, slope, far, kls = 0.0, torch.zeros(B, T).double(), 0, 0.0
            for b, t in real:
                r, a = math.exp(0.4 * step[b, t]), A[b, t].item()
                held = r > 1 + clip if a > 0 else r < 1 - clip
                want -= (1 + clip if a > 0 else 1 - clip) * a if held else r * a
                slope[b, t] = 0.0 if held else -r * a / n
                far, kls = far + (abs(r - 1) > clip), kls + r - 1 - math.log(r)
            check.close(f"{case}, loss", loss, torch.tensor(want / n).double(), scale=1.0)
            check.close(f"{case}, share", share, torch.tensor(far / n).double(), scale=1.0)
            check.close(f"{case}, KL", kl, torch.tensor(kls / n).double(), scale=1.0)
            loss.backward()
            check.close(f"{case}, gradient", new.grad, slope, scale=1.0 / n,
                        why="0 exactly where the clip holds a token, and at padding.")
    with check.part("constants and no token", 2):
        old, A = (torch.randn(2, 3, generator=gen).requires_grad_() for _ in range(2))
        mask, now = torch.ones(2, 3).bool(), torch.randn(2, 3, generator=gen).requires_grad_()
        loss, share, kl = f(now, old, A, mask, 0.2)
        check.that(not share.requires_grad and not kl.requires_grad,
                   "a gradient flows from the share or the KL.")
        loss.backward()
        for name, part in (("the old log-probabilities", old), ("the advantages", A)):
            check.that(part.grad is None or not part.grad.any(),
                       f"a gradient reaches {name}; they are constants.")
        first = torch.randn(2, 3, generator=gen).double()  # the first update: old = new
        now = first.clone().requires_grad_()
        f(now, first, first.sin(), mask, 0.2)[0].backward()
        check.close("first update, gradient", now.grad, -first.sin() / 6, scale=0.1,
                    why="the ratio is 1, and its gradient that of logp.")
        for name, x in zip(("loss", "share", "KL"), f(first, first, first, ~mask, 0.2)):
            check.close(f"no token, {name}", x, torch.tensor(0.0).double(), scale=1.0)
        check.close("clip 0 and equal policies, share", f(first, first, first, mask, 0.0)[1],
                    torch.tensor(0.0).double(), scale=1.0, why="|r - 1| = 0 is not above 0.")
        check.unchanged("arguments", f, first, first + 0.3, first.cos(), mask, 0.2)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. The value network learns ({points:ppo_value_loss}, 15 min)
#
# The value network is to foresee the return: squared error. PPO is careful here too. A value may
# move by at most `clip` from what it was when the answers were drawn; beyond, the loss takes the
# **worse** of two errors, that of the value and that of the clipped value. A value that has gone
# further in the right direction than the clip allows gets no more gradient, and one that has gone
# wrong always does.
#
# By hand, old value 1, value 3, clip 0.5: clipped 1.5. If the return is 2, the errors are 1 and
# 0.25, the worse is 1. If it is 4, they are 1 and 6.25, the worse is 6.25; with the half that is
# usual before a square, 3.125.
#
# **Common mistake:** the smaller error. Then the clip hides large errors.
#
# <details><summary>Hint 1</summary>
#
# Which value would it be, had it moved by at most `clip`? It is the old one plus something.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two squared errors, token by token, and the larger one of each: `torch.maximum`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# As before: `x[mask]` of all three, the old values and the returns detached, sums divided by
# `max(1, n)`.
#
# </details>

# %% nbgrader={"solution": "ppo_value_loss"}
def ppo_value_loss(
    values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor, clip: float
) -> Tensor:
    """PPO's clipped loss of the value network: half the mean of the larger squared error.

    Four times (B, T) -> scalar. At each real token there are two errors: of values, and of values
    moved to the nearest number within clip of old_values, both against returns. The larger square
    counts. Half of the mean over all real tokens of the batch; 0 if there is none. A gradient
    flows to values alone.
    """
    ### BEGIN SOLUTION
    new, old, target = values[mask], old_values[mask].detach(), returns[mask].detach()
    near = old + (new - old).clamp(-clip, clip)
    worse = torch.maximum((new - target).square(), (near - target).square())
    return 0.5 * worse.sum() / max(1, len(worse))
    ### END SOLUTION


# %% nbgrader={"test": "ppo_value_loss_visible", "points": 6}
with check.question("ppo_value_loss_visible", ppo_value_loss) as f:
    new, old, one = torch.tensor([[3.0]]), torch.tensor([[1.0]]), torch.ones(1, 1).bool()
    check.close("value 3, return 2", f(new, old, torch.tensor([[2.0]]), one, 0.5), 0.5,
                why="errors 1 and (1.5 - 2)² = 0.25: half of the larger one.")
    check.close("value 3, return 4", f(new, old, torch.tensor([[4.0]]), one, 0.5), 3.125,
                why="errors 1 and (1.5 - 4)² = 6.25: half of the larger one.")
    check.close("clip 5", f(new, old, torch.tensor([[4.0]]), one, 5.0), 0.5,
                why="nothing is clipped: half of 1.")
    check.close("value -1, clip 0.5", f(-new / 3, old, torch.tensor([[-2.0]]), one, 0.5), 3.125,
                why="clipped to 0.5; (0.5 + 2)² is larger than (-1 + 2)².")
    real = torch.tensor([[True, False], [True, False]])
    got = f(torch.tensor([[3.0, 9.0], [0.0, 9.0]]), torch.tensor([[1.0, 9.0], [0.0, 9.0]]),
            torch.tensor([[2.0, -math.inf], [2.0, -math.inf]]), real, 0.5)
    check.close("two tokens and padding", got, 1.25, why="half of the mean of 1 and 4.")

# %% nbgrader={"test": "ppo_value_loss_hidden", "points": 4}
# Hidden checks: random tokens, gradients, constants, NaN at padding, no token at all.
### BEGIN HIDDEN TESTS
with check.question("ppo_value_loss_hidden", ppo_value_loss) as f:
    gen = check.generator()
    for B, T, clip in ((4, 6, 0.2), (1, 1, 0.5), (3, 9, 1.0)):
        old, new, target = torch.randn(3, B, T, generator=gen, dtype=torch.float64).unbind(0)
        mask, case = drills_ppo.spans(B, T, gen), f"B {B}, T {T}, clip {clip}"
        total, slope, n = 0.0, torch.zeros(B, T).double(), max(1, int(mask.sum()))
        for b, t in mask.nonzero().tolist():
            v, o, y = (x[b, t].item() for x in (new, old, target))
            near = min(max(v, o - clip), o + clip)
            total += max((v - y) ** 2, (near - y) ** 2) / 2
            slope[b, t] = (v - y) / n if (v - y) ** 2 >= (near - y) ** 2 else 0.0
        leaf = new.masked_fill(~mask, math.nan).requires_grad_()
        loss = f(leaf, old.masked_fill(~mask, math.nan), target.masked_fill(~mask, math.nan), mask,
                 clip)
        check.close(case, loss, torch.tensor(total / n).double(), scale=1.0)
        loss.backward()
        check.close(f"{case}, gradient", leaf.grad, slope, scale=1.0 / n,
                    why="0 where the clipped value is the worse one, and at padding.")
    old, target, new = (torch.randn(2, 3, generator=gen).requires_grad_() for _ in range(3))
    mask = torch.ones(2, 3).bool()
    f(new, old, target, mask, 0.2).backward()
    for name, part in (("the old values", old), ("the returns", target)):
        check.that(part.grad is None or not part.grad.any(),
                   f"a gradient reaches {name}; they are constants.")
    check.close("no token", f(*(x.detach() for x in (new, old, target)), ~mask, 0.2), 0.0,
                scale=1.0)
    check.unchanged("arguments", f, new.detach(), old.detach(), target.detach(), mask, 0.2)
### END HIDDEN TESTS

# %% [markdown]
# ## 7. How many choices are left ({points:entropy}, 10 min)
#
# A policy that always says the same has nothing to compare any more: it has stopped exploring.
# **Entropy**, $-\sum_v p_v \ln p_v$, shows it coming. Over V equal choices it is ln V; a certain
# choice has 0. Some runs add a little of it to what they maximise.
#
# By hand: four equal logits give ln 4 = 1.386. One logit 0 and three of −∞ give 0; the mean of the
# two tokens is 0.693.
#
# **Common mistake:** `-(p * p.log()).sum()`, which is 0 · (−∞) = NaN as soon as one choice is
# impossible.
#
# <details><summary>Hint 1</summary>
#
# `logits[mask]` is (n, V). Then `log_softmax` over the last axis.
#
# </details>
# <details><summary>Hint 2</summary>
#
# An impossible choice has log-probability −∞ and must count 0. What finite number could stand for
# −∞, if it is multiplied by 0 anyway?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `clamp(min=torch.finfo(x.dtype).min)`, and its gradient is 0 where it holds. Divide the sum by
# `max(1, n)`.
#
# </details>

# %% nbgrader={"solution": "entropy"}
def entropy(logits: Tensor, mask: Tensor) -> Tensor:
    """Mean entropy of the next-token distributions at the real tokens, in nats.

    logits (B, T, V), mask (B, T) -> scalar; 0 if no token is real. V equal logits give ln V.
    Logits of -inf are choices that are not allowed: they add nothing, and result and gradient stay
    finite. At a real token at least one logit is finite.
    """
    ### BEGIN SOLUTION
    logp = logits[mask].log_softmax(-1)  # (n, V)
    least = torch.finfo(logp.dtype).min
    return -(logp.exp() * logp.clamp(min=least)).sum() / max(1, len(logp))
    ### END SOLUTION


# %% nbgrader={"test": "entropy_visible", "points": 3}
with check.question("entropy_visible", entropy) as f:
    none, real = -math.inf, torch.tensor([[True, True, False]])
    check.close("four equal logits", f(torch.zeros(1, 1, 4), real[:, :1]), math.log(4), why="ln 4.")
    logits = torch.tensor([[[1.0, 1, 1, 1], [0, none, none, none], [none] * 4]])
    check.close("and one certain choice", f(logits, real), math.log(4) / 2,
                why="the mean of ln 4 and 0; padding is not counted.")
    logits = torch.tensor([[[math.log(3), 0.0, none]]])
    check.close("3/4 and 1/4", f(logits, real[:, :1]), 0.562335, why="0.75 ln 4/3 + 0.25 ln 4.")

# %% nbgrader={"test": "entropy_hidden", "points": 2}
# Hidden checks: random logits, large ones, impossible choices, gradients, no token at all.
### BEGIN HIDDEN TESTS
with check.question("entropy_hidden", entropy) as f:
    gen = check.generator()
    for B, T, V in ((3, 5, 7), (1, 1, 2), (4, 2, 50)):
        x = torch.randn(B, T, V, generator=gen, dtype=torch.float64) * 2
        mask = drills_ppo.spans(B, T, gen)
        p = x[mask].softmax(-1)
        want = -(p * p.log()).sum() / max(1, len(p))
        bad = x.masked_fill(~mask[..., None], math.nan)
        check.close(f"B {B}, T {T}, V {V}", f(bad, mask), want, scale=1.0)
        check.close(f"B {B}, T {T}, V {V}, logits + 300", f(bad + 300, mask), want, scale=1.0)
        one = torch.cat([x, torch.full((B, T, 1), -math.inf).double()], -1).requires_grad_()
        got = f(one, mask)
        check.close(f"B {B}, T {T}, V {V}, one more that is not allowed", got, want, scale=1.0)
        got.backward()
        check.that(one.grad.isfinite().all(), "a logit of -inf gives an infinite or NaN gradient.")
        every = torch.ones(B, T).bool()
        check.gradient(f"B {B}, T {T}, V {V}, gradient", lambda y, m=every: f(y, m), x)
    far = torch.tensor([[[0.0, 1000.0]]])
    check.close("logits 0 and 1000", f(far, torch.ones(1, 1).bool()), 0.0, scale=1.0)
    check.close("no token", f(torch.ones(2, 3, 4), torch.zeros(2, 3).bool()), 0.0, scale=1.0)
    check.unchanged("arguments", f, x, mask)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. The group is the baseline ({points:group_advantages}, 15 min)
#
# A value network is a second model to train and to keep. GRPO (Shao et al. 2024) does without: it
# asks the policy the same question $G$ times. How good is an answer? Better or worse than the
# **other answers to the same question**:
#
# $$A_i = \frac{R_i - \operatorname{mean}(R)}{\operatorname{std}(R) + \epsilon}$$
#
# over the $G$ answers of the group. The difficulty of the question cancels. Dividing by the
# standard deviation makes all groups count alike, also those where answers hardly differ; later
# work leaves it out (Liu et al. 2025).
#
# By hand, rewards (1, 0, 0, 1): mean 0.5, standard deviation with $G - 1$ in the denominator
# $\sqrt{4 \cdot 0.25 / 3}$ = 0.577, advantages ±0.866. If all four had earned 1, the group would be
# **tied**: nothing to prefer, so all advantages are 0. Of a question that is always answered right,
# or never, nothing is learned.
#
# **Common mistake:** mean and deviation over the whole batch. Then hard questions have negative
# advantages whatever the answer.
#
# <details><summary>Hint 1</summary>
#
# Rows are groups: `mean(1, keepdim=True)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With G = 1 the denominator G − 1 is 0, and `std` gives NaN. `x.std(1, correction=0)` or a sum of
# squares by hand avoid it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Rounding can leave a tied group with tiny differences, and a tiny deviation makes them large.
# Whether the largest and the smallest of a group are equal decides it exactly.
#
# </details>

# %% nbgrader={"solution": "group_advantages"}
def group_advantages(rewards: Tensor, normalize: bool = True, eps: float = 1e-6) -> Tensor:
    """Each answer's reward less the mean of its group, divided by the group's deviation plus eps.

    (B, G) -> (B, G); a row holds the rewards of G answers to one prompt. The standard deviation
    has G - 1 in its denominator. With normalize False nothing is divided. A group whose rewards
    are all equal gives exactly 0, also with eps 0, and so does a group of one.
    """
    ### BEGIN SOLUTION
    gap = rewards - rewards.mean(1, keepdim=True)  # (B, G)
    if normalize:
        variance = gap.square().sum(1, keepdim=True) / max(1, rewards.shape[1] - 1)
        gap = gap / (variance.sqrt() + eps)
    tied = rewards.amax(1, keepdim=True) == rewards.amin(1, keepdim=True)
    return gap.masked_fill(tied, 0.0)
    ### END SOLUTION


# %% nbgrader={"test": "group_advantages_visible", "points": 6}
with check.question("group_advantages_visible", group_advantages) as f:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 1.0], [5.0, 5.0, 5.0, 5.0], [9.0, 9.0, 9.0, 8.0]])
    got = f(rewards)
    check.close("1, 0, 0, 1", got[0], [0.866024, -0.866024, -0.866024, 0.866024],
                why="0.5 from the mean, divided by 0.577.")
    check.close("a tied group", got[1], torch.zeros(4), scale=1.0, why="nothing to prefer: 0.")
    check.close("9, 9, 9, 8", got[2], [0.499999, 0.499999, 0.499999, -1.499997],
                why="0.25 above and 0.75 below the mean of its group, divided by 0.5.")
    check.close("not normalised", f(rewards, normalize=False)[0], [0.5, -0.5, -0.5, 0.5],
                why="the difference from the mean.")
    check.close("eps 0.5", f(rewards, eps=0.5)[2], [0.25, 0.25, 0.25, -0.75],
                why="divided by 0.5 + 0.5.")
    check.close("tied, eps 0", f(rewards[1:2], eps=0.0), torch.zeros(1, 4), scale=1.0,
                why="0, not 0/0.")
    check.close("groups of one", f(rewards[:, :1]), torch.zeros(3, 1), scale=1.0,
                why="an answer alone is neither better nor worse.")

# %% nbgrader={"test": "group_advantages_hidden", "points": 4}
# Hidden checks: random groups row by row, shifted rewards, rewards of another size, tied groups
# with rounding.
### BEGIN HIDDEN TESTS
with check.question("group_advantages_hidden", group_advantages) as f:
    gen = check.generator()
    for B, G, eps in ((4, 8, 1e-6), (1, 2, 0.1), (7, 3, 0.0), (3, 16, 1e-4)):
        x = torch.randn(B, G, generator=gen, dtype=torch.float64) * 3
        case, got = f"B {B}, G {G}, eps {eps:g}", f(x, eps=eps)
        rows = [(row - row.mean()) / (row.std() + eps) for row in x]
        check.close(case, got, torch.stack(rows))
        check.close(f"{case}, not normalised", f(x, False, eps),
                    torch.stack([row - row.mean() for row in x]))
        check.close(f"{case}, every group + its own number",
                    f(x + torch.arange(B)[:, None].double() * 100, eps=eps), got, scale=1.0,
                    why="the difficulty of the prompt cancels.")
    large = torch.randn(3, 5, generator=gen, dtype=torch.float64)
    check.close("rewards a thousand times as large", f(large * 1000, eps=0.0), f(large, eps=0.0),
                why="the deviation takes their size out.")
    for value in (0.1, 1e-3, 0.7, 1000.1):
        for G in (3, 6, 7):
            for flags in ({}, {"eps": 0.0}, {"normalize": False}):
                tied = f(torch.full((2, G), value), **flags)
                check.that((tied == 0).all(), f"{G} answers with {value} each give "
                           f"{tied.abs().max().item():.3g}, not 0 exactly.")
    check.unchanged("rewards", f, large)
### END HIDDEN TESTS

# %% [markdown]
# ## 9. The loss of GRPO ({points:grpo_loss}, 25 min)
#
# All parts are there. Each token of an answer has the answer's advantage, the ratio is clipped as
# in PPO, and the KL to the reference stands in the loss itself, as $k_3$:
#
# $$\text{cost}_t = -\min(r_t A,\ \operatorname{clip}(r_t) A) + \beta\, k_3(\pi, \pi_\text{ref})$$
#
# The cost of a token is clear; the mean is a choice. `"sequence"`: first over the tokens of each
# answer, then over the answers, so each **answer** counts alike (Shao et al. 2024). `"token"`: over
# all tokens at once, so each **token** counts alike, and a long answer more (Yu et al. 2025).
#
# By hand, all ratios 1, $\beta$ = 0: an answer of one token with $A$ = 2 and one of three tokens
# with $A$ = −1. The costs are −2 and 1, 1, 1. By answers: (−2 + 1) / 2 = −0.5. By tokens:
# (−2 + 3) / 4 = 0.25. Even the sign differs.
#
# **Common mistake:** one of the two where the other is meant. It runs, and it is a different
# algorithm.
#
# <details><summary>Hint 1</summary>
#
# Clear the padding of all three log-probabilities first: `masked_fill(~mask, 0.0)`. The advantages
# have no token axis yet: `[:, None]`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The direction of $k_3$ is that of exercise 1: $q$ is the reference. Old policy, reference and
# advantages are constants.
#
# </details>
# <details><summary>Hint 3</summary>
#
# With a cost of 0 at padding, both means are sums divided by numbers of True. `clamp(min=1)` on
# these numbers takes care of answers without tokens.
#
# </details>

# %% nbgrader={"solution": "grpo_loss"}
def grpo_loss(
    logp: Tensor, old_logp: Tensor, ref_logp: Tensor, advantages: Tensor, mask: Tensor,
    clip: float, beta: float, reduce: str = "sequence",
) -> Tensor:
    """The loss of GRPO, from one advantage per answer.

    Three times (B, T), advantages (B,), mask (B, T) -> scalar. A token costs
    -min(r A, clip(r, 1 - clip, 1 + clip) A) + beta · k3, with r = exp(logp - old_logp), A of its
    answer, and k3 = exp(ref_logp - logp) - 1 - (ref_logp - logp). reduce "sequence": the mean over
    the tokens of each answer, then the mean over all B answers, where one without tokens counts
    as 0. "token": the mean over all real tokens of the batch, 0 if there is none. Anything else
    raises ValueError. A gradient flows to logp alone.
    """
    ### BEGIN SOLUTION
    if reduce not in ("sequence", "token"):
        raise ValueError(f"reduce must be sequence or token, not {reduce!r}")
    old, ref = (x.detach().masked_fill(~mask, 0.0) for x in (old_logp, ref_logp))
    new, gain = logp.masked_fill(~mask, 0.0), advantages.detach()[:, None]
    ratio, gap = (new - old).exp(), ref - new
    kept = torch.minimum(ratio * gain, ratio.clamp(1 - clip, 1 + clip) * gain)
    costs = (beta * (gap.exp() - 1 - gap) - kept) * mask  # (B, T)
    n_tokens = mask.sum(1)
    if reduce == "sequence":
        return torch.mean(costs.sum(1) / n_tokens.clamp(min=1))
    return costs.sum() / n_tokens.sum().clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"test": "grpo_loss_visible", "points": 6}
with check.question("grpo_loss_visible", grpo_loss) as f:
    real = torch.tensor([[True, False, False], [True, True, True]])
    same, A = torch.full((2, 3), -1.0), torch.tensor([2.0, -1.0])
    check.close("ratios 1, by answers", f(same, same, same, A, real, 0.2, 0.0), -0.5,
                why="(-2 + 1) / 2: each answer counts alike; this is the default.")
    check.close("ratios 1, by tokens", f(same, same, same, A, real, 0.2, 0.0, "token"), 0.25,
                why="(-2 + 1 + 1 + 1) / 4: each token counts alike.")
    grown = same + math.log(1.5)
    check.close("ratios 1.5", f(grown, same, grown, A, real, 0.2, 0.0), -0.45,
                why="(-2 · 1.2 + 1.5) / 2: the good answer is clipped, the bad one is not.")
    far = same - math.log(2)  # the policy is twice as likely to say it as the reference
    check.close("beta 0.5", f(same, same, far, 0 * A, real, 0.2, 0.5), 0.0965735,
                why="0.5 times k3 = 0.5 - 1 + ln 2 = 0.1931.")
    lost = same.masked_fill(~real, -math.inf)
    check.close("-inf at padding", f(lost, lost, lost, A, real, 0.2, 0.5), -0.5,
                why="padding counts for nothing.")
    check.raises('reduce "mean"', ValueError, f, same, same, same, A, real, 0.2, 0.0, "mean")

# %% nbgrader={"test": "grpo_loss_hidden", "points": 4}
# Hidden checks: random answers token by token, both means, gradients, constants, NaN at padding,
# answers without tokens.
### BEGIN HIDDEN TESTS
with check.question("grpo_loss_hidden", grpo_loss) as f:
    gen = check.generator()
    for B, T, clip, beta in ((4, 7, 0.2, 0.04), (1, 1, 0.1, 0.0), (3, 12, 0.3, 1.0)):
        old, step, other = torch.randn(3, B, T, generator=gen, dtype=torch.float64).unbind(0)
        A = torch.randn(B, generator=gen, dtype=torch.float64)
        mask, case = drills_ppo.spans(B, T, gen), f"B {B}, T {T}, clip {clip}, beta {beta:g}"
        new, ref = old + 0.3 * step, old + 0.3 * step + 0.5 * other
        cost, slope = torch.zeros(B, T).double(), torch.zeros(B, T).double()
        for b, t in mask.nonzero().tolist():
            r, a, d = math.exp(0.3 * step[b, t]), A[b].item(), 0.5 * other[b, t].item()
            held = r > 1 + clip if a > 0 else r < 1 - clip
            gained = (1 + clip if a > 0 else 1 - clip) * a if held else r * a
            cost[b, t] = beta * (math.exp(d) - 1 - d) - gained
            slope[b, t] = beta * (1 - math.exp(d)) - (0.0 if held else r * a)
        n = mask.sum(1, keepdim=True)
        weights = {"sequence": mask / n.clamp(min=1) / B, "token": mask / n.sum().clamp(min=1)}
        for reduce, weight in weights.items():
            leaf = new.masked_fill(~mask, -math.inf).requires_grad_()
            loss = f(leaf, old.masked_fill(~mask, -math.inf), ref.masked_fill(~mask, math.nan), A,
                     mask, clip, beta, reduce)
            check.close(f"{case}, {reduce}", loss, (weight * cost).sum(), scale=1.0)
            loss.backward()
            check.close(f"{case}, {reduce}, gradient", leaf.grad, weight * slope,
                        scale=weight.max().item(), why="0 at padding; the clip holds some.")
    new, old, ref = (torch.randn(2, 3, generator=gen).requires_grad_() for _ in range(3))
    A, mask = torch.randn(2, generator=gen).requires_grad_(), torch.ones(2, 3).bool()
    f(new, old, ref, A, mask, 0.2, 0.3).backward()
    for name, part in (("old_logp", old), ("ref_logp", ref), ("the advantages", A)):
        check.that(part.grad is None or not part.grad.any(),
                   f"a gradient reaches {name}; they are constants.")
    fixed = [x.detach() for x in (new, old, ref, A)]
    for reduce in ("sequence", "token"):
        check.close(f"no token, {reduce}", f(*fixed, ~mask, 0.2, 0.3, reduce), 0.0, scale=1.0)
    check.unchanged("arguments", f, *fixed, mask, 0.2, 0.3)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. A reward that can be verified ({points:ticket_reward}, 15 min)
#
# A reward model is a guess about people. Where a program can decide, no guess is needed: does the
# proof hold, do the tests pass, is the ticket valid? Learning from such rewards is called **RLVR**,
# with verifiable rewards. Here a customer's question is to become a ticket that another program can
# read, a JSON object like
#
# ```text
# {"code": "E204", "area": "fibre", "priority": 2}
# ```
#
# Parts of it earn parts of the reward. A model that never writes a whole ticket would earn 0 for
# everything, and from a tied group nothing is learned.
#
# By hand: the ticket above earns 1; without its area, 0.75; `{}` earns 0.25; with the words
# *Here is your ticket:* before it, 0, since a program that reads JSON stops at the first letter.
#
# **Common mistake:** looking for `"code"` in the text. Then a sentence about the fields earns as
# much as the ticket, and a model will find that sentence.
#
# <details><summary>Hint 1</summary>
#
# `json.loads(text)` raises ValueError for what is no JSON. Not all JSON is an object.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Python reads `NaN` and `Infinity` as numbers, which JSON does not know. The function given as
# `parse_constant=` is called with such a word; it may raise ValueError.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `re.fullmatch("E[0-9]{3}", code)` wants a text and matches all of it. In Python `True` is an int:
# `type(x) is int` tells them apart.
#
# </details>

# %% nbgrader={"solution": "ticket_reward"}
AREAS = ("mobile", "fibre", "core", "billing")


def ticket_reward(text: str) -> float:
    """What a ticket is worth: 1 if it is whole, less for parts, 0 if it cannot be read.

    A text that is one JSON object, white space around it apart, earns 0.25, and 0.25 more for
    each field with a legal value: "code", a text of E and exactly three digits 0-9; "area", one of
    AREAS; "priority", a whole number from 1 to 4, written without a point (true is no number).
    Other keys change nothing. Any other text earns 0, also one with NaN or Infinity anywhere:
    that is no JSON.
    """
    ### BEGIN SOLUTION
    try:
        ticket = json.loads(text, parse_constant=int)  # int("NaN") raises ValueError
    except (ValueError, RecursionError):
        return 0.0
    if not isinstance(ticket, dict):
        return 0.0
    code, priority = ticket.get("code"), ticket.get("priority")
    legal = [
        isinstance(code, str) and re.fullmatch("E[0-9]{3}", code) is not None,
        ticket.get("area") in AREAS,
        type(priority) is int and 1 <= priority <= 4,
    ]
    return 0.25 + 0.25 * sum(legal)
    ### END SOLUTION


# %% nbgrader={"test": "ticket_reward_visible", "points": 3}
with check.question("ticket_reward_visible", ticket_reward) as f:
    whole = '{"code": "E204", "area": "fibre", "priority": 2}'
    for text, want, why in (
        (whole, 1.0, "three legal fields."),
        (' {"priority":4,"area":"core","code":"E000","note":null}\n', 1.0, "order, white space and "
         "other keys change nothing."),
        ('{"code": "E204", "priority": 2}', 0.75, "the area is missing."),
        ('{"code": "E2041", "area": "Fibre", "priority": "2"}', 0.25, "four digits; a capital; a "
         "text in the place of a number."),
        ("{}", 0.25, "an object, and no field."),
        (f"Here is your ticket: {whole}", 0.0, "text before the object: no JSON."),
        (whole[:-1], 0.0, "the bracket at the end is missing."),
        (f"[{whole}]", 0.0, "a list, no object."),
        ("The code is E204, the area fibre, the priority 2.", 0.0, "no JSON."),
        ('{"code": "E204", "area": "fibre", "priority": true}', 0.75, "true is no number."),
    ):
        check.equal(text, f(text), want, why=why)

# %% nbgrader={"test": "ticket_reward_hidden", "points": 2}
# Hidden checks: every field with legal and illegal values, other JSON, what Python reads and JSON
# does not know, whole tickets at random.
### BEGIN HIDDEN TESTS
with check.question("ticket_reward_hidden", ticket_reward) as f:
    gen = check.generator()
    for text in ("", "null", "2", '"E204"', "[]", '["code", "area", "priority"]', "{",
                 '{"code": "E204", "area": "fibre", "priority": 2} {}',
                 "{'code': 'E204', 'area': 'fibre', 'priority': 2}",
                 '{"code": "E204", "area": "fibre", "priority": 2,}',
                 '{"code": "E204", "area": "fibre", "priority": NaN}',
                 '{"code": "E204", "area": "fibre", "priority": 2, "note": -Infinity}',
                 '{"code": "E204", "area": "fibre", "priority": 2, "note": [Infinity]}'):
        check.equal(f"{text!r}", f(text), 0.0, why="no JSON object.")
    good = {"code": '"E118"', "area": '"billing"', "priority": "3"}
    bad = {"code": ('"e118"', '"E11"', '"E1180"', '" E118"', '"E118\\n"', "118", "null", '["E118"]',
                    '"E１１８"'),
           "area": ('"Billing"', '""', '"radio"', "null", '["billing"]', "true", "{}"),
           "priority": ("0", "5", "-1", "2.0", "2.5", '"3"', "false", "true", "null", "[3]")}
    for name, values in bad.items():
        for value in values:
            fields = good | {name: value}
            text = "{" + ", ".join(f'"{k}": {v}' for k, v in fields.items()) + "}"
            check.equal(text, f(text), 0.75, why=f"{value} is no legal {name}.")
    for number in range(20):
        code = int(torch.randint(1000, (), generator=gen))
        area = ("mobile", "fibre", "core", "billing")[number % 4]
        fields = [f'"code":"E{code:03d}"', f'"area":"{area}"', f'"priority": {number % 4 + 1}',
                  '"more": {"code": 1}']
        order = torch.randperm(4, generator=gen).tolist()
        text = "{" + ",".join(fields[i] for i in order) + "}"
        check.equal(text, f(text), 1.0)
        short = "{" + ",".join(fields[i] for i in order if i not in (number % 3, 3)) + "}"
        check.equal(short, f(short), 0.75, why="one field is missing.")
### END HIDDEN TESTS

# %% [markdown]
# ## 11. Is the reward being hacked? ({points:detect_reward_hacking}, 15 min)
#
# What is trained is a **proxy** of what is wanted. When a measure becomes a target, the policy
# finds what raises the measure and nothing else: the proxy goes on rising, and the **gold**
# measure, which is too costly to train on, begins to fall. That is reward hacking. It shows only if
# gold is measured now and then, on a sample. And it has a price that can be budgeted: how far from
# the reference the policy was when it began.
#
# By hand, measured four times, proxy (0.2, 0.5, 0.8, 0.9), gold (0.2, 0.6, 0.55, 0.3), KL
# (0, 1, 3, 6). The best gold is 0.6, at step 1. Step 2 lies 0.05 below, which may be chance. Step 3
# lies 0.3 below with a higher proxy: hacked, first at step 3, at a KL of 6.
#
# **Common mistake:** gold is falling, so the reward is hacked. If the proxy falls as well, the
# training is broken in another way, and a larger price for the KL will not mend it.
#
# <details><summary>Hint 1</summary>
#
# Walk through the steps and keep one number: the step with the best gold so far.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Two conditions at once, both compared with that step: gold is much lower, the proxy is higher.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `tolist()` makes plain numbers of a tensor; the results are plain numbers too. Return at the first
# step that fits.
#
# </details>

# %% nbgrader={"solution": "detect_reward_hacking"}
def detect_reward_hacking(proxy: Tensor, gold: Tensor, kl: Tensor) -> dict[str, float | bool]:
    """Whether a run began to hack its reward, at which step, and how far from the reference.

    Three times (N,), N at least 1, measured in the order of training. Step t is hacked if gold[t]
    is more than 0.1 below the highest gold of the steps before it, and proxy[t] is above the proxy
    of that highest step (the first one of several). The keys are "hacked" (bool), "step": the
    number of the first hacked step from 0 on, an int, -1 if there is none, and "kl" (float): the
    KL measured at that step, not a sum; if there is none, the KL of the last step.
    """
    ### BEGIN SOLUTION
    best, proxies, golds, kls = 0, proxy.tolist(), gold.tolist(), kl.tolist()
    for t in range(1, len(golds)):
        if golds[best] - golds[t] > 0.1 and proxies[t] > proxies[best]:
            return {"hacked": True, "step": t, "kl": kls[t]}
        best = t if golds[t] > golds[best] else best
    return {"hacked": False, "step": -1, "kl": kls[-1]}
    ### END SOLUTION


# %% nbgrader={"test": "detect_reward_hacking_visible", "points": 3}
with check.question("detect_reward_hacking_visible", detect_reward_hacking) as f:
    proxy, gold = torch.tensor([0.2, 0.5, 0.8, 0.9]), torch.tensor([0.2, 0.6, 0.55, 0.3])
    kl, sudden = torch.tensor([0.0, 1.0, 3.0, 6.0]), torch.tensor([0.75, 0.25, 0.5, 0.5])
    for case, curves, hacked, step, spent, why in (
        ("the example", (proxy, gold), True, 3, 6.0, "gold is 0.3 below 0.6, the proxy higher."),
        ("both rise", (proxy, proxy), False, -1, 6.0, "no step is hacked; the KL is the last one."),
        ("both fall", (proxy.flip(0), proxy.flip(0)), False, -1, 6.0, "the proxy is not higher."),
        ("gold falls at once", (proxy, sudden), True, 1, 1.0, "the first hacked step, its KL."),
    ):
        found = f(*curves, kl)
        check.equal(f"{case}, keys", sorted(found), ["hacked", "kl", "step"])
        check.equal(f"{case}, hacked", found["hacked"], hacked, why=why)
        check.equal(f"{case}, step", found["step"], step, why=why)
        check.equal(f"{case}, kl", found["kl"], spent, why=why)

# %% nbgrader={"test": "detect_reward_hacking_hidden", "points": 2}
# Hidden checks: planted curves, plateaus, a dip that recovers, small falls, one measurement.
### BEGIN HIDDEN TESTS
with check.question("detect_reward_hacking_hidden", detect_reward_hacking) as f:
    gen = check.generator()
    for n, peak in ((20, 8), (30, 3), (12, 0), (40, 30)):
        steps = torch.arange(n, dtype=torch.float64)
        noise = torch.rand(2, n, generator=gen, dtype=torch.float64)
        proxy, kl = steps + 0.5 * noise[0], 0.25 * steps + noise[1]
        gold = 2.0 - 0.08 * (steps - peak).abs()  # two steps after its peak it is 0.16 lower
        found = f(proxy, gold, kl)
        check.equal(f"{n} steps, peak at {peak}", found,
                    {"hacked": True, "step": peak + 2, "kl": kl[peak + 2].item()})
        check.equal(f"{n} steps, the proxy falls", f(-proxy, gold, kl),
                    {"hacked": False, "step": -1, "kl": kl[-1].item()})
        check.equal(f"{n} steps, gold falls by 0.05", f(proxy, -0.05 * (steps > peak).double(), kl),
                    {"hacked": False, "step": -1, "kl": kl[-1].item()}, why="that may be chance.")
    kl = torch.arange(5.0)
    check.equal("gold has two highest steps, the proxy rises between them",
                f(torch.tensor([0.25, 0.75, 0.5, 0.5, 0.5]),
                  torch.tensor([1.0, 1.0, 0.5, 0.5, 0.5]), kl),
                {"hacked": True, "step": 2, "kl": 2.0}, why="the first one is compared with.")
    check.equal("a later peak, then a fall with a lower proxy",
                f(torch.tensor([0.1, 0.9, 0.5, 0.6, 0.95]), torch.tensor([0.5, 0.9, 0.5, 0.5, 0.5]),
                  kl), {"hacked": True, "step": 4, "kl": 4.0}, why="the proxy of the peak is 0.9.")
    check.equal("equal proxy", f(torch.ones(3), torch.tensor([1.0, 0.5, 0.0]), kl[:3]),
                {"hacked": False, "step": -1, "kl": 2.0}, why="the proxy has not risen.")
    tenth = torch.tensor([0.1, 0.0], dtype=torch.float64)
    check.equal("gold falls by 0.1", f(-tenth, tenth, kl[:2]),
                {"hacked": False, "step": -1, "kl": 1.0}, why="it must be more than 0.1.")
    check.equal("one measurement", f(kl[:1], kl[:1], kl[3:4]),
                {"hacked": False, "step": -1, "kl": 3.0})
    check.unchanged("arguments", f, proxy, gold, proxy)
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Polite and still right: PPO
#
# No points from here on; everything below runs on *your* functions. The assistant of the course
# answers customers of an invented operator. Nearly all it says is right, and a third of its answers
# open with *Thank you for asking.* A program judges an answer: 1 if it opens politely, tells the
# right fact and ends by itself, otherwise 0. `glassbox.reinforce.ppo` samples 48 answers in a
# round, asks the program, and calls what you wrote: `token_kl`, `shaped_rewards`, `gae`, `whiten`,
# and for each update `ppo_policy_loss`, `ppo_value_loss` and `entropy`.
#
# Before you run it: how many nats must the policy pay at least to be polite always, if it was in
# 34 of 100 answers? It only has to say one thing more often that it knew already.

# %% tags=["demo"]
from tqdm.auto import tqdm

from glassbox import assistant
from glassbox.reinforce import assess, grpo, length_biased, opening, polite_and_right, ppo
from glassbox.telecom.questions import messages, questions

ROUNDS = {"ppo": 10, "grpo": 14}
SETTINGS = {
    "ppo": {"n_prompts": 48, "lr": 4e-4, "critic_lr": 1e-3, "kl_weight": 0.25, "clip": 0.2,
            "value_clip": 0.2, "gamma": 1.0, "lam": 0.95, "epochs": 2, "rows_per_step": 32},
    "grpo": {"n_prompts": 8, "n_per_prompt": 8, "lr": 3e-4, "kl_weight": 0.4, "clip": 0.2,
             "epochs": 1, "rows_per_step": 32},
}
data, reference = questions(seed=0), assistant.tuned()
YOURS = {"token_kl": token_kl, "shaped_rewards": shaped_rewards, "gae": gae, "whiten": whiten,
         "ppo_policy_loss": ppo_policy_loss, "ppo_value_loss": ppo_value_loss, "entropy": entropy,
         "group_advantages": group_advantages, "grpo_loss": grpo_loss}


def improve(method, reward=polite_and_right, seed=0, rounds=None, **other):
    """A fresh assistant improved by ppo or grpo on your functions; it, and its rounds."""
    name, policy = method.__name__, assistant.tuned()
    settings = SETTINGS[name] | other
    with tqdm(total=rounds or ROUNDS[name]) as bar:
        told = method(policy, reference, data.train, reward, iterations=bar.total, seed=seed,
                      gold=polite_and_right, functions=YOURS, **settings,
                      on_iteration=lambda *_: bar.update())
    return policy, told


def measured(policy, seed=0):
    """Reward, right, polite and KL of answers sampled for the 96 questions held out."""
    return assess(policy, reference, data.pairs, generator=torch.Generator().manual_seed(seed))


def line(name, found):
    """One line of numbers."""
    return (f"{name:<12} reward {found['reward']:.2f}, right {found['right']:.2f}, polite "
            f"{found['polite']:.2f}, KL {found['kl']:.2f} nats an answer")


runs, start = {}, measured(reference)
print(line("before", start))
try:
    ppo_policy, runs["PPO"] = improve(ppo)
    print(line("after PPO", after_ppo := measured(ppo_policy)))
    print("round  reward     KL  beyond the clip  entropy  value loss")
    for at, row in enumerate(runs["PPO"]):
        print(f"{at:5} {row['reward']:7.2f} {row['kl']:6.2f} {row['clip_share']:16.3f} "
              f"{row['entropy']:8.3f} {row['value_loss']:11.3f}")
    for question in data.pairs[:2]:
        answer, _ = assistant.reply(ppo_policy, messages(question)[:-1])
        print(f"\nCustomer: {question.text}\nModel:    {answer}")
except NotImplementedError:
    print("Write exercises 1 to 7 first.")

# %% [markdown]
# To be polite always, the policy needs at least $\ln(1 / 0.34)$ = 1.08 nats, if it was polite in 34
# of 100. A reward above 0.8 costs less than 1 nat: the limit of this lab. How few tokens are
# beyond the clip? Small steps, taken often.
#
# ## The same without a value network: GRPO
#
# Eight questions a round, eight answers to each, and no critic: the group is the baseline.

# %% tags=["demo"]
try:
    grpo_policy, runs["GRPO"] = improve(grpo)
    print(line("after GRPO", after_grpo := measured(grpo_policy)))
    print("round  reward     KL  beyond the clip  entropy  tied groups")
    for at, row in enumerate(runs["GRPO"]):
        print(f"{at:5} {row['reward']:7.2f} {row['kl']:6.2f} {row['clip_share']:16.3f} "
              f"{row['entropy']:8.3f} {row['tied']:12.2f}")
except NotImplementedError:
    print("Write exercises 1, 7, 8 and 9 first.")

# %% tags=["demo"]
import matplotlib.pyplot as plt

plt.style.use(Path(glassbox.__file__).parent / "style.mplstyle")
if runs:
    axes = plt.figure(figsize=(6, 2.6), layout="constrained").gca()
    for name, told in runs.items():
        kl, reward = [row["kl"] for row in told], [row["reward"] for row in told]
        axes.plot(kl, reward, marker="o", markersize=3)
        axes.annotate(name, (kl[-1], reward[-1]), textcoords="offset points", xytext=(6, 0))
    axes.set(xlabel="KL to the reference, nats per answer, as sampled in the round",
             ylabel="reward", ylim=(0, 1))
    plt.show()

# %% [markdown]
# ## Was that luck?
#
# One run is an anecdote. The same two runs from five fresh seeds, which draw other questions and
# other answers, with the course's solution; the measure is the reward on 96 questions held out, two
# answers to each. Your run is one more seed: is its gain within what these five say?

# %% tags=["demo"]
from glassbox.preference import mean_interval

FIVE = {  # gains in reward of seeds 1 to 5
    "PPO": [0.4948, 0.5313, 0.6042, 0.5729, 0.5573],
    "GRPO": [0.4896, 0.5156, 0.5677, 0.5469, 0.5677],
}

for name, gains in FIVE.items():
    middle, low, high = mean_interval(gains)
    print(f"{name:<5} gain in reward over five seeds {middle:.2f}, 95 % interval {low:.2f} to "
          f"{high:.2f}")
if "PPO" in runs:
    print(f"your PPO  {after_ppo['reward'] - start['reward']:.2f}")
if "GRPO" in runs:
    print(f"your GRPO {after_grpo['reward'] - start['reward']:.2f}")

# %% [markdown]
# In the five seeds the reward began at 0.29 to 0.38. PPO gained 0.55 (0.50 to 0.60) and GRPO gained
# 0.54 (0.50 to 0.58); in brackets the 95 % interval of the mean gain. All ten runs ended with a
# reward above 0.8 at a KL below 1 nat: PPO at 0.85 to 0.93 for 0.75 to 0.91 nats, GRPO at 0.86 to
# 0.90 for 0.71 to 0.77. Of the answers 0.95 to 0.97 were still right in the worse of the two runs
# of a seed.
#
# The two intervals overlap: these runs do not say which method is better. GRPO needed no value
# network.
#
# ## What the policy does with a reward that can be fooled
#
# Now the program is careless. It pays for a polite opening, does not look at the facts, and gives a
# little for each word: it means well, and likes long answers. That is the proxy. Gold is what we
# want, `polite_and_right` as before; it is measured on the same answers and never trained. The
# steps are larger, and leaving the reference costs nothing.
#
# Before you run it: when will proxy and gold part, and at which KL?

# %% tags=["demo"]
proxy = length_biased(opening, 0.05)  # 1 for the opening, 0.05 for each word
PRICE, HACKING_ROUNDS = 0.0, 12  # of the KL; try 1.0
CARELESS = {"n_prompts": 4, "lr": 2e-3}
try:
    hacked_policy, told = improve(grpo, proxy, rounds=HACKING_ROUNDS, kl_weight=PRICE, **CARELESS)
    curves = {key: torch.tensor([row[key] for row in told]) for key in ("reward", "gold", "kl")}
    for key, values in curves.items():
        print(f"{'proxy' if key == 'reward' else key:<6}",
              *(f"{value:6.2f}" for value in values.tolist()))
    print("your detector says", detect_reward_hacking(*curves.values()))
    for question in data.pairs[:3]:
        answer, _ = assistant.reply(hacked_policy, messages(question)[:-1], max_new=40)
        print(f"\nCustomer: {question.text}\nModel:    {answer}")
except NotImplementedError:
    print("Write exercises 1, 7, 8, 9 and 11 first.")

# %% [markdown]
# From five seeds this run was called hacked every time, first at step 3 to 4 and at a KL of 3.9 to
# 23.9 nats. Of the answers of the last two rounds a share of 0.00 to 0.17 was polite and right; the
# proxy had begun at 1.1 to 1.7 and ended at 2.3 to 2.6. Read the answers above: what pays, and what
# is gone?
#
# Look at the KL as well, which needs no gold: being always polite costs about 1.1 nats, so a policy
# that is many nats away does something else. Set PRICE to 1.0 and run the cell again: what does the
# policy do when each nat costs as much as the opening earns?
#
# ## The same loss in TRL
#
# TRL has no PPO any more, so the parts of your PPO are tested against sums by hand. It has GRPO.
# Given the same numbers its loss is yours, by answers and by tokens. Two of its defaults differ
# from the paper: the mean is over tokens, and $k_3$ is multiplied by the ratio. The cell needs
# `pip install trl`; nothing that is graded does.

# %% tags=["demo"]
from glassbox import huggingface

if absent := huggingface.missing("transformers", "trl"):
    print(absent)
else:
    try:
        gen = torch.Generator().manual_seed(0)
        old = torch.randn(4, 9, generator=gen, dtype=torch.float64) - 2
        new, ref = (old + 0.3 * torch.randn(4, 9, generator=gen).double() for _ in range(2))
        gains = torch.randn(4, generator=gen, dtype=torch.float64)
        real = torch.arange(9) < torch.tensor([9, 3, 6, 1])[:, None]
        for reduce in ("sequence", "token"):
            mine = grpo_loss(new, old, ref, gains, real, 0.2, 0.04, reduce).item()
            theirs = huggingface.grpo_loss(new, old, ref, gains, real, 0.2, 0.04, reduce).item()
            print(f"{reduce:<9} yours {mine:.6f}, TRL's {theirs:.6f}, difference "
                  f"{abs(mine - theirs):.0e}")
    except NotImplementedError:
        print("Write grpo_loss first.")
    except ImportError as error:
        print(error)

# %% [markdown]
# ## Scale: tickets that a program can read
#
# On a GPU this cell runs by itself; on a CPU it prints what it would need. M trains a model of 29
# million parameters to write tickets about customers' questions, most of them careless ones (words
# around the object, a bracket missing, no area). Then it learns from your `ticket_reward` alone,
# through your functions of GRPO. L takes a chat model with 1.1 billion parameters that has never
# seen our tickets, describes them in one sentence, and trains LoRA on eight answers to each
# question. If the model cannot be had, L runs two rounds on random weights of the same size, which
# learn nothing and show time and memory.
#
# A model that is on your disk already is taken from there: give its folder in the environment
# variable `GLASSBOX_MODEL`. `run_record.json` keeps what was measured.
#
# Before you look: four models stand in the memory of PPO, the policy, its reference, the value
# network and a reward model. How many GB is that for 8 billion parameters, if two of them are
# trained?

# %% tags=["demo"]
import copy
import os
import time
from random import Random

from glassbox import counting
from glassbox.models import GPT
from glassbox.parts import GPTConfig
from glassbox.telecom.facts import error

M_CONFIG = GPTConfig(n_layers=9, d_model=512, n_heads=8, vocab_size=1024, context_len=128)
L_CONFIG = GPTConfig(n_layers=22, d_model=2048, n_heads=32, vocab_size=1024, context_len=128)
N_ANSWERS = 8  # to each question
ASK = ('Write a ticket about this message as one JSON object and nothing else, with the fields '
       '"code", "area" (mobile, fibre, core or billing) and "priority" (1 to 4), like '
       '{"code": "E000", "area": "core", "priority": 1}. Message: ')


def ticket(question, chance):
    """A ticket as somebody might write it: three of ten are whole."""
    area = error(question.key).area
    whole = {"code": question.key, "area": area, "priority": 1 + AREAS.index(area)}
    text = json.dumps(whole)
    careless = (f"Ticket: {text}", text[:-1], json.dumps({"code": question.key}),
                json.dumps(whole | {"area": area.upper()}), f"{question.key}, {area}")
    return text if chance.random() < 0.3 else chance.choice(careless)


def earned(question, text, ended):
    """The reward of an answer: your ticket_reward, if the model ended it."""
    return ticket_reward(text) if ended else 0.0


def of_the_right_code(question, text, ended):
    """Whether a whole ticket is about the code that was asked about; measured, never trained."""
    return float(earned(question, text, ended) == 1.0 and json.loads(text)["code"] == question.key)


def careless_writer(config, asked, steps, rows_per_step, device):
    """A model trained from nothing on tickets, most of them careless."""
    chance = Random(0)
    talks = [[messages(q)[0], {"role": "assistant", "content": ticket(q, chance)}]
             for q in asked for _ in range(20)]
    rows = [assistant.render(talk, assistant.tokenizer()) for talk in talks]
    torch.manual_seed(0)
    model = GPT(config).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    for step in tqdm(range(steps)):
        ids, targets = assistant.batch(chance.sample(rows, rows_per_step), config.context_len)
        loss = model.loss(ids.to(device), targets.to(device))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.param_groups[0]["lr"] = 1e-3 * min((step + 1) / 50, 1 - step / steps)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def tickets(config=M_CONFIG, steps=1_500, rounds=150, n_prompts=16, device=scale.device):
    """M: a careless writer learns from the reward; what was measured."""
    asked = [q for q in data.train if q.kind == "error"]
    tests = [q for q in data.pairs if q.kind == "error"]
    writer = careless_writer(config, asked, steps, 64, device)
    policy, begun = copy.deepcopy(writer), time.perf_counter()

    def now(reward):
        gen = torch.Generator(device).manual_seed(0)
        return assess(policy, writer, tests, reward, gen, n_per_prompt=4, max_new=60)

    first = now(earned)
    grpo(policy, writer, asked, earned, iterations=rounds, n_prompts=n_prompts,
         n_per_prompt=N_ANSWERS, lr=1e-4, kl_weight=0.05, max_new=60, functions=YOURS)
    last = now(earned)
    return {"reward before": first["reward"], "reward after": last["reward"],
            "KL after": last["kl"], "whole and right code": now(of_the_right_code)["reward"],
            "seconds": time.perf_counter() - begun}


def sampled_rows(model, tokens, asked, n_new=48):
    """Answers of a library's model: ids, which were attended to, which are answers, and texts."""
    talks = [[{"role": "user", "content": ASK + q.text}] for q in asked]
    batch = tokens.apply_chat_template(
        talks, add_generation_prompt=True, padding=True, return_dict=True, return_tensors="pt",
        tokenizer_kwargs={"padding_side": "left"}).to(model.device)
    with torch.no_grad():
        ids = model.generate(**batch, max_new_tokens=n_new, do_sample=True, temperature=1.0,
                             top_k=0, top_p=1.0, num_return_sequences=N_ANSWERS,
                             eos_token_id=tokens.eos_token_id, pad_token_id=tokens.pad_token_id)
    width = batch["input_ids"].shape[1]
    prompt = batch["attention_mask"].bool().repeat_interleave(N_ANSWERS, 0)
    stop = ids[:, width:] == tokens.eos_token_id
    said = stop.cumsum(1) - stop.long() == 0  # up to the first end, and the end itself
    mask = torch.cat([torch.zeros_like(prompt), said], 1)
    texts = [tokens.decode(row[keep], skip_special_tokens=True)
             for row, keep in zip(ids[:, width:], said)]
    return ids, torch.cat([prompt, said], 1), mask, texts, stop.any(1).tolist()


def library_logp(model, ids, attended, mask):
    """(B, T): log-probability of each answer token under a library's model, 0 elsewhere."""
    places = (attended.cumsum(1) - 1).clamp(min=0)
    logits = model(input_ids=ids, attention_mask=attended.long(), position_ids=places).logits
    logp = logits[:, :-1].float().log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return F.pad(logp, (1, 0)).masked_fill(~mask, 0.0)


def chat_model(model, tokens, asked, rounds=100, n_prompts=4, lr=2e-5):
    """L: LoRA on a chat model, learning from the reward through your functions."""
    model = huggingface.lora(model, "all-linear", 16, 32.0)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr)
    chance, told, begun = Random(0), [], time.perf_counter()
    half = model.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    for _ in tqdm(range(rounds)):
        model.eval()
        some = chance.sample(asked, n_prompts)
        with torch.autocast(model.device.type, torch.bfloat16, enabled=half):
            ids, attended, mask, texts, ended = sampled_rows(model, tokens, some)
            rewards = torch.tensor([earned(None, text.strip(), end) for text, end in
                                    zip(texts, ended)], device=ids.device)
            with torch.no_grad(), model.disable_adapter():
                ref = library_logp(model, ids, attended, mask)
            logp = library_logp(model, ids, attended, mask)
        gains = group_advantages(rewards.view(n_prompts, N_ANSWERS)).flatten()
        loss = grpo_loss(logp, logp.detach(), ref, gains, mask, 0.2, 0.02)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        kl = token_kl(logp.detach(), ref, mask, "k3").sum(1).mean()
        told.append([rewards.mean().item(), kl.item()])
    ends = [torch.tensor(part).mean(0).tolist() for part in (told[:10], told[-10:])]
    return {"reward first": ends[0][0], "reward last": ends[1][0], "KL last": ends[1][1],
            "seconds": time.perf_counter() - begun}


def shape_only(config=L_CONFIG, rounds=2, n_prompts=4, device=scale.device):
    """L without a model: your GRPO on random weights of its size; seconds a round."""
    torch.manual_seed(0)
    with torch.device(device):
        policy, frozen = GPT(config), GPT(config)
    frozen.load_state_dict(policy.state_dict())
    begun = time.perf_counter()
    grpo(policy, frozen.requires_grad_(False), data.train, earned, iterations=rounds,
         n_prompts=n_prompts, n_per_prompt=N_ANSWERS, lr=1e-6, max_new=40, functions=YOURS)
    return {"parameters": sum(p.numel() for p in policy.parameters()),
            "seconds a round": (time.perf_counter() - begun) / rounds}


large = scale.name == "L"
config = L_CONFIG if large else M_CONFIG
shape = counting.Model("", "gpt2", config.n_layers, config.d_model, config.n_heads,
                       config.vocab_size, config.context_len)
n_weights, n_rows = counting.count(shape)["total"], 32
# trained: weights, gradient and two moments; the reference its weights; then what backward needs,
# logits and their gradient (the chat model's vocabulary has 32,000 tokens)
n_bytes = (20 * n_weights + counting.activations(shape, n_rows, config.context_len, flash=True)
           + 10 * n_rows * 256 * (32_000 if large else config.vocab_size))
eight = counting.count(counting.MODELS["Llama-3 8B"])["total"]
trained, frozen = 16 * eight / 1e9, 2 * eight / 1e9
print(f"PPO with 8 billion parameters, before activations: policy {trained:.0f} GB, value network "
      f"{trained:.0f}, reference {frozen:.0f}, reward model {frozen:.0f} (frozen ones in 16 bits); "
      f"GRPO with a program for a reward: {trained:.0f} and {frozen:.0f}")
if scale.name == "S":
    print(f"M would train {n_weights:,} parameters and needs about {n_bytes / 1e9:.1f} GB of GPU "
          "memory.")
else:
    scale.announce(f"{n_weights:,} parameters, {n_rows} answers at once", n_bytes)
    torch.cuda.reset_peak_memory_stats()
    try:
        if not large:
            found = tickets()
        else:
            name = os.environ.get("GLASSBOX_MODEL") or "TinyLlama/TinyLlama-1.1B-Chat-v1.0"
            try:
                found = chat_model(*huggingface.load(name),
                                   [q for q in data.train if q.kind == "error"])
            except (ImportError, FileNotFoundError) as problem:
                print(problem)
                found = shape_only()
        found["memory GB"] = torch.cuda.max_memory_allocated() / 1e9
        print(*(f"{key:>22} {value:,.4g}" for key, value in found.items()), sep="\n")
        print("Written to", scale.record("lab09_ppo", found))
    except NotImplementedError:
        print("Write exercises 1 and 7 to 10 first.")
