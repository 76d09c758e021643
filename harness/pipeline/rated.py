"""A campaign's votes, kept in memory and read on as they come, over pairs whose texts stay on disk.

Opening one of 100,000 pairs reads its outline; looking again costs what was added since, and nothing where nothing was.
"""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from harness import campaign as campaigns
from harness import ratings
from harness.campaign.pairs import draw
from harness.core.errors import InputError
from harness.core.heap import filling
from harness.core.journal import segments
from harness.core.paths import Lab
from harness.core.rating import AnyAct, CampaignRecord, Vote

KEPT = 4  # campaigns that a server keeps: each has its votes in memory


@dataclass(frozen=True)
class Counted:
    """Votes as columns, and what they are worth, which is worked out once."""

    ballots: ratings.Ballots
    seed: int

    @functools.cached_property
    def board(self) -> ratings.Board:
        return ratings.board_of(self.ballots, self.seed)


@dataclass(frozen=True)
class Look:
    """What there was at one time: votes that count and acts, earliest first. `blind`: the campaign is open, and in
    `counted` subjects have the names of `blind_names`."""

    votes: list[Vote]
    acts: list[AnyAct]
    blind: bool
    counted: Counted


class Rated:
    """One campaign that compares. Thread-safe. InputError where there is none of that name or people write there,
    LabError for damaged files."""

    def __init__(self, lab: Lab, campaign: str) -> None:
        self.record = campaigns.read_record(lab, campaign)
        if self.record.kind == "write":
            raise InputError(f"campaign {campaign!r} is for writing: nobody compares answers there")
        self._place = campaigns.folder(lab, campaign)
        self._segments: Mapping[Path, tuple[int, int]] = {}
        with filling():
            self.main = campaigns.MainPairs(self._place, self.record.pairs)
            self._outline = self.main.outline
            self._acts = campaigns.ActLog(self._place)
            self._votes = campaigns.VoteLog(self._place, self._acts)
        self._texts = ratings.Texts(self.main.some)
        self._look: Look | None = None
        self._seen: tuple[int, int, bool] = (-1, -1, False)  # votes, extra pairs, whether blind
        self._lock = threading.Lock()

    def look(self) -> Look:
        """All of it as of now."""
        with self._lock, filling():
            self._segments = {**_which(self._place), **self._segments}
            acts, extra = self._acts.acts(), {pair.pair_id: pair for pair in campaigns.read_extra(self._place)}
            blind = not campaigns.is_closed(acts)
            seen = (self._votes.touched(0)[1], len(extra), blind)
            if self._look is None or seen != self._seen:
                votes = list(self._votes.votes().values())
                names = blind_names(self.record) if blind else None
                ballots = ratings.tabulate_outline(self._outline, self._texts, extra, votes, names)
                self._look, self._seen = Look(votes, acts, blind, Counted(ballots, self.record.seed)), seen
            elif len(acts) != len(self._look.acts):  # leases come all the time, and change nothing of this
                self._look = dataclasses.replace(self._look, acts=acts)
            return self._look

    def is_current(self, record: CampaignRecord) -> bool:
        """Whether it is still this campaign, and no journal was rewritten, without somebody's name, since it was
        read."""
        now = _which(self._place)
        return self.record == record and all(now.get(path) == which for path, which in self._segments.items())


class Kept:
    """The campaigns that were looked at last, to look at again. Thread-safe."""

    def __init__(self, lab: Lab) -> None:
        self._lab = lab
        self._known: OrderedDict[str, Rated] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, campaign: str) -> Rated:
        """Raises as `Rated` does."""
        record = campaigns.read_record(self._lab, campaign)
        with self._lock:
            found = self._known.pop(campaign, None)
            if found is None or not found.is_current(record):
                found = Rated(self._lab, campaign)
            self._known[campaign] = found
            if len(self._known) > KEPT:
                self._known.popitem(last=False)
            return found


def blind_names(record: CampaignRecord) -> dict[str, str]:
    """Subject -> what it is called while the campaign is open: 'subject 1', … in an order drawn from its seed."""
    labels = {subject.label for subject in record.subjects}  # two samples of one subject are one
    order = sorted(labels, key=lambda label: draw(record.seed, record.campaign, "names", label))
    return {label: f"subject {number}" for number, label in enumerate(order, 1)}


def _which(place: Path) -> Mapping[Path, tuple[int, int]]:
    """Which file each journal segment is: another one after it was rewritten."""
    paths = [*segments(place, campaigns.VOTES), *segments(place, campaigns.ACTS)]
    stats = [(path, path.stat()) for path in paths]
    return {path: (stat.st_dev, stat.st_ino) for path, stat in stats}
