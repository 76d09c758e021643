"""Start an engine, or attach to one that runs: a vLLM per base model, which outlives the commands that use it.

`ensure` is the door. An engine is a process group of its own (serve.supervise and vLLM below it) with a lease in
`lab/engines/` (serve.lease); it ends by itself when idle, and every command first reaps what a killed one left.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import secrets
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from filelock import FileLock, Timeout

from harness.core.errors import EngineError, RegistryError
from harness.core.paths import Lab, check_name, disk_errors, write_json
from serve.adapters import rank_bucket
from serve.launch import CPU_LORAS
from serve.lease import (
    LOG,
    LOOPBACK,
    NEXT,
    NEXT_HOLD,
    SPEC,
    Lease,
    forget,
    hold,
    kill_group,
    last_words,
    leads,
    leases,
    prune,
    read_lease,
)
from serve.sockets import listen
from serve.storage import is_url
from serve.succession import Request
from serve.supervise import drain_s
from serve.versions import check_vllm

IDLE_S = 900.0  # RATCHET_IDLE_S in the environment for another
START_TIMEOUT_S = 900.0  # a large base from a cold disk
POLL_S = 0.2
TAKE_OVER_S = 120.0  # the look at the new vLLM's kernels included, on a busy machine
STOP_SLACK_S = 20.0  # on top of what running requests may take
# What the log says as a start gets on, and what we then tell.
STAGES = (
    ("Initializing a V1 LLM engine", "starting its worker…"),
    ("Starting to load model", "loading the base…"),
    ("Starting vLLM server", "opening its port…"),
)
ENDING = ("draining", "failed")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - compared, not bound
Report = Callable[[str], None]


@dataclass(frozen=True)
class EngineSpec:
    """What an engine has to serve. `extra` are further vLLM options by their long names, such as `max-num-seqs`.

    `registry` is a folder or a URL; `keys` and `requests` are the lab's file of API keys and its folder of captured
    requests; `cors` the web origins that may call.
    """

    base_path: str
    base_name: str
    base_sha256: str
    dtype: str = "auto"
    max_lora_rank: int = 16
    max_loras: int = 4
    max_cpu_loras: int = CPU_LORAS
    max_model_len: int | None = None
    registry: str | Path | None = None
    seed: int = 0
    host: str = LOOPBACK
    port: int | None = None
    keys: Path | None = None
    requests: Path | None = None
    cors: tuple[str, ...] = ()
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """The fields as JSON values: absolute paths, and the rank that vLLM would take."""
        base = Path(self.base_path)
        return {
            **dataclasses.asdict(self),
            "base_path": str(base.absolute()) if base.is_dir() else self.base_path,
            "max_lora_rank": rank_bucket(self.max_lora_rank),
            **{key: _place(path) for key, path in self._paths().items()},
            "cors": sorted(self.cors),
        }

    def _paths(self) -> dict[str, str | Path | None]:
        return {"registry": self.registry, "keys": self.keys, "requests": self.requests}


def _place(path: str | Path | None) -> str | None:
    return None if path is None else str(path) if is_url(path) else str(Path(path).absolute())


@dataclass
class Engine:
    """A running engine and a hold on it: it will not end as idle before `close`, or before this process does."""

    lease: Lease
    _hold: int = -1

    @property
    def engine_id(self) -> str:
        return self.lease.engine_id

    @property
    def url(self) -> str:
        """The server's root, without /v1."""
        return self.lease.url

    @property
    def admin_token(self) -> str:
        return self.lease.admin_token

    @property
    def headers(self) -> dict[str, str]:
        """What Ratchet's own requests carry: they are let in whatever keys are in force."""
        return {"authorization": f"Bearer {self.lease.admin_token}"}

    @property
    def base_name(self) -> str:
        return str(self.lease.spec["base_name"])

    @property
    def base_sha256(self) -> str:
        return str(self.lease.spec["base_sha256"])

    @property
    def max_lora_rank(self) -> int:
        return int(self.lease.spec["max_lora_rank"])

    @property
    def versions(self) -> dict[str, str]:
        return self.lease.versions or {}

    @property
    def dtype(self) -> str:
        """What vLLM computes in: never `auto`."""
        return self.lease.dtype or ""

    @property
    def max_model_len(self) -> int:
        return self.lease.max_model_len or 0

    @property
    def kernels(self) -> list[str]:
        """The LoRA wrappers that the workers named when asked."""
        return self.lease.kernels or []

    def close(self) -> None:
        """Let go; the engine goes on and ends when idle."""
        if self._hold >= 0:
            os.close(self._hold)
            self._hold = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def ensure(lab: Lab, wanted: EngineSpec, report: Report = lambda line: None) -> Engine:
    """An engine that serves `wanted`: one that runs (or is starting) already, else a new one. Waits until it is ready.

    Raises EngineError with vLLM's last words when it does not start. `report` gets one line per step.
    """
    spec = wanted.as_json()
    for part in wanted.base_name.split("@", 1):  # a full version's own name, or a plain one
        check_name(part, "served base name")
    with _lock(lab):
        reap(lab)
        lease = next((lease for lease in leases(lab.engines) if serves(lease, spec) and leads(lease)), None)
        if lease is None:
            if warning := check_vllm():
                report(f"engine: {warning}")
            lease = _start(lab, spec)
            report("engine: importing vLLM…")
        elif lease.state == "starting":
            report(f"engine: waiting for {lease.engine_id}, which another command is starting…")
        elif lease.state == "restarting":
            report(f"engine: waiting for {lease.engine_id}, which is starting again ({lease.error})")
        else:
            report(f"engine: using {lease.engine_id}, which is running")
        folder = lab.engines / lease.engine_id
        held = hold(folder)
    try:
        return Engine(_wait_ready(folder, report), held)
    except BaseException:
        os.close(held)
        raise


