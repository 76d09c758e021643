"""Unit tests keep labs of their own: the engines that integration tests share in one session are not theirs."""

from __future__ import annotations

import pytest


@pytest.fixture(autouse=True)
def engines_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each lab has its own leases again, whatever ran before in this process."""
    monkeypatch.delenv("RATCHET_ENGINES", raising=False)
