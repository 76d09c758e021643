# The whole of Ratchet's set-up and its main jobs. `make demo` and `make test` need nothing before them.
PY := .venv/bin/python
export HF_HUB_OFFLINE ?= 1

.PHONY: setup clients demo test test-long lint lock audit clean

setup: .venv/.ready

.venv/.ready: requirements/cpu.txt requirements/setup.sh pyproject.toml
	@requirements/setup.sh

# Other people's clients and routers, apart from ours, for the tests of what they get from an engine.
clients: setup
	@requirements/clients.sh || echo "clients: not made; their tests are skipped (in CI they fail)" >&2

demo: setup
	@experiments/demo.sh

lint: setup
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports

# A file in one process; the longest come first (as collected: browser, engines, then units), so that both end together.
test: lint clients
	OMP_NUM_THREADS=1 $(PY) -m pytest -m "not long and not gpu" -n 2 --dist loadfile --no-loadscope-reorder

test-long: clients
	$(PY) -m pytest -m "long"

lock: setup
	UV=.venv/bin/uv requirements/lock.sh

# Known holes in what is pinned: asks PyPI's advisory database about every line of both locks, so it needs a network.
# --strict: a package that nobody could be asked about is a failure, not a pass.
audit: setup
	@accepted=$$(sed -n 's/^\([A-Z][^:]*\) [^ ]*: .*/\1/p' requirements/accepted.txt | sed 's/[^ ]*/--ignore-vuln &/g' | tr '\n' ' '); \
	for lock in cpu gpu; do echo "requirements/$$lock.txt"; sed 's/+cpu$$//' requirements/$$lock.txt > .audit-$$lock.txt; \
	    .venv/bin/uv tool run pip-audit --strict --disable-pip --no-deps --progress-spinner off $$accepted -r .audit-$$lock.txt; \
	    status=$$?; rm -f .audit-$$lock.txt; [ $$status = 0 ] || exit $$status; done

clean:
	-.venv/bin/ratchet stop
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache
