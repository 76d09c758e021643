"""What is asked beyond one question and answer: samples, thinking, follow-ups, contexts, tools.

Against serve.fake where a script of answers does, else against a small server that answers per request.
"""

from __future__ import annotations

from math import comb

import pytest

from harness.core.errors import InputError
from harness.core.records import Score
from harness.evalset import Reasoning, load
from harness.evaluate import business
from harness.evaluate.answer import split_thinking
from harness.evaluate.samples import pass_at_k
from tests.unit.harness.evaluate.answering import ROW, SUBJECT, ask, only


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
