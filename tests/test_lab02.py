"""What lab 2 rests on: probes that hold models, the given networks, checkpoints on disk."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autograder.course import Course
from autograder.lab import namespace, read_lab
from glassbox import bank
from glassbox.checkpoints import read_gpt2
from glassbox.parts import (
    BlockParts,
    Decoder,
    Encoder,
    GPTConfig,
    GPTParts,
    cubes,
)

SMALL = {"n_layers": 2, "d_model": 4, "n_heads": 2, "vocab_size": 5, "context_len": 6}


def diagnosis(cases: list, wrong, function) -> str | None:
    """What a learner is told whose `function` is tried on a probe that was written and read."""
    answers = [bank.answer(wrong, case) for case in cases]
    arrays = bank.pack(
        "lab", [], {"f": (cases, {"w": ("named", answers, list(range(len(cases))))})}
    )
    return bank.Fingerprints(arrays).diagnose("f", function)


def case(*args: object) -> dict:
    return {"args": list(args), "kwargs": {}}


def zero_biases(model: nn.Module) -> None:
    for name, p in model.named_parameters():
        p.zero_() if name.endswith("bias") else None


def zero_all(model: nn.Module) -> None:
    for p in model.parameters():
        p.zero_()


def test_a_change_to_a_model_is_an_answer() -> None:
    cases = [case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL)))]
    assert diagnosis(cases, zero_biases, lambda m: zero_biases(m)) == "named"
    assert diagnosis(cases, zero_biases, zero_all) is None
    assert diagnosis(cases, zero_biases, lambda m: None) is None


def test_weights_that_become_shared_are_an_answer() -> None:
    def share(model: nn.Module) -> None:
        model.blocks[1] = model.blocks[0]

    def copy(model: nn.Module) -> None:
        model.blocks[1].load_state_dict(model.blocks[0].state_dict())

    cases = [case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL)))]
    assert diagnosis(cases, share, share) == "named"
    assert diagnosis(cases, share, copy) is None


def test_functions_and_tuples_travel_in_probes() -> None:
    def wrong(f, pair: tuple[int, ...]) -> Tensor:
        return f(torch.ones(2)) + len((*pair, 3))

    cases = [case(bank.made(cubes), (1, 2))]
    assert diagnosis(cases, wrong, lambda f, pair: torch.tensor(5.0)) == "named"


def test_drawing_weights_leaves_the_learners_random_numbers_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    bank.answer(lambda m: nn.init.normal_(m.head.weight) and None,
                case(bank.made(GPTParts, bank.made(GPTConfig, **SMALL))))  # fmt: skip
    assert torch.equal(torch.rand(2), expected)


def test_a_probe_makes_nothing_from_outside_the_package() -> None:
    with pytest.raises(ValueError, match="glassbox only"):
        bank.answer(print, case(bank.Made("os:getcwd")))


def test_the_given_parts_have_no_forward_pass() -> None:
    for kind in (BlockParts, GPTParts):
        assert "forward" not in vars(kind)


@pytest.mark.parametrize("hidden", [0, 2])
def test_encoder_and_decoder_obey_masks(hidden: int) -> None:
    torch.manual_seed(0)
    encoder, decoder = Encoder(GPTConfig(**SMALL)), Decoder(GPTConfig(**SMALL))
    source, target = torch.randint(5, (2, 4)), torch.randint(5, (2, 3))
    seen = torch.ones(2, 1, 1, 4, dtype=torch.bool)
    seen[0, ..., hidden] = False
    causal = torch.ones(3, 3, dtype=torch.bool).tril()
    logits = decoder(target, encoder(source, seen), causal, seen)
    other = source.clone()
    other[:, hidden] = (other[:, hidden] + 1) % 5
    changed = decoder(target, encoder(other, seen), causal, seen)
    assert torch.equal(changed[0], logits[0])
    assert not torch.isclose(changed[1], logits[1]).all(-1).any()
    target[:, 2] = (target[:, 2] + 1) % 5
    later = decoder(target, encoder(source, seen), causal, seen)
    assert torch.equal(later[:, :2], logits[:, :2])
    assert not torch.isclose(later[:, 2], logits[:, 2]).all(-1).any()


# --- checkpoints -----------------------------------------------------------------------------

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of odd sizes, saved by the library, with noise on every weight."""
    from transformers import GPT2Config, GPT2LMHeadModel

    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(5)
    model = GPT2LMHeadModel(GPT2Config(n_layer=3, n_embd=12, n_head=3, n_positions=10, n_inner=20,
                                       vocab_size=256, bos_token_id=None,
                                       eos_token_id=None))  # fmt: skip
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape) * 0.1)
    model.save_pretrained(folder)
    return folder


def test_a_saved_gpt2_gives_the_librarys_logits_in_the_labs_own_code(saved: Path) -> None:
    from transformers import GPT2LMHeadModel

    lab = namespace(read_lab(Course(ROOT), "lab02_gpt"))
    checkpoint = read_gpt2(saved)
    model = lab["GPT"](checkpoint.config).eval()
    lab["load_gpt2"](model, checkpoint.state)
    ids = torch.tensor([checkpoint.encode("line down")])
    with torch.no_grad():
        ours, theirs = model(ids), GPT2LMHeadModel.from_pretrained(saved)(ids).logits
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert checkpoint.decode(ids[0].tolist()) == "line down"


def test_the_checkpoint_of_the_lab_has_learned_which_cure_belongs_to_a_fault() -> None:
    lab = namespace(read_lab(Course(ROOT), "lab02_gpt"))
    checkpoint = read_gpt2(ROOT / "labs" / "lab02_gpt" / "data" / "tiny_gpt2")
    model = lab["GPT"](checkpoint.config).eval()
    lab["load_gpt2"](model, checkpoint.state)
    assert sum(p.numel() for p in model.parameters()) == 124_672
    ids = checkpoint.encode("Ticket 1234: customer in Phuket reports noise on the line. On Friday ")
    for _ in range(20):
        with torch.no_grad():
            ids = [*ids, int(model(torch.tensor([ids]))[0, -1].argmax())]
    assert checkpoint.decode(ids[-20:]) == "a wet joint was drie"


def test_a_name_that_is_no_checkpoint_is_told_what_to_do(tmp_path: Path, saved: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Copy the folder beside the notebook"):
        read_gpt2(tmp_path / "missing")
    with pytest.raises(FileNotFoundError, match="holds no config"):
        read_gpt2(tmp_path)
    sizes = json.loads((saved / "config.json").read_text())
    (tmp_path / "model.safetensors").write_bytes((saved / "model.safetensors").read_bytes())
    for change, words in (
        ({"model_type": "llama"}, "is a llama model"),
        ({"activation_function": "relu"}, "The activation is relu"),
        ({"layer_norm_epsilon": 1e-6}, "eps 1e-06"),
    ):
        (tmp_path / "config.json").write_text(json.dumps(sizes | change))
        with pytest.raises(ValueError, match=words):
            read_gpt2(tmp_path)
