PYTHON ?= python3
BIN := .venv/bin

.PHONY: help demo test slow check format clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: .venv/installed ## train a Transformer on real IMDb reviews on two processes, print its results
	$(BIN)/python src/run.py model=transformer data=imdb trainer=ddp

test: .venv/tested ## install what the tests need and pass them
	$(BIN)/python -m pytest -n 2 --dist worksteal

slow: .venv/tested ## the long proofs
	$(BIN)/python -m pytest -m slow

check: .venv/tested ## lint, format and types
	$(BIN)/ruff check src tests scripts
	$(BIN)/ruff format --check src tests scripts
	$(BIN)/mypy

format: .venv/tested ## rewrite what `make check` would complain about
	$(BIN)/ruff check --fix src tests scripts
	$(BIN)/ruff format src tests scripts

clean: ## remove the virtual environment and the caches of the tools
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache

.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

.venv/tested: .venv/installed
	$(BIN)/python -m pip install --quiet --editable '.[corpora,dev]'
	touch $@
