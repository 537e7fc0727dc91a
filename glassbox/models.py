"""A small, fast GPT: the reference that later labs train, tune and serve.

One class for every size from `MICRO` to `GPT2_SMALL`. Attention is torch's fused kernel, queries,
keys and values come from one matrix, the head shares the token table. Training asks for the loss,
generation keeps keys and values in a cache made once. Pre-norm with learned positions, as GPT-2;
its published weights fit (`GPT.from_gpt2`). No rotary positions, no experts, no beam search.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from glassbox.checkpoints import read_gpt2
from glassbox.parts import GPTConfig

IGNORED = -100  # a target that does not count

MICRO = GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=256, context_len=128)
"""124,672 parameters over bytes: a laptop trains it in half a minute."""
RECIPE = GPTConfig(n_layers=4, d_model=96, n_heads=4, vocab_size=1024, context_len=128, bias=False)
"""554,688 parameters: the size at which the labs' recipes were checked."""
GPT2_SMALL = GPTConfig(n_layers=12, d_model=768, n_heads=12, vocab_size=50257, context_len=1024)
"""124,439,808 parameters: for one GPU."""


class Cache:
    """Keys and values of B sequences in every layer: room for `size` tokens, `length` taken."""

    def __init__(self, config: GPTConfig, batch: int, size: int, like: Tensor) -> None:
        D, n_kv_heads = config.d_model // config.n_heads, config.n_kv_heads or config.n_heads
        shape = (config.n_layers, 2, batch, n_kv_heads, size, D)
        self.layers = list(torch.empty(shape, dtype=like.dtype, device=like.device))
        self.size, self.length = size, 0


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normed copy and adds to what comes in."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C, d_ff, bias = config.d_model, config.d_ff or 4 * config.d_model, config.bias
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads or config.n_heads
        self.d_head, self.dropout = C // config.n_heads, config.dropout
        self.norm1 = nn.LayerNorm(C)
        self.qkv = nn.Linear(C, (self.n_heads + 2 * self.n_kv_heads) * self.d_head, bias)
        self.out = nn.Linear(C, C, bias)
        self.norm2 = nn.LayerNorm(C)
        self.ff_in = nn.Linear(C, d_ff, bias)
        self.ff_out = nn.Linear(d_ff, C, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, cached: Tensor | None = None,
                start: int = 0) -> Tensor:  # fmt: skip
        """(B, T, C) -> (B, T, C); `cached` (2, B, Hkv, size, D) holds `start` tokens and gets T."""
        x = x + self._drop(self.out(self._attend(self.qkv(self.norm1(x)), mask, cached, start)))
        hidden = F.gelu(self.ff_in(self.norm2(x)), approximate="tanh")
        return x + self._drop(self.ff_out(hidden))

    def _attend(self, qkv: Tensor, mask: Tensor | None, cached: Tensor | None,
                start: int) -> Tensor:  # fmt: skip
        B, T, _ = qkv.shape
        heads = qkv.view(B, T, -1, self.d_head).transpose(1, 2)  # (B, H + 2 Hkv, T, D)
        q, k, v = heads.split([self.n_heads, self.n_kv_heads, self.n_kv_heads], 1)
        if cached is not None:
            end = start + T
            cached[0, :, :, start:end], cached[1, :, :, start:end] = k, v
            k, v = cached[:, :, :, :end].unbind()
        y = F.scaled_dot_product_attention(
            q, k, v, mask, self.dropout if self.training else 0.0,
            is_causal=mask is None and T > 1, enable_gqa=self.n_kv_heads < self.n_heads,
        )  # fmt: skip
        return y.transpose(1, 2).reshape(B, T, -1)

    def _drop(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout) if self.training and self.dropout else x


