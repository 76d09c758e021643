"""The outermost ASGI layer of an engine: the supervisor's handle on it, and what it has to have loaded after a restart.

`POST /ratchet/drain`, with the engine's token, closes the door: nothing new is accepted on the listening socket (the
supervisor goes on accepting there), what comes over connections that are open already gets 503 with Retry-After, and
running requests finish. Asked again, it says how many are left. Where a successor takes the socket over
(serve.succession), the 503 says to come again at once. Adapters that vLLM knows by name are kept in a file, written
before whoever loaded one hears that it is there.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import LabError
from harness.core.paths import read_json, write_json
from serve.child import HANDED_OVER, PROCESS_HEADER
from serve.plugin.call import App, Message, Receive, Scope, Send

DRAIN = "/ratchet/drain"
RETRY_AFTER_S = 5  # the next one to answer is another engine behind a router, or the supervisor, which knows better
LOADED = "RATCHET_LOADED"
READY_FD, TURN_FD = "RATCHET_READY_FD", "RATCHET_TURN_FD"


@dataclass
class Memory:
    """The file of adapters by name, newest last; `None` where nobody would read it."""

    path: Path | None
    _written: dict[str, str] | None = None

    @classmethod
    def from_environment(cls) -> Memory:
        path = os.environ.get(LOADED)
        return cls(Path(path) if path else None)

    def read(self) -> dict[str, str]:
        return dict(read_json(self.path)) if self.path and self.path.is_file() else {}

    def forget(self, name: str) -> None:
        """Leave one out for good."""
        if self.path:
            write_json(self.path, {key: path for key, path in self.read().items() if key != name})

    def keep(self, state: Any) -> None:
        """Write what vLLM has by name now, where that changed."""
        known = getattr(state, "openai_serving_models", None)
        if self.path is None or known is None:
            return
        has = {name: getattr(one, "lora_path", one) for name, one in known.lora_requests.items()}
        if has != self._written:
            try:
                write_json(self.path, has)
                self._written = has
            except LabError as error:  # they are served all the same, only not after a restart
                print(f"WARNING: {error.one_line()}", flush=True)


class Door:
    """The middleware. vLLM builds it without arguments, from the environment."""

    def __init__(self, app: App, admin_token: str | None = None, memory: Memory | None = None) -> None:
        self._app = app
        self._token = admin_token or os.environ["RATCHET_ADMIN_TOKEN"]
        self._memory = memory or Memory.from_environment()
        self._process = os.environ.get("RATCHET_PROCESS", "")
        self._running = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        state = scope["app"].state
        if scope["path"] == DRAIN:
            return await self._drain(scope, state, send)
        if scope["method"] == "POST" and is_draining(state):
            # straight away where another vLLM has taken the socket over, else when the next engine may be there
            again_s = 1 if state.ratchet_draining == HANDED_OVER else RETRY_AFTER_S
            return await _answer(send, 503, _error("this engine is ending and takes no new requests"), again_s)
        self._running += 1
        try:
            await self._app(scope, receive, self._noting(state, send) if "adapter" in scope["path"] else send)
        finally:
            self._running -= 1

    def _noting(self, state: Any, send: Send) -> Send:
        async def noting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._memory.keep(state)
            await send(message)

        return noting

    async def _drain(self, scope: Scope, state: Any, send: Send) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if scope["method"] != "POST" or not hmac.compare_digest(given, f"Bearer {self._token}".encode()):
            return await _answer(send, 401, _error("this needs the engine's admin token", "AuthenticationError"))
        headers = dict(scope["headers"])
        if headers.get(PROCESS_HEADER.encode(), b"").decode("latin-1") not in ("", self._process):
            return await _answer(send, 409, _error("another process of this engine is meant", "ConflictError"))
        if not is_draining(state):
            state.ratchet_draining = scope["query_string"].decode("latin-1") or "ending"
            for listening in state.server.servers:  # uvicorn's: only the accepting ends here
                listening.close()
        connections = len(state.server.server_state.connections)
        await _answer(send, 200, {"requests": self._running, "connections": connections})


def is_draining(state: Any) -> bool:
    return bool(getattr(state, "ratchet_draining", ""))


def stand_by() -> None:
    """Where another vLLM still serves the socket: say that all is ready, and block until it is our turn.

    Everybody else passes. RuntimeError where the supervisor does not want this process any more.
    """
    descriptor = os.environ.pop(TURN_FD, None)
    if descriptor:
        os.write(int(os.environ[READY_FD]), b"w")
        if not os.read(int(descriptor), 1):
            raise RuntimeError("this engine is not wanted any more")
        os.close(int(descriptor))


def announce() -> None:
    """Tell the supervisor that the app is whole and its socket about to be served. Said once, and only to ours."""
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor:
        with contextlib.suppress(BrokenPipeError):
            os.write(int(descriptor), b"1")
        os.close(int(descriptor))


def _error(message: str, kind: str = "ServiceUnavailableError") -> dict[str, Any]:
    code = {"AuthenticationError": 401, "ConflictError": 409}.get(kind, 503)
    return {"error": {"message": message, "type": kind, "param": None, "code": code}}


async def _answer(send: Send, status: int, body: dict[str, Any], retry_after_s: int = RETRY_AFTER_S) -> None:
    data = json.dumps(body).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
    if status == 503:
        headers += [(b"retry-after", str(retry_after_s).encode()), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": data})
