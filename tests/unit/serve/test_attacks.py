"""Attacks on the real gatekeeper in front of the fake: 4xx, and nothing has changed."""

from __future__ import annotations

import datetime
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from harness.core.paths import Lab
from serve import keys, registry
from serve.fake import Script
from serve.keys import Key
from serve.plugin.routetable import CLOSED, ROUTES, Need, need_of
from tests import attacks
from tests.attacks import Target
from tests.unit.serve.versions import BASE, add


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def target(lab: Lab, serving: Callable[[Script], str], tmp_path: Path) -> Iterator[Target]:
    """A fake with a version, a candidate and keys; what it serves and stores is the same at the end."""
    add(lab, "support", 1, tmp_path)
    registry.move(lab, "support", "prod", 1, who="t", why="t")
    secrets = {}
    soon = (datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=0.1)).isoformat()
    for name, more in (
        ("infer", {}),
        ("feedback", {"scopes": ["feedback"]}),
        ("revoked", {}),
        ("expired", {"expires": soon}),
    ):
        fields = {"key_id": "", "name": name, "secret_sha256": "", "scopes": ["infer"], "created": "", **more}
        secrets[name] = keys.create(lab.keys, Key.model_validate(fields))[1]
    keys.revoke(lab.keys, "revoked")
    time.sleep(0.15)
    script = Script(
        base_sha256=BASE, registry=str(lab.registry), keys=str(lab.keys / keys.KEYS), adapters={"r-1": "/x"}
    )
    found = Target(serving(script), **secrets)
    before = state(lab, found)
    yield found
    assert state(lab, found) == before


def state(lab: Lab, target: Target) -> tuple[str, dict[str, bytes]]:
    models = httpx.get(f"{target.url}/v1/models", headers={"x-api-key": "fake"}).json()
    for card in models["data"]:
        card.pop("created")
    files = {
        str(path): path.read_bytes() for path in lab.root.rglob("*") if path.is_file() and "used-" not in path.name
    }
    return json.dumps(models, sort_keys=True), files


def test_no_credential_that_is_not_a_living_key_opens_anything(target: Target) -> None:
    found = list(attacks.credentials(target))
    assert len(found) == 9 * sum(need is not Need.NOTHING for need in ROUTES.values())
    assert {what: code for what, code in found if code != 401} == {}


def test_a_key_opens_its_scope_only(target: Target) -> None:
    found = list(attacks.wrong_scope(target))
    assert found
    assert {what: code for what, code in found if code != 403} == {}


def test_every_closed_route_is_closed(target: Target) -> None:
    found = list(attacks.closed_routes(target))
    assert len(found) == len(CLOSED) * len(attacks.METHODS) * 2
    assert {what: code for what, code in found if code not in (401, 403)} == {}


def test_paths_and_methods_are_read_as_the_router_reads_them(target: Target) -> None:
    found = [*attacks.path_tricks(target), *attacks.method_tricks(target)]
    assert {what: code for what, code in found if not 400 <= code < 500} == {}


def test_nothing_is_smuggled(target: Target) -> None:
    for what, said in attacks.smuggling(target):
        assert said.count(b"HTTP/1.1 ") <= 1, what
        assert 400 <= attacks.status(said) < 500, (what, said[:200])


@pytest.mark.parametrize("name", attacks.NAMES)
def test_names_lead_nowhere(target: Target, name: str) -> None:
    for path in ("/v1/completions", "/v1/chat/completions", "/tokenize", "/ratchet/score"):
        answer = httpx.post(target.url + path, json={"model": name, "prompt": "x"}, headers=target.auth)
        assert answer.status_code == 404
        assert len(answer.content) < 1000


def test_unknown_names_leave_no_trace(target: Target) -> None:
    process = psutil.Process(os.getpid())
    found, grown = attacks.flood(target.url, target.auth, 3000, lambda: process.memory_info().rss)
    assert found == {404}
    assert grown < 16 * 2**20


def test_a_hundred_megabytes_are_refused_before_they_come(target: Target) -> None:
    for path in ("/v1/completions", "/v1/feedback", "/v1/models"):
        head = f"POST {path} HTTP/1.1\r\nhost: x\r\nx-api-key: {target.infer}\r\ncontent-length: 104857600\r\n\r\n"
        assert attacks.status(attacks.raw(target.url, head, wait_s=0.2)) == 413
    whole = httpx.post(f"{target.url}/v1/completions", content=b"x" * 100 * 2**20, headers=target.auth, timeout=60)
    assert whole.status_code == 413


def test_a_page_may_call_only_where_that_was_asked_for(
    target: Target, lab: Lab, serving: Callable[[Script], str]
) -> None:
    wanted = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    preflight = {"origin": "https://app.example", **wanted}
    path = "/v1/chat/completions"
    refused = httpx.options(target.url + path, headers=preflight)
    assert refused.status_code == 401
    assert "access-control-allow-origin" not in refused.headers
    url = serving(Script(keys=str(lab.keys / keys.KEYS), cors=["https://app.example"]))
    allowed = httpx.options(url + path, headers=preflight)
    assert allowed.status_code == 200, "a browser asks without a key"
    assert allowed.headers["access-control-allow-origin"] == "https://app.example"
    assert httpx.options(url + path, headers={**preflight, "origin": "https://evil.example"}).status_code == 400
    body = {"messages": [{"role": "user", "content": "x"}]}
    answer = httpx.post(url + path, json=body, headers={**target.auth, "origin": "https://app.example"})
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    assert "x-ratchet-model" in answer.headers["access-control-expose-headers"]
    anonymous = httpx.post(url + path, json=body, headers={"origin": "https://app.example"})
    assert anonymous.status_code == 401
    assert anonymous.headers["access-control-allow-origin"] == "https://app.example", "else a page cannot read why"


def test_the_openapi_document_names_open_routes_only(target: Target) -> None:
    document = httpx.get(f"{target.url}/ratchet/openapi.json", headers=target.auth).json()
    named = {(verb.upper(), path) for path, found in document["paths"].items() for verb in found}
    assert ("POST", "/v1/chat/completions") in named
    assert {pair for pair in named if need_of(*pair) in (Need.ADMIN, Need.OPERATOR)} == set()


def test_closed_and_open_are_apart() -> None:
    assert not {path for _, path in ROUTES} & set(CLOSED)


def test_secrets_are_in_no_answer_and_no_file(target: Target, lab: Lab) -> None:
    said = b"".join(answer for _, answer in attacks.smuggling(target))
    files = b"".join(path.read_bytes() for path in lab.root.rglob("*") if path.is_file())
    for secret in (target.infer, target.feedback, target.revoked, target.expired):
        assert secret.encode() not in said + files
