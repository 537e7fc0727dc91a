"""Print the built book to `_build/glass-box.pdf`: cover, contents with page numbers, every page.

The pages of `_build/html` are joined into one document, in the order of `_toc.yml`; ids get their
page's name in front, so that links between pages become links inside the document. Chromium prints
it (`_print/pdf.mjs`), sets the formulas and makes the outline. It is printed twice: the first time
tells on which page each title lands. Quizzes appear as lists of their options with explanations,
explorers as still pictures, hints and answers unfolded, folded code not at all.

    python book/pdf.py          (or: make pdf)
    python book/pdf.py ch06     the pages whose names begin so, to `_build/glass-box-ch06.pdf`
"""

import argparse
import html
import os
import posixpath
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import yaml
from bs4 import BeautifulSoup, Tag
from pypdf import PdfReader

from glassbox import __version__

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "_build" / "html"
JOINED = ROOT / "_build" / "print" / "book.html"
TARGET = ROOT / "_build" / "glass-box.pdf"
PRINT = ROOT / "book" / "_print"
LEFT_OUT = {"book/progress"}  # it lives in the reader's browser
GONE = "script, style, noscript, .headerlink, .Quiz, .gb-facts, .ex-live, details.hide"


@dataclass(frozen=True)
class Page:
    """A page of the book: its name, its depth in the contents, and the title it has there."""

    name: str
    level: int
    title: str = ""

    @property
    def id(self) -> str:
        """What stands before the page's ids in the joined document."""
        return self.name.rsplit("/", 1)[-1]


def order(only: str = "") -> list[str | Page]:
    """The parts (as captions) and pages of the book whose names begin with `only`, in order."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))

    def walk(nodes: list[dict], level: int) -> Iterator[str | Page]:
        for node in nodes:
            page = Page(node["file"], level, node.get("title", ""))
            if page.name not in LEFT_OUT and page.id.startswith(only):
                yield page
            yield from walk(node.get("sections", []), level + 1)

    found: list[str | Page] = [*walk([{"file": toc["root"]}], 0)]
    for part in toc["parts"]:
        pages = [*walk(part["chapters"], 0)]
        found += [part["caption"], *pages] if pages else []
    return found


def article(page: Page, pages: dict[str, Page], address: str) -> Tag:
    """A page's text, with ids, links and pictures that hold in the joined document."""
    soup = BeautifulSoup((SITE / f"{page.name}.html").read_text(encoding="utf-8"), "html.parser")
    text = soup.select_one("article.bd-article")
    for tag in text.select(GONE):
        tag.decompose()
    for tag in text.find_all("details"):
        tag["open"] = ""
    folder = posixpath.dirname(page.name)
    for tag in text.find_all(True):
        for name, value in list(tag.attrs.items()):
            if name == "id":
                tag[name] = f"{page.id}--{value}"
            elif name in ("for", "aria-labelledby", "aria-describedby"):
                tag[name] = " ".join(f"{page.id}--{part}" for part in str(value).split())
            elif name in ("href", "xlink:href"):
                tag[name] = _link(str(value), page, pages, folder, address)
            elif name == "src" and not urlsplit(str(value)).scheme:
                tag[name] = f"../html/{posixpath.normpath(posixpath.join(folder, str(value)))}"
            elif isinstance(value, str) and "url(#" in value:
                tag[name] = value.replace("url(#", f"url(#{page.id}--")
    text["id"] = page.id
    return text


def _link(url: str, page: Page, pages: dict[str, Page], folder: str, address: str) -> str:
    """A link inside the document where its page is in it, else to the book's address."""
    parts = urlsplit(url)
    if parts.scheme or parts.netloc:
        return url
    path = posixpath.normpath(posixpath.join(folder, unquote(parts.path))) if parts.path else ""
    there = pages.get(path.removesuffix(".html")) if path else page
    if there is None:
        return f"{address}{path}" + (f"#{parts.fragment}" if parts.fragment else "")
    return f"#{there.id}--{parts.fragment}" if parts.fragment else f"#{there.id}"


def contents(parts: list[str | Page], titles: dict[str, str], numbers: dict[str, int]) -> str:
    """The table of contents; `numbers` is empty the first time."""
    rows = []
    for part in parts:
        if isinstance(part, str):
            rows.append(f'<li class="part">{html.escape(part)}</li>')
            continue
        number = numbers.get(part.id, "")
        rows.append(
            f'<li class="level{part.level}"><a href="#{part.id}"><span>{titles[part.id]}</span>'
            f"<i></i><b>{number}</b></a></li>"
        )
    return f'<nav id="contents"><h1>Contents</h1><ol>{"".join(rows)}</ol></nav>'


