# %% [markdown]
# # Lab 3: count
#
# How large is this model, will it fit, how long does it train, and what does it cost? All four
# answers follow from a handful of sizes and a few multiplications. In this lab you write them as
# sixteen functions of one to ten lines, count five families of models to the last parameter, and
# then audit a table of training costs that circulates.
#
# **{points}, about 3 hours.** The chapter behind it is
# [Counting](../../book/ch02_counting.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. A wrong count is first located
# in a part of the model, then explained by the term that was left out or counted twice. Hidden
# checks run when the lab is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - Letters: `C` is `d_model`, `D` is `d_head`, `H` is `n_heads`, `Hkv` is `n_kv_heads`, `L` is
#   `n_layers`, `V` is `vocab_size`.
# - Results are plain Python numbers. A count is an exact `int`.
# - Units are those of the docstring: bytes, seconds, hours or days. GB is 10⁹ bytes, GiB 2³⁰.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
from torch import Tensor, nn

import glassbox
from glassbox import check, counting

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab03_counting")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# The course has its own way to count: `glassbox.counting` lists every tensor of a model and adds up
# their sizes. The checks compare your formula with that list. `same_count` does it part by part,
# so that a mistake in the norms is not looked for in the attention. If one single term explains the
# difference, it names the term; if several terms have that size, it names them all.
#
# You are asked for formulas. An answer that calls `glassbox.counting` is shown to your teacher.

# %% nbgrader={"locked": "compare"}
def same_count(case: str, got: object, model: counting.Model) -> None:
    """Compare a count with the course's part by part; say which single term explains it."""
    want = counting.count(model)
    if not isinstance(got, dict) or set(got) != set(want):
        raise check.CheckFailed(case, f"got {got!r:.70}", f"a dict of {', '.join(want)}.")
    for part, value in got.items():
        if type(value) is not int:
            raise check.CheckFailed(f"{case}, {part}", f"got {value!r}", "a count is an int.")
    wrong = [part for part in want if got[part] != want[part] and part != "total"]
    seen = [f"{part} is {got[part]:,}, expected {want[part]:,} "
            f"({abs(got[part] - want[part]):,} too {'many' if got[part] > want[part] else 'few'})"
            for part in wrong or ["total"]]  # fmt: skip
    if wrong or got["total"] != want["total"]:
        why = reasons(got, wrong, model) if wrong else "the total is not the sum of the parts."
        raise check.CheckFailed(case, "; ".join(seen), why)


def reasons(got: dict[str, int], wrong: list[str], model: counting.Model) -> str:
    """What explains wrong parts: alternatives joined by "or", parts with a cause each by ";"."""
    if model.d_model < 64:
        return ""  # among small numbers too many are equal by chance
    by_part: dict[str, list[str]] = {}
    for text in counting.explain(got, model):
        part = text.split(":")[0]
        by_part.setdefault(part if part in wrong else "all", []).append(text)
    if "all" not in by_part and set(by_part) != set(wrong):
        return "no single term explains it."
    return f"that fits: {'; '.join(' or '.join(texts) for texts in by_part.values())}."


# %% [markdown]
# `transformers` knows the shapes of all public models. On torch's **meta device** a tensor has a
# shape and no memory, so a model of 175 billion parameters is built in seconds. The hidden checks
# draw sizes that no paper has and compare your count with the library's.

# %% nbgrader={"locked": "library"}
try:
    import peft
    import transformers
except ImportError:
    print("No transformers or peft here. You can go on; to compare: pip install transformers peft")


def numbers_in(kind: str, **sizes: object) -> int:
    """How many numbers a model of the library holds, shared ones counted once; needs no memory."""
    name = kind.removesuffix("Model").split("For")[0].removesuffix("LMHead")
    given = {"bos_token_id": None, "eos_token_id": None} | sizes
    with torch.device("meta"):
        model = getattr(transformers, kind)(getattr(transformers, f"{name}Config")(**given))
    return sum(tensor.numel() for tensor in model.parameters())


def draw(gen: torch.Generator, *ranges: tuple[int, int]) -> list[int]:
    """One whole number from each range, the upper end excluded."""
    return [torch.randint(low, high, (), generator=gen).item() for low, high in ranges]


# %% [markdown]
# ## 1. GPT-2 ({points:count_gpt2}, 20 min)
#
# A GPT has two tables, `L` equal blocks, a final norm and a head. Write down each tensor with its
# shape, multiply, and add. The six parts are kept apart so that you can see what grows with what:
# the tables with `V`, everything in a block with `C²`.
#
# By hand, with `L` = 1, `C` = 2, `V` = 3 and 4 positions: tables of 3·2 and 4·2; four attention
# maps of 2·2 + 2 each, 24; feed-forward maps 2·8 + 8 and 8·2 + 2, 42; three norms of 4, 12. With a
# tied head the total is 92.
#
# **Common mistake:** multiplying by the number of heads. Heads cut `C` into slices; the matrices
# stay as they are. That is why `n_heads` is no argument here.
#
# <details><summary>Hint 1</summary>
#
# A map from `a` to `b` numbers with a bias has `a * b + b` parameters.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A block has four maps from `C` to `C`, one from `C` to `4 C`, one from `4 C` to `C`, and two
# norms. A LayerNorm has a scale and a shift for each of `C` columns.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Make a dict of the six parts; the total is the sum of its values. `tied` decides about `head`
# alone.
#
# </details>

# %% nbgrader={"solution": "count_gpt2", "calls_forbidden": ["counting", "numbers_in", "numel"]}
def count_gpt2(
    n_layers: int, d_model: int, vocab_size: int, context_len: int, tied: bool = True
) -> dict[str, int]:
    """How many parameters a GPT-2 has, by part.

    Keys: embedding, position, attention, feed_forward, norm, head, total. An absent part is 0.
    d_ff is 4 C. Every linear map in a block has a bias, the head has none. LayerNorms, with scale
    and shift, stand twice in each block and once after the last. A tied head is the token
    table itself and counts 0. GPT-2 small has 124,439,808.
    """
    ### BEGIN SOLUTION
    C = d_model
    square, wide = C * C + C, 8 * C * C + 5 * C
    by_part = {"embedding": vocab_size * C, "position": context_len * C,
               "attention": 4 * square * n_layers, "feed_forward": wide * n_layers,
               "norm": 2 * C * (2 * n_layers + 1), "head": 0 if tied else C * vocab_size}
    return {**by_part, "total": sum(by_part.values())}
    ### END SOLUTION


# %% nbgrader={"test": "count_gpt2_visible", "points": 6}
with check.question("count_gpt2_visible", count_gpt2) as f:
    for name in ("GPT-2 small", "GPT-2 medium", "GPT-2 large", "GPT-2 xl", "GPT-3 XL",
                 "GPT-3 6.7B", "GPT-3 175B"):
        m = counting.MODELS[name]
        same_count(name, f(m.n_layers, m.d_model, m.vocab_size, m.context_len), m)
    untied = f(12, 768, 50257, 1024, tied=False)
    same_count("GPT-2 small, untied head", untied, counting.MODELS["GPT-2 small, untied head"])
    check.equal("GPT-2 small", f(12, 768, 50257, 1024)["total"], 124_439_808)
    tiny = counting.Model("1 layer, C 2", "gpt2", 1, 2, 1, 3, 4)
    same_count("1 layer, C 2, V 3, 4 positions", f(1, 2, 3, 4), tiny)

# %% nbgrader={"test": "count_gpt2_hidden", "points": 4}
# Hidden checks: random sizes, also odd ones, against the transformers library.
### BEGIN HIDDEN TESTS
with check.question("count_gpt2_hidden", count_gpt2) as f:
    gen = check.generator()
    for case in range(1, 7):
        L, C, V, P = draw(gen, (1, 6), (64, 300), (300, 4000), (10, 900))
        tied = case % 3 != 0
        model = counting.Model("drawn", "gpt2", L, C, 1, V, P, tied=tied)
        got = f(L, C, V, P) if case == 1 else f(L, C, V, P, tied)
        same_count(f"random sizes {case}", got, model)
        want = numbers_in("GPT2LMHeadModel", n_layer=L, n_embd=C, n_head=1, vocab_size=V,
                          n_positions=P, tie_word_embeddings=tied)
        check.equal(f"random sizes {case}, as in the library", got["total"], want)
### END HIDDEN TESTS

# %% [markdown]
# ## 2. BERT ({points:count_bert}, 10 min)
#
# BERT-base has blocks of the same sizes as GPT-2 small, and 15 million parameters fewer. The
# difference is at both ends. At the bottom: a smaller vocabulary, 512 positions, two rows for
# "first or second sentence" and a norm. At the top, two things that may be there or not.
#
# - The **pooler** is one more map from `C` to `C`, applied to the first token.
# - The **MLM head** guesses masked words: a map from `C` to `C`, a norm, then the token table once
#   more as output matrix, with a bias for each entry of the vocabulary.
#
# So "110 million" is 109,482,240 with the pooler and 108,891,648 without it. Both are in use.
#
# **Common mistake:** forgetting the two sentence rows or the norm after the embeddings. Both are
# `2 C`, 1,536 parameters in BERT-base: a total cannot tell which one is missing, the parts can.
#
# <details><summary>Hint 1</summary>
#
# The blocks are those of GPT-2, with `d_ff` free. There is no final norm: BERT is post-norm.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `norm` has `2 L + 1` LayerNorms. The norm of the MLM head belongs to `head`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A truth value counts as 0 or 1: `pooler * n` is `n` or 0.
#
# </details>

