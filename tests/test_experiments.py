"""The experiments behind the book: they still run, and their data say what the text says."""

import importlib.util
import json
import math
from itertools import pairwise, product
from pathlib import Path
from types import ModuleType

import pytest
import torch

from glassbox import counting

FOLDER = Path(__file__).parents[1] / "book" / "experiments"


def load(name: str) -> ModuleType:
    path = FOLDER / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def positions() -> ModuleType:
    return load("position_extrapolation")


@pytest.fixture(scope="module")
def tiny() -> ModuleType:
    return load("tiny_attention")


@pytest.fixture(scope="module")
def norms() -> ModuleType:
    return load("norm_placement")


@pytest.fixture(scope="module")
def scaling() -> ModuleType:
    return load("scaling_runs")


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


def test_the_smallest_tiny_model_learns(tiny: ModuleType) -> None:
    torch.set_num_threads(1)
    rows = tiny.text_rows(200, seed=2)
    losses = [tiny.loss_of(tiny.train(n), rows).item() for n in (0, 20, 60)]
    assert losses[0] > losses[1] + 0.5
    assert losses[1] > losses[2] + 0.5


def test_the_tiny_models_text_has_work_for_attention(tiny: ModuleType) -> None:
    """What comes after it, they and a repeated ticket is decided by an earlier word."""
    for row in tiny.text_rows(300, seed=3):
        words = [tiny.VOCABULARY[i] for i in row if i >= 0]
        for one, two in pairwise(words):
            if one == "it" and two in tiny.DEVICES.values():
                cause = next(d for d, does in tiny.DEVICES.items() if does == two)
                assert cause in words or tiny.UNKNOWN in words
    assert len(set(tiny.VOCABULARY)) == len(tiny.VOCABULARY)


def test_the_tiny_models_data_say_what_the_explorer_shows(tiny: ModuleType) -> None:
    record = json.loads((FOLDER / "tiny_attention.json").read_text())
    assert record["seconds"] < 60
    assert record["loss_in_bytes"] < record["loss"] + 0.01  # rounding to bytes costs nothing
    best = [max(heads, key=lambda h: h["weight"]) for heads in record["heads"].values()]
    assert [b["reads"] for b in best] == ["modem", "customer", "17"]
    assert all(b["weight"] > 0.9 for b in best)
    stored = json.loads(tiny.WEIGHTS.read_text())
    assert stored["vocabulary"] == tiny.VOCABULARY
    assert tiny.WEIGHTS.stat().st_size < 40_000


@pytest.mark.parametrize("place", ["post", "pre"])
def test_the_smallest_norm_experiment_runs(norms: ModuleType, place: str) -> None:
    torch.set_num_threads(1)
    loss = norms.train(place, warmup=0, rate=1e-3, seed=0, steps=3)
    assert 0 < loss < 2 * math.log(256)


def test_the_norm_experiment_learns(norms: ModuleType) -> None:
    few, more = (norms.train("pre", warmup=0, rate=3e-3, seed=0, steps=n) for n in (3, 30))
    assert more < few - 0.5


def test_only_the_place_of_the_norm_differs(norms: ModuleType) -> None:
    models = {place: norms.Decoder(place) for place in ("post", "pre")}
    sizes = {place: sum(p.numel() for p in m.parameters()) for place, m in models.items()}
    assert sizes["pre"] - sizes["post"] == 2 * norms.D_MODEL  # the final norm


def test_the_norm_data_say_what_the_text_says() -> None:
    rows = json.loads((FOLDER / "norm_placement.json").read_text())["rows"]
    loss = {}
    for row in rows:
        loss.setdefault((row["place"], row["warmup"], row["rate"]), []).append(row["loss"])
    assert {len(seeds) for seeds in loss.values()} == {3}
    for (place, warmup, rate), seeds in loss.items():
        if place == "pre" or rate == 1e-3 or (warmup and rate == 3e-3):
            assert max(seeds) < 1.1  # trains
    assert min(loss["post", 0, 1e-2]) > 3  # knows the frequencies and nothing else
    assert min(loss["post", 0, 3e-3]) > 1.5
    assert max(loss["post", 100, 1e-2]) - min(loss["post", 100, 1e-2]) > 0.3  # scattered
    assert max(loss["post", 100, 1e-2]) < min(loss["post", 0, 1e-2])


def test_the_smallest_scaling_run(scaling: ModuleType) -> None:
    torch.set_num_threads(1)
    row = scaling.run(8, n_tokens=16_384, seed=0)
    model = scaling.Decoder(8)
    assert row["n_params"] == sum(p.numel() for p in model.parameters())
    untrained = scaling.loss_of(model, scaling.held_out())
    assert scaling.best_loss(scaling.held_out()) < row["loss"] < untrained
    assert row["flops"] == pytest.approx(6 * row["n_params"] * 16_384, rel=0.5)


def test_the_best_loss_of_a_text_is_that_of_its_tickets(scaling: ModuleType) -> None:
    """Two whole tickets: what their rarity says, less the first byte, which is given."""
    tickets = [scaling.sites()[0], scaling.sites()[4000]]
    weights = scaling.weights()
    first = sum(w for t, w in zip(scaling.sites(), weights, strict=True) if t[0] == tickets[0][0])
    nats = -math.log(weights[0] / first) - math.log(weights[4000] / sum(weights))
    text = "".join(tickets)
    assert scaling.best_loss(torch.tensor([list(text.encode())])) == pytest.approx(
        nats / (len(text) - 1)
    )


def test_the_scaling_data_are_whole_and_fall(scaling: ModuleType) -> None:
    record = json.loads((FOLDER / "scaling_runs.json").read_text())
    rows = record["rows"]
    loss = {(r["d_model"], r["tokens"], r["seed"]): r["loss"] for r in rows}
    assert len(rows) == len(loss) == 50
    assert {key[:2] for key in loss} == set(product(scaling.WIDTHS, scaling.TOKENS))
    assert record["best_loss"] == round(scaling.best_loss(scaling.held_out()), 4)
    assert min(loss.values()) > record["best_loss"] + 0.1  # nobody has learnt it all
    assert sum(r["seconds"] for r in rows) < 720
    for width, seed in product(scaling.WIDTHS, scaling.SEEDS):
        curve = [loss[width, n, seed] for n in scaling.TOKENS]
        assert curve == sorted(curve, reverse=True)  # more text helps every size
    for n in scaling.TOKENS[1:]:
        assert loss[64, n, 0] < loss[16, n, 0] < loss[8, n, 0]


def test_a_power_law_of_size_fits_the_scaling_data() -> None:
    """At most text, seeds averaged; its floor lies above what the text allows: text was short."""
    record = json.loads((FOLDER / "scaling_runs.json").read_text())
    most = [row for row in record["rows"] if row["tokens"] == 2_097_152]
    floor, coefficient, exponent = counting.fit(
        [row["n_params"] for row in most], [row["loss"] for row in most]
    )
    for row in most:
        assert floor + coefficient * row["n_params"] ** -exponent == pytest.approx(
            row["loss"], rel=0.05
        )
    assert 0.6 < exponent < 0.8
    assert record["best_loss"] + 0.1 < floor < min(row["loss"] for row in most)
