"""Answers on the engine's socket while vLLM is not there: 503 with Retry-After, and when it will be back.

One answer per connection, whatever was asked, written before the body is read; the rest of the request is then read
and thrown away, as closing on unread bytes would reset the connection and take the answer with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 64 * 2**10  # as large as request line and headers may be
HEAD_TIMEOUT_S = 10.0
LINGER_BYTES = 32 * 2**20  # more of a body than this is not worth reading for politeness
LINGER_S = 5.0
PROBES = ("/health", "/ready", "/ping")


@dataclass(frozen=True)
class Absence:
    """Why vLLM does not answer: the lease's state, the reason in a line, seconds until it is worth asking again."""

    state: str
    reason: str
    retry_after_s: int


class StandIn:
    """Accepts on `listening` between `start` and `stop`; both may be called again and again, in one event loop."""

    def __init__(self, listening: socket.socket, absence: Callable[[], Absence]) -> None:
        self._listening, self._absence = listening, absence
        self._server: asyncio.Server | None = None
        self.answered = 0

    async def start(self) -> None:
        if self._server is None:
            # A duplicate, because closing the server closes its socket; the queue of connections is the same.
            self._server = await asyncio.start_server(self._connection, sock=self._listening.dup(), limit=HEAD_BYTES)

    def stop(self) -> None:
        """Accept no more. Who was accepted still gets an answer; who waits in the socket's queue waits for vLLM."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            with contextlib.suppress(OSError, asyncio.TimeoutError, asyncio.LimitOverrunError):
                head = await asyncio.wait_for(_head(reader), HEAD_TIMEOUT_S)
                if head:
                    writer.write(self._answer(head))
                    self.answered += 1
                    if writer.can_write_eof():
                        writer.write_eof()
                    await asyncio.wait_for(_swallow(reader), LINGER_S)
        finally:
            writer.close()

    def _answer(self, head: bytes) -> bytes:
        method, _, rest = head.split(b"\r\n", 1)[0].decode("latin-1").partition(" ")
        path = rest.split(" ")[0].partition("?")[0]
        absence = self._absence()
        body: dict[str, object] = {"status": absence.state, "reason": absence.reason}
        if path not in PROBES:
            message = f"the engine is {absence.state}; try again in {absence.retry_after_s} s"
            error = {"message": message, "type": "ServiceUnavailableError", "param": None, "code": 503}
            body = {"error": error}
        data = json.dumps(body).encode()
        lines = (
            "HTTP/1.1 503 Service Unavailable",
            "content-type: application/json",
            f"content-length: {len(data)}",
            f"retry-after: {absence.retry_after_s}",
            "connection: close",
        )
        return "\r\n".join(lines).encode() + b"\r\n\r\n" + (b"" if method == "HEAD" else data)


async def _head(reader: asyncio.StreamReader) -> bytes:
    """Request line and headers; empty when the client left before their end."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _swallow(reader: asyncio.StreamReader) -> None:
    size = 0
    while (part := await reader.read(HEAD_BYTES)) and size < LINGER_BYTES:
        size += len(part)
