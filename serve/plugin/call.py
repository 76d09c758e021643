"""One request on its way through the gatekeeper, and what may be watched of it.

The gatekeeper fills a `Call` step by step: who asks (access), what for (names, bounds), what came back (answers). When
the answer has left, every watcher gets the finished call. So metrics, usage, capture and logs know nothing of one
another or of ASGI, and each can be tested with a hand-made `Call`.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from serve.keys import Key

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")  # what a client may choose; anything else gets one of ours


class Refused(Exception):
    """A request that ends here: HTTP status, OpenAI error type and message, and headers such as Retry-After."""

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
        code: str | int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {"error": {"message": message, "type": kind, "param": param, "code": code or status}}


@dataclass
class Call:
    """One HTTP request. What is None or empty was not known, or not asked for. Times are of `time.monotonic`."""

    path: str
    method: str
    request_id: str
    headers: Mapping[str, str] = field(default_factory=dict)  # lower case names
    began: float = field(default_factory=time.monotonic)
    # who asks
    key: Key | None = None  # None: no keys are in force, or the engine's own token was used
    admin: bool = False
    # what for
    body: dict[str, Any] = field(default_factory=dict)
    asked: str = ""  # the model as the client wrote it
    model: str = ""  # the immutable name that vLLM sees: base, run id or name@vN
    alias: str | None = None  # "support@prod" where an alias was asked for
    shadow: str | None = None  # a version that answers too, unseen by the client: see serve.plugin.shadow
    streaming: bool = False
    reserved: float = 0.0  # tokens that its key's rate has paid for it in advance
    # what came back
    status: int = 0
    first_byte: float | None = None  # of the first body chunk that carries an answer
    ended: float | None = None
    completion_id: str | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    finish_reasons: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)  # text per choice; only where a watcher asked for it
    tool_calls: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""  # the error's type where the call was refused or failed; never its content
    left: bool = False  # the client went away before the end
    complete: bool = False  # the last byte of the answer was sent on
    chunks: int = 0  # events of a stream so far: at least one token each
    captured: bool = False  # serve.plugin.capture drew this call


class Watcher(Protocol):
    """Whatever learns of finished calls. It must be quick and must not raise: the event loop waits for it."""

    def wants_text(self, call: Call) -> bool:
        """Asked once before the answer starts: whether `call.answer` will be needed."""

    def ended(self, call: Call) -> None: ...

    def close(self) -> None: ...


def new_call(scope: Scope) -> Call:
    """A Call from an ASGI scope. Of a header that stands twice, the last counts, as for vLLM's own code."""
    headers = {key.decode("latin-1"): value.decode("latin-1") for key, value in scope["headers"]}
    wanted = headers.get("x-request-id", "")
    request_id = wanted if REQUEST_ID.fullmatch(wanted) else f"req-{secrets.token_hex(8)}"
    return Call(scope["path"], scope["method"], request_id, headers)
