"""Contaminated items through check and report: said before training, left out of the verdict."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from harness import campaign as campaigns
from harness.core.rating import Answer, CampaignRecord, Pair
from harness.core.records import DataRef
from harness.pipeline import contamination
from harness.pipeline.check import check
from harness.pipeline.items import deciding, of_name


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


TASK = """task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
output_type: multiple_choice
test_split: test
doc_to_text: "Q: {{{{question}}}}\\nA:"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: gold
metric_list: [{{metric: acc, aggregation: mean, higher_is_better: true}}]
"""


def test_documents_without_ids_and_of_others_tasks_are_asked_of_lm_eval(desk, monkeypatch):
    """Ours without ids, and a folder's that is no evalset: both excluded by the ids that lm-eval's results have."""
    monkeypatch.setenv("HF_DATASETS_CACHE", str(desk.root / "datasets"))
    text = "how many legs has a {}-footed beast of the {} field in the summer of that year"
    ours, theirs = (
        [{"question": text.format(n, where), "choices": ["0", str(n)], "gold": 1} for n in range(20)]
        for where in ("green", "brown")
    )
    data = desk.root / "evalsets/mine/items.jsonl"
    desk.evalset(
        "mine", ours, {"mine.yaml": TASK.format(name="mine", data=data)}, kind="lm_eval", tasks=["mine"], metrics=None
    )
    desk.write("hub/theirs.jsonl", theirs)
    desk.write("hub/theirs.yaml", TASK.format(name="theirs", data=desk.root / "hub/theirs.jsonl"))
    leaked = [{"prompt": text.format(7, where), "completion": "7"} for where in ("green", "brown")]
    desk.write("train.jsonl", [*leaked, {"prompt": "x", "completion": "y"}])
    desk.spec(evaluate__lm_eval={"tasks": ["mine", "hub"], "dev_share": 0.5})
    context = desk.resolve()
    excluded = contamination.excluded(context)
    assert set(excluded) == {"lm_eval/mine", "lm_eval/theirs"}
    for name, ids in excluded.items():
        (item_id,) = ids
        assert re.fullmatch(rf"{name.removeprefix('lm_eval/')}/7-[0-9a-f]{{8}}", item_id)
    name, items = deciding(context, "lm_eval/theirs/acc")
    assert name == "lm_eval/theirs"
    assert 0 < len(items) < 20, "the others are dev by their hash"
    assert {one.item.golds for one in of_name(context, name)} == {(str(n),) for n in range(20)}


def test_documents_that_cannot_be_had_are_said_in_check_and_report(desk, monkeypatch):
    monkeypatch.setenv("HF_DATASETS_CACHE", str(desk.root / "datasets"))
    desk.write("hub/gone.yaml", TASK.format(name="gone", data=desk.root / "nothing.jsonl"))
    desk.spec(evaluate__lm_eval={"tasks": ["hub"]})
    (said,) = [one for one in found(desk, "contamination") if one.level == "warning"]
    assert said.text.startswith(
        "the documents of lm_eval/hub were not compared with training data: "
        "evaluate.lm_eval: task 'gone' cannot be loaded"
    )
    assert contamination.notes(desk.resolve()) == [said.text]


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
