"""Counting: published totals, transformers on the meta device, torch's FLOP counter, wrong counts.

The tables are figures of papers, data sheets and configurations, not results of the module. Wrong
counts are made from closed formulas written here, which know nothing of the module's tensors.
"""

import importlib.util
import json
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import (
    AlbertConfig,
    AlbertForMaskedLM,
    AlbertModel,
    BertConfig,
    BertForMaskedLM,
    BertModel,
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
    RobertaConfig,
    RobertaModel,
    T5Config,
    T5ForConditionalGeneration,
)

from glassbox import counting
from glassbox.counting import GPUS, MODELS, PARTS, Model

GIB = 2**30
TOTALS = {
    "GPT-2 small": 124_439_808, "GPT-2 small, untied head": 163_037_184,
    "GPT-2 medium": 354_823_168, "GPT-2 large": 774_030_080, "GPT-2 xl": 1_557_611_200,
    "GPT-3 small": 125_226_240, "GPT-3 XL": 1_315_723_264, "GPT-3 2.7B": 2_651_553_280,
    "GPT-3 6.7B": 6_658_404_352, "GPT-3 175B": 174_604_259_328,
    "BERT-base": 109_482_240, "BERT-base, no pooler": 108_891_648, "BERT-base MLM": 109_514_298,
    "BERT-large": 335_141_888, "BERT-large, no pooler": 334_092_288,
    "RoBERTa-base": 124_645_632, "RoBERTa-base, no pooler": 124_055_040,
    "ALBERT-base": 11_683_584, "T5-small": 60_506_624, "T5-base": 222_903_552,
    "T5-large": 737_668_096, "T5-3B": 2_851_598_336, "T5-11B": 11_307_321_344,
    "Llama-2 7B": 6_738_415_616, "Llama-2 13B": 13_015_864_320, "Llama-1 33B": 32_528_943_616,
    "Llama-1 65B": 65_285_660_672, "Llama-2 70B": 68_976_648_192, "Llama-3 8B": 8_030_261_248,
    "Llama-3 70B": 70_553_706_496, "Llama-3.1 405B": 405_853_388_800,
    "Llama-3.2 1B": 1_235_814_400, "Llama-3.2 3B": 3_212_749_824, "TinyLlama 1.1B": 1_100_048_384,
    "Mistral 7B": 7_241_732_096, "Mixtral 8x7B": 46_702_792_704,
    "lab model, C 64": 124_672, "lab model, C 64, context 64": 120_576,
    "lab model, C 128": 842_496,
}  # fmt: skip


def total(name: str) -> int:
    return counting.count(MODELS[name])["total"]


# --- parameters --------------------------------------------------------------------------------


def test_every_model_has_its_published_total() -> None:
    assert {name: total(name) for name in MODELS} == TOTALS


def test_pieces_of_gpt2_and_bert() -> None:
    gpt2, bert = counting.count(MODELS["GPT-2 small"]), counting.count(MODELS["BERT-base"])
    assert gpt2 == {"embedding": 38_597_376, "position": 786_432, "attention": 12 * 2_362_368,
                    "feed_forward": 12 * 4_722_432, "norm": 12 * 3_072 + 1_536, "head": 0,
                    "total": 124_439_808}  # fmt: skip
    assert bert["embedding"] + bert["position"] + 1_536 == 23_837_184
    assert bert["attention"] + bert["feed_forward"] + bert["norm"] - 1_536 == 85_054_464
    assert bert["head"] == 590_592
    assert counting.count(MODELS["BERT-base MLM"])["head"] == 622_650
    both = counting.count(replace(MODELS["BERT-base MLM"], pooler=True))
    assert both["head"] == 590_592 + 622_650


def test_gpt3_is_nearly_twelve_matrices_per_layer() -> None:
    assert total("GPT-3 175B") / (12 * 96 * 12288**2) == pytest.approx(1.0038, abs=5e-5)


@pytest.mark.parametrize(("name", "of_model", "of_block"), [
    ("GPT-2 small", 45.5, 66.6), ("GPT-3 175B", 66.4, None),
    ("Llama-2 7B", 64.2, 66.8), ("Llama-2 13B", 65.3, 66.9), ("Llama-1 33B", 66.0, 66.9),
    ("Llama-1 65B", 66.3, 66.8), ("Llama-2 70B", 81.7, 82.4), ("Llama-3 8B", 70.2, 80.8),
    ("Llama-3 70B", 79.9, 82.4), ("Llama-3.1 405B", 81.3, 82.1), ("Llama-3.2 1B", 65.2, 82.8),
    ("Llama-3.2 3B", 65.8, 75.0), ("TinyLlama 1.1B", 69.2, 78.6), ("Mixtral 8x7B", 96.6, None),
])  # fmt: skip
def test_share_of_the_feed_forward_layers(name: str, of_model: float, of_block: float) -> None:
    parts = counting.count(MODELS[name])
    assert 100 * parts["feed_forward"] / parts["total"] == pytest.approx(of_model, abs=0.05)
    if of_block:
        blocks = sum(t.size for t in counting.tensors(MODELS[name]) if t.name.startswith("block."))
        assert 100 * parts["feed_forward"] / blocks == pytest.approx(of_block, abs=0.05)


