"""What stands around a report's comparisons, gathered from the lab: curves, costs, speeds, examples, provenance."""

from __future__ import annotations

import json
from collections.abc import Iterable

from harness import store
from harness.core.paths import Lab
from harness.core.records import AdapterRecord, EvalRecord
from harness.error_analysis import Difference, differences, tag_counts, with_tags
from harness.evalset import OPEN_SPLITS
from harness.evaluate.business import results
from harness.gate import Comparison
from harness.pipeline.tag_events import tags_of
from harness.report import Report
from harness.report.context_plots import CURVES
from harness.report.extras import Curve, Extras, RunCost, Speed
from harness.report.words import chosen_of

MOST_EXAMPLES = 12  # of each kind; the page shows fewer, the dashboard all

STEPS = """
SELECT run_id, metric, list(step ORDER BY step) AS steps, list(value ORDER BY step) AS found
FROM (SELECT run_id, metric, step, arg_max(value, rowid) AS value FROM train_steps
      WHERE list_contains(?, run_id) AND list_contains(?, metric) AND isfinite(value) GROUP BY ALL)
GROUP BY ALL ORDER BY run_id, metric"""
SPEEDS = """
SELECT i.eval_id, any_value(e.evalset), count(*), median(i.latency_s), quantile_cont(i.latency_s, 0.95),
       median(i.completion_tokens)
FROM items i JOIN evals e ON e.eval_id = i.eval_id
WHERE list_contains(?, i.eval_id) AND i.latency_s IS NOT NULL
GROUP BY i.eval_id"""
SOURCES = """
SELECT eval_id, subject_label, kind, evalset, evalset_version, evalset_sha256, base_sha256, adapter_sha256, engine,
       decoding, versions
FROM evals WHERE list_contains(?, eval_id)"""


def gather(lab: Lab, report: Report, alias: str | None = None, serving: str | None = None) -> Extras:
    """Everything for `as_html` that the published store and the lab's records know of a report's plan.

    `alias`: what the verdict decides on; `serving`: the label of what it serves now. Raises StoreError without a store.
    """
    runs = {one.run_id: one.candidate for one in report.candidates if one.run_id}
    labels, compared = labels_of(report), _first_primary(report)
    stored = compared and lab.eval_record(compared.candidate_eval).is_file()  # a campaign's pairs are no items
    items = items_of(lab, compared) if compared and stored else []
    return Extras(
        alias=alias,
        serving=serving,
        curves=curves_of(lab, runs),
        costs=_costs(lab, runs),
        speeds=_speeds(lab, labels),
        metric=compared.metric if compared else "",
        examples=_some(items),
        tags=tag_counts(items, compared.info) if compared else [],
        provenance=_provenance(lab, labels, runs),
    )


def labels_of(report: Report) -> dict[str, str]:
    """eval_id -> what this report calls its subject."""
    compared = [one for candidate in report.candidates for one in candidate.comparisons]
    found = {one.candidate_eval: one.candidate for one in compared}
    return found | {one.against_eval: one.against for one in compared}


def curves_of(lab: Lab, runs: dict[str, str]) -> list[Curve]:
    """What training logged of some runs (run id -> label), as far as it is drawn."""
    _, rows = store.query(lab, STEPS, [list(runs), list(CURVES)])
    return [
        Curve(run_id=run_id, label=runs[run_id], name=name, steps=steps, values=values)
        for run_id, name, steps, values in rows
    ]


def _costs(lab: Lab, runs: dict[str, str]) -> list[RunCost]:
    records = [AdapterRecord.read(lab.adapter_record(run)) for run in runs if lab.adapter_record(run).is_file()]
    return [
        RunCost(
            run_id=one.run_id,
            label=runs[one.run_id],
            trainable_parameters=one.trainable_parameters,
            bytes=one.bytes,
            seconds=one.summary.seconds,
            tokens=one.summary.tokens,
        )
        for one in records
    ]


def _speeds(lab: Lab, labels: dict[str, str]) -> list[Speed]:
    _, rows = store.query(lab, SPEEDS, [list(labels)])
    found = [
        Speed(
            subject=labels[eval_id],
            evalset=evalset,
            items=items,
            median_s=median,
            p95_s=p95,
            median_tokens=tokens,
        )
        for eval_id, evalset, items, median, p95, tokens in rows
    ]
    return sorted(found, key=lambda one: (one.evalset, one.median_s, one.subject))


def items_of(lab: Lab, one: Comparison) -> list[Difference]:
    """Items of `tune` and `dev` of one comparison, side by side with their tags. What decides stays sealed."""
    sides = [results(lab.evals / eval_id) for eval_id in (one.candidate_eval, one.against_eval)]
    mine, theirs = ({name: item for name, item in side.items() if item.split in OPEN_SPLITS} for side in sides)
    found = differences(mine, theirs, (one.candidate, one.against), one.metric.partition("/")[2], one.info)
    return with_tags(found, tags_of(lab, EvalRecord.read(lab.eval_record(one.candidate_eval)).evalset_sha256))


def _some(found: list[Difference]) -> list[Difference]:
    kinds = ([item for item in found if item.outcome == kind][:MOST_EXAMPLES] for kind in ("fixed", "broke"))
    return [item for kind in kinds for item in kind]


def _first_primary(report: Report) -> Comparison | None:
    """The chosen candidate's comparison on the primary; the first one there is without a gate."""
    chosen = chosen_of(report)
    if chosen is None:
        return None
    primary = [row.comparison for row in chosen.rows if row.role == "primary" and row.comparison]
    return next(iter([*primary, *chosen.comparisons]), None)


def _provenance(lab: Lab, labels: dict[str, str], runs: dict[str, str]) -> list[tuple[str, str]]:
    """Hashes and versions: of evalsets, bases, adapters, data, engines and packages, each once."""
    columns, rows = store.query(lab, SOURCES, [list(labels)])
    evals = [dict(zip(columns, row, strict=True)) for row in rows]
    found: dict[str, str] = {}
    for one in evals:
        found[f"evalset {one['evalset']} ({one['evalset_version']})"] = one["evalset_sha256"]
        found[f"decoding of {one['evalset']}"] = one["decoding"]
    found |= _numbered("base", (one["base_sha256"] for one in evals))
    found |= {f"adapter {labels[one['eval_id']]}": one["adapter_sha256"] for one in evals if one["adapter_sha256"]}
    found |= {f"run {label}": run_id for run_id, label in runs.items()}
    _, data = store.query(
        lab, "SELECT DISTINCT sha256 FROM run_data WHERE list_contains(?, run_id) ORDER BY ALL", [list(runs)]
    )
    found |= _numbered("training data", (sha256 for (sha256,) in data))
    found |= _numbered("engine", (_facts(one["engine"]) for one in evals if one["engine"] not in (None, "{}")))
    found |= _numbered("packages", (_facts(one["versions"]) for one in evals if one["versions"]))
    found |= {f"evaluation of {labels[one['eval_id']]} on {one['evalset']}": one["eval_id"] for one in evals}
    return list(found.items())


def _numbered(name: str, values: Iterable[str]) -> dict[str, str]:
    """One entry per different value: 'base', or 'base 1', 'base 2'."""
    different = sorted(set(values))
    return {f"{name} {number}" if len(different) > 1 else name: one for number, one in enumerate(different, start=1)}


def _facts(value: str) -> str:
    return ", ".join(f"{name} {fact}" for name, fact in json.loads(value).items())
