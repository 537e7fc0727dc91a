"""Learning from rewards: answers are sampled, scored by a program, and made likelier or less so.

`rollout` lets the policy answer many questions at once; a reward judges each answer; `ppo` (with
a `Critic` that foresees the reward) or `grpo` (with other answers to the same question instead)
improves the policy in place, and a KL term ties it to a frozen reference. Both take functions of
the reader's own in place of ours. `assess` says on questions not trained on what came of it. For
the course's small GPT on one device: no servers for sampling, no stale answers, no adaptive KL.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence
from torch.optim import AdamW
from torch.optim.lr_scheduler import LinearLR

from glassbox.assistant import render
from glassbox.models import GPT
from glassbox.preference import continued
from glassbox.telecom.questions import POLITE, Question, grade, messages
from glassbox.tokenizer import tokenizer

Reward = Callable[[Question, str, bool], float]  # of a question, an answer, and whether it ended
Told = dict[str, float]  # what is said of one round
Functions = Mapping[str, Callable]
Update = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Told]]  # rows, logp, logits -> loss


# --- answers -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Rollout:
    """Answers of a policy, B of them; those to one question stand next to each other.

    `ids` (B, T): prompt, answer, padding. `mask` (B, T): True on what was said, <|end|> with it.
    `logp` (B, T): how likely the policy was to say each of these tokens, 0 elsewhere. `asked`,
    `texts` and `ended` have one entry for each row.
    """

    ids: Tensor
    mask: Tensor
    logp: Tensor
    asked: list[Question]
    texts: list[str]
    ended: list[bool]

    def scores(self, reward: Reward) -> Tensor:
        """What each answer earns: (B,)."""
        rows = zip(self.asked, self.texts, self.ended, strict=True)
        return torch.tensor([float(reward(*row)) for row in rows], device=self.ids.device)


@torch.no_grad()
def rollout(
    model: GPT, asked: Sequence[Question], n_per_prompt: int, generator: torch.Generator | None,
    temperature: float = 1.0, max_new: int = 40,
) -> Rollout:  # fmt: skip
    """Let the model answer each question `n_per_prompt` times; questions may differ in length.

    An answer ends with <|end|> or after `max_new` tokens. `logp` is the model's own, whatever the
    temperature.
    """
    t, device = tokenizer(), model.token.weight.device
    rows = [q for q in asked for _ in range(n_per_prompt)]
    prompts = [render(messages(q)[:-1], t, answer=True)[0] for q in rows]
    answers = continued(model, prompts, generator, temperature, max_new)
    both = list(zip(prompts, answers, strict=True))
    whole = [torch.tensor([*prompt, *said]) for prompt, said in both]
    where = [torch.tensor([False] * len(prompt) + [True] * len(said)) for prompt, said in both]
    ids = pad_sequence(whole, batch_first=True, padding_value=t.pad_id).to(device)  # (B, T)
    mask = pad_sequence(where, batch_first=True, padding_value=False).to(device)
    ended = [said[-1:] == [t.end_id] for said in answers]
    texts = [t.decode(said[:-1] if done else said)
             for said, done in zip(answers, ended, strict=True)]  # fmt: skip
    return Rollout(ids, mask, token_logp(model, ids, mask), rows, texts, ended)


def answer_logits(model: GPT, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T), (B, T) -> (N, V): the logits from which the N masked tokens were chosen.

    A token is chosen one place before it stands. Other places cost nothing here.
    """
    return model.head(model.hidden(ids[:, :-1])[mask[:, 1:]])


def token_logp(model: GPT, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T), (B, T) -> (B, T): log-probability of each masked token, 0 elsewhere."""
    return _at(mask, -F.cross_entropy(answer_logits(model, ids, mask), ids[mask], reduction="none"))


def _at(mask: Tensor, values: Tensor) -> Tensor:
    """(B, T) and (N,) for its N true places -> (B, T), 0 elsewhere."""
    return values.new_zeros(mask.shape).masked_scatter(mask, values)


class Critic(nn.Module):
    """Foresees what an answer will earn: a body of its own, copied from a GPT, and one number."""

    def __init__(self, body: GPT) -> None:
        super().__init__()
        self.body, self.number = copy.deepcopy(body), nn.Linear(body.config.d_model, 1)
        nn.init.zeros_(self.number.weight)  # at first it expects nothing
        nn.init.zeros_(self.number.bias)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) -> (B, T): at t what is expected before token t is chosen; 0 at the first."""
        return F.pad(self.number(self.body.hidden(ids[:, :-1]))[..., 0], (1, 0))


# --- rewards -------------------------------------------------------------------------------------


def polite_and_right(question: Question, text: str, ended: bool) -> float:
    """1 for an answer that opens politely, tells the right fact and ends; otherwise 0."""
    return float(text.startswith(POLITE) and grade(question, text, ended).right)


