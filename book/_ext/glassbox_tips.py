"""Sphinx extension: hover tips by sphinx-tippy, from copies of its scripts in the vendor folder.

Where `book/assets.py` could not put the scripts (no node), the site has no tips. Two repairs: a
term that shares its definition with the next one gets that definition, and what a page offers to
the tips of other pages is kept between builds (sphinx-tippy knows only the pages that this build
wrote, so a second build would take their tips away).
"""

import pickle
from pathlib import Path
from typing import Any

from bs4 import BeautifulSoup
from docutils.nodes import document
from sphinx.application import Sphinx
from sphinx.config import Config

STATIC = Path(__file__).resolve().parents[1] / "_static"
SCRIPTS = ["vendor/tippy/popper.min.js", "vendor/tippy/tippy-bundle.umd.min.js"]


def configure(app: Sphinx, config: Config) -> None:
    """Point sphinx-tippy at our copies, and forbid it to ask other sites at build time."""
    config.tippy_js = SCRIPTS
    config.tippy_enable_mathjax = True
    config.tippy_enable_wikitips = False
    config.tippy_enable_doitips = False
    config.tippy_props = {
        "maxWidth": 420,
        "theme": "glassbox",
        "interactive": True,
        "placement": "bottom-start",
    }
    config.tippy_anchor_parent_selector = "article.bd-article"  # not in the sidebar


def remove_old(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Delete this page's earlier tip file: sphinx-tippy forgets those of pages in a folder."""
    page = Path(app.outdir, "_static", "tippy", pagename)
    for old in page.parent.glob(f"{page.name}.*.js"):
        old.unlink()


def share_definitions(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Give each of several terms above one definition that definition, as the last of them has."""
    if doctree is None or "<dt" not in context["body"]:
        return
    tips = app.env.tippy_data["pages"][pagename]["id_to_html"]
    for term in BeautifulSoup(context["body"], "html.parser").select("dt[id] + dt[id]"):
        first = term.find_previous_sibling()
        while first is not None and first.name == "dt":
            tips[first["id"]] = tips[term["id"]]
            first = first.find_previous_sibling()


def add_script(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Load our part of the tips where sphinx-tippy loads its own: on pages with a text."""
    if doctree is not None:
        app.add_js_file("tips.js", loading_method="defer", priority=800)


def _kept(app: Sphinx) -> Path:
    return Path(app.doctreedir, "tips.pickle")


def recall(app: Sphinx) -> None:
    """Bring back what the pages that this build need not write offered in the build before."""
    pages = pickle.loads(_kept(app).read_bytes()) if _kept(app).is_file() else {}
    there = {name: page for name, page in pages.items() if page["js_path"].is_file()}
    app.env.tippy_data = {"pages": there, "wiki_titles": set()}


def remember(app: Sphinx, exception: Exception | None) -> None:
    """Keep the pages' tips for the next build."""
    if exception is None and app.builder.format == "html":
        pages = app.env.tippy_data["pages"]
        there = {name: page for name, page in pages.items() if name in app.env.all_docs}
        app.env.tippy_data["pages"] = there
        _kept(app).write_bytes(pickle.dumps(there))


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers where the scripts are; called by Sphinx."""
    if all((STATIC / script).is_file() for script in SCRIPTS):
        app.setup_extension("sphinx_tippy")
        app.connect("config-inited", configure, priority=100)
        app.connect("builder-inited", recall)
        app.connect("html-page-context", remove_old, priority=440)
        app.connect("html-page-context", share_definitions, priority=460)
        app.connect("html-page-context", add_script, priority=600)
        app.connect("build-finished", remember, priority=400)
    return {"parallel_read_safe": True, "parallel_write_safe": False}
