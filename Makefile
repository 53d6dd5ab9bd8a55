# The two commands of the README are `make demo` and `make test`; both make the environment first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: help demo test test-data test-models test-cluster test-service test-fast test-all fuzz check format clean
.DEFAULT_GOAL := help
# Tests start many processes; each would compile the package again.
unexport PYTHONDONTWRITEBYTECODE
# Each test process imports only what its part needs: importing everything takes half a minute.
DATA_TESTS := $(addprefix tests/,cli data evaluation external_validation figures folds fuzz \
	inference metrics monitoring report storage tasks training)
UNIT := not ray and not full
# Tests are quicker on one thread each, and so are their neighbours on the machine.
test-data test-models test-cluster test-service: export OMP_NUM_THREADS = 1

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' Makefile | sed 's/:.*##/  -/'

demo: $(READY)  ## phantom clips, the biomarkers study in its demo size, a report
	$(BIN)/lus demo

test: $(READY)  ## unit tests, an arm of every pattern, one cluster, one service: six minutes (eight with the environment)
	$(MAKE) -j 3 --output-sync test-service test-cluster test-models test-data

# Three at a time on two cores, and first the two that wait for Ray most of the time.
test-data: $(READY)
	$(BIN)/pytest -q --quick-runs -m "$(UNIT)" $(DATA_TESTS)
test-models: $(READY)
	$(BIN)/pytest -q --quick-runs -m "$(UNIT)" tests $(addprefix --ignore=,$(DATA_TESTS))
test-cluster: $(READY)
	$(BIN)/pytest -q -m "ray and not full" --ignore tests/serve
test-service: $(READY)
	$(BIN)/pytest -q -m "ray and not full" tests/serve

test-fast: $(READY)  ## unit tests, under three minutes
	$(MAKE) -j 2 --output-sync test-data test-models UNIT="not ray and not slow and not full"

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

format: $(READY)  ## format the files, and fix what the linter can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## delete the environment and the caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .fuzz *.egg-info

# torch comes first and pinned: a range would draw the GPU packages of a newer release. pip would
# compile one file after the other; some templates of packages cannot be compiled.
INSTALL := $(BIN)/python -m pip install --quiet --no-compile --disable-pip-version-check \
	-c constraints.txt
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "lus_ray needs Python 3.11 or newer")'
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) torch
	$(INSTALL) -e ".[dev]"
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true
	@touch $@
