# phasewalk: what a user types. Every target sets up what it needs.
#   make example     learn MIL-53(Al), then its free energy (about a quarter of an hour on two cores)
#   make test        everything that can be proved without a GPU or Slurm
#   make test-long   what proves more and takes longer: the paper's network, more kills and random cases
#   make test-slurm  jobs on a Slurm cluster of several nodes, which it starts on this machine
#   make check       format, lint, types, fast tests
#   make test-dft    a campaign with PBE-D3 labels from CP2K (about twenty minutes)
#   make docs        the documentation, in build/site (its generated pages first)
#   make bench       what a step, a swap, a compilation cost, as ratios; large cells, MPI ranks; how the driver grows
#   make gpu-kit     what a GPU machine without a network needs to run tests/gpu/run, in one archive
#   make image-cpu   container image for CPUs
SHELL := /bin/bash
.DELETE_ON_ERROR:
.PHONY: setup example test test-long test-slurm test-dft lint check format docs bench clean gpu-kit image-cpu

PYTHON ?= python3
VENV ?= .venv
CAMPAIGNS ?= campaigns
export PATH := $(abspath $(VENV))/bin:$(PATH)
PIP := $(VENV)/bin/python -m pip install --disable-pip-version-check --quiet -c constraints.txt
# Of the GPU machine: its Python, its torch, and a file of the Python packages that it has.
GPU_PYTHON ?= 3.12
GPU_TORCH ?= 2.11.0
GPU_THERE ?= tests/gpu/there.txt
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
# Slow files first, each in one worker (tests/conftest.py); what is left goes to whoever is idle.
PYTEST := pytest -n 2 --dist loadfile --no-loadscope-reorder
CXX_FILES := $(wildcard cmake/plugin/*.cpp cmake/plugin/*.h cmake/tests/*.cpp cmake/tests/*.h)

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml constraints.txt plumed.txt cmake/system-packages
	@bash cmake/system-packages $(PYTHON)
	@echo "setting up $(VENV) (about a minute; 2 GB)"
	@$(PYTHON) -m venv $(VENV)
	@# Without an NVIDIA driver the CPU build of torch is enough, where pip knows one; the default
	@# build carries several GB of CUDA.
	@if ! command -v nvidia-smi >/dev/null; then $(PIP) "torch==$(TORCH)+cpu" 2>/dev/null || true; fi
	@$(PIP) -e ".[dev]"
	@# PLUMED's kernel, without the hundred packages that its wheel names.
	@$(PIP) --no-deps --require-hashes -r plumed.txt
	@touch $@

example: setup
	phasewalk run examples/mil53_al/campaign.yaml --dir $(CAMPAIGNS)/mil53_al
	phasewalk fes $(CAMPAIGNS)/mil53_al --segments 24
	phasewalk report $(CAMPAIGNS)/mil53_al
	phasewalk status $(CAMPAIGNS)/mil53_al

format: setup
	ruff format driver tests examples
	ruff check --fix driver tests examples
	clang-format -i $(CXX_FILES)

lint: setup
	ruff format --check driver tests examples
	ruff check driver tests examples
	clang-format --dry-run --Werror $(CXX_FILES)
	mypy
	lint-imports

check: lint
	pytest -q -n 2 -m "not engine and not slow"

test: setup
	@bash cmake/system-packages $(PYTHON) tests
	phasewalk build-plugin
	bash cmake/tests/run
	$(PYTEST) --durations 60

test-long: setup
	@bash cmake/system-packages $(PYTHON) tests
	phasewalk build-plugin
	PHASEWALK_TEST_CASES=many $(PYTEST) -m "long or fuzz" --durations 60

# Needs root, since each daemon of Slurm runs as root.
test-slurm: setup
	@bash cmake/system-packages $(PYTHON) slurm
	phasewalk build-plugin
	$(PYTEST) -m slurm --durations 20

test-dft: setup
	@bash cmake/system-packages $(PYTHON) tests
	phasewalk check examples/ice_xi/campaign.yaml
	phasewalk run examples/ice_xi/campaign.yaml --dir $(CAMPAIGNS)/ice_xi
	phasewalk status $(CAMPAIGNS)/ice_xi
	phasewalk labels verify $(CAMPAIGNS)/ice_xi

docs: setup
	phasewalk schema -o docs/campaign.schema.json
	phasewalk schema --markdown -o docs/configuration.md
	phasewalk schema --site -o docs/site.schema.json
	phasewalk schema --site --markdown -o docs/site-keys.md
	phasewalk schema --production -o docs/production.schema.json
	phasewalk schema --production --markdown -o docs/production-keys.md
	python -m mkdocs build --quiet --strict

bench: setup
	OMP_NUM_THREADS=1 python tests/bench/bench.py
	OMP_NUM_THREADS=1 python tests/bench/scaling.py
	OMP_NUM_THREADS=1 python tests/bench/growth.py
	OMP_NUM_THREADS=1 python tests/bench/cluster_simulation.py --walkers 20 --rounds 5

gpu-kit: setup
	python tests/gpu/kit.py --python $(GPU_PYTHON) --torch $(GPU_TORCH) --there $(GPU_THERE)

image-cpu:
	@$(PYTHON) docker/build-cpu

clean:
	rm -rf $(VENV) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
