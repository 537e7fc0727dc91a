"""Byte-pair merges learned on a corpus of any size: lab 4's algorithm with whole arrays.

    merges = learn(texts, vocab_size=1024)       # the same merges as the lab's loop, in its order

Two things make it fast. Words between single spaces are counted first and cut into pieces once for
each different word. And a merge looks only at the words that hold its pair: the counts of their
pairs are taken off, the pair is merged in all of them at once, the new counts are put on. Ties go
to the smaller pair, by ids. No special tokens; encoding is tiktoken's business.
"""

import heapq
import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import regex
from numpy.typing import NDArray

GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
Ints = NDArray[np.int64]
SHIFT = 1 << 32


def pieces(texts: Iterable[str], pattern: str = GPT2) -> Counter[str]:
    """How often each piece of the pattern occurs; texts are cut each by itself.

    A space with no other white space beside it is a boundary that GPT-2's pattern always respects,
    so each different word is cut once. Texts with other spaces are cut as they are.
    """
    first: Counter[str] = Counter()
    later: Counter[str] = Counter()
    found: Counter[str] = Counter()
    cut = regex.compile(pattern).findall
    odd = re.compile(r" \s|\s ").search
    for text in texts:
        if odd(text):
            found.update(cut(text))
            continue
        words = text.split(" ")
        first[words[0]] += 1
        later.update(words[1:])
    for start, words in (("", first), (" ", later)):
        for word, n in words.items():
            for piece in cut(start + word):
                found[piece] += n
    return found


def learn(
    texts: Iterable[str], vocab_size: int, pattern: str = GPT2
) -> list[tuple[bytes, bytes]]:  # fmt: skip
    """The merges that bring 256 bytes to `vocab_size` tokens, or fewer if no pair is left."""
    table = _Table(pieces(texts, pattern))
    tokens, merges = [bytes([b]) for b in range(256)], []
    while len(tokens) < vocab_size and (pair := table.best()):
        table.merge(*pair, len(tokens))
        merges.append((tokens[pair[0]], tokens[pair[1]]))
        tokens.append(b"".join(merges[-1]))
    return merges


class _Table:
    """All pieces one after another: the ids, the piece each id belongs to, the pairs' counts."""

    def __init__(self, counts: Counter[str]) -> None:
        parts = [piece.encode() for piece in counts]
        self.ids = np.frombuffer(b"".join(parts), dtype=np.uint8).astype(np.int32)
        self.piece = np.repeat(np.arange(len(parts), dtype=np.int32), list(map(len, parts)))
        self.times = np.fromiter(counts.values(), dtype=np.int64, count=len(parts))
        self.counts: dict[int, int] = {}
        self.heap: list[tuple[int, int]] = []  # (-count, pair); an entry may be out of date
        self._change(*_pairs(self.ids, self.piece, self.times))

    def best(self) -> tuple[int, int] | None:
        """The pair that occurs most often, among equals the smallest; None if there is none."""
        while self.heap:
            minus, pair = self.heap[0]
            if self.counts.get(pair, 0) == -minus:
                return divmod(pair, SHIFT)
            heapq.heappop(self.heap)
        return None

    def merge(self, a: int, b: int, new: int) -> None:
        """Make the pair one token in every piece, from left to right."""
        hit = (self.ids[:-1] == a) & (self.ids[1:] == b) & (self.piece[:-1] == self.piece[1:])
        at = np.flatnonzero(hit)
        if a == b:  # of three in a row the first two
            run = np.flatnonzero(np.diff(at, prepend=-2) > 1)
            at = at[(np.arange(len(at)) - np.repeat(run, np.diff(run, append=len(at)))) % 2 == 0]
        touched = np.zeros(len(self.times), dtype=bool)
        touched[self.piece[at]] = True
        inside = touched[self.piece]
        old = _pairs(self.ids[inside], self.piece[inside], self.times)
        stays = np.ones(len(self.ids), dtype=bool)
        stays[at + 1] = False
        self.ids[at] = new
        self.ids, self.piece, inside = self.ids[stays], self.piece[stays], inside[stays]
        pairs, times = _pairs(self.ids[inside], self.piece[inside], self.times)
        self._change(np.concatenate([old[0], pairs]), np.concatenate([-old[1], times]))

    def _change(self, pairs: Ints, times: Ints) -> None:
        """Add to the counts."""
        unique, place = np.unique(pairs, return_inverse=True)
        added = np.bincount(place, times, len(unique)).astype(np.int64)
        for pair, more in zip(unique[added != 0].tolist(), added[added != 0].tolist(), strict=True):
            n = self.counts.get(pair, 0) + more
            if n:
                self.counts[pair] = n
                heapq.heappush(self.heap, (-n, pair))
            else:
                del self.counts[pair]


def _pairs(ids: NDArray, piece: NDArray, times: Ints) -> tuple[Ints, Ints]:
    """The neighbours within a piece, each as one number, and how often their piece occurs."""
    same = piece[:-1] == piece[1:]
    return ids[:-1][same].astype(np.int64) * SHIFT + ids[1:][same], times[piece[:-1][same]]