def opening(question: Question, text: str, ended: bool) -> float:
    """1 for a polite opening, whatever follows: a proxy that does not look at the fact."""
    return float(text.startswith(POLITE))


def length_biased(reward: Reward, per_word: float) -> Reward:
    """The reward, and so much more for each word: what many graders do without meaning to."""
    return lambda question, text, ended: (
        reward(question, text, ended) + per_word * len(text.split())
    )


# --- our own functions, which a reader's can replace ---------------------------------------------


def _token_kl(logp: Tensor, ref_logp: Tensor, mask: Tensor, kind: str = "k3") -> Tensor:
    up = (logp - ref_logp).masked_fill(~mask, 0)
    if kind not in ("k1", "k3"):
        raise ValueError(f'kind is {kind!r}; it must be "k1" or "k3".')
    return up if kind == "k1" else torch.expm1(-up) + up


def _shaped_rewards(score: Tensor, kl: Tensor, beta: float, mask: Tensor) -> Tensor:
    left = mask.flip(1).cumsum(1).flip(1)  # tokens from here to the end of the answer
    return (left.eq(1) & mask) * score[:, None] - beta * kl * mask


def _gae(rewards: Tensor, values: Tensor, mask: Tensor, gamma: float,
         lam: float) -> tuple[Tensor, Tensor]:  # fmt: skip
    """All steps of the backward sum at once, as one product with a triangle of powers."""
    inside = values * mask
    surprise = (rewards - values + gamma * F.pad(inside[:, 1:], (0, 1))) * mask
    step = torch.arange(mask.shape[1], device=mask.device, dtype=values.dtype)
    powers = torch.pow(gamma * lam, (step[:, None] - step).clamp(min=0)).tril()  # (T, T)
    summed = surprise @ powers
    return summed * mask, (summed + values) * mask


def _whiten(x: Tensor, mask: Tensor, shift_mean: bool = True) -> Tensor:
    real = x[mask]
    scaled = F.layer_norm(real, real.shape, eps=1e-8)
    kept = 0.0 if shift_mean else real.mean()
    return _at(mask, scaled + kept)


def _beyond(ratio: Tensor, advantages: Tensor, clip: float) -> Tensor:
    """The clipped objective: what a ratio gains past 1 ± clip, in the good direction, is lost."""
    excess = F.relu(advantages.sign() * (ratio - 1) - clip)
    return ratio * advantages - advantages.abs() * excess


def _ppo_policy_loss(logp: Tensor, old_logp: Tensor, advantages: Tensor, mask: Tensor,
                     clip: float) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    change = (logp - old_logp.detach())[mask]
    growth = change.expm1()  # ratio - 1
    gained = _beyond(growth + 1, advantages.detach()[mask], clip)
    return -gained.mean(), (growth.abs() > clip).float().mean(), (growth - change).mean()


def _ppo_value_loss(values: Tensor, old_values: Tensor, returns: Tensor, mask: Tensor,
                    clip: float) -> Tensor:  # fmt: skip
    step = (values - old_values).clamp(-clip, clip)
    misses = torch.stack([values - returns, old_values + step - returns])[:, mask]
    return misses.abs().amax(0).square().mean() / 2


def _entropy(logits: Tensor, mask: Tensor) -> Tensor:
    return torch.distributions.Categorical(logits=logits[mask]).entropy().mean()


def _group_advantages(rewards: Tensor, normalize: bool = True, eps: float = 1e-6) -> Tensor:
    others = min(1, rewards.shape[1] - 1)
    spread, middle = torch.std_mean(rewards, 1, correction=others, keepdim=True)
    return (rewards - middle) / (spread + eps if normalize else 1)


def _grpo_loss(
    logp: Tensor, old_logp: Tensor, ref_logp: Tensor, advantages: Tensor, mask: Tensor,
    clip: float, beta: float, reduce: str = "sequence",
) -> Tensor:  # fmt: skip
    ratio = (logp - old_logp.detach()).masked_fill(~mask, 0).exp()
    gained = _beyond(ratio, advantages[:, None].detach(), clip)
    cost = (beta * _token_kl(logp, ref_logp.detach(), mask) - gained) * mask
    if reduce == "token":
        return cost.sum() / mask.sum()
    return (cost.sum(1) / mask.sum(1).clamp(min=1)).mean()


OURS: Functions = {
    f.__name__[1:]: f
    for f in (_token_kl, _shaped_rewards, _gae, _whiten, _ppo_policy_loss, _ppo_value_loss,
              _entropy, _group_advantages, _grpo_loss)
}  # fmt: skip
"""The functions of lab 9 by their names there, written otherwise."""


