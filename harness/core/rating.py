"""What rating leaves on disk, as data: campaigns, pairs, votes, and what else people do in a campaign.

Everything that people do is an event in a journal that only grows. A vote counts once per assignment and take: undoing
one opens the next take of the same assignment, so nothing is ever changed or removed, and a repeated request adds
nothing. New fields have defaults that mean what was meant before they existed.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import Field, TypeAdapter

from harness.core.records import DataRef, Record, Subject

Choice = Literal["left", "right", "tie", "both_bad", "skip"]
Side = Literal["a", "b"]
Purpose = Literal["judge", "train"]
PairRole = Literal["main", "gold", "repeat", "calibration"]
Arm = Literal["uniform", "informative"]


class Answer(Record):
    subject: str = Field(description="label of the subject that answered")
    model: str
    text: str
    finish_reason: str | None = None


class Pair(Record):
    """Two answers to one prompt. Sides are shuffled per assignment, not here."""

    pair_id: str
    item_id: str
    cluster: str
    prompt: list[dict[str, str]] = Field(description="chat turns, the last by the user")
    a: Answer
    b: Answer
    role: PairRole = Field(
        "main",
        description="'gold': a known answer; 'repeat': another pair shown again; 'calibration': before the first one",
    )
    repeat_of: str | None = Field(None, description="pair_id of the pair that a repeat shows again")
    expected: Literal["a", "b", "tie"] | None = Field(None, description="of gold and calibration pairs")
    explanation: str = Field("", description="of a calibration pair: why, shown after the choice")
    arm: Arm = Field("uniform", description="which half of the sample drew it")
    inclusion: float = Field(1.0, description="probability that the pool's pair was drawn at all, for weights")


class Outline(Record):
    """outline.json: the main pairs without their texts, a column for each field, in the campaign's order.

    It saves reading all of pairs.jsonl, and that file alone counts: see `harness.campaign.outline`.
    """

    size: int = Field(description="bytes of the pairs.jsonl that it was made from")
    starts: list[int] = Field(description="the byte at which each pair's line begins there")
    pair_ids: list[str]
    clusters: list[str]
    subjects: list[str] = Field(description="labels, which `a` and `b` number from 0")
    a: list[int]
    b: list[int]
    uniform: list[bool] = Field(description="whether the uniform arm drew it")
    inclusion: list[float]

    @classmethod
    def of(cls, pairs: Sequence[Pair], lengths: Sequence[int] = ()) -> Self:
        """The outline of main pairs; `lengths`: bytes of their lines, none for pairs that are in no file."""
        ends = list(itertools.accumulate(lengths, initial=0))
        subjects = sorted({answer.subject for pair in pairs for answer in (pair.a, pair.b)})
        number = {label: place for place, label in enumerate(subjects)}
        return cls(
            size=ends[-1],
            starts=ends[:-1],
            pair_ids=[pair.pair_id for pair in pairs],
            clusters=[pair.cluster for pair in pairs],
            subjects=subjects,
            a=[number[pair.a.subject] for pair in pairs],
            b=[number[pair.b.subject] for pair in pairs],
            uniform=[pair.arm == "uniform" for pair in pairs],
            inclusion=[pair.inclusion for pair in pairs],
        )


class CampaignRecord(Record):
    """campaign.json, written after pairs.jsonl."""

    campaign: str
    name: str = Field(description="the registry name that the next round continues, e.g. 'aac'")
    kind: Literal["compare", "write"] = Field("compare", description="'write': people correct the draft in answer a")
    purpose: Purpose | None = Field(
        None, description="what its votes may be used for, for good; None: as before this was asked, either"
    )
    subjects: list[Subject]
    pool: DataRef
    decoding: dict[str, Any]
    pairs: int
    refused: dict[str, int] = Field(description="pairs left out at creation, by reason")
    seed: int
    overlap: float = Field(1.0, description="share of the main pairs that every rater sees; the others go to one each")
    sampling: dict[str, Any] = Field({}, description="how the pairs were drawn from the pool: sizes of the arms, …")
    created: str


class Edit(Record):
    """A better answer, made from one of the two."""

    side: Side = Field(description="which answer it was made from, not where it stood")
    text: str


class Vote(Record):
    """One event in a vote journal. Idempotent by `assignment`: the first wins."""

    assignment: str = Field(description="campaign/pair_id/rater, and /take from the first take after an undo on")
    campaign: str
    pair_id: str
    rater: str
    left: Side = Field(description="which answer stood on the left")
    choice: Choice
    shown_at: str
    at: str
    seconds: float | None = None
    reason: str = Field("", description="why it was skipped, in the rater's words")
    tags: list[str] = Field([], description="the rater's own words for what is wrong")
    edit: Edit | None = None
    take: int = Field(0, description="0, or how often this assignment was undone before")
    origin: str = Field("", description="of an imported vote: name and sha256 of the file that it came from")

    @property
    def view(self) -> Literal["a", "b", "tie", "both_bad", "skip"]:
        """What the rater preferred, by answer and not by side."""
        if self.choice == "left" or self.choice == "right":
            return "a" if (self.choice == "left") == (self.left == "a") else "b"
        return self.choice


# --- what else people do in a campaign: acts-*.jsonl --------------------------------------------------------------


class Act(Record):
    """Who did something, and when. `event_id` makes it idempotent: the first with an id counts."""

    event_id: str
    campaign: str
    who: str = Field(description="a person's pseudonym")
    at: str


class Undo(Act):
    """A rater takes back the vote of one take; the pair is theirs again."""

    kind: Literal["undo"] = "undo"
    assignment: str
    pair_id: str
    take: int


class Lease(Act):
    """A pair is on somebody's screen until `until`; then it is free for others again."""

    kind: Literal["lease"] = "lease"
    pair_id: str
    until: str


