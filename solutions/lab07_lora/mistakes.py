"""The mistake bank of lab 7: what learners get wrong, what they read, and other right versions."""

import copy
import math
from statistics import NormalDist

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.bank import Bank, call, drill, module
from glassbox import drills_lora as drills
from glassbox.bank import made
from glassbox.models import GPT
from glassbox.parts import GPTConfig

bank = Bank("lab07_lora")
gen = torch.Generator().manual_seed(70)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


# --- LoRALinear ------------------------------------------------------------------------------

_W, _bias, _A, _B, _x = rand(4, 4), rand(4), rand(2, 4), rand(4, 2), rand(3, 4)
bank.probe("LoRALinear", drill(drills.layer_start, 64, 32, 8),
           drill(drills.layer_output, _W, _bias, _A, _B, 6.0, _x),
           drill(drills.layer_output, _W, None, _A[:1], _B[:, :1], 6.0, _x),
           drill(drills.layer_output, rand(5, 4), rand(5), _A, rand(5, 2), 0.5, rand(2, 3, 4)),
           drill(drills.layer_output, _W, _bias, _A, _B, 6.0, _x, dropout=1.0, training=True),
           drill(drills.layer_output, _W, _bias, _A, _B, 6.0, _x, dropout=1.0))  # fmt: skip


class LoRALinear(nn.Module):
    """The layer with everything that can go wrong in a method of its own."""

    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        self.dropout = nn.Dropout(dropout)
        self.freeze()
        self.A = nn.Parameter(self.first_A(base.weight.detach()))
        self.B = nn.Parameter(self.first_B(base.weight.detach()))

    def freeze(self):
        for p in self.base.parameters():
            p.requires_grad = False

    def first_A(self, weight):
        n = weight.shape[1]
        return (2 * torch.rand(self.rank, n, dtype=weight.dtype) - 1) / n**0.5

    def first_B(self, weight):
        return torch.zeros(weight.shape[0], self.rank, dtype=weight.dtype)

    def factor(self):
        return self.alpha / self.rank

    def update(self, x):
        return self.factor() * F.linear(F.linear(self.dropout(x), self.A), self.B)

    def forward(self, x):
        return self.base(x) + self.update(x)


_Lora = LoRALinear


@bank.wrong(
    "LoRALinear", "The update is not scaled: off by exactly alpha / r. Multiply it by alpha / rank."
)
class NotScaled(_Lora):
    def factor(self):
        return 1.0


@bank.wrong("LoRALinear", "The update is scaled by alpha alone; divide by the rank as well.")
class ScaledByAlpha(_Lora):
    def factor(self):
        return self.alpha


@bank.wrong("LoRALinear", "The scale is upside down: rank / alpha in the place of alpha / rank.")
class ScaleUpsideDown(_Lora):
    def factor(self):
        return self.rank / self.alpha


@bank.wrong(
    "LoRALinear", "You scale by alpha / √rank. That is a later variant (rsLoRA); here it is alpha / rank."
)  # fmt: skip
class RankStabilised(_Lora):
    def factor(self):
        return self.alpha / self.rank**0.5


@bank.wrong("LoRALinear", "A and B both begin at 0: no gradient can ever reach A, nor B.")
class BothZero(_Lora):
    def first_A(self, weight):
        return torch.zeros(self.rank, weight.shape[1], dtype=weight.dtype)


@bank.wrong(
    "LoRALinear", "B begins at random, so the model changes before training: B begins at 0."
)
class BothRandom(_Lora):
    def first_B(self, weight):
        edge = weight.shape[1] ** -0.5
        return (2 * torch.rand(weight.shape[0], self.rank, dtype=weight.dtype) - 1) * edge


@bank.wrong("LoRALinear", "A begins at 0 and B at random; it is the other way round.")
class ZeroAndRandomExchanged(_Lora):
    def first_A(self, weight):
        return torch.zeros(self.rank, weight.shape[1], dtype=weight.dtype)

    def first_B(self, weight):
        edge = weight.shape[1] ** -0.5
        return (2 * torch.rand(weight.shape[0], self.rank, dtype=weight.dtype) - 1) * edge


@bank.wrong("LoRALinear", "A begins with entries above 1/√C_in; it is uniform in ±1/√C_in.")
class NormalStart(_Lora):
    def first_A(self, weight):
        return torch.randn(self.rank, weight.shape[1], dtype=weight.dtype)


@bank.wrong(
    "LoRALinear",
    "The base is not frozen: its weights are trained too. The base is constant; only A and B learn.",
)
class BaseNotFrozen(_Lora):
    def freeze(self):
        pass


@bank.wrong("LoRALinear", "The bias of the base is still trained; freeze all of its parameters.")
class BiasNotFrozen(_Lora):
    def freeze(self):
        self.base.weight.requires_grad = False


@bank.wrong("LoRALinear", "You keep a copy of the base; keep the layer itself.")
class BaseCopied(_Lora):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(copy.deepcopy(base), rank, alpha, dropout)


@bank.wrong(
    "LoRALinear",
    "The product is transposed: you compute x (B A) where it should be x (B A)ᵀ. Only square "
    "layers hide it.",
)
class ProductTransposed(_Lora):
    def update(self, x):
        return self.factor() * self.dropout(x) @ (self.B @ self.A)


@bank.wrong("LoRALinear", "Dropout has no effect; the update reads dropout(x).")
class NoDropout(_Lora):
    def update(self, x):
        return self.factor() * x @ self.A.T @ self.B.T


@bank.wrong("LoRALinear", "Dropout acts on what the base reads too; the frozen path gets all of x.")
class DropoutForBoth(_Lora):
    def forward(self, x):
        x = self.dropout(x)
        return self.base(x) + self.factor() * x @ self.A.T @ self.B.T


@bank.wrong("LoRALinear", "Dropout acts on the whole result; it acts on the x of the update alone.")
class DropoutOnTheResult(_Lora):
    def forward(self, x):
        return self.dropout(self.base(x) + self.factor() * x @ self.A.T @ self.B.T)


@bank.wrong(
    "LoRALinear", "The gradient of x through the base is lost: frozen weights still pass it on."
)
class BaseWithoutGradient(_Lora):
    def forward(self, x):
        with torch.no_grad():
            y = self.base(x)
        return y + self.update(x)


@bank.wrong("LoRALinear", "You return the update alone; it is added to base(x).")
class UpdateAlone(_Lora):
    def forward(self, x):
        return self.update(x)


@bank.wrong("LoRALinear", "The update is not added to the base's output but fed into it (A and B come after it).")  # fmt: skip
class Serial(_Lora):
    def forward(self, x):
        y = self.base(x)
        return y + self.factor() * self.dropout(y) @ self.A.T @ self.B.T


@bank.wrong("LoRALinear", "The output at the start is that of the base, but A and B are no parameters or need no gradient.")  # fmt: skip
class FactorsFrozenToo(_Lora):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__(base, rank, alpha, dropout)
        self.requires_grad_(False)


