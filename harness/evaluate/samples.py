"""One score per item from the scores of its samples."""

from __future__ import annotations

import math

from harness.core.records import Score
from harness.evalset.metric import FULL_MARKS, Metric

CLOSE = 1e-9


def combine(metric: Metric | None, scores: list[Score]) -> Score:
    """The mean, or pass@k where the metric asks for it; None if any sample could not be scored.

    Corpus statistics add up: k samples of an item are k segments of the corpus.
    """
    if len(scores) == 1 and not (metric and metric.k):
        return scores[0]
    failed = [score for score in scores if score.value is None]
    if failed:
        return Score(value=None, explanation=f"{len(failed)} of {len(scores)} samples: {failed[0].explanation}")
    values = [score.value for score in scores if score.value is not None]
    parts = [score.parts for score in scores if score.parts is not None]
    if metric and metric.k:
        right = sum(abs(value - FULL_MARKS[metric.unit]) <= CLOSE for value in values)
        value = FULL_MARKS[metric.unit] * pass_at_k(len(values), right, metric.k)
        return Score(value=value, explanation=f"{right} of {len(values)} samples right")
    return Score(
        value=math.fsum(values) / len(values),
        explanation=f"samples: {', '.join(f'{value:.4g}' for value in values)}",
        parts=[math.fsum(column) for column in zip(*parts, strict=True)] if len(parts) == len(scores) else None,
    )


def pass_at_k(samples: int, right: int, k: int) -> float:
    """Unbiased chance that at least one of `k` samples is right, from `samples` drawn (Chen et al. 2021)."""
    return 1.0 - math.comb(samples - right, k) / math.comb(samples, k)
