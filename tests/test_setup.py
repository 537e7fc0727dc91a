"""The two commands: what they say where something is missing, and that README quotes the truth."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def environment(tmp_path: Path, python: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "setup/environment.sh"], cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "PYTHON": python, "VENV": str(tmp_path / "venv")},
    )  # fmt: skip


def fake_python(tmp_path: Path, script: str) -> str:
    path = tmp_path / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("script", "words"),
    [
        (None, "is not installed. Install Python 3.11, 3.12 or 3.13"),
        ('case "$*" in *version_info*) exit 1;; *) echo Python 3.9.2;; esac',
         "Python 3.9.2 does not fit: the course needs Python 3.11"),
        ('case "$*" in *ensurepip*) exit 1;; esac', "has no venv module. On Debian"),
    ],
    ids=["no Python", "old Python", "no venv"],
)  # fmt: skip
def test_a_missing_python_is_one_clear_sentence(
    tmp_path: Path, script: str | None, words: str
) -> None:
    python = "no-such-python" if script is None else fake_python(tmp_path, script)
    result = environment(tmp_path, python)
    assert result.returncode == 1
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "venv" / ".ready").exists()


def test_a_failed_download_is_explained_and_leaves_the_setup_unfinished(tmp_path: Path) -> None:
    venv = tmp_path / "venv" / "bin"
    venv.mkdir(parents=True)
    pip = 'case "$*" in *install*) echo "Could not fetch URL" >&2; exit 1;; esac'
    (venv / "python").write_text(f"#!/bin/sh\n{pip}\n")
    (venv / "python").chmod(0o755)
    result = environment(tmp_path, fake_python(tmp_path, "exit 0"))
    assert result.returncode == 1
    assert "Could not fetch URL" in result.stderr
    assert "Without a network connection the first set-up is not possible" in result.stderr
    assert not (tmp_path / "venv" / ".ready").exists()


def test_every_direct_dependency_is_pinned_and_constrained() -> None:
    pins = re.findall(r"^([\w.-]+)==(\S+)$", (ROOT / "requirements.txt").read_text(), re.MULTILINE)
    lines = [x for x in (ROOT / "requirements.txt").read_text().splitlines()
             if x and not x.startswith("#")]  # fmt: skip
    assert len(pins) == len(lines)
    constraints = (ROOT / "constraints.txt").read_text()
    names = {n.lower().replace("_", "-"): v for n, v in
             re.findall(r"^([\w.-]+)==(\S+)$", constraints, re.MULTILINE)}  # fmt: skip
    for name, version in pins:
        assert names[name.lower().replace("_", "-")] == version
    assert "+" not in constraints.split("\n", 2)[2]  # no local version suffix


def test_make_help_lists_every_public_target() -> None:
    text = (ROOT / "Makefile").read_text()
    targets = re.search(r"\.PHONY: (.+)", text)[1].split()
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    for target in set(targets) - {"help", "grade-sample"}:
        assert f"make {target} " in shown.stdout
