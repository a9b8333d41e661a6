# make demo   sets everything up in .venv, builds the sample shop, trains on it and predicts back into it
# make test   the same checks as CI: style, types, floors, tests
#
# PYTHON  the interpreter to set up with, 3.11 or newer:  make demo PYTHON=python3.12
# TORCH   the build of PyTorch, with any option of pip:   make demo TORCH="torch==2.13.0 --index-url <an index of builds>"
#         Asked for once, when .venv is made: `make clean` first to change either.
# OUT     the folder `make demo` writes to:               make demo OUT=/tmp/shop

PYTHON ?= python3
TORCH ?= torch==2.13.0
VENV ?= .venv
OUT ?=

BIN := $(VENV)/bin
PINS := $(VENV)/constraints.txt
PIP := $(BIN)/python -m pip --disable-pip-version-check install -qq

.DEFAULT_GOAL := help
.PHONY: help demo test lint bench clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

demo: $(VENV)/installed
	$(BIN)/rdl demo $(if $(OUT),--out "$(OUT)")

test: lint
	$(BIN)/python -m pytest

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict rdl
	$(BIN)/lint-imports

bench: $(VENV)/installed-dev
	@for file in benchmarks/*.py benchmarks/*/run.py; do echo "$$file"; $(BIN)/python "$$file" || exit 1; done

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist

# PyTorch goes in first and alone; whichever build was asked for is then pinned, so that nothing replaces it.
$(PINS): constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "rdl needs Python 3.11 or newer, and $(PYTHON) is $$($(PYTHON) --version 2>/dev/null || echo not there):" \
	  "name another with make PYTHON=python3.11" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@echo "Installing PyTorch ($(TORCH)) into $(VENV) …"
	@grep -v '^torch==' constraints.txt > $@.part
	@$(PIP) --constraint $@.part $(TORCH)
	@$(BIN)/python -c 'from importlib.metadata import version; print("torch==" + version("torch"))' >> $@.part
	@mv $@.part $@

$(VENV)/installed: $(PINS) pyproject.toml
	@echo "Installing rdl into $(VENV) …"
	@$(PIP) --constraint $(PINS) --editable .
	@$(BIN)/python -c 'import lightgbm' || { echo "LightGBM does not load. If it misses libgomp or libomp, install it: \
	apt-get install libgomp1 (Debian, Ubuntu), dnf install libgomp (Fedora), brew install libomp (macOS)." >&2; exit 1; }
	@touch $@

$(VENV)/installed-dev: $(VENV)/installed
	@echo "Installing what the tests need into $(VENV) …"
	@$(PIP) --constraint $(PINS) --editable '.[dev]'
	@touch $@
