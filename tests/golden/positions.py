"""Reference of the positions explorer: torch in float64, turns by complex numbers."""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def speeds(width: int, base: float) -> Tensor:
    return base ** (-torch.arange(0, width, 2, dtype=torch.float64) / width)


def waves(n_tokens: int, width: int, base: float) -> Tensor:
    angle = torch.outer(torch.arange(n_tokens, dtype=torch.float64), speeds(width, base))
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)


def rotated(x: Tensor, position: int, base: float) -> Tensor:
    turned = torch.polar(
        torch.ones(len(x) // 2, dtype=torch.float64), position * speeds(len(x), base)
    )
    return torch.view_as_real(torch.view_as_complex(x.view(-1, 2)) * turned).flatten()


def cases() -> Iterator[tuple[str, list, Any]]:
    gen = torch.Generator().manual_seed(0)
    for width, base in ((64, 10_000), (4, 100), (32, 500_000)):
        for i in (0, 1, width // 2 - 1):
            yield "frequency", [i, width, base], speeds(width, base)[i].item()
        table = waves(64, width, base)
        for p in (0, 1, 63):
            yield "wave", [p, width, base], table[p].tolist()
        yield "dot", [table[3].tolist(), table[5].tolist()], (table[3] @ table[5]).item()
        x = torch.randn(width, generator=gen, dtype=torch.float64)
        for p in (0, 1, 63, 5000):
            yield "rotate", [x.tolist(), p, base], rotated(x, p, base).tolist()
        ones = torch.ones(width, dtype=torch.float64)
        for distance in (0, 1, 63, -7):
            score = F.cosine_similarity(rotated(ones, distance, base), ones, dim=0)
            yield "ropeScore", [distance, width, base], score.item()
    yield "frequency", [31, 64, 10_000], 10_000 ** (-62 / 64)  # 0.000133352
    yield "turn", [[1, 0], math.radians(90)], [0.0, 1.0]
    yield "turn", [[3, -2], 0.5], [
        3 * math.cos(0.5) + 2 * math.sin(0.5), 3 * math.sin(0.5) - 2 * math.cos(0.5),
    ]  # fmt: skip
    for n_heads in (1, 8, 12, 16):
        for h in (1, n_heads):
            yield "slope", [h, n_heads], 0.5 ** (8 * h / n_heads)
    for n_tokens, m in ((4, 0.5), (64, 1 / 256), (64, 0.5)):
        bias = -m * torch.arange(n_tokens, dtype=torch.float64)
        yield "alibiWeights", [n_tokens, m], bias.softmax(dim=0).tolist()
