"""One folder of engines for the session: tests attach to what another test started; all are stopped at its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock
from loop import Finished, finish
from stories import ADAPTERS, SEQUENCES, World, served

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
def adapters_dir(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each of ADAPTERS, and `logprobs.json`: what PEFT says of SEQUENCES with each. To be read only.

    Made once for all workers of a session, as importing PEFT takes longer than all else.
    """
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    folder = place / "stories-adapters"
    with FileLock(place / "stories-adapters.lock"):
        if not (folder / "logprobs.json").is_file():  # written last
            folder.mkdir(exist_ok=True)
            job = {"base": str(stories260k), "folder": str(folder), "adapters": ADAPTERS, "sequences": SEQUENCES}
            (folder / "job.json").write_text(json.dumps(job))
            command = [sys.executable, Path(__file__).with_name("make_adapters.py"), folder / "job.json"]
            made = subprocess.run(command, capture_output=True, text=True, check=False)
            assert made.returncode == 0, made.stderr
    return folder


@pytest.fixture(scope="session")
def finished(engines_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """One run for all files that need a finished lab, whatever is in it: TOGETHER in tests/conftest.py names them."""
    return finish(tmp_path_factory.mktemp("finished"))


@pytest.fixture(scope="session")
def stories(
    engines_dir: Path, stories260k: Path, adapters_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """One engine for all files that ask it and do not mind one another; test_replaced.py, the last, ends it."""
    with served(Lab(tmp_path_factory.mktemp("stories")), stories260k, adapters_dir) as world:
        yield world
