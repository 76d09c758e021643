"""The gate's promises by simulation, in the quick form of benchmarks/intervals.py; each tolerance is binomial.

A share p of n draws that is truly at most its limit lies below `p + 3·√(p(1−p)/n)` in 99.9 % of all runs.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.intervals import CLUSTERINGS, coverage, grid, naive_grid, overlapping, ships_on_the_line
from harness.stats.looks import BUDGET


def most(limit: float, draws: int) -> float:
    return draws * (limit + 3 * math.sqrt(limit * (1 - limit) / draws))


@pytest.mark.parametrize("sizes", CLUSTERINGS.values(), ids=CLUSTERINGS.keys())
def test_intervals_cover(sizes):
    """1,200 draws: 93 to 97 %, and two standard errors (0.6 points each) on either side."""
    assert 0.917 <= coverage(sizes, 1200, np.random.default_rng(31)) <= 0.983


@pytest.mark.parametrize("guardrail", [False, True], ids=["gain = min_gain", "loss = max_loss"])
def test_what_lies_on_its_line_ships_at_most_one_time_in_forty(guardrail):
    assert ships_on_the_line(800, np.random.default_rng(32), guardrail) <= most(0.025, 800)


@pytest.mark.parametrize("decide", ["chosen", "all"])
def test_twelve_equal_adapters_ship_one_rarely(decide):
    """5 % is the limit; "ship the higher mean" ships on the same data nine times in ten."""
    rng, grids = np.random.default_rng(33), 120
    assert sum(grid(rng, 1, decide) for _ in range(grids)) <= most(0.05, grids)
    assert sum(naive_grid(rng) for _ in range(grids)) >= 0.8 * grids


@pytest.mark.parametrize("kept", [0.9, 0.5])
def test_five_looks_at_sets_that_overlap_keep_the_budget(kept):
    """Each look keeps a share of the last one's items; some item takes part in all five."""
    rng, grids = np.random.default_rng(35), 60
    assert sum(overlapping(rng, kept) for _ in range(grids)) <= most(BUDGET, grids)


def test_five_looks_keep_the_budget():
    rng, grids = np.random.default_rng(34), 100
    assert sum(grid(rng, 5) for _ in range(grids)) <= most(BUDGET, grids)
