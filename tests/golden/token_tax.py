"""Reference of the token-tax explorer; also writes its data, `glassbox/explorers/token_tax.json`.

The counts are those of book/experiments/token_tax.py, kept sentence by sentence: three vocabularies
trained there on a half of the sentences that is not counted, three published ones. Run it after
that experiment; the published vocabularies are fetched only if the sentences have changed.

    python tests/golden/token_tax.py
"""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import telecom

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "token_tax.json"
RECORD = ROOT / "book" / "experiments" / "token_tax.json"
LANGUAGES = {"en": "English", "de": "German", "es": "Spanish", "ru": "Russian", "hi": "Hindi",
             "th": "Thai"}  # fmt: skip
OWN = {"english": 0.0, "heavy": 0.02, "balanced": 1 / 6}  # share of each language but English


def experiment() -> Any:
    path = ROOT / "book" / "experiments" / "token_tax.py"
    spec = importlib.util.spec_from_file_location("token_tax_experiment", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def trained(share: float) -> dict[str, list[int]]:
    """Tokens of each sentence, counted by the tokenizer that has not seen its half."""
    made = experiment()
    counts = [made.train(made.mixed(share, half), made.VOCABULARY) for half in (0, 1)]
    return {
        lang: [counts[(i + 1) % 2](sentence) for i, sentence in enumerate(sentences)]
        for lang, sentences in telecom.parallel().items()
    }


def published(name: str) -> dict[str, list[int]]:
    import tiktoken

    encoding = tiktoken.get_encoding(name)
    return {
        lang: [len(encoding.encode(sentence)) for sentence in sentences]
        for lang, sentences in telecom.parallel().items()
    }


def row(counts: dict[str, list[int]], lang: str, number: int) -> dict[str, Any]:
    """Sums over all sentences (number 0) or one."""
    chosen = slice(None) if number == 0 else slice(number - 1, number)
    texts = telecom.parallel()[lang][chosen]
    tokens, english = (sum(counts[key][chosen]) for key in (lang, "en"))
    words = sum(len(text.split()) for text in texts)
    n_bytes = sum(len(text.encode()) for text in texts)
    return {
        "tokens": tokens, "words": words, "bytes": n_bytes, "perWord": float(tokens / words),
        "bytesPerToken": float(n_bytes / tokens), "ratio": float(tokens / english),
    }  # fmt: skip


def cases() -> Iterator[tuple[str, list, Any]]:
    data = json.loads(DATA.read_text(encoding="utf-8"))
    assert data["sentences"] == telecom.parallel(), "run python tests/golden/token_tax.py"
    counts = {key: one["tokens"] for key, one in data["tokenizers"].items()}
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    for known in record["published"]:
        for lang, found in known["languages"].items():
            assert sum(counts[known["name"]][lang]) == found["tokens"], known["name"]
    for key, place in (("english", 0), ("balanced", -1)):
        of_all = {lang: sum(tokens) for lang, tokens in counts[key].items()}
        ratios = {lang: round(n / of_all["en"], 3) for lang, n in of_all.items()}
        assert ratios | {"tokens": of_all["en"]} == record["own"][place]["ratio"], (
            f"{key}: run python tests/golden/token_tax.py"
        )
    english = telecom.parallel()["en"]
    for key, table in counts.items():
        for lang in LANGUAGES:
            for number in (0, 1, 20):
                value = row(table, lang, number)
                yield "rates", [key, lang, number], value
                chosen = english if number == 0 else [english[number - 1]]
                said = sum(len(text.split()) for text in chosen)
                held = {"own": 8192 / value["perWord"], "english": 8192 * said / value["tokens"]}
                yield "holds", [key, lang, number, 8192], {k: float(v) for k, v in held.items()}


if __name__ == "__main__":
    made, record = experiment(), json.loads(RECORD.read_text(encoding="utf-8"))
    old = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    is_same = old.get("sentences") == telecom.parallel()
    tokenizers = {key: {"vocabulary": made.VOCABULARY, "tokens": trained(share)}
                  for key, share in OWN.items()}  # fmt: skip
    for known in record["published"]:
        name = known["name"]
        tokens = old["tokenizers"][name]["tokens"] if is_same else published(name)
        tokenizers[name] = {"vocabulary": known["vocabulary"], "tokens": tokens}
    record = {"languages": LANGUAGES, "sentences": telecom.parallel(), "tokenizers": tokenizers}
    text = json.dumps(record, ensure_ascii=False)
    DATA.write_text(text.replace('], "', '],\n"').replace('}, "', '},\n"') + "\n", encoding="utf-8")
    print(DATA.name)
