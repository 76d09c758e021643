"""What happens to the engine while the soak's clients ask: moves, loads, a corrupt upload, kills, and its memory."""

from __future__ import annotations

import asyncio
import contextlib
import random
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from benchmarks.soak_load import Board
from harness.core.errors import RatchetError
from harness.core.fingerprint import folder_sha256
from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import adapters, registry
from serve.engine import Engine
from serve.lease import members, read_lease

POLL_S = 0.5
SAMPLE_S = 2.0
ENOUGH = 20  # samples for a slope that is more than noise
BACK_TIMEOUT_S = 600.0
CORE = "EngineCor"  # in the name of vLLM's engine process, which Linux cuts at 15 letters
FILES = ("adapter_config.json", "adapter_model.safetensors")


@dataclass
class World:
    """Where things lie. `adapters` holds a folder per adapter."""

    lab: Lab
    engine: Engine
    adapters: Path
    base: Path
    base_sha256: str
    board: Board
    say: Callable[[str], None]
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)  # (seconds, MB by process name)
    done: dict[str, Any] = field(default_factory=dict)


def publish(world: World, name: str, adapter: str, folder: Path | None = None) -> str:
    """Mint the next version of `name`; its full name."""
    folder = folder or world.adapters / adapter
    version = Version(
        version=0,
        run_id=adapter,
        adapter_sha256=folder_sha256(folder, FILES),
        base_sha256=world.base_sha256,
        base_path=str(world.base),
        verdict=None,
        plan_id=None,
        created=now(),
    )
    return f"{name}@v{registry.add_version(world.lab, name, version, folder).version}"


def move(world: World, alias: str, number: int) -> None:
    """Move as `ratchet promote` does, and write down when."""
    name, _, short = alias.partition("@")
    began = time.monotonic()
    moves = world.board.moves[alias]
    # The step stands before the move is done, open to its end: whoever answers meanwhile may be either version.
    moves.steps.append((number, began, float("inf")))
    registry.move(world.lab, name, short, number, who="soak", why="soak")
    moves.steps[-1] = (number, began, time.monotonic())


async def move_aliases(world: World, times: int, serving_s: float, stop: asyncio.Event) -> None:
    """`times` moves over `serving_s`, at random among aliases and versions; they go on while the engine is down."""
    random_ = random.Random(1)  # noqa: S311
    for count in range(times):
        await _sleep(serving_s / times, stop)
        if stop.is_set():
            return
        alias = random_.choice(sorted(world.board.moves))
        name, now_at = alias.partition("@")[0], world.board.moves[alias].steps[-1][0]
        numbers = [int(full.rpartition("@v")[2]) for full in world.board.versions if full.startswith(f"{name}@")]
        await asyncio.to_thread(move, world, alias, random_.choice([one for one in numbers if one != now_at]))
        world.done["alias moves"] = count + 1


async def load_and_unload(world: World, candidates: list[str], every_s: float, stop: asyncio.Event) -> None:
    """Candidates come and go by turns. One goes when nobody waits for it any more; its streams may still run."""
    board = world.board
    world.done["loads"] = world.done["unloads"] = 0
    while True:
        for name in candidates:
            await _sleep(every_s, stop)
            if stop.is_set():
                return
            loading = name not in board.candidates
            if not loading:
                board.candidates.pop(name)
                while board.waiting[name] and not stop.is_set():
                    await asyncio.sleep(0.02)
            start = time.monotonic()
            try:
                if loading:
                    await asyncio.to_thread(adapters.load, world.engine, name, world.adapters / name)
                    board.candidates[name] = name
                else:
                    await asyncio.to_thread(adapters.unload, world.engine, name)
                world.done["loads" if loading else "unloads"] += 1
            except RatchetError as error:
                if not board.in_outage(start, time.monotonic()):
                    board.wrong("failed", f"loading or unloading {name}: {error}")


async def upload_corrupt(world: World, adapter: str) -> None:
    """A truncated upload three ways: as a candidate, as a version, and as a version that rots after it was made."""
    torn = world.adapters / f"{adapter}-torn"
    shutil.copytree(world.adapters / adapter, torn)
    _truncate(torn)
    found: dict[str, str] = {}
    for way, act in {
        "loaded as a candidate": lambda: adapters.load(world.engine, "torn", torn),
        "promoted to a version": lambda: publish(world, "support", adapter, torn),
    }.items():
        try:
            await asyncio.to_thread(act)
            world.board.wrong("wrong", f"a truncated adapter was taken when {way}")
        except RatchetError as error:
            found[way] = str(error)
    rotten = publish(world, "support", adapter)
    name, _, number = rotten.partition("@v")
    _truncate(registry.version_folder(world.lab.registry, name, int(number)))
    async with httpx.AsyncClient(timeout=120, trust_env=False) as http:
        headers = {"authorization": f"Bearer {world.engine.admin_token}"}
        body = {"model": rotten, "prompt": "x", "max_tokens": 1}
        answer = await http.post(f"{world.engine.url}/v1/completions", json=body, headers=headers)
    found["asked for after its files were torn"] = f"HTTP {answer.status_code} {answer.text[:300]}"
    if answer.status_code in (200, 500):
        world.board.wrong("wrong", f"a torn version answered with HTTP {answer.status_code}")
    world.done["corrupt upload"] = found


