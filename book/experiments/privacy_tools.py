"""Compare ways to find personal data: our finder, libraries, and short patterns of a first try.

The texts are `glassbox.telecom.personal`'s, so what counts as right is its definitions; a library
made for the world's numbering plans is measured against a small part of what it can do, and loses
where our definition is a convention (a bare mobile number is an `msisdn`, not a `phone`). The first
table is F1 by kind for each way, the second precision and recall of phonenumbers alone at two
levels of strictness. Speed is the median of three passes over the same texts on one thread, as a
share of our finder's; it depends on the machine and is not tested.

    python book/experiments/privacy_tools.py            # about 1 min
    python book/experiments/privacy_tools.py --smallest # 60 texts; prints F1 over all kinds
"""

import argparse
import json
import re
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from glassbox import privacy, privacy_libraries
from glassbox.telecom.personal import PII, Span, check_character, personal

SEEDS = (11, 12, 13)
TEXTS = 1000  # of each seed
Finder = Callable[[str], list[Span]]

FIRST_TRY: dict[str, str] = {  # what one writes in ten minutes
    "email": r"\b[\w.+%-]+@[\w-]+\.[\w.-]+\b", "phone": r"\+?\d{2,4}[ -]?\d{3,4}[ -]?\d{4}\b",
    "ip": r"\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b", "imei": r"\b\d{15}\b", "imsi": r"\b\d{15}\b",
    "card": r"\b\d{4}[ -]?\d{4}[ -]?\d{4}[ -]?\d{4}\b", "iccid": r"\b89\d{17,18}\b",
    "msisdn": r"\b447\d{9}\b", "national_id": r"\b\d{6}[-+A]\d{3}[0-9A-Z]\b",
}  # fmt: skip


def first_try(text: str) -> list[Span]:
    """One short pattern for each kind, with nothing behind it."""
    return [Span(*match.span(), kind) for kind, pattern in FIRST_TRY.items()
            for match in re.finditer(pattern, text)]  # fmt: skip


def with_checks(text: str) -> list[Span]:
    """The same patterns, and the check digit where the kind has one."""
    kept = []
    for start, end, kind in first_try(text):
        digits = re.sub("[^0-9]", "", text[start:end])
        luhn = kind in ("imei", "card", "iccid")
        code = kind == "national_id" and check_character(digits[:6], digits[6:9]) != text[end - 1]
        address = kind == "ip" and any(int(part) > 255 for part in text[start:end].split("."))
        test = kind == "imsi" and not digits.startswith(("001", "999"))
        if not (code or address or test or (luhn and not privacy.luhn(digits))):
            kept.append(Span(start, end, kind))
    return kept


WAYS: dict[str, Finder] = {
    "first_try": first_try, "with_checks": with_checks, "libraries": privacy_libraries.find,
    "ours": privacy.find,
}  # fmt: skip
PHONES: dict[str, Finder] = {
    "possible": lambda text: privacy_libraries.phones(text, valid=False),
    "valid": privacy_libraries.phones,
}


def measured(ways: dict[str, Finder], seeds: tuple[int, ...], n: int) -> dict[str, dict]:
    """By way: precision, recall and F1 by kind over all seeds, and the lowest F1 of a seed."""
    told = {}
    items = {seed: [personal(seed, number) for number in range(n)] for seed in seeds}
    every = [item for some in items.values() for item in some]
    for name, find in ways.items():
        whole = privacy.score([find(text) for text, _ in every], [spans for _, spans in every])
        lowest = min(
            privacy.score([find(t) for t, _ in some], [s for _, s in some])["all"]["f1"]
            for some in items.values()
        )
        table = {kind: {m: round(v, 4) for m, v in row.items()} for kind, row in whole.items()}
        told[name] = {"by_kind": table, "lowest_f1_of_a_seed": round(lowest, 4)}
    return told


def seconds(find: Finder, texts: list[str]) -> float:
    """Processor time for all texts, the median of three passes."""
    passes = []
    for _ in range(3):
        start = time.process_time()
        for text in texts:
            find(text)
        passes.append(time.process_time() - start)
    return statistics.median(passes)


def main() -> None:
    """Write the data, or print the smallest case."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    if parser.parse_args().smallest:
        told = measured(WAYS, (1,), 60)
        print({name: row["by_kind"]["all"]["f1"] for name, row in told.items()})
        return
    told = measured(WAYS, SEEDS, TEXTS)
    alone = measured(PHONES, SEEDS, TEXTS)
    texts = [personal(SEEDS[0], number)[0] for number in range(TEXTS)]
    ours = seconds(privacy.find, texts)
    for name, find in WAYS.items():
        told[name]["time_of_ours"] = round(seconds(find, texts) / ours, 2)
    data = {
        "setup": {"seeds": SEEDS, "texts_of_each": TEXTS, "kinds": PII,
                  "phonenumbers": version("phonenumbers"), "stdnum": version("python-stdnum")},
        "ways": told,
        "phonenumbers_alone": {name: row["by_kind"]["phone"] for name, row in alone.items()},
        "our_texts_a_second": round(TEXTS / ours, -2),
    }  # fmt: skip
    path = Path(__file__).with_suffix(".json")
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
