"""The choice of a scale and the record of a run."""

import json

import pytest
import torch

import glassbox
from glassbox.scale import Scale


@pytest.fixture
def no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name in ("GLASSBOX_SCALE", "GLASSBOX_GRADING"):
        monkeypatch.delenv(name, raising=False)


def fake_gpu(monkeypatch: pytest.MonkeyPatch, gigabytes: float) -> None:
    properties = type("P", (), {"total_memory": gigabytes * 1e9})()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "a GPU")


@pytest.mark.usefixtures("no_gpu")
def test_a_machine_without_gpu_runs_small() -> None:
    scale = glassbox.pick_scale()
    assert (scale.name, scale.device) == ("S", "cpu")
    assert scale.choose(1, 2, 3) == 1


@pytest.mark.usefixtures("no_gpu")
@pytest.mark.parametrize(("gigabytes", "name"), [(8, "S"), (15.8, "M"), (40, "L"), (80, "L")])
def test_the_gpu_decides(monkeypatch: pytest.MonkeyPatch, gigabytes: float, name: str) -> None:
    fake_gpu(monkeypatch, gigabytes)
    assert glassbox.pick_scale().name == name


@pytest.mark.usefixtures("no_gpu")
def test_grading_is_always_small(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_gpu(monkeypatch, 80)
    monkeypatch.setenv("GLASSBOX_GRADING", "1")
    monkeypatch.setenv("GLASSBOX_SCALE", "L")
    assert glassbox.pick_scale().name == "S"


@pytest.mark.usefixtures("no_gpu")
def test_a_wish_that_cannot_be_met_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLASSBOX_SCALE", "M")
    with pytest.raises(RuntimeError, match="needs a CUDA GPU"):
        glassbox.pick_scale()
    monkeypatch.setenv("GLASSBOX_SCALE", "XL")
    with pytest.raises(ValueError, match="must be S, M or L"):
        glassbox.pick_scale()


@pytest.mark.usefixtures("no_gpu")
def test_a_lab_without_use_for_a_gpu_is_large_where_one_wishes(monkeypatch) -> None:
    monkeypatch.setenv("GLASSBOX_SCALE", "L")
    scale = glassbox.pick_scale(needs_gpu=False)
    assert (scale.name, scale.device) == ("L", "cpu")
    fake_gpu(monkeypatch, 80)
    assert glassbox.pick_scale(needs_gpu=False).device == "cpu"
    monkeypatch.setenv("GLASSBOX_GRADING", "1")
    assert glassbox.pick_scale(needs_gpu=False).name == "S"
    monkeypatch.delenv("GLASSBOX_GRADING")
    monkeypatch.delenv("GLASSBOX_SCALE")
    assert glassbox.pick_scale(needs_gpu=False).name == "S"  # nobody waits for an hour by surprise


def test_what_cannot_fit_is_said_before_it_runs(capsys: pytest.CaptureFixture) -> None:
    scale = Scale("M", "cuda", 16e9, "a GPU")
    scale.announce("a small thing", 2e6)
    assert "needs about 2 MB of the 16 GB on a GPU" in capsys.readouterr().out
    with pytest.raises(MemoryError, match="would not fit"):
        scale.announce("a large thing", 15.9e9)


def test_a_record_holds_machine_and_results(tmp_path) -> None:
    scale = Scale("M", "cuda", 16e9, "a GPU")
    path = scale.record("lab01", {"tokens": 5}, str(tmp_path / "run_record.json"))
    record = json.loads(path.read_text())
    assert record["results"] == {"tokens": 5}
    assert record["hardware"] == "a GPU"
    assert {"torch", "python", "date", "scale", "lab"} <= record.keys()
