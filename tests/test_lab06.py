"""What lab 6 rests on: equality with TRL, padding and packing that change nothing, each point of
the contracts, and the run that its text reports."""

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from autograder.bank import read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import assistant, check, drills_sft, huggingface
from glassbox.models import GPT, GPTConfig
from glassbox.telecom.questions import grade, messages, questions
from glassbox.tokenizer import tokenizer

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab06_sft"
SMALL = GPTConfig(n_layers=2, d_model=32, n_heads=4, vocab_size=50, context_len=64)


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab06_sft")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


def noisy(change: dict[str, Any], seed: int = 0) -> GPT:
    """A model with every parameter away from its start."""
    model = GPT(replace(SMALL, **change)).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=seeded(seed)))
    return model


def some_examples(*lengths: int, seed: int = 1) -> list[dict[str, list[int]]]:
    """Rows of random ids; the first third of each and one token in its middle have no label."""
    made = []
    for n in lengths:
        ids = torch.randint(1, 50, (n,), generator=seeded(seed + n)).tolist()
        labels = [i if t >= n // 3 and t != 2 * n // 3 else -100 for t, i in enumerate(ids)]
        made.append({"input_ids": ids, "labels": labels})
    return made


def as_rows(examples: list[dict[str, list[int]]]) -> list[tuple[list[int], list[bool]]]:
    return [(e["input_ids"], [label != -100 for label in e["labels"]]) for e in examples]


# --- equality with TRL ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def library_tokenizer() -> Any:
    pytest.importorskip("trl")
    return huggingface.to_tokenizer(tokenizer()._bpe)


DIALOGUES = {
    "one turn": ["user: What does E204 mean?", "assistant: The cable is cut."],
    "system": ["system: Be brief.", "user: Hello", "assistant: Hello, how can I help?"],
    "an empty system text": ["system: ", "user: Hi", "assistant: สวัสดี 😀"],
    "two turns": ["user: a", "assistant: b", "user:  c\n", "assistant:  d "],
    "an empty answer": ["user: a", "assistant: ", "user: b", "assistant: c"],
    "no answer yet": ["user: a", "assistant: b", "user: c"],
}


@pytest.mark.parametrize("name", DIALOGUES)
def test_ids_and_labels_are_trl_s(space: dict[str, Any], library_tokenizer: Any,
                                  name: str) -> None:  # fmt: skip
    dialogue = [dict(zip(("role", "content"), line.split(": ", 1), strict=True))
                for line in DIALOGUES[name]]  # fmt: skip
    ids, mask = space["render_chat"](dialogue, tokenizer())
    labels = space["sft_labels"](torch.tensor(ids), torch.tensor(mask))
    their_ids, their_labels = huggingface.sft_labels(dialogue, library_tokenizer)
    assert ids == their_ids.tolist()
    assert torch.equal(labels, their_labels)


def our_loss(space: dict[str, Any], model: Any, examples: list, pad: int = 0) -> Tensor:
    batch = space["collate"](examples, pad, SMALL.context_len)
    out = model(batch["input_ids"])
    return space["sft_loss"](getattr(out, "logits", out), batch["labels"])


@pytest.mark.parametrize("lengths", [(12,), (9, 30, 5, 17, 17), (40, 4, 4)])
@pytest.mark.parametrize("change", [{}, {"bias": False}, {"tied": False, "d_ff": 48}], ids=str)
def test_the_loss_is_trl_s(space: dict[str, Any], change: dict, lengths: tuple) -> None:
    pytest.importorskip("trl")
    model, examples = noisy(change, seed=len(lengths)), some_examples(*lengths)
    theirs = huggingface.sft_loss(model, as_rows(examples))
    assert abs(our_loss(space, model, examples) - theirs) < 1e-5


def test_the_loss_of_a_llama_is_trl_s(space: dict[str, Any]) -> None:
    pytest.importorskip("trl")
    model, examples = huggingface.to_llama(SMALL, seed=5), some_examples(9, 30, 5)
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(3)
    ours, theirs = our_loss(space, model, examples), huggingface.sft_loss(model, as_rows(examples))
    assert abs(ours - theirs) < 1e-5
    assert abs(ours - math.log(50)) > 0.1  # no blind guess


def test_the_gradient_is_trl_s(space: dict[str, Any]) -> None:
    pytest.importorskip("trl")
    model, examples = noisy({}), some_examples(9, 30, 5)
    theirs = huggingface.to_gpt2(model)
    huggingface.sft_loss(theirs, as_rows(examples)).backward()
    our_loss(space, model, examples).backward()
    want = theirs.transformer.h[0].mlp.c_fc.weight.grad.T
    assert (model.blocks[0].ff_in.weight.grad - want).abs().max() < 1e-5


def test_the_packed_loss_is_trl_s(space: dict[str, Any]) -> None:
    """Our packed row costs what TRL's packed rows cost, and what the rows cost one by one."""
    pytest.importorskip("trl")
    model, examples = noisy({}), some_examples(9, 30, 5, 17)
    logits = packed_logits(space, model, examples)
    labels = torch.tensor([[i for e in examples for i in [-100, *e["labels"][1:]]]])
    ours = space["sft_loss"](logits, labels)
    for packing in ("bfd", None):
        assert abs(ours - huggingface.sft_loss(model, as_rows(examples), packing, 64)) < 1e-5


# --- properties ----------------------------------------------------------------------------------


def packed_logits(space: dict[str, Any], model: GPT, examples: list) -> Tensor:
    """All examples in one row, through the model's own blocks."""
    ids = torch.tensor([[i for e in examples for i in e["input_ids"]]])
    segments = torch.tensor([[n for n, e in enumerate(examples) for _ in e["labels"]]])
    positions, mask = space["packed_inputs"](segments)
    x = model.token(ids) + model.position(positions)
    for block in model.blocks:
        x = block(x, mask)
    return model.head(model.norm(x))


def test_packed_logits_are_those_alone(space: dict[str, Any]) -> None:
    model, examples = noisy({}), some_examples(9, 30, 5, 17)
    packed, start = packed_logits(space, model, examples)[0], 0
    for e in examples:
        alone = model(torch.tensor([e["input_ids"]]))[0]
        assert torch.allclose(packed[start : start + len(alone)], alone, atol=1e-5)
        start += len(alone)
    ids = torch.tensor([[i for e in examples for i in e["input_ids"]]])
    segments = torch.tensor([[n for n, e in enumerate(examples) for _ in e["labels"]]])
    assert torch.allclose(packed, model(ids, segments=segments)[0], atol=1e-5)


def test_padding_changes_no_loss(space: dict[str, Any]) -> None:
    model, examples = noisy({}), some_examples(9, 30, 5)
    total, count = 0.0, 0
    for e in examples:
        n = sum(label != -100 for label in e["labels"][1:])
        total, count = total + n * our_loss(space, model, [e]).item(), count + n
    for pad in (0, 7, 49):
        assert our_loss(space, model, examples, pad).item() == pytest.approx(
            total / count, abs=1e-6
        )


def test_what_is_padding_has_no_gradient(space: dict[str, Any]) -> None:
    batch = space["collate"](some_examples(9, 20, 5), 0, 64)
    logits = torch.randn(3, 20, 50, generator=seeded(0), requires_grad=True)
    space["sft_loss"](logits, batch["labels"]).backward()
    assert not logits.grad[~batch["attention_mask"]].any()


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 8, 100])
def test_truncation_keeps_a_part_of_the_answer_or_drops_the_row(space: dict[str, Any],
                                                                limit: int) -> None:  # fmt: skip
    examples = some_examples(9, 20, 5, 3, 12)
    batch = space["collate"](examples, 0, limit)
    kept = [e for e in examples if any(label != -100 for label in e["labels"][:limit])]
    assert len(batch["labels"]) == len(kept)
    assert all((row != -100).any() for row in batch["labels"])
    for row, labels, e in zip(batch["input_ids"], batch["labels"], kept, strict=True):
        n = min(limit, len(e["labels"]))
        assert row[:n].tolist() == e["input_ids"][:limit]
        assert labels[:n].tolist() == e["labels"][:limit]


