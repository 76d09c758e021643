"""What both locks must hold. Open advisories need a network: `make audit`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = ROOT / "requirements"


@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_gradio_is_not_older_than_its_fixed_advisories(lock: str) -> None:
    (found,) = re.findall(r"^gradio==(\d+)\.(\d+)", (LOCKS / f"{lock}.txt").read_text(), flags=re.MULTILINE)
    assert (int(found[0]), int(found[1])) >= (6, 31)


@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_every_line_of_a_lock_is_pinned(lock: str) -> None:
    """`make audit` looks at exact versions, and knows nothing of a line that has none."""
    lines = (LOCKS / f"{lock}.txt").read_text().splitlines()
    named = [line for line in lines if line and not line.startswith((" ", "#", "-"))]
    assert len(named) > 100
    assert [line for line in named if not re.match(r"[\w.\[\],-]+==\S+", line)] == []


@pytest.mark.parametrize("lock", ["cpu", "gpu"])
def test_nothing_in_a_lock_unpickles_a_file_of_somebody(lock: str) -> None:
    """CVE-2024-35515, which has no fixed release."""
    assert "sqlitedict" not in (LOCKS / f"{lock}.txt").read_text()


def test_what_is_accepted_is_pinned_and_not_called() -> None:
    lines = [line for line in (LOCKS / "accepted.txt").read_text().splitlines() if not line.startswith("#")]
    found = [re.fullmatch(r"((?:[A-Z]+-[\w-]+ )+)([\w-]+): (.+)", line) for line in lines]
    assert lines
    assert all(found)
    pinned = (LOCKS / "cpu.txt").read_text()
    assert {one[2] for one in found if one and f"{one[2]}==" not in pinned} == set()
    folders = [ROOT / top for top in ("harness", "serve", "dashboards", "experiments", "benchmarks")]
    sources = [path.read_text(encoding="utf-8") for folder in folders for path in folder.rglob("*.py")]
    assert len(sources) > 200
    calls = r"load_checkpoint_in_model|load_checkpoint_and_dispatch|jit\.script|\.pt2\b"
    assert [text for text in sources if re.search(calls, text)] == []
