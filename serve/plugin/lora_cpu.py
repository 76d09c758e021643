"""LoRA kernels for CPU engines: right in mixed batches, and cheap beside the base (a `vllm.general_plugins` entry).

vLLM's own torch kernels index the last adapter's weights for rows without an adapter (their index is -1), so base
answers in mixed batches are wrong (vllm#48421, #49656), and they gather an adapter's weights once per token. Here
a step's rows are grouped once: runs of many rows of one adapter (prompts) are two GEMMs each per layer, all other
rows (decoding) are one compiled call per layer (serve.plugin.lora_rows). Rows without an adapter are left alone.

Both want a layer's slices in one block: A as [slots, slices * rank, in], B as [slots, rank, out]. `Weights` moves
vLLM's tensors there once and leaves them as views, so what vLLM writes into a slot is what the kernels read: there
is no copy to go stale.

Does not cover what our engines never ask for: adapters on the embedding or the output layer (left out through
`--lora-target-modules`), fully sharded LoRA and classification heads keep vLLM's code.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

ENABLED = "RATCHET_ENGINE"  # inert in any other vLLM of this environment, such as the stock side of a benchmark
RANKS = 8  # `add_rows` takes ranks that are a multiple, and vLLM's larger ones all are
LONG_RUN = 32  # rows; from here on a GEMM is faster than `add_rows` (measured with ranks 16, fp32 and bf16)
Stack = tuple[torch.Tensor, ...]


def register() -> None:
    """Make CPU engines started by Ratchet use `SegmentedPunica`; vLLM calls this once in each of its processes."""
    if os.environ.get(ENABLED) != "1":
        return
    from vllm.platforms import current_platform

    if current_platform.is_cpu():
        wrapper = f"{SegmentedPunica.__module__}.{SegmentedPunica.__qualname__}"
        type(current_platform).get_punica_wrapper = staticmethod(lambda: wrapper)  # type: ignore[method-assign]


class Run(NamedTuple):
    """Neighbouring rows `start` to `stop` that use the adapter in `slot`."""

    slot: int
    start: int
    stop: int


class Groups(NamedTuple):
    """A step's rows that use adapters: runs of many rows, and all others as rows sorted by slot (int64, int64)."""

    runs: list[Run]
    rows: np.ndarray
    slots: np.ndarray


def slots_of(ids: tuple[int, ...], slot_ids: list[int | None]) -> np.ndarray:
    """The slot of each row (int64), -1 for rows without an adapter; `ids` are adapter ids, 0 for none."""
    row_ids = np.asarray(ids, dtype=np.int64)
    slots = np.full(row_ids.shape, -1, dtype=np.int64)
    for slot, adapter_id in enumerate(slot_ids):
        if adapter_id is not None:
            slots[row_ids == adapter_id] = slot
    return slots


def runs_of(slots: np.ndarray) -> list[Run]:
    """Neighbouring rows of one slot, in row order; rows with slot -1 are in none."""
    starts = np.flatnonzero(np.diff(slots, prepend=-2))
    stops = [*starts[1:].tolist(), len(slots)]
    found = zip(slots[starts].tolist(), starts.tolist(), stops[: len(starts)], strict=True)
    return [Run(slot, start, stop) for slot, start, stop in found if slot >= 0]


def groups_of(slots: np.ndarray, long_run: int = LONG_RUN) -> Groups:
    """Who is done how. Every row with a slot is in exactly one run or in `rows`."""
    runs = [run for run in runs_of(slots) if run.stop - run.start >= long_run]
    left = slots.copy()
    for run in runs:
        left[run.start : run.stop] = -1
    rows = np.flatnonzero(left >= 0)
    rows = rows[np.argsort(left[rows], kind="stable")]
    return Groups(runs, rows, left[rows])


class Weights:
    """One layer's adapters: A [slots, slices * rank, in], B [slots, rank, out]; vLLM's tensors are views of them."""

    def __init__(self, a_stacked: Stack, b_stacked: Stack) -> None:
        """Moves what vLLM's tensors hold ([slots, 1, rank, in], [slots, 1, out, rank]); they keep shape and values."""
        rank = a_stacked[0].shape[2]
        with torch.inference_mode(a_stacked[0].is_inference()):
            self.a = torch.cat([a[:, 0] for a in a_stacked], dim=1)
            self.b = torch.cat([b[:, 0].transpose(1, 2) for b in b_stacked], dim=2)
            start = 0
            for i, (a, b) in enumerate(zip(a_stacked, b_stacked, strict=True)):
                a.set_(self.a[:, i * rank : (i + 1) * rank].unsqueeze(1))
                stop = start + b.shape[2]
                b.set_(self.b[:, :, start:stop].transpose(1, 2).unsqueeze(1))
                start = stop
        self.stacks = (a_stacked, b_stacked)  # held, so that nothing else gets their ids
        self.rank = rank
        self.sizes = [b.shape[2] for b in b_stacked]
        self.compiled = self.a.dtype in (torch.float32, torch.bfloat16) and rank % RANKS == 0
        if self.compiled:
            self.arrays = array(self.a), array(self.b), np.array(self.sizes, dtype=np.int64)


