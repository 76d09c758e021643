"""A recipe's interval: two parts by hand, and coverage where seeds matter."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.stats import pooled_variance, recipe_difference
from harness.stats.numbers import t_quantile


def test_the_two_parts_by_hand():
    """Items: mean over seeds 1, 2, 3 (error √(1/3)); s² = 4 from 8 degrees of freedom, 4 seeds: 1/3 + 4/4."""
    values = np.tile([1.0, 2.0, 3.0], (4, 1))
    found = recipe_difference(values, np.arange(3), 4.0, 8)
    total = 1 / 3 + 1
    freedom = total**2 / ((1 / 3) ** 2 / 2 + 1 / 8)
    assert (found.estimate, found.method) == (2.0, "items+seeds")
    assert found.standard_error == pytest.approx(math.sqrt(total))
    assert found.degrees_of_freedom == pytest.approx(freedom)
    assert found.high - 2.0 == pytest.approx(math.sqrt(total) * t_quantile(freedom, 0.95))


def test_variance_is_pooled_within_recipes():
    """(1, 3) and (10, 12, 14): squares 2 + 8 over 1 + 2 degrees of freedom."""
    assert pooled_variance([[1, 3], [10, 12, 14], [5]]) == (pytest.approx(10 / 3), 3)
    assert pooled_variance([[5]]) == (0.0, 0)


def test_two_seeds_make_no_claim():
    found = recipe_difference(np.ones((2, 10)), np.arange(10), 1.0, 1)
    assert (found.low, found.note) == (None, "2 of 3 seeds: no claim about the recipe")
    assert found.estimate == 1.0


@pytest.mark.parametrize("seed_effect", [0.0, 0.3])
def test_it_covers_with_three_seeds_pooled_over_four_recipes(seed_effect):
    """600 draws of 40 items. Where seeds matter, the adapters' own intervals hold the recipe's truth far too rarely."""
    rng, index, covered, adapters = np.random.default_rng(5), np.arange(40), 0, 0
    for _ in range(600):
        grid = rng.normal(size=(4, 1, 40)) + rng.normal(size=(4, 3, 40)) * 0.5
        grid += seed_effect * rng.normal(size=(4, 3, 1))
        variance, freedom = pooled_variance(grid.mean(axis=2).tolist())
        found = recipe_difference(grid[0], index, variance, freedom)
        covered += found.low <= 0 <= found.high
        one = grid[0, 0]
        adapters += abs(one.mean()) <= t_quantile(39, 0.95) * one.std(ddof=1) / math.sqrt(40)
    assert 0.93 <= covered / 600 <= 0.99
    assert seed_effect == 0 or adapters / 600 < 0.85
