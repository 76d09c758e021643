"""What a gate can see, told before anything is trained: per row the smallest difference, and how often all rows ship.

The spread of differences comes from what the lab has stored: two subjects' `dev` scores of the same metric on the same
evalset (`release` stays unseen). Without any it is assumed, and the text says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from harness import store
from harness.core.errors import InputError, StoreError
from harness.core.records import EvalRecord, MetricInfo
from harness.data import read_json_lines
from harness.evalset import Evalset
from harness.gate import compare
from harness.pipeline import lm_eval, votes
from harness.pipeline.context import Context
from harness.pipeline.looking import next_look
from harness.spec import Gate, LmEval
from harness.stats import (
    UNIT_RANGE,
    Interval,
    Sample,
    alpha_at,
    design_effect,
    joint_power,
    power_at,
    sample_like,
    smallest_visible,
    tango,
)

# Spread of a paired difference where nothing is stored: 10 % of items flipping for a share, and what sentence chrF
# differences showed on the quickstart's own dev items, in points.
ASSUMED_SD = {"share": math.sqrt(0.10), "points": 25.0}
ASSUMED_FLIPS = 0.10
ASSUMED_CORRELATION = 0.1  # of two items of one cluster
POOREST_POWER = 0.5  # below it a row that is as good as planned more often stays undecided than not

Decided = Literal["yes", "assumed", "no"]


@dataclass(frozen=True)
class Measure:
    """A metric on its release items: unit, and items per cluster (empty where only lm-eval knows its documents)."""

    unit: str
    aggregate: str
    sizes: list[int]


@dataclass(frozen=True)
class RowPower:
    """One row of the gate. `truth` is the true difference that it is told for; `power` how often the row then ships.

    `decided` 'no': it could not ship at all, or stored results say that it rarely would; 'assumed': it rarely would if
    the assumed spread holds.
    """

    role: str
    metric: str
    line: float
    unit: str
    items: int
    clusters: int
    spread: str
    visible: float | None
    truth: float
    power: float
    decided: Decided


@dataclass(frozen=True)
class GatePower:
    """`at_least`: how often the whole gate ships a candidate as good as planned, whatever its rows have in common."""

    look: int
    alpha: float | None
    rows: list[RowPower]
    at_least: float
    unknown: list[str]


def gate_power(context: Context, gate: Gate) -> GatePower:
    """The power of the gate at the look that comes next. InputError for a metric that the spec does not measure."""
    look = next_look(context, gate)
    alpha = alpha_at(look)
    rows, powers, unknown = [], [], []
    for line in _lines(context, gate):
        measure = measured(context, line.metric)
        basis = _basis(context, line.metric, measure) if len(measure.sizes) > 1 else None
        if basis is None or alpha is None:
            unknown.append(line.metric)
            continue
        rows.append(_row(gate, line, measure, basis, alpha))
        powers += [rows[-1].power] * line.comparators
    return GatePower(look, alpha, rows, joint_power(powers).at_least if rows else 0.0, unknown)


def measured(context: Context, metric: str) -> Measure:
    """Unit and release items of a gate's metric; InputError where this spec does not measure it."""
    if votes.is_vote_metric(metric):
        return Measure("share", "mean", votes.sizes_of(context.lab, metric))
    names: list[str] = []
    for evalset in context.evalsets:
        for name, info in evalset.definition.metrics.items():
            names.append(f"{evalset.name}/{name}")
            if names[-1] == metric:
                clusters = [evalset.cluster_of(item) for item in evalset.items if item.split == "release"]
                return Measure(info.unit, info.info.aggregate, _sizes(clusters))
    settings = context.spec.evaluate.lm_eval
    if metric.startswith("lm_eval/") and settings:
        names = []
        for found in _tasks(context, settings, metric):
            names += [f"lm_eval/{name}" for name in found.metrics]
            if metric in names:
                read = found.metrics[metric.removeprefix("lm_eval/")]
                sizes = _own_sizes(context.task_sets, found.task) or [1] * (found.documents - found.dev)
                return Measure(read.unit, read.aggregate, sizes)
    known = names or [f"lm_eval/{task}/acc" for task in (settings.tasks if settings else [])]
    raise InputError(f"metric {metric!r} is not measured by this spec", f"use one of {', '.join(known)}")


# --- inside -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Line:
    """A metric's line, and against how many comparators it is held: the gate has a row for each."""

    role: str
    metric: str
    at: float
    comparators: int


@dataclass(frozen=True)
class _Basis:
    """What a row will rest on, where its spread comes from, and whether that was measured."""

    sample: Sample
    source: str
    stored: bool


def _lines(context: Context, gate: Gate) -> Iterator[_Line]:
    """The incumbent counts where there is one."""

    def count(names: list[str]) -> int:
        return max(1, len({name for name in names if name != "incumbent" or context.incumbent}))

    yield _Line("primary", gate.primary.metric, gate.primary.min_gain, count(gate.primary.better_than))
    for rail in gate.guardrails:
        yield _Line("guardrail", rail.metric, 0.0 - rail.max_loss, count([*rail.against, "base"]))


