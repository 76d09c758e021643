"""One JSON line per call: who, what, how long, with which end. Never a prompt, an answer or a key.

`lab/requests/log/<engine>.jsonl`, rotated by size; a thread writes. A full disk drops lines and counts them.
"""

from __future__ import annotations

import contextlib
import json
import logging
import logging.handlers
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.core.paths import NAME
from harness.core.traffic import private_folder
from serve.plugin.call import Call
from serve.plugin.writer import Writer
from serve.redact import redact

FOLDER = "log"
MAX_FILE_BYTES = 16 * 2**20
OLD_FILES = 4
UNLOGGED = frozenset({"/health", "/ping", "/ready", "/ratchet/ready", "/metrics"})  # probes, every few seconds
PATH_LENGTH = 80


class _File(logging.handlers.RotatingFileHandler):
    """Says that a line was not written by raising, where the library would print a traceback."""

    def handleError(self, record: logging.LogRecord) -> None:  # the library's name
        stream, self.stream = self.stream, None  # what it still holds would come up again with every line
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
        raise OSError(f"{self.baseFilename} was not written")

    def _open(self) -> Any:
        os.close(os.open(self.baseFilename, os.O_CREAT | os.O_WRONLY, 0o600))
        return super()._open()


class RequestLog:
    """The watcher. `engine_id` names the file: each engine has its own."""

    def __init__(self, folder: Path, engine_id: str) -> None:
        self.path = folder / FOLDER / f"{engine_id if NAME.fullmatch(engine_id) else 'engine'}.jsonl"
        self._file: _File | None = None
        self.writer: Writer[dict[str, Any]] = Writer("requestlog", self._write)

    def wants_text(self, call: Call) -> bool:
        return False

    def ended(self, call: Call) -> None:
        if call.path not in UNLOGGED:
            self.writer.put(line(call, time.time()))

    def close(self) -> None:
        self.writer.close()
        if self._file is not None:
            self._file.close()

    def _write(self, batch: list[dict[str, Any]]) -> int:
        if self._file is None:
            private_folder(self.path.parent.parent)
            private_folder(self.path.parent)
            self._file = _File(self.path, maxBytes=MAX_FILE_BYTES, backupCount=OLD_FILES, encoding="utf-8", delay=True)
        for entry in batch:
            at = datetime.fromtimestamp(entry["time"], UTC).isoformat(timespec="milliseconds")
            safe = {"request_id": redact(entry["request_id"]), "path": redact(entry["path"])}  # clients chose these
            text = json.dumps(entry | {"time": at} | safe)
            self._file.emit(logging.makeLogRecord({"msg": "%s", "args": (text,)}))
        return 0


def line(call: Call, at: float) -> dict[str, Any]:
    """What is logged of a call that ended `at` seconds after 1970. Names that do not exist are not repeated."""
    ended = call.ended if call.ended is not None else call.began
    first = call.first_byte if call.streaming else None
    return {
        "time": at,
        "request_id": call.request_id,
        "key_id": call.key.key_id if call.key else None,
        "admin": call.admin,
        "method": call.method[:10],
        "path": call.path[:PATH_LENGTH],
        "alias": call.alias,
        "version": call.model or None,
        "status": call.status,
        "problem": call.problem or None,
        "stream": call.streaming,
        "completion_id": call.completion_id,
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": call.completion_tokens,
        "ttft_ms": None if first is None else round((first - call.began) * 1e3, 2),
        "latency_ms": round((ended - call.began) * 1e3, 2),
        "left": call.left,
    }
