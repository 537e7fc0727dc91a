# %% [markdown]
# # Lab 2: assemble a GPT
#
# In lab 1 you wrote the parts of a transformer. Here you put them together: a block, a GPT, its
# first weights. Then you load weights that a library has saved and get the library's numbers. The
# second half changes the machine: a sliding window, experts, shared layers, an encoder beside the
# decoder.
#
# **{points}, about 2 1/2 hours.** The chapter behind it is
# [Architecture](../../book/ch01_architecture.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Nothing from lab 1 is needed: torch's `F.scaled_dot_product_attention` and `nn.LayerNorm` stand
# in. Only exercise 2 uses another exercise, your `Block`.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input and is as exact.
# - Arguments are never changed, unless the docstring says so.
# - In a mask, `True` means "may attend".

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
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
from glassbox.parts import BlockParts, Decoder, Encoder, GPTConfig, GPTParts

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab02_gpt")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# Creating layers is typing; connecting them is the lesson. So the layers are given, with their
# names, and you write how numbers flow through them. Run the cell and keep its output in sight.

# %% tags=["demo"]
import inspect

for given in (GPTConfig, BlockParts, GPTParts):
    print(inspect.getsource(given))

# %% [markdown]
# ## 1. One block ({points:Block}, 25 min)
#
# A block reads the residual stream twice and adds to it twice. Attention brings in what other
# tokens know; the feed-forward layer thinks about each token alone.
#
# Where the norm stands has changed. In the transformer of 2017 it comes **after** each addition
# (post-norm). Since GPT-2 it stands **before** attention and before the feed-forward layer
# (pre-norm), so that the stream itself is never normalised and runs through the model untouched:
#
# $$\text{pre:}\quad x \leftarrow x + f(\mathrm{norm}(x)) \qquad\qquad
# \text{post:}\quad x \leftarrow \mathrm{norm}(x + f(x))$$
#
# By hand, with two columns: a token (1, 3) has the norm (−1, 1). If $f$ returns its input,
# pre-norm gives (0, 4) and post-norm gives the norm of (2, 6), again (−1, 1).
#
# **Common mistake:** GPT-2 uses the tanh form of GELU. The exact one differs by less than 0.0005,
# enough to miss the library's numbers and too little to notice in a loss.
#
# <details><summary>Hint 1</summary>
#
# Write `attend` first: project, split into heads, attend, merge, project. The mask of `attend` may
# be None; torch's attention has an argument for "causal".
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None, enable_gqa=True)` takes
# heads in front of tokens, and fewer key heads than query heads.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.unflatten(-1, (n, -1)).transpose(1, 2)` splits into `n` heads; `transpose(1, 2).flatten(2)`
# merges. In `forward`, write the two lines for pre-norm, then the two for post-norm.
#
# </details>

