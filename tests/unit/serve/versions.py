"""Registry versions for tests: small adapters that pass every check of their files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from harness.core.paths import Lab
from harness.core.records import PromptContract, Version, now
from serve import model_files, registry
from serve.adapter_files import content_sha256

BASE = "b" * 64
LAYER = "base_model.model.model.layers.0.self_attn.q_proj"


def weights(mark: float, rank: int = 1, wide: int = 4, high: int = 2) -> bytes:
    """A safetensors file with one LoRA pair, every value `mark` (F32): A is rank x wide, B high x rank."""
    sizes = {"A": (rank, wide), "B": (high, rank)}
    header, data = {}, b""
    for half, shape in sizes.items():
        values = struct.pack("<f", mark) * (shape[0] * shape[1])
        told = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(values)]}
        header[f"{LAYER}.lora_{half}.weight"] = told
        data += values
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def record(mark: int, folder: Path, base: str = BASE) -> Version:
    """The version of the adapter in `folder`."""
    return Version(
        version=0,
        run_id=f"r-{mark}",
        adapter_sha256=content_sha256(folder),
        base_sha256=base,
        base_path="base",
        verdict="SHIP",
        plan_id=None,
        created=now(),
    )


def adapter(folder: Path, mark: int, rank: int = 1) -> Path:
    target = folder / f"adapter-{mark}"
    (target / "ref").mkdir(parents=True, exist_ok=True)
    (target / "ref" / "adapter_model.safetensors").write_text("a reference that must not be published")
    (target / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": rank}))
    (target / "adapter_model.safetensors").write_bytes(weights(mark, rank))
    return target


def model(folder: Path, mark: int = 9) -> Path:
    """A whole model's folder: enough of one for every check of its files."""
    target = folder / f"model-{mark}"
    target.mkdir(parents=True)
    (target / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"], "mark": mark}))
    (target / "tokenizer.json").write_text("{}")
    (target / "model.safetensors").write_bytes(weights(mark))
    return target


def add_full(lab: Lab, name: str, folder: Path) -> Version:
    """The model in `folder` as the next version."""
    sha256 = model_files.content_sha256(folder)
    told = {"run_id": "m-1", "adapter_sha256": sha256, "base_sha256": sha256, "kind": "full", "verdict": None}
    made = Version(version=0, base_path=str(folder), plan_id=None, created=now(), **told)
    return registry.add_version(lab, name, made, folder)


def add(
    lab: Lab,
    name: str,
    mark: int,
    folder: Path,
    base: str = BASE,
    rank: int = 1,
    contract: PromptContract | None = None,
) -> Version:
    made = adapter(folder, mark, rank)
    told = record(mark, made, base).model_copy(update={"contract": contract})
    return registry.add_version(lab, name, told, made)
