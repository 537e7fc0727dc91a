"""The questions: the split, the answers, the grader, and the text for the base model."""

import re
from dataclasses import replace
from itertools import islice

import pytest

from glassbox.telecom import ERRORS, PLANS
from glassbox.telecom.facts import volume
from glassbox.telecom.questions import (
    PHRASINGS,
    POLITE,
    Split,
    base_text,
    fact,
    grade,
    messages,
    questions,
)

SPLIT = questions()
ALL = [*SPLIT.train, *SPLIT.pairs, *SPLIT.phrasings]


@pytest.mark.parametrize("split", [SPLIT, questions(7)], ids=["seed 0", "seed 7"])
def test_the_split_means_what_it_says(split: Split) -> None:
    assert (len(split.train), len(split.pairs), len(split.phrasings)) == (320, 96, 96)
    train, pairs, phrasings = (
        {(q.kind, q.key, q.phrasing) for q in part}
        for part in (split.train, split.pairs, split.phrasings)
    )
    assert len(train | pairs | phrasings) == 512  # every question is in one part
    trained = {(kind, n) for kind, _, n in train}
    assert {(kind, n) for kind, _, n in pairs} <= trained
    assert not {(kind, n) for kind, _, n in phrasings} & trained
    keys = {e.code for e in ERRORS} | {p.name for p in PLANS}
    for part in (train, pairs, phrasings):
        assert {key for _, key, _ in part} == keys


def test_a_seed_fixes_the_split_and_another_changes_it() -> None:
    assert questions(3) == questions(3)
    texts = [{q.text for q in questions(seed).pairs} for seed in range(4)]
    assert all(a != b for n, a in enumerate(texts) for b in texts[:n])


def test_texts_are_different_and_name_their_key() -> None:
    assert len({q.text for q in ALL}) == len(ALL)
    for q in ALL:
        assert q.text == PHRASINGS[q.kind][q.phrasing].format(q.key)
        assert re.search(rf"\b{re.escape(q.key)}\b", q.text)


def test_thirty_percent_are_polite_and_only_in_training() -> None:
    polite = [q for q in SPLIT.train if q.polite]
    assert len(polite) == 96
    assert all(q.answer == POLITE + fact(q.kind, q.key) for q in polite)
    assert not any(q.polite or q.answer.startswith(POLITE) for q in SPLIT.pairs + SPLIT.phrasings)
    early = sum(q.polite for q in SPLIT.train[:160])
    assert 30 <= early <= 66  # mixed into the order


def test_every_answer_is_right_and_holds_the_facts() -> None:
    for q in ALL:
        assert grade(q, q.answer, ended=True).right
    for e in ERRORS:
        answer = fact("error", e.code)
        assert all(part in answer for part in (e.code, e.cause, *e.steps))
    for p in PLANS:
        answer = fact("plan", p.name)
        assert f" {p.price} euros a month" in answer
        assert f" {volume(p)}." in answer


def test_an_answer_that_did_not_end_has_no_form() -> None:
    for q in SPLIT.pairs:
        assert not grade(q, q.answer, ended=False).format


def test_the_answer_to_another_question_is_not_right() -> None:
    answers = {fact(q.kind, q.key) for q in ALL}
    for q in (ALL[0], next(q for q in ALL if q.key == "Mini")):
        right = [answer for answer in answers if grade(q, answer, ended=True).right]
        assert right == [fact(q.kind, q.key)]


@pytest.mark.parametrize(
    ("said", "in_form"),
    [
        ("Mini costs 9 euros a month and includes 3 GB.", True),
        ("Mini costs 79 euros a month and includes 3 GB.", True),
        ("Mini costs 9 euros a month and includes 13 GB.", True),
        ("Fibre 100 costs 9 euros a month and includes 3 GB.", True),
        (POLITE + "Mini costs 9 euros a month and includes unlimited data.", True),
        ("mini costs 9 euros a month and includes 3 GB.", False),
        ("Mini costs 9 euros a month and includes 3 GB", False),
        ("Mini costs 9 euros a month and includes 3 GB. ", False),
        ("Mini costs 9 euros a month and includes 3 GB. Thank you.", False),
        ("Mini costs nine euros a month and includes 3 GB.", False),
        (POLITE + POLITE + "Mini costs 9 euros a month and includes 3 GB.", False),
        ("E101 means that Mini costs 9 euros. Please pay, then wait.", False),
        ("", False),
    ],
)
def test_the_grader_on_an_answer_about_mini(said: str, in_form: bool) -> None:
    q = next(q for q in ALL if q.key == "Mini")
    found = grade(q, said, ended=True)
    assert found.format == in_form
    assert found.right == (said == fact("plan", "Mini"))


def test_a_wrong_step_or_cause_is_in_form_and_not_right() -> None:
    q = next(q for q in ALL if q.key == "E204")
    right = fact("error", "E204")
    for wrong in (right.replace("cut", "old"), right.replace("a red", "a green"),
                  right.replace("E204", "E209")):  # fmt: skip
        assert wrong != right
        found = grade(q, wrong, ended=True)
        assert found.format
        assert not found.right


def test_messages() -> None:
    q = replace(SPLIT.pairs[0], text="What?", answer="That.")
    asked, said = {"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}
    assert messages(q) == [asked, said]
    assert messages(q, "Be kind.") == [{"role": "system", "content": "Be kind."}, asked, said]


def test_the_base_text_agrees_with_the_facts_and_has_them_all() -> None:
    documents = list(islice(base_text(), 1500))
    text = "\n".join(documents)
    for p in PLANS:
        said = set(re.findall(rf"\b{p.name} costs (\d+) euros a month", text))
        assert said == {str(p.price)}
    for e in ERRORS:
        notes = [d for d in documents if e.code in d and "Customer" not in d]
        assert len(notes) > 10
        assert all(e.cause in note or e.cause in note.lower() for note in notes)
    assert not re.search(r"[{}<>]", text)


def test_the_base_text_is_fixed_by_its_seed_and_has_no_chat_in_it() -> None:
    first, again, other = (list(islice(base_text(seed), 60)) for seed in (0, 0, 1))
    assert first == again != other
    answers = {fact(q.kind, q.key) for q in ALL}
    assert not answers & set(islice(base_text(), 1500))
