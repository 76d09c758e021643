"""benchmarks.robust compares as it says, and its arms are what they say; the run itself trains and serves."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.robust import compared
from benchmarks.robust_lab import ARMS, Votes, as_meant, gold_pair, grid_point
from harness.core.records import MetricInfo, Subject, SubjectScores

ITEMS = 40


def scores(name: str, values: list[float]) -> SubjectScores:
    names = [f"i{place}" for place in range(ITEMS)]
    return SubjectScores(
        subject=Subject(kind="adapter", label=name, model=name, base_sha256="b"), eval_id=f"e-{name}",
        metric="aac_style/warm", info=MetricInfo(unit="share"), split="release", evalset_sha256="s",
        values=dict(zip(names, values, strict=False)), clusters={name: name for name in names}, counts={},
    )  # fmt: skip


def test_arms_are_held_against_one_another_by_seed_and_item() -> None:
    """Robust is 0.1 above sigmoid on even items and 0.3 above on odd ones, with every seed alike: the mean is 0.2, and
    its error that of the items alone, 0.1 · √(40/39) / √40 = 0.0160."""
    start = scores("start", [0.2] * ITEMS)
    lift = {"sigmoid": (0.0, 0.0), "robust": (0.1, 0.3), "clean": (0.2, 0.2)}
    arms = {
        arm: [scores(f"{arm}{seed}", [0.4 + 0.05 * seed + lift[arm][place % 2] for place in range(ITEMS)])
              for seed in range(3)]
        for arm in ARMS
    }  # fmt: skip
    found = compared(start, arms)
    robust = found["against_sigmoid"]["robust"]
    assert robust["estimate"] == pytest.approx(0.2)
    assert robust["by_seed"] == pytest.approx([0.2] * 3)
    assert robust["standard_error"] == pytest.approx(0.0160, abs=1e-4)
    assert found["against_start"]["sigmoid"]["estimate"] == pytest.approx(0.25)
    assert found["arms"]["clean"]["by_seed"] == pytest.approx([0.6, 0.65, 0.7])
    # the seeds' spread, s = 0.05 of three, is in the claim about a recipe: 0.05 / √3 at least
    assert found["against_start"]["sigmoid"]["standard_error"] == pytest.approx(0.05 / 3**0.5, abs=1e-3)


def test_an_item_without_a_value_anywhere_is_left_out_everywhere() -> None:
    arms = {arm: [scores(f"{arm}{seed}", [0.5] * ITEMS) for seed in range(3)] for arm in ARMS}
    arms["clean"][1] = scores("clean1", [0.5] * (ITEMS - 3))
    found = compared(scores("start", [0.5] * ITEMS), arms)
    assert (found["items"], found["left_out"]) == (ITEMS - 3, 3)


def test_arms_differ_in_loss_and_labels_alone() -> None:
    method = {"type": "dpo", "beta": 0.1, "loss_type": "robust", "label_smoothing": 0.2}
    votes = Votes(3, "warm3", Path("r"), {"train": {"method": method}}, 10, 2, 20, 5, {}, 0.2)
    made = {arm: grid_point(arm, votes) for arm in ARMS}
    assert made["robust"]["train.method"] == method
    assert made["sigmoid"]["train.method"] == made["clean"]["train.method"]
    assert made["sigmoid"]["train.method"] == {"type": "dpo", "beta": 0.1, "loss_type": "sigmoid"}
    assert [made[arm]["train.dataset"] for arm in ARMS] == ["r/pairs.jsonl", "r/pairs.jsonl", "r/clean.jsonl"]
    assert {point["train.seed"] for point in made.values()} == {3}


def test_a_slip_is_turned_round_and_the_rest_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(Path(__file__).parents[3])
    warm, bare = ([{"role": "assistant", "content": text}] for text in ("Yay, it's here!", "It is here."))
    slip, right = {"chosen": bare, "rejected": warm, "pair_id": "p"}, {"chosen": warm, "rejected": bare, "pair_id": "p"}
    assert as_meant(slip) == right
    assert as_meant(right) == right
    assert gold_pair({"prompt": "q", "warm": "w", "plain": "p"})["expected"] == "a"
