"""The register of opened release items: append-only, under `registry/burned/`.

Nobody browses `release`: who has seen an item tunes for it, knowingly or not. An item that is opened all the same is
written down before it is shown, and from then on decides nothing (it goes into the report's `exclude`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from harness.core.errors import InputError
from harness.core.journal import Journal, read_all
from harness.core.paths import Lab
from harness.core.records import Record, now

STEM = "burned"


class Burn(Record):
    """Items of one content of an evalset that somebody opened, and why."""

    evalset: str
    evalset_version: str
    evalset_sha256: str
    item_ids: list[str]
    who: str
    why: str
    at: str


def folder(lab: Lab) -> Path:
    return lab.registry / "burned"


def read(lab: Lab, evalset_sha256: str | None = None) -> list[Burn]:
    """Every entry, oldest first; only those of one evalset content where it is given."""
    found = [Burn.model_validate(event) for event in read_all(folder(lab), STEM)]
    return [one for one in found if evalset_sha256 in (None, one.evalset_sha256)]


def burned(lab: Lab, evalset_sha256: str) -> set[str]:
    """Item ids of this evalset content that were opened."""
    return {item_id for one in read(lab, evalset_sha256) for item_id in one.item_ids}


def burn(lab: Lab, evalset: tuple[str, str, str], item_ids: Sequence[str], who: str, why: str) -> list[str]:
    """Write down that `item_ids` of `evalset` (name, version, sha256) are opened; returns those that were sealed.

    Written only for these: opening an item again is no new entry. Raises InputError without a reason, LabError when the
    register cannot be written, and then nothing may be shown.
    """
    if not why.strip():
        raise InputError("opening release items needs a reason", 'give it: --burn "why"')
    name, version, sha256 = evalset
    known = burned(lab, sha256)
    sealed = [item_id for item_id in dict.fromkeys(item_ids) if item_id not in known]
    if sealed:
        entry = Burn(
            evalset=name,
            evalset_version=version,
            evalset_sha256=sha256,
            item_ids=sealed,
            who=who,
            why=why.strip(),
            at=now(),
        )
        with Journal(folder(lab), STEM, point="registry.burn") as journal:
            journal.append(entry.model_dump(mode="json"))
    return sealed
