"""Intervals: by hand where a hand can, against the definition by matrices, and by simulation for what they promise."""

from __future__ import annotations

import math
import subprocess
import sys

import numpy as np
import pytest

from harness.core.errors import EvaluationError
from harness.stats import (
    Interval,
    chance_to_clear,
    figures,
    flip_spread,
    items_needed,
    items_to_settle,
    mean_interval,
    paired_difference,
    tango,
    wilson,
)

Z2 = 1.959963984540054**2
REPEATS = 1500  # a coverage of 95 % is then known to within 0.6 points (one standard error)


def difference(values, clusters=None, **options) -> Interval:
    """The interval of these differences against zeros; each item its own cluster unless said otherwise."""
    clusters = [str(i) for i in range(len(values))] if clusters is None else clusters
    return paired_difference(values, np.zeros(len(values)), clusters, **options)


def labels(sizes) -> list[str]:
    return [f"g{group}" for group, size in enumerate(sizes) for _ in range(size)]


# --- the estimate -------------------------------------------------------------------------------------------------


def by_definition(values, clusters) -> tuple[float, float]:
    """(standard error, degrees of freedom) by CR2's definition: A = (I − H_gg)^(−1/2), Satterthwaite over all pairs."""
    n, names = len(values), sorted(set(clusters))
    hat = np.full((n, n), 1 / n)
    residuals, variance, columns = values - values.mean(), 0.0, []
    for name in names:
        rows = [i for i, cluster in enumerate(clusters) if cluster == name]
        roots, vectors = np.linalg.eigh(np.eye(len(rows)) - hat[np.ix_(rows, rows)])
        adjust = vectors @ np.diag(roots**-0.5) @ vectors.T
        weight = adjust @ np.full(len(rows), 1 / n)
        variance += (weight @ residuals[rows]) ** 2
        columns.append((np.eye(n) - hat)[:, rows] @ weight)
    products = np.array([[a @ b for b in columns] for a in columns])
    return math.sqrt(variance), np.trace(products) ** 2 / (products**2).sum()


@pytest.mark.parametrize("sizes", [(3, 1, 5, 2), (1, 1, 1, 1, 1), (4, 4, 4), (20, 1, 1, 2, 3, 1)])
def test_cr2_is_its_definition_in_closed_form(sizes):
    values = np.random.default_rng(len(sizes)).normal(size=sum(sizes))
    found = difference(values, labels(sizes), unit="nats")
    error, freedom = by_definition(values, labels(sizes))
    assert found.method == "cr2"
    assert found.standard_error == pytest.approx(error)
    assert found.degrees_of_freedom == pytest.approx(freedom)


def test_single_items_give_the_ordinary_t_interval():
    """1, 2, 3, 4, 5: mean 3, s = √2.5, error √(2.5/5) = 0.7071, t(4) = 2.7764, so 3 ± 1.9633."""
    found = difference([1.0, 2.0, 3.0, 4.0, 5.0], unit="nats")
    assert (found.estimate, found.degrees_of_freedom) == (3.0, pytest.approx(4))
    assert (found.low, found.high) == (pytest.approx(3 - 1.9633, abs=1e-4), pytest.approx(3 + 1.9633, abs=1e-4))


def test_copies_of_an_item_in_one_cluster_add_no_evidence():
    once = difference([1.0, 2.0, 3.0, 4.0, 5.0], unit="nats")
    copied = difference(np.repeat([1.0, 2.0, 3.0, 4.0, 5.0], 7), labels([7] * 5), unit="nats")
    assert (copied.low, copied.high) == (pytest.approx(once.low), pytest.approx(once.high))
    assert (copied.items, copied.clusters) == (35, 5)


def test_down_turns_the_sign_so_that_positive_is_better():
    a, b, clusters = [3.0, 1.0, 2.0, 4.0], [5.0, 5.0, 2.5, 4.5], list("wxyz")
    up, down = (paired_difference(a, b, clusters, direction, "tokens") for direction in ("up", "down"))
    assert down.estimate == -up.estimate == 1.75
    assert (down.low, down.high) == (pytest.approx(-up.high), pytest.approx(-up.low))


# --- coverage -----------------------------------------------------------------------------------------------------

SIZES = {
    "1 to 20": list(range(1, 21)),
    "long-tailed": [1, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 8, 10, 12, 15, 20, 30],
    "one of 60 beside 19 of 5": [60] + [5] * 19,
}


