"""A PEFT adapter trained elsewhere: is it one that can be served on this base? Reads headers, never weights.

What it may be: a plain LoRA of which every tensor belongs to a linear layer of the base that engines serve. Anything
else would be refused by vLLM, or worse, be left out in silence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.base import BaseInfo, chat_template, header
from harness.core.errors import AdapterRefused, InputError
from serve.adapters import TARGET_MODULES, check_adapter, read_config

WEIGHTS = "adapter_model.safetensors"
# As PEFT's save_pretrained writes them; neither PEFT nor vLLM finds a tensor of another name.
TENSOR = re.compile(r"base_model\.model\.(?P<module>.+)\.lora_(?P<side>[AB])\.weight")
OTHERS = {
    ".default": ("a state dict's, not a saved adapter's", "save it with PEFT's save_pretrained"),
    "lora_magnitude_vector": ("DoRA", "train without use_dora"),
    "lora_embedding": ("an adapter on embeddings", "leave the embeddings out of target_modules"),
    "modules_to_save": ("fully trained modules", "train without modules_to_save"),
    "token_adapter": ("trained token embeddings", "train without trainable_token_indices"),
    "embed_tokens": ("whole embeddings", "save with save_embedding_layers=False, if no tokens were added"),
    "lm_head": ("a whole output layer", "save with save_embedding_layers=False, if no tokens were added"),
    "base_layer": ("weights of the base", "save the adapter alone, with PEFT's save_pretrained"),
    "bias": ("biases", "train with bias: none"),
}
LAYERS = re.compile(r"(?:layers|h|blocks)\.\d+\..+")  # the part of a layer's name that no wrapper changes
SAVE_AGAIN = ".bin runs code when it is read: where you trust it, load it with PEFT and call save_pretrained(OUT)"


@dataclass(frozen=True)
class Found:
    """What the headers tell of an adapter: its PEFT config, largest rank, number of values and dtype on disk."""

    config: dict[str, Any]
    rank: int
    parameters: int
    dtype: str
    warnings: list[str]


def examine(folder: Path, base: BaseInfo) -> Found:
    """Check an adapter's folder against a base.

    Raises InputError for a folder that holds no whole adapter or one of another base, AdapterRefused for what engines
    do not serve; each says what to do.
    """
    _is_adapter(folder)
    config = read_config(folder)
    check_adapter(config)
    shapes = _shapes(folder / WEIGHTS)
    pairs = _pairs(shapes, folder / WEIGHTS)
    _ranks(pairs, config, folder / WEIGHTS)
    warnings = [*_another_base(config, base), *_another_template(folder, base)]
    if "quantization_config" in base.config:
        warnings.append("the base is stored quantised, so the adapter's shapes were not compared with it")
    else:
        _fits(pairs, base, bool(config.get("fan_in_fan_out")))
    dtypes = sorted({tensor["dtype"] for tensor in shapes.values()})
    return Found(
        config=config,
        rank=max(a[0] for a, _ in pairs.values()),
        parameters=sum(math.prod(tensor["shape"]) for tensor in shapes.values()),
        dtype=" ".join(dtypes),
        warnings=warnings,
    )


def _is_adapter(folder: Path) -> None:
    """InputError for what is commonly named in an adapter's place."""
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder", "name the folder that the trainer saved the adapter to")
    if (folder / WEIGHTS).is_file() and (folder / "adapter_config.json").is_file():
        return
    below = sorted(path.parent.relative_to(folder).as_posix() for path in folder.glob("*/adapter_config.json"))
    if (folder / "adapter_model.bin").is_file():
        raise InputError(f"{folder} holds adapter_model.bin, not {WEIGHTS}", SAVE_AGAIN)
    if below:
        raise InputError(f"{folder} holds several adapters: {', '.join(below)}", "name one of these folders")
    if (folder / "config.json").is_file():
        raise InputError(f"{folder} is a whole model, merged or fully trained", "use it as base_model of a spec")
    missing = "adapter_config.json" if not (folder / "adapter_config.json").is_file() else WEIGHTS
    raise InputError(f"{folder} has no {missing}", "name the folder of a PEFT adapter saved as safetensors")


