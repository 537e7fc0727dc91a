"""Save and load the course's models, and read GPT-2 checkpoints of the transformers library.

`save` writes one safetensors file that holds weights, sizes and facts; `load` makes the model
again. A GPT-2 checkpoint is a folder with `config.json` and `model.safetensors`, and perhaps
`tokenizer.json`; or the name of one on the Hugging Face Hub, which is downloaded once and kept. Its
weights come with the names they were saved under: giving them to a model is an exercise of lab 2.
Pickled weights (`pytorch_model.bin`) are not read, since reading them can run code.
"""

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from glassbox.parts import GPTConfig

if TYPE_CHECKING:
    from glassbox.models import GPT

FILES = ("config.json", "model.safetensors", "tokenizer.json")

FORMAT = "glassbox-gpt-1"


# --- the course's own --------------------------------------------------------------------------


def save(model: "GPT", path: str | Path, **facts: object) -> Path:
    """Write the model's weights and sizes to one file, whole or not at all; returns its path.

    A bare name such as "assistant" is a file in `usual_place()`. `facts` is what else the file
    should say, such as `made_by="lab06_sft"`; `about` reads it back.
    """
    from safetensors.torch import save as packed

    path = place(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = {
        name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()
    }
    if model.config.tied:
        del state["head.weight"]  # the same numbers as the token table
    unknown = set(state) - set(_plain(model.config).state_dict())
    if unknown:
        raise ValueError(f"The model has {len(unknown)} weights that a plain GPT has not, such as "
                         f"{min(unknown)}; merge adapters before saving.")  # fmt: skip
    words = {"format": FORMAT, "config": json.dumps(asdict(model.config)),
             "facts": json.dumps(facts), "tokenizer": json.dumps(_reads(model.config))}  # fmt: skip
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        fresh.write_bytes(packed(state, words))
        os.replace(fresh, path)
    finally:
        fresh.unlink(missing_ok=True)
    return path


def load(path: str | Path) -> "GPT":
    """The model of a file that `save` wrote, in 32-bit precision, ready to answer.

    Raises FileNotFoundError or ValueError, which say what to do.
    """
    from safetensors.torch import load_file

    path = place(path)
    words = about(path)
    model = _plain(GPTConfig(**words["config"]))
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    if model.config.tied:
        state["head.weight"] = state["token.weight"]
    model.load_state_dict(state, assign=True)
    if model.config.tied:
        model.token.weight = model.head.weight
    return model.eval()


def about(path: str | Path) -> dict[str, Any]:
    """The "config", "facts" and "tokenizer" of a saved file, without reading its weights."""
    from safetensors import SafetensorError, safe_open

    path = place(path)
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Save a model there with "
                                "checkpoints.save, or check the path.")  # fmt: skip
    try:
        with safe_open(path, "pt") as file:
            words = file.metadata() or {}
    except SafetensorError:
        raise ValueError(f"{path} is damaged or no safetensors file; save the model again with "
                         "checkpoints.save.") from None  # fmt: skip
    if words.get("format") != FORMAT:
        raise ValueError(f"{path} was not written by checkpoints.save, so its sizes are unknown. "
                         "Load it with what wrote it, then save it here.")  # fmt: skip
    return {name: json.loads(words.get(name, "null")) for name in ("config", "facts", "tokenizer")}


def usual_place() -> Path:
    """Where saved models lie: $GLASSBOX_HOME, by default the folder glassbox in the home folder."""
    return Path(os.environ.get("GLASSBOX_HOME") or Path.home() / "glassbox")


def place(path: str | Path) -> Path:
    """The file that a path means: "assistant" is in the usual place, "a.safetensors" is here."""
    path = Path(path)
    if path.suffix == ".safetensors":
        return path
    folder = usual_place() if path.parent == Path() else path.parent
    return folder / f"{path.name}.safetensors"


def newest() -> Path | None:
    """The file saved last, of those in this folder and in the usual place that `save` wrote."""
    files = [f for at in (Path(), usual_place()) for f in at.glob("[!.]*.safetensors")]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True):
        try:
            about(file)
        except ValueError:  # of another program
            continue
        return file
    return None


def _reads(config: GPTConfig) -> str | None:
    """The name of the course's tokenizer, if the model can be one for it."""
    from glassbox.tokenizer import tokenizer

    return tokenizer().name if config.vocab_size == tokenizer().vocab_size else None


def _plain(config: GPTConfig) -> "GPT":
    """A model whose weights are yet to be given: none are drawn, so chance is left as it was."""
    import torch

    from glassbox.models import GPT  # which reads GPT-2 by this module

    with torch.device("meta"):
        return GPT(config)


# --- GPT-2 -------------------------------------------------------------------------------------


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
