# %% [markdown]
# # Lab 0: preflight
#
# This lab shows in half an hour that your machine can run the others, and how they speak to you.
# You write four small functions that every later lab leans on: softmax, cross-entropy, the shape of
# a matrix product and a gradient by hand.
#
# **{points}, about 25 minutes.** No chapter is needed first. The [notation](../../book/notation.md)
# of the course is one page; keep it at hand.
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# The rules are the same in every lab.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype of the input and is as exact. Arguments are never changed.
# - Below each heading stand three hints, weakest first. Opening them costs nothing.
# - A cell that needs a function you have not written yet says so and stops nothing.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
import torch.nn.functional as F
from torch import Tensor

import glassbox
from glassbox import check

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab00_preflight")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What your machine has
#
# The cell above has already told the most important thing: the course package is there. The next
# one lists the rest. Only the first group is needed to do the labs; what is missing of the second
# is asked for by name in the cell that wants it.

# %% tags=["demo"]
import platform
from importlib.metadata import PackageNotFoundError, version


def installed(names: list[str]) -> str:
    """Name and version of each package, or that it is missing."""
    found = []
    for name in names:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} –")
    return ", ".join(found)


print("Python     ", platform.python_version(), "on", platform.system())
print("needed     ", installed(["torch", "numpy", "matplotlib", "ipywidgets"]))
print("helpful    ", installed(["transformers", "safetensors", "tiktoken", "peft", "trl"]))
print("memory     ", f"{scale.memory / 1e9:.0f} GB on {scale.device}")
print("one product", torch.ones(2, 3) @ torch.ones(3, 1))

# %% [markdown]
# ## How a check speaks
#
# Here is somebody's softmax. It turns numbers into shares that sum to 1. We let the check look at
# it, as it will look at yours. Before you run the cell: can you see what is wrong?

# %% tags=["demo"]
def hurried_softmax(x: Tensor, dim: int) -> Tensor:
    return x.exp() / x.exp().sum()


print(hurried_softmax(torch.tensor([0.0, math.log(3)]), 0), "looks right for one row.")
try:
    check.mistakes("lab00_preflight.softmax", hurried_softmax)
except check.CheckFailed as failed:
    print(f"✗ {failed}")

# %% [markdown]
# The line behind the arrow is a **diagnosis**. It appears only when your function answers a fixed
# set of inputs exactly as one known mistake does, and as no other. Otherwise the check tells what
# it tried, what it got and what it expected, and leaves the thinking to you.

# %% [markdown]
# ## 1. Softmax ({points:softmax}, 5 min)
#
# $$\mathrm{softmax}(x)_i = \frac{e^{x_i}}{\sum_j e^{x_j}}$$
#
# By hand: of the numbers 0 and $\log 3$ the exponentials are 1 and 3, so the shares are 1/4 and
# 3/4. A tensor has several axes, and `dim` says along which of them the shares sum to 1.
#
# In float32, $e^{89}$ is already infinite. Adding one number to all $x_j$ of a sum changes nothing:
# it multiplies numerator and denominator by the same factor. Use that.
#
# **Common mistake:** the axis is left to chance. A softmax over the wrong axis raises no error.
#
# <details><summary>Hint 1</summary>
#
# Which number could you subtract, so that no exponent is above 0?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `sum(dim)` removes the axis. With `keepdim=True` it stays, with length 1, and the division
# broadcasts along it.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `x.amax(dim, keepdim=True)` is the largest entry of each slice along `dim`. The largest entry of
# the whole tensor is not enough: far below it, a slice would become 0/0.
#
# </details>

# %% nbgrader={"solution": "softmax"}
def softmax(x: Tensor, dim: int) -> Tensor:
    """Shares that sum to 1 along the axis `dim` (which may be negative).

    any shape -> same shape.
    Entries may be in the thousands: subtract the largest entry of each slice first.
    An entry of -inf gets the share 0; no slice consists of -inf alone.
    Adding one number to all entries changes nothing.
    """
    ### BEGIN SOLUTION
    exp = (x - x.amax(dim, keepdim=True)).exp()
    return exp / exp.sum(dim, keepdim=True)
    ### END SOLUTION


