"""Reference of the attention explorer: torch in float64 on the stored weights."""

import base64
import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).parents[2]
DATA = json.loads((ROOT / "glassbox" / "explorers" / "attention.json").read_text())


def trained() -> tuple[Any, Any]:
    """The experiment's module and its model with the stored weights, in float64."""
    path = ROOT / "book" / "experiments" / "tiny_attention.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    model = module.TinyModel().double()
    for name, stored in DATA["weights"].items():
        raw = torch.frombuffer(bytearray(base64.b64decode(stored["bytes"])), dtype=torch.int8)
        model.maps[name].data = raw.view(stored["shape"]).double() * stored["step"]
    return module, model


def masked(kind: str, n: int, window: int, n_global: int) -> torch.Tensor:
    """bool (T, T), built from index tables in place of loops."""
    i, j = torch.arange(n)[:, None], torch.arange(n)[None, :]
    near = (j <= i) & (i - j < window)
    return {
        "full": torch.ones(n, n, dtype=torch.bool),
        "causal": j <= i,
        "sliding": near,
        "global": near | ((j <= i) & (j < n_global)),
    }[kind]


def cases() -> Iterator[tuple[str, list, Any]]:
    yield "words", ["The modem, again"], ["the", "modem", ",", "again"]
    yield "words", ["ça c'est l'été"], ["ça", "c'est", "l'été"]
    yield "words", [" ".join("abcdefghijklmnopq")], list("abcdefghijklmn")
    yield "ids", [["?", "the", "nonsense", "29"]], [0, 1, 0, len(DATA["vocabulary"]) - 1]

    for kind in ("full", "causal", "sliding", "global"):
        for n, window, n_global in ((1, 1, 0), (5, 2, 1), (14, 8, 4)):
            allowed = masked(kind, n, window, n_global)
            yield "mask", [kind, n, n, window, n_global], allowed.tolist()
            yield "kept", [allowed.tolist()], int(allowed.sum())
            heard = (allowed | torch.eye(n, dtype=torch.bool)).double()
            for n_layers in (1, 2, 3):
                hears = int((torch.linalg.matrix_power(heard, n_layers)[-1] > 0).sum())
                yield "reach", [allowed.tolist(), n_layers], hears
    yield "mask", ["cross", 2, 3, 1, 0], [[True] * 3] * 2
    yield "mask", ["causal", 2, 2, 1, 0, ["0,1", "1,0"]], [[True, True], [False, True]]

    scores = torch.tensor([2.0, 1.0, 0.0], dtype=torch.float64)
    yield "share", [[2, 1, 0], [True] * 3], scores.softmax(0).tolist()
    yield "share", [[1000, 0, 7], [True, True, False]], [1.0, 0.0, 0.0]
    yield "share", [[2, 1], [False, False]], [float("nan")] * 2

    module, model = trained()
    sentences = [
        "the modem restarts because it",
        "the customer checks the router because they",
        "ticket 17 zebra , ticket",
    ]
    numbers = [
        [DATA["vocabulary"].index(w) if w in DATA["vocabulary"] else 0 for w in sentence.split()]
        for sentence in sentences
    ]
    with torch.no_grad():
        for row in numbers:
            for kind in ("causal", "sliding", "full"):
                allowed = masked(kind, len(row), 2, 0)
                logits, weights = model(torch.tensor([row]), allowed)
                value = {"weights": [w[0].tolist() for w in weights],
                         "logits": logits[0, -1].tolist()}  # fmt: skip
                yield "forward", [row, allowed.tolist()], value
        yield from crossed(module, model, numbers[0][:3], numbers[1])


def crossed(module: Any, model: Any, target: list[int], source: list[int]) -> Iterator[Any]:
    """Queries of one text, keys of the other, from what the first layer reads."""
    w, n_heads = model.maps, module.N_HEADS
    rows = [
        module.norm(4 * (w["embed"][torch.tensor(t)] + w["position"][: len(t)]))
        for t in (target, source)
    ]
    for head in range(n_heads):
        part = slice(head * module.D_MODEL // n_heads, (head + 1) * module.D_MODEL // n_heads)
        q, k = (rows[0] @ w["query0"])[:, part], (rows[1] @ w["key0"])[:, part]
        weights = (q @ k.T / (module.D_MODEL / n_heads) ** 0.5).softmax(dim=-1)
        allowed = [[True] * len(source)] * len(target)
        yield "crossWeights", [target, source, 0, head, allowed], weights.tolist()
