# A thin front for start.py, which does the work and needs nothing but Python (so it serves Windows too).
#   make lab LAB_ARGS=--no-browser        options for JupyterLab
#   make test TEST_ARGS="-k base_model"   options for pytest (test-slow takes them too)
#   make notebooks NOTEBOOK_ARGS=--check  options for tools/notebooks.py
#   make bench BENCH_ARGS=--quick         options for python -m benchmarks
#   make test PYTHON=python3.12           another Python to build .venv with
PYTHON ?= python3

.PHONY: help setup lab test test-slow lint notebooks figures bench site slides

help:
	@$(PYTHON) start.py --help

setup:
	@$(PYTHON) start.py setup

lab:
	@$(PYTHON) start.py lab $(LAB_ARGS)

test:
	@$(PYTHON) start.py test $(TEST_ARGS)

test-slow:
	@$(PYTHON) start.py test-slow $(TEST_ARGS)

lint:
	@$(PYTHON) start.py lint

notebooks:
	@$(PYTHON) start.py notebooks $(NOTEBOOK_ARGS)

figures:
	@$(PYTHON) start.py figures

bench:
	@$(PYTHON) start.py bench $(BENCH_ARGS)

site:
	@$(PYTHON) start.py site $(SITE_ARGS)

slides:
	@$(PYTHON) start.py slides $(SLIDES_ARGS)
