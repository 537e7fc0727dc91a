"""Training: what is random, cut or interrupted changes nothing; processes do the work of one."""

import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest
import torch
from torch import Tensor

from glassbox import models, telecom, training
from glassbox.models import GPT, MICRO, GPTConfig
from glassbox.training import Settings, crops, train

ROOT = Path(__file__).parents[1]
TINY = GPTConfig(n_layers=1, d_model=16, n_heads=2, vocab_size=64, context_len=16, dropout=0.1)
SETTINGS = Settings(steps=20, warm_up=4, progress=False, peak=1e9)
TOKENS = torch.randint(64, (4000,), generator=torch.Generator().manual_seed(0))


def model(config: GPTConfig = TINY) -> GPT:
    torch.manual_seed(0)
    return GPT(config)


def weights(model: GPT) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def uneven(step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Eight rows, in which very different numbers of targets count."""
    ids, targets = crops(TOKENS, 8, 16)(step, generator)
    targets = targets.clone()
    for row in range(1, 8):
        targets[row, : 2 * row] = models.IGNORED
    return ids, targets


# --- resuming ----------------------------------------------------------------------------------


def stopping(batches: training.Batches, at: int) -> training.Batches:
    """Ctrl-C while the batch of a step is drawn."""

    def draw(step: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        if step == at:
            os.kill(os.getpid(), signal.SIGINT)
        return batches(step, generator)

    return draw


def test_ten_steps_and_ten_are_twenty(tmp_path: Path) -> None:
    whole = model()
    record = train(whole, uneven, SETTINGS)
    half, settings = model(), replace(SETTINGS, folder=str(tmp_path / "run"))
    with pytest.raises(KeyboardInterrupt, match="after step 10 of 20"):
        train(half, stopping(uneven, 9), settings)
    torch.rand(7)  # what the reader did in between
    rest = GPT(TINY)
    again = train(rest, uneven, settings)
    assert weights(rest).equal(weights(whole))
    assert not weights(half).equal(weights(whole))
    assert again["losses"] == record["losses"]
    saved = json.loads((tmp_path / "run" / "run_record.json").read_text())
    assert saved["tokens"] == 20 * 8 * 16
    assert saved["step"] == 20
    assert saved["tokens_per_second"] > 0
    assert saved["mfu"] > 0
    assert "/" not in saved["machine"]
    assert saved["bits_per_byte"] == pytest.approx(saved["loss"] / math.log(2))
    assert str(tmp_path) not in json.dumps(saved)


def test_the_readers_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    want = torch.rand(3)
    torch.manual_seed(3)
    net = GPT(
        TINY,
    )
    torch.manual_seed(3)
    train(net, uneven, replace(SETTINGS, steps=4))
    assert torch.rand(3).equal(want)


def test_other_settings_do_not_resume(tmp_path: Path) -> None:
    settings = replace(SETTINGS, steps=4, folder=str(tmp_path))
    train(model(), uneven, settings)
    with pytest.raises(ValueError, match=r"made with rate 0\.003, not 0\.01"):
        train(model(), uneven, replace(settings, rate=0.01))


def test_a_killed_run_goes_on_from_its_last_checkpoint(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(telecom.corpus(20_000), encoding="utf-8")
    command = [sys.executable, "-m", "glassbox.training", str(text), "--steps", "40", "--rows", "2",
               "--n-tokens", "16", "--save-every", "2", "--device", "cpu", "--peak", "1e9",
               "--no-progress", "--folder"]  # fmt: skip
    run = subprocess.Popen([*command, str(tmp_path / "killed")], cwd=ROOT)
    file = tmp_path / "killed" / "checkpoint.pt"
    for _ in range(600):
        if file.exists():
            break
        time.sleep(0.05)
    run.kill()
    run.wait()
    assert 0 < torch.load(file, weights_only=True)["step"]
    for folder in ("killed", "whole"):
        training.main([*command[3:], str(tmp_path / folder)])
    a, b = (torch.load(tmp_path / folder / "checkpoint.pt", weights_only=True)
            for folder in ("killed", "whole"))  # fmt: skip
    assert a["losses"] == b["losses"]
    assert all(a["model"][key].equal(b["model"][key]) for key in b["model"])
    assert not list(tmp_path.rglob("*.new"))


# --- parts and processes -----------------------------------------------------------------------


@pytest.mark.parametrize("parts", [2, 4, 8])
def test_accumulation_is_the_big_batch(parts: int) -> None:
    nets = [model(replace(TINY, dropout=0.0)).double() for _ in range(2)]
    records = [train(net, uneven, replace(SETTINGS, accumulation=n))
               for net, n in zip(nets, (1, parts), strict=True)]  # fmt: skip
    assert records[0]["losses"] == pytest.approx(records[1]["losses"], rel=1e-12)
    assert (weights(nets[0]) - weights(nets[1])).abs().max() < 1e-9


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(ValueError, match="8 rows are too few for 1 processes with 9 parts"):
        train(model(), uneven, replace(SETTINGS, accumulation=9))


@pytest.mark.slow
@pytest.mark.parametrize("sharded", [False, True], ids=["ddp", "fsdp"])
def test_two_processes_do_the_work_of_one(sharded: bool, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(telecom.corpus(20_000), encoding="utf-8")
    common = [str(text), "--steps", "10", "--warm-up", "3", "--rows", "8", "--n-tokens", "32",
              "--accumulation", "2", "--device", "cpu", "--peak", "1e9",
              "--no-progress"]  # fmt: skip
    training.main([*common, "--folder", str(tmp_path / "one")])
    kind = "--sharded" if sharded else "--no-sharded"
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                "--nproc-per-node", "2", "-m", "glassbox.training"]  # fmt: skip
    done = subprocess.run([*torchrun, *common, kind, "--folder", str(tmp_path / "two")], cwd=ROOT,
                          capture_output=True, text=True, timeout=900)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = (json.loads((tmp_path / name / "run_record.json").read_text())
                for name in ("one", "two"))  # fmt: skip
    assert len(two["losses"]) == 10
    assert two["losses"] == pytest.approx(one["losses"], abs=1e-5)
    saved = [torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["model"]
             for name in ("one", "two")]  # fmt: skip
    assert saved[0].keys() == saved[1].keys()
    GPT(MICRO).load_state_dict(saved[1])


# --- the rest ----------------------------------------------------------------------------------


def test_the_rate_climbs_and_falls() -> None:
    s = Settings(steps=110, warm_up=10, rate=1.0, floor=0.1)
    rates = [training._rate(step, s) for step in range(110)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == pytest.approx(1.0)
    assert rates[-1] == pytest.approx(0.1)
    assert all(a > b for a, b in pairwise(rates[10:]))


def test_settings_are_checked() -> None:
    for wrong in ({"precision": "fp8"}, {"steps": 0}, {"warm_up": 30}):
        with pytest.raises(ValueError, match=r"precision|steps"):
            replace(SETTINGS, **wrong)
    with pytest.raises(ValueError, match="too few for stretches of 17"):
        crops(TOKENS[:16], 2, 16)


def test_flops_and_ceiling() -> None:
    per_token = training.flops_per_token(GPT(MICRO), 128)
    assert per_token == 6 * 124_672 + 12 * 2 * 64 * 128
    assert training.matmul_ceiling(n=256) > 1e8


def test_bf16_stays_near() -> None:
    net = model(replace(TINY, dropout=0.0))
    a = train(net, uneven, replace(SETTINGS, steps=6))["losses"]
    b = train(model(replace(TINY, dropout=0.0)), uneven,
              replace(SETTINGS, steps=6, precision="bf16"))["losses"]  # fmt: skip
    assert a != b
    assert a == pytest.approx(b, abs=0.05)


def test_a_micro_model_learns_telecom() -> None:
    text = "\n\n".join(islice(telecom.documents(), 400)).encode()
    ids = torch.frombuffer(bytearray(text), dtype=torch.uint8)
    net = model(MICRO)
    held = crops(ids[-20_000:], 16, 64)
    before = training.evaluate(net, held, 2)
    assert before["loss"] == pytest.approx(math.log(256), abs=0.15)
    settings = replace(SETTINGS, steps=120, rate=6e-3, eval_every=60)
    record = train(net, crops(ids[:-20_000], 16, 64), settings, validation=held)
    assert [e["step"] for e in record["evals"]] == [60, 120]
    after = training.evaluate(net, held, 2)
    assert after["loss"] < 3.3 < before["loss"] - 2
    assert after["bits_per_byte"] == pytest.approx(after["loss"] / math.log(2))
    assert after["perplexity"] == pytest.approx(math.exp(after["loss"]))
