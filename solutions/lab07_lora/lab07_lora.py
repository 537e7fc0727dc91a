# %% [markdown]
# # Lab 7: LoRA and four bits
#
# Full fine-tuning moves every weight, and keeps a copy of the model for every task. In this lab you
# train a twentieth of the weights beside a frozen model and lose almost nothing, merge the update
# so that it costs nothing, store the frozen part in four bits, and try two other ways to train
# little: a learned prompt and an adapter. At the end a base model becomes an assistant that answers
# customers, and you can talk to it.
#
# **{points}, about 2 1/2 hours.** The chapter behind it is
# [Supervised fine-tuning](../../book/ch04_sft.md), above all its page on
# [LoRA](../../book/ch04_lora.md).
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Four rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input, unless the docstring says otherwise. Where
#   the signature says `float` or `int`, it is a plain Python number.
# - Arguments are never changed, unless the docstring says so.
# - Later functions may use `LoRALinear` and your earlier functions.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import copy
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import glassbox
from glassbox import check, drills_lora
from glassbox.models import GPT
from glassbox.parts import GPTConfig

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab07_lora")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## 1. A linear layer with LoRA ({points:LoRALinear}, 25 min)
#
# A layer of a trained model maps $x$ to $Wx$. Fine-tuning adds a change $\Delta W$ to it. LoRA (Hu
# et al. 2021) guesses that a change of **low rank** is enough and writes it as a product of two
# thin matrices, $\Delta W = \frac{\alpha}{r} B A$:
#
# $$y = Wx + \frac{\alpha}{r}\, B\,(A\,x), \qquad A: r \times C_\text{in}, \quad
# B: C_\text{out} \times r$$
#
# $W$ is frozen. With $C_\text{in}$ = $C_\text{out}$ = 4096 and $r$ = 16, $W$ has 16.8 million
# numbers, $A$ and $B$ together have 131,072.
#
# Three choices make it work. $B$ begins at 0, so the first step starts from the model as it was.
# $A$ does not, or no gradient would ever reach either: the gradient of $B$ contains $A$, the
# gradient of $A$ contains $B$. And the update is scaled by $\alpha / r$, so that you can change the
# rank and keep the learning rate.
#
# By hand: $x$ = (3, 4), $A$ = (1 0), $B$ = (1, 0, 2), $r$ = 1, $\alpha$ = 2. $A$ reads 3, $B$ makes
# it (3, 0, 6), and the scale is 2: the update is (6, 0, 12).
#
# **Common mistake:** the scale left out. The model still learns, with another rate than you think;
# and a file with $A$ and $B$ means something else to every other program.
#
# <details><summary>Hint 1</summary>
#
# Constructor: freeze what is there, then make two `nn.Parameter`. Assigning them to `self` is all
# that torch needs to find them. `requires_grad_` works on a whole module.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `nn.init.uniform_(tensor, -bound, bound)` fills a tensor. `torch.zeros(..., dtype=...,
# device=...)` takes what `base.weight` has; so does `base.weight.new_zeros(...)`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x @ A.T` has r numbers in the place of C_in; `@ B.T` makes C_out of them. Never make the large
# product `B @ A` here: for one vector it costs more than all the rest.
#
# </details>

# %% nbgrader={"solution": "LoRALinear"}
class LoRALinear(nn.Module):
    """A frozen linear layer with a trainable update of low rank beside it.

    `base` maps C_in to C_out, with a bias or without. It is kept itself, not as a copy, and its
    parameters are frozen (requires_grad False). `A` (rank, C_in) and `B` (C_out, rank) are
    trainable parameters with dtype and device of base.weight. At the start A is uniform in
    ±1/√C_in, drawn from torch's global generator, and B is 0. What the constructor does before
    the blank is given; keep all names.
    """

    def __init__(self, base: nn.Linear, rank: int, alpha: float, dropout: float = 0.0) -> None:
        super().__init__()
        self.base, self.rank, self.alpha = base, rank, alpha
        self.dropout = nn.Dropout(dropout)
        ### BEGIN SOLUTION
        self.base.requires_grad_(False)
        bound = 1 / math.sqrt(base.in_features)
        start = base.weight.new_empty(rank, base.in_features)
        self.A = nn.Parameter(nn.init.uniform_(start, -bound, bound))
        self.B = nn.Parameter(base.weight.new_zeros(base.out_features, rank))
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """base(x) + alpha / rank · B A dropout(x), for every vector of x.

        (..., C_in) -> (..., C_out). Dropout acts on the x that the update reads, never on what
        base reads, and only while training. Gradients flow to A, to B, and to x through both
        terms. While B is 0 the result equals base(x) exactly.
        """
        ### BEGIN SOLUTION
        low = self.dropout(x) @ self.A.T  # (..., r)
        return self.base(x) + self.alpha / self.rank * (low @ self.B.T)
        ### END SOLUTION


# %% nbgrader={"test": "LoRALinear_visible", "points": 12}
with check.question("LoRALinear_visible", LoRALinear) as f:
    W = torch.tensor([[1.0, 0], [0, 1], [1, 1]])
    base = check.there(nn.Linear, 2, 3, bias=False)
    base.load_state_dict({"weight": W})
    layer, x = f(base, 1, 2.0), torch.tensor([[3.0, 4.0]])
    check.close("at the start", layer(x), [[3.0, 4.0, 7.0]], why="B is 0: what base gives.")
    sizes = {name: list(p.shape) for name, p in layer.named_parameters()}
    check.equal("parameters", sizes, {"A": [1, 2], "B": [3, 1], "base.weight": [3, 2]})
    trained = sorted(name for name, p in layer.named_parameters() if p.requires_grad)
    check.equal("trained", trained, ["A", "B"], why="the base is frozen.")
    layer(x).sum().backward()
    grads = {name: p.grad for name, p in layer.named_parameters()}
    check.that(grads["B"] is not None and (grads["B"] != 0).any(),
               "no gradient reaches B at the start; A must not be 0.")
    layer.load_state_dict({"base.weight": W, "A": torch.tensor([[1.0, 0.0]]),
                           "B": torch.tensor([[1.0], [0.0], [2.0]])})
    check.close("rank 1, alpha 2", layer(x), [[9.0, 4.0, 19.0]],
                why="A reads 3, B makes it (3, 0, 6), times 2/1, added to (3, 4, 7).")
    square = check.there(nn.Linear, 2, 2)
    square.load_state_dict({"weight": torch.zeros(2, 2), "bias": torch.ones(2)})
    layer = f(square, 2, 1.0)
    layer.load_state_dict({"base.weight": torch.zeros(2, 2), "base.bias": torch.ones(2),
                           "A": torch.eye(2), "B": torch.tensor([[0.0, 2], [0, 0]])})
    check.close("rank 2, alpha 1", layer(x), [[5.0, 1.0]],
                why="B A x is (8, 0), times 1/2; the bias of base is (1, 1).")
    off = f(square, 1, 1.0, 1.0)  # dropout 1: nothing is left of what the update reads
    off.load_state_dict({"base.weight": torch.eye(2), "base.bias": torch.zeros(2),
                         "A": torch.ones(1, 2), "B": torch.ones(2, 1)})
    check.close("dropout 1, training", off.train()(x), [[3.0, 4.0]], why="base reads all of x.")
    check.close("dropout 1, evaluation", off.eval()(x), [[10.0, 11.0]],
                why="no dropout: 3 + 4 is added to both.")

# %% nbgrader={"test": "LoRALinear_hidden", "points": 8}
# Hidden checks: random factors and shapes, gradients, the first values of A, dropout by halves,
# whose base it is.
### BEGIN HIDDEN TESTS
with check.question("LoRALinear_hidden", LoRALinear) as f:
    gen = check.generator()
    with check.part("random factors", 4):
        for n_in, n_out, rank, alpha, bias, shape in (
            (5, 7, 2, 8.0, True, (3, 4)), (6, 6, 3, 1.0, False, (2,)), (4, 1, 8, 16.0, True, ()),
            (1, 9, 1, 0.5, True, (1, 1)),
        ):
            base = check.there(nn.Linear, n_in, n_out, bias=bias).double()
            layer = f(base, rank, alpha)
            w = {name: torch.randn(value.shape, generator=gen, dtype=torch.float64)
                 for name, value in layer.state_dict().items()}
            layer.load_state_dict(w)
            case = f"{n_in} to {n_out}, rank {rank}, alpha {alpha:g}"
            x = torch.randn(*shape, n_in, generator=gen, dtype=torch.float64)
            whole = w["base.weight"] + alpha / rank * w["B"] @ w["A"]
            check.close(case, layer(x), F.linear(x, whole, w.get("base.bias")))
            check.gradient(f"{case}, gradient of x", layer, x)
            layer.zero_grad()
            layer(x).square().sum().backward()
            A, B = (w[name].clone().requires_grad_() for name in "AB")
            own = w["base.weight"] + alpha / rank * B @ A
            F.linear(x, own, w.get("base.bias")).square().sum().backward()
            grads = {name: p.grad for name, p in layer.named_parameters()}
            check.that(grads["A"] is not None and grads["B"] is not None,
                       f"{case}: no gradient reaches A or B.")
            check.close(f"{case}, gradient of A", grads["A"], A.grad, scale=1.0)
            check.close(f"{case}, gradient of B", grads["B"], B.grad, scale=1.0)
            reached = [name for name in grads if name not in "AB" and grads[name] is not None]
            check.that(not reached, f"{case}: {reached} have a gradient; the base is frozen.")
    with check.part("the start", 2):
        torch.manual_seed(check.generator(1).initial_seed())
        base = check.there(nn.Linear, 256, 40)
        layer = f(base, 32, 4.0)
        first = {name: p.detach().clone() for name, p in layer.named_parameters()}
        check.close("B", first["B"], torch.zeros(40, 32), scale=1.0)
        check.that((first["A"].abs() <= 1 / 16 + 1e-6).all(),
                   "C_in is 256: no entry of A may be above 1/16.")
        check.close("standard deviation of A", first["A"].std(), 1 / 16 / math.sqrt(3), rel=0.05,
                    why="uniform in ±1/16.")
        check.close("mean of A", first["A"].mean(), 0.0, scale=0.04, rel=1.0)
        again = dict(f(base, 32, 4.0).named_parameters())["A"]
        check.that((again.detach() != first["A"]).any(), "two layers begin with the same A.")
        x = torch.randn(3, 256, generator=gen)
        check.close("equal to base, bit by bit", layer(x), base(x).detach(), rel=0.0, scale=1.0)
        wide = check.there(nn.Linear, 3, 2).double()
        check.close("A of a float64 base, dtype", dict(f(wide, 1, 1.0).named_parameters())["A"] * 0,
                    torch.zeros(1, 3).double(), scale=1.0)
    with check.part("dropout and base", 2):
        narrow = check.there(nn.Linear, 1, 50, bias=False)
        layer = f(narrow, 1, 1.0, 0.5)
        layer.load_state_dict({"base.weight": torch.ones(50, 1), "A": torch.ones(1, 1),
                               "B": torch.ones(50, 1)})
        out = layer.train()(torch.ones(400, 1)).detach()
        check.close("dropout 0.5, entries of a row", out, out[:, :1].expand(400, 50),
                    why="dropout acts on x: a row's update is there or not.")
        check.close("dropout 0.5, the update is 0 or 2", (out - 2).abs(), torch.ones(400, 50),
                    why="1 + 0 or 1 + 2.")
        kept = (out[:, 0] > 2).double().mean().item()
        check.that(abs(kept - 0.5) < 0.125, f"dropout 0.5 keeps {kept:.0%} of 400 rows.")
        check.close("evaluation", layer.eval()(torch.ones(2, 1)), torch.full((2, 50), 2.0))
        narrow.load_state_dict({"weight": torch.full((50, 1), 5.0)})
        check.close("base changed afterwards", layer(torch.ones(1, 1)), torch.full((1, 50), 6.0),
                    why="the layer keeps base itself, not a copy.")
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Put it into a model ({points:inject_lora}, 15 min)
#
# A model has layers in layers. `model.named_modules()` walks through all of them and gives each one
# its path, like `blocks.0.qkv`; `model.get_submodule(path)` finds one again. Which layers get LoRA
# is said by name: `("qkv",)` means the joint query-key-value map of every block.
#
# By hand: two blocks of width 64 have a `qkv` from 64 to 192. Rank 4 costs 4 · (64 + 192) = 1,024
# numbers in each: 2,048 together.
#
# **Common mistake:** the rest of the model left trainable. Everything works, and the optimizer
# quietly trains 100 % of the weights.
#
# <details><summary>Hint 1</summary>
#
# First make the list of names, then replace. A dict must not change while you walk through it.
#
# </details>
# <details><summary>Hint 2</summary>
#
# To replace `blocks.0.qkv` you need its parent `blocks.0` and the last part of its name.
# `name.rpartition(".")` cuts a name there, and the parent of a name without a dot is the model.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `setattr(parent, last, new_layer)` replaces it. Freeze the model *before* you put A and B in. With
# a dot put in front of both, "equal, or ending in a dot and the target" is one question.
#
# </details>

