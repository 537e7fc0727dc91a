"""What students get back: complete, theirs alone, and with nothing active in it."""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from bs4 import BeautifulSoup
from conftest import NAME, PAYLOADS
from nbconvert.filters import markdown2html
from nbgrader.api import Gradebook

from autograder import serve
from autograder.course import Course
from autograder.feedback import feedback, neutral
from autograder.grade import grade, overview


@pytest.fixture(scope="session")
def pages(classroom: Course) -> dict[str, BeautifulSoup]:
    written, failed = feedback(classroom, [NAME])
    assert not failed
    return {p.parts[-3]: BeautifulSoup(p.read_text(), "html.parser") for p in written}


def active(page: BeautifulSoup) -> set[str]:
    """Scripts, event handlers and odd links of a page."""
    found = {str(x) for x in page.find_all(["script", "iframe", "object", "embed", "form", "svg"])}
    found |= {str(x) for x in page.find_all(class_=re.compile("mermaid"))}
    for tag in page.find_all(True):
        for name, value in tag.attrs.items():
            link = str(value).strip().lower() if name in ("href", "src", "action") else ""
            odd = link and not link.startswith(("http", "#", "data:image/png", "../../book"))
            if name.startswith("on") or odd or (tag.name == "img" and "data:" not in link):
                found.add(f"{tag.name} {name}={value}")
    return found


def test_each_student_has_a_page_with_the_score(pages: dict[str, BeautifulSoup]) -> None:
    assert len(pages) == 6
    assert "Score: 5.0 / 7.0" in pages["ada"].text
    assert "Score: 3.0 / 7.0" in pages["bob"].text
    assert "Score: 0.0 / 7.0" in pages["eve"].text


def test_messages_stand_under_their_test_cells(pages: dict[str, BeautifulSoup]) -> None:
    text = pages["bob"].text
    assert "✓ 2 of 2 points (pass)" in text
    assert "✗ 0 of 1 points (fail)\nthree words: got {}" in text
    assert "many words: wrong" in text
    assert "It depends, I think." in pages["ada"].text
    assert "No response." in pages["dave"].text
    assert "it is not complete JSON" in pages["eve"].text


def test_no_hidden_test_in_any_page(classroom: Course, pages: dict[str, BeautifulSoup]) -> None:
    for page in pages.values():
        assert "-1234" not in str(page)
        assert "hidden-input" not in str(page)
        assert "Hidden checks: negative numbers." in page.text


def test_nothing_active_from_students(pages: dict[str, BeautifulSoup]) -> None:
    ours = active(pages["ada"])  # nbgrader's own MathJax
    assert active(pages["mallory"]) <= ours
    assert "alert(1)" in pages["mallory"].text  # shown, not run


@pytest.mark.parametrize("payload", PAYLOADS)
@pytest.mark.parametrize("frame", ["{}", "> {}", "- {}", "x `{}", "$ {} $", "```\n{}\n```", "\\{}"])
def test_neutral_markdown(payload: str, frame: str) -> None:
    page = BeautifulSoup(markdown2html(neutral(frame.format(payload))), "html.parser")
    assert not active(page)


@pytest.mark.parametrize(
    "text",
    ["$a<b$ and $c < d$", "**bold** and `x[i] < 3`", "# Title\n\n- a\n- b",
     "[paper](https://arxiv.org/abs/1706.03762)", "```python\nif a < b: pass\n```"],
)  # fmt: skip
def test_plain_markdown_reads_as_before(text: str) -> None:
    before, after = (BeautifulSoup(markdown2html(t), "html.parser") for t in (text, neutral(text)))
    assert after.text.replace(" ", "") == before.text.replace(" ", "")
    assert [a.get("href") for a in after.find_all("a")] == [
        a.get("href") for a in before.find_all("a")
    ]


