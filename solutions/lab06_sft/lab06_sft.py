# %% [markdown]
# # Lab 6: fine-tune
#
# A base model completes. Ask it what error E204 means, and it goes on writing notes and calls. In
# this lab you teach the course's base model to **answer**: the chat template, the labels, the
# batches and the loss are yours, and so is the model at the end. You talk to it, you measure what
# it has forgotten on the way, and you get most of that back.
#
# **{points}, about 2 ½ hours.** The chapter behind it is
# [Supervised fine-tuning](../../book/ch04_sft.md).
#
# What you will do, as one picture. Exercises 1 to 4 are the road from a dialogue to a loss; the
# others stand beside it.
#
# ```text
#   one dialogue            one row             one batch                       one number
#
#   user: What is E204?     ids  ──┐
#   assistant: E204 means   mask ──┴▶ labels    input_ids ─▶ model ─▶ logits ─┐
#   that ...                                    labels ───────────────────────┴▶ loss
#                                               attention_mask
#
#   └── 1 render_chat ──┘ └─ 2 sft_labels ─┘ └─ 3 collate ─┘      └─ 4 sft_loss ──┘
#
#   5 packed_inputs       several dialogues in one row
#   6 ClassificationHead  to sort instead of answer
#   7 hierarchical_loss   to sort into areas and faults
#   8 replay_mix          old texts among the new rows
#   9 forgetting_score    what it cost, before and after
# ```
#
# How it works: fill the blank of a function, run the check below it, read the one line it prints.
# If your function makes a mistake that we know, the line names it. Hidden checks run when the lab
# is graded; the comment in their cell says what kind of input they try.
#
# Five rules hold for every function here.
#
# - The docstring is the contract. The checks test all of it and nothing else.
# - A result has the dtype and the device of the input, unless the docstring says otherwise.
# - Arguments are never changed.
# - A label that does not count is −100. In a mask, `True` means "real", "trained" or "may attend".
# - Where there is a `generator`, it is the only source of randomness.

# %% nbgrader={"locked": "setup"}
# Run this cell first. It installs the course package where it is missing, as on Colab.
import importlib.util
import math
import subprocess
import sys
from pathlib import Path

if importlib.util.find_spec("glassbox") is None:
    here = Path.cwd().resolve()
    local = [str(p) for p in (here, *here.parents) if (p / "glassbox" / "check.py").exists()]
    source = local[0] if local else "git+https://github.com/glassbox-course/glassbox"
    print(f"Installing the course package from {source} …")
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", source], check=True)

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import glassbox
from glassbox import assistant, check, drills, drills_sft
from glassbox.tokenizer import Tokenizer
from glassbox.tokenizer import tokenizer as course_tokenizer

scale = glassbox.pick_scale()  # S: two CPU cores, what is graded; M and L: a GPU
check.start("lab06_sft")
print(f"Scale {scale.name}, running on {scale.hardware}.")

# %% [markdown]
# ## What is given
#
# A tokenizer with 1,024 tokens, six of them **special**: no text is ever encoded to them, they come
# only from the program. For checks that you can redo with a pencil there is a second tokenizer,
# `drills_sft.ByteTokenizer()`, in which the id of a letter is its byte and the special tokens are
# 256, 257 and so on. Both have the same interface, and your function must not care which it gets.
#
# `glassbox.assistant` holds the base model, and the course's own way to do what you will write. An
# answer that calls that is shown to your teacher. Run the cell, and look at what the base does with
# a question.

# %% tags=["demo"]
course = course_tokenizer()
for one in (course, drills_sft.ByteTokenizer()):
    print(one.special)
    ids = one.encode("no signal")
    print("  no signal ->", ids, "->", one.decode(ids))
    print("  <|end|>   ->", one.encode("<|end|>"), "a text like any other, not the end token")

base = assistant.base()
print(f"\nThe base model has {sum(p.numel() for p in base.parameters()):,} parameters.")
prompt = "What does error E204 mean?"
found = base.generate(torch.tensor([[course.bos_id, *course.encode(prompt)]]), 40, temperature=0.0)
print("The base goes on:", course.decode(found[0].tolist()))

# %% [markdown]
# ## 1. The chat template ({points:render_chat}, 25 min)
#
# A model reads one row of ids. A dialogue is a list of messages, each with a role. The **template**
# turns one into the other, and says on the way which tokens the model shall learn to write. That is
# what *it* will have to write later: the answer, and the end token after it. The customer's words
# and the markers in front of the messages are read, not learned.
#
# The template of this course, for one question and its answer:
#
# | | bos | user | H | i | end | assistant | Y | o | end |
# |--|--|--|--|--|--|--|--|--|--|
# | id | 256 | 258 | 72 | 105 | 260 | 259 | 89 | 111 | 260 |
# | trained | − | − | − | − | − | − | yes | yes | yes |
#
# There are no line breaks and no spaces between the parts. The ids are those of the byte tokenizer.
#
# **Common mistake:** training everything but the end token. The answers are right, and the model
# never stops. **Another:** building the whole text first and encoding that. A customer who types
# `<|end|>` then ends the message, and can go on as somebody else.
#
# <details><summary>Hint 1</summary>
#
# Build two lists side by side, message by message. Which entries does each message add to both?
#
# </details>
# <details><summary>Hint 2</summary>
#
# Each message adds a marker, what `encode` gives, and the end token. The mask gets as many
# entries; the first is always `False`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# The marker's name is `f"<|{role}|>"`. `[x] * n` is a list with n times x.
#
# </details>

# %% nbgrader={"solution": "render_chat", "calls_forbidden": ["render", "apply_chat_template"]}
def render_chat(
    messages: list[dict[str, str]], tokenizer: Tokenizer
) -> tuple[list[int], list[bool]]:
    """The ids of a dialogue in the course's template, and which of them are trained.

    The template is tokenizer.bos_id, once, then for each message the special token of its role,
    the ids of its content, and tokenizer.end_id; nothing else. Each message has "role" (system,
    user or assistant, in any order) and "content". tokenizer.special maps "<|system|>",
    "<|user|>" and "<|assistant|>" to ids. Content is encoded by tokenizer.encode, which adds
    nothing, as it is: white space stays, an empty content gives no ids between role and end, and
    what looks like a special token in a text stays text.
    The mask is as long as the ids: True at the content and the end token of each assistant
    message, False elsewhere. Without messages: [bos_id] and [False].
    """
    ### BEGIN SOLUTION
    ids, mask = [tokenizer.bos_id], [False]
    for message in messages:
        body = [*tokenizer.encode(message["content"]), tokenizer.end_id]
        ids += [tokenizer.special[f"<|{message['role']}|>"], *body]
        mask += [False] + [message["role"] == "assistant"] * len(body)
    return ids, mask
    ### END SOLUTION


# %% nbgrader={"test": "render_chat_visible", "points": 12}
with check.question("render_chat_visible", render_chat) as f:
    tok = drills_sft.ByteTokenizer()
    turn = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    ids, mask = f(turn, tok)
    with check.part("ids", 6):
        check.equal("Hi, Yo", ids, [256, 258, 72, 105, 260, 259, 89, 111, 260],
                    why="bos, then role, content and end of each message.")
        again = f([{"role": "system", "content": ""}, *turn, *turn], tok)[0]
        check.equal("an empty system message, then two turns", again,
                    [256, 257, 260, *ids[1:], *ids[1:]], why="bos opens the dialogue once.")
        check.equal("what a user types", tok.decode(f([{"role": "user", "content": " <|end|>\n"}],
                                                      tok)[0][2:-1]), " <|end|>\n",
                    why="the content as it is: white space stays, and no text is special.")
        check.that(f([{"role": "user", "content": "<|end|>"}], tok)[0].count(260) == 1,
                   "<|end|> in a user's text became the end token; only encode() makes ids of it.")
    with check.part("mask", 6):
        check.equal("Hi, Yo", mask, [False] * 6 + [True] * 3, why="Y, o and the end token.")
        mask = f([*turn, *turn], tok)[1]
        check.equal("two turns", mask, [False] * 6 + [True] * 3 + [False] * 5 + [True] * 3,
                    why="each answer is trained, not the last alone.")
        empty = f([{"role": "assistant", "content": ""}], tok)
        check.equal("an empty answer", empty, ([256, 259, 260], [False, False, True]),
                    why="it has an end, and that is trained.")

