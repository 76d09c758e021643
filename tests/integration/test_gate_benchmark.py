"""The quick form of benchmarks.gate, as a person runs it: real training, a real engine, the whole gate."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# Defects of which even one, on few rows and items, must not get through: nothing about them is a matter of luck.
SURE = {"wrong scale", "dropped module", "stale adapter", "length hacking", "mislabelled evalset", "lost end"}


@pytest.mark.long
def test_the_gate_catches_what_is_planted(engines_dir: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gate", "--quick", "--format", "json"]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=880, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["benchmark"] == "gate"
    assert found["ratios"]["caught_vs_mean"] > 1
    assert found["ratios"]["false_ship_vs_mean"] > 1
    by_kind = {row["kind"]: row for row in found["details"]["kinds"]}
    assert {kind: by_kind[kind]["ratchet_shipped"] for kind in SURE} == dict.fromkeys(SURE, 0)
    assert by_kind["wrong scale"]["stopped_by"] == {"parity": 1}
    assert by_kind["more data"]["ratchet_shipped"] > 0
