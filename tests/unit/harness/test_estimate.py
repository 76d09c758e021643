"""Memory arithmetic, held against published figures and against sums by hand."""

from __future__ import annotations

import pytest

from harness.estimate import adam_bytes, inference_bytes, lora_parameters, training_memory

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


def test_training_memory_by_hand():
    """7 B in bf16, r = 8, one row of 1,000 tokens.

    Base 2 x 7e9 = 14e9; adapter 19,988,480 x 4 bytes x 4 copies = 319,815,680; activations 32 layers x 34 x 1,000 x
    4,096 = 4,456,448,000, logits 1,000 x 32,000 x 4 bytes x 2 = 256,000,000.
    """
    memory = training_memory(7_000_000_000, "bfloat16", "none", LLAMA_7B, 8, 1, 1000)
    assert (memory.base, memory.trained) == (14e9, 319_815_680)
    assert memory.activations == 4_456_448_000 + 256_000_000
    assert memory.total == memory.base + memory.trained + memory.activations


def test_quantisation_shrinks_the_base_alone_and_batches_the_rest():
    plain = training_memory(7_000_000_000, "bfloat16", "none", LLAMA_7B, 8, 1, 1000)
    nf4 = training_memory(7_000_000_000, "bfloat16", "nf4", LLAMA_7B, 8, 1, 1000)
    assert 0.25 * plain.base <= nf4.base < 0.3 * plain.base, "4 bits a value, and the constants of its blocks"
    assert (nf4.trained, nf4.activations) == (plain.trained, plain.activations)
    twice = training_memory(7_000_000_000, "bfloat16", "none", LLAMA_7B, 8, 2, 1000)
    assert twice.activations == 2 * plain.activations


@pytest.mark.parametrize("dtype", ["float64", "torch.bfloat16", ""])
def test_a_dtype_it_does_not_know(dtype):
    with pytest.raises(KeyError):
        inference_bytes(1, dtype)
