"""Scorers by their usual names: (item, answer) -> Score. An evalset's own `scorer.py` stands beside the shipped ones.

Values are in the metric's unit: 'share' is 0 to 1, 'points' is 0 to 100.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Evalset, Item, Metric

Scorer = Callable[[Item, str], Score]
FULL_MARKS = {"share": 1.0, "points": 100.0}


def folded(text: str) -> str:
    """Case and white space do not make an answer wrong."""
    return " ".join(text.casefold().split())


def exact(item: Item, answer: str) -> Score:
    """1 if the answer is one of the gold answers, after folding case and white space."""
    return Score(value=float(folded(answer) in {folded(gold) for gold in item.gold}))


def contains(item: Item, answer: str) -> Score:
    """1 if any gold answer stands in the answer."""
    return Score(value=float(any(folded(gold) in folded(answer) for gold in item.gold)))


@cache
def _chrf() -> Any:
    from sacrebleu.metrics import CHRF  # 0.2 s that commands without chrF should not pay

    return CHRF()


def chrf(item: Item, answer: str) -> Score:
    """Sentence chrF2 in points against the nearest gold answer (Popović 2015, as sacrebleu computes it)."""
    if answer.strip() in item.gold:
        return Score(value=100.0)  # what sacrebleu gives for equal strings, without its 0.3 ms
    return Score(value=max(float(_chrf().sentence_score(answer.strip(), [gold]).score) for gold in item.gold))


SHIPPED: dict[str, Scorer] = {"exact": exact, "contains": contains, "chrf": chrf}


def scorers(evalset: Evalset) -> dict[str, Scorer]:
    """The scorer of each metric. InputError names the metric whose scorer does not exist."""
    return {name: _scorer(evalset, name, metric) for name, metric in evalset.definition.metrics.items()}


def _scorer(evalset: Evalset, name: str, metric: Metric) -> Scorer:
    if metric.unit not in FULL_MARKS:
        raise InputError(
            f"{evalset.folder / 'evalset.yaml'}: metrics.{name}.unit {metric.unit!r} is unknown", "use share or points"
        )
    if metric.scorer in SHIPPED:
        if any(not item.gold for item in evalset.items):
            raise InputError(
                f"evalset {evalset.name}: an item has no gold answer", f"{metric.scorer} needs one on each"
            )
        return SHIPPED[metric.scorer]
    if metric.scorer.endswith(".py"):
        return _own(evalset.folder / metric.scorer, FULL_MARKS[metric.unit])
    known = ", ".join([*SHIPPED, "scorer.py"])
    raise InputError(f"{evalset.folder / 'evalset.yaml'}: scorer {metric.scorer!r} is unknown", f"use {known}")


def _own(path: Path, best: float) -> Scorer:
    """`score(item: dict, answer: str) -> {"value", "explanation"}` from the evalset's folder; value 0 to `best`."""
    if not path.is_file():
        raise InputError(f"{path} does not exist", "write `def score(item, answer) -> dict` there")
    spec = importlib.util.spec_from_file_location(f"ratchet_scorer_{path.parent.name}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        function = module.score
    except Exception as error:  # somebody's file: anything may go wrong in it
        raise InputError(f"{path}: {type(error).__name__}: {error}", "it must define score(item, answer)") from error

    def score(item: Item, answer: str) -> Score:
        result = function(item.model_dump(), answer)
        value = float(result["value"])
        if not 0.0 <= value <= best:  # NaN is not, either
            raise ValueError(f"{path.name} gave {value}, which is not within 0 to {best:g}")
        return Score(value=value, explanation=str(result.get("explanation", "")))

    return score


def safe_score(scorer: Scorer, item: Item, answer: str) -> Score:
    """The score, or value None with the reason: one bad item never stops a run."""
    try:
        return scorer(item, answer)
    except Exception as error:  # noqa: BLE001 - an own scorer may raise anything; "could not be scored" is counted
        return Score(value=None, explanation=f"{type(error).__name__}: {error}")


def self_check(evalset: Evalset) -> None:
    """An evalset proves itself without a model: gold answers score full marks, listed wrong ones do not.

    Raises InputError naming the item (idea: verifiers' `Task.validate`).
    """
    where = evalset.folder / evalset.definition.items
    for name, scorer in scorers(evalset).items():
        metric = evalset.definition.metrics[name]
        best = FULL_MARKS[metric.unit] if metric.direction == "up" else 0.0
        for item in evalset.items:
            for gold in item.gold:
                score = safe_score(scorer, item, gold)
                if score.value is None or abs(score.value - best) > 1e-6:
                    raise InputError(
                        f"{where}: item {item.id!r}: gold answer {gold!r} scores {score.value} on {name}, not {best:g}",
                        "correct the gold answer or the scorer"
                        + (f" ({score.explanation})" if score.explanation else ""),
                    )
            for wrong in item.wrong:
                value = safe_score(scorer, item, wrong).value
                if value is not None and abs(value - best) <= 1e-6:
                    raise InputError(
                        f"{where}: item {item.id!r}: wrong answer {wrong!r} gets full marks on {name}",
                        "correct the list of wrong answers or the scorer",
                    )
