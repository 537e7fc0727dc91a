"""Chat: a dialogue that fits, a terminal that survives Ctrl-C, a widget that streams."""

import io
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from glassbox import assistant, chat, checkpoints
from glassbox.assistant import render
from glassbox.chat import Chat
from glassbox.models import GPT, MICRO, RECIPE
from glassbox.tokenizer import tokenizer


@pytest.fixture(scope="module")
def model() -> GPT:
    torch.set_num_threads(1)
    return assistant.base()


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GLASSBOX_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def typed(monkeypatch: pytest.MonkeyPatch, text: str, *arguments: str) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))
    chat.main(list(arguments))


# --- the dialogue --------------------------------------------------------------------------------


def test_what_is_shown_is_what_was_said(model: GPT) -> None:
    talk, pieces = Chat(model), []
    assert talk.hear("Hello") == 0
    note = talk.answer(pieces.append)
    assert len(pieces) > 1
    assert talk.turns[-1] == {"role": "assistant", "content": "".join(pieces)}
    assert note in (None, chat.CUT)


def test_old_turns_go_and_the_system_message_stays(model: GPT) -> None:
    talk = Chat(model, system="Answer briefly.")
    dropped = []
    for n in range(8):
        dropped.append(talk.hear(f"Question {n}: what does E204 mean, and what can I do about it?"))
        ids, _ = render(talk.opening + talk.turns, tokenizer(), answer=True)
        assert len(ids) <= RECIPE.context_len - chat.ROOM
        assert talk.turns[-1]["content"].startswith(f"Question {n}")
        assert talk.turns[0]["role"] == "user"
        talk.turns.append({"role": "assistant", "content": "It means no light."})
    assert dropped[0] == 0
    assert dropped[-1] == 2
    assert talk.opening[0]["content"] == "Answer briefly."


def test_a_text_that_is_too_long_is_refused_and_nothing_is_lost(model: GPT) -> None:
    talk = Chat(model)
    talk.hear("Hello")
    talk.answer(lambda _: None)
    before = list(talk.turns)
    with pytest.raises(ValueError, match="fewer words"):
        talk.hear("x " * 200)
    assert talk.turns == before


def test_reset_begins_again(model: GPT) -> None:
    talk = Chat(model, temperature=1.0, seed=3)
    said = []
    for _ in range(2):
        talk.hear("Hello")
        talk.answer(lambda _: None)
        said.append(talk.turns)
        talk.reset()
    assert said[0] == said[1]
    assert talk.turns == []


def test_a_model_of_another_vocabulary_is_refused() -> None:
    with pytest.raises(ValueError, match="256 tokens"):
        Chat(GPT(MICRO))


# --- terminal ------------------------------------------------------------------------------------


def test_without_a_saved_model_it_is_the_base_and_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "What does E204 mean?\n\nexit\nnever read\n")
    said = capsys.readouterr().out
    assert chat.ONLY_BASE in said
    assert said.count("Model: ") == 1


def test_the_model_saved_last_is_taken_and_the_input_may_just_end(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], model: GPT
) -> None:
    path = checkpoints.save(model, "mine")
    typed(monkeypatch, "Hello\n", "--system", "Be kind.", "--temperature", "1", "--seed", "4")
    first = capsys.readouterr().out
    assert str(path) in first
    typed(monkeypatch, "Hello\n", "mine", "--system", "Be kind.", "--temperature", "1",
          "--seed", "4")  # fmt: skip
    assert capsys.readouterr().out == first


def test_a_long_talk_tells_what_it_forgets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    typed(monkeypatch, "How much is Mini?\n" * 3 + "x " * 200 + "\nHello\n")
    said = capsys.readouterr().out
    assert chat.FORGOT.format(2) in said
    assert "fewer words" in said
    assert said.count("Model: ") == 4


@pytest.mark.parametrize("kind", ["missing", "damaged", "bytes", "tokenizer"])
def test_a_bad_file_is_one_line_and_no_traceback(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.safetensors"
    if kind == "damaged":
        path.write_bytes(b"no")
    if kind == "bytes":
        checkpoints.save(GPT(MICRO), path)
    if kind == "tokenizer":
        checkpoints.save(GPT(replace(RECIPE, n_layers=1)), path)
        monkeypatch.setattr(tokenizer(), "name", "another")
    with pytest.raises(SystemExit) as stopped:
        typed(monkeypatch, "", str(path))
    assert stopped.value.code == 2
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    word = {"missing": "checkpoints.save", "damaged": "again", "bytes": "256 tokens",
            "tokenizer": "Train it again"}[kind]  # fmt: skip
    assert word in shown


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_ends_the_answer_and_not_the_program(tmp_path: Path) -> None:
    slow = (
        "import signal, time\nfrom glassbox import chat, models\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # background jobs ignore it
        "step = models.GPT.hidden\n"
        "models.GPT.hidden = lambda *a, **k: (time.sleep(0.1), step(*a, **k))[1]\n"
        "chat.main()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", slow], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        cwd=tmp_path, env=os.environ | {"GLASSBOX_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"},
    ) as process:  # fmt: skip
        process.stdin.write("Hello\n")
        process.stdin.flush()
        said = ""

        def wait_for(words: str) -> None:
            nonlocal said
            while words not in said:
                letter = process.stdout.read(1)
                assert letter, f"the program ended after {said!r}"
                said += letter

        wait_for("Model: ")
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        wait_for(chat.STOPPED)
        process.stdin.write("exit\n")
        process.stdin.close()
        assert process.wait(10) == 0


# --- notebook ------------------------------------------------------------------------------------


def parts(box: object) -> tuple:
    log, line = box.children
    return log, *line.children


def test_enter_sends_and_the_answer_grows(model: GPT) -> None:
    log, field, _, again = parts(chat.widget(model))
    seen: list[str] = []
    log.observe(lambda change: seen.append(change["new"]), "value")
    field.value = "What does <b>E204</b> mean?"
    field._handle_custom_msg({"event": "submit"}, [])  # what the browser sends on Enter
    assert field.value == ""
    assert len(seen) > 3
    assert "&lt;b&gt;E204" in log.value
    assert "<b>Model:</b>" in log.value
    again.click()
    assert "Model" not in log.value.replace("with the model", "")


def test_the_button_sends_too_and_nothing_is_not_sent(model: GPT) -> None:
    log, field, send, _ = parts(chat.widget(model))
    send.click()
    assert "You" not in log.value
    field.value = "x " * 200
    send.click()
    assert "fewer words" in log.value
    field.value = "Hello"
    send.click()
    assert "<b>Model:</b>" in log.value


def test_everything_in_the_widget_has_a_name(model: GPT) -> None:
    log, field, send, again = parts(chat.widget(model))
    assert field.description == "You"
    assert send.description == "Send"
    assert again.description == "Start again"
    assert 'aria-label="Dialogue' in log.value
