"""Reference of the hacking explorer; also writes its data, `glassbox/explorers/hacking.json`: the
curves and answers of book/experiments/reward_hacking.json. Run it after that experiment.

    python tests/golden/hacking.py
"""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import explore

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "hacking.json"
RECORD = ROOT / "book" / "experiments" / "reward_hacking.json"
CURVES = ("proxy", "gold", "kl", "length")


def compact() -> dict[str, Any]:
    """The record without what a reader does not see; the answers in the order of the grid."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    said = {(s["kl_weight"], s["length_bias"]): s["texts"] for s in record["samples"]}
    texts = [[said[w, b] for b in record["length_bias"]] for w in record["kl_weights"]]
    kept = ("kl_weights", "length_bias", "steps", *CURVES, "questions")
    return {key: record[key] for key in kept} | {"samples": texts}


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, (
        "run python tests/golden/hacking.py"
    )
    options = explore.about("hacking")["options"]
    for option, key in (("weight", "kl_weights"), ("bias", "length_bias"), ("at", "steps")):
        assert options[option]["max"] == len(data[key])
    assert data["kl_weights"][0] == data["length_bias"][0] == 0
    for (i, _), (j, _) in itertools.product(
        enumerate(data["kl_weights"]), enumerate(data["length_bias"])
    ):
        one = {key: data[key][i][j] for key in CURVES}
        yield "run", [i + 1, j + 1], one
        rounds = sorted(range(len(data["steps"])), key=lambda k: (-one["gold"][k], k))
        best = rounds[0]
        yield "peak", [one["gold"]], best + 1
        changes = {key: one[key][-1] - one[key][best] for key in ("gold", "proxy")}
        value = {"fell": float(-changes["gold"]), "rose": float(changes["proxy"])}
        yield "after", [i + 1, j + 1], value
    yield "peak", [[1, 3, 3, 2]], 2


if __name__ == "__main__":
    text = json.dumps(compact(), ensure_ascii=False).replace(', "', ',\n"')
    DATA.write_text(text + "\n", encoding="utf-8")
    print(DATA.name)
