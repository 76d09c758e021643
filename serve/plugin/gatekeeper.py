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
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.core.errors import InputError, LabError, RegistryError
from harness.core.records import RegistryRecord
from serve.registry import find, parse, record_path

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[MutableMapping[str, Any], Receive, Send], Awaitable[None]]

# These name a model in their body; the rest of the open paths are harmless to read.
MODEL_PATHS = frozenset(
    {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/tokenize", "/detokenize", "/ratchet/score"}
)
OPEN_PATHS = frozenset({"/v1/models", "/health", "/ping", "/version"})
OPEN_PREFIX = "/ratchet/"
MAX_BODY_BYTES = 8 * 2**20  # a prompt of 1 M tokens with room to spare
MODEL_HEADER = b"x-ratchet-model"


class Refused(Exception):
    """A request that ends here: HTTP status, OpenAI error type and message."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": status}}


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


class Names:
    """What a model name means now. Records are cached by their file's identity; unknown names leave no trace."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._records: dict[str, tuple[tuple[int, int], RegistryRecord]] = {}

    def resolve(self, name: str, loaded: MutableMapping[str, Any]) -> str:
        """The immutable name behind `name`: the base, an adapter in `loaded`, or `name@vN`. Refused (404) otherwise."""
        if name == self._settings.base or name in loaded:
            return name
        try:
            reference = parse(name)
            version = find(self._record(reference.name), reference)
        except (InputError, RegistryError, LabError) as error:
            problem = error.problem if isinstance(error, RegistryError) else f"the model {name[:80]!r} does not exist"
            raise Refused(404, "NotFoundError", problem, "model") from error
        if self._settings.base_sha256 and version.base_sha256 != self._settings.base_sha256:
            raise Refused(404, "NotFoundError", f"{name} belongs to another base than {self._settings.base}", "model")
        return f"{reference.name}@v{version.version}"

    def _record(self, name: str) -> RegistryRecord:
        if self._settings.registry is None:
            raise RegistryError(f"the model {name!r} does not exist")
        path = record_path(self._settings.registry, name)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise RegistryError(f"the model {name!r} does not exist") from None
        stamp = (status.st_mtime_ns, status.st_ino)
        cached = self._records.get(name)
        if cached is None or cached[0] != stamp:
            cached = self._records[name] = (stamp, RegistryRecord.read(path))
        return cached[1]


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
    """The middleware. Keys per app will be checked where the admin token is."""

    def __init__(self, app: App, settings: Settings | None = None) -> None:
        self._app = app
        self._settings = settings or Settings.from_environment()
        self._names = Names(self._settings)
        self._busy = Busy(self._settings.hold)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})  # no route of ours speaks anything but HTTP
        else:
            await self._http(scope, receive, send)

    async def _http(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        path = scope["path"]
        try:
            if path in MODEL_PATHS and scope["method"] == "POST":
                with self._busy.request():
                    await self._model(scope, receive, send)
                return
            if path not in OPEN_PATHS and not path.startswith(OPEN_PREFIX):
                self._require_admin(scope)
            await self._app(scope, receive, send)
        except Refused as refused:
            await _answer(send, refused)

    def _require_admin(self, scope: MutableMapping[str, Any]) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if not hmac.compare_digest(given, f"Bearer {self._settings.admin_token}".encode()):
            raise Refused(401, "AuthenticationError", f"{scope['path']} needs the engine's admin token")

    async def _model(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Pass the request on under its immutable name; vLLM sees exactly the JSON that was judged here."""
        body = await _read_json(receive)
        loaded = scope["app"].state.openai_serving_models.lora_requests
        name = body.get("model") or self._settings.base
        if not isinstance(name, str):
            raise Refused(400, "BadRequestError", "model must be a string", "model")
        model = body["model"] = self._names.resolve(name, loaded)
        data = json.dumps(body, ensure_ascii=True).encode()
        headers = [
            (key, value) for key, value in scope["headers"] if key not in (b"content-length", b"content-encoding")
        ]
        scope = {**scope, "headers": [*headers, (b"content-length", str(len(data)).encode())]}

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), (MODEL_HEADER, model.encode())]}
            await send(message)

        await self._app(scope, _replay(data, receive), named)


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
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
