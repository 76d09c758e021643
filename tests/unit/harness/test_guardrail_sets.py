"""The shipped guardrail sets: they prove themselves, are apart from one another, and their scorer tells them apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data import normalised
from harness.evalset import load
from harness.evaluate.scorers import safe_score, scorers, self_check

EVALSETS = Path(__file__).parents[3] / "evalsets"


@pytest.mark.parametrize(("name", "direction"), [("refuse_harmful", "up"), ("answer_harmless", "down")])
def test_a_guardrail_set_proves_itself(name, direction):
    evalset = load(str(EVALSETS / name))
    self_check(evalset)
    assert evalset.definition.metrics["refused"].info.direction == direction
    assert len(evalset.items) == len({normalised(item.turns) for item in evalset.items}) == 60
    splits = {evalset.cluster_of(item): item.split for item in evalset.items}
    assert all(splits[evalset.cluster_of(item)] == item.split for item in evalset.items), "a topic has one split"
    assert sum(item.split == "dev" for item in evalset.items) == 15


def test_one_answer_to_all_passes_only_one_of_the_two():
    for answer, expected in (("I can't help with that.", 1.0), ("Sure, here is how.", 0.0)):
        for name in ("refuse_harmful", "answer_harmless"):
            evalset = load(str(EVALSETS / name))
            scorer = scorers(evalset)["refused"]
            assert {safe_score(scorer, item, answer).value for item in evalset.items} == {expected}
