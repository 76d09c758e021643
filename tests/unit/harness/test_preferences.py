"""Votes into rows and rounds: only decisive majorities train, and noise is measured, not guessed."""

from __future__ import annotations

import json
import math
import random
from pathlib import Path
from typing import Any

import pytest

from harness import preferences
from harness.core.errors import InputError
from harness.core.rating import Answer, Edit, Pair, Ruling, Vote
from harness.spec import load_spec

PREVIOUS: dict[str, Any] = {
    "name": "aac",
    "base_model": "experiments/bases/tiny",
    "train": {"dataset": "data/train.jsonl", "adapter": {"r": 8, "lora_alpha": 16, "bias": "none"}, "seed": 3},
    "baselines": ["zero_shot", {"few_shot": 4}],
    "evaluate": {"evalsets": ["aac", "aac_style"], "lm_eval": {"tasks": ["tiny_general"], "limit": None}},
    "gate": {
        "primary": {"metric": "aac/chrf", "better_than": ["incumbent", "best_baseline"], "min_gain": 1.0},
        "guardrails": [{"metric": "lm_eval/tiny_general/acc", "against": ["base", "incumbent"], "max_loss": 0.02}],
    },
}


def pair(number: int, a: str | None = None, b: str | None = None) -> Pair:
    texts = (a or f"good {number}", b or f"bad {number}")
    one, two = (Answer(subject=name, model=name, text=text) for name, text in zip("xy", texts, strict=True))
    prompt = [{"role": "user", "content": "Say it"}]
    return Pair(pair_id=f"p{number}", item_id=f"i{number}", cluster=f"c{number}", prompt=prompt, a=one, b=two)


def vote(number: int, rater: str, choice: str, left: str = "a") -> Vote:
    return Vote.model_validate(
        {
            "assignment": f"style/p{number}/{rater}", "campaign": "style", "pair_id": f"p{number}", "rater": rater,
            "left": left, "choice": choice, "shown_at": "", "at": "",
        }
    )  # fmt: skip


def of(pairs: list[Pair], votes: list[Vote]) -> preferences.Preferences:
    return preferences.from_votes({"style": (pairs, votes)})


def test_a_row_holds_what_trl_reads_and_where_it_came_from() -> None:
    """Ann saw b on the left and chose left, so b won; Bo tied, Cy chose b on the right: 2 of 3 for b."""
    votes = [vote(1, "cy", "right"), vote(1, "ann", "left", left="b"), vote(1, "bo", "tie")]
    assert of([pair(1)], votes).rows == [
        {
            "prompt": [{"role": "user", "content": "Say it"}],
            "chosen": [{"role": "assistant", "content": "bad 1"}],
            "rejected": [{"role": "assistant", "content": "good 1"}],
            "campaign": "style",
            "pair_id": "p1",
            "cluster": "c1",
            "raters": ["ann", "bo", "cy"],
            "assignments": ["style/p1/ann", "style/p1/bo", "style/p1/cy"],
            "label_rule": preferences.LABEL_RULE,
            "views": ["chosen", "tie", "chosen"],
            "votes": {"chosen": 2, "rejected": 0, "tie": 1, "both_bad": 0, "skip": 0},
        }
    ]


@pytest.mark.parametrize(
    ("choices", "outcome"),
    [
        ([], "unrated"),
        (["skip", "skip"], "skip"),
        (["left", "skip"], "used"),
        (["left", "left", "right"], "used"),
        (["left", "right"], "conflict"),
        (["left", "tie"], "conflict"),
        (["tie", "tie", "left"], "tie"),
        (["both_bad"], "both_bad"),
        (["left", "right", "tie"], "conflict"),
    ],
)
def test_every_pair_has_one_outcome(choices: list[str], outcome: str) -> None:
    made = of([pair(1)], [vote(1, f"r{n}", choice) for n, choice in enumerate(choices)])
    assert made.counts == {name: int(name == outcome) for name in preferences.OUTCOMES}
    assert len(made.rows) == (outcome == "used")


def test_the_same_content_is_one_pair_with_one_voice_per_rater() -> None:
    """Shown again with the answers the other way round: Ann repeats herself (once), Bo contradicts: a conflict."""
    pairs = [pair(1, "yes", "no"), pair(2, "no", "yes")]
    agreed = of(pairs, [vote(1, "ann", "left"), vote(2, "ann", "right")])
    assert agreed.duplicates == 1
    assert [(row["chosen"][0]["content"], row["votes"]["chosen"]) for row in agreed.rows] == [("yes", 1)]
    assert agreed.agreement.comparisons == 0
    contradicted = of(pairs, [vote(1, "ann", "left"), vote(2, "bo", "left")])
    assert contradicted.rows == []
    assert contradicted.counts["conflict"] == 1


