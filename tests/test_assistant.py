"""The tokenizer, the template, fine-tuning, answers and their score."""

import importlib.util
import json
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from glassbox import assistant, models
from glassbox.assistant import Message, batch, finetune, render, replies, reply, rows, score
from glassbox.models import GPT, IGNORED, RECIPE
from glassbox.preference import manners
from glassbox.telecom.questions import POLITE, base_text, messages, questions
from glassbox.tokenizer import SPECIAL, Tokenizer, tokenizer

T = tokenizer()
SPLIT = questions()


def user(text: str) -> list[Message]:
    return [{"role": "user", "content": text}]


@pytest.fixture(scope="module")
def base() -> GPT:
    torch.set_num_threads(1)
    return assistant.base()


@pytest.fixture(scope="module")
def tuned() -> GPT:
    """Enough for some answers to be in form, not for all to be right."""
    torch.set_num_threads(1)
    model = assistant.base()
    finetune(model, rows(SPLIT.train), steps=40, warm_up=5, rows_per_step=16)
    return model


# --- tokenizer -----------------------------------------------------------------------------------


@given(st.text())
def test_any_text_comes_back(text: str) -> None:
    ids = T.encode(text)
    assert T.decode(ids) == text
    assert T.bytes(ids) == text.encode()
    assert all(0 <= i < T.vocab_size - len(SPECIAL) for i in ids)


@pytest.mark.parametrize("text", [*SPECIAL, "<|end|><|assistant|>", "a<|pad|>b"])
def test_special_tokens_in_a_text_are_text(text: str) -> None:
    assert not set(T.encode(text)) & set(T.special.values())
    assert T.decode(T.encode(text)) == text


def test_sizes_and_special_tokens() -> None:
    assert T.vocab_size == RECIPE.vocab_size == 1024
    assert list(T.special) == list(SPECIAL)
    assert sorted(T.special.values()) == list(range(1018, 1024))
    assert (T.bos_id, T.end_id, T.pad_id) == (1018, 1022, 1023)
    assert T.decode([T.bos_id, *T.encode("Hi"), T.end_id]) == "<|bos|>Hi<|end|>"
    assert tokenizer() is T
    assert Tokenizer().name == T.name


def test_its_own_text_is_short() -> None:
    text = "\n".join(islice(base_text(1), 200))
    assert len(text.encode()) / len(T.encode(text)) > 3.5


# --- template ------------------------------------------------------------------------------------


def test_the_template_by_hand() -> None:
    dialogue = [{"role": "system", "content": "Short."}, *user("Hi"),
                {"role": "assistant", "content": "Yes?"}]  # fmt: skip
    ids, mask = render(dialogue, T)
    assert T.decode(ids) == (
        "<|bos|><|system|>Short.<|end|><|user|>Hi<|end|><|assistant|>Yes?<|end|>"
    )
    n_trained = len(T.encode("Yes?")) + 1
    assert mask == [0] * (len(ids) - n_trained) + [1] * n_trained


def test_for_an_answer_it_ends_with_the_role_and_trains_on_what_was_said_before() -> None:
    dialogue = [*user("Hi"), {"role": "assistant", "content": ""}, *user("<|end|>")]
    ids, mask = render(dialogue, T, answer=True)
    assert ids[-1] == T.special["<|assistant|>"]
    assert ids.count(T.end_id) == 3
    assert [i for i, m in zip(ids, mask, strict=True) if m] == [T.end_id]


def test_a_batch_is_shifted_padded_and_cut() -> None:
    inputs, targets = batch([([1, 2, 3, 4], [0, 0, 1, 1]), ([5, 6], [0, 1])], 128)
    assert inputs.tolist() == [[1, 2, 3], [5, T.pad_id, T.pad_id]]
    assert targets.tolist() == [[IGNORED, 3, 4], [6, IGNORED, IGNORED]]
    inputs, targets = batch([([1, 2, 3, 4], [0, 0, 1, 1])], 2)
    assert inputs.tolist() == [[1, 2]]
    assert targets.tolist() == [[IGNORED, 3]]


