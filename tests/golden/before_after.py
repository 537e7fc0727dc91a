"""Reference of the before/after explorer; also writes its data, `before_after.json` beside it: the
runs of book/experiments/raw_and_clean.json. Run it after that experiment.

    python tests/golden/before_after.py
"""

import itertools
import json
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import explore, preference

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "before_after.json"
RECORD = ROOT / "book" / "experiments" / "raw_and_clean.json"
TITLES = {  # may be cut at a soft hyphen
    "raw": ("raw", "the crawl as it comes"),
    "text": ("text", "pages extracted, encodings mended"),
    "boilerplate": ("boiler\u00adplate", "lines that frame many documents dropped as well"),
    "filters": ("filters", "spam, insults and cut texts dropped as well"),
    "duplicates": ("dupli\u00adcates", "copies and what holds a test item dropped as well"),
    "truth": ("truth", "no method: all that was planted mended or dropped"),
}


def compact() -> dict[str, Any]:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    stages = [
        dict(zip(("title", "what"), TITLES[stage["name"]], strict=True))
        | {key: stage[key] for key in ("name", "documents", "bytes")}
        | {"bits": stage["bits_per_byte"]}
        for stage in record["stages"]
    ]
    n = len(record["seeds"])
    return {"seeds": record["seeds"], "steps": record["steps"], "tokens": record["tokens"],
            "t": list(preference.T_95[: n - 1]), "stages": stages}  # fmt: skip


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, (
        "run python tests/golden/before_after.py"
    )
    options, n = explore.about("before_after")["options"], len(data["seeds"])
    last = len(data["stages"]) - 1
    assert options["stage"]["default"] == last - 1
    assert options["stage"]["max"] == last
    assert options["against"]["max"] == last
    assert options["seeds"]["max"] == options["seeds"]["default"] == n
    bits = [stage["bits"] for stage in data["stages"]]
    assert all(len(values) == n for values in bits)
    for values in bits:
        for k in range(2, n + 1):
            yield "interval", [values[:k]], list(preference.mean_interval(values[:k]))
    for (i, one), (j, two) in itertools.product(enumerate(bits), repeat=2):
        yield "gains", [i, j], [float(b - a) for a, b in zip(one, two, strict=True)]
    means = [statistics.fmean(values) for values in bits]
    steps = [float(a - b) for a, b in itertools.pairwise(means[:-1])]
    yield "largest", [], [steps.index(max(steps)) + 1, max(steps)]


if __name__ == "__main__":
    text = json.dumps(compact(), ensure_ascii=False).replace("}, {", "},\n{")
    DATA.write_text(text + "\n", encoding="utf-8")
    print(DATA.name)
