"""The real engine on a tiny base: what is served is right. One engine for all of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shutil
import socket
from pathlib import Path

import httpx
import pytest
from stories import BASE_SHA256, SEQUENCES, SERVED, World, greedy, post, version

from harness.core.errors import AdapterRefused, EngineError
from serve import adapters, registry
from serve.client import Ask, ask_many, prompt_logprobs
from serve.engine import ensure, running
from serve.supervise import OUR_CPU_KERNELS

PROMPTS = ["Once upon a time", "The dog", "Lily went to the park with", "Tom had a big", "One day, a", "She said"]
PARITY = 1e-3  # nats per token in fp32 (design §2)


def test_the_worker_names_our_kernels(stories: World) -> None:
    assert stories.engine.kernels == OUR_CPU_KERNELS
    health = httpx.get(f"{stories.engine.url}/ratchet/health").json()
    assert health["kernels"] == OUR_CPU_KERNELS
    assert health["base_sha256"] == BASE_SHA256
    assert set(SERVED) <= set(health["adapters"])
    assert (stories.engine.dtype, stories.engine.max_model_len) == ("float32", 512)
    assert stories.engine.versions["vllm"].startswith("0.")


def test_mixed_batches_answer_as_each_model_alone(stories: World) -> None:
    """vLLM's own CPU kernels get 0 of 12 base answers right here (vllm#48421). Slots change hands."""
    assert len(SERVED) > stories.spec.max_loras
    models = ["tiny", *SERVED]
    asks = [greedy(model, prompt) for prompt in PROMPTS for model in models]
    alone = [ask_many(stories.engine.url, [ask], concurrency=1)[0].text for ask in asks]
    assert len(set(alone)) == len(asks), "the adapters must change every answer, or this shows nothing"
    for _ in range(2):
        replies = ask_many(stories.engine.url, asks, concurrency=len(asks))
        assert [reply.error for reply in replies] == [None] * len(asks)
        assert [reply.text for reply in replies] == alone


def test_served_logprobs_equal_peft(stories: World) -> None:
    """Also: a request for prompt log-probs on an adapter does not end the engine."""
    for model, name in [("tiny", "base"), *((name, name) for name in SERVED)]:
        served = prompt_logprobs(stories.engine.url, model, SEQUENCES)
        for values, expected, ids in zip(served, stories.reference[name], SEQUENCES, strict=True):
            assert values[0] is None
            assert len(values) == len(ids)
            assert values[1:] == pytest.approx(expected, abs=PARITY)
    effect = abs(stories.reference["r-one"][0][0] - stories.reference["base"][0][0])
    assert effect > 100 * PARITY


def test_attaching_starts_nothing(stories: World) -> None:
    lines: list[str] = []
    before = [lease.engine_id for lease in running(stories.lab)]  # other modules' engines may be among them
    with ensure(stories.lab, stories.spec, lines.append) as again:
        assert again.engine_id == stories.engine.engine_id
    assert lines == [f"engine: using {again.engine_id}, which is running"]
    with ensure(stories.lab, dataclasses.replace(stories.spec, max_lora_rank=2)) as smaller:
        assert smaller.engine_id == again.engine_id
    assert [lease.engine_id for lease in running(stories.lab)] == before
    lease = stories.lab.engines / again.engine_id / "lease.json"
    assert lease.stat().st_mode & 0o077 == 0


def test_names_of_adapters_are_immutable(stories: World, tmp_path: Path) -> None:
    adapters.load(stories.engine, "r-one", stories.folder / "r-one")  # again: nothing happens
    copy = shutil.copytree(stories.folder / "r-one", tmp_path / "copy")
    with pytest.raises(EngineError, match="already served from"):
        adapters.load(stories.engine, "r-one", copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"r": 64}))
    with pytest.raises(AdapterRefused, match="r: 64"):
        adapters.load(stories.engine, "r-big", copy)
    adapters.load(stories.engine, "r-gone", stories.folder / "r-two")
    adapters.unload(stories.engine, "r-gone")
    assert "r-gone" not in adapters.listed(stories.engine)


