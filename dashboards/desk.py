"""What one rater sees next and what becomes of a choice. Knows files and rules, nothing of web pages.

All state is on disk. The ticket that travels with a page names its assignment and when it was shown, so a choice
counts for the pair that was on screen and for no other, in any tab, after any restart.
"""

from __future__ import annotations

import dataclasses
import datetime
import sys
from typing import Literal, get_args

from harness import campaign as campaigns
from harness.core.errors import LabError
from harness.core.paths import Lab
from harness.core.rating import Choice, Vote

CHOICES: tuple[Choice, ...] = get_args(Choice)

# Nobody reads two answers in this time; the second press of a double press does come this soon.
MIN_LOOK_S = 0.4

Tone = Literal["calm", "saved", "error"]


@dataclasses.dataclass(frozen=True)
class Note:
    """One line about what happened to the last choice."""

    text: str = ""
    tone: Tone = "calm"


@dataclasses.dataclass(frozen=True)
class Screen:
    """All that a rater may see. Nothing in it tells which subject answered; `ticket` is empty when all is rated."""

    rater: str
    ticket: str
    prompt: list[dict[str, str]]
    left: str
    right: str
    done: int
    total: int
    note: Note


class Desk:
    """One campaign, open for rating."""

    def __init__(self, lab: Lab, campaign: str) -> None:
        self.record, pairs = campaigns.read(lab, campaign)
        place = campaigns.folder(lab, campaign)
        guidelines = place / "guidelines.md"
        self.guidelines = guidelines.read_text(encoding="utf-8") if guidelines.exists() else DEFAULT_GUIDELINES
        self._assignments = campaigns.Assignments(self.record, pairs)
        self._log = campaigns.VoteLog(place)

    def screen(self, rater: str, note: Note | None = None) -> Screen:
        """The rater's next pair, shown from now on, or the end of the campaign."""
        voted = self._log.of(rater)
        total = self._assignments.total
        assignment = self._assignments.next(rater, voted)
        if assignment is None:
            return Screen(rater, "", [], "", "", total, total, note or Note())
        ticket = f"{assignment.name}|{_now().isoformat(timespec='milliseconds')}"
        left, right = assignment.answers
        return Screen(rater, ticket, assignment.pair.prompt, left, right, len(voted), total, note or Note())

    def choose(self, rater: str, ticket: str, choice: Choice) -> Screen:
        """Put the choice on disk, then show what is next. A choice that is not on disk keeps its pair and says so."""
        opened = self._open(rater, ticket)
        if opened is None:
            return self.screen(rater, Note("This page was out of date. Nothing was lost: here is your next pair."))
        assignment, shown = opened
        if assignment.pair.pair_id in self._log.of(rater):
            return self.screen(rater, ALREADY_SAVED)
        at = _now()
        if (at - shown).total_seconds() < MIN_LOOK_S:
            return self.screen(rater, Note("A second press right after the first was not counted. Have a look first."))
        vote = Vote(
            assignment=assignment.name,
            campaign=assignment.campaign,
            pair_id=assignment.pair.pair_id,
            rater=rater,
            left=assignment.left,
            choice=choice,
            shown_at=shown.isoformat(timespec="milliseconds"),
            at=at.isoformat(timespec="milliseconds"),
            seconds=round((at - shown).total_seconds(), 3),
        )
        try:
            added = self._log.add(vote)
        except (LabError, OSError) as error:
            print(f"a vote of {rater} was not saved: {error}", file=sys.stderr, flush=True)
            return dataclasses.replace(self.screen(rater, NOT_SAVED), ticket=ticket)
        return self.screen(rater, Note("Saved", "saved") if added else ALREADY_SAVED)

    def close(self) -> None:
        self._log.close()

    def _open(self, rater: str, ticket: str) -> tuple[campaigns.Assignment, datetime.datetime] | None:
        """The assignment and time on a ticket, or None unless it is one of this rater's, shown before now."""
        name, _, at = ticket.partition("|")
        parts = name.split("/")
        assignment = self._assignments.of(parts[1], rater) if len(parts) == 3 else None
        if assignment is None or assignment.name != name:
            return None
        try:
            shown = datetime.datetime.fromisoformat(at)
        except ValueError:
            return None
        return (assignment, shown) if shown.tzinfo and shown <= _now() else None


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


ALREADY_SAVED = Note("You had rated that pair already; your first choice stands.")
NOT_SAVED = Note(
    "Not saved: the server could not write your choice. This pair stays. Try again, or tell whoever sent you the link.",
    "error",
)

DEFAULT_GUIDELINES = """\
Read the prompt, then both answers, and choose the one you would rather **send to a user**.

- **Left** or **Right**: one is better, even if only a little.
- **Tie**: both are fine and you would not mind either.
- **Both bad**: you would send neither.
- **Skip**: you cannot judge this one.

The sides are shuffled, and who wrote which is hidden, so judge only what you read. Longer is not better by itself.
Your choice is on disk before the next pair shows; close the page whenever you like and come back to where you were.
"""
