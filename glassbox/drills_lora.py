"""Drive a learner's LoRA functions where they live, and report plain numbers (lab 7).

As `glassbox.drills`: the tests of lab 7 and the probes of its mistake bank call these with the
learner's function or class in hand. `Stack` is a small network whose layers have names that are
easily confused; `Factors` holds what a LoRA layer holds and computes nothing. No answer is here.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from glassbox.models import GPT
from glassbox.parts import GPTConfig


class _Pair(nn.Module):
    """Two linear layers of which the name of one ends in the name of the other."""

    def __init__(self) -> None:
        super().__init__()
        self.old_qkv, self.qkv = nn.Linear(4, 6), nn.Linear(4, 6, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(..., 4) -> (..., 6)."""
        return self.old_qkv(x) + self.qkv(x).sin()


class _Inner(nn.Module):
    """A norm that is called as a linear layer elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.out, self.proj = nn.LayerNorm(6), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        """(..., 6) -> (..., 4)."""
        return self.proj(self.out(x))


class Stack(nn.Module):
    """Linear layers a.old_qkv, a.qkv, b.old_qkv, b.qkv, inner.proj and out; a norm inner.out."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.inner, self.b = _Pair(), _Inner(), _Pair()
        self.out = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        """(..., 4) -> (..., 2)."""
        return self.out(self.b(self.inner(self.a(x))))


class Odd(nn.Module):
    """A module with a parameter whose name ends in a letter that LoRA uses."""

    def __init__(self) -> None:
        super().__init__()
        self.not_A = nn.Parameter(torch.ones(2))


class Factors(nn.Module):
    """What a LoRA layer holds, under the lab's names; it computes nothing."""

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        self.dropout = nn.Dropout(dropout)
        weight = base.weight.detach()
        self.A = nn.Parameter(weight.new_ones(rank, weight.shape[1]))
        self.B = nn.Parameter(weight.new_ones(weight.shape[0], rank))


def put(owner: nn.Module, name: str, layer: nn.Module) -> None:
    """Make `layer` the child `name` of `owner`."""
    setattr(owner, name, layer)


def _linear(weight: Tensor, bias: Tensor | None) -> nn.Linear:
    """A layer with these numbers."""
    made = nn.Linear(weight.shape[1], weight.shape[0], bias is not None).to(weight.dtype)
    with torch.no_grad():
        made.weight.copy_(weight)
        if bias is not None:
            made.bias.copy_(bias)
    return made


def _fill(layer: nn.Module, **values: Tensor) -> nn.Module:
    """The layer, its parameters of these names set."""
    with torch.no_grad():
        for name, value in values.items():
            getattr(layer, name).copy_(value)
    return layer


def _of_a_kind(function: Callable) -> Callable[..., nn.Module]:
    """The LoRALinear beside which a function was written; `Factors` where there is none."""
    return getattr(function, "__globals__", {}).get("LoRALinear", Factors)


# --- the layer -------------------------------------------------------------------------------


def layer_start(kind: Callable[..., nn.Module], n_in: int, n_out: int, rank: int) -> list[Any]:
    """What a fresh layer is like: names and sizes, what is trained, how far from its base.

    Then: the largest entry of A and of B relative to 1/√C_in, in tenths, 2 for all that is larger;
    whether the base is the very layer that was given; whether A and B get a gradient from one pass.
    """
    with torch.enable_grad():
        torch.manual_seed(0)
        base = nn.Linear(n_in, n_out)
        layer = kind(base, rank, 3.0)
        x = torch.randn(64, n_in)
        sizes = {name: tuple(p.shape) for name, p in layer.named_parameters()}
        trained = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
        off = (layer(x) - base(x)).abs().max().detach()
        spread = [min(2.0, round(10 * float(p.detach().abs().max()) * n_in**0.5) / 10)
                  for p in (layer.A, layer.B)]  # fmt: skip
        layer(x).pow(2).sum().backward()
        moved = [p.grad is not None and bool(p.grad.any()) for p in (layer.A, layer.B)]
    return [str(sorted(sizes.items())), " ".join(trained), float(off > 0), *spread,
            layer.base is base, *moved]  # fmt: skip


def layer_output(kind: Callable[..., nn.Module], weight: Tensor, bias: Tensor | None, A: Tensor,
                 B: Tensor, alpha: float, x: Tensor, dropout: float = 0.0,
                 training: bool = False) -> list[Any]:  # fmt: skip
    """The output of a layer with given numbers, and the gradient of its square in x, A and B."""
    with torch.enable_grad():
        torch.manual_seed(0)
        layer = kind(_linear(weight, bias), len(A), alpha, dropout)
        _fill(layer, A=A, B=B).train(training)
        x = x.clone().requires_grad_()
        y = layer(x)
        found = torch.autograd.grad(y.square().sum(), [x, layer.A, layer.B], allow_unused=True)
    return [y.detach(), *(torch.zeros(0) if g is None else g for g in found)]


# --- a model ---------------------------------------------------------------------------------


