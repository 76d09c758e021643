"""`GET /ratchet/openapi.json`: the OpenAPI document of what apps may call, cut out of vLLM's own.

vLLM's document names every route; this one has those of serve.plugin.routetable that need no admin, with the schemas
they use, so that it can be handed to client generators and to schemathesis.
"""

from __future__ import annotations

import copy
import json
import re
from typing import Any

from fastapi import FastAPI, Request

from serve.plugin.routetable import Need, need_of

VERBS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
REFERENCE = re.compile(r'"#/components/schemas/([^"]+)"')
SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
}
ERROR = {
    "description": "Refused: the error says what and why",
    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/RatchetError"}}},
}
ERROR_SCHEMA = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "integer"]},
            },
        }
    },
}


def document(whole: dict[str, Any]) -> dict[str, Any]:
    """The part of an app's OpenAPI document that is open to apps."""
    paths: dict[str, Any] = {}
    for path, operations in whole.get("paths", {}).items():
        kept = {verb: copy.deepcopy(found) for verb, found in operations.items() if verb in VERBS and _open(verb, path)}
        for verb, found in kept.items():
            found.get("responses", {}).pop("422", None)  # vLLM answers 400 in its place
            found.setdefault("responses", {})["4XX"] = ERROR
            if need_of(verb.upper(), path) is not Need.NOTHING:
                found["security"] = [{name: []} for name in SECURITY]
        if kept:
            paths[path] = kept
    schemas = {**whole.get("components", {}).get("schemas", {}), "RatchetError": ERROR_SCHEMA}
    return {
        "openapi": whole["openapi"],
        "info": {"title": "Ratchet", "version": str(whole["info"]["version"])},
        "paths": paths,
        "components": {"schemas": _used(paths, schemas), "securitySchemes": SECURITY},
    }


async def openapi(request: Request) -> dict[str, Any]:
    """The route. Made once per server; vLLM's app makes its own document once, too."""
    app: FastAPI = request.app
    made = getattr(app.state, "ratchet_openapi", None)
    if made is None:
        made = app.state.ratchet_openapi = document(app.openapi())
    found: dict[str, Any] = made
    return found


def _open(verb: str, path: str) -> bool:
    return need_of(verb.upper(), path) not in (Need.ADMIN, Need.OPERATOR)


def _used(paths: dict[str, Any], schemas: dict[str, Any]) -> dict[str, Any]:
    """The schemas that `paths` name, and those that these name."""
    used: dict[str, Any] = {}
    todo = set(REFERENCE.findall(json.dumps(paths)))
    while todo:
        name = todo.pop()
        if name not in used and name in schemas:
            used[name] = schemas[name]
            todo |= set(REFERENCE.findall(json.dumps(schemas[name])))
    return used
