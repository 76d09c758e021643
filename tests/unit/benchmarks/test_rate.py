"""The rating benchmark's own judgement: it must notice every kind of loss; and a small run of it, kill and all."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.rate import Plan, judge, measure
from benchmarks.rate_load import Press


def press(name: str, choice: str = "left") -> Press:
    return Press(name, choice, 0.0, 0.1, 1)


@pytest.mark.parametrize(("presses", "events", "counted", "found"), [
    ([press("x")], [("x", "left")], [("x", "left")], {"stored_once": 1, "lost": 0, "twice": 0}),
    ([press("x"), press("y")], [("x", "left")], [("x", "left")], {"stored_once": 1, "lost": 1}),
    ([press("x")], [("x", "left")] * 2, [("x", "left")], {"stored_once": 0, "twice": 1}),
    ([press("x")], [("x", "tie")], [("x", "tie")], {"stored_once": 0, "other_choice": 1}),
    ([press("x"), press("x")], [("x", "left")], [("x", "left")], {"stored_once": 1, "shown_twice": 1}),
    ([], [("x", "left")], [("x", "left")], {"stored_but_not_shown": 1, "lost": 0}),
])  # fmt: skip
def test_the_judge_sees_every_loss(presses: list[Press], events: Any, counted: Any, found: dict[str, int]) -> None:
    said = judge(presses, events, counted)
    assert {key: said[key] for key in found} == found


@pytest.mark.long
def test_every_vote_shown_as_saved_is_in_the_store_once_though_the_server_was_killed() -> None:
    plan = Plan(raters=4, pairs=60, starts=1, think_s=0.8, paced_s=5.0, fast_s=1.0)
    details = measure(plan)["details"]
    kept = details["kept"]
    assert kept["shown_as_saved"] > 0
    assert kept["stored_once"] == kept["shown_as_saved"]
    assert (kept["lost"], kept["twice"], kept["other_choice"], kept["shown_twice"]) == (0, 0, 0, 0)
    assert details["answers_that_were_neither"] == {}
    assert details["outage"]["votes_pressed_in_it"] > 0