def test_of_mixtral_a_token_meets_a_quarter() -> None:
    mixtral = MODELS["Mixtral 8x7B"]
    assert counting.active(mixtral) == 12_879_925_248
    assert counting.active(replace(mixtral, k=8)) == total("Mixtral 8x7B")
    assert counting.active(MODELS["GPT-2 small"]) == total("GPT-2 small")


def test_query_heads_do_not_change_the_total_and_key_heads_do() -> None:
    gpt2, llama = MODELS["GPT-2 small"], MODELS["Llama-3 8B"]
    assert counting.count(replace(gpt2, n_heads=24)) == counting.count(gpt2)
    more = counting.count(replace(llama, n_kv_heads=32))["attention"]
    assert more - counting.count(llama)["attention"] == 32 * 2 * 4096 * 24 * 128


def test_challenge_1_has_six_defensible_answers() -> None:
    assert list(counting.readings().values()) == [
        84_934_656, 85_054_464, 108_891_648, 109_482_240, 124_439_808, 163_037_184
    ]  # fmt: skip


def test_lora_counts() -> None:
    every = ("query", "key", "value", "out", "gate", "up", "down")
    llama2, llama3 = MODELS["Llama-2 7B"], MODELS["Llama-3 8B"]
    assert counting.lora(llama2, 16) == 8_388_608
    assert counting.lora(llama2, 16, every) == 39_976_960
    assert counting.lora(llama3, 16) == 6_815_744
    assert counting.lora(llama3, 16, every) == 41_943_040
    with pytest.raises(ValueError, match=r"gpt2 has no map gate; it has down, key"):
        counting.lora(MODELS["GPT-2 small"], 4, ("gate",))


@pytest.mark.parametrize(("change", "message"), [
    ({"family": "gpt4"}, "family is 'gpt4'; it must be one of gpt2, bert"),
    ({"n_layers": 0}, "n_layers is 0; it must be a whole number of at least 1"),
    ({"d_ff": 2.5}, "d_ff is 2.5"),
    ({"d_model": 65}, "d_model 65 does not divide into 4 heads"),
    ({"n_kv_heads": 3}, "4 query heads cannot share 3 key/value heads"),
    ({"n_kv_heads": 2}, "gpt2 has as many key/value heads as query heads"),
    ({"context_len": 0}, "gpt2 has a position table"),
    ({"d_head": 8}, "the heads together are as wide as d_model"),
    ({"n_experts": 8, "k": 2}, "gpt2 has no experts"),
    ({"family": "mixtral", "n_experts": 2, "k": 3}, "k is 3; it must lie between 1 and"),
])  # fmt: skip
def test_impossible_sizes_are_refused_in_words(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(MODELS["lab model, C 64"], **change)


# --- against transformers ----------------------------------------------------------------------


def transformer(model: Model, device: str = "meta") -> torch.nn.Module:
    """The transformers model of this shape, untrained; attention by plain matrix products."""
    m = model.filled()
    common = {"vocab_size": m.vocab_size, "attn_implementation": "eager"}
    wide = common | {"hidden_size": m.d_model, "num_hidden_layers": m.n_layers,
                     "num_attention_heads": m.n_heads, "intermediate_size": m.d_ff,
                     "max_position_embeddings": max(1, m.context_len)}  # fmt: skip
    rotary = wide | {"num_key_value_heads": m.n_kv_heads, "head_dim": m.d_head,
                     "tie_word_embeddings": m.tied}  # fmt: skip
    encoder = wide | {"type_vocab_size": m.token_types}
    with torch.device(device):
        if m.family == "gpt2":
            return GPT2LMHeadModel(GPT2Config(
                n_embd=m.d_model, n_layer=m.n_layers, n_head=m.n_heads, n_inner=m.d_ff,
                n_positions=m.context_len, tie_word_embeddings=m.tied, **common))  # fmt: skip
        if m.family == "t5":
            return T5ForConditionalGeneration(T5Config(
                d_model=m.d_model, d_kv=m.d_head, d_ff=m.d_ff, num_layers=m.n_layers,
                num_heads=m.n_heads, relative_attention_num_buckets=m.n_buckets,
                vocab_size=m.vocab_size))  # fmt: skip
        if m.family == "mixtral":
            return MixtralForCausalLM(MixtralConfig(
                num_local_experts=m.n_experts, num_experts_per_tok=m.k,
                experts_implementation="eager", **rotary))  # fmt: skip
        if m.family == "llama":
            mistral = m.name.startswith("Mistral")
            return MistralForCausalLM(MistralConfig(**rotary)) if mistral else LlamaForCausalLM(
                LlamaConfig(**rotary))  # fmt: skip
        if m.family == "albert":
            config = AlbertConfig(embedding_size=m.embedding_width, **encoder)
            if m.mlm_head:
                return AlbertForMaskedLM(config)
            return AlbertModel(config, add_pooling_layer=m.pooler)
        if m.name.startswith("RoBERTa"):
            return RobertaModel(RobertaConfig(**encoder), add_pooling_layer=m.pooler)
        if m.mlm_head:
            return BertForMaskedLM(BertConfig(**encoder))
        return BertModel(BertConfig(**encoder), add_pooling_layer=m.pooler)


def part_of(name: str) -> str:
    """The part that a tensor of transformers counts for, by its name there."""
    rules = [
        ("head", ("lm_head", "cls.", "pooler", "predictions")),
        ("position", ("wpe", "position_embeddings", "relative_attention_bias")),
        ("norm", ("norm", "Norm", "ln_")),
        ("embedding", ("wte", "word_embeddings", "token_type", "shared", "embed_tokens",
                       "embedding_hidden_mapping")),
        ("attention", ("attn", "ttention")),
        ("feed_forward", ("mlp", "ffn", "intermediate", "output.dense", "DenseReluDense")),
    ]  # fmt: skip
    return next(part for part, words in rules if any(word in name for word in words))


def counted(module: torch.nn.Module) -> dict[str, int]:
    parts = dict.fromkeys(PARTS, 0)
    for name, parameter in module.named_parameters():  # a tied one comes once
        parts[part_of(name)] += parameter.numel()
    return parts | {"total": sum(parts.values())}


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].n_layers <= 48])
def test_every_part_is_what_transformers_builds(name: str) -> None:
    assert counting.count(MODELS[name]) == counted(transformer(MODELS[name]))


