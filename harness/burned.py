"""The register of opened release items: append-only, under `registry/burned/`.

Nobody browses `release`: who has seen an item tunes for it, knowingly or not. An item that is opened all the same is
written down before it is shown, and from then on decides nothing (it goes into the report's `exclude`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from harness.core.errors import InputError
from harness.core.journal import Journal, read_all
from harness.core.paths import Lab
from harness.core.records import Record, now

STEM = "burned"


class Burn(Record):
    """Items of an evalset that somebody opened, and why.

    `asked`, in step with `item_ids`, is what each of them asks (harness.evalset.content): by it an item stays burnt
    whatever it is called and in whichever version of whichever evalset it stands. Entries of before 2026-11-27 have
    none, and those of documents that could not be read; their items stay burnt by evalset and id.
    """

    evalset: str
    evalset_version: str
    evalset_sha256: str
    item_ids: list[str]
    asked: list[str] = Field([])
    who: str
    why: str
    at: str


def folder(lab: Lab) -> Path:
    return lab.registry / "burned"


def read(lab: Lab) -> list[Burn]:
    """Every entry, oldest first."""
    return [Burn.model_validate(event) for event in read_all(folder(lab), STEM)]


def opened(lab: Lab, evalset_sha256: str) -> set[str]:
    """Item ids that were opened in this very content of an evalset."""
    return {item_id for one in read(lab) if one.evalset_sha256 == evalset_sha256 for item_id in one.item_ids}


def burned(lab: Lab, evalset: str, items: Mapping[str, str]) -> set[str]:
    """Which of these items (id -> what it asks, '' where nobody knows) of an evalset were opened.

    `evalset` is 'aac' or 'lm_eval/tiny_general'; an entry of all of lm-eval stands for each task.
    """
    seen, named = set[str](), set[str]()
    for one in read(lab):
        seen.update(one.asked)
        if evalset == one.evalset or evalset.startswith(f"{one.evalset}/"):
            named.update([] if one.asked else one.item_ids)
    return {item_id for item_id, asked in items.items() if asked in seen or item_id in named}


def burn(lab: Lab, evalset: tuple[str, str, str], items: Mapping[str, str], who: str, why: str) -> list[str]:
    """Write down that `items` (as for `burned`) of `evalset` (name, version, sha256) are opened; returns those that
    were sealed.

    Written only for these: opening an item again is no new entry. Raises InputError without a reason, LabError when the
    register cannot be written, and then nothing may be shown.
    """
    if not why.strip():
        raise InputError("opening release items needs a reason", 'give it: --burn "why"')
    name, version, sha256 = evalset
    known = burned(lab, name, items)
    sealed = [item_id for item_id in items if item_id not in known]
    if sealed:
        asked = [items[item_id] for item_id in sealed]
        entry = Burn(
            evalset=name,
            evalset_version=version,
            evalset_sha256=sha256,
            item_ids=sealed,
            asked=asked if all(asked) else [],
            who=who,
            why=why.strip(),
            at=now(),
        )
        with Journal(folder(lab), STEM, point="registry.burn") as journal:
            journal.append(entry.model_dump(mode="json"))
    return sealed
