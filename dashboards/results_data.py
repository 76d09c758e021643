"""What the results page asks a lab: leaderboards, runs, items, versions. Reads only; knows nothing of web pages.

Items of `release` never leave this module: they are counted, and that is all.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import store
from harness.core.errors import InputError
from harness.core.paths import Lab, check_name, read_json
from harness.core.records import EvalRecord, ItemResult, MetricInfo, RegistryRecord, SubjectScores
from harness.error_analysis import (
    Difference,
    Side,
    TagCount,
    count_outcomes,
    differences,
    side,
    tag_counts,
    with_tags,
)
from harness.evalset import OPEN_SPLITS
from harness.evaluate.business import results
from harness.gate import CHOOSING_SPLIT, DECIDING_SPLIT, own_interval
from harness.pipeline.page import curves_of, gather, labels_of
from harness.pipeline.tag_events import tags_of
from harness.report import Extras, Report
from harness.report.cells import interval_text
from harness.report.extras import Curve
from harness.stats import Interval

SPLITS = (CHOOSING_SPLIT, "tune", DECIDING_SPLIT)


@dataclass(frozen=True)
class Line:
    """One row of a leaderboard."""

    subject: str
    run_id: str | None
    mean: Interval
    counts: dict[str, int]
    eval_id: str


@dataclass(frozen=True)
class Leaderboard:
    """Best first. `older` counts evaluations of another content of the evalset: not comparable, so left out."""

    metric: str
    split: str
    info: MetricInfo
    evalset_sha256: str
    lines: list[Line]
    older: int


@dataclass(frozen=True)
class Items:
    """One open split of some subjects, item by item; the first two subjects are what is compared.

    `counts` is per outcome; `others` has the further subjects' answers by item; `sealed` counts the items of release
    per bucket, for each subject.
    """

    info: MetricInfo
    candidate_eval: str
    found: list[Difference]
    counts: dict[str, int]
    others: dict[str, list[Side]]
    tags: list[TagCount]
    sealed: dict[str, dict[str, int]]


# --- reports and what they compare ------------------------------------------------------------------------------


def reports(lab: Lab) -> list[Report]:
    """Every stored report, newest first."""
    found = [report(lab, path.stem) for path in lab.reports.glob("p-*.json")]
    return sorted(found, key=lambda one: one.created, reverse=True)


def report(lab: Lab, plan_id: str) -> Report:
    """InputError for a plan that has none."""
    path = lab.reports / f"{check_name(plan_id, 'plan')}.json"
    if not path.is_file():
        raise InputError(f"plan {plan_id} has no report", "run `ratchet report` for it")
    return _parsed(path, path.stat().st_mtime_ns)


@functools.lru_cache(maxsize=64)
def _parsed(path: Path, changed_ns: int) -> Report:
    return Report.model_validate(read_json(path))


def extras(lab: Lab, found: Report) -> Extras:
    """What stands around a report's comparisons, for its plots."""
    return gather(lab, found)


def metrics(lab: Lab, plan_id: str | None) -> list[str]:
    """'evalset/metric' of a plan, what its gate looks at in front; of the whole lab without a plan."""
    if plan_id:
        return list(dict.fromkeys(board.metric for board in report(lab, plan_id).boards))
    _, rows = store.query(lab, "SELECT DISTINCT metric FROM metrics ORDER BY ALL")
    return [metric for (metric,) in rows]


def subjects(lab: Lab, plan_id: str, metric: str) -> dict[str, str]:
    """Label -> evaluation of the metric's evalset, in a plan: the chosen candidate first, then what it is compared
    with, then the other candidates."""
    found: dict[str, str] = {}
    candidates = sorted(report(lab, plan_id).candidates, key=lambda one: not one.chosen)
    for candidate in candidates:
        for one in candidate.comparisons:
            if one.metric == metric:
                found.setdefault(one.candidate, one.candidate_eval)
                found.setdefault(one.against, one.against_eval)
    return found


# --- leaderboard ------------------------------------------------------------------------------------------------

EVALS = """
SELECT e.eval_id, e.subject_label, e.run_id, e.evalset_sha256
FROM metrics m JOIN evals e ON e.eval_id = m.eval_id
WHERE m.metric = ? AND coalesce(json_extract(e.subject, '$.repeat')::INTEGER, 0) = 0 ORDER BY e.created DESC"""


def leaderboard(lab: Lab, metric: str, split: str, plan_id: str | None = None) -> Leaderboard:
    """Every evaluated subject's mean with its interval; only a plan's own, under its labels, where one is named."""
    _, rows = store.query(lab, EVALS, [metric])
    labels = labels_of(report(lab, plan_id)) if plan_id else {}
    shown = [row for row in rows if not plan_id or row[0] in labels]
    if not shown:
        raise InputError(f"nothing is evaluated on {metric} yet", "choose another metric or plan")
    newest = shown[0][3]
    current = [row for row in shown if row[3] == newest]
    runs = {eval_id: (labels.get(eval_id, label), run_id) for eval_id, label, run_id, _ in current}
    found = [
        one
        for one in _scores(lab.root, lab.database.stat().st_mtime_ns, tuple(runs))
        if one.metric == metric and one.split == split
    ]
    lines = [Line(*runs[one.eval_id], own_interval(one), one.counts, one.eval_id) for one in found]
    info = found[0].info if found else MetricInfo()
    sign = -1 if info.direction == "up" else 1
    lines.sort(key=lambda line: (line.mean.estimate is None, sign * (line.mean.estimate or 0.0)))
    return Leaderboard(metric, split, info, newest, lines, len(shown) - len(current))


