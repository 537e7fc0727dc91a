"""DPO from the shipped assistant: what moves at which beta, how it goes wrong, what noise does.

Rates and steps were chosen on the seeds 100 to 102 (kept as "choice"); everything else comes from
five other seeds. A seed changes which questions are trained, the pairs, their order and the chance
of sampling; the assistant they begin with is the shipped one. Answers are drawn at temperature 1
to the 96 questions of the seed's split that no pair has. The log-ratios are means over 32 pairs of
such questions (polite or plain), in nats and without beta, before each step. Beside the
choice: the usual run at several betas, and longer; a run at a higher rate that goes on too long;
swapped labels; the usual run without a reference. Writes `dpo_runs.json` part by part. It does not
say what beta is right for a large model or for people's preferences.

    python book/experiments/dpo_runs.py            # about ten minutes
    python book/experiments/dpo_runs.py over noise # only these parts, the others are kept
    python book/experiments/dpo_runs.py --smallest # two steps, prints what they give
"""

import argparse
import json
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glassbox import assistant
from glassbox.models import GPT
from glassbox.preference import (
    Pair,
    answer_logp,
    dpo,
    drift,
    manners,
    mean_interval,
    pair_batch,
    pairs,
    win_rate,
)
from glassbox.telecom.questions import POLITE, Question, fact, messages, questions

FILE = Path(__file__).with_suffix(".json")
CHOICE_SEEDS, SEEDS = (100, 101, 102), (201, 202, 203, 204, 205)
STEPS, RATE, BETA, SAMPLES = 25, 5e-5, 0.1, 3
RATES, LENGTHS = (2.5e-5, 5e-5, 1e-4), (25, 40)  # tried on the seeds of the choice
BETAS = (0.03, 0.1, 0.5)
OVER_RATE, OVER_LOOKS = 3e-4, (0, 5, 10, 15, 20, 30, 40, 60)
LONG_LOOKS = (25, 50, 80)  # one seed, since it takes three times as long
NOISE = (0.0, 0.1, 0.2, 0.4)


def asked(seed: int) -> list[Question]:
    """The questions that the measures are about: none of them is in a pair of this seed."""
    return questions(seed).pairs


def outcome(model: GPT, seed: int, n_asked: int = 96) -> dict[str, float]:
    """Shares of sampled answers, the win rate against the start, and nats per answer from it."""
    some, start = asked(seed)[:n_asked], assistant.tuned()
    generator = torch.Generator().manual_seed(seed)
    found = manners(model, some, generator, SAMPLES)
    found["win_rate"] = win_rate(model, start, some, generator)
    found["kl"] = drift(model, start, some * 2, generator)
    return {name: round(value, 4) for name, value in found.items()}


class Watch:
    """Notes the mean log-ratios of pairs that are not trained, before each step."""

    def __init__(self, model: GPT, seed: int, n_asked: int = 32) -> None:
        some = [Pair(q, POLITE + fact(q.kind, q.key), fact(q.kind, q.key))
                for q in asked(seed)[:n_asked]]  # fmt: skip
        self.model, self.batch = model, pair_batch(some)
        self.start = self._logps()
        self.ratios: dict[str, list[float]] = {"chosen": [], "rejected": []}
        self.note()

    def _logps(self) -> dict[str, Tensor]:
        with torch.no_grad():
            return {side: answer_logp(self.model, self.batch[f"{side}_ids"],
                                      self.batch[f"{side}_mask"])
                    for side in ("chosen", "rejected")}  # fmt: skip

    def note(self, *_: object) -> None:
        """Called after a step, so it is what the next step begins with."""
        for side, logp in self._logps().items():
            self.ratios[side].append(round((logp - self.start[side]).mean().item(), 3))


@cache
def run(seed: int, n_asked: int = 96, flipped: float = 0.0, looks: tuple[int, ...] = (),
        policy: GPT | None = None, **settings: Any) -> dict[str, Any]:  # fmt: skip
    """One run of DPO: its curves, and its outcome at the end or after `looks` steps."""
    policy = policy or assistant.tuned()
    watch = Watch(policy, seed, min(n_asked, 32))
    points = [{"step": n, **outcome(policy, seed, n_asked)} for n in looks if n == 0]

    def look(at: int, _: object) -> None:
        watch.note()
        if at + 1 in looks:
            points.append({"step": at + 1, **outcome(policy, seed, n_asked)})

    usual = {"steps": STEPS, "lr": RATE, "beta": BETA}
    told = dpo(policy, assistant.tuned(), pairs(seed, flipped), seed=seed, on_step=look,
               **usual | settings)  # fmt: skip
    curves = {name: [float(f"{t[name]:.4g}") for t in told]
              for name in ("loss", "margin", "accuracy")}  # fmt: skip
    after = {"points": points} if looks else {"after": outcome(policy, seed, n_asked)}
    return {"seed": seed, **curves, **watch.ratios, **after}


