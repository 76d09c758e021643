"""Stands in front of vLLM's routes (`--middleware`): who may call what, and which version a name means right now.

Pure ASGI, so streams pass through untouched. In this order, each in a file of its own: access (who asks, which routes
are open), bounds (what may be asked for), names (alias to version: `aac` and `aac@prod` become `aac@vN` in the body
before vLLM sees it), rates (requests and tokens per minute), answers (read as they pass). The response header
`x-ratchet-model` says which version answered. A name that does not exist is refused here: vLLM would remember it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.middleware.cors import CORSMiddleware

from serve.adapters import RANKS
from serve.lease import ADAPTERS
from serve.plugin.access import Access
from serve.plugin.answers import Answer, restarting
from serve.plugin.bounds import MAX_BODY_BYTES, Limits, as_json, check, check_headers, counted, read_json
from serve.plugin.call import App, Call, Message, Receive, Refused, Scope, Send, Watcher, new_call
from serve.plugin.models import listing, usable
from serve.plugin.names import Names
from serve.plugin.rates import Rates
from serve.plugin.ready import Ready
from serve.plugin.routetable import MODEL_PATHS
from serve.plugin.shadow import Shadows
from serve.plugin.watchers import build
from serve.storage import Source

__all__ = ["MAX_BODY_BYTES", "Busy", "Gatekeeper", "Settings"]

MODEL_HEADER = b"x-ratchet-model"
OURS = frozenset({b"authorization", b"x-api-key", b"x-request-id"})  # vLLM neither needs nor should log them
REPLACED = OURS | {b"content-length", b"content-encoding", b"transfer-encoding"}
SHOWN = (  # what a script in a browser may read
    *("x-ratchet-model", "x-request-id", "retry-after"),
    *(f"x-ratelimit-{what}-{unit}" for unit in ("requests", "tokens") for what in ("limit", "remaining", "reset")),
)


@dataclass(frozen=True)
class Settings:
    """What the engine that started us says about itself.

    `keys` is the file of serve.keys. `public`: others can reach this server, so keys are in force even before there are
    any. `cors`: origins whose pages may call it from a browser; none unless asked for.
    """

    base: str
    admin_token: str
    base_sha256: str = ""
    registry: Path | str | None = None  # a folder, or a URL that fsspec knows
    hold: Path | None = None
    keys: Path | None = None
    requests: Path | None = None
    public: bool = False
    cors: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    engine_id: str = "engine"
    base_path: Path | None = None  # its folder, where it has one: adapters must fit its layers
    max_lora_rank: int = RANKS[-1]

    def ready(self, source: Source | None) -> Ready | None:
        """What prepares versions in the engine's folder; None without a registry or a folder."""
        if source is None or self.hold is None:
            return None
        return Ready(source, self.hold.parent / ADAPTERS, self.base_path, self.max_lora_rank, self.base)

    @classmethod
    def from_environment(cls) -> Settings:
        hold, keys, requests, base_path = (_path(name) for name in ("HOLD", "KEYS", "REQUESTS", "BASE_PATH"))
        return cls(
            base=os.environ["RATCHET_BASE_NAME"],
            admin_token=os.environ["RATCHET_ADMIN_TOKEN"],
            base_sha256=os.environ.get("RATCHET_BASE_SHA256", ""),
            registry=os.environ.get("RATCHET_REGISTRY") or None,
            hold=hold,
            keys=keys,
            requests=requests,
            public=os.environ.get("RATCHET_PUBLIC") == "1",
            cors=tuple(os.environ.get("RATCHET_CORS", "").replace(",", " ").split()),
            limits=Limits.from_environment(),
            engine_id=os.environ.get("RATCHET_ENGINE_ID", "engine"),
            base_path=base_path if base_path and base_path.is_dir() else None,
            max_lora_rank=int(os.environ.get("RATCHET_MAX_LORA_RANK") or RANKS[-1]),
        )


