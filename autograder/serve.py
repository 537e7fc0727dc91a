"""Start formgrader, nbgrader's pages for marking by hand, on this machine only.

A Jupyter server with nbgrader's own extension and the settings of this course; it answers on the
loopback address and asks for the token in the URL. Nothing is graded or written here.
"""

import os
import secrets
import sys
from typing import NoReturn

from autograder.course import Course


def command(port: int, token: str) -> list[str]:
    """The command line of the server."""
    extensions = {"nbgrader.server_extensions.formgrader": True}
    return [
        sys.executable, "-m", "jupyter_server", "--no-browser", "--ServerApp.ip=127.0.0.1",
        f"--ServerApp.port={port}", f"--IdentityProvider.token={token}",
        f"--ServerApp.jpserver_extensions={extensions}", "--log-level=WARN",
    ] + ["--allow-root"] * (os.geteuid() == 0)  # fmt: skip


def serve(course: Course, port: int) -> NoReturn:
    """Print the address and run the server until it is stopped with Ctrl-C."""
    token = secrets.token_hex(16)
    print(f"Formgrader: http://127.0.0.1:{port}/login?token={token}"
          "&next=%2Fformgrader%2Fgradebook\n"
          "Stop it with Ctrl-C.", flush=True)  # fmt: skip
    path = os.pathsep.join([str(course.root), os.environ.get("PYTHONPATH", "")])
    env = os.environ | {"PYTHONPATH": path}  # for nbgrader_config.py, which formgrader reads
    os.chdir(course.root)
    os.execve(sys.executable, command(port, token), env)  # this process becomes the server
