"""Memory of training and serving, in bytes, before anything runs.

Arithmetic of the lectures in docs/decisions.md: inference ≈ weights × 1.2; Adam training = weights + gradients + two
states for the trained values, plus activations. Activations are counted in the code that runs (transformers' Llama,
PEFT's LoRA, TRL's loss), for rows that fill `length`. A test holds a layer's against what torch keeps on a CPU; peaks
on a GPU have not been measured. It knows nothing of what torch and CUDA take for themselves, of the scores that eager
attention keeps of short rows on a CPU (1 GiB at most), and of TRL arguments that make it build all logits (label
smoothing).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

INFERENCE_OVERHEAD = 1.2  # 13 B at 2 bytes: 26 GB of weights, 31.2 GB in all
# nf4 with double quantisation: 4 bits, 8 for each 64 values, 32 for each 256 of those
BYTES = {"float32": 4.0, "float16": 2.0, "bfloat16": 2.0, "int8": 1.0, "nf4": 0.5 + 1 / 64 + 4 / 64 / 256, "int4": 0.5}
ADAM_COPIES = 4  # weights, gradients and two moments
LOSS_TOKENS, LOSS_COLUMNS = 4096, 32768  # TRL 1.16's loss never holds more logits than this tile of them
# of one logit in that tile: itself on a GPU (a kernel of TRL's folds it in place), copies in fp32 on a CPU, where the
# backward pass took 31 bytes in bf16 and 33 in fp32 (measured, 512 tokens, all columns)
CPU_LOSS_BYTES = 32.0

Config = dict[str, Any]  # of a Llama-shaped model, as config.json has it


@dataclass(frozen=True)
class Setting:
    """One run as far as memory goes. `dtype`: what the base trains in, which is not always what it is stored in.

    `rows` of `length` tokens go through the model at once; a DPO pair is two. `checkpointing`: activations are computed
    again in the backward pass instead of kept.
    """

    dtype: str
    quantization: str
    rank: int
    rows: int
    length: int
    gpu: bool
    checkpointing: bool


@dataclass(frozen=True)
class TrainingMemory:
    """All in bytes. `reference`: the base once more in fp32, in main memory, once the adapter is trained; on a CPU that
    is the same memory, and the frozen base is still in it."""

    base: float
    trained: float
    activations: float
    reference: float
    gpu: bool

    @property
    def total(self) -> float:
        """The most that is held at one time where training happens."""
        training = self.trained + self.activations
        return self.base + (training if self.gpu else max(training, self.reference))


def inference_bytes(parameters: int, dtype: str) -> float:
    """Weights plus a fifth for cache and workspace."""
    return parameters * BYTES[dtype] * INFERENCE_OVERHEAD


def adam_bytes(parameters: int, dtype: str) -> float:
    """Full training with Adam at one dtype, without activations (accelerate's `estimate-memory` figure)."""
    return parameters * BYTES[dtype] * ADAM_COPIES


def lora_parameters(config: Config, rank: int) -> int:
    """Trained values of a LoRA of `rank` on all linear layers of a Llama-shaped model."""
    return int(config["num_hidden_layers"] * rank * sum(rows + columns for rows, columns in _linear_shapes(config)))


def linear_parameters(config: Config) -> int:
    """Values in the linear layers of a Llama-shaped model: what quantisation reaches. No embeddings, head or norms."""
    return int(config["num_hidden_layers"] * sum(rows * columns for rows, columns in _linear_shapes(config)))


def training_dtype(stored: str, gpu: bool, cpu_computes_bf16: bool) -> str:
    """What a base of `stored` dtype trains in; harness.train.model decides it the same way, with torch at hand."""
    if stored not in ("float16", "bfloat16"):
        return stored
    return "bfloat16" if gpu or (stored == "bfloat16" and cpu_computes_bf16) else "float32"


def training_memory(parameters: int, config: Config, setting: Setting) -> TrainingMemory:
    """LoRA or QLoRA training of a Llama-shaped model: frozen base, fp32 adapter with Adam, activations of full rows.

    KeyError for a dtype or a shape that is not known.
    """
    layers, tokens = config["num_hidden_layers"], setting.rows * setting.length
    held = layers
    kept = tokens * layer_bytes(config, setting)
    if setting.checkpointing:  # the input of each layer, and the whole of the one that is being computed again
        held = 1
        inputs = layers * tokens * config["hidden_size"] * BYTES[setting.dtype]
    else:
        inputs = 0.0
    linear = min(parameters, linear_parameters(config))
    stored = setting.dtype if setting.quantization == "none" else setting.quantization
    return TrainingMemory(
        base=linear * BYTES[stored] + (parameters - linear) * BYTES[setting.dtype],
        trained=lora_parameters(config, setting.rank) * 4.0 * ADAM_COPIES,
        activations=held * kept + inputs + _loss_bytes(config, setting),
        reference=parameters * BYTES["float32"],
        gpu=setting.gpu,
    )


def layer_bytes(config: Config, setting: Setting) -> float:
    """What one layer keeps of one token for the backward pass.

    Norms: their input in fp32. LoRA: the input of each linear layer; in 16 bits PEFT casts it to fp32 and
    autocast back, so that each of the five that share one (q, k, v; gate, up) keeps its own (not so on a quantised base
    on a GPU, by PEFT's code: an eighth less there). Attention: queries, keys,
    values (repeated where heads share them), the result, and that again as input of the last layer; no scores. MLP:
    gate, its activation, up, their product.
    """
    hidden, inner, width = config["hidden_size"], config["intermediate_size"], BYTES[setting.dtype]
    attention = config["num_attention_heads"] * _head_size(config)
    inputs = 5 if width == 2 else 2
    return float(2 * 4 * hidden + width * (inputs * hidden + 5 * attention + 4 * inner))


def _loss_bytes(config: Config, setting: Setting) -> float:
    """TRL's loss: a tile of logits, and the last hidden state with its gradient in fp32."""
    tokens, width = setting.rows * setting.length, BYTES[setting.dtype]
    tile = min(tokens, LOSS_TOKENS) * min(config["vocab_size"], LOSS_COLUMNS)
    return float(tile * (width if setting.gpu else CPU_LOSS_BYTES) + tokens * config["hidden_size"] * (4 + width))


def _linear_shapes(config: Config) -> list[tuple[int, int]]:
    hidden, inner, head = config["hidden_size"], config["intermediate_size"], _head_size(config)
    heads = config["num_attention_heads"]
    kv = (config.get("num_key_value_heads") or heads) * head
    attention = [(hidden, heads * head), (hidden, kv), (hidden, kv), (heads * head, hidden)]
    return [*attention, (hidden, inner), (hidden, inner), (inner, hidden)]


def _head_size(config: Config) -> int:
    return int(config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"])