def array(tensor: torch.Tensor) -> np.ndarray:
    """The tensor's memory as numpy sees it; bf16, which numpy lacks, as uint16."""
    found: np.ndarray = (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
    return found


class SegmentedPunica(PunicaWrapperCPU):
    """vLLM's punica wrapper with the linear layers done by group."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._slots = np.empty(0, dtype=np.int64)
        self._groups = groups_of(self._slots)
        self._layers: dict[tuple[int, int], Weights] = {}
        self._add_rows = compiled(getattr(kwargs.get("lora_config"), "lora_dtype", None))
        # Without hardware for it a bf16 GEMM runs at a tenth of the speed of an fp32 one (measured, AVX2).
        self._gemm_bf16 = bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())

    def update_metadata(
        self, mapping: Any, lora_index_to_id: list[int | None], max_loras: int, vocab_size: int, **kwargs: Any
    ) -> None:
        """Once per step, before the layers run. Work grows with adapters in use, not with Python steps per token."""
        self._slots = slots_of(mapping.index_mapping, lora_index_to_id)
        sampler_slots = slots_of(mapping.prompt_mapping, lora_index_to_id)
        self._groups = groups_of(self._slots)
        self._token_lora_indices[: len(self._slots)].copy_(torch.from_numpy(self._slots))
        self._sampler_indices[: len(sampler_slots)].copy_(torch.from_numpy(sampler_slots))
        self.indices_len[:2] = [len(self._slots), len(sampler_slots)]
        self.no_lora = not self._groups.runs and not len(self._groups.rows)

    def add_lora_linear(
        self,
        y: torch.Tensor,
        x: torch.Tensor,
        lora_a_stacked: Stack,
        lora_b_stacked: Stack,
        scale: float,
        output_slices: tuple[int, ...],
        *,
        buffer: Stack | None = None,
        **kwargs: Any,
    ) -> None:
        """`y[row, part] += scale * x[row] @ A[slot].T @ B[slot].T` for every row with a slot and every slice, in place.

        y is [tokens, sum(output_slices)], x [tokens, in], A [slots, 1, rank, in], B [slots, 1, part, rank].
        The adapter's own scaling is already in B.
        """
        if self.no_lora:
            return
        y, x = y.view(-1, y.shape[-1]), x.view(-1, x.shape[-1])
        weights = self._weights(lora_a_stacked, lora_b_stacked)
        runs, rows, slots = self._groups
        if not (weights.compiled and x.dtype == y.dtype == weights.a.dtype and y.is_contiguous() and x.is_contiguous()):
            runs, rows = runs_of(self._slots), rows[:0]
        for run in runs:
            self._add_run(y[run.start : run.stop], x[run.start : run.stop], run.slot, weights, scale)
        if len(rows):
            a, b, sizes = weights.arrays
            self._add_rows(array(y), array(x), a, b, rows, slots, sizes, np.float32(scale))

    def _weights(self, a_stacked: Stack, b_stacked: Stack) -> Weights:
        """The layer that owns these stacks; met for the first time, they move into one block."""
        key = (id(a_stacked[0]), id(b_stacked[0]))
        found = self._layers.get(key)
        if found is None:
            found = self._layers[key] = Weights(a_stacked, b_stacked)
        return found

    def _add_run(self, y: torch.Tensor, x: torch.Tensor, slot: int, weights: Weights, scale: float) -> None:
        """One adapter's rows: y [rows, out], x [rows, in]."""
        a, b, start = weights.a[slot], weights.b[slot], 0
        if y.dtype == torch.bfloat16 and not self._gemm_bf16:
            a, b, x = a.float(), b.float(), x.float()
        inner = x.to(a.dtype) @ a.T
        for i, size in enumerate(weights.sizes):
            part, left = y[:, start : start + size], inner[:, i * weights.rank : (i + 1) * weights.rank]
            right = b[:, start : start + size]
            if y.dtype == a.dtype:
                part.addmm_(left, right, alpha=scale)
            else:
                part.add_(left @ right, alpha=scale)
            start += size


def compiled(dtype: torch.dtype | None) -> Callable[..., None]:
    """`add_rows`, compiled for a dtype before requests come: seconds the first time, then read from numba's cache."""
    # Only now: while a worker starts, vLLM (triton_utils.dispatcher) looks into whatever modules have, and a library
    # wrapper of numba's, which has any attribute that is asked for, ends it.
    from serve.plugin.lora_rows import add_rows

    if dtype in (torch.float32, torch.bfloat16):
        zeros = [array(torch.zeros(shape, dtype=dtype)) for shape in ((1, 8), (1, 8), (1, 8, 8), (1, 8, 8))]
        none = np.empty(0, dtype=np.int64)
        add_rows(*zeros, none, none, np.array([8]), np.float32(1))
    found: Callable[..., None] = add_rows
    return found
