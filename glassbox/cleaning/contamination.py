"""Test items in the training text: which share of an item's word n-grams the training text holds.

Items and texts are compared in lower case, words as `\\w+`. An item with fewer than n words has no
n-gram and counts as 0; use a smaller n for short items. n-grams are 64-bit numbers: memory for the
training text is not needed, only for the items' n-grams.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from glassbox.cleaning.hashing import blocks, grams, words


def overlap(train: Iterable[str], items: Sequence[str], n: int = 13) -> NDArray[np.float64]:
    """For each item the share of its n-grams that stand in some training text; repeats count."""
    hashes, bounds = grams(items, n)
    wanted = np.unique(hashes)
    held = np.zeros(len(wanted), dtype=bool)
    for block in blocks(train):
        found, ends = grams(block, n)
        found = found[np.repeat(_long(block, n), np.diff(ends))]
        held |= np.isin(wanted, found)
    hit = held[np.searchsorted(wanted, hashes)].astype(float)
    number = np.repeat(np.arange(len(items)), np.diff(bounds))
    return _long(items, n) * np.bincount(number, hit, len(items)) / np.maximum(np.diff(bounds), 1)


def contaminated(
    texts: Sequence[str], items: Sequence[str], n: int = 13, share: float = 0.5
) -> NDArray[np.bool_]:
    """Which texts hold at least this share of some item's n-grams."""
    usable = [item for item, long in zip(items, _long(items, n), strict=True) if long]
    if not usable or not texts:
        return np.zeros(len(texts), dtype=bool)
    hashes, bounds = grams(usable, n)
    owner = np.repeat(np.arange(len(usable)), np.diff(bounds))
    order = np.argsort(hashes, kind="stable")
    marked = []
    for block in blocks(texts):
        found, ends = grams(block, n)
        text = np.repeat(np.arange(len(block)), np.diff(ends))
        pairs = np.unique(np.stack([text, found.view(np.int64)]), axis=1)  # each n-gram once a text
        left = np.searchsorted(hashes[order], pairs[1].view(np.uint64), "left")
        right = np.searchsorted(hashes[order], pairs[1].view(np.uint64), "right")
        hits = np.zeros((len(block), len(usable)))
        for k in range(int((right - left).max(initial=0))):
            more = left + k < right
            np.add.at(hits, (pairs[0][more], owner[order[left[more] + k]]), 1)
        marked.append((hits / np.diff(bounds) >= share).any(1))
    return np.concatenate(marked)


def _long(texts: Sequence[str], n: int) -> NDArray[np.bool_]:
    """Which texts have at least n words."""
    return np.diff(words(texts).bounds) >= n
