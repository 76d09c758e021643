"""Care for the registry: show it, collect what nothing refers to, and keep a copy behind a URL in step."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness import store
from harness.core.errors import InputError, RegistryError
from harness.core.paths import Lab, read_json
from harness.core.rating import CampaignRecord
from harness.core.records import AdapterRecord, EvalRecord, PlanRecord, RegistryRecord, Version, now
from serve import adapter_files, engine, registry
from serve.lease import ADAPTERS
from serve.remote import Remote

KEEP_DAYS = 30  # a version that an alias left less than this ago is one rollback away


def show(lab: Lab, name: str) -> dict[str, Any]:
    """One name: its aliases and every version with verdict, rank and prompt contract. InputError for an unknown one."""
    reference = registry.parse(name)
    record = registry.read(lab, reference.name)
    if not record.versions:
        raise InputError(
            f"nothing was promoted to {reference.name} yet", f"ratchet promote RUN --as {reference.name}@prod"
        )
    versions = record.versions if "@" not in name else [registry.find(record, reference)]
    return {
        "name": record.name,
        "seq": record.seq,
        "aliases": record.aliases,
        "weights": record.weights,
        "shadows": {alias: shadow.model_dump() for alias, shadow in record.shadows.items()},
        "versions": [version.model_dump(mode="json") for version in versions],
    }


def show_text(shown: dict[str, Any]) -> str:
    lines = [f"{shown['name']}: {len(shown['versions'])} versions"]
    for alias, main in sorted(shown["aliases"].items()):
        weights = shown["weights"].get(alias)
        shares = ", ".join(f"v{version}={weight}" for version, weight in weights.items()) if weights else f"v{main}"
        shadow = shown["shadows"].get(alias)
        lines.append(f"  @{alias}  {shares}" + (f"; shadow v{shadow['version']}" if shadow else ""))
    for version in shown["versions"]:
        verdict = version["verdict"] or "no verdict"
        forced = f", forced: {version['forced_reason']}" if version["forced_reason"] else ""
        gone = f", removed {version['removed']}" if version["removed"] else ""
        lines.append(f"  v{version['version']}  {version['run_id']}  {verdict}{forced}  {version['created']}{gone}")
        lines += [f"      {line}" for line in _contract_lines(version["contract"] or {})]
    return "\n".join(lines)


def _contract_lines(contract: dict[str, Any]) -> Iterator[str]:
    for evalset, text in contract.get("system_prompts", {}).items():
        yield f"system prompt ({evalset}): {text}"
    if contract.get("chat_template_sha256"):
        yield f"chat template {contract['chat_template_sha256'][:12]}, asked as {contract['template'] or 'unknown'}"
    lengths = {"trained": contract.get("trained_tokens"), "evaluated": contract.get("context_tokens")}
    if any(lengths.values()):
        yield "tokens: " + ", ".join(f"{what} up to {tokens}" for what, tokens in lengths.items() if tokens)
    if contract.get("stop"):
        yield f"stop: {', '.join(contract['stop'])}"


# --- collecting -------------------------------------------------------------------------------------------------


def gc(lab: Lab, keep_days: int, dry_run: bool) -> dict[str, Any]:
    """Remove the files of versions that nothing refers to; their records stay, with the time of removal.

    A version is kept where an alias, a weight or a shadow points to it, an alias left it less than `keep_days` ago, a
    plan, campaign or evaluation names it, or an engine of the lab has it. Where its run's folder is gone, also what
    names its adapter by content keeps it: then the version is the only copy. A version is minted before an alias moves
    to it, so nothing younger than a day is touched.
    """
    used = {record.name: _used(lab, record, keep_days) for record in registry.every(lab.registry)}
    removed, kept, freed = [], [], 0
    for name, reasons in used.items():
        for version in registry.living(registry.read(lab, name)):
            label, folder = f"{name}@v{version.version}", registry.version_folder(lab.registry, name, version.version)
            if why := reasons.get(version.version):
                kept.append({"version": label, "why": why})
                continue
            size = sum(path.stat().st_size for path in folder.glob("*")) if folder.is_dir() else 0
            if dry_run or _remove(lab, name, version.version, keep_days):
                removed.append({"version": label, "bytes": size})
                freed += size
    if removed and not dry_run:
        store.ingest(lab)
    return {"removed": removed, "kept": kept, "bytes": freed, "dry_run": dry_run}


def gc_text(result: dict[str, Any]) -> str:
    verb = "would remove" if result["dry_run"] else "removed"
    lines = [f"{verb} {one['version']} ({one['bytes']:,} bytes)" for one in result["removed"]]
    lines += [f"kept {one['version']}: {one['why']}" for one in result["kept"]]
    return "\n".join(lines) or "the registry holds no version"


def _remove(lab: Lab, name: str, number: int, keep_days: int) -> bool:
    """Mark first, under the lock and after a second look, then delete: a record never names files that went."""
    with registry.locked(lab, name) as current:
        if number in _used(lab, current, keep_days):
            return False
        mark = {"removed": now()}
        versions = [one.model_copy(update=mark) if one.version == number else one for one in current.versions]
        registry.write(lab, current.model_copy(update={"seq": current.seq + 1, "versions": versions}))
    adapter_files.remove(registry.version_folder(lab.registry, name, number))
    return True


def _used(lab: Lab, record: RegistryRecord, keep_days: int) -> dict[int, str]:
    """Version -> why it must stay; the first reason found."""
    found: dict[int, str] = {}
    recent = _ago(keep_days)
    for step in record.history:
        if step.at > recent:
            for number in (step.before, step.after, *step.weights_before, *step.weights_after):
                found.setdefault(number or 0, f"@{step.alias} served it less than {keep_days} days ago")
    for alias in record.aliases:
        for number in registry.weights_of(record, alias):
            found[number] = f"@{alias} serves it"
    for alias, shadow in record.shadows.items():
        found[shadow.version] = f"@{alias} is shadowed by it"
    loaded, mentioned = _loaded(lab), _mentions(lab)
    for version in registry.living(record):
        label = f"{record.name}@v{version.version}"
        if version.created > _ago(1):
            found.setdefault(version.version, "it is younger than a day")
        if label in loaded:
            found.setdefault(version.version, f"engine {loaded[label]} has it")
        only_copy = not lab.adapter_record(version.run_id).is_file()
        if why := mentioned.get(label) or (mentioned.get(version.adapter_sha256) if only_copy else None):
            found.setdefault(version.version, why)
    return found


def _ago(days: int) -> str:
    return (datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=days)).isoformat(timespec="seconds")


def _loaded(lab: Lab) -> dict[str, str]:
    """`name@vN` -> an engine of the lab that was asked for it: what its vLLM has lies in the engine's folder."""
    found: dict[str, str] = {}
    for lease in engine.running(lab):
        folder = lab.engines / lease.engine_id / ADAPTERS
        found |= {f"{path.parent.name}@{path.name}": lease.engine_id for path in folder.glob("*/v*")}
        found[str(lease.spec["base_name"])] = lease.engine_id  # a full version's own name, where it is one
    return found


