"""Versions and aliases as files: `registry/<name>.json` and the immutable folders `registry/<name>/vN`.

One file per name, changed under a lock with a sequence number and compare-and-swap; its history is append-only.
A version's folder is there before the record names it, so whoever reads the record finds complete files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from harness.core.errors import InputError, RegistryError
from harness.core.paths import Lab, check_name, disk_errors, sync_folder
from harness.core.records import AliasMove, RegistryRecord, Version, now

DEFAULT_ALIAS = "prod"
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
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
    """The version that `reference` means in `record` now; RegistryError says what there is instead."""
    number = reference.version if reference.alias is None else record.aliases.get(reference.alias)
    wanted = f"{reference.name}@{reference.alias or f'v{reference.version}'}"
    version = next((version for version in record.versions if version.version == number), None)
    if version is None:
        known = [f"v{version.version}" for version in record.versions] + sorted(record.aliases)
        there = f"{reference.name} has {', '.join(known)}" if known else f"nothing was promoted to {reference.name} yet"
        raise RegistryError(f"{wanted} does not exist", there)
    return version


def resolve(lab: Lab, text: str) -> Version:
    """The version behind `aac`, `aac@prod` or `aac@v3` now."""
    reference = parse(text)
    return find(read(lab, reference.name), reference)


def add_version(lab: Lab, name: str, record: Version, adapter_folder: Path) -> Version:
    """Mint the next `name@vN` from the adapter's root files. `record.version` is ours to set.

    An adapter that the name already has (same `adapter_sha256`) is returned as it is: promoting twice adds nothing.
    """
    with _locked(lab, name) as current:
        for version in current.versions:
            if version.adapter_sha256 == record.adapter_sha256:
                return version
        number = max((version.version for version in current.versions), default=0) + 1
        _copy(adapter_folder, version_folder(lab.registry, name, number))
        added = record.model_copy(update={"version": number})
        _write(lab, current.model_copy(update={"seq": current.seq + 1, "versions": [*current.versions, added]}))
        return added


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
    with _locked(lab, name) as current:
        before = current.aliases.get(alias)
        if expected_seq is not None and current.seq != expected_seq:
            raise RegistryError(
                f"{name} changed meanwhile (sequence {current.seq}, expected {expected_seq})",
                "look at it and try again",
            )
        if expected_current is not None and (before or 0) != expected_current:
            stands, thought = (f"v{n}" if n else "no version" for n in (before, expected_current))
            raise RegistryError(
                f"{name}@{alias} is at {stands} by now, not at {thought}", "compare with that one first"
            )
        find(current, Reference(name, None, to))
        return current if before == to else _moved(lab, current, alias, to, who, why)


def rollback(lab: Lab, name: str, alias: str, *, who: str, why: str = "rollback") -> RegistryRecord:
    """Point the alias back at the version that it had before the last move that was not a rollback itself.

    Two rollbacks in a row therefore go back two versions instead of to and fro.
    """
    check_alias(alias)
    with _locked(lab, name) as current:
        before = _previous(current, alias)
        if before is None:
            raise RegistryError(f"{name}@{alias} has no earlier version to go back to")
        return _moved(lab, current, alias, before, who, why)


def _previous(record: RegistryRecord, alias: str) -> int | None:
    """Replay the alias' history as a stack: a move to the version below the top pops, any other pushes."""
    stack: list[int] = []
    for step in record.history:
        if step.alias != alias or step.after is None:
            continue
        if len(stack) > 1 and stack[-2] == step.after:
            stack.pop()
        else:
            stack.append(step.after)
    return stack[-2] if len(stack) > 1 else None


def _moved(lab: Lab, current: RegistryRecord, alias: str, to: int, who: str, why: str) -> RegistryRecord:
    seq = current.seq + 1
    step = AliasMove(seq=seq, alias=alias, before=current.aliases.get(alias), after=to, who=who, why=why, at=now())
    changed = {"seq": seq, "aliases": {**current.aliases, alias: to}, "history": [*current.history, step]}
    return _write(lab, current.model_copy(update=changed))


def _write(lab: Lab, record: RegistryRecord) -> RegistryRecord:
    record.write(record_path(lab.registry, record.name), "registry.record")
    return record


def _copy(source: Path, target: Path) -> None:
    """Put the adapter's files at `target` by one rename. A folder that no record names is a crash's leftover."""
    missing = [name for name in ADAPTER_FILES if not (source / name).is_file()]
    if missing:
        raise RegistryError(f"{source} has no {missing[0]}", "name the folder of a trained adapter")
    with disk_errors(target):
        shutil.rmtree(target, ignore_errors=True)
        fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name in ADAPTER_FILES:
            shutil.copyfile(source / name, fresh / name)
            with (fresh / name).open("rb") as file:
                os.fsync(file.fileno())
        sync_folder(fresh)
        os.rename(fresh, target)
        sync_folder(target.parent)


@contextlib.contextmanager
def _locked(lab: Lab, name: str) -> Iterator[RegistryRecord]:
    """Hold the name's lock; yields its record as it is now."""
    path = record_path(lab.registry, name)
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S):
                yield read(lab, name)
        except Timeout as error:
            raise RegistryError(f"{path} is locked by another command", "wait for it to end and try again") from error
