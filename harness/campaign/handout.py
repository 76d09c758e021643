"""Which pair a rater gets next, from what is on disk: leases, shared and single pairs, gold, repeats, pauses.

The order for one rater:
1. calibration pairs, until each has a Calibrated act
2. pairs whose vote the rater took back, the latest first
3. the single pair that is on the rater's screen already (a living lease)
4. now and then a gold pair, or a repeat of a pair that the rater judged at least REPEAT_AFTER votes ago, sides swapped
5. the first of the campaign's order that is shared and not judged by the rater yet, or single and free; a single one
   is leased
6. when those are used up, what is left of 4

Shared pairs (`CampaignRecord.overlap` of the main ones, drawn from the seed) go to every rater, single ones to one
each. All draws hang on (seed, campaign, rater) and what is on disk, so a reload shows the same pair.
"""

from __future__ import annotations

import datetime
import hashlib
import heapq
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from harness.campaign.acts import ActLog
from harness.campaign.assignments import Assignment, assign
from harness.campaign.files import MainPairs, folder, read_extra, read_record
from harness.campaign.pairs import draw, share
from harness.campaign.votes import VoteLog
from harness.core.heap import filling
from harness.core.paths import Lab
from harness.core.rating import AnyAct, CampaignRecord, Lease, Pair, Steer

LEASE = datetime.timedelta(minutes=20)  # longer than anybody looks at two answers, shorter than a lunch
REPEAT_AFTER = 20  # votes between a pair and its repeat: nobody remembers which side it was
GOLD_RATE, REPEAT_RATE = 0.1, 0.1  # of a rater's screens, while there are gold pairs and repeats left
FEW = 10  # a share of one in so many is found without putting all in order
UNDO_BACK = 10  # votes that a rater may have taken back and not given again

State = Literal["open", "done", "paused", "closed"]


@dataclass
class _Rater:
    """What is kept for one rater; all of it follows from the journals."""

    judged: set[str] = field(default_factory=set)  # pairs with a vote that counts
    shared_judged: int = 0
    shared: int = 0  # shared pairs before this place are judged, or in `returned`
    leases: dict[int, datetime.datetime] = field(default_factory=dict)  # place -> until
    returned: dict[str, str] = field(default_factory=dict)  # pair -> when its vote was undone
    repeats: deque[tuple[int, str]] = field(default_factory=deque)  # votes up to its pair, the repeat
    awaited: set[str] = field(default_factory=set)  # repeats that stand in `repeats` or did
    calibrated: set[str] = field(default_factory=set)


