"""Tune the assistant's manners from five fresh seeds, and write down what it gained and paid.

    python solutions/lab08_dpo/five_seeds.py

Runs the lab's own cells with the course's solution and writes `five_seeds.json` beside this file.
A seed draws the questions of the pairs, the lesser answers, the order of training and the answers
that are measured; the assistant at the start is the shipped one. The settings of DPO were chosen
on other seeds. In each seed there is also a reward model, and a run with twenty times the rate that
goes too far. The lab prints intervals over these runs and its text names some; a test compares.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from autograder.course import Course
from autograder.lab import namespace, read_lab
from glassbox import assistant, preference
from glassbox.telecom.questions import POLITE, fact, questions
from glassbox.tokenizer import tokenizer

FILE = Path(__file__).with_suffix(".json")
N_SEEDS = 5
CELLS = (("def train_reward(", "\nasked = "), ("def run_dpo(", "\npolicy, runs = "),
         ("def pair_logp(", "\ntry:"))  # fmt: skip


def definitions() -> dict[str, Any]:
    """The names that the lab's cells define before they train."""
    lab = read_lab(Course(Path(__file__).parents[2]), "lab08_dpo")
    names = namespace(lab)
    for mark, end in CELLS:
        cell = next(c.source for c in lab.notebook.cells if mark in c.source)
        exec(compile(cell.split(end)[0], mark, "exec"), names)
    return names


def rounded(values: dict[str, float]) -> dict[str, float]:
    """Three digits after the point."""
    return {name: round(value, 3) for name, value in values.items()}


def reward(names: dict[str, Any], seed: int) -> dict[str, float]:
    """A reward model of the pairs: what it thinks of answers to questions that are in none."""
    asked = questions(seed).pairs
    plain = [fact(q.kind, q.key) for q in asked]
    texts = {"plain": plain, "polite": [POLITE + t for t in plain],
             "twice": [f"{t} {t}" for t in plain]}  # fmt: skip
    model = names["train_reward"](seed)
    found = {name: names["scores_of"](model, asked, some) for name, some in texts.items()}
    lengths = torch.tensor([len(tokenizer().encode(t)) for t in plain])
    slope, correlation = names["length_bias"](found["plain"], lengths)
    above = {f"{name} above plain": (found[name] > found["plain"]).double().mean().item()
             for name in ("polite", "twice")}  # fmt: skip
    return rounded(above | {"slope": slope, "correlation": correlation})


def run(names: dict[str, Any], seed: int) -> dict[str, Any]:
    """One seed: DPO, what has moved, and the run that goes too far."""
    begun, asked = time.process_time(), questions(seed).pairs
    start = names["pair_logp"](assistant.tuned(), asked)
    policy, _ = names["run_dpo"](seed)
    found = {"dpo": rounded(names["measured"](policy, seed))}
    found["moved"] = rounded(names["margin_report"](start, names["pair_logp"](policy, asked)))
    far, log = names["run_dpo"](seed, **names["FAR"])
    report = names["margin_report"](start, names["pair_logp"](far, asked))
    right = preference.manners(far, asked, torch.Generator().manual_seed(1))["right"]
    found["too_far"] = rounded(report | {"right": right, "loss": log[-1]["loss"]})
    found["reward"] = reward(names, seed)
    return {"seed": seed, **found, "cpu_seconds": round(time.process_time() - begun, 1)}


def main() -> None:
    """Run all seeds, print and write."""
    torch.set_num_threads(1)
    names, rows = definitions(), []
    for seed in range(N_SEEDS):
        rows.append(run(names, seed))
        print(rows[-1], flush=True)
        FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
