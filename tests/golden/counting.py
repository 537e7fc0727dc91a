"""Reference of the counting explorer: glassbox.counting, closed formulas, published totals.

The totals of PUBLISHED were counted from the models' configurations on torch's meta device with the
transformers library. The formulas here are written per family, where the explorer and glassbox
both list tensors.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import counting, explore

NAMES = {key: model["name"] for key, model in json.loads(
    Path(explore.FOLDER, "models.json").read_text(encoding="utf-8")).items()}  # fmt: skip
EXPLAINED = ("gpt2", "gpt2-untied", "bert", "bert-mlm", "roberta-plain", "albert", "t5-small",
             "llama3-8b", "mixtral", "lab")  # fmt: skip

# preset -> parameters
PUBLISHED = {
    "gpt2": 124_439_808, "gpt2-untied": 163_037_184, "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080, "gpt2-xl": 1_557_611_200, "gpt3-small": 125_226_240,
    "gpt3-xl": 1_315_723_264, "gpt3-2.7b": 2_651_553_280, "gpt3-6.7b": 6_658_404_352,
    "gpt3": 174_604_259_328,
    "bert": 109_482_240, "bert-plain": 108_891_648, "bert-mlm": 109_514_298,
    "bert-large": 335_141_888, "bert-large-plain": 334_092_288, "roberta": 124_645_632,
    "roberta-plain": 124_055_040, "albert": 11_683_584,
    "t5-small": 60_506_624, "t5-base": 222_903_552, "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336, "t5-11b": 11_307_321_344,
    "llama2-7b": 6_738_415_616, "llama2-13b": 13_015_864_320, "llama1-33b": 32_528_943_616,
    "llama1-65b": 65_285_660_672, "llama2-70b": 68_976_648_192, "llama3-8b": 8_030_261_248,
    "llama3-70b": 70_553_706_496, "llama3.1-405b": 405_853_388_800, "llama3.2-1b": 1_235_814_400,
    "llama3.2-3b": 3_212_749_824, "tinyllama": 1_100_048_384, "mistral-7b": 7_241_732_096,
    "mixtral": 46_702_792_704,
    "lab-64": 120_576, "lab": 124_672, "lab-128": 842_496,
}  # fmt: skip


def config(family: str, n_layers: int, d_model: int, **more: Any) -> dict[str, Any]:
    """A whole state of the explorer's configuration."""
    base = {
        "family": family, "n_layers": n_layers, "d_model": d_model, "d_ff": 4 * d_model,
        "n_heads": 4, "n_kv_heads": 4, "d_head": d_model // 4, "vocab_size": 1000,
        "context_len": 128, "n_experts": 1, "k": 1, "tied": True, "top": "none", "types": 2,
    }  # fmt: skip
    return base | more


def formula(s: dict[str, Any]) -> int:
    """Parameters of a configuration: matrix by matrix, bias by bias."""
    c, f, v, p = s["d_model"], s["d_ff"], s["vocab_size"], s["context_len"]
    inner, keys = s["n_heads"] * s["d_head"], s["n_kv_heads"] * s["d_head"]
    linear = lambda a, b: a * b + b  # noqa: E731
    biased = 4 * linear(c, c) + linear(c, f) + linear(f, c) + 2 * (2 * c)
    head = 0 if s["tied"] else v * c
    if s["family"] == "gpt":
        return v * c + p * c + s["n_layers"] * biased + 2 * c + head
    if s["family"] == "llama":
        expert = 3 * c * f
        ffn = expert if s["n_experts"] == 1 else s["n_experts"] * (expert + c)
        return s["n_layers"] * (2 * c * inner + 2 * c * keys + ffn + 2 * c) + v * c + c + head
    if s["family"] == "t5":
        encoder = 4 * c * inner + 2 * c * f + 2 * c
        decoder = 8 * c * inner + 2 * c * f + 3 * c
        return v * c + s["n_layers"] * (encoder + decoder) + 2 * c + 2 * 32 * s["n_heads"] + head
    e = 128 if s["family"] == "albert" else c
    factor = linear(e, c) if s["family"] == "albert" else 0
    depth = 1 if s["family"] == "albert" else s["n_layers"]
    head = 0 if s["tied"] else v * e
    top = {"none": 0, "pooler": linear(c, c), "mlm": linear(c, e) + 2 * e + v + head}[s["top"]]
    return (v + p + s["types"]) * e + 2 * e + factor + depth * biased + top


def chosen(name: str) -> dict[str, Any]:
    """An argument that is itself a call: the explorer's own configuration of a preset."""
    return {"call": "preset", "args": [name]}


def cases() -> Iterator[tuple[str, list, Any]]:
    for family in ("gpt", "bert", "albert", "t5", "llama"):
        for n_layers, d_model in ((1, 4), (3, 64), (17, 520)):
            for more in ({}, {"tied": False}, {"top": "pooler", "types": 1}, {"top": "mlm"},
                         {"d_ff": 77}, {"n_kv_heads": 2, "d_head": 8},
                         {"n_experts": 6, "k": 2, "vocab_size": 50_257}):  # fmt: skip
                if "n_experts" in more and family != "llama":
                    continue
                s = config(family, n_layers, d_model, **more)
                yield "total", [s], formula(s)
    s = config("llama", 5, 64, n_experts=6, k=2)
    yield "active", [s], formula(s) - 5 * 4 * 3 * 64 * 256
    yield "active", [config("gpt", 5, 64)], formula(config("gpt", 5, 64))
    yield "pieces", [config("gpt", 1, 4, tied=False)], {"head": 4000, "position": 512}
    yield from presets()
    yield from explanations()


def presets() -> Iterator[tuple[str, list, Any]]:
    """What is known of the presets, of which only the explorer has the configurations."""
    for key, published in PUBLISHED.items():
        model = counting.MODELS[NAMES[key]]
        parts = counting.count(model)
        assert parts.pop("total") == published, key
        yield "total", [chosen(key)], published
        yield "pieces", [chosen(key)], parts
        yield "active", [chosen(key)], counting.active(model)
    sizes = [(part.name, part.part, part.size) for part in
             counting.tensors(counting.MODELS["T5-small"])]  # fmt: skip
    yield (
        "tensors",
        [chosen("t5-small")],
        [{"name": name, "part": part, "size": size} for name, part, size in sizes],
    )
    yield "preset", ["gpt3"], {"n_layers": 96, "d_model": 12_288, "n_heads": 96, "d_ff": 49_152}
    blocks = ("the matrices of the blocks", "the blocks, with biases and norms")
    for key in ("gpt2", "bert"):
        known = counting.readings(12, 768)
        yield "readings", [chosen(key)], {name: known[name] for name in blocks}


def explanations() -> Iterator[tuple[str, list, Any]]:
    """Counts that are off by one term, each of them twice: without it and with it once more."""
    for key in EXPLAINED:
        model = counting.MODELS[NAMES[key]]
        total = counting.count(model)["total"]
        for size in sorted({term.size for term in counting.terms(model)}):
            for got in (total - size, total + size):
                yield "explain", [got, chosen(key)], counting.explain(got, model)
        yield "explain", [total, chosen(key)], []
        yield "explain", [total - 12_345, chosen(key)], []