def _row(gate: Gate, line: _Line, measure: Measure, basis: _Basis, alpha: float) -> RowPower:
    sample = basis.sample
    visible = smallest_visible(sample, line.at, alpha)
    truth = 0.0
    if line.role == "primary":
        planned = gate.primary.planned_gain
        truth = planned if planned is not None else line.at + (visible or 0.0)
    power = power_at(sample, truth, line.at, alpha)
    decided: Decided = "yes"
    if line.role == "guardrail" and _best_bound(measure, sample, alpha) <= line.at:
        decided = "no"
    elif power < POOREST_POWER:
        decided = "no" if basis.stored else "assumed"
    return RowPower(
        role=line.role,
        metric=line.metric,
        line=line.at,
        unit=measure.unit,
        items=sample.items,
        clusters=sample.clusters,
        spread=basis.source,
        visible=visible,
        truth=truth,
        power=power,
        decided=decided,
    )


def _best_bound(measure: Measure, sample: Sample, alpha: float) -> float:
    """The lower bound at this look's level if not one item changed: what no spread, however small, can beat."""
    low, high = UNIT_RANGE.get(measure.unit, (0.0, 0.0))
    return tango(0, 0, sample.clusters, 1 - 2 * alpha)[0] * (high - low)


def _basis(context: Context, metric: str, measure: Measure) -> _Basis | None:
    items, clusters = sum(measure.sizes), len(measure.sizes)
    seen = _seen(context, metric)
    if seen is not None and seen.standard_error is not None:
        return _Basis(sample_like(seen, items, clusters), f"from {seen.items} dev items stored", True)
    if measure.unit not in ASSUMED_SD or measure.aggregate != "mean":
        return None
    share = measure.unit == "share"
    sample = Sample(
        items=items,
        clusters=clusters,
        spread=ASSUMED_SD[measure.unit],
        effect=design_effect(measure.sizes, ASSUMED_CORRELATION),
        flips=ASSUMED_FLIPS if share and clusters == items else None,
    )
    return _Basis(
        sample, "10 % of items assumed to flip" if share else f"spread assumed {ASSUMED_SD['points']:g}", False
    )


def _seen(context: Context, metric: str) -> Interval | None:
    """The paired difference on dev of a stored adapter against a stored base on this very evalset; None without."""
    evalset = metric.split("/")[0]
    try:
        hashes = {one.sha256 for one in context.evalsets if one.name == evalset}
        if evalset == "lm_eval":
            settings = context.spec.evaluate.lm_eval
            hashes = {lm_eval.content(settings, context.task_sets)} if settings else set()
        records = [EvalRecord.read(path) for path in sorted(context.lab.evals.glob("*/eval.json"))]
        mine = [one for one in records if one.evalset == evalset and one.evalset_sha256 in hashes]
        bases = [one for one in mine if one.subject.identity == context.base_subject.identity]
        others = [one for one in mine if one.subject.kind == "adapter" and not one.subject.repeat]
        if not bases or not others:
            return None
        newest = max(others, key=lambda one: one.created)
        found = store.subject_scores(context.lab, [newest.eval_id, bases[-1].eval_id])
    except StoreError:  # not published yet: nothing is known
        return None
    sides = [one for one in found if one.metric == metric and one.split == "dev"]
    return compare(sides[0], sides[1]).difference if len(sides) == 2 else None


def _sizes(clusters: list[str]) -> list[int]:
    counts: dict[str, int] = {}
    for cluster in clusters:
        counts[cluster] = counts.get(cluster, 0) + 1
    return list(counts.values())


def _tasks(context: Context, settings: LmEval, metric: str) -> list[lm_eval.TaskFacts]:
    """What lm-eval says of the tasks; for the accuracy of a task of ours its own file says enough, without lm-eval."""
    task = metric.removeprefix("lm_eval/").rpartition("/")[0]
    if task in settings.tasks and metric.endswith(("/acc", "/acc_norm")) and _own_sizes(context.task_sets, task):
        accuracy = {f"{task}/{name}": MetricInfo() for name in ("acc", "acc_norm")}
        return [lm_eval.TaskFacts(task, 0, 0, accuracy, {})]
    return lm_eval.facts(context.lab, settings, context.task_sets)


def _own_sizes(task_sets: list[Evalset], task: str) -> list[int]:
    """Release items per cluster of our own lm-eval task; empty for any other."""
    for evalset in task_sets:
        path = evalset.folder / evalset.definition.items
        if task in evalset.definition.tasks and path.is_file():
            rows = [row for _, row in read_json_lines(path) if row.get("split", "release") == "release"]
            return _sizes([str(row.get("cluster", row.get("id", number))) for number, row in enumerate(rows)])
    return []
