"""What is asked beyond one question and answer: samples, thinking, follow-ups, contexts, tools; and what goes wrong.

Against serve.fake where a script of answers does, else against a small server that answers per request.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from math import comb
from typing import Any

import pytest
import uvicorn

from harness.core.errors import EvaluationError, InputError
from harness.core.records import Endpoint, ItemResult, Score, Subject, SubjectScores
from harness.evalset import Reasoning, load
from harness.evaluate import business
from harness.evaluate.answer import split_thinking
from harness.evaluate.samples import pass_at_k
from harness.gate import judge
from harness.spec import Gate
from serve.fake import Script, make_app
from serve.supervise import free_port

SUBJECT = Subject(kind="base", label="base", model="tiny", base_sha256="b" * 64)
FOREIGN = SUBJECT.model_copy(update={"kind": "endpoint", "endpoint": Endpoint(base_url="http://x", model="m")})
Respond = Callable[[dict[str, Any]], Any]


class Server:
    """Answers what `respond(body)` returns: a dict is the message (or a status with `status`), a str its content."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.respond: Respond = lambda body: "ok"
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.asked.append({**body, "authorization": self.headers.get("authorization")})
                said = outer.respond(body)
                status = said.pop("status", 200) if isinstance(said, dict) else 200
                answer = json.dumps(outer.form({"content": said} if isinstance(said, str) else said)).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_: object) -> None:
                return

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def form(self, message: dict[str, Any]) -> Any:
        choice = {"message": message, "finish_reason": "stop"}
        return {"model": "m", "choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}


@pytest.fixture
def server() -> Iterator[Server]:
    found = Server()
    thread = threading.Thread(target=found.http.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield found
    found.http.shutdown()
    thread.join()
    found.http.server_close()


@pytest.fixture
def fake() -> Iterator[Callable[[dict[str, str]], str]]:
    """Start serve.fake with these answers to any model; returns its URL."""
    running: list[tuple[uvicorn.Server, threading.Thread]] = []

    def start(answers: dict[str, str]) -> str:
        port = free_port()
        app = make_app(Script(answers={"*": answers}))
        server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread))
        while not server.started:
            thread.join(0.01)
        return f"http://127.0.0.1:{port}"

    yield start
    for server, thread in running:
        server.should_exit = True
        thread.join()


def ask(desk, url: str, name: str = "e", subject: Subject = SUBJECT, chat: bool = True, shots: Any = ()) -> Any:
    folder = desk.lab.evals / "e-1"
    counts = business.evaluate(
        load(name), subject, business.Door(url, chat, 4, {"x-key": "k"}), folder, list(shots), lambda: None
    )
    return counts, business.results(folder)


def only(results: dict[str, ItemResult]) -> ItemResult:
    (result,) = results.values()
    return result


ROW = {"id": "1", "prompt": "q", "gold": ["yes"]}


def test_pass_at_k_is_the_share_of_draws_with_a_right_one():
    """Of 5 samples 2 right, drawing 3: all three wrong in C(3,3)=1 of C(5,3)=10 draws, so 0.9."""
    assert pass_at_k(5, 2, 3) == pytest.approx(0.9)
    assert (pass_at_k(4, 0, 2), pass_at_k(4, 4, 2), pass_at_k(4, 3, 2)) == (0.0, 1.0, 1.0)
    assert pass_at_k(10, 3, 1) == pytest.approx(0.3)
    assert pass_at_k(200, 10, 100) == pytest.approx(1 - comb(190, 100) / comb(200, 100))


