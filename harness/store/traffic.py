"""Captured calls, feedback and usage into the open store. Unlike other journals their segments may be rewritten, when a
user is forgotten, and removed, when they are too old: then the store forgets too.

A rewritten segment starts with another line, so the hash of the first line tells it from what was read before.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.journal import read_segment, segments
from harness.core.records import Record
from harness.core.traffic import (
    CALLS,
    FEEDBACK,
    USAGE,
    CapturedCall,
    Erased,
    Feedback,
    Rewritten,
    UsageDelta,
    keep_days,
    parse,
    purge,
)

if TYPE_CHECKING:
    from harness.store.ingest import Ingest

TABLES = {CALLS: "requests", FEEDBACK: "feedback_events", USAGE: "usage_events"}


def take_all(ingest: Ingest) -> int:
    """Purge what is too old, forget what is gone, take what is new; how many sources changed."""
    folder = ingest.lab.requests
    if folder.is_dir():
        purge(folder, keep_days(folder))
    changed = 0
    there = {stem: segments(folder, stem) for stem in TABLES}
    names = {ingest.source(path) for paths in there.values() for path in paths}
    for source in [one for one in ingest.known if one.startswith(f"{folder.name}/") and one not in names]:
        with ingest.transaction(folder):
            _forget(ingest, source)
        changed += 1
    for stem, paths in there.items():
        for path in paths:
            changed += ingest.attempt(_take, ingest, stem, path)
    return changed


def _take(ingest: Ingest, stem: str, path: Path) -> bool:
    source = ingest.source(path)
    offset, seen = ingest.known.get(source, (0, None))
    first = _first_line(path)
    anew = offset > 0 and (first != seen or path.stat().st_size < offset)
    events = list(read_segment(path, 0 if anew else offset))
    if not events and not anew:
        return False
    rows = [_row(parse(event, path, end)) | {"source": source, "position": end} for event, end in events]
    with ingest.transaction(path):
        if anew:
            _forget(ingest, source)
        ingest.insert(TABLES[stem], [row for row in rows if row.get("kind") != "rewritten"])
        if events:
            ingest.remember(path, events[-1][1], first)
    return True


def _forget(ingest: Ingest, source: str) -> None:
    for table in TABLES.values():
        ingest.connection.execute(f"DELETE FROM {table} WHERE source = ?", [source])  # noqa: S608  our own names
    ingest.connection.execute("DELETE FROM ingested WHERE source = ?", [source])


def _first_line(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.sha256(file.readline()).hexdigest()


def _row(record: Record) -> dict[str, Any]:
    values = record.model_dump(mode="json")
    if isinstance(record, CapturedCall):
        values["answer"] = record.answers[0] if record.answers else None
        values["finish_reason"] = record.finish_reasons[0] if record.finish_reasons else None
        values["prompt"] = json.dumps(record.prompt, ensure_ascii=False)
        return values | {"erased": False, "user_id": record.user}
    if isinstance(record, Feedback):
        return values | {"erased": False, "user_id": record.user}
    if isinstance(record, Erased):
        return {"kind": "erased", "erased": True, "at": record.day, "key_id": record.key_id, "model": record.model}
    assert isinstance(record, UsageDelta | Rewritten)
    return values
