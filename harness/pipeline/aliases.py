"""Weights and shadows of aliases, and what there is to read about them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import AliasMove, RegistryRecord, Shadow
from harness.pipeline.ahead import preload, ready_for
from harness.pipeline.promotion import Alias, alias_of, announce, newest_verdict, refusal, shares_text
from serve import registry

WEIGHT = re.compile(r"v([1-9][0-9]{0,8})=([0-9]{1,4})")
VERSION = re.compile(r"v([1-9][0-9]{0,8})")
SET_FIX = "name an alias and its weights, e.g. aac@prod v7=90 v8=10"


def set_weights(
    lab: Lab, alias_name: str, weights: Sequence[str], reason: str, force: bool, who: str
) -> dict[str, Any]:
    """Let versions share an alias: `["v7=90", "v8=10"]`, by user. Returns text, weights and exit code.

    Which version is the main one is a promotion's to decide: where it would change, the new one needs what `promote`
    asks for. Raises InputError for words that are no weights, RegistryError where an engine cannot load a version.
    """
    alias = alias_of(alias_name, SET_FIX)
    wanted = _parsed(weights)
    if force and not reason:
        raise InputError("--force needs --reason", "say why; it stays in the history")
    record = registry.read(lab, alias.name)
    before = record.aliases.get(alias.alias)
    positive = {version: weight for version, weight in wanted.items() if weight}
    main = registry.main_of(positive, before) if positive else None
    for version in positive:
        registry.find(record, registry.Reference(alias.name, None, version))
    if main is not None and main != before and not force:
        refused = _refusal(lab, record, alias, main)
        if refused:
            return refused
    why = f"forced: {reason}" if force else reason or "weights set"
    expected = {"expected_current": before or 0, "expected_seq": record.seq}
    with ready_for(lab, record, alias.alias, list(positive), False, lambda line: None) as warned:
        moved = registry.set_weights(lab, alias.name, alias.alias, wanted, who=who, why=why, **expected)
    return _told(lab, alias, record, moved, warned)


def set_shadow(lab: Lab, alias_name: str, version: str, share: float, reason: str, who: str) -> dict[str, Any]:
    """Have a version (`v8`) answer an alias' requests too, unseen; `off` ends it. Text, and what changed."""
    alias = alias_of(alias_name, "name an alias and a version, e.g. aac@prod v8")
    match = VERSION.fullmatch(version)
    if not match and version != "off":
        raise InputError(f"{version!r} is no version", "name one, e.g. v8, or off")
    if not 0 < share <= 1:
        raise InputError(f"--share {share:g} is not above 0 and at most 1", "1 shadows every request")
    record = registry.read(lab, alias.name)
    shadow = Shadow(version=int(match[1]), share=share) if match else None
    if shadow and shadow.version in registry.weights_of(record, alias.alias):
        raise InputError(f"{alias} is answered by v{shadow.version} already", "shadow another version")
    warned = _preload(lab, record, shadow.version) if shadow else []
    why = reason or ("shadow" if shadow else "no shadow")
    moved = registry.set_shadow(lab, alias.name, alias.alias, shadow, who=who, why=why)
    return _told(lab, alias, record, moved, warned)


def listing(lab: Lab, name: str = "") -> list[dict[str, Any]]:
    """Every alias with what it serves; of one name where given."""
    records = [registry.read(lab, registry.parse(name).name)] if name else registry.every(lab.registry)
    return [_row(record, alias) for record in records for alias in sorted(record.aliases)]


def history(lab: Lab, name: str) -> list[dict[str, Any]]:
    """Every move of a name (or of one alias, `aac@prod`), oldest first."""
    reference = registry.parse(name)
    record = registry.read(lab, reference.name)
    steps = [step for step in record.history if "@" not in name or step.alias == reference.alias]
    return [{"name": record.name, **step.model_dump(mode="json")} for step in steps]


def listing_text(rows: Sequence[dict[str, Any]]) -> str:
    lines = []
    for row in rows:
        shadow = f"; shadow v{row['shadow']['version']} for {100 * row['shadow']['share']:g} %" if row["shadow"] else ""
        lines.append(f"{row['alias']}  {row['serves']}{shadow}  since {row['since']} by {row['who']}: {row['why']}")
    return "\n".join(lines) or "no alias is set; promote a run first"


def history_text(rows: Sequence[dict[str, Any]]) -> str:
    return "\n".join(
        _step_text(AliasMove.model_validate({k: v for k, v in row.items() if k != "name"})) for row in rows
    )


def _step_text(step: AliasMove) -> str:
    what = f"{_serves(step.before, step.weights_before)} -> {_serves(step.after, step.weights_after)}"
    if step.kind == "shadow":
        what = f"shadow v{step.shadow.version} for {100 * step.shadow.share:g} %" if step.shadow else "shadow off"
    return f"{step.seq:>4}  {step.at}  {step.who}  @{step.alias}  {what}  ({step.why})"


def _serves(main: int | None, weights: dict[int, int]) -> str:
    return shares_text(weights) or (f"v{main}" if main else "nothing")


def _row(record: RegistryRecord, alias: str) -> dict[str, Any]:
    steps = [step for step in record.history if step.alias == alias and step.kind != "shadow"]
    shadow = record.shadows.get(alias)
    return {
        "alias": f"{record.name}@{alias}",
        "version": record.aliases[alias],
        "weights": record.weights.get(alias, {}),
        "serves": _serves(record.aliases[alias], record.weights.get(alias, {})),
        "shadow": shadow.model_dump() if shadow else None,
        "since": steps[-1].at if steps else "",
        "who": steps[-1].who if steps else "",
        "why": steps[-1].why if steps else "",
    }


def _parsed(words: Sequence[str]) -> dict[int, int]:
    found: dict[int, int] = {}
    for word in words:
        match = WEIGHT.fullmatch(word)
        if not match or int(match[1]) in found:
            raise InputError(f"{word!r} is {'there twice' if match else 'no weight'}", SET_FIX)
        found[int(match[1])] = int(match[2])
    return found


def _refusal(lab: Lab, record: RegistryRecord, alias: Alias, main: int) -> dict[str, Any] | None:
    """What `promote` would say to the version that is to become the main one."""
    version = registry.find(record, registry.Reference(alias.name, None, main))
    return refusal(lab, newest_verdict(lab, version.run_id), version.run_id, alias, "")


def _preload(lab: Lab, record: RegistryRecord, number: int) -> list[str]:
    version = registry.find(record, registry.Reference(record.name, None, number))
    return preload(lab, f"{record.name}@v{number}", version.base_sha256)


def _told(lab: Lab, alias: Alias, before: RegistryRecord, moved: RegistryRecord, warnings: list[str]) -> dict[str, Any]:
    """The result of a change; nothing is announced where nothing changed."""
    row = _row(moved, alias.alias)
    result = {**row, "text": listing_text([row]), "seq": moved.seq, "exit_code": 0, "warnings": warnings}
    if moved.seq == before.seq:
        return result | {"text": f"{alias} is that already"}
    return result | {"warnings": [*warnings, *announce(lab, moved)]}
