"""Which prompts are for what, and which pairs of a pool people see: half at random, half where a vote says most.

Every pair keeps the probability with which it was drawn, so that a win rate over the pool is estimated without bias
(Horvitz and Thompson 1952): the mean of value / inclusion over the pool. Pairs of the arm 'uniform' alone are a simple
random sample of it. Pure.
"""

from __future__ import annotations

import bisect
import itertools
import math
import random
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from harness.campaign.pairs import PoolItem, draw, share
from harness.core.rating import Pair, Purpose

JUDGE_SHARE = 0.3  # a verdict needs a few hundred pairs, training takes all that it gets
LEAST = 0.05  # what the most alike pair weighs against the most different: nothing is left out for certain


def purpose_of(cluster: str) -> Purpose:
    """What a prompt may be used for, for good: its cluster's hash says it, in every campaign and lab alike."""
    return "judge" if share("purpose", cluster) < JUDGE_SHARE else "train"


def of_purpose(items: Iterable[PoolItem], purpose: Purpose | None) -> tuple[list[PoolItem], int]:
    """(items whose cluster is of this purpose, how many others there were); all for None."""
    found = list(items)
    kept = [item for item in found if purpose is None or purpose_of(item.cluster) == purpose]
    return kept, len(found) - len(kept)


def sample(
    pairs: Sequence[Pair], count: int | None, seed: int, disagreement: Mapping[str, float] | None = None
) -> tuple[list[Pair], dict[str, Any]]:
    """About `count` of the pairs (all for None, or if there are no more), in their order, and how they were drawn.

    Two draws that know nothing of one another: a simple random sample, and one in proportion to how informative a pair
    is: its item's `disagreement` (item id -> 0 or more) where all have one, else how different its two answers are. A
    pair that both drew is of the uniform arm. `inclusion` is the chance that either draws it, so the number that comes
    out is random too, `count` on average.
    """
    if count is None or count >= len(pairs):
        return list(pairs), {"pool": len(pairs), "uniform": len(pairs), "informative": 0}
    known = disagreement or {}
    by_others = all(pair.item_id in known for pair in pairs)
    weights = [known[pair.item_id] if by_others else difference(pair.a.text, pair.b.text) for pair in pairs]
    floor = LEAST * max(weights, default=0.0) or 1.0
    weights = [max(weight, floor) for weight in weights]
    half = _half(weights, count)
    uniform = half / len(pairs)
    chances = chances_of(weights, half)
    generator = random.Random(draw(seed, "sample"))  # noqa: S311 - a draw that anybody can repeat, not a secret
    at_random = set(generator.sample(range(len(pairs)), half))
    informative = set(_systematic(chances, generator.random(), generator))
    found = [
        pair.model_copy(
            update={
                "arm": "uniform" if place in at_random else "informative",
                "inclusion": 1 - (1 - uniform) * (1 - chances[place]),
            }
        )
        for place, pair in enumerate(pairs)
        if place in at_random or place in informative
    ]
    by = "disagreement" if by_others else "difference of the answers"
    return found, {"pool": len(pairs), "uniform": half, "informative": len(found) - half, "informative_by": by}


def difference(first: str, second: str) -> float:
    """0 for the same words in the same order, 1 for nothing in common: 1 − the Jaccard similarity of the sets of words
    and of pairs of words that follow one another."""
    one, other = _grams(first), _grams(second)
    return 1 - len(one & other) / max(1, len(one | other))


def chances_of(weights: Sequence[float], count: int) -> list[float]:
    """The chance of each to be among `count` drawn in proportion to their weights; 1 for those too heavy for that."""
    certain: set[int] = set()
    while True:
        rest = sum(weight for place, weight in enumerate(weights) if place not in certain)
        scale = (count - len(certain)) / rest if rest else 0.0
        more = {place for place, weight in enumerate(weights) if place not in certain and weight * scale >= 1}
        if not more:
            return [1.0 if place in certain else weight * scale for place, weight in enumerate(weights)]
        certain |= more


def _half(weights: Sequence[float], count: int) -> int:
    """How many each arm draws, so that both together draw at most `count` different pairs on average."""

    def is_too_many(half: int) -> bool:
        uniform = half / len(weights)
        return sum(1 - (1 - uniform) * (1 - chance) for chance in chances_of(weights, half)) > count

    return max(1, bisect.bisect_left(range(1, count + 1), True, key=is_too_many))


def _systematic(chances: Sequence[float], start: float, generator: random.Random) -> Iterable[int]:
    """Places drawn with exactly these chances (systematic sampling in random order, Madow 1949)."""
    order = list(range(len(chances)))
    generator.shuffle(order)
    ends = itertools.accumulate(chances[place] for place in order)
    before = 0.0
    for place, end in zip(order, ends, strict=True):
        if math.ceil(end - start) > math.ceil(before - start):
            yield place
        before = end


def _grams(text: str) -> set[tuple[str, ...]]:
    words = text.casefold().split()
    return {(word,) for word in words} | set(itertools.pairwise(words))
