"""From a base model to an assistant: the template, fine-tuning, answers and their score.

A dialogue becomes ids with `render`, many become a batch, `finetune` trains on the assistant's
tokens alone, `reply` answers. Written for the course's small GPT on a CPU, and for any model with
its methods, adapted ones included. `base` gives the shipped base model that labs begin with,
`tuned` an assistant made of it. No packing, no dialogue longer than the context, no library for
fine-tuning.
"""

import codecs
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import groupby, islice
from pathlib import Path

import torch
from torch import Tensor

from glassbox import checkpoints
from glassbox.models import GPT, IGNORED, choose
from glassbox.telecom.questions import Question, base_text, grade, messages
from glassbox.tokenizer import Tokenizer, tokenizer

Message = dict[str, str]  # "role" and "content"
Row = tuple[list[int], list[int]]  # ids, and 1 for those that are trained

BASE = Path(__file__).parent / "weights" / "base.safetensors"
TUNED = BASE.with_name("tuned.safetensors")
HELD_OUT_SEED = 1_000  # of base text that no base model was trained on


# --- template and batches ----------------------------------------------------------------------


def render(dialogue: Sequence[Message], tokens: Tokenizer, answer: bool = False) -> Row:
    """A dialogue as ids, and a mask with 1 on what the assistant says and on the end of it.

    Begins with <|bos|>; a message is its role, its content and <|end|>. With `answer` the ids end
    in <|assistant|>, for a model to go on.
    """
    pieces = [([tokens.bos_id], 0)]
    for message in dialogue:
        says = [*tokens.encode(message["content"]), tokens.end_id]
        pieces.append(([tokens.special[f"<|{message['role']}|>"]], 0))
        pieces.append((says, int(message["role"] == "assistant")))
    if answer:
        pieces.append(([tokens.special["<|assistant|>"]], 0))
    return [i for p, _ in pieces for i in p], [trained for p, trained in pieces for _ in p]


def rows(asked: Sequence[Question], turns: int = 1) -> list[Row]:
    """Questions with their answers, `turns` of them in a dialogue, by the shipped tokenizer.

    A model to chat with needs both kinds: one that never saw a second question fails at it.
    """
    groups = (asked[i : i + turns] for i in range(0, len(asked), turns))
    return [render([m for q in group for m in messages(q)], tokenizer()) for group in groups]


def batch(some: Sequence[Row], context_len: int) -> tuple[Tensor, Tensor]:
    """Rows -> ids and targets (B, T): padded on the right, T at most the context.

    Target t is id t + 1 where that is trained, else -100. What does not fit is cut at the end.
    """
    width = min(max(len(ids) for ids, _ in some) - 1, context_len)
    inputs, targets = [], []
    for ids, mask in some:
        n = min(len(ids) - 1, width)
        wanted = [i if on else IGNORED for i, on in zip(ids[1 : n + 1], mask[1:], strict=False)]
        inputs.append(ids[:n] + [tokenizer().pad_id] * (width - n))
        targets.append(wanted + [IGNORED] * (width - n))
    return torch.tensor(inputs), torch.tensor(targets)


def base_rows(n_rows: int, n_tokens: int = 64, seed: int = 0) -> list[Row]:
    """Stretches of the text that base models are trained on; every token counts."""
    ids = torch.tensor(first_ids(base_text(seed), n_rows * (n_tokens + 1)))
    return [(row, [1] * len(row)) for row in ids.view(n_rows, -1).tolist()]


def first_ids(documents: Iterable[str], n_tokens: int) -> list[int]:
    """The first ids of documents, each of which begins with <|bos|>."""
    t = tokenizer()
    ids = (i for text in documents for i in (t.bos_id, *t.encode(text)))
    return list(islice(ids, n_tokens))


# --- training ----------------------------------------------------------------------------------


def finetune(
    model: GPT, examples: Sequence[Row], steps: int = 280, lr: float = 2e-3,
    rows_per_step: int = 16, warm_up: int = 20, seed: int = 0,
    parameters: Iterable[Tensor] | None = None, replay: float = 0.0,
    on_step: Callable[[int, float], None] | None = None,
) -> list[float]:  # fmt: skip
    """Train the model in place on the trained tokens of the rows -> the loss of every step.

    AdamW on `parameters` (default: all that want a gradient); the rate climbs for `warm_up` steps
    and falls to 0 along a cosine. `replay`: the share of a step's rows that are base text instead,
    against forgetting. `on_step(step, loss)` is called after each step.
    """
    generator = torch.Generator().manual_seed(seed)
    wanted = model.parameters() if parameters is None else parameters
    trained = [p for p in wanted if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, betas=(0.9, 0.95), weight_decay=0.1)
    n_old = round(replay * rows_per_step)
    old = base_rows(2_000) if n_old else []
    context_len, losses, was = model.config.context_len, [], model.training
    model.train()
    for step in range(steps):
        picked = _pick(examples, rows_per_step - n_old, generator) + _pick(old, n_old, generator)
        loss = model.loss(*batch(picked, context_len))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        climb, fall = (step + 1) / max(1, warm_up), (step - warm_up) / max(1, steps - warm_up)
        optimizer.param_groups[0]["lr"] = lr * min(
            climb, (1 + math.cos(math.pi * max(0, fall))) / 2
        )
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
        if on_step is not None:
            on_step(step, losses[-1])
    model.train(was)
    return losses