# %% nbgrader={"solution": "count_bert", "calls_forbidden": ["counting", "numbers_in", "numel"]}
def count_bert(
    n_layers: int, d_model: int, d_ff: int, vocab_size: int, context_len: int,
    pooler: bool = True, mlm_head: bool = False,
) -> dict[str, int]:
    """How many parameters a BERT has, by part.

    Keys and rules as in count_gpt2: biases everywhere, LayerNorm with scale and shift.
    embedding: the token table and two rows of token types. norm: one after the embeddings and two
    in each block. head: pooler and MLM head, each if asked for, both together if both are. The
    MLM head is a map C to C with bias, a LayerNorm and V output biases; its output matrix is
    the token table and counts 0.
    """
    ### BEGIN SOLUTION
    C, dense = d_model, d_model * (d_model + 1)
    found = {"embedding": (vocab_size + 2) * C, "position": context_len * C,
             "attention": 4 * dense * n_layers,
             "feed_forward": (2 * C * d_ff + d_ff + C) * n_layers,
             "norm": 2 * C + 4 * C * n_layers,
             "head": pooler * dense + mlm_head * (dense + 2 * C + vocab_size)}
    return dict(found, total=sum(found.values()))
    ### END SOLUTION


# %% nbgrader={"test": "count_bert_visible", "points": 3}
with check.question("count_bert_visible", count_bert) as f:
    base, sizes = counting.MODELS["BERT-base"], (12, 768, 3072, 30522, 512)
    same_count("BERT-base", f(*sizes), base)
    same_count("BERT-base without pooler", f(*sizes, False), replace(base, pooler=False))
    same_count("BERT-base with an MLM head, no pooler", f(*sizes, False, True),
               counting.MODELS["BERT-base MLM"])
    same_count("BERT-base with both", f(*sizes, mlm_head=True), replace(base, mlm_head=True))
    same_count("BERT-large", f(24, 1024, 4096, 30522, 512), counting.MODELS["BERT-large"])
    totals = [f(*sizes)["total"], f(*sizes, False)["total"], f(*sizes, False, True)["total"]]
    check.equal("three totals", totals, [109_482_240, 108_891_648, 109_514_298])
    tiny = counting.Model("1 layer, C 2", "bert", 1, 2, 1, 3, 4, d_ff=5)
    same_count("1 layer, C 2, d_ff 5, V 3, 4 positions", f(1, 2, 5, 3, 4), tiny)

# %% nbgrader={"test": "count_bert_hidden", "points": 2}
# Hidden checks: random sizes and both flags against the transformers library.
### BEGIN HIDDEN TESTS
with check.question("count_bert_hidden", count_bert) as f:
    gen = check.generator()
    for pooler, mlm in ((True, False), (False, False), (False, True), (True, True)):
        L, C, d_ff, V, P = draw(gen, (1, 6), (64, 300), (10, 900), (300, 4000), (10, 900))
        case = f"random sizes, pooler {pooler}, MLM head {mlm}"
        got = f(L, C, d_ff, V, P, pooler, mlm)
        same_count(case, got, counting.Model("drawn", "bert", L, C, 1, V, P, d_ff=d_ff,
                                             pooler=pooler, mlm_head=mlm))
        sizes = {"num_hidden_layers": L, "hidden_size": C, "intermediate_size": d_ff,
                 "num_attention_heads": 1, "vocab_size": V, "max_position_embeddings": P}
        if mlm:  # the library's pretraining model has a second head, of 2 C + 2, beside both
            want = (numbers_in("BertForPreTraining", **sizes) - 2 * C - 2 if pooler
                    else numbers_in("BertForMaskedLM", **sizes))
        else:
            want = numbers_in("BertModel", **sizes) - (not pooler) * (C * C + C)
        check.equal(f"{case}, as in the library", got["total"], want)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Llama and Mistral ({points:count_llama}, 20 min)
#
# Five things have changed since GPT-2, and each one changes the count.
#
# - No biases. RMSNorm has a scale and no shift.
# - Positions enter by rotation (RoPE), so there is no position table.
# - The feed-forward layer is gated (SwiGLU): **three** matrices, gate, up and down.
# - Several query heads share a key and a value head (GQA): K and V have `Hkv * D` columns.
# - The head is a matrix of its own, except in small models.
#
# By hand, with `C` = 4, two heads of 3 and one key head: query 4·6, key 4·3, value 4·3, output 6·4,
# together 72. The heads need not add up to `C`.
#
# **Common mistake:** writing `C²` for the query and the output. That holds only while `H D = C`.
#
# <details><summary>Hint 1</summary>
#
# Write the shapes of Q, K, V and O side by side. Two of them have the same size, and the other two.
#
# </details>
# <details><summary>Hint 2</summary>
#
# If `d_head` is None it is `d_model // n_heads`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Norms: two in each block, one at the end, `C` numbers each.
#
# </details>

# %% nbgrader={"solution": "count_llama", "calls_forbidden": ["counting", "numbers_in", "numel"]}
def count_llama(
    n_layers: int, d_model: int, d_ff: int, vocab_size: int, n_heads: int, n_kv_heads: int,
    d_head: int | None = None, tied: bool = False,
) -> dict[str, int]:
    """How many parameters a Llama or Mistral has, by part.

    Keys as in count_gpt2. No biases, no position table; two RMSNorms in each block and one after
    the last, each of C numbers; a gated feed-forward layer of three matrices. d_head None
    means C / H; H * d_head may differ from C. A tied head counts 0.
    Llama-2 7B has 6,738,415,616.
    """
    ### BEGIN SOLUTION
    C, D = d_model, d_head or d_model // n_heads
    block = {"attention": 2 * C * D * (n_heads + n_kv_heads), "feed_forward": 3 * C * d_ff}
    counts = {part: size * n_layers for part, size in block.items()}
    counts |= {"embedding": vocab_size * C, "position": 0, "norm": (2 * n_layers + 1) * C,
               "head": 0 if tied else vocab_size * C}
    return counts | {"total": sum(counts.values())}
    ### END SOLUTION


# %% nbgrader={"test": "count_llama_visible", "points": 6}
with check.question("count_llama_visible", count_llama) as f:
    for m in [m for m in counting.MODELS.values() if m.family == "llama"]:  # 12 of them
        same_count(m.name, f(m.n_layers, m.d_model, m.d_ff, m.vocab_size, m.n_heads, m.n_kv_heads,
                             tied=m.tied), m)
    check.equal("Llama-3 8B", f(32, 4096, 14336, 128256, 32, 8)["total"], 8_030_261_248)
    tiny = counting.Model("1 layer", "llama", 1, 4, 2, 5, d_ff=7, n_kv_heads=1, d_head=3)
    same_count("1 layer, C 4, two heads of 3, one key head", f(1, 4, 7, 5, 2, 1, 3), tiny)

# %% nbgrader={"test": "count_llama_hidden", "points": 4}
# Hidden checks: random sizes, shared key heads, heads wider or narrower than C; the library.
### BEGIN HIDDEN TESTS
with check.question("count_llama_hidden", count_llama) as f:
    gen = check.generator()
    for case in range(1, 8):
        L, Hkv, share, D, d_ff, V = draw(
            gen, (1, 6), (1, 5), (1, 5), (8, 33), (10, 900), (300, 4000))
        H, D, given = Hkv * share, 2 * D, case > 2  # the library turns pairs of columns: D even
        C = H * (D if not given else draw(gen, (8, 65))[0])
        model = counting.Model("drawn", "llama", L, C, H, V, d_ff=d_ff, n_kv_heads=Hkv,
                               d_head=D if given else None, tied=case % 2 == 0)
        got = f(L, C, d_ff, V, H, Hkv, D if given else None, case % 2 == 0)
        same_count(f"random sizes {case}", got, model)
        want = numbers_in("LlamaForCausalLM", num_hidden_layers=L, hidden_size=C, vocab_size=V,
                          num_attention_heads=H, num_key_value_heads=Hkv, intermediate_size=d_ff,
                          head_dim=D if given else None, tie_word_embeddings=case % 2 == 0)
        check.equal(f"random sizes {case}, as in the library", got["total"], want)
### END HIDDEN TESTS

# %% [markdown]
# ## 4. T5 ({points:count_t5}, 10 min)
#
# T5 is an encoder and a decoder. A decoder block has a second attention, which looks at the
# encoder's result, and a norm for it. There are no biases at all. Positions are learned numbers for
# *distances*: 32 buckets of distances with a number for each head, once per stack, in its first
# block.
#
# By hand, with `L` = 1, `C` = 2, one head of 3, `d_ff` = 5 and 4 buckets: an attention has 4·2·3 =
# 24 and there are three of them; a feed-forward layer has 2·2·5 = 20, twice; norms of 2: two and
# one in the encoder, three and one in the decoder, 14; positions 2·4·1 = 8.
#
# **Common mistake:** one attention in the decoder, or six norms where there are seven.
#
# <details><summary>Hint 1</summary>
#
# Count attentions first: how many does a pair of encoder block and decoder block have?
#
# </details>
# <details><summary>Hint 2</summary>
#
# A norm stands before every attention and every feed-forward layer, and one at the end of each
# stack.
#
# </details>
# <details><summary>Hint 3</summary>
#
# All four attention maps have `C * H * D` numbers. The head is tied.
#
# </details>

# %% nbgrader={"solution": "count_t5", "calls_forbidden": ["counting", "numbers_in", "numel"]}
def count_t5(
    n_layers: int, d_model: int, d_ff: int, d_head: int, n_heads: int, vocab_size: int,
    n_buckets: int = 32,
) -> dict[str, int]:
    """How many parameters a T5 has, by part.

    Keys as in count_gpt2. n_layers is the depth of each of the two stacks. No biases; RMSNorms of
    C numbers; two feed-forward matrices; attention maps between C and H * D. Both stacks use
    one token table, and the head is tied to it. position: in each stack one table of n_buckets x H.
    T5-small has 60,506,624.
    """
    ### BEGIN SOLUTION
    attention = 4 * d_model * d_head * n_heads
    answer = {"embedding": vocab_size * d_model, "position": 2 * n_buckets * n_heads,
              "attention": 3 * attention * n_layers, "feed_forward": 4 * d_model * d_ff * n_layers,
              "norm": (5 * n_layers + 2) * d_model, "head": 0}
    return {**answer, "total": sum(answer.values())}
    ### END SOLUTION


