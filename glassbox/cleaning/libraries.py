"""Well-kept libraries for the same tasks as our functions, to be compared with.

Each function takes and gives what ours does: `datasketch_groups` and `rensa_groups` as
`duplicates.duplicates`, `py3langid_languages` as `text.languages`, `datatrove_gopher` as
`rules.judge` over many texts, `soup_text` as `text.page_text`. None of them is needed for a lab or
the book; where one is missing, ImportError says in one sentence what to install.
"""

import importlib
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import numpy as np

from glassbox.cleaning.duplicates import merged

PINS = {"datasketch": "datasketch==2.0.0", "rensa": "rensa==0.5.0",
        "py3langid": "py3langid==0.4.0", "datatrove": "datatrove==0.10.1",
        "bs4": "beautifulsoup4==4.15.0"}  # fmt: skip
"""Module -> what to install: the versions that our tests compare with."""


def library(name: str) -> Any:
    """The module; ImportError with one sentence where it is missing."""
    if not find_spec(name):
        raise ImportError(
            f"This comparison needs {name}, which is not installed here. "
            f"Type: pip install {PINS[name]}"
        )
    return importlib.import_module(name)


# --- near duplicates -----------------------------------------------------------------------------


def shingles(text: str, n: int = 5) -> set[str]:
    """Each n words of a text, lower case; all its words where it has fewer."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(part) for part in zip(*(words[i:] for i in range(n)), strict=False)} or {
        " ".join(words)
    }


def datasketch_groups(
    texts: Iterable[str], threshold: float = 0.7, n: int = 5, n_hashes: int = 128,
    params: tuple[int, int] | None = None, verify: bool = False,
) -> list[int]:  # fmt: skip
    """Groups by MinHashLSH, which chooses bands and rows itself unless `params` gives both.

    Each document asks the index for those before it, then enters it. With `verify` an answer counts
    if the estimated similarity reaches the threshold, which keeps all signatures in memory.
    """
    module = library("datasketch")
    index = module.MinHashLSH(threshold=threshold, num_perm=n_hashes, params=params)
    made: list[Any] = []

    def pairs() -> Iterator[tuple[int, int]]:
        sets = ([s.encode() for s in shingles(text, n)] for text in texts)
        for i, sketch in enumerate(module.MinHash.generator(sets, num_perm=n_hashes)):
            made.append(sketch if verify else None)
            for j in index.query(sketch):
                if not verify or sketch.jaccard(made[j]) >= threshold:
                    yield j, i
            index.insert(i, sketch, check_duplication=False)

    found = np.array(list(pairs()), dtype=np.int64).reshape(-1, 2)
    return merged(len(made), found[:, 0], found[:, 1]).tolist()


def rensa_groups(
    texts: Iterable[str], threshold: float = 0.7, n: int = 5, n_hashes: int = 128,
    bands: int = 16, seed: int = 0, verify: bool = True, batch: int = 1000,
) -> list[int]:  # fmt: skip
    """Groups by RMinHash and RMinHashLSH, a batch of documents at a time."""
    module = library("rensa")
    index = module.RMinHashLSH(threshold, n_hashes, bands)
    made: list[Any] = []
    pairs: list[tuple[int, int]] = []

    def take(sets: list[set[str]]) -> None:
        new = module.RMinHash.from_token_sets(sets, n_hashes, seed)
        start = len(made)
        index.insert_many(new, start)
        made.extend(new)
        for i, keys in enumerate(index.query_all(new), start):
            pairs.extend(
                (j, i)
                for j in keys
                if j < i and (not verify or made[j].jaccard(made[i]) >= threshold)
            )

    sets: list[set[str]] = []
    for text in texts:
        sets.append(shingles(text, n))
        if len(sets) == batch:
            take(sets)
            sets = []
    if sets:
        take(sets)
    found = np.array(pairs, dtype=np.int64).reshape(-1, 2)
    return merged(len(made), found[:, 0], found[:, 1]).tolist()


# --- languages, rules, pages ---------------------------------------------------------------------


def py3langid_languages(
    texts: Sequence[str], codes: Sequence[str] = ("en", "de", "es", "fr", "th")
) -> list[str]:
    """The language of each text, of those in `codes`; of all that it knows where that is empty."""
    library("py3langid")
    module = importlib.import_module("py3langid.langid")
    identifier = module.LanguageIdentifier.from_model_file(module.MODEL_FILE)
    if codes:
        identifier.set_languages(list(codes))
    return [identifier.classify(text)[0] for text in texts]


def datatrove_gopher(texts: Sequence[str]) -> list[tuple[bool, str]]:
    """For each text whether Gopher's quality and repetition filters pass it, and which rule fails.

    Words are what white space separates, as ours, because datatrove's own need a language model.
    """
    filters, document = _datatrove()
    return [_first_fault(text, filters, document) for text in texts]


def _first_fault(text: str, filters: Sequence[Any], document: Any) -> tuple[bool, str]:
    for each in filters:
        verdict = each.filter(document(text=text, id="0")) if text.split() else (False, "empty")
        if verdict is not True:
            return False, verdict[1]
    return True, ""


@cache
def _datatrove() -> tuple[tuple[Any, Any], Any]:
    """Both of datatrove's Gopher filters over words by white space, and its kind of document."""
    library("datatrove")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    tokenizers = importlib.import_module("datatrove.utils.word_tokenizers")
    filters = importlib.import_module("datatrove.pipeline.filters")

    class Spaces(tokenizers.WordTokenizer):
        """Words by white space; sentences are not asked for."""

        def word_tokenize(self, text: str) -> list[str]:
            return text.split()

        def sent_tokenize(self, text: str) -> list[str]:
            return text.splitlines()

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [match.span() for match in re.finditer(r"\S+", text)]

    spaces = Spaces()
    both = (filters.GopherQualityFilter(language=spaces),
            filters.GopherRepetitionFilter(language=spaces))  # fmt: skip
    return both, importlib.import_module("datatrove.data").Document


def soup_text(page: str) -> str:
    """The text of a page by BeautifulSoup, a line for each piece; no scripts, no styles."""
    soup = library("bs4").BeautifulSoup(page, "html.parser")
    for unseen in soup(["script", "style", "template", "noscript"]):
        unseen.decompose()
    lines = (" ".join(line.split()) for line in soup.get_text("\n").splitlines())
    return "\n".join(filter(None, lines))


def agreement(ours: Sequence[int], other: Sequence[int]) -> dict[str, float]:
    """Precision, recall and F1 of pairs that are in one group, `other` taken as the truth."""
    sizes: dict[str, dict] = {name: defaultdict(int) for name in ("ours", "other", "both")}
    for a, b in zip(ours, other, strict=True):
        sizes["ours"][a] += 1
        sizes["other"][b] += 1
        sizes["both"][a, b] += 1
    pairs = {name: sum(n * (n - 1) // 2 for n in of.values()) for name, of in sizes.items()}
    precision = pairs["both"] / pairs["ours"] if pairs["ours"] else 1.0
    recall = pairs["both"] / pairs["other"] if pairs["other"] else 1.0
    f1 = 2 * precision * recall / (precision + recall) if pairs["both"] else 0.0
    return {"precision": precision, "recall": recall, "f1": f1}
