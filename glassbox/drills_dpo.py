"""Drive a learner's preference functions where they live, and report plain numbers (lab 8).

As `glassbox.drills`: the tests of lab 8 and the probes of its mistake bank call these with the
learner's function or class in hand. `Body` is a GPT without its head, for a reward model to stand
on. No answer is here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from glassbox.bank import clone
from glassbox.drills import Bigram
from glassbox.models import GPT
from glassbox.parts import GPTConfig

Pairs = dict[str, Tensor]


class Body(nn.Module):
    """(B, T) ids -> (B, T, C), what a GPT's head would read."""

    def __init__(self, model: GPT) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: Tensor) -> Tensor:
        """The hidden vectors after the last norm."""
        return self.model.hidden(ids)


def tiny_body(vocab_size: int = 7, d_model: int = 4) -> Body:
    """A body whose numbers are the same in every process."""
    config = GPTConfig(n_layers=1, d_model=d_model, n_heads=1, vocab_size=vocab_size,
                       context_len=9, tied=False)  # fmt: skip
    body = Body(GPT(config))
    with torch.no_grad():
        for p in body.parameters():
            p.copy_(torch.sin(torch.arange(1.0, p.numel() + 1) ** 2).view(p.shape))
    return body.double()


def rewards(kind: Callable[..., nn.Module], weight: Tensor, ids: Tensor, mask: Tensor,
            body: str = "embedding") -> list[Any]:  # fmt: skip
    """What a reward model gives for a batch, and the gradients of its square.

    The body is a table of vectors, or a `tiny_body`. Gradients: of the head, and of the vectors.
    """
    with torch.enable_grad():
        if body == "embedding":
            base: nn.Module = nn.Embedding(7, weight.shape[1]).double()
            with torch.no_grad():
                base.weight.copy_(torch.cos(torch.arange(1.0, 7 * weight.shape[1] + 1) ** 2)
                                  .view(7, -1))  # fmt: skip
        else:
            base = tiny_body(d_model=weight.shape[1])
        model = kind(base, weight.shape[1]).double()
        with torch.no_grad():
            model.head.weight.copy_(weight)
        found = model(ids.clone(), mask.clone())
        table = base.weight if body == "embedding" else base.model.token.weight
        if not found.requires_grad:
            return [found, torch.zeros(0), torch.zeros(0)]
        grads = torch.autograd.grad(found.square().sum(), [model.head.weight, table],
                                    allow_unused=True)  # fmt: skip
    return [found.detach(), *(torch.zeros(0) if g is None else g for g in grads)]


def with_gradients(function: Callable, n: int, *args: Any, **kwargs: Any) -> list[Any]:
    """What a function gives, and the gradient of its (first) result in its first n arguments.

    Of several results, also whether the others carry a gradient. No numbers stand for a gradient
    that is missing.
    """
    with torch.enable_grad():
        given = list(clone(args))
        leaves = [a.requires_grad_() for a in given[:n]]
        got = function(*given, **kwargs)
        several = list(got) if isinstance(got, tuple | list) else [got]
        first = several[0]
        if not isinstance(first, Tensor) or not first.requires_grad:
            grads: list[Any] = [None] * len(leaves)
        else:
            grads = list(torch.autograd.grad(first.sum(), leaves, allow_unused=True))
    rest = several[1:]
    carries = [isinstance(r, Tensor) and r.requires_grad for r in rest]
    plain = [r.detach() if isinstance(r, Tensor) else r for r in several]
    return [*plain, *carries, *(torch.zeros(0) if g is None else g for g in grads)]


# --- a step of DPO ---------------------------------------------------------------------------


def dpo_steps(dpo_step: Callable, table: Tensor, reference: Tensor, batches: list[Pairs],
              beta: float, lr: float = 1.0, training: bool = True, dropout: float = 0.0,
              optimizer: str = "SGD", stale: float = 0.0) -> list[Any]:  # fmt: skip
    """Train a bigram model on pairs with `dpo_step`, one batch a step, beside another as reference.

    Reports the keys of what a step gives, of which types its values are, the values (steps, keys),
    the policy's table and bias at the end; then whether the reference has changed, whether it has
    a gradient, whether both kept their mode. `stale`: what the policy's gradients hold before.
    """
    with torch.enable_grad():
        policy, other = (_bigram(t, dropout, training) for t in (table, reference))
        first = [p.detach().clone() for p in other.parameters()]
        for p in policy.parameters():
            p.grad = torch.full_like(p, stale) if stale else None
        chosen = getattr(torch.optim, optimizer)(policy.parameters(), lr=lr)
        told = [dpo_step(policy, other, clone(batch), chosen, beta) for batch in batches]
    keys = sorted(map(str, told[0]))
    kinds = sorted({type(step[key]).__name__ for step in told for key in step})
    values = [[_plain(step[key]) for key in keys] for step in told]
    changed = any(not torch.equal(p, q) for p, q in zip(other.parameters(), first, strict=True))
    reached = any(p.grad is not None and bool(p.grad.any()) for p in other.parameters())
    modes = [*policy.modes, *other.modes, policy.training, other.training]
    return [" ".join(keys), " ".join(kinds), torch.tensor(values, dtype=torch.float64),
            policy.table.weight.detach().clone(), policy.bias.detach().clone(), changed, reached,
            all(mode == training for mode in modes)]  # fmt: skip


def _plain(value: Any) -> float:
    return value.item() if isinstance(value, Tensor) else float(value)


def _bigram(table: Tensor, dropout: float, training: bool) -> Bigram:
    model = Bigram(len(table), dropout).to(table.dtype)
    with torch.no_grad():
        model.table.weight.copy_(table)
    return model.train(training)


def dpo_run(dpo_step: Callable, steps: list[Pairs], beta: float, lr: float) -> list[Any]:
    """Many steps on a micro GPT with torch's AdamW: the values of each, first and last margins."""
    with torch.enable_grad():
        torch.manual_seed(0)
        config = GPTConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=11, context_len=12)
        policy, other = GPT(config), GPT(config)
        other.load_state_dict(policy.state_dict())
        chosen = torch.optim.AdamW(policy.parameters(), lr=lr, weight_decay=0.0)
        told = [dpo_step(policy, other, clone(batch), chosen, beta) for batch in steps]
    return [[_plain(step[key]) for step in told] for key in ("loss", "margin", "accuracy")]
