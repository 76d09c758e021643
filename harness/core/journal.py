"""Append-only journals: the truth that the store is built from.

Each process appends to segments of its own, so nobody waits for a lock; the fsync is the acknowledgement.
A torn last line (power cut, full disk) is never appended to: every writer starts a new segment.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import stat
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from harness.core.errors import LabError
from harness.core.faults import reached
from harness.core.paths import disk_errors, sync_folder, write_atomic

READ_AT_ONCE = 1_000_000  # bytes

T = TypeVar("T")


class Journal:
    """One writer's segment `<folder>/<stem>-<time>-<random>.jsonl`, made at the first append.

    `mode` is what open(2) takes: 0o600 for what only its owner may read.
    """

    def __init__(self, folder: Path, stem: str, point: str | None = None, mode: int = 0o644) -> None:
        self.path = _new_segment(folder, stem)
        self._stem, self._point, self._mode = stem, point, mode
        self._is_held = False
        self._descriptor: int | None = None

    def append(self, event: dict[str, Any]) -> None:
        """Put one event on disk; when this returns it survives a crash. Raises LabError, and then nothing was added."""
        self.append_all([event])

    def append_all(self, events: Iterable[dict[str, Any]]) -> None:
        """`append` of several events with one fsync: all of them or, where LabError is raised, none."""
        line = b"".join(json.dumps(event, ensure_ascii=False, allow_nan=False).encode() + b"\n" for event in events)
        with disk_errors(self.path), self._there() as descriptor:
            end = os.lseek(descriptor, 0, os.SEEK_END)
            try:
                if self._point:
                    reached(self._point)
                written = 0
                while written < len(line):  # a nearly full disk takes a part, and says so at the next write
                    written += os.write(descriptor, line[written:])
                os.fsync(descriptor)
            except OSError:
                os.ftruncate(descriptor, end)
                raise

    @contextlib.contextmanager
    def _there(self) -> Iterator[int]:
        """The open segment, locked; a new one where somebody rewrote or removed it since: an append would be lost."""
        if self._is_held:
            yield self._open()
            return
        while True:
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if is_at(self.path, descriptor):
                break
            self.close()
            self.path = _new_segment(self.path.parent, self._stem)
        try:
            yield descriptor
        finally:
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    @contextlib.contextmanager
    def held(self) -> Iterator[bool]:
        """A lock on the segment, so that nobody rewrites it meanwhile. False where somebody did, or removed it, before:
        what is appended then would be lost, so start another Journal."""
        with disk_errors(self.path):
            descriptor = self._open()
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        try:
            self._is_held = True
            yield is_at(self.path, descriptor)
        finally:
            self._is_held = False
            fcntl.flock(descriptor, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _open(self) -> int:
        if self._descriptor is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY, self._mode)
            sync_folder(self.path.parent)  # a vote on disk in a file without a name would be lost
        return self._descriptor


def _new_segment(folder: Path, stem: str) -> Path:
    return folder / f"{stem}-{time.time_ns():020d}-{secrets.token_hex(3)}.jsonl"


def rewrite_segment(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]], point: str | None = None) -> int:
    """Replace events of one segment, all or none, and return how many changed.

    Each line keeps its length, so that whoever reads on from an offset (pages that are open, the store) stays right;
    a writer that has the segment open starts a new one. A torn last line goes. Raises LabError for an event that does
    not fit in the place of the old one.
    """
    with disk_errors(path), path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        before = file.read().split(b"\n")[:-1]
        after = [_in_place(line, change(json.loads(line)), path) for line in before]
        changed = sum(old != new for old, new in zip(before, after, strict=True))
        if changed:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            write_atomic(path, b"".join(line + b"\n" for line in after), point, mode)
    return changed


def _in_place(line: bytes, event: dict[str, Any], path: Path) -> bytes:
    """`event` as a line as long as `line`: JSON allows space at the end."""
    if json.loads(line) == event:
        return line
    found = json.dumps(event, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(found) > len(line):
        raise LabError(f"{path}: an event grew by {len(found) - len(line)} bytes and does not fit")
    return found.ljust(len(line))


def is_at(path: Path, descriptor: int) -> bool:
    """Whether `path` still names the open file, not another that was renamed there."""
    try:
        there = os.stat(path)
    except FileNotFoundError:
        return False
    mine = os.fstat(descriptor)
    return (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino)


def segments(folder: Path, stem: str) -> list[Path]:
    """All segments of `stem` in `folder`, oldest first. Asked many times a vote, so without the cost of a glob."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [folder / name for name in sorted(names) if name.startswith(f"{stem}-") and name.endswith(".jsonl")]


