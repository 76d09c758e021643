#!/usr/bin/env bash
# Makes .venv from the pinned lock: `requirements/setup.sh` (CPU) or `requirements/setup.sh gpu`.
# Needs Python 3.11 and a package index. Safe to repeat.
set -euo pipefail
cd "$(dirname "$0")/.."
kind="${1:-cpu}"
python="${PYTHON:-python3.11}"

command -v "$python" >/dev/null || { echo "setup: $python is missing: install Python 3.11, or set PYTHON" >&2; exit 1; }
.venv/bin/python -m pip --version >/dev/null 2>&1 || "$python" -m venv --clear .venv
pip() { .venv/bin/python -m pip --disable-pip-version-check "$@"; }

if [ "$kind" = cpu ]; then
    # Torch first and by itself: the package index alone serves CUDA builds of several GB. A CPU build at hand (pip's
    # find-links) is taken, else PyTorch's own CPU index.
    want="$(grep -E '^torch==' requirements/cpu.txt)"
    if ! .venv/bin/python -c "import importlib.metadata as m, sys; sys.exit('torch==' + m.version('torch') != '$want')" 2>/dev/null; then
        echo "setup: $want"
        pip install --quiet --no-deps --no-index "$want" 2>/dev/null ||
            pip install --quiet --no-deps --index-url https://download.pytorch.org/whl/cpu "$want"
    fi
fi
echo "setup: requirements/$kind.txt (2 to 5 minutes the first time)"
# --no-deps: the lock is complete, and what it leaves out (requirements/lock.sh) it leaves out on purpose.
pip install --quiet --no-deps -r "requirements/$kind.txt"
pip install --quiet --no-deps --no-build-isolation --editable .

if ! command -v chromium >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "setup: chromium, for the browser tests"
        { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium; } >/dev/null 2>&1 ||
            echo "setup: Debian's chromium could not be installed; the browser tests need it" >&2
    else
        echo "setup: the browser tests need Debian's chromium: sudo apt-get install chromium" >&2
    fi
fi
sha256sum "requirements/$kind.txt" pyproject.toml requirements/setup.sh >.venv/.ready
echo "setup: ready (.venv/bin/ratchet)"
