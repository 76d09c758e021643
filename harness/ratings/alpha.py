"""Krippendorff's alpha over a, b, tie and both bad: how far raters agree beyond chance. Pure.

The value is evalica's. Its bootstrap draws disagreements one by one (Hayes's KALPHA), as if votes on one prompt were
independent, so the interval here draws clusters of prompts: each draw needs only sums per cluster. It holds for these
raters; others may agree more or less. nltk's `agreement` gives the same values in plain Python, without intervals.
"""

from __future__ import annotations

import math

import numpy as np

from harness.core.records import Record
from harness.ratings.ballots import SKIP, Ballots
from harness.stats.numbers import CONFIDENCE, Floats, Integers, t_quantile

DRAWS = 1_000
LEAST_CLUSTERS = 10  # with fewer, drawing them again says little about others
CHUNK = 2_000_000  # multinomial counts held at a time
MANY = 20_000  # clusters from which on those that are alike are drawn together, in a second instead of a minute


class Alpha(Record):
    """1: always agree; 0: as by chance. None where nothing can be said; `note` says why."""

    alpha: float | None
    low: float | None = None
    high: float | None = None
    units: int
    votes: int
    note: str = ""


def krippendorff(ballots: Ballots, seed: int = 0, confidence: float = CONFIDENCE) -> Alpha:
    """Alpha over main pairs that two raters or more judged (skips aside)."""
    judged = ballots.cast.view != SKIP
    return alpha_of(ballots.cast.pair[judged], ballots.cast.view[judged], ballots.shown.cluster, seed, confidence)


def alpha_of(
    unit: Integers, value: Integers, cluster: Integers, seed: int = 0, confidence: float = CONFIDENCE
) -> Alpha:
    """The same from columns: a row per vote, one of a rater on a unit; `cluster` is by unit."""
    counts = np.zeros((len(cluster), int(value.max(initial=0)) + 1))
    np.add.at(counts, (unit, value), 1)
    kept = counts.sum(axis=1) >= 2
    units, votes = int(kept.sum()), int(counts[kept].sum())
    if not units:
        return Alpha(alpha=None, units=0, votes=0, note="no pair was judged by two raters")
    if (counts[kept].sum(axis=0) > 0).sum() < 2:
        return Alpha(alpha=None, units=units, votes=votes, note="every vote is the same, so chance is not defined")
    found = float(_library(unit, value, kept))
    dense = np.unique(cluster[kept], return_inverse=True)[1]
    groups = int(dense.max()) + 1
    if groups < LEAST_CLUSTERS:
        note = f"{groups} clusters of prompts; an interval needs {LEAST_CLUSTERS}"
        return Alpha(alpha=found, units=units, votes=votes, note=note)
    low, high = _bootstrap(counts[kept], dense, found, seed, confidence)
    return Alpha(alpha=found, low=low, high=high, units=units, votes=votes)


def _library(unit: Integers, value: Integers, kept: np.ndarray) -> float:
    """Alpha hangs on which values a unit has, not on whose they are: so a row of the library's table is the first vote
    on each unit, the second, …, and no rater. With many raters of few units each that is far less to go through."""
    import evalica
    import pandas

    rows = np.flatnonzero(kept[unit])
    rows = rows[np.argsort(unit[rows], kind="stable")]
    column = (np.cumsum(kept) - 1)[unit[rows]]
    place = np.arange(len(rows)) - np.searchsorted(column, column)
    frame = np.full((int(place.max()) + 1, int(kept.sum())), np.nan)
    frame[place, column] = value[rows]
    return float(evalica.alpha(pandas.DataFrame(frame), "nominal").alpha)


def _bootstrap(counts: Floats, cluster: Integers, found: float, seed: int, confidence: float) -> tuple[float, float]:
    """BCa (Efron 1987) of clusters drawn with replacement; plain percentiles hold the truth in 93 % (simulated).

    Levels are widened as Student's t is wider than the normal, for few clusters (Hesterberg 2015).
    """
    from scipy.special import ndtr, ndtri

    sums, groups = _sums(counts, cluster), int(cluster.max()) + 1
    drawn = _drawn(sums, np.random.default_rng(seed))
    without = _alpha(sums.sum(axis=0) - sums)
    skew = without.mean() - without
    squares = float((skew**2).sum())
    acceleration = float((skew**3).sum()) / (6 * squares**1.5) if squares > 0 else 0.0
    shift = ndtri(np.clip((drawn < found).mean() + (drawn == found).mean() / 2, 1 / DRAWS, 1 - 1 / DRAWS))
    reach = math.sqrt(groups / (groups - 1)) * t_quantile(groups - 1, confidence)
    at = shift + np.array([-reach, reach])
    low, high = np.quantile(drawn, ndtr(shift + at / (1 - acceleration * at)))
    return float(low), float(high)


def _drawn(sums: Floats, rng: np.random.Generator) -> Floats:
    """Alpha of DRAWS draws of as many clusters as there are. Of MANY, how often each kind is drawn, a kind being
    clusters with the same sums: the same distribution, from fewer numbers."""
    groups = len(sums)
    kinds, sizes = np.unique(sums, axis=0, return_counts=True) if groups > MANY else (sums, np.ones(groups))
    chance = sizes / groups
    step = max(1, CHUNK // len(kinds))
    return np.concatenate(
        [
            _alpha(rng.multinomial(groups, chance, size=min(step, DRAWS - done)).astype(np.float64) @ kinds)
            for done in range(0, DRAWS, step)
        ]
    )


def _sums(counts: Floats, cluster: Integers) -> Floats:
    """By cluster: votes of each value, and ordered pairs of unlike votes over each unit's votes less one."""
    size = counts.sum(axis=1)
    apart = (size**2 - (counts**2).sum(axis=1)) / (size - 1)
    sums = np.zeros((int(cluster.max()) + 1, counts.shape[1] + 1))
    np.add.at(sums, cluster, np.column_stack([counts, apart]))
    return sums


def _alpha(sums: Floats) -> Floats:
    """1 − (n − 1)·Σ disagreement / (n² − Σ n_value²) of each row of sums; 1 where only one value is left."""
    values, unlike = sums[..., :-1], sums[..., -1]
    total = values.sum(axis=-1)
    expected = total**2 - (values**2).sum(axis=-1)
    return np.where(expected > 0, 1 - (total - 1) * unlike / np.where(expected > 0, expected, 1), 1.0)
