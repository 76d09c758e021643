"""An adapter's two files: whole, of the shapes that its config and its base say, and the same as when it was trained.

vLLM checks little of this: a tensor that is too small is copied into a corner of its slot and answers wrongly without
a word, a truncated file fails at the first request, and NaN is served. Reads the safetensors format by itself (8 bytes
of length, a JSON header, the values), so no torch is needed.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from harness.core.errors import AdapterRefused, InputError, LabError
from harness.core.fingerprint import folder_sha256
from harness.core.paths import disk_errors, sync_folder
from serve.adapters import RANKS, check_adapter, read_config

ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")
WEIGHTS = ADAPTER_FILES[1]
TENSOR = re.compile(r"(?:base_model\.model\.)?(.+)\.lora_(A|B)\.(?:[a-z0-9_]+\.)?weight")
# dtype -> (bytes, unsigned type of the same width, bits of the exponent: all set means infinite or not a number)
FLOATS: dict[str, tuple[int, str, int]] = {
    "F64": (8, "<u8", 0x7FF0000000000000),
    "F32": (4, "<u4", 0x7F800000),
    "F16": (2, "<u2", 0x7C00),
    "BF16": (2, "<u2", 0x7F80),
}
CHUNK_VALUES = 1 << 20  # values looked at at once: a few MiB of memory, whatever the adapter's size
MAX_HEADER_BYTES = 100_000_000  # the format's own limit
AGAIN = "train or upload it again"


class Tensor(NamedTuple):
    """Where one tensor lies: `start` and `end` are bytes of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


def content_sha256(folder: Path) -> str:
    """Hash over config and weights: what `AdapterRecord.sha256` and `Version.adapter_sha256` hold."""
    return folder_sha256(folder, ADAPTER_FILES)


def check_files(folder: Path, base: Path | None = None, max_lora_rank: int = RANKS[-1]) -> int:
    """Raise AdapterRefused unless the adapter in `folder` can be served; its largest rank.

    `base`: the base's folder, whose layers must have the adapter's shapes; layers that the base stores under other
    names (fused, quantised) are not compared. InputError where a file is missing.
    """
    try:
        config = read_config(folder)
    except LabError as error:
        raise AdapterRefused(error.problem, AGAIN) from error
    check_adapter(config, max_lora_rank)
    path = folder / WEIGHTS
    tensors = header(path)
    pairs = _pairs(path, tensors)
    layers = base_shapes(base) if base else {}
    rank = 0
    for module, (a, b) in pairs.items():
        rank = max(rank, _check_pair(path, module, (a, b), config, layers.get(module)))
    check_finite(path, tensors)
    return rank


