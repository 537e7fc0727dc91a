"""Pairs, DPO, sampled answers and their measures, the reward model."""

import copy
import math
from collections import Counter

import pytest
import torch
from torch import Tensor, nn

from glassbox import assistant, preference
from glassbox.assistant import render, replies
from glassbox.models import GPT
from glassbox.preference import (
    RUDE,
    Pair,
    Scorer,
    answer_batch,
    answer_logp,
    continued,
    dpo,
    drift,
    fit_scorer,
    manners,
    mean_interval,
    pair_batch,
    pairs,
    sampled,
    win_rate,
)
from glassbox.telecom.questions import POLITE, Question, fact, grade, messages, questions
from glassbox.tokenizer import tokenizer

T = tokenizer()
PAIRS = pairs()
ASKED = questions().pairs


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def start() -> GPT:
    torch.set_num_threads(1)
    return assistant.tuned()


# --- comparisons ---------------------------------------------------------------------------------


def kind(pair: Pair) -> str:
    whole = fact(pair.question.kind, pair.question.key)
    if pair.rejected == whole:
        return "plain"
    if pair.rejected == RUDE + whole:
        return "rude"
    half = pair.rejected.removesuffix(".")
    assert pair.rejected.endswith(".")
    assert whole.startswith(half)
    assert half != whole.removesuffix(".")
    return "half"


def test_the_polite_and_whole_answer_is_chosen() -> None:
    assert [p.question for p in PAIRS] == questions().train
    for p in PAIRS:
        assert p.chosen == POLITE + fact(p.question.kind, p.question.key)
        assert grade(p.question, p.chosen, True).right
        assert grade(p.question, p.rejected, True).right == (kind(p) == "plain")
    shares = Counter(kind(p) for p in PAIRS)
    assert shares["plain"] / 320 == pytest.approx(0.8, abs=0.06)
    assert shares["rude"] / 320 == pytest.approx(0.1, abs=0.05)
    for word in ("error", "plan"):
        assert {kind(p) for p in PAIRS if p.question.kind == word} == {"plain", "rude", "half"}


def test_a_seed_fixes_the_pairs() -> None:
    assert pairs() == PAIRS
    assert pairs(1) != PAIRS
    assert {p.question.text for p in pairs(1)}.isdisjoint(q.text for q in questions(1).pairs)


def test_noise_swaps_a_share_and_more_noise_keeps_what_it_swapped() -> None:
    before: set[int] = set()
    for share in (0.1, 0.2, 0.4, 1.0):
        noisy = pairs(flipped=share)
        swapped = {n for n, (a, b) in enumerate(zip(noisy, PAIRS, strict=True)) if a != b}
        assert len(swapped) == round(320 * share)
        assert before <= swapped
        for n in swapped:
            assert noisy[n] == Pair(PAIRS[n].question, PAIRS[n].rejected, PAIRS[n].chosen)
        before = swapped


def test_a_batch_of_pairs_by_hand() -> None:
    some = [PAIRS[3], PAIRS[40]]
    made = pair_batch(some)
    assert set(made) == {"chosen_ids", "chosen_mask", "rejected_ids", "rejected_mask"}
    assert len({part.shape for part in made.values()}) == 1
    for side in ("chosen", "rejected"):
        ids, mask = made[f"{side}_ids"], made[f"{side}_mask"]
        assert mask.dtype == torch.bool
        for pair, row, said in zip(some, ids, mask, strict=True):
            assert T.decode(row[said].tolist()) == getattr(pair, side) + "<|end|>"
            n = int(said.nonzero()[0])
            whole, _ = render(messages(pair.question)[:-1], T, answer=True)
            assert row[:n].tolist() == whole
            assert not said[:n].any()
            assert set(row[n + int(said.sum()) :].tolist()) <= {T.pad_id}


def test_what_does_not_fit_is_cut_at_the_end() -> None:
    whole, cut = pair_batch(PAIRS[:4]), pair_batch(PAIRS[:4], 20)
    for name, part in cut.items():
        assert part.shape == (4, 20)
        assert torch.equal(part, whole[name][:, :20])