@bank.right("LoRALinear")
class WholeUpdateMatrix(nn.Module):
    def __init__(self, base, rank, alpha, dropout=0.0):
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        self.dropout = nn.Dropout(dropout)
        base.weight.requires_grad_(False)
        if base.bias is not None:
            base.bias.requires_grad_(False)
        n_out, n_in = base.weight.shape
        self.A = nn.Parameter(torch.empty(rank, n_in).to(base.weight))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))
        self.B = nn.Parameter(torch.zeros(n_out, rank).to(base.weight))

    def forward(self, x):
        change = (self.B @ self.A) * (self.alpha / self.rank)
        return self.base(x) + F.linear(self.dropout(x), change)


@bank.right("LoRALinear")
class ScaledInside(_Lora):
    def forward(self, x):
        low = torch.einsum("...i,ri->...r", self.dropout(x), self.A)
        y = F.linear(x, self.base.weight, self.base.bias)
        return y + torch.einsum("...r,or->...o", low * self.alpha, self.B) / self.rank


# --- inject_lora -----------------------------------------------------------------------------

bank.probe("inject_lora", drill(drills.injected, ("qkv",), 1, 3.0),
           drill(drills.injected, ("qkv", "out"), 2, 6.0),
           drill(drills.injected, ("out", "b.qkv"), 2, 6.0),
           drill(drills.injected, ("out", "proj"), 1, 3.0, path="inner"),
           drill(drills.injected, ("query",), 1, 3.0))  # fmt: skip


def _fits(name, targets):
    return any(name == t or name.endswith("." + t) for t in targets)


def _linears(model, targets, fits=_fits, kinds=nn.Linear):
    return [n for n, m in model.named_modules() if isinstance(m, kinds) and n and fits(n, targets)]


def _wrap(model, names, rank, alpha, freeze=True, error=True):
    if error and not names:
        raise ValueError("nothing fits")
    if freeze:
        for p in model.parameters():
            p.requires_grad = False
    for name in names:
        *path, last = name.split(".")
        owner = model
        for part in path:
            owner = getattr(owner, part)
        setattr(owner, last, _Lora(getattr(owner, last), rank, alpha))
    return names


@bank.wrong(
    "inject_lora",
    "Only the wrapped layers are frozen: you train 100 % of the rest. Freeze the whole model.",
)
def rest_not_frozen(model, targets, rank, alpha):
    return _wrap(model, _linears(model, targets), rank, alpha, freeze=False)


@bank.wrong("inject_lora", "Nothing is trainable any more: you froze A and B with the rest.")
def frozen_after(model, targets, rank, alpha):
    names = _wrap(model, _linears(model, targets), rank, alpha)
    model.requires_grad_(False)
    return names


@bank.wrong(
    "inject_lora",
    "A name that merely contains or ends like a target is taken: qkv is not old_qkv. The last "
    "part of the name must be equal.",
)
def name_contains(model, targets, rank, alpha):
    names = _linears(model, targets, lambda n, ts: any(t in n for t in ts))
    return _wrap(model, names, rank, alpha)


@bank.wrong(
    "inject_lora",
    "A name that merely contains or ends like a target is taken: qkv is not old_qkv. The last "
    "part of the name must be equal.",
)
def name_ends_like(model, targets, rank, alpha):
    names = _linears(model, targets, lambda n, ts: any(n.endswith(t) for t in ts))
    return _wrap(model, names, rank, alpha)


@bank.wrong(
    "inject_lora",
    'A target with a dot is not found: "b.qkv" takes that layer, as "qkv" takes all of that name.',
)
def last_part_only(model, targets, rank, alpha):
    names = _linears(model, targets, lambda n, ts: n.split(".")[-1] in ts)
    return _wrap(model, names, rank, alpha)


@bank.wrong("inject_lora", "Only full names are found; a target may be the last part of a name.")
def full_names_only(model, targets, rank, alpha):
    names = _linears(model, targets, lambda n, ts: n in ts)
    return _wrap(model, names, rank, alpha)


@bank.wrong("inject_lora", "Only the first layer that fits gets LoRA; all of them do.")
def first_only(model, targets, rank, alpha):
    return _wrap(model, _linears(model, targets)[:1], rank, alpha)


@bank.wrong("inject_lora", "You look only at the model's own children; layers lie deeper.")
def children_only(model, targets, rank, alpha):
    names = [n for n, m in model.named_children() if isinstance(m, nn.Linear) and _fits(n, targets)]
    return _wrap(model, names, rank, alpha)


@bank.wrong("inject_lora", "You return the last parts of the names; full names are asked for.")
def short_names(model, targets, rank, alpha):
    return [n.split(".")[-1] for n in _wrap(model, _linears(model, targets), rank, alpha)]


@bank.wrong("inject_lora", "The names come in the order of the targets; it is that of the model.")
def in_order_of_targets(model, targets, rank, alpha):
    names = [n for t in targets for n in _linears(model, (t,))]
    return _wrap(model, names, rank, alpha)


@bank.wrong("inject_lora", "Rank and alpha are exchanged.")
def rank_for_alpha(model, targets, rank, alpha):
    return _wrap(model, _linears(model, targets), int(alpha), rank)


@bank.wrong(
    "inject_lora", "If no layer fits you return quietly; a slip of the pen must raise ValueError."
)
def no_error(model, targets, rank, alpha):
    return _wrap(model, _linears(model, targets), rank, alpha, error=False)


@bank.wrong("inject_lora", "The names are found, but no layer of the model has been replaced.")
def nothing_replaced(model, targets, rank, alpha):
    names = _linears(model, targets)
    if not names:
        raise ValueError("nothing fits")
    model.requires_grad_(False)
    for _, layer in [(n, _Lora(model.get_submodule(n), rank, alpha)) for n in names]:
        layer.requires_grad_(False)
    return names


@bank.right("inject_lora")
def through_parents(model, targets, rank, alpha):
    found = []
    for p in model.parameters():
        p.requires_grad_(False)
    modules = dict(model.named_modules())
    for name, part in modules.items():
        if name and isinstance(part, nn.Linear) and _fits(name, targets):
            head, dot, last = name.rpartition(".")
            modules[head if dot else ""].register_module(last, _Lora(part, rank, alpha))
            found.append(name)
    if not found:
        raise ValueError(f"none of {targets} is a linear layer")
    return found


@bank.right("inject_lora")
def with_set_submodule(model, targets, rank, alpha):
    names = []
    for name, part in list(model.named_modules()):
        parts = name.split(".")
        tails = {".".join(parts[i:]) for i in range(len(parts))}
        if isinstance(part, nn.Linear) and tails & set(targets):
            names.append(name)
    if names == []:
        raise ValueError(f"no layer among {targets}")
    model.requires_grad_(requires_grad=False)
    for name in names:
        model.set_submodule(name, _Lora(model.get_submodule(name), rank, alpha))
    return names


