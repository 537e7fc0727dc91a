"""Train the tiny model whose attention the reader looks at in the explorer.

Two pre-norm blocks of two heads read made-up fault reports, word by word, and predict the next.
The reports are made so that attention has work to do: after *it* comes what the device does, after
*they* what the person does, and a ticket's number returns when it is closed. So a head has to find
the device, the person or the number. The weights are rounded to bytes and written to
`glassbox/explorers/attention.json`, losses and what the heads do to `tiny_attention.json`. What
this does not show: a large model, real text, or that such clean heads are common.

    python book/experiments/tiny_attention.py            # about 30 s on one thread
    python book/experiments/tiny_attention.py --smallest # a few steps, prints the loss
"""

import argparse
import base64
import json
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

D_MODEL, N_HEADS, N_LAYERS, D_FF, CONTEXT = 32, 2, 2, 64, 24
ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "glassbox" / "explorers" / "attention.json"

DEVICES = {
    "modem": "overheats", "router": "hangs", "antenna": "sways", "battery": "empties",
    "cable": "corrodes", "filter": "clogs",
}  # fmt: skip
PEOPLE = {"customer": "wait", "technician": "travel", "engineer": "measure"}
SYMPTOMS = ["restarts", "fails", "drops", "stops"]
ADJECTIVES = ["old", "new", "small", "outdoor"]
NUMBERS = [str(n) for n in range(10, 30)]
UNKNOWN = "?"
GRAMMAR = ["the", "because", "it", "they", "says", "checks", "calls", "about", "and", "ticket",
           "is", "closed", "with", ".", ","]  # fmt: skip
VOCABULARY = [
    UNKNOWN, *GRAMMAR, *DEVICES, *DEVICES.values(), *PEOPLE, *PEOPLE.values(),
    *SYMPTOMS, *ADJECTIVES, *NUMBERS,
]  # fmt: skip


def report(rng: random.Random) -> list[str]:
    """One sentence of the made-up language, as words."""
    device, person = rng.choice(list(DEVICES)), rng.choice(list(PEOPLE))
    thing = [*rng.choice([[], [], [rng.choice(ADJECTIVES)]]), device]
    event = rng.choice(SYMPTOMS)
    why = rng.choice([["it", DEVICES[device]], ["they", PEOPLE[person]]])
    kind = rng.randrange(5)
    if kind == 0:
        return ["the", *thing, event, "because", "it", DEVICES[device]]
    if kind == 1:
        return ["the", person, "says", "the", *thing, event, "because", *why]
    if kind == 2:
        return ["the", person, "checks", "the", *thing, "because", *why]
    if kind == 3:
        return ["the", person, "calls", "about", "the", *thing, "because", *why]
    number = rng.choice(NUMBERS)
    return ["ticket", number, "the", *thing, event, ",", "ticket", number, "is", "closed"]


def text_rows(n_rows: int, seed: int) -> Tensor:
    """One or two reports a row, some words unknown, padded with -1 -> (n_rows, CONTEXT + 1)."""
    rng, rows = random.Random(seed), torch.full((n_rows, CONTEXT + 1), -1)
    for row in rows:
        words = report(rng)
        if rng.random() < 0.5:
            words = [*words, ".", *report(rng)]
        ids = [VOCABULARY.index(w) if rng.random() > 0.02 else 0 for w in words][: CONTEXT + 1]
        row[: len(ids)] = torch.tensor(ids)
    return rows