def test_every_pair_fits_the_context() -> None:
    for seed in range(3):
        made = pair_batch(pairs(seed), context_len=1_000)
        assert made["chosen_ids"].shape[1] <= 128


# --- log-probabilities ---------------------------------------------------------------------------


def test_a_sum_over_the_answers_tokens(start: GPT) -> None:
    made = pair_batch(PAIRS[:3])
    ids, mask = made["rejected_ids"], made["rejected_mask"]
    found = answer_logp(start, ids, mask)
    assert found.shape == (3,)
    for row, said, value in zip(ids, mask, found, strict=True):
        logs = start(row[None])[0].log_softmax(-1)
        by_hand = sum(logs[t - 1, row[t]].item() for t in range(1, len(row)) if said[t])
        assert value.item() == pytest.approx(by_hand, abs=1e-3)


class Uniform(nn.Module):
    """Every id is as likely as every other."""

    def __init__(self) -> None:
        super().__init__()
        self.level = nn.Parameter(torch.zeros(()))

    def forward(self, ids: Tensor) -> Tensor:
        return self.level.expand(*ids.shape, 1024)


def test_the_mask_is_not_shifted_and_the_first_id_is_never_scored() -> None:
    ids = torch.zeros(3, 4, dtype=torch.long)
    mask = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]]).bool()
    found = answer_logp(Uniform(), ids, mask)
    assert torch.allclose(found, -math.log(1024) * torch.tensor([2.0, 0.0, 1.0]))


def test_padding_and_neighbours_change_nothing(start: GPT) -> None:
    short = answer_batch(ASKED[:1], ["It costs 9 euros."])
    long = answer_batch(ASKED[:2], ["It costs 9 euros.", PAIRS[0].chosen * 2])
    assert long[0].shape[1] > short[0].shape[1]
    one, two = answer_logp(start, *short), answer_logp(start, *long)
    assert one[0].item() == pytest.approx(two[0].item(), abs=1e-4)


# --- DPO -----------------------------------------------------------------------------------------


def test_training_begins_at_ln_2_and_leaves_the_reference_alone(start: GPT) -> None:
    policy, reference, shown = assistant.tuned(), assistant.tuned(), []
    told = dpo(policy, reference, PAIRS, 4, 1e-4, 8, warm_up=1,
               on_step=lambda at, values: shown.append((at, values)))  # fmt: skip
    assert shown == list(enumerate(told))
    assert set(told[0]) >= {"loss", "margin", "accuracy"}
    assert told[0]["loss"] == pytest.approx(math.log(2), abs=1e-6)
    for name in ("margin", "chosen", "rejected"):
        assert told[0][name] == pytest.approx(0, abs=1e-4)
    assert told[-1]["loss"] < math.log(2)
    assert told[-1]["accuracy"] > 0.5
    for last in told:
        gap = 0.1 * (last["chosen"] - last["rejected"])
        assert last["margin"] == pytest.approx(gap, abs=1e-5)
    for p, before in zip(reference.parameters(), start.parameters(), strict=True):
        assert p.grad is None
        assert torch.equal(p, before)


def test_a_tie_is_half_right() -> None:
    told = dpo(Uniform(), Uniform(), PAIRS, 2, rows_per_step=4)
    assert [t["accuracy"] for t in told] == [0.5, 0.5]


def test_a_seed_fixes_a_run_and_beta_counts() -> None:
    def last(**settings: float) -> dict[str, float]:
        return dpo(assistant.tuned(), assistant.tuned(), PAIRS, 3, 1e-4, 4, **settings)[-1]

    one = last(seed=1)
    assert one == last(seed=1)
    assert one != last(seed=2)
    assert one != last(seed=1, beta=0.5)