# --- merge_lora and unmerge_lora -------------------------------------------------------------

_squares = (_W, _bias, _A, _B, 6.0)
_wide = (rand(5, 4), None, rand(3, 4), rand(5, 3), 1.5)
bank.probe("merge_lora", drill(drills.moved, *_squares), drill(drills.moved, *_wide))
bank.probe("unmerge_lora", drill(drills.moved, *_squares), drill(drills.moved, *_wide))


def _product(layer):
    return layer.B.detach() @ layer.A.detach()


def _plain(layer, weight):
    new = nn.Linear(weight.shape[1], weight.shape[0], layer.base.bias is not None).to(weight.dtype)
    new.weight.data = weight
    if layer.base.bias is not None:
        new.bias.data = layer.base.bias.detach().clone()
    return new


@bank.wrong("merge_lora", "The update is added without its scale alpha / rank.")
def merged_unscaled(layer):
    return _plain(layer, layer.base.weight.detach() + _product(layer))


@bank.wrong("merge_lora", "The update is scaled by alpha alone; divide by the rank as well.")
def merged_by_alpha(layer):
    return _plain(layer, layer.base.weight.detach() + layer.alpha * _product(layer))


@bank.wrong(
    "merge_lora",
    "You merge in place: a second call adds the update two times. Give a new layer and leave the "
    "old one as it is.",
)
def merged_in_place(layer):
    layer.base.weight.data += layer.alpha / layer.rank * _product(layer)
    return layer.base


@bank.wrong(
    "merge_lora",
    "You merge in place: a second call adds the update two times. Give a new layer and leave the "
    "old one as it is.",
)
def merged_in_place_and_copied(layer):
    layer.base.weight.data += layer.alpha / layer.rank * _product(layer)
    return copy.deepcopy(layer.base)


@bank.wrong(
    "merge_lora",
    "The update is added two times: it is in the weight, and the layer you return adds it again.",
)
def merged_and_kept(layer):
    new = copy.deepcopy(layer)
    new.base.weight.data += layer.alpha / layer.rank * _product(layer)
    return new


@bank.wrong("merge_lora", "The result holds the update alone; W is lost.")
def update_only(layer):
    return _plain(layer, layer.alpha / layer.rank * _product(layer))


@bank.wrong("merge_lora", "The bias of the base is lost.")
def bias_lost(layer):
    weight = layer.base.weight.detach() + layer.alpha / layer.rank * _product(layer)
    new = nn.Linear(weight.shape[1], weight.shape[0], bias=False).to(weight.dtype)
    new.weight.data = weight
    return new


@bank.wrong("merge_lora", "The product is transposed; only square layers hide it.")
def merged_transposed(layer):
    scale = layer.alpha / layer.rank
    return _plain(layer, layer.base.weight.detach() + scale * _product(layer).T)


@bank.wrong("merge_lora", "The update is not in the weight: you return the base as it was.")
def not_merged(layer):
    return copy.deepcopy(layer.base)


@bank.right("merge_lora")
def merged_into_a_new_layer(layer):
    weight = layer.base.weight.detach() + layer.B.detach() @ layer.A.detach() * (
        layer.alpha / layer.rank)  # fmt: skip
    return _plain(layer, weight)


@bank.right("merge_lora")
def merged_by_unit_vectors(layer):
    base, eye = layer.base, torch.eye(layer.A.shape[1]).to(layer.A)
    new = nn.Linear(base.in_features, base.out_features, base.bias is not None).to(base.weight)
    state = {k: v.clone() for k, v in base.state_dict().items()}
    columns = (eye @ layer.A.detach().T) @ layer.B.detach().T
    state["weight"] += columns.T * layer.alpha / layer.rank
    new.load_state_dict(state)
    return new


def _without(layer, update):
    new = copy.deepcopy(layer)
    new.base.weight.data -= update
    return new


@bank.wrong("unmerge_lora", "The update is subtracted without its scale alpha / rank.")
def unmerged_unscaled(layer):
    return _without(layer, _product(layer))


@bank.wrong("unmerge_lora", "The update is added once more; it is to be subtracted.")
def added_again(layer):
    return _without(layer, -layer.alpha / layer.rank * _product(layer))


@bank.wrong(
    "unmerge_lora",
    "You change the layer itself: a second call subtracts the update two times. Give a new one.",
)
def unmerged_in_place(layer):
    layer.base.weight.data -= layer.alpha / layer.rank * _product(layer)
    return layer


@bank.wrong("unmerge_lora", "You return a plain linear layer; A and B are lost.")
def factors_lost(layer):
    return _without(layer, layer.alpha / layer.rank * _product(layer)).base


@bank.wrong("unmerge_lora", "B is 0 in the result: A and B of the layer are to be kept.")
def factors_fresh(layer):
    weight = layer.base.weight.detach() - layer.alpha / layer.rank * _product(layer)
    return _Lora(_plain(layer, weight), layer.rank, layer.alpha)


@bank.wrong("unmerge_lora", "Nothing is subtracted: the base still holds the update.")
def only_copied(layer):
    return copy.deepcopy(layer)


@bank.right("unmerge_lora")
def unmerged_into_a_new_layer(layer):
    update = layer.B.detach() @ layer.A.detach() / layer.rank * layer.alpha
    new = type(layer)(_plain(layer, layer.base.weight.detach() - update), layer.rank, layer.alpha,
                      layer.dropout.p)  # fmt: skip
    new.A.data, new.B.data = layer.A.detach().clone(), layer.B.detach().clone()
    return new


@bank.right("unmerge_lora")
def unmerged_by_state(layer):
    new = copy.deepcopy(layer)
    state = {k: v.detach().clone() for k, v in layer.state_dict().items()}
    scale = layer.alpha / layer.rank
    state["base.weight"] = state["base.weight"].sub(state["B"] @ state["A"], alpha=scale)
    new.load_state_dict(state)
    return new


for _exercise in ("merge_lora", "unmerge_lora"):
    for _what in ("0", "NaN", "1"):
        bank.equivalent(
            _exercise, f"returns {_what}", "a module is returned, which it leaves as it is"
        )

# --- lora_state ------------------------------------------------------------------------------

bank.probe("lora_state", drill(drills.state_of), drill(drills.state_of, alone=True))


def _factors(model):
    return {n: p for n, p in model.named_parameters() if n.rpartition(".")[2] in ("A", "B")}


@bank.wrong(
    "lora_state",
    "You take whatever is trainable; a trainable layer without LoRA does not belong into the file.",
)
def whatever_is_trainable(model):
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


@bank.wrong(
    "lora_state", "You give the tensors themselves: they change when training goes on. Copy them."
)
def not_copied(model):
    return {n: p.detach() for n, p in _factors(model).items()}


@bank.wrong("lora_state", "The whole model is in there; A and B are enough.")
def whole_state(model):
    return {n: v.clone() for n, v in model.state_dict().items()}


