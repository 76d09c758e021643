"""Labs for the store's tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.core.paths import Lab
from harness.store import counts, ingest, reindex
from tests.unit.harness.store.made import (
    add_eval,
    fill,
    item,
)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    # Characters that DuckDB's readers would take for wildcards, and a quote for its ATTACH.
    root = tmp_path / "my [lab]* it's"
    root.mkdir()
    return Lab(root)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A published lab with one of everything, for tests that only read."""
    lab = Lab(tmp_path_factory.mktemp("full"))
    fill(lab, tmp_path_factory.mktemp("data"))
    ingest(lab)
    return lab


@pytest.fixture
def built(lab: Lab) -> Iterator[Path]:
    add_eval(lab, "e-1", [[item(0)]])
    ingest(lab)
    yield lab.store / "build.duckdb"
    reindex(lab)
    assert counts(lab)["items"] == 1