@pytest.mark.parametrize("name", [n for n in MODELS if MODELS[n].n_layers > 48])
def test_deep_models_are_what_transformers_builds(name: str) -> None:
    """Two layers and one more, as building a hundred of the same takes long and shows no more."""
    for n_layers in (1, 2):
        model = replace(MODELS[name], n_layers=n_layers)
        assert counting.count(model) == counted(transformer(model))


def drawn(family: str, rng: random.Random) -> Model:
    """A random small model of a family."""
    n_heads, d_head = rng.choice([1, 2, 4, 6, 8]), rng.choice([2, 4, 10, 16])
    more: dict = {"d_ff": rng.choice([None, rng.randint(3, 400)])}
    if family in ("llama", "mixtral"):
        more["n_kv_heads"] = rng.choice([h for h in range(1, n_heads + 1) if n_heads % h == 0])
        more["tied"] = rng.random() < 0.5
    if family in ("llama", "mixtral", "t5") and rng.random() < 0.5:
        more["d_head"] = 2 * rng.randint(1, 20)
    if family == "gpt2":
        more["tied"] = rng.random() < 0.5
    if family == "mixtral":
        more["n_experts"] = rng.randint(1, 9)
        more["k"] = rng.randint(1, more["n_experts"])
    if family == "t5":
        more["n_buckets"] = rng.choice([8, 32, 50])
    if family in ("bert", "albert"):
        top = rng.choice(["nothing", "pooler", "mlm"])
        more |= {"pooler": top == "pooler", "mlm_head": top == "mlm"}
        more["token_types"] = rng.choice([1, 2, 3])
        more["embedding_width"] = rng.randint(3, 50)
    return Model("drawn", family, rng.randint(1, 7), n_heads * d_head, n_heads,
                 rng.randint(10, 3000), rng.randint(8, 300), **more)  # fmt: skip


@pytest.mark.parametrize("family", counting.FAMILIES)
def test_random_models_are_what_transformers_builds(family: str) -> None:
    rng = random.Random(f"build {family}")
    for _ in range(6):
        model = drawn(family, rng)
        assert counting.count(model) == counted(transformer(model)), model


# --- memory ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("n_params", "gigabytes"), [
    (7e9, (112.0, 38.5, 26.25, 14.0)), (6_738_415_616, (107.8, 37.1, 25.3, 13.5)),
    (8_030_261_248, (128.5, 44.2, 30.1, 16.1)), (68_976_648_192, (1103.6, 379.4, 258.7, 138.0)),
    (124_439_808, (1.99, 0.684, 0.467, 0.249)),
])  # fmt: skip
def test_training_states_per_gpu(n_params: float, gigabytes: tuple[float, ...]) -> None:
    assert counting.memory(n_params)["total"] / 1e9 == pytest.approx(gigabytes[0], rel=3e-3)
    for stage in (1, 2, 3):
        share = counting.memory(n_params, stage, 8)["total"] / 1e9
        assert share == pytest.approx(gigabytes[stage], rel=3e-3)


def test_frozen_weights_need_no_gradient_and_no_optimizer() -> None:
    n_params, n_lora = 8_030_261_248, 41_943_040
    whole = counting.memory(n_params + n_lora, n_trainable=n_lora)
    assert whole["grads"] + whole["optimizer"] == 14 * n_lora
    assert whole["weights"] == 2 * (n_params + n_lora)
    shared = counting.memory(8, zero_stage=3, n_gpus=4, n_trainable=0)
    assert shared == {"weights": 4.0, "grads": 0.0, "optimizer": 0.0, "total": 4.0}
    assert n_lora * 16 / 1e9 == pytest.approx(0.67, abs=0.005)


