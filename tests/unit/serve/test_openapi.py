"""The document of what apps may call, cut out of a whole one."""

from __future__ import annotations

import json

from fastapi import FastAPI
from pydantic import BaseModel

from serve.plugin.openapi import document


class Part(BaseModel):
    text: str


class Asked(BaseModel):
    parts: list[Part]


class Secret(BaseModel):
    path: str


def whole() -> FastAPI:
    app = FastAPI()

    @app.post("/v1/completions")
    def completions(asked: Asked) -> None: ...

    @app.get("/v1/completions")
    def other_method() -> Secret: ...

    @app.post("/v1/load_lora_adapter")
    def load(asked: Secret) -> None: ...

    @app.get("/something/new")
    def new() -> Secret: ...

    @app.get("/health")
    def health() -> None: ...

    return app


def test_only_open_routes_and_the_schemas_they_use_are_in_it() -> None:
    found = document(whole().openapi())
    verbs = {path: list(verbs) for path, verbs in found["paths"].items()}
    assert verbs == {"/v1/completions": ["post"], "/health": ["get"]}
    assert set(found["components"]["schemas"]) == {"Asked", "Part", "RatchetError"}
    assert "Secret" not in json.dumps(found)
    responses = found["paths"]["/v1/completions"]["post"]["responses"]
    assert set(responses) == {"200", "4XX"}
    assert found["paths"]["/v1/completions"]["post"]["security"] == [{"bearer": []}, {"x-api-key": []}]
    assert "security" not in found["paths"]["/health"]["get"]


def test_the_whole_document_stays_as_it_is() -> None:
    app = whole()
    before = json.dumps(app.openapi())
    document(app.openapi())
    assert json.dumps(app.openapi()) == before
