"""Any OpenAI-compatible server as a subject: no engine of ours, no base, no lab needed beforehand."""

from __future__ import annotations

import json

import pytest

from serve.fake import Script

QUESTIONS = {f"item {n}": f"answer {n}" for n in range(50)}
POOR = {question: answer if n % 5 == 0 else "no" for n, (question, answer) in enumerate(QUESTIONS.items())}


def endpoint(url: str, model: str, **more: str) -> dict:
    return {"endpoint": {"base_url": f"{url}/v1", "model": model, **more}}


def spec(desk, subject: dict, baseline: dict, **changes) -> None:
    desk.spec(base_model=None, train=None, subjects=[subject], baselines=[baseline], **changes)


@pytest.fixture
def servers(serving):
    good = serving(Script(base="good", answers={"*": QUESTIONS}))
    poor = serving(Script(base="poor", answers={"*": POOR}))
    return endpoint(good, "good"), endpoint(poor, "poor")


def test_two_endpoints_are_compared_without_an_engine(desk, servers):
    """The better one answers 50 of 50, the other 10: it ships; nothing was served by us."""
    spec(desk, *servers)
    ran = desk.ratchet("run", "spec.yaml")
    assert ran.code == 0, ran.err
    report = desk.ratchet("report", "spec.yaml", "--format", "json")
    assert report.code == 0
    found = json.loads(report.out)
    assert (found["verdict"], found["candidates"][0]["candidate"]) == ("SHIP", "endpoint good")
    assert not desk.lab.engines.exists()


def test_the_worse_one_is_blocked(desk, servers):
    spec(desk, servers[1], servers[0])
    assert desk.ratchet("run", "spec.yaml").code == 0
    assert desk.ratchet("report", "spec.yaml").code == 10


def test_a_key_comes_from_the_environment_and_goes_nowhere(desk, servers, monkeypatch):
    subject = {"endpoint": servers[0]["endpoint"] | {"api_key_env": "GOOD_KEY"}}
    spec(desk, subject, servers[1])
    assert "environment variable GOOD_KEY is not set" in desk.ratchet("run", "spec.yaml").error
    monkeypatch.setenv("GOOD_KEY", "sk-very-secret")
    assert desk.ratchet("run", "spec.yaml").code == 0
    held = [path for path in desk.lab.root.rglob("*") if path.is_file() and b"sk-very-secret" in path.read_bytes()]
    assert held == []
    assert len(desk.files()) > 10, "the sweep saw the lab"


def test_an_endpoint_that_is_not_there_ends_in_one_line(desk, servers):
    spec(desk, endpoint("http://127.0.0.1:9", "gone"), servers[1])
    failed = desk.ratchet("run", "spec.yaml", "--format", "json")
    assert "endpoint gone on mini: 50 of 50 items failed" in failed.error


def test_a_base_is_missing_where_one_is_needed(desk, servers):
    desk.spec(base_model=None)
    assert "base_model is missing: training, lm-eval and adapters need one" in desk.ratchet("check", "spec.yaml").error
    desk.spec(base_model=None, train=None, subjects=[servers[0]], baselines=["zero_shot"])
    assert "or an endpoint among `baselines` in its place" in desk.ratchet("check", "spec.yaml").error


def test_prompts_and_retrieved_contexts_are_rows_of_their_own(desk):
    """A changed prompt file is another subject; a context file names items, one a line."""
    desk.write("system.txt", "Answer in one word.")
    desk.write("contexts.jsonl", [{"id": "i0", "contexts": ["zero is none"]}])
    desk.spec(baselines=["zero_shot", {"prompt": "system.txt"}, {"retrieved": "contexts.jsonl"}])
    base, prompted, retrieved = desk.resolve().baseline_subjects()
    assert (prompted.label, retrieved.label) == ("prompt system", "retrieved contexts")
    assert desk.resolve().preface(prompted).turns == [{"role": "system", "content": "Answer in one word."}]
    assert desk.resolve().preface(retrieved).contexts == {"i0": ["zero is none"]}
    assert len({base.identity, prompted.identity, retrieved.identity}) == 3
    desk.write("system.txt", "Answer in two words.")
    assert desk.resolve().baseline_subjects()[1].identity != prompted.identity
    desk.write("contexts.jsonl", [{"id": "i0"}])
    assert "contexts.jsonl:1: not {id, contexts: [text]}" in desk.ratchet("check", "spec.yaml").error
