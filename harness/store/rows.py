"""What each kind of record in a lab becomes in the store: rows by table. Reads nothing but the record it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.core.errors import LabError
from harness.core.rating import AnyAct, CampaignRecord, Pair
from harness.core.records import AdapterRecord, EvalRecord, ParityRecord, PlanRecord, RegistryRecord

Rows = dict[str, list[dict[str, Any]]]


def metric_name(evalset: str, name: str) -> str:
    """The name a gate uses: 'aac/chrf'; for lm-eval, whose scores carry the task, 'lm_eval/tiny_general/acc'."""
    return f"{evalset}/{name}"


def plan_rows(record: PlanRecord) -> Rows:
    plan = record.model_dump(mode="json", exclude={"runs", "folder"})
    runs = [{"plan_id": record.plan_id, "run_id": run.run_id, "label": run.label} for run in record.runs]
    return {"plans": [plan], "plan_runs": runs}


def run_rows(record: AdapterRecord) -> Rows:
    job = record.job
    run = {
        "run_id": record.run_id,
        "label": job.label,
        "method": str(job.method.get("type", "")),
        "quantization": job.quantization,
        "seed": job.seed,
        "base_source": job.base.source,
        "base_sha256": job.base.sha256,
        "data_sha256": [data.sha256 for data in job.data],
        "init_adapter_sha256": job.init_adapter_sha256,
        "adapter_sha256": record.sha256,
        "rank": record.rank,
        "trainable_parameters": record.trainable_parameters,
        "bytes": record.bytes,
        **record.summary.model_dump(),
        "settings": {"method": job.method, "adapter": job.adapter, "arguments": job.arguments},
        "versions": record.versions,
        "created": record.created,
    }
    return {"runs": [run], "run_data": [{"run_id": record.run_id, **data.model_dump()} for data in job.data]}


def eval_rows(record: EvalRecord) -> Rows:
    """The evaluation and its metrics; items and scores come from its journals."""
    subject = record.subject
    row = record.model_dump(mode="json", exclude={"metrics", "journals"}) | {
        "subject_label": subject.label,
        "subject_kind": subject.kind,
        "subject_sha256": subject.identity,
        "run_id": subject.run_id,
        "base_sha256": subject.base_sha256,
        "adapter_sha256": subject.adapter_sha256,
        "prompting": subject.prompting.kind,
        "shots": subject.prompting.shots,
    }
    metrics = [
        {"eval_id": record.eval_id, "metric": metric_name(record.evalset, name), **info.model_dump()}
        for name, info in record.metrics.items()
    ]
    return {"evals": [row], "metrics": metrics}


def parity_rows(record: ParityRecord) -> Rows:
    return {"parity": [record.model_dump(mode="json")]}


def campaign_rows(record: CampaignRecord) -> Rows:
    row = record.model_dump(mode="json", exclude={"pool"})
    return {"campaigns": [row | {"pool_path": record.pool.path, "pool_sha256": record.pool.sha256}]}


def pair_row(campaign: str, pair: Pair) -> dict[str, Any]:
    return {
        "campaign": campaign,
        **pair.model_dump(exclude={"a", "b", "explanation"}),
        "a_subject": pair.a.subject,
        "a_text": pair.a.text,
        "b_subject": pair.b.subject,
        "b_text": pair.b.text,
    }


def act_row(act: AnyAct) -> dict[str, Any]:
    """The fields that all acts have as columns, the whole act as its body."""
    body = act.model_dump(mode="json")
    columns = ("event_id", "campaign", "kind", "who", "at", "pair_id")
    return {name: body.get(name) for name in columns} | {"body": body}


def registry_rows(record: RegistryRecord) -> Rows:
    versions = [
        {"name": record.name, **version.model_dump(mode="json", exclude={"base_path"})} for version in record.versions
    ]
    moves = [{"name": record.name, **_or_null(move.model_dump(mode="json"))} for move in record.history]
    return {"versions": versions, "alias_moves": moves}


def _or_null(move: dict[str, Any]) -> dict[str, Any]:
    """No weights are NULL, as in rows that older versions wrote."""
    return move | {key: move[key] or None for key in ("weights_before", "weights_after")}


def verdict_rows(path: Path, report: Any) -> Rows:
    """One row per candidate of a report: {plan_id, created, candidates: [{candidate, run_id, verdict, …}]}."""
    try:
        rows = [
            {
                "plan_id": report["plan_id"],
                "created": report["created"],
                "candidate": found["candidate"],
                "run_id": found.get("run_id"),
                "verdict": found["verdict"],
                "body": found,
            }
            for found in report["candidates"]
        ]
    except (KeyError, TypeError) as error:
        raise LabError(f"{path} is not a report ({error})", "run `ratchet report` again") from error
    return {"verdicts": rows}
