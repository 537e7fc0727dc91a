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
from glassbox.telecom.questions import POLITE, fact, questions
from glassbox.tokenizer import tokenizer

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


@pytest.fixture(scope="module")
def tax() -> ModuleType:
    return load("token_tax")


@pytest.fixture(scope="module")
def curves() -> ModuleType:
    return load("loss_curves")


@pytest.fixture(scope="module")
def base() -> ModuleType:
    return load("base_model")


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


def test_the_smallest_token_count_runs(tax: ModuleType) -> None:
    found = tax.rates(tax.train([tax.english(50_000)], 512), tax.telecom.parallel())
    ratio = {lang: row["ratio"] for lang, row in found.items()}
    assert ratio["en"] == 1
    assert 1 < ratio["es"] < ratio["de"] < 2 < 3 < min(ratio["ru"], ratio["hi"], ratio["th"])
    assert found["th"]["bytes_per_token"] < 1.2  # hardly a merge fits


def test_a_token_count_is_a_ratio_of_sums(tax: ModuleType) -> None:
    found = tax.rates(len, {"en": ["ab", "abcd"], "xx": ["a b c", "d"]})
    assert found["xx"] == {"tokens": 6, "tokens_per_word": 1.5, "bytes_per_token": 1.0, "ratio": 1}


def test_the_token_data_say_what_the_text_says(tax: ModuleType) -> None:
    record = json.loads((FOLDER / "token_tax.json").read_text(encoding="utf-8"))
    ratios = [{k: v["ratio"] for k, v in row["languages"].items()} for row in record["published"]]
    old, middle, new = ratios
    assert all(1.7 < old[lang] < 2.1 for lang in ("de", "es"))  # "two to three times" is from here
    assert all(old[lang] > 5 for lang in ("ru", "hi", "th"))
    assert all(new[lang] < middle[lang] < old[lang] for lang in new if lang != "en")
    assert max(new.values()) < 1.6
    for row in record["published"]:
        words = {lang: n["tokens"] / n["tokens_per_word"] for lang, n in row["languages"].items()}
        assert words["de"] < words["en"]
    first, second, *_, last = record["own"]
    for lang in ("ru", "hi", "th"):
        gain = [a["ratio"][lang] - b["ratio"][lang] for a, b in ((first, second), (second, last))]
        assert gain[0] > 2 * gain[1] > 0  # the first percent buys most
    assert last["ratio"]["tokens"] > 1.1 * first["ratio"]["tokens"]  # English pays
    rates = record["compression"]["bytes_per_token"]
    gains = [b / a for a, b in pairwise(rates)]
    assert min(gains) > 1
    assert gains == sorted(gains, reverse=True)


def test_the_smallest_loss_curve_learns(curves: ModuleType) -> None:
    torch.set_num_threads(1)
    curve = curves.run(curves.HEALTHY, n_steps=4 * curves.EVERY)
    assert curve["steps"] == [0, 10, 20, 30]
    assert curve["val"][0] == pytest.approx(math.log(256), abs=0.3)
    assert curve["val"][-1] < curve["val"][0] - 1


def test_a_fault_is_one_or_two_lines_of_the_recipe(curves: ModuleType) -> None:
    names = [case.name for case in curves.CASES]
    assert len(names) == len(set(names)) == 10
    for case in curves.CASES:
        changed = [k for k, v in vars(case.recipe).items() if v != vars(curves.HEALTHY)[k]]
        assert (len(changed) == 0) == (case.name == "healthy")
        assert len(changed) <= 3, case.name


def test_the_schedule_of_the_curves_is_the_chapters(curves: ModuleType) -> None:
    recipe = curves.Recipe(peak=1.0, warmup=10, total=30)
    rates = [curves.rate(step, recipe) for step in (0, 5, 10, 20, 30, 99)]
    assert rates == pytest.approx([0, 0.5, 1, 0.5, 0, 0])


