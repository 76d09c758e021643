"""`ratchet serve`: base, versions and aliases behind one OpenAI-compatible endpoint, until told to stop."""

from __future__ import annotations

import dataclasses
import signal
import threading

from harness.base import describe
from harness.core.errors import EngineError, InputError
from harness.core.paths import Lab
from harness.core.records import RegistryRecord
from harness.pipeline.context import Adapter, find_adapter
from harness.pipeline.evaluation import engine_spec
from harness.progress import Progress
from serve import engine, registry
from serve.lease import is_held

POLL_S = 1.0


def serve(lab: Lab, name: str, base: str, port: int, progress: Progress) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises EngineError when the engine dies meanwhile.

    `port` 0 shares a running engine that fits, wherever it listens. An engine started here is stopped at the end, one
    that ran before, or that another command uses by now, is left to its users.
    """
    records = _records(lab, name)
    adapters = [
        find_adapter(lab, f"{record.name}@v{one.version}") for record in records for one in registry.living(record)
    ]
    source = base or _base_of(records)
    described = describe(source, lab)
    fitting = [adapter for adapter in adapters if adapter.base_sha256 == described.ref.sha256]
    spec = dataclasses.replace(engine_spec(lab, described, fitting), port=port or None)
    before = [lease.engine_id for lease in engine.running(lab)]
    server = engine.ensure(lab, spec, report=progress.say)
    stopped = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopped.set())
    try:
        _explain(server, records, fitting, progress)
        while not stopped.wait(POLL_S):
            if server.engine_id not in [lease.engine_id for lease in engine.running(lab)]:
                raise EngineError(f"engine {server.engine_id} ended", f"see {lab.engines / server.engine_id}")
    finally:
        server.close()
        if server.engine_id not in before and not is_held(lab.engines / server.engine_id):
            progress.say("stopping the engine")
            engine.stop(lab, server.engine_id)


def stop(lab: Lab) -> list[str]:
    """Stop every engine of the lab; their ids."""
    ids = [lease.engine_id for lease in engine.running(lab)]
    for engine_id in ids:
        engine.stop(lab, engine_id)
    engine.reap(lab)
    return ids


def _records(lab: Lab, name: str) -> list[RegistryRecord]:
    if name:
        record = registry.read(lab, registry.parse(name).name)
        if not record.versions:
            raise InputError(f"nothing was promoted to {name} yet", f"ratchet promote RUN --as {name}@prod, or --base")
        return [record]
    return registry.every(lab.registry)


def _base_of(records: list[RegistryRecord]) -> str:
    """The one base that all versions stand on."""
    paths = {version.base_sha256: version.base_path for record in records for version in registry.living(record)}
    if not paths:
        raise InputError("nothing was promoted yet", "ratchet promote RUN --as NAME@prod, or give --base")
    if len(paths) > 1:
        names = ", ".join(record.name for record in records)
        raise InputError("the registry's versions stand on different bases", f"name one to serve: {names}")
    return next(iter(paths.values()))


def _explain(server: engine.Engine, records: list[RegistryRecord], fitting: list[Adapter], progress: Progress) -> None:
    names = [f"{record.name}@{alias}" for record in records for alias in record.aliases]
    models = [*names, *(adapter.label for adapter in fitting), server.base_name]
    progress.say(f"serving at {server.url}/v1 (this machine only): {', '.join(models)}")
    progress.say(
        f"try: curl {server.url}/v1/chat/completions -H 'Content-Type: application/json' "
        f'-d \'{{"model": "{models[0]}", "messages": [{{"role": "user", "content": "Hello"}}]}}\''
    )
    progress.say("Ctrl-C stops it")
