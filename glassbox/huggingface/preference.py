"""Preference optimisation as TRL does it: losses of given numbers and of models, training, data.

A pair is a dict of messages, "prompt", "chosen" and "rejected", as TRL takes it and as
`preference_pairs` reads it, or a `glassbox.preference.Pair`. For a loss of numbers TRL's trainer
gets a stand-in instead of a model, which answers with these numbers whatever it is asked: the
formula is all TRL's, in the precision of the numbers. From models TRL takes log-probabilities in
32 bits.
"""

import copy
import importlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import takewhile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from glassbox.huggingface import libraries
from glassbox.huggingface.libraries import library, trainer_of
from glassbox.huggingface.models import Messages, theirs_of, to_llama
from glassbox.parts import GPTConfig
from glassbox.telecom.questions import messages

TINY = GPTConfig(n_layers=1, d_model=8, n_heads=1, vocab_size=8, context_len=8)
TEXTS = {"prompt": "a", "chosen": "b", "rejected": "c"}  # a trainer wants some data to begin with


# --- losses ------------------------------------------------------------------------------------


def dpo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor,
    beta: float = 0.1, kind: str | Sequence[str] = "sigmoid",
    lengths: tuple[Tensor, Tensor] | None = None, **options: Any,
) -> Tensor:  # fmt: skip
    """TRL's loss of pairs with these summed log-probabilities: four times (B,) -> scalar.

    `kind`: a loss of TRL ("sigmoid" is DPO, also "ipo", "hinge", "robust", ...), or several, which
    are added. `lengths`: how many tokens the chosen and the rejected answers have, (B,) each, for
    losses that ask; by default one. `options` are DPOConfig's, such as `label_smoothing`, which
    "sigmoid" does not heed.
    """
    n_tokens = torch.cat(lengths).long() if lengths else torch.ones(2 * len(chosen)).long()
    columns = torch.arange(int(n_tokens.max()) + 1)  # the first is the prompt
    mask = ((columns > 0) & (columns <= n_tokens[:, None])).long()
    batch = {"input_ids": mask, "attention_mask": torch.ones_like(mask), "completion_mask": mask}
    tiny, other = to_llama(TINY), to_llama(TINY)
    with _dpo_trainer(tiny, other, beta, kind, **options) as trainer:
        fixed = torch.cat([ref_chosen, ref_rejected]).detach()  # as the numbers of a model would be
        trainer.ref_model = _saying(fixed, len(columns) - 1)
        policy = _saying(torch.cat([chosen, rejected]), len(columns) - 1)
        return trainer._compute_loss(policy, batch, return_outputs=False)


def ipo_loss(
    chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor,
    beta: float = 0.1, lengths: tuple[Tensor, Tensor] | None = None,
) -> Tensor:  # fmt: skip
    """TRL's IPO loss of pairs with these summed log-probabilities: four times (B,) -> scalar.

    TRL divides each log-ratio by the number of tokens, `lengths` as in `dpo_loss`. Without them
    every answer counts as one token, and this is the loss on sums that lab 8 asks for.
    """
    return dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta, "ipo", lengths)


def dpo_model_loss(policy: Any, reference: Any, batch: Mapping[str, Tensor], beta: float = 0.1,
                   kind: str | Sequence[str] = "sigmoid", **options: Any) -> Tensor:  # fmt: skip
    """TRL's loss of a batch of pairs under two models: a scalar with a gradient.

    `batch`: "chosen_ids", "chosen_mask", "rejected_ids" and "rejected_mask", (B, T) each, as
    `glassbox.preference.pair_batch` makes them: the mask marks the answer's own tokens.
    """
    policy, reference = theirs_of(policy), theirs_of(reference)
    with _dpo_trainer(policy, reference, beta, kind, **options) as trainer:
        return trainer._compute_loss(policy, _stacked(batch), return_outputs=False)


def reward_loss(chosen: Tensor, rejected: Tensor, margin: float = 0.0) -> Tensor:
    """TRL's loss of a reward model that gives these scores: twice (B,) -> scalar."""
    scores = torch.cat([chosen, rejected])[:, None]
    row = {"chosen_ids": [1], "rejected_ids": [2]}
    with trainer_of("Reward", _tiny_scorer(), [row]) as trainer:
        trainer.model.eval()
        return trainer.compute_loss(lambda **_: SimpleNamespace(logits=scores),
                                    {"margin": torch.full_like(chosen, margin)})  # fmt: skip