def test_aliases_move_under_a_running_engine(stories: World) -> None:
    lab, url = stories.lab, stories.engine.url
    assert "nothing" not in httpx.get(f"{url}/v1/models").text
    assert _status(url, "aac") == 404, "not promoted yet"
    versions = [version(stories, name) for name in ("r-one", "r-two")]
    one, two = (registry.add_version(lab, "aac", version, stories.folder / version.run_id) for version in versions)
    registry.move(lab, "aac", "prod", one.version, who="test", why="first")
    alone = {name: ask_many(url, [greedy(name, "The dog")])[0].text for name in SERVED}
    for model in ("aac", "aac@prod", "aac@v1"):
        text, served = _answer(url, model)
        assert (text, served) == (alone["r-one"], "aac@v1")
    registry.move(lab, "aac", "prod", two.version, who="test", why="better", expected_current=1)
    assert _answer(url, "aac") == (alone["r-two"], "aac@v2")
    registry.rollback(lab, "aac", "prod", who="test")
    assert _answer(url, "aac@prod") == (alone["r-one"], "aac@v1")
    assert _answer(url, "aac@v2") == (alone["r-two"], "aac@v2")
    for wrong in ("aac@v3", "aac@canary", "nobody", "../aac@v1", "aac@../v1"):
        assert _status(url, wrong) == 404


def test_streams_name_their_version(stories: World) -> None:
    registry.add_version(stories.lab, "stream", version(stories, "r-one"), stories.folder / "r-one")
    body = {"model": "stream@v1", "prompt": "The dog", "max_tokens": 4, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{stories.engine.url}/v1/completions", json=body, timeout=60) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["x-ratchet-model"] == "stream@v1"
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 4


def test_chat(stories: World) -> None:
    turns = [{"role": "user", "content": "hello"}]
    reply = ask_many(stories.engine.url, [Ask("r-one", messages=turns, sampling={"max_tokens": 3, "temperature": 0})])[
        0
    ]
    assert reply.error is None
    assert reply.completion_tokens == 3
    assert reply.finish_reason == "length"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/r-one"),
        ("POST", "/invocations"),
        ("POST", "/generative_scoring"),
        ("GET", "/metrics"),
        ("POST", "/v1/load_lora_adapter/"),
    ],
)
def test_admin_routes_need_the_token(stories: World, method: str, path: str) -> None:
    response = httpx.request(method, stories.engine.url + path, json={"lora_name": "r-one", "lora_path": "x"})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "AuthenticationError"
    wrong = httpx.request(method, stories.engine.url + path, headers={"authorization": "Bearer x"}, json={})
    assert wrong.status_code == 401
    assert "r-one" in adapters.listed(stories.engine)


def test_the_token_opens_metrics(stories: World) -> None:
    headers = {"authorization": f"Bearer {stories.engine.admin_token}"}
    assert httpx.get(f"{stories.engine.url}/metrics", headers=headers).status_code == 200


def test_a_taken_port_is_said_in_one_line(stories: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            ensure(stories.lab, dataclasses.replace(stories.spec, port=port))


def test_requests_cut_short_leave_the_engine_well(stories: World) -> None:
    async def leave() -> None:
        async with httpx.AsyncClient(timeout=0.05) as http:
            with pytest.raises(httpx.TimeoutException):
                await http.post(
                    f"{stories.engine.url}/v1/completions",
                    json={"model": "r-one", "prompt": "a b", "max_tokens": 400, "ignore_eos": True},
                )

    asyncio.run(leave())
    assert ask_many(stories.engine.url, [greedy("tiny", "The dog")])[0].error is None


def _status(url: str, model: str) -> int:
    return post(url, model).status_code


def _answer(url: str, model: str) -> tuple[str, str]:
    response = post(url, model)
    assert response.status_code == 200, response.text
    served = response.headers["x-ratchet-model"]
    assert response.json()["model"] == served
    return response.json()["choices"][0]["text"], served
