"""Trying what an engine serves: its models, one streamed answer at a time, kept as captured calls are.

What people ask and get in the portal goes to `lab/requests/` as `CapturedCall`s of the key `portal`, redacted, under
the ids of the answers. So what is said of them (serve.plugin.feedback) meets them where apps' feedback meets captured
calls, and `ratchet capture export` makes rows of both. Asked with the engine's own token, as Ratchet's other commands
do: its lease is readable by whoever may stop it anyway, and keys of apps stay what they are.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx

from harness.core.errors import EngineError, InputError, LabError
from harness.core.paths import Lab
from harness.core.traffic import CALLS, CapturedCall, TrafficLog, salt
from harness.data import Turn
from serve import engine
from serve.lease import Lease
from serve.plugin.call import Call
from serve.plugin.capture import captured

KEY = "portal"  # stands where captured calls of apps have the id of their key
PATH = "/v1/chat/completions"
MAX_TURNS, MAX_CHARACTERS = 40, 32_000  # of one conversation
DECODING = {"temperature": 0.7, "max_tokens": 512}
LIST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 300.0  # between two pieces: a busy CPU engine answers others first
NONE_RUNS = ("no engine runs on this lab", "start one: ratchet serve")


@dataclass(frozen=True)
class Model:
    """What may be asked for: `name` as apps write it, the `alias` it is one of, the engine that serves it."""

    name: str
    alias: str | None
    lease: Lease


@dataclass(frozen=True)
class Answered:
    """The end of an answer. `completion_id` is None where it could not be kept: nothing can be said of it then."""

    completion_id: str | None
    version: str
    text: str
    finish_reason: str | None
    error: str = ""


def user_of(who: str) -> str:
    """How a person of the portal stands in captured calls: apart from users whom apps name."""
    return f"{KEY}:{who}"


def conversation(value: Any) -> list[Turn]:
    """`value` as turns that may be sent: of user and assistant, the last the user's. InputError where it is not."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TURNS:
        raise InputError(f"a conversation has 1 to {MAX_TURNS} turns", "start a new one")
    for turn in value:
        if not isinstance(turn, dict) or turn.get("role") not in ("user", "assistant"):
            raise InputError("a turn is by user or assistant")
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise InputError("a turn has text")
    if value[-1]["role"] != "user":
        raise InputError("the last turn is yours")
    if sum(len(turn["content"]) for turn in value) > MAX_CHARACTERS:
        raise InputError(f"a conversation has at most {MAX_CHARACTERS:,} characters", "start a new one")
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]


async def models(lab: Lab) -> dict[str, Model]:
    """Everything that the lab's running engines serve, by name. EngineError where none runs or none answers."""
    leases = await asyncio.to_thread(engine.running, lab)
    if not leases:
        raise EngineError(*NONE_RUNS)
    found: dict[str, Model] = {}
    for lease in leases:
        for card in await _cards(lease):
            name = str(card["id"])
            registered = str(card.get("root", "")).partition("@")[0]
            alias = f"{registered}@{card['alias']}" if card.get("alias") else None
            found.setdefault(name, Model(name, alias, lease))
    if not found:
        states = ", ".join(f"{lease.engine_id} is {lease.state}" for lease in leases)
        raise EngineError(f"no engine answers now: {states}", "try again in a minute, or see ratchet status")
    return found


async def _cards(lease: Lease) -> list[dict[str, Any]]:
    """The engine's list of models; empty while it does not answer."""
    try:
        async with _client(lease, LIST_TIMEOUT_S) as http:
            answer = await http.get("/v1/models")
            return list(answer.json()["data"]) if answer.status_code == 200 else []
    except (httpx.HTTPError, ValueError, KeyError):
        return []


def _client(lease: Lease, timeout_s: float) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {lease.admin_token}"}
    return httpx.AsyncClient(base_url=lease.url, headers=headers, timeout=timeout_s, trust_env=False)


class Notebook:
    """Asks, and keeps what was answered. Thread-safe; `close` it."""

    def __init__(self, lab: Lab) -> None:
        self._folder = lab.requests
        self._log = TrafficLog(lab.requests, CALLS, "capture.event")
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._log.close()

    async def ask(self, model: Model, turns: list[Turn], who: str) -> AsyncIterator[str | Answered]:
        """The answer in pieces as they come, then its end, which is on disk by then. What is not read to its end is not
        kept. Errors of the engine are an end with `error`."""
        call = Call(PATH, "POST", "", body={**DECODING, "messages": turns, "user": user_of(who), "stream": True})
        call.model, call.alias, call.streaming = model.name, model.alias, True
        body = {**DECODING, "model": model.name, "messages": turns, "user": user_of(who), "stream": True}
        problem, parts = "", list[str]()
        try:
            async with (
                _client(model.lease, ANSWER_TIMEOUT_S) as http,
                http.stream("POST", PATH, json=body) as response,
            ):
                call.status = response.status_code
                call.model = response.headers.get("x-ratchet-model", model.name)
                call.request_id = response.headers.get("x-request-id", "")
                if response.status_code != 200:
                    problem = _message(await response.aread())
                else:
                    async for piece in _pieces(response, call):
                        parts.append(piece)
                        yield piece
        except httpx.HTTPError as error:
            problem = f"the engine stopped answering ({type(error).__name__})"
        text = "".join(parts)
        finish = call.finish_reasons[-1] if call.finish_reasons else None
        if problem or finish is None:
            yield Answered(None, call.model, text, finish, problem or "the answer broke off")
            return
        call.answer, call.ended = [text], time.monotonic()
        kept = await asyncio.to_thread(self._keep, call)
        yield Answered(call.completion_id if kept else None, call.model, text, finish)

    def _keep(self, call: Call) -> bool:
        """Whether the call is on disk now."""
        try:
            with self._lock:
                record: CapturedCall = captured(call, time.time(), salt(self._folder))
                self._log.append([record.model_copy(update={"key_id": KEY}).model_dump(mode="json")])
        except (LabError, OSError):
            return False
        return call.completion_id is not None


async def _pieces(response: httpx.Response, call: Call) -> AsyncIterator[str]:
    """The texts of a stream's events; id, finish reason and time of the first go into `call`."""
    async for line in response.aiter_lines():
        if not line.startswith("data: {"):
            continue
        try:
            event = json.loads(line[6:])
            choices = event.get("choices") or []
            said = [str((choice.get("delta") or {}).get("content") or "") for choice in choices]
            call.finish_reasons += [str(one["finish_reason"]) for one in choices if one.get("finish_reason")]
        except (ValueError, AttributeError, TypeError):
            continue
        call.completion_id = call.completion_id or (str(event["id"]) if event.get("id") else None)
        for piece in filter(None, said):
            call.first_byte = call.first_byte or time.monotonic()
            yield piece


def _message(data: bytes) -> str:
    """The engine's own words for what went wrong, in one line."""
    try:
        said = str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = "the engine refused the request"
    return " ".join(said.split())[:300]
