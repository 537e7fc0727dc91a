"""What lab 3 rests on: messages that name a term, sheets checked against their own choices."""

import itertools
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from autograder import audit, forbidden
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import bank, check, counting, worksheets

COURSE = Course(Path(__file__).parents[1])


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab03_counting")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


# --- dicts and texts as answers ------------------------------------------------------------------


def diagnosis(wrong, function) -> str | None:
    cases = [{"args": [3], "kwargs": {}}]
    answers = [bank.answer(wrong, case) for case in cases]
    arrays = bank.pack("lab", [], {"f": (cases, {"w": ("named", answers, [0])})})
    return bank.Fingerprints(arrays).diagnose("f", function)


def test_a_dict_is_recognised_by_its_keys_and_values() -> None:
    def wrong(x):
        return {"a": x, "total": 2 * x}

    assert diagnosis(wrong, lambda x: {"total": 2 * x, "a": x}) == "named"
    assert diagnosis(wrong, lambda x: {"a": x, "total": x}) is None
    assert diagnosis(wrong, lambda x: {"b": x, "total": 2 * x}) is None
    assert diagnosis(wrong, lambda x: {"a": x}) is None


def test_texts_are_told_apart() -> None:
    assert diagnosis(lambda x: ["gpu"], lambda x: ["gpu"]) == "named"
    assert diagnosis(lambda x: ["gpu"], lambda x: ["usd"]) is None


def test_mutants_reach_into_dicts_and_texts() -> None:
    assert audit.PLAIN["returns 0"]({"a": 3, "b": ["gpu"]}) == {"a": 0, "b": [""]}


# --- counts --------------------------------------------------------------------------------------


def count_of(space: dict[str, Any], m: counting.Model) -> dict[str, int] | None:
    """What the lab's functions count for a model, None where no exercise covers it."""
    m = m.filled()
    if m.family == "gpt2":
        return space["count_gpt2"](m.n_layers, m.d_model, m.vocab_size, m.context_len, m.tied)
    if m.family == "bert" and m.token_types == 2:
        return space["count_bert"](m.n_layers, m.d_model, m.d_ff, m.vocab_size, m.context_len,
                                   m.pooler, m.mlm_head)  # fmt: skip
    if m.family == "llama":
        return space["count_llama"](m.n_layers, m.d_model, m.d_ff, m.vocab_size, m.n_heads,
                                    m.n_kv_heads, m.d_head, m.tied)  # fmt: skip
    if m.family == "t5":
        return space["count_t5"](m.n_layers, m.d_model, m.d_ff, m.d_head, m.n_heads, m.vocab_size)
    return None


def test_the_solutions_count_every_published_model(space: dict[str, Any]) -> None:
    counted = {name: count_of(space, m) for name, m in counting.MODELS.items()}
    for name, got in counted.items():
        if got is not None:
            assert got == counting.count(counting.MODELS[name]), name
    assert sum(got is not None for got in counted.values()) >= 30


@pytest.mark.parametrize(
    ("part", "change", "words"),
    [
        ("norm", -1536, "that fits: left out: the final norm (1,536)."),
        ("head", 38_597_376, "the output matrix, which is the token table (38,597,376)"),
        ("attention", -12 * 768 * 768, "left out: one attention matrix of each block"),
        ("norm", -1, "no single term explains it."),
    ],
)
def test_a_wrong_count_is_located_and_explained(
    space: dict[str, Any], part: str, change: int, words: str
) -> None:
    m = counting.MODELS["GPT-2 small"]
    got = counting.count(m)
    got[part] += change
    got["total"] += change
    with pytest.raises(check.CheckFailed) as failure:
        space["same_count"]("GPT-2 small", got, m)
    assert f"GPT-2 small: {part} is {got[part]:,}" in str(failure.value)
    assert f"({abs(change):,} too {'many' if change > 0 else 'few'})" in str(failure.value)
    assert words in str(failure.value)


def test_all_terms_of_one_size_are_listed(space: dict[str, Any]) -> None:
    m = replace(counting.MODELS["BERT-base"], mlm_head=True)
    got = counting.count(m)
    got["head"] -= 590_592
    got["total"] -= 590_592
    with pytest.raises(check.CheckFailed, match=r"the pooler .* or left out: the map of the MLM"):
        space["same_count"]("BERT", got, m)


