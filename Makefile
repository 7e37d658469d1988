# `make demo` shows what it does, `make test` that it does it right, `make check` is all of CI.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL := $(BIN)/pip install --quiet --disable-pip-version-check

.PHONY: demo test check format grammar fuzz fuzz-text bench clean

demo: $(VENV)/examples.stamp ## derive the convolution's gradient, then train LeNet-5 on handwritten digits
	$(BIN)/python -m examples.train_lenet $(ARGS)

test: $(VENV)/dev.stamp ## every test
	$(BIN)/python -m pytest -n auto $(ARGS)

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

fuzz: $(VENV)/dev.stamp ## 10,000 random programs; INDEXLANG_FUZZ is another number, INDEXLANG_SEED a seed to repeat
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m random_programs $(ARGS)

fuzz-text: $(VENV)/dev.stamp ## 100,000 mutated texts, each an answer or an error; INDEXLANG_FUZZ and INDEXLANG_SEED as above
	PYTHONPATH=tests OPENBLAS_NUM_THREADS=1 $(BIN)/python -m mutated_texts $(ARGS)

bench: $(VENV)/bench.stamp ## measure beside NumPy, JAX, PyTorch and others
	$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) build dist out .mypy_cache .ruff_cache .pytest_cache .hypothesis

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/examples.stamp: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[examples]'
	@touch $@

$(VENV)/bench.stamp: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[bench]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(VENV)/bin/python
	$(INSTALL) --editable '.[dev]'
	@touch $@
