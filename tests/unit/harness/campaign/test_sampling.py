"""Draws that can be weighted back to the pool, and prompts that are for one purpose for good."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest

from harness.campaign.pairs import PoolItem
from harness.campaign.sampling import JUDGE_SHARE, chances_of, difference, of_purpose, purpose_of, sample
from tests.unit.harness.campaign.conftest import pair

POOL = 400


def pool(seed: int = 0):
    """Pairs from nearly alike to nothing in common; whether a wins hangs on how different the answers are."""
    generator = random.Random(seed)
    pairs, wins = [], {}
    for number in range(POOL):
        changed = generator.random()
        words = [f"w{number}x{n}" for n in range(20)]
        others = [f"o{number}x{n}" if generator.random() < changed else word for n, word in enumerate(words)]
        one = pair(number)
        pairs.append(
            one.model_copy(
                update={
                    "a": one.a.model_copy(update={"text": " ".join(words)}),
                    "b": one.b.model_copy(update={"text": " ".join(others)}),
                }
            )
        )
        wins[one.pair_id] = float(generator.random() < 0.2 + 0.6 * changed)
    return pairs, wins


def test_the_weighted_win_rate_is_the_pool_s():
    """400 draws of 80 of 400 pairs. The mean of the weighted estimates lies within four standard errors of the truth;
    the plain mean of what was drawn does not, as the informative half prefers pairs that a wins."""
    pairs, wins = pool()
    truth = sum(wins.values()) / POOL
    weighted, plain, uniform = [], [], []
    for seed in range(400):
        drawn, _ = sample(pairs, 80, seed)
        weighted.append(sum(wins[one.pair_id] / one.inclusion for one in drawn) / POOL)
        plain.append(sum(wins[one.pair_id] for one in drawn) / len(drawn))
        half = [wins[one.pair_id] for one in drawn if one.arm == "uniform"]
        uniform.append(sum(half) / len(half))

    def off(values: list[float]) -> float:
        mean = sum(values) / len(values)
        error = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
        return (mean - truth) / error

    assert abs(off(weighted)) < 4
    assert abs(off(uniform)) < 4
    assert off(plain) > 4


def test_each_pair_is_drawn_as_often_as_its_inclusion_says():
    """600 draws: every pair's count lies within five binomial standard deviations of 600 · inclusion."""
    pairs, _ = pool()
    counts: Counter[str] = Counter()
    inclusion: dict[str, float] = {}
    sizes = []
    for seed in range(600):
        drawn, facts = sample(pairs, 80, seed)
        counts.update(one.pair_id for one in drawn)
        inclusion.update({one.pair_id: one.inclusion for one in drawn})
        sizes.append(len(drawn))
        assert sum(one.arm == "uniform" for one in drawn) == facts["uniform"]
    assert len(inclusion) == POOL
    for name, chance in inclusion.items():
        assert abs(counts[name] - 600 * chance) < 5 * math.sqrt(600 * chance * (1 - chance)), name
    assert 76 < sum(sizes) / len(sizes) <= 80
    assert sum(inclusion.values()) == pytest.approx(sum(sizes) / len(sizes), rel=0.02)


def test_the_same_seed_draws_the_same_in_the_campaign_s_order():
    pairs, _ = pool()
    first, _ = sample(pairs, 50, 3)
    assert first == sample(pairs, 50, 3)[0] != sample(pairs, 50, 4)[0]
    order = [one.pair_id for one in pairs]
    assert sorted(first, key=lambda one: order.index(one.pair_id)) == first


def test_a_small_pool_is_taken_whole():
    pairs, _ = pool()
    assert sample(pairs, None, 0) == (pairs, {"pool": 400, "uniform": 400, "informative": 0})
    assert {one.inclusion for one in sample(pairs, 400, 0)[0]} == {1.0}


def test_somebody_s_disagreement_takes_the_place_of_the_words():
    pairs, _ = pool()
    split = {one.item_id: float(number >= 390) for number, one in enumerate(pairs)}
    drawn, facts = sample(pairs, 40, 0, split)
    assert facts["informative_by"] == "disagreement"
    heavy = [one for one in drawn if int(one.pair_id[1:]) >= 390]
    assert len(heavy) >= 5, "ten of 400 pairs carry a third of the weight"


def test_chances_add_up_and_none_is_above_one():
    """Weights 100, 1, 1, 1, 1 and three draws: the first is certain, the others share the two that are left."""
    assert chances_of([100, 1, 1, 1, 1], 3) == [1.0, 0.5, 0.5, 0.5, 0.5]


def test_difference_by_words():
    """'a b c' and 'a b d': words a, b of {a, b, c, d} and the pair (a, b) of three in common: 3 of 7."""
    assert difference("a b c", "A b d") == pytest.approx(1 - 3 / 7)
    assert (difference("same", "same"), difference("one", "two")) == (0.0, 1.0)


def test_a_prompt_is_for_one_purpose_for_good_by_cluster():
    items = [PoolItem(f"i{n}", f"c{n // 4}", []) for n in range(4000)]
    train, others = of_purpose(items, "train")
    judge, rest = of_purpose(items, "judge")
    assert (len(train), len(judge)) == (rest, others)
    assert {item.cluster for item in train}.isdisjoint(item.cluster for item in judge)
    share = len(judge) / len(items)
    assert abs(share - JUDGE_SHARE) < 4 * math.sqrt(JUDGE_SHARE * (1 - JUDGE_SHARE) / 1000)
    assert of_purpose(items, None) == (items, 0)
    assert [purpose_of(name) for name in ("c0", "c1", "c2", "c3", "c4")] == FIRST_FIVE


# as they were when this was written: a change of the hash would move prompts from one purpose to the other
FIRST_FIVE = ["train", "judge", "train", "train", "judge"]
