"""The same training in TRL and PEFT: the only part of the course that uses the two libraries.

Lab 6 compares with    `sft_labels` (which tokens count), `sft_loss` (also packed), `train_sft`
Lab 7 compares with    `lora_output` (one layer), `lora` and `trainable` (a whole model)
Lab 8 compares with    `dpo_loss`, `ipo_loss`, `reward_loss` (numbers), `dpo_model_loss` (models)
Lab 9 compares with    `grpo_loss`
Chapters 4 and 5 show  `short_run`, `short_dpo` and print `defaults`
Scales M and L use     `load` (also in 4 bits), `rows`, `preference_pairs`, `lora`, `train_sft`,
                       `train_dpo`, `train_grpo`, `replies`

A row is `(ids, mask)`, as `glassbox.assistant.render` makes it: token ids, and 1 for those that are
trained. Models are ours (`GPT`, which becomes a GPT-2 of transformers with the same weights) or
the library's. Libraries are imported inside the functions; `missing` says in a sentence what is
not installed, and nothing in a lab that is graded needs it. No PPO, which TRL has no more; no
evaluation, no hub uploads, and no settings beyond the few that the labs turn.
"""

from glassbox.huggingface.adapters import lora, lora_output, trainable
from glassbox.huggingface.libraries import TESTED, missing
from glassbox.huggingface.models import (
    TEMPLATE,
    Messages,
    Row,
    load,
    replies,
    rows,
    to_gpt2,
    to_llama,
    to_tokenizer,
)
from glassbox.huggingface.online import grpo_loss, train_grpo
from glassbox.huggingface.preference import (
    dpo_loss,
    dpo_model_loss,
    ipo_loss,
    preference_pairs,
    reward_loss,
    short_dpo,
    train_dpo,
)
from glassbox.huggingface.sft import defaults, sft_labels, sft_loss, short_run, train_sft

__all__ = ["TEMPLATE", "TESTED", "Messages", "Row", "defaults", "dpo_loss", "dpo_model_loss",
           "grpo_loss", "ipo_loss", "load", "lora", "lora_output", "missing", "preference_pairs",
           "replies", "reward_loss", "rows", "sft_labels", "sft_loss", "short_dpo", "short_run",
           "to_gpt2", "to_llama", "to_tokenizer", "train_dpo", "train_grpo", "train_sft",
           "trainable"]  # fmt: skip