class Handout:
    """The pairs of one campaign, handed out. Thread-safe; what other processes write is seen at the next call.

    A call costs a little for each new vote or act and nothing for each pair, so a campaign of 100,000 answers at once.
    """

    def __init__(
        self, record: CampaignRecord, main: Mapping[str, Pair], extra: Sequence[Pair], votes: VoteLog, acts: ActLog
    ) -> None:
        """The main pairs by id, in the campaign's order, and the extra ones; `votes` on the same `acts`."""
        self.record, self._votes, self._acts = record, votes, acts
        self._pairs, self._extra = main, {pair.pair_id: pair for pair in extra}
        self._main = list(main)
        self._place = {pair_id: place for place, pair_id in enumerate(self._main)}
        shared = _shared(record, self._main)
        self._shared = sorted(self._place[pair_id] for pair_id in shared)
        self._wanted = {place: 1 for place in range(len(self._main)) if self._main[place] not in shared}
        self._free = sorted(self._wanted)  # a heap of places, some of them outdated
        self._is_free = set(self._free)
        self._reopened: set[int] = set()
        self._leased: dict[int, tuple[str, datetime.datetime]] = {}
        self._gold = [pair.pair_id for pair in extra if pair.role == "gold"]
        self._calibration = [pair.pair_id for pair in extra if pair.role == "calibration"]
        self._repeat_of = {pair.repeat_of: pair.pair_id for pair in extra if pair.role == "repeat" and pair.repeat_of}
        self._raters: dict[str, _Rater] = {}
        self._gold_order: dict[str, list[str]] = {}
        self._paused: dict[str, tuple[str, bool]] = {}
        self._closed: tuple[str, bool] = ("", False)
        self._seen = (0, 0)
        self._lock = threading.RLock()
        self._refresh(None)

    def next(self, rater: str, at: datetime.datetime | None = None) -> Assignment | None:
        """What this rater sees at `at` (now), leased where it is a single pair; None: see `state`.

        A calibration pair (`pair.role`) is answered by a Calibrated act, any other by a vote of the assignment's name.
        Raises LabError where a lease cannot be written: then nothing is handed out.
        """
        with self._lock:
            at = at or _now()
            self._refresh(at)
            if self.is_closed or self.is_paused(rater):
                return None
            pair_id = self._pick(rater, at)
            return None if pair_id is None else self._assignment(pair_id, rater)

    def state(self, rater: str, at: datetime.datetime | None = None) -> State:
        """Why `next` gives nothing: all is rated ('done'), the rater is paused, or the campaign is closed."""
        with self._lock:
            if self.next(rater, at) is not None:
                return "open"
            return "closed" if self.is_closed else "paused" if self.is_paused(rater) else "done"

    def left(self, rater: str, at: datetime.datetime | None = None) -> int:
        """How many pairs this rater could still get now: their own, the shared ones, and every free single one."""
        with self._lock:
            self._refresh(at or _now())
            mine = self._rater(rater)
            gold = sum(pair_id not in mine.judged for pair_id in self._gold)
            waiting = len(set(self._calibration) - mine.calibrated)
            own = {self._place[pair_id] for pair_id in mine.returned if pair_id in self._place} & self._wanted.keys()
            again = sum(not self._may_take(place, rater) for place in self._reopened & self._is_free)
            single = len(own | mine.leases.keys()) + len(self._is_free) - again
            return len(self._shared) - mine.shared_judged + single + gold + waiting

    def done(self, rater: str) -> int:
        """How many of this rater's votes count."""
        with self._lock:
            self._refresh(None)
            return len(self._rater(rater).judged)

    def assignment(self, pair_id: str, rater: str) -> Assignment | None:
        """The rater's assignment for a pair, at the take that is open; None for a pair that is not here."""
        with self._lock:
            self._refresh(None)
            return self._assignment(pair_id, rater)

    def undo(self, rater: str, at: datetime.datetime | None = None) -> Assignment | None:
        """Take back this rater's latest vote that counts and give its pair again; None where there is none, or ten are
        taken back already. Raises LabError, and then nothing was taken back."""
        with self._lock:
            at = at or _now()
            self._refresh(at)
            if self.is_closed or self.is_paused(rater) or len(self._rater(rater).returned) >= UNDO_BACK:
                return None
            vote = self._votes.last_of(rater)
            if vote is None or not self._votes.undo(vote, rater, _text(at)):
                return None
            self._refresh(at)
            return self.next(rater, at)

    # --- picking ---

    def _pick(self, rater: str, at: datetime.datetime) -> str | None:
        mine = self._rater(rater)
        for pair_id in self._calibration:
            if pair_id not in mine.calibrated:
                return pair_id
        for pair_id in sorted(mine.returned, key=lambda name: (mine.returned[name], name), reverse=True):
            if self._hold(pair_id, rater, at):
                return pair_id
        if mine.leases:
            place = min(mine.leases)
            if mine.leases[place] - at < LEASE / 2:
                self._lease(place, rater, at)
            return self._main[place]
        slot = share(self.record.seed, self.record.campaign, rater, "slot", len(mine.judged))
        if slot < GOLD_RATE and (gold := self._next_gold(rater)):
            return gold
        if GOLD_RATE <= slot < GOLD_RATE + REPEAT_RATE and (repeat := self._due(rater)):
            return repeat
        return self._next_main(rater, at) or self._next_gold(rater) or self._due(rater)

    def _next_main(self, rater: str, at: datetime.datetime) -> str | None:
        mine = self._rater(rater)
        while mine.shared < len(self._shared) and self._is_behind(mine, self._shared[mine.shared]):
            mine.shared += 1
        shared = self._shared[mine.shared] if mine.shared < len(self._shared) else len(self._main)
        single = self._first_free(rater, shared)
        if single is not None:
            self._lease(single, rater, at)
            return self._main[single]
        return self._main[shared] if shared < len(self._main) else None

    def _first_free(self, rater: str, before: int) -> int | None:
        """The first free single pair below a place that this rater may judge."""
        found, aside = None, []
        while self._free and self._free[0] < before:
            place = heapq.heappop(self._free)
            if place not in self._is_free:
                continue
            aside.append(place)
            if self._may_take(place, rater):
                found = place
                break
        for place in aside:
            heapq.heappush(self._free, place)
        return found

    def _next_gold(self, rater: str) -> str | None:
        if rater not in self._gold_order:
            seed = (self.record.seed, self.record.campaign, rater, "gold")
            self._gold_order[rater] = sorted(self._gold, key=lambda pair_id: draw(*seed, pair_id))
        order = self._gold_order[rater]
        return next((pair_id for pair_id in order if pair_id not in self._rater(rater).judged), None)

    def _due(self, rater: str) -> str | None:
        """The repeat of the pair that this rater judged first, if that is long enough ago."""
        mine = self._rater(rater)
        while mine.repeats and mine.repeats[0][1] in mine.judged:
            mine.repeats.popleft()
        ready = mine.repeats and mine.repeats[0][0] + REPEAT_AFTER <= len(mine.judged)
        return mine.repeats[0][1] if ready else None

    def _hold(self, pair_id: str, rater: str, at: datetime.datetime) -> bool:
        """Whether a pair whose vote was taken back is still this rater's; a single one is leased again."""
        place = self._place.get(pair_id)
        if place is None or place not in self._wanted:
            return True
        holder = self._leased.get(place)
        if holder and holder[0] == rater:
            return True
        if holder or not self._may_take(place, rater):
            return False
        self._lease(place, rater, at)
        return True

    # --- what is known ---

    def _assignment(self, pair_id: str, rater: str) -> Assignment | None:
        pair = self._extra.get(pair_id) or self._pairs.get(pair_id)
        return assign(self.record, pair, rater, self._votes.take(rater, pair_id)) if pair else None

    @property
    def is_closed(self) -> bool:
        """As of the last call."""
        return self._closed[1]

    def is_paused(self, rater: str) -> bool:
        """As of the last call."""
        return self._paused.get(rater, ("", False))[1]

    def _rater(self, rater: str) -> _Rater:
        found = self._raters.get(rater)
        if found is None:
            found = self._raters[rater] = _Rater()
        return found

    def _is_behind(self, mine: _Rater, place: int) -> bool:
        return self._main[place] in mine.judged or self._main[place] in mine.returned

    def _may_take(self, place: int, rater: str) -> bool:
        raters = self._votes.raters(self._main[place])
        return rater not in raters and len(raters) < self._wanted[place]

    def _lease(self, place: int, rater: str, at: datetime.datetime) -> None:
        until = at + LEASE
        pair_id, name = self._main[place], self.record.campaign
        event_id = f"lease/{pair_id}/{rater}/{_text(at)}"
        self._acts.add(Lease(event_id=event_id, campaign=name, who=rater, at=_text(at), pair_id=pair_id,
                             until=_text(until)))  # fmt: skip
        self._refresh(at)

    def _refresh(self, at: datetime.datetime | None) -> None:
        touched, votes_seen = self._votes.touched(self._seen[0])
        acts, acts_seen = self._acts.since(self._seen[1])
        self._seen = (votes_seen, acts_seen)
        for act in acts:
            self._note(act)
        for rater, pair_id in touched:
            self._changed(rater, pair_id)
        for place, (rater, until) in list(self._leased.items()):
            if at is not None and until <= at:
                self._release(place, rater)

    def _note(self, act: AnyAct) -> None:
        if act.kind == "lease" and act.pair_id in self._place:
            self._hold_for(self._place[act.pair_id], act.who, datetime.datetime.fromisoformat(act.until))
        elif act.kind == "calibrated":
            self._rater(act.who).calibrated.add(act.pair_id)
        elif act.kind == "steer":
            self._steered(act)

    def _steered(self, act: Steer) -> None:
        if act.what in ("pause", "resume") and act.rater and self._paused.get(act.rater, ("", False))[0] <= act.at:
            self._paused[act.rater] = (act.at, act.what == "pause")
        elif act.what in ("close", "reopen") and self._closed[0] <= act.at:
            self._closed = (act.at, act.what == "close")
        elif act.what == "reopen_pair" and act.pair_id in self._place:
            place = self._place[act.pair_id]
            if place in self._wanted:  # a shared one goes to every rater as it is
                self._wanted[place] = max(self._wanted[place], len(self._votes.raters(act.pair_id))) + 1
                self._reopened.add(place)
                self._offer(place)

    def _changed(self, rater: str, pair_id: str) -> None:
        """Take in what is true now of a rater's vote on a pair: it counts, or it was taken back."""
        mine, place = self._rater(rater), self._place.get(pair_id)
        undone = self._votes.undone_at(rater, pair_id)
        is_shared = place is not None and place not in self._wanted
        if undone:
            mine.shared_judged -= is_shared and pair_id in mine.judged
            mine.judged.discard(pair_id)
            mine.returned[pair_id] = undone
        else:
            mine.shared_judged += is_shared and pair_id not in mine.judged
            mine.judged.add(pair_id)
            mine.returned.pop(pair_id, None)
            repeat = self._repeat_of.get(pair_id)
            if repeat and repeat not in mine.awaited:
                mine.awaited.add(repeat)
                mine.repeats.append((len(mine.judged), repeat))
        if place is None or is_shared:
            return
        if undone:
            self._hold_for(place, rater, datetime.datetime.fromisoformat(undone) + LEASE)
        elif self._leased.get(place, ("",))[0] == rater:
            self._release(place, rater)
        if len(self._votes.raters(pair_id)) >= self._wanted[place]:
            self._is_free.discard(place)

    def _hold_for(self, place: int, rater: str, until: datetime.datetime) -> None:
        known = self._leased.get(place)
        if place not in self._wanted or rater in self._votes.raters(self._main[place]) or (known and known[1] > until):
            return
        if known:
            self._rater(known[0]).leases.pop(place, None)
        self._leased[place] = (rater, until)
        self._rater(rater).leases[place] = until
        self._is_free.discard(place)

    def _release(self, place: int, rater: str) -> None:
        del self._leased[place]
        self._rater(rater).leases.pop(place, None)
        self._offer(place)

    def _offer(self, place: int) -> None:
        """Put a single pair back among the free ones, if anybody's vote on it is still wanted."""
        wanted = self._wanted[place] - len(self._votes.raters(self._main[place]))
        if wanted > 0 and place not in self._is_free and place not in self._leased:
            self._is_free.add(place)
            heapq.heappush(self._free, place)


def open_handout(lab: Lab, campaign: str) -> tuple[Handout, VoteLog, ActLog]:
    """A campaign with its logs, ready to hand out. InputError when there is none of that name."""
    record, place = read_record(lab, campaign), folder(lab, campaign)
    acts = ActLog(place)
    votes = VoteLog(place, acts)
    with filling():
        return Handout(record, MainPairs(place, record.pairs), read_extra(place), votes, acts), votes, acts


def _shared(record: CampaignRecord, pair_ids: Sequence[str]) -> set[str]:
    """The pairs that every rater sees: as many as the overlap says, drawn from the seed."""
    count = round(record.overlap * len(pair_ids))
    if count in (0, len(pair_ids)):
        return set(pair_ids[:count])
    seed = f"{record.seed}/{record.campaign}/shared/".encode()
    keys = {pair_id: hashlib.sha256(seed + pair_id.encode()).digest() for pair_id in pair_ids}
    if count < len(pair_ids) / FEW:
        return set(heapq.nsmallest(count, pair_ids, key=keys.__getitem__))
    return set(sorted(pair_ids, key=keys.__getitem__)[:count])


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def _text(at: datetime.datetime) -> str:
    return at.isoformat(timespec="milliseconds")
