"""What full fine-tuning changes in the base model's matrices, and how low the rank of it is.

The base model is fine-tuned once on the customers' questions, all weights free. Of each linear map
we keep the singular values of its change, and for comparison those of normal noise of the same
shape. Then all sixteen changes are replaced by their best approximations of rank r, and the model
is asked the held-out questions again. Table, positions and norms stay as they were fine-tuned.
Writes `weight_change.json`, which the explorer "lora" shows. What it does not show: what a LoRA
run of rank r would learn, since it may find another change, and how large models change.

    python book/experiments/weight_change.py            # a minute or two
    python book/experiments/weight_change.py --smallest # a few steps, prints its scores
"""

import argparse
import copy
import json
from pathlib import Path

import torch
from torch import Tensor

from glassbox import assistant
from glassbox.models import GPT
from glassbox.telecom.questions import questions

MAPS = ("qkv", "out", "ff_in", "ff_out")
RANKS = (0, 1, 2, 4, 8, 16, 32, 96)  # 0: the linear maps of the base model, 96: nothing is cut
STEPS, ROWS, RATE = 280, 16, 2e-3
SPLIT = questions(seed=0)


def linear_maps(model: GPT) -> dict[str, Tensor]:
    """The sixteen matrices (out, in) by layer and name."""
    return {
        f"{layer}.{name}": getattr(block, name).weight
        for layer, block in enumerate(model.blocks, start=1)
        for name in MAPS
    }


def spectrum(change: Tensor) -> list[float]:
    """Singular values from the largest down, in four digits."""
    return [float(f"{value:.4g}") for value in torch.linalg.svdvals(change.double()).tolist()]


def noise() -> dict[str, list[float]]:
    """For each map the singular values of normal noise of its shape, of length 1 in all."""
    gen = torch.Generator().manual_seed(0)
    found = {}
    for name in MAPS:
        shape = linear_maps(assistant.base())[f"1.{name}"].shape
        drawn = torch.randn(shape, generator=gen)
        found[name] = spectrum(drawn / drawn.norm())
    return found


@torch.no_grad()
def cut(base: GPT, tuned: GPT, rank: int) -> GPT:
    """The tuned model, whose maps keep of their change the `rank` largest directions."""
    model = copy.deepcopy(tuned)
    before = linear_maps(base)
    for name, weight in linear_maps(model).items():
        change = (weight - before[name]).double()
        left, values, right = torch.linalg.svd(change, full_matrices=False)
        values[rank:] = 0
        weight.copy_(before[name] + (left * values @ right).float())
    return model


def measure(n_steps: int = STEPS, ranks: tuple[int, ...] = RANKS, n_asked: int = 96) -> dict:
    """One run: spectra of the changes, and scores by rank."""
    base, tuned = assistant.base(), assistant.base()
    assistant.finetune(tuned, assistant.rows(SPLIT.train), n_steps, RATE, ROWS)
    asked, before, after = SPLIT.pairs[:n_asked], linear_maps(base), linear_maps(tuned)
    return {
        "setting": f"{n_steps} steps of {ROWS} rows, rate {RATE}, all weights",
        "before": assistant.score(base, asked),
        "ranks": [{"rank": r, **assistant.score(cut(base, tuned, r), asked)} for r in ranks],
        "matrices": {
            name: {
                "shape": list(before[name].shape),
                "weight": round(before[name].norm().item(), 4),
                "values": spectrum((after[name] - before[name]).detach()),
            }
            for name in before
        },
        "noise": noise(),
    }


def main() -> None:
    """Measure and write, or run the smallest case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(measure(3, ranks=(0, 96), n_asked=8)["ranks"])
        return
    text = json.dumps(measure()).replace('}, "', '},\n"').replace('}, {"', '},\n{"')
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
