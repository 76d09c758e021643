"""Plots of a report as PNG files. Colours are Okabe and Ito's, told apart by shape as well."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.core.paths import write_atomic
from harness.gate import lines_of
from harness.report.build import Board, Report
from harness.report.text import plain, unit_text
from harness.stats import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe & Ito (2008): distinguishable with every common colour blindness.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "D", "^", "v", "P", "X")
ROLE_STYLE = {"candidate": (COLOURS[0], "o"), "incumbent": (COLOURS[1], "s"), "baseline": ("#666666", "D")}
LINE_COLOUR = "#B00020"
GATE_DASHES = (0, (4, 3))
COLUMNS = 3
PANEL_WIDTH_IN = 4.4
LABEL_WIDTH_IN = 2.0
ROW_HEIGHT_IN = 0.15  # per interval; enough for a marker of 4 points
DPI = 130
LONGEST_LABEL = 36  # characters


def draw(report: Report, folder: Path) -> list[Path]:
    """Write `<plan_id>-differences.png` and `<plan_id>-means.png` into `folder`; returns those that hold something."""
    drawn = {"differences": _forest(report), "means": _means(report)}
    paths = []
    for name, figure in drawn.items():
        if figure is not None:
            path = folder / f"{report.plan_id}-{name}.png"
            buffer = io.BytesIO()
            with warnings.catch_warnings():
                # A name in a script the font lacks is drawn as boxes; the tables have it in full.
                warnings.filterwarnings("ignore", message="Glyph .* missing from", category=UserWarning)
                figure.savefig(buffer, format="png", dpi=DPI)
            write_atomic(path, buffer.getvalue())
            paths.append(path)
    return paths


def _forest(report: Report) -> Figure | None:
    """Paired differences: a panel per metric, a band per candidate, a colour and shape per comparator."""
    compared = (one for candidate in report.candidates for one in candidate.comparisons)
    everything = [one for one in compared if one.difference.low is not None]
    metrics = list(dict.fromkeys(one.metric for one in everything))
    against = list(dict.fromkeys(one.against for one in everything))
    names = [f"{plain(one.candidate)}{' *' if one.chosen else ''}" for one in report.candidates]
    if not metrics:
        return None
    band = len(against) + 1  # one row of air between candidates
    figure, panels = _panels(len(metrics), len(names) * band * ROW_HEIGHT_IN)
    for metric, axes in zip(metrics, panels, strict=True):
        for place, candidate in enumerate(report.candidates):
            for one in candidate.comparisons:
                if one.metric == metric and one.difference.low is not None:
                    which = against.index(one.against)
                    _mark(axes, place * band + which, one.difference, *_look(which))
        lines = lines_of(report.gate, metric) if report.gate else []
        info = next(one.info for one in everything if one.metric == metric)
        _dress_forest(axes, metric, info.unit, lines)
        _rows(axes, names, [place * band + (len(against) - 1) / 2 for place in range(len(names))])
        axes.set_ylim(len(names) * band - 0.5, -1.0)
        for place in range(1, len(names)):
            axes.axhline(place * band - 1, color="#DDDDDD", linewidth=0.6, zorder=0)
    entries = [(f"against {name}", *_look(which)) for which, name in enumerate(against)]
    title = f"{report.name}: paired differences on release, 95 % intervals (* chosen on dev)"
    _finish(figure, title, entries, report.gate is not None)
    return figure


def _means(report: Report) -> Figure | None:
    """Each subject's own mean: a panel per metric, best on top, colour and shape by role."""
    splits = [board.split for board in report.boards]
    boards = [board for board in report.boards if board.split == splits[0]]
    if not boards:
        return None
    figure, panels = _panels(len(boards), max(len(board.rows) for board in boards) * 2 * ROW_HEIGHT_IN, own_labels=True)
    for board, axes in zip(boards, panels, strict=True):
        for height, row in enumerate(board.rows):
            _mark(axes, height, row.mean, *ROLE_STYLE[row.role])
        _dress_means(axes, board)
        _rows(axes, [plain(row.subject) for row in board.rows], list(range(len(board.rows))))
        axes.set_ylim(len(board.rows) - 0.4, -0.6)
    roles = dict.fromkeys(row.role for board in boards for row in board.rows)
    entries = [(role, *ROLE_STYLE[role]) for role in roles]
    _finish(figure, f"{report.name}: means, 95 % intervals", entries, gate_line=False)
    return figure


