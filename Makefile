# One command each. Everything is installed into .venv from the lock file.
.PHONY: install demo demo-clean test lint format docs lock bench

VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

install: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	python3 -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	touch $@

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/make.py --check

docs: install
	$(BIN)/python docs/make.py

# Ctrl-C ends it; started again it goes on where it was.
demo: install
	$(BIN)/toolforge-preview demo

demo-clean: install
	$(BIN)/toolforge-preview demo --clean

format: install
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: install
	$(BIN)/pytest --numprocesses 2 --dist loadfile

# The machine-independent lock: every version with its hashes. Needs `uv` on PATH.
lock:
	uv pip compile pyproject.toml --extra dev --universal --generate-hashes --python-version 3.11 \
	    --custom-compile-command "make lock" --no-emit-package toolforge-preview -o requirements.lock --quiet

# What one preview costs us, in calls and CPU time, and how many a second this machine carries.
bench: install
	$(BIN)/python -m bench.overhead