class GPT(nn.Module):
    """`GPT(config)(ids)` -> logits; with targets, the loss."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        if config.norm != "pre":
            raise ValueError(f"norm is {config.norm!r}; this model is pre-norm.")
        if config.d_model % config.n_heads or config.n_heads % (config.n_kv_heads or 1):
            raise ValueError("n_heads must divide d_model, and n_kv_heads must divide n_heads.")
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.context_len, config.d_model)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if config.tied:
            self.head.weight = self.token.weight
        self.reset()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """GPT-2's start: normal(0.02), maps into the residual stream 0.02 / sqrt(2 L), biases 0."""
        narrow = 0.02 / math.sqrt(2 * self.config.n_layers)
        for name, module in self.named_modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                std = narrow if name.endswith(("out", "ff_out")) else 0.02
                nn.init.normal_(module.weight, std=std, generator=generator)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

    def forward(
        self, ids: Tensor, targets: Tensor | None = None, segments: Tensor | None = None,
        reduction: str = "mean", cache: Cache | None = None,
    ) -> Tensor:  # fmt: skip
        """(B, T) ids -> (B, T, V) logits, or with (B, T) targets their loss, -100 not counted.

        `segments` (B, T): tokens with equal numbers are one document; it sees itself alone, and
        its positions count from its own start. `cache`: what came before, to which this is added.
        """
        x = self.hidden(ids, segments, cache)
        if targets is None:
            return self.head(x)
        logits = self.head(x).flatten(0, 1)
        return F.cross_entropy(logits.float() if logits.dtype != torch.float64 else logits,
                               targets.flatten(), ignore_index=IGNORED,
                               reduction=reduction)  # fmt: skip

    def loss(self, ids: Tensor, targets: Tensor, segments: Tensor | None = None,
             reduction: str = "mean") -> Tensor:  # fmt: skip
        """Cross-entropy of the targets in nats, mean or sum over those that are not -100."""
        return self(ids, targets, segments, reduction)

    def hidden(self, ids: Tensor, segments: Tensor | None = None,
               cache: Cache | None = None) -> Tensor:  # fmt: skip
        """(B, T) ids -> (B, T, C), what the head reads."""
        T, start = ids.shape[1], cache.length if cache else 0
        if start + T > self.config.context_len:
            raise ValueError(f"{start + T} tokens do not fit in {self.config.context_len}.")
        mask = None
        positions = torch.arange(start, start + T, device=ids.device)
        if segments is not None:
            if cache is not None:
                raise ValueError("segments are for training; they do not go with a cache.")
            mask = (segments[:, None] == segments[:, :, None]).tril()[:, None]  # (B, 1, T, T)
            positions = positions - (segments.diff(prepend=segments[:, :1] - 1).ne(0) * positions
                                     ).cummax(1).values  # fmt: skip
        elif start and T > 1:
            mask = torch.ones(T, start + T, dtype=torch.bool, device=ids.device).tril(start)
        x = self.token(ids) + self.position(positions)
        if self.training and self.config.dropout:
            x = F.dropout(x, self.config.dropout)
        for i, block in enumerate(self.blocks):
            x = block(x, mask, cache.layers[i] if cache else None, start)
        if cache is not None:
            cache.length += T
        return self.norm(x)

    # --- generation ---------------------------------------------------------------------------

    def cache(self, batch: int, size: int | None = None) -> Cache:
        """An empty cache for `batch` sequences, of the whole context unless `size` is given."""
        return Cache(self.config, batch, size or self.config.context_len, self.token.weight)

    @torch.inference_mode()
    def generate(
        self, ids: Tensor, n_new: int, temperature: float = 1.0, *, top_k: int | None = None,
        top_p: float | None = None, generator: torch.Generator | None = None,
        stop: int | None = None,
    ) -> Tensor:  # fmt: skip
        """(B, T) prompts -> (B, T + n_new): the prompts and what follows.

        Temperature 0 takes the likeliest token. `stop`: an id after which a row repeats it; once
        all rows have met it the answer ends there. A full context is cut to its second half.
        """
        was, n = self.training, ids.shape[1]
        self.eval()
        cache = self.cache(len(ids), min(n + n_new, self.config.context_len))
        found = torch.cat([ids, ids.new_zeros(len(ids), n_new)], 1)
        fresh = ids[:, -cache.size :]
        done = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
        for at in range(n, n + n_new):
            if cache.length == cache.size:
                cache.length, fresh = 0, found[:, at - max(1, cache.size // 2) : at]
            logits = self.head(self.hidden(fresh, cache=cache)[:, -1])
            fresh = choose(logits, temperature, top_k, top_p, generator)
            if stop is not None:
                fresh = fresh.masked_fill(done, stop)
                done |= fresh == stop
            found[:, at : at + 1] = fresh
            if stop is not None and done.all():
                found = found[:, : at + 1]
                break
        self.train(was)
        return found

    # --- GPT-2 --------------------------------------------------------------------------------

    @classmethod
    def from_gpt2(cls, source: str | Path) -> "GPT":
        """The model of a GPT-2 checkpoint: a folder, or a name on the Hugging Face Hub."""
        saved = read_gpt2(source)
        model = cls(saved.config)
        model.load_gpt2(saved.state)
        return model.eval()

    @torch.no_grad()
    def load_gpt2(self, state: dict[str, Tensor]) -> None:
        """Take weights with the names of transformers' GPT-2, whose matrices lie transposed."""
        names = {"token": "wte", "position": "wpe", "norm": "ln_f"}
        parts = {"norm1": "ln_1", "qkv": "attn.c_attn", "out": "attn.c_proj", "norm2": "ln_2",
                 "ff_in": "mlp.c_fc", "ff_out": "mlp.c_proj"}  # fmt: skip
        for i in range(self.config.n_layers):
            names |= {f"blocks.{i}.{ours}": f"h.{i}.{theirs}" for ours, theirs in parts.items()}
        plain = {key.removeprefix("transformer."): value for key, value in state.items()}
        for ours, theirs in names.items():
            module = self.get_submodule(ours)
            for kind, parameter in module.named_parameters(recurse=False):
                value = plain[f"{theirs}.{kind}"]
                parameter.copy_(value.T if isinstance(module, nn.Linear) and value.ndim == 2
                                else value)  # fmt: skip
        if not self.config.tied:
            self.head.weight.copy_(plain["lm_head.weight"])


def choose(
    logits: Tensor, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:  # fmt: skip
    """(B, V) logits -> (B, 1) ids: the likeliest at temperature 0, otherwise drawn.

    `top_k` keeps the k likeliest (and ties), `top_p` the fewest whose probabilities reach p.
    """
    if temperature == 0:
        return logits.argmax(-1, keepdim=True)
    logits = logits.float() / temperature
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -math.inf)
    if top_p is not None:
        ordered, order = logits.sort(descending=True)
        p = ordered.softmax(-1)
        beyond = p.cumsum(-1) - p >= top_p  # what comes before it is enough already
        logits = logits.masked_fill(beyond.scatter(-1, order, beyond), -math.inf)
    return torch.multinomial(logits.softmax(-1), 1, generator=generator)


def count(model: nn.Module) -> int:
    """Parameters; shared ones once."""
    return sum(p.numel() for p in model.parameters())
