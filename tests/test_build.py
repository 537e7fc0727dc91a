"""Building labs: same bytes, no answers, and every planted leak is found."""

import json
import shutil
from pathlib import Path

import nbformat
import pytest
from conftest import NAME, make_course

from autograder.build import build, leaks
from autograder.course import Course, CourseError
from autograder.lab import Lab, read_lab

ROOT = Path(__file__).parents[1]


def test_a_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    first = course.release(NAME).read_bytes()
    shutil.rmtree(course.root / "_build")
    shutil.rmtree(course.labs / NAME)
    assert build(course, [NAME]) == [str(course.release(NAME))]
    assert course.release(NAME).read_bytes() == first
    assert build(course, [NAME]) == []


def test_the_committed_labs_are_what_a_build_gives() -> None:
    course = Course(ROOT)
    assert build(course, course.all_labs(), check=True) == []


def test_check_changes_nothing_and_names_what_differs(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    course.release(NAME).write_text("edited by hand")
    assert build(course, [NAME], check=True) == [str(course.release(NAME))]
    assert course.release(NAME).read_text() == "edited by hand"


def test_an_activity_becomes_a_notebook_for_the_room(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    page = course.root / "book" / "activity9_thing.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text(
        "---\njupytext:\n  text_representation: {extension: .md, format_name: myst}\nkernelspec:\n"
        "  display_name: Python 3\n  language: python\n  name: python3\nprerequisites: []\n---\n\n"
        "(a-label)=\n# A thing\n\n```{code-cell} ipython3\n1 + 1\n```\n"
    )
    made = course.labs / "activities" / "activity9_thing.ipynb"
    assert build(course, [NAME], check=True) == [str(made)]
    assert not made.exists()
    assert build(course, [NAME]) == [str(made)]
    first = made.read_bytes()
    assert build(course, [NAME], check=True) == []
    made.unlink()
    build(course, [NAME])
    assert made.read_bytes() == first
    notebook = nbformat.read(made, 4)
    nbformat.validate(notebook)
    assert [c.source for c in notebook.cells] == ["# A thing", "1 + 1"]


def test_a_file_that_no_source_makes_is_removed_from_labs(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    stray = course.labs / NAME / "notes.txt"
    stray.write_text("left over")
    assert build(course, [NAME]) == [str(stray)]
    assert not stray.exists()


def test_the_release_keeps_stubs_and_drops_answers(course: Course, lab: Lab) -> None:
    notebook = nbformat.read(course.release(NAME), 4)
    text = json.dumps(notebook)
    assert "raise NotImplementedError" in text
    assert "x + x + 0" not in text
    assert "hidden-input" not in text
    assert "Hidden checks: negative numbers." in text
    assert all(not c.get("outputs") for c in notebook.cells)
    test_cell = next(c for c in notebook.cells if c["id"] == "double_visible")
    assert "raises-exception" in test_cell.metadata["tags"]


def test_data_files_are_released_and_read_for_answers(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    data = course.solutions / NAME / "data"
    data.mkdir()
    (data / "words.csv").write_text("word,count\na,2\n")
    build(course, [NAME])
    assert (course.labs / NAME / "data" / "words.csv").exists()
    (data / "helper.txt").write_text("try this:\n    counts[word] = counts.get(word, 0) + 1\n")
    with pytest.raises(CourseError, match=r"helper.txt:2: line of a solution"):
        build(course, [NAME])
    assert not (course.labs / NAME / "data" / "helper.txt").exists()


def test_a_helper_module_beside_the_source_is_never_released(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    (course.solutions / NAME / "helper.py").write_text("SECRET = 1\n")
    build(course, [NAME])
    assert sorted(p.name for p in (course.labs / NAME).iterdir()) == [f"{NAME}.ipynb"]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("index.html", "<pre><span>counts</span>[word] = counts.get(word, 0) + 1</pre>"),
        ("page.html", "<pre>counts[word] &#61; counts.get(word,   0) + 1  # why</pre>"),
        ("_sources/page.md", "    return x + x + 0\n"),
        ("lab.ipynb", json.dumps({"cells": [{"source": ["### BEGIN SOLUTION\n"]}]})),
        ("lab.ipynb", json.dumps({"cells": [{"source": ["    return x + x + 0\n"]}]})),
        ("notes.txt", "### BEGIN HIDDEN TESTS"),
        ("mistakes.py", ""),
        (f"{NAME}.py", ""),
    ],
)
def test_a_planted_leak_is_found(lab: Lab, tmp_path: Path, file: str, text: str) -> None:
    target = tmp_path / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(text if file.endswith(".ipynb") else "harmless\n" + text)
    assert len(leaks(lab, tmp_path)) == 1


def test_common_speech_is_no_leak(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text("<pre>counts = {}\nreturn x</pre> words and words")
    assert leaks(lab, tmp_path) == []


def test_labs_and_built_book_show_no_answer() -> None:
    course = Course(ROOT)
    for name in course.all_labs():
        lab = read_lab(course, name)
        assert leaks(lab, course.labs) == []
        assert leaks(lab, ROOT / "glassbox") == []
        if (ROOT / "_build" / "html").exists():
            assert leaks(lab, ROOT / "_build" / "html") == []


def test_a_bank_that_is_too_thin_is_refused(tmp_path: Path) -> None:
    course = make_course(tmp_path)
    mistakes = course.solutions / NAME / "mistakes.py"
    text = mistakes.read_text()
    mistakes.write_text(text + '\nbank["double"].wrong.clear()\n')
    with pytest.raises(CourseError, match="double needs a probe, 3 wrong and 2 right"):
        build(course, [NAME])
    mistakes.write_text(text + '\nbank.probe("treble")\n')
    with pytest.raises(CourseError, match="treble: no such exercise"):
        build(course, [NAME])
    mistakes.unlink()
    with pytest.raises(CourseError, match=r"mistakes.py is missing"):
        build(course, [NAME])
