"""Versions and aliases as files: `registry/<name>.json` and the immutable folders `registry/<name>/vN`.

One file per name, changed under a lock with a sequence number and compare-and-swap; its history is append-only.
A version's folder is there before the record names it, so whoever reads the record finds complete files.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harness.core.errors import InputError, RegistryError
from harness.core.paths import Lab, check_name, disk_errors
from harness.core.records import AliasMove, RegistryRecord, Shadow, Version, now
from serve import adapter_files, model_files

DEFAULT_ALIAS = "prod"
MAX_WEIGHT = 1000  # of one version; weights need not add up to 100
LOCK_TIMEOUT_S = 30  # copying an adapter of 1 GB is done by then on a slow disk
VERSION = re.compile(r"v([1-9][0-9]{0,8})")


class Reference(NamedTuple):
    """`name`, `name@alias` or `name@vN`, taken apart; exactly one of alias and version is set."""

    name: str
    alias: str | None
    version: int | None


def parse(text: str) -> Reference:
    """Take a model name apart; a bare `name` means its alias `prod`. InputError for anything unsafe."""
    name, _, rest = text.partition("@")
    check_registry_name(name)
    if "@" not in text:
        return Reference(name, DEFAULT_ALIAS, None)
    if match := VERSION.fullmatch(rest):
        return Reference(name, None, int(match[1]))
    return Reference(name, check_alias(rest), None)


def check_alias(alias: str) -> str:
    """`alias` if it is a safe name that no version can have, else InputError."""
    check_name(alias, "alias")
    if re.fullmatch(r"v[0-9]+", alias):
        raise InputError(f"alias {alias!r} looks like a version", "choose a word such as prod or canary")
    return alias


def check_registry_name(name: str) -> str:
    """`name` if it is safe and its folder cannot be taken for another name's record or lock, else InputError."""
    check_name(name, "registry name")
    if name.endswith((".json", ".lock")):
        raise InputError(f"registry name {name!r} ends like a file of the registry", "leave the ending out")
    return name


def record_path(registry: Path, name: str) -> Path:
    return registry / f"{check_registry_name(name)}.json"


def version_folder(registry: Path, name: str, version: int) -> Path:
    return registry / check_registry_name(name) / f"v{version}"


def read(lab: Lab, name: str) -> RegistryRecord:
    """The record of `name`; an empty one when nothing was promoted yet."""
    return read_record(lab.registry, name)


def read_record(registry: Path, name: str) -> RegistryRecord:
    """As `read`, for a process that knows only the registry's folder (the engine)."""
    path = record_path(registry, name)
    if not path.exists():
        return RegistryRecord(name=name, seq=0, versions=[], aliases={}, history=[])
    return RegistryRecord.read(path)


def find(record: RegistryRecord, reference: Reference) -> Version:
    """The version that `reference` means in `record` now; RegistryError says what there is instead.

    Of an alias with weights it is the main version. A version whose files gc removed exists no more.
    """
    number = reference.version if reference.alias is None else record.aliases.get(reference.alias)
    wanted = f"{reference.name}@{reference.alias or f'v{reference.version}'}"
    version = next((version for version in record.versions if version.version == number), None)
    if version is None or version.removed:
        known = [f"v{one.version}" for one in living(record)] + sorted(record.aliases)
        there = f"{reference.name} has {', '.join(known)}" if known else f"nothing was promoted to {reference.name} yet"
        raise RegistryError(f"{wanted} {'was removed' if version else 'does not exist'}", there)
    return version


def living(record: RegistryRecord) -> list[Version]:
    """The versions whose files are there."""
    return [version for version in record.versions if not version.removed]


def weights_of(record: RegistryRecord, alias: str) -> dict[int, int]:
    """Version -> weight of what answers under an alias; empty where the alias is not set."""
    main = record.aliases.get(alias)
    return dict(record.weights.get(alias) or ({main: 1} if main else {}))


def every(registry: Path) -> list[RegistryRecord]:
    """The records of all names, by name."""
    return [RegistryRecord.read(path) for path in sorted(registry.glob("*.json"))]


def resolve(lab: Lab, text: str) -> Version:
    """The version behind `aac`, `aac@prod` or `aac@v3` now."""
    reference = parse(text)
    return find(read(lab, reference.name), reference)


