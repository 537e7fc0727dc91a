"""Rollouts, rewards, the functions of PPO and GRPO, and the loops that take a reader's."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from glassbox import assistant, reinforce
from glassbox.models import GPT
from glassbox.parts import GPTConfig
from glassbox.reinforce import OURS, Critic, grpo, polite_and_right, ppo, rollout, token_logp
from glassbox.telecom.questions import POLITE, messages, questions
from glassbox.tokenizer import tokenizer

SPLIT = questions()
T = tokenizer()


def gen(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def small(seed: int = 0) -> GPT:
    torch.manual_seed(seed)
    sizes = {"n_layers": 1, "d_model": 16, "n_heads": 2, "context_len": 128}
    return GPT(GPTConfig(vocab_size=T.vocab_size, **sizes))


def cases(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A mask with late starts, an empty row and a single token; and values (4, 5, 9)."""
    mask = torch.zeros(5, 9, dtype=torch.bool)
    for row, (start, stop) in enumerate(((2, 6), (0, 9), (4, 4), (8, 9), (3, 5))):
        mask[row, start:stop] = True
    return mask, torch.randn(4, 5, 9, generator=gen(seed), dtype=torch.float64)


# --- answers -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def talker() -> GPT:
    """A model that ends some of its answers."""
    torch.set_num_threads(1)
    model = assistant.base()
    assistant.finetune(model, assistant.rows(SPLIT.train), steps=30, warm_up=5, rows_per_step=8)
    return model


def test_a_rollout_holds_what_was_said(talker: GPT) -> None:
    asked = sorted(SPLIT.train[:6], key=lambda q: len(q.text))
    taken = rollout(talker, asked, 3, gen(), max_new=12)
    assert taken.asked == [q for q in asked for _ in range(3)]
    assert taken.ids.shape == taken.mask.shape == taken.logp.shape
    assert len(taken.ids) == len(taken.texts) == len(taken.ended) == 18
    for row, question in enumerate(taken.asked):
        prompt, _ = assistant.render(messages(question)[:-1], T, answer=True)
        n, said = len(prompt), taken.ids[row][taken.mask[row]].tolist()
        assert taken.ids[row, :n].tolist() == prompt
        assert taken.mask[row].nonzero().flatten().tolist() == list(range(n, n + len(said)))
        assert 1 <= len(said) <= 12
        assert (said[-1] == T.end_id) == taken.ended[row]
        assert T.end_id not in said[:-1]
        assert T.decode([i for i in said if i != T.end_id]) == taken.texts[row]
        assert taken.ended[row] or len(said) == 12
        assert (taken.ids[row, n + len(said) :] == T.pad_id).all()
    assert len(set(taken.texts)) > 6


def test_log_probabilities_are_those_of_the_tokens_alone(talker: GPT) -> None:
    taken = rollout(talker, SPLIT.train[:4], 2, gen(1), max_new=10)
    for row, where in enumerate(taken.mask):
        with torch.no_grad():
            n = int(where.nonzero().max()) + 1
            logits = talker(taken.ids[row : row + 1, :n]).log_softmax(-1)[0]
        for t in range(taken.ids.shape[1]):
            expected = logits[t - 1, taken.ids[row, t]] if where[t] else 0.0
            assert float(taken.logp[row, t]) == pytest.approx(float(expected), abs=1e-4)
    again = token_logp(talker, taken.ids, taken.mask)
    assert again.requires_grad
    assert torch.allclose(again, taken.logp, atol=1e-5)


def test_at_temperature_0_it_says_what_replies_says(talker: GPT) -> None:
    asked = SPLIT.pairs[:5]
    taken = rollout(talker, asked, 1, None, temperature=0.0, max_new=20)
    said = assistant.replies(talker, [messages(q)[:-1] for q in asked], max_new=20)
    assert list(zip(taken.texts, taken.ended, strict=True)) == said


