"""Requests and tokens per minute, per key: token buckets that fill steadily, so that a minute's worth may come at once.

A request's tokens are not known before its answer. So it pays a guess when it comes (its prompt by characters, its
answer by `max_tokens`), and the difference to the engine's own count when it leaves; a bucket may go below zero then.
Where the count never comes (the client left), the guess stays, or what was streamed if that is more.

Buckets live in one API server: with several engines, or several servers of one engine, each grants the whole rate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from serve.keys import Key
from serve.plugin.bounds import prompt_size
from serve.plugin.call import Call, Refused

ANSWER_GUESS = 256  # tokens of an answer whose request names no max_tokens
MINUTE_S = 60.0


@dataclass
class Bucket:
    """Holds up to `size`, fills by `size` a minute. `level` is as of `at`."""

    size: int
    level: float
    at: float

    def fill(self, now: float) -> float:
        """What is in it now."""
        self.level = min(float(self.size), self.level + (now - self.at) * self.size / MINUTE_S)
        self.at = now
        return self.level

    def wait_s(self, amount: float) -> float:
        """Seconds until `amount` is in it."""
        return max(0.0, (amount - self.level) * MINUTE_S / self.size)


class Rates:
    """All buckets of one API server; none for keys without limits."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._requests: dict[str, Bucket] = {}
        self._tokens: dict[str, Bucket] = {}

    def request(self, call: Call) -> None:
        """Take one request. Refused (429) with Retry-After where the minute's are used up."""
        if call.key is None or call.key.requests_per_minute is None:
            return
        bucket = self._bucket(self._requests, call.key, call.key.requests_per_minute)
        if bucket.level < 1:
            raise self._refused(call.key, "requests", bucket.wait_s(1))
        bucket.level -= 1

    def tokens(self, call: Call) -> None:
        """Take the guessed tokens of a request whose body is known. Refused (429) where they are used up."""
        if call.key is None or call.key.tokens_per_minute is None:
            return
        bucket = self._bucket(self._tokens, call.key, call.key.tokens_per_minute)
        wanted = float(min(guess(call), bucket.size))  # one larger than a whole minute's may run when that is full
        if bucket.level < wanted:
            raise self._refused(call.key, "tokens", bucket.wait_s(wanted))
        bucket.level -= wanted
        call.reserved = wanted

    def settle(self, call: Call) -> None:
        """The call is over: pay what it really took, or get back what it did not."""
        if call.key is None or call.key.tokens_per_minute is None or not call.reserved:
            return
        if call.prompt_tokens is not None:
            took = float(call.prompt_tokens + (call.completion_tokens or 0))
        elif call.status and call.status != 200:
            took = 0.0
        else:
            took = max(call.reserved, float(call.chunks))
        bucket = self._bucket(self._tokens, call.key, call.key.tokens_per_minute)
        bucket.level = min(float(bucket.size), bucket.level + call.reserved - took)

    def headers(self, key: Key | None) -> list[tuple[bytes, bytes]]:
        """`x-ratelimit-*` as OpenAI's: limit, what remains, and in how many seconds the bucket is full again."""
        if key is None:
            return []
        said = []
        for what, buckets, limit in (
            ("requests", self._requests, key.requests_per_minute),
            ("tokens", self._tokens, key.tokens_per_minute),
        ):
            if limit is not None:
                bucket = self._bucket(buckets, key, limit)
                values = (str(limit), str(max(0, math.floor(bucket.level))), f"{bucket.wait_s(limit):.3f}s")
                said += [
                    (f"x-ratelimit-{name}-{what}".encode(), value.encode())
                    for name, value in zip(("limit", "remaining", "reset"), values, strict=True)
                ]
        return said

    def _bucket(self, buckets: dict[str, Bucket], key: Key, size: int) -> Bucket:
        """The key's bucket, filled up to now. Only known keys have one, so there are never more than keys."""
        now = self._clock()
        bucket = buckets.get(key.key_id)
        if bucket is None or bucket.size != size:
            bucket = buckets[key.key_id] = Bucket(size, float(size), now)
        bucket.fill(now)
        return bucket

    def _refused(self, key: Key, what: str, wait_s: float) -> Refused:
        limit = key.requests_per_minute if what == "requests" else key.tokens_per_minute
        message = f"the key may use {limit} {what} a minute; try again in {wait_s:.1f} s"
        headers = {"retry-after": str(max(1, math.ceil(wait_s)))}
        return Refused(429, "RateLimitError", message, headers=headers, code="rate_limit_exceeded")


def guess(call: Call) -> int:
    """About how many tokens the call will take: each choice of an answer counts, the prompt once."""
    body = call.body
    prompt = prompt_size(body)
    if call.path not in ("/v1/chat/completions", "/v1/completions"):
        return prompt
    most = body.get("max_completion_tokens")
    most = body.get("max_tokens") if most is None else most
    choices = body.get("n")
    answer = most if isinstance(most, int) and most >= 0 else ANSWER_GUESS
    return prompt + answer * (choices if isinstance(choices, int) and choices > 0 else 1)
