"""A supervisor with fakes in vLLM's place, and clients that never stop asking: for tests of an engine's life."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Self

import httpx
import psutil
import pytest

from harness.core.paths import Lab, write_json
from serve.engine import EngineSpec
from serve.lease import Lease, members, read_lease
from tests.unit.serve.versions import BASE

# What serve.engine starts, with the fake in vLLM's place and pulses that do not keep a test waiting.
SUPERVISE = """
import sys
from pathlib import Path
from serve import supervise
folder = Path(sys.argv[1])
make = supervise.Supervisor
def command(spec, port, cpu):
    script = folder / f"script-{spec['base_sha256'][:12]}.json"
    return [sys.executable, "-m", "serve.fake", "--script", str(script), "--port", str(port)]
supervise.Supervisor = lambda folder, leads: make(folder, command, leads)
supervise.HEARTBEAT_S, supervise.PULSE_S = 1.0, 0.2
supervise.main()
"""


class Life:
    """One supervised fake; `lease` reads what it says now."""

    def __init__(self, lab: Lab, script: dict[str, Any], base_sha256: str = BASE, **environment: str) -> None:
        self.lab, self.folder = lab, lab.engines / "e-1"
        self.folder.mkdir(parents=True)
        spec = EngineSpec("base", "tiny", base_sha256, registry=lab.registry).as_json()
        write_json(self.folder / "spec.json", {"spec": spec, "idle_s": 600})
        self.script(base_sha256, {"base": "tiny", **script})
        self.log = (self.folder / "engine.log").open("ab")
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(self.folder)],
            start_new_session=True,
            env={**os.environ, **environment},
            stdout=self.log,
            stderr=self.log,
        )

    def script(self, base_sha256: str, script: dict[str, Any]) -> None:
        """What the fake of a base answers."""
        write_json(self.folder / f"script-{base_sha256[:12]}.json", script)

    @property
    def lease(self) -> Lease:
        found = read_lease(self.folder)
        assert found is not None
        return found

    def until(self, state: str, restarts: int = 0) -> Lease:
        wait(lambda: (found := read_lease(self.folder)) and found.state == state and found.restarts >= restarts)
        return self.lease

    def vllm(self) -> psutil.Process:
        return self.vllms()[0]

    def vllms(self) -> list[psutil.Process]:
        """Oldest first."""
        found = [one for one in members(self.lease) if "serve.fake" in one.cmdline()]
        return sorted(found, key=lambda one: one.create_time())

    def end(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


class Clients:
    """Threads that go on until the block is left."""

    _threads: list[threading.Thread]
    _over: threading.Event

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


class Crowd(Clients):
    """Clients that ask as fast as they are answered. `problems`: all but 200 and 503 with Retry-After.

    `keep`: over one connection each, for as long as the server keeps it; else each request comes over a new one.
    """

    def __init__(self, url: str, clients: int = 4, model: str = "tiny", keep: bool = False) -> None:
        self._url, self._over, self._model, self._keep = url, threading.Event(), model, keep
        self.seen: Counter[int] = Counter()
        self.answered: list[str] = []  # the models that answered, in order
        self.problems: list[str] = []
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]

    def _ask(self) -> None:
        fresh = httpx.Limits(max_keepalive_connections=1 if self._keep else 0)
        with httpx.Client(limits=fresh, timeout=90, trust_env=False) as http:
            while not self._over.wait(0.01):
                self._once(http)

    def _once(self, http: httpx.Client) -> None:
        try:
            answer = http.post(f"{self._url}/v1/completions", json={"model": self._model, "prompt": "the dog"})
        except httpx.HTTPError as error:
            self.problems.append(repr(error))
        else:
            self.seen[answer.status_code] += 1
            if answer.status_code == 200:
                self.answered.append(answer.json()["model"])
            told = "retry-after" in answer.headers
            if answer.status_code != 200 and not (answer.status_code == 503 and told):
                self.problems.append(answer.text)

    def until(self, statuses: set[int]) -> None:
        wait(lambda: statuses <= set(self.seen))

    def forget(self) -> None:
        self.seen.clear()


def wait(done: Callable[[], object]) -> None:
    for _ in range(1200):
        if done():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen")
