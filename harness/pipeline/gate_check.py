"""What can be said of a gate before anything is trained: what it measures, what it could notice, what it can decide."""

from __future__ import annotations

from harness.core.errors import InputError
from harness.core.records import PlanRecord
from harness.gate import metrics_of
from harness.pipeline.context import Context
from harness.pipeline.findings import Finding
from harness.pipeline.power import POOREST_POWER, GatePower, RowPower, gate_power, measured
from harness.pipeline.subjects import GENERAL
from harness.spec import Gate
from harness.stats import figures


def gate_findings(context: Context) -> list[Finding]:
    """Everything about the gate, or that there is none."""
    gate = context.spec.gate
    if gate is None:
        return [Finding("warning", "gate", "none: the report will compare but give no verdict", "add a gate")]
    found = [*_forgetting(gate), *_limit(context, gate), *_comparators(context, gate), *_changed(context)]
    for metric in metrics_of(gate):
        try:
            measured(context, metric)
        except InputError as error:
            found.append(Finding("error", "gate", error.problem, error.fix))
    if not any(finding.level == "error" for finding in found):
        found += _power(gate, gate_power(context, gate))
    return found


def _forgetting(gate: Gate) -> list[Finding]:
    """Whether anything would notice what the base forgets."""
    rails = [rail.metric for rail in gate.guardrails if rail.metric.startswith((f"{GENERAL}/", "lm_eval/"))]
    if rails:
        return [Finding("ok", "forgetting", f"guarded by {', '.join(rails)}")]
    text = "no guardrail would notice what fine-tuning makes the base forget"
    return [Finding("warning", "forgetting", text, f"add one on an lm-eval task, or on the shipped evalset {GENERAL}")]


def _limit(context: Context, gate: Gate) -> list[Finding]:
    settings = context.spec.evaluate.lm_eval
    if not settings or settings.limit is None or not any(name.startswith("lm_eval/") for name in metrics_of(gate)):
        return []
    text = f"evaluate.lm_eval.limit {settings.limit} cuts the documents that the gate decides on"
    return [Finding("error", "gate", text, "remove limit, or take the lm_eval rows out of the gate")]


def _comparators(context: Context, gate: Gate) -> list[Finding]:
    known = ["incumbent", "best_baseline", "base", *(subject.label for subject in context.baseline_subjects())]
    named = {*gate.primary.better_than, *(name for guardrail in gate.guardrails for name in guardrail.against)}
    return [
        Finding("error", "gate", f"comparator {name!r} is not in this spec", f"use one of {', '.join(known)}")
        for name in sorted(named - set(known))
    ]


def _changed(context: Context) -> list[Finding]:
    """The same runs were planned with another gate: a new plan, said so that nobody moves a line unseen."""
    other = earlier_gate(context)
    if other is None:
        return []
    text = f"differs from that of plan {other.plan_id} ({other.created}), which has the same runs"
    return [Finding("warning", "gate", text, "this is a new plan; its verdict is a further look at release")]


def earlier_gate(context: Context) -> PlanRecord | None:
    """The newest plan made before this one with its name and runs, but another gate."""
    plans = [PlanRecord.read(path) for path in sorted(context.lab.plans.glob("*/plan.json"))]
    mine = next((plan for plan in plans if plan.plan_id == context.plan.plan_id), context.plan)
    runs = {job.run_id for job in mine.runs}
    others = [
        plan
        for plan in plans
        if runs
        and (plan.name, {job.run_id for job in plan.runs}) == (mine.name, runs)
        and plan.gate != mine.gate
        and plan.created < mine.created
    ]
    return max(others, key=lambda plan: plan.created, default=None)


def _power(gate: Gate, power: GatePower) -> list[Finding]:
    if power.alpha is None:
        text = f"the release split of {gate.primary.metric.split('/')[0]} was decided on {power.look - 1} times"
        fix = "its error budget is spent: put new release items in place of those that were looked at"
        return [_overruled(gate, Finding("error", "looks", text, fix))]
    found = [_row(gate, row) for row in power.rows]
    found += [
        Finding("warning", "power", f"{metric}: not known before its documents or first scores are there")
        for metric in dict.fromkeys(power.unknown)
    ]
    if power.rows:
        planned = gate.primary.planned_gain
        what = f"a true gain of {planned:g}" if planned is not None else "the smallest gain that the primary shows"
        text = f"{what}, with nothing lost, ships in at least {power.at_least:.0%} of cases"
        look = f"look {power.look} at this release split, one-sided {power.alpha:.2%}"
        if power.at_least < POOREST_POWER:
            found.append(Finding("warning", "whole gate", f"{text} ({look})", "more release items, or wider margins"))
        else:
            found.append(Finding("ok", "whole gate", f"{text} ({look})"))
    return found


def _row(gate: Gate, row: RowPower) -> Finding:
    on = f"{row.items} release items" + (f" in {row.clusters} clusters" if row.clusters != row.items else "")
    if row.visible is None:
        text = f"{row.role} {row.metric}: {on} cannot show any difference"
    else:
        text = f"{row.role} {row.metric}: {on} show a difference of {figures(row.visible)[0]} {row.unit} ({row.spread})"
    if row.decided == "yes":
        return Finding("ok", "power", text)
    if row.role == "guardrail" and row.visible is not None:
        text += f", but max_loss is {-row.line:g}"
    fix = "more release items, a wider margin, or gate.overrule: WHY for an advisory verdict"
    if row.decided == "assumed":
        return Finding("warning", "power", text, f"ships in {row.power:.0%} of cases if that holds; {fix}")
    why = f"cannot be decided: it would ship in {row.power:.0%} of cases (less than {POOREST_POWER:.0%})"
    return _overruled(gate, Finding("error", "power", f"{text}; {why}", fix))


def _overruled(gate: Gate, finding: Finding) -> Finding:
    """An error that gate.overrule turned into a warning: the verdict is then called advisory."""
    if not gate.overrule:
        return finding
    return Finding("warning", finding.topic, finding.text, f"overruled: {gate.overrule}; the verdict is advisory")
