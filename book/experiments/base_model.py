"""Train the micro model on telecom text and write down what it says on the way.

At a few points of the run the model continues the same prompts, and for every error code of the
invented operator it is asked, by a text that breaks off, what the code means. So one sees what
comes first, letters, words, grammar or facts, and that a finished base model continues texts and
does not answer. Writes `base_model.json`, which chapter 3 shows. What it does not show: how much a
large model knows; this one has 124,672 parameters and reads bytes.

    python book/experiments/base_model.py            # three to four minutes
    python book/experiments/base_model.py --smallest # a few steps, prints its row
"""

import argparse
import json
import math
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from glassbox import telecom
from glassbox.models import GPT, MICRO
from glassbox.telecom.facts import ERRORS

N_ROWS, PEAK, WARMUP = 32, 1e-2, 60  # a step is 32 rows of 128 bytes
KINDS = ("dialogue",)
POINTS = (0, 25, 100, 400, 1600)  # steps after which it is asked
TEXT, HELD_OUT = 3_000_000, 40_000  # bytes
PROMPTS = {
    "a ticket that breaks off": "Customer: It says E308.\nAgent: E308 means that",
    "the same as a question": "What does E308 mean?",
    "a question of another world": "What is the capital of France?",
    "an order": "Write a short poem about the sea.",
    "two examples and a third": "Mini: 9 euros\nSmart: 19 euros\nOffice:",
}


def encode(text: str) -> Tensor:
    """Its bytes -> (N,) int64."""
    return torch.tensor(list(text.encode()))


def continued(model: GPT, prompt: str, n_new: int, temperature: float) -> str:
    """The prompt's continuation; bytes that are no character show as a question mark."""
    gen = torch.Generator().manual_seed(0)
    ids = encode(prompt)[None]
    new = model.generate(ids, n_new, temperature, generator=gen)[0, ids.shape[1] :]
    return bytes(new.tolist()).decode("utf-8", "replace")


def knows(model: GPT) -> int:
    """For how many error codes the likeliest continuation is the cause."""
    right = 0
    for entry in ERRORS:
        prompt = f"Customer: It says {entry.code}.\nAgent: {entry.code} means that"
        right += continued(model, prompt, len(entry.cause) + 2, 0) == f" {entry.cause}."
    return right


def asked(model: GPT, step: int, held: Tensor) -> dict[str, object]:
    """One row of the data file: the state of the model after so many steps."""
    with torch.no_grad():
        loss = model.loss(held[:, :-1], held[:, 1:]).item()
    greedy = {name: continued(model, prompt, 110, 0) for name, prompt in PROMPTS.items()}
    return {
        "step": step,
        "val": round(loss, 3),
        "codes": knows(model),
        "free": continued(model, "\n\n", 220, 0.7),
        "likeliest": greedy,
    }


def train(points: tuple[int, ...] = POINTS) -> list[dict[str, object]]:
    """AdamW, warm-up, cosine to a tenth; the rows of the data file."""
    torch.manual_seed(0)
    model, gen = GPT(MICRO), torch.Generator().manual_seed(1)
    ids, n_steps = encode(telecom.corpus(TEXT, seed=0, kinds=KINDS)), points[-1]
    held = encode(telecom.corpus(HELD_OUT, seed=1, kinds=KINDS))[: 64 * 129].view(64, 129)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    rows = []
    for step in tqdm(range(n_steps + 1)):
        if step in points:
            rows.append(asked(model, step, held))
        way = (1 + math.cos(math.pi * step / n_steps)) / 2
        optimizer.param_groups[0]["lr"] = PEAK * min(step / WARMUP, 0.1 + 0.9 * way)
        start = torch.randint(len(ids) - 129, (N_ROWS, 1), generator=gen)
        batch = ids[start + torch.arange(129)]
        optimizer.zero_grad()
        model.loss(batch[:, :-1], batch[:, 1:]).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return rows


def main() -> None:
    """Train and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(train((0, 5))[-1], indent=1))
        return
    about = {
        "unit": "nats per byte",
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "bytes_per_step": N_ROWS * 128,
        "n_codes": len(ERRORS),
        "prompts": PROMPTS,
    }
    path = Path(__file__).with_suffix(".json")
    text = json.dumps(about | {"rows": train()}, indent=1, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
