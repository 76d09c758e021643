"""What one rater sees next and what becomes of a choice. Knows files and rules, nothing of web pages or languages.

All state is on disk. The ticket that travels with a page names its assignment and when it was shown, so a choice
counts for the pair that was on screen and for no other, in any tab, after any restart. No call reads the campaign anew.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import statistics
import sys
import threading

from pydantic import ValidationError

from dashboards.screen import (
    ALREADY_SAVED,
    EMPTY,
    NOT_SAVED,
    NOT_SENT,
    NOT_UNDONE,
    NOTHING_TO_UNDO,
    OUT_OF_DATE,
    REPORTED,
    SAVED,
    STOPPED,
    SUGGESTED,
    TAKEN_BACK,
    TOO_LONG,
    TOO_SOON,
    Details,
    Improved,
    Note,
    Place,
    Said,
    Screen,
    Stage,
    Why,
)  # fmt: skip
from harness import campaign as campaigns
from harness.core.errors import LabError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab
from harness.core.rating import Calibrated, Choice, Edit, Report, Side, Vote

# Nobody reads two answers in this time; the second press of a double press does come this soon.
MIN_LOOK_S = 0.4
PACE_OF = 20  # latest votes that a rater's pace is told from


class Desk:
    """One campaign, open for rating. Thread-safe."""

    def __init__(self, lab: Lab, campaign: str) -> None:
        self._place = campaigns.folder(lab, campaign)
        self.record = campaigns.read_record(lab, campaign)
        self._handout, self._votes, self._acts = campaigns.open_handout(lab, campaign)
        extra = campaigns.read_extra(self._place)
        self._practice = [pair.pair_id for pair in extra if pair.role == "calibration"]
        self._undoing = threading.Lock()

    def guidelines(self, language: str) -> str | None:
        """How to judge, in Markdown: guidelines.LANGUAGE.md, else guidelines.md; None where there is none."""
        return campaigns.guidelines(self._place, language)

    def screen(self, rater: str, note: Note | None = None) -> Screen:
        """The rater's next pair, shown from now on, or why there is none."""
        note = note or Note()
        assignment = self._handout.next(rater)
        done, left, pace = self._handout.done(rater), self._handout.left(rater), self._pace(rater)
        if assignment is None:
            stopped: Stage = "paused" if self._handout.is_paused(rater) else "done"
            return Screen(rater, "closed" if self._handout.is_closed else stopped, note, done, left, pace)
        is_practice = assignment.pair.role == "calibration"
        return Screen(
            rater,
            "practice" if is_practice else "pair",
            note,
            done,
            left,
            pace,
            ticket=f"{assignment.name}|{_text(_now())}",
            prompt=assignment.pair.prompt,
            answers=assignment.answers,
            practice=self._which(assignment) if is_practice else (0, 0),
        )

    def choose(self, rater: str, ticket: str, choice: Choice, details: str = "{}") -> Screen:
        """Put the choice on disk, then show what is next. A choice that is not on disk keeps its pair and says so.

        `details` is the JSON of a `Details`.
        """
        opened = self._open(rater, ticket)
        if opened is None:
            return self.screen(rater, OUT_OF_DATE)
        assignment, shown = opened
        if self._votes.vote_of(rater, assignment.pair.pair_id):
            return self.screen(rater, ALREADY_SAVED)
        if self._handout.is_closed or self._handout.is_paused(rater):
            return self.screen(rater, STOPPED)
        at = _now()
        if (at - shown).total_seconds() < MIN_LOOK_S:
            return self.screen(rater, TOO_SOON)
        try:
            given = Details.model_validate_json(details)
        except ValidationError:
            return self._kept(rater, ticket, TOO_LONG)
        try:
            if assignment.pair.role == "calibration":
                return self._calibrate(assignment, choice, at)
            added = self._votes.add(_vote(assignment, choice, given, shown, at))
        except (LabError, OSError) as error:
            _complain("vote", rater, error)
            return self._kept(rater, ticket, NOT_SAVED)
        return self.screen(rater, SAVED if added else ALREADY_SAVED)

    def undo(self, rater: str, ticket: str) -> Screen:
        """Take back the rater's latest vote and show its pair again. From an old screen nothing is taken back, so that
        a repeated request does not take back a second one."""
        with self._undoing:
            current = self._handout.next(rater)
            if ticket.partition("|")[0] != (current.name if current else ""):
                return self.screen(rater, OUT_OF_DATE)
            try:
                found = self._handout.undo(rater)
            except (LabError, OSError) as error:
                _complain("undo", rater, error)
                return self._kept(rater, ticket, NOT_UNDONE)
            return self.screen(rater, TAKEN_BACK if found else NOTHING_TO_UNDO)

    def say(self, rater: str, ticket: str, said: str) -> Note:
        """Keep a report or a prompt for the leads; `said` is the JSON of a `Said`. The same once more adds nothing."""
        try:
            given = Said.model_validate_json(said)
        except ValidationError:
            return TOO_LONG
        assignment, place = None, None
        if given.what == "unsafe":
            opened = self._open(rater, ticket)
            if opened is None:
                return OUT_OF_DATE
            assignment = opened[0]
            place = _side(assignment, given.place) if given.place else None
        elif not given.text.strip():
            return EMPTY
        about = assignment.name if assignment else f"{self.record.campaign}/{rater}"
        act = Report(
            event_id=f"{given.what}/{about}/{sha256_of(given.model_dump_json())[:12]}",
            campaign=self.record.campaign,
            who=rater,
            at=_text(_now()),
            what=given.what,
            pair_id=assignment.pair.pair_id if assignment else None,
            side=place,
            text=given.text.strip(),
        )
        try:
            self._acts.add(act)
        except (LabError, OSError) as error:
            _complain("report", rater, error)
            return NOT_SENT
        return REPORTED if given.what == "unsafe" else SUGGESTED

    def close(self) -> None:
        self._votes.close()

    # --- inside ---

    def _open(self, rater: str, ticket: str) -> tuple[campaigns.Assignment, datetime.datetime] | None:
        """The assignment and time on a ticket, or None unless it is one of this rater's, of the take that is open and
        shown before now."""
        name, _, at = ticket.partition("|")
        parts = name.split("/")
        assignment = self._handout.assignment(parts[1], rater) if len(parts) in (3, 4) else None
        if assignment is None or assignment.name != name:
            return None
        try:
            shown = datetime.datetime.fromisoformat(at)
        except ValueError:
            return None
        return (assignment, shown) if shown.tzinfo and shown <= _now() else None

    def _kept(self, rater: str, ticket: str, note: Note) -> Screen:
        """The same pair once more, shown since when it was."""
        found = self.screen(rater, note)
        return dataclasses.replace(found, ticket=ticket) if found.name == ticket.partition("|")[0] else found

    def _calibrate(self, assignment: campaigns.Assignment, choice: Choice, at: datetime.datetime) -> Screen:
        """Write down that the pair was seen, and explain it. Raises LabError, and then nothing was written."""
        pair, rater = assignment.pair, assignment.rater
        act = Calibrated(
            event_id=f"calibrated/{pair.pair_id}/{rater}",
            campaign=self.record.campaign,
            who=rater,
            at=_text(at),
            pair_id=pair.pair_id,
            choice=choice,
            left=assignment.left,
        )
        if not self._acts.add(act):
            return self.screen(rater, ALREADY_SAVED)
        return Screen(
            rater,
            "explained",
            SAVED,
            self._handout.done(rater),
            self._handout.left(rater),
            prompt=pair.prompt,
            answers=assignment.answers,
            practice=self._which(assignment),
            why=Why(choice, _as_choice(assignment), pair.explanation),
        )

    def _which(self, assignment: campaigns.Assignment) -> tuple[int, int]:
        return self._practice.index(assignment.pair.pair_id) + 1, len(self._practice)

    def _pace(self, rater: str) -> float | None:
        latest = itertools.islice(reversed(self._votes.of(rater).values()), PACE_OF)
        seconds = [vote.seconds for vote in latest if vote.seconds is not None]
        return statistics.median(seconds) if seconds else None