def test_the_critic_knows_only_what_came_before() -> None:
    critic, ids = Critic(small()), torch.randint(900, (3, 11), generator=gen())
    assert critic(ids).shape == (3, 11)
    assert not critic(ids).any()
    torch.nn.init.normal_(critic.number.weight)
    before, other = critic(ids), ids.clone()
    other[:, 6:] = 5
    after = critic(other)
    assert not before[:, 0].any()
    assert torch.allclose(before[:, :7], after[:, :7], atol=1e-6)
    assert not torch.allclose(before[:, 7:], after[:, 7:])


# --- rewards -------------------------------------------------------------------------------------


def test_rewards() -> None:
    question, other = SPLIT.pairs[0], SPLIT.pairs[1]
    right = POLITE + question.answer
    assert polite_and_right(question, right, True) == 1
    for text, ended in ((question.answer, True), (right, False), (POLITE + other.answer, True),
                        (right + " Bye.", True), (POLITE, True)):  # fmt: skip
        assert polite_and_right(question, text, ended) == 0
    assert reinforce.opening(question, POLITE + "Who knows?", False) == 1
    assert reinforce.opening(question, question.answer, True) == 0
    longer = reinforce.length_biased(reinforce.opening, 0.5)
    assert longer(question, POLITE + "Who knows?", False) == pytest.approx(1 + 0.5 * 6)


# --- our functions -------------------------------------------------------------------------------


def test_kl_of_a_token() -> None:
    mask, (logp, ref, _, _) = cases()
    gap = (logp - ref) * mask
    assert torch.allclose(OURS["token_kl"](logp, ref, mask, "k1"), gap)
    assert torch.allclose(OURS["token_kl"](logp, ref, mask), ((-gap).exp() - 1 + gap) * mask)
    with pytest.raises(ValueError, match="k2"):
        OURS["token_kl"](logp, ref, mask, "k2")


def test_shaped_rewards_pay_the_score_once() -> None:
    mask, (kl, score, _, _) = cases()
    paid = OURS["shaped_rewards"](score[:, 0], kl, 0.3, mask)
    assert not paid[~mask].any()
    for row in range(5):
        where = mask[row].nonzero().flatten().tolist()
        for t in where:
            expected = -0.3 * kl[row, t] + (score[row, 0] if t == where[-1] else 0)
            assert float(paid[row, t]) == pytest.approx(float(expected))


@pytest.mark.parametrize(("gamma", "lam"), [(1.0, 0.95), (0.9, 0.5), (1.0, 1.0), (0.7, 0.0)])
def test_gae_is_the_sum_of_all_later_surprises(gamma: float, lam: float) -> None:
    mask, (rewards, values, _, _) = cases(1)
    advantages, returns = OURS["gae"](rewards, values, mask, gamma, lam)
    for row in range(5):
        where = mask[row].nonzero().flatten().tolist()
        for t in where:
            total = 0.0
            for k in range(t, where[-1] + 1):
                ahead = float(values[row, k + 1]) if k < where[-1] else 0.0
                surprise = float(rewards[row, k] - values[row, k]) + gamma * ahead
                total += (gamma * lam) ** (k - t) * surprise
            assert float(advantages[row, t]) == pytest.approx(total)
            assert float(returns[row, t]) == pytest.approx(total + float(values[row, t]))
    assert not advantages[~mask].any()
    assert not returns[~mask].any()


def test_whitening_sees_real_tokens_alone() -> None:
    mask, (x, _, _, _) = cases(2)
    x = (3 + 2 * x).masked_fill(~mask, 1e6)
    white, kept = OURS["whiten"](x, mask), OURS["whiten"](x, mask, False)
    assert float(white[mask].mean()) == pytest.approx(0, abs=1e-9)
    assert float(white[mask].var(correction=0)) == pytest.approx(1, rel=1e-6)
    assert torch.allclose(kept[mask], white[mask] + x[mask].mean())
    assert not white[~mask].any()
    one = torch.zeros_like(mask)
    one[0, 3] = True
    assert OURS["whiten"](x, one).isfinite().all()