def styles(pages: Iterable[Page]) -> str:
    """The style sheets of the pages, each once."""
    found: dict[str, None] = {}
    for page in pages:
        text = (SITE / f"{page.name}.html").read_text(encoding="utf-8")
        for url in re.findall(r'<link[^>]*href="([^"]*\.css[^"]*)"', text):
            found[posixpath.normpath(posixpath.join(posixpath.dirname(page.name), url))] = None
    ours = [url for url in found if "glassbox.css" in url or "explore.css" in url]
    ordered = [url for url in found if url not in ours] + ours
    return "".join(f'<link rel="stylesheet" href="../html/{url}">' for url in ordered)


def join(numbers: dict[str, int], only: str = "") -> None:
    """Write the book, or the pages that begin with `only`, as one document."""
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    parts = order(only)
    pages = {part.name: part for part in parts if isinstance(part, Page)}
    texts = {p.id: article(p, pages, config["html"]["baseurl"]) for p in pages.values()}
    titles = {
        page.id: page.title or texts[page.id].select_one("h1").decode_contents()
        for page in pages.values()
    }
    style = (PRINT / "pdf.css").read_text(encoding="utf-8")
    cover = (PRINT / "cover.html").read_text(encoding="utf-8").format(version=__version__)
    JOINED.parent.mkdir(parents=True, exist_ok=True)
    JOINED.write_text(
        '<!doctype html><html lang="en" data-theme="light" data-mode="light"><head>'
        f'<meta charset="utf-8"><title>{config["title"]}</title>'
        f"{styles(pages.values())}<style>{style}</style>"
        '<script>window.MathJax = {"options": {"processHtmlClass": "tex2jax_process|'
        'mathjax_process|math|output_area"}}</script>'
        '<script defer src="../html/_static/vendor/mathjax/tex-mml-chtml.js"></script></head>'
        f"<body>{cover}{contents(parts, titles, numbers)}"
        f"{''.join(str(text) for text in texts.values())}</body></html>",
        encoding="utf-8",
    )


def print_it(target: Path) -> None:
    """Let chromium print the joined document."""
    command = ["node", str(PRINT / "pdf.mjs"), str(JOINED), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    if done.returncode:
        raise SystemExit(f"The book could not be printed:\n{done.stderr[-2000:]}")


def page_numbers(target: Path) -> dict[str, int]:
    """On which page each page of the book begins, as the printed file says."""
    reader = PdfReader(target)
    found = reader.named_destinations
    return {
        part.id: reader.get_destination_page_number(found[f"/{part.id}"]) + 1
        for part in order()
        if isinstance(part, Page) and f"/{part.id}" in found
    }


def missing() -> str:
    """What this machine lacks to print, as one line; nothing if it can."""
    chromium = os.environ.get("CHROMIUM", "/usr/bin/chromium")
    if not (SITE / "book" / "intro.html").is_file():
        return "the book is not built: run make book"
    if not Path(chromium).is_file():
        return f"no browser at {chromium}: run make system, or set CHROMIUM to a chromium or chrome"
    if not shutil.which("node") or not (ROOT / "node_modules" / "playwright-core").is_dir():
        return "node or playwright-core is not installed: run make system, then npm ci"
    return ""


def main(argv: list[str] | None = None) -> None:
    """Print the book, or a part of it."""
    parser = argparse.ArgumentParser(description="Print the built book.")
    parser.add_argument("only", nargs="?", default="", metavar="NAME",
                        help="only the pages whose names begin so, such as ch06")  # fmt: skip
    only = parser.parse_args(argv).only
    if reason := missing():
        raise SystemExit(f"The book cannot be printed here: {reason}")
    if not order(only):
        raise SystemExit(f"No page's name begins with {only!r}: see the file names in _toc.yml.")
    target = TARGET.with_stem(f"{TARGET.stem}-{only}") if only else TARGET
    join({}, only)
    print_it(target)
    join(page_numbers(target), only)
    print_it(target)
    print(f"{target.relative_to(ROOT)}: {len(PdfReader(target).pages)} pages")


if __name__ == "__main__":
    main()
