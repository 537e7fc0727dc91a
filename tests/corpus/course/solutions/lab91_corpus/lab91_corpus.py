# %% [markdown]
# # Corpus ({points})
#
# The lab that attackers hand in. Every text that nobody may see without a right to it holds the
# word canary.

# %% nbgrader={"locked": "setup"}
import math
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor

from glassbox import check

# %% [markdown]
# ## Attention ({points:attn}, 5 min)


# %% nbgrader={"solution": "attn", "calls_forbidden": ["scaled_dot_product_attention"]}
def attn(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention without a mask.

    q (B, T, D), k and v (B, S, D) -> (B, T, D). If q is 0, the result is the mean of v.
    """
    ### BEGIN SOLUTION
    weights = (q @ k.mT / math.sqrt(q.shape[-1])).softmax(dim=-1)  # solution-canary-93c2d4
    return weights @ v
    ### END SOLUTION


# %% nbgrader={"test": "attn_visible", "points": 2}
with check.question("attn_visible", attn) as f:
    q, k = torch.zeros(1, 1, 2), torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
    v = torch.tensor([[[2.0, 4.0], [6.0, 10.0]]])
    check.shape("q = 0", f(q, k, v), (1, 1, 2))
    check.close("q = 0", f(q, k, v), [[[4.0, 7.0]]], why="the mean of the values.")

# %% nbgrader={"test": "attn_hidden", "points": 1}
# Hidden checks: random inputs against torch, gradients.
### BEGIN HIDDEN TESTS
with check.question("attn_hidden", attn) as f:
    secret = "hidden-canary-5a1e07"
    gen = check.generator()
    q, k, v = (torch.randn(2, n, 4, generator=gen, dtype=torch.float64) for n in (3, 5, 5))
    q[0, 0, 0] = 0.7071067  # to be found again, should it show anywhere
    check.close("random", f(q, k, v), F.scaled_dot_product_attention(q, k, v))
    check.gradient("gradient", f, q, k, v)
### END HIDDEN TESTS

# %% [markdown]
# ## Parameters ({points:count}, 5 min)


# %% nbgrader={"solution": "count"}
def count(sizes: list[int], bias: bool = True) -> int:
    """How many parameters linear layers between these widths have.

    [4, 3] -> 15: 12 weights and 3 biases. One width has no layer: 0.
    """
    ### BEGIN SOLUTION
    layers = list(pairwise(sizes))  # solution-canary-93c2d4
    return sum(n_in * n_out + bias * n_out for n_in, n_out in layers)
    ### END SOLUTION


# %% nbgrader={"test": "count_visible", "points": 1}
with check.question("count_visible", count) as f:
    check.equal("one layer", f([4, 3]), 15, why="12 weights and 3 biases.")
    check.equal("no bias", f([4, 3], False), 12, why="12 weights.")

# %% nbgrader={"test": "count_hidden", "points": 1}
# Hidden checks: no layer, several layers, random widths.
### BEGIN HIDDEN TESTS
with check.question("count_hidden", count) as f:
    secret = "hidden-canary-5a1e07"
    check.equal("one width", f([7919]), 0, why="there is no layer.")
    a, b, c = torch.randint(2, 99, (3,), generator=check.generator()).tolist()
    check.equal("two layers", f([a, b, c]), a * b + b + b * c + c, why="the sum over the layers.")
    check.equal("two layers, no bias", f([a, b, c], False), a * b + b * c)
### END HIDDEN TESTS
