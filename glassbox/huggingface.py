"""The same fine-tuning in TRL and PEFT: the only module of the course that uses the two libraries.

Lab 6 compares with    `sft_labels` (which tokens count), `sft_loss` (also packed), `train_sft`
Lab 7 compares with    `lora_output` (one layer), `lora` and `trainable` (a whole model)
Chapter 4's page uses all of them, shows `short_run` and prints `defaults`.
Scales M and L use     `load` (also in 4 bits), `rows`, `lora`, `train_sft`, `replies`

A row is `(ids, mask)`, as `glassbox.assistant.render` makes it: token ids, and 1 for those that are
trained. Models are ours (`GPT`, which becomes a GPT-2 of transformers with the same weights) or
the library's. Libraries are imported inside the functions; `missing` says in a sentence what is
not installed, and nothing in a lab that is graded needs it. No evaluation, no hub uploads, and no
settings beyond the few that the labs turn.
"""

import copy
import importlib
import re
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glassbox.models import GPT, IGNORED, RECIPE
from glassbox.parts import GPTConfig

Row = tuple[Sequence[int], Sequence[int]]
Messages = list[dict[str, str]]

TESTED = {"transformers": "5.23.0", "trl": "1.16.0", "peft": "0.21.2", "bitsandbytes": None}
"""The versions that our tests compare with; bitsandbytes needs a GPU and is not among them."""

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Our chat template in the language of transformers; what lies in `generation` is trained."""


# --- the libraries -----------------------------------------------------------------------------


def missing(*names: str) -> str:
    """One sentence that says which of these libraries to install and how; empty if none is."""
    absent = [name for name in names or ("transformers", "trl", "peft") if not find_spec(name)]
    if not absent:
        return ""
    pins = " ".join(f"{name}=={TESTED[name]}" if TESTED.get(name) else name for name in absent)
    return f"This part needs {' and '.join(absent)}, not installed here. Type: pip install {pins}"


def _library(name: str) -> Any:
    """The library, quiet; ImportError with one sentence where it is missing or does not load."""
    if why := missing(name):
        raise ImportError(why)
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


# --- models and tokenizers ---------------------------------------------------------------------


@torch.no_grad()
def to_gpt2(model: GPT) -> Any:
    """A GPT-2 of transformers that computes what `model` computes: the weights are copied.

    GPT-2 has biases everywhere; those that ours lacks are zero, and frozen so that they stay so.
    """
    config = model.config
    if config.n_kv_heads not in (None, config.n_heads):
        raise ValueError("GPT-2 has as many key heads as query heads; this model has fewer.")
    transformers = _library("transformers")
    theirs = transformers.GPT2LMHeadModel(transformers.GPT2Config(
        n_layer=config.n_layers, n_embd=config.d_model, n_head=config.n_heads,
        n_inner=config.d_ff, vocab_size=config.vocab_size, n_positions=config.context_len,
        activation_function="gelu_new" if config.gelu == "tanh" else "gelu",
        attn_pdrop=config.dropout, resid_pdrop=config.dropout, embd_pdrop=config.dropout,
        tie_word_embeddings=config.tied, bos_token_id=None, eos_token_id=None,
    ))  # fmt: skip
    body = theirs.transformer
    pairs = [(model.token, body.wte), (model.position, body.wpe), (model.norm, body.ln_f)]
    for ours, block in zip(model.blocks, body.h, strict=True):
        pairs += [(ours.norm1, block.ln_1), (ours.norm2, block.ln_2),
                  (ours.qkv, block.attn.c_attn), (ours.out, block.attn.c_proj),
                  (ours.ff_in, block.mlp.c_fc), (ours.ff_out, block.mlp.c_proj)]  # fmt: skip
    if not config.tied:
        pairs.append((model.head, theirs.lm_head))
    for source, target in pairs:
        crosswise = isinstance(source, nn.Linear) and target is not theirs.lm_head  # Conv1D
        target.weight.copy_(source.weight.T if crosswise else source.weight)
        if getattr(source, "bias", None) is not None:
            target.bias.copy_(source.bias)
        elif getattr(target, "bias", None) is not None:
            target.bias.zero_().requires_grad_(False)
    return theirs.to(model.token.weight.device).train(model.training)


def to_llama(config: GPTConfig = RECIPE, seed: int = 0) -> Any:
    """An untrained Llama of transformers of these sizes; random, since our GPT is no Llama."""
    transformers = _library("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(
            num_hidden_layers=config.n_layers, hidden_size=config.d_model,
            num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads,
            intermediate_size=config.d_ff or 4 * config.d_model, vocab_size=config.vocab_size,
            max_position_embeddings=config.context_len, tie_word_embeddings=config.tied,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        ))  # fmt: skip


def _theirs(model: Any) -> Any:
    """A model of transformers: ours is converted."""
    return to_gpt2(model) if isinstance(model, GPT) else model


def to_tokenizer(ours: Any = None) -> Any:
    """The tokenizer of transformers that cuts as ours does (default: the shipped one's), with our
    template; `ours` is a `Tokenizer` or an encoding of tiktoken with the same special tokens.

    tiktoken keeps tokens by rank; the library wants pairs to merge. Every cut of a token into two
    tokens is such a pair, and they are tried in the order of the token's rank: the same rule.
    Plain text gets a <|bos|> in front, as Llama's tokenizers add it; the template writes its own.
    """
    encoding = getattr(ours or _shipped_tokenizer(), "_bpe", ours)
    bos, end, pad = "<|bos|>", "<|end|>", "<|pad|>"
    transformers, hf = _library("transformers"), importlib.import_module("tokenizers")
    ranks = sorted(
        (encoding.encode_single_token(token), token) for token in encoding.token_byte_values()
    )
    letters = _byte_letters()
    written = {token: "".join(letters[byte] for byte in token) for _, token in ranks}
    pairs = [
        (written[token[:i]], written[token[i:]])
        for _, token in ranks
        for i in range(1, len(token))
        if token[:i] in written and token[i:] in written
    ]
    vocab = {written[token]: rank for rank, token in ranks}
    core = hf.Tokenizer(hf.models.BPE(vocab, pairs, ignore_merges=True))
    split = hf.pre_tokenizers.Split(hf.Regex(encoding._pat_str), behavior="isolated")
    as_bytes = hf.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    core.pre_tokenizer = hf.pre_tokenizers.Sequence([split, as_bytes])
    core.decoder = hf.decoders.ByteLevel()
    special = sorted(encoding.special_tokens_set, key=encoding.encode_single_token)
    core.add_special_tokens([hf.AddedToken(name, normalized=False) for name in special])
    for name in special:
        if core.token_to_id(name) != encoding.encode_single_token(name):
            raise ValueError(f"{name} would get another id: special ids must follow the ranks.")
    core.post_processor = hf.processors.TemplateProcessing(
        single=f"{bos} $A", special_tokens=[(bos, core.token_to_id(bos))]
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=end, pad_token=pad,
        chat_template=TEMPLATE, clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _shipped_tokenizer() -> Any:
    from glassbox.tokenizer import tokenizer

    return tokenizer()


def _byte_letters() -> dict[int, str]:
    """A printable letter for every byte, as GPT-2's vocabulary files write them."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {byte: chr(byte) for byte in plain} | {b: chr(256 + i) for i, b in enumerate(others)}


# --- TRL ---------------------------------------------------------------------------------------


@contextmanager
def _trainer(model: Any, dataset: list[dict], tokenizer: Any = None, **options: Any) -> Iterator:
    """TRL's SFTTrainer on these rows, quiet, offline, on the device where the model lies.

    The trainer puts a `forward` of its own into the model; afterwards the model is as before.
    """
    trl, datasets = _library("trl"), importlib.import_module("datasets")
    from transformers import PrinterCallback

    datasets.disable_progress_bars()
    settings = {
        "use_cpu": next(model.parameters()).device.type == "cpu", "bf16": False,
        "activation_checkpointing": False, "report_to": "none", "save_strategy": "no",
        "disable_tqdm": True, "logging_steps": 1, "max_length": None, "seed": 0,
    } | options  # fmt: skip
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = trl.SFTTrainer(
            model=model, args=trl.SFTConfig(folder, **settings),
            train_dataset=datasets.Dataset.from_list(dataset),
            processing_class=tokenizer or _pads_only(),
        )  # fmt: skip
        trainer.remove_callback(PrinterCallback)
        try:
            yield trainer
        finally:
            vars(model).pop("forward", None)
            if hasattr(model, "get_base_model"):
                vars(model.get_base_model()).pop("forward", None)


def _bf16() -> bool:
    """Whether the GPU computes in bfloat16 by itself; older ones only pretend to."""
    return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)


