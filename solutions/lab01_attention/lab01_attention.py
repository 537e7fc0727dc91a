# %% [markdown]
# # Lab 1: attention
#
# In this lab you write the parts of a transformer block: masks, attention, heads, positions, norms
# and the feed-forward layer. At the end you have twelve functions of one to eight lines each. Lab 2
# assembles a GPT from such parts.
#
# **{points}, about 3 hours.** The chapter behind it is
# [Attention](../../book/ch01_attention.md) and [Positions](../../book/ch01_positions.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input and is as exact: float64 is not lowered on
#   the way. The docstring says where it is otherwise.
# - Arguments are never changed.
# - In a mask, `True` means "may attend".

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import glassbox
from glassbox import check

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab01_attention")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## 1. The causal mask ({points:causal_mask}, 10 min)
#
# A model that writes from left to right must not look ahead. Token `t` may attend to the tokens
# before it **and to itself**. Without itself, the first token could attend to nothing, and its
# softmax would be 0/0.
#
# While a model generates, the keys of earlier tokens lie in a cache. Then there are more keys than
# queries, `S > T`, and the queries are the *last* `T` of the `S` positions.
#
# <details><summary>Hint 1</summary>
#
# Draw the mask for `T = 2`, `S = 4` on paper. Row 0 is the third token of the text.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Query `t` stands at position `S - T + t`. Compare that position with the position of each key.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Either compare a column of query positions with a row of key positions, or take the lower triangle
# of a matrix of ones with a shifted diagonal.
#
# </details>

# %% nbgrader={"solution": "causal_mask"}
def causal_mask(n_queries: int, n_keys: int) -> Tensor:
    """Boolean mask that lets each query attend to itself and to everything before it.

    -> (T, S) bool with T = n_queries <= S = n_keys.
    The queries are the last T of the S positions.
    The last row is all True: the last token sees everything.
    """
    ### BEGIN SOLUTION
    query_position = torch.arange(n_keys - n_queries, n_keys)[:, None]  # (T, 1)
    return torch.arange(n_keys) <= query_position  # (T, S)
    ### END SOLUTION


# %% nbgrader={"test": "causal_mask_visible", "points": 3}
with check.question("causal_mask_visible", causal_mask) as f:
    three = [[True, False, False], [True, True, False], [True, True, True]]
    check.close("3 queries, 3 keys", f(3, 3), three,
                why="row t: itself and all before it.")
    cached = [[True, True, True, False], [True, True, True, True]]
    check.close("2 queries, 4 keys", f(2, 4), cached,
                why="the queries are the last two tokens.")

# %% nbgrader={"test": "causal_mask_hidden", "points": 2}
# Hidden checks: a single query, one token, no row without a key, many sizes.
### BEGIN HIDDEN TESTS
with check.question("causal_mask_hidden", causal_mask) as f:
    check.close("1 query, 5 keys", f(1, 5), [[True] * 5], why="the newest token sees everything.")
    check.close("1 query, 1 key", f(1, 1), [[True]], why="a lone token sees itself.")
    for n_queries, n_keys in ((4, 4), (3, 7), (7, 9), (2, 16)):
        got, case = f(n_queries, n_keys), f"{n_queries} queries, {n_keys} keys"
        check.shape(case, got, (n_queries, n_keys))
        seen = [n_keys - n_queries + t + 1 for t in range(n_queries)]
        check.that(got.dtype == torch.bool, f"{case}: dtype {got.dtype}, expected torch.bool.")
        check.close(f"{case}, keys seen", got.sum(-1), seen, why="one more in every row.")
        check.close(f"{case}, first key", got[:, 0], [True] * n_queries, why="it is in the past.")
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Scaled dot-product attention ({points:attention}, 35 min)
#
# Each query is compared with every key. The scores become weights by a softmax, and the output is
# the weighted sum of the values:
#
# $$\mathrm{Attention}(Q, K, V) = \mathrm{softmax}\!\left(\frac{Q K^\top}{\sqrt{D}}\right) V$$
#
# Where the mask is `False`, the weight must be exactly 0 **and** the other weights must still sum
# to 1. Think about where in the formula the mask has to act.
#
# <details><summary>Hint 1</summary>
#
# Write down the shape after every step. `k` has to be turned so that `D` is summed over.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `exp` of which number is 0? Put that number where the mask is `False`, before the softmax.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `k.transpose(-2, -1)` (or `k.mT`) swaps the last two axes. The softmax runs over the keys, which
# are the last axis of the scores. Scale `q` before the product: the order matters in float16.
#
# </details>

