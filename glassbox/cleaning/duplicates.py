"""Near duplicates among many documents: MinHash, bands, a true Jaccard for each candidate, groups.

    ids = duplicates(texts, threshold=0.7)       # ids[i] is the first document like document i
    kept = [text for i, text in enumerate(texts) if ids[i] == i]

Whole arrays at a time, in blocks. What stays in memory for a document are 4 bytes per band and 4
per shingle (`memory`), never its text. A shingle is n words, lower case; a text with fewer words is
one shingle. Bands only propose: two documents count as alike if the Jaccard similarity of their
shingles, as 32-bit hashes, reaches the threshold. Alike is made transitive. In a bucket of the same
band each document meets the REACH after it, so that a bucket of millions stays affordable. False
candidates grow with the square of the documents: a million want bands of six hashes or more.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from multiprocessing import get_context
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from glassbox.cleaning.hashing import BLOCK, blocks, grams, mixed

Ints = NDArray[np.int64]
Small = NDArray[np.uint32]
REACH = 64
PAIRS = 1 << 12  # candidates that are verified at a time


class Sketches(NamedTuple):
    """What stays of documents: band keys (N, bands), sorted shingles in one row, their bounds."""

    keys: Small
    shingles: Small
    bounds: Ints


def duplicates(
    texts: Iterable[str], threshold: float = 0.7, n: int = 5, n_hashes: int = 128,
    bands: int = 16, seed: int = 0, workers: int = 1,
) -> list[int]:  # fmt: skip
    """For each document the number of the first one in its group of near duplicates."""
    kept = sketches(texts, n, n_hashes, bands, seed, workers)
    return groups(kept, threshold).tolist()


def memory(n_shingles: float, bands: int = 16) -> float:
    """Bytes that stay for a document with so many different shingles: keys, shingles, two numbers.

    On top come a fixed amount for the blocks and, while one band is sorted, 20 bytes a document.
    """
    return 4 * bands + 4 * n_shingles + 16


def signatures(
    texts: Sequence[str], n: int = 5, n_hashes: int = 128, seed: int = 0
) -> NDArray[np.uint32]:
    """MinHash of each text, (N, n_hashes): the share of equal entries estimates the Jaccard."""
    shingles, bounds = grams(texts, n)
    return _minima((shingles >> np.uint64(32)).astype(np.uint32), bounds, n_hashes, seed)


def sketches(
    texts: Iterable[str], n: int = 5, n_hashes: int = 128, bands: int = 16, seed: int = 0,
    workers: int = 1,
) -> Sketches:  # fmt: skip
    """What `groups` needs to know of the documents; the texts may be a stream."""
    if n_hashes % bands:
        raise ValueError(f"{n_hashes} hashes do not divide into {bands} bands.")
    sketch = partial(_sketch, n=n, n_hashes=n_hashes, bands=bands, seed=seed)
    keys, shingles = _Growing(np.uint32), _Growing(np.uint32)
    counts: list[Ints] = [np.zeros(1, dtype=np.int64)]
    for block_keys, block_shingles, block_counts in _mapped(sketch, blocks(texts, BLOCK), workers):
        keys.add(block_keys.ravel())
        shingles.add(block_shingles)
        counts.append(block_counts)
    bounds = np.cumsum(np.concatenate(counts))
    return Sketches(keys.all().reshape(-1, bands), shingles.all(), bounds)


def groups(kept: Sketches, threshold: float) -> Ints:
    """The first document of each document's group, from verified candidates."""
    return groups_by_key(kept.keys, lambda a, b: jaccard(kept, a, b) >= threshold - 1e-9)


def groups_by_key(keys: Small, alike: Callable[[Ints, Ints], NDArray[np.bool_]]) -> Ints:
    """The same from band keys (N, bands) alone; `alike(a, b)` judges candidates a[i] and b[i]."""
    group = np.arange(len(keys))
    for band in range(keys.shape[1]):
        order = np.argsort(keys[:, band], kind="stable")
        key = keys[order, band]
        for step in range(1, min(REACH + 1, len(key))):
            at = np.flatnonzero(key[step:] == key[:-step])
            if not len(at):
                break
            left, right = order[at], order[at + step]
            new = group[left] != group[right]
            left, right = left[new], right[new]
            for i in range(0, len(left), PAIRS):
                a, b = left[i : i + PAIRS], right[i : i + PAIRS]
                yes = alike(a, b)
                group = _joined(group, a[yes], b[yes])
    return group


