"""What vLLM refuses is refused here first, with the key; loading is idempotent and names are immutable."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from harness.core.errors import AdapterRefused, EngineError, InputError
from serve import adapters
from serve.fake import Script

PLAIN = {"peft_type": "LORA", "r": 8, "lora_alpha": 16, "bias": "none", "target_modules": ["q_proj", "down_proj"]}


class Handle(NamedTuple):
    url: str
    admin_token: str = "fake"
    max_lora_rank: int = 16


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"peft_type": "LOHA"}, "peft_type"),
        ({"peft_type": None, "type": "ia3"}, "peft_type"),
        ({"use_dora": True}, "use_dora"),
        ({"use_qalora": True}, "use_qalora"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights"),
        ({"init_lora_weights": "pissa_niter_16"}, "init_lora_weights"),
        ({"init_lora_weights": "olora"}, "init_lora_weights"),
        ({"init_lora_weights": "corda"}, "init_lora_weights"),
        ({"init_lora_weights": "loftq"}, "init_lora_weights"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"),
        ({"trainable_token_indices": [1]}, "trainable_token_indices"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"r": 32}, "r"),
        ({"r": 0}, "r"),
        ({"rank_pattern": {"q_proj": 64}}, "r"),
        ({"target_modules": ["q_proj", "lm_head"]}, "target_modules"),
        ({"target_modules": ["model.embed_tokens"]}, "target_modules"),
    ],
)
def test_refused_with_the_key_and_a_way_out(change: dict[str, Any], key: str) -> None:
    with pytest.raises(AdapterRefused) as refused:
        adapters.check_adapter(PLAIN | change, max_lora_rank=16)
    assert refused.value.problem.startswith(f"{key}: ")
    assert refused.value.fix


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"use_rslora": True},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": False},
        {"rank_pattern": {"q_proj": 16}, "alpha_pattern": {"q_proj": 4}},
        {"target_modules": "all-linear"},
        {"modules_to_save": None, "loftq_config": {}},
    ],
)
def test_served(change: dict[str, Any]) -> None:
    assert adapters.refusal(PLAIN | change, max_lora_rank=16) is None


def test_rank_bucket_is_the_next_rank_that_vllm_takes() -> None:
    assert [adapters.rank_bucket(rank) for rank in (1, 2, 8, 9, 65, 257, 512)] == [1, 8, 8, 16, 128, 320, 512]
    with pytest.raises(AdapterRefused, match="r: 513"):
        adapters.rank_bucket(513)


def test_load_list_unload(serving: Callable[[Script], str], tmp_path: Path) -> None:
    folder, other = _adapter(tmp_path / "one"), _adapter(tmp_path / "two")
    engine = Handle(serving(Script()))
    adapters.load(engine, "r-1", folder)
    adapters.load(engine, "r-1", folder)
    assert adapters.listed(engine) == {"r-1": folder}
    with pytest.raises(EngineError, match="already served from"):
        adapters.load(engine, "r-1", other)
    adapters.unload(engine, "r-1")
    adapters.unload(engine, "r-1")
    assert adapters.listed(engine) == {}


def test_only_safetensors_and_safe_names(serving: Callable[[Script], str], tmp_path: Path) -> None:
    engine = Handle(serving(Script()))
    folder = _adapter(tmp_path / "one")
    with pytest.raises(InputError, match="adapter name"):
        adapters.load(engine, "../r", folder)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(InputError, match=r"adapter_model\.safetensors"):
        adapters.load(engine, "r-1", folder)


def test_wrong_token_and_dead_engine_are_one_line(serving: Callable[[Script], str], tmp_path: Path) -> None:
    folder = _adapter(tmp_path / "one")
    with pytest.raises(EngineError, match="admin token"):
        adapters.load(Handle(serving(Script()), admin_token="wrong"), "r-1", folder)
    with pytest.raises(EngineError, match="does not list its models"):
        adapters.load(Handle("http://127.0.0.1:9"), "r-1", folder)


def _adapter(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(PLAIN))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder.resolve()