def test_memory_refuses_what_cannot_be() -> None:
    for arguments, message in (((8, 4), "zero_stage is 4"), ((8, 0, 0), "n_gpus is 0"),
                               ((8, 0, 1, 9), "9 of 8 parameters")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            counting.memory(*arguments)


def test_activations_of_gpt2_and_of_a_7b_shape() -> None:
    for name, batch, n_tokens, want, rel in (
        ("GPT-2 small", 8, 1024, (8.02, 2.39, 0.14), 0.01),
        ("Llama-2 7B", 1, 4096, (97, 17, 1), 1e-3),
    ):  # fmt: skip
        ways = ({}, {"flash": True}, {"checkpoint": True})
        for way, gib in zip(ways, want, strict=True):
            got = counting.activations(MODELS[name], batch, n_tokens, **way) / GIB
            assert got == pytest.approx(gib, rel=rel)
    both = counting.activations(MODELS["GPT-2 small"], 8, 1024, flash=True, checkpoint=True)
    assert both == counting.activations(MODELS["GPT-2 small"], 8, 1024, checkpoint=True)


@pytest.mark.parametrize(("name", "per_token", "context", "gib"), [
    ("GPT-2 small", 36_864, 1_024, 0.035), ("GPT-3 175B", 4_718_592, 2_048, 9.0),
    ("Llama-2 7B", 524_288, 4_096, 2.0), ("Llama-2 70B", 327_680, 4_096, 1.25),
    ("Llama-3 8B", 131_072, 8_192, 1.0), ("Llama-3 70B", 327_680, 8_192, 2.5),
    ("Llama-3.1 405B", 516_096, 131_072, 63.0), ("Llama-3.2 1B", 32_768, 131_072, 4.0),
    ("TinyLlama 1.1B", 22_528, 2_048, 0.043), ("Mistral 7B", 131_072, 8_192, 1.0),
    ("Mixtral 8x7B", 131_072, 32_768, 4.0),
])  # fmt: skip
def test_key_value_cache(name: str, per_token: int, context: int, gib: float) -> None:
    model = MODELS[name]
    assert counting.cache(model, 1, 1) == per_token
    assert model.context_len == context
    assert counting.cache(model, 1, context) / GIB == pytest.approx(gib, rel=0.02)
    assert counting.cache(model, 3, context, bytes_per_value=1) * 2 == 3 * per_token * context


def test_the_cache_is_what_transformers_keeps() -> None:
    model = Model("tiny", "llama", 3, 32, 4, 50, 64, n_kv_heads=2, d_head=10)
    with torch.no_grad():
        kept = transformer(model, "cpu")(torch.zeros(2, 7, dtype=torch.long), use_cache=True)
    n_bytes = sum(4 * t.numel() for layer in kept.past_key_values for t in layer[:2])
    assert counting.cache(model, 2, 7, bytes_per_value=4) == n_bytes


def test_an_encoder_keeps_no_cache_and_two_stacks_have_no_one_formula() -> None:
    assert counting.cache(MODELS["BERT-base"], 8, 512) == 0
    for wrong in (lambda m: counting.activations(m, 1, 8), lambda m: counting.flops(1, 1, m),
                  lambda m: counting.forward_flops(m, 1, 8)):  # fmt: skip
        with pytest.raises(ValueError, match="T5 has two"):
            wrong(MODELS["T5-small"])


# --- compute, time, money ----------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n_tokens", "hours", "gpu", "needed", "share"), [
    ("GPT-3 175B", 300e9, 3_545_619, "V100", 3.143e23, 0.197),
    ("Llama-2 7B", 1.0e12, 82_432, "A100-80", 4.04e22, 0.437),
    ("Llama-2 13B", 1.0e12, 135_168, "A100-80", 7.81e22, 0.514),
    ("Llama-1 33B", 1.4e12, 530_432, "A100-80", 2.73e23, 0.459),
    ("Llama-1 65B", 1.4e12, 1_022_362, "A100-80", 5.48e23, 0.478),
    ("Llama-2 7B", 2.0e12, 184_320, "A100-80", 8.09e22, 0.391),
    ("Llama-2 70B", 2.0e12, 1_720_320, "A100-80", 8.28e23, 0.428),
    ("Llama-3.1 405B", 15.6e12, 30.84e6, "H100", 3.80e25, 0.346),
])  # fmt: skip
def test_published_runs(name, n_tokens, hours, gpu, needed, share) -> None:
    flops = counting.flops(total(name), n_tokens)
    assert flops == pytest.approx(needed, rel=2e-3)
    assert counting.utilisation(flops, hours, GPUS[gpu].peak) == pytest.approx(share, abs=6e-4)


def test_gpt3_took_two_weeks_of_ten_thousand_v100() -> None:
    flops = 3.14e23
    at = 24.6e12 / GPUS["V100"].peak
    assert counting.days(flops, 10_000, GPUS["V100"].peak, at) == pytest.approx(14.77, abs=0.005)
    on_a100 = counting.days(flops, 1, GPUS["A100-80"].peak, 0.4) * 24
    assert on_a100 == pytest.approx(698_896, rel=1e-3)
    model = MODELS["GPT-3 175B"]
    n = total("GPT-3 175B")
    assert counting.flops(n, 1, model) / counting.flops(n, 1) == pytest.approx(1.0277, abs=5e-5)


