"""`ratchet serve --attach` on the real, stock vLLM: no plugin, no middleware, nothing of ours in its environment."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from harness.base import describe
from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import registry
from serve.adapter_files import content_sha256
from serve.client import Ask, ask_many
from serve.sockets import free_port

KEY = "stock-key"


@pytest.fixture(scope="module")
def stock(stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """vLLM as anybody starts it, with a key of its own."""
    port, log = free_port(), tmp_path_factory.mktemp("stock") / "log"
    ours = {name for name in os.environ if name.startswith("RATCHET_")}
    environment = {name: value for name, value in os.environ.items() if name not in ours}
    environment |= {"VLLM_PLUGINS": "", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "PYTHONSAFEPATH": "1"}
    environment |= {"VLLM_NO_USAGE_STATS": "1", "VLLM_ENABLE_V1_MULTIPROCESSING": "0", "HF_HUB_OFFLINE": "1"}
    words = ["--model", str(stories260k), "--served-model-name", "stock", "--port", str(port), "--enable-lora"]
    words += ["--max-loras", "3", "--max-lora-rank", "8", "--enforce-eager", "--kv-cache-memory-bytes", "134217728"]
    words += ["--api-key", KEY, "--dtype", "float32"]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *words]
    with log.open("wb") as file:
        server = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
    try:
        _wait(lambda: server.poll() is not None or _answers(port))
        assert server.poll() is None, log.read_text()[-2000:]
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()


def test_versions_are_served_and_promotions_followed(
    stock: str, adapters_dir: Path, stories260k: Path, tmp_path: Path
) -> None:
    lab, headers = Lab(tmp_path / "lab"), {"authorization": f"Bearer {KEY}"}
    _promote(lab, adapters_dir / "r-one", stories260k)
    words = [sys.executable, "-m", "harness.cli", "serve", "aac", "--attach", stock, "--attach-key-env", "STOCK_KEY"]
    serving = subprocess.Popen(
        [*words, "--lab", str(lab.root)], env={**os.environ, "STOCK_KEY": KEY}, stderr=subprocess.PIPE, text=True
    )
    assert serving.stderr is not None
    try:
        _wait(lambda: "aac@v1" in _models(stock, headers))
        _promote(lab, adapters_dir / "r-two", stories260k)
        _wait(lambda: "aac@v2" in _models(stock, headers))
        models = ["stock", "aac@v1", "aac@v2"]
        asks = [Ask(model, prompt="The dog", sampling={"temperature": 0, "max_tokens": 16}) for model in models]
        replies = ask_many(stock, asks, concurrency=1, headers=headers)
        assert [reply.error for reply in replies] == [None, None, None]
        assert len({reply.text for reply in replies}) == 3, "each version answers as itself"
        (alias,) = ask_many(stock, [Ask("aac@prod", prompt="x")], headers=headers)
        assert alias.error, "there are no aliases inside, as docs/engines.md says"
    finally:
        serving.send_signal(signal.SIGINT)
        said = serving.communicate()[1]
    assert serving.returncode == 0, said
    assert "aac@prod is aac@v1" in said
    assert "aac@prod is aac@v2" in said
    assert "aliases are not known inside" in said
    assert KEY not in said
    assert "aac@v1" in _models(stock, headers), "what is loaded stays"


def _promote(lab: Lab, folder: Path, base: Path) -> None:
    version = Version(
        version=0,
        run_id=folder.name,
        adapter_sha256=content_sha256(folder),
        base_sha256=describe(str(base), lab).ref.sha256,
        base_path=str(base),
        verdict=None,
        plan_id=None,
        created=now(),
    )
    added = registry.add_version(lab, "aac", version, folder)
    registry.move(lab, "aac", "prod", added.version, who="test", why="test")


def _models(url: str, headers: dict[str, str]) -> set[str]:
    answer = httpx.get(f"{url}/v1/models", headers=headers, timeout=30).raise_for_status()
    return {model["id"] for model in answer.json()["data"]}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health", timeout=10).status_code == 200
    except httpx.TransportError:
        return False


def _wait(done: object) -> None:
    assert callable(done)
    for _ in range(3000):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen")
