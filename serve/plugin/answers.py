"""Reads an answer as it passes, and never changes a byte of its body.

What a call needs to know of it (id, finish reasons, tokens) stands in few places: where a JSON answer begins and ends,
and in the last chunks of a stream. They are found by searching the bytes: in JSON text a quotation mark inside a string
is always escaped, so `"finish_reason":"` cannot be part of what a model said. Whole JSON is parsed only until the first
content of a stream has come, and where a watcher wants the text.

The tokens of a stream come from vLLM's own count, which it leaves in the request's state for middleware
(`request_metadata.final_usage_info`). So nothing has to be asked for that the client did not ask, and taken out again.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

from serve.plugin.call import Call, Message, Refused, Scope, Send

ID = re.compile(rb'"id":\s*"([\w.:@-]{1,200})"')
FINISH = re.compile(rb'"finish_reason":\s*"(\w{1,40})"')
TELLING = re.compile(rb'"(?:finish_reason":\s*"|usage":\s*\{|error":\s*\{)')
PROMPT_TOKENS = re.compile(rb'"prompt_tokens":\s*(\d{1,12})')
COMPLETION_TOKENS = re.compile(rb'"completion_tokens":\s*(\d{1,12})')
HEAD = 400  # bytes of an answer in which its id stands
EVENT_BYTES = 2**20  # of one event that is kept for reading until its end comes
Headers = Callable[[], list[tuple[bytes, bytes]]]


class Answer:
    """An ASGI `send` around the real one. `headers` is asked once, as the answer starts; `dead` whether the engine is.

    A 5xx of a dead engine becomes 503 with Retry-After: the supervisor is starting another.
    """

    def __init__(self, call: Call, send: Send, headers: Headers, dead: Callable[[], bool], read: bool) -> None:
        self._call, self._send, self._headers, self._dead = call, send, headers, dead
        self._read, self._text = read, False
        self.started = False
        self._replaced = False
        self._events = False
        self._parts: list[bytes] = []
        self._choices: dict[int, list[str]] = {}
        self._tools: dict[tuple[int, int], dict[str, Any]] = {}

    def want_text(self) -> None:
        """A watcher will need what the model said."""
        self._text = True

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            await self._start(message)
        elif self._replaced:
            return
        else:
            body = message.get("body", b"")
            if self._read and body:
                self._see(body)
            elif body and self._call.first_byte is None:
                self._call.first_byte = time.monotonic()
            if not message.get("more_body", False):
                self._call.complete = True
                if self._read and not self._events and self._parts:
                    self._whole(self._parts[0] if len(self._parts) == 1 else b"".join(self._parts))
            await self._send(message)

    async def refuse(self, refused: Refused) -> None:
        """Answer with an error of ours; after the start of another answer there is nothing left to say."""
        self._call.problem = str(refused.body["error"]["type"])
        if self.started:
            return
        self._call.status, self.started, self._call.complete = refused.status, True, True
        data = json.dumps(refused.body).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(data)).encode())]
        headers += [(key.encode(), value.encode()) for key, value in refused.headers.items()]
        headers += self._headers()
        await self._send({"type": "http.response.start", "status": refused.status, "headers": headers})
        await self._send({"type": "http.response.body", "body": data})

    def close(self, scope: Scope) -> None:
        """The answer is over: take vLLM's own count where the bytes did not say it, and put the texts together."""
        call = self._call
        if call.prompt_tokens is None:
            metadata = getattr(scope.get("state", {}).get("request_metadata"), "final_usage_info", None)
            if metadata is not None:
                call.prompt_tokens, call.completion_tokens = metadata.prompt_tokens, metadata.completion_tokens
        if self._choices:
            call.answer = ["".join(self._choices.get(index, [])) for index in range(max(self._choices) + 1)]
        call.tool_calls += [self._tools[place] for place in sorted(self._tools)]

    async def _start(self, message: Message) -> None:
        said = {key.lower() for key, _ in message.get("headers", [])}
        if message["status"] >= 500 and b"retry-after" not in said and self._dead():  # /ready says it itself
            await self.refuse(restarting())
            self._replaced = True
            return
        self.started = True
        self._call.status = message["status"]
        headers = list(message.get("headers", []))
        kind = next((value for key, value in headers if key.lower() == b"content-type"), b"")
        self._events = kind.startswith(b"text/event-stream")
        self._read = self._read and message["status"] == 200
        await self._send({**message, "headers": [*headers, *self._headers()]})

    def _see(self, body: bytes) -> None:
        if not self._events:
            if self._call.first_byte is None:
                self._call.first_byte = time.monotonic()
            self._parts.append(body)
            return
        if self._parts:  # the beginning of an event that was cut
            body = b"".join((*self._parts, body))
            self._parts = []
        end = body.rfind(b"\n\n") + 2
        if end < 2 or end < len(body):
            rest = body[end:] if end > 1 else body
            self._parts = [rest] if len(rest) <= EVENT_BYTES else []
            body = body[:end] if end > 1 else b""
        if body:
            self._call.chunks += body.count(b"data:")
            if self._text or self._call.first_byte is None:
                for event in body.split(b"\n\n"):
                    self._event(event)
            if self._call.completion_id is None and (found := ID.search(body[:HEAD])):
                self._call.completion_id = found[1].decode()
            if TELLING.search(body):
                self._tail(body)

    def _event(self, event: bytes) -> None:
        """Read one event: whether it has content, and its text where that is wanted."""
        if not event.startswith(b"data: {"):
            return
        try:
            choices = json.loads(event[6:]).get("choices") or []
        except ValueError:
            return
        for choice in choices:
            delta = choice.get("delta") or choice
            said = delta.get("content") or delta.get("text") or ""
            tools = delta.get("tool_calls") or []
            if self._call.first_byte is None and (said or tools or delta.get("reasoning")):
                self._call.first_byte = time.monotonic()
            if self._text:
                self._choices.setdefault(choice.get("index", 0), []).append(said)
                for tool in tools:
                    self._tool(choice.get("index", 0), tool)

    def _tool(self, choice: int, tool: dict[str, Any]) -> None:
        function = tool.get("function") or {}
        place = (choice, tool.get("index", len(self._tools)))
        known = self._tools.setdefault(place, {"id": tool.get("id"), "name": "", "arguments": ""})
        known["name"] += function.get("name") or ""
        known["arguments"] += function.get("arguments") or ""

    def _whole(self, data: bytes) -> None:
        """A JSON answer, complete."""
        if found := ID.search(data[:HEAD]):
            self._call.completion_id = found[1].decode()
        self._tail(data)
        if not self._text:
            return
        try:
            choices = json.loads(data).get("choices") or []
        except (ValueError, AttributeError):
            return
        for choice in choices:
            message = choice.get("message") or choice
            said = message.get("content") or choice.get("text") or ""
            self._choices.setdefault(choice.get("index", 0), []).append(said)
            for tool in message.get("tool_calls") or []:
                self._tool(choice.get("index", 0), tool)

    def _tail(self, data: bytes) -> None:
        """Finish reasons, the count of tokens, and an error within a stream."""
        call = self._call
        call.finish_reasons += [reason.decode() for reason in FINISH.findall(data)]
        usage = data.rfind(b'"usage"')
        if usage >= 0 and (prompt := PROMPT_TOKENS.search(data, usage)):
            made = COMPLETION_TOKENS.search(data, usage)
            call.prompt_tokens, call.completion_tokens = int(prompt[1]), int(made[1]) if made else 0
        if self._events and (b'data: {"error"' in data):
            call.problem = "StreamError"


def restarting() -> Refused:
    """What a client hears while the engine is dead: the supervisor starts another."""
    message = "the engine is restarting; try again"
    return Refused(503, "ServiceUnavailableError", message, headers={"retry-after": "5"})
