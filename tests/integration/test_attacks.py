"""Keys in force on the real engine: the pipeline works on, attacks get a 4xx and change nothing, no route is unknown.

One `ratchet run` made the lab and started the engine, with a key there from the beginning; everything else uses both.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import hypothesis
import pytest
import schemathesis
from loop import ROOT, Finished, answer, sql, succeed

from harness.base import describe
from harness.core.paths import Lab
from harness.pipeline.evaluation import engine_spec
from harness.pipeline.subjects import BASE_NAME
from serve import adapters, keys
from serve.client import choice_logprobs
from serve.engine import Engine, ensure
from serve.lease import LOG, members, read_lease
from serve.plugin.routetable import CLOSED, PATTERNS, ROUTES, Need, need_of
from tests import attacks
from tests.attacks import Target

ROUTE = re.compile(r"Route: (\S+), (?:Methods: ([A-Z, ]+)|Endpoint: \S+)")
ALL_ROUTES = """
import json
from vllm.entrypoints.launchers.app import build_app
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.utils.argparse_utils import FlexibleArgumentParser

arguments = make_arg_parser(FlexibleArgumentParser()).parse_args(["--enable-tokenizer-info-endpoint"])
app = build_app(arguments, ("generate", "embed", "classify", "score", "transcription", "realtime"))
print(json.dumps([route.path for route in app.routes]))
"""
EXAMPLES = 15  # a route, by schemathesis


class World(NamedTuple):
    lab: Lab
    engine: Engine
    target: Target
    limited: str


def made(lab: Path, name: str, *words: str) -> str:
    secret = answer(lab, "keys", "create", name, *words)["secret"]
    assert isinstance(secret, str)
    return secret


@pytest.fixture(scope="module")
def world(finished: Finished) -> Iterator[World]:
    lab, infer = Lab(finished.fresh()), finished.secret
    run_id = sql(lab.root, "select run_id from runs")[0]["run_id"]
    succeed(lab.root, "promote", run_id, "--as", "support@prod", "--force", "--reason", "for the test")
    feedback, limited = made(lab.root, "feedback", "--scope", "feedback"), made(lab.root, "limited", "--tpm", "600")
    revoked, expired = made(lab.root, "revoked"), made(lab.root, "expired")
    succeed(lab.root, "keys", "revoke", "revoked")
    _expire(lab, "expired")
    base = describe(str(ROOT / "experiments/bases/tiny"), lab)
    with ensure(lab, engine_spec(lab, base, [])) as engine:
        yield World(lab, engine, Target(engine.url, infer, feedback, revoked, expired), limited)


def _expire(lab: Lab, name: str) -> None:
    """Let a key end now; no command makes keys of the past."""
    path = lab.keys / keys.KEYS
    ring = json.loads(path.read_text())
    for key in ring["keys"]:
        if key["name"] == name:
            key["expires"] = datetime.datetime.now(datetime.UTC).isoformat()
    path.write_text(json.dumps(ring))


@pytest.fixture
def unchanged(world: World) -> Iterator[None]:
    """What the engine serves, and what the lab's registry and keys say, is the same after the test."""

    def state() -> tuple[Any, ...]:
        listed = httpx.get(f"{world.engine.url}/v1/models", headers=world.engine.headers).json()["data"]
        health = httpx.get(f"{world.engine.url}/ratchet/health", headers=world.engine.headers).json()
        files = [path for folder in (world.lab.registry, world.lab.keys) for path in sorted(folder.rglob("*"))]
        kept = {str(path): path.read_bytes() for path in files if path.is_file() and "used-" not in path.name}
        return [(card["id"], card["root"], card["parent"]) for card in listed], health["adapters"], kept

    before = state()
    yield
    assert state() == before


def ask(world: World, secret: str, path: str = "/v1/completions", **body: Any) -> httpx.Response:
    wanted = {"model": BASE_NAME, "prompt": "A question", "max_tokens": 8, "temperature": 0, **body}
    return httpx.post(world.engine.url + path, json=wanted, headers={"x-api-key": secret}, timeout=60)


def test_the_pipeline_works_on_while_keys_are_in_force(world: World) -> None:
    """The run above was planned, trained, compared with PEFT, evaluated and scored by lm-eval, all past the keys."""
    counted = sql(world.lab.root, "select evalset, count(*) as n from evals group by evalset order by evalset")
    assert [row["evalset"] for row in counted] == ["aac", "aac_style", "lm_eval"]
    assert sql(world.lab.root, "select count(*) as n from parity where passed")[0]["n"] == 1
    assert adapters.listed(world.engine)
    scores = choice_logprobs(world.engine.url, BASE_NAME, [([1, 2, 3], [[4], [5, 6]])], headers=world.engine.headers)
    assert len(scores[0]) == 2
    assert httpx.post(f"{world.engine.url}/v1/completions", json={"prompt": "x"}).status_code == 401