# %% nbgrader={"test": "count_t5_visible", "points": 3}
with check.question("count_t5_visible", count_t5) as f:
    for name in ("T5-small", "T5-base", "T5-large", "T5-11B", "T5-3B"):
        m = counting.MODELS[name]
        same_count(name, f(m.n_layers, m.d_model, m.d_ff, m.d_head, m.n_heads, m.vocab_size), m)
    check.equal("T5-small", f(6, 512, 2048, 64, 8, 32128)["total"], 60_506_624)
    tiny = counting.Model("1 layer", "t5", 1, 2, 1, 6, d_ff=5, d_head=3, n_buckets=4)
    same_count("1 + 1 layers, C 2, one head of 3, 4 buckets", f(1, 2, 5, 3, 1, 6, 4), tiny)

# %% nbgrader={"test": "count_t5_hidden", "points": 2}
# Hidden checks: random sizes against the transformers library.
### BEGIN HIDDEN TESTS
with check.question("count_t5_hidden", count_t5) as f:
    gen = check.generator()
    for case in range(1, 5):
        L, C, d_ff, D, H, V, buckets = draw(
            gen, (1, 5), (64, 300), (10, 900), (3, 40), (1, 9), (300, 4000), (2, 40))
        model = counting.Model("drawn", "t5", L, C, H, V, d_ff=d_ff, d_head=D, n_buckets=buckets)
        got = f(L, C, d_ff, D, H, V, buckets)
        same_count(f"random sizes {case}", got, model)
        want = numbers_in("T5ForConditionalGeneration", num_layers=L, d_model=C, d_ff=d_ff, d_kv=D,
                          num_heads=H, vocab_size=V, relative_attention_num_buckets=buckets,
                          feed_forward_proj="relu")
        check.equal(f"random sizes {case}, as in the library", got["total"], want)
### END HIDDEN TESTS

# %% [markdown]
# ## 5. Experts ({points:count_moe}, 10 min)
#
# Mixtral replaces the feed-forward layer of Llama by `E` of them, the experts, and a small map from
# `C` to `E` that chooses `k` for each token. It has two sizes. Memory must hold **all** parameters;
# the work per token is that of the **active** ones.
#
# By hand: with 8 experts of 10 parameters, 2 of them chosen, and 5 parameters elsewhere, the model
# has 85 and a token meets 25.
#
# **Common mistake:** 46.7 billion · 2/8. Attention, tables and norms are never chosen; they are
# always on.
#
# <details><summary>Hint 1</summary>
#
# Write the count without experts first, then what one expert has.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The map that chooses has `C * E` numbers in each block, and no bias. It is always on.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Total and active differ in one factor: `n_experts` or `k`.
#
# </details>

# %% nbgrader={"solution": "count_moe", "calls_forbidden": ["counting", "numbers_in", "numel"]}
def count_moe(
    n_layers: int, d_model: int, d_ff: int, vocab_size: int, n_heads: int, n_kv_heads: int,
    n_experts: int, k: int,
) -> tuple[int, int]:
    """The parameters of a Mixtral: (total, active), where active are those that one token meets.

    As a Llama with an untied head and heads of C / H, but each block has n_experts
    feed-forward layers of three matrices and a router, a map from C to n_experts without bias.
    A token goes through k experts. Both tables are active. Mixtral 8x7B: 46,702,792,704 and
    12,879,925,248.
    """
    ### BEGIN SOLUTION
    C, D = d_model, d_model // n_heads
    attention, expert = 2 * C * D * (n_heads + n_kv_heads), 3 * C * d_ff
    always = n_layers * (attention + n_experts * C + 2 * C) + C + 2 * vocab_size * C
    return always + n_layers * n_experts * expert, always + n_layers * k * expert
    ### END SOLUTION


# %% nbgrader={"test": "count_moe_visible", "points": 3}
with check.question("count_moe_visible", count_moe) as f:
    total, active = f(32, 4096, 14336, 32000, 32, 8, 8, 2)
    mixtral = counting.MODELS["Mixtral 8x7B"]
    found = " or ".join(counting.explain(total, mixtral))
    check.equal("Mixtral 8x7B, total", total, 46_702_792_704, why=found and f"that fits: {found}.")
    check.equal("Mixtral 8x7B, active", active, 12_879_925_248)
    # tables 2·3·4; attention 4·4 · 2 + 4·2 · 2, router 4·2, norms 2·4 and 4; an expert has 3·4·5
    check.equal("1 layer, C 4, 2 heads, 1 key head, 1 of 2 experts",
                list(f(1, 4, 5, 3, 2, 1, 2, 1)), [24 + 48 + 8 + 12 + 120, 24 + 48 + 8 + 12 + 60])

# %% nbgrader={"test": "count_moe_hidden", "points": 2}
# Hidden checks: random sizes against the transformers library; all experts chosen; one expert.
### BEGIN HIDDEN TESTS
with check.question("count_moe_hidden", count_moe) as f:
    gen = check.generator()
    for case in range(1, 6):
        L, Hkv, share, D, d_ff, V, E = draw(
            gen, (1, 5), (1, 4), (1, 4), (1, 5), (1, 90), (2, 300), (2 - case % 2, 9))
        H, k = Hkv * share, 1 + draw(gen, (0, E))[0]
        C = 2 * H * D
        total, active = f(L, C, d_ff, V, H, Hkv, E, k)
        want = numbers_in("MixtralForCausalLM", num_hidden_layers=L, hidden_size=C, vocab_size=V,
                          num_attention_heads=H, num_key_value_heads=Hkv, intermediate_size=d_ff,
                          num_local_experts=E, num_experts_per_tok=k)
        check.equal(f"random sizes {case}, as in the library", total, want)
        model = counting.Model("drawn", "mixtral", L, C, H, V, d_ff=d_ff, n_kv_heads=Hkv,
                               n_experts=E, k=k)
        check.equal(f"random sizes {case}, active", active, counting.active(model))
        both = f(L, C, d_ff, V, H, Hkv, E, E)
        check.equal(f"random sizes {case}, all experts chosen", both[0], both[1])
### END HIDDEN TESTS

# %% [markdown]
# ## 6. LoRA ({points:count_lora}, 5 min)
#
# LoRA freezes a matrix of shape `(a, b)` and learns a change of low rank beside it: a matrix from
# `a` to `r` numbers and one from `r` to `b`. For small `r` that is a small part of `a · b`.
#
# By hand: a matrix of 10 × 20 has 200 numbers; with rank 2 you train 2·10 + 2·20 = 60.
#
# <details><summary>Hint 1</summary>
#
# Two matrices for each adapted one: `a x r` and `r x b`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The original matrix is frozen and does not count.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A sum over the shapes, with a generator.
#
# </details>

# %% nbgrader={"solution": "count_lora", "calls_forbidden": ["counting", "get_peft_model"]}
def count_lora(shapes: list[tuple[int, int]], rank: int) -> int:
    """How many numbers LoRA trains if it adapts each matrix of a list with this rank.

    shapes holds (in, out) of each adapted matrix, one entry for each matrix, equal or not. The
    matrices themselves are frozen and do not count; LoRA has no biases. No matrix: 0.
    """
    ### BEGIN SOLUTION
    return sum(rank * (a + b) for a, b in shapes)
    ### END SOLUTION


# %% nbgrader={"test": "count_lora_visible", "points": 3}
with check.question("count_lora_visible", count_lora) as f:
    check.equal("one matrix 10 x 20, rank 2", f([(10, 20)], 2), 60, why="2·10 + 2·20.")
    check.equal("two of them", f([(10, 20), (10, 20)], 2), 120, why="each has its own two.")
    check.equal("Llama-2 7B, query and value, rank 16", f([(4096, 4096)] * 64, 16), 8_388_608)
    check.equal("Llama-3 8B, query and value", f([(4096, 4096), (4096, 1024)] * 32, 16), 6_815_744)

# %% nbgrader={"test": "count_lora_hidden", "points": 2}
# Hidden checks: random shapes and ranks against the peft library; an empty list.
### BEGIN HIDDEN TESTS
with check.question("count_lora_hidden", count_lora) as f:
    gen = check.generator()
    for case in range(1, 5):
        shapes = [tuple(draw(gen, (1, 60), (1, 60))) for _ in range(draw(gen, (2, 6))[0])]
        rank = draw(gen, (1, 9))[0]
        with torch.device("meta"):
            maps = nn.ModuleList(nn.Linear(a, b) for a, b in shapes)
            model = peft.get_peft_model(maps, peft.LoraConfig(
                r=rank, target_modules=[str(i) for i in range(len(shapes))]))
        want = sum(p.numel() for p in model.parameters() if p.requires_grad)
        check.equal(f"random shapes {case}, as in the library", f(shapes, rank), want)
    check.equal("no matrix", f([], 4), 0)
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Memory of training ({points:training_memory}, 15 min)
#
# The usual recipe of mixed precision keeps weights and gradients in 16 bits, 2 bytes each. AdamW
# adds three numbers in 32 bits for each trained weight: an exact copy of it and the two averages
# `m` and `v`, 12 bytes. Together **16 bytes for each parameter**, before a single token is read.
#
# With several GPUs each could hold a copy of everything, which is wasteful. ZeRO shares it out:
# stage 1 the optimizer's 12 bytes, stage 2 the gradients as well, stage 3 the weights as well.
#
# By hand: 7 billion parameters need 112 GB. On 8 GPUs with stage 1 each holds 2 + 2 + 12/8 = 5.5
# bytes per parameter, 38.5 GB.
#
# A frozen weight has no gradient and no optimizer state. That is what makes LoRA cheap.
#
# **Common mistake:** counting the weights alone. That is the memory of *inference*.
#
# <details><summary>Hint 1</summary>
#
# First without ZeRO: which of the three terms uses all parameters, which the trained ones?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Then divide each term by `n_gpus`, or not: the optimizer from stage 1 on, gradients from 2,
# weights from 3.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `n_trainable or n_params` is wrong: 0 is a legal number of trained parameters.
#
# </details>