# --- the contracts, point by point ---------------------------------------------------------------


def test_render_chat(space: dict[str, Any]) -> None:
    render, tok = space["render_chat"], drills_sft.ByteTokenizer()
    assert render([], tok) == ([256], [False])
    ids, mask = render([{"role": "assistant", "content": " <|end|>"}], tok)
    assert ids == [256, 259, *b" <|end|>", 260]
    assert mask == [False, False, *[True] * 9]
    assert tok.decode(ids) == "<|bos|><|assistant|> <|end|><|end|>"
    assert all(type(on) is bool for on in mask)


def test_render_chat_is_the_course_s_template(space: dict[str, Any]) -> None:
    for question in questions().train[:40]:
        ids, mask = space["render_chat"](messages(question), tokenizer())
        theirs = assistant.render(messages(question), tokenizer())
        assert (ids, [int(on) for on in mask]) == (list(theirs[0]), [int(on) for on in theirs[1]])


def test_sft_labels_keeps_the_type(space: dict[str, Any]) -> None:
    ids = torch.tensor([3, 4], dtype=torch.int32)
    labels = space["sft_labels"](ids, torch.tensor([False, True]))
    assert labels.dtype == torch.int32
    assert labels.tolist() == [-100, 4]


def test_collate_of_nothing(space: dict[str, Any]) -> None:
    for examples in ([], [{"input_ids": [1, 2], "labels": [-100, -100]}]):
        batch = space["collate"](examples, 0, 8)
        assert {key: tuple(t.shape) for key, t in batch.items()} == dict.fromkeys(batch, (0, 0))
        assert [t.dtype for t in batch.values()] == [torch.int64, torch.int64, torch.bool]


