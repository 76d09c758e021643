"""JSON, tool calls, assertions, contexts."""

from __future__ import annotations

import json

import pytest

from harness.core.errors import InputError
from harness.evaluate.scorers import Answer

SCHEMA = {
    "type": "object",
    "required": ["name"],
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
}


@pytest.mark.parametrize(
    ("answer", "value"),
    [
        ('{"name": "Ann", "age": 3}', 1),
        ('Here you are:\n```json\n{"name": "Ann"}\n```\nDone.', 1),
        ('It is {"name": "Ann"} I think', 1),
        ('{"name": 3}', 0),
        ('{"name": "Ann"', 0),
        ("[1]", 0),
        ("Ann", 0),
    ],
)
def test_json_schema(scored, answer, value):
    assert scored("json_schema", answer, json_schema=SCHEMA).value == value


def test_a_schema_that_is_none_is_told(scored, desk):
    assert "not a JSON Schema" in scored("json_schema", "{}", json_schema={"type": "nothing"}).explanation
    assert "neither the item" in scored("json_schema", "{}").explanation
    remote = {"$ref": "http://127.0.0.1:1/schema.json"}
    assert scored("json_schema", "{}", json_schema=remote).value is None, "nothing is fetched"
    desk.evalset("e", [{"id": "1", "prompt": "q"}], {"s.json": json.dumps(SCHEMA)},
                 metrics={"m": {"scorer": "json_schema", "options": {"file": "s.json"}}})  # fmt: skip
    assert desk.ratchet("evalset", "check", "e").code == 0
    desk.evalset(
        "e", [{"id": "1", "prompt": "q"}], metrics={"m": {"scorer": "json_schema", "options": {"file": "../x"}}}
    )
    assert "is not a file of the evalset" in desk.ratchet("evalset", "check", "e").error


def test_json_fields_share(scored):
    gold = [json.dumps({"name": "Ann", "address": {"city": "Graz"}, "prices": [1, 2.0]})]
    said = {"name": " ann", "address": {"city": "Wien"}, "prices": [1, 2], "more": True}
    found = scored("json_fields", json.dumps(said), gold=gold)
    assert (found.value, found.explanation) == (0.75, "not matched: address.city")
    assert scored("json_fields", json.dumps(said), {"fields": ["name", "prices.1"]}, gold=gold).value == 1
    assert scored("json_fields", json.dumps({**said, "prices": [1.05, 2]}), {"tolerance": 0.1}, gold=gold).value == 0.75
    assert scored("json_fields", "no", gold=gold).value == 0
    assert scored("json_fields", '{"a": 1}', gold=['{"a": true}']).value == 0, "true is not 1"


CALLS = [{"name": "weather", "arguments": {"city": "Graz"}}, {"name": "time", "arguments": {}}]


@pytest.mark.parametrize(
    ("calls", "options", "value"),
    [
        (CALLS, {}, 1),
        (CALLS[::-1], {}, 1),
        (CALLS[::-1], {"ordered": True}, 0),
        (CALLS[:1], {}, 0),
        ([*CALLS, CALLS[0]], {}, 0),
        ([{"name": "weather", "arguments": {"city": "graz "}}, CALLS[1]], {}, 1),
        ([{"name": "weather", "arguments": {"city": "Graz", "unit": "C"}}, CALLS[1]], {}, 0),
        ([{"name": "weather", "arguments": {"city": "Graz", "unit": "C"}}, CALLS[1]], {"arguments": "subset"}, 1),
        ([{"name": "weather", "arguments": "{broken"}, CALLS[1]], {}, 0),
        ([{"name": "weather", "arguments": "{broken"}, CALLS[1]], {"arguments": "ignore"}, 1),
    ],
)
def test_tool_calls(scored, calls, options, value):
    assert scored("tool_call", Answer("", tool_calls=tuple(calls)), options, tool_calls=CALLS).value == value


