"""From lm-eval's samples to item results and metrics. Pure: reads what lm-eval returned, knows no model."""

from __future__ import annotations

import json
import math
import numbers
from typing import Any

from harness.core.records import ItemResult, MetricInfo, Score
from harness.evaluate.lm_eval_tasks import CHOOSING, Tasks, chance, item_id, split_of

Samples = dict[str, list[dict[str, Any]]]


def items(samples: Samples, own: set[str], dev_share: float, tasks: Tasks) -> list[ItemResult]:
    """One ItemResult per document, paired across subjects by task and document; several filters are several scores."""
    found: dict[str, ItemResult] = {}
    for task, listed in samples.items():
        for sample in listed:
            item = _item(task, sample, task in own, dev_share, tasks)
            known = found.get(item.item_id)
            found[item.item_id] = (
                known.model_copy(update={"scores": known.scores | item.scores}) if known is not None else item
            )
    return list(found.values())


def metrics(samples: Samples, tasks: Tasks) -> dict[str, MetricInfo]:
    """Direction, unit and chance of each metric that is a mean over documents, by the name its scores have."""
    found: dict[str, MetricInfo] = {}
    for task, listed in samples.items():
        by_name: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for sample in listed:
            for metric in _numeric(task, sample, tasks):
                by_name.setdefault((metric, _name(task, metric, sample)), []).append(sample)
        for (metric, name), scored in by_name.items():
            info = tasks.metric(task, metric)
            assert info is not None
            guess = chance(scored) if metric in CHOOSING else None
            found[name] = info.model_copy(update={"chance": guess})
    return dict(sorted(found.items()))


def mean(tasks: Tasks, samples: Samples) -> float:
    """The mean over tasks of each task's first metric, larger is better: what a template is chosen by."""
    means = []
    for task, listed in samples.items():
        for metric in tasks.found[task].aggregation():
            info = tasks.metric(task, metric)
            values = [float(sample[metric]) for sample in listed if metric in _numeric(task, sample, tasks)]
            if info and values:
                means.append((1 if info.direction == "up" else -1) * sum(values) / len(values))
                break
    return sum(means) / len(means) if means else 0.0


def _item(task: str, sample: dict[str, Any], own: bool, dev_share: float, tasks: Tasks) -> ItemResult:
    """Metrics are named `task/metric`, and `task/metric,filter` where the task names its filters.

    Only our `own` tasks' documents carry our id, split and cluster; elsewhere these columns mean other things.
    """
    document = sample["doc"] if own else {}
    name = item_id(task, document, sample["doc_id"], sample["doc_hash"], own)
    return ItemResult(
        item_id=name,
        split=split_of(document, sample["doc_hash"], own, dev_share),
        cluster=str(document.get("cluster", name)),
        bucket="scored",
        scores={_name(task, metric, sample): _score(float(sample[metric])) for metric in _numeric(task, sample, tasks)},
        prompt_sha256=str(sample["prompt_hash"]),
        prompt=_first_argument(sample["arguments"]),
        answer=json.dumps(sample["filtered_resps"], ensure_ascii=False, default=str),
    )


def _score(value: float) -> Score:
    """A task that cannot score a document says NaN (meqsum does): that is no value, not a number."""
    return Score(value=value) if math.isfinite(value) else Score(value=None, explanation=f"lm-eval gave {value}")


def _name(task: str, metric: str, sample: dict[str, Any]) -> str:
    return f"{task}/{metric}" + ("" if sample.get("filter", "none") == "none" else f",{sample['filter']}")


def _numeric(task: str, sample: dict[str, Any], tasks: Tasks) -> list[str]:
    """The sample's metrics that are one number per document and averaged by lm-eval; the others are noted."""
    found = []
    for name in sample["metrics"]:
        if tasks.metric(task, name) is None:
            continue
        if isinstance(sample[name], numbers.Real):
            found.append(name)
        else:
            tasks.left_out[f"{task}/{name}"] = f"no number per document ({type(sample[name]).__name__})"
    return found


def _first_argument(arguments: Any) -> str:
    """The context of the first request: lm-eval keeps requests as tuples, or as a dict of them when logged."""
    first = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
    return str(next(iter(first.values())) if isinstance(first, dict) else first[0])
