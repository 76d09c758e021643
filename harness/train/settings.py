"""From a job's arguments to TRL's: what this machine adds, and why. What is chosen here is written to settings.json."""

from __future__ import annotations

from typing import Any

import torch
from transformers import PretrainedConfig

from harness.core.records import RunJob
from harness.train.methods import METHODS
from harness.train.model import Base

EAGER_BYTES = 1 << 30  # of scores kept; beyond it fused attention is the safer choice on a CPU
BYTES_PER_SCORE = 10  # softmax in fp32, then scores and dropout mask at 2 to 4 bytes


def training_arguments(job: RunJob, base: Base, folder: str) -> tuple[dict[str, Any], dict[str, str]]:
    """(keyword arguments for the method's TRL config, argument -> why it was chosen here).

    Arguments of the job always win, except `max_length` beyond the base's context.
    """
    chosen = _machine_defaults(base)
    length = job.arguments.get("max_length", 1024)
    if base.context and (length is None or length > base.context):
        chosen["max_length"] = (base.context, f"the base's context; the job asked for {length}")
    given = {name: value for name, value in job.arguments.items() if name != "max_length" or name not in chosen}
    own = METHODS[job.method["type"]].fields
    arguments = {
        **{name: value for name, (value, _) in chosen.items()},
        **given,
        **{name: job.method[name] for name in own if job.method.get(name) is not None},
        "output_dir": folder,
        "seed": job.seed,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "eval_strategy": "no",
        "logging_nan_inf_filter": False,  # a NaN loss must show, not the loss before it
        "use_cpu": base.device.type == "cpu",
    }
    return arguments, {name: why for name, (_, why) in chosen.items() if name not in given}


def eager_attention_fits(config: PretrainedConfig, rows: int, longest: int) -> bool:
    """Do the attention scores that eager attention keeps for the backward pass stay below EAGER_BYTES?

    `rows` of `longest` tokens at once. PyTorch's fused attention on a CPU is made for long rows: on a 2.3 M base in
    bf16 with rows of 40 tokens, its backward pass took 38 % of the time; eager attention trained 50 % more tokens/s.
    """
    heads = int(config.num_hidden_layers * config.num_attention_heads)
    return heads * rows * longest**2 * BYTES_PER_SCORE <= EAGER_BYTES


def _machine_defaults(base: Base) -> dict[str, tuple[Any, str]]:
    """Argument -> (value, why)."""
    on_cpu, quantised = base.device.type == "cpu", base.quantization != "none"
    defaults: dict[str, tuple[Any, str]] = {
        "logging_steps": (1, "every step belongs in metrics.jsonl"),
        # Measured on 2 cores, 2.8 M parameters, adapter weights in fp32 either way: 15 to 40 % more tokens per CPU
        # second than without autocast, where every LoRA layer casts its input up; the same loss to 4 digits.
        "bf16": (base.dtype == torch.bfloat16, "autocast where the base trains in bf16; in fp32 it needs none"),
    }
    if on_cpu:
        defaults["gradient_checkpointing"] = (False, "off on a CPU: memory is not short, and it costs a forward")
        defaults["dataloader_pin_memory"] = (False, "there is no accelerator to copy to")
    elif quantised:
        defaults["gradient_checkpointing"] = (True, "QLoRA's setting: activations are what is left to save")
    if not on_cpu and base.quantization == "nf4":
        defaults["optim"] = ("paged_adamw_32bit", "QLoRA's setting: optimizer states move out of the way of long rows")
    return defaults