def summed(runs: Sequence[dict[str, Any]], before: Sequence[dict[str, float]]) -> dict[str, Any]:
    """Mean and 95 % interval over the seeds: before, after, and the rise of each seed."""
    rises = [{name: run["after"][name] - b[name] for name in ("polite", "right")}
             for run, b in zip(runs, before, strict=True)]  # fmt: skip
    columns = {"before": before, "after": [run["after"] for run in runs], "rise": rises}
    return {what: {name: [round(v, 4) for v in mean_interval([row[name] for row in rows])]
                   for name in rows[0]} for what, rows in columns.items()}  # fmt: skip


# --- the parts -----------------------------------------------------------------------------------


@cache
def before(seeds: Sequence[int] = SEEDS) -> list[dict[str, float]]:
    """What the assistant does with each seed's questions before any training."""
    return [outcome(assistant.tuned(), seed) for seed in seeds]


def choice() -> list[dict[str, Any]]:
    """Rates and lengths on the seeds that serve for nothing else."""
    return [
        {"lr": lr, "points": [run(seed, lr=lr, steps=max(LENGTHS), looks=LENGTHS)["points"]
                              for seed in CHOICE_SEEDS]}
        for lr in RATES
    ]  # fmt: skip


def by_beta() -> list[dict[str, Any]]:
    """The usual run, at several betas."""
    start, found = before(), []
    for beta in BETAS:
        runs = [run(seed, beta=beta) for seed in SEEDS]
        found.append({"beta": beta, "summary": summed(runs, start), "runs": runs})
    return found


def long() -> list[dict[str, Any]]:
    """Several betas once more, for longer: now the margin times beta is no longer small."""
    return [{"beta": beta, **run(SEEDS[0], beta=beta, looks=LONG_LOOKS, steps=max(LONG_LOOKS))}
            for beta in BETAS]  # fmt: skip


def noise() -> list[dict[str, Any]]:
    """Labels swapped in a share of the pairs."""
    start, found = before(), []
    for share in NOISE:
        runs = [run(seed, flipped=share) for seed in SEEDS]
        found.append({"flipped": share, "summary": summed(runs, start), "runs": runs})
    return found


def over(seed: int = SEEDS[0], looks: tuple[int, ...] = OVER_LOOKS,
         n_asked: int = 96) -> dict[str, Any]:  # fmt: skip
    """Six times the rate and longer: the loss goes to 0, and the answers with it."""
    policy = assistant.tuned()
    found = run(seed, n_asked, looks=looks, policy=policy, lr=OVER_RATE, steps=max(looks))
    some = asked(seed)[:3]
    said = assistant.replies(policy, [messages(q)[:1] for q in some])
    return found | {"lr": OVER_RATE, "answers": [
        {"question": q.text, "answer": text} for q, (text, _) in zip(some, said, strict=True)
    ]}  # fmt: skip


def no_reference(policy: nn.Module, reference: nn.Module, batch: dict[str, Tensor],
                 optimizer: torch.optim.Optimizer, beta: float) -> dict[str, float]:  # fmt: skip
    """A step of DPO whose reference gives every answer the same probability."""
    chosen, rejected = (answer_logp(policy, batch[f"{side}_ids"], batch[f"{side}_mask"])
                        for side in ("chosen", "rejected"))  # fmt: skip
    margin = beta * (chosen - rejected)
    loss = nn.functional.softplus(-margin).mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return {"loss": loss.item(), "margin": margin.mean().item(),
            "accuracy": (margin > 0).float().mean().item()}  # fmt: skip


def without() -> dict[str, Any]:
    """The usual run, if the reference is forgotten."""
    runs = [run(seed, step=no_reference) for seed in SEEDS]
    return {"summary": summed(runs, before()), "runs": runs}


PARTS = {"choice": choice, "betas": by_beta, "over": over, "long": long, "noise": noise,
         "no_reference": without}  # fmt: skip


def main() -> None:
    """Run what is asked for and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    given = parser.parse_args()
    if given.smallest:
        print(json.dumps(run(SEEDS[0], 8, steps=2)))
        return
    record = json.loads(FILE.read_text(encoding="utf-8")) if given.parts and FILE.exists() else {}
    record |= {"unit": "nats", "machine": "CPU, one thread",
               "torch": torch.__version__.split("+")[0], "steps": STEPS, "lr": RATE, "beta": BETA,
               "rows_per_step": 16, "samples": SAMPLES, "n_asked": 96, "seeds": SEEDS,
               "choice_seeds": CHOICE_SEEDS}  # fmt: skip
    for name in given.parts or PARTS:
        record[name] = PARTS[name]()
        text = json.dumps(record).replace("}, {", "},\n{").replace(', "', ',\n"')
        FILE.write_text(text + "\n", encoding="utf-8")
        print(name, flush=True)


if __name__ == "__main__":
    main()
