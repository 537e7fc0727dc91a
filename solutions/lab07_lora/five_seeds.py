"""Train all weights, and LoRA, from five seeds, and write down how far each came.

    python solutions/lab07_lora/five_seeds.py

A seed changes A's first values, the split of the questions and the order of training; the base
model is the shipped one. Both train by the lab's own cell, with the course's solution, on the same
answers and for as many steps; full training at the rate of lab 6.
Writes `five_seeds.json` beside this file: in each seed LoRA must come within 0.05 of full training
at 5 % of the weights or less. The lab's text names the ranges; a test compares.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from autograder.course import Course
from autograder.lab import namespace, read_lab
from glassbox import assistant
from glassbox.telecom.questions import questions

FILE = Path(__file__).with_suffix(".json")
N_SEEDS, FULL_RATE = 5, 2e-3


def definitions() -> dict[str, Any]:
    """The names that the lab's training cell defines before it trains."""
    lab = read_lab(Course(Path(__file__).parents[2]), "lab07_lora")
    names = namespace(lab)
    for words in ("LINEAR = (", "def new_lora"):
        cell = next(c.source for c in lab.notebook.cells if words in c.source)
        code = cell.split("data, tuned = ")[0].split("\ntry:")[0]
        exec(compile(code, "a cell of the lab", "exec"), names)
    return names


def measured(model: torch.nn.Module, asked: list) -> dict[str, float]:
    """Format and right on held-out questions, and the loss on base text."""
    found = assistant.score(model, asked) | {"base_loss": assistant.held_out_loss(model)}
    return {name: round(value, 4) for name, value in found.items()}


def one(seed: int, names: dict[str, Any]) -> dict[str, Any]:
    """Both ways of training from one seed."""
    data, begun = questions(seed), time.process_time()
    full = assistant.base()
    names["tune"](full, data.train, seed, FULL_RATE, names["STEPS"])
    between = time.process_time()
    tuned = names["new_lora"](seed)
    names["tune"](tuned, data.train, seed, names["RATE"], names["STEPS"])
    ended = time.process_time()
    trained, total = names["trainable_share"](tuned)
    return {"seed": seed, "full": measured(full, data.pairs), "lora": measured(tuned, data.pairs),
            "trained": trained, "total": total,
            "cpu_seconds": [round(between - begun, 1), round(ended - between, 1)]}  # fmt: skip


def main() -> None:
    """Train, print and write."""
    torch.set_num_threads(1)
    names, rows = definitions(), []
    found = {"base": measured(assistant.base(), questions(0).pairs), "steps": names["STEPS"],
             "runs": rows}  # fmt: skip
    for seed in range(N_SEEDS):
        rows.append(one(seed, names))
        print(rows[-1], flush=True)
        FILE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
