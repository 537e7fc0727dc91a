"""The mistake bank of lab 6: what learners get wrong, what they read, and other right versions."""

import re
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from autograder.bank import Bank, call, drill, module
from glassbox import drills, drills_sft
from glassbox.bank import made

bank = Bank("lab06_sft")
gen = torch.Generator().manual_seed(60)


def rand(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=gen, dtype=torch.float64)


def ints(high: int, *shape: int) -> Tensor:
    return torch.randint(high, shape, generator=gen)


# --- render_chat -----------------------------------------------------------------------------


def _says(*turns: str) -> list[dict[str, str]]:
    """ "user: Hi" and so on as messages."""
    pairs = (turn.split(": ", 1) for turn in turns)
    return [{"role": role, "content": content} for role, content in pairs]


_tok = made(drills_sft.ByteTokenizer)
_other = made(drills_sft.ByteTokenizer, special={
    name: 990 - 9 * i for i, name in enumerate(drills_sft.NAMES)})  # fmt: skip
bank.probe(
    "render_chat",
    call(_says("user: Hi", "assistant: Yo!"), _tok),
    call(_says("user: a", "assistant: bc", "user: def", "assistant: ghij"), _tok),
    call(_says("system: Be kind.", "user: a", "assistant: bc"), _tok),
    call(_says("user: a b", "assistant:  c\n"), _tok),
    call(_says("system: ", "user: ", "assistant: ", "user: x", "assistant: y"), _tok),
    call(_says("user: <|end|><|assistant|>", "assistant: ok"), _tok),
    call(_says("user: a", "assistant: bc"), _other),
    call([], _tok),
)


def _learned(role):
    return role == "assistant"


def _rows(messages, tok, learns=_learned, content=lambda text: text):
    """A marker, a body and an end for each message, with what is trained of each."""
    rows = []
    for m in messages:
        on = learns(m["role"])
        body = tok.encode(content(m["content"]))
        rows.append([([tok.special[f"<|{m['role']}|>"]], [False]), (body, [on] * len(body)),
                     ([tok.end_id], [on])])  # fmt: skip
    return rows


def _joined(rows, tok, start=1):
    parts = [part for row in rows for part in row]
    ids = [tok.bos_id] * start + [i for part, _ in parts for i in part]
    return ids, [False] * start + [on for _, mask in parts for on in mask]


@bank.wrong(
    "render_chat",
    "Every place is trained: your gradient at prompt positions will not be zero. Only the "
    "assistant's content and its end token are trained.",
)
def all_trained(messages, tokenizer):
    ids, _ = _joined(_rows(messages, tokenizer), tokenizer)
    return ids, [True] * len(ids)


@bank.wrong(
    "render_chat", "What the other roles say is trained too; the model writes the assistant's part."
)
def every_role_trained(messages, tokenizer):
    return _joined(_rows(messages, tokenizer, learns=lambda _: True), tokenizer)


@bank.wrong(
    "render_chat", "The mask is turned round: True at what is read, False at what is learned."
)
def mask_turned(messages, tokenizer):
    ids, mask = _joined(_rows(messages, tokenizer), tokenizer)
    return ids, [not on for on in mask]


@bank.wrong(
    "render_chat",
    "The model is never taught to stop: the end token of an answer is trained as well.",
)
def end_not_trained(messages, tokenizer):
    rows = [[a, b, (c[0], [False])] for a, b, c in _rows(messages, tokenizer)]
    return _joined(rows, tokenizer)


@bank.wrong(
    "render_chat",
    "The end tokens of all messages are trained; only those of the assistant's are.",
)
def all_ends_trained(messages, tokenizer):
    rows = [[a, b, (c[0], [True])] for a, b, c in _rows(messages, tokenizer)]
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "The first answer token is not trained.")
def mask_one_too_late(messages, tokenizer):
    ids, mask = _joined(_rows(messages, tokenizer), tokenizer)
    return ids, [False, *mask[:-1]]


@bank.wrong("render_chat", "The first answer token is not trained.")
def first_token_left_out(messages, tokenizer):
    rows = [[a, (b[0], [False] * len(b[1][:1]) + b[1][1:]), c]
            for a, b, c in _rows(messages, tokenizer)]  # fmt: skip
    return _joined(rows, tokenizer)


@bank.wrong(
    "render_chat",
    "The mask is one place too early: the last prompt token is trained, and the end token is not.",
)
def mask_one_too_early(messages, tokenizer):
    ids, mask = _joined(_rows(messages, tokenizer), tokenizer)
    return ids, [*mask[1:], False]


@bank.wrong(
    "render_chat",
    "The last prompt token is trained: the assistant's marker is put there by the program, and "
    "the model need not write it.",
)
def marker_trained(messages, tokenizer):
    rows = [[(a[0], c[1]), b, c] for a, b, c in _rows(messages, tokenizer)]
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "Only the last answer is trained; each message of the assistant is.")
def last_answer_alone(messages, tokenizer):
    rows = _rows(messages, tokenizer)
    last = max((n for n, m in enumerate(messages) if m["role"] == "assistant"), default=-1)
    rows = [[(ids, [on and n == last for on in mask]) for ids, mask in row]
            for n, row in enumerate(rows)]  # fmt: skip
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "Every message begins with bos; it opens the dialogue, once.")
def bos_before_each(messages, tokenizer):
    bos = ([tokenizer.bos_id], [False])
    return _joined([[bos, *row] for row in _rows(messages, tokenizer)], tokenizer, start=0)


@bank.wrong(
    "render_chat",
    "The row begins with two bos, as if the template and the tokenizer both added it.",
)
def two_bos(messages, tokenizer):
    return _joined(_rows(messages, tokenizer), tokenizer, start=2)


@bank.wrong("render_chat", "The dialogue does not begin with bos.")
def no_bos(messages, tokenizer):
    return _joined(_rows(messages, tokenizer), tokenizer, start=0)


@bank.wrong("render_chat", "Messages have no end token: nobody can see where one stops.")
def no_ends(messages, tokenizer):
    return _joined([row[:2] for row in _rows(messages, tokenizer)], tokenizer)


