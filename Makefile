# One command does everything, on a fresh machine too: each target first makes .venv and installs what it needs, in the
# versions of constraints.txt. Python 3.11 or newer is needed for these; choose another with `make test PYTHON=python3.12`.
# On Linux without a GPU, spare yourself the CUDA libraries:
#     make test PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu

PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
export HF_HUB_OFFLINE ?= 1

# What another version of Transformers, huggingface_hub or torch can change, and what torchvision can.
FLOOR_TESTS := tests/cards/test_model_card.py $(addprefix tests/test_,auto_classes.py configuration_catseg.py golden.py \
	hub.py image_processing_catseg.py merging_catseg.py modeling_catseg.py pipeline_catseg.py processing_catseg.py \
	text_cleaning_catseg.py)
TORCHVISION_TESTS := $(addprefix tests/test_,auto_classes.py golden.py image_processing_catseg.py merging_catseg.py \
	pipeline_catseg.py processing_catseg.py)

# What annotations are read back with.
ANNOTATION_TOOLS := label-studio-sdk supervision

.PHONY: demo test test-slow test-floor test-torchvision test-label-studio quality style package docs pictures clean

# A second run finds the stamps newer than these files and installs nothing.
.venv/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

# The tests run the optional parts as well.
.venv/installed-all: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt \
		--editable ".[dev,train,eval,demo,docs,export,annotate,geo,heif,video,serve]" $(ANNOTATION_TOOLS)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --no-deps --target .venv/int8 --upgrade torchao
	touch $@

# With your own words: make demo LABELS="something red, a star, a moon, a square, ground"
demo: .venv/installed
	$(BIN)/python examples/demo.py $(if $(LABELS),"$(LABELS)")

# One thread per worker: two workers with a core each are faster than one with two. The tests of a file go to one of
# them, which makes what they share once.
test: .venv/installed-all
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow"

# The others: models of full size, attacks, documents, trainings. Ray takes all cores, so its tests run one after the
# other. torchao is kept apart, since beside a CPU build of torch it complains at each loading of a model.
test-slow: .venv/installed-all
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile -m "slow and not ray"
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m ray tests/fleet tests/service tests/test_ray_session.py
	OMP_NUM_THREADS=1 PYTHONPATH=.venv/int8 $(BIN)/python -m pytest tests/test_tiny.py -k int8

# The lowest versions that pyproject.toml allows, in an environment of their own (on Linux, 8 GB with the CUDA libraries).
# Transformers 5.20 can load the image processor of SegFormer, which one test compares with, only with torchvision.
.venv/floor/installed: pyproject.toml constraints.txt .ci/floor.py
	$(PYTHON) -m venv .venv/floor
	$(PYTHON) .ci/floor.py > .venv/floor/constraints.txt
	.venv/floor/bin/python -m pip install --quiet --constraint .venv/floor/constraints.txt \
		--editable ".[dev]" accelerate datasets
	touch $@

test-floor: .venv/floor/installed
	OMP_NUM_THREADS=1 .venv/floor/bin/python -m pytest -n 2 --dist loadfile $(FLOOR_TESTS) \
		--deselect tests/test_pipeline_catseg.py::test_pipelines_of_other_models_are_as_without_the_package

# With torchvision, whose wheels fit only the CUDA build of torch (6 GB): the image processor then has another backend.
.venv/torchvision/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv/torchvision
	grep -v "^torch==" constraints.txt > .venv/torchvision/constraints.txt
	.venv/torchvision/bin/python -m pip install --quiet --constraint .venv/torchvision/constraints.txt \
		--editable ".[dev]" accelerate datasets torch==2.14.1 torchvision==0.29.1
	touch $@

test-torchvision: .venv/torchvision/installed
	OMP_NUM_THREADS=1 .venv/torchvision/bin/python -m pytest -n 2 --dist loadfile $(TORCHVISION_TESTS)

# With Label Studio, which brings a web framework and pins of its own (1 GB): the service as its backend.
.venv/label-studio/installed:
	$(PYTHON) -m venv .venv/label-studio
	.venv/label-studio/bin/python -m pip install --quiet label-studio==1.23.2
	touch $@

test-label-studio: .venv/installed-all .venv/label-studio/installed
	OMP_NUM_THREADS=1 LABEL_STUDIO=$(CURDIR)/.venv/label-studio/bin/label-studio \
		$(BIN)/python -m pytest tests/service/test_label_studio.py

quality: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

style: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What PyPI would get, in dist/; built with the libraries of .venv, so without a network.
package: .venv/installed
	rm -rf build dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*
	$(BIN)/python .ci/wheel.py dist/*.whl

# The documentation as pages for a browser, in site/: python -m http.server --directory site
# Without Material's notice of its successor, which would be in every log (CONTRIBUTING.md says what follows from it).
docs: .venv/installed-all
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build

# The pictures of tutorials, gallery and "how it works", in examples/pictures: what the blocks of these pages draw.
pictures: .venv/installed-all
	$(BIN)/python examples/draw_pictures.py

clean:
	rm -rf .venv demo build dist site *.egg-info
