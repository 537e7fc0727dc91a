"""What lab 8 rests on: TRL's losses, each point of the contracts, five seeds, the large cell."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from autograder.bank import read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import assistant, check, drills_dpo, huggingface, preference
from glassbox.models import GPT
from glassbox.parts import GPTConfig
from glassbox.telecom.questions import POLITE, fact, grade, messages, questions
from glassbox.tokenizer import tokenizer

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab08_dpo"
SMALL = GPTConfig(n_layers=2, d_model=32, n_heads=4, vocab_size=1024, context_len=128)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab08_dpo")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "five_seeds.json").read_text())


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def four(n: int = 7, seed: int = 0) -> list[Tensor]:
    """Log-probabilities of pairs under two models, float64."""
    gen = seeded(seed)
    return [torch.randn(n, generator=gen, dtype=torch.float64) * 4 - 30 for _ in range(4)]


def noisy(seed: int) -> GPT:
    """A model with every parameter away from its start."""
    model = GPT(SMALL).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.15 * torch.randn(p.shape, generator=seeded(seed)))
    return model


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


# --- equality with TRL ---------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.05, 0.1, 1.0])
def test_the_dpo_loss_is_trl_s_to_a_millionth(space: dict[str, Any], beta: float) -> None:
    pytest.importorskip("trl")
    for seed in range(3):
        given = four(seed=seed)
        for x in given[:2]:
            x.requires_grad_()
        ours, theirs = space["dpo_loss"](*given, beta)[0], huggingface.dpo_loss(*given, beta)
        assert theirs.dtype == torch.float64
        assert abs(ours - theirs) < 1e-6
        grads = [torch.autograd.grad(loss, given[:2]) for loss in (ours, theirs)]
        assert all((a - b).abs().max() < 1e-6 for a, b in zip(*grads, strict=True))


def test_the_loss_of_two_models_is_trl_s(space: dict[str, Any]) -> None:
    pytest.importorskip("trl")
    policy, reference = noisy(1), noisy(2)
    batch = preference.pair_batch(preference.pairs(0)[:6])
    sums = [space["sequence_logp"](model(batch[f"{kind}_ids"]), batch[f"{kind}_ids"],
                                   batch[f"{kind}_mask"])
            for model in (policy, reference) for kind in ("chosen", "rejected")]  # fmt: skip
    ours = space["dpo_loss"](*sums, 0.1)[0]
    theirs = huggingface.dpo_model_loss(policy, reference, batch, 0.1)
    assert abs(ours - math.log(2)) > 0.01  # no blind guess
    assert abs(ours - theirs) < 1e-5 * abs(ours) + 1e-5


def test_ipo_is_trl_s_on_sums_and_another_loss_with_lengths(space: dict[str, Any]) -> None:
    pytest.importorskip("trl")
    given = four()
    ours = space["ipo_loss"](*given, 0.2)
    assert abs(ours - huggingface.ipo_loss(*given, 0.2)) < 1e-6
    lengths = tuple(torch.randint(5, 30, (2, 7), generator=seeded(1)))
    c, r = ((a - b) / n for a, b, n in zip(given[:2], given[2:], lengths, strict=True))
    by_hand = (c - r - 1 / 0.4).square().mean()
    theirs = huggingface.ipo_loss(*given, 0.2, lengths=lengths)
    assert abs(theirs - by_hand) < 1e-6
    assert abs(theirs - ours) > 0.1


@pytest.mark.parametrize("margin", [0.0, 1.5])
def test_the_reward_loss_is_trl_s(space: dict[str, Any], margin: float) -> None:
    pytest.importorskip("trl")
    chosen, rejected, *_ = four()
    ours = space["reward_loss"](chosen, rejected, margin)
    assert abs(ours - huggingface.reward_loss(chosen, rejected, margin)) < 1e-6


def test_a_step_is_the_course_s(space: dict[str, Any]) -> None:
    """Twice the same training, with the lab's step and with the reference's."""
    found = []
    for step in (space["dpo_step"], None):
        policy = noisy(1)
        log = preference.dpo(policy, noisy(2), preference.pairs(0), steps=3, lr=1e-3,
                             rows_per_step=4, step=step)  # fmt: skip
        found.append((policy, log))
    (ours, mine), (theirs, other) = found
    for a, b in zip(mine, other, strict=True):
        assert all(a[key] == pytest.approx(b[key], abs=1e-4) for key in a)
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (p - q).abs().max() < 1e-4


# --- the contracts, point by point ---------------------------------------------------------------


def test_kappa_of_one_label_is_zero(space: dict[str, Any]) -> None:
    same = torch.full((5,), 3)
    assert space["cohen_kappa"](same, same) == 0.0
    assert space["cohen_kappa"](torch.tensor([0, 1]), torch.tensor([0, 1])) == 1.0
    assert type(space["cohen_kappa"](same, same)) is float


def test_bradley_terry_has_a_finite_score_for_the_unbeaten(space: dict[str, Any]) -> None:
    wins = torch.tensor([[7.0, 3.0], [0.0, 9.0]])
    scores = space["fit_bradley_terry"](wins)
    assert scores.tolist() == pytest.approx([math.log(7) / 2, -math.log(7) / 2], abs=1e-4)
    assert scores.dtype == torch.float32


def test_the_reward_stands_at_the_last_real_token(space: dict[str, Any]) -> None:
    model = space["RewardModel"](nn.Embedding(9, 4), 4)
    ids = torch.randint(9, (1, 6), generator=seeded(0))
    alone = model(ids[:, 2:4], torch.ones(1, 2).bool())
    for mask in ([0, 0, 1, 1, 0, 0], [1, 1, 1, 1, 0, 0], [0, 0, 0, 1, 0, 0]):
        assert torch.equal(model(ids, torch.tensor([mask]).bool()), alone)
    assert model(ids, torch.zeros(1, 6).bool()).tolist() == [0.0]


def test_length_bias_of_what_does_not_vary(space: dict[str, Any]) -> None:
    bias = space["length_bias"]
    assert bias(torch.tensor([1.0, 2.0]), torch.tensor([5, 5])) == (0.0, 0.0)
    assert bias(torch.tensor([2.0, 2.0]), torch.tensor([5, 6])) == (0.0, 0.0)
    assert bias(torch.tensor([2.0]), torch.tensor([5])) == (0.0, 0.0)


def test_sequence_logp_is_the_course_s(space: dict[str, Any]) -> None:
    model, asked = noisy(3), questions(0).pairs[:5]
    ids, mask = preference.answer_batch(asked, [fact(q.kind, q.key) for q in asked])
    with torch.no_grad():
        ours = space["sequence_logp"](model(ids), ids, mask)
        assert torch.allclose(ours, preference.answer_logp(model, ids, mask), atol=1e-3)
    first = space["sequence_logp"](torch.zeros(1, 3, 4), ids[:1, :3] * 0, torch.ones(1, 3).bool())
    assert first.item() == pytest.approx(-2 * math.log(4))  # place 0 never counts


def test_label_smoothing_is_the_conservative_one(space: dict[str, Any]) -> None:
    c, r, rc, rr = four()
    z = 0.3 * ((c - rc) - (r - rr))
    want = -(0.8 * z.sigmoid().log() + 0.2 * (-z).sigmoid().log()).mean()
    assert space["dpo_loss"](c, r, rc, rr, 0.3, 0.2)[0] == pytest.approx(want.item())


def test_rewards_of_dpo_are_the_implicit_ones_and_detached(space: dict[str, Any]) -> None:
    given = [x.requires_grad_() for x in four()]
    _, up, down = space["dpo_loss"](*given, 0.3)
    assert not up.requires_grad
    assert torch.allclose(up, space["implicit_reward"](given[0], given[2], 0.3))
    assert torch.allclose(down, space["implicit_reward"](given[1], given[3], 0.3))
    assert space["implicit_reward"](given[0], given[2], 0.3).requires_grad


def test_a_step_leaves_the_reference_alone_and_tells_plain_numbers(space: dict[str, Any]) -> None:
    policy, reference = noisy(1), noisy(1)
    batch = preference.pair_batch(preference.pairs(0)[:3])
    optimizer = torch.optim.SGD(policy.parameters(), 1e-3)
    told = space["dpo_step"](policy, reference, batch, optimizer, 0.1)
    assert told == {"loss": pytest.approx(math.log(2)), "margin": 0.0, "accuracy": 0.5}
    assert all(type(value) is float for value in told.values())
    assert all(p.grad is None for p in reference.parameters())
    assert not torch.equal(policy.token.weight, reference.token.weight)


def test_a_report_of_the_example_of_the_text(space: dict[str, Any]) -> None:
    before = {"chosen": torch.tensor([-10.0, -20.0]), "rejected": torch.tensor([-12.0, -25.0])}
    after = {"chosen": torch.tensor([-11.0, -19.5]), "rejected": torch.tensor([-15.0, -25.0])}
    assert space["margin_report"](before, after) == {
        "chosen": -0.25, "rejected": -1.5, "margin": 1.25, "margin_rose": 1.0, "chosen_fell": 0.5,
        "both": 0.5,
    }  # fmt: skip


def test_right_functions_pass_with_any_seed(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_bank(COURSE, lab)
    for exercise in ("cohen_kappa", "length_bias", "RewardModel", "margin_report"):
        versions = [space[exercise], *(v.make for v in known[exercise].right)]
        for seed in range(8):
            monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
            for version in versions:
                exec(lab.cell(f"{exercise}_hidden").source, space | {exercise: version})


# --- drills --------------------------------------------------------------------------------------


def test_a_missing_gradient_is_told() -> None:
    x = torch.ones(3, dtype=torch.float64)
    value, grad = drills_dpo.with_gradients(lambda a: (2 * a).sum(), 1, x)
    assert (value.item(), grad.tolist()) == (6.0, [2.0] * 3)
    _, grad = drills_dpo.with_gradients(lambda a: a.detach().sum(), 1, x)
    assert grad.numel() == 0
    *_, carries, grad = drills_dpo.with_gradients(lambda a: (a.sum(), a), 1, x)
    assert carries
    assert grad.tolist() == [1.0] * 3


def test_what_a_step_does_to_the_reference_is_seen(space: dict[str, Any]) -> None:
    def spoils(policy: Any, reference: Any, batch: dict, optimizer: Any, beta: float) -> dict:
        told = space["dpo_step"](policy, reference, batch, optimizer, beta)
        with torch.no_grad():
            reference.bias.add_(1)
        reference.train(not reference.training)
        return told

    ids, mask = torch.tensor([[0, 1]]), torch.tensor([[False, True]])
    batch = {"chosen_ids": ids, "chosen_mask": mask, "rejected_ids": 0 * ids, "rejected_mask": mask}
    table = torch.zeros(2, 2)
    kept = drills_dpo.dpo_steps(space["dpo_step"], table, table, [batch], 0.5)
    assert kept[-3:] == [False, False, True]
    assert drills_dpo.dpo_steps(spoils, table, table, [batch], 0.5)[-3:] == [True, False, False]


# --- the run -------------------------------------------------------------------------------------


def test_the_gain_holds_in_five_of_five_seeds(runs: list[dict[str, Any]]) -> None:
    assert [run["seed"] for run in runs] == list(range(5))
    for run in runs:
        dpo, far = run["dpo"], run["too_far"]
        assert dpo["polite after"] >= max(0.55, dpo["polite before"] + 0.25)
        assert dpo["win rate"] > 0.5
        assert dpo["right after"] >= 0.9
        assert dpo["KL"] < 2
        assert run["moved"]["margin"] > 0
        assert far["margin_rose"] == 1
        assert far["chosen"] < 0
        assert far["right"] < dpo["right after"]
        assert run["reward"]["polite above plain"] >= 0.9


def test_the_gain_is_larger_than_its_interval(runs: list[dict[str, Any]]) -> None:
    for gains, zero in (([r["dpo"]["polite after"] - r["dpo"]["polite before"] for r in runs], 0.0),
                        ([r["dpo"]["win rate"] for r in runs], 0.5)):  # fmt: skip
        assert preference.mean_interval(gains)[1] > zero


def test_the_notebook_prints_what_was_recorded(
    lab: Lab, runs: list[dict[str, Any]], capsys: pytest.CaptureFixture
) -> None:
    names: dict[str, Any] = {"preference": preference, "runs": []}
    exec(cell_with(lab, "RECORDED = {"), names)
    assert names["RECORDED"] == {key: [run["dpo"][key] for run in runs] for key in runs[0]["dpo"]}
    said = capsys.readouterr().out
    assert "polite, gain" in said
    assert "95 % interval" in said


def test_the_text_tells_what_was_measured(lab: Lab, runs: list[dict[str, Any]]) -> None:
    text = " ".join(" ".join(c.source for c in lab.notebook.cells).replace("# ", " ").split())

    def told(words: str) -> list[float]:
        found = re.search(words, text)
        assert found, words
        return [float(number) for number in found.groups()]

    def span(part: str, key: str, digits: int = 2) -> list[float]:
        values = [abs(run[part][key]) for run in runs]
        return [round(min(values), digits), round(max(values), digits)]

    number, to = r"(\d\.\d\d)", r"(\d\.\d\d) to (\d\.\d\d)"
    gain = min(run["dpo"]["polite after"] - run["dpo"]["polite before"] for run in runs)
    assert 0 <= gain - told(f"politeness rose by {number} or more")[0] < 0.01
    kl = max(run["dpo"]["KL"] for run in runs)
    assert 0 <= told(r"stayed within (\d\.\d) nats of")[0] - kl < 0.1
    assert told(f"the win rate was {to}, and") == span("dpo", "win rate")
    assert told(f"Right answers were {to} before and {to} after") == [
        *span("dpo", "right before"), *span("dpo", "right after")
    ]  # fmt: skip
    assert told(f"in the run above, by {to} nats") == span("moved", "chosen")
    assert told(f"the rejected one less likely, by {to}\\.") == span("moved", "rejected")
    assert told(r"the margin grew by (\d+) to (\d+) nats") == span("too_far", "margin", 0)
    assert told(r"in every pair, by (\d+) to (\d+) nats") == span("too_far", "chosen", 0)
    assert told(f"a share of {to} was right") == span("too_far", "right")
    twice = [round(100 * share) for share in span("reward", "twice above plain", 3)]
    assert told(r"said once for (\d+) to (\d+) % of the questions") == twice
    assert all(run["too_far"]["chosen_fell"] == run["too_far"]["margin_rose"] == 1 for run in runs)
    assert max(run["too_far"]["loss"] for run in runs) <= told(r"fell to (\d\.\d+) or less")[0]
    assert all(run["reward"]["polite above plain"] == 1 for run in runs)


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "This is CPO: your loss does not see the reference", "you score the prompt",
        "long answers are rescaled", "Chosen and rejected are swapped for the reference",
        "Infinite below a scaled margin of about -89 in float32; use logsigmoid",
        "The reference receives a gradient", "right only when both answers have equal length",
        "Position t scores token t, but predicts t + 1",
        "Your loss is not antisymmetric in the margin", "Twice the batch gives twice the loss",
        "right for unpadded batches only",
    ):  # fmt: skip
        assert words.lower() in told.lower(), words


def test_diagnoses_are_found_from_the_answers(space: dict[str, Any]) -> None:
    check.start("lab08_dpo")

    def wrong(chosen: Tensor, rejected: Tensor, ref_chosen: Tensor, ref_rejected: Tensor,
              beta: float, label_smoothing: float = 0.0) -> tuple:  # fmt: skip
        loss = space["dpo_loss"](chosen, rejected, 0 * chosen, 0 * rejected, beta, label_smoothing)
        return loss[0], (chosen - ref_chosen) * beta, (rejected - ref_rejected) * beta

    with pytest.raises(check.CheckFailed, match="does not see the reference"):
        check.mistakes("lab08_dpo.dpo_loss", wrong)


@pytest.mark.slow
def test_dpo_makes_the_assistant_polite(lab: Lab, space: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    names = dict(space)
    exec(cell_with(lab, "def train_reward(").split("\nasked = ")[0], names)
    exec(cell_with(lab, "def run_dpo("), names)
    found = names["runs"][0]
    assert found["polite after"] >= found["polite before"] + 0.25
    assert found["right after"] >= 0.9
    assert found["win rate"] > 0.5
    exec(cell_with(lab, "def pair_logp("), names)
    assert names["report"]["chosen"] < 0 < names["report"]["margin"]


@pytest.mark.slow
@pytest.mark.parametrize("size", ["M", "L"])
def test_the_large_scale_runs_on_a_model_of_the_library(
    lab: Lab, space: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: str
) -> None:
    """The cell for M and L, with a tiny random Llama in a folder and on the CPU."""
    for library in ("trl", *(["peft"] if size == "L" else [])):
        pytest.importorskip(library)
    config = replace(SMALL, context_len=256)
    huggingface.to_llama(config).save_pretrained(tmp_path)
    huggingface.to_tokenizer(tokenizer()).save_pretrained(tmp_path)
    monkeypatch.setenv("GLASSBOX_MODEL", str(tmp_path))
    few = replace(questions(), train=questions().train[:20], pairs=questions().pairs[:3])
    names = space | {
        "scale": replace(space["scale"], name=size), "huggingface": huggingface,
        "preference": preference, "assistant": assistant, "POLITE": POLITE, "fact": fact,
        "messages": messages, "grade": grade, "questions": lambda _: few, "ROWS": 4, "BETA": 0.1,
    }  # fmt: skip
    exec(cell_with(lab, "def with_library_model").split("\nfor model in (small")[0], names)
    names |= {"sft_steps": 2, "dpo_steps": 3, "questions": lambda _: few}
    result = names["with_library_model"]()
    assert result["first loss"] == pytest.approx(math.log(2), abs=1e-3)
    assert 0 < result["polite before"] < 1
    assert result["right after"] == 0
    assert re.fullmatch(r"\d+\.\d+", f"{result['seconds']:.2f}")
