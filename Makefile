# The whole of Ratchet's set-up and its main jobs. `make demo` and `make test` need nothing before them.
PY := .venv/bin/python
export HF_HUB_OFFLINE ?= 1

.PHONY: setup demo test test-long lint lock clean

setup: .venv/.ready

.venv/.ready: requirements/cpu.txt requirements/setup.sh pyproject.toml
	@requirements/setup.sh

demo: setup
	@experiments/demo.sh

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

test: lint
	$(PY) -m pytest -m "not long and not gpu"

test-long: setup
	$(PY) -m pytest -m "long"

lock: setup
	UV=.venv/bin/uv requirements/lock.sh

clean:
	-.venv/bin/ratchet stop
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
