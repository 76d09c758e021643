"""The real engine watched: /metrics shows ours, calls of a key are captured, feedback is kept, traces arrive."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness import captured
from harness.core.paths import Lab
from harness.pipeline.usage import totals
from serve import keys
from serve.engine import Engine, EngineSpec, ensure, stop
from serve.keys import Key

BASE_SHA256 = "b" * 64


class Collector(http.server.BaseHTTPRequestHandler):
    """An OpenTelemetry collector that remembers where it was called."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.paths.append(self.path)  # type: ignore[attr-defined]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def collector() -> Iterator[http.server.HTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    server.paths = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def watched(
    engines_dir: Path, stories260k: Path, tmp_path_factory: pytest.TempPathFactory, collector: http.server.HTTPServer
) -> Iterator[tuple[Lab, Engine, str]]:
    lab = Lab(tmp_path_factory.mktemp("watched"))
    draft = Key(key_id="", name="app", secret_sha256="", scopes=["infer", "feedback"], capture=1.0, created="")
    _, secret = keys.create(lab.keys, draft)
    spec = EngineSpec(
        str(stories260k), "tiny", BASE_SHA256, dtype="float32", max_lora_rank=8,
        keys=lab.keys / keys.KEYS, requests=lab.requests,
        extra={"otlp-traces-endpoint": f"http://127.0.0.1:{collector.server_port}/v1/traces"},
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/protobuf")
        engine = ensure(lab, spec)
    yield lab, engine, secret
    engine.close()
    stop(lab, engine.engine_id)


def wait_for(found):
    until = time.monotonic() + 60
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.1)
    return value


def test_a_watched_engine(watched: tuple[Lab, Engine, str], collector: http.server.HTTPServer) -> None:
    lab, engine, secret = watched
    app = httpx.Client(base_url=engine.url, headers={"authorization": f"Bearer {secret}"}, timeout=60)
    asked = {"model": "tiny", "prompt": "Once upon a time jane@example.com", "max_tokens": 8, "user": "u1", "seed": 1}
    whole = app.post("/v1/completions", json=asked).json()
    with app.stream("POST", "/v1/completions", json={**asked, "stream": True}) as stream:
        events = [json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: {")]
    said = app.post("/v1/feedback", json={"completion_id": whole["id"], "thumb": "up", "user": "u1"})
    assert (said.status_code, said.json()["status"]) == (200, "stored")
    assert app.post("/v1/completions", json={"model": "made-up", "prompt": "x"}).status_code == 404

    exchanges = wait_for(lambda: len(found := captured.load(lab.requests).exchanges) == 2 and found)
    first, second = exchanges[whole["id"]], exchanges[events[0]["id"]]
    assert first.call.answers == [whole["choices"][0]["text"]]
    assert second.call.answers == ["".join(event["choices"][0]["text"] for event in events if event["choices"])]
    assert first.call.prompt == "Once upon a time [email]"
    assert (first.call.prompt_tokens, first.call.completion_tokens) == (
        whole["usage"]["prompt_tokens"], whole["usage"]["completion_tokens"],
    )  # fmt: skip
    assert second.call.completion_tokens == first.call.completion_tokens
    assert second.call.ttft_s is not None
    assert first.votes == {"up": 1, "down": 0}

    assert app.get("/metrics").status_code == 403
    metrics = httpx.get(f"{engine.url}/metrics", headers=engine.headers).text
    assert 'ratchet_requests_total{alias="",endpoint="completions",status="200",version="tiny"} 2.0' in metrics
    assert 'ratchet_time_to_first_token_seconds_count{alias="",version="tiny"} 1.0' in metrics
    assert 'ratchet_feedback_total{about="thumb"} 1.0' in metrics
    assert "vllm:" in metrics
    assert "made-up" not in metrics
    health = httpx.get(f"{engine.url}/ratchet/health", headers=engine.headers).json()
    assert health["watching"]["capture"] == {"written": 2, "waiting": 0, "dropped": {}}

    (key,) = keys.read(lab.keys).keys
    used = wait_for(lambda: (found := totals(lab).get(key.key_id)) and found.requests >= 4 and found)
    assert used.completion_tokens == 2 * whole["usage"]["completion_tokens"]
    (log,) = (lab.requests / "log").glob("*.jsonl")
    assert "Once upon" not in log.read_text()
    assert wait_for(lambda: collector.paths)[0] == "/v1/traces"  # type: ignore[attr-defined]
