"""One vLLM process as its supervisor sees it: started with the listening socket, announced when it serves, ended."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

PROCESS_HEADER = "x-ratchet-process"  # names the process that a request of the supervisor's is for
HANDED_OVER = "handed-over"  # the query of a drain after which another vLLM serves the socket
POLL_S = 0.05
KILL_WAIT_S = 10.0
DRAIN_ANSWER_S = 5.0
KEEP_ALIVE_S = 6.0  # by then the usual clients use no connection again that was idle (httpx, openai: 5 s)


class Left(NamedTuple):
    """What a vLLM that accepts no more has still to do; the asking connection counts too."""

    requests: int
    connections: int


def is_done(left: Left | None, waited_s: float, limit_s: float) -> bool:
    """Whether a vLLM that accepts no more may end: it does not answer, all is answered, or it took too long."""
    if left is None or waited_s > limit_s:
        return True
    return left.requests == 0 and (left.connections <= 1 or waited_s > KEEP_ALIVE_S)


class Child:
    """Starts the process, and asks it. `serve.plugin.server` and `serve.fake` find the descriptors in the environment.

    `address`: where it answers, and the engine's token. `stands_by`: it says when it is ready (`waits`) and serves only
    when told to (`go`). Requests name the process, as another may answer on the same socket later.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        listening: socket.socket,
        log: Path,
        address: tuple[str, str],
        stands_by: bool = False,
    ) -> None:
        url, token = address
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        name, self._heard, self._turn = secrets.token_hex(8), b"", -1
        headers = {"authorization": f"Bearer {token}", PROCESS_HEADER: name}
        self._http = httpx.AsyncClient(base_url=url, headers=headers, trust_env=False)
        passed = {"RATCHET_LISTEN_FD": listening.fileno(), "RATCHET_READY_FD": theirs}
        if stands_by:
            passed["RATCHET_TURN_FD"], self._turn = os.pipe()
        descriptors = {key: str(number) for key, number in passed.items()}
        try:
            with log.open("ab") as file:
                self._process = subprocess.Popen(
                    command,
                    env={**environment, **descriptors, "RATCHET_PROCESS": name},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    pass_fds=tuple(passed.values()),
                )
        finally:
            os.close(theirs)
            if stands_by:
                os.close(passed["RATCHET_TURN_FD"])

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """None while it runs; below 0: the signal that ended it."""
        return self._process.poll()

    def announced(self) -> bool:
        """Whether it said that it takes the socket over."""
        return b"1" in self._said()

    def waits(self) -> bool:
        """Whether it said that it is ready and waits for its turn."""
        return b"w" in self._said()

    def go(self) -> None:
        """Its turn has come. One that has ended by now is found as any other."""
        with contextlib.suppress(BrokenPipeError):
            os.write(self._turn, b"1")
        self._let_go()

    def _said(self) -> bytes:
        with contextlib.suppress(BlockingIOError):
            self._heard += os.read(self._pipe, 8)
        return self._heard

    def _let_go(self) -> None:
        """Close our end: one that waits still learns that it is not wanted."""
        if self._turn >= 0:
            os.close(self._turn)
            self._turn = -1

    async def get(self, path: str, timeout_s: float) -> httpx.Response:
        """Raises httpx.TransportError where it does not answer."""
        return await self._http.get(path, timeout=timeout_s)

    async def drain(self, how: str = "") -> Left | None:
        """Have it accept no more, and hear what it has still to do; None: no answer. `how` may be HANDED_OVER."""
        with contextlib.suppress(httpx.TransportError):
            answer = await self._http.post(f"/ratchet/drain?{how}", timeout=DRAIN_ANSWER_S)
            if answer.status_code == 200:
                return Left(answer.json()["requests"], answer.json()["connections"])
        return None

    async def end(self, grace_s: float) -> None:
        """TERM, and KILL when it is still there after `grace_s`. An ended one is fine."""
        self._let_go()
        await self._http.aclose()
        if self.returncode is None:
            self._process.terminate()
            await self._wait(grace_s)
        if self.returncode is None:
            self._process.kill()
            await self._wait(KILL_WAIT_S)
        os.close(self._pipe)

    async def _wait(self, limit_s: float) -> None:
        until = time.monotonic() + limit_s
        while self.returncode is None and time.monotonic() < until:
            await asyncio.sleep(POLL_S)
