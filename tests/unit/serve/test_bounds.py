"""What one request may ask for: 4xx in OpenAI's shape, before it costs anything."""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from harness.core.errors import InputError
from serve.fake import Script
from serve.keys import Key
from serve.plugin.bounds import CHARACTERS_PER_TOKEN, Limits, check, too_deep
from serve.plugin.call import Call, Refused

CONTEXT = 64
CHAT, TEXT = "/v1/chat/completions", "/v1/completions"


@pytest.fixture
def url(serving: Callable[[Script], str]) -> str:
    return serving(Script(max_model_len=CONTEXT))


def judged(path: str, body: dict[str, Any], limits: Limits | None = None, key: Key | None = None) -> Call:
    call = Call(path, "POST", "req-1", key=key, body=body)
    check(call, dataclasses.replace(limits or Limits(), context=CONTEXT))
    return call


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        (CHAT, {"n": 17}, "n"),
        (CHAT, {"n": "17"}, "n"),
        (TEXT, {"n": 1_7.0}, "n"),
        (TEXT, {"n": 10**400}, "n"),
        (TEXT, {"best_of": 64}, "best_of"),
        (TEXT, {"max_tokens": CONTEXT + 1}, "max_tokens"),
        (CHAT, {"max_completion_tokens": CONTEXT + 1}, "max_completion_tokens"),
        (CHAT, {"min_tokens": CONTEXT + 1}, "min_tokens"),
        (TEXT, {"logprobs": 21}, "logprobs"),
        (TEXT, {"logprobs": -1}, "logprobs"),
        (CHAT, {"logprobs": True, "top_logprobs": 21}, "top_logprobs"),
        (CHAT, {"prompt_logprobs": -1}, "prompt_logprobs"),
        (CHAT, {"stop": ["x"] * 17}, "stop"),
        (CHAT, {"stop": "x" * 257}, "stop"),
        (TEXT, {"stop": ["a", "x" * 257]}, "stop"),
        (TEXT, {"prompt": ["x"] * 257}, "prompt"),
        (TEXT, {"prompt": [[1]] * 257}, "prompt"),
        (TEXT, {"prompt": [1] * (CONTEXT + 1)}, "prompt"),
        (TEXT, {"prompt": ["a", [1] * (CONTEXT + 1)]}, "prompt"),
        (TEXT, {"prompt": "x" * (CONTEXT * CHARACTERS_PER_TOKEN + 1)}, "prompt"),
        (CHAT, {"messages": [{"role": "user", "content": "x" * 5000}] * 2}, "messages"),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "x" * 9000}]}]}, "messages"),
        ("/v1/embeddings", {"input": ["x"] * 2049}, "input"),
        ("/tokenize", {"prompt": "x" * 10_000}, "prompt"),
        ("/detokenize", {"tokens": [1] * (CONTEXT + 1)}, "tokens"),
        ("/ratchet/score", {"groups": [{"context": [1], "choices": [[1]] * 16_385}]}, "groups"),
        (CHAT, {"logit_bias": {str(n): 1 for n in range(1025)}}, "logit_bias"),
        (CHAT, {"tools": [{}] * 257}, "tools"),
        (CHAT, {"response_format": {"type": "json_schema", "json_schema": {"x": "y" * 70_000}}}, "response_format"),
        (TEXT, {"structured_outputs": {"regex": "a" * 70_000}}, "structured_outputs"),
        (CHAT, {"kv_transfer_params": {"remote_host": "10.0.0.1"}}, "kv_transfer_params"),
    ],
)
def test_beyond_the_limit_is_400(path: str, body: dict[str, Any], param: str) -> None:
    with pytest.raises(Refused) as refused:
        judged(path, body)
    assert refused.value.status == 400
    assert refused.value.body["error"]["param"] == param


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (CHAT, {"n": 16, "messages": [{"role": "user", "content": "x" * 8000}], "logprobs": True, "top_logprobs": 20}),
        (TEXT, {"prompt": [1] * CONTEXT, "max_tokens": 0, "echo": True, "logprobs": 0}),
        (TEXT, {"prompt": [1] * (CONTEXT + 1), "truncate_prompt_tokens": 8}),
        (TEXT, {"prompt": ["x"] * 256, "stop": None, "n": None}),
        (
            TEXT,
            {"n": "many", "max_tokens": [], "stop": 3, "prompt": {"a": 1}, "messages": "no"},
        ),  # vLLM says what is wrong
        (CHAT, {"messages": ["no", {"content": [3, {"text": 4}]}], "tools": "no"}),
        ("/ratchet/score", {"groups": "no"}),
    ],
)
def test_within_the_limit_nothing_is_said(path: str, body: dict[str, Any]) -> None:
    before = json.dumps(body)
    assert json.dumps(judged(path, body).body) == before


