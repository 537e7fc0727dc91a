"""The book's sources, and the built site where there is one, without a browser."""

import ast
import html
import json
import os
import re
import struct
import subprocess
import sys
from collections import Counter
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
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
ADDRESS = CONFIG["html"]["baseurl"]

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
            path = unquote(url.path)
            if page.name == "404.html" and path.startswith("/"):  # shown at any address
                path = f"./{path.removeprefix(urlsplit(ADDRESS).path)}"
            target = (page.parent / path).resolve() if path else page
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


def test_code_and_output_fit_their_boxes(articles: list[Path]) -> None:
    """On a laptop a box shows so many characters; what is longer must be scrolled sideways."""
    seen, wide = Counter(), []
    for path in articles:
        if path.parent.name != "book":
            continue
        for text in soup(path).select(".cell_input pre, .cell_output .output.stream pre"):
            where = {name for tag in text.parents for name in tag.get("class", [])}
            shown = 87 if "cell_output" in where else 83 if "hide" in where else 86
            seen[shown] += 1
            wide += [f"{path.stem}: {len(line)} characters: {line}"
                     for line in text.get_text().split("\n") if len(line) > shown]  # fmt: skip
    assert not wide, "\n".join(wide)
    assert min(seen[shown] for shown in (83, 86, 87)) > 20, seen  # all three kinds were found


# --- the frame of the pages --------------------------------------------------------------------


def constant(name: str) -> object:
    """What `_static/NAME.js` sets: it is a JavaScript file that holds one JSON value."""
    text = (SITE / "_static" / f"{name}.js").read_text(encoding="utf-8")
    return json.loads(text.split(" = ", 1)[1].removesuffix(";\n"))


def test_a_chapter_says_how_long_it_takes_and_what_to_read_first(pages: list[Path]) -> None:
    facts = soup(SITE / "book" / "ch01_attention.html").select_one(".gb-facts")
    assert re.search(r"About (\d+) min", facts.get_text())
    assert [a["href"] for a in facts.select("a")] == [
        "ch01_architecture.html",
        "../labs/lab01_attention/lab01_attention.html",
    ]


@pytest.mark.parametrize(
    ("page", "lab"),
    [("ch04_full", "lab06_sft"), ("ch04_lora", "lab07_lora"), ("ch05_dpo", "lab08_dpo"),
     ("ch05_grpo", "lab09_ppo"), ("ch06_privacy", "lab11_privacy")],
)  # fmt: skip
def test_a_page_leads_to_the_lab_that_asks_for_it(pages: list[Path], page: str, lab: str) -> None:
    facts = soup(SITE / "book" / f"{page}.html").select_one(".gb-facts")
    assert facts.select("a")[-1]["href"] == f"../labs/{lab}/{lab}.html"


def test_times_in_the_text_agree_with_the_computed_ones(articles: list[Path]) -> None:
    text = (BOOK / "ch01_architecture.md").read_text(encoding="utf-8")
    told = re.search(r"(\d+) for this page, (\d+) for .*? and (\d+) for", text, re.S).groups()
    for name, minutes in zip(["architecture", "attention", "positions"], told, strict=True):
        line = soup(SITE / "book" / f"ch01_{name}.html").select_one(".gb-facts").get_text()
        computed = int(re.search(r"About (\d+) min", line)[1])
        assert abs(computed - int(minutes)) <= 5, name


def test_progress_knows_sections_that_exist(articles: list[Path]) -> None:
    contents = constant("contents")
    names = {page["name"] for page in contents}
    chapters = {str(p.relative_to(SITE).with_suffix("")) for p in articles
                if re.match(r"ch\d\d_|lab\d\d_", p.name)}  # fmt: skip
    assert names == chapters
    for page in contents:
        ids = targets(SITE / f"{page['name']}.html") | {"done"}
        assert {section[0] for section in page["sections"]} <= ids
        assert page["sections"], page["name"]
    counted = sum(len(page["quiz"]) for page in contents)
    assert counted == sum(len(json.loads(quiz.read_text("utf-8"))) for quiz in QUIZZES)


def test_search_has_a_passage_for_each_section(articles: list[Path]) -> None:
    text = constant("search_text")
    assert set(text) == {str(page.relative_to(SITE).with_suffix("")) for page in articles}
    for name, passages in text.items():
        missing = {anchor for anchor, _, _ in passages} - targets(SITE / f"{name}.html")
        assert not missing, f"{name}: {missing}"
    glossary = {title: words for _, title, words in text["book/glossary"]}
    assert "sum 1" in glossary["Softmax"]


def test_launch_buttons_are_on_labs_alone_and_open_their_notebook(articles: list[Path]) -> None:
    for page in articles:
        name = page.relative_to(SITE).with_suffix("")
        links = {a["href"] for a in soup(page).select("a[href*='colab.'], a[href*='mybinder.']")}
        if name.parts[0] != "labs":
            assert not links, name
            continue
        assert {urlsplit(link).netloc for link in links} == {
            "colab.research.google.com", "mybinder.org",
        }  # fmt: skip
        assert (ROOT / f"{name}.ipynb").is_file()
        assert all(link.endswith(f"/{name}.ipynb") for link in links), links


