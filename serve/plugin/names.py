"""What a model name means at this moment: the base, a loaded adapter, or a version of the registry."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from harness.core.errors import InputError, LabError, RegistryError
from harness.core.records import RegistryRecord, Version
from serve.plugin.call import Call, Refused
from serve.registry import Reference, find, parse
from serve.routing import identity, pick, sampled
from serve.storage import source
from serve.succession import is_coming


class Named(NamedTuple):
    """`model` is immutable; `alias` is set where one was asked for; `shadow` answers too, unseen."""

    model: str
    alias: str | None = None
    shadow: str | None = None


class Names:
    """Resolves names per request; unknown ones leave no trace. `registry` is a folder or a URL.

    `engine`: the folder of the engine, which says whether another base is about to take over.
    """

    def __init__(self, base: str, base_sha256: str, registry: str | Path | None, engine: Path | None = None) -> None:
        self.base, self._base_sha256, self._engine = base, base_sha256, engine
        self.source = source(registry) if registry else None

    def resolve(self, call: Call, loaded: Mapping[str, Any]) -> Named:
        """The immutable name behind `call.asked`. Refused (404) for everything that does not exist on this base.

        An alias with weights answers the same user with the same version: see serve.routing.
        """
        name = call.asked
        if name == self.base or name in loaded:
            return Named(name)
        try:
            reference = parse(name)
            record = self.record(reference.name)
            version = find(record, reference)
            if reference.alias is None:
                return Named(self._served(name, reference.name, version))
            return self._behind(call, reference, record, version)
        except (InputError, RegistryError, LabError) as error:
            problem = error.problem if isinstance(error, RegistryError) else f"the model {name[:80]!r} does not exist"
            raise Refused(404, "NotFoundError", problem, "model") from error

    def record(self, name: str) -> RegistryRecord:
        """The registry's record of `name`; RegistryError where there is none."""
        if self.source is None:
            raise RegistryError(f"the model {name!r} does not exist")
        return self.source.record(name)

    def records(self) -> list[RegistryRecord]:
        """Of every name of the registry; versions of other bases are still in them."""
        return self.source.records() if self.source else []

    def serves(self, version: Version) -> bool:
        """Whether this engine can answer with a version: it is there, and made for this base, or this base itself."""
        return self._is_here(version) and not version.removed

    def _is_here(self, version: Version) -> bool:
        if not self._base_sha256:
            return version.kind == "lora"
        return version.base_sha256 == self._base_sha256

    def _behind(self, call: Call, reference: Reference, record: RegistryRecord, version: Version) -> Named:
        """What an alias stands for in this call."""
        alias = f"{reference.name}@{reference.alias}"
        weights, shadow = record.weights.get(reference.alias or ""), record.shadows.get(reference.alias or "")
        if weights or shadow:
            who = identity(call.body, call.headers, call.key.key_id if call.key else None)
        if weights:
            version = find(record, Reference(reference.name, None, pick(alias, weights, who)))
        model = self._served(call.asked, reference.name, version)
        second = next((one for one in record.versions if shadow and one.version == shadow.version), None)
        if not shadow or not second or not self.serves(second) or second.version == version.version:
            return Named(model, alias)
        unseen = self._served(call.asked, reference.name, second)
        return Named(model, alias, unseen if sampled(f"{alias}:shadow", shadow.share, who) else None)

    def _served(self, asked: str, name: str, version: Version) -> str:
        if self._is_here(version):
            return self.base if version.kind == "full" else f"{name}@v{version.version}"
        if is_coming(self._engine, version.base_sha256):
            message = f"{asked} moves to another base at this moment: ask again"
            raise Refused(503, "ServiceUnavailableError", message, "model", {"retry-after": "1"})
        what = "a full fine-tune" if version.kind == "full" else "made for another base"
        raise Refused(404, "NotFoundError", f"{asked} is {what}; this engine serves {self.base}", "model")
