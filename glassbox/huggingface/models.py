"""Our models and tokenizers in transformers, and its own from a folder or the Hub."""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from glassbox.huggingface import libraries
from glassbox.huggingface.libraries import library, missing
from glassbox.models import GPT, RECIPE
from glassbox.parts import GPTConfig

Row = tuple[Sequence[int], Sequence[int]]
Messages = list[dict[str, str]]

TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{{ '<|' + m['role'] + '|>' }}"
    "{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)
"""Our chat template in the language of transformers; what lies in `generation` is trained."""


# --- ours, in transformers ---------------------------------------------------------------------


@torch.no_grad()
def to_gpt2(model: GPT) -> Any:
    """A GPT-2 of transformers that computes what `model` computes: the weights are copied.

    GPT-2 has biases everywhere; those that ours lacks are zero, and frozen so that they stay so.
    """
    config = model.config
    if config.n_kv_heads not in (None, config.n_heads):
        raise ValueError("GPT-2 has as many key heads as query heads; this model has fewer.")
    transformers = library("transformers")
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
    transformers = library("transformers")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return transformers.LlamaForCausalLM(transformers.LlamaConfig(
            num_hidden_layers=config.n_layers, hidden_size=config.d_model,
            num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads,
            intermediate_size=config.d_ff or 4 * config.d_model, vocab_size=config.vocab_size,
            max_position_embeddings=config.context_len, tie_word_embeddings=config.tied,
            bos_token_id=None, eos_token_id=None, pad_token_id=None,
        ))  # fmt: skip


def theirs_of(model: Any) -> Any:
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
    transformers, hf = library("transformers"), importlib.import_module("tokenizers")
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


# --- theirs: scales M and L --------------------------------------------------------------------


def load(name: str, quantized: bool = False) -> tuple[Any, Any]:
    """A model and its tokenizer from a folder, or by its name on the Hugging Face Hub.

    For example "HuggingFaceTB/SmolLM2-135M"; on the first GPU if there is one, in 32 bits.
    `quantized` keeps the weights in 4 bits (NF4, double quantisation), which needs a GPU and
    bitsandbytes. Errors say what is missing and what to type.
    """
    transformers = library("transformers")
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
            bnb_4bit_compute_dtype=torch.bfloat16 if libraries.bf16() else torch.float16,
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
