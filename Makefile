# Every target makes the environment it needs: .venv, from the pins of requirements.txt.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help demo test lint results notebooks smollm2 bench bench-search clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z0-9_-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

demo: $(STAMP) ## Train, search and evaluate the embedded default; the last line is the JSON summary
	@$(BIN)/python train.py && $(BIN)/python search.py && $(BIN)/python evaluate.py

test: $(STAMP) ## Run the fast tests
	@$(BIN)/python -m pytest

lint: $(STAMP) ## Check style, types and import floors
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy src
	@$(BIN)/lint-imports --no-logo

results: $(STAMP) ## Write the tables and figures of README.md and docs/results from the runs' files
	@$(BIN)/python scripts/write_results.py

notebooks: $(STAMP) ## Run the notebooks from top to bottom; their outputs are not kept
	@$(BIN)/python -m pytest --nbmake notebooks

smollm2: $(STAMP) ## Put SmolLM2-135M-Instruct into checkpoints/base
	@$(BIN)/python scripts/get_smollm2.py

bench: $(STAMP) ## Time the engine against generate on SmolLM2; the last line is the JSON summary
	@test -d checkpoints/base/SmolLM2-135M-Instruct || $(MAKE) smollm2
	@$(BIN)/python scripts/bench_engine.py --questions 8 --repeats 2

bench-search: $(STAMP) ## Count the tokens of three searches on the demo's model; the last line is the JSON summary
	@test -f checkpoints/miniworld/importance.json || $(BIN)/python train.py
	@$(BIN)/python scripts/bench_search.py --search.max_budget 16

clean: ## Remove the environment and the caches; checkpoints stay
	rm -rf .venv build dist src/*.egg-info .mypy_cache .pytest_cache .ruff_cache .import_linter_cache
	find . -type d -name __pycache__ -prune -exec rm -rf {} +

$(STAMP): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' || \
		{ echo "$(PYTHON) is not Python 3.11, 3.12 or 3.13; call: make PYTHON=python3.11 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install -r requirements.txt
	$(BIN)/pip install --no-deps -e .
	@touch $@
