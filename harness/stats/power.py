"""What a gate can see before it is run: the smallest difference of a row, a row's power, and the whole gate's.

A row ships when its lower bound lies above its line. How often that happens hangs on the spread of the paired
differences, on how many items there are and on how they cluster; `Sample` holds the three.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np

from harness.core.records import Record
from harness.stats.intervals import Interval, tango_score
from harness.stats.numbers import ALPHA, CONFIDENCE, z_quantile

POWER = 0.8
HALVINGS = 40


class Sample(Record):
    """What a row will rest on. `spread`: standard deviation of the paired differences, in the metric's unit.

    `flips` is set for a binary metric in share whose items do not cluster: the share of items whose outcome changes.
    Then power is exact (Tango's test over every count of gains and losses); else it is that of the clustered t test.
    """

    items: int
    clusters: int
    spread: float
    effect: float = 1.0
    flips: float | None = None

    @property
    def error(self) -> float:
        """The standard error that the difference will have."""
        return self.spread * math.sqrt(self.effect / self.items)


def sample_like(seen: Interval, items: int | None = None, clusters: int | None = None) -> Sample:
    """The sample that `items` items in `clusters` clusters would be, if they behave like those `seen`.

    The observed standard error carries the clusters' effect with it, so `effect` stays 1. Where nothing differed among
    n items, the spread is taken as if one cluster had (the next one may).
    """
    spread = (seen.standard_error or 0.0) * math.sqrt(seen.items)
    binary = seen.method == "tango"
    flips = max(seen.discordant, 1) / seen.items if binary else None
    if spread == 0.0 and seen.high is not None and seen.low is not None:
        spread = (seen.high - seen.low) / 2 / z_quantile(seen.confidence) * math.sqrt(seen.items)
    count = items or seen.items
    groups = clusters or max(2, round(seen.clusters * count / seen.items))
    return Sample(items=count, clusters=groups, spread=spread, flips=flips if groups == count else None)


def design_effect(sizes: Sequence[int], correlation: float) -> float:
    """How many times more items clustered ones need: 1 + (Σn²/Σn − 1)·ρ (Kish 1965), for clusters of unequal size.

    `correlation` is that of two items of one cluster.
    """
    total = sum(sizes)
    return 1 + (sum(size * size for size in sizes) / total - 1) * correlation


def power_at(sample: Sample, truth: float, line: float, alpha: float = ALPHA) -> float:
    """How often the row ships when the true difference is `truth`."""
    if sample.items < 2 or sample.clusters < 2:
        return 0.0
    if sample.flips is not None and max(abs(truth), abs(line)) >= 1:
        return 0.0 if line >= truth or abs(truth) > 1 else 1.0  # no share changes by more than all of it
    if sample.flips is not None:
        return _binary_power(sample.items, max(sample.flips, abs(truth)), truth, line, alpha)
    if sample.error == 0:
        return 1.0 if truth > line else 0.0
    from scipy.special import nctdtr, stdtrit

    freedom = sample.clusters - 1
    critical = stdtrit(freedom, 1 - alpha)
    found = float(nctdtr(freedom, (truth - line) / sample.error, critical))
    # Far out the noncentral t cannot be computed; the normal one is the same to all digits there.
    return 1 - found if math.isfinite(found) else NormalDist().cdf((truth - line) / sample.error - critical)


def smallest_visible(
    sample: Sample, line: float = 0.0, alpha: float = ALPHA, power: float = POWER, room: float | None = None
) -> float | None:
    """The smallest distance d at which the row ships with `power`: a true difference of `line` + d.

    For a guardrail pass line = −max_loss: a candidate that loses nothing passes where d ≤ max_loss. `room` is the
    largest difference that the unit allows (1 for share, where flips are known); None where not even that would do.
    """
    if sample.items < 2 or sample.clusters < 2:
        return None
    far = room if room is not None else (1 - line if sample.flips is not None else 100 * sample.error)
    if power_at(sample, line + far, line, alpha) < power:
        return None
    near = 0.0
    for _ in range(HALVINGS):
        middle = (near + far) / 2
        near, far = (near, middle) if power_at(sample, line + middle, line, alpha) >= power else (middle, far)
    return far


class JointPower(Record):
    """How often all rows ship together.

    `at_least` holds whatever the rows have to do with one another and is the figure to print; `independent`, their
    product, is what it would be if they had nothing to do with one another.
    """

    at_least: float
    independent: float


def joint_power(powers: Sequence[float]) -> JointPower:
    """The power of a whole gate from those of its rows.

    Rows share a candidate, and on one evalset items too, so they may depend on one another either way: only
    Bonferroni's bound 1 − Σ(1 − p) is sure. It is close where it matters: four rows at 95 % are 80 % at least, 81 % if
    independent.
    """
    at_least = max(0.0, 1 - sum(1 - power for power in powers))
    return JointPower(at_least=at_least, independent=math.prod(powers))


def items_needed(spread: float, distance: float, power: float = POWER, confidence: float = CONFIDENCE) -> int:
    """Items for the lower bound to clear a line that lies `distance` below the true difference.

    `spread` is the standard deviation of the paired differences (`flip_spread` for a binary metric), same unit.
    """
    return math.ceil(((z_quantile(confidence) + NormalDist().inv_cdf(power)) * spread / distance) ** 2)


def votes_needed(win_rate: float, power: float = POWER, confidence: float = CONFIDENCE) -> int:
    """Decisive votes on different prompts that tell a true win rate from even: 194 for 60 % at 80 % power.

    The normal approximation of the sign test: ((z·√¼ + z_power·√(p(1 − p))) / (p − ½))². `win_rate` lies
    between 0 and 1 and is not ½.
    """
    spread = z_quantile(confidence) * 0.5 + NormalDist().inv_cdf(power) * math.sqrt(win_rate * (1 - win_rate))
    return math.ceil((spread / abs(win_rate - 0.5)) ** 2)


def chance_to_clear(items: int, spread: float, distance: float, confidence: float = CONFIDENCE) -> float:
    """Power: how often `items` items clear that line. A gate ships as often as all of its rows clear together."""
    if spread == 0:
        return 1.0 if distance > 0 else 0.0
    return NormalDist().cdf(distance * math.sqrt(items) / spread - z_quantile(confidence))


def flip_spread(flips: float, difference: float = 0.0) -> float:
    """Standard deviation of a binary paired difference with this share of items flipping and this mean."""
    return math.sqrt(max(flips - difference**2, 0.0))


def items_to_settle(interval: Interval, line: float) -> int | None:
    """Roughly how many items like these settle on which side of `line` the difference lies, if it stays as estimated.

    80 % power, from the width observed (clusters and all), two significant digits. None where the estimate lies on
    the line or there is no interval.
    """
    if interval.estimate is None or interval.low is None or interval.high is None or interval.estimate == line:
        return None
    reach = (interval.high - interval.low) / 2
    stretch = 1 + NormalDist().inv_cdf(POWER) / z_quantile(interval.confidence)
    needed = interval.items * (reach * stretch / abs(interval.estimate - line)) ** 2
    return int(float(f"{max(needed, interval.items):.1e}"))


# --- inside -----------------------------------------------------------------------------------------------------


def _binary_power(items: int, flips: float, truth: float, line: float, alpha: float) -> float:
    """P(Tango's lower bound > line) over every count of gains and losses, each item flipping on its own."""
    from scipy.special import bdtr, gammaln, xlog1py, xlogy

    reach = 8 * math.sqrt(items * flips * (1 - flips)) + 8  # eight standard deviations: the rest is below 1e-14
    counts = np.arange(max(0, math.floor(items * flips - reach)), min(items, math.ceil(items * flips + reach)) + 1)
    logs = gammaln(items + 1) - gammaln(counts + 1) - gammaln(items - counts + 1)
    chances = np.exp(logs + xlogy(counts, flips) + xlog1py(items - counts, -flips))
    gain = (flips + truth) / 2 / flips if flips else 0.0
    least = np.array([_least_gains(int(count), items, line, alpha) for count in counts])
    clears = 1 - np.where(least > 0, bdtr(least - 1.0, counts, gain), 0.0)
    return float((chances * clears * (least <= counts)).sum())


def _least_gains(flips: int, items: int, line: float, alpha: float) -> int:
    """The fewest gains among this many flips with which the row ships; flips + 1 if none does."""
    z = NormalDist().inv_cdf(1 - alpha)
    return bisect_left(range(flips + 1), True, key=lambda gains: tango_score(gains, flips - gains, items, line) > z)