def read_segment(path: Path, offset: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield (event, byte offset behind it) for every whole line from `offset` on; a torn last line is left out.

    Raises LabError for a whole line that is not a JSON object: that is damage, not a crash.
    """
    for lines in _whole_lines(path, offset, b""):
        for line, end in lines:
            yield _event(line, path, end), end


def read_records(
    path: Path, many: TypeAdapter[list[T]], what: str, offset: int = 0, marker: bytes = b""
) -> Iterator[tuple[T, int]]:
    """`read_segment` of events that are records of one kind, `what` in words: checked many at a time, at about a fifth
    of what it costs one by one. With a `marker` only lines that hold it; the others are not even read as JSON.

    Raises LabError as `read_segment`, and for an event that is no such record; whatever stands before it was given.
    """
    for lines in _whole_lines(path, offset, marker):
        found = _together(lines, many)
        if found is None:
            for line, end in lines:
                yield _record(line, path, end, many, what), end
        else:
            yield from zip(found, (end for _, end in lines), strict=True)


def _whole_lines(path: Path, offset: int, marker: bytes) -> Iterator[list[tuple[bytes, int]]]:
    """(line, byte offset behind it) of every whole line that holds the marker, some thousands at a time."""
    if offset and path.stat().st_size <= offset:
        return
    with path.open("rb") as file:
        file.seek(offset)
        while lines := file.readlines(READ_AT_ONCE):
            ends = itertools.accumulate(map(len, lines), initial=offset)
            next(ends)
            found = list(zip(lines, ends, strict=True))
            is_torn = not lines[-1].endswith(b"\n")
            offset = found[-1][1]
            yield [one for one in (found[:-1] if is_torn else found) if marker in one[0]]
            if is_torn:  # what its writer adds meanwhile is no line of its own
                return


def _together(lines: list[tuple[bytes, int]], many: TypeAdapter[list[T]]) -> list[T] | None:
    """The records of all lines; None where any is not what it should be, which one by one then tells."""
    texts = [line.strip() for line, _ in lines]
    if not all(text.startswith(b"{") and text.endswith(b"}") for text in texts):
        return None  # joined below, two halves of an object might make a whole one
    try:
        found = many.validate_json(b"[" + b",".join(texts) + b"]")
    except ValidationError:
        return None
    return found if len(found) == len(lines) else None


def _record(line: bytes, path: Path, end: int, many: TypeAdapter[list[T]], what: str) -> T:
    event = _event(line, path, end)
    try:
        return many.validate_python([event])[0]
    except ValidationError as error:
        raise LabError(f"{path} holds something else than {what} before byte {end}") from error


def _event(line: bytes, path: Path, end: int) -> dict[str, Any]:
    try:
        event = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise LabError(f"{path} is damaged before byte {end}", "restore the file or move it away") from error
    if not isinstance(event, dict):
        raise LabError(f"{path} holds something else than an event before byte {end}")
    return event


def read_all(folder: Path, stem: str) -> Iterator[dict[str, Any]]:
    """Every whole event of `stem` in `folder`, segment by segment."""
    for path in segments(folder, stem):
        for event, _ in read_segment(path):
            yield event