def test_another_step_gets_what_ours_gets() -> None:
    policy, reference, seen = assistant.tuned(), assistant.tuned(), []

    def step(*given: object) -> dict[str, float]:
        seen.append((*given[:3], given[3].param_groups[0]["lr"], given[4]))
        return {"loss": 1.0}

    told = dpo(policy, reference, PAIRS, 6, 1e-3, 2, 0.3, warm_up=4, step=step)
    assert told == [{"loss": 1.0}] * 6
    for ours, theirs, batch, _, beta in seen:
        assert ours is policy
        assert theirs is reference
        assert len(batch["chosen_ids"]) == 2
        assert beta == 0.3
    assert [round(rate * 1e5) for *_, rate, _ in seen] == [25, 50, 75, 100, 100, 100]


# --- answers -------------------------------------------------------------------------------------


def prompts(some: list[Question]) -> list[list[int]]:
    return [render(messages(q)[:-1], T, answer=True)[0] for q in some]


def test_without_chance_many_say_what_each_says_alone(start: GPT) -> None:
    some = ASKED[:12]
    assert len({len(p) for p in prompts(some)}) > 3
    talks = [messages(q)[:-1] for q in some]
    assert sampled(start, talks, None, temperature=0) == replies(start, talks)


def test_ids_end_with_end_or_where_there_is_no_room(start: GPT) -> None:
    base = assistant.base()
    some = [*prompts(ASKED[:3]), [*prompts(ASKED[:1])[0], *([5] * 60)]]
    for ids in continued(start, some[:3], gen()):
        assert ids.count(T.end_id) == 1
        assert ids[-1] == T.end_id
    assert all(len(ids) <= 4 for ids in continued(start, some, gen(), max_new=4))
    for p, ids in zip(some, continued(base, some, gen(), max_new=500), strict=True):
        assert T.end_id in ids or len(p) + len(ids) == 128


def test_chance_is_the_generators(start: GPT) -> None:
    talks = [messages(q)[:-1] for q in ASKED[:8]]
    one, two, three = (sampled(start, talks, gen(seed)) for seed in (0, 0, 1))
    assert one == two != three
    assert not start.training


def test_ids_are_drawn_by_the_models_chances(start: GPT) -> None:
    """Of one prompt while another, longer one is still being read, and at two temperatures."""
    long, short = sorted(prompts(ASKED), key=len, reverse=True)[:: len(ASKED) - 1]
    for temperature in (1.0, 0.5):
        said = continued(start, [short, long] * 1_500, gen(), temperature, max_new=1)
        for n, prompt in enumerate((short, long)):
            first = Counter(ids[0] for ids in said[n::2])
            p = (start(torch.tensor([prompt]))[0, -1] / temperature).softmax(-1)
            for i in p.topk(3).indices.tolist():
                assert first[i] / 1_500 == pytest.approx(p[i].item(), abs=0.05)


# --- what answers are worth ----------------------------------------------------------------------


class Says:
    """A stand-in for a model: the same kind of answer to every question."""

    def __init__(self, opening: str = "", right: bool = True, ended: bool = True) -> None:
        self.opening, self.right, self.ended = opening, right, ended


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> None:
    by_text = {q.text: fact(q.kind, q.key) for q in ASKED}

    def answers(model: Says, talks: list, generator: None) -> list[tuple[str, bool]]:
        return [
            (model.opening + (by_text[t[0]["content"]] if model.right else "No."), model.ended)
            for t in talks
        ]

    monkeypatch.setattr(preference, "sampled", answers)


@pytest.mark.usefixtures("said")
def test_manners_are_shares() -> None:
    assert manners(Says(POLITE), ASKED[:4], None) == {"polite": 1, "right": 1}
    assert manners(Says(), ASKED[:4], None, samples=3) == {"polite": 0, "right": 1}
    assert manners(Says(POLITE, right=False), ASKED[:4], None) == {"polite": 1, "right": 0}
    assert manners(Says(POLITE, ended=False), ASKED[:4], None) == {"polite": 1, "right": 0}


@pytest.mark.usefixtures("said")
def test_who_wins() -> None:
    polite, plain = Says(POLITE), Says()
    wrong, wrong_and_polite = Says(right=False), Says(POLITE, right=False)
    order = [polite, plain, wrong]
    for n, better in enumerate(order):
        assert win_rate(better, better, ASKED[:4], None) == 0.5
        for worse in order[n + 1 :]:
            assert win_rate(better, worse, ASKED[:4], None) == 1
            assert win_rate(worse, better, ASKED[:4], None) == 0
    assert win_rate(wrong_and_polite, wrong, ASKED[:4], None) == 0.5
    assert win_rate(plain, wrong_and_polite, ASKED[:4], None) == 1


