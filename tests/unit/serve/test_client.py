"""The client keeps order, says which item failed, and retries only what can get better."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from harness.core.errors import EngineError, LabError
from serve import client
from serve.client import Ask, Reply, ask_many, prompt_logprobs
from serve.fake import Script


def test_answers_keep_the_order_of_requests(serving: Callable[[Script], str]) -> None:
    url = serving(Script(answers={"tiny": {"q": "a scripted answer"}}))
    asks = [Ask("tiny", prompt=f"p{i}") for i in range(30)]
    asks.append(Ask("tiny", messages=[{"role": "user", "content": "q"}], sampling={"max_tokens": 2}))
    seen: dict[int, Reply] = {}
    replies = ask_many(url, asks, concurrency=7, on_reply=seen.__setitem__)
    assert [reply.text.endswith(f"to: p{i}") for i, reply in enumerate(replies[:30])] == [True] * 30
    assert (replies[30].text, replies[30].finish_reason, replies[30].completion_tokens) == ("a scripted", "length", 2)
    assert [seen[i] for i in range(31)] == replies
    assert ask_many(f"{url}/v1", asks[:1])[0].text == replies[0].text
    assert ask_many(url, []) == []


def test_one_bad_item_does_not_end_the_run(serving: Callable[[Script], str]) -> None:
    replies = ask_many(serving(Script()), [Ask("tiny", prompt="a"), Ask("nobody", prompt="b"), Ask("tiny", prompt="c")])
    assert [reply.error is None for reply in replies] == [True, False, True]
    assert replies[1].error == "HTTP 404: the model 'nobody' does not exist"
    assert replies[1].model == "nobody"


def test_what_the_callback_raises_ends_the_run(serving: Callable[[Script], str]) -> None:
    def full(index: int, reply: Reply) -> None:
        raise LabError("the disk is full")

    with pytest.raises(LabError, match="full"):
        ask_many(serving(Script()), [Ask("tiny", prompt="a")] * 20, on_reply=full)


def test_logprobs_are_one_per_token(serving: Callable[[Script], str]) -> None:
    url = serving(Script())
    first, second = prompt_logprobs(url, "tiny", [[5, 6, 7], [5, 6]])
    assert first[0] is None
    assert [len(first), len(second)] == [3, 2]
    assert second[1] == first[1]
    assert all(value is not None and value <= 0 for value in first[1:])
    with pytest.raises(EngineError, match="sequence 0"):
        prompt_logprobs(url, "nobody", [[1, 2]])


@pytest.fixture
def shaky() -> Iterator[tuple[str, list[int | float | str]]]:
    """A server that answers with the statuses of a list, one by one ('drop' closes the connection; a
    float is 503 with that Retry-After), then well."""
    script: list[int | float | str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            status = script.pop(0) if script else 200
            if status == "drop":
                self.connection.close()
                return
            told, status = (status, 503) if isinstance(status, float) else (None, status)
            body = json.dumps({"choices": [{"text": "late"}]} if status == 200 else {"error": {"message": "a\nb"}})
            self.send_response(int(status))
            if told is not None:
                self.send_header("retry-after", f"{told:.0f}")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", script
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("statuses", "text", "error"),
    [
        ([503, 429, "drop"], "late", None),
        ([500], "", "HTTP 500: a b"),
        ([400, 200], "", "HTTP 400: a b"),
        ([503] * 5, "", "HTTP 503: a b"),
        ([0.0] * 12, "late", None),
        (["drop", 0.0, "drop", *[0.0] * 9], "late", None),
    ],
)
def test_retries(
    shaky: tuple[str, list[int | float | str]],
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int | float | str],
    text: str,
    error: str | None,
) -> None:
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0, 0.0, 0.0, 0.0))
    monkeypatch.setattr(client, "SHORTEST_PAUSE_S", 0.0)
    url, script = shaky
    script[:] = statuses
    reply = ask_many(url, [Ask("m", prompt="p")])[0]
    assert (reply.text, reply.error) == (text, error)


def test_a_server_that_never_comes_back_is_given_up(
    shaky: tuple[str, list[int | float | str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETRY_AFTER_S", (0.0,))
    monkeypatch.setattr(client, "PATIENCE_S", 0.0)
    url, script = shaky
    script[:] = [0.0] * 9
    assert ask_many(url, [Ask("m", prompt="p")])[0].error == "HTTP 503: a b"
    assert len(script) == 7


def test_no_pause_is_longer_than_ours() -> None:
    told = [httpx.Response(status, headers={"retry-after": text}) for status, text in ((503, "3600"), (429, "2"))]
    assert [client.retry_after_s(one) for one in told] == [client.LONGEST_PAUSE_S, 2.0]
    for status, text in ((503, ""), (503, "Fri, 27 Nov 2026 05:00:00 GMT"), (500, "2"), (503, "-1")):
        assert client.retry_after_s(httpx.Response(status, headers={"retry-after": text})) is None


def test_an_ask_is_chat_or_prompt() -> None:
    with pytest.raises(ValueError, match="either"):
        Ask("m")


def test_what_a_reasoning_or_calling_model_answers_is_kept_apart() -> None:
    call = {"function": {"name": "f", "arguments": '{"a": 1}'}}
    odd = {"function": {"name": "g", "arguments": "[1]"}}
    message = {"content": None, "reasoning": "hm", "tool_calls": [call, odd, {"function": {"name": "h"}}]}
    reply = client._reply({"choices": [{"message": message}]}, chat=True, latency_s=0.5, model="m")
    assert (reply.text, reply.thinking, reply.model, reply.error) == ("", "hm", "m", None)
    assert reply.tool_calls == (
        {"name": "f", "arguments": {"a": 1}},
        {"name": "g", "arguments": "[1]"},
        {"name": "h", "arguments": {}},
    )
