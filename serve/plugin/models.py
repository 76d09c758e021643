"""`GET /v1/models`: what a caller may use. vLLM lists what it has loaded; the registry's versions load when asked for.

The base as vLLM shows it; each version and alias with parent, version, verdict and date; candidates (adapters under
their run id) for admins, for keys that name them, and where no keys are in force. Folders are shown to admins only.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

from harness.core.records import RegistryRecord, Version
from serve.plugin.call import Call
from serve.plugin.names import Names
from serve.registry import DEFAULT_ALIAS


def usable(call: Call, name: str, base: str, loaded: bool) -> bool:
    """Whether the caller may use `name`; `loaded`: it is an adapter that somebody loaded by hand."""
    if call.key is None or call.admin:
        return True
    if loaded and name != base and "@" not in name:
        return bool(call.key.models) and call.key.allows(name)
    return call.key.allows(name)


def listing(call: Call, raw: bytes, names: Names, base: str) -> bytes:
    """vLLM's answer, with what the caller may not see taken out and the registry's names put in."""
    answer = json.loads(raw)
    context = next((card.get("max_model_len") for card in answer["data"] if card["id"] == base), None)
    cards = {card["id"]: card for card in answer["data"] if usable(call, card["id"], base, bool(card.get("parent")))}
    for record in names.records():
        for card in _cards(record, names, base, context):
            if usable(call, card["id"], base, False):
                loaded = cards.get(card["id"], {})
                cards[card["id"]] = {**loaded, **card, "root": loaded.get("root") or card["root"]}
    if call.key is not None and not call.admin:
        cards = {name: {**card, "root": _public(card, base)} for name, card in cards.items()}
    return json.dumps({**answer, "data": list(cards.values())}).encode()


def _cards(record: RegistryRecord, names: Names, base: str, context: int | None) -> Iterator[dict[str, Any]]:
    served = {version.version: version for version in record.versions if names.serves(version)}
    for version in served.values():
        yield _card(f"{record.name}@v{version.version}", record.name, version, base, context)
    for alias, number in sorted(record.aliases.items()):
        if number in served:
            bare = [record.name] if alias == DEFAULT_ALIAS else []
            for name in (*bare, f"{record.name}@{alias}"):
                yield {**_card(name, record.name, served[number], base, context), "alias": alias}


def _card(name: str, registered: str, version: Version, base: str, context: int | None) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": int(datetime.datetime.fromisoformat(version.created).timestamp()),
        "owned_by": "ratchet",
        "root": f"{registered}@v{version.version}",
        "parent": base,
        "max_model_len": context,
        "version": version.version,
        "verdict": version.verdict,
        "date": version.created,
    }


def _public(card: dict[str, Any], base: str) -> str:
    """The immutable name behind a card, never a folder of the engine's machine."""
    if card.get("version") is None:
        return base if not card.get("parent") else str(card["id"])
    return f"{str(card['id']).partition('@')[0]}@v{card['version']}"
