"""The page on large classes shows commands that exist and files that are well formed."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from autograder import cli

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "book" / "grading_at_scale.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.+?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands() -> list[str]:
    """Every line of the page's shell blocks, and of the Job, that calls autograder."""
    text = "\n".join(blocks("bash")) + "\n" + job()["args"][0]
    text = text.replace("$SLURM_ARRAY_TASK_ID", "1").replace("$((JOB_COMPLETION_INDEX + 1))", "1")
    return [line.rstrip("&") for line in text.splitlines() if line.startswith("autograder ")]


def job() -> dict:
    manifest = yaml.safe_load(blocks("yaml")[0])
    return manifest["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize("command", commands())
def test_the_command_line_knows_what_the_page_types(command: str) -> None:
    cli._parser().parse_args(shlex.split(command)[1:])


def test_there_are_commands() -> None:
    verbs = {c.split()[1] for c in commands()}
    assert verbs >= {"collect", "grade", "merge", "regrade", "feedback", "export", "build"}


@pytest.mark.parametrize("block", blocks("bash"))
def test_shell_blocks_are_shell(block: str) -> None:
    done = subprocess.run(["bash", "-n"], input=block, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_python_blocks_are_python() -> None:
    for block in blocks("python"):
        compile(block, "page", "exec")


def test_the_job_and_the_array_grade_each_part_once(tmp_path: Path) -> None:
    """Run as pods and array tasks do, with a command that only tells what it was asked."""
    fake = tmp_path / "autograder"
    fake.write_text('#!/bin/sh\necho "$@"\n')
    fake.chmod(0o755)
    manifest = yaml.safe_load(blocks("yaml")[0])
    count = manifest["spec"]["completions"]
    command = [*job()["command"], *job()["args"]]
    array = next(b for b in blocks("bash") if "--array" in b)
    first, last = re.search(r"--array=(\d+)-(\d+)", array).groups()
    line = next(x for x in array.splitlines() if x.startswith("autograder"))

    def ask(command: list[str], **env: str) -> str:
        env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": "/home/x"} | env
        told = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout
        return re.search(r"--shard (\S+)", told)[1]

    pods = [ask(command, JOB_COMPLETION_INDEX=str(i)) for i in range(count)]
    assert pods == [f"{i}/{count}" for i in range(1, count + 1)]
    tasks = [ask(["bash", "-c", line], SLURM_ARRAY_TASK_ID=str(i))
             for i in range(int(first), int(last) + 1)]  # fmt: skip
    assert tasks == [f"{i}/{last}" for i in range(1, int(last) + 1)]


def test_the_extra_is_called_what_the_page_calls_it() -> None:
    assert re.search(r"^dask = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert "'.[grading,dask]'" in PAGE
