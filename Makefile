# Two commands do everything on a fresh machine: `make train` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test lint type

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

setup: $(READY)  ## create .venv and install pwfn with its tested versions

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "pwfn needs Python 3.11 or later: call make with PYTHON=<your python>"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable ".[dev]"
	touch $@

train: $(READY)  ## run the default experiment to its final table (real digits, ResNet-18, ten rounds)
	$(BIN)/python train.py

lint: $(READY)  ## ruff: style and mistakes
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

type: $(READY)  ## mypy on pwfn/
	$(BIN)/mypy

test: lint type  ## lint, types and every test
	$(BIN)/python -m pytest
