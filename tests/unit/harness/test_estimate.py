"""Memory arithmetic, held against published figures and against sums by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from harness.estimate import (
    Setting,
    adam_bytes,
    inference_bytes,
    layer_bytes,
    linear_parameters,
    lora_parameters,
    training_dtype,
    training_memory,
)

GIB = 2**30
PHI = 3_821_079_552  # Phi-3.5-mini's values
LLAMA_13B = (
    13_015_864_320 - 32_000 * 5_120
)  # Llama-2-13B without its output head, as `accelerate estimate-memory` counts
LLAMA_7B = {
    "hidden_size": 4096,
    "intermediate_size": 11008,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "vocab_size": 32000,
}


@pytest.mark.parametrize(
    ("parameters", "dtype", "weights", "adam"),
    [
        (PHI, "float32", 14.23, 56.94),
        (PHI, "float16", 7.12, 28.47),
        (LLAMA_13B, "float32", 47.88, 191.51),
        (LLAMA_13B, "float16", 23.94, 95.76),
        (LLAMA_13B, "int8", 11.97, None),
        (LLAMA_13B, "int4", 5.98, None),
    ],
)
def test_the_figures_of_accelerate(parameters, dtype, weights, adam):
    """Its "GB" are GiB: 3,821,079,552 values x 4 bytes / 2^30 = 14.23. Four copies for Adam: 56.94."""
    assert inference_bytes(parameters, dtype) / 1.2 / GIB == pytest.approx(weights, abs=0.01)
    if adam:
        assert adam_bytes(parameters, dtype) / GIB == pytest.approx(adam, abs=0.01)


def test_the_lecture_s_example_of_inference():
    """13 B values at 2 bytes are 26 GB, times 1.2 are 31.2 GB."""
    assert inference_bytes(13_000_000_000, "bfloat16") == pytest.approx(31.2e9)


def test_lora_parameters_by_hand():
    """Llama-2-7B, r = 8, all linear layers. A layer: q, k, v, o: 4 x 8 x (4096 + 4096) = 262,144;

    gate, up, down: 3 x 8 x (4096 + 11008) = 362,496; together 624,640; times 32 layers 19,988,480. (PEFT prints
    "trainable params: 19,988,480" for it.)
    """
    assert lora_parameters(LLAMA_7B, 8) == 19_988_480
    assert lora_parameters(LLAMA_7B, 16) == 2 * 19_988_480


def test_lora_parameters_with_grouped_heads_and_their_own_size():
    """stories260k, r = 1: q 64 + 256, k and v 64 + 128 each, o 256 + 64, gate, up, down 64 + 172 each; 5 layers."""
    config = {"hidden_size": 64, "intermediate_size": 172, "num_attention_heads": 8, "num_key_value_heads": 4,
              "head_dim": 32, "num_hidden_layers": 5, "vocab_size": 512}  # fmt: skip
    assert lora_parameters(config, 1) == 5 * (320 + 192 + 192 + 320 + 3 * 236)


def test_a_config_may_leave_heads_open():
    assert lora_parameters({**LLAMA_7B, "num_key_value_heads": None, "head_dim": None}, 8) == 19_988_480


LORA_7B = Setting("bfloat16", "none", rank=8, rows=1, length=1000, gpu=True, checkpointing=False)
LINEAR_7B = 6_476_005_376  # 32 layers x (4 x 4,096 x 4,096 + 3 x 4,096 x 11,008)
PARAMETERS_7B = 6_738_415_616  # those, embeddings and head of 32,000 x 4,096 each, norms


def changed(**changes):
    return training_memory(PARAMETERS_7B, LLAMA_7B, replace(LORA_7B, **changes))


def test_linear_parameters_by_hand():
    assert linear_parameters(LLAMA_7B) == LINEAR_7B


def test_training_memory_by_hand():
    """Llama-2-7B in bf16 on a GPU, r = 8, one row of 1,000 tokens.

    Adapter 19,988,480 x 4 bytes x 4 copies = 319,815,680. A layer keeps of a token: norms 2 x 4 x 4,096 = 32,768;
    inputs 5 x 2 x 4,096 = 40,960; attention 5 x 2 x 4,096 = 40,960; MLP 4 x 2 x 11,008 = 88,064; together 202,752
    bytes. The loss: a tile of 1,000 x 32,000 logits in bf16 and 1,000 x 4,096 x 6 bytes: 64,000,000 + 24,576,000.
    """
    assert layer_bytes(LLAMA_7B, LORA_7B) == 202_752
    memory = changed()
    assert (memory.base, memory.trained) == (2 * PARAMETERS_7B, 319_815_680)
    assert memory.activations == 32 * 202_752_000 + 88_576_000
    assert memory.total == memory.base + memory.trained + memory.activations


def test_checkpointing_keeps_one_layer_and_the_inputs_of_all():
    """32 inputs of 1,000 x 4,096 x 2 bytes = 262,144,000, one layer, the loss."""
    assert changed(checkpointing=True).activations == 262_144_000 + 202_752_000 + 88_576_000


def test_quantisation_shrinks_the_linear_layers_alone():
    """4 bits a value and 0.127 for its block's scale; embeddings, head and norms stay in 16 bits."""
    rest = 2 * (PARAMETERS_7B - LINEAR_7B)
    nf4, int8 = changed(quantization="nf4"), changed(quantization="int8")
    assert nf4.base == pytest.approx(LINEAR_7B * 4.127 / 8 + rest, rel=1e-4)
    assert int8.base == LINEAR_7B + rest
    assert nf4.trained == changed().trained
    assert nf4.activations == changed().activations


def test_rows_and_length_multiply_activations_until_the_loss_is_full():
    assert changed(rows=2).activations == 2 * changed().activations
    assert changed(rows=2).total == changed(length=2000).total
    tile = 4096 * 32_000 * 2
    assert changed(length=8000).activations == 8 * (changed().activations - 64_000_000) + tile


def test_a_cpu_holds_the_base_twice_at_the_end():
    """In fp32: 4 bytes a value, and again 4 for the reference; more than training one row of one token needs."""
    short = changed(dtype="float32", gpu=False, length=1)
    assert short.total == 8 * PARAMETERS_7B
    long = changed(dtype="float32", gpu=False, rows=8)
    assert long.total == 4 * PARAMETERS_7B + long.trained + long.activations
    assert short.reference == 4 * PARAMETERS_7B


@pytest.mark.parametrize(
    ("stored", "gpu", "bf16", "dtype"),
    [
        ("bfloat16", False, True, "bfloat16"),
        ("bfloat16", False, False, "float32"),
        ("bfloat16", True, False, "bfloat16"),
        ("float16", True, False, "bfloat16"),
        ("float16", False, True, "float32"),
        ("float32", True, True, "float32"),
        ("float64", True, True, "float64"),
    ],
)
def test_what_a_base_trains_in(stored, gpu, bf16, dtype):
    assert training_dtype(stored, gpu, bf16) == dtype


@pytest.mark.parametrize("dtype", ["float64", "torch.bfloat16", ""])
def test_a_dtype_it_does_not_know(dtype):
    with pytest.raises(KeyError):
        inference_bytes(1, dtype)