@bank.wrong("render_chat", "Only the assistant's messages get an end token; every message has one.")
def ends_after_answers_alone(messages, tokenizer):
    rows = [row if m["role"] == "assistant" else row[:2]
            for m, row in zip(messages, _rows(messages, tokenizer), strict=True)]  # fmt: skip
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "A second end token closes the whole dialogue; each message has one.")
def end_of_the_dialogue(messages, tokenizer):
    ids, mask = _joined(_rows(messages, tokenizer), tokenizer)
    return [*ids, tokenizer.end_id], [*mask, mask[-1]]


@bank.wrong(
    "render_chat",
    "An assistant's marker stands at the end, as if an answer were still to come. That belongs to "
    "a question to be answered, not to a row to learn from.",
)
def marker_at_the_end(messages, tokenizer):
    ids, mask = _joined(_rows(messages, tokenizer), tokenizer)
    return [*ids, tokenizer.special["<|assistant|>"]], [*mask, False]


@bank.wrong("render_chat", "The markers of the roles are missing: nobody can see who speaks.")
def no_markers(messages, tokenizer):
    return _joined([row[1:] for row in _rows(messages, tokenizer)], tokenizer)


@bank.wrong(
    "render_chat",
    "The marker of a role is encoded as text; it is one token, which tokenizer.special knows.",
)
def markers_as_text(messages, tokenizer):
    rows = []
    for m, (_, body, end) in zip(messages, _rows(messages, tokenizer), strict=True):
        marker = tokenizer.encode(f"<|{m['role']}|>")
        rows.append([(marker, [False] * len(marker)), body, end])
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "A line break follows each marker; this template has none.")
def line_break_after_the_marker(messages, tokenizer):
    rows = [[(a[0] + tokenizer.encode("\n"), [False, False]), b, c]
            for a, b, c in _rows(messages, tokenizer)]  # fmt: skip
    return _joined(rows, tokenizer)


@bank.wrong("render_chat", "System messages are left out; each message is in the row.")
def system_left_out(messages, tokenizer):
    kept = [m for m in messages if m["role"] != "system"]
    return _joined(_rows(kept, tokenizer), tokenizer)


@bank.wrong("render_chat", "White space at the ends of a content is cut off; it stays as it is.")
def content_stripped(messages, tokenizer):
    return _joined(_rows(messages, tokenizer, content=str.strip), tokenizer)


@bank.wrong(
    "render_chat", "Messages with an empty content are left out; they have a role and an end."
)
def empty_left_out(messages, tokenizer):
    kept = [m for m in messages if m["content"]]
    return _joined(_rows(kept, tokenizer), tokenizer)


@bank.wrong(
    "render_chat",
    "What a user types becomes a special token: a text with <|end|> in it can end a message. "
    "Encode each content by itself.",
)
def text_becomes_special(messages, tokenizer):
    ids, mask = [tokenizer.bos_id], [False]
    for m in messages:
        text = f"<|{m['role']}|>{m['content']}<|end|>"
        for n, piece in enumerate(re.split(r"(<\|\w+\|>)", text)):
            known = piece in tokenizer.special
            new = [tokenizer.special[piece]] if known else tokenizer.encode(piece)
            ids += new
            mask += [m["role"] == "assistant" and n > 1] * len(new)
    return ids, mask


@bank.wrong(
    "render_chat",
    "Ids of special tokens are written into the code; ask the tokenizer, each has its own.",
)
def ids_by_heart(messages, tokenizer):
    return _joined(_rows(messages, drills_sft.ByteTokenizer()), drills_sft.ByteTokenizer())


@bank.right("render_chat")
def pairs_of_id_and_flag(messages, tokenizer):
    pairs = [(tokenizer.special["<|bos|>"], False)]
    for m in messages:
        pairs.append((tokenizer.special["<|" + m["role"] + "|>"], False))
        pairs += [(i, m["role"] == "assistant") for i in tokenizer.encode(m["content"])]
        pairs.append((tokenizer.special["<|end|>"], m["role"] == "assistant"))
    return [i for i, _ in pairs], [on for _, on in pairs]


@bank.right("render_chat")
def mask_from_places(messages, tokenizer):
    ids, spans = [tokenizer.bos_id], []
    for m in messages:
        ids.append(tokenizer.special["".join(("<|", m["role"], "|>"))])
        start = len(ids)
        ids.extend(tokenizer.encode(m["content"]))
        ids.append(tokenizer.end_id)
        if m["role"] == "assistant":
            spans.append(range(start, len(ids)))
    return ids, [any(n in span for span in spans) for n in range(len(ids))]


# --- sft_labels ------------------------------------------------------------------------------

_ids = torch.tensor([256, 258, 72, 105, 260, 259, 89, 111, 260, 258, 63, 260, 259, 33, 46, 260])
_on = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1]).bool()
bank.probe("sft_labels", call(_ids[:9], _on[:9]), call(_ids, _on), call(_ids[:4], _on[:4]),
           call(_ids[:2], ~_on[:2]))  # fmt: skip


@bank.wrong(
    "sft_labels",
    "Labels are moved here, and the loss moves them again: the model would learn the token after "
    "next.",
)
def labels_moved_ahead(ids, assistant_mask):
    labels = torch.where(assistant_mask, ids, -100)
    return torch.cat([labels[1:], labels.new_full((1,), -100)])


@bank.wrong("sft_labels", "Labels stand one place too late; each belongs under its own id.")
def labels_moved_back(ids, assistant_mask):
    labels = torch.where(assistant_mask, ids, -100)
    return torch.cat([labels.new_full((1,), -100), labels[:-1]])


@bank.wrong("sft_labels", "The mask is turned round: the prompt is trained and the answer is not.")
def prompt_trained(ids, assistant_mask):
    return torch.where(assistant_mask, -100, ids)


@bank.wrong("sft_labels", "Every id is a label; where the mask is False nothing is asked: -100.")
def everything_is_asked(ids, assistant_mask):
    return ids.clone()


@bank.wrong("sft_labels", "A label that does not count is -100; 0 is a token.")
def zero_for_nothing(ids, assistant_mask):
    return ids * assistant_mask


@bank.wrong("sft_labels", "A label that does not count is -100, not -1: the loss passes over -100.")
def minus_one(ids, assistant_mask):
    return torch.where(assistant_mask, ids, -1)


@bank.wrong(
    "sft_labels", "You return the ids of the answers alone; there is a label for each place."
)
def answers_alone(ids, assistant_mask):
    return ids[assistant_mask]


@bank.wrong("sft_labels", "The last trained token of each answer has no label: that is its end.")
def last_of_each_left_out(ids, assistant_mask):
    follows = torch.cat([assistant_mask[1:], assistant_mask[:1] & False])
    return torch.where(assistant_mask & follows, ids, -100)


