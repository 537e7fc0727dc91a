"""Improve the assistant by PPO and by GRPO from five seeds, and let it hack a careless reward.

    python solutions/lab09_ppo/five_seeds.py

Runs the lab's own cells with the course's solution and writes `five_seeds.json` beside this file.
A seed draws the questions and the answers of a run, and the answers that measure it; the assistant
is the shipped one. In each seed the reward must come from about 0.3 to above 0.8 at a KL below 1
nat, and the run without a price for the KL must be called hacked. The lab's text names the
figures; a test compares.
"""

import json
import time
from pathlib import Path
from typing import Any

import torch

from autograder.course import Course
from autograder.lab import namespace, read_lab

FILE = Path(__file__).with_suffix(".json")
SEEDS = range(1, 6)  # the lab's own run has seed 0


def definitions() -> dict[str, Any]:
    """The names that the lab's training cells define before they train."""
    lab = read_lab(Course(Path(__file__).parents[2]), "lab09_ppo")
    names = namespace(lab)
    for mark, end in (("def improve(", "\nruns, start ="), ("CARELESS = ", "\ntry:")):
        cell = next(c.source for c in lab.notebook.cells if mark in c.source)
        exec(compile(cell.split(end)[0], mark, "exec"), names)
    return names


def measured(names: dict[str, Any], policy: Any, seed: int) -> dict[str, float]:
    """What `assess` says of two sampled answers to each held-out question."""
    generator = torch.Generator().manual_seed(seed)
    found = names["assess"](policy, names["reference"], names["data"].pairs, generator=generator,
                            n_per_prompt=2)  # fmt: skip
    return {name: round(value, 4) for name, value in found.items()}


def hacked(names: dict[str, Any], seed: int) -> dict[str, Any]:
    """What the detector says of a careless run, and where proxy and gold began and ended."""
    _, told = names["improve"](names["grpo"], names["proxy"], seed=seed,
                               rounds=names["HACKING_ROUNDS"], kl_weight=0.0,
                               **names["CARELESS"])  # fmt: skip
    proxy, gold, kl = (torch.tensor([row[key] for row in told]) for key in ("reward", "gold", "kl"))
    found = names["detect_reward_hacking"](proxy, gold, kl)
    ends = {name: [round(part.mean().item(), 3) for part in (x[:2], x[-2:])]
            for name, x in (("proxy", proxy), ("gold", gold), ("kl", kl))}  # fmt: skip
    return found | {"kl_at_step": round(found["kl"], 3)} | ends


def one(seed: int, names: dict[str, Any]) -> dict[str, Any]:
    """Both methods and a careless run from one seed."""
    row: dict[str, Any] = {"seed": seed, "before": measured(names, names["reference"], seed)}
    for name in ("ppo", "grpo"):
        begun = time.process_time()
        policy, _ = names["improve"](names[name], seed=seed)
        row[f"{name}_cpu_seconds"] = round(time.process_time() - begun, 1)
        row[name] = measured(names, policy, seed)
    row["hacking"] = hacked(names, seed)
    return row


def main() -> None:
    """Run all seeds, print and write."""
    torch.set_num_threads(1)
    names, rows = definitions(), []
    for seed in SEEDS:
        rows.append(one(seed, names))
        print(rows[-1], flush=True)
        FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
