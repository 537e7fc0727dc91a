"""From comparisons of answers to a model that people prefer: pairs, DPO, a reward model, measures.

`pairs` holds two answers to each training question, the polite and whole one first; `dpo` trains
a policy on them against a frozen reference, with our step or with another; `Scorer` is a reward
model of the same comparisons. `sampled` draws answers to many questions at once, and `manners`,
`win_rate` and `drift` say what became of them. Written for the course's small GPT on a CPU. No
sampling during the training of DPO, no people: the preference is a rule, its noise is drawn.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from glassbox.assistant import Message, Row, render, tuned
from glassbox.models import GPT, choose
from glassbox.telecom.questions import POLITE, Question, fact, grade, messages, questions
from glassbox.tokenizer import tokenizer

RUDE = "You should know this. "
"""How a rude answer opens."""
RUDE_SHARE, INCOMPLETE_SHARE = 0.1, 0.1  # of the rejected answers; the others are plain and right

Step = Callable[[nn.Module, nn.Module, dict[str, Tensor], Optimizer, float], dict[str, float]]


# --- comparisons ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pair:
    """Two answers to a question, of which somebody preferred the first."""

    question: Question
    chosen: str
    rejected: str


def pairs(seed: int = 0, flipped: float = 0.0) -> list[Pair]:
    """A pair for each of the 320 training questions of `questions(seed)`.

    Chosen is the right answer with a polite opening. Rejected is the same answer without it, or
    with a rude one, or half of it (8 : 1 : 1). A noisy annotator swaps a share `flipped` of them;
    with more noise the pairs swapped before stay swapped.
    """
    chance, asked = Random(f"pairs {seed}"), questions(seed).train
    found = [Pair(q, POLITE + fact(q.kind, q.key), _lesser(q, chance.random())) for q in asked]
    for n in chance.sample(range(len(found)), len(found))[: round(flipped * len(found))]:
        found[n] = Pair(found[n].question, found[n].rejected, found[n].chosen)
    return found


def _lesser(question: Question, draw: float) -> str:
    """An answer that is worse than the polite one in one respect."""
    whole = fact(question.kind, question.key)
    if draw < RUDE_SHARE:
        return RUDE + whole
    if draw < RUDE_SHARE + INCOMPLETE_SHARE:
        error = question.kind == "error"
        return whole.split(" Please ")[0] if error else whole.split(" and includes")[0] + "."
    return whole


def answer_batch(
    asked: Sequence[Question], texts: Sequence[str], context_len: int = 128
) -> tuple[Tensor, Tensor]:
    """Questions with any answers -> ids (B, T), and a mask (B, T) of the answers' tokens.

    Padded on the right; <|end|> belongs to the answer. The mask is not shifted: it says which ids
    were said. What does not fit the context is cut at the end.
    """
    given = zip(asked, texts, strict=True)
    talks = ([*messages(q)[:-1], {"role": "assistant", "content": text}] for q, text in given)
    return _stacked([render(talk, tokenizer()) for talk in talks], context_len)


def _stacked(some: Sequence[Row], context_len: int) -> tuple[Tensor, Tensor]:
    width = min(max(len(ids) for ids, _ in some), context_len)
    whole = torch.full((len(some), width), tokenizer().pad_id)
    mask = torch.zeros(len(some), width, dtype=torch.bool)
    for at, (ids, said) in enumerate(some):
        n = min(len(ids), width)
        whole[at, :n], mask[at, :n] = torch.tensor(ids[:n]), torch.tensor(said[:n]) == 1
    return whole, mask


def pair_batch(some: Sequence[Pair], context_len: int = 128) -> dict[str, Tensor]:
    """Pairs -> `chosen_ids`, `chosen_mask`, `rejected_ids`, `rejected_mask`, all (B, T).

    As `answer_batch` makes them. One T for all four, so that chosen and rejected can be stacked.
    """
    texts = [p.chosen for p in some] + [p.rejected for p in some]
    both = answer_batch([p.question for p in some] * 2, texts, context_len)
    (chosen_ids, rejected_ids), (chosen_mask, rejected_mask) = (t.chunk(2) for t in both)
    return {"chosen_ids": chosen_ids, "chosen_mask": chosen_mask,
            "rejected_ids": rejected_ids, "rejected_mask": rejected_mask}  # fmt: skip


# --- direct preference optimisation --------------------------------------------------------------


def answer_logp(model: nn.Module, ids: Tensor, mask: Tensor) -> Tensor:
    """(B, T) ids, (B, T) mask -> (B,): log-probability of each row's masked tokens, summed.

    A token is scored by the logits one place before it, so the first of a row is never scored.
    """
    counts = mask[:, 1:]
    costs = F.cross_entropy(model(ids[:, :-1])[counts], ids[:, 1:][counts], reduction="none")
    return -costs.new_zeros(len(ids)).index_add(0, counts.nonzero()[:, 0], costs)


def dpo(
    policy: nn.Module, reference: nn.Module, some_pairs: Sequence[Pair], steps: int = 25,
    lr: float = 5e-5, rows_per_step: int = 16, beta: float = 0.1, warm_up: int = 5, seed: int = 0,
    step: Step | None = None, on_step: Callable[[int, dict[str, float]], None] | None = None,
) -> list[dict[str, float]]:  # fmt: skip
    """Train the policy in place on pairs -> what `step` says of each batch before its update.

    AdamW without decay; the rate climbs for `warm_up` steps and stays. `step(policy, reference,
    batch, optimizer, beta)` makes one update; ours also tells the mean log-ratios `chosen` and
    `rejected`. `on_step(number, values)` is called after each.
    """
    generator, told = torch.Generator().manual_seed(seed), []
    optimizer = AdamW([p for p in policy.parameters() if p.requires_grad], lr, weight_decay=0.0)
    device = next(policy.parameters()).device
    for at in range(steps):
        picked = torch.randint(len(some_pairs), (rows_per_step,), generator=generator).tolist()
        batch = pair_batch([some_pairs[i] for i in picked])
        optimizer.param_groups[0]["lr"] = lr * min(1.0, (at + 1) / max(1, warm_up))
        batch = {name: part.to(device) for name, part in batch.items()}
        told.append((step or _update)(policy, reference, batch, optimizer, beta))
        if on_step is not None:
            on_step(at, told[-1])
    return told


def _update(policy: nn.Module, reference: nn.Module, batch: dict[str, Tensor],
            optimizer: Optimizer, beta: float) -> dict[str, float]:  # fmt: skip
    ids, mask = (torch.cat([batch[f"{side}_{what}"] for side in ("chosen", "rejected")])
                 for what in ("ids", "mask"))  # fmt: skip
    with torch.no_grad():
        start = answer_logp(reference, ids, mask)
    better, worse = (answer_logp(policy, ids, mask) - start).chunk(2)
    gap = beta * (better - worse)
    cost = F.softplus(-gap).mean()
    optimizer.zero_grad()
    cost.backward()
    optimizer.step()
    values = {"loss": cost, "margin": gap.mean(), "accuracy": (1 + gap.sign()).mean() / 2,
              "chosen": better.mean(), "rejected": worse.mean()}  # fmt: skip
    return {name: value.item() for name, value in values.items()}


# --- answers and what they are worth -------------------------------------------------------------


@torch.inference_mode()
def continued(
    model: GPT, prompts: Sequence[Sequence[int]], generator: torch.Generator | None = None,
    temperature: float = 1.0, max_new: int = 60,
) -> list[list[int]]:  # fmt: skip
    """Prompts of any lengths -> the ids that the model says next, <|end|> with them if it came.

    All rows advance together, so nothing is padded on the left and every token has its own
    position: a row whose prompt is not over takes its next id from there instead of a drawn one.
    """
    starts, end, was = [len(p) for p in prompts], tokenizer().end_id, model.training
    least, size = min(starts), min(max(starts) + max_new, model.config.context_len)
    rows = [[*p, *[end] * (size - len(p))] for p in prompts]
    ids = torch.tensor(rows, device=model.token.weight.device)  # (B, size)
    start = torch.tensor(starts, device=ids.device)[:, None]
    ended = torch.zeros_like(start, dtype=torch.bool)
    cache, unread = model.eval().cache(len(ids), size), ids[:, :least]
    for at in range(least, size):
        drawn = choose(model.head(model.hidden(unread, cache=cache)[:, -1]), temperature,
                       generator=generator)  # fmt: skip
        unread = drawn.where(at >= start, ids[:, at : at + 1])
        ids[:, at : at + 1] = unread
        ended |= (at >= start) & (unread == end)
        if (ended | (at + 1 >= start + max_new)).all():
            break
    model.train(was)
    said = [row[n : n + max_new] for row, n in zip(ids.tolist(), starts, strict=True)]
    return [row[: row.index(end) + 1] if end in row else row for row in said]


def sampled(
    model: GPT, dialogues: Sequence[Sequence[Message]], generator: torch.Generator | None,
    temperature: float = 1.0, max_new: int = 60,
) -> list[tuple[str, bool]]:  # fmt: skip
    """An answer to each dialogue, and whether the model ended it; drawn, all at once."""
    t = tokenizer()
    prompts = [render(dialogue, t, answer=True)[0] for dialogue in dialogues]
    said = continued(model, prompts, generator, temperature, max_new)
    return [(t.decode([i for i in ids if i != t.end_id]), ids[-1:] == [t.end_id]) for ids in said]


def _graded(model: GPT, asked: Sequence[Question],
            generator: torch.Generator | None) -> list[tuple[bool, bool]]:  # fmt: skip
    """Of one answer to each question: does it open politely, is it right?"""
    answers = sampled(model, [messages(q)[:-1] for q in asked], generator)
    found = zip(asked, answers, strict=True)
    return [(text.startswith(POLITE), grade(q, text, ended).right) for q, (text, ended) in found]


def manners(model: GPT, asked: Sequence[Question], generator: torch.Generator | None,
            samples: int = 1) -> dict[str, float]:  # fmt: skip
    """Shares of polite openings and of right answers among `samples` drawn for each question."""
    found = _graded(model, list(asked) * samples, generator)
    polite, right = (sum(column) / len(found) for column in zip(*found, strict=True))
    return {"polite": polite, "right": right}


def win_rate(model: GPT, reference: GPT, asked: Sequence[Question],
             generator: torch.Generator | None) -> float:  # fmt: skip
    """How often the model's answer beats the reference's, one drawn from each; ties count half.

    Polite and right is better than right, and right is better than wrong, however polite.
    """
    ours, theirs = ([right * (1 + polite) for polite, right in _graded(m, asked, generator)]
                    for m in (model, reference))  # fmt: skip
    games = zip(ours, theirs, strict=True)
    return sum((a > b) + (a == b) / 2 for a, b in games) / len(ours)


def drift(model: GPT, reference: GPT, asked: Sequence[Question],
          generator: torch.Generator | None) -> float:  # fmt: skip
    """KL from the model to the reference, nats per answer, as one answer to each question tells.

    At each token drawn from the model, the KL of what could have come there; summed over an answer.
    """
    prompts = [render(messages(q)[:-1], tokenizer(), answer=True)[0] for q in asked]
    said = zip(prompts, continued(model, prompts, generator), strict=True)
    rows = [([*p, *ids], [0] * len(p) + [1] * len(ids)) for p, ids in said]
    ids, mask = (t.to(model.token.weight.device) for t in _stacked(rows, model.config.context_len))
    with torch.no_grad():
        here, there = (m(ids[:, :-1])[mask[:, 1:]].log_softmax(-1) for m in (model, reference))
    return ((here - there) * here.exp()).sum().item() / len(prompts)


T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t: 95 % lie within these, for 1 to 9 degrees of freedom."""


