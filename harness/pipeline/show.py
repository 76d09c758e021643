"""What commands print for people: tables on stdout. Decides nothing."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from rich import markup
from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.core.errors import printable
from harness.gate import EXIT_CODES
from harness.pipeline.check import Checked
from harness.pipeline.context import Context
from harness.pipeline.findings import Finding
from harness.pipeline.run import Result
from harness.progress import results_console
from harness.report import as_json, print_tables
from harness.report.comment import as_comment
from harness.tables import table

MARKS = {"ok": "green", "warning": "yellow", "error": "red"}


def escape(text: str) -> str:
    """Text of others (labels, data, answers) without the markup and terminal codes it may hold."""
    return markup.escape(printable(text))


LONGEST_CELL = 28


def _print(title: str, head: Sequence[str], rows: Iterable[Sequence[str | Text]]) -> None:
    """A table as wide as the terminal; cells of others' text are made harmless."""
    console = results_console()
    cells = [[cell if isinstance(cell, Text) else Text(printable(cell)) for cell in row] for row in rows]
    console.print(table(printable(title), head, cells, console.width))


def findings(checked: Checked) -> None:
    console = results_console()
    _findings(f"check: plan {checked.context.plan.plan_id}", checked.findings)
    if checked.rendered:
        console.print("\n[bold]first training row, as the model sees it[/bold] (⏎ ends a line)")
        for text, loss in checked.rendered:
            console.print(_masked(text, loss))
    errors = len(checked.errors)
    ready = f"ready: ratchet run {checked.context.plan.spec_path}"
    console.print(f"\n{f'{errors} to correct' if errors else ready}", soft_wrap=True, markup=False)


def _masked(text: str, loss: bool) -> Text:
    """A part of a training row, every line with whether loss falls on it: colour alone says nothing in a file."""
    lines = text.split("\n")
    ended = [f"{printable(line)}⏎" for line in lines[:-1]] + [printable(line) for line in lines[-1:] if line]
    mark, style = ("loss    | ", "green") if loss else ("no loss | ", "dim")
    return Text("\n").join(Text.assemble((mark, "bold" if loss else "dim"), (line, style)) for line in ended)


def _findings(title: str, found: list[Finding]) -> None:
    rows = [
        (Text(one.level, MARKS[one.level]), one.topic, f"{one.text}; {one.fix}" if one.fix else one.text)
        for one in found
    ]
    _print(title, ("", "topic", "finding"), rows)


def plan(context: Context, gate: list[Finding]) -> None:
    rows = []
    for job in context.plan.runs:
        finished = context.lab.adapter_record(job.run_id).is_file()
        rows.append((job.run_id, job.label, job.method["type"], "finished" if finished else "to train"))
    _print(f"plan {context.plan.plan_id} of {context.spec.name}", ("run", "settings", "method", "state"), rows)
    console = results_console()
    names = ", ".join(f"{evalset.name}@{evalset.version}" for evalset in [*context.evalsets, *context.task_sets])
    baselines = escape(", ".join(subject.label for subject in context.baseline_subjects()))
    console.print(f"evalsets: {escape(names) or 'none'}; baselines: {baselines}")
    console.print(f"incumbent: {context.incumbent.label if context.incumbent else f'none yet ({context.alias})'}\n")
    _findings("gate", gate)


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
        _nothing_yet(found, console)
    for one in found["plans"]:
        _plan_runs(one)
    for engine in found["engines"]:
        console.print(f"engine {engine['engine_id']} {engine['state']} at {engine['url']}", soft_wrap=True)
    if found["campaigns"]:
        campaigns(found["campaigns"])


def _nothing_yet(found: dict[str, Any], console: Console) -> None:
    console.print(f"{found['lab']}: nothing yet. Start with: ratchet run experiments/quickstart.yaml", soft_wrap=True)


def _plan_runs(one: dict[str, Any]) -> None:
    rows = []
    for run in one["runs"]:
        step = f" (step {run['step']} of {run.get('total', '?')})" if "step" in run else ""
        rows.append((run["run_id"], run["label"], run["state"] + step))
    _print(f"{one['name']} · plan {one['plan_id']} · {_verdict(one)}", ("run", "settings", "state"), rows)


def _verdict(plan: dict[str, Any]) -> str:
    return str(plan["verdict"] or ("no verdict" if plan["reported"] else "not reported yet"))


