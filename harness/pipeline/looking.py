"""Which look at release a report is: what it asks, of which evidence, on which items (harness.looks counts)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence

from harness import looks
from harness.core.fingerprint import canonical, sha256_of
from harness.core.records import SubjectScores
from harness.gate import DECIDING_SPLIT
from harness.pipeline import votes
from harness.pipeline.context import Context
from harness.pipeline.evaluation import Wanted
from harness.pipeline.items import deciding
from harness.spec import Gate


def next_look(context: Context, gate: Gate) -> int:
    """The number that a further look at the primary's release items would have."""
    name, items = deciding(context, gate.primary.metric)
    return looks.number(looks.read(context.lab), name, items.values())


def take_look(
    context: Context,
    gate: Gate,
    scores: Iterable[SubjectScores],
    tested: Sequence[str],
    every: Sequence[Wanted],
    exclude: Mapping[str, Collection[str]],
) -> int:
    """Which look this report is, on record before anything of it is shown.

    The same question (gate, alias, and who is tested against whom: `tested`) of the same evidence (what every subject
    scored on the items that decide) is the same look, so a report may be read again, and an evalset may get other dev
    items. A candidate that was promoted meanwhile is the incumbent as well; that asks nothing new.
    """
    name, items = deciding(context, gate.primary.metric)
    outside = {item for of, ids in exclude.items() if of == name for item in ids}
    inside = {item_id: content for item_id, content in items.items() if item_id not in outside}
    question = [context.alias, gate.model_dump(mode="json")]
    evidence = sorted(_said(one, inside) for one in scores if _decides(one, gate))
    keys = (sha256_of([*question, sorted(tested), evidence]), _key_before(context, gate, every, exclude))
    return looks.take(context.lab, name, inside.values(), keys, context.plan.plan_id, context.plan.name)


def _decides(one: SubjectScores, gate: Gate) -> bool:
    return one.metric == gate.primary.metric and one.split == DECIDING_SPLIT and not one.subject.repeat


def _said(one: SubjectScores, items: Mapping[str, str]) -> str:
    """Hash of one subject's scores on the items that decide, by their content: what they are called does not matter."""
    values = sorted(
        canonical([items.get(item_id, item_id), value, one.parts.get(item_id)])
        for item_id, value in one.values.items()
        if item_id in items or not items
    )
    return sha256_of([one.subject.identity, values])


def _key_before(context: Context, gate: Gate, every: Sequence[Wanted], exclude: Mapping[str, Collection[str]]) -> str:
    """What registers of before 2026-11-27 knew this look by, so that an old plan may be reported again."""
    primary = gate.primary.metric
    evalset = primary.split("/")[0]
    evidence = sorted({one.eval_id for one in every if one.evalset == evalset and not one.subject.repeat})
    evidence += sorted(item for name, items in exclude.items() if name.startswith(evalset) for item in items)
    evidence += votes.seen(context.lab, primary)
    return sha256_of([context.alias, gate.model_dump(mode="json"), evidence])