def _truncate(folder: Path) -> None:
    path = folder / FILES[1]
    data = path.read_bytes()
    path.unlink()  # the registry's file may be a link to another's bytes
    path.write_bytes(data[: len(data) // 2])


async def kill(world: World, stop: asyncio.Event) -> None:
    """SIGKILL the engine core, and wait until the engine is ready again with another one."""
    core = next(process for process in _members(world) if CORE in process.name())
    before = _total(world)
    outage = [time.monotonic(), float("inf")]
    world.board.outages.append(outage)
    core.send_signal(signal.SIGKILL)
    world.say(f"killed the engine core (process {core.pid})")
    async with httpx.AsyncClient(timeout=10, trust_env=False) as http:
        while not stop.is_set():
            await asyncio.sleep(POLL_S)
            if time.monotonic() - outage[0] > BACK_TIMEOUT_S:
                raise RatchetError("the engine did not come back after a kill", f"see {world.lab.engines}")
            others = [one for one in _members(world) if CORE in one.name() and one.pid != core.pid]
            try:
                if others and (await http.get(f"{world.engine.url}/ready")).status_code == 200:
                    break
            except httpx.TransportError:
                continue
    outage[1] = time.monotonic()
    world.say(f"ready again after {outage[1] - outage[0]:.0f} s")
    kills = world.done.setdefault("kills", [])
    kills.append({"down_s": round(outage[1] - outage[0], 1), "MB_before": before, "MB_after": _total(world)})


async def watch_memory(world: World, stop: asyncio.Event) -> None:
    while not stop.is_set():
        world.memory.append((time.monotonic(), _megabytes(world)))
        await _sleep(SAMPLE_S, stop)


def growth(world: World, began: float, ended: float, warm_up_s: float) -> list[dict[str, Any]]:
    """Per stretch between outages: MB at its start, after the warm-up and at its end; and the slope of the warm part.

    The slope is least squares, in MB a minute; stretches too short for one are left out. `samples` are [seconds, MB] of
    the whole stretch, ten seconds apart.
    """
    edges = [began, *(edge for outage in world.board.outages for edge in outage), ended]
    found = []
    for start, end in zip(edges[::2], edges[1::2], strict=True):
        whole = [(at - start, sum(sizes.values())) for at, sizes in world.memory if start <= at < end]
        warm = [(at, size) for at, size in whole if at >= warm_up_s]
        if len(warm) < ENOUGH:
            continue
        last = [sizes for at, sizes in world.memory if start <= at < end][-1]
        found.append(
            {
                "minutes": round((end - start) / 60, 2),
                "MB_first": round(whole[0][1]),
                "MB_warm": round(warm[0][1]),
                "MB_last": round(warm[-1][1]),
                "MB_per_minute": round(60 * _slope(warm), 2),
                "MB_last_by_process": {name: round(size) for name, size in last.items()},
                "samples": [[round(at), round(size)] for at, size in whole[::5]],
            }
        )
    return found


def _slope(points: list[tuple[float, float]]) -> float:
    mean_x, mean_y = (sum(values) / len(points) for values in zip(*points, strict=True))
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)


def _members(world: World) -> list[psutil.Process]:
    lease = read_lease(world.lab.engines / world.engine.engine_id)
    return members(lease) if lease else []


def _megabytes(world: World) -> dict[str, float]:
    """Resident memory in MB by process: the supervisor, the API server, the engine core."""
    found: dict[str, float] = {}
    for process in _members(world):
        with contextlib.suppress(psutil.NoSuchProcess):
            words = " ".join(process.cmdline())
            name = next((name for name in ("supervise", CORE) if name in words), "server")
            found[name] = found.get(name, 0.0) + process.memory_info().rss / 2**20
    return found


def _total(world: World) -> int:
    return round(sum(_megabytes(world).values()))


async def _sleep(seconds: float, stop: asyncio.Event) -> None:
    """Sleep, or less when the soak ends."""
    try:
        await asyncio.wait_for(stop.wait(), seconds)
    except TimeoutError:
        return
