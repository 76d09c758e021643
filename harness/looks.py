"""The register of looks at `release`: which items took part in which decision, `registry/looks/register.json`.

A release split that is looked at again and again ends up choosing, not deciding. So every look is written down before
its result is shown, and each further one pays with a smaller share of the error (harness.stats.looks has the shares).

A look is counted by its items, not by the evalset that they stand in: an evalset that gets another dev row, a few new
release items or another name has the same items, and the answers to those were seen. The rule:

    number of a look = 1 + the largest number of earlier looks that any one of its items took part in

Why it is sound: the k-th look that an item takes part in then has number k at least, so it pays 5 %/2^k at most, and by
Boole's inequality the decisions that rest on any one item err with a chance of 5 % at most together, however many there
are, whatever else they rest on and however they hang together. For looks at one and the same items that is the budget
of the split; items that took part in nothing have their own, as new items are new evidence. One old item among many new
ones makes the whole look a further one: the others cannot be told from it in the result. Where every look brings some
new items and leaves out old ones without end, the chance that any decision ever errs is not bounded by 5 %, no more
than it is for evalsets that are wholly new each time.

Asking the same question of the same evidence again (`key`) is the same look.

Registers of before 2026-11-27, one file per content of an evalset, say which evalset a look was at, not which items.
They are still read; such a look counts for every item of an evalset of that name, whatever its version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import Field

from harness.core.errors import LabError
from harness.core.paths import Lab, disk_errors, read_json
from harness.core.records import Record, now

LOCK_TIMEOUT_S = 30  # a look is written in milliseconds
REGISTER = "register.json"
LM_EVAL = "lm_eval"  # what the old registers called all tasks together


class Look(Record):
    """One decision. `key` hashes evidence and question; `items` are hashes (harness.evalset.content)."""

    seq: int = Field(description="its number, which says what it paid")
    key: str
    plan_id: str
    name: str
    at: str
    evalset: str = Field(description="'aac', 'lm_eval/tiny_general', 'campaign first'")
    items: list[str] = Field([], description="what it rested on; empty where nobody knows: then all of the evalset")


class LooksRecord(Record):
    """Every look of a lab, in order."""

    looks: list[Look]


def path_of(lab: Lab) -> Path:
    return lab.registry / "looks" / REGISTER


def read(lab: Lab) -> list[Look]:
    """Every look so far, those of old registers first."""
    return [*_of_before(lab), *_registered(lab)]


def number(looks: Collection[Look], evalset: str, items: Collection[str]) -> int:
    """The number of a further look at these items, counted from 1. Items that nobody knows are all of the evalset."""
    wanted, taken = set(items) or {evalset}, Counter[str]()
    for look in looks:
        if items and look.items:
            taken.update(wanted.intersection(look.items))
        elif evalset == look.evalset or evalset.startswith(f"{look.evalset}/"):
            taken.update(wanted)
    return 1 + max(taken.values(), default=0)


def take(lab: Lab, evalset: str, items: Collection[str], keys: tuple[str, str], plan_id: str, name: str) -> int:
    """Which look this is, counted from 1; written before the caller may show what it saw.

    `keys`: what it is known by, now and in the old registers: a known one is no new look. Raises
    LabError when the register is locked or cannot be written: without it nothing may be decided.
    """
    path = path_of(lab)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
            looks = read(lab)
            known = next((look.seq for look in looks if look.key in keys), None)
            if known is not None:
                return known
            look = Look(
                seq=number(looks, evalset, items), key=keys[0], plan_id=plan_id, name=name, at=now(), evalset=evalset,
                items=sorted(set(items)),
            )  # fmt: skip
            LooksRecord(looks=[*_registered(lab), look]).write(path, point="registry.look")
            return look.seq
    except Timeout:
        raise LabError(f"{path} is locked by another command", "wait for it, then run this again") from None


def _registered(lab: Lab) -> list[Look]:
    path = path_of(lab)
    return LooksRecord.read(path).looks if path.is_file() else []


# --- old registers ----------------------------------------------------------------------------------------------


class _OldLook(Record):
    seq: int
    key: str
    plan_id: str
    name: str
    at: str


class _OldRecord(Record):
    evalset: str
    evalset_sha256: str
    looks: list[_OldLook]


def _of_before(lab: Lab) -> Iterator[Look]:
    for path in sorted((lab.registry / "looks").glob("*.json")):
        if path.name != REGISTER:
            record = _OldRecord.read(path)
            for look in record.looks:
                evalset = _task(lab, look.plan_id) if record.evalset == LM_EVAL else record.evalset
                yield Look(**look.model_dump(), evalset=evalset)


def _task(lab: Lab, plan_id: str) -> str:
    """The lm-eval task that a plan's gate decides on, as all shared one register; where the plan is gone, any task."""
    path = lab.plans / plan_id / "plan.json"
    gate: Any = read_json(path).get("gate") if path.is_file() else None
    metric = str(gate["primary"]["metric"]) if gate else ""
    return metric.rpartition("/")[0] if metric.startswith(f"{LM_EVAL}/") else LM_EVAL
