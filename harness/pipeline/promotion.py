"""Promote and roll back: a verdict in, an immutable version and a moved alias out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, TypeAlias

from harness import store
from harness.core.errors import EngineError, InputError, RegistryError
from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, PlanRecord, RegistryRecord, Verdict, Version, now
from harness.gate import EXIT_CODES
from harness.pipeline.context import RUN_ID
from harness.pipeline.contract import contract_of
from harness.report import Report
from serve import adapters, engine, registry, webhooks

BEST = "best"
Judged: TypeAlias = tuple[Report, Verdict | None]


class Alias(NamedTuple):
    """`name@alias`, taken apart."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}"


def promote(
    lab: Lab, run_id: str, alias_name: str, reason: str, force: bool, who: str, judged_for: str = ""
) -> dict[str, Any]:
    """Mint `name@vN` from a run and move the alias, if the run's newest verdict is SHIP against what it serves now.

    `run_id` may be `best`: the candidate that the name's newest report chose on dev. `judged_for`: the alias that the
    verdict was made for, which must be said where another one is to move. Returns text, version and exit code (10 to 12
    when the verdict is not SHIP and nothing moved). Raises InputError for an unknown run, RegistryError when the alias
    moved since the verdict, or a running engine cannot load the adapter.
    """
    reference = alias_of(alias_name, "name an alias to move, e.g. aac@prod")
    if force and not reason:
        raise InputError("--force needs --reason", "say why; it stays in the history")
    run_id = _best(lab, reference.name) if run_id == BEST else run_id
    record = _adapter(lab, run_id)
    found = newest_verdict(lab, run_id)
    current = registry.read(lab, reference.name)
    serving = current.aliases.get(reference.alias)
    alone = registry.weights_of(current, reference.alias) == {serving: 1}
    is_main = sha256_of_version(current, serving) == record.sha256
    if is_main and serving and alone:
        text = f"{reference.name}@{reference.alias} serves {run_id} already, as v{serving}"
        return _moved_to(text, reference.name, reference.alias, serving, serving)
    if not force and not is_main:
        refused = refusal(lab, found, run_id, reference, judged_for)
        if refused:
            return refused
    version = registry.add_version(
        lab, reference.name, _version(lab, record, found, reason if force else None), lab.runs / run_id / "adapter"
    )
    warned = preload(lab, f"{reference.name}@v{version.version}", version.base_sha256)
    moved = registry.move(
        lab,
        reference.name,
        reference.alias,
        version.version,
        who=who,
        why=_why(found, force, is_main, reference, reason),
        expected_current=serving or 0,
    )
    before = f" (it served v{serving})" if serving and serving != version.version else ""
    text = f"{reference.name}@{reference.alias} -> v{version.version} = {run_id}{before}"
    result = _moved_to(text, reference.name, reference.alias, version.version, serving)
    return result | {"warnings": [*warned, *announce(lab, moved)]}


def alias_of(name: str, fix: str) -> Alias:
    reference = registry.parse(name)
    if reference.alias is None:
        raise InputError(f"{name!r} is a version", fix)
    return Alias(reference.name, reference.alias)


def _moved_to(text: str, name: str, alias: str, version: int, before: int | None) -> dict[str, Any]:
    moved = {"text": text, "name": name, "alias": alias, "version": version, "before": before}
    return moved | {"exit_code": 0, "warnings": []}


def _why(found: Judged | None, force: bool, is_main: bool, alias: Alias, reason: str) -> str:
    """What the history says of a promotion."""
    said = "forced"
    if found and found[1] == "SHIP":
        judged = judged_alias(found[0])
        elsewhere = "" if judged == str(alias) else f", judged for {judged}"
        said = f"verdict SHIP in plan {found[0].plan_id}{elsewhere}"
    elif is_main and not force:
        said = "the main version answers alone again"
    return f"{said}: {reason}" if reason else said


def preload(lab: Lab, model: str, base_sha256: str) -> list[str]:
    """Have the lab's running engines load a version, so that no app waits for it; what could not be asked, in lines.

    Raises RegistryError when an engine refuses it: then nobody could use it, and no alias should point there.
    """
    said = []
    for lease in engine.running(lab):
        ours = lease.spec["registry"] == str(lab.registry) and lease.spec["base_sha256"] == base_sha256
        if lease.state != "ready" or not ours:
            continue
        try:
            problem = adapters.warm(lease, model)
        except EngineError as error:  # it restarts, or ends: it will load the version when it is asked
            said.append(f"{model} was not loaded ahead of time: {error.problem}")
            continue
        if problem:
            fix = "if it is too large for that engine, `ratchet stop` and start it again; else train or upload it again"
            raise RegistryError(f"engine {lease.engine_id} does not load {model}: {problem}", fix)
    return said


