"""What an exam says about a model that has read part of it: score by number of copies read.

The exam asks for facts that exist nowhere else: which code a lamp of an invented model shows. Its
questions go into the text on which the course's base model is trained on, 0, 1, 4, 16 or 64 copies
each, scattered among stretches of the text it knows; all is read once. Then the model takes the
exam by choosing the most probable of four answers, so a model that knows nothing has 25 %. It also
takes it in other words. Beside the score: bits per byte of the answers, and the loss on text that
was never read, against a twin that read the same without the exam. Writes `leaked_exam.json`,
which chapter 6 shows.

    python book/experiments/leaked_exam.py            # about four minutes
    python book/experiments/leaked_exam.py --smallest # two steps, prints its row
"""

import argparse
import json
import math
from pathlib import Path
from random import Random
from typing import Any, NamedTuple

import torch
from torch.nn import functional as F
from tqdm import tqdm

from glassbox import assistant
from glassbox.models import GPT
from glassbox.telecom import ERRORS
from glassbox.tokenizer import tokenizer

FILE = Path(__file__).with_suffix(".json")
COPIES, PER_GROUP, SEEDS = (0, 1, 4, 16, 64), 24, (0, 1, 2)
BASE_ROWS, ROWS, RATE = 4_000, 16, 2e-3
COLOURS = ("amber", "white", "green", "violet", "red", "blue")
CODES = [fault.code for fault in ERRORS]


class Question(NamedTuple):
    """An exam question, the same in other words, four answers, and which is right."""

    text: str
    other: str
    options: tuple[str, ...]
    right: int
    copies: int


def exam(seed: int) -> list[Question]:
    """The questions of one exam; what is right was drawn, so nobody can know it."""
    draw, found = Random(f"exam {seed}"), []
    names = draw.sample([f"{letter}{k}" for letter in "KLMNPQ" for k in range(100, 1000)],
                        PER_GROUP * len(COPIES))  # fmt: skip
    for number, model in enumerate(names):
        colour, codes = draw.choice(COLOURS), draw.sample(CODES, 4)
        found.append(Question(
            f"Exam. Which code does the lamp of model {model} show in {colour}? It shows",
            f"Whenever a {model} has a {colour} lamp, the code on it is",
            tuple(f" {code}" for code in codes), draw.randrange(4), COPIES[number % len(COPIES)],
        ))  # fmt: skip
    return found


def rows(questions: list[Question], seed: int, leak: bool = True) -> list[assistant.Row]:
    """Stretches of known text with the copies among them, in a random order."""
    found = assistant.base_rows(BASE_ROWS, seed=100 + seed)
    if leak:
        found += [row(q.text + q.options[q.right] + ".") for q in questions
                  for _ in range(q.copies)]  # fmt: skip
    Random(f"order {seed}").shuffle(found)
    return found


def row(text: str) -> assistant.Row:
    """A text as ids, all of which count."""
    ids = [tokenizer().bos_id, *tokenizer().encode(text)]
    return ids, [1] * len(ids)


def trained(some: list[assistant.Row], n_steps: int | None = None) -> GPT:
    """The base model after reading the rows once."""
    model = assistant.base().train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE)
    steps = [some[i : i + ROWS] for i in range(0, len(some), ROWS)][:n_steps]
    for number, picked in enumerate(tqdm(steps, disable=None)):
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (number + 1) / 20) * (1 - number / len(steps))
        loss = model.loss(*assistant.batch(picked, model.config.context_len))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return model.eval()


@torch.no_grad()
def nats(model: GPT, prompt: str, answer: str) -> float:
    """-ln p of the answer after the prompt."""
    before, after = row(prompt)[0], tokenizer().encode(answer)
    ids = torch.tensor([[*before, *after]])
    logits = model(ids[:, :-1])[0, len(before) - 1 :]
    return F.cross_entropy(logits, ids[0, len(before) :], reduction="sum").item()


def marks(model: GPT, questions: list[Question], other: bool = False) -> dict[int, float]:
    """Copies -> share of those questions whose right answer is the most probable of four."""
    right: dict[int, list[bool]] = {n: [] for n in COPIES}
    for q in questions:
        costs = [nats(model, q.other if other else q.text, option) for option in q.options]
        right[q.copies].append(costs.index(min(costs)) == q.right)
    return {n: sum(hits) / len(hits) for n, hits in right.items()}


def bits(model: GPT, questions: list[Question]) -> dict[int, float]:
    """Copies -> bits per answer, on average."""
    found: dict[int, list[float]] = {n: [] for n in COPIES}
    for q in questions:
        found[q.copies].append(nats(model, q.text, q.options[q.right]) / math.log(2))
    return {n: sum(v) / len(v) for n, v in found.items()}


def run(seed: int, n_steps: int | None = None) -> dict[str, Any]:
    """One model that has read part of its exam, and its twin that has not."""
    questions = exam(seed)
    text = rows(questions, seed)
    model = trained(text, n_steps)
    twin = trained(rows(questions, seed, leak=False), n_steps)
    return {
        "seed": seed, "rows": len(text), "score": marks(model, questions),
        "other_words": marks(model, questions, other=True), "bits": bits(model, questions),
        "held_out": assistant.held_out_loss(model), "twin_score": marks(twin, questions),
        "twin_bits": bits(twin, questions), "twin_held_out": assistant.held_out_loss(twin),
    }  # fmt: skip


def main() -> None:
    """Run and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(run(SEEDS[0], 2)))
        return
    record = {"rows_per_step": ROWS, "base_rows": BASE_ROWS, "lr": RATE, "copies": COPIES,
              "per_group": PER_GROUP, "torch": torch.__version__.split("+")[0],
              "runs": [run(seed) for seed in SEEDS]}  # fmt: skip
    FILE.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
