"""The book's sources, and the built site where there is one, without a browser."""

import ast
import html
import json
import os
import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
import yaml
from bs4 import BeautifulSoup

ROOT = Path(__file__).resolve().parents[1]
BOOK = ROOT / "book"
SITE = ROOT / "_build" / "html"
QUIZZES = sorted((BOOK / "quiz").glob("*.json"))

# --- sources ---------------------------------------------------------------------------------


def toc_files(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        yield from (node[key] for key in ("root", "file") if key in node)
        for value in node.values():
            yield from toc_files(value)
    elif isinstance(node, list):
        for value in node:
            yield from toc_files(value)


def test_toc_and_pages_agree() -> None:
    listed = list(toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text())))
    pages = {f"book/{path.stem}" for path in BOOK.glob("*.md")}
    labs = {str(path.with_suffix("").relative_to(ROOT)) for path in ROOT.glob("labs/*/lab*.ipynb")}
    assert len(listed) == len(set(listed)), "a page is listed twice"
    assert set(listed) == pages | labs


# The only names for a quantity are those of book/notation.md, which is also the one place where the
# names of other people's code may stand.
BANNED = {
    "num_heads", "n_head", "emb_dim", "embed_dim", "n_embd", "hidden_size", "block_size", "seq_len",
}  # fmt: skip


def code_of(path: Path) -> Iterator[str]:
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        yield text
    elif path.suffix == ".md":
        fences = r"^```(?:python|\{code-cell\}[^\n]*)\n(?:---\n.*?^---\n)?(.*?)^```"
        yield from re.findall(fences, text, re.M | re.S)
    else:
        cells = json.loads(text)["cells"]
        yield from ("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def names_given(code: str) -> set[str]:
    """Names that the code itself introduces or uses; arguments of a library call do not count."""
    code = "\n".join("" if re.match(r"\s*[%!:]", line) else line for line in code.splitlines())
    found = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.arg):
            found.add(node.arg)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found.add(node.attr)
    return found


def our_code() -> list[Path]:
    folders = ["glassbox", "autograder", "solutions", "book", "tests", "benchmarks"]
    files = [path for name in folders for path in (ROOT / name).rglob("*.py")]
    files += [*BOOK.glob("*.md"), *ROOT.glob("labs/*/lab*.ipynb")]
    return sorted(path for path in files if not path.name.startswith("."))


def test_one_name_for_each_quantity() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}: {name}"
        for path in our_code()
        for code in code_of(path)
        for name in sorted(names_given(code) & BANNED)
    ]
    assert not wrong, "\n".join(wrong)


def test_the_name_check_sees_names() -> None:
    assert names_given("def f(seq_len): self.n_head = g(embed_dim=1)") & BANNED == {
        "seq_len",
        "n_head",
    }


@pytest.mark.parametrize("path", QUIZZES, ids=lambda path: path.stem)
def test_quiz(path: Path) -> None:
    questions = json.loads(path.read_text(encoding="utf-8"))
    assert questions
    texts = [question["question"] for question in questions]
    assert len(texts) == len(set(texts)), "a question is asked twice"
    for question in questions:
        about = f"{path.name}: {question['question']!r}"
        assert question["type"] in {"multiple_choice", "many_choice"}, about
        answers = question["answers"]
        right = sum(answer["correct"] for answer in answers)
        assert len(answers) >= 2, about
        assert right == 1 if question["type"] == "multiple_choice" else right >= 1, about
        for field in ("answer", "feedback"):
            given = [answer[field].strip() for answer in answers]
            assert all(given), f"{about}: empty {field}"
            assert len(set(given)) == len(given), f"{about}: two options have the same {field}"


