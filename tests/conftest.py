"""What every test may use: no network, and the files of ../shared where they are."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"

os.environ["HF_HUB_OFFLINE"] = "1"  # before anything imports huggingface_hub, which reads it once
# Nobody here speaks TLS, and httpx would read some 140 certificates anew for every client that it makes (40 ms).
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)
# trl, where a test imports it, lowers vLLM's log level for this whole process and for every engine started from it.
os.environ.setdefault("VLLM_LOGGING_LEVEL", "INFO")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder beside the checkout with a real small model and real data."""
    if not SHARED.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{SHARED} is missing: CI must have it")
        pytest.skip("../shared is not beside this checkout: the test needs its model or data")
    return SHARED
