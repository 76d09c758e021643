"""What a lab holds and what is going on in it, read from records and journals (live, not from the store)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from harness import campaign as campaign_files
from harness.core.errors import LabError
from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, EvalRecord, PlanRecord, RegistryRecord, RunJob
from serve import engine


def status(lab: Lab) -> dict[str, Any]:
    """Per plan: runs by state; engines; campaigns."""
    return {
        "lab": str(lab.root),
        "plans": [plan_status(lab, plan) for plan in plan_records(lab)],
        "engines": [
            {
                "engine_id": found.engine_id,
                "url": found.url,
                "state": found.state,
                "restarts": found.restarts,
                "base": found.spec["base_path"],
            }
            for found in engine.running(lab)
        ],
        "campaigns": campaigns(lab),
    }


def inventory(lab: Lab) -> dict[str, Any]:
    """Plans, finished runs, stored evaluations, versions and aliases, campaigns."""
    runs = [AdapterRecord.read(path) for path in sorted(lab.runs.glob("*/adapter.json"))]
    evals = [EvalRecord.read(path) for path in sorted(lab.evals.glob("*/eval.json"))]
    registries = [RegistryRecord.read(path) for path in sorted(lab.registry.glob("*.json"))]
    return {
        "lab": str(lab.root),
        "plans": [plan_status(lab, plan) for plan in plan_records(lab)],
        "runs": [_run_row(record) for record in sorted(runs, key=lambda record: record.created)],
        "evals": len(evals),
        "versions": [row for record in registries for row in _version_rows(record)],
        "campaigns": campaigns(lab),
    }


def plan_records(lab: Lab) -> list[PlanRecord]:
    """Oldest first."""
    return sorted((PlanRecord.read(path) for path in lab.plans.glob("*/plan.json")), key=lambda plan: plan.created)


def campaigns(lab: Lab) -> list[dict[str, Any]]:
    return [
        {
            "campaign": record.campaign,
            "name": record.name,
            "subjects": [subject.label for subject in record.subjects],
            "pairs": record.pairs,
            "votes": len(campaign_files.read_votes(lab, record.campaign)),
            "created": record.created,
        }
        for record in campaign_files.list_all(lab)
    ]


def plan_status(lab: Lab, plan: PlanRecord) -> dict[str, Any]:
    """A plan's runs with their states, and its verdict if it was reported."""
    report = lab.reports / f"{plan.plan_id}.json"
    runs = [{"run_id": job.run_id, "label": job.label, **_run_state(lab, job)} for job in plan.runs]
    return {
        "plan_id": plan.plan_id,
        "name": plan.name,
        "spec": plan.spec_path,
        "runs": runs,
        "finished": sum(run["state"] == "finished" for run in runs),
        "verdict": read_json(report).get("verdict") if report.is_file() else None,
        "reported": report.is_file(),
        "created": plan.created,
    }


def _run_state(lab: Lab, job: RunJob) -> dict[str, Any]:
    folder = lab.runs / job.run_id
    if lab.adapter_record(job.run_id).is_file():
        return {"state": "finished"}
    steps: dict[str, Any] = {}
    for last in logged(folder / "metrics.jsonl", 1):
        steps = {key: last[key] for key in ("step", "total", "loss") if key in last}
    return {"state": "started", **steps} if steps else {"state": "missing"}


def logged(path: Path, last: int = 0) -> list[dict[str, Any]]:
    """What training logged so far, oldest first; the `last` steps of it, or all. A torn last line is left out.

    Raises LabError for a whole line that is not JSON.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")[:-1]
    except FileNotFoundError:
        return []
    try:
        return [json.loads(line) for line in lines[-last:]]
    except ValueError as error:
        raise LabError(f"{path} is damaged", "take the run's folder away: it is trained again") from error


def _run_row(record: AdapterRecord) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "label": record.job.label,
        "method": record.job.method["type"],
        "rank": record.rank,
        "trainable_parameters": record.trainable_parameters,
        "bytes": record.bytes,
        "final_loss": record.summary.final_loss,
        "seconds": record.summary.seconds,
        "created": record.created,
    }


def _version_rows(record: RegistryRecord) -> list[dict[str, Any]]:
    return [
        {
            "version": f"{record.name}@v{version.version}",
            "run_id": version.run_id,
            "verdict": version.verdict,
            "forced": version.forced_reason,
            "aliases": [alias for alias, number in record.aliases.items() if number == version.version],
            "created": version.created,
        }
        for version in record.versions
    ]
