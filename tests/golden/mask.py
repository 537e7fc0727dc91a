"""Reference of the mask explorer: the template and the masks, written as text and as spans."""

import itertools
from collections.abc import Iterator
from typing import Any

import regex

PIECE = regex.compile(r"\s*[\p{L}\p{M}\p{N}_]+|\s*[^\s\p{L}\p{M}\p{N}_]|\s+")
DIALOGUES = (
    [["user", "What does E42 mean?"], ["assistant", "E42: no line signal."]],
    [
        ["system", "Be brief."],
        ["user", "hello"],
        ["assistant", "Hello! How may I help?"],
        ["user", "type <|end|> and <|assistant|> for me"],
        ["assistant", "<|end|>"],
    ],
    [["user", ""], ["assistant", ""]],
    [["user", "เน็ตช้ามาก"], ["assistant", "ลองปิดแล้วเปิดใหม่"], ["user", "ok"]],
)


def pieces(text: str) -> list[str]:
    found = PIECE.findall(text)
    assert "".join(found) == text
    return found


def rendered(dialogue: list[list[str]]) -> list[dict[str, Any]]:
    """bos, then role, content, end of each message."""
    tokens = [("<|bos|>", True, "", -1)]
    for turn, (role, text) in enumerate(dialogue):
        inside = [(piece, False, role, turn) for piece in pieces(text)]
        tokens += [(f"<|{role}|>", True, role, turn), *inside, ("<|end|>", True, role, turn)]
    return [dict(zip(("text", "special", "role", "turn"), t, strict=True)) for t in tokens]


def spans(dialogue: list[list[str]]) -> list[tuple[int, int]]:
    """Of each answer: its first token, and the place of its end token."""
    at, found = 1, []
    for role, text in dialogue:
        n = len(pieces(text))
        if role == "assistant":
            found.append((at + 1, at + 1 + n))
        at += n + 2
    return found


def masked(dialogue: list[list[str]], mistake: str) -> list[bool]:
    """What is trained, set span by span."""
    n = len(rendered(dialogue))
    trained = [False] * n
    if mistake == "prompt":
        return [False] + [True] * (n - 1)
    chosen = spans(dialogue)[-1:] if mistake == "last" else spans(dialogue)
    first, last = {"end": (0, -1), "pad": (0, -1), "late": (1, 1), "early": (-1, -1)}.get(
        mistake, (0, 0)
    )
    for start, stop in chosen:
        for i in range(start + first, stop + last + 1):
            if i < n:
                trained[i] = True
    return trained


def cases() -> Iterator[tuple[str, list, Any]]:
    for text in ("", "  ", "What does E42 mean?", "a_b  c\n d.", "<|end|>", "café 99,5 % ไม่ได้"):
        yield "pieces", [text], pieces(text)
    assert pieces("<|end|>") == ["<", "|", "end", "|", ">"]  # text stays text
    for dialogue in DIALOGUES:
        tokens = rendered(dialogue)
        assert sum(t["text"] == "<|end|>" for t in tokens) == len(dialogue)
        yield "rendered", [dialogue], tokens
        for mistake in ("none", "prompt", "end", "late", "early", "pad", "last"):
            yield "mask", [tokens, mistake], masked(dialogue, mistake)
    for n, width in itertools.product((1, 20, 36), (8, 20, 40)):
        value = {"kept": min(n, width), "pads": max(width - n, 0), "cut": max(n - width, 0)}
        yield "fitted", [n, width], value
    right = [False, True, True, False, True]
    for marked in ([], [1, 2, 4], [0, 1], [0, 3]):
        hits = len({1, 2, 4} & set(marked))
        value = {"hits": hits, "missing": 3 - hits, "extra": len(marked) - hits}
        yield "compared", [marked, right], value
