"""What a lead does with a campaign by command: look at it, close and re-open it, pause a rater, add gold."""

from __future__ import annotations

import datetime
import secrets
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from harness import campaign as campaigns
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.rating import Steer
from harness.pipeline.campaigns import extra_pairs
from harness.pipeline.questions import Question, as_asked

Steering = Literal["pause", "resume", "reopen_pair", "close", "reopen"]


def show(lab: Lab, campaign: str, question: Question) -> dict[str, Any]:
    """One campaign: what it was made of, how far it is, who rated, and what its question needs."""
    record, place = campaigns.read_record(lab, campaign), campaigns.folder(lab, campaign)
    handout, votes, _ = campaigns.open_handout(lab, campaign)
    roles = Counter(pair.role for pair in campaigns.read_extra(place))
    counted = list(votes.votes().values())
    raters = sorted({vote.rater for vote in counted})
    found = {
        "campaign": record.campaign,
        "name": record.name,
        "kind": record.kind,
        "purpose": record.purpose,
        "state": "closed" if handout.is_closed else "open",
        "subjects": [subject.label for subject in record.subjects],
        "pool": record.pool.path,
        "prompts": record.pool.rows,
        "pairs": record.pairs,
        "refused": record.refused,
        "sampling": record.sampling,
        "overlap": record.overlap,
        "extra": dict(roles),
        "votes": len(counted),
        "raters": [
            {
                "rater": rater,
                "votes": handout.done(rater),
                "left": handout.left(rater),
                "paused": handout.is_paused(rater),
            }
            for rater in raters
        ],
        "created": record.created,
    }
    if record.kind == "write":
        pairs = campaigns.read(lab, campaign)[1]
        acts = campaigns.ActLog(place)
        left = campaigns.Writing(record, pairs, acts).left()
        accepted = len(campaigns.sft_rows(record, pairs, acts.acts()))
        return found | {"to_write": left["write"], "to_review": left["review"], "accepted": accepted}
    return found | {"question": as_asked(question, record.pairs, record.overlap)}


def steer(
    lab: Lab, campaign: str, what: Steering, who: str, *, rater: str | None = None, pair_id: str | None = None,
    reason: str = "", event: str = "",
) -> bool:  # fmt: skip
    """Put a lead's decision on disk; raters feel it at their next pair. `event` makes it count once however often it is
    sent, and then False is returned; by default each is new. InputError for a pair that is not there."""
    record, place = campaigns.read_record(lab, campaign), campaigns.folder(lab, campaign)
    if pair_id is not None and pair_id not in campaigns.MainPairs(place, record.pairs):
        raise InputError(f"campaign {campaign!r} has no main pair {pair_id!r}", "see pairs.jsonl for the ids")
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    log = campaigns.ActLog(place)
    try:
        return log.add(
            Steer(event_id=f"{what}/{event or secrets.token_hex(8)}", campaign=campaign, who=who, at=at, what=what,
                  rater=rater, pair_id=pair_id, reason=reason)
        )  # fmt: skip
    finally:
        log.close()


def add_gold(lab: Lab, campaign: str, path: Path) -> int:
    """Add pairs with a known answer to a campaign that compares; how many are new. The same file again adds none."""
    record, place = campaigns.read_record(lab, campaign), campaigns.folder(lab, campaign)
    if record.kind != "compare":
        raise InputError(f"campaign {campaign!r} has drafts to write", "gold pairs are for comparing")
    known = {pair.pair_id for pair in campaigns.read_extra(place)}
    found = {pair.pair_id: pair for pair in extra_pairs(path, "gold") if pair.pair_id not in known}
    campaigns.write_extra(place, list(found.values()))
    return len(found)