# %% nbgrader={"test": "softmax_visible", "points": 3}
with check.question("softmax_visible", softmax) as f:
    x = torch.tensor([[0.0, math.log(3)], [0.0, 0.0]])
    check.close("along dim 1", f(x, 1), [[0.25, 0.75], [0.5, 0.5]],
                why="each row sums to 1: the first has odds of 1 : 3.")
    check.close("along dim 0", f(x, 0), [[0.5, 0.75], [0.5, 0.25]],
                why="each column sums to 1: the second has odds of 3 : 1.")
    check.close("two logits of 10,000", f(torch.tensor([1e4, 1e4]), 0), [0.5, 0.5], rel=1e-3,
                why="equal logits get equal shares, however large they are.")

# %% [markdown]
# The check above is **visible**: it is worth 3 of the 5 points and you can run it as often as you
# like. The cell below is **hidden**: it holds a comment that says what kind of input is tried, and
# the rest runs when your lab is graded. Run now, it does nothing. It is there to reward functions
# that work for every input that the docstring allows, not only for the examples.

# %% nbgrader={"test": "softmax_hidden", "points": 2}
# Hidden checks: random shapes and axes against torch, shifts, rows far apart, -inf, gradient.
### BEGIN HIDDEN TESTS
with check.question("softmax_hidden", softmax) as f:
    gen = check.generator()
    for shape, dim in (((3, 4), 0), ((2, 3, 5), 1), ((4, 2), -2), ((6,), -1), ((1, 1), 1)):
        x = torch.randn(shape, generator=gen, dtype=torch.float64) * 3
        check.close(f"shape {shape}, dim {dim}", f(x, dim), torch.softmax(x, dim))
        check.close(f"shape {shape}, dim {dim}, shifted", f(x + 50, dim), torch.softmax(x, dim),
                    why="only differences of logits count.")
    apart = torch.tensor([[2000.0, 2000.0], [-2000.0, -2000.0 + math.log(3)]])
    check.close("rows 4,000 apart", f(apart, 1), [[0.5, 0.5], [0.25, 0.75]], rel=1e-3,
                why="each row has its own maximum.")
    hidden = torch.tensor([1.0, -math.inf, 1.0])
    check.close("a logit of -inf", f(hidden, 0), [0.5, 0.0, 0.5], why="exp(-inf) is 0.")
    check.unchanged("inputs", f, apart, 1, why="x must not be shifted in place.")
    check.gradient("gradient", lambda t: f(t, 0), torch.randn(3, 2, generator=gen).double())
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Cross-entropy ({points:cross_entropy}, 8 min)
#
# A model gives each token of the vocabulary a logit. The loss of one position is the negative
# logarithm of the share that softmax gives to the right token, its **target**. A model that knows
# nothing gives all $V$ tokens the share $1/V$ and pays $\log V$. This is where training begins.
#
# Some positions must not count, such as padding. They carry the target −100.
#
# **Common mistake:** dividing by all positions. The loss then gets smaller when a batch holds more
# padding, though the model has not changed.
#
# <details><summary>Hint 1</summary>
#
# Which rows count? Drop the others before anything else: −100 is no column.
#
# </details>
# <details><summary>Hint 2</summary>
#
# The logarithm of a softmax is $x_i - \log \sum_j e^{x_j}$. Taken in two steps it becomes log 0 as
# soon as a share underflows. `torch.logsumexp` does the second term safely.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `gather(1, targets[:, None])` picks one column of each row. A sum over no rows is 0, and
# `max(n, 1)` keeps the division from becoming 0/0.
#
# </details>

# %% nbgrader={"solution": "cross_entropy"}
def cross_entropy(logits: Tensor, targets: Tensor, ignore_index: int = -100) -> Tensor:
    """Mean of -log softmax(logits)[target] over the targets that count, in nats.

    logits (N, V), targets (N,) integers -> scalar tensor.
    A target equal to `ignore_index` does not count, nor does its row in the mean.
    If no target counts (N may be 0), the loss is 0.
    Logits may be in the thousands; no loss of a possible target is infinite.
    With equal logits the loss is log V: log 256 = 5.545.
    """
    ### BEGIN SOLUTION
    counts = targets != ignore_index  # (N,)
    logits, targets = logits[counts], targets[counts]
    log_share = logits - logits.logsumexp(1, keepdim=True)  # (n, V)
    return -log_share.gather(1, targets[:, None]).sum() / max(len(targets), 1)
    ### END SOLUTION