@bank.wrong("sft_labels", "The first trained token of each answer has no label.")
def first_of_each_left_out(ids, assistant_mask):
    before = torch.cat([assistant_mask[:1] & False, assistant_mask[:-1]])
    return torch.where(assistant_mask & before, ids, -100)


@bank.wrong("sft_labels", "You change the caller's ids in place.")
def ids_overwritten(ids, assistant_mask):
    ids[~assistant_mask] = -100
    return ids


@bank.wrong(
    "sft_labels", "Everything from the first answer on is trained; later questions are not."
)
def all_from_the_first_answer(ids, assistant_mask):
    return torch.where(assistant_mask.cummax(0).values, ids, -100)


@bank.right("sft_labels")
def labels_by_where(ids, assistant_mask):
    return torch.where(assistant_mask, ids, torch.full_like(ids, -100))


@bank.right("sft_labels")
def labels_by_assignment(ids, assistant_mask):
    labels = torch.full(ids.shape, -100, dtype=ids.dtype)
    labels[assistant_mask] = ids[assistant_mask]
    return labels


# --- collate ---------------------------------------------------------------------------------


def _example(ids: list[int], n_read: int) -> dict[str, list[int]]:
    return {"input_ids": ids, "labels": [-100] * n_read + ids[n_read:]}


_long, _short = _example([1, 2, 3, 4, 9], 3), _example([5, 6, 9], 1)
bank.probe(
    "collate",
    call([_long, _short], 0, 10),
    call([_short, _long, _example([7, 9], 1)], 3, 10),
    call([_long, _short, _example([9, 4, 9], 1)], 9, 10),
    call([_short, _example([1, 2], 2)], 0, 10),
    call([_long, _short], 0, 4),
    call([_long, _short], 0, 3),
    call([_short, _long, _example([8, 7, 6, 5, 9], 4)], 0, 3),
    call([_long], 0, 3),
    call([], 0, 3),
    drill(drills_sft.first_after, [_long, _short], 0, 4),
)


def _cut(examples, limit):
    return [{key: e[key][:limit] for key in ("input_ids", "labels")} for e in examples]


def _taught(examples):
    return [e for e in examples if set(e["labels"]) - {-100}]


def _table(examples, pad, width=None, fill=-100, left=False):
    """Rows filled up; the mask by place."""
    width = max((len(e["labels"]) for e in examples), default=0) if width is None else width

    def rows(key, filler):
        found = []
        for e in examples:
            row = e[key] if key in e else [True] * len(e["labels"])
            more = [filler] * (width - len(row))
            found.append(more + row if left else row + more)
        kind = torch.bool if filler is False else torch.int64
        return torch.tensor(found, dtype=kind).view(len(examples), width)

    return {"input_ids": rows("input_ids", pad), "labels": rows("labels", fill),
            "attention_mask": rows("real", False)}  # fmt: skip


@bank.wrong(
    "collate",
    "Padding has labels: the model is trained to write the pad token. They are -100 there.",
)
def padding_trained(examples, pad_id, context_len):
    return _table(_taught(_cut(examples, context_len)), pad_id, fill=pad_id)


@bank.wrong(
    "collate",
    "Mask by position, not by id: where the end token serves as padding, every real end token "
    "loses its label.",
)
def labels_masked_by_id(examples, pad_id, context_len):
    batch = _table(_taught(_cut(examples, context_len)), pad_id)
    batch["labels"] = batch["labels"].masked_fill(batch["input_ids"] == pad_id, -100)
    return batch


@bank.wrong(
    "collate",
    "The attention mask asks for the id, not for the place: a real token with the pad token's id "
    "is hidden.",
)
def attention_by_id(examples, pad_id, context_len):
    batch = _table(_taught(_cut(examples, context_len)), pad_id)
    batch["attention_mask"] = batch["input_ids"] != pad_id
    return batch


@bank.wrong("collate", "Examples with zero trained tokens are left in the batch.")
def untaught_left_in(examples, pad_id, context_len):
    return _table(_cut(examples, context_len), pad_id)


@bank.wrong(
    "collate",
    "Examples without a label are looked for before the cut; it is the cut that takes the answer.",
)
def dropped_before_the_cut(examples, pad_id, context_len):
    return _table(_cut(_taught(examples), context_len), pad_id)


@bank.wrong("collate", "Rows longer than the context are left out; they are cut.")
def long_rows_dropped(examples, pad_id, context_len):
    return _table(_taught([e for e in examples if len(e["labels"]) <= context_len]), pad_id)


@bank.wrong("collate", "The beginning of a long row is cut off; its first tokens are kept.")
def cut_at_the_left(examples, pad_id, context_len):
    cut = [{key: row[-context_len:] for key, row in e.items()} for e in examples]
    return _table(_taught(cut), pad_id)


@bank.wrong("collate", "Rows longer than the context are not cut.")
def not_cut(examples, pad_id, context_len):
    return _table(_taught(examples), pad_id)


@bank.wrong("collate", "All rows have the length of the context; the longest row sets the width.")
def as_wide_as_the_context(examples, pad_id, context_len):
    return _table(_taught(_cut(examples, context_len)), pad_id, width=context_len)


@bank.wrong("collate", "Dropped examples still set the width of the batch.")
def width_before_dropping(examples, pad_id, context_len):
    cut = _cut(examples, context_len)
    width = max((len(e["labels"]) for e in cut), default=0)
    return _table(_taught(cut), pad_id, width=width)


@bank.wrong("collate", "Padding stands at the left; it belongs at the right.")
def filled_at_the_left(examples, pad_id, context_len):
    return _table(_taught(_cut(examples, context_len)), pad_id, left=True)


@bank.wrong("collate", "Labels are moved in the collator and again in the loss.")
def shifted_in_the_collator(examples, pad_id, context_len):
    moved = [{"input_ids": e["input_ids"], "labels": [*e["labels"][1:], -100]}
             for e in _taught(_cut(examples, context_len))]  # fmt: skip
    return _table(moved, pad_id)


@bank.wrong("collate", "input_ids are filled with 0, whatever pad_id is.")
def filled_with_zero(examples, pad_id, context_len):
    return _table(_taught(_cut(examples, context_len)), 0)


