"""Training and generation: our reference GPT against nanoGPT's and transformers' GPT-2.

    git clone https://github.com/karpathy/nanoGPT
    python benchmarks/training/run.py --nanogpt nanoGPT             a few minutes
    python benchmarks/training/run.py --nanogpt nanoGPT --quick     two rounds, writes nothing

One configuration, the same weights in all three, the same batches. Contenders take turns step by
step, in a new order every round, so that what else the machine does meets all of them. No code of
theirs is kept here. Writes result.json and the table in README.md.
"""

import argparse
import importlib.util
import io
import json
import logging
import os
import platform
import random
import re
import subprocess
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import replace
from datetime import date
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
import transformers
from torch import Tensor, nn

from glassbox import counting
from glassbox.models import GPT, GPTConfig

HERE = Path(__file__).resolve().parent
CONFIG = GPTConfig(n_layers=4, d_model=128, n_heads=4, vocab_size=1024, context_len=128)
ROWS, N_TOKENS, PROMPT, N_NEW = 16, 128, 16, 100
Times = dict[str, list[float]]


# --- contenders --------------------------------------------------------------------------------


def load(folder: Path) -> ModuleType:
    """nanoGPT's model.py from its checkout."""
    spec = importlib.util.spec_from_file_location("nanogpt_model", folder / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gpt2() -> transformers.GPT2LMHeadModel:
    """transformers' GPT-2 of these sizes, without dropout, with noise on every parameter."""
    c = CONFIG
    model = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        vocab_size=c.vocab_size, n_positions=c.context_len, n_embd=c.d_model, n_layer=c.n_layers,
        n_head=c.n_heads, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=None,
        eos_token_id=None))  # fmt: skip
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return model


def nanogpt(module: ModuleType, state: dict[str, Tensor]) -> nn.Module:
    """nanoGPT of these sizes with GPT-2's weights; its matrices lie the other way round."""
    c = CONFIG
    with redirect_stdout(io.StringIO()):
        model = module.GPT(module.GPTConfig(c.context_len, c.vocab_size, c.n_layers, c.n_heads,
                                            c.d_model, 0.0, True))  # fmt: skip
    turned = re.compile(r".*(c_attn|c_proj|c_fc)\.weight")
    model.load_state_dict({key: value.T.clone() if turned.fullmatch(key) else value.clone()
                           for key, value in state.items()})  # fmt: skip
    return model


class Contenders:
    """Three models with the same weights: what a loss, a training step and a generation are."""

    def __init__(self, module: ModuleType) -> None:
        torch.manual_seed(0)
        hf = gpt2()
        ours, exact = GPT(CONFIG), GPT(replace(CONFIG, gelu="exact"))
        for model in (ours, exact):
            model.load_gpt2(hf.state_dict())
        nano = nanogpt(module, hf.state_dict())
        self.models = {"ours": ours, "ours, exact GELU": exact, "nanoGPT": nano, "transformers": hf}
        with redirect_stdout(io.StringIO()):
            theirs = nano.configure_optimizers(0.1, 1e-3, (0.9, 0.95), "cpu")
        self.optimizers = {
            name: torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95),
                                    fused=name.startswith("ours") or None)
            for name, model in self.models.items()
        } | {"nanoGPT": theirs}  # fmt: skip
        self.losses: dict[str, Callable[[Tensor], Tensor]] = {
            "ours": lambda ids: ours.loss(ids[:, :-1], ids[:, 1:]),
            "ours, exact GELU": lambda ids: exact.loss(ids[:, :-1], ids[:, 1:]),
            "nanoGPT": lambda ids: nano(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())[1],
            "transformers": lambda ids: hf(input_ids=ids[:, :-1], labels=ids[:, 1:],
                                           shift_labels=ids[:, 1:].contiguous()).loss,
        }  # fmt: skip

    def step(self, name: str, ids: Tensor) -> None:
        """Forward, backward, clipping, AdamW."""
        self.losses[name](ids).backward()
        nn.utils.clip_grad_norm_(self.models[name].parameters(), 1.0)
        self.optimizers[name].step()
        self.optimizers[name].zero_grad(set_to_none=True)

    def generate(self, name: str, ids: Tensor) -> Tensor:
        """The likeliest 100 tokens after a prompt; of nanoGPT top-k 1, which has no cache."""
        model = self.models[name].eval()
        if name.startswith("ours"):
            return model.generate(ids, N_NEW, temperature=0)
        if name == "nanoGPT":
            return model.generate(ids, N_NEW, top_k=1)
        return model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=N_NEW,
                              do_sample=False, use_cache=True, pad_token_id=0)  # fmt: skip


# --- measuring ---------------------------------------------------------------------------------


def turns(actions: dict[str, Callable[[], Any]], rounds: int) -> Times:
    """Seconds of each action in each round, after one that does not count."""
    seconds: Times = {name: [] for name in actions}
    for i in range(rounds + 1):
        for name in random.sample(list(actions), len(actions)):
            start = time.perf_counter()
            actions[name]()
            if i:
                seconds[name].append(time.perf_counter() - start)
    return seconds


