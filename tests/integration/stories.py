"""stories260k with random adapters: what several files serve, with one engine or with their own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import adapters
from serve.adapter_files import content_sha256
from serve.client import Ask
from serve.engine import Engine, EngineSpec, ensure

ADAPTERS: dict[str, dict[str, Any]] = {
    "r-one": {"r": 8, "lora_alpha": 16, "seed": 1},
    "r-two": {"r": 4, "lora_alpha": 8, "seed": 2},
    "r-three": {"r": 8, "lora_alpha": 8, "use_rslora": True, "seed": 3},
    "r-four": {"r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 2, "down_proj": 5}, "seed": 4},
    "r-five": {"r": 1, "lora_alpha": 2, "seed": 5},
    "r-six": {"r": 7, "lora_alpha": 16, "seed": 6},
    "r-seven": {"r": 8, "lora_alpha": 16, "seed": 7},
    "r-eight": {"r": 8, "lora_alpha": 16, "seed": 8},
}
SERVED = ("r-one", "r-two", "r-three", "r-four", "r-five", "r-six")  # more than an engine has slots for
SEQUENCES = [[1, 403, 407, 261, 378, 432, 286], [1, 410, 409, 262, 300, 5, 6, 7, 8, 9, 10, 11, 12]]
BASE_SHA256 = "b" * 64
TWIN = f"""
import sys
from pathlib import Path
from harness.core.paths import Lab
from serve.engine import EngineSpec, ensure
lab = Lab(Path(sys.argv[1]))
spec = EngineSpec(sys.argv[2], "tiny", "{BASE_SHA256}", dtype="float32", max_lora_rank=8, registry=lab.registry)
with ensure(lab, spec) as engine:
    print(engine.engine_id)
"""


class World(NamedTuple):
    lab: Lab
    spec: EngineSpec
    engine: Engine
    folder: Path  # adapters by name
    reference: dict[str, list[list[float]]]


@contextmanager
def served(lab: Lab, base: Path, folder: Path) -> Iterator[World]:
    """An engine with the adapters of SERVED, asked for by two commands at once."""
    spec = EngineSpec(str(base), "tiny", BASE_SHA256, dtype="float32", max_lora_rank=8, registry=lab.registry)
    lines: list[str] = []
    twin = subprocess.Popen([sys.executable, "-c", TWIN, lab.root, base], stdout=subprocess.PIPE, text=True)
    with ensure(lab, spec, lines.append) as engine:
        assert twin.communicate()[0].strip() == engine.engine_id, "two commands at once share one engine"
        assert lines[0].startswith(("engine: importing vLLM", "engine: waiting for"))
        assert lines[-1].startswith(f"engine: {engine.engine_id} ready in ")
        for name in SERVED:
            adapters.load(engine, name, folder / name)
        yield World(lab, spec, engine, folder, json.loads((folder / "logprobs.json").read_text()))


def greedy(model: str, prompt: str, tokens: int = 24) -> Ask:
    return Ask(model, prompt=prompt, sampling={"temperature": 0, "max_tokens": tokens})


def version(world: World, name: str) -> Version:
    return Version(
        version=0,
        run_id=name,
        adapter_sha256=content_sha256(world.folder / name),
        base_sha256=BASE_SHA256,
        base_path="unused",
        verdict=None,
        plan_id=None,
        created=now(),
    )


def post(url: str, model: str) -> httpx.Response:
    body = {"model": model, "prompt": "The dog", "max_tokens": 24, "temperature": 0}
    return httpx.post(f"{url}/v1/completions", json=body, timeout=60)