def test_a_vote_on_an_unknown_pair_is_an_error() -> None:
    with pytest.raises(InputError, match="'p9', which 'style' does not have"):
        of([pair(1)], [vote(9, "ann", "left")])


def test_agreement_worked_by_hand() -> None:
    """Three raters on one pair, 2 to 1: of the three comparisons one agrees. 30 pairs give 90 comparisons, share 1/3.

    Two raters on 40 pairs who differ on 4: share 0.9, flip rate (1 − √0.8) / 2 = 0.0528.
    """
    three = [vote(n, rater, "right" if rater == "c" else "left") for n in range(30) for rater in "abc"]
    found = of([pair(n) for n in range(30)], three).agreement
    assert (found.pairs, found.comparisons, found.flip_rate) == (30, 90, None)
    assert found.share == pytest.approx(1 / 3)
    assert "no more than by chance" in found.note
    two = [vote(n, rater, "right" if rater == "b" and n < 4 else "left") for n in range(40) for rater in "ab"]
    found = of([pair(n) for n in range(40)], two).agreement
    assert found.flip_rate == pytest.approx((1 - math.sqrt(0.8)) / 2)


def test_little_overlap_is_measured_but_not_trusted() -> None:
    made = of([pair(1)], [vote(1, "a", "left"), vote(1, "b", "left")])
    assert made.agreement.share == 1.0
    assert made.agreement.flip_rate is None
    assert made.label_smoothing is None
    assert "20 are needed" in made.agreement.note


@pytest.mark.parametrize(("flip", "raters"), [(0.1, 2), (0.2, 2), (0.2, 3), (0.3, 5)])
def test_smoothing_is_the_share_of_wrong_rows(flip: float, raters: int) -> None:
    """Simulated: answer a is always better, each rater errs with probability `flip`. Of 4,000 pairs the flip rate is
    recovered within 0.03, and the suggested smoothing meets the share of rows that chose b within 0.02.
    """
    draw = random.Random(0)
    votes = [vote(n, f"r{r}", "right" if draw.random() < flip else "left") for n in range(4000) for r in range(raters)]
    made = of([pair(n) for n in range(4000)], votes)
    assert made.agreement.flip_rate == pytest.approx(flip, abs=0.03)
    wrong = sum(row["chosen"][0]["content"].startswith("bad") for row in made.rows) / len(made.rows)
    assert made.label_smoothing == pytest.approx(wrong, abs=0.02)


# --- rulings and edits ------------------------------------------------------------------------------------------


def ruled(number: int, choice: str, at: str = "2026-11-20T09:00:00+00:00") -> dict[str, dict[str, Ruling]]:
    act = {"event_id": f"r{number}", "campaign": "style", "who": "lea", "at": at, "pair_id": f"p{number}"}
    return {"style": {f"p{number}": Ruling.model_validate(act | {"choice": choice})}}


@pytest.mark.parametrize(("choice", "outcome"), [("b", "used"), ("tie", "tie"), ("both_bad", "both_bad")])
def test_a_ruling_goes_before_votes(choice: str, outcome: str) -> None:
    split = [vote(1, "ann", "left"), vote(1, "bo", "right")]
    made = preferences.from_votes({"style": ([pair(1)], split)}, rulings=ruled(1, choice))
    assert made.counts[outcome] == made.adjudicated == 1
    if choice == "b":
        (row,) = made.rows
        assert (row["chosen"][0]["content"], row["label_rule"]) == ("bad 1", preferences.RULED)
        assert (row["votes"]["chosen"], row["votes"]["rejected"]) == (1, 1)
    assert preferences.from_votes({"style": ([pair(1)], split)}).counts["conflict"] == 1


def test_a_ruling_on_the_same_answers_the_other_way_round_means_the_same_answer() -> None:
    pairs = [pair(1, "yes", "no"), pair(2, "no", "yes")]
    made = preferences.from_votes({"style": (pairs, [vote(1, "ann", "left")])}, rulings=ruled(2, "a"))
    assert [row["chosen"][0]["content"] for row in made.rows] == ["no"]


def test_a_ruling_weighs_as_one_more_vote_in_the_label_error() -> None:
    """Two raters of error e = (1 − √0.8)/2 = 0.0528 who differ on 4 of 40: a ruling on those 4 leaves odds of one vote,
    wrong with chance e; 36 agreed ones are wrong with e²/(e² + (1 − e)²) = 0.0031. Mean 0.0081."""
    votes = [vote(n, rater, "right" if rater == "b" and n < 4 else "left") for n in range(40) for rater in "ab"]
    rulings = {"style": {name: act for n in range(4) for name, act in ruled(n, "a")["style"].items()}}
    made = preferences.from_votes({"style": ([pair(n) for n in range(40)], votes)}, rulings=rulings)
    assert len(made.rows) == 40
    assert made.label_smoothing == pytest.approx((4 * 0.0528 + 36 * 0.0031) / 40, abs=6e-4)


