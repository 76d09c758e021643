"""Two engines on one registry behind somebody else's router, with the configuration that docs/routers shows.

An alias moves under load; every answer must be that of a version which the alias meant while it was asked.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from client_world import BASE, CLIENTS, ROOT, other_clients

from benchmarks import soak_events as events
from benchmarks.soak import make_answers
from benchmarks.soak_load import Board, Moves, client
from harness.core.paths import Lab
from serve.engine import Engine, EngineSpec, ensure
from serve.supervise import free_port

pytestmark = pytest.mark.long

ROUTERS = ROOT / "docs" / "routers"
BASE_SHA256 = "d" * 64
SEEDS = (1, 2, 3)
CLIENTS_AT_ONCE, MOVES, MOVE_EVERY_S, TOKENS = 8, 20, 1.0, 16
START_TIMEOUT_S = 180.0


@pytest.fixture(scope="module")
def world(engines_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[events.World, list[Engine]]]:
    """Two engines that know nothing of one another but the folder of the registry."""
    folder = tmp_path_factory.mktemp("routers")
    lab = Lab(folder / "lab")
    told = make_answers(folder, BASE, SEEDS, probes=4, tokens=TOKENS)
    spec = EngineSpec(str(BASE), "tiny", BASE_SHA256, dtype="float32", max_lora_rank=8, registry=lab.registry)
    with contextlib.ExitStack() as stack:
        engines = [stack.enter_context(ensure(lab, replace(spec, port=free_port()))) for _ in range(2)]
        assert engines[0].engine_id != engines[1].engine_id
        board = Board(told["probes"], told["answers"], "tiny", {}, {})
        it = events.World(lab, engines[0], folder / "adapters", BASE, BASE_SHA256, board, print)
        for seed in SEEDS:
            board.versions[events.publish(it, "support", f"r-{seed:02}")] = f"r-{seed:02}"
        yield it, engines


def router_command(name: str, port: int) -> list[str | Path]:
    if name == "litellm":
        return [
            CLIENTS / "bin" / "litellm",
            "--config",
            ROUTERS / "litellm.yaml",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
        ]
    return [ROUTERS / "vllm-router.sh", "--port", str(port), "--prometheus-port", str(free_port())]


@contextlib.contextmanager
def router(name: str, engines: list[Engine], key: str, log: Path) -> Iterator[str]:
    """The router's root, once it lists the engines' models."""
    other_clients("bin")
    port, suffix = free_port(), "/v1" if name == "litellm" else ""
    environment = {
        **{key: os.environ[key] for key in ("HOME", "LANG") if key in os.environ},
        "PATH": f"{CLIENTS / 'bin'}:{os.environ['PATH']}",
        "ENGINE_1": engines[0].url + suffix,
        "ENGINE_2": engines[1].url + suffix,
        "RATCHET_KEY": "unused",
        "LITELLM_MASTER_KEY": key,
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    with log.open("wb") as file:
        process = subprocess.Popen(
            router_command(name, port), env=environment, stdout=file, stderr=file, cwd=log.parent
        )
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            assert process.poll() is None, log.read_text()[-2000:]
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{url}/v1/models", headers=_bearer(key), timeout=5).status_code == 200:
                    break
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@pytest.mark.parametrize("name", ["vllm-router", "litellm"])
def test_an_alias_moves_under_load(world: tuple[events.World, list[Engine]], name: str, tmp_path: Path) -> None:
    it, engines = world
    board = replace(it.board, moves={"support@prod": Moves()}, **_empty())
    # LiteLLM hands on the engines' headers under names of its own, and gives the model's name as it was asked for.
    board.header = "llm_provider-x-ratchet-model" if name == "litellm" else "x-ratchet-model"
    board.named_in_body = name != "litellm"
    here = replace(it, board=board, done={})
    events.move(here, "support@prod", 1)
    key = f"sk-{secrets.token_urlsafe(32)}"  # LiteLLM's own; the other router has none
    with router(name, engines, key, tmp_path / "router.log") as url:
        before = [_answered(engine) for engine in engines]
        asyncio.run(_load(here, url, key))
        after = [_answered(engine) for engine in engines]
    assert here.done["alias moves"] == MOVES
    assert not board.problems, board.problems
    assert board.counts["right"] > 50
    assert board.counts["right, streamed"] > 5
    assert all(now - then > 10 for then, now in zip(before, after, strict=True)), "both engines answer"


async def _load(world: events.World, url: str, key: str) -> None:
    over = asyncio.Event()
    async with httpx.AsyncClient(base_url=url, headers=_bearer(key), timeout=120, trust_env=False) as http:
        tasks = [asyncio.create_task(client(world.board, http, TOKENS, seed, over)) for seed in range(CLIENTS_AT_ONCE)]
        await events.move_aliases(world, MOVES, MOVES * MOVE_EVERY_S, over)
        over.set()
        await asyncio.gather(*tasks)


def _empty() -> dict[str, Any]:
    fresh = Board([], {}, "", {}, {})
    return {name: getattr(fresh, name) for name in ("counts", "by_model", "waiting", "latencies_s", "problems")}


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


def _answered(engine: Engine) -> float:
    """Requests that an engine has answered, by its own count."""
    metrics = httpx.get(f"{engine.url}/metrics", headers=_bearer(engine.admin_token), timeout=30).text.splitlines()
    return sum(float(line.split()[-1]) for line in metrics if line.startswith("vllm:request_success_total"))
