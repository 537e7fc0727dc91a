"""Every explorer in a real browser, on its built page and in a notebook.

tests/browser/explorers.mjs moves each control by mouse and keyboard over http and from file://,
tests/browser/notebook.mjs drives all explorers in a JupyterLab on the loopback interface.
"""

import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from browser import ROOT, drive

from glassbox import explore

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("browser")]


@pytest.fixture(scope="module")
def report() -> dict[str, dict]:
    return drive("explorers.mjs")


@pytest.mark.parametrize(
    "kind",
    [
        pytest.param("outside", id="nothing is asked of a network"),
        pytest.param("console", id="no error in the console"),
        pytest.param("mouse", id="each control and part moves by mouse"),
        pytest.param("keyboard", id="each control and part moves by keyboard, focus kept and seen"),
        pytest.param("figures", id="the figures are right"),
        pytest.param("axe", id="no accessibility violation in any scene, light and dark"),
        pytest.param("sideways", id="every scene fits 375 px"),
        pytest.param("export", id="the annotated figure is a file of its own"),
        pytest.param("print", id="print shows the still picture"),
        pytest.param("no script", id="so does a browser without JavaScript"),
    ],
)
def test_explorers(report: dict[str, dict], kind: str) -> None:
    assert not report["found"][kind], "\n" + "\n".join(report["found"][kind][:20])


def test_all_explorers_were_driven(report: dict[str, dict]) -> None:
    assert report["seen"]["explorers"] == len(explore.names())
    assert report["seen"]["moves"] > 500
    assert report["seen"]["parts"] > 50
    assert report["seen"]["figures"] >= 24


# --- in a notebook -----------------------------------------------------------------------------

REPORT = """import json
print(json.dumps({name: {key: getattr(m, key) for key in m.class_trait_names(sync=True)
                         if not key.startswith("_") and key in options[name]}
                  for name, m in made.items()}))"""


def notebook() -> nbformat.NotebookNode:
    """One cell per explorer, one that prints their options, one in which Python sets one."""
    names = explore.names()
    first = "from glassbox import explore\nmade = {}\noptions = {}"
    cells = [first] + [
        f"made['{name}'] = m = explore.{name}()\n"
        f"options['{name}'] = explore.about('{name}')['options']\nm"
        for name in names
    ]
    cells += [REPORT, "made['counting'].preset = 'llama3-8b'"]
    made = [nbformat.v4.new_code_cell(text, id=f"cell{i}") for i, text in enumerate(cells)]
    spec = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    return nbformat.v4.new_notebook(cells=made, metadata=spec)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[str]:
    """A JupyterLab on the loopback interface -> address of the notebook."""
    pytest.importorskip("jupyterlab")
    (tmp_path / "work").mkdir()
    nbformat.write(notebook(), tmp_path / "work" / "explorers.ipynb")
    every_cell = tmp_path / ".jupyter/lab/user-settings/@jupyterlab/notebook-extension"
    every_cell.mkdir(parents=True)
    (every_cell / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}')
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_hex(16)
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
        f"--port={port}", "--ServerApp.port_retries=0", f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={tmp_path / 'work'}",
    ]  # fmt: skip
    environment = os.environ | {"HOME": str(tmp_path), "PYTHONPATH": str(ROOT),
                                "JUPYTER_RUNTIME_DIR": str(tmp_path / "runtime")}  # fmt: skip
    with (tmp_path / "log").open("w") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/api?token={token}", timeout=5)
                break
            except OSError:
                assert server.poll() is None, (tmp_path / "log").read_text()[-2000:]
                time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/lab/tree/explorers.ipynb?token={token}&reset"
    finally:
        server.terminate()
        server.wait(timeout=30)


def test_all_explorers_in_jupyterlab(lab: str) -> None:
    report = drive("notebook.mjs", lab, str(len(notebook().cells)), needs_site=False)
    assert report["found"] == {"outside": [], "console": [], "widgets": []}
    seen = report["seen"]
    for name in explore.names():
        key, value = seen[name]
        assert seen["printed"][name][key] == value, f"{name}: Python does not know of {key}"
        assert value != explore.about(name)["options"][key]["default"]
    assert seen["layers"] == "32"