def test_no_cause_is_named_where_only_some_of_the_parts_have_one(space: dict[str, Any]) -> None:
    m = counting.MODELS["T5-small"]
    got = counting.count(m)
    got["position"] //= 2  # explained by itself
    got["attention"] -= 1  # not explained
    got["total"] = sum(got[part] for part in counting.PARTS)
    with pytest.raises(check.CheckFailed, match="no single term explains it"):
        space["same_count"]("T5", got, m)


def test_small_numbers_that_agree_by_chance_name_no_cause(space: dict[str, Any]) -> None:
    m = counting.Model("tiny", "gpt2", 1, 2, 1, 3, 4)
    got = counting.count(m)
    got["attention"] -= 6  # the output map, or three biases
    got["total"] -= 6
    assert counting.explain(got, m)
    with pytest.raises(check.CheckFailed) as failure:
        space["same_count"]("tiny", got, m)
    assert str(failure.value) == "tiny: attention is 18, expected 24 (6 too few)"


@pytest.mark.parametrize("got", [5, None, [1, 2], {"total": 3}, {}])
def test_what_is_no_count_is_said_in_words(space: dict[str, Any], got: object) -> None:
    with pytest.raises(check.CheckFailed, match=re.escape("a dict of embedding, position")):
        space["same_count"]("GPT-2", got, counting.MODELS["GPT-2 small"])


@pytest.mark.parametrize("value", [7.0, True, float("nan"), None, "7"])
def test_a_count_is_an_int(space: dict[str, Any], value: object) -> None:
    m = counting.MODELS["GPT-2 small"]
    with pytest.raises(check.CheckFailed, match=r"norm: got .* a count is an int"):
        space["same_count"]("GPT-2", counting.count(m) | {"norm": value}, m)


def test_calls_of_the_course_s_own_counting_are_flagged(lab: Lab) -> None:
    assert set(lab.forbidden) == set(lab.exercises)
    for exercise, names in lab.forbidden.items():
        assert forbidden.used(lab.cell(exercise).source, [], names) == [], exercise
        answer = f"def {exercise}(*args):\n    return counting.something(*args)\n"
        assert forbidden.used(answer, [], names) == ["counting"]
        hidden = "from glassbox import counting as c"
        answer = f"def {exercise}(*args):\n    return c.something(*args)\n"
        assert forbidden.used(answer, [hidden], names) == ["counting"]


