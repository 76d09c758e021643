"""Token buckets, worked out by hand with a clock of our own; headers and 429 through the fake."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.core.paths import Lab
from serve import keys
from serve.fake import Script
from serve.keys import Key
from serve.plugin.call import Call, Refused
from serve.plugin.rates import ANSWER_GUESS, Rates, guess


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def key(**fields: Any) -> Key:
    return Key(key_id="k-1", name="app", secret_sha256="", scopes=["infer"], created="", **fields)


def call(of: Key, **body: Any) -> Call:
    return Call("/v1/completions", "POST", "req-1", key=of, body=body, status=200)


def said(rates: Rates, of: Key) -> dict[str, str]:
    return {name.decode().removeprefix("x-ratelimit-"): value.decode() for name, value in rates.headers(of)}


def test_requests_fill_steadily() -> None:
    """60 a minute: all 60 at once, then one a second."""
    clock, of = Clock(), key(requests_per_minute=60)
    rates = Rates(clock)
    for _ in range(60):
        rates.request(call(of))
    assert said(rates, of) == {"limit-requests": "60", "remaining-requests": "0", "reset-requests": "60.000s"}
    with pytest.raises(Refused) as refused:
        rates.request(call(of))
    assert refused.value.status == 429
    assert refused.value.headers == {"retry-after": "1"}
    clock.now += 1
    rates.request(call(of))
    with pytest.raises(Refused):
        rates.request(call(of))
    clock.now += 3600
    assert said(rates, of)["remaining-requests"] == "60", "no more than a minute's worth is kept"


def test_tokens_are_guessed_then_settled() -> None:
    """600 a minute. "x" * 400 is guessed as 101 tokens, its answer as 100; it took 50 + 10, so 540 are left."""
    clock, of = Clock(), key(tokens_per_minute=600)
    rates = Rates(clock)
    one = call(of, prompt="x" * 400, max_tokens=100)
    rates.tokens(one)
    assert said(rates, of)["remaining-tokens"] == "399"
    one.prompt_tokens, one.completion_tokens = 50, 10
    rates.settle(one)
    assert said(rates, of) == {"limit-tokens": "600", "remaining-tokens": "540", "reset-tokens": "6.000s"}
    more = call(of, prompt=[1] * 100, max_tokens=100)
    rates.tokens(more)
    more.prompt_tokens, more.completion_tokens = 100, 1000
    rates.settle(more)
    with pytest.raises(Refused) as refused:  # 560 in debt: 561 tokens at 10 a second
        rates.tokens(call(of, prompt="", max_tokens=0))
    assert refused.value.headers == {"retry-after": "57"}
    assert said(rates, of)["remaining-tokens"] == "0"


def test_errors_cost_no_tokens_and_leaving_costs_what_was_streamed() -> None:
    of = key(tokens_per_minute=1000)
    rates = Rates(Clock())
    failed, left = call(of, prompt="", max_tokens=99), call(of, prompt="", max_tokens=99)
    rates.tokens(failed)
    failed.status = 400
    rates.settle(failed)
    assert said(rates, of)["remaining-tokens"] == "1000"
    rates.tokens(left)
    left.chunks, left.left = 300, True
    rates.settle(left)
    assert said(rates, of)["remaining-tokens"] == "700"


def test_a_request_larger_than_a_minute_may_run_alone() -> None:
    of = key(tokens_per_minute=100)
    rates = Rates(Clock())
    rates.tokens(call(of, prompt="", max_tokens=5000))
    with pytest.raises(Refused):
        rates.tokens(call(of, prompt="", max_tokens=1))


@pytest.mark.parametrize(
    ("body", "tokens"),
    [
        ({"prompt": [1, 2, 3], "max_tokens": 5}, 8),
        ({"prompt": [[1, 2], [3]], "max_tokens": 0}, 3),
        ({"prompt": "12345678", "max_tokens": 5, "n": 4}, 3 + 20),
        ({"messages": [{"content": "1234"}, {"content": [{"text": "1234"}]}]}, 3 + ANSWER_GUESS),
        ({"max_tokens": "five", "n": None}, ANSWER_GUESS),
    ],
)
def test_the_guess(body: dict[str, Any], tokens: int) -> None:
    assert guess(call(key(), **body)) == tokens


def test_every_answer_of_a_limited_key_says_where_it_stands(tmp_path: Path, serving: Callable[[Script], str]) -> None:
    lab = Lab(tmp_path / "lab")
    url = serving(Script(keys=str(lab.keys / keys.KEYS)))
    draft = key(requests_per_minute=3, tokens_per_minute=10_000)
    _, secret = keys.create(lab.keys, draft)
    _, free = keys.create(lab.keys, Key(key_id="", name="free", secret_sha256="", scopes=["infer"], created=""))
    headers, body = {"x-api-key": secret}, {"prompt": "one two", "stream": True}
    answer = httpx.post(f"{url}/v1/completions", json=body, headers=headers)
    assert answer.headers["x-ratelimit-limit-requests"] == "3"
    assert answer.headers["x-ratelimit-remaining-requests"] == "2"
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) < 10_000
    wrong = httpx.post(f"{url}/v1/completions", json={"model": "nobody", "prompt": "x"}, headers=headers)
    assert wrong.status_code == 404
    assert wrong.headers["x-ratelimit-remaining-requests"] == "1"
    listed = httpx.get(f"{url}/v1/models", headers=headers)
    assert int(listed.headers["x-ratelimit-remaining-tokens"]) > 9980, "settled by the stream's own count"
    assert listed.headers["x-ratelimit-remaining-requests"] == "1", "reading costs nothing"
    httpx.post(f"{url}/v1/completions", json=body, headers=headers)
    refused = httpx.post(f"{url}/v1/completions", json=body, headers=headers)
    assert refused.status_code == 429
    assert refused.json()["error"]["code"] == "rate_limit_exceeded"
    assert 1 <= int(refused.headers["retry-after"]) <= 20
    assert refused.headers["x-ratelimit-remaining-requests"] == "0"
    other = httpx.post(f"{url}/v1/completions", json=body, headers={"x-api-key": free})
    assert other.status_code == 200
    assert not [name for name in other.headers if name.startswith("x-ratelimit")]
