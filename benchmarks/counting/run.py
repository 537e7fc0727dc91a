"""Counting: ours, EleutherAI's calculators and accelerate's estimator against exact counts.

    git clone https://github.com/EleutherAI/cookbook
    python benchmarks/counting/run.py cookbook            a minute
    python benchmarks/counting/run.py cookbook --quick    two models, writes nothing

Exact is what the transformers library builds on torch's meta device, where tensors have shapes and
no memory. The peer's calculators run from their checkout as they are: their own argument parser,
their own function, whose local variables are read when it returns, because it prints two digits.
No code of theirs is kept here. Writes result.json and the table in README.md.
"""

import argparse
import importlib.util
import io
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
import transformers
from accelerate import init_empty_weights
from accelerate.commands.estimate import estimate_training_usage
from accelerate.utils import calculate_maximum_sizes
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModel

from glassbox import counting
from glassbox.counting import MODELS, Model

HERE = Path(__file__).resolve().parent
NAMES = ["GPT-2 small", "GPT-2 xl", "GPT-3 175B", "BERT-base", "T5-base", "Llama-2 7B",
         "Llama-2 70B", "Llama-3 8B", "Llama-3.2 1B", "Mixtral 8x7B"]  # fmt: skip
PEERS = ("cookbook", "accelerate")
UNITS = {"parameters": "parameters", "training states": "bytes", "KV cache": "bytes",
         "forward pass": "FLOPs"}  # fmt: skip


def window(model: Model) -> int:
    """Tokens of the cache and of the forward pass: the whole context, at most 4,096."""
    return min(model.context_len, 4096)


# --- exact -----------------------------------------------------------------------------------


def config(model: Model) -> transformers.PretrainedConfig:
    """The configuration of transformers for one of our shapes."""
    m = model.filled()
    if m.family == "gpt2":
        return transformers.GPT2Config(
            vocab_size=m.vocab_size, n_positions=m.context_len, n_embd=m.d_model,
            n_layer=m.n_layers, n_head=m.n_heads)  # fmt: skip
    if m.family == "t5":
        return transformers.T5Config(
            vocab_size=m.vocab_size, d_model=m.d_model, d_kv=m.d_head, d_ff=m.d_ff,
            num_layers=m.n_layers, num_heads=m.n_heads)  # fmt: skip
    wide = {"vocab_size": m.vocab_size, "hidden_size": m.d_model, "num_hidden_layers": m.n_layers,
            "num_attention_heads": m.n_heads, "intermediate_size": m.d_ff,
            "max_position_embeddings": m.context_len}  # fmt: skip
    if m.family == "bert":
        return transformers.BertConfig(**wide)
    wide |= {"num_key_value_heads": m.n_kv_heads, "tie_word_embeddings": m.tied}
    if m.family == "llama":
        return transformers.LlamaConfig(**wide)
    return transformers.MixtralConfig(num_local_experts=m.n_experts, num_experts_per_tok=m.k,
                                      **wide)  # fmt: skip


def built(model: Model) -> nn.Module:
    """The whole model in 16 bits on the meta device, head included where it has one."""
    kinds = {"gpt2": "GPT2LMHeadModel", "bert": "BertModel", "t5": "T5ForConditionalGeneration",
             "llama": "LlamaForCausalLM", "mixtral": "MixtralForCausalLM"}  # fmt: skip
    with torch.device("meta"):
        return getattr(transformers, kinds[model.family])(config(model)).to(torch.bfloat16).eval()


def states(module: nn.Module) -> int:
    """Bytes of what mixed-precision AdamW keeps: weights, gradients, master copy, m and v."""
    weights = list(module.parameters())
    masters = [nn.Parameter(weight.detach().float()) for weight in weights]
    for master in masters:
        master.grad = torch.empty_like(master)
    optimizer = torch.optim.AdamW(masters, foreach=False)
    optimizer.step()
    moments = [
        state[key] for state in optimizer.state.values() for key in ("exp_avg", "exp_avg_sq")
    ]
    gradients = [torch.empty_like(weight) for weight in weights]
    return sum(t.nbytes for t in [*weights, *gradients, *masters, *moments])