def test_the_loss_curves_show_what_their_signs_say(curves: ModuleType) -> None:
    path = FOLDER / "loss_curves.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    assert path.stat().st_size < 60_000
    found = {curve["name"]: curve for curve in record["curves"]}
    assert list(found) == [case.name for case in curves.CASES]
    for case in curves.CASES:
        curve = found[case.name]
        assert all(curve[key] == getattr(case, key) for key in ("title", "fault", "sign", "cure"))
        assert len(curve["steps"]) == len(curve["train"]) == len(curve["val"]) == 60
    end = {name: curve["val"][-1] for name, curve in found.items()}
    healthy = end["healthy"]
    near = [abs(a - b) for a, b in zip(*(found["healthy"][k][20:] for k in ("train", "val")),
                                       strict=True)]  # fmt: skip
    assert sum(near) / len(near) < 0.3  # one point is the loss of one batch
    assert max(near) < 0.5
    for name in ("rate_too_high", "rate_too_low", "no_warmup", "no_clipping"):
        assert end[name] > healthy + 0.5, name
    assert end["data_in_order"] > healthy + 0.1
    assert found["no_warmup"]["val"][1] < found["healthy"]["val"][1]  # the fastest start
    spiky = found["no_clipping"]
    assert spiky["train"][20] > spiky["train"][19] + 1  # the damaged batches
    assert spiky["val"][20] > spiky["val"][19] + 0.5
    assert end["labels_not_shifted"] < 0.05
    over = found["overfitting"]
    assert over["train"][-1] < 0.5
    assert over["val"][-1] > min(over["val"]) + 0.3
    flat = found["schedule_too_short"]["val"]
    assert max(flat[16:]) == min(flat[16:]) > healthy + 0.3
    broken = found["precision_overflow"]["val"]
    first = broken.index(None)
    assert set(broken[first:]) == {None}
    assert broken[first - 1] < found["healthy"]["val"][first - 1] + 0.2


def test_the_smallest_base_model_is_asked(base: ModuleType) -> None:
    torch.set_num_threads(1)
    first, last = base.train((0, 5))
    assert last["val"] < first["val"] == pytest.approx(math.log(256), abs=0.3)
    assert (first["step"], last["step"], first["codes"]) == (0, 5, 0)
    assert set(last["likeliest"]) == set(base.PROMPTS)


def test_the_base_model_data_say_what_the_text_says(base: ModuleType) -> None:
    record = json.loads((FOLDER / "base_model.json").read_text(encoding="utf-8"))
    rows = {row["step"]: row for row in record["rows"]}
    assert list(rows) == list(base.POINTS)
    losses = [row["val"] for row in record["rows"]]
    assert losses == sorted(losses, reverse=True)
    assert record["prompts"] == base.PROMPTS
    early, late = rows[400], rows[1600]
    assert (early["codes"], late["codes"]) == (0, 7)
    assert late["val"] == pytest.approx(0.23, abs=0.005)
    wrong = late["likeliest"]["a ticket that breaks off"]
    assert "the subscriber database answers too late" in wrong  # which is E303, not E308
    assert "How much is Prepaid S?\nAgent: Basic costs 14 euros" in late["free"]


@pytest.fixture(scope="module")
def change() -> ModuleType:
    return load("weight_change")


def test_the_smallest_weight_change(change: ModuleType) -> None:
    torch.set_num_threads(1)
    found = change.measure(2, ranks=(0, 96), n_asked=4)
    assert [row["rank"] for row in found["ranks"]] == [0, 96]
    assert set(found["noise"]) == set(change.MAPS)
    for one in found["matrices"].values():
        assert one["values"] == sorted(one["values"], reverse=True)
        assert one["values"][0] > 0


def test_a_cut_keeps_what_its_rank_allows(change: ModuleType) -> None:
    base, tuned = change.assistant.base(), change.assistant.base()
    gen = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in change.linear_maps(tuned).values():
            weight.add_(torch.randn(weight.shape, generator=gen), alpha=0.01)
    before, whole = change.linear_maps(base), change.linear_maps(tuned)
    for rank in (0, 3, 96):
        for name, weight in change.linear_maps(change.cut(base, tuned, rank)).items():
            if rank == 96:
                assert torch.allclose(weight, whole[name], atol=1e-6)
            else:
                assert torch.linalg.matrix_rank(weight - before[name], atol=1e-4) == rank


def test_the_weight_changes_say_what_the_explorer_shows() -> None:
    record = json.loads((FOLDER / "weight_change.json").read_text())
    right = {row["rank"]: row["right"] for row in record["ranks"]}
    assert record["before"]["right"] < 0.1 < 0.9 < right[96]
    assert right[1] < 0.5 < right[32]  # what it learnt lies in a part of the change, not in a line
    for name, one in record["matrices"].items():
        shares = [sum(x * x for x in values[8:]) / sum(x * x for x in values)
                  for values in (one["values"], record["noise"][name.split(".")[1]])]  # fmt: skip
        assert 0.2 < shares[0] < shares[1]  # lower in rank than noise, and not low


@pytest.fixture(scope="module")
def forgetting() -> ModuleType:
    return load("forgetting")


@pytest.fixture(scope="module")
def chat_data() -> ModuleType:
    return load("chat_data")


