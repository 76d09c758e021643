"""What votes changed, for those who cast them: which adapters they shaped, what was said of those, where they serve.

A rater sees what came of their own votes, campaign by campaign once it is closed: nothing of others but totals. A lead
sees what came of all. Read from the published store (harness.store) and from the journals of disputes.
"""

from __future__ import annotations

import functools
import json
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness import campaign as campaigns
from harness import store
from harness.core.errors import InputError
from harness.core.journal import segments
from harness.core.paths import Lab
from harness.pipeline import disputes
from harness.pipeline.disputes import Dispute

SHAPED = """
SELECT v.run_id, r.label, r.created, v.campaign, count(DISTINCT v.assignment),
       count(DISTINCT v.assignment) FILTER (WHERE v.rater = ?), min(v.generation) FILTER (WHERE v.rater = ? OR ?)
FROM vote_lineage v JOIN runs r ON r.run_id = v.run_id
GROUP BY ALL ORDER BY r.created DESC, v.run_id, v.campaign
"""
VERDICTS = "SELECT run_id, plan_id, verdict, body->>'reason', created FROM verdicts WHERE verdict IS NOT NULL"
SERVED = """
WITH now AS (SELECT name, alias, arg_max("after", seq) AS version FROM alias_moves GROUP BY name, alias)
SELECT v.run_id, v.name || '@v' || v.version, n.name || '@' || n.alias
FROM versions v LEFT JOIN now n ON n.name = v.name AND n.version = v.version ORDER BY v.name, v.version, n.alias
"""


@dataclass(frozen=True)
class Judged:
    """One verdict on an adapter, and who disputes it: all of them, or the viewer's own."""

    plan_id: str
    verdict: str
    reason: str
    created: str
    disputes: list[Dispute]


@dataclass
class Shaped:
    """One adapter that votes shaped. `votes` are all of the campaigns shown, `mine` the viewer's; `inherited`: only
    by an adapter that this one continues. `serving`: aliases that serve it now."""

    run_id: str
    label: str
    votes: int = 0
    mine: int = 0
    inherited: bool = True
    campaigns: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    serving: list[str] = field(default_factory=list)
    verdicts: list[Judged] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The newest version, or what the run was called where none was minted."""
        return self.versions[-1] if self.versions else self.label or self.run_id


@dataclass(frozen=True)
class Changed:
    """Newest adapter first; `waiting`: campaigns with votes of the viewer's that are still open."""

    adapters: list[Shaped]
    waiting: list[str]


def changed(lab: Lab, who: str, everything: bool = False) -> Changed:
    """What `who`'s votes changed, or those of all (`everything`, for leads). StoreError where the store cannot be read;
    a lab without results has changed nothing."""
    voted = [one.campaign for one in campaigns.list_all(lab) if everything or _voted(lab, one.campaign, who)]
    closed = {one for one in voted if campaigns.closed(lab, one)}
    waiting = [one for one in voted if one not in closed and not everything]
    if not lab.database.exists():
        return Changed([], waiting)
    found: dict[str, Shaped] = {}
    for run_id, label, _, campaign, votes, mine, generation in _rows(lab, SHAPED, [who, who, everything]):
        if everything or (campaign in closed and mine):
            one = found.setdefault(run_id, Shaped(run_id, label))
            one.votes, one.mine = one.votes + votes, one.mine + mine
            one.inherited = one.inherited and generation != 0
            one.campaigns.append(campaign)
    _add_verdicts(lab, found, None if everything else who)
    for run_id, version, alias in _rows(lab, SERVED):
        if run_id in found:
            one = found[run_id]
            one.versions += [version] if version not in one.versions else []
            one.serving += [alias] if alias else []
    return Changed(list(found.values()), waiting)


def dispute(lab: Lab, who: str, run_id: str, plan_id: str, text: str, everything: bool = False) -> bool:
    """File a dispute of a verdict that `who` may see; False where they said the same of it before.

    InputError for a verdict that is not theirs to see, whether or not there is one, and for an empty or long text.
    """
    for one in changed(lab, who, everything).adapters:
        if one.run_id == run_id and any(judged.plan_id == plan_id for judged in one.verdicts):
            return disputes.add(lab, one.campaigns[0], who, plan_id, run_id, text)
    problem, fix = "your votes have no part in such a verdict", "dispute one that the page shows"
    raise InputError(problem, fix, "dispute_not_yours")


# --- inside -----------------------------------------------------------------------------------------------------


def _voted(lab: Lab, campaign: str, who: str) -> bool:
    """Whether the person's name stands in a vote; looked for without reading the votes, of which there are many."""
    return any(_is_in(path, who) for path in segments(campaigns.folder(lab, campaign), campaigns.VOTES))


_LOOKED: dict[tuple[Path, str], tuple[int, int, bool]] = {}  # (segment, name) -> (which file, bytes, whether it is in)


def _is_in(path: Path, who: str) -> bool:
    """Whether a segment has the name in quotes; asked again, as every home page does, only what was added is read."""
    name = json.dumps(who).encode()
    with path.open("rb") as file:
        which = os.fstat(file.fileno()).st_ino  # another one after somebody's name was taken out of it
        known, size, found = _LOOKED.get((path, who), (which, 0, False))
        if known != which:
            size, found = 0, False
        if not found:
            file.seek(max(size - len(name), 0))
            added = file.read()
            size, found = file.tell(), name in added
    _LOOKED[path, who] = (which, size, found)
    return found


def _add_verdicts(lab: Lab, found: dict[str, Shaped], who: str | None) -> None:
    said: dict[tuple[str, str], list[Dispute]] = defaultdict(list)
    for one in disputes.disputes(lab, run_ids=found):
        if who is None or one.who == who:
            said[one.run_id, one.plan_id].append(one)
    for run_id, plan_id, verdict, reason, created in _rows(lab, f"{VERDICTS} ORDER BY created, plan_id"):
        if run_id in found:
            found[run_id].verdicts.append(Judged(plan_id, verdict, reason or "", created, said[run_id, plan_id]))


def _rows(lab: Lab, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """Rows of the published store, which is asked once for each that was published."""
    stat = lab.database.stat()
    return _rows_of(lab, (stat.st_ino, stat.st_mtime_ns, stat.st_size), sql, tuple(parameters))


@functools.lru_cache(maxsize=256)
def _rows_of(lab: Lab, stamp: tuple[int, ...], sql: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return store.query(lab, sql, parameters)[1]
