"""Sphinx extension of this book: hover tips where npm is there, and repairs of the theme's HTML.

`setup` turns on sphinx-tippy if `book/assets.py` has put its two scripts into the vendor folder;
a machine without node builds the same site without hover tips. The page handlers drop scripts that
break in the browser, and `name_toggles` gives the navigation's arrows a name for screen readers.
It adds no directive, fetches nothing, and is not called `site` because Python's own `site` is
always imported first.
"""

import re
from pathlib import Path
from typing import Any

from docutils.nodes import document
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
STATIC = Path(__file__).resolve().parents[1] / "_static"
TIP_SCRIPTS = ["vendor/tippy/popper.min.js", "vendor/tippy/tippy-bundle.umd.min.js"]

# In the sidebar: a link, then the arrow that opens its sub-pages. The arrow has no text.
TOGGLE = re.compile(r'(<a class="reference internal" href="[^"]*">\s*)([^<]+?)(\s*</a><details[^>]*>)<summary>')


def configure_tips(app: Sphinx, config: Config) -> None:
    """Point sphinx-tippy at our copies, and forbid it to ask other sites at build time."""
    config.tippy_js = TIP_SCRIPTS
    config.tippy_enable_mathjax = True
    config.tippy_enable_wikitips = False
    config.tippy_enable_doitips = False
    config.tippy_props = {"maxWidth": 420, "theme": "glassbox"}
    # Links that lead to a whole page or section need no preview: their text names the place.
    config.tippy_skip_anchor_classes = ("headerlink", "sd-stretched-link", "reference-skip")


def remove_old_tips(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Delete this page's earlier tip file: sphinx-tippy forgets those of pages in a folder."""
    page = Path(app.outdir, "_static", "tippy", pagename)
    for old in page.parent.glob(f"{page.name}.*.js"):
        old.unlink()


def mend_page(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Drop thebe's scripts (emitted twice, a syntax error) and load MathJax beside a quiz."""
    context["script_files"] = [
        script
        for script in context.get("script_files", [])
        if "thebe" not in f"{script} {getattr(script, 'attributes', {})}".lower()
    ]


def load_mathjax_for_quiz(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Mark a page with a quiz as one with formulas: else the quiz asks a CDN for MathJax."""
    if doctree is not None and "show_questions" in context.get("body", ""):
        app.env.get_domain("math").data["has_equations"][pagename] = True


def name_toggles(app: Sphinx, exception: Exception | None) -> None:
    """Give every navigation arrow an `aria-label`, in all built pages."""
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        html = path.read_text(encoding="utf-8")
        named = TOGGLE.sub(r'\1\2\3<summary aria-label="Pages of \2">', html)
        if named != html:
            path.write_text(named, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers; called by Sphinx."""
    if not (STATIC / "vendor" / "mathjax").is_dir():
        LOGGER.warning("book/_static/vendor has no MathJax: run `python book/assets.py` first.")
    app.add_css_file("glassbox.css", priority=900)
    app.add_js_file("quiz.js", loading_method="defer")
    if all((STATIC / script).is_file() for script in TIP_SCRIPTS):
        app.setup_extension("sphinx_tippy")
        app.add_js_file("tips.js", loading_method="defer")
        app.connect("config-inited", configure_tips, priority=100)
        app.connect("html-page-context", remove_old_tips, priority=440)
    app.connect("html-page-context", load_mathjax_for_quiz, priority=450)
    app.connect("html-page-context", mend_page, priority=900)
    app.connect("build-finished", name_toggles)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
