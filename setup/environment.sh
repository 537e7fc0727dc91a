#!/usr/bin/env bash
# Make the course's own environment in $VENV: pinned Python packages, the course itself, and, where
# npm is there, the assets of hover tips and browser tests. Run by the Makefile; safe to repeat.
set -eu

stop() { echo "make: $1" >&2; exit 1; }

command -v "$PYTHON" > /dev/null ||
  stop "'$PYTHON' is not installed. Install Python 3.11, 3.12 or 3.13, or say which one to use: make PYTHON=python3.12 ..."
"$PYTHON" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' ||
  stop "$("$PYTHON" --version) does not fit: the course needs Python 3.11, 3.12 or 3.13. Choose one: make PYTHON=python3.12 ..."
"$PYTHON" -c 'import venv, ensurepip' 2> /dev/null ||
  stop "this Python has no venv module. On Debian and Ubuntu: sudo apt install python3-venv"

echo "Setting up $VENV (a few minutes the first time) ..."
# A folder left by an interrupted set-up has no working pip: begin it anew.
"$VENV/bin/python" -m pip --version > /dev/null 2>&1 || "$PYTHON" -m venv --clear "$VENV"
log="$VENV/install.log"
"$VENV/bin/python" -m pip install --disable-pip-version-check --progress-bar off \
  -r requirements.txt -e '.[grading,dev]' -c constraints.txt > "$log" 2>&1 || {
  tail -n 5 "$log" >&2
  stop "the packages could not be installed (the lines above are the end of $log). Without a network connection the first set-up is not possible; otherwise try again."
}
if command -v npm > /dev/null; then
  npm ci --silent --no-progress > "$VENV/npm.log" 2>&1 ||
    echo "npm could not install the assets of hover tips ($VENV/npm.log); the book is built without them."
else
  echo "npm is not installed: the book is built without hover tips, browser tests are skipped."
fi
touch "$VENV/.ready"