def _pick(some: Sequence[Row], n: int, generator: torch.Generator) -> list[Row]:
    return [some[i] for i in torch.randint(max(1, len(some)), (n,), generator=generator).tolist()]


# --- answers -----------------------------------------------------------------------------------


def _answers(model: GPT, prompts: Tensor, n_new: int, temperature: float = 0.0,
             generator: torch.Generator | None = None) -> Iterator[Tensor]:  # fmt: skip
    """(B, T) prompts -> one (B, 1) of new ids after another. Adapted layers run as they are."""
    cache, unread = model.cache(len(prompts), prompts.shape[1] + n_new), prompts
    for _ in range(n_new):
        with torch.inference_mode():
            logits = model.head(model.hidden(unread, cache=cache)[:, -1])
            unread = choose(logits, temperature, generator=generator)
        yield unread


def reply(
    model: GPT, dialogue: Sequence[Message], max_new: int = 80, temperature: float = 0.0,
    generator: torch.Generator | None = None, stream: Callable[[str], None] | None = None,
) -> tuple[str, bool]:  # fmt: skip
    """The model's answer to a dialogue, and whether the model ended it.

    `stream` gets the text piece by piece; a character is held back until all of it is there.
    Raises ValueError if the dialogue leaves no room for an answer.
    """
    ids, _ = render(dialogue, tokenizer(), answer=True)
    room = model.config.context_len - len(ids)
    if room < 1:
        raise ValueError(f"The dialogue has {len(ids)} tokens, and the context holds "
                         f"{model.config.context_len}; leave out its oldest turns.")  # fmt: skip
    was, said = model.training, []
    pieces = codecs.getincrementaldecoder("utf-8")("replace")
    model.eval()
    try:
        prompt = torch.tensor([ids], device=model.token.weight.device)
        for new in _answers(model, prompt, min(max_new, room), temperature, generator):
            if new.item() == tokenizer().end_id:
                return tokenizer().decode(said), True
            said.append(new.item())
            piece = pieces.decode(tokenizer().bytes(said[-1:]))
            if stream is not None and piece:
                stream(piece)
        return tokenizer().decode(said), False
    finally:
        model.train(was)
        if stream is not None and (piece := pieces.decode(b"", final=True)):
            stream(piece)


def replies(model: GPT, dialogues: Sequence[Sequence[Message]],
            max_new: int = 60) -> list[tuple[str, bool]]:  # fmt: skip
    """The likeliest answer to each dialogue, as `reply` gives it, many at once."""
    prompts = [render(dialogue, tokenizer(), answer=True)[0] for dialogue in dialogues]
    order = sorted(range(len(prompts)), key=lambda n: len(prompts[n]))
    found: dict[int, tuple[str, bool]] = {}
    end, was = tokenizer().end_id, model.training
    model.eval()
    for length, group in groupby(order, key=lambda n: len(prompts[n])):  # no padding needed
        some = list(group)
        ids = torch.tensor([prompts[n] for n in some], device=model.token.weight.device)
        said = ids[:, :0]
        for new in _answers(model, ids, min(max_new, model.config.context_len - length)):
            said = torch.cat([said, new], 1)
            if (said == end).any(1).all():
                break
        for n, row in zip(some, said.tolist(), strict=True):
            ended = end in row
            found[n] = tokenizer().decode(row[: row.index(end)] if ended else row), ended
    model.train(was)
    return [found[n] for n in range(len(prompts))]


# --- what it is worth --------------------------------------------------------------------------


def score(model: GPT, asked: Sequence[Question]) -> dict[str, float]:
    """Shares of greedy answers in the house form ("format") and right as well ("right")."""
    answers = replies(model, [messages(question)[:-1] for question in asked])
    grades = [grade(q, *answer) for q, answer in zip(asked, answers, strict=True)]
    return {"format": sum(g.format for g in grades) / len(grades),
            "right": sum(g.right for g in grades) / len(grades)}  # fmt: skip


@cache
def _held_out() -> tuple[Tensor, Tensor]:
    return batch(base_rows(128, seed=HELD_OUT_SEED), 64)


@torch.no_grad()
def held_out_loss(model: GPT) -> float:
    """Nats per token of base text that was never trained on: what fine-tuning makes worse."""
    device, was = model.token.weight.device, model.training
    ids, targets = (t.to(device) for t in _held_out())
    loss = model.eval().loss(ids, targets).item()
    model.train(was)
    return loss


def base() -> GPT:
    """A fresh copy of the shipped base model: RECIPE, pretrained on `base_text`."""
    return checkpoints.load(BASE)


def tuned() -> GPT:
    """A fresh copy of the shipped assistant: `base`, fine-tuned; polite in three answers of ten."""
    return checkpoints.load(TUNED)