# %% nbgrader={"solution": "Block"}
class Block(BlockParts):
    """One transformer block: attention and a feed-forward layer around a residual stream.

    The layers are those of `BlockParts`; keep their names. `self.placement` is "pre" or
    "post". Each of the two updates passes `self.dropout` before it is added; attention
    weights are not dropped.
    """

    def attend(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """Self-attention of H query heads and Hkv key and value heads.

        x (B, T, C) -> (B, T, C). `mask` is boolean and broadcasts to (B, H, T, T); None
        means causal. Query head h uses key and value head h // (H / Hkv).
        """
        ### BEGIN SOLUTION
        q = self.q_proj(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # (B, H, T, D)
        k, v = (layer(x).unflatten(-1, (self.n_kv_heads, -1)).transpose(1, 2)
                for layer in (self.k_proj, self.v_proj))  # (B, Hkv, T, D)
        heads = F.scaled_dot_product_attention(q, k, v, mask, is_causal=mask is None,
                                               enable_gqa=True)
        return self.out_proj(heads.transpose(1, 2).flatten(2))
        ### END SOLUTION

    def think(self, x: Tensor) -> Tensor:
        """The feed-forward layer: ff_in, GELU in its tanh form (as in GPT-2), ff_out.

        (B, T, C) -> (B, T, C).
        """
        ### BEGIN SOLUTION
        return self.ff_out(F.gelu(self.ff_in(x), approximate="tanh"))
        ### END SOLUTION

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The block: attention with norm1, then the feed-forward layer with norm2.

        x (B, T, C) -> (B, T, C). Pre: each part reads the normed stream and adds to the
        stream itself. Post: each part reads the stream, and the sum is normed.
        """
        ### BEGIN SOLUTION
        if self.placement == "pre":
            x = x + self.dropout(self.attend(self.norm1(x), mask))
            return x + self.dropout(self.think(self.norm2(x)))
        x = self.norm1(x + self.dropout(self.attend(x, mask)))
        return self.norm2(x + self.dropout(self.think(x)))
        ### END SOLUTION


# %% nbgrader={"test": "Block_visible", "points": 9}
with check.question("Block_visible", Block) as f:
    sizes = {"n_layers": 1, "d_model": 2, "n_heads": 1, "d_ff": 1, "vocab_size": 3}
    x = torch.tensor([[[1.0, 3.0], [3.0, 1.0]]])  # two tokens
    layer = f(GPTConfig(**sizes, context_len=4))
    w = {name: torch.zeros_like(value) for name, value in layer.state_dict().items()}
    w |= {"norm1.weight": torch.ones(2), "norm2.weight": torch.ones(2)}
    w |= {"v_proj.weight": torch.eye(2), "out_proj.weight": torch.eye(2)}
    layer.load_state_dict(w)  # queries are 0: a token averages what it sees; no feed-forward yet
    check.close("attention, pre-norm", layer(x), [[[0.0, 4.0], [3.0, 1.0]]], rel=1e-3,
                why="normed: (-1, 1) and (1, -1). Token 0 adds its own, token 1 their mean, 0.")
    check.close("both tokens seen", layer(x, torch.ones(2, 2, dtype=torch.bool)), x.tolist(),
                rel=1e-3, why="the mean of (-1, 1) and (1, -1) is 0: nothing is added.")
    post = f(GPTConfig(**sizes, context_len=4, norm="post"))
    post.load_state_dict(w)
    check.close("attention, post-norm", post(x), [[[-1.0, 1.0], [1.0, -1.0]]], rel=1e-3,
                why="(1, 3) + (1, 3) and (3, 1) + (2, 2), normed.")
    w |= {"out_proj.weight": torch.zeros(2, 2), "ff_in.weight": torch.tensor([[0.0, -3.0]]),
          "ff_out.weight": torch.tensor([[1000.0], [0.0]])}
    layer.load_state_dict(w)
    check.close("feed-forward, token 0", layer(x)[0, 0], [-2.6374, 3.0], rel=1e-3,
                why="1 + 1000 · gelu(-3): -0.00364 in the tanh form, -0.00405 in the exact one.")

# %% nbgrader={"test": "Block_hidden", "points": 6}
# Hidden checks: random sizes against torch's layer, masks, fewer key heads, dropout, gradients.
### BEGIN HIDDEN TESTS
with check.question("Block_hidden", Block) as f:
    def gelu(z):
        return F.gelu(z, approximate="tanh")

    gen = check.generator()
    sizes = {"n_layers": 1, "vocab_size": 3, "context_len": 9}
    for norm, C, H, d_ff, T in (("pre", 12, 4, 20, 5), ("post", 12, 3, 48, 6), ("pre", 6, 1, 6, 1)):
        case = f"{norm}-norm, C {C}, {H} heads, {T} tokens"
        layer = f(GPTConfig(**sizes, d_model=C, n_heads=H, d_ff=d_ff, norm=norm)).double()
        theirs = nn.TransformerEncoderLayer(C, H, d_ff, 0.0, gelu, batch_first=True,
                                            norm_first=norm == "pre", dtype=torch.float64)
        w = {name: torch.randn(value.shape, generator=gen, dtype=torch.float64)
             for name, value in layer.state_dict().items()}
        layer.load_state_dict(w)
        names = {"self_attn.out_proj": "out_proj", "linear1": "ff_in", "linear2": "ff_out",
                 "norm1": "norm1", "norm2": "norm2"}
        theirs.load_state_dict(
            {f"{t}.{kind}": w[f"{o}.{kind}"]
             for t, o in names.items() for kind in ("weight", "bias")}
            | {f"self_attn.in_proj_{kind}": torch.cat([w[f"{m}_proj.{kind}"] for m in "qkv"])
               for kind in ("weight", "bias")})
        x = torch.randn(3, T, C, generator=gen, dtype=torch.float64)
        causal = torch.ones(T, T, dtype=torch.bool).tril()
        check.close(case, layer(x), theirs(x, src_mask=~causal).detach())
        near = causal & ~causal.tril(-2)
        check.close(f"{case}, window of 2", layer(x, near), theirs(x, src_mask=~near).detach())
        pad = torch.arange(T) >= torch.tensor([[T], [max(T - 1, 1)], [1]])  # (B, T)
        check.close(f"{case}, padding mask (B, 1, 1, T)", layer(x, ~pad[:, None, None]),
                    theirs(x, src_key_padding_mask=pad).detach())
    config = {**sizes, "d_model": 12, "n_heads": 6, "d_ff": 24}
    full, grouped = f(GPTConfig(**config)).double(), f(GPTConfig(**config, n_kv_heads=2)).double()
    w = {name: torch.randn(value.shape, generator=gen, dtype=torch.float64)
         for name, value in grouped.state_dict().items()}
    grouped.load_state_dict(w)
    full.load_state_dict({
        name: value.unflatten(0, (2, 2)).repeat_interleave(3, 0).flatten(0, 1)
        if name[:2] in ("k_", "v_") else value for name, value in w.items()})
    x = torch.randn(2, 4, 12, generator=gen, dtype=torch.float64)
    check.close("6 heads share 2 key heads", grouped(x), full(x).detach(),
                why="the same as key heads repeated 0 0 0 1 1 1.")
    check.gradient("gradient", lambda t: full(t), x)
    check.unchanged("inputs", full, x, torch.ones(4, 4, dtype=torch.bool))
    full.zero_grad()
    full(x).square().sum().backward()
    idle = [name for name, p in full.named_parameters()
            if p.grad is None or ((p.grad == 0).all() and name != "k_proj.bias")]
    check.that(not idle, f"no gradient reaches {', '.join(idle)}.")
    dropped = f(GPTConfig(**config, dropout=1.0)).double()
    dropped.load_state_dict(full.state_dict())
    dropped.train()
    check.close("dropout 1, training", dropped(x), x, why="both updates are dropped, x is left.")
    dropped.eval()
    check.close("dropout 1, evaluation", dropped(x), full(x).detach(), why="nothing is dropped.")
### END HIDDEN TESTS

# %% [markdown]
# ## 2. A GPT ({points:GPT}, 25 min)
#
# A GPT is short: look up a vector for each token and one for each position, add them, run the
# blocks, norm once more, and multiply by the head. What comes out is a logit for every entry of the
# vocabulary at every position, so a text of `T` tokens gives `T` predictions at once.
#
# With a **tied** head the matrix that turns ids into vectors also turns vectors into logits. In
# GPT-2 small that saves 38.6 of 163 million parameters. Tied means *one* tensor: what training does
# to the head, it does to the table.
#
# By hand, with two columns: the token has the vector (1, 0) and its position (0, 2). The sum (1, 2)
# has the norm (−1, 1). If the table holds (1, 0), (0, 1) and (2, 2), the logits are −1, 1 and 0.
#
# **Common mistake:** copying the head from the table. The first answers agree; after one step of
# training they do not.
#
# <details><summary>Hint 1</summary>
#
# Two attributes may hold the same `nn.Parameter`: assign the one to the other.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `self.position(torch.arange(T, device=ids.device))` is (T, C) and broadcasts over the batch. Only
# the first block sees the sum of both tables; the others see what the block before them returned.
#
# </details>
# <details><summary>Hint 3</summary>
#
# In order: the check of the length, the sum through `self.dropout`, a loop over `self.blocks`,
# `self.norm`, `self.head`.
#
# </details>

# %% nbgrader={"solution": "GPT"}
class GPT(GPTParts):
    """A GPT: embeddings, blocks, final norm, head. The layers are those of `GPTParts`."""

    def __init__(self, config: GPTConfig) -> None:
        """Create the layers with your blocks; if config.tied, head.weight is token.weight."""
        super().__init__(config, Block)
        ### BEGIN SOLUTION
        if config.tied:
            self.head.weight = self.token.weight
        ### END SOLUTION

    def forward(self, ids: Tensor) -> Tensor:
        """Logits of the next token at every position.

        (B, T) integers -> (B, T, V). T may be shorter than config.context_len; longer raises
        ValueError. Token t stands at position t, counted from 0. The sum of both tables
        passes `self.dropout`. The blocks are causal. The final norm is there with "pre" and
        with "post".
        """
        ### BEGIN SOLUTION
        T = ids.shape[1]
        if T > self.config.context_len:
            raise ValueError(f"{T} tokens, but context_len is {self.config.context_len}")
        x = self.token(ids) + self.position(torch.arange(T, device=ids.device))  # (B, T, C)
        x = self.dropout(x)
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))
        ### END SOLUTION


# %% nbgrader={"test": "GPT_visible", "points": 12}
with check.question("GPT_visible", GPT) as f:
    sizes = {"n_layers": 2, "d_model": 2, "n_heads": 1, "vocab_size": 3, "context_len": 4}
    model, table = f(GPTConfig(**sizes)), torch.tensor([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
    w = {name: torch.ones_like(value) if "norm" in name and "weight" in name
         else torch.zeros_like(value) for name, value in model.state_dict().items()}
    w |= {"token.weight": table, "head.weight": table,
          "position.weight": torch.tensor([[0.0, 2], [3, 0], [0, 0], [0, 0]])}
    model.load_state_dict(w)  # blocks of zeros add nothing
    check.close("tokens 0 and 1", model(torch.tensor([[0, 1]])), [[[-1.0, 1, 0], [1, -1, 0]]],
                rel=1e-3, why="(1, 0) + (0, 2) and (0, 1) + (3, 0), normed, times the table.")
    own = [name for name, _ in model.named_parameters()]
    check.that("token.weight" in own and "head.weight" not in own,
               "tied: head.weight is a parameter of its own; it should be token.weight itself.")
    untied = f(GPTConfig(**sizes, tied=False))
    check.that("head.weight" in [name for name, _ in untied.named_parameters()],
               "not tied: head.weight should be a parameter of its own.")
    post = f(GPTConfig(**sizes, norm="post"))
    post.load_state_dict(w | {"norm.bias": torch.tensor([3.0, 0.0])})
    check.close("post-norm, final bias (3, 0)", post(torch.tensor([[0]])), [[[2.0, 1.0, 6.0]]],
                rel=1e-3, why="(-1, 1) + (3, 0): the final norm is there with post-norm too.")
    check.raises("5 tokens, context_len 4", ValueError, model, torch.zeros(1, 5).long())

# %% [markdown]
# The hidden check below copies random weights between your GPT and the GPT-2 of the `transformers`
# library and compares the logits: they must agree to a hundred-thousandth of the largest one. This
# cell builds the library's model. See how it names the sizes.

# %% nbgrader={"locked": "library"}
try:
    from transformers.models.gpt2.configuration_gpt2 import GPT2Config
    from transformers.models.gpt2.modeling_gpt2 import GPT2LMHeadModel
except ImportError:
    print("No transformers here. You can go on; to compare with it: pip install transformers")


def library_gpt2(config: GPTConfig) -> nn.Module:
    """GPT-2 of the transformers library with the sizes of `config` and random weights."""
    return GPT2LMHeadModel(GPT2Config(
        n_layer=config.n_layers, n_embd=config.d_model, n_head=config.n_heads,
        n_inner=config.d_ff, n_positions=config.context_len, vocab_size=config.vocab_size,
        tie_word_embeddings=config.tied, bos_token_id=None, eos_token_id=None)).eval()


# %% nbgrader={"test": "GPT_hidden", "points": 8}
# Hidden checks: random sizes and weights against the library, the future, ties, dropout, gradients.
### BEGIN HIDDEN TESTS
with check.question("GPT_hidden", GPT) as f:
    gen = check.generator()
    for case, L in ((1, 1), (2, 3), (3, 2), (4, 2)):
        H, D, V, T, more, d_ff = (
            torch.randint(low, high, (), generator=gen).item() for low, high
            in ((1, 5), (8, 13), (2, 40), (1, 9), (0, 4), (1, 50)))
        config = GPTConfig(n_layers=L, d_model=H * D, n_heads=H, vocab_size=V, context_len=T + more,
                           d_ff=d_ff, tied=case != 2)
        model, theirs = f(config), library_gpt2(config)
        w = {name: ("norm" in name and "weight" in name)
             + 0.3 * torch.randn(value.shape, generator=gen)
             for name, value in model.state_dict().items()}
        w |= {"head.weight": w["token.weight"]} if config.tied else {}
        model.load_state_dict(w)
        copied = {"wte.weight": w["token.weight"], "wpe.weight": w["position.weight"]}
        for kind in ("weight", "bias"):
            copied[f"ln_f.{kind}"] = w[f"norm.{kind}"]
            for i in range(L):
                for name, layer in (("ln_1", "norm1"), ("attn.c_proj", "out_proj"),
                                    ("ln_2", "norm2"), ("mlp.c_fc", "ff_in"),
                                    ("mlp.c_proj", "ff_out")):
                    copied[f"h.{i}.{name}.{kind}"] = w[f"blocks.{i}.{layer}.{kind}"].t()
                copied[f"h.{i}.attn.c_attn.{kind}"] = torch.cat(
                    [w[f"blocks.{i}.{m}_proj.{kind}"].t() for m in "qkv"], -1)
        theirs.load_state_dict({f"transformer.{name}": value for name, value in copied.items()}
                               | {"lm_head.weight": w["head.weight"]})
        ids = torch.randint(0, V, (3, T), generator=gen)
        got, want = model(ids), theirs(ids).logits.detach()
        check.close(f"random size {case}, as in the library", got, want)
        off = (got - want).abs().max() / want.abs().max()
        check.that(off <= 1e-5, f"random size {case}: logits are off by more than 1e-5 of the "
                                "largest one.")
        wide = model.double()
        check.close(f"random size {case}, float64", wide(ids), theirs.double()(ids).logits.detach(),
                    rel=1e-5)
    sizes = {"n_layers": 2, "d_model": 8, "n_heads": 2, "vocab_size": 7, "context_len": 6}
    model = f(GPTConfig(**sizes)).double()
    ids = torch.randint(0, 3, (2, 6), generator=gen)
    later = ids.clone()
    later[:, 4] = 6
    check.close("token 4 changed", model(later)[:, :4], model(ids)[:, :4].detach(),
                why="earlier predictions cannot see it.")
    model.zero_grad()
    model(ids)[..., 0].square().sum().backward()
    grads = {name: p.grad for name, p in model.named_parameters()}
    idle = [name for name, g in grads.items()
            if g is None or ((g == 0).all() and not name.endswith("k_proj.bias"))]
    check.that(not idle, f"no gradient reaches {', '.join(idle)}.")
    model.zero_grad()
    model(ids)[..., 6].sum().backward()
    tied = dict(model.named_parameters())["token.weight"].grad
    check.that((tied[6] != 0).any(), "the gradient of a logit does not reach the tied table.")
    dropped = f(GPTConfig(**sizes, dropout=1.0)).double()
    dropped.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    dropped.train()
    logits = dropped(ids).detach()
    check.close("dropout 1, training", logits, logits[:1, :1].expand(2, 6, 7),
                why="the sum of both tables is dropped: all positions look alike.")
### END HIDDEN TESTS

# %% [markdown]
# ## 3. The first weights ({points:init_weights}, 10 min)
#
# Before training, a model should have no opinion: all logits near 0, and a loss near $\log V$. So
# weights start small. The maps that write to the residual stream start smaller still: there are
# $2L$ of them, their sums add up, and dividing by $\sqrt{2L}$ keeps the size of the stream
# independent of the depth.
#
# By hand: with `std` 0.02 and 2 layers, `out_proj` and `ff_out` get 0.02 / √4 = 0.01.
#
# **Common mistake:** leaving torch's defaults. Its embeddings have a standard deviation of 1, so
# the model begins by being confidently wrong.
#
# <details><summary>Hint 1</summary>
#
# A loop over `model.named_parameters()` sees every tensor with its name, shared ones once.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The last two parts of a name say all: `blocks.0.norm1.weight` is the weight of a norm.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `nn.init.zeros_`, `nn.init.ones_` and `nn.init.normal_` change a parameter in place and leave no
# trace in the gradient.
#
# </details>

# %% nbgrader={"solution": "init_weights"}
def init_weights(model: nn.Module, n_layers: int, std: float = 0.02) -> None:
    """Set all weights of a GPT in place, as GPT-2 does; return nothing.

    Biases are 0, weights of norms (their layer's name contains "norm") are 1. All other
    weights, both tables among them, are drawn from a normal distribution with mean 0 and
    standard deviation std; those of the layers `out_proj` and `ff_out` with
    std / sqrt(2 · n_layers). Every call draws anew from torch's global generator.
    """
    ### BEGIN SOLUTION
    for name, weight in model.named_parameters():
        layer, kind = name.split(".")[-2:]
        if kind == "bias":
            nn.init.zeros_(weight)
        elif "norm" in layer:
            nn.init.ones_(weight)
        else:
            writes = layer in ("out_proj", "ff_out")  # to the residual stream
            nn.init.normal_(weight, 0.0, std / math.sqrt(2 * n_layers) if writes else std)
    ### END SOLUTION


# %% nbgrader={"test": "init_weights_visible", "points": 6}
with check.question("init_weights_visible", init_weights) as f:
    model = check.there(GPTParts, GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=96,
                                            context_len=32))
    model.load_state_dict({name: torch.full_like(w, 0.5) for name, w in model.state_dict().items()})
    torch.manual_seed(0)
    f(model, 2)
    w = model.state_dict()
    for name, want in (("token", 0.02), ("position", 0.02), ("blocks.0.q_proj", 0.02),
                       ("blocks.1.ff_in", 0.02), ("head", 0.02), ("blocks.1.out_proj", 0.01),
                       ("blocks.0.ff_out", 0.01)):
        check.close(f"std of {name}.weight", w[f"{name}.weight"].std(), want, rel=0.1,
                    why="0.02, and 0.02 / sqrt(4) for what writes to the residual stream.")
    for name in ("blocks.0.q_proj", "blocks.1.ff_out", "norm"):
        check.close(f"{name}.bias", w[f"{name}.bias"], [0.0] * 64, scale=1.0)
    check.close("blocks.1.norm2.weight", w["blocks.1.norm2.weight"], [1.0] * 64)

# %% nbgrader={"test": "init_weights_hidden", "points": 4}
# Hidden checks: other depth and std, every tensor, means, the shape of the distribution, two calls.
### BEGIN HIDDEN TESTS
with check.question("init_weights_hidden", init_weights) as f:
    model = check.there(GPTParts, GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=96,
                                            context_len=64))
    model.load_state_dict({name: torch.full_like(w, 0.5) for name, w in model.state_dict().items()})
    torch.manual_seed(check.generator().initial_seed())
    f(model, 8, 0.1)
    first = {name: w.clone() for name, w in model.state_dict().items()}
    for name, w in first.items():
        layer, kind = name.split(".")[-2:]
        if kind == "bias" or "norm" in layer:
            check.close(name, w, torch.full_like(w, float(kind == "weight")), scale=1.0)
            continue
        want = 0.025 if layer in ("out_proj", "ff_out") else 0.1
        check.close(f"{name}, std", w.std(), want, rel=0.1, why="std, or std / sqrt(2 · 8).")
        check.close(f"{name}, mean", w.mean(), 0.0, scale=want, rel=1.0)
        check.close(f"{name}, share within one std", (w.abs() < want).double().mean(), 0.683,
                    rel=0.07, why="of a normal distribution 68 % lie within one std.")
    f(model, 8, 0.1)
    check.that((model.state_dict()["head.weight"] != first["head.weight"]).any(),
               "two calls give the same weights; each should draw anew.")
### END HIDDEN TESTS

# %% [markdown]
# What does your GPT say before it has learned anything? The cell needs exercises 1 to 3.

# %% tags=["demo"]
try:
    fresh = GPT(GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=256, context_len=128))
    text = torch.tensor(list(b"Dear customer, your line is down."))[None]
    for name, std in (("torch's defaults", None), ("std 0.02", 0.02)):
        if std is not None:
            init_weights(fresh, n_layers=2, std=std)
        with torch.no_grad():
            loss = F.cross_entropy(fresh(text)[0, :-1], text[0, 1:])
        print(f"{name:<17} loss {loss:7.3f}   (log 256 = {math.log(256):.3f})")
except NotImplementedError:
    print("Write Block, GPT and init_weights first; then run this cell again.")

# %% [markdown]
# Next you load weights that somebody else has saved, under other names. Here are GPT-2's.

# %% nbgrader={"locked": "names"}
GPT2_NAMES = {  # layer of our block -> its name in a block of GPT-2
    "norm1": "ln_1", "out_proj": "attn.c_proj", "norm2": "ln_2",
    "ff_in": "mlp.c_fc", "ff_out": "mlp.c_proj",
}
# outside of the blocks: token -> wte, position -> wpe, norm -> ln_f, head -> lm_head (no bias);
# q_proj, k_proj and v_proj together: attn.c_attn. Every name ends in .weight or .bias.

# %% [markdown]
# ## 4. Load GPT-2 ({points:load_gpt2}, 20 min)
#
# Weights travel as a dict from names to tensors. Whoever saved them had other names and other
# habits, and loading is translating. GPT-2's file differs from ours in three ways.
#
# 1. Names: the table above. Blocks are called `h.0`, `h.1`, …
# 2. GPT-2 stores a matrix as (in, out), since it computes `x @ weight`. `nn.Linear` computes
#    `x @ weight.T` and stores (out, in).
# 3. Queries, keys and values are one matrix `attn.c_attn` of shape (C, 3C), in this order side by
#    side, with a bias (3C,).
#
# **Common mistake:** a forgotten transpose raises no error where the matrix is square, as that of
# `out_proj` is.
#
# <details><summary>Hint 1</summary>
#
# Build a dict with *our* names, then let `model.load_state_dict` copy it. It complains about shapes
# and about names that are missing.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `.t()` transposes a matrix and leaves a vector as it is, so weights and biases need no two cases.
# After it, queries, keys and values lie below each other: `chunk(3)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Strip the prefix of all keys first: `key.removeprefix("transformer.")`. A lookup with `[…]` raises
# the KeyError that is asked for.
#
# </details>

# %% nbgrader={"solution": "load_gpt2"}
def load_gpt2(model: GPTParts, state: dict[str, Tensor]) -> None:
    """Copy the weights of a GPT-2 into a GPT of the same sizes, in place; return nothing.

    `state` has GPT-2's names, all with the prefix "transformer." (only lm_head.weight is
    without) or all without it: "transformer.h.0.ln_1.bias" or "h.0.ln_1.bias". Its
    matrices are (in, out), but wte, wpe and lm_head have the shapes of ours.
    Without a key lm_head.weight the head gets the token table. Other names than those
    above are ignored. A missing one raises KeyError with GPT-2's name in its text.
    `state` is not changed. The model has as many key heads as query heads.
    """
    ### BEGIN SOLUTION
    state = {key.removeprefix("transformer."): value for key, value in state.items()}
    new = {"token.weight": state["wte.weight"], "position.weight": state["wpe.weight"]}
    new["head.weight"] = state.get("lm_head.weight", state["wte.weight"])
    for kind in ("weight", "bias"):
        new[f"norm.{kind}"] = state[f"ln_f.{kind}"]
        for i in range(len(model.blocks)):
            for ours, theirs in GPT2_NAMES.items():
                new[f"blocks.{i}.{ours}.{kind}"] = state[f"h.{i}.{theirs}.{kind}"].t()
            fused = state[f"h.{i}.attn.c_attn.{kind}"].t().chunk(3)
            new |= {f"blocks.{i}.{m}_proj.{kind}": part for m, part in zip("qkv", fused)}
    model.load_state_dict(new)
    ### END SOLUTION


# %% nbgrader={"test": "load_gpt2_visible", "points": 6}
with check.question("load_gpt2_visible", load_gpt2) as f:
    model = check.there(GPTParts, GPTConfig(n_layers=1, d_model=2, n_heads=1, d_ff=3, vocab_size=4,
                                            context_len=3))
    sizes = {"ln_1": (2,), "attn.c_attn": (2, 6), "attn.c_proj": (2, 2), "ln_2": (2,),
             "mlp.c_fc": (2, 3), "mlp.c_proj": (3, 2)}
    state = {"wte.weight": torch.arange(8.0).view(4, 2), "wpe.weight": torch.ones(3, 2),
             "ln_f.weight": torch.ones(2), "ln_f.bias": torch.zeros(2)}
    for name, size in sizes.items():  # every matrix counts 0, 1, 2, … along its rows
        state[f"h.0.{name}.weight"] = torch.arange(float(math.prod(size))).view(size)
        state[f"h.0.{name}.bias"] = torch.arange(float(size[-1]))
    state["h.0.ln_2.bias"] = torch.tensor([5.0, 7.0])
    f(model, state)
    w = model.state_dict()
    check.close("out_proj.weight", w["blocks.0.out_proj.weight"], [[0.0, 2], [1, 3]],
                why="(in, out) became (out, in).")
    check.close("ff_in.weight", w["blocks.0.ff_in.weight"], [[0.0, 3], [1, 4], [2, 5]])
    for name, weight, bias in (("q", [[0.0, 6], [1, 7]], [0.0, 1]),
                               ("k", [[2.0, 8], [3, 9]], [2.0, 3]),
                               ("v", [[4.0, 10], [5, 11]], [4.0, 5])):
        check.close(f"{name}_proj.weight", w[f"blocks.0.{name}_proj.weight"], weight,
                    why="c_attn holds q, k, v side by side: columns 0-1, 2-3, 4-5.")
        check.close(f"{name}_proj.bias", w[f"blocks.0.{name}_proj.bias"], bias)
    check.close("head.weight", w["head.weight"], [[0.0, 1], [2, 3], [4, 5], [6, 7]],
                why="there is no lm_head.weight, so the head is the token table.")
    check.close("norm2.bias", w["blocks.0.norm2.bias"], [5.0, 7.0], why="that of ln_2.")
    f(model, {f"transformer.{name}": value for name, value in state.items()}
      | {"lm_head.weight": torch.full((4, 2), 9.0)})
    check.close("head.weight, with lm_head", model.state_dict()["head.weight"], [[9.0] * 2] * 4,
                why="the head has weights of its own; the other names begin with transformer.")

# %% nbgrader={"test": "load_gpt2_hidden", "points": 4}
# Hidden checks: 12 layers, both kinds of prefix, an own head, extra and missing names, inputs.
### BEGIN HIDDEN TESTS
with check.question("load_gpt2_hidden", load_gpt2) as f:
    gen = check.generator()
    for case, L, prefix, head in (("12 layers, no prefix", 12, "", False),
                                  ("prefix, own head", 2, "transformer.", True)):
        config = GPTConfig(n_layers=L, d_model=4, n_heads=2, d_ff=5, vocab_size=6, context_len=3)
        model = check.there(GPTParts, config)
        want = {name: torch.randn(w.shape, generator=gen) for name, w in model.state_dict().items()}
        if not head:
            want["head.weight"] = want["token.weight"]
        state = {"wte.weight": want["token.weight"], "wpe.weight": want["position.weight"]}
        for kind in ("weight", "bias"):
            state[f"ln_f.{kind}"] = want[f"norm.{kind}"]
            for i in range(L):
                for layer, name in GPT2_NAMES.items():
                    state[f"h.{i}.{name}.{kind}"] = want[f"blocks.{i}.{layer}.{kind}"].t()
                state[f"h.{i}.attn.c_attn.{kind}"] = torch.cat(
                    [want[f"blocks.{i}.{m}_proj.{kind}"].t() for m in "qkv"], -1)
        state = {prefix + name: value for name, value in state.items()}
        state |= {"lm_head.weight": want["head.weight"]} if head else {}
        extra = {f"{prefix}h.0.attn.bias": torch.ones(1, 1, 3, 3).tril(), "epoch": torch.ones(())}
        kept = {name: value.clone() for name, value in state.items()}
        f(model, state | extra)
        for name, value in model.state_dict().items():
            check.close(f"{case}: {name}", value, want[name])
        for name, value in state.items():
            check.close(f"{case}: {name} of the state", value, kept[name], why="unchanged.")
    for name in ("h.1.mlp.c_fc.bias", "wpe.weight", "h.0.attn.c_attn.weight", "ln_f.bias"):
        told = "nothing was raised"
        try:
            f(model, {key: value for key, value in state.items() if key != f"transformer.{name}"})
        except KeyError as error:
            told = str(error)
        check.that(name in told, f"a name is missing: no KeyError with {name} in its text.")
### END HIDDEN TESTS

# %% [markdown]
# ### Your GPT with trained weights
#
# Beside this notebook lies a small GPT-2 that has read made-up fault tickets, byte by byte: 124,672
# parameters in the file format of the `transformers` library. The cell loads it into *your* GPT and
# lets it write. Set `GLASSBOX_CHECKPOINT` to another folder, or to the name of a public model such
# as `openai-community/gpt2` if you have a network, and the same code loads that one.

# %% tags=["demo"]
import os

from glassbox.checkpoints import read_gpt2


def write(model: nn.Module, ids: list[int], n_new: int, temperature: float = 0.7) -> list[int]:
    """Ids with `n_new` more, each drawn from what the model predicts after the last ones."""
    device = next(model.parameters()).device
    for _ in range(n_new):
        window = torch.tensor([ids[-model.config.context_len :]], device=device)
        with torch.no_grad():
            shares = (model(window)[0, -1] / temperature).softmax(-1)
        ids = [*ids, torch.multinomial(shares, 1).item()]
    return ids


try:
    saved = read_gpt2(os.environ.get("GLASSBOX_CHECKPOINT", "data/tiny_gpt2"))
    pretrained = GPT(saved.config).eval()
    load_gpt2(pretrained, saved.state)
    pretrained.to(scale.device)
    torch.manual_seed(0)
    n_weights = sum(p.numel() for p in pretrained.parameters())
    print(f"{n_weights:,} parameters from {saved.source}\n")
    print(saved.decode(write(pretrained, saved.encode("Ticket 4711: "), n_new=200)))
    if "GPT2LMHeadModel" in globals():
        theirs = library_gpt2(saved.config)
        theirs.load_state_dict(saved.state, strict=False)  # the file has no head: it is tied
        ids = torch.tensor([saved.encode("Ticket 4711: no fibre")])
        with torch.no_grad():
            off = (pretrained.cpu()(ids) - theirs(ids).logits).abs().max()
        print(f"\nLargest difference to the library's logits: {off:.1g}")
except NotImplementedError:
    print("Write Block, GPT and load_gpt2 first; then run this cell again.")
except (OSError, ImportError) as error:
    print(error)

# %% [markdown]
# ## 5. A sliding window ({points:sliding_window_mask}, 8 min)
#
# Full attention compares every token with all tokens before it. A router log of 60,000 lines makes
# that expensive, and most lines depend on their neighbours. With a **window** of `w`, a token sees
# itself and the `w - 1` tokens before it. A few **global** tokens at the start stay visible for
# all: they can hold the instruction.
#
# By hand, 4 tokens and a window of 2: token 3 sees tokens 2 and 3. With one global token it sees
# token 0 too.
#
# **Common mistake:** the window is counted without the token itself.
#
# <details><summary>Hint 1</summary>
#
# Three conditions on a query `i` and a key `j`. One must hold always, one of two others as well.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The distance is `i - j`. A column of positions minus a row of positions gives all of them.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `&` and `|` act on whole tensors of truth values, and bind more strongly than `<`: use brackets.
#
# </details>

# %% nbgrader={"solution": "sliding_window_mask"}
def sliding_window_mask(n_tokens: int, window: int, n_global: int = 0) -> Tensor:
    """Causal mask in which a token sees its last `window` tokens, itself included.

    -> (T, T) bool with T = n_tokens; window is at least 1.
    Query i sees key j if j <= i and (i - j < window or j < n_global).
    With window >= T it is the causal mask.
    """
    ### BEGIN SOLUTION
    j = torch.arange(n_tokens)
    distance = j[:, None] - j  # (T, T)
    return (distance >= 0) & ((distance < window) | (j < n_global))
    ### END SOLUTION


# %% nbgrader={"test": "sliding_window_mask_visible", "points": 3}
with check.question("sliding_window_mask_visible", sliding_window_mask) as f:
    o, x = False, True
    check.close("4 tokens, window 2", f(4, 2),
                [[x, o, o, o], [x, x, o, o], [o, x, x, o], [o, o, x, x]],
                why="itself and one before it.")
    check.close("4 tokens, window 1, 1 global", f(4, 1, 1),
                [[x, o, o, o], [x, x, o, o], [x, o, x, o], [x, o, o, x]],
                why="itself and the first token.")

# %% nbgrader={"test": "sliding_window_mask_hidden", "points": 2}
# Hidden checks: many sizes entry by entry, one token, windows wider than the text, dtype.
### BEGIN HIDDEN TESTS
with check.question("sliding_window_mask_hidden", sliding_window_mask) as f:
    for T, w, g in ((1, 1, 0), (5, 3, 0), (7, 2, 2), (6, 9, 0), (6, 9, 3), (9, 1, 4), (4, 2, 8)):
        got, case = f(T, w, g), f"{T} tokens, window {w}, {g} global"
        check.shape(case, got, (T, T))
        check.that(got.dtype == torch.bool, f"{case}: dtype {got.dtype}, expected torch.bool.")
        want = [[j <= i and (i - j < w or j < g) for j in range(T)] for i in range(T)]
        check.close(case, got, want)
### END HIDDEN TESTS

# %% [markdown]
# ## 6. Choose experts ({points:route_top_k}, 10 min)
#
# In a **mixture of experts** the feed-forward layer exists `E` times, and each token uses only `k`
# of them. A model of 46.7 billion parameters, Mixtral 8x7B, then computes with 12.9 billion for any
# one token. Who does the choosing? A small linear map, the **router**, gives each token a logit per
# expert; the `k` highest win, and a softmax over *these* `k` logits gives their weights.
#
# By hand: logits 0, log 3 and −2 with `k` = 2. Experts 1 and 0 win with odds of 3 : 1, so the
# weights are 3/4 and 1/4.
#
# **Common mistake:** softmax over all experts, and then the best `k`. The weights of the chosen
# ones no longer sum to 1.
#
# <details><summary>Hint 1</summary>
#
# `topk` returns two things: values and places.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The places are needed as they are, the values are not weights yet.
#
# </details>
# <details><summary>Hint 3</summary>
#
# First choose, then softmax over the last axis of what was chosen.
#
# </details>

# %% nbgrader={"solution": "route_top_k"}
def route_top_k(x: Tensor, w_gate: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Weights and numbers of the k experts that each token uses.

    x (N, C), w_gate (C, E), 1 <= k <= E -> weights (N, k), experts (N, k) int64.
    The router logits are x @ w_gate, (N, E). The k largest of a token win, the largest
    first; the weights are the softmax over the k logits that won. Ties are not tested.
    """
    ### BEGIN SOLUTION
    logits, experts = (x @ w_gate).topk(k)  # (N, k)
    return logits.softmax(-1), experts
    ### END SOLUTION


# %% nbgrader={"test": "route_top_k_visible", "points": 6}
with check.question("route_top_k_visible", route_top_k) as f:
    w_gate = torch.tensor([[0.0, math.log(3), -2.0], [math.log(4), -3.0, 0.0]])
    weights, experts = f(torch.eye(2), w_gate, 2)  # the rows of w_gate are the logits
    check.close("experts", experts, torch.tensor([[1, 0], [0, 2]]),
                why="the two largest logits of each row, the largest first.")
    check.close("weights", weights, [[0.75, 0.25], [0.8, 0.2]],
                why="odds of 3 : 1 and of 4 : 1; each row sums to 1.")
    weights, experts = f(torch.eye(2), w_gate, 1)
    check.close("k = 1, experts", experts, torch.tensor([[1], [0]]))
    check.close("k = 1, weights", weights, [[1.0], [1.0]], why="one expert takes all.")

# %% nbgrader={"test": "route_top_k_hidden", "points": 4}
# Hidden checks: random tokens against a softmax over all experts, k = E, one token, gradient.
### BEGIN HIDDEN TESTS
with check.question("route_top_k_hidden", route_top_k) as f:
    gen = check.generator()
    for N, C, E, k in ((6, 4, 8, 2), (1, 3, 5, 3), (5, 5, 5, 5), (9, 2, 4, 1)):
        x, w_gate = (torch.randn(*size, generator=gen, dtype=torch.float64)
                     for size in ((N, C), (C, E)))
        weights, experts = f(x, w_gate, k)
        case = f"N {N}, C {C}, E {E}, k {k}"
        share, order = (x @ w_gate).softmax(-1).sort(-1, descending=True)
        check.close(f"{case}, experts", experts, order[:, :k])
        check.close(f"{case}, weights", weights, share[:, :k] / share[:, :k].sum(-1, keepdim=True),
                    why="the softmax over all experts, scaled so that the k sum to 1.")
    x, w_gate = torch.randn(4, 3, generator=gen).double(), torch.randn(3, 6, generator=gen).double()
    check.gradient("gradient", lambda *args: f(*args, 3)[0], x, w_gate)
    check.unchanged("inputs", f, x, w_gate, 3)
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Mix the experts ({points:moe_feed_forward}, 15 min)
#
# Each token gets the weighted sum of what its experts say:
#
# $$y_n = \sum_{i=1}^{k} w_{n,i} \, \mathrm{expert}_{e_{n,i}}(x_n)$$
#
# The point of it all is what is *not* computed. An expert gets the tokens that chose it and no
# others, and an expert that nobody chose is not called. Turn the loop round: not "for each token,
# its experts" but "for each expert, its tokens".
#
# **Common mistake:** running all experts on all tokens and multiplying by weights that are mostly
# 0. The numbers are right and the saving is gone.
#
# <details><summary>Hint 1</summary>
#
# `torch.where(experts == e)` gives the rows and the places among the `k` at which expert `e` was
# chosen.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `x[rows]` are its tokens, `weights[rows, places]` their weights: a column of them multiplies the
# rows.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Start from zeros and add: a token is visited `k` times. `y.index_add(0, rows, update)` returns the
# sum; `y[rows] += …` works too, as no row stands twice for one expert.
#
# </details>

# %% nbgrader={"solution": "moe_feed_forward"}
def moe_feed_forward(
    x: Tensor, experts: list[Callable[[Tensor], Tensor]], w_gate: Tensor, k: int
) -> Tensor:
    """Weighted sum of the k experts that each token chooses.

    x (N, C), E experts that each map (n, C) to (n, C), w_gate (C, E) -> (N, C).
    Choice and weights: softmax over the k largest entries of x @ w_gate, per token (you
    may call your `route_top_k`). An expert is given the tokens that chose it and no
    others; one that no token chose is not called, so n is at least 1.
    """
    ### BEGIN SOLUTION
    logits, chosen = (x @ w_gate).topk(k)  # (N, k)
    weights, y = logits.softmax(-1), torch.zeros_like(x)
    for e, expert in enumerate(experts):
        rows, places = torch.where(chosen == e)
        if len(rows):
            y = y.index_add(0, rows, weights[rows, places, None] * expert(x[rows]))
    return y
    ### END SOLUTION


# %% nbgrader={"test": "moe_feed_forward_visible", "points": 6}
with check.question("moe_feed_forward_visible", moe_feed_forward) as f:
    x = torch.eye(2)
    w_gate = torch.tensor([[0.0, math.log(3), -2.0, -9.0], [math.log(4), -3.0, 0.0, -9.0]])
    given = []  # what expert 3 was given

    def idle(t):
        given.append(len(t))
        return t

    experts = [lambda t: t + 10, lambda t: 2 * t, lambda t: -t, idle]
    check.close("2 tokens, 4 experts, k = 2", f(x, experts, w_gate, 2), [[4.25, 2.5], [8.0, 8.6]],
                why="0.75 · (2, 0) + 0.25 · (11, 10) and 0.8 · (10, 11) + 0.2 · (0, -1).")
    check.close("k = 1", f(x, experts, w_gate, 1), [[2.0, 0.0], [10.0, 11.0]],
                why="the best expert alone, with weight 1.")
    check.that(not given, "expert 3 was called, and no token had chosen it.")

# %% nbgrader={"test": "moe_feed_forward_hidden", "points": 4}
# Hidden checks: random experts against the dense sum, k = E, who is given what, gradients.
### BEGIN HIDDEN TESTS
with check.question("moe_feed_forward_hidden", moe_feed_forward) as f:
    gen = check.generator()
    for N, C, E, k in ((7, 4, 6, 2), (1, 3, 4, 3), (5, 3, 3, 3), (12, 2, 9, 1)):
        case = f"N {N}, C {C}, E {E}, k {k}"
        x, w_gate, w = (torch.randn(*size, generator=gen, dtype=torch.float64)
                        for size in ((N, C), (C, E), (E, C, C)))
        given = []

        def expert(t, e):
            given.append(t.shape)
            return (t @ w[e]).tanh() + w[e, 0]

        logits, chosen = (x @ w_gate).topk(k)
        dense = torch.stack([(x @ w[e]).tanh() + w[e, 0] for e in range(E)], 1)  # (N, E, C)
        want = logits.softmax(-1)[..., None] * dense.gather(1, chosen[..., None].expand(N, k, C))
        check.close(case, f(x, [lambda t, e=e: expert(t, e) for e in range(E)], w_gate, k),
                    want.sum(1))
        check.that(all(len(size) == 2 and size[0] > 0 for size in given),
                   f"{case}: an expert was called with no tokens, or not with rows of tokens.")
        check.that(sum(size[0] for size in given) == N * k,
                   f"{case}: the experts were given other tokens than those that chose them.")
    layers = [check.there(nn.Linear, 3, 3) for _ in range(4)]
    x, w_gate = (torch.randn(size, generator=gen).requires_grad_() for size in ((5, 3), (3, 4)))
    f(x, layers, w_gate, 2).square().sum().backward()
    got = x.grad, w_gate.grad
    x.grad = w_gate.grad = None
    logits, chosen = (x @ w_gate).topk(2)
    w = [layer.state_dict() for layer in layers]
    dense = torch.stack([F.linear(x, v["weight"], v["bias"]) for v in w], 1)
    mixed = logits.softmax(-1)[..., None] * dense.gather(1, chosen[..., None].expand(5, 2, 3))
    mixed.sum(1).square().sum().backward()
    check.close("gradient of x", got[0], x.grad, why="through the experts and the weights.")
    check.close("gradient of w_gate", got[1], w_gate.grad, why="through the weights.")
    check.unchanged("inputs", f, x.detach(), layers, w_gate.detach(), 2)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Keep the experts busy ({points:load_balance_loss}, 8 min)
#
# Left alone, a router learns to use a few experts, which then get all the practice. An extra loss
# pushes back. Let $f_e$ be the share of tokens that chose expert $e$, and $P_e$ the mean
# probability that the router gave it:
#
# $$\text{loss} = E \sum_{e=1}^{E} f_e \, P_e$$
#
# With $f_e = k/E$ and $P_e = 1/E$ for all, the loss is $k$. If all tokens choose the same expert
# with certainty, `k` = 1, it is $E$. The $f_e$ are counts and carry no gradient; the $P_e$ do.
#
# **Common mistake:** using probabilities for $f$ as well. A router that is always undecided and
# always picks the same expert would look balanced.
#
# <details><summary>Hint 1</summary>
#
# The probabilities of `P` are a softmax over *all* experts, not over the chosen `k`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.one_hot(chosen, E)` turns the numbers (N, k) into marks (N, k, E).
#
# </details>
# <details><summary>Hint 3</summary>
#
# Sum the marks over `k`, take the mean over the tokens: that is `f`, and it sums to `k`.
#
# </details>

# %% nbgrader={"solution": "load_balance_loss"}
def load_balance_loss(router_logits: Tensor, k: int) -> Tensor:
    """E · sum over experts of f_e · P_e, the loss that keeps experts equally busy.

    (N, E) -> scalar tensor.
    f_e: share of the N tokens that have expert e among their k largest logits; the f sum
    to k. P_e: mean over the tokens of the softmax over all E logits.
    Equal logits give k, whichever k experts are counted as chosen.
    """
    ### BEGIN SOLUTION
    n_experts = router_logits.shape[-1]
    chosen = router_logits.topk(k).indices  # (N, k)
    share = F.one_hot(chosen, n_experts).sum(1).to(router_logits.dtype).mean(0)  # (E,)
    return n_experts * (share * router_logits.softmax(-1).mean(0)).sum()
    ### END SOLUTION


# %% nbgrader={"test": "load_balance_loss_visible", "points": 3}
with check.question("load_balance_loss_visible", load_balance_loss) as f:
    check.close("equal logits, 4 experts, k = 2", f(torch.zeros(6, 4), 2), 2.0,
                why="4 · (1 · 1/4 + 1 · 1/4).")
    away = torch.tensor([[math.log(3), 0.0], [math.log(3), 0.0]])
    check.close("both tokens choose expert 0", f(away, 1), 1.5, why="2 · (1 · 3/4 + 0 · 1/4).")
    check.close("one token each", f(torch.stack([away[0], away[0].flip(0)]), 1), 1.0,
                why="2 · (1/2 · 1/2 + 1/2 · 1/2): the mean probability of each is 1/2.")

# %% nbgrader={"test": "load_balance_loss_hidden", "points": 2}
# Hidden checks: random logits expert by expert, k = E, a router that has collapsed, gradient.
### BEGIN HIDDEN TESTS
with check.question("load_balance_loss_hidden", load_balance_loss) as f:
    gen = check.generator()
    for N, E, k in ((7, 5, 2), (1, 6, 3), (9, 4, 4), (20, 3, 1)):
        logits = torch.randn(N, E, generator=gen, dtype=torch.float64)
        order = logits.argsort(-1, descending=True)[:, :k]
        p = logits.exp() / logits.exp().sum(1, keepdim=True)
        want = sum((order == e).sum() / N * p[:, e].mean() for e in range(E)) * E
        check.close(f"N {N}, E {E}, k {k}", f(logits, k), want)
    logits = torch.zeros(8, 6)
    logits[:, 4] = 200.0
    check.close("all tokens certain of one of 6 experts", f(logits, 1), 6.0)
    check.gradient("gradient", lambda t: f(t, 2), torch.randn(5, 4, generator=gen).double())
    check.unchanged("inputs", f, logits, 2)
### END HIDDEN TESTS

# %% [markdown]
# ## 9. Share layers ({points:share_layers}, 8 min)
#
# ALBERT uses one block twelve times. The model keeps its depth and its cost per token; its blocks
# hold a twelfth of the parameters. A gentler form shares within **groups** of neighbours.
#
# By hand: 4 blocks in 2 groups. Blocks 0 and 1 become one, blocks 2 and 3 another. The model still
# runs four blocks, and trains two.
#
# **Common mistake:** copying the weights. Copies agree until the first step of training.
#
# <details><summary>Hint 1</summary>
#
# Sharing is assigning: two places of `model.blocks` may hold the same module.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A group has `L / n_groups` blocks. Which is the first one of the group of block `i`?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `model.parameters()` gives a shared tensor once; `state_dict()` lists it under each of its names.
#
# </details>

# %% nbgrader={"solution": "share_layers"}
def share_layers(model: GPTParts, n_groups: int = 1) -> int:
    """Let neighbouring blocks share their weights, in place; return how many numbers are left.

    The L blocks of model.blocks are cut into n_groups groups of L / n_groups neighbours
    (n_groups divides L). In a group, every block becomes the group's first block itself.
    model.blocks still has L entries. The result is an int: the numbers in all
    parameters of the whole model, shared ones counted once.
    """
    ### BEGIN SOLUTION
    size = len(model.blocks) // n_groups
    for i in range(len(model.blocks)):
        model.blocks[i] = model.blocks[i - i % size]
    return sum(p.numel() for p in model.parameters())
    ### END SOLUTION


# %% nbgrader={"test": "share_layers_visible", "points": 3}
with check.question("share_layers_visible", share_layers) as f:
    # tables 3·2 + 4·2, final norm 4, head 3·2: 24 numbers; a block has 12·2² + 13·2 = 74
    config = GPTConfig(n_layers=4, d_model=2, n_heads=1, vocab_size=3, context_len=4)
    model = check.there(GPTParts, config)
    first = [model.state_dict()[f"blocks.{i}.ff_in.weight"] for i in range(4)]
    check.equal("4 blocks in 2 groups, numbers left", f(model, 2), 24 + 2 * 74)
    check.equal("depth", len(model.blocks), 4, why="shared or not, four blocks run.")
    for i in range(4):
        check.close(f"block {i}", model.state_dict()[f"blocks.{i}.ff_in.weight"], first[i - i % 2],
                    why="blocks 0 and 1 are block 0, blocks 2 and 3 are block 2.")
    check.equal("1 group, numbers left", f(check.there(GPTParts, config)), 24 + 74)

# %% nbgrader={"test": "share_layers_hidden", "points": 2}
# Hidden checks: other depths and groups, as many groups as blocks, what training would move.
### BEGIN HIDDEN TESTS
with check.question("share_layers_hidden", share_layers) as f:
    for L, n_groups in ((6, 2), (6, 3), (3, 3), (5, 1), (12, 4)):
        model = check.there(GPTParts, GPTConfig(n_layers=L, d_model=4, n_heads=2, d_ff=6,
                                                vocab_size=5, context_len=3))
        before, case = model.state_dict(), f"{L} blocks in {n_groups} groups"
        numel = sum(w.numel() for name, w in before.items() if not name.startswith("blocks"))
        block = sum(w.numel() for name, w in before.items() if name.startswith("blocks.0."))
        check.equal(f"{case}, numbers left", f(model, n_groups), numel + n_groups * block)
        check.equal(f"{case}, depth", len(model.blocks), L)
        own = {name.split(".")[1] for name, _ in model.named_parameters()
               if name.startswith("blocks.")}
        firsts = [str(i) for i in range(0, L, L // n_groups)]
        check.equal(f"{case}, blocks with parameters of their own", sorted(own), sorted(firsts))
        for name, w in model.state_dict().items():
            if name.startswith("blocks."):
                i = int(name.split(".")[1])
                name = name.replace(f"blocks.{i}.", f"blocks.{i - i % (L // n_groups)}.", 1)
            check.close(f"{case}, weights", w, before[name], scale=1.0,
                        why="of the first block of the group; the rest as before.")
### END HIDDEN TESTS

# %% [markdown]
# ## 10. Encoder and decoder ({points:encoder_decoder_forward}, 15 min)
#
# For translation or a summary the input is complete before the output begins. An **encoder** reads
# it in both directions, once. A **decoder** writes, and looks at the encoder's result through
# cross-attention.
#
# During training the decoder gets the right answer as its input, **shifted right** by one: it reads
# the start token and the answer without its last token. So at position `t` it has seen the answer
# before `t` and is asked for token `t` itself. Without the shift it would be asked for what it
# reads.
#
# By hand: the target 5, 6, 7 is read as 0, 5, 6.
#
# **Common mistake:** the padding mask the wrong way round. `source_pad` is `True` where there is
# *nothing* to see; a mask is `True` where there is.
#
# <details><summary>Hint 1</summary>
#
# Three masks: what the encoder sees of the source, what the decoder sees of the target, what the
# decoder sees of the source. Two of them are the same.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `(B, S)` becomes `(B, 1, 1, S)` with `[:, None, None]`: the same for all heads and all queries.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `F.pad(target_ids, (1, -1))` puts a 0 in front and drops the last column.
#
# </details>

# %% nbgrader={"solution": "encoder_decoder_forward"}
def encoder_decoder_forward(
    encoder: nn.Module, decoder: nn.Module, source_ids: Tensor, target_ids: Tensor,
    source_pad: Tensor,
) -> Tensor:
    """Logits for each token of the target, given the source and the target before it.

    source_ids (B, S), target_ids (B, T), source_pad (B, S) bool, True where the source is
    padding -> (B, T, V); logits [:, t] predict target_ids[:, t].
    `encoder(ids, mask)` gives a memory (B, S, C): every position sees all of the source
    that is no padding, so mask is (B, 1, 1, S). `decoder(ids, memory, mask, seen)` gives
    logits: ids is the target shifted right, with the start token 0 in front; mask (T, T)
    is causal; seen (B, 1, 1, S) says which of the memory may be seen.
    """
    ### BEGIN SOLUTION
    seen = ~source_pad[:, None, None]  # (B, 1, 1, S)
    T = target_ids.shape[1]
    causal = torch.ones(T, T, dtype=torch.bool, device=target_ids.device).tril()
    memory = encoder(source_ids, seen)  # (B, S, C)
    return decoder(F.pad(target_ids, (1, -1)), memory, causal, seen)
    ### END SOLUTION


# %% nbgrader={"test": "encoder_decoder_forward_visible", "points": 6}
with check.question("encoder_decoder_forward_visible", encoder_decoder_forward) as f:
    told = {}  # what the stand-ins below were called with

    def encoder(ids, mask):
        told.update(source=ids, source_mask=mask)
        return ids[..., None].double()

    def decoder(ids, memory, mask, seen):
        told.update(target=ids, memory=memory, mask=mask, seen=seen)
        return torch.full((1, 3, 9), 0.5)

    source, pad = torch.tensor([[8, 9, 0]]), torch.tensor([[False, False, True]])
    check.close("result", f(encoder, decoder, source, torch.tensor([[5, 6, 7]]), pad),
                torch.full((1, 3, 9), 0.5), why="the logits are what the decoder returns.")
    check.close("the encoder reads", told["source"], source)
    check.close("the encoder's mask", told["source_mask"], [[[[True, True, False]]]],
                why="(B, 1, 1, S), True where there is no padding.")
    check.close("the decoder reads", told["target"], torch.tensor([[0, 5, 6]]),
                why="the start token 0, then the target without its last token.")
    check.close("its memory", told["memory"], [[[8.0], [9.0], [0.0]]],
                why="what the encoder returned.")
    check.close("its mask", told["mask"], torch.ones(3, 3).tril().bool().tolist(), why="causal.")
    check.close("what it sees of the memory", told["seen"], [[[[True, True, False]]]],
                why="the same as for the encoder.")

# %% nbgrader={"test": "encoder_decoder_forward_hidden", "points": 4}
# Hidden checks: real modules against copies of them, padding, a target changed, lengths of 1.
### BEGIN HIDDEN TESTS
with check.question("encoder_decoder_forward_hidden", encoder_decoder_forward) as f:
    gen = check.generator()
    config = GPTConfig(n_layers=2, d_model=8, n_heads=2, d_ff=12, vocab_size=11, context_len=7)
    torch.manual_seed(1)
    encoder, decoder = Encoder(config).double(), Decoder(config).double()
    there = [check.there(kind, config).double() for kind in (Encoder, Decoder)]
    there[0].load_state_dict(encoder.state_dict())
    there[1].load_state_dict(decoder.state_dict())
    for B, S, T in ((3, 5, 4), (1, 1, 6), (2, 7, 1), (2, 4, 7)):
        source, target = (torch.randint(1, 11, (B, n), generator=gen) for n in (S, T))
        pad = torch.arange(S) >= torch.randint(1, S + 1, (B, 1), generator=gen)
        logits, case = f(*there, source, target, pad), f"B {B}, S {S}, T {T}"
        seen, causal = ~pad[:, None, None], torch.ones(T, T, dtype=torch.bool).tril()
        shifted = torch.cat([torch.zeros(B, 1, dtype=torch.long), target[:, :-1]], 1)
        want = decoder(shifted, encoder(source, seen), causal, seen)
        check.close(case, logits, want.detach())
        check.close(f"{case}, other padding", f(*there, source.where(~pad, 10), target, pad),
                    logits.detach(), why="what stands in the padding must not matter.")
        longer = torch.cat([source, source[:, :1]], 1) if S < 7 else source
        more = F.pad(pad, (0, longer.shape[1] - S), value=True)
        check.close(f"{case}, more padding", f(*there, longer, target, more), logits.detach())
    target[:, 3] = target[:, 3] % 10 + 1
    changed = f(*there, source, target, pad)
    check.close("target token 3 changed", changed[:, :4], logits[:, :4].detach(),
                why="token 3 is predicted from those before it.")
    check.unchanged("inputs", f, *there, source, target, pad)
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Scale: who can turn words round?
#
# No points here. The task is to write a word backwards, letter by letter. Two machines try it: an
# encoder-decoder through *your* `encoder_decoder_forward`, and *your* GPT, which reads the word, a
# separator, and goes on. An encoder alone can classify a word and cannot write one.
#
# S trains both for 250 steps on words of 3 to 8 letters. M does it with about 10 million parameters
# and longer words, L with the shape of GPT-2 small for 1,000 steps, in bfloat16.
#
# Before you run it: which of the two has fewer parameters, and which will be better?

# %% tags=["demo"]
from tqdm.auto import tqdm

width, depth, heads, length, steps, rows = scale.choose(
    (64, 2, 4, 8, 250, 48), (320, 8, 5, 32, 3000, 256), (768, 12, 12, 64, 1000, 64))  # fmt: skip
peak_rate = scale.choose(3e-3, 5e-4, 3e-4)
config = GPTConfig(n_layers=depth, d_model=width, n_heads=heads, context_len=16 * length,
                   vocab_size=scale.choose(28, 28, 50257))  # 0, letters 1 to 26, separator 27
draw = torch.Generator().manual_seed(0)


def words(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Words (n, length) padded with 0, where the padding is, and the words turned round.

    The turned words are padded with -100, which does not count in the loss.
    """
    n_letters = torch.randint(3, length + 1, (n, 1), generator=draw)
    pad = torch.arange(length) >= n_letters
    word = torch.randint(1, 27, (n, length), generator=draw).masked_fill(pad, 0)
    turned = word.gather(1, (n_letters - 1 - torch.arange(length)).clamp(min=0))
    return tuple(t.to(scale.device) for t in (word, pad, turned.masked_fill(pad, -100)))


def learn(name: str, modules: list[nn.Module], logits_of: Callable[..., Tensor]) -> dict:
    """Train on turned words; print and give the share of letters and of words that are right."""
    weights = [p for module in modules for p in module.to(scale.device).parameters()]
    n_weights = sum(p.numel() for p in weights)
    scale.announce(f"{name}, {n_weights:,} parameters", 16 * n_weights)
    optimizer = torch.optim.AdamW(weights, lr=peak_rate)
    for step in tqdm(range(steps), desc=name):
        optimizer.param_groups[0]["lr"] = peak_rate * min((step + 1) / 30, 2 - 2 * step / steps, 1)
        word, pad, turned = words(rows)
        with torch.autocast(scale.device, torch.bfloat16, enabled=scale.device == "cuda"):
            logits = logits_of(word, pad, turned.clamp(min=0))
        loss = F.cross_entropy(logits.float().flatten(0, 1), turned.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
    word, pad, turned = words(200)
    with torch.no_grad():
        hit = logits_of(word, pad, turned.clamp(min=0)).argmax(-1) == turned
    letters = hit[~pad].float().mean().item()
    complete = (hit | pad).all(1).float().mean().item()
    print(f"{name}: {letters:.0%} of the letters, {complete:.0%} of the words")
    return {"parameters": n_weights, "letters": letters, "words": complete}


def gpt_logits(word: Tensor, pad: Tensor, turned: Tensor) -> Tensor:
    """Your GPT reads the word, the separator and the answer so far."""
    separator = torch.full_like(word[:, :1], 27)
    return gpt(torch.cat([word, separator, turned[:, :-1]], 1))[:, length:]


rows_of_table = {}
try:
    torch.manual_seed(0)
    pair = [Encoder(config), Decoder(config)]
    rows_of_table["encoder-decoder"] = learn(
        "encoder-decoder", pair, lambda word, pad, turned: encoder_decoder_forward(
            *pair, word, turned, pad))  # fmt: skip
    gpt = GPT(config)
    init_weights(gpt, depth)
    rows_of_table["GPT"] = learn("GPT", [gpt], gpt_logits)
except NotImplementedError:
    print("Write Block, GPT, init_weights and encoder_decoder_forward first.")
if rows_of_table and scale.name != "S":
    print("Written to", scale.record("lab02_gpt", rows_of_table))