# %% nbgrader={"solution": "inject_lora"}
def inject_lora(
    model: nn.Module, targets: tuple[str, ...], rank: int, alpha: float
) -> list[str]:
    """Put LoRA around linear layers of a model, in place; the names of these layers.

    Taken is every nn.Linear whose name in model.named_modules() is one of targets or ends in a dot
    followed by one of them: "qkv" takes blocks.0.qkv and not blocks.0.old_qkv; "blocks.1.qkv" takes
    this one alone. Each is replaced by LoRALinear(layer, rank, alpha). The names, in the
    order of model.named_modules(), are returned. Afterwards only the new A and B are trainable;
    all parameters that the model had are frozen. If no layer is taken: ValueError. The
    model itself is not the linear layer to be replaced.
    """
    ### BEGIN SOLUTION
    found = [name for name, part in model.named_modules() if isinstance(part, nn.Linear)
             and any(f".{name}".endswith(f".{target}") for target in targets)]
    if not found:
        raise ValueError(f"no linear layer is called one of {targets}")
    model.requires_grad_(False)
    for name in found:
        path, _, last = name.rpartition(".")
        owner = model.get_submodule(path)
        setattr(owner, last, LoRALinear(getattr(owner, last), rank, alpha))
    return found
    ### END SOLUTION


# %% nbgrader={"test": "inject_lora_visible", "points": 6}
with check.question("inject_lora_visible", inject_lora) as f:
    config = GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=261, context_len=128)
    model, ids = check.there(GPT, config), torch.tensor([[1, 2, 3]])
    before = model(ids).detach()
    check.equal("names", f(model, ("qkv",), 4, 8.0), ["blocks.0.qkv", "blocks.1.qkv"])
    trained = {name: list(p.shape) for name, p in model.named_parameters() if p.requires_grad}
    check.equal("trained", trained,
                {"blocks.0.qkv.A": [4, 64], "blocks.0.qkv.B": [192, 4],
                 "blocks.1.qkv.A": [4, 64], "blocks.1.qkv.B": [192, 4]},
                why="4 · (64 + 192) numbers in each block; all else is frozen.")
    check.close("logits", model(ids), before, why="B is 0: nothing has changed yet.")
    net = check.there(drills_lora.Stack)
    check.equal("qkv, one of qkv and old_qkv", f(net, ("qkv",), 1, 3.0), ["a.qkv", "b.qkv"],
                why="the last part of the name is the target; old_qkv is another name.")
    check.close("alpha / rank", net.a.qkv.alpha / net.a.qkv.rank, 3.0, why="alpha 3, rank 1.")
    net = check.there(drills_lora.Stack)
    check.equal("targets out and b.qkv", f(net, ("out", "b.qkv"), 2, 4.0), ["b.qkv", "out"],
                why="a full name takes one layer; names come in the order of the model.")
    check.raises("a name that is nowhere", ValueError, f, net, ("query",), 2, 4.0,
                 why="a slip of the pen would train nothing.")

# %% nbgrader={"test": "inject_lora_hidden", "points": 4}
# Hidden checks: other models and targets, biases and tables frozen, gradients, layers of other
# kinds with a name that fits, what is left of the old weights.
### BEGIN HIDDEN TESTS
with check.question("inject_lora_hidden", inject_lora) as f:
    gen = check.generator()
    for L, targets, rank in ((1, ("ff_in", "ff_out"), 2), (3, ("blocks.1.out", "blocks.2"), 1),
                             (2, ("qkv", "out", "ff_in", "ff_out"), 3), (2, ("head",), 2)):
        config = GPTConfig(n_layers=L, d_model=12, n_heads=3, vocab_size=17, context_len=9,
                           tied=False)
        model, plain, case = check.there(GPT, config), GPT(config), f"targets {targets}"
        w = {name: 0.3 * torch.randn(value.shape, generator=gen)
             for name, value in plain.state_dict().items()}
        model.load_state_dict(w)
        names = [f"blocks.{i}.{name}" for i in range(L) for name in
                 ("qkv", "out", "ff_in", "ff_out")] + ["head"]
        want = [n for n in names if n in targets or n.split(".")[-1] in targets]
        check.equal(f"{case}, names", f(model, targets, rank, 5.0), want)
        state = model.state_dict()
        for name in want:
            check.close(f"{case}, {name}.base.weight", state[f"{name}.base.weight"],
                        w[f"{name}.weight"], why="the old layer is inside of the new one.")
        sizes = {name: list(plain.get_submodule(name).weight.shape) for name in want}
        trained = {name: list(p.shape) for name, p in model.named_parameters() if p.requires_grad}
        check.equal(f"{case}, trained", trained,
                    {f"{name}.{part}": shape for name, (n_out, n_in) in sizes.items()
                     for part, shape in (("A", [rank, n_in]), ("B", [n_out, rank]))})
        factors = {name: torch.randn(shape, generator=gen) for name, shape in trained.items()}
        model.load_state_dict(state | factors)
        merged = dict(w)
        for name in want:
            merged[f"{name}.weight"] = w[f"{name}.weight"] + 5.0 / rank * (
                factors[f"{name}.B"] @ factors[f"{name}.A"])
        plain.load_state_dict(merged)
        ids = torch.randint(17, (2, 7), generator=gen)
        check.close(f"{case}, logits with random A and B", model(ids), plain(ids).detach())
        model(ids).square().sum().backward()
        wrong = [name for name, p in model.named_parameters()
                 if (p.grad is None) == (name in trained)]
        check.that(not wrong, f"{case}: a gradient where none should be, or none: {wrong[:3]}.")
    net = check.there(drills_lora.Stack)
    check.equal("a norm called out", f(net.inner, ("out", "proj"), 1, 1.0), ["proj"],
                why="only linear layers are taken.")
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Merge ({points:merge_lora}, 8 min)
#
# After training, $W + \frac{\alpha}{r}BA$ is one matrix again. A merged layer is a plain linear
# layer: no second product, no latency. An adapter that stands *behind* a layer, with a bend in it,
# cannot be merged; that is the difference between LoRA and the adapters of 2019.
#
# By hand: $W$ = 0 and $A$, $B$ from exercise 1. The merged weight is 2 · (1, 0, 2)ᵀ(1 0):
# rows (2 0), (0 0), (4 0).
#
# **Common mistake:** merging in place. Whoever calls twice, or goes on using the layer, has the
# update in there two times.
#
# <details><summary>Hint 1</summary>
#
# The result is what `base` is, with another weight.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `copy.deepcopy(layer.base)` is a layer of its own with the same weight and bias.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Inside of `with torch.no_grad():` a weight may be changed with `+=`. B comes first: (C_out, r)
# times (r, C_in).
#
# </details>

# %% nbgrader={"solution": "merge_lora"}
def merge_lora(layer: LoRALinear) -> nn.Linear:
    """A plain linear layer that computes what `layer` computes without dropout.

    A new nn.Linear. Its weight is W + alpha / rank · B A with W the weight of layer.base, its
    bias is a copy of the bias of layer.base (none if there is none); dtype and device stay.
    `layer` and its base are not changed, so that a second call gives the same weights. Use
    layer.base, layer.A, layer.B, layer.rank and layer.alpha. Whether the new weights require a
    gradient is open.
    """
    ### BEGIN SOLUTION
    merged = copy.deepcopy(layer.base)
    with torch.no_grad():
        merged.weight += layer.alpha / layer.rank * (layer.B @ layer.A)
    return merged
    ### END SOLUTION


# %% nbgrader={"test": "merge_lora_visible", "points": 3}
with check.question("merge_lora_visible", merge_lora) as f:
    layer = LoRALinear(check.there(nn.Linear, 2, 3), 1, 2.0)
    w = {"base.weight": torch.ones(3, 2), "base.bias": torch.tensor([5.0, 6, 7]),
         "A": torch.tensor([[1.0, 0.0]]), "B": torch.tensor([[1.0], [0.0], [2.0]])}
    layer.load_state_dict(w)
    for time in ("first", "second"):
        merged = f(layer).state_dict()
        check.equal(f"{time} call, what it holds", sorted(merged), ["bias", "weight"],
                    why="a plain linear layer.")
        check.close(f"{time} call, weight", merged["weight"], [[3.0, 1], [1, 1], [5, 1]],
                    why="1 everywhere, plus rows (2 0), (0 0), (4 0).")
        check.close(f"{time} call, bias", merged["bias"], [5.0, 6.0, 7.0], why="that of base.")
    check.close("base of the layer", layer.state_dict()["base.weight"], torch.ones(3, 2),
                why="the layer is as it was.")

# %% nbgrader={"test": "merge_lora_hidden", "points": 2}
# Hidden checks: merged against unmerged on random inputs, with and without bias, float64.
### BEGIN HIDDEN TESTS
with check.question("merge_lora_hidden", merge_lora) as f:
    gen = check.generator()
    for n_in, n_out, rank, alpha, bias, dtype in (
        (6, 6, 2, 8.0, True, torch.float32), (5, 9, 3, 1.0, False, torch.float64),
        (8, 1, 4, 2.0, True, torch.float64), (30, 30, 1, 16.0, False, torch.float32),
    ):
        base = check.there(nn.Linear, n_in, n_out, bias=bias).to(dtype)
        layer = LoRALinear(base, rank, alpha, 0.9)
        w = {name: torch.randn(value.shape, generator=gen, dtype=dtype)
             for name, value in layer.state_dict().items()}
        layer.load_state_dict(w)
        x, case = torch.randn(4, n_in, generator=gen, dtype=dtype), f"{n_in} to {n_out}"
        want = (F.linear(x, w["base.weight"], w.get("base.bias"))
                + alpha / rank * x @ w["A"].T @ w["B"].T)
        merged = f(layer)
        check.close(case, merged(x), want, rel=1e-5)
        check.close(f"{case}, weight", merged.state_dict()["weight"],
                    w["base.weight"] + alpha / rank * w["B"] @ w["A"])
        check.equal(f"{case}, what it holds", sorted(merged.state_dict()),
                    ["bias", "weight"] if bias else ["weight"])
        for name, value in layer.state_dict().items():
            check.close(f"{case}, {name} afterwards", value, w[name])
        merged.load_state_dict({n: v * 0 for n, v in merged.state_dict().items()})
        check.close(f"{case}, base after a change of the result", base.state_dict()["weight"],
                    w["base.weight"], why="the result shares no memory with the layer.")
