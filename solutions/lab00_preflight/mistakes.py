"""The mistake bank of lab 0: what learners get wrong, what they read, and other right versions."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.bank import Bank, call
from glassbox.bank import made
from glassbox.parts import cubes

bank = Bank("lab00_preflight")
gen = torch.Generator().manual_seed(10)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


# --- softmax ---------------------------------------------------------------------------------

_square = rand(3, 3)
_apart = torch.tensor([[3000.0, 3001.0], [-3000.0, -3002.0]], dtype=torch.float64)
bank.probe("softmax", call(rand(3, 4), 1), call(_square, 1), call(_square, 0), call(rand(2, 3, 4), 1),
           call(_apart / 3, 1), call(_apart, 1))  # fmt: skip


@bank.wrong("softmax", "The last axis sums to 1; the axis you were asked for does not.")
def dim_ignored(x, dim):
    return torch.softmax(x, -1)


@bank.wrong("softmax", "The first axis sums to 1, whatever dim says.")
def first_axis(x, dim):
    return torch.softmax(x, 0)


@bank.wrong("softmax", "All entries together sum to 1; each slice along dim should.")
def over_everything(x, dim):
    exp = (x - x.max()).exp()
    return exp / exp.sum()


@bank.wrong("softmax", "exp overflows at large inputs: subtract the largest entry first.")
def without_maximum(x, dim):
    exp = x.exp()
    return exp / exp.sum(dim, keepdim=True)


@bank.wrong("softmax", "Right for entries of usual size; a slice far below the largest entry of the "
            "whole tensor becomes 0/0. Subtract the largest entry of each slice.")  # fmt: skip
def global_maximum(x, dim):
    exp = (x - x.max()).exp()
    return exp / exp.sum(dim, keepdim=True)


@bank.wrong("softmax", "The sums are divided along another axis than they were taken: "
            "keepdim=True keeps them in place.")  # fmt: skip
def keepdim_forgotten(x, dim):
    exp = (x - x.amax(dim, keepdim=True)).exp()
    return exp / exp.sum(dim)


@bank.wrong("softmax", "The exponentials are not divided by their sum.")
def not_normalised(x, dim):
    return (x - x.amax(dim, keepdim=True)).exp()


@bank.wrong("softmax", "You return the logarithm of the shares.")
def log_of_it(x, dim):
    return torch.log_softmax(x, dim)


@bank.wrong("softmax", "The inputs are divided by their sum; the exponentials should be.")
def without_exp(x, dim):
    return x / x.sum(dim, keepdim=True)


@bank.wrong("softmax", "You shift x in place; the caller's tensor must stay as it was.")
def shifts_in_place(x, dim):
    x -= x.amax(dim, keepdim=True)
    return x.exp() / x.exp().sum(dim, keepdim=True)


@bank.right("softmax")
def through_the_logarithm(x, dim):
    return (x - torch.logsumexp(x, dim, keepdim=True)).exp()


@bank.right("softmax")
def with_moved_axis(x, dim):
    rows = x.movedim(dim, -1)
    top, _ = rows.max(-1, keepdim=True)
    exp = torch.exp(rows - top)
    return (exp / exp.sum(-1)[..., None]).movedim(-1, dim)


# --- cross_entropy ---------------------------------------------------------------------------

_logits, _targets = rand(4, 3) * 2, torch.tensor([2, 0, 1, 1])
_some = torch.tensor([2, -100, 1, -100])
bank.probe(
    "cross_entropy",
    call(_logits, _targets),
    call(_logits, _some),
    call(_logits, torch.tensor([2, 0, 1, 0]), 0),
    call(_logits * 1000, _targets),
    call(_logits, torch.full((4,), -100)),
)


def _losses(logits, targets):
    return F.cross_entropy(logits, targets, ignore_index=-100, reduction="none")


@bank.wrong("cross_entropy", "You divided by N; divide by the number of targets that count.")
def mean_over_all(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum") / len(
        targets
    )


@bank.wrong(
    "cross_entropy",
    "You return the sum of the losses; the docstring asks for the mean.",
)
def sum_of_losses(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore_index, reduction="sum")


@bank.wrong(
    "cross_entropy",
    "The sign is missing: a logarithm of a share is negative, a loss is not.",
)
def sign_missing(logits, targets, ignore_index=-100):
    return -F.cross_entropy(logits, targets, ignore_index=ignore_index)


@bank.wrong("cross_entropy", "The loss is in bits; use the natural logarithm.")
def in_bits(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore_index) / math.log(2)


@bank.wrong(
    "cross_entropy",
    "The softmax runs over the positions; it belongs over the vocabulary.",
)
def over_positions(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    log_p = logits[counts].log_softmax(0)
    return -log_p.gather(1, targets[counts][:, None]).mean()


@bank.wrong("cross_entropy", "You average over N·V entries of which all but N are 0; divide by the "
            "number of targets that count.")  # fmt: skip
def mean_over_the_vocabulary(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    right = F.one_hot(targets[counts], logits.shape[1])
    return -(logits[counts].log_softmax(1) * right).mean()


@bank.wrong(
    "cross_entropy",
    "The mean of the shares is taken before the logarithm; take it after.",
)
def log_of_the_mean(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    return -logits[counts].softmax(1).gather(1, targets[counts][:, None]).mean().log()


@bank.wrong("cross_entropy", "This is minus the mean logit of the targets: the log-sum-exp of each "
            "row is missing.")  # fmt: skip
def normaliser_missing(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    return -logits[counts].gather(1, targets[counts][:, None]).mean()


@bank.wrong(
    "cross_entropy",
    "A target of -100 is no column: drop these rows before you look up.",
)
def looks_up_ignored(logits, targets, ignore_index=-100):
    picked = -logits.log_softmax(1)[torch.arange(len(targets)), targets]
    return picked[targets != ignore_index].mean()


@bank.wrong("cross_entropy", "Only -100 is left out; use the argument ignore_index.")
def ignore_index_fixed(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets)


@bank.wrong("cross_entropy", "Right for logits of usual size; a share that underflows becomes log 0. "
            "Use log-sum-exp.")  # fmt: skip
def log_of_softmax(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    shares = logits[counts].softmax(1).gather(1, targets[counts][:, None])
    return -shares.log().sum() / max(int(counts.sum()), 1)


@bank.wrong("cross_entropy", "Where no target counts you compute 0/0; the loss is 0 there.")
def nan_when_none_counts(logits, targets, ignore_index=-100):
    return F.cross_entropy(logits, targets, ignore_index=ignore_index)


@bank.right("cross_entropy")
def masked_sum(logits, targets, ignore_index=-100):
    counts = targets != ignore_index
    safe = torch.where(counts, targets, 0)
    losses = logits.logsumexp(-1) - logits.gather(-1, safe.unsqueeze(-1)).squeeze(-1)
    return (losses * counts).sum() / counts.sum().clamp(min=1)


@bank.right("cross_entropy")
def with_nll_loss(logits, targets, ignore_index=-100):
    n = int((targets != ignore_index).sum())
    if n == 0:
        return logits.sum() * 0
    log_p = torch.log_softmax(logits, dim=1)
    return F.nll_loss(log_p, targets, ignore_index=ignore_index, reduction="sum") / n


@bank.right("cross_entropy")
def row_by_row(logits, targets, ignore_index=-100):
    losses = []
    for row, target in zip(logits, targets.tolist(), strict=True):
        if target != ignore_index:
            top = row.max()
            losses.append(top + (row - top).exp().sum().log() - row[target])
    return torch.stack(losses).mean() if losses else torch.zeros((), dtype=logits.dtype)


# --- matmul_shape ----------------------------------------------------------------------------

bank.probe(
    "matmul_shape",
    call((2, 3), (3, 4)),
    call((2, 3), (4, 3)),
    call((2, 2), (2, 2)),
    call((5, 2, 3), (5, 3, 4)),
    call((6, 2, 3), (3, 4)),
    call((5, 1, 2, 3), (4, 3, 6)),
    call((2, 3, 4), (7, 2, 4, 5)),
    call((2, 3, 4), (3, 4, 5)),
    call((3,), (3, 4)),
    call((2, 3), (3,)),
    call((3,), (3,)),
    call((3,), (4,)),
    call((), (3,)),
    call((0, 2, 3), (1, 3, 2)),
)


def _shape(a, b, batch=lambda x, y: tuple(torch.broadcast_shapes(x, y)), row=(), column=()):
    if not a or not b:
        return None
    left, right = ((1, *a) if len(a) == 1 else a), ((*b, 1) if len(b) == 1 else b)
    if left[-1] != right[-2]:
        return None
    try:
        lead = batch(left[:-2], right[:-2])
    except RuntimeError:
        return None
    if lead is None:
        return None
    rows = row if len(a) == 1 else (left[-2],)
    return (*lead, *rows, *(column if len(b) == 1 else (right[-1],)))


def _from_the_left(x, y):
    n = max(len(x), len(y))
    return tuple(torch.broadcast_shapes(x + (1,) * (n - len(x)), y + (1,) * (n - len(y))))


def _larger(x, y):
    n = max(len(x), len(y))
    return tuple(map(max, (1,) * (n - len(x)) + x, (1,) * (n - len(y)) + y))


@bank.wrong("matmul_shape", "You compare the last axes of both; the last of A meets the second to "
            "last of B.")  # fmt: skip
def last_with_last(a, b):
    return (*a[:-1], b[-2]) if a[-1] == b[-1] else None


@bank.wrong("matmul_shape", "Inner sizes that differ give None; you do not compare them.")
def inner_not_compared(a, b):
    return (*tuple(torch.broadcast_shapes(a[:-2], b[:-2])), a[-2], b[-1])


@bank.wrong(
    "matmul_shape",
    "You look at the first axis of B; the inner size is its second to last.",
)
def first_axis_of_b(a, b):
    return (*a[:-1], *b[1:]) if a[-1] == b[0] else None


@bank.wrong("matmul_shape", "The batch axes of B are lost.")
def batch_of_b_lost(a, b):
    return _shape(a, b, lambda x, y: x)


@bank.wrong(
    "matmul_shape",
    "Batch axes need not be equal: an axis of 1 or a missing one fits all.",
)
def no_broadcasting(a, b):
    return _shape(a, b, lambda x, y: x if x == y else None)


@bank.wrong("matmul_shape", "Batch axes are aligned from the left; align them from the right.")
def aligned_from_the_left(a, b):
    return _shape(a, b, _from_the_left)


@bank.wrong("matmul_shape", "Batch axes of 2 and 3 clash; you take the larger one.")
def larger_batch_axis(a, b):
    return _shape(a, b, _larger)


@bank.wrong("matmul_shape", "A vector has no second axis: make it a row or a column first.")
def vectors_forgotten(a, b):
    if not a or not b:
        return None
    return _shape(a, b) if a[-1] == b[-2] and a[-2] >= 0 else None


@bank.wrong(
    "matmul_shape",
    "The axis of length 1 that was added to a vector stays in your result.",
)
def added_axis_kept(a, b):
    return _shape(a, b, row=(1,), column=(1,))


@bank.wrong("matmul_shape", "Two vectors give (), a scalar, and not None.")
def no_dot_product(a, b):
    return _shape(a, b) or None


@bank.right("matmul_shape")
def axis_by_axis(a, b):
    if len(a) == 0 or len(b) == 0:
        return None
    vector_a, vector_b = len(a) == 1, len(b) == 1
    a = (1, *a) if vector_a else a
    b = (*b, 1) if vector_b else b
    if a[-1] != b[-2]:
        return None
    lead, x, y = [], list(a[:-2]), list(b[:-2])
    while x or y:
        m, n = (x.pop() if x else 1), (y.pop() if y else 1)
        if m != n and 1 not in (m, n):
            return None
        lead.insert(0, n if m == 1 else m)
    return tuple(lead) + (() if vector_a else a[-2:-1]) + (() if vector_b else b[-1:])


@bank.right("matmul_shape")
def on_real_tensors(a, b):
    try:
        return torch.matmul(torch.empty(a), torch.empty(b)).shape
    except RuntimeError:
        return None


# --- finite_difference -----------------------------------------------------------------------

_cubes = made(cubes)
bank.probe("finite_difference", call(_cubes, rand(3), 1.0), call(_cubes, rand(2, 2), 0.5),
           call(_cubes, rand(2)))  # fmt: skip


def _quotients(f, x, forward, back, divisor):
    grad = torch.zeros_like(x)
    for i in range(x.numel()):
        up, down = x.clone(), x.clone()
        up.view(-1)[i] += forward
        down.view(-1)[i] -= back
        grad.view(-1)[i] = (f(up) - f(down)) / divisor
    return grad


@bank.wrong("finite_difference", "Your quotient is one-sided: its error has the order of eps. Step to "
            "both sides, and the error has the order of eps squared.")  # fmt: skip
def one_sided(f, x, eps=1e-5):
    return _quotients(f, x, eps, 0, eps)


@bank.wrong("finite_difference", "Your quotient is one-sided: its error has the order of eps. Step to "
            "both sides, and the error has the order of eps squared.")  # fmt: skip
def backward_difference(f, x, eps=1e-5):
    return _quotients(f, x, 0, eps, eps)


@bank.wrong("finite_difference", "Too large by 2: the two points are 2·eps apart.")
def divided_by_eps(f, x, eps=1e-5):
    return _quotients(f, x, eps, eps, eps)


@bank.wrong("finite_difference", "The sign is turned round: f(x + eps) comes first.")
def sign_turned(f, x, eps=1e-5):
    return -_quotients(f, x, eps, eps, 2 * eps)


@bank.wrong("finite_difference", "You step by half of eps to each side; step by eps.")
def half_steps(f, x, eps=1e-5):
    return _quotients(f, x, eps / 2, eps / 2, eps)


@bank.wrong("finite_difference", "The eps that is passed has no effect.")
def eps_ignored(f, x, eps=1e-5):
    return _quotients(f, x, 1e-5, 1e-5, 2e-5)


@bank.wrong("finite_difference", "All entries move at once: this is the slope along (1, 1, …). Move "
            "one entry at a time.")  # fmt: skip
def all_at_once(f, x, eps=1e-5):
    return (f(x + eps) - f(x - eps)) / (2 * eps) * torch.ones_like(x)


@bank.wrong("finite_difference", "Your result is flat; it has the shape of x.")
def flat_result(f, x, eps=1e-5):
    return _quotients(f, x, eps, eps, 2 * eps).flatten()


@bank.wrong("finite_difference", "You move x itself; step on a copy, the caller's x must stay.")
def moves_x(f, x, eps=1e-5):
    grad, flat = torch.zeros_like(x), x.view(-1)
    for i in range(x.numel()):
        flat[i] += eps
        up = f(x)
        flat[i] -= 2 * eps
        grad.view(-1)[i] = (up - f(x)) / (2 * eps)
    return grad


@bank.right("finite_difference")
def on_copies(f, x, eps=1e-5):
    flat, out = x.detach().flatten(), []
    for i in range(len(flat)):
        values = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[i] = moved[i] + sign * eps
            values.append(f(moved.reshape(x.shape)))
        out.append((values[0] - values[1]) / eps / 2)
    return torch.stack(out).reshape(x.shape).to(x.dtype)


@bank.right("finite_difference")
def with_masks(f, x, eps=1e-5):
    grad = torch.empty_like(x)
    for index in torch.ones(x.shape).nonzero().tolist():
        step = torch.zeros_like(x)
        step[tuple(index)] = eps
        grad[tuple(index)] = (f(x + step) - f(x - step)) / (2 * eps)
    return grad


# --- generic mutants that change nothing -----------------------------------------------------

bank.equivalent("matmul_shape", "torch.broadcast_shapes(a[:-2], b[:-2])  =>  "
                "torch.broadcast_shapes(b[:-2], a[:-2])", "broadcasting has no order")  # fmt: skip
bank.equivalent("cross_entropy", "max(len(targets), 1)  =>  max(1, len(targets))",
                "the larger of two numbers has no order")  # fmt: skip
bank.equivalent("finite_difference", "torch.eye(x.numel(), dtype=x.dtype)  =>  torch.eye(x.numel())",
                "eps rounded to float32 is off by 1e-8 of itself; the result keeps its dtype")  # fmt: skip