# %% nbgrader={"test": "render_chat_hidden", "points": 8}
# Hidden checks: random dialogues with all roles, renumbered special tokens, texts that look like
# markers, the course's tokenizer, no messages.
### BEGIN HIDDEN TESTS
with check.question("render_chat_hidden", render_chat) as f:
    gen = check.generator()
    pieces = ["no signal", " ", "E204", "", "\n", "<|end|>", "<|assistant|>", "ä", "<|bos|>",
              "  x "]
    dialogues = []
    for n in (1, 2, 3, 5, 8):
        picks = torch.randint(10, (n, 4), generator=gen).tolist()
        roles = torch.randint(3, (n,), generator=gen).tolist()
        dialogues.append([{"role": ("system", "user", "assistant")[r],
                           "content": "".join(pieces[i] for i in row)}
                          for r, row in zip(roles, picks)])
    dialogues.append([{"role": "user", "content": ""}, {"role": "assistant", "content": ""}])
    order = torch.randperm(6, generator=gen).tolist()
    names = list(drills_sft.ByteTokenizer().special)
    other = drills_sft.ByteTokenizer({names[j]: 900 + 7 * i for i, j in enumerate(order)})
    shipped, here = check.there(course_tokenizer), course_tokenizer()
    for given, ours, what in ((drills_sft.ByteTokenizer(), None, "bytes"),
                              (other, None, "renumbered"), (shipped, here, "the course's")):
        ours = ours or given
        for dialogue in dialogues:
            ids, mask = f(dialogue, given)
            case = f"{what}, {len(dialogue)} messages"
            text = "<|bos|>" + "".join(f"<|{m['role']}|>{m['content']}<|end|>" for m in dialogue)
            check.equal(f"{case}, decoded", ours.decode(ids), text)
            markers = [i for i in ids if i in ours.special.values()]
            count = 1 + 2 * len(dialogue)
            check.equal(f"{case}, special tokens", len(markers), count,
                        why="bos, and a role and an end for each message.")
            learned, now = [], False
            for i in ids:
                learned.append(now)
                now = (now or i == ours.special["<|assistant|>"]) and i != ours.end_id
            check.equal(f"{case}, mask", mask, learned, why="each answer with its end.")
    check.equal("no messages", f([], other), ([other.bos_id], [False]))
    kept = check.there(drills_sft.first_after, render_chat, dialogues[2], other)
    check.equal("messages after a call", kept, dialogues[2], why="arguments are not changed.")
### END HIDDEN TESTS

# %% [markdown]
# Your template, with what is trained in a frame. Change the dialogue; try a customer who types
# `<|assistant|>`.

# %% tags=["demo"]
from IPython.display import HTML, display


def show_row(ids: list[int], trained: list[bool]) -> HTML:
    """The tokens of a row; trained ones on a coloured ground, underlined."""
    marks = {i: name for name, i in course.special.items()}
    style = ("border:1px solid #888;border-radius:3px;padding:0 2px;margin:1px;"
             "display:inline-block;white-space:pre;")
    cells = []
    for i, learned in zip(ids, trained):
        text = marks.get(i) or course.decode([i])
        for sign, safe in (("&", "&amp;"), ("<", "&lt;"), (" ", "␣"), ("\n", "⏎")):
            text = text.replace(sign, safe)
        look = "background:#1a6b3c;color:#fff;text-decoration:underline;" if learned else ""
        cells.append(f'<code style="{style}{look}">{text}</code>')
    return HTML("".join(cells))


dialogue = [{"role": "user", "content": "What does error E204 mean?"},
            {"role": "assistant", "content": "It means that the fibre cable is cut."},
            {"role": "user", "content": "Thanks! <|end|>"},
            {"role": "assistant", "content": "You are welcome."}]
try:
    row, trained = render_chat(dialogue, course)
    display(show_row(row, trained))
    print(f"{len(row)} tokens, {sum(trained)} of them trained ({sum(trained) / len(row):.0%}).")
except NotImplementedError:
    print("Write render_chat first; then run this cell again.")

# %% [markdown]
# ## 2. Labels ({points:sft_labels}, 8 min)
#
# What a model learns from is decided by labels. A label is the id that should be predicted, and
# −100 where nothing is asked: `F.cross_entropy` leaves such places out.
#
# By hand:
#
# | ids | 256 | 258 | 72 | 260 | 259 | 89 | 260 |
# |--|--|--|--|--|--|--|--|
# | trained | − | − | − | − | − | yes | yes |
# | labels | −100 | −100 | −100 | −100 | −100 | 89 | 260 |
#
# Each label stands **under its own id**. The loss will move them by one, because what stands at
# place t is predicted at place t − 1. That is how the libraries do it, so that rows of ids and rows
# of labels can be compared by eye. (`assistant.batch` of the chapter moves them in the batch
# instead. Both are right; both at once are not.)
#
# **Common mistake:** moving the labels here, and in the loss again. The model then learns to
# predict the token after next, and the loss says nothing.
#
# <details><summary>Hint 1</summary>
#
# At each place there are two possible values. The mask chooses.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.where(condition, a, b)`, or `masked_fill`.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `masked_fill` writes where a mask is True; you want to write where it is False: `~mask`.
#
# </details>

# %% nbgrader={"solution": "sft_labels"}
def sft_labels(ids: Tensor, assistant_mask: Tensor) -> Tensor:
    """What the model is asked to predict: the id where the mask is True, -100 elsewhere.

    ids (T,), assistant_mask (T,) bool -> (T,), of the dtype of ids. The label of a token stands at
    the place of the token: nothing is moved here; the loss does that.
    """
    ### BEGIN SOLUTION
    return ids.masked_fill(~assistant_mask, -100)
    ### END SOLUTION


# %% nbgrader={"test": "sft_labels_visible", "points": 6}
with check.question("sft_labels_visible", sft_labels) as f:
    ids = torch.tensor([256, 258, 72, 260, 259, 89, 260])
    mask = torch.tensor([False, False, False, False, False, True, True])
    check.close("one answer", f(ids, mask),
                torch.tensor([-100, -100, -100, -100, -100, 89, 260]),
                why="the answer and its end, each under its own id.")
    check.close("two answers", f(ids, mask | (torch.arange(7) == 2)),
                torch.tensor([-100, -100, 72, -100, -100, 89, 260]), why="wherever the mask says.")
    check.close("nothing trained", f(ids, mask & False), torch.full((7,), -100), why="all -100.")

# %% nbgrader={"test": "sft_labels_hidden", "points": 4}
# Hidden checks: random rows and masks, one token, other integer types, views with gaps, arguments.
### BEGIN HIDDEN TESTS
with check.question("sft_labels_hidden", sft_labels) as f:
    gen = check.generator()
    for T, dtype in ((1, torch.int64), (2, torch.int64), (9, torch.int32), (40, torch.int64)):
        ids = torch.randint(1000, (T, 2), generator=gen)[:, 0].to(dtype)  # not contiguous
        for share in (0.5, 0.0, 1.0):
            mask = torch.rand(T, generator=gen) < share
            want = [i if m else -100 for i, m in zip(ids.tolist(), mask.tolist())]
            check.close(f"{T} tokens, {int(mask.sum())} trained", f(ids, mask),
                        torch.tensor(want, dtype=dtype))
    check.unchanged("ids and mask", f, ids, torch.arange(40) % 3 == 0)
### END HIDDEN TESTS

# %% [markdown]
# ## 3. A batch ({points:collate}, 25 min)
#
# Rows of unequal length become a rectangle: short ones are filled up at the right with a pad token.
# Padding is neither read nor learned, so three tables go together: ids, labels, and a mask of what
# is real.
#
# By hand, with pad 0, for a row of 4 and a row of 2 tokens:
#
# | input_ids | labels | attention_mask |
# |--|--|--|
# | `1 2 3 9` | `−100 −100 3 9` | `T T T T` |
# | `1 9 0 0` | `−100 9 −100 −100` | `T T F F` |
#
# A row that is longer than the context is cut at the right. That may take the whole answer: what is
# left has no label, teaches nothing, and only costs time. Such a row is left out.
#
# **Common mistake:** asking `ids == pad_id` where padding is. Many models have no pad token and use
# the end token for it. Then every *real* end token loses its label, and the model never learns to
# stop. Where padding begins is a question of place, not of id.
#
# <details><summary>Hint 1</summary>
#
# Three steps: cut every row, leave out those without a label, fill up the rest. What is the width?
#
# </details>
# <details><summary>Hint 2</summary>
#
# The three tables are filled with three different values. A row of n tokens has a mask of n times
# True.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `max(..., default=0)` of no rows is 0. `torch.full((B, width), value)` is a table to write into,
# and has a shape even when B is 0.
#
# </details>

# %% nbgrader={"solution": "collate"}
def collate(
    examples: list[dict[str, list[int]]], pad_id: int, context_len: int
) -> dict[str, Tensor]:
    """A batch of examples: filled up at the right, cut at context_len.

    Each example has "input_ids" and "labels", two lists of one length. Of each, the first
    context_len entries are kept. An example of whose labels none but -100 is left is dropped.
    -> "input_ids" (B, T) int64, filled with pad_id; "labels" (B, T) int64, filled with -100;
    "attention_mask" (B, T) bool, True at real tokens; B is the number of examples kept, in their
    order, and T the length of the longest of them after the cut. If none is kept, all three have
    the shape (0, 0).
    A real token may have the id pad_id: it is real, and keeps its label.
    """
    ### BEGIN SOLUTION
    cut = [(e["input_ids"][:context_len], e["labels"][:context_len]) for e in examples]
    cut = [(ids, labels) for ids, labels in cut if any(i != -100 for i in labels)]
    shape = len(cut), max((len(ids) for ids, _ in cut), default=0)
    batch = {"input_ids": torch.full(shape, pad_id), "labels": torch.full(shape, -100),
             "attention_mask": torch.zeros(shape, dtype=torch.bool)}
    for row, (ids, labels) in enumerate(cut):
        batch["input_ids"][row, : len(ids)] = torch.tensor(ids)
        batch["labels"][row, : len(ids)] = torch.tensor(labels)
        batch["attention_mask"][row, : len(ids)] = True
    return batch
    ### END SOLUTION


