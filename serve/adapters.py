"""What vLLM can serve of PEFT's adapters, said before training and before loading; and load, unload, list.

The rules are those of vLLM 0.32's `PEFTHelper` and of the modules that our engines name in `--lora-target-modules`.
An adapter's name is immutable: the same name with another folder is an error, loading it twice is not.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx

from harness.core.errors import AdapterRefused, EngineError, InputError
from harness.core.paths import check_name, read_json
from serve.client import PATIENCE_S, retry_after_s

RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # the values that --max-lora-rank takes
LOST_CONNECTIONS = 2  # a killed vLLM takes its connections with it; its supervisor answers the next
LOAD_TIMEOUT_S = 120  # an adapter of 1 GB from a slow disk; 15 to 400 ms are usual
# Inits that only set the first weights; the others change the base too (vLLM's PEFTHelper._init_is_supported).
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
# Linear layers by their last name. lm_head and embeddings are left out on purpose: an adapter there kills the CPU
# engine at the first request for prompt log-probs.
TARGET_MODULES = (
    *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj", "qkv_proj", "gate_up_proj"),
    *("out_proj", "dense", "fc1", "fc2", "c_attn", "c_proj", "c_fc", "query_key_value", "dense_h_to_4h"),
    *("dense_4h_to_h", "W_pack", "wqkv", "wo", "w1", "w2", "w3"),
)
SAY_LORA = "train a plain LoRA (r, lora_alpha, target_modules; rsLoRA, rank_pattern and alpha_pattern are fine)"


class Leased(Protocol):
    """What asking needs to know of an engine."""

    @property
    def url(self) -> str: ...
    @property
    def admin_token(self) -> str: ...


class Served(Leased, Protocol):
    """What loading needs to know of an engine."""

    @property
    def max_lora_rank(self) -> int: ...


def rank_bucket(rank: int) -> int:
    """The smallest `--max-lora-rank` that fits `rank`. AdapterRefused above 512."""
    for bucket in RANKS:
        if rank <= bucket:
            return bucket
    raise AdapterRefused(f"r: {rank} is more than vLLM serves", f"use at most {RANKS[-1]}")


def check_adapter(config: Mapping[str, Any], max_lora_rank: int = RANKS[-1]) -> None:
    """Raise AdapterRefused with the key and what to use instead, if vLLM would refuse or only half use this adapter.

    `config` is a PEFT `adapter_config.json` or the spec's `train.adapter`: the names are the same.
    """
    if reason := refusal(config, max_lora_rank):
        raise AdapterRefused(*reason)


def refusal(config: Mapping[str, Any], max_lora_rank: int = RANKS[-1]) -> tuple[str, str] | None:
    """(what vLLM refuses, what to use), or None for an adapter that it serves."""
    kind = str(config.get("peft_type") or config.get("type") or "lora")
    if kind.lower() != "lora":
        return f"peft_type: vLLM serves LoRA adapters, not {kind}", SAY_LORA
    return _feature(config) or _rank(config, max_lora_rank) or _modules(config.get("target_modules"))


def _feature(config: Mapping[str, Any]) -> tuple[str, str] | None:
    init = config.get("init_lora_weights", True)
    if isinstance(init, str) and init.lower() not in PLAIN_INITS:
        fix = "set it to true, or convert with PEFT's path_initial_model_for_weight_conversion when saving"
        return f"init_lora_weights: vLLM does not serve {init!r}, which changes the base too", fix
    if config.get("bias", "none") != "none":
        return f"bias: vLLM serves no adapter bias ({config['bias']!r})", "use bias: none"
    switches = {
        "use_dora": "DoRA",
        "use_qalora": "QALoRA",
        "use_bdlora": "block-diagonal LoRA",
        "lora_bias": "a bias in LoRA layers",
        "alora_invocation_tokens": "activated LoRA",
        "layer_replication": "replicated layers",
        "modules_to_save": "fully trained modules",
        "trainable_token_indices": "trained token embeddings",
        "target_parameters": "adapters on bare parameters",
    }
    for key, words in switches.items():
        if config.get(key):
            return f"{key}: vLLM does not serve {words}", f"leave {key} out; {SAY_LORA}"
    return None


def _rank(config: Mapping[str, Any], max_lora_rank: int) -> tuple[str, str] | None:
    ranks = [config.get("r", 8), *(config.get("rank_pattern") or {}).values()]
    if wrong := [rank for rank in ranks if not isinstance(rank, int) or rank < 1]:
        return f"r: {wrong[0]!r} is not a rank", "use a whole number from 1"
    if max(ranks) > max_lora_rank:
        return f"r: {max(ranks)} is more than this engine serves ({max_lora_rank})", "lower it or start a larger engine"
    return None


def _modules(targets: Any) -> tuple[str, str] | None:
    """An unserved module would be left out silently. A string is a pattern or `all-linear`: known after training."""
    if targets is None or isinstance(targets, str):
        return None
    unserved = sorted({str(target) for target in targets if str(target).rsplit(".", 1)[-1] not in TARGET_MODULES})
    if unserved:
        return (
            f"target_modules: engines serve no adapter on {', '.join(unserved)}",
            "use all-linear or name other layers",
        )
    return None


def read_config(folder: Path) -> dict[str, Any]:
    """The adapter's `adapter_config.json`; InputError if the folder holds no safetensors adapter."""
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        if not (folder / name).is_file():
            raise InputError(f"{folder} has no {name}", "name the folder of a trained adapter saved as safetensors")
    config = read_json(folder / "adapter_config.json")
    if not isinstance(config, dict):
        raise InputError(f"{folder / 'adapter_config.json'} is not a JSON object")
    return config


