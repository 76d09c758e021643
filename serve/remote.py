"""A registry behind a URL that fsspec knows (`s3://bucket/registry`, `gs://…`, `file:///mnt/share/registry`).

    <url>/<name>.json                    the record, written last
    <url>/adapters/<sha256>/<two files>  by content, so that two machines never write different bytes to one place

Swapping a record is guarded by a lock file made with fsspec's exclusive mode. That is atomic on file systems and on S3
where s3fs uses conditional writes; elsewhere two writers in the same instant can both get in, and the later record
wins. One machine should write; any number may read. S3 needs the package s3fs and its usual credentials.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
from pydantic import ValidationError

from harness.core.errors import InputError, LabError, RegistryError
from harness.core.fingerprint import sha256_of
from harness.core.records import RegistryRecord
from serve import adapter_files
from serve.registry import check_registry_name

HELD = b"held\n"
STAMPS = ("ETag", "etag", "mtime", "LastModified", "created", "size")  # what tells that an object changed


class Remote:
    """One URL. Every call talks to the storage; LabError where that fails."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        try:
            self._fs, self._root = fsspec.core.url_to_fs(self.url, use_listings_cache=False)
        except (ValueError, ImportError) as error:
            raise InputError(
                f"registry {url}: {error}", "use a URL that fsspec knows; s3:// needs `pip install s3fs`"
            ) from error

    def stamps(self) -> dict[str, Any]:
        """Name -> a value that changes with its record; None where the storage tells nothing."""
        with self._errors():
            try:
                listed = self._fs.ls(self._root, detail=True)
            except FileNotFoundError:
                return {}
        found = {}
        for one in listed:
            name = one["name"].rsplit("/", 1)[-1]
            if one["type"] == "file" and name.endswith(".json"):
                told = {key: str(one[key]) for key in STAMPS if one.get(key) is not None}
                found[name.removesuffix(".json")] = sha256_of(told) if set(told) - {"size"} else None
        return found

    def record(self, name: str) -> RegistryRecord:
        """The record of `name`; an empty one where there is none. LabError where it is damaged."""
        path = f"{self._root}/{check_registry_name(name)}.json"
        with self._errors():
            try:
                data = self._fs.cat_file(path)
            except FileNotFoundError:
                return RegistryRecord(name=name, seq=0, versions=[], aliases={}, history=[])
        try:
            return RegistryRecord.model_validate(json.loads(data))
        except (ValueError, ValidationError) as error:
            raise LabError(f"{self.url}/{name}.json is damaged", "push it again from a lab that has it") from error

    def swap(self, record: RegistryRecord, expected: RegistryRecord) -> None:
        """Put `record` in place if what stands there is still `expected`; RegistryError where it is not."""
        path = f"{self._root}/{check_registry_name(record.name)}.json"
        with self._lock(f"{self._root}/{record.name}.lock"):
            if self.record(record.name) != expected:
                raise RegistryError(f"{self.url}/{record.name} changed meanwhile", "run the command again")
            with self._errors():
                self._fs.pipe_file(path, (record.model_dump_json(indent=2) + "\n").encode())

    def has(self, sha256: str) -> bool:
        with self._errors():
            return all(self._fs.exists(f"{self._adapter(sha256)}/{name}") for name in adapter_files.ADAPTER_FILES)

    def store(self, sha256: str, folder: Path) -> None:
        """Upload an adapter by its content; what is there already stays."""
        with self._errors():
            self._fs.makedirs(self._adapter(sha256), exist_ok=True)
            for name in adapter_files.ADAPTER_FILES:
                self._fs.put_file(str(folder / name), f"{self._adapter(sha256)}/{name}")

    def fetch(self, sha256: str, target: Path) -> None:
        """Download an adapter to `target`, whole or not at all. The caller checks what came."""
        fresh = target.with_name(f".{target.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
        fresh.mkdir(parents=True)
        try:
            for name in adapter_files.ADAPTER_FILES:
                with self._errors():
                    self._fs.get_file(f"{self._adapter(sha256)}/{name}", str(fresh / name))
            adapter_files.remove(target)
            fresh.rename(target)
        finally:
            adapter_files.remove(fresh)

    def _adapter(self, sha256: str) -> str:
        return f"{self._root}/adapters/{sha256}"

    @contextlib.contextmanager
    def _lock(self, path: str) -> Iterator[None]:
        try:
            with self._errors():
                self._fs.makedirs(self._root, exist_ok=True)
                try:
                    with self._fs.open(path, "xb") as file:
                        file.write(HELD)  # s3fs puts an empty object in place without asking whether one is there
                except (NotImplementedError, ValueError):  # no exclusive mode here: see the module's text
                    self._fs.pipe_file(path, HELD)
        except FileExistsError:
            raise RegistryError(
                f"{self.url} is being written by another command",
                f"if none runs, delete {path.rsplit('/', 1)[-1]} there",
            ) from None
        try:
            yield
        finally:
            with self._errors():
                self._fs.rm_file(path)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """What storages raise besides OSError (s3fs, gcsfs translate theirs) is a bug, and keeps its traceback."""
        try:
            yield
        except FileExistsError:
            raise
        except OSError as error:
            raise LabError(
                f"{self.url}: {error or type(error).__name__}", "check the URL, network and access"
            ) from error
