"""What labs give beside functions to write: configs, modules with named weights, small networks.

`BlockParts` and `GPTParts` hold the layers of a GPT and have no forward pass: writing it is the
exercise. `Encoder` and `Decoder` are complete; they wrap torch's attention so that masks read as
everywhere in this course (True: may attend). The small functions at the end serve the probes by
which mistakes are recognised. No answer to an exercise is here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, kw_only=True)
class GPTConfig:
    """The sizes of a GPT. `n_kv_heads` None: as many as query heads; `d_ff` None: 4 · d_model.

    `bias`: whether linear maps add a vector; norms have theirs in any case. `gelu`: "tanh", the
    form GPT-2 was trained with, or "exact"; lab 2 asks for the former.
    """

    n_layers: int
    d_model: int
    n_heads: int
    vocab_size: int
    context_len: int
    d_ff: int | None = None
    n_kv_heads: int | None = None
    norm: str = "pre"  # or "post"
    tied: bool = True
    bias: bool = True
    gelu: str = "tanh"  # or "exact"
    dropout: float = 0.0


class BlockParts(nn.Module):
    """The layers of one transformer block, named; the forward pass is yours."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C, d_ff, bias = config.d_model, config.d_ff or 4 * config.d_model, config.bias
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads or config.n_heads
        self.placement = config.norm  # "pre" or "post"
        d_head = C // self.n_heads
        self.norm1 = nn.LayerNorm(C)  # eps 1e-5, as in GPT-2
        self.q_proj = nn.Linear(C, self.n_heads * d_head, bias)
        self.k_proj = nn.Linear(C, self.n_kv_heads * d_head, bias)
        self.v_proj = nn.Linear(C, self.n_kv_heads * d_head, bias)
        self.out_proj = nn.Linear(self.n_heads * d_head, C, bias)
        self.norm2 = nn.LayerNorm(C)
        self.ff_in = nn.Linear(C, d_ff, bias)
        self.ff_out = nn.Linear(d_ff, C, bias)
        self.dropout = nn.Dropout(config.dropout)


