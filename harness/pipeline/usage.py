"""Requests and tokens per key, from the usage segments of `lab/requests/`."""

from __future__ import annotations

import datetime
from dataclasses import dataclass

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.traffic import USAGE, UsageDelta, read
from serve import keys


@dataclass
class KeyUsage:
    """What one key asked for, on one day or in all. `key_id` is empty where no key was used."""

    key_id: str
    day: str | None
    name: str = ""
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def by_day(lab: Lab, since: str | None = None) -> list[KeyUsage]:
    """One row per day and key, newest day first; from a day (`2026-11-27`) on, where given.

    Up to ten seconds behind a running engine. LabError for a damaged segment.
    """
    found: dict[tuple[str, str], KeyUsage] = {}
    for delta in _deltas(lab):
        if since is None or delta.day >= since:
            row = found.setdefault((delta.day, delta.key_id), KeyUsage(delta.key_id, delta.day))
            _add(row, delta)
    ordered = sorted(found.items(), key=lambda entry: entry[0][1])
    return [row for _, row in sorted(ordered, key=lambda entry: entry[0][0], reverse=True)]


def of_keys(lab: Lab, name: str = "", since: str = "") -> list[KeyUsage]:
    """`by_day` with the keys' names; of one key by name or id. InputError for a key that never was, or no day."""
    if since:
        try:
            datetime.date.fromisoformat(since)
        except ValueError:
            raise InputError(f"--since {since!r} is no day", "use a date such as 2026-11-01") from None
    ring = {key.key_id: key.name for key in keys.read(lab.keys).keys}
    wanted = {key_id for key_id, known in ring.items() if not name or name in (key_id, known)}
    if name and not wanted:
        raise InputError(f"there is no key {name!r}", f"keys: {', '.join(sorted(ring.values())) or 'none'}")
    found = [row for row in by_day(lab, since=since or None) if not name or row.key_id in wanted]
    for row in found:
        row.name = ring.get(row.key_id, "")
    return found


def totals(lab: Lab) -> dict[str, KeyUsage]:
    """Key id -> all that it ever asked for."""
    found: dict[str, KeyUsage] = {}
    for delta in _deltas(lab):
        _add(found.setdefault(delta.key_id, KeyUsage(delta.key_id, None)), delta)
    return found


def _deltas(lab: Lab) -> list[UsageDelta]:
    return [record for record in read(lab.requests, USAGE) if isinstance(record, UsageDelta)]


def _add(row: KeyUsage, delta: UsageDelta) -> None:
    row.requests += delta.requests
    row.errors += delta.errors
    row.prompt_tokens += delta.prompt_tokens
    row.completion_tokens += delta.completion_tokens