def load(engine: Served, name: str, folder: Path) -> None:
    """Serve the adapter in `folder` as `name`. Doing it again is fine; another folder under the name is an error.

    For candidates (run ids). Versions `name@vN` need no loading: the engine finds them in the registry.
    """
    check_name(name, "adapter name")
    folder = folder.resolve()
    check_adapter(read_config(folder), engine.max_lora_rank)
    if _is_there(engine, name, folder):
        return
    response = _post(engine, "/v1/load_lora_adapter", {"lora_name": name, "lora_path": str(folder)})
    if response.status_code != 200 and not _is_there(engine, name, folder):  # another command may have been faster
        raise EngineError(f"the engine did not load {name} from {folder}: {_reason(response)}")


def unload(engine: Served, name: str) -> None:
    """Forget the name; its folder must stay, as the engine may read it again. Unknown names are fine."""
    response = _post(engine, "/v1/unload_lora_adapter", {"lora_name": name})
    if response.status_code not in (200, 404):
        raise EngineError(f"the engine did not unload {name}: {_reason(response)}")


def warm(engine: Leased, model: str) -> str:
    """Have the engine load a version and answer with one token; empty when it did, else why it refuses (its 4xx).

    Raises EngineError where the engine does not answer, or not now.
    """
    body = {"model": model, "prompt": "a", "max_tokens": 1, "temperature": 0}
    response = _post(engine, "/v1/completions", body, patience_s=0)
    if response.status_code >= 500 or response.status_code == 429:
        raise EngineError(f"the engine at {engine.url} does not answer now: {_reason(response)}")
    return "" if response.status_code == 200 else _reason(response)


def listed(engine: Leased) -> dict[str, Path]:
    """Adapters that the engine knows by name, with the folder of each."""
    try:
        models = _ask(engine, "GET", "/v1/models").raise_for_status().json()["data"]
        # versions and aliases of the registry are listed without being loaded, and need no loading
        return {one["id"]: Path(one["root"]) for one in models if one.get("parent") and one.get("version") is None}
    except (httpx.HTTPError, KeyError, ValueError) as error:
        raise EngineError(f"the engine at {engine.url} does not list its models ({error})") from error


def _is_there(engine: Served, name: str, folder: Path) -> bool:
    known = listed(engine).get(name)
    if known is not None and known != folder:
        raise EngineError(f"{name} is already served from {known}, not {folder}", "names are immutable: use another")
    return known is not None


def _post(engine: Leased, path: str, body: dict[str, Any], patience_s: float = PATIENCE_S) -> httpx.Response:
    try:
        return _ask(engine, "POST", path, body, patience_s)
    except httpx.HTTPError as error:
        raise EngineError(f"the engine at {engine.url} does not answer ({error or type(error).__name__})") from error


def _ask(
    engine: Leased, method: str, path: str, body: dict[str, Any] | None = None, patience_s: float = PATIENCE_S
) -> httpx.Response:
    """As the engine's owner. An engine that is restarting is waited for."""
    headers = {"authorization": f"Bearer {engine.admin_token}"}
    until, lost = time.monotonic() + patience_s, 0
    while True:
        try:
            response = httpx.request(
                method, engine.url + path, json=body, headers=headers, timeout=LOAD_TIMEOUT_S, trust_env=False
            )
            pause_s = retry_after_s(response)
            if pause_s is None or time.monotonic() >= until:
                return response
        except httpx.TransportError as error:
            lost += 1
            if lost > LOST_CONNECTIONS or isinstance(error, httpx.TimeoutException):
                raise
            pause_s = 1.0
        time.sleep(pause_s)


def _reason(response: httpx.Response) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {response.status_code}"
