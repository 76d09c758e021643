"""A concurrent client for OpenAI-compatible servers: ours, vLLM's, anybody's.

The calls are synchronous; inside, one event loop keeps `concurrency` requests under way. An item that fails is an
answer with `error` set, never an exception, so that one bad item does not end a run.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx

from harness.core.errors import EngineError

RETRY_AFTER_S = (0.5, 1.0, 2.0, 4.0)  # a server that sheds load is back within these
RETRY_STATUS = (429, 503)
PATIENCE_S = 300.0  # with Retry-After: an engine that restarts on a busy machine takes one to two minutes
SHORTEST_PAUSE_S = 0.25  # whatever a server says
LONGEST_PAUSE_S = 20.0  # asked again earlier than told: what was told is a guess, and asking is cheap
TIMEOUT_S = 600.0  # a long answer of a large model on a CPU
ERROR_CHARACTERS = 300
SCORED_AT_ONCE = 64  # choices in one request for log-probs: enough to fill a batch, few enough to spread over requests

T = TypeVar("T")


@dataclass(frozen=True)
class Ask:
    """One request: chat `messages` or a `prompt` (text or token ids), and `sampling` in the protocol's own names."""

    model: str
    messages: list[dict[str, Any]] | None = None
    prompt: str | list[int] | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.messages is None) == (self.prompt is None):
            raise ValueError("an Ask has either messages or a prompt")


@dataclass(frozen=True)
class Reply:
    """One answer; `error` is one line, None when all went well. `latency_s` is of the attempt that counted.

    `thinking` is what the server itself set apart; `tool_calls` are {"name", "arguments"}, the arguments as an object,
    or as the text that came where that is no JSON object.
    """

    text: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    latency_s: float
    error: str | None
    model: str
    thinking: str = ""
    tool_calls: tuple[dict[str, Any], ...] = ()


def ask_many(
    url: str,
    requests: list[Ask],
    concurrency: int = 16,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
    on_reply: Callable[[int, Reply], None] | None = None,
) -> list[Reply]:
    """Answers in the order of `requests`. `on_reply(i, reply)` is called as each finishes; what it raises ends the run.

    `url` is the server's root or its `/v1`. Retried, with back-off: lost connections, 429 and 503; where the server
    says Retry-After, as long as a restarting engine needs.
    """

    async def one(http: httpx.AsyncClient, index: int) -> Reply:
        reply = await _ask(http, requests[index])
        if on_reply:
            on_reply(index, reply)
        return reply

    return asyncio.run(_all(url, len(requests), one, concurrency, headers, timeout_s))