def test_a_key_may_have_a_limit_of_its_own_for_answers() -> None:
    key = Key(key_id="k-1", name="app", secret_sha256="", scopes=["infer"], created="", max_tokens=8)
    assert judged(CHAT, {}, key=key).body["max_tokens"] == 8, "vLLM would fill the context"
    assert judged(CHAT, {"max_completion_tokens": 3}, key=key).body == {"max_completion_tokens": 3}
    assert judged(TEXT, {"max_tokens": None}, Limits(max_tokens=9)).body["max_tokens"] == 9
    assert "max_tokens" not in judged("/v1/embeddings", {"input": "x"}, key=key).body
    with pytest.raises(Refused, match="at most 8"):
        judged(CHAT, {"max_tokens": 9}, Limits(max_tokens=20), key)


def test_depth_is_counted_without_parsing() -> None:
    """Against the plain way: parse, and walk."""

    def depth(value: Any) -> int:
        inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inside is None else 1 + max(map(depth, inside), default=0)

    rng = random.Random(4)

    def made(left: int) -> Any:
        kind = rng.random()
        if left == 0 or kind < 0.2:
            return rng.choice([1, None, '[[[{"', "\\", 'a\\"[[', "]}", "ü["])
        if kind < 0.6:
            return [made(left - 1) for _ in range(rng.randint(0, 3))]
        return {rng.choice(['"[', "k", "\\{"]): made(left - 1) for _ in range(2)}

    for _ in range(300):
        value = made(7)
        deep = depth(value)
        for limit in {max(deep - 1, 0), deep}:
            assert too_deep(json.dumps(value).encode(), limit) == (deep > limit)
    assert too_deep(b'{"a": "' + b"[" * 100 + b'", "b": ' + b"[" * 65, 64)
    assert not too_deep(b'{"a": "' + b"[" * 10_000, 64), "an unfinished string is a string"


def test_deep_json_is_400_and_cheap(url: str) -> None:
    for content in (b"[" * 4_000_000, b'{"a":' * 1_000_000, b'{"prompt":' + b"[" * 65 + b"]" * 65 + b"}"):
        answer = httpx.post(url + TEXT, content=content)
        assert answer.status_code == 400
        assert "nested deeper than 64" in answer.json()["error"]["message"]


@pytest.mark.parametrize("content", [b'{"temperature": NaN}', b'{"seed": 1e999}', b'{"prompt": "\\ud800"}'])
def test_what_json_or_unicode_do_not_have_is_400(url: str, content: bytes) -> None:
    assert httpx.post(url + TEXT, content=content).status_code == 400


def test_the_operator_is_not_bound(url: str) -> None:
    body = {"model": "tiny", "prompt": [1] * 100, "n": 50}
    assert httpx.post(url + TEXT, json=body).status_code == 400
    assert httpx.post(url + TEXT, json=body, headers={"authorization": "Bearer fake"}).status_code == 200


def test_limits_are_settings(monkeypatch: pytest.MonkeyPatch, serving: Callable[[Script], str]) -> None:
    url = serving(Script(limits={"n": 2, "body_bytes": 100}))
    assert httpx.post(url + TEXT, json={"prompt": "x", "n": 2}).status_code == 200
    assert httpx.post(url + TEXT, json={"prompt": "x", "n": 3}).status_code == 400
    assert httpx.post(url + TEXT, json={"prompt": "x" * 100}).status_code == 413
    monkeypatch.setenv("RATCHET_LIMITS", '{"n": 3, "stops": 1}')
    assert Limits.from_environment() == Limits(n=3, stops=1)
    for wrong in ("[]", "{", '{"n": 0}', '{"n": "3"}', '{"m": 3}', '{"n": true}'):
        monkeypatch.setenv("RATCHET_LIMITS", wrong)
        with pytest.raises(InputError, match="RATCHET_LIMITS"):
            Limits.from_environment()


def test_a_body_that_grows_on_the_way_is_stopped(url: str) -> None:
    def endless() -> Any:
        while True:
            yield b"x" * 2**20

    for path in (TEXT, "/v1/feedback"):
        try:
            status = httpx.post(url + path, content=endless(), timeout=20).status_code
        except httpx.TransportError:  # the server stopped reading
            continue
        assert status in (413, 404), "the fake has no such route; what counts is that it stops"
