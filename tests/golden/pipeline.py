"""Reference of the pipeline explorer: starts by the longest chain of what must come first.

GPipe: Huang 1811.06965; 1F1B without interleaving: Narayanan 2104.04473, whose bubble (p - 1) / m
is a share of the ideal time and becomes (p - 1) / (m + p - 1) of the whole.
"""

import itertools
from collections.abc import Iterator
from functools import cache
from typing import Any

TIME = {"F": 1, "B": 2}


def orders(kind: str, p: int, m: int, gpu: int) -> list[list]:
    """1F1B: as many forwards first as there are stages left, then one backward, one forward."""
    ahead = min(p - gpu, m) if kind == "1f1b" else m
    done, found = {"F": 0, "B": 0}, []
    while done["B"] < m:
        may_go = done["F"] < m and done["F"] - done["B"] < ahead
        what = "F" if may_go else "B"
        if kind != "1f1b":
            what = "F" if done["F"] < m else "B"
        found.append([what, done[what]])
        done[what] += 1
    return found


def chain(kind: str, p: int, m: int) -> list[list]:
    """A block starts when the one before it on its GPU and the one that it needs have ended."""
    size = m if kind == "naive" else 1
    lists = [orders(kind, p, m // size, gpu) for gpu in range(p)]

    @cache
    def end(gpu: int, i: int) -> int:
        return start(gpu, i) + size * TIME[lists[gpu][i][0]]

    @cache
    def start(gpu: int, i: int) -> int:
        what, k = lists[gpu][i]
        before = end(gpu, i - 1) if i else 0
        other = gpu - 1 if what == "F" else gpu + 1
        if 0 <= other < p:
            return max(before, end(other, lists[other].index([what, k])))
        return before if what == "F" else max(before, end(gpu, lists[gpu].index(["F", k])))

    blocks = [
        [gpu, *lists[gpu][i], start(gpu, i), end(gpu, i)]
        for gpu in range(p)
        for i in range(len(lists[gpu]))
    ]
    last = max(block[4] for block in blocks)
    pieces = m // size
    assert last == 3 * size * (pieces + p - 1)
    return blocks


def copies(p: int, m: int) -> list[list]:
    """Data parallel: every GPU works through p stages itself."""
    blocks = []
    for gpu in range(p):
        for turn, k in enumerate(range(gpu, m, p)):
            at = 3 * p * turn
            blocks += [[gpu, "F", k, at, at + p], [gpu, "B", k, at + p, at + 3 * p]]
        if p > 1:
            last = 3 * p * -(-m // p)
            blocks.append([gpu, "S", 0, last, last + 1])
    return blocks


def cases() -> Iterator[tuple[str, list, Any]]:
    for p, m in ((1, 1), (4, 1), (4, 4), (8, 32)):
        yield "bubble", [p, m], (p - 1) / (m + p - 1)
    yield "bubble", [4, 27], 0.1
    for kind, gpu in itertools.product(("gpipe", "1f1b"), (0, 2, 3)):
        yield "order", [kind, 4, 6, gpu], orders(kind, 4, 6, gpu)
    yield "order", ["1f1b", 4, 2, 0], [["F", 0], ["F", 1], ["B", 0], ["B", 1]]
    for p, m in ((1, 1), (2, 1), (2, 5), (4, 4), (3, 2), (8, 8)):
        for kind in ("naive", "gpipe", "1f1b"):
            blocks = chain(kind, p, m)
            yield "timeline", [kind, p, m], blocks
            pieces, size = (1, m) if kind == "naive" else (m, 1)
            value = {"end": 3 * size * (pieces + p - 1), "share": (p - 1) / (pieces + p - 1)}
            made = {"call": "timeline", "args": [kind, p, m]}
            yield "waiting", [made, p], {k: v if k == "end" else float(v) for k, v in value.items()}
            stash = [min(m, p - gpu) if kind == "1f1b" else m for gpu in range(p)]
            yield "held", [made, p, size], stash
        blocks = copies(p, m)
        yield "timeline", ["data", p, m], blocks
        made = {"call": "timeline", "args": ["data", p, m]}
        end = 3 * p * -(-m // p) + (p > 1)
        share = 1 - (3 * p * m + (p if p > 1 else 0)) / (p * end)
        yield "waiting", [made, p], {"end": end, "share": float(share)}
        yield "held", [made, p, 1], [int(gpu < m) for gpu in range(p)]
