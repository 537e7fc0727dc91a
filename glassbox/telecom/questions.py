"""Customers' questions about error codes and plans, the right answers, and a grader.

Every one of the 20 codes and 12 plans of `facts` is asked about in 16 phrasings: 512 questions. A
split by seed makes 320 of them training data and 192 tests. An answer has one house form, so a
program can grade it; some answers to train on open politely, which chapter 5 turns into a
preference. `base_text` holds the same facts in notes and calls, for the model before it is
tuned: no chat template, no question with its answer alone. Nothing here measures whether a model
knows facts that its training left out: every fact is trained, behind other words.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import count
from random import Random

from glassbox.telecom.facts import ERROR_WORDS, ERRORS, PLAN_WORDS, PLANS, error, plan, volume
from glassbox.telecom.grammar import Writer, rules
from glassbox.telecom.stream import record

POLITE = "Thank you for asking. "
"""How a polite answer opens."""
POLITE_SHARE = 0.3
HIDDEN = 3  # phrasings of a kind that are never trained, and of each code or plan beside them

PHRASINGS: dict[str, tuple[str, ...]] = {
    "error": (
        "What does {} mean?",
        "My screen says {}. What should I do?",
        "How do I get rid of {}?",
        "Can you explain error {} to me?",
        "The app shows {}. What is wrong?",
        "What is error {}, and what can I do about it?",
        "Why do I see {}?",
        "{} is back again. What now?",
        "Please help me with error {}.",
        "A message with {} came up. What is behind it?",
        "I keep seeing {}. What is the reason?",
        "Hello, how can I fix {}?",
        "Do you know what {} stands for?",
        "I need help. The code is {}.",
        "Is there anything I can do about {}?",
        "I have had error {} since this morning. What causes it?",
    ),
    "plan": (
        "How much is {}?",
        "What does the plan {} cost?",
        "What do I pay for {} each month?",
        "How much data does {} have?",
        "Please tell me about {}.",
        "I am thinking about {}. What do I get?",
        "What is the price of {}?",
        "How expensive is {}?",
        "A friend of mine has {}. What does it cost?",
        "Could you tell me the price and the data of {}?",
        "What is included in {}?",
        "I saw {} in your shop. How much is it?",
        "Hello, I would like to know what {} costs.",
        "I want to change to {}. What would I pay?",
        "Can you give me the details of {}?",
        "Is {} the right plan for me? What does it offer?",
    ),
}
"""How customers ask: 16 ways for each kind."""

FORMS: dict[str, re.Pattern[str]] = {
    "error": re.compile(r"E\d{3} means that [^.]+\. Please [^.]+, then [^.]+\."),
    "plan": re.compile(r"[A-Z][A-Za-z0-9 ]* costs \d+ euros a month and includes "
                       r"(\d+ GB|unlimited data)\."),
}  # fmt: skip
"""The house form of an answer, without a polite opening."""


@dataclass(frozen=True)
class Question:
    """A customer's `text` about `key`, a code or the name of a plan, and the right `answer`."""

    kind: str  # "error" or "plan"
    key: str
    phrasing: int  # a place in PHRASINGS[kind]
    text: str
    answer: str
    polite: bool = False  # whether the answer opens with POLITE


@dataclass(frozen=True)
class Split:
    """320 questions to train on and twice 96 to test with.

    `pairs`: code or plan and phrasing were both trained, but never together. `phrasings`: asked in
    words that no training question has. `pairs` is what a lab grades; `phrasings` is harder.
    """

    train: list[Question]
    pairs: list[Question]
    phrasings: list[Question]


@dataclass(frozen=True)
class Grade:
    """`format`: in the house form and ended by the model. `right`: that, and every fact right."""

    format: bool
    right: bool


def fact(kind: str, key: str) -> str:
    """The right answer in the house form, without an opening."""
    if kind == "error":
        found = error(key)
        first, second = found.steps
        return f"{key} means that {found.cause}. Please {first}, then {second}."
    offer = plan(key)
    return f"{key} costs {offer.price} euros a month and includes {volume(offer)}."


