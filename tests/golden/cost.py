"""Reference of the cost explorer: glassbox.counting, and the GPU-hours that papers give.

Sources: Patterson 2104.10350 table 4 (GPT-3), Touvron 2302.13971 table 15 (LLaMA), Touvron
2307.09288 table 2 (Llama 2), the model card of Llama 3.1.
"""

from collections.abc import Iterator
from typing import Any

from glassbox import counting

# run -> model, tokens, GPU, GPU-hours, their MFU to 3 digits; tokens of a sequence
RUNS = {
    "gpt3": ("GPT-3 175B", 300e9, "V100", 3.55e6, 0.197, 2048),
    "llama1-7b": ("Llama-2 7B", 1.0e12, "A100", 82_432, 0.437, 2048),
    "llama1-13b": ("Llama-2 13B", 1.0e12, "A100", 135_168, 0.514, 2048),
    "llama1-33b": ("Llama-1 33B", 1.4e12, "A100", 530_432, 0.459, 2048),
    "llama1-65b": ("Llama-1 65B", 1.4e12, "A100", 1_022_362, 0.478, 2048),
    "llama2-7b": ("Llama-2 7B", 2.0e12, "A100", 184_320, 0.391, 4096),
    "llama2-70b": ("Llama-2 70B", 2.0e12, "A100", 1_720_320, 0.428, 4096),
    "llama3.1-405b": ("Llama-3.1 405B", 15.6e12, "H100", 30.84e6, 0.346, 8192),
}
MODELS = {"gpt3": "GPT-3 175B", "llama2-70b": "Llama-2 70B", "llama3-8b": "Llama-3 8B",
          "mixtral": "Mixtral 8x7B"}  # fmt: skip
PEAK = {"V100": 125e12, "A100": 312e12, "H100": 989e12}


def cases() -> Iterator[tuple[str, list, Any]]:
    for gpu, peak in PEAK.items():
        names = [name for name in counting.GPUS if name.startswith(gpu)]
        assert {counting.GPUS[name].peak for name in names} == {peak}
    for key, (name, n_tokens, gpu, hours, mfu, _) in RUNS.items():
        n = counting.count(counting.MODELS[name])["total"]
        operations = counting.flops(n, n_tokens)
        reached = counting.utilisation(operations, hours, PEAK[gpu])
        assert round(reached, 3) == mfu, key
        whole = {"n_params": n, "training_tokens": n_tokens / 1e9, "gpu": gpu, "hours": hours}
        yield "run", [key], whole
        yield "trainingFlops", [n, n_tokens, "all"], operations
        yield "trainingFlops", [n, n_tokens, "lora"], operations * 4 / 6
        yield "mfuOf", [operations, gpu, hours], reached
        yield from spent(operations, gpu)
    yield "run", ["telecom"], {"n_params": 8_030_261_248, "training_tokens": 0.15, "hours": None}
    yield "run", ["7b"], {"n_params": 6_738_415_616, "training_tokens": 140, "hours": None}
    for hours, gpu, mfu in ((21.4, "A100", 0.3), (16.1, "A100", 0.4), (5.1, "H100", 0.4)):
        exact = 7.227235e18 / (PEAK[gpu] * mfu) / 3600
        assert abs(exact - hours) < 0.06
        yield "gpuHours", [7.227235e18, gpu, mfu], exact
    yield from attention()


def spent(operations: float, gpu: str) -> Iterator[tuple[str, list, Any]]:
    """Hours, days and money of one run at some assumptions."""
    for mfu, n_gpus in ((0.4, 2048), (0.55, 1), (0.197, 10_000)):
        value = counting.days(operations, n_gpus, PEAK[gpu], mfu)
        yield "days", [operations, gpu, n_gpus, mfu], value
        yield "gpuHours", [operations, gpu, mfu], value * 24 * n_gpus
    for mfu, usd in (((0.3, 0.5), (1.0, 2.0)), ((0.4, 0.4), (0.5, 4.25))):
        value = list(counting.cost(operations, PEAK[gpu], mfu, usd))
        yield "costRange", [operations, gpu, list(mfu), list(usd)], value
        yield "costRange", [operations, gpu, list(reversed(mfu)), list(reversed(usd))], value


def attention() -> Iterator[tuple[str, list, Any]]:
    """What attention adds at a model's own context; of experts the used ones count."""
    for key, name in MODELS.items():
        model = counting.MODELS[name]
        n = counting.active(model)
        value = counting.flops(n, 1.0, model) / counting.flops(n, 1.0) - 1
        yield "attentionShare", [key, model.context_len], value
