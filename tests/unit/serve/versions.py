"""Registry versions for tests: small adapters that pass every check of their files."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from harness.core.paths import Lab
from harness.core.records import PromptContract, Version, now
from serve import registry
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
