"""Own scorers that misbehave, metrics that do not fit, and evalsets that prove themselves."""

from __future__ import annotations

import pytest

from harness.core.errors import InputError
from harness.evalset import load
from harness.evalset.metric import KINDS
from harness.evaluate.scorers import MAKERS, safe_score, scorers, self_check


def test_what_is_known_of_scorers_and_the_scorers_are_one_list():
    assert set(KINDS) == set(MAKERS)


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
    score = safe_score(scorers(evalset)["m"], evalset.items[0], "ok")
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
        ({"scorer": "rouge9"}, {}, "scorer 'rouge9' is unknown. use rouge_l or "),
        (
            {"scorer": "exact", "options": {"case": 1}},
            {},
            "metrics.m: options.case: unknown key. options of exact: none",
        ),
        ({"scorer": "regex", "options": {"pattern": "("}}, {}, "metrics.m: options.pattern: '(' is no regular"),
        ({"scorer": "exact", "unit": "percent"}, {}, "metrics.m: unit 'percent': exact gives share"),
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


def test_an_own_scorer_may_have_a_unit_of_its_own(desk):
    scorer, asked = own(desk, "return {'value': 1234.5}", unit="euro")
    assert safe_score(scorer, asked, "a").value == 1234.5
    self_check(load("e"))
    scorer, asked = own(desk, "return {'value': float('inf')}", unit="euro")
    assert "not a finite number" in safe_score(scorer, asked, "a").explanation


def test_units_and_directions_are_the_scorers_own(desk):
    metrics = {"b": {"scorer": "bleu"}, "t": {"scorer": "ter"},
               "l": {"scorer": "length", "options": {"count": "tokens"}},
               "c": {"scorer": "chrf"}, "cc": {"scorer": "chrf", "options": {"corpus": True}},
               "a": {"scorer": "accuracy", "options": {"labels": ["x", "y", "z", "w"]}},
               "f": {"scorer": "macro_f1", "chance": 0.1, "options": {"labels": ["x", "y"]}}}  # fmt: skip
    desk.evalset("e", metrics=metrics)
    infos = {name: metric.info for name, metric in load("e").definition.metrics.items()}
    assert [(infos[n].unit, infos[n].direction, infos[n].aggregate) for n in ("b", "t", "l", "c", "cc")] == [
        ("points", "up", "bleu"),
        ("points", "down", "ter"),
        ("tokens", "up", "mean"),
        ("points", "up", "mean"),
        ("points", "up", "chrf"),
    ]
    assert (infos["a"].chance, infos["f"].chance, infos["b"].chance) == (0.25, 0.1, None)


def test_a_metric_is_the_same_whether_its_unit_is_written_or_not(desk):
    desk.evalset("e", metrics={"m": {"scorer": "ter"}})
    short = load("e").sha256
    desk.evalset("e", metrics={"m": {"scorer": "ter", "unit": "points", "direction": "down"}})
    assert load("e").sha256 == short


def test_a_judges_metrics_are_left_to_the_judge(desk):
    desk.evalset(
        "e", metrics={"j": {"scorer": "judge", "options": {"rubric": "Is it kind?"}}, "m": {"scorer": "exact"}}
    )
    evalset = load("e")
    assert set(scorers(evalset)) == {"m"}
    judged = scorers(evalset, {"j": scorers(evalset)["m"]})
    assert set(judged) == {"j", "m"}
    self_check(evalset)


@pytest.mark.parametrize(
    ("scorer", "gold", "wrong", "right"),
    [
        ("meteor", "the cat sat on the mat", "a dog ran", True),
        ("meteor", "the cat", "the cat", False),
        ("groundedness_overlap", "cats purr", "dogs bark", True),
        ("groundedness_overlap", "dogs bark", "cats purr", False),
    ],
)
def test_without_full_marks_gold_must_beat_wrong(desk, scorer, gold, wrong, right):
    row = {"id": "1", "prompt": "what do cats do?", "gold": [gold], "wrong": [wrong], "contexts": ["cats purr"]}
    desk.evalset("e", [row], metrics={"m": {"scorer": scorer}})
    if right:
        self_check(load("e"))
        return
    with pytest.raises(InputError, match="no gold answer more"):
        self_check(load("e"))
