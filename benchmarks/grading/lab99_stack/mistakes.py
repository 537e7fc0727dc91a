"""The mistake bank of the benchmark's lab: its wrong answers are handed in by the made-up class."""

import torch
import torch.nn.functional as F

from autograder.bank import Bank, call

bank = Bank("lab99_stack")
gen = torch.Generator().manual_seed(7)
_a, _b = (torch.randn(*s, generator=gen, dtype=torch.float64) for s in ((2, 3), (4, 2)))
_logits = torch.randn(2, 4, 5, generator=gen, dtype=torch.float64)
_labels = torch.tensor([[-100, 1, 2, 3], [-100, -100, 4, 0]])
_rewards = torch.randn(2, 5, generator=gen, dtype=torch.float64)
bank.probe("lora_delta", call(_a, _b, 6.0))
bank.probe("sequence_log_prob", call(_logits, _labels))
bank.probe("group_advantages", call(_rewards))


@bank.right("lora_delta")
def scaled_first(a, b, alpha):
    return (b * alpha / len(a)) @ a


@bank.right("lora_delta")
def with_einsum(a, b, alpha):
    return torch.einsum("ri,or->oi", a, b) * alpha / a.size(0)


@bank.wrong("lora_delta", "The product is not scaled by alpha / r.")
def not_scaled(a, b, alpha):
    return b @ a


@bank.wrong("lora_delta", "You scale by alpha alone.")
def rank_forgotten(a, b, alpha):
    return alpha * (b @ a)


@bank.wrong("lora_delta", "You divide by the width of the input, not by the rank.")
def divided_by_width(a, b, alpha):
    return alpha / a.shape[1] * (b @ a)


@bank.right("sequence_log_prob")
def with_cross_entropy(logits, labels):
    return -F.cross_entropy(logits.mT, labels, ignore_index=-100, reduction="none").sum(-1)


@bank.right("sequence_log_prob")
def normalised_by_hand(logits, labels):
    kept = labels >= 0
    log_probs = logits - logits.logsumexp(-1, keepdim=True)
    picked = log_probs.gather(-1, (labels * kept).unsqueeze(-1)).squeeze(-1)
    return picked.masked_fill(~kept, 0.0).sum(1)


@bank.wrong("sequence_log_prob", "You give the mean over the labels; the sum is asked.")
def mean_of_labels(logits, labels):
    kept = labels != -100
    picked = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    return (picked * kept).sum(-1) / kept.sum(-1)


@bank.wrong("sequence_log_prob", "Labels of -100 are counted.")
def all_counted(logits, labels):
    return logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0].sum(-1)


@bank.wrong("sequence_log_prob", "You sum logits, not log-probabilities.")
def logits_summed(logits, labels):
    kept = labels != -100
    return (logits.gather(-1, labels.clamp(min=0)[..., None])[..., 0] * kept).sum(-1)


@bank.right("group_advantages")
def root_of_variance(rewards):
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.var(1, keepdim=True).sqrt() + 1e-4)


@bank.right("group_advantages")
def rows_first(rewards):
    columns = rewards.T
    return ((columns - columns.mean(0)) / (columns.std(0) + 1e-4)).T


@bank.wrong("group_advantages", "The mean stays in.")
def not_centred(rewards):
    return rewards / (rewards.std(-1, keepdim=True) + 1e-4)


@bank.wrong("group_advantages", "You do not divide by the deviation.")
def not_divided(rewards):
    return rewards - rewards.mean(-1, keepdim=True)


@bank.wrong("group_advantages", "Mean and deviation are those of the batch, not of each group.")
def over_the_batch(rewards):
    return (rewards - rewards.mean()) / (rewards.std() + 1e-4)