def add_version(lab: Lab, name: str, record: Version, folder: Path) -> Version:
    """Mint the next `name@vN` from an adapter's root files, or a whole model's. `version` and `rank` are ours to set.

    What the name already has (same `adapter_sha256`) is returned as it is: promoting twice adds nothing. A full
    version is its own base: `base_path` becomes the registry's folder. RegistryError for files that are not those of
    `record`; AdapterRefused for what no engine could serve rightly.
    """
    rank, sha256 = _checked(record, folder)
    if sha256 != record.adapter_sha256:
        made = "model that was named" if record.kind == "full" else f"adapter that run {record.run_id} made"
        raise RegistryError(f"{folder} does not hold the {made}", "restore it, or train it again")
    with locked(lab, name) as current:
        for version in living(current):
            if version.adapter_sha256 == sha256:
                return version
        number = max((version.version for version in current.versions), default=0) + 1
        place = version_folder(lab.registry, name, number)
        ours: dict[str, object] = {"version": number, "rank": rank}
        if record.kind == "full":
            model_files.copy(folder, place)
            ours["base_path"] = str(place.absolute())
        else:
            adapter_files.copy(folder, place)
        added = record.model_copy(update=ours)
        write(lab, current.model_copy(update={"seq": current.seq + 1, "versions": [*current.versions, added]}))
        return added


def _checked(record: Version, folder: Path) -> tuple[int | None, str]:
    """(rank, content hash) of what lies in `folder`, once it is known that an engine can serve it."""
    if record.kind == "full":
        model_files.check_files(folder)
        return None, model_files.content_sha256(folder)
    base = Path(record.base_path)
    rank = adapter_files.check_files(folder, base if base.is_dir() else None)
    return rank, adapter_files.content_sha256(folder)


def move(
    lab: Lab,
    name: str,
    alias: str,
    to: int,
    *,
    who: str,
    why: str,
    expected_current: int | None = None,
    expected_seq: int | None = None,
) -> RegistryRecord:
    """Point `name@alias` at version `to`, if it still stands where the caller saw it.

    `expected_current` is the version that the alias must have now (0: none yet); `expected_seq` the record's sequence
    number. RegistryError when it moved meanwhile. Moving to where it stands changes nothing.
    """
    check_alias(alias)
    with locked(lab, name) as current:
        _expect(current, alias, expected_current, expected_seq)
        find(current, Reference(name, None, to))
        return current if weights_of(current, alias) == {to: 1} else _moved(lab, current, alias, {to: 1}, who, why)


def set_weights(
    lab: Lab,
    name: str,
    alias: str,
    weights: Mapping[int, int],
    *,
    who: str,
    why: str,
    expected_current: int | None = None,
    expected_seq: int | None = None,
) -> RegistryRecord:
    """Let several versions answer under `name@alias`, each its share of users. Its main version is the heaviest.

    Raises InputError for weights that are none, RegistryError as `move` does. The same weights again change nothing.
    """
    check_alias(alias)
    if not weights or any(not 0 <= weight <= MAX_WEIGHT for weight in weights.values()) or not any(weights.values()):
        raise InputError("weights are whole numbers from 0, one at least above", f"at most {MAX_WEIGHT}: v7=90 v8=10")
    wanted = {version: weight for version, weight in sorted(weights.items()) if weight}
    if len(wanted) == 1:
        wanted = dict.fromkeys(wanted, 1)
    with locked(lab, name) as current:
        _expect(current, alias, expected_current, expected_seq)
        _one_base(current, wanted)
        return current if weights_of(current, alias) == wanted else _moved(lab, current, alias, wanted, who, why)


def set_shadow(lab: Lab, name: str, alias: str, shadow: Shadow | None, *, who: str, why: str) -> RegistryRecord:
    """Let a version answer the requests of `name@alias` too, unseen; None: no more. The alias must be set."""
    check_alias(alias)
    with locked(lab, name) as current:
        find(current, Reference(name, alias, None))
        if shadow:
            _one_base(current, [*weights_of(current, alias), shadow.version])
        if current.shadows.get(alias) == shadow:
            return current
        shadows = {key: value for key, value in current.shadows.items() if key != alias}
        step = _step(current, alias, weights_of(current, alias), who, why)
        step = step.model_copy(update={"kind": "shadow", "shadow": shadow})
        changed = {"shadows": shadows | ({alias: shadow} if shadow else {}), "history": [*current.history, step]}
        return write(lab, current.model_copy(update={"seq": step.seq, **changed}))


