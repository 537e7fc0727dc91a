"""Fine-tune the base model in ten ways on one task: how good, how much trained, how much forgotten?

All weights; LoRA of four ranks, on a base in 4 bits, on queries and values alone; adapters in a row
with the maps; a learned prefix and a learned prompt. All get the same questions, steps and batches,
each a rate of its own. Writes `peft_methods.json`, which chapter 4 shows. What it
does not show: large models, for which prompts are said to do better, and the best rank or width.

    python book/experiments/peft_methods.py            # a quarter of an hour; goes on if stopped
    python book/experiments/peft_methods.py --smallest # a few steps of each, prints its rows
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from tqdm import tqdm

from glassbox import assistant
from glassbox.models import GPT, Cache, count
from glassbox.telecom.questions import questions

STEPS, ROWS, SEEDS = 200, 32, (0, 1)
MAPS = ("qkv", "out", "ff_in", "ff_out")


# --- what is added -----------------------------------------------------------------------------


class Thin(nn.Module):
    """A weight is seen with the product of two thin matrices on top of it."""

    def __init__(self, weight: Tensor, rank: int, strength: float) -> None:
        super().__init__()
        wide, tall = weight.shape[1], weight.shape[0]
        self.read = nn.Parameter(torch.randn(rank, wide) / wide**0.5)
        self.write = nn.Parameter(torch.zeros(tall, rank))
        self.strength = strength / rank

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)"""
        return torch.addmm(weight, self.write, self.read, alpha=self.strength)


class QueriesAndValues(Thin):
    """The same for the joint map of queries, keys and values, whose keys stay as they are."""

    def __init__(self, weight: Tensor, rank: int, strength: float) -> None:
        super().__init__(weight[: 2 * weight.shape[1]], rank, strength)

    def forward(self, weight: Tensor) -> Tensor:
        """(3 C, C) -> (3 C, C)"""
        queries, keys, values = weight.chunk(3)
        queries, values = super().forward(torch.cat([queries, values])).chunk(2)
        return torch.cat([queries, keys, values])