@pytest.mark.parametrize(
    ("ratio", "advantage", "gain", "slope"),
    [(1.5, 2.0, 2.4, 0.0), (0.5, 2.0, 1.0, 1.0), (1.5, -2.0, -3.0, -3.0), (0.5, -2.0, -1.6, 0.0),
     (1.1, 2.0, 2.2, 2.2), (0.9, -2.0, -1.8, -1.8), (1.5, 0.0, 0.0, 0.0)],
)  # fmt: skip
def test_the_clip_by_sign(ratio: float, advantage: float, gain: float, slope: float) -> None:
    """The slope is that of the gain in the log-probability: ratio times advantage, or nothing."""
    logp = torch.tensor([[0.0, math.log(ratio)]], requires_grad=True)
    mask, old = torch.tensor([[False, True]]), torch.zeros(1, 2)
    adv = torch.tensor([[9.0, advantage]])
    loss, clipped, moved = OURS["ppo_policy_loss"](logp, old, adv, mask, 0.2)
    assert loss.item() == pytest.approx(-gain)
    assert float(clipped) == float(abs(ratio - 1) > 0.2)
    assert float(moved) == pytest.approx(ratio - 1 - math.log(ratio), abs=1e-6)
    loss.backward()
    assert logp.grad.tolist() == [[0.0, pytest.approx(-slope)]]
    adv = torch.tensor([advantage])
    with torch.no_grad():
        assert float(OURS["grpo_loss"](logp, old, logp, adv, mask, 0.2, 0.5)) == (
            pytest.approx(-gain)
        )


def test_the_value_loss_takes_the_larger_miss() -> None:
    mask = torch.tensor([[True, True, True, False]])
    values = torch.tensor([[1.0, 1.0, 0.1, 9.0]], requires_grad=True)
    old, returns = torch.zeros(1, 4), torch.tensor([[2.0, 0.5, 1.0, 0.0]])
    loss = OURS["ppo_value_loss"](values, old, returns, mask, 0.2)
    assert loss.item() == pytest.approx((1.8**2 + 0.5**2 + 0.9**2) / 3 / 2)
    loss.backward()
    assert values.grad[0].tolist() == pytest.approx([0, 0.5 / 3, -0.9 / 3, 0])


def test_entropy_of_even_and_of_impossible_choices() -> None:
    mask, logits = torch.tensor([[True, True, False]]), torch.zeros(1, 3, 8)
    assert float(OURS["entropy"](logits, mask)) == pytest.approx(math.log(8))
    logits[0, 1, 2:] = -math.inf
    assert float(OURS["entropy"](logits, mask)) == pytest.approx(math.log(4))


def test_a_group_is_its_own_baseline() -> None:
    rewards = torch.tensor([[1.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0]])
    found = OURS["group_advantages"](rewards)
    assert found[0].tolist() == pytest.approx([1.5, -0.5, -0.5, -0.5], rel=1e-4)
    assert found[1].tolist() == [0, 0, 0, 0]
    assert OURS["group_advantages"](rewards, False)[0].tolist() == [0.75, -0.25, -0.25, -0.25]
    assert OURS["group_advantages"](rewards[:, :1]).tolist() == [[0], [0]]


def test_grpo_by_rows_and_by_tokens() -> None:
    mask, (logp, old, ref, adv) = cases(3)
    logp, old, ref, adv = logp / 5, old / 5, ref / 5, adv[:, 0]
    cost = torch.zeros(5, 9, dtype=torch.float64)
    for b, t in mask.nonzero().tolist():
        ratio, up = math.exp(logp[b, t] - old[b, t]), float(ref[b, t] - logp[b, t])
        near = min(max(ratio, 0.9), 1.1)
        gain = min(ratio * float(adv[b]), near * float(adv[b]))
        cost[b, t] = 0.04 * (math.exp(up) - 1 - up) - gain
    given = (logp, old, ref, adv, mask, 0.1, 0.04)
    rows = cost.sum(1) / mask.sum(1).clamp(min=1)
    assert float(OURS["grpo_loss"](*given)) == pytest.approx(float(rows.mean()))
    by_token = float(OURS["grpo_loss"](*given, "token"))
    assert by_token == pytest.approx(float(cost.sum() / mask.sum()))


# --- the loops -----------------------------------------------------------------------------------


def letters(question: object, text: str, ended: bool) -> float:
    """A reward that a model without any knowledge can raise."""
    return 10 * text.count("e") / max(1, len(text))


