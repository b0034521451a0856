# Every target sets up .venv when it is missing or older than pyproject.toml.
PYTHON ?= python3
BIN := .venv/bin
READY := .venv/.ready
READY_DOCS := .venv/.ready-docs

.PHONY: demo test test-all check dist format checkpoint gpu docs clean

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed: make PYTHON=/path/to/python3.11 ..." >&2; exit 2; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable '.[rppg,live,test,integration,export,tensorboard,dev]'
	@touch $@

$(READY_DOCS): $(READY)
	$(BIN)/python -m pip install --quiet --editable '.[docs]'
	@touch $@

demo: $(READY)
	$(BIN)/rppg demo --out runs/demo

# Two files of tests at a time, each on one thread: threads that wait for each other cost more.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

test: $(READY)
	$(PYTEST)

test-all: $(READY) $(READY_DOCS)
	HYPOTHESIS_PROFILE=thorough $(PYTEST) -m ""

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m pytest -q tests/test_architecture.py

dist: $(READY)
	rm -rf dist
	$(BIN)/python -m build
	$(BIN)/twine check --strict dist/*

format: $(READY)
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

checkpoint: $(READY)
	$(BIN)/python -m benchmarks.checkpoint

# With the interpreter that has a torch for the GPU: nothing is installed.
gpu:
	$(PYTHON) -m benchmarks.gpu

docs: $(READY_DOCS)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

clean:
	rm -rf .venv runs site build dist *.egg-info