# %% nbgrader={"test": "collate_visible", "points": 9}
with check.question("collate_visible", collate) as f:
    long = {"input_ids": [1, 2, 3, 9], "labels": [-100, -100, 3, 9]}
    short = {"input_ids": [1, 9], "labels": [-100, 9]}
    batch = f([long, short], 0, 8)
    with check.part("filled up", 4):
        check.close("4 and 2 tokens, ids", batch["input_ids"],
                    torch.tensor([[1, 2, 3, 9], [1, 9, 0, 0]]), why="pad 0 at the right.")
        check.close("labels", batch["labels"],
                    torch.tensor([[-100, -100, 3, 9], [-100, 9, -100, -100]]),
                    why="nothing is asked of padding; labels stay under their ids.")
        check.close("mask", batch["attention_mask"], [[True] * 4, [True, True, False, False]],
                    why="True at real tokens.")
    with check.part("the end token as padding", 2):
        batch = f([long, short], 9, 8)
        check.close("pad 9, labels", batch["labels"],
                    torch.tensor([[-100, -100, 3, 9], [-100, 9, -100, -100]]),
                    why="the real 9 is trained, the padding is not.")
        check.close("pad 9, mask", batch["attention_mask"],
                    [[True] * 4, [True, True, False, False]], why="a real 9 is read.")
    with check.part("cut", 3):
        batch = f([long, short], 0, 3)
        check.close("context 3, labels", batch["labels"],
                    torch.tensor([[-100, -100, 3], [-100, 9, -100]]), why="the first 3 of each.")
        batch = f([long, short], 0, 2)
        check.close("context 2, ids", batch["input_ids"], torch.tensor([[1, 9]]),
                    why="the long row has lost its answer: it is left out.")
        check.shape("context 1, ids", f([long, short], 0, 1)["input_ids"], (0, 0),
                    why="nothing is left of either.")

# %% nbgrader={"test": "collate_hidden", "points": 6}
# Hidden checks: random rows against their definition, the loss of a row alone and in a batch,
# types, batches of which nothing is left, arguments.
### BEGIN HIDDEN TESTS
with check.question("collate_hidden", collate) as f:
    gen = check.generator()
    with check.part("random rows", 3):
        for n, limit, pad in ((6, 9, 3), (1, 20, 0), (12, 5, 7), (9, 12, 100), (4, 1, 2)):
            rows = []
            for _row in range(n):
                size = int(torch.randint(1, 14, (), generator=gen))
                ids = torch.randint(9, (size,), generator=gen).tolist()
                at = int(torch.randint(14, (), generator=gen))
                rows.append({"input_ids": ids,
                             "labels": [-100] * min(at, size) + ids[min(at, size):]})
            rows[0]["labels"] = rows[0]["input_ids"][:]
            kept = [r for r in rows if set(r["labels"][:limit]) - {-100}]
            width, batch = max(len(r["input_ids"][:limit]) for r in kept), f(rows, pad, limit)
            case = f"{n} rows, context {limit}, pad {pad}"
            check.equal(f"{case}, keys", sorted(batch), ["attention_mask", "input_ids", "labels"])
            for key, fill in (("input_ids", pad), ("labels", -100)):
                want = [(r[key][:limit] + [fill] * width)[:width] for r in kept]
                check.close(f"{case}, {key}", batch[key], torch.tensor(want))
            want = [([True] * len(r["labels"][:limit]) + [False] * width)[:width] for r in kept]
            check.close(f"{case}, mask", batch["attention_mask"], torch.tensor(want))
    with check.part("padding changes no loss", 1):
        table = torch.randn(120, 120, generator=gen)  # a model: a row of logits for each id

        def summed(batch: dict[str, Tensor]) -> Tensor:
            logits, labels = table[batch["input_ids"]], batch["labels"]
            return F.cross_entropy(logits[:, :-1].mT, labels[:, 1:], reduction="sum")

        alone = sum(summed(f([r], 5, 20)) for r in rows if len(r["labels"]) > 1)
        check.close("rows together", summed(f(rows, 6, 20)), alone, scale=1.0,
                    why="as much as one by one.")
    with check.part("nothing left, arguments", 2):
        for given in ([], [{"input_ids": [5, 6], "labels": [-100, -100]}]):
            batch = f(given, 4, 3)
            for key, dtype in (("input_ids", torch.int64), ("labels", torch.int64),
                               ("attention_mask", torch.bool)):
                check.close(f"{len(given)} rows, {key}", batch[key], torch.zeros(0, 0, dtype=dtype),
                            scale=1.0, why="an empty table.")
        given = [{"input_ids": [1, 2, 3], "labels": [-100, 2, 3]}] * 2 + [
            {"input_ids": [1, 2, 3, 4], "labels": [-100, -100, -100, 4]}]
        check.equal("examples after a call",
                    check.there(drills_sft.first_after, collate, given, 0, 2), given,
                    why="arguments are not changed.")
### END HIDDEN TESTS

# %% [markdown]
# A batch of real dialogues: `█` is trained, `▒` is read, `·` is padding. How much of the work goes
# into padding? Put the shortest rows together and look again.

# %% tags=["demo"]
from glassbox.telecom.questions import grade, messages, questions

asked = questions()


def example_of(dialogue: list[dict[str, str]]) -> dict[str, list[int]]:
    """A dialogue as collate wants it, by your render_chat and sft_labels."""
    ids, mask = render_chat(dialogue, course)
    return {"input_ids": ids,
            "labels": sft_labels(torch.tensor(ids), torch.tensor(mask)).tolist()}


try:
    batch = collate([example_of(messages(q)) for q in asked.train[:300:25]], course.pad_id, 128)
    for real, labels in zip(batch["attention_mask"].tolist(), batch["labels"].tolist()):
        print("".join("·" if not r else "▒" if label == -100 else "█"
                      for r, label in zip(real, labels)))
    n, width = batch["labels"].shape
    print(f"{n} x {width} places: {(batch['labels'] != -100).sum() / n / width:.0%} trained, "
          f"{1 - batch['attention_mask'].float().mean():.0%} padding")
except NotImplementedError:
    print("Write render_chat, sft_labels and collate first; then run this cell again.")

# %% [markdown]
# ## 4. The loss ({points:sft_loss}, 20 min)
#
# Now the labels move. The logits at place t are a guess at the token at place t + 1, so they meet
# the label of place t + 1. The last logits guess at nothing we know, and the first label is guessed
# by nobody.
#
# The loss is **one mean over all labels that count in the batch**, not a mean of rows and not a
# mean over all places. So a long answer weighs more than a short one, as its tokens do, and padding
# changes nothing.
#
# By hand, two classes, one row of three places. Logits (0, ln 3) give the classes ¼ and ¾.
#
# | place | logits | label |
# |--|--|--|
# | 0 | (0, ln 3) | −100 |
# | 1 | (0, 0) | 1 |
# | 2 | (9, −9) | 0 |
#
# Place 0 meets label 1: ln(4/3) = 0.288. Place 1 meets label 0: ln 2 = 0.693. The last logits are
# not used. The loss is 0.490.
#
# **Common mistake:** dividing by the number of places. The loss looks small, and it shrinks further
# when the padding grows; so does every gradient.
#
# <details><summary>Hint 1</summary>
#
# Which logits have a label to meet, and which labels have logits? Cut one place from each.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `F.cross_entropy` wants (N, V) and (N,), and passes over −100. What does it give if there is
# nothing but −100? A sum has no such trouble.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `reduction="sum"`, divided by the number of labels that count; `clamp(min=1)` keeps that number
# from being 0.
#
# </details>

