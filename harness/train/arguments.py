"""Argument names, checked without importing torch.

The names are read from the source files of the installed TRL, transformers and PEFT (parsed, never run), so there is
no list to keep in step. Where they are not installed (planning here, training elsewhere) names pass, and the worker
checks them.
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.records import RunJob
from harness.train.methods import DPO_READERS, LORA_CONFIG, METHODS, Source

# Arguments of TRL that mean something else here, and what to write instead. A name ending in '_' is a prefix.
NOT_HERE: dict[str, str] = {
    "output_dir": "leave it out: Ratchet chooses the folder",
    "seed": "write train.seed",
    "data_seed": "write train.seed",
    "report_to": "leave it out: metrics.jsonl has every step",
    "run_name": "leave it out: runs are named by content",
    "disable_tqdm": "leave it out: the worker reports progress itself",
    "model_init_kwargs": "leave it out: base and quantization are keys of their own",
    "trust_remote_code": "leave it out: code from the hub is never run",
    "chat_template_path": "put the template into the base: the server renders with that one",
    "eos_token": "set it in the base's tokenizer: the server stops at that one",
    "pad_token": "leave it out: TRL 1.16 deprecates it",
    "truncation_mode": "leave it out: rows are cut at the end, and counted",
    "dataset_kwargs": "leave it out: rows come ready from the data file",
    "dataset_text_field": "leave it out: rows come ready from the data file",
    "dataset_num_proc": "leave it out: rows are prepared in process",
    "completion_only_loss": "leave it out: the loss is always on the completion only",
    "assistant_only_loss": "leave it out: the loss is always on the completion only",
    "resume_from_checkpoint": "leave it out: an unfinished run starts anew and gives the same adapter",
    "load_best_model_at_end": "leave it out: evaluation happens after training, through the server",
    "metric_for_best_model": "leave it out: evaluation happens after training, through the server",
    "per_device_eval_batch_size": "leave it out: evaluation happens after training, through the server",
    "use_cpu": "leave it out: hide the accelerator with CUDA_VISIBLE_DEVICES",
    "local_rank": "leave it out: a run is one process",
    "deepspeed": "leave it out: a run is one process",
    "parallelism_config": "leave it out: a run is one process",
    "fsdp": "leave it out: a run is one process",
    "fsdp_config": "leave it out: a run is one process",
    "do_": "leave it out: the worker trains and nothing else",
    "eval_": "leave it out: evaluation happens after training, through the server",
    "save_": "leave it out: the adapter is saved once, when it is complete",
    "hub_": "leave it out: nothing is sent to the hub",
    "push_to_": "leave it out: nothing is sent to the hub",
    "trackio_": "leave it out: metrics.jsonl has every step",
}


@cache
def argument_names(method: str) -> frozenset[str] | None:
    """Every argument of the method's TRL config; None where TRL is not installed."""
    return _names(METHODS[method].config)


@cache
def adapter_names() -> frozenset[str] | None:
    """Every argument of PEFT's LoraConfig; None where PEFT is not installed."""
    return _names(LORA_CONFIG)


def check_job(job: RunJob) -> None:
    """Refuse what TRL or PEFT would not know, or would take and ignore. InputError names the key and the fix."""
    check_method(job.method, job.arguments, job.adapter)
    check_arguments(job.method["type"], job.arguments)
    check_adapter(job.adapter)


def check_arguments(method: str, arguments: dict[str, Any]) -> None:
    """Check names of TRL arguments for one method (a key of METHODS)."""
    known, chosen = argument_names(method), METHODS[method]
    for name in arguments:
        fix = chosen.ignored.get(name) or _not_here(name)
        if fix:
            raise InputError(f"train.{name} cannot be set", fix)
        if name in chosen.fields:
            raise InputError(f"train.{name} belongs to the method", f"write train.method.{name}")
        if known is not None and name not in known:
            raise InputError(f"train.{name} is no argument of {method.upper()} in TRL", _nearest(name, known))
    if arguments.get("packing") and arguments.get("max_length", 1) is None:
        raise InputError("train.packing needs a max_length", "set train.max_length")


def check_adapter(adapter: dict[str, Any]) -> None:
    """Check type and argument names of an adapter."""
    known = adapter_names()
    if adapter.get("type") != "lora":
        raise InputError(f"train.adapter.type is {adapter.get('type')!r}", "use 'lora'")
    for name in adapter:
        if name != "type" and known is not None and name not in known:
            raise InputError(f"train.adapter.{name} is no argument of LoRA in PEFT", _nearest(name, known))


def check_method(method: dict[str, Any], arguments: dict[str, Any], adapter: dict[str, Any]) -> None:
    """Check the method's own fields, and that each of them will be read."""
    name = method.get("type")
    if name not in METHODS:
        raise InputError(f"train.method.type is {name!r}", f"use one of {', '.join(METHODS)}")
    for field in method:
        if field != "type" and field not in METHODS[name].fields:
            raise InputError(f"train.method.{field} is no field of {name}", _nearest(field, METHODS[name].fields))
    if name == "dpo":
        _check_dpo(method, arguments, adapter)


def _check_dpo(method: dict[str, Any], arguments: dict[str, Any], adapter: dict[str, Any]) -> None:
    losses = method.get("loss_type") or "sigmoid"
    losses = [losses] if isinstance(losses, str) else losses
    for field, readers in DPO_READERS.items():
        if method.get(field) and not set(losses) & set(readers):
            raise InputError(
                f"train.method.{field} is ignored by loss_type {'+'.join(losses)}", f"use loss_type: {readers[0]}"
            )
    if method.get("f_alpha_divergence_coef") is not None and method.get("f_divergence_type") != "alpha_divergence":
        raise InputError("train.method.f_alpha_divergence_coef is ignored", "use f_divergence_type: alpha_divergence")
    if adapter.get("lora_dropout") and arguments.get("disable_dropout", True):
        raise InputError(
            "train.adapter.lora_dropout is ignored: TRL switches dropout off for DPO",
            "set lora_dropout: 0, or disable_dropout: false",
        )


def _not_here(name: str) -> str | None:
    prefixes = (fix for prefix, fix in NOT_HERE.items() if prefix.endswith("_") and name.startswith(prefix))
    return NOT_HERE.get(name) or next(prefixes, None)


def _nearest(name: str, known: frozenset[str] | tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}"
    return "leave it out" if len(known) > 20 else f"use {', '.join(sorted(known)) or 'no fields'}"


def _names(sources: tuple[Source, ...]) -> frozenset[str] | None:
    found: set[str] = set()
    for package, file, class_name in sources:
        spec = importlib.util.find_spec(package)  # a top-level name: located, not imported
        if spec is None or not spec.submodule_search_locations:
            return None
        path = Path(spec.submodule_search_locations[0]) / file
        found |= _dataclass_fields(path.read_text(encoding="utf-8"), class_name)
    return frozenset(found)


def _dataclass_fields(source: str, class_name: str) -> set[str]:
    """Names annotated in the body of one class, those a dataclass leaves out of __init__ excepted."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return {
                item.target.id
                for item in node.body
                if isinstance(item, ast.AnnAssign)
                and isinstance(item.target, ast.Name)
                and not item.target.id.startswith("_")
                and "init=False" not in ast.unparse(item).replace(" ", "")
                and "ClassVar" not in ast.unparse(item.annotation)
            }
    raise InputError(f"the installed packages have no {class_name}", "install the versions that pyproject.toml names")
