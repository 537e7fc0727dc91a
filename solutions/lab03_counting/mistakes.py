"""The mistake bank of lab 3: what learners get wrong, what they read, and other right versions."""

import math
from itertools import starmap

import torch
from torch import Tensor

from autograder.bank import Bank, call

bank = Bank("lab03_counting")
gen = torch.Generator().manual_seed(40)


def summed(**parts: int) -> dict[str, int]:
    """The parts in the order in which they are given, and their total."""
    return parts | {"total": sum(parts.values())}


# --- count_gpt2 ------------------------------------------------------------------------------

bank.probe("count_gpt2", call(3, 10, 70, 17), call(2, 7, 31, 5, False), call(12, 96, 500, 64))


def _gpt2(n_layers, d_model, vocab_size, context_len, tied=True):
    C = d_model
    return {
        "embedding": vocab_size * C,
        "position": context_len * C,
        "attention": n_layers * (4 * C**2 + 4 * C),
        "feed_forward": n_layers * (8 * C**2 + 5 * C),
        "norm": n_layers * 4 * C + 2 * C,
        "head": 0 if tied else vocab_size * C,
    }


@bank.wrong("count_gpt2", "The norm after the last block is missing.")
def final_norm_forgotten(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"norm": n_layers * 4 * d_model})


@bank.wrong("count_gpt2", "A LayerNorm has a scale and a shift, 2 C numbers; you count C.")
def norms_without_shift(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"norm": parts["norm"] // 2})


@bank.wrong("count_gpt2", "A block has two norms; you count one.")
def one_norm_per_block(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"norm": (2 * n_layers + 2) * d_model})


@bank.wrong("count_gpt2", "The norms are missing.")
def no_norms(n_layers, d_model, vocab_size, context_len, tied=True):
    return summed(**_gpt2(n_layers, d_model, vocab_size, context_len, tied) | {"norm": 0})


@bank.wrong("count_gpt2", "The biases of the linear maps are missing.")
def no_biases(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    square = n_layers * d_model**2
    return summed(**parts | {"attention": 4 * square, "feed_forward": 8 * square})


@bank.wrong("count_gpt2", "The biases of attention are missing: one of C for each of four maps.")
def no_attention_biases(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"attention": n_layers * 4 * d_model**2})


@bank.wrong("count_gpt2", "The output map of attention is missing: Q, K, V and one more.")
def no_output_map(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"attention": n_layers * 3 * (d_model**2 + d_model)})


@bank.wrong("count_gpt2", "One feed-forward bias is of the wrong length: the first has 4 C numbers, "
            "the second C. You count C twice.")  # fmt: skip
def short_bias(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"feed_forward": n_layers * (8 * d_model**2 + 2 * d_model)})


@bank.wrong(
    "count_gpt2", "The head is counted although it is tied: it is the token table once more."
)
def tied_head_counted(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"head": vocab_size * d_model})


@bank.wrong("count_gpt2", "An untied head is a matrix of its own, of V C numbers; you count 0.")
def head_never_counted(n_layers, d_model, vocab_size, context_len, tied=True):
    return summed(**_gpt2(n_layers, d_model, vocab_size, context_len))


