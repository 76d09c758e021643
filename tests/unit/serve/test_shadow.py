"""Shadow traffic: answers that no client sees, kept in pairs, bounded, and never in the way of the visible answer."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from harness.core.errors import LabError
from harness.core.paths import Lab
from harness.core.records import Shadow
from harness.core.traffic import SHADOW, ShadowedCall, read
from harness.pipeline.erasing import erase
from serve import registry
from serve.fake import Script
from serve.plugin.call import Call, Receive, Scope, Send
from serve.plugin.shadow import Shadows
from tests.unit.serve.versions import BASE, add


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    lab = Lab(tmp_path / "lab")
    for mark in (1, 2):
        add(lab, "aac", mark, tmp_path)
    registry.move(lab, "aac", "prod", 1, who="t", why="t")
    registry.set_shadow(lab, "aac", "prod", Shadow(version=2), who="t", why="t")
    return lab


@pytest.fixture
def url(lab: Lab, serving: Callable[[Script], str]) -> str:
    return serving(Script(base_sha256=BASE, registry=str(lab.registry), requests=str(lab.root / "requests")))


def chat(url: str, model: str = "aac", **more: Any) -> httpx.Response:
    turns = [{"role": "user", "content": "mail me at ann@example.com"}]
    return httpx.post(f"{url}/v1/chat/completions", json={"model": model, "messages": turns, **more})


def kept(lab: Lab, wanted: int) -> list[ShadowedCall]:
    for _ in range(250):
        found = [one for one in read(lab.root / "requests", SHADOW) if isinstance(one, ShadowedCall)]
        if len(found) >= wanted:
            return found
        time.sleep(0.02)
    pytest.fail("the shadow's answer was not kept")


def test_both_answers_are_kept_and_one_is_seen(lab: Lab, url: str) -> None:
    response = chat(url, user="u-7", temperature=0.5)
    assert response.headers["x-ratchet-model"] == response.json()["model"] == "aac@v1"
    assert "aac@v2" not in response.text
    (pair,) = kept(lab, 1)
    assert (pair.model, pair.alias, pair.shadow.model) == ("aac@v1", "aac@prod", "aac@v2")
    assert pair.answers[0].startswith("aac@v1 answers")
    assert pair.shadow.answers[0].startswith("aac@v2 answers")
    assert pair.completion_id == response.json()["id"]
    assert pair.decoding == {"temperature": 0.5}
    assert "ann@example.com" not in pair.model_dump_json(), "redacted as captured calls are"
    chat(url, stream=True)
    streamed = kept(lab, 2)[1]
    assert streamed.answers[0].startswith("aac@v1 answers")
    assert streamed.shadow.answers[0].startswith("aac@v2 answers")


def test_only_what_asks_for_the_alias_is_shadowed(lab: Lab, url: str) -> None:
    for model in ("aac@v1", "aac@v2", "tiny"):
        assert chat(url, model).status_code == 200
    registry.set_shadow(lab, "aac", "prod", None, who="t", why="t")
    assert chat(url).status_code == 200
    time.sleep(0.2)
    found = [one for one in read(lab.root / "requests", SHADOW) if isinstance(one, ShadowedCall)]
    assert [one.model for one in found] in ([], ["aac@v1"])


def test_a_shadow_that_cannot_be_served_is_dropped_and_counted(lab: Lab, url: str) -> None:
    path = registry.version_folder(lab.registry, "aac", 2) / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    assert chat(url).status_code == 200
    for _ in range(250):
        watching = httpx.get(f"{url}/ratchet/health").json()["watching"]["shadow"]
        if watching["dropped"]:
            break
        time.sleep(0.02)
    assert watching == {"written": 0, "waiting": 0, "dropped": {"failed": 1}}


def test_a_forgotten_user_is_forgotten_here_too(lab: Lab, url: str) -> None:
    for user in ("ann", "bob"):
        chat(url, user=user)
    kept(lab, 2)
    erase(lab, "ann", "tester")
    assert [one.user for one in kept(lab, 1)] == ["bob"]


# --- by hand, for what a real server does not do on command ---


class App:
    """Answers when `gate` opens; counts who is inside."""

    def __init__(self) -> None:
        self.gate, self.asked = asyncio.Event(), list[dict[str, Any]]()
        self.status = 200

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        message = await receive()
        self.asked.append(json.loads(message["body"]))
        await self.gate.wait()
        if self.status == 0:
            raise RuntimeError("a bug in the app")
        body = b'{"id": "c-2", "choices": [{"text": "unseen", "finish_reason": "stop"}]}'
        await send({"type": "http.response.start", "status": self.status, "headers": []})
        await send({"type": "http.response.body", "body": body})


def call(number: int = 0, **fields: Any) -> Call:
    known = {"body": {"model": "aac@v1", "prompt": f"p{number}", "stream": True}, "model": "aac@v1", "shadow": "aac@v2"}
    return Call("/v1/completions", "POST", f"r-{number}", status=200, answer=["seen"], **{**known, **fields})


def scope() -> Scope:
    state = SimpleNamespace(openai_serving_models=SimpleNamespace(lora_requests={}))
    return {"type": "http", "path": "/v1/completions", "headers": [], "app": SimpleNamespace(state=state)}


async def settle(app: App, shadows: Shadows, calls: list[Call]) -> None:
    for one in calls:
        shadows.expect(one, scope())
        assert shadows.wants_text(one)
        shadows.ended(one)
    await asyncio.sleep(0)
    app.gate.set()
    while shadows._running:
        await asyncio.sleep(0.01)


def test_never_more_than_so_many_at_once(tmp_path: Path) -> None:
    lines: list[dict[str, Any]] = []

    async def main() -> tuple[App, Shadows]:
        app = App()
        shadows = Shadows(app, tmp_path, None, at_once=2, append=lines.extend)
        await settle(app, shadows, [call(number) for number in range(5)])
        return app, shadows

    app, shadows = asyncio.run(main())
    shadows.close()
    assert [one["prompt"] for one in app.asked] == ["p0", "p1"]
    assert all("stream" not in one and one["model"] == "aac@v2" for one in app.asked)
    assert shadows.report() == {"written": 2, "waiting": 0, "dropped": {"busy": 3}}
    assert [(line["answers"], line["shadow"]["answers"]) for line in lines] == [(["seen"], ["unseen"])] * 2


@pytest.mark.parametrize(("status", "reason"), [(500, "failed"), (0, "failed")])
def test_what_goes_wrong_is_counted(tmp_path: Path, status: int, reason: str) -> None:
    async def main() -> Shadows:
        app = App()
        app.status = status
        shadows = Shadows(app, tmp_path, None, append=lambda events: None)
        await settle(app, shadows, [call()])
        return shadows

    assert asyncio.run(main()).report()["dropped"] == {reason: 1}


def test_a_full_disk_is_counted(tmp_path: Path) -> None:
    def full(events: list[dict[str, Any]]) -> None:
        raise LabError("the disk is full")

    async def main() -> Shadows:
        app = App()
        shadows = Shadows(app, tmp_path, None, append=full)
        await settle(app, shadows, [call()])
        return shadows

    shadows = asyncio.run(main())
    shadows.close()
    assert shadows.report()["dropped"] == {"disk": 1}


@pytest.mark.parametrize("fields", [{"status": 400}, {"left": True}])
def test_what_the_client_did_not_get_is_not_asked_again(tmp_path: Path, fields: dict[str, Any]) -> None:
    async def main() -> App:
        app = App()
        shadows = Shadows(app, tmp_path, None, append=lambda events: None)
        one = call()
        for key, value in fields.items():
            setattr(one, key, value)
        await settle(app, shadows, [one])
        return app

    assert asyncio.run(main()).asked == []


def test_without_a_lab_nothing_is_asked() -> None:
    shadows = Shadows(App(), None, None)
    one = call()
    shadows.expect(one, scope())
    assert not shadows.wants_text(one)
