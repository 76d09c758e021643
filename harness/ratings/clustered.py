"""Weighted means whose errors go both ways: over prompts and over raters. Pure.

The variance is that of clusters of prompts, plus that of raters, less that of (cluster, rater) cells, which both hold
(Cameron, Gelbach and Miller 2011), each with the CR2 correction for a weighted mean; it is never taken to be less than
one of the two alone. Student's t with the smaller of the two degrees of freedom (Bell and McCaffrey 2002), so few
raters give wide intervals: they are meant to hold for other raters too.
"""

from __future__ import annotations

import math

import numpy as np

from harness.stats import Interval, wilson
from harness.stats.intervals import few, uncommon
from harness.stats.numbers import CONFIDENCE, Floats, Integers, t_quantile

ONE_RATER = "one rater: the interval says nothing of others"


def weighted_mean(
    values: Floats, weights: Floats, cluster: Integers, rater: Integers, confidence: float = CONFIDENCE
) -> Interval:
    """Σwx / Σw of shares (0 to 1), weights above 0. Where few clusters differ it also covers Wilson's interval, of as
    many independent votes as the clusters' weights are worth (Kish). One rater: clusters alone, and the note says so.
    """
    groups = len(np.unique(cluster))
    mean = float(np.average(values, weights=weights)) if len(values) else None
    found = Interval(
        estimate=mean,
        confidence=confidence,
        items=len(values),
        clusters=groups,
        discordant=int(uncommon(values).sum()),
        method="none",
    )
    if mean is None or groups < 2:
        return found.model_copy(update={"note": "no votes" if mean is None else "one cluster of prompts"})
    residuals = weights / weights.sum() * (values - mean)
    error, freedom = two_way(residuals, weights, cluster, rater)
    reach = error * t_quantile(freedom, confidence)
    low, high, method = mean - reach, mean + reach, "two-way cr2"
    dense = np.unique(cluster, return_inverse=True)[1]
    if few(uncommon(values), dense):
        sizes = np.bincount(dense, weights=weights)
        worth = float(sizes.sum() ** 2 / (sizes**2).sum())
        lower, upper = wilson(mean * worth, worth, confidence)
        low, high, method = min(low, lower), max(high, upper), "two-way cr2+bound"
    update = {
        "low": max(low, 0.0),
        "high": min(high, 1.0),
        "standard_error": error,
        "degrees_of_freedom": freedom,
        "method": method,
        "note": ONE_RATER if len(np.unique(rater)) < 2 else "",
    }
    return found.model_copy(update=update)


def two_way(influence: Floats, weights: Floats, cluster: Integers, rater: Integers) -> tuple[float, float]:
    """(standard error, degrees of freedom) of a sum of influences, clusters of prompts crossed with raters."""
    by_cluster, freedom = one_way(influence, weights, cluster)
    if len(np.unique(rater)) < 2:
        return math.sqrt(by_cluster), freedom
    by_rater, of_raters = one_way(influence, weights, rater)
    cells = np.unique(cluster.astype(np.int64) * (int(rater.max()) + 1) + rater, return_inverse=True)[1]
    both = by_cluster + by_rater - one_way(influence, weights, cells)[0]
    return math.sqrt(max(both, by_cluster, by_rater)), min(freedom, of_raters)


def one_way(influence: Floats, weights: Floats, index: Integers) -> tuple[float, float]:
    """(variance, degrees of freedom) for one way of clustering. Two clusters or more.

    With shares h = W_g/W of the weight and q = Σw² of a cluster, its sum of residuals has the variance q − 2hq + h²Σq
    under independent errors, which the estimate is corrected by. Equal weights: harness.stats.intervals.cr2.
    """
    dense = np.unique(index, return_inverse=True)[1]
    sums = np.bincount(dense, weights=influence)
    h = np.bincount(dense, weights=weights) / weights.sum()
    q = np.bincount(dense, weights=weights**2)
    slack = np.maximum(1 - 2 * h + h**2 * q.sum() / q, 1e-12)
    variance = float((sums**2 / slack).sum())
    # Satterthwaite: (trace)² over the squared norm of the corrected sums' covariance, which is diagonal plus rank two.
    u, v, total = q / np.sqrt(slack), h / np.sqrt(slack), q.sum()
    shared = -2 * u * v + total * v**2
    norm = 2 * (u @ u) * (v @ v) + 2 * (u @ v) ** 2 + total**2 * (v @ v) ** 2 - 4 * total * (u @ v) * (v @ v)
    diagonal = q / slack + shared
    freedom = float(diagonal.sum() ** 2 / ((diagonal**2).sum() + norm - (shared**2).sum()))
    return variance, freedom
