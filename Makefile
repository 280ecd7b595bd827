# One command does everything, on a fresh machine too: each target first makes .venv and installs what it needs, in the
# versions of constraints.txt. Python 3.11 or newer is needed for these; choose another with `make test PYTHON=python3.12`.
# On Linux without a GPU, spare yourself the CUDA libraries:
#     make test PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

.PHONY: demo test quality style clean

# A second run finds the stamps newer than these files and installs nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The tests run the optional parts as well.
.venv/installed-all: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev,train,eval,demo,export]"
	touch $@

demo: .venv/installed
	$(BIN)/python examples/demo.py

# One thread per worker: two workers with a core each are faster than one with two.
test: .venv/installed-all
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

quality: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

style: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf .venv demo build dist *.egg-info