### END HIDDEN TESTS

# %% [markdown]
# ## 4. And take it out again ({points:unmerge_lora}, 7 min)
#
# A server holds merged weights and has the small file with A and B. To serve another customer's
# adapter it subtracts the first update and adds the second: the frozen model is never loaded again.
#
# By hand: a merged weight of 3 with an update of 2 was 1.
#
# **Common mistake:** subtracting $BA$ without the scale that it was added with.
#
# <details><summary>Hint 1</summary>
#
# The same product as in exercise 3, with the other sign.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `copy.deepcopy(layer)` copies the layer with everything in it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Change the weight of the *copy's* base.
#
# </details>

# %% nbgrader={"solution": "unmerge_lora"}
def unmerge_lora(layer: LoRALinear) -> LoRALinear:
    """The layer as it was before its update went into its base.

    layer.base holds a merged weight, W + alpha / rank · B A with the layer's own A and B. The
    result is a new LoRALinear whose base has the weight W and the bias of layer.base; A, B, rank,
    alpha and dropout are those of `layer`, and A and B are trainable. `layer` is not changed, so
    a second call with it gives the same. Nothing records what is merged: unmerging the result
    subtracts the update once more.
    """
    ### BEGIN SOLUTION
    before = copy.deepcopy(layer)
    with torch.no_grad():
        before.base.weight -= layer.alpha / layer.rank * (layer.B @ layer.A)
    return before
    ### END SOLUTION


# %% nbgrader={"test": "unmerge_lora_visible", "points": 3}
with check.question("unmerge_lora_visible", unmerge_lora) as f:
    layer = LoRALinear(check.there(nn.Linear, 2, 3), 1, 2.0)
    w = {"base.weight": torch.tensor([[3.0, 1], [1, 1], [5, 1]]), "base.bias": torch.zeros(3),
         "A": torch.tensor([[1.0, 0.0]]), "B": torch.tensor([[1.0], [0.0], [2.0]])}
    layer.load_state_dict(w)
    for time in ("first", "second"):
        before = f(layer)
        state = before.state_dict()
        check.close(f"{time} call, base", state["base.weight"], torch.ones(3, 2),
                    why="rows (2 0), (0 0), (4 0) are taken off.")
        check.close(f"{time} call, B", state["B"], w["B"], why="the update itself stays.")
    check.close("its output for (3, 4)", before(torch.tensor([[3.0, 4.0]])), [[13.0, 7.0, 19.0]],
                why="7 each from W, plus (6, 0, 12): what the merged layer gives.")
    check.close("base of the layer", layer.state_dict()["base.weight"], w["base.weight"],
                why="the layer is as it was.")

# %% nbgrader={"test": "unmerge_lora_hidden", "points": 2}
# Hidden checks: random layers, the result and the merged layer side by side, what is trainable.
### BEGIN HIDDEN TESTS
with check.question("unmerge_lora_hidden", unmerge_lora) as f:
    gen = check.generator()
    for n_in, n_out, rank, alpha, bias in ((4, 4, 2, 8.0, True), (7, 3, 3, 1.0, False),
                                           (5, 6, 1, 16.0, True)):
        layer = LoRALinear(check.there(nn.Linear, n_in, n_out, bias=bias).double(), rank, alpha)
        w = {name: torch.randn(value.shape, generator=gen, dtype=torch.float64)
             for name, value in layer.state_dict().items()}
        update, case = alpha / rank * w["B"] @ w["A"], f"{n_in} to {n_out}"
        layer.load_state_dict(w | {"base.weight": w["base.weight"] + update})
        before, x = f(layer), torch.randn(3, n_in, generator=gen, dtype=torch.float64)
        for name, value in before.state_dict().items():
            check.close(f"{case}, {name}", value, w[name], rel=1e-6)
        check.close(f"{case}, output", before(x),
                    F.linear(x, w["base.weight"] + update, w.get("base.bias")))
        trained = sorted(name for name, p in before.named_parameters() if p.requires_grad)
        check.equal(f"{case}, trained", trained, ["A", "B"])
        check.close(f"{case}, rank", before.rank, rank)
        check.close(f"{case}, alpha", before.alpha, alpha)
        check.close(f"{case}, the layer afterwards", layer.state_dict()["base.weight"],
                    w["base.weight"] + update)
        before.load_state_dict({n: v * 0 for n, v in before.state_dict().items()})
        check.close(f"{case}, the layer after a change of the result", layer.state_dict()["A"],
                    w["A"], why="the result shares no memory with the layer.")
### END HIDDEN TESTS

# %% [markdown]
# ## 5. The file ({points:lora_state}, 6 min)
#
# What is worth keeping of a LoRA run is A and B. For the model of this lab that is a file of a
# tenth of a megabyte; for Llama-3 8B with rank 16 on all linear layers it is 42 million numbers
# beside eight thousand million.
#
# By hand: the model of the check above has 4 such tensors with 2,048 numbers.
#
# **Common mistake:** keeping the tensors themselves. They go on training, and the "checkpoint" with
# them.
#
# <details><summary>Hint 1</summary>
#
# A loop over `model.named_parameters()` sees every tensor with the name that `load_state_dict`
# wants.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The last part of the name says what it is. In a model that is itself a LoRALinear, the name is
# `A` without a dot.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `value.detach().clone()` is a copy without a past.
#
# </details>

# %% nbgrader={"solution": "lora_state"}
def lora_state(model: nn.Module) -> dict[str, Tensor]:
    """A and B of every LoRALinear in a model, by name, and nothing else.

    The keys are those of model.state_dict(), like "blocks.0.qkv.A", so that a fresh model with
    LoRA in the same places takes the dict with load_state_dict(..., strict=False). The values are
    copies that need no gradient and do not change when the model goes on training. Other
    parameters are left out even if they are trainable; none of them is called A or B. A model
    without LoRA gives {}.
    """
    ### BEGIN SOLUTION
    return {name: value.detach().clone() for name, value in model.named_parameters()
            if name.split(".")[-1] in ("A", "B")}
    ### END SOLUTION


# %% nbgrader={"test": "lora_state_visible", "points": 3}
with check.question("lora_state_visible", lora_state) as f:
    layer = LoRALinear(check.there(nn.Linear, 2, 3), 1, 2.0)
    layer.load_state_dict(layer.state_dict() | {"A": torch.tensor([[1.0, 2.0]])})
    net = check.there(nn.Sequential, layer, check.there(nn.Linear, 3, 2))  # the last one trains too
    state = f(net)
    check.equal("keys", sorted(state), ["0.A", "0.B"], why="no base, no trainable head.")
    check.close("A", state["0.A"], [[1.0, 2.0]])
    check.equal("keys of a layer alone", sorted(f(layer)), ["A", "B"])
    check.equal("without LoRA", f(check.there(nn.Linear, 2, 2)), {})
    kept = check.there(drills_lora.kept, lora_state, net)  # the model's weights become 0 meanwhile
    check.close("A, when the model has gone on", kept["0.A"], [[1.0, 2.0]], why="a copy.")

# %% nbgrader={"test": "lora_state_hidden", "points": 2}
# Hidden checks: a GPT with LoRA in several places, loading into a fresh one, no gradients.
### BEGIN HIDDEN TESTS
with check.question("lora_state_hidden", lora_state) as f:
    gen = check.generator()
    config = GPTConfig(n_layers=3, d_model=8, n_heads=2, vocab_size=11, context_len=7)
    model, fresh = check.there(GPT, config), check.there(GPT, config)
    w = {n: torch.randn(v.shape, generator=gen) for n, v in model.state_dict().items()}
    w["head.weight"] = w["token.weight"]
    for each in (model, fresh):
        each.load_state_dict(dict(w))
        for path in ("blocks.0.qkv", "blocks.2.ff_out"):
            owner, _, last = path.rpartition(".")
            owner = each.get_submodule(owner)
            check.there(drills_lora.put, owner, last,
                        LoRALinear(owner.get_submodule(last), 2, 3.0))
    factors = {name: torch.randn(value.shape, generator=gen)
               for name, value in model.state_dict().items() if name[-2:] in (".A", ".B")}
    model.load_state_dict(model.state_dict() | factors)
    state = f(model)
    check.equal("keys", sorted(state), sorted(factors))
    for name, value in factors.items():
        check.close(name, state[name], value)
    check.that(not any(value.requires_grad for value in state.values()),
               "the copies require a gradient.")
    odd = check.there(nn.Sequential, check.there(drills_lora.Odd),
                      LoRALinear(check.there(nn.Linear, 2, 2), 1, 1.0))
    check.equal("keys beside a parameter called not_A", sorted(f(odd)), ["1.A", "1.B"])
    ids = torch.randint(11, (2, 5), generator=gen)
    fresh.load_state_dict(state, strict=False)
    check.close("a fresh model with the state", fresh(ids), model(ids).detach())
### END HIDDEN TESTS

# %% [markdown]
# ## 6. How much is trained ({points:trainable_share}, 4 min)
#
# The one line that you should print before every run. The libraries print it too, and count the
# adapters in the total.
#
# By hand: a layer from 10 to 10 without bias has 100 numbers. With LoRA of rank 1 it has 120, and
# 20 of them are trained: 16.7 %.
#
# **Common mistake:** counting tensors in place of numbers.
#
# <details><summary>Hint 1</summary>
#
# `p.numel()` is how many numbers a parameter has.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `model.parameters()` gives a shared parameter once.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Two sums; the first has an `if p.requires_grad`.
#
# </details>

# %% nbgrader={"solution": "trainable_share"}
def trainable_share(model: nn.Module) -> tuple[int, int]:
    """How many numbers of a model are trained, and how many it has.

    Both count the entries of parameters; a shared parameter counts once. The second number counts
    all of them, frozen and trainable, adapters too. Buffers are no parameters.
    """
    ### BEGIN SOLUTION
    sizes = [(p.numel(), p.requires_grad) for p in model.parameters()]
    return sum(n for n, learns in sizes if learns), sum(n for n, _ in sizes)
    ### END SOLUTION


# %% nbgrader={"test": "trainable_share_visible", "points": 3}
with check.question("trainable_share_visible", trainable_share) as f:
    layer = LoRALinear(check.there(nn.Linear, 10, 10, bias=False), 1, 1.0)
    check.equal("10 x 10, rank 1", f(layer), (20, 120), why="20 of 100 + 20.")
    check.equal("all of it", f(check.there(nn.Linear, 3, 2)), (8, 8), why="6 weights, 2 biases.")
    tied = GPTConfig(n_layers=1, d_model=2, n_heads=1, vocab_size=3, context_len=4)
    check.equal("a GPT whose head is its table", f(check.there(GPT, tied)), (92, 92),
                why="tables 3·2 + 4·2, norms 3·4, block 12·2² + 9·2: the head counts once.")

