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


def test_a_part_of_the_book_links_to_the_rest_in_the_network(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(pdf, "JOINED", tmp_path / "book.html")
    pdf.join({}, "ch01")
    part = BeautifulSoup(pdf.JOINED.read_text(encoding="utf-8"), "html.parser")
    shown = [text["id"] for text in part.select("article")]
    assert shown[0] == "ch01_architecture"
    assert all(name.startswith("ch01") for name in shown)
    assert [row["href"] for row in part.select("#contents a")] == [f"#{name}" for name in shown]
    links = {tag["href"] for tag in part.select("article a[href]")}
    assert any(re.match(r"https://.*/book/glossary\.html#term-", link) for link in links)
    with pytest.raises(SystemExit, match="No page's name begins with 'ch0x'"):
        pdf.main(["ch0x"])


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_a_printed_chapter() -> None:
    """Cover, contents with page numbers, text; a chapter, as the whole takes many minutes."""
    if reason := pdf.missing():
        pytest.skip(reason)
    command = [sys.executable, str(ROOT / "book" / "pdf.py"), "ch01"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    reader = PdfReader(pdf.TARGET.with_stem("glass-box-ch01"))
    texts = [page.extract_text() for page in reader.pages]
    assert "Glass Box" in texts[0]
    row = re.compile(r"^(.+?)\s+(\d+)$", re.M)
    first = int(row.search(texts[1])[2])  # the chapter's first page ends the contents
    told = [found for text in texts[1 : first - 1] for found in row.findall(text)]
    assert len(told) == len([part for part in pdf.order("ch01") if isinstance(part, pdf.Page)])
    attention = next(int(number) for title, number in told if title.strip() == "Attention")
    assert texts[attention - 1].lstrip().startswith(f"{attention}\nAttention\n")  # number, title
    assert len(reader.outline) > 5


@pytest.mark.slow
@pytest.mark.xdist_group("browser")
def test_a_formula_that_stays_plain_stops_the_printing(tmp_path: Path, monkeypatch) -> None:
    if reason := pdf.missing():
        pytest.skip(reason)
    monkeypatch.setattr(pdf, "JOINED", pdf.JOINED.with_name("one.html"))
    pdf.join({}, "ch01_attention")
    text = pdf.JOINED.read_text(encoding="utf-8").replace(
        "mathjax_process|math|", "mathjax_process|"
    )
    pdf.JOINED.write_text(text, encoding="utf-8")
    with pytest.raises(SystemExit, match="formulas not set"):
        pdf.print_it(tmp_path / "one.pdf")
    pdf.JOINED.unlink()
