"""What goes wrong while an evalset is asked is counted and shown, never averaged away."""

from __future__ import annotations

import pytest

from harness.core.errors import EvaluationError, InputError
from harness.core.records import Subject, SubjectScores
from harness.evalset import load
from harness.evaluate import business
from harness.gate import judge
from harness.spec import Gate
from tests.unit.harness.evaluate.answering import FOREIGN, ROW, SUBJECT, ask, only

NONSENSE = [{}, [], {"choices": []}, {"choices": [{"message": "text"}]}, {"choices": [{"message": {"content": 5}}]},
            {"choices": [{"message": {"content": ["a"]}}]},
            {"choices": [{"message": {"content": "a", "tool_calls": [1]}}]},
            {"choices": [{"message": {"content": "a"}}], "usage": []}]  # fmt: skip


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


def test_a_follow_up_is_not_asked_after_a_failure(desk, server):
    desk.evalset("e", [{**ROW, "follow_ups": ["more"]}, {**ROW, "id": "2", "prompt": "r"}])
    server.respond = lambda body: {"status": 400} if body["messages"][0]["content"] == "q" else "yes"
    counts, _ = ask(desk, server.url)
    assert counts == {"errored": 1, "scored": 1}
    assert len(server.asked) == 2


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
