"""The reference GPT against transformers' GPT-2, against itself without shortcuts, and by count."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from glassbox import counting, models
from glassbox.models import GPT, GPT2_SMALL, MICRO, RECIPE, GPTConfig

SMALL = GPTConfig(n_layers=2, d_model=32, n_heads=4, vocab_size=50, context_len=24)
KINDS = {"plain": SMALL, "grouped": replace(SMALL, n_kv_heads=2),
         "untied": replace(SMALL, bias=False, tied=False, d_ff=48, gelu="exact")}  # fmt: skip


def noisy(config: GPTConfig, seed: int = 0) -> GPT:
    """A double-precision model whose every parameter, biases too, is away from its start."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(config).double().eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return model


def some_ids(rows: int, n_tokens: int, vocab_size: int = 50, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(vocab_size, (rows, n_tokens), generator=generator)


def gpt2(config: GPTConfig) -> transformers.GPT2LMHeadModel:
    """transformers' model of the same sizes, with noise everywhere."""
    sizes = transformers.GPT2Config(
        vocab_size=config.vocab_size, n_positions=config.context_len, n_embd=config.d_model,
        n_layer=config.n_layers, n_head=config.n_heads, n_inner=config.d_ff, bos_token_id=None,
        eos_token_id=None, tie_word_embeddings=config.tied)  # fmt: skip
    torch.manual_seed(0)
    model = transformers.GPT2LMHeadModel(sizes).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model


# --- counts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "n"), [(MICRO, 124_672), (RECIPE, 554_688), (GPT2_SMALL, 124_439_808)]
)
def test_parameters(config: GPTConfig, n: int) -> None:
    with torch.device("meta"):
        model = GPT(config)
    assert models.count(model) == n
    shape = counting.Model("", "gpt2", n_layers=config.n_layers, d_model=config.d_model,
                           n_heads=config.n_heads, vocab_size=config.vocab_size,
                           context_len=config.context_len)  # fmt: skip
    biases = 0 if config.bias else config.n_layers * 9 * config.d_model
    assert counting.count(shape)["total"] - biases == n


def test_the_start_is_gpt2s() -> None:
    model = GPT(MICRO)
    block = model.blocks[0]
    assert block.qkv.weight.std().item() == pytest.approx(0.02, rel=0.05)
    assert block.ff_out.weight.std().item() == pytest.approx(0.02 / 2, rel=0.05)
    assert not block.ff_in.bias.any()
    ids = some_ids(4, 64, 256)
    assert model.loss(ids, ids.roll(-1, 1)).item() == pytest.approx(math.log(256), abs=0.1)


def test_sizes_that_do_not_fit_are_refused() -> None:
    for wrong in ({"norm": "post"}, {"n_heads": 5}, {"n_kv_heads": 3}, {"gelu": "relu"}):
        with pytest.raises(ValueError, match=r"pre-norm|divide|gelu"):
            GPT(replace(SMALL, **wrong))
    with pytest.raises(ValueError, match="do not fit in 24"):
        GPT(SMALL)(some_ids(1, 25))


# --- transformers ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["plain", "untied"])
def test_equals_gpt2(name: str) -> None:
    config = replace(KINDS[name], bias=True, gelu="tanh")
    theirs, ours = gpt2(config), GPT(config).eval()
    ours.load_gpt2(theirs.state_dict())
    ids = some_ids(3, 24)
    with torch.no_grad():
        assert (ours(ids) - theirs(ids).logits).abs().max() < 1e-4
        assert (ours.double()(ids) - theirs.double()(ids).logits).abs().max() < 1e-10


def test_reads_a_saved_gpt2(tmp_path) -> None:
    theirs = gpt2(SMALL)
    theirs.save_pretrained(tmp_path)
    ids = some_ids(2, 9)
    with torch.no_grad():
        assert (GPT.from_gpt2(tmp_path)(ids) - theirs(ids).logits).abs().max() < 1e-4


def test_greedy_equals_transformers() -> None:
    theirs = gpt2(SMALL).double()
    ours = GPT(SMALL).double()
    ours.load_gpt2(theirs.state_dict())
    ids = some_ids(3, 5)
    want = theirs.generate(ids, max_new_tokens=19, do_sample=False, pad_token_id=0,
                           attention_mask=torch.ones_like(ids))  # fmt: skip
    assert ours.generate(ids, 19, temperature=0).equal(want)


