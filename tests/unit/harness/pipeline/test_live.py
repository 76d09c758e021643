"""How far a running plan is: from what its runs log and its evaluations' journals hold."""

from __future__ import annotations

import json
import os

import pytest

from harness.core.errors import InputError, LabError
from harness.core.journal import Journal
from harness.core.records import PlannedEvals
from harness.pipeline.live import plan_now

NOW = 1_800_000_000.0


def planned(desk):
    """A grid of two runs, nothing of it done."""
    desk.spec(grid={"train.seed": [0, 1]})
    plan = desk.resolve().plan
    plan.write(desk.lab.plans / plan.plan_id / "plan.json")
    return plan


def log(desk, job, steps, total=100, each_s=2.0, quiet_s=1.0, loss=lambda step: 3.0 / step):
    """`steps` logged at one every `each_s`, the last one `quiet_s` ago."""
    rows = [{"step": step, "total": total, "loss": loss(step), "seconds": each_s * step} for step in steps]
    path = desk.write(f"lab/runs/{job.run_id}/metrics.jsonl", rows)
    os.utime(path, (NOW - quiet_s, NOW - quiet_s))


def look(desk, plan):
    return plan_now(desk.lab, plan.plan_id, clock=lambda: NOW)


def test_a_plan_that_nobody_began(desk):
    found = look(desk, planned(desk))
    assert [run.state for run in found.runs] == ["missing", "missing"]
    assert (found.evals, found.curve, found.reported, found.over) == (None, None, False, False)


def test_a_run_is_as_far_as_it_logged_and_its_pace_is_that_of_late(desk):
    """Step 40 of 100 at 2 s a step of late: 120 s are left, whatever the first steps took."""
    plan = planned(desk)
    log(desk, plan.runs[0], range(1, 41))
    run, other = look(desk, plan).runs
    assert (run.state, run.step, run.total, run.loss) == ("started", 40, 100, 3.0 / 40)
    assert (run.seconds_left, run.quiet_s, other.state) == (120.0, None, "missing")


@pytest.mark.parametrize(
    ("steps", "quiet_s", "told", "quiet"),
    [
        (range(1, 3), 1.0, None, None),  # two steps are no pace
        (range(1, 41), 59.0, 120.0, None),
        (range(1, 41), 61.0, None, 61.0),  # ten steps take 20 s, and a minute is over
        ([1, 1, 1], 1.0, None, None),
    ],
)
def test_time_left_is_told_only_where_it_is_known(desk, steps, quiet_s, told, quiet):
    plan = planned(desk)
    log(desk, plan.runs[0], steps, quiet_s=quiet_s)
    run = look(desk, plan).runs[0]
    assert (run.seconds_left, run.quiet_s) == (told, quiet)


def test_a_slow_run_may_be_silent_for_ten_of_its_steps(desk):
    plan = planned(desk)
    log(desk, plan.runs[0], range(1, 5), each_s=30.0, quiet_s=299.0)
    assert look(desk, plan).runs[0].seconds_left == 96 * 30.0
    log(desk, plan.runs[0], range(1, 5), each_s=30.0, quiet_s=301.0)
    assert look(desk, plan).runs[0].quiet_s == 301.0


def test_the_curve_is_that_of_the_run_that_logged_last(desk):
    plan = planned(desk)
    log(desk, plan.runs[0], range(1, 10), quiet_s=50.0)
    log(desk, plan.runs[1], range(1, 4), quiet_s=1.0, loss=lambda step: None if step == 2 else 1.0)
    curve = look(desk, plan).curve
    assert (curve.run_id, curve.steps, curve.values) == (plan.runs[1].run_id, [1, 3], [1.0, 1.0])


def test_evaluations_are_counted_from_their_journals(desk):
    """`ratchet run` puts down what it evaluates; an item that a crash had asked for twice counts once."""
    plan = planned(desk)
    desk.evaluated()
    assert desk.ratchet("run", "spec.yaml").code in (0, 10, 11, 12)
    found = look(desk, plan)
    assert found.over
    assert found.verdict is not None
    assert {run.loss for run in found.runs} == {1.0}
    assert [one.state for one in found.evals] == ["finished"] * 5, "the base and two runs; the base and one again"
    assert {(one.done, one.planned.items) for one in found.evals} == {(50, 50)}

    told = desk.lab.planned_evals(plan.plan_id)
    stamp = told.stat().st_mtime_ns
    assert desk.ratchet("run", "spec.yaml").code in (0, 10, 11, 12)
    assert told.stat().st_mtime_ns == stamp, "what stands there already is not written again"

    one = found.evals[0].planned
    desk.lab.eval_record(one.eval_id).unlink()
    with Journal(desk.lab.evals / one.eval_id, "items") as journal:
        journal.append({"item_id": "i0"})
    again = look(desk, plan).evals[0]
    assert (again.state, again.done) == ("started", 50)
    assert not look(desk, plan).over


def test_a_full_disk_leaves_no_half_a_list(desk, monkeypatch):
    plan = planned(desk)
    desk.evaluated()
    monkeypatch.setenv("RATCHET_FULL_DISK_AT", "plan.evals")
    assert "the disk is full" in desk.ratchet("run", "spec.yaml").err
    assert look(desk, plan).evals is None
    assert list(desk.lab.plans.rglob("*.tmp")) == []
    monkeypatch.delenv("RATCHET_FULL_DISK_AT")
    assert desk.ratchet("run", "spec.yaml").code in (0, 10, 11, 12)
    assert len(PlannedEvals.read(desk.lab.planned_evals(plan.plan_id)).evals) == 5


def test_what_is_wrong_is_named(desk):
    plan = planned(desk)
    with pytest.raises(InputError, match="there is no plan p-none"):
        plan_now(desk.lab, "p-none")
    with pytest.raises(InputError, match="not a valid name"):
        plan_now(desk.lab, "../plans")
    desk.write(f"lab/runs/{plan.runs[0].run_id}/metrics.jsonl", json.dumps({"step": 1}) + "\n{\n")
    with pytest.raises(LabError, match=r"metrics\.jsonl is damaged"):
        look(desk, plan)
