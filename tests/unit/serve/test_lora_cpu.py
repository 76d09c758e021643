"""The CPU kernels against the definition, row by row; and the vLLM fault that they are there for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from serve.plugin.lora_cpu import Segment, SegmentedPunica, segments_of, slots_of

SIZES = (6, 4, 4)
IDS = [7, None, 9]  # adapter ids in slots 0 and 2


def layers() -> tuple[tuple[torch.Tensor, ...], tuple[torch.Tensor, ...]]:
    torch.manual_seed(0)
    return tuple(torch.randn(3, 1, 2, 5) for _ in SIZES), tuple(torch.randn(3, 1, size, 2) for size in SIZES)


def run(
    wrapper: PunicaWrapperCPU, ids: list[int], dtype: torch.dtype = torch.float32
) -> tuple[torch.Tensor, torch.Tensor]:
    """(what the wrapper made of zeros, what the definition says), both [rows, 14]."""
    a, b = layers()
    x = torch.randn(len(ids), 5)
    y = torch.zeros(len(ids), sum(SIZES), dtype=dtype)
    wrapper.update_metadata(LoRAMapping(tuple(ids), tuple(ids), is_prefill=True), IDS, 3, 100)
    wrapper.add_lora_linear(y, x.to(dtype), tuple(t.to(dtype) for t in a), tuple(t.to(dtype) for t in b), 1.0, SIZES)
    expected = torch.zeros(len(ids), sum(SIZES))
    for row, adapter in enumerate(ids):
        if adapter:
            slot = IDS.index(adapter)
            expected[row] = torch.cat([b[i][slot, 0] @ (a[i][slot, 0] @ x[row]) for i in range(len(SIZES))])
    return y.float(), expected


@pytest.mark.parametrize(
    "ids", [[0, 0, 0], [7], [7, 7, 9, 9], [0, 7, 0, 9, 7, 0], [9, 0, 0, 0, 9], [7, 9] * 8 + [0]], ids=str
)
def test_every_row_gets_its_own_adapter_or_none(ids: list[int]) -> None:
    y, expected = run(SegmentedPunica(64, 16, "cpu"), ids)
    torch.testing.assert_close(y, expected, atol=1e-5, rtol=1e-5)


def test_bf16_is_as_close_as_bf16_can_be() -> None:
    y, expected = run(SegmentedPunica(64, 16, "cpu"), [0, 7, 9, 7], torch.bfloat16)
    torch.testing.assert_close(y, expected, atol=0.15, rtol=0.05)


def test_stock_kernels_still_touch_rows_without_an_adapter() -> None:
    """vllm#48421. When this fails, vLLM was mended: measure whether `SegmentedPunica` is still worth having."""
    y, expected = run(PunicaWrapperCPU(64, 16, "cpu"), [0, 7])
    assert not torch.allclose(y[0], expected[0])


def test_segments() -> None:
    slots = slots_of((0, 9, 9, 7, 0), IDS)
    assert slots.tolist() == [-1, 2, 2, 0, -1]
    assert segments_of(slots) == [Segment(0, slice(3, 4)), Segment(2, slice(1, 3))]
    scattered = segments_of(np.array([2, -1, 2]))[0]
    assert isinstance(scattered.rows, torch.Tensor)
    assert scattered.rows.tolist() == [0, 2]
    assert segments_of(np.array([-1, -1])) == []