def injected(inject_lora: Callable, targets: tuple[str, ...], rank: int, alpha: float,
             path: str = "") -> list[Any]:  # fmt: skip
    """What has become of a `Stack` (of its part `path`), and what was returned.

    Trained parameters with their sizes, then all parameters by name, then alpha and rank of what is
    new, then by how much the output has changed.
    """
    torch.manual_seed(0)
    whole = Stack().double()
    net = whole.get_submodule(path)
    x = torch.randn(3, next(net.parameters()).shape[-1], dtype=torch.float64)
    before = net(x)
    names = inject_lora(net, targets, rank, alpha)
    trained = [f"{n} {tuple(p.shape)}" for n, p in whole.named_parameters() if p.requires_grad]
    kinds = [[float(m.alpha), float(m.rank)] for m in net.modules() if hasattr(m, "alpha")]
    listed = names if isinstance(names, list | tuple) else [str(names)]
    return [" ".join(map(str, listed)), type(names).__name__, " ".join(trained),
            " ".join(n for n, _ in whole.named_parameters()), torch.tensor(kinds).flatten(),
            float((net(x) - before).abs().max() > 1e-9)]  # fmt: skip


def state_of(lora_state: Callable, alone: bool = False) -> list[Any]:
    """What `lora_state` gives for two layers, a frozen and a trainable one; also later on.

    Names, values, whether one needs a gradient, and the values when the model's numbers are 0.
    """
    kind = _of_a_kind(lora_state)
    with torch.enable_grad():
        torch.manual_seed(0)
        layers = [kind(nn.Linear(3, 4).double(), 2, 5.0), nn.Linear(4, 5).double(),
                  kind(nn.Linear(5, 2).double(), 1, 5.0), nn.Linear(2, 2).double()]  # fmt: skip
        layers[1].requires_grad_(False)
        gen = torch.Generator().manual_seed(1)
        for layer in (layers[0], layers[2]):
            _fill(layer, **{name: torch.randn(getattr(layer, name).shape, generator=gen)
                            for name in "AB"})  # fmt: skip
        net = layers[0] if alone else nn.Sequential(*layers)
        state = lora_state(net)
    names = sorted(map(str, state))
    needs = any(isinstance(v, Tensor) and v.requires_grad for v in state.values())
    first = [_numbers(state[k]) for k in names]
    return [" ".join(names), *first, needs, *[_numbers(v) for v in kept_of(state, net, names)]]


def _numbers(value: Any) -> Tensor:
    return value.detach().clone().double() if isinstance(value, Tensor) else torch.zeros(0)


def kept_of(state: dict[str, Any], net: nn.Module, names: list[str]) -> list[Any]:
    """The values of a state after all numbers of the model have become 0."""
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    return [state[name] for name in names]


def kept(lora_state: Callable, net: nn.Module) -> dict[str, Tensor]:
    """What `lora_state` gave for a model all of whose numbers have become 0 since."""
    state = lora_state(net)
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
    return {name: value.detach().clone() for name, value in state.items()}


# --- merging ---------------------------------------------------------------------------------


def moved(function: Callable, weight: Tensor, bias: Tensor | None, A: Tensor, B: Tensor,
          alpha: float) -> list[Any]:  # fmt: skip
    """Two calls of merge_lora or unmerge_lora with one layer: what they hold, what it holds after.

    The layer is a `Factors`, or the LoRALinear beside which the function was written.
    """
    layer = _fill(_of_a_kind(function)(_linear(weight, bias), len(A), alpha), A=A, B=B)
    found: list[Any] = []
    for _ in range(2):
        made = function(layer)
        state = made.state_dict() if isinstance(made, nn.Module) else {"": made}
        found += [" ".join(sorted(state)), *(state[k].detach().clone() for k in sorted(state))]
    return [*found, layer.base.weight.detach().clone()]


# --- other ways to train little --------------------------------------------------------------


def prompted(forward: Callable, model: nn.Module, prompt: Tensor, ids: Tensor) -> list[Any]:
    """Logits for a prompt, and the gradient of their square in it (no numbers if there is none)."""
    with torch.enable_grad():
        prompt = prompt.clone().requires_grad_()
        logits = forward(model, prompt, ids)
        if not logits.requires_grad:
            return [logits, torch.zeros(0)]
        grad = torch.autograd.grad(logits.square().sum(), prompt, allow_unused=True)[0]
    return [logits.detach(), torch.zeros(0) if grad is None else grad]


def adapter_start(kind: Callable[..., nn.Module], d_model: int, d_bottleneck: int) -> list[Any]:
    """What a fresh adapter is like: sizes, whether it is the identity, what is 0, what learns."""
    with torch.enable_grad():
        torch.manual_seed(0)
        adapter = kind(d_model, d_bottleneck)
        x = torch.randn(5, d_model)
        y = adapter(x)
        y.square().sum().backward()
    named = dict(adapter.named_parameters())
    sizes = {name: tuple(p.shape) for name, p in named.items()}
    zero = [name for name in sorted(named) if not named[name].any()]
    learns = [name for name in sorted(named)
              if named[name].grad is not None and named[name].grad.any()]  # fmt: skip
    return [str(sorted(sizes.items())), float((y - x).abs().max() > 0), " ".join(zero),
            " ".join(learns)]  # fmt: skip


def shares(trainable_share: Callable, tied: bool, frozen: tuple[str, ...],
           buffer: bool = False) -> Any:  # fmt: skip
    """What `trainable_share` says of a small GPT, some parts of which are frozen."""
    config = GPTConfig(n_layers=1, d_model=4, n_heads=2, vocab_size=6, context_len=3, tied=tied)
    model = GPT(config)
    for name in frozen:
        model.get_submodule(name).requires_grad_(False)
    if buffer:
        model.register_buffer("seen", torch.zeros(11))
    return trainable_share(model)