class TinyModel(nn.Module):
    """Word-level decoder; every map without bias, RMSNorm without gain, ReLU, tied head."""

    def __init__(self) -> None:
        """One parameter per table or matrix, so that the explorer can read them by name."""
        super().__init__()
        c, f = D_MODEL, D_FF
        shapes = {"embed": (len(VOCABULARY), c), "position": (CONTEXT, c)}
        for layer in range(N_LAYERS):
            shapes |= {f"{m}{layer}": (c, c) for m in ("query", "key", "value", "out")}
            shapes |= {f"up{layer}": (c, f), f"down{layer}": (f, c)}
        self.maps = nn.ParameterDict(
            {
                name: nn.Parameter(torch.randn(shape) * 0.5 * c**-0.5)
                for name, shape in shapes.items()
            }
        )

    def forward(self, ids: Tensor, allowed: Tensor) -> tuple[Tensor, list[Tensor]]:
        """(B, T), bool (T, T) -> logits (B, T, V) and per layer the weights (B, H, T, T)."""
        w, weights = self.maps, []
        x = w["embed"][ids] * 4 + w["position"][: ids.shape[1]] * 4  # (B, T, C)
        for layer in range(N_LAYERS):
            y = norm(x)
            q, k, v = (
                (y @ w[f"{m}{layer}"]).unflatten(-1, (N_HEADS, -1)).transpose(1, 2)
                for m in ("query", "key", "value")
            )  # (B, H, T, D)
            scores = q @ k.mT / math.sqrt(D_MODEL // N_HEADS)  # (B, H, T, T)
            share = scores.masked_fill(~allowed, -math.inf).softmax(dim=-1)
            x = x + (share @ v).transpose(1, 2).flatten(-2) @ w[f"out{layer}"]
            x = x + F.relu(norm(x) @ w[f"up{layer}"]) @ w[f"down{layer}"]
            weights.append(share)
        return norm(x) @ w["embed"].T, weights


def norm(x: Tensor) -> Tensor:
    """RMSNorm over the last axis, same shape."""
    return x * (x.pow(2).mean(dim=-1, keepdim=True) + 1e-6).rsqrt()


def causal(n_tokens: int) -> Tensor:
    """Key at or before query -> bool (T, T)."""
    return torch.ones(n_tokens, n_tokens, dtype=torch.bool).tril()


def loss_of(model: TinyModel, rows: Tensor) -> Tensor:
    """Mean loss per word in nats, padding left out."""
    logits, _ = model(rows[:, :-1].clamp(min=0), causal(CONTEXT))
    return F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), ignore_index=-1)


def train(n_steps: int, seed: int = 0) -> TinyModel:
    """AdamW, warm-up 20, cosine to 0, 64 rows a step."""
    torch.manual_seed(seed)
    model, text = TinyModel(), text_rows(20_000, seed=1)
    optimizer = torch.optim.AdamW(model.parameters(), lr=5e-3, weight_decay=0.05)
    for step in range(n_steps):
        share = min(1.0, (step + 1) / 20) * (1 + math.cos(math.pi * step / n_steps)) / 2
        optimizer.param_groups[0]["lr"] = 5e-3 * share
        loss = loss_of(model, text[torch.randint(len(text), (64,))])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def to_bytes(model: TinyModel) -> dict[str, dict]:
    """Round each matrix to whole numbers from -127 to 127 times one step; changes the model."""
    stored = {}
    for name, weight in model.maps.items():
        step = float(f"{weight.abs().max().item() / 127:.6g}")
        whole = (weight.detach() / step).round()
        weight.data = whole * step
        code = base64.b64encode(whole.to(torch.int8).numpy().tobytes()).decode()
        stored[name] = {"shape": list(weight.shape), "step": step, "bytes": code}
    return stored


@torch.no_grad()
def reading(model: TinyModel, sentence: str, reader: str) -> list[dict]:
    """What each head reads most at the last place of `reader` in the sentence."""
    words = sentence.split()
    ids = torch.tensor([[VOCABULARY.index(w) for w in words]])
    row = len(words) - 1 - words[::-1].index(reader)
    found = []
    for layer, share in enumerate(model(ids, causal(len(words)))[1]):
        for head in range(N_HEADS):
            weight, column = share[0, head, row].max(dim=0)
            found.append({"layer": layer, "head": head, "reads": words[column],
                          "weight": round(weight.item(), 3)})  # fmt: skip
    return found


EXAMPLES = {
    "the customer says the modem restarts because it": "it",
    "the customer says the modem restarts because they": "they",
    "ticket 17 the old router hangs , ticket": "ticket",
}


@torch.no_grad()
def main() -> None:
    """Train, round, write both files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    test = text_rows(2000, seed=2)
    with torch.enable_grad():
        start = time.process_time()
        model = train(20 if parser.parse_args().smallest else 1500)
        seconds = time.process_time() - start
    exact = loss_of(model, test).item()
    if parser.parse_args().smallest:
        print(json.dumps({"loss": round(exact, 4)}))
        return
    stored = to_bytes(model)
    record = {
        "unit": "nats per word",
        "parameters": sum(w.numel() for w in model.parameters()),
        "loss": round(exact, 4),
        "loss_in_bytes": round(loss_of(model, test).item(), 4),
        "seconds": round(seconds),
        "torch": torch.__version__.split("+")[0],
        "machine": "CPU, one thread",
        "heads": {s: reading(model, s, reader) for s, reader in EXAMPLES.items()},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    shape = {"n_layers": N_LAYERS, "n_heads": N_HEADS, "scale": 4}
    data = {**shape, "vocabulary": VOCABULARY, "weights": stored}
    WEIGHTS.write_text(json.dumps(data) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
