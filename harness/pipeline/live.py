"""How far a plan is while it runs: its runs step by step, its evaluations item by item. Read live, from journals.

Knows no process: whether somebody works on a run shows in the steps that it logs, and in nothing else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from harness.core.errors import InputError
from harness.core.journal import read_all
from harness.core.paths import Lab, check_name, read_json
from harness.core.records import AdapterRecord, PlannedEval, PlannedEvals, PlanRecord, RunJob
from harness.pipeline.status import logged
from harness.report.extras import Curve

State = Literal["missing", "started", "finished"]

PACE_STEPS = 20  # logged steps that the pace is that of: the first ones are slower
LEAST_STEPS = 3  # logged before the pace is told
QUIET_S, QUIET_STEPS = 60.0, 10.0  # without a step for longer than both: perhaps nobody trains it any more


@dataclass(frozen=True)
class RunNow:
    """One run. `seconds_left` of its training at its pace of late, or None where that is not known; `quiet_s` since its
    last step where that is too long ago for a training that goes on."""

    run_id: str
    label: str
    state: State
    step: int | None = None
    total: int | None = None
    loss: float | None = None
    seconds_left: float | None = None
    quiet_s: float | None = None


@dataclass(frozen=True)
class EvalNow:
    """One evaluation: `done` of its `items`, where the journal tells."""

    planned: PlannedEval
    state: State
    done: int | None


@dataclass(frozen=True)
class PlanNow:
    """A plan as it is now. `evals` is None before they are planned, which is when its runs are trained; `curve` is the
    loss of the run that logged last, if one did."""

    plan_id: str
    name: str
    runs: list[RunNow]
    evals: list[EvalNow] | None
    curve: Curve | None
    reported: bool
    verdict: str | None

    @property
    def over(self) -> bool:
        """Nothing of it will change by itself: every run trained, all evaluated and reported."""
        parts: list[RunNow | EvalNow] = [*self.runs, *(self.evals or [])]
        return self.reported and all(one.state == "finished" for one in parts)


def plan_now(lab: Lab, plan_id: str, clock: Callable[[], float] = time.time) -> PlanNow:
    """One plan. InputError for one that is not there, LabError for a damaged record."""
    path = lab.plans / check_name(plan_id, "plan") / "plan.json"
    if not path.is_file():
        raise InputError(f"there is no plan {plan_id}", "see `ratchet ls`")
    plan, report = PlanRecord.read(path), lab.reports / f"{plan_id}.json"
    return PlanNow(
        plan_id=plan_id,
        name=plan.name,
        runs=[_run_now(lab, job, clock()) for job in plan.runs],
        evals=_evals_now(lab, plan_id),
        curve=_newest_curve(lab, plan.runs),
        reported=report.is_file(),
        verdict=read_json(report).get("verdict") if report.is_file() else None,
    )


# --- runs -------------------------------------------------------------------------------------------------------


def _metrics(lab: Lab, run_id: str) -> Path:
    return lab.runs / run_id / "metrics.jsonl"


def _run_now(lab: Lab, job: RunJob, now: float) -> RunNow:
    record = lab.adapter_record(job.run_id)
    if record.is_file():
        told = AdapterRecord.read(record).summary
        return RunNow(job.run_id, job.label, "finished", told.steps, told.steps, told.final_loss)
    path = _metrics(lab, job.run_id)
    steps = logged(path, PACE_STEPS)
    if not steps:
        return RunNow(job.run_id, job.label, "missing")
    last, pace = steps[-1], _seconds_per_step(steps)
    quiet = now - path.stat().st_mtime
    where = (last.get("step"), last.get("total"), last.get("loss"))
    if quiet > max(QUIET_S, QUIET_STEPS * (pace or 0.0)):
        return RunNow(job.run_id, job.label, "started", *where, quiet_s=quiet)
    left = pace * (last["total"] - last["step"]) if pace is not None else None
    return RunNow(job.run_id, job.label, "started", *where, seconds_left=left)


def _seconds_per_step(steps: list[dict[str, Any]]) -> float | None:
    """Of the steps that are given; None where they are too few, or do not say."""
    if len(steps) < LEAST_STEPS or not all({"step", "total", "seconds"} <= one.keys() for one in (steps[0], steps[-1])):
        return None
    first, last = steps[0], steps[-1]
    passed = last["step"] - first["step"]
    return float((last["seconds"] - first["seconds"]) / passed) if passed > 0 else None


def _newest_curve(lab: Lab, jobs: list[RunJob]) -> Curve | None:
    there = [job for job in jobs if _metrics(lab, job.run_id).is_file()]
    if not there:
        return None
    newest = max(there, key=lambda job: _metrics(lab, job.run_id).stat().st_mtime)
    steps = [one for one in logged(_metrics(lab, newest.run_id)) if one.get("loss") is not None]
    return Curve(
        run_id=newest.run_id,
        label=newest.label,
        name="loss",
        steps=[one["step"] for one in steps],
        values=[one["loss"] for one in steps],
    )


# --- evaluations ------------------------------------------------------------------------------------------------


def _evals_now(lab: Lab, plan_id: str) -> list[EvalNow] | None:
    path = lab.planned_evals(plan_id)
    return [_eval_now(lab, one) for one in PlannedEvals.read(path).evals] if path.is_file() else None


def _eval_now(lab: Lab, one: PlannedEval) -> EvalNow:
    if lab.eval_record(one.eval_id).is_file():
        return EvalNow(one, "finished", one.items)
    if one.items is None:
        return EvalNow(one, "missing", None)
    done = len({event.get("item_id") for event in read_all(lab.evals / one.eval_id, "items")})
    return EvalNow(one, "started" if done else "missing", done)
