"""Scorers by their usual names: (item, answer) -> Score. An evalset's own `scorer.py` stands beside the shipped ones.

Values are in the metric's unit: 'share' is 0 to 1, 'points' is 0 to 100. The table of all, with options and sources:
docs/evalsets.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import partial

from harness.core.errors import EngineError, InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item
from harness.evalset.metric import JUDGE, Metric
from harness.evaluate.answer import Answer
from harness.evaluate.scorers import assertions, contexts, labels, overlap, plain, programs, refusals, structured
from harness.evaluate.scorers.base import Maker, Scorer
from harness.evaluate.scorers.own import own
from harness.evaluate.scorers.proof import prove

__all__ = ["MAKERS", "Answer", "Scorer", "safe_score", "scorers", "self_check"]

MAKERS: dict[str, Maker] = {
    "exact": plain.exact,
    "contains": plain.contains,
    "regex": plain.regex,
    "numeric": plain.numeric,
    "accuracy": labels.accuracy,
    "macro_f1": labels.macro_f1,
    "json_schema": structured.json_schema,
    "json_fields": structured.json_fields,
    "sql": programs.sql,
    "code": programs.code,
    "tool_call": structured.tool_call,
    "assertions": assertions.assertions,
    "bleu": overlap.bleu,
    "chrf": overlap.chrf,
    "ter": overlap.ter,
    "rouge_l": overlap.rouge_l,
    "meteor": overlap.meteor,
    "nist": overlap.nist,
    "cider": overlap.cider,
    "refusal": refusals.refusal,
    "groundedness_overlap": contexts.groundedness_overlap,
    "context_relevance_overlap": contexts.context_relevance_overlap,
    "answer_relevance_overlap": contexts.answer_relevance_overlap,
    "length": plain.length,
    "thinking_length": plain.thinking_length,
    "latency": plain.latency,
    "cost": plain.cost,
}


def scorers(evalset: Evalset, judged: Mapping[str, Scorer] | None = None) -> dict[str, Scorer]:
    """The scorer of each metric. InputError names the metric whose scorer does not exist or cannot work on the items.

    Metrics of a judge are scored by what `judged` gives under their names, and left out where it gives nothing:
    harness.evaluate.judge knows which model to ask.
    """
    found = dict(judged or {})
    for name, metric in evalset.definition.metrics.items():
        if not metric.scorer.startswith(JUDGE):
            found[name] = _scorer(evalset, name, metric)
    return found


def _scorer(evalset: Evalset, name: str, metric: Metric) -> Scorer:
    if metric.scorer.endswith(".py"):
        return own(evalset.folder / metric.scorer, metric.unit)
    where = evalset.folder / "evalset.yaml"
    if metric.kind is None:
        near = difflib.get_close_matches(metric.scorer, MAKERS, n=3, cutoff=0.4)
        fix = f"use {' or '.join([*near, 'a scorer.py of your own'])}; docs/evalsets.md has the table"
        raise InputError(f"{where}: scorer {metric.scorer!r} is unknown", fix)
    needs = metric.kind.needs
    # A subject may come with contexts of its own retrieval in place of the items'; some items may then have none.
    lacking = next((item for item in evalset.items if needs and needs != "contexts" and not item.has(needs)), None)
    if lacking:
        what = "gold answer" if needs == "gold" else f"{needs!r}"
        raise InputError(f"evalset {evalset.name}: an item has no {what}", f"{metric.scorer} needs one on each")
    try:
        return MAKERS[metric.scorer](evalset, metric)
    except InputError as error:
        raise InputError(f"{where}: metrics.{name}: {error.problem}", error.fix) from None


def safe_score(scorer: Scorer, item: Item, answer: Answer | str) -> Score:
    """The score, or value None with the reason: one bad item never stops a run."""
    try:
        return scorer(item, Answer(answer) if isinstance(answer, str) else answer)
    except EngineError:  # a judge that does not answer is no property of the item: the run stops, and goes on later
        raise
    except Exception as error:  # noqa: BLE001 - an own scorer may raise anything; "could not be scored" is counted
        return Score(value=None, explanation=f"{type(error).__name__}: {error}")


def self_check(evalset: Evalset) -> None:
    """An evalset proves itself without a model: gold answers score full marks, listed wrong ones do not.

    Raises InputError naming the item (idea: verifiers' `Task.validate`). See proof.py for scorers without full marks.
    """
    for name, scorer in scorers(evalset).items():
        metric = evalset.definition.metrics[name]
        for item in evalset.items:
            prove(evalset, name, metric, item, partial(safe_score, scorer, item))