def _path(name: str) -> Path | None:
    text = os.environ.get(f"RATCHET_{name}")
    return Path(text) if text else None


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
    """The middleware. `watchers` learn of every call when it is over: those of serve.plugin.watchers, if not given."""

    def __init__(self, app: App, settings: Settings | None = None, watchers: Sequence[Watcher] | None = None) -> None:
        self._app = app
        self._settings = settings or Settings.from_environment()
        base, hold = self._settings.base, self._settings.hold
        self._names = Names(base, self._settings.base_sha256, self._settings.registry, hold.parent if hold else None)
        self._ready = self._settings.ready(self._names.source)
        keys = self._settings.keys
        used = keys.parent / f"used-{self._settings.engine_id}.json" if keys else None
        self._access = Access(self._settings.admin_token, keys, self._settings.public, used)
        self._limits, self._rates = self._settings.limits, Rates()
        self._busy = Busy(self._settings.hold)
        self._shadows = Shadows(app, self._settings.requests, self._ready)
        self._watchers = [*(build(self._settings) if watchers is None else watchers), self._shadows]
        self._door: App = self._http
        if self._settings.cors:  # in front of the keys: a browser asks first, without any
            self._door = CORSMiddleware(
                self._http,
                allow_origins=self._settings.cors,
                allow_methods=("GET", "POST"),
                allow_headers=("authorization", "content-type", "x-api-key", "x-request-id"),
                expose_headers=SHOWN,
            )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            try:
                await self._app(scope, receive, send)
            finally:
                self._access.used.write()
                for watcher in self._watchers:
                    watcher.close()
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no route of ours speaks anything but HTTP
        else:
            await self._door(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        call, state = new_call(scope), scope["app"].state
        engine = getattr(state, "engine_client", None)

        def dead() -> bool:
            return engine is not None and bool(engine.errored)

        def headers() -> list[tuple[bytes, bytes]]:
            model = [(MODEL_HEADER, call.model.encode())] if call.model else []
            # a body of unknown length that nobody reads would be taken in for ever
            close = [(b"connection", b"close")] if "transfer-encoding" in call.headers and not call.body else []
            return [(b"x-request-id", call.request_id.encode()), *model, *close, *self._rates.headers(call.key)]

        answer = Answer(call, send, headers, dead, read=call.path in MODEL_PATHS)
        try:
            check_headers(scope, call, self._limits)
            self._access.admit(call)
            if call.method == "POST":
                self._rates.request(call)
            if call.path in MODEL_PATHS and call.method == "POST":
                if dead():
                    raise restarting()
                with self._busy.request():
                    await self._model(call, scope, receive, answer)
            else:
                await self._other(call, scope, receive, answer)
        except Refused as refused:
            await answer.refuse(refused)
        finally:
            call.ended = time.monotonic()
            answer.close(scope)
            self._rates.settle(call)
            for watcher in self._watchers:
                watcher.ended(call)

    async def _other(self, call: Call, scope: Scope, receive: Receive, answer: Answer) -> None:
        """A route without a model in its body, as it is, but for the caller's secret."""
        state = scope.setdefault("state", {})
        state.update(ratchet_call=call, ratchet_watchers=self._watchers, ratchet_names=self._names)
        scope = {**scope, "headers": [pair for pair in scope["headers"] if pair[0] not in OURS]}
        if call.path == "/v1/models":
            await self._list(call, scope, receive, answer)
        else:
            await self._app(scope, receive if call.admin else counted(receive, self._limits), answer)

    async def _list(self, call: Call, scope: Scope, receive: Receive, answer: Answer) -> None:
        start, parts = dict[str, Any](), list[bytes]()

        async def kept(message: Message) -> None:
            if message["type"] == "http.response.start":
                start.update(message)
            else:
                parts.append(message.get("body", b""))

        await self._app(scope, receive, kept)
        body = b"".join(parts)
        if start.get("status") == 200:
            body = listing(call, body, self._names, self._settings.base)
        headers = [pair for pair in start.get("headers", []) if pair[0].lower() != b"content-length"]
        start["headers"] = [*headers, (b"content-length", str(len(body)).encode())]
        await answer(start)
        await answer({"type": "http.response.body", "body": body})

    async def _model(self, call: Call, scope: Scope, receive: Receive, answer: Answer) -> None:
        """Pass the request on under its immutable name; vLLM sees exactly the JSON that was judged here."""
        call.body = await read_json(receive, self._limits)
        name = call.body.get("model") or self._settings.base
        if not isinstance(name, str):
            raise Refused(400, "BadRequestError", "model must be a string", "model")
        call.asked, call.streaming = name, call.body.get("stream") is True
        models = scope["app"].state.openai_serving_models
        if not usable(call, name, self._settings.base, name in models.lora_requests):
            raise Refused(404, "NotFoundError", f"the model {name[:80]!r} does not exist, or not for this key", "model")
        named = self._names.resolve(call, models.lora_requests)
        call.model, call.alias, call.shadow = named.model, named.alias, named.shadow
        if not call.admin:
            check(call, self._bounded(models))
            call.body.pop("request_id", None)  # answers are known by their id: no client may choose it
        self._rates.tokens(call)
        if self._ready:
            await self._ready.check(call.model, models.lora_requests)
        call.body["model"] = call.model
        if call.shadow:
            self._shadows.expect(call, scope)
        if any([watcher.wants_text(call) for watcher in self._watchers]):
            answer.want_text()
        data = as_json(call.body)
        headers = [pair for pair in scope["headers"] if pair[0] not in REPLACED]
        scope.setdefault("state", {})
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(data)).encode())]}
        await self._app(scope, _replay(data, receive, call), answer)

    def _bounded(self, models: object) -> Limits:
        """The limits, with the context's length once the engine has said it."""
        if self._limits.context is None and (config := getattr(models, "model_config", None)) is not None:
            self._limits = dataclasses.replace(self._limits, context=int(config.max_model_len))
        return self._limits


def _replay(data: bytes, receive: Receive, call: Call) -> Receive:
    """A `receive` that hands out the body once, then whatever the client still sends (its disconnect)."""
    pending = [{"type": "http.request", "body": data, "more_body": False}]

    async def again() -> Message:
        if pending:
            return pending.pop()
        message = await receive()
        call.left = call.left or (message["type"] == "http.disconnect" and not call.complete)
        return message

    return again