def _pads_only() -> Any:
    """A tokenizer for rows that are ids already: it knows how to pad, with id 0."""
    hf = importlib.import_module("tokenizers")
    core = hf.Tokenizer(hf.models.WordLevel({"<pad>": 0}, unk_token="<pad>"))
    return _library("transformers").PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="<pad>"
    )


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
    with _trainer(tiny, data, tokenizer, assistant_only_loss=True) as trainer:
        row = trainer.train_dataset[0]
    return torch.tensor(row["input_ids"]), torch.tensor(row["labels"])


def sft_loss(model: Any, rows: Sequence[Row], packing: str | None = None,
             context_len: int = 128) -> Tensor:  # fmt: skip
    """The loss of all rows as one batch, as TRL computes it: a scalar with a gradient.

    `packing`: "bfd" lays whole rows side by side, each seeing itself alone; "wrapped" cuts one
    long string of tokens into rows of `context_len`, where everything sees what is before it.
    """
    model = _theirs(model)
    options = {"max_length": context_len, "packing": True, "packing_strategy": packing}
    with _trainer(model, _dataset(rows), **(options if packing else {})) as trainer:
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
    theirs = _theirs(model)
    options.setdefault("max_length", theirs.config.max_position_embeddings)
    options.setdefault("bf16", next(theirs.parameters()).is_cuda and _bf16())
    with _trainer(
        theirs, _dataset(rows), per_device_train_batch_size=rows_per_step, learning_rate=lr,
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


# --- PEFT --------------------------------------------------------------------------------------


def lora(model: nn.Module, targets: Sequence[str] | str, rank: int, alpha: float,
         dropout: float = 0.0) -> Any:  # fmt: skip
    """PEFT's LoRA put into `model` (ours, transformers', any): everything else is frozen.

    `targets`: the last parts of layer names, ("qkv",) in our GPT, ("c_attn",) in GPT-2,
    ("q_proj", "v_proj") in a Llama; "all-linear" takes all but the head. GPT-2's Conv1D, whose
    weight lies the other way round, is recognised.
    """
    peft = _library("peft")
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
    return _library("peft").PeftModel.get_nb_trainable_parameters(model)


# --- what one types ----------------------------------------------------------------------------


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


def defaults(*names: str) -> dict[str, Any]:
    """What SFTConfig and LoraConfig do unless told otherwise, by setting."""
    found = {}
    for config in (_library("peft").LoraConfig, _library("trl").SFTConfig):
        found |= {f.name: f.default for f in fields(config) if f.name in names}
    return {name: found[name] for name in names}


# --- scales M and L ----------------------------------------------------------------------------


def load(name: str, quantized: bool = False) -> tuple[Any, Any]:
    """A model and its tokenizer from a folder, or by its name on the Hugging Face Hub.

    For example "HuggingFaceTB/SmolLM2-135M"; on the first GPU if there is one, in 32 bits.
    `quantized` keeps the weights in 4 bits (NF4, double quantisation), which needs a GPU and
    bitsandbytes. Errors say what is missing and what to type.
    """
    transformers = _library("transformers")
    gpu = torch.cuda.is_available()
    if quantized and not gpu:
        raise RuntimeError("4-bit weights need a CUDA GPU, and torch sees none: leave quantized "
                           "out, or work in 16 bits.")  # fmt: skip
    if quantized and (why := missing("bitsandbytes")):
        raise ImportError(why)
    options: dict[str, Any] = {"dtype": torch.float32, "device_map": {"": 0} if gpu else "cpu"}
    if quantized:
        options["quantization_config"] = transformers.BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if _bf16() else torch.float16,
        )  # fmt: skip
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(name)
        model = transformers.AutoModelForCausalLM.from_pretrained(name, **options)
    except OSError as error:
        raise FileNotFoundError(
            f"{name!r} could not be loaded: it is no model folder here, was not downloaded before, "
            f"and did not come from the Hugging Face Hub. With a network type: "
            f"hf download {name} --local-dir {Path(name).name}   and give that folder's name. "
            f"({type(error).__name__}: {str(error).splitlines()[0]})"
        ) from None
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token  # TRL masks what is padded by its place
    return model, tokenizer


