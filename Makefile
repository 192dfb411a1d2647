# Two commands do everything on a fresh machine: `make run` walks the whole way, `make test` checks it.
PYTHON ?= python3
BIN := .venv/bin

run: .venv/ready
	$(BIN)/natdeploy quickstart

test: .venv/ready-to-test
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses 2 --dist loadfile -rs

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

.venv/ready-to-test: .venv/ready
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv quickstart

.PHONY: run test clean
