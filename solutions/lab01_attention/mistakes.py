"""The mistake bank of lab 1: what learners get wrong, what they read, and other right versions.

A diagnosis says what the function does, in words that hold for every version with these answers.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.bank import Bank, call, module

bank = Bank("lab01_attention")
gen = torch.Generator().manual_seed(20)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


# --- causal_mask -----------------------------------------------------------------------------

bank.probe("causal_mask", call(3, 3), call(2, 5), call(1, 1), call(4, 6))


@bank.wrong("causal_mask", "Token 0 may see nothing, not even itself: its softmax is 0/0.")
def strictly_before(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries - 1)


@bank.wrong("causal_mask", "Token 0 may see nothing, not even itself: its softmax is 0/0.")
def strictly_before_from_the_start(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(-1)


@bank.wrong("causal_mask", "You kept the future and hid the past.")
def upper_triangle(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).triu(n_keys - n_queries)


@bank.wrong("causal_mask", "This is the mask of what is hidden; here True means 'may attend'.")
def true_means_hidden(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).triu(n_keys - n_queries + 1)


@bank.wrong("causal_mask", "Each token sees one token ahead of itself.")
def one_ahead(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries + 1)


@bank.wrong("causal_mask", "Right only for T = S: the queries are the last T of the S positions.")
def aligned_at_the_start(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril()


@bank.wrong("causal_mask", "Your mask is (S, T); rows are queries and columns are keys.")
def transposed(n_queries: int, n_keys: int) -> Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries).T


@bank.right("causal_mask")
def lower_triangle(n_queries: int, n_keys: int) -> Tensor:
    return torch.tril(torch.ones(n_queries, n_keys, dtype=torch.bool), n_keys - n_queries)


@bank.right("causal_mask")
def last_rows_of_a_square(n_queries: int, n_keys: int) -> Tensor:
    full = torch.ones(n_keys, n_keys).triu(1) == 0
    return full[n_keys - n_queries :]


@bank.right("causal_mask")
def nested_loops(n_queries: int, n_keys: int) -> Tensor:
    mask = torch.zeros(n_queries, n_keys, dtype=torch.bool)
    for t in range(n_queries):
        for s in range(n_keys):
            mask[t, s] = s <= t + n_keys - n_queries
    return mask


# --- attention -------------------------------------------------------------------------------

_q, _k, _v = rand(2, 3, 4, 5), rand(2, 3, 4, 5), rand(2, 3, 4, 5)
_causal = torch.ones(4, 4, dtype=torch.bool).tril()
_wide = torch.full((1, 1, 2, 64), 40.0).half() * torch.tensor([[1.0], [-1.0]]).half()
bank.probe("attention", call(_q, _k, _v), call(_q, _k, _v, _causal),
           call(_q[:, :, :2], _k, _v), call(_wide, _wide, _wide))  # fmt: skip


def _softmax_over(dim: int, scores: Tensor, mask: Tensor | None) -> Tensor:
    return (scores if mask is None else scores.masked_fill(~mask, -math.inf)).softmax(dim)


def _scaled(q: Tensor, k: Tensor) -> Tensor:
    return (q / math.sqrt(q.shape[-1])) @ k.mT


@bank.wrong("attention", "Your scores are not divided by sqrt(D).")
def not_scaled(q, k, v, mask=None):
    weights = _softmax_over(-1, q @ k.mT, mask)
    return weights @ v, weights


@bank.wrong("attention", "You divided the scores by D; the typical size of q·k is sqrt(D).")
def divided_by_d(q, k, v, mask=None):
    weights = _softmax_over(-1, (q / q.shape[-1]) @ k.mT, mask)
    return weights @ v, weights


@bank.wrong("attention", "You divided by sqrt(H·D), the width of the model; the width of one head "
            "counts.")  # fmt: skip
def divided_by_sqrt_d_model(q, k, v, mask=None):
    weights = _softmax_over(-1, (q / math.sqrt(q.shape[-1] * q.shape[1])) @ k.mT, mask)
    return weights @ v, weights


@bank.wrong("attention", "You divided by the number of keys; divide by sqrt(D).")
def divided_by_sqrt_keys(q, k, v, mask=None):
    weights = _softmax_over(-1, (q / math.sqrt(k.shape[-2])) @ k.mT, mask)
    return weights @ v, weights


@bank.wrong("attention", "You multiplied the scores by sqrt(D); divide.")
def multiplied_by_sqrt_d(q, k, v, mask=None):
    weights = _softmax_over(-1, (q * math.sqrt(q.shape[-1])) @ k.mT, mask)
    return weights @ v, weights


@bank.wrong("attention", "The mask is turned round: True means 'may attend'.")
def mask_inverted(q, k, v, mask=None):
    weights = _softmax_over(-1, _scaled(q, k), None if mask is None else ~mask)
    return weights @ v, weights


@bank.wrong("attention", "The mask has no effect on your weights.")
def mask_ignored(q, k, v, mask=None):
    weights = _softmax_over(-1, _scaled(q, k), None)
    return weights @ v, weights


@bank.wrong("attention", "You set hidden scores to 0. A score of 0 is not forbidden: exp(0) = 1.")
def mask_fills_zero(q, k, v, mask=None):
    scores = _scaled(q, k)
    weights = (scores if mask is None else scores * mask).softmax(-1)
    return weights @ v, weights


@bank.wrong("attention", "The mask acts after the softmax: your rows no longer sum to 1.")
def mask_after_softmax(q, k, v, mask=None):
    weights = _scaled(q, k).softmax(-1)
    weights = weights if mask is None else weights * mask
    return weights @ v, weights


@bank.wrong("attention", "Your columns sum to 1; rows should: the softmax runs over the keys.")
def softmax_over_queries(q, k, v, mask=None):
    scores = _scaled(q, k)
    scores = scores if mask is None else scores.masked_fill(~mask, -1e9)
    weights = scores.softmax(-2)
    return weights @ v, weights


@bank.wrong("attention", "Your score matrix is transposed: row t must hold query t.")
def query_and_key_swapped(q, k, v, mask=None):
    weights = _softmax_over(-1, _scaled(k, q), mask)
    return weights @ v, weights


@bank.wrong("attention", "Your output is a weighted sum of the keys; it should be of the values.")
def sums_keys(q, k, v, mask=None):
    weights = _softmax_over(-1, _scaled(q, k), mask)
    return weights @ k, weights


@bank.wrong("attention", "You return the scores in place of the weights.")
def returns_scores(q, k, v, mask=None):
    scores = _scaled(q, k)
    return _softmax_over(-1, scores, mask) @ v, scores


@bank.wrong("attention", "Right in float64, but the raw q·k overflows float16: scale q before the "
            "product.")  # fmt: skip
def scaled_after_the_product(q, k, v, mask=None):
    scores = (q @ k.mT) / math.sqrt(q.shape[-1])
    weights = _softmax_over(-1, scores, mask)
    return weights @ v, weights


@bank.wrong("attention", "exp overflows: a softmax has to subtract the largest score first.")
def softmax_without_maximum(q, k, v, mask=None):
    scores = _scaled(q, k)
    exp = (scores if mask is None else scores.masked_fill(~mask, -math.inf)).exp()
    weights = exp / exp.sum(-1, keepdim=True)
    return weights @ v, weights


@bank.wrong("attention", "You scale q in place; the caller's tensor must stay as it was.")
def scales_in_place(q, k, v, mask=None):
    q.div_(math.sqrt(q.shape[-1]))
    weights = _softmax_over(-1, q @ k.mT, mask)
    return weights @ v, weights


@bank.right("attention")
def with_einsum(q, k, v, mask=None):
    scores = torch.einsum("bhtd,bhsd->bhts", q * q.shape[-1] ** -0.5, k)
    if mask is not None:
        scores = torch.where(mask, scores, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, dim=3)
    return torch.einsum("bhts,bhsd->bhtd", weights, v), weights


@bank.right("attention")
def softmax_by_hand(q, k, v, mask=None):
    root = q.size(-1) ** 0.25
    scores = torch.matmul(q / root, (k / root).transpose(-1, -2))
    if mask is not None:
        bias = torch.zeros(mask.shape, dtype=q.dtype).masked_fill(mask.logical_not(), float("-inf"))
        scores = scores + bias
    exp = (scores - scores.amax(-1, keepdim=True)).exp()
    weights = exp / exp.sum(-1, keepdim=True)
    return torch.matmul(weights, v), weights


@bank.right("attention")
def softmax_in_float32(q, k, v, mask=None):
    scores = q.mul(1 / math.sqrt(q.shape[-1])).matmul(k.permute(0, 1, 3, 2))
    wide = scores.to(torch.promote_types(q.dtype, torch.float32))
    if mask is not None:
        wide = wide.masked_fill(mask == 0, -1e30)
    weights = F.softmax(wide, dim=-1).to(q.dtype)
    return weights.matmul(v), weights


# --- split_heads and merge_heads -------------------------------------------------------------

bank.probe("split_heads", call(rand(2, 3, 8), 2), call(rand(2, 5, 6), 3))


@bank.wrong("split_heads", "Heads mix tokens: the shape is right, but a single reshape reads the "
            "numbers in memory order. Right only for H = 1.")  # fmt: skip
def view_without_transpose(x, n_heads):
    B, T, C = x.shape
    return x.reshape(B, n_heads, T, C // n_heads)


@bank.wrong("split_heads", "The heads are cut correctly but stand behind the tokens: (B, T, H, D).")
def heads_behind_tokens(x, n_heads):
    return x.unflatten(-1, (n_heads, -1))


@bank.wrong("split_heads", "Each head gets every H-th column; it should get D neighbouring ones.")
def strided_columns(x, n_heads):
    B, T, C = x.shape
    return x.reshape(B, T, C // n_heads, n_heads).permute(0, 3, 1, 2)


@bank.wrong("split_heads", "You swapped the number of heads and their width.")
def width_of_n_heads(x, n_heads):
    B, T, C = x.shape
    return x.reshape(B, T, C // n_heads, n_heads).transpose(1, 2)


@bank.right("split_heads")
def stack_of_slices(x, n_heads):
    return torch.stack(x.chunk(n_heads, dim=-1), dim=1)


@bank.right("split_heads")
def unflatten_and_permute(x, n_heads):
    return x.unflatten(2, (n_heads, x.shape[-1] // n_heads)).permute(0, 2, 1, 3)


bank.probe("merge_heads", call(rand(2, 2, 3, 4)), call(rand(1, 3, 5, 2)))


@bank.wrong("merge_heads", "Tokens are mixed: bring the heads behind the tokens before flattening.")
def flatten_without_transpose(x):
    B, H, T, D = x.shape
    return x.reshape(B, T, H * D)


@bank.wrong("merge_heads", "The columns of the heads alternate; each head's columns stay together.")
def columns_alternate(x):
    return x.permute(0, 2, 3, 1).flatten(2)


@bank.wrong("merge_heads", "You averaged the heads; they are put side by side.")
def mean_over_heads(x):
    return x.mean(1)


@bank.wrong("merge_heads", "You put the tokens of all heads one after another: (B, H·T, D).")
def heads_joined_along_tokens(x):
    return x.flatten(1, 2)


@bank.right("merge_heads")
def concatenate_heads(x):
    return torch.cat(x.unbind(1), dim=-1)


@bank.right("merge_heads")
def permute_and_reshape(x):
    B, H, T, D = x.size()
    return x.permute(0, 2, 1, 3).contiguous().view(B, T, H * D)


# --- MultiHeadAttention ----------------------------------------------------------------------


class _Given(nn.Module):
    """The constructor that the lab gives, and the usual forward with holes for mistakes."""

    def __init__(self, d_model, n_heads, n_kv_heads=None, bias=True):
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        d_head = d_model // n_heads
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, self.n_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, self.n_kv_heads * d_head, bias=bias)
        self.out_proj = nn.Linear(n_heads * d_head, d_model, bias=bias)

    def heads(self, x, n_heads):
        return x.unflatten(-1, (n_heads, -1)).transpose(1, 2)

    def qkv(self, x_q, x_k, x_v):
        groups = self.n_heads // self.n_kv_heads
        q = self.heads(self.q_proj(x_q), self.n_heads)
        k = self.heads(self.k_proj(x_k), self.n_kv_heads).repeat_interleave(groups, 1)
        v = self.heads(self.v_proj(x_v), self.n_kv_heads).repeat_interleave(groups, 1)
        return q, k, v

    def finish(self, heads):
        return self.out_proj(heads.transpose(1, 2).flatten(2))


def _probe_state(d_model: int, n_heads: int, n_kv_heads: int) -> dict[str, Tensor]:
    D = d_model // n_heads
    widths = {"q_proj": n_heads * D, "k_proj": n_kv_heads * D, "v_proj": n_kv_heads * D}
    state = {}
    for name, width in (widths | {"out_proj": d_model}).items():
        state |= {f"{name}.weight": rand(width, d_model), f"{name}.bias": rand(width)}
    return state


_x, _context = rand(2, 4, 8), rand(2, 4, 8)
_state, _grouped = _probe_state(8, 4, 4), _probe_state(8, 4, 2)
_init, _init2 = {"d_model": 8, "n_heads": 4}, {"d_model": 8, "n_heads": 4, "n_kv_heads": 2}
bank.probe("MultiHeadAttention", module(_init, _state, _x), module(_init, _state, _x, _context),
           module(_init, _state, _x, mask=_causal), module(_init2, _grouped, _x),
           module(_init, _state, _x[:, :2], _context))  # fmt: skip


@bank.wrong("MultiHeadAttention", "You ignore the context: keys and values must come from it.")
class ContextIgnored(_Given):
    def forward(self, x, context=None, mask=None):
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, x, x), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "Values must come from the context, or nothing of it arrives.")
class ValuesFromX(_Given):
    def forward(self, x, context=None, mask=None):
        source = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, source, x), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "Queries come from x, not from the context.")
class QueriesFromContext(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(c, c, c), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "x and context are swapped: x asks, the context answers.")
class RolesSwapped(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(c, x, x), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "Key heads are repeated as 0 1 0 1; query head h uses key head "
            "h // (H / Hkv), so 0 0 1 1.")  # fmt: skip
class KeyHeadsTiled(_Given):
    def qkv(self, x_q, x_k, x_v):
        groups = self.n_heads // self.n_kv_heads
        q = self.heads(self.q_proj(x_q), self.n_heads)
        k = self.heads(self.k_proj(x_k), self.n_kv_heads).repeat(1, groups, 1, 1)
        return q, k, self.heads(self.v_proj(x_v), self.n_kv_heads).repeat(1, groups, 1, 1)

    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, c, c), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "The mask has no effect.")
class MaskIgnored(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, c, c)))


@bank.wrong("MultiHeadAttention", "The mask is turned round: True means 'may attend'.")
class MaskInverted(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        hidden = None if mask is None else ~mask
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, c, c), attn_mask=hidden))


@bank.wrong("MultiHeadAttention", "The output map is missing: out_proj mixes the heads.")
class NoOutputMap(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        heads = F.scaled_dot_product_attention(*self.qkv(x, c, c), attn_mask=mask)
        return heads.transpose(1, 2).flatten(2)


@bank.wrong("MultiHeadAttention", "The heads are merged in memory order: tokens and heads mix.")
class MergedWithoutTranspose(_Given):
    def finish(self, heads):
        B, H, T, D = heads.shape
        return self.out_proj(heads.reshape(B, T, H * D))

    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        return self.finish(F.scaled_dot_product_attention(*self.qkv(x, c, c), attn_mask=mask))


@bank.wrong("MultiHeadAttention", "You attend with one head of the full width; split first.")
class OneWideHead(_Given):
    def forward(self, x, context=None, mask=None):
        c = x if context is None else context
        q, k, v = (t.transpose(1, 2).flatten(2) for t in self.qkv(x, c, c))
        return self.out_proj(F.scaled_dot_product_attention(q, k, v, attn_mask=mask))


@bank.wrong("MultiHeadAttention", "Scores are too small by exactly sqrt(H): divide by the square "
            "root of the head's width, not of d_model.")  # fmt: skip
class ScaledByModelWidth(_Given):
    def forward(self, x, context=None, mask=None):
        c, C = x if context is None else context, x.shape[-1]
        heads = F.scaled_dot_product_attention(*self.qkv(x, c, c), attn_mask=mask, scale=C**-0.5)
        return self.finish(heads)


@bank.right("MultiHeadAttention")
class FusedWithGroups(_Given):
    def forward(self, x, context=None, mask=None):
        source = context if context is not None else x
        q = self.heads(self.q_proj(x), self.n_heads)
        k = self.heads(self.k_proj(source), self.n_kv_heads)
        v = self.heads(self.v_proj(source), self.n_kv_heads)
        return self.finish(F.scaled_dot_product_attention(q, k, v, mask, enable_gqa=True))


@bank.right("MultiHeadAttention")
class HeadByHead(_Given):
    def forward(self, x, context=None, mask=None):
        source = x if context is None else context
        D = self.q_proj.out_features // self.n_heads
        q, k, v = self.q_proj(x), self.k_proj(source), self.v_proj(source)
        outputs = []
        for h in range(self.n_heads):
            g = h * self.n_kv_heads // self.n_heads
            scores = q[..., h * D : (h + 1) * D] @ k[..., g * D : (g + 1) * D].mT / D**0.5
            if mask is not None:
                scores = scores.masked_fill(~mask, -math.inf)
            outputs.append(scores.softmax(-1) @ v[..., g * D : (g + 1) * D])
        return self.out_proj(torch.cat(outputs, -1))


# --- sinusoidal_positions --------------------------------------------------------------------

bank.probe("sinusoidal_positions", call(6, 8), call(5, 6, 100.0))


def _angles(T: int, C: int, base: float, power: float = 1.0) -> Tensor:
    return torch.arange(T)[:, None] * base ** (-torch.arange(0, C, 2) / C * power)


@bank.wrong("sinusoidal_positions", "All sines come first, then all cosines; they alternate.")
def sines_then_cosines(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens, d_model, base)
    return torch.cat([angle.sin(), angle.cos()], -1)


@bank.wrong("sinusoidal_positions", "Sine and cosine are swapped: row 0 must be 0, 1, 0, 1, …")
def cosine_first(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens, d_model, base)
    return torch.stack([angle.cos(), angle.sin()], -1).flatten(1)


@bank.wrong("sinusoidal_positions", "Your frequencies fall too slowly: the exponent is 2i/C for "
            "pair i, you used i/C.")  # fmt: skip
def exponent_half(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens, d_model, base, 0.5)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@bank.wrong("sinusoidal_positions", "Your frequencies grow with the column; they should fall.")
def frequencies_grow(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens, d_model, base, -1.0)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@bank.wrong("sinusoidal_positions", "Each column has its own frequency; the two columns of a pair "
            "share one.")  # fmt: skip
def frequency_per_column(n_tokens, d_model, base=10000.0):
    column = torch.arange(d_model)
    angle = torch.arange(n_tokens)[:, None] * base ** (-column / d_model)
    return torch.where(column % 2 == 0, angle.sin(), angle.cos())


@bank.wrong("sinusoidal_positions", "You start at position 1; the first token is at position 0.")
def starts_at_one(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens + 1, d_model, base)[1:]
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@bank.wrong("sinusoidal_positions", "The base is fixed at 10,000; use the argument.")
def base_ignored(n_tokens, d_model, base=10000.0):
    angle = _angles(n_tokens, d_model, 10000.0)
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)


@bank.right("sinusoidal_positions")
def written_in_place(n_tokens, d_model, base=10000.0):
    table = torch.zeros(n_tokens, d_model)
    rate = torch.exp(torch.arange(0, d_model, 2).float() * (-math.log(base) / d_model))
    table[:, 0::2] = torch.sin(torch.arange(n_tokens).unsqueeze(1) * rate)
    table[:, 1::2] = torch.cos(torch.arange(n_tokens).unsqueeze(1) * rate)
    return table


@bank.right("sinusoidal_positions")
def from_python_lists(n_tokens, d_model, base=10000.0):
    rows = []
    for p in range(n_tokens):
        row = []
        for i in range(d_model // 2):
            angle = p / base ** (2 * i / d_model)
            row += [math.sin(angle), math.cos(angle)]
        rows.append(row)
    return torch.tensor(rows)


# --- apply_rope ------------------------------------------------------------------------------

_r, _at = rand(1, 2, 4, 6), torch.tensor([0, 1, 3, 8])
bank.probe("apply_rope", call(_r, _at), call(_r, _at, layout="interleaved"),
           call(_r, _at, 50.0), call(_r, _at, layout="neither"))  # fmt: skip


def _turn(x, positions, base, layout, sign=1.0, power=1.0, shift=0, swap=False):
    D = x.shape[-1]
    rate = base ** (-torch.arange(0, D, 2, dtype=torch.float64) / D * power)
    angle = sign * (positions[:, None] + shift) * rate
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if layout not in ("half", "interleaved"):
        raise ValueError("layout must be 'half' or 'interleaved'")
    half = (layout == "half") != swap
    a, c = x.chunk(2, -1) if half else (x[..., ::2], x[..., 1::2])
    first, second = a * cos - c * sin, c * cos + a * sin
    return torch.cat([first, second], -1) if half else torch.stack([first, second], -1).flatten(-2)


@bank.wrong("apply_rope", "You turn clockwise: with cos and -sin in the first row of the matrix, "
            "(1, 0) turns towards (0, 1).")  # fmt: skip
def clockwise(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, layout, sign=-1.0)


@bank.wrong("apply_rope", "Valid layouts, wrong names: 'half' pairs i with i + D/2, "
            "'interleaved' pairs 2i with 2i + 1.")  # fmt: skip
def layouts_swapped(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, layout, swap=True)


@bank.wrong("apply_rope", "You ignore `layout` and always pair i with i + D/2.")
def always_half(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, "half")


@bank.wrong("apply_rope", "You ignore `layout` and always pair 2i with 2i + 1.")
def always_interleaved(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, "interleaved")


@bank.wrong("apply_rope", "Positions are counted from 0 to T - 1; use the argument `positions`.")
def positions_ignored(x, positions, base=10000.0, layout="half"):
    return _turn(x, torch.arange(x.shape[-2]), base, layout)


@bank.wrong("apply_rope", "The base is fixed at 10,000; use the argument.")
def rope_base_ignored(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, 10000.0, layout)


@bank.wrong("apply_rope", "Your frequencies fall too slowly: the exponent is 2i/D for pair i, you "
            "used i/D.")  # fmt: skip
def rope_exponent_half(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, layout, power=0.5)


@bank.wrong("apply_rope", "You add one to every position: a token at position 0 must not change.")
def rope_from_one(x, positions, base=10000.0, layout="half"):
    return _turn(x, positions, base, layout, shift=1)


@bank.wrong("apply_rope", "You multiply by cosines only: the other member of each pair is missing.")
def cosine_only(x, positions, base=10000.0, layout="half"):
    rate = base ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
    cos = (positions[:, None] * rate).cos()
    if layout not in ("half", "interleaved"):
        raise ValueError("layout")
    return x * (torch.cat([cos, cos], -1) if layout == "half" else cos.repeat_interleave(2, -1))


@bank.wrong("apply_rope", "The second member of each pair has a minus where a plus belongs: your "
            "matrix is a reflection, not a rotation.")  # fmt: skip
def reflection(x, positions, base=10000.0, layout="half"):
    turned = _turn(x, positions, base, layout)
    if layout == "half":
        return torch.cat([turned[..., : x.shape[-1] // 2], -turned[..., x.shape[-1] // 2 :]], -1)
    return turned * torch.tensor([1.0, -1.0]).repeat(x.shape[-1] // 2)


@bank.wrong("apply_rope", "The positions are not turned into rotations but added to the columns, as "
            "sinusoidal positions are.")  # fmt: skip
def added_not_rotated(x, positions, base=10000.0, layout="half"):
    rate = base ** (-torch.arange(0, x.shape[-1], 2, dtype=torch.float64) / x.shape[-1])
    angle = positions[:, None] * rate
    if layout not in ("half", "interleaved"):
        raise ValueError("layout")
    both = [angle.sin(), angle.cos()]
    return x + (torch.cat(both, -1) if layout == "half" else torch.stack(both, -1).flatten(-2))


@bank.wrong("apply_rope", "You rotate x in place; the caller's tensor must stay as it was.")
def rotated_in_place(x, positions, base=10000.0, layout="half"):
    x.copy_(_turn(x, positions, base, layout))
    return x


@bank.right("apply_rope")
def rotate_half(x, positions, base=10000.0, layout="half"):
    if layout not in {"half", "interleaved"}:
        raise ValueError(layout)
    D = x.shape[-1]
    rate = 1.0 / base ** (torch.arange(0, D, 2, dtype=torch.float64) / D)
    angle = torch.outer(positions.double(), rate)
    if layout == "half":
        angle = torch.cat([angle, angle], -1)
        other = torch.cat([-x[..., D // 2 :], x[..., : D // 2]], -1)
    else:
        angle = angle.repeat_interleave(2, -1)
        other = torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)
    return (x * angle.cos() + other * angle.sin()).to(x.dtype)


@bank.right("apply_rope")
def complex_numbers(x, positions, base=10000.0, layout="half"):
    D = x.shape[-1]
    if layout == "interleaved":
        order = torch.arange(D)
    elif layout == "half":
        order = torch.arange(D).view(2, D // 2).T.flatten()
    else:
        raise ValueError(f"unknown layout {layout}")
    wide = x[..., order].to(torch.promote_types(x.dtype, torch.float32))
    pairs = torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    angle = positions[:, None].to(wide.dtype) * base ** (-torch.arange(0, D, 2) / D)
    turned = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)
    result = torch.empty_like(x)
    result[..., order] = turned.to(x.dtype)
    return result


# --- alibi_bias ------------------------------------------------------------------------------

bank.probe("alibi_bias", call(4, 5), call(8, 3), call(1, 2))


def _distances(n_tokens: int) -> Tensor:
    at = torch.arange(n_tokens)
    return (at[:, None] - at).clamp(min=0).float()


def _slopes(n_heads: int, first: int = 1) -> Tensor:
    return 2.0 ** (-8 * torch.arange(first, first + n_heads) / n_heads)


@bank.wrong("alibi_bias", "Far keys are rewarded: the bias must be negative in the past.")
def positive_bias(n_heads, n_tokens):
    return _slopes(n_heads)[:, None, None] * _distances(n_tokens)


@bank.wrong("alibi_bias", "The slopes start at 1; the first head's slope is 2^(-8/H).")
def slopes_from_one(n_heads, n_tokens):
    return -_slopes(n_heads, 0)[:, None, None] * _distances(n_tokens)


@bank.wrong("alibi_bias", "Your slopes are 1/2, 1/4, 1/8, … for every H; that holds for 8 heads.")
def slopes_of_eight_heads(n_heads, n_tokens):
    slope = 2.0 ** -torch.arange(1.0, n_heads + 1)
    return -slope[:, None, None] * _distances(n_tokens)


@bank.wrong("alibi_bias", "All heads have the same slope.")
def one_slope(n_heads, n_tokens):
    return -_slopes(n_heads)[:1, None, None] * _distances(n_tokens).expand(n_heads, -1, -1)


@bank.wrong("alibi_bias", "The heads are in reverse order: head 0 has the steepest slope.")
def slopes_reversed(n_heads, n_tokens):
    return -_slopes(n_heads).flip(0)[:, None, None] * _distances(n_tokens)


@bank.wrong("alibi_bias", "Your distances are transposed: row t belongs to query t, and its past is "
            "on the left.")  # fmt: skip
def transposed_distances(n_heads, n_tokens):
    return -_slopes(n_heads)[:, None, None] * _distances(n_tokens).T


@bank.right("alibi_bias")
def symmetric(n_heads, n_tokens):
    at = torch.arange(n_tokens)
    slope = torch.tensor([2 ** (-8 * h / n_heads) for h in range(1, n_heads + 1)])
    return -(at[:, None] - at[None]).abs() * slope.view(-1, 1, 1)


@bank.right("alibi_bias")
def powers_of_the_first_slope(n_heads, n_tokens):
    first = 2 ** (-8 / n_heads)
    at = torch.arange(n_tokens, dtype=torch.float32)
    past = torch.minimum(at.view(1, -1) - at.view(-1, 1), torch.tensor(0.0))
    return torch.stack([first ** (h + 1) * past for h in range(n_heads)])


# --- layer_norm and rms_norm -----------------------------------------------------------------

_n, _w, _b = rand(2, 3, 4) * 3 + 1, rand(4), rand(4)
_loud = torch.tensor([[3e4, -3e4, 1e4, 0.0]]).half()
bank.probe("layer_norm", call(_n, _w, _b), call(_n * 1e-3, _w, _b), call(_n, _w, _b, 0.5),
           call(_loud, torch.ones(4).half(), torch.zeros(4).half()))  # fmt: skip


def _ln(x, weight, bias, eps, dims=(-1,), ddof=0):
    wide = x if x.dtype == torch.float64 else x.float()
    mean = wide.mean(dims, keepdim=True)
    variance = wide.var(dims, correction=ddof, keepdim=True)
    return ((wide - mean) / (variance + eps).sqrt() * weight + bias).to(x.dtype)


@bank.wrong("layer_norm", "Off by sqrt(C/(C-1)): the variance divides by C, not by C - 1.")
def unbiased_variance(x, weight, bias, eps=1e-5):
    return _ln(x, weight, bias, eps, ddof=1)


@bank.wrong("layer_norm", "Tokens influence each other: mean and variance are taken over the last "
            "axis alone.")  # fmt: skip
def over_tokens_too(x, weight, bias, eps=1e-5):
    return _ln(x, weight, bias, eps, dims=(-2, -1))


@bank.wrong("layer_norm", "You normalise each column over the tokens, as batch norm does; each "
            "token has its own mean and variance.")  # fmt: skip
def over_the_columns(x, weight, bias, eps=1e-5):
    return _ln(x, weight, bias, eps, dims=(-2,))


@bank.wrong("layer_norm", "eps stands outside the root. That differs only where the variance is "
            "small, and there by much.")  # fmt: skip
def eps_outside(x, weight, bias, eps=1e-5):
    wide = x if x.dtype == torch.float64 else x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    root = centred.square().mean(-1, keepdim=True).sqrt()
    return (centred / (root + eps) * weight + bias).to(x.dtype)


@bank.wrong("layer_norm", "eps is ignored or fixed; use the argument.")
def eps_fixed(x, weight, bias, eps=1e-5):
    return _ln(x, weight, bias, 1e-5)


@bank.wrong("layer_norm", "eps has no effect in your function.")
def eps_left_out(x, weight, bias, eps=1e-5):
    return _ln(x, weight, bias, 0.0)


@bank.wrong("layer_norm", "You divide by the variance; divide by its square root.")
def divided_by_variance(x, weight, bias, eps=1e-5):
    wide = x if x.dtype == torch.float64 else x.float()
    centred = wide - wide.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return (centred / (variance + eps) * weight + bias).to(x.dtype)


@bank.wrong("layer_norm", "The mean is not subtracted.")
def mean_kept(x, weight, bias, eps=1e-5):
    wide = x if x.dtype == torch.float64 else x.float()
    variance = wide.var(-1, correction=0, keepdim=True)
    return (wide / (variance + eps).sqrt() * weight + bias).to(x.dtype)


@bank.wrong("layer_norm", "The bias is left out.")
def bias_left_out(x, weight, bias, eps=1e-5):
    return _ln(x, weight, torch.zeros_like(bias), eps)


@bank.wrong("layer_norm", "The weight is left out.")
def weight_left_out(x, weight, bias, eps=1e-5):
    return _ln(x, torch.ones_like(weight), bias, eps)


@bank.wrong("layer_norm", "Right in float64, but in float16 the squares overflow: compute mean and "
            "variance in float32.")  # fmt: skip
def no_upcast(x, weight, bias, eps=1e-5):
    centred = x - x.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)
    return centred / (variance + eps).sqrt() * weight + bias


@bank.wrong("layer_norm", "You normalise x in place, so the residual stream is lost.")
def layer_norm_in_place(x, weight, bias, eps=1e-5):
    x.copy_(_ln(x, weight, bias, eps))
    return x


@bank.right("layer_norm")
def with_var(x, weight, bias, eps=1e-5):
    wide = x.double()
    mean, var = wide.mean(-1, keepdim=True), wide.var(-1, keepdim=True, unbiased=False)
    return ((wide - mean) / torch.sqrt(var + eps) * weight + bias).to(x.dtype)


@bank.right("layer_norm")
def second_moment(x, weight, bias, eps=1e-5):
    wide = x.to(torch.float64)
    mean = wide.sum(-1, keepdim=True) / wide.shape[-1]
    centred = wide - mean
    var = (centred * centred).sum(-1, keepdim=True) / wide.shape[-1]
    return (weight * centred * (var + eps) ** -0.5 + bias).type_as(x)


bank.probe("rms_norm", call(_n, _w), call(_n * 1e-3, _w), call(_n, _w, 0.5),
           call(torch.tensor([[300.0, -600.0, 0.0, 300.0]]).half(), torch.ones(4).half()))  # fmt: skip


def _rms(x, weight, eps, shift=False, dims=(-1,)):
    wide = x if x.dtype == torch.float64 else x.float()
    wide = wide - wide.mean(-1, keepdim=True) if shift else wide
    root = (wide.square().mean(dims, keepdim=True) + eps).sqrt()
    return (wide / root).to(x.dtype) * weight


@bank.wrong("rms_norm", "That is layer norm without bias: RMS norm subtracts no mean.")
def subtracts_the_mean(x, weight, eps=1e-6):
    return _rms(x, weight, eps, shift=True)


@bank.wrong("rms_norm", "You divide by the standard deviation, so the mean counts; divide by the "
            "root of the mean square.")  # fmt: skip
def divided_by_std(x, weight, eps=1e-6):
    wide = x if x.dtype == torch.float64 else x.float()
    root = (wide.var(-1, correction=0, keepdim=True) + eps).sqrt()
    return (wide / root).to(x.dtype) * weight


@bank.wrong("rms_norm", "eps stands outside the root. That differs only where the entries are "
            "small, and there by much.")  # fmt: skip
def rms_eps_outside(x, weight, eps=1e-6):
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide / (wide.square().mean(-1, keepdim=True).sqrt() + eps)).to(x.dtype) * weight


@bank.wrong("rms_norm", "eps has no effect in your function.")
def rms_eps_left_out(x, weight, eps=1e-6):
    return _rms(x, weight, 0.0)


@bank.wrong("rms_norm", "You divide by the norm: the sum of squares has to be divided by C first.")
def sum_of_squares(x, weight, eps=1e-6):
    wide = x if x.dtype == torch.float64 else x.float()
    return (wide / (wide.square().sum(-1, keepdim=True) + eps).sqrt()).to(x.dtype) * weight


@bank.wrong("rms_norm", "Tokens influence each other: the mean is taken over the last axis alone.")
def rms_over_tokens(x, weight, eps=1e-6):
    return _rms(x, weight, eps, dims=(-2, -1))


@bank.wrong("rms_norm", "The weight is left out.")
def rms_weight_left_out(x, weight, eps=1e-6):
    return _rms(x, torch.ones_like(weight), eps)


@bank.wrong("rms_norm", "Right in float64, but in float16 the squares overflow: square in float32.")
def rms_no_upcast(x, weight, eps=1e-6):
    return x * (x.square().mean(-1, keepdim=True) + eps).rsqrt() * weight


@bank.wrong("rms_norm", "You normalise x in place, so the residual stream is lost.")
def rms_norm_in_place(x, weight, eps=1e-6):
    x.copy_(_rms(x, weight, eps))
    return x


@bank.right("rms_norm")
def through_the_norm(x, weight, eps=1e-6):
    wide = x.double()
    mean_square = wide.norm(dim=-1, keepdim=True) ** 2 / x.shape[-1]
    return (wide / torch.sqrt(mean_square + eps)).to(x.dtype) * weight


@bank.right("rms_norm")
def weighted_before_cast(x, weight, eps=1e-6):
    wide = x if x.dtype == torch.float64 else x.to(torch.float32)
    return (weight * wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)).to(x.dtype)


# --- feed_forward and swiglu -----------------------------------------------------------------

_ff = (rand(2, 3, 4), rand(4, 6), rand(6), rand(6, 4), rand(4))
_low = (torch.ones(1, 1).double(), -torch.tensor([[2.2, 2.3, 2.4]]).double(), torch.zeros(3).double(),
        torch.ones(3, 1).double(), torch.zeros(1).double())  # fmt: skip
# At -2.3 the two forms of GELU are 2 % apart.
bank.probe("feed_forward", call(*_ff), call(*_ff, "relu"), call(*_ff, "tanh"), call(*_low))


def _act(name):
    if name not in ("gelu", "relu"):
        raise ValueError(name)
    return F.gelu if name == "gelu" else F.relu


@bank.wrong("feed_forward", "This is the tanh approximation of GELU; the exact one uses erf.")
def tanh_gelu(x, w_in, b_in, w_out, b_out, activation="gelu"):
    act = _act(activation)
    inner = x @ w_in + b_in
    inner = F.gelu(inner, approximate="tanh") if act is F.gelu else act(inner)
    return inner @ w_out + b_out


@bank.wrong("feed_forward", "You always use ReLU, whatever `activation` says.")
def always_relu(x, w_in, b_in, w_out, b_out, activation="gelu"):
    _act(activation)
    return F.relu(x @ w_in + b_in) @ w_out + b_out


@bank.wrong("feed_forward", "You always use GELU, whatever `activation` says.")
def always_gelu(x, w_in, b_in, w_out, b_out, activation="gelu"):
    _act(activation)
    return F.gelu(x @ w_in + b_in) @ w_out + b_out


@bank.wrong(
    "feed_forward", "The activation is missing: two linear maps in a row are one linear map."
)
def no_activation(x, w_in, b_in, w_out, b_out, activation="gelu"):
    _act(activation)
    return (x @ w_in + b_in) @ w_out + b_out


@bank.wrong("feed_forward", "The activation comes last; it belongs between the two maps.")
def activation_last(x, w_in, b_in, w_out, b_out, activation="gelu"):
    return _act(activation)((x @ w_in + b_in) @ w_out + b_out)


@bank.wrong("feed_forward", "The first bias is left out.")
def first_bias_left_out(x, w_in, b_in, w_out, b_out, activation="gelu"):
    return _act(activation)(x @ w_in) @ w_out + b_out


@bank.wrong("feed_forward", "The second bias is left out.")
def second_bias_left_out(x, w_in, b_in, w_out, b_out, activation="gelu"):
    return _act(activation)(x @ w_in + b_in) @ w_out


@bank.wrong("feed_forward", "An unknown activation passes silently; raise ValueError.")
def unknown_is_gelu(x, w_in, b_in, w_out, b_out, activation="gelu"):
    return (F.relu if activation == "relu" else F.gelu)(x @ w_in + b_in) @ w_out + b_out


@bank.right("feed_forward")
def with_functional_linear(x, w_in, b_in, w_out, b_out, activation="gelu"):
    inner = F.linear(x, w_in.T, b_in)
    if activation == "relu":
        inner = inner.clamp(min=0)
    elif activation == "gelu":
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
    else:
        raise ValueError("activation")
    return F.linear(inner, w_out.T, b_out)


@bank.right("feed_forward")
def with_layers(x, w_in, b_in, w_out, b_out, activation="gelu"):
    act = {"relu": nn.ReLU(), "gelu": nn.GELU()}.get(activation)
    if act is None:
        raise ValueError(f"unknown activation {activation}")
    return torch.matmul(act(torch.matmul(x, w_in) + b_in), w_out) + b_out


_sw = (rand(2, 3, 4), rand(4, 6), rand(4, 6), rand(6, 4))
bank.probe("swiglu", call(*_sw))


@bank.wrong("swiglu", "SiLU is on the up branch; it belongs on the gate branch.")
def gate_and_up_swapped(x, w_gate, w_up, w_down):
    return (x @ w_gate * F.silu(x @ w_up)) @ w_down


@bank.wrong("swiglu", "The gate has no activation: SiLU is missing.")
def no_silu(x, w_gate, w_up, w_down):
    return ((x @ w_gate) * (x @ w_up)) @ w_down


@bank.wrong("swiglu", "The gate is a plain sigmoid (a GLU); SiLU(z) is z · sigmoid(z).")
def sigmoid_gate(x, w_gate, w_up, w_down):
    return (torch.sigmoid(x @ w_gate) * (x @ w_up)) @ w_down


@bank.wrong("swiglu", "The gate uses GELU (that is GeGLU); SwiGLU uses SiLU.")
def gelu_gate(x, w_gate, w_up, w_down):
    return (F.gelu(x @ w_gate) * (x @ w_up)) @ w_down


@bank.wrong("swiglu", "The branches are added; they are multiplied entry by entry.")
def branches_added(x, w_gate, w_up, w_down):
    return (F.silu(x @ w_gate) + (x @ w_up)) @ w_down


@bank.wrong("swiglu", "SiLU acts on the product; it belongs on the gate branch alone.")
def silu_on_the_product(x, w_gate, w_up, w_down):
    return F.silu((x @ w_gate) * (x @ w_up)) @ w_down


@bank.wrong("swiglu", "The up branch is missing: this is a plain feed-forward layer with SiLU.")
def no_up_branch(x, w_gate, w_up, w_down):
    return F.silu(x @ w_gate) @ w_down


@bank.wrong("swiglu", "You overwrite w_gate; the weights must stay as they were.")
def overwrites_a_weight(x, w_gate, w_up, w_down):
    result = (F.silu(x @ w_gate) * (x @ w_up)) @ w_down
    w_gate.zero_()
    return result


@bank.right("swiglu")
def sigmoid_spelled_out(x, w_gate, w_up, w_down):
    gate = torch.einsum("...c,cf->...f", x, w_gate)
    return (gate * gate.sigmoid() * torch.einsum("...c,cf->...f", x, w_up)).matmul(w_down)


@bank.right("swiglu")
def both_branches_at_once(x, w_gate, w_up, w_down):
    gate, up = (x @ torch.cat([w_gate, w_up], dim=1)).chunk(2, dim=-1)
    return torch.matmul(nn.SiLU()(gate) * up, w_down)


# --- generic mutants that change nothing -----------------------------------------------------

for exercise, before, after in (
    ("split_heads", "x.reshape(B, T, n_heads, C // n_heads).transpose(1, 2)",
     "x.reshape(B, T, n_heads, C // n_heads).transpose(2, 1)"),
    ("merge_heads", "x.transpose(1, 2)", "x.transpose(2, 1)"),
):  # fmt: skip
    bank.equivalent(exercise, f"{before}  =>  {after}", "exchanging two axes has no direction")
for exercise in ("layer_norm", "rms_norm"):
    bank.equivalent(
        exercise,
        "torch.promote_types(x.dtype, torch.float32)  =>  "
        "torch.promote_types(torch.float32, x.dtype)",
        "the promoted type of two types has no order",
    )
bank.equivalent("apply_rope", "torch.arange(0, D, 2, device=x.device)  =>  torch.arange(0, D, 2)",
                "differs on a GPU only; the graded checks run on a CPU")  # fmt: skip
