"""The load of benchmarks.serve against servers that answer in known ways."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import Any

import pytest

from benchmarks.serve_load import Job, Reply, read, run
from benchmarks.serve_sides import paired


@pytest.mark.parametrize("concurrency", [1, 7])
def test_every_answer_is_whole_and_in_order(concurrency: int) -> None:
    words = [sys.executable, "-m", "benchmarks.serve_load", "--canned", "5"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1/completions"
        bodies: list[dict[str, Any]] = [{"prompt": "x"}] * 20
        found = asyncio.run(run(Job(url=url, headers={"x": "y"}, concurrency=concurrency, bodies=bodies)))
        server.kill()
    replies = [Reply(**one) for one in found["replies"]]
    assert [reply.index for reply in replies] == list(range(20))
    assert {(reply.text, reply.model, reply.pieces, reply.error) for reply in replies} == {
        (" word" * 5, "canned", 5, None)
    }
    assert all(0 < reply.first_s <= reply.last_s for reply in replies)


def event(**choice: Any) -> bytes:
    return f"data: {json.dumps({'choices': [choice], 'model': 'm@v1'})}\n\n".encode()


def test_a_chat_counts_from_its_first_words() -> None:
    pieces = [
        (10.0, event(delta={"role": "assistant", "content": ""})),
        (11.0, event(delta={"content": "a"}) + event(delta={"content": "b"})),
        (12.5, event(delta={"content": ""}, finish_reason="length")),
        (12.6, b"data: [DONE]\n\n"),
    ]
    assert read(3, 9.0, 200, pieces) == Reply(3, 9.0, 2.0, 3.5, 3, "ab", "m@v1", None)


def test_refusals_and_empty_streams_are_errors() -> None:
    assert (read(0, 0.0, 429, [(1.0, b'{"error": "slow down"}')]).error or "").startswith("HTTP 429: ")
    assert (read(0, 0.0, 200, [(1.0, b"data: [DONE]\n\n")]).error or "").startswith("no text came")


def test_ratio_by_round() -> None:
    """Two rounds, ratios 1/2 and 2: geometric mean 1; half the interval is t * s / sqrt(2) = t * ln 2 for two logs."""
    assert paired([1, 4], [2, 2], lambda freedom: float(freedom)) == pytest.approx({"ratio": 1, "low": 0.5, "high": 2})
