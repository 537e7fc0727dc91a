"""Reference of the sampling explorer: the filters of transformers, torch, a 32-bit generator."""

import itertools
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

LOGITS = [2, 1, 0, -0.2, -0.5, -0.9, -1.2, -1.6, -2.5, -5]
MASK = 0xFFFFFFFF


def softmax(logits: list[float], temperature: float) -> Tensor:
    return (torch.tensor(logits, dtype=torch.float64) / temperature).softmax(dim=0)


def library(logits: list[float], temperature: float, k: int, p: float) -> Tensor:
    """Temperature, top-k, top-p as transformers chains them."""
    from transformers.generation.logits_process import (
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    scores = torch.tensor([logits], dtype=torch.float64)
    scores = TemperatureLogitsWarper(temperature)(None, scores)
    scores = TopKLogitsWarper(k)(None, scores)
    scores = TopPLogitsWarper(p)(None, scores) if p < 1 else scores
    return scores.softmax(dim=-1)[0]


def mulberry32(seed: int, n: int) -> list[float]:
    """Tommy Ettinger's generator, on Python's whole numbers cut to 32 bits."""
    found = []
    for _ in range(n):
        seed = (seed + 0x6D2B79F5) & MASK
        t = (seed ^ (seed >> 15)) * (1 | seed) & MASK
        t ^= (t + ((t ^ (t >> 7)) * (61 | t) & MASK)) & MASK
        found.append(((t ^ (t >> 14)) & MASK) / 2**32)
    return found


def draws(probs: list[float], seed: int, n: int) -> list[int]:
    edges = torch.tensor(list(itertools.accumulate(probs)), dtype=torch.float64)
    numbers = torch.tensor(mulberry32(seed, n), dtype=torch.float64)
    return torch.bincount(
        torch.searchsorted(edges, numbers, right=True), minlength=len(probs)
    ).tolist()


def cases() -> Iterator[tuple[str, list, Any]]:
    for temperature in (0.05, 0.5, 1.0, 3.0):
        yield "softmax", [LOGITS, temperature], softmax(LOGITS, temperature).tolist()
    yield "softmax", [[1, 3, 3], 0], [0, 1, 0]
    yield "softmax", [[1000, 999], 1], [0.7310585786300049, 0.2689414213699951]
    probs = softmax(LOGITS, 1.0).tolist()
    for k in (1, 3, 10):
        yield "topK", [probs, k], library(LOGITS, 1.0, k, 1.0).tolist()
    for p in (0.05, 0.3, 0.9, 0.95):
        yield "topP", [probs, p], library(LOGITS, 1.0, 10, p).tolist()
    yield "topP", [[0.5, 0.3, 0.2], 1], [0.5, 0.3, 0.2]
    yield "topP", [[0.5, 0.3, 0.2], 0.5], [1.0, 0.0, 0.0]
    for temperature, k, p in itertools.product((0.3, 1.0, 2.5), (1, 4, 10), (0.35, 0.9, 1.0)):
        state = {"temperature": temperature, "top_k": k, "top_p": p}
        yield "filtered", [LOGITS, state], library(LOGITS, temperature, k, p).tolist()
    for given in (probs, [0.25] * 4, [1.0, 0.0]):
        bits = torch.distributions.Categorical(torch.tensor(given, dtype=torch.float64)).entropy()
        yield "entropy", [given], abs(bits.item()) / 0.6931471805599453
    for seed in (1, 2, 99):
        yield "uniforms", [seed, 5], mulberry32(seed, 5)
        yield "draw", [probs, seed, 200], draws(probs, seed, 200)
