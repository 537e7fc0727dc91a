"""Reference of the NF4 explorer: torch and the standard library's normal distribution.

`PUBLISHED` are the constants with which bitsandbytes stores NF4, the levels of QLoRA (Dettmers
2305.14314, appendix E); the construction must give them to 1e-6.
"""

import itertools
import math
import runpy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

mulberry32 = runpy.run_path(str(Path(__file__).with_name("sampling.py")))["mulberry32"]
PUBLISHED = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
)  # fmt: skip
SIZE = 256 * 256


def codebook(kind: str, bits: int) -> Tensor:
    """The levels in rising order."""
    if kind == "int":
        top = 2 ** (bits - 1) - 1
        return torch.arange(-top, top + 1, dtype=torch.float64) / top
    n = 2**bits
    tail = (1 / (2 * n) + 1 / (2 * n - 2)) / 2
    above = torch.linspace(0.5, 1 - tail, n // 2 + 1, dtype=torch.float64)[1:]
    below = torch.linspace(tail, 0.5, n // 2, dtype=torch.float64)[:-1]
    shares = [*below.tolist(), 0.5, *above.tolist()]
    found = torch.tensor([NormalDist().inv_cdf(share) for share in shares], dtype=torch.float64)
    return found / found.max()


@cache
def drawn() -> tuple[Tensor, Tensor]:
    return torch.tensor(mulberry32(7, 2 * SIZE), dtype=torch.float64).split(SIZE)


@cache
def matrix(sort: str, large: int) -> Tensor:
    """Box and Muller's normal numbers, some made large; or uniform ones of variance 1."""
    one, two = drawn()
    if sort == "uniform":
        return (one - 0.5) * math.sqrt(12)
    x = (-2 * (1 - one).log()).sqrt() * (2 * math.pi * two).cos()
    if sort == "outliers":
        x[250::500] *= large
    return x


def scale(blocks: Tensor, double: bool) -> Tensor:
    """(n, block) -> (n,)"""
    own = blocks.abs().amax(dim=1)
    if not double:
        return own
    mean, back = own.mean(), []
    for part in own.split(256):
        step = (part - mean).abs().max() / 127
        back.append(mean + (((part - mean) / step).round() * step if step else 0 * part))
    return torch.cat(back)


def stored(kind: str, bits: int, block: int, double: bool, sort: str, large: int) -> dict[str, Any]:
    """Every weight by the level that is nearest, found by looking at all of them."""
    blocks, book = matrix(sort, large).view(-1, block), codebook(kind, bits)
    by = scale(blocks, double)[:, None]
    ratio = (blocks / by).flatten()
    codes = torch.cat([(part[:, None] - book).abs().argmin(dim=1) for part in ratio.split(8192)])
    error = (blocks - book[codes].view(-1, block) * by).abs()
    share = torch.bincount(codes, minlength=len(book)).double() / SIZE
    cells = ((ratio + 1) * 25).floor().clamp(0, 49).long()
    return {
        "mean": error.mean().item(), "rms": error.square().mean().sqrt().item(),
        "shares": share.tolist(), "tells": torch.special.entr(share).sum().item() / math.log(2),
        "bins": (torch.bincount(cells, minlength=50).double() / SIZE).tolist(),
    }  # fmt: skip


def cases() -> Iterator[tuple[str, list, Any]]:
    assert (codebook("nf", 4) - torch.tensor(PUBLISHED, dtype=torch.float64)).abs().max() < 1e-6
    for p in (0.5, 0.6, 0.9, 0.9677083333333333, 0.999, 0.2, 0.03):
        yield "quantile", [p], NormalDist().inv_cdf(p)
    for kind, bits in itertools.product(("nf", "int"), (2, 3, 4, 8)):
        yield "levels", [kind, bits], codebook(kind, bits).tolist()
    yield "bitsPerWeight", [4, 64, False], 4.5
    yield "bitsPerWeight", [4, 64, True], 4 + 8 / 64 + 32 / (64 * 256)
    yield "bitsPerWeight", [8, 32, False], 9
    for values, block, double in (([3, -4, 0.5, 1], 2, False), ([1, -2, 3, -4, 7, 0], 1, True)):
        tensor = torch.tensor(values, dtype=torch.float64)
        yield "scales", [values, block, double], scale(tensor.view(-1, block), double).tolist()
    yield "scales", [[2, 2, -2, 1], 2, True], [2.0, 2.0]
    grid = itertools.product(("nf", "int"), (64, 1024), (False, True), ("normal", "outliers"))
    for kind, block, double, sort in grid:
        args = [kind, 4, block, double, sort, 12]
        yield "quantized", args, stored(*args)
    for kind, bits, block in (("nf", 2, 16), ("int", 8, 65536), ("nf", 3, 256)):
        args = [kind, bits, block, False, "uniform", 12]
        yield "quantized", args, stored(*args)