# %% nbgrader={"solution": "sft_loss"}
def sft_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy in nats of the labels that count, each predicted one place earlier.

    logits (B, T, V), labels (B, T) -> scalar. logits[:, t] are for labels[:, t + 1]; labels of
    -100 do not count, nor does a label at place 0, which nothing predicts. The mean is over all
    labels of the batch that count. If none counts, the loss is 0, and so is its gradient, which
    can still be asked for.
    """
    ### BEGIN SOLUTION
    guesses, wanted = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    total = F.cross_entropy(guesses, wanted, reduction="sum")
    return total / (wanted != -100).sum().clamp(min=1)
    ### END SOLUTION


# %% nbgrader={"test": "sft_loss_visible", "points": 9}
with check.question("sft_loss_visible", sft_loss) as f:
    logits = torch.tensor([[[0.0, math.log(3)], [0.0, 0.0], [9.0, -9.0]]])
    with check.part("values", 6):
        check.close("labels −100, 1, 0", f(logits, torch.tensor([[-100, 1, 0]])), 0.49041,
                    why="(0.288 + 0.693) / 2: place 0 meets label 1, place 1 meets label 0.")
        check.close("labels −100, −100, 0", f(logits, torch.tensor([[-100, -100, 0]])),
                    math.log(2), why="one label counts, and the mean is over that.")
        check.close("labels 0, 1, −100", f(logits, torch.tensor([[0, 1, -100]])), math.log(4 / 3),
                    why="nothing predicts the label at place 0.")
        two = f(logits.repeat(2, 1, 1), torch.tensor([[-100, 1, 0], [-100, 1, -100]]))
        check.close("two rows with 2 labels and 1", two, (2 * 0.287682 + 0.693147) / 3,
                    why="one mean over the three labels.")
    with check.part("nothing counts", 3):
        x = logits.clone().requires_grad_()
        loss = f(x, torch.full((1, 3), -100))
        check.close("only −100", loss, 0.0, scale=1.0, why="0, not NaN.")
        check.that(loss.requires_grad, "the loss of a batch without labels has no gradient to ask "
                   "for: let the 0 come out of the logits.")
        loss.backward()
        check.close("its gradient", x.grad, torch.zeros(1, 3, 2), scale=1.0, why="0 everywhere.")

# %% nbgrader={"test": "sft_loss_hidden", "points": 6}
# Hidden checks: random batches label by label, padding, where the gradient is 0, large logits, rows
# of one token, views with gaps.
### BEGIN HIDDEN TESTS
with check.question("sft_loss_hidden", sft_loss) as f:
    gen = check.generator()
    with check.part("random batches", 3):
        for B, T, V, share in ((2, 5, 7, 0.5), (1, 2, 3, 1.0), (4, 9, 30, 0.2), (3, 6, 4, 0.9)):
            logits = torch.randn(B, V, T, generator=gen, dtype=torch.float64).mT * 3
            labels = torch.randint(V, (B, T), generator=gen)
            labels = labels.masked_fill(torch.rand(B, T, generator=gen) > share, -100)
            labels[0, -1] = 1
            costs = [-logits[b, t - 1].log_softmax(0)[labels[b, t]]
                     for b in range(B) for t in range(1, T) if labels[b, t] != -100]
            case = f"B {B}, T {T}, V {V}"
            check.close(case, f(logits, labels), torch.stack(costs).mean())
            longer = torch.cat([logits, torch.randn(B, 4, V, generator=gen).double()], 1)
            padded = torch.cat([labels, torch.full((B, 4), -100)], 1)
            check.close(f"{case}, with padding", f(longer, padded), torch.stack(costs).mean(),
                        why="padding changes nothing.")
    with check.part("gradient", 2):
        labels = torch.tensor([[-100, -100, 3, 0, -100, 2], [4, -100, -100, 1, -100, -100]])
        x = torch.randn(2, 6, 5, generator=gen, dtype=torch.float64)
        check.gradient("gradient", lambda y: f(y, labels), x)
        leaf = x.clone().requires_grad_()
        f(leaf, labels).backward()
        moved = leaf.grad.abs().sum(-1) > 0
        want = torch.cat([labels[:, 1:] != -100, torch.zeros(2, 1, dtype=torch.bool)], 1)
        check.close("places with a gradient", moved, want,
                    why="only where a trained token is next.")
    with check.part("edges", 1):
        huge = torch.tensor([[[0.0, 10_000.0, 0.0], [0.0, 0.0, 0.0]]])
        check.close("logits of 10,000", f(huge, torch.tensor([[-100, 0]])), 10_000.0)
        one = torch.randn(3, 1, 5, generator=gen).requires_grad_()
        loss = f(one, torch.tensor([[1], [2], [-100]]))
        check.close("rows of one token", loss, 0.0, scale=1.0, why="nothing predicts them.")
        loss.backward()
        check.close("their gradient", one.grad, torch.zeros(3, 1, 5), scale=1.0)
        labels = torch.tensor([[-100, 1, 2], [3, -100, 0]])
        check.unchanged("logits and labels", f, torch.randn(2, 3, 5, generator=gen), labels)
### END HIDDEN TESTS

# %% [markdown]
# What does the base model think of the house's answers before it is trained? The end token is the
# interesting one: no text that it has read ends in it.

# %% tags=["demo"]
@torch.no_grad()
def answer_costs(model, question) -> tuple[float, float]:
    """Your loss of a whole answer, and of its end token alone, in nats per token."""
    row = example_of(messages(question))
    ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
    only_end = labels.clone()
    only_end[:, :-1] = -100
    logits = model(ids)
    return sft_loss(logits, labels).item(), sft_loss(logits, only_end).item()


try:
    costs = torch.tensor([answer_costs(base, q) for q in asked.pairs[:40]]).mean(0)
    print(f"nats per token of 40 answers: {costs[0]:.2f}; of their end tokens alone: "
          f"{costs[1]:.2f} (a blind guess among 1,024: {math.log(1024):.2f})")
except NotImplementedError:
    print("Write exercises 1, 2 and 4 first; then run this cell again.")

# %% [markdown]
# ## 5. Packed rows ({points:packed_inputs}, 20 min)
#
# Dialogues are short, and half of a padded batch may be padding. **Packing** puts several of them
# into one row. Two things must then be said to the model: each document counts its positions **from
# 0**, and attention stays **within** a document, and causal. Both follow from one table that says
# which document each token belongs to, the segments.
#
# By hand, segments `4 4 4 7 7 −1` (the last place is padding):
#
# | positions | mask (a row for each query, `1` = may attend) |
# |--|--|
# | `0 1 2 0 1 0` | `100000` |
# | | `110000` |
# | | `111000` |
# | | `000100` |
# | | `000110` |
# | | `000001` |
#
# A document is a run of equal numbers. In `4 4 7 4` the last 4 begins a third document. Padding is
# a document like the others; a row of the mask without a single `1` would give a softmax of 0/0.
#
# **Common mistake:** positions that run on. The second document then looks like the middle of a
# text, and what the model has learned for position 0 is not used.
#
# <details><summary>Hint 1</summary>
#
# Where does a document begin? Where the number differs from the one on its left; and at place 0.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Number the documents of a row: `begins.cumsum(1)`. Two tokens may see each other if their numbers
# are equal. For positions you need the place where the latest document began.
#
# </details>
# <details><summary>Hint 3</summary>
#
# `segments.diff(prepend=segments[:, :1])` is (B, T) and not 0 where a document begins, but for
# place 0. `(begins * places).cummax(1).values` is the place of the latest beginning.
#
# </details>

# %% nbgrader={"solution": "packed_inputs"}
def packed_inputs(segments: Tensor) -> tuple[Tensor, Tensor]:
    """Positions and attention mask of rows that hold several documents.

    segments (B, T) of whole numbers -> positions (B, T) int64, mask (B, 1, T, T) bool, rows of the
    mask are queries. A document is a run of neighbours with equal numbers; a number that comes
    again later in the row is another document. Positions count from 0 in each document. A token
    may attend to itself and to what is before it in its document. Padding, -1, is a document
    like any other.
    """
    ### BEGIN SOLUTION
    begins = segments.diff(prepend=segments[:, :1]) != 0  # (B, T), False at place 0
    places = torch.arange(segments.shape[1], device=segments.device)
    positions = places - (begins * places).cummax(1).values
    number = begins.cumsum(1)
    return positions, (number[:, :, None] == number[:, None]).tril()[:, None]
    ### END SOLUTION


# %% nbgrader={"test": "packed_inputs_visible", "points": 6}
with check.question("packed_inputs_visible", packed_inputs) as f:
    positions, mask = f(torch.tensor([[4, 4, 4, 7, 7, -1]]))
    with check.part("positions", 3):
        check.close("4 4 4 7 7 −1", positions, torch.tensor([[0, 1, 2, 0, 1, 0]]),
                    why="from 0 in each document.")
        check.close("4 4 7 4", f(torch.tensor([[4, 4, 7, 4]]))[0], torch.tensor([[0, 1, 0, 0]]),
                    why="the last 4 is a document of its own.")
    with check.part("mask", 3):
        want = torch.tensor([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [1, 1, 1, 0, 0, 0],
                             [0, 0, 0, 1, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 0, 1]]).bool()
        check.close("4 4 4 7 7 −1", mask, want[None, None], why="causal within a document.")
        apart = f(torch.tensor([[4, 4, 7, 4]]))[1]
        check.close("4 4 7 4, the last 4", apart[0, 0, 3], [False, False, False, True],
                    why="it sees itself alone.")

# %% nbgrader={"test": "packed_inputs_hidden", "points": 4}
# Hidden checks: random rows place by place, several rows at once, attention of a packed document
# beside the document alone, other integer types, arguments.
### BEGIN HIDDEN TESTS
with check.question("packed_inputs_hidden", packed_inputs) as f:
    gen = check.generator()
    with check.part("random rows", 3):
        for B, T, dtype in ((3, 9, torch.int64), (1, 1, torch.int64), (2, 30, torch.int32),
                            (5, 12, torch.int64)):
            segments = torch.randint(-1, 3, (B, T), generator=gen).to(dtype)
            positions, mask = f(segments)
            want, sees = torch.zeros(B, T, dtype=torch.int64), torch.zeros(B, 1, T, T).bool()
            for b, row in enumerate(segments.tolist()):
                start = 0
                for t in range(T):
                    start = t if t and row[t] != row[t - 1] else start
                    want[b, t] = t - start
                    sees[b, 0, t, start : t + 1] = True
            check.close(f"B {B}, T {T}, positions", positions, want, scale=1.0)
            check.close(f"B {B}, T {T}, mask", mask, sees)
        check.unchanged("segments", f, segments)
    with check.part("packed and alone", 1):
        table, places = torch.randn(2, 12, 8, generator=gen).unbind(0)
        ids = torch.randint(12, (1, 10), generator=gen)
        positions, mask = f(torch.tensor([[5, 5, 5, 2, 2, 2, 2, 5, 5, -1]]))
        x = (table[ids] + places[positions])[:, None]  # (1, 1, T, C)
        packed = F.scaled_dot_product_attention(x, x, x, mask)
        for start, end in ((0, 3), (3, 7), (7, 9)):
            own = (table[ids[:, start:end]] + places[: end - start])[:, None]
            alone = F.scaled_dot_product_attention(own, own, own, is_causal=True)
            check.close(f"places {start} to {end - 1}", packed[:, :, start:end], alone,
                        why="as if it were alone.")
### END HIDDEN TESTS

# %% [markdown]
# Three real dialogues in one row, and each alone: the base model must give the same logits. Below,
# the mask as a picture. What would it show if all three were one document?

# %% tags=["demo"]
import matplotlib.pyplot as plt

plt.style.use(Path(glassbox.__file__).parent / "style.mplstyle")
try:
    rows = [render_chat(messages(q), course)[0] for q in asked.train[:3]]
    ids = torch.tensor([[i for row in rows for i in row]])[:, :128]
    numbers = [n for n, row in enumerate(rows) for _ in row]
    positions, mask = packed_inputs(torch.tensor([numbers])[:, :128])
    with torch.no_grad():
        x = base.token(ids) + base.position(positions)
        for block in base.blocks:
            x = block(x, mask)
        packed = base.head(base.norm(x))[0]
        second = slice(len(rows[0]), len(rows[0]) + len(rows[1]))
        alone, run_on = base(torch.tensor([rows[1]]))[0], base(ids)[0, second]
    print(f"largest difference of the second dialogue's logits from its own alone: "
          f"{(packed[second] - alone).abs().max():.1e}")
    print(f"without your mask and positions: {(run_on - alone).abs().max():.1f}")
    axes = plt.figure(figsize=(2.8, 2.8), layout="constrained").gca()
    axes.imshow(mask[0, 0], cmap="Greys", vmax=1.4)
    axes.set(xlabel="key", ylabel="query", title="who may see whom")
    plt.show()
except NotImplementedError:
    print("Write render_chat and packed_inputs first; then run this cell again.")

# %% [markdown]
# ## 6. A head that sorts ({points:ClassificationHead}, 15 min)
#
# Not every task wants a text. A ticket has to be sent to a team, and that is a choice among a few.
# A **classification head** is one linear map from the model's last hidden vectors to a number for
# each class. Which vector? The model is causal: only the **last** token has seen the whole text.
#
# By hand, one row of three tokens with vectors (1, 2), (3, 4), (5, 6), and the identity as the map:
#
# | attention_mask | vector that is read |
# |--|--|
# | `T T T` | (5, 6) |
# | `T T F`, padding at the right | (3, 4) |
# | `F T T`, padding at the left | (5, 6) |
#
# **Common mistake:** reading place −1. With padding at the right that is the vector of a pad token,
# and the answer then depends on what else is in the batch. **Another:** counting the real tokens
# and taking that place, which is wrong as soon as padding stands at the left.
#
# <details><summary>Hint 1</summary>
#
# For each row you need one number: the place of the last True.
#
# </details>
# <details><summary>Hint 2</summary>
#
# Number the places from 1 and put 0 where the mask is False. Where is the largest number?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `argmax(1)` gives the places, `hidden[torch.arange(B), places]` the vectors, (B, C). For a row
# without a True, put a 0 in place of its vector.
#
# </details>

# %% nbgrader={"solution": "ClassificationHead"}
class ClassificationHead(nn.Module):
    """A class for each text, from the vector of its last token.

    The constructor is given: one linear map with bias, called `out`.
    """

    def __init__(self, d_model: int, n_classes: int) -> None:
        super().__init__()
        self.out = nn.Linear(d_model, n_classes)

    def forward(self, hidden: Tensor, attention_mask: Tensor) -> Tensor:
        """`out` of the last real token of each row: logits, no softmax.

        hidden (B, T, C), attention_mask (B, T) bool, True at real tokens -> (B, n_classes).
        Padding may stand at the right or at the left, and what hidden holds there has no
        influence. A row without a real token is read as a vector of zeros: it gets the bias.
        """
        ### BEGIN SOLUTION
        places = torch.arange(1, hidden.shape[1] + 1, device=hidden.device)
        last = (attention_mask * places).argmax(1)  # (B,)
        read = hidden[torch.arange(len(hidden), device=hidden.device), last]  # (B, C)
        empty = ~attention_mask.any(1, keepdim=True)
        return self.out(read.masked_fill(empty, 0.0))
        ### END SOLUTION


# %% nbgrader={"test": "ClassificationHead_visible", "points": 6}
with check.question("ClassificationHead_visible", ClassificationHead) as f:
    head = f(2, 2)
    head.load_state_dict({"out.weight": torch.eye(2), "out.bias": torch.tensor([10.0, 20.0])})
    hidden = torch.tensor([[[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]])
    with check.part("which token", 4):
        for row, want, why in (([True, True, True], [15.0, 26.0], "(5, 6) and the bias (10, 20)."),
                               ([True, True, False], [13.0, 24.0], "the last real token: (3, 4)."),
                               ([False, True, True], [15.0, 26.0], "padding at the left: (5, 6)."),
                               ([True, False, False], [11.0, 22.0], "one token: (1, 2).")):
            mask = torch.tensor([row])
            seen = "".join("T" if real else "F" for real in row)
            check.close(f"mask {seen}", head(hidden, mask), [want], why=why)
    with check.part("rows of a batch", 2):
        masks = torch.tensor([[True, True, False], [False, False, False], [False, True, True]])
        check.close("three rows", head(hidden.repeat(3, 1, 1), masks),
                    [[13.0, 24.0], [10.0, 20.0], [15.0, 26.0]],
                    why="each row by its own mask; without a real token the bias is left.")

# %% nbgrader={"test": "ClassificationHead_hidden", "points": 4}
# Hidden checks: random rows with padding at either side, what stands in padding, gradients.
### BEGIN HIDDEN TESTS
with check.question("ClassificationHead_hidden", ClassificationHead) as f:
    gen = check.generator()
    with check.part("random rows", 3):
        for B, T, C, n in ((5, 7, 4, 3), (1, 1, 2, 1), (8, 12, 3, 6)):
            head = f(C, n)
            weight, bias = torch.randn(n, C, generator=gen), torch.randn(n, generator=gen)
            head.load_state_dict({"out.weight": weight, "out.bias": bias})
            hidden, mask = torch.randn(B, T, C, generator=gen), torch.zeros(B, T).bool()
            want = []
            for b in range(B):
                start = int(torch.randint(T, (), generator=gen))
                end = start + int(torch.randint(T - start + 1, (), generator=gen))
                mask[b, start:end] = True
                read = hidden[b, end - 1] if end > start else torch.zeros(C)
                want.append(weight @ read + bias)
            case = f"B {B}, T {T}, C {C}"
            check.close(case, head(hidden, mask), torch.stack(want), scale=1.0)
            filled = hidden.masked_fill(~mask[..., None], torch.nan)
            check.close(f"{case}, NaN in padding", head(filled, mask), torch.stack(want), scale=1.0,
                        why="padding has no influence.")
    with check.part("gradient", 1):
        head = f(3, 2)
        hidden = torch.randn(2, 4, 3, generator=gen).requires_grad_()
        mask = torch.tensor([[True, True, False, False], [False, True, True, True]])
        head(hidden, mask).square().sum().backward()
        moved = hidden.grad.abs().sum(-1) > 0
        check.close("tokens with a gradient", moved,
                    [[False, True, False, False], [False, False, False, True]],
                    why="only the token that is read.")
        check.that(all(p.grad is not None for p in head.parameters()),
                   "no gradient reaches the map.")
### END HIDDEN TESTS

# %% [markdown]
# ## 7. Two levels of classes ({points:hierarchical_loss}, 15 min)
#
# Tickets have a taxonomy: an area (mobile, fibre, core, billing), and below it the fault. One
# softmax over all faults would treat a fault of the wrong area like one of the right area. Instead
# the loss asks two questions in turn: which area, and, **given the right area**, which of its
# faults?
#
# $$\ell = -\ln p(\text{parent}) - \ln p(\text{child} \mid \text{its siblings})$$
#
# By hand: two areas, three faults of which 0 and 1 belong to area 0 and fault 2 to area 1; all
# logits are 0. For a ticket with fault 0 the loss is ln 2 + ln 2 = 1.386. For one with fault 2 it
# is ln 2 + 0: it has no siblings. The logits of faults of other areas play no part at all.
#
# A ticket has *one* fault here, so each level is a softmax. If several labels may hold at once
# ("fibre **and** billing"), each gets its own sigmoid; that is multi-label, another task.
#
# **Common mistake:** the second softmax over all faults. It then teaches the area a second time,
# and logits that are never compared in use are pushed apart.
#
# <details><summary>Hint 1</summary>
#
# `parent_of[child_targets]` is the right area of each ticket.
#
# </details>
# <details><summary>Hint 2</summary>
#
# A logit of −∞ takes no part in a softmax. Which entries of `child_logits` should be −∞?
#
# </details>
# <details><summary>Hint 3</summary>
#
# `parent_of != parents[:, None]` is (B, K): True at the faults of other areas.
#
# </details>

# %% nbgrader={"solution": "hierarchical_loss"}
def hierarchical_loss(
    parent_logits: Tensor, child_logits: Tensor, child_targets: Tensor, parent_of: Tensor
) -> Tensor:
    """Cross-entropy of the parent plus that of the child among its siblings, mean over the batch.

    parent_logits (B, P), child_logits (B, K), child_targets (B,) from 0 to K - 1, parent_of (K,),
    the parent of each child -> scalar. The parent's target follows from the child's. The second
    softmax runs over the children of the right parent only; the logits of others have no
    influence. A child without siblings costs nothing beyond its parent.
    """
    ### BEGIN SOLUTION
    parents = parent_of[child_targets]  # (B,)
    strangers = parent_of != parents[:, None]  # (B, K)
    among = child_logits.masked_fill(strangers, -torch.inf)
    return F.cross_entropy(parent_logits, parents) + F.cross_entropy(among, child_targets)
    ### END SOLUTION


# %% nbgrader={"test": "hierarchical_loss_visible", "points": 6}
with check.question("hierarchical_loss_visible", hierarchical_loss) as f:
    parent_of = torch.tensor([0, 0, 1])
    even = torch.zeros(1, 2), torch.zeros(1, 3)
    check.close("fault 0, all logits 0", f(*even, torch.tensor([0]), parent_of), 2 * math.log(2),
                why="ln 2 for the area, ln 2 for one of two siblings.")
    check.close("fault 2", f(*even, torch.tensor([2]), parent_of), math.log(2),
                why="ln 2 for the area; there is no sibling.")
    faults = torch.tensor([[0.0, math.log(3), 50.0]])
    check.close("logits 0, ln 3, 50, fault 1", f(even[0], faults, torch.tensor([1]), parent_of),
                math.log(2) + math.log(4 / 3), why="ln 2, and ¾ among siblings; 50 is a stranger.")
    areas = torch.tensor([[0.0, math.log(3)]]).repeat(2, 1)
    both = f(areas, torch.zeros(2, 3), torch.tensor([0, 2]), parent_of)
    check.close("two tickets, areas ¼ and ¾", both,
                (math.log(4) + math.log(2) + math.log(4 / 3)) / 2, why="the mean of the two.")

# %% nbgrader={"test": "hierarchical_loss_hidden", "points": 4}
# Hidden checks: random taxonomies ticket by ticket, the logits of strangers, large logits,
# gradients.
### BEGIN HIDDEN TESTS
with check.question("hierarchical_loss_hidden", hierarchical_loss) as f:
    gen = check.generator()
    for B, P, K in ((6, 3, 8), (1, 2, 2), (9, 4, 20), (3, 1, 5)):
        parent_of = torch.cat([torch.arange(P), torch.randint(P, (K - P,), generator=gen)])
        parent_of = parent_of[torch.randperm(K, generator=gen)]
        areas = torch.randn(B, P, generator=gen, dtype=torch.float64)
        faults = torch.randn(B, K, generator=gen, dtype=torch.float64) * 2
        right = torch.randint(K, (B,), generator=gen)
        costs = []
        for b, child in enumerate(right.tolist()):
            area = int(parent_of[child])
            own = (parent_of == area).nonzero()[:, 0]
            costs.append(areas[b].logsumexp(0) - areas[b, area]
                         + faults[b, own].logsumexp(0) - faults[b, child])
        case = f"B {B}, {P} areas, {K} faults"
        check.close(case, f(areas, faults, right, parent_of), torch.stack(costs).mean(), scale=1.0)
        strange = parent_of != parent_of[right][:, None]
        other = faults + 1e3 * strange * torch.rand(B, K, generator=gen)
        check.close(f"{case}, other strangers", f(areas, other, right, parent_of),
                    torch.stack(costs).mean(), scale=1.0, why="they have no influence.")
    areas = torch.randn(4, 2, generator=gen, dtype=torch.float64)
    faults = torch.randn(4, 5, generator=gen, dtype=torch.float64)
    parent_of, right = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([0, 1, 4, 2])
    check.gradient("gradient", lambda a, b: f(a, b, right, parent_of), areas, faults)
    check.unchanged("arguments", f, areas, faults, right, parent_of)
    wide = f(areas * 1e4, faults * 1e4, right, parent_of)
    check.that(wide.isfinite(), f"logits of ten thousands give {wide.item()}.")
### END HIDDEN TESTS

# %% [markdown]
# ## 8. Old texts among the new ({points:replay_mix}, 10 min)
#
# A model that is trained on answers alone forgets how to write anything else: nothing in the loss
# asks for it. The plainest cure is **replay**: some rows of the old texts among the new ones.
#
# The share is a share **of the mix**. By hand, 300 new examples and a share of 0.25: of the mix,
# 300 are to be three quarters, so the mix has 400 examples and 100 are old. With share 0.5 it is
# one old for each new one.
#
# **Common mistake:** a quarter of 300, which is 75. That is a fifth of the mix.
#
# <details><summary>Hint 1</summary>
#
# If the old ones are the share s, the new ones are 1 − s. How many old ones come with one new one?
#
# </details>
# <details><summary>Hint 2</summary>
#
# `torch.randperm(n, generator=generator)` is all numbers below n in a random order. Its beginning
# is a draw without repetition.
#
# </details>
# <details><summary>Hint 3</summary>
#
# Two draws: which old ones, and the order of the whole mix. A list takes a number of a tensor as
# an index.
#
# </details>

# %% nbgrader={"solution": "replay_mix"}
def replay_mix(new: list, old: list, share: float, generator: torch.Generator) -> list:
    """All new examples and some old ones, in random order; old ones are `share` of the mix.

    The number of old ones is rounded to the nearest whole number. They are drawn at random, none
    twice; if old has fewer, all of old is taken. share is at least 0 and below 1. Every new
    example is there once. The order of the mix is random, and the generator is the only source
    of randomness.
    """
    ### BEGIN SOLUTION
    wanted = round(len(new) * share / (1 - share))
    drawn = torch.randperm(len(old), generator=generator)[:wanted]
    mix = [*new, *(old[i] for i in drawn)]
    return [mix[i] for i in torch.randperm(len(mix), generator=generator)]
    ### END SOLUTION


# %% nbgrader={"test": "replay_mix_visible", "points": 3}
with check.question("replay_mix_visible", replay_mix) as f:
    gen, new, old = torch.Generator().manual_seed(1), list(range(300)), list(range(1000, 2000))
    mix = f(new, old, 0.25, gen)
    check.equal("300 new, share 0.25, length", len(mix), 400, why="100 of 400 are a quarter.")
    check.equal("its new examples", sorted(i for i in mix if i < 1000), new, why="each one once.")
    check.equal("different old ones", len({i for i in mix if i >= 1000}), 100, why="none twice.")
    check.that(mix != sorted(mix) and mix[:300] != new, "the mix is not in random order.")
    check.equal("share 0", sorted(f(new, old, 0.0, gen)), new, why="no old ones.")
    check.equal("3 old ones, share 0.5", sorted(f(new, old[:3], 0.5, gen)), [*new, *old[:3]],
                why="all that there are.")

# %% nbgrader={"test": "replay_mix_hidden", "points": 2}
# Hidden checks: other shares and lengths, which old ones are drawn, the order, generators used
# again.
### BEGIN HIDDEN TESTS
with check.question("replay_mix_hidden", replay_mix) as f:
    gen = check.generator()
    for n, share, want in ((10, 0.5, 10), (7, 0.75, 21), (100, 0.1, 11), (5, 0.9, 45), (0, 0.5, 0),
                           (1, 0.2, 0), (2, 0.3, 1)):
        mix = f(list(range(n)), list(range(1000, 1200)), share, gen)
        case = f"{n} new, share {share}"
        check.equal(f"{case}, new ones", sorted(i for i in mix if i < 1000), list(range(n)))
        check.equal(f"{case}, old ones", len({i for i in mix if i >= 1000}), want)
        check.equal(f"{case}, length", len(mix), n + want)
    check.equal("no old ones", sorted(f([1, 2], [], 0.5, gen)), [1, 2])
    new, old = list(range(40)), list(range(1000, 1040))
    mixes = check.there(drills.repeat, replay_mix, 400, new, old, 0.2, gen)
    for value in (1000, 1017, 1039):  # 10 of 40 are drawn: a quarter, five sigma are 0.11
        share = sum(value in mix for mix in mixes) / 400
        check.that(0.14 < share < 0.36, f"old example {value - 1000} of 40 is in {share:.0%} of "
                   "the mixes; all are equally likely, 25 %.")
    first = sum(mix[0] >= 1000 for mix in mixes) / 400  # a fifth: five sigma are 0.1
    check.that(0.1 < first < 0.3, f"{first:.0%} of the mixes begin with an old example; 20 % do "
               "in a random order.")
    early = sum(mix.index(7) < 25 for mix in mixes) / 400  # half: five sigma are 0.125
    check.that(0.37 < early < 0.63, "a new example is not equally likely in both halves of a mix.")
    check.that(len({tuple(mix) for mix in mixes}) > 390, "mixes of one generator repeat.")
    a = f(new, old, 0.4, torch.Generator().manual_seed(5))
    torch.manual_seed(77)
    check.equal("the same generator state", f(new, old, 0.4, torch.Generator().manual_seed(5)), a,
                why="the generator is the only randomness.")
    kept = [check.there(drills_sft.first_after, replay_mix, new, old, 0.4, gen),
            check.there(drills_sft.second_after, replay_mix, new, old, 0.4, gen)]
    check.equal("new and old after a call", kept, [new, old], why="arguments are not changed.")
### END HIDDEN TESTS

# %% [markdown]
# ## 9. What was forgotten ({points:forgetting_score}, 5 min)
#
# To speak of forgetting one needs a measurement from **before**. The score is the plainest one:
# what each task has lost. Positive means forgotten; a task that got better has a negative score,
# and that is worth seeing too.
#
# By hand: next words 0.8 before and 0.5 after, 0.3 forgotten; format 0 before and 1 after, −1.
#
# **Common mistake:** after minus before, so that a large number looks like success.
#
# <details><summary>Hint 1</summary>
#
# One number for each task of `before`.
#
# </details>
# <details><summary>Hint 2</summary>
#
# `before.items()` gives names and values; `after[name]` raises KeyError by itself.
#
# </details>
# <details><summary>Hint 3</summary>
#
# A dict comprehension: `{name: ... for name, value in before.items()}`.
#
# </details>

# %% nbgrader={"solution": "forgetting_score"}
def forgetting_score(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    """How much each task has lost: the measure before, minus the measure after.

    Measures are like accuracy: higher is better. Positive means forgotten, negative means
    improved; nothing is cut off or divided. The keys are those of before, in their order; a task
    that after does not have raises KeyError, and what only after has is left out.
    """
    ### BEGIN SOLUTION
    return {task: value - after[task] for task, value in before.items()}
    ### END SOLUTION


# %% nbgrader={"test": "forgetting_score_visible", "points": 3}
with check.question("forgetting_score_visible", forgetting_score) as f:
    lost = f({"words": 0.75, "format": 0.0}, {"words": 0.5, "format": 1.0})
    check.equal("tasks", list(lost), ["words", "format"], why="those of before, in their order.")
    check.close("words, 0.75 to 0.5", lost["words"], 0.25, why="0.25 forgotten, not a third.")
    check.close("format, 0 to 1", lost["format"], -1.0, why="learned: negative.")
    check.raises("a task that is missing after", KeyError, f, {"words": 0.75}, {"format": 1.0},
                 why="what was not measured again is not known.")

# %% nbgrader={"test": "forgetting_score_hidden", "points": 2}
# Hidden checks: random measures, tasks that only one side has, order, no tasks.
### BEGIN HIDDEN TESTS
with check.question("forgetting_score_hidden", forgetting_score) as f:
    gen = check.generator()
    names = ["area", "words", "digits", "format", "calls"]
    for n in (1, 3, 5):
        first, second = torch.rand(2, n, generator=gen, dtype=torch.float64).tolist()
        order = torch.randperm(n, generator=gen).tolist()
        before = dict(zip(names, first))
        after = {names[i]: second[i] for i in order} | {"new task": 0.5}
        lost = f(before, after)
        check.equal(f"{n} tasks, keys", list(lost), names[:n])
        for name, a, b in zip(names, first, second):
            check.close(f"{n} tasks, {name}", lost[name], a - b, scale=1.0)
        missing = {name: value for name, value in after.items() if name != names[n - 1]}
        check.raises(f"{n} tasks, one missing", KeyError, f, before, missing)
    check.equal("no tasks", f({}, {"words": 0.5}), {})
### END HIDDEN TESTS

# %% [markdown]
# ## How far you are
#
# The table lists your visible checks. Run it whenever you like.

# %% tags=["demo"]
check.summary()

# %% [markdown]
# ## From completing to answering
#
# No points from here on; everything below runs on *your* functions. The invented operator Northline
# has 20 error codes and 12 plans. The base model has read notes and calls about all of them.
# Customers ask about them in 16 ways each; 320 questions with their answers are for training, and
# 96 are held out: the same codes and plans, in combinations with phrasings that are never trained.
#
# An answer is in **format** if it has the house's form and ends by itself, and **right** if what it
# says is true as well. The base model knows the facts and not the form. Each training question is
# there twice, alone and as the first of two in one dialogue, so that the model learns from both
# answers of a dialogue and is not lost when a customer goes on.
#
# Before you run it, predict: what share of its answers is in format after 126 steps of 12 rows?
# And the *next words* of notes and calls that it has not read: what share of those does the base
# guess right, and what share will be left?

# %% tags=["demo"]
from tqdm.auto import tqdm

from glassbox.models import GPT

STEPS, MIX_STEPS, SHARE = 126, 140, 0.1  # answers alone; with replay, and how much of it


def train(model: GPT, examples: list[dict[str, list[int]]], steps: int, rows: int = 12,
          peak: float = 2e-3, seed: int = 0) -> list[float]:
    """Fine-tune all weights in place: your collate and your sft_loss; the losses.

    The rate climbs for 20 steps and falls to 0 along a cosine. Rows are drawn in a new order in
    each pass over the examples.
    """
    gen, queue, losses = torch.Generator().manual_seed(seed), [], []
    optimizer = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=0.1)
    model.train()
    for step in tqdm(range(steps)):
        if len(queue) < rows:
            queue += torch.randperm(len(examples), generator=gen).tolist()
        drawn = [examples[i] for i in queue[:rows]]
        del queue[:rows]
        batch = collate(drawn, course.pad_id, model.config.context_len)
        loss = sft_loss(model(batch["input_ids"]), batch["labels"])
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        fall = (1 + math.cos(math.pi * max(0, step - 20) / (steps - 20))) / 2
        optimizer.param_groups[0]["lr"] = peak * min((step + 1) / 20, fall)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    model.eval()
    return losses


def rows_of(train_questions: list) -> list[dict[str, list[int]]]:
    """Each question alone, and each with the next one in a dialogue of two."""
    following = [*train_questions[1:], train_questions[0]]
    dialogues = [messages(q) for q in train_questions]
    dialogues += [messages(a) + messages(b) for a, b in zip(train_questions, following)]
    return [example_of(dialogue) for dialogue in dialogues]


old_texts = [{"input_ids": ids, "labels": ids} for ids, _ in assistant.base_rows(300, 48)]
unread = torch.tensor([ids for ids, _ in assistant.base_rows(96, 64, seed=assistant.HELD_OUT_SEED)])


@torch.no_grad()
def measure(model: GPT, held_out: list) -> dict[str, float]:
    """Shares: of answers in format, right, right to a second question; of next words guessed."""
    pairs = list(zip(held_out[::2], held_out[1::2]))
    said = assistant.replies(model, [messages(a) + messages(b)[:-1] for a, b in pairs])
    second = [grade(b, *answer).right for (_, b), answer in zip(pairs, said)]
    guessed = model(unread[:, :-1]).argmax(-1) == unread[:, 1:]
    return assistant.score(model, held_out) | {
        "second right": sum(second) / len(second), "next words": guessed.float().mean().item()}


tuned, before, after = None, {}, {}
try:
    rows = rows_of(asked.train)
    before = measure(base, asked.pairs)
    tuned = assistant.base()
    losses = train(tuned, rows, STEPS)
    after = measure(tuned, asked.pairs)
    print(f"loss of the first step {losses[0]:.2f}, of the last {losses[-1]:.3f}")
    for name in before:
        print(f"{name:>12}: {before[name]:.2f} -> {after[name]:.2f}")
    for question in asked.pairs[:3]:
        print("\nCustomer:", question.text)
        for model, who in ((assistant.base(), "base "), (tuned, "yours")):
            text, ended = assistant.reply(model, messages(question)[:-1])
            print(f"  {who} {text[:110]!r}{'' if ended else ' ... it does not stop'}")
except NotImplementedError:
    print("Write render_chat, sft_labels, collate and sft_loss first.")

# %% [markdown]
# The threshold of this lab is a format of at least 0.9 from at most 0.1. Five seeds, which draw the
# split of the questions and the order of the rows, began with a format of 0.00 and ended with a
# format of 1.00 and a share of right answers of 0.85 to 0.95; of second questions 0.77 to 0.94 were
# answered right.
#
# ## What it forgot, and what replay gives back
#
# Nothing in the loss asked the model to go on writing notes and calls. Your `forgetting_score`
# shows what that cost, and your `replay_mix` lowers it: one row in ten is an old text now, in
# which every token is trained. What does replay cost? Look at the share of right answers.

# %% tags=["demo"]
kept = None
try:
    if before:
        mix = replay_mix(rows, old_texts, SHARE, torch.Generator().manual_seed(0))
        kept = assistant.base()
        train(kept, mix, MIX_STEPS)
        with_replay = measure(kept, asked.pairs)
        lost = forgetting_score(before, after), forgetting_score(before, with_replay)
        print("lost (negative: won)   answers alone   with replay")
        for name in before:
            print(f"{name:>20} {lost[0][name]:15.2f} {lost[1][name]:13.2f}")
except NotImplementedError:
    print("Write replay_mix and forgetting_score first.")

# %% [markdown]
# In the five seeds, answers alone lost 0.35 to 0.36 of the next words, with replay 0.05 to 0.06.
# The model saw about as many rows of questions as before, in 140 steps for 126, and ended with a
# share of right answers of 0.72 to 0.80.
#
# ## Sort tickets
#
# The same base model, its weights frozen, and your two heads on its last hidden vector: the area of
# an error (four) and its code (twenty), taught by your `hierarchical_loss`. A head has few weights,
# so this takes seconds.

# %% tags=["demo"]
from glassbox.telecom.facts import ERRORS

areas = sorted({error.area for error in ERRORS})
codes = [error.code for error in ERRORS]
parent_of = torch.tensor([areas.index(error.area) for error in ERRORS])


@torch.no_grad()
def read_tickets(some: list) -> tuple[Tensor, Tensor, Tensor]:
    """Hidden vectors (B, T, C), which are real (B, T), and the codes asked about (B,)."""
    texts = [[course.bos_id, *course.encode(q.text)] for q in some]
    batch = collate([{"input_ids": ids, "labels": ids} for ids in texts], course.pad_id, 128)
    return (base.hidden(batch["input_ids"]), batch["attention_mask"],
            torch.tensor([codes.index(q.key) for q in some]))


try:
    tickets, tests = ([q for q in part if q.kind == "error"] for part in (asked.train, asked.pairs))
    hidden, real, code = read_tickets(tickets)
    torch.manual_seed(0)
    area_head = ClassificationHead(base.config.d_model, len(areas))
    code_head = ClassificationHead(base.config.d_model, len(codes))
    weights = [*area_head.parameters(), *code_head.parameters()]
    optimizer = torch.optim.AdamW(weights, lr=3e-2)
    for _ in range(200):
        optimizer.zero_grad()
        loss = hierarchical_loss(area_head(hidden, real), code_head(hidden, real), code, parent_of)
        loss.backward()
        optimizer.step()
    hidden, real, code = read_tickets(tests)
    with torch.no_grad():
        area = area_head(hidden, real).argmax(-1)
        within = code_head(hidden, real).masked_fill(parent_of != area[:, None], -torch.inf)
    hits = [(area == parent_of[code]).float().mean(), (within.argmax(-1) == code).float().mean()]
    print(f"{len(tests)} tickets that were not trained: area right {hits[0]:.0%}, code right "
          f"{hits[1]:.0%}; by chance {1 / len(areas):.0%} and {1 / len(codes):.0%}. "
          f"{sum(w.numel() for w in weights):,} weights.")
except NotImplementedError:
    print("Write collate, ClassificationHead and hierarchical_loss first.")

# %% [markdown]
# ## Keep it, and talk to it
#
# The model goes into a file with its sizes, so that anything can load it: the window below, the
# terminal, the next labs. In a terminal, in the folder of this notebook, type
#
# ```text
# python -m glassbox.chat lab06_sft.safetensors
# ```
#
# Ask it what it was trained for ("What does E204 mean?", "How much is Smart?"), then something
# else. It knows one form of answer and gives it to any question, whether it knows or not.

# %% tags=["demo"]
from glassbox import chat, checkpoints

mine = kept or tuned
if mine is not None:
    checkpoints.save(mine, "lab06_sft.safetensors", lab="lab06_sft", replay=kept is not None)
    print(f"lab06_sft.safetensors: {Path('lab06_sft.safetensors').stat().st_size / 1e6:.1f} MB")
    print("Customer: How much is Smart?\nYours:    ", end="")
    assistant.reply(mine, [{"role": "user", "content": "How much is Smart?"}],
                    stream=lambda piece: print(piece, end="", flush=True))
    print()
    display(chat.widget(mine))

# %% [markdown]
# ## The same with a library
#
# TRL is a library that many people fine-tune with. It makes its own batch, its own labels and its
# own loss from the rows of your `render_chat`; the number must be yours. The course asks it through
# `glassbox.huggingface`, the only module that imports it. Nothing graded needs it.

# %% tags=["demo"]
from glassbox import huggingface

if absent := huggingface.missing("transformers", "trl"):
    print(absent)
else:
    try:
        some = [render_chat(messages(q), course) for q in asked.train[:8]]
        batch = collate([example_of(messages(q)) for q in asked.train[:8]], course.pad_id, 128)
        with torch.no_grad():
            ours = sft_loss(base(batch["input_ids"]), batch["labels"]).item()
        theirs = huggingface.sft_loss(base, some).item()
        print(f"your loss {ours:.6f}, TRL's {theirs:.6f}, difference {abs(ours - theirs):.1e}")
    except NotImplementedError:
        print("Write exercises 1 to 4 first.")

# %% [markdown]
# ## Scale: a real base model
#
# On a GPU this cell runs by itself; on a CPU it prints what it would need. M takes SmolLM2 with 135
# million parameters, L TinyLlama with 1.1 billion: base models that have read a large part of the
# public web, but no word about Northline. The rows come from *their* tokenizer and a template it
# can write, labels, batches and loss from you. Every weight is trained in 32 bits, with arithmetic
# in 16 where the GPU can.
#
# A model that is on your disk already is taken from there: give its folder in the environment
# variable `GLASSBOX_MODEL`. `run_record.json` keeps what was measured.
#
# Before you run it: it has never heard of E204. After three passes over 320 questions, does it
# answer in format, and is what it says right?

# %% tags=["demo"]
import os
import time

from glassbox import counting

large = scale.name == "L"
small_llama = counting.Model("SmolLM2-135M", "llama", 30, 576, 9, 49152, 8192, n_kv_heads=3,
                             d_ff=1536, tied=True)
tiny_llama = counting.Model("TinyLlama 1.1B", "llama", 22, 2048, 32, 32000, 2048, n_kv_heads=4,
                            d_ff=5632, tied=False)
shape = tiny_llama if large else small_llama
name = os.environ.get("GLASSBOX_MODEL") or ("TinyLlama/TinyLlama_v1.1" if large
                                            else "HuggingFaceTB/SmolLM2-135M")
row_count, width, n_passes = 16, 96, 3
n_weights = counting.count(shape)["total"]
# weights, gradients and two moments in 32 bits; what backward needs; logits and their gradient
n_bytes = (16 * n_weights + counting.activations(shape, row_count, width, flash=True)
           + 10 * row_count * width * shape.vocab_size)


def with_library_model() -> dict[str, float]:
    """Fine-tune a model of transformers with your functions; what was measured."""
    model, tokens = huggingface.load(name)
    model, half = model.float(), torch.cuda.is_bf16_supported(including_emulation=False)

    def scored(part: list) -> dict[str, float]:
        said = huggingface.replies(model, tokens, [messages(q)[:-1] for q in part])
        grades = [grade(q, text.strip(), ended) for q, (text, ended) in zip(part, said)]
        return {"format": sum(g.format for g in grades) / len(grades),
                "right": sum(g.right for g in grades) / len(grades)}

    made = [(torch.tensor(ids), torch.tensor(mask).bool()) for ids, mask in
            huggingface.rows([messages(q) for q in asked.train], tokens)]
    examples = [{"input_ids": ids.tolist(), "labels": sft_labels(ids, mask).tolist()}
                for ids, mask in made]
    first = scored(asked.pairs)
    rate = 2e-5 if large else 1e-4
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    gen, begun, losses = torch.Generator().manual_seed(0), time.perf_counter(), []
    for _ in range(n_passes):
        model.train()
        for some in torch.randperm(len(examples), generator=gen).split(row_count):
            batch = collate([examples[i] for i in some.tolist()], tokens.pad_token_id, 512)
            batch = {key: value.to(scale.device) for key, value in batch.items()}
            with torch.autocast(scale.device, torch.bfloat16, enabled=half):
                logits = model(input_ids=batch["input_ids"],
                               attention_mask=batch["attention_mask"]).logits
            loss = sft_loss(logits.float(), batch["labels"])
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    seconds, last = time.perf_counter() - begun, scored(asked.pairs)
    return {"parameters": sum(p.numel() for p in model.parameters()), "steps": len(losses),
            "seconds": seconds, "loss": losses[-1], "format before": first["format"],
            "format after": last["format"], "right after": last["right"],
            "memory GB": torch.cuda.max_memory_allocated() / 1e9}


if scale.name == "S":
    print(f"M would fine-tune {n_weights:,} parameters on {n_passes} x {len(asked.train)} "
          f"questions and needs about {n_bytes / 1e9:.1f} GB of GPU memory.")
else:
    scale.announce(f"{shape.name}, {row_count} x {width} tokens", n_bytes)
    try:
        measured = {"model": name} | with_library_model()
        print(*(f"{key:>22} {value:,.4g}" for key, value in measured.items() if key != "model"),
              sep="\n")
        print("Written to", scale.record("lab06_sft", measured))
    except NotImplementedError:
        print("Write sft_labels, collate and sft_loss first.")
    except (ImportError, FileNotFoundError) as error:
        print(error)
