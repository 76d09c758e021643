"""`ratchet app` for `benchmarks.rate`: a server from nothing, who signs in, how long a campaign takes to open in it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import httpx

from benchmarks.rate_campaign import SENTENCE
from benchmarks.rate_load import SILENCE, Page, client
from harness.core.errors import RatchetError
from harness.core.paths import Lab
from serve.sockets import free_port

ROOT = Path(__file__).parents[1]
START_TIMEOUT_S = 120.0


class Served:
    """`ratchet app` on one port, which it keeps over a kill."""

    def __init__(self, lab: Lab, log: Path) -> None:
        self._lab, self._log, self._port = lab, log, free_port()
        self.address = f"http://127.0.0.1:{self._port}"
        self.started_s = 0.0
        self._process: subprocess.Popen[str] | None = None

    async def start(self) -> None:
        """From nothing to an address that answers."""
        began = time.monotonic()
        port = ["--lab", str(self._lab.root), "--port", str(self._port)]
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness.cli", "app", *port], cwd=ROOT, stdout=subprocess.PIPE, stderr=log,
                text=True,
            )  # fmt: skip
        out = self._process.stdout
        assert out is not None
        line = await asyncio.wait_for(asyncio.to_thread(out.readline), START_TIMEOUT_S)
        if not re.search(r"http://[\d.:]+", line):
            raise RatchetError(f"the server did not start: {self._log.read_text()[-500:]}")
        async with client(self.address) as http:
            await answering(http, "/sign-in")
        self.started_s = time.monotonic() - began

    def end(self, sent: signal.Signals) -> None:
        if self._process is not None:
            with self._process as process:  # closes its pipe
                process.send_signal(sent)
            self._process = None


@contextlib.asynccontextmanager
async def served(lab: Lab, log: Path) -> AsyncIterator[Served]:
    server = Served(lab, log)
    try:
        await server.start()
        yield server
    finally:
        server.end(signal.SIGTERM)


async def sign_in(http: httpx.AsyncClient, name: str) -> None:
    answer = await http.post("/sign-in", data={"name": name, "password": SENTENCE})
    if answer.status_code != 303:
        raise RatchetError(f"{name} could not sign in (status {answer.status_code})", "see the server's log")


async def opened(address: str, campaign: str, name: str) -> float:
    """Seconds from asking a fresh server for the campaign's page to the first pair, for a rater who is signed in."""
    async with client(address) as http:
        await sign_in(http, name)
        page, began = Page(http, campaign, name), time.monotonic()
        if not await page.open():
            raise RatchetError("the page opened without a pair", "see the server's log")
        return time.monotonic() - began


async def answering(http: httpx.AsyncClient, path: str) -> None:
    """Wait until there is an answer of any kind."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        with contextlib.suppress(*SILENCE):
            await http.get(path)
            return
        await asyncio.sleep(0.02)
    raise RatchetError(f"{http.base_url} does not answer", "see its log")


async def openings(lab: Lab, campaign: str, names: Sequence[str], log: Path) -> tuple[list[float], list[float]]:
    """(how long a server took to start, how long the campaign then took to open), a server for each of the names."""
    starts, found = [], []
    for name in names:
        async with served(lab, log) as server:
            starts.append(server.started_s)
            found.append(await opened(server.address, campaign, name))
    return starts, found