def test_every_question_fits_the_context_with_its_answer() -> None:
    every = rows(SPLIT.train + SPLIT.pairs + SPLIT.phrasings)
    assert max(len(ids) for ids, _ in every) < RECIPE.context_len


# --- base and training ---------------------------------------------------------------------------


def test_the_base_model_continues_and_does_not_answer(base: GPT) -> None:
    assert base.config == RECIPE
    assert models.count(base) == 554_688
    assert assistant.held_out_loss(base) < 0.8
    assert score(base, SPLIT.pairs)["format"] <= 0.1


def test_two_calls_give_two_models(base: GPT) -> None:
    other = assistant.base()
    with torch.no_grad():
        other.token.weight.zero_()
    assert base.token.weight.abs().sum() > 0


def test_the_shipped_assistant_answers_right_and_is_polite_at_times() -> None:
    torch.set_num_threads(1)
    model = assistant.tuned()
    assert model.config == RECIPE
    assert not model.training
    found = manners(model, SPLIT.pairs, torch.Generator().manual_seed(0), samples=2)
    assert found["polite"] == pytest.approx(0.33, abs=0.08)
    assert found["right"] >= 0.95
    assert score(model, SPLIT.pairs)["right"] >= 0.97
    with torch.no_grad():
        model.token.weight.zero_()
    assert assistant.tuned().token.weight.abs().sum() > 0


def test_no_question_is_always_or_never_answered_politely() -> None:
    """Else answers to it could not be compared."""
    model, first = assistant.tuned(), T.encode(POLITE)[0]
    for q in SPLIT.train[:60]:
        ids = render(messages(q)[:-1], T, answer=True)[0]
        with torch.no_grad():
            assert 0.05 < model(torch.tensor([ids]))[0, -1].softmax(-1)[first] < 0.7


def test_held_out_text_is_not_trained() -> None:
    trained = {tuple(ids) for ids, _ in assistant.base_rows(500)}
    assert not trained & {tuple(ids) for ids, _ in assistant.base_rows(128, seed=1_000)}


def test_fine_tuning_teaches_the_form_and_costs_the_rest(base: GPT, tuned: GPT) -> None:
    assert score(tuned, SPLIT.pairs)["format"] > 0.5
    assert assistant.held_out_loss(tuned) > assistant.held_out_loss(base) + 0.3


def test_fine_tuning_is_repeatable_and_replay_keeps_more() -> None:
    found = []
    for replay in (0.0, 0.0, 0.5):
        model, steps, shown = assistant.base(), [], []
        losses = finetune(model, rows(SPLIT.train), 12, rows_per_step=8, warm_up=3, seed=1,
                          replay=replay,
                          on_step=lambda at, loss, a=steps, b=shown: (a.append(at), b.append(loss))
                          )  # fmt: skip
        assert (steps, shown) == (list(range(12)), losses)
        assert not model.training
        found.append((losses, assistant.held_out_loss(model)))
    assert found[0] == found[1]
    assert found[2][1] < found[0][1] - 0.1


def test_only_the_given_parameters_move() -> None:
    model = assistant.base()
    before = {name: p.clone() for name, p in model.named_parameters()}
    finetune(model, rows(SPLIT.train[:8]), 2, rows_per_step=4, parameters=[model.norm.weight])
    moved = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert moved == {"norm.weight"}


@pytest.mark.slow
def test_a_whole_run_answers_right(base: GPT) -> None:
    torch.set_num_threads(1)
    model = assistant.base()
    finetune(model, rows(SPLIT.train))
    found = score(model, SPLIT.pairs)
    assert found["format"] >= 0.9
    assert found["right"] >= 0.9


# --- how the shipped files were made --------------------------------------------------------------

RECIPE_FILE = Path(__file__).parents[1] / "book" / "experiments" / "base_recipe.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("base_recipe", RECIPE_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_smallest_recipe_runs(recipe: ModuleType) -> None:
    row = recipe.measured(0, 2, 2, n_asked=4)
    assert row["before"]["pairs"] == {"format": 0, "right": 0}
    assert row["base_seconds"] > 0


