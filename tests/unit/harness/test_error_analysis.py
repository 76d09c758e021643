"""Outcomes, tags and ceilings, worked out by hand."""

from __future__ import annotations

import pytest

from harness.core.records import ItemResult, MetricInfo, Score
from harness.error_analysis import TagEvent, best_value, count_outcomes, differences, fold, tag_counts, with_tags

SHARE, POINTS = MetricInfo(), MetricInfo(unit="points")


def result(name: str, value: float | None, **fields: object) -> ItemResult:
    scores = {"m": Score(value=value, explanation=f"because {value}")}
    known = {"split": "dev", "cluster": name, "bucket": "scored", "prompt_sha256": "0" * 64, "scores": scores}
    return ItemResult.model_validate({"item_id": name, **known, **fields})


def pair(mine: dict[str, float | None], theirs: dict[str, float | None], info: MetricInfo = SHARE):
    sides = [{name: result(name, value) for name, value in one.items()} for one in (mine, theirs)]
    return differences(sides[0], sides[1], ("new", "old"), "m", info)


def test_every_item_has_one_outcome_and_the_largest_change_comes_first():
    found = pair(
        {"a": 0.2, "b": 1.0, "c": 0.0, "d": 1.0, "e": None}, {"a": 1.0, "b": 0.5, "c": 0.0, "d": 1.0, "e": 1.0}
    )
    assert [(one.item_id, one.outcome, one.change) for one in found] == [
        ("a", "broke", pytest.approx(-0.8)),
        ("b", "fixed", 0.5),
        ("c", "failed", 0.0),
        ("e", "unscored", None),
        ("d", "solved", 0.0),
    ]
    assert count_outcomes(found) == {"fixed": 1, "broke": 1, "failed": 1, "solved": 1, "unscored": 1}
    assert found[0].candidate.explanation == "because 0.2"


def test_down_is_better_where_the_metric_says_so():
    down = MetricInfo(direction="down")
    assert [one.outcome for one in pair({"a": 0.0, "b": 1.0}, {"a": 1.0, "b": 0.0}, down)] == ["fixed", "broke"]
    assert [one.outcome for one in pair({"a": 0.0}, {"a": 0.0}, down)] == ["solved"]
    assert (best_value(down), best_value(POINTS), best_value(MetricInfo(unit="s"))) == (0.0, 100.0, None)


def test_an_errored_item_has_no_value_whatever_its_scores():
    sides = ({"a": result("a", 1.0, bucket="errored")}, {"a": result("a", 1.0)})
    (one,) = differences(*sides, ("new", "old"), "m", SHARE)
    assert (one.outcome, one.candidate.value) == ("unscored", None)


def event(item: str, tag: str, **fields: object) -> TagEvent:
    known = {"evalset": "e", "evalset_sha256": "0" * 64, "who": "w", "at": "t"}
    return TagEvent.model_validate({"tag": tag, "item_id": item, **known, **fields})


def test_a_person_s_word_outlasts_a_suggestion():
    suggested = {"suggested": True}
    assert fold([event("a", "t", **suggested)]) == {"a": {"t": False}}
    assert fold([event("a", "t", **suggested), event("a", "t")]) == {"a": {"t": True}}
    assert fold([event("a", "t", **suggested), event("a", "t", removed=True)]) == {}
    assert fold([event("a", "t", removed=True), event("a", "t", **suggested)]) == {}
    assert fold([event("a", "t"), event("a", "t", removed=True), event("a", "t")]) == {"a": {"t": True}}
    assert fold([event("a", "t", **suggested), event("a", "t", suggested=True, removed=True)]) == {}


def test_the_ceiling_is_the_mean_gain_over_all_items():
    """10 items, 4 failed; two tagged 'verb' score 40 and 70 of 100: (60 + 30) / 10 = 9 points."""
    values = {f"i{n}": 100.0 for n in range(6)} | {"i6": 40.0, "i7": 70.0, "i8": 0.0, "i9": 99.0}
    found = pair(values, dict.fromkeys(values, 100.0), POINTS)
    tags = {"i6": {"verb": True, "noun": False}, "i7": {"verb": True}, "i8": {"noun": True}, "i0": {"verb": True}}
    verb, noun = tag_counts(with_tags(found, tags), POINTS)
    assert (verb.tag, verb.items, verb.failures, verb.share, verb.suggested) == ("verb", 2, 4, 0.5, 0)
    assert verb.ceiling is not None
    assert verb.ceiling.estimate == pytest.approx(9.0)
    assert verb.ceiling.low < 9.0 < verb.ceiling.high
    assert (noun.items, noun.suggested, noun.share) == (1, 1, 0.25)
    assert noun.ceiling.estimate == pytest.approx(10.0)


def test_a_corpus_metric_has_no_ceiling():
    info = MetricInfo(unit="points", aggregate="bleu")
    (one,) = tag_counts(with_tags(pair({"a": 1.0, "b": 100.0}, {"a": 2.0, "b": 1.0}, info), {"a": {"t": True}}), info)
    assert one.ceiling is None
