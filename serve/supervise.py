"""`python -m serve.supervise FOLDER`: owns one engine's listening socket and the vLLM behind it, for all of its life.

Started by serve.engine as leader of a process group of its own, so that killing the group leaves nothing. The socket
is made here and inherited by vLLM, so it outlives every vLLM: while there is none, serve.standin answers on it. A vLLM
that ends, whose engine core dies or that hangs is replaced, with back-off. Ends on SIGTERM (running requests finish
first; SIGQUIT, or a second SIGTERM, does not wait), and after `idle_s` without a request under way or a holder.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import resource
import secrets
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx
import psutil

from harness.core.paths import read_json, write_json
from serve import launch
from serve.backoff import PAUSES_S, Backoff, Over
from serve.child import HANDED_OVER, KEEP_ALIVE_S, Child, is_done
from serve.launch import OUR_CPU_KERNELS as OUR_CPU_KERNELS
from serve.lease import (
    BUSY,
    HOLD,
    LEASE,
    LOG,
    LOOPBACK,
    SPEC,
    Lease,
    forget,
    is_busy,
    is_held,
    last_words,
    members,
)
from serve.sockets import free_port as free_port
from serve.sockets import listen
from serve.standin import Absence, StandIn
from serve.succession import Succession

POLL_S = 0.2
PULSE_S = 1.0  # how soon a dead engine core is noticed
HEARTBEAT_S = 15.0  # how often the worker is asked, which only an engine that turns can answer
HUNG_S = 120.0  # RATCHET_HUNG_S for another; a step of a large base on a CPU may take tens of seconds
START_LIMIT_S = 900.0
GRACE_S = 5.0  # between TERM and KILL; a TERM during vLLM's start can hang for minutes
DRAIN_S = 25.0  # RATCHET_DRAIN_S for another; what stops containers usually waits 30 s before it kills
HEALTH_TIMEOUT_S = 30.0  # the first answer asks the worker, which may be busy warming up
USUAL_START_S = 45.0  # until one start was seen


class Supervisor:
    """One engine's life. `lease` is what the file says. `leads`: whether the process group is ours, to clean up."""

    def __init__(
        self,
        folder: Path,
        command: Callable[[Mapping[str, Any], int, bool], list[str]] = launch.command,
        leads: bool = False,
    ) -> None:
        wanted = read_json(folder / SPEC)
        self.folder, self.spec, self.idle_s = folder, wanted["spec"], float(wanted["idle_s"])
        self._command, self._leads = command, leads
        self._hung_s = float(os.environ.get("RATCHET_HUNG_S") or HUNG_S)
        self._drain_s = drain_s()
        self.stops = 0  # 1: drain and end; more: end at once
        self._back_at = self._last_used = 0.0
        self._children: set[Child] = set()
        self._succession = Succession(
            folder,
            lambda spec: self._begin(spec, stands_by=True),
            lambda child: self._end(child, GRACE_S),
            lambda successor: self._say(successor=successor),
        )
        self._retiring: set[asyncio.Task[None]] = set()
        for name in (HOLD, BUSY):
            (folder / name).touch()
        self._socket = listen(self.spec.get("host") or LOOPBACK, self.spec["port"] or 0)
        self.lease = Lease(
            engine_id=folder.name,
            pid=os.getpid(),
            pgid=os.getpgid(0),
            started=psutil.Process().create_time(),
            port=self._socket.getsockname()[1],
            state="starting",
            spec=self.spec,
            admin_token=secrets.token_urlsafe(32),
        )

    def run(self) -> None:
        """Returns when the engine is over; the caller then kills what is left of the group."""
        with self._socket:
            asyncio.run(self._run())

    async def _run(self) -> None:
        self._standin = StandIn(self._socket, self._absence)
        await self._standin.start()
        self._expect_back(0.0)
        self._say()
        await self._live()
        await self._succession.drop()
        if self._retiring:
            await asyncio.wait(self._retiring)
        self._standin.stop()
        if self.lease.state != "failed":
            forget(self.folder)

    async def _live(self) -> None:
        """One vLLM after another, until nobody wants one or none gets ready."""
        backoff = Backoff()
        while True:
            over = await self._one_vllm()
            if self._succession.due and not self.stops:
                continue
            if over.problem is None:
                return
            pause = backoff.pause_s(over)
            if pause is None:
                tried = " (given up after several restarts in a row)" if backoff.gave_up else ""
                return self._say(state="failed", error=over.problem + tried)
            print(f"supervisor: vLLM is started again in {pause:.0f} s: {over.problem}", flush=True)
            self._expect_back(pause)
            self._say(state="restarting", restarts=self.lease.restarts + 1, error=over.problem)
            if await self._unwanted(pause):
                return None

    async def _one_vllm(self) -> Over:
        """A vLLM's whole life, from its start until nothing of it is left, or until another is to take its place."""
        log = self.folder / LOG
        since = log.stat().st_size if log.exists() else 0
        child = self._next()
        ready_s, handed_over = None, False
        try:
            over = await self._until_ready(child)
            if over.problem is None and not self.stops:
                began = time.monotonic()
                over = await self._until_over(child)
                ready_s = time.monotonic() - began
                if over.problem is None and self._succession.due and not self.stops:
                    handed_over = True
                    return await self._hand_over(child, ready_s)
                changes = {"state": "restarting", "error": over.problem} if over.problem else {"state": "draining"}
                self._expect_back(PAUSES_S[0])
                self._say(**changes)
            code = child.returncode
            problem = over.problem
            if problem and code is not None:
                how = f"was killed ({signal.Signals(-code).name})" if code < 0 else f"ended by itself ({code})"
                problem = f"vLLM {how}: {last_words(log, since)}"
            # With a dead core too: whoever still has a connection open hears 503 over it, instead of a reset.
            await self._close_door(child, self._drain_s if problem is None else KEEP_ALIVE_S + GRACE_S)
            return Over(problem, ready_s, (code or 0) < 0, over.lasting)
        finally:
            if not handed_over:
                await self._end(child, 0.0 if self.stops > 1 else GRACE_S)

    def _next(self) -> Child:
        """The successor whose turn it is, else another start of what there was."""
        taken = self._succession.take()
        if taken is None:
            return self._begin(self.spec)
        child, self.spec = taken
        write_json(self.folder / SPEC, {"spec": self.spec, "idle_s": self.idle_s})
        self._say(spec=self.spec)
        return child

    def _begin(self, spec: Mapping[str, Any], stands_by: bool = False) -> Child:
        token, cpu = self.lease.admin_token, launch.on_cpu()
        environment = launch.environment(spec, self.lease.engine_id, self.folder, token, cpu)
        command = self._command(spec, self.lease.port, cpu)
        child = Child(command, environment, self._socket, self.folder / LOG, (self.lease.url, token), stands_by)
        self._children.add(child)
        return child

    async def _hand_over(self, child: Child, ready_s: float) -> Over:
        """Have a vLLM accept no more, and see to its end beside its successor; new connections wait for that one."""
        await child.drain(HANDED_OVER)
        task = asyncio.create_task(self._retire(child))
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)
        return Over(None, ready_s)

    async def _retire(self, child: Child) -> None:
        await self._finish(child, self._drain_s, stand_in=False)
        await self._end(child, GRACE_S)

    async def _end(self, child: Child, grace_s: float) -> None:
        """Until nothing of a vLLM is left."""
        await child.end(grace_s)
        self._children.discard(child)
        self._kill_orphans()

    async def _until_ready(self, child: Child) -> Over:
        """Without a problem when vLLM is ready, or not wanted any more."""
        began = time.monotonic()
        while child.returncode is None and not self.stops:
            if time.monotonic() - began > START_LIMIT_S:
                return Over(f"vLLM was not ready after {START_LIMIT_S:.0f} s")
            if child.announced():
                self._standin.stop()  # vLLM accepts from now on
                if over := await self._look(child, began):
                    return over
            await asyncio.sleep(POLL_S)
        return Over(None if self.stops else "vLLM ended")

    async def _look(self, child: Child, began: float) -> Over | None:
        """Ask the engine what it is; ready only when its worker says that it uses the right kernels. None: not yet."""
        try:
            health = await child.get("/ratchet/health", HEALTH_TIMEOUT_S)
        except httpx.TransportError:
            return None
        if health.status_code != 200:
            problem = f"vLLM runs without Ratchet's plugins (HTTP {health.status_code}): run pip install -e . again"
            return Over(problem, lasting=True)
        facts = health.json()
        if wrong := launch.wrong_kernels(facts["device"], facts["kernels"]):
            return Over(wrong, lasting=True)
        known = {key: facts[key] for key in ("kernels", "versions", "dtype", "device", "max_model_len")}
        if self.lease.state == "starting":
            self._last_used = time.time()
        if self.lease.state != "ready":  # what a start takes; a successor's was behind it when its turn came
            known["seconds"] = round(time.monotonic() - began, 1)
        self._say(state="ready", error=None, **known)
        return Over(None)

    async def _until_over(self, child: Child) -> Over:
        """Watch a ready engine; without a problem when it is to end (stopped or idle), or another's turn has come."""
        pulse = asyncio.create_task(self._pulse(child))
        try:
            while child.returncode is None and not pulse.done():
                if self.stops or self._is_idle() or await self._succession.look():
                    return Over(None)
                await asyncio.sleep(POLL_S)
            return Over(pulse.result() if pulse.done() else "vLLM ended")
        finally:
            pulse.cancel()

    async def _pulse(self, child: Child) -> str:
        """Ask again and again; returns when the engine is dead or hangs, with what is wrong."""
        beaten = time.monotonic()
        while True:
            await asyncio.sleep(PULSE_S)
            beat = time.monotonic() - beaten > HEARTBEAT_S
            try:
                answer = await child.get("/ratchet/health" if beat else "/ready", self._hung_s)
            except httpx.TimeoutException:
                return f"the engine hangs: no answer in {self._hung_s:.0f} s"
            except httpx.TransportError:
                continue  # it ended, or closed an idle connection
            if beat:
                beaten = time.monotonic()
            elif answer.status_code == 503 and _status(answer) == "dead":
                return f"vLLM's engine core ended: {last_words(self.folder / LOG)}"

    async def _close_door(self, child: Child, limit_s: float) -> None:
        """Have vLLM accept no more, accept again ourselves, and wait until what vLLM has begun is answered.

        No connection is lost on the way: one that vLLM does not take waits in the socket's queue for us.
        """
        await self._finish(child, limit_s, stand_in=True)
        await self._standin.start()

    async def _finish(self, child: Child, limit_s: float, stand_in: bool) -> None:
        """Have vLLM accept no more, and wait for what it has begun. `stand_in`: we accept meanwhile, not another."""
        began = time.monotonic()
        while child.returncode is None and child.announced() and self.stops < 2:
            left = await child.drain()
            if stand_in:
                await self._standin.start()
            if is_done(left, time.monotonic() - began, limit_s):
                break
            await asyncio.sleep(POLL_S)

    def _kill_orphans(self) -> None:
        """What vLLM left: `kill -9` of the API server leaves its engine core alive, with all of its memory."""
        spared = {os.getpid()}
        for child in self._children:
            with contextlib.suppress(psutil.NoSuchProcess):
                spared |= {child.pid, *(one.pid for one in psutil.Process(child.pid).children(recursive=True))}
        for process in members(self.lease) if self._leads else []:
            if process.pid not in spared:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()

    def _is_idle(self) -> bool:
        if is_held(self.folder) or is_busy(self.folder):
            self._last_used = time.time()
        self._last_used = max(self._last_used, (self.folder / BUSY).stat().st_mtime)
        return time.time() - self._last_used > self.idle_s

    async def _unwanted(self, pause_s: float) -> bool:
        """Wait; whether nobody wants the engine any more."""
        until = time.monotonic() + pause_s
        while time.monotonic() < until and not self.stops:
            await asyncio.sleep(POLL_S)
        return self.stops > 0 or (self.lease.seconds is not None and self._is_idle())

    def _expect_back(self, pause_s: float) -> None:
        self._back_at = time.monotonic() + pause_s + (self.lease.seconds or USUAL_START_S)

    def _absence(self) -> Absence:
        """What the stand-in tells. A minute at most: clients give up on more."""
        state = self.lease.state
        reasons = {"starting": "vLLM is starting", "draining": "the engine is ending"}
        reason = reasons.get(state, f"vLLM is started again (restart {max(1, self.lease.restarts)})")
        left = math.ceil(self._back_at - time.monotonic())
        return Absence(state, reason, 5 if state == "draining" else min(60, max(1, left)))

    def _say(self, **changes: Any) -> None:
        self.lease = self.lease.model_copy(update=changes)
        self.lease.write(self.folder / LEASE, "engine.lease")


def drain_s() -> float:
    """How long running requests may go on after SIGTERM."""
    return float(os.environ.get("RATCHET_DRAIN_S") or DRAIN_S)


def _status(answer: httpx.Response) -> object:
    try:
        found = answer.json()
    except ValueError:
        return None
    return found.get("status") if isinstance(found, dict) else None


def main() -> None:
    os.umask(0o077)  # the lease and the log are for their owner
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        supervisor = Supervisor(Path(sys.argv[1]), leads=True)
    except OSError as error:
        sys.exit(f"OSError: the engine cannot listen: {error.strerror}")

    def end(number: int, _: object) -> None:
        supervisor.stops += 2 if number == signal.SIGQUIT else 1

    for number in (signal.SIGTERM, signal.SIGQUIT):
        signal.signal(number, end)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    supervisor.run()
    print(json.dumps({"ended": supervisor.lease.engine_id, "error": supervisor.lease.error}), flush=True)
    os.killpg(0, signal.SIGKILL)  # vLLM's own children, then ourselves


if __name__ == "__main__":
    main()
