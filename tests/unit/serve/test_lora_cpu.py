"""The CPU kernels against the definition, row by row, on every path; and the vLLM fault that they are there for."""

from __future__ import annotations

import subprocess
import sys
from typing import NamedTuple

import numpy as np
import pytest
import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from serve.plugin.lora_cpu import LONG_RUN, Run, SegmentedPunica, groups_of, runs_of, slots_of

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


def test_runs_and_rows() -> None:
    slots = slots_of((0, 9, 9, 7, 0, 9), IDS)
    assert slots.tolist() == [-1, 2, 2, 0, -1, 2]
    assert runs_of(slots) == [Run(2, 1, 3), Run(0, 3, 4), Run(2, 5, 6)]
    runs, rows, in_slots = groups_of(slots, long_run=2)
    assert (runs, rows.tolist(), in_slots.tolist()) == ([Run(2, 1, 3)], [3, 5], [0, 2])
    runs, rows, in_slots = groups_of(slots, long_run=9)
    assert (runs, rows.tolist(), in_slots.tolist()) == ([], [3, 1, 2, 5], [0, 2, 2, 2])
    for nobody in (np.array([-1, -1]), np.empty(0, dtype=np.int64)):
        assert runs_of(nobody) == []
        assert [len(part) for part in groups_of(nobody)] == [0, 0, 0]


class Layer(NamedTuple):
    """A layer as vLLM makes it: zeros until an adapter comes into a slot."""

    a: tuple[torch.Tensor, ...]
    b: tuple[torch.Tensor, ...]
    sizes: tuple[int, ...]

    def put(self, slot: int, seed: int, rank: int) -> None:
        """What vLLM's `set_lora` does: zero the slot, then copy into its first `rank` rows and columns."""
        torch.manual_seed(seed)
        for a, b in zip(self.a, self.b, strict=True):
            a[slot], b[slot] = 0, 0
            a[slot, 0, :rank].copy_(torch.randn(rank, a.shape[3]) / a.shape[3] ** 0.5)
            b[slot, 0, :, :rank].copy_(torch.randn(b.shape[2], rank) / rank**0.5)


def layer(slots: int, rank: int, width: int, sizes: tuple[int, ...], dtype: torch.dtype) -> Layer:
    a = tuple(torch.zeros(slots, 1, rank, width, dtype=dtype) for _ in sizes)
    return Layer(a, tuple(torch.zeros(slots, 1, size, rank, dtype=dtype) for size in sizes), sizes)


def by_definition(made: Layer, y: torch.Tensor, x: torch.Tensor, slots: np.ndarray, scale: float) -> torch.Tensor:
    """Row by row and slice by slice, in fp64."""
    found, ends = y.double(), np.cumsum(made.sizes).tolist()
    for row, slot in enumerate(slots):
        for a, b, size, end in zip(made.a, made.b, made.sizes, ends, strict=True):
            if slot >= 0:
                inner = a[slot, 0].double() @ x[row].double()
                found[row, end - size : end] += scale * (b[slot, 0].double() @ inner)
    return found


TOLERANCE = {torch.float32: 2e-5, torch.bfloat16: 0.06, torch.float16: 0.01}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("dtype", "rank"),
    [(torch.float32, 16), (torch.bfloat16, 8), (torch.bfloat16, 64), (torch.float32, 1), (torch.float16, 16)],
    ids=str,
)
def test_random_batches_equal_the_definition(seed: int, dtype: torch.dtype, rank: int) -> None:
    """Prompts (long runs), decoding rows and base rows in one batch, slots filled, refilled and emptied between steps.

    Rank 1 and fp16 take the path without `add_rows`; odd widths test what vectors leave over.
    """
    draw = np.random.default_rng(seed)
    wrapper = SegmentedPunica(1024, 256, "cpu")
    sizes = tuple(int(size) for size in draw.integers(3, 70, size=draw.integers(1, 4)))
    made = [layer(5, rank, int(draw.integers(5, 80)), sizes, dtype) for _ in range(2)]
    ids: list[int | None] = [None] * 5
    for step in range(6):
        slot = int(draw.integers(5))
        ids[slot] = 100 + step
        for one in made:
            one.put(slot, seed * 100 + step, int(draw.integers(1, rank + 1)))
        present = [0, *(adapter for adapter in ids if adapter)]
        lengths = [1] * int(draw.integers(0, 20)) + [int(draw.integers(2, 3 * LONG_RUN))] * int(draw.integers(0, 3))
        mapping = [int(owner) for n in lengths for owner in [draw.choice(present)] * n] or [ids[slot] or 0]
        wrapper.update_metadata(LoRAMapping(tuple(mapping), (), is_prefill=True), ids, 6, 100)
        for one in made:
            x = torch.randn(len(mapping), one.a[0].shape[3]).to(dtype)
            y = torch.randn(len(mapping), sum(sizes)).to(dtype)
            slots, scale = slots_of(tuple(mapping), ids), float(draw.choice([1.0, 0.5]))
            expected, before = by_definition(one, y, x, slots, scale), y.clone()
            wrapper.add_lora_linear(y, x, one.a, one.b, scale, sizes)
            torch.testing.assert_close(y.double(), expected, atol=TOLERANCE[dtype], rtol=TOLERANCE[dtype])
            assert torch.equal(y[slots < 0], before[slots < 0]), "rows without an adapter keep every bit"


