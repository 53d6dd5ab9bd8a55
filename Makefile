# The two commands of the README are `make demo` and `make test`; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-cluster test-service test-fast test-all fuzz check format clean
.DEFAULT_GOAL := help
# Tests start many processes; each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
# Three test workers on two cores: a test waits for another process a quarter of the time.

help:  ## what there is
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/  -/'

demo: $(READY)  ## phantom clips, the biomarkers study in its demo size, a report
	$(BIN)/lus demo

test: $(READY)  ## unit tests, an arm of every pattern, one cluster, one service: nine minutes
	$(BIN)/pytest -q -n 3 --dist loadfile -m "not ray and not full"
	$(MAKE) -j 2 --output-sync test-cluster test-service

# Both wait for Ray most of the time, hence side by side, and on one thread each.
test-cluster test-service: export OMP_NUM_THREADS = 1
test-cluster: $(READY)
	$(BIN)/pytest -q -m "ray and not full" --ignore tests/serve
test-service: $(READY)
	$(BIN)/pytest -q -m "ray and not full" tests/serve

test-fast: $(READY)  ## unit tests, under three minutes
	$(BIN)/pytest -q -n 3 --dist loadfile -m "not ray and not slow and not full"

test-all: $(READY)  ## everything: every arm, kills, full disks, ray up, jobs, hostile load: 45 minutes
	$(BIN)/pytest -q -n 3 --dist loadfile -m "not ray" --hypothesis-profile thorough
	$(BIN)/pytest -q -m ray

fuzz: $(READY)  ## damage small source folders for ten minutes and check what the ingest stores
	$(BIN)/python -m tests.fuzz --minutes 10

check: $(READY)  ## formatter, linter, type checker, import layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(READY)  ## rewrite the files as the formatter likes them
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## throw the environment and the caches away
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz *.egg-info

# torch comes first and pinned: a range would draw the GPU packages of a newer release.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lus_ray needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	@touch $@
