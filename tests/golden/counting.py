"""Reference of the counting explorer: closed formulas, and the totals of published models.

The totals of PUBLISHED were counted from the models' configurations on torch's meta device with the
transformers library; the formulas here are written per family and do not follow the explorer's.
"""

from collections.abc import Iterator
from typing import Any

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

# preset -> pieces, from the same count
PIECES = {
    "gpt2": {"tokens": 38_597_376, "positions": 786_432, "attention": 12 * 2_362_368,
             "ffn": 12 * 4_722_432, "norms": 12 * 3_072 + 1_536, "head": 0},
    "bert-plain": {"tokens": 23_440_896 + 1_536, "positions": 393_216,
                   "attention": 12 * 2_362_368, "ffn": 12 * 4_722_432,
                   "norms": 12 * 3_072 + 1_536, "head": 0},
    "bert": {"head": 590_592},
    "bert-mlm": {"head": 622_650},
    "mixtral": {"ffn": 32 * (8 * 3 * 4096 * 14336 + 8 * 4096), "head": 32_000 * 4096},
}  # fmt: skip

# preset -> bytes of keys and values per token; context; GiB of one full context, to 3 digits
CACHE = {
    "gpt2": (36_864, 1024, 0.035), "gpt3": (4_718_592, 2048, 9.0),
    "llama2-7b": (524_288, 4096, 2.0), "llama2-70b": (327_680, 4096, 1.25),
    "llama3-8b": (131_072, 8192, 1.0), "llama3-70b": (327_680, 8192, 2.5),
    "llama3.1-405b": (516_096, 131_072, 63.0), "llama3.2-1b": (32_768, 131_072, 4.0),
    "tinyllama": (22_528, 2048, 0.043), "mistral-7b": (131_072, 8192, 1.0),
    "mixtral": (131_072, 32_768, 4.0),
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
    top = {"none": 0, "pooler": linear(c, c), "mlm": linear(c, c) + 2 * c + v + head}[s["top"]]
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
                if family not in ("llama", "t5"):
                    s |= {"n_kv_heads": 4, "d_head": d_model // 4}
                yield "total", [s], formula(s)
    s = config("llama", 5, 64, n_experts=6, k=2)
    yield "active", [s], formula(s) - 5 * 4 * 3 * 64 * 256
    yield "active", [config("gpt", 5, 64)], formula(config("gpt", 5, 64))
    yield "pieces", [config("gpt", 1, 4, tied=False)], {"head": 4000, "positions": 512}

    for n in (7e9, 6_738_415_616, 124_439_808):
        for stage in (0, 1, 2, 3):
            share = {0: (2, 2, 12), 1: (2, 2, 1.5), 2: (2, 0.25, 1.5), 3: (0.25, 0.25, 1.5)}[stage]
            parts = dict(zip(("weights", "gradients", "optimizer"), share, strict=True))
            value = {key: float(n * each) for key, each in parts.items()}
            yield "stateBytes", [n, str(stage), 8], value
    small = config("gpt", 12, 768, n_heads=12, d_head=64, n_kv_heads=12)
    yield "activationBytes", [small, 8, 1024], 12 * (34 * 8 * 1024 * 768 + 5 * 8 * 12 * 1024**2)
    yield "cacheBytes", [small], 2 * 12 * 768 * 2
    yield "cacheBytes", [config("bert", 12, 768)], 0
    for n, n_tokens in ((174_604_259_328, 300e9), (6_738_415_616, 2.0e12), (124_672, 1.5e6)):
        yield "trainingFlops", [n, n_tokens], 6.0 * n * n_tokens
    for gpu, peak in (("V100", 125e12), ("A100", 312e12), ("H100", 989e12)):
        yield "gpuHours", [7.227e18, gpu, 0.4], 7.227e18 / (peak * 0.4) / 3600
    yield from presets()


def presets() -> Iterator[tuple[str, list, Any]]:
    """What is known of the presets, of which only the explorer has the configurations."""
    for name, count in PUBLISHED.items():
        yield "total", [chosen(name)], count
    for name, parts in PIECES.items():
        yield "pieces", [chosen(name)], parts
    for name, (per_token, _, _) in CACHE.items():
        yield "cacheBytes", [chosen(name)], per_token
    yield "active", [chosen("mixtral")], 12_879_925_248
    yield "preset", ["gpt3"], {"n_layers": 96, "d_model": 12_288, "n_heads": 96, "d_ff": 49_152}
    for name, (_, context, _) in CACHE.items():
        yield "preset", [name], {"context_len": context}
