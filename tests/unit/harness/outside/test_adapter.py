"""Adapters trained elsewhere: what is refused before a byte is copied, and what only warns."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from harness.base import describe
from harness.core.errors import AdapterRefused, InputError, RatchetError
from harness.core.paths import Lab
from harness.outside import examine

Q, V, UP = ("model.layers.0.self_attn.q_proj", "model.layers.0.self_attn.v_proj", "model.layers.1.mlp.up_proj")
SHAPES = {Q: (8, 8), V: (4, 8), UP: (16, 8)}  # out, in
CONFIG = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj", "up_proj"]}


def tensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A safetensors file of zeros."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4
        for dimension in shape:
            size *= dimension
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header | {"__metadata__": {"format": "pt"}}).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def base(folder: Path, name: str = "base", **config: Any) -> Path:
    (folder / name).mkdir()
    (folder / name / "config.json").write_text(json.dumps({"model_type": "llama", "dtype": "float32"} | config))
    tensors(folder / name / "model.safetensors", {f"{module}.weight": shape for module, shape in SHAPES.items()})
    return folder / name


def lora(rank: int = 2, prefix: str = "base_model.model.") -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for module, (out, into) in SHAPES.items():
        found[f"{prefix}{module}.lora_A.weight"] = (rank, into)
        found[f"{prefix}{module}.lora_B.weight"] = (out, rank)
    return found


def adapter(folder: Path, shapes: dict[str, tuple[int, ...]] | None = None, **config: Any) -> Path:
    place = folder / "adapter"
    place.mkdir(exist_ok=True)
    (place / "adapter_config.json").write_text(json.dumps(CONFIG | {"base_model_name_or_path": "org/base"} | config))
    tensors(place / "adapter_model.safetensors", lora() if shapes is None else shapes)
    return place


def look(folder: Path, place: Path, source: str = "base") -> Any:
    return examine(place, describe(str(folder / source), Lab(folder / "lab")))


@pytest.mark.parametrize("shapes", [lora(), lora(prefix="base_model.model.language_model.")])
def test_a_plain_adapter_of_the_base_is_taken(tmp_path, shapes):
    base(tmp_path)
    found = look(tmp_path, adapter(tmp_path, shapes))
    assert (found.rank, found.dtype, found.warnings) == (2, "F32", [])
    assert found.parameters == 2 * (8 + 8) + 2 * (4 + 8) + 2 * (16 + 8)


BAD = {
    "DoRA": ({}, {"use_dora": True}, "use_dora: vLLM does not serve DoRA"),
    "not LoRA": ({}, {"peft_type": "IA3"}, "vLLM serves LoRA adapters, not IA3"),
    "PiSSA": ({}, {"init_lora_weights": "pissa"}, "which changes the base too"),
    "hidden DoRA": ({f"base_model.model.{Q}.lora_magnitude_vector": (8,)}, {}, "is DoRA, which vLLM does not serve"),
    "embeddings": ({"base_model.model.model.embed_tokens.weight": (9, 8)}, {}, "save_embedding_layers=False"),
    "head": ({"base_model.model.lm_head.lora_A.weight": (2, 8), "base_model.model.lm_head.lora_B.weight": (9, 2)},
             {}, "engines serve no adapter on lm_head"),
    "bias": ({f"base_model.model.{Q}.bias": (8,)}, {}, "is biases"),
    "unknown": ({"base_model.model.x.weird": (8,)}, {}, "x.weird is no LoRA tensor of PEFT's"),
    "no prefix": ({f"{Q}.lora_A.weight": (2, 8)}, {}, "is no LoRA tensor of PEFT's"),
    "state dict": ({f"base_model.model.{Q}.lora_A.default.weight": (2, 8)}, {}, "is a state dict's"),
    "half a pair": ({"base_model.model.model.layers.1.mlp.down_proj.lora_A.weight": (2, 16)}, {}, "has only one of"),
    "other rank": ({}, {"r": 8}, "has rank 2 and 2, its config says 8. take config and weights from one checkpoint"),
    "other size": ({f"base_model.model.{Q}.lora_A.weight": (2, 9)}, {},
                   "q_proj is made for 8 x 9, base has 8 x 8. give the base it was trained on"),
    "other layers": ({"base_model.model.model.layers.7.mlp.up_proj.lora_A.weight": (2, 8),
                      "base_model.model.model.layers.7.mlp.up_proj.lora_B.weight": (16, 2)},
                     {}, "is on model.layers.7.mlp.up_proj, which base does not have"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_what_engines_do_not_serve_or_does_not_fit_is_refused_with_the_fix(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    extra, config, said = BAD[case]
    base(tmp_path)
    place = adapter(tmp_path, lora() | extra, **config)
    with pytest.raises((AdapterRefused, InputError)) as error:
        examine(place, describe("base", Lab(tmp_path / "lab")))
    assert said in error.value.one_line()
    assert error.value.fix


def test_what_is_named_in_an_adapters_place_is_told_apart(tmp_path):
    base(tmp_path)
    place = adapter(tmp_path)

    def said() -> str:
        with pytest.raises(RatchetError) as error:
            look(tmp_path, place)
        return error.value.one_line()

    data = (place / "adapter_model.safetensors").read_bytes()
    (place / "adapter_model.safetensors").write_bytes(data[:-8])
    assert "is empty, damaged or only a part of one" in said()
    (place / "adapter_model.safetensors").rename(place / "adapter_model.bin")
    assert "holds adapter_model.bin" in said()
    assert "call save_pretrained(OUT)" in said()
    (place / "adapter_model.bin").unlink()
    assert "has no adapter_model.safetensors" in said()
    place.rename(tmp_path / "checkpoint-10")
    place.mkdir()
    (tmp_path / "checkpoint-10").rename(place / "checkpoint-10")
    assert "holds several adapters: checkpoint-10. name one of these folders" in said()
    place = tmp_path / "base"
    assert "is a whole model" in said()
    place = tmp_path / "none"
    assert "is not a folder" in said()


def test_other_names_and_templates_only_warn(tmp_path):
    base(tmp_path)
    place = adapter(tmp_path, base_model_name_or_path="unsloth/base-bnb-4bit")
    (place / "chat_template.jinja").write_text("{{ messages }}")
    first, second = look(tmp_path, place).warnings
    assert first.startswith("it says it was trained on unsloth/base-bnb-4bit, not ")
    assert "another chat template" in second


def test_shapes_of_a_quantised_base_are_not_compared(tmp_path):
    base(tmp_path, quantization_config={"quant_method": "gptq"})
    odd = {f"base_model.model.{Q}.lora_A.weight": (2, 99), f"base_model.model.{Q}.lora_B.weight": (1, 2)}
    found = look(tmp_path, adapter(tmp_path, odd))
    assert found.warnings == ["the base is stored quantised, so the adapter's shapes were not compared with it"]


def test_the_command_refuses_before_anything_is_written(desk):
    place = adapter(desk.root, use_dora=True)
    ended = desk.ratchet("adopt", place, "--base", "base")
    assert "use_dora: vLLM does not serve DoRA" in ended.error
    assert desk.files() == set()
    assert "is neither" in desk.ratchet("adopt", place, "--base", "org/none").error
    place = adapter(desk.root)
    assert "which base does not have" in desk.ratchet("adopt", place, "--base", "base").error
    assert "is not a folder" in desk.ratchet("adopt", "../nothing", "--base", "base").error
    assert desk.files() == set()
