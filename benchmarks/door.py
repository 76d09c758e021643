"""What the gatekeeper costs a request: `python -m benchmarks.door [--quick] [--format json]`.

The gatekeeper around an app that answers at once, against that app alone, in one process and without HTTP, so that
nothing else is measured. A key with limits is in force. Ratios are the app's time over both, so near 1 they say little;
what counts is `added_us`: the p50 that is added to a request, in microseconds (the goal of serving is 1,000).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from serve import keys
from serve.keys import Key
from serve.plugin.call import App, Message, Receive, Scope, Send
from serve.plugin.gatekeeper import Gatekeeper, Settings

CHUNKS = 200
USAGE = SimpleNamespace(prompt_tokens=100, completion_tokens=CHUNKS)
EVENT = b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"tiny","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,"finish_reason":null}]}\n\n'  # fmt: skip  # noqa: E501
WHOLE = b'{"id":"chatcmpl-1","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}],"usage":{"prompt_tokens":100,"completion_tokens":1}}'  # fmt: skip  # noqa: E501
WORDS = "a word and another " * 5000
BODIES: dict[str, dict[str, Any]] = {
    "short": {"messages": [{"role": "user", "content": "Hello, who are you?"}], "max_tokens": 16},
    "prompt_of_95_kb": {"messages": [{"role": "user", "content": WORDS}], "max_tokens": 16},
    "prompt_of_8000_ids": {"prompt": list(range(8000)), "max_tokens": 16},
    f"stream_of_{CHUNKS}": {"messages": [{"role": "user", "content": "Hello"}], "stream": True, "max_tokens": CHUNKS},
}


async def answer(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads the request as Starlette would, parses it as vLLM must, and answers."""
    body = json.loads((await receive())["body"])
    streamed = body.get("stream")
    kind = b"text/event-stream" if streamed else b"application/json"
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
    scope.setdefault("state", {})["request_metadata"] = SimpleNamespace(final_usage_info=USAGE)
    for _ in range(CHUNKS if streamed else 0):
        await send({"type": "http.response.body", "body": EVENT, "more_body": True})
    await send({"type": "http.response.body", "body": b"data: [DONE]\n\n" if streamed else WHOLE})


def call(app: App, path: str, body: dict[str, Any], secret: str) -> Callable[[], Awaitable[None]]:
    data = json.dumps({"model": "tiny", **body}).encode()
    models = SimpleNamespace(lora_requests={}, model_config=SimpleNamespace(max_model_len=32_768))
    engine = SimpleNamespace(errored=False)
    server = SimpleNamespace(state=SimpleNamespace(openai_serving_models=models, engine_client=engine))
    headers = [(b"host", b"x"), (b"content-type", b"application/json"), (b"authorization", f"Bearer {secret}".encode())]
    headers += [(b"content-length", str(len(data)).encode()), (b"user-agent", b"benchmark"), (b"accept", b"*/*")]

    async def receive() -> Message:
        return {"type": "http.request", "body": data, "more_body": False}

    async def send(message: Message) -> None:
        pass

    async def once() -> None:
        scope = {
            "type": "http",
            "method": "POST",
            "path": path,
            "headers": headers,
            "app": server,
        }
        await app(scope, receive, send)

    return once


async def p50_us(pairs: list[Callable[[], Awaitable[None]]], rounds: int) -> list[float]:
    """Microseconds of one call of each, interleaved, so that both meet the same machine."""
    times: list[list[float]] = [[] for _ in pairs]
    for _ in range(rounds):
        for place, once in enumerate(pairs):
            began = time.perf_counter()
            await once()
            times[place].append((time.perf_counter() - began) * 1e6)
    return [statistics.median(one) for one in times]


def measure(rounds: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        draft = Key(key_id="", name="app", secret_sha256="", scopes=["infer"], created="",
                    requests_per_minute=10**9, tokens_per_minute=10**9)  # fmt: skip
        _, secret = keys.create(folder, draft)
        door = Gatekeeper(answer, Settings("tiny", "token", keys=folder / keys.KEYS, hold=folder / "hold"))
        details = {}
        for name, body in BODIES.items():
            path = "/v1/completions" if "prompt" in body else "/v1/chat/completions"
            pair = [call(app, path, body, secret) for app in (answer, door)]
            bare, ours = asyncio.run(p50_us(pair, rounds))
            details[name] = {"bare_us": round(bare, 1), "ours_us": round(ours, 1), "added_us": round(ours - bare, 1)}
    return {
        "benchmark": "door",
        "device": f"{platform.machine()} CPU",
        "versions": {name: version(name) for name in ("ratchet-lm", "starlette")},
        "ratios": {f"{name}_vs_bare": round(one["bare_us"] / one["ours_us"], 3) for name, one in details.items()},
        "details": details,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.door", description="What the gatekeeper costs.")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    arguments = parser.parse_args()
    found = measure(200 if arguments.quick else 3000)
    if arguments.format == "json":
        print(json.dumps(found, indent=2))
        return
    for name, one in found["details"].items():
        print(f"{name:<20} bare {one['bare_us']:8.1f} µs   with the gatekeeper {one['ours_us']:8.1f} µs   "
              f"added {one['added_us']:8.1f} µs")  # fmt: skip


if __name__ == "__main__":
    main()
