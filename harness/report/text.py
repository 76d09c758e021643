"""A report as Markdown, as JSON and on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.text import Text

from harness.gate import DECIDING_SPLIT
from harness.report.build import Report
from harness.report.cells import (
    BOARD_HEAD,
    COMPARISON_HEAD,
    GATE_HEAD,
    VERDICT_HEAD,
    Cells,
    board_cells,
    board_title,
    comparison_cells,
    gate_cells,
    means_cells,
    on_release,
    paired_cells,
    plain,
    sides_cells,
    verdict_cells,
    was_choice,
)
from harness.report.sections import asides, look_text, sections
from harness.tables import Layout, table

STYLES = {"SHIP": "bold green", "BLOCK": "bold red", "INCONCLUSIVE": "bold yellow", "INVALID": "bold magenta"}
LEGEND = "Differences are candidate − comparator over the same items, turned so that + is better; [95 % interval]"
MARKUP = re.compile(r"[\\|`*\[\]]")
LAYOUT = Layout(right=("items", "line"), droppable=("role", "items", "not scored", "not paired"))
MOST_NOT_TESTED = 4  # candidates without a verdict that a terminal lists one by one


def as_json(report: Report) -> str:
    """The report as one JSON object, indented; `Report.model_validate_json` reads it back."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)


def as_markdown(report: Report) -> str:
    """The whole report: verdicts, every row of the gate, every comparison, means and what was left out."""
    parts = [f"# {escape(report.name)}: {report.verdict or 'no verdict'}", escape(report.reason)]
    parts += [legend(report), "\n".join(f"- {escape(note)}" for note in [*report.notes, look_text(report)] if note)]
    parts += ["## Candidates", markdown_table(VERDICT_HEAD, verdict_cells(report))]
    for candidate in report.candidates:
        if candidate.rows:
            parts += [f"## Gate: {escape(candidate.candidate)}", markdown_table(GATE_HEAD, gate_cells(candidate))]
            parts.append("\n".join(f"- {escape(row.reason)}" for row in candidate.rows))
    for section in sections(report):
        parts += [f"## {escape(section.title)}", markdown_table(section.head, section.rows), escape(section.below)]
    parts += [f"## Every comparison{on_release(report)}", markdown_table(COMPARISON_HEAD, comparison_cells(report))]
    for board in report.boards:
        parts += [f"## {escape(board_title(board, report))}", markdown_table(BOARD_HEAD, board_cells(board))]
    parts.append(f"{'Comparison' if report.standalone else 'Plan'} {report.plan_id}, reported {report.created}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def print_tables(report: Report, console: Console) -> None:
    """What decides, on one screen for a normal grid: verdicts, the chosen candidate's gate rows (every candidate's if
    none was chosen), every candidate's paired differences and every subject's release means on the gate's metrics.
    """
    _print_verdicts(report, console)
    shown = [candidate for candidate in report.candidates if candidate.chosen] or report.candidates
    for candidate in shown:
        if candidate.rows:
            _print(console, f"Gate: {candidate.candidate}", GATE_HEAD, gate_cells(candidate))
    if report.standalone:
        _print(console, f"Every metric{on_release(report)}", *sides_cells(report.candidates[0]))
    else:
        _print_everyone(report, console)
    for note in [*report.notes, *asides(report)]:
        console.print(Text(f"Note: {plain(note)}."))
    console.print(Text(legend(report), style="dim"))
    if report.verdict:
        console.print(Text.assemble((report.verdict, STYLES[report.verdict]), f": {plain(report.reason)}"))


def _print_everyone(report: Report, console: Console) -> None:
    _print(console, "Paired differences on release", *paired_cells(report))
    means = means_cells(report)
    if means:
        _print(console, "Means on release", *means)
    for board in report.boards if not means else []:
        if board.split == DECIDING_SPLIT:
            _print(console, board_title(board, report), BOARD_HEAD, board_cells(board))


def _print_verdicts(report: Report, console: Console) -> None:
    """Candidates that were not tested for one and the same reason are counted, once they are many."""
    untested = [one for one in report.candidates if report.gate and one.verdict is None]
    rows = verdict_cells(report)
    if len(untested) > MOST_NOT_TESTED:
        rows = [row for row, one in zip(rows, report.candidates, strict=True) if one not in untested]
        rows.append((f"{len(untested)} more", "not tested", untested[0].reason))
    _print(console, "Candidates", VERDICT_HEAD, rows)


# --- forms ------------------------------------------------------------------------------------------------------


def legend(report: Report) -> str:
    """How to read the tables, in one sentence."""
    return f"{LEGEND}; * chosen on dev." if was_choice(report) else f"{LEGEND}."


def escape(text: str) -> str:
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKUP.sub(lambda found: "\\" + found[0], safe)


def markdown_table(head: Sequence[str], rows: Iterable[Cells]) -> str:
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _print(console: Console, title: str, head: Sequence[str], rows: Sequence[Cells]) -> None:
    cells = [[Text(plain(cell), style=STYLES.get(cell, "")) for cell in row] for row in rows]
    console.print(table(plain(title), [plain(name) for name in head], cells, console.width, LAYOUT))