# %% nbgrader={"test": "trainable_share_hidden", "points": 2}
# Hidden checks: random networks, partly frozen, with buffers.
### BEGIN HIDDEN TESTS
with check.question("trainable_share_hidden", trainable_share) as f:
    gen = check.generator()
    for case in range(3):
        n, m = torch.randint(2, 40, (2,), generator=gen).tolist()
        parts = [check.there(nn.Linear, n, m), check.there(nn.BatchNorm1d, m),
                 LoRALinear(check.there(nn.Linear, m, n), 3, 1.0), check.there(nn.Linear, n, 1)]
        parts[case].requires_grad_(False)
        net = check.there(nn.Sequential, *parts)
        sizes = [(n * m + m, n * m + m), (2 * m, 2 * m), (3 * (n + m), 3 * (n + m) + n * m + n),
                 (n + 1, n + 1)]
        trained = sum(size[0] for i, size in enumerate(sizes) if i != case)
        check.equal(f"part {case} of four frozen", f(net), (trained, sum(s[1] for s in sizes)))
    frozen = check.there(nn.Linear, n, m)
    frozen.requires_grad_(False)
    check.equal("all frozen", f(frozen), (0, n * m + m))
### END HIDDEN TESTS

# %% [markdown]
# Before you train anything: what does LoRA cost on the model of this lab? The cell needs exercises
# 1, 2 and 6.

# %% tags=["demo"]
from glassbox.models import RECIPE

LINEAR = ("qkv", "out", "ff_in", "ff_out")  # all linear layers of a block
try:
    for rank in (1, 4, 16, 64):
        for targets in (("qkv",), LINEAR):
            fresh = GPT(RECIPE)
            inject_lora(fresh, targets, rank, alpha=2.0 * rank)
            trained, total = trainable_share(fresh)
            print(f"rank {rank:>2} on {', '.join(targets):<24} {trained:>8,} of {total:>9,} "
                  f"= {trained / total:6.2%}")
except NotImplementedError:
    print("Write LoRALinear, inject_lora and trainable_share first; then run this cell again.")

# %% [markdown]
# ## 7. Quantise by the largest ({points:quantize_absmax}, 12 min)
#
# A weight of 32 bits becomes a small whole number times a scale. The scale is chosen so that the
# largest weight just fits: with 8 bits the codes run from −127 to 127, and the scale is the largest
# magnitude over 127. Rounding is off by half a step at most.
#
# One large weight makes the step large for all. So the weights are cut into **blocks** of 64, say,
# each with a scale of its own. Then an outlier spoils its block and no other.
#
# By hand, 8 bits: (1, −2, 0.5) has scale 2/127. Codes: 63.5 → 64, −127, 31.75 → 32.
#
# **Common mistake:** one scale for the whole tensor. A single outlier of 100 then turns everything
# below 0.39 into 0.
#
# <details><summary>Hint 1</summary>
#
# Flatten; cut into rows of `block`; the last row may be short.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Zeros at the end change no largest magnitude: `F.pad(flat, (0, -len(flat) % block))` fills the
# last row. Cut them off again at the end.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `rows.abs().amax(1)` is the largest of each row. A block of zeros has scale 0, and 0/0 is not a
# number: divide by a copy of the scales in which 0 is replaced by 1, with `torch.where`.
#
# </details>

# %% nbgrader={"solution": "quantize_absmax"}
def quantize_absmax(w: Tensor, block: int, bits: int = 8) -> tuple[Tensor, Tensor]:
    """Whole numbers and one scale per block, so that code · scale is near the weight.

    w, float32 or float64 of any shape -> codes int8 of the shape of w, scales (n_blocks,) of the
    dtype of w. The entries of w, row by row, are cut into blocks of `block`; the last one
    may be short. With m = 2^(bits - 1) - 1 (bits 2 ... 8; 127 for 8) a block's scale is its largest
    magnitude / m, and a code is w / scale rounded to the nearest whole number (halves to the
    even one, as torch rounds). A block of zeros has scale 0 and codes 0.
    """
    ### BEGIN SOLUTION
    flat = w.flatten()
    rows = F.pad(flat, (0, -len(flat) % block)).view(-1, block)
    scales = rows.abs().amax(1) / (2 ** (bits - 1) - 1)
    safe = torch.where(scales > 0, scales, 1)[:, None]  # a block of zeros stays 0
    codes = (rows / safe).round().to(torch.int8)
    return codes.flatten()[: len(flat)].view(w.shape), scales
    ### END SOLUTION


# %% nbgrader={"test": "quantize_absmax_visible", "points": 3}
with check.question("quantize_absmax_visible", quantize_absmax) as f:
    codes, scales = f(torch.tensor([1.0, -2.0, 0.5]), 3)
    check.close("(1, -2, 0.5), scale", scales, [2 / 127], why="the largest magnitude over 127.")
    check.close("its codes", codes, torch.tensor([64, -127, 32], dtype=torch.int8),
                why="63.5, -127 and 31.75, rounded.")
    w = torch.tensor([[0.7, -0.1, 0.0], [0.0, 70.0, 20.0], [0.3, 0.0, 0.0]])
    codes, scales = f(w, 2, bits=4)  # blocks: 0.7 -0.1 | 0 0 | 70 20 | 0.3 0 | 0
    check.close("five blocks of two, scales", scales, [0.1, 0.0, 10.0, 0.3 / 7, 0.0],
                why="row by row, over the ends of rows; with 4 bits the largest code is 7.")
    check.close("codes", codes, torch.tensor([[7, -1, 0], [0, 7, 2], [7, 0, 0]], dtype=torch.int8),
                why="blocks of zeros are 0; 70 spoils no block but its own.")

# %% nbgrader={"test": "quantize_absmax_hidden", "points": 2}
# Hidden checks: random shapes, 2 to 8 bits, the error against half a step, views with gaps.
### BEGIN HIDDEN TESTS
with check.question("quantize_absmax_hidden", quantize_absmax) as f:
    gen = check.generator()
    for shape, block, bits, dtype in (
        ((5, 7), 4, 8, torch.float32), ((3, 2, 9), 54, 4, torch.float64),
        ((40,), 64, 3, torch.float32), ((6, 6), 1, 8, torch.float64),
        ((11, 13), 16, 2, torch.float64), ((), 8, 8, torch.float32),
    ):
        w = torch.randn(shape, generator=gen, dtype=dtype)
        w = w * 10 ** torch.randn(shape, generator=gen, dtype=dtype)
        case, top = f"shape {tuple(shape)}, block {block}, {bits} bits", 2 ** (bits - 1) - 1
        codes, scales = f(w, block, bits)
        pieces = w.reshape(-1).split(block)
        want = torch.stack([piece.abs().max() / top for piece in pieces])
        check.close(f"{case}, scales", scales, want)
        check.close(f"{case}, codes", codes, torch.cat([
            (piece / s).round() for piece, s in zip(pieces, want)]).view(shape).to(torch.int8))
        step = torch.cat([s.expand(len(piece)) for piece, s in zip(pieces, want)]).view(shape)
        off = (codes.to(dtype) * step - w).abs()
        check.that((off <= 0.501 * step).all(), f"{case}: an error above half a step.")
    wide = torch.randn(6, 10, generator=gen)
    codes, scales = f(wide.T, 7, 5)
    check.close("a transposed view, codes", codes, f(wide.T.contiguous(), 7, 5)[0])
    codes, scales = f(torch.zeros(2, 5), 3)
    check.close("zeros, codes", codes, torch.zeros(2, 5, dtype=torch.int8))
    check.close("zeros, scales", scales, torch.zeros(4), scale=1.0)
    check.unchanged("w", f, wide, 8)
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Back again ({points:dequantize_absmax}, 5 min)
#
# Codes are stored; a layer computes with weights. Before each use they are made again, block by
# block.
#
# By hand: codes 64, −127, 32 with scale 2/127 are 1.008, −2, 0.504.
#
# **Common mistake:** forgetting that the last block may be short.
#
# <details><summary>Hint 1</summary>
#
# Every code needs the scale of its block: as many scales as codes.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `scales.repeat_interleave(block)` repeats each one side by side.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Cut the repeated scales to `codes.numel()`, give them the shape of the codes, multiply.
#
# </details>

# %% nbgrader={"solution": "dequantize_absmax"}
def dequantize_absmax(codes: Tensor, scales: Tensor, block: int) -> Tensor:
    """The weights that codes stand for: code times the scale of its block.

    codes int8 of any shape, scales (n_blocks,) -> the shape of codes, the dtype of scales. Blocks
    are those of quantize_absmax: `block` entries, row by row, the last block may be short.
    """
    ### BEGIN SOLUTION
    each = scales.repeat_interleave(block)[: codes.numel()]
    return codes * each.view(codes.shape)
    ### END SOLUTION


# %% nbgrader={"test": "dequantize_absmax_visible", "points": 3}
with check.question("dequantize_absmax_visible", dequantize_absmax) as f:
    codes = torch.tensor([64, -127, 32], dtype=torch.int8)
    check.close("one block", f(codes, torch.tensor([2 / 127]), 3), [1.0079, -2.0, 0.5039], rel=1e-3)
    codes = torch.tensor([[7, -1, 0], [2, 7, 2]], dtype=torch.int8)
    scales = torch.tensor([0.1, 10.0, 1.0])
    check.close("three blocks of two", f(codes, scales, 2),
                torch.tensor([[0.7, -0.1, 0], [20, 7, 2]]),
                why="row by row: 7 -1 times 0.1, 0 2 times 10, 7 2 times 1.")
    check.close("blocks of four, the last one short", f(codes, torch.tensor([1.0, 2.0]), 4),
                torch.tensor([[7.0, -1, 0], [2, 14, 4]]))

# %% nbgrader={"test": "dequantize_absmax_hidden", "points": 2}
# Hidden checks: random codes, shapes and blocks, float64.
### BEGIN HIDDEN TESTS
with check.question("dequantize_absmax_hidden", dequantize_absmax) as f:
    gen = check.generator()
    for shape, block, dtype in (((5, 7), 4, torch.float32), ((2, 3, 4), 24, torch.float64),
                                ((9,), 64, torch.float64), ((8, 2), 1, torch.float32)):
        codes = torch.randint(-127, 128, shape, generator=gen).to(torch.int8)
        parts = codes.reshape(-1).split(block)
        scales = torch.rand(len(parts), generator=gen, dtype=dtype)
        want = torch.cat([s * part.to(dtype) for s, part in zip(scales, parts)]).view(shape)
        check.close(f"shape {shape}, block {block}", f(codes, scales, block), want)
    flipped = torch.randint(-127, 128, (4, 6), generator=gen).to(torch.int8).T
    scales = torch.rand(5, generator=gen)
    check.close("a transposed view", f(flipped, scales, 5), f(flipped.contiguous(), scales, 5))
    check.unchanged("codes and scales", f, flipped, scales, 5)
### END HIDDEN TESTS

