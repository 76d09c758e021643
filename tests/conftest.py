"""What every test may use: no network, and the files of ../shared where they are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Files of one name run in one process one after the other, so that they share what takes a minute or more to make.
TOGETHER = {
    "tests/integration/test_attacks.py": "one finished lab",
    "tests/integration/test_kill.py": "one finished lab",
    "tests/integration/test_engine.py": "one engine",
    "tests/integration/test_lm_eval.py": "one engine",
    "tests/integration/test_replaced.py": "one engine",
}

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


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """`--dist loadfile`, with the files of TOGETHER as if they were one."""
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file: str = super()._split_scope(nodeid)
            return TOGETHER.get(file, file)

    return ByFile(config, log) if config.getoption("dist") == "loadfile" else None