def test_cost_is_a_range() -> None:
    peak = GPUS["A100-80"].peak
    for hours, low, high in ((82_432, 82e3, 165e3), (1_720_320, 1.72e6, 3.44e6)):
        flops = hours * 3600 * peak * 0.4
        got = counting.cost(flops, peak, (0.4, 0.4), (1.0, 2.0))
        assert got == pytest.approx((low, high), rel=6e-3)
    low, high = counting.cost(5.88e21, peak, (0.3, 0.5), (1.0, 2.0))
    assert low == pytest.approx(5.88e21 / peak / 0.5 / 3600)  # quick and cheap
    assert high == pytest.approx(5.88e21 / peak / 0.3 / 3600 * 2)
    with pytest.raises(ValueError, match=r"must each be \(low, high\)"):
        counting.cost(1.0, peak, (0.5, 0.3), (1, 2))
    with pytest.raises(ValueError, match="mfu is 0; it must be above 0"):
        counting.days(1.0, 1, peak, 0)


def test_fine_tuning_of_challenge_3() -> None:
    flops = counting.flops(8_030_261_248, 150e6)
    assert flops == pytest.approx(7.227e18, rel=1e-3)
    for gpu, hours in (("A100-80", (21.4, 16.1, 12.9)), ("H100", (6.8, 5.1, 4.1))):
        for mfu, want in zip((0.3, 0.4, 0.5), hours, strict=True):
            got = 24 * counting.days(flops, 1, GPUS[gpu].peak, mfu)
            assert got == pytest.approx(want, abs=0.06)


def test_compute_optimal_sizes() -> None:
    for flops, n_params, n_tokens in ((1e18, 91.3e6, 1.826e9), (1e20, 912.9e6, 18.26e9),
                                      (5.76e23, 69.28e9, 1.386e12)):  # fmt: skip
        got = counting.optimal(flops)
        assert got == pytest.approx((n_params, n_tokens), rel=1e-3)
        assert counting.flops(*got) == pytest.approx(flops)


def test_devices() -> None:
    a100, h100 = GPUS["A100-80"], GPUS["H100"]
    assert h100.peak / a100.peak == pytest.approx(3.17, abs=0.005)
    assert h100.bandwidth / a100.bandwidth == pytest.approx(1.64, abs=0.005)
    assert round(a100.peak / a100.bandwidth) == 153
    assert round(h100.peak / h100.bandwidth) == 295
    assert counting.BITS["nf4"] == 4.5
    assert counting.BITS["nf4 double"] == pytest.approx(4.127, abs=5e-4)


@pytest.mark.parametrize("family", ["gpt2", "bert", "albert", "llama", "mixtral"])
def test_forward_flops_are_what_torch_counts(family: str) -> None:
    rng = random.Random(f"flops {family}")
    for _ in range(3):
        model = drawn(family, rng)
        batch, n_tokens = rng.randint(1, 3), rng.randint(1, 8)
        module = transformer(model, "cpu").eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            module(torch.randint(model.vocab_size, (batch, n_tokens)))
        assert counting.forward_flops(model, batch, n_tokens) == counter.get_total_flops(), model


def test_forward_flops_of_gpt2() -> None:
    model = MODELS["GPT-2 small"]
    forward = counting.forward_flops(model, 1, 1024)
    assert forward == 291_648_307_200
    rule = counting.flops(total("GPT-2 small"), 1024, model) / 3
    assert rule / forward == pytest.approx(1.006, abs=1e-3)  # it counts positions and norms


def test_the_benchmark_says_what_its_table_says() -> None:
    folder = Path(__file__).parents[1] / "benchmarks" / "counting"
    spec = importlib.util.spec_from_file_location("counting_benchmark", folder / "run.py")
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    rows = json.loads((folder / "result.json").read_text(encoding="utf-8"))["rows"]
    assert benchmark.table(rows) in (folder / "README.md").read_text(encoding="utf-8")
    for row in rows:
        model, _, what = row["name"].partition(": ")
        assert row["ours"] == benchmark.ours(MODELS[model])[what] == row["exact"]
    assert len({row["name"].partition(": ")[0] for row in rows}) == 10


# --- power laws --------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_a_planted_power_law_is_found(seed: int) -> None:
    gen = torch.Generator().manual_seed(seed)
    floor, coefficient, exponent = (
        low + (high - low) * torch.rand((), generator=gen, dtype=torch.float64).item()
        for low, high in ((0.5, 3), (2, 30), (0.2, 0.6))
    )
    x = 10 ** (2 + 5 * torch.rand(24, generator=gen, dtype=torch.float64))
    noise = 1 + 1e-3 * torch.randn(24, generator=gen, dtype=torch.float64)
    loss = (floor + coefficient * x**-exponent) * noise
    exact = counting.fit(x, floor + coefficient * x**-exponent)
    assert exact == pytest.approx((floor, coefficient, exponent), rel=1e-4)
    got = counting.fit(x.tolist(), loss.tolist())
    assert got[0] == pytest.approx(floor, rel=0.02)
    assert got[2] == pytest.approx(exponent, rel=0.05)