def test_samples_are_requests_with_seeds_of_their_own(desk, server):
    metrics = {"mean": {"scorer": "exact"}, "pass2": {"scorer": "exact", "over_samples": "pass_at_k", "k": 2},
               "bleu": {"scorer": "bleu"}}  # fmt: skip
    desk.evalset("e", [ROW], samples=4, sampling={"temperature": 1.0, "seed": 7}, metrics=metrics)
    server.respond = lambda body: "yes" if body["seed"] == 8 else "no"
    counts, results = ask(desk, server.url)
    assert sorted(one["seed"] for one in server.asked) == [7, 8, 9, 10]
    found = only(results)
    assert (counts, found.samples, found.answer) == ({"scored": 1}, ["no", "yes", "no", "no"], "no")
    assert found.scores["mean"].value == 0.25
    assert found.scores["pass2"].value == pytest.approx(0.5)
    assert found.scores["bleu"].parts[:2] == [4, 4], "four segments of one word each"
    assert (found.prompt_tokens, found.completion_tokens) == (12, 8)
    assert business.decoding(load("e"), True)["samples"] == 4


def test_half_a_set_of_samples_is_none(desk, server):
    desk.evalset("e", [ROW, {**ROW, "id": "2", "prompt": "r"}], samples=2, sampling={"temperature": 1.0})

    def respond(body):
        broken = body["messages"][-1]["content"] == "q" and body["seed"] == 1
        return {"status": 400} if broken else "yes"

    server.respond = respond
    counts, results = ask(desk, server.url)
    assert counts == {"errored": 1, "scored": 1}
    assert (results["1"].bucket, results["1"].scores) == ("errored", {})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"samples": 3}, None),
        ({"samples": 3, "sampling": {"temperature": 0}}, "samples: 3 at temperature 0 are one answer 3 times"),
        ({"samples": 0}, "samples: Input should be greater than or equal to 1"),
        ({"sampling": {"n": 3}}, "sampling.n is `samples` here"),
        ({"metrics": {"m": {"scorer": "exact", "over_samples": "pass_at_k"}}}, "pass_at_k and k belong together"),
        ({"metrics": {"m": {"scorer": "exact", "k": 1}}}, "pass_at_k and k belong together"),
        ({"metrics": {"m": {"scorer": "exact", "over_samples": "pass_at_k", "k": 2}}}, "k is 2, but samples is 1"),
        ({"metrics": {"m": {"scorer": "ter", "over_samples": "pass_at_k", "k": 1}}}, "which ter does not tell"),
        ({"reasoning": {"begin": "x"}}, "reasoning.begin: unknown key. keys here: start, end"),
        ({"metrics": {"m": {"scorer": "exact", "option": {}}}}, "unknown key. keys here: scorer, direction"),
    ],
)
def test_a_definition_that_cannot_work_is_refused(desk, changes, said):
    if said is None:
        changes = {**changes, "sampling": {"temperature": 0.7}}
    desk.evalset("e", [ROW], **changes)
    if said is None:
        assert load("e").definition.samples == 3
        return
    with pytest.raises(InputError) as caught:
        load("e")
    assert said in caught.value.one_line()


@pytest.mark.parametrize(
    ("text", "answer", "thinking"),
    [
        ("<think>a b</think> yes", "yes", "a b"),
        ("a b</think>yes", "yes", "a b"),
        ("yes", "yes", ""),
        ("<think>never ends", "", "never ends"),
        ("so <think>a</think> yes", "so  yes", "a"),
        ("<think>a</think>b</think> yes", "yes", "a</think>b"),
    ],
)
def test_thinking_is_no_part_of_the_answer(text, answer, thinking):
    assert split_thinking(text, Reasoning()) == (answer, thinking)
    assert split_thinking(text, None) == (text, "")


def test_thinking_is_kept_and_measured(desk, server):
    metrics = {"m": {"scorer": "exact"}, "t": {"scorer": "thinking_length"}}
    rows = [ROW, {**ROW, "id": "2", "prompt": "r"}]
    desk.evalset("e", rows, reasoning={"start": "<think>", "end": "</think>"}, metrics=metrics)

    def respond(body):
        marked = body["messages"][-1]["content"] == "q"
        return "<think>one two</think>yes" if marked else {"content": "yes", "reasoning_content": "three words here"}

    server.respond = respond
    _, results = ask(desk, server.url)
    assert [(one.answer, one.thinking) for one in (results["1"], results["2"])] == [
        ("yes", "one two"),
        ("yes", "three words here"),
    ]
    assert [results[n].scores["t"].value for n in "12"] == [2, 3]
    assert results["1"].scores["m"].value == 1


