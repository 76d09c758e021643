"""The real engine on a tiny base: what is served is right, and nothing is left behind. One engine for all of it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from harness.core.errors import AdapterRefused, EngineError
from harness.core.paths import Lab
from harness.core.records import Version, now
from serve import adapters, registry
from serve.adapter_files import content_sha256
from serve.client import Ask, ask_many, prompt_logprobs
from serve.engine import Engine, EngineSpec, ensure, reap, running
from serve.lease import Lease, leads, members, read_lease
from serve.supervise import OUR_CPU_KERNELS

ADAPTERS = {
    "r-one": {"r": 8, "lora_alpha": 16, "seed": 1},
    "r-two": {"r": 4, "lora_alpha": 8, "seed": 2},
    "r-three": {"r": 8, "lora_alpha": 8, "use_rslora": True, "seed": 3},
    "r-four": {"r": 8, "lora_alpha": 16, "rank_pattern": {"q_proj": 2, "down_proj": 5}, "seed": 4},
    "r-five": {"r": 1, "lora_alpha": 2, "seed": 5},
    "r-six": {"r": 7, "lora_alpha": 16, "seed": 6},
}  # more than the engine's four slots, so that slots are used again by others
SEQUENCES = [[1, 403, 407, 261, 378, 432, 286], [1, 410, 409, 262, 300, 5, 6, 7, 8, 9, 10, 11, 12]]
PROMPTS = ["Once upon a time", "The dog", "Lily went to the park with", "Tom had a big", "One day, a", "She said"]
PARITY = 1e-3  # nats per token in fp32 (design §2)
BASE_SHA256 = "b" * 64
TWIN = f"""
import sys
from pathlib import Path
from harness.core.paths import Lab
from serve.engine import EngineSpec, ensure
lab = Lab(Path(sys.argv[1]))
spec = EngineSpec(sys.argv[2], "tiny", "{BASE_SHA256}", dtype="float32", max_lora_rank=8, registry=lab.registry)
with ensure(lab, spec) as engine:
    print(engine.engine_id)
"""


class World(NamedTuple):
    lab: Lab
    spec: EngineSpec
    engine: Engine
    folder: Path
    reference: dict[str, list[list[float]]]


@pytest.fixture(scope="module")
def world(engines_dir: Path, stories260k: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("adapters")
    job = {"base": str(stories260k), "folder": str(folder), "adapters": ADAPTERS, "sequences": SEQUENCES}
    (folder / "job.json").write_text(json.dumps(job))
    child = Path(__file__).with_name("make_adapters.py")
    made = subprocess.run([sys.executable, child, folder / "job.json"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, made.stderr
    lab = Lab(tmp_path_factory.mktemp("lab"))
    spec = EngineSpec(str(stories260k), "tiny", BASE_SHA256, dtype="float32", max_lora_rank=8, registry=lab.registry)
    lines: list[str] = []
    twin = subprocess.Popen([sys.executable, "-c", TWIN, lab.root, stories260k], stdout=subprocess.PIPE, text=True)
    with ensure(lab, spec, lines.append) as engine:
        assert twin.communicate()[0].strip() == engine.engine_id, "two commands at once share one engine"
        assert lines[0].startswith(("engine: importing vLLM", "engine: waiting for"))
        assert lines[-1].startswith(f"engine: {engine.engine_id} ready in ")
        for name in ADAPTERS:
            adapters.load(engine, name, folder / name)
        yield World(lab, spec, engine, folder, json.loads((folder / "logprobs.json").read_text()))


def greedy(model: str, prompt: str, tokens: int = 24) -> Ask:
    return Ask(model, prompt=prompt, sampling={"temperature": 0, "max_tokens": tokens})


def test_the_worker_names_our_kernels(world: World) -> None:
    assert world.engine.kernels == OUR_CPU_KERNELS
    health = httpx.get(f"{world.engine.url}/ratchet/health").json()
    assert health["kernels"] == OUR_CPU_KERNELS
    assert health["base_sha256"] == BASE_SHA256
    assert set(ADAPTERS) <= set(health["adapters"])
    assert (world.engine.dtype, world.engine.max_model_len) == ("float32", 512)
    assert world.engine.versions["vllm"].startswith("0.")


def test_mixed_batches_answer_as_each_model_alone(world: World) -> None:
    """vLLM's own CPU kernels get 0 of 12 base answers right here (vllm#48421). Slots change hands."""
    assert len(ADAPTERS) > world.spec.max_loras
    models = ["tiny", *ADAPTERS]
    asks = [greedy(model, prompt) for prompt in PROMPTS for model in models]
    alone = [ask_many(world.engine.url, [ask], concurrency=1)[0].text for ask in asks]
    assert len(set(alone)) == len(asks), "the adapters must change every answer, or this shows nothing"
    for _ in range(2):
        replies = ask_many(world.engine.url, asks, concurrency=len(asks))
        assert [reply.error for reply in replies] == [None] * len(asks)
        assert [reply.text for reply in replies] == alone


