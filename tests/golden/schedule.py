"""Reference of the schedule explorer: torch's own schedulers, stepped through whole runs."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch.optim import lr_scheduler as lr

KINDS = ("cosine", "linear", "constant", "wsd")


def phases(kind: str, warmup: int, total: int, decay: float) -> tuple[int, int]:
    """Steps at the peak, steps of falling."""
    if kind == "constant":
        return total - warmup, 0
    falling = min(int(decay * total + 0.5), total - warmup) if kind == "wsd" else total - warmup
    return total - warmup - falling, falling


def rates(
    kind: str, peak: float, warmup: int, total: int, floor: float, decay: float
) -> list[float]:
    """The rate of every step from 0 to total + 2."""
    flat, falling = phases(kind, warmup, total, decay)
    optimizer = torch.optim.SGD([torch.zeros(1, dtype=torch.float64)], lr=peak)
    parts, ends = [], []
    if warmup:  # torch's LinearLR refuses a start at 0
        parts.append(lr.LambdaLR(optimizer, lambda step: step / warmup))
        ends.append(warmup)
    parts.append(lr.ConstantLR(optimizer, factor=1.0))
    if falling:
        ends.append(warmup + flat)
        parts.append(
            lr.CosineAnnealingLR(optimizer, falling, eta_min=floor) if kind == "cosine"
            else lr.LinearLR(optimizer, 1.0, floor / peak, falling)
        )  # fmt: skip
    schedule = lr.SequentialLR(optimizer, parts, milestones=ends)
    found = []
    for _ in range(total + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return [*found, *[floor if falling else peak] * 2]


def cases() -> Iterator[tuple[str, list, Any]]:
    for kind, (warmup, total), share in itertools.product(
        KINDS, ((10, 100), (0, 40), (37, 61)), (0.1, 0.0)
    ):
        peak, decay = 3e-4, 0.2
        numbers = [peak, warmup, total, share * peak, decay]
        every = rates(kind, *numbers)
        for step in sorted({0, 1, warmup, (warmup + total) // 2, total - 1, total, total + 2}):
            yield "rateAt", [kind, step, *numbers], every[step]
        yield "meanRate", [kind, *numbers], sum(every[:total]) / total
    yield "rateAt", ["cosine", 550, 3e-4, 100, 1000, 3e-5, 0.2], 1.65e-4
    yield "rateAt", ["cosine", 5, 1.0, 5, 5, 0.5, 0.2], 0.5
    yield "rateAt", ["wsd", 5, 1.0, 5, 5, 0.5, 0.2], 0.5
    for warmup, total, decay in ((10, 100, 0.2), (90, 100, 0.2), (0, 50, 1.0), (0, 10, 0.05)):
        flat, _ = phases("wsd", warmup, total, decay)
        yield "fallsFrom", [warmup, total, decay], warmup + flat
