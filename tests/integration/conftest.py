"""One folder of engines for the session: tests attach to what another test started; all are stopped at its end."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from loop import Finished, finish

from harness.core.paths import Lab
from serve.engine import reap, stop
from serve.lease import leases

SHARED = Path(__file__).parents[2].parent / "shared"


@pytest.fixture(scope="session")
def engines_dir(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """`RATCHET_ENGINES` for this session, in a fresh folder."""
    folder = tmp_path_factory.mktemp("engines")
    before = os.environ.get("RATCHET_ENGINES")
    os.environ["RATCHET_ENGINES"] = str(folder)
    lab = Lab(folder)
    try:
        yield folder
    finally:
        reap(lab)
        for lease in leases(folder):
            stop(lab, lease.engine_id)
        if before is None:
            del os.environ["RATCHET_ENGINES"]
        else:
            os.environ["RATCHET_ENGINES"] = before


@pytest.fixture(scope="session")
def stories260k() -> Path:
    """The 260 k parameter base of the workplace; absent elsewhere, where the test is skipped (never in CI)."""
    folder = SHARED / "models" / "stories260k"
    if not folder.is_dir():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{folder} is missing in CI")
        pytest.skip(f"{folder} is not on this machine")
    return folder


@pytest.fixture(scope="session")
def finished(engines_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run for all files that need a finished lab, whatever is in it: TOGETHER in tests/conftest.py names them."""
    return finish(tmp_path_factory.mktemp("finished"))