def rows(conversations: Sequence[Messages], tokenizer: Any) -> list[Row]:
    """Conversations -> rows by the tokenizer's template, or by a plain one if it has none.

    Where the template does not mark what is generated, an answer is what comes on top of the row
    that ends in the assistant's mark.
    """
    tokenizer.chat_template = tokenizer.chat_template or _plain_template(tokenizer)
    if not re.search(r"\{%-?\s*generation\s*-?%\}", tokenizer.chat_template):
        return [_row_by_turns(messages, tokenizer) for messages in conversations]
    made = [
        tokenizer.apply_chat_template(messages, return_dict=True, return_assistant_tokens_mask=True)
        for messages in conversations
    ]
    return [(list(row["input_ids"]), list(row["assistant_masks"])) for row in made]


def _row_by_turns(messages: Messages, tokenizer: Any) -> Row:
    """A row whose mask comes from rendering the conversation up to each answer, and with it."""

    def written(n: int, ask: bool = False) -> list[int]:
        part = tokenizer.apply_chat_template(messages[:n], add_generation_prompt=ask)["input_ids"]
        if part != whole[: len(part)]:
            raise ValueError(
                "This template writes the beginning of a conversation otherwise when it goes on, "
                "so an answer's place is unclear. Give it generation marks."
            )
        return part

    whole = list(tokenizer.apply_chat_template(messages)["input_ids"])
    trained = [0] * len(whole)
    for n, message in enumerate(messages):
        if message["role"] == "assistant":
            begin, end = len(written(n, ask=True)), len(written(n + 1))
            trained[begin:end] = [1] * (end - begin)
    return whole, trained


