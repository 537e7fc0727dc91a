"""Train the assistant on a reward with a flaw: the reward rises while the answers get worse.

The proxy pays for a polite opening, without a look at the facts, and a little for each word: a
grader that means well and likes long answers. Gold is what we want, `polite_and_right`; it is
measured on the same answers and never trained. GRPO runs once for each strength of the length
bias and each weight of the KL term. Writes `reward_hacking.json`, which chapter 5 and the explorer
"hacking" show. One run of each, at a rate at which the fall takes minutes; it does not
show at which reward a large model begins to cheat.

    python book/experiments/reward_hacking.py            # about three minutes
    python book/experiments/reward_hacking.py --smallest # two rounds, prints its curves
"""

import argparse
import json
from pathlib import Path

import torch
from tqdm import tqdm

from glassbox import assistant
from glassbox.reinforce import grpo, length_biased, opening, polite_and_right, rollout
from glassbox.telecom.questions import questions

KL_WEIGHTS, BIASES = (0.0, 0.1, 0.5), (0.0, 0.02, 0.05)  # bias: reward for each word
ROUNDS, EVERY = 12, 1
RATE = 1e-3  # five times the default
SPLIT = questions(seed=0)
CURVES = {"reward": "proxy", "gold": "gold", "kl": "kl", "length": "length"}


def run(kl_weight: float, bias: float, rounds: int = ROUNDS,
        every: int = EVERY) -> dict[str, list]:  # fmt: skip
    """One run: its curves, means over `every` rounds, and two answers from its end."""
    policy, reference = assistant.tuned(), assistant.tuned()
    told = grpo(policy, reference, SPLIT.train, length_biased(opening, bias), iterations=rounds,
                kl_weight=kl_weight, lr=RATE, gold=polite_and_right)  # fmt: skip
    parts = [told[at : at + every] for at in range(0, rounds, every)]
    found = {ours: [round(sum(v[theirs] for v in part) / len(part), 4) for part in parts]
             for theirs, ours in CURVES.items()}  # fmt: skip
    taken = rollout(policy, SPLIT.pairs[:2], 1, torch.Generator().manual_seed(0))
    return {**found, "texts": taken.texts}


def main() -> None:
    """Run all and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(run(0.0, 0.05, rounds=2, every=1)))
        return
    runs = {(w, b): run(w, b) for w, b in tqdm([(w, b) for w in KL_WEIGHTS for b in BIASES])}
    record = {
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "kl_weights": KL_WEIGHTS,
        "length_bias": BIASES,
        "steps": list(range(EVERY, ROUNDS + 1, EVERY)),
        **{name: [[runs[w, b][name] for b in BIASES] for w in KL_WEIGHTS]
           for name in CURVES.values()},
        "questions": [q.text for q in SPLIT.pairs[:2]],
        "samples": [{"kl_weight": w, "length_bias": b, "texts": found["texts"]}
                    for (w, b), found in runs.items()],
    }  # fmt: skip
    text = json.dumps(record, ensure_ascii=False)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
