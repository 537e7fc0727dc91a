"""A small, fast GPT: the reference that later labs train, tune and serve.

One class for every size from `MICRO` to `GPT2_SMALL`. Attention is torch's fused kernel; queries,
keys and values come from one matrix; the head shares the token table. Generation keeps keys and
values in a cache made once. Two functions with gradients written by hand save time on a CPU, where
moving numbers costs more than computing them. Pre-norm with learned positions, as GPT-2, whose
weights fit (`GPT.from_gpt2`). No rotary positions, no experts, no beam search.
"""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
        shape = (config.n_layers, batch, 2, n_kv_heads, size, D)  # 2: keys, values
        self.layers = list(torch.empty(shape, dtype=like.dtype, device=like.device))
        self.size, self.length = size, 0


# --- by hand, for a CPU ----------------------------------------------------------------------


class _Gelu(torch.autograd.Function):
    """GELU as in GPT-2: x s with s = sigmoid(A (x + b x³)), which is its tanh form rewritten.

    torch's tanh is slow on a CPU. The slope s + x s (1 - s) A (1 + 3 b x²) is made on the way.
    """

    A, b = 2 * math.sqrt(2 / math.pi), 0.044715

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        """Piece by piece, so that what is between stays in the processor's cache."""
        y, slope = torch.empty_like(x), torch.empty_like(x)
        flat = (t.view(-1, x.shape[-1]).split(128) for t in (x, y, slope))
        for x_i, y_i, slope_i in zip(*flat, strict=True):
            square = x_i * x_i
            s = torch.addcmul(x_i, x_i, square, value=_Gelu.b).mul_(_Gelu.A).sigmoid_()
            torch.mul(x_i, s, out=y_i)
            rest = torch.addcmul(y_i, y_i, s, value=-1)  # x s (1 - s)
            s.add_(rest, alpha=_Gelu.A)
            torch.addcmul(s, rest, square, value=3 * _Gelu.A * _Gelu.b, out=slope_i)
        ctx.save_for_backward(slope)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """The slope is known."""
        return grad * ctx.saved_tensors[0]