def test_fits_stay_within_two_percent_for_other_seeds(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(8):
        monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
        exec(lab.cell("fit_power_law_hidden").source, dict(space))


# --- challenge 1 ---------------------------------------------------------------------------------

READINGS = {
    84_934_656: {"counts": "matrices"},
    85_054_464: {"counts": "blocks"},
    108_891_648: {"counts": "model", "family": "BERT", "pooler": False},
    109_482_240: {"counts": "model", "family": "BERT", "pooler": True},
    124_439_808: {"counts": "model", "family": "GPT-2", "tied": True},
    163_037_184: {"counts": "model", "family": "GPT-2", "tied": False},
}


@pytest.mark.parametrize(("number", "stated"), READINGS.items())
def test_each_reading_is_right_with_its_assumptions(number: int, stated: dict[str, Any]) -> None:
    told = worksheets.challenge_1(stated | {"number": number})
    assert told.startswith(f"✓ {number:,} is right for ")
    assert all(f"{other:,}" in told for other in READINGS)


def test_each_reading_is_wrong_with_other_assumptions() -> None:
    for (number, _), (right, stated) in itertools.permutations(READINGS.items(), 2):
        told = worksheets.challenge_1(stated | {"number": number})
        assert told.startswith("✗ You state ")
        assert f"which is {right:,}. {number:,} is " in told
        assert "From the one to the other:" in told


def test_the_steps_between_readings_add_up() -> None:
    told = worksheets.challenge_1(READINGS[124_439_808] | {"number": 109_482_240})
    away = [int(n.replace(",", "")) for n in re.findall(r"take away [^;]*\(([\d,]+)\)", told)]
    more = [int(n.replace(",", "")) for n in re.findall(r"add [^;]*\(([\d,]+)\)", told)]
    assert 124_439_808 - sum(away) + sum(more) == 109_482_240


def test_other_numbers_are_explained_where_one_term_does() -> None:
    stated = READINGS[124_439_808]
    told = worksheets.challenge_1(stated | {"number": 124_439_808 - 1536})
    assert told.endswith("1,536 too few. That fits: left out: the final norm (1,536).")
    assert worksheets.challenge_1(stated | {"number": 124_439_807}).endswith(" 1 too few.")
    assert "whole number" in worksheets.challenge_1(stated | {"number": 124_439_808.0})
    assert "whole number" in worksheets.challenge_1(stated | {"number": True})


def test_what_is_open_or_unknown_is_asked_for() -> None:
    assert worksheets.challenge_1({}) == "– not filled in yet: number, counts"
    open_head = {"number": 1, "counts": "model", "family": "GPT-2", "tied": None}
    assert worksheets.challenge_1(open_head) == "– not filled in yet: tied"
    for wrong in ({"counts": "layers"}, {"counts": "model", "family": "GPT"}, {"counts": [1]}):
        assert "choose one of" in worksheets.challenge_1({"number": 1} | wrong)


# --- activity 2 ----------------------------------------------------------------------------------

SHEET = {
    "U1": {
        "model": "BERT-base", "gpu": "T4", "bits": 16, "users": 1, "tokens": 512, "lora_rank": 16,
        "parameters": 109_482_240, "weights_gb": 0.219, "cache_gib": 0, "serving_gb": 0.219,
        "fits": True, "training_gb": 1.752, "lora_parameters": 2_654_208,
    },
    "U2": {
        "model": "Llama-3 8B", "gpu": "H100", "bits": 16, "users": 32, "tokens": 8192,
        "lora_rank": 16, "parameters": 8_030_261_248, "weights_gb": 16.06, "cache_gib": 32,
        "serving_gb": 50.4, "fits": True, "training_gb": 128.5, "lora_parameters": 41_943_040,
    },
    "U3": {
        "model": "Llama-3.2 1B", "gpu": "T4", "bits": 16, "users": 1, "tokens": 131_072,
        "lora_rank": 16, "parameters": 1_235_814_400, "weights_gb": 2.47, "cache_gib": 4.0,
        "serving_gb": 6.77, "fits": True, "training_gb": 19.77, "lora_parameters": 11_272_192,
    },
}  # fmt: skip


def verdicts(**changes: object) -> dict[str, list[str]]:
    """The rows of U2 by field, with some cells changed."""
    rows = worksheets.activity_2({"U2": SHEET["U2"] | changes}).rows
    return {row[1]: row[3:] for row in rows}


def test_the_workshop_s_numbers_agree_with_their_choices() -> None:
    table = worksheets.activity_2(SHEET)
    assert [row[3] for row in table.rows] == ["✓"] * 21, table
    assert table.foot == "21 of 21 agree with your own choices."


def test_other_choices_have_other_numbers() -> None:
    told = verdicts(bits=4.5)
    assert told["parameters"] == ["✓", ""]
    assert told["weights_gb"] == ["✗", "3.56 times what follows"]
    assert verdicts(gpu="A100-40")["fits"] == ["✗", "the other answer"]


def test_a_wrong_number_is_told_how_far_it_is_off_and_no_more() -> None:
    assert verdicts(cache_gib=34.36)["cache_gib"] == ["✗", "1.07 times what follows: GB and GiB?"]
    assert verdicts(parameters=8_030_261_247)["parameters"] == ["✗", "1 too few."]
    assert "the output matrix" in verdicts(parameters=8_030_261_248 - 525_336_576)["parameters"][1]
    assert verdicts(serving_gb="much")["serving_gb"] == ["✗", "expected a number"]
    assert verdicts(fits=1)["fits"][0] == "✗"
    assert verdicts(weights_gb=None)["weights_gb"] == ["–", ""]


def test_open_and_unknown_choices_are_asked_for() -> None:
    assert verdicts(model=None) == {"choices": ["–", "not filled in yet"]}
    assert "no model 'Lama'" in verdicts(model="Lama")["choices"][1]
    assert "no gpu 'A100'; known are V100" in verdicts(gpu="A100")["choices"][1]


def test_the_lab_s_empty_sheets_ask_for_something(lab: Lab, space: dict[str, Any]) -> None:
    cells = [c.source for c in lab.notebook.cells if "worksheets.activity_2(sheet)" in c.source]
    exec(cells[0].replace("worksheets.activity_2(sheet)", ""), names := dict(space))
    assert all(row[3] == "–" for row in worksheets.activity_2(names["sheet"]).rows)


# --- the scale part ------------------------------------------------------------------------------


def test_memory_of_tiny_models_is_as_predicted(lab: Lab, space: dict[str, Any]) -> None:
    cell = next(c.source for c in lab.notebook.cells if "def measured_peak" in c.source)
    exec(cell, names := dict(space))
    assert [row["parameters"] for row in names["measured"]] == [120_576, 437_760, 834_304]
    for row in names["measured"]:
        assert 0.95 <= row["measured_bytes"] / row["predicted_bytes"] <= 1.15
