"""The sign-flip test: by hand, against scipy's permutation test, and where it must refuse."""

from __future__ import annotations

import numpy as np
import pytest

from harness.stats import sign_flip


def test_by_hand():
    """Sums 3, 2, 1: of the 8 patterns only all-plus (6) reaches 6, so p = 1/8; against line 1 sums are 2, 1, 0."""
    values, index = np.array([3.0, 2.0, 1.0]), np.arange(3)
    assert sign_flip(values, index, 0.0) == 1 / 8
    assert sign_flip(values, index, 1.0) == 2 / 8  # the cluster of 0 counts either way
    assert sign_flip(-values, index, 0.0) == 1.0
    assert sign_flip(np.zeros(0), np.zeros(0, dtype=int), 0.0) == 1.0


@pytest.mark.parametrize("groups", [9, 30], ids=["exact", "drawn"])
def test_scipy_says_the_same(groups):
    from scipy.stats import permutation_test

    rng = np.random.default_rng(groups)
    index = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    values = rng.normal(0.2, 1, len(index))
    sums = np.bincount(index, weights=values)
    theirs = permutation_test(
        (sums,), np.sum, permutation_type="samples", alternative="greater", n_resamples=20_000, rng=1
    )
    assert sign_flip(values, index, 0.0) == pytest.approx(theirs.pvalue, abs=1e-9 if groups == 9 else 0.012)


def test_five_clusters_can_never_agree_and_six_can():
    for groups, agrees in ((5, False), (6, True)):
        assert (sign_flip(np.ones(groups), np.arange(groups), 0.0) <= 0.025) == agrees