class Calibrated(Act):
    """A rater saw the guidelines and a calibration pair."""

    kind: Literal["calibrated"] = "calibrated"
    pair_id: str
    choice: Choice
    left: Side


class Written(Act):
    """A corrected draft (step 'write'), or what a second person says of it (step 'review')."""

    kind: Literal["written"] = "written"
    pair_id: str
    step: Literal["write", "review"]
    text: str = ""
    accepted: bool | None = Field(None, description="of a review; None while it was only written")
    reason: str = ""


class Skipped(Act):
    """A person leaves a text to others; until somebody writes or reads it, it does not come back to them."""

    kind: Literal["skipped"] = "skipped"
    pair_id: str
    step: Literal["write", "review"]
    reason: str = ""


class Ruling(Act):
    """A lead decides a pair on which raters disagree."""

    kind: Literal["ruling"] = "ruling"
    pair_id: str
    choice: Literal["a", "b", "tie", "both_bad"]
    reason: str = ""
    own: bool = Field(False, description="whether who ruled had a vote of their own on the pair")


class Steer(Act):
    """A lead pauses or resumes a rater, re-opens a pair, or closes (and re-opens) the campaign."""

    kind: Literal["steer"] = "steer"
    what: Literal["pause", "resume", "reopen_pair", "close", "reopen"]
    rater: str | None = None
    pair_id: str | None = None
    reason: str = ""


class Report(Act):
    """A rater says that an answer is unsafe, or that a verdict is wrong; or adds a prompt."""

    kind: Literal["report"] = "report"
    what: Literal["unsafe", "dispute", "prompt"]
    pair_id: str | None = None
    side: Side | None = Field(None, description="which answer is unsafe; None: both, or it is about no answer")
    text: str = ""
    plan_id: str | None = Field(None, description="of a dispute: the report whose verdict is meant")
    run_id: str | None = Field(None, description="of a dispute: the candidate that was judged")


AnyAct = Annotated[
    Undo | Lease | Calibrated | Written | Skipped | Ruling | Steer | Report,
    Field(discriminator="kind"),
]
_ACT: TypeAdapter[AnyAct] = TypeAdapter(AnyAct)
# Many at once, as journals are read (harness.core.journal.read_records).
MANY_ACTS: TypeAdapter[list[AnyAct]] = TypeAdapter(list[AnyAct])
MANY_VOTES: TypeAdapter[list[Vote]] = TypeAdapter(list[Vote])


def read_act(event: Any) -> AnyAct:
    """An act from its JSON value; pydantic's ValidationError where it is none."""
    return _ACT.validate_python(event)
