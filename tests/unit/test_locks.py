"""What both locks must hold. Open advisories need a network: `make audit`."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

LOCKS = Path(__file__).parents[2] / "requirements"


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