def test_every_route_of_the_engine_is_open_by_name_or_closed_by_name(world: World) -> None:
    """vLLM prints its routes as it starts. A new one fails here until somebody decides; it is closed till then."""
    lines = (world.lab.engines / world.engine.engine_id / LOG).read_text(errors="replace").splitlines()
    found = {match[1]: match[2] or "" for line in lines if (match := ROUTE.search(line))}
    assert len(found) > 20, "vLLM names its routes in another way now"
    named = {path for _, path in ROUTES} | set(CLOSED)
    assert {path for path in found if path not in named and not any(p.fullmatch(path) for _, p, _ in PATTERNS)} == set()
    for (method, path), need in ROUTES.items():
        if path not in ("/v1/embeddings",):  # not in every engine
            assert path in found, f"{method} {path} ({need}) is open, but vLLM has no such route"


def test_no_route_that_vllm_can_have_is_unknown(tmp_path: Path) -> None:
    """vLLM's app with every switch and task on that adds routes, made without an engine."""
    script = tmp_path / "routes.py"
    script.write_text(ALL_ROUTES, encoding="utf-8")
    switches = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1", "VLLM_PLUGINS": "ratchet_routes"}
    done = subprocess.run(
        [sys.executable, "-P", str(script)], capture_output=True, text=True, env={**os.environ, **switches}, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found = set(json.loads(done.stdout.splitlines()[-1]))
    assert {"/pause", "/v1/responses", "/v1/audio/transcriptions", "/adapters", "/metrics"} <= found
    known = {path for _, path in ROUTES} | set(CLOSED)
    assert {path for path in found - known if not any(one.fullmatch(path) for _, one, _ in PATTERNS)} == set()


@pytest.mark.usefixtures("unchanged")
def test_attacks_get_4xx(world: World) -> None:
    wrong = {what: code for what, code in attacks.credentials(world.target) if code != 401}
    wrong |= {what: code for what, code in attacks.wrong_scope(world.target) if code != 403}
    wrong |= {what: code for what, code in attacks.closed_routes(world.target) if code not in (401, 403)}
    for tricks in (attacks.path_tricks, attacks.method_tricks):
        wrong |= {what: code for what, code in tricks(world.target) if not 400 <= code < 500}
    assert wrong == {}
    for what, said in attacks.smuggling(world.target):
        assert said.count(b"HTTP/1.1 ") <= 1, what
        assert 400 <= attacks.status(said) < 500, (what, said[:200])
    for name in attacks.NAMES:
        assert ask(world, world.target.infer, model=name).status_code == 404, name
    for body in (b"[" * 4_000_000, b'{"prompt": ' + b"[" * 100 + b"]" * 100 + b"}", b"x" * 100 * 2**20):
        headers = {**world.target.auth, "content-type": "application/json"}
        refused = httpx.post(f"{world.engine.url}/v1/completions", content=body, headers=headers, timeout=60)
        assert refused.status_code in (400, 413)
    assert ask(world, world.target.infer).status_code == 200


@pytest.mark.usefixtures("unchanged")
def test_ten_thousand_unknown_names_leave_no_trace(world: World) -> None:
    lease = read_lease(world.lab.engines / world.engine.engine_id)
    assert lease is not None

    def resident() -> int:
        return sum(process.memory_info().rss for process in members(lease))

    found, grown = attacks.flood(world.engine.url, world.target.auth, 10_000, resident)
    print(f"10,000 unknown names: {grown / 2**20:.1f} MiB")
    assert found == {404}
    assert grown < 32 * 2**20


def test_versions_aliases_and_candidates_are_listed_to_whom_they_are_for(world: World) -> None:
    seen = httpx.get(f"{world.engine.url}/v1/models", headers=world.target.auth).json()["data"]
    assert [card["id"] for card in seen] == [BASE_NAME, "support@v1", "support", "support@prod"]
    assert {card["parent"] for card in seen[1:]} == {BASE_NAME}
    assert ask(world, world.target.infer, model="support").headers["x-ratchet-model"] == "support@v1"
    run_id = sql(world.lab.root, "select run_id from runs")[0]["run_id"]
    assert ask(world, world.target.infer, model=run_id).status_code == 404
    everything = httpx.get(f"{world.engine.url}/v1/models", headers=world.engine.headers).json()["data"]
    assert run_id in {card["id"] for card in everything}


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/chat/completions"])
def test_tokens_are_vllms_own_count_in_streams_too(world: World, path: str) -> None:
    """A bucket of 600 fills by 10 a second: what is in it right after a call tells what the call cost."""
    what = {"messages": [{"role": "user", "content": "A question"}]} if "chat" in path else {}
    usage = ask(world, world.target.infer, path, **what).json()["usage"]
    for stream in (False, True):
        while _left(world) < 600:
            time.sleep(0.1)
        began = time.monotonic()
        answered = ask(world, world.limited, path, stream=stream, **what)
        assert answered.status_code == 200
        if stream:
            assert '"usage":{' not in answered.text, "what the client did not ask for it does not get"
            assert answered.text.endswith("data: [DONE]\n\n")
        time.sleep(0.1)  # the call is settled after its last byte
        left, filled = _left(world), 10 * (time.monotonic() - began)
        assert 600 - usage["total_tokens"] <= left <= 600 - usage["total_tokens"] + filled


def _left(world: World) -> int:
    answer = httpx.get(f"{world.engine.url}/v1/models", headers={"x-api-key": world.limited})
    return int(answer.headers["x-ratelimit-remaining-tokens"])


def test_ids_are_the_servers_own(world: World) -> None:
    headers = {**world.target.auth, "x-request-id": "mine"}
    body = {"model": BASE_NAME, "prompt": "x", "max_tokens": 1, "request_id": "mine"}
    found = [httpx.post(f"{world.engine.url}/v1/completions", json=body, headers=headers) for _ in range(2)]
    assert len({one.json()["id"] for one in found}) == 2
    assert {one.headers["x-request-id"] for one in found} == {"mine"}


def test_limits_hold_before_the_engine_sees_anything(world: World) -> None:
    for wrong in ({"n": 1000}, {"max_tokens": 10**9}, {"logprobs": -1}, {"stop": ["x"] * 50}, {"prompt": [5] * 5000}):
        refused = ask(world, world.target.infer, **wrong)
        assert refused.status_code == 400
        assert refused.json()["error"]["param"] == next(iter(wrong))


def test_schemathesis_finds_no_5xx(world: World) -> None:
    """Every open route, with bodies made from the engine's own OpenAPI document, right and wrong ones."""
    document = httpx.get(f"{world.engine.url}/ratchet/openapi.json", headers=world.target.auth).json()
    operations = [result.ok() for result in schemathesis.openapi.from_dict(document).get_all_operations()]
    named = {(one.method.upper(), one.path) for one in operations}
    assert {("POST", "/v1/chat/completions"), ("POST", "/v1/completions"), ("GET", "/v1/models")} <= named
    assert not {pair for pair in named if need_of(*pair) in (Need.ADMIN, Need.OPERATOR)}
    seen: dict[int, int] = {}
    failed: list[str] = []

    def probe(case: Any) -> None:
        if isinstance(case.body, dict):
            case.body["max_tokens"] = 1
        headers = {**(case.headers or {}), **world.target.auth}
        try:
            said = case.call(base_url=world.engine.url, headers=headers, timeout=60)
        except ValueError:  # a header or path that no client can send
            return
        seen[said.status_code] = seen.get(said.status_code, 0) + 1
        if said.status_code >= 500:
            failed.append(f"{case.method} {case.path} {said.status_code}: {json.dumps(case.body, default=str)[:600]}")

    for operation in operations:
        for mode in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
            with contextlib.suppress(hypothesis.errors.Unsatisfiable):  # a probe without arguments has no wrong ones
                hypothesis.settings(
                    max_examples=EXAMPLES,
                    deadline=None,
                    derandomize=True,
                    database=None,
                    suppress_health_check=list(hypothesis.HealthCheck),
                )(hypothesis.given(case=operation.as_strategy(generation_mode=mode))(probe))()
    print(f"schemathesis: {len(operations)} routes, {dict(sorted(seen.items()))}")
    assert failed == []
    assert ask(world, world.target.infer).status_code == 200


def test_zz_no_secret_is_in_any_file(world: World) -> None:
    """The lab (journals, store, reports, engine log, jobs) after everything above; the lease alone has the token."""
    secrets = [*world.target[1:], world.limited]
    places = (world.lab.root, world.lab.engines)
    files = [path for place in places for path in place.rglob("*") if path.is_file()]
    assert any(path.name == LOG for path in files)
    for path in files:
        data = path.read_bytes()
        assert not any(secret.encode() in data for secret in secrets), path
        assert path.name == "lease.json" or world.engine.admin_token.encode() not in data, path
