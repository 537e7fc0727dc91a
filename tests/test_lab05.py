"""What lab 5 rests on: drills, statistical bounds that hold, each point of the contracts."""

import json
import math
import re
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from autograder.bank import drill, read_bank
from autograder.course import Course
from autograder.lab import Lab, namespace, read_lab
from glassbox import bank, check, drills
from glassbox.models import GPT, MICRO

COURSE = Course(Path(__file__).parents[1])
FOLDER = COURSE.solutions / "lab05_pretraining"


@pytest.fixture(scope="module")
def lab() -> Lab:
    return read_lab(COURSE, "lab05_pretraining")


@pytest.fixture(scope="module")
def space(lab: Lab) -> dict[str, Any]:
    """The names of the lab with the course's solution."""
    return namespace(lab)


def seeded(n: int) -> torch.Generator:
    return torch.Generator().manual_seed(n)


def cell_with(lab: Lab, text: str) -> str:
    return next(c.source for c in lab.notebook.cells if text in c.source)


# --- drills --------------------------------------------------------------------------------------


def test_what_a_drill_reports_is_an_answer() -> None:
    def halves(param: Tensor, *_: object) -> None:
        param.data.mul_(0.5)

    def thirds(param: Tensor, *_: object) -> None:
        param.data.div_(3)

    case = drill(drills.adamw_path, [torch.ones(2)], [[torch.ones(2)]] * 3, 0.1)
    answers = [bank.answer(halves, case)]
    arrays = bank.pack("lab", [], {"f": ([case], {"w": ("named", answers, [0])})})
    known = bank.Fingerprints(arrays)
    assert known.diagnose("f", halves) == "named"
    assert known.diagnose("f", thirds) is None


def test_a_drill_comes_from_glassbox_only() -> None:
    with pytest.raises(ValueError, match="glassbox only"):
        bank.answer(print, {"via": "os:system", "args": [], "kwargs": {}})


def test_a_drill_runs_where_the_learner_s_code_runs() -> None:
    seen = []

    def call(address: str, args: tuple, kwargs: dict) -> list:
        seen.append((address, args[0]))
        return [1.0]

    with check.elsewhere(call):
        bank.answer(print, drill(drills.window_facts, 40, 5))
    assert seen == [("glassbox.drills:window_facts", print)]


# --- tests that draw -----------------------------------------------------------------------------