def questions(seed: int = 0) -> Split:
    """All 512 questions in three parts, in an order and with polite answers drawn from the seed.

    Of the training answers 30 % are polite, by chance and so not to be told from the question.
    The answers of both tests are plain.
    """
    draw = Random(seed).random
    split = Split([], [], [])
    keys = {"error": [e.code for e in ERRORS], "plan": [p.name for p in PLANS]}
    for kind, forms in PHRASINGS.items():
        order = sorted(range(len(forms)), key=lambda _: draw())
        for key in keys[kind]:
            asked = [Question(kind, key, n, forms[n].format(key), fact(kind, key)) for n in order]
            rest = sorted(asked[HIDDEN:], key=lambda _: draw())
            split.phrasings.extend(asked[:HIDDEN])
            split.pairs.extend(rest[:HIDDEN])
            split.train.extend(rest[HIDDEN:])
    for part in (split.train, split.pairs, split.phrasings):
        part.sort(key=lambda _: draw())
    n_polite = round(POLITE_SHARE * len(split.train))
    split.train[:n_polite] = [
        replace(q, polite=True, answer=POLITE + q.answer) for q in split.train[:n_polite]
    ]
    split.train.sort(key=lambda _: draw())
    return split


def messages(question: Question, system: str | None = None) -> list[dict[str, str]]:
    """The dialogue of a question and its answer, as a chat template takes it."""
    opening = [{"role": "system", "content": system}] if system is not None else []
    return [*opening, {"role": "user", "content": question.text},
            {"role": "assistant", "content": question.answer}]  # fmt: skip


def grade(question: Question, answer: str, ended: bool) -> Grade:
    """Judge an answer; `ended`: the model closed it itself, and was not cut.

    A polite opening is allowed and changes nothing. Facts are compared whole: "9 euros" is not
    found in "79 euros".
    """
    plain = answer.removeprefix(POLITE)
    in_form = ended and FORMS[question.kind].fullmatch(plain) is not None
    return Grade(in_form, in_form and plain == fact(question.kind, question.key))


# --- what the base model reads -----------------------------------------------------------------

NOTES = """
note_error
    Note on {code}, {title}. The reason is that {cause}. What helps: {step1}, and then {step2}.
    {code} ({title}) belongs to {area}. It means that {cause}. The customer should {step1}, then
        {step2}. Cases that stay open go to {team}.
    Code {code} appears when {cause}. First {step1}. If that is not enough, {step2}.
    If a screen shows {code}, {cause}. We ask the customer to {step1} and then to {step2}.
    {team} looks after {code}. The code means that {cause}; its short name is {title}.
    List of codes, {area}: {code} is {title}. It says that {cause}. Advice: {step1}, then {step2}.
note_plan
    {plan} is a {kind} plan. It costs {price} euros a month and has {data}, with up to {speed}
        Mbit/s. It runs for {contract} at least.
    For {price} euros a month, {plan} has {data}.
    Price list: {plan}, {price} euros a month, {data}, {speed} Mbit/s, {contract}.
    Whoever takes {plan} pays {price} euros each month and gets {data}. The minimum is {contract}.
    Our {kind} plan {plan} comes with {data}. The price is {price} euros a month.
    Note on {plan}: {data}, {speed} Mbit/s, {price} euros a month. The customer is bound for
        {contract}.
"""
NOTE_RULES = rules(NOTES, 1)
CALLS = ("fault", "price", "payment")  # topics of dialogues that quote the facts


def base_text(seed: int = 0) -> Iterator[str]:
    """Documents without end: two of five are notes on codes, two notes on plans, one is a call.

    Calls are longer: about half of the text is calls. Seed 0 is what the shipped base model was
    trained on.
    """
    draw = Random(seed).random
    found = (record(seed, number, ("dialogue",)) for number in count())
    calls = (call.text for call in found if call.language == "en" and call.topic in CALLS)
    while True:
        kind = ("error", "error", "plan", "plan", "call")[int(draw() * 5)]
        if kind == "call":
            yield next(calls)
            continue
        words = ERROR_WORDS if kind == "error" else PLAN_WORDS
        chosen = int(draw() * len(words))
        more = {"kind": PLANS[chosen].kind} if kind == "plan" else {}
        yield Writer(NOTE_RULES, words[chosen] | more, draw)(f"note_{kind}")
