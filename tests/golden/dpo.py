"""Reference of the DPO explorer: cross-entropy with soft labels, and torch's derivatives."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F


def cost(kind: str, margin: Tensor, beta: float, swapped: float) -> Tensor:
    """The pair as one case of logistic regression; IPO as a regression on the margin."""
    if kind == "ipo":
        return F.mse_loss(margin, torch.full_like(margin, 0.5 / beta))
    label = torch.full_like(margin, 1 - swapped if kind == "smoothed" else 1.0)
    return F.binary_cross_entropy_with_logits(margin * beta, label)


def derivative(kind: str, margin: float, beta: float, swapped: float) -> float:
    at = torch.tensor(margin, dtype=torch.float64, requires_grad=True)
    cost(kind, at, beta, swapped).backward()
    return at.grad.item()


def lowest(kind: str, beta: float, swapped: float) -> float:
    """Where the derivative changes its sign, by halving."""
    low, high = 0.0, 1e4
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if derivative(kind, middle, beta, swapped) < 0 else (low, middle)
    return low


def cases() -> Iterator[tuple[str, list, Any]]:
    for x in (0.0, 1.0, -3.0, 40.0, -40.0, -700.0):
        yield "sigmoid", [x], torch.tensor(x, dtype=torch.float64).sigmoid().item()
    margins = (0.0, 2.0, 6.0, -6.0, 30.0, -4000.0)
    grid = itertools.product(("dpo", "smoothed", "ipo"), margins, (0.01, 0.1, 1.0), (0.1, 0.4))
    for kind, margin, beta, swapped in grid:
        at = torch.tensor(margin, dtype=torch.float64)
        args = [kind, margin, beta, swapped]
        yield "loss", args, cost(kind, at, beta, swapped).item()
        yield "slope", args, derivative(*args)
    yield "loss", ["dpo", 0, 0.3, 0.1], math.log(2)
    for beta in (0.01, 0.1, 0.5):
        yield "restsAt", ["dpo", beta, 0.1], None
        yield "restsAt", ["ipo", beta, 0.1], lowest("ipo", beta, 0.1)
        for swapped in (0.05, 0.4):
            yield "restsAt", ["smoothed", beta, swapped], lowest("smoothed", beta, swapped)
        for share in (0.1, 0.5, 0.01):
            # that margin's derivative is the share of beta: looked for, not solved
            low, high = -10 / beta, 10 / beta
            for _ in range(200):
                middle = (low + high) / 2
                more = -derivative("dpo", middle, beta, 0) > share * beta
                low, high = (middle, high) if more else (low, middle)
            yield "spentAt", [beta, share], low
