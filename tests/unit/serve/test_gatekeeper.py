"""Aliases per request, 404 before vLLM, closed admin routes, limits; the fake has the same gatekeeper."""

from __future__ import annotations

import fcntl
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.core.paths import Lab
from serve import registry
from serve.fake import Script
from serve.lease import HOLD, is_held
from serve.plugin.gatekeeper import MAX_BODY_BYTES, Busy
from tests.unit.serve.versions import BASE, add


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def url(lab: Lab, serving: Callable[[Script], str]) -> str:
    return serving(Script(base_sha256=BASE, registry=str(lab.registry), adapters={"r-1": "/somewhere"}))


def ask(url: str, model: Any, **more: Any) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json={"model": model, "prompt": "hello", **more})


def test_an_alias_is_resolved_at_each_request(lab: Lab, url: str, tmp_path: Path) -> None:
    assert ask(url, "aac").status_code == 404
    for number in (1, 2):
        add(lab, "aac", number, tmp_path)
    registry.move(lab, "aac", "prod", 1, who="t", why="t")
    for name in ("aac", "aac@prod", "aac@v1"):
        response = ask(url, name)
        assert response.headers["x-ratchet-model"] == response.json()["model"] == "aac@v1"
    registry.move(lab, "aac", "prod", 2, who="t", why="t")
    assert ask(url, "aac").headers["x-ratchet-model"] == "aac@v2"


def test_streams_and_chat_carry_the_header(url: str) -> None:
    turns = [{"role": "user", "content": "hello"}]
    body = {"model": "r-1", "messages": turns, "stream": True}
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=body) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["x-ratchet-model"] == "r-1"
    assert lines[-1] == "data: [DONE]"
    pieces = [json.loads(line[6:])["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(pieces).endswith("to: hello")


@pytest.mark.parametrize(
    "name", ["nobody", "aac@v9", "aac@", "@v1", "../aac@v1", "aac@../../etc", "A", "a" * 500, "aac@v01"]
)
def test_unknown_names_are_404_in_openai_shape(lab: Lab, url: str, tmp_path: Path, name: str) -> None:
    add(lab, "aac", 1, tmp_path)
    response = ask(url, name)
    assert response.status_code == 404
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    assert response.json()["error"]["param"] == "model"


def test_a_version_of_another_base_is_refused(lab: Lab, url: str, tmp_path: Path) -> None:
    add(lab, "other", 1, tmp_path, base="c" * 64)
    assert "another base" in ask(url, "other@v1").json()["error"]["message"]


def test_no_model_means_the_base(url: str) -> None:
    assert httpx.post(f"{url}/v1/completions", json={"prompt": "x"}).headers["x-ratchet-model"] == "tiny"


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b'{"model": 3}', b"[" * 100_000, b"\xff"])
def test_bodies_that_are_no_request_are_400(url: str, content: bytes) -> None:
    assert httpx.post(f"{url}/v1/completions", content=content).status_code == 400


def test_the_last_of_two_models_is_judged_and_used(url: str) -> None:
    content = b'{"model": "tiny", "model": "r-1", "prompt": "x"}'
    response = httpx.post(f"{url}/v1/completions", content=content)
    assert response.headers["x-ratchet-model"] == response.json()["model"] == "r-1"


def test_bodies_have_a_limit(url: str) -> None:
    assert ask(url, "tiny", user="x" * MAX_BODY_BYTES).status_code == 413


@pytest.mark.parametrize(
    "path", ["/metrics", "/v1/load_lora_adapter", "/v1/load_lora_adapter/", "//v1/models", "/docs"]
)
def test_everything_else_needs_the_admin_token(url: str, path: str) -> None:
    assert httpx.post(url + path, json={}).status_code == 401
    assert httpx.post(url + path, json={}, headers={"authorization": "Bearer fakes"}).status_code == 401
    body = {"lora_name": "r", "lora_path": "/nowhere"}
    assert httpx.post(url + path, json=body, headers={"authorization": "Bearer fake"}).status_code in (404, 405, 307)


@pytest.mark.parametrize("path", ["/health", "/ping", "/v1/models", "/ratchet/health"])
def test_open_paths(url: str, path: str) -> None:
    assert httpx.get(url + path).status_code == 200


def test_requests_hold_the_engine(tmp_path: Path) -> None:
    busy = Busy(tmp_path / HOLD)
    with busy.request(), busy.request():
        assert is_held(tmp_path)
    assert not is_held(tmp_path)
    with (tmp_path / HOLD).open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)
        assert is_held(tmp_path)
