"""Measure what five position schemes do beyond the length they were trained on.

One small byte-level decoder is trained on windows of 64 bytes, once per scheme and seed, and then
reads windows of 256 bytes. The text is a stream of independent tickets cut at random places, each
with a random number that stands in it twice: the second can be copied from about 15 bytes back.
So the text is equally hard at every position past the first ticket, and a loss that rises later
comes from the length. Writes `position_extrapolation.json`, which chapter 1 plots. What it does not
show: other sizes, other texts, or what fine-tuning on long windows repairs.

    python book/experiments/position_extrapolation.py            # 15 runs, about 40 minutes
    python book/experiments/position_extrapolation.py --smallest # one short run, prints its rows
"""

import argparse
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SCHEMES = ("learned", "sinusoidal", "rope", "alibi", "none")
TRAIN_LEN, TEST_LEN, BUCKET = 64, 256, 16
D_MODEL, N_HEADS, N_LAYERS = 64, 4, 2
D_HEAD = D_MODEL // N_HEADS
CAUSES = ["fibre cut", "power loss", "rain fade", "card fault", "bad config", "no backhaul"]


def ticket_stream(n_bytes: int, seed: int) -> Tensor:
    """Independent tickets joined to one text -> (n_bytes,) byte values."""
    rng, parts, size = random.Random(seed), [], 0
    while size < n_bytes:
        number = rng.randint(1000, 9999)
        parts.append(f"{number} {rng.choice(CAUSES)}; {number} ok\n")
        size += len(parts[-1])
    return torch.tensor(list("".join(parts).encode()[:n_bytes]))


def waves(n_tokens: int, width: int) -> Tensor:
    """Unit complex numbers exp(i * position * frequency) -> (n_tokens, width / 2)."""
    frequency = 10000.0 ** (-torch.arange(width // 2) * 2 / width)
    angle = torch.arange(n_tokens)[:, None] * frequency
    return torch.polar(torch.ones_like(angle), angle)


def score_bias(scheme: str, n_tokens: int) -> Tensor:
    """What is added to the scores: -inf on the future, and ALiBi's slope -> (H, T, T)."""
    bias = torch.full((n_tokens, n_tokens), -math.inf).triu(1).repeat(N_HEADS, 1, 1)
    if scheme == "alibi":
        index = torch.arange(n_tokens)
        for head in range(N_HEADS):
            slope = 2.0 ** (-8 * (head + 1) / N_HEADS)
            bias[head] += slope * (index[None, :] - index[:, None]).clamp(max=0)
    return bias


class Block(nn.Module):
    """Pre-norm attention and feed-forward; rotates queries and keys when given waves."""

    def __init__(self) -> None:
        """Maps without biases, GELU in between."""
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(D_MODEL) for _ in range(2))
        self.qkv = nn.Linear(D_MODEL, 3 * D_MODEL, bias=False)
        self.out = nn.Linear(D_MODEL, D_MODEL, bias=False)
        self.ffn = nn.Sequential(
            nn.Linear(D_MODEL, 4 * D_MODEL), nn.GELU(), nn.Linear(4 * D_MODEL, D_MODEL)
        )

    def forward(self, x: Tensor, bias: Tensor, rotation: Tensor | None) -> Tensor:
        """(B, T, C), (H, T, T), (T, D / 2) or None -> (B, T, C)."""
        n_batch, n_tokens, _ = x.shape
        packed = self.qkv(self.norms[0](x)).view(n_batch, n_tokens, 3, N_HEADS, D_HEAD)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        if rotation is not None:
            q, k = (
                torch.view_as_real(
                    torch.view_as_complex(t.unflatten(-1, (-1, 2)).contiguous()) * rotation
                ).flatten(-2)
                for t in (q, k)
            )
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        x = x + self.out(mixed.transpose(1, 2).reshape(n_batch, n_tokens, D_MODEL))
        return x + self.ffn(self.norms[1](x))


class Decoder(nn.Module):
    """Byte-level decoder whose position scheme is chosen by name."""

    def __init__(self, scheme: str) -> None:
        """The learned table has TEST_LEN rows, of which training touches TRAIN_LEN."""
        super().__init__()
        self.scheme = scheme
        self.embed = nn.Embedding(256, D_MODEL)
        nn.init.normal_(self.embed.weight, std=D_MODEL**-0.5)
        self.blocks = nn.ModuleList(Block() for _ in range(N_LAYERS))
        self.norm = nn.LayerNorm(D_MODEL)
        if scheme == "learned":
            self.table = nn.Parameter(torch.randn(TEST_LEN, D_MODEL) * 0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> logits (B, T, 256)."""
        n_tokens = ids.shape[1]
        x = self.embed(ids) * D_MODEL**0.5  # unit size, as in the paper of 2017
        if self.scheme == "learned":
            x = x + self.table[:n_tokens]
        elif self.scheme == "sinusoidal":
            x = x + torch.view_as_real(waves(n_tokens, D_MODEL)).flatten(-2)
        rotation = waves(n_tokens, D_HEAD) if self.scheme == "rope" else None
        bias = score_bias(self.scheme, n_tokens)
        for block in self.blocks:
            x = block(x, bias, rotation)
        return self.norm(x) @ self.embed.weight.T


def windows(text: Tensor, n_rows: int, n_tokens: int, gen: torch.Generator) -> Tensor:
    """Rows cut at random places -> (n_rows, n_tokens + 1)."""
    start = torch.randint(len(text) - n_tokens, (n_rows, 1), generator=gen)
    return text[start + torch.arange(n_tokens + 1)]


def train(scheme: str, seed: int, n_steps: int) -> Decoder:
    """AdamW, warm-up 20, cosine to 0, 32 windows of TRAIN_LEN bytes a step."""
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    model, text = Decoder(scheme), ticket_stream(2_000_000, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.01)
    for step in range(n_steps):
        share = min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / n_steps)) / 2
        optimizer.param_groups[0]["lr"] = 3e-3 * share
        rows = windows(text, 32, TRAIN_LEN, gen)
        logits = model(rows[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@torch.no_grad()
def loss_by_position(model: Decoder, n_rows: int) -> list[float]:
    """Mean loss in nats per byte, one number per BUCKET positions of TEST_LEN."""
    gen = torch.Generator().manual_seed(999)
    rows = windows(ticket_stream(500_000, seed=1), n_rows, TEST_LEN, gen)
    total = torch.zeros(TEST_LEN)
    for part in rows.split(64):
        logits = model(part[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="none")
        total += loss.view(len(part), TEST_LEN).sum(0)
    return [round(v, 4) for v in (total / n_rows).view(-1, BUCKET).mean(1).tolist()]


def main() -> None:
    """Run every scheme and seed, write the JSON beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(loss_by_position(train("alibi", seed=0, n_steps=5), n_rows=8)))
        return
    rows = []
    for seed in range(3):
        for scheme in SCHEMES:
            start = time.process_time()
            losses = loss_by_position(train(scheme, seed, n_steps=2500), n_rows=512)
            rows.append({"scheme": scheme, "seed": seed, "loss": losses})
            print(f"{scheme:10} {seed} {time.process_time() - start:4.0f} s", losses, flush=True)
    result = {
        "unit": "nats per byte",
        "train_len": TRAIN_LEN,
        "test_len": TEST_LEN,
        "bucket": BUCKET,
        "steps": 2500,
        "torch": torch.__version__.split("+")[0],
        "machine": "CPU, one thread",
        "rows": rows,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
