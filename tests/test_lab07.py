"""What lab 7 rests on: the library's LoRA, published levels, five seeds, the contracts' points."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from autograder.bank import drill, read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import assistant, bank, checkpoints, drills_lora
from glassbox.models import GPT, MICRO, RECIPE
from glassbox.parts import GPTConfig

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab07_lora"
LINEAR = ("qkv", "out", "ff_in", "ff_out")
PUBLISHED = [  # bitsandbytes, csrc/kernels.cu
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635,
    -0.18477343022823334, -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725,
    0.24611230194568634, 0.33791524171829224, 0.44070982933044434, 0.5626170039176941,
    0.7229568362236023, 1.0,
]  # fmt: skip


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab07_lora")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


@pytest.fixture(scope="module")
def runs() -> dict[str, Any]:
    return json.loads((FOLDER / "five_seeds.json").read_text())


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def random_lora(space: dict[str, Any], config: GPTConfig, targets: tuple[str, ...]) -> GPT:
    """A GPT with LoRA all of whose numbers are random."""
    torch.manual_seed(0)
    model = GPT(config)
    space["inject_lora"](model, targets, 3, 6.0)
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(0.2 * torch.randn(p.shape, generator=seeded(p.numel())))
    return model.eval()


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


# --- the library ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n_in", "n_out", "rank", "alpha", "bias"),
    [(6, 9, 2, 8.0, True), (16, 16, 4, 1.0, False), (5, 3, 8, 16.0, True)],
)
def test_a_layer_is_pefts(
    space: dict[str, Any], n_in: int, n_out: int, rank: int, alpha: float, bias: bool
) -> None:
    pytest.importorskip("peft")
    from glassbox import huggingface

    torch.manual_seed(0)
    layer = space["LoRALinear"](nn.Linear(n_in, n_out, bias), rank, alpha)
    nn.init.normal_(layer.B)
    x = torch.randn(3, 4, n_in)
    with torch.no_grad():
        ours = layer(x)
        theirs = huggingface.lora_output(layer.base, layer.A, layer.B, alpha, x)
        merged = huggingface.lora_output(layer.base, layer.A, layer.B, alpha, x, merged=True)
    assert (ours - theirs).abs().max() <= 1e-5 * theirs.abs().max()
    assert (space["merge_lora"](layer)(x) - merged).abs().max() <= 1e-5 * merged.abs().max()


@pytest.mark.parametrize("targets", [("qkv",), LINEAR, ("ff_in", "out")])
def test_a_model_is_pefts_in_counts_outputs_and_merged_weights(
    space: dict[str, Any], targets: tuple[str, ...]
) -> None:
    pytest.importorskip("peft")
    from glassbox import huggingface

    config = GPTConfig(n_layers=2, d_model=16, n_heads=2, vocab_size=11, context_len=8)
    ours = random_lora(space, config, targets)
    plain = GPT(config)
    own = {n.replace(".base.", "."): v for n, v in ours.state_dict().items()}
    plain.load_state_dict({n: v for n, v in own.items() if n[-2:] not in (".A", ".B")})
    theirs = huggingface.lora(plain, targets, 3, 6.0)
    assert space["trainable_share"](ours) == huggingface.trainable(theirs)
    with torch.no_grad():
        for name, p in theirs.named_parameters():
            if "lora_" in name:
                path, letter = name.removeprefix("base_model.model.").split(".lora_")
                p.copy_(own[f"{path}.{letter[0]}"])
        ids = torch.randint(11, (2, 6), generator=seeded(1))
        logits = theirs(ids)
        assert (ours(ids) - logits).abs().max() <= 1e-5 * logits.abs().max()
        library = theirs.merge_and_unload().state_dict()
    for path, part in ours.named_modules():
        if isinstance(part, space["LoRALinear"]):
            merged = space["merge_lora"](part).weight
            assert torch.allclose(merged, library[f"{path}.weight"], rtol=1e-5, atol=1e-6)


def test_the_count_of_the_syllabus(space: dict[str, Any]) -> None:
    model = GPT(GPTConfig(n_layers=2, d_model=64, n_heads=4, vocab_size=261, context_len=128))
    assert space["inject_lora"](model, ("qkv",), 4, 8.0) == ["blocks.0.qkv", "blocks.1.qkv"]
    assert space["trainable_share"](model)[0] == 2048


def test_the_codebook_is_the_published_one(space: dict[str, Any]) -> None:
    levels = space["nf4_codebook"]()
    assert levels.dtype == torch.float32
    assert (levels.double() - torch.tensor(PUBLISHED).double()).abs().max() < 1e-6


# --- the contracts, point by point ---------------------------------------------------------------


def test_lora_linear_keeps_dtype_base_and_gradient(space: dict[str, Any]) -> None:
    base = nn.Linear(5, 4).double()
    layer = space["LoRALinear"](base, 2, 4.0)
    assert layer.base is base
    assert (layer.A.dtype, layer.B.dtype) == (torch.float64, torch.float64)
    x = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    assert torch.equal(layer(x), base(x))
    layer(x).sum().backward()
    assert x.grad.abs().sum() > 0
    assert base.weight.grad is None


def test_inject_takes_last_parts_and_full_names(space: dict[str, Any]) -> None:
    net = drills_lora.Stack()
    assert space["inject_lora"](net, ("qkv", "inner.proj"), 1, 1.0) == [
        "a.qkv", "inner.proj", "b.qkv"
    ]  # fmt: skip
    with pytest.raises(ValueError, match="qkv"):
        space["inject_lora"](net, ("qkv",), 1, 1.0)  # its name is qkv.base now


def test_merge_and_unmerge_undo_each_other_and_copy(space: dict[str, Any]) -> None:
    torch.manual_seed(0)
    layer = space["LoRALinear"](nn.Linear(6, 5), 2, 3.0)
    nn.init.normal_(layer.B)
    before = copy.deepcopy(layer.state_dict())
    merged = space["merge_lora"](layer)
    assert torch.equal(space["merge_lora"](layer).weight, merged.weight)
    assert all(torch.equal(v, before[n]) for n, v in layer.state_dict().items())
    holding = space["LoRALinear"](merged, 2, 3.0)
    holding.load_state_dict({**before, "base.weight": merged.weight, "base.bias": merged.bias})
    again = space["unmerge_lora"](holding)
    assert torch.allclose(again.base.weight, before["base.weight"], atol=1e-6)
    assert torch.equal(again.A, layer.A)
    twice = space["unmerge_lora"](again)
    assert not torch.allclose(twice.base.weight, before["base.weight"], atol=1e-3)


def test_state_has_the_keys_of_the_model(space: dict[str, Any]) -> None:
    model = random_lora(space, MICRO, ("out",))
    state = space["lora_state"](model)
    assert list(state) == [f"blocks.{i}.out.{n}" for i in range(2) for n in "AB"]
    fresh = GPT(MICRO)
    space["inject_lora"](fresh, ("out",), 3, 6.0)
    assert not fresh.load_state_dict(state, strict=False).unexpected_keys


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_quantisers_are_off_by_half_a_step(space: dict[str, Any], bits: int) -> None:
    w = torch.randn(7, 9, generator=seeded(0))
    codes, scales = space["quantize_absmax"](w, 10, bits)
    assert codes.dtype == torch.int8
    assert scales.shape == (7,)
    back = space["dequantize_absmax"](codes, scales, 10)
    step = scales.repeat_interleave(10)[:63].view(7, 9)
    assert ((back - w).abs() <= 0.501 * step).all()


def test_nf4_of_a_block_of_zeros_and_of_the_extremes(space: dict[str, Any]) -> None:
    codes, scales = space["quantize_nf4"](torch.tensor([0.0, 0, -3, 3, 3]), 2)
    assert codes.tolist() == [7, 7, 0, 15, 15]
    assert codes.dtype == torch.uint8
    back = space["dequantize_nf4"](codes, scales, 2)
    assert back.tolist() == [0, 0, -3, 3, 3]


def test_bits_per_parameter_are_those_of_the_paper(space: dict[str, Any]) -> None:
    assert space["bits_per_param"](64, 32) == 4.5
    assert space["bits_per_param"](64, 8, 256) == 4.126953125


def test_a_prompt_of_nothing_is_the_model(space: dict[str, Any]) -> None:
    model, ids = GPT(MICRO).eval(), torch.randint(256, (2, 5), generator=seeded(0))
    with torch.no_grad():
        assert torch.allclose(
            space["prompt_tuning_forward"](model, torch.zeros(0, 64), ids), model(ids)
        )


def test_right_functions_pass_with_any_seed(
    lab: Lab, space: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_bank(COURSE, lab)
    for exercise in ("LoRALinear", "quantize_nf4", "BottleneckAdapter"):
        versions = [space[exercise], *(v.make for v in known[exercise].right)]
        for seed in range(12):
            monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
            for version in versions:
                exec(lab.cell(f"{exercise}_hidden").source, space | {exercise: version})


# --- drills --------------------------------------------------------------------------------------


def test_a_drill_uses_the_layer_beside_the_function(space: dict[str, Any]) -> None:
    """`lora_state` may ask for the class: the probe must hold the learner's own."""
    names = dict(space)
    exec("def lora_state(model):\n"
         "    return {n: p.detach().clone() for path, m in model.named_modules()\n"
         "            if isinstance(m, LoRALinear) for n, p in\n"
         "            ((f'{path}.A', m.A), (f'{path}.B', m.B))}", names)  # fmt: skip
    case = drill(drills_lora.state_of)
    ours, theirs = (bank.answer(f, case) for f in (space["lora_state"], names["lora_state"]))
    assert bank.same(ours, theirs)