def test_served_logprobs_equal_peft(world: World) -> None:
    """Also: a request for prompt log-probs on an adapter does not end the engine."""
    for model, name in [("tiny", "base"), *((name, name) for name in ADAPTERS)]:
        served = prompt_logprobs(world.engine.url, model, SEQUENCES)
        for values, expected, ids in zip(served, world.reference[name], SEQUENCES, strict=True):
            assert values[0] is None
            assert len(values) == len(ids)
            assert values[1:] == pytest.approx(expected, abs=PARITY)
    effect = abs(world.reference["r-one"][0][0] - world.reference["base"][0][0])
    assert effect > 100 * PARITY


def test_attaching_starts_nothing(world: World) -> None:
    lines: list[str] = []
    before = [lease.engine_id for lease in running(world.lab)]  # other modules' engines may be among them
    with ensure(world.lab, world.spec, lines.append) as again:
        assert again.engine_id == world.engine.engine_id
    assert lines == [f"engine: using {again.engine_id}, which is running"]
    with ensure(world.lab, dataclasses.replace(world.spec, max_lora_rank=2)) as smaller:
        assert smaller.engine_id == again.engine_id
    assert [lease.engine_id for lease in running(world.lab)] == before
    lease = world.lab.engines / again.engine_id / "lease.json"
    assert lease.stat().st_mode & 0o077 == 0


def test_names_of_adapters_are_immutable(world: World, tmp_path: Path) -> None:
    adapters.load(world.engine, "r-one", world.folder / "r-one")  # again: nothing happens
    copy = shutil.copytree(world.folder / "r-one", tmp_path / "copy")
    with pytest.raises(EngineError, match="already served from"):
        adapters.load(world.engine, "r-one", copy)
    config = json.loads((copy / "adapter_config.json").read_text())
    (copy / "adapter_config.json").write_text(json.dumps(config | {"r": 64}))
    with pytest.raises(AdapterRefused, match="r: 64"):
        adapters.load(world.engine, "r-big", copy)
    adapters.load(world.engine, "r-gone", world.folder / "r-two")
    adapters.unload(world.engine, "r-gone")
    assert "r-gone" not in adapters.listed(world.engine)


def test_aliases_move_under_a_running_engine(world: World) -> None:
    lab, url = world.lab, world.engine.url
    assert "nothing" not in httpx.get(f"{url}/v1/models").text
    assert _status(url, "aac") == 404, "not promoted yet"
    versions = [_version(world, name) for name in ("r-one", "r-two")]
    one, two = (registry.add_version(lab, "aac", version, world.folder / version.run_id) for version in versions)
    registry.move(lab, "aac", "prod", one.version, who="test", why="first")
    alone = {name: ask_many(url, [greedy(name, "The dog")])[0].text for name in ADAPTERS}
    for model in ("aac", "aac@prod", "aac@v1"):
        text, served = _answer(url, model)
        assert (text, served) == (alone["r-one"], "aac@v1")
    registry.move(lab, "aac", "prod", two.version, who="test", why="better", expected_current=1)
    assert _answer(url, "aac") == (alone["r-two"], "aac@v2")
    registry.rollback(lab, "aac", "prod", who="test")
    assert _answer(url, "aac@prod") == (alone["r-one"], "aac@v1")
    assert _answer(url, "aac@v2") == (alone["r-two"], "aac@v2")
    for wrong in ("aac@v3", "aac@canary", "nobody", "../aac@v1", "aac@../v1"):
        assert _status(url, wrong) == 404


