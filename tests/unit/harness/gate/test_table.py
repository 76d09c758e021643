"""The truth table of the gate, whole; who is compared with whom, and what is chosen on dev."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from harness.core.errors import EvaluationError
from harness.core.records import MetricInfo, Prompting
from harness.gate import EXIT_CODES, choose_best, judge, overall, row_verdict
from harness.stats import Interval
from tests.unit.harness.gate.made import (
    BASE,
    ITEMS,
    LIFT,
    VERDICTS,
    WOBBLE,
    by_metric,
    gate,
    lifted,
    scores,
    subject,
)


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