# %% nbgrader={"solution": "attention", "calls_forbidden": ["scaled_dot_product_attention"]}
def attention(
    q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Attention output and attention weights.

    q (B, H, T, D), k and v (B, H, S, D) -> output (B, H, T, D), weights (B, H, T, S).
    `mask` is boolean and broadcasts to (B, H, T, S). Every query may attend to at
    least one key. Without a mask each query attends to all keys.
    float16 ends at 65,504, and q·k may be larger where q·k / sqrt(D) is not: scale q
    before the product.
    If q is 0, every weight is 1/S.
    """
    ### BEGIN SOLUTION
    scores = (q / math.sqrt(q.shape[-1])) @ k.mT  # (B, H, T, S)
    if mask is not None:
        scores = scores.masked_fill(~mask, -math.inf)
    weights = scores.softmax(dim=-1)  # (B, H, T, S)
    return weights @ v, weights
    ### END SOLUTION


# %% nbgrader={"test": "attention_visible", "points": 9}
with check.question("attention_visible", attention) as f:
    q = torch.tensor([2.0, 2.0, 2.0, 2.0]).view(1, 1, 1, 4)  # one query, D = 4
    k = torch.tensor([[math.log(3) / 4] * 4, [0.0] * 4, [0.0] * 4]).view(1, 1, 3, 4)  # S = 3
    v = torch.tensor([[4.0, 0, 0, 0], [8.0, 0, 0, 0], [0.0, 0, 0, 5]]).view(1, 1, 3, 4)
    out, weights = f(q, k, v)
    check.shape("output", out, (1, 1, 1, 4))
    check.close("weights", weights[0, 0, 0], [0.6, 0.2, 0.2],
                why="scores log 3, 0, 0 after division by sqrt(4): odds of 3 : 1 : 1.")
    check.close("output", out[0, 0, 0], [4.0, 0.0, 0.0, 1.0],
                why="0.6, 0.2 and 0.2 of the three values.")
    out, weights = f(q, k, v, torch.tensor([[True, True, False]]))
    check.close("key 2 hidden", weights[0, 0, 0], [0.75, 0.25, 0.0],
                why="odds of 3 : 1 remain, the hidden key gets exactly 0.")
    check.close("output, key 2 hidden", out[0, 0, 0], [5.0, 0.0, 0.0, 0.0])

# %% nbgrader={"test": "attention_hidden", "points": 6}
# Hidden checks: random shapes against torch, order of keys, the future, gradients, float16.
### BEGIN HIDDEN TESTS
with check.question("attention_hidden", attention) as f:
    gen = check.generator()
    q, k, v = torch.randn(3, 1, 2, 6, 3, generator=gen, dtype=torch.float64)
    causal = torch.ones(6, 6, dtype=torch.bool).tril()
    with check.part("random shapes", 2):
        for B, H, T, S, D in ((2, 3, 4, 7, 5), (1, 1, 1, 1, 8), (1, 2, 6, 6, 3)):
            qs, ks, vs = (torch.randn(B, n, H, D, generator=gen, dtype=torch.float64)
                          .transpose(1, 2) for n in (T, S, S))  # not contiguous
            for mask in (None, torch.ones(T, S, dtype=torch.bool).tril(S - T)):
                masked = "no" if mask is None else "causal"
                case = f"B {B}, H {H}, T {T}, S {S}, D {D}, {masked} mask"
                out, weights = f(qs, ks, vs, mask)
                check.close(case, out, F.scaled_dot_product_attention(qs, ks, vs, attn_mask=mask))
                check.close(f"{case}: sums of the weights", weights.sum(-1),
                            torch.ones(B, H, T, dtype=torch.float64), why="each row sums to 1.")
    with check.part("order, padding and the future", 2):
        order = torch.randperm(6, generator=gen)
        check.close("keys and values permuted together", f(q, k[:, :, order], v[:, :, order])[0],
                    f(q, k, v)[0], why="attention has no notion of order.")
        pad = torch.tensor([True, False, True, True, False, True])
        padded = F.scaled_dot_product_attention(q, k, v, attn_mask=pad[None, None, None])
        check.close("padding mask of shape (1, 1, 1, S)", f(q, k, v, pad[None, None, None])[0],
                    padded)
        later = k.clone()
        later[:, :, -1] += 100.0
        check.close("the last key changed", f(q, later, v, causal)[0][:, :, :-1],
                    f(q, k, v, causal)[0][:, :, :-1], why="earlier queries cannot see it.")
    with check.part("gradient and inputs", 1):
        check.gradient("gradient", lambda *x: f(*x, causal)[0], q, k, v)
        check.unchanged("inputs", f, q, k, v, causal,
                        why="attention must not write into its inputs.")
    with check.part("float16", 1):
        half = torch.full((1, 1, 2, 64), 40.0, dtype=torch.float16)
        half[0, 0, 1] = -40.0
        value = torch.tensor([1.0, 3.0], dtype=torch.float16).view(1, 1, 2, 1).expand(1, 1, 2, 64)
        out, weights = f(half, half, value)
        same = torch.eye(2, dtype=torch.float16).view(1, 1, 2, 2)
        check.close("float16, scores of 12,800", weights, same,
                    why="q·k = 102,400 exceeds float16.")
        check.close("float16, output", out, value, rel=2e-3)
### END HIDDEN TESTS

# %% [markdown]
# The next cell is for looking, not for points. It draws *your* weights. Before you move the slider:
# what happens to a row when all its scores are multiplied by 4?

# %% tags=["demo"]
import matplotlib.pyplot as plt

words = ["the", "link", "to", "Bangkok", "is", "down"]
torch.manual_seed(4)
demo_q, demo_k = torch.randn(2, 1, 1, len(words), 8)


def plot_weights(factor: float = 1.0) -> plt.Axes:
    """Heat map of causal attention weights with the scores multiplied by `factor`."""
    _, weights = attention(demo_q * factor, demo_k, demo_k, causal_mask(len(words), len(words)))
    axes = plt.figure(figsize=(4, 3.4)).gca()
    axes.imshow(weights[0, 0], vmin=0, vmax=1, cmap="Blues")
    axes.set_xticks(range(len(words)), words, rotation=45)
    axes.set_yticks(range(len(words)), words)
    axes.set(xlabel="key", ylabel="query", title=f"weights, scores × {factor:g}")
    plt.show()
    return axes


try:
    plot_weights()
    from ipywidgets import FloatSlider, interact

    interact(plot_weights, factor=FloatSlider(1.0, min=0.0, max=8.0, continuous_update=False))
except NotImplementedError:
    print("Write causal_mask and attention first; then run this cell again.")

# %% [markdown]
# ## 3. Split into heads ({points:split_heads}, 10 min)
#
# A model of width `C` uses `H` heads of width `D = C / H`. Head 0 gets the first `D` columns of
# every token, head 1 the next `D`, and so on. The split moves numbers, it computes nothing.
#
# <details><summary>Hint 1</summary>
#
# Each token's row of `C` numbers is `H` pieces of `D`. Which axis is cut in two?
#
# </details>
# <details><summary>Hint 2</summary>
#
# First cut the last axis, then bring the heads in front of the tokens. One reshape cannot do both.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `(B, T, C) -> (B, T, H, D) -> (B, H, T, D)`.
#
# </details>

# %% nbgrader={"solution": "split_heads"}
def split_heads(x: Tensor, n_heads: int) -> Tensor:
    """Cut the width of each token into heads.

    (B, T, C) -> (B, H, T, D) with H = n_heads and D = C / H. H divides C.
    Head h of a token holds its columns h·D to (h + 1)·D - 1.
    """
    ### BEGIN SOLUTION
    B, T, C = x.shape
    return x.reshape(B, T, n_heads, C // n_heads).transpose(1, 2)
    ### END SOLUTION


# %% nbgrader={"test": "split_heads_visible", "points": 3}
with check.question("split_heads_visible", split_heads) as f:
    x = torch.tensor([[[0.0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]])  # 3 tokens, C = 4
    heads = f(x, 2)
    check.shape("2 heads", heads, (1, 2, 3, 2))
    check.close("head 0", heads[0, 0], [[0, 1], [10, 11], [20, 21]],
                why="columns 0 and 1.")
    check.close("head 1", heads[0, 1], [[2, 3], [12, 13], [22, 23]],
                why="columns 2 and 3.")

# %% nbgrader={"test": "split_heads_hidden", "points": 2}
# Hidden checks: one head, as many heads as columns, a batch, input that is not contiguous.
### BEGIN HIDDEN TESTS
with check.question("split_heads_hidden", split_heads) as f:
    gen = check.generator()
    x = torch.randn(6, 5, 3, generator=gen, dtype=torch.float64).permute(2, 1, 0)  # (3, 5, 6)
    for n_heads in (1, 2, 3, 6):
        D = 6 // n_heads
        got, case = f(x, n_heads), f"{n_heads} heads of 6 columns"
        check.shape(case, got, (3, n_heads, 5, D))
        for h in range(n_heads):
            check.close(f"{case}, head {h}", got[:, h], x[:, :, h * D : (h + 1) * D])
    check.shape("1 token", f(torch.zeros(2, 1, 8), 4), (2, 4, 1, 2))
### END HIDDEN TESTS

# %% [markdown]
# ## 4. Merge the heads ({points:merge_heads}, 10 min)
#
# After attention the heads are put side by side again. `merge_heads` undoes `split_heads`.
#
# <details><summary>Hint 1</summary>
#
# Undo the steps of `split_heads` in reverse order.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A transposed tensor is not contiguous, so `view` refuses it. `reshape` copies where it must.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `(B, H, T, D) -> (B, T, H, D) -> (B, T, C)`.
#
# </details>

# %% nbgrader={"solution": "merge_heads"}
def merge_heads(x: Tensor) -> Tensor:
    """Put the heads of each token side by side.

    (B, H, T, D) -> (B, T, C) with C = H·D, the inverse of `split_heads`.
    """
    ### BEGIN SOLUTION
    return x.transpose(1, 2).flatten(2)
    ### END SOLUTION


# %% nbgrader={"test": "merge_heads_visible", "points": 3}
with check.question("merge_heads_visible", merge_heads) as f:
    heads = torch.tensor([[[[0.0, 1], [10, 11], [20, 21]], [[2, 3], [12, 13], [22, 23]]]])
    check.close("2 heads, 3 tokens", f(heads),
                [[[0, 1, 2, 3], [10, 11, 12, 13], [20, 21, 22, 23]]],
                why="each token gets its own columns back, in the order of the heads.")

# %% nbgrader={"test": "merge_heads_hidden", "points": 2}
# Hidden checks: random shapes, one head, one token, heads that came out of a transpose.
### BEGIN HIDDEN TESTS
with check.question("merge_heads_hidden", merge_heads) as f:
    gen = check.generator()
    for B, H, T, D in ((2, 3, 5, 4), (1, 1, 4, 6), (3, 4, 1, 2)):
        x = torch.randn(B, T, H, D, generator=gen, dtype=torch.float64).transpose(1, 2)
        got, case = f(x), f"B {B}, H {H}, T {T}, D {D}"
        check.shape(case, got, (B, T, H * D))
        for h in range(H):
            check.close(f"{case}, columns of head {h}", got[:, :, h * D : (h + 1) * D], x[:, h])
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Multi-head attention ({points:MultiHeadAttention}, 30 min)
#
# Four linear maps surround the attention of the heads. Queries come from `x`. Keys and values come
# from `context`: the same `x` in self-attention, the encoder's output in cross-attention.
#
# With **grouped-query attention** there are fewer key and value heads than query heads: `Hkv < H`.
# Neighbouring query heads share one of them. Query head `h` uses key head `h // (H / Hkv)`.
#
# You may call your functions from above, or `F.scaled_dot_product_attention`, so that a mistake
# above costs nothing here.
#
# <details><summary>Hint 1</summary>
#
# Five steps: project, split, repeat the key and value heads, attend, merge and project.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `split_heads(self.k_proj(context), self.n_kv_heads)` has `Hkv` heads. Each has to stand `H / Hkv`
# times, its copies side by side: 0 0 1 1, not 0 1 0 1.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `repeat_interleave(times, dim=1)` makes 0 0 1 1; `repeat` makes 0 1 0 1.
#
# </details>

# %% nbgrader={"solution": "MultiHeadAttention", "calls_forbidden": ["MultiheadAttention"]}
class MultiHeadAttention(nn.Module):
    """Multi-head attention with H query heads and Hkv key and value heads.

    Hkv divides H; `n_kv_heads` None means Hkv = H. `bias` is for all four maps.
    The constructor is given; keep the names of the maps.
    """

    def __init__(
        self, d_model: int, n_heads: int, n_kv_heads: int | None = None, bias: bool = True
    ) -> None:
        super().__init__()
        self.n_heads, self.n_kv_heads = n_heads, n_kv_heads or n_heads
        d_head = d_model // n_heads
        self.q_proj = nn.Linear(d_model, n_heads * d_head, bias=bias)
        self.k_proj = nn.Linear(d_model, self.n_kv_heads * d_head, bias=bias)
        self.v_proj = nn.Linear(d_model, self.n_kv_heads * d_head, bias=bias)
        self.out_proj = nn.Linear(n_heads * d_head, d_model, bias=bias)

    def forward(
        self, x: Tensor, context: Tensor | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Attend from x to context (to x itself if context is None).

        x (B, T, C), context (B, S, C), mask (T, S) bool -> (B, T, C).
        Query head h uses key and value head h // (H / Hkv).
        """
        ### BEGIN SOLUTION
        source = x if context is None else context
        groups = self.n_heads // self.n_kv_heads
        q = split_heads(self.q_proj(x), self.n_heads)  # (B, H, T, D)
        k = split_heads(self.k_proj(source), self.n_kv_heads)  # (B, Hkv, S, D)
        v = split_heads(self.v_proj(source), self.n_kv_heads)
        k, v = (t.repeat_interleave(groups, dim=1) for t in (k, v))  # (B, H, S, D)
        return self.out_proj(merge_heads(attention(q, k, v, mask)[0]))
        ### END SOLUTION


# %% nbgrader={"test": "MultiHeadAttention_visible", "points": 9}
with check.question("MultiHeadAttention_visible", MultiHeadAttention) as f:
    layer = f(2, 2, bias=False)  # two heads of width 1, all four maps the identity
    layer.load_state_dict({name: torch.eye(2) for name in layer.state_dict()})
    x, context = torch.ones(1, 1, 2), torch.eye(2)[None] * math.log(3)
    check.close("identity maps", layer(x, context), [[[0.824, 0.824]]], rel=1e-3,
                why="each head gives 3/4 of its weight to one key: 0.75 · log 3.")
    check.close("key 1 hidden", layer(x, context, torch.tensor([[True, False]])),
                [[[1.0986, 0.0]]], why="all weight on the value (log 3, 0).")
    torch.manual_seed(0)
    ours, theirs = f(8, 4), nn.MultiheadAttention(8, 4, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    weights, biases = theirs.in_proj_weight.chunk(3), theirs.in_proj_bias.chunk(3)
    copied = {f"out_proj.{n}": value for n, value in theirs.out_proj.named_parameters()}
    for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases):
        copied |= {f"{name}.weight": weight, f"{name}.bias": bias}
    ours.load_state_dict(copied)
    x, causal = torch.randn(2, 3, 8), torch.ones(3, 3, dtype=torch.bool).tril()
    check.close("self-attention as in torch", ours(x, mask=causal),
                theirs(x, x, x, attn_mask=~causal)[0],
                why="same weights, same answer.")

# %% nbgrader={"test": "MultiHeadAttention_hidden", "points": 6}
# Hidden checks: fewer key heads, cross-attention, masks, order of tokens, every weight is used.
### BEGIN HIDDEN TESTS
with check.question("MultiHeadAttention_hidden", MultiHeadAttention) as f:
    gen = check.generator()
    torch.manual_seed(1)
    with check.part("random weights", 4):
        for H, Hkv, bias in ((4, 2, True), (6, 2, False), (4, 1, True), (3, None, True),
                             (1, 1, False)):
            layer, kv_heads, D = f(12, H, Hkv, bias=bias), Hkv or H, 12 // H
            x, context = torch.randn(2, 3, 12, generator=gen), torch.randn(2, 5, 12, generator=gen)
            mask = torch.ones(3, 5, dtype=torch.bool).tril(1)
            w = {k: torch.randn(v.shape, generator=gen) for k, v in layer.state_dict().items()}
            layer.load_state_dict(dict(w))
            for case, keys, seen in (("cross-attention", context, mask), ("no mask", context, None),
                                     ("self-attention", x, mask[:, :3])):
                q, k, v = (F.linear(t, w[f"{m}_proj.weight"], w.get(f"{m}_proj.bias"))
                           for t, m in ((x, "q"), (keys, "k"), (keys, "v")))
                heads = []
                for h in range(H):
                    own = slice(h * D, (h + 1) * D)
                    g = h // (H // kv_heads)
                    shared = slice(g * D, (g + 1) * D)
                    heads.append(F.scaled_dot_product_attention(
                        q[..., own], k[..., shared], v[..., shared], attn_mask=seen))
                want = F.linear(torch.cat(heads, -1), w["out_proj.weight"], w.get("out_proj.bias"))
                got = layer(x, mask=seen) if keys is x else layer(x, keys, seen)
                check.close(f"{case}, {H} heads, {kv_heads} key heads", got, want.detach())
    with check.part("order of tokens", 1):
        layer, x = f(12, 3), torch.randn(2, 3, 12, generator=gen)
        order = torch.tensor([2, 0, 1])
        check.close("tokens permuted", layer(x[:, order]), layer(x)[:, order].detach(),
                    why="without positions the output is permuted in the same way.")
    with check.part("every weight is used", 1):
        context = torch.randn(2, 5, 12, generator=gen)
        x = torch.randn(2, 3, 12, generator=gen)
        layer = f(12, 4, 2)
        layer(x, context).square().sum().backward()
        idle = [n for n, p in layer.named_parameters()
                if p.grad is None or ((p.grad == 0).all() and n != "k_proj.bias")]
        check.that(not idle, f"no gradient reaches {', '.join(idle)}.")
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Sinusoidal positions ({points:sinusoidal_positions}, 10 min)
#
# Attention does not see order. The transformer of 2017 adds a vector to every token that depends on
# its position: sines and cosines of slower and slower frequency.
#
# $$\mathrm{PE}(p, 2i) = \sin\frac{p}{b^{2i/C}}, \quad
# \mathrm{PE}(p, 2i+1) = \cos\frac{p}{b^{2i/C}}$$
#
# <details><summary>Hint 1</summary>
#
# A column of positions times a row of frequencies gives all angles at once: `(T, C/2)`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The frequency of pair `i` is `base ** (-2i / C)`, for `i` from 0 to `C/2 - 1`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Make an empty `(T, C)` tensor, write the sines to `[:, 0::2]` and the cosines to `[:, 1::2]`.
#
# </details>

# %% nbgrader={"solution": "sinusoidal_positions"}
def sinusoidal_positions(n_tokens: int, d_model: int, base: float = 10000.0) -> Tensor:
    """Position vectors of the transformer (Vaswani et al. 2017, section 3.5).

    -> (T, C) float32 with C = d_model, an even number. Sine and cosine alternate:
    column 2i holds sin(p / base^(2i/C)), column 2i + 1 the cosine of the same angle.
    Row 0 is 0, 1, 0, 1, …
    """
    ### BEGIN SOLUTION
    frequency = base ** (-torch.arange(0, d_model, 2) / d_model)  # (C/2,)
    angle = torch.arange(n_tokens)[:, None] * frequency  # (T, C/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)  # (T, C)
    ### END SOLUTION


# %% nbgrader={"test": "sinusoidal_positions_visible", "points": 3}
with check.question("sinusoidal_positions_visible", sinusoidal_positions) as f:
    table = f(3, 4)
    check.shape("3 tokens, C = 4", table, (3, 4))
    check.close("position 0", table[0], [0.0, 1.0, 0.0, 1.0],
                why="sin 0 = 0, cos 0 = 1.")
    check.close("position 1", table[1], [0.8415, 0.5403, 0.0100, 1.0000], rel=1e-3,
                why="angles 1 and 1/100, since 10000^(2/4) = 100.")
    check.close("position 2", table[2], [0.9093, -0.4161, 0.0200, 0.9998], rel=1e-3,
                why="twice the angles.")

# %% nbgrader={"test": "sinusoidal_positions_hidden", "points": 2}
# Hidden checks: another base and width, dtype, a step of s is the same rotation everywhere.
### BEGIN HIDDEN TESTS
with check.question("sinusoidal_positions_hidden", sinusoidal_positions) as f:
    for T, C, base in ((5, 6, 10000.0), (9, 2, 500.0), (40, 16, 100.0), (1, 8, 10000.0)):
        table, case = f(T, C, base), f"{T} tokens, C {C}, base {base:g}"
        check.that(table.dtype == torch.float32, f"{case}: dtype {table.dtype}, expected float32.")
        want = [[(math.sin, math.cos)[c % 2](p * base ** (-(c - c % 2) / C)) for c in range(C)]
                for p in range(T)]
        check.close(case, table, want)
    pairs = f(40, 16).view(40, 8, 2)
    turn = pairs[:, :, 1] + 1j * pairs[:, :, 0]  # cos + i sin
    step = turn[7:] / turn[:-7]
    check.close("a step of 7", torch.view_as_real(step), torch.view_as_real(step[:1].expand(33, 8)),
                rel=1e-3, why="PE(p + s) is one fixed rotation of PE(p).")
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Rotary positions ({points:apply_rope}, 25 min)
#
# RoPE does not add anything. It *rotates* pairs of columns of the queries and the keys by an angle
# that grows with the position. The dot product of a rotated query and a rotated key then depends on
# the distance of the two tokens and on nothing else.
#
# Pair `i` at position `p` turns by the angle $p \cdot b^{-2i/D}$:
#
# $$\begin{pmatrix} a' \\ c' \end{pmatrix} =
# \begin{pmatrix} \cos & -\sin \\ \sin & \cos \end{pmatrix}
# \begin{pmatrix} a \\ c \end{pmatrix}$$
#
# Two layouts are in use. `"half"` (Llama in transformers) pairs column `i` with column `i + D/2`;
# `"interleaved"` (the RoPE paper) pairs column `2i` with `2i + 1`.
#
# <details><summary>Hint 1</summary>
#
# Rotate (1, 0) by 90 degrees on paper: it must give (0, 1).
#
# </details>
# <details><summary>Hint 2</summary>
#
# Take the two members of all pairs as two tensors of shape `(B, H, T, D/2)`. The cosines and sines
# have shape `(T, D/2)` and broadcast.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.chunk(2, dim=-1)` gives the members for "half"; `x[..., 0::2]` and `x[..., 1::2]` for
# "interleaved". Put the rotated members back to where they came from.
#
# </details>

# %% nbgrader={"solution": "apply_rope"}
def apply_rope(
    x: Tensor, positions: Tensor, base: float = 10000.0, layout: str = "half"
) -> Tensor:
    """Rotate the pairs of each head by angles that grow with the position (RoPE).

    x (B, H, T, D) with even D, positions (T,) integers -> (B, H, T, D).
    Pair i of a token at position p turns counter-clockwise by p · base^(-2i/D),
    i = 0 … D/2 - 1. `layout` "half" pairs columns i and i + D/2, "interleaved" pairs
    2i and 2i + 1; anything else raises ValueError.
    Angles need float32 at least, whatever the dtype of x.
    A token at position 0 is not changed.
    """
    ### BEGIN SOLUTION
    D = x.shape[-1]
    frequency = base ** (-torch.arange(0, D, 2, device=x.device) / D)  # (D/2,)
    angle = positions[:, None] * frequency  # (T, D/2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    if layout not in ("half", "interleaved"):
        raise ValueError(f"layout is {layout!r}, expected 'half' or 'interleaved'")
    a, c = x.chunk(2, -1) if layout == "half" else (x[..., 0::2], x[..., 1::2])
    turned = [a * cos - c * sin, a * sin + c * cos]  # twice (B, H, T, D/2)
    return torch.cat(turned, -1) if layout == "half" else torch.stack(turned, -1).flatten(-2)
    ### END SOLUTION


# %% nbgrader={"test": "apply_rope_visible", "points": 9}
with check.question("apply_rope_visible", apply_rope) as f:
    x = torch.tensor([1.0, 2.0, 0.0, 0.0]).expand(1, 1, 3, 4)  # three equal tokens, D = 4
    half = f(x, torch.tensor([0, 1, 2]))
    check.close("position 0", half[0, 0, 0], [1.0, 2.0, 0.0, 0.0],
                why="an angle of 0.")
    check.close("position 1, half", half[0, 0, 1], [0.5403, 1.9999, 0.8415, 0.0200],
                rel=1e-3,
                why="columns 0 and 2 turn by 1 radian, columns 1 and 3 by 1/100.")
    check.close("position 2, half", half[0, 0, 2], [-0.4161, 1.9996, 0.9093, 0.0400],
                rel=1e-3)
    paired = f(x, torch.tensor([0, 1, 2]), layout="interleaved")
    check.close("position 1, interleaved", paired[0, 0, 1],
                [-1.1426, 1.9221, 0.0, 0.0], rel=1e-3,
                why="columns 0 and 1 turn by 1 radian: (cos 1 - 2 sin 1, sin 1 + 2 cos 1).")
    check.raises("layout 'halves'", ValueError, f, x, torch.tensor([0, 1, 2]),
                 10000.0, "halves")

# %% nbgrader={"test": "apply_rope_hidden", "points": 6}
# Hidden checks: random shapes and bases, distances, lengths, unsorted positions, float16, gradient.
### BEGIN HIDDEN TESTS
with check.question("apply_rope_hidden", apply_rope) as f:
    gen = check.generator()
    one = torch.randn(2, 1, 1, 1, 16, generator=gen, dtype=torch.float64)
    (q, k), at = one.expand(2, 1, 1, 6, 16), torch.arange(6)
    with check.part("random shapes and gradient", 3):
        for B, H, T, D, base in ((2, 3, 5, 8, 10000.0), (1, 1, 1, 2, 10000.0), (1, 2, 4, 6, 50.0)):
            x = torch.randn(B, T, H, D, generator=gen, dtype=torch.float64).transpose(1, 2)
            positions = torch.randint(0, 60, (T,), generator=gen)
            angles = positions[:, None] * base ** (-torch.arange(0, D, 2).double() / D)
            turn = torch.polar(torch.ones_like(angles), angles)
            for layout in ("half", "interleaved"):
                split = (B, H, T, 2, D // 2) if layout == "half" else (B, H, T, D // 2, 2)
                pairs = x.reshape(split).transpose(-1, -2) if layout == "half" else x.reshape(split)
                want = torch.view_as_real(torch.view_as_complex(pairs.contiguous()) * turn)
                want = (want.transpose(-1, -2) if layout == "half" else want).reshape(B, H, T, D)
                case = f"{layout}, D {D}, base {base:g}"
                check.close(case, f(x, positions, base, layout), want)
                check.gradient(f"gradient, {layout}", lambda t: f(t, positions, base, layout), x)
    with check.part("distances and lengths", 2):
        dots = [(f(q, at + shift + 9) * f(k, at + shift)).sum(-1)[0, 0] for shift in (0, 31)]
        check.close("query 9 tokens after the key", torch.stack(dots), dots[0][:1].expand(2, 6),
                    scale=q.norm().item(), why="the dot product depends on the distance alone.")
        check.close("length of each token", f(q, at * 11).norm(dim=-1), q.norm(dim=-1),
                    why="a rotation keeps lengths.")
    with check.part("float16 and inputs", 1):
        low = f(q.to(torch.float16), at + 40)
        check.close("float16", low, f(q, at + 40).to(torch.float16), rel=1e-2)
        check.unchanged("inputs", f, q.clone(), at, why="x must not be rotated in place.")
### END HIDDEN TESTS

# %% [markdown]
# ## 8. ALiBi ({points:alibi_bias}, 10 min)
#
# ALiBi adds a penalty to the scores instead: the further away a key, the lower its score. Each head
# has its own slope, from steep (a short view) to nearly flat (a long view).
#
# <details><summary>Hint 1</summary>
#
# First the distances: row `t`, column `s` holds `t - s`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# For 8 heads the slopes are 1/2, 1/4, …, 1/256. For 4 heads they are 1/4, 1/16, 1/64, 1/256.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Reshape the slopes to `(H, 1, 1)`, so that they multiply the `(T, T)` distances head by head.
#
# </details>

# %% nbgrader={"solution": "alibi_bias"}
def alibi_bias(n_heads: int, n_tokens: int) -> Tensor:
    """Linear biases on the attention scores (Press et al. 2022, section 3).

    -> (H, T, T) float32 with H = n_heads, a power of two.
    Entry [h, t, s] for s <= t is -(t - s) · 2^(-8(h + 1)/H), h = 0 … H - 1. Entries
    for s > t do not matter: the causal mask hides them. The diagonal is 0.
    """
    ### BEGIN SOLUTION
    slope = 2.0 ** (-8 / n_heads * torch.arange(1, n_heads + 1))  # (H,)
    at = torch.arange(n_tokens)
    return slope[:, None, None] * (at - at[:, None])  # (H, T, T)
    ### END SOLUTION


# %% nbgrader={"test": "alibi_bias_visible", "points": 3}
with check.question("alibi_bias_visible", alibi_bias) as f:
    bias = f(2, 3)  # slopes 1/16 and 1/256
    check.shape("2 heads, 3 tokens", bias, (2, 3, 3))
    check.close("head 0, token 2", bias[0, 2], [-2 / 16, -1 / 16, 0.0],
                why="two steps back, one step back, itself; slope 2^(-8/2).")
    check.close("head 1, token 2", bias[1, 2], [-2 / 256, -1 / 256, 0.0],
                why="slope 2^(-8).")
    check.close("head 0, token 1", bias[0, 1, :2], [-1 / 16, 0.0])

# %% nbgrader={"test": "alibi_bias_hidden", "points": 2}
# Hidden checks: 1 to 16 heads, one token, dtype, the diagonal.
### BEGIN HIDDEN TESTS
with check.question("alibi_bias_hidden", alibi_bias) as f:
    for H, T in ((1, 4), (4, 6), (8, 3), (16, 5), (2, 1)):
        bias, case = f(H, T), f"{H} heads, {T} tokens"
        check.shape(case, bias, (H, T, T))
        check.that(bias.dtype == torch.float32, f"{case}: dtype {bias.dtype}, expected float32.")
        for h in range(H):
            past = [-(t - s) * 2 ** (-8 * (h + 1) / H) for t in range(T) for s in range(t + 1)]
            got = bias[h][torch.ones(T, T, dtype=torch.bool).tril()]
            check.close(f"{case}, head {h}", got, past, scale=2 ** (-8 * (h + 1) / H))
### END HIDDEN TESTS

# %% [markdown]
# ## 9. Layer norm ({points:layer_norm}, 15 min)
#
# Layer norm looks at one token at a time. It subtracts the mean of the token's `C` numbers, divides
# by their standard deviation, then stretches and shifts each column by learned factors:
#
# $$y = \frac{x - \mu}{\sqrt{\sigma^2 + \varepsilon}} \cdot w + b$$
#
# The variance divides by `C`, not by `C - 1`. In float16 the square of 300 is already too large.
#
# <details><summary>Hint 1</summary>
#
# Mean and variance are taken over the last axis, and keep it as an axis of length 1.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Look at the defaults of `Tensor.var`: which divisor does it use?
#
# </details>
# <details><summary>Hint 3</summary>
#
# For float16 input: `x.float()` first, `.to(x.dtype)` last. Do not lower a float64 input.
#
# </details>

# %% nbgrader={"solution": "layer_norm", "calls_forbidden": ["layer_norm", "LayerNorm"]}
def layer_norm(x: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """Layer norm over the last axis (Ba et al. 2016).

    x (..., C), weight and bias (C,) -> (..., C).
    The variance is the mean squared deviation (divisor C); eps is added under the
    root. Mean and variance of float16 are computed in float32, because there the square
    of 256 is already infinite; those of float64 in float64.
    With weight 1 and bias 0 every token has mean 0 and variance 1.
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    centred = wide - wide.mean(-1, keepdim=True)
    variance = centred.square().mean(-1, keepdim=True)  # (..., 1)
    return (centred * (variance + eps).rsqrt() * weight + bias).to(x.dtype)
    ### END SOLUTION


# %% nbgrader={"test": "layer_norm_visible", "points": 6}
with check.question("layer_norm_visible", layer_norm) as f:
    # means 4 and 1, variances 5 and 3
    x = torch.tensor([[1.0, 3.0, 5.0, 7.0], [0.0, 0.0, 0.0, 4.0]])
    ones, zeros = torch.ones(4), torch.zeros(4)
    check.close("token 0", f(x, ones, zeros)[0], [-1.3416, -0.4472, 0.4472, 1.3416],
                rel=1e-3, why="(x - 4) / sqrt(5), the variance divides by C = 4.")
    check.close("token 1", f(x, ones, zeros)[1], [-0.5774, -0.5774, -0.5774, 1.7320],
                rel=1e-3,
                why="(x - 1) / sqrt(3): each token has its own mean and variance.")
    check.close("weight and bias", f(x, 2 * ones, ones)[0],
                [-1.6833, 0.1056, 1.8944, 3.6833], rel=1e-3,
                why="twice the above, plus 1.")
    tiny = torch.tensor([[1e-3, -1e-3]])  # variance 1e-6, smaller than eps
    check.close("tiny token", f(tiny, ones[:2], zeros[:2]), [[0.3015, -0.3015]],
                rel=1e-3,
                why="0.001 / sqrt(1e-6 + 1e-5): eps is added under the root.")

# %% nbgrader={"test": "layer_norm_hidden", "points": 4}
# Hidden checks: random shapes against torch, other eps, a constant row, float16, gradient.
### BEGIN HIDDEN TESTS
with check.question("layer_norm_hidden", layer_norm) as f:
    gen = check.generator()
    for shape, eps in (((2, 3, 8), 1e-5), ((5,), 1e-12), ((1, 1, 6), 0.1), ((4, 7), 1e-5)):
        C = shape[-1]
        w, b = torch.randn(2, C, generator=gen, dtype=torch.float64)
        x = torch.randn(shape, generator=gen, dtype=torch.float64) * 3 + 2
        want = F.layer_norm(x, (C,), w, b, eps)
        check.close(f"shape {shape}, eps {eps:g}", f(x, w, b, eps), want)
        faint = x * 1e-4
        check.close(f"shape {shape}, eps {eps:g}, near zero", f(faint, w, b, eps),
                    F.layer_norm(faint, (C,), w, b, eps), why="here eps decides.")
    check.gradient("gradient", f, x, w, b)
    check.close("a constant token", f(torch.full((1, 7), 3.0, dtype=torch.float64), w, b), b[None],
                why="its deviation is 0, so only the bias is left.")
    check.unchanged("inputs", f, x, w, b, why="x must not be normalised in place.")
    loud = torch.tensor([[3e4, -3e4, 1e4, 0.0]], dtype=torch.float16)
    w, b = torch.ones(4, dtype=torch.float16), torch.zeros(4, dtype=torch.float16)
    check.close("float16, entries of 30,000", f(loud, w, b),
                F.layer_norm(loud.double(), (4,)).half(), rel=2e-3, why="the square overflows.")
### END HIDDEN TESTS

# %% [markdown]
# ## 10. RMS norm ({points:rms_norm}, 5 min)
#
# RMS norm leaves out the mean and the bias. Llama and most models since use it:
# $y = x / \sqrt{\mathrm{mean}(x^2) + \varepsilon} \cdot w$.
#
# <details><summary>Hint 1</summary>
#
# It is layer norm without the subtraction. Nothing else changes.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `eps` stands under the root, as before.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The square of 300 overflows float16: square in float32.
#
# </details>

# %% nbgrader={"solution": "rms_norm", "calls_forbidden": ["rms_norm", "RMSNorm"]}
def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """RMS norm over the last axis (Zhang and Sennrich 2019).

    x (..., C), weight (C,) -> (..., C).
    x is divided by sqrt(mean(x²) + eps), then multiplied by weight.
    Squares of float16 are computed in float32, those of float64 in float64.
    With weight 1 the mean square of every token is 1.
    """
    ### BEGIN SOLUTION
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    inverse = (wide.square().mean(-1, keepdim=True) + eps).rsqrt()  # (..., 1)
    return (wide * inverse).to(x.dtype) * weight
    ### END SOLUTION


# %% nbgrader={"test": "rms_norm_visible", "points": 3}
with check.question("rms_norm_visible", rms_norm) as f:
    x = torch.tensor([[1.0, 7.0], [3.0, -4.0]])  # mean squares 25 and 12.5
    check.close("token 0", f(x, torch.ones(2))[0], [0.2, 1.4],
                why="divided by sqrt(25).")
    check.close("token 1, weight 5", f(x, 5 * torch.ones(2))[1], [4.2426, -5.6569],
                rel=1e-3,
                why="divided by sqrt(12.5), times 5; no mean is subtracted.")
    check.close("tiny token", f(torch.tensor([[1e-3, 1e-3]]), torch.ones(2)),
                [[0.7071, 0.7071]], rel=1e-3,
                why="0.001 / sqrt(1e-6 + 1e-6): eps is added under the root.")

# %% nbgrader={"test": "rms_norm_hidden", "points": 2}
# Hidden checks: random shapes against torch, near-zero rows, other eps, float16.
### BEGIN HIDDEN TESTS
with check.question("rms_norm_hidden", rms_norm) as f:
    gen = check.generator()
    for shape, eps in (((2, 3, 8), 1e-6), ((5,), 0.1), ((4, 1, 6), 1e-12)):
        C = shape[-1]
        w = torch.randn(C, generator=gen, dtype=torch.float64)
        x = torch.randn(shape, generator=gen, dtype=torch.float64) * 3 + 2
        for size in (1.0, 1e-4):
            check.close(f"shape {shape}, eps {eps:g}, entries near {5 * size:g}",
                        f(x * size, w, eps), F.rms_norm(x * size, (C,), w, eps))
    loud = torch.tensor([[300.0, -600.0, 0.0, 300.0]], dtype=torch.float16)
    w = torch.tensor([1.0, 2.0, 3.0, 0.5], dtype=torch.float16)
    check.close("float16, entries of 300", f(loud, w),
                F.rms_norm(loud.double(), (4,), w.double(), 1e-6).half(), rel=2e-3,
                why="the square overflows.")
    check.unchanged("inputs", f, x, torch.ones(6, dtype=torch.float64))
### END HIDDEN TESTS

# %% [markdown]
# ## 11. The feed-forward layer ({points:feed_forward}, 10 min)
#
# After attention has moved information between tokens, the feed-forward layer works on each token
# alone: it widens it from `C` to `d_ff`, applies a non-linear function and narrows it again.
#
# <details><summary>Hint 1</summary>
#
# Without the function in the middle, two linear maps are one linear map.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Here a weight has shape (in, out), so it stands on the right: `x @ w_in`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.gelu` is exact by default; `approximate="tanh"` is another function, up to 5e-4 away.
#
# </details>

# %% nbgrader={"solution": "feed_forward"}
def feed_forward(
    x: Tensor, w_in: Tensor, b_in: Tensor, w_out: Tensor, b_out: Tensor, activation: str = "gelu"
) -> Tensor:
    """Two linear maps with an activation between them, for each token alone.

    x (..., C), w_in (C, d_ff), b_in (d_ff,), w_out (d_ff, C), b_out (C,) -> (..., C).
    `activation` is "gelu" (the exact one, with erf) or "relu".
    Anything else raises ValueError.
    If w_out is 0 the result is b_out for every token.
    """
    ### BEGIN SOLUTION
    functions = {"gelu": F.gelu, "relu": F.relu}
    if activation not in functions:
        raise ValueError(f"activation is {activation!r}, expected 'gelu' or 'relu'")
    return functions[activation](x @ w_in + b_in) @ w_out + b_out
    ### END SOLUTION


# %% nbgrader={"test": "feed_forward_visible", "points": 3}
with check.question("feed_forward_visible", feed_forward) as f:
    x = torch.tensor([[1.0]])
    w_in, b_in = torch.tensor([[2.0, -1.0]]), torch.tensor([-1.0, -1.0])
    w_out, b_out = torch.tensor([[1.0], [10.0]]), torch.tensor([0.5])  # inner values 1 and -2
    check.close("relu", f(x, w_in, b_in, w_out, b_out, "relu"), [[1.5]],
                why="1 · 1 + 0 · 10 + 0.5.")
    check.close("gelu", f(x, w_in, b_in, w_out, b_out), [[0.8863]], rel=1e-3,
                why="gelu(1) + 10 · gelu(-2) + 0.5 = 0.8413 - 0.4550 + 0.5.")
    check.raises("activation 'tanh'", ValueError, f, x, w_in, b_in, w_out, b_out,
                 "tanh")

# %% nbgrader={"test": "feed_forward_hidden", "points": 2}
# Hidden checks: random shapes against torch's layers, both activations, gradient.
### BEGIN HIDDEN TESTS
with check.question("feed_forward_hidden", feed_forward) as f:
    gen = check.generator()
    for shape, d_ff in (((2, 3, 4), 16), ((1, 5), 3), ((7,), 7)):
        C = shape[-1]
        x, w_in, b_in, w_out, b_out = (
            torch.randn(s, generator=gen, dtype=torch.float64)
            for s in (shape, (C, d_ff), (d_ff,), (d_ff, C), (C,)))
        for name, function in (("gelu", F.gelu), ("relu", F.relu)):
            want = F.linear(function(F.linear(x, w_in.T, b_in)), w_out.T, b_out)
            check.close(f"{name}, shape {shape}, d_ff {d_ff}",
                        f(x, w_in, b_in, w_out, b_out, name), want, rel=2e-5)
    check.gradient("gradient", f, x, w_in, b_in, w_out, b_out)
    check.unchanged("inputs", f, x, w_in, b_in, w_out, b_out)
### END HIDDEN TESTS

# %% [markdown]
# ## 12. SwiGLU ({points:swiglu}, 5 min)
#
# Most current models use a gated feed-forward layer without biases. One branch, passed through
# SiLU, decides how much of the other branch goes through, column by column:
# $y = \left(\mathrm{SiLU}(x W_{gate}) \odot x W_{up}\right) W_{down}$.
#
# <details><summary>Hint 1</summary>
#
# `SiLU(z) = z · sigmoid(z)`; torch has `F.silu`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The two branches are multiplied entry by entry, not as matrices.
#
# </details>
# <details><summary>Hint 3</summary>
#
# SiLU stands on the gate branch only.
#
# </details>

# %% nbgrader={"solution": "swiglu"}
def swiglu(x: Tensor, w_gate: Tensor, w_up: Tensor, w_down: Tensor) -> Tensor:
    """Gated feed-forward layer (Shazeer 2020), as in Llama.

    x (..., C), w_gate and w_up (C, d_ff), w_down (d_ff, C) -> (..., C).
    If w_gate is 0 the result is 0, since SiLU(0) = 0.
    """
    ### BEGIN SOLUTION
    return (F.silu(x @ w_gate) * (x @ w_up)) @ w_down
    ### END SOLUTION


# %% nbgrader={"test": "swiglu_visible", "points": 3}
with check.question("swiglu_visible", swiglu) as f:
    x, w_down = torch.tensor([[1.0]]), torch.tensor([[1.0], [10.0]])
    w_gate, w_up = torch.tensor([[1.0, -1.0]]), torch.tensor([[3.0, 2.0]])
    check.close("by hand", f(x, w_gate, w_up, w_down), [[-3.1857]], rel=1e-3,
                why="silu(1) · 3 · 1 + silu(-1) · 2 · 10 = 2.1932 - 5.3788.")
    check.close("gate 0", f(x, 0 * w_gate, w_up, w_down), [[0.0]], scale=1.0,
                why="SiLU(0) = 0.")

# %% nbgrader={"test": "swiglu_hidden", "points": 2}
# Hidden checks: random shapes against torch's layers, gradient.
### BEGIN HIDDEN TESTS
with check.question("swiglu_hidden", swiglu) as f:
    gen = check.generator()
    for shape, d_ff in (((2, 3, 4), 11), ((1, 5), 3), ((6,), 6)):
        C = shape[-1]
        x, gate, up, down = (torch.randn(s, generator=gen, dtype=torch.float64)
                             for s in (shape, (C, d_ff), (C, d_ff), (d_ff, C)))
        inner = F.silu(F.linear(x, gate.T)) * F.linear(x, up.T)
        check.close(f"shape {shape}, d_ff {d_ff}", f(x, gate, up, down), F.linear(inner, down.T))
    check.gradient("gradient", f, x, gate, up, down)
    check.unchanged("inputs", f, x, gate, up, down)
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## 13. Think ({points:reflection}, 10 min)
#
# A network operations centre wants a model that reads router logs of 4,000 lines, about 60,000
# tokens, and names the line where a fault began. It was trained on logs of at most 8,000 tokens.
# The team argues for **learned** position vectors, because "the model then finds the best positions
# by itself". In about 120 words: what happens at token 8,001, which of the methods in this lab
# would you use instead, and what would you measure before you trust it?

# %% [markdown] nbgrader={"manual": "reflection", "points": 5}
# ### BEGIN SOLUTION
# 1 point: a learned table has no row for position 8,001; the lookup fails, or an untrained row is
# used. 1 point: names RoPE or ALiBi (or a sliding window with either) with a reason that is true:
# scores depend on the distance. 1 point: says that this alone does not make the model read longer
# texts well: the sinusoidal and RoPE models get worse beyond the trained length, ALiBi degrades
# least but looks mostly at near tokens. 2 points: a measurement that could fail, e.g. accuracy by
# position of the fault in logs of 2,000 to 60,000 tokens, against a baseline that cuts the log.
# ### END SOLUTION

# %% [markdown]
# ## Scale: what your attention costs
#
# No points here. The cell times *your* attention against torch's fused kernel while the sequence
# grows, and measures the memory that each allocates. Yours stores the `T × S` weights; the fused
# kernel never does. On two CPU cores (S) it stops at 512 tokens; on a GPU (M) it goes to 8,192 in
# bfloat16; on a large one (L) the fused kernel goes on to 65,536, also with a sliding window.
#
# Before you run it: by what factor do time and memory grow when `T` doubles?

# %% tags=["demo"]
import time

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from tqdm.auto import tqdm


class Allocated(TorchDispatchMode):
    """Sums the bytes of the results of all torch operations inside a `with` block."""

    n_bytes = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        old = {t.untyped_storage().data_ptr() for t in tree_leaves(args) if isinstance(t, Tensor)}
        for t in tree_leaves(result):
            if isinstance(t, Tensor) and t.untyped_storage().data_ptr() not in old:  # not a view
                self.n_bytes += t.untyped_storage().nbytes()
        return result


def measure(function, *inputs) -> tuple[float, float]:
    """Median seconds of five calls; bytes that one call allocates (GPU: its peak)."""
    if scale.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function(*inputs)
        n_bytes = torch.cuda.max_memory_allocated() - before
    else:
        with Allocated() as seen:
            function(*inputs)
        n_bytes = seen.n_bytes
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        function(*inputs)
        if scale.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    return sorted(seconds)[2], n_bytes


lengths = scale.choose([64, 128, 256, 512], [512, 1024, 2048, 4096, 8192],
                       [1024, 4096, 16384, 32768, 65536])  # fmt: skip
n_heads, d_head = scale.choose(4, 12, 12), 64
dtype = scale.choose(torch.float32, torch.bfloat16, torch.bfloat16)
window = 1024  # L only: each query sees the last 1,024 keys
rows = []
try:
    for n in tqdm(lengths, desc="tokens"):
        q, k, v = torch.randn(3, 1, n_heads, n, d_head, device=scale.device, dtype=dtype)
        row = {"tokens": n}
        score_bytes = 4 * n_heads * n * n * q.element_size()  # scores, weights and two copies
        if n <= 8192:
            scale.announce(f"your attention, {n} tokens", score_bytes)
            row["yours"] = measure(attention, q, k, v)
        row["fused"] = measure(F.scaled_dot_product_attention, q, k, v)
        if scale.name == "L":
            from torch.nn.attention.flex_attention import create_block_mask, flex_attention

            near = create_block_mask(lambda b, h, i, j: (i >= j) & (i - j < window),
                                     None, None, n, n, device="cuda")
            row["window"] = measure(torch.compile(flex_attention), q, k, v, None, near)
        rows.append(row)
except NotImplementedError:
    print("Write attention first; then run this cell again.")

for row in rows:
    cells = [f"{name}: {1e3 * row[name][0]:8.2f} ms, {row[name][1] / 1e6:9.1f} MB"
             for name in ("yours", "fused", "window") if name in row]
    print(f"{row['tokens']:>6} tokens   " + "   ".join(cells))
if rows and scale.name != "S":
    print("Written to", scale.record("lab01_attention", {"rows": rows}))

# %% tags=["demo"]
if rows:
    figure, (left, right) = plt.subplots(1, 2, figsize=(6.5, 2.8), layout="constrained")
    for name, marker in (("yours", "o"), ("fused", "s"), ("window", "^")):
        points = [(r["tokens"], *r[name]) for r in rows if name in r]
        if points:
            n, seconds, n_bytes = zip(*points, strict=True)
            left.loglog(n, [1e3 * s for s in seconds], marker=marker, label=name)
            right.loglog(n, [b / 1e6 for b in n_bytes], marker=marker, label=name)
    left.set(xlabel="tokens", ylabel="time (ms)")
    right.set(xlabel="tokens", ylabel="memory allocated (MB)")
    left.legend()
    plt.show()
