"""The truth table of the gate, whole; then what makes evidence invalid, one cause at a time."""

from __future__ import annotations

import itertools
import math
import typing

import numpy as np
import pytest

from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo, Prompting, Subject, SubjectScores, Verdict
from harness.gate import EXIT_CODES, choose_best, compare, judge, judge_all, overall, row_verdict
from harness.spec import Gate
from harness.stats import Interval

VERDICTS = typing.get_args(Verdict)
ITEMS = 40
# Differences to a comparator that scores 50 points everywhere: a clear gain, a clear loss, and neither.
WOBBLE = np.tile([-1.0, 1.0], ITEMS // 2)
LIFT = {"SHIP": 10.0, "BLOCK": -10.0, "INCONCLUSIVE": 0.0}


def subject(label: str, **changes) -> Subject:
    return Subject(
        **{"kind": "adapter", "label": label, "model": label, "base_sha256": "b", "adapter_sha256": label} | changes
    )


BASE = subject("zero-shot", kind="base", adapter_sha256=None)


def scores(who: Subject, values, metric="aac/chrf", **changes) -> SubjectScores:
    """Scores of `who` on items i0, i1, …, each its own cluster; None leaves an item without a value."""
    items = {f"i{place}": value for place, value in enumerate(values)}
    given = {
        "subject": who,
        "eval_id": f"e-{who.label}",
        "metric": metric,
        "info": MetricInfo(unit="points"),
        "split": "release",
        "evalset_sha256": "evalset",
        "values": {item: float(value) for item, value in items.items() if value is not None},
        "clusters": {item: item for item in items},
        "counts": {"scored": len(items)},
    }
    return SubjectScores(**given | changes)


def gate(better_than=("incumbent",), guardrails=(), min_gain=0.0) -> Gate:
    return Gate.model_validate(
        {
            "primary": {"metric": "aac/chrf", "better_than": list(better_than), "min_gain": min_gain},
            "guardrails": [dict(guardrail) for guardrail in guardrails],
        }
    )


def by_metric(*found: SubjectScores) -> dict[str, SubjectScores]:
    return {one.metric: one for one in found}


# --- the truth table ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [-0.5, 0.0, 0.5])
def test_a_row_stands_where_its_bounds_stand(line):
    """Every way two bounds can lie to a line: below, on it, above; and no interval."""
    for low, high in itertools.product((line - 1, line, line + 1), repeat=2):
        if low <= high:
            found = Interval(
                estimate=(low + high) / 2, low=low, high=high, items=9, clusters=9, discordant=9, method="cr2"
            )
            places = ((low > line) - (low < line), (high > line) - (high < line))
            expected = {(1, 1): "SHIP", (-1, -1): "BLOCK"}.get(places, "INCONCLUSIVE")
            assert row_verdict(found, line) == expected, (low, high)
    nothing = Interval(estimate=5.0, items=1, clusters=1, discordant=1, method="none")
    assert row_verdict(nothing, line) == "INCONCLUSIVE"


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_rows_add_up_to_the_verdict(count):
    """All 341 combinations of up to four rows, against the table read from the top."""
    for rows in itertools.product(VERDICTS, repeat=count):
        for verdict in ("INVALID", "BLOCK"):
            if verdict in rows or not rows:
                expected = "INVALID" if not rows else verdict
                break
        else:
            expected = "SHIP" if all(row == "SHIP" for row in rows) else "INCONCLUSIVE"
        assert overall(rows) == expected, rows


def test_judge_on_every_combination_of_four_rows():
    """Primary and guardrail, each against two comparators, each row in each of its states: 4 × 5 × 4 × 5 combinations.

    'ABSENT' is an incumbent that does not exist yet; it is absent in both of its rows or in neither.
    """
    asked = gate(["best_baseline", "incumbent"], [{"metric": "lm/acc", "against": ["incumbent"], "max_loss": 2.0}])
    ours, incumbent, baseline = subject("new"), subject("old"), subject("prompted")
    mine = by_metric(*(scores(ours, np.full(ITEMS, 50.0), metric) for metric in ("aac/chrf", "lm/acc")))

    def theirs(who, metric, state, line):
        spoiled = {"evalset_sha256": "another"} if state == "INVALID" else {}
        return scores(who, 50.0 - LIFT.get(state, 0.0) - line + WOBBLE, metric, **spoiled)

    seen = 0
    for states in itertools.product(VERDICTS, (*VERDICTS, "ABSENT"), VERDICTS, (*VERDICTS, "ABSENT")):
        best, against_old, base, guard_old = states
        if (against_old == "ABSENT") != (guard_old == "ABSENT"):
            continue
        old = by_metric(theirs(incumbent, "aac/chrf", against_old, 0.0), theirs(incumbent, "lm/acc", guard_old, -2.0))
        comparators = {
            "best_baseline": by_metric(theirs(baseline, "aac/chrf", best, 0.0)),
            "base": by_metric(theirs(BASE, "lm/acc", base, -2.0)),
            "incumbent": None if against_old == "ABSENT" else old,
        }
        found = judge(asked, mine, comparators)
        assert found.verdict == overall([state for state in states if state != "ABSENT"]), states
        rows = {(row.role, row.comparator): row.verdict or "ABSENT" for row in found.rows}
        assert rows == {
            ("primary", "best_baseline"): best,
            ("primary", "incumbent"): against_old,
            ("guardrail", "incumbent"): guard_old,
            ("guardrail", "base"): base,
        }
        seen += 1
    assert seen == 4 * 4 * (4 * 4 + 1)


def test_the_exit_codes():
    assert EXIT_CODES == {"SHIP": 0, "BLOCK": 10, "INCONCLUSIVE": 11, "INVALID": 12}


# --- comparators --------------------------------------------------------------------------------------------------


def lifted(by: float, **changes) -> tuple[dict[str, SubjectScores], dict[str, SubjectScores]]:
    """A candidate `by` points above an incumbent, whose record then gets `changes`."""
    old = scores(subject("old"), np.full(ITEMS, 50.0)).model_copy(update=changes)
    return by_metric(scores(subject("new"), 50 + by + WOBBLE)), by_metric(old)


def test_without_an_incumbent_its_rows_are_left_out_and_say_so():
    mine, base = lifted(5.0)
    found = judge(gate(["incumbent", "best_baseline"]), mine, {"incumbent": None, "best_baseline": base})
    assert found.verdict == "SHIP"
    assert [row.verdict for row in found.rows] == [None, "SHIP"]
    assert "there is no incumbent yet" in found.rows[0].reason


def test_a_primary_with_nothing_to_compare_with_is_invalid():
    mine, base = lifted(5.0)
    guard = [{"metric": "aac/chrf", "max_loss": 1.0}]
    found = judge(gate(["incumbent"], guard), mine, {"incumbent": None, "base": base})
    assert found.verdict == "INVALID"
    assert "better_than" in found.reason


@pytest.mark.parametrize("comparators", [{}, {"best_baseline": None}, {"best_baseline": {}}])
def test_any_other_comparator_must_be_there(comparators):
    mine, _ = lifted(5.0)
    found = judge(gate(["best_baseline"]), mine, comparators)
    assert found.verdict == "INVALID"
    assert "best_baseline has no evaluation" in found.reason


def test_the_base_always_guards():
    mine, old = lifted(5.0)
    asked = gate(["incumbent"], [{"metric": "aac/chrf", "against": ["incumbent"], "max_loss": 1.0}])
    found = judge(asked, mine, {"incumbent": old})
    assert [(row.role, row.comparator, row.verdict) for row in found.rows] == [
        ("primary", "incumbent", "SHIP"),
        ("guardrail", "incumbent", "SHIP"),
        ("guardrail", "base", "INVALID"),
    ]


# --- evidence that does not hold ----------------------------------------------------------------------------------


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


# --- lines and sentences ------------------------------------------------------------------------------------------


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


# --- levels, few clusters, corpora, guardrails that cannot see ------------------------------------------------------


def clustered(who: Subject, values, groups: int, **changes) -> SubjectScores:
    found = scores(who, values, **changes)
    return found.model_copy(update={"clusters": {f"i{i}": f"c{i % groups}" for i in range(len(values))}})


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


# --- choosing on dev ----------------------------------------------------------------------------------------------


def dev(label, values, **changes):
    return scores(subject(label), values, split="dev", **changes)


def test_the_best_is_chosen_over_the_items_all_have():
    """b leads on its own items only because it has no value for the hard one."""
    a, b, c = dev("a", [90, 80, 10]), dev("b", [85, 80, None]), dev("c", [10, 10, 99])
    assert choose_best([b, a, c]).subject.label == "a"
    down = MetricInfo(direction="down", unit="tokens")
    assert choose_best([dev("a", [3, 3], info=down), dev("b", [1, 2], info=down)]).subject.label == "b"


def test_of_equals_the_first_is_chosen():
    values = [0.1, 0.2, 0.3]
    assert choose_best([dev("b", values), dev("a", values)]).subject.label == "b"


@pytest.mark.parametrize(
    ("others", "why"),
    [
        ([scores(subject("b"), [1.0, 2.0])], "different splits, dev and release"),
        ([dev("b", [1.0, 2.0], evalset_sha256="another")], "different contents"),
        ([dev("b", [None, None])], "only 0 of 2 dev items"),
    ],
)
def test_an_unfair_choice_is_refused(others, why):
    with pytest.raises(EvaluationError, match=why):
        choose_best([dev("a", [1.0, 2.0]), *others])


def test_release_and_nothing_at_all_are_no_choice():
    two = [scores(subject(name), [1.0, 2.0]) for name in "ab"]
    with pytest.raises(EvaluationError, match="scores of release"):
        choose_best(two)
    with pytest.raises(EvaluationError, match="nothing to choose from"):
        choose_best([])


def test_examples_in_front_make_another_subject():
    """The identity that pairs and refuses is content: a few-shot base is not the base."""
    shots = BASE.model_copy(update={"prompting": Prompting(kind="few_shot", shots=4)})
    mine, theirs = scores(shots, 60 + WOBBLE), scores(BASE, 50 - WOBBLE)
    assert judge(gate(["base"]), by_metric(mine), {"base": by_metric(theirs)}).verdict == "SHIP"