# %% [markdown]
# ## 9. The sixteen levels of NF4 ({points:nf4_codebook}, 12 min)
#
# Four bits name 16 levels, and nobody says they must be evenly spaced. Weights are about normally
# distributed: many near 0, few far out. **NF4** (Dettmers et al. 2023) puts its levels at quantiles
# of the normal distribution: dense in the middle, where the weights are, and sparse outside.
#
# The formula of the paper, read alone, gives 16 levels in pairs ±x and none at 0; and the
# quantile at probability 1 is infinite. What the code that goes with the paper does, and what
# everybody's files hold, is this: one level is 0; **eight** levels are above and **seven** below;
# and the outermost probability is $p = 1 - \frac12(\frac1{30} + \frac1{32})$ = 0.9677, half-way
# between the middles of the last of 15 and of 16 equal shares.
#
# By hand, rounded: −1, −0.696, −0.525, −0.395, −0.284, −0.185, −0.091, **0**, 0.080, 0.161, 0.246,
# 0.338, 0.441, 0.563, 0.723, 1. Neighbours are 0.08 apart in the middle and 0.3 at the ends.
#
# **Common mistake:** the same levels on both sides. Then there are two zeros, or none.
#
# <details><summary>Hint 1</summary>
#
# `torch.linspace(0.5, p, 9)` has 9 probabilities, from the middle to p. The quantile at 0.5 is 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.special.ndtri` is the quantile function of the normal distribution. Use float64 until the
# end.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The lower half: the quantiles at `linspace(0.5, p, 8)` without the first one, which is 0, with a
# minus, in falling order of size: `.flip(0)`.
#
# </details>

# %% nbgrader={"solution": "nf4_codebook"}
def nf4_codebook() -> Tensor:
    """The 16 levels of NF4, increasing, float32.

    With Q the quantile function of the normal distribution and p = 1 - (1/30 + 1/32) / 2: nine
    numbers Q at nine equally spaced probabilities from 1/2 to p (the first one is 0), and seven
    below it, the negatives of Q at eight equally spaced probabilities from 1/2 to p without the
    first. All are divided by Q(p). So the first level is -1, the eighth 0, the last 1. Checked to
    1e-6: the published values of bitsandbytes.
    """
    ### BEGIN SOLUTION
    p = 1 - (1 / 30 + 1 / 32) / 2
    above = torch.special.ndtri(torch.linspace(0.5, p, 9, dtype=torch.float64))
    below = torch.special.ndtri(torch.linspace(0.5, p, 8, dtype=torch.float64))
    levels = torch.cat([-below[1:].flip(0), above]) / above[-1]
    return levels.float()
    ### END SOLUTION


# %% nbgrader={"test": "nf4_codebook_visible", "points": 3}
with check.question("nf4_codebook_visible", nf4_codebook) as f:
    levels = f()
    check.shape("levels", levels, (16,))
    check.that((levels.diff() > 0).all(), "the levels are not increasing.")
    check.close("the first, the eighth, the last", levels[[0, 7, 15]], [-1.0, 0.0, 1.0])
    check.close("next to 0", levels[[6, 8]], [-0.0911, 0.0796], rel=1e-2,
                why="seven levels below 0 and eight above: the upper ones are closer.")
    check.close("next to the ends", levels[[1, 14]], [-0.6962, 0.7230], rel=1e-3)

# %% nbgrader={"test": "nf4_codebook_hidden", "points": 2}
# Hidden checks: all 16 published values to a millionth, dtype.
### BEGIN HIDDEN TESTS
with check.question("nf4_codebook_hidden", nf4_codebook) as f:
    published = torch.tensor([
        -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453,
        -0.28444138169288635, -0.18477343022823334, -0.09105003625154495, 0.0,
        0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
        0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0])
    check.close("all levels", f(), published)
    check.that(((f() - published).abs() < 1e-6).all(), "a level is off by more than 1e-6.")
### END HIDDEN TESTS

# %% [markdown]
# ## 10. Quantise to NF4 ({points:quantize_nf4}, 15 min)
#
# As in exercise 7, with another ruler: divide each block by its largest magnitude, so that it lies
# between −1 and 1, and take the number of the nearest level.
#
# By hand: the block (0, −2, 2, 1.4, 0.1) has scale 2. Divided: 0, −1, 1, 0.7, 0.05. The nearest
# levels are numbers 7, 0, 15, 14 (0.723) and 8 (0.080).
#
# **Common mistake:** the level below instead of the nearest one. All weights move to the left.
#
# <details><summary>Hint 1</summary>
#
# Blocks, padding and the division without 0/0 are those of exercise 7. The scale is the largest
# magnitude itself.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The nearest level changes half-way between two levels: 15 limits, the means of neighbours.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.bucketize(values, limits)` counts how many limits are below each value, and that is the
# number of the level.
#
# </details>

# %% nbgrader={"solution": "quantize_nf4"}
def quantize_nf4(w: Tensor, block: int = 64) -> tuple[Tensor, Tensor]:
    """NF4: the number of the nearest level, and one scale per block.

    w, float32 or float64 of any shape -> codes uint8 of the shape of w, 0 ... 15, scales
    (n_blocks,) of the dtype of w. Blocks are those of quantize_absmax: `block` entries, row by
    row, the last one may be short. A scale is the largest magnitude of its block; the code is the
    number of the level of nf4_codebook() that is nearest to w / scale (exactly between two,
    either). A block of zeros has scale 0 and code 7, whose level is 0. One code takes one byte
    here; packing two into one is left out.
    """
    ### BEGIN SOLUTION
    flat, levels = w.flatten(), nf4_codebook().to(w)
    rows = F.pad(flat, (0, -len(flat) % block)).view(-1, block)
    scales = rows.abs().amax(1)
    inside = rows / torch.where(scales > 0, scales, 1)[:, None]  # between -1 and 1
    codes = torch.bucketize(inside, (levels[1:] + levels[:-1]) / 2)
    return codes.flatten()[: len(flat)].view(w.shape).to(torch.uint8), scales
    ### END SOLUTION


# %% nbgrader={"test": "quantize_nf4_visible", "points": 6}
with check.question("quantize_nf4_visible", quantize_nf4) as f:
    codes, scales = f(torch.tensor([0.0, -2.0, 2.0, 1.4, 0.1]))
    check.close("one short block, scale", scales, [2.0], why="the largest magnitude.")
    check.close("codes", codes, torch.tensor([7, 0, 15, 14, 8], dtype=torch.uint8),
                why="divided by 2: 0, -1, 1, 0.7, 0.05; the nearest levels.")
    w = torch.tensor([[4.0, -1.0, 0.0], [0.0, -500.0, 50.0], [0.3, 0.1, 0.9]])
    codes, scales = f(w, 2)  # blocks: 4 -1 | 0 0 | -500 50 | 0.3 0.1 | 0.9
    check.close("five blocks of two, scales", scales, [4.0, 0.0, 500.0, 0.3, 0.9],
                why="row by row; -500 spoils no block but its own.")
    check.close("codes", codes,
                torch.tensor([[15, 4, 7], [7, 0, 8], [15, 11, 15]], dtype=torch.uint8),
                why="-1/4 is nearest to -0.284, 0.1 to 0.080, 1/3 to 0.338; zeros have code 7.")

# %% nbgrader={"test": "quantize_nf4_hidden", "points": 4}
# Hidden checks: the nearest of all levels, shapes and views, zeros; less error than evenly spaced
# levels on normal weights.
### BEGIN HIDDEN TESTS
with check.question("quantize_nf4_hidden", quantize_nf4) as f:
    gen = check.generator()
    levels = torch.tensor([
        -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0])
    with check.part("nearest level", 2):
        for shape, block, dtype in (((6, 7), 5, torch.float32), ((3, 2, 9), 54, torch.float64),
                                    ((40,), 64, torch.float32), ((7, 1), 1, torch.float64)):
            w = torch.randn(shape, generator=gen, dtype=dtype)
            w = w * 10 ** torch.randn(shape, generator=gen, dtype=dtype)
            codes, scales = f(w, block)
            case, pieces = f"shape {tuple(shape)}, block {block}", w.reshape(-1).split(block)
            want = torch.stack([piece.abs().max() for piece in pieces])
            check.close(f"{case}, scales", scales, want)
            off = [(piece[:, None] / s - levels).abs() for piece, s in zip(pieces, want)]
            least = torch.cat([d.min(1).values for d in off])
            check.shape(f"{case}, codes", codes, shape)
            check.that(((codes >= 0) & (codes <= 15)).all(), f"{case}: a code outside of 0 ... 15.")
            chosen = torch.cat(off).gather(1, codes.reshape(-1, 1).long())[:, 0]
            check.that((chosen <= least + 1e-5).all(),
                       f"{case}: {int((chosen > least + 1e-5).sum())} of {w.numel()} codes are not "
                       "those of the nearest level.")
            check.close(f"{case}, dtype of codes", codes * 0, torch.zeros(shape, dtype=torch.uint8))
    with check.part("views and zeros", 1):
        wide = torch.randn(6, 10, generator=gen)
        check.close("a transposed view", f(wide.T, 7)[0], f(wide.T.contiguous(), 7)[0])
        codes, scales = f(torch.zeros(2, 5), 3)
        check.close("zeros, codes", codes, torch.full((2, 5), 7, dtype=torch.uint8))
        check.close("zeros, scales", scales, torch.zeros(4), scale=1.0)
        check.unchanged("w", f, wide, 8)
    with check.part("normal weights", 1):
        w = torch.randn(200, 64, generator=gen)
        codes, scales = f(w)
        error = (levels[codes.long()] * scales[:, None] - w).square().mean().item()
        step = w.abs().amax(1, keepdim=True) / 7
        even = ((w / step).round() * step - w).square().mean().item()
        check.that(error < 0.85 * even, f"the squared error is {error:.3g}; whole numbers from -7 "
                   f"to 7 have {even:.3g}, and NF4 should be well below that.")
### END HIDDEN TESTS

# %% [markdown]
# ## 11. Back from NF4 ({points:dequantize_nf4}, 4 min)
#
# By hand: codes 7, 0, 15, 14 with scale 2 are 0, −2, 2 and 2 · 0.723 = 1.446.
#
# **Common mistake:** multiplying the *code* by the scale. A code is the number of a level, not its
# value.
#
# <details><summary>Hint 1</summary>
#
# Look the level up, then multiply by the scale of its block.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A tensor can be indexed with a tensor of whole numbers. One of dtype uint8 would be taken for a
# mask: `codes.long()`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The rest is exercise 8, with levels in the place of codes.
#
# </details>

# %% nbgrader={"solution": "dequantize_nf4"}
def dequantize_nf4(codes: Tensor, scales: Tensor, block: int = 64) -> Tensor:
    """The weights that NF4 codes stand for: level times the scale of its block.

    codes uint8 of any shape, scales (n_blocks,) -> the shape of codes, the dtype of scales. Levels
    are those of nf4_codebook(), blocks those of quantize_nf4.
    """
    ### BEGIN SOLUTION
    level = nf4_codebook().to(scales)[codes.long()]
    return level * scales.repeat_interleave(block)[: codes.numel()].view(codes.shape)
    ### END SOLUTION