def test_sft_loss_with_nothing_to_train(space: dict[str, Any]) -> None:
    for shape in ((2, 3, 5), (2, 1, 5)):
        logits = torch.randn(shape, generator=seeded(0), requires_grad=True)
        loss = space["sft_loss"](logits, torch.full(shape[:2], -100))
        assert loss.item() == 0
        loss.backward()
        assert not logits.grad.any()


def test_packed_inputs_of_padding_and_numbers_used_again(space: dict[str, Any]) -> None:
    positions, mask = space["packed_inputs"](torch.tensor([[3, 3, 5, 3, -1, -1]]))
    assert positions.tolist() == [[0, 1, 0, 0, 0, 1]]
    assert mask.sum(-1).tolist() == [[[1, 2, 1, 1, 1, 2]]]
    assert positions.dtype == torch.int64
    assert mask.dtype == torch.bool


def test_classification_head_reads_the_last_real_token(space: dict[str, Any]) -> None:
    head = space["ClassificationHead"](4, 3)
    x = torch.randn(1, 5, 4, generator=seeded(0))
    for mask in ([0, 0, 1, 1, 0], [1, 1, 1, 1, 0], [0, 0, 0, 1, 0]):
        assert torch.equal(head(x, torch.tensor([mask]).bool()), head.out(x[:, 3]))
    nothing = head(x * torch.nan, torch.zeros(1, 5, dtype=torch.bool))
    assert torch.equal(nothing[0], head.out.bias)


def test_a_child_of_another_parent_costs_the_same_whatever_its_logits(
    space: dict[str, Any],
) -> None:
    loss, parent_of = space["hierarchical_loss"], torch.tensor([0, 0, 1, 1])
    areas, faults = torch.randn(1, 2, generator=seeded(0)), torch.randn(1, 4, generator=seeded(1))
    want = loss(areas, faults, torch.tensor([1]), parent_of)
    for strange in (-50.0, 0.0, 50.0):
        faults[0, 2] = strange
        assert torch.equal(loss(areas, faults, torch.tensor([1]), parent_of), want)
    probability = areas.softmax(-1)[0, 0] * faults[0, :2].softmax(0)[1]
    assert want.item() == pytest.approx(-probability.log().item(), rel=1e-5)


def test_replay_mix(space: dict[str, Any]) -> None:
    mix = space["replay_mix"](list("abcdef"), list(range(50)), 0.4, seeded(0))
    assert sorted(i for i in mix if isinstance(i, str)) == list("abcdef")
    assert len(mix) == 10
    assert len(set(mix)) == 10
    assert mix == space["replay_mix"](list("abcdef"), list(range(50)), 0.4, seeded(0))


def test_forgetting_score(space: dict[str, Any]) -> None:
    score = space["forgetting_score"]
    lost = score({"a": 0.25, "b": 0.5}, {"b": 1.0, "a": 0.0, "c": 0.5})
    assert list(lost.items()) == [("a", 0.25), ("b", -0.5)]
    with pytest.raises(KeyError):
        score({"a": 1.0}, {})


# --- tests that draw -----------------------------------------------------------------------------


