# The two commands a newcomer needs, `make quickstart` and `make test`, and what they stand on.
PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3.14 python3; do \
  command -v $$p >/dev/null 2>&1 && $$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null && echo $$p && break; done)
VENV := .venv
BIN := $(VENV)/bin
TORCH := torch==2.13.0
export HF_HUB_DISABLE_TELEMETRY := 1
export TOKENIZERS_PARALLELISM := false
# Python keeps what it compiled, whatever the surroundings say: the tests start many processes.
export PYTHONDONTWRITEBYTECODE :=

.PHONY: quickstart test again setup setup-dev lint types unit nightly soak llamacpp docs clean

quickstart: setup
	$(BIN)/hone quickstart

setup: $(VENV)/.installed

setup-dev: $(VENV)/.installed-dev

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "Hone needs Python 3.11 to 3.14 on the PATH (or: make PYTHON=/path/to/python3)"; exit 6; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet $(TORCH)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

test: lint types unit

lint: setup-dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

types: setup-dev
	$(BIN)/mypy

# One process a core, each with one thread: two processes that both want all cores wait for each other. The longest
# files come first (tests/conftest.py), so that no process has one left at the end; plugins that no test uses stay out.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
  -p no:schemathesis -p no:langsmith_plugin

unit: setup-dev
	$(PYTEST) -m "not slow" --durations=15

# The tests that just failed, one at a time and alone on the machine: says which of them are wrong and which only flicker.
again: lint types
	$(BIN)/python -m pytest -m "not slow" --last-failed --last-failed-no-failures none

nightly: setup-dev
	HYPOTHESIS_PROFILE=default $(PYTEST)

# Two hundred kills at random moments and two hundred before changes of the disk, a hundred signals, a hundred failing
# writes, and every change of three saves in a row. Then the server, for a bit more than an hour.
soak: setup-dev
	HONE_KILLS=200 HONE_SIGNALS=100 HONE_WRITES=34 OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/faults/test_kills.py \
	  tests/faults/test_signals.py tests/faults/test_disk.py --durations=10
	$(BIN)/python tests/server/soak.py

# The engine of GGUF files: its library is compiled here, once (10 to 20 minutes on two cores).
llamacpp: setup-dev
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev,llamacpp]'
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/engines/test_llamacpp.py

docs: setup
	$(BIN)/hone docs docs/recipe.md

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache
