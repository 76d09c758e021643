"""The sides of benchmarks.serve: vLLM alone, Ratchet, LiteLLM's proxy in front of vLLM; and one load for all."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import httpx

from benchmarks.serve_load import Job, Reply
from harness.core.paths import Lab
from serve import adapters as loaded
from serve import keys
from serve.engine import Engine, EngineSpec, ensure, stop
from serve.launch import command, environment, on_cpu
from serve.sockets import free_port

START_TIMEOUT_S = 600.0
API_SERVER = "vllm.entrypoints.openai.api_server"
OURS = ("--middleware", "--worker-extension-cls")  # the only options that bare vLLM does not get


class Side(NamedTuple):
    """Somebody who answers at `url` (the server's root) to `headers`; `start_s` from nothing to its first token."""

    name: str
    url: str
    headers: dict[str, str]
    start_s: float


class Load(NamedTuple):
    """What a load came to. Latencies in milliseconds; `between` is the mean time between the pieces of an answer."""

    per_s: float
    ttft_p50: float
    ttft_p95: float
    between_p50: float
    whole_p50: float
    failed: int
    replies: list[Reply]

    def figures(self) -> dict[str, float]:
        """All but the replies."""
        return {name: value for name, value in self._asdict().items() if name != "replies"}


def load(side: Side, route: str, bodies: list[dict[str, Any]], concurrency: int) -> Load:
    """Send `bodies` to a side from a process of its own, `concurrency` at a time."""
    job = Job(url=side.url + route, headers=side.headers, concurrency=concurrency, bodies=bodies)
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        file.write(json.dumps(job))
        file.flush()
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.serve_load", file.name], check=True, stdout=subprocess.PIPE
        )
    found = json.loads(done.stdout)
    replies = [Reply(**one) for one in found["replies"]]
    good = [reply for reply in replies if reply.error is None]
    if not good:
        raise RuntimeError(f"{side.name}: every request failed, the first with {replies[0].error}")
    first = sorted(reply.first_s * 1e3 for reply in good)
    between = [(reply.last_s - reply.first_s) / max(reply.pieces - 1, 1) * 1e3 for reply in good]
    return Load(
        per_s=len(good) / found["seconds"],
        ttft_p50=statistics.median(first),
        ttft_p95=first[int(0.95 * (len(first) - 1))],
        between_p50=statistics.median(between),
        whole_p50=statistics.median(reply.last_s * 1e3 for reply in good),
        failed=len(replies) - len(good),
        replies=replies,
    )


def own_limit(pieces: int, requests: int, concurrency: int) -> float:
    """Requests per second that the load's own process manages against a server that answers at once."""
    with running([sys.executable, "-m", "benchmarks.serve_load", "--canned", str(pieces)], subprocess.PIPE) as server:
        assert server.stdout is not None
        side = Side("canned", f"http://127.0.0.1:{int(server.stdout.readline())}", {}, 0)
        return load(side, "/", [{"prompt": "x"}] * requests, concurrency).per_s


