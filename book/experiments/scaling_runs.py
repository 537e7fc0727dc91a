"""Train small byte-level decoders of several sizes on several amounts of text: a scaling study.

Every size is trained anew for every number of tokens, one pass, with its own schedule, because a
run that was stopped early is not a short run (Hoffmann 2203.15556, section 3.1). The text is
made up: independent tickets of a telecom network. A ticket names a site, and each site always has
the same fault and the same team; a few sites come up often, most rarely. So there are as many
facts to learn as a model has tokens to see and parameters to keep, and because the recipe of the
text is known, the loss of a perfect model can be computed (`best_loss`). Writes
`scaling_runs.json`, which chapter 2 fits. What it does not show: natural text, sizes of practice,
or the best learning rate of every single run: one rule by width serves all.

    python book/experiments/scaling_runs.py            # 50 runs, 12 minutes; goes on if stopped
    python book/experiments/scaling_runs.py --smallest # one short run, prints its row
"""

import argparse
import json
import math
import random
import time
from functools import cache
from itertools import accumulate
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from glassbox import counting

WIDTHS = (8, 16, 32, 48, 64)
TOKENS = (131_072, 262_144, 524_288, 1_048_576, 2_097_152)
SEEDS = (0, 1)
N_LAYERS, N_ROWS, N_TOKENS = 2, 32, 64  # a step is 2,048 tokens
N_SITES = 5000
FAULTS = ["fibre cut", "power loss", "rain fade", "card fault", "bad config", "no backhaul",
          "high load", "door open", "low battery", "clock drift", "fan stop", "theft"]  # fmt: skip
SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]


@cache
def sites() -> list[str]:
    """Every ticket there is, the most frequent site first: a name, its fault, its team."""
    rng, names = random.Random(7), {}
    while len(names) < N_SITES:
        names["".join(rng.choices(SYLLABLES, k=3))] = None
    return [f"{name}: {rng.choice(FAULTS)}, team {rng.randint(10, 99)}\n" for name in names]


def weights() -> list[float]:
    """How often each site comes up: the r-th in proportion to 1 / r (Zipf)."""
    return [1 / rank for rank in range(1, N_SITES + 1)]


def rows(n_rows: int, rng: random.Random) -> Tensor:
    """Tickets drawn one by one and joined; every row begins with a ticket -> (n_rows, T + 1)."""
    many = rng.choices(sites(), cum_weights=list(accumulate(weights())), k=n_rows * 4)
    texts = ("".join(many[4 * i : 4 * i + 4]) for i in range(n_rows))
    return torch.tensor([list(text.encode()[: N_TOKENS + 1]) for text in texts])


@cache
def _prefixes() -> dict[str, float]:
    """Weight of all tickets that begin with a text, for every text that begins one."""
    table: dict[str, float] = {}
    for ticket, weight in zip(sites(), weights(), strict=True):
        for end in range(len(ticket) + 1):
            table[ticket[:end]] = table.get(ticket[:end], 0.0) + weight
    return table


def best_loss(ids: Tensor) -> float:
    """Nats per byte of whoever knows the recipe of the text: no model can do better on average."""
    table, total, n = _prefixes(), 0.0, 0
    for row in ids.tolist():
        seen = ""
        for at, byte in enumerate(row):
            longer = seen + chr(byte)
            if at:  # the first byte is given, not predicted
                total, n = total - math.log(table[longer] / table[seen]), n + 1
            seen = "" if longer.endswith("\n") else longer
    return total / n


class Block(nn.Module):
    """Pre-norm attention and feed-forward, as in GPT-2."""

    def __init__(self, width: int) -> None:
        """Heads of 8 to 16 numbers each."""
        super().__init__()
        self.n_heads = max(1, width // 16)
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.ffn = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (B, T, C)."""
        packed = self.qkv(self.norms[0](x)).unflatten(-1, (3, self.n_heads, -1))
        q, k, v = packed.permute(2, 0, 3, 1, 4)  # (B, H, T, D)
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).flatten(2))
        return x + self.ffn(self.norms[1](x))


class Decoder(nn.Module):
    """A GPT over bytes; its output matrix is its token table."""

    def __init__(self, width: int) -> None:
        """Two blocks, whatever the width."""
        super().__init__()
        self.token = nn.Embedding(256, width)
        self.position = nn.Embedding(N_TOKENS, width)
        for table in (self.token, self.position):
            nn.init.normal_(table.weight, std=width**-0.5)
        self.blocks = nn.ModuleList(Block(width) for _ in range(N_LAYERS))
        self.norm = nn.LayerNorm(width)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> logits (B, T, 256)."""
        x = self.token(ids) + self.position.weight[: ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.norm(x) @ self.token.weight.T


def shape(width: int) -> counting.Model:
    """The same decoder for the counting functions."""
    return counting.Model(f"C {width}", "gpt2", N_LAYERS, width, max(1, width // 16), 256, N_TOKENS)


def train(width: int, n_tokens: int, seed: int) -> Decoder:
    """AdamW, warm-up over 5 % of the steps, cosine to 0; the wider, the smaller the rate."""
    torch.manual_seed(seed)
    model, rng = Decoder(width), random.Random(1000 + seed)
    # of a few tried: half of it was worse at widths 8, 16, 32 and 64, double at 8 and 16
    peak = 0.024 * (32 / width) ** 0.5
    optimizer = torch.optim.AdamW(model.parameters(), lr=peak, betas=(0.9, 0.95), weight_decay=0.01)
    n_steps = n_tokens // (N_ROWS * N_TOKENS)
    for step in range(n_steps):
        share = min((step + 1) / (0.05 * n_steps), (1 + math.cos(math.pi * step / n_steps)) / 2)
        optimizer.param_groups[0]["lr"] = peak * share
        ids = rows(N_ROWS, rng)
        loss = F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model


@cache
def held_out(n_rows: int = 2048) -> Tensor:
    """Rows that no run is trained on."""
    return rows(n_rows, random.Random(1))


@torch.no_grad()
def loss_of(model: Decoder, ids: Tensor) -> float:
    """Mean loss in nats per byte."""
    parts = [F.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten()) * len(part)
             for part in ids.split(256)]  # fmt: skip
    return sum(parts).item() / len(ids)


def run(width: int, n_tokens: int, seed: int) -> dict[str, float]:
    """One row of the data file."""
    start = time.process_time()
    loss = loss_of(train(width, n_tokens, seed), held_out())
    model = shape(width)
    return {
        "d_model": width,
        "n_params": counting.count(model)["total"],
        "tokens": n_tokens,
        "flops": 3 * counting.forward_flops(model, 1, N_TOKENS) // N_TOKENS * n_tokens,
        "seed": seed,
        "loss": round(loss, 4),
        "seconds": round(time.process_time() - start, 1),
    }


def main() -> None:
    """Run what the data file lacks; it is written after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(run(8, 16_384, 0)))
        return
    path = Path(__file__).with_suffix(".json")
    about = {
        "unit": "nats per byte",
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "n_layers": N_LAYERS,
        "context_len": N_TOKENS,
        "best_loss": round(best_loss(held_out()), 4),
    }
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = done.pop("rows", [])
    if done != about:
        kept = []  # of another recipe
    have = {(row["d_model"], row["tokens"], row["seed"]) for row in kept}
    grid = [(w, n, seed) for seed in SEEDS for n in TOKENS for w in WIDTHS]
    for job in tqdm([job for job in grid if job not in have], unit="run"):
        kept.append(run(*job))
        kept.sort(key=lambda row: (row["d_model"], row["tokens"], row["seed"]))
        path.write_text(json.dumps(about | {"rows": kept}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
