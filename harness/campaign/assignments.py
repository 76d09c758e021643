"""One pair as one rater sees it: which side is which, and what its votes are called. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from harness.campaign.pairs import draw
from harness.core.rating import CampaignRecord, Choice, Pair, Vote

Side = Literal["a", "b"]


@dataclasses.dataclass(frozen=True)
class Assignment:
    """One pair as one rater sees it. `take` counts how often this rater undid a vote on it."""

    campaign: str
    rater: str
    pair: Pair
    left: Side
    take: int = 0

    @property
    def name(self) -> str:
        return f"{self.campaign}/{self.pair.pair_id}/{self.rater}" + (f"/{self.take}" if self.take else "")

    @property
    def answers(self) -> tuple[str, str]:
        """The two texts, left then right."""
        texts = (self.pair.a.text, self.pair.b.text)
        return texts if self.left == "a" else (texts[1], texts[0])

    def vote(self, choice: Choice, shown_at: str, at: str, **more: Any) -> Vote:
        """The rater's vote on it; times are UTC, ISO 8601, and `more` are further fields of a Vote."""
        return Vote(
            assignment=self.name,
            campaign=self.campaign,
            pair_id=self.pair.pair_id,
            rater=self.rater,
            left=self.left,
            take=self.take,
            choice=choice,
            shown_at=shown_at,
            at=at,
            **more,
        )


def assign(record: CampaignRecord, pair: Pair, rater: str, take: int = 0) -> Assignment:
    """A pair for one rater. A repeat has the sides that the pair which it repeats did not have.

    Sides depend on (seed, campaign, pair, rater) alone: a reload shows the same screen, and so does a later take.
    """
    first = pair.repeat_of if pair.role == "repeat" and pair.repeat_of else pair.pair_id
    is_a = draw(record.seed, record.campaign, first, rater)[0] % 2 == 0
    return Assignment(record.campaign, rater, pair, "a" if is_a == (first == pair.pair_id) else "b", take)


class Assignments:
    """Every main pair for every rater, in the campaign's order: for scripts. Handout says who gets which pair next."""

    def __init__(self, record: CampaignRecord, pairs: Sequence[Pair]) -> None:
        self._record = record
        self._pairs = {pair.pair_id: pair for pair in pairs}
        self._main = [pair.pair_id for pair in pairs if pair.role == "main"]

    @property
    def total(self) -> int:
        """How many main pairs there are."""
        return len(self._main)

    def of(self, pair_id: str, rater: str, take: int = 0) -> Assignment | None:
        """This rater's assignment for a pair, or None for a pair that is not in the campaign."""
        pair = self._pairs.get(pair_id)
        return None if pair is None else assign(self._record, pair, rater, take)

    def next(self, rater: str, voted: Iterable[str]) -> Assignment | None:
        """The first main pair that is not among `voted` (pair ids); None when all are."""
        done = set(voted)
        left = next((pair_id for pair_id in self._main if pair_id not in done), None)
        return None if left is None else self.of(left, rater)
