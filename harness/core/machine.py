"""What this machine trains on, without importing torch (which takes seconds): for what is said before anything runs."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

HIDDEN = ("", "-1", "NoDevFiles")  # of CUDA_VISIBLE_DEVICES: no GPU at all
ASK_TIMEOUT_S = 10
# /proc/cpuinfo's names (x86, then Arm) for what harness.train.model asks torch: what oneDNN and ACL need for bf16.
BF16_FLAGS = frozenset({"avx512bw", "amx_bf16", "bf16", "svebf16"})


def first_gpu(environ: Mapping[str, str]) -> str:
    """The one GPU that a run may see, as CUDA_VISIBLE_DEVICES writes it: the first of those named there, else 0."""
    return environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()


def gpu_bytes() -> int | None:
    """Memory of the GPU that training would use.

    None where there is none, it is hidden, torch is a CPU build, or `nvidia-smi` does not tell.
    """
    wanted = first_gpu(os.environ)
    if wanted in HIDDEN or _torch_version().endswith("+cpu"):
        return None
    ask = ["nvidia-smi", "-i", wanted, "--query-gpu=memory.total", "--format=csv,noheader,nounits"]
    try:
        said = subprocess.run(ask, capture_output=True, text=True, timeout=ASK_TIMEOUT_S).stdout.strip()
    except (OSError, subprocess.TimeoutExpired):
        return None
    return int(said) * 2**20 if said.isdecimal() else None


def cpu_computes_bf16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Has this machine's CPU bf16 arithmetic of its own? False where the system does not tell."""
    if not cpuinfo.is_file():
        return False
    flags = re.search(r"^(?:flags|Features)\s*:(.*)$", cpuinfo.read_text(encoding="utf-8"), re.MULTILINE)
    return bool(flags and BF16_FLAGS & set(flags[1].split()))


def _torch_version() -> str:
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return ""  # training elsewhere: what this machine has is the best guess