@contextmanager
def _dpo_trainer(policy: Any, reference: Any, beta: float, kind: str | Sequence[str],
                 **options: Any) -> Iterator:  # fmt: skip
    """A DPOTrainer that is never run; its losses are asked for one by one."""
    kinds = [kind] if isinstance(kind, str) else list(kind)
    with trainer_of("DPO", policy, [TEXTS], others={"ref_model": reference},
                    beta=beta, loss_type=kinds, **options) as trainer:  # fmt: skip
        policy.eval()
        yield trainer


def _saying(totals: Tensor, n_tokens: int) -> Callable[..., SimpleNamespace]:
    """A stand-in for a model: (N,) sums as (N, n_tokens) log-probabilities, all in the first."""
    said = F.pad(totals[:, None], (0, n_tokens - 1))
    nothing = torch.zeros_like(said)  # what TRL reports beside the loss
    outputs = SimpleNamespace(log_probs=said, entropy=nothing, mean_logits=nothing,
                              is_top1=nothing.bool())  # fmt: skip
    return lambda **_: outputs


def _stacked(batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """TRL's batch: all chosen rows, then all rejected ones, padded on the right to one width."""
    width = max(batch["chosen_ids"].shape[1], batch["rejected_ids"].shape[1])

    def both(what: str) -> Tensor:
        sides = [batch[f"{side}_{what}"].long() for side in ("chosen", "rejected")]
        return torch.cat([F.pad(x, (0, width - x.shape[1])) for x in sides])

    ids, mask = both("ids"), both("mask")
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids), "completion_mask": mask}


def _tiny_scorer() -> Any:
    transformers = library("transformers")
    return transformers.LlamaForSequenceClassification(transformers.LlamaConfig(
        num_hidden_layers=1, hidden_size=8, num_attention_heads=1, intermediate_size=8,
        vocab_size=8, max_position_embeddings=8, num_labels=1,
        bos_token_id=None, eos_token_id=None, pad_token_id=0,
    ))  # fmt: skip


# --- training ----------------------------------------------------------------------------------


def train_dpo(
    model: Any, pairs: Sequence[Any], tokenizer: Any, reference: Any = None,
    rows_per_step: int = 16, lr: float = 5e-5, steps: int | None = None, warm_up: int = 0,
    schedule: str = "constant", beta: float = 0.1, kind: str | Sequence[str] = "sigmoid",
    clip: float = 1.0, decay: float = 0.0, shuffle: bool = False, seed: int = 0, **options: Any,
) -> list[dict[str, float]]:  # fmt: skip
    """Train `model` in place on pairs with TRL's DPOTrainer; what it measured before every step.

    Keys: "loss"; "margin", its parts "chosen" and "rejected" (log-ratios, times beta); "accuracy",
    where a tie counts as wrong, so that a fresh policy has 0. `tokenizer` is transformers', for a
    `GPT` that of `to_tokenizer`. The reference is `reference`, or the model as it was; with an
    adapter (`lora`) that takes no second model. Order, schedule, `options` (here DPOConfig's) and
    place as in `train_sft`. An answer that does not fit into the context loses its end.
    """
    theirs = theirs_of(model)
    if reference is None and not hasattr(theirs, "get_base_model"):
        reference = copy.deepcopy(theirs)
    options.setdefault("max_length", theirs.config.max_position_embeddings)
    options.setdefault("bf16", next(theirs.parameters()).is_cuda and libraries.bf16())
    with trainer_of(
        "DPO", theirs, [_as_dict(pair) for pair in pairs], tokenizer,
        {"ref_model": theirs_of(reference)}, per_device_train_batch_size=rows_per_step,
        learning_rate=lr, max_steps=steps or -1, num_train_epochs=1, warmup_steps=warm_up,
        lr_scheduler_type="constant_with_warmup" if schedule == "constant" else schedule,
        beta=beta, loss_type=[kind] if isinstance(kind, str) else list(kind),
        max_grad_norm=clip, weight_decay=decay, seed=seed,
        train_sampling_strategy="random" if shuffle else "sequential", **options,
    ) as trainer:  # fmt: skip
        trainer.train()
        log = [entry for entry in trainer.state.log_history if "loss" in entry]
    if theirs is not model:
        model.load_gpt2(theirs.state_dict())
    names = {"loss": "loss", "margin": "rewards/margins", "accuracy": "rewards/accuracies",
             "chosen": "rewards/chosen", "rejected": "rewards/rejected"}  # fmt: skip
    return [{ours: entry[name] for ours, name in names.items()} for entry in log]


def _as_dict(pair: Any) -> dict[str, Messages]:
    if isinstance(pair, Mapping):
        return {side: list(pair[side]) for side in ("prompt", "chosen", "rejected")}
    said = {side: [{"role": "assistant", "content": getattr(pair, side)}]
            for side in ("chosen", "rejected")}  # fmt: skip
    return {"prompt": messages(pair.question)[:-1]} | said


