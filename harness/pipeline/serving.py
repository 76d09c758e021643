"""`ratchet serve`: base, versions and aliases behind one OpenAI-compatible endpoint, until told to stop."""

from __future__ import annotations

import dataclasses
import re
import signal
import threading
from dataclasses import dataclass, field
from typing import Any

from harness.base import describe
from harness.core.errors import EngineError, InputError
from harness.core.paths import Lab
from harness.core.records import RegistryRecord
from harness.pipeline import attached
from harness.pipeline.ahead import base_name
from harness.pipeline.context import find_adapter
from harness.pipeline.evaluation import engine_spec
from harness.pipeline.subjects import BASE_NAME
from harness.progress import Progress
from serve import engine, keys, registry
from serve.attach import Attached
from serve.engine import EngineSpec
from serve.launch import LOCAL, OWNED
from serve.lease import LOG, LOOPBACK, is_held, leads, read_lease
from serve.limits import limits, served
from serve.storage import is_url, source

POLL_S = 1.0
URL = re.compile(r"https?://[^/\s]+(/|$)")
ORIGIN = re.compile(r"https?://[a-zA-Z0-9.\[\]:-]+")
OPTION = re.compile(r"[a-z][a-z0-9.-]*")
CORS_FIX = "name a web origin such as https://app.example, or *"


@dataclass(frozen=True)
class Wanted:
    """What `ratchet serve` was asked for. `port` 0: any, and share a running engine. `options` are vLLM's own.

    `registry`: the URL of one that stands in place of the lab's.
    """

    name: str = ""
    base: str = ""
    host: str = LOOPBACK
    port: int = 8000
    cors: tuple[str, ...] = ()
    max_loras: int | None = None
    max_lora_rank: int | None = None
    registry: str = ""
    options: dict[str, Any] = field(default_factory=dict)


class Stopping:
    """Ctrl-C and SIGTERM, counted: the first ends serving once running requests are done, the second at once."""

    def __init__(self) -> None:
        self._times, self._asked = 0, threading.Event()
        self._waiting = True
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._times += 1
        self._asked.set()
        if self._waiting:
            raise KeyboardInterrupt

    def serving(self) -> None:
        """From now on a signal does not interrupt: it is looked for."""
        self._waiting = False

    def wait(self, timeout_s: float) -> bool:
        return self._asked.wait(timeout_s)

    def hurried(self) -> bool:
        return self._times > 1


def serve(lab: Lab, wanted: Wanted, progress: Progress) -> None:
    """Serve until Ctrl-C or SIGTERM. Raises EngineError when the engine dies for good meanwhile.

    An engine started here is stopped at the end, running requests first; one that ran before, or that another command
    uses by now, is left to its users. Others than this machine are served with living keys only.
    """
    if wanted.registry and not is_url(wanted.registry):
        raise InputError(f"--registry {wanted.registry}: not a URL", "use s3://… or file:///…; a folder is --lab's own")
    if wanted.host not in LOCAL:
        keys.require_living(lab.keys, f"--host {wanted.host} lets others reach the engine")
    spec, names = engine_for(lab, wanted, progress)
    before = [lease.engine_id for lease in engine.running(lab)]
    stopping = Stopping()
    try:
        with engine.ensure(lab, spec, report=progress.say) as server:
            stopping.serving()
            _explain(server, names, progress)
            _watch(lab, server.engine_id, stopping, progress)
    finally:
        stopping.serving()
        for lease in engine.running(lab):
            if lease.engine_id not in before and not is_held(lab.engines / lease.engine_id):
                try:
                    progress.say("stopping the engine: running requests finish first; Ctrl-C again ends it at once")
                finally:  # also where nobody reads any more what is said
                    engine.stop(lab, lease.engine_id, hurry=stopping.hurried)


def engine_for(lab: Lab, wanted: Wanted, progress: Progress) -> tuple[EngineSpec, list[str]]:
    """The engine that every command asks for, large enough for what the registry serves, and what was asked for on top.

    Also the names that it will answer to. InputError where it is not clear which base to serve.
    """
    records = read_records(lab, wanted.name, wanted.registry)
    served_as, path = (BASE_NAME, wanted.base) if wanted.base else _base_of(records)
    described = describe(path, lab)
    ranked = records if wanted.registry else [_ranked(lab, record) for record in records]
    versions = served(ranked, described.ref.sha256)
    fits = limits(versions, max_rank=wanted.max_lora_rank)
    for warning in fits.warnings:
        progress.say(warning, style="yellow")
    usual = engine_spec(lab, described, [])
    spec = dataclasses.replace(
        usual,
        base_name=served_as,
        host=wanted.host,
        port=wanted.port or None,
        cors=wanted.cors,
        registry=wanted.registry or usual.registry,
        max_loras=wanted.max_loras or max(usual.max_loras, fits.max_loras),
        max_cpu_loras=max(usual.max_cpu_loras, fits.max_cpu_loras),
        max_lora_rank=wanted.max_lora_rank or max(usual.max_lora_rank, fits.max_lora_rank),
        extra=usual.extra | wanted.options,
    )
    labels = [one.label for one in versions if one.label not in fits.left_out]
    labels += [] if served_as == BASE_NAME else [served_as]
    aliases = [
        f"{record.name}@{alias}"
        for record in records
        for alias, version in record.aliases.items()
        if f"{record.name}@v{version}" in labels
    ]
    return spec, list(dict.fromkeys([*aliases, *labels, spec.base_name]))


