"""Where an engine reads the registry from: a folder (perhaps shared by machines), or a URL that fsspec knows.

A folder is read as `serve.registry` writes it, a record again whenever its file changes. A URL holds what `push` puts
there (serve.remote): records are read again every few seconds in the background, adapters are fetched once by their
content hash. Either way an adapter that an engine uses lies in a folder of that engine, verified, so that nobody can
take it away or change it while vLLM may still read it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from harness.core.errors import AdapterRefused, LabError, RatchetError, RegistryError
from harness.core.paths import disk_errors
from harness.core.records import RegistryRecord, Version
from serve import adapter_files
from serve.registry import record_path, version_folder

REFRESH_S = 2.0  # how old a record from a URL may be: an alias moves for everybody within about this long
log = logging.getLogger("ratchet.storage")


class Source(Protocol):
    """Reads one registry."""

    def record(self, name: str) -> RegistryRecord:
        """RegistryError where there is none, LabError where it is damaged."""

    def records(self) -> list[RegistryRecord]:
        """Of every name; a damaged one is left out."""

    def place(self, name: str, version: Version, target: Path) -> None:
        """Put the version's two files at `target`. RatchetError where they are not there, or not what it names."""


def is_url(location: str | Path) -> bool:
    return "://" in str(location)


def source(location: str | Path) -> Source:
    """The reader for a folder or a URL."""
    return UrlSource(str(location)) if is_url(location) else FolderSource(Path(location))


class FolderSource:
    """A registry's own folder. Records are cached by their file's identity; unknown names leave no trace."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._records: dict[str, tuple[tuple[int, int], RegistryRecord]] = {}

    def record(self, name: str) -> RegistryRecord:
        path = record_path(self.folder, name)
        try:
            status = path.stat()
        except OSError:
            raise _unknown(name) from None
        stamp = (status.st_mtime_ns, status.st_ino)
        cached = self._records.get(name)
        if cached is None or cached[0] != stamp:
            cached = self._records[name] = (stamp, RegistryRecord.read(path))
        return cached[1]

    def records(self) -> list[RegistryRecord]:
        found = []
        for path in sorted(self.folder.glob("*.json")):
            try:
                found.append(self.record(path.stem))
            except RatchetError as error:
                log.warning("%s", error.one_line())
        return found

    def place(self, name: str, version: Version, target: Path) -> None:
        folder = version_folder(self.folder, name, version.version)
        if not folder.is_dir():
            raise RegistryError(f"the files of {name}@v{version.version} are not in {self.folder}", "restore them")
        adapter_files.copy(folder, target, link=True)


class UrlSource:
    """A registry behind a URL. Not in the event loop's way: only the first read waits for the storage."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        from serve.remote import Remote

        self._remote, self._clock = Remote(url), clock
        self._records: dict[str, RegistryRecord] = {}
        self._stamps: dict[str, Any] = {}
        self._read_at: float | None = None
        self._reading = threading.Lock()

    def record(self, name: str) -> RegistryRecord:
        self._refresh()
        if name not in self._records:
            raise _unknown(name)
        return self._records[name]

    def records(self) -> list[RegistryRecord]:
        self._refresh()
        return [self._records[name] for name in sorted(self._records)]

    def place(self, name: str, version: Version, target: Path) -> None:
        self._remote.fetch(version.adapter_sha256, target)

    def _refresh(self) -> None:
        """Read what changed: at once the first time, else in the background and by one thread only."""
        if self._read_at is None:
            with self._reading:
                if self._read_at is None:
                    self._read()
        elif self._clock() - self._read_at > REFRESH_S and self._reading.acquire(blocking=False):
            threading.Thread(target=self._read_again, daemon=True, name="ratchet-registry").start()

    def _read_again(self) -> None:
        try:
            self._read()
        except RatchetError as error:  # the last known aliases are better than none
            log.warning("%s", error.one_line())
        finally:
            self._reading.release()

    def _read(self) -> None:
        self._read_at = self._clock()
        stamps = self._remote.stamps()
        changed = [name for name, stamp in stamps.items() if stamp is None or stamp != self._stamps.get(name)]
        records = {name: record for name, record in self._records.items() if name in stamps}
        for name in changed:
            try:
                records[name] = self._remote.record(name)
            except (LabError, ValidationError) as error:
                log.warning("%s", error)
                stamps.pop(name)
        self._records, self._stamps = records, stamps


class Shelf:
    """The adapters that one engine uses, each in its own folder below `folder`: linked or fetched, then checked."""

    def __init__(self, source: Source, folder: Path, base: Path | None, max_lora_rank: int) -> None:
        self.source, self.folder = source, folder
        self._base, self._max_lora_rank = base, max_lora_rank

    def adapter(self, name: str, version: Version) -> Path:
        """The version's folder, ready for vLLM. RatchetError says why it cannot be served; nothing is left then.

        Blocks while files are copied and hashed. What is there already was checked when it came.
        """
        target = self.folder / name / f"v{version.version}"
        if target.is_dir():
            return target
        if version.kind != "lora":
            raise AdapterRefused(f"{name}@v{version.version} is a full fine-tune", "it needs an engine of its own")
        fresh = target.with_name(f".{target.name}.checking")
        try:
            with disk_errors(target):
                self._place(name, version, fresh)
                fresh.rename(target)
        except RatchetError:
            adapter_files.remove(fresh)
            raise
        return target

    def _place(self, name: str, version: Version, fresh: Path) -> None:
        self.source.place(name, version, fresh)
        if adapter_files.content_sha256(fresh) != version.adapter_sha256:
            problem = f"the files of {name}@v{version.version} are damaged"
            raise AdapterRefused(problem, "restore them, or promote it again")
        adapter_files.check_files(fresh, self._base, self._max_lora_rank)


def _unknown(name: str) -> RegistryError:
    return RegistryError(f"the model {name!r} does not exist")
