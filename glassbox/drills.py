"""Drive a learner's function where it lives, and report plain numbers.

Some functions show what they do only in a series of calls or by what becomes of an argument: an
optimizer's step, a training step, a checkpoint, a random draw. A drill makes the calls and reports
tensors and numbers. A lab's tests run it with `check.there(drills.adamw_path, adamw_step, ...)`,
in a notebook or in a student's process, and compare the report themselves; probes of the mistake
bank run it through `autograder.bank.drill`. Nothing here knows a right answer.
"""

import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassbox.bank import clone
from glassbox.models import GPT, MICRO

Batch = tuple[Tensor, Tensor]


def repeat(function: Callable, n: int, *args: Any) -> list[Any]:
    """The results of n calls in a row, each on fresh copies of tensors; a generator runs on."""
    return [function(*clone(args)) for _ in range(n)]


# --- random draws, as statistics -------------------------------------------------------------


def window_facts(clm_batch: Callable, n: int, n_tokens: int) -> list[float]:
    """Of many windows of 0, 1, ..., n - 1: how inputs and targets lie, and where they start.

    How far the target is ahead of the input, whether both are runs of neighbours, the smallest
    start and the largest last target, and how many different starts one batch has.
    """
    gen = torch.Generator().manual_seed(0)
    x, y = clm_batch(torch.arange(n), 64 * n, n_tokens, gen)
    ahead = (y - x).unique()
    runs = all(bool((t.diff(dim=1) == 1).all()) for t in (x, y))
    return [float(ahead[0]), float(len(ahead)), float(runs), float(x.min()), float(y.max()),
            float(len(x[:, 0].unique()))]  # fmt: skip


def own_randomness(function: Callable, *args: Any) -> list[float]:
    """Whether the generator, the last argument, is the only randomness, and whether it runs on.

    1 if a generator in the same state gives the same answer although the global one has moved;
    1 if the same generator, used again, gives another answer.
    """
    answers = []
    for seed in (0, 0):
        gen = torch.Generator().manual_seed(seed)
        answers += [_flat(function(*clone(args), gen)) for _ in range(2)]
        torch.rand(3)
    a, again, b, _ = answers
    return [float(torch.equal(a, b)), float(not torch.equal(a, again))]


def _flat(value: Any) -> Tensor:
    """All numbers of a nested answer in a row."""
    if isinstance(value, Tensor):
        return value.flatten().double()
    if isinstance(value, tuple | list):
        return torch.cat([torch.zeros(0).double(), *map(_flat, value)])
    return torch.tensor([float(value)]).double()


def mask_shares(mlm_mask: Callable, rate: float, special: bool = False) -> list[float]:
    """Shares, to the nearest twentieth, of what `mlm_mask` does to 40,000 equal ids.

    Of all positions: those with a label, those whose label is the id; of those with a label:
    masked, replaced by another id, unchanged; of those without: changed. Then how many ids the
    random ones take of 20. With `special`, every second position is special.
    """
    ids = torch.full((200, 200), 7)
    marked = (torch.arange(200) % 2 == 0).expand(200, 200) & special
    given = ids.clone()
    new, labels = mlm_mask(given, 20, 20, marked.clone(), rate, torch.Generator().manual_seed(0))
    chosen = labels != -100
    other = (new != 7) & (new != 20)
    shares = [chosen, labels == 7]
    found = [_twentieths(s.double().mean()) for s in shares]
    for group, what in ((chosen, new == 20), (chosen, other), (chosen, new == 7),
                        (~chosen, new != 7), (marked, chosen)):  # fmt: skip
        found.append(_twentieths(what[group].double().mean()) if group.any() else 0.0)
    found.append(float(len(new[chosen & other].unique())))
    columns = (new == new[:1]).all() and bool(chosen.any())  # all rows alike
    return [*found, float(columns), float(torch.equal(given, ids))]


def _twentieths(share: Tensor) -> float:
    return round(20 * float(share)) / 20