@bank.wrong("collate", "The attention mask is True everywhere, also at padding.")
def everything_is_real(examples, pad_id, context_len):
    batch = _table(_taught(_cut(examples, context_len)), pad_id)
    batch["attention_mask"] = torch.ones_like(batch["attention_mask"])
    return batch


@bank.wrong(
    "collate", "The attention mask is True where something is trained; it says what is real."
)
def mask_of_what_is_trained(examples, pad_id, context_len):
    batch = _table(_taught(_cut(examples, context_len)), pad_id)
    batch["attention_mask"] = batch["labels"] != -100
    return batch


@bank.wrong(
    "collate", "Nothing is asked of the prompt, but here it has labels: take the labels given."
)
def labels_are_the_ids(examples, pad_id, context_len):
    kept = _taught(_cut(examples, context_len))
    return _table([e | {"labels": e["input_ids"]} for e in kept], pad_id)


@bank.wrong("collate", "A batch of which nothing is left raises an error; it has the shape (0, 0).")
def nothing_left_fails(examples, pad_id, context_len):
    kept = _taught(_cut(examples, context_len))
    return _table(kept, pad_id, width=max(len(e["labels"]) for e in kept))


@bank.wrong("collate", "You cut the caller's examples in place.")
def examples_cut_in_place(examples, pad_id, context_len):
    for e in examples:
        del e["input_ids"][context_len:], e["labels"][context_len:]
    return _table(_taught(examples), pad_id)


@bank.wrong("collate", "Rows are sorted by length; they stay in the order of the examples.")
def sorted_by_length(examples, pad_id, context_len):
    kept = _taught(_cut(examples, context_len))
    return _table(sorted(kept, key=lambda e: -len(e["labels"])), pad_id)


@bank.right("collate")
def padded_by_lists(examples, pad_id, context_len):
    return _table(_taught(_cut(examples, context_len)), pad_id)


@bank.right("collate")
def padded_by_torch(examples, pad_id, context_len):
    ids, labels, real = [], [], []
    for e in examples:
        row = torch.tensor(e["labels"][:context_len], dtype=torch.int64)
        if (row != -100).sum() == 0:
            continue
        ids.append(torch.tensor(e["input_ids"][:context_len]))
        labels.append(row)
        real.append(torch.full(row.shape, True))
    if not ids:
        return {"input_ids": torch.zeros(0, 0, dtype=torch.int64),
                "labels": torch.zeros(0, 0, dtype=torch.int64),
                "attention_mask": torch.zeros(0, 0, dtype=torch.bool)}  # fmt: skip
    pad = nn.utils.rnn.pad_sequence
    return {"labels": pad(labels, True, -100), "input_ids": pad(ids, True, pad_id),
            "attention_mask": pad(real, True, False)}  # fmt: skip


# --- sft_loss --------------------------------------------------------------------------------

_logits = rand(2, 6, 5) * 2
_labels = torch.tensor([[-100, -100, 3, 1, 4, 2], [-100, 2, 0, -100, -100, -100]])
_first = torch.tensor([[1, -100, 3, 1, 4, 2], [4, 2, 0, -100, -100, -100]])
_none = torch.full((2, 6), -100)
bank.probe(
    "sft_loss",
    call(_logits[:1, :3], torch.tensor([[-100, 4, 1]])),
    call(_logits[:1], _labels[:1]),
    call(_logits, _labels),
    call(_logits, _first),
    call(_logits, _none),
    call(_logits[:, :1], _first[:, :1]),
    drill(drills_sft.loss_and_gradient, _logits, _labels),
    drill(drills_sft.loss_and_gradient, _logits, _none),
)


def _costs(logits, labels):
    """-ln p of each label at its own place of logits, 0 where none counts, and which do."""
    counts = labels != -100
    picked = logits.log_softmax(-1).gather(-1, labels.masked_fill(~counts, 0)[..., None])[..., 0]
    return -picked * counts, counts


def _mean(costs, counts):
    return costs.sum() / counts.sum().clamp(min=1)


@bank.wrong("sft_loss", "Nothing is moved: your model learns to copy the current token.")
def not_moved(logits, labels):
    return _mean(*_costs(logits, labels))


@bank.wrong(
    "sft_loss",
    "Labels are moved by two: your model predicts the token after next.",
)
def moved_by_two(logits, labels):
    return _mean(*_costs(logits[:, :-2], labels[:, 2:]))


@bank.wrong("sft_loss", "Labels are moved the wrong way: logits meet the label before them.")
def moved_backward(logits, labels):
    return _mean(*_costs(logits[:, 1:], labels[:, :-1]))


@bank.wrong(
    "sft_loss",
    "Your loss shrinks when padding grows: divide by the labels that count, not by all places.",
)
def mean_over_all_places(logits, labels):
    return _costs(logits[:, :-1], labels[:, 1:])[0].sum() / max(1, labels[:, 1:].numel())


@bank.wrong(
    "sft_loss",
    "You take the mean of each row and then the mean of the rows; short answers weigh too much.",
)
def mean_of_rows(logits, labels):
    costs, counts = _costs(logits[:, :-1], labels[:, 1:])
    return (costs.sum(1) / counts.sum(1).clamp(min=1)).mean()


@bank.wrong("sft_loss", "This is the sum over the labels; the loss is their mean.")
def sum_not_mean(logits, labels):
    return _costs(logits[:, :-1], labels[:, 1:])[0].sum()


@bank.wrong("sft_loss", "The loss is divided by the number of rows, not by that of the labels.")
def mean_over_rows(logits, labels):
    return _costs(logits[:, :-1], labels[:, 1:])[0].sum() / len(labels)


@bank.wrong(
    "sft_loss",
    "The label at place 0 counts: the last logits of the row are made to predict it.",
)
def rolled_round(logits, labels):
    return _mean(*_costs(logits, labels.roll(-1, 1)))


@bank.wrong(
    "sft_loss",
    "A label at place 0 is counted, although nothing predicts it: the mean is too small.",
)
def first_label_counted(logits, labels):
    costs, _ = _costs(logits[:, :-1], labels[:, 1:])
    return costs.sum() / (labels != -100).sum().clamp(min=1)


@bank.wrong("sft_loss", "With nothing to train the loss is NaN: 0 divided by 0.")
def nan_for_nothing(logits, labels):
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@bank.wrong(
    "sft_loss",
    "With nothing to train you return a constant, which has no gradient: a training step fails.",
)
def constant_for_nothing(logits, labels):
    if not (labels[:, 1:] != -100).any():
        return logits.new_zeros(())
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())


