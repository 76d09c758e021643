"""What engines keep of the calls that they answer, in `lab/requests/`: captured calls, apps' feedback, usage per key.

    calls-*.jsonl      captured calls, redacted            (only of keys that say so)
    shadow-*.jsonl     calls with a shadow's answer, redacted (only of aliases that say so)
    feedback-*.jsonl   what apps say of answers
    usage-*.jsonl      requests and tokens per key, day and model, as differences to be added up
    audit-*.jsonl      who exported or erased what
    salt, keep.json    what users' names are hashed with; how many days calls and feedback are kept

Each process appends to segments of its own and starts another one every day, so that old ones can be removed whole.
Unlike other journals these may be rewritten, because people may ask to be forgotten: a rewritten segment keeps its
name, starts with a line of its own, and has a line without content in place of each one that was erased.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from harness.core.errors import LabError
from harness.core.journal import Journal, is_at, read_segment, segments
from harness.core.paths import Lab, disk_errors, read_json, sync_folder, write_atomic, write_json
from harness.core.records import Record, now

CALLS, SHADOW, FEEDBACK, USAGE, AUDIT = "calls", "shadow", "feedback", "usage", "audit"
SEGMENT_BYTES = 64 * 2**20  # rewriting one reads it into memory
DAY_S = 86_400
PORTAL = "portal"  # the key's id of what people try in the portal, who use no key
KEEP_DAYS = 90  # until `ratchet capture keep` says otherwise

FeedbackKind = Literal["thumb", "preference", "edit", "campaign"]  # the last: its prompt is for people to rate
Event = dict[str, Any]


class CapturedCall(Record):
    """One answered call, redacted. Of `prompt`: chat turns as they came, a text, or token ids."""

    kind: Literal["call"] = "call"
    at: str
    request_id: str
    completion_id: str | None
    key_id: str
    user: str = Field("", description="the client's name of its user, or 'u-' and a keyed hash of it")
    endpoint: Literal["chat", "completions"]
    alias: str | None
    model: str = Field(description="the version that answered")
    prompt: Any
    tools: Any = None
    decoding: dict[str, Any]
    answers: list[str] = Field(description="one per choice")
    tool_calls: list[dict[str, Any]] = Field([])
    finish_reasons: list[str]
    prompt_tokens: int | None
    completion_tokens: int | None
    ttft_s: float | None = Field(description="of streams: until the first chunk of the answer left")
    latency_s: float
    left: bool = Field(False, description="the client went away before the end")
    redacted: dict[str, int] = Field({}, description="what was taken out: kind -> how often")


class ShadowedCall(CapturedCall):
    """A call whose alias has a shadow: what the client got, and what the other version would have said."""

    kind: Literal["shadow"] = "shadow"  # type: ignore[assignment]
    shadow: CapturedCall


class Feedback(Record):
    """What an app says of an answer. Of one (completion, user, kind) the last one counts."""

    kind: Literal["feedback"] = "feedback"
    at: str
    feedback_id: str
    key_id: str
    user: str
    about: FeedbackKind
    completion_id: str = Field(description="of a preference: the chosen one")
    rejected_id: str | None = None
    thumb: Literal["up", "down"] | None = None
    edited: str | None = None
    reason: str = ""
    redacted: dict[str, int] = Field({})


class Erased(Record):
    """Stands where a call or a feedback stood that somebody had erased."""

    kind: Literal["erased"] = "erased"
    was: Literal["call", "feedback"]
    day: str
    key_id: str
    model: str | None = None


class UsageDelta(Record):
    """What one key asked of one model since this process said so last. `key_id` is empty where no key was used."""

    kind: Literal["usage"] = "usage"
    day: str
    key_id: str
    model: str
    requests: int
    errors: int
    prompt_tokens: int
    completion_tokens: int


class Rewritten(Record):
    """First line of a segment that was rewritten: `mark` tells it from what stood there before."""

    kind: Literal["rewritten"] = "rewritten"
    at: str
    mark: str


class Audit(Record):
    """One line about captured calls: what was done, by whom, to how many."""

    kind: Literal["audit"] = "audit"
    at: str
    who: str
    did: Literal["export", "erase", "purge", "keep"]
    counts: dict[str, int] = Field({})
    user: str | None = Field(None, description="the keyed hash of whom was erased, never the name")
    path: str | None = None
    sha256: str | None = None
    what: str | None = Field(None, description="of an export: kto, pairs, sft or pool")
    remains: list[str] = Field([], description="where something of an erased user may still stand")


KINDS: dict[str, type[Record]] = {
    "call": CapturedCall,
    "shadow": ShadowedCall,
    "feedback": Feedback,
    "erased": Erased,
    "usage": UsageDelta,
    "rewritten": Rewritten,
    "audit": Audit,
}


class TrafficLog:
    """Appends to this process's segments of one stem; a new one every UTC day and every SEGMENT_BYTES. Not thread-safe:
    one thread writes."""

    def __init__(self, folder: Path, stem: str, point: str) -> None:
        self._folder, self._stem, self._point = folder, stem, point
        self._journal: Journal | None = None
        self._day = 0

    def append(self, events: list[Event]) -> None:
        """Put events on disk, in order; when this returns they survive a crash. Raises LabError, and then none was."""
        for _ in range(3):  # each time the segment was rewritten between two looks: three in a row do not happen
            journal = self._current()
            with journal.held() as there:
                if there:
                    journal.append_all(events)
                    return
            self.close()
        raise LabError(f"{self._folder} is rewritten all the time", "run `ratchet capture erase` once, not in a loop")

    def close(self) -> None:
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _current(self) -> Journal:
        day = int(time.time() // DAY_S)
        if self._journal is not None and (day != self._day or _size(self._journal.path) >= SEGMENT_BYTES):
            self.close()
        if self._journal is None:
            private_folder(self._folder)
            self._journal, self._day = Journal(self._folder, self._stem, self._point, 0o600), day
        return self._journal


def private_folder(folder: Path) -> None:
    """Make the folder, for its owner only. LabError where the disk refuses."""
    with disk_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read(folder: Path, stem: str) -> Iterator[Record]:
    """Every event of `stem`, oldest segment first, as its record. LabError names a file with something else in it."""
    for path in segments(folder, stem):
        for event, end in read_segment(path):
            yield parse(event, path, end)


def parse(event: Event, path: Path, end: int) -> Record:
    """One line as the record that its `kind` names."""
    kind = KINDS.get(str(event.get("kind")))
    try:
        if kind is not None:
            return kind.model_validate(event)
    except ValidationError as error:
        raise LabError(f"{path} holds something else than was written there before byte {end}") from error
    raise LabError(f"{path} holds an unknown kind of line before byte {end}", "a newer Ratchet wrote it: use that one")


# --- users ------------------------------------------------------------------------------------------------------


def salt(folder: Path) -> bytes:
    """The lab's own secret for hashing users' names; made once, whoever comes first."""
    path = folder / "salt"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        private_folder(folder)
    temporary = folder / f".salt.{secrets.token_hex(4)}"
    with disk_errors(path):
        try:
            with open(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
                file.flush()
                os.fsync(file.fileno())
            os.link(temporary, path)  # fails where another process was first, and then its salt counts
            sync_folder(folder)
        except FileExistsError:
            pass
        finally:
            temporary.unlink(missing_ok=True)
        return path.read_bytes()


def hashed_user(name: str, key: bytes) -> str:
    """'u-' and 16 hex digits: the same for the same name in the same lab, and not to be guessed without its salt."""
    return "u-" + hashlib.blake2b(name.encode("utf-8", "replace"), key=key, digest_size=8).hexdigest()


# --- retention and erasing --------------------------------------------------------------------------------------


def keep_days(folder: Path) -> int:
    """How many days calls and feedback are kept."""
    path = folder / "keep.json"
    if not path.is_file():
        return KEEP_DAYS
    found = read_json(path)
    days = found.get("days") if isinstance(found, dict) else None
    if not isinstance(days, int) or days < 1:
        raise LabError(f"{path} holds no number of days", "write it again with `ratchet capture keep DAYS`")
    return days


def set_keep_days(folder: Path, days: int) -> None:
    private_folder(folder)
    write_json(folder / "keep.json", {"days": days})


def purge(folder: Path, days: int) -> int:
    """Remove segments of calls and feedback whose last line is older than `days`; how many there were.

    A segment holds one day at most, so nothing younger goes with it. A writer whose segment went starts another one.
    """
    before = time.time() - days * DAY_S
    removed = 0
    for path in (*segments(folder, CALLS), *segments(folder, SHADOW), *segments(folder, FEEDBACK)):
        with disk_errors(path), path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if is_at(path, file.fileno()) and os.fstat(file.fileno()).st_mtime < before:
                path.unlink()
                removed += 1
    return removed


def rewrite(path: Path, change: Callable[[Record], Record]) -> int:
    """Replace lines of one segment, atomically, and return how many changed. What stays the same is not written."""
    with disk_errors(path), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # a writer waits, then sees that its segment was replaced
        before = [parse(event, path, end) for event, end in read_segment(path)]
        records = [record for record in before if not isinstance(record, Rewritten)]
        after = [change(record) for record in records]
        changed = sum(one is not other for one, other in zip(records, after, strict=True))
        if changed:
            age = os.fstat(file.fileno()).st_mtime
            head = Rewritten(at=now(), mark=secrets.token_hex(8))
            lines = [json.dumps(one.model_dump(mode="json"), ensure_ascii=False) + "\n" for one in [head, *after]]
            write_atomic(path, "".join(lines).encode(), "capture.rewrite", 0o600)
            os.utime(path, (age, age))  # its age is that of its calls
    return changed


def audit(lab: Lab, entry: Audit) -> None:
    """Keep one line about what was done to captured calls."""
    private_folder(lab.requests)
    with Journal(lab.requests, AUDIT, "capture.audit", 0o600) as journal:
        journal.append(entry.model_dump(mode="json"))


def exports(folder: Path) -> list[Audit]:
    """Files that were made of captured calls, the newest line of each path."""
    found = [one for one in read(folder, AUDIT) if isinstance(one, Audit) and one.did == "export" and one.path]
    return list({one.path: one for one in found}.values())