# %% nbgrader={"solution": "training_memory", "calls_forbidden": ["counting"]}
def training_memory(
    n_params: int, zero_stage: int = 0, n_gpus: int = 1, n_trainable: int | None = None
) -> dict[str, float]:
    """Bytes that one GPU holds in training, before activations: weights, grads, optimizer, total.

    2 bytes per parameter for weights, 2 for gradients, 12 for AdamW. n_trainable is how many of
    the n_params are trained; None means all, 0 is legal. Frozen ones have weights alone. ZeRO
    shares evenly: stage 1 the optimizer, 2 also gradients, 3 also all weights, frozen too.
    Stage 0: each GPU holds everything.
    """
    ### BEGIN SOLUTION
    learned = n_params if n_trainable is None else n_trainable
    whole = {"weights": 2 * n_params, "grads": 2 * learned, "optimizer": 12 * learned}
    first = {"weights": 3, "grads": 2, "optimizer": 1}  # the stage from which it is shared
    held = {name: size / n_gpus if zero_stage >= first[name] else float(size)
            for name, size in whole.items()}
    return {**held, "total": sum(held.values())}
    ### END SOLUTION


# %% nbgrader={"locked": "states"}
def same_bytes(case: str, got: object, GB: list[float], why: str) -> None:
    """Compare weights, grads, optimizer and their total, given in GB, one after the other."""
    names = ("weights", "grads", "optimizer", "total")
    if not isinstance(got, dict) or set(got) != set(names):
        raise check.CheckFailed(case, f"got {got!r:.70}", f"a dict of {', '.join(names)}.")
    for name, value in zip(names, [*GB, sum(GB)], strict=True):
        check.close(f"{case}, {name}", got[name], value * 1e9, why=why, scale=1.0)


# %% nbgrader={"test": "training_memory_visible", "points": 6}
with check.question("training_memory_visible", training_memory) as f:
    n = 7_000_000_000
    same_bytes("7e9 parameters", f(n), [14, 14, 84], "2 + 2 + 12 bytes each, 112 GB.")
    same_bytes("stage 1, 8 GPUs", f(n, 1, 8), [14, 14, 10.5], "the optimizer is shared by 8.")
    same_bytes("stage 2, 8 GPUs", f(n, 2, 8), [14, 1.75, 10.5], "and the gradients.")
    same_bytes("stage 3, 8 GPUs", f(n, 3, 8), [1.75, 1.75, 10.5], "and the weights.")
    same_bytes("no ZeRO, 8 GPUs", f(n, 0, 8), [14, 14, 84], "each GPU holds everything.")
    same_bytes("1e7 of 7e9 trained", f(n, n_trainable=10**7), [14, 0.02, 0.12],
               "all weights; gradients and optimizer of those that are trained.")
    same_bytes("1e7 of 7e9 trained, stage 3, 8 GPUs", f(n, 3, 8, 10**7), [1.75, 0.0025, 0.015],
               "frozen weights are shared too.")
    same_bytes("nothing trained", f(n, n_trainable=0), [14, 0, 0], "the weights are left.")

# %% nbgrader={"test": "training_memory_hidden", "points": 4}
# Hidden checks: random sizes, every stage, any number of GPUs, some or none of the weights trained.
### BEGIN HIDDEN TESTS
with check.question("training_memory_hidden", training_memory) as f:
    gen = check.generator()
    for stage in (0, 1, 2, 3, 1, 2, 3):
        n, g, part = draw(gen, (1000, 10**9), (1, 70), (0, 1000))
        for trained in (None, 0, part):
            want = counting.memory(n, stage, g, trained)
            same_bytes(f"random sizes, stage {stage}, {'all' if trained is None else trained} "
                       "trained", f(n, stage, g, trained),
                       [want[name] / 1e9 for name in ("weights", "grads", "optimizer")], "")
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Memory of activations ({points:activation_memory}, 8 min)
#
# What the forward pass computes is kept until the backward pass has used it. For a GPT block in 16
# bits that is about 34 bytes per token and column, and 5 bytes for each of the `B · H · T²`
# attention scores (Korthikanti and others, 2022):
#
# $$\text{bytes} = L\,(34\,B\,T\,C + 5\,B\,H\,T^2)$$
#
# Two tricks remove most of it. A **fused** kernel never stores the scores (`flash`).
# **Checkpointing** keeps only the input of each block, 2 bytes per token and column, and computes
# the rest a second time.
#
# By hand: GPT-2 small with 8 texts of 1,024 tokens: 8.02 GiB, fused 2.39 GiB, checkpointed 0.14.
#
# **Common mistake:** 8.02 GiB is 8.61 GB. Mixing the two is an error of 7.4 %.
#
# <details><summary>Hint 1</summary>
#
# Two terms; each flag removes something from them.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `flash` drops the second term, `checkpoint` replaces both.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Check `checkpoint` first and return `2 B T C` for each layer.
#
# </details>

# %% nbgrader={"solution": "activation_memory", "calls_forbidden": ["counting"]}
def activation_memory(
    batch: int, n_tokens: int, n_layers: int, d_model: int, n_heads: int,
    flash: bool = False, checkpoint: bool = False,
) -> float:
    """Bytes of activations that a training step keeps, for `batch` texts of `n_tokens` tokens.

    In each layer 34 bytes per token and column of d_model, and 5 for each of the B H T² scores.
    flash: the scores are not kept. checkpoint: 2 bytes per token and column in each layer and
    nothing else, with and without flash.
    """
    ### BEGIN SOLUTION
    columns = batch * n_tokens * d_model
    scores = 0 if flash else batch * n_heads * n_tokens**2
    kept = 2 * columns if checkpoint else 34 * columns + 5 * scores
    return float(n_layers * kept)
    ### END SOLUTION


# %% nbgrader={"test": "activation_memory_visible", "points": 3}
with check.question("activation_memory_visible", activation_memory) as f:
    check.close("1 text of 2 tokens, 1 layer, C 3, 1 head", f(1, 2, 1, 3, 1), 224,
                why="34·2·3 + 5·4.")
    check.close("the same with flash", f(1, 2, 1, 3, 1, True), 204, why="34·2·3 is left.")
    GiB, small = 2**30, (8, 1024, 12, 768, 12)
    check.close("GPT-2 small, 8 x 1,024, in GiB", f(*small) / GiB, 8.016, rel=2e-3)
    check.close("it with flash", f(*small, flash=True) / GiB, 2.391, rel=2e-3,
                why="34 L B T C is left.")
    check.close("with checkpointing", f(*small, checkpoint=True) / GiB, 0.1406, rel=2e-3,
                why="2 L B T C is left.")
    check.close("with both", f(*small, True, True) / GiB, 0.1406, rel=2e-3,
                why="checkpointing keeps the inputs of blocks, nothing else.")

# %% nbgrader={"test": "activation_memory_hidden", "points": 2}
# Hidden checks: random sizes with each pair of flags.
### BEGIN HIDDEN TESTS
with check.question("activation_memory_hidden", activation_memory) as f:
    gen = check.generator()
    for flash in (False, True):
        for checkpoint in (False, True):
            B, T, L, H, D = draw(gen, (1, 9), (1, 3000), (1, 30), (1, 20), (1, 90))
            model = counting.Model("drawn", "gpt2", L, H * D, H, 9, T)
            check.close(f"random sizes, flash {flash}, checkpoint {checkpoint}",
                        f(B, T, L, H * D, H, flash, checkpoint),
                        counting.activations(model, B, T, flash, checkpoint))
### END HIDDEN TESTS

# %% [markdown]
# ## 9. The KV cache ({points:kv_cache_bytes}, 5 min)
#
# While a model writes, it keeps the key and the value of every token so far, in every layer, for
# every key head. For Llama-3 8B that is 2 · 32 · 8 · 128 numbers of 2 bytes: 131,072 bytes **per
# token**. A text of 8,192 tokens takes 1 GiB, and 32 customers take 32.
#
# **Common mistake:** counting the query heads. Sharing key heads was invented to make this smaller.
#
# <details><summary>Hint 1</summary>
#
# One token, one layer, one key head: how many numbers?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `D` numbers for the key and `D` for the value.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A product of seven factors, one of them 2.
#
# </details>

# %% nbgrader={"solution": "kv_cache_bytes", "calls_forbidden": ["counting"]}
def kv_cache_bytes(
    batch: int, n_tokens: int, n_layers: int, n_kv_heads: int, d_head: int,
    bytes_per_value: int = 2,
) -> int:
    """Bytes of the keys and values of `batch` texts of `n_tokens` tokens each, an exact int.

    In every layer a key and a value of d_head numbers for each of n_kv_heads heads and each token.
    """
    ### BEGIN SOLUTION
    return 2 * batch * n_tokens * n_layers * n_kv_heads * d_head * bytes_per_value
    ### END SOLUTION


# %% nbgrader={"test": "kv_cache_bytes_visible", "points": 3}
with check.question("kv_cache_bytes_visible", kv_cache_bytes) as f:
    check.equal("one token, one layer, one head of 3, 2 bytes", f(1, 1, 1, 1, 3), 12,
                why="a key and a value of 3 numbers.")
    for name in ("GPT-2 small", "GPT-3 175B", "Llama-2 70B", "Llama-3 8B", "Llama-3.2 1B"):
        m = counting.MODELS[name].filled()
        check.equal(f"{name}, one token", f(1, 1, m.n_layers, m.n_kv_heads, m.d_head),
                    counting.cache(m, 1, 1), why=f"{m.n_layers} layers, {m.n_kv_heads} key heads.")
    check.equal("32 texts, Llama-3 8B", f(32, 8192, 32, 8, 128), 32 * 2**30, why="32 GiB.")
    check.equal("in 8 bits", f(1, 8192, 32, 8, 128, 1), 2**29, why="half a GiB.")

