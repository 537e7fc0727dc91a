"""Reference of the ranking explorer: votes counted one by one, and Bradley-Terry scores by Newton's
method on the log-posterior, with torch's derivatives."""

import itertools
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

mulberry32 = runpy.run_path(str(Path(__file__).with_name("sampling.py")))["mulberry32"]
TASTES = ([0.6, 1.8, 1.2, 0.3, -1.2, -2.7], [-0.8, -0.5, 1.2, 1.6, -2.3, 0.8])


def prefers(a: float, b: float, noise: float) -> float:
    """A coin decides a share `noise` of the votes, taste the others."""
    taste = torch.tensor(a - b, dtype=torch.float64).sigmoid().item()
    return noise * 0.5 + (1 - noise) * taste


def counted(scores: list[float], noise: float, draws: list[list[float]]) -> list[list[int]]:
    wins = [[0] * len(scores) for _ in scores]
    for (i, j), numbers in zip(itertools.combinations(range(len(scores)), 2), draws, strict=True):
        for u in numbers:
            winner, loser = (i, j) if u < prefers(scores[i], scores[j], noise) else (j, i)
            wins[winner][loser] += 1
    return wins


def likeliest(wins: list[list[int]]) -> list[float]:
    """The mode, with half a win for each side of each pair; a square term fixes the mean at 0."""
    counts = torch.tensor(wins, dtype=torch.float64) + 0.5
    counts.fill_diagonal_(0)

    def cost(scores: Tensor) -> Tensor:
        gaps = scores[:, None] - scores
        return -(counts * F.logsigmoid(gaps)).sum() + scores.sum().square()

    scores = torch.zeros(len(wins), dtype=torch.float64)
    for _ in range(40):
        slope = torch.autograd.functional.jacobian(cost, scores)
        curve = torch.autograd.functional.hessian(cost, scores)
        move = torch.linalg.solve(curve, slope)
        scores = scores - move / max(1.0, move.abs().max().item())  # no step above 1
    return scores.tolist()


def agreeing(wins: list[list[int]], other: list[list[int]] | None = None) -> float | None:
    """Every pair of votes is looked at."""
    shares = []
    for i, j in itertools.combinations(range(len(wins)), 2):
        one = [1] * wins[i][j] + [0] * wins[j][i]
        two = [1] * other[i][j] + [0] * other[j][i] if other else None
        pairs = list(itertools.product(one, two) if two is not None
                     else itertools.combinations(one, 2))  # fmt: skip
        if not pairs:
            return None
        shares.append(sum(a == b for a, b in pairs) / len(pairs))
    return sum(shares) / len(shares)


def cases() -> Iterator[tuple[str, list, Any]]:
    for a, b, noise in ((0, 0, 0), (1.8, -2.7, 0), (1.8, -2.7, 0.3), (-1, 2, 1), (-30, 30, 0.5)):
        yield "chance", [a, b, noise], float(prefers(a, b, noise))
    tables = []
    for taste, noise, votes, seed in itertools.product(TASTES, (0, 0.5), (1, 12), (1, 2)):
        random = mulberry32(seed, 15 * votes)
        draws = [random[pair * votes : (pair + 1) * votes] for pair in range(15)]
        wins = counted(taste, noise, draws)
        tables.append(wins)
        yield "tally", [taste, noise, draws], wins
    tables += [
        [[0, 200, 200], [0, 0, 200], [0, 0, 0]],  # never beaten
        [[0, 3], [1, 0]],
        [[0, 5, 1], [1, 0, 5], [5, 1, 0]],  # a ring: all alike
        [[0, 0], [0, 0]],
    ]
    for wins in tables:
        scores = likeliest(wins)
        assert abs(sum(scores)) < 1e-9
        yield "fit", [wins], scores
        yield "agreement", [wins], agreeing(wins)
    assert abs(likeliest([[0, 3], [1, 0]])[0] - 0.5 * torch.tensor(3.5 / 1.5).log()) < 1e-6
    for one, two in ((tables[2], tables[10]), (tables[3], tables[3]), (tables[-1], tables[-3])):
        yield "agreement", [one, two], agreeing(one, two)
    for agree in (0.5, 1.0, 0.8, 0.25):  # Cohen's kappa with both sides equally frequent
        table = torch.tensor([[agree, 1 - agree], [1 - agree, agree]], dtype=torch.float64) / 2
        by_chance = (table.sum(0) * table.sum(1)).sum().item()
        yield "kappa", [agree], (agree - by_chance) / (1 - by_chance)