def _mentions(lab: Lab) -> dict[str, str]:
    """Adapter hash or `name@vN` -> what refers to it. Raises LabError for a damaged record: it might name anything."""
    found: dict[str, str] = {}
    for path in lab.campaigns.glob("*/campaign.json"):
        campaign = CampaignRecord.read(path)
        for subject in campaign.subjects:
            for key in (subject.adapter_sha256, subject.label):
                found.setdefault(key or "", f"campaign {campaign.campaign} compares it")
    for path in lab.runs.glob("*/adapter.json"):
        made = AdapterRecord.read(path)
        found.setdefault(made.job.init_adapter_sha256 or "", f"run {made.run_id} continues it")
    for path in lab.evals.glob("*/eval.json"):
        subject = EvalRecord.read(path).subject
        for key in (subject.adapter_sha256, subject.label):
            found.setdefault(key or "", f"evaluation {path.parent.name} scored it")
    for path in lab.reports.glob("p-*.json"):
        sha256 = read_json(path).get("incumbent_sha256")
        found.setdefault(sha256 or "", f"report {path.stem} compares with it")
    for path in lab.plans.glob("*/plan.json"):
        plan = PlanRecord.read(path)
        for run in plan.runs:
            found.setdefault(run.init_adapter_sha256 or "", f"plan {plan.plan_id} continues it")
        for label in _labels(json.dumps(plan.spec)):
            found.setdefault(label, f"plan {plan.plan_id} names it")
    found.pop("", None)
    return found


