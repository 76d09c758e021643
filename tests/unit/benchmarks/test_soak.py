"""The soak's own judgement: it must notice every kind of wrong answer, or a passed soak says nothing."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from benchmarks import soak_events
from benchmarks.soak_load import Board, Heard, Moves, Question, client, judge, note
from serve.fake import Script, make_app

ANSWERS = {"base": ["b0", "b1"], "r-1": ["one 0", "one 1"], "r-2": ["two 0", "two 1"], "r-3": ["three 0", "three 1"]}


def board(**changes: Any) -> Board:
    """support@prod was v1, and moved to v2 between second 10 and 11."""
    moves = {"support@prod": Moves([(1, 0.0, 0.0), (2, 10.0, 11.0)])}
    versions = {"support@v1": "r-1", "support@v2": "r-2"}
    return Board(["q0", "q1"], ANSWERS, "tiny", versions, moves, {"r-3": "r-3"}, **changes)


@pytest.mark.parametrize(
    ("start", "end", "allowed"),
    [(1, 2, {1}), (1, 10.5, {1, 2}), (10.5, 10.6, {1, 2}), (10.9, 30, {1, 2}), (11.5, 12, {2})],
)
def test_what_an_alias_may_mean(start: float, end: float, allowed: set[int]) -> None:
    assert board().moves["support@prod"].allowed(start, end) == allowed


def test_a_move_under_way_allows_both() -> None:
    moves = Moves([(1, 0.0, 0.0), (2, 10.0, float("inf"))])
    assert moves.allowed(50, 60) == {1, 2}


@pytest.mark.parametrize(
    ("asked", "named", "text", "at", "problem"),
    [
        ("support", "support@v1", "one 1", 5, None),
        ("support@prod", "support@v2", "two 1", 12, None),
        ("support@v1", "support@v1", "one 1", 12, None),
        ("tiny", "tiny", "b1", 5, None),
        ("r-3", "r-3", "three 1", 5, None),
        ("support", "support@v1", "one 1", 12, "it meant support@v2"),
        ("support@v1", "support@v2", "two 1", 5, "answered as support@v2"),
        ("support", "support@v1", "two 1", 5, "which is r-2's answer"),
        ("support", "support@v1", "one 0", 5, "which is nobody's answer"),
        ("tiny", "tiny", "one 1", 5, "which is r-1's answer"),
    ],
)
def test_every_wrong_answer_is_noticed(asked: str, named: str, text: str, at: float, problem: str | None) -> None:
    heard = Heard(200, text, named, named, first_byte=at + 0.1)
    found = judge(board(), Question(asked, 1, False), heard, at)
    assert found is None if problem is None else problem in (found or "")


def test_body_and_header_must_agree() -> None:
    heard = Heard(200, "one 1", "support@v1", "support@v2", first_byte=5.1)
    assert "the header support@v2" in (judge(board(), Question("support", 1, False), heard, 5) or "")


@pytest.mark.parametrize(
    ("heard", "outages", "counted"),
    [
        (Heard(503, retry_after="1"), [[0.0, float("inf")]], "503 with Retry-After during an outage"),
        (Heard(503, retry_after="1"), [], "failed"),
        (Heard(503), [[0.0, float("inf")]], "failed"),
        (Heard(500), [[0.0, float("inf")]], "failed"),
        (Heard(200, cut=True), [[0.0, float("inf")]], "streams ended by an error event"),
        (Heard(200, cut=True), [], "failed"),
        (Heard(404), [], "failed"),
    ],
)
def test_only_an_outage_excuses(
    heard: Heard, outages: list[list[float]], counted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("benchmarks.soak_load.PAUSE_S", 0)
    here = board(outages=outages)
    asyncio.run(note(here, Question("support", 0, False), heard, 1.0))
    assert dict(here.counts) == {counted: 1}


@pytest.mark.parametrize("damage", [False, True])
def test_clients_against_the_fake(damage: bool) -> None:
    """Through the real gatekeeper; with one answer of one model exchanged, exactly its questions are wrong."""
    scripted = {"tiny": {"q0": "b0", "q1": "b1"}, "r-3": {"q0": "three 0", "q1": "three 1"}}
    if damage:
        scripted["r-3"]["q1"] = "b1"
    here = Board(["q0", "q1"], ANSWERS, "tiny", {"tiny": "base"}, {}, {"r-3": "r-3"})

    async def run() -> None:
        app = make_app(Script(adapters={"r-3": "unused"}, answers=scripted))
        over = asyncio.Event()
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://fake") as http:
            tasks = [asyncio.create_task(client(here, http, 16, seed, over)) for seed in range(4)]
            while here.counts.total() < 100 and not any(task.done() for task in tasks):
                await asyncio.sleep(0.01)
            over.set()
            await asyncio.gather(*tasks)

    asyncio.run(run())
    assert here.counts["failed"] == 0
    assert here.counts["right"] > 20
    assert here.counts["right, streamed"] > 5
    assert (here.counts["wrong"] > 5) is damage
    assert all("r-3 said 'b1', which is base's answer" in line for line in here.problems)


def test_growth_leaves_warm_up_and_outages_out() -> None:
    """Two stretches: 60 MB a minute after the warm-up, then none; what happens outside does not count."""
    sizes = [(at, 1000 if at < 10 else 2000 + at) for at in range(0, 60, 2)]
    sizes += [(at, 9) for at in range(60, 80, 2)] + [(at, 500) for at in range(80, 140, 2)]
    memory = [(float(at), {"server": size - 5.0, "EngineCor": 5.0}) for at, size in sizes]
    world: Any = SimpleNamespace(memory=memory, board=board(outages=[[60.0, 80.0]]))
    first, second = soak_events.growth(world, 0.0, 140.0, warm_up_s=10.0)
    assert first["MB_per_minute"] == pytest.approx(60)
    assert (first["MB_first"], first["MB_warm"], first["MB_last"]) == (1000, 2010, 2058)
    assert first["samples"] == [[0, 1000], *([at, 2000 + at] for at in range(10, 60, 10))]
    assert (second["MB_per_minute"], second["minutes"]) == (0, 1)
    assert second["MB_last_by_process"] == {"server": 495, "EngineCor": 5}


def test_a_torn_file_is_half_of_it(tmp_path: Path) -> None:
    folder = tmp_path / "adapter"
    folder.mkdir()
    whole = json.dumps(list(range(100))).encode()
    (folder / "adapter_model.safetensors").write_bytes(whole)
    soak_events._truncate(folder)
    assert (folder / "adapter_model.safetensors").read_bytes() == whole[: len(whole) // 2]