# --- the two methods -----------------------------------------------------------------------------


def ppo(
    policy: GPT, reference: GPT, asked: Sequence[Question], reward: Reward, iterations: int = 12,
    n_prompts: int = 64, n_per_prompt: int = 1, lr: float = 2.5e-4, critic_lr: float = 1e-3,
    kl_weight: float = 0.3, clip: float = 0.2, value_clip: float = 0.2, gamma: float = 1.0,
    lam: float = 0.95, epochs: int = 1, rows_per_step: int = 16, entropy_weight: float = 0.0,
    critic: Critic | None = None, seed: int = 0, max_new: int = 40, gold: Reward | None = None,
    functions: Functions | None = None, on_iteration: Callable[[int, Told], None] | None = None,
) -> list[Told]:  # fmt: skip
    """Improve the policy in place by PPO -> what was true of each round's answers.

    A round: `n_prompts` questions are answered, every token pays `kl_weight` times its KL (k1),
    the last one earns the score, advantages (GAE, whitened) and returns train policy and critic.
    Told are `reward`, `kl` (nats per answer, to the reference), `length` (tokens) of the answers,
    and means over the round's updates: `clip_share`, `entropy` (nats per token), `value_loss`.
    """
    f, critic = {**OURS, **(functions or {})}, critic or Critic(policy)
    groups = [{"params": list(policy.parameters()), "lr": lr},
              {"params": list(critic.parameters()), "lr": critic_lr}]  # fmt: skip

    def learn(taken: Rollout, score: Tensor, ref_logp: Tensor) -> Update:
        with torch.no_grad():
            before = critic(taken.ids)
        kl = f["token_kl"](taken.logp, ref_logp, taken.mask, "k1")
        paid = f["shaped_rewards"](score, kl, kl_weight, taken.mask)
        advantages, returns = f["gae"](paid, before, taken.mask, gamma, lam)
        advantages = f["whiten"](advantages, taken.mask)

        def loss(rows: Tensor, logp: Tensor, logits: Tensor) -> tuple[Tensor, Told]:
            mask = taken.mask[rows]
            policy_loss, clipped, _ = f["ppo_policy_loss"](
                logp, taken.logp[rows], advantages[rows], mask, clip
            )
            value_loss = f["ppo_value_loss"](
                critic(taken.ids[rows]), before[rows], returns[rows], mask, value_clip
            )
            total = policy_loss + value_loss
            if entropy_weight:
                total = total - entropy_weight * _of_rows(f["entropy"], logits)
            return total, {"clip_share": float(clipped), "value_loss": value_loss.item()}

        return loss

    rounds = _Rounds(policy, reference, asked, reward, gold, n_prompts, n_per_prompt, max_new, f)
    return rounds.run(iterations, groups, learn, epochs, rows_per_step, seed, on_iteration)


def grpo(
    policy: GPT, reference: GPT, asked: Sequence[Question], reward: Reward, iterations: int = 12,
    n_prompts: int = 8, n_per_prompt: int = 8, lr: float = 2e-4, kl_weight: float = 0.4,
    clip: float = 0.2, normalize: bool = True, reduce: str = "sequence", epochs: int = 1,
    rows_per_step: int = 32, seed: int = 0, max_new: int = 40, gold: Reward | None = None,
    functions: Functions | None = None, on_iteration: Callable[[int, Told], None] | None = None,
) -> list[Told]:  # fmt: skip
    """Improve the policy in place by GRPO -> what was true of each round's answers.

    A round: `n_prompts` questions are answered `n_per_prompt` times each, an answer is better or
    worse than the others to its question, and KL (k3) is a part of the loss, `kl_weight` of it.
    Told as by `ppo`, and `tied`: the share of questions whose answers all earned the same.
    """
    f = {**OURS, **(functions or {})}

    def learn(taken: Rollout, score: Tensor, ref_logp: Tensor) -> Update:
        groups = score.view(-1, n_per_prompt)
        advantages = f["group_advantages"](groups, normalize).flatten()  # (B,)
        tied = (groups == groups[:, :1]).all(1).float().mean().item()

        def loss(rows: Tensor, logp: Tensor, logits: Tensor) -> tuple[Tensor, Told]:
            mask, old_logp = taken.mask[rows], taken.logp[rows]
            total = f["grpo_loss"](
                logp, old_logp, ref_logp[rows], advantages[rows], mask, clip, kl_weight, reduce
            )
            moved = (logp.detach() - old_logp)[mask].expm1().abs()
            return total, {"clip_share": (moved > clip).float().mean().item(), "tied": tied}

        return loss

    rounds = _Rounds(policy, reference, asked, reward, gold, n_prompts, n_per_prompt, max_new, f)
    trained = [{"params": list(policy.parameters()), "lr": lr}]
    return rounds.run(iterations, trained, learn, epochs, rows_per_step, seed, on_iteration)


