"""What one writer sees next and what becomes of a text. Knows files and rules, nothing of web pages or languages.

All state is on disk. The ticket that travels with a page names the pair, the step and how often the pair was written
and read before, so a text counts for what was on screen and for nothing else: in any tab, after any restart, once.
"""

from __future__ import annotations

import datetime
import sys
from dataclasses import dataclass, field
from typing import Literal

from harness import campaign as campaigns
from harness.campaign.writing import Step
from harness.core.errors import InputError, LabError
from harness.core.paths import Lab
from harness.core.rating import Skipped, Written

MAX_TEXT, MAX_REASON = 100_000, 2_000  # characters

Tone = Literal["calm", "saved", "error"]


@dataclass(frozen=True)
class Said:
    """One line about what happened to the last press: the text `said_KEY`, in the writer's language; none for ''.

    `keep`: the page stays as it is, with what was typed."""

    key: str = ""
    tone: Tone = "calm"
    keep: bool = False


@dataclass(frozen=True)
class Sheet:
    """All that a writer may see: nothing tells who made the draft or wrote the text. `ticket` is empty where nothing
    is left for them; the text `write_over_OVER` says why. `saved` is the ticket whose text is on disk now."""

    who: str
    ticket: str
    progress: campaigns.Progress
    said: Said
    step: Step = "write"
    prompt: list[dict[str, str]] = field(default_factory=list)
    draft: str = ""
    text: str = ""
    reason: str = ""
    over: str = ""
    saved: str = ""


@dataclass(frozen=True)
class _Ticket:
    pair_id: str
    step: Step
    version: int

    @classmethod
    def read(cls, text: str) -> _Ticket | None:
        pair_id, _, rest = (text or "").partition("|")
        step, _, version = rest.partition("|")
        if not pair_id or not (version.isascii() and version.isdigit() and len(version) < 7):
            return None
        found: Step | None = "write" if step == "write" else "review" if step == "review" else None
        return cls(pair_id, found, int(version)) if found else None

    def __str__(self) -> str:
        return f"{self.pair_id}|{self.step}|{self.version}"


