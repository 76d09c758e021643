"""What no engine could serve rightly is refused before it gets a number, and before vLLM hears of it."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from harness.core.errors import AdapterRefused, RatchetError, RegistryError
from harness.core.paths import Lab
from serve import registry
from serve.adapter_files import check_files, content_sha256
from serve.fake import Script
from tests.unit.serve.versions import BASE, LAYER, adapter, add, record, weights

Breaks = Callable[[Path], object]


def file(tensors: dict[str, tuple[str, tuple[int, ...]]]) -> bytes:
    """A safetensors file of zeros."""
    header, end = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = {"F32": 4, "BF16": 2, "F16": 2, "I8": 1}[dtype]
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(end)


def put(data: bytes) -> Breaks:
    return lambda folder: (folder / "adapter_model.safetensors").write_bytes(data)


def cut(folder: Path) -> None:
    path = folder / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-4])


def config(**changes: object) -> Breaks:
    return lambda folder: (folder / "adapter_config.json").write_text(
        json.dumps({"peft_type": "LORA", "r": 1} | changes)
    )


BROKEN: list[tuple[Breaks, str]] = [
    (cut, r"is no whole safetensors file \(\d+ bytes, its header says \d+\)"),
    (put(b""), "is no whole safetensors file"),
    (put(b"\xff" * 64), "is no whole safetensors file"),
    (put(struct.pack("<Q", 2) + b"[]"), "is no whole safetensors file"),
    (put(struct.pack("<Q", 2) + b"{}"), "it is empty"),
    (put(weights(float("nan"))), "no finite numbers"),
    (put(weights(float("inf"))), "no finite numbers"),
    (put(weights(1.0, rank=2)), "has rank 2, its config says 1"),
    (put(weights(1.0, wide=5)), "made for a layer of 2 x 5, the base's is 2 x 4"),
    (put(weights(1.0, high=3)), "made for a layer of 3 x 4, the base's is 2 x 4"),
    (put(file({f"{LAYER}.lora_A.weight": ("F32", (1, 4))})), "has only one of A and B"),
    (put(file({f"{LAYER}.lora_A.weight": ("F32", (1, 4)), f"{LAYER}.lora_B.weight": ("F32", (2, 3))})), "together"),
    (put(file({f"{LAYER}.lora_A.weight": ("I8", (1, 4)), f"{LAYER}.lora_B.weight": ("I8", (2, 1))})), "type I8"),
    (put(file({"model.embed_tokens.weight": ("F32", (1, 4))})), "is no LoRA weight"),
    (config(r=2), "has rank 1, its config says 2"),
    (config(use_dora=True), "vLLM does not serve DoRA"),
    (lambda folder: (folder / "adapter_config.json").write_text("{"), "is damaged"),
]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "base"
    folder.mkdir()
    name = LAYER.removeprefix("base_model.model.")
    (folder / "model.safetensors").write_bytes(file({f"{name}.weight": ("BF16", (2, 4))}))
    return folder


def test_a_whole_adapter_passes_and_tells_its_rank(base: Path, tmp_path: Path) -> None:
    assert check_files(adapter(tmp_path, 1, rank=4), base) == 4


def test_ranks_by_pattern(tmp_path: Path) -> None:
    folder = adapter(tmp_path, 1, rank=2)
    config(r=1, rank_pattern={"q_proj": 2})(folder)
    assert check_files(folder) == 2


def test_sixteen_bit_values_that_are_no_numbers(tmp_path: Path) -> None:
    for dtype, bad in (("BF16", 0x7FC0), ("F16", 0x7E00), ("BF16", 0xFF80)):
        folder = adapter(tmp_path, 1)
        data = file({f"{LAYER}.lora_A.weight": (dtype, (1, 4)), f"{LAYER}.lora_B.weight": (dtype, (2, 1))})
        put(data)(folder)
        check_files(folder)
        put(data[:-2] + struct.pack("<H", bad))(folder)
        with pytest.raises(AdapterRefused, match="no finite numbers"):
            check_files(folder)


@pytest.mark.parametrize(("breaks", "said"), BROKEN)
def test_a_broken_adapter_gets_no_number(base: Path, tmp_path: Path, breaks: Breaks, said: str) -> None:
    lab, folder = Lab(tmp_path / "lab"), adapter(tmp_path, 1)
    breaks(folder)
    made = record(1, folder).model_copy(update={"base_path": str(base)})
    with pytest.raises(AdapterRefused, match=said):
        registry.add_version(lab, "aac", made, folder)
    assert not (lab.registry / "aac").exists()
    assert registry.read(lab, "aac").versions == []


def test_other_files_than_the_runs_get_no_number(tmp_path: Path) -> None:
    lab, folder = Lab(tmp_path / "lab"), adapter(tmp_path, 1)
    made = record(1, folder)
    put(weights(2.0))(folder)
    with pytest.raises(RegistryError, match="does not hold the adapter that run r-1 made"):
        registry.add_version(lab, "aac", made, folder)


# --- in the engine ---


def ask(url: str, model: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json={"model": model, "prompt": "hello"})


@pytest.mark.parametrize(("breaks", "said"), BROKEN)
def test_a_version_damaged_later_is_a_400_of_its_own(
    base: Path, tmp_path: Path, serving: Callable[[Script], str], breaks: Breaks, said: str
) -> None:
    """Its record names the damaged bytes, as a registry that was copied with them would; others are served."""
    lab = Lab(tmp_path / "lab")
    for mark in (1, 2):
        add(lab, "aac", mark, tmp_path)
    broken = registry.version_folder(lab.registry, "aac", 2)
    breaks(broken)
    current = registry.read(lab, "aac")
    named = current.versions[1].model_copy(update={"adapter_sha256": content_sha256(broken)})
    registry.write(lab, current.model_copy(update={"versions": [current.versions[0], named]}))
    url = serving(Script(base_sha256=BASE, base_path=str(base), registry=str(lab.registry)))
    response = ask(url, "aac@v2")
    assert response.status_code == 400
    assert "aac@v2 cannot be served" in response.json()["error"]["message"]
    assert ask(url, "aac@v1").status_code == 200


def test_flipped_bits_and_lost_folders(tmp_path: Path, serving: Callable[[Script], str]) -> None:
    lab = Lab(tmp_path / "lab")
    for mark in (1, 2, 3):
        add(lab, "aac", mark, tmp_path)
    url = serving(Script(base_sha256=BASE, registry=str(lab.registry)))
    put(weights(9.0))(registry.version_folder(lab.registry, "aac", 2))
    for path in registry.version_folder(lab.registry, "aac", 3).iterdir():
        path.unlink()
    assert "the files of aac@v2 are damaged" in ask(url, "aac@v2").json()["error"]["message"]
    assert ask(url, "aac@v3").status_code == 400
    assert ask(url, "aac@v1").status_code == 200
    for path in registry.version_folder(lab.registry, "aac", 1).iterdir():
        path.unlink()
    assert ask(url, "aac@v1").status_code == 200, "the engine has links of its own"


def test_ranks_above_the_engines_are_said(tmp_path: Path, serving: Callable[[Script], str]) -> None:
    lab = Lab(tmp_path / "lab")
    add(lab, "aac", 1, tmp_path, rank=16)
    url = serving(Script(base_sha256=BASE, registry=str(lab.registry), max_lora_rank=8))
    assert "r: 16 is more than this engine serves (8)" in ask(url, "aac@v1").json()["error"]["message"]
    with pytest.raises(RatchetError):
        check_files(adapter(tmp_path, 1, rank=16), None, 8)
