"""Train the micro model ten times, once as it should be and nine times with a fault: a gallery.

Every run has the same recipe (`HEALTHY`) and text, and one fault, which is made, not drawn: a rate
that is too high, labels that are not shifted, a format that overflows. The loss on the text that is
trained on and on held-out text is kept every few steps, the second computed by the same faulty code
where the fault is in the code, as it would be in practice. Writes `loss_curves.json`, which chapter
3 plots and its loss doctor asks about. What it does not show: large models, natural text, or how
often a fault looks like this; it is one run of each.

    python book/experiments/loss_curves.py            # ten runs, a few minutes; goes on if stopped
    python book/experiments/loss_curves.py --smallest # a few steps of one run, prints its row
"""

import argparse
import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from glassbox import telecom
from glassbox.models import GPT, MICRO

STEPS, EVERY, N_ROWS = 600, 10, 8  # a step is 8 rows of 128 tokens, 1,024 bytes of text
KINDS = ("dialogue",)
TEXT, HELD_OUT = 700_000, 40_000  # bytes; the first is more than a run reads


@dataclass(frozen=True)
class Recipe:
    """How a run is made; a fault changes one or two lines of it."""

    peak: float = 6e-3
    warmup: int = 30
    total: int = STEPS  # where the schedule ends
    betas: tuple[float, float] = (0.9, 0.95)
    max_norm: float | None = 1.0
    shift: int = 1  # the label of position t is byte t + shift
    n_bytes: int = TEXT
    in_order: bool = False  # documents sorted by their first letters, read from A to Z
    spoiled: tuple[int, ...] = ()  # steps whose batch comes from a damaged file: zeros
    scale_doubles: int | None = None  # fp16; the factor on the loss doubles after so many steps


HEALTHY = Recipe()


@dataclass(frozen=True)
class Case:
    """A curve of the gallery: what is wrong, how one sees it and what helps."""

    name: str
    title: str
    fault: str
    sign: str
    cure: str
    recipe: Recipe = HEALTHY


CASES = (
    Case(
        "healthy",
        "Nothing is wrong",
        "None: warm-up, cosine to 0, clipping at 1, shuffled text.",
        "A steep start, then ever slower, and both losses fall together to the end.",
        "Leave it alone.",
    ),
    Case(
        "rate_too_high",
        "Learning rate too high",
        "The peak is 0.3, fifty times the usual one.",
        "Both losses stop early on a high plateau and move little until the rate has come down.",
        "A third of the rate, then again, until the start is as steep and the end is lower.",
        Recipe(peak=0.3),
    ),
    Case(
        "rate_too_low",
        "Learning rate too low",
        "The peak is 0.0001, a sixtieth of the usual one.",
        "Smooth and slow: no noise from steps, both losses still falling where others end.",
        "Three times the rate, then again, until the loss becomes worse; take the one before.",
        Recipe(peak=1e-4),
    ),
    Case(
        "no_warmup",
        "No warm-up",
        "The rate is 0.01 from the first step on.",
        "Down to the frequencies of bytes at once, then a flat stretch, and too high to the end.",
        "A warm-up of one to a few percent of the steps, or a lower peak.",
        Recipe(warmup=0, peak=1e-2),
    ),
    Case(
        "no_clipping",
        "No clipping, damaged batches",
        "The gradient has no limit, and twice eight batches in a row come from a damaged file.",
        "Spikes upwards out of nothing; the held-out loss jumps too, and all of it lies too high.",
        "Clip the norm of the whole gradient at 1, and find out what was in those batches.",
        Recipe(max_norm=None, spoiled=(*range(192, 200), *range(392, 400))),
    ),
    Case(
        "data_in_order",
        "Text not shuffled",
        "Documents lie in alphabetical order and are read from A to Z.",
        "Training loss goes up and down in waves; held-out loss jumps up and ends too high.",
        "Shuffle documents before they are packed, across all sources.",
        Recipe(in_order=True),
    ),
    Case(
        "labels_not_shifted",
        "Labels not shifted",
        "The label of each position is the byte that stands there.",
        "Both losses fall to zero within a hundred steps: too good for any text.",
        "Labels are the inputs moved by one; look at a few pairs before you train.",
        Recipe(shift=0),
    ),
    Case(
        "overfitting",
        "Too little text",
        "The text has 2,000 bytes and is read three hundred times.",
        "Training loss falls on; held-out loss turns and rises.",
        "More text, fewer passes, a smaller model; stop where the held-out loss is lowest.",
        Recipe(n_bytes=2_000),
    ),
    Case(
        "schedule_too_short",
        "Schedule ends too early",
        "The schedule was made for 150 steps, and the rate is 0 from there on.",
        "Healthy at first, then perfectly flat from one step on, both losses alike.",
        "Give the schedule the number of steps that the run will have.",
        Recipe(total=150),
    ),
    Case(
        "precision_overflow",
        "Overflow in FP16",
        "The factor on the loss doubles every 10 steps, infinite gradients are not skipped.",
        "Healthy to the last number, then the loss is not a number, at once and for good.",
        "Skip steps whose gradient is not finite and halve the factor; or train in BF16.",
        Recipe(scale_doubles=10),
    ),
)


