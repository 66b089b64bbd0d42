# make demo: install and run the main job on a few pairs   make test: all tests   make check: format, lint, types, tests
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test check format
.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	touch $@

test: .venv/ready
	$(BIN)/pytest

check: .venv/ready
	$(BIN)/ruff format --check src tests
	$(BIN)/ruff check src tests
	$(BIN)/mypy src
	$(BIN)/pytest

format: .venv/ready
	$(BIN)/ruff format src tests
	$(BIN)/ruff check --fix src tests
