"""Levels of further looks and several candidates, few and skewed clusters, corpora, guardrails that cannot see."""

from __future__ import annotations

import numpy as np
import pytest

from harness.core.records import MetricInfo, Subject, SubjectScores
from harness.gate import compare, judge, judge_all
from tests.unit.harness.gate.made import (
    BASE,
    ITEMS,
    WOBBLE,
    by_metric,
    clustered,
    gate,
    lifted,
    scores,
    subject,
)


def test_a_stricter_level_widens_every_bound():
    mine, old = lifted(5.0)
    for alpha, ends in ((0.025, "+4.68"), (0.0015625, "+4.50")):
        found = judge(gate(), mine, {"incumbent": old}, alpha)
        assert (found.rows[0].level, found.verdict) == (alpha, "SHIP")
        assert f"lower bound {ends}" in found.reason
    assert "(one-sided 99.844 %)" in found.reason


def test_few_clusters_ship_only_if_the_sign_flip_test_agrees():
    """5 clusters: 1 of 2^5 patterns is 3.1 %, so nothing ships however clear; 6 clusters can (1.6 %)."""
    for groups, verdict, p in ((5, "INCONCLUSIVE", 1 / 32), (6, "SHIP", 1 / 64)):
        values = 60 + 0.01 * np.arange(30)
        mine = by_metric(clustered(subject("new"), values, groups))
        old = by_metric(clustered(subject("old"), [50.0] * 30, groups))
        found = judge(gate(), mine, {"incumbent": old})
        assert (found.verdict, found.rows[0].sign_flip) == (verdict, p)
        assert f"sign-flip test of {groups} clusters" in found.reason
    many = judge(gate(), *(lifted(5.0)[0], {"incumbent": lifted(5.0)[1]}))
    assert many.rows[0].sign_flip is None  # 40 clusters need no check


def test_clusters_that_lose_far_more_than_the_others_count_against_a_candidate():
    """45 clusters gain a little, 5 lose much: the bound lies above the line, but not one that sees the tail.

    Mean 0.53, t = 2.14; k = -2.67/sqrt(50) = -0.377, so g = 1.56 where 2.01 is needed.
    """
    gains = np.r_[np.tile([1.0, 1.2], 45), np.full(10, -4.65)]
    old = by_metric(clustered(subject("old"), np.full(100, 50.0), 50))
    for values, verdict in ((gains, "INCONCLUSIVE"), (gains + 0.5, "SHIP"), (0.39 + WOBBLE.repeat(3)[:100], "SHIP")):
        who = clustered(subject("new"), 50 + values, 50)
        who = who.model_copy(update={"clusters": {f"i{place}": f"c{place // 2}" for place in range(100)}})
        base = {"aac/chrf": old["aac/chrf"].model_copy(update={"clusters": who.clusters})}
        found = judge(gate(), by_metric(who), {"incumbent": base})
        row = found.rows[0]
        assert row.comparison is not None
        assert row.comparison.difference.low is not None
        assert row.comparison.difference.low > 0
        assert found.verdict == verdict, found.reason
        assert row.sign_flip is None
        assert row.skewness is not None
        assert (row.skewness <= 0.025) == (verdict == "SHIP")
        assert ("some of the 50 clusters lose far more than the others" in found.reason) == (verdict != "SHIP")


def test_holm_steps_down_over_candidates():
    """Clear: ships at alpha/3. Then two are left at alpha/2, and the one that needs it ships there; the equal never."""
    base = {"incumbent": by_metric(scores(subject("old"), np.full(ITEMS, 50.0)))}
    spread = WOBBLE * 4.0
    cases = {
        name: (by_metric(scores(subject(name), 50 + gain + spread)), base)
        for name, gain in (("clear", 9.0), ("narrow", 1.35), ("equal", 0.0))
    }
    found = judge_all(gate(), cases, 0.05)
    assert {name: one.verdict for name, one in found.items()} == {
        "clear": "SHIP",
        "narrow": "SHIP",
        "equal": "INCONCLUSIVE",
    }
    assert [one.rows[0].level for one in found.values()] == pytest.approx([0.05 / 3, 0.05 / 2, 0.05])
    assert judge(gate(), *cases["narrow"], 0.05 / 3).verdict == "INCONCLUSIVE"


GUARD = [{"metric": "lm/acc", "against": ["incumbent"], "max_loss": 0.5}]