def exact(model: Model) -> dict[str, int]:
    """What is counted on the meta device; of T5 and Mixtral no forward pass, of BERT no cache."""
    module = built(model)
    found = {"parameters": sum(p.numel() for p in module.parameters()),
             "training states": states(module)}  # fmt: skip
    if model.family == "t5":
        return found
    ids = torch.zeros(1, window(model), dtype=torch.long, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        output = module(ids)
    if model.family != "mixtral":  # its experts run in a grouped product that is not counted
        found["forward pass"] = counter.get_total_flops()
    if model.family != "bert":
        layers = output.past_key_values.layers
        found["KV cache"] = sum(t.nbytes for layer in layers for t in (layer.keys, layer.values))
    return found


def ours(model: Model) -> dict[str, int]:
    """The same four figures from our functions."""
    n_params, n_tokens = counting.count(model)["total"], window(model)
    found = {"parameters": n_params, "training states": int(counting.memory(n_params)["total"])}
    if model.family != "t5":
        found["KV cache"] = counting.cache(model, 1, n_tokens)
        found["forward pass"] = counting.forward_flops(model, 1, n_tokens)
    return found


# --- peers -----------------------------------------------------------------------------------


def accelerate(model: Model) -> dict[str, float]:
    """`accelerate estimate-memory` without the hub: its functions on a model built as it builds it.

    It builds AutoModel, which has no head. Its row for float32 is the one with 16 bytes per
    parameter when training; cache and FLOPs it does not give.
    """
    with init_empty_weights():
        module = AutoModel.from_config(config(model), dtype=torch.float32)
    n_bytes, _ = calculate_maximum_sizes(module)
    training = max(estimate_training_usage(n_bytes, "float32").values())
    return {"parameters": n_bytes / 4, "training states": training}


def locals_of(script: Path, function: str, arguments: list[str]) -> dict[str, Any]:
    """Run a calculator of the peer as its command line does -> its local variables at the end."""
    spec = importlib.util.spec_from_file_location(script.stem, script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    call, caught = getattr(module, function), {}

    def watch(frame: Any, event: str, _: Any) -> None:
        if event == "return" and frame.f_code is call.__code__:
            caught.update(frame.f_locals)

    parsed = module.config_parser().parse_args(arguments)
    with redirect_stdout(io.StringIO()):
        sys.setprofile(watch)
        try:
            call(parsed)
        finally:
            sys.setprofile(None)
    return caught


def cookbook(model: Model, folder: Path) -> dict[str, float]:
    """EleutherAI's three calculators, told everything about the model that they have options for.

    Parameters come from the script for parameters; where its whole-number expansion factor
    cannot say the feed-forward width, from the script for memory, which takes a fraction.
    """
    if model.family == "t5":
        return {}  # two stacks: there is no option
    m = model.filled()
    gated = 3 if m.family in ("llama", "mixtral") else 2
    factor, rows = m.d_ff / m.d_model, str(window(model))
    shape = ["--vocab-size", str(m.vocab_size), "--hidden-size", str(m.d_model),
             "--num-layers", str(m.n_layers), "--num-mlp-linears", str(gated),
             "--kv-size-ratio", str(m.n_kv_heads / m.n_heads)]  # fmt: skip
    memory = [*shape, "--num-attention-heads", str(m.n_heads), "--ffn-expansion-factor",
              str(factor)]  # fmt: skip
    if m.n_experts:
        memory += ["--num-experts", str(m.n_experts)]
    training = locals_of(folder / "calc_transformer_mem.py", "calc_mem", [
        *memory, "--sequence-length", rows, "--zero-stage", "0",
        "--bytes-per-grad-ele", "2"])  # fmt: skip
    found = {"training states": sum(training[key] for key in (
        "per_gpu_model_mem", "per_gpu_gradient_mem", "per_gpu_optimizer_mem"))}  # fmt: skip
    if factor == int(factor) and not m.n_experts:
        tied = ["--tied-embeddings"] if m.tied else []
        found["parameters"] = locals_of(
            folder / "calc_transformer_params.py", "calc_params",
            [*shape, *tied, "--sequence-length", rows,
             "--ffn-expansion-factor", str(int(factor))])["total_params"]  # fmt: skip
    else:
        found["parameters"] = training["total_moe_params" if m.n_experts else "total_params"]
    if m.family != "bert":
        serving = locals_of(folder / "calc_transformer_mem.py", "calc_mem", [
            *memory, "--sequence-length", rows, "--infer", "--output-tokens", "0"])  # fmt: skip
        found["KV cache"] = serving["kv_cache_mem"]
    if not m.n_experts:
        found["forward pass"] = locals_of(
            folder / "calc_transformer_flops.py", "calc_flops",
            [*shape, "--sequence-length", rows, "--tokens", rows, "--infer", "--expert-interval",
             "1", "--ffn-hidden-size", str(m.d_ff)])["total_flops"]  # fmt: skip
    return found


# --- result ----------------------------------------------------------------------------------


def compare(model: Model, folder: Path) -> Iterator[dict[str, Any]]:
    """A row for every figure that is known exactly."""
    own, truth = ours(model), exact(model)
    peers = {"cookbook": cookbook(model, folder), "accelerate": accelerate(model)}
    for what, value in truth.items():
        given = {name: round(peers[name][what]) for name in PEERS if what in peers[name]}
        off = {name: n / value - 1 for name, n in (("ours", own[what]), *given.items())}
        yield {
            "name": f"{model.name}: {what}", "ours": own[what], "peer": None, "unit": UNITS[what],
            "ratio": None, "runs": 1,
            "note": "counted, not timed; off: " + ", ".join(
                f"{name} {percent(share)}" for name, share in off.items()),
            "exact": value, "peers": given, "off": {k: round(v, 9) for k, v in off.items()},
        }  # fmt: skip


def percent(share: float) -> str:
    """+0.3 %; 0 means exactly."""
    if share == 0:
        return "0"
    return f"{100 * share:+.1f} %" if abs(share) >= 5e-4 else f"{100 * share:+.1g} %"


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as a table for README.md."""
    lines = ["| | exact | ours | cookbook | accelerate |", "|---|--:|--:|--:|--:|"]
    for what in UNITS:
        for row in (row for row in rows if row["name"].endswith(f": {what}")):
            cells = [percent(row["off"][name]) if name in row["off"] else "-"
                     for name in ("ours", *PEERS)]  # fmt: skip
            lines.append(f"| {row['name']} | {row['exact']:,} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def commit(folder: Path) -> str:
    """The commit of the peer's checkout."""
    command = ["git", "-C", str(folder), "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    """Compare, write the result and the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("cookbook", type=Path, help="a checkout of EleutherAI/cookbook")
    parser.add_argument("--quick", action="store_true", help="two models, nothing is written")
    parsed = parser.parse_args()
    logging.getLogger("transformers").setLevel(logging.ERROR)
    folder = parsed.cookbook / "calc"
    if not (folder / "calc_transformer_mem.py").is_file():
        raise SystemExit(f"{parsed.cookbook} is no checkout of EleutherAI/cookbook.")
    names = NAMES[:1] + NAMES[7:8] if parsed.quick else NAMES
    rows = [row for name in names for row in compare(MODELS[name], folder)]
    print(table(rows))
    if parsed.quick:
        return
    versions = ", ".join(f"{name} {version(name)}" for name in ("accelerate", "transformers"))
    result = {
        "machine": f"any, nothing is timed; EleutherAI cookbook at {commit(parsed.cookbook)}, "
        f"{versions}, torch {torch.__version__.split('+')[0]}, CPU (meta device)",
        "date": date.today().isoformat(),
        "rows": rows,
    }
    text = json.dumps(result, indent=1, ensure_ascii=False)
    (HERE / "result.json").write_text(text + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    marks = r"(<!-- table: written by run\.py -->\n).*(<!-- end -->)"
    text = readme.read_text("utf-8")
    new = re.sub(marks, lambda m: f"{m[1]}\n{table(rows)}\n\n{m[2]}", text, flags=re.S)
    readme.write_text(new, encoding="utf-8")


if __name__ == "__main__":
    main()