class _HeadLoss(torch.autograd.Function):
    """Summed cross-entropy of x W^T: (N, C), (V, C), (N,) -> scalar.

    A few rows at a time: their logits become the gradient in place, p minus one at the target, and
    are used up at once. All N x V of them never exist.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
        """The loss; the gradients are ready with it, that of a frozen weight is left out."""
        total, to_x = x.new_zeros(()), torch.empty_like(x)
        to_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        pieces = (t.split(256) for t in (x, targets, to_x))
        for x_i, target, to_x_i in zip(*pieces, strict=True):
            p = x_i @ weight.T
            p -= p.amax(-1, keepdim=True)
            at_target = p.gather(1, target[:, None])
            sums = p.exp_().sum(-1, keepdim=True)
            total += (sums.log() - at_target).sum()
            p /= sums
            p.scatter_add_(1, target[:, None], torch.full_like(sums, -1.0))
            torch.mm(p, weight, out=to_x_i)
            if to_weight is not None:
                to_weight.addmm_(p.T, x_i)
        ctx.save_for_backward(to_x, to_weight)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """The gradients, scaled."""
        to_x, to_weight = ctx.saved_tensors
        return to_x * grad, None if to_weight is None else to_weight * grad, None


def _by_hand(x: Tensor) -> bool:
    """Whether the functions above are the faster ones: training on a CPU in one precision."""
    return (x.device.type == "cpu" and torch.is_grad_enabled() and x.requires_grad
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling())  # fmt: skip


def _gelu(x: Tensor, form: str) -> Tensor:
    """GELU in its tanh form or exact; torch has the second in one fast piece."""
    if form == "tanh" and _by_hand(x):
        return _Gelu.apply(x)
    return F.gelu(x, approximate="tanh" if form == "tanh" else "none")


# --- the model -------------------------------------------------------------------------------


class Block(nn.Module):
    """Attention, then feed-forward; each reads a normed copy and adds to what comes in."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        C, d_ff, bias = config.d_model, config.d_ff or 4 * config.d_model, config.bias
        self.n_heads, self.n_kv_heads = config.n_heads, config.n_kv_heads or config.n_heads
        self.d_head, self.dropout = C // config.n_heads, config.dropout
        self.gelu = config.gelu
        self.norm1 = nn.LayerNorm(C)
        self.qkv = nn.Linear(C, (self.n_heads + 2 * self.n_kv_heads) * self.d_head, bias)
        self.out = nn.Linear(C, C, bias)
        self.norm2 = nn.LayerNorm(C)
        self.ff_in = nn.Linear(C, d_ff, bias)
        self.ff_out = nn.Linear(d_ff, C, bias)

    def forward(self, x: Tensor, mask: Tensor | None = None, cached: Tensor | None = None,
                start: int = 0) -> Tensor:  # fmt: skip
        """(B, T, C) -> (B, T, C); `cached` (B, 2, Hkv, size, D) holds `start` tokens and gets T."""
        x = x + self._drop(self.out(self._attend(self.qkv(self.norm1(x)), mask, cached, start)))
        wide = _gelu(self.ff_in(self.norm2(x)), self.gelu)
        return x + self._drop(self.ff_out(wide))

    def _attend(self, qkv: Tensor, mask: Tensor | None, cached: Tensor | None,
                start: int) -> Tensor:  # fmt: skip
        B, T, _ = qkv.shape
        sizes = [n * self.d_head for n in (self.n_heads, self.n_kv_heads, self.n_kv_heads)]
        q, k, v = (t.view(B, T, -1, self.d_head).transpose(1, 2) for t in qkv.split(sizes, 2))
        if cached is not None:
            cached[:, 0, :, start : start + T], cached[:, 1, :, start : start + T] = k, v
            k, v = cached[:, :, :, : start + T].unbind(1)
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
        if config.gelu not in ("tanh", "exact"):
            raise ValueError(f'gelu is {config.gelu!r}; it must be "tanh" or "exact".')
        if config.d_model % config.n_heads or config.n_heads % (config.n_kv_heads or 1):
            raise ValueError("n_heads must divide d_model, and n_kv_heads must divide n_heads.")
        self.config = config
        self.token = nn.Embedding(config.vocab_size, config.d_model)
        self.position = nn.Embedding(config.context_len, config.d_model)
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_layers)])
        self.norm = nn.LayerNorm(config.d_model)
        self.head = nn.Linear(config.d_model, config.vocab_size, bias=False)
        if self.config.tied:
            self.token.weight = self.head.weight
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
        x, targets = x.flatten(0, 1), targets.flatten()
        if not _by_hand(x):
            return F.cross_entropy(self.head(x), targets, ignore_index=IGNORED, reduction=reduction)
        keep = targets != IGNORED
        if not keep.all():
            x, targets = x[keep], targets[keep]
        total = _HeadLoss.apply(x, self.head.weight, targets)
        return total / len(targets) if reduction == "mean" else total

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
        n, room = ids.shape[1], min(ids.shape[1] + n_new, self.config.context_len)
        found = torch.cat([ids, ids.new_zeros(len(ids), n_new)], 1)
        done = torch.zeros(len(ids), 1, dtype=torch.bool, device=ids.device)
        cache, was = self.cache(len(ids), room), self.training
        self.eval()
        step, unread = _stepper(self, cache), ids[:, -room:]
        for at in range(n, n + n_new):
            if cache.length == room:
                cache.length, unread = 0, found[:, at - max(1, room // 2) : at]
            one = unread.shape[1] == 1
            logits = step(unread) if one else self.head(self.hidden(unread, cache=cache)[:, -1])
            unread = choose(logits, temperature, top_k, top_p, generator)
            if stop is not None:
                unread = unread.masked_fill(done, stop)
                done |= unread == stop
            found[:, at : at + 1] = unread
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


def _stepper(model: GPT, cache: Cache) -> Callable[[Tensor], Tensor]:
    """A function (B, 1) ids -> (B, V) logits that reads one more token into the cache.

    `GPT.hidden` for a single token without what a small model spends its time on: asking modules
    for their parameters. The test compares the two.
    """
    maps = [m for b in model.blocks for m in (b.qkv, b.out, b.ff_in, b.ff_out)]
    if any(type(m) is not nn.Linear for m in maps):  # adapted, as by LoRA: their own forward
        return lambda ids: model.head(model.hidden(ids, cache=cache)[:, -1])
    norm, linear = torch.layer_norm, F.linear
    attend, grouped = F.scaled_dot_product_attention, {}
    config, shape = model.config, (model.config.d_model,)
    H, D, B = config.n_heads, config.d_model // config.n_heads, cache.layers[0].shape[0]
    if config.n_kv_heads not in (None, H):
        grouped = {"enable_gqa": True}
    weights = [
        [(part.weight, part.bias) for part in (b.norm1, b.qkv, b.out, b.norm2, b.ff_in, b.ff_out)]
        for b in model.blocks
    ]
    token, position = model.token.weight, model.position.weight
    last, head = (model.norm.weight, model.norm.bias), model.head.weight

    def step(ids: Tensor) -> Tensor:
        t = cache.length
        x = F.embedding(ids[:, 0], token) + position[t]  # (B, C)
        for (norm1, qkv, out, norm2, ff_in, ff_out), cached in zip(
            weights, cache.layers, strict=True
        ):
            heads = linear(norm(x, shape, *norm1), *qkv).view(B, -1, 1, D)
            cached[:, :, :, t : t + 1] = heads[:, H:].unflatten(1, (2, -1))
            k, v = cached[:, :, :, : t + 1].unbind(1)
            y = attend(heads[:, :H], k, v, **grouped)
            x = x + linear(y.view(B, -1), *out)
            wide = _gelu(linear(norm(x, shape, *norm2), *ff_in), config.gelu)
            x = x + linear(wide, *ff_out)
        cache.length += 1
        return linear(norm(x, shape, *last), head)

    return step


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
    return sum(map(Tensor.numel, model.parameters()))