@bank.wrong("sft_loss", "The softmax is taken twice: cross-entropy wants logits.")
def softmax_twice(logits, labels):
    return _mean(*_costs(logits.softmax(-1), labels[:, :])) if logits.shape[1] < 2 else _mean(
        *_costs(logits[:, :-1].softmax(-1), labels[:, 1:]))  # fmt: skip


@bank.wrong("sft_loss", "The loss is in bits; it is in nats, the natural logarithm.")
def in_bits(logits, labels):
    return _mean(*_costs(logits[:, :-1], labels[:, 1:])) / torch.tensor(2.0).log()


@bank.wrong("sft_loss", "Only the first row is looked at.")
def first_row_alone(logits, labels):
    return _mean(*_costs(logits[:1, :-1], labels[:1, 1:]))


@bank.wrong("sft_loss", "The loss carries no gradient: it is computed without one.")
def without_a_gradient(logits, labels):
    return _mean(*_costs(logits[:, :-1].detach(), labels[:, 1:]))


@bank.right("sft_loss")
def loss_by_gather(logits, labels):
    return _mean(*_costs(logits[:, :-1], labels[:, 1:]))


@bank.right("sft_loss")
def loss_by_selection(logits, labels):
    counts = labels[:, 1:] != -100
    chosen, wanted = logits[:, :-1][counts], labels[:, 1:][counts]
    if len(wanted) == 0:
        return (logits * 0).sum()
    each = chosen.logsumexp(1) - chosen[torch.arange(len(wanted)), wanted]
    return each.mean()


# --- packed_inputs ---------------------------------------------------------------------------

bank.probe(
    "packed_inputs",
    call(torch.tensor([[3, 3, 3, 3]])),
    call(torch.tensor([[4, 4, 4, 7, 7, 9]])),
    call(torch.tensor([[0, 0, 1, 1, 1, 2], [5, 6, 6, 6, 7, 7]])),
    call(torch.tensor([[1, 1, 2, 2, 2, -1, -1]])),
    call(torch.tensor([[4, 4, 7, 4, 4]])),
)


def _runs(segments):
    """The number of its run for each token, and the places in it."""
    numbers, places = [], []
    for row in segments.tolist():
        groups = [len(list(group)) for _, group in groupby(row)]
        numbers.append([n for n, size in enumerate(groups) for _ in range(size)])
        places.append([i for size in groups for i in range(size)])
    return torch.tensor(numbers), torch.tensor(places)


def _same(numbers):
    return numbers[:, :, None] == numbers[:, None]


def _causal(segments):
    T = segments.shape[1]
    return torch.ones(T, T, dtype=torch.bool).tril()


@bank.wrong("packed_inputs", "Packed documents start at position 0 again; yours run on.")
def positions_run_on(segments):
    numbers, _ = _runs(segments)
    positions = torch.arange(segments.shape[1]).expand(segments.shape).clone()
    return positions, (_same(numbers) & _causal(segments))[:, None]


@bank.wrong("packed_inputs", "A document sees the ones before it: the mask is causal and no more.")
def documents_see_earlier_ones(segments):
    _, places = _runs(segments)
    mask = _causal(segments).expand(len(segments), 1, -1, -1).clone()
    return places, mask


@bank.wrong(
    "packed_inputs", "A token sees what comes after it: within a document the mask is causal."
)
def documents_see_ahead(segments):
    numbers, places = _runs(segments)
    return places, _same(numbers)[:, None]


@bank.wrong(
    "packed_inputs",
    "A document is a run of equal numbers; a number that comes again is another one.",
)
def equal_numbers_are_one(segments):
    _, places = _runs(segments)
    return places, (_same(segments) & _causal(segments))[:, None]


@bank.wrong(
    "packed_inputs",
    "A document is a run of equal numbers; a number that comes again is another one.",
)
def positions_go_on_later(segments):
    numbers, _ = _runs(segments)
    seen = (_same(segments) & _causal(segments)).sum(-1) - 1
    return seen, (_same(numbers) & _causal(segments))[:, None]


@bank.wrong(
    "packed_inputs",
    "A document is a run of equal numbers; a number that comes again is another one.",
)
def equal_numbers_throughout(segments):
    sees = _same(segments) & _causal(segments)
    return sees.sum(-1) - 1, sees[:, None]


@bank.wrong(
    "packed_inputs",
    "Rows of padding attend to nothing, and softmax gives NaN there: padding is a document too.",
)
def padding_sees_nothing(segments):
    numbers, places = _runs(segments)
    real = (segments != -1)[:, :, None]
    return places, (_same(numbers) & _causal(segments) & real)[:, None]


@bank.wrong("packed_inputs", "Positions count from 1; the first is 0.")
def positions_from_one(segments):
    numbers, places = _runs(segments)
    return places + 1, (_same(numbers) & _causal(segments))[:, None]


@bank.wrong(
    "packed_inputs", "The mask has the shape (B, T, T); the dimension for heads is missing."
)
def no_dimension_for_heads(segments):
    numbers, places = _runs(segments)
    return places, _same(numbers) & _causal(segments)


@bank.wrong("packed_inputs", "The mask is turned round: True means 'may attend'.")
def mask_says_may_not(segments):
    numbers, places = _runs(segments)
    return places, ~(_same(numbers) & _causal(segments))[:, None]


@bank.wrong("packed_inputs", "A token does not see itself: the diagonal of the mask is False.")
def itself_not_seen(segments):
    numbers, places = _runs(segments)
    return places, (_same(numbers) & _causal(segments).tril(-1))[:, None]


@bank.wrong("packed_inputs", "All rows get the documents of the first row.")
def first_row_for_all(segments):
    numbers, places = (t[:1].expand(segments.shape) for t in _runs(segments))
    return places.clone(), (_same(numbers) & _causal(segments))[:, None]


@bank.wrong("packed_inputs", "The mask is transposed: its rows are queries, its columns keys.")
def keys_in_rows(segments):
    numbers, places = _runs(segments)
    return places, (_same(numbers) & _causal(segments)).mT[:, None]


@bank.right("packed_inputs")
def packed_by_runs(segments):
    numbers, places = _runs(segments)
    return places, (_same(numbers) & _causal(segments))[:, None]