# --- the model -----------------------------------------------------------------------------------


def test_generation_runs_with_lora_in_place(space: dict[str, Any]) -> None:
    model = random_lora(space, RECIPE, LINEAR)
    merged = GPT(RECIPE).eval()
    state = {n.replace(".base.", "."): v for n, v in model.state_dict().items()}
    for path, part in model.named_modules():
        if isinstance(part, space["LoRALinear"]):
            state[f"{path}.weight"] = space["merge_lora"](part).weight.detach()
    merged.load_state_dict({n: v for n, v in state.items() if n[-2:] not in (".A", ".B")})
    ids = torch.randint(1024, (2, 7), generator=seeded(0))
    assert torch.equal(model.generate(ids, 20, 0.0), merged.generate(ids, 20, 0.0))


def test_what_is_adapted_is_not_saved_as_a_plain_model(
    space: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="merge"):
        checkpoints.save(random_lora(space, MICRO, ("qkv",)), tmp_path / "model")


def test_lora_comes_within_five_points_in_five_of_five_seeds(runs: dict[str, Any]) -> None:
    assert len(runs["runs"]) == 5
    for run in runs["runs"]:
        assert run["lora"]["right"] >= run["full"]["right"] - 0.05
        assert run["trained"] <= 0.05 * RECIPE_WEIGHTS
        before, lora, full = (
            part["base_loss"] for part in (runs["base"], run["lora"], run["full"])
        )
        assert before < lora < full  # what each has forgotten


