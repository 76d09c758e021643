"""`python -m serve.supervise FOLDER`: owns one vLLM, says in the lease how it is, and ends both when nobody needs it.

Started by serve.engine as leader of a process group of its own, so that killing the group leaves nothing. Ends when
vLLM does, on SIGTERM, and after `idle_s` without a request under way or a command that holds the engine.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from harness.core.paths import read_json
from serve import launch
from serve.lease import HOLD, LEASE, LOG, SPEC, Lease, forget, is_held, last_words

POLL_S = 0.5
GRACE_S = 5.0  # between TERM and KILL; a TERM during vLLM's start can hang for minutes
HEALTH_TIMEOUT_S = 30.0  # the first answer asks the worker, which may be busy warming up
OUR_CPU_KERNELS = ["serve.plugin.lora_cpu.SegmentedPunica"]


class Supervisor:
    """One engine's life. `lease` is what the file says."""

    def __init__(self, folder: Path, command: Callable[[Mapping[str, Any], int, bool], list[str]] = launch.command):
        wanted = read_json(folder / SPEC)
        self.folder, self.spec, self.idle_s = folder, wanted["spec"], float(wanted["idle_s"])
        self._command = command
        self.ending = False
        (folder / HOLD).touch()
        self.lease = Lease(
            engine_id=folder.name,
            pid=os.getpid(),
            pgid=os.getpgid(0),
            started=psutil.Process().create_time(),
            port=self.spec["port"] or free_port(),
            state="starting",
            spec=self.spec,
            admin_token=secrets.token_urlsafe(32),
        )

    def run(self) -> None:
        """Returns when the engine is over; the caller then kills what is left of the group."""
        self._say()
        began = time.monotonic()
        with (self.folder / LOG).open("ab") as log:
            vllm = subprocess.Popen(
                self._command(self.spec, self.lease.port, launch.on_cpu()),
                env=launch.environment(
                    self.spec, self.lease.engine_id, self.folder, self.lease.admin_token, launch.on_cpu()
                ),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        last_used = time.time()
        while not self.ending and vllm.poll() is None:
            if self.lease.state == "starting":
                self._try_ready(began)
                last_used = time.time()
            elif is_held(self.folder):
                last_used = time.time()
            last_used = max(last_used, (self.folder / HOLD).stat().st_mtime)
            self.ending = self.ending or self.lease.state == "failed" or time.time() - last_used > self.idle_s
            time.sleep(POLL_S)
        if vllm.poll() is not None and not self.ending:
            self._say(
                state="failed", error=f"vLLM ended by itself ({vllm.returncode}): {last_words(self.folder / LOG)}"
            )
        elif self.lease.state != "failed":
            forget(self.folder)
        self._end(vllm)

    def _try_ready(self, began: float) -> None:
        """Ask the engine what it is; ready only when its worker says that it uses the right kernels."""
        try:
            health = httpx.get(
                f"{self.lease.url}/ratchet/health",
                headers={"authorization": f"Bearer {self.lease.admin_token}"},
                timeout=HEALTH_TIMEOUT_S,
                trust_env=False,
            )
        except httpx.TransportError:
            return
        if health.status_code != 200:
            problem = f"vLLM runs without Ratchet's plugins (HTTP {health.status_code}): run pip install -e . again"
            return self._say(state="failed", error=problem)
        facts = health.json()
        if facts["device"] == "cpu" and facts["kernels"] != OUR_CPU_KERNELS:
            problem = f"vLLM uses {facts['kernels']} instead of {OUR_CPU_KERNELS}, which are wrong in mixed batches"
            return self._say(state="failed", error=problem)
        known = {key: facts[key] for key in ("kernels", "versions", "dtype", "device", "max_model_len")}
        return self._say(state="ready", seconds=round(time.monotonic() - began, 1), **known)

    def _say(self, **changes: Any) -> None:
        self.lease = self.lease.model_copy(update=changes)
        self.lease.write(self.folder / LEASE, "engine.lease")

    def _end(self, vllm: subprocess.Popen[bytes]) -> None:
        if vllm.poll() is None:
            vllm.terminate()
            try:
                vllm.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                vllm.kill()


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    os.umask(0o077)  # the lease and the log are for their owner
    supervisor = Supervisor(Path(sys.argv[1]))

    def end(*_: object) -> None:
        supervisor.ending = True

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor.run()
    print(json.dumps({"ended": supervisor.lease.engine_id, "error": supervisor.lease.error}), flush=True)
    os.killpg(0, signal.SIGKILL)  # vLLM's own children, then ourselves


if __name__ == "__main__":
    main()