@bank.wrong("count_gpt2", "The head has no bias; you count one of V numbers.")
def head_with_bias(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    return summed(**parts | {"head": 0 if tied else vocab_size * (d_model + 1)})


@bank.wrong("count_gpt2", "The position table is missing: a row of C numbers for each position.")
def no_positions(n_layers, d_model, vocab_size, context_len, tied=True):
    return summed(**_gpt2(n_layers, d_model, vocab_size, context_len, tied) | {"position": 0})


@bank.wrong("count_gpt2", "You count one block; there are n_layers of them.")
def one_block(n_layers, d_model, vocab_size, context_len, tied=True):
    return summed(**_gpt2(1, d_model, vocab_size, context_len, tied))


@bank.wrong(
    "count_gpt2", "The parts are right; the total is not their sum: it leaves out the tables."
)
def total_of_the_blocks(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = _gpt2(n_layers, d_model, vocab_size, context_len, tied)
    blocks = ("attention", "feed_forward", "norm")
    return parts | {"total": sum(parts[name] for name in blocks)}


@bank.wrong("count_gpt2", "The total is missing in your dict.")
def no_total(n_layers, d_model, vocab_size, context_len, tied=True):
    return _gpt2(n_layers, d_model, vocab_size, context_len, tied)


@bank.wrong("count_gpt2", "A count is an int; somewhere you divide or multiply by a float.")
def floats(n_layers, d_model, vocab_size, context_len, tied=True):
    parts = summed(**_gpt2(n_layers, d_model, vocab_size, context_len, tied))
    return {name: float(n) for name, n in parts.items()}


@bank.right("count_gpt2")
def gpt2_by_formula(n_layers, d_model, vocab_size, context_len, tied=True):
    return summed(**_gpt2(n_layers, d_model, vocab_size, context_len, tied))


@bank.right("count_gpt2")
def gpt2_by_shapes(n_layers, d_model, vocab_size, context_len, tied=True):
    C = d_model
    block = {
        "attention": [(C, 3 * C), (3 * C,), (C, C), (C,)],
        "feed_forward": [(C, 4 * C), (4 * C,), (4 * C, C), (C,)],
        "norm": [(C,)] * 4,
    }
    parts = {name: n_layers * sum(map(math.prod, shapes)) for name, shapes in block.items()}
    parts["norm"] += 2 * C
    parts |= {"embedding": math.prod((vocab_size, C)), "position": math.prod((context_len, C))}
    parts["head"] = 0 if tied else math.prod((vocab_size, C))
    total = 0
    for n in parts.values():
        total += n
    parts["total"] = total
    return parts


# --- count_bert ------------------------------------------------------------------------------

bank.probe("count_bert", call(3, 10, 37, 70, 17), call(2, 7, 11, 31, 5, False),
           call(2, 7, 11, 31, 5, False, True), call(2, 7, 11, 31, 5, True, True))  # fmt: skip


def _bert(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    C = d_model
    head = C * C + C if pooler else 0
    head += C * C + C + 2 * C + vocab_size if mlm_head else 0
    return {
        "embedding": vocab_size * C + 2 * C,
        "position": context_len * C,
        "attention": n_layers * (4 * C**2 + 4 * C),
        "feed_forward": n_layers * (2 * C * d_ff + d_ff + C),
        "norm": n_layers * 4 * C + 2 * C,
        "head": head,
    }


def _changed(change):
    """A count of BERT with some parts changed; `change` sees the sizes and the parts."""

    def count(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
        parts = _bert(n_layers, d_model, d_ff, vocab_size, context_len, pooler, mlm_head)
        sizes = (n_layers, d_model, d_ff, vocab_size, pooler, mlm_head)
        return summed(**parts | change(parts, *sizes))

    return count


@bank.wrong("count_bert", "The LayerNorm after the embeddings is missing.")
def no_embedding_norm(*args, **kwargs):
    return _changed(lambda p, L, C, *_: {"norm": p["norm"] - 2 * C})(*args, **kwargs)


@bank.wrong("count_bert", "The two rows of token types are missing in the embedding.")
def no_token_types(*args, **kwargs):
    return _changed(lambda p, L, C, *_: {"embedding": p["embedding"] - 2 * C})(*args, **kwargs)


@bank.wrong("count_bert", "There is one norm too many: BERT has none after the last block.")
def a_final_norm(*args, **kwargs):
    return _changed(lambda p, L, C, *_: {"norm": p["norm"] + 2 * C})(*args, **kwargs)


@bank.wrong("count_bert", "The pooler is missing: a map from C to C with a bias.")
def no_pooler(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    return summed(**_bert(n_layers, d_model, d_ff, vocab_size, context_len, False, mlm_head))


@bank.wrong("count_bert", "The pooler is counted although nobody asked for it.")
def always_pooler(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    return summed(**_bert(n_layers, d_model, d_ff, vocab_size, context_len, True, mlm_head))


@bank.wrong("count_bert", "The bias of the pooler is missing.")
def pooler_without_bias(*args, **kwargs):
    def change(p, L, C, d_ff, V, pooler, mlm):
        return {"head": p["head"] - C * pooler}

    return _changed(change)(*args, **kwargs)


@bank.wrong("count_bert", "The output matrix of the MLM head is the token table and counts 0.")
def mlm_matrix_counted(*args, **kwargs):
    def change(p, L, C, d_ff, V, pooler, mlm):
        return {"head": p["head"] + V * C * mlm}

    return _changed(change)(*args, **kwargs)


@bank.wrong("count_bert", "The MLM head lacks its V output biases.")
def mlm_without_output_bias(*args, **kwargs):
    def change(p, L, C, d_ff, V, pooler, mlm):
        return {"head": p["head"] - V * mlm}

    return _changed(change)(*args, **kwargs)


@bank.wrong("count_bert", "The norm of the MLM head is missing in the head.")
def mlm_without_norm(*args, **kwargs):
    def change(p, L, C, d_ff, V, pooler, mlm):
        return {"head": p["head"] - 2 * C * mlm}

    return _changed(change)(*args, **kwargs)


@bank.wrong("count_bert", "The norm of the MLM head belongs to head; you count it as a norm.")
def mlm_norm_elsewhere(*args, **kwargs):
    def change(p, L, C, d_ff, V, pooler, mlm):
        return {"head": p["head"] - 2 * C * mlm, "norm": p["norm"] + 2 * C * mlm}

    return _changed(change)(*args, **kwargs)


@bank.wrong("count_bert", "With both flags you count one head; they add.")
def one_head_of_two(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    parts = _bert(n_layers, d_model, d_ff, vocab_size, context_len, pooler and not mlm_head,
                  mlm_head)  # fmt: skip
    return summed(**parts)


@bank.wrong("count_bert", "d_ff has no effect: you count 4 C.")
def d_ff_ignored(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    return summed(
        **_bert(n_layers, d_model, 4 * d_model, vocab_size, context_len, pooler, mlm_head)
    )


@bank.wrong("count_bert", "The biases of the linear maps in the blocks are missing.")
def bert_without_biases(*args, **kwargs):
    def change(p, L, C, d_ff, *_):
        return {"attention": 4 * L * C * C, "feed_forward": 2 * L * C * d_ff}

    return _changed(change)(*args, **kwargs)


@bank.right("count_bert")
def bert_by_formula(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    return summed(**_bert(n_layers, d_model, d_ff, vocab_size, context_len, pooler, mlm_head))


@bank.right("count_bert")
def bert_by_layers(n_layers, d_model, d_ff, vocab_size, context_len, pooler=True, mlm_head=False):
    def linear(a, b):
        return a * b + b

    norm = 2 * d_model
    answer = dict.fromkeys(("attention", "feed_forward", "norm", "head"), 0)
    for _ in range(n_layers):
        answer["attention"] += sum(linear(d_model, d_model) for _ in "qkvo")
        answer["feed_forward"] += linear(d_model, d_ff) + linear(d_ff, d_model)
        answer["norm"] += 2 * norm
    answer["norm"] += norm
    answer["embedding"] = d_model * (vocab_size + 2)
    answer["position"] = d_model * context_len
    if pooler:
        answer["head"] += linear(d_model, d_model)
    if mlm_head:
        answer["head"] += linear(d_model, d_model) + norm + vocab_size
    return {"total": sum(answer.values()), **answer}


# --- count_llama -----------------------------------------------------------------------------

bank.probe("count_llama", call(3, 12, 29, 70, 4, 4), call(3, 12, 29, 70, 6, 2),
           call(2, 12, 29, 70, 6, 3, 5), call(2, 12, 29, 70, 4, 2, None, True))  # fmt: skip


def _llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False):
    C, D = d_model, d_model // n_heads if d_head is None else d_head
    return {
        "embedding": vocab_size * C,
        "position": 0,
        "attention": n_layers * (2 * C * n_heads * D + 2 * C * n_kv_heads * D),
        "feed_forward": n_layers * 3 * C * d_ff,
        "norm": n_layers * 2 * C + C,
        "head": 0 if tied else vocab_size * C,
    }


@bank.wrong(
    "count_llama", "One matrix short in each feed-forward layer: SwiGLU has gate, up, down."
)
def two_matrices(n_layers, d_model, d_ff, *args, **kwargs):
    parts = _llama(n_layers, d_model, d_ff, *args, **kwargs)
    return summed(**parts | {"feed_forward": n_layers * 2 * d_model * d_ff})


@bank.wrong("count_llama", "Llama's linear layers have no bias.")
def with_biases(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False):
    parts = _llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, tied)
    D = d_head or d_model // n_heads
    parts["attention"] += n_layers * ((n_heads + 2 * n_kv_heads) * D + d_model)
    parts["feed_forward"] += n_layers * (2 * d_ff + d_model)
    return summed(**parts)


@bank.wrong("count_llama", "K and V are counted at full width: they have Hkv * D columns.")
def kv_at_full_width(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    return summed(**_llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_heads, d_head, tied))


@bank.wrong(
    "count_llama", "All four matrices are counted at the width of K and V; Q and O have H * D."
)
def all_narrow(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False):
    D = d_head or d_model // n_heads
    parts = _llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, tied)
    return summed(**parts | {"attention": n_layers * 4 * d_model * n_kv_heads * D})


@bank.wrong("count_llama", "Heads split C, they do not multiply it: each has C / H columns, not C.")
def heads_of_full_width(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    d_head = d_head or d_model
    return summed(**_llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, tied))


@bank.wrong("count_llama", "d_head has no effect: you use C / H.")
def d_head_ignored(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    return summed(**_llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, None, tied))


@bank.wrong("count_llama", "The output matrix goes from H * D to C; you count C times C.")
def output_square(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    parts = _llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, tied)
    D = d_head or d_model // n_heads
    parts["attention"] += n_layers * d_model * (d_model - n_heads * D)
    return summed(**parts)


@bank.wrong("count_llama", "RMSNorm has a scale and no shift: C numbers, not 2 C.")
def norms_with_shift(n_layers, d_model, d_ff, *args, **kwargs):
    parts = _llama(n_layers, d_model, d_ff, *args, **kwargs)
    return summed(**parts | {"norm": 2 * parts["norm"]})


@bank.wrong("count_llama", "The norm after the last block is missing.")
def llama_without_final_norm(n_layers, d_model, d_ff, *args, **kwargs):
    parts = _llama(n_layers, d_model, d_ff, *args, **kwargs)
    return summed(**parts | {"norm": 2 * n_layers * d_model})


@bank.wrong("count_llama", "Llama has no position table: RoPE's angles are computed, not learned.")
def angles_counted(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    parts = _llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, tied)
    return summed(**parts | {"position": (d_head or d_model // n_heads) // 2})


@bank.wrong("count_llama", "The head is a matrix of its own unless tied is True; you count 0.")
def head_always_tied(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    return summed(**_llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head, True))


@bank.wrong(
    "count_llama", "The head is counted although it is tied: it is the token table once more."
)
def head_never_tied(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    return summed(**_llama(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head))


@bank.right("count_llama")
def llama_by_formula(*args, **kwargs):
    return summed(**_llama(*args, **kwargs))


@bank.right("count_llama")
def llama_by_tensors(
    n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, d_head=None, tied=False
):
    d_head = d_head if d_head else d_model // n_heads
    wide, narrow = n_heads * d_head, n_kv_heads * d_head
    tensors = [("embedding", vocab_size, d_model), ("norm", 1, d_model)]
    for _ in range(n_layers):
        tensors += [("attention", d_model, n) for n in (wide, narrow, narrow, wide)]
        tensors += [("feed_forward", d_model, d_ff)] * 3 + [("norm", 1, d_model)] * 2
    tensors += [] if tied else [("head", d_model, vocab_size)]
    names = ("embedding", "position", "attention", "feed_forward", "norm", "head")
    counts = {name: sum(a * b for part, a, b in tensors if part == name) for name in names}
    return counts | {"total": sum(a * b for _, a, b in tensors)}


# --- count_t5 --------------------------------------------------------------------------------

bank.probe("count_t5", call(4, 10, 37, 4, 3, 70), call(2, 7, 11, 5, 2, 31, 9))


def _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    square = d_model * n_heads * d_head
    return {
        "embedding": vocab_size * d_model,
        "position": 2 * n_buckets * n_heads,
        "attention": n_layers * 12 * square,
        "feed_forward": n_layers * 4 * d_model * d_ff,
        "norm": n_layers * 5 * d_model + 2 * d_model,
        "head": 0,
    }


@bank.wrong(
    "count_t5", "The cross-attention of the decoder is missing: a pair of blocks has three."
)
def no_cross_attention(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"attention": n_layers * 8 * d_model * n_heads * d_head})


@bank.wrong("count_t5", "n_layers is the depth of each stack; you split it between the two.")
def layers_split(n_layers, *args):
    return summed(**_t5(n_layers // 2, *args))


@bank.wrong("count_t5", "Only one stack is counted: T5 has an encoder and a decoder.")
def encoder_alone(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    return summed(
        embedding=vocab_size * d_model, position=n_buckets * n_heads, head=0,
        attention=n_layers * 4 * d_model * n_heads * d_head,
        feed_forward=n_layers * 2 * d_model * d_ff, norm=(2 * n_layers + 1) * d_model,
    )  # fmt: skip


@bank.wrong("count_t5", "The relative positions stand once in each stack; you count them in one.")
def positions_once(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"position": n_buckets * n_heads})


@bank.wrong("count_t5", "The relative positions stand in the first block of a stack; you count them in "
            "every block.")  # fmt: skip
def positions_in_every_block(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"position": 2 * n_layers * n_buckets * n_heads})


@bank.wrong("count_t5", "A bucket has a number for each head, not for each column of a head.")
def buckets_of_vectors(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"position": 2 * n_buckets * n_heads * d_head})


@bank.wrong("count_t5", "The norm before cross-attention is missing: a decoder block has three.")
def two_norms_in_the_decoder(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"norm": (4 * n_layers + 2) * d_model})


@bank.wrong("count_t5", "The norms at the end of the stacks are missing.")
def t5_without_final_norms(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"norm": 5 * n_layers * d_model})


@bank.wrong(
    "count_t5", "The feed-forward layer has two matrices; you count three, as in later T5s."
)
def gated(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"feed_forward": n_layers * 6 * d_model * d_ff})


@bank.wrong("count_t5", "The token table is counted for each stack; both use one.")
def two_token_tables(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"embedding": 2 * vocab_size * d_model})


@bank.wrong("count_t5", "The attention maps go between C and H * D; you count C times C.")
def square_maps(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    parts = _t5(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets)
    return summed(**parts | {"attention": n_layers * 12 * d_model**2})


@bank.right("count_t5")
def t5_by_formula(*args, **kwargs):
    return summed(**_t5(*args, **kwargs))


@bank.right("count_t5")
def t5_by_stacks(n_layers, d_model, d_ff, d_head, n_heads, vocab_size, n_buckets=32):
    answer = {"embedding": vocab_size * d_model, "head": 0}
    answer |= dict.fromkeys(("position", "attention", "feed_forward", "norm"), 0)
    for attentions in (1, 2):  # encoder, decoder
        answer["position"] += n_buckets * n_heads
        for _ in range(n_layers):
            answer["attention"] += attentions * 4 * d_model * (n_heads * d_head)
            answer["feed_forward"] += 2 * d_model * d_ff
            answer["norm"] += (attentions + 1) * d_model
        answer["norm"] += d_model
    return answer | {"total": sum(answer.values())}


# --- count_moe -------------------------------------------------------------------------------

bank.probe("count_moe", call(3, 12, 29, 70, 4, 4, 5, 2), call(2, 12, 7, 31, 6, 2, 8, 3))


def _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts):
    """What is always on, and what one expert of every block has."""
    C, D = d_model, d_model // n_heads
    block = 2 * C * n_heads * D + 2 * C * n_kv_heads * D + n_experts * C + 2 * C
    return n_layers * block + C + 2 * vocab_size * C, n_layers * 3 * C * d_ff


@bank.wrong("count_moe", "Active is scaled as a whole by k / E. Only expert matrices are chosen; "
            "attention, norms and tables are always on.")  # fmt: skip
def all_scaled(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    total = always + n_experts * expert
    return total, total * k // n_experts


@bank.wrong(
    "count_moe", "Attention is multiplied by the number of experts; it stands once in a block."
)
def attention_per_expert(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    D = d_model // n_heads
    attention = n_layers * 2 * d_model * D * (n_heads + n_kv_heads)
    return (always + n_experts * expert + (n_experts - 1) * attention,
            always + k * expert + (k - 1) * attention)  # fmt: skip


@bank.wrong("count_moe", "The router is missing: a map from C to E in each block.")
def no_router(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, 0)
    return always + n_experts * expert, always + k * expert


@bank.wrong("count_moe", "Of the router only k of E columns are active in your count; it is always on "
            "as a whole.")  # fmt: skip
def router_scaled(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, 0)
    router = n_layers * d_model
    return always + n_experts * (expert + router), always + k * (expert + router)


@bank.wrong("count_moe", "You return (active, total); total comes first.")
def exchanged(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    return always + k * expert, always + n_experts * expert


@bank.wrong("count_moe", "An expert has three matrices: gate, up and down. You count two.")
def two_matrices_per_expert(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    return always + n_experts * expert * 2 // 3, always + k * expert * 2 // 3


@bank.wrong("count_moe", "K and V are counted at full width: they have Hkv * D columns.")
def moe_kv_at_full_width(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_heads, n_experts)
    return always + n_experts * expert, always + k * expert


@bank.wrong("count_moe", "Both tables are active: the token table and the head.")
def tables_idle(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    return always + n_experts * expert, always + k * expert - 2 * vocab_size * d_model


@bank.wrong("count_moe", "The head is a matrix of its own; you count one table.")
def moe_tied(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    always -= vocab_size * d_model
    return always + n_experts * expert, always + k * expert


@bank.right("count_moe")
def moe_by_formula(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    always, expert = _moe(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts)
    return always + n_experts * expert, always + k * expert


@bank.right("count_moe")
def moe_by_what_is_idle(n_layers, d_model, d_ff, vocab_size, n_heads, n_kv_heads, n_experts, k):
    d_head = d_model // n_heads
    total = (2 * vocab_size + 1) * d_model
    for _ in range(n_layers):
        total += d_model * (n_heads * d_head) + (n_heads * d_head) * d_model
        total += 2 * d_model * (n_kv_heads * d_head)
        total += n_experts * (d_model + 3 * d_model * d_ff) + 2 * d_model
    idle = (n_experts - k) * 3 * d_model * d_ff * n_layers
    return (total, total - idle)


# --- count_lora ------------------------------------------------------------------------------

bank.probe("count_lora", call([(10, 21)], 2), call([(10, 21), (10, 21), (5, 3)], 4), call([], 3))


@bank.wrong(
    "count_lora", "You count the adapted matrices; they are frozen. Trained are a x r and r x b."
)
def whole_matrices(shapes, rank):
    return sum(a * b for a, b in shapes)


@bank.wrong("count_lora", "The frozen matrices are counted as well.")
def frozen_too(shapes, rank):
    return sum(a * b + rank * (a + b) for a, b in shapes)


@bank.wrong("count_lora", "One of the two matrices is missing: there is an r x b beside the a x r.")
def one_of_two(shapes, rank):
    return sum(rank * a for a, b in shapes)


@bank.wrong("count_lora", "Equal shapes are counted once; every matrix has an adapter of its own.")
def equal_ones_once(shapes, rank):
    return sum(rank * (a + b) for a, b in set(shapes))


@bank.wrong(
    "count_lora", "The sizes are multiplied: a x r and r x b are two matrices, their sizes add."
)
def multiplied(shapes, rank):
    return sum(rank * a * b for a, b in shapes)


@bank.wrong("count_lora", "Only the first matrix is counted.")
def first_matrix(shapes, rank):
    return rank * sum(shapes[0]) if shapes else 0


@bank.wrong("count_lora", "Each factor is counted with a bias; LoRA has none.")
def lora_with_biases(shapes, rank):
    return sum(rank * (a + b) + rank + b for a, b in shapes)


@bank.right("count_lora")
def lora_by_columns(shapes, rank):
    return rank * (sum(a for a, _ in shapes) + sum(b for _, b in shapes))


@bank.right("count_lora")
def lora_by_starmap(shapes, rank):
    return sum(starmap(lambda a, b: a * rank + rank * b, shapes))


# --- training_memory -------------------------------------------------------------------------

bank.probe(
    "training_memory",
    call(1000),
    call(1000, 1, 8),
    call(1000, 2, 8),
    call(1000, 3, 8),
    call(1000, 0, 8),
    call(1000, 0, 1, 30),
    call(1000, 3, 8, 30),
    call(1000, 2, 4, 30),
    call(1000, n_trainable=0),
)


def _states(weights, grads, optimizer):
    return summed(weights=weights, grads=grads, optimizer=optimizer)


def _memory(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    trained = n_params if n_trainable is None else n_trainable
    by = [n_gpus if zero_stage >= stage else 1 for stage in (3, 2, 1)]
    return [2 * n_params / by[0], 2 * trained / by[1], 12 * trained / by[2]]


@bank.wrong("training_memory", "The optimizer has 12 bytes per parameter: a float32 copy of the weights, "
            "m and v in float32. You count m and v in 16 bits, 4 bytes.")  # fmt: skip
def adam_in_16_bits(*args, **kwargs):
    weights, grads, optimizer = _memory(*args, **kwargs)
    return _states(weights, grads, optimizer / 3)


@bank.wrong("training_memory", "The float32 copy of the weights is missing: 12 bytes, not 8.")
def no_master_copy(*args, **kwargs):
    weights, grads, optimizer = _memory(*args, **kwargs)
    return _states(weights, grads, optimizer * 2 / 3)


@bank.wrong(
    "training_memory", "Weights alone; gradients and optimizer are missing. That is inference."
)
def inference(*args, **kwargs):
    return _states(_memory(*args, **kwargs)[0], 0.0, 0.0)


@bank.wrong("training_memory", "Gradients are missing: 2 bytes per trained parameter.")
def no_gradients(*args, **kwargs):
    weights, _, optimizer = _memory(*args, **kwargs)
    return _states(weights, 0.0, optimizer)


@bank.wrong(
    "training_memory", "Weights and gradients are counted in 32 bits, 4 bytes; here they have 2."
)
def in_32_bits(*args, **kwargs):
    weights, grads, optimizer = _memory(*args, **kwargs)
    return _states(2 * weights, 2 * grads, optimizer)


@bank.wrong("training_memory", "This is the memory of all GPUs together; divide by their number.")
def of_all_gpus(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    return _states(*_memory(n_params, 0, 1, n_trainable))


@bank.wrong("training_memory", "Without ZeRO every GPU holds everything; you share at stage 0 too.")
def shared_at_stage_0(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    if zero_stage == 0:
        return _states(*(n / n_gpus for n in _memory(n_params, 0, 1, n_trainable)))
    return _states(*_memory(n_params, zero_stage, n_gpus, n_trainable))


@bank.wrong("training_memory", "Stages add up: stage 2 shares the gradients and, as stage 1, the "
            "optimizer. You share one thing at a time.")  # fmt: skip
def one_thing_at_a_time(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    states = _memory(n_params, 0, 1, n_trainable)
    if zero_stage:
        states[3 - zero_stage] /= n_gpus
    return _states(*states)


@bank.wrong("training_memory", "Stage 1 shares the optimizer, stage 3 the weights; you have it the other "
            "way round.")  # fmt: skip
def stages_reversed(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    states = _memory(n_params, 0, 1, n_trainable)
    by = [n_gpus if zero_stage >= stage else 1 for stage in (1, 2, 3)]
    return _states(*(n / g for n, g in zip(states, by, strict=True)))


@bank.wrong("training_memory", "n_trainable has no effect: frozen weights have neither gradient nor "
            "optimizer state.")  # fmt: skip
def n_trainable_ignored(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    return _states(*_memory(n_params, zero_stage, n_gpus))


@bank.wrong(
    "training_memory", "Frozen weights are missing: they are not trained, but they are there."
)
def frozen_left_out(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    n_params = n_params if n_trainable is None else n_trainable
    return _states(*_memory(n_params, zero_stage, n_gpus))


@bank.wrong(
    "training_memory", "n_trainable comes on top of n_params in your count; it is a part of it."
)
def trainable_on_top(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    return _states(*_memory(n_params + (n_trainable or 0), zero_stage, n_gpus, n_trainable))


@bank.wrong("training_memory", "With n_trainable = 0 you count all as trained: 0 is not None.")
def zero_is_none(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    return _states(*_memory(n_params, zero_stage, n_gpus, n_trainable or None))


@bank.wrong(
    "training_memory", "Stage 3 shares the trained weights only; frozen ones are shared too."
)
def frozen_not_shared(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    weights, grads, optimizer = _memory(n_params, zero_stage, n_gpus, n_trainable)
    if zero_stage == 3 and n_trainable is not None:
        weights += 2 * (n_params - n_trainable) * (1 - 1 / n_gpus)
    return _states(weights, grads, optimizer)


@bank.wrong("training_memory", "You return GB; the docstring asks for bytes.")
def in_gb(*args, **kwargs):
    return _states(*(n / 1e9 for n in _memory(*args, **kwargs)))


@bank.right("training_memory")
def memory_by_cases(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    if n_trainable is None:
        n_trainable = n_params
    weights, grads, optimizer = 2.0 * n_params, 2.0 * n_trainable, 12.0 * n_trainable
    if zero_stage > 0:
        optimizer /= n_gpus
    if zero_stage > 1:
        grads /= n_gpus
    if zero_stage > 2:
        weights /= n_gpus
    return {"weights": weights, "grads": grads, "optimizer": optimizer,
            "total": weights + grads + optimizer}  # fmt: skip


@bank.right("training_memory")
def memory_by_shares(n_params, zero_stage=0, n_gpus=1, n_trainable=None):
    return _states(*_memory(n_params, zero_stage, n_gpus, n_trainable))


# --- activation_memory -----------------------------------------------------------------------

bank.probe("activation_memory", call(3, 40, 5, 24, 4), call(3, 40, 5, 24, 4, True),
           call(3, 40, 5, 24, 4, False, True), call(3, 40, 5, 24, 4, True, True))  # fmt: skip


def _activations(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    rows = n_layers * batch * n_tokens
    scores = 0 if flash else 5 * n_heads * n_tokens
    return 2.0 * rows * d_model if checkpoint else float(rows * (34 * d_model + scores))


@bank.wrong("activation_memory", "The scores are T x T; you count them once per token.")
def scores_linear(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    if flash or checkpoint:
        return _activations(batch, n_tokens, n_layers, d_model, n_heads, flash, checkpoint)
    return float(n_layers * batch * n_tokens * (34 * d_model + 5 * n_heads))


@bank.wrong(
    "activation_memory", "The scores are missing: 5 bytes for each of the B H T² of a layer."
)
def no_scores(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, n_layers, d_model, n_heads, True, checkpoint)


@bank.wrong("activation_memory", "Every head has its own scores; you count those of one.")
def scores_of_one_head(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, n_layers, d_model, 1, flash, checkpoint)


@bank.wrong(
    "activation_memory", "You count one layer; all layers are kept until the backward pass."
)
def one_layer(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, 1, d_model, n_heads, flash, checkpoint)


@bank.wrong("activation_memory", "Off by 7.4 %: GB and GiB are mixed. Return bytes.")
def gb_for_gib(*args, **kwargs):
    return _activations(*args, **kwargs) / 2**30 * 1e9


@bank.wrong("activation_memory", "You return GiB; the docstring asks for bytes.")
def in_gib(*args, **kwargs):
    return _activations(*args, **kwargs) / 2**30


@bank.wrong("activation_memory", "flash has no effect: a fused kernel does not keep the scores.")
def flash_ignored(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, n_layers, d_model, n_heads, False, checkpoint)


@bank.wrong("activation_memory", "checkpoint has no effect: only inputs of blocks are kept then.")
def checkpoint_ignored(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, n_layers, d_model, n_heads, flash)


@bank.wrong(
    "activation_memory", "With both flags checkpointing wins: only inputs of blocks are kept."
)
def flash_wins(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    checkpoint = checkpoint and not flash
    return _activations(batch, n_tokens, n_layers, d_model, n_heads, flash, checkpoint)


@bank.wrong(
    "activation_memory", "With checkpointing you keep the scores as well; they are computed again."
)
def scores_survive(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    plain = _activations(batch, n_tokens, n_layers, d_model, n_heads, flash, checkpoint)
    return plain + checkpoint * (not flash) * 5.0 * n_layers * batch * n_heads * n_tokens**2


@bank.right("activation_memory")
def activations_by_rows(batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False):
    return _activations(batch, n_tokens, n_layers, d_model, n_heads, flash, checkpoint)


@bank.right("activation_memory")
def activations_by_layers(
    batch, n_tokens, n_layers, d_model, n_heads, flash=False, checkpoint=False
):
    total = 0.0
    for _ in range(n_layers):
        kept = 2 if checkpoint else 34
        total += kept * batch * n_tokens * d_model
        if not (checkpoint or flash):
            total += 5 * batch * n_heads * n_tokens * n_tokens
    return total


# --- kv_cache_bytes --------------------------------------------------------------------------

bank.probe(
    "kv_cache_bytes", call(3, 40, 5, 4, 24), call(3, 40, 5, 4, 24, 1), call(1, 7, 5, 2, 3, 4)
)


@bank.wrong("kv_cache_bytes", "Half of it is missing: a key and a value are kept.")
def keys_alone(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return batch * n_tokens * n_layers * n_kv_heads * d_head * bytes_per_value


@bank.wrong("kv_cache_bytes", "You count one layer; every layer keeps its own keys and values.")
def cache_of_one_layer(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * batch * n_tokens * n_kv_heads * d_head * bytes_per_value


@bank.wrong(
    "kv_cache_bytes", "You return how many numbers are kept; each has bytes_per_value bytes."
)
def numbers_for_bytes(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * batch * n_tokens * n_layers * n_kv_heads * d_head


@bank.wrong("kv_cache_bytes", "The cache of one text; every text of the batch has its own.")
def cache_of_one_text(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * n_tokens * n_layers * n_kv_heads * d_head * bytes_per_value


@bank.wrong(
    "kv_cache_bytes", "The cache of one head: each of the n_kv_heads key heads has its own."
)
def cache_of_one_head(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * batch * n_tokens * n_layers * d_head * bytes_per_value


@bank.wrong(
    "kv_cache_bytes", "It grows with the square of the tokens here; scores do, the cache does not."
)
def quadratic(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * batch * n_tokens**2 * n_layers * n_kv_heads * d_head * bytes_per_value


@bank.wrong("kv_cache_bytes", "bytes_per_value has no effect: you count 2 bytes.")
def always_two_bytes(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 4 * batch * n_tokens * n_layers * n_kv_heads * d_head


@bank.wrong("kv_cache_bytes", "You return GiB; the docstring asks for bytes.")
def cache_in_gib(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 2 * batch * n_tokens * n_layers * n_kv_heads * d_head * bytes_per_value / 2**30


@bank.wrong("kv_cache_bytes", "Queries are kept as well in your count; only keys and values are.")
def queries_too(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return 3 * batch * n_tokens * n_layers * n_kv_heads * d_head * bytes_per_value


@bank.right("kv_cache_bytes")
def cache_by_prod(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    return math.prod((2, n_layers, batch, n_kv_heads, n_tokens, d_head, bytes_per_value))


@bank.right("kv_cache_bytes")
def cache_of_tensors(batch, n_tokens, n_layers, n_kv_heads, d_head, bytes_per_value=2):
    key = torch.empty(batch, n_kv_heads, n_tokens, d_head, device="meta")
    return n_layers * (key.numel() + key.numel()) * bytes_per_value


# --- train_flops -----------------------------------------------------------------------------

bank.probe("train_flops", call(50, 7), call(50, 7, 3, 4, 11))


@bank.wrong(
    "train_flops", "2 per parameter is the forward pass; the backward pass costs twice as much."
)
def forward_only(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (2.0 * n_params + 4.0 * n_layers * d_model * context_len)


@bank.wrong("train_flops", "4 per parameter is the backward pass; the forward pass adds 2.")
def backward_only(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (4.0 * n_params + 12.0 * n_layers * d_model * context_len)


@bank.wrong("train_flops", "Multiplications alone: each comes with an addition, so 6, not 3.")
def multiplications(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (3.0 * n_params + 6.0 * n_layers * d_model * context_len)


@bank.wrong("train_flops", "The term of attention is missing.")
def no_attention(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return 6.0 * n_params * n_tokens


@bank.wrong(
    "train_flops", "You take off half of attention for the causal mask; the docstring does not."
)
def causal_saving(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (6.0 * n_params + 6.0 * n_layers * d_model * context_len)


@bank.wrong("train_flops", "Attention is counted for one token; every token has it.")
def attention_once(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return 6.0 * n_params * n_tokens + 12.0 * n_layers * d_model * context_len


@bank.wrong("train_flops", "The attention of one layer: n_layers is missing.")
def attention_of_one_layer(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (6.0 * n_params + 12.0 * d_model * context_len)


@bank.wrong("train_flops", "The context is squared; per token it is linear.")
def context_squared(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    return n_tokens * (6.0 * n_params + 12.0 * n_layers * d_model * context_len**2)


@bank.right("train_flops")
def flops_by_passes(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    forward = 2 * n_params + 2 * 2 * context_len * d_model * n_layers
    return float(forward + 2 * forward) * n_tokens


@bank.right("train_flops")
def flops_as_sum(n_params, n_tokens, n_layers=0, d_model=0, context_len=0):
    total = 6 * n_params * n_tokens
    if n_layers:
        total += 12 * n_layers * d_model * context_len * n_tokens
    return total


# --- mfu -------------------------------------------------------------------------------------

bank.probe("mfu", call(5e6, 3.0, 1000.0), call(9e7, 2.0, 1000.0), call(1e6, 0.5, 700.0))


@bank.wrong("mfu", "Hours are taken for seconds: the peak is per second.")
def hours_for_seconds(flops, gpu_hours, peak_flops):
    return flops / (gpu_hours * peak_flops)


@bank.wrong("mfu", "An hour has 3,600 seconds; you count 60.")
def minutes_for_seconds(flops, gpu_hours, peak_flops):
    return flops / (gpu_hours * 60 * peak_flops)


@bank.wrong("mfu", "Half of the share, as against a sparse peak. peak_flops is the dense one already; "
            "the data sheet's larger figure needs 2:4 sparsity.")  # fmt: skip
def sparse_peak(flops, gpu_hours, peak_flops):
    return flops / (gpu_hours * 3600 * 2 * peak_flops)


@bank.wrong("mfu", "The fraction is upside down: needed operations over possible ones.")
def upside_down(flops, gpu_hours, peak_flops):
    return gpu_hours * 3600 * peak_flops / flops


@bank.wrong("mfu", "You cut it off at 1; above 1 it tells that an input is wrong.")
def clamped(flops, gpu_hours, peak_flops):
    return min(1.0, flops / (gpu_hours * 3600 * peak_flops))


@bank.wrong("mfu", "You return per cent; the docstring asks for a share.")
def in_percent(flops, gpu_hours, peak_flops):
    return 100 * flops / (gpu_hours * 3600 * peak_flops)


@bank.wrong("mfu", "You return what the hardware did per second; divide by its peak.")
def achieved(flops, gpu_hours, peak_flops):
    return flops / (gpu_hours * 3600)


@bank.right("mfu")
def achieved_over_peak(flops, gpu_hours, peak_flops):
    achieved_per_second = flops / (gpu_hours * 60 * 60)
    return achieved_per_second / peak_flops


@bank.right("mfu")
def hours_needed_over_used(flops, gpu_hours, peak_flops):
    return (flops / peak_flops / 3600) / gpu_hours


# --- training_days ---------------------------------------------------------------------------

bank.probe("training_days", call(5e9, 3, 1000.0, 0.4), call(2e8, 1, 700.0, 0.25))


@bank.wrong("training_days", "The MFU multiplies here: a lower share would make it faster.")
def mfu_multiplies(flops, n_gpus, peak_flops, mfu):
    return flops / (n_gpus * peak_flops) * mfu / 86400


@bank.wrong("training_days", "MFU is left out: no run works at the peak.")
def at_the_peak(flops, n_gpus, peak_flops, mfu):
    return flops / (n_gpus * peak_flops) / 86400


@bank.wrong("training_days", "These are GPU-days; divide by the number of GPUs.")
def gpu_days(flops, n_gpus, peak_flops, mfu):
    return flops / (peak_flops * mfu) / 86400


@bank.wrong("training_days", "You return seconds; the docstring asks for days.")
def in_seconds(flops, n_gpus, peak_flops, mfu):
    return flops / (n_gpus * peak_flops * mfu)


@bank.wrong("training_days", "You return hours; the docstring asks for days.")
def in_hours(flops, n_gpus, peak_flops, mfu):
    return flops / (n_gpus * peak_flops * mfu) / 3600


@bank.wrong("training_days", "A day has 24 hours; you count 60 · 60 · 60 seconds.")
def sixty_hours(flops, n_gpus, peak_flops, mfu):
    return flops / (n_gpus * peak_flops * mfu) / 60**3


@bank.wrong("training_days", "More GPUs make it longer here: they share the work.")
def gpus_multiply(flops, n_gpus, peak_flops, mfu):
    return flops * n_gpus / (peak_flops * mfu) / 86400


@bank.right("training_days")
def days_by_hours(flops, n_gpus, peak_flops, mfu):
    gpu_hours = flops / peak_flops / mfu / 3600
    return gpu_hours / n_gpus / 24


@bank.right("training_days")
def days_by_work_per_day(flops, n_gpus, peak_flops, mfu):
    per_day = peak_flops * mfu * n_gpus * 24 * 60 * 60
    return flops / per_day


# --- cost_range ------------------------------------------------------------------------------

bank.probe("cost_range", call(5e9, 1000.0, (0.2, 0.5), (1.0, 3.0)),
           call(5e9, 1000.0, (0.4, 0.4), (2.0, 2.0)))  # fmt: skip


def _price(flops, peak_flops, mfu, usd):
    return flops / (peak_flops * mfu * 3600) * usd


@bank.wrong("cost_range", "Low MFU is paired with the low price: a low MFU is the expensive end.")
def low_with_low(flops, peak_flops, mfu, usd_per_hour):
    ends = [_price(flops, peak_flops, m, usd) for m, usd in zip(mfu, usd_per_hour, strict=True)]
    return min(ends), max(ends)


@bank.wrong("cost_range", "Your range comes out the wrong way round: the cheap end is first.")
def high_first(flops, peak_flops, mfu, usd_per_hour):
    return (_price(flops, peak_flops, mfu[0], usd_per_hour[1]),
            _price(flops, peak_flops, mfu[1], usd_per_hour[0]))  # fmt: skip


@bank.wrong("cost_range", "Both ends use the higher MFU; the expensive end has the lower one.")
def one_mfu(flops, peak_flops, mfu, usd_per_hour):
    return tuple(_price(flops, peak_flops, mfu[1], usd) for usd in usd_per_hour)


@bank.wrong("cost_range", "Both ends use the mean MFU; each end has its own.")
def mean_mfu(flops, peak_flops, mfu, usd_per_hour):
    return tuple(_price(flops, peak_flops, sum(mfu) / 2, usd) for usd in usd_per_hour)


@bank.wrong("cost_range", "Your hours are seconds: 3,600 is missing.")
def dollars_per_second(flops, peak_flops, mfu, usd_per_hour):
    return (_price(flops, peak_flops, mfu[1], usd_per_hour[0]) * 3600,
            _price(flops, peak_flops, mfu[0], usd_per_hour[1]) * 3600)  # fmt: skip


@bank.wrong(
    "cost_range", "MFU multiplies here: the better the hardware is used, the dearer the run."
)
def dear_when_used_well(flops, peak_flops, mfu, usd_per_hour):
    return tuple(flops / peak_flops / 3600 * m * usd
                 for m, usd in zip(mfu, usd_per_hour, strict=True))  # fmt: skip


@bank.right("cost_range")
def cost_of_all_corners(flops, peak_flops, mfu, usd_per_hour):
    ends = [_price(flops, peak_flops, m, usd) for m in mfu for usd in usd_per_hour]
    return min(ends), max(ends)


@bank.right("cost_range")
def cost_of_two_corners(flops, peak_flops, mfu, usd_per_hour):
    (slow, fast), (cheap, dear) = mfu, usd_per_hour
    seconds = flops / peak_flops
    return seconds / fast * cheap / 3600, seconds / slow * dear / 3600


# --- fit_power_law ---------------------------------------------------------------------------

_x = torch.logspace(4, 9, 70, dtype=torch.float64)
_loss = 1.7 + 100 * _x**-0.4
_order = torch.randperm(70, generator=gen)
_noise = 1e-3 * torch.randn(70, generator=gen, dtype=torch.float64)
bank.probe("fit_power_law", call(_x, _loss), call(_x[_order], _loss[_order]),
           call(_x, 2 + 30 * _x**-0.23), call(_x, _loss + _noise))  # fmt: skip


def _line(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Intercept and slope of the least squares line."""
    gap = x - x.mean()
    slope = (gap * y).sum() / gap.square().sum()
    return y.mean() - slope * x.mean(), slope


def _search(x: Tensor, loss: Tensor, error=lambda e: e.square().sum()) -> tuple[float, ...]:
    """(floor, coefficient, exponent) by trying exponents."""

    def tried(a: float) -> tuple[float, ...]:
        floor, c = _line(x**-a, loss)
        return error(floor + c * x**-a - loss).item(), floor.item(), c.item(), a

    return min(tried(a) for a in torch.arange(0.1, 0.8, 0.001, dtype=torch.float64).tolist())[1:]


@bank.wrong("fit_power_law", "You fit a straight line through the logarithms: it has no floor, and so "
            "the exponent is too small.")  # fmt: skip
def without_floor(x, loss):
    intercept, slope = _line(x.double().log(), loss.double().log())
    return 0.0, intercept.exp().item(), -slope.item()


@bank.wrong(
    "fit_power_law", "The exponent is returned with its minus; the curve has x ** -exponent."
)
def negative_exponent(x, loss):
    floor, c, a = _search(x.double(), loss.double())
    return floor, c, -a


@bank.wrong(
    "fit_power_law", "You return (floor, exponent, coefficient); the coefficient comes second."
)
def wrong_order(x, loss):
    floor, c, a = _search(x.double(), loss.double())
    return floor, a, c


@bank.wrong(
    "fit_power_law", "The smallest loss is taken for the floor; the curve is still above it."
)
def smallest_loss_as_floor(x, loss):
    x, loss = x.double(), loss.double()
    floor = loss.min()
    above = loss > floor
    intercept, slope = _line(x[above].log(), (loss[above] - floor).log())
    return floor.item(), intercept.exp().item(), -slope.item()


@bank.wrong("fit_power_law", "You return the logarithm of the coefficient.")
def log_coefficient(x, loss):
    floor, c, a = _search(x.double(), loss.double())
    return floor, math.log(c), a


@bank.wrong("fit_power_law", "The exponent is fixed at one half; it is to be found.")
def square_root(x, loss):
    floor, c = _line(x.double() ** -0.5, loss.double())
    return floor.item(), c.item(), 0.5


@bank.wrong(
    "fit_power_law", "The curve goes through three of the points; noise in them decides. Use all."
)
def three_points(x, loss):
    order = x.argsort()
    near = x[order].double()[[0, len(x) // 2, -1]]
    return _search(near, loss[order].double()[[0, len(x) // 2, -1]])


@bank.wrong("fit_power_law", "x is sorted and the losses are not: each loss belongs to its x.")
def sorted_apart(x, loss):
    return _search(x.double().sort()[0], loss.double())


@bank.right("fit_power_law")
def fit_by_search(x, loss):
    return _search(x.double(), loss.double())


@bank.right("fit_power_law")
def fit_by_gauss_newton(x, loss):
    u, loss = x.double().log(), loss.double()
    middle = u.mean()
    u = u - middle
    start = 0.9 * loss.min()
    q = torch.stack([start, (loss.median() - start).log(), torch.tensor(0.3).double()])
    damping = 1e-3

    def curve(q):
        fall = (q[1] - q[2] * u).exp()
        return q[0] + fall, torch.stack([torch.ones_like(u), fall, -u * fall], 1)

    for _ in range(60):
        value, slopes = curve(q)
        squares = slopes.T @ slopes
        step = torch.linalg.solve(squares + damping * squares.diag().diag(),
                                  slopes.T @ (loss - value))  # fmt: skip
        better = (loss - curve(q + step)[0]).square().sum() < (loss - value).square().sum()
        q, damping = (q + step, damping / 3) if better else (q, damping * 4)
    return q[0].item(), (q[1] + q[2] * middle).exp().item(), q[2].item()


# --- compute_optimal -------------------------------------------------------------------------

bank.probe("compute_optimal", call(54_000.0), call(9_000.0, 3.0))


@bank.wrong("compute_optimal", "The 6 is missing: a parameter costs 6 operations per token.")
def without_six(flops, tokens_per_param=20.0):
    n = math.sqrt(flops / tokens_per_param)
    return n, tokens_per_param * n


@bank.wrong(
    "compute_optimal", "The square root is missing: operations grow with the square of the size."
)
def without_root(flops, tokens_per_param=20.0):
    n = flops / (6 * tokens_per_param)
    return n, tokens_per_param * n


@bank.wrong("compute_optimal", "You return (tokens, parameters); parameters come first.")
def tokens_first(flops, tokens_per_param=20.0):
    n = math.sqrt(flops / (6 * tokens_per_param))
    return tokens_per_param * n, n


@bank.wrong("compute_optimal", "tokens_per_param has no effect: you use 20.")
def always_twenty(flops, tokens_per_param=20.0):
    n = math.sqrt(flops / 120)
    return n, 20 * n


@bank.wrong("compute_optimal", "You round to whole numbers; return them as they are.")
def rounded(flops, tokens_per_param=20.0):
    n = int(math.sqrt(flops / (6 * tokens_per_param)))
    return float(n), float(tokens_per_param * n)


@bank.wrong("compute_optimal", "Tokens and parameters use up 2 operations each; training costs 6.")
def with_two(flops, tokens_per_param=20.0):
    n = math.sqrt(flops / (2 * tokens_per_param))
    return n, tokens_per_param * n


@bank.wrong("compute_optimal", "Parameters and tokens are equal here; tokens are 20 times as many.")
def equal_shares(flops, tokens_per_param=20.0):
    n = math.sqrt(flops / 6)
    return n, n


@bank.right("compute_optimal")
def optimal_by_tokens(flops, tokens_per_param=20.0):
    tokens = (flops * tokens_per_param / 6) ** 0.5
    return tokens / tokens_per_param, tokens


@bank.right("compute_optimal")
def optimal_by_logarithms(flops, tokens_per_param=20.0):
    n = math.exp((math.log(flops) - math.log(6) - math.log(tokens_per_param)) / 2)
    return n, flops / (6 * n)


# --- audit_row -------------------------------------------------------------------------------

PEAK = {"V100": 125e12, "A100": 312e12, "H100": 989e12}
ANNOUNCED = {"V100": "2017-05", "A100": "2020-05", "H100": "2022-03"}
_row = {"model": "X 10B", "size": 10e9, "params": 1e10, "active": 1e10, "tokens": 1e12,
        "tokens_high": 1e12, "gpu": "A100", "gpu_hours": 2e5, "published": "2023-01",
        "usd": 4e5}  # fmt: skip
_slips = (
    {}, {"size": 0, "params": 9e10}, {"params": 2e10}, {"params": 5e9, "active": 5e9},
    {"params": 1.2e10}, {"active": 1.2e10}, {"tokens_high": 2e12}, {"tokens_high": 1.2e12},
    {"published": "2019-11"}, {"published": "2020-05"}, {"gpu_hours": 1e4, "usd": 2e4},
    {"gpu_hours": 1e4, "usd": 9e6}, {"usd": 9e6}, {"usd": 100.0},
    {"size": 0, "params": 1e11, "gpu_hours": 8e4, "usd": 2e5},
    {"params": 2e10, "active": 2e10, "gpu_hours": 1e4, "usd": 2e4},
    {"params": 2e10, "tokens_high": 2e12, "usd": 9e6}, {"params": 1.25e10},
)  # fmt: skip
bank.probe("audit_row", *(call(_row | slip) for slip in _slips))


def _rules(row, far=0.25, active="active", hours=3600):
    possible = PEAK[row["gpu"]] * row["gpu_hours"] * hours
    return {
        "params": bool(row["size"]) and abs(row["params"] / row["size"] - 1) > far,
        "active": row["active"] > row["params"],
        "tokens_high": row["tokens_high"] / row["tokens"] > 1.25,
        "gpu": row["published"] <= ANNOUNCED[row["gpu"]],
        "gpu_hours": 6 * row[active] * row["tokens"] > possible,
        "usd": not 0.5 <= row["usd"] / row["gpu_hours"] <= 10,
    }


def _blamed(rules):
    """The names that the rules blame, rules 5 and 6 only where they are to be tried."""
    blamed = [name for name in ("params", "active", "tokens_high", "gpu") if rules.get(name)]
    if not blamed and rules["gpu_hours"]:
        blamed.append("gpu_hours")
    return blamed + ["usd"] * ("gpu_hours" not in blamed and rules["usd"])


@bank.wrong("audit_row", "The MFU is computed with all parameters; a token uses the active ones.")
def mfu_of_all_parameters(row):
    return _blamed(_rules(row, active="params"))


@bank.wrong("audit_row", "Rule 5 is tried although rules 1 to 4 blame a field that goes into it.")
def hours_always_tried(row):
    rules = _rules(row)
    blamed = [name for name, wrong in rules.items() if wrong and name != "usd"]
    return blamed + ["usd"] * ("gpu_hours" not in blamed and rules["usd"])


@bank.wrong(
    "audit_row", "Rule 6 is tried although the GPU-hours are blamed; the price rests on them."
)
def price_always_tried(row):
    rules = _rules(row)
    return _blamed(rules | {"usd": False}) + ["usd"] * rules["usd"]


@bank.wrong("audit_row", "You stop at the first field; the docstring asks for all.")
def first_field(row):
    return _blamed(_rules(row))[:1]


@bank.wrong(
    "audit_row", "A name without a size (0) is compared with 0; then rule 1 does not apply."
)
def size_zero_compared(row):
    rules = _rules(row)
    return _blamed(rules | {"params": abs(row["params"] - row["size"]) > 0.25 * row["size"]})


@bank.wrong("audit_row", "Too few parameters pass rule 1; they may be off to both sides.")
def only_too_many(row):
    rules = _rules(row)
    return _blamed(rules | {"params": 0 < 1.25 * row["size"] < row["params"]})


@bank.wrong(
    "audit_row", "A GPU of the month of publication passes; announced that month is too late."
)
def same_month_passes(row):
    return _blamed(_rules(row) | {"gpu": ANNOUNCED[row["gpu"]] > row["published"]})


@bank.wrong(
    "audit_row", "tokens_high is blamed wherever it differs from tokens; a quarter is allowed."
)
def any_range(row):
    return _blamed(_rules(row) | {"tokens_high": row["tokens_high"] != row["tokens"]})


@bank.wrong("audit_row", "Hours are taken for seconds in the MFU: every row looks impossible.")
def audit_in_seconds(row):
    return _blamed(_rules(row, hours=1))


@bank.wrong("audit_row", "Parameters are compared with the name exactly; a quarter is allowed.")
def exact_name(row):
    return _blamed(_rules(row, far=0.01))


@bank.wrong("audit_row", "A price below 50 cents per GPU-hour passes.")
def cheap_passes(row):
    rules = _rules(row)
    return _blamed(rules | {"usd": row["usd"] > 10 * row["gpu_hours"]})


@bank.wrong(
    "audit_row", "You return what is wrong in words; the docstring asks for names of fields."
)
def in_words(row):
    return [f"{name} cannot be true" for name in _blamed(_rules(row))]


@bank.wrong(
    "audit_row", "You return the fields that may be true; the docstring asks for the others."
)
def the_good_ones(row):
    return [name for name, wrong in _rules(row).items() if not wrong]


@bank.right("audit_row")
def audit_by_ifs(row):
    blamed = []
    if row["size"] and not 0.75 * row["size"] <= row["params"] <= 1.25 * row["size"]:
        blamed.append("params")
    if row["params"] < row["active"]:
        blamed.append("active")
    if row["tokens_high"] > row["tokens"] + row["tokens"] / 4:
        blamed.append("tokens_high")
    if not row["published"] > ANNOUNCED[row["gpu"]]:
        blamed.append("gpu")
    needed = 6 * row["active"] * row["tokens"] / PEAK[row["gpu"]] / 3600
    if blamed == [] and needed > row["gpu_hours"]:
        blamed.append("gpu_hours")
    price = row["usd"] / row["gpu_hours"]
    if "gpu_hours" not in blamed and (price < 0.5 or price > 10):
        blamed.append("usd")
    return blamed


@bank.right("audit_row")
def audit_by_rules_backwards(row):
    return _blamed(_rules(row))[::-1]


# --- mutants that change nothing the docstring asks --------------------------------------------

_all = "torch.linspace(0.05, 1, 1901, dtype=torch.float64)"
bank.equivalent("fit_power_law", f"{_all}  =>  torch.linspace(1, 0.05, 1901, dtype=torch.float64)",
                "the exponents are tried in another order")  # fmt: skip
bank.equivalent("fit_power_law", "0.05  =>  -0.95",
                "exponents that are not asked for are tried as well; steps are about 0.001")  # fmt: skip
bank.equivalent("fit_power_law", "1  =>  2",
                "exponents that are not asked for are tried as well; steps are about 0.001")  # fmt: skip
bank.equivalent("fit_power_law", "1901  =>  1902", "steps of almost the same width")
bank.equivalent("fit_power_law", "1901  =>  1900", "steps of almost the same width")
bank.equivalent("audit_row", "row['params'] - size  =>  size - row['params']", "abs takes both")
