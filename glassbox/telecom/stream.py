"""Documents by number, as a stream, as one string, and as a file of any size.

Document `number` of a seed is made from (seed, number) alone, so a stream can begin anywhere, be
dealt out to several processes, and be taken up again after a break without making what came before.
"""

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from random import Random

from tqdm.auto import tqdm

from glassbox.telecom.dialogue import dialogue
from glassbox.telecom.prose import policy, spec
from glassbox.telecom.reports import syslog, ticket

MAKERS: dict[str, Callable[[Callable[[], float]], tuple[str, str, str]]] = {
    "dialogue": dialogue, "ticket": ticket, "syslog": syslog, "policy": policy, "spec": spec,
}  # fmt: skip
KINDS: tuple[str, ...] = tuple(MAKERS)
"""The kinds of document."""
SEPARATOR = "\n\n"  # no document holds a blank line
BLOCK = 4_000_000  # bytes of UTF-8 between two entries of the journal


@dataclass(frozen=True, slots=True)
class Record:
    """A document and what is known about it: `topic` is the intent of a dialogue or ticket."""

    kind: str
    topic: str
    language: str  # "en", or the language that is mixed into English
    text: str


def record(seed: int, number: int, kinds: Sequence[str] = KINDS) -> Record:
    """Document `number` (0, 1, ...) of a seed, made without making those before it.

    `kinds` is drawn from with equal chances. Raises ValueError for a negative seed or number, or a
    kind that is none of `KINDS`.
    """
    _check(seed, kinds)
    if not isinstance(number, int) or number < 0:
        raise ValueError(f"number is {number!r}; it must be a whole number of at least 0.")
    return _record(seed, number, kinds)


def document(seed: int, number: int, kinds: Sequence[str] = KINDS) -> str:
    """The text of `record(seed, number, kinds)`."""
    return record(seed, number, kinds).text


def documents(
    seed: int = 0, kinds: Sequence[str] = KINDS, *, start: int = 0, step: int = 1
) -> Iterator[str]:
    """An endless stream of documents; same seed and kinds, same text on any machine and Python.

    `start` and `step` deal the stream out: worker i of n takes `start=i, step=n`. Raises ValueError
    as `record` does.
    """
    record(seed, start, kinds)  # wrong arguments are told here, not at the first document
    return (_record(seed, number, kinds).text for number in count(start, step))


def corpus(n_bytes: int, seed: int = 0, kinds: Sequence[str] = KINDS) -> str:
    """Whole documents joined by blank lines, as many as fit into `n_bytes` of UTF-8.

    Raises ValueError if the first document alone is longer. For more than some 100 MB use `write`.
    """
    _check(seed, kinds, n_bytes)
    return b"".join(data for _, data in _pieces(n_bytes, seed, kinds)).decode()


def write(
    path: str | Path,
    n_bytes: int,
    seed: int = 0,
    kinds: Sequence[str] = KINDS,
    *,
    progress: bool = True,
) -> int:
    """Write `corpus(n_bytes, seed, kinds)` to a file piece by piece; returns the bytes written.

    The file appears, or replaces an older one, only when it is complete. Until then the text is in
    `path.part`, and what has been written in `path.journal`; after an interruption the same call
    goes on from there, and the result is the same to the byte. A part that was cut or damaged is
    used as far as it is right. Memory does not grow with `n_bytes`. Raises ValueError as `corpus`
    does and OSError if the disk is full.
    """
    path = Path(path)
    part, journal = (path.with_name(path.name + ending) for ending in (".part", ".journal"))
    _check(seed, kinds, n_bytes)
    settings = _settings(seed, kinds)
    steps = _resume(part, journal, settings, n_bytes)
    number, done, check = steps[-1] if steps else (0, 0, 0)
    if shutil.disk_usage(path.parent).free < n_bytes - done:
        raise OSError(errno.ENOSPC, f"{path.parent} has less than {n_bytes - done} bytes free; "
                      "choose another folder or a smaller n_bytes", str(path))  # fmt: skip
    with (
        part.open("r+b" if done else "wb") as out,
        journal.open("w", encoding="ascii") as log,
        tqdm(total=n_bytes, initial=done, unit="B", unit_scale=True, disable=not progress) as bar,
    ):
        out.truncate(done)
        out.seek(done)
        log.write(settings + "".join(f"{a} {b} {c}\n" for a, b, c in steps))
        for after, data in _pieces(n_bytes, seed, kinds, number, done):
            out.write(data)
            out.flush()
            done, check = done + len(data), zlib.crc32(data, check)
            log.write(f"{after} {done} {check}\n")
            log.flush()
            bar.update(len(data))
    os.replace(part, path)
    journal.unlink()
    return done


def _record(seed: int, number: int, kinds: Sequence[str]) -> Record:
    draw = Random((seed << 64) | number).random
    kind = kinds[int(draw() * len(kinds))]
    return Record(kind, *MAKERS[kind](draw))


def _pieces(
    n_bytes: int, seed: int, kinds: Sequence[str], start: int = 0, done: int = 0
) -> Iterator[tuple[int, bytes]]:
    """The corpus from document `start` on, in blocks, each with the number that comes next.

    `done` bytes come before; every block but the first begins with a separator.
    """
    parts: list[bytes] = []
    size = 0
    for number, text in enumerate(documents(seed, kinds, start=start), start):
        data = text.encode() if done + size == 0 else (SEPARATOR + text).encode()
        if done + size + len(data) > n_bytes:
            break
        parts.append(data)
        size += len(data)
        if size >= BLOCK:
            yield number + 1, b"".join(parts)
            done, size, parts = done + size, 0, []
    if parts:
        yield number, b"".join(parts)


Step = tuple[int, int, int]  # the next document, the bytes before it, their checksum


def _settings(seed: int, kinds: Sequence[str]) -> str:
    """First line of a journal: what the text depends on, the generator's version included."""
    sample = "".join(_record(seed, number, kinds).text for number in range(50))
    return json.dumps([seed, list(kinds), zlib.crc32(sample.encode())]) + "\n"


def _resume(part: Path, journal: Path, settings: str, n_bytes: int) -> list[Step]:
    """The steps of the journal as far as the part agrees with them."""
    steps: list[Step] = []
    if not (part.exists() and journal.exists()):
        return steps
    with part.open("rb") as text, journal.open(encoding="ascii", errors="replace") as log:
        if log.readline() != settings:
            return steps
        end = check = 0
        for line in log:
            if not re.fullmatch(r"\d+ \d+ \d+\n", line):
                break
            number, wanted, claimed = map(int, line.split())
            check = zlib.crc32(text.read(wanted - end), check)
            if check != claimed or not end < text.tell() == wanted <= n_bytes:
                break
            end = wanted
            steps.append((number, end, check))
    return steps


def _check(seed: int, kinds: Sequence[str], n_bytes: int | None = None) -> None:
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise ValueError(f"seed is {seed!r}; it must be a whole number of at least 0.")
    if isinstance(kinds, str) or not kinds or any(kind not in MAKERS for kind in kinds):
        raise ValueError(f"kinds is {kinds!r}; give a list with some of {', '.join(KINDS)}.")
    if n_bytes is not None and n_bytes < (first := len(_record(seed, 0, kinds).text.encode())):
        raise ValueError(f"n_bytes is {n_bytes}; the first document alone has {first} bytes.")
