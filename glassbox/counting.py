"""Parameters, memory, FLOPs, time and money of a transformer, from its sizes alone.

`tensors` lists every weight of a model by name, part and shape; all counts are sums over that
list, so a wrong number can be traced to one tensor. `explain` turns a wrong count back into the
term that was left out or counted twice. Nothing here is measured or downloaded, and no closed
formula per family is given: finding those is the exercise of lab 3. Letters: B batch, T tokens,
C d_model, D d_head, H and Hkv heads, L layers, V vocabulary, P rows of the position table.
"""

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import torch
from torch import Tensor

FAMILIES = ("gpt2", "bert", "albert", "t5", "llama", "mixtral")
UNTIED = ("llama", "mixtral")  # families whose output matrix is a matrix of its own by default
PARTS = ("embedding", "position", "attention", "feed_forward", "norm", "head")
BITS = {"bf16": 16.0, "int8": 8.0, "nf4": 4 + 32 / 64, "nf4 double": 4 + 8 / 64 + 32 / (64 * 256)}
"""Bits per parameter with the scales of blocks of 64 (Dettmers 2305.14314, section 3)."""


@dataclass(frozen=True)
class Model:
    """The sizes of a model. None is the family's habit: d_ff 4 C, d_head C / H, Hkv = H.

    T5's `n_layers` is per stack. `context_len` is the number of rows of the position table where
    there is one (GPT-2, BERT, ALBERT), otherwise the context the model was trained for.
    """

    name: str
    family: str
    n_layers: int
    d_model: int
    n_heads: int
    vocab_size: int
    context_len: int = 0
    d_ff: int | None = None
    n_kv_heads: int | None = None
    d_head: int | None = None
    tied: bool | None = None
    n_experts: int = 0
    k: int = 0
    pooler: bool = True  # BERT and ALBERT only
    mlm_head: bool = False  # likewise
    token_types: int = 2  # likewise
    n_buckets: int = 32  # T5 only: relative positions
    embedding_width: int = 128  # ALBERT only

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise ValueError(f"family is {self.family!r}; it must be one of {', '.join(FAMILIES)}.")
        for field in ("n_layers", "d_model", "n_heads", "vocab_size", "d_ff", "n_kv_heads",
                      "d_head", "token_types", "n_buckets", "embedding_width"):  # fmt: skip
            value = getattr(self, field)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{field} is {value!r}; it must be a whole number of at least 1.")
        if self.d_head is None and self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} does not divide into {self.n_heads} heads; give d_head "
                "if the heads are meant to have another width."
            )
        if self.n_heads % (self.n_kv_heads or self.n_heads):
            raise ValueError(
                f"{self.n_heads} query heads cannot share {self.n_kv_heads} key/value heads evenly."
            )
        self._check_family()

    def _check_family(self) -> None:
        """What one family asks for or cannot have."""
        rotary = self.family in ("llama", "mixtral")
        if not rotary and (self.n_kv_heads or self.n_heads) != self.n_heads:
            raise ValueError(f"{self.family} has as many key/value heads as query heads.")
        if self.family in ("gpt2", "bert", "albert"):
            if self.context_len < 1:
                raise ValueError(f"{self.family} has a position table: context_len must be given.")
            if (self.d_head or self.d_model // self.n_heads) * self.n_heads != self.d_model:
                raise ValueError(f"in {self.family} the heads together are as wide as d_model.")
        if self.family == "mixtral" and not 1 <= self.k <= self.n_experts:
            raise ValueError(f"k is {self.k}; it must lie between 1 and n_experts, which is "
                             f"{self.n_experts}.")  # fmt: skip
        if self.family != "mixtral" and (self.n_experts or self.k):
            raise ValueError(f"{self.family} has no experts; the family that has is mixtral.")

    def filled(self) -> "Model":
        """The same model with every None replaced by the number it stands for."""
        return replace(
            self,
            d_ff=self.d_ff or 4 * self.d_model,
            n_kv_heads=self.n_kv_heads or self.n_heads,
            d_head=self.d_head or self.d_model // self.n_heads,
            tied=self.family not in UNTIED if self.tied is None else self.tied,
        )


# --- models and devices ------------------------------------------------------------------------


def _models() -> Iterator[Model]:
    """Published shapes; sources are the papers and configurations of their makers."""
    gpt = [("GPT-2 small", 12, 768, 12), ("GPT-2 medium", 24, 1024, 16),
           ("GPT-2 large", 36, 1280, 20), ("GPT-2 xl", 48, 1600, 25),
           ("GPT-3 small", 12, 768, 12), ("GPT-3 XL", 24, 2048, 16), ("GPT-3 2.7B", 32, 2560, 32),
           ("GPT-3 6.7B", 32, 4096, 32), ("GPT-3 175B", 96, 12288, 96)]  # fmt: skip
    for name, depth, width, heads in gpt:
        context = 1024 if name.startswith("GPT-2") else 2048
        yield Model(name, "gpt2", depth, width, heads, 50257, context)
    yield Model("GPT-2 small, untied head", "gpt2", 12, 768, 12, 50257, 1024, tied=False)
    for name, depth, width, context in (
        ("lab model, C 64", 2, 64, 128), ("lab model, C 64, context 64", 2, 64, 64),
        ("lab model, C 128", 4, 128, 128),
    ):  # fmt: skip
        yield Model(name, "gpt2", depth, width, 4, 256, context)
    for size, depth, width, heads in (("base", 12, 768, 12), ("large", 24, 1024, 16)):
        bert = Model(f"BERT-{size}", "bert", depth, width, heads, 30522, 512)
        yield bert
        yield replace(bert, name=f"BERT-{size}, no pooler", pooler=False)
        if size == "base":
            yield replace(bert, name="BERT-base MLM", pooler=False, mlm_head=True)
    roberta = Model("RoBERTa-base", "bert", 12, 768, 12, 50265, 514, token_types=1)
    yield roberta
    yield replace(roberta, name="RoBERTa-base, no pooler", pooler=False)
    yield Model("ALBERT-base", "albert", 12, 768, 12, 30000, 512)
    for name, depth, width, inner, heads, d_head in (
        ("T5-small", 6, 512, 2048, 8, 64), ("T5-base", 12, 768, 3072, 12, 64),
        ("T5-large", 24, 1024, 4096, 16, 64), ("T5-3B", 24, 1024, 16384, 32, 128),
        ("T5-11B", 24, 1024, 65536, 128, 128),
    ):  # fmt: skip
        yield Model(name, "t5", depth, width, heads, 32128, 512, d_ff=inner, d_head=d_head)
    for name, depth, width, inner, heads, kv_heads, vocabulary, context in (
        ("Llama-2 7B", 32, 4096, 11008, 32, 32, 32000, 4096),
        ("Llama-2 13B", 40, 5120, 13824, 40, 40, 32000, 4096),
        ("Llama-1 33B", 60, 6656, 17920, 52, 52, 32000, 2048),
        ("Llama-1 65B", 80, 8192, 22016, 64, 64, 32000, 2048),
        ("Llama-2 70B", 80, 8192, 28672, 64, 8, 32000, 4096),
        ("Llama-3 8B", 32, 4096, 14336, 32, 8, 128256, 8192),
        ("Llama-3 70B", 80, 8192, 28672, 64, 8, 128256, 8192),
        ("Llama-3.1 405B", 126, 16384, 53248, 128, 8, 128256, 131072),
        ("Llama-3.2 1B", 16, 2048, 8192, 32, 8, 128256, 131072),
        ("Llama-3.2 3B", 28, 3072, 8192, 24, 8, 128256, 131072),
        ("TinyLlama 1.1B", 22, 2048, 5632, 32, 4, 32000, 2048),
        ("Mistral 7B", 32, 4096, 14336, 32, 8, 32000, 8192),
    ):
        yield Model(name, "llama", depth, width, heads, vocabulary, context, d_ff=inner,
                    n_kv_heads=kv_heads, tied=name.startswith("Llama-3.2"))  # fmt: skip
    yield Model("Mixtral 8x7B", "mixtral", 32, 4096, 32, 32000, 32768, d_ff=14336, n_kv_heads=8,
                n_experts=8, k=2)  # fmt: skip


MODELS = {model.name: model for model in _models()}


@dataclass(frozen=True)
class Gpu:
    """A device: dense 16-bit operations per second, bytes per second, bytes of memory."""

    name: str
    peak: float
    bandwidth: float
    memory: float
    source: str


GPUS = {
    gpu.name: gpu
    for gpu in (
        Gpu("V100", 125e12, 900e9, 32e9, "V100 SXM2 data sheet; FP16, it has no BF16"),
        Gpu("T4", 65e12, 320e9, 16e9, "T4 data sheet; FP16, it has no BF16"),
        Gpu("L4", 121e12, 300e9, 24e9, "L4 data sheet; it prints 242 TFLOPS, with sparsity"),
        Gpu("A100-40", 312e12, 1555e9, 40e9, "A100 SXM data sheet"),
        Gpu("A100-80", 312e12, 2039e9, 80e9, "A100 SXM data sheet"),
        Gpu("H100", 989e12, 3350e9, 80e9, "H100 SXM data sheet; it prints 1,979 with sparsity"),
        Gpu("H200", 989e12, 4800e9, 141e9, "H200 SXM data sheet; it prints 1,979 with sparsity"),
    )
}
"""NVIDIA's dense 16-bit figures. An MFU against the sparse ones would be half of what it is."""


# --- parameters --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Part:
    """One tensor: its name, the part it counts for, its shape (in, out), how often it exists."""

    name: str
    part: str
    shape: tuple[int, ...]
    copies: int = 1

    @property
    def size(self) -> int:
        """Numbers in all copies together."""
        return math.prod(self.shape) * self.copies


def _linear(
    name: str, part: str, rows: int, columns: int, copies: int, bias: bool = True
) -> Iterator[Part]:
    """A map from `rows` to `columns` numbers, with its bias."""
    yield Part(f"{name}.weight", part, (rows, columns), copies)
    if bias:
        yield Part(f"{name}.bias", part, (columns,), copies)


def _norm(
    name: str, width: int, copies: int = 1, shift: bool = True, part: str = "norm"
) -> Iterator[Part]:
    """LayerNorm has a scale and a shift, RMSNorm a scale alone."""
    yield Part(f"{name}.scale", part, (width,), copies)
    if shift:
        yield Part(f"{name}.shift", part, (width,), copies)


def _attention(m: Model, name: str, copies: int, bias: bool) -> Iterator[Part]:
    """Query and output are C x H D, key and value C x Hkv D (Ainslie 2305.13245)."""
    wide, narrow = m.n_heads * m.d_head, m.n_kv_heads * m.d_head
    yield from _linear(f"{name}.query", "attention", m.d_model, wide, copies, bias)
    yield from _linear(f"{name}.key", "attention", m.d_model, narrow, copies, bias)
    yield from _linear(f"{name}.value", "attention", m.d_model, narrow, copies, bias)
    yield from _linear(f"{name}.out", "attention", wide, m.d_model, copies, bias)


def _feed_forward(m: Model, name: str, maps: str, copies: int, bias: bool) -> Iterator[Part]:
    """The maps in order; the last one leads back from d_ff to C."""
    *first, last = maps.split()
    for each in first:
        yield from _linear(f"{name}.{each}", "feed_forward", m.d_model, m.d_ff, copies, bias)
    yield from _linear(f"{name}.{last}", "feed_forward", m.d_ff, m.d_model, copies, bias)


def _plain_blocks(m: Model, copies: int) -> Iterator[Part]:
    """Blocks of 2017: four square maps, two feed-forward maps, biases, two LayerNorms."""
    yield from _attention(m, "block.attention", copies, bias=True)
    yield from _feed_forward(m, "block.ff", "up down", copies, bias=True)
    yield from _norm("block.norm1", m.d_model, copies)
    yield from _norm("block.norm2", m.d_model, copies)


def _output(m: Model, width: int) -> Iterator[Part]:
    """The output matrix, where it is not the token table once more."""
    if not m.tied:
        yield Part("output.weight", "head", (width, m.vocab_size))


def _gpt2(m: Model) -> Iterator[Part]:
    """Radford 2019; the sizes of GPT-3 (Brown 2005.14165, table 2.1) count the same way."""
    yield Part("token.weight", "embedding", (m.vocab_size, m.d_model))
    yield Part("position.weight", "position", (m.context_len, m.d_model))
    yield from _plain_blocks(m, m.n_layers)
    yield from _norm("final_norm", m.d_model)
    yield from _output(m, m.d_model)


def _bert(m: Model) -> Iterator[Part]:
    """Devlin 1810.04805; ALBERT (Lan 1909.11942) has narrow tables and one block for all layers."""
    albert = m.family == "albert"
    width = m.embedding_width if albert else m.d_model
    yield Part("token.weight", "embedding", (m.vocab_size, width))
    yield Part("types.weight", "embedding", (m.token_types, width))
    yield Part("position.weight", "position", (m.context_len, width))
    yield from _norm("embedding_norm", width)
    if albert:
        yield from _linear("widen", "embedding", width, m.d_model, 1)
    yield from _plain_blocks(m, 1 if albert else m.n_layers)
    if m.pooler:
        yield from _linear("pooler", "head", m.d_model, m.d_model, 1)
    if m.mlm_head:
        yield from _linear("mlm.map", "head", m.d_model, width, 1)
        yield from _norm("mlm.norm", width, part="head")
        yield Part("mlm.output.bias", "head", (m.vocab_size,))
        yield from _output(m, width)


def _t5(m: Model) -> Iterator[Part]:
    """Raffel 1910.10683: two stacks, no biases, one table of relative positions per stack."""
    yield Part("token.weight", "embedding", (m.vocab_size, m.d_model))
    for stack in ("encoder", "decoder"):
        yield Part(f"{stack}.position", "position", (m.n_buckets, m.n_heads))
        inner = ("attention",) if stack == "encoder" else ("attention", "cross")
        for each in inner:
            yield from _attention(m, f"{stack}.block.{each}", m.n_layers, bias=False)
            yield from _norm(f"{stack}.block.{each}_norm", m.d_model, m.n_layers, shift=False)
        yield from _feed_forward(m, f"{stack}.block.ff", "up down", m.n_layers, bias=False)
        yield from _norm(f"{stack}.block.ff_norm", m.d_model, m.n_layers, shift=False)
        yield from _norm(f"{stack}.final_norm", m.d_model, shift=False)
    yield from _output(m, m.d_model)


def _llama(m: Model) -> Iterator[Part]:
    """Touvron 2302.13971 and, with a router and experts, Jiang 2401.04088."""
    yield Part("token.weight", "embedding", (m.vocab_size, m.d_model))
    yield from _attention(m, "block.attention", m.n_layers, bias=False)
    name, copies = "block.ff", m.n_layers
    if m.family == "mixtral":
        yield Part("block.router", "feed_forward", (m.d_model, m.n_experts), m.n_layers)
        name, copies = "block.expert", m.n_layers * m.n_experts
    yield from _feed_forward(m, name, "gate up down", copies, bias=False)
    yield from _norm("block.norm1", m.d_model, m.n_layers, shift=False)
    yield from _norm("block.norm2", m.d_model, m.n_layers, shift=False)
    yield from _norm("final_norm", m.d_model, shift=False)
    yield from _output(m, m.d_model)


_BUILDERS: dict[str, Callable[[Model], Iterator[Part]]] = {
    "gpt2": _gpt2, "bert": _bert, "albert": _bert, "t5": _t5, "llama": _llama, "mixtral": _llama,
}  # fmt: skip


def tensors(model: Model) -> list[Part]:
    """Every weight of the model once; a tied output matrix is not there a second time."""
    return list(_BUILDERS[model.family](model.filled()))


def count(model: Model) -> dict[str, int]:
    """Parameters by part, and their `total`; absent parts are 0.

    Token types belong to `embedding`, T5's relative positions to `position`, every norm of the
    stack to `norm`, the router to `feed_forward`; pooler and MLM head, its norm too, to `head`.
    """
    parts = dict.fromkeys(PARTS, 0)
    for tensor in tensors(model):
        parts[tensor.part] += tensor.size
    return parts | {"total": sum(parts.values())}


def active(model: Model) -> int:
    """Parameters that one token meets: of the experts only k, of all else everything."""
    every = tensors(model)
    experts = sum(t.size for t in every if ".expert." in t.name)
    idle = experts // model.n_experts * (model.n_experts - model.k) if experts else 0
    return sum(t.size for t in every) - idle


def lora(model: Model, rank: int, targets: Sequence[str] = ("query", "value")) -> int:
    """Trainable numbers of LoRA: rank x (in + out) per adapted matrix (Hu 2106.09685, section 4).

    `targets` are names of maps: query, key, value, out, gate, up, down.
    """
    known = {t.name.split(".")[-2] for t in tensors(model) if _is_block_matrix(t)}
    if unknown := set(targets) - known:
        raise ValueError(f"{model.family} has no map {', '.join(sorted(unknown))}; it has "
                         f"{', '.join(sorted(known))}.")  # fmt: skip
    return sum(rank * sum(t.shape) * t.copies for t in tensors(model)
               if _is_block_matrix(t) and t.name.split(".")[-2] in targets)  # fmt: skip


def _is_block_matrix(tensor: Part) -> bool:
    """A matrix of a linear map inside of the blocks."""
    return "block." in tensor.name and tensor.name.endswith(".weight")


def readings(n_layers: int = 12, d_model: int = 768) -> dict[str, int]:
    """ "A transformer of 12 layers, 768 wide": what is counted -> parameters, all defensible."""
    heads = max(1, d_model // 64)
    gpt = Model("GPT-2 shape", "gpt2", n_layers, d_model, heads, 50257, 1024)
    bert = Model("BERT shape", "bert", n_layers, d_model, heads, 30522, 512)
    blocks = [t for t in tensors(gpt) if t.name.startswith("block.")]
    return {
        "the matrices of the blocks": sum(t.size for t in blocks if len(t.shape) == 2),
        "the blocks, with biases and norms": sum(t.size for t in blocks),
        "BERT without pooler": count(replace(bert, pooler=False))["total"],
        "BERT with pooler": count(bert)["total"],
        "GPT-2, tied head": count(gpt)["total"],
        "GPT-2, untied head": count(replace(gpt, tied=False))["total"],
    }


# --- memory ------------------------------------------------------------------------------------

STATE_BYTES = {"weights": (2, 3), "grads": (2, 2), "optimizer": (12, 1)}
"""Bytes per parameter in mixed-precision AdamW, and the ZeRO stage from which they are shared out.

The optimizer's 12 are a float32 copy, m and v (Rajbhandari 1910.02054, sections 3.1 and 5)."""


def memory(
    n_params: float, zero_stage: int = 0, n_gpus: int = 1, n_trainable: float | None = None
) -> dict[str, float]:
    """Bytes per GPU of weights, grads and optimizer, and their total, before activations.

    `n_trainable` is a part of `n_params` (None: all); frozen weights need no gradient and no
    optimizer, and are shared out by stage 3 as well.
    """
    trained = n_params if n_trainable is None else n_trainable
    if zero_stage not in (0, 1, 2, 3):
        raise ValueError(f"zero_stage is {zero_stage!r}; it must be 0, 1, 2 or 3.")
    if not 0 <= trained <= n_params:
        raise ValueError(f"{trained:,} of {n_params:,} parameters cannot be trained.")
    if n_gpus < 1:
        raise ValueError(f"n_gpus is {n_gpus}; it must be at least 1.")
    states = {}
    for name, (per_parameter, stage) in STATE_BYTES.items():
        numbers = n_params if name == "weights" else trained
        states[name] = per_parameter * numbers / (n_gpus if zero_stage >= stage else 1)
    return states | {"total": sum(states.values())}


def activations(
    model: Model, batch: int, n_tokens: int, flash: bool = False, checkpoint: bool = False
) -> float:
    """Bytes kept from forward to backward in 16 bits, (B, T) tokens in, blocks only.

    34 B T C per layer and 5 B H T^2 for scores; `flash` does not store the scores, `checkpoint`
    keeps each block's input alone and wins over `flash`. For the GPT block (Korthikanti
    2205.05198, sections 4.1 and 5); for Llama's it is a sketch, T5's two stacks are refused.
    """
    _one_stack(model)
    rows = model.n_layers * batch * n_tokens
    if checkpoint:
        return 2.0 * rows * model.d_model
    scores = 0 if flash else 5 * model.n_heads * n_tokens
    return float(rows * (34 * model.d_model + scores))


def cache(model: Model, batch: int, n_tokens: int, bytes_per_value: int = 2) -> int:
    """Bytes of keys and values of B sequences of T tokens; an encoder keeps none.

    Two vectors of Hkv D numbers per layer and token (Pope 2211.05102, section 2.1). Of T5 it is
    the decoder's own; what cross-attention keeps of the source comes on top.
    """
    if model.family in ("bert", "albert"):
        return 0
    m = model.filled()
    pair = 2 * m.n_kv_heads * m.d_head * bytes_per_value
    return m.n_layers * batch * n_tokens * pair


def _one_stack(model: Model) -> None:
    if model.family == "t5":
        raise ValueError("the formula is that of one stack; T5 has two of different lengths.")


# --- compute, time and money -------------------------------------------------------------------


def flops(n_params: float, n_tokens: float, model: Model | None = None) -> float:
    """Operations of training: 6 per parameter and token (Kaplan 2001.08361, section 2.1).

    With a model, its attention over full contexts is added, 12 L H D P per token, without the
    saving of a causal mask (Chowdhery 2204.02311, appendix B). Of experts count `active` ones.
    """
    per_token = 6.0 * n_params
    if model is not None:
        _one_stack(model)
        m = model.filled()
        per_token += 12 * m.n_layers * m.n_heads * m.d_head * m.context_len
    return per_token * n_tokens


def forward_flops(model: Model, batch: int, n_tokens: int) -> int:
    """Operations of one forward pass over (B, T) ids, matrix products only, no causal saving.

    2 per weight and token of every matrix that is multiplied; tables are looked up. The pooler
    sees one token per sequence. Scores and their weighted sum: 2 x 2 L B T^2 H D.
    """
    _one_stack(model)
    m, operations = model.filled(), 0
    repeat = m.n_layers if m.family == "albert" else 1  # its block exists once and runs L times
    for tensor in tensors(model):
        if len(tensor.shape) < 2 or tensor.name.split(".")[0] in ("token", "types", "position"):
            continue
        runs = repeat if tensor.name.startswith("block.") else 1
        rows = batch if tensor.name.startswith("pooler") else batch * n_tokens
        share = m.k / m.n_experts if ".expert." in tensor.name else 1
        operations += round(2 * rows * runs * tensor.size * share)
    if m.tied and (m.mlm_head or m.family not in ("bert", "albert")):
        operations += 2 * batch * n_tokens * math.prod(tensors(model)[0].shape)
    return operations + 4 * m.n_layers * batch * n_tokens**2 * m.n_heads * m.d_head


def _hours(operations: float, peak: float, mfu: float) -> float:
    """GPU-hours at a share of the peak."""
    if mfu <= 0:
        raise ValueError(f"mfu is {mfu}; it must be above 0.")
    return operations / (peak * mfu) / 3600


def utilisation(flops: float, gpu_hours: float, peak: float) -> float:
    """MFU: needed operations over those possible at the dense peak; above 1 an input is wrong."""
    return _hours(flops, peak, 1.0) / gpu_hours


def days(flops: float, n_gpus: int, peak: float, mfu: float) -> float:
    """Days of training on `n_gpus` devices."""
    return _hours(flops, peak, mfu) / n_gpus / 24


def cost(
    flops: float, peak: float, mfu: tuple[float, float], usd: tuple[float, float]
) -> tuple[float, float]:
    """(low, high) price; `mfu` and `usd` per GPU-hour are (low, high) assumptions."""
    if mfu[0] > mfu[1] or usd[0] > usd[1]:
        raise ValueError(f"mfu {mfu} and usd {usd} must each be (low, high).")
    quick, slow = (_hours(flops, peak, share) for share in reversed(mfu))
    return quick * usd[0], slow * usd[1]


def optimal(flops: float, tokens_per_param: float = 20.0) -> tuple[float, float]:
    """(parameters, training tokens) that use up `flops` at this ratio (Hoffmann 2203.15556)."""
    n_params = math.sqrt(flops / 6 / tokens_per_param)
    return n_params, n_params * tokens_per_param


def fit(x: Sequence[float] | Tensor, loss: Sequence[float] | Tensor) -> tuple[float, float, float]:
    """(floor, coefficient, exponent) of loss = floor + coefficient * x^-exponent.

    For a fixed exponent the other two follow from linear least squares of relative errors; the
    exponent is searched between 0.01 and 5. The floor is never below 0. x over less than two
    decades leaves the floor open: look at what the fit does without its last point.
    """
    x, loss = (torch.as_tensor(v, dtype=torch.float64).flatten() for v in (x, loss))
    if len(x) != len(loss) or len(x) < 4:
        raise ValueError(f"{len(x)} sizes and {len(loss)} losses; at least 4 pairs are needed.")
    if not (x > 0).all() or not (loss > 0).all() or not (x + loss).isfinite().all():
        raise ValueError("sizes and losses must be above 0 and finite.")
    logs = x.log()
    middle = logs.mean()

    def at(exponent: float) -> tuple[float, float, float]:
        """(error, floor, coefficient at the middle of x)."""
        falling = (-exponent * (logs - middle)).exp() / loss
        design = torch.stack([1 / loss, falling], 1)
        floor, height = torch.linalg.lstsq(design, torch.ones_like(loss)[:, None])[0][:, 0]
        if floor < 0:
            floor, height = torch.zeros(()), falling.sum() / falling.square().sum()
        error = (floor / loss + height * falling - 1).square().sum()
        return error.item(), floor.item(), height.item()

    low, high = math.log(0.01), math.log(5.0)
    for _ in range(8):
        grid = torch.linspace(low, high, 41, dtype=torch.float64).tolist()
        best = min(grid, key=lambda log: at(math.exp(log))[0])
        step = grid[1] - grid[0]
        low, high = max(low, best - step), min(high, best + step)
    exponent = math.exp(best)
    _, floor, height = at(exponent)
    return floor, height * math.exp(exponent * middle.item()), exponent


# --- serving -----------------------------------------------------------------------------------


def decode_floor(model: Model, gpu: Gpu | str, bits: float = 16) -> float:
    """Least seconds per token at batch 1: every weight it meets is read once from memory."""
    return active(model) * bits / 8 / _gpu(gpu).bandwidth


def decode_step(model: Model, gpu: Gpu | str, batch: int, n_tokens: int, bits: float = 16) -> float:
    """Least seconds for one token of each of B sequences that hold T tokens each (roofline).

    The longer of reading weights and cache and of doing 2 operations per parameter.
    With experts the weights read are those of one token, which is too few for a batch.
    """
    device, n_params = _gpu(gpu), active(model)
    read = n_params * bits / 8 + cache(model, batch, n_tokens)
    return max(read / device.bandwidth, 2 * n_params * batch / device.peak)


def prefill(n_params: float, n_tokens: int, peak: float, mfu: float = 0.5) -> float:
    """Seconds until a prompt is read: 2 operations per parameter and token."""
    return 3600 * _hours(2 * n_params * n_tokens, peak, mfu)


def _gpu(gpu: Gpu | str) -> Gpu:
    if isinstance(gpu, Gpu):
        return gpu
    if gpu not in GPUS:
        raise ValueError(f"no GPU {gpu!r}; known are {', '.join(GPUS)}.")
    return GPUS[gpu]


# --- the residual decoder ----------------------------------------------------------------------


@dataclass(frozen=True)
class Term:
    """Something that a count can miss or hold twice: parameters by part.

    `present` False: the model has no such thing, a count can only hold it by mistake.
    """

    name: str
    parts: Mapping[str, int]
    present: bool = True

    @property
    def size(self) -> int:
        """Parameters in all parts together."""
        return sum(self.parts.values())


# What a model may have: name of the term -> the tensors it covers. Of tensors of one kind and one
# size (query and output, the maps of a feed-forward layer) a count cannot tell which is missing.
_PRESENT = {
    "the token table": r"token\.weight",
    "the position table": r"position\.weight",
    "the token-type rows": r"types\.weight",
    "the norm after the embeddings": r"embedding_norm\..*",
    "the map from the embedding width to d_model": r"widen\..*",
    "the query, key and value matrices": r".*\b(attention|cross)\.(query|key|value)\.weight",
    "the key and value matrices": r".*\b(attention|cross)\.(key|value)\.weight",
    "the biases of query, key and value": r".*\b(query|key|value)\.bias",
    "the bias of the attention output": r".*\battention\.out\.bias",
    "all attention biases": r".*\battention\..*\.bias",
    "the first feed-forward bias": r".*\bff\.up\.bias",
    "the second feed-forward bias": r".*\bff\.down\.bias",
    "all feed-forward biases": r".*\bff\..*\.bias",
    "all biases of the linear maps in the blocks": r"block\..*\.bias",
    "one norm of each block": r"block\.norm1\..*",
    "all norms of the blocks": r".*\bblock\.\w*norm\d?\..*",
    "all norms": r"(?!mlm).*norm\d?\..*",
    "the shifts of all norms": r"(?!mlm).*norm\d?\.shift",
    "the final norm": r"final_norm\..*",
    "the output matrix": r"output\.weight",
    "the pooler": r"pooler\..*",
    "the map of the MLM head": r"mlm\.map\..*",
    "the norm of the MLM head": r"mlm\.norm\..*",
    "the output bias of the MLM head": r"mlm\.output\.bias",
    "the whole MLM head": r"mlm\..*",
    "the router": r"block\.router",
    "the cross-attention": r".*\bcross\..*",
    "the norm before cross-attention": r".*\bcross_norm\..*",
    "one norm of each encoder block": r"encoder\.block\.ff_norm\..*",
    "the final norm of one stack": r"encoder\.final_norm\..*",
    "the final norms of both stacks": r"(en|de)coder\.final_norm\..*",
    "the relative positions of one stack": r"encoder\.position",
    "the relative positions of both stacks": r"(en|de)coder\.position",
}


def _sum_by_part(chosen: Sequence[Part], times: float = 1) -> dict[str, int]:
    """Parameters of some tensors by part; `times` a share of them, such as one layer's."""
    parts: dict[str, int] = {}
    for tensor in chosen:
        parts[tensor.part] = parts.get(tensor.part, 0) + round(tensor.size * times)
    return parts


def _present_terms(m: Model, every: Sequence[Part]) -> Iterator[tuple[str, dict[str, int]]]:
    """Name and parameters of everything that can be missing."""
    for name, pattern in _PRESENT.items():
        yield name, _sum_by_part([t for t in every if re.fullmatch(pattern, t.name)])
    one = {t.name.split("block.")[-1]: t for t in every if _is_block_matrix(t)}
    wide, narrow = one["attention.query.weight"], one["attention.key.weight"]
    square = "one attention matrix of each block"
    if m.family == "t5":
        square = "one attention matrix of each block of one stack"
    if wide.size == narrow.size:
        yield square, _sum_by_part([wide])
    else:
        yield "the query matrix, or the output matrix of attention", _sum_by_part([wide])
        yield "the key matrix, or the value matrix", _sum_by_part([narrow])
    if m.family == "mixtral":
        experts = [t for t in every if ".expert." in t.name]
        yield "one of the three matrices of each expert", _sum_by_part(experts[:1])
        yield "one expert of each block", _sum_by_part(experts, 1 / m.n_experts)
        yield "all experts but one", _sum_by_part(experts, 1 - 1 / m.n_experts)
        yield "the experts a token does not use", _sum_by_part(experts, 1 - m.k / m.n_experts)
    else:
        stack = " of one stack" if m.family == "t5" else ""
        yield f"one feed-forward matrix of each block{stack}", _sum_by_part([one["ff.up.weight"]])
    for stack in ("encoder.", "decoder.") if m.family == "t5" else ("",):
        blocks = [t for t in every if t.name.startswith(f"{stack}block.")]
        layers = 1 if m.family == "albert" else m.n_layers
        yield f"one {stack.replace('.', ' ')}block", _sum_by_part(blocks, 1 / layers)


def _absent_terms(m: Model, every: Sequence[Part]) -> Iterator[tuple[str, dict[str, int]]]:
    """Name and parameters of what other families have, or what is easily thought to be there."""
    block = [t for t in every if "block." in t.name]
    maps = [t for t in block if t.name.endswith(".weight")]
    attention = [t for t in maps if t.part == "attention"]
    if m.tied and (m.mlm_head or m.family not in ("bert", "albert")):
        yield "the output matrix, which is the token table", {"head": math.prod(every[0].shape)}
    if m.family in ("llama", "mixtral", "t5"):
        biases = {p: sum(t.shape[-1] * t.copies for t in maps if t.part == p)
                  for p in ("attention", "feed_forward")}  # fmt: skip
        scales = sum(t.size for t in every if t.part == "norm")
        yield "a position table", {"position": m.context_len * m.d_model}
        yield "biases of the linear maps in the blocks", biases
        yield "biases of attention", {"attention": biases["attention"]}
        yield "biases of the feed-forward maps", {"feed_forward": biases["feed_forward"]}
        yield "shifts of the norms", {"norm": scales}
    if m.n_kv_heads < m.n_heads:
        extra = 2 * m.d_model * (m.n_heads - m.n_kv_heads) * m.d_head * m.n_layers
        yield "keys and values at full width", {"attention": extra}
    if m.n_heads > 1:
        extra = (m.n_heads - 1) * sum(t.size for t in attention)
        yield "the attention matrices once per head", {"attention": extra}
    if m.family in ("bert", "albert"):
        yield "a final norm", {"norm": 2 * m.d_model}
        if not m.pooler:
            yield "a pooler", {"head": m.d_model * m.d_model + m.d_model}
        if m.token_types == 1:
            width = m.embedding_width if m.family == "albert" else m.d_model
            yield "a second token type", {"embedding": width}
    if m.family == "albert":
        yield "a block of its own for every layer", _sum_by_part(block, m.n_layers - 1)
    if m.family == "t5":
        yield (
            "relative positions in every block, not in the first alone",
            {"position": (m.n_layers - 1) * 2 * m.n_buckets * m.n_heads},
        )


@lru_cache(maxsize=64)
def terms(model: Model) -> tuple[Term, ...]:
    """Everything `explain` knows that can be missing from a count, doubled in it, or not be there.

    Terms that the model gives no parameters are left out.
    """
    m, every = model.filled(), tensors(model)
    both = [Term(name, parts) for name, parts in _present_terms(m, every)]
    both += [Term(name, parts, False) for name, parts in _absent_terms(m, every)]
    return tuple(term for term in both if term.size)


def _errors(model: Model) -> Iterator[tuple[str, dict[str, int]]]:
    """Every single-term error: its sentence, and what it does to each part."""
    for term in terms(model):
        amount = f"{term.name} ({term.size:,})"
        if not term.present:
            yield f"counted, but not there: {amount}", dict(term.parts)
            continue
        yield f"left out: {amount}", {part: -n for part, n in term.parts.items()}
        yield f"counted twice: {amount}", dict(term.parts)


def explain(got: float | Mapping[str, int], model: Model) -> list[str]:
    """The single terms that turn the right count into `got`; all of them where several do.

    A total alone is compared by its difference. A dict with the keys of `count` is compared part
    by part, which tells apart terms of one size, and finds a term that stands in a wrong part;
    with several parts wrong each is explained by itself. [] if nothing is wrong or no single
    term explains it: two terms are not guessed, almost any difference has such a pair.
    """
    want = count(model)
    if not isinstance(got, Mapping):
        difference = got - want["total"]
        return [text for text, parts in _errors(model) if sum(parts.values()) == difference != 0]
    if lacking := [key for key in want if key not in got]:
        raise ValueError(f"the count lacks {', '.join(lacking)}; absent parts are 0.")
    wrong = {part: got[part] - want[part] for part in PARTS if got[part] != want[part]}
    found = _explain_parts(wrong, model) if wrong else []
    if got["total"] != sum(got[part] for part in PARTS):
        found.append("the total is not the sum of the parts")
    return found


def _explain_parts(wrong: Mapping[str, int], model: Model) -> list[str]:
    """Explanations of wrong parts: by one term together, else each part by one of its own."""
    errors = list(_errors(model))
    together = [text for text, parts in errors if parts == wrong]
    if len(wrong) == 2 and sum(wrong.values()) == 0:
        here = next(part for part, n in wrong.items() if n < 0)
        there = next(part for part in wrong if part != here)
        together += [f"in the wrong part: {term.name} ({term.size:,}) under {there}, not {here}"
                     for term in terms(model)
                     if term.present and term.parts == {here: -wrong[here]}]  # fmt: skip
    if together:
        return together
    return [f"{part}: {text}" for part, n in wrong.items()
            for text, parts in errors if parts == {part: n}]  # fmt: skip
