"""What examples, mask and template do to a fine-tuned model: one thing is changed in each run.

The usual run trains the course's base model on 320 pairs of question and answer. Others train on
fewer pairs, on fewer ways to ask, on answers of which a share is wrong, without some topics,
without the end token, or on the prompts as well. The usual model is also asked in templates that
it was not trained with. Each answers 96 pairs of topic and phrasing that were not trained
together, and 96 questions in phrasings that were not trained at all. Writes `chat_data.json`,
which chapter 4 shows. Numbers are of one seed and of one small model: they show that a thing
matters, and not how much elsewhere.

    python book/experiments/chat_data.py            # four to eight minutes
    python book/experiments/chat_data.py --smallest # a few steps, prints its row
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from random import Random

import torch
from tqdm import tqdm

from glassbox import assistant
from glassbox.models import GPT
from glassbox.telecom.questions import FORMS, Question, fact, grade, messages, questions
from glassbox.tokenizer import tokenizer

STEPS, ROWS, MAX_NEW = 140, 16, 60  # half the steps of lab 6
SPLIT = questions(seed=0)
Row = assistant.Row


# --- examples ----------------------------------------------------------------------------------


def fewer(n: int) -> list[Question]:
    """The first n of the training questions."""
    return SPLIT.train[:n]


def ways_to_ask(n: int) -> list[Question]:
    """Only questions in n of the 13 trained phrasings of a kind."""
    kept = {kind: sorted({q.phrasing for q in SPLIT.train if q.kind == kind})[:n]
            for kind in FORMS}  # fmt: skip
    return [q for q in SPLIT.train if q.phrasing in kept[q.kind]]


def wrong(share: float) -> list[Question]:
    """All questions; a share has the answer that belongs to another code or plan."""
    draw, asked = Random(0), list(SPLIT.train)
    for n in draw.sample(range(len(asked)), round(share * len(asked))):
        others = sorted({q.key for q in asked if q.kind == asked[n].kind} - {asked[n].key})
        told = fact(asked[n].kind, draw.choice(others))
        asked[n] = replace(asked[n], answer=told.replace(told.split()[0], asked[n].key, 1))
    return asked


def topics_out() -> tuple[list[Question], list[Question]]:
    """Training questions without every fourth code and plan, and test questions about those."""
    keys = {kind: sorted({q.key for q in SPLIT.train if q.kind == kind}) for kind in FORMS}
    out = {key for some in keys.values() for key in some[::4]}
    return ([q for q in SPLIT.train if q.key not in out],
            [q for q in SPLIT.pairs + SPLIT.phrasings if q.key in out])  # fmt: skip


def without_end(rows: Sequence[Row]) -> list[Row]:
    """The end token is read and not trained."""
    return [(ids, [*mask[:-1], 0]) for ids, mask in rows]


def prompts_too(rows: Sequence[Row]) -> list[Row]:
    """Every token is trained."""
    return [(ids, [1] * len(ids)) for ids, _ in rows]


# --- templates at the time of use --------------------------------------------------------------


def usual(text: str) -> list[int]:
    """As trained: bos, user, the text, end, assistant."""
    return assistant.render([{"role": "user", "content": text}], tokenizer(), answer=True)[0]


def two_bos(text: str) -> list[int]:
    """The template and the tokenizer both begin the row."""
    return [tokenizer().bos_id, *usual(text)]


def no_assistant(text: str) -> list[int]:
    """The token that gives the word to the assistant is left out."""
    return usual(text)[:-1]


def line_break(text: str) -> list[int]:
    """A line break after each role, as other templates have it."""
    t = tokenizer()
    return [t.bos_id, t.special["<|user|>"], *t.encode("\n" + text), t.end_id,
            t.special["<|assistant|>"], *t.encode("\n")]  # fmt: skip


def plain_words(text: str) -> list[int]:
    """The roles as words, with no special token but the first."""
    return [tokenizer().bos_id, *tokenizer().encode(f"User: {text}\nAssistant:")]


TEMPLATES = (usual, two_bos, no_assistant, line_break, plain_words)


def asked_in(model: GPT, template: Callable[[str], list[int]], asked: Sequence[Question]
             ) -> dict[str, float]:  # fmt: skip
    """Shares in the house form and right, for answers to prompts in some template."""
    prompts = sorted(((template(q.text), q) for q in asked), key=lambda pair: len(pair[0]))
    end, grades = tokenizer().end_id, []
    for _, group in groupby(prompts, key=lambda pair: len(pair[0])):
        ids, some = zip(*group, strict=True)
        new = model.generate(torch.tensor(ids), MAX_NEW, 0.0, stop=end)[:, len(ids[0]) :].tolist()
        for question, said in zip(some, new, strict=True):
            told = tokenizer().decode(said[: said.index(end)] if end in said else said)
            grades.append(grade(question, told, end in said))
    return {"format": sum(g.format for g in grades) / len(grades),
            "right": sum(g.right for g in grades) / len(grades)}  # fmt: skip


# --- runs ----------------------------------------------------------------------------------------


def tuned(rows: Sequence[Row], steps: int = STEPS) -> GPT:
    """The base model, fine-tuned on the rows."""
    model = assistant.base()
    assistant.finetune(model, rows, steps, rows_per_step=ROWS)
    return model


def measured(model: GPT, n_asked: int = 96) -> dict[str, float]:
    """Format and right answers on both held-out sets, and the loss on base text."""
    pairs = assistant.score(model, SPLIT.pairs[:n_asked])
    words = assistant.score(model, SPLIT.phrasings[:n_asked])
    found = {"format": pairs["format"], "pairs": pairs["right"], "phrasings": words["right"],
             "base_loss": assistant.held_out_loss(model)}  # fmt: skip
    return {name: round(value, 4) for name, value in found.items()}


def runs() -> list[tuple[str, str, list[Question], list[Row]]]:
    """What is changed, how, the questions to train on, and their rows."""
    rows, every = assistant.rows, SPLIT.train
    changed = [
        *[("pairs", str(n), fewer(n)) for n in (40, 160)],
        *[("ways to ask", str(n), ways_to_ask(n)) for n in (1, 3)],
        *[("wrong answers", f"{x:.0%}", wrong(x)) for x in (0.1, 0.3)],
    ]
    return [
        ("usual", "320 pairs", every, rows(every)),
        *[(what, setting, some, rows(some)) for what, setting, some in changed],
        ("mask", "end not trained", every, without_end(rows(every))),
        ("mask", "prompts trained too", every, prompts_too(rows(every))),
    ]


def main() -> None:
    """Run all and write, or show that it runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--smallest", action="store_true")
    torch.set_num_threads(1)
    if parser.parse_args().smallest:
        print(json.dumps(measured(tuned(runs()[0][3], steps=4), n_asked=8)))
        return
    found, asked_so = [], []
    for what, setting, some, rows in tqdm(runs()):
        model = tuned(rows)
        found.append({"what": what, "setting": setting, "n_rows": len(rows),
                      "n_topics": len({q.key for q in some}), **measured(model)})  # fmt: skip
        if what == "usual":
            asked_so = [{"template": template.__name__, "says": template.__doc__.splitlines()[0],
                         **asked_in(model, template, SPLIT.pairs)}
                        for template in TEMPLATES]  # fmt: skip
        if setting == "end not trained":
            said = assistant.replies(model, [messages(SPLIT.pairs[0])[:1]])[0][0]
            found[-1] |= {"question": SPLIT.pairs[0].text, "said": said}
    left, asked = topics_out()
    model = tuned(assistant.rows(left))
    topics = sorted({q.key for q in asked})
    unseen = {"topics": topics, "n_rows": len(left), "n_asked": len(asked),
              **{kind: assistant.score(model, [q for q in asked if q.kind == kind])
                 for kind in FORMS},
              "answers": [{"question": q.text, "said": said, "answer": q.answer}
                          for key in topics[:3]
                          for q in [next(q for q in asked if q.key == key)]
                          for said, _ in assistant.replies(model, [messages(q)[:1]])]}  # fmt: skip
    record = {
        "machine": "CPU, one thread",
        "torch": torch.__version__.split("+")[0],
        "steps": STEPS,
        "rows_per_step": ROWS,
        "runs": found,
        "topics_left_out": unseen,
        "templates": asked_so,
    }
    text = json.dumps(record, indent=1, ensure_ascii=False)
    Path(__file__).with_suffix(".json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