def test_drift_is_zero_at_home_and_grows(start: GPT) -> None:
    assert drift(start, start, ASKED[:8], gen()) == 0
    away = []
    for size in (0.02, 0.2):
        model = copy.deepcopy(start)
        with torch.no_grad():
            model.head.weight.add_(torch.randn(model.head.weight.shape, generator=gen()) * size)
        away.append(drift(model, start, ASKED, gen()))
    assert 0 < away[0] < away[1]


def test_drift_sums_what_every_drawn_token_could_have_been(start: GPT) -> None:
    model, some = assistant.base(), ASKED[:6]
    total = 0.0
    with torch.no_grad():
        for prompt, ids in zip(prompts(some), continued(model, prompts(some), gen(3)), strict=True):
            row = torch.tensor([[*prompt, *ids]])
            logs = [m(row)[0, len(prompt) - 1 : -1].log_softmax(-1) for m in (model, start)]
            assert len(logs[0]) == len(ids)
            total += (logs[0].exp() * (logs[0] - logs[1])).sum().item()
    assert drift(model, start, some, gen(3)) == pytest.approx(total / 6, rel=1e-4)


def test_the_interval_of_a_mean_by_hand() -> None:
    mean, low, high = mean_interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert high - mean == mean - low == pytest.approx(2.776 * math.sqrt(2.5 / 5), rel=1e-4)
    assert mean_interval([7.0]) == (7, -math.inf, math.inf)
    assert mean_interval([2.0, 2.0]) == (2, 2, 2)


@pytest.mark.parametrize(("n", "t"), [(2, 12.706), (10, 2.262), (11, 2.228), (31, 2.042)])
def test_students_t(n: int, t: float) -> None:
    values = [float(i % 2) for i in range(n)]
    mean, low, _ = mean_interval(values)
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    assert (mean - low) * math.sqrt(n) / deviation == pytest.approx(t, abs=2e-3)


# --- the reward model ----------------------------------------------------------------------------


def test_a_reward_is_read_at_the_last_real_token() -> None:
    scorer = Scorer(assistant.tuned())
    made = pair_batch(PAIRS[:4])
    ids, mask = made["rejected_ids"], made["rejected_mask"]
    assert scorer(ids, mask).tolist() == [0, 0, 0, 0]
    nn.init.normal_(scorer.number.weight, generator=gen())
    found = scorer(ids, mask)
    assert found.shape == (4,)
    for row, said, value in zip(ids, mask, found, strict=True):
        n = int(said.nonzero()[-1]) + 1
        by_hand = scorer.number(scorer.body.hidden(row[None, :n]))[0, -1, 0]
        assert value.item() == pytest.approx(by_hand.item(), abs=1e-4)
    assert torch.equal(scorer(ids, ids != T.pad_id), found)
    texts = [p.rejected for p in PAIRS[:4]]
    rated = scorer.rate([p.question for p in PAIRS[:4]], texts)
    assert rated == pytest.approx(found.tolist(), abs=1e-4)
    found.sum().backward()
    assert scorer.body.token.weight.grad.abs().sum() > 0


def test_a_fitted_scorer_prefers_what_was_preferred() -> None:
    torch.set_num_threads(1)
    scorer = fit_scorer(PAIRS, steps=25, rows_per_step=8)
    plain = [fact(q.kind, q.key) for q in ASKED[:40]]
    ratings = zip(scorer.rate(ASKED[:40], [POLITE + text for text in plain]),
                  scorer.rate(ASKED[:40], plain), strict=True)  # fmt: skip
    assert sum(polite > bare for polite, bare in ratings) >= 36
    few = [
        fit_scorer(PAIRS, 2, seed, rows_per_step=4).rate(ASKED[:1], plain[:1]) for seed in (1, 1, 2)
    ]
    assert few[0] == few[1] != few[2]
