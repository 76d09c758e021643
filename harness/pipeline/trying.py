"""Trying what an engine serves: its models, one streamed answer at a time, kept as captured calls are.

What people ask and get in the portal goes to `lab/requests/` as `CapturedCall`s of the key `portal`, redacted, under
the ids of the answers. So what is said of them (serve.plugin.feedback) meets them where apps' feedback meets captured
calls, `ratchet capture export` makes rows of both, and retention and erasing are those of captured calls. Asked with
the engine's own token, as Ratchet's other commands do: its lease is readable by whoever may stop it anyway, and keys of
apps stay what they are.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

import httpx

from harness.core.errors import EngineError, InputError, LabError
from harness.core.paths import Lab
from harness.core.traffic import CALLS, FEEDBACK, PORTAL, CapturedCall, Feedback, TrafficLog, hashed_user, read, salt
from harness.data import Turn
from serve import engine
from serve.lease import Lease
from serve.plugin.call import Call
from serve.plugin.capture import captured

KEY = PORTAL
PATH = "/v1/chat/completions"
MAX_TURNS, MAX_CHARACTERS = 41, 32_000  # of one conversation
DECODING = {"temperature": 0.7, "max_tokens": 512}
LIST_TIMEOUT_S = 5.0
ANSWER_TIMEOUT_S = 300.0  # between two pieces: a busy CPU engine answers others first
NONE_RUNS = ("no engine runs on this lab", "start one: ratchet serve", "no_engine")

Kind = Literal["alias", "version", "base", "candidate"]  # a candidate: an adapter that the registry does not know
KINDS: tuple[Kind, ...] = ("alias", "version", "base", "candidate")


@dataclass(frozen=True)
class Model:
    """What may be asked for: `name` as apps write it, the `alias` it is one of, the engine that serves it."""

    name: str
    kind: Kind
    alias: str | None
    lease: Lease


@dataclass(frozen=True)
class Answered:
    """The end of an answer. `completion_id` is None where it could not be kept: nothing can be said of it then."""

    completion_id: str | None
    version: str
    text: str
    finish_reason: str | None
    error: EngineError | None = None


def user_of(who: str) -> str:
    """How a person of the portal stands in captured calls: apart from users whom apps name."""
    return f"{KEY}:{who}"


def knows(lab: Lab, who: str) -> bool:
    """Whether something that this person tried, or said of an answer, is still kept."""
    if not lab.requests.is_dir():
        return False
    names = {user_of(who), hashed_user(user_of(who), salt(lab.requests))}
    return any(
        isinstance(record, CapturedCall | Feedback) and record.user in names
        for stem in (CALLS, FEEDBACK)
        for record in read(lab.requests, stem)
    )


def conversation(value: Any) -> list[Turn]:
    """`value` as turns that may be sent: of user and assistant, the last the user's; a system prompt may come first.

    InputError where it is not."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_TURNS:
        raise InputError(f"a conversation has 1 to {MAX_TURNS} turns", "start a new one", "many_turns", most=MAX_TURNS)
    for place, turn in enumerate(value):
        roles = ("user", "assistant") if place else ("user", "system")
        if not isinstance(turn, dict) or turn.get("role") not in roles:
            raise InputError("a turn is by user or assistant, after a system prompt if there is one")
        if not isinstance(turn.get("content"), str) or not turn["content"].strip():
            raise InputError("a turn has text")
    if value[-1]["role"] != "user":
        raise InputError("the last turn is yours")
    if sum(len(turn["content"]) for turn in value) > MAX_CHARACTERS:
        problem = f"a conversation has at most {MAX_CHARACTERS:,} characters"
        raise InputError(problem, "start a new one", "many_characters", most=MAX_CHARACTERS)
    return [{"role": turn["role"], "content": turn["content"]} for turn in value]


# --- what is served ----------------------------------------------------------------------------------------------


async def models(lab: Lab, candidates: bool) -> dict[str, Model]:
    """What the lab's running engines serve, by name, aliases first; `candidates` or without them.

    Asked anew each time: an engine may have ended. EngineError where none runs or none answers.
    """
    leases = await asyncio.to_thread(engine.running, lab)
    if not leases:
        raise EngineError(*NONE_RUNS)
    found: dict[str, Model] = {}
    for lease in leases:
        for card in await _listed(lease, "/v1/models"):
            model = _model(card, lease)
            if candidates or model.kind != "candidate":
                found.setdefault(model.name, model)
    if not found:
        states = ", ".join(f"{lease.engine_id} is {lease.state}" for lease in leases)
        fix = "try again in a minute, or see ratchet status"
        raise EngineError(f"no engine answers now: {states}", fix, "no_answer", states=states)
    return dict(sorted(found.items(), key=lambda one: (KINDS.index(one[1].kind), one[0])))


async def system_prompts(models: Iterable[Model]) -> dict[str, str]:
    """Name -> the system prompt that its version was evaluated with, by its prompt contract; of several, the first.

    What has no contract, or is behind an engine that does not answer, is left out.
    """
    found, every = dict[str, str](), list(models)
    for lease in {one.lease.engine_id: one.lease for one in every}.values():
        for entry in await _listed(lease, "/ratchet/registry"):
            found |= _prompts_of(entry)
    named = {one.name: found.get(one.alias or one.name, "") for one in every}
    return {name: text for name, text in named.items() if text}


