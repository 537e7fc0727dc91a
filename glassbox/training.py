"""Train a GPT on a CPU, a GPU or several, stopped at any time and resumed exactly.

`train(model, batches, settings)` makes `settings.steps` steps of AdamW with warm-up and cosine.
What is random in a step is drawn from (seed, step), so a run that goes on from a checkpoint sees
what it would have seen. Started by torchrun, every process draws the batch of a step and takes its
rows of it: N processes do the work of one. It does not tokenise, tune settings or log to a service.

    torchrun --nproc-per-node 2 -m glassbox.training text.txt --model micro --steps 300
"""

import argparse
import json
import math
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint import state_dict as whole
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel
from tqdm.auto import tqdm

from glassbox import counting, models

Batches = Callable[[int, torch.Generator], tuple[Tensor, ...]]
"""`batches(step, generator)` -> ids, targets (rows, T), and perhaps segments: all of one step."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How to train. What a step does is fixed by these, the batches and the model's start.

    `accumulation`: into how many parts each process cuts its rows. `warm_up`: steps in which the
    rate climbs, equal parts a step, to `rate`; then it falls along a cosine to `floor` times
    `rate` at the last step.
    `decay`: on matrices alone. `clip` 0: never. `precision`: "bf16" computes in 16 bits where that
    is safe and keeps weights in 32. `compile` and "bf16" are for GPUs. `folder`: for checkpoints,
    one every `save_every` steps (0: at the end and on Ctrl-C), and for run_record.json.
    `bytes_per_token`: turns a loss into bits per byte. `peak`: FLOP/s for the MFU; None: measured.
    """

    steps: int
    rate: float = 3e-3
    warm_up: int = 20
    floor: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    decay: float = 0.1
    clip: float = 1.0
    accumulation: int = 1
    seed: int = 0
    precision: str = "fp32"
    compile: bool = False
    sharded: bool = False  # several processes: FSDP instead of DDP
    eval_every: int = 0
    save_every: int = 0
    folder: str | None = None
    bytes_per_token: float = 1.0
    peak: float | None = None
    progress: bool = True

    def __post_init__(self) -> None:
        if self.precision not in ("fp32", "bf16"):
            raise ValueError(f'precision is {self.precision!r}; it must be "fp32" or "bf16".')
        if min(self.steps, self.accumulation) < 1 or not 0 <= self.warm_up <= self.steps:
            raise ValueError("steps and accumulation are at least 1, warm_up is within the steps.")


# What may differ between a run and its continuation.
_FREE = ("folder", "progress", "peak", "eval_every", "save_every", "accumulation", "compile",
         "sharded", "bytes_per_token")  # fmt: skip


# --- data --------------------------------------------------------------------------------------


def crops(tokens: Tensor, rows: int, n_tokens: int) -> Batches:
    """Batches of random stretches of a long (N,) sequence of ids, which may lie on disk."""
    if len(tokens) <= n_tokens:
        raise ValueError(f"{len(tokens)} tokens are too few for stretches of {n_tokens + 1}.")

    def batches(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        starts = torch.randint(len(tokens) - n_tokens, (rows,), generator=generator).tolist()
        cut = torch.stack([tokens[s : s + n_tokens + 1].long() for s in starts])
        return cut[:, :-1], cut[:, 1:]

    return batches


def _generator(*numbers: int) -> torch.Generator:
    """A generator for these numbers, unlike the one for any others."""
    seed = np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(seed) & 0xFFFFFFFF)


# --- measuring ---------------------------------------------------------------------------------


def matmul_ceiling(device: str | torch.device = "cpu", dtype: torch.dtype = torch.float32,
                   n: int | None = None) -> float:  # fmt: skip
    """FLOP/s of the best of several large matrix products: what this machine can reach."""
    device = torch.device(device)
    n = n or (8192 if device.type == "cuda" else 1024)
    a, b, best = *torch.randn(2, n, n, device=device, dtype=dtype), math.inf
    for _ in range(8):
        _wait(device)
        start = time.perf_counter()
        torch.mm(a, b)
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return 2 * n**3 / best


def flops_per_token(model: models.GPT, n_tokens: int) -> float:
    """Operations of training on one token in rows of T: 6 per parameter, and attention's."""
    c = model.config
    shape = counting.Model("", "gpt2", n_layers=c.n_layers, d_model=c.d_model, n_heads=c.n_heads,
                           vocab_size=c.vocab_size, context_len=n_tokens)  # fmt: skip
    return counting.flops(models.count(model), 1, shape)


