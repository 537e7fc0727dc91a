"""Show the book and formgrader, nbgrader's pages for marking by hand, on this machine only.

The book is served as plain files. Formgrader is a Jupyter server with nbgrader's own extension and
the settings of this course; it asks for the token in the URL. Both answer on the loopback address.
Nothing is graded or written here.
"""

import os
import secrets
import subprocess
import sys
from pathlib import Path

from autograder.course import Course


def command(port: int, token: str) -> list[str]:
    """The command line of the server."""
    extensions = {"nbgrader.server_extensions.formgrader": True}
    return [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={token}",
        f"--ServerApp.jpserver_extensions={extensions}", "--log-level=WARN",
    ] + ["--allow-root"] * (os.geteuid() == 0)  # fmt: skip


def book_command(folder: Path, port: int) -> list[str]:
    """The command line of the book's server: plain files on the loopback address."""
    return [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1",
            "--directory", str(folder)]  # fmt: skip


def serve(course: Course, port: int) -> None:
    """Serve the book on `port` and formgrader on the next until Ctrl-C."""
    book, token = course.root / "_build" / "html", secrets.token_hex(16)
    if (book / "index.html").exists():
        print(f"Book:        http://127.0.0.1:{port}/")
    else:
        print("Book:        not built yet; type: make book")
    print(f"Formgrader:  http://127.0.0.1:{port + 1}/login?token={token}"
          "&next=%2Fformgrader%2Fgradebook\n"
          "Stop both with Ctrl-C.", flush=True)  # fmt: skip
    path = os.pathsep.join([str(course.root), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}  # for nbgrader_config.py, which formgrader reads
    quiet = subprocess.DEVNULL
    pages = subprocess.Popen(book_command(book, port), stdout=quiet, stderr=quiet) \
        if book.exists() else None  # fmt: skip
    try:
        subprocess.run(command(port + 1, token), cwd=course.root, env=env, check=False)
    except KeyboardInterrupt:
        pass
    finally:
        if pages:
            pages.terminate()
