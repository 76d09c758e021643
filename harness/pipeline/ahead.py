"""Before an alias moves: have the lab's running engines ready for what it will serve, so that no app waits or fails.

An adapter of the engine's own base is loaded. For another base, a full fine-tune above all, the engine gets a successor
on the same socket (serve.succession), which takes over as the alias moves.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from harness.base import describe
from harness.core.errors import EngineError, RegistryError
from harness.core.paths import Lab
from harness.core.records import RegistryRecord, Version
from harness.pipeline.evaluation import engine_spec
from harness.pipeline.subjects import BASE_NAME
from serve import adapters, engine, registry
from serve.lease import Lease
from serve.registry import Reference

Say = Callable[[str], None]


def preload(lab: Lab, model: str, base_sha256: str) -> list[str]:
    """Have the lab's running engines load a version, so that no app waits for it; what could not be asked, in lines.

    Raises RegistryError when an engine refuses it: then nobody could use it, and no alias should point there.
    """
    said = []
    for lease in _ready(lab, base_sha256):
        if model == lease.spec["base_name"]:
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


@contextlib.contextmanager
def ready_for(
    lab: Lab, record: RegistryRecord, alias: str, numbers: Sequence[int], replace_base: bool, say: Say
) -> Iterator[list[str]]:
    """Around the move of `alias` to the versions `numbers`, which stand on one base. Yields warnings.

    Engines that serve the alias on another base get a successor, and RegistryError is raised where that would end what
    they serve besides, unless `replace_base`. What an engine refuses is an error before anything moved.
    """
    versions = [registry.find(record, Reference(record.name, None, number)) for number in numbers]
    if len({one.base_sha256 for one in versions}) != 1:  # the move itself says what is wrong with that
        yield []
        return
    base = versions[0].base_sha256
    warned = [line for one in versions for line in preload(lab, f"{record.name}@v{one.version}", base)]
    with contextlib.ExitStack() as stack:
        for lease in _leaving(lab, record, alias, base):
            others = _others(lab, lease, record.name, alias)
            if others and not replace_base:
                raise RegistryError(
                    f"engine {lease.engine_id} also serves {', '.join(others)}, which stand on the base that it would "
                    "give up",
                    "give them an engine of their own behind a router first, or say --replace-base",
                )
            stack.enter_context(
                engine.successor(lab, lease, base_fields(lab, record.name, versions[0]), record.name, alias, say)
            )
        yield warned


def base_fields(lab: Lab, name: str, version: Version) -> dict[str, Any]:
    """The fields of EngineSpec that follow from a version's base. A full version is served under its own name."""
    described = describe(version.base_path, lab)
    usual = engine_spec(lab, described, []).as_json()
    same = ("base_path", "base_sha256", "dtype", "max_model_len")
    return {key: usual[key] for key in same} | {"base_name": base_name(name, version)}


def base_name(name: str, version: Version) -> str:
    """What an engine calls the base of a version."""
    return f"{name}@v{version.version}" if version.kind == "full" else BASE_NAME


def _ready(lab: Lab, base_sha256: str) -> list[Lease]:
    """Engines of the lab's registry that serve a base and answer now."""
    return [
        lease
        for lease in engine.running(lab)
        if lease.state == "ready"
        and lease.spec["registry"] == str(lab.registry)
        and lease.spec["base_sha256"] == base_sha256
    ]


def _leaving(lab: Lab, record: RegistryRecord, alias: str, base_sha256: str) -> list[Lease]:
    """Engines that serve what the alias stands on now, where that is another base."""
    number = record.aliases.get(alias)
    now = next((one.base_sha256 for one in record.versions if one.version == number), base_sha256)
    return [] if now == base_sha256 else _ready(lab, now)


def _others(lab: Lab, lease: Lease, name: str, alias: str) -> list[str]:
    """Other aliases that an engine answers on its base."""
    found = []
    for record in registry.every(lab.registry):
        here = {one.version for one in record.versions if one.base_sha256 == lease.spec["base_sha256"]}
        served = [one for one, number in sorted(record.aliases.items()) if number in here]
        found += [f"{record.name}@{one}" for one in served if (record.name, one) != (name, alias)]
    return found
