"""The demo as a test: once from nothing, once more to see that nothing is redone. Minutes long: `make test-long`."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from loop import ROOT, sql


@pytest.mark.long
@pytest.mark.timeout(2400)
def test_the_demo_ships_twice_and_repeats_nothing(tmp_path: Path) -> None:
    lab = tmp_path / "lab"
    environment = {**os.environ, "RATCHET_LAB": str(lab)}
    try:
        for _ in range(2):
            done = subprocess.run(["experiments/demo.sh"], cwd=ROOT, env=environment, capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.count("\nSHIP: ") == 2
            assert "ratchet serve aac" in done.stdout
            assert "ratchet rate aac-warmth" in done.stdout
            assert len(list(lab.glob("runs/r-*/adapter.json"))) == 3
        (warm,) = sql(lab, "select count(*) n from votes")
        assert warm["n"] > 200
    finally:
        subprocess.run(["ratchet", "stop"], cwd=ROOT, env={**environment, "PATH": f"{ROOT}/.venv/bin:/usr/bin:/bin"})
