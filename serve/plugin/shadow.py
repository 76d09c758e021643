"""Shadow traffic: another version answers an alias' requests too, for later rating; no client sees or waits for it.

The same body goes to the shadow once the visible answer has left, never more than AT_ONCE at a time; what comes while
all are busy is dropped and counted, as is what fails. Both answers are kept, redacted, in one line of
`lab/requests/shadow-*.jsonl`, under the same retention and erasing as captured calls. Shadows use the engine's own
computing, so at most AT_ONCE requests' worth of it; a key's limits and usage do not count them.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

from harness.core.traffic import SHADOW, ShadowedCall, TrafficLog, salt
from serve.plugin.bounds import as_json
from serve.plugin.call import App, Call, Message, Receive, Refused, Scope
from serve.plugin.capture import ENDPOINTS, MAX_CALL_BYTES, Append, captured
from serve.plugin.ready import Ready
from serve.plugin.writer import PROBLEMS, Writer

AT_ONCE = 4  # of a batch of dozens: what a shadow may take of the engine
TIMEOUT_S = 600.0
Pair = tuple[Call, Call, float]


class Shadows:
    """A watcher that asks `app` again. Without a folder to keep answers in it asks nothing."""

    def __init__(
        self, app: App, folder: Path | None, ready: Ready | None, at_once: int = AT_ONCE, append: Append | None = None
    ) -> None:
        self._app, self._folder, self._ready, self._at_once = app, folder, ready, at_once
        self._log = TrafficLog(folder, SHADOW, "shadow.event") if folder else None
        self._append: Append | None = append or (self._log.append if self._log else None)
        self._scopes: dict[int, Scope] = {}
        self._running: set[asyncio.Task[None]] = set()
        self._salt = b""
        self.dropped: Counter[str] = Counter()
        self.writer: Writer[Pair] = Writer("shadow", self._write)

    def expect(self, call: Call, scope: Scope) -> None:
        """The call has a shadow; `scope` is what the app will get of it."""
        if self._append and call.path in ENDPOINTS:
            self._scopes[id(call)] = scope

    def wants_text(self, call: Call) -> bool:
        return id(call) in self._scopes

    def ended(self, call: Call) -> None:
        """Ask the shadow, if the client got an answer and there is room."""
        scope = self._scopes.pop(id(call), None)
        if scope is None or call.status != 200 or call.left:
            return
        if len(self._running) >= self._at_once:
            self.dropped["busy"] += 1
            return
        task = asyncio.get_running_loop().create_task(self._ask(call, scope))
        self._running.add(task)
        task.add_done_callback(self._done)

    def close(self) -> None:
        for task in self._running:
            task.cancel()
        self.writer.close()
        if self._log:
            self._log.close()

    def report(self) -> dict[str, Any]:
        """For health: pairs on disk, waiting, running, and dropped by reason."""
        dropped = {key: count for key, count in (self.dropped + self.writer.counts.dropped).items() if count}
        waiting = self.writer.waiting + len(self._running)
        return {"written": self.writer.counts.written, "waiting": waiting, "dropped": dropped}

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if task.cancelled() or task.exception() is not None:
            self.dropped["failed"] += 1

    async def _ask(self, call: Call, scope: Scope) -> None:
        loaded = scope["app"].state.openai_serving_models.lora_requests
        body = {key: value for key, value in call.body.items() if key not in ("stream", "stream_options")}
        data = as_json(body | {"model": call.shadow})
        began = time.monotonic()
        try:
            if self._ready:
                await self._ready.check(str(call.shadow), loaded)
            async with asyncio.timeout(TIMEOUT_S):
                status, answer = await _through(self._app, scope, data)
        except (Refused, TimeoutError):
            status, answer = 0, b""
        if status != 200:
            self.dropped["failed"] += 1
            return
        other = dataclasses.replace(call, model=str(call.shadow), began=began, ended=time.monotonic(), streaming=False)
        _read(other, answer)
        size = len(data) + len(answer) + sum(map(len, call.answer))
        if size > MAX_CALL_BYTES:
            self.dropped["too_large"] += 1
        else:
            self.writer.put((call, other, time.time()), size)

    def _write(self, batch: list[Pair]) -> int:
        """Redact and append; how many could not be read. In the writer's thread."""
        assert self._folder is not None
        assert self._append is not None
        self._salt = self._salt or salt(self._folder)
        events, unreadable = [], 0
        for call, other, at in batch:
            try:
                seen, unseen = (captured(one, at, self._salt) for one in (call, other))
                kept = ShadowedCall(**seen.model_dump(exclude={"kind"}), shadow=unseen)
                events.append(kept.model_dump(mode="json"))
            except PROBLEMS:
                unreadable += 1
        if events:
            self._append(events)
        return unreadable


async def _through(app: App, scope: Scope, data: bytes) -> tuple[int, bytes]:
    """POST `data` to the same route, without a client: status and body."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    status, parts = 0, list[bytes]()

    async def kept(message: Message) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
        else:
            parts.append(message.get("body", b""))

    await app({**scope, "headers": headers, "state": {}}, _once(data), kept)
    return status, b"".join(parts)


def _once(data: bytes) -> Receive:
    """A `receive` whose client sends one body and never leaves."""
    pending: list[Message] = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive() -> Message:
        if not pending:
            await asyncio.get_running_loop().create_future()
        return pending.pop()

    return receive


def _read(call: Call, answer: bytes) -> None:
    """Put into `call` what a JSON answer says. ValueError where it is none."""
    found = json.loads(answer)
    choices = found.get("choices") or []
    said = [choice.get("message") or choice for choice in choices]
    calls = [tool.get("function") or {} for one in said for tool in one.get("tool_calls") or []]
    usage = found.get("usage") or {}
    call.completion_id = found.get("id")
    call.answer = [str(one.get("content") or one.get("text") or "") for one in said]
    call.tool_calls = [{"name": one.get("name"), "arguments": one.get("arguments")} for one in calls]
    call.finish_reasons = [str(choice.get("finish_reason")) for choice in choices]
    call.prompt_tokens, call.completion_tokens = usage.get("prompt_tokens"), usage.get("completion_tokens")
