"""Another vLLM, made ready beside the one that serves, and put in its place on the same socket: for another base.

A full fine-tune, or an adapter of another base, cannot be swapped into a running vLLM. What moves an alias to one asks
the supervisor for a successor (`next.json` in the engine's folder, held by a lock while it is wanted) and waits until
it has answered a token. Then the alias moves, and the supervisor, who reads that in the registry, closes the old
one's door and opens the new one's: connections wait in the socket's queue meanwhile. Whoever dies on the way, the
registry says who is right: without the lock and with the alias where it was, the successor is let go.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import RatchetError
from harness.core.records import Record
from serve.child import Child
from serve.lease import LOG, NEXT, NEXT_HOLD, Successor, is_locked, last_words
from serve.registry import Reference, find
from serve.storage import source


class Request(Record):
    """next.json: the engine that is to come (the fields of EngineSpec), and the alias whose move lets it in."""

    request_id: str
    name: str
    alias: str
    spec: dict[str, Any]


def asked(folder: Path) -> Request | None:
    """The request in an engine's folder; None where nobody asks, or where it is damaged."""
    try:
        return Request.read(folder / NEXT)
    except (FileNotFoundError, RatchetError):
        return None


def is_coming(folder: Path | None, base_sha256: str) -> bool:
    """Whether a vLLM for that base is about to take an engine's socket over."""
    request = asked(folder) if folder else None
    return request is not None and bool(request.spec["base_sha256"] == base_sha256)


def has_moved(request: Request) -> bool:
    """Whether the alias stands on the base that is asked for. Not while the registry cannot be read."""
    with contextlib.suppress(RatchetError):
        record = source(request.spec["registry"]).record(request.name)
        version = find(record, Reference(request.name, request.alias, None))
        return bool(version.base_sha256 == request.spec["base_sha256"])
    return False


class Succession:
    """A supervisor's part of it. `begin` starts a vLLM that stands by, `end` ends one, `tell` writes the lease."""

    def __init__(
        self,
        folder: Path,
        begin: Callable[[Mapping[str, Any]], Child],
        end: Callable[[Child], Awaitable[None]],
        tell: Callable[[Successor | None], None],
    ) -> None:
        self._folder, self._begin, self._end, self._tell = folder, begin, end, tell
        self._request: Request | None = None
        self.child: Child | None = None
        self.due = False  # its turn has come
        self._since = 0
        self._last: Successor | None = None

    async def look(self) -> bool:
        """One step; whether the successor's turn has come."""
        request = asked(self._folder)
        if request is None or (self._request and request.request_id != self._request.request_id):
            await self.drop()
        if request is None:
            return False
        moved = has_moved(request)
        if self.child is None:
            if is_locked(self._folder / NEXT_HOLD) or moved:
                self._start(request)
            else:
                self._forget()
        elif self.child.returncode is not None:
            problem = last_words(self._folder / LOG, self._since)
            await self.drop()
            self._say(request, "failed", problem)
        elif not moved and not is_locked(self._folder / NEXT_HOLD):
            await self.drop()
        elif self.child.waits():
            self._say(request, "waiting")
            self.due = moved
        return self.due

    def take(self) -> tuple[Child, dict[str, Any]] | None:
        """The successor whose turn it is, and its spec; it is the supervisor's from now on, and told to go."""
        if not self.due or self.child is None or self._request is None:
            return None
        child, spec = self.child, self._request.spec
        self.child, self.due = None, False
        self._forget()
        child.go()
        return child, spec

    async def drop(self) -> None:
        """Let go of a successor that nobody wants any more, or that failed. None is fine."""
        child, self.child, self.due = self.child, None, False
        if child:
            self._forget()
            await self._end(child)

    def _start(self, request: Request) -> None:
        log = self._folder / LOG
        self._since = log.stat().st_size if log.exists() else 0
        self._request, self.child = request, self._begin(request.spec)
        self._say(request, "starting")

    def _say(self, request: Request, state: Literal["starting", "waiting", "failed"], error: str | None = None) -> None:
        said = Successor(request_id=request.request_id, state=state, error=error)
        if said != self._last:
            self._last = said
            self._tell(said)

    def _forget(self) -> None:
        (self._folder / NEXT).unlink(missing_ok=True)
        self._request = self._last = None
        self._tell(None)