# --- pieces -----------------------------------------------------------------------------------------------------


def _panels(count: int, height_in: float, own_labels: bool = False) -> tuple[Figure, list[Axes]]:
    """A figure with `count` panels in rows of up to three, unused ones removed."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = 2 if count == 4 else min(count, COLUMNS)  # four panels stand better two by two
    rows = math.ceil(count / columns)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)  # inches around each panel
    width = columns * (PANEL_WIDTH_IN + (LABEL_WIDTH_IN if own_labels else 0)) + LABEL_WIDTH_IN
    figure = Figure(figsize=(width, rows * (max(height_in, 1.0) + 1.1) + 0.9), layout=layout)
    grid: Any = figure.subplots(rows, columns, squeeze=False, sharey=False)
    panels = list(grid.flat)
    for spare in panels[count:]:
        spare.remove()
    for position, axes in enumerate(panels[:count]):
        axes.tick_params(axis="y", labelleft=own_labels or position % columns == 0, length=0)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", color="#EEEEEE", linewidth=0.8)
        axes.set_axisbelow(True)
    return figure, panels[:count]


def _mark(axes: Axes, height: float, interval: Interval, colour: str, marker: str) -> None:
    """One interval with its estimate; nothing but the estimate where there is no interval."""
    if interval.estimate is None:
        return
    if interval.low is not None and interval.high is not None:
        axes.hlines(height, interval.low, interval.high, color=colour, linewidth=1.6)
    axes.plot(interval.estimate, height, marker=marker, color=colour, markersize=4.5, linestyle="none")


def _look(which: int) -> tuple[str, str]:
    """Colour and shape of the n-th comparator; past seven, colours come back with other shapes."""
    return COLOURS[which % len(COLOURS)], MARKERS[(which + which // len(COLOURS)) % len(MARKERS)]


def _rows(axes: Axes, names: list[str], heights: list[float]) -> None:
    axes.set_yticks(heights, [_label(name) for name in names], fontsize=8)
    axes.tick_params(axis="x", labelsize=8)


def _dress_forest(axes: Axes, metric: str, unit: str, lines: list[float]) -> None:
    axes.axvline(0, color="#888888", linewidth=0.9, zorder=1)
    for line in lines:
        axes.axvline(line, color=LINE_COLOUR, linewidth=1.2, linestyle=GATE_DASHES, zorder=1)
    axes.set_title(_label(metric), fontsize=10, loc="left")
    axes.set_xlabel(f"difference in {_label(unit)} (right is better)", fontsize=8)


def _dress_means(axes: Axes, board: Board) -> None:
    axes.set_title(f"{_label(board.metric)} on {board.split}", fontsize=10, loc="left")
    axes.set_xlabel(f"mean in {_label(unit_text(board.info))}", fontsize=8)


def _finish(figure: Figure, title: str, entries: Sequence[tuple[str, str, str]], gate_line: bool) -> None:
    """Title above and one legend below all panels."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=colour, marker=marker, markersize=4.5, linewidth=1.6, label=_label(name))
        for name, colour, marker in entries
    ]
    if gate_line:
        handles.append(Line2D([], [], color=LINE_COLOUR, linewidth=1.2, linestyle=GATE_DASHES, label="the gate's line"))
    figure.suptitle(plain(title).replace("$", r"\$"), fontsize=11, x=0.01, ha="left")
    figure.legend(handles=handles, loc="outside lower left", ncols=min(len(handles), 6), fontsize=8, frameon=False)


def _label(text: str) -> str:
    """Short, and never read as mathematics by matplotlib."""
    text = plain(text)
    short = text if len(text) <= LONGEST_LABEL else f"{text[: LONGEST_LABEL - 1]}…"
    return short.replace("$", r"\$")
