"""Any OpenAI-compatible server as a subject: no engine of ours, no base, no lab needed beforehand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from harness.spec import EndpointSpec
from serve.fake import Script

QUESTIONS = {f"item {n}": f"answer {n}" for n in range(50)}
POOR = {question: answer if n % 5 == 0 else "no" for n, (question, answer) in enumerate(QUESTIONS.items())}


def endpoint(url: str, model: str, **more: str) -> dict:
    return {"endpoint": {"base_url": f"{url}/v1", "model": model, **more}}


def spec(desk, subject: dict, baseline: dict, **changes) -> None:
    desk.spec(base_model=None, train=None, subjects=[subject], baselines=[baseline], **changes)


@pytest.fixture
def stalling(desk) -> Iterator[str]:
    """A server that answers every item but one, whose answer never comes."""
    released = threading.Event()

    class Stalls(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["content-length"])))["messages"][-1]["content"]
            if asked == "item 7":
                released.wait()
            message = {"role": "assistant", "content": QUESTIONS[asked]}
            body = json.dumps({"choices": [{"message": message, "finish_reason": "stop"}]}).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    class Roomy(ThreadingHTTPServer):
        request_queue_size = 128

    with Roomy(("127.0.0.1", 0), Stalls) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        released.set()
        server.shutdown()
        thread.join()


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


def test_the_endpoint_in_the_base_s_place_guards(desk, servers):
    """A guardrail is held against it: the better one loses nothing on what the other can do."""
    spec(desk, *servers, gate__guardrails=[{"metric": "mini/exact", "max_loss": 0.3}])
    assert desk.ratchet("run", "spec.yaml").code == 0
    report = json.loads(desk.ratchet("report", "spec.yaml", "--format", "json").out)
    guard = [row for row in report["candidates"][0]["rows"] if row["role"] == "guardrail"]
    assert {(row["comparator"], row["verdict"]) for row in guard} == {("base", "SHIP"), ("incumbent", None)}
    assert report["verdict"] == "SHIP"


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


@pytest.mark.usefixtures("without_pauses")
def test_an_endpoint_that_is_not_there_ends_in_one_line(desk, servers):
    spec(desk, endpoint("http://127.0.0.1:9", "gone"), servers[1])
    failed = desk.ratchet("run", "spec.yaml", "--format", "json")
    assert "endpoint gone on mini: 50 of 50 items failed" in failed.error


def test_an_answer_that_never_comes_is_counted(desk, servers, stalling):
    """One item of 50 runs into the time limit: it is errored, shown and never averaged."""
    spec(desk, endpoint(stalling, "slow"), servers[1], evaluate__timeout_s=3)
    assert desk.ratchet("run", "spec.yaml").code == 0
    (row,) = json.loads(
        desk.ratchet("sql", "from items where error is not null and eval_id = (select min(eval_id) from evals where "
                     "subject_label = 'endpoint slow')", "--format", "json").out
    )  # fmt: skip
    assert (row["item_id"], row["bucket"]) == ("i7", "errored")
    assert "no answer in time" in row["error"]


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


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://ann:s3cret@host/v1", "has a user or a secret in it"),
        ("https://s3cret@host/v1", "has a user or a secret in it"),
        ("https://host/v1?api_key=s3cret", "has a key in it (api_key=…)"),
        ("https://host/v1?x=1&Access-Token=s3cret", "has a key in it (Access-Token=…)"),
        ("https://host/v1?sig=s3cret", "has a key in it (sig=…)"),
        ("https://host/v1#s3cret", "has a part behind '#'"),
        ("https://host:s3cret/v1?", "is not a URL"),
        ("ftp://ann:s3cret@host/v1", "should match pattern"),
    ],
)
def test_a_key_in_a_url_is_refused_and_not_repeated(desk, url, said):
    """The URL is stored with every result; the key belongs into the environment."""
    spec(desk, {"endpoint": {"base_url": url, "model": "m"}}, endpoint("http://127.0.0.1:1", "base"))
    ended = desk.ratchet("check", "spec.yaml")
    assert said in ended.error
    assert "spec.yaml:" in ended.error
    assert "s3cret" not in ended.error
    assert desk.files() == set()


def test_a_key_in_place_of_its_variables_name_is_refused_and_not_repeated(desk):
    key = "sk-s3cret"
    spec(desk, endpoint("http://host", "m", api_key_env=key), endpoint("http://127.0.0.1:1", "base"))
    ended = desk.ratchet("check", "spec.yaml")
    assert "is no name of an environment variable: write the variable's name, never the key itself" in ended.error
    assert key not in ended.error


def test_a_query_without_a_key_is_kept(desk):
    found = EndpointSpec(base_url="https://host/openai/v1?api-version=2026-01-01", model="m")
    assert found.base_url.endswith("?api-version=2026-01-01")
