"""Reference of the clip explorer: torch's clamp, minimum and derivatives."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

RULES = {
    "min": torch.minimum,
    "max": torch.maximum,
    "clipped": lambda plain, clipped: clipped,
    "plain": lambda plain, clipped: plain,
}


def both(ratio: Tensor, advantage: float, clip: float) -> tuple[Tensor, Tensor]:
    return ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage


def cases() -> Iterator[tuple[str, list, Any]]:
    ratios = (0.1, 0.75, 0.8, 0.85, 1.0, 1.15, 1.2, 1.25, 2.0)
    grid = itertools.product(ratios, (1.0, -2.0, 0.0), (0.2, 0.05))
    for ratio, advantage, clip in grid:
        logp = torch.tensor(ratio, dtype=torch.float64).log().requires_grad_()
        one = both(torch.tensor(ratio, dtype=torch.float64), advantage, clip)
        yield "terms", [ratio, advantage, clip], [float(term) for term in one]
        for rule, combine in RULES.items():
            args = [rule, ratio, advantage, clip]
            yield "objective", args, combine(*one).item()
            at_edge = any(abs(ratio - edge) < 1e-9 for edge in (1 - clip, 1 + clip))
            if at_edge:  # exp(log(r)) may fall to either side of an edge: torch on r itself
                r = torch.tensor(ratio, dtype=torch.float64, requires_grad=True)
                (slope,) = torch.autograd.grad(combine(*both(r, advantage, clip)), r)
                slope = slope * ratio
            else:
                (slope,) = torch.autograd.grad(combine(*both(logp.exp(), advantage, clip)), logp)
            yield "push", args, slope.item()
            yield "isOn", args, slope.item() != 0