def row(title: str, own: str, peer: str, amount: float, seconds: Times) -> dict[str, Any]:
    """A row of result.json: tokens per second, and the median ratio of pairs."""
    ours, theirs = seconds[own], seconds[peer]
    ratios = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
    return {"name": f"{title}: {own} against {peer}", "ours": round(amount / median(ours), 1),
            "peer": round(amount / median(theirs), 1), "unit": "tokens/s",
            "ratio": round(median(ratios), 3), "runs": len(ratios),
            "note": f"the middle half of the ratios lies in {low:.2f} to {high:.2f}"}  # fmt: skip


def share(seconds: Times, n: int) -> dict[str, Any]:
    """Our operations per second in training as a share of a large matrix product's."""
    shape = counting.Model("", "gpt2", n_layers=CONFIG.n_layers, d_model=CONFIG.d_model,
                           n_heads=CONFIG.n_heads, vocab_size=CONFIG.vocab_size,
                           context_len=CONFIG.context_len)  # fmt: skip
    work = 3 * counting.forward_flops(shape, ROWS, N_TOKENS) / (2 * n**3)
    shares = [work * m / t for m, t in zip(seconds["matmul"], seconds["ours"], strict=True)]
    return {"name": "training: share of the matmul ceiling", "ours": round(median(shares), 3),
            "peer": None, "unit": "of the ceiling", "ratio": None, "runs": len(shares),
            "note": f"three forward passes' matrix products against {n} x {n} float32 products in "
                    "the same rounds; full T² of attention counted"}  # fmt: skip


def measure(contenders: Contenders, rounds: int) -> list[dict[str, Any]]:
    """All rows."""
    ids = torch.randint(CONFIG.vocab_size, (ROWS, N_TOKENS + 1))
    names = list(contenders.models)
    losses = {name: contenders.losses[name](ids).item() for name in names}
    apart = max(abs(loss - losses["ours"]) for loss in losses.values())
    if not apart < 1e-4:
        raise SystemExit(f"losses on the same weights differ: {losses}")
    prompt = ids[:1, :PROMPT]
    answers = {name: contenders.generate(name, prompt) for name in names}
    if not answers["ours"].equal(answers["transformers"]):
        raise SystemExit("greedy answers on the same weights differ.")
    decoding = turns({name: lambda name=name: contenders.generate(name, prompt)
                      for name in names}, rounds)  # fmt: skip
    for model in contenders.models.values():
        model.train()
    n = 1024
    a, b = torch.randn(2, n, n)
    steps = {name: lambda name=name: contenders.step(name, ids) for name in names}
    training = turns({**steps, "matmul": lambda: torch.mm(a, b)}, 3 * rounds)
    pairs = [("ours, exact GELU", "nanoGPT"), ("ours", "nanoGPT"), ("ours", "transformers")]
    rows = [row("training", *pair, ROWS * N_TOKENS, training) for pair in pairs]
    rows += [row("generation", *pair, N_NEW, decoding) for pair in pairs[1:]]
    same = {"name": "largest difference of losses on the same weights", "ours": apart,
            "peer": None, "unit": "nats", "ratio": None, "runs": 1,
            "note": "float32; transformers and ours have the tanh form of GELU, nanoGPT the exact "
                    "one"}  # fmt: skip
    return [*rows, share(training, n), same]


# --- result ------------------------------------------------------------------------------------


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for README.md."""
    lines = ["| | ratio | runs | |", "|---|--:|--:|---|"]
    for r in rows:
        value = f"**{r['ratio']:.2f}**" if r["ratio"] else f"{r['ours']:.2g} {r['unit']}"
        lines.append(f"| {r['name']} | {value} | {r['runs']} | {r['note']} |")
    return "\n".join(lines)


def machine(folder: Path) -> str:
    """The machine and the versions in words."""
    command = ["git", "-C", str(folder), "rev-parse", "--short", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True).stdout.strip() or "unknown"
    return (f"{torch.get_num_threads()} thread(s) of {platform.machine()} "
            f"({torch.backends.cpu.get_cpu_capability()}), {platform.system()}; torch "
            f"{torch.__version__.split('+')[0]}, transformers {transformers.__version__}, nanoGPT "
            f"at {commit}; load at the end {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; "
            "not run on a GPU")  # fmt: skip


def main() -> None:
    """Measure, write the result and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nanogpt", type=Path, required=True, help="a checkout of nanoGPT")
    parser.add_argument("--rounds", type=int, default=11, help="of generation; of training thrice")
    parser.add_argument("--quick", action="store_true", help="two rounds, nothing is written")
    given = parser.parse_args()
    if not (given.nanogpt / "model.py").is_file():
        raise SystemExit(f"{given.nanogpt} is no checkout of karpathy/nanoGPT.")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    torch.set_num_threads(1)
    random.seed(0)
    rows = measure(Contenders(load(given.nanogpt)), 2 if given.quick else max(7, given.rounds))
    print(table(rows))
    if given.quick:
        return
    result = {"machine": machine(given.nanogpt), "date": date.today().isoformat(), "rows": rows}
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "result.json").write_text(text + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    marks = r"(<!-- table: written by run\.py -->\n).*(<!-- end -->)"
    new = re.sub(marks, lambda m: f"{m[1]}\n{table(rows)}\n\n{m[2]}", readme.read_text("utf-8"),
                 flags=re.S)  # fmt: skip
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