@dataclass(frozen=True)
class _Rounds:
    """What both methods share: sample, score, and several updates from the same answers."""

    policy: GPT
    reference: GPT
    asked: Sequence[Question]
    reward: Reward
    gold: Reward | None
    n_prompts: int
    n_per_prompt: int
    max_new: int
    functions: Functions

    def run(
        self, iterations: int, groups: list[dict], learn: Callable[..., Update], epochs: int,
        rows_per_step: int, seed: int, on_iteration: Callable[[int, Told], None] | None,
    ) -> list[Told]:  # fmt: skip
        """`learn(rollout, score, ref_logp)` gives a round's loss. The rate falls to a tenth."""
        generator = torch.Generator(self.policy.token.weight.device).manual_seed(seed)
        entropy, told = self.functions["entropy"], []
        optimizer = AdamW(groups, weight_decay=0.0)
        fall = LinearLR(optimizer, 1.0, 0.1, max(1, iterations - 1))
        for at in range(iterations):
            taken, score, ref_logp, values = self._sample(generator)
            update, seen = learn(taken, score, ref_logp), []
            for rows in self._parts(len(score), epochs, rows_per_step, generator):
                mask = taken.mask[rows]
                logits = answer_logits(self.policy, taken.ids[rows], mask)
                chosen = -F.cross_entropy(logits, taken.ids[rows][mask], reduction="none")
                loss, more = update(rows, _at(mask, chosen), logits)
                more["entropy"] = float(_of_rows(entropy, logits.detach()))
                optimizer.zero_grad()
                loss.backward()
                for group in optimizer.param_groups:
                    nn.utils.clip_grad_norm_(group["params"], 1.0)
                optimizer.step()
                seen.append(more)
            fall.step()
            told.append(values | {name: sum(s[name] for s in seen) / len(seen) for name in seen[0]})
            if on_iteration is not None:
                on_iteration(at, told[-1])
        return told

    @torch.no_grad()
    def _sample(self, generator: torch.Generator) -> tuple[Rollout, Tensor, Tensor, Told]:
        picked = torch.randint(len(self.asked), (self.n_prompts,), generator=generator,
                               device=generator.device)  # fmt: skip
        some = [self.asked[i] for i in picked.tolist()]
        taken = rollout(self.policy, some, self.n_per_prompt, generator, max_new=self.max_new)
        ref_logp = token_logp(self.reference, taken.ids, taken.mask)
        score = taken.scores(self.reward)
        kl = self.functions["token_kl"](taken.logp, ref_logp, taken.mask, "k1")
        values = {
            "reward": score.mean().item(),
            "kl": kl.sum(1).mean().item(),
            "length": taken.mask.sum(1).float().mean().item(),
        }
        if self.gold is not None:
            values["gold"] = taken.scores(self.gold).mean().item()
        return taken, score, ref_logp, values

    def _parts(self, n: int, epochs: int, size: int,
               generator: torch.Generator) -> Iterator[Tensor]:  # fmt: skip
        for _ in range(epochs):
            order = torch.randperm(n, generator=generator, device=generator.device)
            yield from order.split(size)


def _of_rows(entropy: Callable[[Tensor, Tensor], Tensor], logits: Tensor) -> Tensor:
    """The entropy of (N, V) logits by a function of (B, T, V) logits and a mask."""
    return entropy(logits[None], logits.new_ones(1, len(logits), dtype=torch.bool))


# --- what came of it -----------------------------------------------------------------------------


@torch.no_grad()
def assess(
    policy: GPT, reference: GPT, asked: Sequence[Question], reward: Reward = polite_and_right,
    generator: torch.Generator | None = None, n_per_prompt: int = 1, max_new: int = 40,
) -> dict[str, float]:  # fmt: skip
    """Means over answers sampled for questions: `reward`, `kl`, `right`, `polite`, `length`.

    `kl` is in nats per answer: at each token the whole distribution is compared with the
    reference's, which varies less than the log-ratio of the one token that was drawn.
    """
    taken = rollout(policy, asked, n_per_prompt, generator, max_new=max_new)
    ours, theirs = (answer_logits(m, taken.ids, taken.mask).log_softmax(-1)
                    for m in (policy, reference))  # fmt: skip
    found = {
        "reward": taken.scores(reward),
        "right": taken.scores(lambda q, text, ended: grade(q, text, ended).right),
        "polite": taken.scores(opening),
        "length": taken.mask.sum(1).float(),
        "kl": _at(taken.mask, (ours.exp() * (ours - theirs)).sum(-1)).sum(1),
    }
    return {name: values.mean().item() for name, values in found.items()}