def span_facts(span_corrupt: Callable, n: int, rate: float, mean_length: float) -> list[float]:
    """What can be said of twenty corruptions of the ids 0 ... n - 1 wherever the spans lie.

    Sentinels are 1000, 1001, ...; the end of sequence is 2000. Means over the draws of: length of
    source and target, sentinels in each, ends in each, whether the source and the target begin with
    a sentinel and the target ends with one and the end, whether sentinels come in order and each
    once, whether the source keeps the order, whether two sentinels touch in it, whether both
    together hold all ids once. Last, whether the draws differ.
    """
    gen, seen, texts = torch.Generator().manual_seed(0), [], set()
    sentinels = list(range(1000, 1000 + n + 2))
    for _ in range(20):
        source, target = span_corrupt(list(range(n)), rate, mean_length, list(sentinels), 2000, gen)
        texts.add(tuple(source))
        marks = [[i for i in part if 1000 <= i < 2000] for part in (source, target)]
        kept, dropped = ([i for i in part if i < 1000] for part in (source, target))
        touching = any(a >= 1000 and b >= 1000 for a, b in pairwise(source))
        seen.append([
            len(source), len(target), len(marks[0]), len(marks[1]),
            source.count(2000), target.count(2000),
            source[:1] == [1000], target[:1] == [1000],
            len(target) > 1 and target[-1] == 2000 and target[-2] >= 1000,
            marks[0] == sentinels[: len(marks[0])], marks[1] == sentinels[: len(marks[1])],
            kept == sorted(kept), touching, sorted(kept + dropped) == list(range(n)),
        ])  # fmt: skip
    means = torch.tensor(seen, dtype=torch.float64).mean(0).tolist()
    return [*means, float(len(texts) > 1)]


def pack_facts(pack: Callable, documents: list[list[int]], context_len: int,
               eos_id: int) -> list[Tensor]:  # fmt: skip
    """The packed ids, which places share a segment within a row, and which are padding."""
    ids, segments = pack([list(d) for d in documents], context_len, eos_id)
    return [ids, (segments[:, :, None] == segments[:, None]).double(), (segments == -1).double()]


# --- changes in place ------------------------------------------------------------------------


def adamw_path(step: Callable, starts: list[Tensor], grads: list[list[Tensor]], lr: float,
               betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8,
               weight_decay: float = 0.01) -> list[Tensor]:  # fmt: skip
    """Train parameters with `step`, each with a state of its own: all values, step by step.

    grads[t] holds a gradient for each parameter. One tensor (steps, ...) a parameter.
    """
    parameters = [nn.Parameter(start.clone()) for start in starts]
    states: list[dict] = [{} for _ in starts]
    values: list[list[Tensor]] = [[] for _ in starts]
    for now in grads:
        for p, grad, state, kept in zip(parameters, clone(now), states, values, strict=True):
            with torch.enable_grad():
                step(p, grad, state, lr, betas, eps, weight_decay)
            kept.append(p.detach().clone())
    return [torch.stack(kept) for kept in values]


def torch_adamw(starts: list[Tensor], grads: list[list[Tensor]], lr: float,
                betas: tuple[float, float], eps: float, weight_decay: float
                ) -> list[Tensor]:  # fmt: skip
    """The values that torch's AdamW gives, as `adamw_path` reports them."""
    parameters = [nn.Parameter(start.clone()) for start in starts]
    optimizer = torch.optim.AdamW(parameters, lr, betas, eps, weight_decay)
    values: list[list[Tensor]] = [[] for _ in starts]
    for now in grads:
        for p, grad in zip(parameters, now, strict=True):
            p.grad = grad.clone()
        optimizer.step()
        for p, kept in zip(parameters, values, strict=True):
            kept.append(p.detach().clone())
    return [torch.stack(kept) for kept in values]


def adamw_gradient(step: Callable, start: Tensor, grad: Tensor) -> list[Tensor]:
    """A parameter and its gradient after two steps on that gradient."""
    p, grad, state = nn.Parameter(start.clone()), grad.clone(), {}
    for _ in range(2):
        step(p, grad, state, 0.1, (0.9, 0.999), 1e-8, 0.5)
    return [p.detach().clone(), grad]


