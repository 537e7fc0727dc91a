"""Make the assistant that chapter 5 begins with, and check its recipe on three seeds.

The shipped base model is fine-tuned on the 320 training questions, as in chapter 4, with one
difference: each question stands in the data ten times, three times with a polite answer. A model
that sees every question with one answer alone learns by heart which of them get a polite one, and
then no two of its answers to a question differ ("one_answer_each" measures that). Seed 0 is shipped
in 16 bits, as `glassbox/weights/tuned.safetensors`, and measured as shipped. Each of the three is
then trained by `glassbox.preference.dpo` as it comes, whose settings were chosen on other seeds
(`dpo_runs.py`). Writes `tuned_recipe.json`. It does not tune settings, and says nothing about
models that learned manners from people.

    python book/experiments/tuned_recipe.py             # three minutes
    python book/experiments/tuned_recipe.py --weights   # the shipped file alone
    python book/experiments/tuned_recipe.py --smallest  # a few steps, prints its row
"""

import argparse
import copy
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from glassbox import assistant, checkpoints
from glassbox.models import GPT
from glassbox.preference import dpo, drift, manners, pairs
from glassbox.telecom.questions import POLITE, POLITE_SHARE, Question, fact, messages, questions
from glassbox.tokenizer import tokenizer

STEPS, COPIES, SEEDS, SAMPLES = 280, 10, range(3), 4


def rows(asked: Sequence[Question]) -> list[assistant.Row]:
    """Each question ten times, three of them with a polite answer."""
    n_polite = round(POLITE_SHARE * COPIES)
    return assistant.rows([
        replace(q, answer=POLITE * (n < n_polite) + fact(q.kind, q.key))
        for q in asked for n in range(COPIES)
    ])  # fmt: skip


def make_tuned(seed: int = 0, steps: int = STEPS) -> GPT:
    """The assistant by seed, which changes the split of the questions and the order of rows."""
    model = assistant.base()
    assistant.finetune(model, rows(questions(seed).train), steps, seed=seed,
                       warm_up=min(20, steps))  # fmt: skip
    return model.eval()


@torch.no_grad()
def polite_chances(model: GPT, asked: Sequence[Question]) -> list[float]:
    """For each question the probability that the answer begins as a polite one does."""
    first = tokenizer().encode(POLITE)[0]
    prompts = [assistant.render(messages(q)[:-1], tokenizer(), answer=True)[0] for q in asked]
    return [model(torch.tensor([ids]))[0, -1].softmax(-1)[first].item() for ids in prompts]


def measured(model: GPT, seed: int, n_asked: int = 96, samples: int = SAMPLES) -> dict:
    """One row: greedy and sampled answers to questions not trained, and how even politeness is."""
    split = questions(seed)
    row = {name: assistant.score(model, getattr(split, name)[:n_asked])
           for name in ("pairs", "phrasings")}  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    row["sampled"] = manners(model, split.pairs[:n_asked], generator, samples)
    for name, asked in (("train", split.train[: 2 * n_asked]), ("pairs", split.pairs[:n_asked])):
        chances = torch.tensor(polite_chances(model, asked))
        at = chances.quantile(torch.tensor([0.0, 0.05, 0.5, 0.95, 1.0])).tolist()
        row[f"polite_chance_{name}"] = dict(zip(("min", "5%", "50%", "95%", "max"), at,
                                                strict=True))  # fmt: skip
    row["held_out_loss"] = assistant.held_out_loss(model)
    return {name: _rounded(value) for name, value in row.items()}


def after_dpo(model: GPT, seed: int) -> dict[str, float]:
    """Manners after the usual run of DPO from this model, and nats per answer from it."""
    policy, generator = copy.deepcopy(model), torch.Generator().manual_seed(seed)
    dpo(policy, model, pairs(seed), seed=seed)
    asked = questions(seed).pairs
    found = manners(policy, asked, generator, SAMPLES)
    return _rounded(found | {"kl": drift(policy, model, asked * SAMPLES, generator)})


def _rounded(value: float | dict[str, float]) -> float | dict[str, float]:
    return round(value, 3) if isinstance(value, float) else {k: round(v, 3) for k, v in
                                                             value.items()}  # fmt: skip


def main() -> None:
    """Make, measure and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--weights", action="store_true")
    torch.set_num_threads(1)
    given = parser.parse_args()
    if given.smallest:
        print(json.dumps(measured(make_tuned(0, 3), 0, n_asked=4), indent=1))
        return
    if given.weights:
        checkpoints.save(make_tuned().half(), assistant.TUNED, made_by="tuned_recipe.py",
                         steps=STEPS)  # fmt: skip
        return
    record = {"machine": "CPU, one thread", "torch": torch.__version__.split("+")[0],
              "steps": STEPS, "copies": COPIES, "samples": SAMPLES,
              "shipped": measured(assistant.tuned(), 0), "runs": []}  # fmt: skip
    alone = assistant.base()
    assistant.finetune(alone, assistant.rows(questions(0).train), STEPS)
    record["one_answer_each"] = measured(alone.eval(), 0)
    for seed in SEEDS:
        began = time.process_time()
        model = make_tuned(seed)
        seconds = round(time.process_time() - began, 1)
        record["runs"].append({"seed": seed, "seconds": seconds, **measured(model, seed),
                               "after_dpo": after_dpo(model, seed)})  # fmt: skip
        text = json.dumps(record, indent=1)
        Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
