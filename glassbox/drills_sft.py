"""What lab 6 hands to a learner's functions, and how it sees what they did to it.

`ByteTokenizer` has the interface of `glassbox.tokenizer.Tokenizer` and ids that can be checked with
a pencil: a letter's id is its byte. It is a plain dataclass, so that a probe or a test can send it
to wherever the learner's code runs. No right answer is here.
"""

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

NAMES = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")


@dataclass(frozen=True)
class ByteTokenizer:
    """One token a byte; special tokens have the ids 256, 257, ... unless `special` says otherwise.

    `encode` never gives a special id, whatever the text says. `decode` writes special tokens as
    their names.
    """

    special: dict[str, int] = field(default_factory=lambda: {
        name: 256 + i for i, name in enumerate(NAMES)})  # fmt: skip

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, ids: list[int]) -> str:
        """The text of ids; U+FFFD for what is no character."""
        names = {i: name.encode() for name, i in self.special.items()}
        parts = (names.get(i) or (bytes([i]) if 0 <= i < 256 else b"\xff") for i in ids)
        return b"".join(parts).decode(errors="replace")

    @property
    def bos_id(self) -> int:
        """The token that opens a dialogue."""
        return self.special["<|bos|>"]

    @property
    def end_id(self) -> int:
        """The token that ends a message."""
        return self.special["<|end|>"]

    @property
    def pad_id(self) -> int:
        """The token that fills up a row."""
        return self.special["<|pad|>"]


def first_after(function: Callable, *args: Any) -> Any:
    """What the first argument holds after a call of the function on copies of all of them."""
    first = copy.deepcopy(args[0])
    function(first, *args[1:])
    return first


def second_after(function: Callable, *args: Any) -> Any:
    """The same for the second argument."""
    second = copy.deepcopy(args[1])
    function(args[0], second, *args[2:])
    return second


def loss_and_gradient(loss_of: Callable, logits: Tensor, labels: Tensor) -> list[Any]:
    """A loss, whether it carries a gradient, and the gradient of the logits (0 without one)."""
    with torch.enable_grad():
        x = logits.clone().requires_grad_()
        loss = loss_of(x, labels.clone())
        carries = bool(loss.requires_grad)
        if carries:
            loss.backward()
    grad = torch.zeros_like(logits) if x.grad is None else x.grad.clone()
    return [loss.detach(), float(carries), grad]


def mix_facts(mix_of: Callable, n_new: int, n_old: int, share: float) -> list[float]:
    """What can be said of twenty mixes of 0, 1, ... and 1000, 1001, ..., however they fall.

    Means over the mixes of: their length, different new ones, different old ones, whether the new
    ones stand first and in order, whether old ones are the first of all old ones in order. Then how
    many old ones were ever in a mix, and whether the mixes differ.
    """
    gen, seen, ever, texts = torch.Generator().manual_seed(0), [], set(), set()
    for _ in range(20):
        mix = mix_of(list(range(n_new)), list(range(1000, 1000 + n_old)), share, gen)
        new, old = [i for i in mix if i < 1000], [i for i in mix if i >= 1000]
        ever |= set(old)
        texts.add(tuple(mix))
        seen.append([len(mix), len(set(new)), len(set(old)), mix[: len(new)] == sorted(new),
                     old == list(range(1000, 1000 + len(old)))])  # fmt: skip
    means = torch.tensor(seen, dtype=torch.float64).mean(0).tolist()
    return [*means, float(len(ever)), float(len(texts) > 1)]
