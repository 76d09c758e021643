"""Where two subjects differ, item by item, and what people call the failures. Pure: records in, records out.

An item is `fixed` when the candidate is better on it, `broke` when it is worse, and otherwise `solved` or `failed` by
both, depending on whether it reaches the best value of its unit. Items without a value on either side are `unscored`.

Tags are events, only ever added to; the last word of a person counts. What a judge suggests stays a suggestion until a
person confirms it, and what a person took away is not suggested again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

from pydantic import Field

from harness.core.records import Bucket, ItemResult, MetricInfo, Record
from harness.stats import UNIT_RANGE, Interval, mean_interval

Outcome = Literal["fixed", "broke", "failed", "solved", "unscored"]
OUTCOMES: tuple[Outcome, ...] = ("fixed", "broke", "failed", "solved", "unscored")
Tags = dict[str, dict[str, bool]]  # item id -> tag -> whether a person stands behind it (False: only suggested)


class Side(Record):
    """One subject's answer to one item, its value on the metric and the evidence for it."""

    subject: str
    answer: str
    thinking: str = ""
    bucket: Bucket
    value: float | None
    explanation: str = ""
    extracted: str | None = None
    error: str | None = None


class Difference(Record):
    """One item, side by side. `change` is in the metric's unit, positive where the candidate is better."""

    item_id: str
    split: str
    cluster: str
    prompt: str
    gold: list[str] = Field([], description="answers that are right, where the evalset is at hand")
    candidate: Side
    against: Side
    change: float | None
    outcome: Outcome
    tags: list[str] = Field([], description="those that a person stands behind")
    suggested: list[str] = Field([], description="tags that a judge proposes and nobody confirmed yet")


class Failures(Record):
    """Every paired item of some splits, largest change first; `counts` has all of OUTCOMES."""

    plan_id: str
    evalset: str
    evalset_version: str
    evalset_sha256: str
    metric: str
    info: MetricInfo
    splits: list[str]
    candidate: str
    against: str
    counts: dict[str, int]
    unpaired: int = Field(description="items that only one of the two has")
    selected: int = Field(description="paired items that were asked for, by outcome, tag or id; `items` may be fewer")
    items: list[Difference]


class TagEvent(Record):
    """A tag put on an item or taken away. `suggested`: by a judge, not by a person; `who` then names the judge."""

    tag: str
    evalset: str
    evalset_sha256: str
    item_id: str
    who: str
    at: str
    removed: bool = False
    suggested: bool = False
    why: str = ""


class TagCount(Record):
    """How much of what a subject fails carries a tag, and what fixing all of it would bring."""

    tag: str
    items: int = Field(description="failed items that a person tagged so")
    failures: int = Field(description="failed items in all: `items` of them is the tag's share")
    suggested: int = Field(description="failed items on which only a judge put it; in no other figure")
    share: float
    ceiling: Interval | None = Field(
        description="gain of the metric if every tagged item reached the best value; None for a corpus statistic"
    )


def best_value(info: MetricInfo) -> float | None:
    """The best that the metric's unit allows; None where it has no ends (seconds, tokens)."""
    if info.unit not in UNIT_RANGE:
        return None
    return UNIT_RANGE[info.unit][1 if info.direction == "up" else 0]


def differences(
    candidate: Mapping[str, ItemResult],
    against: Mapping[str, ItemResult],
    labels: tuple[str, str],
    metric: str,
    info: MetricInfo,
) -> list[Difference]:
    """Items that both have, by item id; `metric` is its name within the evalset. The largest gain or loss first, then
    what both failed, then the rest."""
    paired = [
        _difference(candidate[name], against[name], labels, metric, info) for name in candidate if name in against
    ]
    rank = {outcome: place for place, outcome in enumerate(("fixed", "failed", "unscored", "solved"))}
    return sorted(paired, key=lambda one: (-abs(one.change or 0.0), rank.get(one.outcome, 0), one.item_id))


