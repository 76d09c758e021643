"""The items of a spec with their content, business evalsets and lm-eval tasks alike, by the ids that results have.

known(context) -> Known                 every item, and the tasks whose documents could not be had
deciding(context, metric)               the release items that a metric stands on: what a look is counted by
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from harness import campaign as campaigns
from harness.contamination import Item
from harness.core.errors import InputError, RatchetError
from harness.data import asked, read_json_lines
from harness.evalset import Evalset
from harness.evalset.content import PLACE, Content, of_document, of_item, of_text
from harness.gate import DECIDING_SPLIT
from harness.pipeline import lm_eval, votes
from harness.pipeline.context import Context

LM_EVAL = "lm_eval"


@dataclass(frozen=True)
class Marked:
    """An item as contamination reads it, and what it is (harness.evalset.content)."""

    item: Item
    content: Content


@dataclass(frozen=True)
class Known:
    """`missing`: lm-eval task (or what the spec calls several) -> why its documents could not be had."""

    items: list[Marked]
    missing: dict[str, str]


def known(context: Context) -> Known:
    """Every item of the spec. lm-eval is asked for what no file of ours says: seconds the first time, then cached."""
    items = [marked for evalset in context.evalsets for marked in of_evalset(evalset)]
    own = _own(context)
    items += [marked for listed in own.values() for marked in listed]
    settings = context.spec.evaluate.lm_eval
    if settings is None or not set(settings.tasks) - own.keys():
        return Known(items, {})
    try:
        loaded = [*lm_eval.documents(context.lab, settings, context.task_sets)]
    except RatchetError as error:
        return Known(items, {task: error.one_line() for task in settings.tasks if task not in own})
    return Known(items + [_of_loaded(one) for one in loaded if one.task not in own], {})


def deciding(context: Context, metric: str) -> tuple[str, dict[str, str]]:
    """(what is looked at, its release items: id -> content) of a metric: 'aac', 'lm_eval/tiny', 'campaign first'.

    No items where the documents of an lm-eval task cannot be had now. InputError where the spec does not measure it.
    """
    if votes.is_vote_metric(metric):
        campaign = metric.split("/")[1]
        pairs = campaigns.read(context.lab, campaign)[1]
        return f"campaign {campaign}", {pair.pair_id: of_text(campaign, pair.pair_id) for pair in pairs}
    name = metric.rpartition("/")[0]
    if name not in [evalset.name for evalset in context.evalsets] and (
        not name.startswith(f"{LM_EVAL}/") or context.spec.evaluate.lm_eval is None
    ):
        raise InputError(f"metric {metric!r} is not measured by this spec", "name its evalset or task")
    found = [one for one in of_name(context, name) if one.item.split == DECIDING_SPLIT]
    return name, {one.item.item_id: one.content.whole for one in found}


def of_name(context: Context, name: str) -> list[Marked]:
    """The items of one evalset or lm-eval task ('lm_eval/tiny')."""
    for evalset in context.evalsets:
        if evalset.name == name:
            return list(of_evalset(evalset))
    own = _own(context).get(name.removeprefix(f"{LM_EVAL}/"))
    return own if own is not None else [one for one in known(context).items if one.item.evalset == name]


# --- inside -----------------------------------------------------------------------------------------------------


def of_evalset(evalset: Evalset) -> Iterator[Marked]:
    """The items of a business evalset."""
    for item in evalset.items:
        found = Item(
            evalset=evalset.name,
            item_id=item.id,
            split=item.split,
            prompt=asked(item.turns),
            golds=tuple(item.gold),
            cluster=evalset.cluster_of(item),
            cluster_field=evalset.definition.cluster,
        )
        yield Marked(found, of_item(item))


def _own(context: Context) -> dict[str, list[Marked]]:
    """Task -> its documents, for tasks of ours whose files lie here and name every document: lm-eval is not needed.

    Without ids a document is known by its number and its hash, which lm-eval alone can tell.
    """
    named = context.spec.evaluate.lm_eval.tasks if context.spec.evaluate.lm_eval else []
    found: dict[str, list[Marked]] = {}
    for evalset in context.task_sets:
        path = evalset.folder / evalset.definition.items
        rows = [row for _, row in read_json_lines(path)] if path.is_file() else []
        if rows and all(row.get("id") not in (None, "") for row in rows):
            for task in (task for task in evalset.definition.tasks if task in named):
                found[task] = [_of_document(task, f"{task}/{row['id']}", row) for row in rows]
    return found


def _of_document(task: str, item_id: str, document: dict[str, Any]) -> Marked:
    texts = {key: value for key, value in document.items() if isinstance(value, str) and key not in PLACE}
    choices, gold = document.get("choices"), document.get("gold")
    right = choices[gold] if isinstance(choices, list) and isinstance(gold, int) and gold < len(choices) else gold
    found = Item(
        evalset=f"{LM_EVAL}/{task}",
        item_id=item_id,
        split=str(document.get("split", DECIDING_SPLIT)),
        prompt=texts.get("prompt") or texts.get("question") or "\n".join(texts.values()),
        golds=(right,) if isinstance(right, str) else (),
        cluster=str(document.get("cluster", item_id)),
        cluster_field="cluster" if "cluster" in document else None,
    )
    return Marked(found, of_document(document))


def _of_loaded(one: lm_eval.Document) -> Marked:
    found = Item(
        evalset=f"{LM_EVAL}/{one.task}",
        item_id=one.item_id,
        split=one.split,
        prompt=one.prompt,
        golds=tuple(one.golds),
        cluster=one.cluster,
        cluster_field="cluster" if one.cluster != one.item_id else None,
    )
    return Marked(found, Content(one.asked, one.whole))
