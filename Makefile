# Everything runs in .venv, which `setup` builds; nothing outside this folder and a package registry is needed.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
BIN := .venv/bin

# Where bytecode may not be written, importing Airflow and MLflow costs several times more.
unexport PYTHONDONTWRITEBYTECODE
export PYTHON

# More arguments for pytest: make test PYTEST_ARGS="-k gate -x"
PYTEST_ARGS ?=

.PHONY: help setup azurite run stop test types tests test-all bench format lock compose-env clean distclean

help: ## this list
	@echo "Tidemill: one YAML file becomes a live machine-learning pipeline in Airflow."
	@echo
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20
	@echo
	@echo "The first of run, test and setup builds .venv (Python >= 3.11, a few minutes)."

setup: ## build .venv from the pinned requirements, if it is not current
	@scripts/setup.sh

run: setup ## start Airflow, run the demonstration pipeline through 2013, say where to look
	@$(BIN)/python -m tidemill.demo up

stop: ## stop what make run started
	@if [ -d .tidemill ] && [ -x $(BIN)/python ]; then $(BIN)/python -m tidemill.demo down; fi

azurite: setup
	@scripts/setup-azurite.sh || echo "setup: without Azurite the tests of Azure are skipped"

test: azurite ## lint, format, types, import layers, and every test that needs no other program
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	@# mypy takes a minute of one processor: side by side, the tests with real servers leave it the time they wait.
	@$(MAKE) --no-print-directory -j2 types tests

types:
	$(BIN)/mypy
	$(BIN)/lint-imports

tests:
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not (slow or browser or node or terraform or next)" $(PYTEST_ARGS)

test-all: azurite ## the rest: slow tests, and those with a browser, Node.js or Terraform where it is there
	@scripts/test-rest.sh $(PYTEST_ARGS)

bench: setup ## measure every headline figure and print the tables
	@scripts/bench.sh

format: setup ## put the code into the house's format and mend what ruff can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

lock: setup ## resolve pyproject.toml into the lock files (UPGRADE=1 raises everything)
	@scripts/lock.sh $(if $(UPGRADE),--upgrade)
	@scripts/setup.sh

compose-env: ## write .env with fresh secrets for docker-compose.yaml
	@scripts/compose-env.sh

clean: stop ## remove the demonstration's state and all caches; .venv stays
	rm -rf .tidemill include/flights/*.parquet include/diamonds/*.parquet .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
	find . -path "./.venv*" -prune -o -name __pycache__ -type d -print0 | xargs -0 rm -rf

distclean: clean ## clean, and remove the environments
	rm -rf .venv .venv-next .venv-checkov .venv-node tests/emulators/azurite/node_modules