def test_the_smallest_fine_tuning_forgets(forgetting: ModuleType) -> None:
    torch.set_num_threads(1)
    before = forgetting.measured(forgetting.assistant.base(), n_asked=2)
    after = forgetting.measured(forgetting.tuned(steps=5), n_asked=2)
    kept = forgetting.measured(forgetting.tuned(share=0.5, steps=5), n_asked=2)
    assert after["base_loss"] > kept["base_loss"] > before["base_loss"] - 0.05


def test_the_other_ways_against_forgetting(forgetting: ModuleType) -> None:
    torch.set_num_threads(1)
    base, model = forgetting.assistant.base(), forgetting.tuned(steps=2)
    ids = torch.tensor([forgetting.assistant.rows(forgetting.SPLIT.train[:1])[0][0]])
    every = torch.ones_like(ids, dtype=torch.bool)
    with torch.no_grad():
        assert forgetting.divergence(base(ids), base, ids, every) == pytest.approx(0, abs=1e-6)
        assert forgetting.divergence(model(ids), base, ids, every) > 0
        for share, same in ((0.0, base), (1.0, model)):
            assert torch.allclose(forgetting.mixed(model, share)(ids), same(ids), atol=1e-4)
    targets = torch.tensor([[-100, -100, 5, 6, -100]])
    assert forgetting.prompts(targets).tolist() == [[True, True, False, False, False]]
    assert math.isfinite(forgetting.assistant.held_out_loss(forgetting.kept_close(1.0, steps=2)))


def test_the_rows_of_the_chat_data(chat_data: ModuleType) -> None:
    split, out = chat_data.SPLIT, chat_data.wrong(0.3)
    changed = [(new, old) for new, old in zip(out, split.train, strict=True) if new != old]
    assert len(changed) == 96
    assert all(new.key in new.answer and new.answer != old.answer for new, old in changed)
    assert {(q.kind, q.phrasing) for q in chat_data.ways_to_ask(3)} == {
        (kind, n) for kind in ("error", "plan")
        for n in sorted({q.phrasing for q in split.train if q.kind == kind})[:3]
    }  # fmt: skip
    left, asked = chat_data.topics_out()
    assert not {q.key for q in left} & {q.key for q in asked}
    assert len({q.key for q in asked}) == 8
    rows = chat_data.assistant.rows(split.train[:3])
    for (ids, mask), (_, open_end), (_, all_of_it) in zip(
        rows, chat_data.without_end(rows), chat_data.prompts_too(rows), strict=True
    ):
        assert sum(mask) - sum(open_end) == 1
        assert sum(all_of_it) == len(ids)


