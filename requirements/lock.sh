#!/usr/bin/env bash
# Resolves both locks again from pyproject.toml: `requirements/lock.sh [--upgrade]`. Needs a package index and `uv`.
# The CPU lock takes torch's CPU build from pip's find-links where there is one, else from PyTorch's CPU index, and
# leaves out torchvision, torchaudio and torchcodec: the index has only CUDA builds of them, which break `import peft`,
# and vLLM needs them only for vision and audio models. Both leave out sqlitedict: it unpickles whatever its file holds
# (CVE-2024-35515) and nobody mends it; lm-eval imports it only for a cache of answers that Ratchet does not use.
set -euo pipefail
cd "$(dirname "$0")/.."
uv="${UV:-uv}"
common=(pyproject.toml --extra dev --python-version 3.11 --python-platform x86_64-manylinux_2_31 --no-annotate --quiet
        --no-emit-package sqlitedict)
if [ -n "${PIP_FIND_LINKS:-}" ]; then
    torch=(--find-links "$PIP_FIND_LINKS")
else
    torch=(--extra-index-url https://download.pytorch.org/whl/cpu --index-strategy unsafe-best-match)
fi
export UV_CUSTOM_COMPILE_COMMAND="requirements/lock.sh"
"$uv" pip compile "${common[@]}" --extra cpu "${torch[@]}" --no-emit-find-links --no-emit-index-url \
    --no-emit-package torchvision --no-emit-package torchaudio --no-emit-package torchcodec \
    -o requirements/cpu.txt "$@"
"$uv" pip compile "${common[@]}" --extra gpu -o requirements/gpu.txt "$@"
