"""Training and measuring: fixed by its arguments, and a better text gives a smaller number."""

import math

import pytest
import torch

from glassbox.cleaning import effect
from glassbox.models import GPT

GOOD = ["The modem is restarted and the line works again."] * 40
NOISE = ["".join(chr(33 + (i * i * 7 + j * j * 31) % 90) for j in range(50)) for i in range(40)]


def test_it_is_fixed_by_its_arguments_and_leaves_chance_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first = effect.train_and_measure(GOOD, GOOD, steps=5, seed=1)
    assert torch.equal(torch.rand(3), expected)
    assert first == effect.train_and_measure(GOOD, "\n\n".join(GOOD), steps=5, seed=1)
    assert first != effect.train_and_measure(GOOD, GOOD, steps=5, seed=2)


def test_text_like_the_held_out_text_pays() -> None:
    good, noise = (effect.train_and_measure(some, GOOD, steps=25) for some in (GOOD, NOISE))
    assert good < noise - 1


def test_bits_of_an_ignorant_model() -> None:
    model = GPT(effect.CONFIG)
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert effect.bits_per_byte(model, "a text of more than one stretch, " * 9) == pytest.approx(8)
    assert effect.bits_per_byte(model, "short") == pytest.approx(8)


def test_too_little_text() -> None:
    with pytest.raises(ValueError, match="too few"):
        effect.train_and_measure(["a"], GOOD)
    assert math.isclose(sum(effect.CRAWL.values()), 0.85)
