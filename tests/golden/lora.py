"""Reference of the LoRA explorer; also writes its data, `glassbox/explorers/lora.json`, which are
those of book/experiments/weight_change.json. Run it after that experiment.

    python tests/golden/lora.py
"""

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from glassbox import explore

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "lora.json"
RECORD = ROOT / "book" / "experiments" / "weight_change.json"


def compact() -> dict[str, Any]:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    return {key: record[key] for key in ("before", "ranks", "matrices", "noise")}


def factors(a: int, b: int, r: int) -> int:
    """Numbers in two linear maps through r, as torch makes them."""
    with torch.device("meta"):
        maps = nn.Linear(b, r, bias=False), nn.Linear(r, a, bias=False)
    return sum(p.numel() for m in maps for p in m.parameters())


def best(matrix: Tensor, r: int) -> Tensor:
    left, values, right = torch.linalg.svd(matrix, full_matrices=False)
    return (left[:, :r] * values[:r]) @ right[:r]


def cases() -> Iterator[tuple[str, list, Any]]:
    data = compact()
    assert json.loads(DATA.read_text(encoding="utf-8")) == data, "run python tests/golden/lora.py"
    options = explore.about("lora")["options"]
    assert set(data["matrices"]) == {
        f"{i}.{name}" for i in range(1, options["layer"]["max"] + 1)
        for name in options["map"]["choices"]
    }  # fmt: skip
    for key, one in data["matrices"].items():
        assert len(one["values"]) == min(one["shape"]) == options["rank"]["max"]
        assert "({} × {})".format(*one["shape"]) in options["map"]["choices"][key.split(".")[1]]

    for a, b, r in ((96, 96, 4), (288, 96, 1), (96, 384, 96), (4096, 4096, 8), (14336, 4096, 16)):
        n = factors(a, b, r)
        value = {"full": a * b, "lora": n, "share": n / (a * b), "even": 1 / (1 / a + 1 / b)}
        yield "counted", [a, b, r], value

    # what rank r misses, from matrices that are built and cut again
    gen = torch.Generator().manual_seed(4)
    for shape in ((3, 3), (8, 5), (5, 12)):
        matrix = torch.randn(shape, generator=gen, dtype=torch.float64)
        values = torch.linalg.svdvals(matrix).tolist()
        for r in (0, 1, 3):
            rest = (matrix - best(matrix, r)).norm() / matrix.norm()
            yield "missed", [values, r], 0.0 if r >= len(values) else rest.item()
            for alpha in (1, 8, 16):
                if r:  # (alpha / r) BA is the change
                    wanted = (best(matrix, r) / (alpha / r)).norm().item()
                    yield "product", [values, r, alpha], wanted
    yield "missed", [[3, 4], 1], 0.8
    for key, most in itertools.product(("1.qkv", "2.out", "4.ff_out"), (1.0, 0.5, 0.1, 0.0)):
        values = torch.tensor(data["matrices"][key]["values"], dtype=torch.float64)
        square = values.square()
        tails = [math.sqrt(square[r:].sum() / square.sum()) for r in range(len(values) + 1)]
        r = next(r for r, tail in enumerate(tails) if tail <= most)
        yield "rankFor", [values.tolist(), most], r
    for r in (0, 1, 3, 4, 5, 31, 96):
        row = max((row for row in data["ranks"] if row["rank"] <= r), key=lambda row: row["rank"])
        yield "measured", [r], row


if __name__ == "__main__":
    text = json.dumps(compact()).replace('}, "', '},\n"').replace('}, {"', '},\n{"')
    DATA.write_text(text + "\n", encoding="utf-8")
    print(DATA.name)
