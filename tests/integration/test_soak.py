"""The quick form of the soak, as a user runs it: a minute of serving, twenty moves, one kill."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from loop import ROOT


@pytest.mark.long
def test_nobody_notices() -> None:
    command = [sys.executable, "-m", "benchmarks.soak", "--quick", "--format", "json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=850)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    found = json.loads(done.stdout)
    details = found["details"]
    assert details["counts"]["wrong"] == details["counts"]["failed"] == 0
    assert details["counts"]["right"] > 100
    assert details["counts"]["503 with Retry-After during an outage"] > 0
    assert details["serving_minutes"] >= 1
    assert details["alias moves"] == details["moves in the history"] - 4 == 20
    assert len(details["kills"]) == 1
    assert details["loads"] > 0
    assert details["unloads"] > 0
    assert len(details["corrupt upload"]) == 3
    assert found["ratios"]["right"] == found["ratios"]["not_failed"] == 1