def clipped(clip: Callable, grads: list[Tensor | None], max_norm: float) -> list[Any]:
    """What `clip` returns, its type's name, and the gradients after it (None becomes 0 numbers)."""
    parameters = []
    for grad in grads:
        p = nn.Parameter(torch.ones(1) if grad is None else torch.ones_like(grad))
        p.grad = None if grad is None else grad.clone()
        parameters.append(p)
    norm = clip(parameters, max_norm)
    after = [torch.zeros(0) if p.grad is None else p.grad.clone() for p in parameters]
    moved = any(not torch.equal(p, torch.ones_like(p)) for p in parameters)
    return [norm, type(norm).__name__, moved, *after]


# --- training --------------------------------------------------------------------------------


class Bigram(nn.Module):
    """The smallest language model: each token has a row of logits for the next one.

    `modes` lists what `training` was at each call, `had_gradient` whether a gradient was there.
    """

    def __init__(self, vocab_size: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)
        self.bias = nn.Parameter(torch.zeros(vocab_size))
        self.dropout = nn.Dropout(dropout)
        self.modes: list[bool] = []

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T, V)."""
        self.modes.append(self.training)
        return self.dropout(self.table(ids)) + self.bias


def train_steps(train_step: Callable, table: Tensor, steps: list[list[Batch]], max_norm: float,
                lr: float = 1.0, training: bool = True, dropout: float = 0.0,
                optimizer: str = "SGD", stale: float = 0.0) -> list[Any]:  # fmt: skip
    """Train a bigram model; `steps` holds the micro-batches of each step.

    Reports the losses, the table and the bias at the end, whether the mode was kept, and of what
    type a loss is. `stale` is what the gradients hold before the first step.
    """
    with torch.enable_grad():
        model = Bigram(len(table), dropout).to(table.dtype)
        with torch.no_grad():
            model.table.weight.copy_(table)
        model.train(training)
        for p in model.parameters():
            p.grad = torch.full_like(p, stale) if stale else None
        chosen = getattr(torch.optim, optimizer)(model.parameters(), lr=lr)
        losses = [train_step(model, chosen, clone(batches), max_norm) for batches in steps]
        kept = all(mode == training for mode in [*model.modes, model.training])
    state = {name: value.detach().clone() for name, value in model.state_dict().items()}
    kind = type(losses[0]).__name__
    plain = torch.tensor([x.item() if isinstance(x, Tensor) else x for x in losses])
    return [plain, state["table.weight"], state["bias"], kept, kind]


def train_micro(train_step: Callable, steps: list[list[Batch]], lr: float = 3e-3) -> list[Any]:
    """Train the micro model with torch's AdamW: the losses, and its weights by name."""
    with torch.enable_grad():
        torch.manual_seed(0)
        model = GPT(MICRO).train()
        optimizer = torch.optim.AdamW(model.parameters(), lr=lr, betas=(0.9, 0.95))
        losses = []
        for number, batches in enumerate(steps):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, (number + 1) / 10)
            losses.append(train_step(model, optimizer, batches, 1.0))
    return [losses, {k: v.detach().clone() for k, v in model.state_dict().items()}]


@torch.no_grad()
def micro_loss(weights: dict[str, Tensor], inputs: Tensor, targets: Tensor) -> float:
    """The mean loss of the micro model with these weights; KeyError where one is missing."""
    model = GPT(MICRO)
    for key, own in model.state_dict().items():
        own.copy_(weights[key])
    return model.eval().loss(inputs, targets).item()


# --- checkpoints -----------------------------------------------------------------------------


def _setting(seed: int, lr: float) -> tuple[Bigram, torch.optim.Optimizer, torch.Generator]:
    gen = torch.Generator().manual_seed(seed)
    model = Bigram(7)
    with torch.no_grad():
        model.table.weight.copy_(torch.randn(7, 7, generator=gen))
    return model, torch.optim.AdamW(model.parameters(), lr=lr), gen


