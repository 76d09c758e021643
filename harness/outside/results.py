"""Scores per item as any tool may have made them, and how two such results become evidence for the gate."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of, short_id
from harness.core.records import Direction, MetricInfo, Subject, SubjectScores
from harness.outside.unpaired import unpaired

DECIDING_SPLIT = "release"  # where nothing else is said: the choice was made elsewhere, this decides
SPLITS = ("train", "tune", "dev", DECIDING_SPLIT)
SHOWN = 8  # names in an error; more do not help


@dataclass(frozen=True)
class Observed:
    """One item under one metric. `value` None: it could not be scored. `content` and `prompt` are hashes, if known."""

    value: float | None
    cluster: str
    split: str = DECIDING_SPLIT
    content: str | None = None
    prompt: str | None = None


@dataclass(frozen=True)
class Results:
    """One subject's scores: metric -> item -> what was observed. `unusable`: metric -> why it is none for a gate."""

    path: Path
    scores: dict[str, dict[str, Observed]]
    directions: dict[str, Direction] = field(default_factory=dict)
    unusable: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def number(value: Any) -> float | None:
    """A score as a number, True and False as 1 and 0; None for null and NaN. ValueError for anything else."""
    if value is None:
        return None
    if not isinstance(value, bool | int | float):
        raise ValueError(f"{type(value).__name__} instead of a number")
    return float(value) if math.isfinite(value) else None


def at(document: Mapping[str, Any], dotted: str) -> Any:
    """The value behind `a.b` in nested objects; None where there is none."""
    value: Any = document
    for part in dotted.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def cluster_of(document: Mapping[str, Any], name: str | None, item: str, where: str) -> str:
    """What groups the item: the value of field `name`, else the item alone. InputError where the field is missing."""
    if name is None:
        return item
    value = at(document, name)
    if isinstance(value, str | int):
        return str(value)
    known = ", ".join(sorted(map(str, document))[:SHOWN]) or "none"
    raise InputError(f"{where}: no field {name!r} to cluster by", f"name one that every item has, of: {known}")


def pair(
    candidate: tuple[Results, Subject],
    comparator: tuple[Results, Subject],
    metrics: Iterable[str],
    directions: Mapping[str, Direction],
) -> tuple[list[SubjectScores], list[str]]:
    """Both sides' scores on `metrics`, ready to be paired by item, and what a reader must know of them, a line each.

    Items whose content differs between the sides give the two different evalset hashes, which the gate refuses; items
    of one side only stay, to be counted by it. Raises InputError where the sides put an item into different splits.
    """
    scores: list[SubjectScores] = []
    notes: dict[str, list[str]] = {}  # what is to be said -> of which metrics
    names = (candidate[1].label, comparator[1].label)
    for metric in metrics:
        ours, theirs = candidate[0].scores[metric], comparator[0].scores[metric]
        shared = sorted(ours.keys() & theirs.keys())
        _one_split(metric, ours, theirs, shared)
        for note in [unpaired(ours, theirs, names), *_differences(ours, theirs, shared)]:
            notes.setdefault(note, []).append(metric)
        info = MetricInfo(direction=directions.get(metric, "up"), unit=_unit([ours, theirs]))
        for (results, subject), own, other in ((candidate, ours, theirs), (comparator, theirs, ours)):
            scores += _by_split(metric, info, subject, results.path, {**other, **own}, own)
    return scores, [f"{_listed(found)}: {note}" for note, found in notes.items() if note]


def _listed(metrics: list[str]) -> str:
    more = f" and {len(metrics) - SHOWN} more" if len(metrics) > SHOWN else ""
    return ", ".join(metrics[:SHOWN]) + more


def _by_split(
    metric: str,
    info: MetricInfo,
    subject: Subject,
    path: Path,
    everything: dict[str, Observed],
    own: dict[str, Observed],
) -> list[SubjectScores]:
    sha256 = sha256_of({item: seen.content for item, seen in everything.items()})
    found = []
    for split in sorted({seen.split for seen in own.values()}):
        here = {item: seen for item, seen in own.items() if seen.split == split}
        values = {item: seen.value for item, seen in here.items() if seen.value is not None}
        found.append(
            SubjectScores(
                subject=subject,
                eval_id=short_id("e", [str(path), subject.identity]),
                metric=metric,
                info=info,
                split=split,
                evalset_sha256=sha256,
                values=values,
                clusters={item: seen.cluster for item, seen in here.items()},
                counts=dict(Counter(scored=len(values), unscorable=len(here) - len(values))),
            )
        )
    return found


def _one_split(metric: str, ours: dict[str, Observed], theirs: dict[str, Observed], shared: list[str]) -> None:
    moved = next((item for item in shared if ours[item].split != theirs[item].split), None)
    if moved is not None:
        raise InputError(
            f"{metric}: item {moved!r} is {ours[moved].split} on one side and {theirs[moved].split} on the other",
            "give both sides one split per item",
        )


def _differences(ours: dict[str, Observed], theirs: dict[str, Observed], shared: list[str]) -> list[str]:
    """Where the sides were not asked the same."""
    notes = []
    changed = [item for item in shared if _differ(ours[item].content, theirs[item].content)]
    if changed:
        notes.append(f"{len(changed)} of {len(shared)} items differ in content, first {changed[0]!r}")
    asked = [item for item in shared if _differ(ours[item].prompt, theirs[item].prompt)]
    if asked and not changed:
        notes.append(
            f"the prompts of {len(asked)} of {len(shared)} items differ (examples, instructions or chat "
            "template), so the difference is not the models' alone"
        )
    return notes


def _differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _unit(sides: Iterable[dict[str, Observed]]) -> str:
    """'share' where every value lies in 0 to 1. Nothing else tells a unit, so any other is just a score."""
    values = [seen.value for side in sides for seen in side.values() if seen.value is not None]
    return "share" if all(0 <= value <= 1 for value in values) else "score"
