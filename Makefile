# Two commands do everything on a fresh machine with python3 (3.11 or newer) and pip:
#   make tune    install into .venv, then run the main job on the embedded data
#   make test    install into .venv, then run the tests
PYTHON ?= python3
SPACE ?= search_spaces/mdr_levels.yaml
STORE ?= runs
PORT ?= 5000
BIN := .venv/bin
READY := .venv/.ready

.PHONY: tune test lowest ui lint bench requirements

tune: $(READY)
	$(BIN)/python launch.py --space $(SPACE) --storage $(STORE)

test: $(READY) lint
	$(BIN)/python -m pytest -m "not slow" -n logical --dist loadfile --no-loadscope-reorder

# The tests with the oldest versions that pyproject.toml allows, in an environment of their own.
lowest: $(READY)
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv/lowest
	$(BIN)/uv pip install --quiet --python .venv/lowest --resolution lowest-direct --editable '.[dev]'
	.venv/lowest/bin/python -m pytest -m "not slow" -n logical --dist loadfile --no-loadscope-reorder $(TESTS)

ui: $(READY)
	@echo "Open http://127.0.0.1:$(PORT)/#/experiments?workflowType=machine_learning, or the address at the end of a launch."
	$(BIN)/mlflow ui --host 127.0.0.1 --port $(PORT) --backend-store-uri "sqlite:///$(abspath $(STORE))/mlflow.db"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy benchmarks/*.py

bench: $(READY)
	$(BIN)/python benchmarks/run_all.py

# uv installs in a fifth of pip's time; pip does where uv cannot be had or does not find the packages that pip's own settings
# find. Where Python may not write bytecode at the first import, it is written now.
# torch and torchvision are pinned as a pair in requirements.txt: builds of two kinds do not import together.
PIP := $(BIN)/python -m pip --disable-pip-version-check
$(READY): export UV_COMPILE_BYTECODE := $(if $(PYTHONDONTWRITEBYTECODE),1,0)
$(READY): requirements.txt pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mdr_tune needs Python 3.11 or newer, this is " + sys.version.split()[0])'
	$(PYTHON) -m venv .venv
	$(PIP) install --quiet $$(grep '^uv==' requirements.txt) \
	  && $(BIN)/uv pip install --python $(BIN)/python --requirement requirements.txt \
	  || { echo "uv did not install; pip does, which takes minutes:"; $(PIP) install --requirement requirements.txt; }
	$(PIP) install --quiet --no-deps --editable .
	touch $(READY)

# Renew the pins, after a change of the dependencies in pyproject.toml.
requirements: $(READY)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.11 --no-emit-index-url \
	  --no-emit-find-links --no-annotate --no-header --quiet --output-file requirements.txt
