"""Where tags lie in a lab, apart from harness.pipeline.failures: that one resolves specs, and a report needs none."""

from __future__ import annotations

from pathlib import Path

from harness.core.journal import read_all
from harness.core.paths import Lab
from harness.error_analysis import TagEvent, Tags, fold

STEM = "tags"


def folder(lab: Lab) -> Path:
    return lab.root / "tags"


def events_of(lab: Lab, evalset_sha256: str) -> list[TagEvent]:
    """Every event on one content of an evalset, oldest first."""
    events = (TagEvent.model_validate(event) for event in read_all(folder(lab), STEM))
    return [event for event in events if event.evalset_sha256 == evalset_sha256]


def tags_of(lab: Lab, evalset_sha256: str) -> Tags:
    """Item id -> tag -> whether a person stands behind it, for one content of an evalset."""
    return fold(events_of(lab, evalset_sha256))
