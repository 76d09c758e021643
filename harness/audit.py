"""Who saw, exported and changed what: a journal that only grows, `lab/people/audit-*.jsonl`.

A line has a pseudonym, never an address of a machine. It is on disk before what it tells of is handed out.
"""

from __future__ import annotations

import datetime
import threading
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from harness.core.errors import LabError
from harness.core.journal import Journal, read_segment, segments
from harness.core.paths import Lab, disk_errors, write_atomic
from harness.core.records import Record

STEM = "audit"
Did = Literal["signed_in", "signed_out", "opened", "saw", "exported", "closed", "changed", "erased", "purged"]


class Entry(Record):
    """One line."""

    at: str = Field(description="UTC, ISO 8601")
    who: str = Field(description="a pseudonym, or the name of whoever ran a command")
    did: Did
    what: str = Field(description="a page, a file, a campaign, a person")
    counts: dict[str, int] = Field({})


class AuditLog:
    """Writes lines from one process. Thread-safe."""

    def __init__(self, lab: Lab) -> None:
        self._place = lab.people
        self._lock = threading.Lock()
        self._journal = Journal(lab.people, STEM, "people.audit", 0o600)

    def add(self, who: str, did: Did, what: str, counts: dict[str, int] | None = None) -> None:
        """One line, on disk when this returns. LabError where the disk refuses: then nothing may be handed out."""
        at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        entry = Entry(at=at, who=who, did=did, what=what, counts=counts or {})
        with self._lock:
            with disk_errors(self._place):
                self._place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._journal.append(entry.model_dump(mode="json"))

    def close(self) -> None:
        self._journal.close()


def note(lab: Lab, who: str, did: Did, what: str, counts: dict[str, int] | None = None) -> None:
    """One line from a command."""
    log = AuditLog(lab)
    log.add(who, did, what, counts)
    log.close()


def entries(lab: Lab, who: str | None = None) -> list[Entry]:
    """Every line, or those of one person, oldest first. LabError for a damaged segment."""
    found = [entry for path in segments(lab.people, STEM) for entry in read(path)]
    return sorted((one for one in found if who in (None, one.who)), key=lambda entry: entry.at)


def read(path: Path) -> list[Entry]:
    """The lines of one segment, as they stand."""
    try:
        return [Entry.model_validate(event) for event, _ in read_segment(path)]
    except ValidationError as error:
        raise LabError(f"{path} holds something else than audit lines", "restore it from a copy") from error


def replace(path: Path, before: list[Entry], after: list[Entry]) -> None:
    """Put other lines in place of a segment's: for erasing a person and for retention, and for nothing else."""
    if after != before:
        lines = [entry.model_dump_json() + "\n" for entry in after]
        write_atomic(path, "".join(lines).encode(), "people.erase", 0o600)
