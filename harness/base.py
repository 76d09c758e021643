"""The base model as files: where it lies, what it is, how large. Reads headers and configs, never weights."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.core.errors import InputError
from harness.core.fingerprint import sha256_of
from harness.core.paths import Lab, read_json, write_json
from harness.core.records import BaseRef
from serve.model_files import CONTENT, content_sha256, json_object

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
BYTES_PER_VALUE = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I8": 1, "U8": 1, "F8_E4M3": 1, "F8_E5M2": 1}


@dataclass(frozen=True)
class BaseInfo:
    """What headers and config tell: sizes in values and bytes, lengths in tokens."""

    ref: BaseRef
    parameters: int
    weight_bytes: int
    dtype: str
    max_model_len: int
    config: dict[str, Any]


def describe(source: str, lab: Lab) -> BaseInfo:
    """Find a base by folder or hub id and read its headers.

    Raises InputError when the folder or the hub snapshot is missing, or holds no safetensors weights.
    """
    folder = _locate(source)
    config_file = folder / "config.json"
    weights = sorted(folder.glob("*.safetensors"))
    if not config_file.is_file():
        raise InputError(f"base_model {source}: no config.json in {folder}", "give a Hugging Face model folder")
    if not weights:
        raise InputError(f"base_model {source}: no *.safetensors in {folder}", "convert it: other formats run code")
    config = _json_file(config_file)
    parameters, size = _count(weights)
    ref = BaseRef(
        source=source,
        path=str(folder),
        sha256=_content_sha256(folder, lab),
        has_chat_template=chat_template(folder) is not None,
    )
    dtype = str(config.get("dtype") or config.get("torch_dtype") or "float32")
    return BaseInfo(ref, parameters, size, dtype, int(config.get("max_position_embeddings") or 2048), config)


def _locate(source: str) -> Path:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder.resolve()
    if source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise InputError(f"base_model {source} is not a folder", "give a model folder, or a hub id such as org/name")
    return _hub_snapshot(source)


def _hub_snapshot(source: str) -> Path:
    """The hub's snapshot folder; downloads unless HF_HUB_OFFLINE is set. Imported here, as it takes 0.3 s."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    offline = os.environ.get("HF_HUB_OFFLINE") == "1"
    try:
        return Path(snapshot_download(source, local_files_only=offline, allow_patterns=[*CONTENT, "*.json"])).resolve()
    except LocalEntryNotFoundError:
        raise InputError(
            f"base_model {source} is neither a folder nor in the hub cache",
            "unset HF_HUB_OFFLINE, or download it first",
        ) from None
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise InputError(
            f"base_model {source} could not be fetched ({error})", "check the id and your access"
        ) from None


def header(path: Path) -> dict[str, Any]:
    """The JSON header of a safetensors file: tensor name -> dtype, shape and data_offsets. InputError if it is none."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        try:
            header = json.loads(file.read(length)) if length <= MAX_HEADER_BYTES else None
        except ValueError:
            header = None
    if not isinstance(header, dict):
        raise InputError(f"{path} is not a safetensors file, or only a part of one", "download it again")
    return header


def _count(weights: list[Path]) -> tuple[int, int]:
    """(values, bytes) over all weight files."""
    values = size = 0
    for path in weights:
        for name, tensor in header(path).items():
            if name != "__metadata__":
                count = 1
                for dimension in tensor["shape"]:
                    count *= dimension
                values += count
                size += count * BYTES_PER_VALUE.get(tensor["dtype"], 2)
    return values, size


def _content_sha256(folder: Path, lab: Lab) -> str:
    """Hash over all content files; kept by size and time, since hashing 16 GB on every command would take minutes."""
    files = sorted({path for pattern in CONTENT for path in folder.glob(pattern)})
    stamps = sha256_of([[str(path), path.stat().st_size, path.stat().st_mtime_ns] for path in files])
    cached = lab.cache / "bases" / f"{stamps[:24]}.json"
    if cached.is_file():
        return str(read_json(cached)["sha256"])
    sha256 = content_sha256(folder)
    write_json(cached, {"sha256": sha256})
    return sha256


def chat_template(folder: Path) -> str | None:
    """The chat template, from its own file or from tokenizer_config.json."""
    own = folder / "chat_template.jinja"
    if own.is_file():
        return own.read_text(encoding="utf-8")
    template = _tokenizer_settings(folder).get("chat_template")
    return template if isinstance(template, str) else None


def special_tokens(folder: Path) -> dict[str, str]:
    """`bos_token` and `eos_token` as templates see them; empty where the tokenizer has none."""
    settings = _tokenizer_settings(folder)
    found = {name: settings.get(name) or "" for name in ("bos_token", "eos_token")}
    return {name: token["content"] if isinstance(token, dict) else str(token) for name, token in found.items()}


def _tokenizer_settings(folder: Path) -> dict[str, Any]:
    path = folder / "tokenizer_config.json"
    return _json_file(path) if path.is_file() else {}


def _json_file(path: Path) -> dict[str, Any]:
    return json_object(path, "download the base again")
