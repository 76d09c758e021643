"""Moves are told: signed, tried again, kept when undeliverable, and never in the way of the move."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from harness.core.errors import InputError
from harness.core.paths import Lab
from harness.core.records import AliasMove
from serve import registry, webhooks
from tests.unit.serve.versions import add

MOVE = AliasMove(seq=3, alias="prod", before=1, after=2, who="ann", why="better", at="2026-11-20T10:00:00+00:00")


class Listener(HTTPServer):
    """Answers with `answers` in turn, the last one for ever; keeps what came."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.got = [200], list[tuple[dict[str, str], bytes]]()
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class Handler(BaseHTTPRequestHandler):
    server: Listener

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.got.append(({key.lower(): value for key, value in self.headers.items()}, body))
        answers = self.server.answers
        self.send_response(answers.pop(0) if len(answers) > 1 else answers[0])
        self.send_header("location", "/elsewhere")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path / "lab")


def tell(lab: Lab) -> list[str]:
    return webhooks.tell(lab, "aac", MOVE, pauses_s=(0.0, 0.0))


def test_a_move_arrives_signed(lab: Lab, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK_SECRET", "s3cret")
    webhooks.add(lab, webhooks.Webhook(url=listener.url, secret_env="HOOK_SECRET"))
    assert tell(lab) == []
    ((headers, body),) = listener.got
    event = json.loads(body)
    assert (event["event"], event["name"], event["alias"], event["after"]) == ("alias.moved", "aac", "prod", 2)
    assert (event["who"], event["why"], event["seq"]) == ("ann", "better", 3)
    expected = "sha256=" + hmac.new(b"s3cret", body, hashlib.sha256).hexdigest()
    assert headers["x-ratchet-signature"] == expected
    assert "s3cret" not in webhooks.path_of(lab).read_text()
    assert webhooks.failures(lab) == []


@pytest.mark.parametrize(
    ("answers", "tries", "problem"),
    [
        ([503, 500, 200], 3, ""),
        ([429, 204], 2, ""),
        ([500], 3, "HTTP 500"),
        ([404], 1, "HTTP 404"),
        ([302], 1, "HTTP 302"),
    ],
)
def test_what_is_tried_again(lab: Lab, listener: Listener, answers: list[int], tries: int, problem: str) -> None:
    listener.answers = list(answers)
    webhooks.add(lab, webhooks.Webhook(url=listener.url))
    said = tell(lab)
    assert len(listener.got) == tries
    assert said == ([f"webhook {listener.url}: {problem}"] if problem else [])
    assert [one["problem"] for one in webhooks.failures(lab)] == ([problem] if problem else [])


def test_failures_are_shown_without_what_may_be_secret(lab: Lab) -> None:
    webhooks.add(lab, webhooks.Webhook(url="http://127.0.0.1:9/hook?token=abc"))
    assert tell(lab) == ["webhook http://127.0.0.1:9/hook: ConnectError"]
    (failed,) = webhooks.failures(lab)
    assert (failed["url"], failed["name"], failed["seq"]) == ("http://127.0.0.1:9/hook", "aac", 3)


def test_a_secret_that_is_not_set_sends_nothing(lab: Lab, listener: Listener) -> None:
    webhooks.add(lab, webhooks.Webhook(url=listener.url, secret_env="NO_SUCH_SECRET"))
    assert tell(lab) == [f"webhook {listener.url}: NO_SUCH_SECRET is not set, so nothing was sent"]
    assert listener.got == []


@pytest.mark.parametrize(
    "url", ["file:///etc/passwd", "ftp://x/y", "http://", "http://me:secret@x/y", "x", "http://a b/", "http://x:99999/"]
)
def test_only_http_urls(lab: Lab, url: str) -> None:
    with pytest.raises(InputError, match=r"is no http\(s\) URL") as said:
        webhooks.add(lab, webhooks.Webhook(url=url))
    assert "secret@" not in str(said.value)


def test_the_file_is_a_persons_too(lab: Lab, listener: Listener) -> None:
    webhooks.add(lab, webhooks.Webhook(url="http://127.0.0.1:9/x"))
    webhooks.path_of(lab).write_text(f"- {listener.url}\n")
    assert [hook.url for hook in webhooks.read(lab)] == [listener.url]
    assert tell(lab) == []
    webhooks.path_of(lab).write_text("- url: [\n")
    assert "is no list of webhooks" in tell(lab)[0], "said, and the move stands"
    with pytest.raises(InputError, match="is no list of webhooks"):
        webhooks.add(lab, webhooks.Webhook(url=listener.url))


def test_adding_twice_and_removing(lab: Lab, listener: Listener) -> None:
    for secret in (None, "A"):
        hooks = webhooks.add(lab, webhooks.Webhook(url=listener.url, secret_env=secret))
    assert [(hook.url, hook.secret_env) for hook in hooks] == [(listener.url, "A")]
    assert webhooks.remove(lab, listener.url) == []
    with pytest.raises(InputError, match="is not in"):
        webhooks.remove(lab, listener.url)


def test_a_full_disk_does_not_hide_the_failure(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    webhooks.add(lab, webhooks.Webhook(url="http://127.0.0.1:9/hook"))
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "registry.webhook")
    assert tell(lab) == ["webhook http://127.0.0.1:9/hook: ConnectError"]


def test_the_registry_itself_does_not_mind(lab: Lab, tmp_path: Path) -> None:
    webhooks.add(lab, webhooks.Webhook(url="http://127.0.0.1:9/hook"))
    add(lab, "webhooks", 1, tmp_path)
    registry.move(lab, "webhooks", "prod", 1, who="t", why="t")
    tell(lab)
    assert [record.name for record in registry.every(lab.registry)] == ["webhooks"]
