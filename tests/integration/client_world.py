"""What other people's clients meet: a real engine, two versions behind an alias, and what each version says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.core.fingerprint import folder_sha256
from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import keys, registry
from serve.engine import Engine, EngineSpec, ensure

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "experiments" / "bases" / "tiny"
BASE_SHA256 = "c" * 64
CLIENTS = ROOT / ".venv-clients"
ADAPTERS = {f"r-{number}": {"r": 8, "lora_alpha": 16, "seed": number} for number in (1, 2)}


class Served(NamedTuple):
    lab: Lab
    engine: Engine

    @property
    def url(self) -> str:
        """As a client wants it, with /v1."""
        return f"{self.engine.url}/v1"


def make_adapters(folder: Path, base: Path, settings: Mapping[str, Mapping[str, Any]]) -> None:
    """Random adapters `folder/<name>`, large enough that every greedy answer differs."""
    job = {"base": str(base), "folder": str(folder), "adapters": settings, "sequences": [[1, 2]]}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "job.json").write_text(json.dumps(job))
    child = Path(__file__).with_name("make_adapters.py")
    made = subprocess.run([sys.executable, child, folder / "job.json"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr


def publish(lab: Lab, name: str, run_id: str, folder: Path, base: Path = BASE, base_sha256: str = BASE_SHA256) -> int:
    """Mint the next version of `name`; its number."""
    version = Version(
        version=0,
        run_id=run_id,
        adapter_sha256=folder_sha256(folder, ("adapter_config.json", "adapter_model.safetensors")),
        base_sha256=base_sha256,
        base_path=str(base),
        verdict=None,
        plan_id=None,
        created=now(),
    )
    return registry.add_version(lab, name, version, folder).version


@contextmanager
def served(folder: Path, extra: dict[str, Any]) -> Iterator[Served]:
    """An engine with `support@v1` (what `support@prod` means) and `support@v2`."""
    make_adapters(folder / "adapters", BASE, ADAPTERS)
    lab = Lab(folder / "lab")
    for run_id in ADAPTERS:
        publish(lab, "support", run_id, folder / "adapters" / run_id)
    registry.move(lab, "support", "prod", 1, who="test", why="first")
    spec = EngineSpec(
        *(str(BASE), "tiny", BASE_SHA256),
        dtype="float32",
        max_lora_rank=8,
        registry=lab.registry,
        keys=lab.keys / keys.KEYS,
        extra=extra,
    )
    with ensure(lab, spec) as engine:
        yield Served(lab, engine)


def make_key(lab: Lab, name: str, **settings: Any) -> str:
    """A key for inference; its secret. From the first one on, keys are in force."""
    fields = {"key_id": "", "secret_sha256": "", "created": "", "scopes": ["infer"], **settings}
    return keys.create(lab.keys, keys.Key(name=name, **fields))[1]


def other_clients(part: str) -> Path:
    """`.venv-clients/<part>`, made by `make clients`; without it the test fails in CI and is skipped elsewhere."""
    if not (CLIENTS / ".ready").exists() or not (CLIENTS / part).exists():
        message = f"{CLIENTS.name}/{part} is not there: run make clients (for js with node 20 and npm installed)"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return CLIENTS / part


def run(command: list[str | Path], url: str, key: str, cwd: Path) -> str:
    """What a client's script prints. It learns of the endpoint by its environment only."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    # LiteLLM would fetch its table of prices from the network at import
    environment = {**kept, "OPENAI_BASE_URL": url, "OPENAI_API_KEY": key, "LITELLM_LOCAL_MODEL_COST_MAP": "True"}
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def said_by(command: list[str | Path], url: str, key: str, cwd: Path) -> dict[str, Any]:
    """The JSON object that a client's script prints as its last line."""
    said: dict[str, Any] = json.loads(run(command, url, key, cwd).splitlines()[-1])
    return said