def encode(text: str) -> Tensor:
    """Its bytes -> (N,) int64."""
    return torch.tensor(list(text.encode()))


def text_of(recipe: Recipe) -> Tensor:
    """What the run is trained on: dialogues."""
    text = telecom.corpus(recipe.n_bytes, seed=0, kinds=KINDS)
    return encode("\n\n".join(sorted(text.split("\n\n"))) if recipe.in_order else text)


def windows(ids: Tensor, starts: Tensor, shift: int) -> tuple[Tensor, Tensor]:
    """Rows that begin at `starts` and their labels, twice (B, T)."""
    at = starts[:, None] + torch.arange(MICRO.context_len)
    return ids[at], ids[at + shift]


def batch(ids: Tensor, step: int, recipe: Recipe, gen: torch.Generator) -> tuple[Tensor, Tensor]:
    """The rows of one step, drawn at random, or the next ones of the text."""
    last = len(ids) - MICRO.context_len - 2
    if recipe.in_order:
        starts = (torch.arange(N_ROWS) + step * N_ROWS) * (last // (STEPS * N_ROWS))
    else:
        starts = torch.randint(last, (N_ROWS,), generator=gen)
    x, y = windows(ids, starts, recipe.shift)
    return (torch.zeros_like(x), y) if step in recipe.spoiled else (x, y)


def rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine down to 0."""
    if step < recipe.warmup:
        return recipe.peak * step / recipe.warmup
    way = min(1.0, (step - recipe.warmup) / (recipe.total - recipe.warmup))
    return recipe.peak * (1 + math.cos(math.pi * way)) / 2


def loss_of(model: nn.Module, x: Tensor, y: Tensor, half: bool) -> Tensor:
    """Mean loss in nats per byte."""
    with torch.autocast("cpu", torch.float16, enabled=half):
        logits = model(x)
    return F.cross_entropy(logits.float().flatten(0, 1), y.flatten())


def step_of(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Tensor, scale: float,
            max_norm: float | None) -> None:  # fmt: skip
    """Backward, clip, step."""
    optimizer.zero_grad()
    (loss * scale).backward()
    for p in model.parameters():
        p.grad /= scale
    if max_norm is not None:
        nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()


def run(recipe: Recipe, n_steps: int = STEPS) -> dict[str, list]:
    """Steps; training loss, mean since the last point; held-out loss. None: not a number."""
    torch.manual_seed(0)
    gen = torch.Generator().manual_seed(1)
    model, ids = GPT(MICRO), text_of(recipe)
    held = encode(telecom.corpus(HELD_OUT, seed=1, kinds=KINDS))
    held = windows(held, torch.arange(16) * 2_000, recipe.shift)
    optimizer = torch.optim.AdamW(model.parameters(), betas=recipe.betas, weight_decay=0.1)
    half = recipe.scale_doubles is not None
    curve, recent = {"steps": [], "train": [], "val": []}, []
    for step in range(n_steps):
        loss = loss_of(model, *batch(ids, step, recipe, gen), half)
        value = loss.item()
        recent.append(value)
        if step % EVERY == 0:
            with torch.no_grad():
                held_loss = loss_of(model, *held, half).item()
            point = (step, sum(recent) / len(recent), held_loss)
            for key, number in zip(curve, point, strict=True):
                curve[key].append(round(number, 3) if math.isfinite(number) else None)
            recent = []
        if math.isfinite(value):  # after the first NaN nothing changes any more
            optimizer.param_groups[0]["lr"] = rate(step, recipe)
            scale = 2.0 ** (10 + step // recipe.scale_doubles) if half else 1.0
            step_of(model, optimizer, loss, scale, recipe.max_norm)
    return curve


def main() -> None:
    """Run what the data file lacks; it is written after every run."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(run(HEALTHY, n_steps=3 * EVERY)))
        return
    path = Path(__file__).with_suffix(".json")
    settings = {
        "unit": "nats per byte",
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "model": asdict(MICRO),
        "tokens_per_step": N_ROWS * MICRO.context_len,
        "recipe": asdict(HEALTHY),
    }
    settings = json.loads(json.dumps(settings))
    done = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept = {c["name"]: c for c in done.get("curves", []) if done["settings"] == settings}
    for case in tqdm(CASES, unit="run"):
        about = json.loads(json.dumps(asdict(case)))
        old = kept.get(case.name, {})
        if old.get("recipe") != about["recipe"]:
            old = run(case.recipe)
        kept[case.name] = about | {key: old[key] for key in ("steps", "train", "val")}
        curves = [kept[c.name] for c in CASES if c.name in kept]
        text = json.dumps({"settings": settings, "curves": curves})
        path.write_text(text.replace(', "', ',\n "') + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
