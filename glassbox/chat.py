"""Talk to a model: in a terminal, or with `chat.widget(model)` in a notebook.

    python -m glassbox.chat                  # the model saved last, else the shipped base
    python -m glassbox.chat assistant --system "Answer briefly." --temperature 0.7

The dialogue grows until the context is full; then its oldest turns are dropped, with a note. The
answer appears while it is made. A model knows the words it was trained on and no others, and what
is said here is kept nowhere.
"""

import argparse
import html
import sys
from collections.abc import Callable
from typing import Any

import torch

from glassbox import checkpoints
from glassbox.assistant import base, render, reply
from glassbox.models import GPT
from glassbox.tokenizer import tokenizer

ROOM = 48  # tokens kept free for an answer
FORGOT = "(The context is full: the oldest {} messages are forgotten.)"
CUT = "(The context is full: the answer ends here.)"
STOPPED = "(Stopped.)"
ONLY_BASE = ("No saved model was found, so this is the shipped base model. It was never tuned to "
             "answer and will only complete. Lab 6 makes an assistant of it, and "
             'checkpoints.save(model, "assistant") puts that where this looks.')  # fmt: skip


class Chat:
    """A dialogue with a model: `hear` a message, then give the `answer`."""

    def __init__(self, model: GPT, system: str | None = None, temperature: float = 0.0,
                 seed: int = 0) -> None:  # fmt: skip
        ours, theirs = tokenizer().vocab_size, model.config.vocab_size
        if theirs != ours:
            raise ValueError(f"The model has {theirs} tokens, and the course's template needs "
                             f"{ours}; use a model made from assistant.base().")  # fmt: skip
        self.model, self.temperature, self.seed = model, temperature, seed
        self.opening = [{"role": "system", "content": system}] if system else []
        self.reset()

    def reset(self) -> None:
        """Begin again, chance included."""
        self.turns: list[dict[str, str]] = []
        self.generator = torch.Generator(self.model.token.weight.device).manual_seed(self.seed)

    def hear(self, text: str) -> int:
        """Take in what the user says -> how many old messages had to go.

        Raises ValueError, and keeps the dialogue, if the text alone is too long.
        """
        turns = [*self.turns, {"role": "user", "content": text}]
        most = self.model.config.context_len
        room = most - min(ROOM, most // 2)
        while (n_tokens := len(render(self.opening + turns, tokenizer(), answer=True)[0])) > room:
            if len(turns) == 1:
                raise ValueError(f"That makes {n_tokens} tokens, and there is room for {room}. "
                                 "Say it in fewer words.")  # fmt: skip
            del turns[:2]  # a question and its answer
        dropped = len(self.turns) + 1 - len(turns)
        self.turns = turns
        return dropped

    def answer(self, show: Callable[[str], None]) -> str | None:
        """Answer in pieces given to `show`; returns a note if the answer did not end by itself.

        Ctrl-C, or "interrupt" in a notebook, ends the answer and nothing else.
        """
        pieces: list[str] = []

        def told(piece: str) -> None:
            pieces.append(piece)
            show(piece)

        try:
            _, ended = reply(self.model, self.opening + self.turns, self.model.config.context_len,
                             self.temperature, self.generator, told)  # fmt: skip
            note = None if ended else CUT
        except KeyboardInterrupt:
            note = STOPPED
        self.turns.append({"role": "assistant", "content": "".join(pieces)})
        return note


# --- in a terminal -----------------------------------------------------------------------------


def talk(chat: Chat) -> None:
    """Read lines, answer each, until "exit" or the end of the input."""
    people = sys.stdin.isatty()
    _say('Write a line. Ctrl-C ends an answer, "exit" or Ctrl-D the chat.\n' if people else "")
    while True:
        try:
            text = input("You: " if people else "").strip()
        except EOFError:
            return _say("\n" if people else "")
        except KeyboardInterrupt:
            _say('\n("exit" or Ctrl-D ends the chat.)\n')
            continue
        if text == "exit":
            return None
        if text:
            _exchange(chat, text)


def _exchange(chat: Chat, text: str) -> None:
    try:
        dropped = chat.hear(text)
    except ValueError as error:
        return _say(f"({error})\n")
    if dropped:
        _say(FORGOT.format(dropped) + "\n")
    _say("Model: ")
    note = chat.answer(_say)
    _say(f" {note}\n" if note else "\n")
    return None


def _say(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _model(path: str | None) -> GPT:
    """The model of a path, the one saved last, or the base."""
    found = path or checkpoints.newest()
    if found is None:
        _say(ONLY_BASE + "\n")
        return base()
    made_with = checkpoints.about(found)["tokenizer"]
    if made_with not in (None, tokenizer().name):
        raise ValueError(f"{checkpoints.place(found)} was saved with the tokenizer {made_with}, "
                         f"and this is {tokenizer().name}. Train it again.")  # fmt: skip
    _say(f"This is {checkpoints.place(found)}.\n")
    return checkpoints.load(found)


def main(arguments: list[str] | None = None) -> None:
    """The command line; `python -m glassbox.chat --help` tells how."""
    parser = argparse.ArgumentParser(prog="glassbox.chat", description=__doc__.split("\n")[0])
    parser.add_argument("path", nargs="?", help="a file of checkpoints.save, or a bare name in "
                        "~/glassbox; default: the model saved last")  # fmt: skip
    parser.add_argument("--system", help="what stands before the dialogue")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: the likeliest token")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    if given.temperature < 0:
        parser.error("--temperature must be at least 0")
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")  # terminals that lack a character
    try:
        chat = Chat(_model(given.path), given.system, given.temperature, given.seed)
    except (OSError, ValueError) as error:
        parser.exit(2, f"{error}\n")
    talk(chat)


# --- in a notebook -----------------------------------------------------------------------------


def widget(model: GPT, system: str | None = None, temperature: float = 0.0, seed: int = 0) -> Any:
    """A text field, a dialogue above it and two buttons; Enter sends."""
    import ipywidgets

    chat = Chat(model, system, temperature, seed)
    log = ipywidgets.HTML()
    field = ipywidgets.Text(description="You", placeholder="Write a message and press Enter",
                            layout={"width": "32em"})  # fmt: skip
    send = ipywidgets.Button(description="Send", tooltip="Send the message (Enter)")
    again = ipywidgets.Button(description="Start again", tooltip="Forget the dialogue")
    lines: list[list[str]] = []  # who, and what was said

    def show(piece: str = "") -> None:
        if piece:
            lines[-1][1] += piece
        log.value = _page(lines)

    def sent(*_: object) -> None:
        text, field.value = field.value.strip(), ""
        if not text:
            return
        lines.append(["You", text])
        try:
            dropped = chat.hear(text)
        except ValueError as error:
            lines.append(["", f"({error})"])
            return show()
        lines.extend([["", FORGOT.format(dropped)]] if dropped else [])
        lines.append(["Model", ""])
        note = chat.answer(show)
        lines.extend([["", note]] if note else [])
        return show()

    def reset(_: object) -> None:
        chat.reset()
        lines.clear()
        show()

    field.on_msg(lambda _, content, __: sent() if content.get("event") == "submit" else None)
    send.on_click(sent)
    again.on_click(reset)
    show()
    return ipywidgets.VBox([log, ipywidgets.HBox([field, send, again])])


def _page(lines: list[list[str]]) -> str:
    """The dialogue as HTML, in the page's own colours."""
    shown = "".join(
        f'<p style="margin: 0 0 .5em; white-space: pre-wrap; line-height: 1.4">'
        f"{f'<b>{who}:</b> ' if who else ''}{html.escape(text)}</p>"
        for who, text in lines
    )
    return f'<div role="log" aria-label="Dialogue with the model">{shown}</div>'


if __name__ == "__main__":
    main()