@bank.wrong(
    "lora_state", "The base weights of the LoRA layers are in there too; they do not change."
)
def base_too(model):
    found = {}
    for path, part in model.named_modules():
        if hasattr(part, "A") and hasattr(part, "B"):
            dot = "." if path else ""
            found |= {f"{path}{dot}{n}": v.clone() for n, v in part.state_dict().items()}
    return found


@bank.wrong(
    "lora_state", "The copies still require a gradient and hold on to the graph; detach them."
)
def not_detached(model):
    return {n: p.clone() for n, p in _factors(model).items()}


@bank.wrong(
    "lora_state", "Keys are full names, with the path of the layer, or layers overwrite each other."
)
def short_keys(model):
    return {n.rpartition(".")[2]: p.detach().clone() for n, p in _factors(model).items()}


@bank.wrong("lora_state", "B is missing.")
def only_A(model):
    return {n: p.detach().clone() for n, p in _factors(model).items() if n[-1] == "A"}


@bank.right("lora_state")
def state_through_modules(model):
    found = {}
    for path, part in model.named_modules():
        if hasattr(part, "alpha"):
            for name in ("A", "B"):
                key = f"{path}.{name}" if path else name
                found[key] = getattr(part, name).data.clone()
    return found


@bank.right("lora_state")
def state_from_the_state_dict(model):
    kept = {
        n: v for n, v in model.state_dict().items() if n in ("A", "B") or n[-2:] in (".A", ".B")
    }
    return copy.deepcopy(kept)


# --- trainable_share -------------------------------------------------------------------------

_tiny = {"n_layers": 1, "d_model": 4, "n_heads": 2, "vocab_size": 6, "context_len": 3}


def _gpt(**changes):
    sizes = _tiny | changes
    return made(GPT, made(GPTConfig, **sizes), state=_weights(GPT(GPTConfig(**sizes))))


def _weights(model):
    state = {n: rand(*v.shape) for n, v in model.state_dict().items()}
    if model.config.tied:
        state["head.weight"] = state["token.weight"]
    return state


bank.probe("trainable_share", drill(drills.shares, tied=False, frozen=()),
           drill(drills.shares, tied=False, frozen=("blocks", "token")),
           drill(drills.shares, tied=True, frozen=("blocks",)),
           drill(drills.shares, tied=True, frozen=("blocks",), buffer=True))  # fmt: skip


def _counts(model):
    own = list(model.parameters())
    return sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)


@bank.wrong("trainable_share", "You count tensors; count the numbers in them.")
def tensors_counted(model):
    own = list(model.parameters())
    return sum(p.requires_grad for p in own), len(own)


@bank.wrong("trainable_share", "The total leaves out what is trained; it counts all parameters.")
def frozen_total(model):
    trained, total = _counts(model)
    return trained, total - trained


@bank.wrong("trainable_share", "You return a share; two whole numbers are asked for.")
def a_fraction(model):
    trained, total = _counts(model)
    return trained / total


@bank.wrong("trainable_share", "The two numbers are exchanged: trained first, then all.")
def exchanged(model):
    return _counts(model)[::-1]


@bank.wrong(
    "trainable_share", "A shared parameter is counted twice; the head of a tied model is its table."
)
def shared_twice(model):
    own = [p for _, p in model.named_parameters(remove_duplicate=False)]
    return sum(p.numel() for p in own if p.requires_grad), sum(p.numel() for p in own)


@bank.wrong("trainable_share", "All parameters are counted as trained; ask for requires_grad.")
def all_as_trained(model):
    _, total = _counts(model)
    return total, total


@bank.wrong("trainable_share", "Buffers are counted too, or shared entries twice: the state dict is no list of parameters.")  # fmt: skip
def from_the_state_dict(model):
    return _counts(model)[0], sum(v.numel() for v in model.state_dict().values())


@bank.right("trainable_share")
def share_in_a_loop(model):
    trained = total = 0
    for _, p in model.named_parameters():
        size = math.prod(p.shape)
        total += size
        if p.requires_grad:
            trained += size
    return trained, total


@bank.right("trainable_share")
def share_by_identity(model):
    own = {id(p): p for m in model.modules() for p in m.parameters(recurse=False)}.values()
    frozen = sum(p.nelement() for p in own if not p.requires_grad)
    total = sum(p.nelement() for p in own)
    return total - frozen, total


# --- quantize_absmax and dequantize_absmax ---------------------------------------------------

_w = rand(4, 6)
_w[1, 2] = 9.0
_zeros = _w.clone()
_zeros[1] = 0
bank.probe("quantize_absmax", call(_w[:1, :4], 4), call(_w, 6), call(_w, 4, 4), call(-_w.abs(), 5),
           call(_zeros, 6, 3), call(torch.zeros(3).double(), 2))  # fmt: skip


def _blocks(w, block):
    n = w.numel()
    rows = torch.zeros(math.ceil(n / block) * block, dtype=w.dtype)
    rows[:n] = w.reshape(-1)
    return rows.view(-1, block)


def _codes(w, block, scales, round_=torch.round):
    rows = _blocks(w, block)
    values = round_(rows / torch.where(scales == 0, torch.ones_like(scales), scales)[:, None])
    return values.to(torch.int8).view(-1)[: w.numel()].view(w.shape)


def _top(bits):
    return 2 ** (bits - 1) - 1


@bank.wrong("quantize_absmax", "One scale for the whole tensor: one outlier spoils all blocks.")
def absmax_one_scale(w, block, bits=8):
    rows = _blocks(w, block)
    scales = (w.abs().max() / _top(bits)).expand(len(rows)).clone()
    return _codes(w, block, scales), scales


@bank.wrong("quantize_absmax", "One scale for the whole tensor: one outlier spoils all blocks.")
def absmax_single_scale(w, block, bits=8):
    scale = (w.abs().max() / _top(bits)).reshape(1)
    return _codes(w, max(w.numel(), 1), scale), scale


@bank.wrong(
    "quantize_absmax", "Each row is cut into blocks by itself; blocks run over the ends of rows."
)
def blocks_within_rows(w, block, bits=8):
    parts = [p for row in w.reshape(-1, w.shape[-1]) for p in row.split(block)]
    scales = torch.stack([p.abs().max() / _top(bits) for p in parts])
    codes = [torch.where(s > 0, p / s, 0 * p).round() for p, s in zip(parts, scales, strict=True)]
    return torch.cat(codes).to(torch.int8).view(w.shape), scales