# %% nbgrader={"test": "dequantize_nf4_visible", "points": 3}
with check.question("dequantize_nf4_visible", dequantize_nf4) as f:
    codes = torch.tensor([7, 0, 15, 14], dtype=torch.uint8)
    check.close("one block", f(codes, torch.tensor([2.0])), [0.0, -2.0, 2.0, 1.4459],
                why="levels 0, -1, 1, 0.723, times 2.")
    codes = torch.tensor([[15, 0, 7], [15, 8, 0]], dtype=torch.uint8)
    check.close("three blocks of two", f(codes, torch.tensor([3.0, 0.0, 10.0]), 2),
                torch.tensor([[3.0, -3, 0], [0, 0.79580, -10]]), why="row by row.")

# %% nbgrader={"test": "dequantize_nf4_hidden", "points": 2}
# Hidden checks: random codes, shapes and blocks, float64.
### BEGIN HIDDEN TESTS
with check.question("dequantize_nf4_hidden", dequantize_nf4) as f:
    gen = check.generator()
    levels = torch.tensor([
        -1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0.0,
        0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0])
    for shape, block, dtype in (((5, 7), 4, torch.float32), ((2, 3, 4), 24, torch.float64),
                                ((9,), 64, torch.float64), ((8, 2), 1, torch.float32)):
        codes = torch.randint(16, shape, generator=gen).to(torch.uint8)
        parts = codes.reshape(-1).split(block)
        scales = torch.rand(len(parts), generator=gen, dtype=dtype)
        want = torch.cat([s * levels.to(dtype)[part.long()] for s, part in zip(scales, parts)])
        check.close(f"shape {shape}, block {block}", f(codes, scales, block), want.view(shape))
    flipped = torch.randint(16, (4, 6), generator=gen).to(torch.uint8).T
    scales = torch.rand(5, generator=gen)
    check.close("a transposed view", f(flipped, scales, 5), f(flipped.contiguous(), scales, 5))
    check.unchanged("codes and scales", f, flipped, scales, 5)
### END HIDDEN TESTS

# %% [markdown]
# NF4 against sixteen evenly spaced levels, on normal weights and on weights with outliers. The cell
# needs exercises 7 to 11. Before you run it: which of the four numbers will be the largest?

# %% tags=["demo"]
import matplotlib.pyplot as plt

plt.style.use(Path(glassbox.__file__).parent / "style.mplstyle")
try:
    levels = nf4_codebook()
    axes = plt.figure(figsize=(6, 1.6), layout="constrained").gca()
    for height, values, name in ((1, levels, "NF4"), (0, torch.arange(-7, 8) / 7, "evenly spaced")):
        axes.plot(values, torch.full((len(values),), float(height)), "|", markersize=18)
        axes.text(-1.05, height, name, ha="right", va="center", fontsize=8)
    axes.set(xlabel="level, times the scale of the block", xlim=(-1.45, 1.05), ylim=(-0.6, 1.6),
             yticks=[])
    plt.show()
    normal = torch.randn(1000, 64, generator=torch.Generator().manual_seed(0))
    outliers = normal.clone()
    outliers[::10, 0] *= 20
    for name, w in (("normal", normal), ("one outlier in 640", outliers)):
        for block in (64, w.numel()):
            even = dequantize_absmax(*quantize_absmax(w, block, bits=4), block)
            nf4 = dequantize_nf4(*quantize_nf4(w, block), block)
            share = [((back - w).square().mean() / w.square().mean()).sqrt().item()
                     for back in (even, nf4)]
            print(f"{name:<19} block {block:>6,}: error {share[0]:6.1%} evenly, "
                  f"{share[1]:6.1%} NF4")
except NotImplementedError:
    print("Write exercises 7 to 11 first; then run this cell again.")

# %% [markdown]
# ## 12. Bits per parameter ({points:bits_per_param}, 5 min)
#
# "Four bits" is not the whole bill: every block has a scale. **Double quantisation** quantises the
# scales as well. They are stored in 8 bits, and a second scale serves a block of them.
#
# By hand: blocks of 64 with scales of 32 bits cost 4 + 32/64 = 4.5 bits. With scales of 8 bits and
# a second scale of 32 bits for each 256 of them: 4 + 8/64 + 32/(64 · 256) = 4.127.
#
# **Common mistake:** the second scale counted per block. It serves 256 blocks, 16,384 weights.
#
# <details><summary>Hint 1</summary>
#
# How many weights share one scale? How many share one of the outer scales?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Three terms; the last one only if there is an outer block.
#
# </details>
# <details><summary>Hint 3</summary>
#
# An outer scale is shared by `block * outer_block` weights.
#
# </details>

# %% nbgrader={"solution": "bits_per_param"}
def bits_per_param(
    block: int, scale_bits: int, outer_block: int | None = None, outer_bits: int = 32
) -> float:
    """How many bits a weight takes with codes of 4 bits, two of them in a byte.

    Each block of `block` weights has a scale of scale_bits. With outer_block, each outer_block of
    these scales have one more scale of outer_bits; without it outer_bits is not used. Sizes of
    blocks that are not full are left out of account.
    """
    ### BEGIN SOLUTION
    bits = 4 + scale_bits / block
    if outer_block is not None:
        bits += outer_bits / (block * outer_block)
    return bits
    ### END SOLUTION


# %% nbgrader={"test": "bits_per_param_visible", "points": 3}
with check.question("bits_per_param_visible", bits_per_param) as f:
    check.close("blocks of 64, scales of 32 bits", f(64, 32), 4.5, why="4 + 32/64.", rel=1e-6)
    check.close("double quantisation", f(64, 8, 256), 4.126953125, rel=1e-6,
                why="4 + 8/64 + 32/(64 · 256).")
    check.close("blocks of 16, 16 bits, outer blocks of 2, 8 bits", f(16, 16, 2, 8), 5.25, rel=1e-6,
                why="4 + 16/16 + 8/(16 · 2).")