@torch.no_grad()
def evaluate(model: nn.Module, batches: Batches, n_batches: int = 8, seed: int = 0,
             bytes_per_token: float = 1.0) -> dict[str, float]:  # fmt: skip
    """Mean loss of a token, perplexity and bits per byte, over the same batches at every call."""
    device, was = next(model.parameters()).device, model.training
    model.eval()
    total, count = 0.0, 0
    for i in range(n_batches):
        ids, targets, *rest = (t.to(device) for t in batches(i, _generator(seed, i)))
        total += model(ids, targets, *rest, reduction="sum").item()
        count += int((targets != models.IGNORED).sum())
    model.train(was)
    loss = total / count
    return {"loss": loss, "perplexity": math.exp(loss), "tokens": count,
            "bits_per_byte": loss / math.log(2) / bytes_per_token}  # fmt: skip


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


# --- processes ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Crew:
    """The processes of a run; alone without torchrun."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def total(self, *numbers: float) -> list[float]:
        """Each number summed over all processes."""
        if self.size == 1:
            return list(numbers)
        sums = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.all_reduce(sums)
        return sums.tolist()


@contextmanager
def _crew(model: nn.Module) -> Iterator[Crew]:
    """Join the processes that torchrun started, if it did; leave them in the end."""
    device = next(model.parameters()).device
    if "WORLD_SIZE" not in os.environ:
        yield Crew(device=device)
        return
    begun = not dist.is_initialized()
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    if begun:
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Crew(dist.get_rank(), dist.get_world_size(), device)
    finally:
        if begun:
            dist.destroy_process_group()


def _spread(model: models.GPT, settings: Settings, crew: Crew) -> nn.Module:
    """The model as it is trained: moved, compiled, copied to or cut among the processes."""
    model.to(crew.device)
    parts = list(model.blocks) if settings.sharded and crew.size > 1 else [model]
    if settings.compile and crew.device.type == "cuda":
        for part in parts:
            part.compile()
    if crew.size == 1:
        return model
    if not settings.sharded:
        ids = [crew.device.index] if crew.device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)
    for tensor in model.state_dict().values():  # DDP copies the first process's weights by itself
        dist.broadcast(tensor, 0)
    mesh = dist.init_device_mesh(crew.device.type, (crew.size,))
    for part in (*model.blocks, model):
        fully_shard(part, mesh=mesh)
    return model


# --- the run -----------------------------------------------------------------------------------


def _rate(step: int, s: Settings) -> float:
    """The rate of a step, counted from 0."""
    if step < s.warm_up:
        return s.rate * (step + 1) / s.warm_up
    done = (step - s.warm_up) / max(1, s.steps - 1 - s.warm_up)
    return s.rate * (s.floor + (1 - s.floor) * (1 + math.cos(math.pi * min(1.0, done))) / 2)


def _optimizer(model: nn.Module, s: Settings) -> torch.optim.AdamW:
    """AdamW; matrices decay, vectors do not."""
    groups = [
        {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": s.decay},
        {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    kind = {"foreach": True} if s.sharded else {"fused": True}
    return torch.optim.AdamW(groups, lr=s.rate, betas=s.betas, **kind)


class _Run:
    """A model, its optimizer and how far they are."""

    def __init__(self, model: models.GPT, settings: Settings, crew: Crew) -> None:
        self.settings, self.crew = settings, crew
        self.model = _spread(model, settings, crew)
        self.optimizer = _optimizer(self.model, settings)
        self.step, self.losses, self.evals = 0, [], []
        self.seconds, self.tokens = [], 0
        folder = settings.folder
        self.file = Path(folder) / "checkpoint.pt" if folder else None

    def advance(self, batches: Batches) -> None:
        """One step: parts of the rows one after another, each token weighing the same."""
        s, crew = self.settings, self.crew
        began, rate = time.perf_counter(), _rate(self.step, s)
        whole_batch = batches(self.step, _generator(s.seed, self.step))
        count = int((whole_batch[1] != models.IGNORED).sum())
        if len(whole_batch[0]) < crew.size * s.accumulation:
            raise ValueError(f"{len(whole_batch[0])} rows are too few for {crew.size} processes "
                             f"with {s.accumulation} parts each.")  # fmt: skip
        mine = [t.tensor_split(crew.size)[crew.rank].to(crew.device) for t in whole_batch]
        parts = list(zip(*(t.tensor_split(s.accumulation) for t in mine), strict=True))
        torch.manual_seed(_generator(s.seed, self.step, crew.rank).initial_seed())  # for dropout
        loss = 0.0
        for i, part in enumerate(parts):
            with self._sync(i == len(parts) - 1), self._precision():
                summed = self.model(part[0], part[1], *part[2:], reduction="sum")
                (summed * (crew.size / count)).backward()  # gradients are averaged over processes
            loss += summed.detach()
        if s.clip:
            nn.utils.clip_grad_norm_(self.model.parameters(), s.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses.append(crew.total(float(loss))[0] / count)
        self.step += 1
        self.tokens += whole_batch[0].numel()
        self.seconds.append((time.perf_counter() - began) / whole_batch[0].numel())
        self.n_tokens = whole_batch[0].shape[1]

    @contextmanager
    def _sync(self, last: bool) -> Iterator[None]:
        """Gradients travel with the last part only."""
        if self.settings.sharded and self.crew.size > 1:
            self.model.set_requires_gradient_sync(last)
        skip = isinstance(self.model, DistributedDataParallel) and not last
        with self.model.no_sync() if skip else nullcontext():
            yield

    def _precision(self) -> Any:
        on = self.settings.precision == "bf16"
        return torch.autocast(self.crew.device.type, torch.bfloat16) if on else nullcontext()

    # --- checkpoints ---------------------------------------------------------------------------

    def save(self) -> None:
        """Write the checkpoint beside the old one, then put it in its place."""
        if self.file is None:
            return
        options = whole.StateDictOptions(full_state_dict=True, cpu_offload=True)
        weights, state = whole.get_state_dict(self.model, self.optimizer, options=options)
        if self.crew.rank:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        fresh = self.file.with_suffix(".new")
        with fresh.open("wb") as file:
            torch.save({"model": weights, "optimizer": state, "step": self.step,
                        "tokens": self.tokens, "losses": self.losses, "evals": self.evals,
                        "settings": asdict(self.settings)}, file)  # fmt: skip
            file.flush()
            os.fsync(file.fileno())
        os.replace(fresh, self.file)

    def resume(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.file is None or not self.file.exists():
            return
        saved = torch.load(self.file, map_location="cpu", weights_only=True)
        ours = asdict(self.settings)
        for name in (f.name for f in fields(Settings) if f.name not in _FREE):
            if saved["settings"][name] != ours[name]:
                raise ValueError(f"{self.file.name} was made with {name} "
                                 f"{saved['settings'][name]}, not {ours[name]}.")  # fmt: skip
        options = whole.StateDictOptions(full_state_dict=True)
        whole.set_state_dict(self.model, self.optimizer, model_state_dict=saved["model"],
                             optim_state_dict=saved["optimizer"], options=options)  # fmt: skip
        self.step, self.tokens = saved["step"], saved["tokens"]
        self.losses, self.evals = saved["losses"], saved["evals"]

    def record(self, model: models.GPT, peak: float) -> dict[str, Any]:
        """What became of the run, for people and for run_record.json."""
        speed = 1 / median(self.seconds) if self.seconds else 0.0
        use = speed * flops_per_token(model, self.n_tokens) / peak / self.crew.size if speed else 0
        loss = sum(self.losses[-10:]) / max(1, len(self.losses[-10:]))
        return {
            "step": self.step, "steps": self.settings.steps, "tokens": self.tokens,
            "loss": loss, "bits_per_byte": loss / math.log(2) / self.settings.bytes_per_token,
            "tokens_per_second": speed, "mfu": use, "peak": peak, "machine": machine(self.crew),
            "losses": self.losses, "evals": self.evals, "settings":
            {k: v for k, v in asdict(self.settings).items() if k != "folder"},
        }  # fmt: skip


def machine(crew: Crew | None = None) -> str:
    """The machine in words."""
    crew = crew or Crew()
    device = f"{torch.get_num_threads()} threads of {platform.machine()}"
    if crew.device.type == "cuda":
        device = torch.cuda.get_device_name(crew.device)
    version = torch.__version__.split("+")[0]
    return f"{crew.size} x {device}, {platform.system()}, torch {version}"


@contextmanager
def _told() -> Iterator[list[int]]:
    """Ctrl-C and SIGTERM are noted, to end the run between two steps; a second one ends it now."""
    told: list[int] = []

    def note(number: int, _: Any) -> None:
        told.append(number)
        signal.signal(number, before[number])

    before = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, note)
    except ValueError:  # not the main thread: signals are not ours
        pass
    try:
        yield told
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def train(
    model: models.GPT, batches: Batches, settings: Settings, validation: Batches | None = None
) -> dict[str, Any]:
    """Train the model in place -> what became of it: losses, evals, tokens/s, MFU and more.

    With a folder it goes on from the checkpoint there and writes run_record.json. Ctrl-C saves
    and raises KeyboardInterrupt; the same call goes on. `validation` is used every `eval_every`.
    With several processes all of them call this, with the same arguments.
    """
    with _crew(model) as crew, torch.random.fork_rng(_devices(crew)), _told() as told:
        model.train()
        run = _Run(model, settings, crew)
        run.resume()
        dtype = torch.bfloat16 if settings.precision == "bf16" else torch.float32
        peak = settings.peak or matmul_ceiling(crew.device, dtype)
        hidden = not settings.progress or crew.rank > 0
        with tqdm(total=settings.steps, initial=run.step, disable=hidden, unit="step") as bar:
            while run.step < settings.steps and not crew.total(len(told))[0]:
                run.advance(batches)
                _between(run, validation)
                if not hidden:
                    speed = 1 / median(run.seconds[-20:])
                    use = speed * flops_per_token(model, run.n_tokens) / peak / crew.size
                    bar.set_postfix_str(f"loss {run.losses[-1]:.3f}, {speed:,.0f} tokens/s, "
                                        f"MFU {use:.0%}")  # fmt: skip
                    bar.update()
        run.save()
        record = run.record(model, peak)
        if run.file is not None and crew.rank == 0:
            text = json.dumps(record, indent=1)
            (run.file.parent / "run_record.json").write_text(text + "\n", encoding="utf-8")
    if run.step < settings.steps:
        raise KeyboardInterrupt(f"stopped after step {run.step} of {settings.steps}")
    return record


def _between(run: _Run, validation: Batches | None) -> None:
    """After a step: evaluate and save where it is time."""
    s = run.settings
    if validation is not None and s.eval_every and run.step % s.eval_every == 0:
        found = evaluate(run.model, validation, bytes_per_token=s.bytes_per_token)
        run.evals.append({"step": run.step, **found})
    if s.save_every and run.step % s.save_every == 0 and run.step < s.steps:
        run.save()


def _devices(crew: Crew) -> list[torch.device]:
    return [crew.device] if crew.device.type == "cuda" else []


# --- command line ------------------------------------------------------------------------------

NAMED = {"micro": models.MICRO, "recipe": models.RECIPE, "gpt2-small": models.GPT2_SMALL}


def _tokens(file: Path) -> Tensor:
    """Ids from a .npy file, which stays on disk, or the bytes of a text."""
    if file.suffix == ".npy":
        return torch.from_numpy(np.load(file, mmap_mode="c"))
    return torch.from_numpy(np.memmap(file, np.uint8, "c"))


def main(arguments: list[str] | None = None) -> None:
    """Train a named model on a file; `torchrun -m glassbox.training --help` tells how."""
    parser = argparse.ArgumentParser(prog="glassbox.training", description=__doc__.split("\n")[0])
    parser.add_argument("file", type=Path, help="a text (its bytes are the ids), or ids as .npy")
    parser.add_argument("--model", choices=NAMED, default="micro")
    parser.add_argument("--rows", type=int, default=32, help="rows of a step, of all processes")
    parser.add_argument("--n-tokens", type=int, help="tokens of a row; default: the context")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for option in fields(Settings):
        if option.name == "betas":
            continue
        name, default = f"--{option.name.replace('_', '-')}", option.default
        if isinstance(default, bool):
            parser.add_argument(name, action=argparse.BooleanOptionalAction, default=default)
        else:
            kind = {"steps": int, "folder": str, "peak": float}.get(option.name, type(default))
            default = 300 if option.name == "steps" else default
            parser.add_argument(name, type=kind, default=default)
    given = parser.parse_args(arguments)
    settings = Settings(**{f.name: getattr(given, f.name) for f in fields(Settings)
                           if f.name != "betas"})  # fmt: skip
    torch.manual_seed(settings.seed)
    config = NAMED[given.model]
    batches = crops(_tokens(given.file), given.rows, given.n_tokens or config.context_len)
    record = train(models.GPT(config).to(given.device), batches, settings)
    if int(os.environ.get("RANK", "0")) == 0:
        speed, use = record["tokens_per_second"], record["mfu"]
        sys.stdout.write(f"loss {record['loss']:.3f}, {speed:,.0f} tokens/s, MFU {use:.0%}\n")


if __name__ == "__main__":
    main()
