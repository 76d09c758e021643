"""vLLM's command line and environment."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from serve import launch
from serve.engine import EngineSpec


def options(words: list[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    key = ""
    for word in words:
        if word.startswith("--"):
            key = word[2:]
            found[key] = []
        else:
            found.setdefault(key, []).append(word)
    return found


def test_cpu_and_gpu_differ_only_where_they_must(tmp_path: Path) -> None:
    spec = EngineSpec(str(tmp_path), "tiny", "b" * 64, max_lora_rank=3, extra={"max-num-seqs": 8}).as_json()
    cpu, gpu = (options(launch.command(spec, 8000, cpu)) for cpu in (True, False))
    assert set(cpu) - set(gpu) == {"enforce-eager", "block-size", "kv-cache-memory-bytes"}
    assert gpu["host"] == ["127.0.0.1"]
    assert gpu["max-lora-rank"] == ["8"]
    assert gpu["max-num-seqs"] == ["8"]
    assert "lm_head" not in gpu["lora-target-modules"]
    assert "max-model-len" not in gpu


def test_the_environment_closes_what_it_must(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    spec = EngineSpec(str(tmp_path), "tiny", "b" * 64, registry=tmp_path).as_json()
    variables = launch.environment(spec, "e-1", tmp_path, "token", cpu=True)
    assert variables["RATCHET_REGISTRY"] == str(tmp_path)
    assert variables["HF_HUB_OFFLINE"] == variables["PYTHONSAFEPATH"] == variables["RATCHET_ENGINE"] == "1"
    assert "PYTHONDONTWRITEBYTECODE" not in variables
    hub = EngineSpec("someone/model", "tiny", "b" * 64).as_json()
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "HF_HUB_OFFLINE" not in launch.environment(hub, "e-1", tmp_path, "token", cpu=False)


def test_the_kv_cache_fits_the_base(tmp_path: Path) -> None:
    """4 layers x 2 KV heads x 64 wide x 2 bytes x (K and V) = 2,048 bytes a token; 64 times 4,096 tokens: 512 MiB."""
    config = {"num_hidden_layers": 4, "num_attention_heads": 8, "num_key_value_heads": 2, "head_dim": 64}
    (tmp_path / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 4096, "dtype": "bfloat16"}))
    wanted = EngineSpec(str(tmp_path), "tiny", "b" * 64)
    assert launch.kv_bytes(wanted.as_json()) == 512 * 2**20
    assert launch.kv_bytes({**wanted.as_json(), "dtype": "float32"}) == 2**30
    assert launch.kv_bytes({**wanted.as_json(), "max_model_len": 16}) == launch.KV_BYTES[0]
    assert launch.kv_bytes({**wanted.as_json(), "base_path": "someone/model"}) == 2**30


def test_the_entry_points_are_the_plugins_that_we_allow() -> None:
    import importlib.metadata

    ours = {
        point.name
        for group in ("vllm.general_plugins", "vllm.endpoint_plugins")
        for point in importlib.metadata.entry_points(group=group)
        if point.value.startswith("serve.plugin.")
    }
    assert ours == set(launch.PLUGINS.split(","))


def test_idle_connections_outlive_those_of_clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """httpx lets go of an idle connection after 5 s; a server that does so at the same moment resets a request."""
    spec = EngineSpec(str(tmp_path), "tiny", "b" * 64).as_json()
    name = "VLLM_HTTP_TIMEOUT_KEEP_ALIVE"
    monkeypatch.delenv(name, raising=False)
    client = httpx.Limits().keepalive_expiry
    assert client is not None
    assert int(launch.environment(spec, "e-1", tmp_path, "t", cpu=True)[name]) > 2 * client
    monkeypatch.setenv(name, "9")
    assert launch.environment(spec, "e-1", tmp_path, "t", cpu=True)[name] == "9"