@bank.right("packed_inputs")
def packed_by_loops(segments):
    B, T = segments.shape
    positions = torch.zeros(B, T, dtype=torch.int64)
    for t in range(1, T):
        goes_on = segments[:, t] == segments[:, t - 1]
        positions[:, t] = torch.where(goes_on, positions[:, t - 1] + 1, 0)
    query, key = torch.arange(T)[:, None], torch.arange(T)
    behind = query - key  # a key is seen if it is no further back than the document's beginning
    return positions, ((behind >= 0) & (behind <= positions[:, :, None])).unsqueeze(1)


_call = "torch.arange(segments.shape[1]"
bank.equivalent("packed_inputs", f"{_call}, device=segments.device)  =>  {_call})",
                "tests have the CPU alone")  # fmt: skip

# --- ClassificationHead ----------------------------------------------------------------------

_state = {"out.weight": rand(3, 4), "out.bias": rand(3)}
_hidden = rand(3, 5, 4)
_full = torch.ones(3, 5, dtype=torch.bool)
_right = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]]).bool()
_left = _right.flip(1)
_hole = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 0], [0, 1, 1, 0, 0]]).bool()


def _head(*args: Tensor) -> dict:
    return module({"d_model": 4, "n_classes": 3}, _state, *args)


bank.probe("ClassificationHead", _head(_hidden, _full), _head(_hidden, _right),
           _head(_hidden, _left), _head(_hidden, _hole),
           _head(_hidden.masked_fill(~_hole[..., None], torch.inf), _hole))  # fmt: skip


class _Given(nn.Module):
    """The constructor that the lab gives."""

    def __init__(self, d_model, n_classes):
        super().__init__()
        self.out = nn.Linear(d_model, n_classes)

    def read(self, hidden, mask):
        """The vector of the last real token, 0 without one."""
        places = torch.arange(1, hidden.shape[1] + 1)
        last = (mask * places).argmax(1)
        return hidden[torch.arange(len(hidden)), last].masked_fill(~mask.any(1)[:, None], 0.0)


@bank.wrong(
    "ClassificationHead", "Place -1 is read: with padding at the right that is a pad token."
)
class LastPlace(_Given):
    def forward(self, hidden, attention_mask):
        empty = ~attention_mask.any(1, keepdim=True)
        return self.out(hidden[:, -1].masked_fill(empty, 0.0))


@bank.wrong(
    "ClassificationHead",
    "You take the number of real tokens as the place of the last one: wrong with padding at the "
    "left.",
)
class PlaceByCount(_Given):
    def forward(self, hidden, attention_mask):
        last = (attention_mask.sum(1) - 1).clamp(min=0)
        read = hidden[torch.arange(len(hidden)), last]
        return self.out(read.masked_fill(~attention_mask.any(1, keepdim=True), 0.0))