# %% nbgrader={"test": "kv_cache_bytes_hidden", "points": 2}
# Hidden checks: random sizes; each argument doubled doubles the answer.
### BEGIN HIDDEN TESTS
with check.question("kv_cache_bytes_hidden", kv_cache_bytes) as f:
    gen = check.generator()
    for case in range(1, 4):
        sizes = draw(gen, (1, 9), (1, 5000), (1, 90), (1, 20), (1, 200), (1, 5))
        B, T, L, Hkv, D, width = sizes
        model = counting.Model("drawn", "llama", L, Hkv * D, Hkv, 9, d_head=D)
        got = f(*sizes)
        check.equal(f"random sizes {case}", got, counting.cache(model, B, T, width))
        for i in range(6):
            twice = [*sizes[:i], 2 * sizes[i], *sizes[i + 1:]]
            check.equal(f"random sizes {case}, argument {i + 1} doubled", f(*twice), 2 * got)
### END HIDDEN TESTS

# %% [markdown]
# ## 10. Operations of a training run ({points:train_flops}, 8 min)
#
# In the forward pass each parameter takes part in one multiplication and one addition per token: 2
# operations. The backward pass computes two gradients, of the inputs and of the weights, and costs
# twice as much. Together **6 for each parameter and token**.
#
# Attention adds something that no parameter sees: scores and their weighted sum, `12 L C` times the
# length of the context for each token, counted without what a causal mask could save. For GPT-3
# that is 2.8 % more; for long contexts it is most of the work.
#
# By hand: GPT-3, 174.6 billion parameters and 300 billion tokens, 6 · 174.6e9 · 300e9 = 3.14e23.
#
# **Common mistake:** 2 instead of 6, the cost of the forward pass alone.
#
# <details><summary>Hint 1</summary>
#
# Two terms, both proportional to the number of tokens.
#
# </details>
# <details><summary>Hint 2</summary>
#
# With the defaults 0 the second term vanishes by itself; there is nothing to ask.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Put the tokens outside of a bracket.
#
# </details>

# %% nbgrader={"solution": "train_flops", "calls_forbidden": ["counting"]}
def train_flops(
    n_params: float, n_tokens: float, n_layers: int = 0, d_model: int = 0, context_len: int = 0
) -> float:
    """Floating-point operations of training with n_tokens tokens.

    6 per parameter and token; and for attention 12 n_layers d_model context_len per token, which
    is 0 where these are not given.
    """
    ### BEGIN SOLUTION
    return n_tokens * (6.0 * n_params + 12.0 * n_layers * d_model * context_len)
    ### END SOLUTION


# %% nbgrader={"test": "train_flops_visible", "points": 3}
with check.question("train_flops_visible", train_flops) as f:
    check.close("5 parameters, 2 tokens", f(5, 2), 60, why="6 · 5 · 2.")
    check.close("and 3 layers, C 4, context 7", f(5, 2, 3, 4, 7), 2076, why="+ 12·3·4·7 · 2.")
    check.close("GPT-3", f(174_604_259_328, 300e9), 3.143e23, rel=1e-3)
    check.close("GPT-3 with attention, over that", f(174_604_259_328, 300e9, 96, 12288, 2048)
                / f(174_604_259_328, 300e9), 1.0277, why="attention adds 2.77 %.")

# %% nbgrader={"test": "train_flops_hidden", "points": 2}
# Hidden checks: random sizes with and without attention.
### BEGIN HIDDEN TESTS
with check.question("train_flops_hidden", train_flops) as f:
    gen = check.generator()
    for case in range(1, 5):
        n, T, L, C, P = draw(gen, (1, 10**6), (1, 10**9), (1, 90), (1, 5000), (1, 9000))
        model = counting.Model("drawn", "gpt2", L, C, 1, 9, P)
        check.close(f"random sizes {case}", f(n, T), counting.flops(n, T))
        check.close(f"random sizes {case}, with attention", f(n, T, L, C, P),
                    counting.flops(n, T, model))
        check.close(f"random sizes {case}, no context", f(n, T, L, C), counting.flops(n, T))
### END HIDDEN TESTS

# %% [markdown]
# ## 11. MFU ({points:mfu}, 6 min)
#
# **Model FLOPs utilisation** is the share of the hardware's peak that went into needed operations.
# Papers give GPU-hours, data sheets give the peak, and you have the operations. Large runs reach
# 0.3 to 0.5. If you get more than 1, one of the three numbers is wrong.
#
# By hand: Llama-2 70B, 8.28e23 operations in 1,720,320 A100-hours at 312e12 per second: 0.43.
#
# **Common mistake:** the peak in large print. It holds for "sparse" matrices, in which half of the
# entries are zero, and is twice the real one.
#
# <details><summary>Hint 1</summary>
#
# How many operations would the hardware have done at its peak?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The peak is per second, the time is in hours.
#
# </details>
# <details><summary>Hint 3</summary>
#
# 3,600 seconds are an hour.
#
# </details>

# %% nbgrader={"solution": "mfu", "calls_forbidden": ["counting"]}
def mfu(flops: float, gpu_hours: float, peak_flops: float) -> float:
    """The share of the peak that `flops` operations in `gpu_hours` hours of one GPU are.

    peak_flops is the peak of one GPU, per second. A share above 1 is returned as it is.
    """
    ### BEGIN SOLUTION
    return flops / (gpu_hours * 3600 * peak_flops)
    ### END SOLUTION


# %% nbgrader={"test": "mfu_visible", "points": 3}
with check.question("mfu_visible", mfu) as f:
    check.close("3,600 operations in 2 hours at a peak of 1", f(3600, 2, 1), 0.5,
                why="7,200 were possible.")
    check.close("Llama-2 70B", f(6 * 68_976_648_192 * 2e12, 1_720_320, 312e12), 0.4284, rel=1e-3)
    check.close("72 operations in a hundredth of an hour, peak 1", f(72, 0.01, 1), 2.0,
                why="more than possible: return it, so that someone notices.")

# %% nbgrader={"test": "mfu_hidden", "points": 2}
# Hidden checks: random numbers; half the hours, twice the share.
### BEGIN HIDDEN TESTS
with check.question("mfu_hidden", mfu) as f:
    gen = check.generator()
    for case in range(1, 5):
        flops, hours, peak = draw(gen, (10**9, 10**12), (1, 10**4), (10**4, 10**7))
        want = counting.utilisation(flops, hours, peak)
        check.close(f"random numbers {case}", f(flops, hours, peak), want)
        check.close(f"random numbers {case}, half the hours", f(flops, hours / 2, peak), 2 * want)
        check.close(f"random numbers {case}, double peak", f(flops, hours, 2 * peak), want / 2)
### END HIDDEN TESTS

# %% [markdown]
# ## 12. Days ({points:training_days}, 6 min)
#
# Turn the same equation round: operations, divided by what the cluster really does in a second.
#
# By hand: GPT-3, 3.143e23 operations on 10,000 V100, each at 24.6e12 per second (0.197 of its peak
# of 125e12): 3.143e23 / 2.46e17 = 1,277,642 seconds, 14.8 days.
#
# **Common mistake:** multiplying by the MFU. A lower share makes it last longer.
#
# <details><summary>Hint 1</summary>
#
# How much does one GPU do in a second? And all of them?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Divide the operations by that. The result is in seconds.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A day has 24 · 3,600 seconds.
#
# </details>

# %% nbgrader={"solution": "training_days", "calls_forbidden": ["counting"]}
def training_days(flops: float, n_gpus: int, peak_flops: float, mfu: float) -> float:
    """Days that n_gpus GPUs need for `flops` operations, each at the share `mfu` of its peak.

    peak_flops is the peak of one GPU, per second. Every GPU works all the time.
    """
    ### BEGIN SOLUTION
    return flops / (n_gpus * peak_flops * mfu) / (24 * 3600)
    ### END SOLUTION


# %% nbgrader={"test": "training_days_visible", "points": 3}
with check.question("training_days_visible", training_days) as f:
    check.close("86,400 operations, 1 GPU, peak 2, MFU 0.25", f(86400, 1, 2, 0.25), 2.0,
                why="half an operation per second.")
    check.close("the same on 4 GPUs", f(86400, 4, 2, 0.25), 0.5, why="they share the work.")
    check.close("GPT-3 at 24.6e12 on 10,000 V100", f(3.143e23, 10_000, 125e12, 24.6 / 125),
                14.787, rel=1e-3)

# %% nbgrader={"test": "training_days_hidden", "points": 2}
# Hidden checks: random numbers; twice the GPUs, half the days.
### BEGIN HIDDEN TESTS
with check.question("training_days_hidden", training_days) as f:
    gen = check.generator()
    for case in range(1, 5):
        flops, g, peak, percent = draw(gen, (10**9, 10**15), (1, 5000), (10**4, 10**7), (5, 90))
        want = counting.days(flops, g, peak, percent / 100)
        check.close(f"random numbers {case}", f(flops, g, peak, percent / 100), want)
        check.close(f"random numbers {case}, twice the GPUs", f(flops, 2 * g, peak, percent / 100),
                    want / 2)
### END HIDDEN TESTS

# %% [markdown]
# ## 13. A range of costs ({points:cost_range}, 6 min)
#
# A single price hides two guesses: how well the hardware is used, and what an hour costs. Give both
# ends. The low one is what a well-tuned run on cheap hours costs, the high one a poor run on dear
# ones.
#
# By hand: 3.6e6 operations at a peak of 1,000. At MFU 0.5 that is 2 hours, at 0.25 it is 4. With
# \$1 to \$3 per hour: from \$2 to \$12.
#
# **Common mistake:** pairing low with low. A low MFU is the *expensive* one.
#
# <details><summary>Hint 1</summary>
#
# Write a formula for the GPU-hours at one MFU.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The fewest hours belong to the highest MFU.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `low_mfu, high_mfu = mfu`.
#
# </details>

