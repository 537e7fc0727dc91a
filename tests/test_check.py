"""The checks: what they accept, what they refuse and what they say."""

import math
from typing import NamedTuple

import pytest
import torch

from glassbox import check
from glassbox.check import CheckFailed

LAB = "lab01_attention"
ones = torch.ones(2, 3)


@pytest.fixture(autouse=True)
def _lab_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GLASSBOX_GRADING", raising=False)
    monkeypatch.delenv("GLASSBOX_SEED", raising=False)
    check.start(LAB)


def message(function, *args, **kwargs) -> str:
    with pytest.raises(CheckFailed) as caught:
        function(*args, **kwargs)
    return str(caught.value)


# --- close -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "got",
    [
        ones * 0,
        ones * math.nan,
        ones * math.inf,
        ones + 2e-3,
        torch.ones(3, 2),
        torch.ones(1, 3),  # would broadcast
        torch.ones(2, 3, dtype=torch.float64),
        torch.ones(2, 3, dtype=torch.int64),
        torch.ones(2, 3, dtype=torch.bool),
        None,
        1.0,
        [[1.0] * 3] * 2,
    ],
    ids=str,
)
def test_close_refuses_what_is_not_equal(got: object) -> None:
    message(check.close, "case", got, ones)


@pytest.mark.parametrize(
    "got", [ones, ones + 1e-5, torch.ones(3, 2).T, torch.ones(2, 6)[:, ::2], ones.requires_grad_()]
)
def test_close_accepts_rounding_and_any_memory_layout(got: torch.Tensor) -> None:
    check.close("case", got, torch.ones(2, 3))


def test_close_is_relative_to_what_is_expected() -> None:
    tiny = torch.full((4,), 1e-8)
    check.close("tiny", tiny * (1 + 1e-5), tiny)
    message(check.close, "tiny", tiny * 0, tiny)
    message(check.close, "tiny", tiny * 1.01, tiny)
    huge = torch.full((4,), 1e8)
    check.close("huge", huge + 100, huge)
    message(check.close, "huge", huge + 1e6, huge)


def test_close_wants_a_scale_where_zeros_are_expected() -> None:
    with pytest.raises(ValueError, match="give scale="):
        check.close("zeros", torch.zeros(3), torch.zeros(3))
    check.close("zeros", torch.full((3,), 1e-6), torch.zeros(3), scale=1.0)
    message(check.close, "zeros", torch.full((3,), 1e-3), torch.zeros(3), scale=1.0)


def test_close_refuses_an_expected_nan_as_a_fault_of_the_test() -> None:
    with pytest.raises(ValueError, match="holds NaN"):
        check.close("case", ones, ones * math.nan)


def test_close_wants_infinities_where_they_are_expected() -> None:
    want = torch.tensor([1.0, -math.inf, math.inf])
    check.close("masked", want.clone(), want)
    for got in ([1.0, math.inf, -math.inf], [1.0, -1e9, 1e9], [1.0, math.nan, math.inf]):
        message(check.close, "masked", torch.tensor(got), want)


def test_close_compares_truth_values_and_integers_exactly() -> None:
    check.close("mask", torch.tensor([True, False]), [True, False])
    message(check.close, "mask", torch.tensor([1.0, 0.0]), [True, False])
    message(check.close, "mask", torch.tensor([True, True]), [True, False])
    check.close("ids", torch.tensor([10**7, 3]), torch.tensor([10**7, 3]))
    message(check.close, "ids", torch.tensor([10**7 + 1, 3]), torch.tensor([10**7, 3]))
    check.close("count", torch.tensor([4, 5]), [4, 5])


def test_close_takes_plain_numbers() -> None:
    check.close("loss", 0.6931, math.log(2))
    check.close("loss", torch.tensor(0.6931), math.log(2))
    message(check.close, "loss", math.nan, math.log(2))
    message(check.close, "loss", torch.tensor([0.6931]), math.log(2))


