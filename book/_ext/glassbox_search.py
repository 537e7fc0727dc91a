"""The text behind the search results, so that they show passages without asking a server.

Sphinx finds pages from an index; for the passage under a result it fetches the page, which a
browser refuses for a double-clicked file. Here the text of every section goes into
`_static/search_text.js`, which the search page alone loads; `search.js` shows the passages and
links to their sections.
"""

import html
import json
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from glassbox_reading import QUIZ
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

PLAIN = re.compile(r"[\w ,.()=+*/<>|^-]{1,24}")  # a formula that reads well as it is typed
HIDDEN = re.compile(r"<(style|script)\b.*?</\1>", re.S)

# References that have no text yet when a page is read.
NAMELESS = {"numref": "the figure", "eq": "the formula", "p": "", "t": "", "cite": ""}


def read_page(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the text of a page, cut at its headings and glossary terms."""
    folder = Path(app.srcdir, app.env.docname).parent
    passages = [
        [section["ids"][0], _path(section), f"{_own(section)} {_quiz(section, folder)}".strip()]
        for section in doctree.findall(nodes.section)
    ]
    passages += [
        [term["ids"][0], _words(term), _words(item)]
        for item in doctree.findall(nodes.definition_list_item)
        if (term := item.next_node(nodes.term)) is not None and term["ids"]
    ]
    _all(app.env)[app.env.docname] = passages


def _path(section: nodes.section) -> str:
    """A section's title after those of the sections around it, without the page's own."""
    title = _words(section.next_node(nodes.title))
    around = section.parent
    inside = isinstance(around, nodes.section) and isinstance(around.parent, nodes.section)
    return f"{_path(around)} › {title}" if inside else title


def _own(section: nodes.section) -> str:
    """The text of a section without its title and its sub-sections, code and its output last.

    All that Sphinx indexes has to be here: a page that is found for a word shows it.
    """
    skipped = (nodes.title, nodes.section)
    parts = [child for child in section.children if not isinstance(child, skipped)]
    parts.sort(key=lambda part: part.next_node(nodes.literal_block, include_self=True) is not None)
    return " ".join(words for part in parts if (words := _words(part)))


def _quiz(section: nodes.section, folder: Path) -> str:
    """The questions of the quizzes in a section, and what is said about each option."""
    raw = [part for part in section.children if isinstance(part, nodes.raw)]
    paths = [path for part in raw for path in QUIZ.findall(part.astext())]
    questions = [q for path in paths for q in json.loads((folder / path).read_text("utf-8"))]
    texts = [
        text
        for question in questions
        for text in [question["question"], *(answer["feedback"] for answer in question["answers"])]
    ]
    return " ".join(re.sub(r"\s+", " ", re.sub(r"\$[^$]*\$", "…", text)) for text in texts)


def _words(node: nodes.Node) -> str:
    return re.sub(r"\s+", " ", "".join(_pieces(node))).strip()


def _pieces(node: nodes.Node) -> list[str]:
    if isinstance(node, nodes.Text):
        return [str(node)]
    if isinstance(node, nodes.math | nodes.math_block):
        return [node.astext() if PLAIN.fullmatch(node.astext()) else "…"]
    if isinstance(node, addnodes.pending_xref) and node["reftype"] in NAMELESS:
        return [NAMELESS[node["reftype"]]]
    if isinstance(node, nodes.raw):  # an explorer, say: Sphinx indexes its words, so they are ours
        text = HIDDEN.sub(" ", node.astext()) if "html" in node["format"].split() else ""
        return [html.unescape(re.sub(r"<[^>]*>", " ", text))]
    if isinstance(node, nodes.comment | nodes.substitution_definition):
        return []
    inner = [piece for child in node.children for piece in _pieces(child)]
    return inner if isinstance(node, nodes.Inline) else [*inner, " "]


def write_text(app: Sphinx, env: BuildEnvironment) -> None:
    """Write `search_text.js` for the search page."""
    text = json.dumps(dict(sorted(_all(env).items())), ensure_ascii=False, separators=(",", ":"))
    target = Path(app.outdir, "_static", "search_text.js")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"window.glassboxText = {text};\n", encoding="utf-8")


def add_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Load the text on the search page and on no other."""
    if pagename == "search":
        app.add_js_file("search_text.js", loading_method="defer")
        app.add_js_file("search.js", loading_method="defer")


def _all(env: BuildEnvironment) -> dict[str, list[list[str]]]:
    if not hasattr(env, "glassbox_text"):
        env.glassbox_text = {}
    return env.glassbox_text


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop the text of a page that changed or is gone."""
    _all(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Take over the text that a parallel process has read."""
    _all(env).update({name: _all(other)[name] for name in docnames if name in _all(other)})


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers; called by Sphinx."""
    app.connect("doctree-read", read_page)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", write_text)
    app.connect("html-page-context", add_scripts)
    return {"version": "1", "env_version": 1, "parallel_read_safe": True,
            "parallel_write_safe": True}  # fmt: skip
