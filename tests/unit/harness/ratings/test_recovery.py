"""Simulated raters whose truth is known: what the board says holds it. `benchmarks/raters.py` is the full form."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from benchmarks import raters
from benchmarks.raters_population import Truth
from harness.ratings import fit_noise
from harness.ratings.ballots import Checks

DRAWS = 60
# Of 60 draws at 95 %, fewer than 51 come out by chance in 0.07 % of all cases; 21 figures are asked.
LEAST = 51


@pytest.mark.parametrize("world", ["8 raters", "noisy", "8 raters who differ"])
def test_every_figure_holds_the_truth(world: str) -> None:
    found = raters.coverage(raters.WORLDS[world], DRAWS, np.random.default_rng(7))
    alike = set() if "differ" in world else set(raters.OF_LIKE_RATERS)
    assert set(found) == {"left", "longer", "win", "error"} | alike
    assert {name: one["hits"] for name, one in found.items() if one["hits"] < LEAST} == {}
    assert {name: one["draws"] for name, one in found.items()} == dict.fromkeys(found, DRAWS)


def test_bradley_terry_tells_strength_side_and_length_apart() -> None:
    found = raters.logistic(DRAWS, np.random.default_rng(8))
    assert {name: one["hits"] for name, one in found.items() if one["hits"] < LEAST} == {}


def test_weights_undo_the_informative_half() -> None:
    found = raters.informative(DRAWS, np.random.default_rng(9))
    assert {name: one["hits"] for name, one in found.items() if one["hits"] < LEAST} == {}


def test_a_planted_bad_rater_is_flagged_and_honest_ones_are_not() -> None:
    """At most 5 % of campaigns may flag an honest one: more than 5 of 30 happens by chance in 0.3 %."""
    found = raters.flags(Truth(bad=1), 30, np.random.default_rng(10))
    assert found["caught"]["hits"] >= 28
    assert found["honest_flagged"]["hits"] <= 5


def test_the_intervals_say_something() -> None:
    """A figure that is always covered because its interval is everything would pass above."""
    low, high = np.array(
        [raters.bounds(raters.draw(Truth(), np.random.default_rng(seed)), seed)["error"] for seed in range(10)], float
    ).T
    assert (high - low).max() < 0.12


def test_gold_and_repeats_that_contradict_one_another_leave_both_possible() -> None:
    """3 of 160 gold votes wrong say 2 %; 48 of 160 repeats unlike say 18 %; together, 11 %."""
    drawn = raters.draw(Truth(), np.random.default_rng(11))
    ballots = dataclasses.replace(drawn, gold=with_wrong(drawn.gold, 3), repeats=with_wrong(drawn.repeats, 48))
    found = fit_noise(ballots)
    assert "gold is used" in found.note
    assert found.error == pytest.approx(3 / 160, abs=0.001)
    assert found.error_low is not None
    assert found.error_low < 0.01
    assert found.error_high is not None
    assert 0.11 < found.error_high < 0.16


def with_wrong(checks: Checks, wrong: int) -> Checks:
    return dataclasses.replace(checks, right=np.arange(len(checks.right)) >= wrong)