def test_close_says_what_it_saw() -> None:
    text = message(check.close, "policy = reference", torch.tensor([0.599]), [0.693], why="log 2.")
    assert text == "policy = reference: got [0.599], expected [0.693] — log 2."
    text = message(
        check.close, "big", torch.arange(12.0), torch.arange(12.0) + (torch.arange(12) == 7)
    )
    assert text == "big: got 7 at [7], expected 8 (1 of 12 values differ)"
    assert "got None, expected a tensor; is a return missing?" in message(
        check.close, "x", None, ones
    )
    assert "got shape (3,), expected (2, 3)" in message(check.close, "x", torch.ones(3), ones)
    assert "got dtype float64, expected float32" in message(check.close, "x", ones.double(), ones)


def test_a_failed_check_is_one_line_in_a_notebook() -> None:
    lines = CheckFailed("case", "got 1, expected 2", "a reason.")._render_traceback_()
    assert lines == ["✗ case: got 1, expected 2 — a reason."]


# --- the other checks ------------------------------------------------------------------------


def test_equal_minds_types_and_shows_both_sides() -> None:
    check.equal("ids", [1, 2], [1, 2])
    assert "got [1], expected [1, 2]" in message(check.equal, "ids", [1], [1, 2])
    for got, expected in ((1.0, 1), (True, 1), ((1, 2), [1, 2]), (None, 0)):
        message(check.equal, "ids", got, expected)


def test_shape_and_that() -> None:
    check.shape("x", ones, (2, 3))
    assert "got shape (2, 3), expected (3, 2)" in message(check.shape, "x", ones, (3, 2))
    check.that(torch.tensor(True), "fine")
    assert message(check.that, torch.tensor(False), "loss is inf.") == "loss is inf."


def test_unchanged_names_the_argument() -> None:
    check.unchanged("inputs", lambda a, b: a + b, ones, ones)
    text = message(check.unchanged, "inputs", lambda a, b: b.add_(a), ones, ones.clone())
    assert text == "inputs: argument 2 was changed by the call"


def test_unchanged_sees_through_the_copies_of_a_question() -> None:
    with check.question("split_heads_hidden", lambda x: x.mul_(2)) as f:
        text = message(check.unchanged, "inputs", f, torch.ones(3))
    assert "argument 1 was changed" in text


def test_raises_tells_nothing_raised_from_the_wrong_error() -> None:
    check.raises("bad", ValueError, int, "x")
    assert "nothing was raised" in message(check.raises, "bad", ValueError, int, "3")
    assert "raised ValueError, expected TypeError" in message(
        check.raises, "x", TypeError, int, "x"
    )


@pytest.mark.parametrize(
    "function",
    [
        lambda x: (x.detach() * 2).requires_grad_(),
        lambda x: x.square().detach() * x,
        lambda x: torch.from_numpy(x.detach().numpy() * 2),
    ],
)
def test_gradient_refuses_functions_that_break_the_graph(function) -> None:
    x = torch.linspace(-1.6, 1.7, 8, dtype=torch.float64)
    message(check.gradient, "gradient", function, x)


def test_gradient_accepts_what_autograd_gets_right() -> None:
    x, y = torch.randn(2, 3, 4, dtype=torch.float64)
    check.gradient("gradient", lambda a, b: (a @ b.T).softmax(-1).log(), x, y)


# --- questions -------------------------------------------------------------------------------


def test_a_question_calls_the_function_on_copies() -> None:
    x = torch.ones(3)
    with check.question("split_heads_visible", lambda t: t.mul_(5)) as f:
        assert f(x).tolist() == [5, 5, 5]
    assert x.tolist() == [1, 1, 1]


def test_a_question_hands_on_named_tuples_as_they_are() -> None:
    class Place(NamedTuple):
        row: int
        name: str

    with check.question("tiny_f", lambda places: places[0].row + len(places[0].name)) as f:
        check.equal("a named tuple in a list", f([Place(2, "ab")]), 4)


def stub(*_: object) -> None:
    raise NotImplementedError


def test_a_stub_is_not_attempted_and_stops_nothing(capsys: pytest.CaptureFixture) -> None:
    with check.question("causal_mask_visible", stub) as f:
        f(3, 3)
    assert "not attempted" in capsys.readouterr().out
    row = next(r for r in check.summary().rows if r[0] == "causal_mask")
    assert row[1:3] == ["not attempted", "0 / 3"]


def test_a_stub_scores_zero_in_plain_nbgrader() -> None:
    bundle = check._NotAttempted("x")._repr_mimebundle_()
    assert bundle["text/plain"] == "0"


