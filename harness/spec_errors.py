"""What is wrong with a spec, in one line: the file and line, the key as written, the nearest right one or the fix."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from harness.core.errors import InputError
from harness.yaml_lines import Lines

# What other tools call it -> what it is called here (Axolotl, LLaMA-Factory, Unsloth, TRL's older names).
FOREIGN_NAMES = {
    "lora_rank": "adapter.r",
    "lora_r": "adapter.r",
    "rank": "adapter.r",
    "alpha": "adapter.lora_alpha",
    "dropout": "adapter.lora_dropout",
    "lora_target": "adapter.target_modules",
    "lora_target_modules": "adapter.target_modules",
    "lora_target_linear": "adapter.target_modules: all-linear",
    "micro_batch_size": "train.per_device_train_batch_size",
    "batch_size": "train.per_device_train_batch_size",
    "grad_accum": "train.gradient_accumulation_steps",
    "lr": "train.learning_rate",
    "epochs": "train.num_train_epochs",
    "num_epochs": "train.num_train_epochs",
    "cutoff_len": "train.max_length",
    "sequence_len": "train.max_length",
    "max_seq_length": "train.max_length",
    "load_in_4bit": "train.quantization: nf4",
    "load_in_8bit": "train.quantization: int8",
    "quantization_bit": "train.quantization",
    "model_name_or_path": "base_model",
    "model": "base_model",
    "datasets": "train.dataset",
    "stage": "train.method: {type: …}",
    "rl": "train.method: {type: dpo}",
    "pref_beta": "train.method.beta",
    "dpo_beta": "train.method.beta",
    "tasks": "evaluate.lm_eval.tasks",
}

# What pydantic calls the members of a spec's unions; none is a key of a spec.
UNION_PARTS = ("str", "bool", "list[str]", "EndpointSubject")


def as_input_error(
    error: ValidationError,
    model: type[BaseModel],
    tagged: Mapping[str, type[BaseModel]],
    lines: Lines,
    prefix: tuple[str, ...],
) -> InputError:
    """The first problem, said in one line with the nearest right key.

    `tagged` are the members of unions by their tag; `prefix` is where in the file `model` stands.
    """
    first = min(error.errors(), key=lambda one: (one["type"] != "extra_forbidden", _other_member(one)))
    # Pydantic puts a union's tag or member into the path; only what the person wrote is shown.
    written = [str(part) for part in first["loc"]]
    path = [part for part in (*prefix, *written) if part not in UNION_PARTS and part not in tagged]
    where, key = lines.at(*path), ".".join(path)
    if first["type"] == "extra_forbidden":
        known = _known_keys(model, tagged, written[:-1])
        return InputError(f"{where}: unknown key {key!r}", _nearest(path[-1], known))
    if first["type"] == "missing":
        return InputError(f"{where}: {key} is missing", "add it")
    if first["type"] == "union_tag_invalid":
        return InputError(f"{where}: {key}.type is {first['ctx']['tag']!r}", f"use {first['ctx']['expected_tags']}")
    if first["type"] == "union_tag_not_found":
        return InputError(f"{where}: {key}.type is missing", "add it, e.g. {type: sft}")
    if first["type"] in ("model_type", "model_attributes_type"):
        return InputError(f"{where}: {key} must hold keys of its own" + _given(first), "write {key: value}")
    message = first["msg"].removeprefix("Value error, ")
    return InputError(f"{where}: {key or 'spec'}: {message}" + ("" if _secret(first) else _given(first)))


def _other_member(problem: Any) -> bool:
    """Whether it only says that keys were written where text may stand as well: what is wrong is inside them."""
    return problem["type"] == "string_type" and isinstance(problem.get("input"), dict)


def _secret(problem: Any) -> bool:
    """Whether what was written may hold a key, which must not be printed."""
    name, value = problem["loc"][-1] if problem["loc"] else "", str(problem.get("input"))
    return name == "api_key_env" or (name == "base_url" and any(sign in value for sign in "@?#"))


def _given(problem: Any) -> str:
    value = problem.get("input")
    return f" (it is {value!r})" if isinstance(value, str | int | float | bool) else ""


def _known_keys(model: type[BaseModel], tagged: Mapping[str, type[BaseModel]], path: list[str]) -> list[str]:
    """Keys of the model that `path` leads to, following fields and union members by name."""
    current: type[BaseModel] = model
    for part in path:
        if part in tagged:
            current = tagged[part]
        elif part in current.model_fields:
            inner = _inner_model(current.model_fields[part].annotation)
            current = inner or current
    return list(current.model_fields)


def _inner_model(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for argument in getattr(annotation, "__args__", ()):
        found = _inner_model(argument)
        if found:
            return found
    return None


def _nearest(key: str, known: list[str]) -> str:
    if key in FOREIGN_NAMES:
        return f"here it is {FOREIGN_NAMES[key]}"
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    return f"did you mean {close[0]!r}" if close else f"keys here: {', '.join(sorted(known))}"
