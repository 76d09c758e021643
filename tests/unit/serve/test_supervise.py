"""An engine's life with the fake in vLLM's place: ready, idle, stopped, dead, wrong kernels; and reaping by group."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from harness.core.paths import Lab, write_json
from serve import engine
from serve.engine import EngineSpec, reap, running, serves
from serve.lease import LEASE, Lease, hold, last_words, members, read_lease
from serve.supervise import Supervisor


def spec(**changes: Any) -> dict[str, Any]:
    return EngineSpec("base", "tiny", "b" * 64, **changes).as_json()


def life(folder: Path, script: dict[str, Any] | None = None, idle_s: float = 60.0) -> Supervisor:
    folder.mkdir(parents=True)
    write_json(folder / "spec.json", {"spec": spec(), "idle_s": idle_s})
    write_json(folder / "script.json", script or {})
    words = [sys.executable, "-m", "serve.fake", "--script", str(folder / "script.json"), "--port"]
    return Supervisor(folder, lambda spec, port, cpu: [*words, str(port)])


def until(done: Callable[[], bool]) -> None:
    for _ in range(400):
        if done():
            return
        time.sleep(0.05)
    pytest.fail("it did not happen")


def state(folder: Path) -> str | None:
    lease = read_lease(folder)
    return lease.state if lease else None


def test_ready_then_idle_then_gone(tmp_path: Path) -> None:
    folder = tmp_path / "e-1"
    supervisor = life(folder, idle_s=0.5)
    descriptor = hold(folder)
    thread = threading.Thread(target=supervisor.run)
    thread.start()
    until(lambda: state(folder) == "ready")
    lease = read_lease(folder)
    assert lease is not None
    assert (lease.kernels, lease.max_model_len) == (["serve.fake"], 4096)
    time.sleep(1.5)
    assert state(folder) == "ready", "a holder keeps it"
    os.close(descriptor)
    thread.join()
    assert state(folder) is None


def test_stock_kernels_are_refused_loudly(tmp_path: Path) -> None:
    supervisor = life(tmp_path / "e-1", {"device": "cpu", "kernels": ["vllm.lora.punica_cpu.PunicaWrapperCPU"]})
    supervisor.run()
    assert supervisor.lease.state == "failed"
    assert "wrong in mixed batches" in (supervisor.lease.error or "")


def test_a_server_that_ends_says_why(tmp_path: Path) -> None:
    supervisor = life(tmp_path / "e-1", {"no_such_key": 1})
    supervisor.run()
    assert supervisor.lease.state == "failed"
    assert "no_such_key: no such key" in (supervisor.lease.error or "")
    assert (tmp_path / "e-1" / LEASE).exists()


def test_last_words_are_the_errors() -> None:
    log = Path(__file__).with_name("engine.log.txt")
    assert last_words(log) == "ValueError: max_lora_rank is too small"
    assert last_words(log.with_name("nothing")) == "it said nothing"


SLEEP = "import time; time.sleep(600)"
GROUP = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', '{SLEEP}']); {SLEEP}"


def test_reap_kills_what_a_killed_supervisor_left(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    leader = subprocess.Popen([sys.executable, "-c", GROUP], start_new_session=True)
    lease = write_lease(lab, leader.pid, psutil.Process(leader.pid).create_time())
    until(lambda: len(members(lease)) == 2)
    assert [one.engine_id for one in running(lab)] == ["e-1"]
    assert reap(lab) == 0, "it runs: it stays"
    os.kill(leader.pid, signal.SIGKILL)
    leader.wait()
    assert len(members(lease)) == 1
    assert reap(lab) == 1
    assert members(lease) == []
    assert read_lease(lab.engines / "e-1") is None


def test_a_reused_pid_is_not_ours(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    stranger = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    write_lease(lab, stranger.pid, psutil.Process(stranger.pid).create_time() - 3600)
    assert running(lab) == []
    assert reap(lab) == 0
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()


def test_stop_ends_the_whole_group(tmp_path: Path) -> None:
    lab = Lab(tmp_path)
    leader = subprocess.Popen([sys.executable, "-c", GROUP], start_new_session=True)
    lease = write_lease(lab, leader.pid, psutil.Process(leader.pid).create_time())
    until(lambda: len(members(lease)) == 2)
    engine.stop(lab, "e-1")
    leader.wait()
    assert members(lease) == []
    engine.stop(lab, "e-1")


def test_which_engine_serves_a_wish(tmp_path: Path) -> None:
    has = write_lease(Lab(tmp_path), 1, 0.0, spec(max_lora_rank=16, max_loras=4, dtype="float32"))
    assert serves(has, spec(max_lora_rank=8, max_loras=2, dtype="float32"))
    assert serves(has.model_copy(update={"dtype": "float32"}), spec(dtype="float32"))
    for wish in (
        {"max_lora_rank": 17},
        {"max_loras": 5},
        {"dtype": "bfloat16"},
        {"seed": 1},
        {"port": 1},
        {"max_model_len": 8},
    ):
        assert not serves(has, spec(**{"dtype": "float32", **wish}))
    assert not serves(has, {**spec(dtype="float32"), "base_sha256": "other"})
    assert not serves(has.model_copy(update={"state": "failed"}), spec(dtype="float32"))


def write_lease(lab: Lab, pid: int, started: float, wanted: dict[str, Any] | None = None) -> Lease:
    lease = Lease(
        engine_id="e-1",
        pid=pid,
        pgid=pid,
        started=started,
        port=9,
        state="ready",
        spec=wanted or spec(),
        admin_token="t",
    )
    lease.write(lab.engines / "e-1" / LEASE)
    return lease
