"""What a rater sees, and what a rater's browser sends, as data. `desk` makes and takes them, `rate_view` shows them."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Literal

from pydantic import Field

from harness.core.rating import Choice
from harness.core.records import Record

LONGEST_TEXT = 20_000  # characters of an edited answer, a report, a prompt

Tone = Literal["calm", "saved", "error"]
Stage = Literal["practice", "explained", "pair", "done", "paused", "closed"]
Place = Literal["left", "right"]


@dataclasses.dataclass(frozen=True)
class Note:
    """What happened to what the rater did last; `key` is that of a text without its 'note_', '' for nothing."""

    key: str = ""
    tone: Tone = "calm"


SAVED = Note("saved", "saved")
ALREADY_SAVED = Note("already_saved")
OUT_OF_DATE = Note("out_of_date")
TOO_SOON = Note("too_soon")
STOPPED = Note("stopped", "error")
NOT_SAVED = Note("not_saved", "error")
TOO_LONG = Note("too_long", "error")
TAKEN_BACK = Note("taken_back")
NOTHING_TO_UNDO = Note("nothing_to_undo")
NOT_UNDONE = Note("not_undone", "error")
REPORTED = Note("reported", "saved")
SUGGESTED = Note("suggested", "saved")
NOT_SENT = Note("not_sent", "error")
EMPTY = Note("empty")


@dataclasses.dataclass(frozen=True)
class Why:
    """What a rater hears after a calibration pair."""

    chosen: Choice
    expected: Choice | None
    text: str


@dataclasses.dataclass(frozen=True)
class Screen:
    """All that a rater may see. Nothing in it tells which subject answered; `ticket` is empty where nothing can be
    chosen."""

    rater: str
    stage: Stage
    note: Note
    done: int
    left: int  # pairs that this rater could still get
    pace_s: float | None = None  # median seconds of the latest votes
    ticket: str = ""
    prompt: list[dict[str, str]] = dataclasses.field(default_factory=list)
    answers: tuple[str, str] = ("", "")  # left, right
    practice: tuple[int, int] = (0, 0)  # which of how many calibration pairs
    why: Why | None = None

    @property
    def is_first(self) -> bool:
        """Whether the rater has done nothing here yet."""
        return self.done == 0 and (self.stage == "pair" or (self.stage == "practice" and self.practice[0] == 1))

    @property
    def name(self) -> str:
        """What is on screen, the same however often it is shown."""
        return self.ticket.partition("|")[0] or self.stage


class Improved(Record):
    """An answer that the rater made better."""

    place: Place
    text: str = Field(max_length=LONGEST_TEXT)


class Details(Record):
    """What a rater says beside a choice; comes from the browser."""

    reason: str = Field("", max_length=500)
    tags: list[Annotated[str, Field(min_length=1, max_length=60)]] = Field([], max_length=12)
    edit: Improved | None = None


class Said(Record):
    """A report of an unsafe answer (`place`: which; None: both), or a prompt; comes from the browser."""

    what: Literal["unsafe", "prompt"]
    place: Place | None = None
    text: str = Field(max_length=LONGEST_TEXT)
