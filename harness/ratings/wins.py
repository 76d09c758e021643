"""Win rates over the pool that pairs were drawn from, and what moves votes beside content: side and length. Pure."""

from __future__ import annotations

import numpy as np

from harness.core.records import Record
from harness.ratings.ballots import SKIP, A, B, Ballots, Bools
from harness.ratings.clustered import weighted_mean
from harness.stats import Interval
from harness.stats.numbers import Floats, Integers

WORTH = np.array([1.0, 0.0, 0.5, 0.5])  # of a view, to answer a


class Wins(Record):
    """How often `subject` was preferred to `against`; a tie and both bad count half. Every pair weighs as much as it
    stands for, however many people judged it.

    `uniform`: pairs of the uniform arm alone, a simple random sample. `weighted`: all pairs, each by one over its
    inclusion probability (Hájek's estimate). Both are of the same pool; `weighted` uses more votes. Both intervals are
    meant to hold for other raters too, so few raters make them wide; `these_raters` is `weighted` for these alone.
    """

    subject: str
    against: str
    pairs: int
    votes: int
    uniform: Interval
    weighted: Interval
    these_raters: Interval


def win_rates(ballots: Ballots) -> list[Wins]:
    """One entry for every two subjects that were compared and judged, names in alphabetical order."""
    shown, cast = ballots.shown, ballots.cast
    judged = cast.view != SKIP
    low, high = np.minimum(shown.a, shown.b), np.maximum(shown.a, shown.b)
    found = []
    for first, second in np.unique(np.column_stack([low, high]), axis=0):
        rows = judged & ((low == first) & (high == second))[cast.pair]
        if rows.any():
            found.append(_wins(ballots, int(first), int(second), rows))
    return found


def _wins(ballots: Ballots, first: int, second: int, rows: Bools) -> Wins:
    shown, cast = ballots.shown, ballots.cast
    worth = WORTH[cast.view[rows]]
    pair = cast.pair[rows]
    values = np.where(shown.a[pair] == first, worth, 1 - worth)
    times = np.bincount(pair, minlength=len(shown.ids))
    weights = 1 / times[pair]
    uniform = shown.uniform[pair]
    subject, against = names_of(shown.subjects[first], shown.subjects[second])

    def over(kept: Bools, each: Floats, rater: Integers) -> Interval:
        return weighted_mean(values[kept], each[kept], shown.cluster[pair][kept], rater[kept])

    every = np.ones(len(pair), dtype=bool)
    rater, nobody = cast.rater[rows], np.zeros(len(pair), dtype=np.intp)
    by_inclusion = weights / shown.inclusion[pair]

    return Wins(
        subject=subject,
        against=against,
        pairs=int((times > 0).sum()),
        votes=len(pair),
        uniform=over(uniform, weights, rater),
        weighted=over(every, by_inclusion, rater),
        these_raters=over(every, by_inclusion, nobody).model_copy(update={"note": ""}),
    )


def names_of(first: str, second: str) -> tuple[str, str]:
    """What to call both sides of a comparison. Two samples of one subject, or its answers under two decodings, are told
    apart by their order, which is that of the command that made the campaign."""
    return (first, second) if first != second else (f"{first}, first answers", f"{second}, second answers")


def decisive(ballots: Ballots) -> Bools:
    """Which votes took a side."""
    return np.asarray((ballots.cast.view == A) | (ballots.cast.view == B))


def took_left(ballots: Ballots) -> Bools:
    """Of each vote, whether it is for the answer on the left; meaningless where it is not decisive."""
    return np.asarray((ballots.cast.view == A) == ballots.cast.left_is_a)


def left_rate(ballots: Ballots) -> Interval:
    """Share of decisive votes for the left answer. Sides are drawn for each assignment, so it is 0.5 without a bias."""
    rows = decisive(ballots)
    return _plain_mean(ballots, rows, took_left(ballots)[rows].astype(np.float64))


def longer_rate(ballots: Ballots) -> Interval:
    """Share of decisive votes for the answer with more characters; pairs of equal length are left out.

    Not a bias by itself: the longer answer may be the better one. `strengths` tells the two apart, as far as a model
    can.
    """
    longer = ballots.shown.longer[ballots.cast.pair]
    rows = decisive(ballots) & (longer != 0)
    return _plain_mean(ballots, rows, ((ballots.cast.view == A) == (longer > 0))[rows].astype(np.float64))


def _plain_mean(ballots: Ballots, rows: Bools, values: Floats) -> Interval:
    cluster, rater = ballots.shown.cluster[ballots.cast.pair[rows]], ballots.cast.rater[rows]
    return weighted_mean(values, np.ones(len(values)), cluster, rater)
