"""Supervised fine-tuning as TRL does it: its labels, its loss, its training."""

from collections.abc import Sequence
from dataclasses import MISSING, fields
from typing import Any

import torch
from torch import Tensor

from glassbox.huggingface import libraries
from glassbox.huggingface.libraries import library, trainer_of
from glassbox.huggingface.models import Messages, Row, theirs_of, to_llama
from glassbox.models import IGNORED
from glassbox.parts import GPTConfig


def _dataset(rows: Sequence[Row]) -> list[dict]:
    """Rows as TRL takes them when the labels are there already."""
    return [
        {"input_ids": [*map(int, ids)],
         "labels": [int(i) if on else IGNORED for i, on in zip(ids, mask, strict=True)]}
        for ids, mask in rows
    ]  # fmt: skip


def sft_labels(messages: Messages, tokenizer: Any) -> tuple[Tensor, Tensor]:
    """One conversation -> its ids (T,) and the labels (T,) that TRL makes, -100 where not trained.

    `tokenizer` is transformers', with a template that marks what is generated. No shift: label t
    is id t, and the loss compares it with what was predicted at t - 1.
    """
    tiny = to_llama(GPTConfig(n_layers=1, d_model=8, n_heads=1, vocab_size=len(tokenizer),
                              context_len=8))  # fmt: skip
    data = [{"messages": messages}]
    with trainer_of("SFT", tiny, data, tokenizer, assistant_only_loss=True) as trainer:
        row = trainer.train_dataset[0]
    return torch.tensor(row["input_ids"]), torch.tensor(row["labels"])


def sft_loss(model: Any, rows: Sequence[Row], packing: str | None = None,
             context_len: int = 128) -> Tensor:  # fmt: skip
    """The loss of all rows as one batch, as TRL computes it: a scalar with a gradient.

    `packing`: "bfd" lays whole rows side by side, each seeing itself alone; "wrapped" cuts one
    long string of tokens into rows of `context_len`, where everything sees what is before it.
    """
    model = theirs_of(model)
    options = {"max_length": context_len, "packing": True, "packing_strategy": packing}
    with trainer_of("SFT", model, _dataset(rows), **(options if packing else {})) as trainer:
        batch = trainer.data_collator(list(trainer.train_dataset))
        batch = {k: v.to(model.device) if torch.is_tensor(v) else v for k, v in batch.items()}
        return trainer.compute_loss(model, batch)


def train_sft(
    model: Any, rows: Sequence[Row], rows_per_step: int = 8, lr: float = 2e-3,
    steps: int | None = None, warm_up: int = 0, schedule: str = "cosine", clip: float = 1.0,
    decay: float = 0.0, shuffle: bool = False, seed: int = 0, **options: Any,
) -> list[float]:  # fmt: skip
    """Train `model` in place with TRL's SFTTrainer; the loss of every step.

    The rows are taken in the order given, `rows_per_step` at a time, and again from the first when
    they are used up; without `steps` once. A loop by hand over the same slices gets the same
    losses. `schedule` is one of transformers' ("constant", "linear", "cosine"); `options` are
    SFTConfig's. With a `GPT` the training happens in its copy and the weights come back. It
    runs where the model lies, on a GPU in bfloat16 where that can.
    """
    theirs = theirs_of(model)
    options.setdefault("max_length", theirs.config.max_position_embeddings)
    options.setdefault("bf16", next(theirs.parameters()).is_cuda and libraries.bf16())
    with trainer_of(
        "SFT", theirs, _dataset(rows), per_device_train_batch_size=rows_per_step, learning_rate=lr,
        max_steps=steps or -1, num_train_epochs=1, warmup_steps=warm_up,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        max_grad_norm=clip, weight_decay=decay, seed=seed,
        train_sampling_strategy="random" if shuffle else "sequential", **options,
    ) as trainer:  # fmt: skip
        trainer.train()
        losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    if theirs is not model:
        model.load_gpt2(theirs.state_dict())
    return losses


def short_run(model: Any, conversations: Sequence[Messages], tokenizer: Any, folder: str) -> Any:
    """LoRA on conversations with the two libraries and nothing else; the trainer, trained."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=folder,
            assistant_only_loss=True,
            max_length=128,
            per_device_train_batch_size=8,
            learning_rate=2e-3,
            max_steps=4,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list([{"messages": talk} for talk in conversations]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True),
    )
    trainer.train()
    return trainer


def defaults(*names: str, kind: str = "SFT") -> dict[str, Any]:
    """What LoraConfig and a config of TRL do unless told otherwise, by setting.

    `kind`: "SFT", "DPO", "GRPO" or "Reward".
    """
    found = {}
    for config in (library("peft").LoraConfig, getattr(library("trl"), f"{kind}Config")):
        for field in (f for f in fields(config) if f.name in names):
            made = field.default is MISSING and field.default_factory is not MISSING
            found[field.name] = field.default_factory() if made else field.default
    return {name: found[name] for name in names}
