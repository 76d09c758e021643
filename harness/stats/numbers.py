"""Quantiles, checks of input, and numbers as people read them: what the rest of the package stands on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from harness.core.errors import EvaluationError

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.intp]

ALPHA = 0.025  # the one-sided error of one row: design, "one-sided 97.5 % lower bound"
CONFIDENCE = 1 - 2 * ALPHA  # two-sided; each bound alone is a one-sided 97.5 % bound
UNIT_RANGE = {"share": (0.0, 1.0), "points": (0.0, 100.0)}


def figures(*values: float, sign: bool = False) -> list[str]:
    """The numbers with one count of decimals: three significant digits for the largest, four decimals at most."""
    largest = max((abs(value) for value in values), default=0.0)
    decimals = 2 - math.floor(math.log10(largest)) if largest > 0 else 0
    decimals = min(max(decimals, 0), 4)
    # Adding 0.0 turns a rounded -0.0 into 0.0.
    return [f"{round(value, decimals) + 0.0:{'+' if sign else ''}.{decimals}f}" for value in values]


def z_quantile(confidence: float) -> float:
    """Half the width of a two-sided normal interval, in standard errors."""
    return NormalDist().inv_cdf((1 + confidence) / 2)


def t_quantile(freedom: float, confidence: float) -> float:
    """The same with Student's t; `freedom` may be a fraction."""
    from scipy.special import stdtrit  # 0.5 s to import: only when an interval is really asked for

    return float(stdtrit(freedom, (1 + confidence) / 2))


def unit_range(values: Floats, unit: str) -> tuple[float, float]:
    """Ends of the unit's range, stretched where values lie outside it; (0, 0) if nothing is known."""
    low, high = UNIT_RANGE.get(unit, (math.inf, -math.inf))
    if not len(values):
        return 0.0, 0.0
    return min(low, float(values.min())), max(high, float(values.max()))


def cluster_index(clusters: Sequence[str]) -> Integers:
    """Clusters as 0, 1, … in the order of their names."""
    return np.unique(np.asarray(clusters, dtype=object).astype(str), return_inverse=True)[1].astype(np.intp)


def all_single(index: Integers) -> bool:
    return len(index) > 0 and int(index.max()) + 1 == len(index)


def finite(values: Sequence[float]) -> Floats:
    """As an array; EvaluationError for the first value that is not a finite number."""
    array = np.asarray(values, dtype=np.float64)
    if not np.isfinite(array).all():
        raise EvaluationError(
            f"value {int(np.argmin(np.isfinite(array))) + 1} of {len(array)} is not a finite number",
            "an item that cannot be scored has no value; leave it out and count it",
        )
    return array


def in_step(*lengths: int) -> None:
    """EvaluationError unless all are the same."""
    if len(set(lengths)) > 1:
        raise EvaluationError(f"values and clusters do not pair up: {' and '.join(map(str, lengths))} of them")