@contextlib.contextmanager
def successor(
    lab: Lab, lease: Lease, base: dict[str, Any], name: str, alias: str, report: Report = lambda line: None
) -> Iterator[None]:
    """Have an engine's supervisor make another vLLM ready beside the one that serves, to take its socket over.

    `base`: what differs from the lease's spec, the base above all. The body must move `name@alias` to a version of that
    base: that lets the successor in. Without the move it is let go, and nothing changed. Returns when it serves. Raises
    EngineError where it does not get ready, RegistryError where another one is on its way.
    """
    folder = lab.engines / lease.engine_id
    asked = Request(request_id=secrets.token_hex(8), name=name, alias=alias, spec={**lease.spec, **base})
    with _only(folder), disk_errors(folder):
        held = hold(folder, NEXT_HOLD)
        try:
            asked.write(folder / NEXT)
            report(f"engine: {lease.engine_id} starts another vLLM beside its own, for {base['base_name']}…")
            _wait_successor(folder, asked.request_id)
            yield
            _wait_taken_over(folder, asked)
            report(f"engine: {lease.engine_id} serves {base['base_name']} now")
        finally:
            os.close(held)


@contextlib.contextmanager
def _only(folder: Path) -> Iterator[None]:
    try:
        with FileLock(folder / ".next.lock", timeout=0):
            yield
    except Timeout:
        raise RegistryError(f"engine {folder.name} is getting a successor already", "wait for that command") from None


def _wait_successor(folder: Path, request_id: str) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline:
        lease = read_lease(folder)
        if lease is None or lease.state in ENDING or not leads(lease):
            raise EngineError(f"engine {folder.name} ended meanwhile", f"see {folder / LOG}")
        found = lease.successor if lease.successor and lease.successor.request_id == request_id else None
        if found and found.state == "failed":
            raise EngineError(f"the engine's successor does not start: {found.error}", f"see {folder / LOG}")
        if found and found.state == "waiting":
            return
        time.sleep(POLL_S)
    raise EngineError(f"the successor is not ready after {START_TIMEOUT_S:.0f} s", f"see {folder / LOG}")


def _wait_taken_over(folder: Path, asked: Request) -> None:
    """EngineError where the engine does not serve what the alias stands on by now: it will, once it is back."""
    deadline = time.monotonic() + TAKE_OVER_S
    while time.monotonic() < deadline:
        lease = read_lease(folder)
        if lease and lease.state == "ready" and lease.spec["base_sha256"] == asked.spec["base_sha256"]:
            return
        time.sleep(POLL_S)
    raise EngineError(
        f"{asked.name}@{asked.alias} moved, but engine {folder.name} has not followed", f"see {folder / LOG}"
    )


def serves(lease: Lease, wanted: dict[str, Any]) -> bool:
    """Whether the engine gives the same answers as one started for `wanted`, and is large enough."""
    has, host = lease.spec, lease.spec.get("host")
    same = ("base_sha256", "base_name", "registry", "seed", "keys", "requests", "extra")
    enough = all(has.get(key, 0) >= wanted[key] for key in ("max_lora_rank", "max_loras", "max_cpu_loras"))
    return (
        lease.state not in ENDING
        and all(has.get(key) == wanted[key] for key in same)
        and enough
        and wanted["dtype"] in (has["dtype"], lease.dtype)
        and (wanted["max_model_len"] == has["max_model_len"] or wanted["max_model_len"] == lease.max_model_len)
        and wanted["port"] in (None, lease.port)
        and (wanted["host"] == host or (wanted["host"] == LOOPBACK and host in EVERYWHERE))
        and set(wanted["cors"]) <= set(has.get("cors", ()))
    )