@contextmanager
def running(words: list[str], out: Any, variables: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process group of its own, ended at the end."""
    process = subprocess.Popen(words, stdout=out, stderr=subprocess.STDOUT, env=variables, start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@contextmanager
def bare(spec: EngineSpec, work: Path, folders: dict[str, Path]) -> Iterator[Side]:
    """vLLM with the options and environment that Ratchet would start it with, and nothing of Ratchet in it."""
    port, fields = free_port(), spec.as_json()
    words = command(fields, port, on_cpu())[3:]
    plain = [word for word, before in zip(words, ["", *words], strict=False) if word not in OURS and before not in OURS]
    variables = environment(fields, "bare", work, "unused", on_cpu())
    variables = {key: value for key, value in variables.items() if not key.startswith("RATCHET_")}
    log, started = work / "bare.log", time.monotonic()
    with log.open("wb") as out:
        words = [sys.executable, "-m", API_SERVER, *plain]
        with running(words, out, variables | {"VLLM_PLUGINS": ""}) as server:
            url = f"http://127.0.0.1:{port}"
            until_ok(f"{url}/health", server, log)
            first_token(url, {}, spec.base_name)
            start_s = time.monotonic() - started
            for name, folder in folders.items():
                asked = {"lora_name": name, "lora_path": str(folder.absolute())}
                httpx.post(f"{url}/v1/load_lora_adapter", json=asked, timeout=60, trust_env=False).raise_for_status()
            yield Side("bare vLLM", url, {}, start_s)


@contextmanager
def ratchet(lab: Lab, spec: EngineSpec, folders: dict[str, Path]) -> Iterator[tuple[Side, Engine]]:
    """An engine as `ratchet serve` starts it, with a key in force, so that keys, metrics and usage are on."""
    wanted = keys.Key(
        key_id="",
        name="bench",
        secret_sha256="",
        scopes=["infer"],
        models=["*"],  # named, so that adapters loaded by hand are open too
        requests_per_minute=10**7,
        created="",
    )
    _, secret = keys.create(lab.keys, wanted)
    started = time.monotonic()
    with ensure(lab, spec) as engine:
        try:
            headers = {"authorization": f"Bearer {secret}"}
            first_token(engine.url, headers, spec.base_name)
            start_s = time.monotonic() - started
            for name, folder in folders.items():
                loaded.load(engine, name, folder)
            yield Side("Ratchet", engine.url, headers, start_s), engine
        finally:
            stop(lab, engine.engine_id)


@contextmanager
def litellm(python: Path, behind: Side, model: str, work: Path) -> Iterator[Side]:
    """LiteLLM's proxy with one model, which `behind` serves, and a key of its own; `python` has litellm[proxy]."""
    target = {"model": f"hosted_vllm/{model}", "api_base": f"{behind.url}/v1", "api_key": "none"}
    config = {
        "model_list": [{"model_name": model, "litellm_params": target}],
        "general_settings": {"master_key": "sk-bench"},
    }
    file, log, port = work / "litellm.json", work / "litellm.log", free_port()
    file.write_text(json.dumps(config))
    words = [str(python.parent / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    variables = {**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR"}
    started = time.monotonic()
    with log.open("wb") as out, running(words, out, variables) as server:
        url, headers = f"http://127.0.0.1:{port}", {"authorization": "Bearer sk-bench"}
        until_ok(f"{url}/health/liveliness", server, log)
        first_token(url, headers, model)
        yield Side("LiteLLM", url, headers, time.monotonic() - started)


def first_token(url: str, headers: dict[str, str], model: str, client: httpx.Client | None = None) -> str:
    """Wait for the first piece of a streamed answer; the name of the model that gave it.

    Without a `client`, one is made for this request, which takes some 20 ms of processor time.
    """
    stream = client.stream if client else partial(httpx.stream, trust_env=False)
    body = {"model": model, "messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, "temperature": 0}
    asked = body | {"stream": True, "ignore_eos": True}
    with stream("POST", f"{url}/v1/chat/completions", json=asked, headers=headers, timeout=60) as response:
        for line in response.iter_lines():
            if line.startswith("data: {"):
                event = json.loads(line[6:])
                if any((choice.get("delta") or {}).get("content") for choice in event.get("choices", [])):
                    return str(event["model"])
        raise RuntimeError(f"{url}: no token for {model} (HTTP {response.status_code})")


def until_ok(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if httpx.get(url, timeout=10, trust_env=False).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.2)
    raise RuntimeError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")


def paired(ours: list[float], theirs: list[float], spread: Callable[[int], float]) -> dict[str, float]:
    """Geometric mean of ours / theirs by round, and its 95 % interval; `spread(n - 1)` is Student's t."""
    logs = [math.log(one / other) for one, other in zip(ours, theirs, strict=True)]
    middle = statistics.fmean(logs)
    half = spread(len(logs) - 1) * statistics.stdev(logs) / len(logs) ** 0.5 if len(logs) > 1 else math.inf
    return {"ratio": math.exp(middle), "low": math.exp(middle - half), "high": math.exp(middle + half)}
