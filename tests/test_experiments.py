"""The experiments behind the book: they still run, and their data say what the text says."""

import importlib.util
import json
import math
from pathlib import Path
from types import ModuleType

import pytest
import torch

FOLDER = Path(__file__).parents[1] / "book" / "experiments"


@pytest.fixture(scope="module")
def positions() -> ModuleType:
    path = FOLDER / "position_extrapolation.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_experiment_has_its_data_file() -> None:
    scripts = {p.stem for p in FOLDER.glob("*.py")}
    assert scripts
    assert scripts == {p.stem for p in FOLDER.glob("*.json")}


@pytest.mark.parametrize("scheme", ["alibi", "sinusoidal", "rope", "learned", "none"])
def test_the_smallest_position_experiment_runs(positions: ModuleType, scheme: str) -> None:
    torch.set_num_threads(1)
    losses = positions.loss_by_position(positions.train(scheme, seed=0, n_steps=5), n_rows=4)
    assert len(losses) == positions.TEST_LEN // positions.BUCKET
    assert all(math.isfinite(x) for x in losses)


def test_the_position_experiment_learns(positions: ModuleType) -> None:
    few, more = (
        positions.loss_by_position(positions.train("alibi", seed=0, n_steps=n), n_rows=4)[3]
        for n in (5, 40)
    )
    assert more < few - 1


def test_the_position_data_say_what_the_text_says() -> None:
    record = json.loads((FOLDER / "position_extrapolation.json").read_text())
    guessed = (2 * math.log(9000) + math.log(6)) / 24.83  # nats per byte, see the page
    inside = record["train_len"] // record["bucket"] - 1
    for row in record["rows"]:
        losses, scheme = row["loss"], row["scheme"]
        if scheme in ("learned", "sinusoidal"):
            assert losses[inside + 1] > 2 * guessed  # fails at once
        if scheme == "rope":
            assert losses[inside + 2] < losses[-1] / 2  # carries on for a while, then fails
            assert losses[-1] > guessed
        if scheme == "alibi":
            assert max(losses[inside:]) < guessed  # never worse than guessing
    assert {(r["scheme"], r["seed"]) for r in record["rows"]} == {
        (s, k) for s in ("alibi", "none", "rope", "learned", "sinusoidal") for k in (0, 1, 2)
    }