def test_pages_load_neither_the_search_index_nor_the_theme_s_icons(pages: list[Path]) -> None:
    for page in pages:
        scripts = " ".join(tag.get("src", "") for tag in soup(page).find_all("script"))
        assert "fontawesome" not in scripts, page
        assert ("searchindex" in scripts) == (page == SITE / "search.html"), page
        assert not soup(page).select("i[class*='fa-'], span[class*='fa-']"), page


def test_a_link_to_a_page_has_a_card(articles: list[Path]) -> None:
    for page in articles:
        head = {tag.get("property"): tag["content"] for tag in soup(page).select("meta[property]")}
        assert head["og:url"] == f"{ADDRESS}{page.relative_to(SITE)}"
        assert len(head["og:title"]) > 3
        assert 60 < len(head["og:description"]) <= 200, page
        picture = SITE / head["og:image"].removeprefix(ADDRESS)
        kind, size = picture.read_bytes()[:8], picture.read_bytes()[16:24]
        assert kind == b"\x89PNG\r\n\x1a\n"
        assert struct.unpack(">II", size) == (1200, 630)


def test_the_404_page_works_at_any_address(pages: list[Path]) -> None:
    page = SITE / "404.html"
    urls = [tag.get("href") or tag.get("src") for tag in soup(page).find_all(["a", "link", "img"])]
    urls += [tag["src"] for tag in soup(page).find_all("script", src=True)]
    relative = [url for url in urls if url and not re.match(r"https?:|#|/", url)]
    assert urls
    assert not relative, relative
    assert soup(page).html["data-content_root"] == urlsplit(ADDRESS).path


def test_quiz_scripts_wait_for_mathjax(articles: list[Path]) -> None:
    with_quiz = [page for page in articles if "show_questions" in page.read_text(encoding="utf-8")]
    assert with_quiz
    for page in with_quiz:
        for script in soup(page).find_all("script", src=False):
            if "show_questions" in script.get_text():
                assert not re.search(r"\bMathJax\b", script.get_text()), page.name


SMALL = {
    "conf.py": """
import sys
sys.path.insert(0, {ext!r})
extensions = ["myst_nb", "glassbox_site"]
html_theme = "sphinx_book_theme"
nb_execution_mode = "off"
root_doc = "book/intro"
html_static_path = []
html_baseurl = "https://example.org/x/"
html_theme_options = {{
    "repository_url": "https://github.com/o/r", "repository_branch": "main",
    "launch_buttons": {{"notebook_interface": "jupyterlab", "jupyterhub_url": "https://hub.org"}},
}}
""",
    "book/intro.md": "# Home\n```{{toctree}}\nch07_cost\nch07_more\n/labs/lab07_x/lab07_x\n```\n",
    "book/ch07_cost.md": "---\nprerequisites: [intro, matrix product]\n---\n# Cost & time\n"
    "## One\nSome words.\n## Two\n$$x$$\n",
    "book/ch07_more.md": "# More\n## Three\n" + "word " * 3000,
    "labs/lab07_x/lab07_x.ipynb": """{{"nbformat": 4, "nbformat_minor": 5,
"cells": [{{"cell_type": "markdown", "id": "a", "metadata": {{}}, "source": "# Lab X"}}],
"metadata": {{"kernelspec": {{"name": "python3", "display_name": "P"}}}}}}""",
}  # fmt: skip


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A book of three pages, built with the extension and a JupyterHub in its configuration."""
    root = tmp_path_factory.mktemp("small")
    for name, text in SMALL.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.format(ext=str(BOOK / "_ext")), encoding="utf-8")
    command = [sys.executable, "-m", "sphinx", "-b", "html", "-q", str(root), str(root / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return root / "out"


def small_facts(small: Path, page: str) -> list[str]:
    text = (small / f"{page}.html").read_text(encoding="utf-8")
    return [item.get_text() for item in BeautifulSoup(text, "html.parser").select(".gb-facts li")]


def test_facts_of_a_page(small: Path) -> None:
    assert small_facts(small, "book/ch07_cost") == [
        "About 1 min",
        "Read first: Home, matrix product",
    ]
    assert small_facts(small, "book/ch07_more") == ["About 20 min"]
    assert small_facts(small, "book/intro") == []


def test_a_jupyterhub_of_the_configuration_opens_the_lab(small: Path) -> None:
    assert small_facts(small, "labs/lab07_x/lab07_x")[0] == "Run it: JupyterHub"
    text = (small / "labs" / "lab07_x" / "lab07_x.html").read_text(encoding="utf-8")
    link = BeautifulSoup(text, "html.parser").select_one(".gb-facts a")["href"]
    assert link.startswith("https://hub.org/hub/user-redirect/git-pull?repo=https")
    assert "urlpath=lab/tree/r/labs/lab07_x/lab07_x.ipynb" in link
