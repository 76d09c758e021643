#!/usr/bin/env bash
# Makes .venv-clients, where other people's clients and routers live apart from ours: LangChain, LiteLLM, vLLM's router,
# and, where node is installed, the JavaScript client under .venv-clients/js. `requirements/clients.sh [--lock]`.
# Needs .venv and a package index; half a minute. Safe to repeat; whole or not at all, so that tests may trust .ready.
set -euo pipefail
cd "$(dirname "$0")/.."
uv=.venv/bin/uv
js=tests/integration/clients

if [ "${1:-}" = --lock ]; then
    { sed -n '/^#/p' requirements/clients.txt
      "$uv" pip compile requirements/clients.in --python-version 3.11 --python-platform x86_64-manylinux_2_31 \
          --no-annotate --no-header --no-emit-index-url --no-emit-package litellm-enterprise --quiet; } >requirements/clients.new
    mv requirements/clients.new requirements/clients.txt
fi

want="$(cat requirements/clients.txt requirements/clients.sh "$js"/package*.json | sha256sum) $(command -v node >/dev/null && echo node || true)"
[ "$(cat .venv-clients/.ready 2>/dev/null)" = "$want" ] && exit 0
rm -rf .venv-clients
echo "setup: .venv-clients, for the tests of other clients"
.venv/bin/python -m venv --without-pip .venv-clients
# uv links from its cache, which takes seconds; pip, which knows more ways to an index, three minutes.
# --no-deps: the lock is complete.
"$uv" pip install --quiet --no-deps --python .venv-clients/bin/python -r requirements/clients.txt ||
    .venv/bin/python -m pip --disable-pip-version-check --python .venv-clients/bin/python install --quiet --no-deps \
        -r requirements/clients.txt
if command -v npm >/dev/null; then
    mkdir -p .venv-clients/js
    cp "$js"/package.json "$js"/package-lock.json .venv-clients/js/
    (cd .venv-clients/js && npm ci --silent --no-audit --no-fund --ignore-scripts)
else
    echo "setup: node and npm are not installed; the JavaScript client's test needs them (node 20 or newer)" >&2
fi
echo "$want" >.venv-clients/.ready
