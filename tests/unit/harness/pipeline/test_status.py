"""`status` and `ls`: what the lab holds, read live; damage is named, not shown as something else."""

from __future__ import annotations

import json

import pytest


def asked(desk, command: str):
    done = desk.ratchet(command, "--format", "json")
    assert done.code == 0, done.err
    return json.loads(done.out)


def planned(desk):
    context = desk.resolve()
    context.plan.write(desk.lab.plans / context.plan.plan_id / "plan.json")
    return context.plan


def test_an_empty_lab(desk):
    assert asked(desk, "status") == {"lab": str(desk.lab.root), "plans": [], "engines": [], "campaigns": []}
    assert asked(desk, "ls")["runs"] == []
    assert "nothing yet. Start with: ratchet run" in desk.ratchet("status").out
    assert desk.files() == set(), "looking writes nothing"


@pytest.mark.parametrize(
    ("metrics", "state"),
    [
        (None, {"state": "missing"}),
        ("", {"state": "missing"}),
        ('{"step": 1, "to', {"state": "missing"}),
        ('{"step": 1, "total": 9, "loss": 2.5}\n', {"state": "started", "step": 1, "total": 9, "loss": 2.5}),
        ('{"step": 1, "total": 9}\n{"step": 2, "total": 9}\n', {"state": "started", "step": 2, "total": 9}),
        ('{"step": 1, "total": 9}\n{"step": 2, "tot', {"state": "started", "step": 1, "total": 9}),
        ('{"step": 1, "total": 9}\n{"step": 2, "total": 9}', {"state": "started", "step": 1, "total": 9}),
    ],
)
def test_a_run_is_as_far_as_its_last_whole_line(desk, metrics, state):
    (job,) = planned(desk).runs
    if metrics is not None:
        desk.write(f"lab/runs/{job.run_id}/metrics.jsonl", metrics)
    (plan,) = asked(desk, "status")["plans"]
    assert plan["runs"] == [{"run_id": job.run_id, "label": "sft", **state}]
    assert (plan["verdict"], plan["reported"]) == (None, False)


def test_finished_runs_and_verdicts(desk):
    planned(desk)
    desk.evaluated()
    assert desk.ratchet("report", "spec.yaml").code == 0
    (plan,) = asked(desk, "status")["plans"]
    assert (plan["verdict"], plan["reported"], plan["runs"][0]["state"]) == ("SHIP", True, "finished")
    run_id = plan["runs"][0]["run_id"]
    desk.ratchet("promote", run_id, "--as", "desk@prod")
    held = asked(desk, "ls")
    assert held["evals"] == 4, "base and candidate, each asked twice"
    assert [run["run_id"] for run in held["runs"]] == [run_id]
    (version,) = held["versions"]
    assert (version["version"], version["aliases"], version["verdict"]) == ("desk@v1", ["prod"], "SHIP")
    for command in ("status", "ls"):
        assert run_id in desk.ratchet(command).out


@pytest.mark.parametrize("command", ["status", "ls"])
@pytest.mark.parametrize("content", ["", "{", "[]", '{"run_id": 5}'])
def test_a_damaged_record_is_named(desk, command, content):
    plan = planned(desk)
    record = desk.trained(plan.runs[0])
    path = f"plans/{plan.plan_id}/plan.json" if command == "status" else f"runs/{record.run_id}/adapter.json"
    desk.write(f"lab/{path}", content)
    assert str(desk.lab.root / path) in desk.ratchet(command).error


def test_a_damaged_report_is_named(desk):
    plan = planned(desk)
    desk.write(f"lab/reports/{plan.plan_id}.json", "{")
    assert f"reports/{plan.plan_id}.json is damaged" in desk.ratchet("status").error


def test_labels_cannot_paint_the_screen(desk):
    """A label comes from the spec: here it holds markup and the code that clears the terminal."""
    desk.spec(grid={"train.lr_scheduler_type": ["[red]x\x1b[2J"]})
    (job,) = planned(desk).runs
    desk.trained(job)
    for command in ("status", "ls"):
        shown = desk.ratchet(command).out
        assert r"[red]x\x1b[2J" in shown
        assert "\x1b[2J" not in shown