def band_keys(minima: NDArray, bands: int, seed: int = 0) -> Small:
    """Signatures (N, n_hashes) -> a number for each band (N, bands); equal bands, equal numbers."""
    if minima.shape[1] % bands:
        raise ValueError(f"{minima.shape[1]} hashes do not divide into {bands} bands.")
    parts = minima.astype(np.uint64).reshape(len(minima), bands, -1)
    factors = np.random.default_rng([seed, 1]).integers(1 << 63, size=parts.shape[2]) * 2 + 1
    return (mixed((parts * factors.astype(np.uint64)).sum(2)) >> np.uint64(32)).astype(np.uint32)


def merged(n: int, left: Ints, right: Ints) -> Ints:
    """The groups of 0, ..., n - 1 if left[i] and right[i] are alike: the least number of each."""
    return _joined(np.arange(n), left, right)


def jaccard(kept: Sketches, left: Ints, right: Ints) -> NDArray[np.float64]:
    """The similarity of document left[i] and document right[i], from their shingles."""
    bounds, pair = kept.bounds, np.arange(len(left), dtype=np.uint64) << np.uint64(32)
    sizes = [bounds[side + 1] - bounds[side] for side in (left, right)]
    tagged = np.concatenate(
        [
            kept.shingles[_ranges(bounds[side], size)] | np.repeat(pair, size)
            for side, size in zip((left, right), sizes, strict=True)
        ]
    )
    tagged.sort()
    twice = tagged[1:][tagged[1:] == tagged[:-1]] >> np.uint64(32)
    both = np.bincount(twice.astype(np.int64), minlength=len(left))
    return both / (sizes[0] + sizes[1] - both)


# --- inside --------------------------------------------------------------------------------------


class _Growing:
    """An array that grows at its end in place, so that memory never holds it twice."""

    def __init__(self, dtype: type) -> None:
        self.data, self.n = np.empty(0, dtype=dtype), 0

    def add(self, more: NDArray) -> None:
        if self.n + len(more) > len(self.data):
            self.data.resize((self.n + len(more)) * 9 // 8, refcheck=False)
        self.data[self.n : self.n + len(more)] = more
        self.n += len(more)

    def all(self) -> NDArray:
        self.data.resize(self.n, refcheck=False)
        return self.data


def _sketch(
    texts: Sequence[str], n: int, n_hashes: int, bands: int, seed: int
) -> tuple[Small, Small, Ints]:
    """Band keys, shingles and how many shingles, for the texts of one block."""
    hashes, bounds = grams(texts, n)
    number = np.repeat(np.arange(len(texts), dtype=np.uint64), np.diff(bounds))
    unique = (hashes >> np.uint64(32)) | (number << np.uint64(32))
    unique.sort()
    unique = unique[np.concatenate([[True], unique[1:] != unique[:-1]])]
    bounds = np.searchsorted(unique, np.arange(len(texts) + 1, dtype=np.uint64) << np.uint64(32))
    shingles = unique.astype(np.uint32)
    keys = band_keys(_minima(shingles, bounds, n_hashes, seed), bands, seed)
    return keys, shingles, np.diff(bounds)


def _minima(shingles: Small, bounds: Ints, n_hashes: int, seed: int) -> Small:
    """(N, n_hashes): for a x + b modulo 2^32, a odd, the least value over a document's shingles."""
    draw = np.random.default_rng(seed).integers(1 << 32, size=(2, n_hashes, 1), dtype=np.uint32)
    least = np.empty((n_hashes, len(bounds) - 1), dtype=np.uint32)
    for h, (a, b) in enumerate(zip(draw[0] | np.uint32(1), draw[1], strict=True)):
        np.minimum.reduceat(shingles * a + b, bounds[:-1], out=least[h])
    return least.T


def _ranges(starts: Ints, sizes: Ints) -> Ints:
    """starts[0], starts[0] + 1, ..., sizes[0] of them, then those of starts[1], and so on."""
    ends = np.cumsum(sizes)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(starts - ends + sizes, sizes)


def _joined(group: Ints, left: Ints, right: Ints) -> Ints:
    """The groups after left[i] and right[i] are one; a group is named by its least number."""
    while len(apart := np.flatnonzero(group[left] != group[right])):
        left, right = left[apart], right[apart]
        low = np.minimum(group[left], group[right])
        np.minimum.at(group, np.concatenate([group[left], group[right]]), np.tile(low, 2))
        while not np.array_equal(group, higher := group[group]):
            group = higher
    return group


def _mapped(function: partial, items: Iterable, workers: int) -> Iterator:
    """`map`, in this process or in others, in order."""
    if workers == 1:
        yield from map(function, items)
        return
    with get_context("spawn").Pool(workers) as pool:
        yield from pool.imap(function, items)