@functools.lru_cache(maxsize=8)
def _scores(root: Path, published_ns: int, eval_ids: tuple[str, ...]) -> list[SubjectScores]:
    """Scores do not change while the published store is the same file."""
    return store.subject_scores(Lab(root), eval_ids)


# --- runs side by side ------------------------------------------------------------------------------------------

RUNS = """
SELECT run_id, label, method, quantization, seed, base_source, init_adapter_sha256, data_sha256, settings, rank,
       trainable_parameters, bytes, steps, seconds, tokens, first_loss, final_loss, device, dtype, created
FROM runs ORDER BY created DESC, run_id"""
RUN_METRICS = """
SELECT DISTINCT m.metric FROM metrics m JOIN evals e ON e.eval_id = m.eval_id
WHERE list_contains(?, e.run_id) ORDER BY ALL"""
WHERE_DIFFERENT = ("run_id", "label", "created")  # that run and time differ says nothing


def runs(lab: Lab) -> list[dict[str, Any]]:
    """Every finished run with its settings, newest first; nested settings as 'adapter.r'."""
    columns, rows = store.query(lab, RUNS)
    found = []
    for row in rows:
        one = dict(zip(columns, row, strict=True))
        settings = json.loads(one.pop("settings"))
        found.append(one | {key: value for name, part in settings.items() for key, value in _flat(name, part)})
    return found


def _flat(name: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        return [pair for key, part in value.items() for pair in _flat(f"{name}.{key}", part)]
    return [(name, value)]


def side_by_side(found: Sequence[dict[str, Any]], only_different: bool = True) -> list[tuple[str, list[Any]]]:
    """(setting, its value in each run): those that differ, or all."""
    keys = list(dict.fromkeys(key for one in found for key in one))
    rows = [(key, [one.get(key) for one in found]) for key in keys]
    if not only_different or len(found) < 2:
        return rows
    return [
        (key, values)
        for key, values in rows
        if key in WHERE_DIFFERENT or any(value != values[0] for value in values[1:])
    ]


def curves(lab: Lab, run_ids: Sequence[str]) -> list[Curve]:
    """Learning curves of the runs that there are."""
    return curves_of(lab, {one["run_id"]: one["label"] for one in runs(lab) if one["run_id"] in run_ids})


def run_means(lab: Lab, run_ids: Sequence[str], split: str) -> list[tuple[str, list[Any]]]:
    """(metric on split, each run's mean with its interval) for every metric that one of the runs was evaluated on."""
    sql = (
        "SELECT DISTINCT m.metric FROM metrics m JOIN evals e ON e.eval_id = m.eval_id WHERE list_contains(?, e.run_id)"
    )
    _, rows = store.query(lab, f"{sql} ORDER BY ALL", [list(run_ids)])
    found = []
    for (metric,) in rows:
        means = {line.run_id: interval_text(line.mean) for line in leaderboard(lab, metric, split).lines}
        if means:
            found.append((f"{metric} on {split}", [means.get(run) for run in run_ids]))
    return found


# --- items ------------------------------------------------------------------------------------------------------


def items(lab: Lab, metric: str, split: str, evals: dict[str, str]) -> Items:
    """Subjects (label -> eval id; at least two) on one split. Of `release` nothing comes back but counts."""
    if len(evals) < 2:
        raise InputError("two subjects are needed to compare", "choose at least two")
    if split not in SPLITS:
        raise InputError(f"split {split!r} is not known", f"choose one of {', '.join(SPLITS)}")
    name = metric.partition("/")[2]
    records = {label: EvalRecord.read(lab.eval_record(check_name(one, "evaluation"))) for label, one in evals.items()}
    everything = {label: results(lab.evals / eval_id) for label, eval_id in evals.items()}
    shown = {
        label: {key: item for key, item in found.items() if item.split == split and split in OPEN_SPLITS}
        for label, found in everything.items()
    }
    (mine, theirs, *rest) = evals
    info = records[mine].metrics[name]
    found = differences(shown[mine], shown[theirs], (mine, theirs), name, info)
    found = with_tags(found, tags_of(lab, records[mine].evalset_sha256))
    others = {
        item.item_id: [side(shown[one][item.item_id], one, name) for one in rest if item.item_id in shown[one]]
        for item in found
    }
    sealed = {label: _sealed(one) for label, one in everything.items()}
    return Items(info, evals[mine], found, count_outcomes(found), others, tag_counts(found, info), sealed)


def _sealed(found: dict[str, ItemResult]) -> dict[str, int]:
    return dict(Counter(item.bucket for item in found.values() if item.split == DECIDING_SPLIT))


# --- versions ---------------------------------------------------------------------------------------------------


def registries(lab: Lab) -> list[RegistryRecord]:
    """Every registry name with its versions, aliases and their history."""
    return [RegistryRecord.read(path) for path in sorted(lab.registry.glob("*.json"))]


def verdicts(lab: Lab, run_ids: Sequence[str]) -> dict[str, list[tuple[str, str, str]]]:
    """run id -> (when, plan, verdict) of every report that judged it, oldest first."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in reversed(reports(lab)):
        for candidate in one.candidates:
            if candidate.run_id in run_ids and candidate.verdict:
                found.setdefault(candidate.run_id or "", []).append((one.created, one.plan_id, candidate.verdict))
    return found
