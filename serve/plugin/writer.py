"""A thread that writes to disk what the event loop hands it, and never makes the event loop wait.

The queue is bounded in entries and bytes. What does not fit, or what the disk refuses, is dropped and counted: an
answer is worth more than its record.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from harness.core.errors import RatchetError

Entry = TypeVar("Entry")
MAX_ENTRIES = 4_096
MAX_BYTES = 64 * 2**20  # of requests and answers that wait, as they came
BATCH = 256  # entries behind one fsync
GATHER_S = 0.05  # how long the first entry waits for more: the thread wakes and calls fsync 20 times a second at most
REFUSED_PAUSE_S = 1.0  # after the disk refused; entries wait meanwhile, and are dropped when the queue is full
CLOSE_S = 5.0  # how long the end waits for a slow disk
# What handing over or writing an entry may raise when something is wrong with it or with the disk.
PROBLEMS = (RatchetError, OSError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class Counts:
    """What became of the entries: written, or dropped and why (full, disk, unreadable, late)."""

    written: int = 0
    dropped: Counter[str] = field(default_factory=Counter)


class Writer(Generic[Entry]):
    """Hands batches of entries to `write` in a thread of its own, which starts with the first entry.

    `write` may block and raise; it gets at most BATCH entries, in order, and returns how many it could not read.
    """

    def __init__(
        self, name: str, write: Callable[[list[Entry]], int], entries: int = MAX_ENTRIES, max_bytes: int = MAX_BYTES
    ) -> None:
        self.counts = Counts()
        self._name, self._write = name, write
        self._entries, self._max_bytes = entries, max_bytes
        self._queue: deque[tuple[Entry, int]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._thread: threading.Thread | None = None

    def put(self, entry: Entry, size: int = 0) -> bool:
        """Queue an entry of about `size` bytes; False where it was dropped. Never blocks for longer than a lock."""
        with self._changed:
            if self._closing or len(self._queue) >= self._entries or self._bytes + size > self._max_bytes:
                self.counts.dropped["late" if self._closing else "full"] += 1
                return False
            self._queue.append((entry, size))
            self._bytes += size
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name=f"ratchet-{self._name}", daemon=True)
                self._thread.start()
            if len(self._queue) == 1:  # else it is awake, or gathering
                self._changed.notify()
        return True

    @property
    def waiting(self) -> int:
        """Entries that are not on disk yet and wait for it."""
        return len(self._queue)

    def close(self) -> None:
        """Write what waits, for CLOSE_S at most; the rest counts as dropped."""
        with self._changed:
            self._closing = True
            self._changed.notify()
            thread = self._thread
        if thread is not None:
            thread.join(CLOSE_S)
        with self._changed:
            self.counts.dropped["late"] += len(self._queue)
            self._queue.clear()

    def _work(self) -> None:
        while batch := self._next():
            try:
                unreadable = self._write(batch)
            except PROBLEMS:
                self.counts.dropped["disk"] += len(batch)
                self._pause()
            else:
                self.counts.dropped["unreadable"] += unreadable
                self.counts.written += len(batch) - unreadable

    def _next(self) -> list[Entry]:
        """The next batch; empty when the writer is closed and nothing waits."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing)
            if len(self._queue) < BATCH:
                self._changed.wait_for(lambda: self._closing, timeout=GATHER_S)
            taken = [self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))]
            self._bytes -= sum(size for _, size in taken)
            return [entry for entry, _ in taken]

    def _pause(self) -> None:
        until = time.monotonic() + REFUSED_PAUSE_S
        with self._changed:
            self._changed.wait_for(lambda: self._closing, timeout=max(0.0, until - time.monotonic()))
