"""Which engines run: one folder each under `lab/engines/`, with a lease, a log, and a lock that keeps it busy.

    engines/<id>/spec.json     what was asked for (serve.engine.EngineSpec)
                 lease.json    written by the supervisor: process group, port, state, admin token; mode 0600
                 engine.log    everything the supervisor and vLLM say
                 hold          a shared lock on it: a command uses the engine
                 busy          a shared lock on it: requests are under way; its mtime: the last one
                 loaded-….json what vLLM has by name on a base, and its folder: loaded again after a restart
                 next.json     the vLLM for another base that is to take over (serve.succession); next: it is wanted

A process group is known by its leader's pid and start time, so a reused pid is never taken for ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import signal
import time
from pathlib import Path
from typing import Any, Literal

import psutil

from harness.core.errors import LabError
from harness.core.records import Record

LEASE, LOG, SPEC, HOLD, BUSY, LOADED = "lease.json", "engine.log", "spec.json", "hold", "busy", "loaded-{}.json"
NEXT, NEXT_HOLD = "next.json", "next"
ADAPTERS = "adapters"  # name/vN of the registry's versions that this engine was asked for: serve.plugin.ready
LOOPBACK = "127.0.0.1"
KEEP_LOGS = 8  # folders of ended engines that stay for their logs
START_SLACK_S = 2.0  # psutil rounds start times; nobody reuses a pid that fast
KILL_TIMEOUT_S = 10.0
LOG_LINES = 3
STARTING_AT = re.compile(r"^(\([^)]*\) )?((INFO|WARNING|ERROR) [\d: -]+)?(\[[\w.]+:\d+\] )?")


class Successor(Record):
    """The vLLM for another base that was asked for: starting, waiting for its turn, or failed and why."""

    request_id: str
    state: Literal["starting", "waiting", "failed"]
    error: str | None = None


class Lease(Record):
    """lease.json. What is None becomes known when the engine is ready.

    starting → ready → draining → (no lease); ready → restarting → ready | failed; starting → ready | failed. `restarts`
    counts since the engine was started; `error` is why it is restarting, or why it failed.
    """

    engine_id: str
    pid: int
    pgid: int
    started: float
    port: int
    state: Literal["starting", "ready", "restarting", "draining", "failed"]
    spec: dict[str, Any]
    admin_token: str
    seconds: float | None = None
    kernels: list[str] | None = None
    versions: dict[str, str] | None = None
    dtype: str | None = None
    device: str | None = None
    max_model_len: int | None = None
    restarts: int = 0
    error: str | None = None
    successor: Successor | None = None

    @property
    def url(self) -> str:
        """Where this machine reaches the engine."""
        host = str(self.spec.get("host") or LOOPBACK)
        here = {"0.0.0.0": LOOPBACK, "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        return f"http://[{here}]:{self.port}" if ":" in here else f"http://{here}:{self.port}"


def read_lease(folder: Path) -> Lease | None:
    """The lease in an engine's folder, None when there is none (not yet, or not any more)."""
    try:
        return Lease.read(folder / LEASE)
    except FileNotFoundError:
        return None


def leases(engines: Path) -> list[Lease]:
    """Every readable lease, oldest engine first. A damaged one is an ended engine's: it is left out."""
    found = []
    for path in engines.glob(f"*/{LEASE}"):
        with contextlib.suppress(LabError):
            if lease := read_lease(path.parent):
                found.append(lease)
    return sorted(found, key=lambda lease: lease.started)


def leads(lease: Lease) -> bool:
    """Whether the supervisor that wrote the lease still runs."""
    try:
        process = psutil.Process(lease.pid)
        same = abs(process.create_time() - lease.started) < START_SLACK_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def members(lease: Lease) -> list[psutil.Process]:
    """The living processes of the engine's group.

    The kernel keeps a group's number from reuse while a member lives. So when another process leads the group by now,
    ours is gone; and whoever was there before the lease was never ours.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            if os.getpgid(process.pid) != lease.pgid or process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.pid == lease.pgid and abs(process.create_time() - lease.started) >= START_SLACK_S:
                return []
            if process.create_time() >= lease.started - START_SLACK_S:
                found.append(process)
    return found


def kill_group(lease: Lease) -> int:
    """Kill what is left of the engine, by its process group; how many processes there were. Waits for their end."""
    alive = members(lease)
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while left := members(lease):
        if time.monotonic() > deadline:
            raise LabError(f"processes {[p.pid for p in left]} of engine {lease.engine_id} do not end", "kill them")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(lease.pgid, signal.SIGKILL)
        time.sleep(0.05)
    return len(alive)


def hold(folder: Path, what: str = HOLD) -> int:
    """Keep the engine from ending while idle; returns the descriptor to close. Ends by itself with the process.

    `what`: NEXT_HOLD keeps its successor instead.
    """
    descriptor = os.open(folder / what, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(descriptor, fcntl.LOCK_SH)
    return descriptor


def is_held(folder: Path) -> bool:
    """Whether a command holds the engine."""
    return is_locked(folder / HOLD)


def is_busy(folder: Path) -> bool:
    """Whether a request is under way."""
    return is_locked(folder / BUSY)


def is_locked(path: Path) -> bool:
    """Whether a living process holds the file's lock. False where there is no such file."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def last_words(log: Path, since: int = 0) -> str:
    """Why vLLM ended, in one line: the last errors in its log, else its last lines. `since`: bytes of earlier ones."""
    lines = log.read_bytes()[since:].decode(errors="replace").splitlines() if log.exists() else []
    lines = [line for line in (STARTING_AT.sub("", line).strip() for line in lines[-200:]) if line]
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception): ", line)]
    return " | ".join(dict.fromkeys((errors or lines)[-LOG_LINES:]))[-600:] or "it said nothing"


def forget(folder: Path) -> None:
    """Take the lease away, and the adapters that the engine used; the log stays."""
    (folder / LEASE).unlink(missing_ok=True)
    (folder / NEXT).unlink(missing_ok=True)
    shutil.rmtree(folder / ADAPTERS, ignore_errors=True)


def prune(engines: Path) -> None:
    """Remove the oldest folders without a lease, but for the newest few: their logs explain what went wrong."""
    ended = [folder for folder in engines.glob("e-*") if not (folder / LEASE).exists()]
    for folder in sorted(ended, key=lambda folder: folder.stat().st_mtime)[:-KEEP_LOGS]:
        shutil.rmtree(folder, ignore_errors=True)