def inventory(found: dict[str, Any]) -> None:
    console = results_console()
    plans = [
        (one["plan_id"], one["name"], one["created"], f"{one['finished']} of {len(one['runs'])}", _verdict(one))
        for one in found["plans"]
    ]
    tables = (
        ("plans", ("plan", "name", "made", "runs finished", "verdict"), plans),
        ("runs", ("run", "settings", "method", "rank", "trainable", "loss", "seconds"), _run_cells(found["runs"])),
        ("versions", ("version", "run", "verdict", "aliases", "created"), _version_cells(found["versions"])),
    )
    if not any(rows for _, _, rows in tables):
        _nothing_yet(found, console)
    for title, head, rows in tables:
        if rows:
            _print(title, head, rows)
            console.print()
    if found["campaigns"]:
        campaigns(found["campaigns"])
    console.print(f"{found['evals']} evaluations stored; ask them with: ratchet sql", soft_wrap=True)


def _run_cells(runs: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for run in runs:
        loss = "" if run["final_loss"] is None else f"{run['final_loss']:.3f}"
        figures = (str(run["rank"]), f"{run['trainable_parameters']:,}", loss, f"{run['seconds']:.0f}")
        rows.append((run["run_id"], run["label"], run["method"], *figures))
    return rows


def _version_cells(versions: list[dict[str, Any]]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for version in versions:
        verdict = "forced: " + version["forced"] if version["forced"] else version["verdict"] or "-"
        aliases = ", ".join(version["aliases"])
        rows.append((version["version"], version["run_id"], verdict, aliases, version["created"]))
    return rows


def one(found: dict[str, Any]) -> None:
    """What `lookup` found, a line per fact; a plan's runs as a table."""
    console = results_console()
    if found["what"] == "plan":
        _plan_runs(found)
    facts = {
        name: value for name, value in found.items() if name not in ("what", "runs") and value not in (None, [], {})
    }
    for name, value in facts.items():
        for text in value if name in ("gate", "pages", "disputes") else [value]:
            said = _disputed(text) if name == "disputes" else text
            said = said if isinstance(said, str) else json.dumps(said, ensure_ascii=False)
            console.print(Text.assemble((f"{name}: ", "dim"), printable(said)), soft_wrap=True)


def _disputed(one: dict[str, str]) -> str:
    """One dispute of a verdict, on a line."""
    return f"{one['at'][:10]} {one['who']} of {one['run_id']} in {one['plan_id']}: {one['text'] or '(words erased)'}"


def campaigns(found: list[dict[str, Any]]) -> None:
    if not found:
        results_console().print("no campaign yet: ratchet campaign create NAME SUBJECT SUBJECT --name … --pool …")
        return
    rows = [
        (one["campaign"], one["name"], " / ".join(one["subjects"]), str(one["pairs"]), str(one["votes"]))
        for one in found
    ]
    _print("campaigns", ("campaign", "for", "subjects", "pairs", "votes"), rows)


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
    found_rows = Table(header_style="dim", box=None, pad_edge=False)
    for column in columns:
        found_rows.add_column(column, no_wrap=True)
    for row in values:
        found_rows.add_row(*(escape(_cell(value)) for value in row))
    Console(highlight=False, width=len(columns) * (LONGEST_CELL + 2)).print(found_rows, soft_wrap=True)
    print(
        f"({len(values)} row{'s' * (len(values) != 1)}; values cut at {LONGEST_CELL} characters: --format json or csv)"
    )


def _cell(value: Any) -> str:
    """One line of a value: figures to four digits, long texts cut."""
    text = "" if value is None else f"{value:.4g}" if isinstance(value, float) else " ".join(str(value).split())
    return text if len(text) <= LONGEST_CELL else text[: LONGEST_CELL - 1] + "…"


def doctor(found: dict[str, Any]) -> None:
    rows: list[tuple[str, str | Text]] = [
        (name, version or Text("not installed", "yellow")) for name, version in found["packages"].items()
    ]
    for name in ("python", "cores", "memory_gib", "disk_free_gib", "nvidia_driver", "chromium"):
        rows.append((name.replace("_", " "), str(found[name] if found[name] is not None else "none")))
    rows.append(("engines", ", ".join(found["engines"]) or "none running"))
    if found["reaped_processes"]:
        rows.append(("ended", f"{found['reaped_processes']} processes that a killed command left behind"))
    _print("doctor", ("what", "found"), rows)
