"""What makes evidence invalid, one cause at a time; where lines lie and what is said of them."""

from __future__ import annotations

import math

import numpy as np
import pytest

from harness.core.records import MetricInfo
from harness.gate import compare, judge
from tests.unit.harness.gate.made import (
    BASE,
    ITEMS,
    WOBBLE,
    by_metric,
    gate,
    lifted,
    scores,
    subject,
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"evalset_sha256": "another"}, "different contents of the evalset"),
        ({"split": "dev"}, "different splits"),
        ({"info": MetricInfo(direction="down", unit="points")}, "one direction and unit"),
        ({"info": MetricInfo(unit="share")}, "one direction and unit"),
        ({"clusters": {f"i{i}": "one" for i in range(ITEMS)}}, "different clusters"),
        ({"clusters": {}}, "not an item of release"),
        ({"values": {}}, "no item has a value on both sides"),
        ({"values": {f"i{i}": math.nan for i in range(ITEMS)}}, "not a finite number"),
        ({"values": {f"i{i}": 1.0 for i in range(ITEMS - 1)}}, "1 of 40 items could not be paired"),
        ({"subject": subject("renamed", adapter_sha256="new")}, "the same subject"),
    ],
)
def test_what_makes_a_row_invalid(changes, why):
    mine, old = lifted(5.0, **changes)
    found = judge(gate(), mine, {"incumbent": old})
    assert found.verdict == "INVALID"
    assert why in found.reason


def test_only_release_decides():
    mine = by_metric(scores(subject("new"), 60 + WOBBLE, split="dev"))
    old = by_metric(scores(subject("old"), 50 + WOBBLE, split="dev"))
    found = judge(gate(), mine, {"incumbent": old})
    assert (found.verdict, "only release decides" in found.reason) == ("INVALID", True)


def test_a_candidate_without_the_metric_is_invalid():
    _, old = lifted(5.0)
    found = judge(gate(), {}, {"incumbent": old})
    assert (found.verdict, "the candidate has no evaluation" in found.reason) == ("INVALID", True)


def test_up_to_two_percent_may_be_missing_and_are_counted():
    values = [50.0] * 100
    mine = scores(subject("new"), [None, *values[1:]])
    old = scores(subject("old"), [values[0], None, *values[2:]])
    found = compare(mine, old)
    assert (found.problem, found.paired, found.left_out) == ("", 98, {"candidate": 1, "comparator": 1})
    both = compare(
        scores(subject("new"), [None, None, None, *values[3:]]), scores(subject("old"), [None] * 3 + values[3:])
    )
    assert both.left_out == {"both": 3}
    assert "3 of 100 items could not be paired (no value from: both 3)" in both.problem


@pytest.mark.parametrize(("min_gain", "verdict"), [(4.0, "SHIP"), (5.0, "INCONCLUSIVE"), (6.0, "BLOCK")])
def test_min_gain_is_in_the_metrics_unit(min_gain, verdict):
    mine, old = lifted(5.0)
    assert judge(gate(min_gain=min_gain), mine, {"incumbent": old}).verdict == verdict


def test_where_less_is_better_less_ships():
    info = {"info": MetricInfo(direction="down", unit="tokens")}
    less, more = scores(subject("new"), 40 + WOBBLE, **info), scores(subject("old"), 50 - WOBBLE, **info)
    assert judge(gate(), by_metric(less), {"incumbent": by_metric(more)}).verdict == "SHIP"
    assert judge(gate(), by_metric(more), {"incumbent": by_metric(less)}).verdict == "BLOCK"


def test_a_flawless_tie_ships_past_a_guardrail_only_with_enough_items():
    """No flip among n: the bound is z²/(n + z²), 3.7 % of 100 items and 1.9 % of 200."""
    asked = gate(["best_baseline"], [{"metric": "lm/acc", "against": ["base"], "max_loss": 0.02}])
    for n, verdict in ((100, "INCONCLUSIVE"), (200, "SHIP")):
        won = [
            by_metric(scores(who, 50 + lift + np.resize(WOBBLE, n) * lift))
            for who, lift in ((subject("new"), 1), (BASE, 0))
        ]
        tie = [scores(who, [1.0] * n, "lm/acc", info=MetricInfo()) for who in (subject("new"), BASE)]
        found = judge(asked, won[0] | by_metric(tie[0]), {"best_baseline": won[1], "base": by_metric(tie[1])})
        assert found.verdict == verdict


def test_reasons_say_what_was_found_and_what_is_missing():
    mine, old = lifted(5.0)
    assert judge(gate(), mine, {"incumbent": old}).reason == (
        "primary aac/chrf against incumbent (old): +5.00 points, and its lower bound +4.68 lies above the line at "
        "+0.00; 1 of 1 rows clear their lines"
    )
    blocked = judge(gate(min_gain=6), mine, {"incumbent": old}).reason
    assert "upper bound +5.32 lies below the line at +6.00" in blocked
    wide = by_metric(scores(subject("new"), 50.2 + WOBBLE))
    assert "if it stays, about 210 items settle it (now 40)" in judge(gate(), wide, {"incumbent": old}).reason
    worse = by_metric(scores(subject("new"), 49.9 + WOBBLE))
    assert "a better candidate is missing" in judge(gate(), worse, {"incumbent": old}).reason
    one = [by_metric(scores(subject(name), [50.0])) for name in ("new", "old")]
    assert "no interval (one item" in judge(gate(), one[0], {"incumbent": one[1]}).reason


def test_a_worthless_change_ships_no_more_often_than_promised():
    """600 candidates whose true gain is exactly min_gain: each ships with a chance of 2.5 %."""
    rng, shipped = np.random.default_rng(3), 0
    for _ in range(600):
        hard = rng.normal(50, 10, 60)
        mine = by_metric(scores(subject("new"), hard + rng.normal(1, 5, 60)))
        old = by_metric(scores(subject("old"), hard + rng.normal(0, 5, 60)))
        shipped += judge(gate(min_gain=1.0), mine, {"incumbent": old}).verdict == "SHIP"
    assert shipped / 600 <= 0.044  # 2.5 % and three standard errors
