"""What lab 2 rests on: probes that hold models, the given networks, checkpoints on disk."""

import pytest
import torch
from torch import Tensor, nn

from glassbox import bank
from glassbox.parts import (
    BlockParts,
    Decoder,
    Encoder,
    GPTConfig,
    GPTParts,
    cubes,
)

SMALL = {"n_layers": 2, "d_model": 4, "n_heads": 2, "vocab_size": 5, "context_len": 6}


def diagnosis(cases: list, wrong, function) -> str | None:
    """What a learner is told whose `function` is tried on a probe that was written and read."""
    answers = [bank.answer(wrong, case) for case in cases]
    arrays = bank.pack(
        "lab", [], {"f": (cases, {"w": ("named", answers, list(range(len(cases))))})}
    )
    return bank.Fingerprints(arrays).diagnose("f", function)


def case(*args: object) -> dict:
    return {"args": list(args), "kwargs": {}}


def zero_biases(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        p.zero_() if name.endswith("bias") else None


def zero_all(model: nn.Module) -> None:
    for p in model.parameters():
        p.zero_()


def test_a_change_to_a_model_is_an_answer() -> None:
    cases = [case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL)))]
    assert diagnosis(cases, zero_biases, lambda m: zero_biases(m)) == "named"
    assert diagnosis(cases, zero_biases, zero_all) is None
    assert diagnosis(cases, zero_biases, lambda m: None) is None


def test_weights_that_become_shared_are_an_answer() -> None:
    def share(model: nn.Module) -> None:
        model.blocks[1] = model.blocks[0]

    def copy(model: nn.Module) -> None:
        model.blocks[1].load_state_dict(model.blocks[0].state_dict())

    cases = [case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL)))]
    assert diagnosis(cases, share, share) == "named"
    assert diagnosis(cases, share, copy) is None


def test_functions_and_tuples_travel_in_probes() -> None:
    def wrong(f, pair: tuple[int, ...]) -> Tensor:
        return f(torch.ones(2)) + len((*pair, 3))

    cases = [case(bank.made(cubes), (1, 2))]
    assert diagnosis(cases, wrong, lambda f, pair: torch.tensor(5.0)) == "named"


def test_drawing_weights_leaves_the_learners_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    bank.answer(lambda m: nn.init.normal_(m.head.weight) and None,
                case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL))))  # fmt: skip
    assert torch.equal(torch.rand(2), expected)


def test_a_probe_makes_nothing_from_outside_the_package() -> None:
    with pytest.raises(ValueError, match="glassbox only"):
        bank.answer(print, case(bank.Made("os:getcwd")))


def test_the_given_parts_have_no_forward_pass() -> None:
    for kind in (BlockParts, GPTParts):
        assert "forward" not in vars(kind)


@pytest.mark.parametrize("hidden", [0, 2])
def test_encoder_and_decoder_obey_masks(hidden: int) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(GPTConfig(**SMALL)), Decoder(GPTConfig(**SMALL))
    source, target = torch.randint(5, (2, 4)), torch.randint(5, (2, 3))
    seen = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    seen[0, ..., hidden] = False
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    logits = decoder(target, encoder(source, seen), causal, seen)
    other = source.clone()
    other[:, hidden] = (other[:, hidden] + 1) % 5
    changed = decoder(target, encoder(other, seen), causal, seen)
    assert torch.equal(changed[0], logits[0])
    assert not torch.isclose(changed[1], logits[1]).all(-1).any()
    target[:, 2] = (target[:, 2] + 1) % 5
    later = decoder(target, encoder(source, seen), causal, seen)
    assert torch.equal(later[:, :2], logits[:, :2])
    assert not torch.isclose(later[:, 2], logits[:, 2]).all(-1).any()
