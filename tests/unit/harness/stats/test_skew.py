"""The check for clusters that lose far more than the others: by hand, and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.special import stdtr, stdtrit

from harness.stats import skewness_p
from harness.stats.intervals import cr2

FOUR = np.array([0, 1, 2, 3])


def test_by_hand():
    """Clusters of one item at 3, 3, 3, -1: mean 2, residuals 1, 1, 1, -3, all by 1/sqrt(3/4).

    V = (3·1 + 9)/(3/4)/16 = 1, so t = 2 against 0. k = (3 − 27)/12^1.5 (the factors cancel) = −0.57735, and
    g = 2 − 0.57735·4/3 + (1/3)·8/27 − 0.57735/6 = 1.23274; 3 degrees of freedom.
    """
    values = np.array([3.0, 3.0, 3.0, -1.0])
    k = -24 / 12**1.5
    g = 2 + k * 4 / 3 + k**2 * 8 / 27 + k / 6
    assert g == pytest.approx(1.23274, abs=1e-5)
    assert skewness_p(values, FOUR, 0.0) == pytest.approx(float(stdtr(3, -g)))
    assert skewness_p(values, FOUR, 2.0) > 0.5, "the mean lies on the line, and the tail below it"


def test_a_tail_on_the_winning_side_changes_nothing():
    """t = 2 with 3 degrees of freedom, as the interval has it."""
    values = np.array([1.0, 1.0, 1.0, 5.0])
    assert skewness_p(values, FOUR, 0.0) == pytest.approx(float(stdtr(3, -2.0)))


def test_no_evidence_and_no_spread():
    assert skewness_p(np.array([]), np.array([], dtype=np.intp), 0.0) == 1.0
    assert skewness_p(np.array([1.0, 2.0]), np.array([0, 0]), 0.0) == 1.0
    same = np.full(4, 2.0)
    assert (skewness_p(same, FOUR, 1.0), skewness_p(same, FOUR, 2.0)) == (0.0, 1.0)


def test_it_is_never_more_lenient_than_the_interval_and_grows_with_the_line():
    rng = np.random.default_rng(7)
    for _ in range(50):
        index = np.sort(np.concatenate([np.arange(8), rng.integers(0, 8, 20)]))
        values = rng.exponential(size=28) * rng.choice([-1, 1]) + 0.5
        error, freedom = cr2(values, index, np.bincount(index).astype(float))
        lines = np.linspace(values.mean() - 4 * error, values.mean() + error, 20)
        found = [skewness_p(values, index, line) for line in lines]
        plain = stdtr(freedom, -(values.mean() - lines) / error)
        assert (np.array(found) >= plain - 1e-12).all()
        assert (np.diff(found) >= -1e-12).all()


def test_what_it_is_worth_by_simulation():
    """20 clusters of 6 items, exponential effects with the tail on the losing side, the truth on the line.

    Of 2,000 draws the t interval alone ships about 6.9 % and the check about 4.1 %: at most 4.1 + 3·0.44 in 99.9 %.
    """
    rng, draws = np.random.default_rng(11), 2000
    index = np.repeat(np.arange(20), 6)
    plain = checked = 0
    for _ in range(draws):
        values = (1 - rng.exponential(size=20))[index] + 0.5 * rng.standard_normal(120)
        error, freedom = cr2(values, index, np.full(20, 6.0))
        plain += values.mean() / error > stdtrit(freedom, 0.975)
        checked += skewness_p(values, index, 0.0) <= 0.025
    assert checked / draws <= 0.041 + 3 * math.sqrt(0.041 * 0.959 / draws)
    assert checked <= 0.75 * plain