def _advance(model: nn.Module, optimizer: torch.optim.Optimizer, gen: torch.Generator,
             n_steps: int) -> None:  # fmt: skip
    """Train on batches that the generator draws, the rate falling step by step."""
    with torch.enable_grad():
        for _ in range(n_steps):
            ids = torch.randint(7, (4, 6), generator=gen)
            optimizer.zero_grad()
            F.cross_entropy(model(ids[:, :-1]).flatten(0, 1), ids[:, 1:].flatten()).backward()
            optimizer.step()
            optimizer.param_groups[0]["lr"] *= 0.9


def _contents(model: nn.Module, optimizer: torch.optim.Optimizer,
              gen: torch.Generator) -> list[Tensor]:  # fmt: skip
    """Weights, moments, rate and the generator's next draw."""
    moments = [v.flatten().double() for s in optimizer.state_dict()["state"].values()
               for v in s.values()]  # fmt: skip
    copy = torch.Generator()
    copy.set_state(gen.get_state())
    weights = [v.detach().flatten().double() for v in model.state_dict().values()]
    rate = torch.tensor(optimizer.param_groups[0]["lr"], dtype=torch.float64)
    return [torch.cat(weights), torch.cat(moments) if moments else torch.zeros(0).double(), rate,
            torch.randint(1 << 30, (4,), generator=copy)]  # fmt: skip


def run_straight(seed: int, n_steps: int) -> list[Tensor]:
    """Weights, moments, rate and next draw of a run that nobody interrupts."""
    parts = _setting(seed, 0.1)
    _advance(*parts, n_steps)
    return _contents(*parts)


def saved(save: Callable, seed: int, n_steps: int) -> list[Any]:
    """What `save` writes in the middle of a run: keys of the file, what is in it, and the step.

    The path held an older file. Contents are those of `run_straight`, as the file gives them back.
    Last, whether the run itself was left as it was, and how many files there are.
    """
    parts, other = _setting(seed, 0.1), _setting(seed + 1, 0.7)
    _advance(*parts, n_steps)
    before = _contents(*parts)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run.pt"
        path.write_bytes(b"an older file")
        save(str(path), parts[0], parts[1], n_steps, parts[2])
        untouched = all(map(torch.equal, before, _contents(*parts)))
        _advance(*parts, 3)  # what the file holds must not go on training
        held = torch.load(path, weights_only=True)
        n_files = len(list(Path(folder).iterdir()))
    keys = sorted(map(str, held))
    if keys != ["generator", "model", "optimizer", "step"]:
        return [" ".join(keys)]
    other[0].load_state_dict(held["model"])
    other[1].load_state_dict(held["optimizer"])
    other[2].set_state(held["generator"])
    return [" ".join(keys), *_contents(*other), held["step"], untouched, n_files]


def loaded(load: Callable, seed: int, n_steps: int, more: int = 0) -> list[Any]:
    """What `load` makes of a file: what it returns, and a run that it was given, `more` steps on.

    The file is written as the lab says. The run has other weights, moments of its own and another
    rate when it is loaded. Contents are those of `run_straight`.
    """
    parts, other = _setting(seed, 0.1), _setting(seed + 1, 0.7)
    _advance(*parts, n_steps)
    _advance(*other, 2)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "run.pt")
        torch.save({"model": parts[0].state_dict(), "optimizer": parts[1].state_dict(),
                    "step": n_steps, "generator": parts[2].get_state()}, path)  # fmt: skip
        step = load(path, *other)
    _advance(*other, more)
    return [step, *_contents(*other)]


def resumed(save: Callable, load: Callable, seed: int, first: int, more: int) -> list[Any]:
    """The step that `load` returns and the contents of a run that was saved, loaded and went on."""
    parts, other = _setting(seed, 0.1), _setting(seed + 1, 0.7)
    _advance(*parts, first)
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "run.pt")
        save(path, parts[0], parts[1], first, parts[2])
        step = load(path, *other)
    _advance(*other, more)
    return [step, *_contents(*other)]
