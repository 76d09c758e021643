"""Disputes: somebody whose votes shaped an adapter, or a lead, says that a verdict on it is wrong. Only ever added.

A dispute decides nothing. It stands beside the verdict wherever an engineer looks at it, until the end of time.
"""

from __future__ import annotations

import datetime
from collections.abc import Collection

from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.core.rating import Report
from harness.core.records import Record

MOST_CHARACTERS = 1_000


class Dispute(Record):
    """Who disputes which verdict: that of a plan's report on a run. `text` is empty where its writer was erased."""

    at: str
    who: str
    plan_id: str
    run_id: str
    text: str


def add(lab: Lab, campaign: str, who: str, plan_id: str, run_id: str, text: str) -> bool:
    """Put a dispute on disk, among the acts of a campaign whose votes shaped the run. False where this person said the
    same of it before. InputError for an empty or a very long text, LabError where it cannot be written."""
    said = text.strip()
    if not said or len(said) > MOST_CHARACTERS:
        problem = f"a reason has 1 to {MOST_CHARACTERS:,} characters, this one {len(said):,}"
        raise InputError(problem, "say what is wrong", "dispute_length", most=MOST_CHARACTERS, given=len(said))
    act = Report(
        event_id=f"dispute/{plan_id}/{run_id}/{who}/{sha256_of(said)[:12]}",
        campaign=campaign,
        who=who,
        at=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        what="dispute",
        text=said,
        plan_id=plan_id,
        run_id=run_id,
    )
    log = campaigns.ActLog(campaigns.folder(lab, campaign))
    try:
        return log.add(act)
    finally:
        log.close()


def disputes(lab: Lab, plan_id: str | None = None, run_ids: Collection[str] | None = None) -> list[Dispute]:
    """Every dispute of a plan's verdicts, of these runs (None: any), oldest first. Read from the journals, so that one
    that was filed a moment ago is there."""
    found: dict[str, Dispute] = {}
    for record in campaigns.list_all(lab):
        for act in campaigns.acts_saying(campaigns.folder(lab, record.campaign), "dispute"):
            if act.kind == "report" and act.what == "dispute" and act.plan_id and act.run_id:
                one = Dispute(at=act.at, who=act.who, plan_id=act.plan_id, run_id=act.run_id, text=act.text)
                found.setdefault(act.event_id, one)
    wanted = [
        one
        for one in found.values()
        if (plan_id is None or one.plan_id == plan_id) and (run_ids is None or one.run_id in run_ids)
    ]
    return sorted(wanted, key=lambda one: (one.at, one.who))
