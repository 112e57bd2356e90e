# make run | test | check | bench | clean      (make help says more)
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
LONG := tests/slurm tests/workflow tests/faults
export PATH := $(CURDIR)/$(BIN):$(PATH)

.DEFAULT_GOAL := help
.PHONY: help run test stress check format bench docs lock clean

help:  ## what there is
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

run: $(STAMP)  ## install, then the workflow of config.yaml on this machine (default: the demo cohort)
	snakemake --cores all

test: $(STAMP)  ## install, then all tests, in two processes, the longest first
	@tests/install --if-free
	python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	  $(LONG) $(filter-out $(LONG) tests/__pycache__,$(patsubst %/,%,$(wildcard tests/*/)))

stress: $(STAMP)  ## the long tests: every fault, many kills, a thousand participants; an hour or more
	python -m pytest -m stress -s

check: $(STAMP)  ## format, lint, types, imports, workflow, generated pages
	ruff format --check .
	ruff check .
	mypy vp_engine
	lint-imports
	snakefmt --check Snakefile workflow
	snakemake --lint
	python docs/generate.py --check

format: $(STAMP)  ## put code into the form that check wants
	ruff format .
	ruff check --fix .
	snakefmt Snakefile workflow

bench: $(STAMP)  ## how fast the parts are on this machine
	python benchmarks/run.py

docs: $(STAMP)  ## write the generated pages of docs/ anew
	python docs/generate.py

lock: $(STAMP)  ## constraints.txt from what is installed
	@{ head -n 1 constraints.txt; \
	  python -m pip list --format=freeze --exclude-editable --exclude pip | sed -E 's/\+[A-Za-z0-9.]+$$//'; } > constraints.tmp
	@mv constraints.tmp constraints.txt

clean:  ## remove the demo cohort, caches and build leftovers; results stay
	@if [ -e demo/sourcedata/demo_truth.tsv ]; then rm -rf demo; fi
	rm -rf demo.partial .snakemake .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist

# one environment for everything; an existing .venv is kept and only completed
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Python 3.11 or newer is needed, got: $$($(PYTHON) --version). Try: make PYTHON=python3.12 ..."; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@