@pytest.mark.parametrize("exercise", ["clm_batch", "mlm_mask", "span_corrupt"])
def test_right_functions_pass_with_any_seed(
    lab: Lab, space: dict[str, Any], exercise: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions = [space[exercise], *(v.make for v in read_bank(COURSE, lab)[exercise].right)]
    for seed in range(12):
        monkeypatch.setenv("GLASSBOX_SEED", f"other {seed}")
        for version in versions:
            exec(lab.cell(f"{exercise}_hidden").source, space | {exercise: version})


def test_a_share_is_allowed_five_sigma(space: dict[str, Any]) -> None:
    draws = torch.zeros(10_000, dtype=torch.bool)
    draws[: 1500 + 178] = True  # five sigma of 10,000 draws at 15 % are 178.5
    space["share_is"]("draws", draws, 0.15)
    draws[: 1500 + 180] = True
    with pytest.raises(check.CheckFailed, match=r"16\.8% of 10,000, expected 15\.0% \(± 1\.8%\)"):
        space["share_is"]("draws", draws, 0.15)


def test_random_parts_add_up_and_all_cuts_occur(space: dict[str, Any]) -> None:
    gen = seeded(0)
    drawn = {tuple(space["random_parts"](5, 3, gen)) for _ in range(300)}
    assert drawn == {(1, 1, 3), (1, 2, 2), (1, 3, 1), (2, 1, 2), (2, 2, 1), (3, 1, 1)}
    assert space["random_parts"](4, 1, gen) == [4]
    assert space["random_parts"](4, 4, gen) == [1, 1, 1, 1]


# --- the contracts, point by point ---------------------------------------------------------------


def test_clm_batch(space: dict[str, Any]) -> None:
    x, y = space["clm_batch"](torch.arange(6, dtype=torch.int32), 9, 5, seeded(0))
    assert x.dtype == torch.int32
    assert (x == torch.arange(5)).all()
    assert (y == x + 1).all()
    ids = torch.arange(1000)
    a, b = (space["clm_batch"](ids, 4, 8, seeded(3))[0] for _ in range(2))
    assert torch.equal(a, b)


def test_mlm_mask_is_bernoulli_over_what_is_not_special(space: dict[str, Any]) -> None:
    ids, special = torch.full((100, 100), 1), torch.zeros(100, 100, dtype=torch.bool)
    special[:, ::2] = True
    new, labels = space["mlm_mask"](ids, 2, 3, special, 0.4, seeded(0))
    chosen = labels != -100
    assert not chosen[special].any()
    assert abs(chosen[~special].float().mean() - 0.4) < 5 * math.sqrt(0.24 / 5000)
    assert set(new[chosen].tolist()) == {0, 1, 2}  # the whole vocabulary, the mask among it


def test_span_corrupt(space: dict[str, Any]) -> None:
    marks = list(range(100, 160))
    source, target = space["span_corrupt"](list(range(40)), 0.25, 2.0, marks, 99, seeded(0))
    assert 99 not in source
    assert target[-2:] == [105, 99]
    assert sum(i < 40 for i in target) == 10
    assert all(a < 100 or b < 100 for a, b in pairwise(source))
    for ids in ([], [7]):
        assert space["span_corrupt"](ids, 0.5, 2.0, marks, 99, seeded(0)) == (ids, [100, 99])


def test_pack_keeps_order_and_marks_padding(space: dict[str, Any]) -> None:
    ids, segments = space["pack"]([[5, 6, 7, 8, 9], [1]], 4, 0)
    assert ids.tolist() == [[5, 6, 7, 8], [9, 0, 1, 0]]
    assert (segments[1, :2] != segments[1, 2:]).all()
    ids, segments = space["pack"]([[1]], 4, 0)
    assert ids.tolist() == [[1, 0, 0, 0]]
    assert segments.tolist() == [[0, 0, -1, -1]]


def test_packed_documents_do_not_see_each_other_in_the_reference_model(
    space: dict[str, Any],
) -> None:
    documents = [[10, 11, 12], [20, 21]]
    ids, segments = space["pack"](documents, 8, 0)
    torch.manual_seed(0)
    model = GPT(MICRO).eval()
    together = model(ids, segments=segments)[0, 4:7]
    assert torch.allclose(together, model(torch.tensor([[20, 21, 0]]))[0], atol=1e-5)


def test_lm_loss(space: dict[str, Any]) -> None:
    logits = torch.randn(2, 3, 5, generator=seeded(0), requires_grad=True)
    loss, n = space["lm_loss"](logits, torch.full((2, 3), -100))
    assert (loss.item(), n, type(n)) == (0.0, 0, int)
    loss.backward()
    assert not logits.grad.any()
    targets = torch.tensor([[0, 1, -100], [4, 3, 2]])
    want = F.cross_entropy(logits[targets != -100], targets[targets != -100], reduction="sum")
    assert math.isclose(space["lm_loss"](logits, targets)[0].item(), want.item(), rel_tol=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.1, 5.0])
@pytest.mark.parametrize("size", [1.0, 1e-8])
def test_adamw_step_is_torch_s_for_200_steps(
    space: dict[str, Any], decay: float, size: float
) -> None:
    gen = seeded(0)
    start = [torch.randn(4, 3, generator=gen, dtype=torch.float64)]
    grads = [[size * torch.randn(4, 3, generator=gen).double()] for _ in range(200)]
    given = (start, grads, 0.01, (0.9, 0.95), 1e-8, decay)
    ours, theirs = drills.adamw_path(space["adamw_step"], *given), drills.torch_adamw(*given)
    assert torch.allclose(ours[0], theirs[0], rtol=1e-9, atol=1e-12)
    state: dict = {}
    g = grads[0][0].clone()
    space["adamw_step"](start[0].clone(), g, state, 0.01, (0.9, 0.95), 1e-8, decay)
    assert state
    assert torch.equal(g, grads[0][0])


def test_lr_at(space: dict[str, Any]) -> None:
    rates = [space["lr_at"](step, 1.0, 0, 10, 0.25) for step in (0, 5, 10, 11, 1000)]
    assert rates == pytest.approx([1.0, 0.625, 0.25, 0.25, 0.25])
    assert space["lr_at"](0, 1.0, 4, 10, 0.25) == 0.0


def test_clip_gradients_is_torch_s(space: dict[str, Any]) -> None:
    for limit in (0.1, 5.0, 100.0):
        grads = [torch.randn(3, 4, generator=seeded(1)), None, torch.randn(7, generator=seeded(2))]
        norm, kind, moved, *ours = drills.clipped(space["clip_gradients"], grads, limit)
        theirs = drills.clipped(torch.nn.utils.clip_grad_norm_, grads, limit)
        assert (kind, moved) == ("float", False)
        assert norm == pytest.approx(theirs[0].item(), rel=1e-6)
        assert all(map(torch.allclose, ours, theirs[3:]))


