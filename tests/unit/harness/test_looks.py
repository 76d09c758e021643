"""The register of looks: counted once per question and evidence, on disk before anything is shown."""

from __future__ import annotations

import json

from harness import looks


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


def test_a_changed_evalset_starts_anew(desk):
    desk.evaluated(right=right)
    report(desk)
    desk.evalset("mini", version=2)
    desk.evaluated(right=right)
    assert report(desk)["look"] == 1


def test_a_look_that_cannot_be_written_shows_nothing(desk, monkeypatch):
    desk.evaluated(right=right)
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "registry.look")
    failed = desk.ratchet("report", "spec.yaml")
    assert "the disk is full" in failed.error
    assert failed.out == ""
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert looks.read(desk.lab, "mini", desk.resolve().evalsets[0].sha256).looks == []
    assert report(desk)["look"] == 1