def _difference(
    mine: ItemResult, theirs: ItemResult, labels: tuple[str, str], metric: str, info: MetricInfo
) -> Difference:
    a, b = side(mine, labels[0], metric), side(theirs, labels[1], metric)
    change = None
    if a.value is not None and b.value is not None:
        change = a.value - b.value if info.direction == "up" else b.value - a.value
    return Difference(
        item_id=mine.item_id,
        split=mine.split,
        cluster=mine.cluster,
        prompt=mine.prompt or theirs.prompt,
        candidate=a,
        against=b,
        change=change,
        outcome=_outcome(change, a.value, info),
    )


def side(result: ItemResult, label: str, metric: str) -> Side:
    """One subject's part. Only scored and truncated items have a value, as in every mean."""
    score = result.scores.get(metric)
    return Side(
        subject=label,
        answer=result.answer,
        thinking=result.thinking,
        bucket=result.bucket,
        value=score.value if score and result.bucket in ("scored", "truncated") else None,
        explanation=score.explanation if score else "",
        extracted=score.extracted if score else None,
        error=result.error,
    )


def _outcome(change: float | None, value: float | None, info: MetricInfo) -> Outcome:
    if change is None:
        return "unscored"
    if change:
        return "fixed" if change > 0 else "broke"
    return "failed" if is_failure(value, info) else "solved"


def is_failure(value: float | None, info: MetricInfo) -> bool:
    """Whether an item falls short of the best value; a unit without an end has no failures, only differences."""
    best = best_value(info)
    return value is not None and best is not None and value != best


def count_outcomes(items: Iterable[Difference]) -> dict[str, int]:
    found = Counter(item.outcome for item in items)
    return {outcome: found[outcome] for outcome in OUTCOMES}


# --- tags -------------------------------------------------------------------------------------------------------


def fold(events: Iterable[TagEvent]) -> Tags:
    """What the events of one evalset add up to, oldest first. A person's word outlasts any suggestion."""
    decided: dict[tuple[str, str], bool] = {}
    proposed: set[tuple[str, str]] = set()
    for event in events:
        key = (event.item_id, event.tag)
        if event.suggested:
            (proposed.discard if event.removed else proposed.add)(key)
        else:
            decided[key] = not event.removed
    found: Tags = {}
    for item_id, tag in sorted(set(decided) | proposed):
        if decided.get((item_id, tag), True):
            found.setdefault(item_id, {})[tag] = (item_id, tag) in decided
    return found


def with_tags(items: Iterable[Difference], tags: Tags) -> list[Difference]:
    """The same items, each with its tags and suggestions."""
    found = []
    for item in items:
        own = tags.get(item.item_id, {})
        update = {"tags": [t for t, person in own.items() if person], "suggested": [t for t, p in own.items() if not p]}
        found.append(item.model_copy(update=update))
    return found


def tag_counts(items: Sequence[Difference], info: MetricInfo) -> list[TagCount]:
    """Per tag, over the candidate's failures among `items`; the most frequent first.

    The ceiling is the mean gain over every item with a value, fixed or not: what the metric itself would gain on these
    splits. Its interval is clustered as every mean's is. An upper bound: fixing one kind of failure may cause others.
    """
    usable = [item for item in items if item.candidate.value is not None]
    failed = [item for item in usable if is_failure(item.candidate.value, info)]
    names = sorted({tag for item in failed for tag in [*item.tags, *item.suggested]})
    counts = [_tag_count(name, usable, failed, info) for name in names]
    return sorted(counts, key=lambda one: (-one.items, -one.suggested, one.tag))


def _tag_count(tag: str, usable: Sequence[Difference], failed: Sequence[Difference], info: MetricInfo) -> TagCount:
    tagged = {item.item_id for item in failed if tag in item.tags}
    best, ceiling = best_value(info), None
    if best is not None and info.aggregate == "mean":
        gains = [abs(best - (item.candidate.value or 0.0)) if item.item_id in tagged else 0.0 for item in usable]
        ceiling = mean_interval(gains, [item.cluster for item in usable], info.unit)
    return TagCount(
        tag=tag,
        items=len(tagged),
        failures=len(failed),
        suggested=sum(tag in item.suggested for item in failed),
        share=len(tagged) / len(failed),
        ceiling=ceiling,
    )