def short_dpo(model: Any, pairs: Sequence[dict[str, Messages]], tokenizer: Any,
              folder: str) -> Any:  # fmt: skip
    """DPO of an adapter with the two libraries and nothing else; the trainer, trained."""
    from datasets import Dataset
    from peft import LoraConfig
    from trl import DPOConfig, DPOTrainer

    trainer = DPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=folder,
            beta=0.1,
            max_length=128,
            per_device_train_batch_size=16,
            learning_rate=2e-3,
            max_steps=4,
            logging_steps=1,
            use_cpu=True,
            bf16=False,
            activation_checkpointing=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=Dataset.from_list(pairs),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=8, lora_alpha=16, target_modules=["c_attn"], fan_in_fan_out=True),
    )
    trainer.train()
    return trainer


# --- public sets -------------------------------------------------------------------------------


def preference_pairs(name: str, split: str = "train",
                     n: int | None = None) -> list[dict[str, Messages]]:  # fmt: skip
    """The first `n` pairs (default: all) of a preference set, in the form of `train_dpo`.

    `name`: a set on the Hugging Face Hub, such as "HuggingFaceH4/ultrafeedback_binarized" with
    the split "train_prefs", "trl-lib/ultrafeedback_binarized" or "Anthropic/hh-rlhf"; a folder
    with such a set, downloaded; or a file, .jsonl or .parquet. Rows that hold no preference are
    left out: the same answer twice, an empty answer, or equal scores.
    """
    kept = []
    for row in _rows_of(name, split):
        pair = _pair(row)
        if pair is not None:
            kept.append(pair)
        if n is not None and len(kept) == n:
            break
    if not kept:
        raise ValueError(f"{name!r}, split {split!r}: no row holds a prompt and a preference.")
    return kept


def _rows_of(name: str, split: str) -> Iterator[dict[str, Any]]:
    """The rows one after another, nothing kept on disk."""
    if why := libraries.missing("datasets"):
        raise ImportError(why)
    load_dataset, path = importlib.import_module("datasets").load_dataset, Path(name)
    kinds = {".jsonl": "json", ".json": "json", ".parquet": "parquet"}
    try:
        if path.is_file() and path.suffix in kinds:
            files = {"data_files": {split: str(path)}}
            yield from load_dataset(kinds[path.suffix], **files, split=split, streaming=True)
        else:
            yield from load_dataset(name, split=split, streaming=True)
    except OSError as error:
        raise FileNotFoundError(
            f"{name!r} could not be loaded: it is no file or folder here and did not come from the "
            f"Hugging Face Hub. With a network type: hf download {name} --repo-type dataset "
            f"--local-dir {path.name}   and give that folder's name. "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None


def _pair(row: Mapping[str, Any]) -> dict[str, Messages] | None:
    """A row of a public set as messages, or None where nothing is preferred.

    The two sides are whole dialogues or answers alone, as messages or as text; what both begin
    with is the prompt.
    """
    if not {"chosen", "rejected"} <= row.keys():
        raise ValueError(f"No preference set: a row has {', '.join(row)}, and needs chosen and "
                         "rejected.")  # fmt: skip
    scores = row.get("score_chosen"), row.get("score_rejected")
    if scores[0] is not None and scores[0] == scores[1]:
        return None
    chosen, rejected = _talk(row["chosen"]), _talk(row["rejected"])
    same = takewhile(lambda two: two[0] == two[1], zip(chosen, rejected, strict=False))
    n_shared = len(list(same))
    prompt = chosen[:n_shared]
    if isinstance(row.get("prompt"), list | str) and not prompt:  # answers alone
        asked = row["prompt"]
        prompt = _talk(asked) if isinstance(asked, list) else [{"role": "user", "content": asked}]
    sides = {"chosen": chosen[n_shared:], "rejected": rejected[n_shared:]}
    if prompt and all(_one_answer(said) for said in sides.values()):
        return {"prompt": prompt} | sides
    return None


def _one_answer(said: Messages) -> bool:
    return len(said) == 1 and said[0]["role"] == "assistant" and bool(said[0]["content"].strip())


def _talk(side: Any) -> Messages:
    """A side of a row as messages: they are there, or text with speakers' names, or an answer."""
    if not isinstance(side, str):
        return [{"role": m["role"], "content": m["content"] or ""} for m in side]
    turns = re.split(r"\n\n(Human|Assistant):", side)
    if len(turns) == 1:
        return [{"role": "assistant", "content": side}]
    roles = {"Human": "user", "Assistant": "assistant"}
    return [{"role": roles[who], "content": text.strip()}
            for who, text in zip(turns[1::2], turns[2::2], strict=True)]  # fmt: skip
