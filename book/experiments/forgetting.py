"""Fine-tune the course's base model at several rates and shares of replay; measure what it forgets.

Every run answers the 96 held-out pairs of code or plan and phrasing, and reads text of the kind it
was pretrained on and never saw. The first says what was learned, the second what was lost. Other
ways are tried at the usual rate: to stop early, to replay and train for longer, to stay close to
the base model's predictions (a KL term), and to mix the weights of before and after. Writes
`forgetting.json`, which chapter 4 and the explorer "forgetting" show. What it does not show: the
rate for a large model, and the forgetting of skills that no text of the base model has.

    python book/experiments/forgetting.py            # four to eight minutes
    python book/experiments/forgetting.py --smallest # a few steps, prints its row
"""

import argparse
import copy
import json
import math
from collections.abc import Iterable
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from glassbox import assistant
from glassbox.models import GPT, IGNORED
from glassbox.telecom.questions import messages, questions

RATES, SHARES = (5e-4, 1e-3, 2e-3, 5e-3), (0.0, 0.1, 0.25)
RATE, STEPS, ROWS = 2e-3, 140, 16  # half the steps of lab 6
STOPS = (20, 40, 80)  # steps of an otherwise equal, shorter run
LONGER = (0.1, 0.25)  # shares of replay in runs of twice the steps
WEIGHTS = (0.3, 1.0)  # of the KL term
MIXES = (0.5, 0.75)  # share of the tuned weights in a mixture with the base's
SPLIT = questions(seed=0)


def measured(model: GPT, n_asked: int = 96) -> dict[str, float]:
    """What a model can and what it still knows: shares of answers, nats per token of base text."""
    found = assistant.score(model, SPLIT.pairs[:n_asked])
    found["base_loss"] = assistant.held_out_loss(model)
    return {name: round(value, 4) for name, value in found.items()}


def tuned(rate: float = RATE, share: float = 0.0, steps: int = STEPS) -> GPT:
    """The base model after one run of fine-tuning."""
    model = assistant.base()
    rows = assistant.rows(SPLIT.train)
    warm_up = min(20, steps // 4)
    assistant.finetune(model, rows, steps, rate, ROWS, warm_up=warm_up, replay=share)
    return model


def kept_close(weight: float, steps: int = STEPS) -> GPT:
    """A run whose loss has `weight` times KL(tuned, base), on the prompts of the rows.

    The answers are meant to change, so the base model is not asked there. No old text is needed.
    """
    model, base = assistant.base(), assistant.base().eval()
    rows, gen = assistant.rows(SPLIT.train), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    model.train()
    for step in range(steps):
        picked = torch.randint(len(rows), (ROWS,), generator=gen).tolist()
        ids, targets = assistant.batch([rows[i] for i in picked], model.config.context_len)
        logits = model(ids)
        loss = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=IGNORED)
        loss = loss + weight * divergence(logits, base, ids, prompts(targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        fall = max(0, step - 20) / max(1, steps - 20)
        way = (1 + math.cos(math.pi * fall)) / 2
        optimizer.param_groups[0]["lr"] = RATE * min((step + 1) / 20, way)
        optimizer.step()
        optimizer.zero_grad()
    return model.eval()


def prompts(targets: Tensor) -> Tensor:
    """(B, T) targets -> (B, T) bool: the places before the first trained one."""
    return (targets != IGNORED).cumsum(1) == 0


def divergence(logits: Tensor, base: GPT, ids: Tensor, where: Tensor) -> Tensor:
    """Mean KL in nats from the logits' distributions to the base model's, at some places."""
    with torch.no_grad():
        old = base(ids)[where].log_softmax(-1)
    new = logits[where].log_softmax(-1)
    return (new.exp() * (new - old)).sum(-1).mean()


@torch.no_grad()
def mixed(model: GPT, share: float) -> GPT:
    """A model whose weights lie between the base's (0) and the tuned model's (1)."""
    between = copy.deepcopy(model)
    for here, old in zip(between.parameters(), assistant.base().parameters(), strict=True):
        here.lerp_(old, 1 - share)
    return between


def examples(model: GPT, keys: Iterable[str] = ("E204", "Family")) -> list[dict[str, str]]:
    """Held-out questions about these topics, and the answers of the base and of the model."""
    asked = [next(q for q in SPLIT.pairs if q.key == key) for key in keys]
    talks = [messages(question)[:1] for question in asked]
    said = zip(asked, assistant.replies(assistant.base(), talks), assistant.replies(model, talks),
               strict=True)  # fmt: skip
    return [{"question": q.text, "before": old, "after": new} for q, (old, _), (new, _) in said]


def grid(known: dict[tuple[float, float], dict[str, float]]) -> dict[str, list[list[float]]]:
    """Rate by replay share: answers, and losses on base text. `known` is not run again."""
    found = dict(known)
    for place in tqdm([(rate, share) for rate in RATES for share in SHARES]):
        if place not in found:
            found[place] = measured(tuned(*place))
    return {name: [[found[rate, share][name] for share in SHARES] for rate in RATES]
            for name in ("format", "right", "base_loss")}  # fmt: skip


def main() -> None:
    """Run all and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(measured(tuned(steps=4), n_asked=8)))
        return
    usual = tuned()
    known = {(RATE, 0.0): measured(usual)}
    ways = [{"way": "stop early", "setting": n, **measured(tuned(steps=n))} for n in tqdm(STOPS)]
    ways += [{"way": "replay, twice as long", "setting": share,
              **measured(tuned(share=share, steps=2 * STEPS))} for share in LONGER]  # fmt: skip
    ways += [{"way": "KL to the base", "setting": w, **measured(kept_close(w))} for w in WEIGHTS]
    ways += [{"way": "mixed weights", "setting": m, **measured(mixed(usual, m))} for m in MIXES]
    record = {
        "unit": "nats per token",
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "steps": STEPS,
        "rows_per_step": ROWS,
        "rate": RATE,
        "n_asked": len(SPLIT.pairs),
        "before": measured(assistant.base()),
        "tuned": known[RATE, 0.0],
        "examples": examples(usual),
        "rates": RATES,
        "shares": SHARES,
        **grid(known),
        "ways": ways,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
