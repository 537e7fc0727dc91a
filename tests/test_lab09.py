"""What lab 9 rests on: sums by brute force, TRL's GRPO, our other version of each function, the
contracts' points, and five seeds of its runs."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autograder.bank import drill, read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import bank, drills_ppo, reinforce
from glassbox.preference import mean_interval

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab09_ppo"
F64 = torch.float64


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab09_ppo")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


@pytest.fixture(scope="module")
def runs() -> list[dict[str, Any]]:
    return json.loads((FOLDER / "five_seeds.json").read_text())


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def rand(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=seeded(seed), dtype=F64)


def prose(lab: Lab) -> str:
    text = " ".join(c.source for c in lab.notebook.cells if c.cell_type == "markdown")
    return " ".join(text.split())


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


# --- a second version, and TRL -------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_both_of_our_versions_agree(space: dict[str, Any], seed: int) -> None:
    """`glassbox.reinforce` has the nine functions of its methods in another form."""
    mask = drills_ppo.spans(5, 9, seeded(seed))
    old, step, values, A = (rand(5, 9, seed=10 * seed + i) for i in range(4))
    new, score = old + 0.3 * step, rand(5, seed=seed + 99)
    calls = {
        "token_kl": [(new, old, mask, kind) for kind in ("k1", "k3")],
        "shaped_rewards": [(score, step, 0.3, mask)],
        "gae": [(step, values, mask, gamma, lam) for gamma, lam in ((1.0, 0.95), (0.9, 0.0))],
        "whiten": [(A, mask, shift) for shift in (True, False)],
        "ppo_policy_loss": [(new, old, A, mask, 0.2)],
        "ppo_value_loss": [(new, old, values, mask, 0.2)],
        "entropy": [(rand(5, 9, 7), mask)],
        "group_advantages": [(A, True), (A, False)],
        "grpo_loss": [(new, old, values / 9 + new, score, mask, 0.2, 0.1, reduce)
                      for reduce in ("sequence", "token")],
    }  # fmt: skip
    assert calls.keys() == reinforce.OURS.keys()
    for name, cases in calls.items():
        for case in cases:
            mine, other = space[name](*case), reinforce.OURS[name](*case)
            for a, b in zip(*(x if isinstance(x, tuple) else (x,) for x in (mine, other)),
                            strict=True):  # fmt: skip
                assert torch.allclose(a.to(F64), b.to(F64), rtol=1e-6, atol=1e-6), name


@pytest.mark.parametrize("beta", [0.0, 0.04, 1.0])
@pytest.mark.parametrize("reduce", ["sequence", "token"])
def test_the_grpo_loss_is_trl_s(space: dict[str, Any], reduce: str, beta: float) -> None:
    pytest.importorskip("trl")
    from glassbox import huggingface

    old = rand(4, 9) - 2
    new, ref = old + 0.3 * rand(4, 9, seed=1), old + 0.3 * rand(4, 9, seed=2)
    mask, A = torch.arange(9) < torch.tensor([9, 3, 6, 1])[:, None], rand(4, seed=3)
    leaves = [new.clone().requires_grad_() for _ in range(2)]
    mine = space["grpo_loss"](leaves[0], old, ref, A, mask, 0.2, beta, reduce)
    theirs = huggingface.grpo_loss(leaves[1], old, ref, A, mask, 0.2, beta, reduce)
    assert abs(mine - theirs) < 1e-6
    grads = [
        torch.autograd.grad(x, leaf)[0] for x, leaf in zip((mine, theirs), leaves, strict=True)
    ]
    assert (grads[0] - grads[1]).abs().max() < 1e-6


def test_entropy_is_trl_s(space: dict[str, Any]) -> None:
    pytest.importorskip("trl")
    from trl.trainer.utils import entropy_from_logits

    logits, mask = rand(3, 4, 6).float(), drills_ppo.spans(3, 4, seeded(0))
    theirs = entropy_from_logits(logits)[mask].mean()
    assert abs(space["entropy"](logits, mask) - theirs) < 1e-6


# --- by brute force ------------------------------------------------------------------------------


def test_gae_is_the_double_sum(space: dict[str, Any]) -> None:
    r, v = rand(3, 12), rand(3, 12, seed=1)
    delta = r + 0.9 * torch.cat([v[:, 1:], torch.zeros(3, 1, dtype=F64)], 1) - v
    want = torch.zeros(3, 12, dtype=F64)
    for t in range(12):
        for k in range(t, 12):
            want[:, t] += (0.9 * 0.8) ** (k - t) * delta[:, k]
    advantages, returns = space["gae"](r, v, torch.ones(3, 12).bool(), 0.9, 0.8)
    assert torch.allclose(advantages, want)
    assert torch.allclose(returns, want + v)


@pytest.mark.parametrize("A", [1.0, -1.0, 0.3])
def test_the_gradient_is_zero_exactly_where_clipped_and_unfavourable(
    space: dict[str, Any], A: float
) -> None:
    gaps = torch.linspace(-1, 1, 41, dtype=F64)[None]
    now = gaps.clone().requires_grad_()
    mask = torch.ones(1, 41).bool()
    space["ppo_policy_loss"](now, torch.zeros_like(gaps), torch.full_like(gaps, A), mask, 0.2)[
        0
    ].backward()
    ratio = gaps.exp()
    held = ratio > 1.2 if A > 0 else ratio < 0.8
    assert torch.equal(now.grad == 0, held)
    assert torch.allclose(now.grad[~held], (-ratio * A / 41)[~held])


def test_both_kinds_of_kl_have_the_kl_for_their_mean(space: dict[str, Any]) -> None:
    """Drawn, not added up: a million tokens of a policy with eight choices."""
    p, q = (torch.randn(8, generator=seeded(i)).mul(0.5).log_softmax(0) for i in range(2))
    drawn = torch.multinomial(p.exp(), 1_000_000, replacement=True, generator=seeded(2))[None]
    kl, every = (p.exp() * (p - q)).sum(), torch.ones(drawn.shape).bool()
    spread = {}
    for kind in ("k1", "k3"):
        each = space["token_kl"](p[drawn], q[drawn], every, kind).double()
        spread[kind] = each.std()
        assert abs(each.mean() - kl) < 5 * each.std() / 1000
    assert spread["k3"] < spread["k1"]


# --- the contracts, point by point ---------------------------------------------------------------


def test_padding_has_no_influence_and_no_gradient(space: dict[str, Any]) -> None:
    mask = drills_ppo.spans(4, 6, seeded(0))
    new, old, A = (rand(4, 6, seed=i) for i in range(3))
    for bad in (math.nan, math.inf, -math.inf):
        spoil = [x.masked_fill(~mask, bad) for x in (new, old, A)]
        for name, args in (
            ("ppo_policy_loss", (*spoil, mask, 0.2)),
            ("ppo_value_loss", (*spoil, mask, 0.2)),
            ("grpo_loss", (*spoil[:2], spoil[1], A[:, 0], mask, 0.2, 0.1)),
            ("token_kl", (*spoil[:2], mask)),
        ):
            leaf = args[0].clone().requires_grad_()
            found = space[name](leaf, *args[1:])
            first = found[0] if isinstance(found, tuple) else found
            assert first.isfinite().all(), (name, bad)
            first.sum().backward()
            assert leaf.grad.isfinite().all(), (name, bad)
            assert (leaf.grad[~mask] == 0).all(), (name, bad)
        for part in (*space["gae"](*spoil[:2], mask, 0.9, 0.9), space["whiten"](spoil[0], mask)):
            assert (part[~mask] == 0).all()
            assert part.isfinite().all()
        assert space["shaped_rewards"](A[:, 0], spoil[0], 0.1, mask).isfinite().all()


def test_no_token_at_all_gives_zeros(space: dict[str, Any]) -> None:
    x, none = rand(2, 3), torch.zeros(2, 3).bool()
    assert [float(v) for v in space["ppo_policy_loss"](x, x, x, none, 0.2)] == [0, 0, 0]
    assert float(space["ppo_value_loss"](x, x, x, none, 0.2)) == 0
    assert float(space["entropy"](rand(2, 3, 4), none)) == 0
    assert float(space["grpo_loss"](x, x, x, x[:, 0], none, 0.2, 0.1, "token")) == 0
    assert not space["shaped_rewards"](x[:, 0], x, 0.1, none).any()
    assert not space["whiten"](x, none).any()


@pytest.mark.parametrize("value", [0.1, 1e-3, 0.7, 1000.1])
@pytest.mark.parametrize("G", [1, 3, 7])
def test_tied_groups_are_exactly_zero(space: dict[str, Any], G: int, value: float) -> None:
    for dtype in (torch.float32, F64):
        rewards = torch.full((2, G), value, dtype=dtype)
        assert not space["group_advantages"](rewards, eps=0.0).any()
        assert not space["group_advantages"](rewards, normalize=False).any()


TICKETS = {
    '{"code": "E204", "area": "fibre", "priority": 2}': 1.0,
    '\n{"priority": 1, "code": "E000", "area": "mobile", "to": {"a": [1]}} ': 1.0,
    '{"code": "E204", "area": "fibre", "priority": 0}': 0.75,
    '{"code": "E204", "area": "fibre", "priority": 5}': 0.75,
    '{"code": "E204", "area": "fibre", "priority": 4.0}': 0.75,
    '{"code": "E204", "area": "fibre", "priority": true}': 0.75,
    '{"code": "E204", "area": "fibre"}': 0.75,
    '{"code": "E204", "area": ["fibre"], "priority": 2}': 0.75,
    '{"code": "E20", "area": "fibre", "priority": 2}': 0.75,
    '{"code": 204, "area": "fibre", "priority": 2}': 0.75,
    '{"code": "E204", "area": "Fibre", "priority": 7}': 0.5,
    '{"code": "e204", "area": "", "priority": null}': 0.25,
    "{}": 0.25,
    '{"code": "E204", "area": "fibre", "priority": NaN}': 0.0,
    '{"code": "E204", "area": "fibre", "priority": 2, "x": -Infinity}': 0.0,
    '[{"code": "E204", "area": "fibre", "priority": 2}]': 0.0,
    '{"code": "E204", "area": "fibre", "priority": 2': 0.0,
    'The ticket: {"code": "E204", "area": "fibre", "priority": 2}': 0.0,
    "E204, fibre, 2": 0.0,
    "": 0.0,
}


def test_twenty_tickets(space: dict[str, Any]) -> None:
    assert len(TICKETS) == 20
    assert {text: space["ticket_reward"](text) for text in TICKETS} == TICKETS


def test_hacking_is_seen_where_it_was_planted(space: dict[str, Any]) -> None:
    steps = torch.arange(30.0)
    for peak in (0, 5, 20):
        gold = 1 - 0.06 * (steps - peak).abs()
        found = space["detect_reward_hacking"](steps, gold, steps / 10)
        assert found == {"hacked": True, "step": peak + 2, "kl": pytest.approx((peak + 2) / 10)}
    assert space["detect_reward_hacking"](steps, steps, steps)["hacked"] is False


def test_right_functions_pass_with_any_seed(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_bank(COURSE, lab)
    for exercise in lab.exercises:
        versions = [space[exercise], *(v.make for v in known[exercise].right)]
        for seed in range(4):
            monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
            for version in versions:
                exec(lab.cell(f"{exercise}_hidden").source, space | {exercise: version})


# --- drills --------------------------------------------------------------------------------------


def test_spans_are_runs_and_one_of_three_is_empty() -> None:
    for shape in ((1, 1), (2, 5), (3, 1), (6, 9)):
        for seed in range(50):
            mask = drills_ppo.spans(*shape, seeded(seed))
            assert mask.shape == shape
            assert mask.any()
            for row in mask:
                places = row.nonzero().flatten().tolist()
                assert not places or places == list(range(places[0], places[-1] + 1))
            if shape[0] > 2:
                assert not mask.any(1).all()
                assert mask[:, 0].any()
                assert mask[:, -1].any()


def test_a_drill_tells_what_carries_a_gradient() -> None:
    x, y = rand(3), rand(3, seed=1)
    case = drill(drills_ppo.with_gradients, x, y)
    total, plain, carries, none, to_x, to_y = bank.answer(
        lambda a, b: ((a * b).sum(), b.detach().sum()), case
    )
    assert total == pytest.approx(float((x * y).sum()))
    assert plain == pytest.approx(float(y.sum()))
    assert (carries, none) == (1.0, 0.0)
    assert torch.equal(torch.from_numpy(to_x), y)
    assert torch.equal(torch.from_numpy(to_y), x)


# --- the runs ------------------------------------------------------------------------------------


def test_both_methods_reach_the_threshold_in_five_of_five_seeds(
    runs: list[dict[str, Any]],
) -> None:
    assert len(runs) == 5
    for run in runs:
        assert 0.2 < run["before"]["reward"] < 0.45
        for method in ("ppo", "grpo"):
            assert run[method]["reward"] > 0.8
            assert run[method]["kl"] < 1.0
            assert run[method]["right"] > 0.9


def test_the_detector_calls_the_careless_runs(runs: list[dict[str, Any]]) -> None:
    for run in runs:
        free = run["hacking"]
        assert free["hacked"]
        assert free["proxy"][1] > free["proxy"][0]
        assert free["gold"][1] < 0.5
        assert free["kl"][1] > 5


def test_the_text_tells_what_was_measured(lab: Lab, runs: list[dict[str, Any]]) -> None:
    gains = {method: [round(run[method.lower()]["reward"] - run["before"]["reward"], 4)
                      for run in runs] for method in ("PPO", "GRPO")}  # fmt: skip
    names: dict[str, Any] = {}
    cell = cell_with(lab, "FIVE = {")
    exec(cell[cell.index("FIVE = {") : cell.index("\nfor name")], names)
    assert names["FIVE"] == gains
    text = prose(lab)
    for method, values in gains.items():
        _, low, high = mean_interval(values)
        told = re.search(rf"{method} gained (\d\.\d\d) \((\d\.\d\d) to (\d\.\d\d)\)", text)
        assert told, f"no gain of {method} in the text"
        assert [float(told[i]) for i in (1, 2, 3)] == [
            round(sum(values) / 5, 2), round(low, 2), round(high, 2)
        ]  # fmt: skip


def test_the_text_tells_when_the_careless_run_was_called_hacked(
    lab: Lab, runs: list[dict[str, Any]]
) -> None:
    told = re.search(
        r"first at step (\d) to (\d) and at a KL of ([\d.]+) to ([\d.]+) nats\. Of the answers of "
        r"the last two rounds a share of ([\d.]+) to ([\d.]+) was .* begun at ([\d.]+) to ([\d.]+) "
        r"and ended at ([\d.]+) to ([\d.]+)\.", prose(lab))  # fmt: skip
    assert told
    columns = [([run["hacking"]["step"] for run in runs], 0),
               ([run["hacking"]["kl_at_step"] for run in runs], 1),
               ([run["hacking"]["gold"][1] for run in runs], 2),
               ([run["hacking"]["proxy"][0] for run in runs], 1),
               ([run["hacking"]["proxy"][1] for run in runs], 1)]  # fmt: skip
    seen = [round(end(values), digits) for values, digits in columns for end in (min, max)]
    assert [float(x) for x in told.groups()] == pytest.approx(seen)


@pytest.mark.slow
def test_grpo_on_the_solution_learns(lab: Lab, space: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    names = dict(space)
    exec(cell_with(lab, "def improve(").split("\nruns, start =")[0], names)
    policy, _ = names["improve"](names["grpo"], seed=11)
    found = names["measured"](policy)
    assert found["reward"] > 0.7
    assert found["kl"] < 1.0


@pytest.mark.slow
def test_what_scales_m_and_l_run_runs_small(lab: Lab, space: dict[str, Any]) -> None:
    pytest.importorskip("peft")
    from glassbox import huggingface
    from glassbox.parts import GPTConfig

    torch.set_num_threads(1)
    names = dict(space) | {"huggingface": huggingface}
    exec(cell_with(lab, "def improve(").split("\nruns, start =")[0], names)
    exec(cell_with(lab, "def careless_writer").split("\nlarge =")[0], names)
    tiny = GPTConfig(n_layers=1, d_model=32, n_heads=2, vocab_size=1024, context_len=128)
    found = names["tickets"](tiny, steps=10, rounds=1, n_prompts=2, device="cpu")
    assert 0 <= found["reward after"] <= 1
    assert names["shape_only"](tiny, rounds=1, n_prompts=2, device="cpu")["parameters"] > 0
    tokens = huggingface.to_tokenizer()
    chat = huggingface.to_llama(GPTConfig(n_layers=1, d_model=32, n_heads=2, context_len=256,
                                          vocab_size=len(tokens)))  # fmt: skip
    asked = [q for q in names["data"].train if q.kind == "error"]
    assert names["chat_model"](chat, tokens, asked, rounds=1, n_prompts=2)["KL last"] < 1e-3


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "you pay the policy for drifting", "short answers never see their reward",
        "value of padding leaks into the last real token",
        "advantages must be accumulated from the end", "returns are advantages plus values",
        "bad moves are not limited", "padding gives a ratio of 0/0",
        "the value network receives the policy's gradient", "clipping hides large errors",
        "the mean depends on how much you padded",
        "0/0 in a tied group: no preference, so no gradient",
        "hard prompts get negative advantages whatever the answer",
        "a different algorithm: you take the mean over all tokens",
        "it is zero at every first update", "the ratio is 1 with gradient 0",
    ):  # fmt: skip
        assert words.lower() in told.lower(), words
