# Each command does its own set-up in .venv; it needs Python >= 3.11 with pip, and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types imports pytest format docs docs-fast benchmark speed clean

demo: .venv/installed
	$(BIN)/icecore demo

test: lint types imports pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: .venv/installed
	$(BIN)/mypy

imports: .venv/installed
	$(BIN)/lint-imports

# Two processes of one thread each: the networks of the tests are too small for threads to share.
pytest: .venv/installed
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Pages come to docs/_build/html. Warnings are errors; no network is used.
SPHINX = MPLBACKEND=agg $(BIN)/sphinx-build -W --keep-going -q -b html docs docs/_build/html

docs: .venv/installed-docs
	$(SPHINX)

# Without running the examples of the gallery.
docs-fast: .venv/installed-docs
	$(SPHINX) -D plot_gallery=0

benchmark: .venv/installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[benchmark]"
	$(BIN)/python benchmarks/leave_digits_out.py

speed: .venv/installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[benchmark]"
	$(BIN)/python benchmarks/speed.py

# One resolver call installs torch and torchvision together, so that they match.
.venv/installed: pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[test]"
	touch $@

.venv/installed-docs: .venv/installed
	$(BIN)/uv pip install --quiet --python $(BIN)/python --editable ".[docs]"
	touch $@

clean:
	rm -rf .venv docs/_build docs/_parts docs/api/generated docs/gallery
