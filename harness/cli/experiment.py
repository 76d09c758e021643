"""Specs: check, plan, run, report."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli.common import (
    DEFAULT_LAB,
    Format,
    FormatOption,
    LabOption,
    ReportFormat,
    ReportFormatOption,
    SpecArgument,
    app,
    print_json,
    progress_for,
)
from harness.core.errors import TrainError
from harness.core.paths import Lab


@app.command()
def check(spec: SpecArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Read a spec and everything it names; say what is wrong before any compute is spent."""
    from harness.pipeline import check as checking

    checked = checking.check(Lab(lab), spec)
    if format is Format.json:
        print_json({"plan_id": checked.context.plan.plan_id, "findings": [vars(f) for f in checked.findings]})
    else:
        from harness.pipeline import show

        show.findings(checked)
    if checked.errors:
        raise typer.Exit(1)


@app.command()
def plan(spec: SpecArgument, lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Expand the grid into runs with their ids, say which are done, and what the gate can show. Trains nothing."""
    from dataclasses import asdict

    from harness.pipeline import show
    from harness.pipeline.context import resolve
    from harness.pipeline.gate_check import gate_findings
    from harness.pipeline.power import gate_power

    context = resolve(Lab(lab), spec)
    if format is Format.json:
        power = asdict(gate_power(context, context.spec.gate)) if context.spec.gate else None
        print_json({**context.plan.model_dump(mode="json"), "power": power})
    else:
        show.plan(context, gate_findings(context))


@app.command()
def run(
    spec: SpecArgument,
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """Train, serve, evaluate, store and report what a spec asks for. Running it again does only what is missing."""
    from harness.pipeline import run as running

    result = running.run(Lab(lab), spec, progress_for(format.value))
    _finish(result, format.value, verdict_exit=False)
    if result.failures:
        run_id, why = next(iter(result.failures.items()))
        raise TrainError(f"{len(result.failures)} of the plan's runs failed ({run_id}: {why})", "run it again to retry")


@app.command()
def report(
    plan_or_spec: Annotated[str, typer.Argument(help="A plan id, or a spec; the latest plan when left out.")] = "",
    lab: LabOption = DEFAULT_LAB,
    format: ReportFormatOption = ReportFormat.text,
) -> None:
    """Compare every candidate with its baselines and judge it. Exits 0 SHIP, 10 BLOCK, 11 INCONCLUSIVE, 12 INVALID."""
    from harness.pipeline import run as running

    _finish(running.report(Lab(lab), plan_or_spec), format.value, verdict_exit=True)


@app.command()
def status(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """What is finished, what is missing, and which engines run."""
    from harness.pipeline import show, status

    found = status.status(Lab(lab))
    print_json(found) if format is Format.json else show.status(found)


@app.command()
def ls(lab: LabOption = DEFAULT_LAB, format: FormatOption = Format.text) -> None:
    """Plans, runs, versions, aliases and campaigns of the lab."""
    from harness.pipeline import show, status

    found = status.inventory(Lab(lab))
    print_json(found) if format is Format.json else show.inventory(found)


@app.command("show")
def show_one(
    name: Annotated[str, typer.Argument(help="p-…, r-…, e-…, NAME@vN or NAME@ALIAS, as `ratchet ls` lists them.")],
    lab: LabOption = DEFAULT_LAB,
    format: FormatOption = Format.text,
) -> None:
    """What the lab knows of one plan, run, evaluation or version."""
    from harness.pipeline import lookup, show

    found = lookup.look_up(Lab(lab), name)
    print_json(found) if format is Format.json else show.one(found)


def _finish(result: Any, format: str, verdict_exit: bool) -> None:
    from harness.pipeline import show

    code = show.report(result, format)
    if verdict_exit and code:
        raise typer.Exit(code)
