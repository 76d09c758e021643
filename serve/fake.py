"""`python -m serve.fake --port N [--script FILE]`: an engine's routes with scripted answers, without a model.

For tests, dry runs and app developers' own CI. Names, aliases, admin token and errors are the real gatekeeper's, and
draining is the real door's. A supervisor may stand in front of it as of the real one. The script is JSON, every key
optional:

    {"base": "tiny",                                   the served base name
     "base_sha256": "…", "registry": "lab/registry",   versions and aliases, as the real engine resolves and checks them
     "base_path": "bases/tiny", "max_lora_rank": 16,   adapters that do not fit are refused, as by the real engine
     "admin_token": "fake", "adapters": {"r-1": "/path/of/it"},
     "requests": "lab/requests",                        where capture, feedback, usage and the request log go
     "keys": "lab/keys/keys.json", "cors": ["https://app.example"], "limits": {"n": 4},   as the real engine's
     "delay_s": 0.5, "piece_s": 0.05,                  what an answer takes, and each piece of a stream
     "dies_after": 100,                                answers until the engine counts as dead
     "answers": {"aac@v1": {"last user text": "answer"}, "*": {"…": "…"}}}

What the script does not answer gets a text that depends on model and prompt only. Tokens are words; a log-prob
depends on model, position and token only.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import shutil
import socket
import tempfile
import weakref
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from harness.core.errors import InputError
from harness.core.paths import read_json
from serve.adapters import RANKS
from serve.lease import HOLD
from serve.plugin import catalogue, feedback
from serve.plugin.bounds import Limits
from serve.plugin.door import Door, Memory, announce, is_draining, stand_by
from serve.plugin.gatekeeper import Gatekeeper, Settings
from serve.plugin.openapi import openapi
from serve.plugin.watchers import build, report

CREATED = 1_700_000_000  # a fixed time, so that answers are the same every time
DEFAULT_MAX_TOKENS = 64
router = APIRouter()
router.add_api_route(feedback.PATH, feedback.feedback, methods=["POST"], response_model=None)
router.add_api_route("/ratchet/openapi.json", openapi, methods=["GET"], include_in_schema=False)
router.add_api_route(catalogue.PATH, catalogue.catalogue, methods=["GET"])
router.add_api_route(catalogue.PATH + "/{name}", catalogue.entry, methods=["GET"], response_model=None)


@dataclass
class Script:
    """What the fake knows. Unknown keys of the file are refused."""

    base: str = "tiny"
    base_sha256: str = ""
    base_path: str | None = None
    registry: str | None = None
    admin_token: str = "fake"  # noqa: S105 - a fake's token guards nothing
    device: str = "fake"
    kernels: list[str] = field(default_factory=lambda: ["serve.fake"])
    max_model_len: int = 4096
    max_lora_rank: int = RANKS[-1]
    delay_s: float = 0.0
    piece_s: float = 0.0
    dies_after: int | None = None
    adapters: dict[str, str] = field(default_factory=dict)
    answers: dict[str, dict[str, str]] = field(default_factory=dict)
    keys: str | None = None
    requests: str | None = None
    public: bool = False
    cors: list[str] = field(default_factory=list)
    limits: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path | None) -> Script:
        if path is None:
            return cls()
        if not path.is_file():
            raise InputError(f"{path} does not exist", "name the fake's script")
        values = read_json(path)
        unknown = sorted(set(values) - set(cls.__dataclass_fields__))
        if unknown:
            raise InputError(f"{path}: {unknown[0]}: no such key", f"use {', '.join(cls.__dataclass_fields__)}")
        return cls(**values)

    def answer(self, model: str, prompt: str) -> str:
        for scripted in (self.answers.get(model, {}), self.answers.get("*", {})):
            if prompt in scripted:
                return scripted[prompt]
        return f"{model} answers {_hash(model, prompt)[:8]} to: {prompt}"


def make_app(script: Script) -> FastAPI:
    """The fake as an ASGI app."""
    app = FastAPI(openapi_url=None)
    memory, hold = Memory.from_environment(), os.environ.get("RATCHET_HOLD")
    app.state.script, app.state.answered = script, 0
    app.state.openai_serving_models = SimpleNamespace(
        lora_requests={**script.adapters, **memory.read()},
        model_config=SimpleNamespace(max_model_len=script.max_model_len),
    )
    app.state.engine_client = SimpleNamespace(errored=False)
    app.include_router(router)
    folder = Path(tempfile.mkdtemp(prefix="ratchet-fake-"))
    weakref.finalize(app, shutil.rmtree, folder, ignore_errors=True)
    settings = Settings(
        script.base,
        script.admin_token,
        script.base_sha256,
        script.registry,
        hold=Path(hold) if hold else folder / HOLD,
        keys=Path(script.keys) if script.keys else None,
        requests=Path(script.requests) if script.requests else None,
        public=script.public,
        cors=tuple(script.cors),
        limits=Limits(**script.limits),
        engine_id="e-fake",
        base_path=Path(script.base_path) if script.base_path else None,
        max_lora_rank=script.max_lora_rank,
    )
    app.state.metrics = CollectorRegistry()
    app.add_middleware(Gatekeeper, settings=settings, watchers=build(settings, app.state.metrics))
    app.add_middleware(Door, admin_token=script.admin_token, memory=memory)
    return app


@router.get("/health")
@router.get("/ping")
def alive(request: Request) -> Response:
    return Response(status_code=503 if request.app.state.engine_client.errored else 200)


@router.get("/ready")
def ready(request: Request) -> Response:
    dead = request.app.state.engine_client.errored
    if dead or is_draining(request.app.state):
        status = "dead" if dead else "draining"
        return JSONResponse({"status": status, "reason": "as the script says"}, 503, {"retry-after": "5"})
    return JSONResponse({"status": "ready", "engine_id": "e-fake"})


@router.get("/ratchet/health")
def health(request: Request) -> dict[str, Any]:
    script: Script = request.app.state.script
    return {
        "status": "ready",
        "engine_id": "e-fake",
        "base": script.base,
        "base_sha256": script.base_sha256,
        "kernels": script.kernels,
        "device": script.device,
        "dtype": "float32",
        "max_model_len": script.max_model_len,
        "adapters": sorted(_loaded(request)),
        "watching": report(request),
        "versions": {"vllm": "fake", "torch": "none"},
    }


@router.get("/metrics")
def metrics(request: Request) -> Response:
    return PlainTextResponse(generate_latest(request.app.state.metrics), media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    script: Script = request.app.state.script
    base = {"id": script.base, "object": "model", "created": CREATED, "root": script.base, "parent": None}
    cards = [{**base, "id": name, "root": path, "parent": script.base} for name, path in _loaded(request).items()]
    return {"object": "list", "data": [base, *cards]}


@router.post("/v1/load_lora_adapter")
async def load_adapter(request: Request) -> Response:
    body = await request.json()
    loaded = _loaded(request)
    if body["lora_name"] in loaded:
        return _error(400, f"The lora adapter '{body['lora_name']}' has already been loaded.")
    if not (Path(body["lora_path"]) / "adapter_config.json").is_file():
        return _error(404, f"No adapter found for {body['lora_path']}")
    loaded[body["lora_name"]] = body["lora_path"]
    return PlainTextResponse(f"Success: LoRA adapter '{body['lora_name']}' added successfully.")


@router.post("/v1/unload_lora_adapter")
async def unload_adapter(request: Request) -> Response:
    name = (await request.json())["lora_name"]
    if _loaded(request).pop(name, None) is None:
        return _error(404, f"The lora adapter '{name}' cannot be found.")
    return PlainTextResponse(f"Success: LoRA adapter '{name}' removed successfully.")


@router.post("/v1/chat/completions")
async def chat(request: Request) -> Response:
    await _live(request)
    body = await request.json()
    turns = body.get("messages")
    if not isinstance(turns, list) or not turns or not all(isinstance(t, dict) and "content" in t for t in turns):
        return _error(400, "messages must be a list of at least one message with content")
    if wrong := _wrong_limit(body):
        return wrong
    words, reason = _words(request, body, str(turns[-1]["content"]))
    prompt_tokens = sum(len(str(turn["content"]).split()) for turn in turns)
    if body.get("stream"):
        _count(request, prompt_tokens, len(words))
        deltas = [{"delta": {"role": "assistant", "content": ""}}, *({"delta": {"content": word}} for word in words)]
        return _stream(request, body, "chat.completion.chunk", [*deltas, {"delta": {}, "finish_reason": reason}])
    choice = {"index": 0, "message": {"role": "assistant", "content": "".join(words)}, "finish_reason": reason}
    return _complete(body["model"], "chat.completion", choice, prompt_tokens, len(words))


@router.post("/v1/completions")
async def completions(request: Request) -> Response:
    await _live(request)
    body = await request.json()
    prompt = body.get("prompt", "")
    if not isinstance(prompt, str | list):
        return _error(400, "prompt must be a text or token ids")
    if wrong := _wrong_limit(body):
        return wrong
    tokens = prompt if isinstance(prompt, list) else prompt.split()
    text = " ".join(str(token) for token in tokens)
    words, reason = _words(request, body, text)
    if body.get("stream"):
        _count(request, len(tokens), len(words))
        pieces = [*({"text": word} for word in words), {"text": "", "finish_reason": reason}]
        return _stream(request, body, "text_completion", pieces)
    choice: dict[str, Any] = {"index": 0, "text": "".join(words), "finish_reason": reason, "logprobs": None}
    if body.get("echo"):
        choice["text"] = text + choice["text"]
    if body.get("logprobs") is not None:
        scored = [*(tokens if body.get("echo") else []), *words]
        values: list[float | None] = [_logprob(body["model"], i, token) for i, token in enumerate(scored)]
        if body.get("echo"):
            values[:1] = [None]
        choice["logprobs"] = {"tokens": [str(token) for token in scored], "token_logprobs": values}
    return _complete(body["model"], "text_completion", choice, len(tokens), len(words))


@router.post("/ratchet/score")
async def score(request: Request) -> dict[str, Any]:
    """A choice's log-prob is the sum of those that an echo of context and choice shows; the first choice is greedy."""
    body = await request.json()
    scores = [
        [
            [sum(_logprob(body["model"], len(group["context"]) + i, token) for i, token in enumerate(choice)), n == 0]
            for n, choice in enumerate(group["choices"])
        ]
        for group in body["groups"]
    ]
    return {"model": body["model"], "scores": scores, "rescored": 0}


