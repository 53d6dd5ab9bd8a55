# The two commands of the README are `make demo` and `make test`; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-fast faults check format clean
.DEFAULT_GOAL := help

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/  -/'

demo: $(READY)  ## phantom clips, the biomarkers study in its smoke size, a report
	$(BIN)/lus demo

test: $(READY)  ## every test that needs no special hardware
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not ray"
	$(BIN)/pytest -q -m "ray and not faults"

test-fast: $(READY)  ## the tests of daily work, under three minutes
	$(BIN)/pytest -q -n 2 --dist loadfile -m "not ray and not slow"

faults: $(READY)  ## campaigns with random kills and full disks, an hour; LUS_TEST_FAULTS=5 makes more
	$(BIN)/pytest -q -s -m faults

check: $(READY)  ## formatter, linter, type checker, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the files as the formatter likes them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## throw the environment and the caches away
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info

# torch comes first and pinned: a range would draw the GPU packages of a newer release.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lus_ray needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