def test_streams_name_their_version(world: World) -> None:
    registry.add_version(world.lab, "stream", _version(world, "r-one"), world.folder / "r-one")
    body = {"model": "stream@v1", "prompt": "The dog", "max_tokens": 4, "temperature": 0, "stream": True}
    with httpx.stream("POST", f"{world.engine.url}/v1/completions", json=body, timeout=60) as response:
        lines = [line for line in response.iter_lines() if line]
    assert response.headers["x-ratchet-model"] == "stream@v1"
    assert lines[-1] == "data: [DONE]"
    assert len(lines) > 4


def test_chat(world: World) -> None:
    turns = [{"role": "user", "content": "hello"}]
    reply = ask_many(world.engine.url, [Ask("r-one", messages=turns, sampling={"max_tokens": 3, "temperature": 0})])[0]
    assert reply.error is None
    assert reply.completion_tokens == 3
    assert reply.finish_reason == "length"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/load_lora_adapter"),
        ("POST", "/v1/unload_lora_adapter"),
        ("POST", "/adapters"),
        ("DELETE", "/adapters/r-one"),
        ("POST", "/invocations"),
        ("POST", "/generative_scoring"),
        ("GET", "/metrics"),
        ("POST", "/v1/load_lora_adapter/"),
    ],
)
def test_admin_routes_need_the_token(world: World, method: str, path: str) -> None:
    response = httpx.request(method, world.engine.url + path, json={"lora_name": "r-one", "lora_path": "x"})
    assert response.status_code == 401
    assert response.json()["error"]["type"] == "AuthenticationError"
    wrong = httpx.request(method, world.engine.url + path, headers={"authorization": "Bearer x"}, json={})
    assert wrong.status_code == 401
    assert "r-one" in adapters.listed(world.engine)


def test_the_token_opens_metrics(world: World) -> None:
    headers = {"authorization": f"Bearer {world.engine.admin_token}"}
    assert httpx.get(f"{world.engine.url}/metrics", headers=headers).status_code == 200


def test_a_taken_port_is_said_in_one_line(world: World) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EngineError, match=f"port {port} is taken"):
            ensure(world.lab, dataclasses.replace(world.spec, port=port))


def test_requests_cut_short_leave_the_engine_well(world: World) -> None:
    async def leave() -> None:
        async with httpx.AsyncClient(timeout=0.05) as http:
            with pytest.raises(httpx.TimeoutException):
                await http.post(
                    f"{world.engine.url}/v1/completions",
                    json={"model": "r-one", "prompt": "a b", "max_tokens": 400, "ignore_eos": True},
                )

    asyncio.run(leave())
    assert ask_many(world.engine.url, [greedy("tiny", "The dog")])[0].error is None


def test_zx_a_killed_engine_core_is_replaced_and_nobody_is_refused(world: World) -> None:
    """The core is killed under load: every request gets 200 or 503 with Retry-After, begun streams end with an error
    event, and afterwards base, candidates and versions answer as before, without anyone loading them again.
    """
    registry.add_version(world.lab, "zx", _version(world, "r-three"), world.folder / "r-three")
    models = ["tiny", *ADAPTERS, "zx@v1"]
    before = {model: ask_many(world.engine.url, [greedy(model, "The dog")])[0].text for model in models}
    lease = _lease(world)
    with Load(world.engine.url, models, before) as load:
        _wait(lambda: load.seen[200] > 5 and load.streams_begun > 0)
        next(one for one in members(lease) if "EngineCore" in one.name()).kill()
        _wait(lambda: _lease(world).state == "restarting")
        assert httpx.get(f"{world.engine.url}/ready").status_code == 503
        _wait(lambda: _lease(world).state == "ready")
        load.seen.clear()
        _wait(lambda: load.seen[200] > 5)
    assert load.problems == []
    assert load.refused > 0
    assert _lease(world).restarts == lease.restarts + 1
    assert {model: ask_many(world.engine.url, [greedy(model, "The dog")])[0].text for model in models} == before
    assert set(ADAPTERS) <= set(adapters.listed(world.engine))