def prompt_logprobs(
    url: str,
    model: str,
    sequences: list[list[int]],
    concurrency: int = 16,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[list[float | None]]:
    """For each sequence of token ids, log p(token | tokens before it) in nats, one per token; the first is None.

    Raises EngineError when a sequence could not be scored: half a comparison is none.
    """

    async def one(http: httpx.AsyncClient, index: int) -> list[float | None]:
        ids = sequences[index]
        body = {"model": model, "prompt": ids, "echo": True, "logprobs": 0, "max_tokens": 0, "temperature": 0}
        answer, error = await _post(http, "/completions", body)
        if answer is None:
            raise EngineError(f"{model}: no log-probs for sequence {index}: {error}")
        try:
            values = answer["choices"][0]["logprobs"]["token_logprobs"][: len(ids)]
        except (KeyError, IndexError, TypeError):
            values = []
        if len(values) != len(ids) or any(value is None for value in values[1:]):
            raise EngineError(f"{model}: sequence {index} has {len(ids)} tokens, {len(values)} log-probs came back")
        return [None, *values[1:]]

    return asyncio.run(_all(url, len(sequences), one, concurrency, headers, timeout_s))


def choice_logprobs(
    url: str,
    model: str,
    groups: list[tuple[list[int], list[list[int]]]],
    concurrency: int = 4,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> list[list[tuple[float, bool]]]:
    """For each (context, choices), in token ids: each choice's log-prob in nats, and whether greedy decoding gives it.

    Only engines of ours have the route (serve.plugin.scoring). Raises EngineError when any group could not be scored.
    """
    batches: list[list[tuple[list[int], list[list[int]]]]] = []
    room = 0
    for group in groups:
        if room <= 0:
            batches.append([])
            room = SCORED_AT_ONCE
        batches[-1].append(group)
        room -= len(group[1])

    async def one(http: httpx.AsyncClient, index: int) -> list[list[tuple[float, bool]]]:
        asked = [{"context": context, "choices": choices} for context, choices in batches[index]]
        answer, error = await _post(http, f"{root}/ratchet/score", {"model": model, "groups": asked})
        if answer is None:
            raise EngineError(f"{model}: no log-probs for {len(asked)} contexts: {error}", "see the engine's log")
        return [[(float(value), bool(greedy)) for value, greedy in scores] for scores in answer["scores"]]

    root = url.rstrip("/").removesuffix("/v1")
    found = asyncio.run(_all(url, len(batches), one, concurrency, headers, timeout_s))
    return [scores for batch in found for scores in batch]


async def _all(
    url: str,
    count: int,
    one: Callable[[httpx.AsyncClient, int], Awaitable[T]],
    concurrency: int,
    headers: Mapping[str, str] | None,
    timeout_s: float,
) -> list[T]:
    """`one(http, i)` for every i below `count`, `concurrency` at a time."""
    root = url.rstrip("/")
    limits = httpx.Limits(max_connections=concurrency, max_keepalive_connections=concurrency)
    results: dict[int, T] = {}
    todo = iter(range(count))

    async def worker(http: httpx.AsyncClient) -> None:
        for index in todo:
            results[index] = await one(http, index)

    base_url = root if root.endswith("/v1") else f"{root}/v1"
    async with httpx.AsyncClient(
        base_url=base_url, headers=headers, timeout=timeout_s, limits=limits, trust_env=False
    ) as http:
        await asyncio.gather(*(worker(http) for _ in range(min(concurrency, count))))
    return [results[index] for index in range(count)]


async def _ask(http: httpx.AsyncClient, ask: Ask) -> Reply:
    chat = ask.messages is not None
    what = {"messages": ask.messages} if chat else {"prompt": ask.prompt}
    started = time.monotonic()
    answer, error = await _post(
        http, "/chat/completions" if chat else "/completions", {"model": ask.model, **what, **ask.sampling}
    )
    latency_s = time.monotonic() - started
    if answer is None:
        return Reply("", None, None, None, latency_s, error, ask.model)
    try:
        return _reply(answer, chat, latency_s, ask.model)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError):
        return Reply("", None, None, None, latency_s, "the server's answer is not in OpenAI's form", ask.model)


def _reply(answer: dict[str, Any], chat: bool, latency_s: float, model: str) -> Reply:
    """Read one answer; raises one of the errors that `_ask` knows where it is not in OpenAI's form."""
    choice = answer["choices"][0]
    said = choice["message"] if chat else choice
    text = said["content" if chat else "text"]
    thinking = said.get("reasoning_content") or said.get("reasoning") or ""
    if not isinstance(text or "", str) or not isinstance(thinking, str):
        raise TypeError("the answer is no text")
    usage = answer.get("usage") or {}
    return Reply(
        text=text or "",
        finish_reason=choice.get("finish_reason"),
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        latency_s=latency_s,
        error=None,
        model=answer.get("model") or model,
        thinking=thinking,
        tool_calls=tuple(_call(call["function"]) for call in said.get("tool_calls") or ()),
    )


def _call(function: dict[str, Any]) -> dict[str, Any]:
    arguments = function.get("arguments") or "{}"
    if isinstance(arguments, str):
        try:
            parsed = json.loads(arguments)
        except ValueError:
            parsed = None
        arguments = parsed if isinstance(parsed, dict) else arguments
    return {"name": str(function["name"]), "arguments": arguments}


async def _post(http: httpx.AsyncClient, path: str, body: dict[str, Any]) -> tuple[Any, str | None]:
    """(answer, None), or (None, why not in one line) after the retries."""
    error, began, pauses = "", time.monotonic(), list(RETRY_AFTER_S)
    while True:
        told_s = None
        try:
            response = await http.post(path, json=body)
            if response.status_code == 200:
                return response.json(), None
            error = _one_line(response)
            retry = response.status_code in RETRY_STATUS
            told_s = retry_after_s(response)
        except httpx.TimeoutException as problem:
            error, retry = f"no answer in time ({type(problem).__name__})", False
        except httpx.TransportError as problem:
            error, retry = f"{type(problem).__name__}: {problem}", True
        except ValueError:
            error, retry = "the server's answer is not JSON", False
        if told_s is not None and retry and time.monotonic() - began < PATIENCE_S:
            pauses = list(RETRY_AFTER_S)  # it lives and knows what it is doing
            await asyncio.sleep(told_s)
        elif retry and pauses:
            await asyncio.sleep(pauses.pop(0))
        else:
            return None, " ".join(error.split())[:ERROR_CHARACTERS]


def retry_after_s(response: httpx.Response) -> float | None:
    """How long to wait before asking again, where a server that cannot answer now says so in seconds."""
    told = response.headers.get("retry-after", "")
    if response.status_code not in RETRY_STATUS or not told.isdecimal():
        return None
    return min(max(float(told), SHORTEST_PAUSE_S), LONGEST_PAUSE_S)


def _one_line(response: httpx.Response) -> str:
    try:
        message = response.json()["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = response.text
    return f"HTTP {response.status_code}: {message}"
