"""`POST /v1/feedback`: what an app's user says of an answer, by the answer's id. 200 means that it is on disk.

    {"completion_id": "chatcmpl-…", "thumb": "up" | "down"}
    {"chosen": "chatcmpl-…", "rejected": "chatcmpl-…"}
    {"completion_id": "chatcmpl-…", "edited": "what it should have said"}
    {"completion_id": "chatcmpl-…", "campaign": true}      its prompt is for a rating campaign
    each with "reason" and "user" where the app has them

Said again by the same user of the same answer it replaces what was said before; said twice alike it is stored once.
An id that this engine does not know is no error: the answer may be another engine's, or older than the last restart,
or of a key without capture. It is stored, and counts as unmatched where feedback meets captured calls (`ratchet
capture stats`). Texts are redacted before they are written.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse

from harness.core.errors import LabError
from harness.core.records import now
from harness.core.traffic import FEEDBACK, Feedback, FeedbackKind, TrafficLog, salt
from serve.plugin.call import Call, Refused
from serve.plugin.capture import user_id
from serve.redact import redact

PATH = "/v1/feedback"
MAX_BYTES = 2**19
MAX_EDIT, MAX_REASON = 100_000, 2_000  # characters
MAX_WAITING = 256  # requests that wait for the disk; more are told to come back
REMEMBERED = 10_000  # of what was said last, so that a retry is not written again
COMPLETION_ID = re.compile(r"[A-Za-z0-9_.:@-]{1,200}")
FORMS: dict[str, FeedbackKind] = {
    "thumb": "thumb", "chosen": "preference", "rejected": "preference", "edited": "edit", "campaign": "campaign",
}  # fmt: skip
KEYS = frozenset({*FORMS, "completion_id", "reason", "user"})
SHOW = (
    '{"completion_id", "thumb": "up"|"down"}, {"chosen", "rejected"}, {"completion_id", "edited"} or '
    '{"completion_id", "campaign": true}'
)


class Desk:
    """Takes feedback to disk, one after the other in a thread. `append` is a TrafficLog's, if not given."""

    def __init__(self, folder: Path, append: Callable[[list[dict[str, Any]]], None] | None = None) -> None:
        self._folder = folder
        self._log = TrafficLog(folder, FEEDBACK, "feedback.event")
        self._append = append or self._log.append
        self._salt = b""
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="ratchet-feedback")
        self._last: OrderedDict[str, str] = OrderedDict()
        self._waiting = 0
        self.counts: Counter[str] = Counter()

    async def take(self, body: dict[str, Any], key_id: str) -> tuple[Feedback, bool]:
        """Store `body`; (what is stored, whether it was new). Refused for what is no feedback, or 503 by the disk."""
        about = check(body)
        if self._waiting >= MAX_WAITING:
            raise _busy()
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._store, body, about, key_id)
        except (LabError, OSError) as error:
            self.counts["disk"] += 1
            raise _busy() from error
        finally:
            self._waiting -= 1

    def close(self) -> None:
        self._thread.shutdown(wait=True)
        self._log.close()

    def _store(self, body: dict[str, Any], about: FeedbackKind, key_id: str) -> tuple[Feedback, bool]:
        self._salt = self._salt or salt(self._folder)
        entry = feedback_of(body, about, key_id, self._salt)
        content = hashlib.sha256(json.dumps(entry.model_dump(exclude={"at"})).encode()).hexdigest()
        if self._last.get(entry.feedback_id) == content:
            return entry, False
        self._append([entry.model_dump(mode="json")])
        self._last[entry.feedback_id] = content
        self._last.move_to_end(entry.feedback_id)
        if len(self._last) > REMEMBERED:
            self._last.popitem(last=False)
        self.counts[about] += 1
        return entry, True


