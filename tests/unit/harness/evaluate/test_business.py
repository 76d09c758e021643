"""Business evalsets against a server with scripted answers: one bucket per item, nothing asked twice, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.core.errors import EvaluationError, LabError
from harness.core.journal import segments
from harness.core.records import Prompting, Subject
from harness.evalset import load
from harness.evaluate import business
from tests.unit.harness.evaluate.answering import Scripted

SUBJECT = Subject(kind="adapter", label="r=8", model="r-1", base_sha256="b" * 64, prompting=Prompting())
Answer = tuple[int, str, str]  # HTTP status, text, finish reason


class Stopped(Exception):
    """Raised in the middle of an evaluation."""


@pytest.fixture
def server() -> Iterator[Scripted]:
    scripted = Scripted()
    with scripted.running():
        yield scripted


def evaluate(desk, server, name="mini", shots=(), chat=True, on_item=lambda: None):
    folder = desk.lab.evals / "e-1"
    return business.evaluate(load(name), SUBJECT, business.Door(server.url, chat, 4), folder, list(shots), on_item)


def number(prompt: str) -> int:
    return int(prompt.split()[-1])


def test_every_item_lands_in_one_bucket(desk, server):
    """Of 50 items: 5 refused by the server, 7 cut, 3 that the scorer cannot read, 35 scored."""

    def script(prompt: str) -> Answer:
        n = number(prompt)
        if n < 5:
            return 400, "too long\nfor me", ""
        return 200, "???" if 12 <= n < 15 else f"answer {n}", "length" if n < 12 else "stop"

    server.script = script
    scorer = (
        "def score(item, answer):\n    return {'value': {'answer ' + item['id'][1:]: 1}[answer], 'explanation': 'ok'}\n"
    )
    desk.evalset("own", files={"scorer.py": scorer}, metrics={"m": {"scorer": "scorer.py"}})
    seen = []
    counts = evaluate(desk, server, "own", on_item=lambda: seen.append(1))
    assert counts == {"errored": 5, "truncated": 7, "unscorable": 3, "scored": 35}
    assert len(seen) == 50
    stored = business.results(desk.lab.evals / "e-1")
    assert len(stored) == 50
    assert stored["i0"].error == "HTTP 400: too long for me"
    assert stored["i0"].scores == {}
    assert stored["i5"].scores["m"].value == 1.0, "a cut answer is scored and counted apart"
    assert stored["i12"].scores["m"].value is None
    assert (stored["i20"].answer, stored["i20"].scores["m"].explanation) == ("answer 20", "ok")
    assert (stored["i20"].prompt, stored["i20"].split, stored["i0"].split) == ("item 20", "release", "dev")
    assert (stored["i20"].prompt_tokens, stored["i20"].completion_tokens) == (3, 2)


def test_examples_come_before_the_prompt_and_sampling_goes_along(desk, server):
    shots = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
    desk.evalset("mini", sampling={"temperature": 0.0, "max_tokens": 7})
    evaluate(desk, server, shots=shots)
    asked = next(one for one in server.asked if one["messages"][-1]["content"] == "item 3")
    assert asked == {
        "path": "/v1/chat/completions",
        "model": "r-1",
        "messages": [*shots, {"role": "user", "content": "item 3"}],
        "temperature": 0.0,
        "max_tokens": 7,
    }


def test_a_base_without_a_chat_template_is_asked_for_completions(desk, server):
    evaluate(desk, server, shots=[{"role": "user", "content": "Q"}], chat=False)
    assert {one["path"] for one in server.asked} == {"/v1/completions"}
    assert "Q\n\nitem 3" in {one["prompt"] for one in server.asked}
    evalset = load("mini")
    assert business.decoding(evalset, chat=True) != business.decoding(evalset, chat=False)


def test_a_stopped_evaluation_goes_on_where_it_stopped(desk, server):
    count = 0

    def stop_at_20() -> None:
        nonlocal count
        count += 1
        if count == 20:
            raise Stopped

    with pytest.raises(Stopped):
        evaluate(desk, server, on_item=stop_at_20)
    kept = set(business.results(desk.lab.evals / "e-1"))
    assert len(kept) >= 20
    server.asked.clear()
    seen = []
    assert evaluate(desk, server, on_item=lambda: seen.append(1)) == {"scored": 50}
    assert len(server.asked) == 50 - len(kept), "what is in the journal is not asked again"
    assert len(seen) == 50
    server.asked.clear()
    assert evaluate(desk, server) == {"scored": 50}
    assert server.asked == []


def test_a_broken_server_is_not_a_result_and_the_next_run_asks_again(desk, server):
    working = server.script
    server.script = lambda prompt: (400, "broken", "") if number(prompt) < 30 else working(prompt)
    with pytest.raises(EvaluationError, match=r"r=8 on mini: 30 of 50 items failed \(HTTP 400: broken\)"):
        evaluate(desk, server)
    assert len(business.results(desk.lab.evals / "e-1")) == 20
    with pytest.raises(EvaluationError, match="30 of 50 items failed"):
        evaluate(desk, server)
    server.script = working
    assert evaluate(desk, server) == {"scored": 50}


def test_a_server_that_speaks_another_language_is_an_error_per_item(desk, server):
    server.reply = lambda text, reason: {"choices": []}  # type: ignore[method-assign]
    with pytest.raises(EvaluationError, match="the server's answer is not in OpenAI's form"):
        evaluate(desk, server)


def test_a_full_disk_ends_the_evaluation_and_leaves_nothing_half(desk, server, monkeypatch):
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "eval.item")
    with pytest.raises(LabError, match="the disk is full"):
        evaluate(desk, server)
    folder = desk.lab.evals / "e-1"
    assert business.results(folder) == {}
    assert list(folder.glob("*.tmp")) == []
    assert all(path.stat().st_size == 0 for path in segments(folder, "items"))
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert evaluate(desk, server) == {"scored": 50}


def test_of_two_results_for_one_item_the_first_counts(desk, server):
    evaluate(desk, server)
    folder = desk.lab.evals / "e-1"
    (segment,) = segments(folder, "items")
    again = segment.read_text().replace("answer 7", "another")
    (folder / "items-99999999999999999999-zzz.jsonl").write_text(again)
    assert business.results(folder)["i7"].answer == "answer 7"
