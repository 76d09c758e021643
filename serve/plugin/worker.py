"""What an engine's worker tells about itself (`--worker-extension-cls`): asked through `collective_rpc`."""

from __future__ import annotations

from typing import Any


class WorkerReport:
    """Mixed into vLLM's worker class; every name here starts with `ratchet_` so that none can clash."""

    model_runner: Any

    def ratchet_kernels(self) -> list[str]:
        """Qualified class names of the LoRA wrappers in use; empty when LoRA is off."""
        manager = getattr(self.model_runner, "lora_manager", None)
        if manager is None:
            return []
        wrappers = manager._adapter_manager.punica_wrapper_mapping.values()
        return sorted({f"{type(wrapper).__module__}.{type(wrapper).__qualname__}" for wrapper in wrappers})
