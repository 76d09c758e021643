"""Versions on the real engine when memory for adapters is short: damaged ones, lost folders, promotion ahead of time.

The engine keeps two adapters in main memory and one in its batch, so that each request of another version makes vLLM
read files again in the middle of its loop.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from harness.core.errors import RegistryError
from harness.core.paths import Lab
from harness.core.records import Version, now
from harness.pipeline import registry as care
from harness.pipeline.ahead import preload
from serve import registry
from serve.adapter_files import content_sha256
from serve.engine import Engine, EngineSpec, ensure

ADAPTERS = ("r-one", "r-three", "r-seven", "r-eight")
BASE_SHA256 = "d" * 64


class World(NamedTuple):
    lab: Lab
    engine: Engine
    folder: Path


@pytest.fixture(scope="module")
def world(
    engines_dir: Path, stories260k: Path, adapters_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    lab = Lab(tmp_path_factory.mktemp("lab"))
    spec = EngineSpec(
        str(stories260k), "tiny", BASE_SHA256, dtype="float32", max_lora_rank=8, max_loras=1, registry=lab.registry,
        extra={"max-cpu-loras": 2},
    )  # fmt: skip
    with ensure(lab, spec) as engine:
        yield World(lab, engine, adapters_dir)


def mint(world: World, name: str, source: str) -> str:
    folder = world.folder / source
    version = Version(
        version=0, run_id=source, adapter_sha256=content_sha256(folder), base_sha256=BASE_SHA256, base_path="unused",
        verdict=None, plan_id=None, created=now(),
    )  # fmt: skip
    return f"{name}@v{registry.add_version(world.lab, name, version, folder).version}"


def ask(world: World, model: str) -> httpx.Response:
    body = {"model": model, "prompt": "The dog", "max_tokens": 16, "temperature": 0}
    return httpx.post(f"{world.engine.url}/v1/completions", json=body, timeout=60)


def text(world: World, model: str) -> str:
    response = ask(world, model)
    assert response.status_code == 200, response.text
    return str(response.json()["choices"][0]["text"])


def loaded(world: World) -> list[str]:
    health = httpx.get(f"{world.engine.url}/ratchet/health", headers=world.engine.headers).json()
    return list(health["adapters"])


def damaged(world: World, name: str, source: str, breaks: Callable[[Path], object]) -> str:
    """A version whose record names the damaged bytes, as a registry that was copied with them would."""
    label = mint(world, name, source)
    number = int(label.rpartition("v")[2])
    folder = registry.version_folder(world.lab.registry, name, number)
    breaks(folder)
    current = registry.read(world.lab, name)
    versions = [
        one.model_copy(update={"adapter_sha256": content_sha256(folder)}) if one.version == number else one
        for one in current.versions
    ]
    registry.write(world.lab, current.model_copy(update={"versions": versions}))
    return label


def change_header(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[Path], None]:
    def breaks(folder: Path) -> None:
        path = folder / "adapter_model.safetensors"
        data = path.read_bytes()
        length = struct.unpack("<Q", data[:8])[0]
        header = json.dumps(change(json.loads(data[8 : 8 + length]))).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])

    return breaks


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-64])


def no_numbers(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + struct.pack("<f", float("nan")))


def rank_of_config(folder: Path) -> None:
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"r": 4}))


def flipped(header: dict[str, Any]) -> dict[str, Any]:
    """Every B with its sides exchanged: the same bytes, another shape."""
    return {name: told | {"shape": told["shape"][::-1]} if "lora_B" in name else told for name, told in header.items()}


def renamed(header: dict[str, Any]) -> dict[str, Any]:
    """A layer that no base has: our checks cannot know, vLLM does."""
    return {name.replace("q_proj", "zz_proj"): told for name, told in header.items()}


def test_damaged_versions_fail_alone(world: World) -> None:
    good = mint(world, "good", "r-one")
    expected = text(world, good)
    breaks = [cut, no_numbers, rank_of_config, change_header(flipped), change_header(renamed)]
    for number, one in enumerate(breaks):
        label = damaged(world, f"bad{number}", "r-seven", one)
        for _ in range(2):
            response = ask(world, label)
            assert response.status_code == 400, (one, response.text)
            assert response.json()["error"]["type"] == "BadRequestError"
        assert text(world, good) == expected
        with pytest.raises(RegistryError, match="does not load"):
            preload(world.lab, label, BASE_SHA256)
    assert text(world, mint(world, "good", "r-seven")) != expected, "the slots that broken ones were tried in are well"


def test_lost_folders_end_nothing(world: World) -> None:
    """Four versions take turns in two places, so each answer reads files again; the registry's own are gone by then."""
    labels = [mint(world, "lost", source) for source in ADAPTERS]
    first = {label: text(world, label) for label in labels}
    assert len(set(first.values())) == len(labels)
    shutil.rmtree(world.lab.registry / "lost")
    for _ in range(3):
        assert {label: text(world, label) for label in labels} == first
    kept = {one["version"]: one["why"] for one in care.gc(world.lab, 0, dry_run=True)["kept"]}
    assert set(labels) <= set(kept)


def test_a_promotion_loads_ahead_of_time(world: World) -> None:
    label = mint(world, "ahead", "r-eight")
    assert label not in loaded(world)
    assert preload(world.lab, label, BASE_SHA256) == []
    assert label in loaded(world)
    assert preload(world.lab, "ahead@v1", "e" * 64) == [], "engines of other bases are left alone"