def _shapes(weights: Path) -> dict[str, dict[str, Any]]:
    """Tensor name -> dtype and shape; InputError if the file ends before its tensors do."""
    tensors = {name: tensor for name, tensor in header(weights).items() if name != "__metadata__"}
    with weights.open("rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
    try:
        end = start + max((int(tensor["data_offsets"][1]) for tensor in tensors.values()), default=0)
        whole = all(isinstance(size, int) and size > 0 for tensor in tensors.values() for size in tensor["shape"])
    except (KeyError, TypeError, ValueError, IndexError):
        whole, end = False, 0
    if not tensors or not whole or weights.stat().st_size != end:
        raise InputError(f"{weights} is empty, damaged or only a part of one", "copy it again")
    return tensors


def _pairs(shapes: Mapping[str, Mapping[str, Any]], weights: Path) -> dict[str, tuple[list[int], list[int]]]:
    """Module -> shapes of its A and B. AdapterRefused for any other tensor."""
    sides: dict[str, dict[str, list[int]]] = {}
    for name, tensor in shapes.items():
        found = TENSOR.fullmatch(name)
        if found is None or len(tensor["shape"]) != 2:
            what, fix = next(
                (words for part, words in OTHERS.items() if part in name),
                ("no LoRA tensor of PEFT's", "save it with PEFT's save_pretrained"),
            )
            raise AdapterRefused(f"{weights}: {name} is {what}, which vLLM does not serve", fix)
        sides.setdefault(found["module"], {})[found["side"]] = tensor["shape"]
    for module, pair in sides.items():
        if pair.keys() != {"A", "B"}:
            raise InputError(f"{weights}: {module} has only one of lora_A and lora_B", "save the adapter again")
        if module.rpartition(".")[2] not in TARGET_MODULES:
            raise AdapterRefused(f"{weights}: engines serve no adapter on {module}", "leave it out of target_modules")
    return {module: (pair["A"], pair["B"]) for module, pair in sides.items()}


def _ranks(pairs: Mapping[str, tuple[list[int], list[int]]], config: Mapping[str, Any], weights: Path) -> None:
    """The config's ranks are what scales the adapter, so they must be those of the tensors."""
    known = {config.get("r", 8), *(config.get("rank_pattern") or {}).values()}
    for module, (a, b) in pairs.items():
        if a[0] != b[1] or a[0] not in known:
            raise InputError(
                f"{weights}: {module} has rank {a[0]} and {b[1]}, its config says {', '.join(map(str, sorted(known)))}",
                "take config and weights from one checkpoint",
            )


def _fits(pairs: Mapping[str, tuple[list[int], list[int]]], base: BaseInfo, transposed: bool) -> None:
    """InputError unless every module is a matrix of the base of the size that the adapter adds to."""
    matrices = _matrices(Path(base.ref.path))
    for module, (a, b) in pairs.items():
        found = matrices.get(_layer(module))
        if found is None:
            raise InputError(
                f"the adapter is on {module}, which {base.ref.source} does not have", "give the base it was trained on"
            )
        wanted = [a[1], b[0]] if transposed else [b[0], a[1]]
        if found != wanted:
            raise InputError(
                f"the adapter's {module} is made for {' x '.join(map(str, wanted))}, "
                f"{base.ref.source} has {' x '.join(map(str, found))}",
                "give the base it was trained on",
            )


def _matrices(folder: Path) -> dict[str, list[int]]:
    """Layer -> shape of every weight matrix of the base."""
    found = {}
    for path in folder.glob("*.safetensors"):
        for name, tensor in header(path).items():
            if name.endswith(".weight"):
                found[_layer(name.removesuffix(".weight"))] = list(tensor["shape"])
    return found


def _layer(module: str) -> str:
    found = LAYERS.search(module)
    return found[0] if found else module


def _another_base(config: Mapping[str, Any], base: BaseInfo) -> list[str]:
    """Names differ between machines for one and the same base, so they only warn; shapes decide."""
    named = str(config.get("base_model_name_or_path") or "")
    last = [re.split(r"[/\\]", name.rstrip("/\\"))[-1].lower() for name in (named, base.ref.source)]
    if last[0] == last[1]:
        return []
    return [f"it says it was trained on {named or 'a base without a name'}, not {base.ref.source}: make sure of that"]


def _another_template(folder: Path, base: BaseInfo) -> list[str]:
    trained_with = chat_template(folder)
    if trained_with is None or trained_with == chat_template(Path(base.ref.path)):
        return []
    return ["it was saved with another chat template than the base's, which is the one it will be served with"]