def _labels(text: str) -> Iterator[str]:
    """Every `name@vN` in a spec."""
    for word in text.replace('"', " ").replace(",", " ").split():
        name, _, rest = word.partition("@")
        if registry.VERSION.fullmatch(rest):
            yield f"{name}@{rest}"


# --- a copy behind a URL ----------------------------------------------------------------------------------------


def push(lab: Lab, url: str, name: str = "") -> dict[str, Any]:
    """Bring a URL up to the lab's registry: adapters first, by content, each record last. What it did, per name.

    RegistryError where the URL has moves or versions that the lab does not have: pull them first.
    """
    remote, done = Remote(url), []
    names = [registry.parse(name).name] if name else [record.name for record in registry.every(lab.registry)]
    for one in names:
        local, there = registry.read(lab, one), remote.record(one)
        _check_ahead(local, there, f"{url} has moves of {one} that this lab does not", f"ratchet registry pull {url}")
        adapters = [version for version in registry.living(local) if version.kind == "lora"]
        sent = [version for version in adapters if not remote.has(version.adapter_sha256)]
        for version in sent:
            folder = registry.version_folder(lab.registry, one, version.version)
            _check_content(folder, one, version)
            remote.store(version.adapter_sha256, folder)
        if local != there:
            remote.swap(local, there)
        done.append({"name": one, "versions": len(sent), "moved": local != there, "left": _full(local)})
    return {"url": url, "names": done}


def pull(lab: Lab, url: str, name: str = "") -> dict[str, Any]:
    """Bring the lab's registry up to a URL: each adapter is checked by its content, the record is written last.

    RegistryError where the lab has moves or versions that the URL does not have: push them first.
    """
    remote, done = Remote(url), []
    for one in [registry.parse(name).name] if name else sorted(remote.stamps()):
        there = remote.record(one)
        with registry.locked(lab, one) as local:
            _check_ahead(
                there, local, f"this lab has moves of {one} that {url} does not", f"ratchet registry push {url}"
            )
            fetched = 0
            for version in registry.living(there):
                folder = registry.version_folder(lab.registry, one, version.version)
                if version.kind == "full":
                    continue
                if version not in local.versions or not folder.is_dir():
                    remote.fetch(version.adapter_sha256, folder)
                    _check_content(folder, one, version)
                    fetched += 1
            if there != local:
                registry.write(lab, there)
        done.append({"name": one, "versions": fetched, "moved": there != local, "left": _full(there)})
    store.ingest(lab)
    return {"url": url, "names": done}


def _full(record: RegistryRecord) -> list[str]:
    """Full fine-tunes: whole models, which are copied by other means."""
    return [f"{record.name}@v{version.version}" for version in registry.living(record) if version.kind == "full"]


def _check_ahead(ahead: RegistryRecord, behind: RegistryRecord, problem: str, fix: str) -> None:
    """`ahead` must hold all of `behind`, in order; marks of gc are no content."""
    plain = [[one.model_copy(update={"removed": None}) for one in record.versions] for record in (ahead, behind)]
    versions = plain[0][: len(plain[1])] == plain[1]
    moves = ahead.history[: len(behind.history)] == behind.history
    if not versions or not moves or ahead.seq < behind.seq:
        raise RegistryError(problem, fix)


def _check_content(folder: Path, name: str, version: Version) -> None:
    if not folder.is_dir() or adapter_files.content_sha256(folder) != version.adapter_sha256:
        raise RegistryError(f"{folder} is not what {name}@v{version.version} names", "restore it from another copy")
