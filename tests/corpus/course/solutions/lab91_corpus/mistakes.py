"""Mistakes for the lab of the corpus."""

from itertools import pairwise

import torch
import torch.nn.functional as F

from autograder.bank import Bank, call

bank = Bank("lab91_corpus")
gen = torch.Generator().manual_seed(0)
q, k, v = torch.randn(3, 2, 3, 4, generator=gen)
bank.probe("attn", call(q, k, v))
bank.probe("count", call([4, 3]), call([2, 3, 5], False))


@bank.wrong("attn", "The scores are not scaled.")
def unscaled(q, k, v):
    return (q @ k.mT).softmax(-1) @ v


@bank.wrong("attn", "The scores are divided by D.")
def divided_by_d(q, k, v):
    return (q @ k.mT / q.shape[-1]).softmax(-1) @ v


@bank.wrong("attn", "The softmax runs over the queries.")
def over_queries(q, k, v):
    return (q @ k.mT / q.shape[-1] ** 0.5).softmax(-2) @ v


@bank.right("attn")
def by_einsum(q, k, v):
    scores = torch.einsum("btd,bsd->bts", q, k) / q.shape[-1] ** 0.5
    return torch.einsum("bts,bsd->btd", F.softmax(scores, dim=-1), v)


@bank.right("attn")
def by_exp(q, k, v):
    scores = ((q * q.shape[-1] ** -0.5) @ k.mT).exp()
    return scores / scores.sum(-1, keepdim=True) @ v


@bank.wrong("count", "The biases are not counted.")
def no_biases(sizes, bias=True):
    return sum(a * b for a, b in pairwise(sizes))


@bank.wrong("count", "The biases always count, whatever `bias` says.")
def always_biased(sizes, bias=True):
    return sum(a * b + b for a, b in pairwise(sizes))


@bank.wrong("count", "One bias per layer; it is one per output.")
def one_bias(sizes, bias=True):
    return sum(a * b + bias for a, b in pairwise(sizes))


@bank.right("count")
def by_loop(sizes, bias=True):
    total = 0
    for n_in, n_out in pairwise(sizes):
        total += (n_in + (1 if bias else 0)) * n_out
    return total


@bank.right("count")
def by_modules(sizes, bias=True):
    layers = [torch.nn.Linear(a, b, bias, device="meta")
              for a, b in pairwise(sizes)]  # fmt: skip
    return sum(p.numel() for layer in layers for p in layer.parameters())
