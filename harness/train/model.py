"""The base model, loaded once per process, and the adapters made on it.

Every run works on a skeleton of its own: modules, config and hooks are copies, only the frozen weights are shared. What
TRL and PEFT do to a model (a patched `forward`, dropout switched off, LoRA layers put in) goes away with the skeleton,
so a run in a shared process gives the same bytes as the run alone.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftModel, TaskType
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
)

from harness.core.errors import InputError, TrainError
from harness.core.records import BaseRef, RunJob
from harness.train.output import ADAPTER_FILES, adapter_sha256, missing_file

# What must agree with the adapter that a run continues; the rest is dropout and initialisation.
BF16_CPUS = ("avx512_bw", "amx_bf16", "bf16", "sve_bf16")  # what oneDNN (x86) and ACL (Arm) need for bf16
CONTINUED_KEYS = ("r", "lora_alpha", "use_rslora", "use_dora", "rank_pattern", "alpha_pattern")


@dataclass(frozen=True)
class Base:
    """A base model in memory. `model` is never trained or patched; take a `skeleton`."""

    ref: BaseRef
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    quantization: str
    device: torch.device
    dtype: torch.dtype
    context: int

    def skeleton(self) -> PreTrainedModel:
        """A model of its own over the same frozen weights; costs milliseconds and no memory to speak of."""
        shared: dict[int, Any] = {}
        for module in self.model.modules():
            # bitsandbytes keeps the scales of quantised weights beside the parameters: shared like them.
            held = (*module.parameters(recurse=False), vars(module).get("quant_state"), vars(module).get("state"))
            shared |= {id(item): item for item in held if item is not None}
        return copy.deepcopy(self.model, shared)


def use_all_cores() -> None:
    """torch counts physical cores; what this process may run on is what containers and schedulers set."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))


def load_base(ref: BaseRef, quantization: str) -> Base:
    """Load a base for training. InputError when it cannot be loaded or quantised."""
    # with an index: accelerate compares it with the trainer's device, and "cuda" alone is not "cuda:0"
    device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    try:
        config = AutoConfig.from_pretrained(ref.path)
        dtype = _training_dtype(config.dtype or torch.float32, device)
        model = AutoModelForCausalLM.from_pretrained(
            ref.path,
            dtype=dtype,
            use_safetensors=True,
            quantization_config=_quantization_config(quantization, device),
            device_map={"": device},
        )
        tokenizer = AutoTokenizer.from_pretrained(ref.path)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(f"base {ref.source} cannot be loaded: {error}", "check the folder or the hub id") from error
    model.requires_grad_(False)
    context = int(getattr(config.get_text_config(), "max_position_embeddings", 0) or 0)
    return Base(ref, model, tokenizer, quantization, device, dtype, context)


def _training_dtype(stored: torch.dtype, device: torch.device) -> torch.dtype:
    """What a base trains in: as stored, except fp16 anywhere and bf16 on a CPU that cannot compute in it.

    fp16 needs loss scaling, which LoRA on it does not have.
    """
    if stored not in (torch.float16, torch.bfloat16):
        return stored
    if device.type == "cuda" or (stored == torch.bfloat16 and computes_bf16(device)):
        return torch.bfloat16
    return torch.float32


def computes_bf16(device: torch.device) -> bool:
    """Has the device bf16 arithmetic of its own?

    A CPU with AVX2 alone has not: there oneDNN took 213 ms for a product of 256 x 192 x 768 and its backward pass in
    bf16, and 19 ms in fp32.
    """
    return device.type == "cuda" or any(torch.cpu.get_capabilities().get(name) for name in BF16_CPUS)


def _quantization_config(quantization: str, device: torch.device) -> BitsAndBytesConfig | None:
    """QLoRA's settings (Dettmers et al., 2023): NF4, double quantisation, bf16 compute where there is any."""
    if quantization == "nf4":
        return BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if computes_bf16(device) else torch.float32,
        )
    return BitsAndBytesConfig(load_in_8bit=True) if quantization == "int8" else None


def continued(base: Base, job: RunJob) -> PeftModel:
    """A skeleton with `job.init_adapter` on it, trainable. InputError when it is not the adapter that was planned."""
    folder = Path(str(job.init_adapter))
    missing = missing_file(folder)
    if missing:
        raise InputError(f"init_adapter {folder} has no {missing}", "give a folder with safetensors weights")
    if job.init_adapter_sha256 and adapter_sha256(folder) != job.init_adapter_sha256:
        raise InputError(f"init_adapter {folder} is not the one that was planned", "run the command again")
    kept = json.loads((folder / ADAPTER_FILES[0]).read_text(encoding="utf-8"))
    for key in CONTINUED_KEYS:
        wanted, has = job.adapter.get(key), kept.get(key)
        if key in job.adapter and wanted != has:
            raise InputError(
                f"train.adapter.{key} is {wanted!r}, but init_adapter has {has!r}", f"set it to {json.dumps(has)}"
            )
    return PeftModel.from_pretrained(base.skeleton(), str(folder), is_trainable=True)


def lora_config(job: RunJob) -> LoraConfig:
    """PEFT's config of a fresh adapter; all linear layers unless the job says otherwise."""
    settings = {name: value for name, value in job.adapter.items() if name != "type" and value is not None}
    return LoraConfig(**{"target_modules": "all-linear", **settings}, task_type=TaskType.CAUSAL_LM)


def trainer_on(base: Base, job: RunJob, make: Callable[..., Trainer]) -> Trainer:
    """`make(model=…, peft_config=…)` over a skeleton: with a fresh adapter, or continuing `job.init_adapter`.

    TRL rounds LoRA weights to bf16 on quantised bases; updates of 2e-4 then fall below bf16's resolution, and a
    continued adapter would start beside its own frozen reference. They go back to fp32 here, to the values they had.
    """
    if job.init_adapter is None:
        model, config, before = base.skeleton(), lora_config(job), {}
    else:
        model, config = continued(base, job), None
        before = {name: value.detach().clone() for name, value in trainable(model)}
    trainer = make(model=model, peft_config=config)
    if base.quantization != "none":
        for name, parameter in trainable(trainer.model):
            parameter.data = before.get(name, parameter.data).to(torch.float32)
    return trainer


def trainable(model: torch.nn.Module) -> list[tuple[str, torch.nn.Parameter]]:
    """Names and parameters that train."""
    return [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]


def save_adapter(model: PeftModel, folder: Path, base_source: str) -> None:
    """Write adapter_config.json and adapter_model.safetensors, the same bytes on every machine.

    Only the adapter itself: DPO's frozen `ref` stays out. TrainError if training diverged.
    """
    if not all(torch.isfinite(value).all() for _, value in trainable(model)):
        raise TrainError("training diverged: the adapter holds NaN or infinite weights", "lower train.learning_rate")
    model.save_pretrained(str(folder), selected_adapters=["default"], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config_file = folder / ADAPTER_FILES[0]
    config = json.loads(config_file.read_text(encoding="utf-8"))
    # PEFT writes a set in hash order and the base's absolute path: both differ from process to process.
    for key in ("target_modules", "exclude_modules"):
        if isinstance(config.get(key), list):
            config[key].sort()
    config["base_model_name_or_path"] = base_source
    config_file.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def rank_of(model: PeftModel) -> int:
    """The largest rank in the adapter: what the server has to be started for."""
    config = model.peft_config["default"]
    return int(max([config.r, *(config.rank_pattern or {}).values()]))
