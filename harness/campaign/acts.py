"""What else people do in a campaign, as events in `acts-*.jsonl`: undo, lease, written, ruling, steer and others."""

from __future__ import annotations

import functools
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from harness.campaign.files import folder
from harness.core.journal import Journal, read_records, segments
from harness.core.paths import Lab
from harness.core.rating import MANY_ACTS, AnyAct, Ruling

ACTS = "acts"  # stem of the act journals


class ActLog:
    """The acts of one campaign: its own segment to append to, and everyone's, read as they grow. Thread-safe.

    Several processes may append at once, each to its own segment. The first act with an `event_id` counts.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self._journal = Journal(place, ACTS, "act.event")
        self._offsets: dict[Path, int] = {}
        self._acts: list[AnyAct] = []
        self._known: set[str] = set()
        self._lock = threading.RLock()

    def add(self, act: AnyAct) -> bool:
        """Put an act on disk; False when there is one with its `event_id` already, and then nothing is written.

        When this returns True the act survives a crash. Raises LabError, and then nothing was added.
        """
        with self._lock:
            self._refresh()
            if act.event_id in self._known:
                return False
            self._journal.append(act.model_dump(mode="json"))
            self._refresh()
            return True

    def acts(self) -> list[AnyAct]:
        """Every act that counts, earliest first, as of now."""
        with self._lock:
            self._refresh()
            return sorted(self._acts, key=lambda act: (act.at, act.event_id))

    def since(self, start: int) -> tuple[list[AnyAct], int]:
        """Acts that were not there when an earlier call returned the place `start` (0: all), and the place to go on
        from. They come as they are read, not by time."""
        with self._lock:
            self._refresh()
            return self._acts[start:], len(self._acts)

    def close(self) -> None:
        self._journal.close()

    def _refresh(self) -> None:
        for path in segments(self._place, ACTS):
            for act, end in read_records(path, MANY_ACTS, "an act", self._offsets.get(path, 0)):
                self._offsets[path] = end
                if act.event_id not in self._known:
                    self._known.add(act.event_id)
                    self._acts.append(act)


def read_acts(lab: Lab, campaign: str) -> list[AnyAct]:
    """Every act of a campaign that counts, earliest first."""
    return ActLog(folder(lab, campaign)).acts()


def acts_saying(place: Path, word: str) -> list[AnyAct]:
    """Acts of a campaign's folder whose line has `word` in quotes, as written; the others, of which there are many, are
    not even read as JSON. Asked again, only what is new is read."""
    return _sayings(place, word).acts()


class _Sayings:
    """What `acts_saying` knows of one folder and word. Thread-safe."""

    def __init__(self, place: Path, word: str) -> None:
        self._place, self._marker = place, json.dumps(word).encode()
        self._known: dict[Path, _Read] = {}
        self._lock = threading.Lock()

    def acts(self) -> list[AnyAct]:
        """All of them as of now. Raises LabError as reading."""
        with self._lock:
            there = segments(self._place, ACTS)
            self._known = {path: self._of(path, self._known.get(path)) for path in there}
            return [act for path in there for act in self._known[path].acts]

    def _of(self, path: Path, known: _Read | None) -> _Read:
        with path.open("rb") as file:
            stat = os.fstat(file.fileno())
            which = (stat.st_dev, stat.st_ino)
            if known is None or known.which != which:
                known = _Read(which, 0, [])
            file.seek(known.end)
            added = file.read()
        end = known.end + added.rfind(b"\n") + 1  # a line that is not whole is looked at again
        found = known.acts
        if self._marker in added:
            more = read_records(path, MANY_ACTS, "an act", known.end, self._marker)
            found = [*found, *(act for act, at in more if at <= end)]
        return _Read(which, end, found)


@dataclass(frozen=True)
class _Read:
    """What was found in a segment up to a byte. `which` file it was: one that was rewritten, without somebody's name,
    is read anew."""

    which: tuple[int, int]
    end: int
    acts: list[AnyAct]


@functools.lru_cache(maxsize=1_000)
def _sayings(place: Path, word: str) -> _Sayings:
    return _Sayings(place, word)


def is_closed(acts: Iterable[AnyAct]) -> bool:
    """Whether the last word of the leads was to close the campaign."""
    said = [act for act in acts if act.kind == "steer" and act.what in ("close", "reopen")]
    return bool(said) and sorted(said, key=lambda act: act.at)[-1].what == "close"


def closed(lab: Lab, campaign: str) -> bool:
    """`is_closed` of a campaign as it is on disk, without reading what else people did in it."""
    return is_closed(acts_saying(folder(lab, campaign), "steer"))


def paused(acts: Iterable[AnyAct]) -> set[str]:
    """Raters who are paused: of whom the latest word was so."""
    said = sorted((act for act in acts if act.kind == "steer" and act.rater), key=lambda act: act.at)
    last = {act.rater: act.what for act in said if act.rater and act.what in ("pause", "resume")}
    return {rater for rater, what in last.items() if what == "pause"}


def rulings(acts: Iterable[AnyAct]) -> dict[str, Ruling]:
    """Pair -> the lead's ruling that stands: the latest."""
    found = [act for act in acts if act.kind == "ruling"]
    return {act.pair_id: act for act in sorted(found, key=lambda act: (act.at, act.event_id))}
