"""Fine-tune the course's base from five seeds and write down what each learned and forgot.

    python solutions/lab06_sft/five_seeds.py

Runs the lab's own training cells with the course's solution and writes `five_seeds.json` beside
this file. A seed draws the split of the questions, the order of the rows and the mix; the base
model is the shipped one. The threshold of the lab must hold in all of them, and replay must lower
what is forgotten. The lab's text names the worst and the best; a test compares.
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
N_SEEDS = 5


def definitions() -> dict[str, Any]:
    """The names that the lab's cells define before they train."""
    lab = read_lab(Course(Path(__file__).parents[2]), "lab06_sft")
    names = namespace(lab) | {"course": assistant.tokenizer()}
    for mark, end in (("def example_of(", "\ntry:"), ("def train(", "\ntuned, before, after =")):
        cell = next(c.source for c in lab.notebook.cells if mark in c.source)
        exec(compile(cell.split(end)[0], mark, "exec"), names)
    return names


def run(names: dict[str, Any], seed: int) -> dict[str, Any]:
    """One seed: before, after answers alone, after answers with replay."""
    asked, begun = questions(seed), time.process_time()
    rows = names["rows_of"](asked.train)
    found = {"before": names["measure"](assistant.base(), asked.pairs)}
    generator = torch.Generator().manual_seed(seed)
    mix = names["replay_mix"](rows, names["old_texts"], names["SHARE"], generator)
    for name, examples, steps in (("after", rows, names["STEPS"]),
                                  ("with_replay", mix, names["MIX_STEPS"])):  # fmt: skip
        model = assistant.base()
        names["train"](model, examples, steps=steps, seed=seed)
        found[name] = names["measure"](model, asked.pairs)
        lost = names["forgetting_score"](found["before"], found[name])
        found["forgotten" if name == "after" else "forgotten_with_replay"] = lost["next words"]
    rounded = {
        name: round(value, 3) if isinstance(value, float)
        else {key.replace(" ", "_"): round(share, 3) for key, share in value.items()}
        for name, value in found.items()
    }  # fmt: skip
    return {"seed": seed} | rounded | {"cpu_seconds": round(time.process_time() - begun, 1)}


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
