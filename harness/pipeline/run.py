"""One turn of the ratchet: check, plan, train, serve, evaluate, store, report. Safe to repeat: does what is missing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import store
from harness.core.errors import InputError, TrainError
from harness.core.paths import Lab, read_json, write_atomic
from harness.core.records import PlannedEval, PlannedEvals, PlanRecord, Subject
from harness.gate import metrics_of
from harness.pipeline import contamination, votes
from harness.pipeline.check import check, require_clean
from harness.pipeline.context import Adapter, Context, adapter_subject, find_adapter, resolve, run_adapter
from harness.pipeline.evaluation import Wanted, evaluate_missing, wanted
from harness.pipeline.gate_check import earlier_gate
from harness.pipeline.looking import take_look
from harness.pipeline.page import gather
from harness.pipeline.subjects import named_endpoints
from harness.pipeline.training import train_missing
from harness.plan import again
from harness.progress import Progress
from harness.report import (
    PLOT_COLUMNS,
    Extras,
    Report,
    as_html,
    as_json,
    as_markdown,
    build_report,
    draw,
    gallery,
    on_trial,
)


@dataclass(frozen=True)
class Result:
    """A report with the files it was written to, the alias it decides on, and what could not be done."""

    report: Report
    files: list[Path]
    alias: str
    failures: dict[str, str]


@dataclass(frozen=True)
class Cast:
    """All subjects of a plan: what is judged, what it is judged against, and where the adapters lie."""

    candidates: list[Subject]
    incumbent: Subject | None
    everyone: list[Subject]
    adapters: dict[str, Adapter]


def run(lab: Lab, spec_path: Path, progress: Progress) -> Result:
    """Do all that is missing of a spec and report it. Raises RatchetError; what was finished before stays."""
    checked = check(lab, spec_path)
    require_clean(checked)
    context = checked.context
    for finding in checked.findings:
        if finding.level == "warning":
            progress.say("; ".join(filter(None, [f"{finding.topic}: {finding.text}", finding.fix])), style="yellow")
    progress.say(f"plan {context.plan.plan_id}: {len(context.plan.runs)} runs, {len(context.evalsets)} evalsets")
    _write_plan(context)
    failures = train_missing(lab, context.plan.runs, progress)
    cast = _cast(context, failures)
    if not cast.candidates:
        raise TrainError(
            f"no run finished: {next(iter(failures.values()), 'nothing to evaluate')}", "see the log named there"
        )
    every = wanted(context, cast.everyone)
    _write_planned(context, every)
    failures |= evaluate_missing(context, every, cast.adapters, progress)
    result = _report(context, cast, every, failures)
    progress.say(f"report: {', '.join(str(path) for path in result.files)}")
    return result


def report(lab: Lab, plan_or_spec: str) -> Result:
    """The report of a plan from what is stored now, from whatever folder it is asked for.

    InputError when its evaluations are not all there.
    """
    with at_home(lab, plan_or_spec):
        return _report_again(lab, plan_or_spec)


def _report_again(lab: Lab, plan_or_spec: str) -> Result:
    context = context_of(lab, plan_or_spec)
    spec_path = context.plan.spec_path
    unfinished = {
        job.run_id: "was not trained" for job in context.plan.runs if not lab.adapter_record(job.run_id).is_file()
    }
    cast = _cast(context, unfinished)
    if not cast.candidates:
        raise InputError(f"no run of {spec_path} is finished", f"run `ratchet run {spec_path}` first")
    every = wanted(context, cast.everyone)
    absent = [one for one in every if not lab.eval_record(one.eval_id).is_file()]
    if absent:
        raise InputError(
            f"{absent[0].subject.label} is not evaluated on {absent[0].evalset} yet ({len(absent)} missing in all)",
            f"run `ratchet run {spec_path}`",
        )
    return _report(context, cast, every, unfinished)


def context_of(lab: Lab, plan_or_spec: str) -> Context:
    """What a plan id, a spec or '' (the latest plan) stands for; InputError when it changed since that plan."""
    spec_path, plan = _named(lab, plan_or_spec)
    plan_id = plan.plan_id if plan else None
    if plan and not spec_path.is_file():
        raise InputError(
            f"plan {plan_id} was made of {Path(plan.folder) / spec_path}, which is not there",
            "run this in the folder where the spec lies now, or `ratchet run SPEC` for a new plan",
        )
    context = resolve(lab, spec_path)
    if plan_id and context.plan.plan_id != plan_id:
        raise InputError(
            f"{spec_path} (or what it names) changed since plan {plan_id}",
            f"run `ratchet run {spec_path}` for a new plan",
        )
    return context


@contextlib.contextmanager
def at_home(lab: Lab, plan_or_spec: str) -> Iterator[None]:
    """Inside, the current folder is where the plan was made, as what its spec names is relative to that.

    A spec that is given by its path stands for what is here. A home that is gone changes nothing. The current folder
    is the whole process's: not for threads.
    """
    plan = _named(lab, plan_or_spec)[1]
    home = plan.folder if plan and Path(plan.folder).is_dir() else ""
    with contextlib.chdir(home or "."):
        yield


def _named(lab: Lab, plan_or_spec: str) -> tuple[Path, PlanRecord | None]:
    """The spec behind a path, a plan id, or the latest plan; and that plan."""
    if plan_or_spec.endswith((".yaml", ".yml")):
        return Path(plan_or_spec), None
    if plan_or_spec:
        path = lab.plans / plan_or_spec / "plan.json"
        if not path.is_file():
            raise InputError(f"there is no plan {plan_or_spec} in {lab.root}", "see `ratchet ls`")
        plan = PlanRecord.read(path)
        return Path(plan.spec_path), plan
    plans = [PlanRecord.read(path) for path in lab.plans.glob("*/plan.json")]
    if not plans:
        raise InputError(f"no plan in {lab.root} yet", "run `ratchet run experiments/quickstart.yaml`")
    latest = max(plans, key=lambda plan: plan.created)
    return Path(latest.spec_path), latest


def _write_plan(context: Context) -> None:
    path = context.lab.plans / context.plan.plan_id / "plan.json"
    if not path.is_file():
        here = {"folder": str(Path.cwd())}
        context.plan.model_copy(update=here).write(path, point="plan.record")


def _write_planned(context: Context, every: list[Wanted]) -> None:
    """Put down what is to be evaluated, for whoever looks on, where that is not what stands there already."""
    items = {evalset.name: len(evalset.items) for evalset in context.evalsets}
    evals = [
        PlannedEval(
            eval_id=one.eval_id,
            subject=one.subject.label,
            run_id=one.subject.run_id,
            evalset=one.evalset,
            items=items[one.evalset] if one.kind == "business" else None,
        )
        for one in every
    ]
    plan_id = context.plan.plan_id
    planned, path = PlannedEvals(plan_id=plan_id, evals=evals), context.lab.planned_evals(plan_id)
    if not path.is_file() or read_json(path) != planned.model_dump(mode="json"):
        planned.write(path, point="plan.evals")


def _cast(context: Context, failures: dict[str, str]) -> Cast:
    finished = [run_adapter(context.lab, job) for job in context.plan.runs if job.run_id not in failures]
    named = [find_adapter(context.lab, name) for name in context.spec.subjects if isinstance(name, str)]
    candidates = _unique([*map(adapter_subject, [*finished, *named]), *named_endpoints(context.spec)])
    incumbent = adapter_subject(context.incumbent) if context.incumbent else None
    baselines = context.baseline_subjects()
    everyone = _unique([*baselines, *([incumbent] if incumbent else []), *candidates])
    if context.spec.evaluate.repeat:
        everyone += [again(subject) for subject in [context.base_subject, *candidates[:1]]]
    adapters = {adapter.run_id: adapter for adapter in [*finished, *named]}
    for baseline in context.spec.baselines:
        if baseline.adapter:
            adapter = find_adapter(context.lab, baseline.adapter)
            adapters.setdefault(adapter.run_id, adapter)
    if context.incumbent:
        adapters.setdefault(context.incumbent.run_id, context.incumbent)
    return Cast(candidates, incumbent, everyone, adapters)


def _unique(subjects: list[Subject]) -> list[Subject]:
    return list({subject.identity: subject for subject in subjects}.values())


def _report(context: Context, cast: Cast, every: list[Wanted], failures: dict[str, str]) -> Result:
    """Ingest, compare, judge, and write the report beside its plots."""
    lab = context.lab
    store.ingest(lab)
    stored = [one.eval_id for one in every if lab.eval_record(one.eval_id).is_file()]
    current = {subject.identity: subject for subject in cast.everyone}
    # Evaluations are shared between plans; each plan calls a subject by its own label.
    scores = [
        found.model_copy(update={"subject": current[found.subject.identity]})
        for found in store.subject_scores(lab, stored)
    ]
    gate = context.spec.gate
    scores = votes.marked(scores, context.evalsets)
    scores += votes.campaign_scores(lab, metrics_of(gate) if gate else [], cast.everyone)
    exclude = contamination.excluded(context)
    baselines, look = context.baseline_subjects(), 1
    if gate:
        tested = on_trial(
            context.plan, scores, gate, cast.incumbent, cast.candidates, baselines=baselines, exclude=exclude
        )
        look = take_look(context, gate, scores, tested, every, exclude)
    built = build_report(
        context.plan,
        scores,
        gate,
        incumbent=cast.incumbent,
        candidates=cast.candidates,
        baselines=baselines,
        look=look,
        advisory=gate.overrule if gate else None,
        exclude=exclude,
    )
    earlier = earlier_gate(context)
    changed = [f"the gate differs from that of plan {earlier.plan_id}, which has the same runs"] if earlier else []
    notes = [
        *built.notes,
        *changed,
        *contamination.notes(context),
        *(f"{run_id}: {why}" for run_id, why in failures.items()),
    ]
    built = built.model_copy(update={"notes": notes})
    extras = gather(lab, built, context.alias, context.incumbent.label if context.incumbent else None)
    files = _write_report(lab, built, extras)
    store.ingest(lab)
    return Result(built, files, context.alias, failures)


def _write_report(lab: Lab, built: Report, extras: Extras) -> list[Path]:
    stem = lab.reports / built.plan_id
    drawn = gallery(built, extras, PLOT_COLUMNS)
    write_atomic(stem.with_suffix(".html"), as_html(built, extras, drawn).encode())
    write_atomic(stem.with_suffix(".md"), as_markdown(built).encode())
    plots = draw(built, lab.reports, drawn)
    write_atomic(stem.with_suffix(".json"), as_json(built).encode(), point="report.record")
    return [stem.with_suffix(".html"), stem.with_suffix(".md"), *plots]
