# Everything starts from a plain Python: `make train` and `make test` set up what they need.
# Needs Python >= 3.11 with venv, a C++ compiler, cmake and make.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.DEFAULT_GOAL := help
.PHONY: help setup train test extras browser test-all lint types docs wheel clean

help: ## this list
	@grep -E '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

setup: $(READY) ## a virtual environment with everything, Horovod and the kernels built for its TensorFlow

$(READY): requirements.txt pyproject.toml scripts/build/horovod.py scripts/build/kernels.py $(wildcard tfscale/kernels/*.cc tfscale/kernels/*.h) tfscale/kernels/library.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { echo "make: $(PYTHON) is not Python 3.11 or newer; install it, or name one: make PYTHON=python3.12"; exit 1; }
	@for tool in cmake c++; do command -v $$tool >/dev/null \
		|| { echo "make: $$tool not found; type: apt-get install g++ cmake make python3-venv"; exit 1; }; done
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || { rm -rf $(VENV); $(PYTHON) -m venv $(VENV); } \
		|| { echo "make: $(PYTHON) cannot make a virtual environment; type: apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install -q --disable-pip-version-check --use-pep517 -r requirements.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps -e .
	$(BIN)/python -m tfscale.scripts.build.horovod
	$(BIN)/python -m tfscale.scripts.build.kernels
	@touch $@

train: $(READY) ## LeNet learns MNIST on two processes that share compressed gradients
	@$(BIN)/tfscale data fetch mnist
	$(BIN)/tfscale train recipe=sharing_mnist

test: $(READY) ## the test suite, real Horovod processes included; at most 10 minutes on two idle cores
	$(BIN)/python -m pytest -q -n auto --maxprocesses 4 --dist worksteal -m "not slow"

extras: $(VENV)/.extras ## what only tests of extras need: MLflow and its server, Weights & Biases, selenium

$(VENV)/.extras: $(READY) tests/extras.txt tests/mlflow_server.txt
	$(BIN)/python -m pip install -q --disable-pip-version-check -r requirements.txt -r tests/extras.txt
	$(PYTHON) -m venv $(VENV)/mlflow-server
	$(VENV)/mlflow-server/bin/python -m pip install -q --disable-pip-version-check -r tests/mlflow_server.txt
	@touch $@

browser: ## Chromium for the tests of reports, by apt-get; they are skipped without it
	apt-get install -y --no-install-recommends chromium chromium-driver fonts-dejavu-core

test-all: $(VENV)/.extras ## the rest: packages, soaks, long fault tests; at most 25 minutes on two idle cores
	$(BIN)/python -m pytest -v -n 2 --dist worksteal -m slow

lint: $(READY) ## ruff: format and rules
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

types: $(READY) ## pyright
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(READY) ## the documentation as a web site, in build/docs; any warning is an error
	@# The variable silences the theme's announcement of its successor; warnings about our pages still end the build.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

wheel: $(READY) ## dist/*.whl and dist/*.tar.gz
	$(BIN)/python -m build

clean: ## removes the virtual environment and what was built
	rm -rf $(VENV) build dist *.egg-info
