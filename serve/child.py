"""One vLLM process as its supervisor sees it: started with the listening socket, announced when it serves, ended."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

POLL_S = 0.05
KILL_WAIT_S = 10.0


class Child:
    """Starts the process. `serve.plugin.server` and `serve.fake` read the two descriptors from the environment."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], listening: socket.socket, log: Path
    ) -> None:
        self._pipe, theirs = os.pipe()
        os.set_blocking(self._pipe, False)
        passed = {"RATCHET_LISTEN_FD": str(listening.fileno()), "RATCHET_READY_FD": str(theirs)}
        self._announced = False
        try:
            with log.open("ab") as file:
                self._process = subprocess.Popen(
                    command,
                    env={**environment, **passed},
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    pass_fds=(listening.fileno(), theirs),
                )
        finally:
            os.close(theirs)

    @property
    def returncode(self) -> int | None:
        """None while it runs; below 0: the signal that ended it."""
        return self._process.poll()

    def announced(self) -> bool:
        """Whether it said that it takes the socket over."""
        if not self._announced:
            try:
                self._announced = os.read(self._pipe, 1) == b"1"
            except BlockingIOError:
                return False
        return self._announced

    async def end(self, grace_s: float) -> None:
        """TERM, and KILL when it is still there after `grace_s`. An ended one is fine."""
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