def _prompts_of(entry: dict[str, Any]) -> dict[str, str]:
    """Version and alias -> system prompt, of one name of the registry as serve.plugin.catalogue writes it."""
    found = {
        str(version["id"]): next(iter(dict((version.get("contract") or {}).get("system_prompts") or {}).values()), "")
        for version in entry.get("versions", ())
    }
    name, aliases = entry.get("name"), dict(entry.get("aliases") or {})
    return found | {f"{name}@{alias}": found.get(f"{name}@v{one['version']}", "") for alias, one in aliases.items()}


def _model(card: dict[str, Any], lease: Lease) -> Model:
    """One entry of the engine's list, as serve.plugin.models writes it."""
    name = str(card["id"])
    if card.get("alias"):
        registered = str(card.get("root", "")).partition("@")[0]
        return Model(name, "alias", f"{registered}@{card['alias']}", lease)
    known: Kind = "version" if card.get("version") is not None else "candidate"
    return Model(name, known if card.get("parent") else "base", None, lease)


async def _listed(lease: Lease, path: str) -> list[dict[str, Any]]:
    """The engine's list of models, or of the registry; empty while it does not answer."""
    try:
        async with _client(lease, LIST_TIMEOUT_S) as http:
            answer = await http.get(path)
            return [dict(card) for card in answer.json()["data"]] if answer.status_code == 200 else []
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def _client(lease: Lease, timeout_s: float) -> httpx.AsyncClient:
    headers = {"authorization": f"Bearer {lease.admin_token}"}
    return httpx.AsyncClient(base_url=lease.url, headers=headers, timeout=timeout_s, trust_env=False)


# --- asking, and keeping -----------------------------------------------------------------------------------------


class Notebook:
    """Asks, and keeps what was answered. Thread-safe; `close` it."""

    def __init__(self, lab: Lab) -> None:
        self._folder = lab.requests
        self._log = TrafficLog(lab.requests, CALLS, "capture.event")
        self._lock = threading.Lock()

    def close(self) -> None:
        with self._lock:
            self._log.close()

    async def ask(
        self, model: Model, turns: list[Turn], who: str, may_keep: Callable[[], bool]
    ) -> AsyncGenerator[str | Answered, None]:  # fmt: skip
        """The answer in pieces as they come, then its end, which is on disk by then if `may_keep` still says so.

        What is not read to its end is not kept. Errors of the engine are an end with `error`.
        """
        body = {**DECODING, "messages": turns, "user": user_of(who), "stream": True}
        call = Call(PATH, "POST", "", body=body)
        call.model, call.alias, call.streaming = model.name, model.alias, True
        parts, broken = list[str](), None
        try:
            async with (
                _client(model.lease, ANSWER_TIMEOUT_S) as http,
                http.stream("POST", PATH, json={**body, "model": model.name}) as response,
            ):
                async for piece in _pieces(response, call):
                    parts.append(piece)
                    yield piece
        except httpx.HTTPError as error:
            kind = type(error).__name__
            broken = EngineError(f"the engine stopped answering ({kind})", code="engine_stopped", kind=kind)
        text, finish = "".join(parts), call.finish_reasons[-1] if call.finish_reasons else None
        broken = broken or _broken(call, finish)
        if broken:
            yield Answered(None, call.model, text, finish, broken)
            return
        call.answer, call.ended = [text], time.monotonic()
        kept = await asyncio.to_thread(self._keep, call, may_keep)
        yield Answered(call.completion_id if kept else None, call.model, text, finish)

    def _keep(self, call: Call, may_keep: Callable[[], bool]) -> bool:
        """Whether the call is on disk now."""
        if call.completion_id is None or not may_keep():
            return False
        try:
            with self._lock:
                record: CapturedCall = captured(call, time.time(), salt(self._folder))
                self._log.append([record.model_copy(update={"key_id": KEY}).model_dump(mode="json")])
        except (LabError, OSError):
            return False
        return True


def _broken(call: Call, finish: str | None) -> EngineError | None:
    """What was wrong with an answer that came to its end, in the engine's own words where it has any."""
    if call.problem:
        return EngineError(call.problem)
    return None if finish else EngineError("the answer broke off", code="broke_off")


async def _pieces(response: httpx.Response, call: Call) -> AsyncIterator[str]:
    """The texts of a stream's events; what else they say goes into `call`, and so does an error."""
    call.status, call.request_id = response.status_code, response.headers.get("x-request-id", "")
    call.model = response.headers.get("x-ratchet-model", call.model)
    if response.status_code != 200:
        call.problem = _said(await response.aread())
        return
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
        if event.get("error"):
            call.problem = _said(line[6:].encode())
        call.completion_id = call.completion_id or (str(event["id"]) if event.get("id") else None)
        for piece in filter(None, said):
            call.first_byte = call.first_byte or time.monotonic()
            yield piece


def _said(data: bytes) -> str:
    """The engine's own words for what went wrong, in one line."""
    try:
        said = str(json.loads(data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        said = "the engine refused the request"
    return " ".join(said.split())[:300]
