"""One line per rater, and which lines call for a talk. A flag is a reason to look, never a verdict. Pure.

Each flag is a test against the other raters together (Fisher's exact one), or of a share against a half (binomial). All
tests of all raters are one family, held at `level` by Holm (1979): under honest raters who are alike, the chance that
anybody at all is flagged is at most that. Raters who differ honestly are flagged if they differ enough.
"""

from __future__ import annotations

import math

import numpy as np

from harness.core.records import Record
from harness.ratings.ballots import SKIP, A, B, Ballots, Bools, Checks
from harness.ratings.wins import decisive, took_left
from harness.stats import wilson
from harness.stats.numbers import Floats, Integers

LEVEL = 0.05
TESTS = {
    "gold": "gold accuracy below the others' (Fisher, one-sided)",
    "consistency": "agrees with itself on swapped repeats less than the others do (Fisher, one-sided)",
    "majority": "agrees with the others' majority less than they do (Fisher, one-sided)",
    "speed": "most votes are faster than anybody reads (sign test)",
    "side": "prefers a side unlike the others (Fisher, two-sided)",
}


class Share(Record):
    """`right` of `items`, with Wilson's interval. All None but `items` where there are none."""

    items: int
    share: float | None = None
    low: float | None = None
    high: float | None = None


class Flag(Record):
    """`p` is Holm's, corrected for every test of every rater in the table; it is below the board's level."""

    test: str
    said: str
    p: float


class RaterRow(Record):
    """`votes`: on main pairs, skips aside; `median_s` None where no times are known.

    `consistency`: the same view of a pair when it came again, sides swapped; `majority`: with the majority of the
    others, on pairs where they have one.
    """

    rater: str
    votes: int
    skips: int
    median_s: float | None
    faster_than_reading: Share
    gold: Share
    consistency: Share
    majority: Share
    left: Share
    flags: list[Flag]


def rater_table(ballots: Ballots, level: float = LEVEL) -> list[RaterRow]:
    """Rows in the order of `ballots.raters`."""
    number = len(ballots.raters)
    cast = ballots.cast
    judged = cast.view != SKIP
    timed = judged & np.isfinite(cast.seconds)
    sided = decisive(ballots)
    agrees, has_majority = _with_majority(ballots)
    counts = {
        "gold": _by_rater(ballots.gold, number),
        "consistency": _by_rater(ballots.repeats, number),
        "majority": _count(cast.rater, agrees, has_majority, number),
        "speed": _count(cast.rater, cast.fast, timed, number),
        "side": _count(cast.rater, took_left(ballots), sided, number),
    }
    flags = _flags({name: _p_values(name, *found) for name, found in counts.items()}, level)
    votes = np.bincount(cast.rater[judged], minlength=number)
    skips = np.bincount(cast.rater[~judged], minlength=number)

    def share(name: str, row: int) -> Share:
        return share_of(int(counts[name][0][row]), int(counts[name][1][row]))

    return [
        RaterRow(
            rater=rater,
            votes=int(votes[row]),
            skips=int(skips[row]),
            median_s=_median(cast.seconds[timed & (cast.rater == row)]),
            faster_than_reading=share("speed", row),
            gold=share("gold", row),
            consistency=share("consistency", row),
            majority=share("majority", row),
            left=share("side", row),
            flags=flags.get(row, []),
        )
        for row, rater in enumerate(ballots.raters)
    ]


def share_of(right: int, items: int) -> Share:
    if not items:
        return Share(items=0)
    low, high = wilson(right, items)
    return Share(items=items, share=right / items, low=low, high=high)


def _median(seconds: Floats) -> float | None:
    return float(np.median(seconds)) if len(seconds) else None


def _by_rater(checks: Checks, number: int) -> tuple[Integers, Integers]:
    return _count(checks.rater, checks.right, np.ones(len(checks.rater), dtype=bool), number)


def _count(rater: Integers, right: Bools, counted: Bools, number: int) -> tuple[Integers, Integers]:
    """(how many right, of how many) of each rater."""
    rights = np.bincount(rater[counted & right], minlength=number)
    return rights.astype(np.intp), np.bincount(rater[counted], minlength=number).astype(np.intp)


def _with_majority(ballots: Ballots) -> tuple[Bools, Bools]:
    """Of each vote: it agrees with the majority of the others on the pair; it is decisive and there is a majority."""
    cast = ballots.cast
    sided = decisive(ballots)
    for_a = np.bincount(cast.pair[cast.view == A], minlength=len(ballots.shown.ids))
    for_b = np.bincount(cast.pair[cast.view == B], minlength=len(ballots.shown.ids))
    lead = (for_a - for_b)[cast.pair] - np.where(cast.view == A, 1, np.where(cast.view == B, -1, 0))
    return np.asarray((lead > 0) == (cast.view == A)), np.asarray(sided & (lead != 0))


def _p_values(name: str, right: Integers, items: Integers) -> Floats:
    """A p value for each rater, nan where there is nothing to test."""
    from scipy.stats import binom, hypergeom

    others, of_others = right.sum() - right, items.sum() - items
    testable = items > 0
    if name == "speed":
        found = binom.sf(right - 1, items, 0.5)
    else:
        testable &= of_others > 0
        low = hypergeom.cdf(right, items + of_others, right + others, items)
        high = hypergeom.sf(right - 1, items + of_others, right + others, items)
        found = np.minimum(2 * np.minimum(low, high), 1) if name == "side" else low
    return np.where(testable, found, math.nan)


def _flags(p_values: dict[str, Floats], level: float) -> dict[int, list[Flag]]:
    """Rater's place -> flags, of all tests together by Holm."""
    from statsmodels.stats.multitest import multipletests

    entries = [(name, row, p) for name, found in p_values.items() for row, p in enumerate(found) if math.isfinite(p)]
    if not entries:
        return {}
    corrected = multipletests([p for _, _, p in entries], alpha=level, method="holm")[1]
    flags: dict[int, list[Flag]] = {}
    for (name, row, _), p in zip(entries, corrected, strict=True):
        if p <= level:
            flags.setdefault(row, []).append(Flag(test=name, said=TESTS[name], p=float(p)))
    return flags
