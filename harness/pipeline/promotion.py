"""Promote and roll back: a verdict in, an immutable version and a moved alias out."""

from __future__ import annotations

from typing import Any

from harness import store
from harness.core.errors import InputError, RegistryError
from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, PlanRecord, Verdict, Version, now
from harness.gate import EXIT_CODES
from harness.pipeline.context import RUN_ID
from harness.report import Report
from serve import registry

BEST = "best"


def promote(lab: Lab, run_id: str, alias_name: str, reason: str, force: bool, who: str) -> dict[str, Any]:
    """Mint `name@vN` from a run and move the alias, if the run's newest verdict is SHIP against what it serves now.

    `run_id` may be `best`: the candidate that the name's newest report chose on dev. Returns text, version and exit
    code (10 to 12 when the verdict is not SHIP and nothing moved). Raises InputError for an unknown run, RegistryError
    when the alias moved since the verdict.
    """
    reference = registry.parse(alias_name)
    if reference.alias is None:
        raise InputError(f"{alias_name!r} is a version", "name an alias to move, e.g. aac@prod")
    if force and not reason:
        raise InputError("--force needs --reason", "say why; it stays in the history")
    run_id = _best(lab, reference.name) if run_id == BEST else run_id
    record = _adapter(lab, run_id)
    found = _newest_verdict(lab, run_id)
    current = registry.read(lab, reference.name)
    serving = current.aliases.get(reference.alias)
    if serving is not None and _sha256_of_version(current.versions, serving) == record.sha256:
        text = f"{reference.name}@{reference.alias} serves {run_id} already, as v{serving}"
        return _moved_to(text, reference.name, reference.alias, serving, serving)
    if not force:
        refused = _refusal(found, run_id, alias_name, _sha256_of_version(current.versions, serving))
        if refused:
            return refused
    version = registry.add_version(
        lab, reference.name, _version(record, found, reason if force else None), lab.runs / run_id / "adapter"
    )
    verdict = f"verdict SHIP in plan {found[0].plan_id}" if found and found[1] == "SHIP" else "forced"
    why = f"{verdict}: {reason}" if reason else verdict
    registry.move(
        lab, reference.name, reference.alias, version.version, who=who, why=why, expected_current=serving or 0
    )
    store.ingest(lab)
    before = f" (it served v{serving})" if serving and serving != version.version else ""
    text = f"{reference.name}@{reference.alias} -> v{version.version} = {run_id}{before}"
    return _moved_to(text, reference.name, reference.alias, version.version, serving)


def _moved_to(text: str, name: str, alias: str, version: int, before: int | None) -> dict[str, Any]:
    return {"text": text, "name": name, "alias": alias, "version": version, "before": before, "exit_code": 0}


def rollback(lab: Lab, name: str, why: str, who: str) -> dict[str, Any]:
    """Move an alias back to what it served before."""
    reference = registry.parse(name)
    if reference.alias is None:
        raise InputError(f"{name!r} is a version", "name the alias to roll back, e.g. aac@prod")
    record = registry.rollback(lab, reference.name, reference.alias, who=who, why=why)
    store.ingest(lab)
    move = record.history[-1]
    return {
        "text": f"{reference.name}@{reference.alias} -> v{move.after} (it served v{move.before})",
        "name": reference.name,
        "alias": reference.alias,
        "version": move.after,
        "before": move.before,
    }


def _reports(lab: Lab) -> list[Report]:
    """Every stored report, oldest first."""
    found = [Report.model_validate(read_json(path)) for path in lab.reports.glob("p-*.json")]
    return sorted(found, key=lambda report: report.created)


def _best(lab: Lab, name: str) -> str:
    """The run that the newest report of `name` chose."""
    # by the plan's age, not the report's: looking at an old plan again must not change what is best now
    reports = [report for report in _reports(lab) if report.name == name]
    reports.sort(key=lambda report: _planned(lab, report))
    if not reports:
        raise InputError(
            f"there is no report of {name!r} in {lab.root}", "run a spec of that name first, or name a run"
        )
    chosen = next((one.run_id for one in reports[-1].candidates if one.chosen), None)
    if chosen is None:
        raise InputError(f"the newest report of {name} ({reports[-1].plan_id}) chose no run", "name the run to promote")
    return chosen


def _planned(lab: Lab, report: Report) -> str:
    """When the report's plan was made; the report's own time where the plan was taken away."""
    path = lab.plans / report.plan_id / "plan.json"
    return PlanRecord.read(path).created if path.is_file() else report.created


def _adapter(lab: Lab, run_id: str) -> AdapterRecord:
    path = lab.adapter_record(run_id)
    if not RUN_ID.fullmatch(run_id) or not path.is_file():
        raise InputError(f"there is no finished run {run_id!r} in {lab.root}", "see `ratchet ls` for run ids")
    return AdapterRecord.read(path)


def _newest_verdict(lab: Lab, run_id: str) -> tuple[Report, Verdict | None] | None:
    """The newest report that judged this run, and its verdict."""
    found = [(report, one.verdict) for report in _reports(lab) for one in report.candidates if one.run_id == run_id]
    return found[-1] if found else None


def _refusal(
    found: tuple[Report, Verdict | None] | None, run_id: str, alias: str, serving_sha256: str | None
) -> dict[str, Any] | None:
    """Why nothing may move, with the verdict's exit code; None when it may."""
    if found is None:
        raise InputError(f"run {run_id} has no verdict", "give its spec a gate and run it, or use --force --reason")
    report, verdict = found
    reason = next(one.reason for one in report.candidates if one.run_id == run_id)
    if verdict is None:
        why = reason or "its spec has no gate"
        raise InputError(f"run {run_id} has no verdict: {why}", "promote the one that was judged, or --force --reason")
    if verdict != "SHIP":
        text = f"not promoted: {verdict} in plan {report.plan_id}: {reason} (--force --reason overrides, on record)"
        return {"text": text, "verdict": verdict, "exit_code": EXIT_CODES[verdict or "INVALID"]}
    if report.advisory:
        raise InputError(
            f"the verdict of {run_id} is advisory: its gate was overruled ({report.advisory})",
            "promote it with --force --reason, or with a gate that can be decided",
        )
    if report.incumbent_sha256 != serving_sha256:
        raise RegistryError(
            f"the verdict of {run_id} is stale: {alias} serves another adapter than it was compared with",
            "run the spec again, which compares with what is served now",
        )
    return None


def _sha256_of_version(versions: list[Version], number: int | None) -> str | None:
    return next((version.adapter_sha256 for version in versions if version.version == number), None)


def _version(record: AdapterRecord, found: tuple[Report, Verdict | None] | None, reason: str | None) -> Version:
    """`version` is set by the registry."""
    return Version(
        version=0,
        run_id=record.run_id,
        adapter_sha256=record.sha256,
        base_sha256=record.job.base.sha256,
        base_path=record.job.base.path,
        verdict=found[1] if found else None,
        plan_id=found[0].plan_id if found else None,
        forced_reason=reason,
        created=now(),
    )