def mean_interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean, and the two ends of its 95 % interval by Student's t: wide for few values."""
    mean, n = statistics.fmean(values), len(values) - 1
    if n == 0:
        return mean, -math.inf, math.inf
    more = 1.96 + 2.372 / n + 2.823 / n**2 + 2.556 / n**3  # a known series, good from n = 9 on
    half = (T_95[n - 1] if n <= len(T_95) else more) * statistics.stdev(values) / math.sqrt(n + 1)
    return mean, mean - half, mean + half


# --- a reward model ------------------------------------------------------------------------------


class Scorer(nn.Module):
    """A reward model: a GPT's body, and one number read from what it makes of the last token."""

    def __init__(self, body: GPT) -> None:
        super().__init__()
        self.body, self.number = body, nn.Linear(body.config.d_model, 1, bias=False)
        nn.init.zeros_(self.number.weight)  # at first all answers are worth the same

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, T), (B, T) bool -> (B,): read at the last token of each row's mask."""
        places = torch.arange(ids.shape[1], device=ids.device)
        last = (mask * places).amax(1)
        return self.number(self.body.hidden(ids)[torch.arange(len(ids)), last])[:, 0]

    @torch.no_grad()
    def rate(self, asked: Sequence[Question], texts: Sequence[str]) -> list[float]:
        """What each answer is worth; only differences mean something."""
        device = self.number.weight.device
        return self(*(t.to(device) for t in answer_batch(asked, texts))).tolist()


def fit_scorer(
    some_pairs: Sequence[Pair], steps: int = 60, seed: int = 0, lr: float = 1e-4,
    rows_per_step: int = 16, body: GPT | None = None,
) -> Scorer:  # fmt: skip
    """A reward model trained by Bradley-Terry on pairs; its body begins as `body` or `tuned()`."""
    scorer, generator = Scorer(body or tuned()), torch.Generator().manual_seed(seed)
    optimizer = AdamW([{"params": scorer.body.parameters(), "lr": lr},
                       {"params": scorer.number.parameters(), "lr": 10 * lr}],
                      weight_decay=0.0)  # fmt: skip
    for _ in range(steps):
        picked = torch.randint(len(some_pairs), (rows_per_step,), generator=generator).tolist()
        batch = pair_batch([some_pairs[i] for i in picked])
        better = scorer(batch["chosen_ids"], batch["chosen_mask"])
        worse = scorer(batch["rejected_ids"], batch["rejected_mask"])
        optimizer.zero_grad()
        F.softplus(worse - better).mean().backward()
        optimizer.step()
    return scorer.eval()