def test_right_mixes_pass_with_any_seed(lab: Lab, space: dict[str, Any],
                                        monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    right = [v.make for v in read_bank(COURSE, lab)["replay_mix"].right]
    for seed in range(12):
        monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
        for version in (space["replay_mix"], *right):
            exec(lab.cell("replay_mix_hidden").source, space | {"replay_mix": version})


# --- drills --------------------------------------------------------------------------------------


def test_the_byte_tokenizer_has_the_course_s_interface() -> None:
    tok = drills_sft.ByteTokenizer()
    assert list(tok.special) == list(tokenizer().special)
    assert tok.decode(tok.encode("ä <|end|>")) == "ä <|end|>"
    assert (tok.bos_id, tok.end_id, tok.pad_id) == (256, 260, 261)
    assert tok.decode([260, 72, 999]) == "<|end|>H\ufffd"


def test_what_a_call_does_to_its_arguments_is_seen() -> None:
    def spoils(a: list, b: list) -> None:
        a.pop()
        b.append(1)

    a, b = [1, 2], [3]
    assert drills_sft.first_after(spoils, a, b[:]) == [1]
    assert drills_sft.second_after(spoils, a[:], b) == [3, 1]
    assert (a, b) == ([1, 2], [3])


def test_a_loss_without_a_gradient_is_told(space: dict[str, Any]) -> None:
    logits, labels = torch.randn(1, 3, 4, generator=seeded(0)), torch.tensor([[-100, 1, 2]])
    loss, carries, grad = drills_sft.loss_and_gradient(space["sft_loss"], logits, labels)
    assert carries == 1
    assert grad.abs().sum() > 0
    with torch.no_grad():
        frozen = drills_sft.loss_and_gradient(lambda x, y: x.detach().sum(), logits, labels)
    assert frozen[1] == 0
    assert loss.item() == pytest.approx(space["sft_loss"](logits, labels).item())


# --- the run -------------------------------------------------------------------------------------


def test_the_threshold_held_in_five_of_five_seeds(lab: Lab) -> None:
    rows = json.loads((FOLDER / "five_seeds.json").read_text())
    assert [row["seed"] for row in rows] == list(range(5))
    for row in rows:
        assert row["before"]["format"] <= 0.1
        for after in ("after", "with_replay"):
            assert row[after]["format"] >= 0.9
        assert row["forgotten"] > 0.1
        assert row["forgotten_with_replay"] < row["forgotten"] / 2


def test_the_text_tells_what_the_five_seeds_gave(lab: Lab) -> None:
    rows = json.loads((FOLDER / "five_seeds.json").read_text())

    def span(*keys: str) -> str:
        values = [row[keys[0]][keys[1]] if len(keys) > 1 else row[keys[0]] for row in rows]
        low, high = f"{min(values):.2f}", f"{max(values):.2f}"
        return low if low == high else f"{low} to {high}"

    told = " ".join(cell_with(lab, "The threshold of this lab").split())
    assert f"began with a format of {span('before', 'format')} and ended" in told
    assert (f"ended with a format of {span('after', 'format')} and a share of right answers of "
            f"{span('after', 'right')}; of second questions "
            f"{span('after', 'second_right')} were answered right.") in told  # fmt: skip
    told = " ".join(cell_with(lab, "In the five seeds").split())
    assert (f"lost {span('forgotten')} of the next words, with replay "
            f"{span('forgotten_with_replay')}.") in told  # fmt: skip
    assert f"a share of right answers of {span('with_replay', 'right')}." in told


@pytest.mark.slow
def test_the_base_becomes_an_assistant(lab: Lab, space: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    names = space | {"course": tokenizer(), "base": assistant.base()}
    for mark in ("def example_of(", "def train(", "kept = None"):
        exec(cell_with(lab, mark), names)
    assert names["before"]["format"] <= 0.1
    assert names["after"]["format"] >= 0.9
    assert names["with_replay"]["format"] >= 0.9
    assert names["lost"][1]["next words"] < names["lost"][0]["next words"] / 2


@pytest.mark.slow
def test_the_large_scale_runs_on_a_model_of_the_library(
    lab: Lab, space: dict[str, Any], library_tokenizer: Any, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """The cell for M, with a tiny random Llama in a folder and on the CPU."""
    config = replace(SMALL, vocab_size=tokenizer().vocab_size, context_len=256)
    huggingface.to_llama(config).save_pretrained(tmp_path)
    library_tokenizer.save_pretrained(tmp_path)
    monkeypatch.setenv("GLASSBOX_MODEL", str(tmp_path))
    names = space | {"scale": replace(space["scale"], name="M"), "huggingface": huggingface}
    few = replace(questions(), train=questions().train[:20], pairs=questions().pairs[:3])
    names |= {"asked": few, "messages": messages, "grade": grade}
    exec(cell_with(lab, "def with_library_model").split('if scale.name == "S"')[0], names)
    measured = names["with_library_model"]()
    assert measured["steps"] == 6
    assert measured["loss"] < math.log(1024) + 0.5
    assert measured["format before"] == 0
    assert measured["parameters"] == huggingface.to_llama(config).num_parameters()


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "our gradient at prompt positions", "never taught to stop",
        "The first answer token is not trained", "the last prompt token is trained",
        "Labels are moved in the collator and again in the loss.", "Mask by position, not by id",
        "the template and the tokenizer both",
        "Examples with zero trained tokens are left in the batch.",
        "Your loss shrinks when padding grows", "Packed documents start at position 0 again",
        "Intents exclude each other here; labels of multi-label do not.",
    ):  # fmt: skip
        assert words in told, words


def test_diagnoses_are_found_from_the_answers(space: dict[str, Any]) -> None:
    check.start("lab06_sft")

    def wrong(dialogue: list, tok: Any) -> tuple:
        ids, mask = space["render_chat"](dialogue, tok)
        return ids, [on and i != tok.end_id for i, on in zip(ids, mask, strict=True)]

    with pytest.raises(check.CheckFailed, match="never taught to stop"):
        check.mistakes("lab06_sft.render_chat", wrong)