def _count(request: Request, prompt_tokens: int, completion_tokens: int) -> None:
    """Leave the count of tokens where vLLM leaves it for middleware: a stream itself need not say it."""
    counted = SimpleNamespace(prompt_tokens=prompt_tokens, completion_tokens=completion_tokens)
    request.state.request_metadata = SimpleNamespace(final_usage_info=counted)


async def _live(request: Request) -> None:
    """Take the time that an answer takes; after `dies_after` answers the engine counts as dead."""
    state = request.app.state
    await asyncio.sleep(state.script.delay_s)
    state.answered += 1
    state.engine_client.errored = state.script.dies_after is not None and state.answered >= state.script.dies_after


def _loaded(request: Request) -> dict[str, str]:
    loaded: dict[str, str] = request.app.state.openai_serving_models.lora_requests
    return loaded


def _wrong_limit(body: dict[str, Any]) -> Response | None:
    for name in ("max_tokens", "max_completion_tokens"):
        if not isinstance(body.get(name), int | None) or (body.get(name) or 0) < 0:
            return _error(400, f"{name} must be a whole number")
    return None


def _words(request: Request, body: dict[str, Any], prompt: str) -> tuple[list[str], str]:
    """The answer's tokens, cut at max_tokens, and the finish reason."""
    answer = request.app.state.script.answer(body["model"], prompt)
    words = [word if i == 0 else f" {word}" for i, word in enumerate(answer.split(" "))]
    limit = body.get("max_completion_tokens", body.get("max_tokens"))
    limit = DEFAULT_MAX_TOKENS if limit is None else limit
    return words[:limit], "stop" if len(words) <= limit else "length"