def test_zy_a_killed_server_is_replaced_and_its_orphans_are_reaped(world: World) -> None:
    """`kill -9` of the API server orphans vLLM's engine core. Who connects afterwards is answered."""
    lease = _lease(world)
    alive = members(lease)
    assert len(alive) > 2
    server = next(one for one in alive if "serve.plugin.server" in one.cmdline())
    os.kill(server.pid, signal.SIGKILL)
    _wait(lambda: _lease(world).state == "restarting")
    absent = httpx.post(f"{world.engine.url}/v1/completions", json={"model": "r-one", "prompt": "The dog"})
    assert absent.status_code == 503
    assert int(absent.headers["retry-after"]) >= 1
    _wait(lambda: _lease(world).state == "ready")
    old = {one.pid for one in alive} - {lease.pid}
    assert old.isdisjoint(one.pid for one in members(lease))
    assert ask_many(world.engine.url, [greedy("r-one", "The dog")])[0].error is None


def test_zz_a_killed_supervisor_leaves_nothing(world: World) -> None:
    """The last test of this module: it ends the engine."""
    lease = _lease(world)
    os.kill(lease.pid, signal.SIGKILL)
    _wait(lambda: not leads(lease))
    reap(world.lab)
    assert members(lease) == []
    assert lease.engine_id not in [one.engine_id for one in running(world.lab)]
    assert read_lease(world.lab.engines / lease.engine_id) is None


def _lease(world: World) -> Lease:
    lease = read_lease(world.lab.engines / world.engine.engine_id)
    assert lease is not None
    return lease


class Load:
    """Clients that ask without a pause, one of them for streams. `problems`: whatever nobody should see."""

    def __init__(self, url: str, models: list[str], right: dict[str, str]) -> None:
        self._url, self._right, self._over = url, right, threading.Event()
        self.seen: Counter[int] = Counter()
        self.problems: list[str] = []
        self.refused = self.streams_begun = 0
        self._threads = [threading.Thread(target=self._run, args=(self._ask, model)) for model in models]
        self._threads.append(threading.Thread(target=self._run, args=(self._stream, models[1])))

    def _run(self, once: Callable[[str], None], model: str) -> None:
        while not self._over.is_set():
            try:
                once(model)
            except httpx.HTTPError as error:
                self.problems.append(f"{model}: {error!r}")

    def _ask(self, model: str) -> None:
        answer = _post(self._url, model)
        self.seen[answer.status_code] += 1
        if answer.status_code == 200 and answer.json()["choices"][0]["text"] != self._right[model]:
            self.problems.append(f"{model} answered {answer.json()['choices'][0]['text']!r}")
        elif answer.status_code != 200:
            self._not_now(answer)

    def _not_now(self, answer: httpx.Response) -> None:
        self.refused += 1
        if answer.status_code != 503 or "retry-after" not in answer.headers:
            self.problems.append(f"{answer.status_code} {answer.text}")
        self._over.wait(0.2)

    def _stream(self, model: str) -> None:
        body = {"model": model, "prompt": "The dog", "max_tokens": 400, "ignore_eos": True, "stream": True}
        with httpx.stream("POST", f"{self._url}/v1/completions", json=body, timeout=120) as answer:
            if answer.status_code != 200:
                answer.read()
                return self._not_now(answer)
            self.streams_begun += 1
            lines = [line for line in answer.iter_lines() if line]
        if not any('"error"' in line or '"finish_reason":"' in line for line in lines):
            self.problems.append(f"a stream ended without saying why: {lines[-1]}")
        return None

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()


def _wait(done: Any) -> None:
    for _ in range(3000):
        if done():
            return
        time.sleep(0.1)
    pytest.fail("it did not happen")


def _version(world: World, name: str) -> Version:
    return Version(
        version=0,
        run_id=name,
        adapter_sha256=content_sha256(world.folder / name),
        base_sha256=BASE_SHA256,
        base_path="unused",
        verdict=None,
        plan_id=None,
        created=now(),
    )


def _post(url: str, model: str) -> httpx.Response:
    body = {"model": model, "prompt": "The dog", "max_tokens": 24, "temperature": 0}
    return httpx.post(f"{url}/v1/completions", json=body, timeout=60)


def _status(url: str, model: str) -> int:
    return _post(url, model).status_code


def _answer(url: str, model: str) -> tuple[str, str]:
    response = _post(url, model)
    assert response.status_code == 200, response.text
    served = response.headers["x-ratchet-model"]
    assert response.json()["model"] == served
    return response.json()["choices"][0]["text"], served