def running(lab: Lab) -> list[Lease]:
    """Engines that run or are starting, oldest first."""
    return [lease for lease in leases(lab.engines) if lease.state not in ENDING and leads(lease)]


def stop(lab: Lab, engine_id: str, hurry: Callable[[], bool] = lambda: False) -> None:
    """End one engine and wait until it is gone. An unknown or ended one is fine.

    Running requests finish first, for `RATCHET_DRAIN_S` at most, unless `hurry()` says meanwhile to end at once.
    """
    folder = lab.engines / check_name(engine_id, "engine")
    lease = read_lease(folder)
    if lease is None:
        return
    if leads(lease):
        os.kill(lease.pid, signal.SIGTERM)
    deadline = time.monotonic() + drain_s() + STOP_SLACK_S
    while leads(lease) and time.monotonic() < deadline:
        if hurry():
            os.kill(lease.pid, signal.SIGQUIT)
            hurry = _never
        time.sleep(POLL_S)
    kill_group(lease)
    forget(folder)


def _never() -> bool:
    return False


def reap(lab: Lab) -> int:
    """Kill what engines without a supervisor left, and take their leases away; how many processes there were."""
    killed = 0
    for lease in leases(lab.engines):
        if not leads(lease):
            killed += kill_group(lease)
            forget(lab.engines / lease.engine_id)
    if lab.engines.exists():
        prune(lab.engines)
    return killed


def _lock(lab: Lab) -> FileLock:
    """Two commands that need the same engine must not both start it."""
    with disk_errors(lab.engines):
        lab.engines.mkdir(parents=True, exist_ok=True)
    return FileLock(lab.engines / ".lock")


def _start(lab: Lab, spec: dict[str, Any]) -> Lease:
    """Start a supervisor and wait for its lease, which it writes before anything else."""
    if spec["port"] is not None:
        _check_port(spec["host"], spec["port"])
    engine_id = f"e-{secrets.token_hex(4)}"
    folder = lab.engines / engine_id
    idle_s = float(os.environ.get("RATCHET_IDLE_S") or IDLE_S)
    with disk_errors(folder):
        folder.mkdir(mode=0o700)
        write_json(folder / SPEC, {"spec": spec, "idle_s": idle_s})
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, "-m", "serve.supervise", str(folder)],
        {**os.environ, "PYTHONSAFEPATH": "1"},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, folder / LOG, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,  # leader of its own process group; it outlives us
    )
    while os.waitpid(pid, os.WNOHANG) == (0, 0):
        if lease := read_lease(folder):
            return lease
        time.sleep(0.02)
    raise EngineError(f"the engine's supervisor ended at once: {last_words(folder / LOG)}", f"see {folder / LOG}")


def _wait_ready(folder: Path, report: Report) -> Lease:
    deadline = time.monotonic() + START_TIMEOUT_S
    stages = list(STAGES)
    while time.monotonic() < deadline:
        lease = read_lease(folder)
        if lease is None:
            raise EngineError(f"engine {folder.name} was stopped while starting", "run the command again")
        if lease.state == "failed":
            raise EngineError(f"engine {folder.name}: {lease.error}", f"see {folder / LOG}")
        if not leads(lease):
            raise EngineError(f"engine {folder.name} was killed: {last_words(folder / LOG)}", f"see {folder / LOG}")
        if lease.state == "ready":
            if len(stages) < len(STAGES):
                report(f"engine: {folder.name} ready in {lease.seconds:.0f} s")
            return lease
        log = (folder / LOG).read_text(errors="replace")
        while stages and stages[0][0] in log:
            report(f"engine: {stages.pop(0)[1]}")
        time.sleep(POLL_S)
    raise EngineError(f"engine {folder.name} is not ready after {START_TIMEOUT_S:.0f} s", f"see {folder / LOG}")


def _check_port(host: str, port: int) -> None:
    try:
        listen(host, port).close()
    except OSError as error:
        what = f"port {port} is taken" if error.errno == errno.EADDRINUSE else f"nobody can listen at {host}:{port}"
        raise EngineError(f"{what} ({error.strerror})", "name another or none") from error