@pytest.mark.parametrize("rows", [3, LONG_RUN + 1])
def test_a_slot_used_again_answers_with_what_is_in_it(rows: int) -> None:
    """The weights live in one place: what is written into a slot after the first step is what the next step reads."""
    wrapper = SegmentedPunica(64, 16, "cpu")
    made = layer(2, 8, 24, (16, 8), torch.float32)
    x, answers = torch.randn(rows, 24), []
    for adapter in (5, 6, 5):  # the same id again, with the same slot: only what the slot holds may count
        made.put(1, seed=len(answers), rank=4)
        y = torch.zeros(rows, 24)
        wrapper.update_metadata(LoRAMapping((adapter,) * rows, (), is_prefill=True), [None, adapter], 3, 100)
        wrapper.add_lora_linear(y, x, made.a, made.b, 1.0, made.sizes)
        expected = by_definition(made, y * 0, x, np.ones(rows, dtype=int), 1.0)
        torch.testing.assert_close(y.double(), expected, atol=2e-5, rtol=2e-5)
        answers.append(y)
    assert not torch.allclose(answers[0], answers[1])
    assert not torch.allclose(answers[0], answers[2])


def test_outputs_that_are_not_contiguous_and_fp32_on_bf16_weights() -> None:
    made = layer(2, 8, 24, (16, 8), torch.bfloat16)
    made.put(0, seed=1, rank=8)
    x = torch.randn(4, 24)
    wide = torch.zeros(4, 48)
    wrapper = SegmentedPunica(64, 16, "cpu")
    wrapper.update_metadata(LoRAMapping((3, 0, 3, 3), (), is_prefill=True), [3, None], 3, 100)
    wrapper.add_lora_linear(wide[:, ::2], x, made.a, made.b, 1.0, made.sizes)
    expected = by_definition(made, torch.zeros(4, 24), x, np.array([0, -1, 0, 0]), 1.0)
    torch.testing.assert_close(wide[:, ::2].double(), expected, atol=0.05, rtol=0.05)
    assert torch.equal(wide[:, 1::2], torch.zeros(4, 24))


def test_infinity_and_nan_stay_in_bf16() -> None:
    """Rounding works on bits, and must not make a number of either."""
    made = layer(1, 8, 8, (8,), torch.bfloat16)
    made.put(0, seed=1, rank=8)
    y = torch.tensor([[float("nan"), float("inf"), -float("inf"), 3e38, 0, 0, 0, 0]]).bfloat16()
    wrapper = SegmentedPunica(64, 16, "cpu")
    wrapper.update_metadata(LoRAMapping((3,), (), is_prefill=True), [3], 2, 100)
    wrapper.add_lora_linear(y, torch.zeros(1, 8).bfloat16(), made.a, made.b, 1.0, made.sizes)
    assert y[0, 0].isnan()
    assert y[0, 1:].tolist() == [float("inf"), -float("inf"), torch.tensor(3e38).bfloat16().item(), 0, 0, 0, 0]


def test_numba_waits_until_vllm_has_looked_through_all_modules() -> None:
    """vLLM's worker fails when numba is there before it (triton_utils.dispatcher). A fresh interpreter shows it."""
    asked = "import sys, serve.plugin.lora_cpu as plugin; plugin.register(); print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("False")
