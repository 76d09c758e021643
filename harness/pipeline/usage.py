"""Requests and tokens per key, from the usage segments of `lab/requests/`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.core.paths import Lab
from harness.core.traffic import USAGE, UsageDelta, read


@dataclass
class KeyUsage:
    """What one key asked for, on one day or in all. `key_id` is empty where no key was used."""

    key_id: str
    day: str | None
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def by_day(lab: Lab, key_id: str | None = None, since: str | None = None) -> list[KeyUsage]:
    """One row per day and key, newest day first; of one key, or from a day (`2026-11-27`) on, where given.

    Up to ten seconds behind a running engine. LabError for a damaged segment.
    """
    found: dict[tuple[str, str], KeyUsage] = {}
    for delta in _deltas(lab):
        if (key_id is None or delta.key_id == key_id) and (since is None or delta.day >= since):
            row = found.setdefault((delta.day, delta.key_id), KeyUsage(delta.key_id, delta.day))
            _add(row, delta)
    ordered = sorted(found.items(), key=lambda entry: entry[0][1])
    return [row for _, row in sorted(ordered, key=lambda entry: entry[0][0], reverse=True)]


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