def test_a_stub_is_an_error_while_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSBOX_GRADING", "1")
    with pytest.raises(NotImplementedError), check.question("causal_mask_visible", stub) as f:
        f(3, 3)


def test_an_operation_that_torch_does_not_implement_is_not_called_unattempted() -> None:
    def unsupported(*_: object) -> None:
        raise NotImplementedError('"some_op" not implemented for Half')

    with (
        pytest.raises(NotImplementedError),
        check.question("causal_mask_visible", unsupported) as f,
    ):
        f(3, 3)
    assert next(r for r in check.summary().rows if r[0] == "causal_mask")[1] == "error"


def one_ahead(n_queries: int, n_keys: int) -> torch.Tensor:
    return torch.ones(n_queries, n_keys, dtype=torch.bool).tril(n_keys - n_queries + 1)


def run_visible(function) -> str:
    with pytest.raises(CheckFailed) as caught, check.question("causal_mask_visible", function) as f:
        check.close("3 x 3", f(3, 3), [[True, False, False], [True, True, False], [True] * 3])
    return str(caught.value)


def test_a_failed_question_names_the_mistake() -> None:
    assert "→ Each token sees one token ahead of itself." in run_visible(one_ahead)


def test_a_plain_error_of_unknown_cause_is_not_told_about_a_special_call() -> None:
    """Right without a mask, wrong with one in a way no one listed; scales after the product."""

    def attention(q, k, v, mask=None):
        scores = (q @ k.mT) / q.shape[-1] ** 0.5
        weights = (scores if mask is None else scores.masked_fill(~mask, -1.0)).softmax(-1)
        return weights @ v, weights

    check.mistakes(f"{LAB}.attention", attention)  # says nothing


def test_naming_a_mistake_prints_nothing_of_the_function(capsys: pytest.CaptureFixture) -> None:
    def talkative(n_queries: int, n_keys: int) -> torch.Tensor:
        print("called")
        return one_ahead(n_queries, n_keys)

    assert "→ Each token sees one token ahead" in run_visible(talkative)
    assert capsys.readouterr().out.count("called") == 1


def test_an_unknown_mistake_is_not_named() -> None:
    assert "→" not in run_visible(lambda t, s: torch.zeros(t, s, dtype=torch.bool))


def test_hidden_checks_keep_their_numbers_while_grading(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSBOX_GRADING", "1")
    with pytest.raises(CheckFailed) as caught, check.question("causal_mask_hidden", one_ahead) as f:
        check.close("3 queries", f(3, 3)[0, 1], False, why="a reason.")
    assert str(caught.value).split("\n")[0] == "3 queries — a reason."


def test_summary_counts_points_and_lists_every_exercise() -> None:
    with check.question("causal_mask_visible", lambda: 1):
        pass
    table = check.summary()
    assert len(table.rows) == 12
    assert table.foot.startswith("3 of 57 points so far. Hidden checks decide 38 more")
    assert "<table>" in table._repr_html_()
    assert "causal_mask" in repr(table)


def test_summary_before_a_lab_has_begun_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "_session", check._Session())
    with pytest.raises(RuntimeError, match="Run the first cell"):
        check.summary()


def test_start_of_an_unknown_lab_lists_the_known_ones() -> None:
    with pytest.raises(FileNotFoundError, match=LAB):
        check.start("lab99_nothing")


def test_generator_repeats_itself_and_depends_on_question_and_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def draw(question: str) -> float:
        with check.question(question, None):
            return torch.rand(1, generator=check.generator()).item()

    first = draw("attention_hidden")
    assert draw("attention_hidden") == first
    assert draw("causal_mask_hidden") != first
    monkeypatch.setenv("GLASSBOX_SEED", "secret")
    assert draw("attention_hidden") != first


def test_catalogue_lists_the_words_that_checks_use() -> None:
    rows = check.catalogue(LAB).rows
    assert ["`causal_mask`", "Each token sees one token ahead of itself."] in rows
    assert len(rows) > 80


def test_mistakes_names_and_stays_silent() -> None:
    assert "one token ahead" in message(check.mistakes, f"{LAB}.causal_mask", one_ahead)
    check.mistakes(
        f"{LAB}.causal_mask", lambda t, s: torch.ones(t, s, dtype=torch.bool).tril(s - t)
    )