def _complete(model: str, kind: str, choice: dict[str, Any], prompt_tokens: int, tokens: int) -> Response:
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": tokens, "total_tokens": prompt_tokens + tokens}
    return JSONResponse(
        {"id": _id(kind), "object": kind, "created": CREATED, "model": model, "choices": [choice], "usage": usage}
    )


def _id(kind: str) -> str:
    """An answer's id, as vLLM makes them: feedback names it."""
    return f"{'chatcmpl' if kind.startswith('chat') else 'cmpl'}-{secrets.token_hex(16)}"


def _stream(request: Request, body: dict[str, Any], kind: str, choices: list[dict[str, Any]]) -> Response:
    name, pause_s = _id(kind), request.app.state.script.piece_s

    async def events() -> AsyncIterator[str]:
        for choice in choices:
            await asyncio.sleep(pause_s)
            whole = {"index": 0, "finish_reason": None, **choice}
            chunk = {"id": name, "object": kind, "created": CREATED, "model": body["model"], "choices": [whole]}
            yield f"data: {json.dumps(chunk)}\n\n"
        yield "data: [DONE]\n\n"

    return StreamingResponse(events(), media_type="text/event-stream")


def _error(status: int, message: str) -> Response:
    body = {"message": message, "type": "BadRequestError", "param": None, "code": status}
    return JSONResponse({"error": body}, status_code=status)


def _hash(*parts: object) -> str:
    return hashlib.sha256(json.dumps([str(part) for part in parts]).encode()).hexdigest()


def _logprob(model: str, position: int, token: object) -> float:
    """Between -8 and 0 nats."""
    return -int(_hash(model, position, token)[:6], 16) / 2**21


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m serve.fake", description="Scripted answers on an engine's routes.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--script", type=Path)
    arguments = parser.parse_args()
    try:
        script = Script.read(arguments.script)
    except InputError as error:
        parser.error(str(error))
    script.admin_token = os.environ.get("RATCHET_ADMIN_TOKEN", script.admin_token)
    app = make_app(script)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=arguments.port, log_level="warning"))
    app.state.server = server
    inherited = os.environ.pop("RATCHET_LISTEN_FD", None)
    listening = [socket.socket(fileno=int(inherited))] if inherited else None
    stand_by()
    announce()
    server.run(sockets=listening)


if __name__ == "__main__":
    main()