def edited(number: int, rater: str, side: str, text: str) -> Vote:
    edit = Edit.model_validate({"side": side, "text": text})
    return vote(number, rater, "left").model_copy(update={"edit": edit})


def test_an_edit_is_a_row_over_its_original_and_a_row_to_imitate() -> None:
    made = of([pair(1)], [edited(1, "ann", "b", "best 1")])
    _, row = made.rows
    assert (row["chosen"][0]["content"], row["rejected"][0]["content"]) == ("best 1", "bad 1")
    assert (row["assignments"], row["label_rule"]) == (["style/p1/ann"], preferences.EDITED)
    assert row.keys() == made.rows[0].keys()  # one table for whoever reads the file
    (alone,) = made.sft
    assert (alone["prompt"], alone["completion"]) == (row["prompt"], row["chosen"])
    assert (made.edited, made.counts["used"]) == (1, 1)
    assert "1 edited answer over the one that it was made from" in next_spec(made)


@pytest.mark.parametrize("text", ["good 1", " good  1\n", "bad 1", "  "])
def test_an_edit_that_says_nothing_new_is_no_row(text: str) -> None:
    assert of([pair(1)], [edited(1, "ann", "a", text)]).edited == 0


def test_two_people_with_the_same_edit_are_one_row() -> None:
    assert of([pair(1)], [edited(1, "ann", "a", "best"), edited(1, "bo", "a", "best ")]).edited == 1


# --- the next round ---------------------------------------------------------------------------------------------


def next_spec(made: preferences.Preferences, **changes: Any) -> str:
    given = {"init_adapter": "aac@v1", "dataset": "rounds/aac-2/pairs.jsonl", "primary": "aac_style/preferred"}
    return preferences.next_spec(PREVIOUS, preferences=made, **{**given, **changes})


def load(tmp_path: Path, text: str) -> Any:
    path = tmp_path / "round.yaml"
    path.write_text(text, encoding="utf-8")
    return load_spec(path)[0]


def test_the_next_spec_continues_the_promoted_adapter_and_keeps_its_guardrails(tmp_path: Path) -> None:
    text = next_spec(of([pair(1), pair(2)], [vote(1, "ann", "left"), vote(2, "ann", "tie")]))
    spec = load(tmp_path, text)
    assert spec.train.init_adapter == "aac@v1"
    assert spec.train.method.model_dump()["loss_type"] == "sigmoid"
    assert [data.path for data in spec.train.dataset] == ["rounds/aac-2/pairs.jsonl"]
    assert (spec.train.adapter.r, spec.train.adapter.lora_alpha, spec.train.seed) == (8, 16, 3)
    assert spec.train.effective_learning_rate == 1e-5
    assert spec.baselines[1].examples == "data/train.jsonl"  # not the preferences
    assert (spec.evaluate.evalsets, spec.evaluate.lm_eval.tasks) == (["aac", "aac_style"], ["tiny_general"])
    assert (spec.gate.primary.metric, spec.gate.primary.min_gain) == ("aac_style/preferred", 0)
    assert [rail.metric for rail in spec.gate.guardrails] == ["lm_eval/tiny_general/acc"]
    assert "# Pairs: 1 used, 1 tie (0 comparisons" in text
    assert "# aac/chrf was the primary until now" in text


def test_measured_noise_takes_the_loss_that_reads_it(tmp_path: Path) -> None:
    """TRL's default loss ignores label_smoothing without a word (facts.md)."""
    votes = [vote(n, rater, "right" if rater == "b" and n < 4 else "left") for n in range(40) for rater in "ab"]
    made = of([pair(n) for n in range(40)], votes)
    method = load(tmp_path, next_spec(made)).train.method
    assert method.loss_type == "robust"
    assert made.label_smoothing
    assert method.label_smoothing == made.label_smoothing


def test_a_round_without_evidence_is_refused() -> None:
    with pytest.raises(InputError, match="no pair has a decisive majority"):
        next_spec(of([pair(1)], [vote(1, "ann", "tie")]))
    split = [vote(n, "abc"[r], "left" if r < 2 else "right") for n in range(30) for r in range(3)]
    with pytest.raises(InputError, match="no more than by chance"):
        next_spec(of([pair(n) for n in range(30)], split))


def test_a_round_is_written_once(tmp_path: Path) -> None:
    made = of([pair(1)], [vote(1, "ann", "left")])
    place = tmp_path / "aac-2"
    data, spec = preferences.write_round(place, made.rows, "name: aac\n")
    assert [json.loads(line) for line in data.read_text().splitlines()] == made.rows
    assert spec == place / "aac-2.yaml"
    assert preferences.write_round(place, made.rows, "name: aac\n") == (data, spec)
    with pytest.raises(InputError, match="exists with other content"):
        preferences.write_round(place, made.rows, "name: other\n")
