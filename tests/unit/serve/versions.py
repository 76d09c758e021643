"""Registry versions for tests: small files that look like an adapter."""

from __future__ import annotations

from pathlib import Path

from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import registry

BASE = "b" * 64


def record(mark: int, base: str = BASE) -> Version:
    return Version(
        version=0,
        run_id=f"r-{mark}",
        adapter_sha256=f"{mark:064x}",
        base_sha256=base,
        base_path="base",
        verdict="SHIP",
        plan_id=None,
        created=now(),
    )


def adapter(folder: Path, mark: int) -> Path:
    target = folder / f"adapter-{mark}"
    (target / "ref").mkdir(parents=True, exist_ok=True)
    (target / "ref" / "adapter_model.safetensors").write_text("a reference that must not be published")
    (target / "adapter_config.json").write_text("{}")
    (target / "adapter_model.safetensors").write_text(str(mark))
    return target


def add(lab: Lab, name: str, mark: int, folder: Path, base: str = BASE) -> Version:
    return registry.add_version(lab, name, record(mark, base), adapter(folder, mark))