def shaped(rng, shape, size):
    """Draws of mean 0 (binary: a gain for 15 %, a loss for 10 %, so mean 0.05)."""
    if shape == "normal":
        return rng.normal(size=size)
    if shape == "heavy-tailed":
        return rng.standard_t(3, size=size)
    draw = rng.random(size)
    return np.where(draw < 0.15, 1.0, np.where(draw < 0.25, -1.0, 0.0))


@pytest.mark.parametrize("together", [0.0, 0.5])
@pytest.mark.parametrize("shape", ["normal", "heavy-tailed", "binary"])
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES.keys())
def test_covers_with_twenty_unbalanced_clusters(sizes, shape, together):
    """`together`: the share of a cluster's items that repeat one draw (continuous: the share of its variance)."""
    rng, clusters = np.random.default_rng(7), labels(sizes)
    index, covered = np.repeat(np.arange(20), sizes), 0
    truth = 0.05 if shape == "binary" else 0.0
    for _ in range(REPEATS):
        common, own = shaped(rng, shape, 20)[index], shaped(rng, shape, len(index))
        if shape == "binary":
            values = np.where(rng.random(len(index)) < together, common, own)
        else:
            values = math.sqrt(together) * common + math.sqrt(1 - together) * own
        found = difference(values, clusters, unit="nats")
        covered += found.low <= truth <= found.high
    assert 0.93 <= covered / REPEATS <= 0.995


@pytest.mark.parametrize("together", [0.0, 0.9])
@pytest.mark.parametrize(("gain", "loss"), [(0.005, 0.005), (0.0, 0.01), (0.0, 0.03)])
@pytest.mark.parametrize("sizes", [[1] * 300, [8] * 20, [8] * 60], ids=["300 single", "20 of 8", "60 of 8"])
def test_covers_where_flips_are_rare(sizes, gain, loss, together):
    """A variance estimate alone covers 30 to 80 % here: most samples hold no flip or one."""
    rng, clusters, groups = np.random.default_rng(11), labels(sizes), len(sizes)
    index, covered, repeats = np.repeat(np.arange(groups), sizes), 0, REPEATS // 3

    def draw(size):
        found = rng.random(size)
        return np.where(found < gain, 1.0, np.where(found < gain + loss, -1.0, 0.0))

    for _ in range(repeats):
        values = np.where(rng.random(len(index)) < together, draw(groups)[index], draw(len(index)))
        found = paired_difference((values > 0) * 1.0, (values < 0) * 1.0, clusters)
        covered += found.low <= gain - loss <= found.high
    assert covered / repeats >= 0.93


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
@pytest.mark.parametrize("sizes", [[1] * 100, SIZES["1 to 20"]], ids=["100 single", "1 to 20"])
def test_a_mean_covers(sizes, share):
    """Half of a cluster's items share one draw, except for single items."""
    rng, clusters = np.random.default_rng(13), labels(sizes)
    index, covered = np.repeat(np.arange(len(sizes)), sizes), 0
    for _ in range(REPEATS):
        common = rng.random(len(sizes))[index] < share
        values = np.where(rng.random(len(index)) < 0.5, common, rng.random(len(index)) < share)
        found = mean_interval(values * 1.0, clusters)
        covered += found.low <= share <= found.high
    assert covered / REPEATS >= 0.91  # Wilson's covers exactly P(98 or more of 100) = 92.06 % at a true 99 %


# --- bounds on what was not seen ----------------------------------------------------------------------------------


def test_tango_without_flips_and_with_flips_only():
    """No flips: n|Δ|/(1−|Δ|) = z², so |Δ| = z²/(n+z²). Gains only: n(1−Δ)/(1+Δ) = z², so Δ = (n−z²)/(n+z²)."""
    low, high = tango(0, 0, 50)
    assert (low, high) == (pytest.approx(-Z2 / (50 + Z2)), pytest.approx(Z2 / (50 + Z2)))
    assert tango(50, 0, 50)[0] == pytest.approx((50 - Z2) / (50 + Z2))
    assert tango(0, 50, 50)[1] == pytest.approx(-(50 - Z2) / (50 + Z2))


def test_tango_is_symmetric_and_meets_the_wald_interval_for_many_flips():
    """3,000 gains and 2,000 losses of 10,000: 0.1 ± 1.96·√(0.5 − 0.01)/100 = 0.1 ± 0.01372."""
    low, high = tango(3000, 2000, 10_000)
    assert tango(2000, 3000, 10_000) == (pytest.approx(-high), pytest.approx(-low))
    assert (low, high) == (pytest.approx(0.1 - 0.01372, abs=1e-4), pytest.approx(0.1 + 0.01372, abs=1e-4))


