"""Reference of the span explorer: the construction in plain Python, and what must hold of it.

T5's numbers (Raffel 1910.10683; its code: 568 tokens at 15 % and mean 3 give 512 and 114, the
source with an end mark and the target without a last sentinel) fix the lengths.
"""

import itertools
import runpy
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

mulberry32 = runpy.run_path(str(Path(__file__).with_name("sampling.py")))["mulberry32"]
NAMES = [f"<{letter}>" for letter in "XYZ" + "".join(reversed("ABCDEFGHIJKLMNOPQRSTUVW"))]
TEXT = "the technician resets the modem at noon and the line comes back within ten minutes"


def counts(n: int, rate: float, mean: float) -> tuple[int, int]:
    """Hidden words, spans; halves round up."""
    hidden = min(max(int(n * rate + 0.5), 1), max(n - 1, 1))
    return hidden, min(max(int(hidden / mean + 0.5), 1), n - hidden + 1)


def parts(n: int, k: int, numbers: list[float]) -> list[int]:
    """Lengths of k parts of n: k - 1 cuts, drawn without repetition."""
    places = list(range(1, n))
    for i in range(k - 1):
        j = i + int(numbers[i] * (len(places) - i))
        places[i], places[j] = places[j], places[i]
    cuts = [0, *sorted(places[: k - 1]), n]
    return [b - a for a, b in itertools.pairwise(cuts)]


def cut(n: int, rate: float, mean: float, seed: int) -> list[list[int]]:
    """The spans: hidden parts between kept ones, of which the first and the last may be empty."""
    hidden, k = counts(n, rate, mean)
    numbers = mulberry32(seed, 2 * n)
    gone = parts(hidden, k, numbers)
    kept = parts(n - hidden + 2, k + 1, numbers[n:])
    kept[0] -= 1
    found, at = [], 0
    for before, length in zip(kept, gone, strict=False):
        found.append([at + before, at + before + length])
        at += before + length
    assert all(b[0] > a[1] for a, b in itertools.pairwise(found))
    assert sum(b - a for a, b in found) == hidden
    assert at + kept[-1] - 1 == n
    return found


def halves(words: list[str], spans: list[list[int]]) -> dict[str, list[str]]:
    """Source and target, and the text put together again from the two."""
    source, target, i = [], [], 0
    starts = {start: (end, name) for (start, end), name in zip(spans, NAMES, strict=False)}
    while i < len(words):
        if i in starts:
            end, name = starts[i]
            source.append(name)
            target += [name, *words[i:end]]
            i = end
        else:
            source.append(words[i])
            i += 1
    target += [NAMES[len(spans)], "</s>"]
    answers, key = {}, ""
    for word in target:
        key = word if word in NAMES else key
        answers.setdefault(key, []).append(word)
    again = [w for word in source for w in (answers[word][1:] if word in NAMES else [word])]
    assert again == words
    return {"source": source, "target": target}


def cases() -> Iterator[tuple[str, list, Any]]:
    yield "words", ["  the modem,  again\n"], ["the", "modem,", "again"]
    yield "words", [" ".join(map(str, range(50)))], [str(i) for i in range(40)]
    yield (
        "lengths",
        [568, 0.15, 3],
        {"hidden": 85, "spans": 28, "source": 512 - 1, "target": 114 + 1},
    )
    yield "lengths", [0, 0.15, 3], {"hidden": 0, "spans": 0}
    for n, rate, mean in itertools.product((1, 2, 5, 15, 40), (0.05, 0.15, 0.5, 0.75), (1, 3, 10)):
        hidden, k = counts(n, rate, mean)
        value = {"hidden": hidden, "spans": k, "source": n - hidden + k, "target": hidden + k + 2}
        yield "lengths", [n, rate, mean], value
        for seed in (1, 7):
            yield "spans", [n, rate, mean, seed], cut(n, rate, mean, seed)
    yield "spans", [0, 0.15, 3, 1], []
    for i, name in enumerate(NAMES):
        yield "sentinel", [i], name
    for n, k in ((1, 1), (5, 1), (5, 5), (12, 4)):
        numbers = mulberry32(3, n)
        yield "segments", [n, k, numbers], parts(n, k, numbers)
    words = TEXT.split()
    for seed in range(1, 9):
        spans = cut(len(words), 0.3, 2, seed)
        yield "corrupt", [words, spans], halves(words, spans)
    yield (
        "corrupt",
        [["noon"], [[0, 1]]],
        {"source": ["<X>"], "target": ["<X>", "noon", "<Y>", "</s>"]},
    )
    even(4000)


def even(n: int) -> None:
    """Where two spans of one word fall in five words: six placements, equally often."""
    seen = Counter(str(cut(5, 0.4, 1, seed)) for seed in range(n))
    assert len(seen) == 6
    assert max(abs(count / n - 1 / 6) for count in seen.values()) < 0.03
