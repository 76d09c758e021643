"""What a report's comparisons look like: differences, means, and how far the choice on dev held on release."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from harness.core.paths import write_atomic
from harness.gate import CHOOSING_SPLIT, DECIDING_SPLIT, Comparison, lines_of, metrics_of
from harness.report.build import Board, BoardRow, CandidateReport, Report
from harness.report.canvas import (
    COLUMNS,
    FAINT,
    GATE_DASHES,
    INK,
    LINE_COLOUR,
    MARKER_POINTS,
    PANEL_WIDTH_IN,
    QUIET,
    ROLE_STYLE,
    ROW_HEIGHT_IN,
    ZERO_COLOUR,
    as_png,
    bare,
    finish,
    label,
    look,
    mark,
    panels,
    rows,
    spread,
    titled,
)
from harness.report.cells import plain, unit_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SLOPE_HEIGHT_IN = 3.2
LABELS_PER_PANEL = 14  # more names than this beside one panel cannot be told apart: then only the best are named
PICTURES = {"forest": "differences", "means": "means"}  # of the gallery, as files of their own


def draw(report: Report, folder: Path, drawn: Mapping[str, Figure] | None = None) -> list[Path]:
    """Write `<plan_id>-differences.png` and `<plan_id>-means.png` into `folder`; returns those that hold something.

    `drawn`: the report's gallery, where it is there already.
    """
    figures = {"forest": forest(report), "means": means(report)} if drawn is None else drawn
    paths = []
    for name, called in PICTURES.items():
        figure = figures.get(name)
        if figure is not None:
            path = folder / f"{report.plan_id}-{called}.png"
            write_atomic(path, as_png(figure))
            paths.append(path)
    return paths


def forest(report: Report, columns: int = COLUMNS) -> Figure | None:
    """Paired differences: a panel per metric, a band per candidate, a colour and shape per comparator."""
    title = f"{report.name}: paired differences on release, 95 % intervals (* chosen on dev)"
    return _differences(report, report.candidates, None, title, columns)


def first_forest(report: Report) -> Figure | None:
    """The chosen candidate's differences on the gate's metrics alone (on all without a gate): what decides."""
    chosen = [one for one in report.candidates if one.chosen] or report.candidates
    return _differences(report, chosen, metrics_of(report.gate) if report.gate else None, "", 2)


def _differences(
    report: Report, candidates: list[CandidateReport], only: list[str] | None, title: str, columns: int
) -> Figure | None:
    compared = (one for candidate in candidates for one in candidate.comparisons)
    everything = [one for one in compared if one.difference.low is not None and (only is None or one.metric in only)]
    metrics = list(dict.fromkeys(one.metric for one in everything))
    against = list(dict.fromkeys(one.against for one in everything))
    names = [f"{plain(one.candidate)}{' *' if one.chosen and title else ''}" for one in candidates]
    if not metrics:
        return None
    band = len(against) + 1  # one row of air between candidates
    figure, found = panels(len(metrics), len(names) * band * ROW_HEIGHT_IN, columns=columns)
    for metric, axes in zip(metrics, found, strict=True):
        shown = [[one for one in everything if one.metric == metric and one in who.comparisons] for who in candidates]
        _bands(axes, shown, against, band)
        lines = lines_of(report.gate, metric) if report.gate else []
        _dress_forest(axes, next(one for one in everything if one.metric == metric), lines)
        rows(axes, names, [place * band + (len(against) - 1) / 2 for place in range(len(names))])
    entries = [(f"against {name}", *look(which)) for which, name in enumerate(against)]
    finish(figure, title, entries, report.gate is not None)
    return figure


def _bands(axes: Axes, candidates: list[list[Comparison]], against: list[str], band: int) -> None:
    for place, comparisons in enumerate(candidates):
        for one in comparisons:
            which = against.index(one.against)
            mark(axes, place * band + which, one.difference, *look(which))
    axes.set_ylim(len(candidates) * band - 0.5, -1.0)
    for place in range(1, len(candidates)):
        axes.axhline(place * band - 1, color=FAINT, linewidth=0.8, zorder=0)


def _dress_forest(axes: Axes, one: Comparison, lines: list[float]) -> None:
    axes.axvline(0, color=ZERO_COLOUR, linewidth=0.9, zorder=1)
    for line in lines:
        axes.axvline(line, color=LINE_COLOUR, linewidth=1.2, linestyle=GATE_DASHES, zorder=1)
    titled(axes, one.metric, f"difference in {one.info.unit} (right is better)")


def means(report: Report, columns: int = COLUMNS) -> Figure | None:
    """Each subject's own mean: a panel per metric, best on top, colour and shape by role."""
    splits = [board.split for board in report.boards]
    boards = [board for board in report.boards if board.split == splits[0]]
    if not boards:
        return None
    height = max(len(board.rows) for board in boards) * 2 * ROW_HEIGHT_IN
    figure, found = panels(len(boards), height, own_labels=True, columns=columns)
    for board, axes in zip(boards, found, strict=True):
        for height, row in enumerate(board.rows):
            mark(axes, height, row.mean, *ROLE_STYLE[row.role])
        titled(axes, f"{board.metric} on {board.split}", f"mean in {unit_text(board.info)}")
        rows(axes, [plain(row.subject) for row in board.rows], list(range(len(board.rows))))
        axes.set_ylim(len(board.rows) - 0.4, -0.6)
    finish(figure, f"{report.name}: means, 95 % intervals", role_entries(boards))
    return figure


