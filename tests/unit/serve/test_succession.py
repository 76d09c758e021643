"""Another base takes an engine's socket over while clients go on asking; the real supervisor, gatekeeper and door."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.core.errors import EngineError, InputError, RegistryError
from harness.core.paths import Lab, read_json
from harness.core.records import Version
from serve import engine, registry
from serve.lease import NEXT, NEXT_HOLD, hold
from serve.succession import Request
from tests.unit.serve.lives import Crowd, Life, wait
from tests.unit.serve.versions import BASE, add, add_full, model


class World:
    """aac@prod serves v1 on the base; v2 is a full fine-tune, which the running engine cannot serve."""

    def __init__(self, folder: Path, script: dict[str, Any]) -> None:
        self.lab = Lab(folder)
        add(self.lab, "aac", 1, folder)
        self.full: Version = add_full(self.lab, "aac", model(folder))
        registry.move(self.lab, "aac", "prod", 1, who="t", why="t")
        told = {"registry": str(self.lab.registry), "delay_s": 0.02, **script}
        self.life = Life(self.lab, {"base_sha256": BASE, **told})
        self.next = {"base": "aac@v2", "base_sha256": self.full.base_sha256, **told}
        self.life.script(self.full.base_sha256, self.next)
        self.url = self.life.until("ready").url

    @property
    def base(self) -> dict[str, Any]:
        return {"base_path": self.full.base_path, "base_sha256": self.full.base_sha256, "base_name": "aac@v2"}

    def move(self, to: int = 2) -> None:
        registry.move(self.lab, "aac", "prod", to, who="t", why="t")

    def successor(self) -> contextlib.AbstractContextManager[None]:
        return engine.successor(self.lab, self.life.lease, self.base, "aac", "prod")

    def ask(self, name: str = "aac@prod") -> httpx.Response:
        return httpx.post(f"{self.url}/v1/completions", json={"model": name, "prompt": "x"}, timeout=90)


@pytest.fixture
def world(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[World]:
    made = World(tmp_path, getattr(request, "param", {}))
    try:
        yield made
    finally:
        made.life.end()


def test_nobody_fails_while_a_full_fine_tune_takes_over(world: World) -> None:
    old = world.life.vllm()
    with Crowd(world.url, 2, "aac@prod") as crowd, Crowd(world.url, 2, "aac", keep=True) as kept:
        crowd.until({200})
        with world.successor():
            assert world.ask("aac@v2").status_code == 503, "on its way: worth asking again"
            world.move()
        wait(lambda: "aac@v2" in crowd.answered and "aac@v2" in kept.answered)
    assert crowd.problems == kept.problems == []
    for answered in (crowd.answered, kept.answered):
        assert set(answered) == {"aac@v1", "aac@v2"}
    assert world.ask().headers["x-ratchet-model"] == "aac@v2"
    assert world.ask("aac@v1").status_code == 404
    shown = httpx.get(f"{world.url}/v1/models").json()["data"]
    assert {card["id"] for card in shown} == {"aac", "aac@prod", "aac@v2"}
    wait(lambda: not old.is_running())
    assert world.life.lease.spec["base_sha256"] == world.full.base_sha256 == read_spec(world)["base_sha256"]
    world.life.vllm().kill()
    assert world.life.until("ready", 1).spec["base_name"] == "aac@v2", "a restart knows its new base"
    assert world.ask().json()["model"] == "aac@v2"


@pytest.mark.parametrize("world", [{"piece_s": 0.15}], indirect=True)
def test_a_stream_that_has_begun_ends_on_its_version(world: World) -> None:
    body = {"model": "aac@prod", "prompt": "a " * 30, "stream": True, "max_tokens": 30}
    with httpx.stream("POST", f"{world.url}/v1/completions", json=body, timeout=90) as answer:
        lines = (line for line in answer.iter_lines() if line)
        first = next(lines)
        mover = threading.Thread(target=lambda: _take_over(world))
        mover.start()
        rest = list(lines)
    mover.join()
    assert rest[-1] == "data: [DONE]"
    assert all('"aac@v1"' in line for line in [first, *rest[:-1]])


def test_without_the_move_nothing_changed(world: World) -> None:
    with pytest.raises(RegistryError, match="someone else"), world.successor():
        raise RegistryError("someone else was faster")
    wait(lambda: not (world.life.folder / NEXT).exists() and len(world.life.vllms()) == 1)
    assert world.life.lease.successor is None
    assert world.ask().json()["model"] == "aac@v1"
    assert world.ask("aac@v2").status_code == 404


def test_whoever_asked_may_be_killed_after_the_move(world: World) -> None:
    """The registry says who is right."""
    held = hold(world.life.folder, NEXT_HOLD)
    spec = {**world.life.lease.spec, **world.base}
    Request(request_id="1", name="aac", alias="prod", spec=spec).write(world.life.folder / NEXT)
    wait(lambda: (found := world.life.lease.successor) and found.state == "waiting")
    world.move()
    os.close(held)
    wait(lambda: world.life.lease.spec["base_name"] == "aac@v2" and world.ask().status_code == 200)
    assert world.ask().json()["model"] == "aac@v2"


def test_one_that_does_not_start_is_told_and_changes_nothing(world: World) -> None:
    world.life.script(world.full.base_sha256, {"base": "aac@v2", "no": "such key"})
    with pytest.raises(EngineError, match="no: no such key"), world.successor():
        world.move()
    assert world.ask().json()["model"] == "aac@v1"
    world.life.script(world.full.base_sha256, world.next)
    _take_over(world)
    assert world.ask().json()["model"] == "aac@v2", "once mended it works"


def test_one_at_a_time(world: World) -> None:
    with world.successor():
        with pytest.raises(RegistryError, match="getting a successor already"), world.successor():
            pytest.fail("two at once")
        world.move()
    assert world.ask().json()["model"] == "aac@v2"


def test_versions_of_different_bases_do_not_share_an_alias(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    add(lab, "aac", 1, tmp_path)
    add_full(lab, "aac", model(tmp_path))
    with pytest.raises(InputError, match="different bases"):
        registry.set_weights(lab, "aac", "prod", {1: 90, 2: 10}, who="t", why="t")


def _take_over(world: World) -> None:
    with world.successor():
        world.move()


def read_spec(world: World) -> dict[str, Any]:
    return read_json(world.life.folder / "spec.json")["spec"]