def test_all_reduce_mean_takes_a_weight_of_zero(space: dict[str, Any]) -> None:
    grads = [[torch.ones(2)], [torch.full((2,), 5.0)]]
    assert space["all_reduce_mean"](grads, [0.0, 2.0])[0].tolist() == [5.0, 5.0]
    assert space["all_reduce_mean"](grads, [3.0, 1.0])[0].tolist() == [2.0, 2.0]


def test_info_nce_is_the_mean_of_both_directions(space: dict[str, Any]) -> None:
    a, b = torch.randn(2, 5, 3, generator=seeded(0)).unbind(0)
    assert torch.allclose(space["info_nce"](a, b, 0.3), space["info_nce"](b, a, 0.3))
    assert space["info_nce"](a, 7 * a, 0.01).item() < space["info_nce"](a, b, 0.01).item()


def test_perplexity_and_bits(space: dict[str, Any]) -> None:
    assert space["perplexity"](100 * math.log(10), 100) == pytest.approx(10)
    assert space["bits_per_byte"](1000 * math.log(2), 1000) == pytest.approx(1)


# --- training ------------------------------------------------------------------------------------


def test_micro_batches_are_one_batch_also_where_targets_are_uneven(space: dict[str, Any]) -> None:
    gen = seeded(0)
    x, y = torch.randint(5, (2, 8, 6), generator=gen).unbind(0)
    y[:3, 1:] = -100
    table = torch.randn(5, 5, generator=gen)
    whole = drills.train_steps(space["train_step"], table, [[(x, y)]], 0.1)
    pieces = list(zip(x.split(3), y.split(3), strict=True))
    parts = drills.train_steps(space["train_step"], table, [pieces], 0.1)
    assert torch.allclose(whole[0], parts[0])
    assert torch.allclose(whole[1], parts[1], atol=1e-6)


def test_ten_steps_and_ten_are_the_bits_of_twenty(space: dict[str, Any]) -> None:
    save, load = space["save_checkpoint"], space["load_checkpoint"]
    step, *resumed = drills.resumed(save, load, 5, 10, 10)
    assert step == 10
    assert all(map(torch.equal, resumed, drills.run_straight(5, 20)))


def test_drills_tell_a_model_that_learned_nothing() -> None:
    def idle(model: torch.nn.Module, *_: object) -> float:
        return 0.0

    x, y = torch.randint(256, (2, 4, 16), generator=seeded(0)).unbind(0)
    _, weights = drills.train_micro(idle, [[(x, y)]] * 2)
    assert drills.micro_loss(weights, x, y) == pytest.approx(math.log(256), abs=0.5)
    weights.pop("norm.weight")
    with pytest.raises(KeyError):
        drills.micro_loss(weights, x, y)


def test_the_threshold_held_in_five_of_five_seeds(lab: Lab) -> None:
    rows = json.loads((FOLDER / "five_seeds.json").read_text())
    losses = [row["held_out"] for row in rows]
    assert len(losses) == 5
    assert max(losses) < 1.0
    told = re.search(r"five seeds ended between (\d\.\d\d) and (\d\.\d\d)",
                     " ".join(cell_with(lab, "The threshold of this lab").split()))  # fmt: skip
    assert told, "the lab's text names no range"
    assert [float(told[1]), float(told[2])] == [round(min(losses), 2), round(max(losses), 2)]


@pytest.mark.slow
def test_the_base_model_reaches_the_threshold(lab: Lab, space: dict[str, Any]) -> None:
    torch.set_num_threads(1)
    exec(cell_with(lab, "class LabAdamW"), names := dict(space))
    loss_sum, n_targets = names["evaluate"](names["base"], names["held_out"])
    assert loss_sum / n_targets < 1.0
    assert names["losses"][0] > 5
    again = names["evaluate"](names["base"], names["held_out"])
    assert again == (loss_sum, n_targets)


def test_every_mistake_of_the_syllabus_has_its_words(lab: Lab) -> None:
    told = " ".join(v.diagnosis for e in read_bank(COURSE, lab).entries.values() for v in e.wrong)
    for words in (
        "your model learns to copy the current token", "predicts the token after next",
        "the model is rewarded for copying visible tokens",
        "80/10/10: also random and unchanged tokens", "does not say where the last span ends",
        "short micro-batches weigh too much", "nothing to clip yet",
        "the limit is on the norm of all gradients together",
        "Below the limit the gradient must not change",
        "matters when gradients are near 1e-8: your steps are too small",
        "that is Adam with L2, not AdamW", "first steps are about 3 times too large",
        "step 0 has rate 0 only if warm-up says so", "exp of nats, or 2 to the bits; not mixed",
        "two evaluations differ", "token 1 of document 2 sees document 1",
        "Half of the symmetric loss", "after resume the data order differs",
    ):  # fmt: skip
        assert words in told, words
