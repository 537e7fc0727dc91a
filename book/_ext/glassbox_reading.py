"""What a page says about itself: minutes to read, what to read first, its lab, its sections.

The facts are computed when a page is read and kept in Sphinx's environment, so that an incremental
build knows those of pages it did not touch. They go to two places: the line under a page's title,
and `_static/contents.js`, from which `progress.js` knows what there is to read. Which sections a
reader has read is known to the reader's browser alone, not to this module.

A page names what to read first in its front matter, as pages or as plain words:

    prerequisites: [ch01_architecture, notation, matrix product]

and which of its chapter's labs it leads to, where that is not the first one:

    lab: lab07_lora
"""

import hashlib
import html
import json
import math
import posixpath
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment

# Seconds that each takes a reader, measured against the times that the chapters state.
SECONDS = {"word": 60 / 150, "code line": 4, "formula": 25, "figure": 25}
CHAPTER = re.compile(r"book/ch\d\d_")
QUIZ = re.compile(r'data-quiz="([^"]+)"')


def read_page(app: Sphinx, doctree: nodes.document) -> None:
    """Keep the facts of a page; called for each page that is read."""
    name = app.env.docname
    title = next(iter(doctree.findall(nodes.section)), None)
    if title is None:
        return
    sections = [part for part in title.children if isinstance(part, nodes.section)]
    quizzes = [
        Path(app.srcdir, name).parent / path
        for raw in doctree.findall(nodes.raw)
        for path in QUIZ.findall(raw.astext())
    ]
    questions = [q["question"] for path in quizzes for q in json.loads(path.read_text("utf-8"))]
    facts = {
        "title": label(title),
        "seconds": seconds(doctree),
        "sections": [(part["ids"][0], label(part), round(seconds(part))) for part in sections],
        "quiz": [hashlib.sha256(text.encode()).hexdigest()[:8] for text in questions],
    }
    _all(app.env)[name] = facts


def label(section: nodes.section) -> str:
    """A section's title as text, with its formulas between \\( and \\)."""
    title = section.next_node(nodes.title)
    parts = (
        f"\\({node.astext()}\\)" if isinstance(node, nodes.math) else node.astext()
        for node in title.children
    )
    return "".join(parts)


def seconds(node: nodes.Node) -> float:
    """The time to read a node: words, lines of code, formulas and figures, without outputs."""
    if isinstance(node, nodes.Text):
        return len(node.split()) * SECONDS["word"]
    if isinstance(node, nodes.literal_block):
        return len(node.astext().splitlines()) * SECONDS["code line"]
    if isinstance(node, nodes.math_block):
        return SECONDS["formula"]
    if isinstance(node, nodes.raw | nodes.comment | nodes.math | nodes.field_list):
        return 0.0
    if isinstance(node, nodes.Element) and node.get("nb_element") == "cell_code_output":
        return 0.0
    own = SECONDS["figure"] if isinstance(node, nodes.figure) else 0.0
    return own + sum(seconds(child) for child in node.children)


def minutes(facts: dict[str, Any]) -> int:
    """Minutes of reading, in steps of five where an exact number would be a pretence."""
    exact = facts["seconds"] / 60
    return max(1, math.ceil(exact)) if exact < 12 else 5 * round(exact / 5)


def write_contents(app: Sphinx, env: BuildEnvironment) -> None:
    """Write `contents.js`: the pages whose progress is kept, in the order of the book."""
    pages = [page for name in order(env) if (page := _entry(env, name))]
    text = json.dumps(pages, ensure_ascii=False, separators=(",", ":"))
    target = Path(app.outdir, "_static", "contents.js")
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(f"window.glassboxContents = {text};\n", encoding="utf-8")


def _entry(env: BuildEnvironment, name: str) -> dict[str, Any] | None:
    facts = _all(env).get(name)
    if facts is None or not (CHAPTER.match(name) or is_lab(name)):
        return None
    # a lab is one thing to do; its exercises are ticked by its own checks
    sections = [("done", "Lab done", 0)] if is_lab(name) else facts["sections"]
    return {"name": name, "title": facts["title"], "sections": sections, "quiz": facts["quiz"]}


def order(env: BuildEnvironment) -> Iterator[str]:
    """All pages, in the order of the table of contents."""

    def walk(name: str) -> Iterator[str]:
        yield name
        for child in env.toctree_includes.get(name, []):
            yield from walk(child)

    return walk(env.config.root_doc)


def is_lab(name: str) -> bool:
    """Whether a page is a lab's notebook."""
    return name.startswith("labs/")


