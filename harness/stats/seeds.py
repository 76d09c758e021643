"""Is the recipe better, or only this adapter? Training again with another seed gives another adapter.

An adapter's interval says what new items would show of that one adapter. A recipe's must also say what another seed
would give. Items and seeds are crossed and both random: the variance of the mean over both is that of the items (CR2,
of each item's mean over the seeds) plus s²/S, where s² is the variance of the seeds' own differences. The second part
holds some noise of the items a second time, so the interval errs on the wide side. s² from three seeds is poor, so it
is pooled over the recipes of the grid; degrees of freedom are Satterthwaite's (1946) for the two parts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from harness.stats.intervals import Interval, cr2
from harness.stats.numbers import CONFIDENCE, Floats, Integers, t_quantile

LEAST_SEEDS = 3


def pooled_variance(by_recipe: Sequence[Sequence[float]]) -> tuple[float, int]:
    """(s², degrees of freedom) of the seeds' differences within recipes; each inner sequence is one recipe's."""
    freedom = sum(len(seeds) - 1 for seeds in by_recipe if seeds)
    squares = sum(float(((np.asarray(seeds) - np.mean(seeds)) ** 2).sum()) for seeds in by_recipe if seeds)
    return (squares / freedom if freedom else 0.0), freedom


def recipe_difference(
    values: Floats, index: Integers, variance: float, freedom: int, confidence: float = CONFIDENCE
) -> Interval:
    """The mean over seeds and items. `values`: seeds × items, positive = better; `index`: the items' clusters.

    `variance` and `freedom` as `pooled_variance` gives them. Fewer than three seeds or two clusters: no interval, and
    the note says why.
    """
    seeds, items = values.shape
    groups = int(index.max()) + 1 if items else 0
    per_item = values.mean(axis=0) if items else np.zeros(0)
    found = Interval(
        estimate=float(per_item.mean()) if items else None,
        confidence=confidence,
        items=items,
        clusters=groups,
        discordant=int((values != 0).any(axis=0).sum()),
        method="none",
    )
    if seeds < LEAST_SEEDS or groups < 2 or found.estimate is None:
        what = f"{seeds} of {LEAST_SEEDS} seeds" if seeds < LEAST_SEEDS else "fewer than two clusters"
        return found.model_copy(update={"note": f"{what}: no claim about the recipe"})
    item_error, item_freedom = cr2(per_item, index, np.bincount(index).astype(np.float64))
    parts, freedoms = np.array([item_error**2, variance / seeds]), np.array([item_freedom, max(freedom, 1)])
    total = float(parts.sum())
    if total == 0:
        return found.model_copy(update={"note": "no seed and no item differs: nothing bounds what was not seen"})
    overall = total**2 / float((parts**2 / freedoms).sum())
    reach = math.sqrt(total) * t_quantile(overall, confidence)
    update = {
        "low": found.estimate - reach,
        "high": found.estimate + reach,
        "standard_error": math.sqrt(total),
        "degrees_of_freedom": overall,
        "method": "items+seeds",
    }
    return found.model_copy(update=update)