def test_subsets_are_paired_as_well_as_possible(scored):
    """A greedy pairing would give the empty call the first partner and leave the full one without."""
    wanted = [{"name": "f", "arguments": {}}, {"name": "f", "arguments": {"a": 1}}]
    made = ({"name": "f", "arguments": {"a": 1}}, {"name": "f", "arguments": {"b": 2}})
    assert scored("tool_call", Answer("", tool_calls=made), {"arguments": "subset"}, tool_calls=wanted).value == 1


def test_calls_written_in_the_text_are_read(scored):
    call = '{"name": "weather", "arguments": {"city": "Graz"}}'
    for text in (f"<tool_call>{call}</tool_call>", call, f"```json\n[{call}]\n```"):
        assert scored("tool_call", text, tool_calls=CALLS[:1]).value == 1
    assert scored("tool_call", "It is sunny in Graz.", tool_calls=CALLS[:1]).value == 0


CHECKS = [
    {"type": "icontains", "value": "graz", "weight": 2},
    {"type": "not-contains", "value": "sorry"},
    {"type": "max-words", "value": 5},
]


def test_assertions_are_weighted(scored):
    assert scored("assertions", "It rains in Graz.", **{"assert": CHECKS}).value == 1
    found = scored("assertions", "It rains in Wien, sorry", **{"assert": CHECKS})
    assert (found.value, found.explanation) == (
        0.25,
        "icontains 'graz' does not hold; not-contains 'sorry' does not hold",
    )
    assert scored("assertions", "Wien", {"threshold": 0.5}, **{"assert": CHECKS}).value == 1
    assert scored("assertions", "Wien", {"threshold": 0.6}, **{"assert": CHECKS}).value == 0


@pytest.mark.parametrize(
    ("one", "answer", "holds"),
    [
        ({"type": "equals", "value": "a"}, " a ", True),
        ({"type": "equals", "value": "a"}, "A", False),
        ({"type": "contains-any", "value": ["x", "y"]}, "my", True),
        ({"type": "icontains-all", "value": "x, Y"}, "Xy", True),
        ({"type": "starts-with", "value": "Dear"}, "\nDear Ann", True),
        ({"type": "regex", "value": r"^\d+$"}, "12", True),
        ({"type": "is-json"}, "{}", True),
        ({"type": "is-json", "value": SCHEMA}, "{}", False),
        ({"type": "not-is-json"}, "text", True),
        ({"type": "min-words", "value": 2}, "one", False),
    ],
)
def test_assertion_types(scored, one, answer, holds):
    assert scored("assertions", answer, **{"assert": [one]}).value == float(holds)


@pytest.mark.parametrize(
    ("one", "said"),
    [
        ({"type": "llm-rubric", "value": "kind"}, "type 'llm-rubric' is unknown"),
        ({"type": "contains"}, "contains needs a value"),
        ({"type": "regex", "value": "("}, "regex: missing )"),
        ({"type": "max-words", "value": "many"}, "max-words: invalid literal"),
    ],
)
def test_an_assertion_that_cannot_be_checked_is_refused(scored, one, said):
    with pytest.raises(InputError) as caught:
        scored("assertions", "a", **{"assert": [one]})
    assert said in caught.value.one_line()


def test_overlaps_with_contexts(scored):
    contexts = ["Graz lies on the river Mur.", "It has 300,000 people."]
    found = scored("groundedness_overlap", "Graz lies on the Danube.", contexts=contexts)
    assert (found.value, found.explanation) == (pytest.approx(2 / 3), "not in the contexts: danube")
    assert scored("groundedness_overlap", "Graz lies", {"n": 2}, contexts=contexts).value == 1
    assert scored("context_relevance_overlap", "", contexts=contexts, prompt="Which river is Graz on?").value == 1
    assert scored("answer_relevance_overlap", "The river Mur", prompt="Which river is Graz on?").value == 0.5
    assert scored("groundedness_overlap", "x").value is None, "nothing retrieved: not a zero, not a one"
    assert scored("groundedness_overlap", "It is", contexts=contexts).value is None
