"""Write points: every one is reached by some code, and each can kill or fill."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from harness.core import faults

ROOT = Path(__file__).resolve().parents[3]


def test_nothing_happens_without_the_variables(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("RATCHET_KILL_AT", raising=False)
    monkeypatch.delenv("RATCHET_FULL_DISK_AT", raising=False)
    for point in faults.WRITE_POINTS:
        faults.reached(point)


def test_an_unnamed_point_is_a_bug():
    with pytest.raises(AssertionError, match="unnamed write point"):
        faults.reached("somewhere")


def test_a_full_disk_is_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "eval.item")
    faults.reached("eval.record")
    with pytest.raises(OSError, match="No space left"):
        faults.reached("eval.item")


def test_a_kill_leaves_no_time_for_anything(tmp_path: Path):
    script = (
        "import atexit, os, pathlib; from harness.core.paths import write_json\n"
        "atexit.register(lambda: pathlib.Path('ran').touch())\n"
        "os.environ['RATCHET_KILL_AT'] = 'plan.record'\n"
        "write_json(pathlib.Path('plan.json'), {}, point='plan.record')\n"
    )
    ended = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=False)
    assert ended.returncode == -9
    assert not (tmp_path / "ran").exists()
    assert not (tmp_path / "plan.json").exists()


def test_every_write_point_is_used_by_some_code():
    files = [path for package in ("harness", "serve", "dashboards") for path in (ROOT / package).rglob("*.py")]
    code = "\n".join(path.read_text(encoding="utf-8") for path in files if path.name != "faults.py")
    unused = [point for point in faults.WRITE_POINTS if not re.search(rf'"{re.escape(point)}"', code)]
    assert unused == []
