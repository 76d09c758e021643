"""Scorers by hand, own scorers that misbehave, and evalsets that prove themselves."""

from __future__ import annotations

import pytest

from harness.core.errors import InputError
from harness.evalset import Item, load
from harness.evaluate.scorers import SHIPPED, safe_score, scorers, self_check


def item(*gold: str) -> Item:
    return Item(id="1", prompt="q", gold=list(gold))


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
def test_exact_and_contains(answer, exact, contains):
    asked = item("I am behind.", "ich bin hinten.")
    assert SHIPPED["exact"](asked, answer).value == exact
    assert SHIPPED["contains"](asked, answer).value == contains


def test_chrf_by_hand():
    """'abd' against 'abc': 1-grams 2 of 3, 2-grams 1 of 2, 3-grams 0 of 1, and no longer ones on either side.

    Precision = recall = (2/3 + 1/2 + 0) / 3 = 7/18, so F2 is 7/18 too: 38.89 points.
    """
    assert SHIPPED["chrf"](item("abc"), "abd").value == pytest.approx(100 * 7 / 18)


def test_chrf_takes_the_nearest_gold_answer():
    asked = item("xyz", "abc")
    assert SHIPPED["chrf"](asked, " abc ").value == 100.0
    assert SHIPPED["chrf"](asked, "abd").value == pytest.approx(100 * 7 / 18)
    assert SHIPPED["chrf"](asked, "").value == 0.0


OWN = "def score(item, answer):\n    {}\n"


def own(desk, body: str, **metric):
    desk.evalset("e", files={"scorer.py": OWN.format(body)}, metrics={"m": {"scorer": "scorer.py", **metric}})
    evalset = load("e")
    return scorers(evalset)["m"], evalset.items[0]


def test_an_own_scorer_sees_the_whole_item(desk):
    desk.evalset(
        "e",
        [{"id": "1", "prompt": "q", "icons": ["x", "y"]}],
        {"scorer.py": OWN.format("return {'value': len(item['icons']) / 4, 'explanation': answer.upper()}")},
        metrics={"m": {"scorer": "scorer.py"}},
    )
    evalset = load("e")
    score = scorers(evalset)["m"](evalset.items[0], "ok")
    assert (score.value, score.explanation) == (0.5, "OK")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("raise KeyError('icons')", "KeyError: 'icons'"),
        ("return {'value': float('nan')}", "ValueError: scorer.py gave nan, which is not within 0 to 1"),
        ("return {'value': float('inf')}", "ValueError: scorer.py gave inf"),
        ("return {'value': 1.5}", "ValueError: scorer.py gave 1.5, which is not within 0 to 1"),
        ("return {'value': -0.1}", "ValueError: scorer.py gave -0.1"),
        ("return {'value': 'high'}", "ValueError: could not convert string to float"),
        ("return {}", "KeyError: 'value'"),
        ("return None", "TypeError: "),
    ],
)
def test_an_own_scorer_that_fails_costs_one_item_and_says_why(desk, body, said):
    scorer, asked = own(desk, body)
    score = safe_score(scorer, asked, "answer")
    assert score.value is None
    assert score.explanation.startswith(said)


def test_points_go_to_a_hundred(desk):
    scorer, asked = own(desk, "return {'value': 87.5}", unit="points")
    assert safe_score(scorer, asked, "answer").value == 87.5


@pytest.mark.parametrize(
    ("metric", "files", "said"),
    [
        ({"scorer": "rouge9"}, {}, "scorer 'rouge9' is unknown. use exact, contains, chrf, scorer.py"),
        ({"scorer": "exact", "unit": "percent"}, {}, "metrics.m.unit 'percent' is unknown. use share or points"),
        ({"scorer": "scorer.py"}, {}, "scorer.py does not exist. write `def score(item, answer) -> dict` there"),
        ({"scorer": "scorer.py"}, {"scorer.py": "def score(:"}, "SyntaxError: "),
        ({"scorer": "scorer.py"}, {"scorer.py": "import nothing_of_that_name"}, "ModuleNotFoundError: "),
        ({"scorer": "scorer.py"}, {"scorer.py": "x = 1"}, "it must define score(item, answer)"),
    ],
)
def test_a_scorer_that_is_not_there_is_named(desk, metric, files, said):
    desk.evalset("e", files=files, metrics={"m": metric})
    with pytest.raises(InputError) as caught:
        scorers(load("e"))
    assert said in caught.value.one_line()


def test_shipped_scorers_need_gold_answers(desk):
    desk.evalset("e", [{"id": "1", "prompt": "q"}])
    with pytest.raises(InputError, match=r"evalset e: an item has no gold answer. exact needs one on each"):
        scorers(load("e"))


def test_a_good_evalset_proves_itself(desk):
    desk.evalset("e", [{"id": "1", "prompt": "q", "gold": ["a", "b "], "wrong": ["c", ""]}],
                 metrics={"x": {"scorer": "exact"}, "c": {"scorer": "chrf", "unit": "points"}})  # fmt: skip
    self_check(load("e"))


@pytest.mark.parametrize(
    ("row", "body", "said"),
    [
        ({"gold": ["a"]}, "return {'value': 0.9}", "item '1': gold answer 'a' scores 0.9 on m, not 1"),
        (
            {"gold": ["a"]},
            "raise ValueError('no')",
            "gold answer 'a' scores None on m, not 1. correct the gold answer or",
        ),
        ({"wrong": ["b"]}, "return {'value': 1}", "item '1': wrong answer 'b' gets full marks on m"),
        ({"wrong": ["b"]}, "return {'value': 1 - 1e-9}", "item '1': wrong answer 'b' gets full marks on m"),
    ],
)
def test_an_evalset_that_does_not_prove_itself_is_refused(desk, row, body, said):
    desk.evalset(
        "e",
        [{"id": "1", "prompt": "q", **row}],
        {"scorer.py": OWN.format(body)},
        metrics={"m": {"scorer": "scorer.py"}},
    )
    with pytest.raises(InputError) as caught:
        self_check(load("e"))
    assert said in caught.value.one_line()


def test_full_marks_of_a_metric_that_goes_down_are_zero(desk):
    files = {"scorer.py": OWN.format("return {'value': float(answer != 'a')}")}
    metric = {"scorer": "scorer.py", "direction": "down"}
    desk.evalset("e", [{"id": "1", "prompt": "q", "gold": ["a"], "wrong": ["b"]}], files, metrics={"m": metric})
    self_check(load("e"))
    desk.evalset("e", [{"id": "1", "prompt": "q", "gold": ["b"]}], files, metrics={"m": metric})
    with pytest.raises(InputError, match=r"gold answer 'b' scores 1.0 on m, not 0"):
        self_check(load("e"))
