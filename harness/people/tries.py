"""How often one may be wrong: after a few failures under a name each further one costs twice the wait. Pure.

A try is counted before its password is looked at, so that many at once are no way round. A name that nobody has is
counted the same: the answer must not tell which names exist.
"""

from __future__ import annotations

import datetime

from harness.people.records import Tries

FREE = 5  # tries before the first wait
FIRST_WAIT_S = 30
LONGEST_WAIT_S = 3600  # somebody else's guessing must not shut a person out for days
FORGOTTEN_S = 24 * 3600  # failures older than this count no more
MOST_NAMES = 5_000  # kept at once; guessing names at random must not fill the disk


def waits(rows: list[Tries], key: str, at: datetime.datetime) -> float:
    """Seconds until a sign-in under `key` may be tried; 0 where it may now."""
    found = next((row for row in rows if row.key == key), None)
    if found is None or found.until is None:
        return 0
    return max((datetime.datetime.fromisoformat(found.until) - at).total_seconds(), 0)


def failed(rows: list[Tries], key: str, at: datetime.datetime) -> None:
    """Count one more failure under `key`, and forget old ones."""
    oldest = at - datetime.timedelta(seconds=FORGOTTEN_S)
    known = next((row.failures for row in rows if row.key == key and _time(row.last) > oldest), 0)
    rows[:] = [row for row in rows if row.key != key and _time(row.last) > oldest][-(MOST_NAMES - 1) :]
    failures = known + 1
    until = None
    if failures >= FREE:
        wait_s = min(FIRST_WAIT_S * 2 ** min(failures - FREE, 20), LONGEST_WAIT_S)
        until = (at + datetime.timedelta(seconds=wait_s)).isoformat()
    rows.append(Tries(key=key, failures=failures, last=at.isoformat(), until=until))


def succeeded(rows: list[Tries], key: str) -> None:
    rows[:] = [row for row in rows if row.key != key]


def _time(text: str) -> datetime.datetime:
    return datetime.datetime.fromisoformat(text)
