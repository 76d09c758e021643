"""LoRA kernels for CPU engines: right in mixed batches, one GEMM per adapter (a `vllm.general_plugins` entry).

vLLM's own torch kernels index the last adapter's weights for rows without an adapter (their index is -1), so base
answers in mixed batches are wrong (vllm#48421, #49656), and they gather an adapter's weights once per token. Here
the rows of a batch are grouped by adapter once per step; each layer then runs two small GEMMs per group and leaves
rows without an adapter alone.

Does not cover what our engines never ask for: adapters on the embedding or the output layer (left out through
`--lora-target-modules`), fully sharded LoRA and classification heads keep vLLM's code.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

ENABLED = "RATCHET_ENGINE"  # inert in any other vLLM of this environment, such as the stock side of a benchmark


def register() -> None:
    """Make CPU engines started by Ratchet use `SegmentedPunica`; vLLM calls this once in each of its processes."""
    if os.environ.get(ENABLED) != "1":
        return
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        wrapper = f"{SegmentedPunica.__module__}.{SegmentedPunica.__qualname__}"
        type(current_platform).get_punica_wrapper = staticmethod(lambda: wrapper)  # type: ignore[method-assign]


@dataclass(frozen=True)
class Segment:
    """The rows of a batch that use the adapter in one slot: a slice where they stand together, else their indices."""

    slot: int
    rows: slice | torch.Tensor

    def take(self, x: torch.Tensor) -> torch.Tensor:
        return x[self.rows] if isinstance(self.rows, slice) else x.index_select(0, self.rows)

    def add(self, y: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
        """`y[rows] += left @ right`, in place."""
        if isinstance(self.rows, slice):
            y[self.rows].addmm_(left, right)
        else:
            y.index_add_(0, self.rows, left @ right)


def slots_of(ids: tuple[int, ...], slot_ids: list[int | None]) -> np.ndarray:
    """The slot of each row (int64), -1 for rows without an adapter; `ids` are adapter ids, 0 for none."""
    row_ids = np.asarray(ids, dtype=np.int64)
    slots = np.full(row_ids.shape, -1, dtype=np.int64)
    for slot, adapter_id in enumerate(slot_ids):
        if adapter_id is not None:
            slots[row_ids == adapter_id] = slot
    return slots


def segments_of(slots: np.ndarray) -> list[Segment]:
    """Group rows by slot, in slot order; rows with slot -1 are in no segment."""
    found = []
    for slot in np.unique(slots[slots >= 0]):
        rows = np.flatnonzero(slots == slot)
        together = rows[-1] - rows[0] + 1 == len(rows)
        where = slice(int(rows[0]), int(rows[-1]) + 1) if together else torch.from_numpy(rows)
        found.append(Segment(int(slot), where))
    return found


class SegmentedPunica(PunicaWrapperCPU):
    """vLLM's punica wrapper with the linear layers done per segment."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._segments: list[Segment] = []

    def update_metadata(
        self, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        """Once per step, before the layers run. Work grows with adapters in use, not with Python steps per token."""
        row_slots = slots_of(mapping.index_mapping, lora_index_to_id)
        sampler_slots = slots_of(mapping.prompt_mapping, lora_index_to_id)
        self._segments = segments_of(row_slots)
        self._token_lora_indices[: len(row_slots)].copy_(torch.from_numpy(row_slots))
        self._sampler_indices[: len(sampler_slots)].copy_(torch.from_numpy(sampler_slots))
        self.indices_len[:2] = [len(row_slots), len(sampler_slots)]
        self.no_lora = not self._segments

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: tuple[torch.Tensor, ...],
        lora_b_stacked: tuple[torch.Tensor, ...],
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: tuple[torch.Tensor, ...] | None = None,
        **kwargs: Any,
    ) -> None:
        """`y[rows, part] += scale * x[rows] @ A[slot].T @ B[slot].T` for every segment and output slice, in place.

        y is [tokens, sum(output_slices)], x [tokens, in], A [slots, 1, rank, in], B [slots, 1, part, rank].
        The adapter's own scaling is already in B.
        """
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        for segment in self._segments:
            rows, start = segment.take(x), 0
            for a, b, size in zip(lora_a_stacked, lora_b_stacked, output_slices, strict=True):
                inner = rows @ a[segment.slot, 0].T
                segment.add(y[:, start : start + size], inner if scale == 1.0 else inner * scale, b[segment.slot, 0].T)
                start += size
