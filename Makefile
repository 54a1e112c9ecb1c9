# make setup | quickstart | notebook | test | test-determined-0.37 | check | bench | clean. Set-up goes to .venv and
# models/, DeepSpeed's operators to ~/.cache/torch_extensions, tokens to ~/.cache/det_files.
SHELL := /bin/bash
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
MODEL := models/smollm2-135m-instruct
RUN_QUICKSTART := $(BIN)/python -m det_files.local experiments/smollm2_135m_quickstart.yaml --slots 2
# DeepSpeed builds its CPU operators just in time and wants ninja on PATH, which is in the venv.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export TOKENIZERS_PARALLELISM := false

.PHONY: setup machine quickstart named-run notebook test test-determined-0.37 check bench clean

setup: machine .venv/installed .venv/operators $(MODEL)/config.json

# Said plainly before anything is downloaded.
machine:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed, found $$($(PYTHON) --version 2>&1); say make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -c 'import os, sysconfig, sys; sys.exit(not os.path.isfile(os.path.join(sysconfig.get_paths()["include"], "Python.h")))' || \
		{ echo "Python's headers are missing (Python.h): apt install python3-dev, or a Python that brings them"; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' || \
		{ echo "Python's venv module is missing: apt install python3-venv"; exit 1; }
	@command -v g++ >/dev/null || command -v c++ >/dev/null || \
		{ echo "a C++ compiler is missing: apt install g++"; exit 1; }

# torch first and pinned, so that nothing else chooses one. PyPI's build brings CUDA (several GB);
# without a GPU say PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu make setup.
.venv/installed: requirements.txt requirements-local.txt requirements-dev.txt | machine
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear .venv
	$(BIN)/python -m pip install --quiet $$(grep '^torch==' requirements.txt)
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	$(BIN)/python -m pip check
	touch $@

# DeepSpeed's CPU operators, built once (they are kept in ~/.cache/torch_extensions): otherwise the
# first run on this machine would seem to hang for minutes.
.venv/operators: | .venv/installed
	@echo "building DeepSpeed's CPU operators, once: one to four minutes"
	@DS_ACCELERATOR=cpu $(BIN)/python -c "from deepspeed.accelerator import get_accelerator; \
	  [get_accelerator().create_op_builder(name).load(verbose=False) \
	   for name in ('ShareMemCommBuilder', 'CPUAdamBuilder')]" >.venv/operators.log 2>&1 || \
		{ cat .venv/operators.log; exit 1; }
	touch $@

# Another make may have made it meanwhile, and a run may be reading it.
.PRECIOUS: $(MODEL)/config.json
$(MODEL)/config.json: | .venv/installed
	$(BIN)/python -m det_files.quickstart_model --output $(MODEL)

quickstart: setup
	@set -o pipefail; run=$$($(RUN_QUICKSTART) | tee >(cat >&2) | tail -n 1) && \
		$(BIN)/python -m det_files.evaluation.compare "$$run"

# The comparison of a run's models as a page, RUN/comparison.html; RUN may be an experiment's id.
RUN ?= $(shell ls -d runs/smollm2_135m_quickstart/* 2>/dev/null | sort -V | tail -n 1)
named-run:
	@test -n "$(RUN)" || { echo "name a run: make notebook RUN=runs/NAME/NUMBER, or make quickstart first"; exit 1; }
	@[[ -d "$(RUN)" || "$(RUN)" =~ ^[0-9a-fA-F-]+$$ ]] || { echo "$(RUN): no such run's directory"; exit 1; }
notebook: named-run setup
	$(BIN)/python -m det_files.notebook $(RUN)

# Two files of tests at a time, one thread each, then lives on the stand-in cluster, two of them at a
# time: one is mostly a process that imports.
LIVES := tests/cluster/lives
test: export OMP_NUM_THREADS := 1
test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile --ignore $(LIVES)
	$(BIN)/python -m pytest -n 2 $(LIVES)

# The same lives with the last release that hands out searcher operations, in its own environment.
OLD := .venv-determined-0.37
test-determined-0.37: $(OLD)/installed
	PATH="$(CURDIR)/$(OLD)/bin:$$PATH" TORCH_EXTENSIONS_DIR="$(CURDIR)/$(OLD)/torch_extensions" \
		$(OLD)/bin/python -m pytest -n 2 $(LIVES)

$(OLD)/installed: requirements.txt requirements-local.txt requirements-dev.txt | machine
	$(OLD)/bin/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv --clear $(OLD)
	$(OLD)/bin/python -m pip install --quiet $$(grep '^torch==' requirements.txt)
	$(OLD)/bin/python -m pip install --quiet -r requirements-dev.txt
	$(OLD)/bin/python -m pip install --quiet determined==0.37.0
	$(OLD)/bin/python -m pip check
	touch $@

check: machine .venv/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/yamllint --strict .
	$(BIN)/python -m det_files.validate experiments

# ../shared/data/gsm8k, say, is more like what people train on: make BENCH_DATA=DIR bench
BENCH_DATA ?= data/quickstart
bench: setup
	$(BIN)/python -m benchmarks.load_memory --model $(MODEL)
	$(BIN)/python -m benchmarks.upload_memory
	$(BIN)/python -m benchmarks.memory --model $(MODEL)
	$(BIN)/python -m benchmarks.callback
	$(BIN)/python -m benchmarks.callback --model $(MODEL) --steps 6
	$(BIN)/python -m benchmarks.data --model $(MODEL) --data $(BENCH_DATA)
	$(BIN)/python -m benchmarks.throughput --model $(MODEL) --data $(BENCH_DATA)
	$(BIN)/python -m benchmarks.throughput --model $(MODEL) --data $(BENCH_DATA) --method full
	$(BIN)/python -m benchmarks.generation --model $(MODEL) --data $(BENCH_DATA)

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache
