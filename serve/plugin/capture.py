"""Keeps answered calls of keys that say so (`Key.capture`, the share of calls), redacted, in `lab/requests/`.

On the event loop a call costs one random number, and a place in a queue where it was drawn; redaction and the disk are
a thread's work. Only 200s are kept: what was refused says nothing about a version.
"""

from __future__ import annotations

import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

from harness.core.traffic import CALLS, CapturedCall, TrafficLog, hashed_user, salt
from serve.plugin.call import Call
from serve.plugin.writer import PROBLEMS, Writer
from serve.redact import redact, redact_value

ENDPOINTS: dict[str, Literal["chat", "completions"]] = {
    "/v1/chat/completions": "chat",
    "/v1/completions": "completions",
}
# Of the body only what says how the answer was made: nothing that an app may have put beside it.
DECODING = (
    *("temperature", "top_p", "top_k", "min_p", "max_tokens", "max_completion_tokens", "seed", "stop", "n", "stream"),
    *("presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "response_format", "tool_choice"),
)
MAX_CALL_BYTES = 2**20  # of one captured call; redacting longer texts would take the thread seconds
PLAIN_USER = re.compile(r"(?!\+?\d{7,}$)[A-Za-z0-9][A-Za-z0-9_.:-]{0,63}")  # no spaces, no '@', not only digits

Append = Callable[[list[dict[str, Any]]], None]


class Capture:
    """The watcher. `append` is where batches go (a TrafficLog's, if not given); `draw` returns 0 to 1."""

    def __init__(self, folder: Path, append: Append | None = None, draw: Callable[[], float] = random.random) -> None:
        self._folder, self._draw = folder, draw
        self._log = TrafficLog(folder, CALLS, "capture.event")
        self._append = append or self._log.append
        self._salt = b""
        self.writer: Writer[tuple[Call, float]] = Writer("capture", self._write)

    def wants_text(self, call: Call) -> bool:
        """Draws whether this call is captured; asked once."""
        share = call.key.capture if call.key else 0.0
        call.captured = share > 0 and call.path in ENDPOINTS and self._draw() < share
        return call.captured

    def ended(self, call: Call) -> None:
        if not call.captured or call.status != 200:
            return
        size = _declared(call) + sum(map(len, call.answer))
        if size > MAX_CALL_BYTES:
            self.writer.counts.dropped["too_large"] += 1
        else:
            self.writer.put((call, time.time()), size)

    def close(self) -> None:
        self.writer.close()
        self._log.close()

    def _write(self, batch: list[tuple[Call, float]]) -> int:
        """Redact and append; how many calls could not be read."""
        self._salt = self._salt or salt(self._folder)
        events, unreadable = [], 0
        for call, at in batch:
            try:
                events.append(captured(call, at, self._salt).model_dump(mode="json"))
            except PROBLEMS:  # a body that vLLM took and we cannot read: a bug worth counting, not the batch's end
                unreadable += 1
        if events:
            self._append(events)
        return unreadable


def captured(call: Call, at: float, key: bytes) -> CapturedCall:
    """The record of a finished call, redacted; `at` is when it ended, in seconds since 1970."""
    found: Counter[str] = Counter()
    ended = call.ended if call.ended is not None else call.began
    first = call.first_byte if call.streaming else None
    body = call.body
    return CapturedCall(
        at=datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
        request_id=redact(call.request_id),
        completion_id=call.completion_id,
        key_id=call.key.key_id if call.key else "",
        user=user_id(body.get("user"), key),
        endpoint=ENDPOINTS[call.path],
        alias=call.alias,
        model=call.model,
        prompt=redact_value(body.get("messages", body.get("prompt")), found),
        tools=redact_value(body.get("tools"), found),
        decoding=redact_value({name: body[name] for name in DECODING if body.get(name) is not None}, found),
        answers=cast(list[str], redact_value(list(call.answer), found)),
        tool_calls=redact_value(call.tool_calls, found),
        finish_reasons=call.finish_reasons,
        prompt_tokens=call.prompt_tokens,
        completion_tokens=call.completion_tokens,
        ttft_s=None if first is None else round(first - call.began, 6),
        latency_s=round(ended - call.began, 6),
        left=call.left,
        redacted=dict(found),
    )


def user_id(given: Any, key: bytes) -> str:
    """How a client's user is called here: as given where that says nothing of a person by its form, else hashed."""
    if not isinstance(given, str | int) or given == "":
        return ""
    name = str(given)
    plain = PLAIN_USER.fullmatch(name) is not None and redact(name) == name
    return name if plain and not name.startswith("u-") else hashed_user(name, key)


def _declared(call: Call) -> int:
    """Bytes of the request's body, as the client says; those of a body in chunks are estimated."""
    length = call.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else sum(map(len, _texts(call.body)))


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _texts(one)