class Desks:
    """The desks of a lab's campaigns, each opened when somebody first comes to it. Thread-safe."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._open: dict[str, Desk] = {}
        self._opening: dict[str, threading.Lock] = {}

    def of(self, campaign: str) -> Desk:
        """Raises as `Desk` does."""
        found = self._open.get(campaign)
        if found is None:
            with self._opening.setdefault(campaign, threading.Lock()):  # a large one takes seconds; others go on
                found = self._open.get(campaign) or Desk(self._lab, campaign)
                self._open[campaign] = found
        return found

    def close(self) -> None:
        for desk in list(self._open.values()):
            desk.close()


def _vote(
    assignment: campaigns.Assignment, choice: Choice, given: Details, shown: datetime.datetime, at: datetime.datetime
) -> Vote:
    return assignment.vote(
        choice,
        _text(shown),
        _text(at),
        seconds=round((at - shown).total_seconds(), 3),
        reason=given.reason.strip(),
        tags=list(dict.fromkeys(given.tags)),
        edit=_edit(assignment, given.edit),
    )


def _edit(assignment: campaigns.Assignment, given: Improved | None) -> Edit | None:
    """The edit by answer; None where nothing is left of it, or nothing was changed."""
    if given is None or not given.text.strip():
        return None
    side = _side(assignment, given.place)
    original = assignment.pair.a if side == "a" else assignment.pair.b
    return None if given.text.split() == original.text.split() else Edit(side=side, text=given.text.strip())


def _side(assignment: campaigns.Assignment, place: Place) -> Side:
    other: Side = "b" if assignment.left == "a" else "a"
    return assignment.left if place == "left" else other


def _as_choice(assignment: campaigns.Assignment) -> Choice | None:
    """What was expected of a calibration pair, by where the answers stood."""
    expected = assignment.pair.expected
    if expected is None or expected == "tie":
        return expected
    return "left" if expected == assignment.left else "right"


def _complain(what: str, rater: str, error: Exception) -> None:
    print(f"a {what} of {rater} was not saved: {error}", file=sys.stderr, flush=True)


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _text(at: datetime.datetime) -> str:
    return at.isoformat(timespec="milliseconds")