def test_wilson_by_hand():
    """0 of 10: 0 to z²/(10+z²) = 0.2775; 5 of 10: 0.5 ± z/√(10+z²)/2 = 0.5 ± 0.2634."""
    assert wilson(0, 10) == (0.0, pytest.approx(Z2 / (10 + Z2)))
    half = math.sqrt(Z2 / (10 + Z2)) / 2
    assert wilson(5, 10) == (pytest.approx(0.5 - half), pytest.approx(0.5 + half))


@pytest.mark.parametrize("value", [0.0, 1.0])
@pytest.mark.parametrize("other", [0.0, 1.0])
@pytest.mark.parametrize("sizes", [[1] * 40, [5] * 8, [30, 2, 3, 5]])
def test_an_interval_is_never_of_zero_width(value, other, sizes):
    clusters, n = labels(sizes), sum(sizes)
    for found in (paired_difference([value] * n, [other] * n, clusters), mean_interval([value] * n, clusters)):
        assert found.high - found.low > 1 / (n + Z2)
        assert found.low <= found.estimate <= found.high


def test_a_cluster_counts_as_one_item_where_nothing_differs():
    """8 clusters of 5 without a flip: as 8 single items, ± z²/(8+z²); in points a hundred times that."""
    found = paired_difference([1.0] * 40, [1.0] * 40, labels([5] * 8))
    assert (found.method, found.discordant) == ("cr2+bound", 0)
    assert found.high == pytest.approx(Z2 / (8 + Z2))
    points = paired_difference([63.0] * 40, [63.0] * 40, labels([5] * 8), unit="points")
    assert points.low == pytest.approx(-100 * Z2 / (8 + Z2))


def test_a_unit_without_a_range_takes_the_observed_one():
    values = [10.0] * 20 + [14.0] * 20
    found = paired_difference(values, values, labels([5] * 8), unit="tokens")
    assert found.high == pytest.approx(4 * Z2 / (8 + Z2))


@pytest.mark.parametrize(
    ("values", "clusters", "unit", "why"),
    [
        ([], [], "share", "no items"),
        ([1.0], ["a"], "share", "one item"),
        ([1.0, 0.0, 1.0], ["a", "a", "a"], "share", "one cluster"),
        ([0.0, 0.0], ["a", "b"], "tokens", "every value is the same"),
    ],
)
def test_where_there_is_no_interval_it_says_why(values, clusters, unit, why):
    for found in (difference(values, clusters, unit=unit), mean_interval(values, clusters, unit)):
        assert (found.low, found.high, found.method) == (None, None, "none")
        assert found.note.startswith(why)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_what_is_not_a_number_is_refused(bad):
    with pytest.raises(EvaluationError, match="value 2 of 3 is not a finite number"):
        difference([1.0, bad, 0.0])


def test_values_that_do_not_pair_up_are_refused():
    with pytest.raises(EvaluationError, match="2 and 2 and 3"):
        paired_difference([1.0, 0.0], [1.0, 0.0], ["a", "b", "c"])


# --- how many items -----------------------------------------------------------------------------------------------


def test_items_needed_for_a_margin():
    """10 % flips, 80 % power: (1.960 + 0.842)²·(0.1 − d²)/d² gives 1,954.3 for 2 points and 306.1 for 5."""
    assert items_needed(flip_spread(0.1, 0.02), 0.02) == 1955
    assert items_needed(flip_spread(0.1, 0.05), 0.05) == 307
    assert chance_to_clear(307, flip_spread(0.1, 0.05), 0.05) == pytest.approx(0.8, abs=0.002)
    assert (chance_to_clear(9, 0.0, 0.1), chance_to_clear(9, 0.0, 0.0)) == (1.0, 0.0)


def test_items_to_settle_scales_the_width_that_was_seen():
    """Half-width 0.04 at 100 items, 0.02 from the line: 100·(0.04·2.8016/1.96/0.02)² = 817.3, said as 820."""
    found = Interval(estimate=0.02, low=-0.02, high=0.06, items=100, clusters=100, discordant=9, method="cr2")
    assert items_to_settle(found, 0.0) == 820
    assert items_to_settle(found, 0.02) is None


def test_figures_show_three_digits_of_the_largest():
    assert figures(3.14159, -0.5) == ["3.14", "-0.50"]
    assert figures(0.0412, -0.00002, sign=True) == ["+0.0412", "+0.0000"]
    assert figures(1234.5) == ["1234"]
    assert figures(0.0, sign=True) == ["+0"]


def test_importing_it_loads_neither_scipy_nor_statsmodels():
    code = "import sys, harness.stats, harness.gate; print([m for m in ('scipy', 'statsmodels') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
