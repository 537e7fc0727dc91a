"""LoRA as PEFT does it: one layer, a whole model, its count."""

import copy
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from glassbox.huggingface.libraries import library


def lora(model: nn.Module, targets: Sequence[str] | str, rank: int, alpha: float,
         dropout: float = 0.0) -> Any:  # fmt: skip
    """PEFT's LoRA put into `model` (ours, transformers', any): everything else is frozen.

    `targets`: the last parts of layer names, ("qkv",) in our GPT, ("c_attn",) in GPT-2,
    ("q_proj", "v_proj") in a Llama; "all-linear" takes all but the head. GPT-2's Conv1D, whose
    weight lies the other way round, is recognised.
    """
    peft = library("peft")
    from transformers import PreTrainedModel
    from transformers.pytorch_utils import Conv1D

    if getattr(model, "is_loaded_in_4bit", False):  # norms in 32 bits, activations made again
        model = peft.prepare_model_for_kbit_training(model)
    config = peft.LoraConfig(
        r=rank, lora_alpha=alpha, lora_dropout=dropout,
        target_modules=targets if isinstance(targets, str) else list(targets),
        fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
        task_type="CAUSAL_LM" if isinstance(model, PreTrainedModel) else None,
    )  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return peft.get_peft_model(model, config)


def lora_output(layer: nn.Module, A: Tensor, B: Tensor, alpha: float, x: Tensor,
                merged: bool = False) -> Tensor:  # fmt: skip
    """(..., C_in) -> (..., C_out): what PEFT's layer around `layer` gives with these A and B.

    A is (r, C_in) and B is (C_out, r). `merged`: after PEFT has added the product to the weight.
    """
    holder = nn.ModuleDict({"layer": copy.deepcopy(layer)})
    wrapped = lora(holder, ("layer",), rank=len(A), alpha=alpha).base_model.model["layer"]
    with torch.no_grad():
        wrapped.lora_A["default"].weight.copy_(A)
        wrapped.lora_B["default"].weight.copy_(B)
    if merged:
        wrapped.merge()
    return wrapped(x)


def trainable(model: nn.Module) -> tuple[int, int]:
    """(trainable, all) parameters of any model as PEFT counts them, adapters among all."""
    return library("peft").PeftModel.get_nb_trainable_parameters(model)
