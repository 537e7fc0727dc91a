"""Reference of the scaling explorer: glassbox.counting for sizes, two published fits of the loss.

Hoffmann 2203.15556, equation 10 (approach 3, constants as printed); Besiroglu 2404.10102, the fit
to the reconstructed runs. The optimum is searched here, not solved for.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

from glassbox import counting

FITS = {  # floor, coefficient and exponent of parameters, of tokens
    "besiroglu": (1.8172, (482.01, 0.3478), (2085.43, 0.3658)),
    "hoffmann": (1.69, (406.4, 0.34), (410.7, 0.28)),
}
RUNS = {
    "gpt3": ("GPT-3 175B", 300e9, 1.718), "llama1-65b": ("Llama-1 65B", 1.4e12, 21.4),
    "llama2-70b": ("Llama-2 70B", 2.0e12, 29.0), "llama3-8b": ("Llama-3 8B", 15e12, 1868),
    "llama3.1-405b": ("Llama-3.1 405B", 15.6e12, 38.4),
}  # fmt: skip


def loss(fit: str, n_params: float, n_tokens: float) -> float:
    floor, *terms = FITS[fit]
    sizes = (n_params, n_tokens)
    return floor + sum(c * size**-power for (c, power), size in zip(terms, sizes, strict=True))


def crossing(f: Callable[[float], float], low: float, high: float) -> float:
    """Where a rising function is 0, between two powers of ten."""
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if f(10**middle) < 0 else (low, middle)
    return 10**low


def optimum(fit: str, compute: float) -> tuple[float, float]:
    """Along one budget the loss is lowest where its slope in log(parameters) is 0."""
    _, (a, alpha), (b, beta) = FITS[fit]

    def slope(n: float) -> float:
        return beta * b * (compute / 6 / n) ** -beta - alpha * a * n**-alpha

    n = crossing(slope, 3, 16)
    least = loss(fit, n, compute / 6 / n)
    for factor in (0.9, 0.999, 1.001, 1.1):
        assert loss(fit, n * factor, compute / 6 / n / factor) > least
    return n, compute / 6 / n


def cases() -> Iterator[tuple[str, list, Any]]:
    yield "run", ["chinchilla"], {"compute": 5.88e23, "ratio": 20.0}
    for key, (name, n_tokens, known) in RUNS.items():
        n = counting.count(counting.MODELS[name])["total"]
        assert math.isclose(n_tokens / n, known, rel_tol=0.003), key
        yield "run", [key], {"compute": counting.flops(n, n_tokens), "ratio": n_tokens / n}
    for compute in (1e18, 1e20, 5.76e23, 3.8e25):
        for ratio in (20.0, 1.7, 1868.0):
            yield "sizes", [compute, ratio], list(counting.optimal(compute, ratio))
    for fit in FITS:
        for n, n_tokens in ((124e6, 2.5e9), (70e9, 1.4e12), (8e9, 15e12)):
            yield "loss", [fit, n, n_tokens], loss(fit, n, n_tokens)
        for compute in (1e18, 5.88e23, 1e26):
            yield "optimum", [fit, compute], list(optimum(fit, compute))
        for wanted in (2.0, 2.5, 3.5):
            best = crossing(lambda c, f=fit, w=wanted: w - loss(f, *optimum(f, c)), 12, 30)
            yield "computeFor", [fit, wanted], best
