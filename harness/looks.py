"""The register of looks at `release`: one file per content of an evalset, `registry/looks/<sha256>.json`.

A release split that is looked at again and again ends up choosing, not deciding. So every look is written down before
its result is shown, and each further one pays with a smaller share of the error that the split may cost in all
(harness.stats.looks has the shares). Looking again at the same evidence is the same look.
"""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock, Timeout

from harness.core.errors import LabError
from harness.core.paths import Lab, check_name, disk_errors
from harness.core.records import Record, now

LOCK_TIMEOUT_S = 30  # a look is written in milliseconds


class Look(Record):
    """One decision asked of a release split. `key` hashes evidence and question."""

    seq: int
    key: str
    plan_id: str
    name: str
    at: str


class LooksRecord(Record):
    """Every look at one content of an evalset, in order."""

    evalset: str
    evalset_sha256: str
    looks: list[Look]


def path_of(lab: Lab, evalset_sha256: str) -> Path:
    return lab.registry / "looks" / f"{check_name(evalset_sha256, 'evalset hash')}.json"


def read(lab: Lab, evalset: str, evalset_sha256: str) -> LooksRecord:
    """The looks so far; none where nobody looked."""
    path = path_of(lab, evalset_sha256)
    return LooksRecord.read(path) if path.is_file() else LooksRecord(
        evalset=evalset, evalset_sha256=evalset_sha256, looks=[]
    )  # fmt: skip


def take(lab: Lab, evalset: str, evalset_sha256: str, key: str, plan_id: str, name: str) -> int:
    """Which look this is, counted from 1; written before the caller may show what it saw. The same `key` is no new one.

    Raises LabError when the register is locked or cannot be written: without it nothing may be decided.
    """
    path = path_of(lab, evalset_sha256)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            record = read(lab, evalset, evalset_sha256)
            known = next((look.seq for look in record.looks if look.key == key), None)
            if known is not None:
                return known
            look = Look(seq=len(record.looks) + 1, key=key, plan_id=plan_id, name=name, at=now())
            record.model_copy(update={"looks": [*record.looks, look]}).write(path, point="registry.look")
            return look.seq
    except Timeout:
        raise LabError(f"{path} is locked by another command", "wait for it, then run this again") from None
