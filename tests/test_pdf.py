"""The printed book: the joined document of the built site, and what chromium makes of it."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from pypdf import PdfReader

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "book"))  # a script, in no package
import pdf  # noqa: E402


@pytest.fixture(scope="module")
def book() -> BeautifulSoup:
    if not (pdf.SITE / "book" / "intro.html").is_file():
        pytest.skip("the site is not built: run make book")
    pdf.join({"ch01_attention": 17})
    return BeautifulSoup(pdf.JOINED.read_text(encoding="utf-8"), "html.parser")


def test_every_page_is_in_the_book_once(book: BeautifulSoup) -> None:
    pages = [part for part in pdf.order() if isinstance(part, pdf.Page)]
    assert [text["id"] for text in book.select("article")] == [page.id for page in pages]
    assert "progress" not in {page.id for page in pages}


def test_links_and_pictures_hold(book: BeautifulSoup) -> None:
    ids = [tag["id"] for tag in book.find_all(id=True)]
    double = {name for name in ids if ids.count(name) > 1}
    assert not double
    links = [tag["href"] for tag in book.select("article a[href]")]
    assert len([link for link in links if link.startswith("#")]) > 100
    dead = [link for link in links if link.startswith("#") and link[1:] not in ids]
    assert not dead, dead
    assert not [link for link in links if not link.startswith(("#", "http", "mailto:"))]
    for image in book.select("article img"):
        assert (pdf.JOINED.parent / image["src"]).resolve().is_file(), image["src"]


def test_nothing_needs_a_hand(book: BeautifulSoup) -> None:
    assert not book.select("article script, .Quiz, .ex-live, button")
    assert not book.select("details:not([open])")
    assert book.select(".quiz-answers li")


def test_contents_give_page_numbers(book: BeautifulSoup) -> None:
    row = book.select_one('#contents a[href="#ch01_attention"]')
    assert row.get_text(" ", strip=True) == "Attention 17"
    chapter = book.select_one('#contents a[href="#ch01_architecture"]')
    assert chapter.get_text(strip=True) == "1. Architecture"


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_the_printed_book() -> None:
    if reason := pdf.missing():
        pytest.skip(reason)
    command = [sys.executable, str(ROOT / "book" / "pdf.py")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    reader = PdfReader(pdf.TARGET)
    texts = [page.extract_text() for page in reader.pages]
    assert "Glass Box" in texts[0]
    row = re.compile(r"^(.+?)\s+(\d+)$", re.M)
    first = int(row.search(texts[1])[2])  # the book's first page ends the contents
    told = [found for text in texts[1 : first - 1] for found in row.findall(text)]
    assert len(told) == len([part for part in pdf.order() if isinstance(part, pdf.Page)])
    attention = next(int(number) for title, number in told if title.strip() == "Attention")
    assert texts[attention - 1].lstrip().startswith(f"{attention}\nAttention\n")  # number, title
    assert not [number for number, text in enumerate(texts, 1) if re.search(r"\\[([]", text)]
    assert len(reader.outline) > 10
