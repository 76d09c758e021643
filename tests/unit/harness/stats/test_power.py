"""Power: by hand, exactly, and held to what the gate then does."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import multinomial

from benchmarks.intervals import planned, share_at_most
from harness.stats import (
    Sample,
    design_effect,
    flip_spread,
    joint_power,
    paired_difference,
    power_at,
    sample_like,
    smallest_visible,
    tango,
)


def test_design_effect_by_hand():
    """Ten items a cluster, correlation 0.1: 1 + 9·0.1. Unequal sizes 1 and 3: Σn²/Σn = 10/4."""
    assert design_effect([10] * 8, 0.1) == pytest.approx(1.9)
    assert design_effect([1, 3], 0.5) == pytest.approx(1 + 1.5 * 0.5)
    assert design_effect([1, 1, 1], 0.9) == 1


def test_binary_power_is_the_sum_over_every_outcome():
    """12 items, 40 % flips, a true gain of 0.3: all 91 tables of gains and losses, each with Tango's bound."""
    n, flips, gain, line = 12, 0.4, 0.3, -0.1
    chances = [(flips + gain) / 2, (flips - gain) / 2, 1 - flips]
    expected = sum(
        multinomial.pmf([up, down, n - up - down], n, chances)
        for up, down in itertools.product(range(n + 1), repeat=2)
        if up + down <= n and tango(up, down, n)[0] > line
    )
    sample = Sample(items=n, clusters=n, spread=flip_spread(flips, gain), flips=flips)
    assert power_at(sample, gain, line) == pytest.approx(expected, abs=1e-9)


def test_continuous_power_is_that_of_the_t_test():
    """statsmodels' one-sided t test: 60 single items, effect 0.4."""
    from statsmodels.stats.power import TTestPower

    expected = TTestPower().power(0.4, 60, 0.025, alternative="larger")
    sample = Sample(items=60, clusters=60, spread=5.0)
    assert power_at(sample, 2.0, 0.0) == pytest.approx(expected, abs=1e-6)
    assert power_at(sample.model_copy(update={"spread": 0.0}), 0.1, 0.0) == 1.0
    assert power_at(sample, 500.0, 0.0) == pytest.approx(1.0)


def test_the_smallest_visible_difference_has_the_power_it_is_named_for():
    clustered = Sample(items=200, clusters=20, spread=10.0, effect=design_effect([10] * 20, 0.3))
    found = smallest_visible(clustered, line=1.0)
    assert power_at(clustered, 1.0 + found, 1.0) == pytest.approx(0.8, abs=1e-6)
    apart = smallest_visible(clustered.model_copy(update={"effect": 1.0, "clusters": 200}), line=1.0)
    assert found / apart == pytest.approx(math.sqrt(3.7), rel=0.05)  # and a little for 19 degrees of freedom
    few = Sample(items=20, clusters=20, spread=0.5, flips=0.25)
    assert smallest_visible(few, line=-0.02, room=0.01) is None
    assert smallest_visible(few.model_copy(update={"clusters": 1})) is None


def test_the_rule_of_thumb_of_many_items_is_met():
    """10 % flips, 307 items show 5 points (facts: 306), 1,955 show 2; exact counting is within a tenth of that."""
    for items, gain in ((307, 0.05), (1955, 0.02)):
        sample = Sample(items=items, clusters=items, spread=flip_spread(0.1, gain), flips=0.1)
        assert power_at(sample, gain, 0.0) == pytest.approx(0.8, abs=0.03)


def test_a_sample_like_one_that_was_seen_carries_its_clusters():
    rng = np.random.default_rng(3)
    index = np.repeat(np.arange(30), 8)
    values = rng.normal(size=30)[index] + 0.3 * rng.normal(size=240)
    seen = paired_difference(values, np.zeros(240), [f"c{i}" for i in index], unit="nats")
    like = sample_like(seen, items=960)
    assert (like.items, like.clusters, like.flips) == (960, 120, None)
    assert like.error == pytest.approx(seen.standard_error / 2)
    flips = paired_difference([1.0, 0.0] * 50, [1.0, 1.0] + [1.0, 0.0] * 49, [str(i) for i in range(100)])
    assert sample_like(flips, items=400).flips == pytest.approx(0.01)


def test_rows_together():
    """Three rows at 90 %: at least 70 %, 72.9 % if independent."""
    found = joint_power([0.9, 0.9, 0.9])
    assert (found.at_least, found.independent) == (pytest.approx(0.7), pytest.approx(0.729))
    assert joint_power([0.4, 0.4]).at_least == 0


def test_a_planned_gain_ships_at_least_as_often_as_the_plan_said():
    """400 gates through `judge`: the plan must not lie above the upper end of what was seen."""
    said, shipped = planned(400, np.random.default_rng(17))
    assert 0.6 < said <= share_at_most(shipped, 400)