# %% nbgrader={"solution": "cost_range", "calls_forbidden": ["counting"]}
def cost_range(
    flops: float, peak_flops: float, mfu: tuple[float, float], usd_per_hour: tuple[float, float]
) -> tuple[float, float]:
    """The (lowest, highest) price in dollars of `flops` operations.

    mfu and usd_per_hour are each (low, high), two ends of a range; the price is per GPU-hour.
    peak_flops is the peak of one GPU, per second.
    """
    ### BEGIN SOLUTION
    hours_at_peak = flops / peak_flops / 3600
    return hours_at_peak / mfu[1] * usd_per_hour[0], hours_at_peak / mfu[0] * usd_per_hour[1]
    ### END SOLUTION


# %% nbgrader={"test": "cost_range_visible", "points": 3}
with check.question("cost_range_visible", cost_range) as f:
    low, high = f(3.6e6, 1000, (0.25, 0.5), (1, 3))
    check.close("low end", low, 2.0, why="2 hours at MFU 0.5, $1 each.")
    check.close("high end", high, 12.0, why="4 hours at MFU 0.25, $3 each.")
    low, high = f(6 * 7e9 * 140e9, 312e12, (0.4, 0.4), (1, 2))
    check.close("a 7B model, 140e9 tokens, A100, low", low, 13_088, rel=1e-3)
    check.close("and high", high, 26_175, rel=1e-3, why="one MFU: twice the price per hour.")

# %% nbgrader={"test": "cost_range_hidden", "points": 2}
# Hidden checks: random ranges, also of no width.
### BEGIN HIDDEN TESTS
with check.question("cost_range_hidden", cost_range) as f:
    gen = check.generator()
    for case in range(1, 5):
        flops, peak, a, b, c, d = draw(
            gen, (10**9, 10**12), (10**3, 10**6), (5, 50), (0, 40), (50, 400), (0, 300))
        shares, prices = (a / 100, (a + b * (case > 1)) / 100), (c / 100, (c + d) / 100)
        low, high = f(flops, peak, shares, prices)
        want = counting.cost(flops, peak, shares, prices)
        check.close(f"random ranges {case}, low", low, want[0])
        check.close(f"random ranges {case}, high", high, want[1])
### END HIDDEN TESTS

# %% [markdown]
# ## 14. Fit a scaling law ({points:fit_power_law}, 20 min)
#
# The loss of trained models falls with their size along a curve of three numbers:
#
# $$\text{loss} = \text{floor} + c \cdot x^{-a}$$
#
# `x` is the number of parameters, of tokens or of operations. The **floor** is what no size can
# remove; the exponent says how slowly the rest falls. With `a` = 0.34 the part above the floor
# halves when `x` grows 7.7 times. Kaplan fitted such curves in 2020, Hoffmann in 2022, who read off
# that parameters and tokens should grow together.
#
# **Common mistake:** a straight line through the logarithms. It has no floor: it leaves the points
# at both ends and promises a loss of 0.
#
# <details><summary>Hint 1</summary>
#
# If you knew `a`, the loss would be linear in the two other numbers: a straight line over
# `z = x ** -a`. So try many values of `a` and keep the one with the smallest squared error.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The line through points `(z, loss)`: its slope is `((z - z.mean()) * (loss - loss.mean())).sum()`
# over `(z - z.mean()).square().sum()`; it goes through both means.
#
# </details>
# <details><summary>Hint 3</summary>
#
# All exponents at once: `x ** -exponents[:, None]` is (number of exponents, N). Work in float64,
# and step by 0.001 or less.
#
# </details>

# %% nbgrader={"solution": "fit_power_law", "calls_forbidden": ["counting"]}
def fit_power_law(x: Tensor, loss: Tensor) -> tuple[float, float, float]:
    """(floor, coefficient, exponent) of the curve loss = floor + coefficient * x ** -exponent.

    Two times (N,), in any order, float32 or float64 -> three floats. x spans at least four
    decades, N >= 60, exponents lie between 0.2 and 0.6, all three numbers are positive.
    The losses carry noise of at most 0.001; each number must be found within 2 %, so choose the
    three by the squared error of the loss itself.
    """
    ### BEGIN SOLUTION
    exponents = torch.linspace(0.05, 1, 1901, dtype=torch.float64)
    z = x ** -exponents[:, None]  # (1901, N)
    gap = z - z.mean(1, keepdim=True)
    slopes = (gap @ loss.double()) / gap.square().sum(1)
    rest = loss - slopes[:, None] * z  # the floor, and what the curve misses
    best = rest.var(1).argmin()
    return rest[best].mean().item(), slopes[best].item(), exponents[best].item()
    ### END SOLUTION


# %% nbgrader={"locked": "numbers"}
def same_curve(case: str, got: object, curve: tuple[float, float, float], why: str = "") -> None:
    """Three plain numbers, each within 2 % of the planted one."""
    if not isinstance(got, tuple | list) or [type(value) for value in got] != [float] * 3:
        raise check.CheckFailed(case, f"got {got!r:.70}", "expected three floats.")
    names = ("floor", "coefficient", "exponent")
    for name, value, want in zip(names, got, curve, strict=True):
        check.close(f"{case}, {name}", value, want, rel=0.018, why=why)


# %% nbgrader={"test": "fit_power_law_visible", "points": 6}
with check.question("fit_power_law_visible", fit_power_law) as f:
    x = torch.logspace(6, 11, 80, dtype=torch.float64)
    for floor, c, a in ((1.69, 406.4, 0.34), (2.0, 30.0, 0.2), (0.5, 2000.0, 0.5)):
        loss = floor + c * x**-a
        same_curve(f"{floor} + {c} x^-{a}", f(x, loss), (floor, c, a), "no noise: within 2 %.")
        same_curve(f"{floor} + {c} x^-{a}, the largest x first", f(x.flip(0), loss.flip(0)),
                   (floor, c, a), "the same points in another order.")

# %% nbgrader={"test": "fit_power_law_hidden", "points": 4}
# Hidden checks: random curves with noise, x shuffled, other decades, float32, inputs unchanged.
### BEGIN HIDDEN TESTS
with check.question("fit_power_law_hidden", fit_power_law) as f:
    gen = check.generator()
    for case in range(1, 7):
        u = torch.rand(5, generator=gen, dtype=torch.float64).tolist()
        floor, a, first = 1.5 + u[0], 0.22 + 0.36 * u[1], 4 * u[2]
        x = first + 5 * torch.rand(998, generator=gen, dtype=torch.float64)
        x = 10 ** torch.cat([torch.tensor([first + 5, first], dtype=torch.float64), x])
        c = (0.5 + 0.5 * u[3]) * 10 ** (first * a)  # the smallest x is 0.5 to 1 above the floor
        noise = 0.001 * torch.randn(1000, generator=gen, dtype=torch.float64).sign()
        noise[x.argsort()[[0, 500, -1]]] = torch.tensor([0.001, -0.001, 0.001]).double()
        loss = floor + c * x**-a + noise
        got = f(x.float(), loss.float()) if case == 2 else f(x, loss)
        same_curve(f"random curve {case}", got, (floor, c, a))
    check.unchanged("inputs", f, x, loss)
### END HIDDEN TESTS

# %% [markdown]
# ## 15. The best size for a budget ({points:compute_optimal}, 6 min)
#
# Hoffmann's result in one line: for a given number of operations, the lowest loss is reached with
# about **20 training tokens for each parameter**. Together with the rule of 6 that leaves two
# equations and two unknowns.
#
# By hand: 12,000 operations at 20 tokens per parameter: 10 parameters and 200 tokens, since
# 6 · 10 · 200 = 12,000.
#
# GPT-3 had 1.7 tokens per parameter, too few. Llama-3 8B had 1,868, far too many for its budget and
# on purpose: a small model is cheap to *use*.
#
# <details><summary>Hint 1</summary>
#
# Put "tokens = 20 · parameters" into "operations = 6 · parameters · tokens".
#
# </details>
# <details><summary>Hint 2</summary>
#
# The number of parameters is then a square root.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `math.sqrt`, and once more the ratio for the tokens.
#
# </details>

# %% nbgrader={"solution": "compute_optimal", "calls_forbidden": ["counting"]}
def compute_optimal(flops: float, tokens_per_param: float = 20.0) -> tuple[float, float]:
    """(parameters, training tokens) that use up `flops` operations at this ratio, two floats.

    Operations are 6 per parameter and token. The numbers are not rounded.
    """
    ### BEGIN SOLUTION
    size = math.sqrt(flops / (6 * tokens_per_param))
    return size, tokens_per_param * size
    ### END SOLUTION


# %% nbgrader={"test": "compute_optimal_visible", "points": 3}
with check.question("compute_optimal_visible", compute_optimal) as f:
    n, tokens = f(12_000)
    check.close("12,000 operations, parameters", n, 10.0, why="6 · 10 · 200.")
    check.close("12,000 operations, tokens", tokens, 200.0, why="20 for each parameter.")
    n, tokens = f(5.76e23)
    check.close("Chinchilla's budget, parameters", n, 69.28e9, rel=1e-3)
    check.close("Chinchilla's budget, tokens", tokens, 1.386e12, rel=1e-3)
    check.close("ratio 2, parameters", f(12_000, 2)[0], math.sqrt(1000), why="6 · n · 2n.")