# %% nbgrader={"test": "bits_per_param_hidden", "points": 2}
# Hidden checks: random sizes; the bill for a whole model.
### BEGIN HIDDEN TESTS
with check.question("bits_per_param_hidden", bits_per_param) as f:
    gen = check.generator()
    for _ in range(5):
        block, outer = (2 ** torch.randint(2, 10, (2,), generator=gen)).tolist()
        bits, outer_bits = torch.randint(4, 33, (2,), generator=gen).tolist()
        n = block * outer * 7  # weights, with whole blocks
        check.close(f"blocks of {block}, {bits} bits", f(block, bits, outer_bits=outer_bits),
                    (4 * n + bits * (n // block)) / n, rel=1e-6)
        check.close(f"outer blocks of {outer}, {outer_bits} bits",
                    f(block, bits, outer, outer_bits),
                    (4 * n + bits * (n // block) + outer_bits * 7) / n, rel=1e-6)
### END HIDDEN TESTS

# %% [markdown]
# ## 13. A prompt that learns ({points:prompt_tuning_forward}, 15 min)
#
# A prompt steers a model without changing it. **Prompt tuning** (Lester et al. 2021) drops the
# words: P vectors stand before the embedded tokens and are trained by gradient descent, while the
# model is frozen. The vectors need not be the embedding of any word.
#
# By hand: 3 vectors before 5 tokens make 8 positions, 0 to 7, and 8 rows of logits. The first three
# belong to the prompt and are dropped; row 0 of the result is that of token 0, at position 3.
#
# **Common mistake:** the rows of the prompt left in. All targets are then off by P.
#
# <details><summary>Hint 1</summary>
#
# It is the forward pass of a GPT with one more step after the token table. The docstring names the
# parts.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `prompt.expand(B, -1, -1)` is (B, P, C) and copies nothing. `torch.cat([...], dim=1)` puts it
# before the tokens. Positions count through both.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Cut after the blocks: `x[:, P:]` is what belongs to the tokens, and with P = 0 it is all of x.
#
# </details>

# %% nbgrader={"solution": "prompt_tuning_forward"}
def prompt_tuning_forward(model: nn.Module, prompt: Tensor, ids: Tensor) -> Tensor:
    """Logits of a GPT that reads a learned prompt before the tokens.

    prompt (P, C), ids (B, T) -> (B, T, V), aligned with ids: row t is what follows token t. The
    model has the parts of `glassbox.models.GPT`: the tables model.token and model.position, then
    model.blocks, each of which maps (B, n, C) to (B, n, C) and is causal, then model.norm and
    model.head. The P vectors, the same in every row, stand at positions 0 ... P - 1 in the place
    of embedded tokens; the tokens follow at P ... P + T - 1. Vectors and tokens both get their
    position added. With P = 0 the result is model(ids). Gradients reach the prompt; to freeze the
    model is the caller's business, and P + T fits its context.
    """
    ### BEGIN SOLUTION
    P, T = len(prompt), ids.shape[1]
    x = torch.cat([prompt.expand(len(ids), -1, -1), model.token(ids)], dim=1)  # (B, P + T, C)
    x = x + model.position(torch.arange(P + T, device=ids.device))
    for part in model.blocks:
        x = part(x)
    return model.head(model.norm(x[:, P:]))
    ### END SOLUTION


# %% nbgrader={"test": "prompt_tuning_forward_visible", "points": 6}
with check.question("prompt_tuning_forward_visible", prompt_tuning_forward) as f:
    config = GPTConfig(n_layers=2, d_model=8, n_heads=2, vocab_size=7, context_len=9, bias=False)
    model, ids = check.there(GPT, config), torch.tensor([[1, 5, 2], [0, 3, 3]])
    model.load_state_dict({name: torch.sin(torch.arange(1.0, v.numel() + 1) ** 2).view(v.shape)
                           for name, v in model.state_dict().items() if name != "head.weight"},
                          strict=False)
    table = model.state_dict()["token.weight"]
    check.shape("4 vectors, 3 tokens", f(model, torch.zeros(4, 8), ids), (2, 3, 7),
                why="a row of logits for each token; those of the prompt are cut off.")
    check.close("no prompt", f(model, torch.zeros(0, 8), ids), model(ids).detach(),
                why="P = 0 is the model itself.")
    words = torch.tensor([[6, 4, 6, 1, 5, 2], [6, 4, 6, 0, 3, 3]])
    check.close("the vectors of tokens 6, 4, 6 as prompt", f(model, table[[6, 4, 6]], ids),
                model(words)[:, 3:].detach(), why="the same as these three tokens in the input.")
    prompt = torch.zeros(2, 8).requires_grad_()
    f(model, prompt, ids).square().sum().backward()
    check.that(prompt.grad is not None and (prompt.grad != 0).any(),
               "no gradient reaches the prompt.")

# %% nbgrader={"test": "prompt_tuning_forward_hidden", "points": 4}
# Hidden checks: vectors that are no token's, other sizes, one token, the gradient of the prompt.
### BEGIN HIDDEN TESTS
with check.question("prompt_tuning_forward_hidden", prompt_tuning_forward) as f:
    gen = check.generator()
    for P, B, T, V in ((3, 2, 5, 11), (1, 1, 1, 4), (6, 3, 2, 9), (0, 2, 4, 5)):
        sizes = {"n_layers": 2, "d_model": 12, "n_heads": 3, "context_len": 8, "tied": False}
        model = check.there(GPT, GPTConfig(vocab_size=V, **sizes)).double()
        model.requires_grad_(False)
        w = {name: torch.randn(v.shape, generator=gen, dtype=torch.float64) / 2
             for name, v in model.state_dict().items()}
        model.load_state_dict(w)
        prompt = torch.randn(P, 12, generator=gen, dtype=torch.float64)
        ids, case = torch.randint(V, (B, T), generator=gen), f"P {P}, B {B}, T {T}"
        larger = GPT(GPTConfig(vocab_size=V + P, **sizes)).double()  # vectors as tokens V ...
        rows = {name: torch.cat([w[name], prompt]) for name in ("token.weight", "head.weight")}
        larger.load_state_dict(w | rows)
        both = torch.cat([torch.arange(V, V + P).expand(B, P), ids], 1)
        want = larger(both)[:, P:, :V].detach()
        check.close(case, f(model, prompt, ids), want)
        if P:
            check.gradient(f"{case}, gradient of the prompt", lambda p: f(model, p, ids), prompt)
        wrong = [name for name, p in model.named_parameters()
                 if p.grad is not None or p.requires_grad]
        check.that(not wrong, f"{case}: {wrong[:2]} of the frozen model are trained.")
    check.unchanged("prompt and ids", lambda p, i: prompt_tuning_forward(model, p, i), prompt, ids)
### END HIDDEN TESTS

# %% [markdown]
# ## 14. An adapter ({points:BottleneckAdapter}, 7 min)
#
# Two years before LoRA, Houlsby et al. put small networks *behind* the layers of a frozen model:
# down to a narrow bottleneck, a bend, up again, and the input added. It costs time in every forward
# pass and cannot be merged, because of the bend.
#
# By hand: width 96 and bottleneck 8 are 2 · 96 · 8 + 8 + 96 = 1,640 numbers.
#
# **Common mistake:** both maps at 0. The adapter is the identity and stays it: no gradient reaches
# either weight.
#
# <details><summary>Hint 1</summary>
#
# Which of the two maps must be 0, so that nothing is added and yet its own gradient is not 0?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The last one: its gradient contains what comes out of the bend. The bias must be 0 as well.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `nn.init.zeros_(self.up.weight)`. `F.gelu(x)` is the exact form.
#
# </details>

# %% nbgrader={"solution": "BottleneckAdapter"}
class BottleneckAdapter(nn.Module):
    """A small network behind a layer: x + up(GELU(down(x))).

    `down` from d_model to d_bottleneck and `up` back, both with a bias. `down` begins as
    nn.Linear does; `up` begins at 0, weight and bias, so that the adapter begins as the identity
    and can learn.
    """

    def __init__(self, d_model: int, d_bottleneck: int) -> None:
        super().__init__()
        self.down = nn.Linear(d_model, d_bottleneck)
        self.up = nn.Linear(d_bottleneck, d_model)
        ### BEGIN SOLUTION
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)
        ### END SOLUTION

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C). GELU is the exact one, as F.gelu computes it by itself."""
        ### BEGIN SOLUTION
        return x + self.up(F.gelu(self.down(x)))
        ### END SOLUTION


# %% nbgrader={"test": "BottleneckAdapter_visible", "points": 3}
with check.question("BottleneckAdapter_visible", BottleneckAdapter) as f:
    adapter = f(96, 8)
    n = sum(p.numel() for p in adapter.parameters())
    check.equal("numbers, width 96, bottleneck 8", n, 1640, why="2 · 96 · 8 + 8 + 96.")
    x = torch.linspace(-2, 2, 96)[None, None]
    check.close("at the start", adapter(x), x, why="the identity.")
    adapter(x).square().sum().backward()
    grad = dict(adapter.named_parameters())["up.weight"].grad
    check.that(grad is not None and (grad != 0).any(),
               "no gradient reaches up.weight: the adapter can never learn.")
    one = f(1, 1)
    one.load_state_dict({"down.weight": torch.tensor([[1.0]]), "down.bias": torch.tensor([-3.0]),
                         "up.weight": torch.tensor([[10.0]]), "up.bias": torch.tensor([0.5])})
    check.close("x = 2", one(torch.tensor([[[2.0]]])), [[[0.913447]]],
                why="2 + 0.5 + 10 · GELU(-1), and GELU(-1) is -0.1587.")

# %% nbgrader={"test": "BottleneckAdapter_hidden", "points": 2}
# Hidden checks: random weights and shapes, gradients, how both maps begin.
### BEGIN HIDDEN TESTS
with check.question("BottleneckAdapter_hidden", BottleneckAdapter) as f:
    gen = check.generator()
    for C, b, shape in ((6, 2, (2, 3)), (3, 5, ()), (1, 1, (4, 1))):
        adapter = f(C, b).double()
        w = {name: torch.randn(v.shape, generator=gen, dtype=torch.float64)
             for name, v in adapter.state_dict().items()}
        adapter.load_state_dict(w)
        x = torch.randn(*shape, C, generator=gen, dtype=torch.float64)
        inner = F.linear(x, w["down.weight"], w["down.bias"])
        bent = inner * torch.special.ndtr(inner)  # x times the share of a normal below x
        check.close(f"width {C}, bottleneck {b}", adapter(x),
                    x + F.linear(bent, w["up.weight"], w["up.bias"]))
        check.gradient(f"width {C}, gradient of x", adapter, x)
    torch.manual_seed(check.generator(1).initial_seed())
    first = f(64, 16).state_dict()
    check.close("up.weight at the start", first["up.weight"], torch.zeros(64, 16), scale=1.0)
    check.close("up.bias at the start", first["up.bias"], torch.zeros(64), scale=1.0)
    check.close("standard deviation of down.weight", first["down.weight"].std(),
                1 / 8 / math.sqrt(3), rel=0.15, why="nn.Linear's own start: uniform in ±1/√64.")
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## An assistant from a twentieth of the weights
#
# No points from here on; everything below runs on *your* functions. The base model of the course
# has 554,688 weights and has read notes and calls of an invented operator. It completes. 320
# questions of customers with their answers are to make it answer; 96 more, about the same codes and
# plans in other words, are held out. **Format** is the share of answers in the house form that the
# model ended by itself; **right** is the share of those with the right facts as well.
#
# Three of ten training answers open with thanks, by chance: nothing in the question tells which.
# Lab 6 keeps them. Here they would be noise, and a model with few trained weights pays for noise
# with steps, so the answers are trained without them.
#
# LoRA of rank 4 sits on all linear layers of the blocks. Before you run it: which share of its
# answers will be right? With all weights trained, all 96 were, from each of five seeds.

# %% tags=["demo"]
from dataclasses import replace

from tqdm.auto import tqdm

from glassbox import assistant
from glassbox.telecom.questions import fact, messages, questions

RANK, ALPHA, RATE, ROWS, STEPS = 4, 32.0, 1e-2, 16, 300


def new_lora(seed: int, start: GPT | None = None) -> GPT:
    """The base model with your LoRA on the linear layers of all blocks."""
    torch.manual_seed(seed)
    model = start or assistant.base()
    inject_lora(model, LINEAR, RANK, ALPHA)
    return model


def tune(model: GPT, asked: list, seed: int, rate: float, steps: int) -> list[float]:
    """Train what is trainable on the plain answers to these questions; the losses."""
    plain = [replace(q, answer=fact(q.kind, q.key)) for q in asked]
    with tqdm(total=steps) as bar:
        return assistant.finetune(model, assistant.rows(plain), steps, rate, ROWS, seed=seed,
                                  on_step=lambda *_: bar.update())


def told(name: str, model: GPT, asked: list) -> dict[str, float]:
    """Print and give: format and right on held-out questions, and the loss on base text."""
    found = assistant.score(model, asked) | {"old": assistant.held_out_loss(model)}
    print(f"{name:<22} format {found['format']:.2f}, right {found['right']:.2f}; "
          f"loss on base text {found['old']:.2f}")
    return found


data, tuned = questions(seed=0), None
told("base model", assistant.base(), data.pairs)
try:
    fresh = new_lora(seed=0)
    trained, total = trainable_share(fresh)
    losses = tune(fresh, data.train, 0, RATE, STEPS)
    tuned = fresh
    print(f"trained {trained:,} of {total:,} = {trained / total:.2%}; loss {losses[0]:.2f} -> "
          f"{sum(losses[-10:]) / 10:.3f}")
    told("with LoRA", tuned, data.pairs)
except NotImplementedError:
    print("Write LoRALinear, inject_lora and trainable_share first.")

# %% [markdown]
# Full training had as many steps, 300 of 16 rows. With LoRA, too, all 96 held-out answers were
# right, from each of five seeds: for this task a twentieth of the weights is enough.
#
# The last column is the price: the loss on text of the kind that the base model was trained on. It
# rises although not one of its weights has changed: it was 1.81 to 2.15 with LoRA, from five seeds.
# After full training it was 3.61 to 3.99. LoRA forgets less, but it does forget: while the update
# is added, the model is another model. The base itself is safe: without the update it is all there
# again.
#
# ## Merge it, save it, talk to it
#
# `merge_all` puts your `merge_lora` in the place of every layer. The merged model is a plain GPT
# again, so it fits into the same file as any other. In a terminal, `python -m glassbox.chat
# lab07_lora` talks to it.

# %% tags=["demo"]
from IPython.display import display

from glassbox import chat, checkpoints


def merge_all(model: GPT) -> GPT:
    """A copy of the model in which every LoRALinear has become a plain layer."""
    merged = copy.deepcopy(model)
    for path in [name for name, part in model.named_modules() if isinstance(part, LoRALinear)]:
        owner, _, last = path.rpartition(".")
        setattr(merged.get_submodule(owner), last, merge_lora(model.get_submodule(path)))
    return merged


merged = None
try:
    if tuned is not None:
        merged, state = merge_all(tuned), lora_state(tuned)
        ids = torch.randint(1024, (4, 50), generator=torch.Generator().manual_seed(0))
        with torch.no_grad():
            off = (merged(ids) - tuned(ids)).abs().max() / tuned(ids).abs().max()
        print(f"merged and unmerged logits differ by {off:.1e} of the largest")
        file = checkpoints.save(merged, "lab07_lora", lab="lab07_lora", rank=RANK, alpha=ALPHA)
        print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB; A and B alone: "
              f"{sum(4 * value.numel() for value in state.values()) / 1e6:.2f} MB\n")
        for question in data.pairs[:4]:
            text, _ = assistant.reply(merged, messages(question)[:1])
            print(f"Customer: {question.text}\nModel:    {text}\n")
except NotImplementedError:
    merged = None
    print("Write merge_lora and lora_state first.")

# %% [markdown]
# Here you can ask yourself. It knows error codes like E413 and the plans of the operator, and
# nothing else. What does it answer to a question that nobody has trained?

# %% tags=["demo"]
if merged is not None:
    display(chat.widget(merged))

# %% [markdown]
# ## What rank did the update need?
#
# The singular values of each update, relative to the largest one. A rank of 4 can have four. If the
# fourth were near 0, rank 3 would have been enough.

# %% tags=["demo"]
if tuned is not None:
    axes = plt.figure(figsize=(6, 2.2), layout="constrained").gca()
    for i, name in enumerate(LINEAR):
        parts = [block.get_submodule(name) for block in tuned.blocks]
        values = [torch.linalg.svdvals((part.B @ part.A).detach())[:RANK] for part in parts]
        height = torch.stack([v / v[0] for v in values])
        for n in range(RANK):
            axes.plot([i + 0.15 * n] * len(parts), height[:, n], "o", markersize=3, color=f"C{n}")
    axes.set(xticks=[i + 0.22 for i in range(len(LINEAR))], xticklabels=LINEAR, ylim=(0, 1.05),
             ylabel="singular values,\nrelative")
    plt.show()

# %% [markdown]
# ## QLoRA in small
#
# **QLoRA** freezes the base in four bits and trains LoRA on top in full precision. The gradient
# flows *through* the base, to the A and B of the layers below, but never *to* it: codes have no
# gradient. Here each weight of the blocks is replaced by what its code stands for. A GPU would keep
# codes and scales and make the weights anew in every pass; the numbers are the same.
#
# First: how much does quantisation alone cost the base? Then A and B from above are laid on the
# rough base, for which they were not made, and trained on it for 100 steps. Predict: how many of
# the answers are still right before these steps, and how many after them?

# %% tags=["demo"]
def rough(model: GPT, kind: str, block: int = 64) -> GPT:
    """The model, the weights of its blocks' linear layers quantised and made again."""
    with torch.no_grad():
        for part in model.blocks.modules():
            if isinstance(part, nn.Linear):
                w = part.weight
                w.copy_(dequantize_nf4(*quantize_nf4(w, block), block) if kind == "NF4" else
                        dequantize_absmax(*quantize_absmax(w, block, bits=int(kind)), block))
    return model


try:
    inside = sum(p.numel() for b in assistant.base().blocks for p in b.parameters() if p.ndim > 1)
    for bits in (32, bits_per_param(64, 32), bits_per_param(64, 8, 256)):
        print(f"the {inside:,} weights of the linear layers at {bits:.3f} bits: "
              f"{inside * bits / 8e6:.2f} MB")
    print(f"loss of the base on its kind of text {assistant.held_out_loss(assistant.base()):.3f}")
    for kind in ("8", "4", "3", "NF4"):
        loss = assistant.held_out_loss(rough(assistant.base(), kind))
        print(f"    {kind + ' bits' if kind != 'NF4' else kind:<6} {loss:.3f}")
    if tuned is not None:
        quantised = new_lora(0, rough(assistant.base(), "NF4"))
        quantised.load_state_dict(lora_state(tuned), strict=False)
        told("A and B on NF4", quantised, data.pairs)
        tune(quantised, data.train, 1, 3e-3, 100)
        told("trained on NF4", quantised, data.pairs)
except NotImplementedError:
    print("Write exercises 1, 2, 5 and 7 to 12 first.")

# %% [markdown]
# ## A prompt of vectors, trained
#
# Sixteen vectors of width 96 are 1,536 numbers, a sixteenth of what LoRA has here. Prompt tuning is
# known to need large models: Lester et al. found it competitive with full training only where
# models have thousands of millions of parameters. How far does it come with half a million?

# %% tags=["demo"]
class Prompted(nn.Module):
    """A frozen GPT behind a learned prompt, with what `assistant.finetune` needs of a model."""

    def __init__(self, model: GPT, n_vectors: int) -> None:
        super().__init__()
        self.model, self.config = model.requires_grad_(False), model.config
        first = torch.randint(256, (n_vectors,), generator=torch.Generator().manual_seed(0))
        self.prompt = nn.Parameter(model.token.weight[first].clone())  # words make a good start

    def loss(self, ids: Tensor, targets: Tensor) -> Tensor:
        """Mean cross-entropy of the targets that count."""
        logits = prompt_tuning_forward(self.model, self.prompt, ids)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-100)


def answer_loss(model: nn.Module, asked: list) -> float:
    """Nats per answer token on held-out questions."""
    with torch.no_grad():
        return model.loss(*assistant.batch(assistant.rows(asked), 96)).item()


try:
    prompted = Prompted(assistant.base(), n_vectors=16)
    trained, total = trainable_share(prompted)
    before = answer_loss(prompted, data.pairs)
    tune(prompted, data.train, 0, 3e-2, 60)
    print(f"prompt of {trained:,} numbers ({trained / total:.2%}): loss on held-out answers "
          f"{before:.2f} -> {answer_loss(prompted, data.pairs):.2f}")
    if tuned is not None:
        print(f"LoRA: {answer_loss(tuned, data.pairs):.2f}")
except NotImplementedError:
    print("Write prompt_tuning_forward and trainable_share first.")

# %% [markdown]
# ## The same in PEFT
#
# PEFT is the library that most people use for LoRA. Given the same A and B its layer computes the
# same, and its count is yours. The cell needs `pip install peft`; nothing that is graded does.

# %% tags=["demo"]
from glassbox import huggingface

if absent := huggingface.missing("transformers", "peft"):
    print(absent)
else:
    try:
        torch.manual_seed(0)
        layer, x = LoRALinear(nn.Linear(96, 288), 4, 16.0), torch.randn(5, 96)
        nn.init.normal_(layer.B)
        with torch.no_grad():
            theirs = huggingface.lora_output(layer.base, layer.A, layer.B, 16.0, x)
            print(f"largest difference of the outputs: {(layer(x) - theirs).abs().max():.1e}, "
                  f"largest output {theirs.abs().max():.1f}")
        own, library = assistant.base(), huggingface.lora(assistant.base(), LINEAR, 4, 16.0)
        inject_lora(own, LINEAR, 4, 16.0)
        print(f"trained and all, yours {trainable_share(own)}, PEFT's "
              f"{huggingface.trainable(library)}")
    except NotImplementedError:
        print("Write LoRALinear, inject_lora and trainable_share first.")
    except ImportError as error:
        print(error)

# %% [markdown]
# ## Scale: real models
#
# On a GPU this cell runs by itself; on a CPU it prints what it would need. M fine-tunes SmolLM2
# with 135 million parameters twice on the same questions, once in full and once through your
# `inject_lora`. L trains LoRA on TinyLlama with 1.1 billion parameters in four bits: the library's
# quantised layers hold bytes, so your A could not take its dtype from them, and PEFT puts LoRA in.
# If the model cannot be had, L measures memory alone: it quantises random weights of the same
# shapes with your `quantize_nf4`, packs two codes into a byte and compares with your
# `bits_per_param`.
#
# A model that is on your disk already is taken from there: give its folder in the environment
# variable `GLASSBOX_MODEL`. `run_record.json` keeps what was measured.
#
# Before you look: how many GB do the weights of Llama-3 8B take in NF4 with double quantisation?

# %% tags=["demo"]
import os
import time

from glassbox import counting
from glassbox.telecom.questions import grade

small = counting.Model("SmolLM2-135M", "llama", 30, 576, 9, 49152, 8192, n_kv_heads=3, d_ff=1536,
                       tied=True)
tiny = counting.Model("TinyLlama 1.1B", "llama", 22, 2048, 32, 32000, 2048, n_kv_heads=4, d_ff=5632,
                      tied=False)
shape = tiny if scale.name == "L" else small
source = os.environ.get("GLASSBOX_MODEL") or ("TinyLlama/TinyLlama_v1.1" if scale.name == "L" else
                                              "HuggingFaceTB/SmolLM2-135M")
MAPS = ("query", "key", "value", "out", "gate", "up", "down")
rows_per_step, width, n_steps, rank = 16, 96, 120, 16


def states(model: counting.Model, base_bits: float, n_trained: float | None = None) -> float:
    """Bytes before activations: 16 for each trained number (itself, gradient, two moments).

    Frozen ones take base_bits in the maps of the blocks and 32 elsewhere; None: all are trained.
    """
    parts = counting.count(model)
    inner = parts["attention"] + parts["feed_forward"]
    rest = parts["total"] - inner
    frozen = inner * base_bits / 8 + 4 * rest
    return 16 * parts["total"] if n_trained is None else frozen + 16 * n_trained


def needed(model: counting.Model, base_bits: float, n_trained: float | None = None) -> float:
    """The same with activations and logits."""
    return (states(model, base_bits, n_trained) + 10 * rows_per_step * width * model.vocab_size
            + 2 * counting.activations(model, rows_per_step, width, flash=True))


def scored(model: nn.Module, tokens: object, asked: list) -> dict[str, float]:
    """Format and right of a library's model on held-out questions."""
    said = huggingface.replies(model, tokens, [messages(q)[:-1] for q in asked])
    grades = [grade(q, text.strip(), ended) for q, (text, ended) in zip(asked, said)]
    return {"format": sum(g.format for g in grades) / len(grades),
            "right": sum(g.right for g in grades) / len(grades)}


def one_run(kind: str) -> dict[str, float]:
    """Train once: "full", "LoRA" (yours) or "QLoRA" (PEFT on four bits); what was measured."""
    model, tokens = huggingface.load(source, quantized=kind == "QLoRA")
    if kind == "LoRA":
        inject_lora(model, ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj",
                            "down_proj"), rank, 2.0 * rank)
    elif kind == "QLoRA":
        model = huggingface.lora(model, "all-linear", rank, 2.0 * rank)
    trained, total = huggingface.trainable(model)
    rows = huggingface.rows([messages(q) for q in data.train], tokens)
    torch.cuda.reset_peak_memory_stats()
    begun = time.perf_counter()
    losses = huggingface.train_sft(model, rows, rows_per_step, 2e-5 if kind == "full" else 2e-4,
                                   n_steps, warm_up=10, shuffle=True)
    seconds, most = time.perf_counter() - begun, torch.cuda.max_memory_allocated()
    return {f"{kind} {name}": value for name, value in {
        "trained": trained, "share": trained / total, "loss": losses[-1],
        "seconds": seconds, "memory GB": most / 1e9, **scored(model, tokens, data.pairs)}.items()}


def memory_only() -> dict[str, float]:
    """Random weights of the shapes of a model in NF4, two codes in a byte; bits per parameter."""
    kept, n, before = [], 0, torch.cuda.memory_allocated()
    for part in counting.tensors(shape):
        if part.part not in ("attention", "feed_forward"):
            continue
        for _ in range(part.copies):
            codes, scales = quantize_nf4(torch.randn(part.shape, device=scale.device) / 50)
            codes, n = codes.flatten(), n + codes.numel()
            kept += [codes[::2] * 16 + codes[1::2], scales]
    measured = (torch.cuda.memory_allocated() - before) * 8 / n
    return {"weights": n, "bits measured": measured, "bits expected": bits_per_param(64, 32)}


try:
    for model in (small, tiny, counting.MODELS["Llama-3 8B"]):
        n = counting.lora(model, rank, MAPS)
        four = bits_per_param(64, 8, 256)
        full, lora, qlora = states(model, 32), states(model, 32, n), states(model, four, n)
        print(f"{model.name:<15} full {full / 1e9:6.1f} GB, LoRA {lora / 1e9:5.1f} GB, QLoRA "
              f"{qlora / 1e9:5.1f} GB before activations; LoRA trains {n:,}")
    if scale.name != "S":
        large = scale.name == "L"
        n = counting.lora(shape, rank, MAPS)
        scale.announce(f"{shape.name}, {rows_per_step} x {width} tokens",
                       needed(shape, bits_per_param(64, 8, 256), n) if large else needed(shape, 32))
        try:
            measured = one_run("QLoRA") if large else one_run("full") | one_run("LoRA")
        except (ImportError, FileNotFoundError) as error:
            print(error)
            measured = memory_only() if large else {}
        if measured:
            print(*(f"{name:>18} {value:,.4g}" for name, value in measured.items()), sep="\n")
            print("Written to", scale.record("lab07_lora", {"model": source} | measured))
except NotImplementedError:
    print("Write exercises 1, 2, 10 and 12 first.")