class GPTParts(nn.Module):
    """The layers of a GPT, named; tying the head and the forward pass are yours."""

    def __init__(self, config: GPTConfig, block: Callable[[GPTConfig], nn.Module] = BlockParts):
        super().__init__()
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.context_len, config.d_model)
        self.dropout = nn.Dropout(config.dropout)
        self.blocks = nn.ModuleList([block(config) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(config.d_model)  # the final norm
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)


# --- encoder and decoder ---------------------------------------------------------------------


class _Layer(nn.Module):
    """A pre-norm block of torch's parts, with cross-attention if `cross`."""

    def __init__(self, config: GPTConfig, cross: bool) -> None:
        super().__init__()
        C, d_ff = config.d_model, config.d_ff or 4 * config.d_model
        names = ("self", "cross") if cross else ("self",)
        self.norms = nn.ModuleDict({name: nn.LayerNorm(C) for name in (*names, "ff")})
        self.attention = nn.ModuleDict(
            {name: nn.MultiheadAttention(C, config.n_heads, batch_first=True) for name in names}
        )
        self.ff = nn.Sequential(nn.Linear(C, d_ff), nn.GELU("tanh"), nn.Linear(d_ff, C))

    def forward(
        self, x: Tensor, mask: Tensor, memory: Tensor | None, seen: Tensor | None
    ) -> Tensor:
        x = x + self._attend("self", x, None, mask)
        if memory is not None and seen is not None:
            x = x + self._attend("cross", x, memory, seen)
        return x + self.ff(self.norms["ff"](x))

    def _attend(self, name: str, x: Tensor, memory: Tensor | None, mask: Tensor) -> Tensor:
        x = self.norms[name](x)
        source, layer = x if memory is None else memory, self.attention[name]
        shape = (len(x), layer.num_heads, x.shape[1], source.shape[1])
        hidden = ~mask.expand(shape).flatten(0, 1)  # torch's layer wants True where it is hidden
        return layer(x, source, source, attn_mask=hidden, need_weights=False)[0]


class _Stack(nn.Module):
    """Embeddings, layers, final norm."""

    def __init__(self, config: GPTConfig, cross: bool) -> None:
        super().__init__()
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.context_len, config.d_model)
        self.layers = nn.ModuleList([_Layer(config, cross) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(config.d_model)
        for table in (self.token, self.position):  # so that first logits have a size of about 1
            nn.init.normal_(table.weight, std=config.d_model**-0.5)

    def run(
        self, ids: Tensor, mask: Tensor, memory: Tensor | None = None, seen: Tensor | None = None
    ) -> Tensor:
        x = self.token(ids) + self.position(torch.arange(ids.shape[1], device=ids.device))
        for layer in self.layers:
            x = layer(x, mask, memory, seen)
        return self.norm(x)


class Encoder(_Stack):
    """`encoder(ids, mask)`: (B, S), mask broadcast to (B, H, S, S) -> memory (B, S, C)."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config, cross=False)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """The memory that a decoder reads."""
        return self.run(ids, mask)


class Decoder(_Stack):
    """`decoder(ids, memory, mask, seen)`: (B, T), (B, S, C) and two masks -> logits (B, T, V).

    `mask` broadcasts to (B, H, T, T) and says what the target sees of itself, `seen` broadcasts to
    (B, H, T, S) and says what it sees of the memory.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__(config, cross=True)

    def forward(self, ids: Tensor, memory: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        """Logits of the next token at each position; the head is the token table."""
        return F.linear(self.run(ids, mask, memory, seen), self.token.weight)


# --- for probes: small functions whose answers tell mistakes apart ---------------------------


def cubes() -> Callable[[Tensor], Tensor]:
    """The sum of the cubes of all entries, a function whose slope is known: 3x²."""
    return lambda x: (x**3).sum()


def byte_chunks(n_bytes: int) -> Callable[[str], list[int]]:
    """A tokenizer of equal pieces: an id for every `n_bytes` bytes; the last may be shorter."""

    def encode(text: str) -> list[int]:
        data = text.encode()
        return [int.from_bytes(data[i : i + n_bytes]) for i in range(0, len(data), n_bytes)]

    return encode


def silu_experts(
    weights: Tensor, strict: bool = False, counting: bool = False
) -> list[Callable[[Tensor], Tensor]]:
    """Experts with an offset, one for each (C, C) matrix.

    Once one of the `strict` ones has been called without tokens, all answers are off by 1,000;
    `counting` ones add how many tokens they were given.
    """
    spoiled: list[bool] = []

    def expert(x: Tensor, w: Tensor) -> Tensor:
        if strict and len(x) == 0:
            spoiled.append(True)
        return F.silu(x @ w) + w[0] + 1000 * len(spoiled) + (len(x) if counting else 0)

    return [partial(expert, w=w) for w in weights]


def average_encoder(table: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """A stand-in for an encoder: each position averages the table's rows of what it may see."""

    def encode(ids: Tensor, mask: Tensor) -> Tensor:
        x = table[ids]  # (B, S, C)
        share = mask[:, 0].double().expand(len(ids), ids.shape[1], ids.shape[1])
        return (x + share @ x / share.sum(-1, keepdim=True)).tanh()

    return encode


def average_decoder(table: Tensor) -> Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]:
    """A stand-in for a decoder: averages what it sees of itself, attends to the memory."""

    def decode(ids: Tensor, memory: Tensor, mask: Tensor, seen: Tensor) -> Tensor:
        B, T, S = *ids.shape, memory.shape[1]
        x = table[ids]
        own = mask.double().expand(B, 1, T, T)[:, 0]
        x = x + own @ x / own.sum(-1, keepdim=True)
        hidden = ~seen.expand(B, 1, T, S)[:, 0]
        return x + (x @ memory.mT).masked_fill(hidden, -torch.inf).softmax(-1) @ memory

    return decode
