"""Reference of the loss doctor; also writes its data, `glassbox/explorers/doctor.json`, which are
the runs of book/experiments/loss_curves.json to three digits. Run it after that experiment.

    python tests/golden/doctor.py
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from glassbox import explore

ROOT = Path(__file__).parents[2]
DATA = ROOT / "glassbox" / "explorers" / "doctor.json"
RECORD = ROOT / "book" / "experiments" / "loss_curves.json"
PLAIN = ("name", "title", "steps", "fault", "sign", "cure")


def short(loss: float | None) -> float | None:
    return None if loss is None or not math.isfinite(loss) else round(loss, 3)


def compact() -> dict[str, Any]:
    curves = json.loads(RECORD.read_text(encoding="utf-8"))["curves"]
    return {
        "curves": [
            {key: curve[key] for key in PLAIN}
            | {key: [short(loss) for loss in curve[key]] for key in ("train", "val")}
            for curve in curves
        ]
    }


def read(curve: dict[str, Any]) -> dict[str, Any]:
    """What the summary says of a run."""
    train, val = ([x for x in curve[key] if x is not None] for key in ("train", "val"))
    lost = [
        step
        for step, *losses in zip(curve["steps"], curve["train"], curve["val"], strict=True)
        if None in losses
    ]
    return {
        "first": train[0], "train": train[-1], "val": val[-1], "lowest": min(val),
        "at": curve["steps"][curve["val"].index(min(val))], "highest": max(train),
        "lost": lost[0] if lost else None,
    }  # fmt: skip


def cases() -> Iterator[tuple[str, list, Any]]:
    curves = compact()["curves"]
    assert json.loads(DATA.read_text(encoding="utf-8")) == {"curves": curves}, (
        "run python tests/golden/doctor.py"
    )
    choices = explore.about("doctor")["options"]["guess"]["choices"]
    assert {k: v for k, v in choices.items() if k != "none"} == {
        c["name"]: c["title"] for c in curves
    }
    order = [curves[i]["name"] for i in (4, 7, 0, 3, 6, 9, 2, 5, 8, 1)]
    for number, name in enumerate(order, start=1):
        yield "patient", [number], name
    for curve in curves:
        yield "reading", [curve["name"]], read(curve)
    yield "score", [{}], {"tried": 0, "right": 0}
    yield "score", [{"1": order[0], "3": order[0], "10": order[9]}], {"tried": 3, "right": 2}
    yield "score", [{"2": "none"}], {"tried": 1, "right": 0}


if __name__ == "__main__":
    text = json.dumps(compact(), ensure_ascii=False)
    DATA.write_text(text.replace('}, {"', '},\n{"') + "\n", encoding="utf-8")
    print(DATA.name)
