# Two commands do everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
OLDEST ?= .venv-oldest
BIN := $(VENV)/bin
READY := $(VENV)/.ready
SOURCES := pyproject.toml setup.py
# A worker on each core, of one thread each; the tests of a file stay together and share what it has built.
PYTEST := -m pytest --numprocesses auto --maxprocesses 8 --dist loadfile
EVERY_CORE := OMP_NUM_THREADS=1 $(BIN)/python $(PYTEST)
FAST := not slow and not multiprocess and not browser

.DEFAULT_GOAL := help
.PHONY: help setup train format lint type test test-fast test-oldest docs

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 14

setup: $(READY)  ## create .venv and install pwfn with its tested versions

$(READY): $(SOURCES) constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pwfn needs Python 3.11 or later: call make with PYTHON=<your python>"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

train: $(READY)  ## run the default experiment to its final table (real digits, ResNet-18, ten rounds)
	@echo "The default experiment: pretrain a ResNet-18 on 1,294 real digits, then ten rounds of training and clustering, then a"
	@echo "table, a report and the compressed network. No account, no GPU, no download. About 2 minutes on 2 cores; Ctrl-C saves."
	$(BIN)/python train.py

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lint: $(READY)  ## ruff: style and mistakes; import-linter: who may import whom
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-cache

type: $(READY)  ## mypy on pwfn/
	$(BIN)/mypy

test: lint type  ## lint, types and every test
	$(EVERY_CORE)

test-fast: $(READY)  ## the tests without whole runs, other processes and browsers, in under two minutes
	$(EVERY_CORE) -m "$(FAST)"

docs: $(READY)  ## the documents as a site in site/; strict: a broken link or anchor is an error
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "Open site/index.html, or serve it with its search: $(BIN)/python -m http.server --directory site"

# The extras that tests use, at the lower bounds of pyproject.toml: about 7 GB.
test-oldest: $(OLDEST)/.ready  ## the fast tests with the oldest versions that are supported
	OMP_NUM_THREADS=1 $(OLDEST)/bin/python $(PYTEST) -m "$(FAST)"

$(OLDEST)/.ready: $(SOURCES) constraints-oldest.txt
	$(PYTHON) -m venv $(OLDEST)
	$(OLDEST)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-oldest.txt --editable ".[test]"
	touch $@