def test_a_fit_never_has_a_floor_below_zero() -> None:
    x = torch.tensor([1.0, 10, 100, 1000])
    floor, coefficient, exponent = counting.fit(x, 5 * x**-0.4)
    assert floor == pytest.approx(0, abs=1e-6)
    assert (coefficient, exponent) == pytest.approx((5, 0.4), rel=1e-4)
    assert counting.fit(x, torch.tensor([4.0, 3, 2, 1]))[0] == 0.0
    with pytest.raises(ValueError, match="3 sizes and 3 losses; at least 4"):
        counting.fit([1, 2, 3], [3, 2, 1])
    with pytest.raises(ValueError, match="above 0 and finite"):
        counting.fit([1, 2, 3, 0], [3, 2, 1, 1])


# --- serving -----------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "gpu", "milliseconds"), [
    ("Llama-3.2 1B", "A100-80", (1.21, 0.61, 0.34)), ("Llama-3.2 1B", "H100", (0.74, 0.37, 0.21)),
    ("Llama-3.2 1B", "L4", (8.24, 4.12, 2.32)), ("Llama-2 7B", "A100-80", (6.61, 3.30, 1.86)),
    ("Llama-2 7B", "H100", (4.02, 2.01, 1.13)), ("Llama-2 7B", "L4", (44.9, 22.5, 12.6)),
    ("Llama-3 8B", "A100-80", (7.88, 3.94, 2.22)), ("Llama-3 8B", "H100", (4.79, 2.40, 1.35)),
    ("Llama-3 8B", "L4", (53.5, 26.8, 15.1)), ("Llama-3 70B", "A100-80", (69.2, 34.6, 19.5)),
    ("Llama-3 70B", "H100", (42.1, 21.1, 11.8)), ("Llama-3 70B", "L4", (470, 235, 132)),
])  # fmt: skip
def test_decode_floors(name: str, gpu: str, milliseconds: tuple[float, ...]) -> None:
    for bits, want in zip((16, 8, 4.5), milliseconds, strict=True):
        got = 1e3 * counting.decode_floor(MODELS[name], gpu, bits)
        assert got == pytest.approx(want, abs=0.5 if want > 100 else 0.05 if want > 10 else 0.0051)


def test_decode_steps_of_a_batch() -> None:
    model = MODELS["Llama-3 8B"]
    for batch, milliseconds, rate in ((1, 4.87, 205), (8, 5.42, 1476), (32, 7.30, 4385),
                                      (128, 14.8, 8643)):  # fmt: skip
        step = counting.decode_step(model, GPUS["H100"], batch, 2000)
        assert 1e3 * step == pytest.approx(milliseconds, rel=2e-3)
        assert batch / step == pytest.approx(rate, rel=2e-3)
    held = counting.cache(model, 32, 2000)
    assert held / (held + 2 * total("Llama-3 8B")) == pytest.approx(0.34, abs=0.005)
    assert (2 * total("Llama-3 8B") + counting.cache(model, 32, 8192)) / 1e9 == pytest.approx(
        50.42, abs=0.005
    )
    with pytest.raises(ValueError, match="no GPU 'B300'; known are V100"):
        counting.decode_floor(model, "B300")


def test_prefill_of_a_long_prompt() -> None:
    for name, a100, h100 in (("Llama-3.2 1B", 31.7, 10.0), ("Llama-3 8B", 205.9, 65.0),
                             ("Llama-3 70B", 1809, 571)):  # fmt: skip
        for gpu, want in (("A100-80", a100), ("H100", h100)):
            got = 1e3 * counting.prefill(total(name), 2000, GPUS[gpu].peak)
            assert got == pytest.approx(want, rel=5e-3)


# --- wrong counts ------------------------------------------------------------------------------
# What a count can miss or hold by mistake, in closed formulas: (name, parameters, is it there?).


def mistakes(m: Model) -> Iterator[tuple[str, int, bool]]:
    m = m.filled()
    C, L, V, P, F = m.d_model, m.n_layers, m.vocab_size, m.context_len, m.d_ff
    wide, narrow = m.n_heads * m.d_head, m.n_kv_heads * m.d_head
    stacks = 3 if m.family == "t5" else 1  # attention layers per T5 layer: two of them decode
    depth = 1 if m.family == "albert" else L
    attention = stacks * depth * (2 * C * wide + 2 * C * narrow)
    yield "the query, key and value matrices", stacks * depth * C * (wide + 2 * narrow), True
    yield "the key and value matrices", stacks * depth * 2 * C * narrow, True
    if m.n_kv_heads == m.n_heads:
        where = "one attention matrix of each block" + (" of one stack" if stacks == 3 else "")
        yield where, depth * C * wide, True
    else:
        yield "the query matrix, or the output matrix of attention", depth * C * wide, True
        yield "the key matrix, or the value matrix", depth * C * narrow, True
        yield "keys and values at full width", 2 * L * C * (wide - narrow), False
    yield "the attention matrices once per head", (m.n_heads - 1) * attention, False
    yield from {"gpt2": plain, "bert": plain, "albert": plain, "t5": t5, "llama": rotary,
                "mixtral": rotary}[m.family](m, C, L, V, P, F, depth)  # fmt: skip


