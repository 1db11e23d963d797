# Each command sets up .venv by itself, and again when requirements.txt or pyproject.toml changed.
PYTHON ?= python3
VENV   := .venv
STAMP  := $(VENV)/.installed
BIN    := $(VENV)/bin

.PHONY: quickstart test test-slow test-slurm lint bench notebooks
.DELETE_ON_ERROR:

quickstart: $(STAMP)
	$(BIN)/python train.py experiment=quickstart

test: $(STAMP)
	$(BIN)/python -m pytest -q -m "not slow" -n 2 --dist loadfile

test-slow: $(STAMP)
	$(BIN)/python -m pytest -q -m slow

# Installs Debian's slurm-wlm and munge where they are missing and that is allowed.
test-slurm: $(STAMP)
	tests/slurm/install.sh
	$(BIN)/python -m pytest -q -n 0 -m slow tests/slurm

lint: $(STAMP)
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks $(BENCHMARKS)

notebooks: $(STAMP)
	$(BIN)/python notebooks/refresh.py

$(STAMP): requirements.txt pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || { \
	  echo "relit: no '$(PYTHON)' found. Install Python 3.11 or newer, or name one: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "relit: needs Python 3.11 or newer, but '$(PYTHON)' is $$($(PYTHON) -V 2>&1)."; \
	  echo "relit: name a newer one: make PYTHON=/path/to/python3.11"; exit 1; }
	@echo "relit: setting up $(VENV). The first time takes about 2-5 minutes and 6 GB of disk; later calls skip this."
	@$(PYTHON) -m venv $(VENV) || { \
	  echo "relit: could not create $(VENV). On Debian and Ubuntu: apt install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@
