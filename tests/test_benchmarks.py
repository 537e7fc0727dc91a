"""Benchmarks: their results have the form that DESIGN promises, their scripts can be started."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = sorted(p.parent for p in (ROOT / "benchmarks").glob("*/run.py"))
RESULTS = sorted((ROOT / "benchmarks").glob("*/result.json"))
ROW = {"name": str, "ours": (int, float), "peer": (int, float, type(None)), "unit": str,
       "ratio": (int, float, type(None)), "runs": int, "note": str}  # fmt: skip

sys.path.insert(0, str(ROOT / "benchmarks" / "grading"))
import run  # noqa: E402


def check_form(result: dict) -> None:
    assert result.keys() == {"machine", "date", "rows"}
    assert "/" not in result["machine"].replace("nvidia/", "")
    assert len(result["date"]) == 10
    for row in result["rows"]:
        assert ROW.keys() <= row.keys(), row
        for key, kinds in ROW.items():
            assert isinstance(row[key], kinds), row
        assert (row["peer"] is None) == (row["ratio"] is None), row
        assert row["runs"] >= (5 if row["ratio"] is not None else 1), row


@pytest.mark.parametrize("path", RESULTS, ids=lambda p: p.parent.name)
def test_a_result_has_the_documented_form(path: Path) -> None:
    check_form(json.loads(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda p: p.name)
def test_a_benchmark_explains_itself(folder: Path) -> None:
    assert (folder / "README.md").exists()
    done = subprocess.run([sys.executable, str(folder / "run.py"), "--help"], capture_output=True,
                          text=True, check=True, timeout=600)  # fmt: skip
    assert "--quick" in done.stdout


def test_the_form_is_what_the_script_writes() -> None:
    rows = [run.row("x", [1.0, 2.0, 1.0, 1.0, 1.0], [3.0] * 5, "s", "median {:.2f} to {:.2f}"),
            run.alone("y", 4.0, "MB", "once")]  # fmt: skip
    check_form({"machine": run.machine(), "date": "2026-01-01", "rows": rows})
    assert rows[0] == {"name": "x", "ours": 1.0, "peer": 3.0, "unit": "s", "ratio": 3.0, "runs": 5,
                       "note": "ratio 1.50 to 3.00"}  # fmt: skip


def test_scores_that_differ_end_a_benchmark() -> None:
    more = {"ada": {"f": 1.0}, "bob": {"f": 0.0}}
    run.equal({"a": more, "b": {"ada": {"f": 1.0}}})
    with pytest.raises(SystemExit, match="differ on ada"):
        run.equal({"a": more, "b": {"ada": {"f": 0.0}}})


def test_memory_of_children_is_seen() -> None:
    code = "import time; x = bytearray(90_000_000); time.sleep(1.2)"
    with run.Watch() as watch:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert watch.most > 90_000_000


def test_the_grading_figures_are_told_as_measured() -> None:
    result = json.loads((ROOT / "benchmarks/grading/result.json").read_text(encoding="utf-8"))
    told = (ROOT / "benchmarks/grading/README.md").read_text(encoding="utf-8")
    rows = {row["name"]: row for row in result["rows"]}
    for lab in run.LABS:
        stock = rows[f"{lab}: ours, 2 workers, against stock nbgrader, one submission more"]
        assert f"{stock['ours']:.3f} s" in told
        assert f" {stock['ratio']:.0f} × " in told
        for crew in ("2 workers", "1 worker"):
            own = rows[f"{lab}: ours, {crew}, one submission more, against its own execution"]
            assert f" {own['note'].split()[1]} s |" in told  # overhead, its median
    first = rows["lab01_attention: ours, 2 workers, against stock nbgrader, one submission more"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert (
        f"{first['ours']:.3f} s on two cores; stock nbgrader takes {first['ratio']:.0f} times"
        in (" ".join(readme.split()))
    )
