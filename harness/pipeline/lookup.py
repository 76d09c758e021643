"""One thing of a lab by its id, as `ratchet show` prints it: a plan, a run, an evaluation or a version."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.core.errors import InputError
from harness.core.paths import Lab, check_name, read_json
from harness.core.records import AdapterRecord, EvalRecord, PlanRecord
from harness.pipeline.disputes import disputes
from harness.pipeline.status import plan_status
from harness.spec import Gate
from serve import registry

Facts = dict[str, Any]


def look_up(lab: Lab, name: str) -> Facts:
    """What the lab knows of `p-…`, `r-…`, `e-…`, `NAME@vN`, `NAME@ALIAS` or `NAME`; `what` says what it is.

    Raises InputError (RegistryError for a version or alias) where there is nothing of that name.
    """
    if name[:2] not in KINDS:
        version = registry.resolve(lab, name)
        known = registry.parse(name).name
        facts = version.model_dump(exclude={"version"})
        return {"what": "version", "version": f"{known}@v{version.version}", **facts, **_disputed(lab, version.run_id)}
    return KINDS[name[:2]](lab, check_name(name, "id"))


def _plan(lab: Lab, name: str) -> Facts:
    path = lab.plans / name / "plan.json"
    if not path.is_file():
        raise InputError(f"there is no plan {name} in {lab.root}", "see `ratchet ls`")
    plan = PlanRecord.read(path)
    report = lab.reports / f"{name}.json"
    found = read_json(report) if report.is_file() else {}
    pages = [str(report.with_suffix(end)) for end in (".html", ".md") if report.with_suffix(end).is_file()]
    gate = Gate.model_validate(plan.gate) if plan.gate else None
    return {
        "what": "plan",
        **plan_status(lab, plan),
        "folder": plan.folder,
        "gate": _gate(gate) if gate else [],
        "reason": found.get("reason"),
        "look": found.get("look"),
        "pages": pages,
        "disputes": [one.model_dump(mode="json") for one in disputes(lab, plan_id=name)],
    }


def _gate(gate: Gate) -> list[str]:
    """The gate's lines in words, the primary first."""
    primary = gate.primary
    won = f"{primary.metric} must gain more than {primary.min_gain:g} on {', '.join(primary.better_than)}"
    rails = [
        f"{rail.metric} must not lose {rail.max_loss:g} or more to {', '.join(dict.fromkeys([*rail.against, 'base']))}"
        for rail in gate.guardrails
    ]
    return [won, *rails]


def _run(lab: Lab, name: str) -> Facts:
    path = lab.adapter_record(name)
    if path.is_file():
        facts = AdapterRecord.read(path).model_dump(mode="json")
        return {"what": "run", "state": "finished", **facts, **_disputed(lab, name)}
    for plan in (PlanRecord.read(path) for path in sorted(lab.plans.glob("*/plan.json"))):
        for run in plan_status(lab, plan)["runs"]:
            if run["run_id"] == name:
                return {"what": "run", **run, "plan_id": plan.plan_id}
    raise InputError(f"there is no run {name} in {lab.root}", "see `ratchet ls`")


def _disputed(lab: Lab, run_id: str) -> Facts:
    """What people dispute of the verdicts on a run."""
    return {"disputes": [one.model_dump(mode="json") for one in disputes(lab, run_ids=[run_id])]}


def _evaluation(lab: Lab, name: str) -> Facts:
    path = lab.eval_record(name)
    if not path.is_file():
        raise InputError(f"there is no evaluation {name} in {lab.root}", 'see `ratchet sql "from evals"`')
    return {"what": "evaluation", **EvalRecord.read(path).model_dump(mode="json")}


KINDS: dict[str, Callable[[Lab, str], Facts]] = {"p-": _plan, "r-": _run, "e-": _evaluation}