def plain(m, C, L, V, P, F, depth) -> Iterator[tuple[str, int, bool]]:
    e = m.embedding_width if m.family == "albert" else C
    block = 4 * C * C + 4 * C + 2 * C * F + F + C + 4 * C
    bert = m.family != "gpt2"
    yield "the token table", V * e, True
    yield "the position table", P * e, True
    yield "the biases of query, key and value", 3 * depth * C, True
    yield "the bias of the attention output", depth * C, True
    yield "all attention biases", 4 * depth * C, True
    yield "the first feed-forward bias", depth * F, True
    yield "the second feed-forward bias", depth * C, True
    yield "all feed-forward biases", depth * (F + C), True
    yield "all biases of the linear maps in the blocks", depth * (5 * C + F), True
    yield "one feed-forward matrix of each block", depth * C * F, True
    yield "one norm of each block", 2 * depth * C, True
    yield "all norms of the blocks", 4 * depth * C, True
    outer = e if bert else C  # the norm outside of the blocks
    yield "all norms", 4 * depth * C + 2 * outer, True
    yield "the shifts of all norms", 2 * depth * C + outer, True
    yield "one block", block, True
    if not bert:
        yield "the final norm", 2 * C, True
        yield "the output matrix, which is the token table" if m.tied else "the output matrix", \
            V * C, not m.tied  # fmt: skip
        return
    yield "the norm after the embeddings", 2 * e, True
    yield "the token-type rows", m.token_types * e, True
    yield "a final norm", 2 * C, False
    yield "the pooler" if m.pooler else "a pooler", C * C + C, m.pooler
    if m.token_types == 1:
        yield "a second token type", e, False
    if m.mlm_head:
        yield "the map of the MLM head", C * e + e, True
        yield "the norm of the MLM head", 2 * e, True
        yield "the output bias of the MLM head", V, True
        yield "the whole MLM head", C * e + e + 2 * e + V, True
        yield "the output matrix, which is the token table", V * e, False
    if m.family == "albert":
        yield "the map from the embedding width to d_model", e * C + C, True
        yield "a block of its own for every layer", (L - 1) * block, False


def t5(m, C, L, V, P, F, depth) -> Iterator[tuple[str, int, bool]]:
    wide, table = m.n_heads * m.d_head, m.n_buckets * m.n_heads
    yield "the token table", V * C, True
    yield "the output matrix, which is the token table", V * C, False
    yield "one feed-forward matrix of each block of one stack", L * C * F, True
    yield "the cross-attention", L * 4 * C * wide, True
    yield "the norm before cross-attention", L * C, True
    yield "one norm of each encoder block", L * C, True
    yield "all norms of the blocks", 5 * L * C, True
    yield "all norms", 5 * L * C + 2 * C, True
    yield "the final norm of one stack", C, True
    yield "the final norms of both stacks", 2 * C, True
    yield "the relative positions of one stack", table, True
    yield "the relative positions of both stacks", 2 * table, True
    yield "relative positions in every block, not in the first alone", 2 * table * (L - 1), False
    yield "one encoder block", 4 * C * wide + 2 * C * F + 2 * C, True
    yield "one decoder block", 8 * C * wide + 2 * C * F + 3 * C, True
    yield "a position table", P * C, False
    biases = {"attention": 3 * L * (3 * wide + C), "feed-forward": 2 * L * (F + C)}
    yield "biases of attention", biases["attention"], False
    yield "biases of the feed-forward maps", biases["feed-forward"], False
    yield "biases of the linear maps in the blocks", sum(biases.values()), False
    yield "shifts of the norms", 5 * L * C + 2 * C, False


def rotary(m, C, L, V, P, F, depth) -> Iterator[tuple[str, int, bool]]:
    wide, narrow = m.n_heads * m.d_head, m.n_kv_heads * m.d_head
    expert, E = L * 3 * C * F, m.n_experts
    block = 2 * C * wide + 2 * C * narrow + 2 * C + (E * 3 * C * F + E * C if E else 3 * C * F)
    yield "the token table", V * C, True
    yield "the output matrix, which is the token table" if m.tied else "the output matrix", \
        V * C, not m.tied  # fmt: skip
    yield "one norm of each block", L * C, True
    yield "all norms of the blocks", 2 * L * C, True
    yield "all norms", 2 * L * C + C, True
    yield "the final norm", C, True
    yield "one block", block, True
    yield "a position table", P * C, False
    biases = {"attention": L * (wide + 2 * narrow + C), "feed-forward": L * (2 * F + C) * (E or 1)}
    yield "biases of attention", biases["attention"], False
    yield "biases of the feed-forward maps", biases["feed-forward"], False
    yield "biases of the linear maps in the blocks", sum(biases.values()), False
    yield "shifts of the norms", 2 * L * C + C, False
    if not E:
        yield "one feed-forward matrix of each block", L * C * F, True
        return
    yield "the router", L * E * C, True
    yield "one of the three matrices of each expert", E * expert // 3, True
    yield "one expert of each block", expert, True
    yield "all experts but one", (E - 1) * expert, True
    yield "the experts a token does not use", (E - m.k) * expert, True


def errors(model: Model) -> dict[str, int]:
    """Every wrong count by one term: what should be said -> what the count is off by."""
    found = {}
    for name, size, present in mistakes(model):
        if size and present:
            found[f"left out: {name} ({size:,})"] = -size
            found[f"counted twice: {name} ({size:,})"] = size
        elif size:
            found[f"counted, but not there: {name} ({size:,})"] = size
    return found


@pytest.mark.parametrize("family", counting.FAMILIES)
def test_every_single_term_error_is_named_and_all_names_where_several_fit(family: str) -> None:
    rng = random.Random(f"errors {family}")
    clear = named = 0
    for _ in range(25):
        model = drawn(family, rng)
        known, right = errors(model), counting.count(model)["total"]
        for truth, difference in known.items():
            fit = {text for text, size in known.items() if size == difference}
            answer = counting.explain(right + difference, model)
            assert truth in answer, (model, truth)
            assert set(answer) == fit, (model, truth)  # where several fit, all are listed
            if len(fit) == 1:
                clear += 1
                named += answer == [truth]
    assert clear > 400
    assert named >= 0.95 * clear


@pytest.mark.parametrize("family", counting.FAMILIES)
def test_a_count_by_part_is_never_less_clear_than_a_total(family: str) -> None:
    rng = random.Random(f"parts {family}")
    scalar_clear = parts_clear = 0
    for _ in range(10):
        model = drawn(family, rng)
        right = counting.count(model)
        for term in counting.terms(model):
            for sign, how in (
                ((-1, "left out"), (1, "counted twice"))
                if term.present
                else ((1, "counted, but not there"),)
            ):
                wrong = {p: n + sign * term.parts.get(p, 0) for p, n in right.items()}
                wrong["total"] = sum(wrong[p] for p in PARTS)
                by_part = counting.explain(wrong, model)
                alone = counting.explain(wrong["total"], model)
                assert f"{how}: {term.name} ({term.size:,})" in by_part
                assert set(by_part) <= set(alone) | {t for t in by_part if "wrong part" in t}
                scalar_clear += len(alone) == 1
                parts_clear += len(by_part) == 1
    assert parts_clear > scalar_clear


def test_two_terms_are_not_guessed() -> None:
    model = MODELS["BERT-base"]
    off = total("BERT-base") - 590_592 - 786_431
    assert counting.explain(off, model) == []
    assert counting.explain(total("BERT-base"), model) == []
    assert counting.explain(counting.count(model), model) == []


def test_the_errors_of_the_book_are_named() -> None:
    gpt2, bert, llama = MODELS["GPT-2 small"], MODELS["BERT-base"], MODELS["Llama-3 8B"]
    assert counting.explain(108_891_648, bert) == ["left out: the pooler (590,592)"]
    short = counting.explain(total("BERT-base") - 1_536, bert)
    assert "left out: the norm after the embeddings (1,536)" in short
    assert "left out: the token-type rows (1,536)" in short
    right = counting.count(bert)
    by_part = right | {"norm": right["norm"] - 1_536, "total": right["total"] - 1_536}
    assert counting.explain(by_part, bert) == ["left out: the norm after the embeddings (1,536)"]
    twice = counting.count(gpt2)
    twice = twice | {"head": 38_597_376, "total": twice["total"] + 38_597_376}
    assert counting.explain(twice, gpt2) == [
        "counted, but not there: the output matrix, which is the token table (38,597,376)"
    ]
    wide = total("Llama-3 8B") + 32 * 2 * 4096 * 3072
    assert counting.explain(wide, llama) == [  # four query heads per key head: the same number
        "counted twice: the query, key and value matrices (805,306,368)",
        "counted, but not there: keys and values at full width (805,306,368)",
    ]
    two = total("Llama-3 8B") - 32 * 4096 * 14336
    assert counting.explain(two, llama) == [
        "left out: one feed-forward matrix of each block (1,879,048,192)"
    ]
    mixtral = MODELS["Mixtral 8x7B"]
    assert "left out: the experts a token does not use (33,822,867,456)" in counting.explain(
        counting.active(mixtral), mixtral
    )


def test_a_count_by_part_tells_misplaced_and_twofold_errors() -> None:
    model = MODELS["BERT-base"]
    right = counting.count(model)
    moved = right | {"embedding": right["embedding"] - 1_536, "position": right["position"] + 1_536}
    assert counting.explain(moved, model) == [
        "in the wrong part: the token-type rows (1,536) under position, not embedding"
    ]
    twofold = right | {"head": 0, "position": 0}
    twofold["total"] = sum(twofold[part] for part in PARTS)
    assert counting.explain(twofold, model) == [
        "position: left out: the position table (393,216)", "head: left out: the pooler (590,592)"
    ]  # fmt: skip
    assert counting.explain(right | {"total": 5}, model) == [
        "the total is not the sum of the parts"
    ]
    with pytest.raises(ValueError, match="the count lacks norm, total; absent parts are 0"):
        counting.explain({part: 0 for part in PARTS if part != "norm"}, model)
