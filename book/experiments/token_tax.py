"""Count what tokenizers charge for the same twenty sentences in six languages.

Three questions. *Published*: how many tokens do three vocabularies of OpenAI need? *Cause*: BPE
vocabularies trained here on English telecom text and a growing share of the other languages; the
training sees one half of the sentences, the count is made on the other half, and both halves take
turns. *Size*: the first V entries of `o200k_base` are a BPE vocabulary of V entries; how many bytes
of chapter 1's prose does one token hold? The published vocabularies are fetched by tiktoken, so
these two parts need a network or its cache. What this does not show: how well a model that uses
them reads a language, or what other texts would give; twenty sentences are few.

    python book/experiments/token_tax.py            # about 10 s
    python book/experiments/token_tax.py --smallest # English alone, 512 entries; prints the ratios
"""

import argparse
import json
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import tiktoken
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from glassbox import telecom

BOOK = Path(__file__).resolve().parents[1]
PUBLISHED = {"r50k_base": "GPT-2, GPT-3", "cl100k_base": "GPT-4", "o200k_base": "GPT-4o"}
SHARES = [0.0, 0.01, 0.03, 0.10, 1 / 6]  # of the training text, for each language but English
VOCABULARY = 2048
N_BYTES = 300_000
SIZES = [512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 199998]
Count = Callable[[str], int]


def rates(count: Count, sentences: dict[str, list[str]]) -> dict[str, dict[str, float]]:
    """Per language: tokens, tokens per word, bytes per token, tokens against English."""
    tokens = {lang: sum(map(count, some)) for lang, some in sentences.items()}
    return {
        lang: {
            "tokens": tokens[lang],
            "tokens_per_word": round(tokens[lang] / sum(len(s.split()) for s in some), 3),
            "bytes_per_token": round(sum(len(s.encode()) for s in some) / tokens[lang], 3),
            "ratio": round(tokens[lang] / tokens["en"], 3),
        }
        for lang, some in sentences.items()
    }


def english(n_bytes: int) -> str:
    """Telecom text without dialogues, some of which change language."""
    kinds = [kind for kind in telecom.KINDS if kind != "dialogue"]
    return telecom.corpus(n_bytes, seed=0, kinds=kinds)


def train(texts: list[str], vocab_size: int) -> Count:
    """Byte-level BPE with GPT-2's pattern -> a function that counts tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    return lambda text: len(tokenizer.encode(text).ids)


def mixed(share: float, half: int, n_bytes: int = N_BYTES) -> list[str]:
    """English text and one half of the other languages' sentences, repeated up to their share."""
    parts = {k: v for k, v in telecom.parallel().items() if k != "en"}
    texts = [english(round(n_bytes * (1 - share * len(parts))))]
    for sentences in parts.values():
        once = sentences[half::2]
        size = sum(len(s.encode()) for s in once)
        texts += once * round(n_bytes * share / size)
    return texts


def own(share: float) -> dict[str, float]:
    """Tokens against English on sentences that the training has not seen."""
    sentences, total = telecom.parallel(), {}
    for half in (0, 1):
        unseen = {lang: some[1 - half :: 2] for lang, some in sentences.items()}
        found = rates(train(mixed(share, half), VOCABULARY), unseen)
        for lang, row in found.items():
            total[lang] = total.get(lang, 0) + row["tokens"]
    return {lang: round(n / total["en"], 3) for lang, n in total.items()} | {"tokens": total["en"]}


def prose() -> str:
    """The paragraphs of chapter 1, without code, formulas, marks and front matter."""
    pages = [path.read_text(encoding="utf-8") for path in sorted(BOOK.glob("ch01_*.md"))]
    text = "\n".join(page.split("---\n", 2)[2] for page in pages)
    text = re.sub(r"^(```+|:::+).*?^\1", "", text, flags=re.M | re.S)
    return re.sub(r"\{\w+\}`([^`<]*)[^`]*`|\$[^$]*\$", r"\1", text)


def compression(text: str, sizes: list[int]) -> dict:
    """Bytes per token of the text under the first entries of o200k_base."""
    full = tiktoken.get_encoding("o200k_base")
    found = []
    for size in sizes:
        ranks = {token: rank for token, rank in full._mergeable_ranks.items() if rank < size}
        part = tiktoken.Encoding("part", pat_str=full._pat_str, mergeable_ranks=ranks,
                                 special_tokens={})  # fmt: skip
        found.append(round(len(text.encode()) / len(part.encode(text)), 3))
    return {"of": "o200k_base", "bytes": len(text.encode()), "vocabulary": sizes,
            "bytes_per_token": found}  # fmt: skip


def main() -> None:
    """Count everything and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    if parser.parse_args().smallest:
        found = rates(train([english(50_000)], 512), telecom.parallel())
        print(json.dumps({lang: row["ratio"] for lang, row in found.items()}))
        return
    published = []
    for name, users in PUBLISHED.items():
        encoding = tiktoken.get_encoding(name)
        found = rates(lambda text, e=encoding: len(e.encode(text)), telecom.parallel())
        published.append({"name": name, "used_by": users, "vocabulary": encoding.n_vocab,
                          "languages": found})  # fmt: skip
    record = {
        "published": published,
        "own": [{"share": round(share, 3), "ratio": own(share)} for share in SHARES],
        "own_vocabulary": VOCABULARY,
        "own_bytes": N_BYTES,
        "compression": compression(prose(), SIZES),
        "libraries": {name: version(name) for name in ("tiktoken", "tokenizers")},
    }
    Path(__file__).with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