def _plain_template(tokenizer: Any) -> str:
    """Roles in words, answers ended by the tokenizer's own end; for models that have no template.

    A line break before each content keeps it apart: no token reaches over the border.
    """
    start = "{{ bos_token }}" if tokenizer.bos_token else ""
    return (
        start + "{% for m in messages %}{{ m['role'] + ':\n' }}{% if m['role'] == 'assistant' %}"
        "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
        "{% else %}{{ m['content'] + '\n' }}{% endif %}{% endfor %}"
        "{% if add_generation_prompt %}{{ 'assistant:\n' }}{% endif %}"
    )


@torch.inference_mode()
def replies(model: Any, tokenizer: Any, conversations: Sequence[Messages], n_new: int = 64,
            at_once: int = 16) -> list[tuple[str, bool]]:  # fmt: skip
    """The likeliest answer to each conversation, and whether it ended by itself."""
    answers = []
    model.eval()
    for start in range(0, len(conversations), at_once):
        batch = tokenizer.apply_chat_template(
            list(conversations[start : start + at_once]), add_generation_prompt=True, padding=True,
            return_dict=True, return_tensors="pt", tokenizer_kwargs={"padding_side": "left"},
        ).to(model.device)  # fmt: skip
        found = model.generate(**batch, max_new_tokens=n_new, do_sample=False,
                               eos_token_id=tokenizer.eos_token_id,
                               pad_token_id=tokenizer.pad_token_id)  # fmt: skip
        for new in found[:, batch["input_ids"].shape[1] :].tolist():
            ended = tokenizer.eos_token_id in new
            new = new[: new.index(tokenizer.eos_token_id)] if ended else new
            answers.append((tokenizer.decode(new, skip_special_tokens=True), ended))
    return answers
