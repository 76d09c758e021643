"""Promote and roll back: a verdict in, an immutable version and a moved alias out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from harness import store
from harness.base import describe
from harness.core.errors import InputError, RegistryError
from harness.core.fingerprint import short_id
from harness.core.paths import Lab, read_json
from harness.core.records import AdapterRecord, PlanRecord, RegistryRecord, Verdict, Version, now
from harness.gate import EXIT_CODES
from harness.pipeline.ahead import Say, ready_for
from harness.pipeline.context import RUN_ID
from harness.pipeline.contract import contract_of, contract_of_model
from harness.report import Report
from serve import model_files, registry, webhooks

BEST = "best"
Judged: TypeAlias = tuple[Report, Verdict | None]


class Alias(NamedTuple):
    """`name@alias`, taken apart."""

    name: str
    alias: str

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}"


def promote(
    lab: Lab,
    run_id: str,
    alias_name: str,
    reason: str,
    force: bool,
    who: str,
    judged_for: str = "",
    replace_base: bool = False,
    say: Say = lambda line: None,
) -> dict[str, Any]:
    """Mint `name@vN` from a run and move the alias, if the run's newest verdict is SHIP against what it serves now.

    `run_id` may be `best`: the candidate that the name's newest report chose on dev. `judged_for`: the alias that the
    verdict was made for, which must be said where another one is to move. Returns text, version and exit code (10 to 12
    when the verdict is not SHIP and nothing moved). Raises InputError for an unknown run, RegistryError when the alias
    moved since the verdict, or a running engine cannot load the adapter. `run_id` may also be the folder of a whole
    model, a full fine-tune: no report judges one, so it takes `force`. Engines that serve the alias then get a
    successor; `replace_base` also where they serve other aliases, which that ends. `say` gets a line per step.
    """
    reference = alias_of(alias_name, "name an alias to move, e.g. aac@prod")
    if force and not reason:
        raise InputError("--force needs --reason", "say why; it stays in the history")
    run_id = _best(lab, reference.name) if run_id == BEST else run_id
    found, made, folder = _made(lab, run_id)
    current = registry.read(lab, reference.name)
    serving = current.aliases.get(reference.alias)
    alone = registry.weights_of(current, reference.alias) == {serving: 1}
    is_main = sha256_of_version(current, serving) == made.adapter_sha256
    if is_main and serving and alone:
        text = f"{reference.name}@{reference.alias} serves {run_id} already, as v{serving}"
        return _moved_to(text, reference.name, reference.alias, serving, serving)
    if not force and not is_main:
        refused = refusal(lab, found, run_id, reference, judged_for)
        if refused:
            return refused
    made = made.model_copy(update={"forced_reason": reason if force else None})
    version = registry.add_version(lab, reference.name, made, folder)
    current, numbers = registry.read(lab, reference.name), [version.version]
    with ready_for(lab, current, reference.alias, numbers, replace_base, say) as warned:
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


def announce(lab: Lab, record: RegistryRecord) -> list[str]:
    """Tell the store and the webhooks of the newest move; one line per webhook that could not be told."""
    problems = webhooks.tell(lab, record.name, record.history[-1])
    store.ingest(lab)
    return problems


def rollback(
    lab: Lab, name: str, why: str, who: str, replace_base: bool = False, say: Say = lambda line: None
) -> dict[str, Any]:
    """Give an alias back what it served before, weights included, once the running engines have it."""
    reference = alias_of(name, "name the alias to roll back, e.g. aac@prod")
    current = registry.read(lab, reference.name)
    numbers = list(registry.before(current, reference.alias))
    with ready_for(lab, current, reference.alias, numbers, replace_base, say) as warned:
        record = registry.rollback(lab, reference.name, reference.alias, who=who, why=why, expected_seq=current.seq)
    move = record.history[-1]
    shares = shares_text(move.weights_after)
    return {
        "text": f"{reference.name}@{reference.alias} -> {shares or f'v{move.after}'} (it served v{move.before})",
        "name": reference.name,
        "alias": reference.alias,
        "version": move.after,
        "before": move.before,
        "weights": move.weights_after,
        "warnings": [*warned, *announce(lab, record)],
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
        what = f"{run_id}, a whole model," if _is_model(run_id) else f"run {run_id}"
        raise InputError(f"{what} has no verdict", "give its spec a gate and run it, or use --force --reason")
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


class Made(NamedTuple):
    """What is promoted: its verdict where there is one, the version it becomes, and where its files lie."""

    found: Judged | None
    version: Version  # the number, and a full one's base_path, are set by the registry
    folder: Path


def _made(lab: Lab, run_id: str) -> Made:
    """A finished run's adapter, or a whole model's folder."""
    if _is_model(run_id):
        return Made(None, full_version(lab, Path(run_id)), Path(run_id))
    record, found = _adapter(lab, run_id), newest_verdict(lab, run_id)
    version = Version(
        version=0,
        run_id=record.run_id,
        adapter_sha256=record.sha256,
        base_sha256=record.job.base.sha256,
        base_path=record.job.base.path,
        verdict=found[1] if found else None,
        plan_id=found[0].plan_id if found else None,
        created=now(),
        contract=contract_of(lab, record),
    )
    return Made(found, version, lab.runs / run_id / "adapter")


def _is_model(run_id: str) -> bool:
    """Whether what was named is a whole model's folder."""
    return not RUN_ID.fullmatch(run_id) and (Path(run_id) / "config.json").is_file()


def full_version(lab: Lab, folder: Path) -> Version:
    """A whole model as a version: a base of its own, named by its content. The registry looks at every weight."""
    model_files.room_for(folder, lab.registry)
    sha256 = describe(str(folder), lab).ref.sha256
    return Version(
        version=0,
        run_id=short_id("m", sha256),
        adapter_sha256=sha256,
        base_sha256=sha256,
        base_path=str(folder.absolute()),
        verdict=None,
        plan_id=None,
        created=now(),
        kind="full",
        contract=contract_of_model(folder),
    )
