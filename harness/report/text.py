"""A report as Markdown, as JSON and on a terminal. All three show the same cells."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from harness.core.records import MetricInfo
from harness.gate import DECIDING_SPLIT, Comparison, Row, metrics_of
from harness.report.build import Board, CandidateReport, Report
from harness.stats import Interval, figures

STYLES = {"SHIP": "bold green", "BLOCK": "bold red", "INCONCLUSIVE": "bold yellow", "INVALID": "bold magenta"}
LEGEND = (
    "Differences are candidate − comparator over the same items, turned so that + is better; "
    "[95 % interval]; * chosen on dev."
)
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]+")
MARKUP = re.compile(r"[\\|`*\[\]]")
NONE = "–"

Cells = tuple[str, ...]


def as_json(report: Report) -> str:
    """The report as one JSON object, indented; `Report.model_validate_json` reads it back."""
    return json.dumps(report.model_dump(mode="json"), indent=2, ensure_ascii=False, allow_nan=False)


def as_markdown(report: Report) -> str:
    """The whole report: verdicts, every row of the gate, every comparison, means and what was left out."""
    parts = [f"# {_escape(report.name)}: {report.verdict or 'no verdict'}", _escape(report.reason), LEGEND]
    parts.append("\n".join(f"- {_escape(note)}" for note in report.notes))
    parts += ["## Candidates", _markdown_table(VERDICT_HEAD, verdict_cells(report))]
    for candidate in report.candidates:
        if candidate.rows:
            parts += [f"## Gate: {_escape(candidate.candidate)}", _markdown_table(GATE_HEAD, gate_cells(candidate))]
            parts.append("\n".join(f"- {_escape(row.reason)}" for row in candidate.rows))
    parts += ["## Every comparison on release", _markdown_table(COMPARISON_HEAD, comparison_cells(report))]
    for board in report.boards:
        parts += [f"## {_escape(board_title(board))}", _markdown_table(BOARD_HEAD, board_cells(board))]
    parts.append(f"Plan {report.plan_id}, reported {report.created}.")
    return "\n\n".join(part for part in parts if part) + "\n"


def print_tables(report: Report, console: Console) -> None:
    """The verdicts, the chosen candidate's gate rows (every candidate's if none was chosen), every candidate's paired
    differences on the gate's metrics, and the release means."""
    console.print(_table("Candidates", VERDICT_HEAD, verdict_cells(report)))
    shown = [candidate for candidate in report.candidates if candidate.chosen] or report.candidates
    for candidate in shown:
        if candidate.rows:
            console.print(_table(f"Gate: {candidate.candidate}", GATE_HEAD, gate_cells(candidate)))
    console.print(_table("Paired differences on release", PAIRED_HEAD, paired_cells(report)))
    for board in report.boards:
        if board.split == DECIDING_SPLIT:
            console.print(_table(board_title(board), BOARD_HEAD, board_cells(board)))
    for note in report.notes:
        console.print(Text(f"Note: {plain(note)}."))
    console.print(Text(LEGEND, style="dim"))
    if report.verdict:
        console.print(Text.assemble((report.verdict, STYLES[report.verdict]), f": {plain(report.reason)}"))


# --- cells ------------------------------------------------------------------------------------------------------

VERDICT_HEAD = ("candidate", "verdict", "why")
GATE_HEAD = ("row", "against", "difference", "line", "items", "verdict")
COMPARISON_HEAD = ("candidate", "metric", "against", "means", "difference", "paired", "left out", "method")
PAIRED_HEAD = ("candidate", "metric", "against", "difference", "items")
FIGURE_COLUMNS = ("difference", "mean", "verdict", "items", "line")
NAME_COLUMNS = {"row": 24, "against": 16}  # characters at most, so that a gate's table fits 100
BOARD_HEAD = ("subject", "role", "mean", "items", "not scored")


def verdict_cells(report: Report) -> list[Cells]:
    return [
        (f"{one.candidate}{' *' if one.chosen else ''}", one.verdict or NONE, one.reason or NONE)
        for one in report.candidates
    ]