# %% nbgrader={"test": "cross_entropy_visible", "points": 3}
with check.question("cross_entropy_visible", cross_entropy) as f:
    check.close("equal logits, V = 256", f(torch.zeros(3, 256), torch.tensor([0, 7, 255])),
                5.5452, why="every token has the share 1/256.")
    logits = torch.tensor([[math.log(3), 0.0], [0.0, 0.0]])  # shares 3/4, 1/4 and 1/2, 1/2
    check.close("targets 0 and 1", f(logits, torch.tensor([0, 1])), 0.4904, rel=1e-3,
                why="(-log 0.75 - log 0.5) / 2 = (0.2877 + 0.6931) / 2.")
    check.close("second target ignored", f(logits, torch.tensor([0, -100])), 0.2877, rel=1e-3,
                why="one target counts: -log 0.75 / 1.")
    check.close("no target counts", f(logits, torch.tensor([-100, -100])), 0.0, scale=1.0,
                why="0, not 0/0.")

# %% nbgrader={"test": "cross_entropy_hidden", "points": 2}
# Hidden checks: random logits against torch, another ignore_index, large logits, no rows, gradient.
### BEGIN HIDDEN TESTS
with check.question("cross_entropy_hidden", cross_entropy) as f:
    gen = check.generator()
    for N, V, ignore in ((7, 5, -100), (1, 9, -100), (12, 4, 2), (6, 3, -1)):
        logits = torch.randn(N, V, generator=gen, dtype=torch.float64) * 4
        targets = torch.randint(0, V, (N,), generator=gen)
        targets[1::3] = ignore
        case = f"N {N}, V {V}, ignore_index {ignore}"
        check.close(case, f(logits, targets, ignore),
                    F.cross_entropy(logits, targets, ignore_index=ignore))
    loud = torch.tensor([[0.0, 1e4, -1e4], [1e4, 1e4, 0.0]])
    check.close("logits of 10,000", f(loud, torch.tensor([0, 1])), (1e4 + math.log(2)) / 2,
                rel=1e-3, why="log-sum-exp, not the logarithm of a share that is 0.")
    check.close("no rows", f(torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)), 0.0, scale=1.0)
    check.gradient("gradient", lambda t: f(t, targets, -1), logits)
    check.unchanged("inputs", f, logits, targets, -1)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. The shape of a product ({points:matmul_shape}, 7 min)
#
# Most errors in this course are errors of shape, and `A @ B` is where they show. In the plain case
# `(rows, n) @ (n, columns) -> (rows, columns)`: the inner sizes must agree and vanish. With more
# axes, the last two are the matrix and the axes before them are a batch:
#
# `(2, 1, 3, 4) @ (5, 4, 6) -> (2, 5, 3, 6)`
#
# The batch axes are aligned **from the right**. Two of them fit if they are equal or if one is 1 or
# missing.
#
# **Common mistake:** aligning from the left. `(2, 3, 4) @ (7, 2, 4, 5)` is fine, because the two
# axes of size 2 stand over each other.
#
# <details><summary>Hint 1</summary>
#
# Turn a vector into a matrix first: in front it is a row, behind it is a column. Remember that you
# did.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Three parts: do the inner sizes agree, what do the batch axes give, what is left of the last two
# axes?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `torch.broadcast_shapes(first, second)` aligns batch axes and raises RuntimeError where they
# clash.
#
# </details>

# %% nbgrader={"solution": "matmul_shape"}
def matmul_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...] | None:
    """Shape of A @ B for tensors of shapes a and b; None where torch.matmul raises.

    A vector A of shape (n,) counts as a row (1, n), a vector B as a column (n, 1); the
    axis of length 1 that was added is left out of the result.
    Batch axes broadcast, aligned from the right. Sizes may be 0; a size of 0 fits 0 and 1.
    A shape without axes, (), has nothing to sum over: None.
    (2, 3) and (3, 4) give (2, 4); (3,) and (3,) give ().
    """
    ### BEGIN SOLUTION
    if not a or not b or a[-1] != b[-2:][0]:
        return None
    try:
        batch = torch.broadcast_shapes(a[:-2], b[:-2])
    except RuntimeError:
        return None
    columns = b[-1:] if len(b) > 1 else ()
    return (*batch, *a[-2:-1], *columns)
    ### END SOLUTION


