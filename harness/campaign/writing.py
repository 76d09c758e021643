"""Campaigns of kind 'write': one person corrects the draft in answer a, a second reads it; data from what was accepted.

A text goes draft → written → accepted, or back to be written again with the reader's reason. Who wrote a text never
reads it, and who skips one leaves it to others until it has changed. Drafts come from a base, an adapter or any
endpoint, as the pair's answer a says.
"""

from __future__ import annotations

import datetime
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from harness.campaign.acts import ActLog
from harness.core.errors import InputError
from harness.core.rating import AnyAct, CampaignRecord, Lease, Pair, Skipped, Written

LEASE = datetime.timedelta(hours=1)  # writing takes longer than choosing
Step = Literal["write", "review"]


@dataclass(frozen=True)
class Task:
    """What one person does next: write (`text` is the draft, or the text that was sent back, with the `reason` why), or
    review the `text` of somebody else. `version`: how often the pair was written and read before."""

    campaign: str
    who: str
    pair: Pair
    step: Step
    text: str
    reason: str = ""
    version: int = 0


@dataclass(frozen=True)
class Progress:
    """Where a campaign's texts stand, and what one person did: texts and reviews; skipped or sent back, for others."""

    to_write: int
    to_review: int
    accepted: int
    mine: int
    skipped: int
    stopped: bool  # the campaign was closed, or this person paused

    @property
    def total(self) -> int:
        return self.to_write + self.to_review + self.accepted


@dataclass
class _Text:
    """Where one pair's text stands: the latest version, what its reader said, and how it came to that."""

    written: Written | None = None
    review: Written | None = None
    history: list[Written] = field(default_factory=list)
    left_by: set[str] = field(default_factory=set)

    @property
    def step(self) -> Step | None:
        """What it needs; None where it was accepted."""
        if self.written is None or (self.review is not None and self.review.accepted is False):
            return "write"
        return "review" if self.review is None else None

    def take(self, act: Written) -> bool:
        """Go on with `act`; False for a review that cannot be one."""
        if act.step == "write":
            self.written, self.review = act, None
        elif self.written is not None and act.who != self.written.who and act.accepted is not None:
            self.review = act
        else:
            return False
        self.history.append(act)
        self.left_by = {act.who} if act.accepted is False else set()  # a reader who could have put it right did not
        return True

    def for_(self, who: str) -> Step | None:
        """What it needs of this person: nobody reads their own text, or gets again what they left to others or sent
        back."""
        own = self.step == "review" and self.written is not None and self.written.who == who
        return None if own or who in self.left_by else self.step


