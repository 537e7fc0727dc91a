"""Words and word n-grams of many texts at once, as 64-bit numbers in whole arrays.

A text becomes code points, a word a polynomial of its code points, an n-gram a polynomial of its
words, all modulo 2^64. Sums from the left make each of them a difference of two entries, so no
Python runs per word. The numbers are the same in every process and on every machine. Words are
what `re.findall(r"\\w+", text.lower())` finds. Whoever wants two words with one number finds them.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Hashes = NDArray[np.uint64]
BLOCK = 1 << 18  # characters that are held as arrays at a time
LETTER, WORD = 0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F  # odd: the golden ratio's, one of xxHash's


class Grams(NamedTuple):
    """The n-grams of some texts: those of text i are `hashes[bounds[i]:bounds[i + 1]]`."""

    hashes: Hashes
    bounds: NDArray[np.int64]


@cache
def _is_word() -> NDArray[np.bool_]:
    r"""Which of the 1,114,112 code points `\w` matches."""
    return np.array([chr(i).isalnum() for i in range(0x110000)]) | (np.arange(0x110000) == 95)


@cache
def _powers(n: int) -> Hashes:
    """(2, n + 1): the powers 0 to n of the base for letters, and their inverses."""
    powers = np.ones((2, n + 1), dtype=np.uint64)
    powers[0, 1:], powers[1, 1:] = LETTER, pow(LETTER, -1, 1 << 64)
    return np.multiply.accumulate(powers, axis=1)


def mixed(hashes: Hashes) -> Hashes:
    """Each number's bits spread over all 64 (the last step of MurmurHash3); one to one."""
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(factor)
    return hashes ^ (hashes >> np.uint64(33))


def words(texts: Sequence[str]) -> Grams:
    """The words of each text, in order."""
    low = [text.lower() for text in texts]
    lengths = np.fromiter(map(len, low), np.int64, len(low)) + 1
    codes = np.frombuffer("\n".join([*low, ""]).encode("utf-32-le", "surrogatepass"), np.uint32)
    n = len(codes)
    inside = np.zeros(n + 1, dtype=np.bool_)
    inside[1:] = _is_word()[codes]
    edges = np.flatnonzero(inside[1:] != inside[:-1])  # a word begins, ends, begins, ends
    begins, ends = edges[::2], edges[1::2]
    powers, inverse = _powers(max(BLOCK, 1 << n.bit_length()))
    sums = np.zeros(n + 1, dtype=np.uint64)
    np.cumsum((codes + np.uint64(1)) * powers[:n], out=sums[1:])
    hashes = (sums[ends] - sums[begins]) * inverse[begins]  # the same wherever the word stands
    starts = np.concatenate([[0], np.cumsum(lengths)])
    return Grams(mixed(hashes), np.searchsorted(begins, starts))


def grams(texts: Sequence[str], n: int) -> Grams:
    """The word n-grams of each text; one of all its words where it has fewer than n."""
    each, bounds = words(texts)
    counts = np.diff(bounds)
    before = np.arange(len(texts)) * n  # n zeros after each text: a window may reach over its end
    places = np.arange(len(each)) + np.repeat(before, counts)
    padded = np.zeros(len(each) + len(texts) * n + n, dtype=np.uint64)
    padded[places] = each
    size = len(padded) - n
    total = np.zeros(size + 1, dtype=np.uint64)
    for k in range(n):
        total += padded[k : k + size + 1] * np.uint64(pow(WORD, k, 1 << 64))
    windows = np.maximum(counts - n + 1, 1)
    ends = np.concatenate([[0], np.cumsum(windows)])
    first = bounds[:-1] + before
    where = np.arange(ends[-1]) + np.repeat(first - ends[:-1], windows)
    return Grams(mixed(total[where]), ends)


def blocks(texts: Iterable[str], size: int = BLOCK) -> Iterator[list[str]]:
    """The texts in lists of about `size` characters; a longer text comes alone."""
    block, held = [], 0
    for text in chain(texts, [None]):
        if block and (text is None or held + len(text) > size):
            yield block
            block, held = [], 0
        if text is not None:
            block.append(text)
            held += len(text) + 1
