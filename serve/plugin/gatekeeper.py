"""Stands in front of vLLM's routes (`--middleware`): who may call what, and which version a name means right now.

Pure ASGI, so streams pass through untouched. A name is resolved per request: `aac` and `aac@prod` become `aac@vN` in
the body before vLLM sees it, the response header `x-ratchet-model` says which version answered, and a name that does
not exist is refused here, because vLLM would remember it for ever. Everything off the allow-list needs the admin token.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serve.plugin.call import App, Call, Message, Receive, Refused, Scope, Send, Watcher, new_call
from serve.plugin.names import Names

# These name a model in their body; the rest of the open paths are harmless to read.
MODEL_PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize", "/ratchet/score"}
)
OPEN_PATHS = frozenset({"/v1/models", "/health", "/ping", "/version"})
OPEN_PREFIX = "/ratchet/"
MAX_BODY_BYTES = 8 * 2**20  # a prompt of 1 M tokens with room to spare
MODEL_HEADER = b"x-ratchet-model"


@dataclass(frozen=True)
class Settings:
    """What the engine that started us says about itself."""

    base: str
    admin_token: str
    base_sha256: str = ""
    registry: Path | None = None
    hold: Path | None = None

    @classmethod
    def from_environment(cls) -> Settings:
        registry, hold = os.environ.get("RATCHET_REGISTRY"), os.environ.get("RATCHET_HOLD")
        return cls(
            base=os.environ["RATCHET_BASE_NAME"],
            admin_token=os.environ["RATCHET_ADMIN_TOKEN"],
            base_sha256=os.environ.get("RATCHET_BASE_SHA256", ""),
            registry=Path(registry) if registry else None,
            hold=Path(hold) if hold else None,
        )


@dataclass
class Busy:
    """Shows the supervisor that requests are under way: a shared lock while any is, a fresh mtime after the last."""

    path: Path | None
    _running: int = field(default=0, init=False)
    _descriptor: int = field(default=-1, init=False)

    @contextlib.contextmanager
    def request(self) -> Iterator[None]:
        self._running += 1
        if self.path and self._running == 1:
            self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
            fcntl.flock(self._descriptor, fcntl.LOCK_SH)
        try:
            yield
        finally:
            self._running -= 1
            if self.path and self._running == 0:
                os.utime(self._descriptor)
                os.close(self._descriptor)


class Gatekeeper:
    """The middleware. `watchers` learn of every call when it is over (serve.plugin.call.Watcher)."""

    def __init__(self, app: App, settings: Settings | None = None, watchers: Sequence[Watcher] = ()) -> None:
        self._app = app
        self._settings = settings or Settings.from_environment()
        self._names = Names(self._settings.base, self._settings.base_sha256, self._settings.registry)
        self._busy = Busy(self._settings.hold)
        self._watchers = list(watchers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no route of ours speaks anything but HTTP
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = new_call(scope)
        try:
            self._admit(call)
            if call.path in MODEL_PATHS and call.method == "POST":
                with self._busy.request():
                    await self._model(call, scope, receive, send)
            else:
                await self._app(scope, receive, send)
        except Refused as refused:
            call.status, call.problem = refused.status, refused.body["error"]["type"]
            await _answer(send, refused)
        finally:
            call.ended = time.monotonic()
            for watcher in self._watchers:
                watcher.ended(call)

    def _admit(self, call: Call) -> None:
        """Who may come in at all. Refused (401) for what is not open without the engine's token."""
        if call.path in MODEL_PATHS or call.path in OPEN_PATHS or call.path.startswith(OPEN_PREFIX):
            return
        given = call.headers.get("authorization", "").encode("latin-1")
        if not hmac.compare_digest(given, f"Bearer {self._settings.admin_token}".encode()):
            raise Refused(401, "AuthenticationError", f"{call.path} needs the engine's admin token")
        call.admin = True

    async def _model(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on under its immutable name; vLLM sees exactly the JSON that was judged here."""
        call.body = await _read_json(receive)
        name = call.body.get("model") or self._settings.base
        if not isinstance(name, str):
            raise Refused(400, "BadRequestError", "model must be a string", "model")
        call.asked, call.streaming = name, call.body.get("stream") is True
        named = self._names.resolve(call, scope["app"].state.openai_serving_models.lora_requests)
        call.model, call.alias = named
        call.body["model"] = call.model
        data = json.dumps(call.body, ensure_ascii=True).encode()
        headers = [
            (key, value) for key, value in scope["headers"] if key not in (b"content-length", b"content-encoding")
        ]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(data)).encode())]}

        async def seen(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                message = {**message, "headers": [*message.get("headers", []), (MODEL_HEADER, call.model.encode())]}
            elif call.first_byte is None and message.get("body"):
                call.first_byte = time.monotonic()
            await send(message)

        await self._app(scope, _replay(data, receive), seen)


async def _read_json(receive: Receive) -> dict[str, Any]:
    parts, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Refused(400, "BadRequestError", "the client left before its request was read")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > MAX_BODY_BYTES:
            raise Refused(413, "BadRequestError", f"the request is larger than {MAX_BODY_BYTES} bytes")
        more = message.get("more_body", False)
    try:
        body = json.loads(b"".join(parts))
    except (ValueError, RecursionError):
        raise Refused(400, "BadRequestError", "the request is not JSON") from None
    if not isinstance(body, dict):
        raise Refused(400, "BadRequestError", "the request is not a JSON object")
    return body


def _replay(data: bytes, receive: Receive) -> Receive:
    """A `receive` that hands out the body once, then whatever the client still sends (its disconnect)."""
    pending = [{"type": "http.request", "body": data, "more_body": False}]

    async def again() -> Message:
        return pending.pop() if pending else await receive()

    return again


async def _answer(send: Send, refused: Refused) -> None:
    data = json.dumps(refused.body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    headers += [(key.encode(), value.encode()) for key, value in refused.headers.items()]
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
