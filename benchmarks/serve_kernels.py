"""A child process of benchmarks.serve: what adapters cost in one step of the 58 M base, without the rest of vLLM.

`python -m benchmarks.serve_kernels DTYPE` prints {step: {"ours_ms", "stock_ms", "base_ms"}}: processor time of one
thread for all linear layers of a step, adapters on Ratchet's kernels, on vLLM's own, and the base's GEMMs alone.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch
from vllm.lora.layers import LoRAMapping
from vllm.lora.punica_wrapper.punica_cpu import PunicaWrapperCPU

from benchmarks.serve_models import SHAPE
from serve.plugin.lora_cpu import SegmentedPunica

RANK, SLOTS, ROWS = 16, 32, 1024
REPEATS, WARM_UPS = 7, 2
HIDDEN, INNER = SHAPE["hidden_size"], SHAPE["intermediate_size"]
MODULES = [(HIDDEN, (HIDDEN,) * 3), (HIDDEN, (HIDDEN,)), (HIDDEN, (INNER,) * 2), (INNER, (HIDDEN,))]
# step: the adapter of each row, 0 for none
STEPS = {
    "16 rows, base": [0] * 16,
    "16 rows, 1 adapter": [1] * 16,
    "16 rows, 8 adapters": [1 + row % 8 for row in range(16)],
    "32 rows, 32 adapters": [1 + row for row in range(32)],
    "4 prompts of 128, 4 adapters, and 12 rows": [1 + row // 128 for row in range(512)] + list(range(5, 17)),
}


class Layer(NamedTuple):
    """One linear layer of the base, and its adapters as vLLM stacks them."""

    sizes: tuple[int, ...]
    weight: torch.Tensor
    a: tuple[torch.Tensor, ...]
    b: tuple[torch.Tensor, ...]


def layers(dtype: torch.dtype) -> list[Layer]:
    return [
        Layer(
            sizes,
            torch.randn(sum(sizes), width, dtype=dtype),
            tuple(torch.randn(SLOTS, 1, RANK, width, dtype=dtype) for _ in sizes),
            tuple(torch.randn(SLOTS, 1, size, RANK, dtype=dtype) for size in sizes),
        )
        for _ in range(SHAPE["num_hidden_layers"])
        for width, sizes in MODULES
    ]


def cpu_ms(work: Callable[[], None]) -> float:
    """The least of several runs: what others on the machine add only makes it more."""
    took = []
    for _ in range(WARM_UPS + REPEATS):
        started = time.process_time()
        work()
        took.append((time.process_time() - started) * 1e3)
    return min(took[WARM_UPS:])


def step(made: list[Layer], ids: list[int], dtype: torch.dtype) -> dict[str, float]:
    """One step's costs; `ids` is the adapter of each row."""
    slots: list[int | None] = [slot + 1 for slot in range(SLOTS)]
    inputs = {width: torch.randn(len(ids), width, dtype=dtype) for width in (HIDDEN, INNER)}
    outputs = {sizes: torch.randn(len(ids), sum(sizes), dtype=dtype) for _, sizes in MODULES}

    def adapters(wrapper: PunicaWrapperCPU) -> None:
        wrapper.update_metadata(LoRAMapping(tuple(ids), tuple(ids), is_prefill=True), slots, SLOTS + 1, 512)
        for layer in made:
            x = inputs[layer.a[0].shape[3]]
            wrapper.add_lora_linear(outputs[layer.sizes], x, layer.a, layer.b, 1.0, layer.sizes)

    def base() -> None:
        for layer in made:
            torch.nn.functional.linear(inputs[layer.weight.shape[1]], layer.weight)

    stock, ours = PunicaWrapperCPU(ROWS, ROWS, "cpu"), SegmentedPunica(ROWS, ROWS, "cpu")
    found = {"base_ms": cpu_ms(base)}
    if len(ids) < 100:  # vLLM's own gather an adapter per token: minutes for prompts
        found["stock_ms"] = cpu_ms(lambda: adapters(stock))
    return found | {"ours_ms": cpu_ms(lambda: adapters(ours))}


if __name__ == "__main__":
    torch.set_num_threads(1)
    with torch.inference_mode():
        asked = getattr(torch, sys.argv[1])
        made = layers(asked)
        print(json.dumps({name: step(made, ids, asked) for name, ids in STEPS.items()}))
