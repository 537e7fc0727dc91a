"""Reference of the architecture explorer: shapes and parameters of torch modules and tensors."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn


def state(**more: Any) -> dict[str, Any]:
    sizes = {"n_tokens": 6, "n_keys": 9, "d_model": 64, "n_heads": 4, "vocab_size": 1000}
    return {"family": "decoder", "norm": "pre", "position": "added"} | sizes | more


def count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def run(s: dict[str, Any], n: int) -> dict[str, list[list[int]]]:
    """Shapes of one attention part, from tensors without data."""
    c, h = s["d_model"], s["n_heads"]
    x = torch.empty(n, c, device="meta")
    packed = nn.Linear(c, 3 * c, device="meta")(x).view(n, 3, h, c // h).permute(1, 2, 0, 3)
    scores = packed[0] @ packed[1].mT
    mixed = (scores.softmax(-1) @ packed[2]).transpose(0, 1).reshape(n, c)
    logits = nn.Linear(c, s["vocab_size"], device="meta")(mixed)
    return {
        "qkv": [list(x.shape), list(packed.shape)],
        "scores": [list(packed[:2].shape), list(scores.shape)],
        "softmax": [list(scores.shape)] * 2,
        "out": [list(scores.shape), list(mixed.shape)],
        "head": [list(mixed.shape), list(logits.shape)],
        "embed": [[n], list(x.shape)],
        "ffn": [list(x.shape)] * 2,
        "stream": [list(x.shape)] * 2,
    }


def cases() -> Iterator[tuple[str, list, Any]]:
    pre = ["norm1", "qkv", "scores", "softmax", "out"]
    yield "order", ["decoder", "pre", "added"], [
        "embed", "position", "stream", pre, "+", ["norm2", "ffn"], "+", "head",
    ]  # fmt: skip
    yield "order", ["encoder", "post", "rope"], [
        "embed", "stream", ["qkv", "position", *pre[2:]], "+", "norm1", ["ffn"], "+", "norm2",
    ]  # fmt: skip
    yield "order", ["cross", "pre", "added"], [
        "embed", "position", "stream", pre, "+", ["normx", "cross"], "+", ["norm2", "ffn"], "+",
        "head",
    ]  # fmt: skip
    twelve = ["embed", "position", "stream", *pre, "add", "norm2", "ffn", "head"]
    yield "parts", ["decoder", "pre", "added"], twelve
    for s in (state(), state(n_tokens=1, d_model=512, n_heads=8, vocab_size=50_257)):
        for part, shapes in run(s, s["n_tokens"]).items():
            yield "shape", [part, "decoder", s], shapes
    both = state(family="both")
    for part, shapes in run(both, 9).items():
        if part != "head":  # an encoder hands on rows, no logits
            yield "shape", [part, "encoder", both], shapes
    yield "shape", ["head", "encoder", both], [[9, 64], [9, 64]]
    yield "shape", ["cross", "cross", both], [[6, 64], [6, 64]]

    for c, h, v in ((64, 4, 1000), (768, 12, 50_257)):
        s = state(d_model=c, n_heads=h, vocab_size=v)
        attention = nn.MultiheadAttention(c, h, device="meta")
        out = count(attention.out_proj)
        ffn = count(nn.Linear(c, 4 * c, device="meta"), nn.Linear(4 * c, c, device="meta"))
        expected = {
            "embed": v * c, "norm1": 2 * c, "norm2": count(nn.LayerNorm(c, device="meta")),
            "qkv": count(attention) - out, "out": out, "cross": count(attention), "ffn": ffn,
            "stream": 0, "softmax": 0, "head": 2 * c,
        }  # fmt: skip
        for part, n in expected.items():
            yield "parameters", [part, s], n
        yield "parameters", ["head", s | {"norm": "post"}], 0
    yield "score", [{}, twelve], [0, 0]
    yield "score", [{"embed": "embed", "ffn": "norm1", "nothing": "nothing"}, twelve], [2, 1]
