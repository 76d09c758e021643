"""Answers read as they pass: the same bytes out, and what a call needs to know, wherever the chunks are cut."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from types import SimpleNamespace
from typing import Any

import pytest

from serve.plugin.answers import Answer
from serve.plugin.call import Call, Message

TOOL = {"index": 0, "id": "call-1", "function": {"name": "look", "arguments": '{"a"'}}
TRAP = 'he said "finish_reason":"length","usage":{"prompt_tokens":999} and \\"finish_reason\\":\\"x\\"'


def event(value: Any) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": reason}
    return event({"id": "chatcmpl-7", "object": "chat.completion.chunk", "choices": [choice]})


STREAM = [
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": TRAP}),
    chunk({"content": "ü\n\nsecond"}, index=1),
    chunk({"tool_calls": [TOOL]}),
    chunk({"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}),
    chunk({}, "tool_calls"),
    chunk({}, "stop", index=1),
    b"data: [DONE]\n\n",
]


def passed(
    bodies: list[bytes], kind: str, text: bool = False, status: int = 200, **more: Any
) -> tuple[Call, bytes, Answer]:
    """Send `bodies` through an Answer; the call, the bytes that came out, and the Answer."""
    call, out = Call("/v1/chat/completions", "POST", "req-1"), list[Message]()

    async def send(message: Message) -> None:
        out.append(message)

    answer = Answer(call, send, lambda: [(b"x-ours", b"1")], lambda: more.get("dead", False), read=True)
    if text:
        answer.want_text()

    async def run() -> None:
        await answer({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind.encode())]})
        for number, body in enumerate(bodies):
            more_body = number < len(bodies) - 1
            await answer({"type": "http.response.body", "body": body, "more_body": more_body})

    asyncio.run(run())
    assert (b"x-ours", b"1") in out[0]["headers"]
    call.status = out[0]["status"]
    return call, b"".join(message.get("body", b"") for message in out[1:]), answer


@pytest.mark.parametrize("text", [False, True])
def test_a_stream_is_read_wherever_it_is_cut(text: bool) -> None:
    whole, rng = b"".join(STREAM), random.Random(1)
    for parts in (0, 1, 3, 10, 100, len(whole) - 1):
        cuts = [0, *sorted(rng.sample(range(1, len(whole)), parts)), len(whole)]
        bodies = [whole[a:b] for a, b in itertools.pairwise(cuts)]
        call, out, answer = passed(bodies, "text/event-stream; charset=utf-8", text)
        usage = SimpleNamespace(prompt_tokens=5, completion_tokens=6)
        answer.close({"state": {"request_metadata": SimpleNamespace(final_usage_info=usage)}})
        assert out == whole
        assert call.completion_id == "chatcmpl-7"
        assert call.finish_reasons == ["tool_calls", "stop"]
        assert (call.prompt_tokens, call.completion_tokens) == (5, 6)
        assert call.chunks == len(STREAM)
        assert call.first_byte is not None
        assert call.complete
        assert call.answer == ([TRAP, "ü\n\nsecond"] if text else [])
        assert call.tool_calls == ([{"id": "call-1", "name": "look", "arguments": '{"a": 1}'}] if text else [])


def test_the_first_byte_is_the_first_content() -> None:
    only_role, _, _ = passed(STREAM[:1], "text/event-stream")
    assert only_role.first_byte is None
    with_content, _, _ = passed(STREAM[:2], "text/event-stream")
    assert with_content.first_byte is not None


def test_usage_in_the_stream_is_read_where_the_client_asked_for_it() -> None:
    usage = event(
        {"id": "chatcmpl-7", "choices": [], "usage": {"prompt_tokens": 3, "total_tokens": 7, "completion_tokens": 4}}
    )
    call, out, answer = passed([*STREAM[:-1], usage, STREAM[-1]], "text/event-stream")
    answer.close({})
    assert (call.prompt_tokens, call.completion_tokens) == (3, 4)
    assert usage in out


@pytest.mark.parametrize("pieces", [1, 7])
def test_a_json_answer(pieces: int) -> None:
    message = {"role": "assistant", "content": TRAP, "tool_calls": [TOOL]}
    body = json.dumps(
        {
            "id": "chatcmpl-9",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 11, "completion_tokens": 12},
        }
    ).encode()
    size = len(body) // pieces + 1
    call, out, answer = passed([body[i : i + size] for i in range(0, len(body), size)], "application/json", text=True)
    answer.close({})
    assert out == body
    assert (call.completion_id, call.finish_reasons) == ("chatcmpl-9", ["stop"])
    assert (call.prompt_tokens, call.completion_tokens) == (11, 12)
    assert call.answer == [TRAP]
    assert call.tool_calls[0]["name"] == "look"


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b"{", b'{"choices": null}'])
@pytest.mark.parametrize("kind", ["application/json", "text/plain", "text/event-stream"])
def test_what_is_no_answer_passes_unread(body: bytes, kind: str) -> None:
    call, out, answer = passed([body], kind, text=True)
    answer.close({"state": {}})
    assert out == body
    assert (call.completion_id, call.answer, call.prompt_tokens) == (None, [], None)


def test_errors_are_not_read_and_those_of_a_dead_engine_say_when_to_come_back() -> None:
    error = json.dumps({"error": {"message": "EngineDeadError", "code": 500}}).encode()
    call, out, _ = passed([error], "application/json", status=500)
    assert (call.status, out) == (500, error)
    call, out, _ = passed([error, b"more"], "application/json", status=500, dead=True)
    assert call.status == 503
    assert call.problem == json.loads(out)["error"]["type"] == "ServiceUnavailableError"
    assert b"EngineDead" not in out


def test_an_error_within_a_stream_is_seen() -> None:
    call, _, _ = passed([STREAM[1], event({"error": {"message": "x", "type": "y"}})], "text/event-stream")
    assert call.problem == "StreamError"
    trap, _, _ = passed([chunk({"content": 'data: {"error": {'})], "text/event-stream")
    assert trap.problem == ""


def test_an_event_without_an_end_is_not_kept_for_ever() -> None:
    call, out, answer = passed([b"data: " + b"x" * 2**20, b"y" * 2**20, b"z", STREAM[1]], "text/event-stream")
    assert len(out) == 2**21 + 7 + len(STREAM[1])
    assert sum(map(len, answer._parts)) < 2**20
    assert call.chunks >= 1
