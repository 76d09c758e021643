"""A whole model's files, as a full fine-tune's version holds them: complete, finite, and nothing that is executed.

A version of kind `full` is a base of its own. It is known by the hash over its content files, as every base is.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import folder_sha256
from serve import adapter_files

# Everything that changes what a model computes or how text becomes tokens: a base's hash is over these.
CONTENT = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*.json", "tokenizer.model", "*.jinja")
KEPT = (
    *CONTENT,
    "*.json",
    "merges.txt",
    "vocab.txt",
)  # what loading it may want besides: shards' index, old vocabularies
INDEX = "model.safetensors.index.json"
ADAPTER = "adapter_config.json"
AGAIN = "save or copy the model again"


def content_sha256(folder: Path) -> str:
    """Hash over the content files: a base's, and what a full version's `base_sha256` and `adapter_sha256` hold."""
    return folder_sha256(folder, CONTENT)


def check_files(folder: Path) -> None:
    """InputError or AdapterRefused unless `folder` holds a whole model in safetensors, with finite weights.

    Reads every weight once. Models that bring code of their own (`auto_map`) are refused: engines run none.
    """
    if (folder / ADAPTER).is_file():
        raise InputError(f"{folder} is an adapter, not a whole model", "take it in with ratchet adopt")
    config = json_object(folder / "config.json", AGAIN)
    if not config.get("architectures"):
        raise InputError(f"{folder}/config.json names no architectures", "save the model with save_pretrained")
    if "auto_map" in config:
        raise InputError(f"{folder}/config.json has auto_map: the model brings code", "engines run no model's own code")
    if not any(folder.glob("tokenizer*")):
        raise InputError(f"{folder} has no tokenizer", "save the tokenizer beside the model")
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise InputError(f"{folder} has no *.safetensors", "save it with safe_serialization: other formats run code")
    _check_index(folder, {path.name for path in weights})
    for path in weights:
        tensors = adapter_files.header(path)
        adapter_files.check_finite(path, {n: one for n, one in tensors.items() if one.dtype in adapter_files.FLOATS})


def copy(source: Path, target: Path) -> None:
    """Put the model's files at `target` by one rename. What lies there is replaced: no record names it yet."""
    names = sorted({path.name for pattern in KEPT for path in source.glob(pattern) if path.is_file()})
    adapter_files.put_files(source, target, names)


def room_for(folder: Path, place: Path) -> None:
    """InputError where the disk of `place` cannot take a copy of the model."""
    size = sum(path.stat().st_size for pattern in KEPT for path in folder.glob(pattern))
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    if size > free:
        raise InputError(f"{folder} takes {size:,} bytes, {there} has {free:,} left", "make room first")


def _check_index(folder: Path, there: set[str]) -> None:
    """InputError where a shard that the index names is missing."""
    path = folder / INDEX
    if not path.is_file():
        return
    shards = json_object(path, AGAIN).get("weight_map")
    named = set(shards.values()) if isinstance(shards, dict) else set()
    if missing := sorted(str(name) for name in named if name not in there):
        raise InputError(f"{folder} lacks {missing[0]}, which {INDEX} names", "copy it again")


def json_object(path: Path, fix: str) -> dict[str, Any]:
    """A JSON object of a model; it is a person's file, so what is wrong with it is an InputError."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})", fix) from None
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error})", fix) from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object", fix)
    return value