class Narrow(nn.Module):
    """Squeeze to a few numbers, bend, widen again, add: what stands in a row with a map."""

    def __init__(self, wide: int, narrow: int) -> None:
        super().__init__()
        self.squeeze, self.widen = nn.Linear(wide, narrow), nn.Linear(narrow, wide)
        nn.init.zeros_(self.widen.weight)
        nn.init.zeros_(self.widen.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C)"""
        return x + self.widen(nn.functional.gelu(self.squeeze(x)))


class Prompted(GPT):
    """A GPT that reads learned vectors in front of every text, which moves up by as many places."""

    n_vectors = 16

    def add(self) -> None:
        """Begin with the vectors of tokens from the middle of the vocabulary."""
        self.vectors = nn.Parameter(self.token.weight[300 : 300 + self.n_vectors].detach().clone())

    def cache(self, batch: int, size: int | None = None) -> Cache:
        """With room for the vectors."""
        return super().cache(batch, (size or self.config.context_len) + self.n_vectors)

    def hidden(self, ids: Tensor, segments: Tensor | None = None,
               cache: Cache | None = None) -> Tensor:  # fmt: skip
        """(B, T) -> (B, T, C): the rows of the text alone."""
        if cache is not None and cache.length:
            return super().hidden(ids, segments, cache)
        n, places = self.n_vectors, torch.zeros(len(ids), self.n_vectors, dtype=ids.dtype)
        swap = self.token.register_forward_hook(
            lambda _, __, rows: torch.cat([self.vectors.expand(len(rows), -1, -1), rows[:, n:]], 1)
        )
        try:
            return super().hidden(torch.cat([places, ids], 1), segments, cache)[:, n:]
        finally:
            swap.remove()


class Prefixed(GPT):
    """A GPT whose cache is never empty: learned keys and values stand in front in every block."""

    n_vectors = 16

    def add(self) -> None:
        """Begin with what the blocks would have cached of as many tokens."""
        with torch.no_grad():
            begun = super().cache(1, self.n_vectors)
            super().hidden(torch.arange(300, 300 + self.n_vectors)[None], cache=begun)
        self.cached = nn.ParameterList(nn.Parameter(layer.clone()) for layer in begun.layers)

    def cache(self, batch: int, size: int | None = None) -> Cache:
        """Filled with the learned part already."""
        n = self.n_vectors
        cache = super().cache(batch, (size or self.config.context_len) + n)
        for i, learned in enumerate(self.cached):
            room = cache.layers[i][:, :, :, n:]
            cache.layers[i] = torch.cat([learned.expand(batch, -1, -1, -1, -1), room], 3)
        cache.length = n
        return cache

    def hidden(self, ids: Tensor, segments: Tensor | None = None,
               cache: Cache | None = None) -> Tensor:  # fmt: skip
        """(B, T) -> (B, T, C)"""
        if cache is None:
            cache = self.cache(*ids.shape)
        return super().hidden(ids, segments, cache)


# --- four bits ---------------------------------------------------------------------------------


def normal_levels(bits: int = 4) -> Tensor:
    """NF4 for 4 bits: equal steps of probability, half a step from both ends, 0 among them."""
    half, normal = 2 ** (bits - 1), NormalDist()
    end = 1 - (1 / (4 * half - 2) + 1 / (4 * half)) / 2
    found = [normal.inv_cdf(0.5 + (end - 0.5) * i / half) for i in range(half + 1)]
    found += [-normal.inv_cdf(0.5 + (end - 0.5) * i / (half - 1)) for i in range(1, half)]
    return torch.tensor(sorted(found)) / max(found)


def rounded(weight: Tensor, levels: Tensor, block: int = 64) -> Tensor:
    """What comes back of a weight that was stored as levels times the largest of its block."""
    blocks = weight.view(-1, block)
    largest = blocks.abs().amax(1, keepdim=True)
    between = (levels[1:] + levels[:-1]) / 2
    return (levels[torch.bucketize(blocks / largest, between)] * largest).view_as(weight)


# --- the methods -------------------------------------------------------------------------------


def maps_of(model: GPT) -> Iterator[nn.Linear]:
    """The linear maps of all blocks."""
    return (getattr(block, name) for block in model.blocks for name in MAPS)


def everything(model: GPT) -> GPT:
    """Full fine-tuning."""
    return model.requires_grad_(True)


def thin(model: GPT, rank: int) -> GPT:
    """LoRA on every map of the blocks, alpha four times the rank."""
    for each in maps_of(model):
        parametrize.register_parametrization(each, "weight", Thin(each.weight, rank, 4 * rank))
    return model


def thin_queries_values(model: GPT, rank: int) -> GPT:
    """LoRA on queries and values; one pair for both, since one matrix makes them."""
    for each in (block.qkv for block in model.blocks):
        pair = QueriesAndValues(each.weight, rank, 4 * rank)
        parametrize.register_parametrization(each, "weight", pair)
    return model


def thin_on_four_bits(model: GPT, rank: int) -> GPT:
    """QLoRA: the maps are rounded to NF4 once and for all, then as above."""
    with torch.no_grad():
        for each in maps_of(model):
            each.weight.copy_(rounded(each.weight, normal_levels()))
    return thin(model, rank)


def in_a_row(model: GPT, narrow: int) -> GPT:
    """An adapter behind attention and one behind the feed-forward layer of every block."""
    for each in (getattr(block, name) for block in model.blocks for name in ("out", "ff_out")):
        added = Narrow(model.config.d_model, narrow)
        each.add_module("adapter", added)
        each.register_forward_hook(lambda _, __, y, added=added: added(y))
    return model


def in_front(model: GPT, kind: type[GPT]) -> GPT:
    """A prompt or a prefix of 16 vectors."""
    longer = kind(model.config)
    longer.load_state_dict(model.state_dict())
    longer.requires_grad_(False)
    longer.add()
    return longer


@dataclass(frozen=True)
class Method:
    """A name for tables, what is added to the base, and the rate, found by trial on seed 100."""

    name: str
    change: Callable[[GPT], GPT]
    rate: float
    four_bits: bool = False


METHODS = (
    Method("full", everything, 2e-3),
    *(Method(f"LoRA, rank {r}", partial(thin, rank=r), 1e-2) for r in (1, 2, 4, 8)),
    Method("LoRA, rank 8, q and v", partial(thin_queries_values, rank=8), 1e-2),
    Method("QLoRA, rank 8", partial(thin_on_four_bits, rank=8), 1e-2, four_bits=True),
    Method("adapter, 16 wide", partial(in_a_row, narrow=16), 2e-2),
    Method("prefix, 16 vectors", partial(in_front, kind=Prefixed), 2e-1),
    Method("prompt, 16 vectors", partial(in_front, kind=Prompted), 3e-1),
)


def prepared(method: Method, seed: int = 0) -> GPT:
    """The base model with what the method adds; only that wants a gradient."""
    torch.manual_seed(seed)
    return method.change(assistant.base().requires_grad_(False))


# --- what is measured --------------------------------------------------------------------------


def bytes_of_a_step(model: GPT, rows: list) -> dict[str, int]:
    """What one step holds beside the weights: gradients, AdamW's notes, activations.

    Activations are all tensors that the backward pass comes back for, each counted once; weights
    that it comes back for are not among them, since they are there anyway.
    """
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    inputs, targets = assistant.batch(rows[:ROWS], model.config.context_len)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.loss(inputs, targets)
    loss.backward()
    optimizer.step()
    states = [s for state in optimizer.state.values() for s in state.values()]
    return {"gradients": sum(p.grad.nbytes for p in trained),
            "optimizer": sum(s.nbytes for s in states if s.numel() > 1),
            "activations": sum(kept.values())}  # fmt: skip


def base_bytes(method: Method, model: GPT) -> int:
    """Of the weights that are not trained, in 32 bits or with the maps in 4.127."""
    frozen = sum(p.numel() for p in model.parameters() if not p.requires_grad)
    if not method.four_bits:
        return 4 * frozen
    in_maps = sum(each.parametrizations.weight.original.numel() for each in maps_of(model))
    return round(4 * (frozen - in_maps) + in_maps * (4 + 8 / 64 + 32 / (64 * 256)) / 8)


def run(method: Method, seed: int, n_steps: int = STEPS,
        n_asked: int | None = None) -> dict[str, object]:  # fmt: skip
    """One row of the data file."""
    split, began = questions(seed), time.process_time()
    rows = assistant.rows(split.train)
    model = prepared(method, seed)
    n_trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    row = {"method": method.name, "seed": seed, "rate": method.rate, "trained": n_trained,
           "share": round(n_trained / count(model), 4), "frozen_bytes": base_bytes(method, model),
           **bytes_of_a_step(prepared(method, seed), rows)}  # fmt: skip
    losses = assistant.finetune(model, rows, n_steps, method.rate, ROWS, seed=seed)
    row["loss"] = round(sum(losses[-20:]) / len(losses[-20:]), 3)
    for name in ("pairs", "phrasings"):
        found = assistant.score(model, getattr(split, name)[:n_asked])
        row[name] = {key: round(value, 3) for key, value in found.items()}
    row["held_out_loss"] = round(assistant.held_out_loss(model), 3)
    return row | {"seconds": round(time.process_time() - began, 1)}


def main() -> None:
    """Run what the data file lacks; it is written after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        for method in METHODS:
            print(json.dumps(run(method, 0, 3, 4)))
        return
    path, base = Path(__file__).with_suffix(".json"), assistant.base()
    about = {"unit": "nats per token", "steps": STEPS, "rows_per_step": ROWS,
             "n_params": count(base), "torch": torch.__version__.split("+")[0],
             "base_held_out_loss": round(assistant.held_out_loss(base), 3)}  # fmt: skip
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    rows = old["rows"] if old and all(old[key] == about[key] for key in about) else []
    there = {(row["method"], row["seed"]) for row in rows}
    plan = [(m, seed) for seed in SEEDS for m in METHODS if (m.name, seed) not in there]
    for method, seed in tqdm(plan):
        rows.append(run(method, seed))
        text = json.dumps(about | {"rows": rows})
        path.write_text(text.replace('{"method', '\n{"method') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