class Writing:
    """The tasks of one campaign of kind 'write'. Thread-safe; what other processes write is seen at the next call."""

    def __init__(self, record: CampaignRecord, pairs: Sequence[Pair], acts: ActLog) -> None:
        if record.kind != "write":
            raise InputError(f"campaign {record.campaign!r} compares answers", "rate it: ratchet rate")
        self._record, self._acts = record, acts
        self._pairs = {pair.pair_id: pair for pair in pairs}
        self._texts = {pair_id: _Text() for pair_id in self._pairs}
        self._leases: dict[str, tuple[str, datetime.datetime]] = {}
        self._stopped: dict[str, tuple[str, bool]] = {}  # rater, or '' for the campaign -> (when, whether)
        self._done: Counter[str] = Counter()
        self._seen = 0
        self._lock = threading.RLock()

    def __contains__(self, pair_id: object) -> bool:
        return pair_id in self._pairs

    def next(self, who: str, at: datetime.datetime | None = None) -> Task | None:
        """What this person does next, leased to them: what is on their screen already, then reviews of others' texts,
        then texts to write, each in the campaign's order. None where nothing is left for them, or they are paused."""
        with self._lock:
            at = at or datetime.datetime.now(datetime.UTC)
            self._refresh()
            if self._is_stopped(who):
                return None
            mine = self._mine(who, at)
            pair_id = mine or self._first("review", who, at) or self._first("write", who, at)
            if pair_id is None:
                return None
            if mine is None:
                self._lease(pair_id, who, at)
            return self._task(pair_id, who)

    def left(self) -> dict[Step, int]:
        """How many texts are to be written, and how many to be read."""
        with self._lock:
            self._refresh()
            steps = [text.step for text in self._texts.values()]
            return {"write": steps.count("write"), "review": steps.count("review")}

    def progress(self, who: str) -> Progress:
        """Counts to show to one person."""
        with self._lock:
            left = self.left()
            return Progress(
                to_write=left["write"],
                to_review=left["review"],
                accepted=len(self._texts) - left["write"] - left["review"],
                mine=self._done[who],
                skipped=sum(who in text.left_by for text in self._texts.values()),
                stopped=self._is_stopped(who),
            )

    def said(self, pair_id: str, version: int) -> Written | None:
        """The act that answered a task of this pair and version; None while nobody has, or there is no such pair."""
        with self._lock:
            self._refresh()
            text = self._texts.get(pair_id)
            return text.history[version] if text and 0 <= version < len(text.history) else None

    def submit(self, act: Written, version: int | None = None) -> bool:
        """Put a text or a review on disk; False where it is too late (somebody else did it, the text changed step, or
        is no more the `version` that was shown), and then nothing is written. Raises InputError for what no text or
        review can be."""
        with self._lock:
            self._refresh()
            text = self._texts.get(act.pair_id)
            if text is None:
                raise InputError(f"campaign {self._record.campaign!r} has no pair {act.pair_id!r}")
            if act.step == "write" and not act.text.strip():
                raise InputError("an empty text cannot be saved", "write one, or leave the draft as it is")
            if act.step == "review" and act.accepted is None:
                raise InputError("a review says whether the text is accepted")
            mine = text.written is not None and text.written.who == act.who
            if text.step != act.step or (act.step == "review" and mine) or version not in (None, len(text.history)):
                return False
            added = self._acts.add(act)
            self._refresh()
            return added

    def skip(self, act: Skipped, version: int) -> bool:
        """Leave a text to others, on disk; False where it is another version by now, and then nothing is written."""
        with self._lock:
            self._refresh()
            text = self._texts.get(act.pair_id)
            if text is None or text.step != act.step or len(text.history) != version:
                return False
            added = self._acts.add(act)
            self._refresh()
            return added

    # --- inside ---

    def _is_stopped(self, who: str) -> bool:
        return any(self._stopped.get(name, ("", False))[1] for name in ("", who))

    def _task(self, pair_id: str, who: str) -> Task:
        """A text that was sent back comes with the reader's reason, and in the reader's words where there are some."""
        text, pair = self._texts[pair_id], self._pairs[pair_id]
        shown = text.written.text if text.written else pair.a.text
        if text.review and text.review.text.strip():
            shown = text.review.text
        reason = text.review.reason if text.review else ""
        return Task(self._record.campaign, who, pair, text.step or "write", shown, reason, len(text.history))

    def _first(self, step: Step, who: str, at: datetime.datetime) -> str | None:
        for pair_id, text in self._texts.items():
            held = self._leases.get(pair_id)
            if text.for_(who) == step and not (held and held[1] > at):
                return pair_id
        return None

    def _mine(self, who: str, at: datetime.datetime) -> str | None:
        for pair_id, (holder, until) in self._leases.items():
            if holder == who and until > at and self._texts[pair_id].for_(who):
                return pair_id
        return None

    def _lease(self, pair_id: str, who: str, at: datetime.datetime) -> None:
        stamp, until = (one.isoformat(timespec="milliseconds") for one in (at, at + LEASE))
        name = f"lease/{pair_id}/{who}/{stamp}"
        self._acts.add(
            Lease(event_id=name, campaign=self._record.campaign, who=who, at=stamp, pair_id=pair_id, until=until)
        )
        self._refresh()

    def _refresh(self) -> None:
        acts, self._seen = self._acts.since(self._seen)
        for act in acts:
            if act.kind == "written" and act.pair_id in self._texts:
                self._done[act.who] += self._texts[act.pair_id].take(act)
                self._leases.pop(act.pair_id, None)
            elif act.kind == "skipped" and act.pair_id in self._texts:
                self._texts[act.pair_id].left_by.add(act.who)
                if self._leases.get(act.pair_id, ("",))[0] == act.who:
                    del self._leases[act.pair_id]
            elif act.kind == "lease" and act.pair_id in self._texts:
                self._leases[act.pair_id] = (act.who, datetime.datetime.fromisoformat(act.until))
            elif act.kind == "steer" and act.what in ("pause", "resume", "close", "reopen"):
                name = (act.rater or "") if act.what in ("pause", "resume") else ""
                if self._stopped.get(name, ("", False))[0] <= act.at:
                    self._stopped[name] = (act.at, act.what in ("pause", "close"))


# --- data -------------------------------------------------------------------------------------------------------


def sft_rows(record: CampaignRecord, pairs: Sequence[Pair], acts: Iterable[AnyAct]) -> list[dict[str, Any]]:
    """{"prompt": turns, "completion": [turn]} of every text that a second person accepted, with its lineage."""
    return [
        {"prompt": pair.prompt, "completion": _said(text), **_lineage(record, pair, written, review)}
        for pair, written, review, text in _accepted(pairs, acts)
    ]


def preference_rows(record: CampaignRecord, pairs: Sequence[Pair], acts: Iterable[AnyAct]) -> list[dict[str, Any]]:
    """{"prompt": turns, "chosen": [turn], "rejected": [turn]}: edited over draft, where an accepted text differs."""
    return [
        {
            "prompt": pair.prompt,
            "chosen": _said(text),
            "rejected": _said(pair.a.text),
            **_lineage(record, pair, written, review),
        }
        for pair, written, review, text in _accepted(pairs, acts)
        if text.split() != pair.a.text.split()
    ]


def _accepted(pairs: Sequence[Pair], acts: Iterable[AnyAct]) -> Iterator[tuple[Pair, Written, Written, str]]:
    """(pair, text, review, final text), in the campaign's order; a reader's own wording, if there is one, is final."""
    texts = {pair.pair_id: _Text() for pair in pairs}
    for act in sorted(acts, key=lambda act: (act.at, act.event_id)):
        if act.kind == "written" and act.pair_id in texts:
            texts[act.pair_id].take(act)
    for pair in pairs:
        found = texts[pair.pair_id]
        if found.written and found.review and found.review.accepted:
            yield (
                pair,
                found.written,
                found.review,
                (found.review.text.strip() and found.review.text) or found.written.text,
            )


def _lineage(record: CampaignRecord, pair: Pair, written: Written, review: Written) -> dict[str, Any]:
    return {
        "campaign": record.campaign,
        "pair_id": pair.pair_id,
        "cluster": pair.cluster,
        "draft": pair.a.subject,
        "writer": written.who,
        "reviewer": review.who,
        "at": review.at,
        "source": "written",
    }


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]
