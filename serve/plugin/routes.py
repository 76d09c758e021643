"""Routes of ours inside the engine (a `vllm.endpoint_plugins` entry): health and readiness that say what really runs.

The plugin's `init_state` is also where a restarted engine gets its adapters back, before anybody is let in.
"""

from __future__ import annotations

import asyncio
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import State
from starlette.exceptions import HTTPException
from vllm import SamplingParams
from vllm.entrypoints.serve.lora.protocol import LoadLoRAAdapterRequest

from serve.launch import CPU_LORAS, wrong_kernels
from serve.plugin import feedback
from serve.plugin.call import Refused
from serve.plugin.catalogue import PATH, catalogue, entry
from serve.plugin.door import TURN_FD, Memory, announce, is_draining, stand_by
from serve.plugin.openapi import openapi
from serve.plugin.scoring import score
from serve.plugin.watchers import report
from serve.storage import is_url
from serve.versions import vllm_version

REGISTRY_TTL_S = 2.0  # a probe asks every second; shared storage should not be asked as often


class Routes:
    """The endpoint plugin; vLLM makes one per API server."""

    name = "ratchet_routes"
    required_tasks: tuple[str, ...] | None = None

    def attach_router(self, app: FastAPI) -> None:
        app.add_exception_handler(HTTPException, not_here)
        app.add_api_route("/ready", ready, methods=["GET"])
        app.add_api_route("/ratchet/health", health, methods=["GET"])
        app.add_api_route("/ratchet/openapi.json", openapi, methods=["GET"], include_in_schema=False)
        app.add_api_route("/ratchet/score", score, methods=["POST"])
        app.add_api_route(feedback.PATH, feedback.feedback, methods=["POST"], response_model=None)
        app.add_api_route(PATH, catalogue, methods=["GET"])
        app.add_api_route(PATH + "/{name}", entry, methods=["GET"], response_model=None)

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Kernels right, adapters back; then the supervisor may hand over. Raises where the kernels are wrong."""
        device = engine_client.vllm_config.device_config.device_type
        if problem := wrong_kernels(device, await _kernels(engine_client)):
            raise RuntimeError(problem)
        state.ratchet_memory = Memory.from_environment()
        await bring_back(engine_client, state)
        if TURN_FD in os.environ:
            await first_token(engine_client)
            await asyncio.to_thread(stand_by)
        announce()


async def first_token(engine_client: Any) -> None:
    """Answer one token before anybody is let in: a successor that cannot must not take over. Raises as vLLM does."""
    asked = SamplingParams(max_tokens=1, temperature=0.0)
    async for _ in engine_client.generate({"prompt_token_ids": [1]}, asked, "ratchet-first-token"):
        pass


async def bring_back(engine_client: Any, state: State) -> None:
    """Load what the engine had by name before it was restarted. What vLLM does not take any more is left out and said.

    A load that ends the engine is left out of the next start, which would otherwise end like this one.
    """
    memory: Memory = state.ratchet_memory
    wanted = memory.read()
    for name in list(wanted)[-CPU_LORAS:]:
        asked = LoadLoRAAdapterRequest(lora_name=name, lora_path=wanted[name])
        answer = await state.openai_serving_models.load_lora_adapter(asked)
        if engine_client.errored:
            memory.forget(name)
            raise RuntimeError(f"loading the adapter {name} again ended the engine: it is left out from now on")
        if not isinstance(answer, str):
            print(f"WARNING: adapter {name} is not back: {answer.error.message}", flush=True)
    if wanted:
        memory.keep(state)


async def not_here(request: Request, error: Exception) -> JSONResponse:
    """The router's own 404 and 405 in OpenAI's shape. vLLM adds routes by what the model can do, such as embeddings."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    kind = "NotFoundError" if status == 404 else "BadRequestError"
    message = f"{request.method} {request.url.path[:80]} is not here: the model of this engine does not offer it"
    return JSONResponse(Refused(status, kind, message).body, status)


async def health(request: Request) -> dict[str, Any]:
    """Versions, base, adapters, and the LoRA kernels that the workers name when asked. Fails when the engine is dead.

    `kernels` is one sorted list over all workers: more than one entry means that they differ.
    """
    state = request.app.state
    client, config = state.engine_client, state.engine_client.vllm_config
    await client.check_health()
    return {
        "status": "ready",
        "engine_id": os.environ.get("RATCHET_ENGINE_ID"),
        "base": os.environ.get("RATCHET_BASE_NAME"),
        "base_sha256": os.environ.get("RATCHET_BASE_SHA256"),
        "kernels": await _kernels(client),
        "device": config.device_config.device_type,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_model_len": config.model_config.max_model_len,
        "adapters": sorted(state.openai_serving_models.lora_requests),
        "watching": report(request),
        "versions": {"vllm": vllm_version() or "unknown", "torch": torch.__version__},
    }


async def ready(request: Request) -> JSONResponse:
    """Whether a router should send requests here: 200, or 503 with the state and the reason. Asks no worker.

    Kernels and adapters were seen to before the engine let anybody in, so what can change since is looked at here:
    the engine's life, draining, and the registry. The supervisor asks every second; what vLLM found in the registry
    meanwhile is written down on the way.
    """
    state = request.app.state
    state.ratchet_memory.keep(state)
    if state.engine_client.errored:
        return _unready("dead", "the engine core has ended; it is being replaced", 30)
    if is_draining(state):
        return _unready("draining", "the engine is ending and takes no new requests", 5)
    if problem := _registry_problem(state):
        return _unready("unready", problem, 5)
    return JSONResponse({"status": "ready", "engine_id": os.environ.get("RATCHET_ENGINE_ID")})


def _unready(status: str, reason: str, retry_after_s: int) -> JSONResponse:
    return JSONResponse({"status": status, "reason": reason}, 503, {"retry-after": str(retry_after_s)})


def _registry_problem(state: State) -> str | None:
    """Why the registry cannot be read; None when it can, or when nothing was promoted yet. Looked at every 2 s.

    One behind a URL is served from what was read last while its storage is away, so that is no reason.
    """
    registry, now = os.environ.get("RATCHET_REGISTRY"), time.monotonic()
    if (
        not registry
        or is_url(registry)
        or now - getattr(state, "ratchet_registry_seen", -REGISTRY_TTL_S) < REGISTRY_TTL_S
    ):
        return getattr(state, "ratchet_registry_problem", None)
    try:
        next(Path(registry).iterdir(), None)
        problem = None
    except FileNotFoundError:
        problem = None
    except OSError as error:
        problem = f"the registry {registry} cannot be read ({error.strerror})"
    state.ratchet_registry_seen, state.ratchet_registry_problem = now, problem
    return problem


async def _kernels(client: Any) -> list[str]:
    reports = await client.collective_rpc("ratchet_kernels")
    return sorted({kernel for report in reports for kernel in report})
