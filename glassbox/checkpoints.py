"""Read GPT-2 checkpoints in the file format of the transformers library.

A checkpoint is a folder with `config.json` and `model.safetensors`, and perhaps `tokenizer.json`;
or the name of one on the Hugging Face Hub, which is downloaded once and kept. Weights come with the
names they were saved under: giving them to a model is an exercise of lab 2. Pickled weights
(`pytorch_model.bin`) are not read, since reading them can run code.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from glassbox.parts import GPTConfig

FILES = ("config.json", "model.safetensors", "tokenizer.json")


@dataclass(frozen=True)
class Checkpoint:
    """A saved GPT-2: its sizes, its weights, and how text becomes ids and back."""

    source: str
    config: GPTConfig
    state: dict[str, Tensor]
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]


def read_gpt2(source: str | Path) -> Checkpoint:
    """Read a folder, or a model on the Hub such as "openai-community/gpt2".

    Raises FileNotFoundError where there is neither, ImportError where a package is missing, and
    ValueError for another architecture; each says what to do.
    """
    folder = Path(source)
    if not folder.is_dir():
        folder = _download(str(source))
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ImportError("Reading a checkpoint needs: pip install safetensors") from None
    for name in FILES[:2]:
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder} holds no {name}; it is no checkpoint we can read.")
    sizes = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if sizes.get("model_type") != "gpt2":
        raise ValueError(f"{source} is a {sizes.get('model_type')} model; this reads GPT-2.")
    encode, decode = _tokenizer(folder / "tokenizer.json")
    return Checkpoint(str(source), _config(sizes), load_file(folder / "model.safetensors"),
                      encode, decode)  # fmt: skip


def _config(sizes: dict) -> GPTConfig:
    """Our names for the sizes; ValueError where the model computes otherwise than GPT-2 does."""
    if sizes.get("activation_function", "gelu_new") != "gelu_new":
        raise ValueError(f"The activation is {sizes['activation_function']}, not GPT-2's gelu_new.")
    if abs(sizes.get("layer_norm_epsilon", 1e-5) - 1e-5) > 1e-12:
        raise ValueError(f"The norms have eps {sizes['layer_norm_epsilon']}; ours have 1e-5.")
    return GPTConfig(
        n_layers=sizes["n_layer"], d_model=sizes["n_embd"], n_heads=sizes["n_head"],
        d_ff=sizes.get("n_inner"), vocab_size=sizes["vocab_size"],
        context_len=sizes["n_positions"], tied=sizes.get("tie_word_embeddings", True),
    )  # fmt: skip


def _download(name: str) -> Path:
    help = (f"{name!r} is no folder here and could not be had from the Hugging Face Hub. Copy the "
            "folder beside the notebook, or check the name and the network.")  # fmt: skip
    if name.count("/") != 1 or name.startswith(("data/", ".", "/")):
        raise FileNotFoundError(help)
    try:
        from huggingface_hub import snapshot_download
    except ImportError:
        raise ImportError("Downloading a model needs: pip install huggingface_hub") from None
    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:  # the library has a family of them, and requests' come through too
        raise FileNotFoundError(f"{help} ({type(error).__name__})") from None


def _tokenizer(file: Path) -> tuple[Callable[[str], list[int]], Callable[[list[int]], str]]:
    """The tokenizer in a file; without one, ids are the bytes of the text."""
    if not file.exists():
        return (lambda text: list(text.encode()),
                lambda ids: bytes(ids).decode(errors="replace"))  # fmt: skip
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise ImportError("This checkpoint's tokenizer needs: pip install tokenizers") from None
    tokenizer = Tokenizer.from_file(str(file))
    return lambda text: tokenizer.encode(text).ids, tokenizer.decode
