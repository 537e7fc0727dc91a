"""The libraries: what is missing, how they are loaded, and one trainer of TRL at a time."""

import importlib
import os
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

TESTED = {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "bitsandbytes": None}
"""The versions that our tests compare with; bitsandbytes needs a GPU and is not among them."""


def missing(*names: str) -> str:
    """One sentence that says which of these libraries to install and how; empty if none is."""
    absent = [name for name in names or ("transformers", "trl", "peft") if not find_spec(name)]
    if not absent:
        return ""
    pins = " ".join(f"{name}=={TESTED[name]}" if TESTED.get(name) else name for name in absent)
    return f"This part needs {' and '.join(absent)}, not installed here. Type: pip install {pins}"


def library(name: str) -> Any:
    """The library, quiet; ImportError with one sentence where it is missing or does not load."""
    if why := missing(name):
        raise ImportError(why)
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # TRL reports the use of its trainers
    try:
        module = importlib.import_module(name)
        quiet = importlib.import_module("transformers.utils.logging")
    except ImportError as error:
        raise ImportError(
            f"{name} is installed but does not load ({error}). Type: "
            f"pip install {name}=={TESTED[name]}"
        ) from None
    quiet.set_verbosity_error()
    quiet.disable_progress_bar()
    return module


@contextmanager
def trainer_of(
    kind: str, model: Any, dataset: Sequence[dict], tokenizer: Any = None,
    others: dict[str, Any] | None = None, **options: Any,
) -> Iterator:  # fmt: skip
    """A trainer of TRL ("SFT", "DPO", "Reward", "GRPO") on these rows, quiet, offline, in place.

    It runs where the model lies. `options` are those of its config, `others` go to the trainer
    itself. Trainers put a `forward` of their own into models, switch dropout off and may add an
    adapter; afterwards the models are as before.
    """
    trl, datasets = library("trl"), importlib.import_module("datasets")
    from transformers import PrinterCallback

    datasets.disable_progress_bars()
    others = others or {}
    settings = {
        "use_cpu": next(model.parameters()).device.type == "cpu", "bf16": False,
        "activation_checkpointing": False, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "seed": 0,
        **({} if kind == "GRPO" else {"max_length": None}),
    } | options  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        warnings.catch_warnings(),
        _put_back(model, others.get("ref_model")),
    ):
        warnings.simplefilter("ignore")
        trainer = getattr(trl, f"{kind}Trainer")(
            model=model, args=getattr(trl, f"{kind}Config")(folder, **settings),
            train_dataset=datasets.Dataset.from_list(list(dataset)),
            processing_class=tokenizer or _pads_only(), **others,
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        yield trainer


@contextmanager
def _put_back(*models: Any) -> Iterator[None]:
    """Afterwards the models have their own `forward`, mode, dropout and adapters again."""
    known = [model for model in models if model is not None]
    rates = [(part, part.p) for model in known for part in model.modules()
             if isinstance(part, nn.Dropout)]  # fmt: skip
    before = [(model.training, set(getattr(model, "peft_config", ()))) for model in known]
    try:
        yield
    finally:
        for part, rate in rates:
            part.p = rate
        for model, (mode, adapters) in zip(known, before, strict=True):
            for name in set(getattr(model, "peft_config", ())) - adapters:
                model.delete_adapter(name)
            model.train(mode)
            vars(model).pop("forward", None)
            if hasattr(model, "get_base_model"):
                vars(model.get_base_model()).pop("forward", None)


def bf16() -> bool:
    """Whether the GPU computes in bfloat16 by itself; older ones only pretend to."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _pads_only() -> Any:
    """A tokenizer for rows that are ids already: it knows how to pad, with id 0."""
    hf = importlib.import_module("tokenizers")
    core = hf.Tokenizer(hf.models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return library("transformers").PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<pad>"
    )
