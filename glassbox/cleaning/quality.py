"""A quality classifier: words hashed into a table of fixed size, and one layer over it.

    quality = Quality(good, bad)
    quality(["a text", ...])        # the probability that each is good

A text is the logarithm of its word counts, scaled to length 1; words and pairs of neighbours share
2^14 places by their hash. Logistic regression by gradient descent from 0, so two runs agree. A text
without words gets the probability 0.5. It learns what two piles differ in, whatever that is.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from glassbox.cleaning.hashing import grams, words

PLACES = 1 << 14


class Quality:
    """The trained classifier; call it with texts."""

    def __init__(
        self, good: Sequence[str], bad: Sequence[str], steps: int = 200, decay: float = 1e-4
    ) -> None:
        self.weights = np.zeros(PLACES)
        bags = _bags([*good, *bad])
        target = np.repeat([1.0, 0.0], [len(good), len(bad)])
        each = np.where(target, 0.5 / max(len(good), 1), 0.5 / max(len(bad), 1))  # piles alike
        speed = np.zeros(PLACES)
        for _ in range(steps):
            error = each * (_sigmoid(self._scores(bags, len(target))) - target)
            number, place, value = bags
            slope = np.bincount(place, value * error[number], PLACES) + decay * self.weights
            speed = 0.9 * speed + slope
            self.weights -= 10 * speed

    def __call__(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The probability of each text to be good."""
        return _sigmoid(self._scores(_bags(texts), len(texts)))

    def _scores(self, bags: tuple[NDArray, NDArray, NDArray], n: int) -> NDArray[np.float64]:
        number, place, value = bags
        return np.bincount(number, value * self.weights[place], n)


def auc(good: Sequence[float], bad: Sequence[float]) -> float:
    """The chance that a good text scores above a bad one; a tie counts half."""
    low = np.sort(np.asarray(bad, dtype=float))
    below = np.searchsorted(low, good, "left") + np.searchsorted(low, good, "right")
    return float(below.mean() / 2 / len(low))


def _bags(texts: Sequence[str]) -> tuple[NDArray, NDArray, NDArray]:
    """(text, place, value) of everything that is not 0."""
    keys = []
    for hashes, bounds in (words(texts), grams(texts, 2)):
        sizes = np.diff(bounds)
        place = (hashes >> np.uint64(50)).astype(np.int64)  # 14 bits
        keys.append(np.repeat(np.arange(len(texts)), sizes) * PLACES + place)
    empty = np.diff(words(texts).bounds) == 0
    key, count = np.unique(np.concatenate(keys), return_counts=True)
    number, place = key // PLACES, key % PLACES
    value = np.log1p(count) * ~empty[number]
    length = np.sqrt(np.bincount(number, value**2, len(texts)))
    return number, place, value / np.maximum(length, 1e-12)[number]


def _sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
    return 0.5 + 0.5 * np.tanh(x / 2)
