"""Everything a lead sees of a campaign's votes, as one record. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import numpy as np

from harness.core.rating import Pair, Vote
from harness.core.records import Record
from harness.ratings.alpha import Alpha, krippendorff
from harness.ratings.ballots import SKIP, VIEWS, Ballots, Bools, tabulate
from harness.ratings.noise import Noise, fit_noise
from harness.ratings.raters import LEVEL, RaterRow, rater_table
from harness.ratings.strengths import Strengths, strengths
from harness.ratings.wins import Wins, left_rate, longer_rate, win_rates
from harness.stats import Interval


class Coverage(Record):
    """Main pairs of an arm by how many people judged them; `skipped_only`: without a vote, though somebody saw them."""

    arm: Literal["uniform", "informative", "all"]
    pairs: int
    none: int
    one: int
    more: int
    skipped_only: int


class Disagreement(Record):
    """A pair on which no view has more than half of the votes. `views`: how many people had each."""

    pair_id: str
    views: dict[str, int]


class Board(Record):
    """What the votes are worth. `second_votes`: of a rater on a pair that had one already; not counted."""

    votes: int
    skips: int
    second_votes: int
    coverage: list[Coverage]
    alpha: Alpha
    left: Interval
    longer: Interval
    wins: list[Wins]
    strengths: Strengths
    noise: Noise
    raters: list[RaterRow]
    level: float
    disagreements: list[Disagreement]


def board(pairs: Sequence[Pair], votes: Iterable[Vote], names: Mapping[str, str] | None = None, seed: int = 0) -> Board:
    """The board of a campaign: its pairs of every role, and the votes that count (not undone).

    `names`: subject -> what to call it, for boards of campaigns that are still blind. `seed`: of the
    bootstraps. Raises InputError as `tabulate` does.
    """
    return board_of(tabulate(pairs, votes, names), seed)


def board_of(ballots: Ballots, seed: int = 0) -> Board:
    """The same from columns."""
    judged = ballots.cast.view != SKIP
    return Board(
        votes=int(judged.sum()),
        skips=int((~judged).sum()),
        second_votes=ballots.spare,
        coverage=coverage(ballots),
        alpha=krippendorff(ballots, seed),
        left=left_rate(ballots),
        longer=longer_rate(ballots),
        wins=win_rates(ballots),
        strengths=strengths(ballots),
        noise=fit_noise(ballots, seed),
        raters=rater_table(ballots),
        level=LEVEL,
        disagreements=disagreements(ballots),
    )


def coverage(ballots: Ballots) -> list[Coverage]:
    """Per arm that has pairs, and of all."""
    shown, cast = ballots.shown, ballots.cast
    judged = cast.view != SKIP
    votes = np.bincount(cast.pair[judged], minlength=len(shown.ids))
    seen = np.bincount(cast.pair, minlength=len(shown.ids)) > 0

    def of(arm: Literal["uniform", "informative", "all"], rows: Bools) -> Coverage:
        found = votes[rows]
        return Coverage(
            arm=arm,
            pairs=len(found),
            none=int((found == 0).sum()),
            one=int((found == 1).sum()),
            more=int((found > 1).sum()),
            skipped_only=int((seen[rows] & (found == 0)).sum()),
        )

    everything = np.ones(len(shown.ids), dtype=bool)
    arms = [of("uniform", shown.uniform), of("informative", ~shown.uniform), of("all", everything)]
    return [one for one in arms if one.pairs or one.arm == "all"]


def disagreements(ballots: Ballots) -> list[Disagreement]:
    """Pairs that two people or more judged and on which none of the views has a majority, most votes first."""
    cast = ballots.cast
    counts = np.zeros((len(ballots.shown.ids), len(VIEWS)), dtype=np.intp)
    np.add.at(counts, (cast.pair, cast.view), 1)
    judged = counts[:, :SKIP]
    votes = judged.sum(axis=1)
    rows = np.flatnonzero((votes >= 2) & (2 * judged.max(axis=1) <= votes))
    order = rows[np.argsort(-votes[rows], kind="stable")]
    return [
        Disagreement(
            pair_id=ballots.shown.ids[row],
            views={name: int(count) for name, count in zip(VIEWS, judged[row], strict=False) if count},
        )
        for row in order
    ]
