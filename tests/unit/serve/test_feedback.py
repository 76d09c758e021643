"""Feedback over HTTP, with real keys, through the fake; capture, usage and metrics of the same calls."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import openai
import pytest

from harness.core.paths import Lab
from harness.core.traffic import CALLS, FEEDBACK, CapturedCall, read
from harness.pipeline.usage import totals
from serve import keys
from serve.fake import Script
from serve.keys import Key
from serve.supervise import free_port

DRAFT = Key(key_id="", name="app", secret_sha256="", scopes=["infer", "feedback"], capture=1.0, created="")
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path / "lab")


@pytest.fixture
def secret(lab):
    return keys.create(lab.keys, DRAFT)[1]


@pytest.fixture
def app(lab, secret, serving):
    url = serving(Script(keys=str(lab.keys / keys.KEYS), requests=str(lab.requests)))
    with httpx.Client(base_url=url, headers={"authorization": f"Bearer {secret}"}) as client:
        yield client


def chat(app, text="hello", **more):
    body = {"model": "tiny", "messages": [{"role": "user", "content": text}], **more}
    return app.post("/v1/chat/completions", json=body).json()["id"]


def wait_for(found):
    """What a thread of the server is about to write."""
    until = time.monotonic() + 30
    while not (value := found()):
        assert time.monotonic() < until
        time.sleep(0.01)
    return value


def stored(lab):
    return list(read(lab.requests, FEEDBACK))


def test_each_form_is_on_disk_when_it_is_acknowledged(app, lab):
    one, two = chat(app), chat(app)
    for body in (
        {"completion_id": one, "thumb": "up", "user": "u1"},
        {"chosen": one, "rejected": two, "reason": "kinder", "user": "u1"},
        {"completion_id": two, "edited": "hello, write to jane@example.com", "user": "jane@example.com"},
    ):
        before = len(stored(lab))
        response = app.post("/v1/feedback", json=body)
        assert (response.status_code, response.json()["status"]) == (200, "stored")
        assert len(stored(lab)) == before + 1
    thumb, preference, edit = stored(lab)
    assert (thumb.thumb, thumb.completion_id, thumb.user) == ("up", one, "u1")
    assert (preference.completion_id, preference.rejected_id, preference.reason) == (one, two, "kinder")
    assert (edit.edited, edit.redacted) == ("hello, write to [email]", {"email": 1})
    assert edit.user.startswith("u-")
    assert thumb.key_id == keys.read(lab.keys).keys[0].key_id


def test_the_openai_client_sends_it(app, lab, secret):
    client = openai.OpenAI(base_url=f"{app.base_url}/v1", api_key=secret)
    answer = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "hi"}], user="u9")
    client.post("/feedback", body={"completion_id": answer.id, "thumb": "down", "user": "u9"}, cast_to=object)
    (entry,) = stored(lab)
    assert (entry.completion_id, entry.thumb) == (answer.id, "down")
    (call,) = wait_for(lambda: [one for one in read(lab.requests, CALLS) if isinstance(one, CapturedCall)])
    assert (call.completion_id, call.user, call.answers) == (answer.id, "u9", [answer.choices[0].message.content])
    assert call.completion_tokens == answer.usage.completion_tokens


def test_the_same_again_is_stored_once_and_another_mind_replaces(app, lab):
    name = chat(app)
    said = [
        app.post("/v1/feedback", json={"completion_id": name, "thumb": thumb, "user": user}).json()
        for thumb, user in (("up", "u1"), ("up", "u1"), ("up", "u2"), ("down", "u1"))
    ]
    assert [one["status"] for one in said] == ["stored", "unchanged", "stored", "stored"]
    assert said[0]["id"] == said[1]["id"] == said[3]["id"] != said[2]["id"]
    assert len(stored(lab)) == 3
    pairs = [
        app.post("/v1/feedback", json={"chosen": a, "rejected": b}).json()["id"] for a, b in (("x", "y"), ("y", "x"))
    ]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, None),
        ([], None),
        ({"completion_id": "x"}, None),
        ({"thumb": "up"}, "completion_id"),
        ({"completion_id": "x", "thumb": "sideways"}, "thumb"),
        ({"completion_id": "x", "thumb": "up", "edited": "y"}, None),
        ({"completion_id": 7, "thumb": "up"}, "completion_id"),
        ({"completion_id": "a b", "thumb": "up"}, "completion_id"),
        ({"chosen": "x", "rejected": "x"}, "rejected"),
        ({"chosen": "x"}, "rejected"),
        ({"completion_id": "z", "chosen": "x", "rejected": "y"}, "completion_id"),
        ({"completion_id": "x", "edited": " "}, "edited"),
        ({"completion_id": "x", "edited": 1}, "edited"),
        ({"completion_id": "x", "campaign": False}, "campaign"),
        ({"completion_id": "x", "thumb": "up", "reason": "r" * 3000}, "reason"),
        ({"completion_id": "x", "thumb": "up", "user": {}}, "user"),
        ({"completion_id": "x", "thumb": "up", "stars": 5}, "stars"),
    ],
)
def test_what_is_no_feedback_is_400_in_openai_shape_and_stores_nothing(app, lab, body, param):
    response = app.post("/v1/feedback", json=body)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert stored(lab) == []


def test_not_json_and_too_large(app, lab):
    assert app.post("/v1/feedback", content=b"{").status_code == 400
    assert app.post("/v1/feedback", content=b'"' + b"x" * 2**20).status_code == 413
    assert stored(lab) == []


def test_it_needs_its_scope(app, lab):
    _, only_infer = keys.create(lab.keys, DRAFT.model_copy(update={"name": "other", "scopes": ["infer"]}))
    body = {"completion_id": "x", "thumb": "up"}
    assert app.post("/v1/feedback", json=body, headers={"authorization": f"Bearer {only_infer}"}).status_code == 403
    assert app.post("/v1/feedback", json=body, headers={"authorization": ""}).status_code == 401
    assert stored(lab) == []


def test_without_a_lab_it_says_so(serving):
    response = httpx.post(f"{serving(Script())}/v1/feedback", json={"completion_id": "x", "thumb": "up"})
    assert (response.status_code, response.json()["error"]["type"]) == (503, "ServiceUnavailableError")


@pytest.mark.parametrize("point", ["feedback.event", "usage.event"])
def test_a_full_disk_is_503_for_feedback_and_nothing_for_answers(app, lab, monkeypatch, point):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", point)
    name = chat(app)
    response = app.post("/v1/feedback", json={"completion_id": name, "thumb": "up"})
    if point == "feedback.event":
        assert (response.status_code, response.headers["retry-after"]) == (503, "5")
        assert stored(lab) == []
        monkeypatch.delenv("RATCHET_FULL_DISK_AT")
        assert app.post("/v1/feedback", json={"completion_id": name, "thumb": "up"}).json()["status"] == "stored"
    else:
        assert response.status_code == 200


def test_answers_stay_right_while_capture_finds_a_full_disk(app, lab, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "capture.event")
    assert all(chat(app).startswith("chatcmpl-") for _ in range(5))
    headers = {"authorization": "Bearer fake"}

    def dropped():
        return app.get("/ratchet/health", headers=headers).json()["watching"]["capture"]["dropped"].get("disk", 0) >= 1

    wait_for(dropped)
    assert "ratchet_watch_dropped_total" in app.get("/metrics", headers=headers).text
    assert list(read(lab.requests, CALLS)) == []


def test_streams_are_captured_whole(app, lab):
    body = {"model": "tiny", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    with app.stream("POST", "/v1/chat/completions", json=body) as response:
        events = [json.loads(line[6:]) for line in response.iter_lines() if line.startswith("data: {")]
    text = "".join(event["choices"][0]["delta"].get("content", "") for event in events)
    (call,) = wait_for(lambda: list(read(lab.requests, CALLS)))
    assert (call.answers, call.completion_id) == ([text], events[0]["id"])
    assert call.ttft_s is not None
    assert call.ttft_s <= call.latency_s


def test_metrics_need_the_admin_scope_and_name_what_was_asked(app):
    chat(app)
    assert app.get("/metrics").status_code == 403
    text = app.get("/metrics", headers={"authorization": "Bearer fake"}).text
    assert 'ratchet_requests_total{alias="",endpoint="chat",status="200",version="tiny"} 1.0' in text


def test_unknown_names_become_no_label(app):
    for number in range(5):
        assert app.post("/v1/completions", json={"model": f"made-up-{number}", "prompt": "x"}).status_code == 404
    assert "made-up" not in app.get("/metrics", headers={"authorization": "Bearer fake"}).text


FAKE = """
import sys
from pathlib import Path
from serve import fake
sys.argv = ["fake", "--port", sys.argv[1], "--script", sys.argv[2]]
fake.main()
"""


def start(lab, script, **environment):
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-c", FAKE, str(port), str(script)], cwd=ROOT, env=os.environ | environment
    )
    url = f"http://127.0.0.1:{port}"

    def alive():
        assert server.poll() is None or environment
        try:
            return httpx.get(f"{url}/health").status_code == 200
        except httpx.TransportError:
            return False

    wait_for(alive)
    return server, url


def test_acknowledged_feedback_survives_kill_9(lab, tmp_path):
    """Four apps send as fast as they can until the server dies; each 200 that came back is on disk, nothing is torn."""
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"requests": str(lab.requests)}))
    server, url = start(lab, script)
    acknowledged: list[str] = []

    def send(who):
        with httpx.Client(base_url=url) as client:
            for number in range(10_000):
                name = f"chatcmpl-{who}-{number}"
                try:
                    answer = client.post("/v1/feedback", json={"completion_id": name, "thumb": "up"})
                except httpx.TransportError:
                    return
                if answer.status_code == 200:
                    acknowledged.append(name)

    threads = [threading.Thread(target=send, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    wait_for(lambda: len(acknowledged) > 20)
    server.send_signal(signal.SIGKILL)
    server.wait()
    for thread in threads:
        thread.join()
    assert set(acknowledged) <= {entry.completion_id for entry in stored(lab)}


def test_a_clean_end_writes_what_waits(lab, tmp_path):
    script = tmp_path / "script.json"
    script.write_text(json.dumps({"requests": str(lab.requests)}))
    server, url = start(lab, script)
    assert httpx.post(f"{url}/v1/completions", json={"model": "tiny", "prompt": "a b"}).status_code == 200
    server.send_signal(signal.SIGTERM)
    server.wait()
    assert (totals(lab)[""].requests, totals(lab)[""].prompt_tokens) == (1, 2)
    (log,) = (lab.requests / "log").iterdir()
    assert json.loads(log.read_text().splitlines()[-1])["version"] == "tiny"
