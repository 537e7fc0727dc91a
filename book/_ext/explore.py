"""The directive `{explore} NAME`: an explorer on a page, alive with no server and no kernel.

The page carries the module's text, the state that the options give, and a still picture of that
state for print and for readers without JavaScript; `explore.js` brings it to life. The body of the
directive is the caption; without one it is the explorer's own question. An unknown name, option or
value stops the build with the valid ones.

The still picture of the default state is committed beside the explorer, so that a machine without
node builds the same book. After a change write them anew:

    python book/_ext/explore.py
"""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective
from sphinx.writers.html5 import HTML5Translator

from glassbox import explore

DRAW = """
let text = "";
for await (const part of process.stdin) text += part;
const { source, state } = JSON.parse(text);
const url = "data:text/javascript;base64," + Buffer.from(source).toString("base64");
const { view, settle = (s) => s } = await import(url);
process.stdout.write(view(settle(state)).svg);
"""


def draw(name: str, state: dict[str, Any]) -> str:
    """The figure of a state, drawn by node with the explorer's own function."""
    given = json.dumps({"source": explore.source(name), "state": state})
    command = ["node", "--input-type=module", "--eval", DRAW]
    done = subprocess.run(command, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        reasons = re.findall(r"^\w*Error.*", re.sub(r"data:\S+", "its text", done.stderr), re.M)
        raise explore.ExploreError(f"The explorer {name!r} cannot be drawn: {' '.join(reasons)}")
    return done.stdout


def still(svg: str) -> str:
    """The figure as one image: nothing in it can be pressed or has a role of its own."""
    head, body = svg.split(">", 1)
    body = re.sub(r' (?:tabindex|role|data-[a-z]+|aria-[a-z]+)="[^"]*"', "", body)
    return re.sub(r'role="\w+"', 'role="img"', head) + ">" + body


def committed(name: str) -> Path:
    """The still picture of the default state."""
    return explore.FOLDER / f"{name}.svg"


class explorer(nodes.figure):  # lower case, as all nodes of docutils
    """A figure whose caption comes first, because it asks before it shows."""


def close_figure(writer: HTML5Translator, node: explorer) -> None:
    """The caption has been closed by the box that follows it."""
    writer.body.append("</figure>\n")


class AnyOption(dict):
    """An option_spec that lets every option through; `explore.state` judges them."""

    def __bool__(self) -> bool:
        return True

    def __getitem__(self, key: str) -> Any:
        return lambda value: value


class Explore(SphinxDirective):
    """Put an explorer on the page; options are those of the explorer, and `name`."""

    required_arguments = 1
    has_content = True
    option_spec = AnyOption()

    def run(self) -> list[nodes.Node]:
        """A figure: the caption above, the still picture and the place of the live one below."""
        name = self.arguments[0]
        given = {key: value for key, value in self.options.items() if key != "name"}
        for path in explore.files(name):  # first: a page that failed is read again when mended
            self.env.note_dependency(str(path))
        try:
            state = explore.state(name, given)
            picture = self.picture(name, state)
        except explore.ExploreError as error:
            raise self.error(str(error)) from None
        box = (
            f'</figcaption>\n<div class="ex-box" data-explorer="{name}" '
            f'data-state="{html.escape(json.dumps(state))}">'
            f'<div class="ex-still">{still(picture)}</div><div class="ex-live"></div></div>'
        )
        figure = explorer("", classes=["explore"])
        figure += nodes.caption("", "", *self.caption(name))
        figure += nodes.raw("", box, format="html")
        self.set_source_info(figure)
        self.add_name(figure)
        return [*self.module(name), figure]

    def picture(self, name: str, state: dict[str, Any]) -> str:
        """The still picture of this state; without node that of the default state."""
        is_default = state == explore.state(name, {})
        if (is_default or not shutil.which("node")) and committed(name).is_file():
            return committed(name).read_text(encoding="utf-8")
        return draw(name, state)

    def caption(self, name: str) -> list[nodes.Node]:
        """The question that asks for a prediction."""
        lead = nodes.strong("", "Predict first.")
        if not self.content:
            text = nodes.raw("", explore.about(name)["ask"], format="html")
            return [lead, nodes.Text(" "), text]
        holder = nodes.Element()
        self.state.nested_parse(self.content, self.content_offset, holder)
        return [lead, nodes.Text(" "), *(part for child in holder for part in child.children)]

    def module(self, name: str) -> list[nodes.Node]:
        """The explorer's text as JSON in a script element, once per page."""
        seen = self.env.temp_data.setdefault("explorers", set())
        if name in seen:
            return []
        seen.add(name)
        text = json.dumps(explore.source(name)).replace("<", "\\u003c")
        script = f'<script type="application/json" data-module="{name}">{text}</script>'
        return [nodes.raw("", script, format="html")]


def write_style(app: Sphinx) -> None:
    """Put the explorers' style sheet beside the book's own files."""
    if app.builder.format == "html":
        folder = Path(app.outdir, "_static")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "explore.css").write_text(explore.style(), encoding="utf-8")


def load_host(app: Sphinx, pagename: str, templatename: str, context: Any, doctree: Any) -> None:
    """Load style and host on the pages that have an explorer."""
    if 'class="ex-box"' in context.get("body", ""):
        app.add_css_file("explore.css")
        app.add_js_file("explore.js", loading_method="defer")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register directive and handlers; called by Sphinx."""
    app.add_directive("explore", Explore)
    app.add_enumerable_node(explorer, "figure", html=(HTML5Translator.visit_figure, close_figure))
    app.connect("builder-inited", write_style)
    app.connect("html-page-context", load_host)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    for known in explore.names():
        committed(known).write_text(draw(known, explore.state(known, {})) + "\n", encoding="utf-8")
        print(committed(known).name)