def test_follow_ups_are_asked_one_after_another_and_the_last_answer_counts(desk, server):
    row = {**ROW, "prompt": "My name is Ann.", "follow_ups": ["How old are you?", "What is my name?"], "gold": ["Ann"]}
    desk.evalset("e", [row, {**ROW, "id": "2"}], metrics={"m": {"scorer": "exact"}, "s": {"scorer": "latency"}})
    server.respond = lambda body: "Ann" if body["messages"][-1]["content"] == "What is my name?" else "yes"
    counts, results = ask(desk, server.url)
    assert counts == {"scored": 2}
    last = max(server.asked, key=lambda one: len(one["messages"]))
    assert [turn["content"] for turn in last["messages"]] == [
        "My name is Ann.", "yes", "How old are you?", "yes", "What is my name?",
    ]  # fmt: skip
    assert len(server.asked) == 4
    assert (results["1"].scores["m"].value, results["1"].answer, results["1"].completion_tokens) == (1, "Ann", 6)
    assert results["1"].prompt.splitlines()[-1] == "What is my name?"


def test_a_follow_up_is_not_asked_after_a_failure(desk, server):
    desk.evalset("e", [{**ROW, "follow_ups": ["more"]}, {**ROW, "id": "2", "prompt": "r"}])
    server.respond = lambda body: {"status": 400} if body["messages"][0]["content"] == "q" else "yes"
    counts, _ = ask(desk, server.url)
    assert counts == {"errored": 1, "scored": 1}
    assert len(server.asked) == 2


def test_system_prompts_become_one_turn_in_front(desk, server):
    prompt = [{"role": "system", "content": "item's"}, {"role": "user", "content": "q"}]
    desk.evalset("e", [{**ROW, "prompt": prompt}], system="evalset's")
    shots = [{"role": "system", "content": "subject's"}, {"role": "user", "content": "Q"},
             {"role": "assistant", "content": "A"}]  # fmt: skip
    ask(desk, server.url, shots=shots)
    assert [(turn["role"], turn["content"]) for turn in server.asked[0]["messages"]] == [
        ("system", "evalset's\n\nsubject's\n\nitem's"),
        ("user", "Q"),
        ("assistant", "A"),
        ("user", "q"),
    ]


def test_contexts_stand_before_the_question_or_where_they_are_wanted(desk, server):
    rows = [
        {**ROW, "contexts": ["Graz lies on the Mur.", "yes"]},
        {**ROW, "id": "2", "prompt": "Read:\n{contexts}\nThen say yes.", "contexts": ["yes"]},
        {**ROW, "id": "3", "prompt": "Read: {contexts}."},
    ]
    desk.evalset("e", rows, metrics={"m": {"scorer": "exact"}, "g": {"scorer": "groundedness_overlap"}})
    server.respond = lambda body: "yes"
    counts, results = ask(desk, server.url)
    assert {one["messages"][-1]["content"] for one in server.asked} == {
        "[1] Graz lies on the Mur.\n\n[2] yes\n\nq",
        "Read:\n[1] yes\nThen say yes.",
        "Read: .",
    }
    assert [results[n].scores["g"].value for n in "123"] == [1, 1, None]
    assert counts == {"scored": 3}, "one metric could not be scored, the item could"
    assert server.asked[0]["authorization"] is None


