# make demo: install and prepare the sample pairs   make test: all tests   make check: format, lint, types, tests
# make docs: the documentation site, into build/site
# make fuzz: what is compiled under sanitizers, against Pillow and simplejpeg, each for FUZZ seconds (60)
# make bench: Pairloom beside its peers, in environments of their own, into build/bench (5 GB; twenty minutes once they are there)
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install -q --disable-pip-version-check -c constraints.txt

FUZZ ?= 60

.PHONY: demo test check format docs fuzz bench

demo: .venv/core
	$(BIN)/pairloom run examples/pairs demo-output --restart
	$(BIN)/pairloom verify demo-output
	$(BIN)/pairloom explain examples/pairs --key tuxpaint-0014-pelican

test: .venv/dev
	$(BIN)/pytest -n auto

check: .venv/dev
	$(BIN)/ruff format --check src tests benchmarks docs examples training hatch_build.py
	$(BIN)/ruff check src tests benchmarks docs examples training hatch_build.py
	$(BIN)/mypy src
	$(BIN)/pytest -n auto

format: .venv/dev
	$(BIN)/ruff format src tests benchmarks docs examples training hatch_build.py
	$(BIN)/ruff check --fix src tests benchmarks docs examples training hatch_build.py

docs: .venv/docs
	$(BIN)/python docs/reference/make.py
	$(BIN)/zensical build --clean --strict
	$(BIN)/python docs/links.py build/site

fuzz: .venv/dev
	mkdir -p build/fuzz
	for name in _resize _jpeg; do \
		$(CC) -g -O2 -std=c11 -Wall -Wextra -Wconversion -Werror -ffp-contract=off -fPIC -shared -DPy_LIMITED_API=0x030B0000 \
			-fsanitize=address,undefined,float-cast-overflow -fno-sanitize-recover=all \
			-I$$($(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("include"))') \
			src/pairloom/$$name.c -o build/fuzz/$$name.abi3.so -lm -ldl || exit 1; done
	for name in resize jpeg; do \
		LD_PRELOAD=$$($(CC) -print-file-name=libasan.so) ASAN_OPTIONS=detect_leaks=0 \
			$(BIN)/python tests/fuzz_$$name.py build/fuzz/_$$name.abi3.so $(FUZZ) || exit 1; done

bench: .venv/dev
	$(BIN)/python benchmarks/suite.py --work build/bench

.venv/core: pyproject.toml constraints.txt hatch_build.py $(wildcard src/pairloom/_*.c src/pairloom/_*.h)
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pairloom needs Python 3.11 or newer; try make PYTHON=python3.12")'
	$(PYTHON) -m venv .venv
	$(PIP) -e .
	touch $@

.venv/dev: .venv/core
	$(PIP) -e '.[dev]'
	touch $@

.venv/docs: .venv/core
	$(PIP) -e '.[docs]'
	touch $@
