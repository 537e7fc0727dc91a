"""Reference of the mixture explorer: `glassbox.cleaning.mixtures`, and alpha by halving."""

import itertools
import math
from collections.abc import Iterator
from typing import Any

from glassbox import explore
from glassbox.cleaning import mixtures

COUNTS = [
    [50000, 6000, 3000, 600, 200, 60],
    [1000000, 1, 0, 0, 7, 0],
    [5, 5, 5, 5, 5, 5],
    [0, 0, 12, 0, 0, 0],
    [900, 90, 9],
]
LIMIT = 4


def mixed(counts: list[int], alpha: float) -> list[float]:
    return list(mixtures.shares(named(counts), alpha).values())


def read(counts: list[int], alpha: float, budget: float) -> list[float]:
    told = named(counts)
    return list(mixtures.epochs(told, mixtures.shares(told, alpha), budget).values())


def named(counts: list[int]) -> dict[str, float]:
    return {str(i): float(n) for i, n in enumerate(counts)}


def least_alpha(counts: list[int], budget: float) -> float | None:
    """Halved fifty times, then rounded up to a millionth."""
    if max(read(counts, 1, budget)) > LIMIT:
        return None
    low, high = 0.0, 1.0
    for _ in range(50 if max(read(counts, 0, budget)) > LIMIT else 0):
        middle = (low + high) / 2
        low, high = (middle, high) if max(read(counts, middle, budget)) > LIMIT else (low, middle)
    return math.ceil(low * 1e6) / 1e6


def cases() -> Iterator[tuple[str, list, Any]]:
    options = explore.about("mixture")["options"]
    assert list(options)[2:] == ["web", "forums", "code", "standards", "dialogues", "manuals"]
    assert [options[key]["default"] for key in list(options)[2:]] == COUNTS[0]
    for counts, alpha in itertools.product(COUNTS, (0.0, 0.3, 0.5, 1.0)):
        p = mixed(counts, alpha)
        assert abs(sum(p) - 1) < 1e-12
        yield "shares", [counts, alpha], p
        for budget in (100, 20000, 1e6):
            yield "epochs", [counts, alpha, budget], read(counts, alpha, budget)
    for counts, budget in itertools.product(COUNTS, (100, 20000, 1e6)):
        yield "mildest", [counts, budget, LIMIT], least_alpha(counts, budget)
    yield "shares", [[0, 0, 0], 0.5], None
    yield "epochs", [[0, 0, 0], 0, 100], [0, 0, 0]
    yield "shares", [[1, 4], 0.5], [1 / 3, 2 / 3]  # by hand
