"""The votes of a campaign, and which of them count: the first of its assignment, unless it was undone.

Undoing a vote opens the next take of the same assignment. Nothing is changed or removed.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

from harness.campaign.acts import ActLog
from harness.campaign.files import VOTES, folder, read_extra
from harness.core.journal import Journal, read_records, segments
from harness.core.paths import Lab
from harness.core.rating import MANY_VOTES, Undo, Vote


class VoteLog:
    """The votes of one campaign: its own segment to append to, and everyone's, read as they grow. Thread-safe.

    Several processes may append at once, each to its own segment. Where two wrote the same assignment, the earlier
    one counts, in every reader. `acts` is where undoing is written; one of its own by default.
    """

    def __init__(self, place: Path, acts: ActLog | None = None) -> None:
        self._place = place
        self._journal = Journal(place, VOTES, "vote.event")
        self._offsets: dict[Path, int] = {}
        self._acts = acts or ActLog(place)
        self._acts_seen = 0
        self._first: dict[str, tuple[tuple[str, str], Vote]] = {}
        self._undone: dict[str, Undo] = {}
        self._takes: dict[tuple[str, str], dict[int, str]] = {}  # (rater, pair) -> take -> assignment that has a vote
        self._counted: dict[str, dict[str, Vote]] = {}  # rater -> pair -> the vote that counts
        self._raters: dict[str, set[str]] = {}  # pair -> who has a vote on it that counts
        self._touched: list[tuple[str, str]] = []  # (rater, pair), each time something about it changed
        self._lock = threading.RLock()

    def votes(self) -> dict[str, Vote]:
        """Assignment -> its first vote if it was not undone, earliest first, as of now."""
        with self._lock:
            self._refresh()
            kept = [(at, name, vote) for name, (at, vote) in self._first.items() if name not in self._undone]
            return {name: vote for _, name, vote in sorted(kept, key=lambda entry: entry[0])}

    def of(self, rater: str) -> dict[str, Vote]:
        """Pair id -> this rater's vote, as of now."""
        with self._lock:
            self._refresh()
            return dict(self._counted.get(rater, {}))

    def count(self, rater: str) -> int:
        """How many votes of this rater count, as of the last look."""
        return len(self._counted.get(rater, ()))

    def vote_of(self, rater: str, pair_id: str) -> Vote | None:
        """This rater's vote on a pair, as of the last look."""
        return self._counted.get(rater, {}).get(pair_id)

    def raters(self, pair_id: str) -> set[str]:
        """Whose votes on a pair count, as of the last look; not to be changed."""
        return self._raters.get(pair_id, set())

    def take(self, rater: str, pair_id: str) -> int:
        """The take that this rater's next vote on a pair is: how often it was undone."""
        with self._lock:
            self._refresh()
            return self._take(rater, pair_id)

    def undone_at(self, rater: str, pair_id: str) -> str | None:
        """When this rater's vote on a pair was undone, if no later one counts; as of the last look."""
        if self.vote_of(rater, pair_id):
            return None
        names = self._takes.get((rater, pair_id), {}).values()
        return max((self._undone[name].at for name in names if name in self._undone), default=None)

    def last_of(self, rater: str) -> Vote | None:
        """This rater's latest vote that counts, as of now."""
        return max(self.of(rater).values(), key=lambda vote: (vote.at, vote.assignment), default=None)

    def touched(self, start: int) -> tuple[list[tuple[str, str]], int]:
        """(rater, pair) of all that changed since an earlier call returned the place `start`, and the new place."""
        with self._lock:
            self._refresh()
            return self._touched[start:], len(self._touched)

    def add(self, vote: Vote) -> bool:
        """Put a vote on disk; False when its assignment has one already, or it is of a take that is not open, and then
        nothing is written.

        When this returns True the vote survives a crash. Raises LabError, and then nothing was added.
        """
        with self._lock:
            self._refresh()
            if vote.assignment in self._first or vote.take != self._take(vote.rater, vote.pair_id):
                return False
            self._journal.append(vote.model_dump(mode="json"))
            self._refresh()
            return True

    def is_unknown(self, vote: Vote) -> bool:
        """Whether neither its assignment has a vote nor its rater another one on the pair, as of now."""
        with self._lock:
            self._refresh()
            return vote.assignment not in self._first and self.vote_of(vote.rater, vote.pair_id) is None

    def add_all(self, votes: Sequence[Vote]) -> None:
        """Put votes on disk with one fsync; all of them or, where LabError is raised, none."""
        with self._lock:
            self._journal.append_all(vote.model_dump(mode="json") for vote in votes)
            self._refresh()

    def undo(self, vote: Vote, who: str, at: str) -> bool:
        """Take a vote back; False when it does not count now. Raises LabError, and then nothing was added."""
        with self._lock:
            self._refresh()
            if self.vote_of(vote.rater, vote.pair_id) != vote:
                return False
            return self._acts.add(
                Undo(
                    event_id=f"undo/{vote.assignment}",
                    campaign=vote.campaign,
                    who=who,
                    at=at,
                    assignment=vote.assignment,
                    pair_id=vote.pair_id,
                    take=vote.take,
                )
            )

    def close(self) -> None:
        self._journal.close()
        self._acts.close()

    # --- inside ---

    def _take(self, rater: str, pair_id: str) -> int:
        return sum(name in self._undone for name in self._takes.get((rater, pair_id), {}).values())

    def _refresh(self) -> None:
        for path in segments(self._place, VOTES):
            for vote, end in read_records(path, MANY_VOTES, "a vote", self._offsets.get(path, 0)):
                self._offsets[path] = end
                at = (vote.at, path.name)
                known = self._first.get(vote.assignment)
                if known is None or at < known[0]:
                    self._first[vote.assignment] = (at, vote)
                    self._takes.setdefault((vote.rater, vote.pair_id), {})[vote.take] = vote.assignment
                    self._count(vote.rater, vote.pair_id)
        acts, self._acts_seen = self._acts.since(self._acts_seen)
        for act in acts:
            if act.kind == "undo":
                self._undone.setdefault(act.assignment, act)
        for act in acts:
            if act.kind == "undo" and act.assignment in self._first:
                vote = self._first[act.assignment][1]
                self._count(vote.rater, vote.pair_id)

    def _count(self, rater: str, pair_id: str) -> None:
        """Which vote of a rater on a pair counts, anew: that of the first take that was not undone."""
        takes = self._takes.get((rater, pair_id), {})
        name = next((takes[take] for take in sorted(takes) if takes[take] not in self._undone), None)
        votes, raters = self._counted.setdefault(rater, {}), self._raters.setdefault(pair_id, set())
        if name is None:
            votes.pop(pair_id, None)
            raters.discard(rater)
        else:
            votes[pair_id] = self._first[name][1]
            raters.add(rater)
        self._touched.append((rater, pair_id))


def read_votes(lab: Lab, campaign: str) -> list[Vote]:
    """Every vote on a main pair that counts, earliest first: the first of each assignment, if it was not undone."""
    place = folder(lab, campaign)
    extra = {pair.pair_id for pair in read_extra(place)}
    return [vote for vote in VoteLog(place).votes().values() if vote.pair_id not in extra]
