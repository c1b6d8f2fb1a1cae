# make demo | test | test-cuda | test-ptx | test-gpu | lint | bench | docs | clean.  Everything runs in .venv, made once from any Python >= 3.10.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
JOBS ?= $(shell n=$$(getconf _NPROCESSORS_ONLN 2>/dev/null || echo 2); echo $$((n > 8 ? 8 : n)))
EPOCHS ?= 12
PYTEST_ARGS ?=

.PHONY: demo test test-cuda test-ptx test-gpu lint bench docs clean help

help:
	@sed -n '1p' Makefile

# Installed again only when what is installed changes.
$(STAMP): setup.cfg pyproject.toml
	@python=; for p in "$$PYTHON" python3 python3.13 python3.12 python3.11 python3.10 python; do \
	  if [ -n "$$p" ] && command -v "$$p" >/dev/null && "$$p" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; \
	  then python=$$p; break; fi; done; \
	if [ -z "$$python" ]; then \
	  echo "graphk needs Python >= 3.10 and found none; install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; fi; \
	if ! $(BIN)/python -m pip --version >/dev/null 2>&1; then rm -rf $(VENV); "$$python" -m venv $(VENV) || { \
	  echo "could not make a virtual environment; on Debian and Ubuntu install python3-venv" >&2; exit 1; }; fi
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --upgrade 'pip>=23'
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev]'
	@touch $(STAMP)

demo: $(STAMP)
	$(BIN)/python -m graphk.demo --epochs $(EPOCHS)

test: $(STAMP)
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal $(PYTEST_ARGS)

# Goldens, the simulator, and PTX that is compiled and run in Python; needs no GPU.  CUDA=12 for drivers before CUDA 13.
CUDA ?= 13
test-cuda: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev,cuda$(CUDA)]'
	$(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests/codegen/test_cuda*.py tests/gpu $(PYTEST_ARGS)

# The device suite with all kernels' PTX on a machine in Python: about ten minutes.
test-ptx: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev,cuda$(CUDA)]'
	GRAPHK_TEST_DEVICE=ptx $(BIN)/python -m pytest -q -n $(JOBS) --dist worksteal tests/gpu $(PYTEST_ARGS)

# The device suite on this machine's GPU.
test-gpu: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[dev,cuda$(CUDA)]'
	GRAPHK_TEST_DEVICE=gpu $(BIN)/python -m pytest -q tests/gpu $(PYTEST_ARGS)

lint: $(STAMP)
	$(BIN)/ruff check graphk tests benchmarks examples docs
	$(BIN)/mypy

bench: $(STAMP)
	$(BIN)/python -m benchmarks

# The pages of docs/ and the reference, into site/.
docs: $(STAMP)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[docs]'
	$(BIN)/python -m mkdocs build --strict

clean:
	rm -rf $(VENV) build dist site *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis demo_output
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