# --- against itself ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_gradients_by_hand_are_autograds(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = noisy(KINDS[name])
    ids, targets = some_ids(20, 24), some_ids(20, 24, seed=2)  # 480 rows: more than a piece
    targets[0, :7] = models.IGNORED
    found = {}
    for by_hand in (True, False):
        if not by_hand:
            monkeypatch.setattr(models, "_by_hand", lambda x: False)
        model.zero_grad()
        loss = model.loss(ids, targets)
        (3 * loss).backward()
        found[by_hand] = [loss.detach(), *(p.grad for p in model.parameters())]
    for a, b in zip(*found.values(), strict=True):
        assert (a - b).abs().max() < 1e-12
    logits = model(ids).flatten(0, 1)
    assert (F.cross_entropy(logits, targets.flatten()) - loss).abs() < 1e-12
    total = model.loss(ids, targets, reduction="sum")
    assert (total / (480 - 7) - loss).abs() < 1e-12


@pytest.mark.parametrize("name", KINDS)
def test_a_cache_changes_nothing(name: str) -> None:
    model, ids = noisy(KINDS[name]), some_ids(3, 24)
    cache = model.cache(3)
    with torch.no_grad():
        pieces = [model(ids[:, :7], cache=cache), model(ids[:, 7:12], cache=cache)]
        pieces += [model(ids[:, t : t + 1], cache=cache) for t in range(12, 18)]
        step = models._stepper(model, cache)
        pieces += [step(ids[:, t : t + 1])[:, None] for t in range(18, 24)]
        assert cache.length == 24
        assert (torch.cat(pieces, 1) - model(ids)).abs().max() < 1e-12


def test_packed_documents_do_not_leak() -> None:
    model, ids = noisy(SMALL), some_ids(2, 20)
    segments = torch.tensor([[0] * 8 + [1] * 12, [4] * 3 + [0] * 10 + [-1] * 7])
    with torch.no_grad():
        packed = model(ids, segments=segments)
        for row, start, end in ((0, 0, 8), (0, 8, 20), (1, 0, 3), (1, 3, 13)):
            alone = model(ids[row : row + 1, start:end])
            assert (packed[row, start:end] - alone[0]).abs().max() < 1e-12
    with pytest.raises(ValueError, match="do not go with a cache"):
        model(ids, segments=segments, cache=model.cache(2))


# --- generation --------------------------------------------------------------------------------


def test_generation_goes_on_beyond_the_context() -> None:
    model, ids = noisy(SMALL), some_ids(2, 30)
    found = model.generate(ids, 40, temperature=0)
    assert found.shape == (2, 70)
    assert found[:, :30].equal(ids)
    with torch.no_grad():
        assert found[:, 30].equal(model(ids[:, -24:])[:, -1].argmax(-1))
        assert found[:, 31].equal(model(found[:, 19:31])[:, -1].argmax(-1))  # its second half


def test_drawing_is_reproducible_and_leaves_the_mode() -> None:
    model, ids = GPT(MICRO).train(), some_ids(2, 4)
    a, b, c = (model.generate(ids, 9, generator=torch.Generator().manual_seed(s))
               for s in (5, 5, 6))  # fmt: skip
    assert a.equal(b)
    assert not a.equal(c)
    assert model.training
    assert model.generate(ids, 0).equal(ids)


def test_stop_ends_rows() -> None:
    model, ids = GPT(MICRO), some_ids(3, 4)
    found = model.generate(ids, 100, generator=torch.Generator().manual_seed(0), top_k=2)
    stop = int(found[0, 20])
    again = model.generate(ids[:1], 100, generator=torch.Generator().manual_seed(0), top_k=1,
                           stop=int(model.generate(ids[:1], 1, 0)[0, -1]))  # fmt: skip
    assert again.shape == (1, 5)
    both = model.generate(ids, 100, generator=torch.Generator().manual_seed(0), top_k=2, stop=stop)
    for row in both.tolist():
        if stop in row[4:]:
            at = row.index(stop, 4)
            assert set(row[at:]) == {stop}


def test_choices_are_transformers() -> None:
    logits = torch.randn(400, 30, generator=torch.Generator().manual_seed(0)) * 2
    for top_k, top_p in ((5, None), (None, 0.7), (7, 0.6)):
        kept = logits
        if top_k:
            kept = transformers.TopKLogitsWarper(top_k)(None, kept)
        if top_p:
            kept = transformers.TopPLogitsWarper(top_p)(None, kept)
        for seed in range(20):
            generator = torch.Generator().manual_seed(seed)
            ids = models.choose(logits, 1.0, top_k, top_p, generator)
            assert kept.gather(1, ids).isfinite().all()
            want = torch.multinomial(kept.softmax(-1), 1,
                                     generator=torch.Generator().manual_seed(seed))  # fmt: skip
            assert ids.equal(want)
    assert models.choose(logits, 0).equal(logits.argmax(-1, keepdim=True))