def test_tools_go_along_and_calls_come_back(desk, server):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    row = {
        "id": "1",
        "prompt": "q",
        "tools": [tool],
        "tool_calls": [{"name": "weather", "arguments": {"city": "Graz"}}],
    }
    desk.evalset("e", [row], metrics={"m": {"scorer": "tool_call"}})
    call = {"id": "c", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Graz"}'}}
    server.respond = lambda body: {"content": None, "tool_calls": [call]}
    _, results = ask(desk, server.url)
    assert server.asked[0]["tools"] == [tool]
    assert (only(results).scores["m"].value, only(results).tool_calls) == (
        1,
        [{"name": "weather", "arguments": {"city": "Graz"}}],
    )
    with pytest.raises(InputError, match="has tools, which only chat requests carry"):
        business.evaluate(
            load("e"), SUBJECT, business.Door(server.url, False, 4), desk.lab.evals / "e-2", [], lambda: None
        )


NONSENSE = [{}, [], {"choices": []}, {"choices": [{"message": "text"}]}, {"choices": [{"message": {"content": 5}}]},
            {"choices": [{"message": {"content": ["a"]}}]},
            {"choices": [{"message": {"content": "a", "tool_calls": [1]}}]},
            {"choices": [{"message": {"content": "a"}}], "usage": []}]  # fmt: skip


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_an_endpoint_that_answers_nonsense_is_not_scored(desk, server, nonsense):
    desk.evalset("e", [ROW])
    server.form = lambda message: nonsense  # type: ignore[method-assign]
    if nonsense == NONSENSE[-1]:
        assert ask(desk, server.url)[0] == {"scored": 1}, "an empty usage is no usage"
        return
    with pytest.raises(EvaluationError, match="not in OpenAI's form"):
        ask(desk, server.url)


def test_somebodys_endpoint_may_fail_on_a_few_items_and_they_are_counted(desk, server):
    """Of 50 items 5 never work: recorded as errored for an endpoint, refused for a server of ours; 6 are too many."""
    desk.evalset("e")
    limit = 5
    server.respond = lambda body: (
        {"status": 500} if int(body["messages"][-1]["content"].split()[-1]) < limit else "answer"
    )
    with pytest.raises(EvaluationError, match="5 of 50 items failed"):
        ask(desk, server.url)
    counts, results = ask(desk, server.url, subject=FOREIGN)
    assert counts == {"errored": 5, "scored": 45}
    assert sum(one.bucket == "errored" and "HTTP 500" in (one.error or "") for one in results.values()) == 5
    limit = 6
    desk.evalset("f")
    with pytest.raises(EvaluationError, match="6 of 50 items failed"):
        business.evaluate(
            load("f"), FOREIGN, business.Door(server.url, True, 4), desk.lab.evals / "e-3", [], lambda: None
        )


def test_a_scorer_that_raises_is_not_hidden_by_a_latency(desk, server):
    files = {"scorer.py": "def score(item, answer):\n    raise RuntimeError('no')\n"}
    desk.evalset("e", [ROW], files, metrics={"m": {"scorer": "scorer.py"}, "s": {"scorer": "latency"}})
    counts, results = ask(desk, server.url)
    assert counts == {"unscorable": 1}
    assert (only(results).scores["m"].value, only(results).scores["m"].explanation) == (None, "RuntimeError: no")


def test_a_judges_scorers_can_be_given(desk, server):
    desk.evalset("e", [ROW], metrics={"j": {"scorer": "judge"}})
    found = business.evaluate(
        load("e"), SUBJECT, business.Door(server.url, True, 4), desk.lab.evals / "e-1", [], lambda: None,
        judged={"j": lambda item, answer: Score(value=0.5, explanation=answer.text)},
    )  # fmt: skip
    assert found == {"scored": 1}
    assert only(business.results(desk.lab.evals / "e-1")).scores["j"] == Score(value=0.5, explanation="ok")


def test_the_fake_answers_an_evalset(desk, fake):
    desk.evalset("e", [ROW, {**ROW, "id": "2", "prompt": "r"}, {**ROW, "id": "3", "prompt": "s", "gold": ["a b c"]}],
                 sampling={"temperature": 0.0, "max_tokens": 2})  # fmt: skip
    counts, results = ask(desk, fake({"q": "yes", "r": "no", "s": "a b c"}))
    assert counts == {"scored": 2, "truncated": 1}
    assert [results[n].scores["exact"].value for n in "123"] == [1, 0, 0]


def test_own_scorers_see_the_items_fields_by_their_names(desk, server):
    code = "def score(item, answer):\n    return {'value': item['assert'][0]['weight'] / 2 * len(item['extra'])}\n"
    row = {**ROW, "assert": [{"type": "contains", "value": "a"}], "extra": ["x"]}
    desk.evalset("e", [row], {"scorer.py": code}, metrics={"m": {"scorer": "scorer.py"}})
    assert only(ask(desk, server.url)[1]).scores["m"].value == 0.5


def test_bad_fields_of_an_item_are_named(desk):
    for row, said in [
        ({**ROW, "tool_calls": [{"arguments": {}}]}, "items.jsonl:1: tool_calls: Field required"),
        (
            {**ROW, "assert": [{"type": "contains", "weight": 0}]},
            "items.jsonl:1: assert: Input should be greater than 0",
        ),
        ({**ROW, "contexts": "text"}, "items.jsonl:1: contexts: Input should be a valid list"),
    ]:
        desk.evalset("e", [row])
        with pytest.raises(InputError) as caught:
            load("e")
        assert said in caught.value.one_line()


def measured(desk, url: str, folder: str, who: Subject) -> SubjectScores:
    """What the store would say of one evaluation's release items."""
    evalset = load("e")
    business.evaluate(evalset, who, business.Door(url, True, 4), desk.lab.evals / folder, [], lambda: None)
    found = business.results(desk.lab.evals / folder)
    return SubjectScores(
        subject=who, eval_id=folder, metric="e/exact", info=evalset.definition.metrics["exact"].info, split="release",
        evalset_sha256=evalset.sha256, clusters={one: one for one in found},
        values={n: one.scores["exact"].value for n, one in found.items() if one.bucket == "scored"},
        counts={},
    )  # fmt: skip


def test_an_evalset_changed_between_two_runs_makes_the_row_invalid(desk, server):
    """The same items again give a verdict; one gold answer changed, and nothing is paired any more."""
    rows = [{"id": f"i{n}", "prompt": f"q{n}", "gold": ["yes"]} for n in range(40)]
    gate = Gate.model_validate({"primary": {"metric": "e/exact", "better_than": ["incumbent"]}})
    tuned = SUBJECT.model_copy(update={"kind": "adapter", "label": "new", "adapter_sha256": "a" * 64})
    desk.evalset("e", rows)
    server.respond = lambda body: "no"
    old = measured(desk, server.url, "e-old", SUBJECT)
    server.respond = lambda body: "yes"
    found = judge(gate, {"e/exact": measured(desk, server.url, "e-new", tuned)}, {"incumbent": {"e/exact": old}})
    assert found.verdict == "SHIP"
    desk.evalset("e", [*rows[:-1], {**rows[-1], "gold": ["yes", "yes."]}])
    changed = measured(desk, server.url, "e-changed", tuned)
    found = judge(gate, {"e/exact": changed}, {"incumbent": {"e/exact": old}})
    assert found.verdict == "INVALID"
    assert "different contents of the evalset" in found.reason


def test_items_that_failed_leave_the_row_unpaired_not_averaged(desk, server):
    """10 of 40 items refused by the server for one side only: they could hide a loss, so the row is INVALID."""
    desk.evalset("e", [{"id": f"i{n}", "prompt": f"q{n}", "gold": ["yes"]} for n in range(40)])
    gate = Gate.model_validate({"primary": {"metric": "e/exact", "better_than": ["incumbent"]}})
    tuned = SUBJECT.model_copy(update={"kind": "adapter", "label": "new", "adapter_sha256": "a" * 64})
    server.respond = lambda body: "no"
    old = measured(desk, server.url, "e-old", SUBJECT)
    server.respond = lambda body: {"status": 400} if int(body["messages"][0]["content"][1:]) < 10 else "yes"
    new = measured(desk, server.url, "e-new", tuned)
    assert len(new.values) == 30
    found = judge(gate, {"e/exact": new}, {"incumbent": {"e/exact": old}})
    assert (found.verdict, "10 of 40 items could not be paired" in found.reason) == ("INVALID", True)
