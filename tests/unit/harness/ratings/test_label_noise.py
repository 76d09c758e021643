"""The error of votes reaches the next round's `label_smoothing`: of the labels used, ambiguity apart."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from harness import preferences, ratings
from harness.core.errors import InputError
from harness.core.rating import Pair, Vote
from tests.unit.harness.ratings.test_figures import pair, vote

ERROR = 0.1


def campaign(seed: int, error: float) -> tuple[list[Pair], list[Vote], dict[tuple[str, str], bool]]:
    """200 pairs, two raters; half of the pairs are clear and half are coin tosses, so D = 0.5; 100 gold pairs.

    With what each rater meant: (pair id, rater) -> answer a."""
    rng = np.random.default_rng(seed)
    pairs = [pair(f"p{n}") for n in range(200)]
    gold = [pair(f"g{n}", role="gold", expected="a") for n in range(100)]
    votes, meant = [], {}
    for rater in ("ann", "bo"):
        for number, one in enumerate(pairs + gold):
            means_a = rng.random() < (0.5 if one.role == "main" and number % 2 else 1.0)
            meant[one.pair_id, rater] = means_a
            is_a = means_a ^ (rng.random() < error)
            left = "a" if rng.random() < 0.5 else "b"
            votes.append(vote(one.pair_id, rater, "left" if is_a == (left == "a") else "right", left))
    return pairs + gold, votes, meant


def test_ambiguity_is_not_taken_for_error() -> None:
    """Agreement is (1 + 0.8²·0.5)/2 = 0.66, of which its formula makes an error of 0.22 instead of 0.1.

    Of ten intervals at 95 %, fewer than 7 hold the truth by chance in 0.1 %.
    """
    held, alone, fitted, true = [], [], [], []
    for seed in range(10):
        pairs, votes, meant = campaign(seed, ERROR)
        noise = ratings.fit_noise(ratings.tabulate_all({"style": (pairs, votes)}))
        assert noise.error_low is not None
        assert noise.error_high is not None
        held.append(noise.error_low <= ERROR <= noise.error_high)
        main = [one for one in pairs if one.role == "main"]
        rated = {"style": (main, [one for one in votes if one.pair_id[0] == "p"])}
        without, found = preferences.from_votes(rated), preferences.from_votes(rated, noise)
        assert found.rows == without.rows
        alone.append(without.agreement.flip_rate)
        fitted.append(found.label_smoothing)
        true.append(wrong_share(found.rows, meant))
    assert sum(held) >= 7
    assert np.mean(alone) == pytest.approx(0.22, abs=0.03)
    assert np.mean(fitted) == pytest.approx(np.mean(true), abs=0.02)


def test_the_label_error_is_that_of_the_labels_used() -> None:
    """Over ten campaigns: single votes are wrong as often as they slip, agreed ones less, as `label_error` says."""
    single, agreed = [], []
    for seed in range(10):
        pairs, votes, meant = campaign(100 + seed, ERROR)
        main = [one for one in pairs if one.role == "main"]
        of_ann = [one for one in votes if one.pair_id[0] == "p" and one.rater == "ann"]
        of_both = [one for one in votes if one.pair_id[0] == "p"]
        single.append(wrong_share(preferences.from_votes({"s": (main, of_ann)}).rows, meant))
        agreed.append(wrong_share(preferences.from_votes({"s": (main, of_both)}).rows, meant))
    assert np.mean(single) == pytest.approx(ratings.label_error(ERROR, 0.5, [(1, 0)]), abs=0.02)
    assert np.mean(agreed) == pytest.approx(ratings.label_error(ERROR, 0.5, [(2, 0)]), abs=0.02)


def wrong_share(rows: list[dict[str, Any]], meant: dict[tuple[str, str], bool]) -> float:
    """How often the label is not what the majority of its raters meant; a tie of what they meant counts half."""
    wrong = 0.0
    for row in rows:
        is_a = row["chosen"][0]["content"].startswith("x")
        share = np.mean([meant[row["pair_id"], rater] == is_a for rater in row["raters"]])
        wrong += 1.0 if share < 0.5 else 0.5 if share == 0.5 else 0.0
    return wrong / len(rows)


def test_gold_at_chance_stops_the_round() -> None:
    pairs, votes, _ = campaign(4, 0.0)
    votes = [
        one.model_copy(update={"left": "ab"[n % 2]}) if one.pair_id[0] == "g" else one for n, one in enumerate(votes)
    ]
    noise = ratings.fit_noise(ratings.tabulate(pairs, votes))
    assert noise.at_chance
    main = [one for one in pairs if one.role == "main"]
    found = preferences.from_votes({"style": (main, [one for one in votes if one.pair_id[0] == "p"])}, noise)
    assert found.label_smoothing is None
    with pytest.raises(InputError, match="do not show that votes are better than chance"):
        preferences.next_spec(
            {"name": "aac", "base_model": "tiny"}, init_adapter="aac@v1", dataset="d", primary="m/x", preferences=found
        )


def test_without_enough_checks_agreement_is_used() -> None:
    """Campaigns of before gold pairs: as it was."""
    pairs, votes, _ = campaign(5, 0.05)
    main = [one for one in pairs if one.role == "main"]
    rated = {"style": (main, [one for one in votes if one.pair_id[0] == "p"])}
    noise = ratings.fit_noise(ratings.tabulate_all(rated))
    assert (noise.error, noise.at_chance) == (None, False)
    assert noise.refused.startswith("0 gold votes and repeats")
    assert preferences.from_votes(rated, noise).label_smoothing == preferences.from_votes(rated).label_smoothing


def test_two_campaigns_are_one_body_of_votes() -> None:
    pairs, votes, _ = campaign(6, 0.05)
    twice = ratings.tabulate_all({"one": (pairs, votes), "two": (pairs, votes)})
    assert len(twice.shown.ids) == 400
    assert twice.raters == ("ann", "bo")
    assert len(twice.gold.rater) == 400
