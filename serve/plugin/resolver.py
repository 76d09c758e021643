"""Finds `name@vN` in the registry when it is first asked for (a `vllm.general_plugins` entry; LoRAResolver).

vLLM keeps an answer for ever, so only immutable versions are answered here, never an alias; the gatekeeper turns
aliases into versions and refuses unknown names before vLLM sees them. Candidates are loaded through serve.adapters.
What is handed over lies in the engine's own folder, checked: vLLM reads an adapter that it evicted again in the middle
of its loop, where a missing or changed file would end the engine.
"""

from __future__ import annotations

import logging
import os

from vllm.lora.request import LoRARequest
from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry

from harness.core.errors import RatchetError
from serve.plugin.lora_cpu import ENABLED
from serve.plugin.metrics import count_load
from serve.plugin.ready import Ready, ready_from_environment

log = logging.getLogger("ratchet.resolver")


def register() -> None:
    """Offer the registry's versions to engines started by Ratchet; vLLM calls this once in each of its processes."""
    ready = ready_from_environment() if os.environ.get(ENABLED) == "1" else None
    if ready:
        LoRAResolverRegistry.register_resolver("ratchet", VersionResolver(ready))


class VersionResolver(LoRAResolver):
    """Answers `name@vN` with a folder of the engine's own, and nothing else."""

    def __init__(self, ready: Ready) -> None:
        self._ready = ready

    async def resolve_lora(self, base_model_name: str, lora_name: str) -> LoRARequest | None:
        """None when there is no such version. vLLM sets the id: the 1 here only has to be positive."""
        try:
            folder = await self._ready.folder(lora_name)
        except RatchetError as error:
            log.warning("%s", error.one_line())
            return None
        count_load(lora_name)
        return LoRARequest(lora_name=lora_name, lora_int_id=1, lora_path=str(folder))
