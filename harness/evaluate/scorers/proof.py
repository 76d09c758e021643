"""How an evalset proves itself on one item."""

from __future__ import annotations

from collections.abc import Callable

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import FULL_MARKS, Metric
from harness.evaluate.answer import Answer

CLOSE = 1e-6


def prove(evalset: Evalset, name: str, metric: Metric, item: Item, score: Callable[[Answer], Score]) -> None:
    """Raise InputError where a metric misjudges what the item itself says about right and wrong.

    A scorer with full marks must give them to gold and not to wrong answers. One without (METEOR, CIDEr, overlaps)
    must be able to score gold answers, and the best of them must beat every wrong one. A measurement (length, latency)
    and an own scorer of a unit without full marks prove nothing.
    """
    kind = metric.kind
    if (kind and kind.measured) or (kind is None and metric.unit not in FULL_MARKS):
        return
    where = f"{evalset.folder / evalset.definition.items}: item {item.id!r}"
    if kind and kind.needs and not item.has(kind.needs):
        raise InputError(f"{where} has no {kind.needs!r}", f"{metric.scorer} needs it")
    golds = [(gold, score(Answer(gold))) for gold in item.gold]
    if kind and kind.needs == "tool_calls":
        calls = tuple(call.model_dump() for call in item.tool_calls)
        golds = [("its tool_calls", score(Answer("", tool_calls=calls)))]
    wrongs = [(wrong, score(Answer(wrong))) for wrong in item.wrong]
    if kind and not kind.full:
        _better(where, name, golds, wrongs)
        return
    best = metric.best
    assert best is not None
    for gold, found in golds:
        if found.value is None or abs(found.value - best) > CLOSE:
            because = f" ({found.explanation})" if found.explanation else ""
            raise InputError(
                f"{where}: gold answer {gold!r} scores {found.value} on {name}, not {best:g}",
                f"correct the gold answer or the scorer{because}",
            )
    for wrong, found in wrongs:
        if found.value is not None and abs(found.value - best) <= CLOSE:
            raise InputError(
                f"{where}: wrong answer {wrong!r} gets full marks on {name}",
                "correct the list of wrong answers or the scorer",
            )


Scored = list[tuple[str, Score]]


def _better(where: str, name: str, golds: Scored, wrongs: Scored) -> None:
    for gold, found in golds:
        if found.value is None:
            raise InputError(f"{where}: gold answer {gold!r} cannot be scored on {name}", found.explanation)
    reached = max((found.value for _, found in golds if found.value is not None), default=None)
    for wrong, found in wrongs:
        if reached is not None and found.value is not None and found.value >= reached:
            raise InputError(
                f"{where}: wrong answer {wrong!r} scores {found.value:.4g} on {name}, no gold answer more",
                "correct the item, or leave this metric out",
            )
