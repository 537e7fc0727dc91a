"""Reference of the memory explorer: glassbox.counting, and sums that are written out here.

The explorer's presets are glassbox's models under other keys (`glassbox/explorers/models.json`).
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import counting, explore

NAMES = {key: model["name"] for key, model in json.loads(
    Path(explore.FOLDER, "models.json").read_text(encoding="utf-8")).items()}  # fmt: skip
PRESETS = [key for key in explore.about("memory")["options"]["preset"]["choices"] if key != "own"]
ALL = {"llama": ("query", "key", "value", "out", "gate", "up", "down"),
       "gpt2": ("query", "key", "value", "out", "up", "down")}  # fmt: skip
MIXED = {"weights": 2, "gradients": 2, "optimizer": 12}

# preset -> GB of weights, gradients and optimizer in all; per GPU of 8 with ZeRO 1, 2, 3
PUBLISHED = {
    "llama2-7b": (107.8, 37.1, 25.3, 13.5), "llama3-8b": (128.5, 44.2, 30.1, 16.1),
    "llama2-70b": (1103.6, 379.4, 258.7, 138.0), "gpt2": (1.99, 0.684, 0.467, 0.249),
}  # fmt: skip
# preset -> bytes of keys and values per token
CACHE = {
    "gpt2": 36_864, "gpt3": 4_718_592, "llama2-7b": 524_288, "llama2-70b": 327_680,
    "llama3-8b": 131_072, "llama3-70b": 327_680, "llama3.1-405b": 516_096, "llama3.2-1b": 32_768,
    "tinyllama": 22_528, "mistral-7b": 131_072, "mixtral": 131_072,
}  # fmt: skip


def chosen(key: str) -> dict[str, Any]:
    """An argument that is itself a call: the numbers of a preset."""
    return {"call": "preset", "args": [key]}


def model(key: str) -> counting.Model:
    return counting.MODELS[NAMES[key]].filled()


def numbers(key: str) -> dict[str, Any]:
    """What the explorer's options must hold for a preset."""
    m = model(key)
    fields = ("n_layers", "d_model", "d_ff", "n_heads", "n_kv_heads", "d_head")
    is_gated = m.family in ("llama", "mixtral")
    return {name: getattr(m, name) for name in fields} | {
        "n_params": counting.count(m)["total"], "gated": is_gated,
    }  # fmt: skip


def cases() -> Iterator[tuple[str, list, Any]]:
    for key in PRESETS:
        yield "preset", [key], numbers(key)
    yield from states()
    yield from adapters()
    yield from kept()
    yield from shared()
    yield from served()


def states() -> Iterator[tuple[str, list, Any]]:
    """Bytes per parameter; weights, gradients and optimizer per GPU."""
    wide = {"mixed": 4, "fp32": 4, "bf16": 2}
    for precision, optimizer in itertools.product(wide, ("adamw", "adam8", "momentum", "sgd")):
        numbers_of = {"adamw": [wide[precision]] * 2, "adam8": [1, 1],
                      "momentum": [wide[precision]], "sgd": []}[optimizer]  # fmt: skip
        master = [4] if precision == "mixed" else []
        weights = 4 if precision == "fp32" else 2
        value = {"weights": weights, "gradients": weights, "optimizer": sum(master + numbers_of)}
        yield "bytesEach", [precision, optimizer], value
    for key, published in PUBLISHED.items():
        n = counting.count(model(key))["total"]
        for stage, want in enumerate(published):
            held = counting.memory(n, stage, 8)
            assert abs(held["total"] / 1e9 / want - 1) < 0.01, key
            value = {"weights": held["weights"], "gradients": held["grads"],
                     "optimizer": held["optimizer"]}  # fmt: skip
            yield "stateBytes", [n, MIXED, str(stage), 8], {k: float(v) for k, v in value.items()}
    for stage in range(4):
        n, trained = 8_030_261_248, 41_943_040
        held = counting.memory(n + trained, stage, 4, n_trainable=trained)
        value = {"weights": held["weights"], "gradients": held["grads"],
                 "optimizer": held["optimizer"]}  # fmt: skip
        yield (
            "stateBytes",
            [trained, MIXED, str(stage), 4, 2 * n],
            {k: float(v) for k, v in value.items()},
        )