# %% nbgrader={"test": "matmul_shape_visible", "points": 3}
with check.question("matmul_shape_visible", matmul_shape) as f:
    for a, b, want in (
        ((2, 3), (3, 4), (2, 4)),
        ((2, 3), (4, 3), None),  # 3 meets 4
        ((3,), (3,), ()),  # a dot product
        ((5, 2, 3), (3,), (5, 2)),
        ((2, 1, 3, 4), (5, 4, 6), (2, 5, 3, 6)),
        ((2, 3, 4), (7, 2, 4, 5), (7, 2, 3, 5)),
        ((2, 3, 4), (3, 4, 5), None),  # batch axes 2 and 3
    ):
        got = f(a, b)
        check.that(got == want, f"{a} @ {b}: got {got}, expected {want}")

# %% nbgrader={"test": "matmul_shape_hidden", "points": 2}
# Hidden checks: 200 random pairs against torch.matmul, with vectors, axes of size 0 and ().
### BEGIN HIDDEN TESTS
with check.question("matmul_shape_hidden", matmul_shape) as f:
    gen = check.generator()
    for case in range(200):
        n_a, n_b, fits = torch.randint(0, 5, (3,), generator=gen).tolist()
        a, b = (torch.randint(0, 4, (n,), generator=gen).tolist() for n in (n_a, n_b))
        if fits and a and b:  # four pairs of five have inner sizes that agree
            b[-2 if n_b > 1 else -1] = a[-1]
            for axis in range(3, min(n_a, n_b) + 1):
                if case % 3:  # and two of three have batch axes that agree
                    a[-axis], b[-axis] = (1, b[-axis]) if case % 2 else (b[-axis], b[-axis])
        try:
            want = tuple(torch.matmul(torch.empty(a), torch.empty(b)).shape)
        except RuntimeError:
            want = None
        kind = "vectors" if 1 in (n_a, n_b) else "no axes" if 0 in (n_a, n_b) else "batch axes"
        check.that(f(tuple(a), tuple(b)) == want, f"a random pair ({kind}): not as in torch.matmul")
### END HIDDEN TESTS

# %% [markdown]
# ## 4. A gradient by hand ({points:finite_difference}, 5 min)
#
# Training needs the slope of the loss in every direction. Autograd computes it; how do we know that
# it is right? We move one entry of `x` a little up and a little down and look at what `f` does:
#
# $$\frac{\partial f}{\partial x_i} \approx
# \frac{f(x + \varepsilon e_i) - f(x - \varepsilon e_i)}{2 \varepsilon}$$
#
# By hand: for $f(x) = x^3$ at 2 with $\varepsilon = 1$ the quotient is $(27 - 1) / 2 = 13$. The
# slope is 12; the error is $\varepsilon^2$. A one-sided quotient gives $27 - 8 = 19$: its error has
# the order of $\varepsilon$.
#
# **First leave the stub as it is and run the check below it.** The grey line says "not attempted".
# That is no mistake and is never reported as one; it gives 0 points until you write something.
#
# <details><summary>Hint 1</summary>
#
# One entry at a time, and a fresh copy of `x` for each step.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.zeros_like(x)` has the shape and the dtype of the result. `flatten()` or `view(-1)` lets
# you count its entries with one index.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A row of `torch.eye(n)` times `eps`, reshaped like `x`, is the step to add and to subtract.
#
# </details>

# %% nbgrader={"solution": "finite_difference"}
def finite_difference(f: Callable[[Tensor], Tensor], x: Tensor, eps: float = 1e-5) -> Tensor:
    """Gradient of f at x by two-sided quotients, entry by entry.

    x any shape, f takes a tensor of that shape and dtype and gives a scalar tensor
    -> the shape and dtype of x.
    Entry i is (f(x + eps·e_i) - f(x - eps·e_i)) / (2·eps), with e_i 1 at entry i and 0
    elsewhere. x is not changed.
    For x³ at 2 with eps 1 it is (27 - 1) / 2 = 13.
    """
    ### BEGIN SOLUTION
    steps = eps * torch.eye(x.numel(), dtype=x.dtype).view(-1, *x.shape)
    slopes = [(f(x + step) - f(x - step)) / (2 * eps) for step in steps]
    return torch.stack(slopes).view(x.shape)
    ### END SOLUTION