def add_facts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: nodes.document
) -> None:
    """Put the line of facts under the title of a chapter's page or a lab."""
    facts = _all(app.env).get(pagename)
    if facts is None or not (CHAPTER.match(pagename) or is_lab(pagename)):
        return
    items = [*(_run(context) if is_lab(pagename) else [f"About {minutes(facts)} min"])]
    first = [_link(app, pagename, name) for name in prerequisites(app.env, pagename)]
    items += [f"Read first: {', '.join(first)}"] if first else []
    lab = None if is_lab(pagename) else lab_of(app.env, pagename)
    items += [f"Quiz: {len(facts['quiz'])} questions"] if facts["quiz"] else []
    items += [f"Then do: {_link(app, pagename, lab)}"] if lab else []
    line = "".join(f"<li>{item}</li>" for item in items)
    body = context["body"]
    context["body"] = re.sub(
        r"</h1>", lambda _: f'</h1>\n<ul class="gb-facts" aria-label="This page">{line}</ul>', body,
        count=1,
    )  # fmt: skip


def prerequisites(env: BuildEnvironment, name: str) -> list[str]:
    """What the front matter says; for a lab without any, the pages of its chapter."""
    given = env.metadata[name].get("prerequisites", [])
    given = json.loads(given) if isinstance(given, str) else given
    if not given and is_lab(name) and (chapter := _chapter(env, name)):
        return [page for page in [chapter, *env.toctree_includes[chapter]] if not is_lab(page)]
    pages = [posixpath.normpath(posixpath.join(posixpath.dirname(name), item)) for item in given]
    return [page if page in env.titles else item for page, item in zip(pages, given, strict=True)]


def lab_of(env: BuildEnvironment, name: str) -> str | None:
    """The lab of its chapter that a page's front matter names, else the first; ValueError if none
    has that name.
    """
    chapter = _chapter(env, name) or name
    labs = [page for page in env.toctree_includes.get(chapter, []) if is_lab(page)]
    wanted = env.metadata[name].get("lab")
    if wanted is None:
        return labs[0] if labs else None
    named = {posixpath.basename(lab): lab for lab in labs}
    if wanted not in named:
        raise ValueError(f"{name} names the lab {wanted!r}; its chapter has {', '.join(named)}.")
    return named[wanted]


def _chapter(env: BuildEnvironment, name: str) -> str | None:
    """The page of a chapter that lists `name` among its sections."""
    root = env.config.root_doc
    lists = env.toctree_includes.items()
    return next((page for page, parts in lists if name in parts and page != root), None)


def _link(app: Sphinx, here: str, there: str) -> str:
    """A link to a page, or the words themselves where there is no such page."""
    if there not in app.env.titles:
        return html.escape(there)
    url = app.builder.get_relative_uri(here, there)
    title = html.escape(_all(app.env)[there]["title"])
    return f'<a class="reference internal" href="{url}">{title}</a>'


def _run(context: dict[str, Any]) -> list[str]:
    """The links that open a lab somewhere; the theme has computed them from `_config.yml`."""
    groups = [g for g in context["header_buttons"] if g.get("label") == "launch-buttons"]
    links = [
        f'<a href="{html.escape(button["url"])}">{button["text"]}</a>'
        for group in groups
        for button in group["buttons"]
    ]
    return [f"Run it: {', '.join(links)}"] if links else []


def _all(env: BuildEnvironment) -> dict[str, dict[str, Any]]:
    if not hasattr(env, "glassbox_pages"):
        env.glassbox_pages = {}
    return env.glassbox_pages


def forget(app: Sphinx, env: BuildEnvironment, docname: str) -> None:
    """Drop the facts of a page that changed or is gone."""
    _all(env).pop(docname, None)


def merge(app: Sphinx, env: BuildEnvironment, docnames: list[str], other: BuildEnvironment) -> None:
    """Take over the facts that a parallel process has read."""
    _all(env).update({name: _all(other)[name] for name in docnames if name in _all(other)})


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers; called by Sphinx."""
    app.connect("doctree-read", read_page)
    app.connect("env-purge-doc", forget)
    app.connect("env-merge-info", merge)
    app.connect("env-updated", write_contents)
    app.connect("html-page-context", add_facts, priority=700)
    app.add_js_file("contents.js", loading_method="defer")
    app.add_js_file("progress.js", loading_method="defer")
    return {"version": "1", "env_version": 1, "parallel_read_safe": True,
            "parallel_write_safe": True}  # fmt: skip
