"""The real engine loses its core, its server, its supervisor: who connects is answered, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from stories import SERVED, World, greedy, post, version

from serve import adapters, registry
from serve.client import ask_many
from serve.engine import reap, running
from serve.lease import Lease, leads, members, read_lease
from tests.unit.serve.lives import Clients


def test_a_killed_engine_core_is_replaced_and_nobody_is_refused(stories: World) -> None:
    """The core is killed under load: every request gets 200 or 503 with Retry-After, begun streams end with an error
    event, and afterwards base, candidates and versions answer as before, without anyone loading them again.
    """
    registry.add_version(stories.lab, "zx", version(stories, "r-three"), stories.folder / "r-three")
    models = ["tiny", *SERVED, "zx@v1"]
    before = {model: ask_many(stories.engine.url, [greedy(model, "The dog")])[0].text for model in models}
    lease = _lease(stories)
    with Load(stories.engine.url, models, before) as load:
        _wait(lambda: load.seen[200] > 5 and load.streams_begun > 0)
        next(one for one in members(lease) if "EngineCore" in one.name()).kill()
        _wait(lambda: _lease(stories).state == "restarting")
        assert httpx.get(f"{stories.engine.url}/ready").status_code == 503
        _wait(lambda: _lease(stories).state == "ready")
        load.seen.clear()
        _wait(lambda: load.seen[200] > 5)
    assert load.problems == []
    assert load.refused > 0
    assert _lease(stories).restarts == lease.restarts + 1
    assert {model: ask_many(stories.engine.url, [greedy(model, "The dog")])[0].text for model in models} == before
    assert set(SERVED) <= set(adapters.listed(stories.engine))


def test_a_killed_server_is_replaced_and_its_orphans_are_reaped(stories: World) -> None:
    """`kill -9` of the API server orphans vLLM's engine core. Who connects afterwards is answered."""
    lease = _lease(stories)
    alive = members(lease)
    assert len(alive) > 2
    server = next(one for one in alive if "serve.plugin.server" in one.cmdline())
    os.kill(server.pid, signal.SIGKILL)
    _wait(lambda: _lease(stories).state == "restarting")
    absent = httpx.post(f"{stories.engine.url}/v1/completions", json={"model": "r-one", "prompt": "The dog"})
    assert absent.status_code == 503
    assert int(absent.headers["retry-after"]) >= 1
    _wait(lambda: _lease(stories).state == "ready")
    old = {one.pid for one in alive} - {lease.pid}
    assert old.isdisjoint(one.pid for one in members(lease))
    assert ask_many(stories.engine.url, [greedy("r-one", "The dog")])[0].error is None


def test_zz_a_killed_supervisor_leaves_nothing(stories: World) -> None:
    """The last test of all that share the engine: it ends it."""
    lease = _lease(stories)
    os.kill(lease.pid, signal.SIGKILL)
    _wait(lambda: not leads(lease))
    reap(stories.lab)
    assert members(lease) == []
    assert lease.engine_id not in [one.engine_id for one in running(stories.lab)]
    assert read_lease(stories.lab.engines / lease.engine_id) is None


def _lease(stories: World) -> Lease:
    lease = read_lease(stories.lab.engines / stories.engine.engine_id)
    assert lease is not None
    return lease


class Load(Clients):
    """Clients that ask without a pause, one of them for streams. `problems`: whatever nobody should see."""

    def __init__(self, url: str, models: list[str], right: dict[str, str]) -> None:
        self._url, self._right, self._over = url, right, threading.Event()
        self.seen: Counter[int] = Counter()
        self.problems: list[str] = []
        self.refused = self.streams_begun = 0
        self._threads = [threading.Thread(target=self._run, args=(self._ask, model)) for model in models]
        self._threads.append(threading.Thread(target=self._run, args=(self._stream, models[1])))

    def _run(self, once: Callable[[str], None], model: str) -> None:
        while not self._over.is_set():
            try:
                once(model)
            except httpx.HTTPError as error:
                self.problems.append(f"{model}: {error!r}")

    def _ask(self, model: str) -> None:
        answer = post(self._url, model)
        self.seen[answer.status_code] += 1
        if answer.status_code == 200 and answer.json()["choices"][0]["text"] != self._right[model]:
            self.problems.append(f"{model} answered {answer.json()['choices'][0]['text']!r}")
        elif answer.status_code != 200:
            self._not_now(answer)

    def _not_now(self, answer: httpx.Response) -> None:
        self.refused += 1
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            self.problems.append(f"{answer.status_code} {answer.text}")
        self._over.wait(0.2)

    def _stream(self, model: str) -> None:
        body = {"model": model, "prompt": "The dog", "max_tokens": 400, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{self._url}/v1/completions", json=body, timeout=120) as answer:
            if answer.status_code != 200:
                answer.read()
                return self._not_now(answer)
            self.streams_begun += 1
            lines = [line for line in answer.iter_lines() if line]
        if not any('"error"' in line or '"finish_reason":"' in line for line in lines):
            self.problems.append(f"a stream ended without saying why: {lines[-1]}")
        return None


def _wait(done: Any) -> None:
    for _ in range(3000):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen")
