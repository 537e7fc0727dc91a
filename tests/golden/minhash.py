"""Reference of the MinHash explorer: sets, bands as keys of a dictionary, the curve by counting.

The hash is FNV-1a and the shuffle MurmurHash3's last steps, written with numpy's 32-bit integers.
"""

import itertools
import math
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

TEXTS = [
    "The modem restarts every night at two, then the line is down for ten minutes.",
    "The modem restarts every night at three, then the line is down for ten minutes.",
    "the MODEM restarts: the modem restarts, the modem restarts",
    "Die Störung in der Zentrale ist behoben, 24 von 30 Anschlüssen laufen.",
    "router_7 ok",
    "modem",
    " ,; ",
    "",
]
PAIRS = [(0, 1), (0, 0), (0, 2), (2, 5), (3, 1), (4, 5), (5, 6), (6, 7)]


def cut(text: str, n: int) -> list[str]:
    """The shingles in order of their first place; dict keeps each once."""
    found = re.findall(r"\w+", text.lower())
    starts = range(max(len(found) - n + 1, min(len(found), 1)))
    return list(dict.fromkeys(" ".join(found[i : i + n]) for i in starts))


def alike(one: set[str], two: set[str]) -> float:
    return float(len(one & two) / len(one | two)) if one | two else 0.0


def fnv(text: str) -> int:
    value = 2166136261
    for byte in text.encode():
        value = (value ^ byte) * 16777619 % 2**32
    return value


def stir(x: np.ndarray) -> np.ndarray:
    x = x.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x ^ (x >> np.uint32(16))


def smallest(found: list[str], size: int, seed: int) -> list[int]:
    """All shingles under all shuffles at once, then the smallest of each shuffle."""
    if not found:
        return [2**32 - 1] * size
    keys = stir(np.arange(size) + seed * 65536)
    values = np.array([fnv(shingle) for shingle in found], dtype=np.uint32)
    return stir(values[:, None] ^ keys).min(axis=0).tolist()


def bands_alike(one: list[int], two: list[int], rows: int) -> list[int]:
    buckets = defaultdict(list)
    for who, signature in enumerate((one, two)):
        for band in range(len(signature) // rows):
            buckets[band, *signature[band * rows : (band + 1) * rows]].append(who)
    return sorted(key[0] for key, members in buckets.items() if len(members) == 2)


def at_least_one(j: float, bands: int, rows: int) -> float:
    """All numbers of matching bands but none, by the binomial distribution."""
    p = j**rows
    some = range(1, bands + 1)
    return math.fsum(math.comb(bands, k) * p**k * (1 - p) ** (bands - k) for k in some)


def cases() -> Iterator[tuple[str, list, Any]]:
    published = [  # bands, rows, threshold, j -> chance to four digits
        (16, 8, 0.7071, {0.5: 0.0607, 0.6: 0.2374, 0.7: 0.6133, 0.8: 0.9470, 0.9: 0.9999}),
        (20, 5, 0.5493, {0.3: 0.0475, 0.5: 0.4701, 0.7: 0.9748, 0.8: 0.9996}),
    ]
    for bands, rows, limit, chances in published:
        assert round(bands ** (-1 / rows), 4) == limit
        assert {j: round(at_least_one(j, bands, rows), 4) for j in chances} == chances
    for bands, rows in ((16, 8), (20, 5), (1, 1), (64, 2), (1, 16), (64, 16)):
        yield "threshold", [bands, rows], math.exp(-math.log(bands) / rows)
        for j in (0.0, 0.25, 0.5, 0.7, 0.8, 0.95, 1.0):
            yield "chance", [j, bands, rows], float(at_least_one(j, bands, rows))
    for text in TEXTS:
        yield "words", [text], re.findall(r"\w+", text.lower())
        yield "hash", [text], fnv(text)
        for n in (1, 2, 5):
            yield "shingles", [text, n], cut(text, n)
    for x in (0, 1, 65536, 2**31, 2**32 - 1):
        yield "shuffled", [x], int(stir(np.array([x]))[0])
    for (i, k), n in itertools.product(PAIRS, (1, 2)):
        lists = [cut(TEXTS[i], n), cut(TEXTS[k], n)]
        yield "jaccard", lists, alike(*map(set, lists))
        for rows, bands, seed in ((2, 8, 1), (4, 3, 7)):
            pair = [smallest(found, rows * bands, seed) for found in lists]
            for found, expected in zip(lists, pair, strict=True):
                yield "signature", [found, rows * bands, seed], expected
            same = np.equal(*map(np.array, pair))
            yield "agreement", pair, float(same.mean())
            yield "matching", [*pair, rows], bands_alike(*pair, rows)
    lists = [cut(TEXTS[0], 2), cut(TEXTS[1], 2)]  # many hashes estimate the similarity
    shares = np.equal(*(np.array(smallest(found, 4096, 3)) for found in lists)).mean()
    assert abs(shares - alike(*map(set, lists))) < 4 / math.sqrt(4096)
