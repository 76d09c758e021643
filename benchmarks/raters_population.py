"""Made-up raters whose truth is known, straight as the columns that harness.ratings works on.

A rater's view of pair i is a with probability q_i = logistic(strength + length · log2 ratio + spread · normal), drawn
once per rater and pair. The vote: with probability `habit` the left answer unread, else the view, and the other one
with probability `slip`. A share `ties` of main votes is a tie instead. A bad rater clicks blindly, and fast. Where
raters differ, each has a slip and a habit of their own (Beta, with `differ` for coefficient of variation) and a `taste`
for a (normal, in logits). With `side` the view itself leans to the left, by so many logits: with it alone,
Bradley-Terry's model is true as it stands.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.ratings.ballots import TIE, A, B, Ballots, Bools, Cast, Checks, Shown
from harness.ratings.texts import LEAST_FLOOR_S, STYLES
from harness.stats.numbers import Floats, Integers

GAP_BETWEEN_LENGTHS = 0.6  # standard deviation of log2 of the ratio of lengths


@dataclass(frozen=True)
class Truth:
    """Of a population of raters; `bad`: how many of them click blindly."""

    strength: float = 0.4
    length: float = 0.3
    spread: float = 1.5
    habit: float = 0.06
    slip: float = 0.05
    side: float = 0.0
    ties: float = 0.1
    differ: float = 0.0
    taste: float = 0.0
    raters: int = 8
    bad: int = 0
    pairs: int = 400
    per_cluster: int = 2
    overlap: float = 0.25
    gold: int = 20
    repeats: int = 20

    @property
    def error(self) -> float:
        """Chance that a decisive vote is not the view: sides are even, so half of the habits hit it."""
        return self.habit / 2 + (1 - self.habit) * self.slip


@dataclass(frozen=True)
class Crew:
    """The raters of one campaign, a row each."""

    slip: Floats
    habit: Floats
    taste: Floats

    @classmethod
    def of(cls, truth: Truth, rng: np.random.Generator) -> Crew:
        slip, habit = (_around(mean, truth.differ, truth.raters, rng) for mean in (truth.slip, truth.habit))
        taste = truth.taste * rng.normal(size=truth.raters) if truth.taste else np.zeros(truth.raters)
        return cls(slip, habit, taste)

    @property
    def error(self) -> float:
        """`Truth.error` of these raters together."""
        return float((self.habit / 2 + (1 - self.habit) * self.slip).mean())


def _around(mean: float, variation: float, count: int, rng: np.random.Generator) -> Floats:
    """Shares with a mean and a coefficient of variation."""
    if not variation or not mean:
        return np.full(count, mean)
    size = (1 - mean) / (mean * variation**2) - 1
    return rng.beta(mean * size, (1 - mean) * size, count)


def expected(truth: Truth, rng: np.random.Generator, draws: int = 1_000_000) -> dict[str, float]:
    """What the figures of the board estimate, without `side`, bad raters and sampling; by integration over pairs, and
    over the raters that there might be. Alpha, error and clarity are of raters who do not differ."""
    longer = rng.normal(0, GAP_BETWEEN_LENGTHS, draws)
    logits = truth.strength + truth.length * longer + truth.spread * rng.normal(size=draws)
    logits += truth.taste * rng.normal(size=draws) if truth.taste else 0.0
    meant = 1 / (1 + np.exp(-logits))
    voted = meant * (1 - truth.error) + (1 - meant) * truth.error
    clarity = float(((2 * meant - 1) ** 2).mean())
    alike = truth.ties**2 + (1 - truth.ties) ** 2 * (1 + (1 - 2 * truth.error) ** 2 * clarity) / 2
    shares = np.array([voted.mean(), 1 - voted.mean()]) * (1 - truth.ties)
    return {
        "alpha": 1 - (1 - alike) / (1 - float((shares**2).sum()) - truth.ties**2),
        "left": 0.5 + truth.habit / 2,
        "longer": float(np.where(longer > 0, voted, 1 - voted).mean()),
        "win": float(shares[0]) + truth.ties / 2,
        "error": truth.error,
        "clarity": clarity,
    }


def draw(truth: Truth, rng: np.random.Generator, informative: float = 0.0, crew: Crew | None = None) -> Ballots:
    """One campaign, of `crew` or of raters drawn. Half of its clusters' effects are shared within a cluster.

    `informative`: above 0, half the pairs are drawn in favour of those with much between the lengths.
    """
    pool = truth.pairs * (3 if informative else 1)
    clusters = np.arange(pool) // truth.per_cluster
    effects = rng.normal(size=clusters.max() + 1)[clusters] * np.sqrt(0.5) + rng.normal(size=pool) * np.sqrt(0.5)
    longer = rng.normal(0, GAP_BETWEEN_LENGTHS, pool)
    logits = truth.strength + truth.length * longer + truth.spread * effects
    uniform, inclusion = np.ones(pool, dtype=bool), np.ones(pool)
    kept = np.ones(pool, dtype=bool)
    if informative:
        uniform, inclusion, kept = _sampled(truth.pairs, np.abs(longer) ** informative, rng)
    shown = _shown(clusters[kept], longer[kept], uniform[kept], inclusion[kept])
    return _cast(truth, crew or Crew.of(truth, rng), shown, logits[kept], rng)


def _sampled(count: int, size: Floats, rng: np.random.Generator) -> tuple[Bools, Floats, Bools]:
    """(uniform arm, inclusion, drawn): two draws of each pair by itself, in equal halves."""
    even = count / 2 / len(size)
    by_size = np.minimum(size / size.mean() * even, 1.0)
    first, second = rng.random(len(size)) < even, rng.random(len(size)) < by_size
    return first, 1 - (1 - even) * (1 - by_size), first | second


def _shown(cluster: Integers, longer: Floats, uniform: Bools, inclusion: Floats) -> Shown:
    number = len(cluster)
    return Shown(
        ids=tuple(f"p{place}" for place in range(number)),
        subjects=("x", "y"),
        a=np.zeros(number, dtype=np.intp),
        b=np.ones(number, dtype=np.intp),
        cluster=np.unique(cluster, return_inverse=True)[1].astype(np.intp),
        uniform=uniform,
        inclusion=inclusion,
        longer=longer,
        style=np.zeros((number, len(STYLES))),
        floor_s=np.full(number, 4 * LEAST_FLOOR_S),
    )


def _cast(truth: Truth, crew: Crew, shown: Shown, logits: Floats, rng: np.random.Generator) -> Ballots:
    number = len(logits)
    shared = rng.random(number) < truth.overlap
    everyone = np.repeat(np.flatnonzero(shared), truth.raters)
    single = np.flatnonzero(~shared)
    pair = np.concatenate([everyone, single])
    rater = np.concatenate(
        [np.tile(np.arange(truth.raters), int(shared.sum())), rng.integers(truth.raters, size=len(single))]
    )
    bad = rater < truth.bad
    left_is_a = rng.random(len(pair)) < 0.5
    leaning = logits[pair] + crew.taste[rater] + np.where(left_is_a, truth.side, -truth.side)
    view_a = rng.random(len(pair)) < 1 / (1 + np.exp(-leaning))
    voted_a = _voted(crew, view_a, left_is_a, rater, bad, rng)
    tied = (rng.random(len(pair)) < truth.ties) & ~bad
    seconds = np.where(bad, rng.lognormal(0.3, 0.6, len(pair)), rng.lognormal(2.5, 0.6, len(pair)))
    cast = Cast(
        pair=pair,
        rater=rater,
        view=np.where(tied, TIE, np.where(voted_a, A, B)),
        left_is_a=left_is_a,
        seconds=seconds,
        fast=seconds < shown.floor_s[pair],
    )
    names = tuple(f"r{place}" for place in range(truth.raters))
    return Ballots(names, shown, cast, _gold(truth, crew, rng), _again(truth, crew, cast, view_a, tied, rng))


def _voted(crew: Crew, view_a: Bools, left_is_a: Bools, rater: Integers, bad: Bools, rng: np.random.Generator) -> Bools:
    unread = rng.random(len(view_a)) < crew.habit[rater]
    slipped = rng.random(len(view_a)) < crew.slip[rater]
    meant = np.where(unread, left_is_a, view_a ^ slipped)
    return np.asarray(np.where(bad, rng.random(len(view_a)) < 0.5, meant))


def _gold(truth: Truth, crew: Crew, rng: np.random.Generator) -> Checks:
    rater = np.repeat(np.arange(truth.raters), truth.gold)
    every = np.ones(len(rater), dtype=bool)
    right = _voted(crew, every, rng.random(len(rater)) < 0.5, rater, rater < truth.bad, rng)
    return Checks(rater, np.tile(np.arange(truth.gold), truth.raters), right, every)


def _again(truth: Truth, crew: Crew, cast: Cast, view_a: Bools, tied: Bools, rng: np.random.Generator) -> Checks:
    """Each rater's first `repeats` votes that were no tie, once more with the sides swapped."""
    order = np.lexsort((np.arange(len(cast.rater)), tied, cast.rater))
    starts = np.searchsorted(cast.rater[order], np.arange(truth.raters))
    rank = np.arange(len(order)) - starts[cast.rater[order]]
    rows = order[(rank < truth.repeats) & ~tied[order]]
    rater = cast.rater[rows]
    again = _voted(crew, view_a[rows], ~cast.left_is_a[rows], rater, rater < truth.bad, rng)
    right = again == (cast.view[rows] == A)
    return Checks(rater, cast.pair[rows], right, np.ones(len(rows), dtype=bool))