def role_entries(boards: list[Board]) -> list[tuple[str, str, str]]:
    """A legend's entries for the roles on these boards."""
    roles = dict.fromkeys(row.role for board in boards for row in board.rows)
    return [(role, *ROLE_STYLE[role]) for role in roles]


# --- dev to release ---------------------------------------------------------------------------------------------


def slopes(report: Report) -> Figure | None:
    """Each subject's mean on dev, where the choice was made, and on release, on the gate's metrics."""
    boards = {(board.metric, board.split): board for board in report.boards}
    wanted = metrics_of(report.gate) if report.gate else list(dict.fromkeys(board.metric for board in report.boards))
    both = [
        (boards[metric, CHOOSING_SPLIT], boards[metric, DECIDING_SPLIT])
        for metric in wanted
        if (metric, CHOOSING_SPLIT) in boards and (metric, DECIDING_SPLIT) in boards
    ][:COLUMNS]
    if not both:
        return None
    figure, found = panels(len(both), SLOPE_HEIGHT_IN)
    figure.set_figwidth(len(both) * (PANEL_WIDTH_IN + 0.8))
    for (dev, release), axes in zip(both, found, strict=True):
        _slope(axes, dev, release)
    finish(figure, f"{report.name}: from dev to release", role_entries([release for _, release in both]))
    return figure


def _slope(axes: Axes, dev: Board, release: Board) -> None:
    before = {row.subject: row.mean.estimate for row in dev.rows}
    found: list[tuple[BoardRow, float, float]] = []
    for row in release.rows:
        start, end = before.get(row.subject), row.mean.estimate
        if start is not None and end is not None:
            found.append((row, start, end))
    for row, start, end in found:
        colour, shape = ROLE_STYLE[row.role]
        axes.plot([0, 1], [start, end], color=colour, marker=shape, markersize=MARKER_POINTS, linewidth=1.4)
    bare(axes)
    axes.grid(visible=False)
    axes.spines["left"].set_visible(True)
    axes.tick_params(axis="y", labelleft=True, length=2)
    axes.set_xticks([0, 1], [dev.split, release.split])
    axes.set_xlim(-0.08, 1.75)  # room for the names on the right
    axes.spines["bottom"].set_bounds(0, 1)
    titled(axes, release.metric, "")
    axes.set_ylabel(label(f"mean in {unit_text(release.info)}"), fontsize=8, color=INK)
    _name_ends(axes, found[:LABELS_PER_PANEL])


def _name_ends(axes: Axes, found: list[tuple[BoardRow, float, float]]) -> None:
    low, high = axes.get_ylim()
    places = spread([end for _, _, end in found], 0.065 * (high - low))
    for (row, _, end), place in zip(found, places, strict=True):
        axes.plot([1.02, 1.08], [end, place], color=QUIET, linewidth=0.5)
        axes.text(1.1, place, label(row.subject, 20), fontsize=8, va="center", color=ROLE_STYLE[row.role][0])
    axes.set_ylim(min([low, *places]), max([high, *places]))