def gate_cells(candidate: CandidateReport) -> list[Cells]:
    return [_gate_row(row) for row in candidate.rows]


def _gate_row(row: Row) -> Cells:
    what, line = f"{row.role} {row.metric}", figures(row.line, sign=True)[0]
    if row.comparison is None:
        return what, row.comparator, NONE, line, NONE, row.verdict or "left out"
    against = row.comparison.against
    who = against if row.comparator == against else f"{row.comparator} ({against})"
    found = interval_text(row.comparison.difference, sign=True)
    return what, who, found, line, str(row.comparison.paired), row.verdict or "left out"


def comparison_cells(report: Report) -> list[Cells]:
    return [_comparison_row(comparison) for one in report.candidates for comparison in one.comparisons]


def paired_cells(report: Report) -> list[Cells]:
    """Every candidate against every other subject, on the metrics that the gate looks at (all without a gate)."""
    shown = metrics_of(report.gate) if report.gate else None
    return [
        (one.candidate, one.metric, one.against, interval_text(one.difference, sign=True), str(one.paired))
        for candidate in report.candidates
        for one in candidate.comparisons
        if shown is None or one.metric in shown
    ]


def _comparison_row(one: Comparison) -> Cells:
    means = NONE
    if one.candidate_mean is not None and one.against_mean is not None:
        means = " : ".join(figures(one.candidate_mean, one.against_mean))
    left_out = ", ".join(f"{count} without {who}" for who, count in one.left_out.items()) or NONE
    method = f"{one.difference.method}, {one.difference.clusters} clusters"
    found = interval_text(one.difference, sign=True)
    return (
        one.candidate,
        one.metric,
        one.against,
        means,
        found,
        str(one.paired),
        left_out,
        one.problem or one.difference.note or method,
    )


def board_cells(board: Board) -> list[Cells]:
    return [
        (row.subject, row.role, interval_text(row.mean), str(row.mean.items), _not_scored(row.counts))
        for row in board.rows
    ]


def board_title(board: Board) -> str:
    return f"{board.metric} on {board.split} ({unit_text(board.info)})"


def unit_text(info: MetricInfo) -> str:
    """'share, higher is better'."""
    return f"{info.unit}, {'higher' if info.direction == 'up' else 'lower'} is better"


def interval_text(interval: Interval, sign: bool = False) -> str:
    """'+3.20 [+1.10, +5.30]': three significant digits for the largest of the three, the same decimals for all."""
    if interval.estimate is None:
        return NONE
    if interval.low is None or interval.high is None:
        return f"{figures(interval.estimate, sign=sign)[0]} [no interval]"
    estimate, low, high = figures(interval.estimate, interval.low, interval.high, sign=sign)
    return f"{estimate} [{low}, {high}]"


def _not_scored(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {bucket}" for bucket, count in counts.items() if bucket != "scored" and count) or NONE


def plain(text: str) -> str:
    """One line without control characters: names may come from other people's files."""
    return CONTROL.sub(" ", text)


# --- forms ------------------------------------------------------------------------------------------------------


def _escape(text: str) -> str:
    safe = plain(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return MARKUP.sub(lambda found: "\\" + found[0], safe)


def _markdown_table(head: Sequence[str], rows: Iterable[Cells]) -> str:
    lines = [head, ["---"] * len(head), *([_escape(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _table(title: str, head: Sequence[str], rows: Sequence[Cells]) -> Table:
    """A table of plain text: nothing in a cell is read as markup, and nothing is cut off."""
    table = Table(title=Text(plain(title), style="bold"), title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for place, name in enumerate(head):
        justify: JustifyMethod = "right" if name in ("items", "line") else "left"
        options: dict[str, Any] = {"justify": justify, "overflow": "fold", "no_wrap": name in FIGURE_COLUMNS}
        if name in NAME_COLUMNS:  # as wide as its longest word: a name wraps between words
            longest = max(len(word) for row in rows for word in row[place].split())
            options["width"] = min(longest, NAME_COLUMNS[name])
        table.add_column(name, **options)
    for row in rows:
        table.add_row(*(Text(plain(cell), style=STYLES.get(cell, "")) for cell in row))
    return table