def announce(lab: Lab, record: RegistryRecord) -> list[str]:
    """Tell the store and the webhooks of the newest move; one line per webhook that could not be told."""
    problems = webhooks.tell(lab, record.name, record.history[-1])
    store.ingest(lab)
    return problems


def rollback(lab: Lab, name: str, why: str, who: str) -> dict[str, Any]:
    """Give an alias back what it served before, weights included."""
    reference = alias_of(name, "name the alias to roll back, e.g. aac@prod")
    record = registry.rollback(lab, reference.name, reference.alias, who=who, why=why)
    move = record.history[-1]
    shares = shares_text(move.weights_after)
    return {
        "text": f"{reference.name}@{reference.alias} -> {shares or f'v{move.after}'} (it served v{move.before})",
        "name": reference.name,
        "alias": reference.alias,
        "version": move.after,
        "before": move.before,
        "weights": move.weights_after,
        "warnings": announce(lab, record),
    }


def shares_text(weights: Mapping[int, int]) -> str:
    """'v7 90 %, v8 10 %'; empty where one version answers everything."""
    total = sum(weights.values())
    return ", ".join(f"v{version} {100 * weight / total:.3g} %" for version, weight in weights.items())


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


def newest_verdict(lab: Lab, run_id: str) -> Judged | None:
    """The newest report that judged this run, and its verdict."""
    found = [(report, one.verdict) for report in _reports(lab) for one in report.candidates if one.run_id == run_id]
    return found[-1] if found else None


def judged_alias(report: Report) -> str:
    """The alias whose version was the incumbent of a report."""
    named = report.gate.incumbent if report.gate else None
    return str(alias_of(named or f"{report.name}@{registry.DEFAULT_ALIAS}", ""))


def refusal(lab: Lab, found: Judged | None, run_id: str, alias: Alias, judged_for: str) -> dict[str, Any] | None:
    """Why `alias` may not be moved to a run, with the verdict's exit code; None when it may."""
    if found is None:
        raise InputError(f"run {run_id} has no verdict", "give its spec a gate and run it, or use --force --reason")
    report, verdict = found
    reason = next(one.reason for one in report.candidates if one.run_id == run_id)
    if verdict is None:
        why = reason or "its spec has no gate"
        raise InputError(f"run {run_id} has no verdict: {why}", "promote the one that was judged, or --force --reason")
    if verdict != "SHIP":
        text = f"not promoted: {verdict} in plan {report.plan_id}: {reason} (--force --reason overrides, on record)"
        return {"text": text, "verdict": verdict, "exit_code": EXIT_CODES[verdict or "INVALID"], "warnings": []}
    if report.advisory:
        raise InputError(
            f"the verdict of {run_id} is advisory: its gate was overruled ({report.advisory})",
            "promote it with --force --reason, or with a gate that can be decided",
        )
    _check_alias(lab, report, run_id, alias, judged_for)
    return None


def _check_alias(lab: Lab, report: Report, run_id: str, alias: Alias, judged_for: str) -> None:
    """A verdict says "better than what that alias serves". For another alias it must still say that, and be stated.

    Another alias that serves nothing yet is as good as the one of the verdict, while that one has not moved since.
    """
    judged = judged_alias(report)
    if judged_for and str(alias_of(judged_for, "name the alias of the verdict")) != judged:
        raise InputError(f"the verdict of {run_id} was made for {judged}, not for {judged_for}", f"say {judged}")
    if str(alias) != judged and not judged_for:
        raise InputError(
            f"the verdict of {run_id} was made for {judged}, not for {alias}",
            f"run a spec with gate.incumbent: {alias}, or say --judged-for {judged} if that is what you mean",
        )
    serving = _serving_sha256(lab, alias)
    if serving is None and str(alias) != judged:
        serving = _serving_sha256(lab, alias_of(judged, ""))
    if report.incumbent_sha256 != serving:
        raise RegistryError(
            f"the verdict of {run_id} is stale: {alias} serves another adapter than it was compared with",
            "run the spec again, which compares with what is served now",
        )


def _serving_sha256(lab: Lab, alias: Alias) -> str | None:
    """Of the alias' main version; None while it is not set."""
    record = registry.read(lab, alias.name)
    return sha256_of_version(record, record.aliases.get(alias.alias))


def sha256_of_version(record: RegistryRecord, number: int | None) -> str | None:
    return next((version.adapter_sha256 for version in record.versions if version.version == number), None)


def _version(lab: Lab, record: AdapterRecord, found: Judged | None, reason: str | None) -> Version:
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
        contract=contract_of(lab, record),
    )
