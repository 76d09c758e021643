"""`GET /ratchet/registry` and `/ratchet/registry/NAME`: what a key may use of the registry, with each prompt contract.

An app learns here how a version wants to be asked: system prompt, chat template, lengths, stop. Folders and runs of the
lab are not shown. The gatekeeper puts its names and the call into the request's state.
"""

from __future__ import annotations

from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response

from harness.core.errors import RatchetError
from harness.core.records import RegistryRecord, Version
from serve.plugin.call import Call, Refused
from serve.plugin.models import usable
from serve.plugin.names import Names
from serve.registry import DEFAULT_ALIAS, living, weights_of

PATH = "/ratchet/registry"
# what an app may know of a version; the rest are places and names inside the lab
SHOWN = {"version", "kind", "rank", "adapter_sha256", "base_sha256", "verdict", "created", "contract"}


async def catalogue(request: Request) -> dict[str, Any]:
    """Every name of which the caller may use something on this engine."""
    found = [_entry(record, *_asking(request)) for record in _asking(request)[0].records()]
    return {"object": "list", "data": [entry for entry in found if entry["versions"]]}


async def entry(request: Request, name: str) -> Response:
    """One name; 404 where it does not exist, or not for this key."""
    names, call = _asking(request)
    try:
        shown = _entry(names.record(name), names, call)
    except RatchetError:
        shown = {"versions": []}
    if not shown["versions"]:
        refused = Refused(404, "NotFoundError", f"the model {name[:80]!r} does not exist, or not for this key", "model")
        return JSONResponse(refused.body, refused.status)
    return JSONResponse(shown)


def _asking(request: Request) -> tuple[Names, Call]:
    return request.state.ratchet_names, request.state.ratchet_call


def _entry(record: RegistryRecord, names: Names, call: Call) -> dict[str, Any]:
    """The aliases that the caller may ask for, and the versions: named by the caller's key, or behind such an alias."""
    here = {version.version: version for version in living(record) if names.serves(version)}
    served = [alias for alias, main in sorted(record.aliases.items()) if main in here]
    aliases = [alias for alias in served if _may(record, alias, names, call)]
    behind = {number for alias in aliases for number in weights_of(record, alias)}
    seen = [
        version
        for number, version in here.items()
        if number in behind or usable(call, f"{record.name}@v{number}", names.base, False)
    ]
    return {
        "object": "ratchet.registry",
        "name": record.name,
        "aliases": {alias: _alias(record, alias) for alias in aliases},
        "versions": [_version(record.name, version) for version in seen],
    }


def _may(record: RegistryRecord, alias: str, names: Names, call: Call) -> bool:
    asked = [f"{record.name}@{alias}", *([record.name] if alias == DEFAULT_ALIAS else [])]
    return any(usable(call, name, names.base, False) for name in asked)


def _alias(record: RegistryRecord, alias: str) -> dict[str, Any]:
    since = next((step.at for step in reversed(record.history) if step.alias == alias and step.kind != "shadow"), None)
    weights = {f"v{number}": weight for number, weight in weights_of(record, alias).items()}
    return {"version": record.aliases[alias], "weights": weights, "since": since}


def _version(name: str, version: Version) -> dict[str, Any]:
    return {"id": f"{name}@v{version.version}", **version.model_dump(mode="json", include=SHOWN)}
