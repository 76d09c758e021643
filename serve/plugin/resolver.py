"""Finds `name@vN` in the registry when it is first asked for (a `vllm.general_plugins` entry; LoRAResolver).

vLLM keeps an answer for ever, so only immutable versions are answered here, never an alias; the gatekeeper turns
aliases into versions and refuses unknown names before vLLM sees them. Candidates are loaded through serve.adapters.
"""

from __future__ import annotations

import os
from pathlib import Path

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

from harness.core.errors import InputError
from serve.plugin.lora_cpu import ENABLED
from serve.registry import parse, version_folder


def register() -> None:
    """Offer the registry's versions to engines started by Ratchet; vLLM calls this once in each of its processes."""
    registry = os.environ.get("RATCHET_REGISTRY")
    if os.environ.get(ENABLED) == "1" and registry:
        LoRAResolverRegistry.register_resolver("ratchet", VersionResolver(Path(registry)))


class VersionResolver(LoRAResolver):
    """Answers `name@vN` with the folder `<registry>/<name>/vN`, and nothing else."""

    def __init__(self, registry: Path) -> None:
        self.registry = registry.resolve()

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """None when there is no such version. vLLM sets the id: the 1 here only has to be positive."""
        folder = self.folder(lora_name)
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder)) if folder else None

    def folder(self, lora_name: str) -> Path | None:
        """The version's folder, if the name is one of a version and the folder lies inside the registry."""
        try:
            reference = parse(lora_name)
        except InputError:
            return None
        if reference.version is None:
            return None
        folder = version_folder(self.registry, reference.name, reference.version).resolve()
        inside = folder.is_relative_to(self.registry)
        return folder if inside and (folder / "adapter_config.json").is_file() else None
