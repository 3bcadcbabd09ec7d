# Each command does its own set-up in .venv; it needs Python >= 3.11 with pip, and make.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test lint types imports pytest format benchmark speed clean

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

pytest: .venv/installed
	$(BIN)/python -m pytest

format: .venv/installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

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

clean:
	rm -rf .venv
