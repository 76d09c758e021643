"""Everything that learns of finished calls, behind one watcher that cannot fail: metrics, usage, capture, request log.

Each is told in turn; one that raises is counted and the others are told all the same, for an answer must not depend on
who watches it. What takes longer than some microseconds is a thread's work.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from prometheus_client import REGISTRY, CollectorRegistry
from starlette.requests import Request

from serve.plugin.call import Call, Watcher
from serve.plugin.capture import Capture
from serve.plugin.feedback import Desk
from serve.plugin.metrics import Metrics, instruments
from serve.plugin.requestlog import RequestLog
from serve.plugin.shadow import Shadows
from serve.plugin.usage import Usage
from serve.plugin.writer import PROBLEMS, Writer
from serve.storage import Source, source

logger = logging.getLogger("ratchet.watchers")


class Settings(Protocol):
    """What is needed of the gatekeeper's settings."""

    @property
    def registry(self) -> Path | str | None: ...
    @property
    def requests(self) -> Path | None: ...
    @property
    def engine_id(self) -> str: ...


def build(settings: Settings, registry: CollectorRegistry = REGISTRY) -> list[Watcher]:
    """The watchers of one engine. Without a folder for requests there are metrics only."""
    watchers: dict[str, Watcher] = {"metrics": Metrics(registry)}
    desk = None
    if settings.requests is not None:
        desk = Desk(settings.requests)
        watchers |= {
            "usage": Usage(settings.requests),
            "capture": Capture(settings.requests),
            "requestlog": RequestLog(settings.requests, settings.engine_id),
        }
    return [Watch(watchers, desk, registry, source(settings.registry) if settings.registry else None)]


class Watch:
    """The one watcher that the gatekeeper tells. `desk` is where `/v1/feedback` stores; None without a lab."""

    def __init__(
        self,
        watchers: Mapping[str, Watcher],
        desk: Desk | None = None,
        registry: CollectorRegistry = REGISTRY,
        versions: Source | None = None,
    ) -> None:
        self.desk = desk
        self._watchers = dict(watchers)
        self._of = instruments(registry)
        self._of.asked.report, self._of.asked.versions = self.report, versions
        self._told: set[tuple[str, str]] = set()

    def wants_text(self, call: Call) -> bool:
        return any([self._ask(name, watcher, call) for name, watcher in self._watchers.items()])

    def ended(self, call: Call) -> None:
        for name, watcher in self._watchers.items():
            try:
                watcher.ended(call)
            except PROBLEMS as error:
                self._failed(name, error)

    def close(self) -> None:
        for name, watcher in self._watchers.items():
            try:
                watcher.close()
            except PROBLEMS as error:
                self._failed(name, error)
        if self.desk is not None:
            self.desk.close()

    def report(self) -> dict[str, dict[str, Any]]:
        """For health: per watcher what is on disk, waits, and was dropped and why; and feedback that is on disk."""
        found: dict[str, dict[str, Any]] = {
            name: {"written": writer.counts.written, "waiting": writer.waiting, "dropped": dict(+writer.counts.dropped)}
            for name, writer in self._writers().items()
        }
        usage = self._watchers.get("usage")
        if isinstance(usage, Usage):
            found["usage"] = {"written": usage.written, "waiting": usage.waiting, "dropped": {}}
        if self.desk is not None:
            found["feedback"] = dict(self.desk.counts)
        return found

    def _ask(self, name: str, watcher: Watcher, call: Call) -> bool:
        try:
            return watcher.wants_text(call)
        except PROBLEMS as error:
            self._failed(name, error)
            return False

    def _failed(self, name: str, error: Exception) -> None:
        self._of.failures.labels(name).inc()
        said = (name, type(error).__name__)
        if said not in self._told:  # once: a log that fills helps nobody
            self._told.add(said)
            logger.warning("watcher %s failed (%s); answers go on", *said)

    def _writers(self) -> dict[str, Writer[Any]]:
        return {name: one.writer for name, one in self._watchers.items() if isinstance(one, Capture | RequestLog)}


def report(request: Request) -> dict[str, dict[str, Any]]:
    """`Watch.report` of the engine that a request came to."""
    watchers = getattr(request.state, "ratchet_watchers", ())
    found = next((one.report() for one in watchers if isinstance(one, Watch)), {})
    shadows = next((one for one in watchers if isinstance(one, Shadows)), None)
    return found | ({"shadow": shadows.report()} if shadows else {})
