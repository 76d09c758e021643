"""Memory of training and serving, in bytes, before anything runs.

Arithmetic of the lectures in docs/decisions.md: inference ≈ weights × 1.2; Adam training = weights + gradients + two
states for the trained values, plus activations. It is an estimate: activations depend on kernels and padding.
"""

from __future__ import annotations

from dataclasses import dataclass

INFERENCE_OVERHEAD = 1.2  # 13 B at 2 bytes: 26 GB of weights, 31.2 GB in all
BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.0, "nf4": 0.55, "int4": 0.5}
ADAM_COPIES = 4  # weights, gradients and two moments


@dataclass(frozen=True)
class TrainingMemory:
    """All in bytes."""

    base: float
    trained: float
    activations: float

    @property
    def total(self) -> float:
        return self.base + self.trained + self.activations


def inference_bytes(parameters: int, dtype: str) -> float:
    """Weights plus a fifth for cache and workspace."""
    return parameters * BYTES[dtype] * INFERENCE_OVERHEAD


def adam_bytes(parameters: int, dtype: str) -> float:
    """Full training with Adam at one dtype, without activations (accelerate's `estimate-memory` figure)."""
    return parameters * BYTES[dtype] * ADAM_COPIES


def lora_parameters(config: dict[str, int], rank: int) -> int:
    """Trained values of a LoRA of `rank` on all linear layers of a Llama-shaped model."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    heads = config["num_attention_heads"]
    head = config.get("head_dim") or hidden // heads
    kv = (config.get("num_key_value_heads") or heads) * head
    shapes = [(hidden, heads * head), (hidden, kv), (hidden, kv), (heads * head, hidden)]
    shapes += [(hidden, inner), (hidden, inner), (inner, hidden)]
    return config["num_hidden_layers"] * rank * sum(rows + columns for rows, columns in shapes)


def training_memory(
    parameters: int, dtype: str, quantization: str, config: dict[str, int], rank: int, batch: int, length: int
) -> TrainingMemory:
    """LoRA or QLoRA training: frozen base, fp32 adapter with Adam, activations without checkpointing.

    34 · length · batch · hidden bytes a layer at 16 bits is Korthikanti et al. (2022), without the attention
    scores, which today's kernels do not keep.
    """
    stored = dtype if quantization == "none" else quantization
    values = lora_parameters(config, rank)
    per_layer = 34 * length * batch * config["hidden_size"] * (BYTES[dtype] / 2)
    logits = batch * length * config["vocab_size"] * 4 * 2  # fp32 logits and their gradient
    return TrainingMemory(
        base=parameters * BYTES[stored],
        trained=values * 4.0 * ADAM_COPIES,
        activations=config["num_hidden_layers"] * per_layer + logits,
    )
