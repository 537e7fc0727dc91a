"""Compute the golden tables of the explorers: for each NAME.py here, NAME.json beside it.

A table is a list of calls, `{"call": function, "args": [...], "value": ...}`: what the exported
function of `glassbox/explorers/NAME.js` must answer. The values come from Python (torch, or plain
arithmetic), never from JavaScript. NaN is written as null.

    python tests/golden/write.py
"""

import importlib.util
import json
import math
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def plain(value: Any) -> Any:
    """As JSON will give it back: lists and null in place of tuples and NaN."""
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return None if isinstance(value, float) and math.isnan(value) else value


def names() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "write")


def table(name: str) -> list[dict[str, Any]]:
    """The calls of one explorer, computed now."""
    spec = importlib.util.spec_from_file_location(f"golden_{name}", FOLDER / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return [
        {"call": call, "args": plain(args), "value": plain(value)}
        for call, args, value in module.cases()
    ]


if __name__ == "__main__":
    for name in names():
        rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in table(name))
        (FOLDER / f"{name}.json").write_text(f"[\n{rows}\n]\n", encoding="utf-8")
        print(f"{name}.json")