def header(path: Path) -> dict[str, Tensor]:
    """Tensor name -> where it lies. AdapterRefused for a file that is damaged or cut."""
    size = path.stat().st_size
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > min(MAX_HEADER_BYTES, size - 8):
                raise ValueError("its header is cut")
            found = json.loads(file.read(length))
        tensors = {name: _tensor(told, 8 + length) for name, told in found.items() if name != "__metadata__"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise AdapterRefused(f"{path} is no whole safetensors file ({error})", AGAIN) from error
    ends = max((tensor.end for tensor in tensors.values()), default=8 + length)
    if ends != size:
        raise AdapterRefused(f"{path} is no whole safetensors file ({size} bytes, its header says {ends})", AGAIN)
    return tensors


def base_shapes(base: Path) -> dict[str, tuple[int, ...]]:
    """Layer name -> shape of its weight, over all weight files of a base; empty where there are none to read."""
    found: dict[str, tuple[int, ...]] = {}
    for path in sorted(base.glob("*.safetensors")):
        plain = {name: tensor for name, tensor in header(path).items() if tensor.dtype in FLOATS}
        found |= {name.removesuffix(".weight"): tensor.shape for name, tensor in plain.items()}
    return found


def copy(source: Path, target: Path, link: bool = False) -> None:
    """Put the adapter's two files at `target` by one rename; by hard link where asked and possible.

    What lies at `target` is replaced: no record names it, or it would not be written. InputError for a missing file.
    """
    missing = next((name for name in ADAPTER_FILES if not (source / name).is_file()), None)
    if missing:
        raise InputError(f"{source} has no {missing}", "name the folder of a trained adapter")
    put_files(source, target, ADAPTER_FILES, link)


def put_files(source: Path, target: Path, names: Iterable[str], link: bool = False) -> None:
    """Put the named files of `source` at `target`, all of them by one rename and on disk before it."""
    with disk_errors(target):
        fresh = target.with_name(f".{target.name}.{os.getpid()}.tmp")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        for name in names:
            _put(source / name, fresh / name, link)
        sync_folder(fresh)
        shutil.rmtree(target, ignore_errors=True)
        os.rename(fresh, target)
        sync_folder(target.parent)


def remove(folder: Path) -> None:
    """Take a folder away; what is not there is fine."""
    shutil.rmtree(folder, ignore_errors=True)


def _put(source: Path, target: Path, link: bool) -> None:
    if link:
        try:
            os.link(source, target)
            return
        except OSError:  # another disk, or one without hard links
            pass
    shutil.copyfile(source, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())


def _tensor(told: Mapping[str, Any], offset: int) -> Tensor:
    """One entry of a header. ValueError or TypeError where it does not add up."""
    dtype, shape = str(told["dtype"]), tuple(int(size) for size in told["shape"])
    start, end = (int(at) + offset for at in told["data_offsets"])
    width = FLOATS.get(dtype)
    if start < offset or (width and end - start != math.prod(shape) * width[0]):
        raise ValueError("a tensor's size does not fit its shape")
    return Tensor(dtype, shape, start, end)


def _pairs(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
    """Layer -> its A and B. AdapterRefused for anything else in the file, and for a half of a pair."""
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        match = TENSOR.fullmatch(name)
        if not match:
            raise AdapterRefused(f"{path}: {name} is no LoRA weight", "save it with PEFT's save_pretrained")
        halves.setdefault(match[1], {})[match[2]] = tensor
    alone = next((module for module, both in halves.items() if len(both) < 2), None)
    if alone or not halves:
        raise AdapterRefused(f"{path}: {f'{alone} has only one of A and B' if alone else 'it is empty'}", AGAIN)
    return {module: (both["A"], both["B"]) for module, both in halves.items()}


def _check_pair(
    path: Path, module: str, pair: tuple[Tensor, Tensor], config: Mapping[str, Any], layer: tuple[int, ...] | None
) -> int:
    """The pair's rank, if it is the config's and both fit the base's layer."""
    a, b = (tensor.shape for tensor in pair)
    if len(a) != 2 or len(b) != 2 or a[0] != b[1]:
        raise AdapterRefused(f"{path}: {module}: A {list(a)} and B {list(b)} do not go together", AGAIN)
    expected = _rank_of(module, config)
    if a[0] != expected:
        raise AdapterRefused(f"{path}: {module} has rank {a[0]}, its config says {expected}", AGAIN)
    if layer is not None and layer not in ((b[0], a[1]), (a[1], b[0])):  # Conv1D stores [in, out]
        made = f"made for a layer of {b[0]} x {a[1]}, the base's is {' x '.join(map(str, layer))}"
        raise AdapterRefused(f"{path}: {module} is {made}", "it belongs to another base, or is damaged")
    return a[0]


def _rank_of(module: str, config: Mapping[str, Any]) -> int:
    """As PEFT: the first key of rank_pattern that is a suffix of the module's name at a dot, else r."""
    for key, rank in (config.get("rank_pattern") or {}).items():
        if re.match(rf"(.*\.)?({key})$", module):
            return int(rank)
    return int(config.get("r", 8))


def check_finite(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """AdapterRefused where a weight is infinite or not a number: vLLM would serve it, and answer nonsense."""
    for name, tensor in tensors.items():
        if tensor.dtype not in FLOATS:
            raise AdapterRefused(f"{path}: {name} is of type {tensor.dtype}", "save it in a floating-point type")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, tensor in tensors.items():
            _, unsigned, exponent = FLOATS[tensor.dtype]
            for values in _chunks(data, tensor, unsigned):
                if np.any((values & exponent) == exponent):
                    raise AdapterRefused(f"{path}: {name} holds values that are no finite numbers", "it diverged")


def _chunks(data: mmap.mmap, tensor: Tensor, unsigned: str) -> Iterator[np.ndarray]:
    """Copies of parts of one tensor, so that nothing keeps the file mapped."""
    width = np.dtype(unsigned).itemsize
    for start in range(tensor.start, tensor.end, CHUNK_VALUES * width):
        yield np.frombuffer(data[start : min(start + CHUNK_VALUES * width, tensor.end)], dtype=unsigned)
