"""The register of looks: counted once per question and evidence, on disk before anything is shown."""

from __future__ import annotations

import json
from collections import Counter
from fractions import Fraction

import numpy as np

from harness import looks
from harness.core.fingerprint import sha256_of
from harness.pipeline.evaluation import wanted
from harness.pipeline.failures import candidates
from harness.pipeline.items import deciding


def report(desk, spec="spec.yaml"):
    return json.loads(desk.ratchet("report", spec, "--format", "json").out)


def right(subject, number):
    return subject.kind == "adapter" or number % 2 == 0


def test_the_same_report_is_the_same_look(desk):
    desk.evaluated(right=right)
    assert [report(desk)["look"] for _ in range(3)] == [1, 1, 1]
    (path,) = (desk.lab.registry / "looks").glob("*.json")
    assert [look["seq"] for look in json.loads(path.read_text())["looks"]] == [1]


def test_a_promotion_asks_nothing_new(desk):
    desk.evaluated(right=right)
    run_id = report(desk)["candidates"][0]["run_id"]
    desk.ratchet("promote", run_id, "--as", "desk@prod")
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1


def test_a_moved_line_is_a_further_look_and_costs_more(desk):
    desk.evaluated(right=right)
    first = report(desk)
    for number in range(2, 7):
        desk.spec(gate__primary__min_gain=number / 1000)
        desk.evaluated(right=right)
        further = report(desk)
        assert further["look"] == number
        if number <= 5:
            assert further["alpha"] == first["alpha"] / 2 ** (number - 1)
    assert (further["alpha"], further["verdict"]) == (None, "INCONCLUSIVE")
    assert "new release items" in further["reason"]
    assert "was decided on 6 times" in desk.ratchet("check", "spec.yaml").out


def test_a_changed_gate_is_said_to_be_one(desk):
    """By the plans on record: the same runs under another gate, made before."""
    plan = desk.resolve().plan.model_copy(update={"created": "2026-01-01T00:00:00+00:00"})
    plan.write(desk.lab.plans / plan.plan_id / "plan.json")
    desk.spec(gate__primary__min_gain=0.5)
    desk.evaluated(right=right)
    assert f"the gate differs from that of plan {plan.plan_id}" in " ".join(report(desk)["notes"])
    assert "differs from that of plan" in desk.ratchet("check", "spec.yaml").out


def test_dropping_a_baseline_is_another_question(desk):
    desk.spec(baselines=["zero_shot", {"few_shot": 2}])
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1
    desk.spec(baselines=["zero_shot"])
    desk.evaluated(right=right)
    assert report(desk)["look"] == 2


def rows(*release, dev=range(10)):
    """Items by number; those of `desk.evalset` are dev 0 to 9 and release 10 to 49."""
    listed = [(number, "dev") for number in dev] + [(number, "release") for number in release]
    return [{"id": f"i{n}", "split": split, "prompt": f"item {n}", "gold": [f"answer {n}"]} for n, split in listed]


def asked_again(desk, number):
    """The look number of a further question: the line of the primary is moved."""
    desk.spec(gate__primary__min_gain=number / 1000)
    desk.evaluated(right=right)
    return report(desk)["look"]


def test_other_dev_items_versions_and_metrics_open_no_budget(desk):
    """The same question of the same release items is the same look; another one is a further look."""
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1
    new = {"id": "new", "split": "dev", "prompt": "x", "gold": ["y"]}
    desk.evalset("mini", [*rows(dev=range(9)), new, *rows(*range(10, 50), dev=())])
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1
    assert asked_again(desk, 2) == 2
    metrics = {"exact": {"scorer": "exact"}, "near": {"scorer": "chrf"}}
    desk.evalset("mini", version=2, metrics=metrics)
    assert asked_again(desk, 3) == 3


def test_a_choice_of_another_candidate_is_a_further_look(desk):
    """Other dev items choose another of two adapters: the release answers are the same, what is tested is not."""
    desk.spec(grid={"train.adapter.r": [8, 16]})

    def one_is_better_on(numbers):
        def answers(subject, number):
            first = subject.label == "r=8"
            return subject.kind == "adapter" and (number in numbers if first else number not in numbers)

        return answers

    desk.evaluated(right=one_is_better_on(range(2)))
    assert report(desk)["look"] == 1
    chosen = [one["candidate"] for one in report(desk)["candidates"] if one["chosen"]]
    desk.evalset("mini", rows(*range(10, 50), dev=range(3)))
    desk.evaluated(right=one_is_better_on(range(2)))
    assert [one["candidate"] for one in report(desk)["candidates"] if one["chosen"]] != chosen
    assert report(desk)["look"] == 2


def test_items_that_were_looked_at_are_so_in_another_evalset_under_another_id(desk):
    desk.evaluated(right=right)
    report(desk)
    renamed = [
        row | {"id": f"other-{row['id']}", "prompt": row["prompt"].upper() + " "} for row in rows(*range(10, 50))
    ]
    desk.evalset("copy", renamed)
    desk.spec(evaluate__evalsets=["copy"], gate__primary__metric="copy/exact")
    desk.evaluated(right=right)
    assert report(desk)["look"] == 2


def test_one_old_item_among_new_ones_is_a_further_look_and_wholly_new_ones_are_not(desk):
    desk.evaluated(right=right)
    report(desk)
    desk.evalset("mini", rows(49, *range(100, 139)))
    desk.evaluated(right=right)
    assert report(desk)["look"] == 2
    desk.evalset("mini", rows(*range(100, 139), 200))  # 39 of them took part in the second look only
    desk.evaluated(right=right)
    assert report(desk)["look"] == 2
    desk.evalset("mini", rows(*range(300, 340)))
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1