def adapters() -> Iterator[tuple[str, list, Any]]:
    """LoRA: the four published counts, and what glassbox says of other ranks."""
    for key, train, published in (
        ("llama2-7b", "lora-qv", 8_388_608), ("llama2-7b", "lora-all", 39_976_960),
        ("llama3-8b", "lora-qv", 6_815_744), ("llama3-8b", "lora-all", 41_943_040),
    ):  # fmt: skip
        yield "loraParams", [chosen(key), train, 16], published
    for key, rank in itertools.product(("gpt2", "llama3.2-3b", "tinyllama"), (1, 4, 64)):
        m = model(key)
        yield "loraParams", [chosen(key), "lora-qv", rank], counting.lora(m, rank)
        every = counting.lora(m, rank, ALL[m.family])
        yield "loraParams", [chosen(key), "lora-all", rank], every
        yield "loraParams", [chosen(key), "all", rank], 0
    mixtral = counting.lora(model("mixtral"), 8, ALL["llama"])
    yield "loraParams", [chosen("mixtral"), "lora-all", 8, 8], mixtral


def kept() -> Iterator[tuple[str, list, Any]]:
    """Activations, with and without scores and checkpointing."""
    for key, batch, n_tokens in (("gpt2", 8, 1024), ("llama2-7b", 1, 4096), ("lab", 32, 128)):
        for flash, checkpoint in itertools.product((False, True), repeat=2):
            m = model(key)
            value = counting.activations(m, batch, n_tokens, flash, checkpoint)
            yield "activationBytes", [chosen(key), batch, n_tokens, flash, checkpoint], value
            one = counting.activations(m, batch, n_tokens, flash) / m.n_layers
            block = one if checkpoint else 0.0
            yield "blockBytes", [chosen(key), batch, n_tokens, flash, checkpoint], block


def shared() -> Iterator[tuple[str, list, Any]]:
    """Six ways to share training; tensor and pipeline after Korthikanti 2205.05198, section 4."""
    key, batch, n_tokens, g = "llama2-7b", 2, 4096, 8
    m, n = model(key), counting.count(model(key))["total"]
    for flash in (False, True):
        every = counting.activations(m, batch, n_tokens, flash)
        scores = 0 if flash else 5 * m.n_heads * n_tokens / (m.d_model * g)
        row = m.n_layers * batch * n_tokens * m.d_model
        for way, stage in (("dp", 0), ("zero1", 1), ("zero2", 2), ("zero3", 3)):
            held = counting.memory(n, stage, g)
            value = {"weights": held["weights"], "gradients": held["grads"],
                     "optimizer": held["optimizer"], "activations": every}  # fmt: skip
            args = [chosen(key), MIXED, way, g, batch, n_tokens, flash, False]
            yield "sharedBytes", args, {k: float(v) for k, v in value.items()}
        for way, activations in (("tensor", row * (10 + 24 / g + scores)), ("pipeline", every)):
            value = {"weights": 2 * n / g, "gradients": 2 * n / g, "optimizer": 12 * n / g,
                     "activations": float(activations), "block": 0.0}  # fmt: skip
            yield "sharedBytes", [chosen(key), MIXED, way, g, batch, n_tokens, flash, False], value
            inputs = counting.activations(m, batch, n_tokens, checkpoint=True)
            block = activations / m.n_layers
            value = {"activations": inputs, "block": float(block)}
            yield "sharedBytes", [chosen(key), MIXED, way, g, batch, n_tokens, flash, True], value


def served() -> Iterator[tuple[str, list, Any]]:
    """Weights, cache and the roofline of decoding."""
    for n, bits in itertools.product((6_738_415_616, 124_439_808), (16.0, 8.0, 4.5, 4.127)):
        yield "weightBytes", [n, str(bits).removesuffix(".0")], n * bits / 8
    for key, per_token in CACHE.items():
        assert counting.cache(model(key), 1, 1) == per_token, key
        yield "cacheBytes", [chosen(key), "16"], per_token
        yield "cacheBytes", [chosen(key), "8"], counting.cache(model(key), 1, 1, 1)
    for key, gpu, bits in itertools.product(
        ("llama3.2-1b", "llama2-7b", "llama3-8b", "llama3-70b", "mixtral"),
        ("T4", "L4", "A100-40", "A100-80", "H100"), (16, 8, 4.5),
    ):  # fmt: skip
        floor = counting.decode_floor(model(key), gpu, bits)
        yield "stepSeconds", [counting.active(model(key)), str(bits), 0, 1, gpu], floor
    for users in (1, 8, 32, 128):
        m, cache = model("llama3-8b"), counting.cache(model("llama3-8b"), users, 2000)
        step = counting.decode_step(m, "H100", users, 2000)
        yield "stepSeconds", [counting.active(m), "16", cache, users, "H100"], step
    short = counting.decode_step(model("llama3-8b"), "H100", 1000, 1)  # limited by arithmetic
    cache = counting.cache(model("llama3-8b"), 1000, 1)
    yield "stepSeconds", [counting.active(model("llama3-8b")), "16", cache, 1000, "H100"], short
