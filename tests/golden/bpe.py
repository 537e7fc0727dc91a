"""Reference of the BPE explorer: a trainer that counts on strings of symbols, the regex package's
split, and tiktoken, which must encode the text as the trainer left it.
"""

import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterator
from typing import Any

import regex
import tiktoken

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
TEXTS = [
    "",
    "a",
    "aaa aaaa",
    "the modem restarts, then the router restarts: the line is down, the other line is slow",
    "I'll say we've 12 lines, they're down; it's 3 o'clock  \n\n now",
    "สวัสดีครับ เน็ตช้ามาก เน็ตหลุด",
    "связь пропала, связь медленная",
    "नेटवर्क धीमा है, नेटवर्क नहीं है",
    "5G 📡📡 ok 👩‍🔧 é e\u0301",
    "\u00a0x\u3000y\ufeffz\u0085w\u200bv\t\tu",
]


def learn(text: str) -> tuple[list[tuple[int, int, int]], dict[int, bytes]]:
    """All merges with their counts, and the bytes of every id."""
    words = Counter(tuple(piece.encode()) for piece in regex.findall(PATTERN, text))
    spelled, merges = {i: bytes([i]) for i in range(256)}, []
    while True:
        counts = Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                counts[pair] += n
        if not counts:
            return merges, spelled
        pair = min(counts, key=lambda p: (-counts[p], p))
        new = 256 + len(merges)
        merges.append((*pair, counts[pair]))
        spelled[new] = spelled[pair[0]] + spelled[pair[1]]
        joined = Counter()
        for word, n in words.items():
            joined[join(word, pair, new)] += n
        words = joined


def join(word: tuple[int, ...], pair: tuple[int, int], new: int) -> tuple[int, ...]:
    """As strings: str.replace takes from the left what does not overlap."""
    text = "".join(map(chr, word))
    return tuple(map(ord, text.replace("".join(map(chr, pair)), chr(new))))


def tokens(text: str, n: int) -> list[list[int]]:
    """The pieces as tiktoken encodes them with the first n merges."""
    _, spelled = learn(text)
    ranks = {spelled[i]: i for i in range(256 + n)}
    assert len(ranks) == 256 + n, "two merges of the same bytes: tiktoken cannot tell them apart"
    coder = tiktoken.Encoding("steps", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={})
    return [coder.encode_ordinary(piece) for piece in regex.findall(PATTERN, text)]


def readable(data: bytes) -> str:
    """A space as a dot, what is no letter or sign as hexadecimal numbers."""
    parts = []
    for c in data.decode(errors="surrogateescape"):
        category = unicodedata.category(c)
        if c == " ":
            parts.append("·")
        elif category[0] in "CZ":
            parts += [[f"{b:02X}"] for b in c.encode(errors="surrogateescape")]
        else:
            parts.append(c)
    return "".join(
        "".join(group) if is_text else f"‹{' '.join(b for item in group for b in item)}›"
        for is_text, group in itertools.groupby(parts, lambda part: isinstance(part, str))
    )


def cases() -> Iterator[tuple[str, list, Any]]:
    for text in TEXTS:
        found = regex.findall(PATTERN, text)
        assert "".join(found) == text
        yield "pieces", [text], found
        merges, spelled = learn(text)
        yield "merges", [text], merges
        for n in sorted({0, 1, len(merges) // 2, len(merges)} & set(range(len(merges) + 1))):
            yield "encode", [text, merges[:n]], tokens(text, n)
        for new in sorted({256, 255 + len(merges)} & set(spelled)):
            yield "spelled", [new, merges], list(spelled[new])
        for piece in found[:3]:
            yield "bytes", [piece], list(piece.encode())
            yield "label", [list(piece.encode())], readable(piece.encode())
    yield "pieces", ["x" * 299 + "📡y"], ["x" * 299, "📡"]
    for data in (
        b"\xe0",
        b"a\xe0\xb8",
        b"\xb8\x81 b",
        " ก".encode(),
        b"\xff\xc0\x80",
        b"\xed\xa0\x80",
    ):
        yield "label", [list(data)], readable(data)
    words, times = [[1, 1, 1], [2, 1], [2, 1, 1]], [3, 2, 1]
    yield "pairCounts", [words, times], [[1, 1, 7], [2, 1, 3]]
    yield "pairCounts", [[[5, 4], [3, 9], [3, 8]], [1, 1, 1]], [[3, 8, 1], [3, 9, 1], [5, 4, 1]]
    yield "pairCounts", [[[7]], [4]], []
    for ids in ([1, 1, 1], [1, 1, 1, 1], [2, 1, 1, 2], [1], []):
        yield "mergePair", [ids, [1, 1], 256], list(join(tuple(ids), (1, 1), 256))
