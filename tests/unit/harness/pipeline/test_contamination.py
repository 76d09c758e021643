"""Contaminated items through check and report: said before training, left out of the verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import campaign as campaigns
from harness.core.rating import Answer, CampaignRecord, Pair
from harness.core.records import DataRef
from harness.pipeline import contamination
from harness.pipeline.check import check


def found(desk, topic="evalset mini"):
    return [one for one in check(desk.lab, Path("spec.yaml")).findings if one.topic == topic]


def leak(desk, *numbers, name="train.jsonl"):
    """Training rows, some of them items of the evalset `mini`."""
    rows = [{"prompt": f"train {n}", "completion": f"yes {n}"} for n in range(8)]
    desk.write(name, [*rows, *({"prompt": f"Item {n}.", "completion": "x"} for n in numbers)])


def test_what_stands_in_training_is_a_warning_and_decides_nothing(desk):
    leak(desk, 3, 12, 13)
    (warned, facts) = found(desk)[0], found(desk, "evalset mini@1")
    assert warned.level == "warning"
    assert warned.text == (
        "3 of 50 items stand in the training data (1 dev, 2 release; first 'i3': exact, train.jsonl:9)"
    )
    assert warned.fix == "they will decide nothing; remove those rows from training to use them"
    assert facts[0].level == "ok"
    assert contamination.excluded(desk.resolve()) == {"mini": {"i3", "i12", "i13"}}


def test_more_than_half_of_a_split_is_an_error(desk):
    leak(desk, *range(5))
    assert found(desk)[0].level == "warning"  # 5 of 10 dev items
    leak(desk, *range(6))
    (refused,) = [one for one in found(desk) if one.level == "error"]
    assert refused.fix.startswith("remove those rows from training: without them more than half of dev")
    assert desk.ratchet("run", "spec.yaml").code == 1


def test_the_report_shows_the_verdict_without_them_and_the_figures_with_them(desk):
    """The adapter is right only where it was trained: on 12 of 40 release items, and on none of the others."""
    leak(desk, *range(10, 22))
    desk.evaluated(right=lambda subject, number: subject.kind == "adapter" and 10 <= number < 22)
    ended = desk.ratchet("report", "spec.yaml", "--format", "json")
    report = json.loads(ended.out)
    (row,) = [row for row in report["candidates"][0]["rows"] if row["comparator"] == "best_baseline"]
    assert row["comparison"]["difference"]["estimate"] == 0
    assert row["comparison"]["with_excluded"]["estimate"] == pytest.approx(12 / 40)
    assert report["excluded"] == {"mini": 12}
    assert "items of mini that decide nothing: 12 stand in training data" in report["notes"]
    assert ended.code == 11  # INCONCLUSIVE; with them it would have shipped


def test_the_union_over_all_compared_adapters_is_excluded(desk):
    """A row that only the incumbent, or the adapter that a run continues, was trained on counts as well."""
    leak(desk, 12, name="old.jsonl")
    desk.spec("old.yaml", train__dataset="old.jsonl")
    old = desk.trained(desk.resolve("old.yaml").plan.runs[0])
    leak(desk, 13)
    for changes in (
        {"train__init_adapter": old.run_id},
        {"baselines": ["zero_shot", {"adapter": old.run_id}]},
        {"subjects": [old.run_id]},
    ):
        desk.spec(**changes)
        assert contamination.excluded(desk.resolve()) == {"mini": {"i12", "i13"}}
    (desk.root / "old.jsonl").unlink()
    assert contamination.excluded(desk.resolve()) == {"mini": {"i13"}}
    (gone,) = found(desk, "contamination")
    assert gone.text.endswith("old.jsonl is gone or changed: not compared with the evalsets")
    assert gone.level == "warning"


def test_preference_rows_and_examples_are_looked_through(desk):
    rated_rows = [{"prompt": text, "chosen": "a", "rejected": "b"} for text in ("item 12", "another")]
    desk.write("train.jsonl", rated_rows)
    desk.write("shots.jsonl", [{"prompt": "item 14", "completion": "a"}])
    desk.spec(train__method={"type": "dpo"}, baselines=["zero_shot", {"few_shot": 1, "examples": "shots.jsonl"}])
    assert contamination.excluded(desk.resolve()) == {"mini": {"i12", "i14"}}


def rated(desk, name, prompts):
    pairs = [
        Pair(
            pair_id=f"pair-{n}", item_id=f"p{n}", cluster=f"p{n}", prompt=[{"role": "user", "content": text}],
            a=Answer(subject="a", model="a", text="one"), b=Answer(subject="b", model="b", text="two"),
        )
        for n, text in enumerate(prompts)
    ]  # fmt: skip
    subjects = [desk.resolve().base_subject] * 2
    pool = DataRef(path="pool.jsonl", sha256="0" * 64, rows=len(pairs), format="pool", split="pool")
    record = CampaignRecord(
        campaign=name, name="desk", subjects=subjects, pool=pool, decoding={}, pairs=len(pairs), refused={}, seed=0,
        created="2026-11-20T10:00:00+00:00",
    )  # fmt: skip
    campaigns.write(desk.lab, record, pairs)


def test_rated_prompts_are_a_warning_until_something_is_trained_on_them(desk):
    rated(desk, "first", ["item 12", "item 13", "something else"])
    (warned,) = [one for one in found(desk) if one.level == "warning"]
    assert warned.text == "2 items are prompts of campaign first"
    assert contamination.excluded(desk.resolve()) == {}
    leak(desk, 12)
    assert contamination.excluded(desk.resolve()) == {"mini": {"i12"}}


def test_our_lm_eval_documents_are_items_too(desk):
    files = {"mine.yaml": "task: mine\n"}
    asked = "Q: how many legs has a {}-footed beast of the field?\nA:"
    documents = [
        {"id": f"d{n}", "prompt": asked.format(n), "choices": ["0", str(n)], "gold": 1, "cluster": "legs"}
        for n in range(20)
    ]
    desk.evalset("mine", documents, files, kind="lm_eval", tasks=["mine"], metrics=None)
    desk.write("train.jsonl", [
        {"prompt": "how many legs has a 7-footed beast of the field?", "completion": "7", "cluster": "legs"},
        {"prompt": "x", "completion": "y"},
    ])  # fmt: skip
    desk.spec(evaluate__lm_eval={"tasks": ["mine"]})
    assert contamination.excluded(desk.resolve()) == {"lm_eval/mine": {"mine/d7"}}
    kinds = {(one.item_id, one.kind) for one in contamination.scan(desk.resolve()).matches}
    assert ("mine/d3", "cluster") in kinds


def test_what_was_found_is_kept_by_content(desk):
    leak(desk, 12)
    first = contamination.scan(desk.resolve()).matches
    (kept,) = (desk.lab.cache / "contamination").glob("*.json")
    stamp = kept.stat().st_mtime_ns
    assert contamination.scan(desk.resolve()).matches == first
    (desk.root / "train.jsonl").rename(desk.root / "moved.jsonl")
    desk.spec(train__dataset="moved.jsonl")
    (moved,) = contamination.scan(desk.resolve()).trained
    assert moved.source.endswith("moved.jsonl")  # the same rows under another name
    assert kept.stat().st_mtime_ns == stamp
    leak(desk, 12, 13)
    desk.spec()
    assert len(contamination.scan(desk.resolve()).trained) == 2
    assert len(list((desk.lab.cache / "contamination").glob("*.json"))) == 2


def test_a_shared_cluster_is_said_and_excludes_nothing(desk):
    rows = [{"id": f"i{n}", "prompt": f"item {n}", "gold": [f"answer {n}"], "verb": f"v{n}"} for n in range(20)]
    desk.evalset("mini", rows, cluster="verb")
    desk.write("train.jsonl", [{"prompt": f"train {n}", "completion": "x", "verb": f"v{n}"} for n in range(4)])
    (clean,) = found(desk, "contamination")
    assert clean.text == (
        "none of 20 items among 4 training rows; 4 share a cluster or an id with some, not their text"
    )
    assert contamination.excluded(desk.resolve()) == {}