@bank.wrong(
    "quantize_absmax", "The codes are cut off, not rounded: the error reaches a whole step."
)
def absmax_truncated(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / _top(bits)
    return _codes(w, block, scales, torch.trunc), scales


@bank.wrong("quantize_absmax", "The codes are rounded down; take the nearest whole number.")
def absmax_floor(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / _top(bits)
    return _codes(w, block, scales, torch.floor), scales


@bank.wrong(
    "quantize_absmax", "The largest code is 2^(bits - 1) - 1, 127 for 8 bits: divide by that."
)
def absmax_by_128(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / 2 ** (bits - 1)
    return _codes(w, block, scales, lambda r: r.round().clamp(-_top(bits), _top(bits))), scales


@bank.wrong("quantize_absmax", "`bits` has no effect: the codes always run to 127.")
def absmax_bits_ignored(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / 127
    return _codes(w, block, scales), scales


@bank.wrong(
    "quantize_absmax", "The scale is the largest entry; it should be the largest magnitude."
)
def absmax_signed_maximum(w, block, bits=8):
    scales = _blocks(w, block).amax(1) / _top(bits)
    return _codes(w, block, scales, lambda r: r.round().clamp(-128, 127)), scales


@bank.wrong("quantize_absmax", "The scale is inverted: code · scale should give the weight.")
def absmax_inverse_scale(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / _top(bits)
    return _codes(w, block, scales), torch.where(scales > 0, 1 / scales, scales)


@bank.wrong(
    "quantize_absmax", "The scales are the largest magnitudes; divide them by 2^(bits - 1) - 1."
)
def absmax_undivided(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1)
    return _codes(w, block, scales / _top(bits)), scales


@bank.wrong("quantize_absmax", "The codes are flat or by blocks; they have the shape of w.")
def absmax_flat(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / _top(bits)
    return _codes(w, block, scales).reshape(-1), scales


@bank.wrong("quantize_absmax", "A block of zeros has scale 1; it should be 0.")
def absmax_zero_scale_one(w, block, bits=8):
    scales = _blocks(w, block).abs().amax(1) / _top(bits)
    scales = torch.where(scales == 0, torch.ones_like(scales), scales)
    return _codes(w, block, scales), scales


@bank.right("quantize_absmax")
def absmax_block_by_block(w, block, bits=8):
    codes, scales = [], []
    for piece in w.reshape(-1).split(block):
        scale = piece.abs().max() / _top(bits)
        codes.append(torch.round(piece / scale) if scale > 0 else torch.zeros_like(piece))
        scales.append(scale)
    return torch.cat(codes).to(torch.int8).reshape(w.shape), torch.stack(scales)


@bank.right("quantize_absmax")
def absmax_by_indices(w, block, bits=8):
    flat = w.reshape(-1)
    number = torch.arange(len(flat)) // block
    tops = torch.zeros(int(number[-1]) + 1, dtype=w.dtype)
    tops.scatter_reduce_(0, number, flat.abs(), "amax")
    scales = tops / _top(bits)
    return (flat / scales[number]).nan_to_num(0.0).round().to(torch.int8).view(w.shape), scales


_dc = torch.randint(-127, 128, (4, 6), generator=gen).to(torch.int8)
_ds = rand(5).abs() + 0.1
bank.probe("dequantize_absmax", call(_dc[:1], _ds[:1], 6), call(_dc, _ds[:4], 6),
           call(_dc, _ds[:3], 8), call(_dc, _ds, 5))  # fmt: skip


@bank.wrong("dequantize_absmax", "One scale for all: each block has its own.")
def dequantised_by_the_first(codes, scales, block):
    return codes * scales[0]


@bank.wrong("dequantize_absmax", "You divide by the scale; code times scale is the weight.")
def dequantised_by_division(codes, scales, block):
    each = scales.repeat_interleave(block)[: codes.numel()].view(codes.shape)
    return codes / each


@bank.wrong(
    "dequantize_absmax", "The scales are repeated as 0 1 0 1; neighbours share one: 0 0 1 1."
)
def dequantised_in_turns(codes, scales, block):
    return codes * scales.repeat(block)[: codes.numel()].view(codes.shape)


@bank.wrong("dequantize_absmax", "The result is flat; it has the shape of the codes.")
def dequantised_flat(codes, scales, block):
    return codes.reshape(-1) * scales.repeat_interleave(block)[: codes.numel()]


@bank.wrong(
    "dequantize_absmax", "Every row is taken as a block; blocks have `block` entries, row by row."
)
def dequantised_by_rows(codes, scales, block):
    each = torch.arange(len(codes)).clamp(max=len(scales) - 1)
    return codes * scales[each][:, None]


@bank.right("dequantize_absmax")
def dequantised_by_index(codes, scales, block):
    place = torch.arange(codes.numel()).view(codes.shape)
    return scales[place // block] * codes.to(scales.dtype)


@bank.right("dequantize_absmax")
def dequantised_by_pieces(codes, scales, block):
    parts = [
        c.to(scales.dtype) * s for c, s in zip(codes.reshape(-1).split(block), scales, strict=True)
    ]
    return torch.cat(parts).reshape(codes.shape)


# --- nf4_codebook ----------------------------------------------------------------------------

bank.probe("nf4_codebook", call())
_P = 1 - (1 / 30 + 1 / 32) / 2


def _quantiles(start, end, n):
    step = (end - start) / (n - 1)
    return torch.tensor([NormalDist().inv_cdf(start + i * step) for i in range(n)]).double()


def _levels(n_below=8, n_above=9, p=_P):
    below, above = _quantiles(0.5, p, n_below), _quantiles(0.5, p, n_above)
    return torch.cat([-below[1:].flip(0), above])


@bank.wrong("nf4_codebook", "The levels are evenly spaced: that is int4.")
def evenly_spaced():
    return torch.linspace(-1, 1, 16)


@bank.wrong(
    "nf4_codebook",
    "The levels come in pairs and none is 0: weights near 0, most of them, all move.",
)
def none_at_zero():
    q = _quantiles(1 - _P, _P, 16)
    return (q / q[-1]).float()


@bank.wrong("nf4_codebook", "Eight levels are below 0 and seven above; it is the other way round.")
def sides_exchanged():
    q = _levels(9, 8)
    return (q / q.abs().max()).float()


@bank.wrong("nf4_codebook", "Two levels are 0: fifteen are left. Drop the zero of the lower half.")
def two_zeros():
    half = _quantiles(0.5, _P, 8)
    return (torch.cat([-half.flip(0), half]) / half[-1]).float()


@bank.wrong("nf4_codebook", "The levels are not divided by the largest; they end at -1 and 1.")
def not_normalised():
    return _levels().float()


@bank.wrong("nf4_codebook", "The levels fall; they are to increase.")
def falling():
    q = _levels()
    return (q / q[-1]).float().flip(0)


@bank.wrong(
    "nf4_codebook", "The outermost probability is off: it is 1 - (1/30 + 1/32) / 2 on both sides."
)
def other_end():
    q = _levels(p=1 - 1 / 32)
    return (q / q[-1]).float()


@bank.right("nf4_codebook")
def levels_by_icdf():
    normal = torch.distributions.Normal(torch.zeros(()).double(), torch.ones(()).double())
    above = [normal.icdf(torch.tensor(0.5 + i * (_P - 0.5) / 8).double()) for i in range(1, 9)]
    below = [-normal.icdf(torch.tensor(0.5 + i * (_P - 0.5) / 7).double()) for i in range(7, 0, -1)]
    q = torch.stack([*below, torch.zeros(()).double(), *above])
    return (q / q.max()).to(torch.float32)


@bank.right("nf4_codebook")
def levels_by_erfinv():
    def quantile(n):  # of the normal distribution: √2 erfinv(2p - 1), in relation to the last
        p = torch.linspace(0.5, 1 - 1 / 60 - 1 / 64, n, dtype=torch.float64)
        return torch.erfinv(2 * p - 1)

    up, down = quantile(9), -quantile(8)
    return torch.unique(torch.cat([down, up]) / up.max()).float()


# --- quantize_nf4 and dequantize_nf4 ---------------------------------------------------------

bank.probe("quantize_nf4", call(_w[:1, :4], 4), call(_w, 6), call(_w, 4), call(-_w.abs(), 5),
           call(_zeros, 6), call(torch.zeros(3).double(), 2), call(rand(3, 50)))  # fmt: skip
_NF4 = _levels() / _levels()[-1]


def _nearest(inside, levels=_NF4):
    return (inside[..., None] - levels.to(inside.dtype)).abs().argmin(-1)


def _nf4(w, block, scales=None, choose=_nearest, levels=_NF4):
    rows = _blocks(w, block)
    scales = rows.abs().amax(1) if scales is None else scales
    inside = rows / torch.where(scales == 0, torch.ones_like(scales), scales)[:, None]
    codes = choose(inside, levels)
    return codes.view(-1)[: w.numel()].view(w.shape).to(torch.uint8), scales


@bank.wrong("quantize_nf4", "One scale for the whole tensor: one outlier spoils all blocks.")
def nf4_one_scale(w, block=64):
    return _nf4(w, block, w.abs().max().expand(len(_blocks(w, block))).clone())


@bank.wrong("quantize_nf4", "One scale for the whole tensor: one outlier spoils all blocks.")
def nf4_single_scale(w, block=64):
    codes, scales = _nf4(w, block, w.abs().max().expand(len(_blocks(w, block))).clone())
    return codes, scales[:1]


@bank.wrong("quantize_nf4", "You take the level below; the nearest one is asked for.")
def nf4_level_below(w, block=64):
    def choose(inside, levels):
        return torch.bucketize(inside.contiguous(), levels, right=True) - 1

    return _nf4(w, block, choose=choose)


@bank.wrong("quantize_nf4", "You take the level above; the nearest one is asked for.")
def nf4_level_above(w, block=64):
    def choose(inside, levels):
        return torch.bucketize(inside.contiguous(), levels).clamp(max=15)

    return _nf4(w, block, choose=choose)


@bank.wrong(
    "quantize_nf4", "The levels are evenly spaced: that is int4. Use those of nf4_codebook."
)
def nf4_even_levels(w, block=64):
    return _nf4(w, block, levels=torch.linspace(-1, 1, 16).double())


@bank.wrong(
    "quantize_nf4", "Each row is cut into blocks by itself; blocks run over the ends of rows."
)
def nf4_blocks_within_rows(w, block=64):
    parts = [p for row in w.reshape(-1, w.shape[-1]) for p in row.split(block)]
    found = [_nf4(p, block) for p in parts]
    return torch.cat([c for c, _ in found]).view(w.shape), torch.cat([s for _, s in found])


@bank.wrong("quantize_nf4", "The scale is the largest entry; it should be the largest magnitude.")
def nf4_signed_maximum(w, block=64):
    return _nf4(w, block, _blocks(w, block).amax(1))


@bank.wrong(
    "quantize_nf4", "The weights are not divided by their scale before the level is chosen."
)
def nf4_not_divided(w, block=64):
    scales = _blocks(w, block).abs().amax(1)
    return _nf4(w, block, torch.ones_like(scales))[0], scales


@bank.wrong("quantize_nf4", "A block of zeros has another code than 7; 0/0 is not a number.")
def nf4_zero_block(w, block=64):
    rows = _blocks(w, block)
    scales = rows.abs().amax(1)
    codes = (rows / scales[:, None])[..., None].sub(_NF4.to(w.dtype)).abs().nan_to_num(0).argmin(-1)
    return codes.view(-1)[: w.numel()].view(w.shape).to(torch.uint8), scales


@bank.wrong("quantize_nf4", "You return the levels; codes are their numbers, 0 to 15.")
def nf4_levels_returned(w, block=64):
    codes, scales = _nf4(w, block)
    return _NF4[codes.long()].to(w.dtype), scales


@bank.wrong("quantize_nf4", "The codes are flat or by blocks; they have the shape of w.")
def nf4_flat(w, block=64):
    codes, scales = _nf4(w, block)
    return codes.reshape(-1), scales


@bank.wrong("quantize_nf4", "The scales are divided by 7 or 15 as for whole numbers; here the largest level is 1.")  # fmt: skip
def nf4_scaled_as_int4(w, block=64):
    codes, scales = _nf4(w, block)
    return codes, scales / 7


@bank.right("quantize_nf4")
def nf4_by_distance(w, block=64):
    codes, scales = [], []
    for piece in w.reshape(-1).split(block):
        top = piece.abs().max()
        inside = piece / top if top > 0 else piece
        codes.append((inside[:, None] - _NF4.to(w.dtype)).abs().min(1).indices)
        scales.append(top)
    return torch.cat(codes).to(torch.uint8).reshape(w.shape), torch.stack(scales)


@bank.right("quantize_nf4")
def nf4_by_counting(w, block=64):
    limits = (_NF4[1:] + _NF4[:-1]).div(2).to(w.dtype)
    place = torch.arange(w.numel()) // block
    scales = torch.stack([p.abs().max() for p in w.reshape(-1).split(block)])
    inside = (w.reshape(-1) / scales[place]).nan_to_num(0.0)
    counted = (inside[:, None] > limits).sum(1)
    return counted.view(w.shape).to(torch.uint8), scales


_nc = torch.randint(16, (4, 6), generator=gen).to(torch.uint8)
bank.probe("dequantize_nf4", call(_nc[:1], _ds[:1], 6), call(_nc, _ds[:4], 6), call(_nc, _ds[:3], 8),
           call(_nc, _ds, 5))  # fmt: skip


@bank.wrong(
    "dequantize_nf4", "You multiply the code by the scale; a code is the number of a level."
)
def codes_as_values(codes, scales, block=64):
    return codes * scales.repeat_interleave(block)[: codes.numel()].view(codes.shape)


@bank.wrong("dequantize_nf4", "The codes are read as whole numbers around 0: that is int4.")
def codes_as_int4(codes, scales, block=64):
    each = scales.repeat_interleave(block)[: codes.numel()].view(codes.shape)
    return (codes.to(scales.dtype) - 7) / 7 * each


@bank.wrong("dequantize_nf4", "One scale for all: each block has its own.")
def nf4_back_by_the_first(codes, scales, block=64):
    return _NF4[codes.long()].to(scales.dtype) * scales[0]


@bank.wrong("dequantize_nf4", "The scales are left out: levels run from -1 to 1, weights do not.")
def nf4_back_unscaled(codes, scales, block=64):
    return _NF4[codes.long()].to(scales.dtype)


@bank.wrong("dequantize_nf4", "The scales are repeated as 0 1 0 1; neighbours share one: 0 0 1 1.")
def nf4_back_in_turns(codes, scales, block=64):
    each = scales.repeat(block)[: codes.numel()].view(codes.shape)
    return _NF4[codes.long()].to(scales.dtype) * each


@bank.right("dequantize_nf4")
def nf4_back_by_index(codes, scales, block=64):
    place = torch.arange(codes.numel()).view(codes.shape)
    return scales[place // block] * _NF4.to(scales.dtype).take(codes.long())


@bank.right("dequantize_nf4")
def nf4_back_by_pieces(codes, scales, block=64):
    levels = _NF4.to(scales.dtype)
    pieces = zip(codes.reshape(-1).split(block), scales, strict=True)
    return torch.cat([s * levels[c.int()] for c, s in pieces]).reshape(codes.shape)


# --- bits_per_param --------------------------------------------------------------------------

bank.probe("bits_per_param", call(64, 32), call(32, 16), call(64, 8, 256), call(16, 8, 4, 24),
           call(8, 8, outer_bits=64))  # fmt: skip


def _bits(block, scale_bits, outer_block=None, outer_bits=32, codes=4):
    outer = 0 if outer_block is None else outer_bits / (block * outer_block)
    return codes + scale_bits / block + outer


@bank.wrong(
    "bits_per_param", "You count a byte for each code; codes have 4 bits: two codes share a byte."
)
def a_byte_for_each_code(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits, outer_block, outer_bits, codes=8)


@bank.wrong(
    "bits_per_param", "The bits of a scale are charged to each weight; a whole block shares them."
)
def scale_for_each_weight(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(1, scale_bits)


@bank.wrong("bits_per_param", "The outer scales are left out.")
def outer_left_out(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits)


@bank.wrong("bits_per_param", "An outer scale serves outer_block blocks: block · outer_block weights, not outer_block.")  # fmt: skip
def outer_for_weights(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits) + (outer_bits / outer_block if outer_block else 0)


@bank.wrong(
    "bits_per_param", "The outer scale is charged to each block; outer_block blocks share it."
)
def outer_for_each_block(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits) + (outer_bits / block if outer_block else 0)


@bank.wrong("bits_per_param", "`outer_bits` has no effect: you count 32 bits in any case.")
def always_32(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits, outer_block)


@bank.wrong("bits_per_param", "The result is in bytes; bits are asked for.")
def in_bytes(block, scale_bits, outer_block=None, outer_bits=32):
    return _bits(block, scale_bits, outer_block, outer_bits) / 8


@bank.right("bits_per_param")
def bits_by_steps(block, scale_bits, outer_block=None, outer_bits=32):
    per_scale = scale_bits + (outer_bits / outer_block if outer_block else 0)
    return (4 * block + per_scale) / block


@bank.right("bits_per_param")
def bits_of_a_whole(block, scale_bits, outer_block=None, outer_bits=32):
    scales = 1 if outer_block is None else outer_block
    total = scales * block * 4 + scales * scale_bits
    if outer_block is not None:
        total += outer_bits
    return total / (scales * block)


# --- prompt_tuning_forward -------------------------------------------------------------------

_sizes = {
    "n_layers": 2,
    "d_model": 8,
    "n_heads": 2,
    "vocab_size": 7,
    "context_len": 9,
    "tied": False,
}
_ids = torch.tensor([[1, 5, 2], [0, 3, 3]])


def _prompted(prompt, ids):
    return drill(drills.prompted, _gpt(**_sizes), prompt, ids)


bank.probe("prompt_tuning_forward", _prompted(rand(2, 8), _ids), _prompted(rand(2, 8), _ids[:1]),
           _prompted(rand(3, 8), _ids), _prompted(rand(1, 8), _ids[:, :1]),
           _prompted(rand(0, 8), _ids))  # fmt: skip


class _Prompted:
    """The forward pass with everything that can go wrong as an argument."""

    def __init__(self, model, prompt, ids):
        self.model, self.prompt, self.ids = model, prompt, ids
        self.P, self.T = len(prompt), ids.shape[1]
        self.vectors = prompt[None].repeat(len(ids), 1, 1)

    def run(self, x, norm=True):
        for block in self.model.blocks:
            x = block(x)
        return self.model.head(self.model.norm(x) if norm else x)

    def positions(self, n, start=0):
        return self.model.position.weight[start : start + n]

    def whole(self, norm=True):
        x = torch.cat([self.vectors, self.model.token(self.ids)], 1)
        return self.run(x + self.positions(self.P + self.T), norm)


@bank.wrong(
    "prompt_tuning_forward", "Your logits are P tokens longer than the input: cut the prompt's off."
)
def prompt_not_cut(model, prompt, ids):
    return _Prompted(model, prompt, ids).whole()


@bank.wrong("prompt_tuning_forward", "You cut the last P rows; the prompt stands in front.")
def cut_at_the_end(model, prompt, ids):
    return _Prompted(model, prompt, ids).whole()[:, : ids.shape[1]]


@bank.wrong("prompt_tuning_forward", "Row t is what follows token t: your rows are one too early.")
def one_row_early(model, prompt, ids):
    logits = _Prompted(model, prompt, ids).whole()
    start = max(len(prompt) - 1, 0)
    return logits[:, start : start + ids.shape[1]]


@bank.wrong(
    "prompt_tuning_forward",
    "The prompt has no effect: it is not used, or it stands behind the tokens, where a causal model does not look.",
)
def prompt_behind(model, prompt, ids):
    do = _Prompted(model, prompt, ids)
    x = torch.cat([model.token(ids), do.vectors], 1) + do.positions(do.P + do.T)
    return do.run(x)[:, : do.T]


@bank.wrong(
    "prompt_tuning_forward",
    "The vectors of the prompt have no position added; they get 0 ... P - 1.",
)
def prompt_without_positions(model, prompt, ids):
    do = _Prompted(model, prompt, ids)
    x = torch.cat([do.vectors, model.token(ids) + do.positions(do.T, do.P)], 1)
    return do.run(x)[:, do.P :]


@bank.wrong(
    "prompt_tuning_forward", "The tokens begin at position 0 again; they follow the prompt at P."
)
def tokens_from_zero(model, prompt, ids):
    do = _Prompted(model, prompt, ids)
    tokens = model.token(ids) + do.positions(do.T)
    return do.run(torch.cat([do.vectors + do.positions(do.P), tokens], 1))[:, do.P :]


@bank.wrong(
    "prompt_tuning_forward",
    "The tokens begin at position 0 and the prompt has none; count through both, from 0.",
)
def only_tokens_have_positions(model, prompt, ids):
    do = _Prompted(model, prompt, ids)
    x = torch.cat([do.vectors, model.token(ids) + do.positions(do.T)], 1)
    return do.run(x)[:, do.P :]


@bank.wrong(
    "prompt_tuning_forward",
    "No gradient reaches the prompt: it is detached or copied into a new tensor.",
)
def prompt_detached(model, prompt, ids):
    return _Prompted(model, prompt.detach(), ids).whole()[:, len(prompt) :]


@bank.wrong(
    "prompt_tuning_forward",
    "The prompt has no effect: it is not used, or it stands behind the tokens, where a causal model does not look.",
)
def prompt_ignored(model, prompt, ids):
    return model(ids) + 0 * prompt.sum()


@bank.wrong("prompt_tuning_forward", "The final norm is missing before the head.")
def no_final_norm(model, prompt, ids):
    return _Prompted(model, prompt, ids).whole(norm=False)[:, len(prompt) :]


@bank.wrong("prompt_tuning_forward", "The vectors of the prompt stand in reverse order.")
def prompt_reversed(model, prompt, ids):
    return _Prompted(model, prompt.flip(0), ids).whole()[:, len(prompt) :]


@bank.right("prompt_tuning_forward")
def prompted_row_by_row(model, prompt, ids):
    logits = []
    for row in ids:
        x = torch.cat([prompt, model.token(row)])
        x = (x + model.position.weight[: len(x)])[None]
        for block in model.blocks:
            x = block(x)
        logits.append(model.head(model.norm(x))[0, len(prompt) :])
    return torch.stack(logits)


@bank.right("prompt_tuning_forward")
def prompted_through_a_placeholder(model, prompt, ids):
    B, T = ids.shape
    P, C = prompt.shape
    x = torch.zeros(B, P + T, C, dtype=prompt.dtype, device=prompt.device)
    x = torch.cat([x[:, :P] + prompt, x[:, P:] + model.token(ids)], 1)
    x = x + model.position(torch.arange(P + T, device=ids.device)).unsqueeze(0)
    for i in range(len(model.blocks)):
        x = model.blocks[i](x)
    return model.head(model.norm(x)).narrow(1, P, T)


# --- BottleneckAdapter -----------------------------------------------------------------------

_adapter = {
    "down.weight": rand(3, 5),
    "down.bias": rand(3),
    "up.weight": rand(5, 3),
    "up.bias": rand(5),
}
_sizes_a = {"d_model": 5, "d_bottleneck": 3}
bank.probe("BottleneckAdapter", module(_sizes_a, _adapter, rand(2, 4, 5)),
           module(_sizes_a, _adapter, rand(5)),
           drill(drills.adapter_start, 6, 4))  # fmt: skip


class _Adapter(nn.Module):
    def __init__(self, d_model, d_bottleneck):
        super().__init__()
        self.down = nn.Linear(d_model, d_bottleneck)
        self.up = nn.Linear(d_bottleneck, d_model)
        self.start()

    def start(self):
        self.up.weight.data.zero_()
        self.up.bias.data.zero_()

    def bend(self, x):
        return nn.functional.gelu(x)

    def forward(self, x):
        return x + self.up(self.bend(self.down(x)))


@bank.wrong("BottleneckAdapter", "The input is not added: at the start everything becomes 0.")
class NoResidual(_Adapter):
    def forward(self, x):
        return self.up(self.bend(self.down(x)))


@bank.wrong(
    "BottleneckAdapter",
    "Both maps begin at 0: the adapter is the identity, and no gradient reaches its weights. One map at 0 is enough.",
)
class BothMapsZero(_Adapter):
    def start(self):
        for p in self.parameters():
            p.data.zero_()


@bank.wrong("BottleneckAdapter", "The adapter is not the identity at the start: `up` begins at 0.")
class NothingZero(_Adapter):
    def start(self):
        pass


@bank.wrong(
    "BottleneckAdapter", "The bias of `up` begins at random, so the start is not the identity."
)
class BiasNotZero(_Adapter):
    def start(self):
        self.up.weight.data.zero_()


@bank.wrong("BottleneckAdapter", "`down` begins at 0 in the place of `up`.")
class DownZero(_Adapter):
    def start(self):
        for p in self.down.parameters():
            p.data.zero_()
        self.up.bias.data.zero_()


@bank.wrong("BottleneckAdapter", "The bend is ReLU; GELU is asked for.")
class WithRelu(_Adapter):
    def bend(self, x):
        return x.relu()


@bank.wrong("BottleneckAdapter", "There is no bend between the maps: the adapter is linear.")
class WithoutBend(_Adapter):
    def bend(self, x):
        return x


@bank.wrong("BottleneckAdapter", "GELU stands after `up`; it stands between the two maps.")
class BendAtTheEnd(_Adapter):
    def forward(self, x):
        return x + self.bend(self.up(self.down(x)))


@bank.right("BottleneckAdapter")
class AdapterByErf(_Adapter):
    def bend(self, x):
        return x * (1 + torch.erf(x / math.sqrt(2))) / 2


@bank.right("BottleneckAdapter")
class AdapterInSteps(_Adapter):
    def start(self):
        with torch.no_grad():
            for p in self.up.parameters():
                p.fill_(0.0)

    def forward(self, x):
        low = F.linear(x, self.down.weight, self.down.bias)
        return torch.add(F.linear(nn.GELU()(low), self.up.weight, self.up.bias), x)


for _mutant in ("scales > 0  =>  scales >= 0", "1  =>  2  (#4)", "1  =>  0  (#4)", "0  =>  -1"):
    bank.equivalent("quantize_absmax", _mutant, "0/0 becomes 0 when it is made a whole number")
for _n in (9, 8):
    _call = f"torch.linspace(0.5, p, {_n}"
    bank.equivalent("nf4_codebook", f"{_call}, dtype=torch.float64)  =>  {_call})",
                    "32 bits are exact enough for a millionth")  # fmt: skip
bank.equivalent("nf4_codebook", "0  =>  -1", "the only dimension, from the other side")
bank.equivalent("quantize_nf4", "nf4_codebook().to(w)  =>  (nf4_codebook())", "one device here")
bank.equivalent("quantize_nf4", "1  =>  2  (#3)", "0 over anything")
bank.equivalent("dequantize_nf4", "nf4_codebook().to(scales)  =>  (nf4_codebook())",
                "one device here; the product has the wider dtype")  # fmt: skip
bank.equivalent("prompt_tuning_forward",
                "torch.arange(P + T, device=ids.device)  =>  torch.arange(P + T)",
                "tests run on one device")  # fmt: skip
