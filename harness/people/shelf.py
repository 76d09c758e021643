"""A list of records in one private file: read again when it changed, replaced whole under a lock."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Generic, TypeVar

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from harness.core.errors import LabError
from harness.core.paths import disk_errors, read_json, write_atomic
from harness.core.records import Record

R = TypeVar("R", bound=Record)
LOCK_TIMEOUT_S = 10


def private_folder(folder: Path) -> None:
    """Make a folder that its owner alone may enter."""
    with disk_errors(folder):
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)


class Shelf(Generic[R]):
    """Records of one kind. Thread-safe; several processes may write."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self._path = path
        self._adapter: TypeAdapter[list[R]] = TypeAdapter(list[kind])  # type: ignore[valid-type]
        self._seen: tuple[int, int, int] | None = None
        self._rows: list[R] = []
        self._lock = threading.Lock()

    def rows(self) -> list[R]:
        """All records, as of now; not to be changed. LabError for a damaged file."""
        with self._lock:
            seen = self._state()
            if seen != self._seen:
                self._rows = self._read() if seen else []
                self._seen = seen
            return self._rows

    @contextlib.contextmanager
    def changed(self) -> Iterator[list[R]]:
        """The records as a list to change; what it holds at the end is on disk, unless it is what was there."""
        private_folder(self._path.parent)
        try:
            with FileLock(self._path.with_suffix(".lock"), timeout=LOCK_TIMEOUT_S, mode=0o600):
                before = self._read() if self._path.exists() else []
                rows = list(before)
                yield rows
                if rows != before:
                    write_atomic(self._path, self._adapter.dump_json(rows, indent=2) + b"\n", "people.record", 0o600)
        except Timeout as error:
            raise LabError(f"{self._path} is locked by another process", "try again") from error

    def _state(self) -> tuple[int, int, int] | None:
        """Changes whenever the file is replaced: each replacement is a file of its own."""
        try:
            found = os.stat(self._path)
        except FileNotFoundError:
            return None
        return found.st_ino, found.st_mtime_ns, found.st_size

    def _read(self) -> list[R]:
        try:
            return self._adapter.validate_python(read_json(self._path))
        except ValidationError as error:
            raise LabError(f"{self._path} is damaged ({error.errors()[0]['msg']})", "restore it from a copy") from error
