"""Measure how the place of the norm changes training, with and without warm-up.

A byte-level decoder of 24 blocks is trained for a few hundred steps of AdamW on made-up tickets,
once per placement (post-norm, pre-norm), warm-up, peak learning rate and seed. Writes
`norm_placement.json`, which chapter 1 plots. What it does not show: other depths, other optimisers,
or which placement is better when both train to the end.

    python book/experiments/norm_placement.py            # 36 runs, about 20 minutes
    python book/experiments/norm_placement.py --smallest # one short run, prints its loss
"""

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

D_MODEL, N_HEADS, N_LAYERS, N_TOKENS, BATCH = 32, 4, 24, 32, 16
WARMUPS, RATES, SEEDS, STEPS = (0, 100), (1e-3, 3e-3, 1e-2), (0, 1, 2), 250
CAUSES = ["fibre cut", "power loss", "rain fade", "card fault", "bad config", "no backhaul"]


def ticket_stream(n_bytes: int, seed: int) -> Tensor:
    """Independent tickets joined to one text -> (n_bytes,) byte values."""
    rng, parts, size = random.Random(seed), [], 0
    while size < n_bytes:
        number = rng.randint(1000, 9999)
        parts.append(f"{number} {rng.choice(CAUSES)}; {number} ok\n")
        size += len(parts[-1])
    return torch.tensor(list("".join(parts).encode()[:n_bytes]))


class Attention(nn.Module):
    """Causal self-attention with biases."""

    def __init__(self) -> None:
        """One packed map for queries, keys and values, one map out."""
        super().__init__()
        self.qkv = nn.Linear(D_MODEL, 3 * D_MODEL)
        self.out = nn.Linear(D_MODEL, D_MODEL)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        n_batch, n_tokens, _ = x.shape
        packed = self.qkv(x).view(n_batch, n_tokens, 3, N_HEADS, D_MODEL // N_HEADS)
        q, k, v = packed.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        return self.out(mixed.transpose(1, 2).reshape(x.shape))


class Decoder(nn.Module):
    """Byte-level decoder; `place` says where its norms stand."""

    def __init__(self, place: str) -> None:
        """Pre-norm has one more norm, behind the last block."""
        super().__init__()
        self.place = place
        self.embed = nn.Embedding(256, D_MODEL)
        self.positions = nn.Parameter(torch.randn(N_TOKENS, D_MODEL) * 0.02)
        nn.init.normal_(self.embed.weight, std=D_MODEL**-0.5)
        self.sublayers = nn.ModuleList()
        for _ in range(N_LAYERS):
            self.sublayers.append(Attention())
            wide = nn.Linear(D_MODEL, 4 * D_MODEL), nn.GELU(), nn.Linear(4 * D_MODEL, D_MODEL)
            self.sublayers.append(nn.Sequential(*wide))
        self.norms = nn.ModuleList(nn.LayerNorm(D_MODEL) for _ in self.sublayers)
        self.last_norm = nn.LayerNorm(D_MODEL) if place == "pre" else nn.Identity()

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> logits (B, T, 256)."""
        x = self.embed(ids) * D_MODEL**0.5 + self.positions
        for norm, sublayer in zip(self.norms, self.sublayers, strict=True):
            x = x + sublayer(norm(x)) if self.place == "pre" else norm(x + sublayer(x))
        return self.last_norm(x) @ self.embed.weight.T


def train(place: str, warmup: int, rate: float, seed: int, steps: int) -> float:
    """Mean loss of the last tenth of the steps, in nats per byte."""
    torch.manual_seed(seed)
    gen = torch.Generator().manual_seed(seed)
    model, text = Decoder(place), ticket_stream(500_000, seed=0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    losses = []
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / max(1, warmup))
        start = torch.randint(len(text) - N_TOKENS, (BATCH, 1), generator=gen)
        rows = text[start + torch.arange(N_TOKENS + 1)]
        loss = F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    last = losses[-max(1, steps // 10) :]
    return round(sum(last) / len(last), 4)


def main() -> None:
    """Run every setting, write the JSON beside this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(train("post", warmup=0, rate=1e-3, seed=0, steps=3))
        return
    rows = []
    for seed in SEEDS:
        for place in ("post", "pre"):
            for warmup in WARMUPS:
                for rate in RATES:
                    start = time.process_time()
                    loss = train(place, warmup, rate, seed, STEPS)
                    rows.append(
                        {"place": place, "warmup": warmup, "rate": rate, "seed": seed, "loss": loss}
                    )
                    print(rows[-1], f"{time.process_time() - start:.0f} s", flush=True)
    result = {
        "unit": "nats per byte",
        "blocks": N_LAYERS,
        "steps": STEPS,
        "torch": torch.__version__.split("+")[0],
        "machine": "CPU, one thread",
        "rows": rows,
    }
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
