"""Sphinx extension of this book: hover tips where npm is there, and repairs of the theme's HTML.

`setup` turns on sphinx-tippy if `book/assets.py` has put its two scripts into the vendor folder;
a machine without node builds the same site without hover tips. The page handlers drop scripts that
break in the browser, and `repair_html` mends what screen readers need.
It adds no directive, fetches nothing, and is not called `site` because Python's own `site` is
always imported first.
"""

import html
import json
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

# What the theme leaves out for screen readers, as (pattern, replacement) on the built HTML.
REPAIRS = [
    # the arrow that opens a page's sub-pages in the sidebar has no text
    (
        r'(<a class="(?:current )?reference internal" href="[^"]*">\s*)([^<]+?)'
        r"(\s*</a><details[^>]*>)<summary>",
        r'\1\2\3<summary aria-label="Pages of \2">',
    ),
    # a label must contain the words that are seen, and there are none for hidden icons
    (r'<summary aria-label="Toggle hidden content">', "<summary>"),
    (r'(search-button-field[^>]*?) title="Search" aria-label="Search"', r"\1"),
    (r'(<i class="theme-switch[^>]*?) title="[^"]*"', r'\1 aria-hidden="true"'),
    # a list needs list items; doc-biblioentry is deprecated
    (r'role="doc-biblioentry"', 'role="listitem"'),
]


def configure_tips(app: Sphinx, config: Config) -> None:
    """Point sphinx-tippy at our copies, and forbid it to ask other sites at build time."""
    config.tippy_js = TIP_SCRIPTS
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


def remove_old_tips(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Delete this page's earlier tip file: sphinx-tippy forgets those of pages in a folder."""
    page = Path(app.outdir, "_static", "tippy", pagename)
    for old in page.parent.glob(f"{page.name}.*.js"):
        old.unlink()


def drop_thebe(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Drop the scripts of thebe, which we do not use: emitted twice, they are a syntax error."""
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


def write_quiz_answers(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Fill `<div class="quiz-answers" data-quiz="quiz/NAME.json"></div>` with the quiz as a list.

    The quiz needs JavaScript; the list is what print and readers without it see (glassbox.css).
    """

    def answers(match: re.Match[str]) -> str:
        path = Path(app.srcdir, pagename).parent / match["quiz"]
        questions = json.loads(path.read_text(encoding="utf-8"))
        items = "".join(map(_answered, questions))
        intro = "<p>Every option, with its explanation:</p>"
        return f"{match[1]}{intro}<ol>{items}</ol>{_NO_SCRIPT}</div>"

    if "body" in context:
        context["body"] = re.sub(
            r'(<div class="quiz-answers" data-quiz="(?P<quiz>[^"]+)">)\s*</div>',
            answers,
            context["body"],
        )


_NO_SCRIPT = "<noscript><style>.quiz-answers { display: block !important; }</style></noscript>"


def _answered(question: dict[str, Any]) -> str:
    """One question as a list item: its text, then each option marked right or wrong."""
    options = "".join(
        f"<li><strong>{'Right' if a['correct'] else 'Wrong'}:</strong> "
        f"{html.escape(str(a.get('answer', a.get('code', ''))))}. {html.escape(a['feedback'])}</li>"
        for a in question["answers"]
    )
    return f"<li><p>{html.escape(question['question'])}</p><ul>{options}</ul></li>"


def repair_html(app: Sphinx, exception: Exception | None) -> None:
    """Apply the repairs to all built pages; doing it twice changes nothing."""
    if exception or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        built = mended = path.read_text(encoding="utf-8")
        for pattern, replacement in REPAIRS:
            mended = re.sub(pattern, replacement, mended)
        if mended != built:
            path.write_text(mended, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers; called by Sphinx."""
    if not (STATIC / "vendor" / "mathjax").is_dir():
        LOGGER.warning("book/_static/vendor has no MathJax: run `python book/assets.py` first.")
    app.add_css_file("glassbox.css", priority=900)
    app.add_js_file("quiz.js", loading_method="defer")
    if all((STATIC / script).is_file() for script in TIP_SCRIPTS):
        app.setup_extension("sphinx_tippy")
        app.add_js_file("tips.js", loading_method="defer", priority=800)
        app.connect("config-inited", configure_tips, priority=100)
        app.connect("html-page-context", remove_old_tips, priority=440)
    app.connect("html-page-context", load_mathjax_for_quiz, priority=450)
    app.connect("html-page-context", write_quiz_answers, priority=500)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("build-finished", repair_html)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
