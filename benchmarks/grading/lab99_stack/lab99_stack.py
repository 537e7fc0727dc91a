# %% [markdown]
# # A lab of the full stack ({points})
#
# For the benchmark of grading only: little arithmetic behind the imports of a training lab.

# %% nbgrader={"locked": "setup"}
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM
from trl import DPOConfig, DPOTrainer, SFTTrainer

from glassbox import check

check.start("lab99_stack")

# %% [markdown]
# ## 1. LoRA ({points:lora_delta}, 5 min)


# %% nbgrader={"solution": "lora_delta"}
def lora_delta(a: Tensor, b: Tensor, alpha: float) -> Tensor:
    """What LoRA adds to a weight.

    a (r, in), b (out, r) -> (out, in): alpha / r times b a.
    """
    ### BEGIN SOLUTION
    return alpha / a.shape[0] * (b @ a)
    ### END SOLUTION


# %% nbgrader={"test": "lora_delta_visible", "points": 3}
with check.question("lora_delta_visible", lora_delta) as f:
    a, b = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([[3.0, 0.0]])
    check.close("rank 2, alpha 4", f(a, b, 4.0), [[6.0, 12.0]], why="4 / 2 times [3, 6].")

# %% nbgrader={"test": "lora_delta_hidden", "points": 2}
# Hidden checks: random shapes.
### BEGIN HIDDEN TESTS
with check.question("lora_delta_hidden", lora_delta) as f:
    gen = check.generator()
    for r, n_in, n_out in ((1, 3, 2), (4, 5, 6)):
        a = torch.randn(r, n_in, generator=gen, dtype=torch.float64)
        b = torch.randn(n_out, r, generator=gen, dtype=torch.float64)
        check.close(f"rank {r}", f(a, b, 8.0), 8.0 / r * (b @ a))
### END HIDDEN TESTS

# %% [markdown]
# ## 2. Log-probability of an answer ({points:sequence_log_prob}, 5 min)


# %% nbgrader={"solution": "sequence_log_prob"}
def sequence_log_prob(logits: Tensor, labels: Tensor) -> Tensor:
    """Summed log-probability of the labels; labels of -100 do not count.

    logits (B, T, V), labels (B, T) -> (B,). Position t of the logits belongs to label t.
    """
    ### BEGIN SOLUTION
    kept = labels != -100
    picked = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (picked * kept).sum(-1)
    ### END SOLUTION


# %% nbgrader={"test": "sequence_log_prob_visible", "points": 3}
with check.question("sequence_log_prob_visible", sequence_log_prob) as f:
    even = torch.zeros(1, 3, 4)
    check.close("even odds, two labels", f(even, torch.tensor([[-100, 2, 3]])), [-2.7726], rel=1e-3,
                why="2 log(1/4).")

# %% nbgrader={"test": "sequence_log_prob_hidden", "points": 2}
# Hidden checks: random logits, nothing counted.
### BEGIN HIDDEN TESTS
with check.question("sequence_log_prob_hidden", sequence_log_prob) as f:
    gen = check.generator()
    logits = torch.randn(2, 5, 7, generator=gen, dtype=torch.float64)
    labels = torch.randint(0, 7, (2, 5), generator=gen)
    labels[:, :2] = -100
    want = -F.cross_entropy(logits.mT, labels, ignore_index=-100, reduction="none").sum(-1)
    check.close("random", f(logits, labels), want)
    check.close("nothing counts", f(logits, labels * 0 - 100), torch.zeros(2, dtype=torch.float64),
                scale=1.0)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. Advantages in a group ({points:group_advantages}, 5 min)


# %% nbgrader={"solution": "group_advantages"}
def group_advantages(rewards: Tensor) -> Tensor:
    """Rewards of each prompt's answers without their mean, divided by their deviation plus 1e-4.

    (B, G) -> (B, G). The deviation is the unbiased one (G - 1).
    """
    ### BEGIN SOLUTION
    centred = rewards - rewards.mean(-1, keepdim=True)
    return centred / (rewards.std(-1, keepdim=True) + 1e-4)
    ### END SOLUTION


# %% nbgrader={"test": "group_advantages_visible", "points": 3}
with check.question("group_advantages_visible", group_advantages) as f:
    check.close("1 and 3", f(torch.tensor([[1.0, 3.0]])), [[-0.7071, 0.7071]], rel=1e-3,
                why="mean 2, deviation sqrt(2).")

# %% nbgrader={"test": "group_advantages_hidden", "points": 2}
# Hidden checks: random rewards, a group of equals.
### BEGIN HIDDEN TESTS
with check.question("group_advantages_hidden", group_advantages) as f:
    rewards = torch.randn(3, 6, generator=check.generator(), dtype=torch.float64)
    centred = rewards - rewards.mean(1, keepdim=True)
    check.close("random", f(rewards), centred / (rewards.std(1, keepdim=True) + 1e-4))
    check.close("equals", f(torch.ones(2, 4)), torch.zeros(2, 4), scale=1.0)
### END HIDDEN TESTS