def test_the_same_prompts_with_other_right_answers_measure_something_else(desk):
    desk.evaluated(right=right)
    report(desk)
    desk.evalset("style", [row | {"gold": ["another"]} for row in rows(*range(10, 50))])
    desk.spec(evaluate__evalsets=["style"], gate__primary__metric="style/exact")
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1


def test_check_knows_what_the_next_look_could_decide(desk):
    """Without a single change among 40 items Tango's bound is -0.088 at the first look and -0.112 at the second."""
    desk.spec(gate__guardrails=[{"metric": "mini/exact", "max_loss": 0.1}])
    assert "cannot be decided" not in desk.ratchet("check", "spec.yaml").out
    looks.take(desk.lab, "mini", deciding(desk.resolve(), "mini/exact")[1].values(), ("k", "k"), "p", "n")
    assert "max_loss is 0.1; cannot be decided" in desk.ratchet("check", "spec.yaml").out


def look(items, evalset="aac", key="k"):
    return looks.Look(seq=1, key=key, plan_id="p", name="n", at="t", evalset=evalset, items=items)


def test_numbers_by_hand():
    """`a` took part in two looks, `b` in one, `c` in one, `d` in none; the largest counts."""
    so_far = [look(["a", "b"]), look(["a", "c"])]
    found = [looks.number(so_far, "aac", items) for items in ("d", "db", "bc", "abcd")]
    assert found == [1, 2, 2, 3]
    assert looks.number(so_far, "aac", []) == 3, "nobody knows the items: all looks at the evalset"
    assert looks.number(so_far, "other", []) == 1
    unknown = [*so_far, look([])]
    assert [looks.number(unknown, name, ["d"]) for name in ("aac", "other")] == [2, 1]


def test_items_below_every_number_keep_the_budget_of_each_item():
    """Any sequence of looks: the levels of those that an item takes part in add up to less than 5 %."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        so_far: list[looks.Look] = []
        paid = Counter[str]()
        for place in range(40):
            items = [str(item) for item in rng.choice(60, size=rng.integers(1, 30), replace=False)]
            number = looks.number(so_far, "aac", items)
            so_far.append(look(items, key=str(place)))
            for item in items:
                paid[item] += Fraction(1, 20) / 2**number
        assert max(paid.values()) < Fraction(1, 20)


OLD = {"seq": 1, "key": "old", "plan_id": "p-1", "name": "desk", "at": "2026-11-20T10:00:00+00:00"}


def old_register(desk, evalset, entries):
    content = {"evalset": evalset, "evalset_sha256": "0" * 64, "looks": entries}
    desk.write(f"lab/registry/looks/{'0' * 64}.json", json.dumps(content))


def test_an_old_register_still_counts_for_its_evalset_and_is_not_touched(desk):
    old_register(desk, "mini", [OLD, OLD | {"seq": 2, "key": "older"}])
    desk.evaluated(right=right)
    assert report(desk)["look"] == 3
    assert [one.items == [] for one in looks.read(desk.lab)] == [True, True, False]
    assert report(desk)["look"] == 3


def test_a_plan_of_an_old_register_is_reported_again_at_its_own_look(desk, monkeypatch):
    """The old key: alias, gate, and the ids of the evaluations."""
    context = desk.evaluated(right=right)
    subjects = [*context.baseline_subjects(), *candidates(context)]
    evidence = sorted(one.eval_id for one in wanted(context, subjects))
    key = sha256_of(["desk@prod", context.spec.gate.model_dump(mode="json"), evidence])
    old_register(desk, "mini", [OLD | {"key": "another"}, OLD | {"seq": 2, "key": key}])
    assert report(desk)["look"] == 2
    assert len(looks.read(desk.lab)) == 2


def test_an_old_look_at_lm_eval_counts_for_the_task_of_its_plan(desk):
    """All tasks shared one register; the plan says which task its gate decided on, where it is still there."""
    old_register(desk, "lm_eval", [OLD, OLD | {"key": "gone", "plan_id": "p-2"}])
    desk.write("lab/plans/p-1/plan.json", json.dumps({"gate": {"primary": {"metric": "lm_eval/arc/acc,none"}}}))
    assert [one.evalset for one in looks.read(desk.lab)] == ["lm_eval/arc", "lm_eval"]
    found = [looks.number(looks.read(desk.lab), name, ["a"]) for name in ("lm_eval/arc", "lm_eval/piqa", "mini")]
    assert found == [3, 2, 1]


def test_each_lm_eval_task_has_its_own_looks(desk):
    for name in ("one", "two"):
        documents = [{"id": f"d{n}", "prompt": f"{name} {n}?", "choices": ["a", "b"], "gold": 0} for n in range(4)]
        desk.evalset(name, documents, {f"{name}.yaml": f"task: {name}\n"}, kind="lm_eval", tasks=[name], metrics=None)
    desk.spec(evaluate__lm_eval={"tasks": ["one", "two"]})
    context = desk.resolve()
    (one, first), (two, second) = (deciding(context, f"lm_eval/{task}/acc") for task in ("one", "two"))
    assert (one, two) == ("lm_eval/one", "lm_eval/two")
    assert list(first) == [f"one/d{n}" for n in range(4)]
    looks.take(desk.lab, one, first.values(), ("k", "k"), "p", "n")
    assert [
        looks.number(looks.read(desk.lab), name, items.values()) for name, items in ((one, first), (two, second))
    ] == [2, 1]


def test_a_look_that_cannot_be_written_shows_nothing(desk, monkeypatch):
    desk.evaluated(right=right)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "registry.look")
    failed = desk.ratchet("report", "spec.yaml")
    assert "the disk is full" in failed.error
    assert failed.out == ""
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert looks.read(desk.lab) == []
    assert report(desk)["look"] == 1
