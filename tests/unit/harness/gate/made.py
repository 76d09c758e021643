"""Subjects, scores and gates for the gate's tests."""

from __future__ import annotations

import typing

import numpy as np

from harness.core.records import MetricInfo, Subject, SubjectScores, Verdict
from harness.spec import Gate

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


def lifted(by: float, **changes) -> tuple[dict[str, SubjectScores], dict[str, SubjectScores]]:
    """A candidate `by` points above an incumbent, whose record then gets `changes`."""
    old = scores(subject("old"), np.full(ITEMS, 50.0)).model_copy(update=changes)
    return by_metric(scores(subject("new"), 50 + by + WOBBLE)), by_metric(old)


def clustered(who: Subject, values, groups: int, **changes) -> SubjectScores:
    found = scores(who, values, **changes)
    return found.model_copy(update={"clusters": {f"i{i}": f"c{i % groups}" for i in range(len(values))}})