def before(record: RegistryRecord, alias: str) -> dict[int, int]:
    """Version -> weight of what a rollback of the alias would give back; RegistryError where there is nothing."""
    found = _previous(record, check_alias(alias))
    if found is None:
        raise RegistryError(f"{record.name}@{alias} has no earlier version to go back to")
    return found


def rollback(
    lab: Lab, name: str, alias: str, *, who: str, why: str = "rollback", expected_seq: int | None = None
) -> RegistryRecord:
    """Give the alias back what it served before the last move that was not a rollback itself, weights included.

    Two rollbacks in a row therefore go back two moves instead of to and fro. Shadows answer nobody: they stay.
    `expected_seq` as for `move`.
    """
    with locked(lab, name) as current:
        _expect(current, alias, None, expected_seq)
        weights = before(current, alias)
        for version in weights:
            find(current, Reference(name, None, version))
        return _moved(lab, current, alias, weights, who, why)


def main_of(weights: Mapping[int, int], now_at: int | None) -> int:
    """The version that stands for an alias: the heaviest, and of several the one that is it now, else the oldest."""
    return min(weights, key=lambda version: (-weights[version], version != now_at, version))


def _one_base(record: RegistryRecord, versions: Iterable[int]) -> None:
    """InputError where versions that are to answer side by side stand on different bases: an engine serves one."""
    found = [find(record, Reference(record.name, None, number)) for number in versions]
    if len({one.base_sha256 for one in found}) > 1:
        labels = ", ".join(f"v{one.version}" for one in found)
        raise InputError(f"{labels} of {record.name} stand on different bases", "an engine serves one: promote instead")


def _expect(record: RegistryRecord, alias: str, main: int | None, seq: int | None) -> None:
    """RegistryError where the alias or the record is not what the caller saw."""
    if seq is not None and record.seq != seq:
        raise RegistryError(
            f"{record.name} changed meanwhile (sequence {record.seq}, expected {seq})", "look at it and try again"
        )
    before = record.aliases.get(alias) or 0
    if main is not None and before != main:
        stands, thought = (f"v{n}" if n else "no version" for n in (before, main))
        raise RegistryError(
            f"{record.name}@{alias} is at {stands} by now, not at {thought}", "compare with that one first"
        )


def _previous(record: RegistryRecord, alias: str) -> dict[int, int] | None:
    """Replay the alias' history as a stack: a move to what lies below the top pops, any other pushes."""
    stack: list[dict[int, int]] = []
    for step in record.history:
        if step.alias != alias or step.after is None or step.kind == "shadow":
            continue
        state = dict(step.weights_after) or {step.after: 1}
        if len(stack) > 1 and stack[-2] == state:
            stack.pop()
        else:
            stack.append(state)
    return stack[-2] if len(stack) > 1 else None


def _moved(
    lab: Lab, current: RegistryRecord, alias: str, weights: Mapping[int, int], who: str, why: str
) -> RegistryRecord:
    step = _step(current, alias, weights, who, why)
    several = {key: value for key, value in current.weights.items() if key != alias}
    # a version that answers by itself needs no shadow of itself
    shadows = {key: one for key, one in current.shadows.items() if key != alias or one.version not in weights}
    changed = {
        "seq": step.seq,
        "aliases": {**current.aliases, alias: step.after},
        "weights": several | ({alias: dict(weights)} if len(weights) > 1 else {}),
        "shadows": shadows,
        "history": [*current.history, step],
    }
    return write(lab, current.model_copy(update=changed))


def _step(current: RegistryRecord, alias: str, weights: Mapping[int, int], who: str, why: str) -> AliasMove:
    before = current.aliases.get(alias)
    return AliasMove(
        seq=current.seq + 1,
        alias=alias,
        before=before,
        after=main_of(weights, before),
        who=who,
        why=why,
        at=now(),
        kind="weights" if len(weights) > 1 else "move",
        weights_before=current.weights.get(alias, {}),
        weights_after=dict(weights) if len(weights) > 1 else {},
    )


def write(lab: Lab, record: RegistryRecord) -> RegistryRecord:
    """Put the record in place; only under its lock."""
    record.write(record_path(lab.registry, record.name), "registry.record")
    return record


@contextlib.contextmanager
def locked(lab: Lab, name: str) -> Iterator[RegistryRecord]:
    """Hold the name's lock; yields its record as it is now."""
    path = record_path(lab.registry, name)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
                yield read(lab, name)
        except Timeout as error:
            raise RegistryError(f"{path} is locked by another command", "wait for it to end and try again") from error
