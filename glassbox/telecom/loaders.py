"""Texts from elsewhere, as the same iterator of strings: public sets and files of your own.

Both go through the library `datasets` in streaming mode, so nothing is kept on disk and the first
text comes before the last is read. Public sets need a network; the generator does not.
"""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

PUBLIC: dict[str, tuple[str, str | None]] = {
    "fineweb-edu": ("HuggingFaceFW/fineweb-edu", "sample-10BT"),
    "tinystories": ("roneneldan/TinyStories", None),
    "wikitext": ("Salesforce/wikitext", "wikitext-103-raw-v1"),
}
BUILDERS = {".txt": "text", ".jsonl": "json", ".parquet": "parquet"}


def public(name: str, split: str = "train") -> Iterator[str]:
    """Texts of "fineweb-edu", "tinystories" or "wikitext", streamed from the Hugging Face Hub.

    Raises ValueError for another name, ImportError without `datasets`, ConnectionError when the
    Hub cannot be reached; each says what to do.
    """
    if name not in PUBLIC:
        raise ValueError(f"There is no set {name!r} here; the names are {', '.join(PUBLIC)}.")
    load_dataset = _library()
    path, config = PUBLIC[name]
    try:
        rows = iter(load_dataset(path, config, split=split, streaming=True))
        first = next(rows)
    except (OSError, RuntimeError, ValueError) as reason:
        raise ConnectionError(
            f"The set {name} could not be loaded ({type(reason).__name__}): connect this machine "
            "to the internet and unset HF_HUB_OFFLINE, or use glassbox.telecom.documents(), "
            "which works offline."
        ) from None
    return _texts(chain([first], rows))


def local(path: str | Path) -> Iterator[str]:
    """Texts of a file: .txt (documents between blank lines), .jsonl or .parquet (column "text").

    Raises FileNotFoundError, ValueError for another ending or no such column, ImportError without
    `datasets`.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"There is no file {file}.")
    if file.suffix not in BUILDERS:
        raise ValueError(f"{file.name} does not end in one of {', '.join(BUILDERS)}.")
    options: dict[str, Any] = {"sample_by": "paragraph"} if file.suffix == ".txt" else {}
    rows = _library()(
        BUILDERS[file.suffix], data_files=str(file), split="train", streaming=True, **options
    )
    rows = iter(rows)
    first = next(rows, None)
    if first is not None and not isinstance(first.get("text"), str):
        raise ValueError(f"{file.name} has no column named text that holds strings.")
    return _texts(rows if first is None else chain([first], rows))


def _texts(rows: Iterable[dict[str, Any]]) -> Iterator[str]:
    """The texts of the rows; rows without any are left out, as WikiText has many."""
    return (row["text"] for row in rows if row["text"] and not row["text"].isspace())


def _library() -> Any:
    """`datasets.load_dataset`, imported only when it is needed."""
    try:
        from datasets import load_dataset
    except ImportError:
        raise ImportError(
            "Reading data sets needs: pip install datasets; documents() works without."
        ) from None
    return load_dataset
