"""Keys: stored as hashes, made and ended by command, followed at once by a running server; last use, models, scopes."""

from __future__ import annotations

import datetime
import json
import os
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from harness.core.errors import InputError, LabError
from harness.core.paths import Lab
from serve import keys, registry
from serve.fake import Script
from serve.keys import Key
from tests.unit.serve.versions import BASE, add

ANSWERS = ("infer", "feedback", "admin")


def draft(name: str = "app", **fields: Any) -> Key:
    known = {"key_id": "", "name": name, "secret_sha256": "", "scopes": ["infer"], "created": ""}
    return Key(**{**known, **fields})


def ratchet(lab: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "harness.cli", *words, "--lab", str(lab)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


@pytest.fixture
def url(lab: Lab, serving: Callable[[Script], str]) -> str:
    script = Script(base_sha256=BASE, registry=str(lab.registry), keys=str(lab.keys / keys.KEYS))
    return serving(script)


def ask(url: str, secret: str | None = None, path: str = "/v1/completions", **body: Any) -> httpx.Response:
    headers = {"authorization": f"Bearer {secret}"} if secret else {}
    return httpx.post(url + path, json={"model": "tiny", "prompt": "hello", **body}, headers=headers)


def test_a_key_is_made_listed_and_revoked_by_command(lab: Lab) -> None:
    made = ratchet(lab.root, "keys", "create", "app", "--scope", "infer,feedback", "--rpm", "5", "--format", "json")
    assert made.returncode == 0, made.stderr
    key = json.loads(made.stdout)
    assert keys.SECRET.fullmatch(key["secret"])
    stored = (lab.keys / keys.KEYS).read_text()
    assert key["secret"] not in stored
    assert keys.sha256(key["secret"]) in stored
    assert stat.S_IMODE((lab.keys / keys.KEYS).stat().st_mode) == 0o600
    assert stat.S_IMODE(lab.keys.stat().st_mode) == 0o700
    listed = ratchet(lab.root, "keys", "list")
    assert "app" in listed.stdout
    assert "5 requests/min" in listed.stdout
    assert key["secret"] not in listed.stdout
    assert keys.sha256(key["secret"]) not in ratchet(lab.root, "keys", "list", "--format", "json").stdout
    again = ratchet(lab.root, "keys", "create", "app")
    assert again.returncode == 1
    assert again.stderr.startswith("ratchet: there is a living key 'app'")
    assert ratchet(lab.root, "keys", "revoke", "app").returncode == 0
    assert json.loads(ratchet(lab.root, "keys", "list", "--format", "json").stdout)[0]["state"] == "revoked"
    assert ratchet(lab.root, "keys", "create", "app").returncode == 0, "a revoked key's name is free"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--scope", "root"], "there is no scope 'root'"),
        (["--scope", ","], "a key without a scope opens nothing"),
        (["--model", "../x"], "model '../x' is not a name"),
        (["--expires", "soon"], "--expires 'soon' is not a time"),
        (["--expires", "2001-01-01"], "is in the past"),
        (["--capture", "2"], "--capture 2.0 is no share"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(lab: Lab, words: list[str], said: str) -> None:
    made = ratchet(lab.root, "keys", "create", "app", *words)
    assert made.returncode == 1
    assert said in made.stderr
    assert made.stderr.count("\n") == 1
    assert not (lab.keys / keys.KEYS).exists()


def test_a_kill_and_a_full_disk_lose_no_key(lab: Lab) -> None:
    _, secret = keys.create(lab.keys, draft("kept"))
    assert ratchet(lab.root, "keys", "create", "lost", RATCHET_KILL_AT="keys.record").returncode == -9
    full = ratchet(lab.root, "keys", "create", "lost", RATCHET_FULL_DISK_AT="keys.record")
    assert full.returncode == 1
    assert "the disk is full" in full.stderr
    assert [key.name for key in keys.read(lab.keys).keys] == ["kept"]
    assert ratchet(lab.root, "keys", "create", "lost").returncode == 0
    ring = keys.read(lab.keys)
    assert ring.seq == 2
    assert ring.keys[0].secret_sha256 == keys.sha256(secret)


def test_keys_made_at_once_are_all_there(lab: Lab) -> None:
    threads = [threading.Thread(target=keys.create, args=(lab.keys, draft(f"k{n}"))) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ring = keys.read(lab.keys)
    assert ring.seq == 8
    assert {key.name for key in ring.keys} == {f"k{n}" for n in range(8)}


def test_a_running_server_follows(lab: Lab, url: str) -> None:
    """No keys: open. The first key closes it; a revoked one stays out; and the last one's end opens nothing."""
    assert ask(url).status_code == 200
    assert ask(url, "anything").status_code == 200, "clients must send something; before keys it does not count"
    key, secret = keys.create(lab.keys, draft())
    assert ask(url).status_code == 401
    assert ask(url, "anything").status_code == 401
    assert ask(url, secret).status_code == 200
    assert httpx.post(f"{url}/v1/completions", json={"prompt": "x"}, headers={"x-api-key": secret}).status_code == 200
    keys.revoke(lab.keys, key.key_id)
    revoked = ask(url, secret)
    assert revoked.status_code == 401
    assert revoked.json()["error"]["code"] == "invalid_api_key"
    assert revoked.headers["www-authenticate"] == "Bearer"
    assert ask(url).status_code == 401
    for path in ("/health", "/ping"):
        assert httpx.get(url + path).status_code == 200
    for path in ("/v1/models", "/ratchet/health", "/version", "/ratchet/openapi.json"):
        assert httpx.get(url + path).status_code == 401
    assert ask(url, "fake").status_code == 200, "the engine's own token always opens"


def test_an_expired_key_is_refused_without_a_change_of_the_file(lab: Lab, url: str) -> None:
    soon = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1.5)
    _, secret = keys.create(lab.keys, draft(expires=soon.isoformat()))
    assert ask(url, secret).status_code == 200
    while datetime.datetime.now(datetime.UTC) < soon:
        time.sleep(0.05)
    refused = ask(url, secret)
    assert refused.status_code == 401
    assert "expired" in refused.json()["error"]["message"]


def test_a_damaged_file_opens_nothing(lab: Lab, url: str) -> None:
    _, secret = keys.create(lab.keys, draft())
    path = lab.keys / keys.KEYS
    kept = path.read_bytes()
    for damage in (b"{", b'{"seq": 1, "keys": 3}', kept.replace(b'"expires": null', b'"expires": "never"')):
        path.write_bytes(damage)
        assert ask(url).status_code == 401
        assert ask(url, secret).status_code == 401
        assert ask(url, "fake").status_code == 200
    path.write_bytes(kept)
    assert ask(url, secret).status_code == 200


@pytest.mark.parametrize("scope", ANSWERS)
def test_a_scope_opens_its_routes_and_no_others(lab: Lab, url: str, scope: str) -> None:
    _, secret = keys.create(lab.keys, draft(scopes=[scope]))
    infer, feedback = ask(url, secret), ask(url, secret, "/v1/feedback")
    metrics = httpx.get(f"{url}/metrics", headers={"x-api-key": secret})
    assert infer.status_code == (403 if scope == "feedback" else 200)
    assert (feedback.status_code == 403) == (scope == "infer")
    assert metrics.status_code == (200 if scope == "admin" else 403)


def test_a_key_uses_and_sees_its_models_only(lab: Lab, serving: Callable[[Script], str], tmp_path: Path) -> None:
    for name in ("support", "sales"):
        for number in (1, 2):
            add(lab, name, number, tmp_path)
        registry.move(lab, name, "prod", 2, who="t", why="t")
    url = serving(Script(base_sha256=BASE, registry=str(lab.registry), keys=str(lab.keys / keys.KEYS),
                         adapters={"r-1": "/secret/place"}))  # fmt: skip
    _, one = keys.create(lab.keys, draft("one", models=["support@prod"]))
    _, pattern = keys.create(lab.keys, draft("pattern", models=["s*@v1", "r-1"]))
    _, every = keys.create(lab.keys, draft("every"))
    _, admin = keys.create(lab.keys, draft("admin", scopes=["admin"]))

    def seen(secret: str) -> dict[str, Any]:
        answer = httpx.get(f"{url}/v1/models", headers={"x-api-key": secret}).json()
        return {card["id"]: card for card in answer["data"]}

    def usable(secret: str) -> set[str]:
        names = ["tiny", "r-1", *(f"{n}{r}" for n in ("support", "sales") for r in ("", "@prod", "@v1", "@v2"))]
        return {name for name in names if ask(url, secret, model=name).status_code == 200}

    registered = {f"{n}{r}" for n in ("support", "sales") for r in ("", "@prod", "@v1", "@v2")}
    assert set(seen(one)) == usable(one) == {"support", "support@prod"}
    assert set(seen(pattern)) == usable(pattern) == {"support@v1", "sales@v1", "r-1"}
    assert set(seen(every)) == usable(every) == registered | {"tiny"}
    assert set(seen(admin)) == usable(admin) == registered | {"tiny", "r-1"}
    card = seen(one)["support"]
    assert (card["parent"], card["version"], card["verdict"], card["root"]) == ("tiny", 2, "SHIP", "support@v2")
    assert datetime.datetime.fromisoformat(card["date"]).timestamp() == card["created"]
    assert "/secret/place" not in json.dumps(seen(pattern))
    assert seen(admin)["r-1"]["root"] == "/secret/place"
    foreign, unknown = ask(url, one, model="sales@v1"), ask(url, one, model="nobody@v1")
    assert foreign.status_code == unknown.status_code == 404
    assert foreign.json()["error"]["message"].replace("sales", "nobody") == unknown.json()["error"]["message"]
    assert httpx.post(f"{url}/v1/completions", json={"prompt": "x"}, headers={"x-api-key": one}).status_code == 404


def test_two_credentials_that_differ_are_refused(lab: Lab, url: str) -> None:
    _, secret = keys.create(lab.keys, draft())
    both = {"authorization": f"Bearer {secret}", "x-api-key": secret}
    assert httpx.get(f"{url}/v1/models", headers=both).status_code == 200
    assert httpx.get(f"{url}/v1/models", headers={**both, "x-api-key": "fake"}).status_code == 400
    assert httpx.get(f"{url}/v1/models", headers={"authorization": f"Basic {secret}"}).status_code == 401


def test_last_use_is_kept_but_not_per_request(lab: Lab, url: str) -> None:
    key, secret = keys.create(lab.keys, draft())
    path = lab.keys / "used-e-fake.json"
    for _ in range(5):
        assert ask(url, secret).status_code == 200
    deadline = time.monotonic() + 30
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    written = path.stat().st_mtime_ns
    for _ in range(20):
        ask(url, secret)
    assert path.stat().st_mtime_ns == written
    assert key.key_id in ratchet(lab.root, "keys", "list").stdout
    assert keys.last_used(lab.keys)[key.key_id] >= key.created
    assert secret not in path.read_text()


def test_last_use_of_ended_engines_is_folded(lab: Lab) -> None:
    lab.keys.mkdir(parents=True)
    for number in range(keys.USED_KEPT + 2):
        (lab.keys / f"used-e-{number}.json").write_text(json.dumps({"k-1": f"2026-01-{number + 1:02d}T00:00:00+00:00"}))
    keys.create(lab.keys, draft())
    assert [path.name for path in lab.keys.glob("used-*")] == ["used-before.json"]
    assert keys.last_used(lab.keys) == {"k-1": f"2026-01-{keys.USED_KEPT + 2:02d}T00:00:00+00:00"}


def test_servers_that_others_reach_need_a_living_key(lab: Lab, serving: Callable[[Script], str]) -> None:
    with pytest.raises(InputError, match="no living key exists"):
        keys.require_living(lab.keys, "0.0.0.0 is not this machine alone")
    key, _ = keys.create(lab.keys, draft())
    keys.require_living(lab.keys, "0.0.0.0 is not this machine alone")
    keys.revoke(lab.keys, key.name)
    with pytest.raises(InputError, match="no living key exists"):
        keys.require_living(lab.keys, "0.0.0.0 is not this machine alone")
    public = serving(Script(keys=str(lab.root / "none.json"), public=True))
    assert ask(public).status_code == 401


def test_a_held_lock_is_said(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    from filelock import FileLock

    monkeypatch.setattr(keys, "LOCK_TIMEOUT_S", 0.1)
    lab.keys.mkdir(parents=True)
    with FileLock(lab.keys / ".lock"), pytest.raises(LabError, match="locked by another command"):
        keys.create(lab.keys, draft())


def test_other_methods_say_which(lab: Lab, url: str) -> None:
    _, secret = keys.create(lab.keys, draft())
    answer = httpx.get(f"{url}/v1/completions", headers={"x-api-key": secret})
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