def _watch(lab: Lab, engine_id: str, stopping: Stopping, progress: Progress) -> None:
    """Until it is to stop. Tells of restarts and of another base; EngineError when the engine is gone."""
    folder, state, base = lab.engines / engine_id, "ready", ""
    while not stopping.wait(POLL_S):
        lease = read_lease(folder)
        if lease is None or lease.state in ("draining", "failed") or not leads(lease):
            why = f": {lease.error}" if lease and lease.error else ""
            raise EngineError(f"engine {engine_id} ended{why}", f"see {folder / LOG}")
        if lease.spec["base_name"] != base:
            if base:
                progress.say(f"engine: {engine_id} serves {lease.spec['base_name']} now, in place of {base}")
            base = lease.spec["base_name"]
        if lease.state != state:
            state = lease.state
            said = f"is back (restart {lease.restarts})" if state == "ready" else f"is restarting: {lease.error}"
            progress.say(f"engine: {engine_id} {said}", style="" if state == "ready" else "yellow")


def attach(lab: Lab, name: str, url: str, key_variable: str, progress: Progress) -> None:
    """Have a vLLM that somebody else runs serve the registry's versions, until Ctrl-C or SIGTERM."""
    if not URL.match(url):
        raise InputError(f"--attach {url}: not a URL", "use http://HOST:PORT")
    stopping = Stopping()
    stopping.serving()
    server = Attached(url, attached.key_header(key_variable))
    attached.attach(lab, lambda: read_records(lab, name), server, stopping.wait, progress)


def vllm_options(words: list[str]) -> dict[str, Any]:
    """`KEY=VALUE` or `KEY` of `--vllm`, as options by their long names. InputError for what is not vLLM's to say."""
    found: dict[str, Any] = {}
    for word in words:
        key, given, value = word.lstrip("-").partition("=")
        key = key.strip().replace("_", "-")
        if not OPTION.fullmatch(key):
            raise InputError(f"--vllm {word}: not an option", "use --vllm KEY=VALUE or --vllm KEY, as vLLM spells KEY")
        if key.removeprefix("no-") in OWNED:
            raise InputError(f"--vllm {key}: not yours to set", OWNED[key.removeprefix("no-")])
        switch = {"true": True, "false": False}.get(value.lower())
        found[key] = True if not given else value if switch is None else switch
    return found


def origins(given: list[str]) -> tuple[str, ...]:
    """Web origins for CORS; InputError for what a browser would never send."""
    for one in given:
        if one != "*" and not ORIGIN.fullmatch(one):
            raise InputError(f"--cors {one}: not a web origin", CORS_FIX)
    return tuple(given)


def stop(lab: Lab) -> list[str]:
    """Stop every engine of the lab once its running requests are done (Ctrl-C: at once); their ids."""
    stopping = Stopping()
    stopping.serving()
    ids = [lease.engine_id for lease in engine.running(lab)]
    for engine_id in ids:
        engine.stop(lab, engine_id, hurry=lambda: stopping.wait(0))
    engine.reap(lab)
    return ids


def read_records(lab: Lab, name: str, url: str = "") -> list[RegistryRecord]:
    """One name's record, or every one; InputError for a name that has no version. `url`: a registry elsewhere."""
    place = source(url or lab.registry)
    if not name:
        return place.records()
    known = registry.parse(name).name
    record = place.record(known) if url else registry.read(lab, known)
    if not record.versions:
        raise InputError(f"nothing was promoted to {name} yet", f"ratchet promote RUN --as {name}@prod, or --base")
    return [record]


def _ranked(lab: Lab, record: RegistryRecord) -> RegistryRecord:
    """The record with the ranks that older ones do not say, from the adapters' configs."""
    versions = [
        one.model_copy(update={"rank": find_adapter(lab, f"{record.name}@v{one.version}").rank})
        if one.rank is None and one.kind == "lora" and not one.removed
        else one
        for one in record.versions
    ]
    return record.model_copy(update={"versions": versions})


def _base_of(records: list[RegistryRecord]) -> tuple[str, str]:
    """(served name, path) of the one base that what is asked for stands on; for one name, that of its alias `prod`."""
    living = [(record.name, version) for record in records for version in registry.living(record)]
    if not living:
        raise InputError("nothing was promoted yet", "ratchet promote RUN --as NAME@prod, or give --base")
    found = {version.base_sha256: (name, version) for name, version in living}
    if len(found) > 1 and len(records) == 1:
        main = records[0].aliases.get(registry.DEFAULT_ALIAS)
        found = {one.base_sha256: (name, one) for name, one in living if one.version == main} or found
    if len(found) > 1:
        names = ", ".join(record.name for record in records)
        raise InputError("the registry's versions stand on different bases", f"name one to serve: {names}; or --base")
    name, version = next(iter(found.values()))
    return base_name(name, version), version.base_path


def _explain(server: engine.Engine, models: list[str], progress: Progress) -> None:
    host = str(server.lease.spec["host"])
    reach = "this machine only" if host in LOCAL else f"whoever reaches {host} and has a key"
    progress.say(f"serving at {server.url}/v1 ({reach}): {', '.join(models)}")
    key = "" if host in LOCAL else " -H 'Authorization: Bearer KEY'"
    progress.say(
        f"try: curl {server.url}/v1/chat/completions -H 'Content-Type: application/json'{key} "
        f'-d \'{{"model": "{models[0]}", "messages": [{{"role": "user", "content": "Hello"}}]}}\''
    )
    progress.say("Ctrl-C stops it: running requests finish first")
