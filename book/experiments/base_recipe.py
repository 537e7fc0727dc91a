"""Make the tokenizer and the base model of chapter 4, and check fine-tuning on five seeds.

The tokenizer learns 762 merges on the base text; the base model, 554,688 parameters, reads 450
steps of 8 x 128 tokens. Both are shipped in `glassbox/weights`. Then five times, with a base, a
split and an order of its own, fine-tuned: how many answers are in form and right, what did it
forget, and does it answer a second question of a dialogue, which it was never shown? The last
line is one more run of seed 0, in which half of the rows are dialogues of two questions. Writes
`base_recipe.json` run by run, and leaves out what is there already. It does not tune settings.

    python book/experiments/base_recipe.py             # about eight minutes
    python book/experiments/base_recipe.py --weights   # the shipped files alone, half a minute
    python book/experiments/base_recipe.py --smallest  # a few steps, prints its row
"""

import argparse
import json
import math
import time
from functools import cache
from itertools import islice
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

from glassbox import assistant, checkpoints, tokenizer
from glassbox.models import GPT, RECIPE
from glassbox.telecom.questions import Split, base_text, grade, messages, questions
from glassbox.training import Settings, crops, train

N_DOCUMENTS, N_TOKENS = 6_000, 500_000  # of the tokenizer, of the base
STEPS, ROWS, LENGTH, PEAK = 450, 8, 128, 4e-3
GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
RUNS = {f"seed {seed}": (seed, False) for seed in range(5)} | {"two questions": (0, True)}


def learn_tokens(texts: list[str]) -> list[str]:
    """762 merged tokens in the order learned, each as a string whose letters are bytes."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    size = RECIPE.vocab_size - len(tokenizer.SPECIAL)
    bpe.train_from_iterator(texts, trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, show_progress=False))  # fmt: skip
    shown = [b for b in range(256) if chr(b) in alphabet]  # bytes that stand for themselves
    others = [b for b in range(256) if b not in shown]  # ByteLevel shows these from U+0100 on
    byte = {chr(b): chr(b) for b in shown} | {chr(256 + n): chr(b) for n, b in enumerate(others)}
    merged = sorted(bpe.get_vocab().items(), key=lambda item: item[1])[256:]
    return ["".join(byte[letter] for letter in token) for token, _ in merged]


def write_tokenizer() -> None:
    """The shipped tokenizer, from seed 0."""
    tokens = learn_tokens(list(islice(base_text(), N_DOCUMENTS)))
    text = json.dumps({"pattern": GPT2, "tokens": tokens}, indent=0)
    tokenizer.FILE.write_text(text + "\n", encoding="utf-8")
    tokenizer.tokenizer.cache_clear()


@cache
def _text() -> Tensor:
    return torch.tensor(assistant.first_ids(base_text(), N_TOKENS))


def make_base(seed: int = 0, steps: int = STEPS) -> GPT:
    """A base model by seed, which changes its first weights and the order of the text."""
    torch.manual_seed(seed)
    model = GPT(RECIPE)
    with torch.no_grad():  # GPT-2's first weights suit its width of 768
        for p in model.parameters():
            p.mul_(math.sqrt(768 / RECIPE.d_model) if p.ndim > 1 else 1)
    settings = Settings(steps=steps, rate=PEAK, warm_up=min(20, steps), seed=seed, peak=1.0,
                        progress=False)  # fmt: skip
    train(model, crops(_text(), ROWS, LENGTH), settings)
    return model.eval()


def measured(seed: int, steps: int = STEPS, tuning: int = 280, n_asked: int = 96,
             two: bool = False) -> dict:  # fmt: skip
    """One row of the data file: a base, fine-tuned, before and after."""
    began = time.process_time()
    model, split = make_base(seed, steps), questions(seed)
    row = {"seed": seed, "base_seconds": round(time.process_time() - began, 1)}
    row["before"] = _state(model, split, n_asked)
    rows = assistant.rows(split.train)
    if two:  # each question once before and once after another one
        rows += assistant.rows(split.train, 2)
        rows += assistant.rows(split.train[1:] + split.train[:1], 2)
    began = time.process_time()
    losses = assistant.finetune(model, rows, tuning, seed=seed)
    row["tuning_seconds"] = round(time.process_time() - began, 1)
    row["losses"] = [round(loss, 3) for loss in losses[:: max(1, tuning // 14)]]
    row["after"] = _state(model, split, n_asked)
    return row


def _state(model: GPT, split: Split, n_asked: int) -> dict[str, object]:
    """What is forgotten, and the shares of answers in form and right."""
    pairs, phrasings = split.pairs[:n_asked], split.phrasings[:n_asked]
    state = {"held_out_loss": round(assistant.held_out_loss(model), 3)}
    for name, asked in (("pairs", pairs), ("phrasings", phrasings)):
        state[name] = _rounded(assistant.score(model, asked))
    talks = [messages(a) + messages(b)[:-1] for a, b in zip(split.train, pairs, strict=False)]
    said = zip(pairs, assistant.replies(model, talks), strict=True)
    grades = [grade(q, *answer) for q, answer in said]
    state["second_question"] = _rounded({
        kind: sum(getattr(g, kind) for g in grades) / len(grades) for kind in ("format", "right")
    })  # fmt: skip
    return state


def _rounded(shares: dict[str, float]) -> dict[str, float]:
    return {name: round(share, 3) for name, share in shares.items()}


def main() -> None:
    """Make and measure, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    parser.add_argument("--weights", action="store_true")
    torch.set_num_threads(1)
    given = parser.parse_args()
    if given.smallest:
        print(json.dumps(measured(0, 3, 2, n_asked=4), indent=1))
        return
    if given.weights:
        write_tokenizer()
        checkpoints.save(make_base().half(), assistant.BASE, made_by="base_recipe.py", steps=STEPS)
        return
    path = Path(__file__).with_suffix(".json")
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"runs": {}}
    found |= {"unit": "nats per token", "machine": "CPU, one thread; seconds of its time",
              "torch": torch.__version__.split("+")[0], "n_params": 554_688,
              "base_tokens": STEPS * ROWS * LENGTH}  # fmt: skip
    for name, (seed, two) in RUNS.items():
        if name not in found["runs"]:
            found["runs"][name] = measured(seed, two=two)
            path.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
