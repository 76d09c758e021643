"""A report as one HTML page that needs nothing else: no script, no font, no picture from elsewhere.

The first screen is for whoever decides, the rest for whoever checks. Answers and names come from models and from other
people's files: Jinja escapes every value, and only our own SVG is put in as it is.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.errors import printable
from harness.error_analysis import Difference
from harness.gate import DECIDING_SPLIT
from harness.report import cells, plots, words
from harness.report.build import CandidateReport, Report
from harness.report.canvas import as_svg, dark_properties
from harness.report.extras import NOTHING, Extras
from harness.report.gallery import gallery
from harness.report.sections import Section, look_text, sections
from harness.report.text import legend

if TYPE_CHECKING:
    from jinja2 import Template
    from matplotlib.figure import Figure

STATIC = Path(__file__).parent / "static"
EXAMPLES_EACH = 3  # fixed, and as many broken
LONGEST_ANSWER = 1_200  # characters of a prompt or an answer; the dashboard has them in full
MEGABYTE = 1e6
PLOT_COLUMNS = 2  # panels beside one another: labels keep the size of the text around them


def as_html(report: Report, extras: Extras = NOTHING, drawn: Mapping[str, Figure] | None = None) -> str:
    """The whole page. The same report and extras give the same bytes.

    `drawn`: the report's gallery with PLOT_COLUMNS, where it is there already.
    """
    figures = gallery(report, extras, PLOT_COLUMNS) if drawn is None else drawn
    chosen = words.chosen_of(report)
    values: dict[str, Any] = {
        "report": report,
        "extras": extras,
        "css": (STATIC / "report.css").read_text(encoding="utf-8"),
        "dark": dark_properties(),
        "headline": words.headline(report, extras),
        "changes": words.what_changes(report, extras),
        "guardrails": words.guardrails(report),
        "unguarded": words.unguarded(report),
        "signs": words.SIGNS,
        "mark": words.MARKS[report.verdict],
        "chosen": chosen,
        "first_plot": _svg(plots.first_forest(report), "first"),
        "costs": _costs(report, extras),
        "speeds": _speeds(extras, chosen),
        "examples": _examples(extras),
        "plots": [_svg(figure, name) for name, figure in figures.items()],
        "gates": [_gate(one) for one in report.candidates if one.rows],
        "tables": _tables(report),
        "legend": legend(report),
        "look": look_text(report),
    }
    return _template().render(values)


@lru_cache(maxsize=1)
def _template() -> Template:
    from jinja2 import Environment, FileSystemLoader

    found = Environment(loader=FileSystemLoader(STATIC), autoescape=True, trim_blocks=True, lstrip_blocks=True)
    found.filters["seen"] = seen
    return found.get_template("report.html.jinja")


def seen(value: str) -> str:
    """Text of others, with what cannot be seen (or turns the line round) as escapes, cut where it is long."""
    cut = value if len(value) <= LONGEST_ANSWER else f"{value[:LONGEST_ANSWER]} … ({len(value):,} characters in all)"
    return printable(cut)


def _svg(figure: Figure | None, name: str) -> str:
    from markupsafe import Markup

    if figure is None:
        return ""
    wide = f"--natural: {figure.get_figwidth():.1f}in"
    drawn = as_svg(figure, name).replace("<svg ", f'<svg style="{wide}" ', 1)
    return Markup(drawn)  # noqa: S704  our own drawing; its text is escaped by Matplotlib


def _gate(candidate: CandidateReport) -> dict[str, Any]:
    title = f"Gate: {candidate.candidate}{f' · {candidate.verdict}' if candidate.verdict else ''}"
    table = Section(title, cells.STATISTIC_HEAD, cells.statistic_cells(candidate))
    return {"table": table, "reasons": [row.reason for row in candidate.rows]}


def _tables(report: Report) -> list[Section]:
    """Everything else that the record holds, as tables."""
    verdicts = Section("Candidates", cells.VERDICT_HEAD, cells.verdict_cells(report))
    compared = Section(
        f"Every comparison{cells.on_release(report)}", cells.COMPARISON_HEAD, cells.comparison_cells(report)
    )
    ordered = sorted(report.boards, key=lambda board: board.split != DECIDING_SPLIT)
    boards = [
        Section(cells.board_title(board, report), cells.BOARD_HEAD, cells.board_cells(board)) for board in ordered
    ]
    return [verdicts, *sections(report), compared, *boards]


def _costs(report: Report, extras: Extras) -> Section | None:
    judged = [one.run_id for one in report.candidates]
    runs = [run for run in extras.costs if run.run_id in judged]
    head = ("run", "trainable parameters", "adapter, MB", "training, s", "tokens trained on")
    rows = [
        (
            run.label,
            f"{run.trainable_parameters:,}",
            f"{run.bytes / MEGABYTE:.2f}",
            f"{run.seconds:.0f}",
            f"{run.tokens:,}",
        )
        for run in runs
    ]
    return Section("Training", head, rows) if rows else None


def _speeds(extras: Extras, chosen: CandidateReport | None) -> Section | None:
    """The chosen candidate's speed beside that of the subjects that were not trained here, evalset by evalset."""
    others = {run.label for run in extras.costs} - {chosen.candidate if chosen else ""}
    head = ("evalset", "subject", "median, s", "95 % within, s", "tokens in an answer")
    rows = [
        (one.evalset, one.subject, f"{one.median_s:.2f}", f"{one.p95_s:.2f}", _whole(one.median_tokens))
        for one in extras.speeds
        if one.subject not in others
    ]
    below = "While evaluating, with many requests at once: to compare with one another, not with a quiet server."
    return Section("Answering", head, rows, below) if rows else None


def _whole(value: float | None) -> str:
    return cells.NONE if value is None else f"{value:.0f}"


def _examples(extras: Extras) -> list[tuple[str, list[Difference]]]:
    """Fixed and broken items of dev, a few each. Sealed items are left out, whoever passed them in."""
    shown = [one for one in extras.examples if one.split != DECIDING_SPLIT]
    fixed = [one for one in shown if one.outcome == "fixed"][:EXAMPLES_EACH]
    broken = [one for one in shown if one.outcome == "broke"][:EXAMPLES_EACH]
    return [(title, found) for title, found in (("Fixed", fixed), ("Broken", broken)) if found]
