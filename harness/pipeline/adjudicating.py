"""Pairs on which raters disagree, as a lead decides them: blind, sides drawn for each lead, the ruling on disk."""

from __future__ import annotations

import datetime
import secrets
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from harness import campaign as campaigns
from harness import ratings
from harness.campaign.pairs import share
from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.rating import CampaignRecord, Ruling, Side, Vote
from harness.core.records import Record
from harness.pipeline.rated import Rated

Verdict = Literal["left", "right", "tie", "both_bad"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
LONGEST_REASON = 2_000  # characters


class Said(Record):
    """What a rater said of a pair, with left and right as the lead sees them."""

    rater: str
    choice: Literal["left", "right", "tie", "both_bad", "skip"]
    reason: str
    tags: list[str]


class Case(Record):
    """A pair as one lead sees it. `ruling`: what was decided before, '' where nothing was; `by`: who decided it, and
    `by_rater`: they had voted on the pair. `own`: what this lead said of it as a rater, '' where nothing."""

    campaign: str
    pair_id: str
    prompt: list[dict[str, str]]
    left: str
    right: str
    said: list[Said]
    ruling: str = ""
    by: str = ""
    by_rater: bool = False
    why: str = ""
    own: str = ""


@dataclass(frozen=True)
class Decision:
    """`event`: makes it count once however often it is sent; by default each is new."""

    pair_id: str
    verdict: str
    reason: str = ""
    event: str = ""


class Docket:
    """A campaign's pairs and votes as of when it was made. InputError where nobody compares; LabError as reading."""

    def __init__(self, lab: Lab, campaign: str, rated: Rated | None = None) -> None:
        """`rated`: the campaign, where it was read already."""
        rated = rated or Rated(lab, campaign)
        look = rated.look()
        self._record, self._pairs = rated.record, rated.main
        self._votes: dict[str, list[Vote]] = defaultdict(list)  # by pair
        for vote in look.votes:
            self._votes[vote.pair_id].append(vote)
        self._rulings = campaigns.rulings(look.acts)
        found = ratings.disagreements(look.counted.ballots)
        self.undecided = [one.pair_id for one in found if one.pair_id not in self._rulings]  # most votes first

    def case(self, pair_id: str, who: str) -> Case:
        """One main pair as `who` sees it; InputError where there is none of that id."""
        if pair_id not in self._pairs:
            raise _no_pair(self._record.campaign, pair_id)
        pair, left = self._pairs[pair_id], left_of(self._record, pair_id, who)
        ruling = self._rulings.get(pair_id)
        sides = (pair.a.text, pair.b.text)
        said = _said(self._votes.get(pair_id, ()), left)
        return Case(
            campaign=self._record.campaign,
            pair_id=pair_id,
            prompt=pair.prompt,
            left=sides[left == "b"],
            right=sides[left == "a"],
            said=said,
            ruling=_seen(ruling.choice, left) if ruling else "",
            by=ruling.who if ruling else "",
            by_rater=ruling.own if ruling else False,
            why=ruling.reason if ruling else "",
            own=next((one.choice for one in said if one.rater == who), ""),
        )

    def cases(self, who: str) -> Sequence[Case]:
        """Everything to decide, as `who` sees it."""
        return [self.case(pair_id, who) for pair_id in self.undecided]


def rule(lab: Lab, campaign: str, who: str, decision: Decision) -> bool:
    """Put a lead's ruling on disk; the latest one stands. False where its `event` was there already. That they had
    voted on the pair themselves is no hindrance, and part of the ruling.

    InputError for a campaign, a pair or a verdict that does not exist; LabError where the disk refuses.
    """
    record, place = campaigns.read_record(lab, campaign), campaigns.folder(lab, campaign)
    _must_compare(record)
    if decision.verdict not in VERDICTS:
        raise InputError(f"{decision.verdict!r} is no verdict", f"say one of {', '.join(VERDICTS)}")
    if len(decision.reason) > LONGEST_REASON:
        raise InputError(f"a reason of {len(decision.reason)} characters is too long", f"{LONGEST_REASON} at most")
    if decision.pair_id not in campaigns.MainPairs(place, record.pairs):
        raise _no_pair(campaign, decision.pair_id)
    left = left_of(record, decision.pair_id, who)
    sides: dict[str, Literal["a", "b", "tie", "both_bad"]] = {
        "left": left, "right": "b" if left == "a" else "a", "tie": "tie", "both_bad": "both_bad"
    }  # fmt: skip
    at = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    log = campaigns.ActLog(place)
    votes = campaigns.VoteLog(place, log)
    try:
        return log.add(
            Ruling(event_id=f"ruling/{decision.pair_id}/{decision.event or secrets.token_hex(8)}", campaign=campaign,
                   who=who, at=at, pair_id=decision.pair_id, choice=sides[decision.verdict], reason=decision.reason,
                   own=decision.pair_id in votes.of(who))
        )  # fmt: skip
    finally:
        votes.close()


def left_of(record: CampaignRecord, pair_id: str, who: str) -> Side:
    """Which answer a lead sees on the left: drawn, and the same each time."""
    return "a" if share(record.seed, record.campaign, pair_id, "ruling", who) < 0.5 else "b"


def _said(votes: Iterable[Vote], left: Side) -> list[Said]:
    """The first vote of each rater on a pair, as the board counts them."""
    first: dict[str, Vote] = {}
    for vote in votes:
        first.setdefault(vote.rater, vote)
    return [
        Said.model_validate(
            {"rater": rater, "choice": _seen(vote.view, left), "reason": vote.reason, "tags": vote.tags}
        )
        for rater, vote in sorted(first.items())
    ]


def _seen(view: str, left: Side) -> str:
    if view not in ("a", "b"):
        return view
    return "left" if view == left else "right"


def _must_compare(record: CampaignRecord) -> None:
    if record.kind == "write":
        raise InputError(f"campaign {record.campaign!r} is for writing: nobody compares answers there")


def _no_pair(campaign: str, pair_id: str) -> InputError:
    return InputError(f"campaign {campaign!r} has no main pair {pair_id!r}", "see pairs.jsonl for the ids")
