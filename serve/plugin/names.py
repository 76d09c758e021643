"""What a model name means at this moment: the base, a loaded adapter, or a version of the registry."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError, LabError, RegistryError
from harness.core.records import RegistryRecord, Version
from serve.plugin.call import Call, Refused
from serve.registry import find, parse, record_path


class Named(NamedTuple):
    """`model` is immutable; `alias` is set where one was asked for."""

    model: str
    alias: str | None = None


class Names:
    """Resolves names per request. Records are cached by their file's identity; unknown names leave no trace."""

    def __init__(self, base: str, base_sha256: str, registry: Path | None) -> None:
        self._base, self._base_sha256, self._registry = base, base_sha256, registry
        self._records: dict[str, tuple[tuple[int, int], RegistryRecord]] = {}

    def resolve(self, call: Call, loaded: Mapping[str, Any]) -> Named:
        """The immutable name behind `call.asked`. Refused (404) for everything that does not exist on this base."""
        name = call.asked
        if name == self._base or name in loaded:
            return Named(name)
        try:
            reference = parse(name)
            version = find(self.record(reference.name), reference)
        except (InputError, RegistryError, LabError) as error:
            problem = error.problem if isinstance(error, RegistryError) else f"the model {name[:80]!r} does not exist"
            raise Refused(404, "NotFoundError", problem, "model") from error
        if self._base_sha256 and version.base_sha256 != self._base_sha256:
            raise Refused(404, "NotFoundError", f"{name} belongs to another base than {self._base}", "model")
        alias = f"{reference.name}@{reference.alias}" if reference.alias else None
        return Named(f"{reference.name}@v{version.version}", alias)

    def records(self) -> list[RegistryRecord]:
        """Of every name of the registry; versions of other bases are still in them."""
        if self._registry is None:
            return []
        found = []
        for path in sorted(self._registry.glob("*.json")):
            with contextlib.suppress(LabError):  # a damaged one is refused when asked for; the others are there
                found.append(self.record(path.stem))
        return found

    def serves(self, version: Version) -> bool:
        """Whether this engine can answer with a version: it was made for this base."""
        return not self._base_sha256 or version.base_sha256 == self._base_sha256

    def record(self, name: str) -> RegistryRecord:
        """The registry's record of `name`; RegistryError where there is none."""
        if self._registry is None:
            raise RegistryError(f"the model {name!r} does not exist")
        path = record_path(self._registry, name)
        try:
            status = path.stat()
        except FileNotFoundError:
            raise RegistryError(f"the model {name!r} does not exist") from None
        stamp = (status.st_mtime_ns, status.st_ino)
        cached = self._records.get(name)
        if cached is None or cached[0] != stamp:
            cached = self._records[name] = (stamp, RegistryRecord.read(path))
        return cached[1]
