"""A supervisor and its fake vLLM through kills, hangs, restarts and the end, as those who connect see it."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from harness.core.paths import Lab
from serve import adapters, engine
from serve.client import Ask, ask_many
from serve.engine import Engine
from serve.lease import is_busy, read_lease
from tests.unit.serve.lives import Crowd, Life, wait


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Life]]:
    lives: list[Life] = []

    def begin(script: dict[str, Any] | None = None, **environment: str) -> Life:
        lives.append(Life(Lab(tmp_path), script or {}, **environment))
        return lives[-1]

    yield begin
    for life in lives:
        life.end()


def test_everyone_who_connects_is_answered_while_vllm_starts_dies_and_comes_back(start: Callable[..., Life]) -> None:
    life = start({"dies_after": 30})
    wait(lambda: read_lease(life.folder) is not None)
    url = life.lease.url
    with Crowd(url) as crowd:
        crowd.until({503, 200})
        for restart in (1, 2):
            life.until("restarting", restart)
            absent = httpx.get(f"{url}/ready")
            assert absent.status_code == 503
            assert 1 <= int(absent.headers["retry-after"]) <= 60
            crowd.forget()
            crowd.until({503, 200})
        assert "engine core ended" in (life.until("restarting", 3).error or "")
    assert crowd.problems == []


def test_the_error_of_the_stand_in_is_shaped_as_openais(start: Callable[..., Life]) -> None:
    life = start()
    wait(lambda: read_lease(life.folder) is not None)
    url = life.lease.url
    life.until("ready")
    life.vllm().suspend()  # it would answer the next connection, were it awake
    life.vllm().kill()
    life.until("restarting")
    big = httpx.post(f"{url}/v1/completions", content=b"x" * 4_000_000)
    assert big.status_code == 503
    error = big.json()["error"]
    assert (error["type"], error["code"], error["param"]) == ("ServiceUnavailableError", 503, None)
    assert "try again in" in error["message"]
    assert int(big.headers["retry-after"]) >= 1
    assert httpx.head(f"{url}/health").status_code == 503
    assert [httpx.get(url + path).status_code for path in ("/health", "/ping", "/ready", "/v1/models")] == [503] * 4


def test_adapters_come_back_without_anyone_asking(start: Callable[..., Life], tmp_path: Path) -> None:
    life = start()
    served = Engine(life.until("ready"))
    for name in ("r-one", "r-two", "r-three"):
        adapters.load(served, name, _adapter(tmp_path / name))
    adapters.unload(served, "r-two")
    life.vllm().kill()
    life.until("ready", 1)
    assert set(adapters.listed(served)) == {"r-one", "r-three"}
    assert json.loads((life.folder / f"loaded-{'b' * 12}.json").read_text()) == {
        "r-one": str(tmp_path / "r-one"),
        "r-three": str(tmp_path / "r-three"),
    }


def test_the_client_waits_for_a_restart(start: Callable[..., Life]) -> None:
    life = start()
    url = life.until("ready").url
    life.vllm().kill()
    life.until("restarting")
    (reply,) = ask_many(url, [Ask("tiny", prompt="the dog")])
    assert reply.error is None
    assert life.lease.restarts == 1


def test_one_that_hangs_is_replaced(start: Callable[..., Life]) -> None:
    life = start(RATCHET_HUNG_S="1")
    life.until("ready")
    hung = life.vllm()
    hung.suspend()
    lease = life.until("ready", 1)
    assert not hung.is_running() or hung.status() == psutil.STATUS_ZOMBIE
    assert lease.error is None
    assert "the engine hangs: no answer in 1 s" in (life.folder / "engine.log").read_text()


def test_draining_refuses_the_new_and_finishes_the_running(start: Callable[..., Life]) -> None:
    life = start({"delay_s": 1.5}, RATCHET_DRAIN_S="20")
    url = life.until("ready").url
    with httpx.Client(base_url=url) as kept:
        kept.get("/health")  # a connection that stays open to vLLM itself
        running, answers = threading.Thread(target=lambda: answers.append(_complete(url))), []
        running.start()
        wait(lambda: _is_busy(life))
        life.process.send_signal(signal.SIGTERM)
        life.until("draining")
        wait(lambda: kept.get("/ready").json()["status"] == "draining")  # the lease says it a moment earlier
        refused = kept.post("/v1/completions", json={"model": "tiny", "prompt": "x"})
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert _complete(url).status_code == 503
        assert httpx.get(f"{url}/ready").json()["status"] == "draining"
    running.join()
    assert [answer.status_code for answer in answers] == [200]
    life.process.wait(30)
    assert read_lease(life.folder) is None


def test_a_second_sigterm_ends_at_once(start: Callable[..., Life]) -> None:
    life = start({"delay_s": 60.0}, RATCHET_DRAIN_S="600")
    url = life.until("ready").url
    running = threading.Thread(target=lambda: _cut_short(url))
    running.start()
    wait(lambda: _is_busy(life))
    life.process.send_signal(signal.SIGTERM)
    life.until("draining")
    life.process.send_signal(signal.SIGTERM)
    life.process.wait(30)
    running.join()
    assert read_lease(life.folder) is None


def test_sigterm_during_the_start_ends_it(start: Callable[..., Life]) -> None:
    life = start()
    wait(lambda: read_lease(life.folder) is not None)
    life.process.send_signal(signal.SIGTERM)
    life.process.wait(30)
    assert read_lease(life.folder) is None


def test_stop_drains_unless_hurried(start: Callable[..., Life]) -> None:
    life = start({"delay_s": 60.0}, RATCHET_DRAIN_S="600")
    url = life.until("ready").url
    running = threading.Thread(target=lambda: _cut_short(url))
    running.start()
    wait(lambda: _is_busy(life))
    asked = iter([False, False, True])
    engine.stop(life.lab, "e-1", hurry=lambda: next(asked, False))
    running.join()
    life.process.wait(5)


def test_only_the_token_drains(start: Callable[..., Life]) -> None:
    life = start()
    url = life.until("ready").url
    for headers in ({}, {"authorization": "Bearer x"}):
        assert httpx.post(f"{url}/ratchet/drain", headers=headers).status_code == 401
    assert httpx.get(f"{url}/ratchet/drain", headers={"authorization": "Bearer x"}).status_code == 401
    assert httpx.get(f"{url}/ready").status_code == 200


def _complete(url: str) -> httpx.Response:
    return httpx.post(f"{url}/v1/completions", json={"model": "tiny", "prompt": "the dog"}, timeout=90)


def _cut_short(url: str) -> None:
    with pytest.raises(httpx.RemoteProtocolError):
        _complete(url)


def _is_busy(life: Life) -> bool:
    return is_busy(life.folder)


def _adapter(folder: Path) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({"r": 8}))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    return folder