def test_npm_packages_are_pinned_and_name_no_registry() -> None:
    package = json.loads((ROOT / "package.json").read_text())
    lock = json.loads((ROOT / "package-lock.json").read_text())
    wanted = package["dependencies"] | package["devDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in wanted.values())
    for name, version in wanted.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    hosts = {urlsplit(entry.get("resolved", "")).netloc for entry in lock["packages"].values()}
    assert hosts <= {""}


# --- the built site --------------------------------------------------------------------------


def built_pages() -> list[Path]:
    return sorted(p for p in SITE.rglob("*.html") if not p.relative_to(SITE).parts[0][0] == "_")


@cache
def soup(path: Path) -> BeautifulSoup:
    return BeautifulSoup(path.read_text(encoding="utf-8"), "html.parser")


@cache
def targets(path: Path) -> set[str]:
    return {tag["id"] for tag in soup(path).find_all(id=True)}


@pytest.fixture(scope="module")
def pages() -> list[Path]:
    found = built_pages()
    if not found:
        reason = "the site is not built: run make book"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


@pytest.fixture(scope="module")
def articles(pages: list[Path]) -> list[Path]:
    """Pages that a source of ours made, as against search, index and the redirect at the root."""
    return [page for page in pages if page.parent != SITE]


def test_every_page_of_the_toc_is_built(pages: list[Path]) -> None:
    for name in toc_files(yaml.safe_load((ROOT / "_toc.yml").read_text())):
        assert SITE / f"{name}.html" in pages


def test_print_has_every_quiz_option(articles: list[Path]) -> None:
    for quiz in QUIZZES:
        options = [a["answer"] for q in json.loads(quiz.read_text()) for a in q["answers"]]
        pages = [
            p.read_text() for p in articles if f'data-quiz="quiz/{quiz.name}"' in p.read_text()
        ]
        assert len(pages) == 1, f"no page has a list of answers of {quiz.name}"
        listed = pages[0].split('class="quiz-answers"')[1]
        assert listed.count("<strong>Right:</strong>") >= 1
        assert [x for x in options if html.escape(str(x)) not in listed] == []


def test_internal_links_and_images_resolve(pages: list[Path]) -> None:
    dead = []
    for page in pages:
        for tag in soup(page).find_all(["a", "img", "link", "script", "source"]):
            url = urlsplit(tag.get("href") or tag.get("src") or "")
            if url.scheme or url.netloc or not (url.path or url.fragment):
                continue
            target = (page.parent / unquote(url.path)).resolve() if url.path else page
            if target.is_dir():
                target /= "index.html"
            if not target.is_file():
                dead.append(f"{page.relative_to(SITE)}: {url.geturl()} is not there")
            elif url.fragment and target.suffix == ".html" and tag.name == "a":
                if unquote(url.fragment) not in targets(target):
                    dead.append(f"{page.relative_to(SITE)}: no #{url.fragment} in {target.name}")
    assert not dead, "\n".join(dead)


def test_nothing_is_loaded_from_elsewhere(pages: list[Path]) -> None:
    outside = [
        f"{page.relative_to(SITE)}: {tag}"
        for page in pages
        for tag in soup(page).find_all(["script", "link", "img", "iframe", "source"])
        if re.match(r"(https?:)?//", tag.get("src") or tag.get("href") or "")
        and tag.get("rel") != ["canonical"]
    ]
    assert not outside, "\n".join(outside)


def test_one_heading_of_the_first_level(articles: list[Path]) -> None:
    titles = "h1:not(.onlyprint h1)"  # the theme repeats the title for print
    wrong = {p.name: n for p in articles if (n := len(soup(p).select(titles))) != 1}
    assert not wrong


def test_headings_skip_no_level(articles: list[Path]) -> None:
    wrong = []
    for page in articles:
        levels = [int(h.name[1]) for h in soup(page).select("article :is(h1, h2, h3, h4, h5, h6)")]
        wrong += [f"{page.name}: h{a} then h{b}" for a, b in pairwise(levels) if b > a + 1]
    assert not wrong, "\n".join(wrong)


def test_every_image_has_alternative_text(articles: list[Path]) -> None:
    wrong = [
        f"{page.name}: {image.get('src')}"
        for page in articles
        for image in soup(page).select("article img")
        if len(image.get("alt", "").strip()) < 15 or image["alt"].startswith(("../", "_images"))
    ]
    assert not wrong, "\n".join(wrong)


def test_no_cell_failed_and_no_widget_needs_a_kernel(articles: list[Path]) -> None:
    for page in articles:
        text = page.read_text(encoding="utf-8")
        assert "application/vnd.jupyter.widget-view" not in text, page.name
        if page.is_relative_to(SITE / "book"):
            tags = soup(page).select(".cell:not(.tag_raises-exception) .output.traceback")
            assert not tags, f"{page.name}: {tags[0].get_text()[-200:]}"