@bank.wrong(
    "ClassificationHead", "The first token is read, as in BERT; here it has seen only itself."
)
class FirstPlace(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(hidden[:, 0].masked_fill(~attention_mask.any(1, keepdim=True), 0.0))


@bank.wrong("ClassificationHead", "The first real token is read; the last one has seen the text.")
class FirstReal(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(self.read(hidden.flip(1), attention_mask.flip(1)))


@bank.wrong("ClassificationHead", "The mean of the real tokens is read; the last one has seen all.")
class MeanOfReal(_Given):
    def forward(self, hidden, attention_mask):
        real = hidden.masked_fill(~attention_mask[..., None], 0.0)
        return self.out(real.sum(1) / attention_mask.sum(1, keepdim=True).clamp(min=1))


@bank.wrong("ClassificationHead", "The mean of all places is read, padding among them.")
class MeanOfAll(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(hidden.mean(1))


@bank.wrong("ClassificationHead", "You return probabilities; the loss wants logits.")
class Probabilities(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(self.read(hidden, attention_mask)).softmax(-1)


@bank.wrong(
    "ClassificationHead",
    "Each class gets a sigmoid of its own, as for several labels at once; return logits.",
)
class Sigmoids(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(self.read(hidden, attention_mask)).sigmoid()


@bank.wrong("ClassificationHead", "The mask is read the wrong way round: True is a real token.")
class MaskTurned(_Given):
    def forward(self, hidden, attention_mask):
        return self.out(self.read(hidden, ~attention_mask))


@bank.wrong(
    "ClassificationHead", "One place is used for all rows; each row has its own last token."
)
class OnePlaceForAll(_Given):
    def forward(self, hidden, attention_mask):
        last = attention_mask.any(0).nonzero().max()
        return self.out(hidden[:, last].masked_fill(~attention_mask.any(1, keepdim=True), 0.0))


@bank.wrong(
    "ClassificationHead",
    "A row without a real token is read at a pad token; its vector is 0, and the bias is left.",
)
class EmptyRowRead(_Given):
    def forward(self, hidden, attention_mask):
        last = (attention_mask * torch.arange(1, hidden.shape[1] + 1)).argmax(1)
        return self.out(hidden[torch.arange(len(hidden)), last])


@bank.wrong("ClassificationHead", "A row without a real token gets 0; the bias belongs to it.")
class EmptyRowZero(_Given):
    def forward(self, hidden, attention_mask):
        logits = self.out(self.read(hidden, attention_mask))
        return logits.masked_fill(~attention_mask.any(1, keepdim=True), 0.0)


@bank.wrong("ClassificationHead", "The bias is not added: use the whole map, weight and bias.")
class NoBias(_Given):
    def forward(self, hidden, attention_mask):
        return self.read(hidden, attention_mask) @ self.out.weight.T


@bank.right("ClassificationHead")
class ByWeights(_Given):
    def forward(self, hidden, attention_mask):
        later = attention_mask.flip(1).cumsum(1).flip(1)  # real tokens from here on
        only = attention_mask & (later == 1)
        clean = torch.where(only[..., None], hidden, torch.zeros_like(hidden))
        return self.out(clean.sum(1))


@bank.right("ClassificationHead")
class RowByRow(_Given):
    def forward(self, hidden, attention_mask):
        rows = []
        for x, real in zip(hidden, attention_mask, strict=True):
            rows.append(x[real][-1] if real.any() else x.new_zeros(x.shape[1]))
        return self.out(torch.stack(rows))


for _call in ("torch.arange(1, hidden.shape[1] + 1", "torch.arange(len(hidden)"):
    bank.equivalent("ClassificationHead", f"{_call}, device=hidden.device)  =>  {_call})",
                    "tests have the CPU alone")  # fmt: skip

# --- hierarchical_loss -----------------------------------------------------------------------

_parent_of = torch.tensor([0, 0, 1, 2, 2, 2])
_areas, _faults = rand(4, 3) * 2, rand(4, 6) * 2
_targets = torch.tensor([1, 2, 5, 0])
bank.probe(
    "hierarchical_loss",
    call(_areas[:1], _faults[:1], _targets[:1], _parent_of),
    call(_areas, _faults, _targets, _parent_of),
    call(_areas[1:2], _faults[1:2], _targets[1:2], _parent_of),
    call(_areas, _faults * 100, _targets, _parent_of),
    call(_areas, _faults, _targets, torch.tensor([2, 0, 1, 0, 2, 1])),
)


def _levels(parent_logits, child_logits, child_targets, parent_of, outside=-torch.inf):
    """The cost of each ticket's parent, and of its child among its siblings."""
    parents = parent_of[child_targets]
    siblings = parent_of == parents[:, None]
    among = torch.where(siblings, child_logits, torch.full_like(child_logits, outside))
    return (F.cross_entropy(parent_logits, parents, reduction="none"),
            F.cross_entropy(among, child_targets, reduction="none"))  # fmt: skip


@bank.wrong(
    "hierarchical_loss",
    "The child's softmax runs over all children; it is among the siblings only.",
)
def over_all_children(parent_logits, child_logits, child_targets, parent_of):
    parent, _ = _levels(parent_logits, child_logits, child_targets, parent_of)
    return parent.mean() + F.cross_entropy(child_logits, child_targets)


@bank.wrong("hierarchical_loss", "Only the parent's level counts; the child's is added to it.")
def parent_alone(parent_logits, child_logits, child_targets, parent_of):
    return _levels(parent_logits, child_logits, child_targets, parent_of)[0].mean()


@bank.wrong("hierarchical_loss", "Only the child's level counts; the parent's is added to it.")
def child_alone(parent_logits, child_logits, child_targets, parent_of):
    return _levels(parent_logits, child_logits, child_targets, parent_of)[1].mean()


@bank.wrong("hierarchical_loss", "The two levels are averaged; they are added.")
def mean_of_levels(parent_logits, child_logits, child_targets, parent_of):
    return sum(_levels(parent_logits, child_logits, child_targets, parent_of)).mean() / 2


@bank.wrong("hierarchical_loss", "This is the sum over the batch; the loss is the mean.")
def sum_over_the_batch(parent_logits, child_logits, child_targets, parent_of):
    return sum(_levels(parent_logits, child_logits, child_targets, parent_of)).sum()


@bank.wrong(
    "hierarchical_loss",
    "Logits of other parents' children are set to 0, which is a logit like others: e⁰ = 1 stays in "
    "the softmax. Set them to -inf.",
)
def strangers_at_zero(parent_logits, child_logits, child_targets, parent_of):
    return sum(_levels(parent_logits, child_logits, child_targets, parent_of, 0.0)).mean()


@bank.wrong(
    "hierarchical_loss",
    "Intents exclude each other here; labels of multi-label do not. Each level is a softmax, not "
    "a row of sigmoids.",
)
def sigmoids(parent_logits, child_logits, child_targets, parent_of):
    parents = parent_of[child_targets]
    siblings = parent_of == parents[:, None]
    wanted = F.one_hot(child_targets, child_logits.shape[1]).to(child_logits)
    area = F.one_hot(parents, parent_logits.shape[1]).to(parent_logits)
    up = F.binary_cross_entropy_with_logits(parent_logits, area, reduction="none").sum(1)
    down = F.binary_cross_entropy_with_logits(child_logits, wanted, reduction="none")
    return (up + (down * siblings).sum(1)).mean()


@bank.wrong(
    "hierarchical_loss", "The children of the wrong parents compete; those of the right one do."
)
def among_strangers(parent_logits, child_logits, child_targets, parent_of):
    parent, _ = _levels(parent_logits, child_logits, child_targets, parent_of)
    own = F.one_hot(child_targets, len(parent_of)).bool()
    strangers = parent_of != parent_of[child_targets][:, None]
    among = child_logits.masked_fill(~(strangers | own), -torch.inf)
    return parent.mean() + F.cross_entropy(among, child_targets)


@bank.wrong(
    "hierarchical_loss",
    "The siblings are those of the parent that the model finds likeliest, not of the right one.",
)
def guessed_parent(parent_logits, child_logits, child_targets, parent_of):
    parent, _ = _levels(parent_logits, child_logits, child_targets, parent_of)
    own = F.one_hot(child_targets, len(parent_of)).bool()
    siblings = parent_of == parent_logits.argmax(-1)[:, None]
    among = child_logits.masked_fill(~(siblings | own), -torch.inf)
    return parent.mean() + F.cross_entropy(among, child_targets)


@bank.wrong(
    "hierarchical_loss", "A child without siblings costs something: it is certain, ln 1 = 0."
)
def stranger_joins_only_children(parent_logits, child_logits, child_targets, parent_of):
    parent, child = _levels(parent_logits, child_logits, child_targets, parent_of)
    alone = (parent_of == parent_of[child_targets][:, None]).sum(1) == 1
    every = F.cross_entropy(child_logits, child_targets, reduction="none")
    return (parent + torch.where(alone, every, child)).mean()


@bank.wrong(
    "hierarchical_loss",
    "The parents' level is missing its softmax: logits are no log-probabilities.",
)
def parent_without_softmax(parent_logits, child_logits, child_targets, parent_of):
    _, child = _levels(parent_logits, child_logits, child_targets, parent_of)
    parents = parent_of[child_targets]
    return (child - parent_logits.gather(1, parents[:, None])[:, 0]).mean()


@bank.right("hierarchical_loss")
def by_two_levels(parent_logits, child_logits, child_targets, parent_of):
    return sum(_levels(parent_logits, child_logits, child_targets, parent_of)).mean()


@bank.right("hierarchical_loss")
def ticket_by_ticket(parent_logits, child_logits, child_targets, parent_of):
    total = parent_logits.new_zeros(())
    for areas, faults, child in zip(parent_logits, child_logits, child_targets, strict=True):
        own = faults[parent_of == parent_of[child]]
        total = total - areas.log_softmax(0)[parent_of[child]] + own.logsumexp(0) - faults[child]
    return total / len(child_targets)


# --- replay_mix ------------------------------------------------------------------------------

bank.probe(
    "replay_mix",
    drill(drills_sft.mix_facts, 30, 200, 0.25),
    drill(drills_sft.mix_facts, 30, 200, 0.75),
    drill(drills_sft.mix_facts, 30, 10, 0.5),
    drill(drills.own_randomness, list(range(20)), list(range(100, 160)), 0.4),
)


def _order(n, generator):
    return torch.randperm(n, generator=generator).tolist()


def _mixed(new, picked, generator):
    mix = [*new, *picked]
    return [mix[i] for i in _order(len(mix), generator)]


@bank.wrong("replay_mix", "The share is taken of the new examples; it is a share of the mix.")
def share_of_the_new(new, old, share, generator):
    picked = [old[i] for i in _order(len(old), generator)[: round(len(new) * share)]]
    return _mixed(new, picked, generator)


@bank.wrong(
    "replay_mix",
    "Old examples take the place of new ones: the mix is as long as `new`, and some are missing.",
)
def new_ones_replaced(new, old, share, generator):
    n = round(len(new) * share)
    picked = [old[i] for i in _order(len(old), generator)[:n]]
    kept = [new[i] for i in _order(len(new), generator)[n:]]
    return _mixed(kept, picked, generator)


@bank.wrong("replay_mix", "The share is taken of the old examples; it is a share of the mix.")
def share_of_the_old(new, old, share, generator):
    picked = [old[i] for i in _order(len(old), generator)[: round(len(old) * share)]]
    return _mixed(new, picked, generator)


@bank.wrong("replay_mix", "All old ones stand after the new ones; the mix is in random order.")
def not_shuffled(new, old, share, generator):
    n = round(len(new) * share / (1 - share))
    return [*new, *(old[i] for i in _order(len(old), generator)[:n])]


@bank.wrong("replay_mix", "The first old examples are taken each time; draw them at random.")
def the_first_old_ones(new, old, share, generator):
    return _mixed(new, old[: round(len(new) * share / (1 - share))], generator)


@bank.wrong("replay_mix", "An old example may come twice: draw without repetition.")
def drawn_with_repetition(new, old, share, generator):
    n = round(len(new) * share / (1 - share))
    at = torch.randint(len(old), (n,), generator=generator).tolist() if old else []
    return _mixed(new, [old[i] for i in at], generator)


@bank.wrong(
    "replay_mix",
    "`share` is the part of the new examples in your mix; it is the part of the old ones.",
)
def share_turned(new, old, share, generator):
    n = round(len(new) * (1 - share) / share) if share else 0
    return _mixed(new, [old[i] for i in _order(len(old), generator)[:n]], generator)


@bank.wrong("replay_mix", "The generator is not used: the draws come from torch's global one.")
def generator_ignored(new, old, share, generator):
    n = round(len(new) * share / (1 - share))
    return _mixed(new, [old[i] for i in _order(len(old), None)[:n]], None)


@bank.wrong("replay_mix", "You seed the generator in each call, so that all mixes are the same.")
def seeded_each_time(new, old, share, generator):
    generator.manual_seed(0)
    n = round(len(new) * share / (1 - share))
    return _mixed(new, [old[i] for i in _order(len(old), generator)[:n]], generator)


@bank.right("replay_mix")
def mixed_in_two_draws(new, old, share, generator):
    n = round(len(new) / (1 - share) * share)
    return _mixed(new, [old[i] for i in _order(len(old), generator)[:n]], generator)


@bank.right("replay_mix")
def mixed_by_keys(new, old, share, generator):
    n = min(len(old), round(share / (1 - share) * len(new)))
    keys = torch.rand(len(old), generator=generator, dtype=torch.float64)
    mix = list(new) + [old[i] for i in keys.argsort().tolist()[:n]]
    keys = torch.rand(len(mix), generator=generator, dtype=torch.float64).tolist()
    return [mix[i] for i in sorted(range(len(mix)), key=keys.__getitem__)]


# --- forgetting_score ------------------------------------------------------------------------

bank.probe(
    "forgetting_score",
    call({"words": 0.8, "format": 0.5}, {"words": 0.6, "format": 0.1}),
    call({"words": 0.8, "format": 0.1}, {"format": 0.9, "words": 0.5, "new": 0.3}),
    call({"words": 0.8, "format": 0.1}, {"format": 0.9}),
)


@bank.wrong("forgetting_score", "The sign is turned: positive means forgotten, before minus after.")
def sign_turned(before, after):
    return {task: after[task] - before[task] for task in before}


@bank.wrong("forgetting_score", "You divide by the measure before; the loss is not relative.")
def relative(before, after):
    return {task: (before[task] - after[task]) / before[task] for task in before}


@bank.wrong("forgetting_score", "What a task has gained is cut to 0; a gain is negative.")
def gains_cut(before, after):
    return {task: max(0.0, before[task] - after[task]) for task in before}


@bank.wrong("forgetting_score", "Every change counts as positive; a gain is negative.")
def absolute(before, after):
    return {task: abs(before[task] - after[task]) for task in before}


@bank.wrong(
    "forgetting_score", "A task that was not measured again is left out; it raises KeyError."
)
def missing_left_out(before, after):
    return {task: before[task] - after[task] for task in before if task in after}


@bank.wrong(
    "forgetting_score", "A task that was not measured again counts as 0; it raises KeyError."
)
def missing_is_zero(before, after):
    return {task: before[task] - after.get(task, 0.0) for task in before}


@bank.wrong("forgetting_score", "One mean for all tasks; each task has its own score.")
def one_mean(before, after):
    lost = sum(before[task] - after[task] for task in before) / max(1, len(before))
    return dict.fromkeys(before, lost)


@bank.wrong(
    "forgetting_score", "Tasks that only `after` has are in the answer; its keys are before's."
)
def new_tasks_too(before, after):
    if missing := [task for task in before if task not in after]:
        raise KeyError(missing[0])
    return {task: before.get(task, 0.0) - value for task, value in after.items()}


@bank.right("forgetting_score")
def lost_in_a_loop(before, after):
    lost = {}
    for task in before:
        lost[task] = before[task] - after[task]
    return lost


@bank.right("forgetting_score")
def lost_by_zip(before, after):
    return dict(zip(before, [value - after[task] for task, value in before.items()], strict=True))
