"""Requests and tokens per key, day and model, added up in memory and written every few seconds by a thread.

What is written are differences, so the sum over all segments is the total whatever processes there were. A kill loses
at most FLUSH_S of counting; a full disk loses nothing as long as the process lives.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core.errors import LabError
from harness.core.traffic import USAGE, TrafficLog, UsageDelta
from serve.plugin.call import Call

FLUSH_S = 10.0
Place = tuple[str, str, str]  # day, key id, model


@dataclass
class Used:
    requests: int = 0
    errors: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, other: Used) -> None:
        self.requests += other.requests
        self.errors += other.errors
        self.prompt_tokens += other.prompt_tokens
        self.completion_tokens += other.completion_tokens


class Usage:
    """The watcher. Counts calls that were resolved to a model; refused ones only where a key made them."""

    def __init__(self, folder: Path, append: Callable[[list[dict[str, Any]]], None] | None = None) -> None:
        self._log = TrafficLog(folder, USAGE, "usage.event")
        self._append = append or self._log.append
        self._sums: dict[Place, Used] = {}
        self._lock = threading.Lock()  # held for additions only, never during a write
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self.written = self.failures = 0

    def wants_text(self, call: Call) -> bool:
        return False

    def ended(self, call: Call) -> None:
        if not call.model and call.key is None:
            return
        used = Used(
            1, int(call.status >= 400 or call.status == 0), call.prompt_tokens or 0, call.completion_tokens or 0
        )
        place = (datetime.now(UTC).date().isoformat(), call.key.key_id if call.key else "", call.model)
        with self._lock:
            self._sums.setdefault(place, Used()).add(used)
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="ratchet-usage", daemon=True)
            self._thread.start()

    def flush(self) -> None:
        """Write what was added up since the last time; keep it where the disk refuses."""
        with self._lock:
            sums, self._sums = self._sums, {}
        if not sums:
            return
        deltas = [
            UsageDelta(day=day, key_id=key, model=model, **vars(used)) for (day, key, model), used in sums.items()
        ]
        try:
            self._append([delta.model_dump(mode="json") for delta in deltas])
        except (LabError, OSError):
            self.failures += 1
            with self._lock:
                for place, used in sums.items():
                    self._sums.setdefault(place, Used()).add(used)
        else:
            self.written += len(deltas)

    @property
    def waiting(self) -> int:
        """Keys and models whose last seconds are not on disk yet."""
        return len(self._sums)

    def close(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join(FLUSH_S)
        self.flush()
        self._log.close()

    def _work(self) -> None:
        while not self._stop.wait(FLUSH_S):
            self.flush()
