"""Train the lab's micro model from five seeds and write down how far each came.

    python solutions/lab05_pretraining/five_seeds.py

Runs the lab's own training cell with the course's solution (about half a minute a seed on one
thread) and writes `five_seeds.json` beside this file: the threshold of the lab must hold in all of
them. The lab's text names the worst and the best; a test compares.
"""

import json
import time
from pathlib import Path
from typing import Any

from autograder.course import Course
from autograder.lab import namespace, read_lab

FILE = Path(__file__).with_suffix(".json")
N_SEEDS = 5


def definitions() -> dict[str, Any]:
    """The names that the lab's training cell defines before it trains."""
    lab = read_lab(Course(Path(__file__).parents[2]), "lab05_pretraining")
    names = namespace(lab)
    cell = next(c.source for c in lab.notebook.cells if "class LabAdamW" in c.source)
    exec(compile(cell.split("base, losses = ")[0], "the training cell", "exec"), names)
    return names


def main() -> None:
    """Train, print and write."""
    names, rows = definitions(), []
    for seed in range(N_SEEDS):
        begun = time.process_time()
        model, optimizer, generator = names["new_run"](seed)
        losses = names["run_steps"](model, optimizer, generator, range(320))
        seconds = time.process_time() - begun
        loss_sum, n_targets = names["evaluate"](model, names["held_out"])
        rows.append({"seed": seed, "first": round(losses[0], 3), "last": round(losses[-1], 3),
                     "held_out": round(loss_sum / n_targets, 3),
                     "cpu_seconds": round(seconds, 1)})  # fmt: skip
        print(rows[-1], flush=True)
    FILE.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