# %% nbgrader={"test": "compute_optimal_hidden", "points": 2}
# Hidden checks: random budgets and ratios: they are used up, and the ratio is kept.
### BEGIN HIDDEN TESTS
with check.question("compute_optimal_hidden", compute_optimal) as f:
    gen = check.generator()
    for case in range(1, 5):
        budget, ratio = draw(gen, (10**6, 10**15), (1, 2000))
        n, tokens = f(budget, ratio / 10)
        want = counting.optimal(budget, ratio / 10)
        check.close(f"random budget {case}, parameters", n, want[0])
        check.close(f"random budget {case}, tokens", tokens, want[1])
### END HIDDEN TESTS

# %% [markdown]
# The last exercise needs a few facts about hardware. The peaks are those for dense matrices in 16
# bits, from NVIDIA's data sheets; the months are those of the announcements.

# %% nbgrader={"locked": "hardware"}
PEAK = {"V100": 125e12, "A100": 312e12, "H100": 989e12}  # dense 16-bit operations per second
ANNOUNCED = {"V100": "2017-05", "A100": "2020-05", "H100": "2022-03"}

# %% [markdown]
# ## 16. Audit a table of costs ({points:audit_row}, 20 min)
#
# Tables of "what it cost to train X" are copied from slide to slide, and numbers slip. Most slips
# contradict something in the same row: the name, the year, the operations that the hardware could
# have done. You write the rules down once and let them run over any table.
#
# By hand: a "7B" model with 2e12 tokens takes 8.4e22 operations. An A100 does at most 1.12e18 in an
# hour, so fewer than 74,786 A100-hours are impossible, whatever the software.
#
# Below are three rows of a table that circulates. After your check passes, read what your function
# says about them, and what it cannot see.
#
# <details><summary>Hint 1</summary>
#
# Six rules, six `if`s, a list that grows.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Rule 5 asks that the list is still empty; rule 6 asks that `gpu_hours` is not in it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Months written as "2020-05" can be compared as text.
#
# </details>

# %% nbgrader={"solution": "audit_row", "calls_forbidden": ["counting"]}
def audit_row(row: dict[str, float | str]) -> list[str]:
    """The fields of a row of a cost table that cannot be true, each once, in any order.

    Keys: model (its name, no rule), size (the parameters that the name states, 0 if none), params,
    active (parameters that a token uses), tokens and tokens_high (ends of a range, or twice the
    same), gpu (a key of PEAK), gpu_hours, published ("YYYY-MM"), usd. The rules, in order:
    1. params: off by more than a quarter of size, if size is not 0.
    2. active: more than params.
    3. tokens_high: more than 1.25 times tokens; one run has one number.
    4. gpu: ANNOUNCED in the month of publication or later.
    5. gpu_hours: MFU above 1, from active, tokens, PEAK[gpu]; only if rules 1 to 4 blame nothing.
    6. usd: below 0.50 or above 10 per GPU-hour; only if gpu_hours is not blamed.
    """
    ### BEGIN SOLUTION
    size, hours = row["size"], row["gpu_hours"]
    broken = {
        "params": size and abs(row["params"] - size) > 0.25 * size,
        "active": row["active"] > row["params"],
        "tokens_high": row["tokens_high"] > 1.25 * row["tokens"],
        "gpu": ANNOUNCED[row["gpu"]] >= row["published"],
    }
    possible = PEAK[row["gpu"]] * hours * 3600
    broken["gpu_hours"] = not any(broken.values()) and 6 * row["active"] * row["tokens"] > possible
    broken["usd"] = not broken["gpu_hours"] and not 0.5 * hours <= row["usd"] <= 10 * hours
    return [name for name, wrong in broken.items() if wrong]
    ### END SOLUTION


# %% nbgrader={"locked": "table"}
LLAMA_2 = {"model": "Llama-2 70B", "size": 70e9, "params": 68_976_648_192, "active": 68_976_648_192,
           "tokens": 2e12, "tokens_high": 2e12, "gpu": "A100", "gpu_hours": 1_720_320,
           "published": "2023-07", "usd": 2.6e6}  # as in the paper; the price is ours
CIRCULATING = [
    LLAMA_2 | {"params": 1.4e12, "active": 1.4e12, "tokens": 2.6e12, "tokens_high": 2.6e12,
               "gpu_hours": 1.5e6, "usd": 3.5e6},
    {"model": "GPT-3", "size": 175e9, "params": 175e9, "active": 175e9, "tokens": 300e9,
     "tokens_high": 300e9, "gpu": "A100", "gpu_hours": 3e6, "published": "2020-05", "usd": 10e6},
    {"model": "LLaMA 4", "size": 0, "params": 400e9, "active": 17e9, "tokens": 22e12,
     "tokens_high": 40e12, "gpu": "H100", "gpu_hours": 7.4e6, "published": "2025-04", "usd": 15e6},
]


def same_blame(case: str, got: object, expected: list[str], why: str = "") -> None:
    """The same fields, each once, in any order."""
    fine = isinstance(got, list) and sorted(map(str, got)) == sorted(expected)
    if not fine:
        raise check.CheckFailed(case, f"got {got!r:.70}, expected {expected!r}", why)


# %% nbgrader={"test": "audit_row_visible", "points": 3}
with check.question("audit_row_visible", audit_row) as f:
    same_blame("Llama-2 70B as published", f(LLAMA_2), [], "MFU 0.43, $1.51 an hour.")
    first, second, third = CIRCULATING
    same_blame("row 1, 'Llama-2 70B' with 1.4e12 parameters", f(first), ["params"],
               "rule 1; rule 5 is not tried.")
    same_blame("row 2, GPT-3 on A100", f(second), ["gpu"], "rule 4: it was announced that month.")
    same_blame("row 3, 22 to 40e12 tokens", f(third), ["tokens_high"], "rule 3.")
    same_blame("a tenth of the hours", f(LLAMA_2 | {"gpu_hours": 172_032, "usd": 2.6e7}),
               ["gpu_hours"], "rule 5: MFU 4.3; rule 6 is not tried.")
    same_blame("$26 million", f(LLAMA_2 | {"usd": 26e6}), ["usd"], "rule 6: $15 an hour.")
    same_blame("active 2e11", f(LLAMA_2 | {"active": 2e11}), ["active"], "rule 2.")

# %% nbgrader={"test": "audit_row_hidden", "points": 2}
# Hidden checks: true rows, planted slips, several at once, values that a rule just allows.
### BEGIN HIDDEN TESTS
with check.question("audit_row_hidden", audit_row) as f:
    gen = check.generator()
    rows = {"LLaMA 65B": (65e9, 65_285_660_672, 1.4e12, "A100", 1_022_362, "2023-02"),
            "Llama 405B": (405e9, 405_853_388_800, 15.6e12, "H100", 30.84e6, "2024-07"),
            "GPT-3 175B": (175e9, 174_604_259_328, 300e9, "V100", 3.55e6, "2020-05")}
    for name, (size, n, tokens, gpu, hours, month) in rows.items():
        price = draw(gen, (60, 400))[0] / 100
        true = {"model": name, "size": size, "params": n, "active": n, "tokens": tokens,
                "tokens_high": tokens, "gpu": gpu, "gpu_hours": hours, "published": month,
                "usd": price * hours}
        same_blame(f"{name}, true", f(true), [])
        least = 6 * n * tokens / (PEAK[gpu] * 3600)
        few = least * draw(gen, (10, 95))[0] / 100
        dear = hours * draw(gen, (1010, 5000))[0] / 100
        for case, slip, blamed in (
            ("size not stated", {"size": 0, "params": 1e12}, []),
            ("too many parameters", {"params": 1.3 * size}, ["params"]),
            ("too few parameters", {"params": 0.7 * size, "active": 0.7 * size}, ["params"]),
            ("a quarter more", {"params": 1.25 * size}, []),
            ("a quarter less", {"params": 0.75 * size, "active": 0.75 * size}, []),
            ("more active", {"active": 1.1 * n}, ["active"]),
            ("active ones alone are few", {"active": n / 9}, []),
            ("a range of tokens", {"tokens_high": 1.3 * tokens}, ["tokens_high"]),
            ("a quarter more tokens", {"tokens_high": 1.25 * tokens}, []),
            ("too few hours", {"gpu_hours": few, "usd": 2 * few}, ["gpu_hours"]),
            ("too few hours, dear", {"gpu_hours": few, "usd": 900 * few}, ["gpu_hours"]),
            ("just enough hours", {"gpu_hours": 1.0001 * least, "usd": 2 * least}, []),
            ("just too few hours", {"gpu_hours": 0.9999 * least, "usd": least}, ["gpu_hours"]),
            ("an expert model", {"active": n / 9, "gpu_hours": least / 8, "usd": least}, []),
            ("dear", {"usd": dear}, ["usd"]),
            ("$10 an hour", {"usd": 10 * hours}, []),
            ("50 cents an hour", {"usd": 0.5 * hours}, []),
            ("cheap", {"usd": 0.45 * hours}, ["usd"]),
            ("before the GPU", {"published": "2016-12"}, ["gpu"]),
            ("in the GPU's month", {"published": ANNOUNCED[gpu]}, ["gpu"]),
            ("params and price", {"params": 2 * size, "usd": 11 * hours}, ["params", "usd"]),
            ("active and hours", {"active": 2 * n, "gpu_hours": few, "usd": few}, ["active"]),
            ("tokens and hours", {"tokens_high": 2 * tokens, "gpu_hours": few, "usd": few},
             ["tokens_high"]),
            ("month and hours", {"published": "2016-12", "gpu_hours": few, "usd": few}, ["gpu"]),
            ("four slips", {"params": size / 9, "tokens_high": 2 * tokens, "usd": 0},
             ["params", "active", "tokens_high", "usd"])):
            same_blame(f"{name}, {case}", f(true | slip), blamed)
    at_peak = {"size": 0, "params": 6e8, "active": 6e8, "tokens": 1e9, "tokens_high": 1e9,
               "gpu_hours": 8, "usd": 20}  # 3.6e18 operations
    same_blame("MFU of exactly 1", f(true | at_peak), [], "impossible is what is above 1.")
