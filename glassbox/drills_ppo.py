"""Masks of answers, and what a learner's loss gives with its gradients (lab 9).

As `glassbox.drills`: the tests of lab 9 and the probes of its mistake bank call these, the second
with the learner's function in hand. No answer is here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from glassbox.bank import clone


def spans(n_rows: int, n_tokens: int, generator: torch.Generator) -> Tensor:
    """A random mask (B, T) of answers: in each row a run of True, somewhere.

    From three rows on, one is empty, one begins at the first token and one ends at the last.
    """
    ends = torch.randint(n_tokens + 1, (2, n_rows, 1), generator=generator)
    first, last = ends.amin(0), ends.amax(0)
    first, last = first.clamp(max=n_tokens - 1), last.where(last > first, first + 1)
    if n_rows > 2:
        chosen = torch.randperm(n_rows, generator=generator)[:3]
        first[chosen[0]], last[chosen[1]], last[chosen[2]] = 0, n_tokens, 0
    place = torch.arange(n_tokens)
    return (place >= first) & (place < last)


def with_gradients(function: Callable, *args: Any, **kwargs: Any) -> list[Any]:
    """What a function gives, which of it carries a gradient, and all gradients.

    Those of the sum of all that carries one, in each argument of floating-point numbers; 0 where
    none arrives.
    """
    with torch.enable_grad():
        given = [a.requires_grad_() if isinstance(a, Tensor) and a.is_floating_point() else a
                 for a in clone(args)]  # fmt: skip
        got = function(*given, **kwargs)
        parts = list(got) if isinstance(got, tuple | list) else [got]
        carry = [isinstance(p, Tensor) and p.requires_grad for p in parts]
        sums = [p.sum() for p, carries in zip(parts, carry, strict=True) if carries]
        if sums:
            torch.stack(sums).sum().backward()
    leaves = [a for a in given if isinstance(a, Tensor) and a.requires_grad]
    grads = [torch.zeros_like(a) if a.grad is None else a.grad for a in leaves]
    return [*(p.detach() if isinstance(p, Tensor) else p for p in parts), *carry, *grads]


def refusal(function: Callable, *args: Any, **kwargs: Any) -> str:
    """The name of the error that a call raises, "nothing" if it raises none."""
    try:
        function(*args, **kwargs)
    except NotImplementedError:
        raise
    except Exception as error:
        return type(error).__name__
    return "nothing"


def each(function: Callable, texts: list[str]) -> list[Any]:
    """What a function of one text gives for each of many; the name of an error where it raises."""
    found = []
    for text in texts:
        try:
            found.append(function(text))
        except NotImplementedError:
            raise
        except Exception as error:
            found.append(type(error).__name__)
    return found
