"""Sphinx extension of this book: the frame of its pages, and repairs of the theme's HTML.

`setup` turns on the line of facts under a title (glassbox_reading), the passages under search
results (glassbox_search) and the hover tips (glassbox_tips). A machine without node builds the same
site without hover tips and with the system's fonts. The page handlers drop scripts that break in
the browser or that a page does not need, and `repair_html` mends what screen readers need and draws
the icons (glassbox_icons).
It adds no directive, fetches nothing, and is not called `site` because Python's own `site` is
always imported first.
"""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import glassbox_icons
from docutils import nodes
from docutils.nodes import document
from sphinx.application import Sphinx
from sphinx.util import logging

LOGGER = logging.getLogger(__name__)
STATIC = Path(__file__).resolve().parents[1] / "_static"

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
    # 1.5 MB of icons, of which glassbox_icons draws the twenty that are used
    (r'\s*<script defer src="[^"]*/fontawesome\.js[^"]*"></script>', ""),
]
# The search index is for the search page; the theme loads it, whole, on every page.
INDEX = re.compile(
    r'\s*<script src="[^"]*(?:searchtools|language_data|searchindex)\.js[^"]*"></script>'
)
NOT_FOUND = Path(__file__).with_name("not_found.html")
CARD = "card.png"


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
    """Give a page with a quiz MathJax, and its quiz a MathJax that waits.

    jupyterquiz reads MathJax's version half a second after it has shown the questions. Where
    MathJax is not there yet that is an error, and a half-loaded one makes it ask a CDN. So its own
    script gets `quizMath` (quiz.js) in the place of MathJax.
    """
    body = context.get("body", "")
    if doctree is None or "show_questions" not in body:
        return
    app.env.get_domain("math").data["has_equations"][pagename] = True
    context["body"] = _QUIZ_SCRIPT.sub(lambda s: re.sub(r"\bMathJax\b", "quizMath", s[0]), body)


_QUIZ_SCRIPT = re.compile(
    r'<script type="application/javascript">(?:(?!</script>).)*?\bshow_questions\b.*?</script>',
    re.S,
)


def launch_labs_only(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Keep the launch buttons where they open what is seen: a chapter is no file for Colab."""
    if not pagename.startswith("labs/"):
        buttons = context.get("header_buttons", [])
        context["header_buttons"] = [b for b in buttons if b.get("label") != "launch-buttons"]


def add_card(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: document | None
) -> None:
    """Say in the page's head how a link to it is shown elsewhere: title, first lines, picture."""
    base = app.config.html_baseurl.rstrip("/")
    if doctree is None or not base:
        return
    title = re.sub(r"<[^>]*>", "", context.get("title", "")) or app.config.html_title
    facts = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": html.unescape(title),
        "og:description": _first_lines(doctree),
        "og:url": f"{base}/{pagename}.html",
        "og:image": f"{base}/_static/{CARD}",
        "og:image:width": "1200",
        "og:image:height": "630",
        "og:image:alt": "Glass Box: how large language models work and what they cost",
    }
    tags = "".join(
        f'\n<meta property="{name}" content="{html.escape(value)}" />'
        for name, value in facts.items()
    )
    about = f'\n<meta name="description" content="{html.escape(facts["og:description"])}" />'
    card = '\n<meta name="twitter:card" content="summary_large_image" />'
    context["metatags"] = f"{context.get('metatags', '')}{about}{tags}{card}"


def _first_lines(doctree: document) -> str:
    """The beginning of a page's text, at most 200 characters, cut at a word."""
    texts = (" ".join(p.astext().split()) for p in doctree.findall(nodes.paragraph))
    text = next((text for text in texts if len(text) > 60), "")
    return text if len(text) <= 200 else text[:199].rsplit(" ", 1)[0] + "…"


def not_found_page(app: Sphinx) -> Iterator[tuple[str, dict[str, Any], str]]:
    """The page that a web server shows where there is none."""
    body = NOT_FOUND.read_text(encoding="utf-8")
    yield "404", {"title": "No page here", "body": body}, "page.html"


def root_links(app: Sphinx) -> None:
    """Make the links of 404.html start at the site's root: it is shown at any address."""
    page = Path(app.outdir, "404.html")
    root = f"{urlsplit(app.config.html_baseurl).path.rstrip('/')}/"
    attribute = r'(\b(?:href|src|action|data-content_root)=")'
    pattern = rf'{attribute}(?!https?:|#|/|mailto:|data:)(?:\./)?([^"]*)'
    text = page.read_text(encoding="utf-8")
    page.write_text(re.sub(pattern, rf"\g<1>{root}\2", text), encoding="utf-8")


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
    undrawn = set()
    for path in Path(app.outdir).rglob("*.html"):
        built = mended = path.read_text(encoding="utf-8")
        for pattern, replacement in REPAIRS:
            mended = re.sub(pattern, replacement, mended)
        if path.name != "search.html":
            mended = INDEX.sub("", mended)
        mended = glassbox_icons.inline(mended)
        undrawn |= glassbox_icons.missing(mended)
        if mended != built:
            path.write_text(mended, encoding="utf-8")
    if undrawn:
        LOGGER.warning("draw these icons in book/_ext/glassbox_icons.py: %s", sorted(undrawn))
    root_links(app)


def notice_static(app: Sphinx, env: Any, added: set, changed: set, removed: set) -> list[str]:
    """Rebuild a page when a file of ours in `_static` is new: else Sphinx would not copy it."""
    copies = Path(app.outdir, "_static")
    sources = [path for path in STATIC.iterdir() if path.is_file()]
    new = (path.stat().st_mtime > _time_of(copies / path.name) for path in sources)
    return [app.config.root_doc] if any(new) else []


def _time_of(path: Path) -> float:
    return path.stat().st_mtime if path.exists() else 0.0


def drop_unused(app: Sphinx, exception: Exception | None) -> None:
    """Take files out of the site that no page loads: the theme's icon script and source maps."""
    static = Path(app.outdir, "_static")
    for unused in {*static.rglob("*.map"), *static.glob("scripts/fontawesome.js*")}:
        unused.unlink()


def setup(app: Sphinx) -> dict[str, Any]:
    """Register the handlers; called by Sphinx."""
    if not (STATIC / "vendor" / "mathjax").is_dir():
        LOGGER.warning("book/_static/vendor has no MathJax: run `python book/assets.py` first.")
    if (STATIC / "vendor" / "fonts" / "fonts.css").is_file():
        app.add_css_file("vendor/fonts/fonts.css", priority=890)
    app.add_css_file("glassbox.css", priority=900)
    app.add_js_file("quiz.js")  # not deferred: the quiz's own script, in the page, uses it
    app.setup_extension("glassbox_reading")
    app.setup_extension("glassbox_search")
    app.setup_extension("glassbox_tips")
    app.connect("html-page-context", load_mathjax_for_quiz, priority=450)
    app.connect("html-page-context", write_quiz_answers, priority=500)
    app.connect("html-page-context", add_card, priority=500)
    app.connect("html-page-context", launch_labs_only, priority=800)
    app.connect("html-page-context", drop_thebe, priority=900)
    app.connect("env-get-outdated", notice_static)
    app.connect("html-collect-pages", not_found_page)
    app.connect("build-finished", repair_html)
    app.connect("build-finished", drop_unused)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