class WriteDesk:
    """One campaign of kind 'write', open to people. Thread-safe."""

    def __init__(self, lab: Lab, campaign: str) -> None:
        self.record, pairs = campaigns.read(lab, campaign)
        place = campaigns.folder(lab, campaign)
        self._place = place
        self._acts = campaigns.ActLog(place)
        self._writing = campaigns.Writing(self.record, pairs, self._acts)

    def guidelines(self, language: str) -> str | None:
        """How to write and to read, in Markdown, by whoever leads the campaign; None where they wrote nothing."""
        return campaigns.guidelines(self._place, language)

    def sheet(self, who: str, said: Said | None = None, saved: str = "") -> Sheet:
        """What this person does next, theirs for an hour from now on; or why there is nothing."""
        task = self._writing.next(who)
        progress, said = self._writing.progress(who), said or Said()
        if task is None:
            return Sheet(who, "", progress, said, over=_why(progress), saved=saved)
        ticket = str(_Ticket(task.pair.pair_id, task.step, task.version))
        return Sheet(
            who, ticket, progress, said, task.step, task.pair.prompt, task.pair.a.text, task.text, task.reason,
            saved=saved,
        )  # fmt: skip

    def write(self, who: str, ticket: str, text: str) -> Sheet:
        """Put a corrected draft on disk, then show what is next."""
        return self._submit(who, ticket, "write", _lines(text), None, "")

    def accept(self, who: str, ticket: str, text: str) -> Sheet:
        """Accept somebody's text; where `text` is another one, the reader's own wording is what counts."""
        return self._submit(who, ticket, "review", _lines(text), True, "")

    def send_back(self, who: str, ticket: str, text: str, reason: str) -> Sheet:
        """Have a text written again, for a reason; where `text` is another one the next writer starts from it."""
        if not (reason or "").strip():
            return self._kept(who, ticket, WHY)
        return self._submit(who, ticket, "review", _lines(text), False, reason.strip())

    def skip(self, who: str, ticket: str, reason: str = "") -> Sheet:
        """Leave a text to others, and show what is next."""
        held = _Ticket.read(ticket)
        if held is None:
            return self.sheet(who)
        act = Skipped(
            event_id=f"skipped/{held.pair_id}/{held.version}/{who}",
            campaign=self.record.campaign, who=who, at=_now(), pair_id=held.pair_id, step=held.step,
            reason=(reason or "").strip()[:MAX_REASON],
        )  # fmt: skip
        try:
            self._writing.skip(act, held.version)
        except (LabError, OSError) as error:
            return self._not_written(who, ticket, error)
        return self.sheet(who, LEFT)

    def close(self) -> None:
        self._acts.close()

    # --- inside ---

    def _submit(
        self, who: str, ticket: str, step: Step, text: str, accepted: bool | None, reason: str
    ) -> Sheet:  # fmt: skip
        held = _Ticket.read(ticket)
        if held is None or held.step != step or held.pair_id not in self._writing:
            return self.sheet(who, OUT_OF_DATE)
        if not text.strip():
            return self._kept(who, ticket, EMPTY)
        if len(text) > MAX_TEXT or len(reason) > MAX_REASON:
            return self._kept(who, ticket, TOO_LONG)
        own = step == "write" or text.split() != self._text_of(held).split()
        act = Written(
            event_id=f"written/{held.pair_id}/{held.version}",
            campaign=self.record.campaign, who=who, at=_now(), pair_id=held.pair_id, step=step,
            text=text if own else "", accepted=accepted, reason=reason,
        )  # fmt: skip
        try:
            added = self._writing.submit(act, held.version)
        except (LabError, OSError) as error:
            return self._not_written(who, ticket, error)
        except InputError:  # what a hand-made ticket asks for
            return self._kept(who, ticket, NOT_YOURS)
        return self.sheet(who, SAVED, ticket) if added else self._too_late(act, held)

    def _text_of(self, held: _Ticket) -> str:
        """What was shown to the reader of this version."""
        before = self._writing.said(held.pair_id, held.version - 1)
        return before.text if before else ""

    def _too_late(self, act: Written, held: _Ticket) -> Sheet:
        """Nothing was written. Whether this very text is on disk already, by another press or tab, decides what to say;
        where it is not, it stays on the page."""
        there = self._writing.said(held.pair_id, held.version)
        if there and there.who != act.who:
            return self._kept(act.who, str(held), LATE)
        if there and (there.text, there.accepted, there.reason) == (act.text, act.accepted, act.reason):
            return self.sheet(act.who, ALREADY_SAVED, str(held))
        return self._kept(act.who, str(held), OTHER_TAB if there else NOT_YOURS)

    def _kept(self, who: str, ticket: str, why: Said) -> Sheet:
        return Sheet(who, ticket, self._writing.progress(who), why)

    def _not_written(self, who: str, ticket: str, error: Exception) -> Sheet:
        print(f"a text of {who} was not saved: {error}", file=sys.stderr, flush=True)
        return self._kept(who, ticket, NOT_WRITTEN)


def _why(progress: campaigns.Progress) -> str:
    """Why there is nothing for this person."""
    if progress.stopped:
        return "stopped"
    if progress.accepted == progress.total:
        return "done"
    return "skipped" if progress.skipped else "left"


def _lines(text: str) -> str:
    """Line ends as browsers show them."""
    return (text or "").replace("\r\n", "\n").replace("\r", "\n")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")


SAVED, ALREADY_SAVED, LEFT, OUT_OF_DATE = (
    Said("saved", "saved"), Said("already", "saved"), Said("left"), Said("out_of_date"),
)  # fmt: skip
EMPTY, TOO_LONG, WHY, LATE, OTHER_TAB, NOT_YOURS, NOT_WRITTEN = (
    Said(key, "error", keep=True)
    for key in ("empty", "too_long", "why", "late", "other_tab", "not_yours", "not_written")
)