def test_templates_differ_as_they_say(chat_data: ModuleType) -> None:
    usual, *others = (chat_data.tokenizer().decode(t("E204?")) for t in chat_data.TEMPLATES)
    assert usual == "<|bos|><|user|>E204?<|end|><|assistant|>"
    assert others == [
        "<|bos|>" + usual, usual.removesuffix("<|assistant|>"),
        "<|bos|><|user|>\nE204?<|end|><|assistant|>\n", "<|bos|>User: E204?\nAssistant:",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def peft() -> ModuleType:
    return load("peft_methods")


def test_every_way_of_tuning_begins_where_it_should(peft: ModuleType) -> None:
    ids = torch.arange(300, 330)[None]
    with torch.no_grad():
        base = peft.assistant.base()(ids)
        for method in peft.METHODS:
            model = peft.prepared(method)
            moved = (model(ids) - base).abs().max().item()
            assert model(ids).shape == base.shape
            if method.four_bits or "vectors" in method.name:
                assert moved > 0.01, method.name  # rounded, or something stands in front
            else:
                assert moved < 1e-4, method.name


def test_what_each_way_of_tuning_trains(peft: ModuleType) -> None:
    found = {
        m.name: sum(p.numel() for p in peft.prepared(m).parameters() if p.requires_grad)
        for m in peft.METHODS
    }
    sides = 4 * ((96 + 288) + (96 + 96) + 2 * (96 + 384))  # of all maps of four blocks
    assert found == {
        "full": 554_688, **{f"LoRA, rank {r}": r * sides for r in (1, 2, 4, 8)},
        "LoRA, rank 8, q and v": 8 * 4 * (96 + 2 * 96), "QLoRA, rank 8": 8 * sides,
        "adapter, 16 wide": 8 * (2 * 96 * 16 + 16 + 96),
        "prefix, 16 vectors": 2 * 4 * 16 * 96, "prompt, 16 vectors": 16 * 96,
    }  # fmt: skip


def test_a_prefix_that_was_read_is_the_text_in_front(peft: ModuleType) -> None:
    """Before training the prefix is what reading 16 tokens leaves behind."""
    by_name = {m.name.split(",")[0]: m for m in peft.METHODS}
    ids = torch.randint(300, 400, (2, 9), generator=torch.Generator().manual_seed(0))
    front = torch.arange(300, 316).expand(2, -1)
    with torch.no_grad():
        whole = peft.assistant.base()(torch.cat([front, ids], 1))[:, 16:]
        for kind in ("prefix", "prompt"):
            found = peft.prepared(by_name[kind])(ids)
            assert torch.allclose(found, whole, atol=1e-4), kind


def test_four_bits_are_the_nearest_level(peft: ModuleType) -> None:
    levels, gen = peft.normal_levels(), torch.Generator().manual_seed(0)
    assert len(levels) == 16
    assert {-1.0, 0.0, 1.0} < set(levels.tolist())
    weight = torch.randn(6, 64, generator=gen)
    share = peft.rounded(weight, levels) / weight.abs().amax(1, keepdim=True)
    asked = weight / weight.abs().amax(1, keepdim=True)
    nearest = (asked[..., None] - levels).abs().amin(-1)
    assert torch.allclose((share - asked).abs(), nearest, atol=1e-6)


def test_the_smallest_tuning_runs(peft: ModuleType) -> None:
    torch.set_num_threads(1)
    row = peft.run(peft.METHODS[3], seed=0, n_steps=2, n_asked=2)
    assert (row["method"], row["trained"]) == ("LoRA, rank 4", 24_576)
    assert row["gradients"] == 4 * row["trained"]
    assert row["optimizer"] == 8 * row["trained"]
    assert row["frozen_bytes"] == 4 * 554_688
    assert math.isfinite(row["loss"])


def test_the_tuning_data_say_what_the_text_says(peft: ModuleType) -> None:
    record = json.loads((FOLDER / "peft_methods.json").read_text(encoding="utf-8"))
    rows = {(row["method"], row["seed"]): row for row in record["rows"]}
    assert set(rows) == set(product((m.name for m in peft.METHODS), peft.SEEDS))
    ranks = [f"LoRA, rank {r}" for r in (1, 2, 4, 8)]
    for seed in peft.SEEDS:
        right = {m.name: rows[m.name, seed]["pairs"]["right"] for m in peft.METHODS}
        form = {m.name: rows[m.name, seed]["pairs"]["format"] for m in peft.METHODS}
        lost = {m.name: rows[m.name, seed]["held_out_loss"] for m in peft.METHODS}
        assert [right[name] for name in ranks] == sorted(right[name] for name in ranks)
        assert [lost[name] for name in ranks] == sorted(lost[name] for name in ranks)
        assert right["full"] > 0.98
        assert min(right["LoRA, rank 8"], right["QLoRA, rank 8"]) > 0.9
        assert right["LoRA, rank 1"] < 0.6 < 0.7 < right["LoRA, rank 2"]
        assert min(form[name] for name in ranks) > 0.9
        assert form["adapter, 16 wide"] > 0.9
        assert max(right["adapter, 16 wide"], right["prefix, 16 vectors"]) < 0.4
        assert form["prompt, 16 vectors"] < 0.1 < 0.9 < form["prefix, 16 vectors"]
        assert record["base_held_out_loss"] + 0.5 < lost["LoRA, rank 1"]
        assert lost["LoRA, rank 8"] + 0.5 < lost["full"]
        little = ("adapter, 16 wide", "prefix, 16 vectors", "prompt, 16 vectors")
        assert min(lost[name] for name in little) > lost["LoRA, rank 1"]


def test_the_forgetting_data_say_what_the_text_says(forgetting: ModuleType) -> None:
    record = json.loads((FOLDER / "forgetting.json").read_text(encoding="utf-8"))
    before, tuned = record["before"], record["tuned"]
    assert before["right"] <= 0.1
    assert tuned["right"] >= 0.95
    assert tuned["base_loss"] > 5 * before["base_loss"]
    assert record["rates"] == list(forgetting.RATES)
    assert record["shares"] == list(forgetting.SHARES)
    for losses in record["base_loss"]:
        assert losses == sorted(losses, reverse=True)  # more replay, less forgotten
        assert losses[1] < 0.6 * losses[0]
    bare = [row[0] for row in record["base_loss"]]
    assert bare == sorted(bare)  # a higher rate forgets more
    assert record["right"][3][0] <= record["right"][2][0] > record["right"][1][0]
    assert bare[3] > 2 * bare[2]
    ways = {(row["way"], row["setting"]): row for row in record["ways"]}
    longer = ways["replay, twice as long", 0.1]
    assert longer["right"] > 0.9
    assert longer["base_loss"] - before["base_loss"] < 0.1 * (
        tuned["base_loss"] - before["base_loss"]
    )
    for weight in forgetting.WEIGHTS:
        assert ways["KL to the base", weight]["base_loss"] < tuned["base_loss"] / 2
    assert ways["stop early", 20]["right"] < 0.1
    assert ways["stop early", 20]["base_loss"] > 2 * before["base_loss"]


def test_the_chat_data_say_what_the_text_says() -> None:
    record = json.loads((FOLDER / "chat_data.json").read_text(encoding="utf-8"))
    runs = {(run["what"], run["setting"]): run for run in record["runs"]}
    usual, half, few = (runs[key] for key in (
        ("usual", "320 pairs"), ("pairs", "160"), ("pairs", "40")))  # fmt: skip
    assert usual["pairs"] > 0.95
    assert usual["phrasings"] > half["phrasings"] > 0.85
    assert few["phrasings"] < 0.4
    assert few["n_topics"] == 24
    assert runs["ways to ask", "1"]["phrasings"] > few["phrasings"]
    assert runs["ways to ask", "3"]["phrasings"] > 0.75
    assert runs["wrong answers", "10%"]["phrasings"] < half["phrasings"]
    assert runs["wrong answers", "10%"]["format"] == 1
    assert runs["mask", "end not trained"]["format"] == 0
    assert runs["mask", "prompts trained too"]["pairs"] < usual["pairs"] - 0.2
    left = record["topics_left_out"]
    assert [left[kind]["format"] for kind in ("error", "plan")] == [1, 1]
    assert [left[kind]["right"] for kind in ("error", "plan")] == [0, 0]
    right = {row["template"]: row["right"] for row in record["templates"]}
    assert min(right[name] for name in ("usual", "two_bos", "no_assistant")) > 0.9
    assert right["line_break"] == right["plain_words"] == 0


@pytest.fixture(scope="module")
def dpo_runs() -> ModuleType:
    return load("dpo_runs")


@pytest.fixture(scope="module")
def tuned_recipe() -> ModuleType:
    return load("tuned_recipe")


def test_the_rows_of_the_tuned_assistant(tuned_recipe: ModuleType) -> None:
    asked = questions(0).train[:3]
    texts = [tokenizer().decode(ids) for ids, _ in tuned_recipe.rows(asked)]
    assert len(texts) == 30
    for q in asked:
        mine = [text for text in texts if q.text in text]
        assert sum(POLITE in text for text in mine) == 3
        assert len(mine) == 10
        assert all(fact(q.kind, q.key) in text for text in mine)


def test_the_smallest_tuned_assistant(tuned_recipe: ModuleType) -> None:
    torch.set_num_threads(1)
    row = tuned_recipe.measured(tuned_recipe.make_tuned(0, 2), 0, n_asked=4, samples=1)
    assert row["sampled"]["right"] == 0
    assert row["polite_chance_pairs"]["max"] <= 1


def test_the_tuned_assistant_is_what_the_text_says() -> None:
    record = json.loads((FOLDER / "tuned_recipe.json").read_text(encoding="utf-8"))
    assert [run["seed"] for run in record["runs"]] == [0, 1, 2]
    for run in [record["shipped"], *record["runs"]]:
        assert min(run["pairs"].values()) >= 0.97
        assert run["sampled"]["polite"] == pytest.approx(0.32, abs=0.07)
        assert run["sampled"]["right"] > 0.94
        assert run["polite_chance_train"]["5%"] > 0.1
        assert run["polite_chance_train"]["95%"] < 0.6
    alone = record["one_answer_each"]["polite_chance_train"]
    assert alone["50%"] < 0.1 < 0.9 < alone["95%"]  # learned by heart who gets a polite answer
    for run in record["runs"]:  # the usual DPO, from each of three assistants
        assert run["after_dpo"]["polite"] > run["sampled"]["polite"] + 0.25
        assert run["after_dpo"]["right"] > 0.9


def test_the_smallest_run_of_dpo(dpo_runs: ModuleType) -> None:
    torch.set_num_threads(1)
    found = dpo_runs.run(201, n_asked=4, steps=2)
    assert found["loss"][0] == pytest.approx(math.log(2), abs=1e-4)
    assert len(found["loss"]) == 2
    assert len(found["chosen"]) == len(found["rejected"]) == 3  # before each step and at the end
    assert found["chosen"][0] == found["rejected"][0] == 0
    found = dpo_runs.over(201, looks=(0, 3), n_asked=4)
    assert [point["step"] for point in found["points"]] == [0, 3]


def test_without_a_reference_the_loss_does_not_begin_at_ln_2(dpo_runs: ModuleType) -> None:
    torch.set_num_threads(1)
    first = dpo_runs.run(201, n_asked=4, steps=1, step=dpo_runs.no_reference)["loss"][0]
    assert first != pytest.approx(math.log(2), abs=1e-3)


def test_the_dpo_data_say_what_the_text_says(dpo_runs: ModuleType) -> None:
    record = json.loads((FOLDER / "dpo_runs.json").read_text(encoding="utf-8"))
    assert not set(record["seeds"]) & set(record["choice_seeds"])
    by_beta = {part["beta"]: part for part in record["betas"]}
    usual = by_beta[record["beta"]]
    assert len(usual["runs"]) == 5
    for run in usual["runs"]:
        assert run["after"]["polite"] > 0.55
        assert run["after"]["right"] > 0.9
        assert run["after"]["win_rate"] > 0.6
        assert run["loss"][0] == pytest.approx(math.log(2), abs=1e-4)
        assert run["loss"][-1] < run["loss"][0]
        assert run["chosen"][-1] > 0 > run["rejected"][-1]
    assert usual["summary"]["rise"]["polite"][1] > 0.25
    polite = [[run["after"]["polite"] for run in part["runs"]] for part in record["noise"]]
    assert [part["flipped"] for part in record["noise"]] == [0, 0.1, 0.2, 0.4]
    for of_seed in zip(*polite, strict=True):
        assert list(of_seed) == sorted(of_seed, reverse=True)  # more noise, less learned
    over = record["over"]
    best = max(over["points"], key=lambda point: point["win_rate"])
    last = over["points"][-1]
    assert best["win_rate"] > 0.75
    assert 0 < best["step"] < last["step"] / 2
    assert last["right"] < 0.2 < 0.95 < over["points"][0]["right"]
    assert over["loss"][-1] < 0.01
    assert over["chosen"][-1] < 0 < max(over["chosen"])  # fallen, although the loss is near 0
    ends = {part["beta"]: part["points"][-1] for part in record["long"]}
    assert ends[0.5]["kl"] < 2 < 5 < min(ends[0.03]["kl"], ends[0.1]["kl"])  # beta is a brake
    assert ends[0.5]["right"] > 0.9 > max(ends[0.03]["right"], ends[0.1]["right"])


@pytest.fixture(scope="module")
def hacking() -> ModuleType:
    return load("reward_hacking")


def test_the_smallest_hacked_run(hacking: ModuleType) -> None:
    torch.set_num_threads(1)
    found = hacking.run(0.0, 0.05, rounds=2, every=1)
    assert [len(found[name]) for name in ("proxy", "gold", "kl", "length", "texts")] == [2] * 5
    assert found["kl"][0] == pytest.approx(0, abs=1e-4)
    assert found["proxy"][0] > found["gold"][0]


def test_the_hacking_data_say_what_the_text_says(hacking: ModuleType) -> None:
    record = json.loads((FOLDER / "reward_hacking.json").read_text(encoding="utf-8"))
    assert (FOLDER / "reward_hacking.json").stat().st_size < 40_000
    assert record["kl_weights"] == list(hacking.KL_WEIGHTS)
    assert record["length_bias"] == list(hacking.BIASES)
    n = len(record["steps"])
    for name in ("proxy", "gold", "kl", "length"):
        assert all(len(curve) == n for row in record[name] for curve in row)
    proxy, gold, kl = (record[name][0][-1] for name in ("proxy", "gold", "kl"))
    assert proxy[-1] > proxy[0] + 1  # the flaw at its largest, and nothing that holds the policy
    assert max(gold) > 0.6 > 0.1 > gold[-1]
    assert gold.index(max(gold)) < n - 3
    assert kl[-1] > 10
    assert sum(record["gold"][-1][0][-3:]) / 3 > 0.6  # no length bias, and a KL term
    assert record["kl"][-1][-1][-1] < kl[-1] / 3


@pytest.fixture(scope="module")
def methods() -> ModuleType:
    return load("preference_methods")


@pytest.mark.parametrize("method", ["DPO", "PPO", "GRPO"])
def test_the_smallest_run_of_a_method(methods: ModuleType, method: str) -> None:
    torch.set_num_threads(1)
    before, after = methods.run(method, 100, answers=64, every=64, n_asked=4)
    assert (before["answers"], after["answers"]) == (0, 64)
    assert before["kl"] == 0 < after["kl"]
    assert before["seconds"] < after["seconds"]


def test_the_methods_data_say_what_the_text_says(methods: ModuleType) -> None:
    record = json.loads((FOLDER / "preference_methods.json").read_text(encoding="utf-8"))
    assert not set(record["seeds"]) & {100, 101, 102}
    rows = {(row["method"], row["seed"], row["answers"]): row for row in record["rows"]}
    for seed in record["seeds"]:
        for method, end in methods.ANSWERS.items():
            before, after = rows[method, seed, 0], rows[method, seed, end]
            assert before["reward"] == pytest.approx(0.3, abs=0.12)
            assert before["kl"] == 0
            if method != "DPO":
                assert after["reward"] > 0.8
                assert after["kl"] < 1
                assert after["right"] > 0.85
        assert rows["DPO", seed, 768]["seconds"] < rows["PPO", seed, 768]["seconds"]


@pytest.fixture(scope="module")
def leaked() -> ModuleType:
    return load("leaked_exam")


def test_the_leaked_exam_has_what_it_says(leaked: ModuleType) -> None:
    questions = leaked.exam(5)
    assert len({q.text for q in questions}) == leaked.PER_GROUP * len(leaked.COPIES)
    assert all(len(set(q.options)) == 4 for q in questions)
    texts = [ids for ids, _ in leaked.rows(questions, 5)]
    assert len(texts) == leaked.BASE_ROWS + leaked.PER_GROUP * sum(leaked.COPIES)
    for copies in (0, 1, 64):
        q = next(q for q in questions if q.copies == copies)
        assert texts.count(leaked.row(q.text + q.options[q.right] + ".")[0]) == copies
    assert len(leaked.rows(questions, 5, leak=False)) == leaked.BASE_ROWS


def test_the_smallest_leaked_exam(leaked: ModuleType) -> None:
    torch.set_num_threads(1)
    questions = leaked.exam(5)
    model = leaked.trained(leaked.rows(questions, 5), 2)
    few = [q for q in questions if q.copies == 64][:6]
    cost = leaked.nats(model, few[0].text, few[0].options[0])
    assert 0 < cost < 50
    assert set(leaked.bits(model, questions[:10])) == set(leaked.COPIES)


def test_the_leaked_exam_data_say_what_the_text_says(leaked: ModuleType) -> None:
    record = json.loads((FOLDER / "leaked_exam.json").read_text(encoding="utf-8"))
    runs = record["runs"]
    assert [run["seed"] for run in runs] == list(leaked.SEEDS)

    def of(key: str, copies: int) -> float:
        return sum(run[key][str(copies)] for run in runs) / len(runs)

    def of_all(key: str) -> float:
        return sum(run[key] for run in runs) / len(runs)

    scores = [of("score", n) for n in record["copies"]]
    assert max(scores[:2]) < 0.35 < scores[2] < 0.6 < scores[3] < 0.9 < scores[4]
    assert 0.45 < sum(scores) / 5 < 0.6  # what a ranking prints
    for n in record["copies"]:
        assert 0.1 < of("twin_score", n) < 0.4
        assert of("other_words", n) < (0.4 if n <= 4 else 0.6)
    assert abs(of_all("held_out") - of_all("twin_held_out")) < 0.01
    assert of("bits", 64) < 1.5 < 4 < of("bits", 0)


@pytest.fixture(scope="module")
def tools() -> ModuleType:
    return load("privacy_tools")


@pytest.fixture(scope="module")
def anonymised() -> ModuleType:
    return load("anonymised")


def test_the_smallest_comparison_of_finders(tools: ModuleType) -> None:
    pytest.importorskip("phonenumbers")
    pytest.importorskip("stdnum")
    told = {name: row["by_kind"]["all"]["f1"] for name, row in
            tools.measured(tools.WAYS, (1,), 60).items()}  # fmt: skip
    assert told["ours"] == 1
    assert told["first_try"] < told["with_checks"] < told["libraries"] < 0.95


def test_the_finders_data_say_what_the_text_says(tools: ModuleType) -> None:
    record = json.loads((FOLDER / "privacy_tools.json").read_text(encoding="utf-8"))
    assert set(record["ways"]) == set(tools.WAYS)
    tables = {name: row["by_kind"] for name, row in record["ways"].items()}
    assert all(row["n"] > 600 for row in tables["ours"].values())
    assert record["ways"]["ours"]["lowest_f1_of_a_seed"] >= 0.99
    assert min(row["f1"] for row in tables["ours"].values()) >= 0.99
    assert (
        tables["first_try"]["imei"]["precision"] < 0.4 < tables["with_checks"]["imei"]["precision"]
    )
    assert tables["libraries"]["msisdn"]["recall"] == 0  # to phonenumbers it is a phone number
    assert 0.75 < tables["libraries"]["all"]["f1"] < 0.9
    strict, mild = (record["phonenumbers_alone"][level] for level in ("valid", "possible"))
    assert strict["recall"] < mild["recall"]
    assert mild["precision"] < 0.1 < strict["precision"]


def test_the_smallest_hidden_corpus(anonymised: ModuleType) -> None:
    told = anonymised.intent(1, ("port_number", "roaming"), 4, 10)
    assert told["dropped"]["documents"] < told["raw"]["documents"] == 8
    assert all(0.4 < told[way]["all"] <= 1 for way in ("raw", "redacted", "named", "erased"))
    model = anonymised.Counts(b"abcabcabc" * 20, order=2)
    assert model.chance(b"ab", ord("c")) > 0.9
    assert sum(model.chance(b"ab", byte) for byte in range(256)) == pytest.approx(1)
    for way in anonymised.WAYS:
        data, counts = anonymised.coded(anonymised.hidden("a 192.0.2.1 b", way))
        assert bytes(b for b, c in zip(data, counts, strict=True) if c) == b"a  b\n"
    assert anonymised.undone() == {"sha256": 1.0, "hmac": 0.0}


def test_the_hidden_corpora_say_what_the_text_says() -> None:
    record = json.loads((FOLDER / "anonymised.json").read_text(encoding="utf-8"))
    for way in ("redacted", "named", "erased"):
        assert abs(record["intent"][way]["mean"] - record["intent"]["raw"]["mean"]) < 0.01
        assert record["bits_lost"][way]["high"] < 0  # the model reads the rest better
        assert record["kept"][way] == 1
    assert record["intent"]["dropped"]["high"] < record["intent"]["raw"]["low"]
    ports = record["intent_by_topic"]["port_number"]
    assert ports["dropped"]["high"] < 0.9 < ports["raw"]["low"]
    assert record["bits_lost"]["dropped"]["low"] > 0.5
    assert record["kept"]["dropped"] < 0.7
    left = record["kept_if_dropped"]
    assert left["syslog"] < 0.2 < 0.6 < left["ticket"] < 0.7 < 0.9 < left["dialogue"]
    linked = record["linked"]
    assert linked["named in one form"] == {**linked["named"], "joined": 1.0}
    assert linked["redacted"]["joined"] == 0 < linked["named"]["joined"] < 0.5
    assert all(way["false"] == 0 for way in linked.values())
    assert record["undone"] == {"sha256": 1.0, "hmac": 0.0}


def test_the_smallest_crawl_and_its_stages() -> None:
    torch.set_num_threads(1)
    cleaning = load("raw_and_clean")
    corpus = cleaning.crawl(1)
    texts = cleaning.versions(corpus)
    assert tuple(texts) == cleaning.NAMES
    assert len(texts["raw"]) == len(texts["text"]) == len(texts["boilerplate"])
    assert len(texts["filters"]) > len(texts["duplicates"]) > len(texts["truth"]) * 0.9
    assert set(texts["truth"]) <= {row["text"] for row in corpus.rows} | {*corpus.clean.values()}
    assert not set(cleaning.held_out(1)) & set(texts["raw"])
    bits = cleaning.measured(1, ("raw", "truth"), steps=10)
    assert all(3 < x < 8 for x in bits.values())
    assert bits == cleaning.measured(1, ("raw", "truth"), steps=10)


def test_cleaning_pays_in_every_seed() -> None:
    record = json.loads((FOLDER / "raw_and_clean.json").read_text(encoding="utf-8"))
    stages = {stage["name"]: stage for stage in record["stages"]}
    assert tuple(stages) == load("raw_and_clean").NAMES
    for name in ("duplicates", "truth"):
        assert len(stages[name]["gaps"]) == 5
        assert min(stages[name]["gaps"]) > 0  # 5 of 5 seeds
        assert stages[name]["gap"][1] > 0  # the lower end of the 95 % interval
    for stage in stages.values():
        raw = stages["raw"]["bits_per_byte"]
        gaps = [a - b for a, b in zip(raw, stage["bits_per_byte"], strict=True)]
        assert gaps == pytest.approx(stage["gaps"], abs=2e-4)
