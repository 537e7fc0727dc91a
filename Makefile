# Glass Box. `make help` lists the commands; README.md explains them.
# Everything runs in .venv; all targets can be repeated and interrupted.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
PORT ?= 8080
# one thread per process (notebooks side by side slow each other down otherwise), no model hub
export PATH := $(BIN):$(PATH)
export PYTHONPATH := $(CURDIR)
export OMP_NUM_THREADS := 1
export HF_HUB_OFFLINE := 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help course test system labs book grade-sample serve lab student offline pdf clean

help:
	@echo "make course    set everything up, build labs and book, grade the sample class"
	@echo "make test      lint, unit tests, audit of the labs, book and browser tests"
	@echo "make serve     book and formgrader on this machine's loopback address"
	@echo "make lab       JupyterLab in labs/"
	@echo "make student   a zip to hand out: labs, glassbox, the built book; no solutions"
	@echo "make offline   the same zip, to read from a USB stick: double-click its README.html"
	@echo "make pdf       print the book to _build/glass-box.pdf (needs chromium and node)"
	@echo "make labs      rebuild labs/ from solutions/ (commit the result)"
	@echo "make book      rebuild the book into _build/html"
	@echo "make system    chromium, node, bubblewrap (Debian and Ubuntu)"
	@echo "make clean     remove what was built; keeps .venv, classroom/ and the execution cache"

course: system $(VENV)/.ready
	@$(MAKE) --no-print-directory labs book grade-sample
	@echo
	@echo "The course is ready."
	@echo "  book       _build/html/index.html"
	@echo "  labs       labs/"
	@echo "  feedback   classroom/feedback/"
	@echo "  gradebook  classroom/gradebook.db   (marks: classroom/results/results.csv)"
	@echo "Next: make serve, make lab, or open _build/html/index.html in a browser."

test: system $(VENV)/.ready
	ruff check .
	ruff format --check .
	python -m autograder build --check
	python -m autograder audit --quick
	@$(MAKE) --no-print-directory book
	python -m pytest tests/test_browser.py tests/test_browser_explorers.py
	python -m pytest tests -n 2 --dist loadgroup --ignore=tests/test_browser.py \
	  --ignore=tests/test_browser_explorers.py

system:
	@bash setup/system.sh

$(VENV)/.ready: requirements.txt constraints.txt package-lock.json pyproject.toml
	@PYTHON="$(PYTHON)" VENV="$(VENV)" bash setup/environment.sh

labs: $(VENV)/.ready
	python -m autograder build

book: $(VENV)/.ready
	python book/assets.py
	jupyter-book build . -n -W --keep-going -q 2> >(grep -v "over TCP without encryption" >&2)

# our own files: where the machine cannot isolate them they are graded all the same
grade-sample: $(VENV)/.ready
	@if python -m autograder sample; then \
	  python -m autograder grade --unsafe-no-sandbox && python -m autograder feedback && \
	  python -m autograder export --format csv; \
	else echo "The sample class was not graded."; fi

serve: $(VENV)/.ready
	@python -m autograder serve --port $(PORT)

lab: $(VENV)/.ready
	jupyter lab --notebook-dir=labs $(if $(filter 0,$(shell id -u)),--allow-root)

student: $(VENV)/.ready
	@$(MAKE) --no-print-directory labs book
	python -m autograder handout

offline: student
	@echo "To read offline: unpack it anywhere and double-click README.html."

pdf: book
	python book/pdf.py

clean:
	rm -rf _build build *.egg-info .pytest_cache .ruff_cache