# %% nbgrader={"test": "finite_difference_visible", "points": 3}
with check.question("finite_difference_visible", finite_difference) as f:
    x = torch.tensor([2.0, -1.0], dtype=torch.float64)
    check.close("sum of cubes, eps 1", f(lambda t: (t**3).sum(), x, 1.0), [13.0, 4.0],
                why="(27 - 1) / 2 and (0 + 8) / 2: 3x² + eps².")
    check.close("sum of cubes, default eps", f(lambda t: (t**3).sum(), x), [12.0, 3.0],
                why="with a small eps it is the slope, 3x².")

# %% nbgrader={"test": "finite_difference_hidden", "points": 2}
# Hidden checks: four functions against autograd, several shapes, dtype, inputs unchanged.
### BEGIN HIDDEN TESTS
with check.question("finite_difference_hidden", finite_difference) as f:
    gen = check.generator()
    for case, shape, function in (
        ("product of two entries", (2,), lambda t: t[0] * t[1]),
        ("log-sum-exp", (2, 3), lambda t: t.logsumexp((0, 1))),
        ("a scalar", (), lambda t: t.sin()),
        ("weighted squares", (2, 1, 2), lambda t: (t.square() * 3 + t).mean()),
    ):
        x = torch.randn(shape, generator=gen, dtype=torch.float64).requires_grad_()
        (want,) = torch.autograd.grad(function(x), x)
        got = f(function, x.detach())
        check.shape(case, got, shape)
        check.close(case, got, want, scale=1.0)
    flat = torch.tensor([1.0, 2.0, 3.0])
    check.close("float32, eps 0.5", f(lambda t: (t**3).sum(), flat, 0.5), 3 * flat**2 + 0.25,
                why="the quotient with this eps, in the dtype of x.")
    check.unchanged("inputs", f, lambda t: t.sum(), flat, 0.5, why="x must stay where it was.")
### END HIDDEN TESTS

# %% [markdown]
# ## Where the points come from
#
# The table lists your visible checks; run it whenever you like. An exercise gives three fifths of
# its points for the visible check and two fifths for the hidden one, each as a whole: a check that
# fails in one place gives none of its points. A written answer, where a lab has one, is graded by a
# person. Nothing is taken off for hints, for runs or for time.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## Scale: what your machine can multiply
#
# No points here. Every lab has a part that grows with the hardware: **S** is two CPU cores and is
# what is graded, **M** a GPU with 16 GB, **L** one with 40 GB or more. The cell multiplies square
# matrices for a while (S: a moment, M and L: ten seconds) and prints the speed beside the data
# sheet of the GPU, where we have it. A matrix product of size `n` takes $2n^3$ operations.
#
# Before you run it: what share of the data sheet's figure will you see?

# %% tags=["demo"]
import time

size = scale.choose(512, 4096, 8192)
dtype = scale.choose(torch.float32, torch.bfloat16, torch.bfloat16)
seconds = scale.choose(0.3, 10.0, 10.0)
peak = {"A100": 312e12, "H100": 989e12}  # dense bfloat16, from NVIDIA's data sheets

scale.announce(f"products of {size} × {size} matrices", 3 * size**2 * dtype.itemsize)
a, b = torch.randn(2, size, size, device=scale.device, dtype=dtype)
n_products, start = 0, time.perf_counter()
while time.perf_counter() - start < seconds:
    for _ in range(5):
        a @ b
    if scale.device == "cuda":
        torch.cuda.synchronize()
    n_products += 5
speed = n_products * 2 * size**3 / (time.perf_counter() - start)
print(f"{speed / 1e12:.3g} TFLOP/s in {str(dtype).removeprefix('torch.')}")
sheet = next((flops for name, flops in peak.items() if name in scale.hardware), None)
if sheet:
    print(f"{speed / sheet:.0%} of the {sheet / 1e12:g} TFLOP/s of the data sheet")
if scale.name != "S":
    print("Written to", scale.record("lab00_preflight", {"flops": speed, "size": size}))