SHORT = {"iterations": 12, "lr": 2e-2, "kl_weight": 0.0, "max_new": 8}


@pytest.mark.parametrize("method", [ppo, grpo])
def test_the_reward_rises_and_the_reference_stays(method: Callable) -> None:
    torch.set_num_threads(1)
    policy, seen = small(), []
    reference, before = copy.deepcopy(policy), copy.deepcopy(policy.state_dict())
    told = method(policy, reference, SPLIT.train[:20], letters, gold=polite_and_right,
                  on_iteration=lambda at, values: seen.append((at, values)), **SHORT)  # fmt: skip
    assert seen == list(enumerate(told))
    assert set(told[0]) - {"value_loss", "tied"} == {
        "reward", "kl", "length", "clip_share", "entropy", "gold"
    }  # fmt: skip
    assert all(math.isfinite(x) for values in told for x in values.values())
    assert told[0]["kl"] == pytest.approx(0, abs=1e-6)
    assert told[-1]["kl"] > 0.01
    ends = [sum(values["reward"] for values in part) / 3 for part in (told[:3], told[-3:])]
    assert ends[1] > 1.3 * ends[0]
    assert all(torch.equal(reference.state_dict()[name], was) for name, was in before.items())


@pytest.mark.parametrize("method", [ppo, grpo])
def test_a_large_kl_weight_holds_the_policy(method: Callable) -> None:
    torch.set_num_threads(1)
    ends = []
    for weight in (0.0, 3.0):
        policy = small()
        told = method(policy, copy.deepcopy(policy), SPLIT.train[:20], letters,
                      **SHORT | {"kl_weight": weight})  # fmt: skip
        ends.append(told[-1]["kl"])
    assert ends[1] < ends[0] / 3


@pytest.mark.parametrize("method", [ppo, grpo])
def test_a_readers_functions_are_the_ones_that_work(method: Callable) -> None:
    torch.set_num_threads(1)
    called, short = set(), SHORT | {"iterations": 2}

    def watched(name: str) -> Callable:
        def function(*given: object, **named: object) -> object:
            called.add(name)
            return OURS[name](*given, **named)

        return function

    runs = []
    for functions in (None, {name: watched(name) for name in OURS}):
        policy = small()
        runs.append(method(policy, copy.deepcopy(policy), SPLIT.train[:20], letters,
                           functions=functions, **short))  # fmt: skip
    assert runs[0] == runs[1]
    both = {"token_kl", "entropy"}
    own = {"group_advantages", "grpo_loss"} | both
    assert called == (own if method is grpo else set(OURS) - own | both)


def test_one_question_and_one_answer_are_enough() -> None:
    policy = small()
    question = replace(SPLIT.train[0], text="Hi")
    shape = {"n_prompts": 1, "n_per_prompt": 1, "iterations": 1, "max_new": 3}
    for method in (ppo, grpo):
        (told,) = method(policy, copy.deepcopy(policy), [question], letters, **shape)
        assert all(math.isfinite(x) for x in told.values())


def test_assessing_a_policy_against_itself() -> None:
    model = small()
    found = reinforce.assess(model, model, SPLIT.pairs[:3], letters, gen(), 2, max_new=5)
    assert set(found) == {"reward", "kl", "right", "polite", "length"}
    assert (found["kl"], found["right"], found["polite"]) == (0, 0, 0)
    assert 0 < found["length"] <= 5
    other = reinforce.assess(small(1), model, SPLIT.pairs[:3], letters, gen(), 2, max_new=5)
    assert other["kl"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("method", [ppo, grpo])
def test_the_defaults_teach_manners_at_a_small_price(method: Callable) -> None:
    torch.set_num_threads(1)
    policy, reference = assistant.tuned(), assistant.tuned()
    before = reinforce.assess(reference, reference, SPLIT.pairs, generator=gen())
    method(policy, reference, SPLIT.train, polite_and_right, seed=200)
    after = reinforce.assess(policy, reference, SPLIT.pairs, generator=gen())
    assert before["reward"] < 0.45
    assert after["reward"] > 0.8
    assert after["kl"] < 1
