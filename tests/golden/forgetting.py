"""Reference of the forgetting explorer; also writes its data, `glassbox/explorers/forgetting.json`:
the grid of book/experiments/forgetting.json. Run it after that experiment.

    python tests/golden/forgetting.py
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import explore

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "forgetting.json"
RECORD = ROOT / "book" / "experiments" / "forgetting.json"
KEYS = ("rates", "shares", "right", "base_loss", "before")


def compact() -> dict[str, Any]:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return {key: record[key] for key in KEYS}


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, (
        "run python tests/golden/forgetting.py"
    )
    options = explore.about("forgetting")["options"]
    assert options["rate"]["max"] == len(data["rates"])
    assert options["share"]["max"] == len(data["shares"])
    assert data["shares"][0] == 0
    before = data["before"]
    runs = {
        (i, j): {
            "rate": rate, "share": share, "right": data["right"][i - 1][j - 1],
            "loss": data["base_loss"][i - 1][j - 1],
        }
        for (i, rate), (j, share) in itertools.product(
            enumerate(data["rates"], start=1), enumerate(data["shares"], start=1)
        )
    }  # fmt: skip
    for (i, j), one in runs.items():
        gained, forgot = one["right"] - before["right"], one["loss"] - before["base_loss"]
        yield "run", [i, j], one | {"gained": float(gained), "forgot": float(forgot)}
        lost = runs[i, 1]["loss"] - before["base_loss"]
        back = (runs[i, 1]["loss"] - one["loss"]) / lost if lost > 0 else None
        yield "spared", [i, j], back
    for least in (0.0, 0.5, 0.9, 0.95, 1.01):
        able = [place for place, one in runs.items() if one["right"] >= least]
        best = min(able, key=lambda place: runs[place]["loss"]) if able else None
        yield "mildest", [least], best


if __name__ == "__main__":
    text = json.dumps(compact()).replace(', "', ',\n"')
    DATA.write_text(text + "\n", encoding="utf-8")
    print(DATA.name)
