"""A report as Markdown, as JSON and on a terminal."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness.gate import DECIDING_SPLIT
from harness.report.build import Report
from harness.report.cells import (
    BOARD_HEAD,
    COMPARISON_HEAD,
    GATE_HEAD,
    MEAN,
    ON,
    VERDICT_HEAD,
    Cells,
    board_cells,
    board_title,
    comparison_cells,
    gate_cells,
    means_cells,
    paired_cells,
    plain,
    verdict_cells,
)
from harness.report.sections import asides, look_text, sections

STYLES = {"SHIP": "bold green", "BLOCK": "bold red", "INCONCLUSIVE": "bold yellow", "INVALID": "bold magenta"}
LEGEND = (
    "Differences are candidate − comparator over the same items, turned so that + is better; "
    "[95 % interval]; * chosen on dev."
)
MARKUP = re.compile(r"[\\|`*\[\]]")
FIGURE_COLUMNS = ("difference", "mean", "verdict", "items", "line")
NAME_COLUMNS = {"row": 24, "against": 16}  # characters at most, so that a gate's table fits 100
MOST_NOT_TESTED = 4  # candidates without a verdict that a terminal lists one by one


def as_json(report: Report) -> str:
    """The report as one JSON object, indented; `Report.model_validate_json` reads it back."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)


def as_markdown(report: Report) -> str:
    """The whole report: verdicts, every row of the gate, every comparison, means and what was left out."""
    parts = [f"# {escape(report.name)}: {report.verdict or 'no verdict'}", escape(report.reason), LEGEND]
    parts.append("\n".join(f"- {escape(note)}" for note in [*report.notes, look_text(report)]))
    parts += ["## Candidates", markdown_table(VERDICT_HEAD, verdict_cells(report))]
    for candidate in report.candidates:
        if candidate.rows:
            parts += [f"## Gate: {escape(candidate.candidate)}", markdown_table(GATE_HEAD, gate_cells(candidate))]
            parts.append("\n".join(f"- {escape(row.reason)}" for row in candidate.rows))
    for section in sections(report):
        parts += [f"## {escape(section.title)}", markdown_table(section.head, section.rows), escape(section.below)]
    parts += ["## Every comparison on release", markdown_table(COMPARISON_HEAD, comparison_cells(report))]
    for board in report.boards:
        parts += [f"## {escape(board_title(board))}", markdown_table(BOARD_HEAD, board_cells(board))]
    parts.append(f"Plan {report.plan_id}, reported {report.created}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def print_tables(report: Report, console: Console) -> None:
    """What decides, on one screen for a normal grid: verdicts, the chosen candidate's gate rows (every candidate's if
    none was chosen), every candidate's paired differences and every subject's release means on the gate's metrics.
    """
    _print_verdicts(report, console)
    shown = [candidate for candidate in report.candidates if candidate.chosen] or report.candidates
    for candidate in shown:
        if candidate.rows:
            console.print(_table(f"Gate: {candidate.candidate}", GATE_HEAD, gate_cells(candidate)))
    console.print(_table("Paired differences on release", *paired_cells(report)))
    means = means_cells(report)
    if means:
        console.print(_table("Means on release", *means))
    else:
        for board in report.boards:
            if board.split == DECIDING_SPLIT:
                console.print(_table(board_title(board), BOARD_HEAD, board_cells(board)))
    for note in [*report.notes, *asides(report)]:
        console.print(Text(f"Note: {plain(note)}."))
    console.print(Text(LEGEND, style="dim"))
    if report.verdict:
        console.print(Text.assemble((report.verdict, STYLES[report.verdict]), f": {plain(report.reason)}"))


def _print_verdicts(report: Report, console: Console) -> None:
    """Candidates that were not tested for one and the same reason are counted, once they are many."""
    untested = [one for one in report.candidates if report.gate and one.verdict is None]
    rows = verdict_cells(report)
    if len(untested) > MOST_NOT_TESTED:
        rows = [row for row, one in zip(rows, report.candidates, strict=True) if one not in untested]
        rows.append((f"{len(untested)} more", "not tested", untested[0].reason))
    console.print(_table("Candidates", VERDICT_HEAD, rows))


# --- forms ------------------------------------------------------------------------------------------------------


def escape(text: str) -> str:
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKUP.sub(lambda found: "\\" + found[0], safe)


def markdown_table(head: Sequence[str], rows: Iterable[Cells]) -> str:
    lines = [head, ["---"] * len(head), *([escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Cells]) -> Table:
    """A table of plain text: nothing in a cell is read as markup, and nothing is cut off."""
    table = Table(title=Text(plain(title), style="bold"), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, name in enumerate(head):
        justify: JustifyMethod = "right" if name in ("items", "line") else "left"
        options: dict[str, Any] = {"justify": justify, "overflow": "fold", "no_wrap": name in FIGURE_COLUMNS}
        if name.startswith((ON, MEAN)):  # the name above may wrap, the figures may not
            options["min_width"] = max((len(row[place]) for row in rows), default=0)
        if name in NAME_COLUMNS:  # as wide as its longest word: a name wraps between words
            longest = max(len(word) for text in (name, *(row[place] for row in rows)) for word in text.split())
            options["width"] = min(longest, NAME_COLUMNS[name])
        table.add_column(Text(plain(name)), **options)
    for row in rows:
        table.add_row(*(Text(plain(cell), style=STYLES.get(cell, "")) for cell in row))
    return table