def check(body: dict[str, Any]) -> FeedbackKind:
    """Which kind of feedback it is; Refused (400) naming what does not fit."""
    unknown = sorted(set(body) - KEYS)
    if unknown:
        raise _wrong(f"{unknown[0][:40]!r} is no field of feedback: send {SHOW}", unknown[0][:40])
    kinds = {FORMS[name] for name in body if name in FORMS}
    if len(kinds) != 1:
        raise _wrong(f"say one thing of an answer: {SHOW}", None)
    about = kinds.pop()
    for name in ("chosen", "rejected") if about == "preference" else ("completion_id",):
        value = body.get(name)
        if not isinstance(value, str) or not COMPLETION_ID.fullmatch(value):
            raise _wrong(f"{name} must be the id of an answer, such as chatcmpl-…", name)
    if about == "preference" and body["chosen"] == body["rejected"]:
        raise _wrong("chosen and rejected are the same answer", "rejected")
    if about == "preference" and body.get("completion_id") not in (None, body["chosen"]):
        raise _wrong("with chosen and rejected, leave completion_id out", "completion_id")
    if about == "thumb" and body["thumb"] not in ("up", "down"):
        raise _wrong("thumb must be up or down", "thumb")
    if about == "campaign" and body["campaign"] is not True:
        raise _wrong("campaign must be true", "campaign")
    for name, limit in (("edited", MAX_EDIT), ("reason", MAX_REASON), ("user", 200)):
        value = body.get(name, "")
        if not isinstance(value, str) or len(value) > limit:
            raise _wrong(f"{name} must be text of at most {limit} characters", name)
    if about == "edit" and not body["edited"].strip():
        raise _wrong("edited is empty: send what the answer should have been", "edited", "edited_empty")
    return about


def feedback_of(body: dict[str, Any], about: FeedbackKind, key_id: str, key: bytes) -> Feedback:
    """The record of a checked body, redacted. One id per (answer, user, kind)."""
    found: Counter[str] = Counter()
    user = user_id(body.get("user"), key)
    completion = body["chosen"] if about == "preference" else body["completion_id"]
    # Both orders of a pair are one question: a user who changes their mind turns it round.
    place = sorted((completion, body["rejected"])) if about == "preference" else [completion]
    name = hashlib.sha256(json.dumps([place, user or f"key:{key_id}", about]).encode()).hexdigest()
    return Feedback(
        at=now(),
        feedback_id=f"fb-{name[:24]}",
        key_id=key_id,
        user=user,
        about=about,
        completion_id=completion,
        rejected_id=body.get("rejected"),
        thumb=body.get("thumb"),
        edited=redact(body["edited"], found) if about == "edit" else None,
        reason=redact(body.get("reason", ""), found),
        redacted=dict(found),
    )


async def feedback(request: Request) -> JSONResponse:
    """The route. Who calls is the gatekeeper's business; the desk is the one of its watchers."""
    try:
        body = await _read(request)
        watchers = getattr(request.state, "ratchet_watchers", ())
        desk: Desk | None = next((watcher.desk for watcher in watchers if getattr(watcher, "desk", None)), None)
        if desk is None:
            raise Refused(503, "ServiceUnavailableError", "this engine keeps no feedback: it was started without a lab")
        call: Call = request.state.ratchet_call
        entry, new = await desk.take(body, call.key.key_id if call.key else "")
    except Refused as refused:
        return JSONResponse(refused.body, refused.status, refused.headers)
    return JSONResponse({"id": entry.feedback_id, "object": "feedback", "status": "stored" if new else "unchanged"})


async def _read(request: Request) -> dict[str, Any]:
    data = b""
    async for part in request.stream():
        data += part
        if len(data) > MAX_BYTES:
            raise Refused(413, "BadRequestError", f"feedback is larger than {MAX_BYTES} bytes")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError):
        raise _wrong("the request is not JSON", None) from None
    if not isinstance(body, dict):
        raise _wrong(f"the request is not a JSON object: send {SHOW}", None)
    return body


def _wrong(message: str, param: str | None, code: str | None = None) -> Refused:
    return Refused(400, "BadRequestError", message, param, code=code)


def _busy() -> Refused:
    message = "feedback cannot be stored at the moment; it was not: send it again"
    return Refused(503, "ServiceUnavailableError", message, headers={"retry-after": "5"}, code="feedback_busy")
