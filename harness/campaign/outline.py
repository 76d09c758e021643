"""outline.json: what is known of a campaign's main pairs without reading their texts.

A campaign of 100,000 pairs has a hundred megabytes of texts, of which a page shows one pair and the board those that
were judged. `pairs.jsonl` alone counts: an outline is made from it at creation, one that does not fit it is not used,
and whoever reads a pair by its place finds out there whether it is that pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError

from harness.core.paths import write_atomic
from harness.core.rating import Outline, Pair

OUTLINE, PAIRS = "outline.json", "pairs.jsonl"


def write_outline(place: Path, pairs: Sequence[Pair], lengths: Sequence[int]) -> None:
    """Put the outline beside a campaign's pairs; `lengths`: bytes of their lines. Raises LabError."""
    write_atomic(place / OUTLINE, Outline.of(pairs, lengths).model_dump_json().encode())


def read_outline(place: Path, count: int) -> Outline | None:
    """The outline of a campaign of `count` pairs; None where there is none that fits its `pairs.jsonl`, as of campaigns
    made before there were outlines."""
    try:
        found = Outline.model_validate_json((place / OUTLINE).read_bytes())
        size = (place / PAIRS).stat().st_size
    except (FileNotFoundError, ValidationError):
        return None
    columns = (found.starts, found.pair_ids, found.clusters, found.a, found.b, found.uniform, found.inclusion)
    return found if found.size == size and all(len(column) == count for column in columns) else None
