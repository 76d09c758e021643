"""What commands print for people: tables on stdout. Decides nothing."""

from __future__ import annotations

import csv
import json
import sys
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table

from harness.core.errors import printable
from harness.gate import EXIT_CODES
from harness.pipeline.check import Checked
from harness.pipeline.context import Context
from harness.pipeline.findings import Finding
from harness.pipeline.run import Result
from harness.progress import results_console
from harness.report import as_json, print_tables
from harness.report.comment import as_comment

MARKS = {"ok": "[green]ok[/green]", "warning": "[yellow]warning[/yellow]", "error": "[red]error[/red]"}


def escape(text: str) -> str:
    """Text of others (labels, data, answers) without the markup and terminal codes it may hold."""
    return markup.escape(printable(text))


LONGEST_CELL = 28


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def findings(checked: Checked) -> None:
    console = results_console()
    table = _table(f"check: plan {checked.context.plan.plan_id}", "", "topic", "finding")
    for finding in checked.findings:
        text = escape(finding.text) + (f"; {escape(finding.fix)}" if finding.fix else "")
        table.add_row(MARKS[finding.level], escape(finding.topic), text)
    console.print(table)
    if checked.rendered:
        console.print("\n[bold]first training row, as the model sees it[/bold] (loss on the green part only)")
        console.print(
            "".join(
                f"[green]{escape(t)}[/green]" if loss else f"[dim]{escape(t)}[/dim]" for t, loss in checked.rendered
            )
        )
    errors = len(checked.errors)
    ready = f"ready: ratchet run {checked.context.plan.spec_path}"
    console.print(f"\n{f'{errors} to correct' if errors else ready}", soft_wrap=True, markup=False)


def _findings(title: str, found: list[Finding]) -> Table:
    table = _table(title, "", "topic", "finding")
    for finding in found:
        text = escape(finding.text) + (f"; {escape(finding.fix)}" if finding.fix else "")
        table.add_row(MARKS[finding.level], escape(finding.topic), text)
    return table


def plan(context: Context, gate: list[Finding]) -> None:
    table = _table(f"plan {context.plan.plan_id} of {context.spec.name}", "run", "settings", "method", "state")
    for job in context.plan.runs:
        finished = context.lab.adapter_record(job.run_id).is_file()
        table.add_row(job.run_id, escape(job.label), job.method["type"], "finished" if finished else "to train")
    console = results_console()
    console.print(table)
    names = ", ".join(f"{evalset.name}@{evalset.version}" for evalset in [*context.evalsets, *context.task_sets])
    console.print(f"evalsets: {names or 'none'}; baselines: {', '.join(s.label for s in context.baseline_subjects())}")
    console.print(f"incumbent: {context.incumbent.label if context.incumbent else f'none yet ({context.alias})'}")
    console.print(_findings("\ngate", gate))


def report(result: Result, format: str) -> int:
    """Print a report; returns the exit code of its verdict (0 where there is no gate)."""
    if format == "json":
        print(as_json(result.report))
    elif format == "md":
        print(as_comment(result.report), end="")
    else:
        console = results_console()
        print_tables(result.report, console)
        for path in result.files:
            console.print(f"[dim]{path}[/dim]", soft_wrap=True)
        _next_steps(result, console)
    return EXIT_CODES[result.report.verdict] if result.report.verdict else 0


def _next_steps(result: Result, console: Console) -> None:
    chosen = next((one for one in result.report.candidates if one.chosen and one.run_id), None)
    if chosen and chosen.verdict == "SHIP":
        alias = result.alias
        console.print(f"\nnext: ratchet promote {chosen.run_id} --as {alias}", soft_wrap=True)


def status(found: dict[str, Any]) -> None:
    console = results_console()
    if not found["plans"]:
        console.print(
            f"{found['lab']}: nothing yet. Start with: ratchet run experiments/quickstart.yaml", soft_wrap=True
        )
    for one in found["plans"]:
        verdict = one["verdict"] or ("no verdict" if one["reported"] else "not reported yet")
        table = _table(f"{one['name']} · plan {one['plan_id']} · {verdict}", "run", "settings", "state")
        for run in one["runs"]:
            step = f" (step {run['step']} of {run.get('total', '?')})" if "step" in run else ""
            table.add_row(run["run_id"], escape(run["label"]), run["state"] + step)
        console.print(table)
    for engine in found["engines"]:
        console.print(f"engine {engine['engine_id']} {engine['state']} at {engine['url']}", soft_wrap=True)
    if found["campaigns"]:
        campaigns(found["campaigns"])


def inventory(found: dict[str, Any]) -> None:
    console = results_console()
    runs = _table("runs", "run", "settings", "method", "rank", "trainable", "loss", "seconds")
    for run in found["runs"]:
        loss = "" if run["final_loss"] is None else f"{run['final_loss']:.3f}"
        figures = (str(run["rank"]), f"{run['trainable_parameters']:,}", loss, f"{run['seconds']:.0f}")
        runs.add_row(run["run_id"], escape(run["label"]), run["method"], *figures)
    console.print(runs)
    versions = _table("versions", "version", "run", "verdict", "aliases", "created")
    for version in found["versions"]:
        verdict = "forced: " + version["forced"] if version["forced"] else version["verdict"] or "-"
        aliases = ", ".join(version["aliases"])
        versions.add_row(version["version"], version["run_id"], escape(verdict), aliases, version["created"])
    console.print(versions)
    if found["campaigns"]:
        campaigns(found["campaigns"])
    console.print(f"{found['evals']} evaluations stored; ask them with: ratchet sql", soft_wrap=True)


def campaigns(found: list[dict[str, Any]]) -> None:
    if not found:
        results_console().print("no campaign yet: ratchet campaign create NAME SUBJECT SUBJECT --name … --pool …")
        return
    table = _table("campaigns", "campaign", "for", "subjects", "pairs", "votes")
    for one in found:
        subjects = escape(" / ".join(one["subjects"]))
        table.add_row(one["campaign"], one["name"], subjects, str(one["pairs"]), str(one["votes"]))
    results_console().print(table)


def rows(columns: list[str], values: list[tuple[Any, ...]], format: str) -> None:
    """A query's answer as a table, JSON objects or CSV."""
    if format == "json":
        found = [dict(zip(columns, row, strict=True)) for row in values]
        print(json.dumps(found, indent=2, ensure_ascii=False, default=str))
        return
    if format == "csv":
        writer = csv.writer(sys.stdout)
        writer.writerow(columns)
        writer.writerows(values)
        return
    table = Table(header_style="dim", box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=True)
    for row in values:
        table.add_row(*(escape(_cell(value)) for value in row))
    Console(highlight=False, width=len(columns) * (LONGEST_CELL + 2)).print(table, soft_wrap=True)
    print(
        f"({len(values)} row{'s' * (len(values) != 1)}; values cut at {LONGEST_CELL} characters: --format json or csv)"
    )


def _cell(value: Any) -> str:
    """One line of a value: figures to four digits, long texts cut."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def doctor(found: dict[str, Any]) -> None:
    table = _table("doctor", "what", "found")
    for name, version in found["packages"].items():
        table.add_row(name, version or "[yellow]not installed[/yellow]")
    for name in ("python", "cores", "memory_gib", "disk_free_gib", "nvidia_driver", "chromium"):
        table.add_row(name.replace("_", " "), escape(str(found[name] if found[name] is not None else "none")))
    table.add_row("engines", ", ".join(found["engines"]) or "none running")
    if found["reaped_processes"]:
        table.add_row("ended", f"{found['reaped_processes']} processes that a killed command left behind")
    results_console().print(table)