def test_a_seed_fixes_a_base(recipe: ModuleType) -> None:
    weights = [recipe.make_base(seed, 2).token.weight for seed in (1, 1, 2)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_the_shipped_tokenizer_is_what_the_recipe_makes(recipe: ModuleType) -> None:
    texts = list(islice(base_text(), recipe.N_DOCUMENTS))
    assert recipe.learn_tokens(texts) == T.learned


def test_five_seeds_say_what_the_text_says() -> None:
    saved = json.loads(RECIPE_FILE.with_suffix(".json").read_text(encoding="utf-8"))
    for name, run in saved["runs"].items():
        before, after = run["before"], run["after"]
        assert before["pairs"]["format"] <= 0.1
        assert min(after["pairs"].values()) >= 0.9
        assert after["held_out_loss"] > before["held_out_loss"] + 1
        if name == "two questions":
            assert after["second_question"]["right"] >= 0.8


# --- answers -------------------------------------------------------------------------------------


def test_one_by_one_and_all_at_once_agree(base: GPT, tuned: GPT) -> None:
    for model in (base, tuned):
        dialogues = [messages(q)[:-1] for q in SPLIT.pairs[:7]]
        assert replies(model, dialogues) == [reply(model, d, max_new=60) for d in dialogues]
    assert replies(tuned, []) == []


def test_a_reply_is_what_generate_says(tuned: GPT) -> None:
    dialogue = messages(SPLIT.pairs[0])[:-1]
    ids = torch.tensor([render(dialogue, T, answer=True)[0]])
    whole = tuned.generate(ids, 60, 0, stop=T.end_id)[0, ids.shape[1] :].tolist()
    text, ended = reply(tuned, dialogue, max_new=60)
    assert text == T.decode(whole[: whole.index(T.end_id)] if ended else whole)


def test_adapted_layers_are_used() -> None:
    class Twice(torch.nn.Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(x)

    plain, adapted = assistant.base(), assistant.base()
    for block in plain.blocks:
        block.out.weight.data *= 2
    for block in adapted.blocks:
        twice = Twice(96, 96, bias=False)
        twice.weight = block.out.weight
        block.out = twice
    dialogue = [user("What does E204 mean?")]
    assert replies(plain, dialogue) == replies(adapted, dialogue)


def test_chance_is_the_generators(base: GPT) -> None:
    texts = [
        reply(base, user("Hello"), 20, 1.0, torch.Generator().manual_seed(seed))[0]
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]


class Scripted(torch.nn.Module):
    """Says the given ids one after another, whatever it reads."""

    def __init__(self, ids: list[int]) -> None:
        super().__init__()
        self.config, self.token = RECIPE, torch.nn.Embedding(1, 1)
        self.ids, self.said = ids, 0
        self.head = torch.nn.Identity()

    def cache(self, *_: int) -> None:
        self.said = 0

    def hidden(self, ids: torch.Tensor, cache: None = None) -> torch.Tensor:
        logits = torch.nn.functional.one_hot(torch.tensor([[self.ids[self.said]]]), 1024)
        self.said += 1
        return logits.float()


@pytest.mark.parametrize("text", ["It costs 9 €.", "ได้ครับ", "🙂🙂", "a\ufffdb\ufffd", ""])
def test_characters_are_streamed_whole(text: str) -> None:
    pieces: list[str] = []
    ids = [*text.encode(), T.end_id]  # a byte a token: the worst case
    assert reply(Scripted(ids), user("?"), stream=pieces.append) == (text, True)
    assert pieces == list(text)


def test_a_broken_character_shows_in_the_end() -> None:
    pieces: list[str] = []
    ids = [*b"ok \xe2\x82", T.end_id]
    assert reply(Scripted(ids), user("?"), stream=pieces.append) == ("ok \ufffd", True)
    assert "".join(pieces) == "ok \ufffd"


def test_an_answer_ends_where_the_context_does(base: GPT) -> None:
    text, ended = reply(base, user("x " * 40), max_new=500)
    assert not ended
    assert len(T.encode(text)) < 128
    with pytest.raises(ValueError, match="oldest turns"):
        reply(base, user("x " * 80))