RECIPE_WEIGHTS = 554_688


@pytest.mark.slow
def test_lora_makes_the_base_answer(lab: Lab, space: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    names = dict(space)
    exec(cell_with(lab, "LINEAR = (").split("\ntry:")[0], names)
    exec(cell_with(lab, "def new_lora"), names)
    assert assistant.score(names["tuned"], names["data"].pairs)["right"] >= 0.95


def test_the_text_tells_what_was_measured(lab: Lab, runs: dict[str, Any]) -> None:
    text = " ".join(" ".join(c.source for c in lab.notebook.cells).replace("# ", " ").split())
    for kind, rights, losses in (
        ("full", "With all weights trained, all 96 were", r"training it was (\S+) to (\S+)\."),
        ("lora", "With LoRA, too, all 96", r"it was (\S+) to (\S+) with LoRA"),
    ):
        found = [run[kind] for run in runs["runs"]]
        assert rights in text
        assert all(part["right"] == 1 for part in found)
        told = re.search(losses, text)
        assert told, f"no range of {kind} in the text"
        values = [part["base_loss"] for part in found]
        assert [told[1], told[2]] == [f"{min(values):.2f}", f"{max(values):.2f}"]


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "off by exactly alpha / r", "no gradient can ever reach A",
        "the model changes before training",
        "you train 100 %", "the update is added two times", "The product is transposed",
        "one outlier spoils all blocks", "that is int4", "two codes share a byte",
        "Your logits are P tokens longer than the input",
        "The base is constant; only A and B learn",
    ):  # fmt: skip
        assert words.lower() in told.lower(), words
