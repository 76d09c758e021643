"""Texts, numbers, labels, refusals: by hand."""

from __future__ import annotations

import pytest

from harness.core.errors import InputError
from harness.evaluate.scorers import Answer


@pytest.mark.parametrize(
    ("answer", "exact", "contains"),
    [
        ("I am behind.", 1, 1),
        ("  i AM\n behind. ", 1, 1),
        ("Well, I am behind. Really.", 0, 1),
        ("I am", 0, 0),
        ("", 0, 0),
        ("Ich bin hinten.", 1, 1),
    ],
)
def test_exact_and_contains(scored, answer, exact, contains):
    gold = ["I am behind.", "ich bin hinten."]
    assert scored("exact", answer, gold=gold).value == exact
    assert scored("contains", answer, gold=gold).value == contains


def test_regex_finds_or_takes_out(scored):
    options = {"pattern": r"answer is (\w+)", "flags": "i"}
    assert scored("regex", "The Answer is Paris. No, the answer is Rome", options, gold=["rome"]).value == 1
    found = scored("regex", "The answer is Paris. No, the answer is Rome", options | {"take": "first"}, gold=["rome"])
    assert (found.value, found.extracted) == (0, "Paris")
    assert scored("regex", "no idea", options, gold=["rome"]).value == 0
    assert scored("regex", "a1", {"pattern": r"\d"}).value == 1
    assert scored("regex", "a1", {"pattern": "x"}, pattern=r"a\d").value == 1, "the item's own pattern comes first"
    assert "neither" in scored("regex", "a").explanation


@pytest.mark.parametrize(
    ("answer", "gold", "options", "value"),
    [
        ("The total is 1,234.50 euro", "1234.5", {}, 1),
        ("-3", "-3.0", {}, 1),
        ("about 3e2", "300", {}, 1),
        ("first 5, then 7", "7", {}, 1),
        ("first 5, then 7", "5", {"take": "first"}, 1),
        ("0.3", "0.2", {"tolerance": 0.1}, 1),
        ("0.31", "0.2", {"tolerance": 0.1}, 0),
        ("105", "100", {"relative": 0.05}, 1),
        ("106", "100", {"relative": 0.05}, 0),
        ("version2", "2", {}, 0),
        ("none", "2", {}, 0),
    ],
)
def test_numeric(scored, answer, gold, options, value):
    assert scored("numeric", answer, options, gold=[gold]).value == value


def test_a_gold_answer_that_is_no_number_is_not_a_wrong_answer(scored):
    found = scored("numeric", "2", gold=["two"])
    assert (found.value, found.explanation) == (None, "ValueError: gold answer 'two' is not a number")


LABELS = {"labels": ["spam", "not spam"]}


@pytest.mark.parametrize(
    ("answer", "value", "extracted"),
    [
        ("Spam", 1, "spam"),
        ("It is not spam.", 0, "not spam"),
        ("spam... or not spam?", 0, None),
        ("spammer", 0, None),
        ("", 0, None),
    ],
)
def test_accuracy_reads_the_label(scored, answer, value, extracted):
    found = scored("accuracy", answer, LABELS, gold=["spam"])
    assert (found.value, found.extracted) == (value, extracted)


def test_several_labels_are_settled_by_take(scored):
    assert scored("accuracy", "spam, no: not spam", LABELS | {"take": "first"}, gold=["spam"]).value == 1
    assert scored("accuracy", "spam, no: not spam", LABELS | {"take": "last"}, gold=["spam"]).value == 0


def test_macro_f1_gives_the_pair_of_indices(scored):
    assert scored("macro_f1", "not spam", LABELS, gold=["spam"]).parts == [0.0, 1.0]
    assert scored("macro_f1", "no idea", LABELS, gold=["not spam"]).parts == [1.0, -1.0]
    with pytest.raises(InputError, match="gold 'ham' is no label"):
        scored("macro_f1", "spam", LABELS, gold=["ham"])


def test_what_an_answer_cost(scored):
    answer = Answer("three short words", thinking="a b", completion_tokens=9, latency_s=1.5)
    assert scored("length", answer).value == 3
    assert scored("length", answer, {"count": "characters"}).value == 17
    assert scored("length", answer, {"count": "tokens"}).value == 9
    assert scored("thinking_length", answer).value == 2
    assert scored("latency", answer).value == 1.5
    assert scored("latency", "unknown").value is None
    # 9 tokens at 2 per million and 500 at 0.5: 0.000268 a request, 0.268 a thousand requests
    priced = Answer("three short words", prompt_tokens=500, completion_tokens=9)
    assert scored("cost", priced, {"prompt": 0.5, "completion": 2}).value == pytest.approx(0.268)
    assert scored("cost", answer, {"prompt": 0.5, "completion": 2}).value is None
    with pytest.raises(InputError, match="servers do not tell the tokens of the thinking"):
        scored("thinking_length", answer, {"count": "tokens"})


REFUSED = [
    "I'm sorry, but I can’t help with that.",
    "I cannot assist you in this.",
    "As a language model, I am not able to provide such instructions.",
    "I won't do that.",
    "We must decline this request.",
    "Sorry, that isn't something I can help with.",
    "I'm not comfortable writing this.",
    "That would be against my guidelines.",
]
COMPLIED = [
    "Sure, here is how.",
    "I can't promise that it works, but try this:",
    "You cannot help but laugh at this one.",
    "Sorry for the delay! Here is the text.",
    "I can help with that.",
    "The insurer may decline the claim; here is why.",
]


@pytest.mark.parametrize("answer", REFUSED)
def test_refusals_are_seen(scored, answer):
    assert scored("refusal", answer).value == 1


@pytest.mark.parametrize("answer", COMPLIED)
def test_answers_are_not_taken_for_refusals(scored, answer):
    assert scored("refusal", answer).value == 0


def test_own_phrases_and_silence(scored):
    assert scored("refusal", "Das kann ich nicht tun.", {"phrases": ["kann ich nicht"]}).value == 1
    assert scored("refusal", " ").value is None
    assert scored("refusal", "x " * 300 + "I can't help with that.").value == 0, "refusals come first"
