"""DPO, PPO and GRPO on one task from one assistant, with the same number of answers to learn from.

The task is `polite_and_right`: the assistant knows the facts and opens politely in three of ten
answers. PPO and GRPO get it as a reward for answers they sample; DPO gets pairs of written answers
that say the same. An answer counts once, so a pair counts two. DPO samples nothing and is faster,
so it goes on for half as long again. Each run is measured along the way on questions not trained
on; this is not in its time. Settings are the package's defaults: those of PPO and GRPO were chosen
by a few trials on seeds 100 to 102, not all settings on all three, those of DPO in `dpo_runs.py`;
the runs here are on other seeds. Writes
`preference_methods.json`. What it does not show: which method is best for a large model, or where
no program can judge.

    python book/experiments/preference_methods.py            # about six minutes
    python book/experiments/preference_methods.py --smallest # two rounds of each, prints a row
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch
from tqdm import tqdm

from glassbox import assistant
from glassbox.models import GPT
from glassbox.preference import dpo, pairs
from glassbox.reinforce import assess, grpo, polite_and_right, ppo
from glassbox.telecom.questions import questions

SEEDS = range(300, 305)
ANSWERS = {"DPO": 1_152, "PPO": 768, "GRPO": 768}  # that a run learns from
A_ROUND = 64  # sampled by PPO and GRPO for a round
PAIRS_A_STEP = 16
EVERY = 384  # answers between two measurements
SPLIT = questions(seed=0)


def run(method: str, seed: int, answers: int | None = None, every: int = EVERY,
        n_asked: int = 96) -> list[dict]:  # fmt: skip
    """One run of a method -> a row for each measurement, the first before any training."""
    policy, reference = assistant.tuned(), assistant.tuned()
    rows, spent, began = [], 0.0, 0.0

    def measure(n: int) -> None:
        nonlocal spent, began
        spent += time.process_time() - began
        if n % every == 0:
            generator = torch.Generator().manual_seed(10_000 * seed + n)
            found = assess(policy, reference, SPLIT.pairs[:n_asked], generator=generator,
                           n_per_prompt=2)  # fmt: skip
            rows.append({"method": method, "seed": seed, "answers": n, "seconds": round(spent, 1),
                         **{name: round(value, 4) for name, value in found.items()}})  # fmt: skip
        began = time.process_time()

    began = time.process_time()
    measure(0)
    train(method, policy, reference, seed, answers or ANSWERS[method], measure)
    return rows


def train(method: str, policy: GPT, reference: GPT, seed: int, answers: int,
          measure: Callable[[int], None]) -> None:  # fmt: skip
    """Let the policy learn from so many answers; `measure(n)` is called after the first n."""
    if method == "DPO":
        step = 2 * PAIRS_A_STEP
        dpo(policy, reference, pairs(), steps=answers // step, rows_per_step=PAIRS_A_STEP,
            seed=seed, on_step=lambda at, _: measure(step * (at + 1)))  # fmt: skip
        return
    shape = (A_ROUND, 1) if method == "PPO" else (A_ROUND // 8, 8)
    {"PPO": ppo, "GRPO": grpo}[method](
        policy, reference, SPLIT.train, polite_and_right, iterations=answers // A_ROUND,
        n_prompts=shape[0], n_per_prompt=shape[1], seed=seed,
        on_iteration=lambda at, _: measure(A_ROUND * (at + 1)),
    )  # fmt: skip


def main() -> None:
    """Run all and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        for method in ANSWERS:
            print(json.dumps(run(method, 100, 128, 128, n_asked=8)[-1]))
        return
    rows = [row for seed in tqdm(SEEDS) for method in ANSWERS for row in run(method, seed)]
    record = {
        "task": "polite_and_right",
        "unit": "nats per answer",
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "n_asked": 2 * len(SPLIT.pairs),
        "seeds": list(SEEDS),
        "methods": list(ANSWERS),
        "rows": rows,
    }
    text = json.dumps(record, indent=1)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