def test_flags_are_for_the_teacher_alone(own_class: Course) -> None:
    """In the table that `grade` prints and in the result file, and on no student's page."""
    (own_class.classroom / "submitted" / "bob" / NAME / "torch.py").write_text("")
    grade(own_class, [NAME], workers=1, student="bob")
    row = next(r for r in overview(own_class, [NAME]) if r[0] == "bob")
    assert row[-1].startswith("[dropped] ")
    (page,), _ = feedback(own_class, [NAME], "bob")
    assert "[dropped]" not in page.read_text()
    assert "flag" not in BeautifulSoup(page.read_text(), "html.parser").body.text


def test_a_comment_by_hand_is_shown(own_class: Course) -> None:
    with Gradebook(f"sqlite:///{own_class.classroom}/gradebook.db") as book:
        book.find_comment("reflection", NAME, NAME, "ada").manual_comment = "Well argued."
        book.find_grade("reflection", NAME, NAME, "ada").manual_score = 1.5
        book.db.commit()
    (page,), _ = feedback(own_class, [NAME], "ada")
    assert "Well argued." in page.read_text()
    assert "Score: 6.5 / 7.0" in page.read_text()


def test_a_notebook_that_cannot_be_rendered_costs_only_its_own_page(own_class: Course) -> None:
    (own_class.classroom / "autograded" / "bob" / NAME / f"{NAME}.ipynb").write_text("{")
    written, failed = feedback(own_class, [NAME])
    assert len(written) == 5
    assert list(failed) == [f"bob/{NAME}"]


def test_text_that_takes_the_renderer_minutes_is_cut() -> None:
    begun = time.monotonic()
    markdown2html(neutral("\\begin{a}" * 20_000))
    assert time.monotonic() - begun < 10


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_formgrader_shows_the_marks(own_class: Course) -> None:
    """A real server, as `autograder serve` starts it, asked for its list and for one page."""
    root = Path(__file__).parents[1]
    (own_class.root / "nbgrader_config.py").write_bytes((root / "nbgrader_config.py").read_bytes())
    port = free_port()
    base = f"http://127.0.0.1:{port}/formgrader"
    env = os.environ | {"PYTHONPATH": str(root), "JUPYTER_CONFIG_DIR": str(own_class.root / "none")}
    server = subprocess.Popen(serve.command(port, "t0ken"), cwd=own_class.root, env=env,
                              stderr=subprocess.DEVNULL)  # fmt: skip

    def ask(path: str) -> str:
        for _ in range(600):
            try:
                request = urllib.request.Request(
                    base + path, headers={"Authorization": "token t0ken"}
                )
                return urllib.request.urlopen(request, timeout=30).read().decode()
            except ConnectionError:
                time.sleep(0.25)
            except urllib.error.URLError as error:
                if not isinstance(error.reason, ConnectionError):
                    raise
                time.sleep(0.25)
        raise TimeoutError

    try:
        shown = {s["student"]: s for s in json.loads(ask(f"/api/submissions/{NAME}"))}
        assert (shown["bob"]["score"], shown["bob"]["max_score"]) == (3, 7)
        assert shown["ada"]["autograded"]
        assert shown["ada"]["needs_manual_grade"]
        assert [a["name"] for a in json.loads(ask("/api/assignments"))] == [NAME]
        notebooks = json.loads(ask(f"/api/submitted_notebooks/{NAME}/{NAME}"))
        mallory = next(n["id"] for n in notebooks if n["student"] == "mallory")
        page = BeautifulSoup(ask(f"/submissions/{mallory}/"), "html.parser")
        assert "hidden-input" not in str(page)
        assert not [s for s in page.find_all("script") if "alert" in s.text]
        assert not page.find_all(attrs={"onerror": True})
    finally:
        server.terminate()
        server.wait()


def test_serve_asks_for_a_token_on_loopback() -> None:
    text = " ".join(serve.command(8888, "secret"))
    assert "--ServerApp.ip=127.0.0.1" in text
    assert "token=secret" in text
    assert sys.executable in text
