"""Documents by number, as a stream, as one string, and as a file of any size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from glassbox.telecom.dialogue import dialogue

MAKERS = {"dialogue": dialogue, "ticket": dialogue, "syslog": dialogue, "policy": dialogue,
          "spec": dialogue}  # fmt: skip
KINDS: tuple[str, ...] = tuple(MAKERS)
SEPARATOR = "\n\n"


@dataclass(frozen=True, slots=True)
class Record:
    """A document and what is known about it."""

    kind: str
    topic: str
    language: str
    text: str


def record(seed: int, number: int, kinds: Sequence[str] = KINDS) -> Record:
    """Document `number` (0, 1, ...) of a seed, made without making those before it."""
    _check(seed, kinds)
    return _record(seed, number, kinds)


def _record(seed: int, number: int, kinds: Sequence[str]) -> Record:
    draw = Random((seed << 64) | number).random
    kind = kinds[int(draw() * len(kinds))]
    return Record(kind, *MAKERS[kind](draw))


def document(seed: int, number: int, kinds: Sequence[str] = KINDS) -> str:
    """The text of `record(seed, number, kinds)`."""
    return record(seed, number, kinds).text


def documents(
    seed: int = 0, kinds: Sequence[str] = KINDS, *, start: int = 0, step: int = 1
) -> Iterator[str]:
    """An endless stream of documents; same seed and kinds, same text on any machine."""
    _check(seed, kinds)
    return (_record(seed, number, kinds).text for number in count(start, step))


def corpus(n_bytes: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> str:
    """Documents joined by blank lines, as many as fit into `n_bytes` of UTF-8."""
    parts: list[str] = []
    size = -len(SEPARATOR)
    for text in documents(seed, kinds):
        size += len(text.encode()) + len(SEPARATOR)
        if size > n_bytes:
            break
        parts.append(text)
    if not parts:
        raise ValueError(f"n_bytes is {n_bytes}; the first document alone needs {size}.")
    return SEPARATOR.join(parts)


def write(path: str | Path, n_bytes: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> int:
    """Write `corpus(n_bytes, seed, kinds)` to a file; returns the bytes written."""
    text = corpus(n_bytes, seed, kinds).encode()
    Path(path).write_bytes(text)
    return len(text)


def _check(seed: int, kinds: Sequence[str]) -> None:
    if not isinstance(seed, int) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number of at least 0.")
    if isinstance(kinds, str) or not kinds or any(kind not in MAKERS for kind in kinds):
        raise ValueError(f"kinds is {kinds!r}; give a list with some of {', '.join(KINDS)}.")
