"""The course's explorers in a notebook: `explore.attention(sentence="the modem restarts")`.

An explorer is one file, `explorers/NAME.js`; this module finds it, checks options against what the
file itself declares, and puts the shared `kit.js` and the explorer's data in front of it, because
neither a notebook nor a double-clicked page can follow an import. The book's directive `{explore}`
uses the same functions. Nothing is computed here: the arithmetic is in the explorers, tested
against Python.
"""

import json
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).with_name("explorers")
KIT = "kit"


class ExploreError(ValueError):
    """A name, an option or a value that no explorer has; the message lists the valid ones."""


def names() -> list[str]:
    """The explorers there are."""
    return sorted(path.stem for path in FOLDER.glob("*.js") if path.stem != KIT)


@cache
def about(name: str) -> dict[str, Any]:
    """What an explorer says about itself: name, ask (the caption), options."""
    if name not in names():
        raise ExploreError(f"There is no explorer {name!r}. There are: {', '.join(names())}.")
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(re.search(r"^export const ABOUT = (\{.*?^\});", text, re.M | re.S)[1])


def state(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """All options of an explorer: the given ones, checked, and the defaults."""
    options = about(name)["options"]
    for key in given:
        if key not in options:
            raise ExploreError(
                f"The explorer {name!r} has no option {key!r}. It has: {', '.join(options)}."
            )
    for key, option in options.items():  # a preset, or the numbers that it would fill in
        filled = [name for name in option.get("fills", []) if name in given]
        if filled and key in given and given[key] != option["otherwise"]:
            raise ExploreError(f"{name}: give {key} or {', '.join(filled)}, not both.")
        if filled:
            given = given | {key: option["otherwise"]}
    return {
        key: _fitted(f"{name}: {key}", option, given[key]) if key in given else option["default"]
        for key, option in options.items()
    }


def _fitted(what: str, option: dict[str, Any], value: Any) -> Any:
    """The value in the option's type; a page's options arrive as text."""
    default = option["default"]
    if choices := option.get("choices"):
        if str(value) in choices:
            return str(value)
        raise ExploreError(f"{what} must be one of {', '.join(choices)}, not {value!r}.")
    if isinstance(default, str):
        return str(value)
    try:
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        pass  # refused below
    if isinstance(default, bool) or not isinstance(default, int | float):
        if isinstance(value, type(default)):
            return value
        raise ExploreError(f"{what} must look like {json.dumps(default)}, not {value!r}.")
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if is_number and option["min"] <= value <= option["max"]:
        is_whole = isinstance(option.get("step", 1), int) and float(value).is_integer()
        return int(value) if is_whole else value  # 7e9 parameters are a whole number
    raise ExploreError(f"{what} must be from {option['min']} to {option['max']}, not {value!r}.")


def source(name: str) -> str:
    """The explorer as one ES module without imports, in anywidget's format."""
    about(name)
    text = (FOLDER / f"{name}.js").read_text(encoding="utf-8")
    kit = (FOLDER / f"{KIT}.js").read_text(encoding="utf-8")
    exported = re.findall(r"^export (?:const|function) (\w+)", kit, re.M)
    body = re.sub(r"^export ", "", kit, flags=re.M)
    packed = f"(() => {{\n{body}\nreturn {{ {', '.join(exported)} }};\n}})()"
    text = re.sub(
        r'^import (\{[^}]*\})\s+from "\./kit\.js";', lambda m: f"const {m[1]} = {packed};", text,
        flags=re.M,
    )  # fmt: skip
    return re.sub(r'^import (\w+) from "\./(\w+\.json)" with .*;$', _data, text, flags=re.M)


def _data(match: re.Match[str]) -> str:
    data = (FOLDER / match[2]).read_text(encoding="utf-8").strip()
    return f"const {match[1]} = {data};"


def files(name: str) -> list[Path]:
    """What an explorer is made of: its own files, the shared ones, the data that it imports."""
    path = FOLDER / f"{name}.js"
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [
        other for other in sorted(FOLDER.iterdir())
        if other.stem in (name, KIT) or f'"./{other.name}"' in text
    ]  # fmt: skip


def style() -> str:
    """The style sheet of all explorers."""
    return (FOLDER / f"{KIT}.css").read_text(encoding="utf-8")


@cache
def _widget(name: str) -> type:
    """A widget class with one synced trait per option."""
    import anywidget  # not at the top: the book's directive needs only the text
    import traitlets

    kinds = {bool: traitlets.Bool, int: traitlets.Int, float: traitlets.Float,
             str: traitlets.Unicode, list: traitlets.List, dict: traitlets.Dict}  # fmt: skip
    body: dict[str, Any] = {"_esm": source(name), "_css": style()}
    for key, option in about(name)["options"].items():
        default, step = option["default"], option.get("step", 1)
        kind = float if isinstance(step, float) else type(default)
        body[key] = kinds[kind](default).tag(sync=True)
    return type(name.capitalize(), (anywidget.AnyWidget,), body)


def __getattr__(name: str) -> Callable[..., Any]:
    """`explore.NAME` is a function that makes the widget."""
    if name.startswith("_"):
        raise AttributeError(name)
    try:
        described = about(name)
    except ExploreError as error:
        raise AttributeError(str(error)) from None

    def make(**options: Any) -> Any:
        return _widget(name)(**state(name, options))

    make.__name__ = name
    make.__doc__ = f"{described['ask']}\n\nOptions: {', '.join(described['options'])}."
    return make


def __dir__() -> list[str]:
    return names()