@pytest.mark.parametrize(
    ("right", "info", "sees"),
    [
        (0.5, {"chance": 0.25}, True),
        (0.3, {"chance": 0.25}, False),
        (0.0, {}, False),
        (0.5, {}, True),
        (0.0, {"direction": "down"}, True),
        (0.0, {"unit": "tokens"}, True),
    ],
)
def test_a_guardrail_whose_base_does_no_better_than_chance_is_invalid(right, info, sees):
    mine, old = lifted(5.0)
    known = [1.0] * round(right * 100) + [0.0] * round((1 - right) * 100)
    guard = {"metric": "lm/acc", "info": MetricInfo(**info)}
    new, base = scores(subject("new"), [*known[1:], 1.0], **guard), scores(BASE, known, **guard)
    incumbent = old | by_metric(scores(subject("old"), known, **guard))
    found = judge(gate(guardrails=GUARD), mine | by_metric(new), {"incumbent": incumbent, "base": by_metric(base)})
    against_base = found.rows[-1]
    assert (against_base.comparator, against_base.verdict != "INVALID") == ("base", sees)
    assert ("not clearly above chance" in found.reason) != sees


def test_the_base_must_be_above_chance_at_the_rows_own_level():
    """60 of 100 right, chance 0.5: Wilson's lower bound is 0.502 at 95 %, 0.488 at 97.5 % (the second look)."""
    mine, old = lifted(5.0)
    guard = {"metric": "lm/acc", "info": MetricInfo(chance=0.5)}
    known = [1.0] * 60 + [0.0] * 40
    new, base = scores(subject("new"), known, **guard), scores(BASE, known, **guard)
    incumbent = old | by_metric(scores(subject("old"), known, **guard))
    everyone = {"incumbent": incumbent, "base": by_metric(base)}
    for alpha, invalid in ((0.025, False), (0.0125, True)):
        found = judge(gate(guardrails=GUARD), mine | by_metric(new), everyone, alpha)
        assert (found.rows[-1].verdict == "INVALID") == invalid


def corpus(who: Subject, right: float, seed: int, **changes) -> SubjectScores:
    rng = np.random.default_rng(seed)
    gold = rng.integers(0, 3, 120)
    guess = np.where(rng.random(120) < right, gold, (gold + 1) % 3)
    found = scores(who, (gold == guess) * 1.0, info=MetricInfo(aggregate="macro_f1"))
    parts = {f"i{i}": [float(one), float(other)] for i, (one, other) in enumerate(zip(gold, guess, strict=True))}
    return found.model_copy(update={"parts": parts} | changes)


def test_a_corpus_metric_is_judged_on_its_own_statistic():
    from sklearn.metrics import f1_score

    new, old = corpus(subject("new"), 0.9, 1), corpus(subject("old"), 0.6, 1)
    found = judge(gate(), by_metric(new), {"incumbent": by_metric(old)})
    comparison = found.rows[0].comparison
    assert (found.verdict, comparison.difference.method) == ("SHIP", "bootstrap")
    gold, guess = np.array(list(new.parts.values())).T
    assert comparison.candidate_mean == pytest.approx(f1_score(gold, guess, average="macro"))
    back = judge(gate(), by_metric(old), {"incumbent": by_metric(new)}).rows[0].comparison
    assert back.difference.estimate == pytest.approx(-comparison.difference.estimate)
    bare = corpus(subject("old"), 0.6, 1, parts={})
    assert (
        "without the counts that macro_f1 is made of"
        in judge(gate(), by_metric(new), {"incumbent": by_metric(bare)}).reason
    )


def test_latency_guards_in_its_own_unit():
    """A tenth of a second slower passes 0.2 s and fails 0.05 s; cost in tokens is no different."""
    seconds = {"metric": "aac/latency_s", "info": MetricInfo(direction="down", unit="s")}
    mine, old = lifted(5.0)
    slow, fast = scores(subject("new"), 1.1 + WOBBLE / 50, **seconds), scores(BASE, 1.0 - WOBBLE / 50, **seconds)
    for limit, verdict in ((0.2, "SHIP"), (0.05, "BLOCK")):
        asked = gate(["best_baseline"], [{"metric": "aac/latency_s", "against": ["base"], "max_loss": limit}])
        found = judge(asked, mine | by_metric(slow), {"best_baseline": old, "base": by_metric(fast)})
        assert found.verdict == verdict


def test_swapping_sides_negates_and_the_order_of_items_does_not_matter():
    rng = np.random.default_rng(4)
    a, b = scores(subject("a"), rng.normal(50, 5, ITEMS)), scores(subject("b"), rng.normal(48, 5, ITEMS))
    there, back = compare(a, b).difference, compare(b, a).difference
    assert (there.estimate, there.low, there.high) == pytest.approx((-back.estimate, -back.high, -back.low))
    shuffled = a.model_copy(update={"values": dict(reversed(a.values.items()))})
    assert compare(shuffled, b) == compare(a, b)