### END HIDDEN TESTS

# %% [markdown]
# What the rules cannot see: the third row is *two* models, Scout (109 billion parameters, about
# 40e12 tokens, 5.0 million hours) and Maverick (400 billion, about 22e12, 2.38 million), with their
# hours added up. The first row's 1.4e12 is the number of *tokens* of LLaMA-1 65B, and the paper has
# 2.0e12 tokens, not 2.6e12. No row is false because of its price: what GPT-3 cost was never
# published, so a price is a guess with two assumptions in it, as in exercise 13.

# %% tags=["demo"]
try:
    for row in CIRCULATING:
        print(f"{row['model']:12} cannot be true: {', '.join(audit_row(row)) or 'nothing found'}")
except NotImplementedError:
    print("Write audit_row first; then run this cell again.")

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Challenge 1: twelve layers, 768 wide
#
# *How many parameters has a transformer of 12 layers with a width of 768?* No points here; six
# answers between 85 and 163 million are defensible, and none is right without its assumptions.
# State yours, then give the number they lead to. Fill it in twice, and explain the difference.
#
# - `counts`: `"matrices"` (only those of the blocks), `"blocks"` (with biases and norms) or
#   `"model"`.
# - Of a whole model its `family`, `"GPT-2"` or `"BERT"`; of a GPT-2 whether the head is `tied`, of
#   a BERT whether there is a `pooler`.

# %% tags=["demo"]
from glassbox import worksheets

reading = {"number": None, "counts": None, "family": None, "tied": None, "pooler": None}
print(worksheets.challenge_1(reading))

# %% [markdown]
# ## Activity 2: three use cases
#
# No points here either. Fill in your choices, then compute each number with *your* functions; every
# number is compared with what follows from your own choices. Counts are exact, the rest within 1 %.
#
# - **U1, ticket triage.** Sorts one ticket of up to 512 tokens into twelve queues. An encoder is
#   enough.
# - **U2, care assistant.** 32 customers at once, each with up to 8,192 tokens of conversation.
# - **U3, log analyst.** One engineer, and a log of 131,072 tokens. It should run on a small GPU.
#
# `model` is a name in `counting.MODELS`, `gpu` one in `counting.GPUS`; `bits` is 16, 8 or 4.5.
# `serving_gb` is weights and cache together (the cache in 16 bits); `fits` says whether that is at
# most what one such GPU has. `training_gb` is full training before activations on one GPU,
# `lora_parameters` what LoRA of your rank on all maps of the blocks trains.
#
# Before you compute: in which of the three is the cache larger than the weights?

# %% tags=["demo"]
print("Models:", ", ".join(counting.MODELS))
print("GPUs:  ", ", ".join(f"{g.name} ({g.memory / 1e9:.0f} GB)" for g in counting.GPUS.values()))

# %% tags=["demo"]
numbers = ("parameters", "weights_gb", "cache_gib", "serving_gb", "fits", "training_gb",
           "lora_parameters")  # fmt: skip
sheet = {
    "U1": {"model": None, "gpu": None, "bits": 16, "users": 1, "tokens": 512, "lora_rank": 16},
    "U2": {"model": None, "gpu": None, "bits": 16, "users": 32, "tokens": 8192, "lora_rank": 16},
    "U3": {"model": None, "gpu": None, "bits": 16, "users": 1, "tokens": 131072, "lora_rank": 16},
}
sheet["U1"] |= dict.fromkeys(numbers)  # write your numbers instead: {"parameters": ..., ...}
sheet["U2"] |= dict.fromkeys(numbers)
sheet["U3"] |= dict.fromkeys(numbers)
worksheets.activity_2(sheet)

# %% [markdown]
# ## Scale: predicted and measured
#
# No points here. The cell trains three GPTs for a few steps and sets what it measures beside what
# *your* functions predict: memory, tokens per second, MFU. It follows the recipe of exercise 7 to
# the byte: weights and gradients in 16 bits, copy, `m` and `v` in 32.
#
# S runs three tiny models on the CPU, where no counter of peak memory exists; there the cell adds
# up the bytes of states and of what autograd keeps for the backward pass. M runs three models up to
# the blocks of GPT-2 small, L three up to 1.2 billion parameters. L's largest holds the optimizer
# states of every eighth tensor only: what one of 8 GPUs would hold with ZeRO stage 1.
#
# The peak that the MFU refers to is measured here, as the fastest of a few large matrix products.
# A data sheet's figure would give a lower share. On a CPU that computes in 16 bits by detours the
# share says little.
#
# Before you run it: which is larger, the memory that you predict or the one measured? What have the
# formulas left out? Then set `activation_function="gelu_new"`, GPT-2's GELU written out in eight
# small operations, and run it again.

# %% tags=["demo"]
import time
from contextlib import AbstractContextManager, nullcontext

from torch.autograd.graph import saved_tensors_hooks

Sizes = tuple[int, int, int, int, int, int]  # layers, width, heads, texts, tokens, GPUs (ZeRO 1)
tiers: list[Sizes] = scale.choose(
    [(2, 64, 4, 4, 64, 1), (2, 128, 4, 4, 64, 1), (4, 128, 4, 4, 64, 1)],
    [(6, 384, 6, 8, 512, 1), (12, 512, 8, 8, 512, 1), (12, 768, 12, 8, 1024, 1)],
    [(12, 768, 12, 16, 1024, 1), (24, 1024, 16, 8, 1024, 1), (24, 2048, 16, 4, 1024, 8)],
)
on_gpu = scale.device == "cuda"
half = torch.bfloat16
if on_gpu and torch.cuda.get_device_capability()[0] < 8:  # a T4 or V100 has no bfloat16
    half = torch.float16


def wait() -> None:
    """Until the GPU has done what it was told."""
    if on_gpu:
        torch.cuda.synchronize()


def measured_peak(n: int) -> float:
    """Operations per second of the fastest of ten products of n x n matrices."""
    a = torch.randn(n, n, device=scale.device, dtype=half)
    seconds = []
    for _ in range(10):
        wait()
        start = time.perf_counter()
        nn.functional.linear(a, a)
        wait()
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 / min(seconds)


def train(model: nn.Module, ids: Tensor, shards: int, n_steps: int) -> tuple[float, float]:
    """Train for some steps: (bytes of states and of what is kept, seconds of the median step)."""
    params = list(model.parameters())
    mine = params[::shards]  # ZeRO stage 1 by hand: this GPU updates every shards-th tensor
    copies = [p.detach().float().clone() for p in mine]
    optimizers = [torch.optim.AdamW([copy], lr=1e-4) for copy in copies]
    own = {p.untyped_storage().data_ptr() for p in params}
    kept: dict[int, int] = {}  # storage -> bytes of what autograd keeps

    def keep(t: Tensor) -> Tensor:
        storage = t.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return t.detach()  # the same bytes; t itself would hold on to the graph

    def watch() -> AbstractContextManager:
        return nullcontext() if on_gpu else saved_tensors_hooks(keep, lambda t: t)

    seconds = []
    for _ in range(n_steps):
        wait()
        start = time.perf_counter()
        kept.clear()
        with watch():
            logits = model(input_ids=ids).logits.float()  # which token is guessed matters not
            loss = nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten())
        loss.backward()
        for p, copy, optimizer in zip(mine, copies, optimizers, strict=True):
            copy.grad = p.grad.float()
            optimizer.step()
            copy.grad = None
            p.data.copy_(copy)
        model.zero_grad(set_to_none=True)
        wait()
        seconds.append(time.perf_counter() - start)
    states = 4 * sum(p.numel() for p in params) + 12 * sum(c.numel() for c in copies)
    return states + sum(kept.values()), sorted(seconds)[len(seconds) // 2]


def compare(tier: Sizes, peak: float) -> dict[str, float]:
    """One model: predict, announce, train, measure."""
    L, C, H, B, T, g = tier
    n_params = count_gpt2(L, C, 256, T)["total"]
    predicted = (training_memory(n_params, 1, g)["total"]
                 + activation_memory(B, T, L, C, H, flash=True))
    scale.announce(f"{n_params:,} parameters, {B} x {T} tokens, ZeRO 1 on {g}", predicted)
    sizes = transformers.GPT2Config(
        n_layer=L, n_embd=C, n_head=H, n_positions=T, vocab_size=256, attn_pdrop=0, resid_pdrop=0,
        embd_pdrop=0, attn_implementation="sdpa", activation_function="gelu_pytorch_tanh",
        use_cache=False, bos_token_id=None, eos_token_id=None)
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(sizes).to(scale.device, half).train()
    ids = torch.randint(256, (B, T), device=scale.device)
    n_bytes, seconds = train(model, ids, g, scale.choose(3, 20, 20))
    if on_gpu:
        n_bytes = torch.cuda.max_memory_allocated() - before
    flops = train_flops(n_params, B * T, L, C, T)
    return {"parameters": n_params, "predicted_bytes": predicted, "measured_bytes": n_bytes,
            "tokens_per_second": B * T / seconds, "mfu": mfu(flops, seconds / 3600, peak)}


measured = []
try:
    peak = measured_peak(scale.choose(512, 4096, 8192))
    for tier in tiers:
        measured.append(compare(tier, peak))
except NotImplementedError:
    print("Write count_gpt2, training_memory, activation_memory, train_flops and mfu first.")
except NameError:
    print("This part needs the transformers library: pip install transformers")

for row in measured:
    print(f"{row['parameters']:>13,} parameters: "
          f"predicted {row['predicted_bytes'] / 1e6:9,.1f} MB, "
          f"measured {row['measured_bytes'] / 1e6:9,.1f} MB, "
          f"{row['tokens_per_second']:9,.0f} tokens/s, MFU {row['mfu']:.2f}")
if measured and scale.name != "S":
    print("Written to", scale.record("lab03_counting", {"peak": peak, "rows": measured}))
