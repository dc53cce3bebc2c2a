# `make help` lists what can be made. Everything runs in an environment of its own,
# made at the first call. PYTHON= and VENV= choose what it is made with, and where.

SHELL := /bin/sh
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
REQUIREMENTS := requirements.txt requirements-dev.txt pyproject.toml
SUPPORTED := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))
export PYTHON

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help install demo test test-slurm lint format docs bench clean

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' \
		$(firstword $(MAKEFILE_LIST))
	@echo "Options: ARGS='-k pooling' for test, ARGS='--only head' for bench; for a new"
	@echo "environment, PYTHON=python3.12 (one of 3.11 to 3.13) and VENV=.venv"

install: $(STAMP) ## Make the environment and install everything into it

demo: $(STAMP) ## Five folds on synthetic speech: no data, no download of models
	$(BIN)/python recipes/demo/make_demo_corpus.py demo/corpus
	$(BIN)/python recipes/IEMOCAP/emotion_corr/run_folds.py \
		recipes/demo/hparams/demo.yaml \
		--data_folder demo/corpus --output_folder demo/results

test: $(STAMP) ## Run the tests and the examples in the documentation
	$(BIN)/python -m pytest -n 2 --dist loadfile $(ARGS)

test-slurm: $(STAMP) ## Run the tests that need Slurm, on one that is started for them
	SERCORR_TEST_SLURM=1 $(BIN)/python -m pytest tests/test_slurm.py $(ARGS)

lint: $(STAMP) ## Check format, style, spelling and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/codespell
	$(BIN)/mypy

format: $(STAMP) ## Format the code and mend what the linter can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(STAMP) ## Write docs/api.md from the docstrings
	$(BIN)/python docs/make_api.py

bench: $(STAMP) ## Measure speed and memory
	$(BIN)/python -m benchmarks $(ARGS)

clean: ## Remove the environment, the demo and the caches
	rm -rf $(VENV) demo build dist .pytest_cache .ruff_cache .mypy_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamp is written last, so an interrupted installation starts again from nothing.
# A command named python3.x may exist and fail (pyenv's do): each is run, not looked up.
$(STAMP): $(REQUIREMENTS)
	@if [ -e $@ ]; then rm -f $@; exit 0; fi; \
	candidates=$${PYTHON:-python3.13 python3.12 python3.11 python3}; \
	python=''; \
	for candidate in $$candidates; do \
		if "$$candidate" -c '$(SUPPORTED)' >/dev/null 2>&1; then \
			python=$$candidate; break; \
		fi; \
	done; \
	if [ -z "$$python" ]; then \
		echo "error: no Python from 3.11 to 3.13 runs here (tried: $$candidates);" \
			"install one, or name it: make PYTHON=/path/to/python3.13 ..." >&2; \
		exit 2; \
	fi; \
	if ! "$$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then \
		echo "error: $$python has no venv or ensurepip to make environments with;" \
			"install python3-venv (Debian, Ubuntu: apt install python3-venv)" >&2; \
		exit 2; \
	fi; \
	echo "making $(VENV) with $$("$$python" --version)"; \
	"$$python" -m venv --clear $(VENV)
	@echo "installing (a few minutes at the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		-r requirements-dev.txt -e .
	@touch $@
