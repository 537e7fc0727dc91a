"""Reference of the GAE explorer: mixtures of n-step returns; torch's derivatives for the errors."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

VALUES = [0.4, 0.5, 0.55, 0.8, 0.8, 0.9]
KL = [0.2, 0.1, 0.0, 0.5, 0.3, 0.0]


def n_step(rewards: Tensor, values: Tensor, gamma: float, t: int, n: int) -> Tensor:
    """n rewards from t on, then the value that stands there; nothing beyond the end."""
    total = sum(gamma**k * rewards[t + k] for k in range(n))
    return total + (gamma**n * values[t + n] if t + n < len(values) else 0.0)


def estimate(rewards: Tensor, values: Tensor, gamma: float, lam: float, t: int) -> Tensor:
    """The mean of all n-step returns with weights (1 - lam) lam^(n-1); the last takes the rest."""
    longest = len(rewards) - t
    weights = [(1 - lam) * lam ** (n - 1) for n in range(1, longest)] + [lam ** (longest - 1)]
    assert abs(sum(weights) - 1) < 1e-12
    returns = [n_step(rewards, values, gamma, t, n) for n in range(1, longest + 1)]
    return sum(w * g for w, g in zip(weights, returns, strict=True))


def mistaken(n: int, gamma: float, lam: float, off: float, noise: float) -> dict[str, float]:
    """The estimate is linear in values and rewards: its derivatives give both errors."""
    rewards, values = (torch.zeros(n, dtype=torch.float64, requires_grad=True) for _ in range(2))
    (by_value,) = torch.autograd.grad(
        estimate(rewards, values, gamma, lam, 0), values, allow_unused=True, materialize_grads=True
    )
    # a true jump in step k is a reward that the critic did not expect: all else is 0
    (by_jump,) = torch.autograd.grad(
        estimate(rewards, torch.zeros(n, dtype=torch.float64), gamma, lam, 0), rewards
    )
    # rewards that are jumps are weighed by gamma^k times the share of returns that reach them
    return {"bias": off * by_value.sum().item(), "noise": noise * by_jump.norm().item()}


def cases() -> Iterator[tuple[str, list, Any]]:
    for price, score in ((0, 1), (0.5, -1), (1, 0.3)):
        table = torch.zeros(6, dtype=torch.float64)
        table[-1] = score
        costs = price * torch.tensor(KL, dtype=torch.float64)
        yield "paid", [KL, price, score], (table - costs).tolist()
    gen = torch.Generator().manual_seed(5)
    lists = [([0.0] * 5 + [1.0], VALUES), ([1.0], [0.25])]
    for n in (2, 4, 7):
        drawn = torch.randn(2, n, generator=gen, dtype=torch.float64).tolist()
        lists.append((drawn[0], drawn[1]))
    for (rewards, values), gamma in itertools.product(lists, (1.0, 0.9)):
        r, v = (torch.tensor(x, dtype=torch.float64) for x in (rewards, values))
        one = [(n_step(r, v, gamma, t, 1) - v[t]).item() for t in range(len(r))]
        yield "jumps", [rewards, values, gamma], one
        for lam in (0.0, 0.5, 0.95, 1.0):
            all_of = [(estimate(r, v, gamma, lam, t) - v[t]).item() for t in range(len(r))]
            yield "advantages", [rewards, values, gamma, lam], all_of
            t = len(rewards) // 2
            own = [(gamma * lam) ** k * x for k, x in enumerate(one[t:])]
            assert abs(sum(own) - all_of[t]) < 1e-9
            yield "parts", [rewards, values, gamma, lam, t], own
    for n, gamma, lam in itertools.product((1, 2, 6), (1.0, 0.9), (0.0, 0.5, 0.95, 1.0)):
        yield "errors", [n, gamma, lam, -0.2, 0.3], mistaken(n, gamma, lam, -0.2, 0.3)
