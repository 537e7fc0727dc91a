"""Saved models: the same model comes back, a file is whole or not there, errors say what to do."""

import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from glassbox import checkpoints, models
from glassbox.models import GPT, RECIPE

TINY = replace(RECIPE, n_layers=1, d_model=8, n_heads=2)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLASSBOX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


@pytest.mark.parametrize("config", [TINY, replace(TINY, tied=False, bias=True, n_kv_heads=1)])
def test_the_same_model_comes_back(tmp_path: Path, config: models.GPTConfig) -> None:
    torch.manual_seed(0)
    model = GPT(config)
    path = checkpoints.save(model, tmp_path / "deep" / "one.safetensors", made_by="a test", n=3)
    state = torch.get_rng_state()
    again = checkpoints.load(path)
    assert torch.equal(state, torch.get_rng_state())  # loading draws nothing
    ids = torch.arange(12).view(2, 6)
    assert torch.equal(model(ids), again(ids))
    assert again.config == config
    assert models.count(again) == models.count(model)
    assert all(p.requires_grad and p.dtype == torch.float32 for p in again.parameters())
    assert checkpoints.about(path)["facts"] == {"made_by": "a test", "n": 3}


def test_half_precision_comes_back_as_32_bits(tmp_path: Path) -> None:
    path = checkpoints.save(GPT(TINY).half(), tmp_path / "half.safetensors")
    assert next(checkpoints.load(path).parameters()).dtype == torch.float32


def test_a_bare_name_lies_in_the_usual_place(home: Path) -> None:
    assert checkpoints.newest() is None
    first, second = (checkpoints.save(GPT(TINY), name) for name in ("first", "second"))
    assert first == home / "first.safetensors"
    os.utime(first, (1, 1))
    assert checkpoints.newest() == second
    os.utime(second, (0, 0))
    assert checkpoints.newest() == first
    assert checkpoints.load("second").config == TINY


def test_a_file_name_lies_here_and_what_others_wrote_is_passed_over(home: Path) -> None:
    there = checkpoints.save(GPT(TINY), "there")
    here = checkpoints.save(GPT(TINY), "here.safetensors")
    os.utime(there, (1, 1))
    assert (Path.cwd() / here).exists()
    assert checkpoints.newest() == here
    save_file({"a": torch.zeros(2)}, here)
    assert checkpoints.newest() == there


def test_an_interrupted_save_leaves_the_old_file(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = checkpoints.save(GPT(TINY), "one")
    before = path.read_bytes()

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        checkpoints.save(GPT(TINY), "one")
    assert [p.name for p in home.iterdir()] == ["one.safetensors"]
    assert path.read_bytes() == before


def test_errors_say_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(FileNotFoundError, match=r"checkpoints\.save"):
        checkpoints.load(path)
    path.write_bytes(b"not a model")
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load(path)
    whole = checkpoints.save(GPT(TINY), tmp_path / "y").read_bytes()
    path.write_bytes(whole[:-10])
    with pytest.raises(ValueError, match="damaged"):
        checkpoints.load(path)
    save_file({"a": torch.zeros(2)}, path)
    with pytest.raises(ValueError, match="was not written by"):
        checkpoints.load(path)


def test_adapters_are_to_be_merged_first(tmp_path: Path) -> None:
    model = GPT(TINY)
    model.blocks[0].extra = torch.nn.Linear(2, 2)
    with pytest.raises(ValueError, match="merge adapters"):
        checkpoints.save(model, tmp_path / "x")
