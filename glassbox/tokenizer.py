"""The course's tokenizer: 1,024 byte-pair tokens over the telecom text, run by tiktoken.

256 bytes, 762 merges learned on `telecom.questions.base_text`, and six special tokens that only a
program can put into a sequence: `encode` reads "<|end|>" in a customer's text as text. How merges
are learned is lab 4; how these were is `book/experiments/base_recipe.py`.
"""

import json
import zlib
from functools import cache
from pathlib import Path

import tiktoken

FILE = Path(__file__).parent / "weights" / "tokenizer.json"
SPECIAL = ("<|bos|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|pad|>")


class Tokenizer:
    """Text to ids and back; made from a file with the pattern and the learned tokens in order."""

    def __init__(self, file: Path = FILE) -> None:
        text = file.read_text(encoding="utf-8")
        saved = json.loads(text)
        self.name = f"glassbox-{zlib.crc32(text.encode()):08x}"  # tells one from another
        tokens = [bytes([b]) for b in range(256)]
        self.learned: list[str] = saved["tokens"]  # in order; a letter stands for a byte
        tokens += [token.encode("latin-1") for token in self.learned]
        self.special = {name: len(tokens) + i for i, name in enumerate(SPECIAL)}
        self.vocab_size = len(tokens) + len(SPECIAL)
        self._bpe = tiktoken.Encoding(
            self.name, pat_str=saved["pattern"], special_tokens=self.special,
            mergeable_ranks={token: i for i, token in enumerate(tokens)},
        )  # fmt: skip
        self.bos_id, self.end_id, self.pad_id = (
            self.special[f"<|{name}|>"] for name in ("bos", "end", "pad")
        )

    def encode(self, text: str) -> list[int]:
        """The ids of a text; never a special one, whatever the text says."""
        return self._bpe.encode_ordinary(text)

    def decode(self, ids: list[int]) -> str:
        """The text of ids; special tokens show by name, bytes that are no character as U+FFFD."""
        return self._bpe.decode(ids)

    def bytes(self, ids: list[int]) -> bytes:
        """What the ids stand for; one token may be a part of a character."""
        return self._bpe.decode_bytes(ids)


@cache
def tokenizer() -> Tokenizer:
    """The one that is shipped."""
    return Tokenizer()
